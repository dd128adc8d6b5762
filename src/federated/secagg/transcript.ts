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
  const encoded = [label, ...parts].map((part) => {
    const bytes = typeof part === 'string' ? utf8.encode(part) : typeof part === 'number' ? eight(part) : part
    return { kind: typeof part === 'string' ? 1 : typeof part === 'number' ? 2 : 3, bytes }
  })
  const out = new Uint8Array(encoded.reduce((sum, { bytes }) => sum + 5 + bytes.length, 0))
  const view = new DataView(out.buffer)
  let at = 0
  for (const { kind, bytes } of encoded) {
    out[at] = kind
    view.setUint32(at + 1, bytes.length, true)
    out.set(bytes, at + 5)
    at += 5 + bytes.length
  }
  return out
}

/** SHA-256 of a transcript. */
export function digest(label: string, ...parts: readonly Part[]): Uint8Array {
  return sha256(transcript(label, ...parts))
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

function eight(number: number): Uint8Array {
  const out = new Uint8Array(8)
  new DataView(out.buffer).setFloat64(0, number, true)
  return out
}
