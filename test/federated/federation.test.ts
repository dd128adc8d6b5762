/** Rounds of a federation: the same model whatever hides the updates; clients that fail, go and come. */
import {
  batches,
  coordinateMedian,
  epsilonOf,
  Federation,
  type FederationOptions,
  fedAdam,
  fedAvg,
  fedProx,
  fedSgd,
  hook,
  inClear,
  masks,
  type RoundResult,
  type Strategy,
  tf,
  VirtualWorker,
} from 'sotto'
import { beforeAll, describe, expect, it } from 'vitest'
import { readyForTest } from '../backend.ts'
import { codeOf } from '../conformance/workers.ts'
import { examplesOf, inSums, network, owners, RESEARCHER } from './owners.ts'

beforeAll(async () => {
  await readyForTest()
  hook()
})

const sgd = { kind: 'sgd', learningRate: 0.5 } as const
const local = { epochs: 2, batchSize: 16, optimizer: sgd } as const
const flat = (model: tf.LayersModel): number[] => model.getWeights().flatMap((weight) => [...weight.dataSync()])
const greatest = (a: readonly number[], b: readonly number[]): number =>
  a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0)
const inResults = () => ({ private: true, allowResults: [RESEARCHER] })

type Options = Omit<FederationOptions, 'model' | 'clients' | 'loss'>

async function trained(
  count: number,
  options: Options,
  rights = inSums as Parameters<ReturnType<typeof owners>['bring']>[0],
) {
  const { workers, bring } = owners(count)
  const results: RoundResult[] = []
  const model = network()
  const onRound = (result: RoundResult) => void results.push(result)
  const settings = {
    model,
    clients: await bring(rights),
    loss: 'softmaxCrossEntropy' as const,
    local,
    onRound,
    ...options,
  }
  const federation = new Federation(settings)
  return { workers, model, results, federation }
}

/** The same in this process, without any of the library but the order of examples: what one client's training changes. */
function changesOf(owner: number, start: tf.LayersModel, seed: number, mu = 0): { change: number[]; count: number } {
  const { x, y, count } = examplesOf(owner)
  const model = network()
  model.setWeights(start.getWeights())
  const before = flat(model)
  const anchors = model.getWeights().map((weight) => weight.clone())
  const optimizer = tf.train.sgd(sgd.learningRate)
  for (let epoch = 0; epoch < local.epochs; epoch++) {
    for (const rows of batches(count, { batchSize: local.batchSize, seed: seed + epoch })) {
      optimizer.minimize(() => {
        const chosen = tf.tensor1d(rows, 'int32')
        const [inputs, labels] = [tf.tensor(x, [count, 4]).gather(chosen), tf.tensor1d(y).gather(chosen)]
        const output = model.apply(inputs) as tf.Tensor2D
        const loss = tf.losses.softmaxCrossEntropy(tf.oneHot(labels.cast('int32'), 2), output)
        const pull = model.weights.map((weight, i) => weight.read().sub(anchors[i]!).square().sum())
        return tf.addN([loss, ...pull.map((part) => part.mul(mu / 2))]).asScalar()
      })
    }
  }
  return { change: flat(model).map((value, i) => value - before[i]!), count }
}

