import { fixPrecision, hook, type PartyStats, planOf, prepare, tf, VirtualWorker } from 'sotto'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { WINDOW } from '../../src/smpc/provider.ts'
import { UsedIndices } from '../../src/smpc/used-indices.ts'
import { readyForTest } from '../backend.ts'
import { codeOf } from '../conformance/workers.ts'

let bob: VirtualWorker
let alice: VirtualWorker
let carol: VirtualWorker
beforeAll(async () => {
  await readyForTest()
  hook()
})
beforeEach(() => {
  ;[bob, alice, carol] = ['bob', 'alice', 'carol'].map((name) => new VirtualWorker(name)) as [
    VirtualWorker,
    VirtualWorker,
    VirtualWorker,
  ]
})
afterEach(() => Promise.all([bob, alice, carol].map((worker) => worker.close())))

const secretOf = (values: tf.TensorLike | tf.Tensor) =>
  fixPrecision(values as tf.Tensor).share([bob, alice], { provider: carol })

describe('a plan', () => {
  it('tells what a computation takes, and carries nothing out', async () => {
    const x = secretOf([1, -2, 3])
    const before = await bob.objectCount()
    const plan = planOf(x, () => x.mul(x).relu().sum())
    expect(plan.counts).toEqual({ product: 1, truncation: 1, coded: 1, circuit: 1, bit: 1 })
    const { provider, parties } = await x.traffic()
    expect(provider?.dealt).toBe(0)
    expect(parties.map(({ commands }) => commands)).toEqual([0, 0])
    expect(await bob.objectCount()).toBe(before)
  })

  it('has what it takes dealt ahead, so that the computation itself has nothing dealt', async () => {
    const x = secretOf([1, -2, 3])
    const once = () => x.mul(x).relu().sum()
    const plan = planOf(x, once)
    carol.prepare(plan, { times: 2 })
    await carol.flush()
    const ahead = (await x.traffic()).provider!
    expect(ahead).toMatchObject({ dealt: 10, bytesSent: 2 * plan.bytes, bytesUnused: 2 * plan.bytes, waiting: 0 })
    for (let time = 0; time < 2; time++) expect((await once().reveal()).dataSync()[0]).toBeCloseTo(14, 3)
    const after = (await x.traffic()).provider!
    expect(after).toMatchObject({ dealt: 10, bytesSent: 2 * plan.bytes, bytesUnused: 0, waiting: 0 })
    expect((await once().reveal()).dataSync()[0]).toBeCloseTo(14, 3)
    expect((await x.traffic()).provider!.dealt).toBe(15)
  })

  it('is used in any order, and beside what was never planned', async () => {
    const x = secretOf([1, -2, 3])
    prepare(
      carol,
      planOf(x, () => [x.mul(x), x.relu(), x.square()]),
      { times: 3 },
    )
    expect([...(await x.square().reveal()).dataSync()]).toEqual([1, 4, 9])
    expect([...(await x.less(2).reveal()).dataSync()]).toEqual([1, 1, 0])
    expect([...(await x.relu().reveal()).dataSync()]).toEqual([1, 0, 3])
    expect([...(await x.mul(x).reveal()).dataSync()]).toEqual([1, 4, 9])
  })

  it('goes no further ahead than the window, and what a command needs comes all the same', async () => {
    // Each product takes 4 MB of corrections; a window and a half of them are asked for.
    const size = 2 ** 18
    const x = secretOf(tf.ones([size]))
    const plan = planOf(x, () => x.mul(2.5).sum())
    const times = Math.ceil((1.5 * WINDOW) / plan.bytes)
    carol.prepare(plan, { times })
    await carol.flush()
    const held = (await x.traffic()).provider!
    expect(held.bytesUnused).toBeLessThanOrEqual(WINDOW)
    expect(held.waiting).toBeGreaterThan(0)
    // Another computation is not held up by it.
    expect((await x.square().sum().reveal()).dataSync()[0]).toBeCloseTo(size, 0)
    expect((await x.mul(2.5).sum().reveal()).dataSync()[0]).toBeCloseTo(2.5 * size, -1)
    expect((await x.traffic()).provider!.waiting).toBeLessThan(held.waiting)
  })

  it('is not for another provider, nor for parties that have none', async () => {
    const x = secretOf([1])
    const plan = planOf(x, () => x.square())
    const other = new VirtualWorker('dan')
    expect(await codeOf(() => other.prepare(plan))).toBe('ERR_PROVIDER')
    expect(await codeOf(() => carol.prepare(plan, { times: 0 }))).toBe('ERR_ARGUMENT_VALUE')
    expect(await codeOf(() => planOf(x, async () => x.square()))).toBe('ERR_ARGUMENT_TYPE')
    await other.close()
  })
})

describe('on demand, the provider', () => {
  it('is held back while parties are behind', async () => {
    const x = secretOf(tf.ones([2 ** 18]))
    // 6 MB of corrections each: more than a window in all.
    const products = Array.from({ length: 12 }, () => x.square())
    const { provider } = await x.traffic()
    expect(provider!.bytesUnused).toBeLessThanOrEqual(WINDOW)
    await products.at(-1)!.sum().reveal()
    const done = await x.traffic()
    expect(done.provider).toMatchObject({ bytesUnused: 0, waiting: 0 })
    const last = done.parties[1] as PartyStats
    expect(last.bytesDealt).toBe(done.provider!.bytesSent)
  })
})

describe('used indices', () => {
  it('are good for one use, in any order, and take no room when they were used in turn', () => {
    const used = new UsedIndices()
    for (const index of [5, 3, 4, 0, 2, 1, 9, 7, 8, 6]) {
      expect(used.has(index)).toBe(false)
      used.use(index)
      expect(used.has(index)).toBe(true)
      expect(() => used.use(index)).toThrow(expect.objectContaining({ code: 'ERR_USED_TWICE' }))
    }
    for (let index = 0; index < 10; index++) expect(() => used.use(index)).toThrow('used up')
    expect(used.has(10)).toBe(false)
  })
})
