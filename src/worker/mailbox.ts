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
  readonly from: string
  take(content: Deposit): void
  fail(error: Error): void
}

export class Mailbox {
  readonly #limits: MailboxLimits
  readonly #waiting = new Map<string, Waiter>()
  readonly #deposits = new Map<string, { from: string; content: Deposit }>()

  constructor(limits: MailboxLimits) {
    this.#limits = limits
  }

  /** @throws SessionError `ERR_LIMIT` when too much waits already; StateError `ERR_ID_TAKEN` for a key used before */
  put(key: string, from: string, content: Deposit): void {
    const waiter = this.#waiting.get(key)
    if (waiter?.from === from) {
      this.#waiting.delete(key)
      return waiter.take(content)
    }
    if (this.#deposits.has(key)) throw sottoError('ERR_ID_TAKEN', 'something was handed over under this key before')
    if (this.#deposits.size >= this.#limits.deposits) {
      throw sottoError('ERR_LIMIT', `${this.#deposits.size} deposits wait to be taken; no more fit`)
    }
    this.#deposits.set(key, { from, content })
  }

  /** What came from a peer under a key: at once if it is there, else when it comes, or an error after a while. */
  take(key: string, from: string): Deposit | Promise<Deposit> {
    const deposit = this.#deposits.get(key)
    if (deposit?.from === from) {
      this.#deposits.delete(key)
      return deposit.content
    }
    return new Promise((resolve, reject) => {
      const { peerTimeout } = this.#limits
      const timer = setTimeout(() => {
        this.#waiting.delete(key)
        reject(sottoError('ERR_TIMEOUT', `nothing came from ${from} within ${peerTimeout} ms`, { from }))
      }, peerTimeout)
      const settle =
        <T>(then: (value: T) => void) =>
        (value: T) => {
          clearTimeout(timer)
          then(value)
        }
      this.#waiting.set(key, { from, take: settle(resolve), fail: settle(reject) })
    })
  }

  clear(): void {
    for (const { fail } of this.#waiting.values()) fail(sottoError('ERR_SESSION_CLOSED', 'the worker was closed'))
    this.#waiting.clear()
    this.#deposits.clear()
  }
}
