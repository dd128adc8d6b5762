/**
 * The kernels of the ring, slow and obvious: what each one means, a value at a time, in whole numbers without bounds.
 *
 * Encoding and decoding round as doubles do; the key stream is that of OpenSSL.
 */
import { createCipheriv } from 'node:crypto'
import type { RingBits, RingKernels } from '../../src/smpc/ring/kernels.ts'

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i)
const sum = (values: readonly bigint[]): bigint => values.reduce((total, value) => total + value, 0n)
const bitOf = (word: bigint, bit: number): boolean => ((word >> BigInt(bit)) & 1n) === 1n

function planeOf(bits: readonly boolean[]): Uint8Array {
  const plane = new Uint8Array(Math.ceil(bits.length / 8))
  for (const [i, bit] of bits.entries()) if (bit) plane[i >> 3]! |= 1 << (i & 7)
  return plane
}

/** The nearest whole number, the even one of two. */
function rounded(x: number): bigint {
  const floor = Math.floor(x)
  const fraction = x - floor
  const up = fraction > 0.5 || (fraction === 0.5 && floor % 2 !== 0)
  return BigInt(floor) + (up ? 1n : 0n)
}

const bytewise = (a: Uint8Array, f: (i: number) => number): Uint8Array => Uint8Array.from(a, (_, i) => f(i))

/** The float32 next to value / 2^bits, the even one of two; from whole numbers alone. */
function nearestFloat32(value: bigint, bits: number): number {
  const magnitude = value < 0n ? -value : value
  // 24 bits of it, at most.
  const cut = BigInt(Math.max(0, magnitude.toString(2).length - 24))
  const [kept, rest, half] = [magnitude >> cut, magnitude & ((1n << cut) - 1n), (1n << cut) >> 1n]
  const isUp = cut > 0n && (rest > half || (rest === half && kept % 2n === 1n))
  const float = Number(isUp ? kept + 1n : kept) * 2 ** (Number(cut) - bits)
  return value < 0n ? -float : float
}

/** A whole number as a double of 53 bits, the last one set if any were cut off: rounded to odd. */
function oddDouble(value: bigint): number {
  if (value < 0n) return -oddDouble(-value)
  let [left, power, lost] = [value, 1, false]
  while (left >= 2n ** 53n) {
    lost ||= left % 2n === 1n
    left /= 2n
    power *= 2
  }
  return Number(lost && left % 2n === 0n ? left + 1n : left) * power
}

