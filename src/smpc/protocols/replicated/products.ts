/**
 * Products of secrets (T. Araki et al., CCS 2016, §3.2): of components each party has three products of the nine, and
 * with words that add up to zero on top it hands its sum to the party before. One round, 8 bytes (of 128 bits 16) an element of the result
 * for each party, whatever the bilinear map.
 */
import { sameShape } from '../../../tensor/shape.ts'
import { recycle, spent } from '../../../worker/memory-pool.ts'
import { ring } from '../../ring/choose.ts'
import type { Planes, Words } from '../../ring/kernels.ts'
import { add, type RingTensor } from '../../ring/tensor.ts'
import type { RingRow } from '../../ring-ops.ts'
import type { Share } from '../protocol.ts'
import type { Pair, Seat } from './seat.ts'

/**
 * This party's summand of f(x, y): f(x_i, y_i + y_{i+1}) + f(x_{i+1}, y_i).
 *
 * @param isMasked whether words of zero are added: before it is handed over as it is
 */
export function summandOf(
  seat: Seat,
  row: RingRow,
  op: string,
  [x, xNext]: Share,
  [y, yNext]: Share,
  attrs: readonly unknown[],
  isMasked: boolean,
): RingTensor {
  if (op === 'mul' && sameShape(x!.shape, y!.shape)) {
    return { ...x!, data: timesSummand(seat, [x!.data, xNext!.data], [y!.data, yNext!.data], isMasked) }
  }
  const both = add(y!, yNext!)
  const [first] = row.clear([x!, both], attrs)
  const [second] = row.clear([xNext!, y!], attrs)
  const [one, other] = [first!.data, second!.data]
  const data = isMasked ? seat.withZeros(one, other) : seat.kernels.add(one, other)
  recycle(both.data, one, other)
  return { ...first!, data }
}

/** Elementwise: α + x_i·y_i + x_i·y_{i+1} + x_{i+1}·y_i, in one pass. */
export function timesSummand(seat: Seat, [x, xNext]: Pair<Words>, [y, yNext]: Pair<Words>, isMasked: boolean): Words {
  const zeros = isMasked ? seat.zeros(seat.count(x)) : new BigUint64Array(x.length)
  return spent(seat.kernels.beaver(zeros, xNext, yNext, x, y, true), zeros)
}

/** The same of bits, α being planes whose exclusive or is zero. */
export function andSummand(zeros: Planes, [x, xNext]: Pair<Planes>, [y, yNext]: Pair<Planes>): Planes {
  return ring().beaverAnd(zeros, xNext, yNext, x, y, true)
}
