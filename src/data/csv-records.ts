/**
 * Records of a large CSV file (RFC 4180), one after the other: the file is never in memory as a whole, and cells that nobody
 * asked for are passed over. The first record is the header.
 */
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { sottoError } from '../errors.ts'

export interface CsvRecordsOptions {
  /** The columns to read, by their names in the header. */
  readonly columns: readonly string[]
  /** Gets the cells of the columns, in their order, and the record as it stands in the file, without the end of the line. */
  readonly onRecord: (cells: readonly string[], raw: () => string) => void
  /** Told now and then how many bytes of how many were read. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined
  readonly signal?: AbortSignal | undefined
}

/** Bytes that are read at once. */
const PIECE = 2 ** 20
/** Bytes of a record at most: a quote that is never closed would keep the rest of the file. */
const LARGEST_RECORD = 2 ** 22

const [COMMA, QUOTE, CR, LF] = [44, 34, 13, 10]

/**
 * Reads the records of a file, gzipped where its name ends in `.gz`.
 *
 * @returns the header as it stands in the file, and how many records follow it
 * @throws DataError `ERR_DATA_MISSING` when the file cannot be read; `ERR_DATA_FORMAT`, with the line and never a cell, for a
 * column that is not there or there twice, records of different lengths, quotes out of place, and what is no UTF-8;
 * SessionError `ERR_ABORTED`
 */
export async function readCsvRecords(
  path: string,
  options: CsvRecordsOptions,
): Promise<{ header: string; records: number }> {
  const { columns, onProgress, signal } = options
  if (columns.length === 0 || new Set(columns).size !== columns.length) {
    throw sottoError('ERR_ARGUMENT_VALUE', '"columns" expected at least one name, and none twice', { columns })
  }
  const scanner = new Scanner(path, options)
  try {
    const total = (await stat(path)).size
    const file = createReadStream(path, { highWaterMark: PIECE, ...(signal ? { signal } : {}) })
    let done = 0
    file.on('data', ({ length }) => {
      done += length
      onProgress?.(done, total)
    })
    for await (const piece of unpacked(file, path)) scanner.push(piece)
  } catch (error) {
    const { code, message, syscall } = error as NodeJS.ErrnoException
    if (signal?.aborted) throw sottoError('ERR_ABORTED', `${path}: reading was given up`, { path }, signal.reason)
    if (code?.startsWith('Z_')) throw sottoError('ERR_DATA_FORMAT', `${path}: it is no gzip file, or was cut`, { path })
    if (syscall === undefined) throw error
    const what = code === 'ENOENT' ? 'there is no such file' : `it cannot be read: ${message}`
    throw sottoError('ERR_DATA_MISSING', `${path}: ${what}`, { path }, error)
  }
  return scanner.finish()
}

function unpacked(file: Readable, path: string): AsyncIterable<Buffer> {
  if (!path.toLowerCase().endsWith('.gz')) return file
  const gunzip = createGunzip()
  file.on('error', (error) => gunzip.destroy(error))
  return file.pipe(gunzip)
}

/** Finds records in pieces of a file. */
class Scanner {
  readonly #name: string
  readonly #options: CsvRecordsOptions
  /** What has been read of a record that has not ended. */
  #rest: Buffer = Buffer.alloc(0)
  /** The columns to take, from 0; unknown before the header. */
  #taken: readonly number[] | null = null
  #header = ''
  #width = 0
  #records = 0
  /** The line that the next record begins in. */
  #line = 1
  /** Where the cells of a record begin and end; of one in quotes, what is between them, as −1 − beginning if it has quotes itself. */
  #starts: number[] = []
  #ends: number[] = []

  constructor(name: string, options: CsvRecordsOptions) {
    this.#name = name
    this.#options = options
  }

