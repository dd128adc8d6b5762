/** The owners of the forms of split learning: what they bring to their workers, and what others find there. */
import {
  type AlignedRows,
  alignRows,
  type LabelledImages,
  type Mnist,
  type OwnedRows,
  type PointerTensor,
  type SplitData,
  send,
  shuffledIndices,
  tf,
  type Worker,
} from 'sotto'
import type { Plan } from './forms.ts'

/** Workers by the names of their owners. */
export type Workers = ReadonlyMap<string, Worker>

/** Images to learn from, and to judge by. */
export type Digits = Pick<Mnist, 'train' | 'test'>

/** Who takes part, whether with data or without. */
export const ownersOf = ({ firsts, rest, clients }: Plan): string[] => {
  const names = [...firsts, ...rest].map(({ owner }) => owner)
  return [...new Set(clients?.aggregator ? [...names, clients.aggregator] : names)]
}

const labelsOwner = ({ rest }: Plan): string => rest.at(-1)!.owner

/** The id of the row that one owner has lost, where several have parts of each. */
const LOST = 7

/**
 * The owners bring their data, each to its own worker. What is computed from it may be seen by all who take part and by the
 * researcher. Those who have parts of the same images have them in an order of their own, and tell the researcher their ids.
 */
export async function bring(plan: Plan, at: Workers, { train, test }: Digits, seed: number): Promise<void> {
  const allowResults = [...at.keys(), 'me']
  const give = (owner: string, tensor: tf.Tensor, tags: readonly string[]) => {
    const rights = tags.includes('#ids') ? { allow: ['me'] } : { allowResults }
    send(tensor, at.get(owner)!.as(owner), { private: true, ...rights, tags: ['#mnist', ...tags] })
    tensor.dispose()
  }
  const sets: [string, LabelledImages][] = [
    ['#train', train],
    ['#test', test],
  ]
  for (const [set, images] of sets) {
    if (plan.clients) dealImages(plan, images, set, give)
    else if (plan.firsts.length > 1) dealPixels(plan, images, set, seed, give)
    else {
      give(plan.firsts[0]!.owner, images.images(), [set, '#images'])
      give(labelsOwner(plan), images.labelsTensor(), [set, '#labels'])
    }
  }
  await Promise.all([...at].map(([owner, worker]) => worker.as(owner).flush()))
}

type Give = (owner: string, tensor: tf.Tensor, tags: readonly string[]) => void

/** To each client some of the images; their labels to the server. */
function dealImages(plan: Plan, images: LabelledImages, set: string, give: Give): void {
  const { firsts } = plan
  for (const [i, { owner }] of firsts.entries()) {
    const [from, to] = [i, i + 1].map((part) => Math.floor((part * images.count) / firsts.length))
    const own = images.slice(from!, to!)
    give(owner, own.images(), [set, '#images'])
    give(labelsOwner(plan), own.labelsTensor(), [set, '#labels', `#of-${owner}`])
  }
}

/** To each owner some pixels of all images, but for one that the last has lost. */
function dealPixels(plan: Plan, images: LabelledImages, set: string, seed: number, give: Give): void {
  for (const [i, { owner, pixels }] of plan.firsts.entries()) {
    const order = shuffledIndices(images.count, 100 * seed + i)
    const isLost = set === '#train' && i === plan.firsts.length - 1
    const ids = isLost ? order.filter((id) => id !== LOST) : order
    const whole = images.images(ids)
    const [from, to] = pixels
    give(owner, whole.slice([0, from], [ids.length, to - from]), [set, '#images'])
    whole.dispose()
    give(owner, tf.tensor1d(ids, 'int32'), [set, '#ids'])
  }
  give(labelsOwner(plan), images.labelsTensor(), [set, '#labels'])
  give(labelsOwner(plan), tf.range(0, images.count, 1, 'int32'), [set, '#ids'])
}

/** What one worker has under tags: the researcher knows no more of it. */
const find = async (at: Workers, owner: string, ...tags: readonly string[]): Promise<PointerTensor> =>
  (await at.get(owner)!.search(tags))[0]!

/** Examples, and what had to be left out of them. */
export type Found = SplitData & Partial<Pick<AlignedRows, 'missing'>>

/** The examples of one network: those who have parts of them bring them together by their ids. */
export async function findExamples(plan: Plan, at: Workers, set: string): Promise<Found> {
  const y = await find(at, labelsOwner(plan), set, '#labels')
  const x = await Promise.all(plan.firsts.map(({ owner }) => find(at, owner, set, '#images')))
  if (x.length === 1) return { x: x[0]!, y }
  const withIds = async (data: PointerTensor): Promise<OwnedRows> => {
    const tensor = await (await find(at, data.location.id, set, '#ids')).fetch()
    const ids = [...tensor.dataSync()]
    tensor.dispose()
    return { data, ids }
  }
  return alignRows(await Promise.all(x.map(withIds)), await withIds(y), { missing: 'leave out' })
}

/** The examples of each client. */
export const findClients = (plan: Plan, at: Workers, set: string): Promise<SplitData[]> =>
  Promise.all(
    plan.firsts.map(async ({ owner }) => ({
      x: await find(at, owner, set, '#images'),
      y: await find(at, labelsOwner(plan), set, '#labels', `#of-${owner}`),
    })),
  )

export const rowsOf = ({ y, rows }: SplitData): number => rows?.y.length ?? y.shape[0]!
