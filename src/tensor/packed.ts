/**
 * Tensors in a shorter form, for the way from worker to worker: half or a quarter of their bytes, and float32 again at the
 * other end.
 */
import { decodeFloat16, encodeFloat16, MOST_LOST } from './float16.ts'
import { decodeInt8, encodeInt8, rowsOf } from './int8.ts'
import { byteSizeOf, type Shape, type Spec, sizeOf } from './shape.ts'

/** The forms there are. */
export const compressions = ['float16', 'int8'] as const
export type Compression = (typeof compressions)[number]

interface Packed extends Spec {
  readonly dtype: 'float32'
  readonly data: Uint8Array
}

/** A tensor that travels packed. */
export type PackedWire =
  /** Halves row by row, little-endian in 2 bytes. */
  | (Packed & { readonly encoding: 'float16' })
  /** Integers row by row, in a byte, and a scale for each of the rows that `rowsOf` gives: a float32, little-endian. */
  | (Packed & { readonly encoding: 'int8'; readonly scales: Uint8Array })

export function pack(values: Float32Array, shape: Shape, encoding: Compression): PackedWire {
  const spec = { shape, dtype: 'float32' } as const
  if (encoding === 'float16') return { ...spec, encoding, data: encodeFloat16(values) }
  return { ...spec, encoding, ...encodeInt8(values, rowsOf(shape)) }
}

/** The values that arrive. */
export const unpack = (packed: PackedWire): Float32Array =>
  packed.encoding === 'float16' ? decodeFloat16(packed.data) : decodeInt8(packed.data, packed.scales)

/** Whether there are as many bytes as the shape says, and scales are numbers from zero up: of what came from a peer. */
export function isWhole(packed: PackedWire): boolean {
  const size = sizeOf(packed.shape)
  if (packed.encoding === 'float16') return packed.data.byteLength === 2 * size
  const { data, scales } = packed
  if (data.byteLength !== size || scales.byteLength !== 4 * rowsOf(packed.shape)) return false
  const view = new DataView(scales.buffer, scales.byteOffset, scales.byteLength)
  for (let at = 0; at < scales.byteLength; at += 4) {
    const scale = view.getFloat32(at, true)
    if (!(scale >= 0 && scale < Number.POSITIVE_INFINITY)) return false
  }
  return true
}

/** Bytes of a tensor's values as it travels. */
export function travellingBytes(value: Spec | PackedWire): number {
  if (!('encoding' in value) || value.encoding === undefined) return byteSizeOf(value)
  return value.data.byteLength + (value.encoding === 'int8' ? value.scales.byteLength : 0)
}

/** The values with what the last rounding lost of as many others added to them; see {@link remainderOf}. */
export function withRemainder(values: Float32Array, remainder: Float32Array): Float32Array {
  const sum = new Float32Array(values.length)
  for (let i = 0; i < sum.length; i++) sum[i] = values[i]! + remainder[i]!
  return sum
}

/**
 * What rounding lost of values, to be added to the next ones on the same way: error feedback (Seide et al., "1-bit
 * stochastic gradient descent", Interspeech 2014; Karimireddy et al., "Error feedback fixes SignSGD", ICML 2019). Over many
 * steps the sum of what arrives is then the sum of what was sent, to within one rounding.
 *
 * Nothing is kept of what is no finite number, nor of what lay beyond the largest half: that was not rounded but cut off,
 * and would fill the steps that follow.
 */
export function remainderOf(values: Float32Array, packed: PackedWire): Float32Array {
  const remainder = unpack(packed)
  const most = packed.encoding === 'float16' ? MOST_LOST : Number.MAX_VALUE
  for (let i = 0; i < remainder.length; i++) {
    const lost = values[i]! - remainder[i]!
    remainder[i] = Math.abs(lost) <= most ? lost : 0
  }
  return remainder
}
