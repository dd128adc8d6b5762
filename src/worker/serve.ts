/** A worker that others reach over WebSockets: a service for an HTTP server, and a server of its own around it. */

import type { IncomingMessage, ServerResponse } from 'node:http'
import { Registry } from 'prom-client'
import { isSottoError, sottoError } from '../errors.ts'
import { checkOptions } from '../options.ts'
import { ready } from '../tensor/backend.ts'
import { type Auth, endRevoked, type KnownCaller, linksTo } from './admission.ts'
import { type CheckpointsGiven, checkCheckpoints } from './checkpoints.ts'
import { dialPeer } from './dial.ts'
import { defaultLimits, type Limits, type Principal, WorkerHost } from './host.ts'
import { Identity } from './identity.ts'
import { type Log, logTo } from './log.ts'
import { isLoopback } from './loopback.ts'
import { count } from './metrics.ts'
import { addData, type OwnData } from './own-data.ts'
import type { WorkerStats } from './protocol.ts'
import { listen, type ServerTls } from './server.ts'
import { type TokenRecord, Tokens } from './tokens.ts'
import type { LinkListener } from './transport/listener.ts'
import type { TlsOptions } from './transport/websocket.ts'

export interface ServerLimits extends Limits {
  /** Bytes of one message. What is larger travels in pieces. */
  readonly frame: number
  /** Connections at a time, of whatever kind. */
  readonly connections: number
}

export interface AuthOptions {
  /**
   * Tokens that were given out, as `sotto token` keeps them; a function is asked whenever somebody comes, and each second.
   * Sessions end with their token: when it is revoked, or not among those that the function gives.
   */
  readonly tokens?: readonly TokenRecord[] | Tokens | (() => Tokens)
  /** Whether a client certificate that `tls.ca` vouches for is enough; its common name is the identity. */
  readonly certificates?: boolean
  /** Whose key it is that a caller without a token shows, and what that caller may do; null for nobody's. */
  readonly callers?: (key: string) => KnownCaller | null | Promise<KnownCaller | null>
}

export interface ServiceOptions {
  /** Name of the worker. */
  readonly id: string
  /** Long-term key of the worker; a new one unless given, which nobody can have pinned. */
  readonly identity?: Identity
  /** Who may come in. Without it everyone is taken at their word: see `insecure`. */
  readonly auth?: AuthOptions
  readonly limits?: Partial<ServerLimits>
  /** Data sets of the owner, by name. */
  readonly data?: Readonly<Record<string, OwnData>>
  /** Identity that owns the data; the worker's own name unless given. */
  readonly owner?: string
  /**
   * Keys of other workers, by the names that the owner's rights give them (`allowShares`, `allow`): a name counts only for
   * the worker that its owner means by it.
   */
  readonly peers?: Readonly<Record<string, string>>
  /**
   * Where models are kept that callers save: the path of a folder, or a store. In memory, and gone with the worker, unless
   * given. A folder may serve several workers; each finds its own by its name.
   */
  readonly checkpoints?: CheckpointsGiven
  /** Milliseconds for which a session whose connection broke is kept; 60,000 unless given. */
  readonly grace?: number
  /** Milliseconds of silence after which a client is asked for a word; 15,000 unless given. */
  readonly heartbeat?: number
  /** What this worker trusts and shows when it dials its peers. */
  readonly peerTls?: TlsOptions
  readonly log?: Log | null
}

export interface ServeOptions extends ServiceOptions {
  /** Address to listen at; 127.0.0.1 unless given. */
  readonly host?: string
  /** 8777 unless given; 0 for any that is free. */
  readonly port?: number
  readonly tls?: ServerTls
  /** Lets a server that others can reach run without `auth`. */
  readonly insecure?: boolean
}

const serverLimits: ServerLimits = { ...defaultLimits, frame: 8 * 2 ** 20, connections: 2000 }

/** A worker behind an HTTP server: takes its upgrades, and answers `/healthz` and `/metrics`. */
export class WorkerService {
  readonly id: string
  readonly host: WorkerHost
  readonly limits: ServerLimits
  readonly links: LinkListener<Principal>
  readonly #metrics = new Registry()
  readonly #stopLooking: () => void
  #isClosing = false

