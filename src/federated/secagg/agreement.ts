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

export const publicKeyOf = (secret: Uint8Array): Uint8Array => x25519.getPublicKey(secret)

/**
 * What two key pairs agree on.
 *
 * @returns 32 bytes; undefined for a key of low order, with which everybody would agree on the same (RFC 7748 §6.1)
 */
export type Agree = (secret: Uint8Array, theirs: Uint8Array) => Uint8Array | undefined

/** In JavaScript, wherever it runs. */
export const portableAgree: Agree = (secret, theirs) => {
  try {
    return x25519.getSharedSecret(secret, theirs)
  } catch {
    return undefined
  }
}

/** What stands before the 32 bytes of a key: PKCS #8 and SubjectPublicKeyInfo, as RFC 8410 §4 and §7 have them. */
const SECRET_HEAD = [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x04, 0x22, 0x04, 0x20]
const PUBLIC_HEAD = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x03, 0x21, 0x00]

/** By OpenSSL, if this is Node. */
export function nativeAgree(): Agree | undefined {
  const crypto = globalThis.process?.getBuiltinModule?.('node:crypto')
  if (crypto === undefined) return undefined
  const encoded = (head: readonly number[], key: Uint8Array) => Buffer.concat([Uint8Array.from(head), key])
  return (secret, theirs) => {
    const der = encoded(SECRET_HEAD, secret)
    try {
      const privateKey = crypto.createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
      const publicKey = crypto.createPublicKey({ key: encoded(PUBLIC_HEAD, theirs), format: 'der', type: 'spki' })
      // Throws when the result is all zeros.
      return Uint8Array.from(crypto.diffieHellman({ privateKey, publicKey }))
    } catch {
      return undefined
    } finally {
      der.fill(0)
    }
  }
}

let chosen: Agree | undefined
export const agree: Agree = (secret, theirs) => {
  chosen ??= nativeAgree() ?? portableAgree
  return chosen(secret, theirs)
}
