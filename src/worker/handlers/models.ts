/** Messages about models and the optimizers that train them. */
import { sottoError } from '../../errors.ts'
import { tf } from '../../tensor/backend.ts'
import type { Labels, ObjectId } from '../../tensor/location.ts'
import { outputShapes } from '../../tensor/model.ts'
import { type ModelWire, modelFromWire, type OptimizerWire, variableOf, weightsOf } from '../../tensor/model-wire.ts'
import { completeConfig, optimizerRules } from '../../tensor/optimizers.ts'
import { type Spec, sameShape, sizeOf } from '../../tensor/shape.ts'
import { Tracked } from '../../tensor/tape.ts'
import { fromWire, type TensorWire, toWire } from '../../tensor/wire.ts'
import type { HandlersOf } from '../handlers.ts'
import type { HostSession } from '../host.ts'
import { type Access, accessOf, combine, derivedFrom, maySee, PUBLIC } from '../permissions.ts'
import type { Deposit } from '../protocol.ts'
import type { Session } from '../session.ts'
import { modelAccess, type StoredModel, type StoredOptimizer, type TensorCell } from '../store.ts'
import {
  checkRoom,
  compute,
  failureOf,
  findOperand,
  ownCell,
  plainAccess,
  recordCame,
  recordLeft,
  recordRefused,
  refuse,
  seeFailure,
  valueFor,
  why,
} from './tensors.ts'

export const modelHandlers: HandlersOf<
  'putModel' | 'copyModel' | 'apply' | 'getModel' | 'putOptimizer' | 'configure' | 'step'
