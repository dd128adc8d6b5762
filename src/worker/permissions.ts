/**
 * Who may see a value in clear.
 *
 * A private value carries a policy; what is computed from private values carries the policies of all of them, and so
 * do gradients, failures and what is moved elsewhere. Someone may see a value if every policy on it says so.
 */
import { sottoError } from '../errors.ts'
import type { Policy, Privacy } from '../tensor/location.ts'

/** The policies on a value. Interned: equal sets are the same array. */
export type Access = readonly Policy[]

/** No policy: whoever has a session may see it. */
export const PUBLIC: Access = []

const policies = new Map<string, WeakRef<PolicyRecord>>()
const accesses = new Map<string, WeakRef<Access>>()

interface PolicyRecord extends Policy {
  readonly key: string
}

const sorted = (names: Iterable<string>): string[] => [...new Set(names)].sort()

function intern(owner: string, allow: Iterable<string>, allowResults: Iterable<string>): PolicyRecord {
  const policy = { owner, allow: sorted(allow), allowResults: sorted(allowResults) }
  const key = JSON.stringify([policy.owner, policy.allow, policy.allowResults])
  const known = policies.get(key)?.deref()
  if (known) return known
  const record = { ...policy, key }
  policies.set(key, new WeakRef(record))
  return record
}

function internAll(records: readonly PolicyRecord[]): Access {
  if (records.length === 0) return PUBLIC
  const list = [...new Map(records.map((record) => [record.key, record])).values()].sort((a, b) =>
    a.key < b.key ? -1 : 1,
  )
  const key = list.map((record) => record.key).join('\n')
  const known = accesses.get(key)?.deref()
  if (known) return known
  accesses.set(key, new WeakRef(list))
  return list
}

/** The access of a value that its sender made private, or left public. */
export function accessOf(privacy: Privacy | null, owner: string): Access {
  return privacy === null ? PUBLIC : internAll([intern(owner, privacy.allow, privacy.allowResults)])
}

/** Access as it arrived from a peer. */
export function accessFrom(list: readonly Policy[]): Access {
  return internAll(list.map(({ owner, allow, allowResults }) => intern(owner, allow, allowResults)))
}

/** Both sets of policies. */
export function combine(a: Access, b: Access): Access {
  if (a === b || b.length === 0) return a
  if (a.length === 0) return b
  return internAll([...a, ...b] as PolicyRecord[])
}

const derivations = new WeakMap<Access, Access>()

/** The access of what is computed from values of a given access: those who may see results are let in. */
export function derivedFrom(access: Access): Access {
  if (access.length === 0) return PUBLIC
  let derived = derivations.get(access)
  if (derived === undefined) {
    derived = internAll(
      access.map(({ owner, allow, allowResults }) => intern(owner, [...allow, ...allowResults], allowResults)),
    )
    derivations.set(access, derived)
  }
  return derived
}

const allows = ({ owner, allow }: Policy, identity: string): boolean => owner === identity || allow.includes(identity)

/** Whether an identity may see a value in clear. */
export const maySee = (access: Access, identity: string): boolean => access.every((policy) => allows(policy, identity))

/**
 * Whether a value may go to another worker in clear: under each policy, either who asks or the worker that gets it must
 * be allowed. The policies go along.
 */
export const mayMove = (access: Access, asker: string, to: string): boolean =>
  access.every((policy) => allows(policy, asker) || allows(policy, to))

/** The refusal; it tells nothing of the value. */
export function refused(action: string, identity: string, access: Access): Error {
  const owners = sorted(access.map(({ owner }) => owner)).join(', ')
  return sottoError(
    'ERR_PERMISSION',
    `${action}: the value is private to ${owners}, and ${identity} is not allowed to see it; its owner can send it with { allow: ['${identity}'] }`,
    { action, identity },
  )
}
