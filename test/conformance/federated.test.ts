import { Federation, type FederationOptions, hook, type RoundResult, VirtualWorker, type Worker } from 'sotto'
import { expect, it } from 'vitest'
import { network, owners, RESEARCHER } from '../federated/owners.ts'
import { once } from '../once.ts'
import { onEveryWorker } from './workers.ts'

type Outcome = { readonly weights: number[]; readonly result: RoundResult }

/** A round of three owners. */
async function round(
  make: (id: string) => Worker,
  aggregation: FederationOptions['aggregation'] & string,
  rights?: () => object,
): Promise<Outcome> {
  const model = network()
  const { bring } = owners(3, make)
  const local = { steps: 2, batchSize: 8, optimizer: { kind: 'sgd', learningRate: 0.5 } } as const
  const clients = await bring(rights)
  const federation = new Federation({ model, clients, loss: 'softmaxCrossEntropy', rounds: 1, local, aggregation })
  const { rounds } = await federation.fit()
  federation.dispose()
  const weights = model.getWeights().flatMap((weight) => [...weight.dataSync()])
  return { weights, result: rounds[0]! }
}

/** The same in clear, in this process. */
const open = once((_: 'clear') =>
  round(
    (id) => new VirtualWorker(id),
    'clear',
    () => ({ private: true, allowResults: [RESEARCHER] }),
  ),
)

onEveryWorker((worker, kind) => {
  it.each(['masks', 'shares'] as const)(
    'learns the same from hidden updates as from those in clear: %s',
    async (aggregation) => {
      hook()
      const { weights, result } = await round(worker, aggregation)
      expect(result).toMatchObject({ contributors: ['ann', 'ben', 'cat'], missing: [], failed: null })
      const expected = (await open('clear')).weights
      const step = { masks: 16 / (2 ** 23 - 1), shares: 3 * 2 ** -24 }[aggregation]
      // A weight is at most 4: its last place is 2^-22, and it is rounded twice.
      const difference = Math.max(...weights.map((weight, i) => Math.abs(weight - expected[i]!)))
      expect(difference, kind).toBeLessThan(step + 2 ** -21)
    },
  )
})
