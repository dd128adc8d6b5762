import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { TensorData } from '../../src/data/data-file.ts'
import { formatNpy, parseNpy } from '../../src/data/npy.ts'
import { SeededRandom } from '../../src/data/random.ts'
import { DataError } from '../../src/errors.ts'

interface FileOptions {
  readonly version?: number
  readonly header?: string
  readonly descr?: string
  readonly fortran?: boolean
  readonly shape?: readonly number[]
}

const tuple = (shape: readonly number[]) => `(${shape.join(', ')}${shape.length === 1 ? ',' : ''})`

/** A file made by hand, with any header. */
function npyFile(elements: Uint8Array | readonly number[], options: FileOptions = {}): Buffer {
  const { version = 1, descr = '|u1', fortran = false, shape = [elements.length] } = options
  const {
    header = `{'descr': '${descr}', 'fortran_order': ${fortran ? 'True' : 'False'}, 'shape': ${tuple(shape)}, }\n`,
  } = options
  const length = Buffer.alloc(version === 1 ? 2 : 4)
  length.writeUIntLE(header.length, 0, length.length)
  return Buffer.concat([
    Buffer.from([0x93]),
    Buffer.from('NUMPY'),
    Buffer.from([version, 0]),
    length,
    Buffer.from(header, 'latin1'),
    Uint8Array.from(elements),
  ])
}

const thrownBy = (action: () => unknown): unknown => {
  try {
    return action()
  } catch (error) {
    return error
  }
}
const refused = (what = '') =>
  expect.objectContaining({ name: 'DataError', code: 'ERR_DATA_FORMAT', message: expect.stringContaining(what) })
const isRefusal = (result: unknown) => result instanceof DataError && result.code === 'ERR_DATA_FORMAT'

/** What NumPy 2.4 writes: the array, what is read of it, and the file in base64. */
const written: readonly (readonly [
  array: string,
  dtype: TensorData['dtype'],
  shape: number[],
  values: number[],
  file: string,
])[] = [
  [
    "np.array([[1.5, -2.25, np.nan], [np.inf, -0.0, 3e-45]], '<f4')",
    'float32',
    [2, 3],
    [1.5, -2.25, NaN, Infinity, -0, 2 ** -148],
    'k05VTVBZAQB2AHsnZGVzY3InOiAnPGY0JywgJ2ZvcnRyYW5fb3JkZXInOiBGYWxzZSwgJ3NoYXBlJzogKDIsIDMpLCB9ICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAoAAMA/AAAQwAAAwH8AAIB/AAAAgAIAAAA=',
  ],
  [
    "np.array([[1, 2, 3], [4, 5, 6]], '>f8', order='F')",
    'float32',
    [2, 3],
    [1, 2, 3, 4, 5, 6],
    'k05VTVBZAQB2AHsnZGVzY3InOiAnPmY4JywgJ2ZvcnRyYW5fb3JkZXInOiBUcnVlLCAnc2hhcGUnOiAoMiwgMyksIH0gICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAo/8AAAAAAAAEAQAAAAAAAAQAAAAAAAAABAFAAAAAAAAEAIAAAAAAAAQBgAAAAAAAA=',
  ],
  [
    "np.array([0.1, 65504, 2**-24, -np.inf], '<f2')",
    'float32',
    [4],
    [0.0999755859375, 65504, 2 ** -24, -Infinity],
    'k05VTVBZAQB2AHsnZGVzY3InOiAnPGYyJywgJ2ZvcnRyYW5fb3JkZXInOiBGYWxzZSwgJ3NoYXBlJzogKDQsKSwgfSAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIApmLv97AQAA/A==',
  ],
  [
    "np.array([-2**31, 2**31 - 1, -1], '<i8')",
    'int32',
    [3],
    [-(2 ** 31), 2 ** 31 - 1, -1],
    'k05VTVBZAQB2AHsnZGVzY3InOiAnPGk4JywgJ2ZvcnRyYW5fb3JkZXInOiBGYWxzZSwgJ3NoYXBlJzogKDMsKSwgfSAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAoAAACA/////////38AAAAA//////////8=',
  ],
  [
    "np.arange(24, dtype='>u2').reshape(2, 3, 4).copy('F')",
    'int32',
    [2, 3, 4],
    Array.from({ length: 24 }, (_, i) => i),
    'k05VTVBZAgB0AAAAeydkZXNjcic6ICc+dTInLCAnZm9ydHJhbl9vcmRlcic6IFRydWUsICdzaGFwZSc6ICgyLCAzLCA0KSwgfSAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAoAAAAMAAQAEAAIABQAAQANAAUAEQAJABUAAgAOAAYAEgAKABYAAwAPAAcAEwALABc=',
  ],
  [
    'np.array([[True], [False]])',
    'bool',
    [2, 1],
    [1, 0],
    'k05VTVBZAwB0AAAAeydkZXNjcic6ICd8YjEnLCAnZm9ydHJhbl9vcmRlcic6IEZhbHNlLCAnc2hhcGUnOiAoMiwgMSksIH0gICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAoBAA==',
  ],
  [
    "np.array(-7, 'i1')",
    'int32',
    [],
    [-7],
    'k05VTVBZAQB2AHsnZGVzY3InOiAnfGkxJywgJ2ZvcnRyYW5fb3JkZXInOiBGYWxzZSwgJ3NoYXBlJzogKCksIH0gICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAr5',
  ],
  [
    "np.zeros((0, 3), '<f4')",
    'float32',
    [0, 3],
    [],
    'k05VTVBZAQB2AHsnZGVzY3InOiAnPGY0JywgJ2ZvcnRyYW5fb3JkZXInOiBGYWxzZSwgJ3NoYXBlJzogKDAsIDMpLCB9ICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAo=',
  ],
]

