/** Who may have a session with a worker, and as whom. */
import { sottoError } from '../errors.ts'
import type { Principal, WorkerHost } from './host.ts'
import type { HostSession } from './host-session.ts'
import { type Right, revoked, rights, type Tokens } from './tokens.ts'
import { unheld } from './transport/awake.ts'
import type { Credentials, Proof } from './transport/handshake.ts'
import { LinkListener } from './transport/listener.ts'
import type { LocalCredentials } from './transport/local.ts'

/** Who dials from inside this process: callers are taken at their word, and may do everything. */
export function principalOf(host: WorkerHost, credentials: LocalCredentials): Principal | Promise<Principal> {
  if (credentials.role === 'caller') return { role: 'caller', identity: null, rights }
  return host.peer(credentials.capability, credentials.key)
}

/** How callers from elsewhere show who they are. */
export interface Auth {
  /** Tokens that are good now. */
  readonly tokens?: () => Tokens
  /** Whether a client certificate, vouched for by an authority of the server's, is enough: its common name is taken. */
  readonly certificates?: boolean
  /** Whose key it is that a caller without a token shows, or null. */
  readonly callers?: (key: string) => KnownCaller | null | Promise<KnownCaller | null>
}

/** Who holds a key, and what they may do. */
export interface KnownCaller {
  readonly identity: string
  readonly rights: readonly Right[]
}

/**
 * Who dials from elsewhere.
 *
 * @param auth null where everyone is taken at their word
 * @throws AccessError `ERR_TOKEN`, `ERR_TOKEN_EXPIRED`, `ERR_IDENTITY`, `ERR_CAPABILITY`
 */
export function admit(
  host: WorkerHost,
  auth: Auth | null,
  credentials: Credentials,
  { key, certificate }: Proof,
): Principal | Promise<Principal> {
  switch (credentials.role) {
    case 'peer':
      if (key === null)
        throw sottoError('ERR_CAPABILITY', 'a capability is good for whoever shows the key that it names')
      return host.peer(credentials.capability, key)
    case 'worker':
      throw sottoError('ERR_PROTOCOL', `${host.id} is a worker itself, and takes none`)
    default: {
      if (auth === null) return { role: 'caller', identity: null, rights }
      if (credentials.token === null && auth.certificates === true && certificate !== null) {
        return { role: 'caller', identity: certificate, rights }
      }
      const { tokens, callers } = auth
      if (credentials.token === null && callers !== undefined && key !== null) return callerOf(host, callers(key))
      if (tokens === undefined && callers !== undefined) {
        throw sottoError('ERR_IDENTITY', `${host.id} takes callers who show a key that it knows, and none came`)
      }
      if (tokens === undefined) {
        throw sottoError('ERR_CERTIFICATE', `${host.id} takes callers with a certificate that it knows, and none came`)
      }
      const bearer = tokens().check(credentials.token)
      return { role: 'caller', identity: bearer.identity, rights: bearer.rights, token: bearer }
    }
  }
}

async function callerOf(host: WorkerHost, known: KnownCaller | null | Promise<KnownCaller | null>): Promise<Principal> {
  const caller = await known
  if (caller === null) throw sottoError('ERR_IDENTITY', `${host.id} knows nobody of the key that was shown`)
  return { role: 'caller', ...caller }
}

/** Milliseconds between two looks at tokens that somebody else may change. */
const LOOK = 1000

/**
 * Ends sessions whose token was revoked: at once, or where the tokens are those of a file, say, within a second.
 *
 * @returns stops looking
 */
export function endRevoked(host: WorkerHost, tokens: () => Tokens): () => void {
  const look = (): void => {
    let known: Tokens
    try {
      known = tokens()
    } catch {
      // Whoever comes now hears of it; what was revoked is not known.
      return
    }
    for (const session of [...host.sessions]) {
      const { principal } = session
      if (principal.role !== 'caller' || principal.token === undefined) continue
      if (!known.isStanding(principal.token)) session.close(revoked(principal.token))
    }
  }
  const timer = unheld(setInterval(look, LOOK))
  const forget = tokens().onRevoked(look)
  return () => {
    clearInterval(timer)
    forget()
  }
}

export interface AdmissionTimes {
  readonly grace: number
  readonly heartbeat: number
  /** Bytes of one message. */
  readonly message: number
}

/** What a worker takes unless it is told otherwise. */
const usual: AdmissionTimes = { grace: 60_000, heartbeat: 15_000, message: 8 * 2 ** 20 }

/** Takes links to a worker: in tunnels, and those that are given to the listener, from sockets. */
export function linksTo(
  host: WorkerHost,
  {
    auth = null,
    times = usual,
    onRefused,
  }: { auth?: Auth | null; times?: AdmissionTimes; onRefused?: (error: Error) => void } = {},
): LinkListener<Principal> {
  const { id, identity, incarnation, limits } = host
  const listener = (admitting: (credentials: Credentials, proof: Proof) => Principal | Promise<Principal>) =>
    new LinkListener<Principal>({
      id,
      identity,
      incarnation,
      ...times,
      parts: limits.bytes,
      admit: admitting,
      nameOf: (principal) => (principal.role === 'caller' ? principal.identity : principal.name),
      begin: (link, principal) => host.accept(link, principal),
      ...(onRefused ? { onRefused } : {}),
    })
  host.onTunnel = (session, accept) => {
    tunnelled(listener, host, session).accept(accept())
  }
  return listener((credentials, proof) => admit(host, auth, credentials, proof))
}

const inTunnels = new WeakMap<HostSession, LinkListener<Principal>>()

/** Links in tunnels of one session: of peers, and of its caller as somebody else, where that is taken at its word. */
function tunnelled(
  listener: (
    admitting: (credentials: Credentials, proof: Proof) => Principal | Promise<Principal>,
  ) => LinkListener<Principal>,
  host: WorkerHost,
  session: HostSession,
): LinkListener<Principal> {
  const known = inTunnels.get(session)
  if (known !== undefined) return known
  const made = listener((credentials, proof) => {
    const { principal } = session
    if (credentials.role !== 'caller') return admit(host, null, credentials, proof)
    if (principal.role === 'caller' && principal.identity === null) return principal
    throw sottoError('ERR_IDENTITY', `${session.name} cannot have a session as somebody else`)
  })
  inTunnels.set(session, made)
  session.onEnd(() => made.close())
  return made
}
