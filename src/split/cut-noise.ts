/**
 * Noise at the cut of a split net: what leaves for the next party is clipped and blurred where it is made.
 *
 * The Gaussian mechanism on each row by itself, as in local differential privacy: the noise is in the activations when
 * they leave, and nobody has to be trusted with adding it up.
 */
import { sottoError } from '../errors.ts'
import { checkOptions, numberOption } from '../options.ts'
import { epsilonOf, type PrivacySpent } from '../privacy/accountant.ts'
import { scope } from '../tensor/context.ts'
import { PointerTensor } from '../tensor/pointer.ts'
import { shapeError, showShape } from '../tensor/shape.ts'

export interface CutNoise {
  /** The largest L2 norm that a row keeps; above 0. */
  readonly clip: number
  /** Deviation of the noise in every element, in units of `clip`; from 0, which clips and adds nothing. */
  readonly noiseMultiplier: number
}

export interface CutNoiseReleases {
  /** As given to {@link cutNoise}. */
  readonly noiseMultiplier: number
  /** As given to {@link cutNoise}; the result does not depend on it. */
  readonly clip?: number
  /** How often a row leaves; a whole number from 0. */
  readonly releases: number
  /** Between 0 and 1. */
  readonly delta: number
}

const OPTIONS = ['clip', 'noiseMultiplier'] as const

function checkNoise(entry: string, { clip, noiseMultiplier }: CutNoise): void {
  numberOption(entry, 'clip', clip, { above: 0 })
  numberOption(entry, 'noiseMultiplier', noiseMultiplier, { from: 0 })
}

/**
 * Scales every row that is longer than `clip` down to it, and adds noise of N(0, (noiseMultiplier · clip)²) to every
 * element; on the worker that holds the rows, from its system's CSPRNG. Gradients go through: those of a clipped row
 * along the sphere that it was brought to. What it promises, {@link cutNoiseEpsilon} says.
 *
 * @param activations float32 of shape [n, …]: a row is all that has one first index
 * @returns float32 of the same shape, on the same worker; norms may be above `clip` by a unit of rounding
 * @throws `ERR_SHAPE` for a scalar or a vector, `ERR_ARGUMENT_TYPE`, `ERR_ARGUMENT_VALUE` for anything else that is wrong
 * @example
 * const cut = cutNoise(bottom.apply(images), { clip: 1, noiseMultiplier: 0.5 }).move(bob, { requiresGrad: true })
 */
export function cutNoise(activations: PointerTensor, options: CutNoise): PointerTensor {
  if (!(activations instanceof PointerTensor)) {
    throw sottoError('ERR_ARGUMENT_TYPE', 'cutNoise: expected a pointer to the activations')
  }
  checkOptions('cutNoise', options, OPTIONS)
  checkNoise('cutNoise', options)
  const { clip, noiseMultiplier } = options
  const { shape } = activations
  if (shape.length < 2) throw shapeError('cutNoise', `activations must be [n, …], got ${showShape(shape)}`, shape)
  return scope(() => {
    const axes = shape.slice(1).map((_, i) => i + 1)
    // (|row| / clip)², from 1 on: the root of 0 would have no gradient, and of rows within the clip nothing changes.
    const excess = activations.div(clip).square().sum(axes, true).maximum(1)
    return activations.mul(excess.rsqrt()).addGaussianNoise(noiseMultiplier * clip)
  })
}

/**
 * The (ε, δ) of what {@link cutNoise} lets out of one row, when it lets it out several times: for any two values that the
 * row's activations may have, however far apart, what the next party receives of the row is about as likely
 * (local differential privacy, per row). Replacing a row moves what leaves by 2 · clip at most; batches are no sample,
 * for the next party sees which rows are in them.
 *
 * It covers the activations of this row as the next party sees them: in training, one release an epoch, and one more for
 * each evaluation or prediction. It does not cover
 * - labels, nor the gradients that come back from whoever has them;
 * - what the row teaches the layers before the cut: they are trained on it in clear, and shape what is released of other
 *   rows later. Where these layers are fixed there is no such thing;
 * - several rows of one person: k of them move what leaves √k times as far, so call it with noiseMultiplier / √k;
 * - what floats give away beside real numbers (see `src/tensor/gaussian-noise.ts`).
 *
 * @throws `ERR_ARGUMENT_TYPE`, `ERR_ARGUMENT_VALUE` for an option of another kind or out of range
 * @example
 * const noise = { clip: 1, noiseMultiplier: 4 }
 * cutNoiseEpsilon({ ...noise, releases: epochs + 1, delta: 1e-5 }).epsilon
 */
export function cutNoiseEpsilon(options: CutNoiseReleases): PrivacySpent {
  checkOptions('cutNoiseEpsilon', options, [...OPTIONS, 'releases', 'delta'])
  const { clip = 1, noiseMultiplier, releases, delta } = options
  checkNoise('cutNoiseEpsilon', { clip, noiseMultiplier })
  numberOption('cutNoiseEpsilon', 'releases', releases, { from: 0, integer: true })
  numberOption('cutNoiseEpsilon', 'delta', delta, { above: 0, below: 1 })
  // The accountant counts deviations in units of what one input can change: here 2 · clip.
  return epsilonOf({ noiseMultiplier: noiseMultiplier / 2, steps: releases, delta })
}
