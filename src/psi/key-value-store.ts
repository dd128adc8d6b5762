/**
 * An oblivious key-value store: a table from which each key gives its value, and any other key noise, and which tells nothing
 * of the keys as long as values look random (Garimella, Pinkas, Rosulek, Trieu, Yanai, CRYPTO '21; the garbled cuckoo table
 * with three places a key of their section 4).
 *
 * A key's value is the sum of three of the table's rows and of some of 64 more, by its hash. Rows are found by peeling; what
 * cannot be peeled is solved with the 64, which fails with a probability of 2^-40 as long as its equations, without the 64,
 * have 24 dependencies at most: of random ones there is hardly ever one.
 */
import { sottoError } from '../errors.ts'
import { PLACES, placesOf } from './cuckoo.ts'
import { FINGERPRINT } from './ids.ts'
import { blake2sState, DIGEST } from './kernels/wasm.ts'
import { forSession } from './oblivious-prf.ts'
import { randomBytes } from './random.ts'

/** Bytes of a key, and of a value. */
export const VALUE = FINGERPRINT
const WORDS = VALUE / 4
/** Rows that keys take many of. */
const DENSE = 64
/** Random sums of three are peeled, but for a few, from 1.23 rows a key on. */
const RATIO = 1.3
/** Equations that are solved at most: more are left of no random table. */
const LARGEST_CORE = 4096

const state = blake2sState(new TextEncoder().encode('sotto kv'))

/** Bytes of a table for so many keys. */
export const tableBytes = (keys: number): number => VALUE * (sparseRows(keys) + DENSE)
const sparseRows = (keys: number): number => Math.max(PLACES, Math.ceil(RATIO * keys))

interface Hashed {
  readonly places: Uint32Array
  /** Two words each: which of the dense rows. */
  readonly dense: Uint32Array
}

function hashKeys(keys: Uint8Array, session: Uint8Array, rows: number): Hashed {
  const words = new Uint32Array(forSession(keys, session, state).buffer)
  const count = keys.length / VALUE
  const each = DIGEST / 4
  const drawn = new Uint32Array(PLACES * count)
  const dense = new Uint32Array(2 * count)
  for (let i = 0; i < count; i++) {
    for (let place = 0; place < PLACES; place++) drawn[PLACES * i + place] = words[each * i + place]!
    dense[2 * i] = words[each * i + PLACES]!
    dense[2 * i + 1] = words[each * i + PLACES + 1]!
  }
  return { places: placesOf(drawn, rows), dense }
}

const asWords = (bytes: Uint8Array): Uint32Array =>
  bytes.byteOffset % 4 === 0
    ? new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)
    : new Uint32Array(bytes.slice().buffer)

function addRow(out: Uint32Array, at: number, table: Uint32Array, row: number): void {
  for (let word = 0; word < WORDS; word++) out[at + word]! ^= table[WORDS * row + word]!
}

/** Adds the dense rows that a key takes. */
function addDense(
  out: Uint32Array,
  at: number,
  table: Uint32Array,
  rows: number,
  dense: Uint32Array,
  key: number,
): void {
  for (let half = 0; half < 2; half++) {
    let bits = dense[2 * key + half]!
    while (bits !== 0) {
      const lowest = 31 - Math.clz32(bits & -bits)
      bits &= bits - 1
      addRow(out, at, table, rows + 32 * half + lowest)
    }
  }
}

/**
 * A table that gives each key its value.
 *
 * @param keys different, random; {@link VALUE} bytes each
 * @param values as many
 * @param size keys that there seem to be
 * @throws StateError `ERR_OPERATION_FAILED` with a probability of 2^-40
 */
