/**
 * Does a convolutional net train on wasm, and how much faster than on the cpu backend?
 *
 * One training step (loss and all gradients) of a LeNet-like net, 28×28×1 → conv 5×5, 8 → pool → conv 5×5, 16 → pool →
 * dense 10, batch 64. On wasm the gradients of the filters are Sotto's kernels: tfjs 4.22 has none there.
 *
 * Run: npx tsx bench/conv-training.ts [rounds]
 */
import { ready, tf } from '../src/index.ts'

const backends = ['wasm', 'cpu'] as const
const batch = 64

/** The net and its data on the backend in use; both backends get the same numbers. */
function makeStep() {
  const normal = (shape: number[], deviation: number, seed: number) =>
    tf.variable(tf.randomNormal(shape, 0, deviation, 'float32', seed))
  const conv1 = normal([5, 5, 1, 8], 0.2, 1) as tf.Variable<tf.Rank.R4>
  const bias1 = tf.variable(tf.zeros([8]))
  const conv2 = normal([5, 5, 8, 16], 0.1, 2) as tf.Variable<tf.Rank.R4>
  const bias2 = tf.variable(tf.zeros([16]))
  const dense = normal([7 * 7 * 16, 10], 0.05, 3) as tf.Variable<tf.Rank.R2>
  const bias3 = tf.variable(tf.zeros([10]))
  const variables: tf.Variable[] = [conv1, bias1, conv2, bias2, dense, bias3]
  const images = tf.randomUniform<tf.Rank.R4>([batch, 28, 28, 1], 0, 1, 'float32', 4)
  const labels = tf.tidy(() => tf.oneHot(tf.range(0, batch, 1, 'int32').mod(10).toInt(), 10))

  const block = (x: tf.Tensor4D, filter: tf.Tensor4D, bias: tf.Tensor) =>
    tf.maxPool(tf.relu(tf.conv2d(x, filter, 1, 'same').add<tf.Tensor4D>(bias)), 2, 2, 'valid')
  const loss = () => {
    const features = block(block(images, conv1, bias1), conv2, bias2).reshape<tf.Tensor2D>([batch, -1])
    return tf.losses.softmaxCrossEntropy(labels, tf.matMul(features, dense).add(bias3)).asScalar()
  }
  return () => {
    const start = performance.now()
    const { value, grads } = tf.variableGrads(loss, variables)
    const result = value.dataSync()[0]!
    const ms = performance.now() - start
    tf.dispose([value, ...Object.values(grads)])
    return { ms, loss: result }
  }
}

const median = (values: number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!

const rounds = Number(process.argv[2] ?? 3)
const steps = new Map<string, ReturnType<typeof makeStep>>()
for (const backend of backends) {
  await ready({ backend })
  const step = makeStep()
  step() // the first step compiles
  steps.set(backend, step)
}

const times = { wasm: [] as number[], cpu: [] as number[] }
const losses = { wasm: 0, cpu: 0 }
for (let round = 0; round < rounds; round++) {
  for (const backend of backends) {
    await ready({ backend })
    const { ms, loss } = steps.get(backend)!()
    times[backend].push(ms)
    losses[backend] = loss
  }
}

const ratio = median(times.wasm.map((ms, round) => times.cpu[round]! / ms))
console.log(`LeNet-like training step, batch ${batch}, medians of ${rounds} alternating rounds`)
for (const backend of backends) {
  console.log(
    `  ${backend.padEnd(5)} ${median(times[backend]).toFixed(1).padStart(8)} ms   loss ${losses[backend].toFixed(5)}`,
  )
}
console.log(`  wasm is ${ratio.toFixed(0)} times as fast as cpu`)
