/**
 * How long does 784-128-128-10 take in secret for 128 images of MNIST, what do the parties send each other, and does the
 * network recognise as many digits as in plain?
 *
 * A batch is timed from the sharing of its images to the opening of what the network says of them: its ten numbers an
 * image, or the class alone, the largest of the ten found in secret. The weights were shared before. Parties and provider
 * share one thread. "As bytes" encodes and decodes frames as for a socket; "dealt ahead" is the part of the time that is left
 * when the provider's work was done beforehand; a link takes its milliseconds each way, and every round waits for them.
 */
import {
  accuracy,
  batches,
  type Cost,
  fixPrecision,
  loadMnist,
  planOf,
  prepare,
  ready,
  type SharedModel,
  type SharedTensor,
  share,
  tf,
} from 'sotto'
import { alternate, median, report, rounded } from './measure.ts'
import { counting, gather, miss, type Parties } from './parties.ts'

const BATCH = 128
/** Milliseconds each way. */
const LATENCY = 10
/** Of the test images, by which the accuracy may differ from plain. */
const WITHIN = 0.001

const backend = await ready()
const { train, test, source } = await loadMnist()

/** One epoch. */
function trained(): tf.Sequential {
  const dense = (units: number, seed: number, more: object) =>
    tf.layers.dense({ units, kernelInitializer: tf.initializers.glorotUniform({ seed }), ...more })
  const net = tf.sequential({
    layers: [
      dense(128, 1, { activation: 'relu', inputShape: [784] }),
      dense(128, 2, { activation: 'relu' }),
      dense(10, 3, {}),
    ],
  })
  const adam = tf.train.adam(0.001)
  for (const chosen of batches(train.count, { batchSize: 64, shuffle: true, seed: 1 })) {
    tf.tidy(() => {
      const [images, classes] = [train.images(chosen), tf.oneHot(train.labelsTensor(chosen), 10)]
      adam.minimize(() => tf.losses.softmaxCrossEntropy(classes, net.apply(images) as tf.Tensor))
    })
  }
  return net
}

interface Setting {
  readonly count: number
  readonly opens: 'numbers' | 'class'
}
const settings: readonly Setting[] = [2, 3].flatMap((count) => [
  { count, opens: 'numbers' } as const,
  { count, opens: 'class' } as const,
])

interface World {
  readonly among: Parties
  readonly model: SharedModel
  readonly opens: Setting['opens']
}

function worldOf({ count, opens }: Setting, network: Parameters<typeof gather>[1] = {}): World {
  const among = gather(count, network)
  return { among, model: share(net, among.parties, among.options), opens }
}

/** What is to be opened, and what it cost. */
function answer({ model, opens }: World, x: SharedTensor): { secret: SharedTensor; cost: Cost } {
  const numbers = model.apply(x)
  if (opens === 'numbers') return { secret: numbers, cost: numbers.cost }
  const secret = numbers.argMax(1)
  const [a, b] = [numbers.cost, secret.cost]
  numbers.dispose()
  return {
    secret,
    cost: { rounds: a.rounds + b.rounds, bytes: a.bytes + b.bytes, provider: a.provider + b.provider },
  }
}

const shared = ({ among }: World, images: tf.Tensor): SharedTensor =>
  share(fixPrecision(images), among.parties, among.options)

async function classesInSecret(world: World, images: tf.Tensor): Promise<ArrayLike<number>> {
  const x = shared(world, images)
  const { secret } = answer(world, x)
  const opened = await secret.reveal()
  x.dispose()
  secret.dispose()
  return tf.tidy(() => (world.opens === 'class' ? opened.clone() : opened.argMax(1)).dataSync())
}
const classesInPlain = (images: tf.Tensor): ArrayLike<number> =>
  tf.tidy(() => (net.predict(images) as tf.Tensor).argMax(1).dataSync())

const net = trained()
const batch = test.slice(0, BATCH).images()
const near = settings.map((setting) => worldOf(setting))
const coded = settings.map((setting) => worldOf(setting, { codec: true }))

// What is sent.
const costs = []
for (const [i, { count, opens }] of settings.entries()) {
  const world = coded[i]!
  const x = shared(world, batch)
  const { result, counts } = await counting(world.among, x, () => answer(world, x))
  const { cost, secret } = result
  if (counts.openings !== cost.rounds || counts.bytes !== cost.bytes || counts.dealt !== cost.provider) {
    miss(`${count} parties: cost says ${JSON.stringify(cost)}, they counted ${JSON.stringify(counts)}`)
  }
  const megabytes = (bytes: number) => rounded(bytes / 1e6, 4)
  costs.push({
    parties: count,
    opens,
    'rounds: cost': cost.rounds,
    counted: counts.openings,
    'MB to each peer: cost': megabytes(cost.bytes),
    'counted ': megabytes(counts.bytes),
    'in frames': megabytes(counts.frameBytes),
    'MB a party sends': megabytes(counts.bytes * (count - 1)),
    'kB an image': rounded((counts.bytes * (count - 1)) / BATCH / 1000),
    'MB dealt: cost': megabytes(cost.provider),
    'counted  ': megabytes(counts.dealt),
  })
  x.dispose()
  secret.dispose()
}
report(`What a batch of ${BATCH} images costs: 784-128-128-10, and a provider`, costs)

