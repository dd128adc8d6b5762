import { optim, scope, tf, type VirtualWorker, type Worker } from 'sotto'
import { expect, it } from 'vitest'
import { testBackend } from '../backend.ts'
import { inProcess, onEveryWorker } from './workers.ts'

/** Lets finalizers and timers run. */
const turn = () => new Promise((resolve) => setTimeout(resolve, 0))
const counts = async (...workers: Worker[]) => [
  tf.memory().numTensors,
  tf.memory().numDataBuffers,
  ...(await Promise.all(workers.map((worker) => worker.objectCount()))),
]

const isLong = process.env['SOTTO_LONG'] !== undefined

onEveryWorker((worker, kind) => {
  // Counts are exact: what is forgotten in a step, or with an acknowledgement every 64 commands, shows in a hundred too.
  const STEPS = isLong ? 1000 : kind === 'in process' && testBackend === 'wasm' ? 200 : 60
  it(`holds object and tensor counts flat over ${STEPS} training steps`, async (test) => {
    if (kind.includes('latency')) test.skip('a thousand round trips, and nothing that is not held without latency')
    const [alice, bob] = [worker('alice'), worker('bob')]
    const near = tf
      .sequential({
        layers: [tf.layers.dense({ units: 6, inputShape: [5], activation: 'relu' }), tf.layers.dropout({ rate: 0.1 })],
      })
      .send(alice)
    const far = tf.sequential({ layers: [tf.layers.dense({ units: 3, inputShape: [6] })] }).send(bob)
    const opt = optim.adam([...near.parameters(), ...far.parameters()])
    const x = tf.randomNormal([8, 5]).send(alice)
    const y = tf.randomUniform([8], 0, 3, 'int32').send(bob)
    const step = async () => {
      const loss = scope(() => {
        const value = far
          .apply(near.apply(x).move(bob, { requiresGrad: true }))
          .logSoftmax()
          .nllLoss(y)
        value.backward()
        opt.step()
        opt.zeroGrad()
        return value
      })
      ;(await loss.get()).dispose()
    }
    await step()
    const before = await counts(alice, bob)
    for (let i = 0; i < STEPS; i++) await step()
    expect(await counts(alice, bob)).toEqual(before)
  })

  it('frees pointers that were dropped without dispose, in batches', async (test) => {
    if (global.gc === undefined) test.skip('needs node --expose-gc')
    const bob = worker('bob')
    const x = tf.tensor([1, 2, 3]).send(bob)
    ;(() => {
      for (let i = 0; i < 500; i++) x.add(i)
    })()
    await bob.flush()
    expect(await bob.objectCount()).toBe(501)
    const framesBefore = (await bob.stats()).framesIn
    for (let i = 0; i < 50 && (await bob.objectCount()) > 1; i++) {
      global.gc!()
      await turn()
    }
    expect(await bob.objectCount()).toBe(1)
    // One frame for each sweep of the collector, and two for each look above.
    expect((await bob.stats()).framesIn - framesBefore).toBeLessThan(200)
    expect([...(await x.fetch()).dataSync()]).toEqual([1, 2, 3])
  })

  it('holds the heap flat over 25,000 ops', async (test) => {
    if (global.gc === undefined) test.skip('needs node --expose-gc')
    if (kind.includes('latency')) test.skip('the same objects, later')
    if (testBackend !== 'wasm') test.skip('what an op holds beside tensors, which are counted above, is the same')
    if (kind === 'in process' && !isLong) test.skip('the same objects, but for those of bytes')
    const bob = worker('bob') as VirtualWorker
    const x = tf.tensor([1, 2, 3]).send(bob, { requiresGrad: true })
    const ROUND = 2500
    const heapAfterRound = async () => {
      for (let i = 0; i < ROUND; i++) {
        scope(() => x.mul(2).sum().backward())
        x.zeroGrad()
        if (i % 500 === 0) await turn()
      }
      await bob.flush()
      global.gc!()
      await turn()
      global.gc!()
      return process.memoryUsage().heapUsed
    }
    const growths: number[] = []
    let before = await heapAfterRound()
    for (let round = 0; round < 4; round++) {
      const after = await heapAfterRound()
      growths.push(after - before)
      before = after
    }
    // What is forgotten with every op is forgotten in every round: 50 bytes each of two ops. What the engine makes of the
    // code meanwhile, once, may be more.
    expect(Math.min(...growths)).toBeLessThan(ROUND * 2 * 50)
  })
  // Over sockets and in threads what is freed is freed a little later, and how much at any moment is chance.
}, inProcess)
