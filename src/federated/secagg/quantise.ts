/**
 * Reals as integers that add up: clipped, weighted, rounded at random to whole steps, and counted modulo 2^32 or 2^64.
 *
 * A value x of weight w becomes the integer ⌊s⌋ or ⌈s⌉ for s = (w / W)·x·Q / clip, with W the largest weight and
 * Q = 2^(bits−1) − 1, so that integers are symmetric; up with the probability of what is beyond ⌊s⌋, so that it is s on
 * average (stochastic rounding; for sums under secure aggregation Bonawitz et al., "Federated learning with autotuned
 * communication-efficient secure aggregation", 2019). It is off by less than a step.
 *
 * The weight comes before the rounding: of integers that were multiplied after it, a sum could be read like the digits of
 * a number, and would give away each. The weight is a coordinate of its own at the end, so that a sum holds Σ w exactly.
 * Nothing wraps around: what n clients could add up to is checked when the quantiser is made.
 */
import { sottoError } from '../../errors.ts'
import { checkOptions, numberOption } from '../../options.ts'
import { Prg, randomSeed } from '../../smpc/prg.ts'
import { checkVector, type Vector, type WordBits, zeros } from './vectors.ts'

export interface QuantiserOptions {
  /** Values are taken to be from −clip to clip, and what is beyond is made that; above 0. */
  readonly clip: number
  /** Bits of an integer, with its sign; from 2 to 32. Default: 20. */
  readonly bits?: number
  /** Words that sums are counted in: 32 (the default) or 64 bits. */
  readonly modulus?: WordBits
  /** The most clients that a sum is of. */
  readonly clients: number
  /** The largest weight, in whole numbers; such as the most examples a client counts. Default: 1. */
  readonly maxWeight?: number
}

/** Values to draw randomness for at once. */
const CHUNK = 16_384

/** Makes integers of values, and a weighted mean of their sum. The same for all clients of a round. */
export class Quantiser {
  readonly clip: number
  readonly bits: number
  readonly modulus: WordBits
  readonly clients: number
  readonly maxWeight: number
  /** The largest integer: Q above. */
  readonly largest: number

  /**
   * @throws RangeError `ERR_ARGUMENT_VALUE` for options out of range, and when a sum might wrap around; the message says
   *   what would fit
   */
  constructor(options: QuantiserOptions) {
    const entry = 'Quantiser'
    checkOptions(entry, options, ['clip', 'bits', 'modulus', 'clients', 'maxWeight'])
    const { clip, bits = 20, modulus = 32, clients, maxWeight = 1 } = options
    this.clip = numberOption(entry, 'clip', clip, { above: 0 })
    this.bits = numberOption(entry, 'bits', bits, { from: 2, to: 32, integer: true })
    this.clients = numberOption(entry, 'clients', clients, { from: 1, integer: true })
    this.maxWeight = numberOption(entry, 'maxWeight', maxWeight, { from: 1, to: 2 ** 31, integer: true })
    if (modulus !== 32 && modulus !== 64) {
      throw sottoError('ERR_ARGUMENT_VALUE', `${entry}: "modulus" expected 32 or 64 bits`, { entry })
    }
    this.modulus = modulus
    this.largest = 2 ** (bits - 1) - 1
    const most = (1n << BigInt(modulus - 1)) - 1n
    const sum = BigInt(clients) * BigInt(Math.max(maxWeight, this.largest))
    if (sum > most) {
      throw sottoError(
        'ERR_ARGUMENT_VALUE',
        `${entry}: the sum of ${clients} clients, weight up to ${maxWeight} and ${bits} bits, does not fit into ` +
          `${modulus} bits; take fewer bits, smaller weights${modulus === 32 ? ', or a modulus of 64 bits' : ''}`,
        { clients, maxWeight, bits, modulus },
      )
    }
  }

  /** Words that `length` values take: one more, for the weight. */
  words(length: number): number {
    return length + 1
  }

  /**
   * @param values finite; what is beyond the clip is clipped
   * @param weight a whole number from 1 to the largest
   * @returns the integers of the weighted values, and the weight; see {@link words}
   * @throws RangeError `ERR_ARGUMENT_VALUE` for NaN, infinities, and other weights
   */
  encode(values: Float32Array | Float64Array, weight = 1): Vector {
    numberOption('encode', 'weight', weight, { from: 1, to: this.maxWeight, integer: true })
    const out = zeros(this.modulus, this.words(values.length))
    // Words are written as halves of 32 bits: a bigint for each would take ten times as long.
    const words = new Uint32Array(out.buffer)
    const stride = this.modulus / 32
    const put = (at: number, integer: number) => {
      words[stride * at] = integer
      if (stride === 2) words[2 * at + 1] = Math.floor(integer / 2 ** 32)
    }
    const stream = new Prg(randomSeed()).stream(0)
    const { clip, largest } = this
    const share = weight / this.maxWeight
    for (let from = 0; from < values.length; from += CHUNK) {
      const to = Math.min(from + CHUNK, values.length)
      const { buffer, byteOffset } = stream.bytes(4 * (to - from))
      const random = new Uint32Array(buffer, byteOffset, to - from)
      for (let i = from; i < to; i++) {
        const value = values[i]!
        if (!Number.isFinite(value)) {
          throw sottoError('ERR_ARGUMENT_VALUE', 'encode: values expected finite, got NaN or an infinity')
        }
        const scaled = share * (Math.max(-clip, Math.min(clip, value)) / clip) * largest
        const floor = Math.floor(scaled)
        const up = random[i - from]! < (scaled - floor) * 2 ** 32 ? 1 : 0
        put(i, floor + up)
      }
    }
    put(values.length, weight)
    return out
  }

  /**
   * The weighted mean of what was added up.
   *
   * @param sum of what {@link encode} gave, over 1 to `clients` clients
   * @returns W·Σ q / Σ w in units of the values, but for four roundings of doubles; less than n·W / Σ w steps of clip/Q
   *   from the weighted mean of the n clients' clipped values
   * @throws RangeError `ERR_ARGUMENT_VALUE` for a sum that cannot be one: of weight 0, or of more than all
   */
  decode(sum: Vector): { readonly mean: Float64Array; readonly weight: number } {
    checkVector('sum', sum, this.modulus, sum.length)
    const length = sum.length - 1
    const weight = length < 0 ? 0 : signedAt(sum, length)
    if (!(weight >= 1 && weight <= this.clients * this.maxWeight)) {
      throw sottoError('ERR_ARGUMENT_VALUE', 'decode: "sum" expected of 1 to as many clients as were said, each once')
    }
    const mean = new Float64Array(length)
    for (let i = 0; i < length; i++) mean[i] = signedAt(sum, i) * (this.maxWeight / weight / this.largest) * this.clip
    return { mean, weight }
  }
}

/** A word as a signed number: exact below 2^53, and rounded once above. */
function signedAt(vector: Vector, at: number): number {
  return vector instanceof Uint32Array ? vector[at]! | 0 : Number(BigInt.asIntN(64, vector[at]!))
}
