/** Bits of elements of Z_2^128 as planes. Gates on planes know no width. */
import { lowestBits, toPlanes } from './bits'

/** The 128 planes of n elements, n > 0, made by way of their words. */
export function toPlanes128(out: usize, a: usize, n: i32, lows: usize, highs: usize): void {
  for (let i = 0; i < n; i++) {
    store<u64>(lows + (<usize>i << 3), load<u64>(a + (<usize>i << 4)))
    store<u64>(highs + (<usize>i << 3), load<u64>(a + (<usize>i << 4), 8))
  }
  // In this order: the first 64 planes end with a byte too many.
  toPlanes(out, lows, n)
  toPlanes(out + 64 * <usize>((n + 7) >> 3), highs, n)
}

/** A plane as elements of 0 and 1. */
export function fromPlane128(out: usize, plane: usize, n: i32): void {
  for (let i = 0; i < n; i++) {
    store<u64>(out + (<usize>i << 4), (load<u8>(plane + <usize>(i >> 3)) >> <u8>(i & 7)) & 1)
    store<u64>(out + (<usize>i << 4), 0, 8)
  }
}

/** The lowest bit of each of n elements, as a plane. */
export function lowestBits128(out: usize, a: usize, n: i32, lows: usize): void {
  for (let i = 0; i < n; i++) store<u64>(lows + (<usize>i << 3), load<u64>(a + (<usize>i << 4)))
  lowestBits(out, lows, n)
}
