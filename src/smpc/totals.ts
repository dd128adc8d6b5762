/** Totals and means of several tensors: what federated learning opens, instead of the parts. */
import { sottoError } from '../errors.ts'
import type { EncodedTensor } from './encoded-tensor.ts'

function total<T extends EncodedTensor<T>>(op: string, tensors: readonly T[], divisor: number): T {
  const [first, ...others] = tensors
  if (first === undefined) throw sottoError('ERR_ARGUMENT_VALUE', `${op}: expected at least one tensor`, { op })
  return first.totalWith(others, divisor)
}

/**
 * The sum of tensors of one shape. Of secrets made of private values of at least three owners, one each, it may be opened
 * to those whom every owner named in `allowTotals`; each value by itself stays closed to them. Of shares: local.
 */
export function sumOf<T extends EncodedTensor<T>>(tensors: readonly T[]): T {
  return total('sumOf', tensors, 1)
}

/** The mean of tensors of one shape, as {@link sumOf}; within a unit. Of shares: one round. */
export function meanOf<T extends EncodedTensor<T>>(tensors: readonly T[]): T {
  return total('meanOf', tensors, tensors.length)
}
