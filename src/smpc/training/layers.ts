/**
 * Steps of a model while it trains: forward, and back. Each takes what it can out of rounds and divisions:
 *
 * - the gradient of a bias is a sum, and needs no division; those of kernels are left for their user to bring to scale;
 * - what is before the first weight that is trained gets no gradient;
 * - the sign that a ReLU takes on the way forward is what its gradient is multiplied with: one round, no division;
 * - batch normalisation divides each of its sums once.
 */
import { SeededRandom } from '../../data/random.ts'
import { sottoError } from '../../errors.ts'
import { noGrad, track, withGrad } from '../../tensor/context.ts'
import { tf } from '../../tensor/engine.ts'
import { opRow } from '../../tensor/ops.ts'
import { type Shape, sizeOf } from '../../tensor/shape.ts'
import { INTEGER } from '../encoding.ts'
import { convolutionOf, type LayerConfig, type LayerWeights, runStep, type Step } from '../layer-rules.ts'
import type { SharedTensor } from '../shared-tensor.ts'
import { type Gradient, ofProduct, ofTensor } from './gradient.ts'

/** What goes back through a step. */
export interface Returned {
  /** Gradient of the input, if it was asked for. */
  readonly input: SharedTensor | null
  /** Gradients of weights, by their names in the layer. */
  readonly weights: Readonly<Record<string, Gradient>>
}

/** A step that was taken forward. */
export interface Taken {
  readonly output: SharedTensor
  /** New values of weights that follow from what went through, by their names in the layer. */
  readonly moved?: Readonly<Record<string, SharedTensor>>
  /** From the gradient of the output. */
  back(gradient: SharedTensor, asksForInput: boolean): Returned
}

/** What a step gets besides its input. */
export interface StepInput {
  readonly x: SharedTensor
  readonly weights: LayerWeights
  /** Of this step in this batch: of what is drawn, and public. */
  readonly seed: number
}

type TrainingRule = (input: StepInput, config: LayerConfig) => Taken

const dense: TrainingRule = ({ x, weights }) => {
  const kernel = weights['kernel']!
  const flat = x.rank === 2 ? x : x.reshape([-1, x.shape.at(-1)!])
  const product = flat.matMul(kernel)
  const biased = weights['bias'] === undefined ? product : product.add(weights['bias'])
  const units = kernel.shape[1]!
  return {
    output: x.rank === 2 ? biased : biased.reshape([...x.shape.slice(0, -1), units]),
    back: (gradient, asksForInput) => {
      const g = x.rank === 2 ? gradient : gradient.reshape([-1, units])
      return {
        input: asksForInput ? g.matMul(kernel, false, true).reshape(x.shape) : null,
        weights: { kernel: ofProduct('matMul', flat, g, [true, false]), bias: ofTensor(g.sum(0)) },
      }
    },
  }
}

const conv2d: TrainingRule = ({ x, weights }, config) => {
  const kernel = weights['kernel']!
  const { strides, padding, dilationRate } = convolutionOf(config)
  const product = x.conv2d(kernel, strides, padding, 'NHWC', dilationRate)
  const attrs = opRow('conv2d').attrs(...([strides, padding, 'NHWC', dilationRate] as never[]))
  return {
    output: weights['bias'] === undefined ? product : product.add(weights['bias']),
    back: (g, asksForInput) => ({
      input: asksForInput ? g.productWith('conv2dInput', kernel, [x.shape, attrs]) : null,
      weights: { kernel: ofProduct('conv2dFilter', x, g, [kernel.shape, attrs]), bias: ofTensor(g.sum([0, 1, 2])) },
    }),
  }
}

const relu: TrainingRule = ({ x }) => {
  const [isAbove, output] = x.neg().negativeAnd([x])
  return {
    output: output!,
    back: (g, asksForInput) => ({ input: asksForInput ? isAbove!.mul(g) : null, weights: {} }),
  }
}

const reshaped: TrainingRule = ({ x }, config) => {
  const target = (config['targetShape'] as Shape | undefined) ?? [-1]
  return {
    output: x.reshape([x.shape[0]!, ...target]),
    back: (g, asksForInput) => ({ input: asksForInput ? g.reshape(x.shape) : null, weights: {} }),
  }
}

/** The sum of products over all axes but the last, undivided: of scale². One round. */
const overChannels = (x: SharedTensor, y: SharedTensor | null): SharedTensor => {
  const axes = x.shape.slice(0, -1).map((_, i) => i)
  const encodings = [INTEGER[x.encoding.ring]]
  const [products] = y === null ? x.run('square', [], { encodings }) : x.run('mul', [y], { encodings })
  return products!.sum(axes)
}
/** Integers of scale² · divisor, as numbers of a scale. One round. */
const divided = (sums: SharedTensor, like: SharedTensor, divisor: number): SharedTensor =>
  sums.run('clone', [], { divisor: BigInt(like.scale * divisor), encodings: [like.encoding] })[0]!

