/** How numbers stand in the ring: the type of a value's meaning, which its type carries everywhere. */
import { sottoError } from '../errors.ts'
import { checkOptions } from '../options.ts'
import type { DType } from '../tensor/shape.ts'

/**
 * What a ring element means. A fixed-precision value (dtype float32) is the integer nearest to value · base^fractional;
 * integers (int32) and truths (bool, 0 or 1) stand for themselves: base^0 = 1.
 */
export interface Encoding {
  readonly dtype: DType
  readonly base: number
  readonly precisionFractional: number
}

export interface PrecisionOptions {
  /** 2 unless given. */
  base?: number
  /** Digits after the point; 16 in base 2, 3 in base 10, unless given. */
  precisionFractional?: number
}

export const INTEGER: Encoding = { dtype: 'int32', base: 2, precisionFractional: 0 }
export const TRUTH: Encoding = { dtype: 'bool', base: 2, precisionFractional: 0 }

/** The scale of a value is at most 2^31, so that a product of two still has 62 − 31 bits to spare. */
const LARGEST_SCALE = 2 ** 31

/** @throws `ERR_ARGUMENT_VALUE` for a base below 2, digits below 1, or a scale above 2^31 */
export function fixedEncoding(entry: string, options: PrecisionOptions = {}): Encoding {
  checkOptions(entry, options, ['base', 'precisionFractional'])
  const { base = 2, precisionFractional = base === 10 ? 3 : 16 } = options
  if (!Number.isInteger(base) || base < 2) {
    throw sottoError('ERR_ARGUMENT_VALUE', `${entry}: "base" expected an integer from 2`, { option: 'base' })
  }
  const fits = Number.isInteger(precisionFractional) && precisionFractional >= 1
  if (!fits || base ** precisionFractional > LARGEST_SCALE) {
    throw sottoError(
      'ERR_ARGUMENT_VALUE',
      `${entry}: "precisionFractional" expected an integer from 1, with base^precisionFractional at most 2^31`,
      { option: 'precisionFractional' },
    )
  }
  return { dtype: 'float32', base, precisionFractional }
}

/** Whether something that came from a caller is an encoding. */
export function isEncoding(x: unknown): x is Encoding {
  if (typeof x !== 'object' || x === null || Object.keys(x).length !== 3) return false
  const { dtype, base, precisionFractional } = x as Partial<Encoding>
  if (!Number.isInteger(base) || !Number.isInteger(precisionFractional) || base! < 2) return false
  if (dtype === 'float32') return precisionFractional! >= 1 && base! ** precisionFractional! <= LARGEST_SCALE
  return (dtype === 'int32' || dtype === 'bool') && base === 2 && precisionFractional === 0
}

export const scaleOf = ({ base, precisionFractional }: Encoding): number => base ** precisionFractional
export const isFixed = ({ dtype }: Encoding): boolean => dtype === 'float32'

export const sameEncoding = (a: Encoding, b: Encoding): boolean =>
  a.dtype === b.dtype && a.base === b.base && a.precisionFractional === b.precisionFractional

export const showEncoding = (encoding: Encoding): string =>
  isFixed(encoding) ? `fixed(${encoding.base}^${encoding.precisionFractional})` : encoding.dtype

/**
 * The encoding in which two values meet: integers and truths take on that of a fixed-precision value.
 *
 * @throws `ERR_PRECISION` when both are of fixed precision and differ
 */
export function commonEncoding(op: string, a: Encoding, b: Encoding): Encoding {
  if (isFixed(a) && isFixed(b) && !sameEncoding(a, b)) {
    throw sottoError(
      'ERR_PRECISION',
      `${op}: ${showEncoding(a)} meets ${showEncoding(b)}; encode both alike, with one base and precisionFractional`,
      { op, a, b },
    )
  }
  if (isFixed(a)) return a
  if (isFixed(b)) return b
  return a.dtype === 'bool' && b.dtype === 'bool' ? TRUTH : INTEGER
}
