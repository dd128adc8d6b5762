/**
 * Moves as copies between views: a view is elements of a tensor at regular distances, and each of these moves takes views
 * of its operands to views of its results, all of one shape. So nothing is listed element by element, as `ring/moves.ts`
 * does for the moves that are not here; and a move goes back by the same views, the other way.
 */
import { normalizeAxis, type Shape, sameShape, sizeOf } from '../tensor/shape.ts'
import { type Words, wordsPerElement } from './ring/kernels.ts'
import type { Move } from './ring/moves.ts'
import type { RingTensor } from './ring/tensor.ts'
import * as rt from './ring/tensor.ts'

/** Element [i, j, …] of a view is at `at + i·strides[0] + j·strides[1] + …` of the tensor that `of` says. */
interface View {
  readonly of: number
  readonly at: number
  readonly strides: readonly number[]
}
/** What is copied, and to where: two views of one shape. */
interface Part {
  readonly shape: Shape
  readonly from: View
  readonly to: View
}

/** Distances between neighbours on each axis of elements in rows. */
function stridesOf(shape: Shape): number[] {
  const strides = new Array<number>(shape.length).fill(1)
  for (let i = shape.length - 2; i >= 0; i--) strides[i] = strides[i + 1]! * shape[i + 1]!
  return strides
}

type PartsOf = (operands: readonly Shape[], attrs: readonly unknown[], results: readonly Shape[]) => readonly Part[]

/** Blocks of an axis: those of several tensors on one side, in one tensor on the other. */
function blocks(whole: Shape, parts: readonly Shape[], axis: number): { inner: View; outer: View; shape: Shape }[] {
  const strides = stridesOf(whole)
  let next = 0
  return parts.map((shape, of) => {
    const outer = { of: 0, at: next * strides[axis]!, strides }
    next += shape[axis]!
    return { inner: { of, at: 0, strides: stridesOf(shape) }, outer, shape }
  })
}
const withAxis = (shape: Shape, axis: number): Shape => [...shape.slice(0, axis), 1, ...shape.slice(axis)]
const joining = (whole: Shape, parts: readonly Shape[], axis: number): Part[] =>
  blocks(whole, parts, axis).map(({ inner, outer, shape }) => ({ shape, from: inner, to: outer }))
const parting = (whole: Shape, parts: readonly Shape[], axis: number): Part[] =>
  blocks(whole, parts, axis).map(({ inner, outer, shape }) => ({ shape, from: outer, to: inner }))

const views = {
  transpose([x], [perm], [result]) {
    const strides = stridesOf(x!)
    const order = (perm as readonly number[] | undefined) ?? [...x!.keys()].reverse()
    const from = { of: 0, at: 0, strides: order.map((axis) => strides[axis]!) }
    return [{ shape: result!, from, to: { of: 0, at: 0, strides: stridesOf(result!) } }]
  },
  slice([x], [begin], [result]) {
    const strides = stridesOf(x!)
    const starts = typeof begin === 'number' ? [begin] : (begin as readonly number[])
    const at = starts.reduce((sum, start, axis) => sum + start * strides[axis]!, 0)
    return [{ shape: result!, from: { of: 0, at, strides }, to: { of: 0, at: 0, strides: stridesOf(result!) } }]
  },
  concat: (operands, [axis = 0], [result]) =>
    joining(result!, operands, normalizeAxis('concat', axis as number, result!.length)),
  stack(operands, [axis = 0], [result]) {
    const at = normalizeAxis('stack', axis as number, result!.length)
    return joining(result!, operands.map((shape) => withAxis(shape, at)), at) // biome-ignore format: short
  },
  split: ([x], [, axis = 0], results) => parting(x!, results, normalizeAxis('split', axis as number, x!.length)),
  unstack([x], [axis = 0], results) {
    const at = normalizeAxis('unstack', axis as number, x!.length)
    return parting(x!, results.map((shape) => withAxis(shape, at)), at) // biome-ignore format: short
  },
} as const satisfies Partial<Record<Move, PartsOf>>
export type ViewMove = keyof typeof views

/** Whether a move is made of views: each element of an operand then goes to one place at most. */
export const isViewMove = (name: Move): name is ViewMove => Object.hasOwn(views, name)

/** The results of a move, whose shapes its row has told. */
export function moved(
  name: ViewMove,
  operands: readonly RingTensor[],
  attrs: readonly unknown[],
  shapes: readonly Shape[],
): RingTensor[] {
  const parts = views[name](operands.map(({ shape }) => shape), attrs, shapes) // biome-ignore format: short
  const results = shapes.map((shape) => rt.ringZeros(operands[0]!.ring, shape))
  for (const part of parts) copy(part.shape, operands[part.from.of]!, part.from, results[part.to.of]!, part.to)
  return results
}