/**
 * (x − mean) · γ / √(variance + ε) + β with the mean and variance of the batch, which move the statistics that are kept (S.
 * Ioffe, C. Szegedy, "Batch normalization", ICML 2015, algorithm 1). With c = x − mean, r = 1/√(variance + ε) and n
 * elements in each channel, the gradient of x is γ·r/n · (n·g − Σg − c·r²·Σ(g·c)).
 *
 * Rounds: 1 for the mean, 2 for the variance, 21 for r, 4 to its product with x. Back: 8.
 */
const batchNormalization: TrainingRule = ({ x, weights }, config) => {
  const { axis = -1 } = config
  if (axis !== -1 && axis !== x.rank - 1) {
    throw sottoError('ERR_ARGUMENT_VALUE', 'fit: batchNormalization in secret is over the last axis')
  }
  const { gamma, beta } = weights
  const axes = x.shape.slice(0, -1).map((_, i) => i)
  const count = sizeOf(x.shape.slice(0, -1))
  const mean = x.mean(axes)
  const centred = x.sub(mean)
  const variance = divided(overChannels(centred, null), x, count)
  const inverse = variance.add(config['epsilon'] as number).rsqrt()
  const scale = gamma === undefined ? inverse : inverse.mul(gamma)
  const product = centred.mul(scale)
  const rate = 1 - (config['momentum'] as number)
  const towards = (name: string, value: SharedTensor): SharedTensor =>
    weights[name]!.add(value.sub(weights[name]!).mul(rate))
  return {
    output: beta === undefined ? product : product.add(beta),
    moved: { moving_mean: towards('moving_mean', mean), moving_variance: towards('moving_variance', variance) },
    back: (g, asksForInput) => {
      const along = divided(overChannels(g, centred), x, 1)
      const sum = g.sum(axes)
      const gradients = { gamma: ofProduct('mul', along, inverse, []), beta: ofTensor(sum) }
      if (!asksForInput) return { input: null, weights: gradients }
      const spread = centred.mul(along.mul(inverse).mul(inverse))
      const [input] = g
        .mul(count)
        .sub(sum)
        .sub(spread)
        .run('mul', [scale], { divisor: BigInt(x.scale * count) })
      return { input: input!, weights: gradients }
    },
  }
}

/** A mask that everybody may know, drawn from the seed: what is dropped says nothing of what it is dropped from. */
const dropout: TrainingRule = ({ x, seed }, config) => {
  const rate = config['rate'] as number
  if (config['noiseShape'] != null) throw sottoError('ERR_ARGUMENT_VALUE', 'fit: dropout in secret has no noise shape')
  if (rate === 0) return { output: x, back: (g, asksForInput) => ({ input: asksForInput ? g : null, weights: {} }) }
  const random = new SeededRandom(seed)
  const kept = Float32Array.from({ length: x.size }, () => (random.float() < rate ? 0 : 1 / (1 - rate)))
  const masked = (value: SharedTensor): SharedTensor => {
    const mask = tf.tensor(kept, [...x.shape])
    try {
      return value.mul(mask)
    } finally {
      mask.dispose()
    }
  }
  return { output: masked(x), back: (g, asksForInput) => ({ input: asksForInput ? masked(g) : null, weights: {} }) }
}

/** One row per class of layer that has a rule of its own; the others take the gradients of what they are composed of. */
const rules: Readonly<Record<string, TrainingRule | undefined>> = {
  Dense: dense,
  Conv2D: conv2d,
  Flatten: reshaped,
  Reshape: reshaped,
  BatchNormalization: batchNormalization,
  Dropout: dropout,
}

/** Takes a step forward, in training. What it makes belongs to the scope around it. */
export function takeStep(step: Step, input: StepInput): Taken {
  const { layer, activation } = step
  const name = layer.getClassName()
  const rule = activation === null ? rules[name] : activation === 'relu' ? relu : undefined
  if (rule === undefined) return composed(step, input)
  const taken = noGrad(() => rule(input, layer.getConfig() as LayerConfig))
  return { ...taken, back: (gradient, asksForInput) => noGrad(() => taken.back(gradient, asksForInput)) }
}

/** A step without weights, whose gradient follows from those of the operations it is composed of. */
function composed(step: Step, { x }: StepInput): Taken {
  const leaf = x.alias().requireGrad()
  track(leaf)
  const output = withGrad(() => runStep(step, { inputs: [leaf], weights: {}, once: (_, make) => make() }))
  return {
    output,
    back(gradient, asksForInput) {
      if (!asksForInput) return { input: null, weights: {} }
      output.backward(gradient)
      const input = leaf.grad!
      track(input)
      return { input, weights: {} }
    },
  }
}
