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

/** Whether a bit of a plane is set. */
// @ts-ignore: a decorator of AssemblyScript
@inline
function isSet(plane: usize, i: i32): bool {
  return ((load<u8>(plane + <usize>(i >> 3)) >> <u8>(i & 7)) & 1) != 0
}

/** k − x where a bit is set, and x elsewhere. */
export function flip128(out: usize, plane: usize, x: usize, low: u64, high: u64, n: i32): void {
  for (let i = 0; i < n; i++, x += 16, out += 16) {
    if (isSet(plane, i)) storeDifference(out, low, high, load<u64>(x), load<u64>(x, 8))
    else v128.store(out, v128.load(x))
  }
}

/** y − x where a bit is set, and x elsewhere. */
export function flipWithin128(out: usize, plane: usize, x: usize, y: usize, n: i32): void {
  for (let i = 0; i < n; i++, x += 16, y += 16, out += 16) {
    if (isSet(plane, i)) storeDifference(out, load<u64>(y), load<u64>(y, 8), load<u64>(x), load<u64>(x, 8))
    else v128.store(out, v128.load(x))
  }
}

/** x where a bit is set, and 0 elsewhere, less y. */
export function pick128(out: usize, plane: usize, x: usize, y: usize, n: i32): void {
  for (let i = 0; i < n; i++, x += 16, y += 16, out += 16) {
    const mask = -u64(isSet(plane, i))
    storeDifference(out, load<u64>(x) & mask, load<u64>(x, 8) & mask, load<u64>(y), load<u64>(y, 8))
  }
}

/** a − 2b */
export function lessTwice128(out: usize, a: usize, b: usize, n: i32): void {
  for (let i = 0; i < n; i++, a += 16, b += 16, out += 16) {
    const low = load<u64>(b)
    storeDifference(out, load<u64>(a), load<u64>(a, 8), low << 1, (load<u64>(b, 8) << 1) | (low >> 63))
  }
}

// @ts-ignore: a decorator of AssemblyScript
@inline
function storeDifference(out: usize, low: u64, high: u64, lowOther: u64, highOther: u64): void {
  store<u64>(out, low - lowOther)
  store<u64>(out, high - highOther - u64(low < lowOther), 8)
}

/** The lowest bit of each of n elements, as a plane. */
export function lowestBits128(out: usize, a: usize, n: i32, lows: usize): void {
  for (let i = 0; i < n; i++) store<u64>(lows + (<usize>i << 3), load<u64>(a + (<usize>i << 4)))
  lowestBits(out, lows, n)
}
