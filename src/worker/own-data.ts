/** Data that the owner of a worker puts on it when it starts: nobody sends it. */
import { sottoError } from '../errors.ts'
import { tf } from '../tensor/backend.ts'
import type { DType } from '../tensor/shape.ts'
import { Tracked } from '../tensor/tape.ts'
import type { WorkerHost } from './host.ts'
import { accessOf, PUBLIC } from './permissions.ts'

/** A data set of the owner: private unless it says otherwise, and nobody's to take away. */
export interface OwnData {
  readonly shape: readonly number[]
  readonly dtype: DType
  readonly data: Float32Array | Int32Array | Uint8Array
  /** Besides `#name`. */
  readonly tags?: readonly string[]
  readonly description?: string
  /** Whether everyone with a session may see the values. */
  readonly public?: boolean
  /** Who may see the values; what is computed from them; among which workers they may be shared; who may see totals. */
  readonly allow?: readonly string[]
  readonly allowResults?: readonly string[]
  readonly allowShares?: readonly string[]
  readonly allowTotals?: readonly string[]
  /** Of ids: who may learn which of theirs are among them, and how many. */
  readonly allowMatches?: readonly string[]
}

/** Puts data sets on a worker, each under the tag of its name. */
export function addData(host: WorkerHost, owner: string, sets: Readonly<Record<string, OwnData>>): void {
  for (const [name, set] of Object.entries(sets)) {
    host.owners.add(owner)
    const { shape, dtype, data, tags = [], description = '', allow = [], allowResults = [], ...more } = set
    if (name === '' || shape.reduce((size, n) => size * n, 1) !== data.length) {
      throw sottoError('ERR_ARGUMENT_VALUE', `data "${name}": the values do not fit the shape`)
    }
    const { allowShares = [], allowTotals = [], allowMatches = [] } = more
    const rights = { allow, allowResults, allowShares, allowTotals, allowMatches }
    const tensor = tf.keep(tf.tensor(data, [...shape], dtype))
    const labels = { tags: [...new Set([`#${name}`, ...tags])], description }
    const access = set.public === true ? PUBLIC : accessOf(rights, owner)
    const id = globalThis.crypto.randomUUID()
    const common = { kind: 'tensor', gradAccess: PUBLIC, failure: null, owner, session: host } as const
    host.store.add(id, { ...common, tracked: new Tracked(tensor), access, labels })
    const bytes = tensor.size * (dtype === 'bool' ? 1 : 4)
    const { id: to } = host
    host.ledger.record({
      event: 'came',
      operation: 'own data',
      shape,
      dtype,
      tags: labels.tags,
      from: owner,
      to,
      why: `put here by ${owner} when the worker started`,
      bytes,
    })
  }
}
