/**
 * X25519 (RFC 7748) for many pairs: every client agrees on two secrets with each neighbour. By OpenSSL where this is Node,
 * which takes a tenth of the time; the same bytes either way.
 */
import { x25519 } from '@noble/curves/ed25519.js'
import { randomSeed } from '../../smpc/prg.ts'

/** A key pair for one round. */
export interface KeyPair {
  /** 32 bytes. */
  readonly secret: Uint8Array
  /** The public key, 32 bytes. */
  readonly key: Uint8Array
  /**
   * What this and another pair agree on.
   *
   * @returns 32 bytes; undefined for a key of low order, with which everybody would agree on the same (RFC 7748 §6.1)
   */
  agree(theirs: Uint8Array): Uint8Array | undefined
  /** Erases the secret. With it goes what OpenSSL made of it, which it erases when that is collected. */
  erase(): void
}

/** Key pairs by one implementation or another, of the secret that they are given: it is kept, not copied. */
export type X25519 = (secret: Uint8Array) => KeyPair

/** In JavaScript, wherever it runs. */
export const portableX25519: X25519 = (secret) => ({
  secret,
  key: x25519.getPublicKey(secret),
  agree(theirs) {
    try {
      return x25519.getSharedSecret(secret, theirs)
    } catch {
      return undefined
    }
  },
  erase: () => void secret.fill(0),
})

/** What stands before the 32 bytes of a secret: PKCS #8, as RFC 8410 §7 has it. */
const SECRET_HEAD = [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x04, 0x22, 0x04, 0x20]

/**
 * By OpenSSL, if this is Node.
 *
 * Its keys are read in the forms that cost least: a secret as DER, which takes ten times as long as the agreement itself
 * and is done once for a pair; public keys, of which there are many, as JWK (RFC 8037), in a tenth of the time of DER.
 * As JWK, a secret would be a string, which nobody can erase.
 */
export function nativeX25519(): X25519 | undefined {
  const crypto = globalThis.process?.getBuiltinModule?.('node:crypto')
  if (crypto === undefined) return undefined
  const { createPrivateKey, createPublicKey, diffieHellman } = crypto
  return (secret) => {
    const encoded = Buffer.concat([Uint8Array.from(SECRET_HEAD), secret])
    let privateKey: import('node:crypto').KeyObject | undefined = createPrivateKey({
      key: encoded,
      format: 'der',
      type: 'pkcs8',
    })
    encoded.fill(0)
    return {
      secret,
      key: Uint8Array.from(Buffer.from(createPublicKey(privateKey).export({ format: 'jwk' }).x!, 'base64url')),
      agree(theirs) {
        if (privateKey === undefined) return undefined
        const key = { kty: 'OKP', crv: 'X25519', x: Buffer.from(theirs).toString('base64url') }
        try {
          // Throws when the result is all zeros.
          const publicKey = createPublicKey({ key, format: 'jwk' })
          return Uint8Array.from(diffieHellman({ privateKey, publicKey }))
        } catch {
          return undefined
        }
      },
      erase() {
        secret.fill(0)
        privateKey = undefined
      },
    }
  }
}

let chosen: X25519 | undefined

/** The pair of a secret of 32 bytes, which becomes part of it. */
export function keyPairOf(secret: Uint8Array): KeyPair {
  chosen ??= nativeX25519() ?? portableX25519
  return chosen(secret)
}

export const newKeyPair = (): KeyPair => keyPairOf(randomSeed())
