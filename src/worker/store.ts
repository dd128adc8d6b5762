/** Where the objects of a worker are. Knows what an object is and who may see it; runs nothing. */
import { sottoError } from '../errors.ts'
import type { tf } from '../tensor/backend.ts'
import { gradientId, type Labels, type ObjectId } from '../tensor/location.ts'
import type { Config, OptimizerKind } from '../tensor/optimizers.ts'
import { byteSizeOf, type DType, type Shape } from '../tensor/shape.ts'
import type { Anchor, Tracked } from '../tensor/tape.ts'
import { specOf } from '../tensor/wire.ts'
import { type Access, combine, PUBLIC } from './permissions.ts'
import type { ErrorWire, ObjectInfo } from './protocol.ts'

interface Owned {
  /** Identity of the session that made it: it may change and free the object. */
  readonly owner: string
  /** The session that it ends with. */
  readonly session: object
}

/** A tensor, by itself or as the weight of a model. */
export interface TensorCell {
  readonly tracked: Tracked
  /** Who may see its values. */
  access: Access
  /** Who may see its gradient. */
  gradAccess: Access
  readonly owner: string
}

export interface StoredTensor extends Owned, TensorCell {
  readonly kind: 'tensor'
  readonly labels: Labels
  /** What failed while it was computed from private values; told to those who may see it, to others it is a tensor. */
  readonly failure: ErrorWire | null
}

export interface StoredModel extends Owned {
  readonly kind: 'model'
  readonly model: tf.LayersModel
  readonly type: 'sequential' | 'functional'
  readonly topology: string
  readonly weights: readonly (TensorCell & { readonly name: string; readonly trainable: boolean })[]
  readonly labels: Labels
}

export interface StoredOptimizer extends Owned {
  readonly kind: 'optimizer'
  readonly type: OptimizerKind
  config: Config
  step: number
  readonly parameters: readonly TensorCell[]
  readonly slots: Map<TensorCell, Record<string, tf.Tensor>>
}

/** What stands where an operation failed. */
export interface Failed extends Owned {
  readonly kind: 'failed'
  readonly error: ErrorWire
  readonly access: Access
}

/** One end of an edge over which a gradient will travel. Not counted among the objects. */
export interface StoredEdge extends Owned {
  readonly kind: 'edge'
  readonly anchor: Anchor
  /** Who may see what the edge led from. */
  readonly access: Access
  /** The leaf at the far end; null at the near end. */
  readonly leaf: Tracked | null
}

/** What other parts of the library keep on a worker: shares of secrets, fixed-precision tensors. */
export interface StoredOther extends Owned {
  readonly kind: 'share' | 'fixed'
  readonly shape: Shape
  readonly dtype: DType
  readonly access: Access
  readonly bytes: number
  release(): void
}

/**
 * What rounding lost of the tensors that went one way, to be added to the next: see `remainderOf`. Nobody gets to see it:
 * it goes on inside what is sent.
 */
export interface StoredRemainder extends Owned {
  readonly kind: 'remainder'
  readonly shape: Shape
  values: Float32Array
  /** Who may see the values that it is left of. */
  access: Access
}

export type Stored = StoredTensor | StoredModel | StoredOptimizer | StoredOther | StoredRemainder | Failed | StoredEdge

/** What an id gives to read. */
export interface Readable {
  readonly tensor: tf.Tensor
  readonly access: Access
  readonly labels: Labels
  /** Null for a gradient. */
  readonly tracked: Tracked | null
  readonly owner: string
  readonly failure: ErrorWire | null
}

/** A failure met again: the result of a command on it fails with the same error. */
export class Poison extends Error {
  readonly error: ErrorWire
  readonly access: Access
  constructor({ error, access }: Pick<Failed, 'error' | 'access'>) {
    super(error.message)
    this.error = error
    this.access = access
  }
}

/** A computation threw. Whether it does may depend on its operands, so only who may see its result is told. */
export class OperationFailed extends Error {
  readonly access: Access
  constructor(cause: unknown, access: Access) {
    super('the operation failed', { cause })
    this.access = access
  }
}

