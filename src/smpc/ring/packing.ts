/** Words that are known to be small, as they travel: their lowest bits alone, one after another. */
import { sameLength } from './check.ts'
import type { Words } from './kernels.ts'

/** Bytes that the lowest `bits` of so many words take. */
export const packedBytes = (bits: number, count: number): number =>
  Math.ceil((count * Math.min(bits, 32)) / 8) + Math.ceil((count * Math.max(0, bits - 32)) / 8)

const halvesOf = ({ buffer, byteOffset, length }: Words): Uint32Array => new Uint32Array(buffer, byteOffset, 2 * length)
const maskOf = (bits: number): number => (bits === 32 ? 0xffffffff : (1 << bits) - 1) >>> 0

/** The lowest bits of one half of every word, 1 ≤ bits ≤ 32, from the lowest of the first on. */
function packHalf(halves: Uint32Array, half: 0 | 1, bits: number): Uint8Array {
  const count = halves.length / 2
  const out = new Uint32Array(Math.ceil((count * bits) / 32))
  const mask = maskOf(bits)
  let [held, filled, at] = [0, 0, 0]
  for (let i = half; i < halves.length; i += 2) {
    const value = halves[i]! & mask
    held |= value << filled
    filled += bits
    if (filled < 32) continue
    out[at++] = held
    filled -= 32
    held = filled === 0 ? 0 : value >>> (bits - filled)
  }
  if (filled > 0) out[at] = held
  return new Uint8Array(out.buffer, 0, Math.ceil((count * bits) / 8))
}

function unpackHalf(packed: Uint8Array, halves: Uint32Array, half: 0 | 1, bits: number): void {
  const words = new Uint32Array(Math.ceil(packed.length / 4) + 1)
  new Uint8Array(words.buffer).set(packed)
  const mask = maskOf(bits)
  let [at, from] = [0, 0]
  for (let i = half; i < halves.length; i += 2) {
    const low = words[at]! >>> from
    // The rest, where a value reaches into the next 32 bits.
    halves[i] = (from + bits > 32 ? low | (words[at + 1]! << (32 - from)) : low) & mask
    from += bits
    if (from < 32) continue
    from -= 32
    at++
  }
}

/** @param bits from 1 to 64 */
export function pack(a: Words, bits: number): Uint8Array {
  const halves = halvesOf(a)
  if (bits <= 32) return packHalf(halves, 0, bits)
  const [low, high] = [packHalf(halves, 0, 32), packHalf(halves, 1, bits - 32)]
  const out = new Uint8Array(low.length + high.length)
  out.set(low)
  out.set(high, low.length)
  return out
}

/** The words of {@link pack}; higher bits are zero. */
export function unpack(packed: Uint8Array, bits: number, count: number): Words {
  sameLength('unpack', packed, { length: packedBytes(bits, count) })
  const out = new BigUint64Array(count)
  const halves = halvesOf(out)
  const low = packedBytes(Math.min(bits, 32), count)
  unpackHalf(packed.subarray(0, low), halves, 0, Math.min(bits, 32))
  if (bits > 32) unpackHalf(packed.subarray(low), halves, 1, bits - 32)
  return out
}
