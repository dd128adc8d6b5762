/**
 * The kernels of the ring, slow and obvious: what each one means, a value at a time, in whole numbers without bounds.
 *
 * Encoding and decoding round as doubles do; the key stream is that of OpenSSL.
 */
import { createCipheriv } from 'node:crypto'
import type { RingBits, RingKernels, Source } from '../../src/smpc/ring/kernels.ts'

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

/**
 * What holds of digits that codes are of, and of those of c: planes of each digit, of whether it holds for an odd number of
 * the values that the code says the digit has. Of a code, one; of a share of one, any.
 */
function lookedUp(codes: Uint8Array, c: readonly bigint[], digits: number, addsPublic: boolean) {
  const atLeast = (i: number, digit: number, t: number): boolean => {
    if (t === 0 || t === 16) return t === 0 && addsPublic
    const from = i - (i % 4032)
    const stride = Math.ceil(Math.min(4032, c.length - from) / 8)
    const plane = (15 * digits * from) / 8 + (15 * digit + t - 1) * stride
    return ((codes[plane + ((i - from) >> 3)]! >> (i & 7)) & 1) === 1
  }
  const padded = range(8 * Math.ceil(c.length / 8))
  const values = range(digits).map((digit) =>
    padded.map((i) => range(16).filter((d) => atLeast(i, digit, d) !== atLeast(i, digit, d + 1))),
  )
  return (holds: (known: number, digit: number, position: number) => boolean): number[] =>
    values.flatMap((those, digit) => [
      ...planeOf(
        those.map((list, i) => {
          const known = digitOf(c[i] ?? 0n, digit)
          return list.filter((d) => holds(known, d, digit)).length % 2 === 1
        }),
      ),
    ])
}

const digitOf = (word: bigint, digit: number): number => Number((word >> BigInt(4 * digit)) & 15n)

