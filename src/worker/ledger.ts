/**
 * The ledger: what left a worker in clear, or came to be known in clear on it, and to whom.
 *
 * Events that differ in their time alone share a row with a count, so that a long training run stays a short table.
 */
import type { DType, Shape } from '../tensor/shape.ts'

export type LedgerEvent = 'left' | 'came' | 'refused'

/** One row of a ledger. */
export interface LedgerEntry {
  /** Whether the value left the worker, came to it, or was asked for and refused. */
  readonly event: LedgerEvent
  /** The verb: get, fetch, send, move, copy, gradient, get model, … */
  readonly operation: string
  readonly shape: Shape
  readonly dtype: DType
  readonly tags: readonly string[]
  /** Worker or identity that it came from. */
  readonly from: string
  /** Worker or identity that saw it. */
  readonly to: string
  /** Who asked, and under what right. */
  readonly why: string
  readonly count: number
  /** Bytes of all events of this row. */
  readonly bytes: number
  /** Milliseconds since 1970. */
  readonly first: number
  readonly last: number
}

export type LedgerRecord = Omit<LedgerEntry, 'count' | 'first' | 'last'>

/** Rows kept apart; beyond them, shapes and tags are no longer told apart, and nothing is dropped. */
const ROWS = 10_000

export class Ledger {
  readonly #rows = new Map<string, { -readonly [K in keyof LedgerEntry]: LedgerEntry[K] }>()

  record(record: LedgerRecord): void {
    const { event, operation, shape, dtype, tags, from, to, why } = record
    const now = Date.now()
    const parties = [event, operation, from, to, why]
    let key = JSON.stringify([...parties, shape, dtype, tags])
    let row = this.#rows.get(key)
    if (row === undefined && this.#rows.size >= ROWS) {
      key = JSON.stringify(parties)
      row = this.#rows.get(key)
    }
    if (row === undefined) {
      this.#rows.set(key, { ...record, tags: [...tags], count: 1, first: now, last: now })
      return
    }
    row.count++
    row.bytes += record.bytes
    row.last = now
  }

  /** Rows in the order of their first event. */
  entries(): LedgerEntry[] {
    return [...this.#rows.values()].map((row) => ({ ...row }))
  }
}
