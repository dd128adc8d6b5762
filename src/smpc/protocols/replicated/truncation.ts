/**
 * Division of a secret by a public number, with the masks of a helper who takes no part in the opening (A. Dalskov,
 * D. Escudero, M. Keller, "Secure evaluation of quantized neural networks", ePrint 2019/131: the helper, and that it
 * changes from division to division; ePrint 2020/338 §5.1: the masks).
 *
 * The helper draws r with each of the other two, and knows ⌊(r mod 2^m) / divisor⌋ and r_m, m = l − 1. They open c = x +
 * 2^(l−2) + r, and with b = r_m XOR c_m and z = 2^(l−2) / divisor,
 *
 *   y = ⌊(c mod 2^m) / divisor⌋ − ⌊(r mod 2^m) / divisor⌋ + (2b − 1)·z.
 *
 * Terms of r are components that the helper knows. The term with c is the component that the two others have in common;
 * so is (2b − 1)·z, which the helper must not know, less a mask that it drew with each. Of a power of two 2^k, z is
 * 2^(l − 2 − k), and k + 1 bits of what multiplies 2z are all that counts: these alone travel.
 */

import type { RingBits, Words } from '../../ring/kernels.ts'
import { pack, packedBytes, unpack } from '../../ring/packing.ts'
import { bytesOf, concatenated, wordsOf } from '../../ring/tensor.ts'
import { truncationOffset } from '../../ring/truncation-offset.ts'
import type { Pair, Seat } from './seat.ts'

/** What is to be divided: components, or summands of all parties that are uniform each. */
export type Dividend = { readonly components: Pair<Words> } | { readonly summand: Words }

/** Bits of the multiple of 2z that travel. */
function carriedBits(ring: RingBits, divisor: number): number {
  const exponent = Math.log2(divisor)
  return Number.isInteger(exponent) ? exponent + 1 : ring
}

/** Bytes that all parties send for one element: what is opened, what is dealt, and what is reshared. */
export const truncationBytes = (ring: RingBits, divisor: number, count: number, isFused: boolean): number =>
  (isFused ? 5 : 3) * (ring / 8) * count + 3 * packedBytes(carriedBits(ring, divisor), count)

/**
 * x / divisor for −2^(l−2) ≤ x < 2^(l−2), its floor or one more, or within 1.5 units unless the divisor is a power of two.
 * Two rounds; 24 bytes and three times k + 1 bits an element in all, and 16 bytes more when summands are divided; of 128 bits
 * 48 and 32 bytes.
 */
export async function truncated(seat: Seat, dividend: Dividend, divisor: number): Promise<Pair<Words>> {
  const { kernels, ring } = seat
  const n = seat.count('summand' in dividend ? dividend.summand : dividend.components[0])
  const width = (ring / 8) * n
  const bits = carriedBits(ring, divisor)
  const z = truncationOffset(BigInt(divisor), ring)
  const parts = (drawn: Words, count: number): Words[] =>
    Array.from({ length: count }, (_, i) => seat.part(drawn, i * n, n))
  /** A component of what the helper dealt: 2z·mask − quotient. */
  const dealtComponent = (quotient: Words, mask: Words): Words => kernels.timesLess(mask, quotient, 2n * z)
  const isFused = 'summand' in dividend
  const carried = packedBytes(bits, n)

  if (seat.place === 0) {
    const [rA, quotientA, topA, maskA] = parts(seat.wordsAfter(4 * n), 4) as [Words, Words, Words, Words]
    const [rB, maskB] = parts(seat.wordsBefore(2 * n), 2) as [Words, Words]
    const { quotient, top } = kernels.truncationOf(kernels.add(rA, rB), BigInt(divisor))
    const quotientB = kernels.sub(quotient, quotientA)
    const dealt = concatenated([bytesOf(quotientB), pack(ring, kernels.sub(top, topA), bits)])
    // What all three have a summand of, the helper hands over: it is uniform to each of the others.
    const mine = isFused ? bytesOf(dividend.summand) : null
    await seat.swap(
      mine === null
        ? [[2, dealt]]
        : [
            [1, mine],
            [2, concatenated([mine, dealt])],
          ],
      [],
    )
    // The second step is the others' alone.
    await seat.swap([], [])
    return [dealtComponent(quotientB, maskB), dealtComponent(quotientA, maskA)]
  }

  const isFirst = seat.place === 1
  const drawn = isFirst ? seat.wordsBefore(4 * n) : seat.wordsAfter(2 * n)
  const r = seat.part(drawn, 0, n)
  const mask = seat.part(drawn, isFirst ? 3 * n : n, n)
  // The first of the two has two components, the second the one that is left.
  const [mine, next] = isFused ? [dividend.summand, null] : dividend.components
  const half = 1n << BigInt(ring - 2)
  const masked =
    isFirst && next !== null
      ? kernels.sum3(mine, next, r, half)
      : isFirst
        ? kernels.addScalar(kernels.add(mine, r), half)
        : kernels.add(next ?? mine, r)
  const other = isFirst ? 2 : 1
  const fromHelper = (isFused ? width : 0) + (isFirst ? 0 : width + carried)
  const [theirs, helpers] = await seat.swap(
    [[other, bytesOf(masked)]],
    isFused || !isFirst
      ? [
          [other, width],
          [0, fromHelper],
        ]
      : [[other, width]],
  )
  const c = isFused
    ? kernels.sum3(masked, wordsOf(theirs!), wordsOf(helpers!.subarray(0, width)), 0n)
    : kernels.add(masked, wordsOf(theirs!))
  const dealt = isFirst ? null : helpers!.subarray(helpers!.length - width - carried)
  const quotientShare = isFirst ? seat.part(drawn, n, n) : wordsOf(dealt!.subarray(0, width))
  const topShare = isFirst ? seat.part(drawn, 2 * n, n) : unpack(ring, dealt!.subarray(width), bits, n)

  // b = r_m XOR c_m is r_m or 1 − r_m, so that (2b − 1)·z = (1 − 2c_m)·(2z·r_m − z).
  const carry = pack(ring, kernels.maskedCarry(c, topShare, mask), bits)
  const [answer] = await seat.swap([[other, carry]], [[other, carried]])
  const common = kernels.openedTerm(c, unpack(ring, carry, bits, n), unpack(ring, answer!, bits, n), BigInt(divisor))
  const dealtToMe = dealtComponent(quotientShare, mask)
  return isFirst ? [dealtToMe, common] : [common, dealtToMe]
}
