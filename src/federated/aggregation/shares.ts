/** The mean by additive shares among compute workers: nobody sees a client's part, unless all of them get together. */
import { sottoError } from '../../errors.ts'
import { checkOptions, numberOption } from '../../options.ts'
import type { SharedTensor } from '../../smpc/shared-tensor.ts'
import { sumOf } from '../../smpc/totals.ts'
import { tf } from '../../tensor/backend.ts'
import { scope } from '../../tensor/context.ts'
import { Worker } from '../../worker/worker.ts'
import { vectorOf } from '../vectors.ts'
import {
  type Aggregation,
  type AggregationContext,
  askAll,
  type Contribution,
  checkContributions,
  checkEnough,
  lengthOf,
  type Mean,
  type Missing,
} from './aggregation.ts'

export interface SharesOptions {
  /** Workers that compute the sum, two or more: no single one learns a part, nor all but one. Clients may be among them. */
  readonly parties: readonly Worker[]
  /** Fractional bits. Default: 24. */
  readonly precision?: number
}

/**
 * Additive shares modulo 2^64: each client's worker shares what it sends among compute workers, which add the shares up,
 * and only the sum is opened. A client sends 8 bytes a value to one of them, and seeds to the others.
 *
 * Of private values, owners must name the compute workers in `allowShares`, and the coordinator in `allowTotals`.
 */
export function shares(options: SharesOptions): Aggregation {
  checkOptions('shares', options, ['parties', 'precision'])
  const { parties, precision = 24 } = options
  if (!Array.isArray(parties) || parties.length < 2 || !parties.every((party) => party instanceof Worker)) {
    throw sottoError('ERR_ARGUMENT_TYPE', 'shares: "parties" expected a list of two workers or more', {
      option: 'parties',
    })
  }
  // What is shared are values times weights of at most 1: there is room above the point.
  numberOption('shares', 'precision', precision, { from: 1, to: 40, integer: true })
  return new Shares(parties, precision)
}

class Shares implements Aggregation {
  readonly name = 'shares'
  readonly inClear = false
  readonly #parties: readonly Worker[]
  readonly #precision: number

  constructor(parties: readonly Worker[], precision: number) {
    this.#parties = parties
    this.#precision = precision
  }

  async mean(contributions: readonly Contribution[], context: AggregationContext): Promise<Mean> {
    checkContributions('shares', contributions)
    const length = lengthOf(contributions)
    const byWorker = new Map(contributions.map((contribution) => [contribution.worker, contribution]))
    const missing: Missing[] = []
    // Who is late drops out here: a share that is announced and does not come would hold up the parties.
    const there = await askAll([...byWorker.keys()], context, missing, (worker, wait) => worker.flush(wait))
    const left = there.map(({ worker }) => byWorker.get(worker)!)
    checkEnough(left.length, context.minimum, missing)
    const total = left.reduce((sum, { weight }) => sum + weight, 0)
    const opened = await scope(async () => {
      const secrets = left.map(({ worker, values, weight }) => {
        worker.addWorkers(this.#parties.filter((party) => party !== worker))
        return values.map((value) => {
          const fixed = value.mul(weight / total).fixPrecision({ base: 2, precisionFractional: this.#precision })
          return fixed.share([...this.#parties]) as SharedTensor
        })
      })
      const wait = { timeout: context.deadline, ...(context.signal ? { signal: context.signal } : {}) }
      return Promise.all(left[0]!.values.map((_, i) => sumOf(secrets.map((secret) => secret[i]!)).reveal(wait)))
    })
    const mean = Float64Array.from(vectorOf(opened))
    tf.dispose(opened)
    const bytesUp = 8 * length + 32 * (this.#parties.length - 1)
    return { mean, contributors: left.map(({ worker }) => worker.id), missing, bytesUp }
  }

  dispose(): void {}
}
