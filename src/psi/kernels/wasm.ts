/**
 * The kernels of private set intersection in WebAssembly: how bytes get into their memory and out of it. The kernels
 * themselves are written in AssemblyScript, in `assembly/psi`.
 *
 * What a call leaves in memory lies there until a later call overwrites it; {@link PsiKernels.wipe} overwrites all.
 */
import { sottoError } from '../../errors.ts'
import { psiModule } from './psi.wasm.ts'

/** What is used of WebAssembly; its types come with those of the DOM alone. */
interface WebAssemblyApi {
  validate(bytes: Uint8Array): boolean
  Module: new (bytes: Uint8Array) => object
  Memory: new (size: { initial: number }) => { readonly buffer: ArrayBuffer }
  Instance: new (module: object, imports: { env: { memory: object } }) => { exports: unknown }
}

type Pointer = number
/** What the module exports; see there. */
interface Exports {
  scratchStart(): Pointer
  transpose(out: Pointer, columns: Pointer, count: number, bytes: number, stride: number): void
  blake2s(out: Pointer, messages: Pointer, lengths: Pointer, state: Pointer, n: number): void
  correct(t1: Pointer, t0: Pointer, c: Pointer, stride: number, n: number): void
  select(g: Pointer, u: Pointer, s: Pointer, n: number): void
  evaluate(
    out: Pointer,
    rows: Pointer,
    places: Pointer,
    c: Pointer,
    stride: number,
    s: Pointer,
    first: number,
    n: number,
  ): void
}

/** Columns of the matrices of the OT extension, and bytes of a row. */
export const WIDTH = 448
export const ROW = WIDTH / 8
/** Messages that are hashed at once; as many blocks of a cipher, 64 kB, are what OpenSSL works fastest on. */
export const CHUNK = 4096
/** Bytes of a message of the hash, and of a digest. */
export const MESSAGE = 64
export const DIGEST = 32
/** Bytes of a block of a cipher, and how many make a code word. */
export const BLOCK = 16
export const CODES = 4
const PAGE = 65_536
/** Columns are not a power of two apart: they would compete for the same lines of a cache. */
const APART = 80

/** Which of two matrices of rows. */
export type Matrix = 0 | 1

let compiled: object | undefined
function moduleOf(api: WebAssemblyApi | undefined): object {
  if (compiled !== undefined) return compiled
  const bytes = Uint8Array.from(atob(psiModule), (character) => character.charCodeAt(0))
  if (!api?.validate(bytes)) {
    throw sottoError('ERR_BACKEND', 'private set intersection needs WebAssembly with SIMD, which is not to be had here')
  }
  compiled = new api.Module(bytes)
  return compiled
}

/**
 * The initial state of BLAKE2s: the initial vector, with the block of parameters xored in (RFC 7693 §2.5 and, for salt and
 * personalisation, BLAKE2 §2.8): digests of 32 bytes, no key, one leaf.
 *
 * @param personal 8 bytes that set one use of the hash apart from another
 * @param salt 8 bytes
 */
export function blake2sState(personal: Uint8Array, salt: Uint8Array = new Uint8Array(8)): Uint32Array {
  const state = Uint32Array.from([
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
  ])
  state[0]! ^= 0x01010000 ^ DIGEST
  const words = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, 8)
  const [salted, named] = [words(salt), words(personal)]
  state[4]! ^= salted.getUint32(0, true)
  state[5]! ^= salted.getUint32(4, true)
  state[6]! ^= named.getUint32(0, true)
  state[7]! ^= named.getUint32(4, true)
  return state
}

/** Memory for chunks of messages, and for blocks of up to `rows` rows of two matrices. */
export class PsiKernels {
  readonly #kernels: Exports
  readonly #memory: Uint8Array
  readonly #stride: number
  readonly #at: Readonly<
    Record<'state' | 's' | 'lengths' | 'places' | 'codes' | 'messages' | 'digests' | 'columns', Pointer> & {
      rows: readonly [Pointer, Pointer]
    }
  >

