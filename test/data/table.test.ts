import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type CsvOptions, parseCsv } from '../../src/data/table.ts'
import { isSottoError } from '../../src/errors.ts'

const thrownBy = (action: () => unknown): unknown => {
  try {
    return action()
  } catch (error) {
    return error
  }
}
const refused = (message = '') =>
  expect.objectContaining({ name: 'DataError', code: 'ERR_DATA_FORMAT', message: expect.stringContaining(message) })

const read = (text: string, options?: CsvOptions) => {
  const { shape, dtype, data } = parseCsv(text, options)
  expect(dtype).toBe('float32')
  expect(data).toBeInstanceOf(Float32Array)
  return { shape, data: [...data] }
}

describe('parseCsv', () => {
  const tables = fc
    .record({ rows: fc.integer({ min: 1, max: 6 }), columns: fc.integer({ min: 1, max: 6 }) })
    .chain(({ rows, columns }) => {
      const count = rows * columns
      const values = fc.float({ noNaN: true, noDefaultInfinity: true })
      return fc.record({
        shape: fc.constant([rows, columns]),
        data: fc.array(values, { minLength: count, maxLength: count }),
      })
    })

  test('reads what was written: with a header or none, cells quoted or not, any end of line', () => {
    fc.assert(
      fc.property(
        tables,
        fc.boolean(),
        fc.boolean(),
        fc.constantFrom('\n', '\r\n', '\r'),
        fc.boolean(),
        ({ shape, data }, header, quoted, end, ended) => {
          const columns = shape[1]!
          const cell = (text: string) => (quoted ? `"${text}"` : text)
          const lines = Array.from({ length: shape[0]! }, (_, row) =>
            data
              .slice(row * columns, (row + 1) * columns)
              // As text a zero loses its sign.
              .map((value) => cell(Object.is(value, -0) ? '-0' : String(value)))
              .join(','),
          )
          if (header) lines.unshift(Array.from({ length: columns }, (_, i) => cell(`column ${i}`)).join(','))
          expect(read(lines.join(end) + (ended ? end : ''))).toEqual({ shape, data })
        },
      ),
    )
  })

  test.each([
    ['numbers of every form', '1,-2,+3\n.5,5.,-1e-2\n1E3,007,0.1', [3, 3], [1, -2, 3, 0.5, 5, -0.01, 1000, 7, 0.1]],
    ['one number, and no end of line', '7', [1, 1], [7]],
    ['a column', '1\n2\n3\n', [3, 1], [1, 2, 3]],
    ['spaces and tabs around cells', ' 1 ,\t2\n3, "4" \n', [2, 2], [1, 2, 3, 4]],
    ['a mark of the byte order', '\uFEFF1,2\n', [1, 2], [1, 2]],
    ['a mark of the byte order and a header', '\uFEFFa,b\n1,2\n', [1, 2], [1, 2]],
    ['a mark of the byte order and a quoted header', '\uFEFF"a",b\n1,2\n', [1, 2], [1, 2]],
    ['a header in which some names are numbers', 'id,2020,2021\n1,2,3\n', [1, 3], [1, 2, 3]],
    ['a header without a name for the index', ',a\n0,5\n', [1, 2], [0, 5]],
    ['names with commas, quotes and line ends', '"a,""b""\nc",d\n1,2\n', [1, 2], [1, 2]],
    ['integers, rounded above 2^24', '16777216,16777217\n', [1, 2], [16777216, 16777216]],
  ])('reads %s', (_, text, shape, data) => {
    expect(read(text)).toEqual({ shape, data: data.map(Math.fround) })
  })

  test('takes the columns asked for, in their order, and does not look at the others', () => {
    const text = 'name,age,height\nAna,41,1.5\nBen,29,2\n'
    expect(read(text, { columns: ['height', 'age'] })).toEqual({ shape: [2, 2], data: [1.5, 41, 2, 29] })
    expect(read(text, { columns: ['age'] })).toEqual({ shape: [2, 1], data: [41, 29] })
    expect(thrownBy(() => parseCsv(text, { columns: ['age', 'name'] }))).toEqual(refused('line 2, column 1'))
  })

  test('takes the first line for a header when columns are asked for, even of numbers', () => {
    expect(read('0,1\n5,6\n', { columns: ['1'] })).toEqual({ shape: [1, 1], data: [6] })
    expect(read('0,1\n5,6\n')).toEqual({ shape: [2, 2], data: [0, 1, 5, 6] })
  })

  test.each(['', 'NaN', 'nan', '-inf', 'Infinity', 'NA', 'n/a', 'null', 'None', '?', '-'])(
    'loses no row: a first line with "%s" among numbers is refused, and not taken for a header',
    (gap) => {
      const message = 'mine.csv: line 1, column 2: expected a number, got a missing value'
      expect(thrownBy(() => parseCsv(`1,${gap},3\n4,5,6\n`, { name: 'mine.csv' }))).toEqual(refused(message))
    },
  )

  test.each([
    ['text', '1,2\n3,x\n', 'line 2, column 2: expected a number, got text'],
    ['text under a header', 'a,b\r\n1,2\r\nx,3\r\n', 'line 3, column 1: expected a number, got text'],
    ['text after lines of a quoted header', '"a\nb",c\n1,x\n', 'line 3, column 2: expected a number, got text'],
    ['a second header', 'a,b\nc,d\n', 'line 2, column 1: expected a number, got text'],
    ['an empty cell', '1,2\n3,\n', 'line 2, column 2: expected a number, got a missing value'],
    ['hexadecimal', '1\n0x10\n', 'line 2, column 1: expected a number, got text'],
    ['a decimal comma', '1;2\n3,5;4\n', 'line 2, column 2: expected 1 cells as in the first line, got 2'],
    ['a number that float32 cannot hold', '1\n3.5e38\n', 'line 2, column 1: expected a number that fits float32'],
    ['a line too short', 'a,b\n1,2\n3\n', 'line 3, column 2: expected 2 cells as in the first line, got 1'],
    ['a line too long', '1,2\n3,4,5\n', 'line 2, column 3: expected 2 cells as in the first line, got 3'],
    ['an empty line', '1\n\n2\n', 'line 2: expected numbers, got an empty line'],
    ['an empty line at the end', '1\n\n', 'line 2: expected numbers, got an empty line'],
    ['nothing', '', 'line 1: expected numbers, got nothing'],
    ['nothing but a mark of the byte order', '\uFEFF', 'line 1: expected numbers, got nothing'],
    ['nothing but a header', 'a,b\n', 'line 2: expected rows after the header, got none'],
    ['a quote that is not closed', '1,2\n3,"4\n5,6\n', 'line 2, column 2: a quote is opened and never closed'],
    ['a quote inside a cell', '1,2\n1"2,3\n', 'line 2, column 1: a quote is out of place'],
    ['a cell after a quote', '1,2\n3,"4"5\n', 'line 2, column 2: a quote is out of place'],
  ])('refuses %s, and says where', (_, text, message) => {
    expect(thrownBy(() => parseCsv(text, { name: 'mine.csv' }))).toEqual(refused(`mine.csv: ${message}`))
  })

  test.each([
    ['a column that is not there', ['c'], 'line 1: expected a column "c" among the 3 of the header'],
    ['a column that is there twice', ['a'], 'line 1, column 3: expected one column "a", got another in column 1'],
  ])('refuses %s', (_, columns, message) => {
    expect(thrownBy(() => parseCsv('a,b,a\n1,2,3\n', { columns }))).toEqual(refused(message))
    expect(read('a,b,a\n1,2,3\n', { columns: ['b'] }).data).toEqual([2])
  })

  test('refuses columns that are none, or named twice', () => {
    for (const columns of [[], ['a', 'a']]) {
      const error = thrownBy(() => parseCsv('a,b\n1,2\n', { columns }))
      expect(error).toEqual(expect.objectContaining({ name: 'ValueError', code: 'ERR_ARGUMENT_VALUE' }))
    }
  })

  test.each([
    '1,2\nhidden,3\n',
    '1,2\n3,"hidden\n',
    '1,2\nhidden"x,3\n',
    '1,2\n"hidden"x,3\n',
    '1,2\nhidden\n',
    'hidden,1\nx,2\n',
  ])('shows no cell in an error: %j', (text) => {
    const error = thrownBy(() => parseCsv(text))
    expect(error).toEqual(refused())
    const { message, stack, cause, details } = error as Error & { details: unknown }
    expect(JSON.stringify([message, stack, details])).not.toContain('hidden')
    expect(cause).toBeUndefined()
  })

  test('takes time in proportion to a cell, however it is written', () => {
    for (const cell of [`${'1'.repeat(100_000)}x`, `${'1'.repeat(100_000)}e`, `${'.'.repeat(100_000)}`]) {
      expect(thrownBy(() => parseCsv(`1\n${cell}\n`))).toEqual(refused('line 2, column 1'))
    }
  })

  test('throws nothing but ERR_DATA_FORMAT for text of any kind', () => {
    const signs = fc.constantFrom(...'0123456789.,,,,\n\n\r"" +-eExa\uFEFF\u00e9?')
    const bytes = fc.uint8Array({ maxLength: 40 })
    const texts = fc.oneof(
      fc.string({ unit: signs, maxLength: 40 }),
      bytes.map((some) => Buffer.from(some).toString('latin1')),
    )
    fc.assert(
      fc.property(texts, fc.constantFrom(undefined, ['a'], ['1']), (text, columns) => {
        const result = thrownBy(() => parseCsv(text, { columns }))
        // Compared as a whole, each error would have its stack mapped back to the source, at some milliseconds.
        if (result instanceof Error) expect(isSottoError(result) && result.code).toBe('ERR_DATA_FORMAT')
        else expect((result as { data: Float32Array }).data.every(Number.isFinite)).toBe(true)
      }),
      { numRuns: 500 },
    )
  })
})
