/** The `sotto` command in this process: what it printed and how it ended. */
import { EventEmitter } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
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

/** A command that runs in this process, beside others. */
export class Running {
  readonly signals = new EventEmitter()
  readonly code: Promise<number>
  out = ''
  err = ''

  constructor(args: readonly string[]) {
    this.code = main(args, {
      out: (said) => {
        this.out += said
      },
      err: (said) => {
        this.err += said
      },
      isTerminal: false,
      env: {},
      signals: this.signals,
      exit: (code) => {
        throw new Error(`it was to end by itself, and not by exit(${code})`)
      },
    })
  }
}

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** A folder for the files of a test. */
export function temporaryFolder(): { path: (name: string) => string; remove: () => void } {
  const folder = mkdtempSync(join(tmpdir(), 'sotto-cli-'))
  return { path: (name) => join(folder, name), remove: () => rmSync(folder, { recursive: true, force: true }) }
}
