/**
 * Split learning on MNIST, by hand with pointers: the images stay with alice, the labels with bob. (split-forms.ts has this
 * and the other forms, with SplitNN.)
 *
 * Alice holds the lower part of the network (784-128-640, ReLU), bob the upper (640-10, log-softmax). Activations go
 * from alice to bob, their gradients back; the researcher who runs this script sees losses, predictions and the trained
 * network, and neither an image nor a label. Run with --help for the options.
 */
import {
  accuracy,
  batches,
  confusion,
  hook,
  loadMnist,
  noGrad,
  type PointerTensor,
  type RemoteModel,
  ready,
  scope,
  tf,
  type Worker,
  whoSawWhat,
} from 'sotto'
import { dense } from './lib/dense.ts'
import { command, isMain, optimizerOf, positiveNumber, printTable, progress, wholeNumber } from './lib/options.ts'
import { printTraffic } from './lib/traffic.ts'
import { fetchWeights, numberOf, type Weight } from './lib/weights.ts'
import { startWorkers, type WorkerKind, workersOption } from './lib/workers.ts'

export interface TrainingOptions {
  epochs: number
  batchSize: number
  learningRate: number
  optimizer: string
  seed: number
}

export interface SplitMnistOptions extends TrainingOptions {
  /** Training images used; 0 for all. */
  limit: number
  workers: WorkerKind
}

export interface SplitMnistResult {
  /** Mean training loss of each epoch. */
  losses: number[]
  /** Share of the test images that were recognised. */
  testAccuracy: number
  /** What was refused when the researcher asked for an image. */
  refusal: string
  weights: Weight[]
}

export async function splitMnist(options: SplitMnistOptions): Promise<SplitMnistResult> {
  const { limit } = options
  console.log(`Split-MNIST on the ${await ready()} backend`)
  hook()
  const { train, test, source } = await loadMnist(limit > 0 ? { limit, testLimit: limit } : {})
  console.log(`${train.count} training and ${test.count} test images (${source})`)

  await using workers = await startWorkers(options.workers, ['alice', 'bob'])
  const [alice, bob] = workers.all

  // The owners bring their data themselves. What is computed from it may be seen by the other owner and the researcher.
  const results = { private: true, allowResults: ['alice', 'bob', 'me'] }
  const own = { alice: alice.as('alice'), bob: bob.as('bob') }
  train.images().send(own.alice, { ...results, tags: ['#mnist', '#train', '#images'] })
  train.labelsTensor().send(own.bob, { ...results, tags: ['#mnist', '#train', '#labels'] })
  test.images().send(own.alice, { ...results, tags: ['#mnist', '#test', '#images'] })
  await Promise.all([own.alice.flush(), own.bob.flush()])
  return await research({ alice, bob, testLabels: test.labels }, options)
}

/** Who has what: images on alice, their labels on bob, and with the researcher the labels of the test images. */
export interface Cast {
  readonly alice: Worker
  readonly bob: Worker
  readonly testLabels: ArrayLike<number>
}

