import { fixPrecision, hook, meanOf, type PointerTensor, send, sumOf, tf, VirtualWorker } from 'sotto'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { SeededRandom } from '../../src/data/random.ts'
import { readyForTest } from '../backend.ts'
import { codeOf } from '../conformance/workers.ts'

const names = ['bob', 'alice', 'jane'] as const
let owners: VirtualWorker[] = []
let carol: VirtualWorker
beforeAll(async () => {
  await readyForTest()
  hook()
})
beforeEach(() => {
  owners = names.map((name) => new VirtualWorker(name))
  carol = new VirtualWorker('carol')
})
afterEach(() => Promise.all([...owners, carol].map((worker) => worker.close())))

/** A private value on its owner's worker, as another identity finds it there. */
async function privateOf(owner: VirtualWorker, values: number[], rights: object): Promise<PointerTensor> {
  const own = owner.as(owner.id)
  const others = [...owners, carol].filter((worker) => worker !== owner)
  own.addWorkers(others)
  const value = tf.tensor(values)
  const allowShares = others.map(({ id }) => id)
  send(value, own, { private: true, allowShares, ...rights, tags: ['#update'] })
  value.dispose()
  const [found] = await owner.search(['#update'])
  return found!
}
const secretOf = (pointer: PointerTensor) => pointer.fixPrecision().share(owners, { provider: carol })

describe('a mean in secret', () => {
  it('is within n units of the mean in clear', async () => {
    const random = new SeededRandom(5)
    for (const count of [2, 3, 5]) {
      const parties = Array.from({ length: count }, (_, i) => new VirtualWorker(`party-${count}-${i}`))
      const updates = parties.map(() => Array.from({ length: 1000 }, () => 20 * random.float() - 10))
      const secrets = updates.map((update, i) => {
        const there = tf.tensor(update).send(parties[i]!)
        return there.fixPrecision().share(parties, { provider: carol })
      })
      const mean = (await meanOf(secrets).reveal()).dataSync()
      const total = (await sumOf(secrets).reveal()).dataSync()
      mean.forEach((value, i) => {
        const sum = updates.reduce((all, update) => all + Math.fround(update[i]!), 0)
        expect(Math.abs(value - sum / count)).toBeLessThanOrEqual(count / 2 ** 16)
        expect(Math.abs(total[i]! - sum)).toBeLessThanOrEqual(count / 2 ** 16)
      })
      await Promise.all(parties.map((worker) => worker.close()))
    }
  })

  it('costs one round, the sum none', () => {
    const secrets = [1, 2, 3].map((value) => fixPrecision([value]).share(owners, { provider: carol }))
    expect(meanOf(secrets).cost.rounds).toBe(1)
    expect(sumOf(secrets).cost).toEqual({ rounds: 0, bytes: 0, provider: 0 })
  })
})

describe('a total of private values', () => {
  it('is opened to those whom every owner lets see totals, and no value by itself is', async () => {
    const updates = await Promise.all(owners.map((owner, i) => privateOf(owner, [i, 1], { allowTotals: ['me'] })))
    const secrets = updates.map(secretOf)
    expect([...(await sumOf(secrets).reveal()).dataSync()]).toEqual([3, 3])
    // A division by three is less than one and a half units off.
    for (const mean of (await meanOf(secrets).reveal()).dataSync())
      expect(Math.abs(mean - 1)).toBeLessThan(1.5 / 2 ** 16)
    for (const secret of secrets) expect(await codeOf(() => secret.reveal())).toBe('ERR_PERMISSION')
    for (const update of updates) expect(await codeOf(() => update.fetch())).toBe('ERR_PERMISSION')
  })

  it('is none when an owner takes part twice, when two take part, when a sum was made by hand, or one owner did not allow it', async () => {
    const updates = await Promise.all(owners.map((owner, i) => privateOf(owner, [i], { allowTotals: ['me'] })))
    const [a, b, c] = updates.map(secretOf) as [
      ReturnType<typeof secretOf>,
      ReturnType<typeof secretOf>,
      ReturnType<typeof secretOf>,
    ]
    const zero = fixPrecision([0]).share(owners, { provider: carol })
    const wrong = [
      sumOf([a, b]),
      sumOf([a, b, b]),
      sumOf([a, b, zero]),
      sumOf([a, b, c, zero]),
      sumOf([a, b.add(c), zero]),
      sumOf([a.add(b), b.add(c), c.add(a)]),
      a.add(b).add(c),
    ]
    for (const secret of wrong) expect(await codeOf(() => secret.reveal())).toBe('ERR_PERMISSION')
    expect([...(await sumOf([a, b, c]).reveal()).dataSync()]).toEqual([3])
  })

  it('needs the consent of each', async () => {
    const [bob, alice, jane] = owners as [VirtualWorker, VirtualWorker, VirtualWorker]
    const updates = await Promise.all([
      privateOf(bob, [1], { allowTotals: ['me'] }),
      privateOf(alice, [2], { allowTotals: ['me'] }),
      privateOf(jane, [3], {}),
    ])
    expect(await codeOf(() => sumOf(updates.map(secretOf)).reveal())).toBe('ERR_PERMISSION')
  })
})
