/** Distance correlation on pointers: against its definition, its laws, its gradients, and in the loss of a split net. */
import fc from 'fast-check'
import { distanceCorrelation, type PointerTensor, scope, send, tf, VirtualWorker } from 'sotto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { SeededRandom } from '../../src/data/random.ts'
import { readyForTest, settled } from '../backend.ts'
import { distanceCorrelationByPairs } from '../reference/distance-correlation.ts'

type Rows = readonly (readonly number[])[]

let alice: VirtualWorker
let bob: VirtualWorker
beforeAll(async () => {
  await readyForTest()
  alice = new VirtualWorker('alice', { codec: true })
  bob = new VirtualWorker('bob', { codec: true })
  alice.addWorkers([bob])
})
afterAll(() => Promise.all([alice.close(), bob.close()]))

const sent = (values: tf.TensorLike, { requiresGrad = false, at = alice } = {}) => {
  const tensor = tf.tensor(values)
  const pointer = send(tensor, at, { requiresGrad })
  tensor.dispose()
  return pointer
}
async function valuesOf(pointer: PointerTensor): Promise<number[]> {
  const tensor = await pointer.fetch()
  const values = [...tensor.dataSync()]
  tensor.dispose()
  return values
}
const correlation = (x: tf.TensorLike, z: tf.TensorLike): Promise<number> =>
  scope(async () => (await valuesOf(distanceCorrelation(sent(x), sent(z))))[0]!)

/** Rows of normal deviates, as float32 has them. */
function normal(rows: number, columns: number, seed: number): number[][] {
  const random = new SeededRandom(seed)
  return Array.from({ length: rows }, () => Array.from({ length: columns }, () => Math.fround(random.normal())))
}
const rowwise = (rows: Rows, f: (row: readonly number[]) => number[]): number[][] =>
  rows.map((row) => f(row).map(Math.fround))

/** The distance of the closest rows that are not the same, in units of their mean distance from the centre. */
function closest(rows: Rows): number {
  const apart = (p: readonly number[], q: readonly number[]) => Math.hypot(...p.map((value, k) => value - q[k]!))
  const centre = rows[0]!.map((_, k) => rows.reduce((sum, row) => sum + row[k]!, 0) / rows.length)
  const spread = Math.hypot(...rows.map((row) => apart(row, centre))) / Math.sqrt(rows.length)
  const distances = rows.flatMap((p, i) => rows.slice(i + 1).map((q) => apart(p, q))).filter((d) => d > 0)
  return Math.min(...distances) / spread
}

/**
 * Squared distances come from products of rows in float32 and are wrong by some units of 2^-24 of the squared spread S²;
 * a distance d by 2^-25 S²/d. Where the closest rows are 2^-8 S apart, that is 2^-17 S, for few of the n² pairs of a mean.
 * 2^-14 leaves eight units to each.
 */
const CLOSE = 2 ** -14

describe('the value', () => {
  // The documentation of the Python package dcor; the docstring of S. Ghosh's distcorr.py (gist aa3d19a12b74e9ab7941).
  it.each([
    [
      'a matrix and a column',
      tf.range(1, 17).reshape([4, 4]).arraySync() as number[][],
      [[1], [0], [0], [1]],
      0.5266403878479265,
    ],
    ['two columns', [[1], [2], [3], [4], [5]], [[1], [2], [9], [4], [4]], 0.762676242417],
  ])('is the one published for %s', async (_, x, z, published) => {
    expect(distanceCorrelationByPairs(x, z)).toBeCloseTo(published, 11)
    expect(Math.abs((await correlation(x, z)) - published)).toBeLessThan(CLOSE)
  })

  it('is that of the definition, far from the origin and with rows that coincide too', async () => {
    const sample = fc.record({
      n: fc.integer({ min: 2, max: 12 }),
      columns: fc.tuple(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 5 })),
      seed: fc.nat(),
      offset: fc.constantFrom(0, 3, -20),
      twins: fc.boolean(),
    })
    await fc.assert(
      fc.asyncProperty(sample, async ({ n, columns: [p, q], seed, offset, twins }) => {
        const x = rowwise(normal(n, p, seed), (row) => row.map((value) => value + offset))
        const z = rowwise(normal(n, q, seed + 1), (row) =>
          row.map((value, k) => value + 0.5 * (x[0]![k % p]! - offset)),
        )
        if (twins) for (const rows of [x, z]) rows[n - 1] = [...rows[0]!]
        fc.pre(closest(x) > 2 ** -8 && closest(z) > 2 ** -8)
        const [actual, expected] = [await correlation(x, z), distanceCorrelationByPairs(x, z)]
        expect(Math.abs(actual - expected), `${actual} for ${expected}`).toBeLessThan(CLOSE)
      }),
      { seed: Number(process.env['SOTTO_SEED'] ?? 1), numRuns: process.env['SOTTO_LONG'] ? 400 : 25 },
    )
  })

  it('takes all that has one first index for a row', async () => {
    const [x, z] = [normal(6, 8, 1), normal(6, 3, 2)]
    const folded = x.map((row) => [[row.slice(0, 4)], [row.slice(4)]])
    expect(await correlation(folded, z)).toBe(await correlation(x, z))
    expect(
      await correlation(
        z.map(([first]) => first!),
        z,
      ),
    ).toBe(
      await correlation(
        z.map(([first]) => [first!]),
        z,
      ),
    )
  })
})