// How long it takes.
const nameOf = ({ count, opens }: Setting) => `${count} ${opens}`
const timings = await alternate<string>(
  {
    plain: () => classesInPlain(batch),
    ...Object.fromEntries(settings.map((setting, i) => [nameOf(setting), () => classesInSecret(near[i]!, batch)])),
    ...Object.fromEntries(
      settings.map((setting, i) => [`${nameOf(setting)}*`, () => classesInSecret(coded[i]!, batch)]),
    ),
  },
  { rounds: 11, warmup: 3 },
)
await Promise.all(coded.map(({ among }) => among.close()))

/** Milliseconds that something takes, once what comes before it is done. */
async function timeOf(action: () => Promise<unknown>, before: () => Promise<unknown>): Promise<number> {
  await before()
  const start = performance.now()
  await action()
  return performance.now() - start
}

/** The part of the time that is left when the provider has dealt beforehand. */
async function partLeft(world: World): Promise<number> {
  const { among } = world
  const x = shared(world, batch)
  const plan = planOf(x, () => answer(world, x))
  x.dispose()
  const inference = () => classesInSecret(world, batch)
  const ahead = () => {
    prepare(among.provider, plan)
    return among.done()
  }
  const parts = []
  for (let round = 0; round < 7; round++) {
    const whole = await timeOf(inference, among.done)
    parts.push((await timeOf(inference, ahead)) / whole)
  }
  return median(parts)
}

async function secondsOverLinks(setting: Setting): Promise<number> {
  const far = worldOf(setting, { latency: LATENCY })
  const times = []
  for (let round = 0; round < 4; round++) times.push(await timeOf(() => classesInSecret(far, batch), far.among.done))
  await far.among.close()
  // The first warms up.
  return median(times.slice(1)) / 1000
}

const predicted = classesInPlain(test.images())
const plainAccuracy = accuracy(predicted, test.labels)
const percent = (part: number) => rounded(100 * part, 4)
const plain = timings['plain']!
const rows: Record<string, string | number>[] = [
  {
    parties: 'in plain',
    opens: '',
    's/batch': rounded(plain.ms / 1000),
    'ms/image': rounded(plain.ms / BATCH),
    'times plain': 1,
    'as bytes': '',
    'dealt ahead': '',
    [`${LATENCY} ms links`]: '',
    'rounds of it': '',
    'accuracy %': percent(plainAccuracy),
    'other classes': 0,
  },
]
for (const [i, setting] of settings.entries()) {
  const { count, opens } = setting
  const world = near[i]!
  const { ms, ratio } = timings[nameOf(setting)]!
  const left = await partLeft(world)
  const overLinks = await secondsOverLinks(setting)
  const classes = new Int32Array(test.count)
  for (let at = 0; at < test.count; at += 1000) {
    const images = test.slice(at, Math.min(test.count, at + 1000)).images()
    classes.set(await classesInSecret(world, images), at)
    images.dispose()
  }
  await world.among.close()
  const found = accuracy(classes, test.labels)
  if (Math.abs(found - plainAccuracy) > WITHIN) {
    miss(`${count} parties: ${percent(found)} % recognised, ${percent(plainAccuracy)} % in plain`)
  }
  rows.push({
    parties: count,
    opens,
    's/batch': rounded(ms / 1000),
    'ms/image': rounded(ms / BATCH),
    'times plain': rounded(1 / ratio),
    'as bytes': rounded(timings[`${nameOf(setting)}*`]!.ms / 1000),
    'dealt ahead': `${rounded(100 * left, 2)} %`,
    [`${LATENCY} ms links`]: rounded(overLinks),
    'rounds of it': `${rounded((100 * Number(costs[i]!.counted) * LATENCY) / 1000 / overLinks, 2)} %`,
    'accuracy %': percent(found),
    'other classes': classes.filter((one, at) => one !== predicted[at]).length,
  })
}
report(
  `${BATCH} images in secret (${backend}, ${source}), seconds a batch; and all ${test.count} test images, accuracy within ${100 * WITHIN} % of plain wanted`,
  rows,
)
