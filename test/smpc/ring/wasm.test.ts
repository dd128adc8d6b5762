import { afterEach, describe, expect, it, vi } from 'vitest'
import { ring } from '../../../src/smpc/ring/choose.ts'
import { ringModule } from '../../../src/smpc/ring/ring.wasm.ts'
import { makeWasmKernels } from '../../../src/smpc/ring/wasm.ts'
import { referenceKernels, references } from '../../reference/ring.ts'
import { expectSame, Inputs } from './inputs.ts'

interface Memory {
  readonly buffer: ArrayBuffer
}
interface Api {
  Module: new (bytes: Uint8Array) => object
  Memory: new (size: object) => Memory
}
const { WebAssembly: api } = globalThis as unknown as { WebAssembly: Api }

/** Kernels, the memories they have made, and the modules. */
function observed(options?: { maximum?: number }) {
  const memories: Memory[] = []
  const modules: Uint8Array[] = []
  vi.stubGlobal('WebAssembly', {
    ...Object.fromEntries(Object.getOwnPropertyNames(api).map((name) => [name, api[name as keyof Api]])),
    Module: class extends api.Module {
      constructor(bytes: Uint8Array) {
        super(bytes)
        modules.push(bytes)
      }
    },
    Memory: class extends api.Memory {
      constructor(size: object) {
        super(size)
        memories.push(this)
      }
    },
  })
  const rings = makeWasmKernels(options)!
  return { rings, kernels: rings[64], memories, modules }
}
const sizeOf = (memory: Memory) => memory.buffer.byteLength
const holds = (memory: Memory, bytes: Uint8Array) => Buffer.from(memory.buffer).includes(Buffer.from(bytes))

afterEach(() => {
  vi.unstubAllGlobals()
})

describe('the kernels in WebAssembly', () => {
  it('are the committed module', () => {
    const { modules } = observed()
    expect(modules.map((bytes) => Buffer.from(bytes).toString('base64'))).toEqual([ringModule.replaceAll(/\s/g, '')])
  })

  it('are what the ring computes with here', () => {
    expect(ring().name).toBe('wasm')
    expect(ring()).toBe(ring(64))
    expect([ring(), ring(128)].map(({ name, bits }) => [name, bits])).toEqual([
      ['wasm', 64],
      ['wasm', 128],
    ])
  })

  it('are not there without WebAssembly, nor without its SIMD', () => {
    vi.stubGlobal('WebAssembly', undefined)
    expect(makeWasmKernels()).toBeUndefined()
    vi.stubGlobal('WebAssembly', { validate: () => false })
    expect(makeWasmKernels()).toBeUndefined()
  })

  it('give right results while memory grows, after it, and after it was given back', () => {
    const { kernels, memories } = observed()
    const inputs = new Inputs(5)
    const small = [inputs.words(9001), inputs.words(9001)] as const
    const sum = referenceKernels.add(...small)
    const before = sizeOf(memories[0]!)

    const product = (m: number, k: number, n: number) => {
      // A right operand of a few values, so that the twin is quick.
      const [a, b] = [inputs.words(m * k), new BigUint64Array(k * n)]
      const expected = new BigUint64Array(m * n)
      for (let count = 0; count < 50; count++) {
        const [l, j, value] = [inputs.below(k), inputs.below(n), inputs.word()]
        b[l * n + j]! += value
        for (let i = 0; i < m; i++) expected[i * n + j]! += a[i * k + l]! * value
      }
      expectSame(kernels.matMul(a, b, m, k, n), expected)
    }

    product(3, 400, 400)
    expect(memories).toHaveLength(1)
    expect(sizeOf(memories[0]!)).toBeGreaterThan(before)
    expectSame(kernels.add(...small), sum)

    product(2, 2900, 2900)
    expect(memories.map(sizeOf)).toEqual([expect.any(Number), before])
    expect(sizeOf(memories[0]!)).toBeGreaterThan(2 ** 26)
    expectSame(kernels.add(...small), sum)
    product(5, 60, 70)
  })

  it('say how much memory a product takes when it cannot be had, and go on', () => {
    const { kernels, rings } = observed({ maximum: 16 })
    const inputs = new Inputs(6)
    const [a, b] = [inputs.words(400), inputs.words(400 * 400)]
    expect(() => kernels.matMul(a, b, 1, 400, 400)).toThrow(
      expect.objectContaining({
        code: 'ERR_LIMIT',
        message: 'matMul by [400,400] takes 2 MB, and WebAssembly has 1 MB at most; take fewer columns at a time',
        details: { needed: 2, limit: 1 },
      }),
    )
    expectSame(kernels.matMul(a, a, 20, 20, 20), referenceKernels.matMul(a, a, 20, 20, 20))
    // Of 128 bits, with parts of the right operand beside it.
    const wide = new Inputs(6, 128)
    const [x, y] = [wide.words(4 * 200), wide.words(200 * 200)]
    expect(() => rings[128].matMul(x, y, 4, 200, 200)).toThrow(expect.objectContaining({ code: 'ERR_LIMIT' }))
    expectSame(rings[128].matMul(x, x, 20, 40, 20), references[128].matMul(x, x, 20, 40, 20))
  })

  it('multiply numbers of 128 bits right where sums are as large as they get', () => {
    const { rings } = observed()
    // Of 2048 terms of halves at their largest, alike in sign, what doubles say of a sum is the furthest off.
    const [m, k, n] = [4, 2048 + 37, 4]
    const halves = [2n ** 63n - 1n, 2n ** 63n - 2n ** 32n + 2n ** 31n - 1n, 2n ** 63n, 2n ** 63n + 2n ** 31n]
    for (const x of halves) {
      for (const y of halves) {
        const [a, b] = [new BigUint64Array(2 * m * k), new BigUint64Array(2 * k * n)]
        for (let i = 0; i < a.length; i += 2) a[i] = x
        for (let i = 0; i < b.length; i += 2) b[i] = y
        const sum = BigInt(k) * x * y
        const expected = BigUint64Array.from({ length: 2 * m * n }, (_, i) =>
          BigInt.asUintN(64, i % 2 === 0 ? sum : sum >> 64n),
        )
        expectSame(rings[128].matMul(a, b, m, k, n), expected)
      }
    }
  })

  it('leave neither key, nonce nor key stream behind', () => {
    const { kernels, memories } = observed()
    const inputs = new Inputs(8)
    // This test can catch what is left: a share is.
    const share = inputs.words(4)
    kernels.neg(share)
    expect(holds(memories[0]!, new Uint8Array(share.buffer, share.byteOffset, 32))).toBe(true)

    for (const length of [1, 64, 300, 40_000, 70_000]) {
      const [key, nonce] = [inputs.bytes(32), inputs.bytes(12)]
      kernels.chacha20(key, nonce, 0, length)
      const blocks = referenceKernels.chacha20(key, nonce, 0, Math.ceil(length / 256) * 256)
      expect(holds(memories[0]!, key)).toBe(false)
      expect(holds(memories[0]!, nonce)).toBe(false)
      for (let at = 0; at < blocks.length; at += 64) {
        if (holds(memories[0]!, blocks.subarray(at, at + 64)))
          expect.fail(`block ${at / 64} of ${length} bytes is left`)
      }
    }
  })
})
