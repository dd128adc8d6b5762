/** Noise: its distribution, where it comes from, and what its floats show. */
import { type PointerTensor, scope, send, tf, VirtualWorker } from 'sotto'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { withGaussianNoise } from '../../src/tensor/gaussian-noise.ts'
import { readyForTest } from '../backend.ts'
import { CHANCE, criticalValue } from '../reference/chi-square.ts'
import { noisyByDefinition } from '../reference/gaussian-noise.ts'
import { upperTailOfNormal } from '../reference/renyi.ts'

let bob: VirtualWorker
beforeAll(async () => {
  await readyForTest()
  bob = new VirtualWorker('bob', { codec: true })
})
afterAll(() => bob.close())
afterEach(() => {
  vi.restoreAllMocks()
})

/** What a pointer's noise did to zeros, or to another value. */
const drawn = (count: number, deviation: number, at = 0): Promise<Float32Array> =>
  scope(async () => {
    const x = tf.fill([count], at)
    const noisy = await send(x, bob).addGaussianNoise(deviation).get()
    const values = noisy.dataSync() as Float32Array
    tf.dispose([x, noisy])
    return values.slice()
  })

const COUNT = 200_000
/** Bins of half a deviation from −3.5 to 3.5, and one for each tail, in which 46 are to be expected. */
const EDGES = Array.from({ length: 15 }, (_, i) => -3.5 + i / 2)

/** Pearson's distance of numbers from N(0, deviation²). */
function fromNormal(values: Float32Array, deviation: number): number {
  const counts = new Float64Array(EDGES.length + 1)
  for (const value of values) counts[Math.min(Math.max(Math.ceil((value / deviation + 3.5) * 2), 0), EDGES.length)]!++
  const tails = [1, ...EDGES.map(upperTailOfNormal), 0]
  return counts.reduce((sum, count, i) => {
    const expected = values.length * (tails[i]! - tails[i + 1]!)
    return sum + (count - expected) ** 2 / expected
  }, 0)
}
const bound = criticalValue(CHANCE, EDGES.length)

/** Pearson's correlation of what lies a distance apart, of functions of the values. */
function correlation(values: Float32Array, distance: number, f: (x: number) => number): number {
  const [xs, ys] = [values.subarray(0, -distance), values.subarray(distance)].map((part) => Array.from(part, f))
  const mean = (list: number[]) => list.reduce((sum, x) => sum + x, 0) / list.length
  const [mx, my] = [mean(xs!), mean(ys!)]
  let [xy, xx, yy] = [0, 0, 0]
  for (const [i, x] of xs!.entries()) {
    xy += (x - mx) * (ys![i]! - my)
    xx += (x - mx) ** 2
    yy += (ys![i]! - my) ** 2
  }
  return xy / Math.sqrt(xx * yy)
}

describe('the noise', () => {
  it('is normal, of the deviation asked for', async () => {
    for (const deviation of [1, 0.003, 1e6]) {
      expect(fromNormal(await drawn(COUNT, deviation), deviation)).toBeLessThan(bound)
    }
  })

  it('the check catches another distribution, and a deviation that is 3 % off', async () => {
    const uniform = new Float32Array(COUNT).map((_, i) => Math.sqrt(12) * ((i + 0.5) / COUNT - 0.5))
    expect(fromNormal(uniform, 1)).toBeGreaterThan(bound)
    expect(fromNormal(await drawn(COUNT, 1.03), 1)).toBeGreaterThan(bound)
  })

  // Of n independent pairs the correlation is normal with deviation 1/√n: 7 of them are a chance of 2.6e-12.
  it('does not depend on the noise before it, nor does its size', async () => {
    const values = await drawn(COUNT, 1)
    for (const distance of [1, 2, 3, 8192]) {
      for (const f of [(x: number) => x, Math.abs]) {
        expect(Math.abs(correlation(values, distance, f))).toBeLessThan(7 / Math.sqrt(COUNT - distance))
      }
    }
    // Each drawn twice: the check sees it.
    const doubled = values.map((_, i) => values[i - (i % 2)]!)
    expect(correlation(doubled, 1, (x) => x)).toBeGreaterThan(0.4)
  })

  it('is another each time', async () => {
    const [a, b] = [await drawn(1000, 1), await drawn(1000, 1)]
    // On a grid of 2^-20, two draws are alike with a chance of 2^-22 an element.
    expect(a.filter((x, i) => x === b[i]).length).toBeLessThan(3)
  })

  it('of nothing is nothing, and of 0 leaves every bit', () => {
    expect(withGaussianNoise(new Float32Array(0), 1, undefined)).toEqual(new Float32Array(0))
    const values = Float32Array.of(1e-45, -0, Number.NaN, Infinity, 1.1)
    expect(withGaussianNoise(values, 0, undefined)).toEqual(values)
  })

  it('keeps NaN and infinities, and takes the least and the greatest deviation', () => {
    const values = Float32Array.of(Number.NaN, Infinity, -Infinity, 1)
    for (const deviation of [5e-324, 1e-45, 1, 1e30]) {
      const [nan, up, down, one] = withGaussianNoise(values, deviation, undefined)
      expect([nan, up, down]).toEqual([Number.NaN, Infinity, -Infinity])
      expect(Number.isFinite(one)).toBe(true)
      if (deviation < 1e-40) expect(one).toBe(1)
    }
  })

  it('is drawn where the tensor is, and passes gradients on as they are', async () => {
    await scope(async () => {
      const x = send(tf.tensor([1, 2, 3]), bob, { requiresGrad: true })
      const noisy = x.addGaussianNoise(5)
      noisy.backward([10, 20, 30])
      expect([...(await x.grad!.get()).dataSync()]).toEqual([10, 20, 30])
    })
  })
})

