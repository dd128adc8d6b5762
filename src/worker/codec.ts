/**
 * Frames as bytes: MessagePack.
 *
 * Only `Uint8Array` travels as binary. msgpackr would pack any other typed array as one truncated byte per element and
 * fill the rest with stale memory of earlier messages (seen with 2.1.3); {@link encode} refuses them.
 */
import { Packr } from 'msgpackr'
import { sottoError } from '../errors.ts'
import type { Frame } from './protocol.ts'

/** Plain maps, no records: a stream of frames carries no state from one to the next. */
const packr = new Packr({ useRecords: false, mapsAsObjects: true, variableMapSize: true, moreTypes: false })

/** Frames nest three or four levels; models a few more. */
const DEPTH = 64

export function encode(frame: Frame): Uint8Array {
  assertPlain(frame, 0)
  // A copy: msgpackr packs into a buffer that it uses again.
  return packr.pack(frame).slice()
}

function assertPlain(value: unknown, depth: number): void {
  if (typeof value !== 'object' || value === null) {
    if (typeof value === 'function' || typeof value === 'symbol' || typeof value === 'bigint') {
      throw sottoError('ERR_PROTOCOL', `a frame cannot carry a ${typeof value}`)
    }
    return
  }
  if (value instanceof Uint8Array) return
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) {
    throw sottoError('ERR_PROTOCOL', `a frame carries binary as Uint8Array only, not as ${value.constructor.name}`)
  }
  if (depth > DEPTH) throw sottoError('ERR_PROTOCOL', 'a frame nests too deeply')
  for (const item of Array.isArray(value) ? value : Object.values(value)) assertPlain(item, depth + 1)
}

/**
 * Reads a frame that came from a peer.
 *
 * @throws ProtocolError for whatever is no frame, and nothing else
 */
export function decode(bytes: Uint8Array): Frame {
  let value: unknown
  try {
    value = packr.unpack(bytes)
  } catch (cause) {
    throw sottoError('ERR_PROTOCOL', 'a frame is not MessagePack', {}, cause)
  }
  return checkFrame(value)
}

/** Checks the envelope; the body of a request is checked by its schema. */
export function checkFrame(value: unknown): Frame {
  if (Array.isArray(value)) {
    const [kind, seq] = value
    const right =
      (kind === 1 && value.length === 4 && typeof value[2] === 'string') ||
      (kind === 2 && value.length === 3) ||
      (kind === 3 && value.length === 3 && typeof value[2] === 'object' && value[2] !== null) ||
      (kind === 4 && value.length === 2)
    if (right && Number.isSafeInteger(seq) && seq >= 0) return value as unknown as Frame
  }
  throw sottoError('ERR_PROTOCOL', 'a frame must be [kind, seq, …]; see PROTOCOL.md')
}
