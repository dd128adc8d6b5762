/** Messages about checkpoints: models that are kept here, for who saved them to restore, and of which nothing leaves. */
import { sottoError } from '../../errors.ts'
import type { Checkpoint, CheckpointInfo } from '../../tensor/checkpoint.ts'
import type { ObjectId } from '../../tensor/location.ts'
import type { ModelWire, OptimizerWire } from '../../tensor/model-wire.ts'
import { sameShape, showShape } from '../../tensor/shape.ts'
import { fromWire } from '../../tensor/wire.ts'
import type { KeptModel } from '../checkpoint-file.ts'
import type { HandlersOf } from '../handlers.ts'
import type { HostSession } from '../host-session.ts'
import { accessFrom, combine, PUBLIC, plainAccess } from '../permissions.ts'
import type { StoredModel, StoredOptimizer } from '../store.ts'
import { refuseChange, seeFailure } from './disclosure.ts'
import { specOfModel, storedToWire } from './models.ts'
import { disposeSlots, optimizerFromWire, ownOptimizer } from './optimizers.ts'

export const checkpointHandlers: HandlersOf<'saveModel' | 'restoreModel' | 'checkpoints' | 'removeCheckpoint'> = {
  saveModel(session, { id, name, optimizers }) {
    session.raiseEffects()
    const { host } = session
    const found = findOwn(session, 'save', id, optimizers)
    const model = storedToWire(found.stored, found.optimizers)
    const access = found.stored.weights.map((weight) => plainAccess(weight.access))
    return host.checkpoints.save(session.name, name, { model, access }).then((info) => manifestOf(host.id, info, model))
  },

  restoreModel(session, { id, name, optimizers }) {
    const { host } = session
    const find = () => findOwn(session, 'restore', id, optimizers)
    find()
    return host.checkpoints.load(session.name, name).then((kept) => {
      if ('shares' in kept) {
        throw sottoError('ERR_CHECKPOINT_MISMATCH', `restore: "${name}" holds shares of secrets, and no model`)
      }
      const { info } = kept
      // While the disk was read, another session of this identity may have taken it away.
      const found = find()
      checkFits(found.stored, found.optimizers, kept.model)
      putBack(session, found.stored, found.optimizers, kept)
      return manifestOf(host.id, info, kept.model)
    })
  },

  checkpoints: (session) => session.host.checkpoints.list(session.name),

  removeCheckpoint: (session, { name }) => session.host.checkpoints.remove(session.name, name).then(() => null),
}

/** A model of this session's identity, and its optimizers. */
function findOwn(
  session: HostSession,
  operation: 'save' | 'restore',
  id: ObjectId,
  optimizers: readonly ObjectId[],
): { stored: StoredModel; optimizers: StoredOptimizer[] } {
  const what = `${operation} model`
  const stored = seeFailure(session, what, () => session.host.store.model(id, session))
  if (stored.owner !== session.name) {
    const message = `${operation}: the model belongs to ${stored.owner}, who alone may ${operation} it`
    refuseChange(session, what, specOfModel(stored), message)
  }
  return { stored, optimizers: optimizers.map((each) => ownOptimizer(session, what, each)) }
}

/** Refuses a checkpoint of another model, or of other optimizers. */
function checkFits(stored: StoredModel, optimizers: readonly StoredOptimizer[], kept: ModelWire): void {
  const misfit = (why: string): Error => sottoError('ERR_CHECKPOINT_MISMATCH', `restore: ${why}`)
  if (kept.weights.length !== stored.weights.length) {
    throw misfit(`the checkpoint has ${kept.weights.length} weights, the model ${stored.weights.length}`)
  }
  stored.weights.forEach(({ name, tracked: { tensor } }, i) => {
    const { name: other, value } = kept.weights[i]!
    if (lasting(other) !== lasting(name)) {
      throw misfit(`weight ${i} is "${name}" in the model, "${other}" in the checkpoint`)
    }
    if (!sameShape(value.shape, tensor.shape) || value.dtype !== tensor.dtype) {
      const [here, there] = [tensor, value].map(({ shape, dtype }) => `${dtype} ${showShape(shape)}`)
      throw misfit(`"${name}" is ${here} in the model, ${there} in the checkpoint`)
    }
  })
  const kinds = (list: readonly string[]) => (list.length === 0 ? 'none' : list.join(', '))
  const [here, there] = [kinds(optimizers.map(({ type }) => type)), kinds(kept.optimizers.map(({ kind }) => kind))]
  if (here !== there) throw misfit(`the optimizers of the model are ${here}, those of the checkpoint ${there}`)
  optimizers.forEach(({ type, parameters }, i) => {
    const indices = parameters.map((cell) => stored.weights.indexOf(cell as StoredModel['weights'][number]))
    if (!sameShape(indices, kept.optimizers[i]!.parameters)) {
      throw misfit(`optimizer ${i}, ${type}, is over other weights of the model than in the checkpoint`)
    }
  })
}

/**
 * A name without the number that tfjs gives a layer that has no name of its own, `dense_Dense3`: it counts the layers
 * made so far, and the same net, built again, has others.
 */
const lasting = (name: string): string => name.replaceAll(/(^|\/)([a-z0-9_]+_[A-Z][A-Za-z0-9]*?)\d+(?=\/)/g, '$1$2')

/** Puts back what was kept. All of it is made before anything is changed. */
function putBack(
  session: HostSession,
  stored: StoredModel,
  optimizers: readonly StoredOptimizer[],
  { model, access }: KeptModel,
): void {
  const values = model.weights.map(({ value }) => fromWire(value))
  let states: StoredOptimizer[]
  try {
    states = statesOf(session, stored, model.optimizers)
  } catch (error) {
    for (const value of values) value.dispose()
    throw error
  }
  stored.weights.forEach((weight, i) => {
    weight.tracked.replace(values[i]!)
    // Gradients are those of the weights that were there.
    weight.tracked.zeroGrad()
    weight.gradAccess = PUBLIC
    weight.access = combine(weight.access, accessFrom(access[i]!))
  })
  optimizers.forEach((optimizer, i) => {
    const { config, step, slots } = states[i]!
    disposeSlots(optimizer.slots)
    optimizer.slots.clear()
    for (const [cell, kept] of slots) optimizer.slots.set(cell, kept)
    optimizer.config = config
    optimizer.step = step
  })
}

/** Optimizers in the state in which they were kept. */
function statesOf(session: HostSession, { weights }: StoredModel, kept: readonly OptimizerWire[]): StoredOptimizer[] {
  const made: StoredOptimizer[] = []
  try {
    for (const state of kept) made.push(optimizerFromWire(session, weights, state))
    return made
  } catch (error) {
    for (const { slots } of made) disposeSlots(slots)
    throw sottoError('ERR_CHECKPOINT', `restore: ${(error as Error).message}`)
  }
}

/** What was kept, without the values. */
const manifestOf = (worker: string, info: CheckpointInfo, { weights, optimizers }: ModelWire): Checkpoint => ({
  worker,
  ...info,
  weights: weights.map(({ name, value: { shape, dtype }, trainable }) => ({
    name,
    shape: [...shape],
    dtype,
    trainable,
  })),
  optimizers: optimizers.map(({ kind, config, step }) => ({ kind, config: { ...config }, step })),
})
