/**
 * The kernels of Z_2^128 in plain JavaScript; see javascript.ts. What moves and adds elements works on quarters of them, 32
 * bits each, as numbers; what multiplies and divides, on whole ones.
 */
import { unfilledWords } from '../../worker/memory-pool.ts'
import { areIndices, encodeLimits, hasShape, isDivisor, notEncodable, notInt32, sameLength } from './check.ts'
import { digitsBy } from './digits.ts'
import { helpedBy } from './helped.ts'
import { isSet, javascriptKernels, turned } from './javascript.ts'
import type { DigitKernels, HelpedKernels, Planes, RingKernels, Words } from './kernels.ts'
import { truncationOffset } from './truncation-offset.ts'

const low127 = (1n << 127n) - 1n
/** The quarters of elements: those of element i from 4i on, the lowest first. */
const quarters = (a: Words): Uint32Array => new Uint32Array(a.buffer, a.byteOffset, 2 * a.length)
const signedQuarters = (a: Words): Int32Array => new Int32Array(a.buffer, a.byteOffset, 2 * a.length)
/** What the sum of two quarters adds to the next. No comparison: as a branch, it would be taken at random. */
const carry = (sum: number): number => (sum * 2 ** -32) | 0

/** How many elements there are, as a length. */
export const count = (a: Words): { readonly length: number } => ({ length: a.length / 2 })
const element = (a: Words, i: number): bigint => (a[2 * i + 1]! << 64n) | a[2 * i]!
/** A number mod 2^128, as element i. */
function put(out: Words, i: number, value: bigint): void {
  // Stores are mod 2^64.
  out[2 * i] = value
  out[2 * i + 1] = value >> 64n
}

/** A kernel that works on each pair of elements. */
const elementwise =
  (kernel: string, f: (x: bigint, y: bigint) => bigint) =>
  (a: Words, b: Words): Words => {
    sameLength(kernel, a, b)
    const out = new BigUint64Array(a.length)
    for (let i = 0; i < a.length / 2; i++) put(out, i, f(element(a, i), element(b, i)))
    return out
  }

/** A kernel that works on each element. */
function map(a: Words, f: (x: bigint, i: number) => bigint): Words {
  const out = new BigUint64Array(a.length)
  for (let i = 0; i < a.length / 2; i++) put(out, i, f(element(a, i), i))
  return out
}

/** Planes number `first` to `first + many` − 1 of elements. */
function planes(a: Words, first: number, many: number): Planes {
  const { length } = count(a)
  const bytes = Math.ceil(length / 8)
  const out = new Uint8Array(many * bytes)
  const from = quarters(a)
  for (let plane = first; plane < first + many; plane++) {
    const quarter = plane >> 5
    const at = (plane - first) * bytes
    for (let i = 0; i < length; i++) out[at + (i >> 3)]! |= ((from[4 * i + quarter]! >>> (plane & 31)) & 1) << (i & 7)
  }
  return out
}

/** Adds a quarter-wise number to that at `to`, mod 2^128. */
function accumulate(to: Uint32Array, at: number, from: Uint32Array, i: number): void {
  const first = to[at]! + from[i]!
  to[at] = first
  const second = to[at + 1]! + from[i + 1]! + carry(first)
  to[at + 1] = second
  const third = to[at + 2]! + from[i + 2]! + carry(second)
  to[at + 2] = third
  to[at + 3] = to[at + 3]! + from[i + 3]! + carry(third)
}

/** A double that holds 53 bits of a number of any size, its last bit set if more were cut off: rounded to odd. */
function toDouble(value: bigint): number {
  const magnitude = value < 0n ? -value : value
  const cut = BigInt(Math.max(0, magnitude.toString(2).length - 53))
  const kept = magnitude >> cut
  const odd = kept << cut === magnitude ? kept : kept | 1n
  const double = Number(odd) * 2 ** Number(cut)
  return value < 0n ? -double : double
}

/** Elements of Z_2^64, in two's complement, as those of Z_2^128 that stand for the same numbers. */
export function signExtended(a: Words): Words {
  const out = new BigUint64Array(2 * a.length)
  const [from, to] = [signedQuarters(a), signedQuarters(out)]
  for (let i = 0; i < a.length; i++) {
    to[4 * i] = from[2 * i]!
    to[4 * i + 1] = from[2 * i + 1]!
    to.fill(from[2 * i + 1]! >> 31, 4 * i + 2, 4 * i + 4)
  }
  return out
}

