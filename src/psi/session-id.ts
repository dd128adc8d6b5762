/** What a session of an intersection is named by, and everything in it is hashed with. */
import { blake2s } from '@noble/hashes/blake2.js'

const personal = new TextEncoder().encode('sotto ps')

/**
 * 32 bytes that each end had a part in.
 *
 * @param terms what was agreed on
 */
export function sessionId(first: Uint8Array, second: Uint8Array, terms: string): Uint8Array {
  const text = new TextEncoder().encode(terms)
  const message = new Uint8Array(first.length + second.length + text.length)
  message.set(first)
  message.set(second, first.length)
  message.set(text, first.length + second.length)
  return blake2s(message, { dkLen: 32, personalization: personal })
}
