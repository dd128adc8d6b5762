/** Promises whose keeping comes from elsewhere. */
import { sottoError } from '../errors.ts'

/** Something that will come: a promise, and the way to keep it. */
export class Awaited<T> {
  readonly promise: Promise<T>
  isThere = false
  #resolve!: (value: T) => void
  reject!: (error: Error) => void
  constructor() {
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.reject = reject
    })
    // Whoever waits hears of it; nobody must.
    this.promise.catch(() => {})
  }

  /** @throws StateError `ERR_USED_TWICE` when it was there already */
  resolve(value: T): void {
    if (this.isThere) throw sottoError('ERR_USED_TWICE', 'the same was handed over twice')
    this.isThere = true
    this.#resolve(value)
  }
}

/** What is awaited under a key, from whoever comes first: the one who waits, or what is waited for. */
export function entryOf<K, T>(map: Map<K, Awaited<T>>, key: K): Awaited<T> {
  let awaited = map.get(key)
  if (awaited === undefined) {
    awaited = new Awaited()
    map.set(key, awaited)
  }
  return awaited
}
