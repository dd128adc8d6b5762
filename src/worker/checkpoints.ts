/**
 * Where the checkpoints of a worker are: one for each identity and name, in the memory of this process or in whatever
 * store the worker was given. Holds them to the limits; what stores keep are bytes to them.
 */
import { sottoError } from '../errors.ts'
import type { CheckpointInfo } from '../tensor/checkpoint.ts'
import {
  type CheckpointHead,
  type CheckpointKey,
  HEAD,
  headOf,
  type Kept,
  readCheckpoint,
  writeCheckpoint,
} from './checkpoint-file.ts'

/** Keeps bytes under keys. Stores may serve several workers, and outlive them. */
export interface CheckpointStore {
  /** Asked before a worker serves: throws when nothing could be kept here. */
  open?(): Promise<void>
  /** Keeps bytes in the place of what is there: whoever reads, even after a crash, gets the old or the new, whole. */
  write(key: CheckpointKey, bytes: Uint8Array): Promise<void>
  /** The bytes, but not more than so many of the first; null where there are none. */
  read(key: CheckpointKey, most: number): Promise<Uint8Array | null>
  /** What one identity has on a worker. */
  list(of: Omit<CheckpointKey, 'name'>): Promise<readonly { readonly name: string; readonly bytes: number }[]>
  /** How much there is of a worker, of all identities. Never asked while something is written for this worker. */
  usage(worker: string): Promise<{ readonly count: number; readonly bytes: number }>
  /** Whether there was something to remove. */
  remove(key: CheckpointKey): Promise<boolean>
}

/** Checkpoints in memory: they end with the process. */
export class MemoryCheckpoints implements CheckpointStore {
  readonly #kept = new Map<string, CheckpointKey & { readonly content: Uint8Array }>()

