/** A worker that nobody can dial, behind a firewall or in a browser: it dials whoever is to use it. */
import { checkOptions, numberOption } from '../options.ts'
import { ready } from '../tensor/backend.ts'
import { linksTo } from './admission.ts'
import { type CheckpointsGiven, checkCheckpoints } from './checkpoints.ts'
import { dialPeer } from './dial.ts'
import { defaultLimits, type Limits, WorkerHost } from './host.ts'
import { Identity } from './identity.ts'
import { type Log, logTo } from './log.ts'
import { addData, type OwnData } from './own-data.ts'
import { FEWEST_OWNERS } from './permissions.ts'
import { checkToken, socketUrl } from './socket-url.ts'
import { defaultTimes } from './socket-worker.ts'
import { rights } from './tokens.ts'
import { dial } from './transport/dialler.ts'
import { dialWebSocket, type TlsOptions } from './transport/websocket.ts'

export interface OfferOptions extends TlsOptions {
  /** Name of the worker. */
  readonly id: string
  /** Long-term key of the worker; a new one unless given. */
  readonly identity?: Identity
  /** What the hub gave out. */
  readonly token?: string
  /** Sends the token over a connection that others could read. */
  readonly insecure?: boolean
  /**
   * Whom the hub acts for. Unless given it is taken at its word, but never for the owner of the data: name it where
   * private data is allowed to some and not to others.
   */
  readonly caller?: string
  /** The key that the hub must hold. */
  readonly pin?: string
  readonly limits?: Partial<Limits>
  /** Data sets of the owner, by name. */
  readonly data?: Readonly<Record<string, OwnData>>
  readonly owner?: string
  /** Keys of other workers, by the names that the owner's rights give them; see `serveWorker`. */
  readonly peers?: Readonly<Record<string, string>>
  /**
   * Owners whose values a masked sum must hold before whoever may see totals learns it. Default: 3. With 2, the other owner
   * can tell this one's part from the sum, and so can the caller with the help of the other.
   */
  readonly fewestOwners?: number
  /** Where models are kept that callers save: the path of a folder, or a store; see `serveWorker`. */
  readonly checkpoints?: CheckpointsGiven
  readonly grace?: number
  readonly heartbeat?: number
  /** Where lines about sessions and failures go. */
  readonly log?: Log | null
  /** Told when it has been taken, and when it is no longer. */
  readonly onChange?: (state: 'connected' | 'lost', reason?: Error) => void
}

export interface OfferedWorker {
  readonly id: string
  readonly key: string
  readonly host: WorkerHost
  /** Finishes what was begun, for so many milliseconds at most, and leaves. */
  close(timeout?: number): Promise<void>
}

const known: readonly (keyof OfferOptions)[] = [
  'id',
  'identity',
  'token',
  'pin',
  'limits',
  'data',
  'owner',
  'peers',
  'fewestOwners',
  'checkpoints',
  'grace',
  'heartbeat',
  'onChange',
  'insecure',
  'caller',
  'log',
  'ca',
  'cert',
  'key',
]

/** Milliseconds between two tries to be taken. */
const PAUSE = 1000

/**
 * Offers a worker to a hub (see `listenForWorkers`), again and again until it is closed. Who has the hub has the worker:
 * it is taken at its word as to whom it acts for, and rights on private data hold as everywhere.
 *
 * @param url `wss://hub:8778`
 * @throws AccessError when the hub refuses the first time: another time may not be better
 */
export async function offerWorker(url: string, options: OfferOptions): Promise<OfferedWorker> {
  checkOptions('offerWorker', options, known)
  checkToken('offerWorker', socketUrl('offerWorker', url), options.token, options.insecure ?? false)
  checkCheckpoints('offerWorker', options.checkpoints)
  await ready()
  const { id, identity = Identity.generate(), token = null, pin = null, limits = {}, onChange } = options
  const { grace = defaultTimes.grace, heartbeat = defaultTimes.heartbeat, owner = id, peers = {} } = options
  const fewestOwners = numberOption('offerWorker', 'fewestOwners', options.fewestOwners ?? FEWEST_OWNERS, {
    from: 2,
    integer: true,
  })
  const host = new WorkerHost({
    id,
    identity,
    limits: { ...defaultLimits, ...limits },
    dial: dialPeer({ grace, heartbeat, tls: options }),
    means: { owner, peers },
    fewestOwners,
    ...(options.checkpoints === undefined ? {} : { checkpoints: options.checkpoints }),
  })
  await host.checkpoints.open()
  linksTo(host, { auth: null, times: { grace, heartbeat, message: MESSAGE } })
  if (options.log) logTo(host, options.log)
  if (options.data) addData(host, owner, options.data)
  let isClosed = false
  const once = async (): Promise<void> => {
    const { link, welcomed } = dial({
      name: url,
      connect: (signal) => dialWebSocket(url, { tls: options, vouched: pin !== null, signal }),
      shake: { credentials: { role: 'worker', name: id, token }, identity, pin },
      timeout: defaultTimes.connect,
      grace,
      heartbeat,
      parts: host.limits.bytes,
    })
    await welcomed
    host.accept(link, { role: 'caller', identity: options.caller ?? null, rights })
    onChange?.('connected')
    link.onClose((reason) => {
      onChange?.('lost', reason)
      if (!isClosed) again()
    })
  }
  const again = (): void => {
    setTimeout(() => {
      if (!isClosed) once().catch(again)
    }, PAUSE)
  }
  await once()
  return {
    id,
    key: identity.key,
    host,
    async close(timeout = 10_000) {
      isClosed = true
      await host.finish(timeout)
      host.close()
    },
  }
}

/** Bytes of a message in a tunnel. */
const MESSAGE = 8 * 2 ** 20
