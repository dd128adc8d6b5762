/**
 * Whatever trains on the cpu backend trains on wasm, with the same gradients.
 *
 * The cpu backend of tfjs is the slow and obvious twin: loops in plain JavaScript, accumulating in doubles. Every op,
 * every layer and every kernel of ours is run on both with the same numbers.
 */
import fc from 'fast-check'
import { ready, tf } from 'sotto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { testBackend } from '../backend.ts'

// The comparison itself runs both backends, so one project is enough.
const comparing = describe.skipIf(testBackend !== 'wasm')

const backends = ['cpu', 'wasm'] as const
type Two = (typeof backends)[number]

/**
 * Units of float32 rounding (2^-24 each) by which wasm may differ from cpu, relative to the largest number of the result.
 * A sum of n products is off by at most n units, whatever its order; the longest here has 600 terms, and a few units
 * more come from exp, tanh and the like, and from what the forward pass handed over.
 */
const tolerance = 1024 * 2 ** -24

/** Uniform numbers from a seed (mulberry32), so that both backends see the same. */
function generator(seed: number) {
  let state = seed
  const next = () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  return {
    next,
    floats: (shape: readonly number[], low = -1, high = 1) =>
      Float32Array.from({ length: tf.util.sizeFromShape([...shape]) }, () => low + (high - low) * next()),
  }
}

interface Result {
  readonly shape: readonly number[]
  readonly values: ArrayLike<number>
}

/** Runs on one backend; all its tensors are freed, and the results come back as plain arrays. */
async function run(backend: Two, compute: () => tf.Tensor[]): Promise<Result[]> {
  await tf.setBackend(backend)
  try {
    return tf.tidy(() =>
      compute().map((tensor) => ({ shape: tensor.shape, values: tensor.dataSync() as Float32Array })),
    )
  } finally {
    await tf.setBackend('wasm')
  }
}

/** Runs on both backends and compares shapes and values. */
async function agree(compute: () => tf.Tensor[]) {
  expectClose(await run('wasm', compute), await run('cpu', compute))
}

/** @param least the magnitude that rounding is relative to, where the result itself may cancel to nearly nothing */
function expectClose(actual: Result[], expected: Result[], least = 0) {
  expect(actual.map(({ shape }) => shape)).toEqual(expected.map(({ shape }) => shape))
  for (const [i, { values }] of actual.entries()) {
    const want = expected[i]!.values
    let largest = least
    let worst = 0
    for (let j = 0; j < want.length; j++) {
      largest = Math.max(largest, Math.abs(want[j]!))
      worst = Math.max(worst, Number.isFinite(want[j]) ? Math.abs(values[j]! - want[j]!) : 0)
    }
    expect(Number.isNaN(worst), `result ${i} is not a number`).toBe(false)
    expect(worst, `result ${i}, largest ${largest}`).toBeLessThanOrEqual(tolerance * largest)
  }
}

const kernel = (name: string, inputs: tf.NamedTensorMap, attrs: object) =>
  tf.engine().runKernel(name, inputs, attrs as never) as tf.Tensor

beforeAll(async () => {
  await ready({ backend: 'cpu' })
  await ready({ backend: testBackend })
})

/** Shape of an input, with a range other than −1 to 1 where the op needs one. */
type Input = readonly number[] | { shape: readonly number[]; low: number; high: number }
type OpRow = readonly [name: string, inputs: readonly Input[], op: (...x: tf.Tensor[]) => tf.Tensor]

const m = [3, 4]
const image = [2, 6, 5, 3]
const volume = [1, 4, 4, 4, 2]
const within = (low: number, high: number, shape: readonly number[] = m) => ({ shape, low, high })
const ids = (...values: number[]) => tf.tensor1d(values, 'int32')
const classes = () => tf.oneHot(ids(0, 2, 3), 4).toFloat()
const as3 = (x: tf.Tensor) => x as tf.Tensor3D
const as4 = (x: tf.Tensor) => x as tf.Tensor4D
const as5 = (x: tf.Tensor) => x as tf.Tensor5D

