/** Messages about models, and a model as it is kept and as it travels. */
import { sottoError } from '../../errors.ts'
import { tf } from '../../tensor/backend.ts'
import type { Labels, ObjectId } from '../../tensor/location.ts'
import { outputShapes } from '../../tensor/model.ts'
import { type ModelWire, modelFromWire, variableOf, weightsOf } from '../../tensor/model-wire.ts'
import { type Spec, sameShape } from '../../tensor/shape.ts'
import { Tracked } from '../../tensor/tape.ts'
import { toWire } from '../../tensor/wire.ts'
import type { HandlersOf } from '../handlers.ts'
import type { HostSession } from '../host-session.ts'
import { type Access, accessOf, combine, derivedFrom, maySee, PUBLIC } from '../permissions.ts'
import { modelAccess, Poison, type StoredModel, type StoredOptimizer } from '../store.ts'
import { accessOfAll, checkKept, checkNew, checkRoom, compute, failureOf, findOperand, valueFor } from './compute.ts'
import { asOne, type Coming, recordCame, recordLeft, refuse, refuseChange, seeFailure } from './disclosure.ts'
import { disposeSlots, optimizerFromWire, optimizerToWire, ownOptimizer } from './optimizers.ts'

export const modelHandlers: HandlersOf<'putModel' | 'copyModel' | 'assign' | 'apply' | 'getModel'> = {
  putModel(session, { out, model, labels, privacy, optimizers, keep = false }) {
    checkKept(keep, labels)
    const access = accessOf(privacy, session.name)
    storeModel(session, out, model, {
      labels,
      access,
      optimizers,
      keep,
      came: { operation: 'send model', how: 'sent' },
    })
  },

  copyModel(session, { id, out }) {
    const stored = session.host.store.model(id, session)
    storeModel(session, out, storedToWire(stored, []), {
      labels: stored.labels,
      access: modelAccess(stored),
      optimizers: [],
      came: null,
    })
  },

  assign(session, { model: id, values }) {
    const stored = session.host.store.model(id, session)
    const { weights, owner } = stored
    if (owner !== session.name) {
      const message = `assign: the model belongs to ${owner}, who alone may change it`
      refuseChange(session, 'assign model', specOfModel(stored), message)
    }
    const found = values.map((value) => session.host.store.read(value, session))
    const fits = ({ tracked }: StoredModel['weights'][number], i: number): boolean =>
      sameShape(tracked.tensor.shape, found[i]!.tensor.shape) && tracked.tensor.dtype === found[i]!.tensor.dtype
    if (found.length !== weights.length || !weights.every(fits)) {
      throw sottoError('ERR_SHAPE', 'assign: the values are not of the shapes of the weights')
    }
    // All are taken before any is changed: a weight may be the value of another.
    const taken = found.map(({ tensor }) => tf.clone(tensor))
    weights.forEach((weight, i) => {
      weight.tracked.replace(taken[i]!)
      // Nothing is left of what was there; gradients are those of the weights that were.
      weight.tracked.zeroGrad()
      weight.access = found[i]!.access
      weight.gradAccess = PUBLIC
    })
    // Where one failed, a blank stands now: whoever may know is told.
    const failed = found.find(({ failure }) => failure !== null)
    if (failed) throw new Poison({ error: failed.failure!, access: accessOfAll(found) })
  },

  apply(session, { model: id, operands, out, training, grad }) {
    const stored = session.host.store.model(id, session)
    const { model, weights, owner } = stored
    const found = operands.map((operand) => {
      if (operand === null) throw sottoError('ERR_PROTOCOL', 'apply: takes tensors')
      return findOperand(session, operand)
    })
    checkInputs(
      model,
      found.map(({ spec }) => spec.shape),
    )
    if (out.length !== model.outputs.length) {
      throw sottoError(
        'ERR_PROTOCOL',
        `apply: the model gives ${model.outputs.length} results, ${out.length} were named`,
      )
    }
    const specs = outputShapes(
      model,
      found.map(({ spec }) => spec),
    ).map((shape) => ({ shape, dtype: 'float32' as const }))
    checkRoom(session, 'apply', specs)
    const own = owner === session.name
    if (training && !own) {
      const message = `apply: the model belongs to ${owner}, who alone may train it`
      refuseChange(session, 'train model', specOfModel(stored), message)
    }
    const access = accessOfAll([...found, ...weights])
    const trained = own ? weights.filter(({ trainable }) => trainable).map(({ tracked }) => tracked) : []
    const tracked = grad ? [...found.flatMap((item) => item.tracked ?? []), ...trained] : []
    const before = weights.map((weight) => weight.tracked.tensor.dataId)
    const command = (isBlank: boolean) => {
      const inputs = found.map((item) => valueFor(item, isBlank) as tf.Tensor)
      return model.apply(inputs.length === 1 ? inputs[0]! : inputs, { training }) as tf.Tensor | tf.Tensor[]
    }
    try {
      compute(session, out, { access, tracked, failure: failureOf(found) }, command, () => specs)
    } finally {
      // Batch normalisation learns from what passes through it: of the inputs, and of the weights that they met. What
      // it wrote is known by the memory that it is in; what the model says of its weights need not be so, and what
      // was written is there even if a later layer failed.
      weights.forEach((weight, i) => {
        if (weight.tracked.tensor.dataId !== before[i]) weight.access = combine(weight.access, derivedFrom(access))
      })
    }
  },

  getModel(session, { id, keep, optimizers }) {
    session.raiseEffects()
    const { store } = session.host
    const operation = keep ? 'fetch model' : 'get model'
    const stored = seeFailure(session, operation, () => store.model(id, session))
    const access = modelAccess(stored)
    if (!maySee(access, session.name)) {
      refuse(session, operation, specOfModel(stored), { access, tags: stored.labels.tags })
    }
    const wire = packModel(session, operation, stored, { access, optimizers })
    if (!keep && stored.owner === session.name) for (const gone of [id, ...optimizers]) store.free(gone)
    return wire
  },
}

