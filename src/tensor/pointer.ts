/// <reference lib="esnext.disposable" preserve="true" />
/** Pointers: handles to tensors that live on workers. */
import { sottoError } from '../errors.ts'
import { checkOptions } from '../options.ts'
import { gradEnabled, track } from './context.ts'
import { tf } from './engine.ts'
import { type Compressed, ErrorFeedback, packingOf } from './feedback.ts'
import { type BackwardPart, derived, Edge, type EdgeSource, type GraphNode, leaf, planBackward } from './graph.ts'
import { homeOf } from './local-grad.ts'
import {
  checkWait,
  gradientId,
  type Labels,
  type Location,
  newId,
  type ObjectId,
  type OperandWire,
  type Privacy,
  type Progress,
  type WaitOptions,
} from './location.ts'
import { type OpName, type OpRow, ops } from './ops.ts'
import { type Compression, compressions } from './packed.ts'
import { type DType, type Shape, type Spec, sameShape, showShape } from './shape.ts'
import { fromWire, specOf, toWire } from './wire.ts'

/** What an op takes beside pointers: numbers, and arrays as tfjs takes them. */
export type Operand = PointerTensor | tf.TensorLike

type OperandArgs<Names extends readonly string[]> = Names extends readonly [
  infer Name extends string,
  ...infer Rest extends readonly string[],
]
  ? Name extends `${string}[]`
    ? [operands: readonly Operand[], ...OperandArgs<Rest>]
    : Name extends `${string}?`
      ? [operand?: Operand, ...rest: OperandArgs<Rest>]
      : [operand: Operand, ...rest: OperandArgs<Rest>]
  : []

type RestOf<Names extends readonly string[]> = Names extends readonly [string, ...infer Rest extends readonly string[]]
  ? Rest
  : []

/** The method that a row of the op table gives a pointer: the other tensors first, then what else the row takes. */
type Method<Row> =
  Row extends OpRow<infer Inputs, infer Args, infer _Attrs, infer Result>
    ? (
        ...args: [...OperandArgs<RestOf<Inputs>>, ...Args]
      ) => Result extends readonly Spec[] ? PointerTensor[] : PointerTensor
    : never

export type PointerOps = { readonly [Name in OpName]: Method<(typeof ops)[Name]> }

/** Where a pointer's object is, and whether it is still this pointer's to use. */
interface Handle {
  readonly location: Location
  readonly id: ObjectId
  /** An owning pointer frees its object when it is dropped. */
  readonly owns: boolean
  /** Sent under tags, for others to find: it does not go when its pointer is dropped, or its scope ends. */
  readonly isPublished: boolean
  /** Whether get takes the object off its worker: it stays there if it belongs to another identity, or to a model. */
  readonly stays: boolean
  /** What took the object away, or null. */
  consumed: string | null
}

/**
 * Objects whose pointers were dropped without `dispose`, by location: freed together, one frame for a whole sweep of
 * the garbage collector. The net below `dispose`, `using` and scopes.
 */
const dropped = new Map<Location, ObjectId[]>()
const collector = new FinalizationRegistry<Handle>((handle) => {
  if (handle.consumed !== null) return
  if (dropped.size === 0) setTimeout(freeDropped, 0)
  const ids = dropped.get(handle.location)
  if (ids) ids.push(handle.id)
  else dropped.set(handle.location, [handle.id])
})

function freeDropped(): void {
  const batches = [...dropped]
  dropped.clear()
  for (const [location, ids] of batches) location.tell('free', { ids })
}

