/**
 * Intersections of two people, each with a set of ids: one listens, one connects. They show who they are as a worker and
 * its caller do, by key, token or certificate; what they say to each other goes through a tunnel inside that session.
 */
import { sottoError } from '../errors.ts'
import { checkOptions } from '../options.ts'
import { Identity } from '../worker/identity.ts'
import { isLoopback } from '../worker/loopback.ts'
import { type AuthOptions, WorkerService } from '../worker/serve.ts'
import { listen, type ServerTls } from '../worker/server.ts'
import { type ConnectOptions, SocketWorker } from '../worker/socket-worker.ts'
import type { Channel as Tunnel } from '../worker/transport/channel.ts'
import type { Channel } from './channel.ts'
import type { IdSet } from './ids.ts'
import { intersectOver, type PsiOptions, type PsiResult } from './two-party.ts'
import { WindowedChannel } from './windowed-channel.ts'

export interface PsiListenOptions {
  /** Name of this end, for the other; `owner` unless given. */
  readonly id?: string
  /** Long-term key of this end; a new one unless given, which nobody can have pinned. */
  readonly identity?: Identity
  /** Who may come in. Without it everyone is: see `insecure`. */
  readonly auth?: AuthOptions
  /** Address to listen at; 127.0.0.1 unless given. */
  readonly host?: string
  /** 8778 unless given; 0 for any that is free. */
  readonly port?: number
  readonly tls?: ServerTls
  /** Lets an end that others can reach run without `auth`. */
  readonly insecure?: boolean
}

/** An end that listens for one intersection. */
export interface PsiServer {
  /** Where it is reached: `wss://host:port`, or `ws://`. */
  readonly url: string
  /** The public key of this end: what the other pins. */
  readonly key: string
  /** What this end learns, with the identity of who came. Rejects as {@link intersectOver}, and when it is closed before. */
  readonly result: Promise<PsiResult & { readonly peer: string }>
  close(): Promise<void>
}

/** Says that a message was taken; messages have one byte at least. */
const TAKEN = new Uint8Array(0)

/** A channel through a tunnel. */
function through(tunnel: Tunnel, peer: string): Channel {
  const channel = new WindowedChannel()
  channel.open((message) => tunnel.send(message ?? TAKEN))
  tunnel.onMessage((message) => channel.take(message.length === 0 ? null : message))
  tunnel.onClose((reason) =>
    channel.fail(sottoError('ERR_PARTY_LOST', `${peer} has left the intersection`, { party: peer }, reason)),
  )
  return channel
}

/** What opens a tunnel: nothing that belongs to the protocol. */
const BEGIN = Uint8Array.of(1)

/**
 * Listens for the other side of one intersection. Whoever is let in first is it; others are turned away.
 *
 * @param ids this side's; a promise where they are being read meanwhile
 * @param options.side which side this is: the one that connects is the other
 * @throws AccessError `ERR_INSECURE` when others could reach it, and neither `auth` nor `insecure` is given; what the system
 * says when the port is taken
 */
export async function listenForPsi(
  ids: IdSet | Promise<IdSet>,
  options: PsiOptions,
  at: PsiListenOptions = {},
): Promise<PsiServer> {
  checkOptions('listenForPsi', at, ['id', 'identity', 'auth', 'host', 'port', 'tls', 'insecure'])
  const {
    id = 'owner',
    identity = Identity.generate(),
    auth,
    host = '127.0.0.1',
    port = 8778,
    tls,
    insecure = false,
  } = at
  if (auth === undefined && !isLoopback(host) && !insecure) {
    throw sottoError(
      'ERR_INSECURE',
      `at ${host} everyone could reach ${id}, and learn which of their ids it has; give "auth", or { insecure: true }`,
    )
  }
  const service = new WorkerService({ id, identity, ...(auth === undefined ? {} : { auth }) })
  let settle: { resolve(result: PsiResult & { peer: string }): void; reject(error: unknown): void }
  const result = new Promise<PsiResult & { peer: string }>((resolve, reject) => {
    settle = { resolve, reject }
  })
  // Whoever awaits it hears of it.
  result.catch(() => {})
  let isTaken = false
  service.host.onTunnel = (session, accept) => {
    const tunnel = accept()
    if (isTaken) return tunnel.close()
    isTaken = true
    const peer = session.name
    const channel = through(skippingFirst(tunnel), peer)
    Promise.resolve(ids)
      .then((set) => intersectOver(channel, set, { peer, ...options }))
      .then(
        (learnt) => settle.resolve({ ...learnt, peer }),
        (error) => settle.reject(error),
      )
      .finally(() => closeWhenSent(tunnel))
  }
  const { connections, frame } = service.limits
  const server = await listen(
    {
      ...{ host, port, tls, connections, maxMessage: frame, isOpen: auth === undefined && !insecure },
      request: (request, response) => service.request(request, response),
    },
    service.links,
  )
  return {
    url: server.url,
    key: service.key,
    result,
    async close() {
      settle.reject(sottoError('ERR_SESSION_CLOSED', `${id} was closed`))
      await service.close()
      await server.close()
    },
  }
}

/** The message that opened a tunnel is none of the protocol's. */
function skippingFirst(tunnel: Tunnel): Tunnel {
  tunnel.onMessage((_) => tunnel.onMessage(null))
  return tunnel
}

/** What was said last has left before the tunnel closes. */
function closeWhenSent(tunnel: Tunnel): void {
  if (tunnel.buffered === 0) tunnel.close()
  else tunnel.onDrain(() => tunnel.close())
}

/**
 * Connects to who listens for the other side of an intersection.
 *
 * @param url `wss://host:8778`, or `ws://` where nobody can listen
 * @param connect as for a worker: token, pin, certificates
 * @throws as {@link SocketWorker.connect} and {@link intersectOver}
 */
export async function connectForPsi(
  url: string,
  ids: IdSet | Promise<IdSet>,
  options: PsiOptions,
  connect: ConnectOptions = {},
): Promise<PsiResult & { readonly peer: string }> {
  const worker = await SocketWorker.connect(url, connect)
  try {
    const tunnel = worker.tunnel()
    const peer = worker.id
    const channel = through(tunnel, peer)
    tunnel.send(BEGIN)
    return { ...(await intersectOver(channel, await ids, { peer, ...options })), peer }
  } finally {
    await worker.close()
  }
}
