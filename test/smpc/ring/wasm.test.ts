import { afterEach, describe, expect, it, vi } from 'vitest'
import { ring } from '../../../src/smpc/ring/choose.ts'
import { ringModule } from '../../../src/smpc/ring/ring.wasm.ts'
import { makeWasmKernels } from '../../../src/smpc/ring/wasm.ts'
import { referenceKernels } from '../../reference/ring.ts'
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
  return { kernels: makeWasmKernels(options)!, memories, modules }
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
    expect(ring()).toBe(ring())
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
    const { kernels } = observed({ maximum: 16 })
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
