/**
 * Ids: what text or number becomes before it is compared, and the fingerprint that stands for it from then on.
 *
 * Two owners find each other's rows only if both write ids alike: so there are rules with names, both ends say which they
 * took, and an intersection by two different rules is refused.
 */
import { blake2s } from '@noble/hashes/blake2.js'
import { sottoError } from '../errors.ts'
import { blake2sState, CHUNK, DIGEST, MESSAGE, PsiKernels } from './kernels/wasm.ts'
import { randomBytes } from './random.ts'

/**
 * The rules:
 * - `text`: Unicode NFKC, white space at both ends dropped and runs of it inside as one space, lower case (the case folding
 *   of `toLowerCase`, without a locale), NFKC again;
 * - `exact`: as it is, code unit for code unit;
 * - `number`: a decimal number without its writing: `+007.50`, `7.5` and `75e-1` are one id. White space at both ends is
 *   dropped; digits are kept however many there are.
 */
export const rules = ['text', 'exact', 'number'] as const
export type IdRule = (typeof rules)[number]

/** A cell of an id: text, or a number, which is written as JavaScript writes it. */
export type IdCell = string | number | bigint
/** An id: one cell, or several columns that are one id together. */
export type Id = IdCell | readonly IdCell[]

/** Bytes that stand for an id: two ids with the same are one id. With 2^24 ids on either side, 2^-80 that any two have. */
export const FINGERPRINT = 16

/** Bytes of an id at most, as UTF-8: longer ones are not what a person is known by. */
const LONGEST = 65_535

const ASCII = /^[!-~]+$/

/** Text by the rule `text`. */
function asText(cell: string): string {
  // The most frequent, such as addresses for mail, need none of the rest.
  if (ASCII.test(cell)) return cell.toLowerCase()
  return cell.normalize('NFKC').trim().replace(/\s+/gu, ' ').toLowerCase().normalize('NFKC')
}

const DECIMAL = /^([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d{1,6}))?$/

/** A number by the rule `number`: its sign, its digits without zeros around them, and the power of ten of the last. */
function asNumber(cell: string): string | null {
  const match = DECIMAL.exec(cell.normalize('NFKC').trim())
  if (match === null) return null
  const [, sign = '', whole = '', fraction = '', exponent = '0'] = match
  if (whole === '' && fraction === '') return null
  const all = (whole + fraction).replace(/^0+/, '')
  const digits = all.replace(/0+$/, '')
  if (digits === '') return '0'
  return `${sign === '-' ? '-' : ''}${digits}e${Number(exponent) - fraction.length + (all.length - digits.length)}`
}

/**
 * A cell by a rule; undefined where there is none: empty, or nothing but white space.
 *
 * @throws DataError `ERR_DATA_FORMAT` for what is no number, under the rule `number`; it says nothing of the text
 */
export function normalise(cell: IdCell, rule: IdRule): string | undefined {
  const text = typeof cell === 'string' ? cell : String(cell)
  if (rule === 'exact') return text === '' ? undefined : text
  if (rule === 'text') {
    const normal = asText(text)
    return normal === '' ? undefined : normal
  }
  if (text.trim() === '') return undefined
  const number = asNumber(text)
  if (number !== null) return number
  throw sottoError('ERR_DATA_FORMAT', 'an id that was to be a number is none')
}

const personal = new TextEncoder().encode('sotto id')
const state = blake2sState(personal)
const utf8 = new TextEncoder()

/** Makes fingerprints of ids, many at a time. Rows without an id (a cell of it is empty) are left out, and counted. */
export class Fingerprints {
  readonly #rule: IdRule
  readonly #columns: number
  readonly #kernels = new PsiKernels(0)
  readonly #lengths = new Uint32Array(CHUNK)
  #messages = this.#kernels.messages
  #waiting = 0
  #long: { readonly at: number; readonly digest: Uint8Array }[] = []
  #prints = new Uint8Array(FINGERPRINT * CHUNK)
  #rows = new Uint32Array(CHUNK)
  #count = 0
  #next = 0

  /** @param columns how many cells an id has */
  constructor(rule: IdRule, columns = 1) {
    this.#rule = rule
    this.#columns = columns
    this.#messages.fill(0)
  }

  get rule(): IdRule {
    return this.#rule
  }
  get columns(): number {
    return this.#columns
  }

