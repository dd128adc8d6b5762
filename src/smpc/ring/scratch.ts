/**
 * Memory of WebAssembly that the ring kernels work on: how arrays get into it and out of it.
 *
 * Arrays are worked on block by block, so that scratch stays in the caches and memory stays small; only products of
 * matrices take what they need. What a call leaves in scratch, shares among it, lies there until a later call overwrites
 * it: whoever can read that memory can read the arrays of this process as well. Keys and key streams are wiped.
 */
import { sottoError } from '../../errors.ts'
import { unfilledBytes, unfilledWords } from '../../worker/memory-pool.ts'
import { chachaBlock } from './check.ts'
import { areCodes, areDigits, CODE, codeBytes, digitsOf, MOST_SUBTRACTED, TOGETHER } from './digits.ts'
import type { Planes, RingBits, Source, Words } from './kernels.ts'

/** What is used of WebAssembly; its types come with those of the DOM alone. */
export interface WebAssemblyApi {
  validate(bytes: Uint8Array): boolean
  Module: new (bytes: Uint8Array) => object
  Memory: new (size: { initial: number; maximum: number }) => Memory
  Instance: new (module: object, imports: { env: { memory: Memory } }) => { exports: unknown }
}
interface Memory {
  readonly buffer: ArrayBuffer
  grow(pages: number): number
}

export type Pointer = number
/** As many as {@link OPERANDS}. */
// biome-ignore format: a line is enough
type Pointers = readonly [Pointer, Pointer, Pointer, Pointer, Pointer, Pointer, Pointer, Pointer, Pointer, Pointer, Pointer, Pointer, Pointer, Pointer, Pointer, Pointer]
/** What the module exports; see there. */
interface Exports {
  scratchStart(): Pointer
  add(out: Pointer, a: Pointer, b: Pointer, n: number): void
  sub(out: Pointer, a: Pointer, b: Pointer, n: number): void
  lessTwice(out: Pointer, a: Pointer, b: Pointer, n: number): void
  mul(out: Pointer, a: Pointer, b: Pointer, n: number): void
  neg(out: Pointer, a: Pointer, n: number): void
  addScalar(out: Pointer, a: Pointer, k: bigint, n: number): void
  mulScalar(out: Pointer, a: Pointer, k: bigint, n: number): void
  beaver(out: Pointer, c: Pointer, a: Pointer, b: Pointer, d: Pointer, e: Pointer, addsPublic: boolean, n: number): void
  divide(out: Pointer, a: Pointer, divisor: bigint, n: number): void
  matMul(
    out: Pointer,
    a: Pointer,
    b: Pointer,
    m: number,
    k: number,
    n: number,
    isTurned: boolean,
    scratch: Pointer,
  ): void
  turnRows(out: Pointer, a: Pointer, k: number, rows: number, from: number, count: number): void
  matMulScratch(m: number, k: number): number
  truncationOf(quotient: Pointer, top: Pointer, r: Pointer, divisor: bigint, n: number): void
  truncate(
    out: Pointer,
    c: Pointer,
    quotient: Pointer,
    top: Pointer,
    divisor: bigint,
    offset: bigint,
    addsPublic: boolean,
    n: number,
  ): void
  sum2(out: Pointer, a: Pointer, b: Pointer, k: bigint, n: number): void
  sum3(out: Pointer, a: Pointer, b: Pointer, c: Pointer, k: bigint, n: number): void
  dealDivision(
    own: Pointer,
    quotient: Pointer,
    before: Pointer,
    after: Pointer,
    top: Pointer,
    summand: Pointer,
    mask: Pointer,
    rA: Pointer,
    rB: Pointer,
    quotientA: Pointer,
    topA: Pointer,
    maskA: Pointer,
    maskB: Pointer,
    hasOwn: boolean,
    isNarrow: boolean,
    divisor: bigint,
    z: bigint,
    n: number,
  ): void
  carryDivision(
    c: Pointer,
    component: Pointer,
    carry: Pointer,
    masked: Pointer,
    theirs: Pointer,
    helpers: Pointer,
    quotient: Pointer,
    top: Pointer,
    mask: Pointer,
    hasHelpers: boolean,
    isTopNarrow: boolean,
    isMaskNarrow: boolean,
    z: bigint,
    n: number,
  ): void
  closeDivision(out: Pointer, c: Pointer, mine: Pointer, theirs: Pointer, divisor: bigint, z: bigint, n: number): void
  pack(out: Pointer, words: Pointer, from: number, bits: number, n: number): void
  unpack(out: Pointer, packed: Pointer, from: number, bits: number, n: number): void
  encodeFloat32(out: Pointer, values: Pointer, scale: number, limit: number, n: number): number
  encodeFloat64(out: Pointer, values: Pointer, scale: number, limit: number, n: number): number
  decode(out: Pointer, a: Pointer, scale: number, n: number): void
  toPlanes(out: Pointer, a: Pointer, n: number): void
  fromPlane(out: Pointer, plane: Pointer, n: number): void
  flip(out: Pointer, plane: Pointer, x: Pointer, k: bigint, n: number): void
  flipWithin(out: Pointer, plane: Pointer, x: Pointer, y: Pointer, n: number): void
  pick(out: Pointer, plane: Pointer, x: Pointer, y: Pointer, n: number): void
  lowestBits(out: Pointer, a: Pointer, n: number): void
  xor(out: Pointer, a: Pointer, b: Pointer, bytes: number): void
  and(out: Pointer, a: Pointer, b: Pointer, bytes: number): void
  beaverAnd(
    out: Pointer,
    c: Pointer,
    a: Pointer,
    b: Pointer,
    d: Pointer,
    e: Pointer,
    addsPublic: boolean,
    bytes: number,
  ): void
  thermometers(out: Pointer, planes: Pointer, bytes: number, digits: number): void
  compareDigits(
    out: Pointer,
    codes: Pointer,
    planes: Pointer,
    isSigned: boolean,
    addsPublic: boolean,
    bytes: number,
    digits: number,
  ): void
  subtractDigits(
    out: Pointer,
    codes: Pointer,
    planes: Pointer,
    addsPublic: boolean,
    bytes: number,
    digits: number,
  ): void
  chacha20(out: Pointer, key: Pointer, nonce: Pointer, counter: number, blocks: number): void