const notFound = (id: ObjectId): Error =>
  sottoError('ERR_NOT_FOUND', 'no object of that id is here: it was taken, freed, or never made', { id })
const wrongKind = (id: ObjectId, is: string, wanted: string): Error =>
  sottoError('ERR_WRONG_KIND', `the object is a ${is}, and a ${wanted} was asked for`, { id })

const foreign = (id: ObjectId): Error =>
  sottoError(
    'ERR_PERMISSION',
    'the object belongs to another session, which has not published it; what is sent under tags can be found by others',
    { id },
  )

/** Whether a session may use an object: it made it, or whoever did has published it under tags. */
export const isFor = (stored: Stored, by: object): boolean =>
  stored.session === by || ('labels' in stored && stored.labels.tags.length > 0)

export class Store {
  readonly #onForeign: (by: object) => void
  readonly #objects = new Map<ObjectId, Stored>()
  readonly #edgeLeaves = new WeakSet<Tracked>()
  readonly #sizes = new Map<ObjectId, number>()
  readonly #usage = new Map<string, Usage>()
  #bytes = 0

  /** @param onForeign called when a session asks for what is not for it */
  constructor(onForeign: (by: object) => void) {
    this.#onForeign = onForeign
  }

  add(id: ObjectId, stored: Stored): void {
    if (this.#objects.has(id)) throw sottoError('ERR_ID_TAKEN', 'the id chosen for a result is taken', { id })
    this.#objects.set(id, stored)
    this.#count(id, stored)
    if (stored.kind === 'tensor') stored.tracked.holder = stored
    if (stored.kind === 'edge' && stored.leaf) this.#edgeLeaves.add(stored.leaf)
    if (stored.kind === 'model') for (const weight of stored.weights) weight.tracked.holder = weight
  }

  has(id: ObjectId): boolean {
    return this.#objects.has(id)
  }

  find(id: ObjectId): Stored | undefined {
    return this.#objects.get(id)
  }

  /** @param by the session that asks: what another session made and did not put under tags is not for it */
  #live(id: ObjectId, by: object): Exclude<Stored, Failed> {
    const stored = this.#objects.get(id)
    if (stored === undefined) throw notFound(id)
    if (!isFor(stored, by)) {
      this.#onForeign(by)
      throw foreign(id)
    }
    if (stored.kind === 'failed') throw new Poison(stored)
    return stored
  }

  /** A tensor, or the weight of a model, by its own id (not a gradient). */
  cell(id: ObjectId, by: object): TensorCell {
    const hash = id.indexOf('#')
    const stored = this.#live(hash < 0 ? id : id.slice(0, hash), by)
    if (hash < 0) {
      if (stored.kind !== 'tensor') throw wrongKind(id, stored.kind, 'tensor')
      return stored
    }
    if (stored.kind !== 'model') throw wrongKind(id, stored.kind, 'model')
    const weight = stored.weights[Number(id.slice(hash + 1))]
    if (weight === undefined) throw notFound(id)
    return weight
  }

  /** What an id gives to read: a tensor, a weight, or the gradient of either. */
  read(id: ObjectId, by: object): Readable {
    const of = gradientOf(id)
    if (of !== null) {
      const { tracked, gradAccess, owner } = this.cell(of, by)
      if (tracked.grad === null) {
        throw sottoError('ERR_NO_GRAD', 'no gradient is there: backward did not reach this tensor', { id })
      }
      return { tensor: tracked.grad, access: gradAccess, labels: NO_LABELS, tracked: null, owner, failure: null }
    }
    const cell = this.cell(id, by)
    const { labels, failure } = 'labels' in cell ? (cell as StoredTensor) : { labels: NO_LABELS, failure: null }
    const { tracked, access, owner } = cell
    return { tensor: tracked.tensor, access, labels, tracked, owner, failure }
  }

