import type { RingBits } from './kernels.ts'

/**
 * 2^(l−2) / divisor, to the nearest: what stands in a quotient for the 2^(l−2) that was added before the opening, and half
 * of what a carry into the top bit stands for. One number for both keeps a truncation unbiased.
 */
export function truncationOffset(divisor: bigint, bits: RingBits): bigint {
  return ((1n << BigInt(bits - 2)) + (divisor >> 1n)) / divisor
}
