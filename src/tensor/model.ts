/// <reference lib="esnext.disposable" preserve="true" />
/** Models on workers. */
import { sottoError } from '../errors.ts'
import { checkOptions } from '../options.ts'
import { type Checkpoint, checkCheckpointName } from './checkpoint.ts'
import { gradEnabled, track } from './context.ts'
import { tf } from './engine.ts'
import { derived, type GraphNode, leaf } from './graph.ts'
import { checkWait, type Location, newId, type ObjectId, parameterId, type WaitOptions } from './location.ts'
import { modelFromWire, modelToWire, type OptimizerWire, topologyOf, weightsOf } from './model-wire.ts'
import { type Group, setOwner } from './optim.ts'
import {
  checkLocation,
  checkSendOptions,
  labelsOf,
  misplaced,
  PointerTensor,
  privacyOf,
  type SendOptions,
} from './pointer.ts'
import { type Shape, type Spec, sameShape, shapeError, showShape } from './shape.ts'

/** What is known of a model at the caller: enough to check shapes, and to build it again when it comes home. */
interface Skeleton {
  readonly model: tf.LayersModel
  readonly weights: readonly { readonly name: string; readonly shape: Shape; readonly trainable: boolean }[]
}

/** State of optimizers whose model is at home: kept with the model, and sent along with it the next time. */
const atHome = new WeakMap<tf.LayersModel, { states: readonly OptimizerWire[]; groups: readonly Group[] }>()

export interface ApplyOptions {
  /** Whether dropout drops and batch normalisation learns; as `train()` and `eval()` set it unless given. */
  training?: boolean
}

export type ModelSendOptions = Omit<SendOptions, 'requiresGrad'>

/** A handle to a model that lives on a worker. Its trainable parameters are leaves of the graph. */
export class RemoteModel {
  readonly location: Location
  readonly id: ObjectId
  readonly tags: readonly string[]
  readonly #skeleton: Skeleton
  readonly #weights: readonly PointerTensor[]
  /** @internal Parts of optimizers that go where this model goes. */
  readonly groups = new Set<Group>()
  #training = true
  #consumed: string | null = null

