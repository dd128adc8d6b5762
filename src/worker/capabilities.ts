/**
 * Capabilities: how a worker shows that it may hand things to another worker's session.
 *
 * The caller of a session chooses a secret and tells it to the worker of that session alone. To let worker A deposit
 * there, it gives A a proof made with the secret: good for this session, under this name, from the holder of this key.
 * Who overhears the proof needs A's key as well; who holds it cannot make another. A proof ends with its session.
 */
import { equalBytes } from '@noble/ciphers/utils.js'
import { hmac } from '@noble/hashes/hmac.js'
import { sha256 } from '@noble/hashes/sha2.js'
import { sottoError } from '../errors.ts'

/** Leave to hand things to a session. */
export interface Capability {
  /** Id of the session that it opens. */
  readonly session: string
  /** Name by which that session knows the one who comes. */
  readonly name: string
  /** HMAC-SHA-256, 32 bytes. */
  readonly proof: Uint8Array
}

/** Bytes of a secret and of a proof: the output of SHA-256 (RFC 2104 §3 advises against a shorter key). */
const BYTES = 32
/** Sets these proofs apart from any other use of the secret. */
const LABEL = 'sotto capability 1'

const utf8 = new TextEncoder()

/**
 * The capability of one peer.
 *
 * @param secret 32 random bytes that the caller and the worker of the session know, and nobody else
 * @param options.key public key of the peer that it is for; '' for a peer in the same process, which has none
 * @throws ValueError `ERR_ARGUMENT_VALUE` for a secret of another length
 */
export function capabilityFor(
  secret: Uint8Array,
  { session, name, key }: { session: string; name: string; key: string },
): Capability {
  // HMAC pads a key with zeros (RFC 2104 §2): secrets of different lengths could stand for the same one.
  if (secret.length !== BYTES) {
    throw sottoError('ERR_ARGUMENT_VALUE', `"secret" expected ${BYTES} bytes, got ${secret.length}`)
  }
  return { session, name, proof: hmac(sha256, secret, fields([LABEL, session, name, key])) }
}

/**
 * Whether a capability was made with this secret for the holder of this key. Takes the same time wherever the proof
 * differs. Never throws: what is malformed is not good.
 *
 * That the one who comes does hold the key, a signature must show before.
 */
export function isGood(secret: Uint8Array, capability: Capability, key: string): boolean {
  try {
    const { session, name, proof } = capability
    // Text is compared as bytes, and a number would be written like its digits.
    if (typeof session !== 'string' || typeof name !== 'string' || typeof key !== 'string') return false
    return equalBytes(capabilityFor(secret, { session, name, key }).proof, proof)
  } catch {
    return false
  }
}

/** Texts as bytes, each after its length (32 bits, little-endian): no two lists give the same. */
function fields(texts: readonly string[]): Uint8Array {
  const parts = texts.map((text) => utf8.encode(text))
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + 4 + part.length, 0))
  const view = new DataView(bytes.buffer)
  let at = 0
  for (const part of parts) {
    view.setUint32(at, part.length, true)
    bytes.set(part, at + 4)
    at += 4 + part.length
  }
  return bytes
}
