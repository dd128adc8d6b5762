/** Bits of many words as planes, and gates on whole planes. */

/**
 * The 64 planes of n words, n > 0, each of ⌈n/8⌉ bytes. What pads the words, to sixteen, is overwritten, and so is a
 * byte after the last plane.
 */
export function toPlanes(out: usize, a: usize, n: i32): void {
  const bytes = <usize>((n + 7) >> 3)
  memory.fill(a + (<usize>n << 3), 0, <usize>(-n & 15) << 3)
  // Two bytes of each plane at a time, from the end: the last two of an odd number reach into the next plane, whose own
  // first bytes are stored later.
  for (let left = <isize>bytes; left > 0; left -= 2) {
    const at = (left - 1) & ~1
    const from = a + (at << 6)

    // Sixteen words of eight bytes become eight vectors, one for each byte of the words, in four rounds of interleaving
    // vectors whose numbers differ in one bit: that of the words' halves, quarters, eighths, sixteenths.
    const a0 = v128.load(from)
    const a1 = v128.load(from, 16)
    const a2 = v128.load(from, 32)
    const a3 = v128.load(from, 48)
    const a4 = v128.load(from, 64)
    const a5 = v128.load(from, 80)
    const a6 = v128.load(from, 96)
    const a7 = v128.load(from, 112)

    const b0 = low(a0, a4)
    const b1 = low(a1, a5)
    const b2 = low(a2, a6)
    const b3 = low(a3, a7)
    const b4 = high(a0, a4)
    const b5 = high(a1, a5)
    const b6 = high(a2, a6)
    const b7 = high(a3, a7)

    const c0 = low(b0, b2)
    const c1 = low(b1, b3)
    const c2 = high(b0, b2)
    const c3 = high(b1, b3)
    const c4 = low(b4, b6)
    const c5 = low(b5, b7)
    const c6 = high(b4, b6)
    const c7 = high(b5, b7)

    const d0 = low(c0, c1)
    const d1 = high(c0, c1)
    const d2 = low(c2, c3)
    const d3 = high(c2, c3)
    const d4 = low(c4, c5)
    const d5 = high(c4, c5)
    const d6 = low(c6, c7)
    const d7 = high(c6, c7)

    const to = out + at
    const byte = bytes << 3
    storePlanes(to, bytes, low(d0, d4))
    storePlanes(to + byte, bytes, high(d0, d4))
    storePlanes(to + 2 * byte, bytes, low(d1, d5))
    storePlanes(to + 3 * byte, bytes, high(d1, d5))
    storePlanes(to + 4 * byte, bytes, low(d2, d6))
    storePlanes(to + 5 * byte, bytes, high(d2, d6))
    storePlanes(to + 6 * byte, bytes, low(d3, d7))
    storePlanes(to + 7 * byte, bytes, high(d3, d7))
  }
}

