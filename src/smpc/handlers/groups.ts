/** Messages that make a worker a party or a provider, and those of members to each other. */
import { sottoError } from '../../errors.ts'
import type { HostSession } from '../../worker/host-session.ts'
import { Poison } from '../../worker/store.ts'
import { type Correlation, elementsOf } from '../correlations.ts'
import type { SecretHandlers } from '../handlers.ts'
import { membersOf } from '../members.ts'
import { Party } from '../party.ts'
import { checkParties, protocolOf } from '../protocols/index.ts'
import { Provider } from '../provider.ts'
import { digitsOf } from '../ring/digits.ts'
import type { RingBits } from '../ring/kernels.ts'

export const groupHandlers: SecretHandlers<
  'secretJoin' | 'secretProvide' | 'secretDeal' | 'secretStats' | 'secretParts'
> = {
  secretJoin(session, body) {
    const { parties, index, provider } = body
    checkMembers(provider === null ? parties : [...parties, provider])
    if (parties[index] !== session.host.id) {
      throw sottoError('ERR_PARTIES', `party ${index} is to be ${parties[index]}, and this is ${session.host.id}`)
    }
    const protocol = protocolOf(body.protocol)
    checkParties(protocol, parties.length, provider !== null)
    membersOf(session.host).add(session, body.group, () => new Party(session, { ...body, protocol }))
  },

  secretProvide(session, body) {
    checkMembers(body.parties)
    if (body.parties.includes(session.host.id)) {
      throw sottoError('ERR_PARTIES', `${session.host.id} is a party, and would know its own masks`)
    }
    membersOf(session.host).add(session, body.group, () => new Provider(session, body))
  },

  secretDeal(session, { group, index, correlations, ahead }) {
    const member = membersOf(session.host).find(group)
    if (!(member instanceof Provider) || member.session !== session) {
      throw sottoError('ERR_NOT_FOUND', 'this session has made the worker no provider of that group')
    }
    try {
      for (const correlation of correlations) checkSize(session, correlation, member.options.ring)
      member.deal(index, correlations, ahead)
    } catch (error) {
      member.end(error)
      throw error
    }
  },

  secretStats(session, { group }) {
    const member = membersOf(session.host).find(group)
    if (member instanceof Provider && member.session === session) return member.stats()
    return partyOf(session, group).stats()
  },

  secretParts(session, { group, parts }) {
    const { principal } = session
    if (principal.role !== 'peer') throw sottoError('ERR_PERMISSION', 'only a peer may hand over parts of a secret')
    membersOf(session.host).take(principal.owner, session.name, group, parts)
  },
}

function checkMembers(names: readonly string[]): void {
  if (new Set(names).size === names.length) return
  throw sottoError('ERR_PARTIES', 'each party, and the provider, is a worker of its own')
}

function checkSize(session: HostSession, correlation: Correlation, ring: RingBits): void {
  const { elements } = session.host.limits
  if (correlation.kind === 'coded' && correlation.digits > digitsOf(ring)) {
    throw sottoError('ERR_PROTOCOL', `deal: elements of ${ring} bits have no ${correlation.digits} digits`)
  }
  if (elementsOf(correlation) <= elements) return
  throw sottoError('ERR_LIMIT', `deal: a ${correlation.kind} is above the limit of ${elements} elements`)
}

export function partyOf(session: HostSession, group: string): Party {
  const member = membersOf(session.host).find(group)
  if (!(member instanceof Party) || member.session !== session) {
    throw sottoError('ERR_NOT_FOUND', 'this session has made the worker no party of that group')
  }
  return member
}

/** Does something that all parties do: where one fails alone, none can go on. */
export function together<T>(party: Party, action: () => T): T {
  party.check()
  try {
    return action()
  } catch (error) {
    // What failed before fails alike everywhere.
    if (!(error instanceof Poison)) party.end(error)
    throw error
  }
}
