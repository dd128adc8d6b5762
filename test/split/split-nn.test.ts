import { distanceCorrelation, hook, optim, SplitNN, tf, VirtualWorker } from 'sotto'
import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import { readyForTest } from '../backend.ts'
import { codeOf } from '../conformance/workers.ts'
import { dense } from './forms.ts'

beforeAll(async () => {
  await readyForTest()
  hook()
})
const open: VirtualWorker[] = []
const worker = (id: string): VirtualWorker => {
  open.push(new VirtualWorker(id))
  return open.at(-1)!
}
afterEach(async () => {
  await Promise.all(open.splice(0).map((each) => each.close()))
})

const sgd = { kind: 'sgd', learningRate: 0.1 } as const
const inputs = () => tf.randomNormal([6, 4], 0, 1, 'float32', 1)
const classes = () => tf.tensor1d([0, 1, 2, 0, 1, 2], 'int32')
const pair = (options = {}, more = {}) => {
  const [alice, bob] = [worker('alice'), worker('bob')]
  const net = new SplitNN(
    [
      { model: dense(4, 5, 1, 'tanh'), worker: alice, optimizer: sgd, ...more },
      { model: dense(5, 3, 2), worker: bob, optimizer: sgd },
    ],
    options,
  )
  return { alice, bob, net, x: inputs().send(alice), y: classes().send(bob) }
}
const weightsOf = async (net: SplitNN): Promise<number[][]> =>
  Promise.all(
    net.segments
      .flatMap(({ model }) => model.parameters())
      .map(async (parameter) => [...(await parameter.fetch()).dataSync()]),
  )
const numberIn = async (pointer: { fetch(): Promise<tf.Tensor> }) => (await pointer.fetch()).dataSync()[0]!

