/** Files of an owner's own data as tensors: .npy, .csv and IDX, each gzipped or not. */
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import { sottoError } from '../errors.ts'
import { checkOptions } from '../options.ts'
import type { Spec } from '../tensor/shape.ts'
import { parseIdx } from './idx.ts'
import { parseNpy } from './npy.ts'
import { parseCsv } from './table.ts'

/** A tensor outside the engine. */
export interface TensorData extends Spec {
  /** The elements in row-major order, in the array of the dtype; bools are 0 and 1. */
  readonly data: Float32Array | Int32Array | Uint8Array
}

export interface DataFileOptions {
  /** Of a .csv file, the columns to take, in this order, by their names in the header. Default: all. */
  readonly columns?: readonly string[] | undefined
}

const gunzipBytes = promisify<Uint8Array, Uint8Array>(gunzip)

/** Tensors of more axes do not travel. */
const mostAxes = 6

type Parse = (bytes: Uint8Array, path: string, options: DataFileOptions) => TensorData

/** How the content is read, by the end of the file's name. */
const parsers: Readonly<Record<string, Parse>> = {
  '.npy': (bytes, path) => parseNpy(bytes, path),
  '.csv': (bytes, path, { columns }) => parseCsv(decodeUtf8(bytes, path), { name: path, columns }),
  '.idx': (bytes, path) => idxTensor(bytes, path),
  '-ubyte': (bytes, path) => idxTensor(bytes, path),
}

/**
 * Reads a file of numbers. What it is, its name tells, in capitals or not: `.npy` (see `parseNpy`), `.csv` (see
 * `parseCsv`), `.idx` or `-ubyte` as the files of MNIST are called; each with `.gz` behind it when it is gzipped.
 *
 * The unsigned bytes of an IDX file become float32 from 0 to 255, not scaled, when they have two axes or more, and
 * int32 when they have one: images and labels, as tfjs takes them.
 *
 * @throws DataError `ERR_DATA_MISSING` when the file is not there or cannot be read; `ERR_DATA_FORMAT` when its name
 * ends otherwise, its content is not what the name says, or it has more than 6 axes; ValueError `ERR_ARGUMENT_VALUE`
 * for an unknown option, or for `columns` of a file other than .csv
 */
export async function readDataFile(path: string, options: DataFileOptions = {}): Promise<TensorData> {
  checkOptions('readDataFile', options, ['columns'])
  const file = path.toLowerCase()
  const packed = file.endsWith('.gz')
  const ending = Object.keys(parsers).find((end) => (packed ? file.slice(0, -3) : file).endsWith(end))
  if (ending === undefined) {
    throw sottoError(
      'ERR_DATA_FORMAT',
      `${path}: expected a name that ends in ${Object.keys(parsers).join(', ')}, with or without .gz`,
      { path },
    )
  }
  if (options.columns !== undefined && ending !== '.csv') {
    throw sottoError('ERR_ARGUMENT_VALUE', `${path}: "columns" are for .csv files, which name theirs`, { path })
  }

  const content = await readWhole(path)
  const tensor = parsers[ending]!(packed ? await unpack(content, path) : content, path, options)
  if (tensor.shape.length > mostAxes) {
    throw sottoError('ERR_DATA_FORMAT', `${path}: expected at most ${mostAxes} axes, got ${tensor.shape.length}`, {
      path,
    })
  }
  return tensor
}

async function readWhole(path: string): Promise<Uint8Array> {
  try {
    return await readFile(path)
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const what = code === 'ENOENT' ? 'there is no such file' : `it cannot be read: ${message}`
    throw sottoError('ERR_DATA_MISSING', `${path}: ${what}`, { path }, error)
  }
}

async function unpack(bytes: Uint8Array, path: string): Promise<Uint8Array> {
  try {
    return await gunzipBytes(bytes)
  } catch (error) {
    throw sottoError('ERR_DATA_FORMAT', `${path}: does not unpack: ${(error as Error).message}`, { path }, error)
  }
}

function decodeUtf8(bytes: Uint8Array, path: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (error) {
    // Not UTF-8, or longer than a string can be.
    throw sottoError('ERR_DATA_FORMAT', `${path}: is no text: ${(error as Error).message}`, { path }, error)
  }
}

function idxTensor(bytes: Uint8Array, path: string): TensorData {
  const { shape, data } = parseIdx(bytes, { name: path })
  return shape.length === 1
    ? { shape, dtype: 'int32', data: Int32Array.from(data) }
    : { shape, dtype: 'float32', data: Float32Array.from(data) }
}
