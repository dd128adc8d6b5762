/** What is done to many elements of ristretto255 at once, here or in a thread. */
import { POINT, type Ristretto, UNIFORM } from '../ristretto.ts'

/** Work on a list of elements. */
export type PointTask =
  /** Maps 64 bytes each to elements, and multiplies them. */
  | { readonly kind: 'map'; readonly scalar: Uint8Array; readonly uniform: Uint8Array }
  /** Multiplies elements; those that are none make it fail. */
  | { readonly kind: 'multiply'; readonly scalar: Uint8Array; readonly points: Uint8Array }

/** @returns the elements, or null when there was something among them that is none */
export function carryOut(task: PointTask, group: Ristretto): Uint8Array | null {
  const count = task.kind === 'map' ? task.uniform.length / UNIFORM : task.points.length / POINT
  const out = new Uint8Array(POINT * count)
  for (let i = 0; i < count; i++) {
    const point =
      task.kind === 'map'
        ? group.fromUniform(task.uniform.subarray(UNIFORM * i, UNIFORM * (i + 1)))
        : task.points.subarray(POINT * i, POINT * (i + 1))
    const product = group.multiply(task.scalar, point)
    if (product === undefined) return null
    out.set(product, POINT * i)
  }
  return out
}
