/**
 * What parties do, each at its place, in a division with a helper (see `protocols/replicated/truncation.ts`): all of a step
 * in one pass, for it is memory that these wait for. What multiplies twice the offset counts by its lowest bits alone;
 * where 32 hold them it is drawn in four bytes.
 */

const LOW63: i64 = 0x7fffffffffffffff

/** a + b + k. */
export function sum2(out: usize, a: usize, b: usize, k: i64, n: i32): void {
  const bytes = <usize>n << 3
  const ks = i64x2.splat(k)
  for (let i: usize = 0; i < bytes; i += 16) {
    v128.store(out + i, i64x2.add(i64x2.add(v128.load(a + i), v128.load(b + i)), ks))
  }
}

/** a + b + c + k. */
export function sum3(out: usize, a: usize, b: usize, c: usize, k: i64, n: i32): void {
  const bytes = <usize>n << 3
  const ks = i64x2.splat(k)
  for (let i: usize = 0; i < bytes; i += 16) {
    const first = i64x2.add(v128.load(a + i), v128.load(b + i))
    v128.store(out + i, i64x2.add(first, i64x2.add(v128.load(c + i), ks)))
  }
}

/** Two numbers, each in four bytes or in eight; `at` is where they would be of eight. */
// @ts-ignore: a decorator of AssemblyScript
@inline
function few(from: usize, at: usize, isNarrow: bool): v128 {
  return isNarrow ? v128.load32x2_u(from + (at >> 1)) : v128.load(from + at)
}

/** x times twice the offset, which is 2^shift unless shift is negative. */
// @ts-ignore: a decorator of AssemblyScript
@inline
function timesTwice(x: v128, twice: v128, shift: i32): v128 {
  return shift < 0 ? i64x2.mul(x, twice) : i64x2.shl(x, shift)
}

/** ⌊x / divisor⌋ of two numbers below 2^63. */
// @ts-ignore: a decorator of AssemblyScript
@inline
function quotients(x: v128, divisor: u64, isShift: bool, shift: i32): v128 {
  return isShift
    ? i64x2.shr_u(x, shift)
    : i64x2.replace_lane(
        i64x2.splat(<i64>(<u64>i64x2.extract_lane(x, 0) / divisor)),
        1,
        <i64>(<u64>i64x2.extract_lane(x, 1) / divisor),
      )
}

/** The shift that a product with 2z is; −1 where it is none. */
function shiftOf(z: u64): i32 {
  return popcnt(z) == 1 ? <i32>ctz(z) + 1 : -1
}

/**
 * The helper's step: of r = rA + rB + mask, quotient − quotientA and top − topA for the one that does not draw them; its
 * own summand masked; and the components that it ends with, 2z·mask − quotient.
 */
export function dealDivision(
  own: usize,
  quotient: usize,
  before: usize,
  after: usize,
  top: usize,
  summand: usize,
  mask: usize,
  rA: usize,
  rB: usize,
  quotientA: usize,
  topA: usize,
  maskA: usize,
  maskB: usize,
  hasOwn: bool,
  isNarrow: bool,
  divisor: u64,
  z: i64,
  n: i32,
): void {
  const bytes = <usize>n << 3
  const low = i64x2.splat(LOW63)
  const isShift = popcnt(divisor) == 1
  const shift = <i32>ctz(divisor)
  const twice = i64x2.splat(z << 1)
  const twiceShift = shiftOf(z)
  for (let i: usize = 0; i < bytes; i += 16) {
    let r = i64x2.add(v128.load(rA + i), v128.load(rB + i))
    if (hasOwn) {
      const masks = v128.load(mask + i)
      r = i64x2.add(r, masks)
      v128.store(own + i, i64x2.add(v128.load(summand + i), masks))
    }
    const drawn = v128.load(quotientA + i)
    const rest = i64x2.sub(quotients(v128.and(r, low), divisor, isShift, shift), drawn)
    v128.store(quotient + i, rest)
    v128.store(top + i, i64x2.sub(i64x2.shr_u(r, 63), few(topA, i, isNarrow)))
    v128.store(after + i, i64x2.sub(timesTwice(few(maskA, i, isNarrow), twice, twiceShift), drawn))
    v128.store(before + i, i64x2.sub(timesTwice(few(maskB, i, isNarrow), twice, twiceShift), rest))
  }
}