  model(id: ObjectId, by: object): StoredModel {
    const stored = this.#live(id, by)
    if (stored.kind !== 'model') throw wrongKind(id, stored.kind, 'model')
    return stored
  }
  optimizer(id: ObjectId, by: object): StoredOptimizer {
    const stored = this.#live(id, by)
    if (stored.kind !== 'optimizer') throw wrongKind(id, stored.kind, 'optimizer')
    return stored
  }
  /** What another part of the library keeps. */
  other(id: ObjectId, kind: StoredOther['kind'], by: object): StoredOther {
    const stored = this.#live(id, by)
    if (stored.kind !== kind) throw wrongKind(id, stored.kind, kind)
    return stored as StoredOther
  }
  edge(id: ObjectId, by: object): StoredEdge {
    const stored = this.#live(id, by)
    if (stored.kind !== 'edge') throw wrongKind(id, stored.kind, 'edge of a graph')
    return stored
  }

  remainder(id: ObjectId, by: object): StoredRemainder {
    const stored = this.#live(id, by)
    if (stored.kind !== 'remainder') throw wrongKind(id, stored.kind, 'remainder')
    return stored
  }

  /** Whether the gradient of a leaf has an edge to travel over. */
  isEdgeLeaf(tracked: Tracked): boolean {
    return this.#edgeLeaves.has(tracked)
  }

  /** The cell of a leaf, as long as it is stored here. */
  cellOf(tracked: Tracked): TensorCell | undefined {
    return (tracked.holder as TensorCell | null) ?? undefined
  }

  /** Takes an object out and frees it. A gradient is dropped; a weight stays with its model. */
  free(id: ObjectId): void {
    const of = gradientOf(id)
    if (of !== null) {
      const stored = this.#objects.get(of.split('#')[0]!)
      if (stored && stored.kind !== 'failed') this.cell(of, stored.session).tracked.zeroGrad()
      return
    }
    const stored = this.#objects.get(id)
    if (stored === undefined) return
    this.#objects.delete(id)
    this.#uncount(id, stored)
    release(stored)
  }

