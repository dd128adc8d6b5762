/** Owners with private examples for tests of federations: points on two sides of a plane. */
import { type PointerTensor, type SendOptions, tf, VirtualWorker, type Worker } from 'sotto'

export const RESEARCHER = 'me'
export const names = ['ann', 'ben', 'cat', 'dan', 'eve', 'fay'] as const

export interface Own {
  readonly x: Float32Array
  readonly y: Float32Array
  readonly count: number
}

/** The examples of an owner: more for one than for the one before. */
export function examplesOf(owner: number): Own {
  const count = 20 + 10 * owner
  return tf.tidy(() => {
    const x = tf.randomUniform([count, 4], -1, 1, 'float32', 100 + owner)
    const y = x.matMul(tf.tensor2d([[1], [-2], [0.5], [1]])).greater(0)
    return { x: x.dataSync() as Float32Array, y: Float32Array.from(y.dataSync()), count }
  })
}

export const network = (): tf.LayersModel =>
  tf.sequential({
    layers: [
      tf.layers.dense({
        units: 6,
        activation: 'tanh',
        inputShape: [4],
        kernelInitializer: tf.initializers.glorotUniform({ seed: 3 }),
      }),
      tf.layers.dense({ units: 2, kernelInitializer: tf.initializers.glorotUniform({ seed: 4 }) }),
    ],
  })

/** What an owner allows: sums with all others, for the researcher. */
export const inSums = (others: readonly Worker[]): SendOptions => ({
  private: true,
  allowShares: others.map(({ id }) => id),
  allowTotals: [RESEARCHER],
})

/** So many owners, each on a worker; `bring` sends their examples and gives pointers to them, for whoever tests. */
export function owners(count: number, make: (id: string) => Worker = (id) => new VirtualWorker(id)) {
  const workers = names.slice(0, count).map(make)
  const othersOf = (worker: Worker) => workers.filter((other) => other !== worker)
  return {
    workers,
    async bring(rights: (others: readonly Worker[]) => SendOptions = inSums) {
      return Promise.all(
        workers.map(async (worker, i) => {
          const own = worker.as(worker.id)
          own.addWorkers(othersOf(worker))
          const { x, y, count: rows } = examplesOf(i)
          tf.tensor(x, [rows, 4]).send(own, { ...rights(othersOf(worker)), tags: ['#x'] })
          tf.tensor(y).send(own, { ...rights(othersOf(worker)), tags: ['#y'] })
          await own.flush()
          const [[first], [second]] = await Promise.all([worker.search(['#x']), worker.search(['#y'])])
          return { worker, x: first as PointerTensor, y: second as PointerTensor }
        }),
      )
    },
  }
}
