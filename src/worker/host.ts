/**
 * The worker itself: what it holds, who has a session with it, and what it allows.
 *
 * The same host stands behind every kind of worker; transports bring it sessions.
 */
import { sottoError } from '../errors.ts'
import { type Capability, isGood } from './capabilities.ts'
import { type CheckpointLimits, Checkpoints, type CheckpointsGiven } from './checkpoints.ts'
import { HostSession } from './host-session.ts'
import type { Identity } from './identity.ts'
import { Ledger } from './ledger.ts'
import { MailboxCount } from './mailbox.ts'
import { FEWEST_OWNERS } from './permissions.ts'
import type { ErrorWire, LinkStats, PeerIntroduction, WorkerStats } from './protocol.ts'
import { Store } from './store.ts'
import type { Right, TokenBearer } from './tokens.ts'
import type { Channel } from './transport/channel.ts'
import type { Transport } from './transport/transport.ts'

export interface Limits extends CheckpointLimits {
  /** Elements of one tensor. */
  readonly elements: number
  /** Objects at a time. */
  readonly objects: number
  /** Bytes of objects, and of deposits that nobody has asked for yet, each. */
  readonly bytes: number
  /** Sessions of callers at a time. */
  readonly sessions: number
  /** Of one identity: objects, bytes and sessions. */
  readonly identityObjects: number
  readonly identityBytes: number
  readonly identitySessions: number
  /** Commands of one session that wait for their turn. */
  readonly inFlight: number
  /** Bytes of commands of all sessions that wait for their turn, or of which some are still on their way. */
  readonly waitingBytes: number
  /** Bytes of answers of all sessions that wait to be sent: beyond it, those that have most carry out nothing more. */
  readonly unsentBytes: number
  /** Milliseconds that a command waits for a peer. */
  readonly peerTimeout: number
  /** Deposits of peers that nobody has asked for yet. */
  readonly deposits: number
}

const GIB = 2 ** 30
export const defaultLimits: Limits = {
  elements: 2 ** 28,
  objects: 1_000_000,
  bytes: 16 * GIB,
  sessions: 1000,
  identityObjects: 1_000_000,
  identityBytes: 16 * GIB,
  identitySessions: 1000,
  inFlight: 100_000,
  waitingBytes: 4 * GIB,
  unsentBytes: 4 * GIB,
  peerTimeout: 60_000,
  deposits: 10_000,
  checkpoints: 10_000,
  checkpointBytes: 16 * GIB,
  identityCheckpoints: 1000,
  identityCheckpointBytes: 16 * GIB,
}

/** Who is at the other end of a session. */
export type Principal =
  | {
      readonly role: 'caller'
      /** Who it was found to be; null where it is taken at its word. */
      readonly identity: string | null
      readonly rights: readonly Right[]
      /** The token that it came with. */
      readonly token?: TokenBearer
    }
  | {
      readonly role: 'peer'
      /** The name under which the caller introduced it. */
      readonly name: string
      readonly key: string
      /** The session that it may hand things to. */
      readonly owner: HostSession
    }

/** Who is told what goes on, for counts and logs. */
export interface Observer {
  handled(message: string): void
  failed(session: HostSession, message: string, error: ErrorWire): void
  began(session: HostSession): void
  ended(session: HostSession, reason: Error | undefined): void
}

export interface HostOptions {
  readonly id: string
  readonly limits: Limits
  readonly identity: Identity
  /** Connects to a peer that was introduced in a session. */
  readonly dial: (session: HostSession, peer: PeerIntroduction) => Transport
  /** Whom an owner means by names of workers, without having said so in a session. */
  readonly means?: Meant
  /** Owners whose values a masked sum must hold before it is a total. Default: 3. */
  readonly fewestOwners?: number
  /** Where models are kept that callers save; in memory, and gone with the worker, unless given. */
  readonly checkpoints?: CheckpointsGiven
}

/** An owner, and the keys of workers by the names under which this owner knows them. */
export interface Meant {
  readonly owner: string
  readonly peers: Readonly<Record<string, string>>
}

/** Milliseconds for which a peer may be ahead of the session that it comes for. */
const EARLY_PEER = 10_000
/** Peers that may be ahead. */
const EARLY_PEERS = 1000

export class WorkerHost {
  readonly id: string
  readonly limits: Limits
  readonly identity: Identity
  /** Of this run of the worker: one that died and came back has another. */
  readonly incarnation = globalThis.crypto.randomUUID()
  readonly store = new Store((by) => {
    if (by instanceof HostSession) by.recordForeign()
  })
  readonly ledger = new Ledger()
  readonly checkpoints: Checkpoints
  readonly mailboxCount = new MailboxCount()
  /** Bytes of commands of all sessions that wait, or are on their way. */
  waitingBytes = 0
  readonly dial: HostOptions['dial']
  readonly fewestOwners: number
  /** Who takes the tunnels that begin at a caller or a peer; unless set, nobody. */
  onTunnel: (session: HostSession, accept: () => Channel) => void = (_, accept) => accept().close()
  readonly observers: Observer[] = []
  /** Identities that put data here themselves, when the worker was started. */
  readonly owners = new Set<string>()
  readonly #means: Meant[]
  readonly #sessions = new Set<HostSession>()
  /** Sessions of callers by their ids, and who waits for one. */
  readonly #byId = new Map<string, HostSession>()
  readonly #awaited = new Map<string, Set<(session: HostSession) => void>>()
  #early = 0
  #isClosing = false

  constructor({ id, limits, identity, dial, means, fewestOwners = FEWEST_OWNERS, checkpoints }: HostOptions) {
    this.id = id
    this.limits = limits
    this.identity = identity
    this.dial = dial
    this.fewestOwners = fewestOwners
    this.checkpoints = new Checkpoints(id, limits, checkpoints)
    this.#means = means === undefined ? [] : [means]
  }

