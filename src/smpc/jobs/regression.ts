/**
 * Regressions in secret, by sums over rows and an inverse of as many rows as there are columns: no rate of learning has to be
 * chosen, and numbers of rounds follow from the settings alone.
 *
 * Columns are brought to mean 0 and variance 1 in secret. |x − mean| must stay below 2^15 (at 16 fractional bits), and sums
 * over rows of (x − mean) / deviation · (y − mean) below 2^30. A column that is the same in every row, or follows from
 * others, has no coefficient of its own: what comes of it then is noise, unless `ridge` is above 0.
 */
import { sottoError } from '../../errors.ts'
import { noGrad, scope } from '../../tensor/context.ts'
import { showShape } from '../../tensor/shape.ts'
import type { SharedTensor } from '../shared-tensor.ts'

interface Standard {
  readonly rows: SharedTensor
  /** Of each column, [1, columns]. */
  readonly mean: SharedTensor
  /** One over the deviation of each. */
  readonly inverse: SharedTensor
}

function standardised(x: SharedTensor): Standard {
  const mean = x.mean(0, true)
  const centred = x.sub(mean)
  const inverse = centred.square().mean(0, true).rsqrt()
  return { rows: centred.mul(inverse), mean, inverse }
}

/** The mean over rows of each product of a column of one and a column of another. */
const products = (a: SharedTensor, b: SharedTensor): SharedTensor => a.matMul(b, true, false).dividedBy(a.shape[0]!)

const identity = (size: number, value = 1): number[][] =>
  Array.from({ length: size }, (_, i) => Array.from({ length: size }, (_, j) => (i === j ? value : 0)))

/** Steps of {@link inverseOf}: enough for eigenvalues from 2^-10 times the number of columns, of 128 bits 2^-20. */
const STEPS = { 64: 14, 128: 24 } as const

/**
 * The inverse of a correlation matrix of d columns and ridge on its diagonal, by Z ← Z(2I − AZ) (Schulz 1933): it converges
 * from Z = I / (d + ridge), as eigenvalues lie above 0 and are at most d + ridge; of an eigenvalue λ what is missing is
 * (1 − λ / (d + ridge))^(2^k) after k steps. Each takes four rounds.
 */
function inverseOf(a: SharedTensor, ridge: number): SharedTensor {
  const [d] = a.shape as readonly [number, number]
  const first = 1 / (d + ridge)
  // The first step, of a public start: Z = s(2I − sA).
  let z = a.mul(-first * first).add(identity(d, 2 * first))
  for (let k = 1; k < STEPS[a.encoding.ring]; k++) z = z.matMul(a.matMul(z).neg().add(identity(d, 2)))
  return z
}

function checkRows(what: string, x: SharedTensor, y: SharedTensor): void {
  if (x.rank === 2 && y.rank === 2 && x.shape[0] === y.shape[0] && x.shape[0]! > x.shape[1]!) return
  throw sottoError(
    'ERR_SHAPE',
    `${what}: expected x and y with as many rows, and more rows than columns of x; got ${showShape(x.shape)} and ${showShape(y.shape)}`,
  )
}

/** Coefficients of columns as they came, and below them the intercept. */
function unstandardised(weights: SharedTensor, { mean, inverse }: Standard, level: SharedTensor): SharedTensor {
  const coefficients = weights.mul(inverse.transpose())
  return coefficients.concat(level.sub(mean.matMul(coefficients)))
}

/**
 * Ordinary least squares: w = (XᵀX + ridge)⁻¹ Xᵀy of standardised columns.
 *
 * @param x [rows, d], with more rows than columns
 * @param y [rows, outputs]
 * @param ridge of the standardised columns; 0 for none
 * @returns [d + 1, outputs]: coefficients, and the intercept last
 * @throws `ERR_SHAPE`
 */
export function linearRegression(x: SharedTensor, y: SharedTensor, ridge: number): SharedTensor {
  checkRows('linearRegression', x, y)
  return noGrad(() =>
    scope(() => {
      const standard = standardised(x)
      const level = y.mean(0, true)
      const correlations = products(standard.rows, standard.rows)
      const a = ridge === 0 ? correlations : correlations.add(identity(x.shape[1]!, ridge))
      const b = products(standard.rows, y.sub(level))
      const z = inverseOf(a, ridge)
      const rough = z.matMul(b)
      // What rounding in Z has cost, most of it.
      const weights = rough.add(z.matMul(b.sub(a.matMul(rough))))
      return unstandardised(weights, standard, level)
    }),
  )
}

/** Of logistic regression, unless given. */
export const ITERATIONS = 25

/**
 * Logistic regression by the bound of Böhning and Lindsay (1988): the curvature of the likelihood is at most a quarter of
 * that of least squares, so each step w ← w + 4(XᵀX + 4·ridge)⁻¹(Xᵀ(y − p) − ridge·w) makes it more likely, whatever the
 * data. 16 rounds a step.
 *
 * @param y [rows, 1] of 0 and 1
 * @returns [d + 1, 1]: as {@link linearRegression}, of the logarithm of the odds
 * @throws `ERR_SHAPE`
 */
export function logisticRegression(
  x: SharedTensor,
  y: SharedTensor,
  { ridge, iterations }: { readonly ridge: number; readonly iterations: number },
): SharedTensor {
  checkRows('logisticRegression', x, y)
  return noGrad(() =>
    scope(() => {
      const standard = standardised(x)
      const { rows } = standard
      const correlations = products(rows, rows)
      const z = inverseOf(ridge === 0 ? correlations : correlations.add(identity(x.shape[1]!, 4 * ridge)), 4 * ridge)
      // From p = 1/2, whatever the row.
      let missed = y.sub(0.5)
      let weights = z.matMul(products(rows, missed)).mul(4)
      let level = missed.mean(0, true).mul(4)
      for (let i = 1; i < iterations; i++) {
        missed = y.sub(rows.matMul(weights).add(level).sigmoid())
        const slope = products(rows, missed)
        weights = weights.add(z.matMul(ridge === 0 ? slope : slope.sub(weights.mul(ridge))).mul(4))
        level = level.add(missed.mean(0, true).mul(4))
      }
      return unstandardised(weights, standard, level)
    }),
  )
}

/** What a regression gives for rows: x · coefficients + intercept. */
export function regressed(x: SharedTensor, weights: SharedTensor): SharedTensor {
  const [most] = weights.shape as readonly [number, number]
  if (x.rank !== 2 || x.shape[1] !== most - 1) {
    throw sottoError('ERR_SHAPE', `predict: expected rows of ${most - 1} columns, got ${showShape(x.shape)}`)
  }
  return x.matMul(weights.slice([0, 0], [most - 1, -1])).add(weights.slice([most - 1, 0], [1, -1]))
}