  constructor(options: ServiceOptions) {
    const { id, identity = Identity.generate(), auth, limits = {}, grace = 60_000, heartbeat = 15_000, log } = options
    this.id = id
    this.limits = { ...serverLimits, ...limits }
    const dial = dialPeer({ grace, heartbeat, ...(options.peerTls ? { tls: options.peerTls } : {}) })
    const means = { owner: options.owner ?? id, peers: options.peers ?? {} }
    const { checkpoints } = options
    const host = { id, limits: this.limits, identity, dial, means }
    this.host = new WorkerHost(checkpoints === undefined ? host : { ...host, checkpoints })
    const admission = authOf(auth)
    this.links = linksTo(this.host, {
      auth: admission,
      times: { grace, heartbeat, message: this.limits.frame },
      onRefused: (error) => log?.warn({ code: codeOf(error), reason: error.message }, 'refused'),
    })
    this.#stopLooking = admission?.tokens === undefined ? () => {} : endRevoked(this.host, admission.tokens)
    count(this.host, this.#metrics)
    if (log) logTo(this.host, log)
    if (options.data) addData(this.host, options.owner ?? id, options.data)
  }

  /** The public key of the worker. */
  get key(): string {
    return this.host.identity.key
  }

  /** Answers a plain request. */
  request({ method, url = '/' }: IncomingMessage, response: ServerResponse): void {
    const path = url.split('?', 1)[0]!
    const answer = (status: number, type: string, body: string) => {
      response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' })
      response.end(method === 'HEAD' ? '' : body)
    }
    if (method !== 'GET' && method !== 'HEAD') return answer(405, 'text/plain', 'GET only\n')
    if (path.endsWith('/healthz')) {
      const { id, host, key } = this
      const health = { status: this.#isClosing ? 'closing' : 'ok', worker: id, key, incarnation: host.incarnation }
      return answer(this.#isClosing ? 503 : 200, 'application/json', `${JSON.stringify(health)}\n`)
    }
    if (path.endsWith('/metrics')) {
      this.#metrics.metrics().then(
        (text) => answer(200, this.#metrics.contentType, text),
        () => answer(500, 'text/plain', 'no metrics\n'),
      )
      return
    }
    answer(404, 'text/plain', `${this.id} is a Sotto worker: connect by WebSocket, or GET /healthz, /metrics\n`)
  }

  /** Finishes what was begun, for so many milliseconds at most, and tells whoever has a session that it is over. */
  async close(timeout = 10_000): Promise<void> {
    if (this.#isClosing) return
    this.#isClosing = true
    await this.host.finish(timeout)
    this.#stopLooking()
    this.host.close()
    this.links.close(sottoError('ERR_SESSION_CLOSED', `${this.id} is shutting down`))
  }
}

/** A worker that serves. */
export interface WorkerServer {
  readonly id: string
  /** Where it is reached: `wss://host:port`, or `ws://`. */
  readonly url: string
  readonly port: number
  /** Public key of the worker: what clients pin. */
  readonly key: string
  /** What runs behind it. */
  readonly host: WorkerHost
  stats(): WorkerStats
  /** Finishes what was begun, tells clients, and ends; see {@link WorkerService.close}. */
  close(timeout?: number): Promise<void>
}

/**
 * Serves a worker: the same that `sotto worker` starts.
 *
 * @throws AccessError `ERR_INSECURE` when others could reach it, and neither `auth` nor `insecure` is given; ValueError
 *   `ERR_ARGUMENT_VALUE` for a folder of checkpoints that cannot be written; what the system says when the port is taken
 */
export async function serveWorker(options: ServeOptions): Promise<WorkerServer> {
  checkServe(options)
  await ready()
  const { host = '127.0.0.1', port = 8777, tls, auth, insecure = false } = options
  const service = new WorkerService(options)
  await service.host.checkpoints.open()
  const { connections, frame } = service.limits
  const at = { host, port, tls, connections, maxMessage: frame, isOpen: auth === undefined && !insecure }
  const server = await listen(
    { ...at, request: (request, response) => service.request(request, response) },
    service.links,
  )
  return {
    id: service.id,
    url: server.url,
    port: server.port,
    key: service.key,
    host: service.host,
    stats: () => service.host.stats(),
    async close(timeout) {
      await service.close(timeout)
      await server.close()
    },
  }
}

const codeOf = (error: Error): string => (isSottoError(error) ? error.code : 'ERR_PROTOCOL')

function authOf(auth: AuthOptions | undefined): Auth | null {
  if (auth === undefined) return null
  const { tokens, certificates = false, callers } = auth
  const others = { certificates, ...(callers ? { callers } : {}) }
  if (tokens === undefined) return others
  if (typeof tokens === 'function') return { ...others, tokens }
  const known = tokens instanceof Tokens ? tokens : new Tokens(tokens)
  return { ...others, tokens: () => known }
}

const known: readonly (keyof ServeOptions)[] = [
  'id',
  'identity',
  'auth',
  'limits',
  'data',
  'owner',
  'peers',
  'checkpoints',
  'grace',
  'heartbeat',
  'peerTls',
  'log',
  'host',
  'port',
  'tls',
  'insecure',
]

function checkServe(options: ServeOptions): void {
  const entry = 'serveWorker'
  checkOptions(entry, options, known)
  const { id, host = '127.0.0.1', port = 8777, auth, insecure = false, limits = {}, tls } = options
  if (typeof id !== 'string' || id === '' || id.length > 256) {
    throw sottoError('ERR_ARGUMENT_TYPE', `${entry}: "id" expected a name of at most 256 characters`)
  }
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw sottoError('ERR_ARGUMENT_VALUE', `${entry}: "port" expected a number from 0 to 65535`)
  }
  checkOptions(`${entry} limits`, limits, Object.keys(serverLimits))
  for (const [name, value] of Object.entries(limits)) {
    if (Number.isSafeInteger(value) && value >= 0) continue
    throw sottoError('ERR_ARGUMENT_TYPE', `${entry} limits: "${name}" expected a whole number from 0`)
  }
  checkCheckpoints(entry, options.checkpoints)
  if (auth?.certificates === true && tls?.ca === undefined) {
    throw sottoError(
      'ERR_ARGUMENT_VALUE',
      `${entry}: certificates of clients need "tls" with a "ca" that vouches for them`,
    )
  }
  if (auth === undefined && !isLoopback(host) && !insecure) {
    throw sottoError(
      'ERR_INSECURE',
      `${entry}: at ${host} everyone could reach ${id}, and be whoever they say; give "auth", or { insecure: true }`,
    )
  }
}
