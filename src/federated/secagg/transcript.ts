/**
 * Bytes to sign, to hash and to derive keys with: one string of bytes for each list of parts, whatever their lengths.
 *
 * A label says what it is for; what follows are texts, bytes and whole numbers, each with its kind and its length in
 * front.
 */
import { hkdf } from '@noble/hashes/hkdf.js'
import { sha256 } from '@noble/hashes/sha2.js'

export type Part = string | number | Uint8Array

const utf8 = new TextEncoder()

export function transcript(label: string, ...parts: readonly Part[]): Uint8Array {
  let most = 5 + 3 * label.length
  for (const part of parts)
    most += 5 + (typeof part === 'string' ? 3 * part.length : typeof part === 'number' ? 8 : part.length)
  const out = new Uint8Array(most)
  const view = new DataView(out.buffer)
  let at = put(out, view, 0, label)
  for (const part of parts) at = put(out, view, at, part)
  return out.subarray(0, at)
}

/** Writes a part, and gives where the next begins. */
function put(out: Uint8Array, view: DataView, at: number, part: Part): number {
  const from = at + 5
  let length: number
  if (typeof part === 'string') {
    out[at] = 1
    length = utf8.encodeInto(part, out.subarray(from)).written
  } else if (typeof part === 'number') {
    out[at] = 2
    length = 8
    view.setFloat64(from, part, true)
  } else {
    out[at] = 3
    length = part.length
    out.set(part, from)
  }
  view.setUint32(at + 1, length, true)
  return from + length
}

/** SHA-256 of a transcript: by OpenSSL, if this is Node, in half the time. A round of n clients takes n^2 of them in all. */
export function digest(label: string, ...parts: readonly Part[]): Uint8Array {
  const bytes = transcript(label, ...parts)
  const native = globalThis.process?.getBuiltinModule?.('node:crypto')?.hash
  return native === undefined ? sha256(bytes) : Uint8Array.from(native('sha256', bytes, 'buffer'))
}

/** A key of 256 bits for one purpose (HKDF-SHA-256, RFC 5869): the label and the parts are its info. */
export function deriveKey(secret: Uint8Array, label: string, ...parts: readonly Part[]): Uint8Array {
  return hkdf(sha256, secret, undefined, transcript(label, ...parts), 32)
}

/** Whole numbers as one part: 4 bytes each, little-endian. */
export function numbers(list: readonly number[]): Uint8Array {
  const out = new Uint8Array(4 * list.length)
  const view = new DataView(out.buffer)
  for (const [i, number] of list.entries()) view.setUint32(4 * i, number, true)
  return out
}