describe('a federation', () => {
  it.each([
    ['fedAvg', fedAvg(), 0],
    ['fedProx', fedProx({ mu: 0.5 }), 0.5],
  ] as const)(
    'moves by the mean of what each client’s training changes, weighted by examples: %s',
    async (_, strategy, mu) => {
      const { model, federation } = await trained(3, { rounds: 1, aggregation: 'clear', strategy }, inResults)
      const start = network()
      const parts = [0, 1, 2].map((owner) => changesOf(owner, start, owner * 2 ** 12, mu))
      const total = parts.reduce((sum, { count }) => sum + count, 0)
      const expected = flat(start).map((value, i) =>
        parts.reduce((sum, { change, count }) => sum + (change[i]! * count) / total, value),
      )
      await federation.fit()
      // Ten steps in float32 on both sides, of sums in another order.
      expect(greatest(flat(model), expected)).toBeLessThan(1e-5)
      expect(greatest(flat(model), flat(start))).toBeGreaterThan(0.05)
    },
  )

  it('moves by the mean gradient over all examples where that is what clients send', async () => {
    const options = {
      rounds: 1,
      aggregation: 'clear',
      strategy: fedSgd({ learningRate: 0.5 }),
      local: { batchSize: 16 },
    } as const
    const { model, federation } = await trained(3, options, inResults)
    const twin = network()
    const own = [0, 1, 2].map(examplesOf)
    const count = own.reduce((sum, part) => sum + part.count, 0)
    const x = tf.tensor(
      own.flatMap((part) => [...part.x]),
      [count, 4],
    )
    const y = tf.tensor1d(
      own.flatMap((part) => [...part.y]),
      'int32',
    )
    const loss = () => tf.losses.softmaxCrossEntropy(tf.oneHot(y, 2), twin.apply(x) as tf.Tensor2D).asScalar()
    tf.train.sgd(0.5).minimize(loss)
    await federation.fit()
    expect(greatest(flat(model), flat(twin))).toBeLessThan(1e-6)
  })

  const BITS = 28
  it.each([
    ['masks', masks({ clip: 4, bits: BITS }), 4 / (2 ** (BITS - 1) - 1)],
    ['shares', 'shares', 3 * 2 ** -24],
    ['pairs', 'pairs', 16 / (2 ** 23 - 1)],
  ] as const)(
    'comes to the same model as in clear, but for a step of its numbers: %s',
    async (name, aggregation, step) => {
      const open = await trained(3, { rounds: 1, aggregation: 'clear' }, inResults)
      await open.federation.fit()
      const hidden = await trained(3, { rounds: 1, aggregation })
      const { rounds } = await hidden.federation.fit()
      expect(rounds).toHaveLength(1)
      expect(rounds[0]).toMatchObject({ contributors: ['ann', 'ben', 'cat'], missing: [], failed: null })
      // A weight is at most 4: its last place is 2^-22, and it is rounded twice.
      expect(greatest(flat(hidden.model), flat(open.model))).toBeLessThan(step + 2 ** -21)
      for (const worker of hidden.workers) {
        const toResearcher = (await worker.ledger()).filter(({ to, event }) => to === RESEARCHER && event !== 'refused')
        // Nothing went to the researcher in clear; what was opened is the sum, at all parties.
        expect([...new Set(toResearcher.map(({ event }) => event))], name).toEqual([
          name === 'shares' ? 'opened' : 'shared',
        ])
      }
      hidden.federation.dispose()
      await Promise.all(hidden.workers.map((worker) => worker.flush()))
    },
  )

  it.each(['masks', 'shares'] as const)(
    'shows nobody one client’s update, who may see sums: %s',
    async (aggregation) => {
      const { workers, federation } = await trained(3, { rounds: 1, aggregation })
      await federation.fit()
      const [x] = await workers[0]!.search(['#x'])
      await expect((x as never as { fetch(): Promise<unknown> }).fetch()).rejects.toMatchObject({
        code: 'ERR_PERMISSION',
      })
      // Nor in the mean of two, of which the other one would be told.
      const two = await trained(2, { rounds: 1, aggregation: 'pairs' })
      expect(await codeOf(() => two.federation.fit())).toBe('ERR_COHORT')
      expect(two.results[0]!.failed).toContain('is private to')
      expect(flat(two.model)).toEqual(flat(network()))
    },
  )

  it('learns, and says how well, here and at the clients', async () => {
    const evaluate = (model: tf.LayersModel): { accuracy: number } =>
      tf.tidy(() => {
        const { x, y, count } = examplesOf(5)
        const found = (model.predict(tf.tensor(x, [count, 4])) as tf.Tensor).argMax(1)
        return { accuracy: found.equal(tf.tensor1d(y, 'int32')).cast('float32').mean().dataSync()[0]! }
      })
    const { results, federation } = await trained(4, { rounds: 6, evaluate, evaluateAtClients: true })
    await federation.fit()
    expect(results.map(({ round }) => round)).toEqual([1, 2, 3, 4, 5, 6])
    expect(results.at(-1)!.metrics['accuracy']).toBeGreaterThan(0.85)
    expect(results.at(-1)!.metrics['clientAccuracy']).toBeGreaterThan(0.85)
    expect(results.at(-1)!.metrics['clientLoss']).toBeLessThan(results[0]!.metrics['clientLoss']!)
    // Fit for a line of a file.
    expect(JSON.parse(JSON.stringify(results))).toEqual(results)
  })

  it.each([fedAvg(), fedAdam({ learningRate: 0.05 })])(
    'goes on from a checkpoint as if it had not been interrupted: $name',
    async (strategy) => {
      const options = { rounds: 4, aggregation: 'clear', strategy, sampling: { fraction: 0.5 }, seed: 7 } as const
      const saved: Uint8Array[] = []
      const whole = await trained(4, { ...options, onCheckpoint: (bytes) => void saved.push(bytes) }, inResults)
      await whole.federation.fit()
      const resumed = await trained(4, options, inResults)
      resumed.federation.restore(saved[1]!)
      expect(resumed.federation.round).toBe(2)
      const { rounds } = await resumed.federation.fit()
      expect(rounds.map(({ asked }) => asked)).toEqual(whole.results.slice(2).map(({ asked }) => asked))
      expect(flat(resumed.model)).toEqual(flat(whole.model))
      const changed = saved[1]!.slice()
      changed[40]! ^= 1
      expect(await codeOf(() => resumed.federation.restore(changed))).toBe('ERR_CHECKPOINT')
      expect(await codeOf(() => resumed.federation.restore(saved[1]!.subarray(0, 10)))).toBe('ERR_CHECKPOINT')
    },
  )

  it('asks other clients each round, as many as are to be sampled', async () => {
    const { results, federation } = await trained(
      6,
      { rounds: 6, aggregation: 'clear', sampling: { fraction: 0.5 } },
      inResults,
    )
    await federation.fit()
    for (const { asked, contributors } of results) {
      expect(asked).toHaveLength(3)
      expect([...contributors].sort()).toEqual([...asked].sort())
    }
    expect(new Set(results.map(({ asked }) => asked.join())).size).toBeGreaterThan(1)
  })

  it('goes on without a client that is gone, and says who and why', async () => {
    const { workers, results, federation } = await trained(5, {
      rounds: 3,
      onRound: async (result) => {
        results.push(result)
        if (result.round === 1) await workers[2]!.close()
        // Another one goes by its own will.
        if (result.round === 2) federation.leave('eve')
      },
    })
    await federation.fit()
    expect(results.map(({ contributors }) => contributors)).toEqual([
      ['ann', 'ben', 'cat', 'dan', 'eve'],
      ['ann', 'ben', 'dan', 'eve'],
      ['ann', 'ben', 'dan'],
    ])
    expect(results[0]!.missing).toEqual([])
    for (const { missing } of results.slice(1)) {
      expect(missing).toEqual([expect.objectContaining({ worker: 'cat', code: 'ERR_SESSION_CLOSED' })])
    }
  })

  it('does not wait for a client beyond the deadline', async () => {
    const make = (id: string) => new VirtualWorker(id, id === 'cat' ? { latency: 400 } : {})
    const { bring } = owners(4, make)
    const federation = new Federation({
      model: network(),
      clients: await bring(),
      loss: 'softmaxCrossEntropy',
      local,
      rounds: 1,
      deadline: 700,
    })
    const { rounds } = await federation.fit()
    expect(rounds[0]).toMatchObject({ contributors: ['ann', 'ben', 'dan'], failed: null })
    expect(rounds[0]!.missing).toEqual([expect.objectContaining({ worker: 'cat', code: 'ERR_TIMEOUT' })])
  })

  it('fails a round that too few are left for, with the model as it was, and takes up the next', async () => {
    const { workers, model, results, federation } = await trained(4, { rounds: 2, sampling: { minimum: 4 } })
    const before = flat(model)
    const asked = workers[1]!
    const ask = asked.ask.bind(asked)
    // It leaves in the middle of the sum.
    asked.ask = (verb, ...rest) =>
      (verb as string) === 'maskValues' ? Promise.reject(new Error('left')) : ask(verb, ...rest)
    expect(await codeOf(() => federation.fit())).toBe('ERR_COHORT')
    expect(results[0]!.failed).toContain('ben: left')
    expect(flat(model)).toEqual(before)
    asked.ask = ask
    const { rounds } = await federation.fit()
    expect(rounds).toMatchObject([{ round: 2, failed: null, contributors: ['ann', 'ben', 'cat', 'dan'] }])
    expect(flat(model)).not.toEqual(before)
  })

  it('ends early when a metric gets no better', async () => {
    const scores = [0.5, 0.7, 0.7, 0.6, 0.9]
    const { results, federation } = await trained(3, {
      rounds: 5,
      evaluate: (_, round) => ({ score: scores[round - 1]! }),
      earlyStop: { metric: 'score', patience: 2 },
    })
    expect(await federation.fit()).toMatchObject({ stoppedEarly: true })
    expect(results.map(({ round }) => round)).toEqual([1, 2, 3, 4])
  })

  it('takes a strategy of one’s own', async () => {
    const means: number[] = []
    const halfway: Strategy = {
      name: 'halfway',
      sends: 'update',
      proximal: 0,
      step(weights, mean, state, round) {
        means.push(mean.length, round)
        return { weights: weights.map((weight, i) => weight + mean[i]! / 2), state }
      },
    }
    const { model, federation } = await trained(3, { rounds: 1, strategy: halfway, aggregation: 'clear' }, inResults)
    const whole = await trained(3, { rounds: 1, aggregation: 'clear' }, inResults)
    await Promise.all([federation.fit(), whole.federation.fit()])
    const start = flat(network())
    const half = flat(whole.model).map((value, i) => (value + start[i]!) / 2)
    expect(means).toEqual([start.length, 0])
    expect(greatest(flat(model), half)).toBeLessThan(1e-6)
  })

  it('clips and blurs what each client sends for differential privacy, and counts what that costs', async () => {
    const privacy = { clip: 0.01, noiseMultiplier: 0, delta: 1e-3 }
    const clipped = await trained(4, { rounds: 1, aggregation: 'clear', privacy }, inResults)
    const start = flat(clipped.model)
    await clipped.federation.fit()
    const moved = Math.hypot(...flat(clipped.model).map((value, i) => value - start[i]!))
    // Of four updates of norm 0.01 the mean has no more, but for float32.
    expect(moved).toBeLessThan(0.01 * (1 + 1e-4))
    expect(moved).toBeGreaterThan(0.001)
    expect(clipped.results[0]!.epsilon).toBe(Number.POSITIVE_INFINITY)

    const noisy = await trained(4, { rounds: 2, privacy: { ...privacy, noiseMultiplier: 50 }, aggregation: 'masks' })
    await noisy.federation.fit()
    const noise = flat(noisy.model).map((value, i) => value - start[i]!)
    // Each round adds σ·clip/m = 0.125 to every one of 44 weights: 0.177 after two, less than a tenth of it by training.
    const deviation = Math.hypot(...noise) / Math.sqrt(noise.length)
    expect(deviation).toBeGreaterThan(0.177 * 0.5)
    expect(deviation).toBeLessThan(0.177 * 1.5)
    const [first, second] = noisy.results.map(({ epsilon }) => epsilon!)
    expect(first).toBeCloseTo(epsilonOf({ noiseMultiplier: 50, delta: 1e-3 }).epsilon, 9)
    expect(second).toBeCloseTo(epsilonOf({ noiseMultiplier: 50, steps: 2, delta: 1e-3 }).epsilon, 9)
  })

  it('takes robust means in clear alone', async () => {
    const { bring } = owners(3)
    const clients = await bring(inResults)
    const options = {
      model: network(),
      clients,
      loss: 'softmaxCrossEntropy',
      rounds: 1,
      strategy: coordinateMedian(),
    } as const
    expect(() => new Federation(options)).toThrow(/looks at what each client sends, which masks hides/)
    const { rounds } = await new Federation({ ...options, aggregation: inClear() }).fit()
    expect(rounds[0]!.failed).toBeNull()
  })

  it('is refused what makes none, before anything is sent', async () => {
    const { workers, bring } = owners(3)
    const clients = await bring()
    const good = { model: network(), clients, loss: 'softmaxCrossEntropy', rounds: 1 } as const
    const bad = [
      [{ clients: [] }, 'ERR_ARGUMENT_TYPE'],
      [{ clients: [clients[0]!, clients[0]!] }, 'ERR_ID_TAKEN'],
      [{ clients: [{ ...clients[0]!, worker: workers[1]! }] }, 'ERR_NOT_COLLOCATED'],
      [{ aggregation: 'magic' }, 'ERR_ARGUMENT_VALUE'],
      [{ aggregation: masks({ bits: 32, modulus: 32 }) }, 'ERR_ARGUMENT_VALUE'],
      [{ strategy: fedAvg }, 'ERR_ARGUMENT_TYPE'],
      [{ local: { steps: 1, epochs: 1 } }, 'ERR_ARGUMENT_VALUE'],
      [{ sampling: { minimum: 4 } }, 'ERR_COHORT'],
      [{ weighting: 'examples', privacy: { clip: 1, noiseMultiplier: 1, delta: 1e-5 } }, 'ERR_ARGUMENT_VALUE'],
      [{ evaluateAtClients: true, privacy: { clip: 1, noiseMultiplier: 1, delta: 1e-5 } }, 'ERR_ARGUMENT_VALUE'],
      [{ loss: 'unknown' }, 'ERR_ARGUMENT_VALUE'],
      [{ round: 1 }, 'ERR_ARGUMENT_VALUE'],
    ] as const
    for (const [change, code] of bad) {
      expect([change, await codeOf(() => new Federation({ ...good, ...change } as never))]).toEqual([change, code])
    }
  })
})