describe('parseNpy', () => {
  test.each(written)('reads what NumPy wrote: %s', (_, dtype, shape, values, base64) => {
    const parsed = parseNpy(Buffer.from(base64, 'base64'))
    expect(parsed).toEqual({ shape, dtype, data: parsed.data })
    expect([...parsed.data]).toEqual(values)
    expect(parsed.data.constructor.name).toBe(
      { float32: 'Float32Array', int32: 'Int32Array', bool: 'Uint8Array' }[dtype],
    )
  })

  /** How one element is written and read, as Node's buffers do it. */
  const twins = {
    b1: { bytes: 1, dtype: 'bool', draw: (r: SeededRandom) => r.int(2), write: ['writeUInt8', 'writeUInt8'] },
    u1: { bytes: 1, dtype: 'int32', draw: (r: SeededRandom) => r.int(256), write: ['writeUInt8', 'writeUInt8'] },
    i1: { bytes: 1, dtype: 'int32', draw: (r: SeededRandom) => r.int(256) - 128, write: ['writeInt8', 'writeInt8'] },
    u2: {
      bytes: 2,
      dtype: 'int32',
      draw: (r: SeededRandom) => r.int(2 ** 16),
      write: ['writeUInt16LE', 'writeUInt16BE'],
    },
    i2: {
      bytes: 2,
      dtype: 'int32',
      draw: (r: SeededRandom) => r.int(2 ** 16) - 2 ** 15,
      write: ['writeInt16LE', 'writeInt16BE'],
    },
    u4: {
      bytes: 4,
      dtype: 'int32',
      draw: (r: SeededRandom) => r.int(2 ** 31),
      write: ['writeUInt32LE', 'writeUInt32BE'],
    },
    i4: {
      bytes: 4,
      dtype: 'int32',
      draw: (r: SeededRandom) => r.uint32() | 0,
      write: ['writeInt32LE', 'writeInt32BE'],
    },
    u8: {
      bytes: 8,
      dtype: 'int32',
      draw: (r: SeededRandom) => r.int(2 ** 31),
      write: ['writeBigUInt64LE', 'writeBigUInt64BE'],
    },
    i8: {
      bytes: 8,
      dtype: 'int32',
      draw: (r: SeededRandom) => r.uint32() | 0,
      write: ['writeBigInt64LE', 'writeBigInt64BE'],
    },
    f4: {
      bytes: 4,
      dtype: 'float32',
      draw: (r: SeededRandom) => Math.fround(r.normal()),
      write: ['writeFloatLE', 'writeFloatBE'],
    },
    f8: {
      bytes: 8,
      dtype: 'float32',
      draw: (r: SeededRandom) => r.normal(),
      write: ['writeDoubleLE', 'writeDoubleBE'],
    },
  } as const

  test('reads every type, in either byte order and either order of the axes, at any offset of its buffer', () => {
    const shapes = fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 4 })
    fc.assert(
      fc.property(
        fc.constantFrom(...(Object.keys(twins) as (keyof typeof twins)[])),
        shapes,
        fc.boolean(),
        fc.boolean(),
        fc.constantFrom(1, 2, 3),
        fc.nat(9),
        fc.nat(),
        (type, shape, big, fortran, version, offset, seed) => {
          const { bytes, dtype, draw, write } = twins[type]
          const random = new SeededRandom(seed)
          const count = shape.reduce((product, size) => product * size, 1)
          const values = Array.from({ length: count }, () => draw(random))
          const elements = Buffer.alloc(count * bytes)
          values.forEach((value, place) => {
            // The place in row-major order as an index, and that as a place in the file.
            const index = shape.map((size, axis) => {
              const after = shape.slice(axis + 1).reduce((product, other) => product * other, 1)
              return Math.floor(place / after) % size
            })
            const inFile = fortran
              ? index.reduce((sum, i, axis) => sum + i * shape.slice(0, axis).reduce((p, size) => p * size, 1), 0)
              : place
            const put = elements[write[big ? 1 : 0]] as (value: number | bigint, at: number) => number
            put.call(elements, type.endsWith('8') && type !== 'f8' ? BigInt(value) : value, inFile * bytes)
          })
          const descr = `${bytes === 1 ? '|' : big ? '>' : '<'}${type}`
          const file = npyFile(elements, { descr, fortran, shape, version })
          const parsed = parseNpy(Uint8Array.from([...new Uint8Array(offset), ...file]).subarray(offset))
          expect(parsed.shape).toEqual(shape)
          expect(parsed.dtype).toBe(dtype)
          expect([...parsed.data]).toEqual(values.map((value) => (dtype === 'float32' ? Math.fround(value) : value)))
        },
      ),
    )
  })

  test('reads every float16 that is a number, each greater than the one before it', () => {
    const elements = Buffer.from(Uint16Array.from({ length: 0x7c01 }, (_, bits) => bits).buffer)
    const { data } = parseNpy(npyFile(elements, { descr: '<f2', shape: [0x7c01] }))
    expect([data[0], data[1], data[0x3c00], data[0x7bff], data[0x7c00]]).toEqual([0, 2 ** -24, 1, 65504, Infinity])
    expect(data.every((value, i) => i === 0 || value > data[i - 1]!)).toBe(true)
    const negative = parseNpy(npyFile([0x00, 0x80, 0x00, 0xfc, 0x01, 0x7c, 0x00, 0xc0], { descr: '<f2', shape: [4] }))
    expect([...negative.data]).toEqual([-0, -Infinity, NaN, -2])
  })

  test('gives a copy, which the file may not change later', () => {
    const file = npyFile([1, 0], { descr: '|b1' })
    const { data } = parseNpy(file)
    file.fill(7)
    expect([...data]).toEqual([1, 0])
  })

  test.each([
    ['keys in another order, double quotes, no blanks', `{"shape":(2,1),"fortran_order":False,"descr":"|u1"}`],
    ['the long integers of Python 2', `{'descr': '|u1', 'fortran_order': False, 'shape': (2L, 1L)}`],
    [
      'commas at the end, and blanks all over',
      `\n{ 'descr' : '<u1' , 'fortran_order' : True , 'shape' : ( 2 , 1 , ) , }  \n`,
    ],
  ])('reads a header with %s', (_, header) => {
    expect(parseNpy(npyFile([7, 8], { header }))).toEqual({ shape: [2, 1], dtype: 'int32', data: Int32Array.of(7, 8) })
  })

  test.each([
    ['no tuple', `{'descr': '|u1', 'fortran_order': False, 'shape': (2)}`, 'expected ","'],
    ['a list for the shape', `{'descr': '|u1', 'fortran_order': False, 'shape': [2]}`, 'expected "("'],
    ['a negative dimension', `{'descr': '|u1', 'fortran_order': False, 'shape': (-2,)}`, 'an integer from 0'],
    ['a dimension that is no integer', `{'descr': '|u1', 'fortran_order': False, 'shape': (2.0,)}`, 'expected ","'],
    ['an octal dimension', `{'descr': '|u1', 'fortran_order': False, 'shape': (02,)}`, 'an integer from 0'],
    [
      'a dimension with an underscore',
      `{'descr': '|u1', 'fortran_order': False, 'shape': (1_0,)}`,
      'an integer from 0',
    ],
    ['two commas', `{'descr': '|u1', 'fortran_order': False, 'shape': (2,,)}`, 'an integer from 0'],
    ['a sum for a dimension', `{'descr': '|u1', 'fortran_order': False, 'shape': (1+1,)}`, 'expected ","'],
    ['a call', `{'descr': '|u1', 'fortran_order': bool(1), 'shape': (2,)}`, 'True or False'],
    ['1 for True', `{'descr': '|u1', 'fortran_order': 1, 'shape': (2,)}`, 'True or False'],
    ['an escape', `{'descr': '|u\\x31', 'fortran_order': False, 'shape': (2,)}`, 'malformed'],
    ['strings side by side', `{'descr': '|u' '1', 'fortran_order': False, 'shape': (2,)}`, 'expected ","'],
    ['an open string', `{'descr': '|u1`, 'malformed'],
    ['an open dict', `{'descr': '|u1', 'fortran_order': False, 'shape': (2,)`, 'malformed'],
    ['an open tuple', `{'descr': '|u1', 'fortran_order': False, 'shape': (2,`, 'malformed'],
    ['a key twice', `{'descr': '|u1', 'descr': '|u1', 'fortran_order': False, 'shape': (2,)}`, 'got it twice'],
    ['a key too many', `{'descr': '|u1', 'fortran_order': False, 'shape': (2,), 'x': 'y'}`, 'no more than descr'],
    ['a key too few', `{'descr': '|u1', 'shape': (2,)}`, 'expected descr, fortran_order and shape'],
    ['a key of every object', `{'__proto__': '|u1', 'fortran_order': False, 'shape': (2,)}`, 'no more than descr'],
    ['something after the dict', `{'descr': '|u1', 'fortran_order': False, 'shape': (2,)} #`, 'follows the dict'],
    ['records', `{'descr': [('x', '|u1')], 'fortran_order': False, 'shape': (2,)}`, 'arrays of records are not read'],
    ['objects', `{'descr': '|O', 'fortran_order': False, 'shape': (2,)}`, 'got "|O"'],
    ['complex numbers', `{'descr': '<c8', 'fortran_order': False, 'shape': (2,)}`, 'got "<c8"'],
    ['no byte order where it matters', `{'descr': '|u2', 'fortran_order': False, 'shape': (1,)}`, 'got "|u2"'],
    [
      'a type of every object',
      `{'descr': '<constructor', 'fortran_order': False, 'shape': (1,)}`,
      'got "<constructor"',
    ],
    ['a blank that is not ASCII', `{'descr':\xa0'|u1', 'fortran_order': False, 'shape': (2,)}`, 'a header in ASCII'],
    ['nothing', '', 'expected "{"'],
  ])('refuses a header with %s, and says what was expected', (_, header, message) => {
    const error = thrownBy(() => parseNpy(npyFile([7, 8], { header }), 'mine.npy'))
    expect(error).toEqual(refused(message))
    expect((error as Error).message).toMatch(/^mine\.npy: /)
  })

  test.each([
    ['another kind of file', Buffer.from('PK\x03\x04....'), 'expected "\\x93NUMPY" at the start'],
    ['nothing at all', Buffer.alloc(0), 'expected "\\x93NUMPY" at the start'],
    ['a version to come', npyFile([], { version: 4 }), 'expected version 1.0, 2.0 or 3.0 of the format, got 4.0'],
    ['a minor version to come', npyFile([]).fill(1, 7, 8), 'expected version 1.0, 2.0 or 3.0 of the format, got 1.1'],
    ['a header longer than the file', npyFile([1]).subarray(0, 40), 'expected a header of'],
    ['a header that is too long', npyFile([], { version: 2, header: ' '.repeat(10_001) }), 'at most 10000 bytes'],
    [
      'a missing byte',
      npyFile([1, 2], { shape: [3] }),
      'expected 3 bytes after the header for |u1 of shape [3], got 2',
    ],
    ['a byte too many', npyFile([1, 2], { shape: [] }), 'expected 1 bytes after the header for |u1 of shape [], got 2'],
    ['a bool that is neither', npyFile([1, 0, 2], { descr: '|b1' }), 'row 2, counted from 0'],
  ])('refuses %s', (_, file, message) => {
    expect(thrownBy(() => parseNpy(file))).toEqual(refused(message))
  })

  test.each([
    ['a product that is no length', [2 ** 32, 2 ** 32]],
    ['a product beyond the numbers', new Array(40).fill(2 ** 53 - 1)],
    ['more than there is memory', [2 ** 40]],
    ['a zero among the impossible', [0, 2 ** 53 - 1, 2 ** 53 - 1]],
    ['a dimension that is rounded', [2 ** 53]],
  ])('refuses before it allocates: %s', (_, shape) => {
    const header = `{'descr': '<f8', 'fortran_order': True, 'shape': (${shape.map((size) => BigInt(size)).join(', ')},)}`
    expect(thrownBy(() => parseNpy(npyFile([], { header })))).toEqual(refused())
  })

  const of64 = (values: readonly bigint[]) => Buffer.from(BigInt64Array.from(values).buffer)
  test.each([
    ['<i8', 2n ** 31n],
    ['<i8', -(2n ** 31n) - 1n],
    ['<i8', 2n ** 32n],
    ['<i8', -(2n ** 63n)],
    ['<u8', 2n ** 31n],
    ['<u8', -1n],
    ['<u8', 2n ** 32n + 1n],
  ])('refuses a %s of %d, for int32 does not hold it, and names the row in either order', (descr, value) => {
    for (let place = 0; place < 6; place++) {
      const elements = of64([0n, 1n, 2n, 3n, 4n, 5n].map((other, i) => (i === place ? value : other)))
      const inRows = thrownBy(() => parseNpy(npyFile(elements, { descr, shape: [3, 2] })))
      expect(inRows).toEqual(refused(`row ${Math.floor(place / 2)}, counted from 0`))
      const inColumns = thrownBy(() => parseNpy(npyFile(elements, { descr, shape: [3, 2], fortran: true })))
      expect(inColumns).toEqual(refused(`row ${place % 3}, counted from 0`))
      expect((inColumns as Error).message).not.toContain(String(value))
    }
  })

  test('refuses a uint32 and a float64 that would become another number', () => {
    const unsigned = Buffer.from(Uint32Array.of(2 ** 31 - 1, 2 ** 31).buffer)
    expect(thrownBy(() => parseNpy(npyFile(unsigned, { descr: '<u4', shape: [2] })))).toEqual(refused('row 1'))
    const doubles = Buffer.from(Float64Array.of(3.4e38, -Infinity, NaN, 3.5e38).buffer)
    const options = { descr: '<f8', shape: [4] }
    expect(thrownBy(() => parseNpy(npyFile(doubles, options)))).toEqual(refused('row 3'))
    doubles.fill(0, 24)
    expect([...parseNpy(npyFile(doubles, options)).data]).toEqual([Math.fround(3.4e38), -Infinity, NaN, 0])
  })

  test('refuses every truncation and every extra byte', () => {
    const file = Buffer.from(written[0]![4], 'base64')
    for (let length = 0; length < file.length; length++) {
      expect(isRefusal(thrownBy(() => parseNpy(file.subarray(0, length))))).toBe(true)
    }
    expect(isRefusal(thrownBy(() => parseNpy(Buffer.concat([file, Buffer.of(0)]))))).toBe(true)
  })

  const onlyRefusals = (file: Uint8Array) => {
    const result = thrownBy(() => parseNpy(file))
    if (result instanceof Error) expect(isRefusal(result)).toBe(true)
  }

  test('throws nothing but ERR_DATA_FORMAT for bytes of any kind', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 80 }), onlyRefusals))
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), fc.integer({ min: 1, max: 3 }), (bytes, version) =>
        onlyRefusals(Buffer.concat([npyFile([], { version }).subarray(0, 8), bytes])),
      ),
    )
  })

  test('throws nothing but ERR_DATA_FORMAT, whatever is changed in a file', () => {
    const files = written.map(([, , , , base64]) => Buffer.from(base64, 'base64'))
    const changes = fc.array(fc.tuple(fc.nat(99), fc.nat(255)), { minLength: 1, maxLength: 3 })
    fc.assert(
      fc.property(fc.constantFrom(...files), changes, (file, changed) => {
        const damaged = Uint8Array.from(file)
        for (const [at, byte] of changed) damaged[at] = byte
        onlyRefusals(damaged)
      }),
      { numRuns: 500 },
    )
  })

  test('throws nothing but ERR_DATA_FORMAT for headers of any words', () => {
    const words = fc.constantFrom(
      ...['{', '}', '(', ')', ',', ':', ' ', "'", '"', '\\', "'descr'", "'shape'", "'fortran_order'", "'<f4'", '|u1'],
      ...['True', 'False', 'None', '0', '2', '99', '2L', '-', '(2,)', "'descr': '|u1', ", "'shape': (2,), ", "{'"],
    )
    fc.assert(
      fc.property(fc.array(words, { maxLength: 20 }), (chosen) =>
        onlyRefusals(npyFile([1, 2], { header: chosen.join('') })),
      ),
      { numRuns: 500 },
    )
  })
})

