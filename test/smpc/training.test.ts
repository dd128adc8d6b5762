/** Training in secret, beside the same in clear: tf.layers on the same rows, batches and weights. */
import {
  fixPrecision,
  hook,
  type SecretFitOptions,
  type SharedModel,
  type SharedTensor,
  tf,
  VirtualWorker,
} from 'sotto'
import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import { coarseRsqrt } from '../../src/smpc/functions.ts'
import { readyForTest, settled } from '../backend.ts'
import { codeOf } from '../conformance/workers.ts'

const UNIT = 2 ** -16

let workers: VirtualWorker[] = []
beforeAll(async () => {
  await readyForTest()
  hook()
})
afterEach(async () => {
  for (const worker of workers.splice(0)) await worker.close()
})

/** Two parties and a provider; or three that keep secrets in another way. */
function world({ identity, protocol = 'additive' }: { identity?: string; protocol?: string } = {}) {
  workers = ['bob', 'alice', 'carol'].map((name) => new VirtualWorker(name, identity ? { identity } : {}))
  const [bob, alice, carol] = workers as [VirtualWorker, VirtualWorker, VirtualWorker]
  const isAdditive = protocol === 'additive'
  const parties = isAdditive ? [bob, alice] : [bob, alice, carol]
  const options = isAdditive ? { provider: carol } : { protocol: 'replicated' as const }
  const secret = (value: tf.Tensor): SharedTensor => fixPrecision(value).share(parties, options)
  return { parties, options, secret }
}

const random = (shape: number[], seed: number, low = -1, high = 1) =>
  tf.randomUniform(shape, low, high, 'float32', seed)
const seeded = (seed: number) => ({ kernelInitializer: tf.initializers.glorotUniform({ seed }) })
/** One class a row. */
const classes = (rows: number, of: number) =>
  tf
    .oneHot(
      Array.from({ length: rows }, (_, i) => (i * 7 + 3) % of),
      of,
    )
    .toFloat()

/** The largest difference between weights in secret and in clear, one for each weight. */
async function differences(secret: SharedModel, model: tf.LayersModel): Promise<number[]> {
  const back = await secret.get()
  return back.getWeights().map((weight, i) => tf.max(tf.abs(tf.sub(weight, model.getWeights()[i]!))).dataSync()[0]!)
}

const small = () =>
  tf.sequential({ layers: [tf.layers.dense({ units: 3, inputShape: [4], activation: 'softmax', ...seeded(1) })] })

describe('the root that steps are divided by', () => {
  const scales = [
    [64, 24, 44],
    [64, 16, 44],
    [128, 36, 56],
  ] as const
  it.each(scales)(
    'is right to 12 bits: of %i bits, from one unit of 2^-%i to 2^%i of them',
    async (ring, digits, most) => {
      const { parties, options } = world()
      const powers = Array.from({ length: 120 }, (_, i) => ((most - 0.01) * i) / 119)
      // At the ends of classes the polynomial has its ends.
      const x = Float32Array.from([...powers, 4, 8, 20], (power) => Math.floor(2 ** power) / 2 ** digits)
      const secret = fixPrecision(tf.tensor(x), { precisionFractional: digits, ring }).share(parties, options)
      const roots = (await coarseRsqrt(secret).reveal()).dataSync()
      x.forEach((value, i) => {
        const root = 1 / Math.sqrt(value)
        expect(Math.abs(roots[i]! - root)).toBeLessThan(1.5 / 2 ** digits + root * 2 ** -12)
      })
    },
  )
})

