/**
 * NumPy's .npy format, versions 1.0, 2.0 and 3.0: one array in a file.
 * https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
 *
 * A magic string, two bytes of version, the length of the header, the header, the elements. The header is a dict as
 * Python writes it, with three entries; it is read here by its own small grammar, and nothing in it is ever evaluated.
 * Arrays of records, of objects (pickles) and of complex numbers, texts or times are refused.
 */
import { sottoError } from '../errors.ts'
import type { DType } from '../tensor/shape.ts'
import type { TensorData } from './data-file.ts'

const magic = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59] // "\x93NUMPY"
/** The longest header that NumPy itself reads without being told to (`_MAX_HEADER_SIZE` of its `numpy.lib.format`). */
const longestHeader = 10_000
/** Elements begin at a multiple of so many bytes, so that a file can be mapped into memory. */
const alignment = 64

type Refuse = (what: string, details?: Record<string, unknown>) => never

/**
 * Parses a .npy file; all of it must be accounted for.
 *
 * float16, float32 and float64 become float32, rounded to the nearest, NaN and infinities kept; integers of 8 to 64
 * bits, signed or not, become int32; bool stays. A finite value that its dtype here cannot hold is refused, and never
 * becomes another. Either byte order; a file in Fortran's order is transposed.
 *
 * @param bytes the file, unpacked
 * @param name its name for messages
 * @returns the elements row by row: a copy
 * @throws DataError `ERR_DATA_FORMAT` when the bytes are anything else; nothing else is thrown
 */
export function parseNpy(bytes: Uint8Array, name = 'NPY file'): TensorData {
  const refuse: Refuse = (what, details = {}) => {
    throw sottoError('ERR_DATA_FORMAT', `${name}: ${what}`, { name, ...details })
  }
  const { begin, text } = locateHeader(bytes, refuse)
  const { descr, fortran_order: fortran, shape } = parseHeader(text, refuse)
  const { little, element } = elementOf(descr, refuse)

  // As in NumPy, the other dimensions of an array without elements must make sense too.
  const extent = shape.reduce((product, size) => (size === 0 ? product : product * size), element.bytes)
  if (extent > Number.MAX_SAFE_INTEGER) return refuse(`no file has as many elements as shape [${shape}]`, { shape })
  const expected = shape.includes(0) ? 0 : extent
  const held = bytes.length - begin
  if (expected !== held) {
    return refuse(`expected ${expected} bytes after the header for ${descr} of shape [${shape}], got ${held}`, {
      shape,
      held,
    })
  }

  const { dtype } = element
  const data = new arrays[dtype](expected / element.bytes)
  const view = new DataView(bytes.buffer, bytes.byteOffset + begin, expected)
  const fits = range[dtype]
  for (let i = 0; i < data.length; i++) {
    const value = element.read(view, i * element.bytes, little)
    if (!fits(value)) {
      const rows = shape[0] ?? 1
      const row = fortran ? i % rows : Math.floor((i * rows) / data.length)
      return refuse(`row ${row}, counted from 0, holds a value of ${descr} that does not fit ${dtype}`, { row, dtype })
    }
    data[i] = value
  }
  return { shape, dtype, data: fortran ? toRowMajor(data, shape) : data }
}

/**
 * Writes a .npy file of version 1.0, as `numpy.save` does: little-endian, in row-major order. float32 is written as
 * `<f4`, int32 as `<i4`, bool as `|b1` (whatever is not 0 becomes 1).
 *
 * @throws ValueError `ERR_ARGUMENT_VALUE` when shape and number of elements differ; ArgumentError `ERR_DTYPE` when the
 * array is not the one of the dtype
 */
export function formatNpy({ shape, dtype, data }: TensorData): Uint8Array {
  if (!(data instanceof arrays[dtype])) {
    throw sottoError('ERR_DTYPE', `formatNpy: "data" expected ${arrays[dtype].name} for ${dtype}`, { dtype })
  }
  const fits = shape.every((size) => Number.isSafeInteger(size) && size >= 0)
  if (!fits || shape.reduce((product, size) => product * size, 1) !== data.length) {
    throw sottoError('ERR_ARGUMENT_VALUE', `formatNpy: shape [${shape}] does not hold ${data.length} elements`, {
      shape,
    })
  }
  const tuple = shape.length === 1 ? `(${shape},)` : `(${shape.join(', ')})`
  const dict = `{'descr': '${descrs[dtype]}', 'fortran_order': False, 'shape': ${tuple}, }`
  const begin = Math.ceil((magic.length + 4 + dict.length + 1) / alignment) * alignment

  const file = new Uint8Array(begin + data.byteLength)
  file.set([...magic, 1, 0])
  const view = new DataView(file.buffer)
  view.setUint16(8, begin - 10, true)
  file.set(new TextEncoder().encode(`${dict.padEnd(begin - 11)}\n`), 10)
  // In the order of the machine, which is little-endian wherever tensors are.
  const elements = data instanceof Uint8Array ? data.map((value) => (value === 0 ? 0 : 1)) : data
  file.set(new Uint8Array(elements.buffer, elements.byteOffset, elements.byteLength), begin)
  return file
}