// biome-ignore format: one row per line
const ops: readonly OpRow[] = [
  ['abs', [m], tf.abs],
  ['acos', [within(-0.9, 0.9)], tf.acos],
  ['acosh', [within(1.2, 3)], tf.acosh],
  ['add, broadcasting', [m, [4]], tf.add],
  ['addN', [m, m], (a, b) => tf.addN([a, b, a])],
  ['asin', [within(-0.9, 0.9)], tf.asin],
  ['asinh', [m], tf.asinh],
  ['atan', [m], tf.atan],
  ['atan2', [m, m], tf.atan2],
  ['atanh', [within(-0.9, 0.9)], tf.atanh],
  ['avgPool', [image], (x) => tf.avgPool(as4(x), 2, 2, 'valid')],
  ['avgPool, overlapping and padded', [image], (x) => tf.avgPool(as4(x), 3, 2, 'same')],
  ['avgPool3d', [volume], (x) => tf.avgPool3d(as5(x), 2, 2, 'valid')],
  ['batchNorm', [m, [4], [4], [4]], (x, mean, shift, s) => tf.batchNorm(x, mean, s.square().add(0.5), shift, s)],
  ['batchToSpaceND', [[4, 2, 2, 1]], (x) => tf.batchToSpaceND(x, [2, 2], [[0, 0], [0, 0]])],
  ['broadcastTo', [[1, 4]], (x) => tf.broadcastTo(x, [3, 4])],
  ['clipByValue', [m], (x) => tf.clipByValue(x, -0.5, 0.5)],
  ['concat', [m, m], (a, b) => tf.concat([a, b], 1)],
  ['conv1d', [[2, 8, 3], [3, 3, 4]], (x, w) => tf.conv1d(as3(x), as3(w), 2, 'same')],
  ['conv2d valid', [image, [3, 2, 3, 4]], (x, w) => tf.conv2d(as4(x), as4(w), 1, 'valid')],
  ['conv2d same, stride 2', [image, [3, 3, 3, 4]], (x, w) => tf.conv2d(as4(x), as4(w), 2, 'same')],
  ['conv2d 1×1', [image, [1, 1, 3, 4]], (x, w) => tf.conv2d(as4(x), as4(w), 1, 'same')],
  ['conv2dTranspose', [image, [3, 3, 4, 3]], (x, w) => tf.conv2dTranspose(as4(x), as4(w), [2, 12, 10, 4], 2, 'same')],
  ['conv3d, its filter', [[2, 2, 2, 2, 3]], (w) => tf.conv3d(as5(tf.ones(volume)), as5(w), 1, 'same')],
  ['cos', [m], tf.cos],
  ['cosh', [m], tf.cosh],
  ['cumsum', [m], (x) => tf.cumsum(x, 1, true, true)],
  ['depthwiseConv2d', [image, [3, 3, 3, 1]], (x, w) => tf.depthwiseConv2d(as4(x), as4(w), 1, 'same')],
  ['depthwiseConv2d, 2 per channel', [image, [3, 2, 3, 2]], (x, w) => tf.depthwiseConv2d(as4(x), as4(w), 2, 'valid')],
  ['div', [m, within(0.5, 2)], tf.div],
  ['dot', [[4], [4]], tf.dot],
  ['einsum, matrix product', [m, [4, 2]], (a, b) => tf.einsum('ij,jk->ki', a, b)],
  ['einsum, attention', [[2, 3, 2, 4], [2, 5, 2, 4]], (q, k) => tf.einsum('bqhd,bkhd->bhqk', q, k)],
  ['einsum, transposed sum', [[2, 3, 4]], (x) => tf.einsum('abc->ca', x)],
  ['elu', [m], tf.elu],
  ['erf', [m], tf.erf],
  ['exp', [m], tf.exp],
  ['expandDims', [m], (x) => tf.expandDims(x, 1)],
  ['expm1', [m], tf.expm1],
  ['gather', [[5, 3]], (x) => tf.gather(x, ids(4, 0, 4, 2))],
  ['gather along axis 1', [m], (x) => tf.gather(x, ids(3, 3, 0), 1)],
  ['leakyRelu', [m], (x) => tf.leakyRelu(x, 0.3)],
  ['localResponseNormalization', [image], (x) => tf.localResponseNormalization(as4(x), 2)],
  ['log', [within(0.5, 2)], tf.log],
  ['log1p', [within(0.5, 2)], tf.log1p],
  ['logSigmoid', [m], tf.logSigmoid],
  ['logSoftmax', [m], (x) => tf.logSoftmax(x)],
  ['logSumExp', [m], (x) => tf.logSumExp(x, 1)],
  ['matMul', [m, [4, 2]], (a, b) => tf.matMul(a, b)],
  ['matMul, both transposed', [[4, 3], [2, 4]], (a, b) => tf.matMul(a, b, true, true)],
  ['matMul, batched', [[2, 3, 4], [2, 4, 2]], (a, b) => tf.matMul(a, b)],
  ['max', [m], (x) => tf.max(x, 1)],
  ['maximum', [m, m], tf.maximum],
  ['maxPool of positive numbers', [within(0.1, 1, image)], (x) => tf.maxPool(as4(x), 2, 2, 'valid')],
  ['maxPool, overlapping and padded', [within(0.1, 1, image)], (x) => tf.maxPool(as4(x), 3, 2, 'same')],
  ['maxPool3d of positive numbers', [within(0.1, 1, volume)], (x) => tf.maxPool3d(as5(x), 2, 2, 'valid')],
  ['mean', [m], (x) => tf.mean(x, 0)],
  ['min', [m], (x) => tf.min(x, 0)],
  ['minimum', [m, m], tf.minimum],
  ['mirrorPad', [m], (x) => tf.mirrorPad(x, [[1, 1], [2, 0]], 'reflect')],
  ['mod', [within(1.2, 3), within(0.5, 2)], tf.mod],
  ['moments', [m], (x) => tf.moments(x, 1).variance],
  ['mul, broadcasting', [m, [3, 1]], tf.mul],
  ['neg', [m], tf.neg],
  ['norm', [m], (x) => tf.norm(x)],
  ['pad', [m], (x) => tf.pad(x, [[1, 0], [2, 1]], 3)],
  ['pow', [within(0.5, 2), m], tf.pow],
  ['prelu', [m, [4]], tf.prelu],
  ['prod', [m], (x) => tf.prod(x, 1)],
  ['reciprocal', [within(0.5, 2)], tf.reciprocal],
  ['relu', [m], tf.relu],
  ['relu6', [within(-8, 8)], tf.relu6],
  ['reshape', [m], (x) => tf.reshape(x, [2, 6])],
  ['resizeBilinear', [[2, 5, 5, 3]], (x) => tf.image.resizeBilinear(as4(x), [9, 4])],
  ['resizeNearestNeighbor of one image', [[1, 5, 5, 1]], (x) => tf.image.resizeNearestNeighbor(as4(x), [10, 10])],
  ['reverse', [m], (x) => tf.reverse(x, 1)],
  ['rsqrt', [within(0.5, 2)], tf.rsqrt],
  ['selu', [m], tf.selu],
  ['separableConv2d', [image, [3, 3, 3, 2], [1, 1, 6, 4]], (x, d, p) => tf.separableConv2d(as4(x), as4(d), as4(p), 1, 'same')],
  ['sigmoid', [m], tf.sigmoid],
  ['sin', [m], tf.sin],
  ['sinh', [m], tf.sinh],
  ['slice', [m], (x) => tf.slice(x, [1, 1], [2, 2])],
  ['softmax', [m], (x) => tf.softmax(x)],
  ['softplus', [m], tf.softplus],
  ['spaceToBatchND', [[1, 4, 4, 1]], (x) => tf.spaceToBatchND(x, [2, 2], [[0, 0], [0, 0]])],
  ['split', [m], (x) => tf.split(x, 2, 1)[1]!],
  ['sqrt', [within(0.5, 2)], tf.sqrt],
  ['square', [m], tf.square],
  ['squaredDifference', [m, m], tf.squaredDifference],
  ['squeeze', [[3, 1, 4]], (x) => tf.squeeze(x)],
  ['stack', [m, m], (a, b) => tf.stack([a, b], 1)],
  ['step', [m], (x) => tf.step(x, 0.1).add(x)],
  ['sub', [m, [4]], tf.sub],
  ['sum', [m], (x) => tf.sum(x, 1, true)],
  ['tan', [m], tf.tan],
  ['tanh', [m], tf.tanh],
  ['tile', [m], (x) => tf.tile(x, [2, 3])],
  ['transpose', [[2, 3, 4]], (x) => tf.transpose(x, [2, 0, 1])],
  ['unsortedSegmentSum', [m], (x) => tf.unsortedSegmentSum(x, ids(1, -1, 1), 2)],
  ['unstack', [m], (x) => tf.unstack(x, 1)[2]!],
  ['where', [m, m], (a, b) => tf.where(tf.tensor1d([true, false, false, true]).broadcastTo(m), a, b)],
  ['losses.absoluteDifference', [m, m], (a, b) => tf.losses.absoluteDifference(a, b)],
  ['losses.cosineDistance', [m, m], (a, b) => tf.losses.cosineDistance(a, b, 1)],
  ['losses.hingeLoss', [m], (x) => tf.losses.hingeLoss(classes(), x)],
  ['losses.huberLoss', [m, m], (a, b) => tf.losses.huberLoss(a, b, undefined, 0.5)],
  ['losses.logLoss', [within(0.1, 0.9)], (x) => tf.losses.logLoss(classes(), x)],
  ['losses.meanSquaredError', [m, m], (a, b) => tf.losses.meanSquaredError(a, b)],
  ['losses.sigmoidCrossEntropy', [m], (x) => tf.losses.sigmoidCrossEntropy(classes(), x)],
  ['losses.softmaxCrossEntropy', [m], (x) => tf.losses.softmaxCrossEntropy(classes(), x)],
]

