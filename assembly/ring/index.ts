/**
 * Kernels of Z_2^64 and Z_2^128 in AssemblyScript: what is worth more than a loop in JavaScript.
 *
 * They work on scratch memory that the caller lays out, all operands apart. After each there is room for 128 bytes: a
 * kernel that works on several elements at once reads and writes past the end rather than treat what is left apart.
 * Results come first, lengths last.
 */
export { add, sub, lessTwice, mul, neg, addScalar, mulScalar, beaver, divide } from './arithmetic'
export { matMul, matMulScratch, turnRows } from './matmul'
export { truncationOf, truncate } from './truncation'
export { sum2, sum3, dealDivision, carryDivision, closeDivision, pack, unpack } from './helped'
export { encodeFloat32, encodeFloat64, decode } from './encoding'
export { toPlanes, fromPlane, flip, flipWithin, pick, lowestBits, xor, and, beaverAnd } from './bits'
export { thermometers, compareDigits, subtractDigits } from './digits'
export { chacha20 } from './chacha'
export { add128, sub128, mul128, neg128, addScalar128, mulScalar128, beaver128 } from './arithmetic128'
export { matMul128, matMulScratch128 } from './matmul128'
export { divide128, truncationOf128, truncate128 } from './division128'
export { encodeFloat32To128, encodeFloat64To128, decode128 } from './encoding128'
export { toPlanes128, fromPlane128, flip128, flipWithin128, pick128, lessTwice128, lowestBits128 } from './bits128'

/** Where memory is the caller's from. */
export function scratchStart(): usize {
  return (__heap_base + 15) & ~15
}