  async write(key: CheckpointKey, bytes: Uint8Array): Promise<void> {
    this.#kept.set(slotOf(key), { ...key, content: bytes })
  }
  async read(key: CheckpointKey, most: number): Promise<Uint8Array | null> {
    return this.#kept.get(slotOf(key))?.content.subarray(0, most) ?? null
  }
  async list({ worker, identity }: Omit<CheckpointKey, 'name'>): Promise<{ name: string; bytes: number }[]> {
    return [...this.#kept.values()]
      .filter((kept) => kept.worker === worker && kept.identity === identity)
      .map(({ name, content }) => ({ name, bytes: content.length }))
  }
  async usage(worker: string): Promise<{ count: number; bytes: number }> {
    const own = [...this.#kept.values()].filter((kept) => kept.worker === worker)
    return { count: own.length, bytes: own.reduce((sum, { content }) => sum + content.length, 0) }
  }
  async remove(key: CheckpointKey): Promise<boolean> {
    return this.#kept.delete(slotOf(key))
  }
}

const slotOf = ({ worker, identity, name }: CheckpointKey): string => JSON.stringify([worker, identity, name])

/** A store, or the path of a folder (Node only). */
export type CheckpointsGiven = CheckpointStore | string

const methods = ['write', 'read', 'list', 'usage', 'remove'] as const satisfies readonly (keyof CheckpointStore)[]

/** @throws for what is no store, and for a folder where there are none */
export function checkCheckpoints(entry: string, given: unknown): void {
  if (given === undefined) return
  const isFolder = typeof given === 'string' && given !== ''
  const isStore =
    typeof given === 'object' &&
    given !== null &&
    methods.every((name) => typeof (given as Record<string, unknown>)[name] === 'function')
  if (!isFolder && !isStore) {
    throw sottoError(
      'ERR_ARGUMENT_TYPE',
      `${entry}: "checkpoints" expected the path of a folder, or a CheckpointStore`,
      {
        option: 'checkpoints',
      },
    )
  }
  if (isFolder && globalThis.process?.getBuiltinModule === undefined) {
    throw sottoError(
      'ERR_BACKEND',
      `${entry}: a folder of "checkpoints" needs the files of Node, and there are none here`,
    )
  }
}

/** What browsers have no use for is loaded when it is needed. */
function storeFrom(given: CheckpointsGiven): () => Promise<CheckpointStore> {
  if (typeof given !== 'string') return async () => given
  let folder: Promise<CheckpointStore> | undefined
  return () => {
    folder ??= import('./checkpoint-folder.ts').then(({ FolderCheckpoints }) => new FolderCheckpoints(given))
    return folder
  }
}

export interface CheckpointLimits {
  /** Checkpoints of all identities, and their bytes. */
  readonly checkpoints: number
  readonly checkpointBytes: number
  /** Of one identity. */
  readonly identityCheckpoints: number
  readonly identityCheckpointBytes: number
}

/** The checkpoints of one worker. */
export class Checkpoints {
  readonly #worker: string
  readonly #limits: CheckpointLimits
  readonly #store: () => Promise<CheckpointStore>
  /** The last change: changes come one after the other, so that limits hold. */
  #last: Promise<unknown> = Promise.resolve()

  constructor(worker: string, limits: CheckpointLimits, given: CheckpointsGiven = new MemoryCheckpoints()) {
    this.#worker = worker
    this.#limits = limits
    this.#store = storeFrom(given)
  }

  /** Throws when nothing could be kept. */
  async open(): Promise<void> {
    const store = await this.#store()
    await store.open?.()
  }

  /** @throws SessionError `ERR_LIMIT` */
  save(identity: string, name: string, kept: Kept): Promise<CheckpointInfo> {
    const key = { worker: this.#worker, identity, name }
    return this.#inTurn(async () => {
      const { bytes, ...head } = await writeCheckpoint(key, kept)
      const store = await this.#store()
      await this.#checkRoom(store, key, bytes.length)
      await store.write(key, bytes)
      return infoOf(name, bytes.length, head)
    })
  }

  /** @throws StateError `ERR_UNKNOWN_CHECKPOINT`, `ERR_CHECKPOINT`; SessionError `ERR_LIMIT` for one that is too large */
  async load(identity: string, name: string): Promise<Kept & { readonly info: CheckpointInfo }> {
    const key = { worker: this.#worker, identity, name }
    const store = await this.#store()
    const most = this.#limits.identityCheckpointBytes
    const found = await store.read(key, most + 1)
    if (found === null) throw this.#unknown('restore', key)
    if (found.length > most) {
      throw sottoError(
        'ERR_LIMIT',
        `restore: "${name}" takes more than the ${most} bytes of checkpoints for one identity`,
      )
    }
    // A store of Node may give a Buffer, whose parts are views where those of others are copies.
    const bytes = new Uint8Array(found.buffer, found.byteOffset, found.byteLength)
    const kept = await readCheckpoint(bytes, key)
    return { ...kept, info: infoOf(name, bytes.length, kept) }
  }

  /** The oldest first. What does not begin as a checkpoint does is passed over; it can be removed. */
  async list(identity: string): Promise<CheckpointInfo[]> {
    const owner = { worker: this.#worker, identity }
    const store = await this.#store()
    const infos: CheckpointInfo[] = []
    for (const { name, bytes } of await store.list(owner)) {
      const first = await store.read({ ...owner, name }, HEAD)
      const head = first === null ? null : headOf(first)
      if (head !== null) infos.push(infoOf(name, bytes, head))
    }
    return infos.sort((a, b) => a.savedAt - b.savedAt || (a.name < b.name ? -1 : 1))
  }

  /** @throws StateError `ERR_UNKNOWN_CHECKPOINT` */
  remove(identity: string, name: string): Promise<void> {
    const key = { worker: this.#worker, identity, name }
    return this.#inTurn(async () => {
      const store = await this.#store()
      if (!(await store.remove(key))) throw this.#unknown('removeCheckpoint', key)
    })
  }

  #inTurn<T>(change: () => Promise<T>): Promise<T> {
    const done = this.#last.then(change)
    this.#last = done.catch(() => {})
    return done
  }

  /** Refuses what there is no room for. What has this name now makes room. */
  async #checkRoom(store: CheckpointStore, key: CheckpointKey, size: number): Promise<void> {
    const { identity, name } = key
    const { checkpoints, checkpointBytes, identityCheckpoints, identityCheckpointBytes } = this.#limits
    const own = await store.list(key)
    const before = own.filter((one) => one.name === name)
    const bytesOf = (some: typeof own) => some.reduce((sum, { bytes }) => sum + bytes, 0)
    const [count, bytes] = [own.length - before.length, bytesOf(own) - bytesOf(before)]
    if (count + 1 > identityCheckpoints || bytes + size > identityCheckpointBytes) {
      throw sottoError(
        'ERR_LIMIT',
        `save: ${identity} has ${count} other checkpoints and ${bytes} bytes of them here, and ${size} bytes more do not fit; the most is ${identityCheckpoints} and ${identityCheckpointBytes}`,
      )
    }
    const all = await store.usage(this.#worker)
    if (all.count - before.length + 1 > checkpoints || all.bytes - bytesOf(before) + size > checkpointBytes) {
      throw sottoError('ERR_LIMIT', `save: ${this.#worker} has no room for ${size} bytes more of checkpoints`)
    }
  }

  #unknown(entry: string, { worker, identity, name }: CheckpointKey): Error {
    return sottoError(
      'ERR_UNKNOWN_CHECKPOINT',
      `${entry}: ${identity} has saved nothing as "${name}" on ${worker}; worker.checkpoints() tells what there is`,
      { name },
    )
  }
}

const infoOf = (name: string, bytes: number, { sha256, savedAt }: CheckpointHead): CheckpointInfo => ({
  name,
  bytes,
  sha256,
  savedAt,
})
