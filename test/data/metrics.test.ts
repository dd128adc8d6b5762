import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { accuracy, areaUnderCurve, confusion } from '../../src/data/metrics.ts'
import { areaUnderCurveByPairs } from '../reference/area-under-curve.ts'

/** Few different scores, so that ties are common; the infinities among them. */
const score = fc.oneof(
  fc.integer({ min: -3, max: 3 }),
  fc.constantFrom(Infinity, -Infinity, -0),
  fc.double({ noNaN: true }),
)
const scored = fc
  .array(fc.tuple(score, fc.constantFrom(0, 1)), { minLength: 2, maxLength: 40 })
  .filter((pairs) => new Set(pairs.map(([, label]) => label)).size === 2)
  .map((pairs) => ({ scores: pairs.map(([score]) => score), labels: pairs.map(([, label]) => label) }))

describe('areaUnderCurve', () => {
  test('equals what the definition says, pair by pair', () => {
    fc.assert(
      fc.property(scored, ({ scores, labels }) => {
        expect(areaUnderCurve(scores, labels)).toBeCloseTo(areaUnderCurveByPairs(scores, labels), 12)
      }),
    )
  })

  test('turned scores give the rest to one', () => {
    fc.assert(
      fc.property(scored, ({ scores, labels }) => {
        const turned = scores.map((score) => -score)
        expect(areaUnderCurve(scores, labels) + areaUnderCurve(turned, labels)).toBeCloseTo(1, 12)
      }),
    )
  })

  test('is 1 for a perfect order, 0 for its reverse, a half for equal scores', () => {
    expect(areaUnderCurve([1, 2, 3, 4], [0, 0, 1, 1])).toBe(1)
    expect(areaUnderCurve([4, 3, 2, 1], [false, false, true, true])).toBe(0)
    expect(areaUnderCurve(new Float32Array(4), Uint8Array.of(0, 1, 0, 1))).toBe(0.5)
  })

  test.each([
    ['lengths that differ', [1], [0, 1], 'same length'],
    ['nothing', [], [], 'at least 1'],
    ['a score that is not a number', [1, NaN], [0, 1], 'at 1 is not a number'],
    ['a third label', [1, 2, 3], [0, 1, 2], 'at 2 is neither 0 nor 1'],
    ['one class only', [1, 2], [1, 1], 'needs both classes, got 2 positives and 0 negatives'],
  ])('refuses %s', (_, scores, labels, message) => {
    expect(() => areaUnderCurve(scores, labels)).toThrow(message)
  })
})

describe('accuracy and confusion', () => {
  test('the diagonal of the confusion is the accuracy, its rows count the labels', () => {
    const pairs = fc.array(fc.tuple(fc.nat(3), fc.nat(3)), { minLength: 1, maxLength: 50 })
    fc.assert(
      fc.property(pairs, (pairs) => {
        const predicted = pairs.map(([p]) => p)
        const labels = pairs.map(([, l]) => l)
        const table = confusion(predicted, labels, 4)
        const diagonal = table.reduce((sum, row, at) => sum + row[at]!, 0)
        expect(diagonal / pairs.length).toBe(accuracy(predicted, labels))
        table.forEach((row, at) => {
          expect(row.reduce((sum, count) => sum + count, 0)).toBe(labels.filter((label) => label === at).length)
        })
      }),
    )
  })

  test('a row is a label, a column a prediction', () => {
    expect(confusion([1, 1, 0], [0, 1, 0], 2)).toEqual([
      [1, 1],
      [0, 1],
    ])
  })

  test.each([
    [[2], [0]],
    [[0], [2]],
    [[0.5], [0]],
    [[-1], [0]],
    [[], []],
    [[0, 1], [0]],
  ])('confusion refuses predictions %j with labels %j of 2 classes', (predicted, labels) => {
    expect(() => confusion(predicted, labels, 2)).toThrow(RangeError)
  })

  test('accuracy refuses nothing at all, and lengths that differ', () => {
    expect(() => accuracy([], [])).toThrow(RangeError)
    expect(() => accuracy([1], [1, 2])).toThrow(RangeError)
  })
})
