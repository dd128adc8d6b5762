/** Sums and products of words, elementwise. */

export function add(out: usize, a: usize, b: usize, n: i32): void {
  const bytes = <usize>n << 3
  for (let i: usize = 0; i < bytes; i += 16) {
    v128.store(out + i, i64x2.add(v128.load(a + i), v128.load(b + i)))
  }
}

export function sub(out: usize, a: usize, b: usize, n: i32): void {
  const bytes = <usize>n << 3
  for (let i: usize = 0; i < bytes; i += 16) {
    v128.store(out + i, i64x2.sub(v128.load(a + i), v128.load(b + i)))
  }
}

export function mul(out: usize, a: usize, b: usize, n: i32): void {
  const bytes = <usize>n << 3
  for (let i: usize = 0; i < bytes; i += 16) {
    v128.store(out + i, i64x2.mul(v128.load(a + i), v128.load(b + i)))
  }
}

/** a − 2b */
export function lessTwice(out: usize, a: usize, b: usize, n: i32): void {
  const bytes = <usize>n << 3
  for (let i: usize = 0; i < bytes; i += 16) {
    v128.store(out + i, i64x2.sub(v128.load(a + i), i64x2.shl(v128.load(b + i), 1)))
  }
}

export function neg(out: usize, a: usize, n: i32): void {
  const bytes = <usize>n << 3
  for (let i: usize = 0; i < bytes; i += 16) {
    v128.store(out + i, i64x2.neg(v128.load(a + i)))
  }
}

export function addScalar(out: usize, a: usize, k: i64, n: i32): void {
  const bytes = <usize>n << 3
  const ks = i64x2.splat(k)
  for (let i: usize = 0; i < bytes; i += 16) {
    v128.store(out + i, i64x2.add(v128.load(a + i), ks))
  }
}

export function mulScalar(out: usize, a: usize, k: i64, n: i32): void {
  const bytes = <usize>n << 3
  const ks = i64x2.splat(k)
  for (let i: usize = 0; i < bytes; i += 16) {
    v128.store(out + i, i64x2.mul(v128.load(a + i), ks))
  }
}

/** c + d∘b + a∘e, and d∘e on top for who adds what is public: d∘b + d∘e = d∘(b + e). */
export function beaver(
  out: usize,
  c: usize,
  a: usize,
  b: usize,
  d: usize,
  e: usize,
  addsPublic: bool,
  n: i32,
): void {
  const bytes = <usize>n << 3
  const mask = i64x2.splat(addsPublic ? -1 : 0)
  for (let i: usize = 0; i < bytes; i += 16) {
    const es = v128.load(e + i)
    const bs = i64x2.add(v128.load(b + i), v128.and(es, mask))
    const products = i64x2.add(i64x2.mul(v128.load(d + i), bs), i64x2.mul(v128.load(a + i), es))
    v128.store(out + i, i64x2.add(v128.load(c + i), products))
  }
}

/** Signed, toward zero; the divisor is positive. */
export function divide(out: usize, a: usize, divisor: i64, n: i32): void {
  const bytes = <usize>n << 3
  for (let i: usize = 0; i < bytes; i += 8) {
    store<i64>(out + i, load<i64>(a + i) / divisor)
  }
}