/** An op's result and the gradient of a weighted sum of it for every input. */
function opAndGradients([, inputs, op]: OpRow): tf.Tensor[] {
  const random = generator(1)
  const values = inputs.map((input) => {
    const { shape, low, high } = 'shape' in input ? input : { shape: input, low: -1, high: 1 }
    return tf.tensor(random.floats(shape, low, high), [...shape])
  })
  const result = op(...values)
  const weights = tf.tensor(random.floats(result.shape), result.shape)
  return [result, ...tf.grads((...x) => tf.sum(tf.mul(op(...x), weights)))(values)]
}

comparing('every op has the gradient on wasm that it has on cpu', () => {
  it.each(ops.map((row) => [row[0], row] as const))('%s', async (_, row) => {
    await agree(() => opAndGradients(row))
  })
})

type LayerRow = readonly [name: string, inputs: readonly (readonly number[])[], make: () => tf.layers.Layer]

const sequence = [5, 3]
const picture = [6, 6, 2]
/** The default, orthogonal, takes a while; every weight is set from the generator anyway. */
const recurrent = { recurrentInitializer: 'zeros' as const }

// biome-ignore format: one row per line
const layers: readonly LayerRow[] = [
  ['dense', [[4]], () => tf.layers.dense({ units: 3, activation: 'tanh' })],
  ['dense on a sequence', [sequence], () => tf.layers.dense({ units: 4, activation: 'softmax' })],
  ['activation gelu', [[4]], () => tf.layers.activation({ activation: 'gelu' })],
  ['conv1d', [sequence], () => tf.layers.conv1d({ filters: 4, kernelSize: 3, padding: 'same' })],
  ['conv2d', [picture], () => tf.layers.conv2d({ filters: 4, kernelSize: 3, activation: 'relu' })],
  ['conv2d channelsFirst', [[2, 6, 6]], () => tf.layers.conv2d({ filters: 4, kernelSize: 3, dataFormat: 'channelsFirst' })],
  ['conv2dTranspose', [picture], () => tf.layers.conv2dTranspose({ filters: 3, kernelSize: 3, strides: 2 })],
  ['convLstm2d', [[3, 4, 4, 1]], () => tf.layers.convLstm2d({ filters: 2, kernelSize: 2, ...recurrent })],
  ['depthwiseConv2d', [picture], () => tf.layers.depthwiseConv2d({ kernelSize: 3, depthMultiplier: 2 })],
  ['separableConv2d', [picture], () => tf.layers.separableConv2d({ filters: 3, kernelSize: 3 })],
  ['averagePooling1d', [sequence], () => tf.layers.averagePooling1d({ poolSize: 2 })],
  ['averagePooling2d', [picture], () => tf.layers.averagePooling2d({ poolSize: 3, strides: 2, padding: 'same' })],
  ['averagePooling3d', [[4, 4, 4, 1]], () => tf.layers.averagePooling3d({ poolSize: 2 })],
  ['globalMaxPooling1d', [sequence], () => tf.layers.globalMaxPooling1d()],
  ['globalMaxPooling2d', [picture], () => tf.layers.globalMaxPooling2d({})],
  ['globalAveragePooling1d', [sequence], () => tf.layers.globalAveragePooling1d()],
  ['globalAveragePooling2d', [picture], () => tf.layers.globalAveragePooling2d({})],
  ['batchNormalization', [[4]], () => tf.layers.batchNormalization()],
  ['batchNormalization of pictures', [picture], () => tf.layers.batchNormalization()],
  ['layerNormalization', [sequence], () => tf.layers.layerNormalization()],
  ['dropout', [[8]], () => tf.layers.dropout({ rate: 0.5, seed: 7 })],
  ['embedding', [[6]], () => tf.layers.embedding({ inputDim: 9, outputDim: 4 })],
  ['simpleRNN', [sequence], () => tf.layers.simpleRNN({ units: 3, ...recurrent })],
  ['gru', [sequence], () => tf.layers.gru({ units: 3, ...recurrent })],
  ['lstm', [sequence], () => tf.layers.lstm({ units: 3, returnSequences: true, ...recurrent })],
  ['bidirectional', [sequence], () => tf.layers.bidirectional({ layer: tf.layers.lstm({ units: 2, ...recurrent }) as tf.RNN })],
  ['timeDistributed', [sequence], () => tf.layers.timeDistributed({ layer: tf.layers.dense({ units: 2 }) })],
  ['flatten', [picture], () => tf.layers.flatten()],
  ['reshape', [picture], () => tf.layers.reshape({ targetShape: [4, 18] })],
  ['permute', [sequence], () => tf.layers.permute({ dims: [2, 1] })],
  ['repeatVector', [[4]], () => tf.layers.repeatVector({ n: 3 })],
  ['zeroPadding2d', [picture], () => tf.layers.zeroPadding2d({ padding: 1 })],
  ['cropping2D', [picture], () => tf.layers.cropping2D({ cropping: [[1, 0], [0, 2]] })],
  ['reLU', [[4]], () => tf.layers.reLU({ maxValue: 0.5 })],
  ['prelu', [[4]], () => tf.layers.prelu()],
  ['leakyReLU', [[4]], () => tf.layers.leakyReLU()],
  ['elu', [[4]], () => tf.layers.elu()],
  ['softmax', [[4]], () => tf.layers.softmax()],
  ['add', [[4], [4]], () => tf.layers.add()],
  ['multiply', [[4], [4]], () => tf.layers.multiply()],
  ['average', [[4], [4]], () => tf.layers.average()],
  ['maximum', [[4], [4]], () => tf.layers.maximum()],
  ['minimum', [[4], [4]], () => tf.layers.minimum()],
  ['concatenate', [[4], [3]], () => tf.layers.concatenate()],
  ['dot', [[4], [4]], () => tf.layers.dot({ axes: 1 })],
]

