/** Sorting, by a network: which elements are compared depends on how many there are, and on nothing else. */
import { noGrad, scope } from '../tensor/context.ts'
import { normalizeAxis } from '../tensor/shape.ts'
import type { AnyEncoded } from './encoded-tensor.ts'
import { BEYOND } from './encoding.ts'
import { moved } from './pooling.ts'
import type { RingBits } from './ring/kernels.ts'

/**
 * The elements along an axis, smallest first: K. E. Batcher's bitonic sorter ("Sorting networks and their applications",
 * AFIPS 1968), in the form in which every first comparison of a merge meets the other half backwards, so that all of them
 * put the smaller element first. ⌈log2 n⌉ · (⌈log2 n⌉ + 1) / 2 comparisons after one another, each of all pairs at once.
 * No gradient.
 */
export function sort<T extends AnyEncoded>(x: T, axis: number, descending: boolean): T {
  return scope(() =>
    noGrad(() => {
      const at = normalizeAxis('sort', axis, x.rank)
      const last = x.rank - 1
      const swapped = Array.from({ length: x.rank }, (_, i) => (i === at ? last : i === last ? at : i))
      const turned = x.transpose(swapped)
      const length = x.shape[at]!
      if (x.size === 0 || length === 1) return x.clone()
      const sorted = sortedRows(turned.reshape([x.size / length, length])).reshape(turned.shape)
      return (descending ? sorted.reverse(last) : sorted).transpose(swapped)
    }),
  )
}

/** Each row of [count, length], from its smallest element on. */
function sortedRows<T extends AnyEncoded>(x: T): T {
  const [count, length] = x.shape as [number, number]
  const whole = 2 ** Math.ceil(Math.log2(length))
  if (whole === length) return network(x)
  // What stands for no element comes last.
  const ceiling = BEYOND[x.encoding.ring as RingBits]
  const below = moved(x, -ceiling) as T
  const padded = below.pad([
    [0, 0],
    [0, whole - length],
  ])
  return moved(network(padded).slice([0, 0], [count, length]), ceiling) as T
}

function network<T extends AnyEncoded>(rows: T): T {
  const length = rows.shape[1]!
  let x: T = rows
  for (let run = 2; run <= length; run *= 2) {
    x = compared(x, run / 2, true)
    for (let half = run / 4; half >= 1; half /= 2) x = compared(x, half, false)
  }
  return x.reshape(rows.shape)
}

/** Puts the smaller of each pair first: of runs of twice `half`, each element and the one half a run on, or mirrored. */
function compared<T extends AnyEncoded>(x: T, half: number, isMirrored: boolean): T {
  const runs = x.size / (2 * half)
  const pairs = x.reshape([runs, 2, half])
  const first = pairs.slice([0, 0, 0], [runs, 1, half])
  const other = pairs.slice([0, 1, 0], [runs, 1, half])
  const second = isMirrored ? other.reverse(2) : other
  const difference = second.sub(first)
  // What the first is larger by passes from one to the other.
  const [, passed] = difference.negativeAnd([difference])
  const larger = second.sub(passed!)
  return first.add(passed!).concat(isMirrored ? larger.reverse(2) : larger, 1)
}
