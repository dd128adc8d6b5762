import fc from 'fast-check'
import { expect, it } from 'vitest'
import { pack, packedBytes, unpack } from '../../../src/smpc/ring/packing.ts'
import { elementsOf, Inputs, wordsOf } from './inputs.ts'

it.each([64, 128] as const)('packs the lowest bits of elements of %i bits, and gives them back', (ring) => {
  fc.assert(
    fc.property(fc.nat(), fc.nat(40), fc.integer({ min: 1, max: ring }), (seed, count, bits) => {
      const words = new Inputs(seed, ring).words(count)
      const packed = pack(ring, words, bits)
      expect(packed.length).toBe(packedBytes(bits, count))
      // Each 32 bits of them take a whole number of bytes.
      expect(packed.length).toBeLessThan((count * bits) / 8 + Math.ceil(bits / 32))
      const low = elementsOf(words, ring).map((x) => BigInt.asUintN(bits, x))
      expect(unpack(ring, packed, bits, count)).toEqual(wordsOf(low, ring))
    }),
    { numRuns: 60 },
  )
  expect(() => unpack(ring, new Uint8Array(3), 33, 1)).toThrow(expect.objectContaining({ code: 'ERR_SHAPE' }))
})
