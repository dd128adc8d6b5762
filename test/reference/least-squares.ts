/** Least squares and logistic regression in doubles, by elimination. */

type Matrix = readonly (readonly number[])[]

/** Solves A X = B by Gauss-Jordan elimination with row exchanges. */
export function solved(a: Matrix, b: Matrix): number[][] {
  const rows = a.map((row, i) => [...row, ...b[i]!])
  for (let i = 0; i < rows.length; i++) {
    const best = rows.reduce((at, row, k) => (k > i && Math.abs(row[i]!) > Math.abs(rows[at]![i]!) ? k : at), i)
    const [pivot] = rows.splice(best, 1)
    rows.splice(i, 0, pivot!)
    rows.forEach((row, k) => {
      const factor = row[i]! / pivot![i]!
      if (k !== i) for (let j = i; j < row.length; j++) row[j]! -= factor * pivot![j]!
    })
  }
  return rows.map((row, i) => row.slice(rows.length).map((value) => value / row[i]!))
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length
const column = (x: Matrix, j: number): number[] => x.map((row) => row[j]!)
const withOne = (x: Matrix): number[][] => x.map((row) => [...row, 1])
/** XᵀY, with weights of rows. */
const products = (x: Matrix, y: Matrix, weights = x.map(() => 1)): number[][] =>
  x[0]!.map((_, i) => y[0]!.map((_, j) => x.reduce((sum, row, k) => sum + row[i]! * y[k]![j]! * weights[k]!, 0)))

/** Coefficients, and the intercept last. */
export function leastSquares(x: Matrix, y: readonly number[]): number[] {
  const rows = withOne(x)
  return solved(
    products(rows, rows),
    products(
      rows,
      y.map((value) => [value]),
    ),
  ).map(([value]) => value!)
}

/** The same for the logarithm of the odds that y is 1, by Newton's method. */
export function logisticFit(x: Matrix, y: readonly number[], steps = 20): number[] {
  const rows = withOne(x)
  let weights = rows[0]!.map(() => 0)
  for (let k = 0; k < steps; k++) {
    const p = rows.map((row) => 1 / (1 + Math.exp(-row.reduce((sum, value, j) => sum + value * weights[j]!, 0))))
    const curvature = products(
      rows,
      rows,
      p.map((value) => value * (1 - value)),
    )
    const slope = products(
      rows,
      y.map((value, i) => [value - p[i]!]),
    )
    const change = solved(curvature, slope)
    weights = weights.map((value, j) => value + change[j]![0]!)
  }
  return weights
}

/** Correlations of columns, their means and deviations. */
export function standardOf(x: Matrix) {
  const means = x[0]!.map((_, j) => mean(column(x, j)))
  const deviations = means.map((middle, j) => Math.sqrt(mean(column(x, j).map((value) => (value - middle) ** 2))))
  const rows = x.map((row) => row.map((value, j) => (value - means[j]!) / deviations[j]!))
  const correlations = products(rows, rows).map((row) => row.map((value) => value / x.length))
  return { means, deviations, correlations }
}

/** The largest sum of magnitudes in a row. */
export const normOf = (a: Matrix): number =>
  Math.max(...a.map((row) => row.reduce((sum, value) => sum + Math.abs(value), 0)))