describe('optimizers in secret', () => {
  const steps = 5
  const momentum = (useNesterov: boolean) => tf.train.momentum(0.1, 0.9, useNesterov)
  /**
   * Of each step, what it moves weights by is the true step within four units: one of p − y times inputs below 1, summed
   * over the rows and divided by them; one of its own division, two of velocity. Velocities sum up: ten of each, after 1 / (1 − 0.9).
   */
  const ofDescent = steps * 4 * UNIT
  /**
   * Mean gradients here are above 0.01, 1.28 of them taken 128-fold. Moments then hold a thousandth of squares in 2^24ths,
   * within 3 of 27,000, and a tenth of gradients in 2^16ths, within 128 · 4 / 2^16 of 0.128 as p has units too: less than a
   * sixteenth in all, of a step of one rate; and a unit for the step.
   */
  const ofMoments = steps * (0.01 / 16 + UNIT)
  const rows: [string, SecretFitOptions['optimizer'], () => tf.Optimizer, number][] = [
    ['sgd', { kind: 'sgd', learningRate: 0.1 }, () => tf.train.sgd(0.1), ofDescent],
    ['momentum', { kind: 'sgd', learningRate: 0.1, momentum: 0.9 }, () => momentum(false), 10 * ofDescent],
    [
      'nesterov',
      { kind: 'sgd', learningRate: 0.1, momentum: 0.9, nesterov: true },
      () => momentum(true),
      10 * ofDescent,
    ],
    ['adam', { kind: 'adam', learningRate: 0.01 }, () => tf.train.adam(0.01), ofMoments],
  ]
  const everywhere = rows.flatMap((row) => [['additive', ...row] as const, ['replicated', ...row] as const])
  it.each(everywhere)('move weights as in clear, %s: %s', async (protocol, _, optimizer, inClear, bound) => {
    const { parties, options, secret } = world({ protocol })
    const model = small()
    const shared = model.share(parties, options)
    const [x, y] = [random([8, 4], 2, 0.5, 1), classes(8, 3)]
    model.compile({ optimizer: inClear(), loss: 'categoricalCrossentropy' })
    for (let step = 0; step < steps; step++) await model.trainOnBatch(x, y)
    const result = await shared.fit(secret(x), secret(y), {
      optimizer,
      loss: 'categoricalCrossentropy',
      epochs: steps,
      batchSize: 8,
    })
    expect(result.steps).toBe(steps)
    expect(Math.max(...(await differences(shared, model)))).toBeLessThan(bound)
  })

  it('amsgrad takes smaller steps than adam once gradients fall, and never larger ones', async () => {
    const { parties, options, secret } = world()
    // One weight, whose gradient is what y says: large once, and then small.
    const one = () =>
      tf.sequential({
        layers: [tf.layers.dense({ units: 1, inputShape: [1], useBias: false, kernelInitializer: 'zeros' })],
      })
    const moved = async (kind: 'adam' | 'amsgrad', beta2: number): Promise<number> => {
      const shared = one().share(parties, options)
      const [x, y] = [tf.ones([6, 1]), tf.tensor([-2, -0.1, -0.1, -0.1, -0.1, -0.1], [6, 1])]
      await shared.fit(secret(x), secret(y), {
        optimizer: { kind, learningRate: 0.01, beta1: 0.5, beta2 },
        loss: 'meanSquaredError',
        batchSize: 1,
        shuffle: false,
      })
      return -(await shared.get()).getWeights()[0]!.dataSync()[0]!
    }
    const [adam, amsgrad] = [await moved('adam', 0.5), await moved('amsgrad', 0.5)]
    expect(amsgrad).toBeLessThan(adam - 0.005)
    expect(amsgrad).toBeGreaterThan(0)
  })
})

