/** The mean by shares among compute workers: nobody sees a client's part, unless all of them get together, or two of three. */
import { sottoError } from '../../errors.ts'
import { checkOptions, numberOption } from '../../options.ts'
import { checkRing } from '../../smpc/encoding.ts'
import { checkParties, type ProtocolName, protocolOf } from '../../smpc/protocols/index.ts'
import type { RingBits } from '../../smpc/ring/kernels.ts'
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
  /**
   * How parts are shared: 'additive' unless given; or 'replicated', among three, of whom any two together know a part, and any
   * two that are left could go on.
   */
  readonly protocol?: ProtocolName
  /** Bits of the integers that are shared: 64 unless given, or 128. */
  readonly ring?: RingBits
  /** Fractional bits. Default: 24, of 128 bits 32. */
  readonly precision?: number
}

/** The most fractional bits of each ring. */
const MOST = { 64: 40, 128: 52 } as const

/**
 * Shares modulo 2^64 or 2^128: each client's worker shares what it sends among compute workers, which add the shares up, and
 * only the sum is opened. A client sends an element a value to one of them, and seeds to the others; of replicated shares, an
 * element to two of the three.
 *
 * Of private values, owners must name the compute workers in `allowShares`, and the coordinator in `allowTotals`.
 */
export function shares(options: SharesOptions): Aggregation {
  checkOptions('shares', options, ['parties', 'protocol', 'ring', 'precision'])
  const { parties, protocol = 'additive' } = options
  const ring = options.ring === undefined ? 64 : checkRing('shares', options.ring)
  const { precision = ring === 64 ? 24 : 32 } = options
  if (!Array.isArray(parties) || parties.length < 2 || !parties.every((party) => party instanceof Worker)) {
    throw sottoError('ERR_ARGUMENT_TYPE', 'shares: "parties" expected a list of two workers or more', {
      option: 'parties',
    })
  }
  // What is shared are values times weights of at most 1: there is room above the point.
  numberOption('shares', 'precision', precision, { from: 1, to: MOST[ring], integer: true })
  checkParties(protocolOf(protocol), parties.length, false)
  return new Shares({ parties, protocol, ring, precision })
}

/** Bytes of a seed. */
const SEED = 32

class Shares implements Aggregation {
  readonly name = 'shares'
  readonly inClear = false
  readonly #options: Required<SharesOptions>

  constructor(options: Required<SharesOptions>) {
    this.#options = options
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
    const { parties, protocol, ring, precision } = this.#options
    const opened = await scope(async () => {
      const secrets = left.map(({ worker, values, weight }) => {
        worker.addWorkers(parties.filter((party) => party !== worker))
        return values.map((value) => {
          const fixed = value.mul(weight / total).fixPrecision({ ring, base: 2, precisionFractional: precision })
          return fixed.share([...parties], { protocol }) as SharedTensor
        })
      })
      const wait = { timeout: context.deadline, ...(context.signal ? { signal: context.signal } : {}) }
      return Promise.all(left[0]!.values.map((_, i) => sumOf(secrets.map((secret) => secret[i]!)).reveal(wait)))
    })
    const mean = Float64Array.from(vectorOf(opened))
    tf.dispose(opened)
    // Every party that holds a component is sent it: its elements for one component, a seed for each other.
    const copies = protocol === 'replicated' ? 2 : 1
    const bytesUp = copies * ((ring / 8) * length + SEED * (parties.length - 1))
    return { mean, contributors: left.map(({ worker }) => worker.id), missing, bytesUp }
  }

  dispose(): void {}
}
