/** Secrets of 128 bits: what they are more precise in than those of 64, and how the two meet. */
import {
  FixedPrecisionTensor,
  fixPrecision,
  hook,
  planOf,
  type SharedTensor,
  send,
  share,
  sharedRandom,
  sharedZeros,
  tf,
  VirtualWorker,
} from 'sotto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { SeededRandom } from '../../src/data/random.ts'
import { scaleOf } from '../../src/smpc/encoding.ts'
import { numbersOf } from '../../src/smpc/ring/tensor.ts'
import { readyForTest } from '../backend.ts'

const workers = ['bob', 'alice', 'jane', 'carol'].map((id) => new VirtualWorker(id))
const [bob, alice, jane, carol] = workers as [VirtualWorker, VirtualWorker, VirtualWorker, VirtualWorker]
beforeAll(async () => {
  await readyForTest()
  hook()
})
afterAll(async () => {
  for (const worker of workers) await worker.close()
})

const groups = [
  ['additive', [bob, alice], { provider: carol }],
  ['replicated', [bob, alice, jane], { protocol: 'replicated' }],
] as const
const UNIT = 2 ** -32
const random = new SeededRandom(128)
/** Numbers that a float32 holds; an encoding rounds those near 0. */
const floats = (count: number, most: number): number[] =>
  Array.from({ length: count }, () => Math.fround(random.between(-most, most)))

const wide = { ring: 128 } as const
/** As doubles: float32 would round what is compared here. */
const doubles = (x: FixedPrecisionTensor): number[] =>
  numbersOf(x.publicValue.tensor).map((units) => Number(units) / scaleOf(x.encoding))
const opened = async (x: SharedTensor): Promise<number[]> => doubles(await x.get())
const codeOf = (action: () => unknown): unknown => {
  try {
    return action()
  } catch (error) {
    return (error as { code: string }).code
  }
}

