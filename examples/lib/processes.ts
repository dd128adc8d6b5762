/** Workers as processes of their own, started here, and gone when this process is. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { join, relative } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath, pathToFileURL } from 'node:url'

/** Where TypeScript and its aliases are found. */
const root = fileURLToPath(new URL('../..', import.meta.url))
const leash = fileURLToPath(new URL('./leash.ts', import.meta.url))
/** The `sotto` command, which is `npx sotto` where the package is installed. */
const sotto = fileURLToPath(new URL('../../src/cli/index.ts', import.meta.url))

/** What a worker says when it takes connections. */
const READY = /^.+ is ready at (?<url>wss?:\S+), key (?<key>ed25519:[\w-]+)/
/** Milliseconds to end when told to. */
const PATIENCE = 10_000
/** Characters kept of what a worker says besides. */
const REMEMBERED = 2000

export interface WorkerProcess {
  readonly pid: number
  readonly url: string
  /** The public key of the worker. */
  readonly key: string
  /** Tells it to end, and waits until it has. */
  stop(): Promise<void>
}

/**
 * Starts a script of this project in a process that ends with this one, whatever ends this one. Its output is for
 * whoever reads `stdout`; what it says about errors and progress goes where `stderr` says.
 */
export function startScript(
  script: string,
  args: readonly string[],
  stderr: 'pipe' | 'inherit',
  env: Readonly<Record<string, string>> = {},
): ChildProcess {
  // The loader of TypeScript, then the leash, which needs it.
  const loader = process.env['SOTTO_BUILT'] === undefined ? ['--import', 'tsx/esm'] : []
  return spawn(process.execPath, [...loader, '--import', pathToFileURL(inNode(leash)).href, inNode(script), ...args], {
    cwd: root,
    stdio: ['pipe', 'pipe', stderr],
    env: { ...process.env, ...env },
  })
}

/** Where a process that is started here finds a file of this project. */
export function inNode(path: string): string {
  // Tests have built all of this for their whole run, into this folder: it is up sooner than TypeScript is.
  const built = process.env['SOTTO_BUILT']
  return built === undefined || !path.endsWith('.ts') ? path : join(built, relative(root, path).replace(/ts$/, 'js'))
}

/** Starts the `sotto` command. */
export const startSotto = (args: readonly string[], env: Readonly<Record<string, string>> = {}): ChildProcess =>
  startScript(sotto, args, 'pipe', env)

/**
 * Starts `sotto worker`, and waits until it is ready.
 *
 * @throws Error with what it has said, when it ends before
 */
export async function startWorkerProcess(flags: readonly string[]): Promise<WorkerProcess> {
  const child = startScript(sotto, ['worker', '--log-level', 'warn', ...flags], 'pipe')
  const exited = once(child, 'exit')
  let said = ''
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-REMEMBERED)
  })
  for await (const line of createInterface({ input: child.stdout! })) {
    const { url, key } = READY.exec(line)?.groups ?? {}
    if (url === undefined || key === undefined) continue
    child.stdout!.resume()
    return { pid: child.pid!, url, key, stop: () => stop(child, exited) }
  }
  await exited
  throw new Error(`sotto worker ${flags.join(' ')} did not start\n${said}`)
}

async function stop(child: ChildProcess, exited: Promise<unknown>): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill()
  const timer = setTimeout(() => child.kill('SIGKILL'), PATIENCE)
  await exited
  clearTimeout(timer)
}

/** Waits for all; when one fails, undoes the others and throws. */
export async function allOrNone<T>(
  promises: readonly Promise<T>[],
  undo: (value: T) => Promise<unknown>,
): Promise<T[]> {
  const settled = await Promise.allSettled(promises)
  const failure = settled.find((one) => one.status === 'rejected')
  const values = settled.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
  if (failure === undefined) return values
  await Promise.allSettled(values.map(undo))
  throw failure.reason
}

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

/** A process of the `sotto` command that ends by itself; what it says is shown, with its name in front. */
export class PartyProcess {
  readonly #child: ChildProcess
  /** Rejects with what it has said when it fails. */
  readonly done: Promise<void>

  constructor(name: string, args: readonly string[], env: Readonly<Record<string, string>> = {}) {
    this.#child = startSotto(args, env)
    const exited = once(this.#child, 'exit')
    const show = (line: string) => console.log(line === '' ? '' : `${name.padEnd(10)} ${line}`)
    createInterface({ input: this.#child.stdout! }).on('line', show)
    let said = ''
    this.#child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      said += text
    })
    this.done = exited.then(([code]) => {
      if (code !== 0) throw new Error(`${name} ended with exit code ${code}\n${said}`)
    })
    this.done.catch(() => {})
  }

  stop(): void {
    if (this.#child.exitCode === null) this.#child.kill()
  }
}
