/** Quotients and remainders: exact of public values, by what is public of secrets; by secrets see functions.ts. */
import { sottoError } from '../errors.ts'
import { scope } from '../tensor/context.ts'
import { tf } from '../tensor/engine.ts'
import { sizeOf } from '../tensor/shape.ts'
import { type AnyEncoded, type EncodedOperand, EncodedTensor, type PublicOperand } from './encoded-tensor.ts'
import { commonEncoding, type Encoding, INTEGER, isFixed, scaleOf } from './encoding.ts'
import type { FixedPrecisionTensor } from './fixed-precision.ts'
import * as functions from './functions.ts'
import { summedTo, timesPublic } from './gradients.ts'
import { encodeValues, wholeNumbers } from './literals.ts'
import { ring } from './ring/choose.ts'
import { numbersOf, ringTensor } from './ring/tensor.ts'

export function div<T extends AnyEncoded>(x: T, other: EncodedOperand<T>): T {
  if (x.isPublic) return quotient(x, other)
  if (typeof other === 'number' && Number.isInteger(other) && other !== 0) {
    return scope(() => (other > 0 ? x.dividedBy(other) : x.dividedBy(-other).neg()))
  }
  if (other instanceof EncodedTensor && other.publicValue === undefined) return functions.div(x, other as T)
  if (typeof other === 'number') return x.mul(1 / other)
  return timesPublic(x, inverseOf(other as tf.TensorLike, x.encoding))
}

/** Of public values, toward zero. */
function quotient<T extends AnyEncoded>(x: T, value: EncodedOperand<T>): T {
  const other: T | PublicOperand = x.factor('div', value)
  const encoding = commonEncoding('div', x.encoding, other.encoding)
  // Of two at one scale, the quotient is brought back to it; by an integer, it is there already.
  const scale = isFixed(other.encoding) ? scaleOf(encoding) * (isFixed(x.encoding) ? 1 : scaleOf(encoding)) : 1
  const [result] = x.run('quotient', [other], { attrs: [scale], encodings: [encoding] })
  if ('tensor' in other) return x.recorded(result, [x], [], (g: T) => [summedTo(quotient(g, value), x.shape)])
  const shapes = [x.shape, other.shape] as const
  return x.recorded(result, [x, other], [other, result], (g: T, [b, q]: readonly T[]) => [
    summedTo(quotient(g, b!), shapes[0]),
    summedTo(quotient(g.mul(q!), b!).neg(), shapes[1]),
  ])
}

/** 1 / v of public values. */
function inverseOf(value: FixedPrecisionTensor | tf.Tensor | tf.TensorLike, encoding: Encoding): PublicOperand {
  if (!isFixed(encoding)) {
    throw sottoError(
      'ERR_PRECISION',
      'div: integers, by something else than one whole number; call fixPrecision() first',
    )
  }
  const known = value instanceof EncodedTensor ? value.publicValue : undefined
  if (known !== undefined) {
    const scale = scaleOf(known.encoding)
    const inverses = Float64Array.from(numbersOf(known.tensor), (x) => scale / Number(x))
    const data = ring(encoding.ring).encode(inverses, scaleOf(encoding))
    return { tensor: ringTensor(encoding.ring, known.tensor.shape, data), encoding }
  }
  const inverses = tf.tidy(() => tf.div(1, value as tf.TensorLike))
  try {
    return encodeValues('div', inverses, () => encoding)
  } finally {
    inverses.dispose()
  }
}

export function mod<T extends AnyEncoded>(x: T, other: EncodedOperand<T>): T {
  const divisor: T | PublicOperand = x.operand('mod', other, (whole: boolean) => {
    if (isFixed(x.encoding) || whole) return x.encoding
    throw sottoError('ERR_PRECISION', 'mod: a fraction meets an integer; call fixPrecision() first')
  })
  const encoding = commonEncoding('mod', x.encoding, divisor.encoding)
  if (x.isPublic) {
    const [a, b] = [x.raised('mod', x, encoding), x.raised('mod', divisor, encoding)]
    const [result] = a.run('remainder', [b], { encodings: [encoding] })
    if ('tensor' in divisor) return x.recorded(result, [x], [], (g: T) => [summedTo(g, x.shape)])
    // x − y · ⌊x / y⌋: the quotient of what is left out is whole.
    return x.recorded(result, [x, divisor], [x, divisor, result], (g: T, [p, q, r]: readonly T[]) => [
      summedTo(g, x.shape),
      summedTo(g.mul(p!.sub(r!).div(q!)).neg(), divisor.shape),
    ])
  }
  const step = 'tensor' in divisor && sizeOf(divisor.tensor.shape) === 1 ? numbersOf(divisor.tensor)[0]! : 0n
  if (step <= 0n) {
    throw sottoError('ERR_ARGUMENT_VALUE', 'mod: of a secret, by one public number above zero', { op: 'mod' })
  }
  const { ring: bits } = x.encoding
  const whole = (value: bigint): PublicOperand => wholeNumbers(bits, [], [value])
  return x.composed(
    () => {
      // The quotient is less than one and a half off, so what is left lies within as many steps around 0: steps are
      // added for being below 0 and below −step, and one taken off for not being below step.
      const [count] = x.run('clone', [], { divisor: step, encodings: [INTEGER[bits]] })
      const near = x.run('sub', [count.run('mul', [whole(step)], { encodings: [encoding] })[0]])[0] as T
      const shifted = (by: bigint): T => near.run('add', [whole(by)])[0] as T
      const below = near
        .stack([shifted(step), shifted(-step)], 0)
        .negativeAnd([])[0]!
        .sum(0)
        .sub(1)
      return near.run('add', [below.run('mul', [whole(step)], { encodings: [encoding] })[0]])[0] as T
    },
    [x],
    () => [],
    (g: T) => [g],
  )
}
