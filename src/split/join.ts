/** How activations of several owners, of the same rows, become one. */
import { sottoError } from '../errors.ts'
import type { PointerTensor } from '../tensor/pointer.ts'

type Joining = (all: readonly PointerTensor[]) => PointerTensor
const sum: Joining = ([first, ...rest]) => rest.reduce((total, x) => total.add(x), first!)

/** One row per way: of pointers on one worker, `[rows, …]` each. All but `concat` want equal shapes. */
const joins = {
  /** Side by side along the last axis. */
  concat: ([first, ...rest]) => first!.concat(rest, -1),
  sum,
  mean: (all) => sum(all).div(all.length),
  /** Of each element the largest; its gradient goes to the owner that it came from. */
  max: ([first, ...rest]) => rest.reduce((largest, x) => largest.maximum(x), first!),
} as const satisfies Record<string, Joining>

export type Join = keyof typeof joins

export function checkJoin(entry: string, join: unknown): asserts join is Join {
  if (typeof join !== 'string' || !Object.hasOwn(joins, join)) {
    throw sottoError('ERR_ARGUMENT_VALUE', `${entry}: "join" expected one of ${Object.keys(joins).join(', ')}`, {
      option: 'join',
    })
  }
}

export const joined = (join: Join, activations: readonly PointerTensor[]): PointerTensor =>
  activations.length === 1 ? activations[0]! : joins[join](activations)
