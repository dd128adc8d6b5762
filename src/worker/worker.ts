/** A worker as its user sees it: a place where tensors live, reached through a session of one identity. */
import { sottoError } from '../errors.ts'
import { type CheckpointInfo, checkCheckpointName } from '../tensor/checkpoint.ts'
import {
  type Ask,
  checkWait,
  type Location,
  type Progress,
  type Tell,
  type Verbs,
  type WaitOptions,
} from '../tensor/location.ts'
import { PointerTensor } from '../tensor/pointer.ts'
import type { LedgerEntry } from './ledger.ts'
import { FrameKind, type ObjectInfo, type TunnelFrame, type WorkerStats } from './protocol.ts'
import type { Session } from './session.ts'
import type { Channel } from './transport/channel.ts'

/** Tunnels of one worker that pass through here at a time. */
const TUNNELS = 1024

/** Where one worker can dial another: sockets from everywhere, addresses of a process from inside it. */
function addressFor(asker: Worker, { address }: Worker): string | null {
  if (address === null || /^wss?:/.test(address)) return address
  return asker.address !== null && !/^wss?:/.test(asker.address) ? address : null
}

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
  readonly #introduced = new Map<string, Worker>()
  /** Tunnels that pass through here: where what comes from this worker goes on. */
  readonly #passing = new Map<string, Worker>()

  constructor(id: string, identity: string, session: Session) {
    this.id = id
    this.identity = identity
    this.#session = session
    session.onTunnel((frame) => this.#pass(frame))
    session.onClose(() => {
      for (const [tunnel, other] of [...this.#passing]) this.#endPassing(tunnel, other)
    })
  }

  /** Where peers reach this worker: a URL, or an address of this process; null where they cannot dial it. */
  abstract readonly address: string | null

  /** The public key of this worker: `ed25519:…`. Whoever introduces it elsewhere says that it holds this key. */
  abstract readonly key: string

  /** The same worker through a session of another identity. */
  abstract as(identity: string): Worker

  /**
   * Ends the session when what was issued is carried out, or after ten seconds. Objects that it made on the worker end
   * with it, unless they were to be kept.
   */
  async close(): Promise<void> {
    await this.#session.finish()
  }

  get isClosed(): boolean {
    return this.#session.isClosed
  }

  checkOpen(entry: string): void {
    this.#session.checkOpen(entry)
  }

  /** @internal Calls back with the origin of every failure that the worker tells of. */
  onFailure(listener: (origin: string) => void): void {
    this.#session.onFailure(listener)
  }

  tell<V extends Tell>(verb: V, body: Verbs[V]['request'], onProgress?: (progress: Progress) => void): void {
    this.#session.tell(verb, body as never, onProgress)
  }

  ask<V extends Ask>(verb: V, body: Verbs[V]['request'], wait?: WaitOptions): Promise<Verbs[V]['response']> {
    return this.#session.ask(verb, body as never, wait) as Promise<Verbs[V]['response']>
  }

  reach(peer: Location): string {
    if (!(peer instanceof Worker)) {
      throw sottoError('ERR_ARGUMENT_TYPE', `${this.id} can reach workers only, and this is none`)
    }
    const { id, key } = peer
    const known = this.#introduced.get(id)
    if (known === peer) return id
    if (known !== undefined && !known.isClosed && known.key !== key) {
      throw sottoError(
        'ERR_ARGUMENT_VALUE',
        `${this.id} knows another worker of the name ${id}; give each worker a name of its own`,
      )
    }
    // Another session with the same worker, too: what goes there is waited for in that session.
    const capability = peer.#session.capabilityFor(this.id, this.key)
    const address = addressFor(this, peer)
    this.#session.tell('peers', { peers: [{ name: id, address, relay: true, key, capability }] })
    this.#introduced.set(id, peer)
    return id
  }

  /** @internal A channel to the worker itself, inside this session. */
  tunnel(): Channel {
    return this.#session.tunnels.open('')
  }

  /** Passes on what this worker says to a peer that it cannot dial. It is sealed: nothing of it can be read here. */
  #pass(frame: TunnelFrame): void {
    const [kind, tunnel, to, message] = frame
    const known = this.#passing.get(tunnel)
    if (known !== undefined) {
      if (message === null) return this.#endPassing(tunnel, known)
      return this.#passOn(known, [kind, tunnel, null, message])
    }
    if (message === null) return
    const peer = to === null ? undefined : this.#introduced.get(to)
    if (peer === undefined || peer.isClosed || this.#passing.size >= TUNNELS) {
      return this.#session.sendTunnel([kind, tunnel, null, null])
    }
    this.#passing.set(tunnel, peer)
    peer.#passing.set(tunnel, this)
    this.#passOn(peer, [kind, tunnel, this.id, message])
  }

  #passOn(to: Worker, frame: TunnelFrame): void {
    try {
      to.#session.sendTunnel(frame)
    } catch {
      // More than it takes: that is the end of this tunnel, and of nothing else.
      const [kind, tunnel] = frame
      this.#endPassing(tunnel, to)
      this.#session.sendTunnel([kind, tunnel, null, null])
    }
  }

  /** Nothing passes any more: says so to the other end. */
  #endPassing(tunnel: string, other: Worker): void {
    this.#passing.delete(tunnel)
    other.#passing.delete(tunnel)
    other.#session.sendTunnel([FrameKind.tunnel, tunnel, null, null])
  }

  /**
   * Tells this worker, and each of the others, how to reach one another. Moves introduce workers as they need it;
   * owners say so whom they mean by a name in the rights that they give.
   */
  addWorkers(workers: readonly Worker[]): void {
    const all = [this as Worker, ...workers]
    for (const a of all) for (const b of all) if (a !== b) a.reach(b)
  }

  /** Pointers to the tensors that bear all of the tags. They do not own: dropping one deletes nothing. */
  async search(tags: readonly string[], wait: WaitOptions = {}): Promise<PointerTensor[]> {
    checkWait('search', wait)
    if (!Array.isArray(tags))
      throw sottoError('ERR_ARGUMENT_TYPE', "search: expected a list of tags, such as ['#mnist']")
    const found = await this.#session.ask('search', { tags }, wait)
    return found.map(({ id, shape, dtype, tags: labels, description, owner }) => {
      const stays = owner !== this.identity
      const spec = { shape, dtype }
      return new PointerTensor({ location: this, id, spec, owns: false, stays, labels: { tags: labels, description } })
    })
  }

  /** What is on the worker: id, shape, dtype, tags, bytes; never values. */
  async objects(wait: WaitOptions = {}): Promise<readonly ObjectInfo[]> {
    checkWait('objects', wait)
    return this.#session.ask('objects', {}, wait)
  }

  /** What this identity has saved on the worker by `model.save()`, the oldest first. */
  async checkpoints(wait: WaitOptions = {}): Promise<readonly CheckpointInfo[]> {
    checkWait('checkpoints', wait)
    return this.#session.ask('checkpoints', {}, wait)
  }

  /** @throws StateError `ERR_UNKNOWN_CHECKPOINT` when this identity has none of that name on the worker */
  async removeCheckpoint(name: string, wait: WaitOptions = {}): Promise<void> {
    checkWait('removeCheckpoint', wait)
    checkCheckpointName('removeCheckpoint', name)
    await this.#session.ask('removeCheckpoint', { name }, wait)
  }

  /** How many tensors, models and optimizers are on the worker. */
  async objectCount(wait: WaitOptions = {}): Promise<number> {
    checkWait('objectCount', wait)
    return (await this.stats(wait)).objects
  }

  /**
   * Waits until everything issued so far is done.
   *
   * @throws the first failure that no get or fetch has reported yet
   */
  async flush(wait: WaitOptions = {}): Promise<void> {
    checkWait('flush', wait)
    await this.#session.ask('flush', {}, wait)
  }

  /** What left the worker in clear or came to be known there, to whom, and why. */
  async ledger(wait: WaitOptions = {}): Promise<readonly LedgerEntry[]> {
    checkWait('ledger', wait)
    return this.#session.ask('ledger', {}, wait)
  }

  /** Objects, bytes, and the traffic of every link. */
  async stats(wait: WaitOptions = {}): Promise<WorkerStats> {
    checkWait('stats', wait)
    return this.#session.ask('stats', {}, wait)
  }

  toString(): string {
    return `${this.constructor.name} ${this.id} as ${this.identity}`
  }
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.toString()
  }
}
