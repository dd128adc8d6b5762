/** Workers in this process: the same host, handlers and protocol as any other, over memory. */
import { sottoError } from '../errors.ts'
import { checkOptions } from '../options.ts'
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
    if (!isName(id)) {
      throw sottoError('ERR_ARGUMENT_TYPE', 'VirtualWorker: expected a name, such as new VirtualWorker("bob")')
    }
    checkVirtualOptions(options)
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

const isName = (value: unknown): value is string => typeof value === 'string' && value !== '' && value.length <= 256

function checkVirtualOptions(options: VirtualWorkerOptions): void {
  const entry = 'VirtualWorker'
  checkOptions(entry, options, ['identity', 'limits', 'latency', 'jitter', 'seed', 'codec', 'fault', 'lossTimeout'])
  checkOptions(`${entry} limits`, options.limits ?? {}, Object.keys(defaultLimits))
  const wrong = (option: string, expected: string): Error =>
    sottoError('ERR_ARGUMENT_TYPE', `${entry}: "${option}" expected ${expected}`, { option })
  for (const option of ['latency', 'jitter', 'seed', 'lossTimeout'] as const) {
    const value = options[option]
    if (value !== undefined && !(Number.isFinite(value) && value >= 0)) throw wrong(option, 'a number from 0')
  }
  const { identity, codec, fault } = options
  if (identity !== undefined && !isName(identity)) throw wrong('identity', 'a name of at most 256 characters')
  if (codec !== undefined && typeof codec !== 'boolean') throw wrong('codec', 'a boolean')
  if (fault !== undefined && typeof fault !== 'function') throw wrong('fault', 'a function')
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