function kernelsOf(bits: RingBits): Omit<RingKernels, 'name'> {
  const limbs = bits / 64
  const top = BigInt(bits - 1)
  const list = (a: BigUint64Array): bigint[] =>
    range(a.length / limbs).map((i) => (limbs === 1 ? a[i]! : a[2 * i + 1]! * 2n ** 64n + a[2 * i]!))
  const words = (values: readonly bigint[]): BigUint64Array =>
    BigUint64Array.from(
      values.flatMap((value) => range(limbs).map((limb) => BigInt.asUintN(64, value >> BigInt(64 * limb)))),
    )
  const signed = (element: bigint): bigint => BigInt.asIntN(bits, element)
  const each = (f: (...elements: bigint[]) => bigint, ...arrays: BigUint64Array[]): BigUint64Array => {
    const lists = arrays.map(list)
    return words(lists[0]!.map((_, i) => f(...lists.map((one) => one[i]!))))
  }
  return {
    bits,
    add: (a, b) => each((x, y) => x + y, a, b),
    sub: (a, b) => each((x, y) => x - y, a, b),
    mul: (a, b) => each((x, y) => x * y, a, b),
    neg: (a) => each((x) => -x, a),
    addScalar: (a, k) => each((x) => x + k, a),
    mulScalar: (a, k) => each((x) => x * k, a),
    beaver: (...[c, a, b, d, e, addsPublic]) =>
      each((z, x, y, dx, ey) => z + dx * y + x * ey + (addsPublic ? dx * ey : 0n), c, a, b, d, e),

    matMul(a, b, m, k, n) {
      const [x, y] = [list(a), list(b)]
      return words(
        range(m).flatMap((i) => range(n).map((j) => sum(range(k).map((l) => x[i * k + l]! * y[l * n + j]!)))),
      )
    },
    sumRows(a, rows, columns) {
      const x = list(a)
      return words(range(rows).map((row) => sum(x.slice(row * columns, (row + 1) * columns))))
    },
    cumulativeSum(a, rows, columns, exclusive, reverse) {
      const x = list(a)
      return words(
        range(rows).flatMap((row) =>
          range(columns).map((column) => {
            const counts = (other: number) =>
              (reverse ? other > column : other < column) || (!exclusive && other === column)
            return sum(
              range(columns)
                .filter(counts)
                .map((other) => x[row * columns + other]!),
            )
          }),
        ),
      )
    },
    gather(a, indices) {
      const x = list(a)
      return words([...indices].map((index) => (index === -1 ? 0n : x[index]!)))
    },
    scatterAdd(a, indices, length) {
      const x = list(a)
      return words(range(length).map((position) => sum(x.filter((_, i) => indices[i] === position))))
    },
    divide: (a, divisor) => each((x) => signed(x) / divisor, a),

    encode: (values, scale) => words([...values].map((value) => rounded(value * scale))),
    decode: (a, scale) =>
      Float32Array.from(list(a), (x) => {
        // Of 64 bits, the element becomes a double; of 128, it is rounded once where the scale is a power of two.
        if (bits === 64) return Number(signed(x)) / scale
        const power = Math.log2(scale)
        return Number.isInteger(power) ? nearestFloat32(signed(x), power) : oddDouble(signed(x)) / scale
      }),
    fromInt32: (values) => words([...values].map(BigInt)),
    toInt32: (a) => Int32Array.from(list(a), (x) => Number(signed(x))),

    truncationOf: (r, divisor) => ({
      quotient: each((x) => (x % 2n ** top) / divisor, r),
      top: each((x) => x / 2n ** top, r),
    }),
    sum3: (a, b, c, k) => each((x, y, z) => x + y + z + k, a, b, c),
    timesLess: (a, b, k) => each((x, y) => k * x - y, a, b),
    maskedCarry: (c, tops, mask) => each((x, t, m) => (bitOf(x, bits - 1) ? -t : t) - m, c, tops, mask),
    openedTerm(c, mine, theirs, divisor) {
      const nearest = (2n ** top + divisor) / (2n * divisor)
      const quotient = (x: bigint) => (x % 2n ** top) / divisor - nearest
      return each((x, a, b) => quotient(x) + 2n * nearest * (a + b + x / 2n ** top), c, mine, theirs)
    },
    truncate(c, quotient, tops, divisor, addsPublic) {
      const nearest = (2n ** top + divisor) / (2n * divisor)
      const one = addsPublic ? 1n : 0n
      return each(
        (x, q, t) => {
          const b = bitOf(x, bits - 1) ? one - t : t
          const open = addsPublic ? (x % 2n ** top) / divisor - nearest : 0n
          return open - q + 2n * b * nearest
        },
        c,
        quotient,
        tops,
      )
    },

    toPlanes(a) {
      const x = list(a)
      return Uint8Array.from(range(bits).flatMap((bit) => [...planeOf(x.map((element) => bitOf(element, bit)))]))
    },
    fromPlane: (plane, length) => words(range(length).map((i) => BigInt((plane[i >> 3]! >> (i & 7)) & 1))),
    lowestBits: (a) => planeOf(list(a).map((x) => bitOf(x, 0))),
    xor: (a, b) => bytewise(a, (i) => a[i]! ^ b[i]!),
    and: (a, b) => bytewise(a, (i) => a[i]! & b[i]!),
    not: (a) => bytewise(a, (i) => ~a[i]!),
    beaverAnd: (c, a, b, d, e, addsPublic) =>
      bytewise(c, (i) => c[i]! ^ (d[i]! & b[i]!) ^ (a[i]! & e[i]!) ^ (addsPublic ? d[i]! & e[i]! : 0)),

    chacha20(key, nonce, counter, length) {
      const iv = Buffer.alloc(16)
      iv.writeUInt32LE(counter)
      iv.set(nonce, 4)
      return Uint8Array.from(createCipheriv('chacha20', key, iv).update(new Uint8Array(length)))
    },
  }
}

export const referenceKernels = kernelsOf(64)
/** Of each ring. */
export const references = { 64: referenceKernels, 128: kernelsOf(128) } as const
