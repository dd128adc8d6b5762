/**
 * Operations that move elements and compute nothing: as lists of indices, taken from the op table itself.
 *
 * What a row of the op table does to a tensor of its own positions says where each element of the result comes from. So
 * every such row works on ring elements, of whatever width, by one kernel; and its gradient is the same list backwards.
 */
import { sottoError } from '../../errors.ts'
import { tf } from '../../tensor/engine.ts'
import { opRow } from '../../tensor/ops.ts'
import { type Shape, sizeOf } from '../../tensor/shape.ts'

/** Rows of the op table whose results hold elements of their operands, and zeros, and nothing else. */
export const moves = [
  'transpose',
  'reshape',
  'flatten',
  'expandDims',
  'squeeze',
  'slice',
  'gather',
  'concat',
  'stack',
  'unstack',
  'split',
  'pad',
  'tile',
  'reverse',
  'broadcastTo',
  'clone',
] as const
export type Move = (typeof moves)[number]

export const isMove = (name: string): name is Move => (moves as readonly string[]).includes(name)

/** Indices kept for commands that come again, as in training: 16 million of them, 64 MB. */
const KEPT = 2 ** 24
const kept = new Map<string, { readonly value: unknown; readonly size: number }>()
let keptSize = 0

/** What was worked out before for the same key; the longest unused goes when room is short. */
export function cached<T extends { readonly indices: Int32Array } | readonly Int32Array[]>(
  key: readonly unknown[],
  make: () => T,
): T {
  const name = JSON.stringify(key)
  const known = kept.get(name)
  if (known !== undefined) {
    kept.delete(name)
    kept.set(name, known)
    return known.value as T
  }
  const value = make()
  const lists = 'indices' in value ? [value.indices] : (value as readonly Int32Array[])
  const size = lists.reduce((total, { length }) => total + length, 0)
  keptSize += size
  kept.set(name, { value, size })
  for (const [oldest, { size: freed }] of kept) {
    if (keptSize <= KEPT || kept.size === 1) break
    kept.delete(oldest)
    keptSize -= freed
  }
  return value
}

/** Positions are int32. */
const MOST = 2 ** 31 - 2

/**
 * Where the elements of each result come from: positions in the operands laid end to end, −1 for a zero.
 *
 * @param args what the row takes after its tensors; of `gather` the indices come first, as { shape, values }
 */
export function indicesOf(name: Move, shapes: readonly Shape[], args: readonly unknown[]): readonly Int32Array[] {
  if (name === 'gather') return [gathered(shapes[0]!, ...(args as [PublicIndices, number]))]
  return cached(['move', name, shapes, args], () => {
    const sizes = shapes.map(sizeOf)
    if (sizes.reduce((a, b) => a + b, 0) > MOST) {
      throw sottoError('ERR_LIMIT', `${name}: more than 2^31 elements`, { op: name })
    }
    const results = tf.tidy((): tf.Tensor[] => {
      let next = 0
      const positions = shapes.map((shape, i) => {
        const list = Int32Array.from({ length: sizes[i]! }, (_, j) => next + j + 1)
        next += sizes[i]!
        // 1-based: padding brings in zeros.
        return tf.tensor(list, [...shape], 'int32')
      })
      const { operands, rest } = splitArgs(name, args)
      const row = opRow(name)
      return [row.run([...positions, ...operands], row.attrs(...(rest as never[])))].flat()
    })
    const lists = results.map((t) => (t.dataSync() as Int32Array).map((position) => position - 1))
    tf.dispose(results)
    return lists
  })
}

/**
 * Positions of the slices that indices name. By themselves, for a batch is small beside what it is taken from, and the next
 * one is another.
 */
function gathered(shape: Shape, { values }: PublicIndices, axis: number): Int32Array {
  const inner = sizeOf(shape.slice(axis + 1))
  const outer = sizeOf(shape.slice(0, axis))
  const dimension = shape[axis]!
  if (outer * dimension * inner > MOST)
    throw sottoError('ERR_LIMIT', 'gather: more than 2^31 elements', { op: 'gather' })
  areInside(values, dimension, axis)
  const result = new Int32Array(outer * values.length * inner)
  let at = 0
  for (let block = 0; block < outer; block++) {
    for (const index of values) {
      const start = (block * dimension + index) * inner
      for (let i = 0; i < inner; i++) result[at++] = start + i
    }
  }
  return result
}

/** @throws RangeError `ERR_ARGUMENT_VALUE` for what is no position on the axis of a gather */
export function areInside(indices: readonly number[], dimension: number, axis: number): void {
  if (indices.every((index) => Number.isInteger(index) && index >= 0 && index < dimension)) return
  throw sottoError('ERR_ARGUMENT_VALUE', `gather: an index is outside axis ${axis}`, { op: 'gather' })
}

/** The public indices of a gather, as they travel in a command. */
export interface PublicIndices {
  readonly shape: Shape
  readonly values: readonly number[]
}

/** What of a row's arguments is a tensor: the indices of `gather`. */
export function splitArgs(
  name: Move,
  args: readonly unknown[],
): { readonly operands: readonly tf.Tensor[]; readonly rest: readonly unknown[] } {
  if (name !== 'gather') return { operands: [], rest: args }
  const [{ shape, values }, ...rest] = args as [PublicIndices, ...unknown[]]
  return { operands: [tf.tensor([...values], [...shape], 'int32')], rest }
}
