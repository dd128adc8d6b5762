/**
 * Update rules of weights in secret: those of `tf.train`, with their settings and defaults. What they keep of each weight
 * are secrets too, of the same parties.
 *
 * The learning rate and the corrections of a step are public, and go into divisions that are taken anyway: a step of plain
 * descent is the product that the gradient is, brought to scale once.
 */
import { sottoError } from '../../errors.ts'
import { checkOptions, numberOption } from '../../options.ts'
import { type Encoding, scaleOf } from '../encoding.ts'
import { coarseRsqrt } from '../functions.ts'
import type { SharedTensor } from '../shared-tensor.ts'
import { binary, type Gradient, productOver, timesWhole, whole } from './gradient.ts'

/** An optimizer by its name and settings, as tfjs has them. */
export type SecretOptimizer =
  | {
      readonly kind: 'sgd'
      readonly learningRate: number
      /** 0 unless given. */
      readonly momentum?: number
      readonly nesterov?: boolean
    }
  | {
      readonly kind: 'adam' | 'amsgrad'
      /** 0.001 unless given. */
      readonly learningRate?: number
      /** 0.9 unless given. */
      readonly beta1?: number
      /** 0.999 unless given. */
      readonly beta2?: number
      /** 1e-7 unless given: 1 / √(v + ε²) stands for 1 / (√v + ε), and ε is no less than 2^-18.5 where digits allow for it. */
      readonly epsilon?: number
    }

export type Slots = Readonly<Record<string, SharedTensor>>

/** One update. `step` counts from 1. */
export interface UpdateInput {
  readonly value: SharedTensor
  readonly gradient: Gradient
  /** What the gradient is to be multiplied by to be that of the mean loss. */
  readonly factor: number
  readonly step: number
  readonly slots: Slots
}

export interface Updated {
  readonly value: SharedTensor
  readonly slots: Slots
}

/** An optimizer whose settings were checked. */
export interface Rule {
  readonly kind: SecretOptimizer['kind']
  readonly config: Readonly<Record<string, number | boolean>>
  /** What is kept of a weight of an encoding, and in which. */
  slots(encoding: Encoding): Readonly<Record<string, Encoding>>
  update(input: UpdateInput): Updated
}

const zeros = (like: SharedTensor, encoding: Encoding = like.encoding): SharedTensor =>
  like.run('sub', [like], { encodings: [encoding] })[0]!

/**
 * Gradient descent; with momentum m, v ← m·v + rate·g and w ← w − v (Polyak 1964), or w ← w − (rate·g + m·v) (Nesterov's:
 * Sutskever et al., ICML 2013). Rounds after the gradient's product: 1; with Nesterov's, 2.
 */
function sgd(settings: Record<string, unknown>): Rule {
  checkOptions('fit: "optimizer"', settings, ['kind', 'learningRate', 'momentum', 'nesterov'])
  const rate = numberOption('fit: "optimizer"', 'learningRate', settings['learningRate'], { above: 0 })
  const momentum = numberOption('fit: "optimizer"', 'momentum', settings['momentum'] ?? 0, { from: 0, below: 1 })
  const { nesterov = false } = settings
  if (typeof nesterov !== 'boolean') {
    throw sottoError('ERR_ARGUMENT_TYPE', 'fit: "nesterov" expected true or false', { option: 'nesterov' })
  }
  return {
    kind: 'sgd',
    config: { learningRate: rate, momentum, nesterov },
    slots: (encoding): Record<string, Encoding> => (momentum === 0 ? {} : { velocity: encoding }),
    update({ value, gradient, factor, slots }): Updated {
      const step = gradient.times(rate * factor, value.encoding)
      if (momentum === 0) return { value: value.sub(step), slots: {} }
      const before = slots['velocity']
      const velocity = before === undefined ? step : before.mul(momentum).add(step)
      const taken = nesterov ? velocity.mul(momentum).add(step) : velocity
      return { value: value.sub(taken), slots: { velocity } }
    },
  }
}

/**
 * Gradients are taken 128-fold: where they are small their squares would have no digits, and steps do not depend on it.
 */
const SCALED = 128
/** Of the second moments, at most: what roots take. */
const LARGEST_SCALES = { 64: 2 ** 24, 128: 2 ** 36 } as const
/** Bits of 1 − beta2. */
const RATE_BITS = 10

/** The encoding of squares of an encoding: as many digits of theirs as roots take. */
function squaresOf({ ring, dtype, base, precisionFractional }: Encoding): Encoding {
  let digits = 2 * precisionFractional
  while (digits > precisionFractional && base ** digits > LARGEST_SCALES[ring]) digits--
  return { ring, dtype, base, precisionFractional: digits }
}

