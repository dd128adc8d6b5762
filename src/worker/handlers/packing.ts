/** Tensors packed for the way to a peer, and what is lost of them, which is kept here for the next. */
import { sottoError } from '../../errors.ts'
import type { tf } from '../../tensor/backend.ts'
import type { ObjectId, Packing } from '../../tensor/location.ts'
import { type PackedWire, pack, remainderOf, withRemainder } from '../../tensor/packed.ts'
import { type Shape, sameShape, sizeOf } from '../../tensor/shape.ts'
import { specOf, type TensorWire, toWire, valuesOf } from '../../tensor/wire.ts'
import type { HostSession } from '../host-session.ts'
import { type Access, combine, PUBLIC } from '../permissions.ts'
import type { StoredRemainder } from '../store.ts'
import { checkRoom } from './compute.ts'

/** A tensor that is about to go to a peer. */
export interface Outgoing {
  /** Who may see what goes: of a remainder, too, that goes along. */
  readonly access: Access
  value(): TensorWire | PackedWire
  /** To be called once the value has left. */
  hasLeft(): void
}

/** @throws ArgumentError `ERR_DTYPE` for what cannot be packed */
export function outgoing(
  session: HostSession,
  operation: string,
  tensor: tf.Tensor,
  access: Access,
  packing: Packing | undefined,
): Outgoing {
  if (packing === undefined) return { access, value: () => toWire(tensor), hasLeft: () => {} }
  const { shape, dtype } = specOf(tensor)
  if (dtype !== 'float32') {
    throw sottoError('ERR_DTYPE', `${operation}: only float32 tensors are compressed, this one is ${dtype}`, { dtype })
  }
  const { encoding } = packing
  const kept = packing.remainder === null ? null : remainderFor(session, operation, packing.remainder, shape)
  if (kept === null) return { access, value: () => pack(valuesOf(tensor), shape, encoding), hasLeft: () => {} }
  const common = combine(access, kept.access)
  let lost = kept.values
  return {
    access: common,
    value: () => {
      const values = withRemainder(valuesOf(tensor), kept.values)
      const packed = pack(values, shape, encoding)
      lost = remainderOf(values, packed)
      return packed
    },
    hasLeft: () => {
      kept.values = lost
      kept.access = common
    },
  }
}

/**
 * The remainder for tensors of a shape. It keeps to one shape: a batch with fewer rows, as the last of an epoch, goes
 * without and leaves it as it is. A larger tensor begins it anew.
 */
function remainderFor(session: HostSession, operation: string, id: ObjectId, shape: Shape): StoredRemainder | null {
  const { store } = session.host
  if (store.has(id)) {
    const kept = store.remainder(id, session)
    if (sameShape(kept.shape, shape)) return kept
    if (sizeOf(shape) <= kept.values.length) return null
  }
  checkRoom(session, operation, [{ shape, dtype: 'float32' }])
  store.free(id)
  const values = new Float32Array(sizeOf(shape))
  const { name: owner } = session
  const made: StoredRemainder = { kind: 'remainder', shape: [...shape], values, access: PUBLIC, owner, session }
  store.add(id, made)
  return made
}
