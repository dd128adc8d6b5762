/** The same networks and regressions on columns in one place, in clear: what vertical training is measured by. */
import { batches, tf } from 'sotto'

export interface Course {
  readonly epochs: number
  readonly batchSize: number
  readonly learningRate: number
  readonly seed: number
}

/** How well something does on rows it has not seen. */
export interface Figures {
  readonly loss: number
  readonly accuracy: number
}

/** Columns, in blocks, and labels, `[rows, 1]`. */
export interface Columns {
  readonly x: readonly tf.Tensor2D[]
  readonly y: tf.Tensor2D
}

/** Scores of rows, `[rows, 1]`: above 0 they say yes. */
export type Scorer = (x: readonly tf.Tensor2D[]) => tf.Tensor2D

export const UNITS = 8

/** Of a block of columns: the network's first layer, which starts with the same weights wherever it is. */
export const bottom = (columns: number, block: number, seed: number): tf.LayersModel =>
  dense(columns, UNITS, seed + block, 'relu')
export const top = (blocks: number, seed: number): tf.LayersModel => dense(blocks * UNITS, 1, seed + 10)

const dense = (inputs: number, units: number, seed: number, activation?: 'relu'): tf.LayersModel =>
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

/** A network with a first layer for each block. */
export function network(models: readonly tf.LayersModel[]): Scorer {
  const last = models.length - 1
  return (x) => {
    const sides = x.map((own, i) => models[i]!.apply(own) as tf.Tensor2D)
    return models[last]!.apply(sides.length === 1 ? sides[0]! : tf.concat(sides, 1)) as tf.Tensor2D
  }
}

/** A logistic regression that starts from zeros. */
export function regression(columns: number): { readonly scorer: Scorer; dispose(): void } {
  const weights = tf.variable(tf.zeros([columns, 1])) as tf.Variable<tf.Rank.R2>
  const bias = tf.variable(tf.zeros([1, 1]))
  return {
    scorer: (x) => tf.add(tf.matMul(tf.concat([...x], 1), weights), bias) as tf.Tensor2D,
    dispose: () => tf.dispose([weights, bias]),
  }
}

/** Trains by gradient descent, in the order of batches that vertical training takes too. */
export function trainPlain(scorer: Scorer, { x, y }: Columns, { epochs, batchSize, learningRate, seed }: Course): void {
  const sgd = tf.train.sgd(learningRate)
  for (let epoch = 1; epoch <= epochs; epoch++) {
    for (const rows of batches(y.shape[0], { batchSize, seed: 1000 * seed + epoch })) {
      tf.tidy(() => {
        const chosen = tf.tensor1d(rows, 'int32')
        const [own, labels] = [x.map((block) => tf.gather(block, chosen)), tf.gather(y, chosen)]
        sgd.minimize(() => tf.losses.sigmoidCrossEntropy(labels, scorer(own)) as tf.Scalar)
      })
    }
  }
  sgd.dispose()
}

export const figuresOf = (scorer: Scorer, { x, y }: Columns): Figures =>
  tf.tidy(() => {
    const scores = scorer(x)
    return {
      loss: tf.losses.sigmoidCrossEntropy(y, scores).dataSync()[0]!,
      accuracy: scores.greater(0).equal(y.greater(0.5)).cast('float32').mean().dataSync()[0]!,
    }
  })
