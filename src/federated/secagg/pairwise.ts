/**
 * Masks in pairs, without dropouts: the simple variant, for parties that are all there until the end.
 *
 * Every two parties agree on a key; one adds its stream, the other subtracts it, and in the sum of all vectors nothing is
 * left of them (Bonawitz et al., CCS '17, §4, "masking with one-time pads"). There are two steps, keys and vectors, and no
 * shares: when a party is missing, the sum is noise and nobody can help; when all others help the server, a party's
 * vector is theirs. `SecAggClient` and `SecAggServer` are for all other cases.
 */
import { sottoError } from '../../errors.ts'
import { numberOption } from '../../options.ts'
import { type Identity, isKey, verify } from '../../worker/identity.ts'
import { type KeyPair, newKeyPair } from './agreement.ts'
import { applyMasks } from './masks.ts'
import { deriveKey, digest, transcript } from './transcript.ts'
import { addTo, checkVector, type Vector, type WordBits, zeros } from './vectors.ts'

const KEYS = 'sotto pairwise masks 1: keys'

export interface PairwiseSettings {
  /** A name that no other session has, such as a random uuid. */
  readonly session: string
  /** All parties, every one of which must take part: names, and long-term public keys (`ed25519:…`). Two at least. */
  readonly parties: Readonly<Record<string, string>>
  /** Words of a vector. */
  readonly length: number
  /** Sums are modulo 2^32 (the default) or 2^64. */
  readonly modulus?: WordBits
}

/** A party's key for one round, signed. */
export interface PairwiseKey {
  readonly id: string
  readonly round: number
  /** X25519, 32 bytes. */
  readonly key: Uint8Array
  /** Ed25519, 64 bytes. */
  readonly signature: Uint8Array
}

interface Terms {
  readonly parties: ReadonlyMap<string, string>
  readonly length: number
  readonly modulus: WordBits
  readonly digest: Uint8Array
}

function checkSettings({ session, parties, length, modulus = 32 }: PairwiseSettings): Terms {
  const wrong = (message: string) => sottoError('ERR_ARGUMENT_VALUE', `pairwise masks: ${message}`)
  const sorted = Object.entries(parties).sort(([a], [b]) => (a < b ? -1 : 1))
  if (typeof session !== 'string' || session === '') throw wrong('"session" expected a text that is not empty')
  if (sorted.length < 2) throw wrong('"parties" expected two at least')
  if (!sorted.every(([, key]) => isKey(key))) throw wrong('"parties" expected with keys, ed25519:…')
  if (new Set(sorted.map(([, key]) => key)).size !== sorted.length) throw wrong('two parties have one key')
  if (modulus !== 32 && modulus !== 64) throw wrong('"modulus" expected 32 or 64 bits')
  numberOption('pairwise masks', 'length', length, { from: 1, to: 2 ** 31, integer: true })
  const name = digest('sotto pairwise masks 1: settings', session, length, modulus, ...sorted.flat())
  return { parties: new Map(sorted), length, modulus, digest: name }
}

/** A party of pairwise masks. Rounds count up: one that was begun is never begun again. */
export class PairwiseParty {
  readonly id: string
  readonly #identity: Identity
  readonly #terms: Terms
  #last = -1

  /** @throws AccessError `ERR_IDENTITY` when the key under that name is another */
  constructor(id: string, identity: Identity, settings: PairwiseSettings) {
    this.#terms = checkSettings(settings)
    if (this.#terms.parties.get(id) !== identity.key) {
      throw sottoError('ERR_IDENTITY', `${id} is no party of the session with this key`, { id })
    }
    this.id = id
    this.#identity = identity
  }

