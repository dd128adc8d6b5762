import { sha256 } from '@noble/hashes/sha2.js'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { applyMasks } from '../../../src/federated/secagg/masks.ts'
import { digest, type Part, transcript } from '../../../src/federated/secagg/transcript.ts'
import { zeros } from '../../../src/federated/secagg/vectors.ts'
import { Prg, randomSeed } from '../../../src/smpc/prg.ts'
import { range } from './cohort.ts'

describe.each([32, 64] as const)('masks of words of %i bits', (bits) => {
  it('are whole key streams, added and subtracted, for one stream as for several and past the end of a chunk', () => {
    for (const [length, plus, minus] of [
      [1, 1, 0],
      [40_001, 6, 5],
      [16_384, 0, 4],
      [8_193, 8, 1],
    ] as const) {
      const [added, subtracted] = [range(plus).map(randomSeed), range(minus).map(randomSeed)]
      const vector = zeros(bits, length)
      vector.fill((bits === 32 ? 2 ** 32 - 1 : 2n ** 64n - 1n) as never)
      applyMasks(vector, { added, subtracted })
      const streams = [...added, ...subtracted].map(
        (key) => new DataView(new Prg(key).stream(0).bytes(8 * length).buffer),
      )
      const wordAt = (view: DataView, at: number) =>
        bits === 32 ? BigInt(view.getUint32(4 * at, true)) : view.getBigUint64(8 * at, true)
      for (const at of [0, 8191, 8192, 16_383, 16_384, 32_768, length - 1].filter((at) => at < length)) {
        const sum = streams.reduce((total, view, i) => total + wordAt(view, at) * (i < plus ? 1n : -1n), -1n)
        expect(BigInt(vector[at]!)).toBe(BigInt.asUintN(bits, sum))
      }
    }
  })
})

describe('a transcript', () => {
  const parts: readonly Part[] = ['aé𝄞', 3, -1, new Uint8Array([1, 2, 255]), '']

  it('is each part with its kind and length in front, the same bytes for whoever writes a peer', () => {
    expect(Buffer.from(transcript('test', ...parts)).toString('hex')).toBe(
      [
        '010400000074657374',
        '010700000061c3a9f09d849e',
        '02080000000000000000000840',
        '0208000000000000000000f0bf',
        '03030000000102ff',
        '0100000000',
      ].join(''),
    )
  })

  it('is hashed to the same by OpenSSL as in JavaScript', () => {
    expect(digest('test', ...parts)).toEqual(sha256(transcript('test', ...parts)))
  })

  it('is another for every other list of parts', () => {
    const part = fc.oneof(fc.string({ maxLength: 3 }), fc.nat(3), fc.uint8Array({ maxLength: 3 }))
    fc.assert(
      fc.property(fc.array(part, { maxLength: 4 }), fc.array(part, { maxLength: 4 }), (a, b) => {
        const text = (parts: readonly Part[]) => Buffer.from(transcript('test', ...parts)).toString('hex')
        const isSame = JSON.stringify(a.map(kindOf)) === JSON.stringify(b.map(kindOf))
        expect(text(a) === text(b)).toBe(isSame)
      }),
      { numRuns: 300 },
    )
    expect(transcript('a', 'b')).not.toEqual(transcript('ab'))
    expect(transcript('a', 'b', 'c')).not.toEqual(transcript('a', 'bc'))
  })

  const kindOf = (part: Part) => (part instanceof Uint8Array ? { bytes: [...part] } : part)
})
