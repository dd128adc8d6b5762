/**
 * The ledger: what left a worker in clear, or came to be known in clear on it, and to whom.
 *
 * Events that differ in their time alone share a row with a count, so that a long training run stays a short table.
 */
import type { DType, Shape } from '../tensor/shape.ts'

/**
 * A value left the worker in clear, came to it, or was asked for and refused; was shared as a secret, which shows it to
 * nobody; or was opened by those who hold shares of it, each of whom writes the same.
 */
export type LedgerEvent = 'left' | 'came' | 'refused' | 'shared' | 'opened'

/** One row of a ledger. */
export interface LedgerEntry {
  /** What became of the value. */
  readonly event: LedgerEvent
  /** The verb: get, fetch, send, operand, move, gradient, get model, …; of a change refused: step, zeroGrad, … */
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
  /** How it went, unless directly: past somebody who passed it on, sealed. */
  readonly route?: 'relayed'
  readonly count: number
  /** Bytes of all events of this row. */
  readonly bytes: number
  /** Milliseconds since 1970. */
  readonly first: number
  readonly last: number
}

export type LedgerRecord = Omit<LedgerEntry, 'count' | 'first' | 'last'>

/**
 * Rows of each kind of event that are kept apart. Beyond them, shapes and tags are no longer told apart; beyond as many
 * again, names neither. Nothing is dropped: counts and bytes stay right. Kinds have their own room, so that refusals,
 * which a stranger brings about at will, cannot crowd out what was given.
 */
const ROWS = 10_000
/** Tags of one row, and characters of each: the rest is not worth the memory. */
const TAGS = 8
const TAG = 64

/** What stands for things no longer told apart. */
const VARIOUS = '(various)'

type Row = { -readonly [K in keyof LedgerEntry]: LedgerEntry[K] } & { readonly order: number }

export class Ledger {
  #made = 0
  readonly #rows: Readonly<Record<LedgerEvent, Map<string, Row>>> = {
    left: new Map(),
    came: new Map(),
    refused: new Map(),
    shared: new Map(),
    opened: new Map(),
  }

  /** The row of the last event: the next is often of the same. */
  #last: { readonly record: LedgerRecord; readonly row: Row } | null = null

  record(record: LedgerRecord): void {
    const last = this.#last
    const row = last !== null && isSame(last.record, record) ? last.row : this.#rowOf(record)
    if (last?.row !== row) this.#last = { record: { ...record, shape: [...record.shape], tags: [...record.tags] }, row }
    row.count++
    row.bytes += record.bytes
    row.last = Date.now()
  }

  /** An event that was recorded, as one that went directly, went past somebody else. */
  relayed(record: LedgerRecord): void {
    const row = this.#rowOf(record)
    row.count--
    row.bytes -= record.bytes
    if (row.count === 0) this.#drop(row)
    this.record({ ...record, route: 'relayed' })
  }

  #drop(row: Row): void {
    const rows = this.#rows[row.event]
    for (const [key, known] of rows) if (known === row) rows.delete(key)
  }

  /** The row of an event, with what came before it; a new one when there is room. */
  #rowOf(record: LedgerRecord): Row {
    const { event, operation, shape, dtype, from, to, why, route } = record
    const tags = shorten(record.tags)
    const rows = this.#rows[event]
    const fine = JSON.stringify([operation, from, to, why, route, shape, dtype, tags])
    const known = rows.get(fine)
    if (known !== undefined) return known
    let row: Row
    let key = fine
    if (rows.size < ROWS) row = this.#newRow({ ...record, tags })
    else {
      const isNamed = rows.size < 2 * ROWS || rows.has(JSON.stringify([operation, from, to, why]))
      const parties = isNamed ? { from, to, why } : { from: VARIOUS, to: VARIOUS, why: VARIOUS }
      row = this.#newRow({ event, operation, ...parties, shape: [], dtype, tags: [VARIOUS], bytes: 0 })
      key = JSON.stringify([row.operation, row.from, row.to, row.why])
    }
    const before = rows.get(key)
    if (before !== undefined) return before
    rows.set(key, row)
    return row
  }

  /** Rows in the order of their first event. */
  entries(): LedgerEntry[] {
    return Object.values(this.#rows)
      .flatMap((rows) => [...rows.values()])
      .sort((a, b) => a.order - b.order)
      .map(({ order, ...row }) => ({ ...row, shape: [...row.shape], tags: [...row.tags] }))
  }

  #newRow(record: LedgerRecord): Row {
    const now = Date.now()
    return { ...record, shape: [...record.shape], bytes: 0, count: 0, first: now, last: now, order: this.#made++ }
  }
}

/** Whether two events differ in their time and bytes alone. */
const isSame = (a: LedgerRecord, b: LedgerRecord): boolean =>
  a.event === b.event &&
  a.operation === b.operation &&
  a.from === b.from &&
  a.to === b.to &&
  a.why === b.why &&
  a.route === b.route &&
  a.dtype === b.dtype &&
  areEqual(a.shape, b.shape) &&
  areEqual(a.tags, b.tags)

const areEqual = (a: readonly unknown[], b: readonly unknown[]): boolean =>
  a.length === b.length && a.every((item, i) => item === b[i])

function shorten(tags: readonly string[]): readonly string[] {
  if (tags.length <= TAGS && tags.every((tag) => tag.length <= TAG)) return [...tags]
  const short = tags.slice(0, TAGS).map((tag) => (tag.length > TAG ? `${tag.slice(0, TAG)}…` : tag))
  return tags.length > TAGS ? [...short, '…'] : short
}
