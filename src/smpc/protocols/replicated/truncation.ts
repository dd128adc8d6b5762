/**
 * Division of a secret by a public number, with the masks of a helper who takes no part in the opening (A. Dalskov,
 * D. Escudero, M. Keller, "Secure evaluation of quantized neural networks", ePrint 2019/131: the helper, and that it
 * changes from division to division; ePrint 2020/338 §5.1: the masks).
 *
 * The helper draws r with each of the other two, and knows ⌊(r mod 2^63) / divisor⌋ and r_63. They open c = x + 2^62 + r,
 * and with b = r_63 XOR c_63 and z = 2^62 / divisor,
 *
 *   y = ⌊(c mod 2^63) / divisor⌋ − ⌊(r mod 2^63) / divisor⌋ + (2b − 1)·z.
 *
 * Terms of r are components that the helper knows. The term with c is the component that the two others have in common;
 * so is (2b − 1)·z, which the helper must not know, less a mask that it drew with each. Of a power of two 2^m, z is
 * 2^(62 − m), and m + 1 bits of what multiplies 2z are all that counts: these alone travel.
 */
import { ring } from '../../ring/choose.ts'
import { truncationOffset } from '../../ring/javascript.ts'
import type { Words } from '../../ring/kernels.ts'
import { pack, packedBytes, unpack } from '../../ring/packing.ts'
import { bytesOf, concatenated, wordsOf } from '../../ring/tensor.ts'
import type { Pair, Seat } from './seat.ts'

const HALF = 1n << 62n

/** What is to be divided: components, or summands of all parties that are uniform each. */
export type Dividend = { readonly components: Pair<Words> } | { readonly summand: Words }

/** Bits of the multiple of 2z that travel. */
function carriedBits(divisor: number): number {
  const exponent = Math.log2(divisor)
  return Number.isInteger(exponent) ? exponent + 1 : 64
}

/** Bytes that all parties send for one element: what is opened, what is dealt, and what is reshared. */
export const truncationBytes = (divisor: number, count: number, isFused: boolean): number =>
  (isFused ? 16 * count : 0) + 24 * count + 3 * packedBytes(carriedBits(divisor), count)

/**
 * x / divisor for −2^62 ≤ x < 2^62, its floor or one more, or within 1.5 units unless the divisor is a power of two.
 * Two rounds; 24 bytes and three times m + 1 bits an element in all, and 16 bytes more when summands are divided.
 */
export async function truncated(seat: Seat, dividend: Dividend, divisor: number): Promise<Pair<Words>> {
  const n = 'summand' in dividend ? dividend.summand.length : dividend.components[0].length
  const bits = carriedBits(divisor)
  const twoZ = 2n * truncationOffset(BigInt(divisor))
  const isFused = 'summand' in dividend
  const carried = packedBytes(bits, n)

  if (seat.place === 0) {
    const [rA, quotientA, topA, maskA] = four(seat.wordsAfter(4 * n), n)
    const [rB, maskB] = two(seat.wordsBefore(2 * n), n)
    const { quotient, top } = ring().truncationOf(ring().add(rA, rB), BigInt(divisor))
    const quotientB = ring().sub(quotient, quotientA)
    const dealt = concatenated([bytesOf(quotientB), pack(ring().sub(top, topA), bits)])
    // What all three have a summand of, the helper hands over: it is uniform to each of the others.
    const mine = isFused ? bytesOf(dividend.summand) : null
    await seat.swap(
      mine === null ? [[2, dealt]] : [[1, mine], [2, concatenated([mine, dealt])]], // biome-ignore format: pairs
      [],
    )
    // The second step is the others' alone.
    await seat.swap([], [])
    return [dealtComponent(quotientB, maskB, twoZ), dealtComponent(quotientA, maskA, twoZ)]
  }

  const isFirst = seat.place === 1
  const drawn = isFirst ? seat.wordsBefore(4 * n) : seat.wordsAfter(2 * n)
  const r = drawn.subarray(0, n)
  const mask = drawn.subarray(isFirst ? 3 * n : n)
  // The first of the two has two components, the second the one that is left.
  const [mine, next] = isFused ? [dividend.summand, null] : dividend.components
  const x = next === null ? mine : isFirst ? ring().add(mine, next) : next
  const shifted = ring().add(isFirst ? ring().addScalar(x, HALF) : x, r)
  const other = isFirst ? 2 : 1
  const fromHelper = (isFused ? 8 * n : 0) + (isFirst ? 0 : 8 * n + carried)
  const [theirs, helpers] = await seat.swap(
    [[other, bytesOf(shifted)]],
    isFused || !isFirst ? [[other, 8 * n], [0, fromHelper]] : [[other, 8 * n]], // biome-ignore format: pairs
  )
  const opened = ring().add(shifted, wordsOf(theirs!))
  const c = isFused ? ring().add(opened, wordsOf(helpers!.subarray(0, 8 * n))) : opened
  const dealt = isFirst ? null : helpers!.subarray(helpers!.length - 8 * n - carried)
  const quotientShare = isFirst ? drawn.subarray(n, 2 * n) : wordsOf(dealt!.subarray(0, 8 * n))
  const topShare = isFirst ? drawn.subarray(2 * n, 3 * n) : unpack(dealt!.subarray(8 * n), bits, n)

  const { quotient, top } = ring().truncationOf(c, BigInt(divisor))
  // b = r_63 XOR c_63 is r_63 or 1 − r_63, so that (2b − 1)·z = (1 − 2c_63)·(2z·r_63 − z).
  const sign = ring().addScalar(ring().mulScalar(top, -2n), 1n)
  const masked = pack(ring().sub(ring().mul(sign, topShare), mask), bits)
  const [answer] = await seat.swap([[other, masked]], [[other, carried]])
  const carry = ring().add(unpack(masked, bits, n), unpack(answer!, bits, n))
  const multiple = ring().mulScalar(ring().add(carry, top), twoZ)
  const common = ring().addScalar(ring().add(quotient, multiple), -(twoZ / 2n))
  const dealtToMe = dealtComponent(quotientShare, mask, twoZ)
  return isFirst ? [dealtToMe, common] : [common, dealtToMe]
}

/** A component of what the helper dealt: 2z·mask − quotient. */
const dealtComponent = (quotient: Words, mask: Words, twoZ: bigint): Words =>
  ring().sub(ring().mulScalar(mask, twoZ), quotient)

const two = (drawn: Words, n: number): [Words, Words] => [drawn.subarray(0, n), drawn.subarray(n)]
const four = (drawn: Words, n: number): [Words, Words, Words, Words] => [
  ...two(drawn.subarray(0, 2 * n), n),
  ...two(drawn.subarray(2 * n), n),
]
