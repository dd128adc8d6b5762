/** Inputs of the kernels' tests: both implementations, and words and bytes that are random or at a boundary. */
import fc from 'fast-check'
import { expect } from 'vitest'
import { SeededRandom } from '../../../src/data/random.ts'
import { javascriptKernels } from '../../../src/smpc/ring/javascript.ts'
import { javascriptKernels128 } from '../../../src/smpc/ring/javascript128.ts'
import type { RingBits, RingKernels } from '../../../src/smpc/ring/kernels.ts'
import { makeWasmKernels } from '../../../src/smpc/ring/wasm.ts'

const wasmKernels = makeWasmKernels()
if (wasmKernels === undefined) throw new Error('WebAssembly with SIMD is there wherever the tests run')

/** Every implementation, for `describe.each`. */
export const implementations: readonly (readonly [string, RingKernels])[] = [
  ['wasm, 64 bits', wasmKernels[64]],
  ['wasm, 128 bits', wasmKernels[128]],
  ['javascript, 64 bits', javascriptKernels],
  ['javascript, 128 bits', javascriptKernels128],
]

/** Elements where carries and signs turn; of 128 bits, also where a word is full. */
export const boundaries = {
  64: [0n, 1n, 2n ** 62n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n],
  128: [
    ...[0n, 1n, 2n ** 63n, 2n ** 64n - 1n, 2n ** 64n, 2n ** 126n, 2n ** 127n - 1n, 2n ** 127n, 2n ** 128n - 2n ** 64n],
    ...[2n ** 128n - 2n ** 63n, 2n ** 128n - 1n],
  ],
} as const

/** Elements as words. */
export const wordsOf = (elements: readonly bigint[], bits: RingBits): BigUint64Array =>
  BigUint64Array.from(
    elements.flatMap((x) => (bits === 64 ? [x] : [x, x >> 64n])),
    (x) => BigInt.asUintN(64, x),
  )
/** Words as elements. */
export const elementsOf = (words: BigUint64Array, bits: RingBits): bigint[] =>
  bits === 64
    ? [...words]
    : Array.from({ length: words.length / 2 }, (_, i) => words[2 * i]! | (words[2 * i + 1]! << 64n))

/** A source of operands that follow from a seed. */
export class Inputs {
  readonly #random: SeededRandom
  readonly bits: RingBits
  constructor(seed: number, bits: RingBits = 64) {
    this.#random = new SeededRandom(seed)
    this.bits = bits
  }

  below(bound: number): number {
    return this.#random.int(bound)
  }

  word(): bigint {
    return (BigInt(this.#random.uint32()) << 32n) | BigInt(this.#random.uint32())
  }

  element(): bigint {
    return this.bits === 64 ? this.word() : (this.word() << 64n) | this.word()
  }

  /** So many elements, one in four at a boundary; the array may start anywhere in its buffer. */
  words(length: number): BigUint64Array {
    const edges = boundaries[this.bits]
    const elements = Array.from({ length }, () =>
      this.below(4) === 0 ? edges[this.below(edges.length)]! : this.element(),
    )
    const offset = this.below(3)
    const words = wordsOf(elements, this.bits)
    const result = new BigUint64Array(offset + words.length).subarray(offset)
    result.set(words)
    return result
  }

  bytes(length: number): Uint8Array {
    const offset = this.below(9)
    const bytes = new Uint8Array(offset + length).subarray(offset)
    for (let i = 0; i < length; i++) bytes[i] = this.below(256)
    return bytes
  }
}

/** Lengths around those of vectors and of bytes of planes. */
export const lengths = fc.oneof(fc.constantFrom(0, 1, 2, 7, 8, 9, 15, 16, 17), fc.nat(70))
/** A block that is worked on at once, whole, and more than one. */
export const longLengths = { 64: [4096, 9001], 128: [2048, 4501] } as const

type Bytes = ArrayBufferView | Readonly<Record<string, ArrayBufferView>>
const buffers = (value: Bytes): readonly ArrayBufferView[] =>
  ArrayBuffer.isView(value) ? [value] : Object.values(value)
const bytesOf = (view: ArrayBufferView): Buffer => Buffer.from(view.buffer, view.byteOffset, view.byteLength)

/** Whether two results are of one kind, and alike byte by byte; quick on long ones. */
export function expectSame(got: Bytes, expected: Bytes): void {
  const [these, those] = [buffers(got), buffers(expected)]
  expect(these.map((view) => view.constructor.name)).toEqual(those.map((view) => view.constructor.name))
  for (const [i, view] of these.entries()) {
    // Not the whole memory of WebAssembly, nor a view into it.
    expect(view.buffer.byteLength).toBe(view.byteLength)
    if (!bytesOf(view).equals(bytesOf(those[i]!))) expect(view).toEqual(those[i])
  }
}

/** A copy to compare with later. */
export const copyOf = <T>(value: T): T => structuredClone(value)
