import { type Optimizer, optim, type PointerTensor, type RemoteModel, scope, tf, type Worker } from 'sotto'
import { beforeAll, describe, expect, it } from 'vitest'
import { settled } from '../backend.ts'
import { once } from '../once.ts'
import { codeOf, onEveryWorker } from './workers.ts'

const DATA = [
  [1, 1, 1],
  [0, 1, 1],
  [1, 0, 0],
  [0, 0, 0],
  [1, 1, 0],
  [0, 1, 0],
]
const TARGETS = [[1], [1], [0], [0], [1], [0]]

const dense = (seed = 1) =>
  tf.sequential({
    layers: [
      tf.layers.dense({
        units: 4,
        inputShape: [3],
        activation: 'tanh',
        kernelInitializer: tf.initializers.glorotUniform({ seed }),
      }),
      tf.layers.dense({ units: 1, kernelInitializer: tf.initializers.glorotUniform({ seed: seed + 1 }) }),
    ],
  })

const weightsOf = (model: tf.LayersModel) => model.getWeights().map((weight) => [...weight.dataSync()])

/** Steps that are compared; where the suite runs for the sake of the transport, fewer: each sends what the first has sent. */
const stepsOn = (kind: string, most: number): number =>
  kind === 'in process' || process.env['SOTTO_LONG'] ? most : most / 4

/** The same steps in one process, with tfjs's own optimizer. */
function trainLocally(model: tf.LayersModel, optimizer: tf.Optimizer, steps: number): number[] {
  const [x, y] = [tf.tensor(DATA), tf.tensor(TARGETS)]
  return Array.from({ length: steps }, () => {
    const loss = optimizer.minimize(
      () => (model.apply(x, { training: true }) as tf.Tensor).sub(y).square().mean(),
      true,
    )
    return loss!.dataSync()[0]!
  })
}

const step = (net: RemoteModel, opt: Optimizer, x: PointerTensor, y: PointerTensor) =>
  scope(() => {
    const loss = net.apply(x).sub(y).square().mean()
    loss.backward()
    opt.step()
    opt.zeroGrad()
    return loss
  })

const send = (bob: Worker) => ({ x: tf.tensor(DATA).send(bob), y: tf.tensor(TARGETS).send(bob) })

const optimizers: Record<string, [(p: PointerTensor[]) => Optimizer, () => tf.Optimizer]> = {
  sgd: [(p) => optim.sgd(p, { learningRate: 0.1 }), () => tf.train.sgd(0.1)],
  'sgd with momentum': [(p) => optim.sgd(p, { learningRate: 0.1, momentum: 0.9 }), () => tf.train.momentum(0.1, 0.9)],
  'sgd with nesterov': [
    (p) => optim.sgd(p, { learningRate: 0.1, momentum: 0.9, nesterov: true }),
    () => tf.train.momentum(0.1, 0.9, true),
  ],
  adam: [(p) => optim.adam(p, { learningRate: 0.05 }), () => tf.train.adam(0.05)],
  adamax: [
    (p) => optim.adamax(p, { learningRate: 0.05, decay: 0.01 }),
    () => tf.train.adamax(0.05, 0.9, 0.999, undefined, 0.01),
  ],
  adagrad: [(p) => optim.adagrad(p, { learningRate: 0.1 }), () => tf.train.adagrad(0.1)],
  rmsprop: [(p) => optim.rmsprop(p, { learningRate: 0.02 }), () => tf.train.rmsprop(0.02)],
  'rmsprop, centred, with momentum': [
    (p) => optim.rmsprop(p, { learningRate: 0.02, decay: 0.8, momentum: 0.5, centered: true }),
    () => tf.train.rmsprop(0.02, 0.8, 0.5, undefined, true),
  ],
  adadelta: [(p) => optim.adadelta(p, { learningRate: 1 }), () => tf.train.adadelta(1)],
}

