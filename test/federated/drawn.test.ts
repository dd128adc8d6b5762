/** Who takes part in a round when somebody else says so; and what a worker that dials masks, and for whom. */
import {
  Federation,
  type FederationSampling,
  hook,
  Identity,
  listenForWorkers,
  masks,
  offerWorker,
  type RoundResult,
  type Worker,
} from 'sotto'
import { beforeAll, describe, expect, it } from 'vitest'
import { readyForTest } from '../backend.ts'
import { examplesOf, names, network, owners, RESEARCHER } from './owners.ts'

beforeAll(async () => {
  await readyForTest()
  hook()
})

const local = { epochs: 1, batchSize: 32 } as const

describe('a round that somebody else draws', () => {
  async function drawn(draw: NonNullable<FederationSampling['draw']>, sampling: FederationSampling = {}) {
    const results: RoundResult[] = []
    const federation = new Federation({
      model: network(),
      clients: await owners(4).bring(),
      loss: 'softmaxCrossEntropy',
      local,
      rounds: 3,
      failures: 3,
      sampling: { ...sampling, draw },
      onRound: (result) => void results.push(result),
    })
    return { federation, results }
  }

  it('is of those who were drawn, from those who are there then', async () => {
    const { federation, results } = await drawn(async (clients, round) => {
      if (round === 1) federation.leave('ann')
      return clients.filter((name) => federation.clients.includes(name) && (round !== 0 || name !== 'dan'))
    })
    await federation.fit()
    expect(results.map(({ asked, contributors }) => [asked, contributors])).toEqual([
      [
        ['ann', 'ben', 'cat'],
        ['ann', 'ben', 'cat'],
      ],
      [
        ['ben', 'cat', 'dan'],
        ['ben', 'cat', 'dan'],
      ],
      [
        ['ben', 'cat', 'dan'],
        ['ben', 'cat', 'dan'],
      ],
    ])
  })

  it('fails with fewer than the minimum, and asks nobody for anything', async () => {
    const { federation, results } = await drawn((clients) => clients.slice(1), { minimum: 4 })
    await federation.fit()
    expect(results.map(({ failed }) => failed)).toEqual(Array(3).fill('3 clients are left, and 4 are the least'))
  })

  it.each<[string, string[], string]>([
    ['who is no client', ['ann', 'zoe', 'ben'], 'ERR_NOT_FOUND'],
    ['somebody twice', ['ann', 'ben', 'ann'], 'ERR_ARGUMENT_VALUE'],
  ])('is not of %s', async (_, given, code) => {
    const { federation } = await drawn(() => given)
    await expect(federation.fit()).rejects.toMatchObject({ code })
  })
})

describe('a worker that dials', () => {
  /** Owners whose workers dial, each for sums of so many. */
  async function dialled(count: number, fewestOwners: number | undefined) {
    const identities = names.slice(0, count).map((name) => [name, Identity.generate()] as const)
    const keys = Object.fromEntries(identities.map(([name, { key }]) => [name, key]))
    const hub = await listenForWorkers({ port: 0, workers: keys })
    const offered = await Promise.all(
      identities.map(([name, identity], i) => {
        const { x, y, count: rows } = examplesOf(i)
        const allowShares = Object.keys(keys).filter((other) => other !== name)
        const rights = { allowShares, allowTotals: [RESEARCHER] }
        return offerWorker(hub.url, {
          id: name,
          identity,
          data: {
            x: { shape: [rows, 4], dtype: 'float32', data: x, ...rights },
            y: { shape: [rows], dtype: 'float32', data: y, ...rights },
          },
          peers: keys,
          ...(fewestOwners === undefined ? {} : { fewestOwners }),
        })
      }),
    )
    const clients = await Promise.all(
      Object.keys(keys).map(async (name) => {
        const worker: Worker = await hub.worker(name, { identity: RESEARCHER })
        const [[x], [y]] = await Promise.all([worker.search(['#x']), worker.search(['#y'])])
        return { worker, x: x!, y: y! }
      }),
    )
    return {
      clients,
      async close() {
        await Promise.all(offered.map((worker) => worker.close()))
        await hub.close()
      },
    }
  }

  it.each<[string, number, number | undefined, number, boolean]>([
    ['no sum of two, whatever it is asked', 2, undefined, 2, false],
    ['sums of two when it was started for them', 2, 2, 2, true],
    ['no sum of three when it was started for four', 4, 4, 3, false],
    ['sums of four then', 4, 4, 4, true],
  ])('masks %s', async (_, count, fewestOwners, minimum, isDone) => {
    const { clients, close } = await dialled(count, fewestOwners)
    const results: RoundResult[] = []
    const federation = new Federation({
      model: network(),
      clients,
      loss: 'softmaxCrossEntropy',
      local,
      rounds: 1,
      failures: 1,
      aggregation: masks({ minimum }),
      onRound: (result) => void results.push(result),
    })
    await federation.fit()
    const [{ failed, contributors }] = results as [RoundResult]
    expect(contributors).toHaveLength(isDone ? count : 0)
    if (isDone) expect(failed).toBeNull()
    else {
      expect(failed).toContain('private to')
      const ledger = await clients[0]!.worker.ledger()
      expect(ledger).toContainEqual(expect.objectContaining({ event: 'refused', operation: 'mask', to: RESEARCHER }))
    }
    federation.dispose()
    await close()
  })

  it('is started for no sum of one', async () => {
    const offer = offerWorker('ws://127.0.0.1:1', { id: 'ann', fewestOwners: 1 })
    await expect(offer).rejects.toMatchObject({ code: 'ERR_ARGUMENT_VALUE' })
  })
})