const { xor, and, beaverAnd, chacha20 } = javascriptKernels

const plain: Omit<RingKernels, keyof (HelpedKernels & DigitKernels)> = {
  name: 'javascript',
  bits: 128,
  xor,
  and,
  beaverAnd,
  chacha20,

  add: elementwise('add', (x, y) => x + y),
  sub: elementwise('sub', (x, y) => x - y),
  lessTwice: elementwise('lessTwice', (x, y) => x - 2n * y),
  mul: elementwise('mul', (x, y) => x * y),
  neg: (a) => map(a, (x) => -x),
  addScalar: (a, k) => map(a, (x) => x + k),
  mulScalar(a, k) {
    const factor = BigInt.asUintN(128, k)
    return map(a, (x) => x * factor)
  },

  beaver(c, a, b, d, e, addsPublic) {
    sameLength('beaver', c, a, b, d, e)
    const out = new BigUint64Array(c.length)
    for (let i = 0; i < c.length / 2; i++) {
      const [known, mask] = [element(e, i), element(b, i)]
      // d∘b + d∘e = d∘(b + e): the public product costs an addition.
      const y = addsPublic ? mask + known : mask
      put(out, i, element(c, i) + element(d, i) * y + element(a, i) * known)
    }
    return out
  },

  matMul(left, right, m, k, n, transposeA = false, transposeB = false) {
    hasShape('matMul', count(left), m, k)
    hasShape('matMul', count(right), k, n)
    const a = transposeA ? plain.transpose(left, k, m) : left
    const b = transposeB ? plain.transpose(right, n, k) : right
    const out = new BigUint64Array(2 * m * n)
    const columns = Array.from({ length: k * n }, (_, i) => element(b, i))
    for (let i = 0; i < m; i++) {
      const row = Array.from({ length: k }, (_, l) => element(a, i * k + l))
      for (let j = 0; j < n; j++) {
        let sum = 0n
        for (let l = 0; l < k; l++) sum += row[l]! * columns[l * n + j]!
        put(out, i * n + j, sum)
      }
    }
    return out
  },

  transpose(a, rows, columns) {
    hasShape('transpose', count(a), rows, columns)
    const out = unfilledWords(a.length)
    turned(quarters(a), quarters(out), rows, columns, 4)
    return out
  },

  sumRows(a, rows, columns) {
    hasShape('sumRows', count(a), rows, columns)
    const out = new BigUint64Array(2 * rows)
    const [from, to] = [quarters(a), quarters(out)]
    for (let row = 0; row < rows; row++) {
      for (let i = 4 * row * columns; i < 4 * (row + 1) * columns; i += 4) accumulate(to, 4 * row, from, i)
    }
    return out
  },

  sumColumns(a, rows, columns) {
    hasShape('sumColumns', count(a), rows, columns)
    const out = new BigUint64Array(2 * columns)
    const [from, to] = [quarters(a), quarters(out)]
    for (let row = 0; row < rows; row++) {
      for (let i = 0; i < 4 * columns; i += 4) accumulate(to, i, from, 4 * row * columns + i)
    }
    return out
  },

  cumulativeSum(a, rows, columns, exclusive, reverse) {
    hasShape('cumulativeSum', count(a), rows, columns)
    const out = new BigUint64Array(a.length)
    const [from, to] = [quarters(a), quarters(out)]
    const sum = new Uint32Array(4)
    // An exclusive sum stands one step further than an inclusive one, and the last of a row nowhere.
    const step = reverse ? -4 : 4
    const shift = exclusive ? step : 0
    for (let row = 0; row < rows; row++) {
      let at = 4 * (reverse ? (row + 1) * columns - 1 : row * columns)
      sum.fill(0)
      for (let left = exclusive ? columns - 1 : columns; left > 0; left--, at += step) {
        accumulate(sum, 0, from, at)
        to.set(sum, at + shift)
      }
    }
    return out
  },

  gather(a, indices) {
    areIndices('gather', indices, a.length / 2)
    const out = new BigUint64Array(2 * indices.length)
    const [from, to] = [quarters(a), quarters(out)]
    for (let i = 0; i < indices.length; i++) {
      const index = 4 * indices[i]!
      if (index < 0) continue
      to[4 * i] = from[index]!
      to[4 * i + 1] = from[index + 1]!
      to[4 * i + 2] = from[index + 2]!
      to[4 * i + 3] = from[index + 3]!
    }
    return out
  },

  scatterAdd(a, indices, length) {
    sameLength('scatterAdd', count(a), indices)
    areIndices('scatterAdd', indices, length)
    const out = new BigUint64Array(2 * length)
    const [from, to] = [quarters(a), quarters(out)]
    for (let i = 0; i < indices.length; i++) {
      const index = indices[i]!
      if (index >= 0) accumulate(to, 4 * index, from, 4 * i)
    }
    return out
  },

  divide(a, divisor) {
    isDivisor('divide', divisor, 63)
    return map(a, (x) => BigInt.asIntN(128, x) / divisor)
  },

  encode(values, scale) {
    const out = new BigUint64Array(2 * values.length)
    for (let i = 0; i < values.length; i++) {
      const scaled = values[i]! * scale
      if (!(Math.abs(scaled) < encodeLimits[128])) throw notEncodable(scale, 128)
      const floor = Math.floor(scaled)
      const fraction = scaled - floor
      // To the nearest, and of two to the even one. Above 2^53, where numbers are all even, no fraction is left.
      put(out, i, BigInt(fraction > 0.5 || (fraction === 0.5 && floor % 2 !== 0) ? floor + 1 : floor))
    }
    return out
  },

  decode(a, scale) {
    const out = new Float32Array(a.length / 2)
    // Rounded to odd first, 53 bits are rounded to the 24 of a float32 as the element itself would be.
    for (let i = 0; i < out.length; i++) out[i] = toDouble(BigInt.asIntN(128, element(a, i))) / scale
    return out
  },

  fromInt32(values) {
    const out = new BigUint64Array(2 * values.length)
    const to = signedQuarters(out)
    for (let i = 0; i < values.length; i++) {
      to[4 * i] = values[i]!
      to.fill(values[i]! >> 31, 4 * i + 1, 4 * i + 4)
    }
    return out
  },

  toInt32(a) {
    const out = new Int32Array(a.length / 2)
    const from = signedQuarters(a)
    for (let i = 0; i < out.length; i++) {
      const low = from[4 * i]!
      const sign = low >> 31
      if (from[4 * i + 1] !== sign || from[4 * i + 2] !== sign || from[4 * i + 3] !== sign) throw notInt32()
      out[i] = low
    }
    return out
  },

  truncationOf(r, divisor) {
    isDivisor('truncationOf', divisor, 62)
    return { quotient: map(r, (x) => (x & low127) / divisor), top: map(r, (x) => x >> 127n) }
  },

  truncate(c, quotient, top, divisor, addsPublic) {
    isDivisor('truncate', divisor, 62)
    sameLength('truncate', c, quotient, top)
    const offset = truncationOffset(divisor, 128)
    const one = addsPublic ? 1n : 0n
    const out = new BigUint64Array(c.length)
    for (let i = 0; i < c.length / 2; i++) {
      const [opened, bit] = [element(c, i), element(top, i)]
      const carried = opened > low127 ? one - bit : bit
      const open = addsPublic ? (opened & low127) / divisor - offset : 0n
      put(out, i, open - element(quotient, i) + 2n * offset * carried)
    }
    return out
  },

  toPlanes: (a) => planes(a, 0, 128),

  fromPlane(plane, length) {
    sameLength('fromPlane', plane, { length: Math.ceil(length / 8) })
    const out = new BigUint64Array(2 * length)
    const to = quarters(out)
    for (let i = 0; i < length; i++) to[4 * i] = (plane[i >> 3]! >> (i & 7)) & 1
    return out
  },

  flip(bits, x, base) {
    sameLength('flip', bits, { length: Math.ceil(x.length / 16) })
    if (typeof base !== 'bigint') sameLength('flip', x, base)
    return map(x, (value, i) => {
      if (!isSet(bits, i)) return value
      return (typeof base === 'bigint' ? base : element(base, i)) - value
    })
  },
  pick(bits, x, y) {
    sameLength('pick', bits, { length: Math.ceil(x.length / 16) })
    sameLength('pick', x, y)
    return map(x, (value, i) => (isSet(bits, i) ? value : 0n) - element(y, i))
  },
  lowestBits: (a) => planes(a, 0, 1),
}

export const javascriptKernels128: RingKernels = { ...plain, ...helpedBy(plain), ...digitsBy(plain) }
