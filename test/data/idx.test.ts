import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseIdx } from '../../src/data/idx.ts'
import { DataError } from '../../src/errors.ts'
import { idxFile } from './files.ts'

const shapes = fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 4 })
const files = shapes.chain((shape) => {
  const count = shape.reduce((product, size) => product * size, 1)
  return fc.record({ shape: fc.constant(shape), data: fc.uint8Array({ minLength: count, maxLength: count }) })
})

describe('parseIdx', () => {
  test('reads what was written, at any offset of its buffer', () => {
    fc.assert(
      fc.property(files, fc.nat(5), ({ shape, data }, offset) => {
        const file = Uint8Array.from([...new Uint8Array(offset), ...idxFile(shape, data)]).subarray(offset)
        const parsed = parseIdx(file, { rank: shape.length })
        expect(parsed.shape).toEqual(shape)
        expect(parsed.data).toEqual(data)
      }),
    )
  })

  test('refuses every truncation and every extra byte', () => {
    fc.assert(
      fc.property(files, fc.nat(), fc.uint8Array({ minLength: 1, maxLength: 4 }), ({ shape, data }, cut, extra) => {
        const file = idxFile(shape, data)
        expect(() => parseIdx(file.subarray(0, cut % file.length))).toThrow(DataError)
        expect(() => parseIdx(Buffer.concat([file, extra]))).toThrow(DataError)
      }),
    )
  })

  test('throws nothing but a DataError, whatever is changed in the header', () => {
    fc.assert(
      fc.property(files, fc.nat(), fc.nat(255), ({ shape, data }, at, byte) => {
        const file = idxFile(shape, data)
        const position = at % (4 + 4 * shape.length)
        const changed = file[position] !== byte
        file[position] = byte
        // A header that says anything else no longer fits the bytes that follow; but see the rank below.
        if (changed && position !== 3) expect(() => parseIdx(file)).toThrow(DataError)
        else {
          try {
            parseIdx(file)
          } catch (error) {
            expect(error).toBeInstanceOf(DataError)
          }
        }
      }),
    )
  })

  test('throws nothing but a DataError for bytes of any kind', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        try {
          parseIdx(bytes)
        } catch (error) {
          expect(error).toBeInstanceOf(DataError)
        }
      }),
    )
  })

  test.each([
    ['a gzipped file', [0x1f, 0x8b, 8, 0], 'expected two zero bytes at the start, got 0x1f 0x8b; is it still packed?'],
    ['floats', [0, 0, 0x0d, 1], 'expected elements of type 0x08 (unsigned byte), got 0x0d'],
    ['rank 0', [0, 0, 8, 0], 'expected a rank of at least 1, got 0'],
    ['another rank than asked for', [0, 0, 8, 3], 'expected rank 1, got 3'],
    ['a header cut off', [0, 0, 8, 1, 0, 0], 'expected a header of 8 bytes, got 6 in all'],
    ['a dimension of 0', [0, 0, 8, 1, 0, 0, 0, 0], 'expected dimensions of at least 1, got [0]'],
    ['missing bytes', [0, 0, 8, 1, 0, 0, 0, 2, 7], 'expected 2 bytes after the header for shape [2], got 1'],
    ['no bytes at all', [], 'expected a magic number of 4 bytes, got 0 in all'],
  ])('says what was expected and what came: %s', (_, bytes, message) => {
    expect(() => parseIdx(Uint8Array.from(bytes), { name: 'labels', rank: 1 })).toThrow(`labels: ${message}`)
  })

  test('is not misled by dimensions whose product overflows', () => {
    const header = idxFile(new Array(8).fill(2 ** 32 - 1), new Uint8Array(3))
    expect(() => parseIdx(header)).toThrow('after the header')
  })
})
