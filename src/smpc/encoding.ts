/** How numbers stand in the ring: the type of a value's meaning, which its type carries everywhere. */
import { sottoError } from '../errors.ts'
import { checkOptions } from '../options.ts'
import type { DType } from '../tensor/shape.ts'
import type { RingBits } from './ring/kernels.ts'

/**
 * What a ring element means. A fixed-precision value (dtype float32) is the integer nearest to value · base^fractional;
 * integers (int32) and truths (bool, 0 or 1) stand for themselves: base^0 = 1.
 */
export interface Encoding {
  /** Bits of an element: 64 or 128. */
  readonly ring: RingBits
  readonly dtype: DType
  readonly base: number
  readonly precisionFractional: number
}

export interface PrecisionOptions {
  /** Bits of the integers that values become: 64 unless given, or 128, for products that err by less than 2^−31. */
  ring?: RingBits
  /** 2 unless given. */
  base?: number
  /** Digits after the point; in base 2 16, of 128 bits 32; 3 in base 10, unless given. */
  precisionFractional?: number
}

/** What of an encoding says how precise values are. */
export const PRECISION = ['ring', 'base', 'precisionFractional'] as const

const integers = (ring: RingBits): Encoding => ({ ring, dtype: 'int32', base: 2, precisionFractional: 0 })
const truths = (ring: RingBits): Encoding => ({ ring, dtype: 'bool', base: 2, precisionFractional: 0 })
/** Integers, and truths, of each ring. */
export const INTEGER: Readonly<Record<RingBits, Encoding>> = { 64: integers(64), 128: integers(128) }
export const TRUTH: Readonly<Record<RingBits, Encoding>> = { 64: truths(64), 128: truths(128) }

/**
 * The largest scale of a value. Of 64 bits, so that a product of two still has 62 − 31 bits to spare; of 128, so that it is
 * still a divisor, which are whole numbers below 2^53.
 */
const LARGEST_SCALES = { 64: 31, 128: 52 } as const
/** Fractional bits unless others are given. */
const FRACTIONAL_BITS = { 64: 16, 128: 32 } as const

export const isRing = (x: unknown): x is RingBits => x === 64 || x === 128

/** @throws `ERR_ARGUMENT_VALUE` for what is neither 64 nor 128 */
export function checkRing(entry: string, ring: unknown): RingBits {
  if (isRing(ring)) return ring
  throw sottoError('ERR_ARGUMENT_VALUE', `${entry}: "ring" expected 64 or 128, the bits of an element`, {
    option: 'ring',
  })
}

/** @throws `ERR_ARGUMENT_VALUE` for another ring, a base below 2, digits below 1, or a scale above 2^31, of 128 bits 2^52 */
export function fixedEncoding(entry: string, options: PrecisionOptions = {}): Encoding {
  checkOptions(entry, options, PRECISION)
  const ring = checkRing(entry, options.ring === undefined ? 64 : options.ring)
  const { base = 2, precisionFractional = base === 10 ? 3 : FRACTIONAL_BITS[ring] } = options
  if (!isRing(ring) || !Number.isInteger(base) || base < 2) {
    throw sottoError('ERR_ARGUMENT_VALUE', `${entry}: "base" expected an integer from 2`, { option: 'base' })
  }
  const fits = Number.isInteger(precisionFractional) && precisionFractional >= 1
  if (!fits || base ** precisionFractional > 2 ** LARGEST_SCALES[ring]) {
    throw sottoError(
      'ERR_ARGUMENT_VALUE',
      `${entry}: "precisionFractional" expected an integer from 1, with base^precisionFractional at most 2^${LARGEST_SCALES[ring]}`,
      { option: 'precisionFractional' },
    )
  }
  return { ring, dtype: 'float32', base, precisionFractional }
}

/** Whether something that came from a caller is an encoding. */
export function isEncoding(x: unknown): x is Encoding {
  if (typeof x !== 'object' || x === null || Object.keys(x).length !== 4) return false
  const { ring, dtype, base, precisionFractional } = x as Partial<Encoding>
  if (!isRing(ring) || !Number.isInteger(base) || !Number.isInteger(precisionFractional) || base! < 2) return false
  if (dtype === 'float32')
    return precisionFractional! >= 1 && base! ** precisionFractional! <= 2 ** LARGEST_SCALES[ring]
  return (dtype === 'int32' || dtype === 'bool') && base === 2 && precisionFractional === 0
}

/** Units beyond every value that is encoded. */
export const BEYOND = { 64: 1n << 51n, 128: 1n << 65n } as const

export const scaleOf = ({ base, precisionFractional }: Encoding): number => base ** precisionFractional
export const isFixed = ({ dtype }: Encoding): boolean => dtype === 'float32'

export const sameEncoding = (a: Encoding, b: Encoding): boolean =>
  a.ring === b.ring && a.dtype === b.dtype && a.base === b.base && a.precisionFractional === b.precisionFractional

/** The encoding of what is counted: of truths, integers. */
export const counted = (encoding: Encoding): Encoding => (encoding.dtype === 'bool' ? INTEGER[encoding.ring] : encoding)

export const showEncoding = (encoding: Encoding): string =>
  (isFixed(encoding) ? `fixed(${encoding.base}^${encoding.precisionFractional})` : encoding.dtype) +
  (encoding.ring === 64 ? '' : ` of ${encoding.ring} bits`)

/**
 * The encoding in which two values meet: integers and truths take on that of a fixed-precision value.
 *
 * @throws `ERR_PRECISION` when both are of fixed precision and differ, and when their rings do
 */
export function commonEncoding(op: string, a: Encoding, b: Encoding): Encoding {
  if (a.ring !== b.ring) {
    throw sottoError(
      'ERR_PRECISION',
      `${op}: ${showEncoding(a)} meets ${showEncoding(b)}; encode or share both with one ring`,
      { op, a, b },
    )
  }
  if (isFixed(a) && isFixed(b) && !sameEncoding(a, b)) {
    throw sottoError(
      'ERR_PRECISION',
      `${op}: ${showEncoding(a)} meets ${showEncoding(b)}; encode both alike, with one base and precisionFractional`,
      { op, a, b },
    )
  }
  if (isFixed(a)) return a
  if (isFixed(b)) return b
  return a.dtype === 'bool' && b.dtype === 'bool' ? TRUTH[a.ring] : INTEGER[a.ring]
}

/**
 * The encoding that a value takes on among parties whose ring is wider: in base 2 with 32 fractional bits, elsewhere with
 * the digits that it has.
 *
 * @throws `ERR_PRECISION` for a narrower ring: values might not fit
 */
export function widened(op: string, encoding: Encoding, ring: RingBits): Encoding {
  if (ring === encoding.ring) return encoding
  if (ring < encoding.ring) {
    throw sottoError('ERR_PRECISION', `${op}: ${showEncoding(encoding)} does not fit into ${ring} bits`, { op, ring })
  }
  const { base, precisionFractional } = encoding
  const isRaised = isFixed(encoding) && base === 2
  return {
    ...encoding,
    ring,
    precisionFractional: isRaised ? Math.max(FRACTIONAL_BITS[ring], precisionFractional) : precisionFractional,
  }
}
