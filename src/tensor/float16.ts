/**
 * float32 as binary16 and back (IEEE 754-2019): 1 sign bit, 5 of exponent, 10 of fraction. Typed arrays know no halves in
 * every runtime, tfjs none at all.
 *
 * Rounds to the nearest, ties to even, below 2^-14 too, where halves lie 2^-24 apart. What is larger than any half
 * becomes ±65504 and not ±Infinity: one activation that is too large is a step in a slightly wrong direction, an infinite
 * one is the end of a training. ±Infinity and NaN, which say that it has ended already, stay what they are.
 *
 * Without branches that depend on the values (half of all activations are zeros, in no order): tables say, for each sign
 * and exponent, what to shift and to add (after J. van der Zijp, "Fast Half Float Conversions", 2008, who cuts off).
 */

/** What rounding to a half loses at most: half of the distance between the largest two. */
export const MOST_LOST = 16

const INFINITE_HALF = 0x7c00
const NAN_HALF = 0x7e00
const LARGEST_HALF = 0x7bff

/** By the upper 9 bits of a float32: how far its fraction, with the 1 before it, is shifted to that of a half. */
const shifts = new Uint8Array(512)
/** And what is added for sign and exponent; that 1 counts as a step of the exponent. */
const bases = new Uint16Array(512)
for (let i = 0; i < 512; i++) {
  const sign = (i & 0x100) << 7
  const exponent = (i & 0xff) - 127
  // From 2^-25 on, what is left of the fraction is its distance from zero in steps of 2^-24; below, it rounds to nothing.
  shifts[i] = exponent >= 16 ? 31 : exponent >= -14 ? 13 : Math.min(-1 - exponent, 25)
  const base = exponent === 128 ? INFINITE_HALF : exponent >= 16 ? LARGEST_HALF : Math.max(exponent + 14, 0) << 10
  bases[i] = sign | base
}

/** By the upper 6 bits of a half: what the lower ones, and the 1 before them, count. */
const steps = new Float64Array(64)
const ones = new Float64Array(64)
for (let i = 0; i < 64; i++) {
  const exponent = i & 0x1f
  steps[i] = (i & 0x20 ? -1 : 1) * 2 ** (Math.max(exponent, 1) - 25)
  ones[i] = exponent === 0 ? 0 : 0x400
}

/** @returns 2 bytes for each value, little-endian */
export function encodeFloat16(values: Float32Array): Uint8Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length)
  const halves = new Uint16Array(values.length)
  for (let i = 0; i < bits.length; i++) {
    const value = bits[i]!
    const shift = shifts[value >>> 23]!
    const fraction = (value & 0x007f_ffff) | 0x0080_0000
    // Just less than half of the last place, and all of the half where that place is odd. A carry is one up, as it should.
    const rounded = fraction + (1 << (shift - 1)) - 1 + ((fraction >>> shift) & 1)
    const half = bases[value >>> 23]! + (rounded >>> shift)
    halves[i] = (half & INFINITE_HALF) === INFINITE_HALF ? beyond(value) : half
  }
  return new Uint8Array(halves.buffer)
}

/** The half of what is no number, infinite, or was rounded up to more than there is. */
function beyond(bits: number): number {
  const sign = (bits >>> 16) & 0x8000
  const magnitude = bits & 0x7fff_ffff
  if (magnitude > 0x7f80_0000) return NAN_HALF
  return sign | (magnitude === 0x7f80_0000 ? INFINITE_HALF : LARGEST_HALF)
}

/** @param data 2 bytes for each value, little-endian, at any offset of a larger buffer */
export function decodeFloat16(data: Uint8Array): Float32Array {
  const aligned = data.byteOffset % 2 === 0 ? data : data.slice()
  const halves = new Uint16Array(aligned.buffer, aligned.byteOffset, data.length >>> 1)
  const values = new Float32Array(halves.length)
  for (let i = 0; i < halves.length; i++) {
    const half = halves[i]!
    const isNumber = (half & INFINITE_HALF) !== INFINITE_HALF
    values[i] = isNumber ? steps[half >>> 10]! * (ones[half >>> 10]! + (half & 0x03ff)) : infiniteOrNone(half)
  }
  return values
}

function infiniteOrNone(half: number): number {
  if ((half & 0x03ff) !== 0) return Number.NaN
  return half < 0x8000 ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY
}
