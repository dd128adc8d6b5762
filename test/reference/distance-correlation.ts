/** Distance correlation by its definition (Székely, Rizzo, Bakirov 2007), pair by pair, in doubles. */

export function distanceCorrelationByPairs(
  x: readonly (readonly number[])[],
  z: readonly (readonly number[])[],
): number {
  const [a, b] = [centred(x), centred(z)]
  const n = x.length
  let [ab, aa, bb] = [0, 0, 0]
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      ab += a[i]![j]! * b[i]![j]!
      aa += a[i]![j]! ** 2
      bb += b[i]![j]! ** 2
    }
  }
  return aa * bb === 0 ? 0 : Math.sqrt(Math.max(0, ab) / Math.sqrt(aa * bb))
}

function centred(rows: readonly (readonly number[])[]): number[][] {
  const distances = rows.map((p) => rows.map((q) => Math.hypot(...p.map((value, k) => value - q[k]!))))
  const mean = (list: readonly number[]) => list.reduce((sum, value) => sum + value, 0) / list.length
  const rowMeans = distances.map(mean)
  const grand = mean(rowMeans)
  return distances.map((row, i) => row.map((d, j) => d - rowMeans[i]! - rowMeans[j]! + grand))
}
