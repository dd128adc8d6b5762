/**
 * Moves as copies between views: each of these moves takes views of its operands to views of its results, all of one shape.
 * So nothing is listed element by element, as `ring/moves.ts` does for the moves that are not here; and a move goes back by
 * the same views, the other way.
 */
import { normalizeAxis, type Shape } from '../tensor/shape.ts'
import type { Move } from './ring/moves.ts'
import { copyView, stridesOf, turnedView, type View, wholeOf } from './ring/strided.ts'
import type { RingTensor } from './ring/tensor.ts'
import * as rt from './ring/tensor.ts'

/** A view of one of several tensors. */
interface ViewOf extends View {
  readonly of: number
}
/** What is copied, and to where: two views of one shape. */
interface Part {
  readonly shape: Shape
  readonly from: ViewOf
  readonly to: ViewOf
}

type PartsOf = (operands: readonly Shape[], attrs: readonly unknown[], results: readonly Shape[]) => readonly Part[]

/** Blocks of an axis: those of several tensors on one side, in one tensor on the other. */
function blocks(whole: Shape, parts: readonly Shape[], axis: number): { inner: ViewOf; outer: ViewOf; shape: Shape }[] {
  const strides = stridesOf(whole)
  let next = 0
  return parts.map((shape, of) => {
    const outer = { of: 0, at: next * strides[axis]!, strides }
    next += shape[axis]!
    return { inner: { of, ...wholeOf(shape) }, outer, shape }
  })
}
const withAxis = (shape: Shape, axis: number): Shape => [...shape.slice(0, axis), 1, ...shape.slice(axis)]
const joining = (whole: Shape, parts: readonly Shape[], axis: number): Part[] =>
  blocks(whole, parts, axis).map(({ inner, outer, shape }) => ({ shape, from: inner, to: outer }))
const parting = (whole: Shape, parts: readonly Shape[], axis: number): Part[] =>
  blocks(whole, parts, axis).map(({ inner, outer, shape }) => ({ shape, from: outer, to: inner }))

const views = {
  transpose([x], [perm], [result]) {
    const order = (perm as readonly number[] | undefined) ?? [...x!.keys()].reverse()
    return [{ shape: result!, from: { of: 0, ...turnedView(x!, order) }, to: { of: 0, ...wholeOf(result!) } }]
  },
  slice([x], [begin], [result]) {
    const strides = stridesOf(x!)
    const starts = typeof begin === 'number' ? [begin] : (begin as readonly number[])
    const at = starts.reduce((sum, start, axis) => sum + start * strides[axis]!, 0)
    return [{ shape: result!, from: { of: 0, at, strides }, to: { of: 0, ...wholeOf(result!) } }]
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
  const { ring } = operands[0]!
  // Every element of a result comes from somewhere.
  const results = shapes.map((shape) => rt.unfilledTensor(ring, shape))
  for (const { shape, from, to } of parts) {
    copyView(ring, shape, operands[from.of]!.data, from, results[to.of]!.data, to)
  }
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
  const { ring } = results[0]!
  // Of all but a slice, every element went somewhere.
  const operands = shapes.map((shape) =>
    name === 'slice' ? rt.ringZeros(ring, shape) : rt.unfilledTensor(ring, shape),
  )
  for (const { shape, from, to } of parts) {
    copyView(ring, shape, results[to.of]!.data, to, operands[from.of]!.data, from)
  }
  return operands
}