  /**
   * Begins a round: gives a key, for all others, and what masks a vector when all of theirs have come.
   *
   * @param round above that of every round before
   * @throws StateError `ERR_USED_TWICE` for any other
   */
  round(round: number): { readonly key: PairwiseKey; mask(keys: readonly PairwiseKey[], vector: Vector): Vector } {
    numberOption('round', 'round', round, { from: 0, integer: true })
    if (round <= this.#last) {
      throw sottoError('ERR_USED_TWICE', `round ${round} was begun, or passed over; rounds count up`, { round })
    }
    this.#last = round
    const pair = newKeyPair()
    const signature = this.#identity.sign(KEYS, keyParts(this.#terms, this.id, round, pair.key))
    let isUsed = false
    return {
      key: { id: this.id, round, key: pair.key, signature },
      /**
       * The vector, masked; for the server. Once.
       *
       * @param keys of all parties, in any order, its own too
       * @throws AccessError `ERR_IDENTITY` for a key that its party has not signed for this round; ProtocolError
       *   `ERR_PROTOCOL` for one that is missing, twice, or of low order
       */
      mask: (keys, vector) => {
        checkVector('vector', vector, this.#terms.modulus, this.#terms.length)
        if (isUsed) throw sottoError('ERR_USED_TWICE', `the masks of round ${round} are used up; begin another round`)
        const masks = this.#masks(round, pair, checkKeys(this.#terms, round, keys))
        isUsed = true
        pair.erase()
        const masked = vector.slice()
        applyMasks(masked, masks)
        return masked
      },
    }
  }

  #masks(round: number, pair: KeyPair, keys: readonly PairwiseKey[]) {
    const [added, subtracted]: [Uint8Array[], Uint8Array[]] = [[], []]
    const own = keys.find(({ id }) => id === this.id)!
    for (const other of keys) {
      if (other === own) continue
      const agreed = pair.agree(other.key)
      if (agreed === undefined) throw refused(`with the key of ${other.id} no secret can be agreed on`)
      const [first, second] = this.id < other.id ? [own, other] : [other, own]
      const parts = [this.#terms.digest, round, first.id, second.id, first.key, second.key] as const
      const mask = deriveKey(agreed, 'sotto pairwise masks 1: mask', ...parts)
      if (first === own) added.push(mask)
      else subtracted.push(mask)
    }
    return { added, subtracted }
  }
}

/**
 * The sum of the vectors of all parties.
 *
 * @param masked what each party's `mask` gave, by name
 * @throws StateError `ERR_COHORT` when one is missing: without it the sum is noise
 */
export function sumOfPairwiseMasked(settings: PairwiseSettings, masked: ReadonlyMap<string, Vector>): Vector {
  const { parties, length, modulus } = checkSettings(settings)
  const missing = [...parties.keys()].filter((id) => !masked.has(id))
  if (missing.length > 0) {
    throw sottoError('ERR_COHORT', `vectors of ${missing.join(', ')} are missing; masks in pairs bear no dropouts`, {
      missing,
    })
  }
  const sum = zeros(modulus, length)
  for (const id of parties.keys()) {
    const vector = masked.get(id)!
    checkVector(id, vector, modulus, length)
    addTo(sum, vector)
  }
  return sum
}

const keyParts = (terms: Terms, id: string, round: number, key: Uint8Array) =>
  transcript(KEYS, terms.digest, id, round, key)
const refused = (what: string) => sottoError('ERR_PROTOCOL', `pairwise masks: ${what}`)

/** The keys of all parties, each once. */
function checkKeys(terms: Terms, round: number, keys: readonly PairwiseKey[]): readonly PairwiseKey[] {
  for (const { id, round: of, key, signature } of keys) {
    const owner = terms.parties.get(id)
    const isBytes = key instanceof Uint8Array && key.length === 32
    if (
      of === round &&
      owner !== undefined &&
      isBytes &&
      verify(owner, KEYS, keyParts(terms, id, round, key), signature)
    ) {
      continue
    }
    throw sottoError('ERR_IDENTITY', `the key of ${id} is not signed by a party, for round ${round}`, { id, round })
  }
  if (keys.length !== terms.parties.size || new Set(keys.map(({ id }) => id)).size !== keys.length) {
    throw refused('a key of each party is expected, once')
  }
  return keys
}