/** A layer's output in training, and the gradients for its float inputs and trainable weights, in that order. */
function layerAndGradients([name, inputs, make]: LayerRow): tf.Tensor[] {
  const batch = 3
  const random = generator(2)
  const symbolic = inputs.map((shape) => tf.input({ shape: [...shape] }))
  const output = make().apply(symbolic.length === 1 ? symbolic[0]! : symbolic) as tf.SymbolicTensor
  const model = tf.model({ inputs: symbolic, outputs: output })
  model.setWeights(model.getWeights().map(({ shape }) => tf.tensor(random.floats(shape), shape)))
  const values = inputs.map((shape) => {
    const full = [batch, ...shape]
    if (name === 'embedding') return tf.tensor(random.floats(full, 0, 9).map(Math.floor), full)
    return tf.variable(tf.tensor(random.floats(full), full))
  })
  try {
    const apply = () => model.apply(values.length === 1 ? values[0]! : values, { training: true }) as tf.Tensor
    const result = apply()
    const weights = tf.tensor(random.floats(result.shape), result.shape)
    const { grads } = tf.variableGrads(() => tf.sum(tf.mul(apply(), weights)).asScalar())
    return [result, ...Object.values(grads)]
  } finally {
    for (const value of values) value.dispose()
    model.dispose()
  }
}

comparing('every layer trains on wasm as on cpu', () => {
  it.each(layers.map((row) => [row[0], row] as const))('%s', async (_, row) => {
    await agree(() => layerAndGradients(row))
  })
})

// The rows of the next three tables are facts about tfjs 4.22. When one fails after an update of tfjs, a fault was mended
// there: move it to the tables above.

type Fact = readonly [name: string, compute: () => tf.Tensor[], message: RegExp]
const op = (inputs: readonly Input[], run: OpRow[2]) => () => opAndGradients(['', inputs, run])
const layer = (input: readonly number[], make: LayerRow[2]) => () => layerAndGradients(['', [input], make])

