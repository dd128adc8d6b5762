/**
 * The kernels of Z_2^64 in plain JavaScript, for where WebAssembly with SIMD is not to be had. Correct first: every result
 * equals that of wasm.ts, bit by bit.
 *
 * Words are copied and taken apart through views of 32 bits, never of doubles: an engine may rewrite the bits of a NaN.
 */
import { unfilledWords } from '../../worker/memory-pool.ts'
import {
  areIndices,
  chachaBlock,
  encodeLimits,
  hasShape,
  isDivisor,
  isKeyStream,
  notEncodable,
  notInt32,
  sameLength,
} from './check.ts'
import { digitsBy } from './digits.ts'
import { helpedBy } from './helped.ts'
import type { DigitKernels, HelpedKernels, Planes, RingKernels, Words } from './kernels.ts'
import { truncationOffset } from './truncation-offset.ts'

const word = (value: bigint): bigint => BigInt.asUintN(64, value)
const low63 = (1n << 63n) - 1n
/** The halves of words: the low one of word i at 2i, the high one at 2i + 1. */
const halves = (a: Words): Uint32Array => new Uint32Array(a.buffer, a.byteOffset, 2 * a.length)
const signedHalves = (a: Words): Int32Array => new Int32Array(a.buffer, a.byteOffset, 2 * a.length)
/** What the sum of two low halves adds to the high ones. No comparison: as a branch, it would be taken at random. */
const carry = (sum: number): number => (sum * 2 ** -32) | 0

/** Rows and columns of a tile that stays in the caches, whichever way it is walked through. */
const TILE = 16

/** [rows, columns] of elements of so many 32-bit parts, turned over. */
export function turned(from: Uint32Array, to: Uint32Array, rows: number, columns: number, parts: number): void {
  for (let top = 0; top < rows; top += TILE) {
    const bottom = Math.min(rows, top + TILE)
    for (let left = 0; left < columns; left += TILE) {
      const right = Math.min(columns, left + TILE)
      for (let column = left; column < right; column++) {
        let into = parts * (column * rows + top)
        for (let row = top; row < bottom; row++) {
          const at = parts * (row * columns + column)
          for (let part = 0; part < parts; part++) to[into++] = from[at + part]!
        }
      }
    }
  }
}

/** A kernel that works on each pair of words. */
const elementwise =
  (kernel: string, f: (x: bigint, y: bigint) => bigint) =>
  (a: Words, b: Words): Words => {
    sameLength(kernel, a, b)
    const out = new BigUint64Array(a.length)
    for (let i = 0; i < a.length; i++) out[i] = word(f(a[i]!, b[i]!))
    return out
  }

/** A kernel that works on each word. */
function map(a: Words, f: (x: bigint) => bigint): Words {
  const out = new BigUint64Array(a.length)
  for (let i = 0; i < a.length; i++) out[i] = word(f(a[i]!))
  return out
}

/** A kernel that works on each pair of bytes of planes. */
const bytewise =
  (kernel: string, f: (x: number, y: number) => number) =>
  (a: Planes, b: Planes): Planes => {
    sameLength(kernel, a, b)
    const out = new Uint8Array(a.length)
    for (let i = 0; i < a.length; i++) out[i] = f(a[i]!, b[i]!)
    return out
  }

/** Whether the bit of a value is set in a plane. */
export const isSet = (plane: Planes, i: number): boolean => ((plane[i >> 3]! >> (i & 7)) & 1) === 1

/** Planes number `first` to `first + count` − 1 of values. */
function planes(a: Words, first: number, count: number): Planes {
  const bytes = Math.ceil(a.length / 8)
  const out = new Uint8Array(count * bytes)
  const from = halves(a)
  for (let plane = first; plane < first + count; plane++) {
    const half = plane >> 5
    const at = (plane - first) * bytes
    for (let i = 0; i < a.length; i++) out[at + (i >> 3)]! |= ((from[2 * i + half]! >>> (plane & 31)) & 1) << (i & 7)
  }
  return out
}

