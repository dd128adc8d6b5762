/** What the rules of gradients need. */
import { normalizeAxes, type Shape, sameShape, sizeOf } from '../tensor/shape.ts'
import type { AnyEncoded, PublicOperand } from './encoded-tensor.ts'
import type { RingOp } from './ring-ops.ts'

/** A product inside a rule, with a secret or a public factor. */
export const productOf = <T extends AnyEncoded>(
  a: T,
  op: RingOp,
  b: T | PublicOperand,
  attrs: readonly unknown[],
  swapped = false,
): T => a.productWith(op, b, attrs, swapped)

/** Times public factors. */
export function timesPublic<T extends AnyEncoded>(x: T, factors: PublicOperand): T {
  const result = x.productWith('mul', factors, [])
  return x.recorded(result, [x], [], (g: T) => [summedTo(g.productWith('mul', factors, []), x.shape)])
}

/** The sum of a gradient over what broadcasting repeated, in the shape that was broadcast. */
export function summedTo<T extends AnyEncoded>(g: T, shape: Shape): T {
  const more = g.rank - shape.length
  const axes = g.shape.flatMap((d: number, i: number) => (i < more || shape[i - more] !== d ? [i] : []))
  const summed = axes.length === 0 ? g : g.sum(axes)
  return sameShape(summed.shape, shape) ? summed : summed.reshape(shape)
}

/** The gradient of a sum over axes: repeated along them. */
export function broadcastBack<T extends AnyEncoded>(
  g: T,
  axis: number | readonly number[] | undefined,
  shape: Shape,
): T {
  if (sizeOf(shape) === 0) return zerosLike(g, shape)
  const axes = normalizeAxes('sum', axis, shape.length)
  return g.reshape(shape.map((d, i) => (axes.includes(i) ? 1 : d))).broadcastTo(shape)
}

/** Zeros of a shape, in the place and encoding of a tensor. */
export function zerosLike<T extends AnyEncoded>(x: T, shape: Shape): T {
  if (sizeOf(shape) === 0) return x.flatten().slice([0], [0]).reshape(shape)
  const zero = x.size === 0 ? x.sum() : x.flatten().slice([0], [1]).mul(0)
  return zero.reshape([]).broadcastTo(shape)
}
