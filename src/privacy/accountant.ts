/**
 * What training with Gaussian noise costs in privacy: an accountant by Rényi differential privacy.
 *
 * Each step releases a sum of contributions, each of norm at most `clip`, plus noise of N(0, (noiseMultiplier · clip)²)
 * in every coordinate. Neighbouring inputs differ in one contribution that is there or not. The ρ of all steps add up,
 * order by order, and the order that gives the least ε is taken: an upper bound, whichever it is.
 *
 * The bounds are those of real numbers; what floats may give away besides is not counted (Mironov, CCS '12).
 */
import { sottoError } from '../errors.ts'
import { checkOptions, type NumberRange, numberOption } from '../options.ts'
import { gaussianRdp } from './renyi.ts'

/** Steps of one kind. */
export interface NoisySteps {
  /** Deviation of the noise over the largest norm of one contribution; from 0. */
  readonly noiseMultiplier: number
  /**
   * Probability with which a contribution takes part in a step, from 0 to 1: drawn anew each step, for each by itself
   * (Poisson sampling). Default: 1. Batches of a fixed size, or an order gone through once, are no such sample: what
   * takes part in one of n batches each epoch has taken one step an epoch with a rate of 1.
   */
  readonly sampleRate?: number
  /** How many steps; a whole number from 0. Default: 1. */
  readonly steps?: number
}

/** An (ε, δ) of differential privacy. */
export interface PrivacySpent {
  /** Infinity where there is no noise. */
  readonly epsilon: number
  readonly delta: number
  /** The Rényi order that gave it. At the end of the list, finer or further orders may give less. */
  readonly order: number
}

const range = (from: number, to: number, step: number): number[] =>
  Array.from({ length: Math.round((to - from) / step) + 1 }, (_, i) => from + i * step)

/** Tried by default: fine where noise is little, sparse where it is much. From 1.02 to 1024. */
const ORDERS: readonly number[] = [
  ...[1.02, 1.04, 1.06, 1.08],
  ...range(11, 109, 1).map((tenths) => tenths / 10),
  ...range(11, 64, 1),
  ...range(72, 128, 8),
  ...range(160, 256, 32),
  ...range(320, 512, 64),
  ...range(640, 1024, 128),
]

const DELTA: NumberRange = { above: 0, below: 1 }

function checkSteps(entry: string, { noiseMultiplier, sampleRate = 1, steps = 1 }: NoisySteps): Required<NoisySteps> {
  return {
    noiseMultiplier: numberOption(entry, 'noiseMultiplier', noiseMultiplier, { from: 0 }),
    sampleRate: numberOption(entry, 'sampleRate', sampleRate, { from: 0, to: 1 }),
    steps: numberOption(entry, 'steps', steps, { from: 0, integer: true }),
  }
}

/**
 * The least ε that Rényi divergences of ρ at one order promise at δ.
 *
 * ε = ρ + log((α − 1)/α) − (log δ + log α)/(α − 1): Canonne, Kamath, Steinke 2020, arXiv 2004.00010, Proposition 12; as
 * Balle et al. 2020, arXiv 1905.09982, Theorem 21. And ε = 0 where even the total variation is at most δ, by
 * √(1 − e^−ρ) (Bretagnolle and Huber 1979).
 */
function epsilonAt(order: number, rho: number, delta: number): number {
  if (-Math.expm1(-rho) <= delta ** 2) return 0
  const epsilon = rho + Math.log1p(-1 / order) - Math.log(delta * order) / (order - 1)
  return Math.max(0, epsilon)
}

/**
 * Adds up what steps of any kinds cost.
 *
 * @example
 * const accountant = new PrivacyAccountant()
 * for (const round of rounds) accountant.add({ noiseMultiplier: 1.1, sampleRate: round.clients / clients })
 * accountant.spent(1e-5) // { epsilon, delta, order }
 */
export class PrivacyAccountant {
  readonly #orders: readonly number[]
  readonly #history: Required<NoisySteps>[] = []
  /** ρ of one step at each order, by kind of step: rounds are often alike. */
  readonly #costs = new Map<string, readonly number[]>()

  /**
   * @param options `orders`: the Rényi orders to try, each above 1; by default 177 of them from 1.02 to 1024
   * @throws `ERR_ARGUMENT_TYPE`, `ERR_ARGUMENT_VALUE` for orders that are not
   */
  constructor(options: { readonly orders?: readonly number[] } = {}) {
    checkOptions('PrivacyAccountant', options, ['orders'])
    const { orders = ORDERS } = options
    if (!Array.isArray(orders) || orders.length === 0) {
      throw sottoError('ERR_ARGUMENT_TYPE', 'PrivacyAccountant: "orders" expected a list of numbers', {
        option: 'orders',
      })
    }
    this.#orders = orders.map((order) => numberOption('PrivacyAccountant', 'orders', order, { above: 1 }))
  }

