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

function intern({
  owner,
  allow,
  allowResults,
  allowShares = [],
  allowTotals = [],
  allowMatches = [],
  consent,
}: Policy): PolicyRecord {
  const policy = plainPolicy({
    owner,
    allow: sorted(allow),
    allowResults: sorted(allowResults),
    allowShares: sorted(allowShares),
    allowTotals: sorted(allowTotals),
    allowMatches: sorted(allowMatches),
    ...(consent === undefined ? {} : { consent }),
  })
  const key = JSON.stringify(policy)
  return policies.get(key) ?? policies.set(key, { ...policy, key })
}

/** A policy as it travels: rights that came later are left out where nobody has them. */
const plainPolicy = ({
  owner,
  allow,
  allowResults,
  allowShares = [],
  allowTotals = [],
  allowMatches = [],
  consent,
}: Policy): Policy => ({
  owner,
  allow,
  allowResults,
  ...(allowShares.length > 0 ? { allowShares } : {}),
  ...(allowTotals.length > 0 ? { allowTotals } : {}),
  ...(allowMatches.length > 0 ? { allowMatches } : {}),
  ...(consent === undefined ? {} : { consent }),
})

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
  return privacy === null ? PUBLIC : internAll([intern({ owner, ...privacy })])
}

/** Access as it arrived from a peer. */
export function accessFrom(list: readonly Policy[]): Access {
  return internAll(list.map(intern))
}

/** Both sets of policies. */
export function combine(a: Access, b: Access): Access {
  if (a === b || b.length === 0) return a
  if (a.length === 0) return b
  return internAll([...a, ...b] as PolicyRecord[])
}

const derivations = new WeakMap<Access, Access>()

/**
 * The access of what is computed from values of a given access: those who may see results are let in. Nobody may match
 * it with ids: a column of a table might be looked up value by value then.
 */
export function derivedFrom(access: Access): Access {
  if (access.length === 0) return PUBLIC
  let derived = derivations.get(access)
  if (derived === undefined) {
    derived = internAll(
      access.map((policy) => intern({ ...policy, allow: [...policy.allow, ...policy.allowResults], allowMatches: [] })),
    )
    derivations.set(access, derived)
  }
  return derived
}

/**
 * The access of those rows of a tensor that an intersection has named: that of the tensor alone, if it is as its owner
 * made it, and the ids are that owner's too. Who may see what is computed from it may so learn which of its rows are
 * shared, and nothing of the ids. A tensor that others have computed might be made to tell the rows to whom the ids are
 * not meant to be known: it becomes as private as these.
 *
 * @param maker whose session made the tensor
 * @param chosenBy who may see what is computed of the ids
 */
export const accessOfRows = (values: Access, maker: string, chosenBy: Access): Access =>
  values.length > 0 && [...values, ...chosenBy].every(({ owner }) => owner === maker)
    ? values
    : combine(values, chosenBy)

const allows = ({ owner, allow }: Policy, identity: string): boolean => owner === identity || allow.includes(identity)

/** Policies by which owners have to consent to what came of a job. */
export const consentNeeded = (job: string, owners: readonly string[]): Access =>
  internAll(owners.map((owner) => intern({ owner, allow: [], allowResults: [], consent: job })))

/**
 * The access of what came of jobs, for those whom owners have consented to: an owner's consent to a job holds for all
 * of the owner's policies on what came of it.
 *
 * @param consented whom an owner has consented to see what came of a job
 */
export function withConsents(access: Access, consented: (owner: string, job: string) => readonly string[]): Access {
  const jobs = new Set(access.flatMap(({ consent }) => (consent === undefined ? [] : [consent])))
  if (jobs.size === 0) return access
  return internAll(
    access.map((policy) => {
      const more = [...jobs].flatMap((job) => consented(policy.owner, job))
      return intern({ ...policy, allow: [...policy.allow, ...more] })
    }),
  )
}

/** Owners of policies under which an identity may not see a value, and the job that they have to consent to, if any. */
export function lackingConsent(access: Access, identity: string): { owners: string[]; jobs: string[] } | null {
  const jobs = sorted(access.flatMap(({ consent }) => (consent === undefined ? [] : [consent])))
  if (jobs.length === 0) return null
  return { owners: sorted(access.filter((policy) => !allows(policy, identity)).map(({ owner }) => owner)), jobs }
}

/** Whether an identity may see a value in clear. */
export const maySee = (access: Access, identity: string): boolean => access.every((policy) => allows(policy, identity))

/**
 * Whether a value may go to another worker in clear: under each policy, either who asks must be allowed, or the worker
 * that gets it. The policies go along.
 *
 * The name of a worker is what a session calls it, and a stranger may call a worker of his own by any name. So it
 * counts only where the owner of the policy calls the same worker by that name.
 *
 * @param knownTo whether an identity has introduced this very worker under this name
 */
