/** Division of shared values by a public number, with what a provider deals (ePrint 2020/338 §5.1). */

const LOW63: i64 = 0x7fffffffffffffff

/** ⌊(r mod 2^63) / divisor⌋, and the top bit of r. */
export function truncationOf(quotient: usize, top: usize, r: usize, divisor: u64, n: i32): void {
  const bytes = <usize>n << 3
  quotients(quotient, r, divisor, bytes)
  for (let i: usize = 0; i < bytes; i += 16) {
    v128.store(top + i, i64x2.shr_u(v128.load(r + i), 63))
  }
}

/**
 * (2b − 1)·offset + ⌊(c mod 2^63) / divisor⌋ − quotient with b = top XOR c_63; the terms that hold no share fall to who
 * adds what is public.
 *
 * @param offset 2^62 / divisor to the nearest
 */
export function truncate(
  out: usize,
  c: usize,
  quotient: usize,
  top: usize,
  divisor: u64,
  offset: i64,
  addsPublic: bool,
  n: i32,
): void {
  const bytes = <usize>n << 3
  if (addsPublic) quotients(out, c, divisor, bytes)
  else memory.fill(out, 0, bytes)
  const carry = i64x2.splat(offset << 1)
  const ones = i64x2.splat(addsPublic ? 1 : 0)
  const offsets = i64x2.splat(addsPublic ? offset : 0)
  for (let i: usize = 0; i < bytes; i += 16) {
    // Where c_63 is set, b = 1 − top; as bits, ¬top + 1 = −top.
    const flip = i64x2.shr_s(v128.load(c + i), 63)
    const tops = v128.load(top + i)
    const b = v128.bitselect(i64x2.sub(ones, tops), tops, flip)
    const open = i64x2.sub(v128.load(out + i), offsets)
    v128.store(out + i, i64x2.add(i64x2.sub(open, v128.load(quotient + i)), i64x2.mul(b, carry)))
  }
}

/** ⌊(a mod 2^63) / divisor⌋, by a shift where the divisor is a power of two. */
function quotients(out: usize, a: usize, divisor: u64, bytes: usize): void {
  if (popcnt(divisor) == 1) {
    const bits = <i32>ctz(divisor)
    const mask = i64x2.splat(LOW63)
    for (let i: usize = 0; i < bytes; i += 16) {
      v128.store(out + i, i64x2.shr_u(v128.and(v128.load(a + i), mask), bits))
    }
  } else {
    for (let i: usize = 0; i < bytes; i += 8) {
      store<u64>(out + i, (load<u64>(a + i) & LOW63) / divisor)
    }
  }
}