  add128(out: Pointer, a: Pointer, b: Pointer, n: number): void
  sub128(out: Pointer, a: Pointer, b: Pointer, n: number): void
  mul128(out: Pointer, a: Pointer, b: Pointer, n: number): void
  neg128(out: Pointer, a: Pointer, n: number): void
  addScalar128(out: Pointer, a: Pointer, low: bigint, high: bigint, n: number): void
  mulScalar128(out: Pointer, a: Pointer, low: bigint, high: bigint, n: number): void
  beaver128(
    out: Pointer,
    c: Pointer,
    a: Pointer,
    b: Pointer,
    d: Pointer,
    e: Pointer,
    addsPublic: boolean,
    n: number,
  ): void
  divide128(out: Pointer, a: Pointer, divisor: bigint, n: number): void
  matMul128(out: Pointer, a: Pointer, b: Pointer, m: number, k: number, n: number, scratch: Pointer): void
  matMulScratch128(m: number, k: number, n: number): number
  truncationOf128(quotient: Pointer, top: Pointer, r: Pointer, divisor: bigint, n: number): void
  truncate128(
    out: Pointer,
    c: Pointer,
    quotient: Pointer,
    top: Pointer,
    divisor: bigint,
    low: bigint,
    high: bigint,
    addsPublic: boolean,
    n: number,
  ): void
  encodeFloat32To128(out: Pointer, values: Pointer, scale: number, limit: number, n: number): number
  encodeFloat64To128(out: Pointer, values: Pointer, scale: number, limit: number, n: number): number
  decode128(out: Pointer, a: Pointer, scale: number, n: number): void
  toPlanes128(out: Pointer, a: Pointer, n: number, lows: Pointer, highs: Pointer): void
  fromPlane128(out: Pointer, plane: Pointer, n: number): void
  flip128(out: Pointer, plane: Pointer, x: Pointer, low: bigint, high: bigint, n: number): void
  flipWithin128(out: Pointer, plane: Pointer, x: Pointer, y: Pointer, n: number): void
  pick128(out: Pointer, plane: Pointer, x: Pointer, y: Pointer, n: number): void
  lessTwice128(out: Pointer, a: Pointer, b: Pointer, n: number): void
  lowestBits128(out: Pointer, a: Pointer, n: number, lows: Pointer): void
}

/** Bytes of an operand that are worked on at once. From 8 to 128 kB, time was the same within a tenth. */
const BLOCK = 32_768
/**
 * Room for an operand: a block, and some more. Kernels of several elements at once go past the end by less than 128
 * bytes; and operands that lie no power of two apart do not compete for the same lines of a cache.
 */
const ROOM = BLOCK + 256
/**
 * Bytes of a plane that are made at once, of each of the 64, in the room of three operands. Fewer cost more in copies;
 * a power of two apart, they compete for the same lines of the cache.
 */
