/** Messages about public fixed-precision tensors on a worker. */
import { sottoError } from '../../errors.ts'
import { tf } from '../../tensor/engine.ts'
import { Tracked } from '../../tensor/tape.ts'
import { checkNew, checkRoom, storeTensor } from '../../worker/handlers/compute.ts'
import { recordLeft, refuse, seeFailure } from '../../worker/handlers/disclosure.ts'
import { type Access, combine, derivedFrom, maySee, PUBLIC } from '../../worker/permissions.ts'
import { Poison } from '../../worker/store.ts'
import { FixedPrecisionTensor } from '../fixed-precision.ts'
import type { SecretHandlers } from '../handlers.ts'
import { bytesOf, ringZeros, roomFor } from '../ring/tensor.ts'
import { type RingOp, ringRow, runClear } from '../ring-ops.ts'
import { guarded, StoredFixed, sourceOf, specFor } from '../stored-fixed.ts'
import { publicOperand } from './operands.ts'

export const fixedHandlers: SecretHandlers<'fixTensor' | 'floatTensor' | 'fixedRun' | 'fixedGet'> = {
  fixTensor(session, { id, out, encoding }) {
    checkNew(session, [out])
    const source = sourceOf(session, 'fixPrecision', id, encoding)
    checkRoom(session, 'fixPrecision', [roomFor(encoding.ring)(source.shape)])
    const { value, failure, failed } = source.encode()
    session.host.store.add(out, new StoredFixed(session, value, encoding, source.access, failure))
    if (failed !== null) throw failed
  },

  floatTensor(session, { id, out }) {
    checkNew(session, [out])
    const { value, encoding, access, failure: before } = session.host.store.other(id, 'fixed', session) as StoredFixed
    const spec = specFor(encoding, value.shape)
    checkRoom(session, 'floatPrecision', [spec])
    let tensor: tf.Tensor | undefined
    const { failure, failed } = guarded(
      session,
      access,
      before,
      () => {
        tensor = tf.zeros([...spec.shape], spec.dtype)
        return []
      },
      () => {
        tensor = new FixedPrecisionTensor(value, encoding).floatPrecision()
        return []
      },
    )
    storeTensor(session, out, new Tracked(tf.keep(tensor!)), { access, failure })
    if (failed !== null) throw failed
  },

  fixedRun(session, { op, operands, attrs: given, divisor, out, encodings }) {
    checkNew(session, out)
    const row = ringRow(op)
    const attrs = given.map((attr) => attr ?? undefined)
    const { ring: bits } = encodings[0]!
    const found = operands.map((operand) =>
      typeof operand === 'string'
        ? (session.host.store.other(operand, 'fixed', session) as StoredFixed)
        : { value: publicOperand(session, operand, bits), access: PUBLIC, failure: null },
    )
    if (found.some(({ value }) => value.ring !== bits) || encodings.some((encoding) => encoding.ring !== bits)) {
      throw sottoError('ERR_PROTOCOL', `${op}: operands and results expected of one ring`)
    }
    const values = found.map(({ value }) => value)
    const shapes = row.shapes(
      values.map(({ shape }) => shape),
      attrs,
    )
    if (shapes.length !== out.length || encodings.length !== out.length) {
      throw sottoError('ERR_PROTOCOL', `${op}: gives ${shapes.length} results, ${out.length} were named`)
    }
    checkRoom(session, op, shapes.map(roomFor(bits)))
    const access = derivedFrom(found.reduce((sum: Access, one) => combine(sum, one.access), PUBLIC))
    const before = found.find(({ failure }) => failure !== null)?.failure ?? null
    const made = guarded(
      session,
      access,
      before,
      () => shapes.map((shape) => ringZeros(bits, shape)),
      () => runClear(op as RingOp, values, attrs, divisor === null ? null : BigInt(divisor)),
    )
    made.values.forEach((value, i) => {
      session.host.store.add(out[i]!, new StoredFixed(session, value, encodings[i]!, access, made.failure))
    })
    if (made.failed !== null) throw made.failed
  },

  fixedGet(session, { id, keep }) {
    session.raiseEffects()
    const { store } = session.host
    const operation = keep ? 'fetch' : 'get'
    const stored = seeFailure(session, operation, () => store.other(id, 'fixed', session)) as StoredFixed
    const { value, access, owner, failure } = stored
    const spec = specFor(stored.encoding, value.shape)
    if (!maySee(access, session.name)) refuse(session, operation, spec, { access })
    if (failure !== null) throw new Poison({ error: failure, access })
    recordLeft(session, operation, spec, { access })
    if (!keep && owner === session.name) store.free(id)
    return { shape: value.shape, data: bytesOf(value.data).slice() }
  },
}