comparing('what tfjs cannot differentiate fails on wasm as on cpu', () => {
  // biome-ignore format: one row per line
  const rows: readonly Fact[] = [
    ['conv2d, dilated', op([image, [2, 2, 3, 4]], (x, w) => tf.conv2d(as4(x), as4(w), 1, 'same', 'NHWC', 2)), /dilation rates/],
    ['depthwiseConv2d, dilated', op([image, [2, 2, 3, 1]], (x, w) => tf.depthwiseConv2d(as4(x), as4(w), 1, 'same', 'NHWC', 2)), /dilation rates/],
    ['cumprod', op([m], (x) => tf.cumprod(x, 1)), /not found for Cumprod/],
    ['depthToSpace', op([[1, 2, 2, 4]], (x) => tf.depthToSpace(as4(x), 2, 'NHWC')), /not found for DepthToSpace/],
    ['divNoNan', op([m, within(0.5, 2)], tf.divNoNan), /not found for Equal/],
    ['gatherND', op([m], (x) => tf.gatherND(x, tf.tensor2d([[1, 2]], [1, 2], 'int32'))), /not found for GatherNd/],
    ['squaredDifference, broadcasting', op([m, [4]], tf.squaredDifference), /does not match the shape/],
    ['stridedSlice', op([m], (x) => tf.stridedSlice(x, [0, 0], [3, 4], [2, 2])), /not found for StridedSlice/],
    ['topk', op([m], (x) => tf.topk(x, 2).values), /not found for TopK/],
    ['where, its condition computed', op([m, m], (a, b) => tf.where(tf.greater(a, b), a, b)), /not found for Greater/],
    ['layer conv1d, causal', layer(sequence, () => tf.layers.conv1d({ filters: 4, kernelSize: 3, padding: 'causal' })), /CAUSAL padding/],
    ['layer conv3dTranspose', layer([2, 2, 2, 2], () => tf.layers.conv3dTranspose({ filters: 2, kernelSize: 2 })), /not found for Conv3DBackpropInputV2/],
    ['layer masking, its input', layer(sequence, () => tf.layers.masking({})), /not found for Any/],
    ['layer thresholdedReLU, its input', layer([4], () => tf.layers.thresholdedReLU({ theta: 0.2 })), /not found for Greater/],
  ]
  it.each(rows)('%s', async (_, compute, message) => {
    for (const backend of backends) await expect(run(backend, compute), backend).rejects.toThrow(message)
  })
})

comparing('what wasm refuses and cpu does', () => {
  // biome-ignore format: one row per line
  const rows: readonly Fact[] = [
    ['conv2d NCHW', op([[1, 3, 5, 5], [2, 2, 3, 4]], (x, w) => tf.conv2d(as4(x), as4(w), 1, 'valid', 'NCHW')), /does not support dataFormat/],
    ['matMul of int32', () => [tf.matMul(tf.ones([2, 2], 'int32'), tf.ones([2, 2], 'int32'))], /non-float32/],
    ['complex numbers', () => [tf.complex([1], [2])], /Kernel 'Complex' not registered/],
  ]
  it.each(rows)('%s', async (_, compute, message) => {
    await expect(run('wasm', compute)).rejects.toThrow(message)
  })
})

comparing('kernels of tfjs that are wrong on wasm, without an error', () => {
  const negative = (shape: readonly number[]) => within(-2, -1, shape)
  type Wrong = readonly [name: string, compute: () => tf.Tensor[]]

  // biome-ignore format: one row per line
  const mended: readonly Wrong[] = [
    ['maxPool where no number is positive', op([negative(image)], (x) => tf.maxPool(as4(x), 2, 2, 'valid'))],
    ['maxPool, padded', op([negative(image)], (x) => tf.maxPool(as4(x), 3, 2, 'same'))],
    ['layer maxPooling1d', layer(sequence, () => tf.layers.maxPooling1d({ poolSize: 2 }))],
    ['layer maxPooling2d', layer(picture, () => tf.layers.maxPooling2d({ poolSize: 2 }))],
  ]
  describe('as long as nobody mends them', () => {
    // biome-ignore format: one row per line
    const unmended: readonly Wrong[] = [
      ['conv3d, its input', op([volume], (x) => tf.conv3d(as5(x), tf.ones([2, 2, 2, 2, 3]), 1, 'same').mul(tf.range(0, 192).reshape([1, 4, 4, 4, 3])))],
      ['dilation2d where no number is positive', op([negative(image), [2, 2, 3]], (x, w) => tf.dilation2d(as4(x), as3(w), 1, 'valid'))],
      ['maxPool3d where no number is positive', op([negative(volume)], (x) => tf.maxPool3d(as5(x), 2, 2, 'valid'))],
      ['maxPoolWithArgmax where no number is positive', () => [tf.maxPoolWithArgmax(as4(tf.fill([1, 2, 2, 1], -1)), 2, 2, 'valid').result!]],
    ]
    it.each(unmended)('%s', async (_, compute) => {
      await expect(agree(compute)).rejects.toThrow(/result \d/)
    })
  })

  describe('ready() mends', () => {
    it.each(mended)('%s', async (_, compute) => {
      await agree(compute)
    })
  })
})

