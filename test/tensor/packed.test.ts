/** Laws of the forms in which tensors travel between workers: what arrives, and what becomes of the rest. */
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { SeededRandom } from '../../src/data/random.ts'
import { decodeFloat16, encodeFloat16 } from '../../src/tensor/float16.ts'
import { decodeInt8, encodeInt8, rowsOf } from '../../src/tensor/int8.ts'
import {
  type Compression,
  compressions,
  isWhole,
  pack,
  remainderOf,
  travellingBytes,
  unpack,
  withRemainder,
} from '../../src/tensor/packed.ts'
import { sizeOf } from '../../src/tensor/shape.ts'
import { halfOf, valueOfHalf } from '../reference/half.ts'

/** Of float32. */
const limits = { largest: (2 - 2 ** -23) * 2 ** 127, smallest: 2 ** -149 }
const isNumberHalf = (bits: number) => (bits & 0x7c00) !== 0x7c00
const halvesOf = (values: ArrayLike<number>) => [...new Uint16Array(encodeFloat16(Float32Array.from(values)).buffer)]
/** A float32 of any bits. */
const floatOf = (bits: number) => new Float32Array(Uint32Array.of(bits).buffer)[0]!

describe('float16', () => {
  const all = Uint16Array.from({ length: 65_536 }, (_, bits) => bits)
  const decoded = decodeFloat16(new Uint8Array(all.buffer))

  it('reads every half as it is defined', () => {
    const wrong = all.filter((bits) => !Object.is(decoded[bits], valueOfHalf(bits)))
    expect([...wrong]).toEqual([])
  })

  it('writes every half that it has read as it was, and what is no number as no number', () => {
    const again = new Uint16Array(encodeFloat16(decoded).buffer)
    const wrong = all.filter((bits) =>
      Number.isNaN(valueOfHalf(bits)) ? !Number.isNaN(valueOfHalf(again[bits]!)) : again[bits] !== bits,
    )
    expect([...wrong]).toEqual([])
  })

  it('rounds to the nearest, ties to even: half way between any two, and just beside', () => {
    const values: number[] = []
    for (let bits = 0; bits < 0x7bff; bits++) {
      const middle = Float32Array.of((valueOfHalf(bits) + valueOfHalf(bits + 1)) / 2)
      const word = new Uint32Array(middle.buffer)[0]!
      values.push(floatOf(word), floatOf(word - 1), floatOf(word + 1), -floatOf(word))
    }
    expect(halvesOf(values)).toEqual(values.map(halfOf))
  })

  it('rounds every float32 as its slow twin does, whatever its bits', () => {
    const random = new SeededRandom(16)
    // One in four is of a size that halves have: all bits alike would mostly be too large or too small.
    const values = Array.from({ length: 20_000 }, (_, i) =>
      floatOf(
        i % 4 === 0 ? (random.uint32() & 0x80ff_ffff) + (0x33 << 24) + (random.int(0x15) << 24) : random.uint32(),
      ),
    )
    expect(halvesOf(values)).toEqual(values.map(halfOf))
    expect(
      values.filter((value) => isNumberHalf(halfOf(value)) && halfOf(value) % 0x8000 !== 0).length,
    ).toBeGreaterThan(5_000)
  })

  it('makes the largest half of what is larger, and leaves what is infinite or no number', () => {
    const largest = [65_504, 65_519, 65_520, 65_536, 1e6, limits.largest]
    const arrived = (values: number[]) => [...decodeFloat16(encodeFloat16(Float32Array.from(values)))]
    expect(arrived(largest)).toEqual(largest.map(() => 65_504))
    expect(arrived(largest.map((value) => -value))).toEqual(largest.map(() => -65_504))
    const others = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN, 0, -0, 2 ** -24]
    expect(arrived(others)).toEqual(others)
    expect(arrived([2 ** -25, limits.smallest, -limits.smallest])).toEqual([0, 0, -0])
  })

  it('reads at an odd offset of a larger buffer, and writes a part of one', () => {
    const values = Float32Array.of(7, 1.5, -2, 0.1, 9).subarray(1, 4)
    const bytes = encodeFloat16(values)
    const larger = new Uint8Array(bytes.length + 5)
    larger.set(bytes, 3)
    expect(decodeFloat16(larger.subarray(3, 3 + bytes.length))).toEqual(decodeFloat16(bytes))
    expect([...decodeFloat16(bytes)]).toEqual([1.5, -2, valueOfHalf(halfOf(Math.fround(0.1)))])
  })
})

