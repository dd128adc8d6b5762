/**
 * Digits of four bits in thermometer code, and their comparison with digits that are known: gates on whole planes, sixteen
 * bytes at a time.
 */

/** Planes of a digit's code. */
const CODE: usize = 15

/** Stores the first `left` bytes of x, or all: what lies after them is another plane. */
// @ts-ignore: a decorator of AssemblyScript
@inline
function put(to: usize, x: v128, left: isize): void {
  if (left >= 16) v128.store(to, x)
  else putSome(to, x, left)
}

function putSome(to: usize, x: v128, left: isize): void {
  let rest = i64x2.extract_lane(x, 0)
  if (left & 8) {
    store<u64>(to, rest)
    to += 8
    rest = i64x2.extract_lane(x, 1)
  }
  if (left & 4) {
    store<u32>(to, <u32>rest)
    to += 4
    rest >>= 32
  }
  if (left & 2) {
    store<u16>(to, <u16>rest)
    to += 2
    rest >>= 16
  }
  if (left & 1) store<u8>(to, <u8>rest)
}

/**
 * Of each digit d, from planes of its four bits, the planes of d ≥ 1, …, d ≥ 15. All planes are of `bytes` bytes, one after
 * another.
 */
export function thermometers(out: usize, planes: usize, bytes: i32, digits: i32): void {
  const stride = <usize>bytes
  for (let digit = 0; digit < digits; digit++, planes += 4 * stride, out += CODE * stride) {
    for (let at: usize = 0; at < stride; at += 16) {
      const left = <isize>(stride - at)
      const b0 = v128.load(planes + at)
      const b1 = v128.load(planes + stride + at)
      const b2 = v128.load(planes + 2 * stride + at)
      const b3 = v128.load(planes + 3 * stride + at)
      // Whether the lower half of the bits is at least 1 and 3, and the upper half; at least 2 is its own higher bit.
      const low1 = v128.or(b0, b1)
      const low3 = v128.and(b0, b1)
      const high1 = v128.or(b2, b3)
      const high3 = v128.and(b2, b3)
      let to = out + at
      to = putThree(to, stride, left, v128.or(high1, low1), v128.or(high1, b1), v128.or(high1, low3))
      put(to, high1, left)
      to = putThree(to + stride, stride, left, above(b3, high1, low1), above(b3, high1, b1), above(b3, high1, low3))
      put(to, b3, left)
      to = putThree(to + stride, stride, left, above(high3, b3, low1), above(high3, b3, b1), above(high3, b3, low3))
      put(to, high3, left)
      putThree(to + stride, stride, left, v128.and(high3, low1), v128.and(high3, b1), v128.and(high3, low3))
    }
  }
}

/** Whether one half is larger, or as large where the other is. */
// @ts-ignore: a decorator of AssemblyScript
@inline
function above(larger: v128, asLarge: v128, other: v128): v128 {
  return v128.or(larger, v128.and(asLarge, other))
}

// @ts-ignore: a decorator of AssemblyScript
@inline
function putThree(to: usize, stride: usize, left: isize, x: v128, y: v128, z: v128): usize {
  put(to, x, left)
  put(to + stride, y, left)
  put(to + 2 * stride, z, left)
  return to + 3 * stride
}

/**
 * Of each digit r that comes in (a share of) its code, and c that comes in planes: c = r, all digits after one another, and
 * then c < r. The code at c, and at c + 1, is what is asked for, and to find it is linear. Code 0, which is 1 everywhere,
 * belongs to who adds what is public.
 *
 * @param isSigned of the highest digit: whether a borrow changes the sign of c − r, and what the sign is without
 */
export function compareDigits(
  out: usize,
  codes: usize,
  planes: usize,
  isSigned: bool,
  addsPublic: bool,
  bytes: i32,
  digits: i32,
): void {
  const stride = <usize>bytes
  const one = i8x16.splat(addsPublic ? -1 : 0)
  const none = i8x16.splat(0)
  for (let digit = 0; digit < digits; digit++, planes += 4 * stride, codes += CODE * stride, out += stride) {
    const isTop = isSigned && digit === digits - 1
    for (let at: usize = 0; at < stride; at += 16) {
      const left = <isize>(stride - at)
      const from = codes + at
      const w1 = v128.load(from)
      const w2 = v128.load(from + stride)
      const w3 = v128.load(from + 2 * stride)
      const w4 = v128.load(from + 3 * stride)
      const w5 = v128.load(from + 4 * stride)
      const w6 = v128.load(from + 5 * stride)
      const w7 = v128.load(from + 6 * stride)
      const w8 = v128.load(from + 7 * stride)
      const w9 = v128.load(from + 8 * stride)
      const w10 = v128.load(from + 9 * stride)
      const w11 = v128.load(from + 10 * stride)
      const w12 = v128.load(from + 11 * stride)
      const w13 = v128.load(from + 12 * stride)
      const w14 = v128.load(from + 13 * stride)
      const w15 = v128.load(from + 14 * stride)
      const b0 = v128.load(planes + at)
      const b1 = v128.load(planes + stride + at)
      const b2 = v128.load(planes + 2 * stride + at)
      const b3 = v128.load(planes + 3 * stride + at)

      const atLow = eighth(b0, b1, b2, one, w1, w2, w3, w4, w5, w6, w7)
      const atHigh = eighth(b0, b1, b2, w8, w9, w10, w11, w12, w13, w14, w15)
      const nextLow = eighth(b0, b1, b2, w1, w2, w3, w4, w5, w6, w7, w8)
      const nextHigh = eighth(b0, b1, b2, w9, w10, w11, w12, w13, w14, w15, none)
      let below: v128, atC: v128
      if (isTop) {
        // Of both values of the highest bit of c: c − r changes sign as r passes c, and as it passes c ± 8.
        below = v128.xor(v128.xor(nextLow, nextHigh), v128.and(b3, one))
        atC = v128.xor(v128.xor(atLow, atHigh), v128.xor(nextLow, nextHigh))
      } else {
        below = v128.bitselect(nextHigh, nextLow, b3)
        atC = v128.xor(v128.bitselect(atHigh, atLow, b3), below)
      }
      put(out + at, atC, left)
      put(out + <usize>digits * stride + at, below, left)
    }
  }
}

