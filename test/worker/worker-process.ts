/** Workers that are processes of their own, to be killed. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { realpathSync } from 'node:fs'
import { argv, execPath } from 'node:process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { Identity, ready, serveWorker } from '../../src/index.ts'
import type { ServeOptions } from '../../src/worker/serve.ts'
import { built } from '../built.ts'

type ProcessOptions = Pick<ServeOptions, 'id' | 'grace' | 'heartbeat' | 'limits' | 'checkpoints'>

/** A worker in a process; one that was killed can be started again, at the same address and with the same key. */
export class WorkerProcess {
  readonly #options: ProcessOptions
  readonly #identity = Identity.generate()
  #child: ChildProcess | null = null
  url = ''

  constructor(options: ProcessOptions) {
    this.#options = options
  }

  get key(): string {
    return this.#identity.key
  }

  get isRunning(): boolean {
    return this.#child !== null
  }

  async start(): Promise<this> {
    const port = this.url === '' ? 0 : Number(new URL(this.url).port)
    const settings = { ...this.#options, port, secret: this.#identity.secret() }
    const child = spawn(execPath, [built('test/worker/worker-process.ts'), JSON.stringify(settings)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    this.#child = child
    const [line] = (await once(createInterface(child.stdout), 'line')) as [string]
    this.url = line
    return this
  }

  /** Ends it at once, without a word. */
  async kill(): Promise<void> {
    const child = this.#child
    this.#child = null
    if (child === null || child.exitCode !== null) return
    const gone = once(child, 'exit')
    child.kill('SIGKILL')
    await gone
  }
}

/** What the process runs. */
async function main(): Promise<void> {
  const { secret, ...options } = JSON.parse(argv[2]!) as ServeOptions & { secret: string }
  await ready({ backend: 'wasm' })
  const { url } = await serveWorker({ ...options, identity: Identity.fromSecret(secret) })
  console.log(url)
  // Whoever started it is gone: so is its purpose.
  process.stdin.resume().on('end', () => process.exit())
}

// Node names a module by where it really is.
if (realpathSync(argv[1]!) === fileURLToPath(import.meta.url)) await main()
