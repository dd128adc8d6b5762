/** Messages about gradients: the part of a backward pass that runs on this worker, and its carriage over edges. */
import { sottoError } from '../../errors.ts'
import { tf } from '../../tensor/backend.ts'
import type { ObjectId, OperandWire, PassPart } from '../../tensor/location.ts'
import { sameShape, showShape } from '../../tensor/shape.ts'
import { backward, type Root, rootOf } from '../../tensor/tape.ts'
import { fromWire, toWire } from '../../tensor/wire.ts'
import type { HandlersOf } from '../handlers.ts'
import type { HostSession } from '../host-session.ts'
import { type Access, accessFrom, combine, derivedFrom, maySee, PUBLIC } from '../permissions.ts'
import type { Deposit } from '../protocol.ts'
import { OperationFailed, type StoredEdge } from '../store.ts'
import { ownCell } from './compute.ts'
import { poisonOf, recordCame, recordLeft, refuse, refuseChange } from './disclosure.ts'
import { deliver, failureIn, orTell, tensorDelivery, whenThere } from './transfer.ts'

export const autogradHandlers: HandlersOf<'backward' | 'relay' | 'relayHome'> = {
  backward(session, { root, ...part }) {
    const { store } = session.host
    return inPass(session, part, () => {
      if ('id' in root) {
        const { tracked, access } = ownCell(session, 'backward', root.id)
        if (!tracked.requiresGrad) {
          throw sottoError('ERR_NO_GRAD', 'backward: no operand of this tensor required a gradient')
        }
        const seed = seedOf(session, root.seed, tracked.tensor.shape)
        return run(session, part, rootOf(tracked), seed, combine(access, seed.access))
      }
      const { anchor, access } = ownEdge(session, root.edge)
      const arrived = (deposit: Deposit): void => {
        if (deposit.kind === 'none') return
        if (deposit.kind === 'failed') throw failureIn(deposit)
        if (deposit.kind !== 'tensor')
          throw sottoError('ERR_PROTOCOL', `${root.from} sent a ${deposit.kind} for a gradient`)
        const { value } = deposit
        recordCame(session, 'gradient', value, { from: root.from, how: 'backward' })
        if (!sameShape(value.shape, anchor.shape) || value.dtype !== 'float32') {
          throw sottoError(
            'ERR_PROTOCOL',
            `${root.from} sent a gradient of shape ${showShape(value.shape)} for ${showShape(anchor.shape)}`,
          )
        }
        const seed = { tensor: fromWire(value), access: accessFrom(deposit.access), owned: true }
        run(session, part, anchor.root, seed, combine(access, seed.access))
      }
      return whenThere(session.take(root.key, root.from), (deposit) => {
        try {
          arrived(deposit)
        } finally {
          if (!part.retain) store.free(root.edge)
        }
      })
    })
  },

  relay(session, { edge, to, key, compress, ...part }) {
    const { store } = session.host
    const pass = session.pass(part.pass ?? '')
    return inPass(session, part, () =>
      orTell(session, to, key, () => {
        if (pass.error !== null) throw pass.error
        const { leaf } = ownEdge(session, edge)
        const gradient = leaf && pass.gradients.get(leaf)
        if (!part.retain) store.free(edge)
        if (!gradient) return deliver(session, to, key, { kind: 'none' })
        tensorDelivery(session, 'gradient', gradient, { to, key, access: pass.access, compress })()
      }),
    )
  },

  relayHome(session, { edge, ...part }) {
    const { store } = session.host
    const pass = session.pass(part.pass ?? '')
    return inPass(session, part, () => {
      const { leaf, anchor } = ownEdge(session, edge)
      const gradient = leaf && pass.gradients.get(leaf)
      if (!part.retain) store.free(edge)
      const access = pass.error === null ? pass.access : combine(pass.access, pass.error.access)
      const spec = { shape: anchor.shape, dtype: 'float32' } as const
      // The same refusal whether there is a gradient, none, or a failure.
      if (!maySee(access, session.name)) refuse(session, 'gradient', spec, { access })
      if (pass.error !== null) throw pass.error
      if (!gradient) return null
      recordLeft(session, 'gradient', spec, { access })
      return toWire(gradient)
    })
  },
}

