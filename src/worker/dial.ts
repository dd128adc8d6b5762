/** How a worker reaches a peer that a caller has introduced. */
import { isSottoError, sottoError } from '../errors.ts'
import type { HostOptions } from './host.ts'
import { defaultTimes } from './socket-worker.ts'
import { afterAwake } from './transport/awake.ts'
import type { Channel } from './transport/channel.ts'
import { dial } from './transport/dialler.ts'
import { dialHere, type LocalCredentials } from './transport/local.ts'
import type { MemoryOptions } from './transport/memory.ts'
import type { Transport } from './transport/transport.ts'
import { dialWebSocket, type TlsOptions } from './transport/websocket.ts'

export interface PeerDialling {
  /** How slow memory is made to be. */
  readonly network?: MemoryOptions
  /** Dials an address of this process; where the process is not asked directly. */
  readonly dialLocal?: (address: string, credentials: LocalCredentials, name: string) => Transport
  /** What this worker shows to servers, and whom it trusts. */
  readonly tls?: TlsOptions
  readonly grace?: number
  readonly heartbeat?: number
}

/** Milliseconds for which a peer that is not reached is tried directly, before what goes to it passes the caller. */
const DIRECTLY = 500
/** Milliseconds for one such try: an address that answers nothing would take minutes to say so. */
const TRY = 5000

/**
 * Dials peers: inside this process, by a socket, or where neither can be, by a tunnel through the caller. Whoever answers
 * must hold the key under which the peer was introduced.
 *
 * Where an address was given and nothing is reached there, a tunnel is taken if the caller passes things on. Somebody who
 * is reached and cannot show that it is the peer is not gone round: the link ends, and says so.
 */
export const dialPeer =
  ({ network = {}, dialLocal, tls, ...times }: PeerDialling = {}): HostOptions['dial'] =>
  (session, { name, address, relay = false, key, capability }) => {
    const { identity, limits } = session.host
    if (address !== null && !/^wss?:/.test(address)) {
      const credentials = { role: 'peer', capability, key: identity.key } as const
      return dialLocal?.(address, credentials, name) ?? dialHere(address, credentials, network)
    }
    const since = performance.now()
    /** How the link began: so it goes on, since the other end knows it by no other way. */
    let route: Channel['route'] | null = null
    const connect = async (signal: AbortSignal): Promise<Channel> => {
      let why = 'nobody passes on what goes there'
      if (address !== null && route !== 'relayed') {
        try {
          return await directly(address, signal, relay ? TRY : null, tls)
        } catch (error) {
          if (!relay || route === 'direct' || !isUnreached(error) || performance.now() - since < DIRECTLY) throw error
          why = `${(error as Error).message}; and ${why}`
        }
      }
      return session.tunnels.open(name, sottoError('ERR_UNREACHABLE', `no connection to ${name}: ${why}`))
    }
    const { link } = dial({
      name,
      connect,
      shake: { credentials: { role: 'peer', capability }, identity, pin: key },
      timeout: limits.peerTimeout,
      isPatient: true,
      grace: times.grace ?? defaultTimes.grace,
      heartbeat: times.heartbeat ?? defaultTimes.heartbeat,
      parts: limits.bytes,
    })
    link.onBegin(() => {
      route = link.isRelayed ? 'relayed' : 'direct'
    })
    return link
  }

const isUnreached = (error: unknown): boolean => isSottoError(error) && error.code === 'ERR_UNREACHABLE'

/** Connects to an address, in so many milliseconds where there is another way. */
async function directly(
  address: string,
  signal: AbortSignal,
  within: number | null,
  tls: TlsOptions | undefined,
): Promise<Channel> {
  const late = new AbortController()
  const giveUp = () => late.abort(sottoError('ERR_UNREACHABLE', `no connection to ${address} within ${within} ms`))
  const callOff = within === null ? () => {} : afterAwake(within, giveUp)
  try {
    const either = AbortSignal.any([signal, late.signal])
    return await dialWebSocket(address, { ...(tls ? { tls } : {}), vouched: true, signal: either })
  } finally {
    callOff()
  }
}