const arrays = { float32: Float32Array, int32: Int32Array, bool: Uint8Array } as const
const descrs = { float32: '<f4', int32: '<i4', bool: '|b1' } as const satisfies Record<DType, string>

/** Whether a dtype can hold a value, be it rounded. */
const range = {
  float32: (value) => Number.isFinite(Math.fround(value)) || !Number.isFinite(value),
  int32: (value) => (value | 0) === value,
  bool: (value) => value === 0 || value === 1,
} as const satisfies Record<DType, (value: number) => boolean>

interface Element {
  readonly bytes: 1 | 2 | 4 | 8
  readonly dtype: DType
  readonly read: (view: DataView, at: number, little: boolean) => number
}

/** The types of elements that are read, by kind and size as NumPy spells them. */
const elements: Readonly<Record<string, Element>> = {
  b1: { bytes: 1, dtype: 'bool', read: (view, at) => view.getUint8(at) },
  u1: { bytes: 1, dtype: 'int32', read: (view, at) => view.getUint8(at) },
  i1: { bytes: 1, dtype: 'int32', read: (view, at) => view.getInt8(at) },
  u2: { bytes: 2, dtype: 'int32', read: (view, at, little) => view.getUint16(at, little) },
  i2: { bytes: 2, dtype: 'int32', read: (view, at, little) => view.getInt16(at, little) },
  u4: { bytes: 4, dtype: 'int32', read: (view, at, little) => view.getUint32(at, little) },
  i4: { bytes: 4, dtype: 'int32', read: (view, at, little) => view.getInt32(at, little) },
  // Exact where it fits int32; where it is rounded, it is far outside.
  u8: {
    bytes: 8,
    dtype: 'int32',
    read: (view, at, little) =>
      view.getUint32(little ? at + 4 : at, little) * 2 ** 32 + view.getUint32(little ? at : at + 4, little),
  },
  i8: {
    bytes: 8,
    dtype: 'int32',
    read: (view, at, little) =>
      view.getInt32(little ? at + 4 : at, little) * 2 ** 32 + view.getUint32(little ? at : at + 4, little),
  },
  f2: { bytes: 2, dtype: 'float32', read: (view, at, little) => halfFloat(view.getUint16(at, little)) },
  f4: { bytes: 4, dtype: 'float32', read: (view, at, little) => view.getFloat32(at, little) },
  f8: { bytes: 8, dtype: 'float32', read: (view, at, little) => view.getFloat64(at, little) },
}

/** The value of a binary16 (IEEE 754-2008, 3.4): a sign, five bits of exponent, ten of fraction. */
function halfFloat(bits: number): number {
  const sign = bits >>> 15 === 1 ? -1 : 1
  const exponent = (bits >>> 10) & 0x1f
  const fraction = bits & 0x3ff
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN
  if (exponent === 0) return sign * fraction * 2 ** -24
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
}

/** The type of elements that `descr` names, and their byte order; single bytes have none. */
function elementOf(descr: string, refuse: Refuse): { readonly little: boolean; readonly element: Element } {
  const order = descr[0]
  const type = descr.slice(1)
  const element = Object.hasOwn(elements, type) ? elements[type]! : undefined
  if (element === undefined || !(order === '<' || order === '>' || (order === '|' && element.bytes === 1))) {
    return refuse(
      `expected elements of type ${Object.keys(elements).join(', ')} in the byte order < or >, ` +
        `got ${JSON.stringify(descr.slice(0, 16))}; convert the array with .astype first`,
      { descr },
    )
  }
  return { little: order === '<', element }
}

