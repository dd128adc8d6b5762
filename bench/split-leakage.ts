/**
 * What does the server of a split net learn of the images, and what does each defence buy?
 *
 * Images are on alice, who runs 784-128-cut; what comes out goes to bob, the server, who has the labels and runs
 * cut-64-10. Bob is curious: he has got hold of some of the images, trains a decoder on pairs of activations and images,
 * and rebuilds images that he has never seen. Beside the accuracy stand how well he does and the distance correlation of
 * images and activations. In the U-shape alice has the labels and the last layer too. Of each image he uses what left
 * alice once; in training he gets it again in every epoch, which ε counts.
 *
 * Writes originals beside reconstructions to .cache/split-leakage.svg, or to the file that is named.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import {
  accuracy,
  batches,
  type CutNoise,
  cutNoise,
  cutNoiseEpsilon,
  distanceCorrelation,
  hook,
  type LabelledImages,
  loadMnist,
  noGrad,
  optim,
  type PointerTensor,
  type RemoteModel,
  ready,
  scope,
  tf,
  VirtualWorker,
} from 'sotto'
import { type PictureRow, pictureRows } from './lib/pictures.ts'
import { report, rounded } from './measure.ts'

const [TRAIN, TEST, EPOCHS, BATCH] = [16_000, 2000, 3, 64]
/** Pairs that bob has, of which he keeps some to tell when to stop, and how long he trains on the others. */
const [PAIRS, KEPT, DECODER_EPOCHS, DECODER_BATCH] = [4000, 400, 10, 120]
/** Images that he rebuilds, and those drawn. */
const [REBUILT, DRAWN] = [1000, 12]
/** Rows of the batch on which the distance correlation is taken, and gradients of which labels are guessed. */
const [CORRELATED, GUESSED, KNOWN] = [500, 1000, 100]
const DELTA = 1e-5

interface Defence {
  readonly name: string
  readonly cut?: number
  readonly noise?: CutNoise
  /** Weight of the distance correlation in the loss on alice. */
  readonly lambda?: number
  /** Labels and last layer on alice. */
  readonly isU?: boolean
}

const clip = 1
const defences: readonly Defence[] = [
  { name: 'nothing' },
  { name: 'U-shape: labels stay', isU: true },
  { name: 'cut of 16', cut: 16 },
  { name: 'cut of 256', cut: 256 },
  { name: 'noise 0.1', noise: { clip, noiseMultiplier: 0.1 } },
  { name: 'noise 0.3', noise: { clip, noiseMultiplier: 0.3 } },
  { name: 'noise 1', noise: { clip, noiseMultiplier: 1 } },
  { name: 'NoPeek 1', lambda: 1 },
  { name: 'NoPeek 5', lambda: 5 },
]

/** Dense layers with relu between them. */
const dense = (sizes: readonly number[], seed: number, last: 'relu' | 'linear' | 'sigmoid'): tf.Sequential =>
  tf.sequential({
    layers: sizes.slice(1).map((units, i) =>
      tf.layers.dense({
        units,
        inputShape: [sizes[i]!],
        activation: i === sizes.length - 2 ? last : 'relu',
        kernelInitializer: tf.initializers.glorotUniform({ seed: seed + i }),
      }),
    ),
  })

const sentFrom = (tensor: tf.Tensor, worker: VirtualWorker): PointerTensor => {
  const pointer = tensor.send(worker)
  tensor.dispose()
  return pointer
}
async function valuesOf(pointer: PointerTensor): Promise<Float32Array> {
  const tensor = await pointer.fetch()
  const values = tensor.dataSync().slice() as Float32Array
  tensor.dispose()
  return values
}

class SplitNet {
  readonly alice: VirtualWorker
  readonly bob: VirtualWorker
  readonly #defence: Defence
  readonly #bottom: RemoteModel
  readonly #top: RemoteModel
  /** In the U-shape, what alice does with what comes back. */
  readonly #head: RemoteModel | null

