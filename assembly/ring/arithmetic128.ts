/** Sums and products of Z_2^128, elementwise. An element is two words, the low one first. */

const LOW32: u64 = 0xffffffff

/** The high word of a product of two words, from the four products of their halves. No sum on the way overflows. */
// @ts-ignore: a decorator of AssemblyScript
@inline
export function highWord(x: u64, y: u64): u64 {
  const x0 = x & LOW32
  const x1 = x >> 32
  const y0 = y & LOW32
  const y1 = y >> 32
  const left = x1 * y0 + ((x0 * y0) >> 32)
  const right = x0 * y1 + (left & LOW32)
  return x1 * y1 + (left >> 32) + (right >> 32)
}

/** The high word of a product of two elements, but for what is carried out of the low one. */
// @ts-ignore: a decorator of AssemblyScript
@inline
export function highOfProduct(x0: u64, x1: u64, y0: u64, y1: u64): u64 {
  return highWord(x0, y0) + x0 * y1 + x1 * y0
}

export function add128(out: usize, a: usize, b: usize, n: i32): void {
  const bytes = <usize>n << 4
  for (let i: usize = 0; i < bytes; i += 16) {
    const x = load<u64>(a + i)
    const low = x + load<u64>(b + i)
    store<u64>(out + i, low)
    store<u64>(out + i, load<u64>(a + i, 8) + load<u64>(b + i, 8) + u64(low < x), 8)
  }
}

export function sub128(out: usize, a: usize, b: usize, n: i32): void {
  const bytes = <usize>n << 4
  for (let i: usize = 0; i < bytes; i += 16) {
    const x = load<u64>(a + i)
    const y = load<u64>(b + i)
    store<u64>(out + i, x - y)
    store<u64>(out + i, load<u64>(a + i, 8) - load<u64>(b + i, 8) - u64(x < y), 8)
  }
}

export function mul128(out: usize, a: usize, b: usize, n: i32): void {
  const bytes = <usize>n << 4
  for (let i: usize = 0; i < bytes; i += 16) {
    const x0 = load<u64>(a + i)
    const y0 = load<u64>(b + i)
    const high = highOfProduct(x0, load<u64>(a + i, 8), y0, load<u64>(b + i, 8))
    store<u64>(out + i, x0 * y0)
    store<u64>(out + i, high, 8)
  }
}

export function neg128(out: usize, a: usize, n: i32): void {
  const bytes = <usize>n << 4
  for (let i: usize = 0; i < bytes; i += 16) {
    const x = load<u64>(a + i)
    store<u64>(out + i, -x)
    store<u64>(out + i, ~load<u64>(a + i, 8) + u64(x == 0), 8)
  }
}

export function addScalar128(out: usize, a: usize, low: u64, high: u64, n: i32): void {
  const bytes = <usize>n << 4
  for (let i: usize = 0; i < bytes; i += 16) {
    const sum = load<u64>(a + i) + low
    store<u64>(out + i, sum)
    store<u64>(out + i, load<u64>(a + i, 8) + high + u64(sum < low), 8)
  }
}

export function mulScalar128(out: usize, a: usize, low: u64, high: u64, n: i32): void {
  const bytes = <usize>n << 4
  for (let i: usize = 0; i < bytes; i += 16) {
    const x = load<u64>(a + i)
    const product = highOfProduct(x, load<u64>(a + i, 8), low, high)
    store<u64>(out + i, x * low)
    store<u64>(out + i, product, 8)
  }
}

/** c + d∘b + a∘e, and d∘e on top for who adds what is public: d∘b + d∘e = d∘(b + e). */
export function beaver128(
  out: usize,
  c: usize,
  a: usize,
  b: usize,
  d: usize,
  e: usize,
  addsPublic: bool,
  n: i32,
): void {
  const bytes = <usize>n << 4
  const mask = addsPublic ? u64.MAX_VALUE : 0
  for (let i: usize = 0; i < bytes; i += 16) {
    const a0 = load<u64>(a + i)
    const d0 = load<u64>(d + i)
    const e0 = load<u64>(e + i)
    const e1 = load<u64>(e + i, 8)
    const added = e0 & mask
    const b0 = load<u64>(b + i) + added
    const b1 = load<u64>(b + i, 8) + (e1 & mask) + u64(b0 < added)
    const highs = highOfProduct(d0, load<u64>(d + i, 8), b0, b1) + highOfProduct(a0, load<u64>(a + i, 8), e0, e1)
    const first = d0 * b0
    const both = first + a0 * e0
    const low = both + load<u64>(c + i)
    store<u64>(out + i, low)
    store<u64>(out + i, load<u64>(c + i, 8) + highs + u64(both < first) + u64(low < both), 8)
  }
}
