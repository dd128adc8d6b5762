/** Losses by name: what a network on a worker is trained on, and how it is judged. */
import { sottoError } from '../errors.ts'
import { scope } from './context.ts'
import type { PointerTensor } from './pointer.ts'

/** Of outputs and labels on one worker, `[rows, …]` each, the mean over the rows: a scalar there. */
export type LossFunction = (output: PointerTensor, labels: PointerTensor) => PointerTensor

interface Row {
  readonly loss: LossFunction
  /** Of each row, whether the label was hit; null where that is not a question. */
  readonly hits: ((output: PointerTensor, labels: PointerTensor) => PointerTensor) | null
}

/** The class with the highest score, against a class number or a one-hot row. */
const classHits: Row['hits'] = (output, labels) =>
  output.argMax(1).equal(labels.rank === 1 ? labels.cast('int32') : labels.argMax(1))

/** One row per loss that has a name; the losses of pointers, by their names there. */
const rows = {
  softmaxCrossEntropy: { loss: (output, labels) => output.logSoftmax().nllLoss(labels), hits: classHits },
  nllLoss: { loss: (output, labels) => output.nllLoss(labels), hits: classHits },
  sigmoidCrossEntropy: {
    loss: (output, labels) => output.sigmoidCrossEntropy(labels),
    hits: (output, labels) => output.greater(0).equal(labels.greater(0.5)),
  },
  meanSquaredError: { loss: (output, labels) => output.meanSquaredError(labels), hits: null },
  absoluteDifference: { loss: (output, labels) => output.absoluteDifference(labels), hits: null },
  huber: { loss: (output, labels) => output.huber(labels), hits: null },
} as const satisfies Record<string, Row>

export type LossName = keyof typeof rows
export type Loss = LossName | LossFunction

/** @throws for what is neither a name of a loss nor a function */
export function lossRow(entry: string, loss: unknown): Row {
  if (typeof loss === 'function') return { loss: loss as LossFunction, hits: null }
  if (typeof loss === 'string' && Object.hasOwn(rows, loss)) return rows[loss as LossName]
  throw sottoError(
    'ERR_ARGUMENT_VALUE',
    `${entry}: "loss" expected a function of outputs and labels, or one of ${Object.keys(rows).join(', ')}`,
    { option: 'loss' },
  )
}

/** The loss of a batch, of the mean losses of its parts. */
export function lossOfParts(losses: readonly PointerTensor[], weights: readonly number[]): PointerTensor {
  return scope(() => {
    const [first, ...rest] = losses.map((loss, i) => loss.mul(weights[i]!))
    return rest.reduce((sum, loss) => sum.add(loss), first!)
  })
}

/** The number that a scalar on a worker is. */
export async function numberOf(scalar: PointerTensor): Promise<number> {
  const tensor = await scalar.fetch()
  try {
    return tensor.dataSync()[0]!
  } finally {
    tensor.dispose()
  }
}