// @ts-ignore: a decorator of AssemblyScript
@inline
function low(x: v128, y: v128): v128 {
  return v128.shuffle<u8>(x, y, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
}

// @ts-ignore: a decorator of AssemblyScript
@inline
function high(x: v128, y: v128): v128 {
  return v128.shuffle<u8>(x, y, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
}

/** The bits of sixteen bytes as two bytes of eight planes. A mask takes the highest bits, and the next are moved there. */
function storePlanes(out: usize, stride: usize, x: v128): void {
  const x6 = i8x16.add(x, x)
  const x5 = i8x16.add(x6, x6)
  const x4 = i8x16.add(x5, x5)
  const x3 = i8x16.add(x4, x4)
  const x2 = i8x16.add(x3, x3)
  const x1 = i8x16.add(x2, x2)
  const x0 = i8x16.add(x1, x1)
  store<u16>(out, <u16>i8x16.bitmask(x0))
  store<u16>(out + stride, <u16>i8x16.bitmask(x1))
  store<u16>(out + 2 * stride, <u16>i8x16.bitmask(x2))
  store<u16>(out + 3 * stride, <u16>i8x16.bitmask(x3))
  store<u16>(out + 4 * stride, <u16>i8x16.bitmask(x4))
  store<u16>(out + 5 * stride, <u16>i8x16.bitmask(x5))
  store<u16>(out + 6 * stride, <u16>i8x16.bitmask(x6))
  store<u16>(out + 7 * stride, <u16>i8x16.bitmask(x))
}

/** A plane as words of 0 and 1. */
export function fromPlane(out: usize, plane: usize, n: i32): void {
  for (let i = 0; i < n; i += 2, out += 16) v128.store(out, i64x2.shr_u(maskOf(plane, i), 63))
}

/** The bits of a plane from an even one on: all of a word, or none of it. */
// @ts-ignore: a decorator of AssemblyScript
@inline
function maskOf(plane: usize, i: i32): v128 {
  const first = i64x2(1, 2)
  return i64x2.eq(v128.and(i64x2.splat(<i64>load<u8>(plane + <usize>(i >> 3)) >> (i & 7)), first), first)
}

/** k − x where a bit is set, and x elsewhere. */
export function flip(out: usize, plane: usize, x: usize, k: i64, n: i32): void {
  const ks = i64x2.splat(k)
  for (let i = 0; i < n; i += 2, x += 16, out += 16) {
    const xs = v128.load(x)
    v128.store(out, v128.bitselect(i64x2.sub(ks, xs), xs, maskOf(plane, i)))
  }
}

/** y − x where a bit is set, and x elsewhere. */
export function flipWithin(out: usize, plane: usize, x: usize, y: usize, n: i32): void {
  for (let i = 0; i < n; i += 2, x += 16, y += 16, out += 16) {
    const xs = v128.load(x)
    v128.store(out, v128.bitselect(i64x2.sub(v128.load(y), xs), xs, maskOf(plane, i)))
  }
}

/** x where a bit is set, and 0 elsewhere, less y. */
export function pick(out: usize, plane: usize, x: usize, y: usize, n: i32): void {
  for (let i = 0; i < n; i += 2, x += 16, y += 16, out += 16) {
    v128.store(out, i64x2.sub(v128.and(v128.load(x), maskOf(plane, i)), v128.load(y)))
  }
}

/** The lowest bit of each of n words, as a plane. What pads the words, to eight, is overwritten. */
export function lowestBits(out: usize, a: usize, n: i32): void {
  memory.fill(a + (<usize>n << 3), 0, <usize>(-n & 7) << 3)
  for (const end = out + <usize>((n + 7) >> 3); out < end; out++, a += 64) {
    const bits = pair(a) | (pair(a + 16) << 2) | (pair(a + 32) << 4) | (pair(a + 48) << 6)
    store<u8>(out, <u8>bits)
  }
}

/** The lowest bits of two words. */
// @ts-ignore: a decorator of AssemblyScript
@inline
function pair(a: usize): i32 {
  return i64x2.bitmask(i64x2.shl(v128.load(a), 63))
}

export function xor(out: usize, a: usize, b: usize, bytes: i32): void {
  for (let i: usize = 0; i < <usize>bytes; i += 16) {
    v128.store(out + i, v128.xor(v128.load(a + i), v128.load(b + i)))
  }
}

export function and(out: usize, a: usize, b: usize, bytes: i32): void {
  for (let i: usize = 0; i < <usize>bytes; i += 16) {
    v128.store(out + i, v128.and(v128.load(a + i), v128.load(b + i)))
  }
}

/** c ⊕ (d∧b) ⊕ (a∧e), and ⊕ (d∧e) for who adds what is public: (d∧b) ⊕ (d∧e) = d ∧ (b⊕e). */
export function beaverAnd(
  out: usize,
  c: usize,
  a: usize,
  b: usize,
  d: usize,
  e: usize,
  addsPublic: bool,
  bytes: i32,
): void {
  const mask = i8x16.splat(addsPublic ? -1 : 0)
  for (let i: usize = 0; i < <usize>bytes; i += 16) {
    const es = v128.load(e + i)
    const bs = v128.xor(v128.load(b + i), v128.and(es, mask))
    const products = v128.xor(v128.and(v128.load(d + i), bs), v128.and(v128.load(a + i), es))
    v128.store(out + i, v128.xor(v128.load(c + i), products))
  }
}
