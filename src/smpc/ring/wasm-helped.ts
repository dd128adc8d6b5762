/** The kernels of a division with a helper (see `protocols/replicated/truncation.ts`) in WebAssembly, of 64 bits. */
import { unfilledBytes, unfilledWords } from '../../worker/memory-pool.ts'
import { isDivisor, sameLength } from './check.ts'
import type { HelpedKernels, Source, Words } from './kernels.ts'
import { carriedBits, fewBytes, packedBytes, piecesOf, widthsOf } from './packing.ts'
import { type Incoming, nothing, type Operand, operand, type Pointer, type Scratch } from './scratch.ts'
import { truncationOffset } from './truncation-offset.ts'

const words = (a: Words): Operand => operand(a, 64)
const drawn = (source: Source): Incoming => ({ source, bits: 64 })
/** An operand that is drawn, or there already: then of the length of another. */
function given(kernel: string, b: Words | Source, like: Words): Operand | Incoming {
  if ('next' in b) return drawn(b)
  sameLength(kernel, like, b)
  return words(b)
}

/** Packed elements, as operands: their low halves, and their high ones where these travel. */
const halvesOf = (packed: Uint8Array, bits: number, n: number): Operand[] =>
  piecesOf(packed, bits, n).map(({ piece, width }) => operand(piece, width))

export function helped64(scratch: Scratch): HelpedKernels {
  const { pointers } = scratch
  const [p0, p1, p2, p3, p4, p5, p6, p7, p8, p9, p10, p11, p12, p13] = pointers
  /** Packs words, into as many pieces as their bits take. */
  const pack = (outs: readonly Pointer[], from: Pointer, bits: number, n: number): void => {
    widthsOf(bits).forEach((width, half) => {
      scratch.kernels.pack(outs[half]!, from, 32 * half, width, n)
    })
  }
  const unpack = (out: Pointer, packed: readonly Pointer[], bits: number, n: number): void => {
    widthsOf(bits).forEach((width, half) => {
      scratch.kernels.unpack(out, packed[half]!, 32 * half, width, n)
    })
  }
  const isPacked = (kernel: string, packed: Uint8Array, bits: number, n: number): void =>
    sameLength(kernel, packed, { length: packedBytes(bits, n) })

  return {
    sum2(a, b, k) {
      const out = unfilledWords(a.length)
      scratch.inBlocks(a.length, [words(out)], [words(a), given('sum2', b, a)], (n) =>
        scratch.kernels.sum2(p0, p1, p2, k, n),
      )
      return out
    },

    sum3(a, b, c, k) {
      const out = unfilledWords(a.length)
      const inputs = [words(a), given('sum3', b, a), given('sum3', c, a)]
      scratch.inBlocks(a.length, [words(out)], inputs, (n) => scratch.kernels.sum3(p0, p1, p2, p3, k, n))
      return out
    },

    dealDivision({ n, divisor, own, rA, rB, quotientA, topA, maskA, maskB }) {
      isDivisor('dealDivision', divisor, 62)
      if (own !== null) sameLength('dealDivision', own.summand, { length: n })
      const bits = carriedBits(64, divisor)
      const isNarrow = fewBytes(64, bits) === 4
      const few = (source: Source): Incoming => ({ source, bits: isNarrow ? 32 : 64 })
      const z = truncationOffset(divisor, 64)
      const [quotient, before, after] = [unfilledWords(n), unfilledWords(n), unfilledWords(n)]
      const top = unfilledBytes(packedBytes(bits, n))
      const packed = halvesOf(top, bits, n)
      const masked = own === null ? null : unfilledWords(n)
      const high = packed[1] ?? nothing
      const outputs = [masked === null ? nothing : words(masked), words(quotient), words(before), words(after)]
      const inputs = [
        own === null ? nothing : words(own.summand),
        own === null ? nothing : drawn(own.mask),
        drawn(rA),
        drawn(rB),
        drawn(quotientA),
        few(topA),
        few(maskA),
        few(maskB),
      ]
      const [topAt, lowAt, highAt] = [pointers[14], p4, p5] as const
      const run = (count: number): void => {
        const [results, shared] = [
          [p0, p1, p2, p3, topAt],
          [p6, p7, p8, p9, p10, p11, p12, p13],
        ] as const
        scratch.kernels.dealDivision(...results, ...shared, own !== null, isNarrow, divisor, z, count)
        pack([lowAt, highAt], topAt, bits, count)
      }
      scratch.inBlocks(n, [...outputs, packed[0]!, high], inputs, run)
      return { own: masked, quotient, top, before, after }
    },

    carryDivision({ divisor, masked, theirs, helpers, quotient, top, mask }) {
      isDivisor('carryDivision', divisor, 62)
      sameLength('carryDivision', masked, theirs, ...(helpers === null ? [] : [helpers]))
      const n = masked.length
      const bits = carriedBits(64, divisor)
      const isNarrow = fewBytes(64, bits) === 4
      const few = (source: Source): Incoming => ({ source, bits: isNarrow ? 32 : 64 })
      const z = truncationOffset(divisor, 64)
      const [c, component] = [unfilledWords(n), unfilledWords(n)]
      const carry = unfilledBytes(packedBytes(bits, n))
      const packed = halvesOf(carry, bits, n)
      const isDrawn = 'next' in top
      if (!isDrawn) isPacked('carryDivision', top, bits, n)
      const tops = isDrawn ? [few(top)] : halvesOf(top, bits, n)
      const [topAt, carryAt] = [pointers[14], pointers[15]] as const
      const run = (count: number): void => {
        if (!isDrawn) unpack(topAt, [p8, p10], bits, count)
        const at = [p0, p1, carryAt, p4, p5, p6, p7, isDrawn ? p8 : topAt, p9] as const
        scratch.kernels.carryDivision(...at, helpers !== null, isDrawn && isNarrow, isNarrow, z, count)
        pack([p2, p3], carryAt, bits, count)
      }
      scratch.inBlocks(
        n,
        [words(c), words(component), packed[0]!, packed[1] ?? nothing],
        [
          words(masked),
          words(theirs),
          helpers === null ? nothing : words(helpers),
          drawn(quotient),
          tops[0]!,
          few(mask),
          tops[1] ?? nothing,
        ],
        run,
      )
      return { c, carry, component }
    },

    closeDivision(c, mine, theirs, divisor) {
      isDivisor('closeDivision', divisor, 62)
      const n = c.length
      const bits = carriedBits(64, divisor)
      isPacked('closeDivision', mine, bits, n)
      isPacked('closeDivision', theirs, bits, n)
      const z = truncationOffset(divisor, 64)
      const out = unfilledWords(n)
      const [[low, high = nothing], [otherLow, otherHigh = nothing]] = [mine, theirs].map((packed) =>
        halvesOf(packed, bits, n),
      ) as [[Operand, Operand?], [Operand, Operand?]]
      scratch.inBlocks(n, [words(out)], [words(c), low, high, otherLow, otherHigh], (count) => {
        unpack(p6, [p2, p3], bits, count)
        unpack(p7, [p4, p5], bits, count)
        scratch.kernels.closeDivision(p0, p1, p6, p7, divisor, z, count)
      })
      return out
    },
  }
}
