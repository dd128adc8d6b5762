import { alignedDataset, SplitNN, VerticalLogisticRegression, type Worker } from 'sotto'
import { expect, it } from 'vitest'
import { dense } from '../split/forms.ts'
import { COLUMNS, descended, distance, halves, joined, people, whoseRows } from '../split/people.ts'
import { codeOf, onEveryWorker } from './workers.ts'

const UNITS = 2
/** Of 16 people, 8 at a time. */
const STEPS = 2
const course = { epochs: 1, batchSize: 8, seed: 1 } as const
const learningRate = 0.5

onEveryWorker((worker) => {
  it('trains on tables of two owners, split and in secret, and shows the caller what they allow', async () => {
    const [bob, alice, carol] = ['bob', 'alice', 'carol'].map(worker) as [Worker, Worker, Worker]
    const workers = [bob, alice, carol]
    const owns = [bob.as('bob'), alice.as('alice')] as const
    for (const at of workers) {
      const others = workers.filter((other) => other !== at)
      at.addWorkers(others)
      // Each owner says at every worker whom it means by these names; at its own it has a session already.
      for (const own of owns) (own.key === at.key ? own : at.as(own.id)).addWorkers(others)
    }
    const all = people(40, 5)
    const { first, second, shared } = halves(all)
    const both = { private: true, allowShares: ['bob', 'alice', 'carol'] }
    const matched = { private: true, allowMatches: ['bob', 'alice', 'me'] }
    const seen = { ...both, allowResults: ['bob', 'alice', 'me'] }
    first.ids.send(owns[0], { ...matched, tags: ['#ids'] })
    first.x.send(owns[0], { ...seen, tags: ['#x'] })
    second.ids.send(owns[1], { ...matched, tags: ['#ids'] })
    second.x.send(owns[1], { ...seen, tags: ['#x'] })
    second.y.send(owns[1], { ...seen, tags: ['#y'] })
    await Promise.all(owns.map((own) => own.flush()))
    const found = async (at: Worker, tag: string) => (await at.search([tag]))[0]!
    const data = await alignedDataset(
      [
        { ids: await found(bob, '#ids'), x: await found(bob, '#x') },
        { ids: await found(alice, '#ids'), x: await found(alice, '#x'), y: await found(alice, '#y') },
      ],
      { protocol: 'curve', tags: ['#aligned'] },
    )
    expect(data.size).toBe(shared)
    expect(await codeOf(() => data.x[0]!.fetch())).toBe('ERR_PERMISSION')
    // The owners look at what is their own: the same people, in one order.
    const aligned = await Promise.all(owns.map(async (own) => (await own.search(['#aligned']))[0]!.fetch()))
    const rows = whoseRows(all, 0, aligned[0]!)
    expect(whoseRows(all, 1, aligned[1]!)).toEqual(rows)

    const plain = descended(joined(all, rows), { ...course, learningRate })
    using model = new VerticalLogisticRegression([bob, alice], { provider: carol })
    await model.fit(data, { ...course, learningRate })
    const learnt = await Promise.all(
      [...model.weights(), model.bias()].map(async (pointer) => (await pointer.get()).dataSync()),
    )
    for (const [i, weight] of learnt.flatMap((part) => [...part]).entries()) {
      expect(Math.abs(weight - [...plain.weights, plain.bias][i]!)).toBeLessThan(distance(STEPS))
    }

    const optimizer = { kind: 'sgd', learningRate } as const
    const models = [dense(COLUMNS, UNITS, 1), dense(COLUMNS, UNITS, 2), dense(2 * UNITS, 1, 3)]
    using net = new SplitNN(
      [
        [
          { model: models[0]!, worker: bob, optimizer },
          { model: models[1]!, worker: alice, optimizer },
        ],
        { model: models[2]!, worker: alice, optimizer },
      ],
      { loss: 'sigmoidCrossEntropy' },
    )
    const labelled = { x: data.x, y: data.y.reshape([shared, 1]) }
    const before = await net.evaluate(labelled)
    await net.fit(labelled, course)
    expect((await net.evaluate(labelled)).loss).toBeLessThan(before.loss)
    for (const made of models) made.dispose()
    for (const pointer of [...data.x, data.y]) pointer.dispose()
  })
})
