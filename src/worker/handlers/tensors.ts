/** Messages about tensors: keeping, computing, giving, changing. */
import { sottoError } from '../../errors.ts'
import { tf } from '../../tensor/backend.ts'
import type { OperandWire } from '../../tensor/location.ts'
import { type OpRow, opRow, type Value } from '../../tensor/ops.ts'
import type { Spec } from '../../tensor/shape.ts'
import { record, Tracked } from '../../tensor/tape.ts'
import { fromWire, specOf, toWire } from '../../tensor/wire.ts'
import type { HandlersOf } from '../handlers.ts'
import { accessOf, maySee } from '../permissions.ts'
import { gradientOf, isFor, Poison } from '../store.ts'
import {
  accessOfAll,
  checkKept,
  checkNew,
  checkRoom,
  compute,
  failureOf,
  findOperand,
  ownCell,
  storeTensor,
  valueFor,
} from './compute.ts'
import { recordCame, recordLeft, refuse, seeFailure } from './disclosure.ts'
import { addEdge } from './transfer.ts'

export const tensorHandlers: HandlersOf<
  'put' | 'run' | 'get' | 'free' | 'copy' | 'detach' | 'requireGrad' | 'zeroGrad'
> = {
  put(session, { out, value, labels, privacy, requiresGrad, edge, keep = false }) {
    checkKept(keep, labels)
    checkRoom(session, 'send', [value], edge === null ? 0 : 1)
    checkNew(session, [out, edge])
    const access = accessOf(privacy, session.name)
    const tracked = new Tracked(tf.keep(fromWire(value)), { requiresGrad: requiresGrad && value.dtype === 'float32' })
    storeTensor(session, out, tracked, { access, labels, keep })
    if (edge !== null) addEdge(session, edge, tracked, access, true)
    recordCame(session, 'send', value, { how: 'sent', tags: labels.tags })
  },

  run(session, { op, operands, attrs, out, grad }) {
    const row = opRow(op)
    checkOperands(op, row, operands)
    const found = operands.map((operand) => (operand === null ? null : findOperand(session, operand)))
    const present = found.filter((item) => item !== null)
    const checked = row.attrs(...(attrs.map((attr) => attr ?? undefined) as never[]))
    const result = row.spec(
      present.map(({ spec }) => spec),
      checked,
    )
    const specs = (Array.isArray(result) ? result : [result]) as readonly Spec[]
    if (specs.length !== out.length) {
      throw sottoError('ERR_PROTOCOL', `${op}: gives ${specs.length} results, ${out.length} were named`)
    }
    checkRoom(session, op, specs)
    const access = accessOfAll(present)
    const tracked = grad && row.differentiable ? present.flatMap((item) => item.tracked ?? []) : []
    const failure = failureOf(present)
    const command = (isBlank: boolean) =>
      row.run(found.map((item) => (item === null ? undefined : valueFor(item, isBlank))) as Value[], checked)
    compute(session, out, { access, tracked, failure }, command, () => specs)
  },

  get(session, { id, keep }) {
    session.raiseEffects()
    const { store } = session.host
    const operation = keep ? 'fetch' : 'get'
    const { tensor, access, labels, owner, failure } = seeFailure(session, operation, () => store.read(id, session))
    const spec = specOf(tensor)
    const what = gradientOf(id) === null ? operation : `${operation} gradient`
    if (!maySee(access, session.name)) refuse(session, what, spec, { access, tags: labels.tags })
    if (failure !== null) throw new Poison({ error: failure, access })
    const value = toWire(tensor)
    recordLeft(session, what, spec, { access, tags: labels.tags })
    if (!keep && owner === session.name) store.free(id)
    return value
  },

  free(session, { ids }) {
    const { store } = session.host
    for (const id of ids) {
      // Others' objects are not freed, and a stale id is not an error: frees come late, from garbage collectors.
      const stored = store.find(id.split('#')[0]!)
      if (stored?.owner === session.name && isFor(stored, session)) store.free(id)
    }
  },

  copy(session, { id, out, grad }) {
    const { tensor, access, labels, tracked, owner, failure } = session.host.store.read(id, session)
    checkRoom(session, 'copy', [specOf(tensor)])
    const source = grad && tracked && owner === session.name ? [tracked] : []
    const { tensors, segment } = record(source, () => tf.clone(tensor))
    const requiresGrad = segment !== undefined
    const made = new Tracked(tf.keep(tensors[0]!), { requiresGrad, segment })
    storeTensor(session, out, made, { access, labels, failure })
  },

  detach(session, { id, out }) {
    const { tensor, access, failure } = session.host.store.read(id, session)
    checkRoom(session, 'detach', [specOf(tensor)])
    storeTensor(session, out, new Tracked(tf.keep(record([], () => tf.clone(tensor)).tensors[0]!)), { access, failure })
  },

  requireGrad(session, { id, requiresGrad }) {
    const { tracked } = ownCell(session, 'requireGrad', id)
    if (!tracked.isLeaf)
      throw sottoError('ERR_NOT_LEAF', 'this tensor is the result of an operation; detach() it first')
    if (tracked.tensor.dtype !== 'float32') throw sottoError('ERR_DTYPE', 'only float32 tensors have gradients')
    tracked.requiresGrad = requiresGrad
    if (!requiresGrad) tracked.zeroGrad()
  },

  zeroGrad(session, { ids }) {
    for (const id of ids) ownCell(session, 'zeroGrad', id).tracked.zeroGrad()
  },
}

function checkOperands(name: string, { inputs }: OpRow, operands: readonly OperandWire[]): void {
  const list = inputs.at(-1)?.endsWith('[]') === true
  const required = inputs.filter((input) => !input.endsWith('?') && !input.endsWith('[]')).length
  const fits = operands.length >= required && (list || operands.length <= inputs.length)
  if (!fits || operands.some((operand, i) => operand === null && !inputs[i]?.endsWith('?'))) {
    throw sottoError('ERR_PROTOCOL', `${name}: takes ${inputs.join(', ')}`)
  }
}