describe('its laws', () => {
  const [x, z] = [normal(40, 5, 3), normal(40, 5, 3).map((row) => row.map((value) => Math.fround(value ** 2)))]

  it('a sample has 1 with itself, moved, scaled and turned too', async () => {
    const turned = (row: readonly number[]) => {
      const [a, b, ...rest] = row as [number, number]
      return [0.6 * a - 0.8 * b, 0.8 * a + 0.6 * b, ...rest.toReversed()]
    }
    for (const other of [
      x,
      rowwise(x, (row) => row.map((value) => value + 7)),
      rowwise(x, (row) => row.map((value) => -1e-4 * value)),
      rowwise(x, (row) => row.map((value) => 1e5 * value)),
      rowwise(x, turned),
      rowwise(x, (row) => [0, ...row, 0]),
    ]) {
      expect(Math.abs((await correlation(x, other)) - 1)).toBeLessThan(CLOSE)
    }
  })

  it('does not change with what changes no distance, or with the order of samples and rows', async () => {
    const expected = await correlation(x, z)
    expect(expected).toBeGreaterThan(0.3)
    expect(expected).toBeLessThan(0.95)
    const scaled = rowwise(z, (row) => row.map((value) => 1000 * value - 50))
    for (const actual of [
      await correlation(z, x),
      await correlation(x.toReversed(), z.toReversed()),
      await correlation(
        rowwise(x, (row) => [...row.slice(2), ...row.slice(0, 2)]),
        scaled,
      ),
    ]) {
      expect(Math.abs(actual - expected)).toBeLessThan(CLOSE)
    }
  })

  it('sees what is no line: a square, but not what has nothing to do with it', async () => {
    const column = normal(200, 1, 5)
    expect(
      await correlation(
        column,
        rowwise(column, ([value]) => [value! ** 2]),
      ),
    ).toBeGreaterThan(0.4)
    // About √(1/n) in one column, by the bias of the statistic.
    expect(await correlation(column, normal(200, 1, 6))).toBeLessThan(0.2)
  })

  it('is 0 where all rows of one are alike, or there is one', async () => {
    expect(await correlation(x, Array(40).fill([1, 2]))).toBe(0)
    expect(await correlation(Array(40).fill([0]), z)).toBe(0)
    expect(await correlation([[1, 2]], [[3]])).toBe(0)
  })
})

describe('its gradient', () => {
  const gradients = (x: Rows, z: Rows) =>
    scope(async () => {
      const leaves = [sent(x, { requiresGrad: true }), sent(z, { requiresGrad: true })] as const
      distanceCorrelation(...leaves).backward()
      return Promise.all(leaves.map((leaf) => valuesOf(leaf.grad!)))
    })

  it('is that of central differences of the definition, for both samples', async () => {
    for (const [n, p, q, offset] of [
      [8, 3, 2, 0],
      [5, 10, 1, 4],
      [20, 2, 4, -3],
    ] as const) {
      const x = rowwise(normal(n, p, n), (row) => row.map((value) => value + offset))
      const z = rowwise(normal(n, q, n + 1), (row) => row.map((value, k) => value * x[0]![k % p]! + row[0]!))
      expect(Math.min(closest(x), closest(z))).toBeGreaterThan(2 ** -5)
      const found = await gradients(x, z)
      for (const [side, rows] of [x, z].entries()) {
        const slopes = rows.flatMap((row, i) =>
          row.map((_, k) => {
            const moved = (by: number) => {
              const other = rows.map((r, j) => (i === j ? r.map((value, l) => value + (l === k ? by : 0)) : r))
              return side === 0 ? distanceCorrelationByPairs(other, z) : distanceCorrelationByPairs(x, other)
            }
            // In doubles: the error of 1e-5 squared, and of 1e-16 over 1e-5.
            return (moved(1e-5) - moved(-1e-5)) / 2e-5
          }),
        )
        const largest = Math.max(...slopes.map(Math.abs))
        for (const [i, slope] of slopes.entries()) {
          // Rows here are 2^-5 S apart: 1/d is wrong by 2^-25 · 2^10 in proportion, and so is what it points along: 2^-14.
          expect(Math.abs(found[side]![i]! - slope), `element ${i} of sample ${side}`).toBeLessThan(4 * CLOSE * largest)
        }
      }
    }
  })

  it('is finite where rows coincide, and nothing where all do', async () => {
    const x = normal(10, 4, 7)
    const twins = x.map((row, i) => (i % 2 === 0 ? row : x[i - 1]!))
    const [onX, onTwins] = await gradients(x, twins)
    expect([...onX!, ...onTwins!].every(Number.isFinite)).toBe(true)
    expect(Math.max(...onTwins!.map(Math.abs))).toBeGreaterThan(0)
    for (const same of [Array(10).fill([1, 2, 3]), Array(10).fill([0])]) {
      const [a, b] = await gradients(x, same)
      expect(new Set([...a!, ...b!].map(Math.abs))).toEqual(new Set([0]))
    }
    // Of relu, whole rows may be 0.
    const dead = rowwise(x, (row) => (row[0]! > 0 ? [...row] : [0, 0, 0, 0]))
    expect((await gradients(x, dead)).flat().every(Number.isFinite)).toBe(true)
  })

  it('stays small where it is 1: no step makes it more', async () => {
    const x = normal(12, 3, 8)
    const [, onCopy] = await gradients(x, x)
    expect(Math.max(...onCopy!.map(Math.abs))).toBeLessThan(1e-3)
  })
})

