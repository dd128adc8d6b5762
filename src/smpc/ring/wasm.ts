/**
 * The ring kernels in WebAssembly: how arrays get into scratch memory and out of it. The kernels themselves are written
 * in AssemblyScript, in `assembly/ring`.
 *
 * Arrays are worked on block by block, so that scratch stays in the caches and memory stays small; only products of
 * matrices take what they need. What a call leaves in scratch, shares among it, lies there until a later call overwrites
 * it: whoever can read that memory can read the arrays of this process as well. Keys and key streams are wiped.
 */
import { sottoError } from '../../errors.ts'
import { chachaBlock, encodeLimit, hasShape, isDivisor, isKeyStream, notEncodable, sameLength } from './check.ts'
import { javascriptKernels, truncationOffset } from './javascript.ts'
import type { Planes, RingKernels, Words } from './kernels.ts'
import { ringModule } from './ring.wasm.ts'

/** What is used of WebAssembly; its types come with those of the DOM alone. */
interface WebAssemblyApi {
  validate(bytes: Uint8Array): boolean
  Module: new (bytes: Uint8Array) => object
  Memory: new (size: { initial: number; maximum: number }) => Memory
  Instance: new (module: object, imports: { env: { memory: Memory } }) => { exports: unknown }
}
interface Memory {
  readonly buffer: ArrayBuffer
  grow(pages: number): number
}

type Pointer = number
/** What the module exports; see there. */
interface Exports {
  scratchStart(): Pointer
  add(out: Pointer, a: Pointer, b: Pointer, n: number): void
  sub(out: Pointer, a: Pointer, b: Pointer, n: number): void
  mul(out: Pointer, a: Pointer, b: Pointer, n: number): void
  neg(out: Pointer, a: Pointer, n: number): void
  addScalar(out: Pointer, a: Pointer, k: bigint, n: number): void
  mulScalar(out: Pointer, a: Pointer, k: bigint, n: number): void
  beaver(out: Pointer, c: Pointer, a: Pointer, b: Pointer, d: Pointer, e: Pointer, addsPublic: boolean, n: number): void
  divide(out: Pointer, a: Pointer, divisor: bigint, n: number): void
  matMul(out: Pointer, a: Pointer, b: Pointer, m: number, k: number, n: number, scratch: Pointer): void
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
  encodeFloat32(out: Pointer, values: Pointer, scale: number, limit: number, n: number): number
  encodeFloat64(out: Pointer, values: Pointer, scale: number, limit: number, n: number): number
  decode(out: Pointer, a: Pointer, scale: number, n: number): void
  toPlanes(out: Pointer, a: Pointer, n: number): void
  fromPlane(out: Pointer, plane: Pointer, n: number): void
  lowestBits(out: Pointer, a: Pointer, n: number): void
  xor(out: Pointer, a: Pointer, b: Pointer, bytes: number): void
  and(out: Pointer, a: Pointer, b: Pointer, bytes: number): void
  not(out: Pointer, a: Pointer, bytes: number): void
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
  chacha20(out: Pointer, key: Pointer, nonce: Pointer, counter: number, blocks: number): void
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
/**
 * Memory for a result of which every byte is written before anybody sees it. Filling it with zeros first would take a
 * quarter of the time of an encoding.
 */
const unfilled = (bytes: number): ArrayBuffer =>
  globalThis.Buffer === undefined ? new ArrayBuffer(bytes) : (Buffer.allocUnsafeSlow(bytes).buffer as ArrayBuffer)

/** As many operands as {@link RingKernels.beaver} has, and its result. */
const OPERANDS = 6
const PAGE = 65_536
/**
 * Bytes of rows of the left operand and of the result that are multiplied at once: they stay in a cache of the second
 * level while panel after panel of columns meets them. At least 64 rows, for panels are packed anew each time.
 */
const ROWS = 2 ** 20
/** Scratch larger than this is given back after the call. */
const KEPT = 2 ** 26

/** Bytes of an array, and how many bits of it belong to one element. */
interface Operand {
  readonly bytes: Uint8Array
  readonly bits: number
}
const operand = (a: ArrayBufferView, bits: number): Operand => ({
  bytes: new Uint8Array(a.buffer, a.byteOffset, a.byteLength),
  bits,
})
const words = (a: Words): Operand => operand(a, 64)
const plane = (a: Planes): Operand => operand(a, 1)
const widest = (operands: readonly Operand[]): number => operands.reduce((most, { bits }) => Math.max(most, bits), 0)
/** Bytes of `count` elements; `from` is a multiple of eight. */
const part = ({ bytes, bits }: Operand, from: number, count: number): Uint8Array =>
  bytes.subarray((from * bits) / 8, Math.ceil(((from + count) * bits) / 8))

/** Memory that kernels work on, and the module over it. */
class Scratch {
  readonly #api: WebAssemblyApi
  readonly #module: object
  readonly #maximum: number
  #memory!: Memory
  #kernels!: Exports
  readonly #start: Pointer
  /** Where the operands of a block are, outputs first. */
  readonly pointers: readonly [Pointer, Pointer, Pointer, Pointer, Pointer, Pointer]

