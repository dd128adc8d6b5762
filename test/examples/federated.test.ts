/** Federated learning: what is learnt, whatever hides the parts, and who sees what. */
import { type LabelledImages, loadMnist, type Mnist } from 'sotto'
import { beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { trainOn as federatedMnist, optionsOf as mnistOptions } from '../../examples/federated-mnist.ts'
import { type Way, ways } from '../../examples/lib/federated.ts'
import { secretSpam } from '../../examples/secret-spam.ts'
import { type Learnt, optionsOf, trainOn as zerosAgainstOnes, zerosAndOnes } from '../../examples/zeros-and-ones.ts'
import { readyForTest } from '../backend.ts'
import { weightDifference } from './compare.ts'
import { capturePrinted } from './printed.ts'

type Digits = Pick<Mnist, 'train' | 'test'>

let digits: Digits
let printed: () => string
beforeAll(async () => {
  printed = capturePrinted()
  await readyForTest()
  digits = await loadMnist({ limit: 1800, testLimit: 500, onNotice: () => {} })
})
beforeEach(() => {
  printed()
})

/** What somebody saw, by the table of who saw what: the cells of each row. */
const seenBy = (name: string): string[][] =>
  printed()
    .split('Who saw what')[1]!
    .split('\n')
    .map((line) => line.split('│').map((cell) => cell.trim()))
    .filter(([, who, what]) => who === name && !what!.startsWith('nothing'))

/** Fractional bits, as `--precision` says; a unit of them is how far rounding at random may be off, or little more. */
const PRECISION = 20
const UNIT = 16 / (16 * 2 ** PRECISION - 1)
/** Half of what separates neighbours among float32 numbers from ½ to 1: weights are below. */
const ROUNDING = 2 ** -25

describe('federated-mnist', () => {
  const run = (aggregation: Way, flags: readonly string[]) => {
    const small = { train: digits.train.slice(0, 600), test: digits.test.slice(0, 200) }
    return federatedMnist(small, { ...mnistOptions(['--precision', String(PRECISION), ...flags]), aggregation })
  }

  it('learns, and its owner sees sums over all owners alone', async () => {
    const { accuracies, rounds, refusal } = await run('shares', ['--epochs', '3', '--batch-size', '100'])
    expect(accuracies).toHaveLength(3)
    expect(rounds).toHaveLength(6)
    // Guessing gets a tenth.
    expect(accuracies.at(-1)!).toBeGreaterThan(0.25)
    expect(refusal).toContain('private to alice')
    const seen = seenBy('me')
    expect(seen.length).toBeGreaterThan(0)
    for (const [, , , from] of seen) expect(from).toBe('compute-1 + compute-2 + compute-3')
  })

  it('takes the same step whatever hides the gradients, but for how they are rounded', async () => {
    const flags = ['--epochs', '1', '--batch-size', '200', '--learning-rate', '0.05']
    const clear = await run('clear', flags)
    // Here every owner's gradient is seen: the look at the table finds what is there.
    expect(new Set(seenBy('me').map(([, , , from]) => from))).toEqual(new Set(['alice', 'bob', 'carol']))
    for (const way of ways.filter((each) => each !== 'clear')) {
      const hidden = await run(way, flags)
      for (const [, , , from] of seenBy('me')) expect(from).toBe('compute-1 + compute-2 + compute-3')
      // Gradients are the same to the bit. Masked, each is less than a unit off; shared, a third of each is half a unit
      // off, three times over, besides its rounding to float32: gradients are below 1.
      const offInMean = way === 'shares' || way === 'replicated' ? 1.5 * UNIT + 3 * ROUNDING : UNIT
      expect(weightDifference(hidden.weights, clear.weights)).toBeLessThanOrEqual(0.05 * offInMean + 2 * ROUNDING)
    }
    // With 32 bits below the point, what is left are the roundings of float32.
    const high = await run('replicated', [...flags, '--precision', 'high'])
    const offInMean = 1.5 * 2 ** -32 + 3 * ROUNDING
    expect(weightDifference(high.weights, clear.weights)).toBeLessThanOrEqual(0.05 * offInMean + 2 * ROUNDING)
    // Two of three components of 16 bytes an element, and the seed of each other one, twice.
    expect(high.rounds[0]!.bytesUp).toBe(2 * (16 * 118_282 + 2 * 32))
    await expect(run('masks', [...flags, '--precision', 'high'])).rejects.toThrow('goes with shares')
  })
})

describe('secret-spam, under masks', () => {
  it('learns what averaging in clear learns, and shows nobody an update', async () => {
    const terms = {
      parties: 3,
      rounds: 1,
      batchSize: 32,
      learningRate: 2,
      dimension: 64,
      precision: PRECISION,
      seed: 1,
    }
    const run = (aggregation: 'masks' | 'clear') =>
      secretSpam({ ...terms, limit: 200, workers: 'virtual', aggregation })
    const clear = await run('clear')
    expect(new Set(seenBy('me').map(([, , , from]) => from))).toEqual(new Set(['bob', 'alice', 'jane']))
    const masked = await run('masks')
    expect(seenBy('me')).toEqual([])
    expect(masked.refusal.split('\n').map((line) => line.split(':')[0])).toEqual(['ERR_PERMISSION', 'ERR_COHORT'])
    // Weights are below 2: the mean of three is rounded three times in clear, and once here.
    expect(Math.max(...clear.weights[0]!.data.map(Math.abs))).toBeLessThan(2)
    expect(weightDifference(masked.weights, clear.weights)).toBeLessThanOrEqual(UNIT + 4 * 2 * ROUNDING)
  })
})

describe('zeros-and-ones', () => {
  const STEPS = 6
  const PARAMETERS = 785
  const options = (flags: readonly string[] = []) =>
    optionsOf(['--steps', String(STEPS), '--epochs', '2', '--precision', String(PRECISION), ...flags])

  it('learns the same from all parties in clear, under masks in pairs and under secure aggregation', async () => {
    const test = zerosAndOnes(digits.test)
    const result = await zerosAgainstOnes({ train: zerosAndOnes(digits.train), test }, options())
    const seen = seenBy('me')
    const { 'gradients averaged in clear': clear, 'one party alone': alone, ...masked } = result.perceptron
    expect(clear.accuracy).toBeGreaterThan(0.9)
    expect(alone.accuracy).toBeGreaterThan(0.5)

    // Gradient descent on the logistic loss brings no two points further apart when its rate is at most 2/L (Nesterov,
    // "Introductory lectures on convex optimization", 2004, theorem 2.1.5: the gradient is co-coercive), and here
    // L ≤ ¼·785, pixels being from −1 to 1. So what each step adds to the distance is what its gradient is off by, in 785
    // coordinates: a unit, and what float32 makes of it in both runs. There a score, a sum of 785 products, is off by 785
    // roundings of Σ|w|, and a coordinate of the gradient by a quarter of that, and by 32 roundings of numbers below 1.
    const rate = options().learningRate
    expect(rate).toBeLessThanOrEqual(2 / (PARAMETERS / 4))
    const size = norm1(clear)
    const perCoordinate = UNIT + 2 * 2 ** -24 * ((PARAMETERS * size) / 4 + 32)
    const distance = STEPS * Math.sqrt(PARAMETERS) * (rate * perCoordinate + 2 * ROUNDING)
    const scoreOff = Math.sqrt(PARAMETERS) * distance + 2 * 2 ** -24 * PARAMETERS * size
    const ties = scoresOf(clear, test).filter((score) => Math.abs(score) <= scoreOff).length
    // Few images are so near a tie that they might turn.
    expect(ties / test.count).toBeLessThan(0.02)
    for (const learnt of Object.values(masked)) {
      expect(weightDifference(learnt.weights, clear.weights)).toBeLessThanOrEqual(distance)
      expect(Math.abs(learnt.accuracy - clear.accuracy) * test.count).toBeLessThanOrEqual(ties + 1e-9)
    }

    expect(result.network).toHaveLength(2)
    expect(result.network.at(-1)!).toBeGreaterThan(0.9)
    // The researcher saw gradients in the two runs that are in clear, 784 weights and a bias, and nothing of the network.
    expect(result.refusal).toContain('private to alice')
    expect(seen.length).toBe(2 * 10)
    for (const [, , what, , how] of seen) {
      expect(what).toMatch(/^float32 \[(784,)?1\]$/)
      expect(how).toBe('fetch')
    }
  })

  it('says what it needs', async () => {
    const few = { train: zerosAndOnes(digits.train.slice(0, 500)), test: zerosAndOnes(digits.test) }
    await expect(zerosAgainstOnes(few, options())).rejects.toThrow('--limit takes more')
  })
})

const norm1 = ({ weights }: Learnt): number =>
  weights.reduce((sum, { data }) => sum + data.reduce((part, value) => part + Math.abs(value), 0), 0)

/** Scores of images, in doubles. */
function scoresOf({ weights: [kernel, bias] }: Learnt, images: LabelledImages): number[] {
  const pixels = images.images()
  const values = pixels.dataSync()
  pixels.dispose()
  return Array.from({ length: images.count }, (_, row) =>
    kernel!.data.reduce((sum, weight, i) => sum + weight * values[784 * row + i]!, bias!.data[0]!),
  )
}
