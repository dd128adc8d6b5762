/** What a worker does for each message of masked sums. A message without a handler does not compile. */
import { sottoError } from '../../errors.ts'
import type { Spec } from '../../tensor/shape.ts'
import { asOne, recordMasked, refuse, seeFailure } from '../../worker/handlers/disclosure.ts'
import type { HostSession } from '../../worker/host-session.ts'
import { addMessages, type MessageRow, type MessageRows } from '../../worker/messages.ts'
import { type Access, combine, maySee, mayShare, mayTotal, PUBLIC, refusedToShare } from '../../worker/permissions.ts'
import type { Readable } from '../../worker/store.ts'
import { vectorOf } from '../vectors.ts'
import { type Member, memberOf } from './member.ts'
import type { MaskMessage, MaskMessages } from './messages.ts'
import { maskSchemas } from './schema.ts'

/** Sessions of aggregation that one session of a caller may have at a time. */
const MOST = 64
/** What each session takes part in, by the name of the aggregation. */
const memberships = new WeakMap<HostSession, Map<string, Member>>()

function memberAt(session: HostSession, name: string): Member {
  const member = memberships.get(session)?.get(name)
  if (member === undefined) throw sottoError('ERR_NOT_FOUND', 'this worker takes part in no masked sum of that name')
  return member
}

/**
 * Whether values may go into the sum.
 *
 * Where all are hidden: private to one owner, who is not the session's identity, so that it cannot fill the sum up with
 * what it knows; in a sum of as many as the worker was started for, three unless it was told otherwise; and the owner has
 * named the identity (`allowTotals`), and each other member (`allowShares`), who might else be the coordinator under
 * other names. Where they are not, the identity may see them anyway.
 */
function checkAccess(session: HostSession, member: Member, access: Access, spec: Spec): void {
  if (!member.hidden) {
    if (!maySee(access, session.name)) refuse(session, 'mask', spec, { access })
    return
  }
  if (access.length === 0 || access.some(({ owner }) => owner === session.name)) {
    refuse(session, 'mask', spec, { access }, notHidden(session))
  }
  const others = Object.keys(member.keys).filter((name) => name !== session.host.id)
  // A name may have been given to another worker since: it counts with the key that masks are agreed on with.
  const knows = (owner: string, name: string) => session.host.knows(owner, name, member.keys[name]!)
  if (!mayShare(access, others, knows)) {
    refuse(session, 'mask', spec, { access }, refusedToShare(others, access))
  }
  const isTotal = member.minimum >= session.host.fewestOwners && mayTotal(access, session.name)
  if (!isTotal) refuse(session, 'mask', spec, { access })
}

const notHidden = (session: HostSession) =>
  sottoError(
    'ERR_PERMISSION',
    `mask: the others in this sum were told that all values are private to somebody other than ${session.name}; these are not`,
  )

/** Values one after the other; null where one of them is no number, or was never computed. */
function flattened(sources: readonly Readable[]): Float32Array | null {
  // Of all of them, before it is looked at which have failed: an error must not tell one from the other.
  for (const { tensor } of sources) {
    if (tensor.dtype === 'float32') continue
    throw sottoError('ERR_DTYPE', `mask: only float32 tensors are masked, this one is ${tensor.dtype}`)
  }
  if (sources.some(({ failure }) => failure !== null)) return null
  const all = vectorOf(sources.map(({ tensor }) => tensor))
  return all.every(Number.isFinite) ? all : null
}

const handlers: {
  readonly [N in MaskMessage]: (
    session: HostSession,
    body: MaskMessages[N]['request'],
  ) => MaskMessages[N]['response'] | Promise<MaskMessages[N]['response']>
} = {
  maskJoin(session, terms) {
    const { id, identity } = session.host
    const own = memberships.get(session) ?? new Map<string, Member>()
    memberships.set(session, own)
    if (own.has(terms.session)) throw sottoError('ERR_ID_TAKEN', 'this worker takes part in a masked sum of that name')
    if (own.size >= MOST) throw sottoError('ERR_LIMIT', `a session takes part in at most ${MOST} masked sums at a time`)
    const keys = terms.members.map((name) => {
      const key = name === id ? identity.key : session.peers.get(name)?.key
      if (key !== undefined) return [name, key]
      throw sottoError('ERR_UNKNOWN_PEER', `${id} was not introduced to ${name}; addWorkers([…]) does it`)
    })
    own.set(terms.session, memberOf(id, identity, terms, Object.fromEntries(keys)))
  },

  maskStep: (session, { session: name, round, step, message }) => memberAt(session, name).step(round, step, message),

  /**
   * Values that are no numbers count as zeros, with the weight all the same: whether that is so may depend on private
   * values, and nobody can tell it from the sum.
   */
  maskValues(session, { session: name, round, message, values }) {
    const member = memberAt(session, name)
    const sources = seeFailure(session, 'mask', () => values.map((id) => session.host.store.read(id, session)))
    const access = sources.map((source) => source.access).reduce(combine, PUBLIC)
    const spec = asOne(sources.map(({ tensor }) => tensor))
    checkAccess(session, member, access, spec)
    const { length, minimum, keys } = member
    if (spec.shape[0]! + 1 !== length) {
      throw sottoError('ERR_SHAPE', `mask: ${length - 1} values expected, ${spec.shape[0]} are there`)
    }
    const masked = member.mask(round, message, member.encode(flattened(sources)))
    recordMasked(session, spec, { members: Object.keys(keys).length, minimum, access })
    return masked
  },

  maskLeave(session, { session: name }) {
    memberships.get(session)?.delete(name)
  },
}

const asks: ReadonlySet<MaskMessage> = new Set(['maskStep', 'maskValues'])
const rows = (Object.keys(maskSchemas) as MaskMessage[]).map((name): [string, MessageRow] => [
  name,
  {
    schema: maskSchemas[name],
    handle: handlers[name] as MessageRow['handle'],
    isAsk: asks.has(name),
    isFromPeer: false,
    right: 'work',
  },
])
addMessages<MaskMessages>(Object.fromEntries(rows) as unknown as MessageRows<MaskMessages>)
