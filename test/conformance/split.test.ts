import type { tf, Worker } from 'sotto'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { readyForTest, testBackend } from '../backend.ts'
import { once } from '../once.ts'
import { digits, forms, orderOf, split, whole } from '../split/forms.ts'
import { onEveryWorker } from './workers.ts'

/** Narrow and few: how a net of any width is trained is the same; `test/split` has the long runs. */
const [WIDTH, STEPS, ROWS] = testBackend === 'cpu' ? [8, 3, 128] : [16, 8, 256]
const layers = [WIDTH, 'relu'] as const
const names = ['vanilla', 'three hops', 'U-shaped', 'vertical, the sum of three']

let data: { images: tf.Tensor2D; labels: tf.Tensor1D }
beforeAll(async () => {
  await readyForTest()
  data = await digits(ROWS)
})
afterAll(() => {
  data.images.dispose()
  data.labels.dispose()
})

const order = orderOf(ROWS, STEPS)
const trainedWhole = once((name: string) => whole(forms[name]!, layers, data, order))

onEveryWorker((worker) => {
  it('trains split networks of every shape as they are trained in one process', async () => {
    const known = new Map<string, Worker>()
    const at = (id: string): Worker => {
      if (!known.has(id)) known.set(id, worker(id))
      return known.get(id)!
    }
    for (const name of names) {
      const form = forms[name]!
      const { net, x, y } = split(form, at, layers, data)
      const losses: number[] = []
      for (const rows of order) {
        const chosen = x.map((part) => part.gather(rows))
        losses.push((await net.trainBatch(chosen, y.gather(rows)).get()).dataSync()[0]!)
      }
      // The same kernels on the same numbers.
      expect(losses, name).toEqual(trainedWhole(name))
      net.dispose()
    }
  })
})
