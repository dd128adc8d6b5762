/** The `sotto` command in this process: what it printed and how it ended. */
import { EventEmitter } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { main } from '../../src/cli/program.ts'

export interface Ended {
  readonly code: number
  readonly out: string
  readonly err: string
}

export async function sotto(
  args: readonly string[],
  { env = {}, isTerminal = false }: { env?: Record<string, string>; isTerminal?: boolean } = {},
): Promise<Ended> {
  let [out, err] = ['', '']
  const code = await main(args, {
    out: (text) => {
      out += text
    },
    err: (text) => {
      err += text
    },
    isTerminal,
    env,
    signals: new EventEmitter(),
    exit: (code) => {
      throw new Error(`it was to end by itself, and not by exit(${code})`)
    },
  })
  return { code, out, err }
}

/** A folder for the files of a test. */
export function temporaryFolder(): { path: (name: string) => string; remove: () => void } {
  const folder = mkdtempSync(join(tmpdir(), 'sotto-cli-'))
  return { path: (name) => join(folder, name), remove: () => rmSync(folder, { recursive: true, force: true }) }
}
