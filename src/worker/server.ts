/** An HTTP server, with or without TLS, whose upgrades become channels; it bears slow and many clients. */
import { X509Certificate } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import { WebSocketServer } from 'ws'
import { isLoopback } from './loopback.ts'
import type { LinkListener } from './transport/listener.ts'
import { nodeChannel } from './transport/websocket.ts'

/** What a server needs for TLS, in PEM. */
export interface ServerTls {
  readonly cert: string | Uint8Array
  readonly key: string | Uint8Array
  /** Authorities whose client certificates are taken; with it, clients are asked for one. */
  readonly ca?: string | Uint8Array
}

/** Milliseconds until the kernel looks whether a silent client's machine is still there. */
const KEEP_ALIVE = 10_000

/** Makes channels of requests to become a WebSocket. */
export class Upgrades {
  readonly #links: Pick<LinkListener<never>, 'accept'>
  readonly #sockets: WebSocketServer
  readonly #fingerprint: string | null
  readonly #isOpen: boolean
  isClosing = false

  /**
   * @param tls the certificate that the server shows; null for none
   * @param isOpen whether everyone who can connect is let in: then pages of other sites, which a browser lets connect to
   *   the machine that it runs on, are not
   */
  constructor(links: Pick<LinkListener<never>, 'accept'>, maxMessage: number, tls: ServerTls | null, isOpen = false) {
    this.#links = links
    this.#isOpen = isOpen
    this.#fingerprint =
      tls === null ? null : new X509Certificate(tls.cert).fingerprint256.replaceAll(':', '').toLowerCase()
    this.#sockets = new WebSocketServer({
      noServer: true,
      perMessageDeflate: false,
      maxPayload: maxMessage,
      clientTracking: false,
    })
  }

  take(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    // First of all: whoever hangs up now would end the process, as an error that nobody hears.
    socket.on('error', () => socket.destroy())
    if (this.isClosing) return turnAway(socket, '503 Service Unavailable')
    const isForeign = isForeignPage(request)
    if (this.#isOpen && isForeign) return turnAway(socket, '403 Forbidden')
    const shown = socket as Partial<TLSSocket>
    // A browser shows the certificate of its user for any page that asks.
    const subject = shown.authorized === true && !isForeign ? shown.getPeerCertificate?.().subject?.CN : undefined
    this.#sockets.handleUpgrade(request, socket, head, (webSocket) => {
      const raw = socket as Partial<Socket>
      // Small frames are collected here already: waiting for more would only cost time.
      raw.setNoDelay?.(true)
      raw.setKeepAlive?.(true, KEEP_ALIVE)
      const stranger = new Stranger(socket)
      this.#links
        .accept(nodeChannel(webSocket, null), {
          certificate: this.#fingerprint,
          clientCertificate: typeof subject === 'string' ? subject : null,
        })
        .then(() => stranger.isKnown())
    })
  }
}

/** Bytes that somebody may send who has not shown who it is: a handshake has some hundreds. */
const STRANGER = 64 * 2 ** 10

/** Hangs up on whoever sends much before it has shown who it is: a message is kept until all of it is there. */
class Stranger {
  readonly #socket: Duplex
  #read = 0

  constructor(socket: Duplex) {
    this.#socket = socket
    socket.on('data', this.#count)
  }

  readonly #count = ({ length }: Uint8Array): void => {
    this.#read += length
    if (this.#read > STRANGER) this.#socket.destroy()
  }

  isKnown(): void {
    this.#socket.off('data', this.#count)
  }
}

/** Says why, and hangs up whether or not the other end does. */
function turnAway(socket: Duplex, status: string): void {
  socket.once('finish', () => socket.destroy())
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\n\r\n`)
}

/** Whether a page asks that does not come from this machine (RFC 6455 §10.2); what is no page names no origin. */
function isForeignPage({ headers: { origin } }: IncomingMessage): boolean {
  if (origin === undefined) return false
  // A page out of a file, or in a frame that is kept apart, has the origin `null`.
  return !URL.canParse(origin) || !isLoopback(new URL(origin).hostname)
}

export interface Listening {
  readonly url: string
  readonly port: number
  close(): Promise<void>
}

export interface ListenAt {
  readonly host: string
  readonly port: number
  readonly tls: ServerTls | undefined
  /** Connections at a time, of whatever kind. */
  readonly connections: number
  /** Bytes of one message. */
  readonly maxMessage: number
  /** Whether everyone who can connect is let in; see {@link Upgrades}. */
  readonly isOpen: boolean
  /** Answers plain requests. */
  readonly request?: (request: IncomingMessage, response: ServerResponse) => void
}

/** Listens; what upgrades goes to the links. @throws what the system says when the port is taken */
export async function listen(
  { host, port, tls, connections, maxMessage, isOpen, request }: ListenAt,
  links: Pick<LinkListener<never>, 'accept'>,
): Promise<Listening> {
  const upgrades = new Upgrades(links, maxMessage, tls ?? null, isOpen)
  const server = httpServer(tls)
  server.maxConnections = connections
  // Of whatever kind: the server forgets those that have become WebSockets, and never knew those that are silent in TLS.
  const open = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    open.add(socket)
    socket.once('close', () => open.delete(socket))
  })
  server.on('request', request ?? ((_, response) => response.writeHead(404).end()))
  server.on('upgrade', (asked, socket, head) => upgrades.take(asked, socket, head))
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => {
      server.removeListener('error', reject)
      // From now on it is one connection that could not be taken.
      server.on('error', () => {})
      resolve()
    })
  })
  const { port: taken } = server.address() as AddressInfo
  return {
    url: `${tls ? 'wss' : 'ws'}://${host.includes(':') ? `[${host}]` : host}:${taken}`,
    port: taken,
    close: () =>
      new Promise((resolve) => {
        upgrades.isClosing = true
        server.close(() => resolve())
        // Those that are left have been told, or have said nothing yet; they may not be in a hurry.
        setTimeout(() => {
          for (const socket of open) socket.destroy()
        }, LEAVING).unref()
      }),
  }
}

/** Milliseconds for connections to end by themselves. */
const LEAVING = 500

const times = {
  headersTimeout: 10_000,
  requestTimeout: 10_000,
  keepAliveTimeout: 5000,
  connectionsCheckingInterval: 1000,
} as const

function httpServer(tls: ServerTls | undefined): Server {
  const server = tls === undefined ? createServer(times) : createTlsServer({ ...times, ...withTls(tls) })
  server.on('clientError', (_, socket) => socket.destroy())
  return server
}

function withTls({ cert, key, ca }: ServerTls) {
  const buffer = (pem: string | Uint8Array) => (typeof pem === 'string' ? pem : Buffer.from(pem))
  // Who comes without a certificate, or with a strange one, may have a token: it is for the worker to say.
  const mutual = ca === undefined ? {} : { ca: buffer(ca), requestCert: true, rejectUnauthorized: false }
  return { cert: buffer(cert), key: buffer(key), handshakeTimeout: 10_000, minVersion: 'TLSv1.2', ...mutual } as const
}
