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
 * Of a product, which the parties still have as summands, the helper hands its own over behind a mask of its own, and r is
 * the sum of that mask and of what it draws with each: whatever one of the others receives is masked by what it does not
 * know, and no words of zero are needed besides.
 *
 * Terms of r are components that the helper knows. The term with c is the component that the two others have in common;
 * so is (2b − 1)·z, which the helper must not know, less a mask that it drew with each. Of a power of two 2^k, z is
 * 2^(l − 2 − k), and k + 1 bits of what multiplies 2z are all that counts: these alone travel.
 */
import { recycle } from '../../../worker/memory-pool.ts'
import { Prg, randomSeed, sourceOf } from '../../prg.ts'
import type { RingBits, Words } from '../../ring/kernels.ts'
import { carriedBits, fewBytes, packedBytes } from '../../ring/packing.ts'
import { bytesOf, concatenated, wordsOf } from '../../ring/tensor.ts'
import type { Pair, Seat } from './seat.ts'

/** What is to be divided: components, or summands of all parties. */
export type Dividend = { readonly components: Pair<Words> } | { readonly summand: Words }

/** Bytes that all parties send for one element: what is opened, what is dealt, and what is reshared. */
export const truncationBytes = (ring: RingBits, divisor: number, count: number, isFused: boolean): number =>
  (isFused ? 5 : 3) * (ring / 8) * count + 3 * packedBytes(carriedBits(ring, BigInt(divisor)), count)

/**
 * x / divisor for −2^(l−2) ≤ x < 2^(l−2), its floor or one more, or within 1.5 units unless the divisor is a power of two.
 * Two rounds; 24 bytes and three times k + 1 bits an element in all, and 16 bytes more when summands are divided; of 128 bits
 * 48 and 32 bytes.
 */
export async function truncated(seat: Seat, dividend: Dividend, by: number): Promise<Pair<Words>> {
  const { kernels, ring } = seat
  const divisor = BigInt(by)
  const n = seat.count('summand' in dividend ? dividend.summand : dividend.components[0])
  const bits = carriedBits(ring, divisor)
  const [width, drawn, carried] = [(ring / 8) * n, fewBytes(ring, bits) * n, packedBytes(bits, n)]

  if (seat.place === 0) {
    const [rA, quotientA, topA, maskA] = seat.sourcesAfter(width, width, drawn, drawn)
    const [rB, maskB] = seat.sourcesBefore(width, drawn)
    const own =
      'summand' in dividend
        ? { summand: dividend.summand, mask: new Prg(randomSeed()).stream(0).sources(width)[0]! }
        : null
    const shared = { rA: rA!, rB: rB!, quotientA: quotientA!, topA: topA!, maskA: maskA!, maskB: maskB! }
    const dealt = kernels.dealDivision({ n, divisor, own, ...shared })
    const mine = dealt.own === null ? [] : [bytesOf(dealt.own)]
    const toSecond = concatenated([...mine, bytesOf(dealt.quotient), dealt.top])
    recycle(dealt.quotient, dealt.top)
    await seat.swap([...mine.map((data) => [1, data] as const), [2, toSecond]], [])
    // The second step is the others' alone.
    await seat.swap([], [])
    return [dealt.before, dealt.after]
  }

  const isFirst = seat.place === 1
  const drawing = isFirst ? seat.sourcesBefore(width, width, drawn, drawn) : seat.sourcesAfter(width, drawn)
  const [r, mask] = [drawing[0]!, drawing.at(-1)!]
  const half = 1n << BigInt(ring - 2)
  const masked = ((): Words => {
    if ('summand' in dividend) return kernels.sum2(dividend.summand, r, isFirst ? half : 0n)
    // The first of the two has two components, the second the one that is left.
    const [mine, next] = dividend.components
    return isFirst ? kernels.sum3(mine, next, r, half) : kernels.sum2(next, r, 0n)
  })()
  const other = isFirst ? 2 : 1
  const isFused = 'summand' in dividend
  const fromHelper = (isFused ? width : 0) + (isFirst ? 0 : width + carried)
  const [theirs, handed] = await seat.swap(
    [[other, bytesOf(masked)]],
    isFused || !isFirst
      ? [
          [other, width],
          [0, fromHelper],
        ]
      : [[other, width]],
  )
  const helpers = isFused ? wordsOf(handed!.subarray(0, width)) : null
  const dealt = handed?.subarray(isFused ? width : 0)
  const { c, carry, component } = kernels.carryDivision({
    divisor,
    masked,
    theirs: wordsOf(theirs!),
    helpers,
    quotient: isFirst ? drawing[1]! : sourceOf(dealt!.subarray(0, width)),
    top: isFirst ? drawing[2]! : dealt!.subarray(width),
    mask,
  })
  // b = r_m XOR c_m is r_m or 1 − r_m, so that (2b − 1)·z = (1 − 2c_m)·(2z·r_m − z).
  const [answer] = await seat.swap([[other, carry]], [[other, carried]])
  const common = kernels.closeDivision(c, carry, answer!, divisor)
  recycle(c, theirs!, answer!, ...(handed === undefined ? [] : [handed]))
  return isFirst ? [component, common] : [common, component]
}