const STRIP = 1008
/** Of each of the 128: elements take the room of two operands, their low and high words that of one each, planes of two. */
const STRIP_128 = 504
/** As many operands and results as the largest of `helped` has. */
const OPERANDS = 16
const PAGE = 65_536
/**
 * Bytes of rows of the left operand and of the result that are multiplied at once: they stay in a cache of the second
 * level while panel after panel of columns meets them. At least 64 rows, for panels are packed anew each time.
 */
const ROWS = 2 ** 20
/** Scratch larger than this is given back after the call. */
const KEPT = 2 ** 26

/** An array, and how many bits of it belong to one element. */
export interface Operand {
  readonly array: Words | Planes | Float32Array | Float64Array
  readonly bits: number
}
/** The same of what comes piece by piece. */
export interface Incoming {
  readonly source: Source
  readonly bits: number
}
/** What a kernel does not look at. */
export const nothing: Operand = { array: new Uint8Array(0), bits: 0 }
export const operand = (array: Operand['array'], bits: number): Operand => ({ array, bits })
export const plane = (a: Planes): Operand => operand(a, 1)
const bytesOf = (a: ArrayBufferView): Uint8Array =>
  a instanceof Uint8Array ? a : new Uint8Array(a.buffer, a.byteOffset, a.byteLength)

/** The most bits that an operand has of an element. */
function widest(outputs: readonly Operand[], inputs: readonly (Operand | Incoming)[]): number {
  let most = 0
  for (const { bits } of outputs) if (bits > most) most = bits
  for (const { bits } of inputs) if (bits > most) most = bits
  return most
}

/** Memory that kernels work on, and the module over it. */
export class Scratch {
  readonly #api: WebAssemblyApi
  readonly #module: object
  readonly #maximum: number
  #memory!: Memory
  /** Views of the memory as it is now. A view for each copy would take longer than the copy of a small array. */
  #bytes!: Uint8Array
  #words!: BigUint64Array
  #kernels!: Exports
  readonly #start: Pointer
  /** Where the operands of a block are, outputs first. */
  readonly pointers: Pointers

  constructor(api: WebAssemblyApi, module: object, maximum: number) {
    this.#api = api
    this.#module = module
    this.#maximum = maximum
    this.#begin()
    const start = this.#kernels.scratchStart()
    this.#start = start
    this.pointers = Array.from({ length: OPERANDS }, (_, i) => start + i * ROOM) as unknown as Pointers
  }

  get kernels(): Exports {
    return this.#kernels
  }

