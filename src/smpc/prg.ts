/**
 * Pseudo-random words and bytes from a seed: the key stream of ChaCha20 (RFC 8439), the seed as key.
 *
 * Who holds the seed holds the stream; to everyone else it cannot be told from uniform noise. A stream is named by an
 * index, which becomes the nonce together with the number of a branch, and every index is good for one use: two values masked
 * alike would cancel to their difference.
 */
import { sottoError } from '../errors.ts'
import { unfilledBytes } from '../worker/memory-pool.ts'
import { chachaBlock, chachaBlocks, isBytes, isCount } from './ring/check.ts'
import { ring } from './ring/choose.ts'
import type { Source, Words } from './ring/kernels.ts'
import { UsedIndices } from './used-indices.ts'

/** 32 bytes from the system's CSPRNG. */
export function randomSeed(): Uint8Array {
  return globalThis.crypto.getRandomValues(new Uint8Array(32))
}

/** The streams of one seed. */
export class Prg {
  readonly #key: Uint8Array
  readonly #used = new UsedIndices()

  /**
   * @param seed 32 bytes; copied
   * @throws TypeError or RangeError `ERR_ARGUMENT_TYPE`, `ERR_ARGUMENT_VALUE` for anything else
   */
  constructor(seed: Uint8Array) {
    isBytes('seed', seed, 32)
    this.#key = Uint8Array.from(seed)
  }

  /**
   * The stream of an index.
   *
   * @param index a safe integer from 0 on, that was not used before
   * @throws StateError `ERR_USED_TWICE` for an index that is not
   */
  stream(index: number): PrgStream {
    isCount('index', index)
    this.#used.use(index)
    return new PrgStream(this.#key, index, 0)
  }
}

/** One stream: draws that follow each other and never overlap. {@link Prg.stream} makes it. */
export class PrgStream {
  readonly #key: Uint8Array
  readonly #index: number
  readonly #branch: number
  readonly #nonce: Uint8Array
  /** The first block that no draw has touched. */
  #block = 0
  /** Blocks that were made before they are drawn, and the number of the first. */
  #ahead: Uint8Array = NOTHING
  #aheadFrom = 0
  #isForked = false

  /** @internal */
  constructor(key: Uint8Array, index: number, branch: number) {
    this.#key = key
    this.#index = index
    this.#branch = branch
    this.#nonce = nonceOf(index, branch)
  }