/** All weights of a model as one value, for the ledger. */
export const specOfModel = ({ weights }: StoredModel): Spec => asOne(weights.map(({ tracked }) => tracked.tensor))

/** What a model that travels is in the ledger: its weights as one value, and the state of optimizers as another. */
function partsOf(operation: string, { weights, optimizers }: ModelWire): { operation: string; spec: Spec }[] {
  const spec = asOne(weights.map(({ value }) => value))
  const state = asOne(optimizers.flatMap(({ slots }) => slots.map(({ value }) => value)))
  const parts = [{ operation, spec }]
  if (state.shape[0]! > 0) parts.push({ operation: `${operation}: optimizer state`, spec: state })
  return parts
}

function checkInputs(model: tf.LayersModel, shapes: readonly (readonly number[])[]): void {
  const fits = ({ shape }: tf.SymbolicTensor, i: number): boolean =>
    shape.length === shapes[i]!.length && shape.every((d, axis) => d === null || d === shapes[i]![axis])
  if (shapes.length !== model.inputs.length || !model.inputs.every(fits)) {
    throw sottoError('ERR_SHAPE', 'apply: the inputs do not fit the model')
  }
}

export interface ModelOptions {
  readonly labels: Labels
  readonly access: Access
  /** Ids under which the optimizers that came along are kept. */
  readonly optimizers: readonly ObjectId[]
  /** Whether it outlives the session. */
  readonly keep?: boolean
  /** How it came, for the ledger; null for a copy made here. */
  readonly came: (Coming & { readonly operation: string }) | null
}

/** Builds and keeps a model, and the optimizers that came along with it. */
export function storeModel(session: HostSession, out: ObjectId, wire: ModelWire, options: ModelOptions): void {
  const { store } = session.host
  const { labels, access, optimizers, came, keep = false } = options
  if (came !== null) {
    for (const { operation, spec } of partsOf(came.operation, wire)) {
      recordCame(session, operation, spec, { ...came, tags: labels.tags })
    }
  }
  checkNew(session, [out, ...optimizers])
  checkRoom(
    session,
    'send',
    wire.weights.map(({ value }) => value),
  )
  if (optimizers.length !== wire.optimizers.length) {
    throw sottoError('ERR_PROTOCOL', `${wire.optimizers.length} optimizers came, ${optimizers.length} were named`)
  }
  const model = build(wire)
  if (isStateful(model)) {
    model.dispose()
    throw sottoError(
      'ERR_ARGUMENT_VALUE',
      'the model has a layer that is stateful: it would carry values from one call into the next; give it { stateful: false }',
    )
  }
  const trainable = new Map(wire.weights.map((weight) => [weight.name, weight.trainable]))
  const owner = session.name
  const weights = weightsOf(model).map(({ name, weight }) => ({
    name,
    trainable: trainable.get(name) === true,
    tracked: new Tracked(variableOf(weight), { requiresGrad: trainable.get(name) === true }),
    access,
    gradAccess: PUBLIC,
    owner,
  }))
  const { type, topology } = wire
  const stored: StoredModel = {
    kind: 'model',
    model,
    type,
    topology,
    weights,
    labels,
    owner,
    session: keep ? session.host : session,
  }
  const restored: StoredOptimizer[] = []
  try {
    for (const state of wire.optimizers) restored.push(optimizerFromWire(session, weights, state))
  } catch (error) {
    for (const { slots } of restored) disposeSlots(slots)
    model.dispose()
    throw error
  }
  store.add(out, stored)
  for (const [i, id] of optimizers.entries()) store.add(id, restored[i]!)
}

/** Whether a layer, or one inside it, keeps values from one call for the next. */
function isStateful(layer: object): boolean {
  const { stateful, layers, layer: wrapped } = layer as { stateful?: boolean; layers?: object[]; layer?: object }
  return stateful === true || layers?.some(isStateful) === true || (wrapped !== undefined && isStateful(wrapped))
}

/** tfjs throws its own errors at topologies that it does not understand; they may quote what they were given. */
function build(wire: ModelWire): tf.LayersModel {
  try {
    return modelFromWire(wire)
  } catch (error) {
    if (error instanceof Error && 'code' in error) throw error
    throw sottoError('ERR_PROTOCOL', 'the topology of the model does not describe a model that tfjs can build')
  }
}

/** A model as it is kept, written as it travels, with the state of optimizers over it. */
export function storedToWire(
  { type, topology, weights }: StoredModel,
  optimizers: readonly StoredOptimizer[],
): ModelWire {
  return {
    type,
    topology,
    weights: weights.map(({ name, tracked, trainable }) => ({ name, value: toWire(tracked.tensor), trainable })),
    optimizers: optimizers.map((optimizer) => optimizerToWire(optimizer, weights)),
  }
}

/** Packs a model that leaves, with the state of the optimizers named, and writes it down. */
export function packModel(
  session: HostSession,
  operation: string,
  stored: StoredModel,
  { optimizers, ...details }: { to?: string; access: Access; optimizers: readonly ObjectId[] },
): ModelWire {
  const wire = storedToWire(
    stored,
    optimizers.map((id) => ownOptimizer(session, operation, id)),
  )
  for (const part of partsOf(operation, wire)) {
    recordLeft(session, part.operation, part.spec, { ...details, tags: stored.labels.tags })
  }
  return wire
}