  constructor(alice: VirtualWorker, bob: VirtualWorker, defence: Defence) {
    const { cut = 64, isU = false } = defence
    this.alice = alice
    this.bob = bob
    this.#defence = defence
    this.#bottom = dense([784, 128, cut], 1, 'relu').send(alice)
    this.#top = dense(isU ? [cut, 64] : [cut, 64, 10], 11, isU ? 'relu' : 'linear').send(bob)
    this.#head = isU ? dense([64, 10], 21, 'linear').send(alice) : null
  }

  get labelOwner(): VirtualWorker {
    return this.#head === null ? this.bob : this.alice
  }
  get parameters(): PointerTensor[] {
    return [this.#bottom, this.#top, ...(this.#head === null ? [] : [this.#head])].flatMap((part) => part.parameters())
  }

  /** What leaves alice. */
  cut(activations: PointerTensor): PointerTensor {
    const { noise } = this.#defence
    return noise === undefined ? activations : cutNoise(activations, noise)
  }
  /** What leaves alice for these images. */
  leaving(x: PointerTensor): PointerTensor {
    return this.cut(this.#bottom.apply(x))
  }

  /**
   * Scores of what left alice, and the point of the graph whose gradient goes to whom has no labels: at the first cut to
   * alice, in the U-shape at the second to bob.
   */
  scores(leaving: PointerTensor): { scores: PointerTensor; gradientAt: PointerTensor } {
    const cut = leaving.move(this.bob, { requiresGrad: true })
    const there = this.#top.apply(cut)
    if (this.#head === null) return { scores: there, gradientAt: cut }
    const back = there.move(this.alice, { requiresGrad: true })
    return { scores: this.#head.apply(back), gradientAt: back }
  }

  /** The gradients of one step. */
  step(x: PointerTensor, y: PointerTensor): void {
    const { lambda } = this.#defence
    const activations = this.#bottom.apply(x)
    if (lambda !== undefined) {
      distanceCorrelation(x, activations).mul(lambda).backward(undefined, { retainGraph: true })
    }
    this.scores(this.cut(activations)).scores.softmaxCrossEntropy(y).backward()
  }

  dispose(): void {
    for (const part of [this.#bottom, this.#top, this.#head]) part?.dispose()
  }
}

async function trained(net: SplitNet, images: PointerTensor, labels: PointerTensor): Promise<void> {
  const optimizer = optim.adam(net.parameters, { learningRate: 0.001 })
  for (let epoch = 1; epoch <= EPOCHS; epoch++) {
    for (const rows of batches(images.shape[0]!, { batchSize: BATCH, seed: epoch })) {
      scope(() => {
        net.step(images.gather(rows), labels.gather(rows))
        optimizer.step()
        optimizer.zeroGrad()
      })
    }
    await Promise.all([net.alice.flush(), net.bob.flush()])
  }
  optimizer.dispose()
}

/** Share of the test images that are recognised; noise and all, for they leave alice as any others. */
const recognised = (net: SplitNet, images: PointerTensor, labels: ArrayLike<number>): Promise<number> =>
  scope(async () => {
    const classes = noGrad(() => net.scores(net.leaving(images)).scores.argMax(1))
    return accuracy(await valuesOf(classes), labels)
  })

/** Activations of images that bob has got hold of, with the images, and of others that he is to rebuild. */
interface Leak {
  readonly known: PointerTensor
  readonly pixels: PointerTensor
  readonly others: PointerTensor
  readonly truth: PointerTensor
}

/** What leaves alice for images, brought to bob. */
function intercepted(net: SplitNet, known: PointerTensor, others: PointerTensor): [PointerTensor, PointerTensor] {
  return noGrad(() =>
    scope(() => {
      const [a, b] = [known, others].map((x) => net.leaving(x).move(net.bob)) as [PointerTensor, PointerTensor]
      // Every unit to the same scale: a defence that only makes activations small is none.
      const [mean, deviation] = [a.mean(0), a.variance(0).add(1e-12).sqrt()]
      return [a.sub(mean).div(deviation), b.sub(mean).div(deviation)]
    }),
  )
}

/** Bob's decoder: the mean squared error of what it rebuilds, and the first of that, as it was best on the pairs kept. */
async function rebuilt(bob: VirtualWorker, { known, pixels, others, truth }: Leak) {
  const decoder = dense([known.shape[1]!, 256, 784], 31, 'sigmoid').send(bob)
  const optimizer = optim.adam(decoder.parameters(), { learningRate: 0.002 })
  const used = PAIRS - KEPT
  const [keptActivations, keptPixels] = [known, pixels].map((x) => x.slice([used, 0], [KEPT, x.shape[1]!]))
  let best: { onKept: number; error: number; pictures: Float32Array } = {
    onKept: Infinity,
    error: Infinity,
    pictures: new Float32Array(),
  }
  for (let epoch = 1; epoch <= DECODER_EPOCHS; epoch++) {
    for (const rows of batches(used, { batchSize: DECODER_BATCH, seed: 100 + epoch })) {
      scope(() => {
        decoder.apply(known.gather(rows)).meanSquaredError(pixels.gather(rows)).backward()
        optimizer.step()
        optimizer.zeroGrad()
      })
    }
    await scope(async () => {
      const errorOn = (x: PointerTensor, y: PointerTensor) => decoder.apply(x).meanSquaredError(y)
      const [onKept] = await valuesOf(noGrad(() => errorOn(keptActivations!, keptPixels!)))
      if (onKept! >= best.onKept) return
      const guesses = noGrad(() => decoder.apply(others))
      const [error] = await valuesOf(guesses.meanSquaredError(truth))
      best = { onKept: onKept!, error: error!, pictures: await valuesOf(guesses.slice([0, 0], [DRAWN, 784])) }
    })
  }
  for (const item of [keptActivations!, keptPixels!, optimizer, decoder]) item.dispose()
  return best
}

/**
 * Share of labels that whoever receives gradients guesses from their directions, knowing some: each row goes to the
 * class whose known rows point the same way on average (after Li et al., ICLR '22, arXiv 2102.08504).
 */
const guessed = (net: SplitNet, images: PointerTensor, labels: PointerTensor, truth: Uint8Array): Promise<number> =>
  scope(async () => {
    const rows = Array.from({ length: GUESSED }, (_, i) => i)
    const { scores, gradientAt } = net.scores(net.leaving(images.gather(rows)))
    scores.softmaxCrossEntropy(labels.gather(rows)).backward()
    const gradients = await gradientAt.grad!.fetch()
    const guesses = tf.tidy(() => {
      const unit = (x: tf.Tensor) => x.div(x.norm('euclidean', 1, true).add(1e-30))
      const directions = unit(gradients)
      const classes = tf.oneHot(tf.tensor1d(truth.subarray(0, KNOWN), 'int32'), 10)
      const means = unit(tf.matMul(classes.toFloat().transpose(), directions.slice([0, 0], [KNOWN, -1])))
      return tf.matMul(directions, means, false, true).argMax(1).dataSync()
    })
    gradients.dispose()
    // What alice got of this batch was for guessing, not for learning.
    for (const parameter of net.parameters) parameter.zeroGrad()
    return accuracy(guesses.subarray(KNOWN), truth.subarray(KNOWN, GUESSED))
  })

await ready()
hook()
const { train, test, source } = await loadMnist({ limit: TRAIN, testLimit: TEST })
const [alice, bob] = [new VirtualWorker('alice'), new VirtualWorker('bob')]
alice.addWorkers([bob])

/** From 0, paper, to 1, ink. */
const pixelsOf = (images: LabelledImages): tf.Tensor => tf.tidy(() => images.images().add(1).div(2))
const images = sentFrom(train.images(), alice)
const labels = new Map([alice, bob].map((worker) => [worker, sentFrom(train.labelsTensor(), worker)]))
const testImages = sentFrom(test.images(), alice)
const known = sentFrom(train.slice(0, PAIRS).images(), alice)
const knownPixels = sentFrom(pixelsOf(train.slice(0, PAIRS)), bob)
const others = sentFrom(test.slice(0, REBUILT).images(), alice)
const truth = sentFrom(pixelsOf(test.slice(0, REBUILT)), bob)

/** What bob draws when he looks at nothing: the mean of the images he has. */
const meanImage = await scope(async () => {
  const mean = knownPixels.mean(0)
  const [error] = await valuesOf(truth.sub(mean).square().mean())
  return { error: error!, picture: await valuesOf(mean) }
})

const rows: Record<string, string | number>[] = []
const drawn: PictureRow[] = [
  {
    title: 'originals',
    text: 'never seen by the server',
    pictures: (await valuesOf(truth)).slice(0, DRAWN * 784),
  },
  {
    title: 'the mean image',
    text: `error ${meanImage.error.toFixed(4)}`,
    pictures: Float32Array.from({ length: DRAWN * 784 }, (_, i) => meanImage.picture[i % 784]!),
  },
]
for (const defence of defences) {
  const net = new SplitNet(alice, bob, defence)
  const y = labels.get(net.labelOwner)!
  await trained(net, images, y)
  const right = await recognised(net, testImages, test.labels)
  const correlation = await scope(async () => {
    const x = others.slice([0, 0], [CORRELATED, 784])
    return (await valuesOf(noGrad(() => distanceCorrelation(x, net.leaving(x)))))[0]!
  })
  const [pairs, tests] = intercepted(net, known, others)
  const { error, pictures } = await rebuilt(bob, { known: pairs, pixels: knownPixels, others: tests, truth })
  for (const pointer of [pairs, tests]) pointer.dispose()
  const labelsGuessed = await guessed(net, images, y, train.labels)
  const { noise, isU = false } = defence
  const epsilon = noise === undefined ? Infinity : cutNoiseEpsilon({ ...noise, releases: EPOCHS, delta: DELTA }).epsilon
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`
  rows.push({
    defence: defence.name,
    ε: epsilon === Infinity ? '∞' : rounded(epsilon),
    'test accuracy': percent(right),
    'distance correlation': rounded(correlation),
    'error of decoder': error.toFixed(4),
    'of mean image’s': percent(error / meanImage.error),
    'labels guessed': `${percent(labelsGuessed)} by ${isU ? 'bob' : 'alice'}`,
  })
  drawn.push({
    title: defence.name,
    text: `error ${error.toFixed(4)}, accuracy ${percent(right)}${noise === undefined ? '' : `, ε ${rounded(epsilon)}`}`,
    pictures,
  })
  net.dispose()
  await Promise.all([alice.flush(), bob.flush()])
}
report(
  `What the server rebuilds: ${train.count} images (${source}), ${EPOCHS} epochs; a decoder trained on ${PAIRS} pairs, tried on ${REBUILT} others`,
  rows,
)
console.log(
  `Error: mean square of pixels from 0 to 1; the mean image has ${meanImage.error.toFixed(4)}. ε: per image, for its activations in ${EPOCHS} epochs, δ = ${DELTA}.`,
)
console.log(
  `Labels: guessed by whoever receives gradients and has no labels, from their directions, knowing ${KNOWN}. In the U-shape bob sees the activations as without a defence, and those gradients; labels and scores he does not.`,
)
const file = process.argv[2] ?? '.cache/split-leakage.svg'
mkdirSync(dirname(file), { recursive: true })
writeFileSync(file, pictureRows('What the server rebuilds of images that it has never seen', drawn))
console.log(`Pictures: ${file}`)
await Promise.all([alice.close(), bob.close()])
