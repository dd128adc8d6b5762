/** Where workers come that cannot be dialled: the caller listens, and they dial. */
import { sottoError } from '../errors.ts'
import { checkOptions } from '../options.ts'
import { Identity } from './identity.ts'
import { isLoopback } from './loopback.ts'
import { listen, type ServerTls } from './server.ts'
import { type ConnectOptions, SocketWorker } from './socket-worker.ts'
import { revoked, type TokenBearer, type TokenRecord, Tokens } from './tokens.ts'
import type { Link } from './transport/link.ts'
import { LinkListener } from './transport/listener.ts'

export interface HubOptions {
  /** Address to listen at; 127.0.0.1 unless given. */
  readonly host?: string
  /** 8778 unless given; 0 for any that is free. */
  readonly port?: number
  readonly tls?: ServerTls
  /** Tokens that were given to workers, each with the worker's name for an identity; who came with one ends with it. */
  readonly tokens?: readonly TokenRecord[] | Tokens
  /** Keys that workers must hold, by their names; others are not taken. */
  readonly workers?: Readonly<Record<string, string>>
  /** Lets a hub that others can reach take any worker at its word. */
  readonly insecure?: boolean
  /** Long-term key of the hub, which workers may pin. */
  readonly identity?: Identity
  /** Milliseconds for which a worker whose connection broke is waited for; 60,000 unless given. */
  readonly grace?: number
  readonly heartbeat?: number
}

export interface HubWorkerOptions {
  /** Who to act as; 'me' unless given. */
  readonly identity?: string
  /** Milliseconds to wait for the worker to come, and for an answer; 120,000 unless given, 0 for ever. */
  readonly timeout?: number
  readonly signal?: AbortSignal
}

export interface Hub {
  readonly url: string
  readonly port: number
  readonly key: string
  /** Names of the workers that are there and not taken. */
  readonly waiting: readonly string[]
  /**
   * A worker that has come, or comes.
   *
   * @throws SessionError `ERR_TIMEOUT`, `ERR_ABORTED`
   */
  worker(name: string, options?: HubWorkerOptions): Promise<SocketWorker>
  /** Takes no more workers, and lets those go that are there. */
  close(): Promise<void>
}

interface Arrived {
  readonly name: string
  readonly key: string
  readonly token: TokenBearer | null
  readonly link: Link
}

const known: readonly (keyof HubOptions)[] = [
  'host',
  'port',
  'tls',
  'tokens',
  'workers',
  'insecure',
  'identity',
  'grace',
  'heartbeat',
]

/**
 * Listens for workers that dial: `sotto worker --dial wss://this-host:8778`, or `offerWorker`.
 *
 * @throws AccessError `ERR_INSECURE` when others could reach it and neither `tokens`, `workers` nor `insecure` is given
 */
