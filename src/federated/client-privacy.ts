/**
 * Differential privacy of clients, in numbers: how far to clip, how much noise to add, and what it comes to.
 *
 * McMahan et al., "Learning differentially private recurrent language models", ICLR 2018, arXiv 1710.06963: each client's
 * update is clipped to a norm of `clip`, and noise of N(0, (σ·clip)²) goes into every coordinate of their sum, σ being
 * the noise multiplier. What is released of a round then says little about whether any one client, with all its data,
 * was in it.
 *
 * It holds for sums in which every client counts alike. Weights by examples would let one count for more than `clip`, and
 * their sum would tell of examples; so the mean is of equal weights.
 */
import { sottoError } from '../errors.ts'
import { checkOptions, numberOption } from '../options.ts'
import { type NoisySteps, PrivacyAccountant, type PrivacySpent } from '../privacy/accountant.ts'

export interface ClientPrivacyOptions {
  /** The largest L2 norm that an update keeps, over the whole model; above 0. */
  readonly clip: number
  /** σ: deviation of the noise in the sum of updates, in units of `clip`; from 0, which promises nothing. */
  readonly noiseMultiplier: number
  /** δ: above 0, below one over the clients, for with more whole clients could be given away. */
  readonly delta: number
  /** How many clients there are, of whom some take part in a round; from 1. */
  readonly clients: number
  /**
   * How many of them take part in a round on average, each by itself (`poisson: true` of `sampleClients`); above 0, to
   * `clients`. Left out, nothing is gained from sampling: right for samples of a fixed size, and where it is known who
   * takes part.
   */
  readonly perRound?: number
  /** What was recorded before, to go on from. */
  readonly history?: readonly Required<NoisySteps>[]
}

/** Deviations of the noise of one round, in every coordinate; one of them is added, not both. */
export interface RoundNoise {
  /** Of what the server adds to the mean of the updates: σ·clip/m. The server is trusted with adding it. */
  readonly mean: number
  /**
   * Of what each client adds to its own update: σ·clip/√m, so that their sum has σ·clip. Whoever pools what some clients
   * added can take it off again, and then only what the others added is left.
   */
  readonly each: number
}

const OPTIONS = ['clip', 'noiseMultiplier', 'delta', 'clients', 'perRound', 'history'] as const

/**
 * What to multiply an update by, so that its norm is `clip` at most: min(1, clip/norm).
 *
 * @param norm L2, from 0. In float32 the product may be above `clip` by a unit of rounding.
 * @param clip above 0
 * @returns above 0, to 1
 * @throws `ERR_ARGUMENT_TYPE`, `ERR_ARGUMENT_VALUE` for numbers that are not, NaN and infinities too: such an update
 *   must not be sent
 */
export function clipFactor(norm: number, clip: number): number {
  numberOption('clipFactor', 'norm', norm, { from: 0 })
  numberOption('clipFactor', 'clip', clip, { above: 0 })
  return norm <= clip ? 1 : clip / norm
}

/**
 * Noise and account of a federation's rounds.
 *
 * What it promises, it promises to those who see the models and not who took part: neighbours differ in one client, which
 * sends its update or zeros, with the same noise. That the mean is divided by how many took part, and so shows it, is not
 * counted; McMahan et al. divide by the number that is expected.
 *
 * @example
 * const privacy = new ClientPrivacy({ clip: 1, noiseMultiplier: 1.2, delta: 1e-5, clients: 3383, perRound: 120 })
 * const { mean } = privacy.noise(participants) // deviation of the noise to add to the mean of their updates
 * privacy.record(participants)
 * privacy.spent() // { epsilon, delta, order }
 */
export class ClientPrivacy {
  readonly clip: number
  readonly noiseMultiplier: number
  readonly delta: number
  readonly clients: number
  /** With what probability a client takes part in a round; 1 where nothing is gained from sampling. */
  readonly sampleRate: number
  readonly #accountant = new PrivacyAccountant()

  /** @throws `ERR_ARGUMENT_TYPE`, `ERR_ARGUMENT_VALUE` for an option of another kind or out of range */
  constructor(options: ClientPrivacyOptions) {
    const entry = 'ClientPrivacy'
    checkOptions(entry, options, OPTIONS)
    this.clip = numberOption(entry, 'clip', options.clip, { above: 0 })
    this.noiseMultiplier = numberOption(entry, 'noiseMultiplier', options.noiseMultiplier, { from: 0 })
    this.clients = numberOption(entry, 'clients', options.clients, { from: 1, integer: true })
    this.delta = numberOption(entry, 'delta', options.delta, { above: 0, below: 1 / this.clients })
    const perRound = numberOption(entry, 'perRound', options.perRound ?? this.clients, { above: 0, to: this.clients })
    this.sampleRate = perRound / this.clients
    const { history = [] } = options
    if (!Array.isArray(history)) {
      throw sottoError('ERR_ARGUMENT_TYPE', `${entry}: "history" expected a list, as history gives`, { entry })
    }
    for (const steps of history) this.#accountant.add(steps)
  }

  /**
   * The noise of a round.
   *
   * @param participants m: how many updates are in the mean; before it is known, the fewest that there may be, and the
   *   noise is enough
   * @throws `ERR_ARGUMENT_TYPE`, `ERR_ARGUMENT_VALUE` unless it is a whole number from 1 to the clients
   */
  noise(participants: number): RoundNoise {
    this.#checkParticipants('noise', 'participants', participants)
    const sum = this.noiseMultiplier * this.clip
    return { mean: sum / participants, each: sum / Math.sqrt(participants) }
  }

  /**
   * A round whose mean was released. One that failed before that costs nothing.
   *
   * @param participants how many updates, with their noise, are in the mean
   * @param noisedFor when clients add the noise: for how many each made its own, as given to {@link noise}. When fewer
   *   took part, there is less noise in their sum, and the round costs more; when more did, less. Default: for as many as
   *   took part, as when the server adds it.
   * @throws `ERR_ARGUMENT_TYPE`, `ERR_ARGUMENT_VALUE` unless both are whole numbers from 1 to the clients
   */
  record(participants: number, noisedFor: number = participants): void {
    this.#checkParticipants('record', 'participants', participants)
    this.#checkParticipants('record', 'noisedFor', noisedFor)
    this.#accountant.add({
      // The sum of m draws of variance (σ·clip)²/n.
      noiseMultiplier: this.noiseMultiplier * Math.sqrt(participants / noisedFor),
      sampleRate: this.sampleRate,
    })
  }

  /** The rounds so far; given to another, it goes on from there. */
  get history(): readonly Required<NoisySteps>[] {
    return this.#accountant.history
  }

  /** What all rounds so far promise together, at δ. */
  spent(): PrivacySpent {
    return this.#accountant.spent(this.delta)
  }

  #checkParticipants(method: string, name: string, value: number): void {
    numberOption(`ClientPrivacy.${method}`, name, value, { from: 1, to: this.clients, integer: true })
  }
}
