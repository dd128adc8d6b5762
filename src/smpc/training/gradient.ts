/**
 * Gradients of weights that are not at their scale yet. What they are multiplied by (a learning rate, one over the number
 * of rows) goes into the one division that brings a product to scale, which is taken anyway.
 */
import type { PublicOperand } from '../encoded-tensor.ts'
import { type Encoding, INTEGER, scaleOf } from '../encoding.ts'
import type { RingOp } from '../ring-ops.ts'
import type { SharedTensor } from '../shared-tensor.ts'

/** A gradient, for whoever says what it is to be multiplied by. */
export interface Gradient {
  /** factor · gradient, within a unit, in an encoding: that of the weight, unless given. */
  times(factor: number, encoding?: Encoding): SharedTensor
}

/** A public whole number, as a factor that takes no division. */
export const whole = (value: number): PublicOperand => ({
  tensor: { shape: [], data: BigUint64Array.of(BigInt(value)) },
  encoding: INTEGER,
})

/** Bits of a public factor: within 2^-13 of itself. */
const FACTOR_BITS = 12
/** A command takes divisors up to 2^53. */
const MOST_BITS = 53

/** A positive factor as a whole number of few bits over a power of two: divisions by one cost least, and are right on average. */
export function binary(factor: number): { readonly whole: number; readonly bits: number } {
  const isPower = Number.isInteger(Math.log2(factor))
  const bits = isPower ? -Math.log2(factor) : FACTOR_BITS - 1 - Math.floor(Math.log2(factor))
  return { whole: Math.round(factor * 2 ** bits), bits }
}

/** x times a public whole number, under the same name. Local. */
export const timesWhole = (x: SharedTensor, factor: number): SharedTensor =>
  factor === 1 ? x : x.run('mul', [whole(factor)])[0]!

/**
 * The gradient that is a product of two secrets of one scale, by a row of the ring op table. Two rounds.
 *
 * Domain: the product below 2^(62 − 12) / scale², 2^18 at scale 2^16.
 */
export function ofProduct(op: RingOp, a: SharedTensor, b: SharedTensor, attrs: readonly unknown[]): Gradient {
  return {
    times: (factor, encoding = a.encoding) => {
      const run = (right: SharedTensor, divisor: number): SharedTensor =>
        a.run(op, [right], { attrs, divisor: divisor === 1 ? null : BigInt(divisor), encodings: [encoding] })[0]!
      const scale = (a.scale * b.scale) / scaleOf(encoding)
      const { whole: by, bits } = binary(factor)
      const divisor = scale * 2 ** bits
      if (Number.isInteger(divisor) && divisor >= 1 && bits >= 0 && divisor <= 2 ** MOST_BITS) {
        return run(timesWhole(b, by), divisor)
      }
      // A factor that is no small number leaves the product its digits.
      return run(b, scale).mul(factor)
    },
  }
}

/** The gradient that is there already, at the scale of a weight. One round. */
export function ofTensor(g: SharedTensor): Gradient {
  return {
    times: (factor, encoding = g.encoding) => {
      const raised =
        scaleOf(encoding) === g.scale
          ? g
          : g.run('mul', [whole(scaleOf(encoding) / g.scale)], { encodings: [encoding] })[0]!
      return factor === 1 ? raised : raised.mul(factor)
    },
  }
}