comparing('our kernels agree with those of cpu on random shapes', () => {
  const size = (max: number) => fc.integer({ min: 1, max })
  const convolution = fc.record({
    seed: fc.integer(),
    batch: size(3),
    height: size(8),
    width: size(8),
    channels: size(3),
    outputs: size(3),
    filter: fc.tuple(size(4), size(4)),
    strides: fc.tuple(size(3), size(3)),
    dilations: fc.tuple(size(3), size(3)),
    pad: fc.oneof(
      fc.constantFrom('same' as const, 'valid' as const),
      fc.integer({ min: 0, max: 3 }),
      fc.tuple(...Array.from({ length: 4 }, () => fc.integer({ min: 0, max: 4 }))).map(
        ([t, b, l, r]) =>
          [
            [0, 0],
            [t, b],
            [l, r],
            [0, 0],
          ] as tf.backend_util.ExplicitPadding,
      ),
    ),
    channelsFirst: fc.boolean(),
  })
  type Convolution = typeof convolution extends fc.Arbitrary<infer T> ? T : never

  const expanded = (length: number, dilation: number) => (length - 1) * dilation + 1

  /** The shape of the output, or nothing for windows that do not fit. */
  function outputShape(c: Convolution, dilations: [number, number], depthwise: boolean): number[] | undefined {
    const filter: [number, number, number, number] = [...c.filter, c.channels, c.outputs]
    const input: [number, number, number, number] = [c.batch, c.height, c.width, c.channels]
    const { outShape } = tf.backend_util.computeConv2DInfo(
      input,
      filter,
      c.strides,
      dilations,
      c.pad,
      'floor',
      depthwise,
    )
    return outShape.every((length) => length > 0) ? outShape : undefined
  }

  it('Conv2DBackpropFilter: strides, padding and both layouts', async () => {
    await fc.assert(
      fc.asyncProperty(convolution, async (c) => {
        const outShape = outputShape(c, [1, 1], false)
        fc.pre(outShape !== undefined)
        const toLayout = (t: tf.Tensor) => (c.channelsFirst ? tf.transpose(t, [0, 3, 1, 2]) : t)
        const pad = c.channelsFirst && Array.isArray(c.pad) ? [c.pad[0], c.pad[3], c.pad[1], c.pad[2]] : c.pad
        await agree(() => {
          const random = generator(c.seed)
          const shape = [c.batch, c.height, c.width, c.channels]
          const x = toLayout(tf.tensor(random.floats(shape), shape))
          const dy = toLayout(tf.tensor(random.floats(outShape!), outShape))
          const dataFormat = c.channelsFirst ? 'NCHW' : 'NHWC'
          const filterShape = [...c.filter, c.channels, c.outputs]
          const attrs = { strides: c.strides, pad, dataFormat, dimRoundingMode: 'floor', filterShape }
          return [kernel('Conv2DBackpropFilter', { x, dy }, attrs)]
        })
      }),
      { numRuns: 200 },
    )
  })

  // tfjs's cpu kernels leave the dilations out of their loops. A filter dilated by d is a filter with d − 1 zeros
  // between its taps, so their reference is the undilated gradient of that.
  const dilated = convolution.filter(
    ({ strides, dilations }) => Math.max(...strides) === 1 || Math.max(...dilations) === 1,
  )

  it('DepthwiseConv2dNativeBackpropFilter: strides, dilations, padding, channel multipliers', async () => {
    await fc.assert(
      fc.asyncProperty(dilated, async (c) => {
        const outShape = outputShape(c, c.dilations, true)
        fc.pre(outShape !== undefined)
        const [height, width] = c.filter
        const [dh, dw] = c.dilations
        const gradient = (size: [number, number], dilations: [number, number]) => {
          const random = generator(c.seed)
          const shape = [c.batch, c.height, c.width, c.channels]
          const x = tf.tensor(random.floats(shape), shape)
          const dy = tf.tensor(random.floats(outShape!), outShape)
          const filterShape = [...size, c.channels, c.outputs]
          const attrs = { strides: c.strides, dilations, pad: c.pad, dimRoundingMode: 'floor', filterShape }
          return kernel('DepthwiseConv2dNativeBackpropFilter', { x, dy }, attrs)
        }
        const actual = await run('wasm', () => [gradient(c.filter, c.dilations)])
        const expected = await run('cpu', () => {
          const whole: [number, number] = [expanded(height, dh), expanded(width, dw)]
          return [
            tf.stridedSlice(gradient(whole, [1, 1]), [0, 0, 0, 0], [...whole, c.channels, c.outputs], [dh, dw, 1, 1]),
          ]
        })
        expectClose(actual, expected)
      }),
      { numRuns: 200 },
    )
  })

  it('DepthwiseConv2dNativeBackpropInput: strides, dilations, padding, channel multipliers', async () => {
    await fc.assert(
      fc.asyncProperty(dilated, async (c) => {
        const outShape = outputShape(c, c.dilations, true)
        fc.pre(outShape !== undefined)
        const [height, width] = c.filter
        const [dh, dw] = c.dilations
        const gradient = (dilations: [number, number], prepare: (filter: tf.Tensor) => tf.Tensor) => {
          const random = generator(c.seed)
          const shape = [...c.filter, c.channels, c.outputs]
          const filter = prepare(tf.tensor(random.floats(shape), shape))
          const dy = tf.tensor(random.floats(outShape!), outShape)
          const inputShape = [c.batch, c.height, c.width, c.channels]
          const attrs = { strides: c.strides, dilations, pad: c.pad, dimRoundingMode: 'floor', inputShape }
          return kernel('DepthwiseConv2dNativeBackpropInput', { dy, filter }, attrs)
        }
        const withZeros = (filter: tf.Tensor) => {
          const apart = filter.reshape([height, 1, width, 1, c.channels * c.outputs])
          const padded = tf.pad(apart, [
            [0, 0],
            [0, dh - 1],
            [0, 0],
            [0, dw - 1],
            [0, 0],
          ])
          const whole = padded.reshape([height * dh, width * dw, c.channels, c.outputs])
          return tf.slice(whole, [0, 0, 0, 0], [expanded(height, dh), expanded(width, dw), c.channels, c.outputs])
        }
        const actual = await run('wasm', () => [gradient(c.dilations, (filter) => filter)])
        expectClose(actual, await run('cpu', () => [gradient([1, 1], withZeros)]))
      }),
      { numRuns: 200 },
    )
  })

  it('UnsortedSegmentSum: any ids, negative and too large ones among them', async () => {
    const id = fc.oneof(fc.integer({ min: -2, max: 7 }), fc.constantFrom(2 ** 31 - 1, -(2 ** 31)))
    const segments = fc.record({
      seed: fc.integer(),
      ids: fc.array(id, { minLength: 1, maxLength: 12 }),
      inner: fc.array(size(3), { maxLength: 2 }),
      numSegments: size(6),
      dtype: fc.constantFrom('float32' as const, 'int32' as const),
    })
    await fc.assert(
      fc.asyncProperty(segments, async ({ seed, ids: segmentIds, inner, numSegments, dtype }) => {
        const shape = [segmentIds.length, ...inner]
        await agree(() => {
          const x = tf.tensor(generator(seed).floats(shape, -9, 9), shape).cast(dtype)
          return [tf.unsortedSegmentSum(x, tf.tensor1d(segmentIds, 'int32'), numSegments)]
        })
      }),
      { numRuns: 200 },
    )
  })

  it('Einsum: any equation of one or two operands', async () => {
    // Against loops and not against cpu, which in 4.22 leaves out an operand that has no summed axis: 'ij,i->i' is
    // Σ a[i,j] there.
    const letters = 'abcde'
    const length = (label: string) => 1 + letters.indexOf(label)
    const term = fc.shuffledSubarray([...letters], { minLength: 1, maxLength: 4 })
    const equations = fc
      .record({ seed: fc.integer(), terms: fc.array(term, { minLength: 1, maxLength: 2 }), int: fc.boolean() })
      .chain((row) => fc.shuffledSubarray([...new Set(row.terms.flat())]).map((out) => ({ ...row, out })))

    /** Adds, for every value of every label, the product of what the operands hold there to its place in the result. */
    function slowEinsum(terms: string[][], operands: ArrayLike<number>[], out: string[]): Result {
      const labels = [...new Set(terms.flat())]
      const shape = out.map(length)
      const values = new Float64Array(tf.util.sizeFromShape(shape))
      const offset = (axes: string[], at: Record<string, number>) =>
        axes.reduce((sum, label) => sum * length(label) + at[label]!, 0)
      const visit = (depth: number, at: Record<string, number>): void => {
        const label = labels[depth]
        if (label === undefined) {
          values[offset(out, at)]! += terms.reduce((product, axes, i) => product * operands[i]![offset(axes, at)]!, 1)
          return
        }
        for (let i = 0; i < length(label); i++) visit(depth + 1, { ...at, [label]: i })
      }
      visit(0, {})
      return { shape, values }
    }

    await fc.assert(
      fc.asyncProperty(equations, async ({ seed, terms, out, int }) => {
        const random = generator(seed)
        const operands = terms.map((labels) => {
          const floats = random.floats(labels.map(length), -9, 9)
          return int ? floats.map(Math.trunc) : floats
        })
        const equation = `${terms.map((labels) => labels.join('')).join(',')}->${out.join('')}`
        const actual = await run('wasm', () => {
          const dtype = int ? 'int32' : 'float32'
          const tensors = operands.map((values, i) => tf.tensor(values, terms[i]!.map(length), dtype))
          return [tf.einsum(equation, ...tensors)]
        })
        expectClose(actual, [slowEinsum(terms, operands, out)], 1 + maxTerms(terms, out))
      }),
      { numRuns: 200 },
    )

    /** A sum may cancel to nearly nothing; its rounding is relative to its terms, each at most 81. */
    function maxTerms(terms: string[][], out: string[]): number {
      const summed = [...new Set(terms.flat())].filter((label) => !out.includes(label))
      return 81 * tf.util.sizeFromShape(summed.map(length))
    }
  })
})