  /**
   * Steps that were taken. What they see may depend on all that earlier steps released.
   *
   * @returns the same accountant
   * @throws `ERR_ARGUMENT_TYPE`, `ERR_ARGUMENT_VALUE` for an option of another kind or out of range
   */
  add(steps: NoisySteps): this {
    checkOptions('add', steps, ['noiseMultiplier', 'sampleRate', 'steps'])
    const taken = checkSteps('add', steps)
    const last = this.#history.at(-1)
    if (last?.noiseMultiplier === taken.noiseMultiplier && last.sampleRate === taken.sampleRate) {
      this.#history[this.#history.length - 1] = { ...last, steps: last.steps + taken.steps }
    } else this.#history.push(taken)
    return this
  }

  /** All steps so far, those of one kind in a row as one: added to another accountant, they cost there what they do here. */
  get history(): readonly Required<NoisySteps>[] {
    return [...this.#history]
  }

  /**
   * What all steps so far promise together.
   *
   * @param delta δ, between 0 and 1: below one over the number of those who contribute
   * @throws `ERR_ARGUMENT_TYPE`, `ERR_ARGUMENT_VALUE` for any other
   */
  spent(delta: number): PrivacySpent {
    numberOption('spent', 'delta', delta, DELTA)
    const total = new Float64Array(this.#orders.length)
    for (const taken of this.#history) {
      if (taken.steps === 0) continue
      for (const [i, rho] of this.#costOf(taken).entries()) total[i]! += taken.steps * rho
    }
    let best: PrivacySpent = { epsilon: Infinity, delta, order: this.#orders[0]! }
    for (const [i, order] of this.#orders.entries()) {
      const epsilon = epsilonAt(order, total[i]!, delta)
      if (epsilon < best.epsilon) best = { epsilon, delta, order }
    }
    return best
  }

  #costOf({ noiseMultiplier, sampleRate }: Required<NoisySteps>): readonly number[] {
    const kind = `${noiseMultiplier} ${sampleRate}`
    const known = this.#costs.get(kind)
    if (known !== undefined) return known
    const cost = this.#orders.map((order) => gaussianRdp(noiseMultiplier, sampleRate, order))
    this.#costs.set(kind, cost)
    return cost
  }
}

/**
 * What steps of one kind promise at δ.
 *
 * @throws `ERR_ARGUMENT_TYPE`, `ERR_ARGUMENT_VALUE` for an option of another kind or out of range
 * @example
 * epsilonOf({ noiseMultiplier: 1.1, sampleRate: 256 / 60_000, steps: 14_063, delta: 1e-5 }) // ε = 2.60, by order 8.1
 */
export function epsilonOf(options: NoisySteps & { readonly delta: number }): PrivacySpent {
  checkOptions('epsilonOf', options, ['noiseMultiplier', 'sampleRate', 'steps', 'delta'])
  const { delta, ...steps } = options
  checkSteps('epsilonOf', steps)
  numberOption('epsilonOf', 'delta', delta, DELTA)
  return new PrivacyAccountant().add(steps).spent(delta)
}

/** How close to the least noise `noiseFor` comes, relative to it. */
const NOISE_PRECISION = 1e-6

/**
 * The noise that steps need to promise (ε, δ): the least noise multiplier, up to a millionth above it. `epsilonOf` with it
 * is never above ε.
 *
 * @param options `epsilon`: above 0; `delta`: between 0 and 1; `sampleRate` and `steps` as in {@link NoisySteps}
 * @returns 0 where nothing is released
 * @throws `ERR_ARGUMENT_TYPE`, `ERR_ARGUMENT_VALUE` for an option of another kind or out of range
 */
export function noiseFor(
  options: Omit<NoisySteps, 'noiseMultiplier'> & { readonly epsilon: number; readonly delta: number },
): number {
  checkOptions('noiseFor', options, ['epsilon', 'delta', 'sampleRate', 'steps'])
  const { epsilon, delta } = options
  numberOption('noiseFor', 'epsilon', epsilon, { above: 0 })
  numberOption('noiseFor', 'delta', delta, DELTA)
  const { sampleRate, steps } = checkSteps('noiseFor', { ...options, noiseMultiplier: 0 })
  if (sampleRate === 0 || steps === 0) return 0
  const isEnough = (noiseMultiplier: number) =>
    epsilonOf({ noiseMultiplier, sampleRate, steps, delta }).epsilon <= epsilon
  // ε falls as the noise grows. With none it is infinite.
  let [little, enough] = [0, 1]
  while (!isEnough(enough)) {
    little = enough
    enough *= 2
  }
  while (enough - little > NOISE_PRECISION * enough) {
    const middle = (little + enough) / 2
    if (isEnough(middle)) enough = middle
    else little = middle
  }
  return enough
}
