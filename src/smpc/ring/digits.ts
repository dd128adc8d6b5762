/**
 * Thermometer codes of digits, by which numbers are compared of which one is secret and one is known.
 *
 * An element has l/4 digits of four bits. The code of a digit d is d ≥ 1, d ≥ 2, …, d ≥ 15: the truth table of what is asked
 * of it. For a c that is known, c < d and c = d are d ≥ c + 1 and (d ≥ c) ⊕ (d ≥ c + 1), places in the table. To look them up
 * is linear, so whoever has a share of the table has by himself a share of the answer: function secret sharing (E. Boyle, N.
 * Gilboa, Y. Ishai, EUROCRYPT 2015) of a function of so few inputs that its table is shorter than keys would be.
 */
import { sottoError } from '../../errors.ts'
import { sameLength } from './check.ts'
import type { DigitKernels, Planes, RingBits, RingKernels, Words } from './kernels.ts'

/** Bits of a digit. */
export const DIGIT = 4
/** Digits of an element. */
export const digitsOf = (bits: RingBits): number => bits / DIGIT
/** Planes of a digit's code. */
export const CODE = 2 ** DIGIT - 1
/** Values whose codes lie together, plane after plane, in memory as between workers: as many as scratch has room for. */
export const TOGETHER = 4032
/** Digits that are subtracted at once, at most: there is no room for more results (see `scratch.ts`). */
export const MOST_SUBTRACTED = 16
/** Bytes that codes of so many digits take, of so many values. */
export const codeBytes = (digits: number, count: number): number => CODE * digits * Math.ceil(count / 8)

/** @throws RangeError `ERR_SHAPE` for codes that are not of so many digits of so many values, and for no such digits */
export function areCodes(kernel: string, codes: Planes, digits: number, count: number, most: number): void {
  areDigits(kernel, digits, most)
  sameLength(kernel, codes, { length: codeBytes(digits, count) })
}

export function areDigits(kernel: string, digits: number, most: number): void {
  if (Number.isInteger(digits) && digits >= 1 && digits <= most) return
  throw sottoError('ERR_SHAPE', `${kernel}: 1 to ${most} digits expected, got ${digits}`, { digits })
}

/** Where a byte of planes is: in the block from a byte on, whose planes are of so many bytes. */
interface Place {
  readonly from: number
  readonly at: number
  readonly stride: number
}

/** The kernels for where there is no WebAssembly: eight values at once, bit by bit of a byte. See `assembly/ring/digits.ts`. */
export function digitsBy({ bits, toPlanes }: Pick<RingKernels, 'bits' | 'toPlanes'>): DigitKernels {
  const limbs = bits / 64

  /** Calls back for each byte of each digit of each block, with the bits of the digit. */
  function everyByte(
    a: Words,
    digits: number,
    visit: (digit: number, place: Place, bits: readonly number[]) => void,
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
  const codeAt = (digits: number, digit: number, t: number, { from, at, stride }: Place): number =>
    CODE * digits * from + (CODE * digit + t - 1) * stride + at

  /** From codes and c, several planes for each digit. */
  function lookUp(
    codes: Planes,
    c: Words,
    digits: number,
    planes: number,
    /** Of a digit: its code, from d ≥ 0 to d ≥ 16, less what is not this party's; and the bits of c. */
    answer: (code: readonly number[], bits: readonly number[], digit: number) => readonly number[],
    addsPublic: boolean,
    /** Which plane of all is that of an answer. */
    placeOf: (digit: number, which: number) => number,
  ): Planes {
    const whole = Math.ceil(c.length / limbs / 8)
    const out = new Uint8Array(planes * digits * whole)
    everyByte(c, digits, (digit, place, b) => {
      const code = Array.from({ length: 17 }, (_, t) => {
        if (t === 0 || t === 16) return t === 0 && addsPublic ? 0xff : 0
        return codes[codeAt(digits, digit, t, place)]!
      })
      answer(code, b, digit).forEach((value, which) => {
        out[placeOf(digit, which) * whole + place.from + place.at] = value
      })
    })
    return out
  }
  /** One of a list, by as many bits as its length has. */
  const chosen = (list: readonly number[], b: readonly number[]): number => {
    let left = list
    for (let i = 0; left.length > 1; i++) {
      const bit = b[i]!
      left = Array.from({ length: left.length / 2 }, (_, j) => (bit & left[2 * j + 1]!) | (~bit & left[2 * j]!))
    }
    return left[0]!
  }

  return {
    thermometers(a, digits) {
      areDigits('thermometers', digits, digitsOf(bits))
      const out = new Uint8Array(codeBytes(digits, a.length / limbs))
      everyByte(a, digits, (digit, place, b) => {
        // Of the highest t on: d ≥ t where d ≥ t + 1, or d = t.
        let atLeast = 0
        for (let t = CODE; t > 0; t--) {
          atLeast |= b.reduce((same, bit, i) => same & ((t >> i) & 1 ? bit : ~bit), 0xff)
          out[codeAt(digits, digit, t, place)] = atLeast
        }
      })
      return out
    },

    compareDigits(codes, c, digits, isSigned, addsPublic) {
      areCodes('compareDigits', codes, digits, c.length / limbs, digitsOf(bits))
      const answer = (code: readonly number[], b: readonly number[], digit: number): readonly number[] => {
        const [at, next] = [chosen(code.slice(0, 16), b), chosen(code.slice(1), b)]
        if (!isSigned || digit < digits - 1) return [at ^ next, next]
        const across = [b[0]!, b[1]!, b[2]!, ~b[3]!]
        const [atOther, nextOther] = [chosen(code.slice(0, 16), across), chosen(code.slice(1), across)]
        return [at ^ next ^ atOther ^ nextOther, next ^ nextOther ^ (b[3]! & code[0]!)]
      }
      return lookUp(codes, c, digits, 2, answer, addsPublic, (digit, which) => which * digits + digit)
    },

    subtractDigits(codes, c, digits, addsPublic) {
      areCodes('subtractDigits', codes, digits, c.length / limbs, MOST_SUBTRACTED)
      const answer = (code: readonly number[], b: readonly number[]): readonly number[] => {
        const one = code[0]!
        /** Of bit i: sums of the places 2^i apart, from each remainder on; place 0 is left out. */
        const sums = (i: number): number[] =>
          Array.from({ length: 2 ** i }, (_, rest) =>
            code.reduce((sum, value, t) => (t > 0 && t % 2 ** i === rest ? sum ^ value : sum), 0),
          )
        const after = (list: readonly number[]): number[] => [...list.slice(1), list[0]!]
        const bitOf = (i: number): number => (b[i]! & one) ^ chosen(after(sums(i)), b)
        const flipOf = (i: number): number => {
          const [first, ...rest] = sums(i)
          return chosen(after(sums(i)), b) ^ chosen([first! ^ one, ...rest], b)
        }
        return [bitOf(0), bitOf(1), bitOf(2), bitOf(3), flipOf(1), flipOf(2), flipOf(3)]
      }
      return lookUp(codes, c, digits, 7, answer, addsPublic, (digit, which) =>
        which < 4 ? 4 * digit + which : 4 * digits + 3 * digit + which - 4,
      )
    },
  }
}
