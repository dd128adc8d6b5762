/** Workers on other machines: the same host, handlers and protocol as any other, over WebSockets. */
import { sottoError } from '../errors.ts'
import { checkOptions } from '../options.ts'
import { type Identity, isKey } from './identity.ts'
import { callerSession, type Session } from './session.ts'
import { checkToken, socketUrl } from './socket-url.ts'
import type { Channel } from './transport/channel.ts'
import { type DiallerOptions, dial } from './transport/dialler.ts'
import type { Transport } from './transport/transport.ts'
import { dialWebSocket, type TlsOptions } from './transport/websocket.ts'
import { Worker } from './worker.ts'

export interface ConnectOptions extends TlsOptions {
  /** What the owner of the worker gave out (`sotto token`). It says who its bearer is, and what they may do. */
  readonly token?: string
  /** Who to act as, where the worker takes one at one's word; 'me' unless given, or unless the token says. */
  readonly identity?: string
  /** The key that the worker must hold, `ed25519:…` as it prints it: then its certificate need not be vouched for. */
  readonly pin?: string
  /** Where other workers reach it, if that is not where this end does: behind a port that is passed on, say. */
  readonly address?: string
  /** Key pair of this end, which the worker may ask for. */
  readonly as?: Identity
  /**
   * Milliseconds, of every wait: for the connection (30,000 unless given), and for an answer, while the worker says
   * nothing at all (600,000 unless given: it may be computing). 0 for no end.
   */
  readonly timeout?: number
  /** Milliseconds for which a broken connection is tried again; 60,000 unless given. */
  readonly grace?: number
  /** Milliseconds of silence after which the worker is asked for a word; 15,000 unless given, 0 for never. */
  readonly heartbeat?: number
  /** Gives connecting up. */
  readonly signal?: AbortSignal
  /** Sends the token over a connection that others could read. */
  readonly insecure?: boolean
}

const known: readonly (keyof ConnectOptions)[] = [
  'token',
  'identity',
  'pin',
  'address',
  'as',
  'timeout',
  'grace',
  'heartbeat',
  'signal',
  'insecure',
  'ca',
  'cert',
  'key',
]

export const defaultTimes = { connect: 30_000, timeout: 600_000, grace: 60_000, heartbeat: 15_000 } as const
/** Bytes of large answers that may be on their way here. */
export const PARTS = 2 ** 32

/**
 * A worker of another process or machine. Its methods are those of a {@link VirtualWorker}; a script written for one runs
 * on the other.
 *
 * Commands are sent as they are issued. A connection that breaks is made again without a word, for as long as `grace`
 * says; what was under way arrives, once. If the worker itself is gone, everything rejects with `ERR_WORKER_LOST`, and
 * with `ERR_WORKER_RESTARTED` when it has come back empty.
 */
export class SocketWorker extends Worker {
  readonly address: string | null
  readonly key: string
  readonly #again: (identity: string) => SocketWorker
  readonly #handles: Map<string, SocketWorker>
  readonly #isFirst: boolean

  /** @internal */
  constructor(parts: SocketParts) {
    super(parts.id, parts.identity, parts.session)
    this.address = parts.address
    this.key = parts.key
    this.#again = parts.again
    this.#handles = parts.handles
    this.#isFirst = this.#handles.size === 0
    this.#handles.set(parts.identity, this)
  }

  /**
   * Connects to a worker.
   *
   * @param url `wss://host:8777`, or `ws://` where nobody can listen
   * @throws AccessError `ERR_TOKEN`, `ERR_TOKEN_EXPIRED`, `ERR_CERTIFICATE`, `ERR_IDENTITY`, and `ERR_INSECURE` for a
   *   token over `ws://` to another machine; SessionError `ERR_UNREACHABLE`, `ERR_TIMEOUT`, `ERR_ABORTED`
   */
  static async connect(url: string, options: ConnectOptions = {}): Promise<SocketWorker> {
    checkConnect(url, options)
    const { pin, identity = 'me' } = options
    const connect: Connect = (signal) => dialWebSocket(url, { tls: options, vouched: pin !== undefined, signal })
    const { link, welcomed } = dial(diallingOf(url, connect, options))
    const { worker: id, key, identity: taken } = await welcomed
    return SocketWorker.over(
      link,
      { id, key, address: options.address ?? url, identity: taken ?? identity, options },
      connect,
    )
  }

  /** @internal A first session over a link that has begun. */
  static over(link: Transport, { id, key, address, identity, options }: Reached, connect: Connect): SocketWorker {
    const { timeout = defaultTimes.timeout } = options
    const handles = new Map<string, SocketWorker>()
    const handle = (transport: Transport, who: string): SocketWorker => {
      const session = callerSession(transport, who, id, timeout)
      return new SocketWorker({ id, identity: who, key, address, session, handles, again })
    }
    // What is issued on it waits until it is connected.
    const again = (who: string): SocketWorker =>
      handle(dial(diallingOf(id, connect, { ...options, identity: who, pin: key })).link, who)
    return handle(link, identity)
  }

  override as(identity: string): SocketWorker {
    const open = this.#handles.get(identity)
    if (open && !open.isClosed) return open
    const handle = this.#again(identity)
    this.#handles.set(identity, handle)
    return handle
  }

  /** Ends the session, and those of the same worker as somebody else. */
  override async close(): Promise<void> {
    await super.close()
    if (!this.#isFirst) return
    for (const handle of this.#handles.values()) if (handle !== this) await handle.close()
  }
}

type Connect = (signal: AbortSignal) => Promise<Channel>

/** A worker with which a link has begun. */
interface Reached {
  readonly id: string
  readonly key: string
  /** Where peers can dial the worker; null where they cannot. */
  readonly address: string | null
  readonly identity: string
  readonly options: ConnectOptions
}

function diallingOf(name: string, connect: Connect, options: ConnectOptions): DiallerOptions {
  const { identity = null, token = null, as = null, pin = null, signal } = options
  return {
    name,
    connect,
    shake: { credentials: { role: 'caller', identity, token }, identity: as, pin },
    timeout: options.timeout ?? defaultTimes.connect,
    grace: options.grace ?? defaultTimes.grace,
    heartbeat: options.heartbeat ?? defaultTimes.heartbeat,
    parts: PARTS,
    ...(signal ? { signal } : {}),
  }
}

interface SocketParts {
  readonly id: string
  readonly identity: string
  readonly key: string
  readonly address: string | null
  readonly session: Session
  readonly handles: Map<string, SocketWorker>
  again(identity: string): SocketWorker
}

function checkConnect(url: string, options: ConnectOptions): void {
  const entry = 'SocketWorker.connect'
  checkOptions(entry, options, known)
  const { token, pin, address, insecure = false } = options
  const parsed = socketUrl(entry, url)
  if (address !== undefined) socketUrl(`${entry}: "address"`, address)
  if (pin !== undefined && !isKey(pin)) {
    throw sottoError('ERR_ARGUMENT_VALUE', `${entry}: "pin" expected the key of a worker, ed25519:…`)
  }
  for (const option of ['timeout', 'grace', 'heartbeat'] as const) {
    const value = options[option]
    if (value === undefined || (Number.isFinite(value) && value >= 0)) continue
    throw sottoError('ERR_ARGUMENT_TYPE', `${entry}: "${option}" expected milliseconds, from 0`, { option })
  }
  checkToken(entry, parsed, token, insecure)
}
