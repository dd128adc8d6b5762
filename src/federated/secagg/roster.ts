/** What a roster must be, for a client that is shown it. */
import { equalBytes } from '@noble/ciphers/utils.js'
import { bytesToHex } from '@noble/hashes/utils.js'
import { sottoError } from '../../errors.ts'
import { type Advert, type Roster, refuse } from './messages.ts'
import type { Terms } from './settings.ts'

/** Whether two adverts are the same, byte for byte. */
export function isSame(a: Advert, b: Advert): boolean {
  return (
    a.id === b.id &&
    a.round === b.round &&
    equalBytes(a.sealKey, b.sealKey) &&
    equalBytes(a.maskKey, b.maskKey) &&
    equalBytes(a.seedCommitment, b.seedCommitment) &&
    equalBytes(a.drawCommitment, b.drawCommitment) &&
    equalBytes(a.signature, b.signature)
  )
}

/**
 * Checks all but signatures, of which a client looks at those of its neighbours.
 *
 * @param before the roster of the draw before, of whose clients this must be
 * @throws ProtocolError `ERR_PROTOCOL` for names that are not in order, keys that come twice, keys of another round
 * @throws AccessError `ERR_IDENTITY` for a name that is no member's
 * @throws StateError `ERR_COHORT` for fewer than the minimum
 */
export function checkRoster(terms: Terms, roster: Roster, before: Roster | undefined): void {
  const { adverts, commitments, round } = roster
  if (adverts.length < terms.minimum) {
    throw sottoError('ERR_COHORT', `roster: ${adverts.length} clients are in it, and ${terms.minimum} are the least`, {
      clients: adverts.length,
      minimum: terms.minimum,
    })
  }
  if (commitments.length !== adverts.length) throw refuse('roster', 'a commitment for each client is expected')
  const known = before && new Map(before.adverts.map((advert) => [advert.id, advert]))
  const keys = new Set<string>()
  for (const [i, advert] of adverts.entries()) {
    const { id, sealKey, maskKey } = advert
    if (!terms.members.has(id)) throw sottoError('ERR_IDENTITY', `roster: ${id} is no member of the session`, { id })
    if (i > 0 && adverts[i - 1]!.id >= id) throw refuse('roster', 'names are expected in order, none twice')
    if (advert.round !== round) throw refuse('roster', `the keys of ${id} are of another round`)
    const same = known?.get(id)
    if (known !== undefined && (same === undefined || !isSame(same, advert))) {
      throw refuse('roster', `${id} was not in it before, or with other keys`)
    }
    keys.add(bytesToHex(sealKey)).add(bytesToHex(maskKey))
  }
  if (keys.size !== 2 * adverts.length) throw refuse('roster', 'a key comes twice')
}
