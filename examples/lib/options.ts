/** What the examples have in common: flags, progress, tables. */
import { pathToFileURL } from 'node:url'
import { SingleBar } from 'cli-progress'
import Table from 'cli-table3'
import { Command, InvalidArgumentError } from 'commander'
import { type Optimizer, optim, type PointerTensor, type Worker } from 'sotto'

export const command = (name: string, description: string): Command =>
  new Command(name).description(description).showHelpAfterError('(--help tells the options)')

export function wholeNumber(text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 0) throw new InvalidArgumentError('expected a whole number from 0.')
  return value
}

export function positiveNumber(text: string): number {
  const value = Number(text)
  if (!(value > 0)) throw new InvalidArgumentError('expected a number above 0.')
  return value
}

/** Optimizers by the name of a flag. */
export function optimizerOf(name: string, parameters: readonly PointerTensor[], learningRate: number): Optimizer {
  if (!Object.hasOwn(optim, name)) throw new Error(`--optimizer: there are ${Object.keys(optim).join(', ')}`)
  return optim[name as keyof typeof optim](parameters, { learningRate })
}

/** A progress bar on a terminal; nothing where the output is kept in a file. */
export function progress(total: number, format: string): { update(done: number, values: object): void; stop(): void } {
  if (!process.stderr.isTTY) return { update() {}, stop() {} }
  const bar = new SingleBar({ format, hideCursor: true, clearOnComplete: true, etaBuffer: 200 })
  bar.start(total, 0, { loss: '…', auc: '…' })
  return { update: (done, values) => bar.update(done, values), stop: () => bar.stop() }
}

export function printTable(
  title: string,
  head: readonly string[],
  rows: readonly (readonly (string | number)[])[],
): void {
  const table = new Table({
    head: [...head],
    style: { head: [], border: [] },
    chars: { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' },
    colAligns: head.map((_, i) => (i === 0 ? 'left' : 'right')),
  })
  for (const row of rows) table.push(row.map((cell) => String(cell)))
  console.log(`\n${title}\n${table.toString()}`)
}

/** What went over the links of workers; what two of them count is counted once, where it was sent. */
export async function printTraffic(workers: readonly Worker[]): Promise<void> {
  const sums = new Map<string, { frames: number; bytes: number }>()
  for (const worker of workers) {
    const { links } = await worker.stats()
    for (const { name, framesOut, bytesOut } of links) {
      const link = `${worker.id} → ${name}`
      const { frames, bytes } = sums.get(link) ?? { frames: 0, bytes: 0 }
      sums.set(link, { frames: frames + framesOut, bytes: bytes + bytesOut })
    }
  }
  const rows = [...sums].map(([link, { frames, bytes }]) => [link, frames, bytes])
  printTable(
    'What the workers sent (frames to a caller are answers and acknowledgements)',
    ['link', 'frames', 'bytes'],
    rows,
  )
}

/** Whether a module was started by itself, and not imported by a test. */
export const isMain = (url: string): boolean => url === pathToFileURL(process.argv[1] ?? '').href
