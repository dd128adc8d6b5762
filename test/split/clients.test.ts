import { batches, hook, type PointerTensor, SplitFed, SplitTurns, tf, VirtualWorker } from 'sotto'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { readyForTest } from '../backend.ts'
import { codeOf } from '../conformance/workers.ts'
import { dense, digits, RATE } from './forms.ts'

const [ROWS, WIDTH] = [192, 16]
let data: { images: tf.Tensor2D; labels: tf.Tensor1D }
beforeAll(async () => {
  await readyForTest()
  hook()
  data = await digits(ROWS)
})
afterAll(() => {
  data.images.dispose()
  data.labels.dispose()
})
const open: VirtualWorker[] = []
const worker = (id: string): VirtualWorker => {
  open.push(new VirtualWorker(id))
  return open.at(-1)!
}
afterEach(async () => {
  await Promise.all(open.splice(0).map((each) => each.close()))
})

const sgd = { kind: 'sgd', learningRate: RATE, momentum: 0.9 } as const
const models = () => [dense(784, WIDTH, 1, 'relu'), dense(WIDTH, 10, 2)] as const
/** Rows of each client: more for the second. */
const SHARES = [
  [0, 64],
  [64, 192],
] as const

function setUp() {
  const clients = [worker('ann'), worker('ben')]
  const server = worker('server')
  const own = SHARES.map(([from, to], i) => ({
    x: data.images.slice([from, 0], [to - from, 784]).send(clients[i]!),
    y: data.labels.slice([from], [to - from]).send(server),
  }))
  return { clients, server, own }
}

/** tfjs, alone: so many epochs on the rows of a client, in the order that its round has. */
function train(net: readonly tf.LayersModel[], optimizer: tf.Optimizer, client: number, seed: number): number {
  const [from, to] = SHARES[client]!
  let sum = 0
  for (const rows of batches(to - from, { batchSize: 64, seed: 1000 * seed + 1 })) {
    const loss = optimizer.minimize(() => {
      const chosen = tf.tensor1d(
        rows.map((row) => row + from),
        'int32',
      )
      const logits = net.reduce<tf.Tensor>((x, model) => model.apply(x) as tf.Tensor, data.images.gather(chosen))
      return tf
        .mul(tf.oneHot(data.labels.gather(chosen), 10), tf.logSoftmax(logits))
        .sum(1)
        .neg()
        .mean()
        .asScalar()
    }, true)!
    sum += loss.dataSync()[0]! * rows.length
  }
  return sum / (to - from)
}
const valuesOf = (net: readonly tf.LayersModel[]) =>
  net.flatMap((model) => model.getWeights().map((weight) => [...weight.dataSync()]))
const remoteValues = (parameters: readonly PointerTensor[]) =>
  Promise.all(parameters.map(async (parameter) => [...(await parameter.fetch()).dataSync()]))

