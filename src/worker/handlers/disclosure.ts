/**
 * Who is told what. What leaves this worker in clear, comes to be known on it, or is asked for and refused is written
 * into the ledger through this file alone, in the same words wherever it happens.
 */
import { sottoError } from '../../errors.ts'
import { type PackedWire, travellingBytes } from '../../tensor/packed.ts'
import { type Shape, type Spec, sizeOf } from '../../tensor/shape.ts'
import type { HostSession } from '../host-session.ts'
import type { LedgerEvent } from '../ledger.ts'
import { type Access, maySee, PUBLIC, refused } from '../permissions.ts'
import { OperationFailed, Poison } from '../store.ts'

/** Adds an event to the ledger; an end that is not named is this worker. */
function write(
  session: HostSession,
  event: LedgerEvent,
  operation: string,
  spec: Spec | PackedWire,
  details: { from?: string; to?: string; tags: readonly string[]; why: string },
): void {
  const { id, ledger } = session.host
  const { shape, dtype } = spec
  // Of a secret that is shared, nobody sees a byte.
  const bytes = event === 'refused' || event === 'shared' ? 0 : travellingBytes(spec)
  const isRelayed = event === 'came' ? session.comesRelayed(details.from) : session.goesRelayed(details.to)
  const record = { event, operation, shape, dtype, from: id, to: id, ...details, bytes }
  ledger.record(isRelayed ? { ...record, route: 'relayed' } : record)
  // A link that has not begun may yet turn out to.
  const isOnItsWay = (event === 'left' || event === 'opened') && !isRelayed && details.to !== undefined
  if (isOnItsWay) session.whenRelayed(details.to!, () => ledger.relayed(record))
}

const askedBy = (session: HostSession, access: Access): string =>
  `asked by ${session.name}${access.length > 0 ? `, allowed by ${[...new Set(access.map(({ owner }) => owner))].join(', ')}` : ''}`

/** Writes down that a value went to somebody: to who asked, unless it was to go to a peer. */
export function recordLeft(
  session: HostSession,
  operation: string,
  spec: Spec,
  { to = session.name, access, tags = [] }: { to?: string; access: Access; tags?: readonly string[] },
): void {
  write(session, 'left', operation, spec, { to, tags, why: askedBy(session, access) })
}

/** Writes down that a value was shared as a secret among workers. */
export function recordShared(
  session: HostSession,
  spec: Spec,
  { parties, provider, tags = [] }: { parties: readonly string[]; provider: string | null; tags?: readonly string[] },
): void {
  const to = parties.join(' + ')
  const why = `asked by ${session.name}; ${provider === null ? 'no provider' : `provider ${provider}`}`
  write(session, 'shared', 'share', spec, { to, tags, why })
}

/** Writes down that a value left, masked: hidden in a sum with those of other workers, which who asked adds up. */
export function recordMasked(
  session: HostSession,
  spec: Spec,
  { members, minimum, access }: { members: number; minimum: number; access: Access },
): void {
  const why = `${askedBy(session, access)}; in a sum of at least ${minimum}, of ${members} workers`
  write(session, 'shared', 'mask', spec, { to: session.name, tags: [], why })
}

/** Writes down that a secret was opened for somebody by those who hold it. */
export function recordOpened(
  session: HostSession,
  spec: Spec,
  { parties, to = session.name, access }: { parties: readonly string[]; to?: string; access: Access },
): void {
  write(session, 'opened', 'reveal', spec, { from: parties.join(' + '), to, tags: [], why: askedBy(session, access) })
}

/** How a value came to be known here. */
export interface Coming {
  /** The peer or identity that it came from; unless given, the identity of the session. */
  readonly from?: string
  /** What the session's identity did that it came. */
  readonly how: 'sent' | 'moved' | 'backward' | 'opened' | 'intersected'
  readonly tags?: readonly string[]
}

/** Writes down that a value came to be known here. */
export function recordCame(
  session: HostSession,
  operation: string,
  spec: Spec,
  { from = session.name, how, tags = [] }: Coming,
): void {
  write(session, 'came', operation, spec, { from, tags, why: `${how} by ${session.name}` })
}

/** Writes down that a value was asked for, or to be changed, and that nothing came of it. */
function recordRefused(
  session: HostSession,
  operation: string,
  spec: Spec,
  { to = session.name, tags = [] }: { to?: string; tags?: readonly string[] },
): void {
  write(session, 'refused', operation, spec, { to, tags, why: askedBy(session, PUBLIC) })
}

/** Refuses to give a value, and writes the attempt down. */
export function refuse(
  session: HostSession,
  operation: string,
  spec: Spec,
  { access, ...details }: { to?: string; access: Access; tags?: readonly string[] },
  error: Error = refused(operation, session.name, access),
): never {
  recordRefused(session, operation, spec, details)
  throw error
}

/** Refuses to change, or to build on, what another identity made, and writes the attempt down. */
export function refuseChange(session: HostSession, operation: string, spec: Spec, message: string): never {
  recordRefused(session, operation, spec, {})
  throw sottoError('ERR_PERMISSION', message)
}

/** What is asked for when not even its shape may be told. */
const UNTOLD: Spec = { shape: [], dtype: 'float32' }

/** What stands in a value's way to those who may not see it: not even that it failed is told. */
export function seeFailure<T>(session: HostSession, operation: string, action: () => T): T {
  try {
    return action()
  } catch (error) {
    if (error instanceof Poison && !maySee(error.access, session.name)) {
      refuse(session, operation, UNTOLD, { access: error.access })
    }
    throw error
  }
}

/** A failure as it is kept or passed on, with who may be told of it. */
export function poisonOf(session: HostSession, thrown: unknown): Poison {
  if (thrown instanceof Poison) return thrown
  const access = thrown instanceof OperationFailed ? thrown.access : PUBLIC
  return new Poison({ error: session.wireOf(thrown), access })
}

/** The values of several tensors as one: what a model, or the state of an optimizer, is in the ledger. */
export const asOne = (tensors: readonly { readonly shape: Shape }[]): Spec => ({
  shape: [tensors.reduce((sum, { shape }) => sum + sizeOf(shape), 0)],
  dtype: 'float32',
})
