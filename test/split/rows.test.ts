import { alignRows, hook, SplitNN, tf, VirtualWorker } from 'sotto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { partsOf } from '../../src/split/rows.ts'
import { readyForTest } from '../backend.ts'
import { codeOf } from '../conformance/workers.ts'
import { dense } from './forms.ts'

let alice: VirtualWorker
let bob: VirtualWorker
beforeAll(async () => {
  await readyForTest()
  hook()
  alice = new VirtualWorker('alice')
  bob = new VirtualWorker('bob')
})
afterAll(() => Promise.all([alice.close(), bob.close()]))

const column = (values: readonly number[], worker: VirtualWorker) =>
  tf.tensor2d([...values], [values.length, 1]).send(worker)

describe('the rows of several owners', () => {
  it('meet by their ids, whatever order each owner has them in', async () => {
    const aligned = alignRows(
      [
        { data: column([1, 2, 3], alice), ids: ['ann', 'ben', 'cay'] },
        { data: column([30, 10, 20], bob), ids: ['cay', 'ann', 'ben'] },
      ],
      { data: column([200, 300, 100], bob), ids: ['ben', 'cay', 'ann'] },
    )
    expect(aligned.ids).toEqual(['ben', 'cay', 'ann'])
    expect(aligned.missing).toEqual([])
    // A net that adds what it is given: each row of the output is the sum of its own parts.
    const plus = (inputs: number) =>
      tf.sequential({ layers: [tf.layers.dense({ units: 1, inputShape: [inputs], kernelInitializer: 'ones' })] })
    const net = new SplitNN(
      [
        [
          { model: plus(1), worker: alice },
          { model: plus(1), worker: bob },
        ],
        { model: plus(2), worker: bob },
      ],
      { loss: (output, labels) => output.mul(labels).sum() },
    )
    // Σ (own + other) · label, which is another number for any other pairing.
    expect((await net.evaluate(aligned)).loss * 3).toBe(3 * (22 * 200 + 33 * 300 + 11 * 100))
  })

  it('that one owner does not have are named, and left out only by request', async () => {
    const owners = [
      { data: column([1, 2, 3], alice), ids: [1, 2, 3] },
      { data: column([10, 30], bob), ids: [1, 3] },
    ]
    const labels = { data: column([100, 200, 300, 400], bob), ids: [1, 2, 3, 4] }
    expect(() => alignRows(owners, labels)).toThrow(
      /alice has no row for 1 ids \(4\); bob has no row for 2 ids \(2, 4\).*leave out/,
    )
    const aligned = alignRows(owners, labels, { missing: 'leave out' })
    expect(aligned.ids).toEqual([1, 3])
    expect(aligned.missing).toEqual([
      { worker: 'alice', ids: [4] },
      { worker: 'bob', ids: [2, 4] },
    ])
    expect(aligned.rows.x.map((rows) => [...rows])).toEqual([
      [0, 2],
      [0, 1],
    ])
    expect([...aligned.rows.y]).toEqual([0, 2])
  })

  it('are refused where an id stands twice, rows and ids differ in number, or nothing is in common', async () => {
    const one = { data: column([1, 2], alice), ids: ['a', 'b'] }
    const twice = { data: column([1, 2], bob), ids: ['a', 'a'] }
    expect(() => alignRows([one], twice)).toThrow(/bob has 1 ids more than once \(a\)/)
    expect(await codeOf(() => alignRows([one], { ...twice, ids: ['a'] }))).toBe('ERR_SHAPE')
    const other = { data: column([1], bob), ids: ['c'] }
    expect(await codeOf(() => alignRows([one], other, { missing: 'leave out' }))).toBe('ERR_ARGUMENT_VALUE')
    expect(await codeOf(() => alignRows([], other))).toBe('ERR_ARGUMENT_TYPE')
    expect(await codeOf(() => alignRows([one], other, { missing: 'shift' as never }))).toBe('ERR_ARGUMENT_VALUE')
  })

  it('are not trained on when owners have different numbers of them', async () => {
    const net = new SplitNN(
      [
        { model: dense(1, 2, 1), worker: alice },
        { model: dense(2, 1, 2), worker: bob },
      ],
      { loss: 'meanSquaredError' },
    )
    const rows = { x: column([1, 2, 3], alice), y: column([1, 2], bob) }
    expect(await codeOf(() => net.fit(rows))).toBe('ERR_SHAPE')
    expect(await codeOf(() => net.evaluate(rows))).toBe('ERR_SHAPE')
    expect(await codeOf(() => net.trainBatch(rows.x, rows.y))).toBe('ERR_SHAPE')
  })

  it('are parted into micro-batches of one size as nearly as can be, none of them empty', () => {
    expect(partsOf(10, 4)).toEqual([
      { at: 0, rows: 2 },
      { at: 2, rows: 3 },
      { at: 5, rows: 2 },
      { at: 7, rows: 3 },
    ])
    expect(partsOf(2, 4)).toEqual([
      { at: 0, rows: 1 },
      { at: 1, rows: 1 },
    ])
  })
})
