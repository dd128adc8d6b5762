/**
 * Products of matrices over Z_2^128, put together from products over Z_2^64 and from approximate ones in doubles.
 *
 * With an element as x = s + 2^64·h, s a signed word, and s = p + 2^32·q, p and q signed halves,
 *
 *   Σ x·y = Σ p·t + 2^32·Σ q·t + 2^64·Σ (s·h' + h·t)   mod 2^128,   y = t + 2^64·h'.
 *
 * The last sum is wanted mod 2^64. The first two are whole numbers of less than 2^105. Each is known mod 2^64 from a
 * product over Z_2^64; and from one in doubles it is known but for its last bits, which decides among the numbers that are
 * alike mod 2^64: of up to 2048 terms, |p·t| ≤ 2^94, each rounded in t, in the product and in the sum (of i terms, by up to
 * i·2^94·2^−53), the error is below 2^40·(2048² + 3·2048) < 2^62.01, and less than 2^63 is small enough.
 *
 * So a product takes four multiplications of words, in the fast kernel of Z_2^64, and two of doubles, where a product of
 * elements by itself takes six and the carries between them. Measured on x86-64, in billions of products and sums a second:
 * 0.6 so, 0.26 element by element.
 */
import { highOfProduct } from './arithmetic128'
import { matMul, matMulScratch } from './matmul'

/** Terms of a sum at a time; see above. */
const TERMS = 2048
/** With no more rows or columns than these, taking operands apart costs more than is gained. */
const FEW = 3
/** Rows and columns that are multiplied as doubles at once. */
const TILE = 4

// @ts-ignore: a decorator of AssemblyScript
@inline
function tiles(size: i32): i32 {
  return (size + TILE - 1) & -TILE
}

/** Bytes of scratch that {@link matMul128} needs; they may be more than can be addressed. */
export function matMulScratch128(m: i32, k: i32, n: i32): f64 {
  if (m <= FEW || n <= FEW) return 0
  const terms = <f64>min(k, TERMS)
  const rows = <f64>tiles(2 * m)
  const halves = 2 * rows * terms
  const words = 2 * <f64>m * terms + 2 * terms * <f64>n + TILE * terms
  const results = rows * <f64>tiles(n) + 3 * <f64>m * <f64>n
  // Kernels go past the end of what is theirs, by less than 128 bytes.
  return (halves + words + results) * 8 + 8 * 128 + <f64>matMulScratch(2 * m, 2 * min(k, TERMS))
}

/** [m,k] times [k,n]. */
export function matMul128(out: usize, a: usize, b: usize, m: i32, k: i32, n: i32, scratch: usize): void {
  memory.fill(out, 0, (<usize>m * n) << 4)
  if (m <= FEW || n <= FEW) {
    for (let i = 0; i < m; i++) {
      rowTimesMatrix(out + ((<usize>i * n) << 4), a + ((<usize>i * k) << 4), b, k, n)
    }
    return
  }
  const most = min(k, TERMS)
  const rows = tiles(2 * m)
  // p of all rows, then q; as words and as doubles.
  const halves = scratch
  const doubles = room(halves, <usize>rows * most)
  // [s | h] of rows, and h' above t of columns.
  const left = room(doubles, <usize>rows * most)
  const right = room(left, 2 * <usize>m * most)
  const panel = room(right, 2 * <usize>most * n)
  const words = room(panel, <usize>TILE * most)
  const cross = room(words, 2 * <usize>m * n)
  const near = room(cross, <usize>m * n)
  const rest = room(near, <usize>rows * tiles(n))
  for (let from = 0; from < k; from += TERMS) {
    const terms = min(k - from, TERMS)
    const lows = right + ((<usize>terms * n) << 3)
    splitLeft(halves, doubles, left, a + (<usize>from << 4), m, k, terms)
    splitRight(right, lows, b + ((<usize>from * n) << 4), terms * n)
    matMul(words, halves, lows, 2 * m, terms, n, false, rest)
    matMul(cross, left, right, m, 2 * terms, n, false, rest)
    multiplyDoubles(near, doubles, lows, panel, rows, terms, n)
    join(out, words, cross, near, m, n)
  }
}

/** Where the next array begins, after so many words. */
// @ts-ignore: a decorator of AssemblyScript
@inline
function room(from: usize, words: usize): usize {
  return (from + (words << 3) + 128) & ~15
}

/** One row times [k,n], element by element. */
function rowTimesMatrix(out: usize, a: usize, b: usize, k: i32, n: i32): void {
  const bytes = <usize>n << 4
  for (let l = 0; l < k; l++) {
    const x0 = load<u64>(a + (<usize>l << 4))
    const x1 = load<u64>(a + (<usize>l << 4), 8)
    const row = b + <usize>l * bytes
    for (let j: usize = 0; j < bytes; j += 16) {
      const y0 = load<u64>(row + j)
      const high = highOfProduct(x0, x1, y0, load<u64>(row + j, 8))
      const low = x0 * y0
      const sum = load<u64>(out + j) + low
      store<u64>(out + j, sum)
      store<u64>(out + j, load<u64>(out + j, 8) + high + u64(sum < low), 8)
    }
  }
}