describe('in the loss of a split net', () => {
  const images = normal(16, 6, 9)
  const labels = Array.from({ length: 16 }, (_, i) => i % 3)
  const lambda = 0.7

  /** Gradients of the layers on alice: of the penalty there, of the loss on bob, or of both. */
  async function trained(parts: readonly ('penalty' | 'loss')[]): Promise<number[]> {
    const dense = (units: number, inputs: number, seed: number) =>
      tf.layers.dense({ units, inputShape: [inputs], kernelInitializer: tf.initializers.glorotUniform({ seed }) })
    const nets = [tf.sequential({ layers: [dense(4, 6, 1)] }), tf.sequential({ layers: [dense(3, 4, 2)] })] as const
    const [bottom, top] = [send(nets[0], alice), send(nets[1], bob)]
    const found = await scope(async () => {
      const x = sent(images)
      const a = bottom.apply(x)
      if (parts.includes('penalty')) {
        distanceCorrelation(x, a).mul(lambda).backward(undefined, { retainGraph: true })
      }
      if (parts.includes('loss')) {
        const cut = a.move(bob, { requiresGrad: true })
        const there = send(tf.tensor1d(labels, 'int32'), bob)
        top.apply(cut).softmaxCrossEntropy(there).backward()
      }
      return (await Promise.all(bottom.parameters().map((parameter) => valuesOf(parameter.grad!)))).flat()
    })
    for (const item of [bottom, top, ...nets]) item.dispose()
    return found
  }

  it('the penalty on alice and the loss relayed from bob add up', async () => {
    const [penalty, loss, both] = [
      await trained(['penalty']),
      await trained(['loss']),
      await trained(['penalty', 'loss']),
    ]
    expect(both).toHaveLength(6 * 4 + 4)
    const size = (list: readonly number[]) => Math.hypot(...list)
    expect(size(penalty)).toBeGreaterThan(1e-3)
    expect(size(loss)).toBeGreaterThan(1e-3)
    // The same two numbers, added once, in float32.
    expect(both).toEqual(penalty.map((value, i) => Math.fround(value + loss[i]!)))
  })

  it('leaves no objects and no tensors behind', async () => {
    const once = () =>
      scope(() => {
        const x = sent(images, { requiresGrad: true })
        distanceCorrelation(x, x.mul(2)).backward()
      })
    once()
    await alice.flush()
    await settled()
    const before = [await alice.objectCount(), tf.memory().numTensors]
    for (let i = 0; i < 5; i++) once()
    await alice.flush()
    expect([await alice.objectCount(), tf.memory().numTensors]).toEqual(before)
  })
})

describe('what is refused', () => {
  const code = (action: () => unknown) => {
    try {
      action()
      return null
    } catch (error) {
      return (error as { code: string }).code
    }
  }
  it('samples of other places, other rows, or none', () => {
    scope(() => {
      const x = sent([[1], [2]])
      expect(code(() => distanceCorrelation(x, sent([[1]])))).toBe('ERR_SHAPE')
      expect(code(() => distanceCorrelation(x, sent(1)))).toBe('ERR_SHAPE')
      expect(code(() => distanceCorrelation(x, sent([[], []])))).toBe('ERR_SHAPE')
      expect(code(() => distanceCorrelation(x, sent([[1], [2]], { at: bob })))).toBe('ERR_NOT_COLLOCATED')
      expect(code(() => distanceCorrelation(tf.ones([2, 1]) as never, x))).toBe('ERR_ARGUMENT_TYPE')
    })
  })
})