describe('the gradient of einsum, which tfjs has on no backend', () => {
  // The cpu backend of 4.22 gets the last two wrong going forward, so there is nothing to differentiate there.
  const equations = ['ij,jk->ik', 'bij,bj->ib', 'ij->j', 'i,jk->jki', 'abc,b->ca', 'ij,kj->', 'ij,jk->ji']
  it.each(testBackend === 'cpu' ? equations.slice(0, -2) : equations)(
    'agrees with central differences: %s',
    (equation) => {
      const [left = ''] = equation.split('->')
      const random = generator(3)
      tf.tidy(() => {
        const operands = left.split(',').map((term) => {
          const shape = [...term].map((label) => 2 + ('aikb'.indexOf(label) % 2))
          return tf.tensor(random.floats(shape), shape)
        })
        const f = (...x: tf.Tensor[]) => {
          const result = tf.einsum(equation, ...x)
          return tf.sum(tf.mul(result, tf.tensor(generator(4).floats(result.shape), result.shape)))
        }
        const gradients = tf.grads(f)(operands)
        for (const [i, operand] of operands.entries()) {
          // f is linear in each operand, so a step of 1 has no error but rounding: 24 terms of at most 3.
          const values = operand.dataSync()
          const moved = (j: number, by: number) => {
            const copy = Float32Array.from(values)
            copy[j]! += by
            return f(...operands.map((x, k) => (k === i ? tf.tensor(copy, operand.shape) : x))).dataSync()[0]!
          }
          const analytic = gradients[i]!.dataSync()
          for (let j = 0; j < values.length; j++) {
            expect(Math.abs(analytic[j]! - (moved(j, 1) - moved(j, -1)) / 2)).toBeLessThan(72 * 2 ** -24)
          }
        }
      })
    },
  )
})

