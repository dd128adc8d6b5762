/**
 * Largest and smallest elements. By a tournament, half of those left drop out in each turn of six rounds; or, where these
 * are few, every two are compared at once.
 */
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

/** Pairs that are compared at once, at most: their bytes are then less than rounds are worth. */
const AT_ONCE = 2 ** 13

function meetAtOnce(x: AnyEncoded): boolean {
  const [length, count] = x.shape as [number, number]
  return length > 2 && ((length * (length - 1)) / 2) * count <= AT_ONCE
}

/** Of [length, count], which is the largest of its column, the first of equals; without a gradient. */
function largestOf<T extends AnyEncoded>(x: T): T {
  const [length, count] = x.shape as [number, number]
  const numbers = Array.from({ length }, (_, i) => i)
  const pairs = numbers.flatMap((first) => numbers.slice(first + 1).map((second) => [first, second] as const))
  return noGrad((): T => {
    const [first, second] = [0, 1].map((which) => x.gather(pairs.map((pair) => pair[which as 0 | 1])))
    const [isLess] = first!.sub(second as never).negativeAnd([])
    const wins = isLess!.logicalNot().concat(isLess!, 0)
    // Each element is in as many pairs as there are others; one row of the list for each of those.
    const won = numbers.map((i) =>
      pairs.flatMap((pair, at) => (pair[0] === i ? [at] : pair[1] === i ? [pairs.length + at] : [])),
    )
    let left = wins.gather(numbers.slice(1).flatMap((_, row) => won.map((rows) => rows[row]!))) as T
    for (let n = length - 1; n > 1; n = (n + 1) >> 1) {
      const half = [(n >> 1) * length, count]
      const both = left.slice([0, 0], half).logicalAnd(left.slice([half[0]!, 0], half) as never) as T
      left = n % 2 === 1 ? (both.concat(left.slice([(n - 1) * length, 0], [length, count]), 0) as T) : both
    }
    return left
  })
}

export function max<T extends AnyEncoded>(x: T, axis: Axes | undefined, keepDims: boolean): T {
  return scope(() => {
    const { field, length, shape } = columnsOf('max', x, axis, keepDims)
    if (meetAtOnce(field))
      return field
        .mul(largestOf(field) as never)
        .sum(0)
        .reshape(shape) as T
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
      if (meetAtOnce(field)) {
        const places = Array.from({ length }, (_, i) => [i])
        return largestOf(field).mul(places).sum(0).reshape(shape) as T
      }
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