  push(piece: Buffer): void {
    const bytes = this.#rest.length === 0 ? piece : Buffer.concat([this.#rest, piece])
    this.#rest = bytes.subarray(this.#scan(bytes, false))
    if (this.#rest.length > LARGEST_RECORD) this.#refuse(`a record is longer than ${LARGEST_RECORD} bytes`)
    // What stays must not keep a whole piece.
    this.#rest = Buffer.from(this.#rest)
  }

  finish(): { header: string; records: number } {
    if (this.#rest.length > 0) this.#scan(this.#rest, true)
    if (this.#taken === null) this.#refuse('expected a header, got nothing')
    return { header: this.#header, records: this.#records }
  }

  /** Takes all records that have ended. @returns where the first begins that has not */
  #scan(bytes: Buffer, isLast: boolean): number {
    let at = this.#taken === null ? markOf(bytes) : 0
    while (at < bytes.length) {
      const end = this.#record(bytes, at, isLast)
      if (end < 0) return at
      at = end
    }
    return at
  }

  /** @returns where the record that begins here is over, its end of line included; −1 when it goes on */
  #record(bytes: Buffer, from: number, isLast: boolean): number {
    this.#starts.length = 0
    this.#ends.length = 0
    let lines = 1
    let at = from
    for (;;) {
      // One cell.
      if (bytes[at] === QUOTE) {
        const start = at + 1
        let hasQuotes = false
        at++
        for (;;) {
          const next = bytes.indexOf(QUOTE, at)
          if (next < 0) return isLast ? this.#refuse('a quote is opened and never closed') : -1
          for (let i = at; i < next; i++) if (bytes[i] === LF) lines++
          if (next + 1 >= bytes.length && !isLast) return -1
          at = next + 1
          if (bytes[at] !== QUOTE) break
          hasQuotes = true
          at++
        }
        this.#starts.push(hasQuotes ? -1 - start : start)
        this.#ends.push(at - 1)
      } else {
        this.#starts.push(at)
        while (at < bytes.length && bytes[at] !== COMMA && bytes[at] !== LF && bytes[at] !== CR) {
          if (bytes[at] === QUOTE) this.#refuse('a quote is out of place')
          at++
        }
        this.#ends.push(at)
      }
      if (at >= bytes.length) {
        if (!isLast) return -1
        break
      }
      if (bytes[at] === COMMA) {
        at++
        continue
      }
      if (bytes[at] === CR || bytes[at] === LF) break
      this.#refuse('a quote is out of place')
    }
    let next = at
    if (bytes[next] === CR) {
      // Whether a line feed follows, the next piece tells.
      if (next + 1 >= bytes.length && !isLast) return -1
      next++
    }
    if (bytes[next] === LF && next < bytes.length) next++
    this.#take(bytes, from, at)
    this.#line += lines
    return next
  }

  #cell(bytes: Buffer, index: number): string {
    const start = this.#starts[index]!
    const text = bytes.toString('utf8', start < 0 ? -1 - start : start, this.#ends[index])
    if (text.includes('\ufffd')) this.#refuse('it is no UTF-8')
    return start < 0 ? text.replaceAll('""', '"') : text
  }

  #take(bytes: Buffer, from: number, to: number): void {
    const count = this.#starts.length
    const raw = () => bytes.toString('utf8', from, to)
    if (this.#taken === null) {
      this.#width = count
      this.#header = raw()
      const header = Array.from({ length: count }, (_, index) => this.#cell(bytes, index).trim())
      this.#taken = this.#options.columns.map((column) => this.#find(column, header))
      return
    }
    if (count !== this.#width) this.#refuse(`expected ${this.#width} cells as in the header, got ${count}`)
    this.#records++
    const cells = this.#taken.map((index) => this.#cell(bytes, index))
    this.#options.onRecord(cells, raw)
  }

  #find(column: string, header: readonly string[]): number {
    const first = header.indexOf(column)
    if (first === -1) return this.#refuse(`expected a column "${column}" among the ${header.length} of the header`)
    if (header.includes(column, first + 1)) return this.#refuse(`expected one column "${column}", got two`)
    return first
  }

  #refuse(what: string): never {
    const line = this.#line
    throw sottoError('ERR_DATA_FORMAT', `${this.#name}: line ${line}: ${what}`, { name: this.#name, line })
  }
}

/** Bytes of the mark of the byte order, if there is one. */
const markOf = (bytes: Buffer): number => (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0)
