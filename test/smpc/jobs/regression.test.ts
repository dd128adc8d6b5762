/** Regressions in secret, beside the same in doubles. */
import { fixPrecision, ready, VirtualWorker } from 'sotto'
import { beforeAll, describe, expect, it } from 'vitest'
import { SeededRandom } from '../../../src/data/random.ts'
import { linearRegression, logisticRegression, regressed } from '../../../src/smpc/jobs/regression.ts'
import type { SharedTensor } from '../../../src/smpc/shared-tensor.ts'
import { leastSquares, logisticFit, normOf, solved, standardOf } from '../../reference/least-squares.ts'

const UNIT = 2 ** -16
const random = new SeededRandom(7)
/** Columns of unlike sizes that depend on one another. */
const x = Array.from({ length: 120 }, () => {
  const common = random.normal()
  return [random.normal() + common, 40 + 12 * random.normal() + 6 * common, 300 + 80 * random.normal()]
})
const line = (row: readonly number[]): number => 2 * row[0]! - 0.5 * row[1]! + 0.03 * row[2]! + 10
const y = x.map((row) => line(row) + random.normal())
const truths = x.map((row) => Number(line(row) + random.normal() * 3 > -1))

let workers: VirtualWorker[]
let rows: SharedTensor
const shared = (values: readonly (readonly number[])[]) =>
  fixPrecision(values as number[][]).share(workers, { protocol: 'replicated' })
const columnOf = (values: readonly number[]) => shared(values.map((value) => [value]))
beforeAll(async () => {
  await ready()
  workers = ['a', 'b', 'c'].map((name) => new VirtualWorker(`regression-${name}`))
  rows = shared(x)
})

const valuesOf = async (secret: SharedTensor): Promise<number[]> => [...(await secret.reveal()).dataSync()]

/**
 * How far coefficients of standardised columns may be off. Entries of A = XᵀX/m are: a row is truncated (a unit, times a
 * column whose mean magnitude is at most 1, twice), and a mean is (two units); so are those of b, where y is at scale `size`.
 * From A w = b then |δw| ≤ |A⁻¹| (|δb| + |δA| |w|), and twice a unit for the last products.
 */
function boundOf(weights: readonly number[], size: number): number {
  const { correlations } = standardOf(x)
  const inverse = solved(
    correlations,
    correlations.map((_, i) => correlations.map((_, j) => Number(i === j))),
  )
  const largest = Math.max(...weights.map(Math.abs))
  return UNIT * (normOf(inverse) * (size + 1 + 2 + 4 * x[0]!.length * largest) + 2)
}

describe('linearRegression', () => {
  it('gives what least squares give in doubles, within what rounding to units explains', async () => {
    const expected = leastSquares(x, y)
    const found = await valuesOf(linearRegression(rows, columnOf(y), 0))
    const { deviations, means } = standardOf(x)
    const standard = deviations.map((deviation, j) => expected[j]! * deviation)
    const spread = Math.max(...y.map(Math.abs))
    const bound = boundOf(standard, spread)
    let drift = 2 * UNIT
    deviations.forEach((deviation, j) => {
      // 1/deviation is within 1.5 units, and the product with it within another.
      const allowed = (bound + 1.5 * UNIT * Math.abs(standard[j]!)) / deviation + UNIT
      expect(Math.abs(found[j]! - expected[j]!)).toBeLessThan(allowed)
      drift += allowed * Math.abs(means[j]!) + UNIT * Math.abs(expected[j]!)
    })
    expect(Math.abs(found[3]! - expected[3]!)).toBeLessThan(drift)
  })

  it('finds a coefficient for each column of y, and pulls them to zero by a ridge', async () => {
    const twice = shared(x.map((row) => [line(row), -line(row)]))
    const both = linearRegression(rows, twice, 0)
    expect(both.shape).toEqual([4, 2])
    const values = await valuesOf(both)
    for (let i = 0; i < 4; i++) expect(values[2 * i]! + values[2 * i + 1]!).toBeCloseTo(0, 2)
    const pulled = await valuesOf(linearRegression(rows, twice, 5))
    expect(Math.abs(pulled[0]!)).toBeLessThan(Math.abs(values[0]!) / 2)
  })

  it('refuses rows that do not fit, and fewer of them than columns', () => {
    expect(() => linearRegression(rows, columnOf([1, 2]), 0)).toThrow(expect.objectContaining({ code: 'ERR_SHAPE' }))
    const few = shared(x.slice(0, 3))
    expect(() => linearRegression(few, columnOf([1, 2, 3]), 0)).toThrow('more rows than columns')
    expect(() => regressed(rows, columnOf([1, 2]))).toThrow('expected rows of 1 columns')
  })
})

describe('logisticRegression', () => {
  it('says of each row what the same in doubles says, and is as likely', async () => {
    const expected = logisticFit(x, truths)
    const found = logisticRegression(rows, columnOf(truths), { ridge: 0, iterations: 20 })
    const odds = await valuesOf(regressed(rows, found))
    const likelihood = (of: readonly number[]) =>
      of.reduce((sum, value, i) => sum - Math.log1p(Math.exp(truths[i] === 1 ? -value : value)), 0)
    const best = x.map((row) => [...row, 1].reduce((sum, value, j) => sum + value * expected[j]!, 0))
    // Nothing is more likely than the maximum; a step of the method leaves a part of what is missing.
    expect(likelihood(odds)).toBeLessThanOrEqual(likelihood(best) + 1e-9)
    expect(likelihood(odds)).toBeGreaterThan(1.01 * likelihood(best))
    const agree = odds.filter((value, i) => value > 0 === best[i]! > 0).length
    expect(agree).toBeGreaterThanOrEqual(x.length - 2)
  })
})