export interface SendOptions {
  /** Words by which others find the object: `worker.search(['#mnist', '#labels'])`. */
  tags?: readonly string[]
  description?: string
  /** Makes the object a leaf whose gradient is kept. */
  requiresGrad?: boolean
  /** Only the owner, and those allowed, may get, fetch or move it (or what is computed from it) in clear. */
  private?: boolean
  /** Identities that may see a private object in clear. */
  allow?: readonly string[]
  /** Identities that may see what is computed from a private object, but not the object. */
  allowResults?: readonly string[]
  /**
   * Workers among which a private object may be shared as a secret, by the names under which its owner knows them: every
   * party besides the worker it is on, and the provider. What the secret is opened for, the other two rights say.
   */
  allowShares?: readonly string[]
  /**
   * Identities that may see the total or the mean of a private object and of at least two other owners' (see `meanOf`),
   * but not the object.
   */
  allowTotals?: readonly string[]
  /**
   * Of private ids: workers, and identities, that may learn which of theirs are among them, and how many (see `intersect`).
   * Whoever may ask can look up any id that it can guess.
   */
  allowMatches?: readonly string[]
  /** Whether the object outlives this session; it must have tags to be found by. */
  keep?: boolean
  /** Told how far a large object has come. */
  onProgress?: (progress: Progress) => void
}

export interface MoveOptions {
  /** Makes the result a leaf, and relays its gradient back to where it came from during backward. */
  requiresGrad?: boolean
  /**
   * Sends the tensor, and with `requiresGrad` its gradient on the way back, in a shorter form; both are float32 again
   * where they arrive. Off unless given. Of float32 tensors only.
   *
   * - `'float16'`: 2 bytes an element. Off by 2^-11 of itself at most, or 2^-25; what is beyond ±65504 becomes that.
   * - `'int8'`: a byte an element, and 4 for each row of the first axis. Off by 1/254 of the largest of its row; NaN and
   *   ±Infinity arrive as NaN. (One row for all where rows have fewer than 8 elements.)
   */
  compress?: Compression
  /** Makes up for what `compress` rounds off, over several steps; see {@link errorFeedback}. */
  feedback?: ErrorFeedback
}

const MOVE_OPTIONS = ['requiresGrad', 'compress', 'feedback'] as const

/** What is asked for of how a tensor, and later its gradient, is to travel. */
function compressedOf({ compress, feedback }: MoveOptions, dtype: DType): Compressed | null {
  if (feedback !== undefined && !(feedback instanceof ErrorFeedback)) {
    throw sottoError('ERR_ARGUMENT_TYPE', 'move: "feedback" expected what errorFeedback() gives', {
      option: 'feedback',
    })
  }
  if (compress === undefined) {
    if (feedback === undefined) return null
    throw sottoError('ERR_ARGUMENT_VALUE', 'move: "feedback" goes with "compress"', { option: 'feedback' })
  }
  if (!compressions.includes(compress)) {
    const known = compressions.map((name) => `'${name}'`).join(' or ')
    throw sottoError('ERR_ARGUMENT_VALUE', `move: "compress" expected ${known}`, { option: 'compress' })
  }
  if (dtype !== 'float32') {
    throw sottoError('ERR_DTYPE', `move: only float32 tensors are compressed, this one is ${dtype}`, { dtype })
  }
  return { encoding: compress, feedback }
}

export interface BackwardOptions {
  /** Keeps the graph for another backward through it. */
  retainGraph?: boolean
}

/** Longest name, tag and description, and the most tags, that a worker takes. */
const LIMITS = { text: 256, description: 4096, tags: 64 } as const

function names(option: string, value: unknown): string[] {
  if (!Array.isArray(value) || !value.every((name) => typeof name === 'string')) {
    throw sottoError('ERR_ARGUMENT_TYPE', `send: "${option}" expected a list of strings`, { option })
  }
  if (value.some((name) => name.length > LIMITS.text)) {
    throw sottoError('ERR_ARGUMENT_VALUE', `send: "${option}" has a string longer than ${LIMITS.text}`, { option })
  }
  return [...value]
}

/** Refuses what is no worker, before anything is done. */
export function checkLocation(entry: string, location: unknown): asserts location is Location {
  if (typeof (location as Location | null)?.tell !== 'function') {
    throw sottoError('ERR_ARGUMENT_TYPE', `${entry}: expected a worker, such as new VirtualWorker('bob')`, { entry })
  }
  ;(location as Location).checkOpen(entry)
}