  constructor(api: WebAssemblyApi, module: object, maximum: number) {
    this.#api = api
    this.#module = module
    this.#maximum = maximum
    this.#begin()
    const start = this.#kernels.scratchStart()
    this.#start = start
    this.pointers = [start, start + ROOM, start + 2 * ROOM, start + 3 * ROOM, start + 4 * ROOM, start + 5 * ROOM]
  }

  get kernels(): Exports {
    return this.#kernels
  }

  /** Starts over with little memory: memory of WebAssembly never shrinks. */
  #begin(): void {
    const initial = Math.ceil((OPERANDS * ROOM) / PAGE) + 1
    this.#memory = new this.#api.Memory({ initial, maximum: this.#maximum })
    this.#kernels = new this.#api.Instance(this.#module, { env: { memory: this.#memory } }).exports as Exports
  }

  /**
   * Runs a kernel on `n` elements, a block at a time: copies the inputs in, and the outputs out.
   *
   * @param run calls the kernel on a number of elements, which lie at {@link pointers}
   */
  inBlocks(n: number, outputs: readonly Operand[], inputs: readonly Operand[], run: (n: number) => void): void {
    const memory = new Uint8Array(this.#memory.buffer)
    const step = (8 * BLOCK) / Math.max(widest(outputs), widest(inputs))
    for (let from = 0; from < n; from += step) {
      const count = Math.min(step, n - from)
      for (let i = 0; i < inputs.length; i++) {
        memory.set(part(inputs[i]!, from, count), this.pointers[outputs.length + i]!)
      }
      run(count)
      for (let i = 0; i < outputs.length; i++) {
        const [to, at] = [part(outputs[i]!, from, count), this.pointers[i]!]
        to.set(memory.subarray(at, at + to.length))
      }
    }
  }

  /** All of [k,n] goes into memory, and as many rows of [m,k] and of the result as {@link ROWS} bytes hold. */
  matMul(a: Words, b: Words, m: number, k: number, n: number): Words {
    const out = new BigUint64Array(m * n)
    if (out.length === 0 || k === 0) return out
    const rows = Math.min(m, Math.max(64, Math.floor(ROWS / (8 * (k + n)))))
    const right = this.#start
    const left = right + padded(8 * k * n)
    const result = left + padded(8 * rows * k)
    const scratch = result + padded(8 * rows * n)
    this.#reserve(`matMul by [${k},${n}]`, scratch + (this.#kernels.matMulScratch(rows, k) >>> 0))
    const memory = new Uint8Array(this.#memory.buffer)
    memory.set(words(b).bytes, right)
    for (let row = 0; row < m; row += rows) {
      const count = Math.min(rows, m - row)
      memory.set(words(a.subarray(row * k, (row + count) * k)).bytes, left)
      this.#kernels.matMul(result, left, right, count, k, n, scratch)
      words(out).bytes.set(memory.subarray(result, result + 8 * count * n), 8 * row * n)
    }
    if (memory.length > KEPT) this.#begin()
    return out
  }

  /** A block makes a strip of each plane. */
  toPlanes(a: Words): Planes {
    const bytes = Math.ceil(a.length / 8)
    const out = new Uint8Array(64 * bytes)
    const memory = new Uint8Array(this.#memory.buffer)
    const [from, strips] = [this.pointers[0], this.pointers[3]]
    for (let at = 0; at < bytes; at += STRIP) {
      const block = a.subarray(8 * at, 8 * (at + STRIP))
      const width = Math.ceil(block.length / 8)
      memory.set(words(block).bytes, from)
      this.#kernels.toPlanes(strips, from, block.length)
      if (width === bytes) {
        out.set(memory.subarray(strips, strips + out.length))
        break
      }
      for (let plane = 0; plane < 64; plane++) {
        out.set(memory.subarray(strips + plane * width, strips + (plane + 1) * width), plane * bytes + at)
      }
    }
    return out
  }

  chacha20(key: Uint8Array, nonce: Uint8Array, counter: number, length: number): Uint8Array {
    const out = new Uint8Array(length)
    const memory = new Uint8Array(this.#memory.buffer)
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

function kernelsOver(scratch: Scratch): RingKernels {
  type Run = (n: number) => void
  const [p0, p1, p2, p3, p4, p5] = scratch.pointers
  /** A kernel of words that makes as many words. */
  const wordwise = (inputs: readonly Words[], run: Run): Words => {
    const out = new BigUint64Array(inputs[0]!.length)
    scratch.inBlocks(out.length, [words(out)], inputs.map(words), run)
    return out
  }
  /** A kernel of planes that makes as many bytes. */
  const bytewise = (inputs: readonly Planes[], run: Run): Planes => {
    const out = new Uint8Array(inputs[0]!.length)
    const bytes = (a: Planes) => operand(a, 8)
    scratch.inBlocks(out.length, [bytes(out)], inputs.map(bytes), run)
    return out
  }
  const ofTwoWords = (kernel: 'add' | 'sub' | 'mul') => (a: Words, b: Words) => {
    sameLength(kernel, a, b)
    return wordwise([a, b], (n) => scratch.kernels[kernel](p0, p1, p2, n))
  }
  const ofTwoPlanes = (kernel: 'xor' | 'and') => (a: Planes, b: Planes) => {
    sameLength(kernel, a, b)
    return bytewise([a, b], (n) => scratch.kernels[kernel](p0, p1, p2, n))
  }
  // These move words more than they compute: a loop here is as fast as copies there and back.
  const { sumRows, cumulativeSum, gather, scatterAdd, fromInt32, toInt32 } = javascriptKernels

  return {
    name: 'wasm',
    sumRows,
    cumulativeSum,
    gather,
    scatterAdd,
    fromInt32,
    toInt32,

    add: ofTwoWords('add'),
    sub: ofTwoWords('sub'),
    mul: ofTwoWords('mul'),
    neg: (a) => wordwise([a], (n) => scratch.kernels.neg(p0, p1, n)),
    // A bigint is taken mod 2^64 on its way into WebAssembly.
    addScalar: (a, k) => wordwise([a], (n) => scratch.kernels.addScalar(p0, p1, k, n)),
    mulScalar: (a, k) => wordwise([a], (n) => scratch.kernels.mulScalar(p0, p1, k, n)),

    beaver(c, a, b, d, e, addsPublic) {
      sameLength('beaver', c, a, b, d, e)
      return wordwise([c, a, b, d, e], (n) => scratch.kernels.beaver(p0, p1, p2, p3, p4, p5, addsPublic, n))
    },

    matMul(a, b, m, k, n) {
      hasShape('matMul', a, m, k)
      hasShape('matMul', b, k, n)
      return scratch.matMul(a, b, m, k, n)
    },

    divide(a, divisor) {
      isDivisor('divide', divisor, 63)
      return wordwise([a], (n) => scratch.kernels.divide(p0, p1, divisor, n))
    },

    encode(values, scale) {
      const out = new BigUint64Array(unfilled(8 * values.length))
      const kernel = values instanceof Float32Array ? 'encodeFloat32' : 'encodeFloat64'
      const from = operand(values, 8 * values.BYTES_PER_ELEMENT)
      scratch.inBlocks(out.length, [words(out)], [from], (n) => {
        if (scratch.kernels[kernel](p0, p1, scale, encodeLimit, n)) throw notEncodable(scale)
      })
      return out
    },

    decode(a, scale) {
      const out = new Float32Array(unfilled(4 * a.length))
      scratch.inBlocks(out.length, [operand(out, 32)], [words(a)], (n) => scratch.kernels.decode(p0, p1, scale, n))
      return out
    },

    truncationOf(r, divisor) {
      isDivisor('truncationOf', divisor, 62)
      const [quotient, top] = [new BigUint64Array(r.length), new BigUint64Array(r.length)]
      scratch.inBlocks(r.length, [words(quotient), words(top)], [words(r)], (n) =>
        scratch.kernels.truncationOf(p0, p1, p2, divisor, n),
      )
      return { quotient, top }
    },

    truncate(c, quotient, top, divisor, addsPublic) {
      isDivisor('truncate', divisor, 62)
      sameLength('truncate', c, quotient, top)
      const offset = truncationOffset(divisor)
      return wordwise([c, quotient, top], (n) =>
        scratch.kernels.truncate(p0, p1, p2, p3, divisor, offset, addsPublic, n),
      )
    },

    toPlanes: (a) => scratch.toPlanes(a),

    fromPlane(a, length) {
      sameLength('fromPlane', a, { length: Math.ceil(length / 8) })
      const out = new BigUint64Array(length)
      scratch.inBlocks(length, [words(out)], [plane(a)], (n) => scratch.kernels.fromPlane(p0, p1, n))
      return out
    },

    lowestBits(a) {
      const out = new Uint8Array(Math.ceil(a.length / 8))
      scratch.inBlocks(a.length, [plane(out)], [words(a)], (n) => scratch.kernels.lowestBits(p0, p1, n))
      return out
    },

    xor: ofTwoPlanes('xor'),
    and: ofTwoPlanes('and'),
    not: (a) => bytewise([a], (n) => scratch.kernels.not(p0, p1, n)),

    beaverAnd(c, a, b, d, e, addsPublic) {
      sameLength('beaverAnd', c, a, b, d, e)
      return bytewise([c, a, b, d, e], (n) => scratch.kernels.beaverAnd(p0, p1, p2, p3, p4, p5, addsPublic, n))
    },

    chacha20(key, nonce, counter, length) {
      isKeyStream(key, nonce, counter, length)
      return scratch.chacha20(key, nonce, counter, length)
    },
  }
}

/**
 * The kernels in WebAssembly, over scratch memory of their own; undefined where it is not to be had, or has no SIMD.
 *
 * @param maximum pages of 64 kB that scratch may grow to; by default what 32 bits can address
 */
export function makeWasmKernels({ maximum = 65_536 } = {}): RingKernels | undefined {
  const { WebAssembly: api } = globalThis as { WebAssembly?: WebAssemblyApi }
  const bytes = Uint8Array.from(atob(ringModule), (character) => character.charCodeAt(0))
  return api?.validate(bytes) ? kernelsOver(new Scratch(api, new api.Module(bytes), maximum)) : undefined
}