describe.each(groups)('secrets of 128 bits, %s', (_, parties, options) => {
  const secret = (values: tf.Tensor | tf.TensorLike, more = {}): SharedTensor =>
    fixPrecision(values, { ...wide, ...more }).share([...parties], options)

  it('have 32 fractional bits, and products below 64 that err by less than 2^-28', async () => {
    const [a, b] = [floats(200, 8), floats(200, 8)]
    const [x, y] = [secret(a), secret(b)]
    expect(x.encoding).toEqual({ ring: 128, dtype: 'float32', base: 2, precisionFractional: 32 })
    // Half a unit of each factor, times the other; and a unit.
    const most = (8 + 8) * 0.5 * UNIT + UNIT
    expect(most).toBeLessThan(2 ** -28)
    for (const [i, value] of (await opened(x.mul(y))).entries()) {
      expect(Math.abs(value - a[i]! * b[i]!)).toBeLessThanOrEqual(most)
    }
    for (const [i, value] of (await opened(x.square())).entries()) {
      expect(Math.abs(value - a[i]! ** 2)).toBeLessThanOrEqual(most)
    }
    // By a fraction: 40 bits of it, so 2^-41 of the product.
    for (const [i, value] of (await opened(x.mul(1 / 3))).entries()) {
      expect(Math.abs(value - a[i]! / 3)).toBeLessThanOrEqual(1.5 * UNIT + 2 ** -41 * Math.abs(a[i]!))
    }
  })

  it('have products of matrices and convolutions as precise as sums of products are', async () => {
    const [m, k, n] = [5, 70, 6]
    const [a, b] = [floats(m * k, 2), floats(k * n, 2)]
    const product = secret(tf.tensor(a, [m, k])).matMul(secret(tf.tensor(b, [k, n])))
    // Two of size 2, each half a unit off, in each of k products, and a unit for the sum.
    const most = (k * (2 + 2) * 0.5 + 1) * UNIT
    for (const [at, value] of (await opened(product)).entries()) {
      const [i, j] = [Math.floor(at / n), at % n]
      const exact = Array.from({ length: k }, (_, l) => a[i * k + l]! * b[l * n + j]!).reduce((x, y) => x + y)
      expect(Math.abs(value - exact)).toBeLessThanOrEqual(most)
    }
    const [image, filter] = [floats(2 * 4 * 4 * 3, 1), floats(2 * 2 * 3 * 2, 1)]
    const windows = secret(tf.tensor(image, [2, 4, 4, 3])).conv2d(secret(tf.tensor(filter, [2, 2, 3, 2])), 1, 'valid')
    const exactAt = (batch: number, row: number, column: number, out: number): number => {
      let sum = 0
      for (let u = 0; u < 2; u++) {
        for (let v = 0; v < 2; v++) {
          for (let c = 0; c < 3; c++) {
            const pixel = image[((batch * 4 + row + u) * 4 + column + v) * 3 + c]!
            sum += pixel * filter[((u * 2 + v) * 3 + c) * 2 + out]!
          }
        }
      }
      return sum
    }
    expect(windows.shape).toEqual([2, 3, 3, 2])
    for (const [at, value] of (await opened(windows)).entries()) {
      const [out, column, row] = [at % 2, Math.floor(at / 2) % 3, Math.floor(at / 6) % 3]
      expect(Math.abs(value - exactAt(Math.floor(at / 18), row, column, out))).toBeLessThanOrEqual((12 + 1) * UNIT)
    }
  })

  it('hold what does not fit into 64 bits on the way', async () => {
    // 2^60 of units times as many: of 64 bits, at any scale, these would have run over.
    const x = secret([2 ** 28, -(2 ** 27), 12_345_678])
    expect(await opened(x.mul(x))).toEqual([2 ** 56, 2 ** 54, 12_345_678 ** 2])
    expect(await opened(x.mul(x).div(2 ** 28))).toEqual([
      2 ** 28,
      2 ** 26,
      expect.closeTo(12_345_678 ** 2 / 2 ** 28, 8),
    ])
    const [below, same, place] = [x.less(0), x.equal(2 ** 28), x.argMax()]
    expect(below.encoding).toEqual({ ring: 128, dtype: 'bool', base: 2, precisionFractional: 0 })
    expect([await opened(below), await opened(same), await opened(place)]).toEqual([[0, 1, 0], [1, 0, 0], [0]])
    expect(await opened(x.sort())).toEqual([-(2 ** 27), 12_345_678, 2 ** 28])
  })

  it('have smooth functions that err by a few units of 2^-32', async () => {
    const values = floats(24, 4)
    const positive = values.map((x) => Math.fround(Math.abs(x) + 0.25))
    const [x, y] = [secret(values), secret(positive)]
    // 1.5 units and 2^-33 of the result; half a unit of the argument, times the slope.
    const check = async (result: SharedTensor, exact: readonly number[], slope: number) => {
      for (const [i, value] of (await opened(result)).entries()) {
        const most = (1.5 + slope / 2) * UNIT + 2 ** -33 * Math.abs(exact[i]!)
        expect(Math.abs(value - exact[i]!)).toBeLessThanOrEqual(most)
      }
    }
    await check(x.exp(), values.map(Math.exp), Math.exp(4))
    await check(x.sigmoid(), values.map((v) => 1 / (1 + Math.exp(-v))), 0.25) // biome-ignore format: short
    await check(x.tanh(), values.map(Math.tanh), 1)
    await check(y.log(), positive.map(Math.log), 4)
    await check(y.sqrt(), positive.map(Math.sqrt), 1)
    await check(y.reciprocal(), positive.map((v) => 1 / v), 16) // biome-ignore format: short
  })

  it('are made of secrets-to-be of 64 bits by sign extension, with 32 fractional bits in base 2', async () => {
    const x = fixPrecision([1.5, -2.25, -(2 ** -16), 12_345.0625])
    const widened = x.share([...parties], { ...options, ...wide })
    expect(widened.encoding).toMatchObject({ ring: 128, base: 2, precisionFractional: 32 })
    expect(await opened(widened)).toEqual([1.5, -2.25, -(2 ** -16), 12_345.0625])
    const digits = fixPrecision([0.125, -7], { base: 10 }).share([...parties], { ...options, ...wide })
    expect(digits.encoding).toMatchObject({ ring: 128, base: 10, precisionFractional: 3 })
    expect(await opened(digits)).toEqual([0.125, -7])
    const integers = share(tf.tensor([-3, 2 ** 31 - 1], [2], 'int32'), [...parties], { ...options, ...wide })
    const truths = share(tf.tensor([true, false], [2], 'bool'), [...parties], { ...options, ...wide })
    expect([integers.encoding, truths.encoding]).toMatchObject([
      { ring: 128, dtype: 'int32' },
      { ring: 128, dtype: 'bool' },
    ])
    expect([await opened(integers), await opened(truths)]).toEqual([
      [-3, 2 ** 31 - 1],
      [1, 0],
    ])
  })

  it('are made so by the worker that has the numbers, too', async () => {
    const pointer = send(tf.tensor([0.5, -3.75]), bob)
    for (const fixed of [pointer.fixPrecision(), pointer.fixPrecision(wide)]) {
      const secrets = fixed.share([...parties], { ...options, ...wide })
      expect(secrets.encoding).toMatchObject({ ring: 128, precisionFractional: 32 })
      expect(await opened(secrets)).toEqual([0.5, -3.75])
      const there = secrets.mul(2).revealTo(alice)
      expect([...(await there.get()).dataSync()]).toEqual([1, -7.5])
    }
    const integers = send(tf.tensor([-5, 6], [2], 'int32'), alice).share([...parties], { ...options, ...wide })
    expect(await opened(integers)).toEqual([-5, 6])
    await expect(pointer.fixPrecision(wide).mul(pointer.fixPrecision(wide)).get().then(doubles)).resolves.toEqual([
      0.25,
      3.75 ** 2,
    ])
  })

  it('do not meet those of 64 bits', async () => {
    const narrow = fixPrecision([1, 2]).share([...parties], options)
    const [x, flags] = [secret([1, 2]), secret([1, 2]).less(2)]
    for (const [at, action] of [
      () => x.add(narrow),
      () => narrow.mul(x),
      () => x.dot(narrow),
      () => x.concat(narrow),
      () => x.stack([narrow]),
      () => x.div(narrow),
      () => x.maximum(narrow),
      () => flags.where(narrow, narrow),
      () => x.sub(fixPrecision([1, 2])),
      () => fixPrecision([1, 2], wide).add(fixPrecision([1, 2])),
      () => x.assign(narrow),
      // What has the wider ring has no place in the narrower one.
      () => fixPrecision([1, 2], wide).share([...parties], { ...options, ring: 64 }),
    ].entries()) {
      expect([at, codeOf(action)]).toEqual([at, 'ERR_PRECISION'])
    }
    for (const ring of [32, 127, '128', null]) {
      expect(codeOf(() => fixPrecision([1], { ring } as never))).toBe('ERR_ARGUMENT_VALUE')
      expect(codeOf(() => fixPrecision([1]).share([...parties], { ...options, ring } as never))).toBe(
        'ERR_ARGUMENT_VALUE',
      )
    }
    expect(codeOf(() => fixPrecision([1], { ...wide, precisionFractional: 53 }))).toBe('ERR_ARGUMENT_VALUE')
    expect(fixPrecision([1], { ...wide, precisionFractional: 52 }).scale).toBe(2 ** 52)
    expect(await opened(flags)).toEqual([1, 0])
  })

  it('say that they are, and count what they cost', async () => {
    const x = secret([1, 2, 3, 4, 5, 6, 7, 8])
    expect(`${x}`).toContain('fixed(2^32) of 128 bits [8] among bob, alice')
    const before = await x.traffic()
    const [product, sign] = [x.mul(x), x.less(0)]
    await Promise.all([product.get(), sign.get()])
    const after = await x.traffic()
    const sent = after.parties.reduce((sum, { bytesSent }, i) => sum + bytesSent - before.parties[i]!.bytesSent, 0)
    if (options === groups[0][2]) {
      // Of 8 values: two masked factors and a dividend; one masked value, 88 planes of a byte each, and a bit.
      expect([product.cost, sign.cost]).toMatchObject([
        { rounds: 2, bytes: 3 * 16 * 8 },
        { rounds: 7, bytes: 16 * 8 + 88 + 1 },
      ])
      expect(sent / 2).toBe(3 * 16 * 8 + 16 * 8 + 88 + 1)
      expect(planOf(x, () => x.mul(x)).bytes).toBe((1 + 2) * 16 * 8)
    } else {
      expect([product.cost.rounds, sign.cost.rounds]).toEqual([2, 7])
    }
  })

  it('are drawn, and are zero, where that is asked for', async () => {
    expect(await opened(sharedZeros([3], [...parties], { ...options, ...wide }))).toEqual([0, 0, 0])
    const drawn = sharedRandom([512], [...parties], { ...options, ...wide })
    const values = await opened(drawn)
    expect(drawn.encoding).toMatchObject({ ring: 128, precisionFractional: 32 })
    expect(values.every((value) => value >= 0 && value < 1)).toBe(true)
    // The mean of 512 is within five deviations, 5 / √(12 · 512); and every bit of the 32 is set in about a half.
    expect(Math.abs(values.reduce((a, b) => a + b) / 512 - 0.5)).toBeLessThan(5 / Math.sqrt(12 * 512))
    for (let bit = 1; bit <= 32; bit++) {
      const set = values.filter((value) => Math.floor(value * 2 ** bit) % 2 === 1).length
      expect(Math.abs(set - 256)).toBeLessThan((5 / 2) * Math.sqrt(512))
    }
  })

  it('are what models are run and trained on, by one word', async () => {
    const model = tf.sequential({
      layers: [
        tf.layers.dense({ units: 4, inputShape: [3], activation: 'relu', kernelInitializer: kernel(1) }),
        tf.layers.dense({ units: 2, activation: 'sigmoid', kernelInitializer: kernel(2) }),
      ],
    })
    const secretModel = model.share([...parties], { ...options, ...wide })
    const rows = tf.tensor(floats(12, 1), [4, 3])
    const x = fixPrecision(rows, wide).share([...parties], options)
    const got = secretModel.apply(x)
    expect(got.encoding).toMatchObject({ ring: 128, precisionFractional: 32 })
    const plain = [...(model.predict(rows) as tf.Tensor).dataSync()]
    // tfjs rounds to 24 bits: of sums below 4, and through two layers.
    for (const [i, value] of (await opened(got)).entries()) expect(Math.abs(value - plain[i]!)).toBeLessThan(2 ** -20)
    const y = fixPrecision(tf.tensor([1, 0, 0, 1, 1, 1, 0, 0], [4, 2]), wide).share([...parties], options)
    const fitting = { loss: 'binaryCrossentropy', batchSize: 4, epochs: 2, shuffle: false } as const
    await secretModel.fit(x, y, { ...fitting, optimizer: { kind: 'adam', learningRate: 0.01 } })
    const weights = await Promise.all(secretModel.weights().map(opened))
    model.compile({ optimizer: tf.train.adam(0.01), loss: 'binaryCrossentropy' })
    await model.fit(rows, tf.tensor([1, 0, 0, 1, 1, 1, 0, 0], [4, 2]), { batchSize: 4, epochs: 2, shuffle: false })
    for (const [i, weight] of model.getWeights().entries()) {
      const plainly = [...weight.dataSync()]
      // A step is of the size of the rate: two of them, to a 64th.
      weights[i]!.forEach((value, j) => {
        expect(Math.abs(value - plainly[j]!)).toBeLessThan((2 * 0.01) / 64)
      })
    }
    secretModel.dispose()
  })
})

const kernel = (seed: number) => tf.initializers.glorotUniform({ seed })

it('a public tensor of 128 bits is as it was encoded', () => {
  const x = fixPrecision([0.1, -0.1, 2 ** 30 + 2 ** -20], wide)
  expect(x).toBeInstanceOf(FixedPrecisionTensor)
  // 0.1 as a float32, to a multiple of 2^-32.
  expect(doubles(x)).toEqual(
    [Math.fround(0.1), -Math.fround(0.1), 2 ** 30].map((v) => Math.round(v * 2 ** 32) / 2 ** 32),
  )
  expect([...(x.floatPrecision().dataSync() as Float32Array)]).toEqual([Math.fround(0.1), -Math.fround(0.1), 2 ** 30])
})
