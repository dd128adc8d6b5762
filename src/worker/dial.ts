/** How a worker reaches a peer that a caller has introduced. */
import type { HostOptions } from './host.ts'
import { defaultTimes } from './socket-worker.ts'
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

/**
 * Dials peers: inside this process, by a socket, or where neither can be, by a tunnel through the caller. Whoever answers
 * must hold the key under which the peer was introduced.
 */
export const dialPeer =
  ({ network = {}, dialLocal, tls, ...times }: PeerDialling = {}): HostOptions['dial'] =>
  (session, { name, address, key, capability }) => {
    const { identity, limits } = session.host
    if (address !== null && !/^wss?:/.test(address)) {
      const credentials = { role: 'peer', capability, key: identity.key } as const
      return dialLocal?.(address, credentials, name) ?? dialHere(address, credentials, network)
    }
    const connect =
      address === null
        ? async () => session.tunnels.open(name)
        : (signal: AbortSignal) => dialWebSocket(address, { ...(tls ? { tls } : {}), vouched: true, signal })
    return dial({
      name,
      connect,
      shake: { credentials: { role: 'peer', capability }, identity, pin: key },
      timeout: limits.peerTimeout,
      isPatient: true,
      grace: times.grace ?? defaultTimes.grace,
      heartbeat: times.heartbeat ?? defaultTimes.heartbeat,
      parts: limits.bytes,
    }).link
  }
