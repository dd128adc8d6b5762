import { beforeAll, describe, expect, test } from 'vitest'
import { batches } from '../../src/data/batches.ts'
import { featureHasher } from '../../src/data/hashing.ts'
import { accuracy, areaUnderCurve } from '../../src/data/metrics.ts'
import { drawnDigits } from '../../src/data/synthetic-digits.ts'
import { madeUpMessages } from '../../src/data/synthetic-messages.ts'
import { tf } from '../../src/tensor/backend.ts'
import { readyForTest } from '../backend.ts'

describe('drawnDigits', () => {
  beforeAll(readyForTest)

  test('follow from the seed; the first ones whatever the count', () => {
    const [few, many, others] = [drawnDigits(20, 5), drawnDigits(40, 5), drawnDigits(20, 6)]
    expect(few.pixels).toEqual(many.slice(0, 20).pixels)
    expect(few.labels).toEqual(many.slice(0, 20).labels)
    expect(few.pixels).not.toEqual(others.pixels)
  })

  test('have ink in the middle and hardly any at the edge', () => {
    const { pixels, count } = drawnDigits(300, 5)
    const mean = (keep: (x: number, y: number) => boolean) => {
      const kept = pixels.filter((_, at) => keep(at % 28, Math.floor(at / 28) % 28))
      return kept.reduce((sum, byte) => sum + byte, 0) / kept.length
    }
    expect(count).toBe(300)
    expect(mean((x, y) => x > 6 && x < 21 && y > 3 && y < 24)).toBeGreaterThan(40)
    expect(mean((x, y) => x === 0 || y === 0 || x === 27 || y === 27)).toBeLessThan(4)
  })

  test('are learnt by a softmax regression, though not at once', () => {
    const [train, test] = [drawnDigits(2_000, 1), drawnDigits(500, 2)]
    const weights = tf.variable(tf.zeros<tf.Rank.R2>([784, 10]))
    const optimizer = tf.train.adam(0.003)
    const logits = (images: tf.Tensor2D) => images.matMul(weights)
    for (let epoch = 0; epoch < 3; epoch++) {
      for (const indices of batches(train.count, { batchSize: 64, seed: epoch })) {
        tf.tidy(() => {
          const [images, labels] = [train.images(indices), tf.oneHot(train.labelsTensor(indices), 10)]
          optimizer.minimize(() => tf.losses.softmaxCrossEntropy(labels, logits(images)).asScalar())
        })
      }
    }
    const predicted = tf.tidy(() => logits(test.images()).argMax(1).dataSync())
    // Chance is 0.1; 0.93 was seen, and the full set gives 0.96.
    expect(accuracy(predicted, test.labels)).toBeGreaterThan(0.85)
    weights.dispose()
    optimizer.dispose()
  })

  test.each([0, -1, 1.5])('refuse a count of %d', (count) => {
    expect(() => drawnDigits(count, 1)).toThrow(RangeError)
  })
})

describe('madeUpMessages', () => {
  const messages = madeUpMessages(1_200, 3)

  test('follow from the seed; the first ones whatever the count', () => {
    expect(madeUpMessages(10, 3)).toEqual(messages.slice(0, 10))
    expect(madeUpMessages(10, 4)).not.toEqual(messages.slice(0, 10))
  })

  test('are spam for about 13 of 100, fit a line each, and leave no blank open', () => {
    const share = messages.filter(({ label }) => label === 'spam').length / messages.length
    // Four standard deviations of a binomial of 1,200: 0.039.
    expect(Math.abs(share - 0.134)).toBeLessThan(0.04)
    for (const { text } of messages) expect(text).toMatch(/^[^\s{}#][^\t\n{}#]*$/)
  })

  test('can be told apart by a logistic regression on hashed words, but not all of them', () => {
    const { hash, dimension } = featureHasher({ dimension: 1024 })
    const rows = messages.map(({ text }) => hash(text))
    const labels = messages.map(({ label }) => (label === 'spam' ? 1 : 0))
    const weights = new Float32Array(dimension)
    const score = (row: Float32Array) => row.reduce((sum, value, at) => sum + value * weights[at]!, 0)
    for (let epoch = 0; epoch < 5; epoch++) {
      for (let i = 0; i < 900; i++) {
        const error = 1 / (1 + Math.exp(-score(rows[i]!))) - labels[i]!
        rows[i]!.forEach((value, at) => {
          weights[at]! -= 2 * error * value
        })
      }
    }
    const area = areaUnderCurve(rows.slice(900).map(score), labels.slice(900))
    expect(area).toBeGreaterThan(0.95)
    expect(area).toBeLessThan(1)
  })
})