  /** @internal Models come from `send`. */
  constructor(location: Location, id: ObjectId, skeleton: Skeleton, tags: readonly string[]) {
    this.location = location
    this.id = id
    this.tags = tags
    this.#skeleton = skeleton
    this.#weights = skeleton.weights.map(({ shape, trainable }, i) => {
      const parameter = new PointerTensor({
        location,
        id: parameterId(id, i),
        spec: { shape, dtype: 'float32' },
        owns: false,
        stays: true,
        node: trainable ? leaf() : undefined,
      })
      setOwner(parameter, this)
      return parameter
    })
    // Sent under tags it is there for others, and stays.
    if (tags.length > 0) return
    track(this)
    collector.register(this, { location, id }, this)
  }

  #use(action: string): ObjectId {
    if (this.#consumed !== null) {
      throw sottoError('ERR_CONSUMED', `${action}: this model is gone from ${this.location.id} (${this.#consumed})`)
    }
    return this.id
  }

  #consume(how: string): void {
    this.#consumed = how
    collector.unregister(this)
  }

  /** Shapes and number of the inputs; a null dimension is free. */
  get inputShapes(): readonly (readonly (number | null)[])[] {
    return this.#skeleton.model.inputs.map(({ shape }) => shape)
  }
  /** @internal The layers, with whatever weights they had when they were sent. */
  get skeleton(): tf.LayersModel {
    return this.#skeleton.model
  }
  get isTraining(): boolean {
    return this.#training
  }

  /** Dropout drops and batch normalisation learns from now on (as it is at first). Returns the model. */
  train(): this {
    this.#training = true
    return this
  }
  /** Dropout and batch normalisation behave as in use. Returns the model. */
  eval(): this {
    this.#training = false
    return this
  }

  /** Trainable parameters, as pointers that do not own: they belong to the model. */
  parameters(): PointerTensor[] {
    this.#use('parameters')
    return this.#weights.filter((_, i) => this.#skeleton.weights[i]!.trainable)
  }
  /** All weights, frozen ones and statistics too. */
  weights(): PointerTensor[] {
    this.#use('weights')
    return [...this.#weights]
  }
  zeroGrad(): void {
    const parameters = this.parameters()
    this.location.tell('zeroGrad', { ids: parameters.map(({ id }) => id) })
    for (const { node } of parameters) if (node) node.hasGrad = false
  }

  /**
   * Runs the model on its worker. Returns at once; one pointer, or one for each output of a model with several.
   *
   * @throws RangeError `ERR_SHAPE` when the input does not fit; PlacementError when it lives elsewhere
   */
  apply<R extends PointerTensor | PointerTensor[] = PointerTensor>(
    input: PointerTensor | readonly PointerTensor[],
    options: ApplyOptions = {},
  ): R {
    checkOptions('apply', options, ['training'])
    const { training = this.#training } = options
    if (typeof training !== 'boolean') throw sottoError('ERR_ARGUMENT_TYPE', 'apply: "training" expected a boolean')
    const id = this.#use('apply')
    const inputs: readonly PointerTensor[] = Array.isArray(input) ? input : [input]
    for (const x of inputs) {
      if (!(x instanceof PointerTensor)) {
        throw sottoError('ERR_LOCAL_OPERAND', `apply: expected a pointer to ${this.location.id}; send the tensor first`)
      }
      if (x.location !== this.location) throw misplaced('apply', this.location, x.location)
    }
    const shapes = outputShapes(this.#skeleton.model, inputs)
    const out = shapes.map(newId)
    const nodes: (GraphNode | undefined)[] = [...inputs, ...this.#weights].map(({ node }) => node)
    const node = gradEnabled() ? derived(nodes) : undefined
    const operands = inputs.map((x) => x.use('apply'))
    this.location.tell('apply', { model: id, operands, out, training, grad: node !== undefined })
    const results = shapes.map(
      (shape, i) =>
        new PointerTensor({
          location: this.location,
          id: out[i]!,
          spec: { shape, dtype: 'float32' },
          owns: true,
          node,
        }),
    )
    return (results.length === 1 ? results[0] : results) as R
  }

  /**
   * Puts the values of tensors in the place of the weights: a mean of other models', for instance. The state of its
   * optimizers stays; gradients that wait for a step are dropped. The weights become as private as the values are.
   *
   * @param values pointers on the same worker, one for each of `weights()`, of its shape
   * @throws RangeError `ERR_SHAPE` when they do not fit; PlacementError when they live elsewhere
   */
  assign(values: readonly PointerTensor[]): void {
    const model = this.#use('assign')
    if (!Array.isArray(values) || !values.every((value) => value instanceof PointerTensor)) {
      throw sottoError('ERR_ARGUMENT_TYPE', 'assign: expected a list of pointers, one for each of weights()')
    }
    const fits = ({ shape, dtype }: PointerTensor, i: number): boolean =>
      dtype === 'float32' && sameShape(shape, this.#skeleton.weights[i]!.shape)
    if (values.length !== this.#weights.length || !values.every(fits)) {
      throw shapeError(
        'assign',
        `the model has weights of ${this.#skeleton.weights.map(({ shape }) => showShape(shape)).join(', ')}, got ${values.map(({ shape }) => showShape(shape)).join(', ')}`,
      )
    }
    for (const value of values)
      if (value.location !== this.location) throw misplaced('assign', this.location, value.location)
    this.location.tell('assign', { model, values: values.map((value) => value.use('assign')) })
    for (const { node } of this.#weights) if (node) node.hasGrad = false
  }

  /** A second model on the same worker, with the same weights; optimizers stay with this one. */
  copy(): RemoteModel {
    const out = newId()
    this.location.tell('copyModel', { id: this.#use('copy'), out })
    return this.#at(this.location, out)
  }

  /** Moves the model to another worker, directly; its optimizers go with it. */
  move(to: Location): RemoteModel {
    checkLocation('move', to)
    const id = this.#use('move')
    const key = newId()
    const out = newId()
    const optimizers = this.#optimizers()
    const from = this.location
    const [there, back] = [from.reach(to), to.reach(from)]
    from.tell('transfer', { id, to: there, key, keep: false, edge: null, optimizers })
    to.tell('receive', { key, from: back, out, edge: null, optimizers })
    this.#consume(`move to ${to.id}`)
    const moved = this.#at(to, out)
    moved.adopt([...this.groups])
    return moved
  }

  #at(location: Location, id: ObjectId): RemoteModel {
    const model = new RemoteModel(location, id, this.#skeleton, this.tags)
    return this.#training ? model : model.eval()
  }

  /** @internal Takes over parts of optimizers that came along. */
  adopt(groups: readonly Group[]): void {
    for (const group of groups) {
      group.parameters = group.parameters.map(({ id }) => this.#weights[Number(id.split('#')[1])]!)
      group.location = this.location
      this.groups.add(group)
    }
  }

  /**
   * Brings the model home and takes it off the worker. The state of its optimizers comes along, and goes out again with
   * the next `send` of the model that this gives.
   */
  async get(wait: WaitOptions = {}): Promise<tf.LayersModel> {
    checkWait('get', wait)
    const groups = [...this.groups]
    const id = this.#use('get')
    const answer = this.location.ask('getModel', { id, keep: false, optimizers: this.#optimizers() }, wait)
    this.#consumed = 'get'
    try {
      const wire = await answer
      const model = modelFromWire({ ...wire, ...topologyOf(this.#skeleton.model) }, 'self')
      this.#consume('get')
      for (const group of groups) group.location = null
      if (groups.length > 0) atHome.set(model, { states: wire.optimizers, groups })
      return model
    } catch (error) {
      this.#consumed = null
      throw error
    }
  }

  /** Brings a copy of the model home; the model stays. */
  async fetch(wait: WaitOptions = {}): Promise<tf.LayersModel> {
    checkWait('fetch', wait)
    const wire = await this.location.ask('getModel', { id: this.#use('fetch'), keep: true, optimizers: [] }, wait)
    return modelFromWire({ ...wire, ...topologyOf(this.#skeleton.model) }, 'self')
  }

  /**
   * Keeps the model on its worker under a name: its weights, statistics too, and the state of its optimizers with their
   * settings. Nothing of it leaves the worker; what comes back says what was kept. Another checkpoint of this name and
   * identity is replaced at one stroke. It outlives the session, and where the worker has a folder for checkpoints, the
   * worker too; it is as private as the model, and for this identity alone.
   *
   * Gradients that wait for a step are not part of it, nor is the state of random generators (dropout).
   *
   * One round trip, and no bytes of weights.
   *
   * @param name 1 to 64 characters out of A–Z a–z 0–9 _ . -
   * @throws PermissionError `ERR_PERMISSION` for a model of another identity; SessionError `ERR_LIMIT` when the worker
   *   keeps no more; the first failure of a command without a result (`step`, …) that nobody has heard of
   */
  async save(name: string, wait: WaitOptions = {}): Promise<Checkpoint> {
    checkWait('save', wait)
    checkCheckpointName('save', name)
    return this.location.ask('saveModel', { id: this.#use('save'), name, optimizers: this.#optimizers() }, wait)
  }

  /**
   * Puts back what {@link save} kept, in place: into the weights of this model, and into its optimizers, settings too.
   * Training then goes on as from that moment, bit for bit. Gradients that wait for a step are dropped. Commands issued
   * after it, awaited or not, find what it brought. The model becomes as private as the checkpoint is, and stays as
   * private as it was.
   *
   * Weights must be as many, of the same names (but for the numbers in names that tfjs makes up) and shapes, and
   * optimizers as many, of the same kinds and over the same
   * weights, in the order in which they were made; one that is over other models too is restored with each of them. When
   * it fails, nothing has changed.
   *
   * One round trip, and no bytes of weights.
   *
   * @throws StateError `ERR_UNKNOWN_CHECKPOINT` when this identity has none of that name on this worker;
   *   `ERR_CHECKPOINT_MISMATCH` when it does not fit; `ERR_CHECKPOINT` when it was cut or changed where it was kept
   */
  async restore(name: string, wait: WaitOptions = {}): Promise<Checkpoint> {
    checkWait('restore', wait)
    checkCheckpointName('restore', name)
    const id = this.#use('restore')
    const taken = [...this.groups].map(({ optimizer }) => optimizer.restoring())
    const nodes = this.#weights.flatMap(({ node }) => (node?.hasGrad ? [node] : []))
    const answer = this.location.ask('restoreModel', { id, name, optimizers: this.#optimizers() }, wait)
    for (const node of nodes) node.hasGrad = false
    try {
      const checkpoint = await answer
      taken.forEach((take, i) => {
        take(checkpoint.optimizers[i]!.config)
      })
      return checkpoint
    } catch (error) {
      for (const take of taken) take(null)
      for (const node of nodes) node.hasGrad = true
      throw error
    }
  }

  #optimizers(): ObjectId[] {
    return [...this.groups].map(({ id }) => id)
  }

  /** A table of the weights: name, shape, whether they are trained. */
  summary(): string {
    const rows = this.#skeleton.weights.map(
      ({ name, shape, trainable }) =>
        `  ${name.padEnd(36)} ${showShape(shape).padEnd(18)}${trainable ? '' : ' frozen'}`,
    )
    const total = this.#skeleton.weights.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0)
    return [`RemoteModel ${this.id} on ${this.location.id}, ${total} weights`, ...rows].join('\n')
  }

  /** Frees the model and its optimizers' state on the worker. */
  dispose(): void {
    if (this.#consumed !== null) return
    this.#consume('dispose')
    this.location.tell('free', { ids: [this.id, ...this.#optimizers()] })
  }
  [Symbol.dispose](): void {
    this.dispose()
  }

  toString(): string {
    return `RemoteModel ${this.id} on ${this.location.id}`
  }
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.toString()
  }
}

/** A model whose handle is dropped goes too. */
const collector = new FinalizationRegistry<{ location: Location; id: ObjectId }>(({ location, id }) => {
  location.tell('free', { ids: [id] })
})

/** Sends a copy of a model to a worker; the handle is there at once. */
export function sendModel(model: tf.LayersModel, location: Location, options: ModelSendOptions = {}): RemoteModel {
  checkLocation('send', location)
  checkSendOptions('send', options, [
    'tags',
    'description',
    'private',
    'allow',
    'allowResults',
    'allowShares',
    'allowTotals',
    'keep',
    'onProgress',
  ])
  if (!(model.inputs?.length > 0))
    throw sottoError('ERR_ARGUMENT_VALUE', 'send: the model has no shape yet; give its first layer an inputShape')
  const home = atHome.get(model)
  const wire = modelToWire(model, home?.states)
  const out = newId()
  const labels = labelsOf(options)
  const optimizers = home?.groups.map(({ id }) => id) ?? []
  const put = { out, model: wire, labels, privacy: privacyOf(options), optimizers }
  location.tell('putModel', options.keep ? { ...put, keep: true } : put, options.onProgress)
  const weights = weightsOf(model).map(({ name, weight, trainable }) => ({
    name,
    shape: weight.shape as Shape,
    trainable,
  }))
  const remote = new RemoteModel(location, out, { model, weights }, labels.tags)
  if (home) {
    atHome.delete(model)
    remote.adopt(home.groups)
  }
  return remote
}

/** Shapes of a model's outputs for inputs of given shapes, without running it. */
export function outputShapes(model: tf.LayersModel, inputs: readonly Spec[]): Shape[] {
  if (inputs.length !== model.inputs.length) {
    throw shapeError('apply', `the model takes ${model.inputs.length} inputs, got ${inputs.length}`)
  }
  inputs.forEach(({ shape }, i) => {
    const wanted = model.inputs[i]!.shape
    if (wanted.length !== shape.length || wanted.some((d, axis) => d !== null && d !== shape[axis])) {
      const show = wanted.map((d) => d ?? '*').join(',')
      throw shapeError('apply', `the model takes [${show}], got ${showShape(shape)}`, shape)
    }
  })
  const shapes = inputs.map(({ shape }) => [...shape])
  return outputShapeOf(model, shapes.length === 1 ? shapes[0]! : shapes)
}

type LayerShape = number[] | number[][]
const isList = (shape: LayerShape): shape is number[][] => Array.isArray(shape[0])

/** tfjs cannot tell the output shape of a sequential model; its layers can. */
function outputShapeOf(model: tf.LayersModel, input: LayerShape): Shape[] {
  let shape = input
  if (model instanceof tf.Sequential) {
    for (const layer of model.layers) {
      shape =
        layer instanceof tf.LayersModel
          ? (outputShapeOf(layer, shape)[0] as number[])
          : (layer.computeOutputShape(shape as number[]) as LayerShape)
    }
  } else {
    shape = model.computeOutputShape(input as number[]) as LayerShape
  }
  return isList(shape) ? shape : [shape]
}