/**
 * The same operations in the same order, but for powers: tfjs keeps β₂^t in float32, so that 1 − 0.999^t is off by up to
 * 2⁻²⁴/10⁻³ = 6·10⁻⁵ of itself, and the steps by half of that; here it is a double.
 */
function expectClose(loss: number, expected: number): void {
  expect(Math.abs(loss - expected)).toBeLessThan(6e-5 * Math.max(1, expected))
}

// Counts here are of all tensors: what other files have dropped goes before.
beforeAll(settled)

const localLosses = once((name: string) => trainLocally(dense(), optimizers[name]![1](), 20))

onEveryWorker((worker, kind) => {
  it.each(Object.keys(optimizers))('trains with %s as tfjs does locally', async (name) => {
    const [remote] = optimizers[name]!
    const bob = worker('bob')
    const net = dense().send(bob)
    const opt = remote(net.parameters())
    const { x, y } = send(bob)
    const losses = []
    for (let i = 0; i < stepsOn(kind, 20); i++) losses.push(await step(net, opt, x, y).get())
    const expected = localLosses(name)
    losses.forEach((loss, i) => {
      expectClose(loss.dataSync()[0]!, expected[i]!)
    })
  })

  it('brings the trained model home, as a model that can be used and sent again', async () => {
    const bob = worker('bob')
    const original = dense()
    const net = original.send(bob, { tags: ['#net'] })
    const opt = optim.sgd(net.parameters(), { learningRate: 0.1 })
    const { x, y } = send(bob)
    for (let i = 0; i < 5; i++) step(net, opt, x, y).dispose()
    const copy = await net.fetch()
    const trained = await net.get()
    expect(weightsOf(copy)).toEqual(weightsOf(trained))
    expect(weightsOf(trained)).not.toEqual(weightsOf(original))
    expect(trained.layers.map((layer) => layer.getConfig())).toEqual(original.layers.map((layer) => layer.getConfig()))
    const here = trained.predict(tf.tensor(DATA)) as tf.Tensor
    const there = await trained.send(bob).eval().apply(x).get()
    expect([...there.dataSync()]).toEqual([...here.dataSync()])
    expect(await codeOf(() => net.apply(x))).toBe('ERR_CONSUMED')
  })

  it('takes optimizers along with get, send and move', async () => {
    const [bob, alice] = [worker('bob'), worker('alice')]
    const there = { bob: send(bob), alice: send(alice) }
    let net = dense().send(bob)
    const opt = optim.adam(net.parameters(), { learningRate: 0.05 })
    const losses: number[] = []
    const train = async (at: 'bob' | 'alice') => {
      for (let i = 0; i < 4; i++) losses.push((await step(net, opt, there[at].x, there[at].y).get()).dataSync()[0]!)
    }
    await train('bob')
    net = net.move(alice)
    await train('alice')
    const home = await net.get()
    expect(await codeOf(() => opt.step())).toBe('ERR_CONSUMED')
    net = home.send(bob)
    await train('bob')
    const expected = trainLocally(dense(), tf.train.adam(0.05), 12)
    losses.forEach((loss, i) => {
      expectClose(loss, expected[i]!)
    })
    expect(await alice.objectCount()).toBe(2)
  })

  it('keeps a model on its worker, and goes on from there as it did before, bit for bit', async () => {
    const bob = worker('bob')
    const net = dense().send(bob)
    const { x, y } = send(bob)
    const opt = optim.adam(net.parameters(), { learningRate: 0.05 })
    const train = async () => {
      const losses = [step(net, opt, x, y), step(net, opt, x, y)].map((loss) => loss.get())
      return (await Promise.all(losses)).map((loss) => loss.dataSync()[0])
    }
    await train()
    const saved = await net.save('two')
    const before = await train()
    const [restored, after] = [net.restore('two'), await train()]
    expect(await restored).toEqual(saved)
    expect(after).toEqual(before)
    expect(saved).toMatchObject({ worker: 'bob', name: 'two', optimizers: [{ kind: 'adam', step: 2 }] })
    const { name, bytes, sha256, savedAt } = saved
    expect(await bob.checkpoints()).toEqual([{ name, bytes, sha256, savedAt }])
    expect(await codeOf(() => net.restore('three'))).toBe('ERR_UNKNOWN_CHECKPOINT')
    await bob.removeCheckpoint('two')
    expect(await bob.checkpoints()).toEqual([])
  })

  it('copies a model, and training one leaves the other', async () => {
    const bob = worker('bob')
    const net = dense().send(bob)
    const copy = net.copy()
    const { x, y } = send(bob)
    const opt = optim.sgd(net.parameters(), { learningRate: 0.1 })
    step(net, opt, x, y).dispose()
    expect(weightsOf(await copy.get())).toEqual(weightsOf(dense()))
    expect(weightsOf(await net.get())).not.toEqual(weightsOf(dense()))
  })

  it('leaves frozen layers as they are', async () => {
    const bob = worker('bob')
    const model = dense()
    model.layers[0]!.trainable = false
    const net = model.send(bob)
    expect(net.parameters()).toHaveLength(2)
    expect(net.weights()).toHaveLength(4)
    const opt = optim.sgd(net.parameters(), { learningRate: 0.1 })
    const { x, y } = send(bob)
    for (let i = 0; i < 3; i++) step(net, opt, x, y).dispose()
    const trained = await net.get()
    expect(trained.layers[0]!.getWeights().map((w) => [...w.dataSync()])).toEqual(
      dense()
        .layers[0]!.getWeights()
        .map((w) => [...w.dataSync()]),
    )
    expect(trained.layers[0]!.trainable).toBe(false)
    expect([...trained.layers[1]!.getWeights()[0]!.dataSync()]).not.toEqual([
      ...dense().layers[1]!.getWeights()[0]!.dataSync(),
    ])
  })

  it('runs functional models with several inputs and outputs', async () => {
    const bob = worker('bob')
    const [a, b] = [tf.input({ shape: [2] }), tf.input({ shape: [3] })]
    const joined = tf.layers.concatenate().apply([a, b]) as tf.SymbolicTensor
    const [p, q] = [1, 2].map(
      (units) => tf.layers.dense({ units, kernelInitializer: 'ones' }).apply(joined) as tf.SymbolicTensor,
    )
    const model = tf.model({ inputs: [a, b], outputs: [p!, q!] })
    const net = model.send(bob)
    const [left, right] = [tf.ones([4, 2]).send(bob), tf.ones([4, 3]).send(bob)]
    const [one, two] = net.apply<PointerTensor[]>([left, right])
    expect([one!.shape, two!.shape]).toEqual([
      [4, 1],
      [4, 2],
    ])
    expect([...(await two!.get()).dataSync()]).toEqual(Array(8).fill(5))
    one!.sum().backward()
    expect([...(await net.parameters()[0]!.grad!.fetch()).dataSync()]).toEqual(Array(5).fill(4))
  })

  it('drops and learns statistics in training, and not in evaluation', async () => {
    const bob = worker('bob')
    const model = tf.sequential({
      layers: [tf.layers.batchNormalization({ inputShape: [2] }), tf.layers.dropout({ rate: 0.5, seed: 3 })],
    })
    const net = model.send(bob)
    const x = tf
      .tensor([
        [1, 2],
        [3, 5],
      ])
      .send(bob)
    const mean = () =>
      net
        .weights()[2]!
        .fetch()
        .then((w) => [...w.dataSync()])
    expect([...(await net.eval().apply(x).get()).dataSync()].every((v) => v !== 0)).toBe(true)
    expect(await mean()).toEqual([0, 0])
    net.train().apply(x)
    expect((await mean())[0]).toBeCloseTo(0.02, 6)
    net.apply(x, { training: false })
    expect((await mean())[0]).toBeCloseTo(0.02, 6)
  })

  it('refuses inputs that do not fit, at the line that wrote it', async () => {
    const [bob, alice] = [worker('bob'), worker('alice')]
    const net = dense().send(bob)
    expect(await codeOf(() => net.apply(tf.ones([2, 4]).send(bob)))).toBe('ERR_SHAPE')
    expect(await codeOf(() => net.apply(tf.ones([2, 3]).send(alice)))).toBe('ERR_NOT_COLLOCATED')
    expect(await codeOf(() => net.apply(tf.ones([2, 3]) as never))).toBe('ERR_LOCAL_OPERAND')
    expect(await codeOf(() => optim.sgd([tf.ones([2]).send(bob)], { learningRate: 1 }))).toBe('ERR_NOT_LEAF')
    expect(await codeOf(() => optim.sgd(net.parameters()))).toBe('ERR_ARGUMENT_VALUE')
    expect(await codeOf(() => optim.adam(net.parameters(), { rate: 1 } as never))).toBe('ERR_ARGUMENT_VALUE')
  })

  it('trains loose leaves, over several workers with one optimizer', async () => {
    const [bob, alice] = [worker('bob'), worker('alice')]
    const a = tf.tensor([4]).send(bob, { requiresGrad: true })
    const b = tf.tensor([2]).send(alice, { requiresGrad: true })
    const opt = optim.sgd([a, b], { learningRate: 0.25 })
    a.square().sum().backward()
    b.square().sum().backward()
    opt.step()
    opt.learningRate = 0.5
    opt.zeroGrad()
    a.square().sum().backward()
    opt.step()
    expect([...(await a.fetch()).dataSync(), ...(await b.fetch()).dataSync()]).toEqual([0, 1])
  })

  it('takes momentum up from rest when settings bring it, and none along when they take it away', async () => {
    const [bob, alice] = [worker('bob'), worker('alice')]
    const layer = tf.layers.dense({ units: 1, inputShape: [1], useBias: false, kernelInitializer: 'zeros' })
    let net = tf.sequential({ layers: [layer] }).send(bob)
    let one = tf.ones([1, 1]).send(bob)
    const opt = optim.sgd(net.parameters(), { learningRate: 1 })
    const values: number[] = []
    const train = async (momentum: number) => {
      opt.configure({ momentum })
      for (let i = 0; i < 2; i++) {
        scope(() => net.apply(one).sum().backward())
        opt.step()
        opt.zeroGrad()
      }
      values.push((await net.parameters()[0]!.fetch()).dataSync()[0]!)
    }
    // The gradient is 1: two steps take 1 + 1 without momentum, and 1 + 1.5 with 0.5 of it from rest.
    for (const momentum of [0, 0.5, 0]) await train(momentum)
    opt.configure({ momentum: 0.5 })
    // What it keeps fits its settings at any moment: it can go along.
    net = net.move(alice)
    one = one.move(alice)
    await train(0.5)
    expect(values).toEqual([-2, -4.5, -6.5, -9])
  })

  it('gives a model without the optimizer that was disposed of', async () => {
    const bob = worker('bob')
    const net = dense().send(bob)
    const { x, y } = send(bob)
    const opt = optim.adam(net.parameters())
    step(net, opt, x, y).dispose()
    opt.dispose()
    expect(weightsOf(await net.get())).toHaveLength(4)
    expect((await bob.objects()).map(({ kind }) => kind)).toEqual(['tensor', 'tensor'])
  })

  it('frees the model and all it held', async () => {
    const bob = worker('bob')
    const { x, y } = send(bob)
    await bob.flush()
    const local = dense()
    const before = [tf.memory().numTensors, await bob.objectCount()]
    scope(() => {
      const net = local.send(bob)
      const opt = optim.adam(net.parameters())
      step(net, opt, x, y)
      opt.dispose()
    })
    await bob.flush()
    expect([tf.memory().numTensors, await bob.objectCount()]).toEqual(before)
  })

  it('shows a summary without values', () => {
    const text = dense().send(worker('bob')).summary()
    expect(text).toMatch(/on bob, 21 weights/)
    expect(text).toMatch(/\[3,4\]/)
  })
})

