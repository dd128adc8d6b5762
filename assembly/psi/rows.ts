/**
 * What is done to rows of 448 bits, 56 bytes one after the other (Kolesnikov, Kumaresan, Rosulek, Trieu, CCS '16).
 *
 * A code word is what four ciphers make of one block, the last half of the fourth left out; it comes as four arrays of
 * blocks of 16 bytes, one `stride` after the other.
 */

const ROW: usize = 56
/** A message of the hash: a row, its number, and zeros. */
const MESSAGE: usize = 64

/** u = t0 ⊕ t1 ⊕ c, over t1, for each row. */
export function correct(t1: usize, t0: usize, c: usize, stride: usize, n: i32): void {
  for (let i = 0; i < n; i++, t1 += ROW, t0 += ROW, c += 16) {
    v128.store(t1, xor3(v128.load(t1), v128.load(t0), v128.load(c)))
    v128.store(t1, xor3(v128.load(t1, 16), v128.load(t0, 16), v128.load(c + stride)), 16)
    v128.store(t1, xor3(v128.load(t1, 32), v128.load(t0, 32), v128.load(c + 2 * stride)), 32)
    store<u64>(t1, load<u64>(t1, 48) ^ load<u64>(t0, 48) ^ load<u64>(c + 3 * stride), 48)
  }
}

/** q = g ⊕ (u ∧ s), over g, for each row; s is one row. */
export function select(g: usize, u: usize, s: usize, n: i32): void {
  const s0 = v128.load(s)
  const s1 = v128.load(s, 16)
  const s2 = v128.load(s, 32)
  const s3 = load<u64>(s, 48)
  for (let i = 0; i < n; i++, g += ROW, u += ROW) {
    v128.store(g, v128.xor(v128.load(g), v128.and(v128.load(u), s0)))
    v128.store(g, v128.xor(v128.load(g, 16), v128.and(v128.load(u, 16), s1)), 16)
    v128.store(g, v128.xor(v128.load(g, 32), v128.and(v128.load(u, 32), s2)), 32)
    store<u64>(g, load<u64>(g, 48) ^ (load<u64>(u, 48) & s3), 48)
  }
}

/**
 * Messages of the hash for n places: row ⊕ (c ∧ s) and the number of the row, counted from `first`; without a code, that
 * is with s = 0, the row itself.
 *
 * @param places u32 each: which row, from 0
 */
export function evaluate(
  out: usize,
  rows: usize,
  places: usize,
  c: usize,
  stride: usize,
  s: usize,
  first: u32,
  n: i32,
): void {
  for (let i = 0; i < n; i++, out += MESSAGE, places += 4, c += 16) {
    const place = load<u32>(places)
    const row = rows + ROW * <usize>place
    let r0 = v128.load(row)
    let r1 = v128.load(row, 16)
    let r2 = v128.load(row, 32)
    let r3 = load<u64>(row, 48)
    if (s != 0) {
      r0 = v128.xor(r0, v128.and(v128.load(c), v128.load(s)))
      r1 = v128.xor(r1, v128.and(v128.load(c + stride), v128.load(s, 16)))
      r2 = v128.xor(r2, v128.and(v128.load(c + 2 * stride), v128.load(s, 32)))
      r3 ^= load<u64>(c + 3 * stride) & load<u64>(s, 48)
    }
    v128.store(out, r0)
    v128.store(out, r1, 16)
    v128.store(out, r2, 32)
    store<u64>(out, r3, 48)
    store<u64>(out, <u64>(first + place), 56)
  }
}

// @ts-ignore: a decorator of AssemblyScript
@inline
function xor3(a: v128, b: v128, c: v128): v128 {
  return v128.xor(v128.xor(a, b), c)
}
