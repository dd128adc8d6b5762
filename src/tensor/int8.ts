/**
 * float32 as 8-bit integers and a scale, and back: a value is its integer times the scale of its row.
 *
 * Symmetric and linear, from −127 to 127: the scale is the largest magnitude of the row over 127, and zero is exact (after
 * a ReLU most values are zeros). Rounds to the nearest, so that what arrives is off by half a scale at most. Of a row whose
 * magnitudes all lie below 127 · 2^-126 only zeros arrive: its scale would be no normal float32. What is no finite number
 * arrives as NaN: a training that has diverged is to show it.
 */
import { type Shape, sizeOf } from './shape.ts'

const MOST = 127
/** The integer that no rounding gives. */
const NOT_FINITE = -128
/** Scales below it lose digits; 2^-126 is the smallest normal float32. */
const SMALLEST_SCALE = 2 ** -126
/** The largest float32 over 127, as a float32 that is not larger: 127 times it must be finite. */
const LARGEST_SCALE = 8_454_659 * 2 ** 98
/** So large that doubles have no bits for fractions: what is added to it and taken away again is rounded, ties to even. */
const TO_INTEGER = 1.5 * 2 ** 52

/** Shorter rows would spend more than half a byte on each element for scales. */
const SHORTEST_ROW = 8

/**
 * Rows that have a scale of their own: those of the first axis, a sample each in a batch, when they have 8 elements or
 * more; else all elements are one row. One large sample then leaves the others their digits, and the gradient of a
 * sample that is learned, a thousandth of its neighbour's, does not vanish.
 */
export function rowsOf(shape: Shape): number {
  const size = sizeOf(shape)
  if (size === 0) return 0
  const [rows = 1, ...row] = shape
  return row.length > 0 && sizeOf(row) >= SHORTEST_ROW ? rows : 1
}

/** @returns a byte for each value, and for each row a scale of 4 bytes, little-endian */
export function encodeInt8(values: Float32Array, rows: number): { data: Uint8Array; scales: Uint8Array } {
  const data = new Int8Array(values.length)
  const scales = new Float32Array(rows)
  const width = values.length / rows
  for (let row = 0, at = 0; row < rows; row++) {
    const end = at + width
    let largest = 0
    for (let i = at; i < end; i++) {
      const magnitude = Math.abs(values[i]!)
      // Neither holds of NaN.
      if (magnitude > largest && magnitude < Number.POSITIVE_INFINITY) largest = magnitude
    }
    const exact = Math.min(largest / MOST, LARGEST_SCALE)
    const scale = exact < SMALLEST_SCALE ? 0 : Math.fround(exact)
    scales[row] = scale
    const inverse = scale === 0 ? 0 : 1 / scale
    for (; at < end; at++) {
      const value = values[at]! * inverse
      data[at] = value - value === 0 ? value + TO_INTEGER - TO_INTEGER : NOT_FINITE
    }
  }
  return { data: new Uint8Array(data.buffer), scales: new Uint8Array(scales.buffer) }
}

/** @param scales those of the rows, into which the data falls evenly; both at any offset of a larger buffer */
export function decodeInt8(data: Uint8Array, scales: Uint8Array): Float32Array {
  const integers = new Int8Array(data.buffer, data.byteOffset, data.length)
  const values = new Float32Array(data.length)
  const view = new DataView(scales.buffer, scales.byteOffset, scales.byteLength)
  const rows = scales.byteLength / 4
  const width = data.length / rows
  for (let row = 0, at = 0; row < rows; row++) {
    const scale = view.getFloat32(4 * row, true)
    for (const end = at + width; at < end; at++) {
      const integer = integers[at]!
      values[at] = integer === NOT_FINITE ? Number.NaN : integer * scale
    }
  }
  return values
}
