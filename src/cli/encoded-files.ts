/** Numbers of files as ring elements. */
import { type NumberTable, parseTable } from '../data/table.ts'
import { sottoError } from '../errors.ts'
import { type Encoding, scaleOf } from '../smpc/encoding.ts'
import { encodeLimits } from '../smpc/ring/check.ts'
import { ring } from '../smpc/ring/choose.ts'
import { type RingTensor, ringTensor } from '../smpc/ring/tensor.ts'
import type { Shape } from '../tensor/shape.ts'

/** @throws DataError `ERR_DATA_FORMAT` that names line and column, from 1, and never a cell's text */
export function tableIn(bytes: Uint8Array, path: string, columns?: readonly string[]): NumberTable {
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw sottoError('ERR_DATA_FORMAT', `${path}: is no text in UTF-8`, { path })
  }
  return parseTable(text, { name: path, columns })
}

/** @throws DataError `ERR_DATA_FORMAT` that names row and column, from 1, and shows no value */
export function encodedFrom(
  path: string,
  shape: Shape,
  values: Float32Array | Float64Array,
  encoding: Encoding,
): RingTensor {
  const scale = scaleOf(encoding)
  const limit = encodeLimits[encoding.ring]
  const wrong = values.findIndex((value) => !(Math.abs(value * scale) < limit))
  if (wrong === -1) return ringTensor(encoding.ring, shape, ring(encoding.ring).encode(values, scale))
  const width = shape.at(-1) ?? 1
  const place = `row ${Math.floor(wrong / width) + 1}, column ${(wrong % width) + 1}`
  throw sottoError(
    'ERR_DATA_FORMAT',
    `${path}: ${place}: expected a finite number below ${limit / scale} in magnitude; fewer digits leave more room`,
    { path },
  )
}