  /** Frees what a session made. */
  endSession(session: object): void {
    for (const [id, stored] of this.#objects) if (stored.session === session) this.free(id)
  }

  clear(): void {
    for (const id of [...this.#objects.keys()]) this.free(id)
  }

  /** What an identity keeps here: edges and failures count as objects, and take no bytes. */
  usedBy(owner: string): Readonly<Usage> {
    return this.#usage.get(owner) ?? { objects: 0, bytes: 0 }
  }

  #count(id: ObjectId, stored: Stored): void {
    const size = bytesOf(stored)
    const usage = this.#usage.get(stored.owner)
    if (usage === undefined) this.#usage.set(stored.owner, { objects: 1, bytes: size })
    else {
      usage.objects++
      usage.bytes += size
    }
    this.#bytes += size
    if (size > 0) this.#sizes.set(id, size)
  }

  #uncount(id: ObjectId, { owner }: Stored): void {
    const size = this.#sizes.get(id) ?? 0
    this.#sizes.delete(id)
    this.#bytes -= size
    const usage = this.#usage.get(owner)
    if (usage === undefined) return
    usage.objects--
    usage.bytes -= size
    if (usage.objects === 0) this.#usage.delete(owner)
  }

  /** Bytes of all objects when they were made: the state of optimizers and gradients come on top. */
  get bytes(): number {
    return this.#bytes
  }

  *entries(): Iterable<[ObjectId, Stored]> {
    yield* this.#objects
  }

  /** All that is kept, edges of graphs too. */
  get count(): number {
    return this.#objects.size
  }

  /** Objects that a user would count; edges of graphs are not among them. */
  get size(): number {
    let count = 0
    for (const stored of this.#objects.values()) if (stored.kind !== 'edge' && stored.kind !== 'failed') count++
    return count
  }

  /** What is here of all sessions, or of what one of them may use. */
  infos(by?: object): ObjectInfo[] {
    const infos: ObjectInfo[] = []
    for (const [id, stored] of this.#objects) {
      if (stored.kind !== 'edge' && (by === undefined || isFor(stored, by))) infos.push(infoOf(id, stored))
    }
    return infos
  }

  /** Tensors under all of some tags, of what a session may use. */
  tagged(tags: readonly string[], by: object): ObjectInfo[] {
    const infos: ObjectInfo[] = []
    for (const [id, stored] of this.#objects) {
      if (stored.kind !== 'tensor' || !isFor(stored, by)) continue
      if (tags.every((tag) => stored.labels.tags.includes(tag))) infos.push(infoOf(id, stored))
    }
    return infos
  }
}

interface Usage {
  objects: number
  bytes: number
}

/** Bytes of an object's values. */
function bytesOf(stored: Stored): number {
  switch (stored.kind) {
    case 'tensor':
      return byteSizeOf(specOf(stored.tracked.tensor))
    case 'model':
      return stored.weights.reduce((sum, { tracked }) => sum + byteSizeOf(specOf(tracked.tensor)), 0)
    case 'share':
    case 'fixed':
      return stored.bytes
    case 'remainder':
      return stored.values.byteLength
    default:
      return 0
  }
}

export const NO_LABELS: Labels = { tags: [], description: '' }

/** The tensor that an id names the gradient of, or null. */
export function gradientOf(id: ObjectId): ObjectId | null {
  const suffix = gradientId('')
  return id.endsWith(suffix) ? id.slice(0, -suffix.length) : null
}

function release(stored: Stored): void {
  switch (stored.kind) {
    case 'tensor':
      return stored.tracked.release()
    case 'model':
      for (const { tracked } of stored.weights) {
        tracked.zeroGrad()
        tracked.holder = null
      }
      stored.model.dispose()
      return
    case 'optimizer':
      for (const slots of stored.slots.values()) for (const tensor of Object.values(slots)) tensor.dispose()
      stored.slots.clear()
      return
    case 'share':
    case 'fixed':
      return stored.release()
    case 'edge':
      return stored.anchor.release()
    case 'remainder':
    case 'failed':
      return
    default:
      stored satisfies never
  }
}

const EMPTY = { shape: [], dtype: 'float32', bytes: 0, requiresGrad: false } as const

function infoOf(id: ObjectId, stored: Exclude<Stored, StoredEdge>): ObjectInfo {
  const common = { id, kind: stored.kind, owner: stored.owner, ...('labels' in stored ? stored.labels : NO_LABELS) }
  switch (stored.kind) {
    case 'tensor': {
      const spec = specOf(stored.tracked.tensor)
      const { requiresGrad } = stored.tracked
      return { ...common, ...spec, bytes: bytesOf(stored), isPrivate: stored.access.length > 0, requiresGrad }
    }
    case 'model': {
      const bytes = bytesOf(stored)
      return { ...common, ...EMPTY, bytes, isPrivate: modelAccess(stored).length > 0, requiresGrad: true }
    }
    case 'optimizer': {
      let bytes = 0
      for (const slots of stored.slots.values()) {
        for (const tensor of Object.values(slots)) bytes += byteSizeOf(specOf(tensor))
      }
      const isPrivate = stored.parameters.some(({ access }) => access.length > 0)
      return { ...common, ...EMPTY, bytes, isPrivate }
    }
    case 'share':
    case 'fixed': {
      const { shape, dtype, bytes, access } = stored
      return { ...common, ...EMPTY, shape, dtype, bytes, isPrivate: access.length > 0 }
    }
    case 'remainder': {
      const { shape, access } = stored
      return { ...common, ...EMPTY, shape, bytes: bytesOf(stored), isPrivate: access.length > 0 }
    }
    case 'failed':
      return { ...common, ...EMPTY, isPrivate: stored.access.length > 0 }
  }
}

export const modelAccess = ({ weights }: StoredModel): Access =>
  weights.reduce((access: Access, weight) => combine(access, weight.access), PUBLIC)
