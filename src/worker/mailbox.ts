/** What peers have handed over and nobody has taken yet, and who waits for what. Keys are random and used once. */
import { sottoError } from '../errors.ts'
import { payloadBytes } from './codec.ts'
import type { Deposit } from './protocol.ts'
import { afterAwake } from './transport/awake.ts'

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

/** A peer that is gone, and may come again. */
interface Loss {
  error: Error
  /** Calls off the end of its grace; null when that is over. */
  callOff: (() => void) | null
  /** The last command that was there at that end: it and those before it wait no more. */
  upTo: number
}

/** How much all sessions of a worker hold for later. */
export class MailboxCount {
  deposits = 0
  bytes = 0
}

/**
 * Milliseconds for a peer to come again from when it was lost, whoever waits for it. One that has had nothing to say since
 * dials when it has: commands that come later, and wait for it, have as many from the first of them on.
 */
const RETURN = 5000

/** A key is told to two ends only; what another peer hands over under it is kept apart. */
const slotOf = (key: string, from: string): string => `${key} ${from}`

/** The mailbox of one session. */
export class Mailbox {
  readonly #limits: MailboxLimits
  readonly #count: MailboxCount
  readonly #waiting = new Map<string, Waiter>()
  readonly #held = new Map<string, Held>()
  /** Peers that will hand over nothing more, unless they come again. */
  readonly #lost = new Map<string, Loss>()
  #isOver = false
  readonly #last: () => number

  /** @param last the number of the last command that has come */
  constructor(limits: MailboxLimits, count: MailboxCount, last: () => number) {
    this.#limits = limits
    this.#count = count
    this.#last = last
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
   * @param command the number of the command that waits
   * @throws StateError `ERR_ID_TAKEN` when something waits under this key already
   */
  take(key: string, from: string, command: number): Deposit | Promise<Deposit> {
    const slot = slotOf(key, from)
    const held = this.#held.get(slot)
    if (held) {
      this.#drop(slot, held)
      return held.content
    }
    if (this.#waiting.has(slot)) throw sottoError('ERR_ID_TAKEN', 'a command waits under this key already')
    const loss = this.#lost.get(from)
    if (loss?.callOff === null) {
      if (command <= loss.upTo) return Promise.reject(loss.error)
      this.#giveTime(from, loss)
    }
    return new Promise((resolve, reject) => {
      const { peerTimeout } = this.#limits
      const callOff = afterAwake(peerTimeout, () => {
        this.#waiting.delete(slot)
        const late = sottoError('ERR_TIMEOUT', `nothing came from ${from} within ${peerTimeout} ms`, { from })
        reject(this.#lost.get(from)?.error ?? late)
      })
      const settle =
        <T>(then: (value: T) => void) =>
        (value: T) => {
          callOff()
          then(value)
        }
      this.#waiting.set(slot, { from, take: settle(resolve), fail: settle(reject) })
    })
  }

  /**
   * A peer is gone: nobody waits for it. What it handed over before is still there. Commands that ask for more wait for it
   * to come again, for a while.
   */
  lose(from: string, error: Error): void {
    this.#failFrom(from, error)
    if (this.#isOver) return
    const known = this.#lost.get(from)
    if (known !== undefined) {
      known.error = error
      return
    }
    const loss: Loss = { error, callOff: null, upTo: 0 }
    this.#lost.set(from, loss)
    this.#giveTime(from, loss)
  }

  #giveTime(from: string, loss: Loss): void {
    const over = () => {
      loss.callOff = null
      loss.upTo = this.#last()
      this.#failFrom(from, loss.error)
    }
    // Whoever waits holds the process; a peer that nobody waits for need not.
    loss.callOff = afterAwake(Math.min(RETURN, this.#limits.peerTimeout), over, { isHeld: false })
  }

  /** A peer has come, for the first time or again. */
  found(from: string): void {
    this.#lost.get(from)?.callOff?.()
    this.#lost.delete(from)
  }

  /** Nobody waits for a session that has ended. */
  end(): void {
    this.#isOver = true
    for (const { callOff } of this.#lost.values()) callOff?.()
    this.#failAll(sottoError('ERR_SESSION_CLOSED', 'the session has ended'), () => true)
    for (const [slot, held] of this.#held) this.#drop(slot, held)
  }

  #failFrom(from: string, error: Error): void {
    this.#failAll(error, (waiter) => waiter.from === from)
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
