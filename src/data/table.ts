/** Tables of numbers as text: CSV (RFC 4180), with or without a header. */
import { CsvError, parse } from 'csv-parse/sync'
import { sottoError } from '../errors.ts'
import type { TensorData } from './data-file.ts'

export interface CsvOptions {
  /** The name of the file for messages. Default: "CSV file". */
  readonly name?: string | undefined
  /**
   * The columns to take, in this order, by their names in the header. The first line is then a header whatever it
   * holds, and the other columns may hold anything. Default: all.
   */
  readonly columns?: readonly string[] | undefined
}

/** A decimal number, maybe with an exponent; written so that no cell makes it try twice. */
const decimal = /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?$/i

/**
 * What tables write where there is no number to write. It is the name of no column either: were a first line with a gap
 * taken for a header, that row of data would be lost without a word.
 */
const missing = /^(?:[+-]?(?:nan|inf(?:inity)?)|n\/?a|null|none|[-?])?$/i

/**
 * Parses a table of numbers, cells separated by commas. The first line is a header when any of its cells is neither a
 * number nor the mark of a missing value (an empty cell, `NaN`, `NA`, `null`, `?` and the like).
 *
 * Everything becomes float32, rounded to the nearest: integers too, which stay exact up to 2^24; for larger ones, or
 * labels as int32, take a .npy file, or cast on the worker. A missing value is refused, and so is one that float32
 * cannot hold: what should stand in for it is for the owner to say. Spaces around a cell do not count.
 *
 * @returns float32, shape [rows, columns]
 * @throws DataError `ERR_DATA_FORMAT`, naming line and column from 1 and never a cell's text, for a cell that is no
 * number, lines of different lengths, a column that is not there or there twice, and a table without rows; ValueError
 * `ERR_ARGUMENT_VALUE` when `columns` is empty or names one twice
 */
export function parseCsv(text: string, options: CsvOptions = {}): TensorData {
  // Every number takes up a character, and another to separate it from the next.
  const { shape, values } = parseNumbers(text, options, new Float32Array((text.length + 1) >> 1), 'float32')
  return { shape, dtype: 'float32', data: values }
}

/** A table with all the digits that doubles have. */
export interface NumberTable {
  /** The names of the columns, where the first line is a header. */
  readonly columns: readonly string[] | null
  readonly shape: readonly [rows: number, columns: number]
  readonly values: Float64Array
}

/** As {@link parseCsv}, for whoever takes doubles, and the names of the columns along with them. */
export const parseTable = (text: string, options: CsvOptions = {}): NumberTable =>
  parseNumbers(text, options, new Float64Array((text.length + 1) >> 1), 'a double')

function parseNumbers<T extends Float32Array | Float64Array>(
  text: string,
  options: CsvOptions,
  values: T,
  kind: string,
): Omit<NumberTable, 'values'> & { readonly values: T } {
  const { name = 'CSV file', columns } = options
  if (columns !== undefined && (columns.length === 0 || new Set(columns).size !== columns.length)) {
    throw sottoError('ERR_ARGUMENT_VALUE', '"columns" expected at least one name, and none twice', { columns })
  }
  const refuse = (what: string, line: number, column?: number): never => {
    const place = column === undefined ? `line ${line}` : `line ${line}, column ${column}`
    throw sottoError('ERR_DATA_FORMAT', `${name}: ${place}: ${what}`, { name, line, column })
  }

  let count = 0
  /** Cells in every line: as many as in the first. */
  let width: number | undefined
  /** The line that the next record begins in. */
  let next = 1
  /** The columns to take, from 0, and their names in the header. */
  let taken: readonly number[] = []
  let names: readonly string[] | null = null

  /** Settles the columns; returns whether the line is a header. */
  const readFirst = (cells: readonly string[]): boolean => {
    width = cells.length
    taken = columns?.map((column) => find(column, cells)) ?? cells.map((_, index) => index)
    const isHeader = columns !== undefined || cells.some((cell) => !decimal.test(cell) && !missing.test(cell))
    if (isHeader) names = taken.map((index) => cells[index]!)
    return isHeader
  }
  const find = (column: string, header: readonly string[]): number => {
    const first = header.indexOf(column)
    if (first === -1) return refuse(`expected a column "${column}" among the ${header.length} of the header`, 1)
    const second = header.indexOf(column, first + 1)
    if (second !== -1) {
      return refuse(`expected one column "${column}", got another in column ${first + 1}`, 1, second + 1)
    }
    return first
  }
  const readLine = (cells: readonly string[], line: number): void => {
    if (cells.length === 1 && cells[0] === '') refuse('expected numbers, got an empty line', line)
    if (width === undefined && readFirst(cells)) return
    if (cells.length !== width) {
      refuse(
        `expected ${width} cells as in the first line, got ${cells.length}`,
        line,
        Math.min(cells.length, width!) + 1,
      )
    }
    for (const index of taken) {
      const cell = cells[index]!
      if (!decimal.test(cell)) {
        refuse(`expected a number, got ${missing.test(cell) ? 'a missing value' : 'text'}`, line, index + 1)
      }
      values[count] = Number(cell)
      if (!Number.isFinite(values[count++])) refuse(`expected a number that fits ${kind}`, line, index + 1)
    }
  }

  try {
    parse(text, {
      // Also takes off the mark of the byte order.
      trim: true,
      record_delimiter: ['\r\n', '\n', '\r'],
      // Lines of another length come through to be counted here; none is kept there.
      relax_column_count: true,
      on_record: (cells: string[], { lines }) => {
        readLine(cells, lines)
        next = lines + 1
        return null
      },
    })
  } catch (error) {
    if (!(error instanceof CsvError)) throw error
    // Not as a cause: it carries the cells of the line.
    const { code, lines, column } = error as CsvError & { readonly lines: number; readonly column: number }
    // Seen at the end of the file, when every line since has gone into one cell.
    if (code === 'CSV_QUOTE_NOT_CLOSED') refuse('a quote is opened and never closed', next, column + 1)
    refuse('a quote is out of place', lines, column + 1)
  }
  if (width === undefined) return refuse('expected numbers, got nothing', 1)
  if (count === 0) return refuse('expected rows after the header, got none', 2)
  return { columns: names, shape: [count / taken.length, taken.length], values: values.slice(0, count) as T }
}