export function encodeTable(keys: Uint8Array, values: Uint8Array, session: Uint8Array, size: number): Uint8Array {
  const rows = sparseRows(size)
  const count = keys.length / VALUE
  const { places, dense } = hashKeys(keys, session, rows)
  // What no key needs stays random.
  const bytes = randomBytes(tableBytes(size))
  const table = asWords(bytes)
  const wanted = asWords(values)

  // Peeling: a row of which one equation is left takes what that equation lacks.
  const degree = new Uint32Array(rows)
  const sum = new Uint32Array(rows)
  for (let key = 0; key < count; key++) {
    for (let place = 0; place < PLACES; place++) {
      const row = places[PLACES * key + place]!
      degree[row]!++
      sum[row]! ^= key
    }
  }
  const queue: number[] = []
  for (let row = 0; row < rows; row++) if (degree[row] === 1) queue.push(row)
  const peeled: { key: number; row: number }[] = []
  const isPeeled = new Uint8Array(count)
  for (let at = 0; at < queue.length; at++) {
    const row = queue[at]!
    if (degree[row] !== 1) continue
    const key = sum[row]!
    peeled.push({ key, row })
    isPeeled[key] = 1
    for (let place = 0; place < PLACES; place++) {
      const other = places[PLACES * key + place]!
      degree[other]!--
      sum[other]! ^= key
      if (degree[other] === 1) queue.push(other)
    }
  }

  const core: number[] = []
  for (let key = 0; key < count; key++) if (isPeeled[key] === 0) core.push(key)
  if (core.length > 0) solve(core, { places, dense }, table, wanted, rows)

  const value = new Uint32Array(WORDS)
  for (let i = peeled.length - 1; i >= 0; i--) {
    const { key, row } = peeled[i]!
    value.set(wanted.subarray(WORDS * key, WORDS * (key + 1)))
    addDense(value, 0, table, rows, dense, key)
    for (let place = 0; place < PLACES; place++) {
      const other = places[PLACES * key + place]!
      if (other !== row) addRow(value, 0, table, other)
    }
    table.set(value, WORDS * row)
  }
  return bytes
}

/** Solves equations by elimination, over the rows that they speak of; unknowns that are free keep what they are. */
function solve(
  core: readonly number[],
  { places, dense }: Hashed,
  table: Uint32Array,
  wanted: Uint32Array,
  rows: number,
) {
  const impossible = () => sottoError('ERR_OPERATION_FAILED', 'the values do not fit into a table; try again')
  if (core.length > LARGEST_CORE) throw impossible()
  // Dense rows come first: they are the pivots where there is a choice.
  const unknowns = Array.from({ length: DENSE }, (_, i) => rows + i)
  const columnOf = new Map(unknowns.map((row, i) => [row, i]))
  for (const key of core) {
    for (let place = 0; place < PLACES; place++) {
      const row = places[PLACES * key + place]!
      if (!columnOf.has(row)) columnOf.set(row, unknowns.push(row) - 1)
    }
  }
  const width = Math.ceil(unknowns.length / 32)
  const equations = core.map((key) => {
    const bits = new Uint32Array(width)
    const flip = (column: number) => {
      bits[column >> 5]! ^= 1 << (column & 31)
    }
    for (let place = 0; place < PLACES; place++) flip(columnOf.get(places[PLACES * key + place]!)!)
    for (let half = 0; half < 2; half++) bits[half]! ^= dense[2 * key + half]!
    return { bits, value: wanted.slice(WORDS * key, WORDS * (key + 1)), pivot: -1 }
  })
  for (const equation of equations) {
    const word = equation.bits.findIndex((bits) => bits !== 0)
    if (word < 0) throw impossible()
    const bit = 31 - Math.clz32(equation.bits[word]! & -equation.bits[word]!)
    equation.pivot = 32 * word + bit
    for (const other of equations) {
      if (other === equation || ((other.bits[word]! >>> bit) & 1) === 0) continue
      for (let i = 0; i < width; i++) other.bits[i]! ^= equation.bits[i]!
      for (let i = 0; i < WORDS; i++) other.value[i]! ^= equation.value[i]!
    }
  }
  const pivots = new Set(equations.map(({ pivot }) => pivot))
  for (const { bits, value, pivot } of equations) {
    for (const [column, row] of unknowns.entries()) {
      if (((bits[column >> 5]! >>> (column & 31)) & 1) === 1 && !pivots.has(column)) addRow(value, 0, table, row)
    }
    table.set(value, WORDS * unknowns[pivot]!)
  }
}

/**
 * What a table gives keys.
 *
 * @param size keys that there seemed to be when it was made
 */
export function decodeTable(table: Uint8Array, keys: Uint8Array, session: Uint8Array, size: number): Uint8Array {
  const rows = sparseRows(size)
  const { places, dense } = hashKeys(keys, session, rows)
  const words = asWords(table)
  const out = new Uint32Array((WORDS * keys.length) / VALUE)
  for (let key = 0; key < keys.length / VALUE; key++) {
    for (let place = 0; place < PLACES; place++) addRow(out, WORDS * key, words, places[PLACES * key + place]!)
    addDense(out, WORDS * key, words, rows, dense, key)
  }
  return new Uint8Array(out.buffer)
}
