/**
 * Products of secrets (T. Araki et al., CCS 2016, §3.2): of components each party has three products of the nine, and
 * with words that add up to zero on top it hands its sum to the party before. One round, 8 bytes (of 128 bits 16) an element of the result
 * for each party, whatever the bilinear map.
 */
import { sameShape } from '../../../tensor/shape.ts'
import { ring } from '../../ring/choose.ts'
import type { Planes, Words } from '../../ring/kernels.ts'
import { add, type RingTensor } from '../../ring/tensor.ts'
import type { RingRow } from '../../ring-ops.ts'
import type { Share } from '../protocol.ts'
import type { Pair, Seat } from './seat.ts'

/** This party's summand of f(x, y): f(x_i, y_i + y_{i+1}) + f(x_{i+1}, y_i), and words of zero. */
export function summandOf(
  seat: Seat,
  row: RingRow,
  op: string,
  [x, xNext]: Share,
  [y, yNext]: Share,
  attrs: readonly unknown[],
): RingTensor {
  if (op === 'mul' && sameShape(x!.shape, y!.shape)) {
    return { ...x!, data: timesSummand(seat, [x!.data, xNext!.data], [y!.data, yNext!.data]) }
  }
  const both = add(y!, yNext!)
  const [first] = row.clear([x!, both], attrs)
  const [second] = row.clear([xNext!, y!], attrs)
  return { ...first!, data: seat.withZeros(first!.data, second!.data) }
}

/** Elementwise: α + x_i·y_i + x_i·y_{i+1} + x_{i+1}·y_i, in one pass. */
export function timesSummand(seat: Seat, [x, xNext]: Pair<Words>, [y, yNext]: Pair<Words>): Words {
  return seat.kernels.beaver(seat.zeros(seat.count(x)), xNext, yNext, x, y, true)
}

/** The same of bits, α being planes whose exclusive or is zero. */
export function andSummand(zeros: Planes, [x, xNext]: Pair<Planes>, [y, yNext]: Pair<Planes>): Planes {
  return ring().beaverAnd(zeros, xNext, yNext, x, y, true)
}
