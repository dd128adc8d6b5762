/** Pooling of images [batch, height, width, channels]: the pixels of each window in a row, then what is taken of the row. */
import { sottoError } from '../errors.ts'
import { scope } from '../tensor/context.ts'
import { opRow } from '../tensor/ops.ts'
import type { Padding, PairOf } from '../tensor/shape.ts'
import type { AnyEncoded, PublicOperand } from './encoded-tensor.ts'
import { BEYOND, isFixed, scaleOf } from './encoding.ts'
import { timesPublic } from './gradients.ts'
import { ring } from './ring/choose.ts'
import { coverage } from './ring/convolution.ts'
import { ringOf, ringTensor } from './ring/tensor.ts'

/** Filters, strides and padding, checked and made pairs of. */
interface Pooling {
  readonly filterSize: readonly [number, number]
  readonly strides: readonly [number, number]
  readonly pad: Padding
}

function poolingOf(name: 'maxPool' | 'avgPool', x: AnyEncoded, ...args: readonly unknown[]): Pooling {
  const attrs = opRow(name).attrs(...(args as never[])) as Pooling
  opRow(name).spec([{ shape: x.shape, dtype: 'float32' }], attrs)
  return attrs
}

/** [batch, height, width, pixels of a window, channels]; zeros where a window hangs over the edge. */
function windowsOf<T extends AnyEncoded>(x: T, { filterSize, strides, pad }: Pooling): T {
  const attrs = [filterSize, { strides, pad, dilations: [1, 1] }] as const
  const { shape } = x
  const [windows] = x.run('windows', [], { attrs })
  return x.recorded(windows, [x], [], (g: T) => g.run('windowsBack', [], { attrs: [...attrs, shape] }))
}

/** Every element moved by a ring element, whatever the scale. */
export function moved<T extends AnyEncoded>(x: T, by: bigint): T {
  const { encoding } = x
  const [result] = x.run('add', [{ tensor: ringOf(encoding.ring, [], [by]), encoding }])
  return x.recorded(result, [x], [], (g: T) => [g])
}

export function maxPool<T extends AnyEncoded>(x: T, filterSize: PairOf, strides: PairOf, pad: Padding): T {
  return scope(() => {
    const pooling = poolingOf('maxPool', x, filterSize, strides, pad)
    if (pad === 'valid' || pad === 0) return windowsOf(x, pooling).max(3)
    // The zeros beyond the edge must lose against every pixel.
    const floor = BEYOND[x.encoding.ring]
    return moved(windowsOf(moved(x, floor), pooling).max(3), -floor)
  })
}

export function avgPool<T extends AnyEncoded>(x: T, filterSize: PairOf, strides: PairOf, pad: Padding): T {
  return scope(() => {
    const pooling = poolingOf('avgPool', x, filterSize, strides, pad)
    const sums = windowsOf(x, pooling).sum(3)
    const attrs = { strides: pooling.strides, pad, dilations: [1, 1] } as const
    const { counts, shape } = coverage(x.shape, pooling.filterSize, attrs)
    const first = counts[0]!
    if (counts.every((count) => count === first)) return sums.dividedBy(first)
    if (!isFixed(x.encoding)) {
      throw sottoError('ERR_PRECISION', 'avgPool: the windows of integers differ in size; call fixPrecision() first')
    }
    const shares = Float64Array.from(counts, (count) => 1 / count)
    const factors: PublicOperand = {
      tensor: ringTensor(x.encoding.ring, shape, ring(x.encoding.ring).encode(shares, scaleOf(x.encoding))),
      encoding: x.encoding,
    }
    return timesPublic(sums, factors)
  })
}
