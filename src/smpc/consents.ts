/** Who has consented at a worker to see what came of which job. Kept in memory: a worker that starts anew asks anew. */
import { sottoError } from '../errors.ts'
import type { WorkerHost } from '../worker/host.ts'
import { type Access, withConsents } from '../worker/permissions.ts'

/** Consents that one identity may have given at a time. */
const MOST = 1000

class Consents {
  /** By owner and job. */
  readonly #given = new Map<string, Map<string, Set<string>>>()
  #needed: { readonly job: string; readonly owner: string }[] = []

  /** @throws SessionError `ERR_LIMIT` */
  set(owner: string, job: string, to: string, isGiven: boolean): void {
    const jobs = this.#given.get(owner) ?? new Map<string, Set<string>>()
    const names = jobs.get(job) ?? new Set<string>()
    if (isGiven) {
      let count = 0
      for (const { size } of jobs.values()) count += size
      if (count >= MOST && !names.has(to)) {
        throw sottoError('ERR_LIMIT', `${owner} has given ${MOST} consents here; no more fit`)
      }
      names.add(to)
      jobs.set(job, names)
      this.#given.set(owner, jobs)
      return
    }
    names.delete(to)
    if (names.size === 0) jobs.delete(job)
    if (jobs.size === 0) this.#given.delete(owner)
  }

  /** From now on nothing is opened here to anybody, before each of these has consented to the job. */
  need(job: string, owners: readonly string[]): void {
    for (const owner of owners) this.#needed.push({ job, owner })
  }

  /** Somebody whose consent is needed has shown that it is given. */
  meet(job: string, owner: string): void {
    this.#needed = this.#needed.filter((one) => one.job !== job || one.owner !== owner)
  }

  /**
   * An access as it is for those whom owners have consented to.
   *
   * @throws PermissionError `ERR_CONSENT` as long as nothing is to be opened here
   */
  over(access: Access): Access {
    const [first] = this.#needed
    if (first !== undefined) {
      const { job } = first
      const owners = this.#needed.filter((one) => one.job === job).map(({ owner }) => owner)
      throw sottoError('ERR_CONSENT', `reveal: ${owners.join(', ')} did not consent to the job "${job}"`, {
        job,
        owners,
      })
    }
    return withConsents(access, (owner, job) => [...(this.#given.get(owner)?.get(job) ?? [])])
  }
}

const all = new WeakMap<WorkerHost, Consents>()

/** The consents given at a worker. */
export function consentsOf(host: WorkerHost): Consents {
  const consents = all.get(host) ?? new Consents()
  all.set(host, consents)
  return consents
}