describe('a split network', () => {
  it('trains by hand as it trains by batches', async () => {
    const one = pair()
    const other = pair()
    for (let step = 0; step < 3; step++) {
      const output = one.net.forward(one.x)
      const loss = one.net.loss(output, one.y)
      one.net.backward(loss)
      one.net.step()
      one.net.zeroGrad()
      expect(await numberIn(loss)).toBe(await numberIn(other.net.trainBatch(other.x, other.y)))
    }
    expect(await weightsOf(one.net)).toEqual(await weightsOf(other.net))
  })

  it('takes a gradient of its output where the loss is somewhere else', async () => {
    const one = pair()
    const other = pair()
    one.net.backward(one.net.loss(one.net.forward(one.x), one.y))
    const output = other.net.forward(other.x)
    const seed = output.detach().requireGrad()
    other.net.loss(seed, other.y).backward()
    other.net.backward(output, seed.grad!)
    one.net.step()
    other.net.step()
    expect(await weightsOf(one.net)).toEqual(await weightsOf(other.net))
  })

  it('adds up gradients until it is told to drop them', async () => {
    const { net, x, y } = pair()
    const gradient = async () => [...(await net.segments[0]!.model.parameters()[0]!.grad!.fetch()).dataSync()]
    net.backward(net.loss(net.forward(x), y))
    const once = await gradient()
    net.backward(net.loss(net.forward(x), y))
    expect(await gradient()).toEqual(once.map((value) => 2 * value))
    net.zeroGrad()
    expect(net.segments[0]!.model.parameters()[0]!.grad).toBeNull()
  })

  it('takes optimizers by settings, by function, and one for several segments; and trains no segment without one', async () => {
    const [alice, bob] = [worker('alice'), worker('bob')]
    const [near, far] = [dense(4, 5, 1, 'tanh').send(alice), dense(5, 3, 2).send(bob)]
    const both = optim.sgd([...near.parameters(), ...far.parameters()], { learningRate: 0.1 })
    const shared = new SplitNN([
      { model: near, optimizer: both },
      { model: far, optimizer: both },
    ])
    const apart = pair()
    const byFunction = new SplitNN([
      { model: dense(4, 5, 1, 'tanh'), worker: alice, optimizer: (parameters) => optim.sgd(parameters, sgd2) },
      { model: dense(5, 3, 2), worker: bob, optimizer: sgd },
    ])
    const [x, y] = [inputs().send(alice), classes().send(bob)]
    for (let step = 0; step < 2; step++) {
      shared.trainBatch(x, y)
      byFunction.trainBatch(x, y)
      apart.net.trainBatch(apart.x, apart.y)
    }
    expect(await weightsOf(shared)).toEqual(await weightsOf(apart.net))
    expect(await weightsOf(byFunction)).toEqual(await weightsOf(apart.net))
    const frozen = new SplitNN([
      { model: dense(4, 5, 1, 'tanh'), worker: alice },
      { model: dense(5, 3, 2), worker: bob, optimizer: sgd },
    ])
    const [before] = await weightsOf(frozen)
    frozen.trainBatch(x, y)
    expect((await weightsOf(frozen))[0]).toEqual(before)
  })

  it('behaves as in use when it predicts and evaluates, and as before afterwards', async () => {
    const [alice, bob] = [worker('alice'), worker('bob')]
    const drop = tf.sequential({ layers: [tf.layers.dropout({ rate: 0.9, inputShape: [4] })] })
    const net = new SplitNN([
      { model: drop, worker: alice },
      { model: dense(4, 3, 2), worker: bob, optimizer: sgd },
    ])
    const [x, y] = [inputs().send(alice), classes().send(bob)]
    const first = await net.predict(x).get()
    expect([...first.dataSync()]).toEqual([...(await net.predict(x, { batchSize: 4 }).get()).dataSync()])
    expect(first.shape).toEqual([6, 3])
    expect(net.isTraining).toBe(true)
    const { loss, accuracy, rows } = await net.evaluate({ x, y }, { batchSize: 4 })
    const scores = await net.eval().forward(x).get()
    const expected = tf.losses.softmaxCrossEntropy(tf.oneHot(classes(), 3), scores).dataSync()[0]!
    // Two means of four and two rows are rounded to 24 bits, as is that of six.
    expect(Math.abs(loss - expected)).toBeLessThan(4 * 2 ** -23 * expected)
    const hits = scores.argMax(1).equal(classes()).sum().dataSync()[0]!
    // A mean of ones and zeros, times the number of rows: rounded once each way.
    expect(Math.abs(accuracy! * 6 - hits)).toBeLessThan(1e-5)
    expect(rows).toBe(6)
    expect(net.isTraining).toBe(false)
  })

  it('keeps what distance correlation asks for in its loss, by hand and by batches', async () => {
    const weight = 0.5
    const plain = pair()
    const near = pair({}, { noPeek: weight })
    // By hand: the task's gradient and the penalty's, one after the other.
    const parameters = plain.net.segments[0]!.model
    const activations = parameters.apply(plain.x)
    distanceCorrelation(plain.x, activations).mul(weight).backward(undefined, { retainGraph: true })
    const [, far] = plain.net.segments
    const cut = activations.move(plain.bob, { requiresGrad: true })
    plain.net.loss(far!.model.apply(cut), plain.y).backward()
    plain.net.step()
    near.net.trainBatch(near.x, near.y)
    expect(await weightsOf(near.net)).toEqual(await weightsOf(plain.net))
    const byHand = pair({}, { noPeek: weight })
    byHand.net.backward(byHand.net.loss(byHand.net.forward(byHand.x), byHand.y))
    byHand.net.step()
    expect(await weightsOf(byHand.net)).toEqual(await weightsOf(plain.net))
  })

  it('gives away activations that are clipped and noisy where its owner says so, in training and in use', async () => {
    const { net, x } = pair({}, { noise: { clip: 1, noiseMultiplier: 0.5 } })
    const [one, two] = [await net.predict(x).get(), await net.predict(x).get()]
    expect([...one.dataSync()]).not.toEqual([...two.dataSync()])
    const clipped = pair({}, { noise: { clip: 1e-6, noiseMultiplier: 0 } })
    const scores = await clipped.net.predict(clipped.x).get()
    // Rows of norm 1e-6 through a kernel of norm below 3: next to nothing is left.
    expect(scores.abs().max().dataSync()[0]!).toBeLessThan(3e-6)
  })

  it('frees what it sent when it is disposed of', async () => {
    const { net, alice, bob } = pair()
    net.dispose()
    expect(await Promise.all([alice.objectCount(), bob.objectCount()])).toEqual([1, 1])
  })

  it('refuses segments that do not fit, before anything is sent', async () => {
    const [alice, bob] = [worker('alice'), worker('bob')]
    const first = { model: dense(4, 5, 1), worker: alice }
    const last = { model: dense(5, 3, 2), worker: bob }
    const make = (segments: unknown, options = {}) => codeOf(() => new SplitNN(segments as never, options))
    expect(await make([])).toBe('ERR_ARGUMENT_TYPE')
    expect(await make([first, { ...last, model: dense(6, 3, 2) }])).toBe('ERR_SHAPE')
    expect(await make([[first, first], last])).toBe('ERR_SHAPE')
    expect(await make([[first, { ...first, model: dense(4, 6, 1) }], last], { join: 'sum' })).toBe('ERR_SHAPE')
    expect(await make([[first, first]])).toBe('ERR_ARGUMENT_VALUE')
    expect(await make([first, [last, last]])).toBe('ERR_ARGUMENT_VALUE')
    expect(await make([first, { ...last, noPeek: 1 }])).toBe('ERR_ARGUMENT_VALUE')
    expect(await make([{ ...first, noPeek: -1 }, last])).toBe('ERR_ARGUMENT_VALUE')
    expect(await make([first, last], { join: 'product' })).toBe('ERR_ARGUMENT_VALUE')
    expect(await make([first, last], { loss: 'hinge' })).toBe('ERR_ARGUMENT_VALUE')
    expect(await make([first, last], { microBatches: 0 })).toBe('ERR_ARGUMENT_VALUE')
    expect(await make([first, { ...last, worker: 'bob' }])).toBe('ERR_ARGUMENT_TYPE')
    expect(await make([first, { ...last, optimizer: { kind: 'lbfgs' } }])).toBe('ERR_ARGUMENT_TYPE')
    expect(await make([first, { ...last, optimiser: sgd }])).toBe('ERR_ARGUMENT_VALUE')
    expect(await make([{ ...first, model: dense(4, 5, 1).send(bob) }, last])).toBe('ERR_NOT_COLLOCATED')
    for (const each of [alice, bob]) await each.flush()
  })

  it('refuses data that is not where it belongs', async () => {
    const { net, x, y, bob } = pair()
    expect(await codeOf(() => net.forward(inputs().send(bob)))).toBe('ERR_NOT_COLLOCATED')
    expect(await codeOf(() => net.trainBatch(x, x))).toBe('ERR_NOT_COLLOCATED')
    expect(await codeOf(() => net.trainBatch([x, x], y))).toBe('ERR_SHAPE')
    expect(await codeOf(() => net.forward('x' as never))).toBe('ERR_ARGUMENT_TYPE')
    expect(await codeOf(() => net.predict(x, { batchSize: 0 }))).toBe('ERR_ARGUMENT_VALUE')
    // And goes on.
    expect(await numberIn(net.trainBatch(x, y))).toBeGreaterThan(0)
  })
})

const sgd2 = { learningRate: 0.1 }
