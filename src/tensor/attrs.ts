/**
 * Checks of what an op takes besides tensors. Callers write it, and peers send it: each check names the op and the
 * argument, and refuses what a kernel could choke on.
 */
import { sottoError } from '../errors.ts'
import { type DType, dtypes, type Padding, type PairOf } from './shape.ts'

/** No axis, shape or list of sizes is longer: tfjs ends at rank 6, and `split` makes no more parts than this. */
const LONGEST_LIST = 65_536

function wrongType(op: string, name: string, expected: string, value: unknown): Error {
  const got =
    value === null ? 'null' : Array.isArray(value) ? 'an array' : typeof value === 'number' ? `${value}` : typeof value
  return sottoError('ERR_ARGUMENT_TYPE', `${op}: "${name}" expected ${expected}, got ${got}`, { op, argument: name })
}

export function numberArg(op: string, name: string, value: unknown): number {
  if (typeof value !== 'number' || !Number.isFinite(value)) throw wrongType(op, name, 'a finite number', value)
  return value
}

export function integerArg(op: string, name: string, value: unknown, from: number = Number.MIN_SAFE_INTEGER): number {
  if (!Number.isSafeInteger(value)) throw wrongType(op, name, 'an integer', value)
  if ((value as number) < from) {
    throw sottoError('ERR_ARGUMENT_VALUE', `${op}: "${name}" must be at least ${from}, got ${value}`, {
      op,
      argument: name,
    })
  }
  return value as number
}

export function booleanArg(op: string, name: string, value: unknown): boolean {
  if (typeof value !== 'boolean') throw wrongType(op, name, 'a boolean', value)
  return value
}

export function shapeArg(op: string, name: string, value: unknown): number[] {
  if (!Array.isArray(value) || value.length > LONGEST_LIST || !value.every(Number.isSafeInteger)) {
    throw wrongType(op, name, 'a list of integers', value)
  }
  return value
}

export const axisArg = (op: string, value: unknown): number => integerArg(op, 'axis', value)

export function axesArg(op: string, value: unknown): number[] | undefined {
  if (value === undefined || value === null) return undefined
  return typeof value === 'number' ? [axisArg(op, value)] : shapeArg(op, 'axis', value)
}

export function oneOfArg<const T extends string>(op: string, name: string, value: unknown, allowed: readonly T[]): T {
  if (!allowed.includes(value as T)) throw wrongType(op, name, `one of ${allowed.join(', ')}`, value)
  return value as T
}

export const dtypeArg = (op: string, value: unknown): DType => oneOfArg(op, 'dtype', value, dtypes)

/** A window's height and width, or its strides or dilations: one number for both. */
export function pairArg(op: string, name: string, value: PairOf): [number, number] {
  const pair = typeof value === 'number' ? [value, value] : shapeArg(op, name, value)
  if (pair.length !== 2) throw wrongType(op, name, 'a number or a pair of numbers', value)
  return [integerArg(op, name, pair[0], 1), integerArg(op, name, pair[1], 1)]
}

export function paddingArg(op: string, value: Padding): Padding {
  return typeof value === 'number' ? integerArg(op, 'pad', value, 0) : oneOfArg(op, 'pad', value, ['same', 'valid'])
}
