/** Rounds of a federation: the same model whatever hides the updates, with clients that fail or go. */
import { Federation, hook, masks, pairMasks, type PointerTensor, type RoundResult, sampleClients, shares, tf, VirtualWorker } from 'sotto'
import { beforeAll, describe, expect, it } from 'vitest'
import { readyForTest } from '../backend.ts'

beforeAll(async () => {
  await readyForTest()
  hook()
})

const RESEARCHER = 'me'
const names = ['ann', 'ben', 'cat', 'dan', 'eve'] as const

/** Points on two sides of a line, dealt to owners: so many to each. */
function points(count: number, seed: number): { x: tf.Tensor2D; y: tf.Tensor1D } {
  const x = tf.randomUniform([count, 4], -1, 1, 'float32', seed) as tf.Tensor2D
  return { x, y: x.matMul(tf.tensor2d([[1], [-2], [0.5], [1]])).greater(0).cast('float32').flatten() as tf.Tensor1D }
}

const network = (): tf.LayersModel =>
  tf.sequential({
    layers: [
      tf.layers.dense({ units: 6, activation: 'tanh', inputShape: [4], kernelInitializer: tf.initializers.glorotUniform({ seed: 3 }) }),
      tf.layers.dense({ units: 2, kernelInitializer: tf.initializers.glorotUniform({ seed: 4 }) }),
    ],
  })

/** Owners with private examples, each on a worker of their own; more for one than for the next. */
function owners(count: number) {
  const workers = names.slice(0, count).map((name) => new VirtualWorker(name))
  const clients = workers.map((worker, i) => {
    const own = worker.as(worker.id)
    const others = workers.filter((other) => other !== worker)
    own.addWorkers(others)
    const { x, y } = points(20 + 10 * i, 100 + i)
    const rights = { private: true, allowShares: others.map(({ id }) => id), allowTotals: [RESEARCHER] }
    x.send(own, { ...rights, tags: ['#x'] })
    y.send(own, { ...rights, tags: ['#y'] })
    return { worker, own }
  })
  return {
    workers,
    async clients() {
      return Promise.all(
        clients.map(async ({ worker, own }) => {
          await own.flush()
          const [x] = (await worker.search(['#x'])) as [PointerTensor]
          const [y] = (await worker.search(['#y'])) as [PointerTensor]
          return { worker, x, y }
        }),
      )
    },
  }
}

const local = { epochs: 2, batchSize: 16, optimizer: { kind: 'sgd', learningRate: 0.5 } } as const

describe('a federation', () => {
  it.each(['masks', 'pairs', 'shares'] as const)('%s', async (aggregation) => {
    const { workers, clients } = owners(4)
    const results: RoundResult[] = []
    const model = network()
    const federation = new Federation({
      model,
      clients: await clients(),
      loss: 'softmaxCrossEntropy',
      rounds: 3,
      aggregation,
      local,
      evaluateAtClients: true,
      onRound: (result) => void results.push(result),
    })
    await federation.fit()
    console.log(results)
    for (const worker of workers) console.log(await worker.ledger())
    void [masks, pairMasks, shares, sampleClients, expect]
  })
})