const SEND_OPTIONS = [
  'tags',
  'description',
  'requiresGrad',
  'private',
  'allow',
  'allowResults',
  'allowShares',
  'allowTotals',
  'allowMatches',
  'keep',
  'onProgress',
] as const

export function checkSendOptions(entry: string, options: SendOptions, known: readonly string[] = SEND_OPTIONS): void {
  checkOptions(entry, options, known)
  if (options.private !== undefined && typeof options.private !== 'boolean') {
    throw sottoError('ERR_ARGUMENT_TYPE', `${entry}: "private" expected a boolean`, { option: 'private' })
  }
  if (options.keep !== undefined && typeof options.keep !== 'boolean') {
    throw sottoError('ERR_ARGUMENT_TYPE', `${entry}: "keep" expected a boolean`, { option: 'keep' })
  }
  if (options.keep && (options.tags ?? []).length === 0) {
    throw sottoError('ERR_ARGUMENT_VALUE', `${entry}: what is kept needs tags to be found by`, { option: 'keep' })
  }
  if (options.onProgress !== undefined && typeof options.onProgress !== 'function') {
    throw sottoError('ERR_ARGUMENT_TYPE', `${entry}: "onProgress" expected a function`, { option: 'onProgress' })
  }
}

export function privacyOf(options: SendOptions): Privacy | null {
  const allow = names('allow', options.allow ?? [])
  const allowResults = names('allowResults', options.allowResults ?? [])
  const allowShares = names('allowShares', options.allowShares ?? [])
  const allowTotals = names('allowTotals', options.allowTotals ?? [])
  const allowMatches = names('allowMatches', options.allowMatches ?? [])
  if (!options.private) {
    if ([allow, allowResults, allowShares, allowTotals, allowMatches].some(({ length }) => length > 0)) {
      throw sottoError('ERR_ARGUMENT_VALUE', 'send: "allow" and what begins with it go with { private: true }')
    }
    return null
  }
  return {
    allow,
    allowResults,
    ...(allowShares.length > 0 ? { allowShares } : {}),
    ...(allowTotals.length > 0 ? { allowTotals } : {}),
    ...(allowMatches.length > 0 ? { allowMatches } : {}),
  }
}

export function labelsOf({ tags = [], description = '' }: SendOptions): Labels {
  const list = names('tags', tags)
  if (list.length > LIMITS.tags) {
    throw sottoError('ERR_ARGUMENT_VALUE', `send: at most ${LIMITS.tags} tags, got ${list.length}`, { option: 'tags' })
  }
  if (typeof description !== 'string') {
    throw sottoError('ERR_ARGUMENT_TYPE', 'send: "description" expected a string', { option: 'description' })
  }
  if (description.length > LIMITS.description) {
    throw sottoError('ERR_ARGUMENT_VALUE', `send: "description" is longer than ${LIMITS.description}`, {
      option: 'description',
    })
  }
  return { tags: list, description }
}

interface Origin {
  readonly location: Location
  readonly id: ObjectId
  readonly spec: Spec
  readonly owns: boolean
  readonly stays?: boolean
  readonly isPublished?: boolean
  readonly labels?: Labels
  readonly node?: GraphNode | undefined
}

const NO_LABELS: Labels = { tags: [], description: '' }

/**
 * A handle to a tensor that lives on a worker.
 *
 * Operations return at once, with a pointer to the result: the result is named before it exists, and shapes are
 * checked here, before anything is sent. Only `get`, `fetch` and `backward`'s effects elsewhere must be waited for.
 * Every row of the op table is a method; see `ops.ts`.
 *
 * An owning pointer frees its object when it is disposed of (`dispose()`, `using`, the end of a scope), consumed
 * (`get`, `move`) or garbage collected. What was sent under tags, for others to find, stays until it is disposed of,
 * consumed, or its session ends.
 */
export class PointerTensor {
  /** Known at once, without asking the worker. */
  readonly shape: Shape
  readonly dtype: DType
  /** Words by which the object is found on its worker. */
  readonly tags: readonly string[]
  readonly description: string
  readonly #handle: Handle
  #node: GraphNode | undefined

