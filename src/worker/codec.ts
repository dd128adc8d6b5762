/**
 * Frames as bytes: MessagePack (the specification of 2013-08-04), without extension types.
 *
 * msgpackr writes. Only `Uint8Array` travels as binary: any other typed array it would pack as one truncated byte per
 * element and fill the rest with stale memory of earlier messages (seen with 2.1.3); {@link encode} refuses them.
 *
 * What comes from a peer is read by the reader below, not by msgpackr's, which knows extension types: it would compile
 * a record into a function, and make dates, sets, errors, big integers and regular expressions of what a stranger sent.
 */
import { Packr, RESET_BUFFER_MODE } from 'msgpackr'
import { codes, sottoError } from '../errors.ts'
import type { Frame } from './protocol.ts'

/** Plain maps, no records: a stream of frames carries no state from one to the next. */
const packr = new Packr({
  useRecords: false,
  mapsAsObjects: true,
  variableMapSize: true,
  moreTypes: false,
  encodeUndefinedAsNil: true,
})

/** Frames nest three or four levels; models a few more. */
const DEPTH = 64

/**
 * @returns bytes that share no memory with any other frame
 * @throws ProtocolError for what does not travel: functions, symbols, big integers, instances of classes, and binary
 *   that is no `Uint8Array`
 */
export function encode(frame: Frame): Uint8Array {
  return encodeValue(frame)
}

/** Any value that may stand in a frame; see {@link encode}. */
export function encodeValue(value: unknown): Uint8Array {
  // A copy: msgpackr packs one frame behind the other into memory of its own. (Its `slice` would be Node's, a view.)
  return new Uint8Array(encodeHere(value))
}

/** As {@link encodeValue}, but in memory that the next call may write to: for whoever copies it at once. */
export function encodeHere(value: unknown): Uint8Array {
  assertPlain(value, 0)
  return packr.pack(value, RESET_BUFFER_MODE)
}

function assertPlain(value: unknown, depth: number): void {
  if (typeof value !== 'object' || value === null) {
    if (typeof value === 'function' || typeof value === 'symbol' || typeof value === 'bigint') {
      throw sottoError('ERR_PROTOCOL', `a frame cannot carry a ${typeof value}`)
    }
    return
  }
  if (value instanceof Uint8Array) return
  if (depth > DEPTH) throw sottoError('ERR_PROTOCOL', 'a frame nests too deeply')
  if (Array.isArray(value)) {
    for (const item of value) assertPlain(item, depth + 1)
    return
  }
  const prototype = Object.getPrototypeOf(value) as { constructor?: { name?: string } } | null
  if (prototype !== null && prototype !== Object.prototype) {
    const what = prototype.constructor?.name ?? 'class'
    throw sottoError(
      'ERR_PROTOCOL',
      ArrayBuffer.isView(value) || value instanceof ArrayBuffer
        ? `a frame carries binary as Uint8Array only, not as ${what}`
        : `a frame carries plain objects only, not a ${what}`,
    )
  }
  // Own and inherited alike: msgpackr walks an object this way.
  for (const name in value) assertPlain((value as Record<string, unknown>)[name], depth + 1)
}

/**
 * Reads a frame that came from a peer.
 *
 * Small binary is copied out of the bytes given; large binary is a view of them, at any offset.
 *
 * @throws ProtocolError for whatever is no frame, and nothing else
 */
export function decode(bytes: Uint8Array): Frame {
  return checkFrame(new Reader(bytes).all())
}

/**
 * Reads values that follow each other; see {@link decode}.
 *
 * @throws ProtocolError
 */
export function readValues(bytes: Uint8Array): unknown[] {
  return new Reader(bytes).values()
}

const malformed = (why: string): Error =>
  sottoError('ERR_PROTOCOL', `a frame is no MessagePack of this protocol: ${why}`)

const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
/** Up to here, characters one by one are faster than a TextDecoder (measured on node 20). */
const SHORT = 28

/** One pass over the bytes. Sizes are checked against what is left before anything is made of them. */
class Reader {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  all(): unknown {
    const value = this.#value(0)
    if (this.#at !== this.#bytes.length) throw malformed('bytes are left over')
    return value
  }