  /** Takes a session. */
  accept(transport: Transport, principal: Principal | Promise<Principal>): void {
    if (principal instanceof Promise) {
      principal.then(
        (known) => this.accept(transport, known),
        (error: Error) => transport.close(error),
      )
      return
    }
    if (this.#isClosing) return transport.close(sottoError('ERR_SESSION_CLOSED', `${this.id} is shutting down`))
    const session = new HostSession(this, transport, principal)
    this.#sessions.add(session)
    transport.onClose((reason) => {
      this.#sessions.delete(session)
      if (this.#byId.get(session.id) === session) this.#byId.delete(session.id)
      session.end(reason)
      for (const observer of this.observers) observer.ended(session, reason)
    })
  }

  /** Who a peer is that shows a capability. It may be ahead of the caller whose session it comes for. */
  peer(capability: Capability, key: string): Principal | Promise<Principal> {
    const check = (owner: HostSession): Principal => {
      if (owner.secret === null || !isGood(owner.secret, capability, key)) throw this.#noCapability()
      return { role: 'peer', name: capability.name, key, owner }
    }
    const known = this.#byId.get(capability.session)
    if (known !== undefined) return check(known)
    if (this.#early >= EARLY_PEERS) throw this.#noCapability()
    this.#early++
    return new Promise<HostSession>((resolve, reject) => {
      const { session: id } = capability
      const waiting = this.#awaited.get(id) ?? new Set()
      this.#awaited.set(id, waiting)
      const settle = () => {
        clearTimeout(timer)
        this.#early--
        waiting.delete(found)
        if (waiting.size === 0) this.#awaited.delete(id)
      }
      const found = (session: HostSession) => {
        settle()
        resolve(session)
      }
      const timer = setTimeout(() => {
        settle()
        reject(this.#noCapability())
      }, EARLY_PEER)
      waiting.add(found)
    }).then(check)
  }

  #noCapability(): Error {
    return sottoError('ERR_CAPABILITY', `${this.id} knows no session for which this capability is good`)
  }

  /** Notes the name that the caller of a session gave it. */
  greeted(session: HostSession): void {
    const { sessions, identitySessions } = this.limits
    if (this.#byId.has(session.id)) throw sottoError('ERR_ID_TAKEN', 'there is a session of that id already')
    const own = [...this.#byId.values()].filter(({ name }) => name === session.name).length
    if (this.#byId.size >= sessions) throw sottoError('ERR_LIMIT', `${this.id} has ${sessions} sessions, its most`)
    if (own >= identitySessions) {
      throw sottoError('ERR_LIMIT', `${session.name} has ${own} sessions with ${this.id}, the most for one identity`)
    }
    this.#byId.set(session.id, session)
    for (const found of [...(this.#awaited.get(session.id) ?? [])]) found(session)
  }

  /** Whether an identity put data here itself, when the worker was started. */
  isOwner(identity: string): boolean {
    return this.owners.has(identity)
  }

  /** Notes whom an owner means by names of workers, besides what sessions of it say. */
  means(meant: Meant): void {
    this.#means.push(meant)
  }

  /** Whether an identity means the worker of this key by this name: a session of it has said so, or the worker was started so. */
  knows(identity: string, peer: string, key: string): boolean {
    for (const { owner, peers } of this.#means) {
      if (identity === owner && Object.hasOwn(peers, peer) && peers[peer] === key) return true
    }
    for (const { name, peers } of this.#byId.values()) {
      if (name === identity && peers.get(peer)?.key === key) return true
    }
    return false
  }

  /**
   * Whether a session should let answers leave before it makes more: all sessions have too much of them, and this one, of
   * which so many bytes wait, more than its part.
   */
  isClogged(unsent: number): boolean {
    const { unsentBytes } = this.limits
    if (unsent <= unsentBytes / this.#sessions.size) return false
    let all = 0
    for (const session of this.#sessions) all += session.unsent
    return all > unsentBytes
  }

  /** Sessions of callers and peers. */
  get sessions(): ReadonlySet<HostSession> {
    return this.#sessions
  }

  stats(): WorkerStats {
    const links: LinkStats[] = []
    for (const session of this.#sessions) {
      const { role, name, traffic } = session
      links.push({ role, name, ...traffic }, ...session.links())
    }
    const sum = (pick: (link: LinkStats) => number) => links.reduce((total, link) => total + pick(link), 0)
    return {
      objects: this.store.infos().length,
      bytes: this.store.bytes,
      links,
      framesIn: sum((link) => link.framesIn),
      framesOut: sum((link) => link.framesOut),
      bytesIn: sum((link) => link.bytesIn),
      bytesOut: sum((link) => link.bytesOut),
    }
  }

  /** Takes no more sessions and waits until what was begun is done, for so many milliseconds at most. */
  async finish(timeout: number): Promise<void> {
    this.#isClosing = true
    // What peers bring is for a caller, who waits for it or not.
    const callers = [...this.#sessions].filter(({ role }) => role === 'caller')
    const all = Promise.all(callers.map((session) => session.finished()))
    let timer: ReturnType<typeof setTimeout> | undefined
    await Promise.race([
      all,
      new Promise((resolve) => {
        timer = setTimeout(resolve, timeout)
      }),
    ])
    clearTimeout(timer)
  }

  close(): void {
    this.#isClosing = true
    const reason = sottoError('ERR_SESSION_CLOSED', `${this.id} was closed`)
    for (const session of [...this.#sessions]) session.close(reason)
    this.store.clear()
  }
}
