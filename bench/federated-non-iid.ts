/**
 * What do clients cost whose data differ, and which strategy bears it?
 *
 * MNIST, dealt to 100 clients with 600 images each of two digits, by the shards of McMahan et al., AISTATS 2017, §3: all
 * images in the order of their labels, in 200 shards of 300, two to a client. Ten clients are drawn in each round and
 * train for an epoch. Beside FedAvg, FedProx and FedAdam on these stands FedAvg on clients whose images were dealt at
 * random.
 *
 * Writes the accuracy after each round to .cache/federated-non-iid.svg, or to the file that is named.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import {
  type FederatedClient,
  Federation,
  fedAdam,
  fedAvg,
  fedProx,
  type LabelledImages,
  loadMnist,
  ready,
  type Strategy,
  send,
  shuffledIndices,
  tf,
  VirtualWorker,
} from 'sotto'
import { dense } from '../examples/lib/dense.ts'
import { recognised } from '../examples/lib/federated.ts'
import { chartSvg } from '../examples/lib/plot.ts'
import { report } from './measure.ts'

const [CLIENTS, OWN, SHARDS] = [100, 600, 2]
const [ROUNDS, FRACTION, BATCH, RATE] = [40, 0.1, 20, 0.05]
const TESTED = 5000
/** Accuracies whose rounds are counted. */
const REACHED = [0.8, 0.85, 0.9]
const SEED = 1

type Deal = 'two digits each' | 'all digits'
interface Run {
  readonly name: string
  readonly deal: Deal
  readonly strategy: Strategy
}
const runs: readonly Run[] = [
  { name: 'FedAvg, all digits', deal: 'all digits', strategy: fedAvg() },
  { name: 'FedAvg', deal: 'two digits each', strategy: fedAvg() },
  { name: 'FedProx, μ = 0.1', deal: 'two digits each', strategy: fedProx({ mu: 0.1 }) },
  { name: 'FedAdam, η = 0.01', deal: 'two digits each', strategy: fedAdam({ learningRate: 0.01 }) },
]

/** Which images each client has. */
function dealt(deal: Deal, { labels, count }: LabelledImages): Int32Array[] {
  const order = shuffledIndices(count, SEED)
  // Sorting is stable: within a digit, images stay shuffled.
  if (deal === 'two digits each') order.sort((a, b) => labels[a]! - labels[b]!)
  const size = OWN / SHARDS
  const shards = shuffledIndices(CLIENTS * SHARDS, SEED)
  return Array.from({ length: CLIENTS }, (_, client) => {
    const own = shards.subarray(client * SHARDS, (client + 1) * SHARDS)
    return Int32Array.from([...own].flatMap((shard) => [...order.subarray(shard * size, (shard + 1) * size)]))
  })
}

/** Clients with their images, on workers of this process. */
async function clientsOf(deal: Deal, train: LabelledImages): Promise<FederatedClient[]> {
  const clients = dealt(deal, train).map((own, i) => {
    const worker = new VirtualWorker(`client-${String(i).padStart(2, '0')}`)
    const sent = (tensor: tf.Tensor) => {
      const pointer = send(tensor, worker)
      tensor.dispose()
      return pointer
    }
    return { worker, x: sent(train.images(own)), y: sent(train.labelsTensor(own)) }
  })
  await Promise.all(clients.map(({ worker }) => worker.flush()))
  return clients
}

interface Outcome extends Run {
  /** After each round. */
  readonly accuracies: readonly number[]
  readonly ms: number
}

async function trained(run: Run, clients: readonly FederatedClient[], test: LabelledImages): Promise<Outcome> {
  const model = tf.sequential({ layers: [dense(64, 784, 10 * SEED, 'relu'), dense(10, 64, 10 * SEED + 2)] })
  const accuracies: number[] = []
  const federation = new Federation({
    model,
    clients,
    loss: 'softmaxCrossEntropy',
    strategy: run.strategy,
    // What is measured here is what is learnt; masks would change nothing but the time.
    aggregation: 'clear',
    rounds: ROUNDS,
    sampling: { fraction: FRACTION, seed: SEED },
    local: { epochs: 1, batchSize: BATCH, optimizer: { kind: 'sgd', learningRate: RATE } },
    seed: SEED,
    evaluate(it) {
      accuracies.push(recognised(it, test))
      return {}
    },
  })
  const started = performance.now()
  await federation.fit()
  federation.dispose()
  model.dispose()
  return { ...run, accuracies, ms: (performance.now() - started) / ROUNDS }
}

await ready()
const { train, test, source } = await loadMnist({ testLimit: TESTED })
const outcomes: Outcome[] = []
for (const deal of new Set(runs.map((run) => run.deal))) {
  const clients = await clientsOf(deal, train)
  for (const run of runs.filter((each) => each.deal === deal)) outcomes.push(await trained(run, clients, test))
  await Promise.all(clients.map(({ worker }) => worker.close()))
}

const percent = (share: number) => `${(100 * share).toFixed(1)} %`
/** Accuracy goes up and down from round to round where data differ: the mean of the last ones tells more than the last. */
const LAST = 5
report(
  `${CLIENTS} clients with ${OWN} images each (${source}), ${FRACTION * CLIENTS} a round, one epoch in batches of ${BATCH}, SGD ${RATE}; 784-64-10`,
  outcomes.map(({ name, deal, accuracies, ms }) => {
    const last = accuracies.slice(-LAST)
    return {
      strategy: name,
      'a client has': deal,
      [`accuracy, mean of rounds ${ROUNDS - LAST + 1} to ${ROUNDS}`]: percent(
        last.reduce((sum, share) => sum + share, 0) / last.length,
      ),
      best: percent(Math.max(...accuracies)),
      ...Object.fromEntries(
        REACHED.map((level) => {
          const round = accuracies.findIndex((share) => share >= level) + 1
          return [`rounds to ${percent(level)}`, round === 0 ? 'never' : round]
        }),
      ),
      'ms a round': Math.round(ms),
    }
  }),
)
const file = process.argv[2] ?? '.cache/federated-non-iid.svg'
mkdirSync(dirname(file), { recursive: true })
writeFileSync(
  file,
  chartSvg({
    title: 'Clients with two digits each',
    x: 'round',
    panels: [
      {
        title: 'test accuracy, %',
        series: outcomes.map(({ name, accuracies }) => ({
          name,
          points: accuracies.map((share, i) => [i + 1, 100 * share] as const),
        })),
      },
    ],
  }),
)
console.log(`Accuracies are drawn in ${file}`)
