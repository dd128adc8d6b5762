/** Division of elements of Z_2^128 by a public word: signed ones; and shares, with what a provider deals. */
import { highOfProduct } from './arithmetic128'

const LOW32: u64 = 0xffffffff
const LOW63: u64 = 0x7fffffffffffffff

/** Signed, toward zero; the divisor is positive. */
export function divide128(out: usize, a: usize, divisor: u64, n: i32): void {
  const bytes = <usize>n << 4
  for (let i: usize = 0; i < bytes; i += 16) {
    const low = load<u64>(a + i)
    const high = load<u64>(a + i, 8)
    if (<i64>high < 0) {
      storeQuotient(out + i, -low, ~high + u64(low == 0), divisor)
      const quotient = load<u64>(out + i)
      store<u64>(out + i, -quotient)
      store<u64>(out + i, ~load<u64>(out + i, 8) + u64(quotient == 0), 8)
    } else storeQuotient(out + i, low, high, divisor)
  }
}

/** ⌊(r mod 2^127) / divisor⌋, and the top bit of r. */
export function truncationOf128(quotient: usize, top: usize, r: usize, divisor: u64, n: i32): void {
  const bytes = <usize>n << 4
  quotients(quotient, r, divisor, bytes)
  for (let i: usize = 0; i < bytes; i += 16) {
    store<u64>(top + i, load<u64>(r + i, 8) >> 63)
    store<u64>(top + i, 0, 8)
  }
}

/**
 * (2b − 1)·offset + ⌊(c mod 2^127) / divisor⌋ − quotient with b = top XOR c_127 (ePrint 2020/338 §5.1); the terms that hold
 * no share fall to who adds what is public.
 *
 * @param low of 2^126 / divisor to the nearest, as is `high`
 */
export function truncate128(
  out: usize,
  c: usize,
  quotient: usize,
  top: usize,
  divisor: u64,
  low: u64,
  high: u64,
  addsPublic: bool,
  n: i32,
): void {
  const bytes = <usize>n << 4
  if (addsPublic) quotients(out, c, divisor, bytes)
  else memory.fill(out, 0, bytes)
  const twiceLow = low << 1
  const twiceHigh = (high << 1) | (low >> 63)
  const one = u64(addsPublic)
  const offsetLow = addsPublic ? low : 0
  const offsetHigh = addsPublic ? high : 0
  // Of a power of two below 2^62, the low word of 2^127 / divisor is 0.
  const isPower = popcnt(divisor) == 1
  for (let i: usize = 0; i < bytes; i += 16) {
    let b0 = load<u64>(top + i)
    let b1 = load<u64>(top + i, 8)
    if (load<i64>(c + i, 8) < 0) {
      // b = 1 − top where c_127 is set.
      b1 = -b1 - u64(b0 > one)
      b0 = one - b0
    }
    const carry = isPower ? b0 * twiceHigh : highOfProduct(b0, b1, twiceLow, twiceHigh)
    const first = load<u64>(out + i)
    const open = first - offsetLow
    const share = load<u64>(quotient + i)
    const rest = open - share
    const sum = rest + b0 * twiceLow
    const above = load<u64>(out + i, 8) - offsetHigh - load<u64>(quotient + i, 8) + carry
    store<u64>(out + i, sum)
    store<u64>(out + i, above - u64(first < offsetLow) - u64(open < share) + u64(sum < rest), 8)
  }
}

/** ⌊(a mod 2^127) / divisor⌋. */
function quotients(out: usize, a: usize, divisor: u64, bytes: usize): void {
  for (let i: usize = 0; i < bytes; i += 16) {
    storeQuotient(out + i, load<u64>(a + i), load<u64>(a + i, 8) & LOW63, divisor)
  }
}

/** By a shift where the divisor is a power of two. */
// @ts-ignore: a decorator of AssemblyScript
@inline
function storeQuotient(out: usize, low: u64, high: u64, divisor: u64): void {
  if (popcnt(divisor) == 1) {
    const bits = ctz(divisor)
    // A shift is by its number mod 64: the first of the two keeps clear of one by 64.
    store<u64>(out, ((high << 1) << (63 - bits)) | (low >> bits))
    store<u64>(out, high >> bits, 8)
  } else {
    store<u64>(out, longQuotient(high % divisor, low, divisor))
    store<u64>(out, high / divisor, 8)
  }
}

/**
 * ⌊(high·2^64 + low) / divisor⌋ for high < divisor: two digits of 32 bits, each guessed from the top of the divisor and
 * put right (Knuth, The Art of Computer Programming 2, §4.3.1, algorithm D).
 */
function longQuotient(high: u64, low: u64, divisor: u64): u64 {
  const shift = clz(divisor)
  const by = divisor << shift
  const top = (high << shift) | ((low >> 1) >> (63 - shift))
  const bottom = low << shift
  const first = digit(top, bottom >> 32, by)
  // What is left is below the divisor, and what overflows cancels.
  const rest = ((top << 32) | (bottom >> 32)) - first * by
  return (first << 32) | digit(rest, bottom & LOW32, by)
}

/** The digit of (top·2^32 + next) / by; the divisor has its highest bit set. */
function digit(top: u64, next: u64, by: u64): u64 {
  const byTop = by >> 32
  const byNext = by & LOW32
  let guess = top / byTop
  let rest = top - guess * byTop
  // At most two too large.
  while (guess > LOW32 || guess * byNext > ((rest << 32) | next)) {
    guess--
    rest += byTop
    if (rest > LOW32) break
  }
  return guess
}
