/** What the members of a masked sum hold each other to, besides what secure aggregation knows of. */
import { bytesToHex } from '@noble/hashes/utils.js'
import { sottoError } from '../../errors.ts'
import { COMPLETE } from '../secagg/parameters.ts'
import { Quantiser } from '../secagg/quantise.ts'
import { digest } from '../secagg/transcript.ts'
import type { SumTerms } from './messages.ts'

/**
 * How many times the smallest weight the largest may be where values are hidden: one that counted for far more than the
 * others would be the sum.
 */
export const MOST_OUTWEIGHED = 10
/** Least fraction of corrupted clients that more clients than a complete graph has must be safe from, where hidden. */
const CORRUPTED = 0.1

/**
 * The name under which a session is known to secure aggregation, whose members sign it in all they say, and derive their
 * masks with it. With the hash of the terms in it, members that were told of other weights, numbers or members do not
 * understand each other, and their masks do not vanish: nothing comes of a sum that some of them would not take part in.
 */
export function boundSession({ scheme, session, members, weights, clip, bits, hidden }: SumTerms): string {
  const parts = members.flatMap((name, i) => [name, weights[i]!])
  const hash = digest('sotto masked sum 1: terms', scheme, clip, bits, hidden ? 1 : 0, ...parts)
  return `${session} ${bytesToHex(hash)}`
}

/** @throws RangeError `ERR_ARGUMENT_VALUE` for a sum that might wrap around */
export const quantiserOf = ({ clip, bits, modulus = 32, weights }: Numbers): Quantiser =>
  new Quantiser({ clip, bits, modulus, clients: weights.length, maxWeight: Math.max(...weights) })
export type Numbers = Pick<SumTerms, 'clip' | 'bits' | 'modulus' | 'weights'>

/** @throws RangeError `ERR_ARGUMENT_VALUE` for terms that do not go together, or hide nothing */
export function checkTerms(terms: SumTerms): void {
  const wrong = (message: string) => sottoError('ERR_ARGUMENT_VALUE', `masked sum: ${message}`)
  const { members, weights, hidden, corrupted = CORRUPTED } = terms
  if (weights.length !== members.length) throw wrong(`${members.length} weights expected, got ${weights.length}`)
  quantiserOf(terms)
  if (!hidden) return
  const [least, most] = [Math.min(...weights), Math.max(...weights)]
  if (most > MOST_OUTWEIGHED * least) {
    throw wrong(
      `one member counts ${most}, another ${least}: of private values, the largest weight may be at most ` +
        `${MOST_OUTWEIGHED} times the smallest, or one would be the sum; let all count alike (weighting: 'equal')`,
    )
  }
  if (terms.scheme === 'secagg' && members.length > COMPLETE && corrupted < CORRUPTED) {
    throw wrong(`"corrupted" expected at least ${CORRUPTED} for private values`)
  }
}