const plain: Omit<RingKernels, keyof (HelpedKernels & DigitKernels)> = {
  name: 'javascript',
  bits: 64,

  add: elementwise('add', (x, y) => x + y),
  sub: elementwise('sub', (x, y) => x - y),
  lessTwice: elementwise('lessTwice', (x, y) => x - 2n * y),
  mul: elementwise('mul', (x, y) => x * y),
  neg: (a) => map(a, (x) => -x),
  addScalar: (a, k) => map(a, (x) => x + k),
  mulScalar(a, k) {
    const factor = word(k)
    return map(a, (x) => x * factor)
  },

  beaver(c, a, b, d, e, addsPublic) {
    sameLength('beaver', c, a, b, d, e)
    const out = new BigUint64Array(c.length)
    // d∘b + d∘e = d∘(b + e): the public product costs an addition.
    for (let i = 0; i < c.length; i++) {
      const y = addsPublic ? b[i]! + e[i]! : b[i]!
      out[i] = word(c[i]! + d[i]! * y + a[i]! * e[i]!)
    }
    return out
  },

  matMul(left, right, m, k, n, transposeA = false, transposeB = false) {
    hasShape('matMul', left, m, k)
    hasShape('matMul', right, k, n)
    const a = transposeA ? plain.transpose(left, k, m) : left
    const b = transposeB ? plain.transpose(right, n, k) : right
    const out = new BigUint64Array(m * n)
    for (let i = 0; i < m; i++) {
      for (let l = 0; l < k; l++) {
        const x = a[i * k + l]!
        for (let j = 0; j < n; j++) out[i * n + j] = word(out[i * n + j]! + x * b[l * n + j]!)
      }
    }
    return out
  },

  transpose(a, rows, columns) {
    hasShape('transpose', a, rows, columns)
    const out = unfilledWords(a.length)
    turned(halves(a), halves(out), rows, columns, 2)
    return out
  },

  sumRows(a, rows, columns) {
    hasShape('sumRows', a, rows, columns)
    const out = new BigUint64Array(rows)
    const from = halves(a)
    const to = halves(out)
    for (let row = 0; row < rows; row++) {
      let low = 0
      let high = 0
      for (let i = 2 * row * columns; i < 2 * (row + 1) * columns; i += 2) {
        const sum = low + from[i]!
        low = sum >>> 0
        high = (high + from[i + 1]! + carry(sum)) | 0
      }
      to[2 * row] = low
      to[2 * row + 1] = high
    }
    return out
  },

  sumColumns(a, rows, columns) {
    hasShape('sumColumns', a, rows, columns)
    const out = new BigUint64Array(columns)
    const from = halves(a)
    const to = halves(out)
    for (let row = 0; row < rows; row++) {
      const at = 2 * row * columns
      for (let i = 0; i < 2 * columns; i += 2) {
        const sum = to[i]! + from[at + i]!
        to[i + 1] = to[i + 1]! + from[at + i + 1]! + carry(sum)
        to[i] = sum
      }
    }
    return out
  },

  cumulativeSum(a, rows, columns, exclusive, reverse) {
    hasShape('cumulativeSum', a, rows, columns)
    const out = new BigUint64Array(a.length)
    const from = halves(a)
    const to = halves(out)
    // An exclusive sum stands one step further than an inclusive one, and the last of a row nowhere.
    const step = reverse ? -2 : 2
    const shift = exclusive ? step : 0
    for (let row = 0; row < rows; row++) {
      let at = 2 * (reverse ? (row + 1) * columns - 1 : row * columns)
      let low = 0
      let high = 0
      for (let left = exclusive ? columns - 1 : columns; left > 0; left--, at += step) {
        const sum = low + from[at]!
        low = sum >>> 0
        high = (high + from[at + 1]! + carry(sum)) | 0
        to[at + shift] = low
        to[at + shift + 1] = high
      }
    }
    return out
  },

  gather(a, indices) {
    areIndices('gather', indices, a.length)
    const out = new BigUint64Array(indices.length)
    const from = halves(a)
    const to = halves(out)
    for (let i = 0; i < indices.length; i++) {
      const index = indices[i]!
      if (index < 0) continue
      to[2 * i] = from[2 * index]!
      to[2 * i + 1] = from[2 * index + 1]!
    }
    return out
  },

  scatterAdd(a, indices, length) {
    sameLength('scatterAdd', a, indices)
    areIndices('scatterAdd', indices, length)
    const out = unfilledWords(length).fill(0n)
    const from = halves(a)
    const to = halves(out)
    for (let i = 0; i < indices.length; i++) {
      const index = indices[i]!
      if (index < 0) continue
      const sum = to[2 * index]! + from[2 * i]!
      to[2 * index] = sum
      to[2 * index + 1] = (to[2 * index + 1]! + from[2 * i + 1]! + carry(sum)) | 0
    }
    return out
  },

  divide(a, divisor) {
    isDivisor('divide', divisor, 63)
    return map(a, (x) => BigInt.asIntN(64, x) / divisor)
  },

  encode(values, scale) {
    const out = new BigUint64Array(values.length)
    const to = halves(out)
    // Below 2^51, adding 1.5·2^52 leaves no bits after the point, rounded to nearest and to even.
    const noFraction = 1.5 * 2 ** 52
    for (let i = 0; i < values.length; i++) {
      const scaled = values[i]! * scale
      if (!(Math.abs(scaled) < encodeLimits[64])) throw notEncodable(scale, 64)
      const whole = scaled + noFraction - noFraction
      // Stores of numbers wrap mod 2^32, so the low half needs no more.
      to[2 * i] = whole
      to[2 * i + 1] = Math.floor(whole / 2 ** 32)
    }
    return out
  },

  decode(a, scale) {
    const out = new Float32Array(a.length)
    const [low, high] = [halves(a), signedHalves(a)]
    // The first product is exact, so the sum is the word rounded once, as a conversion in one step would.
    for (let i = 0; i < a.length; i++) out[i] = (high[2 * i + 1]! * 2 ** 32 + low[2 * i]!) / scale
    return out
  },

  fromInt32(values) {
    const out = new BigUint64Array(values.length)
    const to = signedHalves(out)
    for (let i = 0; i < values.length; i++) {
      to[2 * i] = values[i]!
      to[2 * i + 1] = values[i]! >> 31
    }
    return out
  },

  toInt32(a) {
    const out = new Int32Array(a.length)
    const from = signedHalves(a)
    for (let i = 0; i < a.length; i++) {
      const low = from[2 * i]!
      if (from[2 * i + 1] !== low >> 31) throw notInt32()
      out[i] = low
    }
    return out
  },

  truncationOf(r, divisor) {
    isDivisor('truncationOf', divisor, 62)
    return { quotient: map(r, (x) => (x & low63) / divisor), top: map(r, (x) => x >> 63n) }
  },

  truncate(c, quotient, top, divisor, addsPublic) {
    isDivisor('truncate', divisor, 62)
    sameLength('truncate', c, quotient, top)
    const offset = truncationOffset(divisor, 64)
    const one = addsPublic ? 1n : 0n
    const out = new BigUint64Array(c.length)
    for (let i = 0; i < c.length; i++) {
      const opened = c[i]!
      const carry = opened > low63 ? one - top[i]! : top[i]!
      const open = addsPublic ? (opened & low63) / divisor - offset : 0n
      out[i] = word(open - quotient[i]! + 2n * offset * carry)
    }
    return out
  },

  toPlanes: (a) => planes(a, 0, 64),

  fromPlane(plane, length) {
    sameLength('fromPlane', plane, { length: Math.ceil(length / 8) })
    const out = new BigUint64Array(length)
    const to = halves(out)
    for (let i = 0; i < length; i++) to[2 * i] = (plane[i >> 3]! >> (i & 7)) & 1
    return out
  },

  flip(bits, x, base) {
    sameLength('flip', bits, { length: Math.ceil(x.length / 8) })
    if (typeof base !== 'bigint') sameLength('flip', x, base)
    // Stores are mod 2^64.
    return x.map((value, i) => (isSet(bits, i) ? (typeof base === 'bigint' ? base : base[i]!) - value : value))
  },
  pick(bits, x, y) {
    sameLength('pick', bits, { length: Math.ceil(x.length / 8) })
    sameLength('pick', x, y)
    return x.map((value, i) => (isSet(bits, i) ? value : 0n) - y[i]!)
  },
  lowestBits: (a) => planes(a, 0, 1),

  xor: bytewise('xor', (x, y) => x ^ y),
  and: bytewise('and', (x, y) => x & y),

  beaverAnd(c, a, b, d, e, addsPublic) {
    sameLength('beaverAnd', c, a, b, d, e)
    const mask = addsPublic ? 0xff : 0
    const out = new Uint8Array(c.length)
    for (let i = 0; i < c.length; i++) out[i] = c[i]! ^ (d[i]! & (b[i]! ^ (e[i]! & mask))) ^ (a[i]! & e[i]!)
    return out
  },

  chacha20(key, nonce, counter, length) {
    isKeyStream(key, nonce, counter, length)
    const out = new Uint8Array(length)
    const state = initialState(key, nonce)
    const block = new Uint32Array(16)
    const bytes = new Uint8Array(block.buffer)
    for (let at = 0, number = counter; at < length; at += chachaBlock, number++) {
      state[12] = number
      chachaBlockOf(state, block)
      out.set(at + chachaBlock <= length ? bytes : bytes.subarray(0, length - at), at)
    }
    return out
  },
}

