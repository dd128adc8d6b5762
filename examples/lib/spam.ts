/** What the spam examples have in common: messages as features, owners with their rows, local training, scores. */
import {
  areaUnderCurve,
  batches,
  hashFeatures,
  type LabelledMessage,
  optim,
  type PointerTensor,
  type RemoteModel,
  scope,
  shuffledIndices,
  tf,
  type Worker,
} from 'sotto'

/** Six rows for three owners: the label is the first feature. */
export const TOY = {
  data: [
    [1, 1, 1],
    [0, 1, 1],
    [1, 0, 0],
    [0, 0, 0],
    [1, 1, 0],
    [0, 1, 0],
  ],
  targets: [[1], [1], [0], [0], [1], [0]],
} as const

/** An owner's rows on an owner's worker. */
export interface Owner {
  readonly worker: Worker
  readonly x: PointerTensor
  readonly y: PointerTensor
}

export const isSpam = ({ label }: LabelledMessage): number => (label === 'spam' ? 1 : 0)

/** Messages as they lie with their owners: the last fifth held out, the rest shuffled, in equal parts. */
export function dealt(
  messages: readonly LabelledMessage[],
  owners: number,
  seed: number,
): { owned: LabelledMessage[][]; held: LabelledMessage[] } {
  const cut = Math.floor(messages.length * 0.8)
  const order = [...shuffledIndices(cut, seed)]
  const owned = Array.from({ length: owners }, (_, i) =>
    order.filter((_, at) => at % owners === i).map((index) => messages[index]!),
  )
  return { owned, held: messages.slice(cut) }
}

/** The rows that an owner has put on a worker under a tag. */
export async function findOwner(worker: Worker, tag: string): Promise<Owner> {
  const [x] = await worker.search([tag, '#features'])
  const [y] = await worker.search([tag, '#labels'])
  return { worker, x: x!, y: y! }
}

/** What an owner does with their own messages, before anything is on a worker. */
export function featuresOf(
  messages: readonly LabelledMessage[],
  dimension: number,
): { x: tf.Tensor2D; y: tf.Tensor2D } {
  return {
    x: hashFeatures(
      messages.map(({ text }) => text),
      { dimension },
    ),
    y: tf.tensor2d(messages.map((message) => [isSpam(message)])),
  }
}

/** Steps on all of an owner's rows, towards the least sum of squared errors. */
export function trainOnToy(remote: RemoteModel, { x, y }: Owner, steps: number): void {
  const optimizer = optim.sgd(remote.parameters(), { learningRate: 0.1 })
  for (let step = 0; step < steps; step++) {
    scope(() => {
      remote.apply(x).sub(y).square().sum().backward()
      optimizer.step()
      optimizer.zeroGrad()
    })
  }
}

/** One pass over an owner's messages, in batches. */
export function trainOnMessages(
  remote: RemoteModel,
  { x, y, worker }: Owner,
  { learningRate, batchSize, seed }: { learningRate: number; batchSize: number; seed: number },
): void {
  const optimizer = optim.sgd(remote.parameters(), { learningRate })
  for (const rows of batches(x.shape[0]!, { batchSize, shuffle: true, seed })) {
    scope(() => {
      const indices = tf.tensor1d(rows, 'int32')
      const chosen = indices.send(worker)
      indices.dispose()
      remote.apply(x.gather(chosen)).sigmoidCrossEntropy(y.gather(chosen)).backward()
      optimizer.step()
      optimizer.zeroGrad()
    })
  }
}

/** How well a filter tells spam from ham, on messages that it never saw. */
export interface Score {
  /** Area under the ROC curve. */
  readonly auc: number
  readonly accuracy: number
}

export function scoreOf(scores: ArrayLike<number>, labels: readonly number[]): Score {
  const list = Array.from(scores)
  return {
    auc: areaUnderCurve(list, labels),
    accuracy: list.filter((score, i) => (score > 0 ? 1 : 0) === labels[i]).length / labels.length,
  }
}

export const scoreRows = (scores: readonly Score[]): (string | number)[][] =>
  scores.map(({ auc, accuracy }, i) => [i + 1, auc.toFixed(4), accuracy.toFixed(4)])