describe('layers in secret', () => {
  /** One step of descent by 1 of each model: gradients, and statistics that move. */
  const models: Record<string, () => { model: tf.Sequential; shape: number[]; of: number }> = {
    'convolutions, relu, both poolings': () => ({
      shape: [3, 8, 8, 1],
      of: 3,
      model: tf.sequential({
        layers: [
          tf.layers.conv2d({ filters: 2, kernelSize: 3, activation: 'relu', inputShape: [8, 8, 1], ...seeded(3) }),
          tf.layers.maxPooling2d({ poolSize: 2 }),
          tf.layers.conv2d({ filters: 2, kernelSize: 3, padding: 'same', strides: 2, useBias: false, ...seeded(4) }),
          tf.layers.averagePooling2d({ poolSize: 2 }),
          tf.layers.reLU(),
          tf.layers.flatten(),
          tf.layers.dense({ units: 3, activation: 'softmax', ...seeded(5) }),
        ],
      }),
    }),
    'batch normalisation between dense layers': () => ({
      shape: [6, 4],
      of: 2,
      model: tf.sequential({
        layers: [
          tf.layers.dense({ units: 3, inputShape: [4], ...seeded(6) }),
          tf.layers.batchNormalization({ momentum: 0.8 }),
          tf.layers.activation({ activation: 'sigmoid' }),
          tf.layers.dense({ units: 2, ...seeded(7) }),
          tf.layers.softmax(),
        ],
      }),
    }),
    'batch normalisation of images, tanh before a pooling': () => ({
      shape: [4, 6, 6, 2],
      of: 2,
      model: tf.sequential({
        layers: [
          tf.layers.batchNormalization({ inputShape: [6, 6, 2] }),
          tf.layers.conv2d({ filters: 2, kernelSize: 3, activation: 'tanh', ...seeded(8) }),
          tf.layers.maxPooling2d({ poolSize: 2 }),
          tf.layers.flatten(),
          tf.layers.dense({ units: 2, activation: 'softmax', ...seeded(9) }),
        ],
      }),
    }),
  }
  const protocols = ['additive', 'replicated', 'additive']
  const cases = Object.entries(models).map(([name, make], i) => [protocols[i]!, name, make] as const)
  it.each(cases)('have the gradients that they have in clear, %s: %s', async (protocol, _, make) => {
    const { parties, options, secret } = world({ protocol })
    const { model, shape, of } = make()
    const shared = model.share(parties, options)
    const [x, y] = [random(shape, 10), classes(shape[0]!, of)]
    model.compile({ optimizer: tf.train.sgd(1), loss: 'categoricalCrossentropy' })
    await model.trainOnBatch(x, y)
    await shared.fit(secret(x), secret(y), {
      optimizer: { kind: 'sgd', learningRate: 1 },
      loss: 'categoricalCrossentropy',
      batchSize: shape[0]!,
    })
    // As in models.test.ts, forward and back: no sum has more than 100 terms of size 1, gains are below 2.
    const bound = 2 * 5 * 2 * 101 * UNIT
    for (const difference of await differences(shared, model)) expect(difference).toBeLessThan(bound)
  })

  it('drop half of the inputs and double the others, by a mask that follows from the seed', async () => {
    const { parties, options, secret } = world()
    const model = () =>
      tf.sequential({
        layers: [
          tf.layers.dropout({ rate: 0.5, inputShape: [64] }),
          tf.layers.dense({ units: 1, useBias: false, kernelInitializer: 'zeros' }),
        ],
      })
    const train = async (seed: number): Promise<number[]> => {
      const shared = model().share(parties, options)
      await shared.fit(secret(tf.ones([1, 64])), secret(tf.ones([1, 1])), {
        optimizer: { kind: 'sgd', learningRate: 0.25 },
        loss: 'meanSquaredError',
        seed,
      })
      return [...(await shared.get()).getWeights()[0]!.dataSync()]
    }
    const first = await train(1)
    // p is 0, so the gradient of each weight is 2 · (0 − 1) · its input.
    for (const weight of first) expect([0, 1]).toContain(Math.round(weight * 2 ** 10) / 2 ** 10)
    expect(new Set(first.map(Math.round)).size).toBe(2)
    expect(await train(1)).toEqual(first)
    expect(await train(2)).not.toEqual(first)
  })

  it('without a weight to train before them get no gradient, which costs nothing', async () => {
    const { parties, options, secret } = world()
    const dense = (units: number, more: object = {}) => tf.layers.dense({ units, useBias: false, ...more })
    const costOf = async (trainable: boolean) => {
      const model = tf.sequential({
        layers: [dense(4, { inputShape: [5], trainable }), dense(3, { trainable }), dense(1)],
      })
      let cost = { rounds: 0, bytes: 0 }
      await model.share(parties, options).fit(secret(random([2, 5], 1)), secret(random([2, 1], 2)), {
        optimizer: { kind: 'sgd', learningRate: 0.1 },
        loss: 'meanSquaredError',
        onBatch: (info) => {
          cost = info.cost
        },
      })
      return cost
    }
    const [frozen, whole] = [await costOf(false), await costOf(true)]
    // Three products forward, one back, each with its division.
    expect(frozen.rounds).toBe(2 * 4)
    // Two more on the way back; the products of gradients are side by side.
    expect(whole.rounds).toBe(2 * 6)
    const element = (count: number): number => 8 * count
    // Operands of both new kernels and of both gradients that are passed on, and what is divided.
    const kernels = element(10 + 8 + 20) + element(8 + 6 + 12)
    const passed = element(2 + 3 + 6) + element(6 + 12 + 8)
    expect(whole.bytes - frozen.bytes).toBe(kernels + passed)
  })
})