export const javascriptKernels: RingKernels = { ...plain, ...helpedBy(plain), ...digitsBy(plain) }

/** RFC 8439 §2.3: the constants, the key, the counter (here 0), the nonce. */
function initialState(key: Uint8Array, nonce: Uint8Array): Uint32Array {
  const state = new Uint32Array(16)
  state.set([0x61707865, 0x3320646e, 0x79622d32, 0x6b206574])
  const bytes = new Uint8Array(state.buffer)
  bytes.set(key, 16)
  bytes.set(nonce, 52)
  return state
}

/** RFC 8439 §2.3.1: twenty rounds, ten on the columns and ten on the diagonals, and the state added on top. */
function chachaBlockOf(state: Uint32Array, out: Uint32Array): void {
  out.set(state)
  for (let round = 0; round < 20; round += 2) {
    quarterRound(out, 0, 4, 8, 12)
    quarterRound(out, 1, 5, 9, 13)
    quarterRound(out, 2, 6, 10, 14)
    quarterRound(out, 3, 7, 11, 15)
    quarterRound(out, 0, 5, 10, 15)
    quarterRound(out, 1, 6, 11, 12)
    quarterRound(out, 2, 7, 8, 13)
    quarterRound(out, 3, 4, 9, 14)
  }
  for (let i = 0; i < 16; i++) out[i]! += state[i]!
}

/** RFC 8439 §2.1. */
function quarterRound(x: Uint32Array, a: number, b: number, c: number, d: number): void {
  x[a]! += x[b]!
  x[d] = rotate(x[d]! ^ x[a]!, 16)
  x[c]! += x[d]!
  x[b] = rotate(x[b]! ^ x[c]!, 12)
  x[a]! += x[b]!
  x[d] = rotate(x[d]! ^ x[a]!, 8)
  x[c]! += x[d]!
  x[b] = rotate(x[b]! ^ x[c]!, 7)
}

const rotate = (x: number, bits: number): number => (x << bits) | (x >>> (32 - bits))