/** The researcher's part: finds what there is, and may compute with it, but not look. */
export async function research({ alice, bob, testLabels }: Cast, options: TrainingOptions): Promise<SplitMnistResult> {
  const { epochs, batchSize, learningRate, seed } = options
  alice.addWorkers([bob])
  const [images] = await alice.search(['#train', '#images'])
  const [labels] = await bob.search(['#train', '#labels'])
  const [testImages] = await alice.search(['#test', '#images'])
  const refusal = await images!.fetch().then(
    () => 'nothing was refused',
    (error: Error) => error.message,
  )
  console.log(`The researcher asks for the images: ${refusal}`)

  const bottom = tf
    .sequential({ layers: [dense(128, 784, 10 * seed, 'relu'), dense(640, 128, 10 * seed + 2, 'relu')] })
    .send(alice)
  const top = tf.sequential({ layers: [dense(10, 640, 10 * seed + 4)] }).send(bob)
  const optimizer = optimizerOf(options.optimizer, [...bottom.parameters(), ...top.parameters()], learningRate)

  const losses: number[] = []
  const count = images!.shape[0]!
  const steps = Math.ceil(count / batchSize)
  for (let epoch = 1; epoch <= epochs; epoch++) {
    const started = performance.now()
    const bar = progress(steps, `epoch ${epoch}/${epochs} {bar} {percentage}%  loss {loss}  {eta_formatted} left`)
    // Both owners take the rows in the same order. Losses add up on bob: nothing is waited for.
    let total = tf.scalar(0).send(bob)
    let step = 0
    for (const rows of batches(count, { batchSize, shuffle: true, seed: 1000 * seed + epoch })) {
      const sum = scope(() => {
        const chosen = tf.tensor1d(rows, 'int32')
        const activations = bottom.apply(images!.gather(chosen.send(alice))).move(bob, { requiresGrad: true })
        const loss = top
          .apply(activations)
          .logSoftmax()
          .nllLoss(labels!.gather(chosen.send(bob)))
        chosen.dispose()
        loss.backward()
        optimizer.step()
        optimizer.zeroGrad()
        return total.add(loss.detach().mul(rows.length))
      })
      total.dispose()
      total = sum
      step++
      if (step % 20 === 0) bar.update(step, { loss: ((await numberOf(total)) / (step * batchSize)).toFixed(4) })
    }
    bar.stop()
    losses.push((await numberOf(total)) / count)
    total.dispose()
    const seconds = (performance.now() - started) / 1000
    console.log(`epoch ${epoch}: training loss ${losses.at(-1)!.toFixed(4)}, ${seconds.toFixed(1)} s`)
  }

  const predicted = await predict(bottom.eval(), top.eval(), testImages!)
  const testAccuracy = accuracy(predicted, testLabels)
  console.log(`Test accuracy: ${(100 * testAccuracy).toFixed(2)} % of ${predicted.length} images`)
  printTable(
    'Digits (rows) and what they were taken for (columns)',
    ['', ...Array.from({ length: 10 }, (_, digit) => String(digit))],
    confusion(predicted, testLabels, 10).map((row, digit) => [digit, ...row]),
  )
  printTable(
    'Training loss',
    ['epoch', 'loss'],
    losses.map((loss, i) => [i + 1, loss.toFixed(4)]),
  )
  const weights = await fetchWeights([...bottom.parameters(), ...top.parameters()])
  await printTraffic([alice, bob])
  await whoSawWhat([alice, bob])
  return { losses, testAccuracy, refusal, weights }
}

/** The classes that the split network gives the images on alice, a thousand at a time. */
async function predict(bottom: RemoteModel, top: RemoteModel, images: PointerTensor): Promise<Int32Array> {
  const count = images.shape[0]!
  const classes = new Int32Array(count)
  const CHUNK = 1000
  for (let at = 0; at < count; at += CHUNK) {
    const size = Math.min(CHUNK, count - at)
    const chunk = noGrad(() =>
      scope(() => {
        const activations = bottom.apply(images.slice([at, 0], [size, 784])).move(top.location)
        return top.apply(activations).argMax(1)
      }),
    )
    const tensor = await chunk.get()
    classes.set(tensor.dataSync() as Int32Array, at)
    tensor.dispose()
  }
  return classes
}

if (isMain(import.meta.url)) {
  const program = command('split-mnist', 'Split learning on MNIST: images on alice, labels on bob.')
    .option('--epochs <n>', 'passes over the training images', wholeNumber, 15)
    .option('--batch-size <n>', 'images per step', wholeNumber, 64)
    .option('--learning-rate <rate>', 'step size', positiveNumber, 0.03)
    .option('--optimizer <name>', 'sgd, adam, adamax, adagrad, rmsprop or adadelta', 'sgd')
    .option('--seed <n>', 'for weights and shuffling', wholeNumber, 1)
    .option('--limit <n>', 'use so many images only; 0 for all', wholeNumber, 0)
    .addOption(workersOption())
    .parse()
  await splitMnist(program.opts())
}
