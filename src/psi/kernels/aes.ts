/**
 * AES-128 on many blocks at once, by the runtime's OpenSSL: with the processor's instructions for it, gigabytes per
 * second. Chunks of 64 kB and their results stay in the caches.
 */
import { sottoError } from '../../errors.ts'

type NodeCrypto = Pick<typeof import('node:crypto'), 'createCipheriv'>

/** @throws StateError `ERR_BACKEND` where there is none */
function nodeCrypto(): NodeCrypto {
  const crypto = globalThis.process?.getBuiltinModule?.('node:crypto')
  if (crypto !== undefined) return crypto
  throw sottoError('ERR_BACKEND', "the fast protocol needs Node's crypto; take { protocol: 'curve' } elsewhere")
}

const NO_IV = new Uint8Array(16)
const zeros = new Uint8Array(65_536)

/** A stream of pseudo-random bytes from a key of 16 bytes: AES-128 in counter mode, from 0. A key is good for one stream. */
export class AesStream {
  readonly #cipher: { update(data: Uint8Array): Uint8Array }

  constructor(key: Uint8Array) {
    this.#cipher = nodeCrypto().createCipheriv('aes-128-ctr', key, NO_IV)
  }

  /** The next bytes, into a buffer. */
  fill(out: Uint8Array): void {
    for (let at = 0; at < out.length; at += zeros.length) {
      out.set(this.#cipher.update(zeros.subarray(0, Math.min(zeros.length, out.length - at))), at)
    }
  }

  bytes(n: number): Uint8Array {
    const out = new Uint8Array(n)
    this.fill(out)
    return out
  }
}

/** A permutation of blocks: AES-128 with a key of 16 bytes, block by block. */
export class AesBlocks {
  readonly #cipher: { update(data: Uint8Array): Uint8Array }

  constructor(key: Uint8Array) {
    const cipher = nodeCrypto().createCipheriv('aes-128-ecb', key, null)
    cipher.setAutoPadding(false)
    this.#cipher = cipher
  }

  /** @param blocks a multiple of 16 bytes */
  encrypt(blocks: Uint8Array): Uint8Array {
    return this.#cipher.update(blocks)
  }
}
