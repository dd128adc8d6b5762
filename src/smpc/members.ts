/** Which groups a worker has a part in, and what came for groups that it has not been told of yet. */
import { isSottoError, sottoError } from '../errors.ts'
import type { WorkerHost } from '../worker/host.ts'
import type { HostSession } from '../worker/host-session.ts'
import type { Session } from '../worker/session.ts'
import type { Part } from './messages.ts'

/** A worker's part in a group: party or provider. */
export interface Member {
  readonly session: HostSession
  readonly group: string
  readonly isOver: boolean
  /** Something that another worker hands over. */
  take(from: string, part: Part): void
  /** Ends the part in the group. */
  end(reason: unknown): void
}

interface Early {
  /** The session that they came for. */
  readonly owner: HostSession
  readonly from: string
  readonly parts: readonly Part[]
  readonly at: number
}

/** Groups that one session may have at a time. */
const MOST_GROUPS = 1024

/** Groups that are over, remembered so that what still comes for them is dropped and not kept. */
const REMEMBERED = 1024

class Members {
  readonly #host: WorkerHost
  readonly #members = new Map<string, Member>()
  readonly #early = new Map<string, Early[]>()
  readonly #over = new Set<string>()
  #earlyCount = 0

  constructor(host: WorkerHost) {
    this.#host = host
  }

  /**
   * Takes a part in a group, which is made only then: a member says something to the others at once.
   *
   * @throws StateError `ERR_ID_TAKEN` when the group is known already; SessionError `ERR_LIMIT` when a session has too many
   */
  add(session: HostSession, group: string, make: () => Member): void {
    if (this.#members.has(group) || this.#over.has(group)) {
      throw sottoError('ERR_ID_TAKEN', 'this worker has a part in a group of that id, or had one')
    }
    this.#checkRoom(session)
    const member = make()
    this.#members.set(group, member)
    session.onEnd(() => {
      member.end(
        sottoError('ERR_PARTY_LOST', `${this.#host.id} has left the secret computation: its session has ended`),
      )
      this.#members.delete(group)
      this.#over.add(group)
      if (this.#over.size > REMEMBERED) this.#over.delete(this.#over.values().next().value as string)
    })
    const early = this.#early.get(group) ?? []
    this.#early.delete(group)
    this.#earlyCount -= early.length
    for (const { owner, from, parts } of early) {
      if (owner !== session) continue
      try {
        this.#give(member, from, parts)
      } catch (error) {
        // Whoever knew the id before its time has no part in the group: not the fault of who makes it.
        if (!isSottoError(error)) throw error
      }
    }
  }

  #checkRoom(session: HostSession): void {
    let count = 0
    for (const member of this.#members.values()) if (member.session === session && !member.isOver) count++
    if (count >= MOST_GROUPS) throw sottoError('ERR_LIMIT', `${MOST_GROUPS} groups go on in this session; no more fit`)
  }

  find(group: string): Member | undefined {
    return this.#members.get(group)
  }

  /** @throws SessionError `ERR_LIMIT` when too much has come for groups that nobody has told this worker of */
  take(owner: HostSession, from: string, group: string, parts: readonly Part[]): void {
    const member = this.#members.get(group)
    if (member !== undefined) {
      if (member.session !== owner) throw sottoError('ERR_PERMISSION', `${from} has no part in this`)
      return this.#give(member, from, parts)
    }
    if (this.#over.has(group)) return
    this.#forgetOld()
    if (this.#earlyCount >= this.#host.limits.deposits) {
      throw sottoError('ERR_LIMIT', `${this.#earlyCount} messages wait for groups that this worker has no part in`)
    }
    const early = this.#early.get(group) ?? []
    early.push({ owner, from, parts, at: performance.now() })
    this.#early.set(group, early)
    this.#earlyCount++
  }

  #give(member: Member, from: string, parts: readonly Part[]): void {
    for (const part of parts) member.take(from, part)
  }

  #forgetOld(): void {
    const oldest = performance.now() - this.#host.limits.peerTimeout
    for (const [group, list] of this.#early) {
      if (list[0]!.at >= oldest) continue
      this.#early.delete(group)
      this.#earlyCount -= list.length
    }
  }
}

const all = new WeakMap<WorkerHost, Members>()

/** The groups of a worker. */
export function membersOf(host: WorkerHost): Members {
  let members = all.get(host)
  if (members === undefined) {
    members = new Members(host)
    all.set(host, members)
  }
  return members
}

/** Hands parts to a member of a group, over the link to its session there. */
export function sendParts(link: Session, group: string, parts: readonly Part[]): void {
  // Typed by the table of secret messages; the session knows those of the worker alone.
  link.tell('secretParts' as never, { group, parts } as never)
}