describe('several clients with one server', () => {
  it('that take turns train as one net does on their rows in turn, its optimizer too', async () => {
    const { clients, server, own } = setUp()
    const [bottom, top] = models()
    const turns = new SplitTurns(
      clients,
      { model: bottom, optimizer: sgd },
      { model: top, worker: server, optimizer: sgd },
    )
    const history = await turns.fit(own, { rounds: 2, seed: 1 })
    const net = models()
    const optimizer = tf.train.momentum(RATE, 0.9)
    for (const { round, losses } of history) {
      const expected = [0, 1].map((client) => train(net, optimizer, client, 1e6 + 2 * (round - 1) + client))
      // Means over one and two batches, rounded to 24 bits at the server.
      for (const [i, loss] of losses.entries()) expect(Math.abs(loss! - expected[i]!)).toBeLessThan(4 * 2 ** -22)
    }
    const parameters = turns.net.segments.flatMap(({ model }) => model.parameters())
    // tfjs adds velocity times rate, as sgd with momentum here does: the same numbers.
    expect(await remoteValues(parameters)).toEqual(valuesOf(net))
    expect(turns.net.segments[0]!.worker).toBe(clients[1])
    // The segment and its optimizer are with one client at a time.
    expect(await Promise.all(clients.map((client) => client.objectCount()))).toEqual([1, 3])
    await turns.evaluate(0, own[0]!)
    expect(await Promise.all(clients.map((client) => client.objectCount()))).toEqual([3, 1])
    turns.dispose()
    expect(await Promise.all([...clients, server].map((each) => each.objectCount()))).toEqual([1, 1, 2])
  })

  it('that train at once come together by the rows that each has', async () => {
    const { clients, server, own } = setUp()
    const aggregator = worker('aggregator')
    const [bottom, top] = models()
    const fed = new SplitFed(
      clients,
      { model: bottom, optimizer: { kind: 'sgd', learningRate: RATE } },
      { model: top, worker: server, optimizer: { kind: 'sgd', learningRate: RATE } },
      { aggregator },
    )
    const rounds: number[] = []
    const trained: number[] = []
    await fed.fit(own, {
      rounds: 2,
      seed: 1,
      onBatch: ({ batch, batches }, client) => void trained.push(100 * client + 10 * batches + batch),
      onRound: ({ round }) => void rounds.push(round),
    })
    expect(rounds).toEqual([1, 2])
    // A batch of the first client, two of the second, twice.
    expect(trained.sort()).toEqual([11, 11, 121, 121, 122, 122])
    const nets = [models(), models()]
    for (let round = 1; round <= 2; round++) {
      for (const [client, net] of nets.entries()) {
        train(net, tf.train.sgd(RATE), client, 1e6 + 2 * (round - 1) + client)
      }
      const [a, b] = nets.map((net) => net.map((model) => model.getWeights()))
      const mean = a!.map((weights, i) =>
        weights.map((weight, j) => weight.mul(64 / 192).add(b![i]![j]!.mul(128 / 192))),
      )
      for (const net of nets) for (const [i, model] of net.entries()) model.setWeights(mean[i]!)
    }
    for (const net of fed.nets) {
      expect(await remoteValues(net.segments.flatMap(({ model }) => model.parameters()))).toEqual(valuesOf(nets[0]!))
    }
    // Nobody but the aggregator has seen a client's part.
    const seen = (await server.ledger()).filter(({ operation }) => operation !== 'send' && operation !== 'send model')
    expect(new Set(seen.map(({ operation }) => operation))).toEqual(new Set(['operand', 'move', 'gradient', 'fetch']))
    expect(seen.every(({ shape }) => shape.length < 2 || shape[0] !== 784)).toBe(true)
    expect((await aggregator.ledger()).filter(({ event, shape }) => event === 'came' && shape[0] === 784)).toHaveLength(
      2,
    )
    expect(await aggregator.objectCount()).toBe(0)
    fed.dispose()
    expect(await Promise.all([...clients, server].map((each) => each.objectCount()))).toEqual([1, 1, 2])
  })

  it('are refused unless there are some, each once, with data for each, and an aggregator', async () => {
    const { clients, server, own } = setUp()
    const [bottom, top] = models()
    const [first, last] = [
      { model: bottom, optimizer: sgd },
      { model: top, worker: server, optimizer: sgd },
    ]
    expect(await codeOf(() => new SplitTurns([], first, last))).toBe('ERR_ARGUMENT_TYPE')
    expect(await codeOf(() => new SplitTurns([clients[0]!, clients[0]!], first, last))).toBe('ERR_ARGUMENT_VALUE')
    expect(await codeOf(() => new SplitFed(clients, first, last, {} as never))).toBe('ERR_ARGUMENT_TYPE')
    const remote = { ...first, model: bottom.send(clients[0]!) }
    expect(await codeOf(() => new SplitFed(clients, remote as never, last, { aggregator: server }))).toBe(
      'ERR_ARGUMENT_TYPE',
    )
    const turns = new SplitTurns(clients, first, last)
    expect(await codeOf(() => turns.fit(own.slice(1)))).toBe('ERR_ARGUMENT_VALUE')
    expect(await codeOf(() => turns.fit(own, { round: 1 } as never))).toBe('ERR_ARGUMENT_VALUE')
    expect(await codeOf(() => turns.evaluate(2, own[0]!))).toBe('ERR_ARGUMENT_VALUE')
  })
})
