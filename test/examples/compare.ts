import { expect } from 'vitest'
import type { Weight } from '../../examples/lib/weights.ts'

/** The greatest difference between two lists of numbers, which must have the same length. */
export function greatestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length)
  let greatest = 0
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs(a[i]! - b[i]!)
    // A NaN is as far away as can be.
    if (!(difference <= greatest)) greatest = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference
  }
  return greatest
}

/** The same of the weights of two models, which must have the same shapes. */
export function weightDifference(a: readonly Weight[], b: readonly Weight[]): number {
  expect(a.map(({ shape }) => shape)).toEqual(b.map(({ shape }) => shape))
  return Math.max(...a.map(({ data }, i) => greatestDifference(data, b[i]!.data)))
}