  /**
   * Two streams more of the same index, for what goes on side by side: of branch b these are 2b + 1 and 2b + 2.
   *
   * @throws StateError `ERR_USED_TWICE` when asked for again
   */
  fork(): [PrgStream, PrgStream] {
    if (this.#isForked) throw sottoError('ERR_USED_TWICE', 'a stream has two branches, and gave them away')
    this.#isForked = true
    const branch = (which: 1 | 2) => new PrgStream(this.#key, this.#index, 2 * this.#branch + which)
    return [branch(1), branch(2)]
  }

  /** The next `n` words; see {@link bytes}. */
  words(n: number): Words {
    isCount('n', n)
    const bytes = this.bytes(8 * n)
    return new BigUint64Array(bytes.buffer, bytes.byteOffset, n)
  }

  /**
   * The next `n` bytes, from the start of a block; what is left of the last block is dropped.
   *
   * @throws SessionError `ERR_LIMIT` past 2^32 blocks, 256 GiB
   */
  bytes(n: number): Uint8Array {
    const block = this.#take(n)
    if (n <= AHEAD) return this.#short(block, n)
    const openssl = n >= OPENSSL_FROM ? nodeCrypto() : undefined
    if (openssl === undefined) return ring().chacha20(this.#key, this.#nonce, block, n)
    return keyStream(cipherAt(openssl, this.#key, this.#nonce, block), n)
  }

  /**
   * What {@link bytes} of each length would give, one after another, for whoever takes each piece by piece: it is made as it
   * is taken.
   */
  sources(...lengths: readonly number[]): Source[] {
    const total = lengths.reduce((sum, length) => sum + chachaBlock * Math.ceil(length / chachaBlock), 0)
    const openssl = total > zeros.length ? nodeCrypto() : undefined
    if (openssl === undefined) {
      const all = this.bytes(total)
      let at = 0
      return lengths.map((length) => {
        const from = at
        at += chachaBlock * Math.ceil(length / chachaBlock)
        return sourceOf(all.subarray(from, from + length))
      })
    }
    return lengths.map((length) => {
      const cipher = cipherAt(openssl, this.#key, this.#nonce, this.#take(length))
      return { next: (n) => keyStream(cipher, n) }
    })
  }

  /** What is short comes out of what was made in one go. */
  #short(block: number, n: number): Uint8Array {
    let at = chachaBlock * (block - this.#aheadFrom)
    if (at + n > this.#ahead.length) {
      const length = Math.min(AHEAD, chachaBlock * (chachaBlocks - block))
      this.#ahead = ring().chacha20(this.#key, this.#nonce, block, length)
      this.#aheadFrom = block
      at = 0
    }
    return this.#ahead.slice(at, at + n)
  }

  /** The first of so many blocks. */
  #take(n: number): number {
    isCount('n', n)
    const block = this.#block
    const end = block + Math.ceil(n / chachaBlock)
    if (end > chachaBlocks) {
      throw sottoError(
        'ERR_LIMIT',
        `a stream ends after 2^32 blocks, and ${n} bytes more would pass it; take another index`,
      )
    }
    this.#block = end
    return block
  }
}

/** Bytes that are there, piece by piece. */
export function sourceOf(bytes: Uint8Array): Source {
  let at = 0
  return {
    next(n) {
      at += n
      return bytes.subarray(at - n, at)
    },
  }
}

/** The index in 8 bytes, and the branch in 4, little-endian. */
function nonceOf(index: number, branch: number): Uint8Array {
  const nonce = new Uint8Array(12)
  for (let i = 0, rest = index; rest > 0; i++, rest = Math.floor(rest / 256)) nonce[i] = rest
  for (let i = 8, rest = branch; rest > 0; i++, rest >>>= 8) nonce[i] = rest
  return nonce
}

type NodeCrypto = Pick<typeof import('node:crypto'), 'createCipheriv'>

const NOTHING = new Uint8Array(0)
/** Four blocks: the kernel makes as many in one go. */
const AHEAD = 4 * chachaBlock
/** From this many bytes on, OpenSSL makes the key stream in less time, its start included: bytes are the same. */
const OPENSSL_FROM = 16_384
/** Zeros to encrypt at once. A chunk and its result stay in the caches. */
const zeros = new Uint8Array(65_536)
let found: { readonly crypto: NodeCrypto | undefined } | undefined

/** Node's crypto, if this is Node and its OpenSSL knows the cipher. */
function nodeCrypto(): NodeCrypto | undefined {
  if (found === undefined) {
    const crypto = globalThis.process?.getBuiltinModule?.('node:crypto')
    found = { crypto: crypto?.getCiphers().includes('chacha20') ? crypto : undefined }
  }
  return found.crypto
}

/** A cipher that turns zeros into the key stream from a block on; {@link PrgStream} keeps to the 2^32 blocks. */
function cipherAt({ createCipheriv }: NodeCrypto, key: Uint8Array, nonce: Uint8Array, block: number) {
  // What OpenSSL takes for an initial vector are words 12 to 15 of the state: the block counter, then the nonce.
  const iv = new Uint8Array(16)
  new DataView(iv.buffer).setUint32(0, block, true)
  iv.set(nonce, 4)
  return createCipheriv('chacha20', key, iv)
}

/** The next n bytes of a cipher's key stream. */
function keyStream(cipher: ReturnType<typeof cipherAt>, n: number): Uint8Array {
  const first = cipher.update(zeros.subarray(0, n))
  // What OpenSSL wrote is memory of its own: to copy it would take a fifth longer, and twice the memory.
  if (first.buffer.byteLength === n) return new Uint8Array(first.buffer)
  const out = unfilledBytes(n)
  out.set(first)
  for (let at = zeros.length; at < n; at += zeros.length) out.set(cipher.update(zeros.subarray(0, n - at)), at)
  return out
}
