/** What clients are told to do in a round. */
import { Federation, fedAvg, fedProx, type Strategy, send, tf, VirtualWorker } from 'sotto'
import { beforeAll, describe, expect, it } from 'vitest'
import { readyForTest } from '../backend.ts'

beforeAll(() => readyForTest())

/** Frames that a client gets in a round of two steps. */
async function framesOf(strategy: Strategy): Promise<number> {
  const worker = new VirtualWorker('ann')
  const sent = (tensor: tf.Tensor) => send(tensor, worker)
  const federation = new Federation({
    model: tf.sequential({ layers: [tf.layers.dense({ units: 1, inputShape: [2] })] }),
    clients: [{ worker, x: sent(tf.ones([8, 2])), y: sent(tf.ones([8, 1])) }],
    loss: 'meanSquaredError',
    aggregation: 'clear',
    local: { batchSize: 4 },
    rounds: 1,
    strategy,
  })
  await federation.fit()
  const { links } = await worker.stats()
  await worker.close()
  return links.reduce((sum, { framesIn }) => sum + framesIn, 0)
}

describe('local training', () => {
  it('computes no proximal term where there is none', async () => {
    const plain = await framesOf(fedAvg())
    expect(await framesOf(fedProx({ mu: 0 }))).toBe(plain)
    // In each step two weights are compared with what they were, squared and summed.
    expect(await framesOf(fedProx({ mu: 1 }))).toBeGreaterThanOrEqual(plain + 2 * 2 * 3)
  })
})
