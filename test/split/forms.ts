/** Forms of split networks, each beside the same network in one process. */
import {
  batches,
  type Optimizer,
  optim,
  type PointerTensor,
  SplitNN,
  type SplitNNOptions,
  tf,
  type Worker,
} from 'sotto'
import { firstDigits } from '../mnist.ts'

export type Activation = 'relu' | 'tanh'

export const dense = (inputs: number, units: number, seed: number, activation?: Activation): tf.LayersModel =>
  tf.sequential({
    layers: [
      tf.layers.dense({
        units,
        inputShape: [inputs],
        kernelInitializer: tf.initializers.glorotUniform({ seed }),
        ...(activation ? { activation } : {}),
      }),
    ],
  })

export interface Form {
  /** Names of the workers, one for each part. */
  readonly names: readonly string[]
  /** Features of each first segment, from column to column. */
  readonly columns: readonly (readonly [number, number])[]
  readonly parts: (width: number, activation: Activation) => tf.LayersModel[]
  readonly options?: SplitNNOptions
  /** How the outputs of first segments meet in one process. */
  readonly join?: (all: tf.Tensor[]) => tf.Tensor
}

const ALL = [[0, 784]] as const
const HALVES = [
  [0, 392],
  [392, 784],
] as const
const THIRDS = [
  [0, 261],
  [261, 522],
  [522, 784],
] as const

/** First segments side by side, and one that joins what they give. */
const sideBySide =
  (columns: readonly (readonly [number, number])[], given: (width: number) => number) =>
  (width: number, activation: Activation) => [
    ...columns.map(([from, to], i) => dense(to - from, width, 10 + i, activation)),
    dense(given(width), 10, 20),
  ]

export const forms: Readonly<Record<string, Form>> = {
  vanilla: {
    names: ['alice', 'bob'],
    columns: ALL,
    parts: (width, activation) => [dense(784, width, 1, activation), dense(width, 10, 2)],
  },
  'three hops': {
    names: ['alice', 'bob', 'carol'],
    columns: ALL,
    parts: (width, activation) => [
      dense(784, width, 1, activation),
      dense(width, width, 2, activation),
      dense(width, 10, 3),
    ],
  },
  'U-shaped': {
    names: ['alice', 'bob', 'alice'],
    columns: ALL,
    parts: (width, activation) => [
      dense(784, width, 1, activation),
      dense(width, width, 2, activation),
      dense(width, 10, 3),
    ],
  },
  'vertical, 2 × 392 pixels side by side': {
    names: ['alice', 'carol', 'bob'],
    columns: HALVES,
    parts: sideBySide(HALVES, (width) => 2 * width),
    join: (all) => tf.concat(all, 1),
  },
  'vertical, the sum of three': {
    names: ['alice', 'carol', 'dave', 'bob'],
    columns: THIRDS,
    parts: sideBySide(THIRDS, (width) => width),
    options: { join: 'sum' },
    join: (all) => tf.addN(all),
  },
  'vertical, the mean of three': {
    names: ['alice', 'carol', 'dave', 'bob'],
    columns: THIRDS,
    parts: sideBySide(THIRDS, (width) => width),
    options: { join: 'mean' },
    join: ([a, b, c]) => a!.add(b!).add(c!).div(3),
  },
  'vertical, the largest of two, one of them the labels’ owner’s': {
    names: ['alice', 'bob', 'bob'],
    columns: HALVES,
    parts: sideBySide(HALVES, (width) => width),
    options: { join: 'max' },
    join: ([a, b]) => tf.maximum(a!, b!),
  },
}

/** Some images of MNIST, flat, and their labels. */
export async function digits(count: number): Promise<{ images: tf.Tensor2D; labels: tf.Tensor1D }> {
  const train = await firstDigits(count)
  return { images: train.images(), labels: train.labelsTensor() }
}

export const RATE = 0.03

/** A form over workers, and what it trains on. */
export function split(
  { names, columns, parts, options = {} }: Form,
  worker: (id: string) => Worker,
  [width, activation]: readonly [number, Activation],
  { images, labels }: { images: tf.Tensor2D; labels: tf.Tensor1D },
  more: SplitNNOptions = {},
  optimizer = (parameters: PointerTensor[]): Optimizer => optim.sgd(parameters, { learningRate: RATE }),
): { net: SplitNN; x: PointerTensor[]; y: PointerTensor; workers: Worker[] } {
  const at = new Map([...new Set(names)].map((name) => [name, worker(name)]))
  const segments = parts(width, activation).map((model, i) => ({
    model,
    worker: at.get(names[i]!)!,
    optimizer,
  }))
  const firsts = columns.length
  const net = new SplitNN([segments.slice(0, firsts), ...segments.slice(firsts)], { ...options, ...more })
  for (const { model } of segments) model.dispose()
  return {
    net,
    x: columns.map(([from, to], i) => {
      const own = images.slice([0, from], [images.shape[0], to - from])
      const pointer = own.send(at.get(names[i]!)!)
      own.dispose()
      return pointer
    }),
    y: labels.send(at.get(names.at(-1)!)!),
    workers: [...at.values()],
  }
}

/** The losses of steps of the same network in one process, as tfjs trains it. */
export function whole(
  { columns, parts, join = ([only]) => only! }: Form,
  [width, activation]: readonly [number, Activation],
  { images, labels }: { images: tf.Tensor2D; labels: tf.Tensor1D },
  rows: readonly Int32Array[],
): number[] {
  const models = parts(width, activation)
  const sgd = tf.train.sgd(RATE)
  const losses = rows.map((chosen) => {
    const loss = sgd.minimize(() => {
      const batch = images.gather(tf.tensor1d(chosen, 'int32'))
      const firsts = columns.map(
        ([from, to], i) => models[i]!.apply(batch.slice([0, from], [chosen.length, to - from])) as tf.Tensor,
      )
      const logits = models.slice(columns.length).reduce((x, model) => model.apply(x) as tf.Tensor, join(firsts))
      const oneHot = tf.oneHot(labels.gather(tf.tensor1d(chosen, 'int32')), 10)
      return tf.mul(oneHot, tf.logSoftmax(logits)).sum(1).neg().mean().asScalar()
    }, true)!
    const value = loss.dataSync()[0]!
    loss.dispose()
    return value
  })
  for (const model of models) model.dispose()
  sgd.dispose()
  return losses
}

/** Batches of 64 in an order of their own. */
export const orderOf = (count: number, steps: number): Int32Array[] => {
  const order: Int32Array[] = []
  for (let epoch = 1; order.length < steps; epoch++) order.push(...batches(count, { batchSize: 64, seed: epoch }))
  return order.slice(0, steps)
}