/** p and q of rows in words and in doubles, rows of zeros after them; s and h side by side. */
function splitLeft(halves: usize, doubles: usize, left: usize, a: usize, m: i32, k: i32, terms: i32): void {
  const second = (<usize>m * terms) << 3
  for (let i = 0; i < m; i++) {
    const row = a + ((<usize>i * k) << 4)
    const at = (<usize>i * terms) << 3
    for (let l: usize = 0; l < <usize>terms << 3; l += 8) {
      const s = load<i64>(row + 2 * l)
      const p = (s << 32) >> 32
      const q = (s >> 32) + i64(p < 0)
      store<i64>(halves + at + l, p)
      store<i64>(halves + second + at + l, q)
      store<f64>(doubles + at + l, <f64>p)
      store<f64>(doubles + second + at + l, <f64>q)
      store<i64>(left + 2 * at + l, s)
      store<i64>(left + 2 * at + (<usize>terms << 3) + l, load<i64>(row + 2 * l, 8) + i64(s < 0))
    }
  }
  memory.fill(doubles + 2 * second, 0, (<usize>(tiles(2 * m) - 2 * m) * terms) << 3)
}

/** h' and t. */
function splitRight(highs: usize, lows: usize, b: usize, n: i32): void {
  for (let i: usize = 0; i < <usize>n << 3; i += 8) {
    const t = load<i64>(b + 2 * i)
    store<i64>(lows + i, t)
    store<i64>(highs + i, load<i64>(b + 2 * i, 8) + i64(t < 0))
  }
}

/** [rows,terms] of doubles times [terms,n] of words, about; rows and columns of the result come in tiles. */
function multiplyDoubles(out: usize, a: usize, b: usize, panel: usize, rows: i32, terms: i32, n: i32): void {
  const stride = <usize>tiles(n) << 3
  for (let column = 0; column < n; column += TILE) {
    packPanel(panel, b + (<usize>column << 3), terms, n, min(n - column, TILE))
    for (let i = 0; i < rows; i += TILE) {
      multiplyTile(out + <usize>i * stride + (<usize>column << 3), stride, a + ((<usize>i * terms) << 3), panel, terms)
    }
  }
}

/** Four columns of words as doubles, row after row; zeros where there are fewer. */
function packPanel(panel: usize, b: usize, terms: i32, n: i32, columns: i32): void {
  const row = <usize>n << 3
  for (let l = 0; l < terms; l++, panel += <usize>TILE << 3, b += row) {
    for (let j: usize = 0; j < (<usize>TILE << 3); j += 8) {
      store<f64>(panel + j, j < (<usize>columns << 3) ? <f64>load<i64>(b + j) : 0)
    }
  }
}

function multiplyTile(out: usize, stride: usize, a: usize, panel: usize, terms: i32): void {
  const row = <usize>terms << 3
  let a0 = f64x2.splat(0)
  let a1 = f64x2.splat(0)
  let b0 = f64x2.splat(0)
  let b1 = f64x2.splat(0)
  let c0 = f64x2.splat(0)
  let c1 = f64x2.splat(0)
  let d0 = f64x2.splat(0)
  let d1 = f64x2.splat(0)
  for (const end = a + row; a < end; a += 8, panel += <usize>TILE << 3) {
    const y0 = v128.load(panel)
    const y1 = v128.load(panel, 16)
    const first = v128.load64_splat(a)
    a0 = f64x2.add(a0, f64x2.mul(first, y0))
    a1 = f64x2.add(a1, f64x2.mul(first, y1))
    const second = v128.load64_splat(a + row)
    b0 = f64x2.add(b0, f64x2.mul(second, y0))
    b1 = f64x2.add(b1, f64x2.mul(second, y1))
    const third = v128.load64_splat(a + 2 * row)
    c0 = f64x2.add(c0, f64x2.mul(third, y0))
    c1 = f64x2.add(c1, f64x2.mul(third, y1))
    const fourth = v128.load64_splat(a + 3 * row)
    d0 = f64x2.add(d0, f64x2.mul(fourth, y0))
    d1 = f64x2.add(d1, f64x2.mul(fourth, y1))
  }
  v128.store(out, a0)
  v128.store(out, a1, 16)
  v128.store(out + stride, b0)
  v128.store(out + stride, b1, 16)
  v128.store(out + 2 * stride, c0)
  v128.store(out + 2 * stride, c1, 16)
  v128.store(out + 3 * stride, d0)
  v128.store(out + 3 * stride, d1, 16)
}

/** Adds the sums, from what is known of them, to the result. */
function join(out: usize, words: usize, cross: usize, near: usize, m: i32, n: i32): void {
  const stride = <usize>tiles(n) << 3
  const second = (<usize>m * n) << 3
  for (let i = 0; i < m; i++) {
    const at = (<usize>i * n) << 3
    for (let j: usize = 0; j < <usize>n << 3; j += 8) {
      const p0 = load<i64>(words + at + j)
      const p1 = above(p0, load<f64>(near + <usize>i * stride + j))
      const q0 = load<i64>(words + second + at + j)
      const q1 = above(q0, load<f64>(near + <usize>(m + i) * stride + j))
      const to = out + 2 * (at + j)
      // The sum of the q's, 32 bits further up, on that of the p's.
      const raised = <u64>q0 << 32
      const low = <u64>p0 + raised
      const high = <u64>p1 + ((<u64>q1 << 32) | (<u64>q0 >> 32)) + u64(low < raised) + load<u64>(cross + at + j)
      const sum = load<u64>(to) + low
      store<u64>(to, sum)
      store<u64>(to, load<u64>(to, 8) + high + u64(sum < low), 8)
    }
  }
}

/** The high word of the whole number that has this low word and is next to a double. */
// @ts-ignore: a decorator of AssemblyScript
@inline
function above(low: i64, near: f64): i64 {
  return <i64>nearest((near - <f64>low) * (1.0 / 18446744073709551616.0)) + (low >> 63)
}
