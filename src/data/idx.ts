/**
 * The IDX format of the MNIST files: http://yann.lecun.com/exdb/mnist/, "the IDX file format".
 *
 * Two zero bytes, a byte for the type of the elements, a byte for the rank, one big-endian uint32 for each dimension,
 * then the elements in row-major order. Of the types only 0x08, unsigned bytes, is read here: MNIST has no other.
 */
import { sottoError } from '../errors.ts'

export interface IdxArray {
  /** The dimensions, each at least 1. */
  readonly shape: readonly number[]
  /** The elements in row-major order: a view of the bytes parsed, not a copy. */
  readonly data: Uint8Array
}

const unsignedByte = 0x08

/**
 * Parses an IDX file of unsigned bytes; all of it must be accounted for.
 *
 * @param bytes the file, unpacked
 * @param expected its name for messages, and the rank it must have
 * @throws DataError `ERR_DATA_FORMAT` when the bytes are anything else; nothing else is thrown
 */
export function parseIdx(bytes: Uint8Array, expected: { name?: string; rank?: number } = {}): IdxArray {
  const { name = 'IDX file', rank: expectedRank } = expected
  const refuse = (what: string, details: Record<string, unknown> = {}): never => {
    throw sottoError('ERR_DATA_FORMAT', `${name}: ${what}`, { name, ...details })
  }

  if (bytes.length < 4) return refuse(`expected a magic number of 4 bytes, got ${bytes.length} in all`)
  const [zero0, zero1, type, rank] = bytes as unknown as [number, number, number, number]
  if (zero0 !== 0 || zero1 !== 0) {
    return refuse(`expected two zero bytes at the start, got ${hex(zero0)} ${hex(zero1)}; is it still packed?`)
  }
  if (type !== unsignedByte) return refuse(`expected elements of type 0x08 (unsigned byte), got ${hex(type)}`)
  if (rank === 0) return refuse('expected a rank of at least 1, got 0')
  if (expectedRank !== undefined && rank !== expectedRank) return refuse(`expected rank ${expectedRank}, got ${rank}`)

  const header = 4 + 4 * rank
  if (bytes.length < header) return refuse(`expected a header of ${header} bytes, got ${bytes.length} in all`)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const shape = Array.from({ length: rank }, (_, axis) => view.getUint32(4 + 4 * axis))
  if (shape.includes(0)) return refuse(`expected dimensions of at least 1, got [${shape}]`, { shape })

  // A product of up to 255 dimensions may leave the range of exact integers, but then it is no length of any file.
  const count = shape.reduce((product, size) => product * size, 1)
  const held = bytes.length - header
  if (count !== held) {
    return refuse(`expected ${count} bytes after the header for shape [${shape}], got ${held}`, { shape, held })
  }
  // Not subarray(): given a Buffer that would be a Buffer, whose slice() does not copy as that of Uint8Array does.
  return { shape, data: new Uint8Array(bytes.buffer, bytes.byteOffset + header, count) }
}

const hex = (byte: number): string => `0x${byte.toString(16).padStart(2, '0')}`