  /** Starts over with little memory: memory of WebAssembly never shrinks. */
  #begin(): void {
    const initial = Math.ceil((OPERANDS * ROOM) / PAGE) + 1
    this.#memory = new this.#api.Memory({ initial, maximum: this.#maximum })
    this.#look()
    this.#kernels = new this.#api.Instance(this.#module, { env: { memory: this.#memory } }).exports as Exports
  }

  /**
   * Runs a kernel on `n` elements, a block at a time: copies the inputs in, and the outputs out.
   *
   * @param run calls the kernel on a number of elements, which lie at {@link pointers}
   */
  inBlocks(
    n: number,
    outputs: readonly Operand[],
    inputs: readonly (Operand | Incoming)[],
    run: (n: number) => void,
  ): void {
    const step = (8 * BLOCK) / widest(outputs, inputs)
    for (let from = 0; from < n; from += step) {
      const count = Math.min(step, n - from)
      for (let i = 0; i < inputs.length; i++) this.#read(inputs[i]!, from, count, this.pointers[outputs.length + i]!)
      run(count)
      for (let i = 0; i < outputs.length; i++) this.#write(outputs[i]!, from, count, this.pointers[i]!)
    }
  }

  #look(): void {
    this.#bytes = new Uint8Array(this.#memory.buffer)
    this.#words = new BigUint64Array(this.#memory.buffer)
  }

  /** Copies `count` elements in, from one that is a multiple of eight on. */
  #read(input: Operand | Incoming, from: number, count: number, to: Pointer): void {
    const { bits } = input
    if ('source' in input) return this.#bytes.set(input.source.next(Math.ceil((count * bits) / 8)), to)
    const { array } = input
    if (array instanceof BigUint64Array) {
      const [first, length] = [(from * bits) / 64, (count * bits) / 64]
      return this.#words.set(length === array.length ? array : array.subarray(first, first + length), to / 8)
    }
    const [first, end] = [(from * bits) / 8, Math.ceil(((from + count) * bits) / 8)]
    this.#bytes.set(bytesOf(array).subarray(first, end), to)
  }

  /** Copies `count` elements out. */
  #write({ array, bits }: Operand, from: number, count: number, at: Pointer): void {
    if (array instanceof BigUint64Array) {
      return array.set(this.#words.subarray(at / 8, at / 8 + (count * bits) / 64), (from * bits) / 64)
    }
    const [first, end] = [(from * bits) / 8, Math.ceil(((from + count) * bits) / 8)]
    bytesOf(array).set(this.#bytes.subarray(at, at + end - first), first)
  }

  /**
   * All of [k,n] goes into memory, and as many rows of [m,k] and of the result as {@link ROWS} bytes hold.
   *
   * @param isTurned whether [m,k] and [k,n] lie there turned over: of 64 bits; [m,k] then goes into memory as a whole as well
   */
  matMul(
    a: Words,
    b: Words,
    m: number,
    k: number,
    n: number,
    bits: RingBits,
    isTurned: { readonly a: boolean; readonly b: boolean } = { a: false, b: false },
  ): Words {
    const [bytes, limbs] = [bits / 8, bits / 64]
    if (m * n === 0 || k === 0) return new BigUint64Array(limbs * m * n)
    const out = unfilledWords(limbs * m * n)
    const rows = Math.min(m, Math.max(64, Math.floor(ROWS / (bytes * (k + n)))))
    const right = this.#start
    const left = right + padded(bytes * k * n)
    const result = left + padded(bytes * rows * k)
    const whole = result + padded(bytes * rows * n)
    const scratch = whole + (isTurned.a ? padded(bytes * m * k) : 0)
    const more = bits === 64 ? this.#kernels.matMulScratch(rows, k) >>> 0 : this.#kernels.matMulScratch128(rows, k, n)
    this.#reserve(`matMul by [${k},${n}]`, scratch + more)
    const kernels = this.#kernels
    const memory = this.#bytes
    memory.set(bytesOf(b), right)
    if (isTurned.a) memory.set(bytesOf(a), whole)
    for (let row = 0; row < m; row += rows) {
      const count = Math.min(rows, m - row)
      if (isTurned.a) kernels.turnRows(left, whole, k, m, row, count)
      else memory.set(bytesOf(a.subarray(limbs * row * k, limbs * (row + count) * k)), left)
      if (bits === 64) kernels.matMul(result, left, right, count, k, n, isTurned.b, scratch)
      else kernels.matMul128(result, left, right, count, k, n, scratch)
      bytesOf(out).set(memory.subarray(result, result + bytes * count * n), bytes * row * n)
    }
    if (memory.length > KEPT) this.#begin()
    return out
  }

  /**
   * Puts the planes of so many elements from one on into scratch, beside room for codes and for what is compared; gives
   * where all these are, and bytes of a plane.
   */
  #planesFor(a: Words, from: number, bits: RingBits) {
    const limbs = bits / 64
    // Elements and planes take a room, or two of 128 bits; what comes out at most two (7 planes for each of 16 digits), and
    // codes at most eight (15 for each of 32).
    const [words, , lows, highs, planes, , out, , codes] = this.pointers
    const block = a.subarray(limbs * from, limbs * (from + TOGETHER))
    const count = block.length / limbs
    this.#bytes.set(bytesOf(block), words)
    if (bits === 64) this.#kernels.toPlanes(planes, words, count)
    else this.#kernels.toPlanes128(planes, words, count, lows, highs)
    return { planes, out, codes, width: Math.ceil(count / 8) }
  }

  thermometers(a: Words, digits: number, bits: RingBits): Planes {
    areDigits('thermometers', digits, digitsOf(bits))
    const n = a.length / (bits / 64)
    const result = unfilledBytes(codeBytes(digits, n))
    for (let from = 0; from < n; from += TOGETHER) {
      const { planes, codes, width } = this.#planesFor(a, from, bits)
      this.#kernels.thermometers(codes, planes, width, digits)
      result.set(this.#bytes.subarray(codes, codes + CODE * digits * width), CODE * digits * (from / 8))
    }
    return result
  }

  compareDigits(
    codes: Planes,
    c: Words,
    digits: number,
    isSigned: boolean,
    addsPublic: boolean,
    bits: RingBits,
  ): Planes {
    areCodes('compareDigits', codes, digits, c.length / (bits / 64), digitsOf(bits))
    return this.#lookUp(codes, c, digits, 2, bits, (...[out, at, planes, width]) =>
      this.#kernels.compareDigits(out, at, planes, isSigned, addsPublic, width, digits),
    )
  }

  subtractDigits(codes: Planes, c: Words, digits: number, addsPublic: boolean, bits: RingBits): Planes {
    areCodes('subtractDigits', codes, digits, c.length / (bits / 64), MOST_SUBTRACTED)
    return this.#lookUp(codes, c, digits, 7, bits, (...[out, at, planes, width]) =>
      this.#kernels.subtractDigits(out, at, planes, addsPublic, width, digits),
    )
  }

  /** Has a kernel make so many planes for each digit, from codes and c. */
  #lookUp(
    codes: Planes,
    c: Words,
    digits: number,
    count: number,
    bits: RingBits,
    run: (out: Pointer, codes: Pointer, planes: Pointer, width: number) => void,
  ): Planes {
    const n = c.length / (bits / 64)
    const bytes = Math.ceil(n / 8)
    const result = unfilledBytes(count * digits * bytes)
    const memory = this.#bytes
    for (let from = 0; from < n; from += TOGETHER) {
      const { planes, out, codes: at, width } = this.#planesFor(c, from, bits)
      const first = CODE * digits * (from / 8)
      memory.set(codes.subarray(first, first + CODE * digits * width), at)
      run(out, at, planes, width)
      if (width === bytes) {
        result.set(memory.subarray(out, out + result.length))
        break
      }
      for (let plane = 0; plane < count * digits; plane++) {
        result.set(memory.subarray(out + plane * width, out + (plane + 1) * width), plane * bytes + from / 8)
      }
    }
    return result
  }

  /** A block makes a strip of each plane. */
  toPlanes(a: Words, bits: RingBits): Planes {
    const limbs = bits / 64
    const bytes = Math.ceil(a.length / limbs / 8)
    const out = unfilledBytes(bits * bytes)
    const memory = this.#bytes
    const strip = bits === 64 ? STRIP : STRIP_128
    const [from, , lows, highs] = this.pointers
    const strips = this.pointers[bits === 64 ? 3 : 4]
    for (let at = 0; at < bytes; at += strip) {
      const block = a.subarray(8 * limbs * at, 8 * limbs * (at + strip))
      const count = block.length / limbs
      const width = Math.ceil(count / 8)
      memory.set(bytesOf(block), from)
      if (bits === 64) this.#kernels.toPlanes(strips, from, count)
      else this.#kernels.toPlanes128(strips, from, count, lows, highs)
      if (width === bytes) {
        out.set(memory.subarray(strips, strips + out.length))
        break
      }
      for (let plane = 0; plane < bits; plane++) {
        out.set(memory.subarray(strips + plane * width, strips + (plane + 1) * width), plane * bytes + at)
      }
    }
    return out
  }

  chacha20(key: Uint8Array, nonce: Uint8Array, counter: number, length: number): Uint8Array {
    const out = new Uint8Array(length)
    const memory = this.#bytes
    const [keyAt, nonceAt, streamAt] = [this.#start, this.#start + 32, this.#start + 48]
    memory.set(key, keyAt)
    memory.set(nonce, nonceAt)
    for (let from = 0; from < length; from += BLOCK) {
      const count = Math.min(BLOCK, length - from)
      const [block, blocks] = [counter + from / chachaBlock, Math.ceil(count / chachaBlock)]
      this.#kernels.chacha20(streamAt, keyAt, nonceAt, block, blocks)
      out.set(memory.subarray(streamAt, streamAt + count), from)
    }
    // The kernel writes four blocks at a time.
    memory.fill(0, keyAt, streamAt + Math.min(BLOCK, length) + 4 * chachaBlock)
    return out
  }

  /**
   * Makes memory that reaches to `end`. Views of it from before are dead.
   *
   * @throws SessionError `ERR_LIMIT`
   */
  #reserve(what: string, end: number): void {
    const pages = Math.ceil((end - this.#memory.buffer.byteLength) / PAGE)
    if (pages <= 0) return
    try {
      this.#memory.grow(pages)
      this.#look()
    } catch (cause) {
      const [needed, limit] = [end, this.#maximum * PAGE].map((bytes) => Math.ceil(bytes / 2 ** 20))
      throw sottoError(
        'ERR_LIMIT',
        `${what} takes ${needed} MB, and WebAssembly has ${limit} MB at most; take fewer columns at a time`,
        { needed, limit },
        cause,
      )
    }
  }
}

const padded = (bytes: number): number => Math.ceil(bytes / 16) * 16