export const mayMove = (access: Access, asker: string, to: string, knownTo: (owner: string) => boolean): boolean =>
  access.every((policy) => allows(policy, asker) || (allows(policy, to) && knownTo(policy.owner)))

/**
 * Whether a value may be shared as a secret among workers: under each policy, all of them besides the worker it is on
 * must be named by its owner, who must know them by these names. No single one of them learns it then, nor all but one;
 * what the secret is opened for, the policies decide, which go along with the shares.
 */
export const mayShare = (
  access: Access,
  names: readonly string[],
  knownTo: (owner: string, name: string) => boolean,
): boolean =>
  access.every(({ owner, allowShares = [] }) =>
    names.every((name) => allowShares.includes(name) && knownTo(owner, name)),
  )

/** Policies as they travel, without the key that interning gave them. */
export const plainAccess = (access: Access): Access => access.map(plainPolicy)

/** Owners whose values a total must hold before it is one: of two, either could take its own away. */
export const FEWEST_OWNERS = 3

/**
 * The access of a total: those who may see totals are let in when each value belongs to one owner, and there are at
 * least three of them, each with one value. What the owner of a value computed it from, the total cannot tell.
 */
export function totalOf(values: readonly Access[]): Access {
  const derived = derivedFrom(values.reduce(combine, PUBLIC))
  const owners = new Set(values.map((access) => (access.length === 1 ? access[0]!.owner : null)))
  if (owners.has(null) || owners.size < values.length || owners.size < FEWEST_OWNERS) return derived
  return internAll(
    derived.map(({ allowTotals = [], ...policy }) =>
      intern({ ...policy, allow: [...policy.allow, ...allowTotals], allowTotals }),
    ),
  )
}

/** Whether an identity may learn a total that a value is in: it is one owner's, who lets it see totals. */
export const mayTotal = (access: Access, identity: string): boolean =>
  access.length === 1 &&
  access.every(({ owner, allowTotals = [] }) => owner === identity || allowTotals.includes(identity))

/**
 * Whether ids may be intersected with those of other workers: under each policy, its owner must have named the workers
 * that learn of it, whom it must know by these names, and who asks, who learns how many there are.
 */
export const mayMatch = (
  access: Access,
  asker: string,
  learners: readonly string[],
  knownTo: (owner: string, name: string) => boolean,
): boolean =>
  access.every(
    (policy) =>
      (allows(policy, asker) || policy.allowMatches?.includes(asker) === true) &&
      learners.every(
        (name) =>
          (policy.allow.includes(name) || policy.allowMatches?.includes(name) === true) && knownTo(policy.owner, name),
      ),
  )

/**
 * The access of the rows that an intersection of ids found: private as the ids, but who may learn of matches may see
 * what is computed with them, a mean of the rows that are shared, say, as far as other policies on it go.
 */
export function matchedFrom(access: Access): Access {
  return internAll(
    access.map(({ allowMatches = [], ...policy }) =>
      intern({ ...policy, allowResults: [...policy.allowResults, ...allowMatches] }),
    ),
  )
}

/** The refusal to intersect; it tells nothing of the ids. */
export function refusedToMatch(asker: string, learners: readonly string[], access: Access): Error {
  const owners = sorted(access.map(({ owner }) => owner)).join(', ')
  const named = [...learners, asker]
  const list = sorted(named)
    .map((name) => `'${name}'`)
    .join(', ')
  return sottoError(
    'ERR_PERMISSION',
    `intersect: the ids are private to ${owners}, who has not allowed ${named.join(', ')} to learn which are shared; their owner can send them with { allowMatches: [${list}] }, and must know these workers by these names (addWorkers)`,
    { action: 'intersect', names: named },
  )
}

/** The refusal to share; it tells nothing of the value. */
export function refusedToShare(names: readonly string[], access: Access): Error {
  const owners = sorted(access.map(({ owner }) => owner)).join(', ')
  const list = names.map((name) => `'${name}'`).join(', ')
  return sottoError(
    'ERR_PERMISSION',
    `share: the value is private to ${owners}, who has not allowed it to be shared among ${names.join(', ')}; its owner can send it with { allowShares: [${list}] }, and must know these workers by these names (addWorkers)`,
    { action: 'share', names },
  )
}

/** The refusal; it tells nothing of the value. */
export function refused(action: string, identity: string, access: Access): Error {
  const owners = sorted(access.map(({ owner }) => owner)).join(', ')
  return sottoError(
    'ERR_PERMISSION',
    `${action}: the value is private to ${owners}, and ${identity} is not allowed to see it; its owner can send it with { allow: ['${identity}'] }`,
    { action, identity },
  )
}
