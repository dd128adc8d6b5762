/** Images of digits as the networks of {@link networks} take them, and what is done with both in clear. */
import { batches, type LabelledImages, tf } from 'sotto'
import { type NetworkName, networks } from './networks.ts'

/** Images as the network takes them, and labels as its loss does. */
export function tensorsOf(rows: LabelledImages, network: NetworkName): { x: tf.Tensor; y: tf.Tensor } {
  const { inputShape, labels } = networks[network]
  return tf.tidy(() => {
    const x = rows.images().reshape([rows.count, ...inputShape])
    const numbers = rows.labelsTensor()
    const y = labels === 'digits' ? tf.oneHot(numbers, 10) : tf.greaterEqual(numbers, 5).reshape([rows.count, 1])
    return { x, y: y.cast('float32') }
  })
}

export interface TrainingInClear {
  readonly optimizer: tf.Optimizer
  readonly epochs: number
  readonly batchSize: number
  readonly seed: number
}

/** Trains a model that is here, on the batches that `fit` takes in secret from the same seed, in the same order. */
export async function trainInClear(
  model: tf.LayersModel,
  train: LabelledImages,
  network: NetworkName,
  { optimizer, epochs, batchSize, seed }: TrainingInClear,
): Promise<void> {
  const loss = (y: tf.Tensor, scores: tf.Tensor): tf.Tensor =>
    networks[network].labels === 'digits'
      ? tf.losses.softmaxCrossEntropy(y, scores)
      : tf.losses.sigmoidCrossEntropy(y, scores)
  model.compile({ optimizer, loss })
  const { x, y } = tensorsOf(train, network)
  for (let epoch = 1; epoch <= epochs; epoch++) {
    for (const rows of batches(train.count, { batchSize, seed: 1000 * seed + epoch })) {
      const chosen = tf.tensor1d(rows, 'int32')
      const [images, labels] = [tf.gather(x, chosen), tf.gather(y, chosen)]
      await model.trainOnBatch(images, labels)
      tf.dispose([chosen, images, labels])
    }
  }
  tf.dispose([x, y])
}

/** The share of rows that a model that is here gets right. */
export function accuracyInClear(
  model: tf.LayersModel,
  { x, y }: { x: tf.Tensor; y: tf.Tensor },
  network: NetworkName,
): number {
  return tf.tidy(() => {
    const scores = model.predict(x, { batchSize: 500 }) as tf.Tensor
    const right =
      networks[network].labels === 'digits'
        ? tf.equal(scores.argMax(1), y.argMax(1))
        : tf.equal(tf.greater(scores, 0), tf.greater(y, 0.5))
    return right.cast('float32').mean().dataSync()[0]!
  })
}

const SIDE = 28
/** Pixels that become one: 14 each way are enough to tell digits apart. */
const JOINED = 2
/** Above this, a pixel is ink. */
const INK = 0.2
/** Two pixels a character, one above the other, for it is twice as high as it is wide. */
const BLOCKS = { none: ' ', lower: '▄', upper: '▀', both: '█' } as const
const BETWEEN = '    '

/**
 * Images side by side, each above its caption, in characters.
 *
 * @param images [count, 28, 28, 1], or [count, 784]; from 0, paper, to 1
 */
export function picturesOf(images: tf.Tensor, captions: readonly string[]): string {
  const [count] = images.shape as [number]
  const means = tf.tidy(() =>
    tf.avgPool(images.reshape([count, SIDE, SIDE, 1]) as tf.Tensor4D, JOINED, JOINED, 'valid').dataSync(),
  )
  const side = SIDE / JOINED
  const isInk = (image: number, row: number, column: number): boolean =>
    means[(image * side + row) * side + column]! > INK
  const lineOf = (image: number, row: number): string =>
    Array.from({ length: side }, (_, column) => {
      const [upper, lower] = [isInk(image, row, column), isInk(image, row + 1, column)]
      return BLOCKS[upper ? (lower ? 'both' : 'upper') : lower ? 'lower' : 'none']
    }).join('')
  const sideBySide = (part: (image: number) => string): string =>
    Array.from({ length: count }, (_, image) => part(image).padEnd(side))
      .join(BETWEEN)
      .trimEnd()
  const lines = Array.from({ length: side / 2 }, (_, row) => sideBySide((image) => lineOf(image, 2 * row)))
  return [...lines, sideBySide((image) => captions[image]!)].join('\n')
}
