/** What peers have handed over and nobody has taken yet, and who waits for what. Keys are random and used once. */
import { sottoError } from '../errors.ts'
import { payloadBytes } from './codec.ts'
import type { Deposit } from './protocol.ts'

export interface MailboxLimits {
  /** Milliseconds to wait for a peer. */
  readonly peerTimeout: number
  /** Deposits held for later, of all sessions. */
  readonly deposits: number
  /** Bytes of objects, and of deposits held for later, each. */
  readonly bytes: number
}

interface Waiter {
  readonly from: string
  take(content: Deposit): void
  fail(error: Error): void
}

interface Held {
  readonly content: Deposit
  readonly bytes: number
}

/** How much all sessions of a worker hold for later. */
export class MailboxCount {
  deposits = 0
  bytes = 0
}

/** Milliseconds for a peer that was lost to come again with what is waited for. */
const RETURN = 5000

/** A key is told to two ends only; what another peer hands over under it is kept apart. */
const slotOf = (key: string, from: string): string => `${key} ${from}`

/** The mailbox of one session. */
export class Mailbox {
  readonly #limits: MailboxLimits
  readonly #count: MailboxCount
  readonly #waiting = new Map<string, Waiter>()
  readonly #held = new Map<string, Held>()
  /** Peers that will hand over nothing more, and why. */
  readonly #lost = new Map<string, Error>()
  #isOver = false

  constructor(limits: MailboxLimits, count: MailboxCount) {
    this.#limits = limits
    this.#count = count
  }

  /** @throws SessionError `ERR_LIMIT` when too much waits already; StateError `ERR_ID_TAKEN` for a key used before */
  put(key: string, from: string, content: Deposit): void {
    if (this.#isOver) return
    const slot = slotOf(key, from)
    const waiter = this.#waiting.get(slot)
    if (waiter) {
      this.#waiting.delete(slot)
      return waiter.take(content)
    }
    if (this.#held.has(slot)) throw sottoError('ERR_ID_TAKEN', 'something was handed over under this key before')
    const { deposits, bytes: most } = this.#limits
    if (this.#count.deposits >= deposits) {
      throw sottoError('ERR_LIMIT', `${deposits} deposits wait to be taken; no more fit`)
    }
    const bytes = payloadBytes(content)
    if (this.#count.bytes + bytes > most) {
      throw sottoError('ERR_LIMIT', `${this.#count.bytes} bytes of deposits wait to be taken; ${bytes} more do not fit`)
    }
    this.#count.deposits++
    this.#count.bytes += bytes
    this.#held.set(slot, { content, bytes })
  }

  /**
   * What came from a peer under a key: at once if it is there, else when it comes, or an error after a while.
   *
   * @throws StateError `ERR_ID_TAKEN` when something waits under this key already
   */
  take(key: string, from: string): Deposit | Promise<Deposit> {
    const slot = slotOf(key, from)
    const held = this.#held.get(slot)
    if (held) {
      this.#drop(slot, held)
      return held.content
    }
    if (this.#waiting.has(slot)) throw sottoError('ERR_ID_TAKEN', 'a command waits under this key already')
    return new Promise((resolve, reject) => {
      const { peerTimeout } = this.#limits
      // A peer whose connection broke may be about to come again.
      const isLost = this.#lost.has(from)
      const timer = setTimeout(
        () => {
          this.#waiting.delete(slot)
          const late = sottoError('ERR_TIMEOUT', `nothing came from ${from} within ${peerTimeout} ms`, { from })
          reject(this.#lost.get(from) ?? late)
        },
        isLost ? Math.min(RETURN, peerTimeout) : peerTimeout,
      )
      const settle =
        <T>(then: (value: T) => void) =>
        (value: T) => {
          clearTimeout(timer)
          then(value)
        }
      this.#waiting.set(slot, { from, take: settle(resolve), fail: settle(reject) })
    })
  }

  /** A peer is gone: nobody waits for it. What it handed over before is still there. */
  lose(from: string, error: Error): void {
    this.#lost.set(from, error)
    this.#failAll(error, (waiter) => waiter.from === from)
  }

  /** A peer has come, for the first time or again. */
  found(from: string): void {
    this.#lost.delete(from)
  }

  /** Nobody waits for a session that has ended. */
  end(): void {
    this.#isOver = true
    this.#failAll(sottoError('ERR_SESSION_CLOSED', 'the session has ended'), () => true)
    for (const [slot, held] of this.#held) this.#drop(slot, held)
  }

  #failAll(error: Error, which: (waiter: Waiter) => boolean): void {
    for (const [slot, waiter] of this.#waiting) {
      if (!which(waiter)) continue
      this.#waiting.delete(slot)
      waiter.fail(error)
    }
  }

  #drop(slot: string, { bytes }: Held): void {
    this.#held.delete(slot)
    this.#count.deposits--
    this.#count.bytes -= bytes
  }
}
