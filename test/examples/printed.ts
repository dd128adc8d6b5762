import { vi } from 'vitest'

/** Keeps what examples print from the console. @returns what was printed since the last call */
export function capturePrinted(): () => string {
  let lines: string[] = []
  vi.spyOn(console, 'log').mockImplementation((...args) => {
    lines.push(args.join(' '))
  })
  vi.spyOn(console, 'error').mockImplementation(() => {})
  return () => {
    const text = lines.join('\n')
    lines = []
    return text
  }
}