  values(): unknown[] {
    const values: unknown[] = []
    while (this.#at !== this.#bytes.length) values.push(this.#value(0))
    return values
  }

  /** Moves on; gives where it was. */
  #skip(length: number): number {
    const at = this.#at
    if (length > this.#bytes.length - at) throw malformed('it ends too early')
    this.#at = at + length
    return at
  }

  #value(depth: number): unknown {
    const type = this.#bytes[this.#skip(1)]!
    if (type < 0x80) return type
    if (type < 0x90) return this.#map(type & 0x0f, depth)
    if (type < 0xa0) return this.#array(type & 0x0f, depth)
    if (type < 0xc0) return this.#string(type & 0x1f)
    if (type >= 0xe0) return type - 0x100
    const view = this.#view
    switch (type) {
      case 0xc0:
        return null
      case 0xc2:
        return false
      case 0xc3:
        return true
      case 0xc4:
        return this.#binary(view.getUint8(this.#skip(1)))
      case 0xc5:
        return this.#binary(view.getUint16(this.#skip(2)))
      case 0xc6:
        return this.#binary(view.getUint32(this.#skip(4)))
      case 0xca:
        return view.getFloat32(this.#skip(4))
      case 0xcb:
        return view.getFloat64(this.#skip(8))
      case 0xcc:
        return view.getUint8(this.#skip(1))
      case 0xcd:
        return view.getUint16(this.#skip(2))
      case 0xce:
        return view.getUint32(this.#skip(4))
      case 0xcf:
        return safe(view.getBigUint64(this.#skip(8)))
      case 0xd0:
        return view.getInt8(this.#skip(1))
      case 0xd1:
        return view.getInt16(this.#skip(2))
      case 0xd2:
        return view.getInt32(this.#skip(4))
      case 0xd3:
        return safe(view.getBigInt64(this.#skip(8)))
      case 0xd9:
        return this.#string(view.getUint8(this.#skip(1)))
      case 0xda:
        return this.#string(view.getUint16(this.#skip(2)))
      case 0xdb:
        return this.#string(view.getUint32(this.#skip(4)))
      case 0xdc:
        return this.#array(view.getUint16(this.#skip(2)), depth)
      case 0xdd:
        return this.#array(view.getUint32(this.#skip(4)), depth)
      case 0xde:
        return this.#map(view.getUint16(this.#skip(2)), depth)
      case 0xdf:
        return this.#map(view.getUint32(this.#skip(4)), depth)
      default:
        throw malformed('it carries an extension type')
    }
  }

  #binary(length: number): Uint8Array {
    const at = this.#skip(length)
    const view = this.#bytes.subarray(at, at + length)
    // A view keeps all that came with it in memory: taken only when it is most of that.
    return view.buffer.byteLength > 2 * length ? new Uint8Array(view) : view
  }

  #string(length: number): string {
    const at = this.#skip(length)
    const bytes = this.#bytes
    if (length <= SHORT) {
      let string = ''
      for (let i = at; i < at + length; i++) {
        const byte = bytes[i]!
        if (byte >= 0x80) return this.#utf8(at, length)
        string += String.fromCharCode(byte)
      }
      return string
    }
    return this.#utf8(at, length)
  }

  #utf8(at: number, length: number): string {
    try {
      return text.decode(this.#bytes.subarray(at, at + length))
    } catch {
      throw malformed('a string is no UTF-8')
    }
  }

  #array(length: number, depth: number): unknown[] {
    if (depth >= DEPTH) throw malformed('it nests too deeply')
    // Each element takes a byte at least.
    if (length > this.#bytes.length - this.#at) throw malformed('it ends too early')
    const array: unknown[] = []
    for (let i = 0; i < length; i++) array.push(this.#value(depth + 1))
    return array
  }

  #map(size: number, depth: number): Record<string, unknown> {
    if (depth >= DEPTH) throw malformed('it nests too deeply')
    if (2 * size > this.#bytes.length - this.#at) throw malformed('it ends too early')
    const object: Record<string, unknown> = {}
    for (let i = 0; i < size; i++) {
      const name = this.#value(depth + 1)
      if (typeof name !== 'string') throw malformed('the key of a map is no string')
      if (name === '__proto__') throw malformed('a map has the key "__proto__"')
      // Peers that read the first and peers that read the last of two would not see the same frame.
      if (Object.hasOwn(object, name)) throw malformed('a map has a key twice')
      object[name] = this.#value(depth + 1)
    }
    return object
  }
}

function safe(integer: bigint): number {
  const number = Number(integer)
  if (!Number.isSafeInteger(number)) throw malformed('an integer is beyond 2^53 - 1')
  return number
}

/** Checks the envelope; the body of a request is checked by its schema. */
export function checkFrame(value: unknown): Frame {
  if (Array.isArray(value)) {
    const [kind, seq] = value
    const right =
      (kind === 1 && value.length === 4 && typeof value[2] === 'string') ||
      (kind === 2 && value.length === 3) ||
      (kind === 3 && value.length === 3 && isError(value[2])) ||
      (kind === 4 && value.length === 2)
    // A failure of no request: of something that goes on.
    const first = kind === 3 ? 0 : 1
    if (right && Number.isSafeInteger(seq) && seq >= first) return value as unknown as Frame
    if (kind === 5 && isTunnel(value)) return value as unknown as Frame
  }
  throw sottoError('ERR_PROTOCOL', 'a frame must be [kind, seq, …]; see PROTOCOL.md')
}

/** A tunnel has an id as objects have, and perhaps the name of whom it leads to; then a message, or null at its end. */
function isTunnel([, id, to, message, ...rest]: readonly unknown[]): boolean {
  return (
    rest.length === 0 &&
    typeof id === 'string' &&
    /^[\w-]{1,64}$/.test(id) &&
    (to === null || (typeof to === 'string' && to.length <= 256)) &&
    (message === null || message instanceof Uint8Array)
  )
}

function isError(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  const { code, message, worker, origin } = value as Record<string, unknown>
  return (
    typeof code === 'string' &&
    Object.hasOwn(codes, code) &&
    [message, worker, origin].every((part) => typeof part === 'string')
  )
}

/** Bytes of the binary in a message, which is most of what it takes. */
export function payloadBytes(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0
  if (value instanceof Uint8Array) return value.byteLength
  let sum = 0
  if (Array.isArray(value)) for (const item of value) sum += payloadBytes(item)
  else for (const name in value) sum += payloadBytes((value as Record<string, unknown>)[name])
  return sum
}
