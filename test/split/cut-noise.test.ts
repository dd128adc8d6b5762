/** Noise at the cut: what is clipped, what is added, what comes back, and what it is worth. */
import { cutNoise, cutNoiseEpsilon, epsilonOf, optim, type PointerTensor, scope, send, tf, VirtualWorker } from 'sotto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readyForTest } from '../backend.ts'
import { CHANCE, criticalValue } from '../reference/chi-square.ts'
import { exactGaussianDelta } from '../reference/renyi.ts'

let alice: VirtualWorker
let bob: VirtualWorker
beforeAll(async () => {
  await readyForTest()
  alice = new VirtualWorker('alice', { codec: true })
  bob = new VirtualWorker('bob', { codec: true })
  alice.addWorkers([bob])
})
afterAll(() => Promise.all([alice.close(), bob.close()]))

async function valuesOf(pointer: PointerTensor): Promise<number[]> {
  const tensor = await pointer.fetch()
  const values = [...tensor.dataSync()]
  tensor.dispose()
  return values
}

const sent = (values: tf.TensorLike, requiresGrad = false) => {
  const tensor = tf.tensor(values)
  const pointer = send(tensor, alice, { requiresGrad })
  tensor.dispose()
  return pointer
}

const code = (action: () => unknown) => {
  try {
    action()
    return null
  } catch (error) {
    return (error as { code: string }).code
  }
}

describe('clipping', () => {
  const clipped = (values: tf.TensorLike, clip: number) =>
    scope(() => valuesOf(cutNoise(sent(values), { clip, noiseMultiplier: 0 })))

  it('leaves rows within the norm as they are, to the bit', async () => {
    const rows = [
      [0.3, -0.4],
      [0, 0],
      [0.6, 0.8],
      [1e-30, 0.1],
    ]
    expect(await clipped(rows, 1)).toEqual(rows.flat().map(Math.fround))
  })

  it('brings longer rows down to it, without turning them', async () => {
    expect(
      await clipped(
        [
          [3, -4],
          [30, 40],
        ],
        2.5,
      ),
    ).toEqual([1.5, -2, 1.5, 2])
    // Of a root, a reciprocal, two squares and a sum in float32: a few units of 2^-24.
    const [x, y, z] = await clipped([[1e6, 1e5, -1e7]], 0.7)
    expect(Math.abs(Math.hypot(x!, y!, z!) / 0.7 - 1)).toBeLessThan(8 * 2 ** -24)
  })

  it('takes all that has one first index for a row', async () => {
    const image = [
      [[1], [1]],
      [[1], [1]],
    ]
    // |row| = 2
    expect(await clipped([image, image], 1)).toEqual(Array(8).fill(0.5))
  })

  it('refuses what has no rows, and options that are none', () => {
    scope(() => {
      const x = sent([[1, 2]])
      const noise = { clip: 1, noiseMultiplier: 1 }
      expect(code(() => cutNoise(sent([1, 2]), noise))).toBe('ERR_SHAPE')
      expect(code(() => cutNoise(tf.ones([2, 2]) as never, noise))).toBe('ERR_ARGUMENT_TYPE')
      expect(code(() => cutNoise(x, { ...noise, clip: 0 }))).toBe('ERR_ARGUMENT_VALUE')
      expect(code(() => cutNoise(x, { ...noise, clip: Infinity }))).toBe('ERR_ARGUMENT_VALUE')
      expect(code(() => cutNoise(x, { ...noise, noiseMultiplier: -1 }))).toBe('ERR_ARGUMENT_VALUE')
      expect(code(() => cutNoise(x, { ...noise, sigma: 2 } as never))).toBe('ERR_ARGUMENT_VALUE')
      expect(code(() => cutNoise(x, { clip: 1 } as never))).toBe('ERR_ARGUMENT_TYPE')
    })
  })
})

describe('noise', () => {
  it('has the deviation noiseMultiplier · clip in every element, clipped or not', async () => {
    const [rows, columns] = [20, 50]
    const values = Array.from({ length: rows }, (_, i) => Array(columns).fill(i % 2 === 0 ? 0 : 100))
    const [clip, noiseMultiplier] = [3, 0.5]
    const noisy = await scope(() => valuesOf(cutNoise(sent(values), { clip, noiseMultiplier })))
    // Squares of normal deviates: chi-square with as many degrees as there are.
    for (const parity of [0, 1]) {
      const kept = parity === 0 ? 0 : clip / Math.sqrt(columns)
      const squares = noisy
        .filter((_, i) => Math.floor(i / columns) % 2 === parity)
        .map((x) => ((x - kept) / (noiseMultiplier * clip)) ** 2)
      const sum = squares.reduce((total, x) => total + x, 0)
      expect(sum).toBeLessThan(criticalValue(CHANCE, squares.length))
      expect(sum).toBeGreaterThan(criticalValue(1 - CHANCE, squares.length))
    }
  })

  it('is made where the activations are: no value passes the caller', async () => {
    const left = async () =>
      (await alice.ledger()).reduce((sum, { event, count }) => sum + (event === 'left' ? count : 0), 0)
    const before = await left()
    await scope(async () => {
      const noisy = cutNoise(sent([[1, 2]]), { clip: 1, noiseMultiplier: 1 })
      expect(await left()).toBe(before)
      await noisy.get()
      expect(await left()).toBe(before + 1)
    })
  })

  it('leaves no objects behind', async () => {
    await alice.flush()
    const before = await alice.objectCount()
    const x = sent([[1, 2]])
    const noisy = cutNoise(x, { clip: 1, noiseMultiplier: 1 })
    expect(await alice.objectCount()).toBe(before + 2)
    x.dispose()
    noisy.dispose()
    expect(await alice.objectCount()).toBe(before)
  })
})

