import { batches, optim, scope, tf } from 'sotto'
import { expect, it } from 'vitest'
import { testBackend } from '../backend.ts'
import { firstDigits } from '../mnist.ts'
import { onEveryWorker } from './workers.ts'

/** The demo's widths where they are quick; narrower where the suite runs for the sake of the transport. */
const layers = (seed: number, [first, second]: readonly [number, number]) => ({
  bottom: tf.sequential({
    layers: [
      tf.layers.dense({
        units: first,
        inputShape: [784],
        activation: 'relu',
        kernelInitializer: tf.initializers.glorotUniform({ seed }),
      }),
      tf.layers.dense({
        units: second,
        activation: 'relu',
        kernelInitializer: tf.initializers.glorotUniform({ seed: seed + 1 }),
      }),
    ],
  }),
  top: tf.sequential({
    layers: [
      tf.layers.dense({
        units: 10,
        inputShape: [second],
        kernelInitializer: tf.initializers.glorotUniform({ seed: seed + 2 }),
      }),
    ],
  }),
})

onEveryWorker((worker, kind) => {
  const isWhole = kind === 'in process' && testBackend !== 'cpu'
  // Three times all batches; elsewhere more than once: the steps after them send what those have sent.
  const STEPS = process.env['SOTTO_LONG'] ? 200 : isWhole ? 30 : 15
  it(`trains split over two workers as tfjs trains the whole net in one process, for ${STEPS} steps`, async (test) => {
    if (kind.includes('latency')) test.skip('the same frames at another time; the other suites cover that')
    const train = await firstDigits(640)
    const images = train.images()
    const labels = train.labelsTensor()

    const [alice, bob] = [worker('alice'), worker('bob')]
    const widths = isWhole ? ([128, 640] as const) : ([32, 48] as const)
    const { bottom, top } = layers(1, widths)
    const [near, far] = [bottom.send(alice), top.send(bob)]
    const [x, y] = [images.send(alice), labels.send(bob)]
    const optimizer = optim.sgd([...near.parameters(), ...far.parameters()], { learningRate: 0.03 })

    const whole = layers(1, widths)
    const sgd = tf.train.sgd(0.03)
    let step = 0
    while (step < STEPS) {
      for (const rows of batches(train.count, { batchSize: 64, seed: 100 + step })) {
        if (step === STEPS) break
        const chosen = tf.tensor1d(rows, 'int32')
        const loss = scope(() => {
          const cut = near.apply(x.gather(chosen.send(alice))).move(bob, { requiresGrad: true })
          const value = far
            .apply(cut)
            .logSoftmax()
            .nllLoss(y.gather(chosen.send(bob)))
          value.backward()
          optimizer.step()
          optimizer.zeroGrad()
          return value
        })
        const expected = sgd.minimize(() => {
          const logits = whole.top.apply(whole.bottom.apply(images.gather(chosen))) as tf.Tensor
          const oneHot = tf.oneHot(labels.gather(chosen), 10)
          return tf.mul(oneHot, tf.logSoftmax(logits)).sum(1).neg().mean().asScalar()
        }, true)!
        const split = await loss.get()
        const [a, b] = [split.dataSync()[0]!, expected.dataSync()[0]!]
        expect(Math.abs(a - b) / b, `step ${step}: ${a} split, ${b} whole`).toBeLessThan(1e-4)
        tf.dispose([chosen, split, expected])
        step++
      }
    }
  })
})
