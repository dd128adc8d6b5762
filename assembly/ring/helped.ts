/**
 * What parties do, each at its place, in a division with a helper (see `protocols/replicated/truncation.ts`): passes over
 * several operands at once, for it is memory that these wait for.
 */

const LOW63: i64 = 0x7fffffffffffffff

/** a + b + c + k. */
export function sum3(out: usize, a: usize, b: usize, c: usize, k: i64, n: i32): void {
  const bytes = <usize>n << 3
  const ks = i64x2.splat(k)
  for (let i: usize = 0; i < bytes; i += 16) {
    const first = i64x2.add(v128.load(a + i), v128.load(b + i))
    v128.store(out + i, i64x2.add(first, i64x2.add(v128.load(c + i), ks)))
  }
}

/** ±top − mask, minus where the top bit of c is set. */
export function maskedCarry(out: usize, c: usize, top: usize, mask: usize, n: i32): void {
  const bytes = <usize>n << 3
  for (let i: usize = 0; i < bytes; i += 16) {
    const flip = i64x2.shr_s(v128.load(c + i), 63)
    // x ⊕ −1 − (−1) is −x.
    const signed = i64x2.sub(v128.xor(v128.load(top + i), flip), flip)
    v128.store(out + i, i64x2.sub(signed, v128.load(mask + i)))
  }
}

/** ⌊(c mod 2^63) / divisor⌋ − z + 2z·(mine + theirs + c_63). */
export function openedTerm(
  out: usize,
  c: usize,
  mine: usize,
  theirs: usize,
  divisor: u64,
  z: i64,
  n: i32,
): void {
  const bytes = <usize>n << 3
  const twice = i64x2.splat(z << 1)
  const zs = i64x2.splat(z)
  const isShift = popcnt(divisor) == 1
  const shift = <i32>ctz(divisor)
  const low = i64x2.splat(LOW63)
  for (let i: usize = 0; i < bytes; i += 16) {
    const cs = v128.load(c + i)
    const masked = v128.and(cs, low)
    const quotient = isShift
      ? i64x2.shr_u(masked, shift)
      : i64x2.replace_lane(
          i64x2.splat(<i64>(<u64>i64x2.extract_lane(masked, 0) / divisor)),
          1,
          <i64>(<u64>i64x2.extract_lane(masked, 1) / divisor),
        )
    const carries = i64x2.add(i64x2.add(v128.load(mine + i), v128.load(theirs + i)), i64x2.shr_u(cs, 63))
    v128.store(out + i, i64x2.add(i64x2.sub(quotient, zs), i64x2.mul(carries, twice)))
  }
}

/** k·a − b. */
export function timesLess(out: usize, a: usize, b: usize, k: i64, n: i32): void {
  const bytes = <usize>n << 3
  const ks = i64x2.splat(k)
  for (let i: usize = 0; i < bytes; i += 16) {
    v128.store(out + i, i64x2.sub(i64x2.mul(v128.load(a + i), ks), v128.load(b + i)))
  }
}