describe('gradients', () => {
  const x = [
    [0.3, -0.4],
    [0, 0],
    [3, -4],
  ]
  const weights = [
    [1, 2],
    [3, 4],
    [5, 6],
  ]

  it('pass rows within the norm, zeros too, and follow the sphere where a row is clipped', async () => {
    await scope(async () => {
      const leaf = sent(x, true)
      cutNoise(leaf, { clip: 1, noiseMultiplier: 2 }).backward(sent(weights))
      const gradient = await valuesOf(leaf.grad!)
      // (I − uuᵀ) w · clip / |row|, for u = (3, −4)/5 and w = (5, 6): (5, 6) + 1.8 · (0.6, −0.8) over 5.
      const expected = [1, 2, 3, 4, (5 + 1.8 * 0.6) / 5, (6 - 1.8 * 0.8) / 5]
      // Three products and a difference of numbers up to 6.
      for (const [i, value] of gradient.entries()) expect(Math.abs(value - expected[i]!)).toBeLessThan(24 * 2 ** -24)
    })
  })

  it('come back over the cut to the layers before it', async () => {
    // Smooth, and of the same weights each time: of units that may be dead, all may be.
    const kernelInitializer = tf.initializers.glorotUniform({ seed: 1 })
    const layer = tf.layers.dense({ units: 4, inputShape: [2], activation: 'tanh', kernelInitializer })
    const net = tf.sequential({ layers: [layer] })
    const bottom = send(net, alice)
    const optimizer = optim.sgd(bottom.parameters(), { learningRate: 0.1 })
    const gradients = await scope(async () => {
      const cut = cutNoise(bottom.apply(sent(x)), { clip: 1, noiseMultiplier: 0.1 }).move(bob, { requiresGrad: true })
      cut.square().sum().backward()
      const found = await Promise.all(bottom.parameters().map((parameter) => valuesOf(parameter.grad!)))
      optimizer.step()
      return found
    })
    expect(gradients.flat().every(Number.isFinite)).toBe(true)
    expect(gradients.flat().some((value) => value !== 0)).toBe(true)
    await Promise.all([alice.flush(), bob.flush()])
    optimizer.dispose()
    bottom.dispose()
    net.dispose()
  })
})

describe('what it is worth', () => {
  it('is the Gaussian mechanism with a sensitivity of 2 · clip, once a release', () => {
    for (const [noiseMultiplier, releases] of [
      [1, 1],
      [4, 6],
      [20, 100],
    ] as const) {
      const spent = cutNoiseEpsilon({ clip: 7, noiseMultiplier, releases, delta: 1e-5 })
      expect(spent).toEqual(epsilonOf({ noiseMultiplier: noiseMultiplier / 2, steps: releases, delta: 1e-5 }))
      expect(spent).toEqual(cutNoiseEpsilon({ noiseMultiplier, releases, delta: 1e-5 }))
      // Opposite rows are 2 · clip apart: μ = 2√T / noiseMultiplier deviations over all releases.
      const mu = (2 * Math.sqrt(releases)) / noiseMultiplier
      expect(exactGaussianDelta(spent.epsilon, mu)).toBeLessThanOrEqual(1e-5)
      // And not for less: at 0.7 ε it is no more δ.
      expect(exactGaussianDelta(0.7 * spent.epsilon, mu)).toBeGreaterThan(1e-5)
    }
  })

  it('is nothing without noise, and costs nothing without a release', () => {
    expect(cutNoiseEpsilon({ clip: 1, noiseMultiplier: 0, releases: 1, delta: 1e-5 }).epsilon).toBe(Infinity)
    expect(cutNoiseEpsilon({ clip: 1, noiseMultiplier: 1, releases: 0, delta: 1e-5 }).epsilon).toBe(0)
  })

  it('refuses options that are none', () => {
    const good = { clip: 1, noiseMultiplier: 1, releases: 1, delta: 1e-5 }
    expect(code(() => cutNoiseEpsilon({ ...good, releases: 1.5 }))).toBe('ERR_ARGUMENT_VALUE')
    expect(code(() => cutNoiseEpsilon({ ...good, delta: 1 }))).toBe('ERR_ARGUMENT_VALUE')
    expect(code(() => cutNoiseEpsilon({ ...good, clip: -1 }))).toBe('ERR_ARGUMENT_VALUE')
    expect(code(() => cutNoiseEpsilon({ ...good, epochs: 1 } as never))).toBe('ERR_ARGUMENT_VALUE')
  })
})
