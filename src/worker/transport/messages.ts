/**
 * The messages of a link: what one message of a channel is. A sequence of MessagePack values, the kind first.
 *
 * Frames travel several to a message. Of a large frame, what is small travels in its turn, with nulls in the places of
 * its large parts; these follow in pieces, and other frames between them.
 */
import { type Code, codes, isSottoError, type SottoErrorLike, sottoError } from '../../errors.ts'
import { checkFrame, encodeValue, payloadBytes, readValues } from '../codec.ts'
import { type Frame, FrameKind } from '../protocol.ts'

export const MessageKind = {
  /** A step of the handshake. */
  shake: 0,
  /** `1, frame, …` */
  frames: 1,
  /** `2, part, bytes`: the next piece of a part. */
  piece: 2,
  /** `3, count`: so many counted messages have come in all. */
  received: 3,
  ping: 4,
  pong: 5,
  /** `6, error or null`: the end. */
  bye: 6,
  /** `7, frame, [[part, length, path], …]`: a frame whose large parts follow. */
  headed: 7,
} as const

/** Of these kinds both ends keep count, so that after a break each knows what the other has. */
export const isCounted = (kind: number): boolean =>
  kind === MessageKind.frames || kind === MessageKind.piece || kind === MessageKind.headed

/** A large part of a frame: its number, its length, and where in the frame it belongs. */
export type Part = readonly [id: number, length: number, path: readonly (string | number)[]]

export type Message =
  | { readonly kind: 0; readonly values: readonly unknown[] }
  | { readonly kind: 1; readonly frames: readonly Frame[] }
  | { readonly kind: 2; readonly part: number; readonly bytes: Uint8Array }
  | { readonly kind: 3; readonly count: number }
  | { readonly kind: 4 }
  | { readonly kind: 5 }
  | { readonly kind: 6; readonly error: Error | undefined }
  | { readonly kind: 7; readonly frame: Frame; readonly parts: readonly Part[] }

const malformed = (): Error => sottoError('ERR_PROTOCOL', 'a message is none of this protocol; see PROTOCOL.md')
const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0

/** Parts of one frame. */
const MOST_PARTS = 65_536
const MOST_STEPS = 16

/** @throws ProtocolError for whatever is no message, and nothing else */
export function readMessage(bytes: Uint8Array): Message {
  const [kind, ...values] = readValues(bytes)
  switch (kind) {
    case MessageKind.shake:
      return { kind, values }
    case MessageKind.frames:
      if (values.length === 0) throw malformed()
      return { kind, frames: values.map(checkFrame) }
    case MessageKind.piece: {
      const [part, piece] = values
      if (values.length !== 2 || !isCount(part) || !(piece instanceof Uint8Array)) throw malformed()
      return { kind, part, bytes: piece }
    }
    case MessageKind.received: {
      const [count] = values
      if (values.length !== 1 || !isCount(count)) throw malformed()
      return { kind, count }
    }
    case MessageKind.ping:
    case MessageKind.pong:
      if (values.length !== 0) throw malformed()
      return { kind }
    case MessageKind.bye:
      if (values.length !== 1) throw malformed()
      return { kind, error: reasonOf(values[0]) }
    case MessageKind.headed: {
      const [frame, parts] = values
      if (values.length !== 2 || !Array.isArray(parts) || !parts.every(isPart)) throw malformed()
      if (parts.length === 0 || parts.length > MOST_PARTS) throw malformed()
      return { kind, frame: checkFrame(frame), parts }
    }
    default:
      throw malformed()
  }
}

function isPart(value: unknown): value is Part {
  if (!Array.isArray(value) || value.length !== 3) return false
  const [id, length, path] = value
  if (!isCount(id) || !isCount(length) || !Array.isArray(path) || path.length > MOST_STEPS) return false
  return path.every((step) => typeof step === 'string' || isCount(step))
}

