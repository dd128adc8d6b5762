/**
 * Texts as rows of numbers, by feature hashing: K. Weinberger, A. Dasgupta, J. Langford, A. Smola, J. Attenberg,
 * "Feature Hashing for Large Scale Multitask Learning", ICML 2009.
 *
 * There is no vocabulary, so nothing has to be agreed on or shown: owners of data who use the same options get columns
 * of the same meaning, each alone. The column is a public function of the word; a row is not a secret form of a text.
 */
import { sottoError } from '../errors.ts'
import { tf } from '../tensor/backend.ts'
import { murmur3 } from './murmur3.ts'

export interface HashingOptions {
  /** Columns, from 1 to 2^31 − 1; a power of two spreads evenly. Default: 4096. */
  readonly dimension?: number
  /** Lengths of the runs of tokens that become features, each at least 1. Default: [1, 2], single tokens and pairs. */
  readonly ngrams?: readonly number[]
  /** Seed of the hash, from 0 to 2^32 − 1; owners who pool their rows must use the same. Default: 0. */
  readonly seed?: number
  /** How a feature that occurs c times counts: `log` 1 + ln c, `raw` c, `binary` 1. Default: log. */
  readonly counts?: 'log' | 'raw' | 'binary'
  /** `l2` scales each row to length 1 (an empty text stays all zero); `none` leaves it. Default: l2. */
  readonly normalise?: 'l2' | 'none'
}

const weights = {
  log: (count: number) => 1 + Math.log(count),
  raw: (count: number) => count,
  binary: () => 1,
} as const

/**
 * Hashes texts into rows of a matrix.
 *
 * @returns float32, shape [texts.length, dimension]: 4 · dimension bytes for each text; yours to dispose
 * @throws ValueError `ERR_ARGUMENT_VALUE` for an option out of range; ArgumentError `ERR_ARGUMENT_TYPE` for a text that
 * is not a string
 */
export function hashFeatures(texts: readonly string[], options: HashingOptions = {}): tf.Tensor2D {
  const { dimension, hash } = featureHasher(options)
  const rows = new Float32Array(texts.length * dimension)
  texts.forEach((text, row) => {
    hash(text, rows.subarray(row * dimension, (row + 1) * dimension))
  })
  return tf.tensor2d(rows, [texts.length, dimension], 'float32')
}

/** Hashes one text at a time, without tensors. */
export interface FeatureHasher {
  readonly dimension: number
  /**
   * @param into where to write, length `dimension`; overwritten. Default: a new array.
   * @returns `into`
   * @throws ArgumentError `ERR_ARGUMENT_TYPE` for a text that is not a string; ValueError `ERR_ARGUMENT_VALUE` when
   * `into` has another length
   */
  hash(text: string, into?: Float32Array): Float32Array
}

/**
 * The hasher of the given options, which are checked here, once.
 *
 * @throws ValueError `ERR_ARGUMENT_VALUE` for an option out of range
 */
export function featureHasher(options: HashingOptions = {}): FeatureHasher {
  const { dimension = 4096, ngrams = [1, 2], seed = 0, counts = 'log', normalise = 'l2' } = options
  check('dimension', dimension, Number.isInteger(dimension) && dimension >= 1 && dimension < 2 ** 31)
  check('ngrams', ngrams, ngrams.length > 0 && ngrams.every((length) => Number.isInteger(length) && length >= 1))
  check('ngrams', ngrams, new Set(ngrams).size === ngrams.length)
  check('seed', seed, Number.isInteger(seed) && seed >= 0 && seed < 2 ** 32)
  check('counts', counts, Object.hasOwn(weights, counts))
  check('normalise', normalise, normalise === 'l2' || normalise === 'none')
  const weight = weights[counts]
  const encoder = new TextEncoder()

  const hash = (text: string, into: Float32Array = new Float32Array(dimension)): Float32Array => {
    if (into.length !== dimension) {
      throw sottoError('ERR_ARGUMENT_VALUE', `hash: "into" expected length ${dimension}, got ${into.length}`, {
        dimension,
      })
    }
    into.fill(0)
    for (const [feature, count] of countFeatures(tokens(text), ngrams)) {
      const hashed = murmur3(encoder.encode(feature), seed)
      // The sign is a bit of its own, independent of the column: it makes the products of rows unbiased (lemma 2).
      const column = (hashed & 0x7fffffff) % dimension
      into[column]! += hashed >>> 31 === 1 ? -weight(count) : weight(count)
    }
    if (normalise === 'l2') scaleToUnitLength(into)
    return into
  }
  return { dimension, hash }
}

/**
 * What a token is. In order: an address of the web, a word (an apostrophe may stand inside), a number (with the points
 * and commas inside it), a currency sign, dots of an ellipsis, a run of one mark, any other visible sign alone.
 */
const token =
  /(?<url>https?:\/\/\S+|www\.\S+)|(?<word>\p{L}[\p{L}\p{M}]*(?:['’][\p{L}\p{M}]+)*)|(?<number>\p{N}(?:[\p{N}.,:]*\p{N})?)|\p{Sc}|\.{2,}|(?<mark>[!?*#+&])\k<mark>*|[^\s\p{C}]/gu

/**
 * The tokens of a text: NFKC, lower case, words whole. What often betrays spam stays a token: currency signs, `!` and
 * `!!` (two or more), `...`. A number becomes a token that tells how many digits it has and no more, `<5>`: a telephone
 * number counts as one, whichever it is. Web addresses become `<url>`.
 *
 * @throws ArgumentError `ERR_ARGUMENT_TYPE` when the text is not a string
 */
export function tokens(text: string): string[] {
  if (typeof text !== 'string') {
    throw sottoError('ERR_ARGUMENT_TYPE', `tokens: expected a string, got ${typeof text}`)
  }
  return Array.from(text.normalize('NFKC').toLowerCase().matchAll(token), (match) => {
    const { url, word, number } = match.groups!
    if (url !== undefined) return '<url>'
    if (word !== undefined) return word.replaceAll('’', "'")
    if (number !== undefined) return `<${number.replace(/[.,:]/g, '').length}>`
    // How long a run of marks is says little beyond "more than one".
    return match[0].startsWith('..') ? '...' : match[0].slice(0, 2)
  })
}

/** Runs of tokens with how often each occurs; tokens hold no space, so a space between them is unambiguous. */
function countFeatures(list: readonly string[], ngrams: readonly number[]): Map<string, number> {
  const counts = new Map<string, number>()
  for (const length of ngrams) {
    for (let begin = 0; begin + length <= list.length; begin++) {
      const feature = list.slice(begin, begin + length).join(' ')
      counts.set(feature, (counts.get(feature) ?? 0) + 1)
    }
  }
  return counts
}

function scaleToUnitLength(row: Float32Array): void {
  let squares = 0
  for (const value of row) squares += value * value
  if (squares === 0) return
  const scale = 1 / Math.sqrt(squares)
  for (let column = 0; column < row.length; column++) row[column]! *= scale
}

function check(name: string, value: unknown, holds: boolean): void {
  if (!holds) {
    throw sottoError('ERR_ARGUMENT_VALUE', `hashing: "${name}" is out of range, got ${JSON.stringify(value)}`, { name })
  }
}