/** An edge that this session's identity made. */
function ownEdge(session: HostSession, id: ObjectId): StoredEdge {
  const edge = session.host.store.edge(id, session)
  if (edge.owner !== session.name) {
    const spec = { shape: edge.anchor.shape, dtype: 'float32' } as const
    refuseChange(session, 'backward', spec, `backward: the edge belongs to ${edge.owner}`)
  }
  return edge
}

/** Runs a part of a pass; a failure stays with the pass for the parts that build on it, and the last part frees. */
function inPass<T>(
  session: HostSession,
  { pass, end, retain }: PassPart,
  action: () => T | Promise<T>,
): T | Promise<T> {
  const failed = (error: unknown): never => {
    // Kept as it travels: parts that fail because of it fail with the same error.
    if (pass !== null) session.pass(pass).error ??= poisonOf(session, error)
    finish()
    throw error
  }
  const finish = () => {
    if (pass !== null && end) session.endPass(pass, retain)
  }
  let result: T | Promise<T>
  try {
    result = action()
  } catch (error) {
    return failed(error)
  }
  if (result instanceof Promise) {
    return result.then((value) => {
      finish()
      return value
    }, failed)
  }
  finish()
  return result
}

interface Seed {
  readonly tensor: tf.Tensor
  readonly access: Access
  /** Made here, and to be freed. */
  readonly owned: boolean
}

function seedOf(session: HostSession, seed: OperandWire, shape: readonly number[]): Seed {
  if (typeof seed === 'string') {
    const { tensor, access } = session.host.store.read(seed, session)
    if (!sameShape(tensor.shape, shape) || tensor.dtype !== 'float32') {
      throw sottoError(
        'ERR_SHAPE',
        `backward: the gradient is ${tensor.dtype} ${showShape(tensor.shape)}, the tensor float32 ${showShape(shape)}`,
      )
    }
    return { tensor, access, owned: false }
  }
  if (typeof seed === 'number') {
    return { tensor: tf.keep(tf.fill([...shape], seed, 'float32')), access: PUBLIC, owned: true }
  }
  if (seed === null || typeof seed === 'boolean')
    throw sottoError('ERR_PROTOCOL', 'backward: the gradient is no tensor')
  if (!sameShape(seed.shape, shape)) {
    throw sottoError('ERR_SHAPE', `backward: the gradient is ${showShape(seed.shape)}, the tensor ${showShape(shape)}`)
  }
  recordCame(session, 'gradient', seed, { how: 'backward' })
  const given = tf.keep(fromWire(seed))
  if (given.dtype === 'float32') return { tensor: given, access: PUBLIC, owned: true }
  const tensor = tf.keep(tf.cast(given, 'float32'))
  given.dispose()
  return { tensor, access: PUBLIC, owned: true }
}

/** One walk back through this worker's graph: leaves get their gradients, edges what is to travel on. */
function run(session: HostSession, { pass, retain }: PassPart, root: Root, seed: Seed, access: Access): void {
  const { store } = session.host
  const seen = derivedFrom(access)
  let result: ReturnType<typeof backward>
  try {
    result = backward(root, seed.tensor)
  } catch (error) {
    throw new OperationFailed(error, seen)
  } finally {
    if (seed.owned) seed.tensor.dispose()
  }
  const underWay = pass === null ? null : session.pass(pass)
  if (underWay) underWay.access = combine(underWay.access, seen)
  for (const [leaf, gradient] of result.gradients) {
    if (underWay && store.isEdgeLeaf(leaf)) {
      const before = underWay.gradients.get(leaf)
      underWay.gradients.set(leaf, tf.keep(before ? tf.add(before, gradient) : tf.clone(gradient)))
      before?.dispose()
    }
    const cell = store.cellOf(leaf)
    if (cell === undefined || cell.owner !== session.name) gradient.dispose()
    else {
      cell.gradAccess = leaf.grad === null ? seen : combine(cell.gradAccess, seen)
      leaf.accumulate(gradient)
    }
  }
  if (underWay) underWay.visited.push(...result.visited)
  else if (!retain) for (const segment of result.visited) segment.free()
}
