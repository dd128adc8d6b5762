/** A worker as its user sees it: a place where tensors live, reached through a session of one identity. */
import { sottoError } from '../errors.ts'
import type { Ask, Location, Tell, Verbs } from '../tensor/location.ts'
import { PointerTensor } from '../tensor/pointer.ts'
import type { LedgerEntry } from './ledger.ts'
import type { ObjectInfo, WorkerStats } from './protocol.ts'
import type { Session } from './session.ts'

/**
 * What every kind of worker can do. Commands return at once and are carried out in the order in which they were issued;
 * whatever must be waited for is a Promise.
 */
export abstract class Worker implements Location {
  readonly id: string
  /** Who this session acts as: what the worker's permissions and ledger speak of. */
  readonly identity: string
  readonly #session: Session
  /** Peers that this session has introduced, by name. */
  readonly #introduced = new Map<string, string>()

  constructor(id: string, identity: string, session: Session) {
    this.id = id
    this.identity = identity
    this.#session = session
  }

  /** Where peers reach this worker. */
  abstract readonly address: string

  /** The same worker through a session of another identity. */
  abstract as(identity: string): Worker

  /** Ends the session. Objects that it made on the worker end with it. */
  async close(): Promise<void> {
    this.#session.close()
  }

  get isClosed(): boolean {
    return this.#session.isClosed
  }

  /** @internal Calls back with the origin of every failure that the worker tells of. */
  onFailure(listener: (origin: string) => void): void {
    this.#session.onFailure(listener)
  }

  tell<V extends Tell>(verb: V, body: Verbs[V]['request']): void {
    this.#session.tell(verb, body as never)
  }

  ask<V extends Ask>(verb: V, body: Verbs[V]['request']): Promise<Verbs[V]['response']> {
    return this.#session.ask(verb, body as never) as Promise<Verbs[V]['response']>
  }

  reach(peer: Location): string {
    if (!(peer instanceof Worker)) {
      throw sottoError('ERR_ARGUMENT_TYPE', `${this.id} can reach workers only, and this is none`)
    }
    const { id, address } = peer
    const known = this.#introduced.get(id)
    if (known === undefined) {
      this.#session.tell('peers', { peers: [{ name: id, address }] })
      this.#introduced.set(id, address)
    } else if (known !== address) {
      throw sottoError(
        'ERR_ARGUMENT_VALUE',
        `${this.id} knows another worker of the name ${id}; give each worker a name of its own`,
      )
    }
    return id
  }

  /**
   * Tells this worker, and each of the others, how to reach one another. Moves introduce workers as they need it;
   * sockets want to know beforehand.
   */
  addWorkers(workers: readonly Worker[]): void {
    const all = [this as Worker, ...workers]
    for (const a of all) for (const b of all) if (a !== b) a.reach(b)
  }

  /** Pointers to the tensors that bear all of the tags. They do not own: dropping one deletes nothing. */
  async search(tags: readonly string[]): Promise<PointerTensor[]> {
    if (!Array.isArray(tags))
      throw sottoError('ERR_ARGUMENT_TYPE', "search: expected a list of tags, such as ['#mnist']")
    const found = await this.#session.ask('search', { tags })
    return found.map(({ id, shape, dtype, tags: labels, description, owner }) => {
      const stays = owner !== this.identity
      const spec = { shape, dtype }
      return new PointerTensor({ location: this, id, spec, owns: false, stays, labels: { tags: labels, description } })
    })
  }

  /** What is on the worker: id, shape, dtype, tags, bytes; never values. */
  async objects(): Promise<readonly ObjectInfo[]> {
    return this.#session.ask('objects', {})
  }

  /** How many tensors, models and optimizers are on the worker. */
  async objectCount(): Promise<number> {
    return (await this.stats()).objects
  }

  /**
   * Waits until everything issued so far is done.
   *
   * @throws the first failure that no get or fetch has reported yet
   */
  async flush(): Promise<void> {
    await this.#session.ask('flush', {})
  }

  /** What left the worker in clear or came to be known there, to whom, and why. */
  async ledger(): Promise<readonly LedgerEntry[]> {
    return this.#session.ask('ledger', {})
  }

  /** Objects, bytes, and the traffic of every link. */
  async stats(): Promise<WorkerStats> {
    return this.#session.ask('stats', {})
  }

  toString(): string {
    return `${this.constructor.name} ${this.id} as ${this.identity}`
  }
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.toString()
  }
}