> = {
  putModel(session, { out, model, labels, privacy, optimizers }) {
    const access = accessOf(privacy, session.name)
    const came = { operation: 'send model', from: session.name, why: `sent by ${session.name}` }
    storeModel(session, out, model, { labels, access, optimizers, came })
  },

  copyModel(session, { id, out }) {
    const stored = session.host.store.model(id)
    storeModel(session, out, wireOf(stored, []), {
      labels: stored.labels,
      access: modelAccess(stored),
      optimizers: [],
      came: null,
    })
  },

  apply(session, { model: id, operands, out, training, grad }) {
    const { model, weights, owner } = session.host.store.model(id)
    const found = operands.map((operand) => {
      if (operand === null) throw sottoError('ERR_PROTOCOL', 'apply: takes tensors')
      return findOperand(session, operand)
    })
    checkInputs(
      model,
      found.map(({ spec }) => spec.shape),
    )
    checkRoom(
      session,
      'apply',
      found.map(({ spec }) => spec),
    )
    if (out.length !== model.outputs.length) {
      throw sottoError(
        'ERR_PROTOCOL',
        `apply: the model gives ${model.outputs.length} results, ${out.length} were named`,
      )
    }
    const own = owner === session.name
    if (training && !own) {
      recordRefused(session, 'train model', modelSpec(weights))
      throw sottoError('ERR_PERMISSION', `apply: the model belongs to ${owner}, who alone may train it`)
    }
    const seen = found.reduce((sum: Access, item) => combine(sum, item.access), PUBLIC)
    const access = weights.reduce((sum: Access, weight) => combine(sum, weight.access), seen)
    const trained = own ? weights.filter(({ trainable }) => trainable).map(({ tracked }) => tracked) : []
    const tracked = grad ? [...found.flatMap((item) => item.tracked ?? []), ...trained] : []
    const before = weights.map((weight) => weight.tracked.tensor.dataId)
    const command = (isBlank: boolean) => {
      const inputs = found.map((item) => valueFor(item, isBlank) as tf.Tensor)
      return model.apply(inputs.length === 1 ? inputs[0]! : inputs, { training }) as tf.Tensor | tf.Tensor[]
    }
    const specs = () =>
      outputShapes(
        model,
        found.map(({ spec }) => spec),
      ).map((shape) => ({ shape, dtype }))
    const dtype = 'float32' as const
    try {
      compute(session, out, { access, tracked, failure: failureOf(found) }, command, specs)
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
    const stored = seeFailure(session, operation, () => store.model(id))
    const access = modelAccess(stored)
    const { tags } = stored.labels
    if (!maySee(access, session.name)) refuse(session, operation, modelSpec(stored.weights), { access, tags })
    const wire = wireOf(
      stored,
      optimizers.map((optimizer) => ownOptimizer(session, operation, optimizer)),
    )
    for (const part of partsOf(operation, wire)) {
      recordLeft(session, part.operation, part.spec, { to: session.name, tags, why: why(session, access) })
    }
    if (!keep && stored.owner === session.name) for (const gone of [id, ...optimizers]) store.free(gone)
    return wire
  },

  putOptimizer(session, { out, kind, config, parameters }) {
    const cells = parameters.map((id) => ownCell(session, `optim.${kind}`, id))
    for (const { tracked } of cells) {
      if (!tracked.isLeaf || !tracked.requiresGrad) {
        throw sottoError('ERR_NOT_LEAF', `optim.${kind}: every parameter must be a leaf that requires a gradient`)
      }
    }
    session.host.store.add(out, {
      kind: 'optimizer',
      type: kind,
      config: completeConfig(kind, config),
      step: 0,
      parameters: cells,
      slots: new Map(),
      owner: session.name,
      session,
    })
  },

  configure(session, { id, config }) {
    const optimizer = ownOptimizer(session, 'configure', id)
    optimizer.config = completeConfig(optimizer.type, { ...optimizer.config, ...config })
  },

  step(session, { id }) {
    const optimizer = ownOptimizer(session, 'step', id)
    const ready = optimizer.parameters.filter(({ tracked }) => tracked.grad !== null)
    if (ready.length === 0) return
    optimizer.step++
    for (const cell of ready) update(optimizer, cell)
  },
}

function ownOptimizer(session: HostSession, operation: string, id: ObjectId): StoredOptimizer {
  const optimizer = session.host.store.optimizer(id)
  if (optimizer.owner !== session.name) {
    recordRefused(session, operation, modelSpec(optimizer.parameters))
    throw sottoError('ERR_PERMISSION', `the optimizer belongs to ${optimizer.owner}`)
  }
  return optimizer
}

/** One step of one parameter. */
function update(optimizer: StoredOptimizer, cell: TensorCell): void {
  const { tracked } = cell
  const { type, config, step } = optimizer
  const rule = optimizerRules[type]
  const before = optimizer.slots.get(cell)
  const made = tf.tidy(() => {
    const slots =
      before ??
      Object.fromEntries(
        Object.entries(rule.slots(config)).map(([name, first]) => [
          name,
          tf.fill(tracked.tensor.shape, first, 'float32'),
        ]),
      )
    const next = rule.update({ value: tracked.tensor, gradient: tracked.grad!, step }, slots, config)
    return { value: next.value, slots: { ...next.slots } }
  })
  for (const slot of Object.values(made.slots)) tf.keep(slot)
  for (const slot of Object.values(before ?? {})) slot.dispose()
  optimizer.slots.set(cell, made.slots)
  if (tracked.tensor instanceof tf.Variable) {
    tracked.tensor.assign(made.value)
    made.value.dispose()
  } else {
    const old = tracked.tensor
    tracked.tensor = tf.keep(made.value)
    old.dispose()
  }
  cell.access = combine(cell.access, cell.gradAccess)
}

/** All values of some weights as one tensor, for the ledger. */
const modelSpec = (weights: readonly TensorCell[]): Spec => ({
  shape: [weights.reduce((sum, { tracked }) => sum + sizeOf(tracked.tensor.shape), 0)],
  dtype: 'float32',
})

/** What a model that travels is in the ledger: its weights as one value, and the state of optimizers as another. */
function partsOf(operation: string, { weights, optimizers }: ModelWire): { operation: string; spec: Spec }[] {
  const specOfAll = (values: readonly Spec[]): Spec => ({
    shape: [values.reduce((sum, { shape }) => sum + sizeOf(shape), 0)],
    dtype: 'float32',
  })
  const spec = specOfAll(weights.map(({ value }) => value))
  const state = specOfAll(optimizers.flatMap(({ slots }) => slots.map(({ value }) => value)))
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
  /** How it came, for the ledger; null for a copy made here. */
  readonly came: { readonly operation: string; readonly from: string; readonly why: string } | null
}

/** Builds and keeps a model, and the optimizers that came along with it. */
export function storeModel(session: HostSession, out: ObjectId, wire: ModelWire, options: ModelOptions): void {
  const { store } = session.host
  const { labels, access, optimizers, came } = options
  if (came !== null) {
    for (const { operation, spec } of partsOf(came.operation, wire)) {
      recordCame(session, operation, spec, { from: came.from, tags: labels.tags, why: came.why })
    }
  }
  const ids = new Set([out, ...optimizers])
  if (ids.size <= optimizers.length) throw sottoError('ERR_ID_TAKEN', 'two objects were given one id')
  for (const id of ids) if (store.has(id)) throw sottoError('ERR_ID_TAKEN', 'the id is taken', { id })
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
  const stored: StoredModel = { kind: 'model', model, type, topology, weights, labels, owner, session }
  const restored: StoredOptimizer[] = []
  try {
    for (const state of wire.optimizers) restored.push(restoreOptimizer(session, stored, state))
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

function restoreOptimizer(session: HostSession, model: StoredModel, state: OptimizerWire): StoredOptimizer {
  const cellAt = (index: number): TensorCell => {
    const cell = model.weights[index]
    if (cell === undefined)
      throw sottoError('ERR_PROTOCOL', 'the state of an optimizer names a parameter that is not there')
    return cell
  }
  const config = completeConfig(state.kind, state.config)
  const parameters = state.parameters.map(cellAt)
  const known = Object.keys(optimizerRules[state.kind].slots(config))
  const sent = new Map<TensorCell, Record<string, TensorWire>>()
  for (const { parameter, name, value } of state.slots) {
    const cell = cellAt(parameter)
    const fits = known.includes(name) && sameShape(value.shape, cell.tracked.tensor.shape) && value.dtype === 'float32'
    if (!fits) throw sottoError('ERR_PROTOCOL', 'the state of an optimizer does not fit its parameters')
    sent.set(cell, { ...sent.get(cell), [name]: value })
  }
  // Everything is checked before a tensor is made of it.
  const slots = new Map<TensorCell, Record<string, tf.Tensor>>()
  for (const values of sent.values()) {
    if (Object.keys(values).length !== known.length) {
      throw sottoError('ERR_PROTOCOL', 'the state of an optimizer is incomplete')
    }
  }
  for (const [cell, values] of sent) {
    const kept = Object.entries(values).map(([name, value]) => [name, tf.keep(fromWire(value))])
    slots.set(cell, Object.fromEntries(kept) as Record<string, tf.Tensor>)
  }
  return {
    kind: 'optimizer',
    type: state.kind,
    config,
    step: state.step,
    parameters,
    slots,
    owner: session.name,
    session,
  }
}

function disposeSlots(slots: StoredOptimizer['slots']): void {
  for (const kept of slots.values()) for (const tensor of Object.values(kept)) tensor.dispose()
}

/** A model as it travels, with the state of optimizers over it. */
function wireOf({ type, topology, weights }: StoredModel, optimizers: readonly StoredOptimizer[]): ModelWire {
  return {
    type,
    topology,
    weights: weights.map(({ name, tracked, trainable }) => ({ name, value: toWire(tracked.tensor), trainable })),
    optimizers: optimizers.map(({ type: kind, config, step, parameters, slots }) => {
      const indexOf = (cell: TensorCell): number => {
        const index = (weights as readonly TensorCell[]).indexOf(cell)
        if (index < 0)
          throw sottoError('ERR_WRONG_KIND', 'an optimizer has parameters outside the model it was to go with')
        return index
      }
      return {
        kind,
        config,
        step,
        parameters: parameters.map(indexOf),
        slots: [...slots].flatMap(([cell, kept]) =>
          Object.entries(kept).map(([name, tensor]) => ({ parameter: indexOf(cell), name, value: toWire(tensor) })),
        ),
      }
    }),
  }
}

/** Checks that a model may go to a peer, writes it down and packs it. */
export function modelDeposit(
  session: HostSession,
  stored: StoredModel,
  to: string,
  optimizers: readonly ObjectId[],
): Deposit {
  const access = modelAccess(stored)
  const { tags } = stored.labels
  const action = 'move model'
  if (!session.mayMoveTo(access, to)) refuse(session, action, modelSpec(stored.weights), { to, access, tags })
  linkTo(session, to)
  const value = wireOf(
    stored,
    optimizers.map((id) => ownOptimizer(session, action, id)),
  )
  for (const { operation, spec } of partsOf(action, value)) {
    recordLeft(session, operation, spec, { to, tags, why: why(session, access) })
  }
  return { kind: 'model', value, labels: stored.labels, access: plainAccess(access) }
}

/** Hands something to a peer that was introduced. */
export function deliver(session: HostSession, to: string, key: string, content: Deposit): void {
  linkTo(session, to).tell('deposit', { key, content })
}

/** The link to a peer that was introduced. */
export function linkTo(session: HostSession, to: string): Session {
  const address = session.peers.get(to)
  if (address === undefined) {
    throw sottoError('ERR_UNKNOWN_PEER', `${session.host.id} was not introduced to ${to}; addWorkers([…]) does it`)
  }
  return session.host.peer(to, address)
}
