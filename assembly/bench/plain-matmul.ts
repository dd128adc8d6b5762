/** The product of matrices as one would write it with vectors: what the kernel that is shipped is measured against. */

/** [m,k] times [k,n], n even: rows of the right operand, times an element of the left one, onto a row of the result. */
export function matMul(out: usize, a: usize, b: usize, m: i32, k: i32, n: i32): void {
  const bytes = <usize>n << 3
  memory.fill(out, 0, <usize>m * bytes)
  for (let i = 0; i < m; i++) {
    const sums = out + <usize>i * bytes
    for (let l = 0; l < k; l++) {
      const x = v128.load64_splat(a + ((<usize>i * k + l) << 3))
      const row = b + <usize>l * bytes
      for (let j: usize = 0; j < bytes; j += 16) {
        v128.store(sums + j, i64x2.add(v128.load(sums + j), i64x2.mul(x, v128.load(row + j))))
      }
    }
  }
}
