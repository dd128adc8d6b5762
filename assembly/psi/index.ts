/**
 * Kernels of private set intersection in AssemblyScript: turning matrices of bits, hashing many short messages, and what
 * is done to every row of a matrix of the OT extension.
 *
 * They work on memory that the caller lays out, all operands apart, 16 bytes aligned. Results come first, counts last.
 */
export { transpose } from './transpose'
export { blake2s } from './blake2s'
export { correct, evaluate, select } from './rows'

/** Where memory is the caller's from. */
export function scratchStart(): usize {
  return (__heap_base + 15) & ~15
}