describe('formatNpy', () => {
  const tensors = fc
    .record({
      shape: fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 4 }),
      dtype: fc.constantFrom('float32', 'int32', 'bool'),
    })
    .chain(({ shape, dtype }) => {
      const count = shape.reduce((product, size) => product * size, 1)
      const length = { minLength: count, maxLength: count }
      const data: fc.Arbitrary<TensorData['data']> = {
        float32: fc.float32Array(length),
        int32: fc.int32Array(length),
        bool: fc.uint8Array({ ...length, max: 1 }),
      }[dtype]
      return fc.record({ shape: fc.constant(shape), dtype: fc.constant(dtype), data })
    })

  test('writes what parseNpy reads back', () => {
    fc.assert(
      fc.property(tensors, (tensor) => {
        expect(parseNpy(formatNpy(tensor))).toEqual(tensor)
      }),
    )
  })

  test('writes, byte for byte, what NumPy writes', () => {
    const own = written.filter(([array, dtype]) => dtype === 'float32' && array.includes("'<f4'"))
    expect(own.length).toBeGreaterThan(1)
    for (const [, , , , base64] of own) {
      const file = Buffer.from(base64, 'base64')
      expect(Buffer.from(formatNpy(parseNpy(file)))).toEqual(file)
    }
  })

  test('begins the elements at a multiple of 64, however long the header', () => {
    for (let rank = 0; rank < 40; rank++) {
      const file = formatNpy({ shape: new Array(rank).fill(1), dtype: 'int32', data: Int32Array.of(5) })
      expect((file.length - 4) % 64).toBe(0)
      expect(file[file.length - 5]).toBe('\n'.charCodeAt(0))
    }
  })

  test('writes part of a larger array, and every true bool as 1', () => {
    const data = Float32Array.of(1, 2, 3, 4).subarray(1, 3)
    expect([...parseNpy(formatNpy({ shape: [2], dtype: 'float32', data })).data]).toEqual([2, 3])
    const bools = Uint8Array.of(0, 255, 1)
    expect([...parseNpy(formatNpy({ shape: [3], dtype: 'bool', data: bools })).data]).toEqual([0, 1, 1])
    expect(bools[1]).toBe(255)
  })

  test('refuses a shape of other elements, and an array of another dtype', () => {
    const data = Float32Array.of(1, 2)
    for (const shape of [[3], [], [-1, -2], [0.5, 4]]) {
      const error = thrownBy(() => formatNpy({ shape, dtype: 'float32', data }))
      expect(error).toEqual(expect.objectContaining({ name: 'ValueError', code: 'ERR_ARGUMENT_VALUE' }))
    }
    const error = thrownBy(() => formatNpy({ shape: [2], dtype: 'int32', data }))
    expect(error).toEqual(expect.objectContaining({ name: 'ArgumentError', code: 'ERR_DTYPE' }))
  })
})
