import { hook, optim, SharedModel, type SharedTensor, scope, tf, VirtualWorker } from 'sotto'
import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { GroupOptions } from '../../src/smpc/group.ts'
import { type ProtocolName, protocols } from '../../src/smpc/protocols/index.ts'
import { readyForTest, settled } from '../backend.ts'
import { codeOf } from '../conformance/workers.ts'

let workers: VirtualWorker[] = []
let provider: VirtualWorker
beforeAll(async () => {
  await readyForTest()
  hook()
})
afterEach(async () => {
  await Promise.all([...workers, provider].map((worker) => worker.close()))
})

/** So many parties, and of additive sharing a provider. */
function parties(
  count: number,
  protocol: ProtocolName = 'additive',
): { parties: VirtualWorker[]; options: GroupOptions } {
  workers = ['bob', 'alice', 'jane'].slice(0, count).map((name) => new VirtualWorker(name))
  provider = new VirtualWorker('carol')
  return { parties: workers, options: protocol === 'additive' ? { provider } : { protocol } }
}

const seeded = (seed: number) => ({ kernelInitializer: tf.initializers.glorotUniform({ seed }) })
const input = (shape: number[], seed = 1) => tf.randomUniform(shape, -1, 1, 'float32', seed)

/** Statistics and scales that are not those a layer starts with. */
function disturbed(model: tf.LayersModel): tf.LayersModel {
  tf.tidy(() => {
    model.setWeights(
      model
        .getWeights()
        .map((weight, i) => weight.add(tf.abs(tf.randomUniform(weight.shape, 0.01, 0.2, 'float32', i)))),
    )
  })
  return model
}

/** Models of every layer there is in secret, with the shape of an input. */
const models: Readonly<Record<string, () => { model: tf.LayersModel; shape: number[] }>> = {
  'dense layers with relu, sigmoid and dropout': () => ({
    shape: [5, 6],
    model: tf.sequential({
      layers: [
        tf.layers.dense({ units: 8, activation: 'relu', inputShape: [6], ...seeded(1) }),
        tf.layers.dropout({ rate: 0.5 }),
        tf.layers.dense({ units: 3, activation: 'sigmoid', ...seeded(2) }),
      ],
    }),
  }),
  'a convolution, normalisation, pooling and softmax': () => ({
    shape: [2, 8, 8, 2],
    model: tf.sequential({
      layers: [
        tf.layers.conv2d({ filters: 3, kernelSize: 3, padding: 'same', inputShape: [8, 8, 2], ...seeded(3) }),
        tf.layers.batchNormalization(),
        tf.layers.activation({ activation: 'relu' }),
        tf.layers.maxPooling2d({ poolSize: 2 }),
        tf.layers.conv2d({ filters: 2, kernelSize: 3, strides: 2, activation: 'tanh', ...seeded(4) }),
        tf.layers.flatten(),
        tf.layers.dense({ units: 4, activation: 'softmax', useBias: false, ...seeded(5) }),
      ],
    }),
  }),
  'average pooling, padded, and a leaky relu': () => ({
    shape: [2, 7, 7, 2],
    model: tf.sequential({
      layers: [
        tf.layers.averagePooling2d({ poolSize: 3, strides: 2, padding: 'same', inputShape: [7, 7, 2] }),
        tf.layers.leakyReLU({ alpha: 0.1 }),
        tf.layers.globalAveragePooling2d({}),
      ],
    }),
  }),
  'a graph with a branch': () => {
    const start = tf.input({ shape: [4] })
    const left = tf.layers.dense({ units: 3, activation: 'relu', ...seeded(6) }).apply(start) as tf.SymbolicTensor
    const right = tf.layers.dense({ units: 3, ...seeded(7) }).apply(start) as tf.SymbolicTensor
    const joined = tf.layers.add().apply([left, right]) as tf.SymbolicTensor
    const both = tf.layers.concatenate().apply([joined, left]) as tf.SymbolicTensor
    const outputs = tf.layers.dense({ units: 2, ...seeded(8) }).apply(both) as tf.SymbolicTensor
    return { shape: [3, 4], model: tf.model({ inputs: start, outputs }) }
  },
}

