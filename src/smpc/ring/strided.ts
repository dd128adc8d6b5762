/** Elements of tensors at regular distances, and how they are copied without a list of where each comes from. */
import { type Shape, sizeOf } from '../../tensor/shape.ts'
import { type RingBits, type Words, wordsPerElement } from './kernels.ts'

/** Element [i, j, …] of a view is at `at + i·strides[0] + j·strides[1] + …` of a tensor. */
export interface View {
  readonly at: number
  readonly strides: readonly number[]
}

/** Distances between neighbours on each axis of elements in rows. */
export function stridesOf(shape: Shape): number[] {
  const strides = new Array<number>(shape.length).fill(1)
  for (let i = shape.length - 2; i >= 0; i--) strides[i] = strides[i + 1]! * shape[i + 1]!
  return strides
}

/** All of a tensor, row by row. */
export const wholeOf = (shape: Shape): View => ({ at: 0, strides: stridesOf(shape) })

/** The axes of a tensor in another order. */
export function turnedView(shape: Shape, perm: readonly number[]): View {
  const strides = stridesOf(shape)
  return { at: 0, strides: perm.map((axis) => strides[axis]!) }
}

/** What broadcasting makes of a tensor: along an axis of one element it stays where it is. */
export function spreadView(from: Shape, to: Shape): View {
  const aligned = [...new Array<number>(to.length - from.length).fill(1), ...from]
  return { at: 0, strides: stridesOf(aligned).map((stride, axis) => (aligned[axis] === 1 ? 0 : stride)) }
}

/** Words in a row from which on they are copied at once: below, to say what is to be copied takes longer than to do it. */
const LONG = 32

/** Copies one view of a shape to another. Neither is of the same memory. */
export function copyView(
  ring: RingBits,
  shape: Shape,
  from: Words,
  { at: start, strides: fromStrides }: View,
  to: Words,
  { at: end, strides: toStrides }: View,
): void {
  if (sizeOf(shape) === 0) return
  const words = wordsPerElement(ring)
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
  const [source, target] = [isLong ? from : halvesOf(from), isLong ? to : halvesOf(to)]
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