/** The scales of rows, read as they travel. */
const scalesOf = (scales: Uint8Array) => new Float32Array(scales.slice().buffer)
const float = fc.float({ noNaN: true, noDefaultInfinity: true })

describe('int8', () => {
  it('is off by half of the scale of its row at most, and a scale is the largest of its row over 127', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 4 }), fc.array(float, { minLength: 5, maxLength: 5 }), (rows, row) => {
        const values = Float32Array.from({ length: 5 * rows }, (_, i) => row[i % 5]! / (1 + Math.floor(i / 5)))
        const { data, scales } = encodeInt8(values, rows)
        const arrived = decodeInt8(data, scales)
        const all = scalesOf(scales)
        values.forEach((value, i) => {
          const at = Math.floor(i / 5)
          const largest = Math.max(...values.subarray(5 * at, 5 * at + 5).map(Math.abs))
          // Below 127 · 2^-126 a row is sent as zeros; else the quotient rounded to a float32.
          const isZero = largest / 127 < 2 ** -126
          expect(Math.abs(all[at]! - largest / 127)).toBeLessThanOrEqual(
            isZero ? 2 ** -126 : (largest / 127) * 2 ** -23,
          )
          // The integer is exactly the nearest; what arrives is its product with the scale as a float32 (2^-24 of it).
          const off = Math.abs(value - arrived[i]!)
          expect(off).toBeLessThanOrEqual(isZero ? largest : all[at]! / 2 + largest * 2 ** -23)
          expect(Number.isFinite(arrived[i])).toBe(true)
        })
      }),
    )
  })

  it('keeps zeros, the largest, and its sign', () => {
    const { data, scales } = encodeInt8(Float32Array.of(0, -0, 254, -254, 2, 0.9, -1.1), 1)
    expect([...new Int8Array(data.buffer)]).toEqual([0, 0, 127, -127, 1, 0, -1])
    expect([...scalesOf(scales)]).toEqual([2])
    const none = encodeInt8(new Float32Array(16), 2)
    expect([...none.data, ...none.scales].every((byte) => byte === 0)).toBe(true)
    expect([...decodeInt8(none.data, none.scales)]).toEqual(Array(16).fill(0))
  })

  it('gives NaN for what is no finite number, and what is beside it its own digits', () => {
    const values = Float32Array.of(1, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0.5, 127)
    const { data, scales } = encodeInt8(values, 1)
    expect([...decodeInt8(data, scales)]).toEqual([1, Number.NaN, Number.NaN, Number.NaN, 0, 127])
    const none = encodeInt8(Float32Array.of(Number.NaN, Number.NEGATIVE_INFINITY), 1)
    expect([...scalesOf(none.scales)]).toEqual([0])
    expect([...decodeInt8(none.data, none.scales)]).toEqual([Number.NaN, Number.NaN])
  })

  it('stays finite at the largest float32, and gives zeros where scales would lose their digits', () => {
    const largest = encodeInt8(Float32Array.of(limits.largest, -limits.largest), 1)
    const arrived = decodeInt8(largest.data, largest.scales)
    // The scale is cut off by 2^-23 of it at most, so that 127 times it is a float32.
    expect(Math.abs(arrived[0]! / limits.largest - 1)).toBeLessThan(2 ** -22)
    expect(arrived[1]).toBe(-arrived[0]!)
    for (const small of [limits.smallest, 2 ** -130, 126 * 2 ** -126]) {
      const { data, scales } = encodeInt8(Float32Array.of(small, -small), 1)
      expect([...decodeInt8(data, scales)].map(Math.abs)).toEqual([0, 0])
    }
  })

  it.each([
    [[64, 640], 64],
    [[64, 8], 64],
    [[64, 7], 1],
    [[64, 1], 1],
    [[2, 2, 2, 2], 2],
    [[1000], 1],
    [[], 1],
    [[1, 10], 1],
    [[0], 0],
    [[0, 10], 0],
    [[10, 0], 0],
  ] as const)('has, for shape %j, %i scales', (shape, rows) => {
    expect(rowsOf(shape)).toBe(rows)
    const packed = pack(new Float32Array(sizeOf(shape)), shape, 'int8')
    expect(travellingBytes(packed)).toBe(sizeOf(shape) + 4 * rows)
    expect(isWhole(packed)).toBe(true)
    expect(unpack(packed).length).toBe(sizeOf(shape))
    expect(unpack(packed).some((value) => value !== 0)).toBe(false)
  })
})

