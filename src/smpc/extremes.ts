/** Largest and smallest elements, by a tournament: half of those left drop out in each round of eight openings. */
import { sottoError } from '../errors.ts'
import { noGrad, scope } from '../tensor/context.ts'
import { normalizeAxes, type Shape, showShape, sizeOf } from '../tensor/shape.ts'
import type { AnyEncoded } from './encoded-tensor.ts'
import { INTEGER } from './encoding.ts'

type Axes = number | readonly number[]

/** The elements along the axes given as the columns of a matrix, and the shape that is left. */
interface Columns<T> {
  readonly field: T
  readonly length: number
  readonly shape: Shape
}

function columnsOf<T extends AnyEncoded>(name: string, x: T, axis: Axes | undefined, keepDims: boolean): Columns<T> {
  const of: Shape = x.shape
  const axes = normalizeAxes(name, axis, of.length).sort((a, b) => a - b)
  const kept = of.map((_, i) => i).filter((i) => !axes.includes(i))
  const length = sizeOf(axes.map((i) => of[i]!))
  const count = sizeOf(kept.map((i) => of[i]!))
  if (length === 0) throw sottoError('ERR_SHAPE', `${name}: ${showShape(of)} has no elements to take it of`)
  const shape = of.flatMap((d, i) => (axes.includes(i) ? (keepDims ? [1] : []) : [d]))
  return { field: x.transpose([...axes, ...kept]).reshape([length, count]), length, shape }
}

/** The first, or the second, of each pair of neighbours in [length, count]: whole rows, which are copied as they are. */
function halfOf<T extends AnyEncoded>(x: T, which: 0 | 1): T {
  const [length, count] = x.shape as [number, number]
  const pairs = length >> 1
  const even = length % 2 === 0 ? x : x.slice([0, 0], [2 * pairs, count])
  return even.reshape([pairs, 2, count]).slice([0, which, 0], [pairs, 1, count]).reshape([pairs, count])
}

/** Those who won, and the one who had nobody to meet. */
function next<T extends AnyEncoded>(winners: T, x: T): T {
  const [length, count] = x.shape as [number, number]
  return length % 2 === 1 ? winners.concat(x.slice([length - 1, 0], [1, count]), 0) : winners
}

export function max<T extends AnyEncoded>(x: T, axis: Axes | undefined, keepDims: boolean): T {
  return scope(() => {
    const { field, length, shape } = columnsOf('max', x, axis, keepDims)
    let left: T = field
    for (let n = length; n > 1; n = (n + 1) >> 1) left = next(halfOf(left, 0).maximum(halfOf(left, 1)), left)
    return left.reshape(shape)
  })
}

export function min<T extends AnyEncoded>(x: T, axis: Axes | undefined, keepDims: boolean): T {
  return scope(() => x.neg().max(axis, keepDims).neg())
}

/** Of equals the first: neighbours meet, so that the one of lower index is always the first of a pair. */
export function argMax<T extends AnyEncoded>(x: T, axis: number): T {
  return scope(() =>
    noGrad(() => {
      const { field, length, shape } = columnsOf('argMax', x, axis, false)
      let left: T = field
      let at: T = field
        .run('sub', [field], { encodings: [INTEGER[x.encoding.ring]] })[0]!
        .add(Array.from({ length }, (_, i) => [i]))
      for (let n = length; n > 1; n = (n + 1) >> 1) {
        const [first, place] = [halfOf(left, 0), halfOf(at, 0)]
        const difference = first.sub(halfOf(left, 1))
        const apart = place.sub(halfOf(at, 1))
        // Where the first is smaller, the second takes its place.
        const [, lost, passed] = difference.negativeAnd([difference, apart])
        ;[left, at] = [next(first.sub(lost!), left), next(place.sub(passed!), at)]
      }
      return at.reshape(shape)
    }),
  )
}

export function argMin<T extends AnyEncoded>(x: T, axis: number): T {
  return scope(() => noGrad(() => x.neg().argMax(axis)))
}
