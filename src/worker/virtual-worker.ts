/** Workers in this process: the same host, handlers and protocol as any other, over memory. */
import { sottoError } from '../errors.ts'
import { defaultLimits, type Limits, WorkerHost } from './host.ts'
import { Session } from './session.ts'
import { dialMemory, MemoryListener, type MemoryOptions } from './transport/memory.ts'
import { Worker } from './worker.ts'

export interface VirtualWorkerOptions extends MemoryOptions {
  /** Who the sessions of this handle act as; 'me' unless given. */
  readonly identity?: string
  readonly limits?: Partial<Limits>
}

/**
 * A worker in this process, for scripts, simulations and tests.
 *
 * Without latency a command is carried out before the call returns. `latency`, `jitter`, `seed` and `fault` simulate a
 * network; `codec` turns every frame into bytes and back.
 */
export class VirtualWorker extends Worker {
  readonly address: string
  readonly #shared: Shared
  readonly #isPrimary: boolean

  constructor(id: string, options?: VirtualWorkerOptions)
  /** @internal */
  constructor(id: string, options: VirtualWorkerOptions, shared: Shared)
  constructor(id: string, options: VirtualWorkerOptions = {}, shared?: Shared) {
    if (typeof id !== 'string' || id === '') {
      throw sottoError('ERR_ARGUMENT_TYPE', 'VirtualWorker: expected a name, such as new VirtualWorker("bob")')
    }
    const { identity = 'me', limits, ...network } = options
    const ours = shared ?? new Shared(id, network, { ...defaultLimits, ...limits })
    const session = new Session(ours.listener.connect(), { role: 'caller', name: identity, worker: id })
    super(id, identity, session)
    this.#shared = ours
    this.#isPrimary = shared === undefined
    this.address = ours.listener.address
    if (this.#isPrimary) ours.handles.set(identity, this)
  }

  override as(identity: string): VirtualWorker {
    const known = this.#shared.handles.get(identity)
    if (known && !known.isClosed) return known
    const handle = new VirtualWorker(this.id, { identity }, this.#shared)
    this.#shared.handles.set(identity, handle)
    return handle
  }

  /** Ends the session; on the handle that made the worker, the worker too, with everything on it. */
  override async close(): Promise<void> {
    await super.close()
    if (this.#isPrimary) this.#shared.close()
  }
}

/** What the handles of one worker have in common. */
class Shared {
  readonly host: WorkerHost
  readonly listener: MemoryListener
  readonly handles = new Map<string, VirtualWorker>()

  constructor(id: string, network: MemoryOptions, limits: Limits) {
    this.host = new WorkerHost({ id, limits, dial: (address) => dialMemory(address, network) })
    this.listener = new MemoryListener(network, (transport) => this.host.accept(transport))
  }

  close(): void {
    this.listener.close()
    this.host.close()
  }
}