describe.each(compressions)('error feedback with %s', (encoding: Compression) => {
  it('brings, over any steps, the sum of what was sent, to within half of the last step', () => {
    const random = new SeededRandom(5)
    const shape = [3, 8]
    const size = 24
    const steps = 200
    let remainder: Float32Array = new Float32Array(size)
    const sent = new Float64Array(size)
    const arrived = new Float64Array(size)
    const plain = new Float64Array(size)
    for (let step = 0; step < steps; step++) {
      // Most elements are small beside the largest of their row: on their own they would never arrive.
      const values = Float32Array.from({ length: size }, (_, i) => (i % 8 === 0 ? 1 : 1e-3) * (random.float() + 0.5))
      const corrected = withRemainder(values, remainder)
      const packed = pack(corrected, shape, encoding)
      remainder = remainderOf(corrected, packed)
      const [with_, without] = [unpack(packed), unpack(pack(values, shape, encoding))]
      for (let i = 0; i < size; i++) {
        sent[i]! += values[i]!
        arrived[i]! += with_[i]!
        plain[i]! += without[i]!
      }
    }
    // Values are below 1.51, what is lost included: half a scale is 1.51 / 254, half of the distance of halves 2^-11.
    // Each step rounds two sums to float32, by 2^-24 each.
    const last = encoding === 'int8' ? 1.51 / 254 : 2 ** -11
    const off = (got: Float64Array) => Math.max(...got.map((sum, i) => Math.abs(sum - sent[i]!)))
    expect(off(arrived)).toBeLessThanOrEqual(last + steps * 2 * 1.51 * 2 ** -24)
    expect(off(plain)).toBeGreaterThan(2 * last)
    // What has not arrived is what is kept.
    const kept = arrived.map((sum, i) => sum + remainder[i]!)
    expect(off(kept)).toBeLessThanOrEqual(steps * 2 * 1.51 * 2 ** -24)
  })

  it('keeps nothing of what is no finite number', () => {
    const values = Float32Array.of(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1, 0.3)
    const lost = remainderOf(values, pack(values, [5], encoding))
    expect([...lost.subarray(0, 4)]).toEqual([0, 0, 0, 0])
    expect(lost[4]).not.toBe(0)
  })
})

it('keeps nothing of what lay beyond the largest half', () => {
  const values = Float32Array.of(1e6, -1e6, 65_519, 65_500)
  expect([...remainderOf(values, pack(values, [4], 'float16'))]).toEqual([0, 0, 15, -4])
})

describe('a packed tensor that came', () => {
  const whole = {
    float16: pack(new Float32Array(16), [2, 8], 'float16'),
    int8: pack(new Float32Array(16).fill(1), [2, 8], 'int8'),
  } as const
  const scales = (...values: number[]) => new Uint8Array(Float32Array.from(values).buffer)
  it.each([
    ['as it was written', whole.float16, true],
    ['as it was written', whole.int8, true],
    ['a byte short', { ...whole.float16, data: new Uint8Array(31) }, false],
    ['a byte long', { ...whole.int8, data: new Uint8Array(17) }, false],
    ['of another shape', { ...whole.float16, shape: [2, 9] }, false],
    ['of other rows', { ...whole.int8, shape: [16] }, false],
    ['with a scale too few', { ...whole.int8, scales: scales(1) }, false],
    ['with a scale too many', { ...whole.int8, scales: scales(1, 1, 1) }, false],
    ['with a scale below zero', { ...whole.int8, scales: scales(1, -1) }, false],
    ['with an infinite scale', { ...whole.int8, scales: scales(1, Number.POSITIVE_INFINITY) }, false],
    ['with a scale that is no number', { ...whole.int8, scales: scales(Number.NaN, 1) }, false],
  ] as const)('%s is told from others', (_, packed, is) => {
    expect(isWhole(packed)).toBe(is)
  })
})