/** The text of the header, and where the elements begin. */
function locateHeader(bytes: Uint8Array, refuse: Refuse): { readonly begin: number; readonly text: string } {
  if (magic.some((byte, at) => bytes[at] !== byte)) {
    return refuse('expected "\\x93NUMPY" at the start; is it packed, or not a .npy file?')
  }
  const [major, minor] = bytes.subarray(6, 8)
  if (minor !== 0 || major === undefined || major < 1 || major > 3) {
    return refuse(`expected version 1.0, 2.0 or 3.0 of the format, got ${major}.${minor}`)
  }
  // Version 2 has a longer field for the length, version 3 is in UTF-8; of that only ASCII means anything here.
  const from = major === 1 ? 10 : 12
  if (bytes.length < from) return refuse(`expected at least ${from} bytes, got ${bytes.length}`)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const length = major === 1 ? view.getUint16(8, true) : view.getUint32(8, true)
  if (length > longestHeader) return refuse(`expected a header of at most ${longestHeader} bytes, got ${length}`)
  const begin = from + length
  if (bytes.length < begin) return refuse(`expected a header of ${length} bytes, got ${bytes.length - from}`)
  const text = String.fromCharCode(...bytes.subarray(from, begin))
  if (!/^[ -~\t\r\n]*$/.test(text)) return refuse('expected a header in ASCII')
  return { begin, text }
}

interface Header {
  readonly descr: string
  readonly fortran_order: boolean
  readonly shape: readonly number[]
}

/**
 * Reads the dict of a header. Strings have no escapes; the dict and the tuple may end in a comma, and a tuple of one
 * must. All three keys, in any order, each once.
 */
function parseHeader(text: string, refuse: Refuse): Header {
  // Whatever is no string, word or number is a token of one sign, so that nothing but blanks is passed over.
  const tokens = text.match(/'[^'\\]*'|"[^"\\]*"|\w+|[^\s\w]/g) ?? []
  let at = 0
  const malformed = (expected: string) => refuse(`the header is malformed: expected ${expected} as its token ${at}`)

  const take = (sign: string): void => {
    if (tokens[at++] !== sign) malformed(`"${sign}"`)
  }
  const takeString = (what: string): string => {
    const token = tokens[at++]
    return token !== undefined && /^(?:'.*'|".*")$/s.test(token) ? token.slice(1, -1) : malformed(what)
  }
  const takeBoolean = (): boolean => {
    const token = tokens[at++]
    return token === 'True' || token === 'False' ? token === 'True' : malformed('True or False')
  }
  const takeDimension = (): number => {
    // Python 2 puts an L behind its long integers.
    const [, digits] = /^(0|[1-9]\d*)L?$/.exec(tokens[at++] ?? '') ?? []
    const size = Number(digits)
    return Number.isSafeInteger(size) ? size : malformed('an integer from 0 to 2^53 - 1')
  }
  const takeShape = (): number[] => {
    const shape: number[] = []
    take('(')
    while (tokens[at] !== ')') {
      shape.push(takeDimension())
      if (shape.length === 1 || tokens[at] !== ')') take(',')
    }
    take(')')
    return shape
  }

  const header: { -readonly [K in keyof Header]?: Header[K] } = {}
  take('{')
  while (tokens[at] !== '}') {
    const key = takeString('a key')
    if (Object.hasOwn(header, key)) return refuse(`expected "${key}" once in the header, got it twice`)
    take(':')
    if (key === 'descr') header.descr = takeString('a string (arrays of records are not read)')
    else if (key === 'fortran_order') header.fortran_order = takeBoolean()
    else if (key === 'shape') header.shape = takeShape()
    else return refuse('expected no more than descr, fortran_order and shape in the header')
    if (tokens[at] !== '}') take(',')
  }
  take('}')
  if (at !== tokens.length) return refuse('the header is malformed: something follows the dict')
  const { descr, fortran_order, shape } = header
  if (descr === undefined || fortran_order === undefined || shape === undefined) {
    return refuse('expected descr, fortran_order and shape in the header')
  }
  return { descr, fortran_order, shape }
}

/** Puts elements from Fortran's order, where the first axis runs fastest, into row-major order. */
function toRowMajor<T extends TensorData['data']>(from: T, shape: readonly number[]): T {
  const to = from.slice() as T
  const index = shape.map(() => 0)
  const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((product, size) => product * size, 1))
  let place = 0
  for (let i = 0; i < from.length; i++) {
    to[place] = from[i]!
    for (let axis = 0; axis < shape.length; axis++) {
      place += strides[axis]!
      if (++index[axis]! < shape[axis]!) break
      place -= strides[axis]! * shape[axis]!
      index[axis] = 0
    }
  }
  return to
}
