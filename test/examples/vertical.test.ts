/** Vertical learning: what is learnt is what the joined table teaches, and who sees what. */
import { beforeAll, expect, it } from 'vitest'
import { vertical } from '../../examples/vertical.ts'
import { capturePrinted } from './printed.ts'

let printed: () => string
beforeAll(() => {
  printed = capturePrinted()
})

it('vertical: two tables teach what the joined one does, and the ids and columns of either stay with it', async () => {
  const options = {
    people: 260,
    unshared: 0.3,
    epochs: 3,
    batchSize: 32,
    learningRate: 0.1,
    regressionRate: 0.2,
    seed: 1,
  }
  const result = await vertical({ ...options, sigmoid: 'smooth', workers: 'virtual' })
  expect(result.shared).toBe(140)
  for (const { joined, vertical, shop, bank } of [result.network, result.regression]) {
    expect(Math.abs(vertical.loss - joined.loss)).toBeLessThan(0.002 * joined.loss)
    expect(Math.abs(vertical.accuracy - joined.accuracy)).toBeLessThan(0.002)
    for (const { loss } of [shop, bank]) expect(Math.abs(loss - joined.loss)).toBeGreaterThan(0.002 * joined.loss)
  }
  expect(result.refusals.map((text) => text.split(':')[0])).toEqual(['ERR_PERMISSION', 'ERR_PERMISSION'])
  const lines = printed().split('\n')
  // Of what the shop has, the bank saw its activations, which rows are shared, what both opened, and nothing else.
  const seen = lines.filter((line) => /^│ bank +│ .*│ shop +│/.test(line) && !line.includes('nothing of'))
  expect(seen.length).toBeGreaterThan(0)
  for (const line of seen) expect(line).toMatch(/\[\d+,8\] .*│ move|int32 \[(140)?\] .*│ intersect/)
  // And the shop of what the bank has: gradients, models to train, batches, and which rows are shared.
  const told = lines.filter((line) => /^│ shop +│ .*│ bank +│/.test(line))
  for (const line of told) expect(line).toMatch(/│ gradient|│ intersect|│ operand|│ send model/)
  expect(lines.some((line) => /^│ carol +│/.test(line) && line.includes('asked by'))).toBe(false)
})
