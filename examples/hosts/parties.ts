/** The parties of the demos: who owns what, who lets whom do what with it, and what the researcher does. */
import { loadMnist, loadSmsSpam, type tf, type Worker } from 'sotto'
import { research as federatedSpam } from '../federated-spam.ts'
import { dealt, featuresOf, isSpam } from '../lib/spam.ts'
import type { Weight } from '../lib/weights.ts'
import { research as secretSpam } from '../secret-spam.ts'
import { research as splitMnist } from '../split-mnist.ts'

/** A data set as its owner has it. */
export interface OwnedData {
  readonly tensor: tf.Tensor
  readonly tags: readonly string[]
  /** Rights besides the owner's own: nobody sees the values themselves. */
  readonly allowResults?: readonly string[]
  readonly allowShares?: readonly string[]
  readonly allowTotals?: readonly string[]
}

export interface Party {
  readonly name: string
  /** By the names of their files. */
  readonly data: Readonly<Record<string, OwnedData>>
  /** Other parties to which the owner lets shares of the data go. They are known by their keys, not by their word. */
  readonly peers: readonly string[]
  /** In a few words, for whoever watches. */
  readonly role: string
}

/** What there is before anything is started. */
export interface Scene {
  readonly parties: readonly Party[]
  /** What the researcher has at home, to see how good the result is. */
  readonly held: unknown
}

export interface Settings {
  /** Passes over the data, or rounds of training and averaging. */
  readonly rounds: number
  /** Images or messages used; 0 for all. */
  readonly limit: number
  readonly seed: number
}

/** What comes of a demo. */
export interface Result {
  readonly weights: readonly Weight[]
}

export interface Demo {
  readonly title: string
  readonly defaults: Pick<Settings, 'rounds' | 'limit'>
  /** Stands for what is true without it: that each party has its data. */
  scene(settings: Settings): Promise<Scene>
  /** The researcher's part. All it knows of the data are the tags under which it is found. */
  research(workers: Readonly<Record<string, Worker>>, held: never, settings: Settings): Promise<Result>
}

export const RESEARCHER = 'researcher'
const PROVIDER = 'carol'
const OWNERS = ['bob', 'alice', 'jane'] as const

/** Messages held by three owners, and what each of them allows. */
async function messages(
  { limit, seed }: Settings,
  rightsOf: (owner: string) => Pick<OwnedData, 'allowResults' | 'allowShares' | 'allowTotals'>,
  peersOf: (owner: string) => readonly string[],
): Promise<Scene> {
  const { messages: all, source } = await loadSmsSpam(limit > 0 ? { limit } : {})
  const { owned, held } = dealt(all, OWNERS.length, seed)
  const parties = OWNERS.map((name, i): Party => {
    const mine = owned[i]!
    const { x, y } = featuresOf(mine, DIMENSION)
    const rights = rightsOf(name)
    return {
      name,
      role: `owns ${mine.length} messages (${source}), ${mine.filter(isSpam).length} of them spam`,
      data: {
        features: { tensor: x, tags: ['#sms', '#features'], ...rights },
        labels: { tensor: y, tags: ['#sms', '#labels'], ...rights },
      },
      peers: peersOf(name),
    }
  })
  return { parties, held }
}

/** Features that words are hashed into: the parties have agreed on it. */
const DIMENSION = 4096
const training = ({ rounds, seed }: Settings) => ({
  rounds,
  seed,
  batchSize: 32,
  learningRate: 10,
  dimension: DIMENSION,
})

const among = (workers: Readonly<Record<string, Worker>>): Worker[] => OWNERS.map((name) => workers[name]!)

export const demos: Readonly<Record<string, Demo>> = {
  'split-mnist': {
    title: 'Split learning on MNIST: images with alice, their labels with bob',
    defaults: { rounds: 3, limit: 6000 },
    async scene({ limit }) {
      const { train, test, source } = await loadMnist(limit > 0 ? { limit, testLimit: limit } : {})
      const allowResults = ['alice', 'bob', RESEARCHER]
      const rights = (tags: readonly string[]) => ({ tags: ['#mnist', ...tags], allowResults })
      const [images, testImages, labels] = [train.images(), test.images(), train.labelsTensor()]
      const alice: Party = {
        name: 'alice',
        role: `owns ${train.count} images to learn from, and ${test.count} others (${source})`,
        data: {
          'train-images': { tensor: images, ...rights(['#train', '#images']) },
          'test-images': { tensor: testImages, ...rights(['#test', '#images']) },
        },
        peers: [],
      }
      const bob: Party = {
        name: 'bob',
        role: `owns the labels of the ${train.count} images`,
        data: { 'train-labels': { tensor: labels, ...rights(['#train', '#labels']) } },
        peers: [],
      }
      return { parties: [alice, bob], held: [...test.labels] }
    },
    research: ({ alice, bob }, testLabels, { rounds: epochs, seed }) =>
      splitMnist(
        { alice: alice!, bob: bob!, testLabels },
        { epochs, seed, batchSize: 64, learningRate: 0.002, optimizer: 'adam' },
      ),
  },

  'federated-spam': {
    title: 'Three owners train a spam filter; the researcher averages what they learn, in clear',
    defaults: { rounds: 5, limit: 0 },
    scene: (settings) =>
      messages(
        settings,
        () => ({ allowResults: [RESEARCHER] }),
        () => [],
      ),
    research: (workers, held, settings) => federatedSpam({ workers: among(workers), held }, training(settings)),
  },

  'secret-spam': {
    title: 'Three owners train a spam filter; the mean of what they learn is computed in secret, and alone is opened',
    defaults: { rounds: 5, limit: 0 },
    async scene(settings) {
      const others = (owner: string) => [...OWNERS, PROVIDER].filter((name) => name !== owner)
      const rightsOf = (owner: string) => ({ allowShares: others(owner), allowTotals: [RESEARCHER] })
      const { parties, held } = await messages(settings, rightsOf, others)
      const provider = { name: PROVIDER, role: 'deals randomness, and owns nothing', data: {}, peers: [] }
      return { parties: [...parties, provider], held }
    },
    research: (workers, held, settings) => {
      const options = { ...training(settings), precision: 16, aggregation: 'shares' } as const
      return secretSpam({ workers: among(workers), provider: workers[PROVIDER]!, options }, held)
    },
  },
}
