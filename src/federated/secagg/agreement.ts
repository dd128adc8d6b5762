/**
 * X25519 (RFC 7748) for many pairs: every client agrees on two secrets with each neighbour. By OpenSSL where this is Node,
 * which takes a tenth of the time; the same bytes either way.
 */
import { x25519 } from '@noble/curves/ed25519.js'
import { randomSeed } from '../../smpc/prg.ts'

/** A key pair for one round. */
export interface KeyPair {
  readonly secret: Uint8Array
  readonly key: Uint8Array
}

export function newKeyPair(): KeyPair {
  const secret = randomSeed()
  return { secret, key: publicKeyOf(secret) }
}

/** X25519, by one implementation or another. */
export interface X25519 {
  publicKey(secret: Uint8Array): Uint8Array
  /**
   * What two key pairs agree on.
   *
   * @returns 32 bytes; undefined for a key of low order, with which everybody would agree on the same (RFC 7748 §6.1)
   */
  agree(secret: Uint8Array, theirs: Uint8Array): Uint8Array | undefined
}

/** In JavaScript, wherever it runs. */
export const portableX25519: X25519 = {
  publicKey: (secret) => x25519.getPublicKey(secret),
  agree(secret, theirs) {
    try {
      return x25519.getSharedSecret(secret, theirs)
    } catch {
      return undefined
    }
  },
}

/** What stands before the 32 bytes of a key: PKCS #8 and SubjectPublicKeyInfo, as RFC 8410 §4 and §7 have them. */
const SECRET_HEAD = [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x04, 0x22, 0x04, 0x20]
const PUBLIC_HEAD = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x03, 0x21, 0x00]

/** By OpenSSL, if this is Node. */
export function nativeX25519(): X25519 | undefined {
  const crypto = globalThis.process?.getBuiltinModule?.('node:crypto')
  if (crypto === undefined) return undefined
  const { createPrivateKey, createPublicKey, diffieHellman } = crypto
  const privateKeyOf = (secret: Uint8Array) => {
    const key = Buffer.concat([Uint8Array.from(SECRET_HEAD), secret])
    try {
      return createPrivateKey({ key, format: 'der', type: 'pkcs8' })
    } finally {
      key.fill(0)
    }
  }
  return {
    publicKey(secret) {
      const encoded = createPublicKey(privateKeyOf(secret)).export({ format: 'der', type: 'spki' })
      return Uint8Array.from(encoded.subarray(PUBLIC_HEAD.length))
    },
    agree(secret, theirs) {
      const key = Buffer.concat([Uint8Array.from(PUBLIC_HEAD), theirs])
      const publicKey = createPublicKey({ key, format: 'der', type: 'spki' })
      try {
        // Throws when the result is all zeros.
        return Uint8Array.from(diffieHellman({ privateKey: privateKeyOf(secret), publicKey }))
      } catch {
        return undefined
      }
    },
  }
}

let chosen: X25519 | undefined
function fastest(): X25519 {
  chosen ??= nativeX25519() ?? portableX25519
  return chosen
}

export const publicKeyOf = (secret: Uint8Array): Uint8Array => fastest().publicKey(secret)
export const agree: X25519['agree'] = (secret, theirs) => fastest().agree(secret, theirs)
