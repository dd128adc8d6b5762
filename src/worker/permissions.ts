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

interface PolicyRecord extends Policy {
  readonly key: string
}

/** One object for each key, for as long as somebody holds it: strangers choose the keys, so none may stay behind. */
class Interned<T extends object> {
  readonly #known = new Map<string, WeakRef<T>>()
  readonly #gone = new FinalizationRegistry<string>((key) => {
    if (this.#known.get(key)?.deref() === undefined) this.#known.delete(key)
  })

  get(key: string): T | undefined {
    return this.#known.get(key)?.deref()
  }
  set(key: string, value: T): T {
    this.#known.set(key, new WeakRef(value))
    this.#gone.register(value, key)
    return value
  }
}

const policies = new Interned<PolicyRecord>()
const accesses = new Interned<Access>()

const sorted = (names: Iterable<string>): string[] => [...new Set(names)].sort()

function intern(owner: string, allow: Iterable<string>, allowResults: Iterable<string>): PolicyRecord {
  const policy = { owner, allow: sorted(allow), allowResults: sorted(allowResults) }
  const key = JSON.stringify([policy.owner, policy.allow, policy.allowResults])
  return policies.get(key) ?? policies.set(key, { ...policy, key })
}

function internAll(records: readonly PolicyRecord[]): Access {
  if (records.length === 0) return PUBLIC
  const list = [...new Map(records.map((record) => [record.key, record])).values()].sort((a, b) =>
    a.key < b.key ? -1 : 1,
  )
  const key = list.map((record) => record.key).join('\n')
  return accesses.get(key) ?? accesses.set(key, list)
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
 * Whether a value may go to another worker in clear: under each policy, either who asks must be allowed, or the worker
 * that gets it. The policies go along.
 *
 * The name of a worker is what a session calls it, and a stranger may call a worker of his own by any name. So it counts
 * only where the owner of the policy calls the same worker by that name.
 *
 * @param knownTo whether an identity has introduced this very worker under this name
 */
export const mayMove = (access: Access, asker: string, to: string, knownTo: (owner: string) => boolean): boolean =>
  access.every((policy) => allows(policy, asker) || (allows(policy, to) && knownTo(policy.owner)))

/** The refusal; it tells nothing of the value. */
export function refused(action: string, identity: string, access: Access): Error {
  const owners = sorted(access.map(({ owner }) => owner)).join(', ')
  return sottoError(
    'ERR_PERMISSION',
    `${action}: the value is private to ${owners}, and ${identity} is not allowed to see it; its owner can send it with { allow: ['${identity}'] }`,
    { action, identity },
  )
}
