/** Public operands of commands: what a caller writes into a computation is known on the worker from then on. */
import { sottoError } from '../../errors.ts'
import { showShape, sizeOf } from '../../tensor/shape.ts'
import { recordCame } from '../../worker/handlers/disclosure.ts'
import type { HostSession } from '../../worker/host-session.ts'
import type { RingWire } from '../messages.ts'
import type { RingBits } from '../ring/kernels.ts'
import { type RingTensor, ringTensor, wordsOf } from '../ring/tensor.ts'

/**
 * The ring elements of a public operand. Numbers by themselves are part of the command.
 *
 * @throws `ERR_PROTOCOL` when they are of another ring
 */
export function publicOperand(session: HostSession, { shape, data }: RingWire, ring: RingBits): RingTensor {
  const bytes = (ring / 8) * sizeOf(shape)
  if (data.byteLength !== bytes) {
    throw sottoError('ERR_PROTOCOL', `${showShape(shape)} of ${ring} bits takes ${bytes} bytes, got ${data.byteLength}`)
  }
  if (shape.length > 0) recordCame(session, 'operand', { shape, dtype: 'float32' }, { how: 'sent' })
  return ringTensor(ring, shape, wordsOf(data))
}