/** What landed in the results of a move, where it came from; zeros elsewhere. */
export function movedBack(
  name: ViewMove,
  results: readonly RingTensor[],
  attrs: readonly unknown[],
  shapes: readonly Shape[],
): RingTensor[] {
  const parts = views[name](shapes, attrs, results.map(({ shape }) => shape)) // biome-ignore format: short
  const operands = shapes.map((shape) => rt.ringZeros(results[0]!.ring, shape))
  for (const part of parts) copy(part.shape, results[part.to.of]!, part.to, operands[part.from.of]!, part.from)
  return operands
}

/** Repeats along axes, by the rules of broadcasting. */
export function spread(x: RingTensor, shape: Shape): RingTensor {
  const size = sizeOf(x.shape)
  if (sameShape(x.shape, shape) || size === sizeOf(shape) || size <= 1) return rt.spread(x, shape)
  const result = rt.ringZeros(x.ring, shape)
  const aligned = [...new Array<number>(shape.length - x.shape.length).fill(1), ...x.shape]
  const strides = stridesOf(aligned).map((stride, axis) => (aligned[axis] === 1 ? 0 : stride))
  copy(shape, x, { at: 0, strides }, result, { at: 0, strides: stridesOf(shape) })
  return result
}

/** Words in a row from which on they are copied at once: below, to say what is to be copied takes longer than to do it. */
const LONG = 32

/** Copies one view to another. */
function copy(
  shape: Shape,
  from: RingTensor,
  { at: start, strides: fromStrides }: Omit<View, 'of'>,
  to: RingTensor,
  { at: end, strides: toStrides }: Omit<View, 'of'>,
): void {
  if (sizeOf(shape) === 0) return
  const words = wordsPerElement(from.ring)
  // Axes of one place say nothing, and two whose elements follow one another on both sides are one.
  const axes: { count: number; from: number; to: number }[] = words === 1 ? [] : [{ count: words, from: 1, to: 1 }]
  for (let i = shape.length - 1; i >= 0; i--) {
    const axis = { count: shape[i]!, from: words * fromStrides[i]!, to: words * toStrides[i]! }
    const inner = axes[0]
    if (axis.count === 1) continue
    if (inner !== undefined && axis.from === inner.count * inner.from && axis.to === inner.count * inner.to) {
      inner.count *= axis.count
    } else {
      axes.unshift(axis)
    }
  }
  while (axes.length < 2) axes.unshift({ count: 1, from: 0, to: 0 })
  const [rows, row] = axes.splice(-2) as [(typeof axes)[0], (typeof axes)[0]]
  const isLong = row.from === 1 && row.to === 1 && row.count >= LONG
  const copyRows = isLong ? longRows : shortRows
  const [source, target] = [isLong ? from.data : halvesOf(from.data), isLong ? to.data : halvesOf(to.data)]
  const along = (depth: number, a: number, b: number): void => {
    const axis = axes[depth]
    if (axis === undefined) return copyRows(source as never, a, target as never, b, rows, row)
    for (let i = 0; i < axis.count; i++) along(depth + 1, a + i * axis.from, b + i * axis.to)
  }
  along(0, words * start, words * end)
}

/** Of 32 bits, for a word of 64 would become a BigInt on its way. */
const halvesOf = ({ buffer, byteOffset, length }: Words): Int32Array => new Int32Array(buffer, byteOffset, 2 * length)

interface Axis {
  readonly count: number
  readonly from: number
  readonly to: number
}

function longRows(from: Words, a: number, to: Words, b: number, rows: Axis, { count }: Axis): void {
  for (let i = 0; i < rows.count; i++) {
    const start = a + i * rows.from
    to.set(from.subarray(start, start + count), b + i * rows.to)
  }
}

function shortRows(from: Int32Array, a: number, to: Int32Array, b: number, rows: Axis, row: Axis): void {
  const [fromStep, toStep, count] = [2 * row.from, 2 * row.to, row.count]
  for (let i = 0; i < rows.count; i++) {
    let source = 2 * (a + i * rows.from)
    let target = 2 * (b + i * rows.to)
    for (let j = 0; j < count; j++) {
      to[target] = from[source]!
      to[target + 1] = from[source + 1]!
      source += fromStep
      target += toStep
    }
  }
}
