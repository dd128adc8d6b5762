/**
 * What the parties of a group open together: each contributes to an opening, and has it when all contributions are there.
 *
 * Openings are named by command and step, so that parties need not be at the same point; those of one turn of the event
 * loop travel in one message to each peer. A contribution that comes twice, for another operation, or of another length
 * than ours shows that the parties are out of step: all of their secrets are given up.
 */
import { sottoError } from '../errors.ts'
import { nextTurn } from '../worker/session.ts'
import type { Part } from './messages.ts'

export type OpeningPart = Extract<Part, { kind: 'opening' }>

interface Opening {
  op: string | null
  length: number
  readonly contributions: Map<string, Uint8Array>
  resolve: ((contributions: readonly Uint8Array[]) => void) | null
  reject: ((error: Error) => void) | null
  /** When this party began to wait. */
  since: number
}

/** Openings for which peers contributed before this party came to them; past it they are out of step. */
const MOST_EARLY = 100_000

export interface ExchangeOptions {
  readonly peers: readonly string[]
  /** Milliseconds to wait for a peer. */
  readonly timeout: number
  /** Sends parts to a peer, in one message. */
  send(peer: string, parts: readonly Part[]): void
  /** Something was seen that ends the group. */
  fail(error: Error): void
}

const keyOf = (seq: number, step: number): string => `${seq}.${step}`

export class Exchange {
  readonly #options: ExchangeOptions
  readonly #openings = new Map<string, Opening>()
  /** Commands before this one are done, and nothing of theirs is still to come. */
  readonly #done = new Set<number>()
  #doneBelow = 1
  #outbox: OpeningPart[] = []
  #timer: ReturnType<typeof setTimeout> | null = null
  #failed: Error | null = null
  openings = 0
  bytesToEach = 0

  constructor(options: ExchangeOptions) {
    this.#options = options
  }

  /** Contributes to an opening; gives what the others contributed. */
  open(seq: number, step: number, op: string, data: Uint8Array): Promise<readonly Uint8Array[]> {
    if (this.#failed) return Promise.reject(this.#failed)
    this.openings++
    this.bytesToEach += data.length
    if (this.#outbox.length === 0) nextTurn(() => this.#flush())
    this.#outbox.push({ kind: 'opening', seq, step, op, data })
    const key = keyOf(seq, step)
    const opening = this.#openingOf(key)
    opening.op = op
    opening.length = data.length
    opening.since = performance.now()
    return new Promise((resolve, reject) => {
      opening.resolve = resolve
      opening.reject = reject
      this.#watch()
      for (const [peer, contribution] of opening.contributions) {
        if (contribution.length !== data.length) return this.#outOfStep(peer, `${contribution.length} bytes`, opening)
      }
      this.#settle(key, opening)
    })
  }

  /** A peer's contribution came. */
  take(peer: string, { seq, step, op, data }: OpeningPart): void {
    if (this.#failed) return
    if (seq < this.#doneBelow || this.#done.has(seq)) return this.#replayed(peer)
    const key = keyOf(seq, step)
    const opening = this.#openingOf(key)
    if (opening.contributions.has(peer)) return this.#replayed(peer)
    if (opening.op !== null && opening.op !== op) return this.#outOfStep(peer, op, opening)
    if (opening.resolve !== null && opening.length !== data.length) {
      return this.#outOfStep(peer, `${data.length} bytes`, opening)
    }
    opening.op = op
    opening.contributions.set(peer, data)
    if (this.#openings.size > MOST_EARLY) {
      return this.#options.fail(sottoError('ERR_LIMIT', `${peer} is more than ${MOST_EARLY} openings ahead`))
    }
    this.#settle(key, opening)
  }

  /** Nothing of a command is still to come; what comes is a replay. */
  done(seq: number): void {
    this.#done.add(seq)
    while (this.#done.delete(this.#doneBelow)) this.#doneBelow++
  }

  /** Ends every opening with an error. */
  fail(error: Error): void {
    this.#failed = error
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    this.#outbox = []
    const openings = [...this.#openings.values()]
    this.#openings.clear()
    for (const { reject } of openings) reject?.(error)
  }

  #openingOf(key: string): Opening {
    let opening = this.#openings.get(key)
    if (opening === undefined) {
      opening = { op: null, length: 0, contributions: new Map(), resolve: null, reject: null, since: 0 }
      this.#openings.set(key, opening)
    }
    return opening
  }

  #settle(key: string, opening: Opening): void {
    const { peers } = this.#options
    if (opening.resolve === null || opening.contributions.size < peers.length) return
    this.#openings.delete(key)
    opening.resolve(peers.map((peer) => opening.contributions.get(peer)!))
  }

  #flush(): void {
    const parts = this.#outbox
    this.#outbox = []
    if (parts.length === 0) return
    for (const peer of this.#options.peers) this.#options.send(peer, parts)
  }

  #replayed(peer: string): void {
    this.#options.fail(sottoError('ERR_USED_TWICE', `${peer} contributed twice to one opening`, { peer }))
  }

  #outOfStep(peer: string, what: string, { op, length }: Opening): void {
    const expected = what.endsWith('bytes') ? `${length} bytes to ${op}` : op
    this.#options.fail(
      sottoError('ERR_OUT_OF_STEP', `${peer} contributed ${what} where this party expected ${expected}`, { peer }),
    )
  }

  /** One timer for all openings: it asks whether the oldest has waited too long. */
  #watch(): void {
    if (this.#timer !== null) return
    const { timeout, peers } = this.#options
    this.#timer = setTimeout(() => {
      this.#timer = null
      const now = performance.now()
      let waiting = false
      for (const { resolve, since, contributions, op } of this.#openings.values()) {
        if (resolve === null) continue
        waiting = true
        if (now - since < timeout) continue
        const missing = peers.filter((peer) => !contributions.has(peer))
        const message = `nothing came from ${missing.join(' and ')} for ${op} within ${timeout} ms`
        return this.#options.fail(sottoError('ERR_TIMEOUT', message, { from: missing }))
      }
      if (waiting) this.#watch()
    }, timeout / 4)
  }
}
