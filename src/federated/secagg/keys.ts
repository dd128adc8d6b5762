/** What is signed, sealed and derived in a round: each for one session, round and purpose. */
import { type Identity, verify } from '../../worker/identity.ts'
import type { Advert, Roster } from './messages.ts'
import type { Terms } from './settings.ts'
import { deriveKey, digest, numbers, transcript } from './transcript.ts'

const ADVERT = 'sotto secagg 1: keys'
const SURVIVORS = 'sotto secagg 1: survivors'

type Unsigned = Omit<Advert, 'signature'>

const advertParts = (terms: Terms, advert: Unsigned): Uint8Array => {
  const { id, round, sealKey, maskKey, seedCommitment, drawCommitment } = advert
  return transcript(ADVERT, terms.digest, id, round, sealKey, maskKey, seedCommitment, drawCommitment)
}

export function signAdvert(terms: Terms, identity: Identity, advert: Unsigned): Advert {
  return { ...advert, signature: identity.sign(ADVERT, advertParts(terms, advert)) }
}

/** Whether the member of that name made it, for this session and round. */
export function isSigned(terms: Terms, advert: Advert): boolean {
  const key = terms.members.get(advert.id)
  return key !== undefined && verify(key, ADVERT, advertParts(terms, advert), advert.signature)
}

export const seedCommitmentOf = (seed: Uint8Array): Uint8Array => digest('sotto secagg 1: seed', seed)

export const drawCommitmentOf = (terms: Terms, id: string, round: number, draw: Uint8Array): Uint8Array =>
  digest('sotto secagg 1: draw', terms.digest, id, round, draw)

/** Names a cohort: who takes part with which keys, and where their places are. All that follows is bound to it. */
export function cohortOf(terms: Terms, roster: Roster, draws: readonly Uint8Array[]): Uint8Array {
  const { round, attempt, adverts, commitments } = roster
  const signed = adverts.map((advert) => digest('sotto secagg 1: member', advertParts(terms, advert)))
  return digest('sotto secagg 1: cohort', terms.digest, round, attempt, ...signed, ...commitments, ...draws)
}

/** What binds shares to sender and receiver, as key and as associated data. Used once, with a nonce of zeros. */
export function sealing(agreed: Uint8Array, cohort: Uint8Array, from: Advert, to: Advert) {
  const parts = [cohort, from.id, to.id, from.sealKey, to.sealKey] as const
  return {
    key: deriveKey(agreed, 'sotto secagg 1: shares', ...parts),
    nonce: new Uint8Array(12),
    associated: transcript('sotto secagg 1: shares', ...parts),
  }
}

/** The key of the mask of two clients: the same from both sides, the earlier in the roster first. */
export function pairMask(agreed: Uint8Array, cohort: Uint8Array, first: Advert, second: Advert): Uint8Array {
  return deriveKey(agreed, 'sotto secagg 1: mask of a pair', cohort, first.id, second.id, first.maskKey, second.maskKey)
}

export function selfMask(seed: Uint8Array, cohort: Uint8Array, { id }: Advert): Uint8Array {
  return deriveKey(seed, 'sotto secagg 1: mask of one', cohort, id)
}

/** What a client confirms: who gave shares, and whose input came. */
export const survivorsParts = (cohort: Uint8Array, sharers: readonly number[], survivors: readonly number[]) =>
  transcript(SURVIVORS, cohort, numbers(sharers), numbers(survivors))

export const confirm = (identity: Identity, parts: Uint8Array): Uint8Array => identity.sign(SURVIVORS, parts)
export const isConfirmed = (key: string, parts: Uint8Array, signature: Uint8Array): boolean =>
  verify(key, SURVIVORS, parts, signature)