comparing('the kernels of wasm', () => {
  it('are registered once, and those of tfjs stay', async () => {
    const names = tf.getKernelsForBackend('wasm').map(({ kernelName }) => kernelName)
    const before = names.map((name) => tf.getKernel(name, 'wasm'))
    await ready({ backend: 'wasm' })
    expect(names.map((name) => tf.getKernel(name, 'wasm'))).toEqual(before)
    expect(new Set(names).size).toBe(names.length)
    expect(tf.getKernelsForBackend('wasm')).toHaveLength(names.length)
  })

  it('UnsortedSegmentSum keeps an infinite row in its own segment', () => {
    const sums = tf.tidy(() => [...tf.unsortedSegmentSum(tf.tensor1d([Infinity, 2]), ids(0, 1), 2).dataSync()])
    expect(sums).toEqual([Infinity, 2])
  })

  it('leave one node each on the tape, not one for every op inside', () => {
    const engine = tf.engine() as unknown as {
      startTape(): void
      endTape(): void
      state: { activeTape: { kernelName: string }[] }
    }
    const x = tf.ones([2, 4, 4, 2])
    const attrs = { strides: 1, pad: 'same', dataFormat: 'NHWC', filterShape: [3, 3, 2, 2] }
    tf.tidy(() => {
      engine.startTape()
      kernel('Conv2DBackpropFilter', { x, dy: x }, attrs)
      tf.einsum('abcd,abce->de', x, x)
      const names = engine.state.activeTape.map(({ kernelName }) => kernelName)
      engine.endTape()
      // The clones that tfjs keeps for the backward pass are nodes too, named after the op's scope.
      expect(names.filter((name) => !name.endsWith('__op'))).toEqual(['Conv2DBackpropFilter', 'Einsum'])
    })
    x.dispose()
  })

  it('refuse what they cannot compute', () => {
    const x = tf.ones([2, 3])
    const text = tf.tensor1d(['a', 'b'])
    const sum = (input: tf.Tensor, segmentIds: tf.Tensor) =>
      kernel('UnsortedSegmentSum', { x: input, segmentIds }, { numSegments: 2 })
    expect(() => sum(x, ids(0, 1, 1))).toThrow(expect.objectContaining({ code: 'ERR_SHAPE' }))
    expect(() => sum(x, tf.ones([2]))).toThrow(expect.objectContaining({ code: 'ERR_DTYPE' }))
    expect(() => sum(text, ids(0, 1))).toThrow(expect.objectContaining({ code: 'ERR_DTYPE' }))
    expect(() => tf.einsum('ij->jj', x)).toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT_VALUE' }))
    expect(() => tf.einsum('ij,jk->ik', x, x)).toThrow(/Expected dimension/)
    expect(() => tf.einsum('ii->', x)).toThrow(/duplicate axes/)
  })

  const counts = () => {
    const backend = tf.backend() as unknown as { numDataIds(): number }
    return { tensors: tf.memory().numTensors, bytes: tf.memory().numBytes, data: backend.numDataIds() }
  }

  it('leave no tensor and no memory behind, and this test would see it', async () => {
    await tf.setBackend('wasm')
    const before = counts()
    const forgotten = tf.ones([2])
    expect(counts()).not.toEqual(before)
    forgotten.dispose()
    const used = /conv|gather|embedding|einsum|Segment/i
    for (let i = 0; i < 5; i++) {
      for (const row of ops.filter(([name]) => used.test(name))) tf.dispose(tf.tidy(() => opAndGradients(row)))
      for (const row of layers.filter(([name]) => used.test(name))) tf.dispose(tf.tidy(() => layerAndGradients(row)))
      // Outside of any tidy nobody but the kernel itself cleans up.
      const [x, dy, filter] = [tf.ones([2, 5, 5, 2]), tf.ones([2, 3, 3, 4]), tf.ones([2, 2, 2, 2])] as const
      const twoIds = ids(1, 0)
      const attrs = { strides: 2, dilations: 1, pad: 'same', dataFormat: 'NHWC' }
      tf.dispose([
        kernel('Conv2DBackpropFilter', { x, dy }, { ...attrs, filterShape: [3, 3, 2, 4] }),
        kernel('DepthwiseConv2dNativeBackpropFilter', { x, dy }, { ...attrs, filterShape: [2, 2, 2, 2] }),
        kernel('DepthwiseConv2dNativeBackpropInput', { dy, filter }, { ...attrs, inputShape: [2, 5, 5, 2] }),
        tf.einsum('abcd,efgd->abe', x, filter),
        tf.einsum('abcd->abcd', x),
        tf.unsortedSegmentSum(x, twoIds, 2),
      ])
      tf.dispose([x, dy, filter, twoIds])
    }
    expect(counts()).toEqual(before)
  })
})

afterAll(() => {
  tf.disposeVariables()
})
