import fc from 'fast-check'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { Prg, randomSeed } from '../../src/smpc/prg.ts'
import { javascriptKernels } from '../../src/smpc/ring/javascript.ts'

const seed = Uint8Array.from({ length: 32 }, (_, i) => 7 * i)
const nonceOf = (index: number): Uint8Array => {
  const nonce = new Uint8Array(12)
  new DataView(nonce.buffer).setBigUint64(0, BigInt(index), true)
  return nonce
}
const keyStream = (index: number, block: number, length: number) =>
  javascriptKernels.chacha20(seed, nonceOf(index), block, length)

afterEach(() => {
  vi.resetModules()
})

describe('a stream of the generator', () => {
  it('is the key stream of ChaCha20, the seed as key and the index as nonce', () => {
    for (const index of [0, 1, 258, 2 ** 32, Number.MAX_SAFE_INTEGER]) {
      expect(new Prg(seed).stream(index).bytes(100)).toEqual(keyStream(index, 0, 100))
    }
  })

  it('has the same bytes whatever makes them, for draws short and long', async () => {
    const lengths = [16_383, 16_384, 65_536, 65_537, 200_001]
    const drawn = lengths.map((length) => new Prg(seed).stream(3).bytes(length))

    const { getBuiltinModule } = process
    Object.assign(process, { getBuiltinModule: undefined })
    try {
      vi.resetModules()
      const withoutOpenSSL = await import('../../src/smpc/prg.ts')
      for (const [i, length] of lengths.entries()) {
        const bytes = new withoutOpenSSL.Prg(seed).stream(3).bytes(length)
        expect(Buffer.compare(bytes, drawn[i]!)).toBe(0)
        expect(Buffer.compare(bytes, keyStream(3, 0, length))).toBe(0)
      }
    } finally {
      Object.assign(process, { getBuiltinModule })
    }
  })

  it('gives draws that follow each other from block to block and never overlap', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.nat(200), fc.constantFrom(64, 128, 16_383, 16_384, 20_000)), { maxLength: 6 }),
        (lengths) => {
          const stream = new Prg(seed).stream(9)
          let block = 0
          for (const length of lengths) {
            expect(Buffer.compare(stream.bytes(length), keyStream(9, block, length))).toBe(0)
            block += Math.ceil(length / 64)
          }
        },
      ),
      { numRuns: 30 },
    )
  })

  it('has two branches, once, and those have two each: other key streams of the same index', () => {
    const stream = new Prg(seed).stream(9)
    const [one, two] = stream.fork()
    const [, four] = one.fork()
    const branches = [stream, one, two, four].map((branch) => branch.bytes(300))
    for (const [i, number] of [0, 1, 2, 4].entries()) {
      const nonce = nonceOf(9)
      nonce[8] = number
      expect(branches[i]).toEqual(javascriptKernels.chacha20(seed, nonce, 0, 300))
    }
    expect(() => stream.fork()).toThrow(expect.objectContaining({ code: 'ERR_USED_TWICE' }))
    // What it draws besides goes on.
    expect(stream.bytes(8)).toEqual(keyStream(9, 5, 8))
  })

  it('gives words as bytes, little-endian, in an array of their own', () => {
    const words = new Prg(seed).stream(4).words(5)
    const view = new DataView(keyStream(4, 0, 40).buffer)
    expect([...words]).toEqual([0, 1, 2, 3, 4].map((i) => view.getBigUint64(8 * i, true)))
    expect(words.buffer.byteLength).toBe(40)
    expect(new Prg(seed).stream(4).words(0)).toEqual(new BigUint64Array(0))
    expect(new Prg(seed).stream(4).words(3000).buffer.byteLength).toBe(24_000)
  })

  it('ends after 2^32 blocks, and says so before it draws', () => {
    const stream = new Prg(seed).stream(0)
    const limit = expect.objectContaining({ code: 'ERR_LIMIT' })
    expect(() => stream.bytes(2 ** 38 + 1)).toThrow(limit)
    expect(() => stream.words(2 ** 35 + 1)).toThrow(limit)
    // What was refused used nothing up.
    expect(stream.bytes(64)).toEqual(keyStream(0, 0, 64))
    expect(() => stream.bytes(2 ** 38 - 63)).toThrow(limit)
  })

  it('refuses counts that are none', () => {
    const stream = new Prg(seed).stream(0)
    for (const n of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(() => stream.words(n)).toThrow(`"n" expected a whole number from 0 to 2^53 − 1, got ${n}`)
      expect(() => stream.bytes(n)).toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT_VALUE' }))
    }
  })
})

describe('an index of the generator', () => {
  it('is good for one use, in whatever order indices come', () => {
    const prg = new Prg(seed)
    prg.stream(0)
    prg.stream(5)
    for (const index of [0, 5]) {
      expect(() => prg.stream(index)).toThrow(expect.objectContaining({ code: 'ERR_USED_TWICE', details: { index } }))
    }
    expect(prg.stream(4).bytes(8)).toEqual(keyStream(4, 0, 8))

    fc.assert(
      fc.property(fc.array(fc.oneof(fc.nat(12), fc.constantFrom(2 ** 32, Number.MAX_SAFE_INTEGER))), (indices) => {
        const fresh = new Prg(seed)
        const used = new Set<number>()
        for (const index of indices) {
          if (used.has(index)) expect(() => fresh.stream(index)).toThrow(`index ${index} is used up`)
          else fresh.stream(index)
          used.add(index)
        }
      }),
    )
  })

  it('is a safe integer from 0 on', () => {
    for (const index of [-1, 1.5, Number.NaN, 2 ** 53]) {
      expect(() => new Prg(seed).stream(index)).toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT_VALUE' }))
    }
  })
})

describe('a seed', () => {
  it('is 32 bytes, and anything else is named', () => {
    expect(() => new Prg(new Uint8Array(8))).toThrow('"seed" expected Uint8Array of length 32, got length=8')
    expect(() => new Prg('secret' as unknown as Uint8Array)).toThrow(
      expect.objectContaining({
        code: 'ERR_ARGUMENT_TYPE',
        message: '"seed" expected Uint8Array of length 32, got string',
      }),
    )
  })

  it('is copied: what becomes of the array later changes nothing', () => {
    const own = Uint8Array.from(seed)
    const prg = new Prg(own)
    own.fill(0)
    expect(prg.stream(0).bytes(64)).toEqual(keyStream(0, 0, 64))
  })

  it('is drawn by the system, another each time', () => {
    const seeds = Array.from({ length: 50 }, () => Buffer.from(randomSeed()).toString('hex'))
    expect(new Set(seeds).size).toBe(50)
    expect(seeds.every((text) => text.length === 64)).toBe(true)
  })
})
