/**
 * Kernels of Z_2^64 in AssemblyScript: what is worth more than a loop in JavaScript.
 *
 * They work on scratch memory that the caller lays out. Pointers are multiples of 16, and every operand is padded to a
 * whole vector of 16 bytes: a kernel reads and writes past an odd end rather than treat it apart. Results come first,
 * lengths last.
 */
export { add, sub, mul, neg, addScalar, mulScalar, beaver, divide } from './arithmetic'
export { matMul, matMulScratch } from './matmul'
export { truncationOf, truncate } from './truncation'
export { encodeFloat32, encodeFloat64, decode } from './encoding'
export { toPlanes, fromPlane, lowestBits, xor, and, not, beaverAnd } from './bits'
export { chacha20 } from './chacha'

/** Where memory is the caller's from. */
export function scratchStart(): usize {
  return (__heap_base + 15) & ~15
}
