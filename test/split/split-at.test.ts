import { splitAt, tf } from 'sotto'
import { beforeAll, describe, expect, it } from 'vitest'
import { readyForTest } from '../backend.ts'
import { codeOf } from '../conformance/workers.ts'

beforeAll(readyForTest)

const sequential = (): tf.LayersModel =>
  tf.sequential({
    layers: [
      tf.layers.conv2d({ filters: 2, kernelSize: 3, inputShape: [8, 8, 1], activation: 'relu', name: 'conv' }),
      tf.layers.batchNormalization({ name: 'norm' }),
      tf.layers.flatten({ name: 'flat' }),
      tf.layers.dense({ units: 3, name: 'out' }),
    ],
  })

/** A block with a way past it: it can be cut before and after, and not inside. */
function residual(): tf.LayersModel {
  const input = tf.input({ shape: [4] })
  const first = tf.layers.dense({ units: 4, name: 'first' }).apply(input) as tf.SymbolicTensor
  const inner = tf.layers.dense({ units: 4, activation: 'tanh', name: 'inner' }).apply(first) as tf.SymbolicTensor
  const sum = tf.layers.add({ name: 'sum' }).apply([first, inner]) as tf.SymbolicTensor
  return tf.model({
    inputs: input,
    outputs: tf.layers.dense({ units: 2, name: 'last' }).apply(sum) as tf.SymbolicTensor,
  })
}

/** Outputs of the whole, and of its segments one after the other. */
function both(model: tf.LayersModel, segments: readonly tf.LayersModel[], shape: number[]): [number[], number[]] {
  const x = tf.randomNormal(shape, 0, 1, 'float32', 1)
  const whole = model.predict(x) as tf.Tensor
  const split = segments.reduce((y, segment) => segment.predict(y) as tf.Tensor, x as tf.Tensor)
  return [[...whole.dataSync()], [...split.dataSync()]]
}

describe('a model that is cut', () => {
  it('computes what it computed, sequential or functional, after one layer or several', () => {
    for (const [model, layers, shape] of [
      [sequential(), 'norm', [2, 8, 8, 1]],
      [sequential(), [0, 2], [2, 8, 8, 1]],
      [residual(), 'first', [3, 4]],
      [residual(), ['first', 'sum'], [3, 4]],
    ] as const) {
      const segments = splitAt(model, layers)
      expect(segments).toHaveLength([layers].flat().length + 1)
      const [whole, split] = both(model, segments, [...shape])
      expect(split).toEqual(whole)
      expect(segments.reduce((sum, segment) => sum + segment.countParams(), 0)).toBe(model.countParams())
    }
  })

  it('is left as it is: segments have weights of their own, and the model can be cut again', () => {
    const model = residual()
    const before = JSON.stringify(model.getConfig())
    const segments = splitAt(model, 'sum')
    for (const segment of segments) segment.setWeights(segment.getWeights().map((weight) => tf.zerosLike(weight)))
    expect(JSON.stringify(model.getConfig())).toBe(before)
    const [whole, split] = both(model, splitAt(model, 'sum'), [3, 4])
    expect(split).toEqual(whole)
    expect(whole.some((value) => value !== 0)).toBe(true)
  })

  it('leaves no tensors behind but the weights of the segments', () => {
    const model = sequential()
    for (const segment of splitAt(model, 1)) segment.dispose()
    const before = tf.memory().numTensors
    for (const segment of splitAt(model, 1)) segment.dispose()
    expect(tf.memory().numTensors).toBe(before)
  })

  it('is not cut where something passes the cut by, at its ends, out of order, or after what is not there', async () => {
    expect(() => splitAt(residual(), 'inner')).toThrow(/inner does not part the model/)
    for (const layers of ['last', 'nowhere', 17, [], ['sum', 'first']]) {
      expect(await codeOf(() => splitAt(residual(), layers)), String(layers)).toBe('ERR_ARGUMENT_VALUE')
    }
    expect(await codeOf(() => splitAt({} as never, 1))).toBe('ERR_ARGUMENT_TYPE')
  })
})