/**
 * The step of the two others: c = masked + theirs + helpers, ±top − mask, minus where the top bit of c is set, and the
 * component that the helper has too, 2z·mask − quotient.
 */
export function carryDivision(
  c: usize,
  component: usize,
  carry: usize,
  masked: usize,
  theirs: usize,
  helpers: usize,
  quotient: usize,
  top: usize,
  mask: usize,
  hasHelpers: bool,
  isTopNarrow: bool,
  isMaskNarrow: bool,
  z: i64,
  n: i32,
): void {
  const bytes = <usize>n << 3
  const twice = i64x2.splat(z << 1)
  const twiceShift = shiftOf(z)
  for (let i: usize = 0; i < bytes; i += 16) {
    let opened = i64x2.add(v128.load(masked + i), v128.load(theirs + i))
    if (hasHelpers) opened = i64x2.add(opened, v128.load(helpers + i))
    v128.store(c + i, opened)
    const flip = i64x2.shr_s(opened, 63)
    const masks = few(mask, i, isMaskNarrow)
    // x ⊕ −1 − (−1) is −x.
    const signed = i64x2.sub(v128.xor(few(top, i, isTopNarrow), flip), flip)
    v128.store(carry + i, i64x2.sub(signed, masks))
    v128.store(component + i, i64x2.sub(timesTwice(masks, twice, twiceShift), v128.load(quotient + i)))
  }
}

/** ⌊(c mod 2^63) / divisor⌋ − z + 2z·(mine + theirs + c_63). */
export function closeDivision(
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
  const twiceShift = shiftOf(z)
  const zs = i64x2.splat(z)
  const isShift = popcnt(divisor) == 1
  const shift = <i32>ctz(divisor)
  const low = i64x2.splat(LOW63)
  for (let i: usize = 0; i < bytes; i += 16) {
    const cs = v128.load(c + i)
    const quotient = quotients(v128.and(cs, low), divisor, isShift, shift)
    const carries = i64x2.add(i64x2.add(v128.load(mine + i), v128.load(theirs + i)), i64x2.shr_u(cs, 63))
    v128.store(out + i, i64x2.add(i64x2.sub(quotient, zs), timesTwice(carries, twice, twiceShift)))
  }
}

/** `bits` bits of each word, from one of them on, one after another; 1 ≤ bits ≤ 32. */
export function pack(out: usize, words: usize, from: i32, bits: i32, n: i32): void {
  const mask: u64 = ((<u64>1) << bits) - 1
  let held: u64 = 0
  let filled = 0
  for (const end = words + (<usize>n << 3); words < end; words += 8) {
    held |= ((load<u64>(words) >> from) & mask) << filled
    filled += bits
    if (filled >= 32) {
      store<u32>(out, <u32>held)
      out += 4
      held >>= 32
      filled -= 32
    }
  }
  store<u32>(out, <u32>held)
}

/** The words of {@link pack}: put in place from bit 0 on, or added to what is there from another on. */
export function unpack(out: usize, packed: usize, from: i32, bits: i32, n: i32): void {
  const mask: u64 = ((<u64>1) << bits) - 1
  let bit: usize = 0
  for (const end = out + (<usize>n << 3); out < end; out += 8, bit += bits) {
    const value = (load<u64>(packed + ((bit >> 5) << 2)) >> (bit & 31)) & mask
    store<u64>(out, from == 0 ? value : load<u64>(out) | (value << from))
  }
}