  /** @param rows a multiple of 128, or 0 where only messages are hashed */
  constructor(rows: number) {
    const { WebAssembly: api } = globalThis as { WebAssembly?: WebAssemblyApi }
    const module = moduleOf(api)
    this.#stride = rows / 8 + APART
    const sizes = {
      state: DIGEST,
      s: MESSAGE,
      lengths: 4 * CHUNK,
      places: 4 * CHUNK,
      codes: CODES * BLOCK * CHUNK,
      messages: MESSAGE * CHUNK,
      digests: DIGEST * CHUNK,
      columns: rows === 0 ? 0 : WIDTH * this.#stride,
    }
    // As high as anything the module keeps for itself can reach.
    const base = PAGE
    let next = base
    const take = (bytes: number): Pointer => {
      const pointer = next
      next += Math.ceil(bytes / 16) * 16 + 16
      return pointer
    }
    const at = Object.fromEntries(Object.entries(sizes).map(([name, bytes]) => [name, take(bytes)]))
    const matrices = [take(ROW * rows), take(ROW * rows)] as const
    this.#at = { ...(at as Record<keyof typeof sizes, Pointer>), rows: matrices }
    const memory = new api!.Memory({ initial: Math.ceil(next / PAGE) })
    this.#kernels = new api!.Instance(module, { env: { memory } }).exports as Exports
    if (this.#kernels.scratchStart() > base) throw new Error('the module keeps more than a page for itself')
    // Memory never grows: the view stays good.
    this.#memory = new Uint8Array(memory.buffer)
  }

  /** Where up to {@link CHUNK} messages of {@link MESSAGE} bytes are to be written; what is in them is kept. */
  get messages(): Uint8Array {
    const { messages } = this.#at
    return this.#memory.subarray(messages, messages + MESSAGE * CHUNK)
  }

  /**
   * The digests of the first `n` messages.
   *
   * @param lengths bytes of each, beyond which it is zero; or the length of all
   * @returns a view that the next call overwrites
   */
  hash(n: number, lengths: Uint32Array | number, state: Uint32Array): Uint8Array {
    const { lengths: counts, messages, digests, state: initial } = this.#at
    const words = new Uint32Array(this.#memory.buffer, counts, CHUNK)
    if (typeof lengths === 'number') words.fill(lengths, 0, n)
    else words.set(lengths.subarray(0, n))
    this.#memory.set(new Uint8Array(state.buffer, state.byteOffset, DIGEST), initial)
    this.#kernels.blake2s(digests, messages, counts, initial, n)
    return this.#memory.subarray(digests, digests + DIGEST * n)
  }

  /** Where a column of the next {@link turn} is to be written. */
  column(index: number, bytes: number): Uint8Array {
    const from = this.#at.columns + index * this.#stride
    return this.#memory.subarray(from, from + bytes)
  }

  /** The columns as the first `rows` rows, a multiple of 128, of a matrix. */
  turn(matrix: Matrix, rows: number): void {
    this.#kernels.transpose(this.#at.rows[matrix], this.#at.columns, WIDTH, rows / 8, this.#stride)
  }

  /** The first `rows` rows of a matrix; a view. */
  rows(matrix: Matrix, rows: number): Uint8Array {
    const from = this.#at.rows[matrix]
    return this.#memory.subarray(from, from + ROW * rows)
  }

  /** Matrix 1 becomes the sum of both and of the code words of `n` rows, from a row on. */
  correct(codes: readonly Uint8Array[], from: number, n: number): void {
    this.#setCodes(codes)
    const [t0, t1] = this.#at.rows
    this.#kernels.correct(t1 + ROW * from, t0 + ROW * from, this.#at.codes, BLOCK * CHUNK, n)
  }

  /** Adds matrix 1, where the bits of `s` are set, to matrix 0. */
  select(s: Uint8Array, rows: number): void {
    this.#memory.set(s, this.#at.s)
    this.#kernels.select(this.#at.rows[0], this.#at.rows[1], this.#at.s, rows)
  }

  /**
   * H(row ⊕ (code ∧ s) ‖ number of the row) for up to {@link CHUNK} places of matrix 0; without codes, of the rows alone.
   *
   * @param places rows, from 0; `first` is added for their numbers
   * @returns a view that the next call overwrites
   */
  evaluate(
    places: Uint32Array,
    first: number,
    state: Uint32Array,
    by?: { readonly codes: readonly Uint8Array[]; readonly s: Uint8Array },
  ): Uint8Array {
    const { places: to, codes, s, messages } = this.#at
    new Uint32Array(this.#memory.buffer, to, CHUNK).set(places)
    if (by !== undefined) {
      this.#setCodes(by.codes)
      this.#memory.set(by.s, s)
    }
    const mask = by === undefined ? 0 : s
    this.#kernels.evaluate(messages, this.#at.rows[0], to, codes, BLOCK * CHUNK, mask, first, places.length)
    return this.hash(places.length, MESSAGE, state)
  }

  #setCodes(codes: readonly Uint8Array[]): void {
    for (const [index, code] of codes.entries()) this.#memory.set(code, this.#at.codes + index * BLOCK * CHUNK)
  }

  /** Overwrites all that it worked on. */
  wipe(): void {
    this.#memory.fill(0, PAGE)
  }
}
