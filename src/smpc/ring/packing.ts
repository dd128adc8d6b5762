/** Elements that are known to be small, as they travel: their lowest bits alone, one after another. */
import { sameLength } from './check.ts'
import { type RingBits, type Words, wordsPerElement } from './kernels.ts'

/** Bits of each of the 32 bits of an element, the lowest first, that its lowest `bits` are. */
export const widthsOf = (bits: number): number[] =>
  Array.from({ length: Math.ceil(bits / 32) }, (_, i) => Math.min(32, bits - 32 * i))
const bytesOf = (width: number, count: number): number => Math.ceil((count * width) / 8)

/** Bits that count of what multiplies 2z in a division: 2z is 2^(l − 1 − k) for a divisor 2^k. */
export function carriedBits(ring: RingBits, divisor: bigint): number {
  const exponent = divisor.toString(2).length - 1
  return divisor === 1n << BigInt(exponent) ? exponent + 1 : ring
}

/** Bytes that a number is drawn in of which so many bits count. */
export const fewBytes = (ring: RingBits, bits: number): number => (bits <= 32 ? 4 : ring / 8)

/** Bytes that the lowest `bits` of so many elements take. */
export const packedBytes = (bits: number, count: number): number =>
  widthsOf(bits).reduce((total, width) => total + bytesOf(width, count), 0)

const halvesOf = ({ buffer, byteOffset, length }: Words): Uint32Array => new Uint32Array(buffer, byteOffset, 2 * length)
const maskOf = (bits: number): number => (bits === 32 ? 0xffffffff : (1 << bits) - 1) >>> 0

/** The lowest bits of one of the `step` halves of words of every element, 1 ≤ bits ≤ 32, from the lowest of the first on. */
function packHalf(halves: Uint32Array, half: number, step: number, bits: number): Uint8Array {
  const count = halves.length / step
  const out = new Uint32Array(Math.ceil((count * bits) / 32))
  const mask = maskOf(bits)
  let [held, filled, at] = [0, 0, 0]
  for (let i = half; i < halves.length; i += step) {
    const value = halves[i]! & mask
    held |= value << filled
    filled += bits
    if (filled < 32) continue
    out[at++] = held
    filled -= 32
    held = filled === 0 ? 0 : value >>> (bits - filled)
  }
  if (filled > 0) out[at] = held
  return new Uint8Array(out.buffer, 0, bytesOf(bits, count))
}

function unpackHalf(packed: Uint8Array, halves: Uint32Array, half: number, step: number, bits: number): void {
  const words = new Uint32Array(Math.ceil(packed.length / 4) + 1)
  new Uint8Array(words.buffer).set(packed)
  const mask = maskOf(bits)
  let [at, from] = [0, 0]
  for (let i = half; i < halves.length; i += step) {
    const low = words[at]! >>> from
    // The rest, where a value reaches into the next 32 bits.
    halves[i] = (from + bits > 32 ? low | (words[at + 1]! << (32 - from)) : low) & mask
    from += bits
    if (from < 32) continue
    from -= 32
    at++
  }
}

/** The pieces of packed elements: one for each 32 bits, or what is left of them. */
export function piecesOf(packed: Uint8Array, bits: number, count: number): { piece: Uint8Array; width: number }[] {
  let at = 0
  return widthsOf(bits).map((width) => {
    const piece = packed.subarray(at, at + bytesOf(width, count))
    at += piece.length
    return { piece, width }
  })
}

/** @param bits from 1 to those of an element */
export function pack(ring: RingBits, a: Words, bits: number): Uint8Array {
  const halves = halvesOf(a)
  const step = ring / 32
  const count = halves.length / step
  const out = new Uint8Array(packedBytes(bits, count))
  for (const [half, { piece, width }] of piecesOf(out, bits, count).entries()) {
    piece.set(packHalf(halves, half, step, width))
  }
  return out
}

/** The elements of {@link pack}; higher bits are zero. */
export function unpack(ring: RingBits, packed: Uint8Array, bits: number, count: number): Words {
  sameLength('unpack', packed, { length: packedBytes(bits, count) })
  const out = new BigUint64Array(wordsPerElement(ring) * count)
  const halves = halvesOf(out)
  for (const [half, { piece, width }] of piecesOf(packed, bits, count).entries()) {
    unpackHalf(piece, halves, half, ring / 32, width)
  }
  return out
}