/**
 * Weights and inputs are encoded within half a unit of 2^-16, products rounded within one. No layer here has more than 100
 * terms of size 1 in a sum, and their gains are below 2: 100 · (½ + ½) + 1 units a layer, in no more than five of them.
 */
const CLOSE = (5 * 2 * 101) / 2 ** 16

describe('a model in secret', () => {
  describe.each(Object.entries(models))('of %s', (_, make) => {
    it.each([
      [2, 'additive'],
      [3, 'additive'],
      [3, 'replicated'],
    ] as const)('computes what it computes in clear, among %i parties of %s sharing', async (count, protocol) => {
      const { parties: among, options } = parties(count, protocol)
      const { model, shape } = make()
      disturbed(model)
      const x = input(shape)
      const secret = model.share(among, options)
      const opened = await secret.apply(x.fixPrecision().share(among, options)).reveal()
      const expected = model.predict(x) as tf.Tensor
      expect(opened.shape).toEqual(expected.shape)
      expect(tf.max(tf.abs(tf.sub(opened, expected))).dataSync()[0]).toBeLessThan(CLOSE)
    })
  })

  it('is shared by the worker that it lives on, and comes back with its weights within half a unit', async () => {
    const { parties: among, options } = parties(2)
    const { model } = models['a convolution, normalisation, pooling and softmax']!()
    disturbed(model)
    const owner = new VirtualWorker('olga')
    const secret = model.send(owner).share(among, options)
    expect(secret).toBeInstanceOf(SharedModel)
    const back = await secret.get()
    back.getWeights().forEach((weight, i) => {
      const difference = tf.max(tf.abs(tf.sub(weight, model.getWeights()[i]!))).dataSync()[0]!
      expect(difference).toBeLessThanOrEqual(2 ** -17 + 2 ** -24)
    })
    // What went to the caller came from the parties alone.
    const left = (await owner.ledger()).filter(({ event }) => event === 'left')
    expect(left).toEqual([])
    await owner.close()
  })

  it('takes the relu of a convolution after a max pooling, where there are fewer elements', () => {
    const { parties: among, options } = parties(3, 'replicated')
    const pooling = () => tf.layers.maxPooling2d({ poolSize: 2 })
    const costOf = (activation: 'relu' | 'linear', ...rest: tf.layers.Layer[]) => {
      const conv = tf.layers.conv2d({ filters: 2, kernelSize: 3, activation, inputShape: [8, 8, 1], ...seeded(6) })
      const secret = tf.sequential({ layers: [conv, ...rest] }).share(among, options)
      return secret.apply(input([2, 8, 8, 1]).fixPrecision().share(among, options)).cost
    }
    const without = costOf('linear', pooling())
    const written = costOf('relu', pooling())
    expect(written).toEqual(costOf('linear', pooling(), tf.layers.activation({ activation: 'relu' })))
    // A quarter of the pixels that a relu before would be of: 2·6·6·2 of them come out of the convolution.
    const apart = { rounds: written.rounds - without.rounds, bytes: written.bytes - without.bytes }
    const { rounds, bytes } = input([2, 3, 3, 2]).fixPrecision().share(among, options).relu().cost
    expect(apart.rounds).toBe(rounds)
    expect(apart.bytes).toBeCloseTo(bytes, 3)
  })

  it('refuses a layer and an activation that it does not know, before anything is shared', async () => {
    const { parties: among, options } = parties(2)
    const lstm = tf.sequential({ layers: [tf.layers.lstm({ units: 2, inputShape: [3, 2] })] })
    expect(() => lstm.share(among, options)).toThrow(/LSTM cannot be run in secret; there are .*Dense/)
    const elu = tf.sequential({ layers: [tf.layers.dense({ units: 2, inputShape: [3], activation: 'elu' })] })
    expect(await codeOf(() => elu.share(among, options))).toBe('ERR_ARGUMENT_VALUE')
    expect(await workers[0]!.objectCount()).toBe(0)
  })

  it('refuses an input that does not fit', async () => {
    const { parties: among, options } = parties(2)
    const secret = models['dense layers with relu, sigmoid and dropout']!().model.share(among, options)
    const x = input([5, 7]).fixPrecision().share(among, options)
    expect(await codeOf(() => secret.apply(x))).toBe('ERR_SHAPE')
  })

  it.each(Object.keys(protocols) as ProtocolName[])(
    'trains with momentum as in clear, step for step: %s',
    async (protocol) => {
      const { parties: among, options } = parties(3, protocol)
      const model = tf.sequential({
        layers: [
          tf.layers.dense({ units: 4, activation: 'relu', inputShape: [3], ...seeded(9) }),
          tf.layers.dense({ units: 1, ...seeded(10) }),
        ],
      })
      const [x, y] = [input([6, 3], 2), input([6, 1], 3)]
      const secret = model.share(among, options)
      const [secretX, secretY] = [x, y].map((t) => t.fixPrecision().share(among, options)) as [
        SharedTensor,
        SharedTensor,
      ]
      const sgd = optim.sgd(secret.parameters(), { learningRate: 0.05, momentum: 0.9 })
      const twin = tf.train.momentum(0.05, 0.9)
      const [inSecret, inClear]: number[][] = [[], []]
      for (let step = 0; step < 10; step++) {
        const loss = scope(() => {
          const error = secret.apply(secretX).sub(secretY).square().sum()
          error.backward()
          sgd.step()
          sgd.zeroGrad()
          return error
        })
        inSecret!.push((await loss.reveal()).dataSync()[0]!)
        loss.dispose()
        const cost = twin.minimize(() => tf.sum(tf.square(tf.sub(model.apply(x) as tf.Tensor, y))) as tf.Scalar, true)!
        inClear!.push(cost.dataSync()[0]!)
      }
      expect(inClear![9]).toBeLessThan(inClear![0]!)
      // Ten steps of some thirty roundings of a unit each, taken up again with a gain of 1 / (1 − 0.9) at most.
      inSecret!.forEach((loss, step) => {
        expect(Math.abs(loss - inClear![step]!)).toBeLessThan((10 * 30 * 10) / 2 ** 16)
      })
    },
  )

  it('trains a convolution', async () => {
    const { parties: among, options } = parties(2)
    const model = tf.sequential({
      layers: [
        tf.layers.conv2d({ filters: 2, kernelSize: 3, activation: 'relu', inputShape: [6, 6, 1], ...seeded(11) }),
        tf.layers.maxPooling2d({ poolSize: 2 }),
        tf.layers.flatten(),
        tf.layers.dense({ units: 1, ...seeded(12) }),
      ],
    })
    const x = input([4, 6, 6, 1], 4)
    const secret = model.share(among, options)
    const loss = secret.apply(x.fixPrecision().share(among, options)).square().sum()
    loss.backward()
    const { grads } = tf.variableGrads(() => tf.sum(tf.square(model.apply(x) as tf.Tensor)) as tf.Scalar)
    const named = Object.values(grads)
    expect(named).toHaveLength(secret.parameters().length)
    for (const [i, parameter] of secret.parameters().entries()) {
      const gradient = await parameter.grad!.reveal()
      const difference = tf.max(tf.abs(tf.sub(gradient, named[i]!))).dataSync()[0]!
      expect(difference).toBeLessThan(CLOSE)
    }
  })

  it('frees what it holds', async () => {
    const { parties: among, options } = parties(2)
    const secret = models['a convolution, normalisation, pooling and softmax']!().model.share(among, options)
    const x = input([2, 8, 8, 2]).fixPrecision().share(among, options)
    scope(() => {
      secret.apply(x)
    })
    await workers[0]!.flush()
    secret.dispose()
    x.dispose()
    // The graph of what was applied goes with its last handle, when that is collected.
    await settled()
    expect(await workers[0]!.objectCount()).toBe(0)
  })
})
