import {
  alignedDataset,
  type Code,
  hook,
  type PointerTensor,
  tf,
  type VerticalData,
  VerticalLogisticRegression,
  type Worker,
} from 'sotto'
import { beforeAll, describe, expect, it } from 'vitest'
import type { protocols } from '../../src/smpc/protocols/index.ts'
import { readyForTest } from '../backend.ts'
import { codeOf } from '../conformance/workers.ts'
import {
  COLUMNS,
  type Descent,
  descended,
  distance,
  half,
  joined,
  onWorkers,
  people,
  straight,
  UNIT,
  whoseRows,
  workersOfTests,
} from '../split/people.ts'

beforeAll(async () => {
  await readyForTest()
  hook()
})

const worker = workersOfTests()

/** Two owners who share between them with a provider, or among three. */
const groups = {
  additive: ([bob, alice, carol]: Worker[]) => [[bob!, alice!], { provider: carol! }] as const,
  replicated: (all: Worker[]) => [all, { protocol: 'replicated' }] as const,
} satisfies Record<keyof typeof protocols, unknown>
const three = () => ['bob', 'alice', 'carol'].map(worker)

const values = async (pointer: PointerTensor): Promise<number[]> => [...(await pointer.fetch()).dataSync()]

describe('VerticalLogisticRegression', () => {
  it('on aligned rows comes to what descent on the joined table comes to', async () => {
    const [bob, alice, carol] = three() as [Worker, Worker, Worker]
    const all = people(120, 1)
    const { owners, shared } = onWorkers(all, bob, alice)
    const data = await alignedDataset(owners, { protocol: 'curve' })
    const rows = whoseRows(all, 1, await data.x[1]!.fetch())
    const course: Descent = { epochs: 4, batchSize: 16, learningRate: 0.5, seed: 1 }
    const plain = descended(joined(all, rows), course)
    using model = new VerticalLogisticRegression([bob, alice], { provider: carol })
    await model.fit(data, course)
    const { loss, accuracy, ...rest } = await model.evaluate(data)
    expect(rest).toEqual({ rows: shared })
    expect(Math.abs(loss - plain.loss)).toBeLessThan(0.002 * plain.loss)
    expect(Math.abs(accuracy - plain.accuracy)).toBeLessThan(0.002)
    // It has learnt something: guessing has a loss of ln 2.
    expect(loss).toBeLessThan(0.55)
  })

  describe.each(Object.keys(groups) as (keyof typeof groups)[])('of %s sharing', (protocol) => {
    it.each(['smooth', 'piecewise'] as const)('makes the steps that are made in clear, %s', async (sigmoid) => {
      const workers = three()
      const [bob, alice] = workers as [Worker, Worker]
      const all = people(40, 2)
      const everybody = [...all.ids.keys()]
      const [first, second] = [half(all, 0, everybody), half(all, 1, everybody)]
      const data = { x: [first.x.send(bob), second.x.send(alice)], y: second.y.send(alice) }
      const course: Descent = { epochs: 2, batchSize: 12, learningRate: 0.5, seed: 3, l2: 0.01 }
      const [parties, options] = groups[protocol](workers)
      using model = new VerticalLogisticRegression(parties, { ...options, sigmoid })
      const { epochs } = await model.fit(data, course)
      expect(epochs.map(({ epoch }) => epoch)).toEqual([1, 2])
      if (protocol === 'additive') expect(epochs[0]!.cost.rounds).toBe(sigmoid === 'smooth' ? 15 : 11)
      const plain = descended(all, course, sigmoid === 'smooth' ? undefined : straight)
      const weights = model.weights()
      expect(weights.map(({ location }) => location.id)).toEqual(['bob', 'alice'])
      const learnt = [...(await Promise.all(weights.map(values))).flat(), ...(await values(model.bias()))]
      const most = distance(2 * 4, sigmoid === 'piecewise')
      for (const [i, weight] of [...plain.weights, plain.bias].entries()) {
        expect(Math.abs(learnt[i]! - weight), `weight ${i}`).toBeLessThan(most)
      }
      // The tolerance is far below what the weights are.
      expect(Math.max(...plain.weights.map(Math.abs))).toBeGreaterThan(100 * most)
    })
  })

  /** Two owners with five rows each, on workers that share between them. */
  function small(rights: object = {}) {
    const [bob, alice, carol] = three() as [Worker, Worker, Worker]
    const all = people(10, 4)
    const [first, second] = [half(all, 0, [...all.ids.keys()]), half(all, 1, [...all.ids.keys()])]
    const owns = [bob.as('bob'), alice.as('alice')]
    // Owners say at every worker whom they mean by these names: where their data is, and where shares of it will be.
    const workers = [bob, alice, carol]
    for (const at of workers) {
      for (const { id } of owns) at.as(id).addWorkers(workers.filter((other) => other !== at))
    }
    first.x.send(owns[0]!, { private: true, tags: ['#x'], ...rights })
    second.x.send(owns[1]!, { private: true, tags: ['#x'], ...rights })
    second.y.send(owns[1]!, { private: true, tags: ['#y'], ...rights })
    const found = async (): Promise<VerticalData> => {
      await Promise.all(owns.map((own) => own.flush()))
      const [x, others, y] = await Promise.all([bob.search(['#x']), alice.search(['#x']), alice.search(['#y'])])
      return { x: [x[0]!, others[0]!], y: y[0]! }
    }
    return { bob, alice, carol, owns, found, first, second }
  }
  const all = ['bob', 'alice', 'carol']
  const course = { learningRate: 0.5, batchSize: 5 } as const

  it('opens to each owner its own weights, to that of labels two sums, and to nobody anything else', async () => {
    const { bob, alice, carol, owns, found } = small({ allowShares: all, allowResults: ['bob', 'alice'] })
    const data = await found()
    using model = new VerticalLogisticRegression([bob, alice], { provider: carol })
    await model.fit(data, course)
    const weights = model.weights({ tags: ['#weights'] })
    expect(await codeOf(() => model.evaluate(data))).toBe('ERR_PERMISSION')
    for (const pointer of weights) expect(await codeOf(() => pointer.fetch())).toBe('ERR_PERMISSION')
    const [mine] = await owns[0]!.search(['#weights'])
    expect((await mine!.fetch()).shape).toEqual([COLUMNS, 1])
    // Nothing can be opened to the caller.
    expect(await codeOf(() => model.predict(data.x).reveal())).toBe('ERR_PERMISSION')
    const ledgers = await Promise.all([bob, alice, carol].map((at) => at.ledger()))
    // Besides what they brought themselves, and the constants of approximations, which the caller sends.
    const came = ledgers.flat().filter(({ event, from, to }) => event === 'came' && from !== to && from !== 'me')
    const seen = came.map(
      ({ to, from, operation, shape, count }) => `${to}, ${count} × ${operation} [${shape}] of ${from}`,
    )
    expect([...seen].sort()).toEqual([
      `alice, 1 × reveal [${COLUMNS},1] of bob + alice`,
      'alice, 1 × reveal [] of bob + alice',
      'alice, 1 × reveal [] of bob + alice',
      `bob, 1 × reveal [${COLUMNS},1] of bob + alice`,
    ])
    const left = ledgers.flat().filter(({ event }) => event === 'left')
    expect(left.map(({ to, operation, shape }) => `${to} ${operation} [${shape}]`)).toEqual([
      `bob fetch [${COLUMNS},1]`,
    ])
  })

  it('leaves what owners have not allowed to be shared where it is, and their workers go on', async () => {
    const { bob, alice, carol, found, first, second } = small({ allowShares: ['bob', 'alice'] })
    const data = await found()
    const options = { provider: carol }
    expect(await codeOf(() => new VerticalLogisticRegression([bob, alice], options).fit(data, course))).toBe(
      'ERR_PERMISSION',
    )
    const open = { x: [first.x.send(bob), second.x.send(alice)], y: second.y.send(alice) }
    using model = new VerticalLogisticRegression([bob, alice], options)
    await model.fit(open, course)
    expect((await model.evaluate(open)).rows).toBe(10)
  })

  it('goes on from where it was, and predicts what its weights say, as a secret', async () => {
    const { bob, alice, carol, first, second } = small()
    const data = { x: [first.x.send(bob), second.x.send(alice)], y: second.y.reshape([10, 1]).send(alice) }
    const plainOrder = { ...course, shuffle: false }
    using model = new VerticalLogisticRegression([bob, alice], { provider: carol })
    await model.fit(data, plainOrder)
    await model.fit(data, plainOrder)
    using other = new VerticalLogisticRegression([alice, bob], { provider: carol })
    await other.fit(data, { ...plainOrder, epochs: 2 })
    const [a, b] = await Promise.all([model, other].map(async (one) => (await one.predict(data.x).reveal()).dataSync()))
    expect(a!.length).toBe(10)
    // Two courses of four steps each; of the predictor and the sigmoid as above.
    const most = 2 * (10 * distance(4, false) + 9 * UNIT)
    for (const [i, p] of a!.entries()) expect(Math.abs(p - b![i]!)).toBeLessThan(most)
    const weights = (await Promise.all(model.weights().map(values))).flat()
    const [bias] = await values(model.bias())
    const rows = tf.concat([first.x, second.x], 1).arraySync() as number[][]
    rows.forEach((row, i) => {
      const u = row.reduce((sum, x, k) => sum + x * weights[k]!, bias!)
      expect(Math.abs(1 / (1 + Math.exp(-u)) - a![i]!)).toBeLessThan(9 * UNIT)
    })
    expect(String(model)).toBe('VerticalLogisticRegression on 3 columns of bob and 3 columns of alice among bob, alice')
  })

  it('ends between two batches by its signal, and frees what it has shared', async () => {
    const { bob, alice, carol, first, second } = small()
    const data = { x: [first.x.send(bob), second.x.send(alice)], y: second.y.send(alice) }
    const before = await Promise.all([bob, alice].map(async (at) => (await at.stats()).objects))
    const model = new VerticalLogisticRegression([bob, alice], { provider: carol })
    const given = new AbortController()
    const onEpoch = () => given.abort()
    expect(await codeOf(() => model.fit(data, { ...course, epochs: 5, onEpoch, signal: given.signal }))).toBe(
      'ERR_ABORTED',
    )
    await model.evaluate(data)
    model.dispose()
    expect(await Promise.all([bob, alice].map(async (at) => (await at.stats()).objects))).toEqual(before)
    expect(await codeOf(() => model.evaluate(data))).toBe('ERR_ARGUMENT_VALUE')
  })

  it('refuses what does not fit, before anything is shared', async () => {
    const { bob, alice, carol, first, second } = small()
    const options = { provider: carol }
    const [x, z, y] = [first.x.send(bob), second.x.send(alice), second.y.send(alice)]
    const short = z.slice([0, 0], [9, COLUMNS])
    const make = (parties: Worker[], given: object) => () => new VerticalLogisticRegression(parties, given)
    expect(await codeOf(make([bob, alice], { provider: bob }))).toBe('ERR_PARTIES')
    expect(await codeOf(make([bob, alice], { ...options, sigmoid: 'rough' }))).toBe('ERR_ARGUMENT_VALUE')
    using model = new VerticalLogisticRegression([bob, alice], options)
    const refusals: [Code, unknown, object?][] = [
      ['ERR_ARGUMENT_TYPE', { x: [], y }],
      ['ERR_ARGUMENT_TYPE', { x: [x, z], y: second.y }],
      ['ERR_SHAPE', { x: [x, short], y }],
      ['ERR_SHAPE', { x: [x, y], y }],
      ['ERR_SHAPE', { x: [x, z], y: y.slice([0], [9]) }],
      ['ERR_SHAPE', { x: [x, z], y: z }],
      ['ERR_ARGUMENT_VALUE', { x: [x, z], y }, { learningRate: 0 }],
      ['ERR_ARGUMENT_VALUE', { x: [x, z], y }, { learningRate: 1, momentum: 0.9 }],
    ]
    for (const [code, data, given = course] of refusals) {
      expect(await codeOf(() => model.fit(data as VerticalData, given as typeof course)), code).toBe(code)
    }
    expect(await codeOf(() => model.weights())).toBe('ERR_ARGUMENT_VALUE')
    await model.fit({ x: [x, z], y }, course)
    expect(await codeOf(() => model.predict([x]))).toBe('ERR_SHAPE')
  })
})
