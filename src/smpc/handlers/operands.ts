/** Public operands of commands: what a caller writes into a computation is known on the worker from then on. */
import { recordCame } from '../../worker/handlers/disclosure.ts'
import type { HostSession } from '../../worker/host-session.ts'
import type { RingWire } from '../messages.ts'
import { type RingTensor, ringTensor, wordsOf } from '../ring/tensor.ts'

/** The ring elements of a public operand. Numbers by themselves are part of the command. */
export function publicOperand(session: HostSession, { shape, data }: RingWire): RingTensor {
  if (shape.length > 0) recordCame(session, 'operand', { shape, dtype: 'float32' }, { how: 'sent' })
  return ringTensor(shape, wordsOf(data))
}