describe('losses in secret', () => {
  const head = (activation: 'linear' | 'sigmoid' | 'softmax', units: number) =>
    tf.sequential({ layers: [tf.layers.dense({ units, inputShape: [4], activation, ...seeded(11) })] })
  const truths = () => tf.tensor([1, 0, 0, 1, 1, 1], [6, 1])
  type Clear = Parameters<tf.LayersModel['compile']>[0]['loss']
  const rows: [SecretFitOptions['loss'], () => tf.Sequential, () => tf.Tensor, Clear][] = [
    ['meanSquaredError', () => head('linear', 2), () => random([6, 2], 12), 'meanSquaredError'],
    ['categoricalCrossentropy', () => head('softmax', 3), () => classes(6, 3), 'categoricalCrossentropy'],
    ['binaryCrossentropy', () => head('sigmoid', 1), truths, 'binaryCrossentropy'],
    [
      'softmaxCrossEntropy',
      () => head('linear', 3),
      () => classes(6, 3),
      (y: tf.Tensor, p: tf.Tensor) => tf.losses.softmaxCrossEntropy(y, p),
    ],
    [
      'sigmoidCrossEntropy',
      () => head('linear', 1),
      truths,
      (y: tf.Tensor, p: tf.Tensor) => tf.losses.sigmoidCrossEntropy(y, p),
    ],
  ]
  it.each(rows)('are those of clear, with their gradients: %s', async (loss, make, labels, inClear) => {
    const { parties, options, secret } = world()
    const model = make()
    const shared = model.share(parties, options)
    const [x, y] = [random([6, 4], 13), labels()]
    model.compile({ optimizer: tf.train.sgd(1), loss: inClear! })
    const before = (await model.trainOnBatch(x, y)) as number
    const { epochs } = await shared.fit(secret(x), secret(y), {
      optimizer: { kind: 'sgd', learningRate: 1 },
      loss,
      batchSize: 6,
      opens: ['loss'],
    })
    // Scores of 4 terms, two units each; p within 1.5 units more, and ln p by 1/p of that: p is above a hundredth here.
    expect(Math.abs(epochs[0]!.loss! - before)).toBeLessThan(100 * 12 * UNIT)
    for (const difference of await differences(shared, model)) expect(difference).toBeLessThan(2 * 12 * UNIT)
  })

  it('refuse a model that ends otherwise, and labels of another shape', async () => {
    const { parties, options, secret } = world()
    const fit = (model: tf.Sequential, loss: SecretFitOptions['loss'], y: tf.Tensor) =>
      model.share(parties, options).fit(secret(random([6, 4], 1)), secret(y), {
        optimizer: { kind: 'sgd', learningRate: 1 },
        loss,
      })
    expect(await codeOf(() => fit(head('linear', 3), 'categoricalCrossentropy', classes(6, 3)))).toBe(
      'ERR_ARGUMENT_VALUE',
    )
    expect(await codeOf(() => fit(head('softmax', 3), 'softmaxCrossEntropy', classes(6, 3)))).toBe('ERR_ARGUMENT_VALUE')
    expect(await codeOf(() => fit(head('softmax', 3), 'categoricalCrossentropy', classes(6, 2)))).toBe('ERR_SHAPE')
    expect(await codeOf(() => fit(head('softmax', 3), 'categoricalCrossentropy', classes(5, 3)))).toBe('ERR_SHAPE')
  })
})