describe('where it comes from', () => {
  it('every eight bytes of it are from the system, in pieces that the system gives', () => {
    const source = vi.spyOn(globalThis.crypto, 'getRandomValues')
    const guessable = vi.spyOn(Math, 'random')
    withGaussianNoise(new Float32Array(20_001), 1, undefined)
    const sizes = source.mock.calls.map(([array]) => (array as Uint8Array).byteLength)
    expect(Math.max(...sizes)).toBeLessThanOrEqual(65_536)
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBeGreaterThanOrEqual(8 * 20_002)
    expect(guessable).not.toHaveBeenCalled()
  })

  it('follows those bytes and nothing else', () => {
    const source = vi.spyOn(globalThis.crypto, 'getRandomValues')
    source.mockImplementation((array) => {
      new Uint8Array(array!.buffer).fill(0xff)
      return array
    })
    // Both numbers are 1: the radius is 0.
    expect(withGaussianNoise(Float32Array.of(0.5, 0.25), 1, undefined)).toEqual(Float32Array.of(0.5, 0.25))
    source.mockImplementation((array) => {
      new Uint8Array(array!.buffer).fill(0)
      return array
    })
    // The least number there is, 2^-53, gives the longest radius: √(2 · 53 · ln 2).
    const [longest] = withGaussianNoise(Float32Array.of(0, 0), 1, undefined)
    expect(longest).toBeCloseTo(Math.sqrt(106 * Math.LN2), 5)
  })

  it('of a seed for tests, is that of its key stream, over pieces too', () => {
    const values = new Float32Array(20_001).map((_, i) => Math.sin(i))
    expect(withGaussianNoise(values, 0.7, 5)).toEqual(noisyByDefinition(values, 0.7, 5))
    expect(withGaussianNoise(values, 0.7, 6)).not.toEqual(noisyByDefinition(values, 0.7, 5))
  })
})

describe('what its floats show', () => {
  it('results lie on a grid that the deviation alone decides, whatever was hidden', async () => {
    const grid = 2 ** -21
    for (const at of [0, 1 / 3, 1e-6, -7.77]) {
      const values = await drawn(5000, 0.75, at)
      for (const value of values) expect(value / grid).toBe(Math.round(value / grid))
    }
    // Added in float32, a sum keeps the last digits of what was hidden.
    const plain = Math.fround(Math.fround(1e-6) + Math.fround(1e-7))
    expect(plain / grid).not.toBe(Math.round(plain / grid))
  })
})

describe('what is refused', () => {
  it('a deviation below 0, or none', () => {
    const x: PointerTensor = send(tf.tensor([1]), bob)
    const code = (action: () => unknown) => {
      try {
        return action()
      } catch (error) {
        return (error as { code: string }).code
      }
    }
    expect(code(() => x.addGaussianNoise(-1))).toBe('ERR_ARGUMENT_VALUE')
    expect(code(() => x.addGaussianNoise(Number.NaN))).toBe('ERR_ARGUMENT_TYPE')
    expect(code(() => x.addGaussianNoise(undefined as never))).toBe('ERR_ARGUMENT_TYPE')
    expect(code(() => x.addGaussianNoise(1, 0.5))).toBe('ERR_ARGUMENT_TYPE')
    x.dispose()
  })
})
