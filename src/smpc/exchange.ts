/**
 * What the parties of a group hand each other in the course of commands: in a step, a party has something for some of
 * them, and goes on when what it expects of others is there. An opening is the step in which each hands the same to all.
 *
 * Steps are named by command and number, so that parties need not be at the same point; those of one turn of the event
 * loop travel in one message to each peer. A contribution that comes twice, for another operation, or of another length
 * than is expected shows that the parties are out of step: all of their secrets are given up.
 */
import { sottoError } from '../errors.ts'
import { exempt } from '../worker/memory-pool.ts'
import { nextTurn } from '../worker/session.ts'
import type { Part } from './messages.ts'

export type OpeningPart = Extract<Part, { kind: 'opening' }>

interface Opening {
  op: string | null
  /** Bytes to come from each, once this party is here. */
  expected: ReadonlyMap<string, number>
  readonly contributions: Map<string, Uint8Array>
  resolve: ((contributions: ReadonlyMap<string, Uint8Array>) => void) | null
  reject: ((error: Error) => void) | null
  /** When this party began to wait. */
  since: number
}

/** Steps to which peers contributed before this party came to them; past it they are out of step. */
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

const NOTHING: ReadonlyMap<string, number> = new Map()

const keyOf = (seq: number, step: number): string => `${seq}.${step}`

export class Exchange {
  readonly #options: ExchangeOptions
  readonly #openings = new Map<string, Opening>()
  /** Commands before this one are done, and nothing of theirs is still to come. */
  readonly #done = new Set<number>()
  #doneBelow = 1
  readonly #outbox = new Map<string, OpeningPart[]>()
  #timer: ReturnType<typeof setTimeout> | null = null
  #failed: Error | null = null
  /** Steps in which this party took part, and bytes that it sent in all. */
  openings = 0
  bytesSent = 0

  constructor(options: ExchangeOptions) {
    this.#options = options
  }

  /** Contributes the same to all others; gives what they contribute, in their order. */
  async open(seq: number, step: number, op: string, data: Uint8Array): Promise<readonly Uint8Array[]> {
    const { peers } = this.#options
    const theirs = await this.swap(
      { seq, step, op },
      new Map(peers.map((peer) => [peer, data])),
      new Map(peers.map((peer) => [peer, data.length])),
    )
    return peers.map((peer) => theirs.get(peer)!)
  }

  /** Hands something to some, and gives what comes of others, of so many bytes. */
  swap(
    { seq, step, op }: { readonly seq: number; readonly step: number; readonly op: string },
    outgoing: ReadonlyMap<string, Uint8Array>,
    expected: ReadonlyMap<string, number>,
  ): Promise<ReadonlyMap<string, Uint8Array>> {
    if (this.#failed) return Promise.reject(this.#failed)
    this.openings++
    for (const [peer, data] of outgoing) {
      this.bytesSent += data.length
      // Over some transports the peer gets the memory itself; over others it waits to be sent.
      exempt(data)
      if (this.#outbox.size === 0) nextTurn(() => this.#flush())
      const parts = this.#outbox.get(peer) ?? []
      this.#outbox.set(peer, parts)
      parts.push({ kind: 'opening', seq, step, op, data })
    }
    const key = keyOf(seq, step)
    const opening = this.#openingOf(key)
    opening.op = op
    opening.expected = expected
    opening.since = performance.now()
    return new Promise((resolve, reject) => {
      opening.resolve = resolve
      opening.reject = reject
      for (const [peer, { length }] of opening.contributions) {
        if (length !== expected.get(peer)) return this.#outOfStep(peer, `${length} bytes`, opening)
      }
      this.#settle(key, opening)
      if (this.#openings.has(key)) this.#watch()
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
    if (opening.resolve !== null && opening.expected.get(peer) !== data.length) {
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
    this.#outbox.clear()
    const openings = [...this.#openings.values()]
    this.#openings.clear()
    for (const { reject } of openings) reject?.(error)
  }

  #openingOf(key: string): Opening {
    let opening = this.#openings.get(key)
    if (opening === undefined) {
      opening = { op: null, expected: NOTHING, contributions: new Map(), resolve: null, reject: null, since: 0 }
      this.#openings.set(key, opening)
    }
    return opening
  }

  #settle(key: string, opening: Opening): void {
    const { resolve, expected, contributions } = opening
    if (resolve === null || contributions.size < expected.size) return
    this.#openings.delete(key)
    resolve(contributions)
  }

  #flush(): void {
    const outbox = [...this.#outbox]
    this.#outbox.clear()
    for (const [peer, parts] of outbox) this.#options.send(peer, parts)
  }

  #replayed(peer: string): void {
    this.#options.fail(sottoError('ERR_USED_TWICE', `${peer} contributed twice to one opening`, { peer }))
  }

  #outOfStep(peer: string, what: string, { op, expected }: Opening): void {
    const wanted = what.endsWith('bytes') ? `${expected.get(peer) ?? 'no'} bytes to ${op}` : op
    this.#options.fail(
      sottoError('ERR_OUT_OF_STEP', `${peer} contributed ${what} where this party expected ${wanted}`, { peer }),
    )
  }

  /** One timer for all openings: it asks whether the oldest has waited too long. */
  #watch(): void {
    if (this.#timer !== null) return
    const { timeout } = this.#options
    this.#timer = setTimeout(() => {
      this.#timer = null
      const now = performance.now()
      let waiting = false
      for (const { resolve, since, contributions, expected, op } of this.#openings.values()) {
        if (resolve === null) continue
        waiting = true
        if (now - since < timeout) continue
        const missing = [...expected.keys()].filter((peer) => !contributions.has(peer))
        const message = `nothing came from ${missing.join(' and ')} for ${op} within ${timeout} ms`
        return this.#options.fail(sottoError('ERR_TIMEOUT', message, { from: missing }))
      }
      if (waiting) this.#watch()
    }, timeout / 4)
  }
}