const isSet = (plane: Uint8Array, i: number): boolean => ((plane[i >> 3]! >> (i & 7)) & 1) === 1

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
  /** Bytes that are made of 4032 elements at a time. */
  const inBlocks = (a: BigUint64Array, make: (block: readonly bigint[]) => readonly number[]): Uint8Array => {
    const all = list(a)
    const blocks = range(Math.ceil(all.length / 4032)).map((i) => all.slice(4032 * i, 4032 * (i + 1)))
    return Uint8Array.from(blocks.flatMap((block) => [...make(block)]))
  }
  const words = (values: readonly bigint[]): BigUint64Array =>
    BigUint64Array.from(
      values.flatMap((value) => range(limbs).map((limb) => BigInt.asUintN(64, value >> BigInt(64 * limb)))),
    )
  const signed = (element: bigint): bigint => BigInt.asIntN(bits, element)
  const each = (f: (...elements: bigint[]) => bigint, ...arrays: BigUint64Array[]): BigUint64Array => {
    const lists = arrays.map(list)
    return words(lists[0]!.map((_, i) => f(...lists.map((one) => one[i]!))))
  }
  /** The next n elements of a source, or all of an array. */
  const taken = (from: BigUint64Array | Source, n: number): BigUint64Array =>
    'next' in from ? new BigUint64Array(from.next((bits / 8) * n).slice().buffer) : from
  /** What a division with a helper counts with: 2z, and the bits of a multiple of it that count. */
  const divisionBy = (divisor: bigint) => {
    const isPower = range(62).some((k) => divisor === 2n ** BigInt(k))
    const width = isPower ? divisor.toString(2).length : bits
    // Of each 32 bits in turn, those of all elements.
    const pieces = range(Math.ceil(width / 32)).map((i) => ({ from: 32 * i, size: Math.min(32, width - 32 * i) }))
    return {
      twice: 2n * ((2n ** top + divisor) / (2n * divisor)),
      few: (source: Source, n: number): BigUint64Array => {
        if (width > 32) return taken(source, n)
        const bytes = source.next(4 * n)
        const view = new DataView(bytes.buffer, bytes.byteOffset)
        return words(range(n).map((i) => BigInt(view.getUint32(4 * i, true))))
      },
      packed: (a: BigUint64Array): Uint8Array =>
        Uint8Array.from(
          pieces.flatMap(({ from, size }) => [
            ...planeOf(list(a).flatMap((x) => range(size).map((bit) => bitOf(x, from + bit)))),
          ]),
        ),
      unpacked: (bytes: Uint8Array, n: number): BigUint64Array => {
        const values = range(n).map(() => 0n)
        let at = 0
        for (const { from, size } of pieces) {
          for (const i of range(n)) {
            for (const bit of range(size)) {
              const place = i * size + bit
              if ((bytes[at + (place >> 3)]! >> (place & 7)) & 1) values[i]! += 2n ** BigInt(from + bit)
            }
          }
          at += Math.ceil((n * size) / 8)
        }
        return words(values)
      },
    }
  }
  return {
    bits,
    add: (a, b) => each((x, y) => x + y, a, b),
    sub: (a, b) => each((x, y) => x - y, a, b),
    lessTwice: (a, b) => each((x, y) => x - 2n * y, a, b),
    mul: (a, b) => each((x, y) => x * y, a, b),
    neg: (a) => each((x) => -x, a),
    addScalar: (a, k) => each((x) => x + k, a),
    mulScalar: (a, k) => each((x) => x * k, a),
    beaver: (...[c, a, b, d, e, addsPublic]) =>
      each((z, x, y, dx, ey) => z + dx * y + x * ey + (addsPublic ? dx * ey : 0n), c, a, b, d, e),

    matMul(a, b, m, k, n, transposeA = false, transposeB = false) {
      const [x, y] = [list(a), list(b)]
      const left = (i: number, l: number) => x[transposeA ? l * m + i : i * k + l]!
      const right = (l: number, j: number) => y[transposeB ? j * k + l : l * n + j]!
      return words(range(m).flatMap((i) => range(n).map((j) => sum(range(k).map((l) => left(i, l) * right(l, j))))))
    },
    transpose(a, rows, columns) {
      const x = list(a)
      return words(range(columns).flatMap((column) => range(rows).map((row) => x[row * columns + column]!)))
    },
    sumRows(a, rows, columns) {
      const x = list(a)
      return words(range(rows).map((row) => sum(x.slice(row * columns, (row + 1) * columns))))
    },
    sumColumns(a, rows, columns) {
      const x = list(a)
      return words(range(columns).map((column) => sum(range(rows).map((row) => x[row * columns + column]!))))
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
    sum2: (a, b, k) => each((x, y) => x + y + k, a, taken(b, a.length / limbs)),
    sum3: (a, b, c, k) => each((x, y, z) => x + y + z + k, a, b, taken(c, a.length / limbs)),
    dealDivision({ n, divisor, own, rA, rB, quotientA, topA, maskA, maskB }) {
      const mask = own === null ? words(range(n).map(() => 0n)) : taken(own.mask, n)
      const [first, second, drawn] = [taken(rA, n), taken(rB, n), taken(quotientA, n)]
      const r = each((x, y, z) => x + y + z, first, second, mask)
      const quotient = each((x, q) => (x % 2n ** top) / divisor - q, r, drawn)
      const { twice, few, packed } = divisionBy(divisor)
      return {
        own: own === null ? null : each((x, m) => x + m, own.summand, mask),
        quotient,
        top: packed(each((x, t) => x / 2n ** top - t, r, few(topA, n))),
        before: each((m, q) => twice * m - q, few(maskB, n), quotient),
        after: each((m, q) => twice * m - q, few(maskA, n), drawn),
      }
    },
    carryDivision({ divisor, masked, theirs, helpers, quotient, top: given, mask }) {
      const n = masked.length / limbs
      const { twice, few, packed, unpacked } = divisionBy(divisor)
      const c = each((x, y, z) => x + y + z, masked, theirs, helpers ?? words(range(n).map(() => 0n)))
      const tops = 'next' in given ? few(given, n) : unpacked(given, n)
      const masks = few(mask, n)
      return {
        c,
        carry: packed(each((x, t, m) => (bitOf(x, bits - 1) ? -t : t) - m, c, tops, masks)),
        component: each((m, q) => twice * m - q, masks, taken(quotient, n)),
      }
    },
    closeDivision(c, mine, theirs, divisor) {
      const { twice, unpacked } = divisionBy(divisor)
      const n = c.length / limbs
      const quotient = (x: bigint) => (x % 2n ** top) / divisor - twice / 2n
      return each((x, a, b) => quotient(x) + twice * (a + b + x / 2n ** top), c, unpacked(mine, n), unpacked(theirs, n))
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
    thermometers: (a, digits) =>
      inBlocks(a, (block) =>
        range(digits).flatMap((digit) =>
          range(15).flatMap((t) => [...planeOf(block.map((x) => digitOf(x, digit) >= t + 1))]),
        ),
      ),
    compareDigits(codes, c, digits, isSigned, addsPublic) {
      const answers = lookedUp(codes, list(c), digits, addsPublic)
      const sign = (x: number) => (x & 8) !== 0
      const isTop = (digit: number) => isSigned && digit === digits - 1
      return Uint8Array.from([
        ...answers((known, d, digit) => (isTop(digit) ? sign(known - d) !== sign(known - d - 1) : d === known)),
        ...answers((known, d, digit) => (isTop(digit) ? sign(known - d) : known < d)),
      ])
    },
    subtractDigits(codes, c, digits, addsPublic) {
      const answers = lookedUp(codes, list(c), digits, addsPublic)
      const bit = (x: number, i: number) => ((x >> i) & 1) === 1
      const stride = Math.ceil(c.length / limbs / 8)
      /** Planes by digit of several questions, put in the order of digits. */
      const byDigit = (all: readonly number[][]) =>
        range(digits).flatMap((digit) => all.flatMap((planes) => planes.slice(digit * stride, (digit + 1) * stride)))
      return Uint8Array.from([
        ...byDigit([0, 1, 2, 3].map((i) => answers((known, d) => bit(known - d, i)))),
        ...byDigit([1, 2, 3].map((i) => answers((known, d) => bit(known - d, i) !== bit(known - d - 1, i)))),
      ])
    },
    fromPlane: (plane, length) => words(range(length).map((i) => (isSet(plane, i) ? 1n : 0n))),
    flip(plane, x, base) {
      const bases = typeof base === 'bigint' ? null : list(base)
      return words(list(x).map((value, i) => (isSet(plane, i) ? (bases?.[i] ?? (base as bigint)) - value : value)))
    },
    pick(plane, x, y) {
      const less = list(y)
      return words(list(x).map((value, i) => (isSet(plane, i) ? value : 0n) - less[i]!))
    },
    lowestBits: (a) => planeOf(list(a).map((x) => bitOf(x, 0))),
    xor: (a, b) => bytewise(a, (i) => a[i]! ^ b[i]!),
    and: (a, b) => bytewise(a, (i) => a[i]! & b[i]!),
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
