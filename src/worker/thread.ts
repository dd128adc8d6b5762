/**
 * A worker in a thread of its own, as the thread that made it sees it. What runs there is `thread-entry.ts`.
 *
 * Threads know nothing of one another. One that dials an address of this process hands a port to this end, which passes it
 * on to the thread of that address: what they say then goes from one to the other directly.
 */
import type { MessagePort, Worker as NodeWorker } from 'node:worker_threads'
import { isSottoError, sottoError } from '../errors.ts'
import { type Backend, tf } from '../tensor/backend.ts'
import type { Limits } from './host.ts'
import { Identity } from './identity.ts'
import { closeHere, dialHere, type LocalCredentials, type LocalListener, listenHere } from './transport/local.ts'
import { PortTransport, pipe } from './transport/thread.ts'
import type { Transport } from './transport/transport.ts'

/** What a thread is started with. */
export interface ThreadStart {
  readonly id: string
  readonly limits: Limits
  /** Folder of the models that are saved; in the memory of the thread when null. */
  readonly checkpoints: string | null
  /** Of its identity: whoever made it knows its key before it runs. */
  readonly secret: string
  /** The tensor backend; the fastest that is there when null. */
  readonly backend: Backend | null
  /** The module of all that the library is, but for servers: parts of it add messages that `worker/` does not know. */
  readonly library: string
}

export type ToThread =
  | { readonly kind: 'connect'; readonly credentials: LocalCredentials; readonly port: MessagePort }
  /** Finish what was begun within so many milliseconds, and end. */
  | { readonly kind: 'close'; readonly within: number }

export type FromThread =
  /** It takes frames from now on. */
  | { readonly kind: 'up' }
  /** Connect the port to an address of this process. */
  | {
      readonly kind: 'dial'
      readonly address: string
      readonly credentials: LocalCredentials
      readonly port: MessagePort
    }

/** Milliseconds that a thread has to finish what was begun when it is closed, */
const GRACE = 1000
/** and to start before that, under the load of others that start too. */
const START = 60_000

/** @throws StateError `ERR_BACKEND` where there are no threads: in browsers */
function workerThreads(): Pick<typeof import('node:worker_threads'), 'Worker' | 'MessageChannel'> {
  const found = globalThis.process?.getBuiltinModule?.('node:worker_threads')
  if (found === undefined) {
    throw sottoError('ERR_BACKEND', 'VirtualWorker: "thread" needs the threads of Node, and there are none here')
  }
  return found
}

/** Threads that run, by address. */
const running = new Map<string, Thread>()

/** Connects a port to an address of this process: by handing it over, or by passing on what comes. */
function connect(address: string, credentials: LocalCredentials, port: MessagePort, lost: () => Promise<Error>): void {
  const thread = running.get(address)
  if (thread !== undefined) return thread.take(credentials, port)
  const transport = new PortTransport(port, lost)
  try {
    pipe(transport, dialHere(address, credentials, {}))
  } catch (error) {
    transport.close(error as Error)
  }
}

/** A thread with a worker in it. */
export class Thread implements LocalListener {
  readonly address: string
  readonly #id: string
  readonly #identity = Identity.generate()
  readonly #worker: NodeWorker
  #isUp = false
  #uncaught: unknown
  /** Why its connections are gone, once they are. */
  readonly #ended: Promise<Error>
  #closing: Promise<void> | null = null

  /** Starts at once, and takes connections from then on. */
  constructor(id: string, limits: Limits, checkpoints: string | null) {
    const { Worker } = workerThreads()
    const isSource = import.meta.url.endsWith('.ts')
    const workerData: ThreadStart = {
      id,
      limits,
      checkpoints,
      secret: this.#identity.secret(),
      backend: (tf.getBackend() as Backend | undefined) || null,
      library: new URL(isSource ? '../browser.ts' : '../browser.js', import.meta.url).href,
    }
    const entry = isSource ? './thread-from-source.mjs' : './thread-entry.js'
    const worker = new Worker(new URL(entry, import.meta.url), {
      workerData,
      name: id,
      // The loader of TypeScript among this process's flags does not reach threads, and takes time there.
      ...(isSource ? { execArgv: [] } : {}),
    })
    this.#id = id
    this.#worker = worker
    this.address = listenHere('thread', this)
    running.set(this.address, this)
    worker.on('message', (message: FromThread) => this.#receive(message))
    worker.on('error', (error: unknown) => {
      this.#uncaught = error
    })
    this.#ended = new Promise((resolve) => {
      worker.on('exit', (code) => {
        this.#forget()
        resolve(this.#reason(code))
      })
    })
    // A script that never closes it ends all the same.
    worker.unref()
  }

  get key(): string {
    return this.#identity.key
  }

  connect(credentials: LocalCredentials): Transport {
    const { port1, port2 } = new (workerThreads().MessageChannel)()
    const transport = new PortTransport(port1, () => this.#lost())
    this.take(credentials, port2)
    return transport
  }

  /** Hands one end of a connection to the thread; where it has ended, the connection closes. */
  take(credentials: LocalCredentials, port: MessagePort): void {
    if (running.has(this.address)) this.#post({ kind: 'connect', credentials, port }, [port])
    else port.close()
  }

  /** Lets it finish what was begun, for a second at most, and ends it. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    const isRunning = running.has(this.address)
    this.#forget()
    if (!isRunning) return
    this.#worker.ref()
    this.#post({ kind: 'close', within: GRACE })
    // What a thread was told before it runs is as good as begun.
    let timer: ReturnType<typeof setTimeout> | undefined
    const terminateAfter = (ms: number): void => {
      clearTimeout(timer)
      timer = setTimeout(() => this.#worker.terminate(), ms)
    }
    if (!this.#isUp) this.#worker.once('message', () => terminateAfter(GRACE))
    terminateAfter(this.#isUp ? GRACE : START)
    await this.#ended
    clearTimeout(timer)
  }

  #post(message: ToThread, moved: readonly MessagePort[] = []): void {
    this.#worker.postMessage(message, moved)
  }

  #receive(message: FromThread): void {
    if (message.kind === 'up') this.#isUp = true
    else connect(message.address, message.credentials, message.port, () => this.#lost())
  }

  #forget(): void {
    running.delete(this.address)
    closeHere(this.address)
  }

  /** Waits for the thread to say why it has ended: it has closed its ports already. */
  #lost(): Promise<Error> {
    this.#worker.ref()
    return this.#ended
  }

  #reason(exit: number): Error {
    const worker = this.#id
    if (this.#closing !== null) return sottoError('ERR_SESSION_CLOSED', `${worker} was closed`, { worker })
    const error = this.#uncaught
    const lost = (why: string, cause?: unknown): Error =>
      sottoError('ERR_WORKER_LOST', `${worker} is gone: ${why}`, { worker, exit }, cause)
    if (error === undefined) return lost(`its thread ended with exit code ${exit}`)
    const { name, message, code } = error as { name?: string; message?: string; code?: string }
    // Once it holds data, an error that is not Sotto's may carry values in its message.
    if (!this.#isUp || isSottoError(error)) return lost(`its thread failed: ${message ?? String(error)}`, error)
    return lost(`its thread failed with ${code ?? name ?? 'an error'}`)
  }
}
