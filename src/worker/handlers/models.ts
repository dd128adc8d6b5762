/** Messages about models and the optimizers that train them. */
import { sottoError } from '../../errors.ts'
import { tf } from '../../tensor/backend.ts'
import type { Labels, ObjectId } from '../../tensor/location.ts'
import { type ModelWire, modelFromWire, type OptimizerWire, variableOf, weightsOf } from '../../tensor/model-wire.ts'
import { completeConfig, optimizerRules } from '../../tensor/optimizers.ts'
import { sameShape, sizeOf } from '../../tensor/shape.ts'
import { Tracked } from '../../tensor/tape.ts'
import { fromWire, toWire } from '../../tensor/wire.ts'
import type { HandlersOf } from '../handlers.ts'
import type { HostSession } from '../host.ts'
import { type Access, accessOf, combine, derivedFrom, maySee, PUBLIC } from '../permissions.ts'
import type { Deposit } from '../protocol.ts'
import { modelAccess, type StoredModel, type StoredOptimizer, type TensorCell } from '../store.ts'
import {
  checkRoom,
  compute,
  findOperand,
  ownCell,
  plainAccess,
  recordCame,
  recordLeft,
  refuse,
  seeFailure,
  why,
} from './tensors.ts'

export const modelHandlers: HandlersOf<
  'putModel' | 'copyModel' | 'apply' | 'getModel' | 'putOptimizer' | 'configure' | 'step'
> = {
  putModel(session, { out, model, labels, privacy, optimizers }) {
    const access = accessOf(privacy, session.name)
    storeModel(session, out, model, { labels, access, optimizers, from: session.name })
  },

  copyModel(session, { id, out }) {
    const stored = session.host.store.model(id)
    storeModel(session, out, wireOf(stored, []), {
      labels: stored.labels,
      access: modelAccess(stored),
      optimizers: [],
      from: null,
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
    if (training && !own)
      throw sottoError('ERR_PERMISSION', `apply: the model belongs to ${owner}, who alone may train it`)
    const seen = found.reduce((sum: Access, item) => combine(sum, item.access), PUBLIC)
    const access = weights.reduce((sum: Access, weight) => combine(sum, weight.access), seen)
    const trained = own ? weights.filter(({ trainable }) => trainable).map(({ tracked }) => tracked) : []
    const tracked = grad ? [...found.flatMap((item) => item.tracked ?? []), ...trained] : []
    compute(session, out, { access, tracked }, () => {
      const inputs = found.map((item) => item.value() as tf.Tensor)
      return model.apply(inputs.length === 1 ? inputs[0]! : inputs, { training }) as tf.Tensor | tf.Tensor[]
    })
    // Batch normalisation learns from what passes through it.
    if (training && seen.length > 0) {
      for (const weight of weights) if (!weight.trainable) weight.access = combine(weight.access, derivedFrom(seen))
    }
  },

  getModel(session, { id, keep, optimizers }) {
    session.raiseEffects()
    const { store } = session.host
    const operation = keep ? 'fetch model' : 'get model'
    const stored = seeFailure(session, operation, () => store.model(id))
    const access = modelAccess(stored)
    const spec = { shape: [sizeOfModel(stored)], dtype: 'float32' } as const
    if (!maySee(access, session.name)) refuse(session, operation, spec, session.name, access)
    const wire = wireOf(
      stored,
      optimizers.map((optimizer) => ownOptimizer(session, optimizer)),
    )
    recordLeft(session, operation, spec, { to: session.name, tags: stored.labels.tags, why: why(session, access) })
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
    const optimizer = ownOptimizer(session, id)
    optimizer.config = completeConfig(optimizer.type, { ...optimizer.config, ...config })
  },

  step(session, { id }) {
    const optimizer = ownOptimizer(session, id)
    const ready = optimizer.parameters.filter(({ tracked }) => tracked.grad !== null)
    if (ready.length === 0) return
    optimizer.step++
    for (const cell of ready) update(optimizer, cell)
  },
}

function ownOptimizer(session: HostSession, id: ObjectId): StoredOptimizer {
  const optimizer = session.host.store.optimizer(id)
  if (optimizer.owner !== session.name) {
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

const sizeOfModel = ({ weights }: StoredModel): number =>
  weights.reduce((sum, { tracked }) => sum + sizeOf(tracked.tensor.shape), 0)

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
  /** Where it came from; null for a copy made here. */
  readonly from: string | null
}

/** Builds and keeps a model, and the optimizers that came along with it. */
export function storeModel(session: HostSession, out: ObjectId, wire: ModelWire, options: ModelOptions): void {
  const { store } = session.host
  const { labels, access, optimizers, from } = options
  for (const id of [out, ...optimizers]) if (store.has(id)) throw sottoError('ERR_ID_TAKEN', 'the id is taken', { id })
  checkRoom(
    session,
    'send',
    wire.weights.map(({ value }) => value),
  )
  if (optimizers.length !== wire.optimizers.length) {
    throw sottoError('ERR_PROTOCOL', `${wire.optimizers.length} optimizers came, ${optimizers.length} were named`)
  }
  const model = build(wire)
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
  const restored = wire.optimizers.map((state) => restoreOptimizer(session, stored, state))
  store.add(out, stored)
  optimizers.forEach((id, i) => store.add(id, restored[i]!))
  if (from !== null) {
    const spec = { shape: [sizeOfModel(stored)], dtype: 'float32' } as const
    recordCame(session, 'model', spec, { from, tags: labels.tags, why: `sent by ${session.name}` })
  }
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
  const slots = new Map<TensorCell, Record<string, tf.Tensor>>()
  const known = Object.keys(optimizerRules[state.kind].slots(config))
  for (const { parameter, name, value } of state.slots) {
    const cell = cellAt(parameter)
    if (!known.includes(name) || !sameShape(value.shape, cell.tracked.tensor.shape)) {
      throw sottoError('ERR_PROTOCOL', 'the state of an optimizer does not fit its parameters')
    }
    const kept = slots.get(cell) ?? {}
    kept[name] = tf.keep(fromWire(value))
    slots.set(cell, kept)
  }
  for (const [, kept] of slots) {
    if (Object.keys(kept).length !== known.length)
      throw sottoError('ERR_PROTOCOL', 'the state of an optimizer is incomplete')
  }
  const parameters = state.parameters.map(cellAt)
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
  const spec = { shape: [sizeOfModel(stored)], dtype: 'float32' } as const
  if (!session.mayMoveTo(access, to)) refuse(session, 'move model', spec, to, access)
  const value = wireOf(
    stored,
    optimizers.map((id) => ownOptimizer(session, id)),
  )
  recordLeft(session, 'move model', spec, { to, tags: stored.labels.tags, why: why(session, access) })
  return { kind: 'model', value, labels: stored.labels, access: plainAccess(access) }
}

/** Hands something to a peer that was introduced. */
export function deliver(session: HostSession, to: string, key: string, content: Deposit): void {
  const address = session.peers.get(to)
  if (address === undefined) {
    throw sottoError('ERR_UNKNOWN_PEER', `${session.host.id} was not introduced to ${to}; addWorkers([…]) does it`)
  }
  session.host.peer(to, address).tell('deposit', { key, content })
}
