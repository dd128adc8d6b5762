/**
 * Products of matrices by Winograd's inner product (S. Winograd, "A new algorithm for inner product", IEEE Trans.
 * Comput. C-17, 1968), exact in any commutative ring. Of a row x and a column y,
 *
 *   Σ x_l y_l = Σ_q (x_2q + y_2q+1)(x_2q+1 + y_2q) − Σ_q x_2q x_2q+1 − Σ_q y_2q y_2q+1,
 *
 * and the last two sums are of a row alone and of a column alone: half the multiplications, which are what is slow.
 *
 * A row meets six columns at a time, two as words and four as two vectors: a product of words is one instruction, that
 * of vectors is put together from eight, but they keep different units of the processor busy. Measured on x86-64, in
 * billions of products and sums a second: 3.7 so; 3.6 with words alone, at best 3 by 4; 3.0 with vectors alone, at best
 * 2 by 8.
 */

/** Columns of a panel, and the distance from one pair of its rows to the next. */
const COLUMNS = 6
const PAIR: usize = COLUMNS * 16
/** From x_2q+1 of the columns to x_2q; within either, words come before vectors. */
const EVEN: usize = COLUMNS * 8

/** Bytes of scratch that {@link matMul} needs. */
export function matMulScratch(m: i32, k: i32): usize {
  return EVEN + <usize>((k + 1) >> 1) * PAIR + (<usize>m << 3)
}

/**
 * Rows `from` to `from + count` − 1 of [rows, k] that lies there turned over, as [k, rows]: eight at a time, for that is a line
 * of a cache.
 */
export function turnRows(out: usize, a: usize, k: i32, rows: i32, from: i32, count: i32): void {
  const stride = <usize>rows << 3
  const step = <usize>k << 3
  for (let row = 0; row < count; row += 8) {
    const block = min(8, count - row)
    let at = a + (<usize>(from + row) << 3)
    let to = out + <usize>row * step
    for (let l = 0; l < k; l++, at += stride, to += 8) {
      let into = to
      for (let i: usize = 0; i < <usize>block << 3; i += 8, into += step) store<u64>(into, load<u64>(at + i))
    }
  }
}

/**
 * [m,k] times [k,n].
 *
 * @param isTurned whether the right one lies there turned over, as [n,k]
 */
export function matMul(
  out: usize,
  a: usize,
  b: usize,
  m: i32,
  k: i32,
  n: i32,
  isTurned: bool,
  scratch: usize,
): void {
  if (m == 1 && !isTurned) return rowTimesMatrix(out, a, b, k, n)
  // From an element to the next below it, and to the next beside it.
  const below: usize = isTurned ? 8 : <usize>n << 3
  const beside: usize = isTurned ? <usize>k << 3 : 8
  const columnSums = scratch
  const panel = columnSums + EVEN
  const rowSums = panel + <usize>((k + 1) >> 1) * PAIR
  for (let i = 0; i < m; i++) {
    store<u64>(rowSums + (<usize>i << 3), sumOfPairs(a + (<usize>i * k << 3), k))
  }
  for (let column = 0; column < n; column += COLUMNS) {
    const columns = min(n - column, COLUMNS)
    packPanel(panel, columnSums, b + <usize>column * beside, k, below, beside, columns)
    for (let i = 0; i < m; i++) {
      const to = out + ((<usize>i * n + column) << 3)
      const row = a + (<usize>i * k << 3)
      const rowSum = load<u64>(rowSums + (<usize>i << 3))
      if (columns > 2) rowTimesPanel(to, row, panel, k, rowSum, columnSums, columns, true)
      else rowTimesPanel(to, row, panel, k, rowSum, columnSums, columns, false)
    }
  }
}

/** One row times [k,n], the plain way: nothing is gained by packing what is used once. */
function rowTimesMatrix(out: usize, a: usize, b: usize, k: i32, n: i32): void {
  const bytes = <usize>n << 3
  memory.fill(out, 0, bytes)
  for (let l = 0; l < k; l++) {
    const x = load<u64>(a + (<usize>l << 3))
    const row = b + <usize>l * bytes
    for (let j: usize = 0; j < bytes; j += 8) {
      store<u64>(out + j, load<u64>(out + j) + x * load<u64>(row + j))
    }
  }
}