function reasonOf(value: unknown): Error | undefined {
  if (value === null) return undefined
  const { code, message } = (typeof value === 'object' ? value : {}) as { code?: unknown; message?: unknown }
  if (typeof code !== 'string' || !Object.hasOwn(codes, code) || typeof message !== 'string') throw malformed()
  return sottoError(code as Code, message)
}

/** Joins values, each packed already, behind a kind. */
export function joined(kind: number, packed: readonly Uint8Array[]): Uint8Array {
  const message = new Uint8Array(packed.reduce((sum, { length }) => sum + length, 1))
  message[0] = kind
  let at = 1
  for (const bytes of packed) {
    message.set(bytes, at)
    at += bytes.length
  }
  return message
}

/** A message of any kind but frames. */
export const messageOf = (kind: number, ...values: readonly unknown[]): Uint8Array =>
  joined(kind, values.map(encodeValue))

/** The end, and why as far as the other end may know. */
export function byeOf(reason: Error | undefined): Uint8Array {
  if (reason === undefined) return messageOf(MessageKind.bye, null)
  const { code, message } = isSottoError(reason) ? (reason as SottoErrorLike) : UNKNOWN
  return messageOf(MessageKind.bye, { code, message })
}
/** An error that is not Sotto's may carry anything in its message: nothing of it travels. */
const UNKNOWN = { code: 'ERR_SESSION_CLOSED', message: 'the other end failed' } as const

/** Bytes of a piece before what it carries, at most. */
const MOST_HEAD = 15

/** `2, part, bytes`, the bytes copied once: into room for them and a head, which is made unless there is some. */
export function pieceOf(part: number, bytes: Uint8Array, room?: Uint8Array): Uint8Array {
  const id = encodeValue(part)
  const head = 1 + id.length + 5
  const message = room ?? pieceRoom(bytes.length)
  message[0] = MessageKind.piece
  message.set(id, 1)
  message[1 + id.length] = BIN32
  new DataView(message.buffer).setUint32(2 + id.length, bytes.length)
  message.set(bytes, head)
  return message.subarray(0, head + bytes.length)
}
export const pieceRoom = (bytes: number): Uint8Array => new Uint8Array(MOST_HEAD + bytes)
const BIN32 = 0xc6

/** Frames with more binary than this are sent in parts; binary below the second stays with the frame. */
const LARGE = 256 * 2 ** 10
const LARGE_PART = 32 * 2 ** 10

/** The large parts of a frame, and the frame without them; null when it has none. */
export function partsOf(
  frame: Frame,
): { readonly head: Frame; readonly parts: readonly { bytes: Uint8Array; path: (string | number)[] }[] } | null {
  // What passes a tunnel is in pieces already.
  if (frame[0] === FrameKind.tunnel || payloadBytes(frame) <= LARGE) return null
  const parts: { bytes: Uint8Array; path: (string | number)[] }[] = []
  const without = (value: unknown, path: (string | number)[]): unknown => {
    if (typeof value !== 'object' || value === null) return value
    if (value instanceof Uint8Array) {
      if (value.length < LARGE_PART) return value
      parts.push({ bytes: value, path })
      return null
    }
    if (Array.isArray(value)) return value.map((item, i) => without(item, [...path, i]))
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, without(item, [...path, name])]))
  }
  const head = without(frame, []) as Frame
  return parts.length === 0 ? null : { head, parts }
}

/**
 * Puts a part where it belongs.
 *
 * @throws ProtocolError unless there is a null in that place
 */
export function putPart(frame: Frame, path: readonly (string | number)[], bytes: Uint8Array): void {
  let at: unknown = frame
  for (const step of path.slice(0, -1)) {
    at = typeof at === 'object' && at !== null && Object.hasOwn(at, step) ? (at as Record<string, unknown>)[step] : null
  }
  const last = path.at(-1)
  if (typeof at !== 'object' || at === null || last === undefined || !Object.hasOwn(at, last)) throw malformed()
  if ((at as Record<string, unknown>)[last] !== null) throw malformed()
  ;(at as Record<string, unknown>)[last] = bytes
}
