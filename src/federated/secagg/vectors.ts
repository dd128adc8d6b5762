/**
 * Vectors of words of 32 or 64 bits: what is masked, sent and added up. Words wrap around; signed values are in two's
 * complement.
 */
import { sottoError } from '../../errors.ts'
import { ring } from '../../smpc/ring/choose.ts'

/** Sums are taken modulo 2^32 or 2^64. */
export type WordBits = 32 | 64
export type Vector = Uint32Array | BigUint64Array

export function zeros(bits: WordBits, length: number): Vector {
  return bits === 32 ? new Uint32Array(length) : new BigUint64Array(length)
}

/**
 * Words of the length and size that are expected.
 *
 * @throws TypeError or RangeError `ERR_ARGUMENT_TYPE`, `ERR_SHAPE`
 */
export function checkVector(name: string, vector: Vector, bits: WordBits, length: number): void {
  const isRight = bits === 32 ? vector instanceof Uint32Array : vector instanceof BigUint64Array
  const expected = `"${name}" expected ${bits === 32 ? 'Uint32Array' : 'BigUint64Array'} of length ${length}`
  if (!isRight) throw sottoError('ERR_ARGUMENT_TYPE', `${expected}, got another kind`)
  if (vector.length !== length) throw sottoError('ERR_SHAPE', `${expected}, got length=${vector.length}`)
}

/** A copy as bytes, little-endian. */
export function toBytes(vector: Vector): Uint8Array {
  return new Uint8Array(vector.buffer, vector.byteOffset, vector.byteLength).slice()
}

/** Words over the same bytes, or over a copy where they do not lie at a multiple of their size. */
export function fromBytes(bytes: Uint8Array, bits: WordBits): Vector {
  const at = bytes.byteOffset % (bits / 8) === 0 ? bytes : bytes.slice()
  const length = (8 * at.length) / bits
  return bits === 32
    ? new Uint32Array(at.buffer, at.byteOffset, length)
    : new BigUint64Array(at.buffer, at.byteOffset, length)
}

/** Adds to a vector, in place. */
export function addTo(sum: Vector, vector: Vector): void {
  if (sum instanceof Uint32Array) {
    const words = vector as Uint32Array
    for (let i = 0; i < sum.length; i++) sum[i]! += words[i]!
  } else sum.set(ring().add(sum, vector as BigUint64Array))
}
