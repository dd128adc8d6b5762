/** What peers have handed over and nobody has taken yet, and who waits for what. Keys are random and used once. */
import { sottoError } from '../errors.ts'
import type { Deposit } from './protocol.ts'

export interface MailboxLimits {
  /** Milliseconds to wait for a peer. */
  readonly peerTimeout: number
  /** Deposits held for later. */
  readonly deposits: number
}

interface Waiter {
  /** The session that waits. */
  readonly session: object
  take(content: Deposit): void
  fail(error: Error): void
}

/** A key is told to two ends only; what another peer hands over under it is kept apart. */
const slotOf = (key: string, from: string): string => `${key} ${from}`

export class Mailbox {
  readonly #limits: MailboxLimits
  readonly #waiting = new Map<string, Waiter>()
  readonly #deposits = new Map<string, Deposit>()

  constructor(limits: MailboxLimits) {
    this.#limits = limits
  }

  /** @throws SessionError `ERR_LIMIT` when too much waits already; StateError `ERR_ID_TAKEN` for a key used before */
  put(key: string, from: string, content: Deposit): void {
    const slot = slotOf(key, from)
    const waiter = this.#waiting.get(slot)
    if (waiter) {
      this.#waiting.delete(slot)
      return waiter.take(content)
    }
    if (this.#deposits.has(slot)) throw sottoError('ERR_ID_TAKEN', 'something was handed over under this key before')
    if (this.#deposits.size >= this.#limits.deposits) {
      throw sottoError('ERR_LIMIT', `${this.#deposits.size} deposits wait to be taken; no more fit`)
    }
    this.#deposits.set(slot, content)
  }

  /**
   * What came from a peer under a key: at once if it is there, else when it comes, or an error after a while.
   *
   * @throws StateError `ERR_ID_TAKEN` when something waits under this key already
   */
  take(key: string, from: string, session: object): Deposit | Promise<Deposit> {
    const slot = slotOf(key, from)
    const deposit = this.#deposits.get(slot)
    if (deposit) {
      this.#deposits.delete(slot)
      return deposit
    }
    if (this.#waiting.has(slot)) throw sottoError('ERR_ID_TAKEN', 'a command waits under this key already')
    return new Promise((resolve, reject) => {
      const { peerTimeout } = this.#limits
      const timer = setTimeout(() => {
        this.#waiting.delete(slot)
        reject(sottoError('ERR_TIMEOUT', `nothing came from ${from} within ${peerTimeout} ms`, { from }))
      }, peerTimeout)
      const settle =
        <T>(then: (value: T) => void) =>
        (value: T) => {
          clearTimeout(timer)
          then(value)
        }
      this.#waiting.set(slot, { session, take: settle(resolve), fail: settle(reject) })
    })
  }

  /** Nobody waits for a session that has ended. */
  endSession(session: object): void {
    for (const [slot, waiter] of this.#waiting) {
      if (waiter.session !== session) continue
      this.#waiting.delete(slot)
      waiter.fail(sottoError('ERR_SESSION_CLOSED', 'the session has ended'))
    }
  }

  clear(): void {
    for (const { fail } of this.#waiting.values()) fail(sottoError('ERR_SESSION_CLOSED', 'the worker was closed'))
    this.#waiting.clear()
    this.#deposits.clear()
  }
}