/** Σ x_2q x_2q+1 */
function sumOfPairs(x: usize, k: i32): u64 {
  let sum: u64 = 0
  for (const end = x + (<usize>(k >> 1) << 4); x < end; x += 16) {
    sum += load<u64>(x) * load<u64>(x, 8)
  }
  return sum
}

/** Columns six by six: for each q, y_2q+1 of the six and y_2q of them; and Σ y_2q y_2q+1 of each column. */
function packPanel(
  panel: usize,
  sums: usize,
  b: usize,
  k: i32,
  below: usize,
  beside: usize,
  columns: i32,
): void {
  for (let j: usize = 0; j < <usize>columns << 3; j += 8, b += beside) {
    let from = b
    let to = panel + j
    let sum: u64 = 0
    for (let l = 0; l < k; l += 2, from += 2 * below, to += PAIR) {
      const even = load<u64>(from)
      const odd: u64 = l + 1 < k ? load<u64>(from + below) : 0
      store<u64>(to, odd)
      store<u64>(to, even, EVEN)
      sum += even * odd
    }
    store<u64>(sums + j, sum)
  }
}

/**
 * One row times a panel. Of a panel with fewer columns, the rest is computed from what scratch holds, and not stored.
 *
 * @param wide whether there are more than the two columns that are words; a literal, so that two loops are compiled
 */
// @ts-ignore: a decorator of AssemblyScript
@inline
function rowTimesPanel(
  out: usize,
  row: usize,
  panel: usize,
  k: i32,
  rowSum: u64,
  columnSums: usize,
  columns: i32,
  wide: bool,
): void {
  let word0: u64 = 0
  let word1: u64 = 0
  let vector0 = i64x2.splat(0)
  let vector1 = i64x2.splat(0)
  for (const end = row + (<usize>(k >> 1) << 4); row < end; row += 16, panel += PAIR) {
    if (wide) {
      const evens = v128.load64_splat(row)
      const odds = v128.load64_splat(row, 8)
      vector0 = i64x2.add(vector0, products(evens, odds, v128.load(panel, 16), v128.load(panel, EVEN + 16)))
      vector1 = i64x2.add(vector1, products(evens, odds, v128.load(panel, 32), v128.load(panel, EVEN + 32)))
    }
    const even = load<u64>(row)
    const odd = load<u64>(row, 8)
    word0 += (even + load<u64>(panel)) * (odd + load<u64>(panel, EVEN))
    word1 += (even + load<u64>(panel, 8)) * (odd + load<u64>(panel, EVEN + 8))
  }
  if (k & 1) {
    // An element without another: (x + 0)(0 + y).
    const last = load<u64>(row)
    const lasts = i64x2.splat(last)
    word0 += last * load<u64>(panel, EVEN)
    word1 += last * load<u64>(panel, EVEN + 8)
    vector0 = i64x2.add(vector0, i64x2.mul(lasts, v128.load(panel, EVEN + 16)))
    vector1 = i64x2.add(vector1, i64x2.mul(lasts, v128.load(panel, EVEN + 32)))
  }
  store<u64>(out, word0 - rowSum - load<u64>(columnSums))
  if (columns > 1) store<u64>(out, word1 - rowSum - load<u64>(columnSums, 8), 8)
  if (wide) {
    const rowSums = i64x2.splat(rowSum)
    storeColumns(out + 16, i64x2.sub(vector0, i64x2.add(rowSums, v128.load(columnSums, 16))), columns - 2)
    storeColumns(out + 32, i64x2.sub(vector1, i64x2.add(rowSums, v128.load(columnSums, 32))), columns - 4)
  }
}

/** (x_2q + y_2q+1)(x_2q+1 + y_2q) of a row and two columns. */
// @ts-ignore: a decorator of AssemblyScript
@inline
function products(evens: v128, odds: v128, columnOdds: v128, columnEvens: v128): v128 {
  return i64x2.mul(i64x2.add(evens, columnOdds), i64x2.add(odds, columnEvens))
}

/** Two words, or the first of them, or none. */
// @ts-ignore: a decorator of AssemblyScript
@inline
function storeColumns(out: usize, words: v128, columns: i32): void {
  if (columns > 1) v128.store(out, words)
  else if (columns == 1) store<u64>(out, i64x2.extract_lane(words, 0))
}