/**
 * Of each digit r that comes in (a share of) its code, and c that comes in planes: the four bits of c − r, of all digits, and
 * then which of the higher three change where one is borrowed. A bit of the difference changes with r at every second,
 * fourth, eighth place in the code, where the bits below it are all zero.
 */
export function subtractDigits(
  out: usize,
  codes: usize,
  planes: usize,
  addsPublic: bool,
  bytes: i32,
  digits: i32,
): void {
  const stride = <usize>bytes
  const one = i8x16.splat(addsPublic ? -1 : 0)
  let flips = out + 4 * <usize>digits * stride
  for (let digit = 0; digit < digits; digit++, planes += 4 * stride, codes += CODE * stride) {
    for (let at: usize = 0; at < stride; at += 16) {
      const left = <isize>(stride - at)
      const from = codes + at
      // Sums of places that are 8, 4, 2 apart, from the remainder of their division by that.
      const e0 = v128.load(from + 7 * stride)
      const e1 = v128.xor(v128.load(from), v128.load(from + 8 * stride))
      const e2 = v128.xor(v128.load(from + stride), v128.load(from + 9 * stride))
      const e3 = v128.xor(v128.load(from + 2 * stride), v128.load(from + 10 * stride))
      const e4 = v128.xor(v128.load(from + 3 * stride), v128.load(from + 11 * stride))
      const e5 = v128.xor(v128.load(from + 4 * stride), v128.load(from + 12 * stride))
      const e6 = v128.xor(v128.load(from + 5 * stride), v128.load(from + 13 * stride))
      const e7 = v128.xor(v128.load(from + 6 * stride), v128.load(from + 14 * stride))
      const f0 = v128.xor(e0, e4)
      const f1 = v128.xor(e1, e5)
      const f2 = v128.xor(e2, e6)
      const f3 = v128.xor(e3, e7)
      const g0 = v128.xor(f0, f2)
      const g1 = v128.xor(f1, f3)
      const b0 = v128.load(planes + at)
      const b1 = v128.load(planes + stride + at)
      const b2 = v128.load(planes + 2 * stride + at)
      const b3 = v128.load(planes + 3 * stride + at)

      const eighths = eighth(b0, b1, b2, e1, e2, e3, e4, e5, e6, e7, e0)
      const fourths = fourth(b0, b1, f1, f2, f3, f0)
      const lowest = v128.xor(v128.and(b0, one), v128.xor(g0, g1))
      put(out + at, lowest, left)
      put(out + stride + at, v128.xor(v128.and(b1, one), v128.bitselect(g0, g1, b0)), left)
      put(out + 2 * stride + at, v128.xor(v128.and(b2, one), fourths), left)
      put(out + 3 * stride + at, v128.xor(v128.and(b3, one), eighths), left)
      put(flips + at, v128.xor(lowest, one), left)
      put(flips + stride + at, v128.xor(fourths, fourth(b0, b1, v128.xor(f0, one), f1, f2, f3)), left)
      const zeros = eighth(b0, b1, b2, v128.xor(e0, one), e1, e2, e3, e4, e5, e6, e7)
      put(flips + 2 * stride + at, v128.xor(eighths, zeros), left)
    }
    out += 4 * stride
    flips += 3 * stride
  }
}

/** One of four, by two bits. */
// @ts-ignore: a decorator of AssemblyScript
@inline
function fourth(b0: v128, b1: v128, x0: v128, x1: v128, x2: v128, x3: v128): v128 {
  return v128.bitselect(v128.bitselect(x3, x2, b0), v128.bitselect(x1, x0, b0), b1)
}

/** One of eight, by three bits. */
// @ts-ignore: a decorator of AssemblyScript
@inline
function eighth(
  b0: v128,
  b1: v128,
  b2: v128,
  x0: v128,
  x1: v128,
  x2: v128,
  x3: v128,
  x4: v128,
  x5: v128,
  x6: v128,
  x7: v128,
): v128 {
  return v128.bitselect(fourth(b0, b1, x4, x5, x6, x7), fourth(b0, b1, x0, x1, x2, x3), b2)
}
