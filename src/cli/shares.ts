/** `sotto shares`: a table or an array as parts of a secret, one file for each party, and back. */
import { mkdir } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { readDataFile } from '../data/data-file.ts'
import { formatNpy } from '../data/npy.ts'
import { sottoError } from '../errors.ts'
import { type Encoding, fixedEncoding, INTEGER, isFixed, scaleOf, showEncoding, TRUTH } from '../smpc/encoding.ts'
import { ring } from '../smpc/ring/choose.ts'
import { numbersOf, type RingTensor, ringTensor } from '../smpc/ring/tensor.ts'
import { joinParts, readPart, splitIntoFiles } from '../smpc/share-file.ts'
import { showShape } from '../tensor/shape.ts'
import { encodedFrom, tableIn } from './encoded-files.ts'
import { type Io, UsageError } from './io.ts'
import { createWhole, readBytes } from './secret-files.ts'

export interface SplitFlags {
  readonly parties: number
  readonly protocol?: 'replicated' | 'additive'
  readonly out: string
  readonly ring?: number
  readonly base?: number
  readonly digits?: number
}

export interface JoinFlags {
  readonly out: string
}

/** What is to be split. */
interface Given {
  readonly value: RingTensor
  readonly encoding: Encoding
  readonly columns: readonly string[] | null
}

/** Splits a file of numbers, and says in one line into what. */
export async function splitFile(path: string, flags: SplitFlags, io: Io): Promise<void> {
  const { parties, out, ring: bits, base, digits } = flags
  const protocol = flags.protocol ?? (parties === 3 ? 'replicated' : 'additive')
  const precision = {
    ...(bits === undefined ? {} : { ring: bits as 64 }),
    ...(base === undefined ? {} : { base }),
    ...(digits === undefined ? {} : { precisionFractional: digits }),
  }
  const { value, encoding, columns } = await readNumbers(path, fixedEncoding('sotto shares split', precision))
  const files = splitIntoFiles(value, { encoding, protocol, parties, columns })
  await mkdir(out, { recursive: true, mode: 0o700 })
  const name = basename(path).replace(/(\.(csv|npy|idx))?(\.gz)?$/i, '')
  const paths = files.map((_, party) => join(out, `${name}.${party}.share`))
  for (const [i, file] of files.entries()) await createWhole(paths[i]!, file)
  const what = `${showEncoding(encoding)} ${showShape(value.shape)}`
  io.out(`${what} in ${parties} parts, by ${protocol} sharing: ${paths.join(', ')}\n`)
}

async function readNumbers(path: string, fixed: Encoding): Promise<Given> {
  if (path.toLowerCase().endsWith('.csv')) {
    const { columns, shape, values } = tableIn(await readBytes(path), path)
    return { columns, encoding: fixed, value: encodedFrom(path, shape, values, fixed) }
  }
  const { shape, dtype, data } = await readDataFile(path)
  if (data instanceof Float32Array)
    return { columns: null, encoding: fixed, value: encodedFrom(path, shape, data, fixed) }
  const encoding = (dtype === 'bool' ? TRUTH : INTEGER)[fixed.ring]
  const words = ring(fixed.ring).fromInt32(Int32Array.from(data))
  return { columns: null, encoding, value: ringTensor(fixed.ring, shape, words) }
}

/** Puts parts together, and writes what was split: as a table or an array, as the name of the file says. */
export async function joinFiles(paths: readonly string[], { out }: JoinFlags, io: Io): Promise<void> {
  const format = formats.find(({ end }) => out.toLowerCase().endsWith(end))
  if (format === undefined) {
    throw new UsageError(`--out expected a name that ends in ${formats.map(({ end }) => end).join(' or ')}`)
  }
  const parts = []
  for (const name of paths) parts.push({ name, part: readPart(await readBytes(name), name) })
  const value = joinParts(parts)
  const { encoding, columns } = parts[0]!.part
  await createWhole(out, format.write({ value, encoding, columns }, out))
  io.out(`${out}: ${showEncoding(encoding)} ${showShape(value.shape)}\n`)
}

const formats: readonly { readonly end: string; readonly write: (given: Given, out: string) => Uint8Array | string }[] =
  [
    { end: '.csv', write: tableOf },
    { end: '.npy', write: arrayOf },
  ]

function tableOf({ value, encoding, columns }: Given, out: string): string {
  const { shape } = value
  if (shape.length === 0 || shape.length > 2) {
    throw sottoError('ERR_ARGUMENT_VALUE', `${out}: a table has two axes, and what was split has ${shape.length}; .npy`)
  }
  const width = shape[1] ?? 1
  const scale = scaleOf(encoding)
  const units = numbersOf(value)
  const lines = Array.from({ length: shape[0]! }, (_, row) =>
    Array.from(units.slice(row * width, (row + 1) * width), (number) => decimalOf(Number(number), scale)).join(),
  )
  return [...(columns === null ? [] : [columns.map(quoted).join()]), ...lines].map((line) => `${line}\n`).join('')
}

/** A cell of a table (RFC 4180, section 2). */
const quoted = (cell: string): string => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell)

/** Digits after the point that a scale of 2^52 can tell apart. */
const MOST_DIGITS = 53

/** The shortest decimal that is encoded like this: what was split, where it had no more digits than fit. */
function decimalOf(units: number, scale: number): string {
  const value = units / scale
  if (scale === 1) return String(units)
  for (let digits = 0; digits < MOST_DIGITS; digits++) {
    const text = value.toFixed(digits)
    if (Math.abs(Number(text) * scale - units) < 0.5) return /^-0(\.0*)?$/.test(text) ? '0' : text
  }
  return String(value)
}

function arrayOf({ value: { shape, data }, encoding }: Given): Uint8Array {
  const kernels = ring(encoding.ring)
  if (isFixed(encoding)) return formatNpy({ shape, dtype: 'float32', data: kernels.decode(data, scaleOf(encoding)) })
  const whole = kernels.toInt32(data)
  if (encoding.dtype === 'int32') return formatNpy({ shape, dtype: 'int32', data: whole })
  return formatNpy({ shape, dtype: 'bool', data: Uint8Array.from(whole) })
}
