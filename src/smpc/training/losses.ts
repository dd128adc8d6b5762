/**
 * Losses that models in secret are trained on. The gradient of a cross entropy is p − y, with the activation before it; what
 * gradients are to be multiplied by (two, one over the number of rows) is kept beside them, see `gradient.ts`.
 */
import { sottoError } from '../../errors.ts'
import { noGrad } from '../../tensor/context.ts'
import { type Shape, sameShape, showShape, sizeOf } from '../../tensor/shape.ts'
import type { ActivationName } from '../layer-rules.ts'
import { activated } from '../layer-rules.ts'
import type { SharedTensor } from '../shared-tensor.ts'

interface LossRow {
  /** The activation in which a model has to end, and whose gradient is in that of the loss. */
  readonly ends?: ActivationName
  /** The activation that makes probabilities of what a model without one gives. */
  readonly follows?: ActivationName
  /** What p − y is to be multiplied by. */
  factor(shape: Shape): number
  /** The mean over rows. Rounds beside a logarithm's 19: one or two. */
  value(p: SharedTensor, y: SharedTensor): SharedTensor
}

const perRow = ([rows]: Shape): number => 1 / rows!
const perElement = (shape: Shape): number => 1 / sizeOf(shape)

/** −Σ y · ln p over classes. */
const ofClasses = (p: SharedTensor, y: SharedTensor): SharedTensor => y.mul(p.log()).sum().neg().dividedBy(p.shape[0]!)
/** −(y · ln p + (1 − y) · ln(1 − p)), the mean over elements. */
function ofTruths(p: SharedTensor, y: SharedTensor): SharedTensor {
  const [ofOne, ofZero] = p.stack(p.neg().add(1)).log().unstack(0) as [SharedTensor, SharedTensor]
  return y.mul(ofOne.sub(ofZero)).add(ofZero).sum().neg().dividedBy(p.size)
}

const rows = {
  /** Of any output: the mean of (p − y)² over elements. */
  meanSquaredError: {
    factor: (shape) => 2 / sizeOf(shape),
    value: (p, y) => p.sub(y).square().sum().dividedBy(p.size),
  },
  /** Of a model that ends in softmax. */
  categoricalCrossentropy: { ends: 'softmax', factor: perRow, value: ofClasses },
  /** Of a model that ends in sigmoid. */
  binaryCrossentropy: { ends: 'sigmoid', factor: perElement, value: ofTruths },
  /** Of scores, of which softmax makes probabilities. */
  softmaxCrossEntropy: { follows: 'softmax', factor: perRow, value: ofClasses },
  /** Of scores, of which sigmoid makes probabilities. */
  sigmoidCrossEntropy: { follows: 'sigmoid', factor: perElement, value: ofTruths },
} as const satisfies Record<string, LossRow>

/** Losses with the names and values of `tf.losses` and of tf.layers; the last two take scores. */
export type SecretLoss = keyof typeof rows

const last = new Set<ActivationName>(['softmax', 'sigmoid'])

/** A loss of a model that ends in an activation, or in none. */
export interface LossOf {
  /** Whether the last step of the model is taken by the loss. */
  readonly takesLast: boolean
  /** Above it, one output by itself says yes. */
  readonly threshold: number
  readonly factor: (shape: Shape) => number
  /** From the output of what the loss does not take, and labels of its shape: p, and p − y. */
  predict(output: SharedTensor, y: SharedTensor): { readonly p: SharedTensor; readonly gradient: SharedTensor }
  readonly value: (p: SharedTensor, y: SharedTensor) => SharedTensor
}

/** @throws `ERR_ARGUMENT_VALUE` for a loss that is not there, or that takes a model which ends otherwise */
export function lossOf(name: unknown, ending: ActivationName | null): LossOf {
  if (typeof name !== 'string' || !Object.hasOwn(rows, name)) {
    throw sottoError('ERR_ARGUMENT_VALUE', `fit: "loss" expected one of ${Object.keys(rows).join(', ')}`, {
      option: 'loss',
    })
  }
  const { ends, follows, factor, value }: LossRow = rows[name as SecretLoss]
  if (ends !== undefined && ends !== ending) {
    throw sottoError(
      'ERR_ARGUMENT_VALUE',
      `fit: ${name} takes a model that ends in ${ends}, not ${ending ?? 'a layer'}`,
      {
        option: 'loss',
      },
    )
  }
  if (follows !== undefined && ending !== null && last.has(ending)) {
    throw sottoError('ERR_ARGUMENT_VALUE', `fit: ${name} takes scores, and this model ends in ${ending}`, {
      option: 'loss',
    })
  }
  const activation = ends ?? follows
  return {
    takesLast: ends !== undefined,
    threshold: activation === undefined ? 0.5 : 0,
    factor,
    value,
    predict: (output, y) =>
      noGrad(() => {
        if (!sameShape(output.shape, y.shape)) {
          throw sottoError(
            'ERR_SHAPE',
            `fit: the model gives ${showShape(output.shape)}, and the labels are ${showShape(y.shape)}`,
          )
        }
        const p = activation === undefined ? output : activated(output, activation)
        return { p, gradient: p.sub(y) }
      }),
  }
}
