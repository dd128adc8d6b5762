import { randomBytes } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { arrange, binsFor, EMPTY, LARGEST_SET, PLACES, placesOf } from '../../src/psi/cuckoo.ts'
import { WIDTH } from '../../src/psi/kernels/wasm.ts'
import { logClose, logFailure } from '../reference/cuckoo.ts'

const drawn = (n: number, bins: number) =>
  placesOf(new Uint32Array(Uint8Array.from(randomBytes(4 * PLACES * n)).buffer), bins)

describe('cuckoo tables', () => {
  it('have bins enough that items of any number fail to fit in with a probability of 2^-40 at most', () => {
    for (const n of [4, 5, 16, 32, 33, 64, 128, 256, 257, 400, 512, 513, 600, 1000, 4096, 100_000]) {
      expect(logFailure(n, binsFor(n)), `${n} items`).toBeLessThan(-40)
    }
    // The bound can be missed: with the bins of experiments, it says nothing.
    expect(logFailure(1000, 1270)).toBeGreaterThan(-40)
  })

  it('have rows so wide that no two of all pairs that meet in a bin are close', () => {
    expect(logClose(WIDTH, 128) + Math.log2(PLACES * LARGEST_SET)).toBeLessThan(-40)
  })

  it('give each item three different places, each as often as the others', () => {
    const bins = 128
    const places = drawn(20_000, bins)
    const counts = new Float64Array(bins)
    for (let i = 0; i < places.length; i += PLACES) {
      expect(new Set(places.subarray(i, i + PLACES)).size).toBe(PLACES)
    }
    for (const place of places) counts[place]!++
    const expected = places.length / bins
    const statistic = counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0)
    // 127 degrees of freedom: beyond 230 once in 2^30.
    expect(statistic).toBeLessThan(230)
  })

  it('hold every item in one of its places, and no more than one in a bin', () => {
    for (const n of [0, 1, 5, 100, 3000]) {
      const bins = binsFor(n)
      const places = drawn(n, bins)
      const table = arrange(places, bins).bins
      const held = [...table.entries()].filter(([, entry]) => entry !== EMPTY)
      expect(held.map(([, entry]) => Math.floor(entry / PLACES)).sort((a, b) => a - b)).toEqual([...Array(n).keys()])
      for (const [bin, entry] of held) expect(places[entry]).toBe(bin)
    }
  })

  it('are filled to the last bin where that can be done, and refused where it cannot', () => {
    // Item i may go to bins i, i + 1 and i + 2, of as many bins as there are items.
    const full = Uint32Array.from({ length: 300 }, (_, i) => (Math.floor(i / 3) + (i % 3)) % 100)
    expect(arrange(full, 100).bins.every((entry) => entry !== EMPTY)).toBe(true)
    const crowded = Uint32Array.from({ length: 12 }, (_, i) => i % 3)
    expect(() => arrange(crowded, 100)).toThrow(expect.objectContaining({ code: 'ERR_OPERATION_FAILED' }))
  })
})