describe('a fit in secret', () => {
  const job = { optimizer: { kind: 'sgd', learningRate: 0.1 }, loss: 'categoricalCrossentropy' } as const

  it('opens nothing that the job does not name, and to the caller alone what it names', async () => {
    const { parties, options, secret } = world()
    const shared = small().share(parties, options)
    const [x, y] = [secret(random([10, 4], 14)), secret(classes(10, 3))]
    const told: object[] = []
    await shared.fit(x, y, { ...job, batchSize: 4, onBatch: (info) => void told.push(info) })
    const opened = async () =>
      (await parties[0]!.ledger()).filter(({ event }) => event === 'opened' || event === 'left')
    expect(await opened()).toEqual([])
    expect(told).toMatchObject([1, 2, 3].map((batch) => ({ epoch: 1, batch, batches: 3, loss: null, accuracy: null })))
    await shared.fit(x, y, { ...job, batchSize: 4, opens: ['loss', 'accuracy'] })
    const rows = await opened()
    expect(rows.every(({ shape }) => shape.length === 0)).toBe(true)
    expect(rows.reduce((sum, { count }) => sum + count, 0)).toBe(2 * 3)
  })

  it('takes rows of several owners, and gets right as many as in clear', async () => {
    const { parties, options, secret } = world()
    const model = small()
    const shared = model.share(parties, options)
    // A class for each of the first three inputs, whichever is the largest by far.
    const labels = classes(12, 3)
    const x = tf.concat([labels.mul(4), tf.ones([12, 1])], 1) as tf.Tensor2D
    const parted = [secret(x.slice([0, 0], [5, 4])), secret(x.slice([5, 0], [7, 4]))]
    const { epochs } = await shared.fit(parted, secret(labels), {
      ...job,
      optimizer: { kind: 'sgd', learningRate: 1 },
      epochs: 3,
      batchSize: 5,
      opens: ['accuracy'],
    })
    expect(epochs).toHaveLength(3)
    expect(epochs.at(-1)!.accuracy).toBe(1)
    expect(await shared.evaluate(parted, secret(labels), { batchSize: 5 })).toEqual({
      hits: 12,
      count: 12,
      accuracy: 1,
    })
    const wrong = tf.reverse(labels, 1)
    const overlap = tf.sum(tf.mul(wrong, labels)).dataSync()[0]!
    expect((await shared.evaluate(parted, secret(wrong))).hits).toBe(overlap)
  })

  it('counts what is above 1/2 for a model with one output', async () => {
    const { parties, options, secret } = world()
    const kernelInitializer = tf.initializers.ones()
    const model = tf.sequential({
      layers: [tf.layers.dense({ units: 1, inputShape: [1], activation: 'sigmoid', kernelInitializer })],
    })
    const [x, y] = [tf.tensor([-2, -1, 1, 2], [4, 1]), tf.tensor([0, 1, 1, 1], [4, 1])]
    const shared = model.share(parties, options)
    expect(await shared.evaluate(secret(x), secret(y))).toEqual({ hits: 3, count: 4, accuracy: 0.75 })
    // sigmoid(1) is 0.73.
    expect((await shared.evaluate(secret(x), secret(y), { threshold: 0.8 })).hits).toBe(2)
  })

  it('ends with the refusal of an owner, where the loss is to be opened of rows that are private', async () => {
    const { parties, options } = world({ identity: 'mallory' })
    const shared = small().share(parties, options)
    for (const worker of workers) {
      worker.as('olga').addWorkers(workers.filter((peer) => peer !== worker))
      worker.addWorkers(workers.filter((peer) => peer !== worker))
    }
    const [bob] = parties as [VirtualWorker]
    for (const [tag, value] of [
      ['#x', random([4, 4], 15)],
      ['#y', classes(4, 3)],
    ] as const) {
      value.send(bob.as('olga'), { private: true, allowShares: ['alice', 'carol'], tags: [tag] })
    }
    await bob.as('olga').flush()
    const [x, y] = await Promise.all(
      ['#x', '#y'].map(async (tag) => (await bob.search([tag]))[0]!.fixPrecision().share(parties, options)),
    )
    await shared.fit(x!, y!, job)
    expect(await codeOf(() => shared.fit(x!, y!, { ...job, opens: ['loss'] }))).toBe('ERR_PERMISSION')
    // What was trained on her rows is hers too.
    expect(await codeOf(() => shared.get())).toBe('ERR_PERMISSION')
  })

  it('refuses options that it does not know, and models whose layers are not in a row', async () => {
    const { parties, options, secret } = world()
    const [x, y] = [secret(random([4, 4], 16)), secret(classes(4, 3))]
    const shared = small().share(parties, options)
    const wrong: [object, string][] = [
      [{ ...job, batches: 3 }, 'ERR_ARGUMENT_VALUE'],
      [{ ...job, optimizer: { kind: 'rmsprop' } }, 'ERR_ARGUMENT_TYPE'],
      [{ ...job, optimizer: { kind: 'sgd' } }, 'ERR_ARGUMENT_TYPE'],
      [{ ...job, optimizer: { kind: 'adam', momentum: 0.9 } }, 'ERR_ARGUMENT_VALUE'],
      [{ ...job, loss: 'hinge' }, 'ERR_ARGUMENT_VALUE'],
      [{ ...job, epochs: 0 }, 'ERR_ARGUMENT_VALUE'],
      [{ ...job, opens: ['weights'] }, 'ERR_ARGUMENT_VALUE'],
    ]
    for (const [options, code] of wrong) {
      expect([options, await codeOf(() => shared.fit(x, y, options as never))]).toEqual([options, code])
    }
    expect(await codeOf(() => shared.fit(random([4, 4], 1) as never, y, job))).toBe('ERR_ARGUMENT_TYPE')
    const start = tf.input({ shape: [4] })
    const outputs = tf.layers.dense({ units: 3, activation: 'softmax' }).apply(start) as tf.SymbolicTensor
    const graph = tf.model({ inputs: start, outputs }).share(parties, options)
    expect(await codeOf(() => graph.fit(x, y, job))).toBe('ERR_ARGUMENT_VALUE')
  })

  it('ends between two batches when its signal says so', async () => {
    const { parties, options, secret } = world()
    const control = new AbortController()
    const told: number[] = []
    const run = small()
      .share(parties, options)
      .fit(secret(random([64, 4], 17)), secret(classes(64, 3)), {
        ...job,
        batchSize: 4,
        signal: control.signal,
        onBatch: ({ batch }) => {
          told.push(batch)
          if (batch === 2) control.abort()
        },
      })
    expect(await codeOf(() => run)).toBe('ERR_ABORTED')
    expect(told.length).toBeGreaterThanOrEqual(2)
    expect(told.length).toBeLessThan(6)
  })

  it('leaves behind at the parties what the model and the rows are, and nothing else', async () => {
    const { parties, options, secret } = world()
    const shared = small().share(parties, options)
    const [x, y] = [secret(random([8, 4], 18)), secret(classes(8, 3))]
    await shared.fit(x, y, { ...job, optimizer: { kind: 'adam' }, batchSize: 4, epochs: 2, opens: ['loss'] })
    await shared.evaluate(x, y)
    await settled()
    expect(await parties[0]!.objectCount()).toBe(4)
  })
})