  /** Adds the id of the next row. */
  add(id: Id): void {
    const row = this.#next++
    const text = this.#textOf(id)
    if (text === undefined) return
    const at = this.#waiting++
    if (this.#count === this.#rows.length) this.#grow()
    this.#rows[this.#count++] = row
    const length = this.#write(text, at)
    this.#lengths[at] = length
    if (this.#waiting === CHUNK) this.#flush()
  }

  /** The text that stands for an id: of several columns, each after its length, so that no two ids are alike. */
  #textOf(id: Id): string | undefined {
    const cells = Array.isArray(id) ? (id as readonly IdCell[]) : [id as IdCell]
    if (cells.length !== this.#columns) {
      throw sottoError('ERR_ARGUMENT_VALUE', `an id of ${this.#columns} columns expected, got ${cells.length}`)
    }
    if (cells.length === 1) return normalise(cells[0]!, this.#rule)
    let text = ''
    for (const cell of cells) {
      const normal = normalise(cell, this.#rule)
      if (normal === undefined) return undefined
      text += `${normal.length}:${normal}`
    }
    return text
  }

  /** Writes a text that fits one block into its message; a longer one is hashed apart. */
  #write(text: string, at: number): number {
    const from = MESSAGE * at
    const { length } = text
    if (length <= MESSAGE) {
      let i = 0
      for (; i < length; i++) {
        const unit = text.charCodeAt(i)
        if (unit > 127) break
        this.#messages[from + i] = unit
      }
      if (i === length) return length
    }
    const bytes = utf8.encode(text)
    if (bytes.length > LONGEST) throw sottoError('ERR_DATA_FORMAT', `an id is longer than ${LONGEST} bytes`)
    this.#messages.fill(0, from, from + MESSAGE)
    if (bytes.length <= MESSAGE) {
      this.#messages.set(bytes, from)
      return bytes.length
    }
    this.#long.push({ at, digest: blake2s(bytes, { dkLen: DIGEST, personalization: personal }) })
    return 0
  }

  #flush(): void {
    const digests = this.#kernels.hash(this.#waiting, this.#lengths, state)
    const start = this.#count - this.#waiting
    const prints = this.#prints
    for (let i = 0; i < this.#waiting; i++) {
      prints.set(digests.subarray(DIGEST * i, DIGEST * i + FINGERPRINT), FINGERPRINT * (start + i))
    }
    for (const { at, digest } of this.#long) prints.set(digest.subarray(0, FINGERPRINT), FINGERPRINT * (start + at))
    this.#messages.fill(0, 0, MESSAGE * this.#waiting)
    this.#long = []
    this.#waiting = 0
  }

  #grow(): void {
    const [prints, rows] = [this.#prints, this.#rows]
    this.#prints = new Uint8Array(2 * prints.length)
    this.#prints.set(prints)
    this.#rows = new Uint32Array(2 * rows.length)
    this.#rows.set(rows)
  }

  /**
   * A fingerprint for each row, in the order in which they were added; a row without an id gets one that no other has.
   *
   * @returns {@link FINGERPRINT} bytes each
   */
  finishRows(): Uint8Array {
    this.#flush()
    this.#kernels.wipe()
    const all = randomBytes(FINGERPRINT * this.#next)
    for (let i = 0; i < this.#count; i++) {
      all.set(this.#prints.subarray(FINGERPRINT * i, FINGERPRINT * (i + 1)), FINGERPRINT * this.#rows[i]!)
    }
    return all
  }

  /** All that were added. */
  finish(): IdSet {
    this.#flush()
    this.#kernels.wipe()
    const prints = this.#prints.slice(0, FINGERPRINT * this.#count)
    return idSet(prints, { rows: this.#rows.subarray(0, this.#count), form: formOf(this.#rule, this.#columns) }).with({
      total: this.#next,
    })
  }
}

const rowState = blake2sState(new TextEncoder().encode('sotto ir'))
/** Numbers of a row at most: as many as fit one block of the hash. */
export const MOST_NUMBERS = MESSAGE / 4

/**
 * Rows of a table of whole numbers as a set of ids, each row one.
 *
 * @param data row by row; what is no whole number (of a float32) makes a row without an id
 * @param columns numbers of a row, {@link MOST_NUMBERS} at most
 */
export function idsOfRows(data: Int32Array | Float32Array, columns: number): IdSet {
  const total = data.length / columns
  const kernels = new PsiKernels(0)
  const { messages } = kernels
  messages.fill(0)
  const view = new DataView(messages.buffer, messages.byteOffset)
  const prints = new Uint8Array(FINGERPRINT * total)
  const rows = new Uint32Array(total)
  let count = 0
  let waiting = 0
  const flush = () => {
    const digests = kernels.hash(waiting, 4 * columns, rowState)
    for (let i = 0; i < waiting; i++) {
      const to = FINGERPRINT * (count - waiting + i)
      prints.set(digests.subarray(DIGEST * i, DIGEST * i + FINGERPRINT), to)
    }
    waiting = 0
  }
  for (let row = 0; row < total; row++) {
    let isWhole = true
    for (let column = 0; column < columns; column++) {
      const value = data[columns * row + column]!
      isWhole &&= (value | 0) === value
      view.setInt32(MESSAGE * waiting + 4 * column, value, true)
    }
    if (!isWhole) continue
    rows[count++] = row
    if (++waiting === CHUNK) flush()
  }
  flush()
  kernels.wipe()
  const kept = prints.slice(0, FINGERPRINT * count)
  return idSet(kept, { rows: rows.subarray(0, count), form: `numbers/${columns}` }).with({ total })
}

/** How ids were made: both ends must have made them alike. */
export const formOf = (rule: IdRule, columns: number): string => `${rule}/${columns}`

/** A set of ids: each once, by the row that it came first in. */
export class IdSet {
  /** One after the other, {@link FINGERPRINT} bytes each. */
  readonly prints: Uint8Array
  /** The row of each. */
  readonly rows: Uint32Array
  readonly form: string
  /** Rows in all. */
  readonly total: number
  /** Rows that repeat the id of an earlier one: they are in no intersection. */
  readonly duplicates: Uint32Array
  /** Rows without an id. */
  readonly empty: number

  constructor(set: {
    prints: Uint8Array
    rows: Uint32Array
    form: string
    total: number
    duplicates: Uint32Array
    empty: number
  }) {
    this.prints = set.prints
    this.rows = set.rows
    this.form = set.form
    this.total = set.total
    this.duplicates = set.duplicates
    this.empty = set.empty
  }

  get size(): number {
    return this.rows.length
  }

  with({ total }: { total: number }): IdSet {
    return new IdSet({ ...this, total, empty: total - this.rows.length - this.duplicates.length })
  }

  /** The ids at some places of the set, as a set. */
  at(places: Uint32Array): IdSet {
    const prints = new Uint8Array(FINGERPRINT * places.length)
    for (let i = 0; i < places.length; i++) {
      const from = FINGERPRINT * places[i]!
      prints.set(this.prints.subarray(from, from + FINGERPRINT), FINGERPRINT * i)
    }
    return new IdSet({ ...this, prints, rows: Uint32Array.from(places, (place) => this.rows[place]!) })
  }
}

/**
 * A set from fingerprints, each kept once.
 *
 * @param prints a multiple of {@link FINGERPRINT} bytes; taken over
 */
export function idSet(prints: Uint8Array, { rows, form }: { rows?: Uint32Array; form: string }): IdSet {
  const count = prints.length / FINGERPRINT
  const words = new Uint32Array(prints.buffer, prints.byteOffset, 4 * count)
  // Places by the first word of a fingerprint, which is as good as random; 0 is none.
  const size = 2 ** Math.ceil(Math.log2(2 * count + 2))
  const table = new Uint32Array(size)
  const kept = new Uint32Array(count)
  const duplicates: number[] = []
  let unique = 0
  for (let i = 0; i < count; i++) {
    const row = rows === undefined ? i : rows[i]!
    let slot = words[4 * i]! & (size - 1)
    let isKnown = false
    for (; table[slot] !== 0; slot = (slot + 1) & (size - 1)) {
      const other = 4 * (table[slot]! - 1)
      isKnown = true
      for (let word = 0; word < 4; word++) isKnown &&= words[other + word] === words[4 * i + word]
      if (isKnown) break
    }
    if (isKnown) {
      duplicates.push(row)
      continue
    }
    if (unique !== i) words.copyWithin(4 * unique, 4 * i, 4 * i + 4)
    kept[unique++] = row
    table[slot] = unique
  }
  return new IdSet({
    prints: prints.subarray(0, FINGERPRINT * unique),
    rows: kept.slice(0, unique),
    form,
    total: count,
    duplicates: Uint32Array.from(duplicates),
    empty: 0,
  })
}

export interface IdOptions {
  /** How ids are written alike before they are compared. Default: `text`. */
  readonly rule?: IdRule
}

/**
 * A set of ids.
 *
 * @throws for ids that are empty lists, of different numbers of columns, or no numbers under the rule `number`
 */
export function idsOf(ids: Iterable<Id>, { rule = 'text' }: IdOptions = {}): IdSet {
  let prints: Fingerprints | undefined
  for (const id of ids) {
    prints ??= new Fingerprints(rule, Array.isArray(id) ? id.length : 1)
    prints.add(id)
  }
  return (prints ?? new Fingerprints(rule)).finish()
}