  /** @internal Pointers come from `send`, from operations and from `search`. */
  constructor({ location, id, spec, owns, stays = false, isPublished = false, labels = NO_LABELS, node }: Origin) {
    this.shape = spec.shape
    this.dtype = spec.dtype
    this.tags = labels.tags
    this.description = labels.description
    this.#handle = { location, id, owns, stays, isPublished, consumed: null }
    this.#node = node
    if (owns && !isPublished) {
      collector.register(this, this.#handle)
      track(this)
    }
  }

  get id(): ObjectId {
    return this.#handle.id
  }
  /** The worker that holds the tensor, as this pointer talks to it. */
  get location(): Location {
    return this.#handle.location
  }
  get rank(): number {
    return this.shape.length
  }
  get size(): number {
    return this.shape.reduce((size, dimension) => size * dimension, 1)
  }
  get requiresGrad(): boolean {
    return this.#node !== undefined
  }
  /** Whether the pointer's object was taken away by get, move or dispose. */
  get isDisposed(): boolean {
    return this.#handle.consumed !== null
  }

  /** @internal */
  get node(): GraphNode | undefined {
    return this.#node
  }

  /** @internal The id, if the object is still there to be used. */
  use(op: string): ObjectId {
    const { consumed, id } = this.#handle
    if (consumed !== null) {
      throw sottoError(
        'ERR_CONSUMED',
        `${op}: this pointer's object is gone (${consumed}); ${consumed.startsWith('move') ? 'use the pointer that move gave, or copy() first' : 'fetch() leaves it where it is'}`,
        { op, id, shape: this.shape },
      )
    }
    return id
  }

  /**
   * Brings the tensor here and takes it off the worker. An object that belongs to another identity, and the parameter
   * of a model, stay where they are.
   *
   * @throws PermissionError when the object is private and this session's identity is not allowed;
   *   whatever made an operation fail that the tensor was computed by, with its code
   */
  async get(wait: WaitOptions = {}): Promise<tf.Tensor> {
    checkWait('get', wait)
    const id = this.use('get')
    const value = this.location.ask('get', { id, keep: false }, wait)
    if (!this.#handle.stays) this.#handle.consumed = 'get'
    try {
      const tensor = fromWire(await value)
      this.#onConsumed?.()
      return tensor
    } catch (error) {
      // Refused or failed: the object is where it was.
      this.#handle.consumed = null
      throw error
    }
  }

  /** Brings a copy of the tensor here; the object stays. Fails as {@link get} does. */
  async fetch(wait: WaitOptions = {}): Promise<tf.Tensor> {
    checkWait('fetch', wait)
    return fromWire(await this.location.ask('get', { id: this.use('fetch'), keep: true }, wait))
  }

  /** A second object on the same worker, with the same values, tags and permissions; gradients flow through it. */
  copy(): PointerTensor {
    const id = this.use('copy')
    const out = newId()
    const node = gradEnabled() ? derived([this.#node]) : undefined
    this.location.tell('copy', { id, out, grad: node !== undefined })
    return new PointerTensor({ location: this.location, id: out, spec: this, owns: true, labels: this, node })
  }

  /**
   * Moves the tensor to another worker, which gets it from this one directly; the copy here is gone.
   *
   * @throws ArgumentError `ERR_DTYPE` for a gradient, or a compression, of what is no float32; PlacementError
   *   `ERR_NOT_COLLOCATED` for a feedback that is of another way
   * @throws PermissionError out of a later get, fetch or flush, when the tensor is private and neither this session's
   *   identity nor the other worker is allowed
   */
  move(to: Location, options: MoveOptions = {}): PointerTensor {
    checkLocation('move', to)
    checkOptions('move', options, MOVE_OPTIONS)
    const { requiresGrad = false } = options
    const from = this.location
    const source = this.#node
    if (requiresGrad && this.dtype !== 'float32') {
      throw sottoError('ERR_DTYPE', `move: only float32 tensors have gradients, this one is ${this.dtype}`)
    }
    const compressed = compressedOf(options, this.dtype)
    const id = this.use('move')
    const [there, back] = [from.reach(to), to.reach(from)]
    compressed?.feedback?.use('move', from, to)
    if (!this.#handle.stays) this.#handle.consumed = `move to ${to.id}`
    this.#onConsumed?.()
    const edge = requiresGrad && source && gradEnabled() ? new Edge({ at: from, node: source }, to, compressed) : null
    const key = newId()
    const out = newId()
    const optimizers: never[] = []
    const transfer = { id, to: there, key, keep: false, edge: edge?.near ?? null, optimizers }
    from.tell('transfer', { ...transfer, ...packingOf(compressed, 'values') })
    to.tell('receive', { key, from: back, out, edge: edge?.far ?? null, optimizers })
    const moved = new PointerTensor({
      location: to,
      id: out,
      spec: this,
      owns: true,
      isPublished: this.#handle.isPublished,
      labels: this,
      ...(edge ? { node: leaf(edge) } : {}),
    })
    return requiresGrad && !edge ? moved.requireGrad() : moved
  }

  /** The same values outside the graph: no gradient flows back through the result. */
  detach(): PointerTensor {
    const out = newId()
    this.location.tell('detach', { id: this.use('detach'), out })
    return new PointerTensor({ location: this.location, id: out, spec: this, owns: true })
  }

  /** Makes this tensor a leaf whose gradient is kept. Returns the same pointer. */
  requireGrad(requiresGrad = true): this {
    const id = this.use('requireGrad')
    if (this.dtype !== 'float32') {
      throw sottoError('ERR_DTYPE', `requireGrad: only float32 tensors have gradients, this one is ${this.dtype}`)
    }
    if (this.#node && !this.#node.isLeaf) {
      throw sottoError('ERR_NOT_LEAF', 'requireGrad: this tensor is the result of an operation; detach() it first')
    }
    if (requiresGrad === this.requiresGrad) return this
    this.location.tell('requireGrad', { id, requiresGrad })
    this.#node = requiresGrad ? leaf() : undefined
    return this
  }

  /**
   * Gradients of every leaf that this tensor was computed from, added to what is there. On this worker and, over the
   * edges that `move(worker, { requiresGrad: true })` left, on every other. Returns at once.
   *
   * @param gradient gradient of this tensor, of its shape; may be left out for a scalar
   * @throws StateError `ERR_NO_GRAD` when nothing was recorded; `ERR_GRAPH_FREED` the second time without `retainGraph`
   */
  backward(gradient?: Operand, options: BackwardOptions = {}): void {
    for (const { issue } of this.planBackward(gradient, options)) issue()
  }

  /** @internal The commands of {@link backward}, for whoever puts others between them. */
  planBackward(gradient?: Operand, options: BackwardOptions = {}): BackwardPart[] {
    const id = this.use('backward')
    checkOptions('backward', options, ['retainGraph'])
    const { retainGraph = false } = options
    if (this.#node === undefined) {
      throw sottoError(
        'ERR_NO_GRAD',
        `backward: no operand of this ${showShape(this.shape)} requires a gradient; send with { requiresGrad: true } or call requireGrad() on a leaf`,
      )
    }
    if (gradient === undefined && this.size !== 1) {
      throw sottoError(
        'ERR_SHAPE',
        `backward: ${showShape(this.shape)} is no scalar; pass a gradient of its shape, or reduce it with sum() or mean()`,
        { shape: this.shape },
      )
    }
    let seed: OperandWire = 1
    if (gradient !== undefined) {
      const { wire, spec } = operandOf('backward', this.location, gradient)
      if (!sameShape(spec.shape, this.shape) && spec.shape.length > 0) {
        throw sottoError(
          'ERR_SHAPE',
          `backward: the gradient is ${showShape(spec.shape)}, the tensor ${showShape(this.shape)}`,
          { gradient: spec.shape, shape: this.shape },
        )
      }
      seed = wire
    }
    return planBackward({ node: this.#node, at: this.location, id, seed }, retainGraph)
  }

  /** The gradient that waits at this leaf, as a pointer that does not own; null before the first backward. */
  get grad(): PointerTensor | null {
    const node = this.#node
    if (node === undefined || !node.hasGrad) return null
    if (!node.isLeaf) {
      throw sottoError(
        'ERR_NOT_LEAF',
        'grad: only leaves keep their gradient; this tensor is the result of an operation',
      )
    }
    const gradient = new PointerTensor({
      location: this.location,
      id: gradientId(this.use('grad')),
      spec: { shape: this.shape, dtype: 'float32' },
      owns: false,
    })
    gradient.#onConsumed = () => {
      node.hasGrad = false
    }
    return gradient
  }

  /** Drops the gradient of this leaf. */
  zeroGrad(): void {
    this.location.tell('zeroGrad', { ids: [this.use('zeroGrad')] })
    if (this.#node) this.#node.hasGrad = false
  }

  /** Frees the object. A pointer that does not own (from `search`, or a gradient) only forgets it. */
  dispose(): void {
    const object = this.surrender()
    if (object !== null) object.location.tell('free', { ids: [object.id] })
  }

  /** @internal Gives the object up; whoever calls this frees it. */
  surrender(): { readonly location: Location; readonly id: ObjectId } | null {
    const { owns, stays, consumed } = this.#handle
    // What belongs to a model, or to another identity, is not this pointer's to give up.
    if (consumed !== null || stays) return null
    this.#handle.consumed = 'dispose'
    return owns ? this.#handle : null
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  /** Shape, dtype, id and place; never values. */
  toString(): string {
    return `PointerTensor ${this.dtype} ${showShape(this.shape)} ${this.id} on ${this.location.id}`
  }
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.toString()
  }

  #onConsumed: (() => void) | undefined

  /** @internal Runs a row of the op table on this tensor and what else it takes. */
  run(name: OpName, args: readonly unknown[]): PointerTensor | PointerTensor[] {
    const row = ops[name] as unknown as OpRow
    const { location } = this
    const wires: OperandWire[] = [this.use(name)]
    const specs: Spec[] = [this]
    const nodes: (GraphNode | undefined)[] = [this.#node]
    const take = (operand: unknown, input: string) => {
      const literals = row.integers?.includes(input) ? 'int32' : undefined
      const { wire, spec, node } = operandOf(name, location, operand as Operand, literals)
      wires.push(wire)
      specs.push(spec)
      nodes.push(node)
    }
    let at = 0
    for (let i = 1; i < row.inputs.length; i++, at++) {
      const input = row.inputs[i]!
      const operand = args[at]
      if (input.endsWith('[]')) {
        const list = operand instanceof PointerTensor ? [operand] : operand
        if (!Array.isArray(list)) {
          throw sottoError('ERR_ARGUMENT_TYPE', `${name}: "${input.slice(0, -2)}" expected a list of tensors`, {
            op: name,
          })
        }
        for (const item of list) take(item, input)
      } else if (operand === undefined && input.endsWith('?')) wires.push(null)
      else take(operand, input)
    }
    const attrs = plain(args.slice(at))
    const result = row.spec(specs, row.attrs(...(attrs as never[])))
    const many = Array.isArray(result)
    const results = (many ? result : [result]) as readonly Spec[]
    const out = results.map(newId)
    const node = row.differentiable && gradEnabled() ? derived(nodes) : undefined
    location.tell('run', { op: name, operands: wires, attrs, out, grad: node !== undefined })
    const pointers = results.map(
      (spec, i) =>
        new PointerTensor({
          location,
          id: out[i]!,
          spec,
          owns: true,
          node: spec.dtype === 'float32' ? node : undefined,
        }),
    )
    return many ? pointers : pointers[0]!
  }
}

export interface PointerTensor extends PointerOps {}

for (const name of Object.keys(ops) as OpName[]) {
  Object.defineProperty(PointerTensor.prototype, name, {
    value: function (this: PointerTensor, ...args: unknown[]) {
      return this.run(name, args)
    },
    configurable: true,
    writable: true,
  })
}

/** Arguments as they travel: no trailing undefined, and typed arrays as lists. */
function plain(args: readonly unknown[]): unknown[] {
  const list = args.map((arg) => (ArrayBuffer.isView(arg) ? Array.from(arg as Int32Array) : arg))
  while (list.length > 0 && list.at(-1) === undefined) list.pop()
  return list
}

/** How an operand travels, and what is known of it here. */
export function operandOf(
  op: string,
  location: Location,
  operand: Operand,
  literals?: DType,
): { wire: OperandWire; spec: Spec; node: GraphNode | undefined } {
  if (operand instanceof PointerTensor) {
    const wire = operand.use(op)
    if (operand.location !== location) throw misplaced(op, location, operand.location)
    return { wire, spec: operand, node: operand.node }
  }
  // MessagePack writes −0 as the integer 0: that one goes as a tensor.
  if (typeof operand === 'number' && !Object.is(operand, -0)) return { wire: operand, spec: NUMBER, node: undefined }
  if (typeof operand === 'boolean') return { wire: operand, spec: BOOLEAN, node: undefined }
  if (operand instanceof tf.Tensor) {
    throw sottoError(
      'ERR_LOCAL_OPERAND',
      `${op}: a local tensor ${showShape(operand.shape)} meets a pointer to ${location.id}; send it first: .send(${location.id})`,
      { op, location: location.id, shape: operand.shape },
    )
  }
  if (typeof operand !== 'number' && !Array.isArray(operand) && !ArrayBuffer.isView(operand)) {
    throw sottoError('ERR_ARGUMENT_TYPE', `${op}: expected a pointer, a number or an array, got ${typeof operand}`, {
      op,
    })
  }
  const tensor = tf.tensor(operand, undefined, literals)
  try {
    const wire = toWire(tensor)
    return { wire, spec: specOf(tensor), node: undefined }
  } finally {
    tensor.dispose()
  }
}

const NUMBER: Spec = { shape: [], dtype: 'float32' }
const BOOLEAN: Spec = { shape: [], dtype: 'bool' }

export function misplaced(op: string, a: Location, b: Location): Error {
  const message =
    a.id === b.id
      ? `${op}: operands are held through two sessions on ${a.id}; use pointers of one session`
      : `${op}: operands live on different workers (${a.id} and ${b.id}); bring them together with .move(${a.id})`
  return sottoError('ERR_NOT_COLLOCATED', message, { op, a: a.id, b: b.id })
}

/**
 * Sends a tensor to a worker; the pointer is there at once. The tensor here stays; sending it again makes a second
 * object. With `requiresGrad`, and if the tensor was recorded here ({@link record}), its gradient comes back here.
 */
export function sendTensor(tensor: tf.Tensor, location: Location, options: SendOptions = {}): PointerTensor {
  checkLocation('send', location)
  checkSendOptions('send', options)
  const value = toWire(tensor)
  const { requiresGrad = false } = options
  if (requiresGrad && value.dtype !== 'float32') {
    throw sottoError('ERR_DTYPE', `send: only float32 tensors have gradients, this one is ${value.dtype}`)
  }
  const out = newId()
  const labels = labelsOf(options)
  const home = requiresGrad && gradEnabled() ? homeOf(tensor) : undefined
  const edge = home ? new Edge({ home } satisfies EdgeSource, location) : null
  const put = { out, value, labels, privacy: privacyOf(options), requiresGrad, edge: edge?.far ?? null }
  location.tell('put', options.keep ? { ...put, keep: true } : put, options.onProgress)
  return new PointerTensor({
    location,
    id: out,
    spec: value,
    owns: true,
    isPublished: labels.tags.length > 0,
    labels,
    node: requiresGrad ? leaf(edge) : undefined,
  })
}
