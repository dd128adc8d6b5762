/** Largest elements: of few, every two of which are compared at once, and of many, by a tournament. */
import { fixPrecision, share, tf, VirtualWorker } from 'sotto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readyForTest } from '../backend.ts'

beforeAll(() => readyForTest())
const parties = ['alice', 'bob', 'jane'].map((name) => new VirtualWorker(name))
const provider = new VirtualWorker('carol')
afterAll(() => Promise.all([...parties, provider].map((worker) => worker.close())))

const protocols = { additive: { provider }, replicated: { protocol: 'replicated' } } as const
/** Of 200, 19,900 pairs are more than are compared at once. */
const sizes = [
  { length: 3, max: 8, argMax: 7 },
  { length: 10, max: 11, argMax: 10 },
  { length: 200, max: 48, argMax: 48 },
] as const

describe.each(Object.entries(protocols))('of %s sharing', (_, options) => {
  it.each(sizes)('among $length are as in clear, the first of equals, in so many rounds', async (size) => {
    // Whole numbers, of which many are equal.
    const values = tf.randomUniform([2, size.length], -5, 5, 'int32', 7)
    const x = share(values, parties, options)
    const [largest, place] = [x.max(1), x.argMax(1)]
    expect([largest.cost.rounds, place.cost.rounds]).toEqual([size.max, size.argMax])
    const [found, index] = [await largest.reveal(), await place.reveal()]
    const rows = (await values.array()) as number[][]
    expect([...found.dataSync()]).toEqual(rows.map((row) => Math.max(...row)))
    expect([...index.dataSync()]).toEqual(rows.map((row) => row.indexOf(Math.max(...row))))
    for (const secret of [x, largest, place]) secret.dispose()
  })

  it.each(sizes)('among $length pass their gradient to where they were', async ({ length }) => {
    const values = tf.randomUniform([length, 2], -5, 5, 'float32', 8)
    const x = share(fixPrecision(values), parties, { ...options, requiresGrad: true })
    x.max(0).mul([2, 3]).sum().backward()
    const gradient = await x.grad!.reveal()
    const best = values.argMax(0).dataSync()
    const expected = Array.from({ length }, (_, i) => [best[0] === i ? 2 : 0, best[1] === i ? 3 : 0])
    expect(await gradient.array()).toEqual(expected)
    x.dispose()
  })
})
