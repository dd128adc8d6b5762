/**
 * Gradients of weights that are not at their scale yet. What they are multiplied by (a learning rate, one over the number
 * of rows) goes into the one division that brings a product to scale, which is taken anyway.
 */
import type { PublicOperand } from '../encoded-tensor.ts'
import { type Encoding, scaleOf } from '../encoding.ts'
import { wholeNumbers } from '../literals.ts'
import type { RingOp } from '../ring-ops.ts'
import type { SharedTensor } from '../shared-tensor.ts'

/** A gradient, for whoever says what it is to be multiplied by. */
export interface Gradient {
  /** factor · gradient, within a unit, in an encoding: that of the weight, unless given. */
  times(factor: number, encoding?: Encoding): SharedTensor
}

/** A public whole number, as a factor that takes no division. */
export const whole = (x: SharedTensor, value: number): PublicOperand =>
  wholeNumbers(x.encoding.ring, [], [BigInt(value)])

/** Bits of a public factor: within 2^-13 of itself. */
const FACTOR_BITS = 12
/** A command takes divisors below 2^53. */
const MOST_BITS = 52

/** A positive factor as a whole number of few bits over a power of two: divisions by one cost least, and are right on average. */
export function binary(factor: number): { readonly whole: number; readonly bits: number } {
  const isPower = Number.isInteger(Math.log2(factor))
  const bits = isPower ? -Math.log2(factor) : FACTOR_BITS - 1 - Math.floor(Math.log2(factor))
  return { whole: Math.round(factor * 2 ** bits), bits }
}

/** x times a public whole number, under the same name. Local. */
export const timesWhole = (x: SharedTensor, factor: number): SharedTensor =>
  factor === 1 ? x : x.run('mul', [whole(x, factor)])[0]!

/** x · y / (by · 2^bits). Two rounds; where that is no divisor of one command, the last bits take one more. */
export function productOver(x: SharedTensor, y: SharedTensor, by: number, bits: number, as: Encoding): SharedTensor {
  const most = Math.max(0, MOST_BITS - Math.ceil(Math.log2(by)))
  // What the first division rounds is then a sixteenth of what the second does, or less.
  const first = bits > most ? Math.min(most, bits - 4) : bits
  const [product] = x.run('mul', [y], { divisor: BigInt(by * 2 ** first), encodings: [as] })
  return first === bits ? product! : product!.run('clone', [], { divisor: 1n << BigInt(bits - first) })[0]!
}

/**
 * The gradient that is a product of two secrets of one scale, by a row of the ring op table. Two rounds.
 *
 * Domain: the product below 2^(62 − 12) / scale², 2^18 at scale 2^16; of 128 bits 2^(126 − 12) / scale².
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
          : g.run('mul', [whole(g, scaleOf(encoding) / g.scale)], { encodings: [encoding] })[0]!
      return factor === 1 ? raised : raised.mul(factor)
    },
  }
}
