/** What every implementation of the kernels asks of its arguments: past a wrong length, one would read foreign memory. */
import { sottoError } from '../../errors.ts'
import type { RingBits } from './kernels.ts'

/**
 * Largest magnitude of an encoded value, exclusive. Of 64 bits a double still holds an eighth of a unit there, so ties are
 * seen; of 128 bits it leaves products of two values, as products of 64 bits do not, the room they need.
 */
export const encodeLimits = { 64: 2 ** 50, 128: 2 ** 64 } as const
/** The key stream of one nonce is 2^32 blocks of 64 bytes long (RFC 8439 §2.3: the counter has 32 bits). */
export const chachaBlock = 64
export const chachaBlocks = 2 ** 32

/** @throws RangeError `ERR_SHAPE` unless all have the length of the first */
export function sameLength(kernel: string, ...operands: readonly { readonly length: number }[]): void {
  for (const { length } of operands) {
    if (length === operands[0]!.length) continue
    const lengths = operands.map(({ length }) => length)
    throw sottoError('ERR_SHAPE', `${kernel}: operands expected of one length, got ${lengths.join(', ')}`, { lengths })
  }
}

/** @throws RangeError `ERR_SHAPE` unless the shape is of whole numbers and has as many elements as the operand */
export function hasShape(kernel: string, operand: { readonly length: number }, ...shape: readonly number[]): void {
  const whole = shape.every((size) => Number.isSafeInteger(size) && size >= 0)
  if (!whole || shape.reduce((a, b) => a * b, 1) !== operand.length) {
    throw sottoError('ERR_SHAPE', `${kernel}: [${shape}] expected, got ${operand.length} elements`, { shape })
  }
}

/** @throws RangeError `ERR_ARGUMENT_VALUE` unless 1 ≤ divisor < 2^bits */
export function isDivisor(kernel: string, divisor: bigint, bits: number): void {
  if (divisor < 1n || divisor >= 1n << BigInt(bits)) {
    throw sottoError('ERR_ARGUMENT_VALUE', `${kernel}: "divisor" expected from 1 to 2^${bits} − 1, got ${divisor}`)
  }
}

/** @throws RangeError `ERR_ARGUMENT_VALUE` for an index that is neither −1 nor that of an element */
export function areIndices(kernel: string, indices: Int32Array, length: number): void {
  for (let i = 0; i < indices.length; i++) {
    const index = indices[i]!
    if (index < -1 || index >= length) {
      throw sottoError('ERR_ARGUMENT_VALUE', `${kernel}: indices expected from −1 to ${length - 1}, got ${index}`)
    }
  }
}

/** @throws RangeError `ERR_ARGUMENT_VALUE` unless key and nonce have their length, `ERR_LIMIT` past the last block */
export function isKeyStream(key: Uint8Array, nonce: Uint8Array, counter: number, length: number): void {
  isBytes('key', key, 32)
  isBytes('nonce', nonce, 12)
  isCount('counter', counter)
  isCount('length', length)
  if (counter + Math.ceil(length / chachaBlock) > chachaBlocks) {
    throw sottoError('ERR_LIMIT', 'chacha20: the key stream of a nonce ends after 2^32 blocks; take another nonce')
  }
}

/** @throws TypeError `ERR_ARGUMENT_TYPE` for another kind, RangeError `ERR_ARGUMENT_VALUE` for another length */
export function isBytes(name: string, value: Uint8Array, length: number): void {
  const expected = `"${name}" expected Uint8Array of length ${length}`
  if (!(value instanceof Uint8Array)) throw sottoError('ERR_ARGUMENT_TYPE', `${expected}, got ${typeof value}`)
  if (value.length !== length) throw sottoError('ERR_ARGUMENT_VALUE', `${expected}, got length=${value.length}`)
}

/** @throws RangeError `ERR_ARGUMENT_VALUE` unless a safe integer from 0 on */
export function isCount(name: string, value: number): void {
  if (!Number.isSafeInteger(value) || value < 0) {
    throw sottoError('ERR_ARGUMENT_VALUE', `"${name}" expected a whole number from 0 to 2^53 − 1, got ${value}`)
  }
}

/** For what does not fit: the limit, never the value. */
export function notEncodable(scale: number, bits: RingBits): Error {
  const limit = encodeLimits[bits] / scale
  return sottoError('ERR_ARGUMENT_VALUE', `encode: values expected finite and below ${limit} in magnitude`, {
    limit,
    scale,
  })
}

/** For what does not fit into 32 bits. */
export function notInt32(): Error {
  return sottoError('ERR_ARGUMENT_VALUE', 'toInt32: values expected from −2^31 to 2^31 − 1')
}
