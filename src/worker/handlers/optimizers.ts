/** Messages about optimizers, which change their parameters on the worker; and their state as it travels. */
import { sottoError } from '../../errors.ts'
import { tf } from '../../tensor/backend.ts'
import type { ObjectId } from '../../tensor/location.ts'
import type { OptimizerWire } from '../../tensor/model-wire.ts'
import { completeConfig, optimizerRules } from '../../tensor/optimizers.ts'
import { sameShape } from '../../tensor/shape.ts'
import { fromWire, type TensorWire, toWire } from '../../tensor/wire.ts'
import type { HandlersOf } from '../handlers.ts'
import type { HostSession } from '../host-session.ts'
import { combine } from '../permissions.ts'
import type { StoredOptimizer, TensorCell } from '../store.ts'
import { checkRoom, ownCell } from './compute.ts'
import { asOne, refuseChange } from './disclosure.ts'

/** Tensors that a rule keeps for one parameter, by name. */
type Slots = Record<string, tf.Tensor>

export const optimizerHandlers: HandlersOf<'putOptimizer' | 'configure' | 'step'> = {
  putOptimizer(session, { out, kind, config, parameters }) {
    const cells = parameters.map((id) => ownCell(session, `optim.${kind}`, id))
    for (const { tracked } of cells) {
      if (!tracked.isLeaf || !tracked.requiresGrad) {
        throw sottoError('ERR_NOT_LEAF', `optim.${kind}: every parameter must be a leaf that requires a gradient`)
      }
    }
    checkRoom(session, `optim.${kind}`, [], 1)
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
    refit(optimizer)
  },

  step(session, { id }) {
    const optimizer = ownOptimizer(session, 'step', id)
    const ready = optimizer.parameters.filter(({ tracked }) => tracked.grad !== null)
    if (ready.length === 0) return
    optimizer.step++
    for (const cell of ready) update(optimizer, cell)
  },
}

/** An optimizer of this session's identity, to be used or to go along with its model. */
export function ownOptimizer(session: HostSession, operation: string, id: ObjectId): StoredOptimizer {
  const optimizer = session.host.store.optimizer(id, session)
  if (optimizer.owner !== session.name) {
    const spec = asOne(optimizer.parameters.map(({ tracked }) => tracked.tensor))
    refuseChange(session, operation, spec, `the optimizer belongs to ${optimizer.owner}`)
  }
  return optimizer
}

/** The tensors that a rule keeps for a parameter: those that are there, and first values in the place of others. */
function slotsFor({ type, config }: StoredOptimizer, { tracked }: TensorCell, kept: Slots = {}): Slots {
  const firsts = Object.entries(optimizerRules[type].slots(config))
  return Object.fromEntries(
    firsts.map(([name, first]) => [name, kept[name] ?? tf.fill(tracked.tensor.shape, first, 'float32')]),
  )
}

/** Momentum that comes with new settings begins at rest, as it does at first; what the rule no longer keeps is freed. */
function refit(optimizer: StoredOptimizer): void {
  for (const [cell, kept] of optimizer.slots) {
    const slots = slotsFor(optimizer, cell, kept)
    for (const [name, tensor] of Object.entries(slots)) if (kept[name] === undefined) tf.keep(tensor)
    for (const [name, tensor] of Object.entries(kept)) if (slots[name] === undefined) tensor.dispose()
    optimizer.slots.set(cell, slots)
  }
}

/** One step of one parameter. */
function update(optimizer: StoredOptimizer, cell: TensorCell): void {
  const { tracked } = cell
  const { type, config, step } = optimizer
  const rule = optimizerRules[type]
  const before = optimizer.slots.get(cell)
  const made = tf.tidy(() => {
    const slots = before ?? slotsFor(optimizer, cell)
    const next = rule.update({ value: tracked.tensor, gradient: tracked.grad!, step }, slots, config)
    return { value: next.value, slots: { ...next.slots } }
  })
  for (const slot of Object.values(made.slots)) tf.keep(slot)
  for (const slot of Object.values(before ?? {})) slot.dispose()
  optimizer.slots.set(cell, made.slots)
  tracked.replace(made.value)
  cell.access = combine(cell.access, cell.gradAccess)
}

/** An optimizer as it travels, in the state that it is in; it names its parameters by their place among the weights. */
export function optimizerToWire(
  { type: kind, config, step, parameters, slots }: StoredOptimizer,
  weights: readonly TensorCell[],
): OptimizerWire {
  const indexOf = (cell: TensorCell): number => {
    const index = weights.indexOf(cell)
    if (index < 0) {
      throw sottoError('ERR_WRONG_KIND', 'an optimizer has parameters outside the model it was to go with')
    }
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
}

/** An optimizer over the weights of a model that came, in the state in which it was sent. */
export function optimizerFromWire(
  session: HostSession,
  weights: readonly TensorCell[],
  state: OptimizerWire,
): StoredOptimizer {
  const cellAt = (index: number): TensorCell => {
    const cell = weights[index]
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

/** Frees what is kept of each parameter. */
export function disposeSlots(slots: StoredOptimizer['slots']): void {
  for (const kept of slots.values()) for (const tensor of Object.values(kept)) tensor.dispose()
}
