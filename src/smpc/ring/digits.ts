/**
 * Thermometer codes of digits, by which numbers are compared of which one is secret and one is known.
 *
 * An element has l/4 digits of four bits. The code of a digit d is d ≥ 1, d ≥ 2, …, d ≥ 15: the truth table of what is asked
 * of it. For a c that is known, c < d and c = d are d ≥ c + 1 and (d ≥ c) ⊕ (d ≥ c + 1), places in the table. To look them up
 * is linear, so whoever has a share of the table has by himself a share of the answer: function secret sharing (E. Boyle, N.
 * Gilboa, Y. Ishai, EUROCRYPT 2015) of a function of so few inputs that its table is shorter than keys would be.
 */
import { sameLength } from './check.ts'
import type { DigitKernels, Planes, RingBits, RingKernels, Words } from './kernels.ts'

/** Digits of an element. */
export const digitsOf = (bits: RingBits): number => bits / 4
/** Planes of a digit's code. */
export const CODE = 15
/** Values whose codes lie together, plane after plane. */
export const TOGETHER = 4032
/** Bytes that codes take of so many values. */
export const codeBytes = (bits: RingBits, count: number): number => CODE * digitsOf(bits) * Math.ceil(count / 8)

/** What codes are for, value by value of 4 bits: here of eight values at once, bit by bit of a byte. */
export function digitsBy({ bits, toPlanes }: Pick<RingKernels, 'bits' | 'toPlanes'>): DigitKernels {
  const limbs = bits / 64
  const digits = digitsOf(bits)

  /** Calls back for each byte of each digit of each block, with the bits of the digit. */
  function everyByte(
    a: Words,
    visit: (digit: number, place: { from: number; at: number; stride: number }, b: readonly number[]) => void,
  ): void {
    for (let from = 0; from < a.length / limbs; from += TOGETHER) {
      const planes = toPlanes(a.subarray(limbs * from, limbs * (from + TOGETHER)))
      const stride = planes.length / bits
      for (let digit = 0; digit < digits; digit++) {
        for (let at = 0; at < stride; at++) {
          const b = [0, 1, 2, 3].map((i) => planes[(4 * digit + i) * stride + at]!)
          visit(digit, { from: from / 8, at, stride }, b)
        }
      }
    }
  }
  const codeAt = (digit: number, t: number, { from, at, stride }: { from: number; at: number; stride: number }) =>
    CODE * digits * from + (CODE * digit + t - 1) * stride + at

  return {
    thermometers(a) {
      const out = new Uint8Array(codeBytes(bits, a.length / limbs))
      everyByte(a, (digit, place, b) => {
        // Of the highest t on: d ≥ t where d ≥ t + 1, or d = t.
        let atLeast = 0
        for (let t = CODE; t > 0; t--) {
          atLeast |= b.reduce((same, bit, i) => same & ((t >> i) & 1 ? bit : ~bit), 0xff)
          out[codeAt(digit, t, place)] = atLeast
        }
      })
      return out
    },

    compareDigits(codes, c, isSigned, addsPublic) {
      const n = c.length / limbs
      sameLength('compareDigits', codes, { length: codeBytes(bits, n) })
      const whole = Math.ceil(n / 8)
      const out = new Uint8Array(2 * digits * whole)
      const one = addsPublic ? 0xff : 0
      everyByte(c, (digit, place, b) => {
        const table = Array.from({ length: 17 }, (_, t) =>
          t === 0 ? one : t === 16 ? 0 : codes[codeAt(digit, t, place)]!,
        )
        const look = (from: number, chosen: readonly number[]): number =>
          chosen.reduce(
            (list, bit, i) => list.map((_, j) => (bit & list[j + 2 ** i]!) | (~bit & list[j]!)),
            table.slice(from),
          )[0]!
        const low = b.slice(0, 3)
        const pairFrom = (t: number): readonly [number, number] => [look(t, low), look(t + 8, low)]
        const [at, next] = [pairFrom(0), pairFrom(1)]
        // See `assembly/ring/digits.ts`.
        const high = b[3]!
        const pick = ([x, y]: readonly [number, number]) => (high & y) | (~high & x)
        const isTop = isSigned && digit === digits - 1
        const below = isTop ? next[0] ^ next[1] ^ (high & one) : pick(next)
        const same = isTop ? at[0] ^ at[1] ^ next[0] ^ next[1] : pick(at) ^ below
        out[digit * whole + place.from + place.at] = same
        out[(digits + digit) * whole + place.from + place.at] = below
      })
      return out
    },
  }
}