/**
 * Adam (Kingma and Ba, arXiv 1412.6980, algorithm 1), and AMSGrad, which divides by the largest second moment so far (Reddi,
 * Kale, Kumar, ICLR 2018, algorithm 2; with the corrections of Adam).
 *
 * Domain: mean gradients below 8 of any weight; second moments have 24 bits below the point (of 128 bits 36), of gradients
 * taken 128-fold.
 * Roots are taken to 12 bits: so much more or less is a step. Rounds after the gradient's: 1 for its square, 1 for the moment, 21 for the root (AMSGrad: 8 more), 2 for the step.
 */
function adam(kind: 'adam' | 'amsgrad', settings: Record<string, unknown>): Rule {
  checkOptions('fit: "optimizer"', settings, ['kind', 'learningRate', 'beta1', 'beta2', 'epsilon'])
  const number = (name: string, value: number, range: object): number =>
    numberOption('fit: "optimizer"', name, settings[name] ?? value, range)
  const rate = number('learningRate', 0.001, { above: 0 })
  const beta1 = number('beta1', 0.9, { from: 0, below: 1 })
  const beta2 = number('beta2', 0.999, { above: 0, below: 1 })
  const epsilon = number('epsilon', 1e-7, { from: 0 })
  // 1 − beta2 as a whole number over a power of two; what was rounded, corrections take into account.
  const bits = RATE_BITS - 1 - Math.floor(Math.log2(1 - beta2))
  const share = Math.round((1 - beta2) * 2 ** bits)
  const decay = 1 - share / 2 ** bits
  return {
    kind,
    config: { learningRate: rate, beta1, beta2, epsilon },
    slots: (encoding) => {
      const squares = squaresOf(encoding)
      return { first: encoding, second: squares, ...(kind === 'amsgrad' ? { largest: squares } : {}) }
    },
    update({ value, gradient, factor, step, slots }) {
      const { encoding } = value
      const squares = squaresOf(encoding)
      const g = gradient.times(SCALED * factor, encoding)
      const before = slots['first'] ?? zeros(value)
      const first = before.add(g.sub(before).mul(1 - beta1))
      // v + (g² − v) · (1 − beta2): the square, undivided, meets v at its own scale, so that one division does for both.
      const moment = slots['second'] ?? zeros(value, squares)
      const [square] = g.run('square', [], { encodings: [squares] })
      const lacking = timesWhole(
        moment,
        encoding.base ** (2 * encoding.precisionFractional - squares.precisionFractional),
      )
      const [grown] = square!
        .sub(lacking)
        .run('mul', [whole(g, share)], { divisor: BigInt((g.scale ** 2 / scaleOf(squares)) * 2 ** bits) })
      const second = moment.add(grown!)
      const kept = slots['largest']
      const largest = kind === 'amsgrad' ? (kept === undefined ? second : kept.maximum(second)) : second
      const corrected = Math.sqrt(1 - decay ** step)
      // A moment of zero may have been rounded to one unit below.
      const floor = Math.max((SCALED * epsilon * corrected) ** 2, 2 / scaleOf(squares))
      const root = coarseRsqrt(largest.add(floor))
      const { whole: by, bits: down } = binary((rate * corrected) / (1 - beta1 ** step))
      const taken = productOver(timesWhole(first, by), root, scaleOf(squares), down, encoding)
      const moments = { first, second, ...(kind === 'amsgrad' ? { largest } : {}) }
      return { value: value.sub(taken), slots: moments }
    },
  }
}

const rules = {
  sgd,
  adam: (settings) => adam('adam', settings),
  amsgrad: (settings) => adam('amsgrad', settings),
} as const satisfies Record<SecretOptimizer['kind'], (settings: Record<string, unknown>) => Rule>

/** @throws for an optimizer that is not there, and for settings that it does not take */
export function ruleOf(optimizer: unknown): Rule {
  const { kind } = (optimizer ?? {}) as { kind?: unknown }
  if (typeof kind !== 'string' || !Object.hasOwn(rules, kind)) {
    throw sottoError(
      'ERR_ARGUMENT_TYPE',
      `fit: "optimizer" expected { kind, … } with a kind of ${Object.keys(rules).join(', ')}`,
      { option: 'optimizer' },
    )
  }
  return rules[kind as keyof typeof rules](optimizer as Record<string, unknown>)
}