export async function listenForWorkers(options: HubOptions = {}): Promise<Hub> {
  checkOptions('listenForWorkers', options, known)
  const { host = '127.0.0.1', port = 8778, tls, workers, insecure = false, identity = Identity.generate() } = options
  const { grace = 60_000, heartbeat = 15_000 } = options
  const tokens =
    options.tokens === undefined || options.tokens instanceof Tokens ? options.tokens : new Tokens(options.tokens)
  if (tokens === undefined && workers === undefined && !isLoopback(host) && !insecure) {
    throw sottoError(
      'ERR_INSECURE',
      `listenForWorkers: at ${host} anyone could pass for a worker; give "tokens" or "workers", or { insecure: true }`,
    )
  }
  const arrived = new Map<string, Arrived>()
  const awaited = new Map<string, Set<(worker: Arrived) => void>>()
  /** Links with workers that came with a token. */
  const bearing = new Map<Link, TokenBearer>()
  const forget = tokens?.onRevoked(() => {
    for (const [link, token] of bearing) if (!tokens.isStanding(token)) link.close(revoked(token))
  })
  const links = new LinkListener<Omit<Arrived, 'link'>>({
    id: 'hub',
    identity,
    incarnation: globalThis.crypto.randomUUID(),
    grace,
    heartbeat,
    message: MESSAGE,
    parts: PARTS,
    nameOf: ({ name }) => name,
    admit(credentials, { key }) {
      if (credentials.role !== 'worker') throw sottoError('ERR_PROTOCOL', 'a hub takes workers only')
      const { name } = credentials
      if (key === null) throw sottoError('ERR_IDENTITY', `${name} shows no key`)
      if (workers !== undefined && workers[name] !== key) {
        throw sottoError('ERR_IDENTITY', `${name} does not hold the key under which this hub knows it`)
      }
      const token = tokens?.check(credentials.token) ?? null
      if (token !== null && token.identity !== name) {
        throw sottoError('ERR_IDENTITY', `the token is not that of ${name}`)
      }
      return { name, key, token }
    },
    begin(link, { name, key, token }) {
      const worker = { name, key, token, link }
      if (token !== null) {
        bearing.set(link, token)
        link.onClose(() => bearing.delete(link))
      }
      const [waiter] = awaited.get(name) ?? []
      if (waiter) return waiter(worker)
      arrived.get(name)?.link.close(sottoError('ERR_SESSION_CLOSED', `another ${name} has come`))
      arrived.set(name, worker)
      // Nobody has asked it anything: until it is taken, what it says would only be kept.
      link.onFrame(() => link.close(sottoError('ERR_PROTOCOL', `${name} speaks before it is asked`)))
      link.onClose(() => {
        if (arrived.get(name) === worker) arrived.delete(name)
      })
    },
  })
  const isOpen = tokens === undefined && workers === undefined && !insecure
  const server = await listen({ host, port, tls, connections: CONNECTIONS, maxMessage: MESSAGE, isOpen }, links)
  const taken = (
    { link, name: id, key }: Arrived,
    { identity: who = 'me', timeout }: HubWorkerOptions,
  ): SocketWorker => {
    arrived.delete(id)
    const settings: ConnectOptions = { grace, heartbeat, ...(timeout === undefined ? {} : { timeout }) }
    const worker: SocketWorker = SocketWorker.over(
      link,
      { id, key, address: null, identity: who, options: settings },
      // Nobody can dial it: it is spoken to as somebody else inside the first session.
      async () => worker.tunnel(),
    )
    return worker
  }
  return {
    url: server.url,
    port: server.port,
    key: identity.key,
    get waiting() {
      return [...arrived.keys()]
    },
    async worker(name, wait = {}) {
      const here = arrived.get(name)
      if (here !== undefined) return taken(here, wait)
      const { timeout = 120_000, signal } = wait
      const set = awaited.get(name) ?? new Set()
      awaited.set(name, set)
      return new Promise((resolve, reject) => {
        const settle = (then: () => void) => {
          clearTimeout(timer)
          signal?.removeEventListener('abort', abort)
          set.delete(come)
          then()
        }
        const come = (worker: Arrived) => settle(() => resolve(taken(worker, wait)))
        const late = () => settle(() => reject(sottoError('ERR_TIMEOUT', `${name} did not come within ${timeout} ms`)))
        const abort = () =>
          settle(() => reject(sottoError('ERR_ABORTED', `${name}: the wait was given up, by its signal`)))
        const timer = timeout === 0 ? undefined : setTimeout(late, timeout)
        if (signal?.aborted) return abort()
        signal?.addEventListener('abort', abort, { once: true })
        set.add(come)
      })
    },
    async close() {
      forget?.()
      links.close(sottoError('ERR_SESSION_CLOSED', 'the hub was closed'))
      await server.close()
    },
  }
}

const CONNECTIONS = 2000
/** Bytes of a message: those of a worker's answers. */
const MESSAGE = 64 * 2 ** 20
/** Bytes of large answers on their way here. */
const PARTS = 2 ** 32
