/** Workers in this process: the same host, handlers and protocol as any other, over memory or in threads of their own. */
import { sottoError } from '../errors.ts'
import { checkOptions } from '../options.ts'
import { linksTo, principalOf } from './admission.ts'
import { type CheckpointsGiven, checkCheckpoints } from './checkpoints.ts'
import { dialPeer } from './dial.ts'
import { defaultLimits, type Limits, WorkerHost } from './host.ts'
import { Identity } from './identity.ts'
import { callerSession } from './session.ts'
import { Thread } from './thread.ts'
import type { LocalListener } from './transport/local.ts'
import { MemoryListener, type MemoryOptions } from './transport/memory.ts'
import { Worker } from './worker.ts'

export interface VirtualWorkerOptions extends MemoryOptions {
  /** Who the sessions of this handle act as; 'me' unless given. */
  readonly identity?: string
  readonly limits?: Partial<Limits>
  /**
   * Runs the worker in a thread of its own, with a tensor engine of its own: workers then compute at the same time. The
   * thread takes the backend that {@link ready} settled on here. It has no simulated network.
   */
  readonly thread?: boolean
  /**
   * Where models are kept that are saved: the path of a folder (Node only), or a store. Another worker of the same name
   * and store finds them again. In memory, and gone with the worker, unless given; a worker in a thread takes a path.
   */
  readonly checkpoints?: CheckpointsGiven
}

/**
 * A worker in this process, for scripts, simulations and tests.
 *
 * Without latency a command is carried out before the call returns. `latency`, `jitter`, `seed` and `fault` simulate a
 * network; `codec` turns every frame into bytes and back.
 *
 * With `thread` it computes beside this thread and the others. Commands are carried out as soon as the thread is up; if it
 * dies, everything rejects with `ERR_WORKER_LOST`. A script that never closes it ends all the same.
 */
export class VirtualWorker extends Worker {
  readonly address: string
  readonly #home: Home
  /** Handles of the same worker, by identity. */
  readonly #handles: Map<string, VirtualWorker>
  readonly #isPrimary: boolean

  constructor(id: string, options?: VirtualWorkerOptions)
  /** @internal */
  constructor(id: string, options: VirtualWorkerOptions, primary: VirtualWorker)
  constructor(id: string, options: VirtualWorkerOptions = {}, primary?: VirtualWorker) {
    if (!isName(id)) {
      throw sottoError('ERR_ARGUMENT_TYPE', 'VirtualWorker: expected a name, such as new VirtualWorker("bob")')
    }
    checkVirtualOptions(options)
    const { identity = 'me' } = options
    const home = primary === undefined ? homeOf(id, options) : primary.#home
    super(id, identity, callerSession(home.connect({ role: 'caller' }, {}), identity, id))
    this.#home = home
    this.#handles = primary === undefined ? new Map() : primary.#handles
    this.#handles.set(identity, this)
    this.#isPrimary = primary === undefined
    this.address = home.address
  }

  get key(): string {
    return this.#home.key
  }

  override as(identity: string): VirtualWorker {
    const known = this.#handles.get(identity)
    if (known && !known.isClosed) return known
    return new VirtualWorker(this.id, { identity }, this)
  }

  /** Ends the session; on the handle that made the worker, the worker too, with everything on it. */
  override async close(): Promise<void> {
    await super.close()
    if (this.#isPrimary) await this.#home.close()
  }
}

/** What simulates a network. */
const simulation = ['latency', 'jitter', 'seed', 'codec', 'fault', 'lossTimeout'] as const

const isName = (value: unknown): value is string => typeof value === 'string' && value !== '' && value.length <= 256

function checkVirtualOptions(options: VirtualWorkerOptions): void {
  const entry = 'VirtualWorker'
  checkOptions(entry, options, ['identity', 'limits', 'thread', 'checkpoints', ...simulation])
  checkOptions(`${entry} limits`, options.limits ?? {}, Object.keys(defaultLimits))
  const wrong = (option: string, expected: string): Error =>
    sottoError('ERR_ARGUMENT_TYPE', `${entry}: "${option}" expected ${expected}`, { option })
  for (const option of ['latency', 'jitter', 'seed', 'lossTimeout'] as const) {
    const value = options[option]
    if (value !== undefined && !(Number.isFinite(value) && value >= 0)) throw wrong(option, 'a number from 0')
  }
  const { identity, codec, fault, thread, checkpoints } = options
  checkCheckpoints(entry, checkpoints)
  if (identity !== undefined && !isName(identity)) throw wrong('identity', 'a name of at most 256 characters')
  if (codec !== undefined && typeof codec !== 'boolean') throw wrong('codec', 'a boolean')
  if (fault !== undefined && typeof fault !== 'function') throw wrong('fault', 'a function')
  if (thread !== undefined && typeof thread !== 'boolean') throw wrong('thread', 'a boolean')
  if (thread && typeof checkpoints === 'object') {
    const message = `${entry}: a thread cannot reach this store; give "checkpoints" the path of a folder`
    throw sottoError('ERR_ARGUMENT_VALUE', message, { option: 'checkpoints' })
  }
  const simulated = simulation.find((option) => options[option] !== undefined)
  if (thread && simulated !== undefined) {
    throw sottoError('ERR_ARGUMENT_VALUE', `${entry}: a thread has no simulated network; leave out "${simulated}"`, {
      option: simulated,
    })
  }
}

/** Where a worker runs. */
interface Home extends LocalListener {
  readonly address: string
  readonly key: string
  close(): void | Promise<void>
}

function homeOf(id: string, { identity, limits, thread, checkpoints, ...network }: VirtualWorkerOptions): Home {
  const all: Limits = { ...defaultLimits, ...limits }
  if (thread) return new Thread(id, all, (checkpoints as string | undefined) ?? null)
  return new InProcess(id, all, network, checkpoints)
}

class InProcess implements Home {
  readonly #host: WorkerHost
  readonly #listener: MemoryListener

  constructor(id: string, limits: Limits, network: MemoryOptions, checkpoints: CheckpointsGiven | undefined) {
    const options = { id, limits, identity: Identity.generate(), dial: dialPeer({ network }) }
    const host = new WorkerHost(checkpoints === undefined ? options : { ...options, checkpoints })
    this.#host = host
    linksTo(host)
    this.#listener = new MemoryListener(network, (transport, credentials) =>
      host.accept(transport, principalOf(host, credentials)),
    )
  }

  get address(): string {
    return this.#listener.address
  }
  get key(): string {
    return this.#host.identity.key
  }

  connect(...how: Parameters<MemoryListener['connect']>): ReturnType<MemoryListener['connect']> {
    return this.#listener.connect(...how)
  }

  close(): void {
    this.#listener.close()
    this.#host.close()
  }
}
