/** Kernels of a division with a helper (see `protocols/replicated/truncation.ts`), composed of others. */

import type { HelpedKernels, RingKernels, Source, Words } from './kernels.ts'
import { carriedBits, fewBytes, pack, unpack } from './packing.ts'
import { truncationOffset } from './truncation-offset.ts'

type Basic = Pick<RingKernels, 'bits' | 'add' | 'sub' | 'mul' | 'addScalar' | 'mulScalar' | 'truncationOf'>

/** Words of bytes, whatever offset these sit at. */
const wordsOf = (bytes: Uint8Array): Words => new BigUint64Array(bytes.slice().buffer)

export function helpedBy({ bits, add, sub, mul, addScalar, mulScalar, truncationOf }: Basic): HelpedKernels {
  const width = bits / 8
  const drawn = (source: Source, n: number): Words => wordsOf(source.next(width * n))
  /** Numbers of which the lowest bits alone are drawn. */
  const few = (source: Source, n: number, divisor: bigint): Words => {
    const bytes = source.next(fewBytes(bits, carriedBits(bits, divisor)) * n)
    return bytes.length === width * n ? wordsOf(bytes) : unpack(bits, bytes, 32, n)
  }
  const timesLess = (a: Words, b: Words, divisor: bigint): Words =>
    sub(mulScalar(a, 2n * truncationOffset(divisor, bits)), b)
  const given = (b: Words | Source, like: Words): Words => ('next' in b ? drawn(b, (8 * like.length) / width) : b)
  const sum2: HelpedKernels['sum2'] = (a, b, k) => addScalar(add(a, given(b, a)), k)

  return {
    sum2,
    sum3: (a, b, c, k) => sum2(add(a, b), c, k),

    dealDivision({ n, divisor, own, rA, rB, quotientA, topA, maskA, maskB }) {
      const mask = own === null ? null : drawn(own.mask, n)
      const common = add(drawn(rA, n), drawn(rB, n))
      const { quotient, top } = truncationOf(mask === null ? common : add(common, mask), divisor)
      const theirs = drawn(quotientA, n)
      const rest = sub(quotient, theirs)
      return {
        own: own === null ? null : add(own.summand, mask!),
        quotient: rest,
        top: pack(bits, sub(top, few(topA, n, divisor)), carriedBits(bits, divisor)),
        before: timesLess(few(maskB, n, divisor), rest, divisor),
        after: timesLess(few(maskA, n, divisor), theirs, divisor),
      }
    },

    carryDivision({ divisor, masked, theirs, helpers, quotient, top, mask }) {
      const n = (8 * masked.length) / width
      const opened = add(masked, theirs)
      const c = helpers === null ? opened : add(opened, helpers)
      const carried = carriedBits(bits, divisor)
      const tops = 'next' in top ? few(top, n, divisor) : unpack(bits, top, carried, n)
      const masks = few(mask, n, divisor)
      const { top: isSet } = truncationOf(c, 1n)
      const sign = addScalar(mulScalar(isSet, -2n), 1n)
      return {
        c,
        carry: pack(bits, sub(mul(sign, tops), masks), carried),
        component: timesLess(masks, drawn(quotient, n), divisor),
      }
    },

    closeDivision(c, mine, theirs, divisor) {
      const z = truncationOffset(divisor, bits)
      const { quotient, top } = truncationOf(c, divisor)
      const [one, other] = [mine, theirs].map((packed) =>
        unpack(bits, packed, carriedBits(bits, divisor), (8 * c.length) / width),
      ) as [Words, Words]
      const carries = add(add(one, other), top)
      return addScalar(add(quotient, mulScalar(carries, 2n * z)), -z)
    },
  }
}