describe('networks that tfjs alone cannot train on wasm', () => {
  const lenet = () =>
    tf.sequential({
      layers: [
        tf.layers.conv2d({
          filters: 4,
          kernelSize: 5,
          inputShape: [14, 14, 1],
          activation: 'relu',
          kernelInitializer: tf.initializers.glorotUniform({ seed: 1 }),
        }),
        tf.layers.maxPooling2d({ poolSize: 2 }),
        tf.layers.conv2d({
          filters: 6,
          kernelSize: 3,
          activation: 'tanh',
          kernelInitializer: tf.initializers.glorotUniform({ seed: 2 }),
        }),
        tf.layers.averagePooling2d({ poolSize: 2, strides: 1 }),
        tf.layers.flatten(),
        tf.layers.dense({ units: 10, kernelInitializer: tf.initializers.glorotUniform({ seed: 3 }) }),
      ],
    })
  const lstm = () =>
    tf.sequential({
      layers: [
        tf.layers.embedding({
          inputDim: 30,
          outputDim: 6,
          inputLength: 8,
          embeddingsInitializer: tf.initializers.randomUniform({ minval: -0.5, maxval: 0.5, seed: 1 }),
        }),
        tf.layers.lstm({
          units: 5,
          kernelInitializer: tf.initializers.glorotUniform({ seed: 2 }),
          recurrentInitializer: tf.initializers.glorotUniform({ seed: 3 }),
        }),
        tf.layers.dense({ units: 2, kernelInitializer: tf.initializers.glorotUniform({ seed: 4 }) }),
      ],
    })
  const nets = {
    'a LeNet-like conv net': [lenet, () => tf.randomUniform([8, 14, 14, 1], -1, 1, 'float32', 5), 10],
    'an LSTM text model': [lstm, () => tf.randomUniform([8, 8], 0, 30, 'int32', 6), 2],
  } as const

  const STEPS = 12
  type Net = keyof typeof nets
  const made = (name: Net) => {
    const [make, input, classes] = nets[name]
    const ys = tf.range(0, 8, 1, 'int32').mod(tf.scalar(classes, 'int32')).cast('int32') as tf.Tensor1D
    return { model: make() as tf.Sequential, xs: input(), ys, classes }
  }
  const localLosses = once((name: Net) => {
    const { model, xs, ys, classes } = made(name)
    const sgd = tf.train.sgd(0.1)
    const oneHot = tf.oneHot(ys, classes)
    const loss = () => tf.losses.softmaxCrossEntropy(oneHot, model.apply(xs, { training: true }) as tf.Tensor)
    return Array.from({ length: STEPS }, () => sgd.minimize(() => loss() as tf.Scalar, true)!.dataSync()[0]!)
  })

  onEveryWorker((worker, kind) => {
    it.each(Object.keys(nets) as Net[])('%s trains on a worker as it does locally', async (name) => {
      const bob = worker('bob')
      const { model, xs, ys } = made(name)
      const net = model.send(bob)
      const opt = optim.sgd(net.parameters(), { learningRate: 0.1 })
      const [x, y] = [xs.send(bob), ys.send(bob)]
      for (let i = 0; i < stepsOn(kind, STEPS); i++) {
        const loss = scope(() => {
          const value = net.apply(x).softmaxCrossEntropy(y)
          value.backward()
          opt.step()
          opt.zeroGrad()
          return value
        })
        const [remote] = (await loss.get()).dataSync()
        const plain = localLosses(name)[i]!
        expect(Math.abs(remote! - plain) / plain, `step ${i}`).toBeLessThan(1e-4)
      }
    })
  })
})
