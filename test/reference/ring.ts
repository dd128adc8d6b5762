/**
 * The kernels of the ring, slow and obvious: what each one means, a value at a time, in whole numbers without bounds.
 *
 * Encoding and decoding round as doubles do; the key stream is that of OpenSSL.
 */
import { createCipheriv } from 'node:crypto'
import type { RingKernels } from '../../src/smpc/ring/kernels.ts'

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i)
const words = (values: readonly bigint[]): BigUint64Array =>
  BigUint64Array.from(values.map((value) => BigInt.asUintN(64, value)))
const signed = (word: bigint): bigint => BigInt.asIntN(64, word)
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

export const referenceKernels: Omit<RingKernels, 'name'> = {
  add: (a, b) => words([...a].map((x, i) => x + b[i]!)),
  sub: (a, b) => words([...a].map((x, i) => x - b[i]!)),
  mul: (a, b) => words([...a].map((x, i) => x * b[i]!)),
  neg: (a) => words([...a].map((x) => -x)),
  addScalar: (a, k) => words([...a].map((x) => x + k)),
  mulScalar: (a, k) => words([...a].map((x) => x * k)),
  beaver: (c, a, b, d, e, addsPublic) =>
    words([...c].map((x, i) => x + d[i]! * b[i]! + a[i]! * e[i]! + (addsPublic ? d[i]! * e[i]! : 0n))),

  matMul: (a, b, m, k, n) =>
    words(range(m).flatMap((i) => range(n).map((j) => sum(range(k).map((l) => a[i * k + l]! * b[l * n + j]!))))),
  sumRows: (a, rows, columns) =>
    words(range(rows).map((row) => sum([...a.subarray(row * columns, (row + 1) * columns)]))),
  cumulativeSum: (a, rows, columns, exclusive, reverse) =>
    words(
      range(rows).flatMap((row) =>
        range(columns).map((column) => {
          const counts = (other: number) =>
            (reverse ? other > column : other < column) || (!exclusive && other === column)
          return sum(
            range(columns)
              .filter(counts)
              .map((other) => a[row * columns + other]!),
          )
        }),
      ),
    ),
  gather: (a, indices) => words([...indices].map((index) => (index === -1 ? 0n : a[index]!))),
  scatterAdd: (a, indices, length) =>
    words(range(length).map((position) => sum([...a].filter((_, i) => indices[i] === position)))),
  divide: (a, divisor) => words([...a].map((x) => signed(x) / divisor)),

  encode: (values, scale) => words([...values].map((value) => rounded(value * scale))),
  decode: (a, scale) => Float32Array.from(a, (x) => Number(signed(x)) / scale),
  fromInt32: (values) => words([...values].map(BigInt)),
  toInt32: (a) => Int32Array.from(a, (x) => Number(signed(x))),

  truncationOf: (r, divisor) => ({
    quotient: words([...r].map((x) => (x % 2n ** 63n) / divisor)),
    top: words([...r].map((x) => x / 2n ** 63n)),
  }),
  truncate(c, quotient, top, divisor, addsPublic) {
    const nearest = (2n * 2n ** 62n + divisor) / (2n * divisor)
    const one = addsPublic ? 1n : 0n
    return words(
      [...c].map((x, i) => {
        const b = bitOf(x, 63) ? one - top[i]! : top[i]!
        const open = addsPublic ? (x % 2n ** 63n) / divisor - nearest : 0n
        return open - quotient[i]! + 2n * b * nearest
      }),
    )
  },

  toPlanes: (a) => Uint8Array.from(range(64).flatMap((bit) => [...planeOf([...a].map((x) => bitOf(x, bit)))])),
  fromPlane: (plane, length) => words(range(length).map((i) => BigInt((plane[i >> 3]! >> (i & 7)) & 1))),
  lowestBits: (a) => planeOf([...a].map((x) => bitOf(x, 0))),
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
