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

/** A divisor is a whole number: from here on, it is off by less than 2^-12 of itself. */
const FEWEST_STEPS = 2 ** 11
/** A command takes divisors up to 2^53. */
const LARGEST_DIVISOR = 2 ** 53

/** x / (scale / factor), where x has the scale given. Of shares: one round where the quotient is no small number, else two. */
function scaled(
  run: (divisor: bigint | null, encoding: Encoding) => SharedTensor,
  scale: number,
  factor: number,
  encoding: Encoding,
): SharedTensor {
  const divisor = scale / scaleOf(encoding) / factor
  if (divisor >= FEWEST_STEPS && divisor <= LARGEST_DIVISOR) return run(BigInt(Math.round(divisor)), encoding)
  const whole = scale / scaleOf(encoding)
  if (Number.isInteger(divisor) && divisor >= 1 && divisor <= LARGEST_DIVISOR) return run(BigInt(divisor), encoding)
  return run(whole === 1 ? null : BigInt(whole), encoding).mul(factor)
}

/** The gradient that is a product of two secrets of one scale, by a row of the ring op table. Two rounds. */
export function ofProduct(op: RingOp, a: SharedTensor, b: SharedTensor, attrs: readonly unknown[]): Gradient {
  return {
    times: (factor, encoding = a.encoding) =>
      scaled(
        (divisor, as) => a.run(op, [b], { attrs, divisor, encodings: [as] })[0]!,
        a.scale * b.scale,
        factor,
        encoding,
      ),
  }
}

/** The gradient that is there already, at the scale of a weight. One round. */
export function ofTensor(g: SharedTensor): Gradient {
  return {
    times: (factor, encoding = g.encoding) => {
      if (factor === 1 && scaleOf(encoding) === g.scale) return g
      const more = scaleOf(encoding) / g.scale
      const [raised] = more === 1 ? [g] : g.run('mul', [whole(more)], { encodings: [encoding] })
      return factor === 1 ? raised! : raised!.mul(factor)
    },
  }
}
