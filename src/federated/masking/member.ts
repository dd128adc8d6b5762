/** A worker's part in the masked sums of one session of aggregation. */
import { sottoError } from '../../errors.ts'
import type { Identity } from '../../worker/identity.ts'
import { type ClientRound, SecAggClient } from '../secagg/client.ts'
import { PairwiseParty } from '../secagg/pairwise.ts'
import { MINIMUM } from '../secagg/settings.ts'
import { toBytes, type Vector, type WordBits } from '../secagg/vectors.ts'
import type { Step, SumTerms } from './messages.ts'
import { boundSession, checkTerms, quantiserOf } from './terms.ts'

export interface Member {
  /** The keys of all who may take part, this worker among them, by name. */
  readonly keys: Readonly<Record<string, string>>
  /** Words of a vector. */
  readonly length: number
  readonly modulus: WordBits
  /** The fewest vectors of which the coordinator may learn the sum. */
  readonly minimum: number
  /** Whether all members add private values alone. */
  readonly hidden: boolean
  /** What this member adds: values as integers, weighted; null for zeros, with the weight all the same. */
  encode(values: Float32Array | null): Vector
  /** Begins a round, or goes on with it. */
  step(round: number, step: Step, message: unknown): unknown
  /** Masks a vector. Once a round. */
  mask(round: number, message: unknown, vector: Vector): unknown
}

/**
 * @param keys of all members, by name
 * @throws as the constructors of `SecAggClient` and `PairwiseParty`
 */
export function memberOf(
  id: string,
  identity: Identity,
  terms: SumTerms,
  keys: Readonly<Record<string, string>>,
): Member {
  checkTerms(terms)
  const { scheme, members, length, modulus = 32, minimum = MINIMUM, corrupted, dropouts, server, hidden } = terms
  const session = boundSession(terms)
  const quantiser = quantiserOf(terms)
  const weight = terms.weights[members.indexOf(id)] ?? 0
  const encode = (values: Float32Array | null): Vector =>
    quantiser.encode(values ?? new Float32Array(length - 1), weight)
  const common = { keys, length, modulus, hidden, encode }
  if (scheme === 'pairs') {
    const party = new PairwiseParty(id, identity, { session, parties: keys, length, modulus })
    return { ...common, minimum: members.length, ...inPairs(party) }
  }
  const trust = {
    ...(corrupted === undefined ? {} : { corrupted }),
    ...(dropouts === undefined ? {} : { dropouts }),
    ...(server === undefined ? {} : { server }),
  }
  const client = new SecAggClient(id, identity, { session, members: keys, length, modulus, minimum, ...trust })
  return { ...common, minimum, ...bearingDropouts(client) }
}

type Rounds = Pick<Member, 'step' | 'mask'>

const outOfStep = (round: number) => sottoError('ERR_OUT_OF_STEP', `round ${round} is not the one that was begun`)

function bearingDropouts(client: SecAggClient): Rounds {
  let current: ClientRound | null = null
  const at = (round: number): ClientRound => {
    if (current?.number !== round) throw outOfStep(round)
    return current
  }
  // Each checks the message that it is given.
  const rows: Readonly<Record<Exclude<Step, 'advertise'>, (round: ClientRound, message: never) => unknown>> = {
    roster: (round, message) => round.receiveRoster(message),
    draws: (round, message) => round.receiveDraws(message),
    survivors: (round, message) => round.confirm(message),
    quorum: (round, message) => round.unmask(message),
  }
  return {
    step(round, step, message) {
      if (step !== 'advertise') return rows[step](at(round), message as never)
      const next = client.round(round)
      // Nobody reaches the one before any more: what it has drawn need not stay.
      current?.end()
      current = next
      return current.advertise()
    },
    mask: (round, message, vector) => at(round).mask(message as never, vector),
  }
}

function inPairs(party: PairwiseParty): Rounds {
  let current: { readonly round: number; readonly masking: ReturnType<PairwiseParty['round']> } | null = null
  return {
    step(round, step) {
      if (step !== 'advertise') throw sottoError('ERR_OUT_OF_STEP', `masks in pairs have no step ${step}`)
      current = { round, masking: party.round(round) }
      return current.masking.key
    },
    mask(round, message, vector) {
      if (current?.round !== round) throw outOfStep(round)
      if (!Array.isArray(message) || !message.every((key) => typeof key === 'object' && key !== null)) {
        throw sottoError('ERR_PROTOCOL', 'pairwise masks: the keys of all parties expected')
      }
      return toBytes(current.masking.mask(message, vector))
    },
  }
}
