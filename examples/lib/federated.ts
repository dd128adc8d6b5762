/**
 * What the examples of federated learning have in common: the ways to the mean, what owners must allow for each, and what
 * is printed in the end.
 */
import { Option } from 'commander'
import {
  type Aggregation,
  type FederatedClient,
  inClear,
  isSottoError,
  type LabelledImages,
  masks,
  type PointerTensor,
  pairMasks,
  type RoundResult,
  send,
  shares,
  tf,
  type Worker,
} from 'sotto'
import { wholeNumber } from './options.ts'

export const ways = ['shares', 'replicated', 'masks', 'pairs', 'clear'] as const
/** How the mean comes about: in shares among compute workers, additive or replicated, by secure aggregation, by masks in pairs alone, in clear. */
export type Way = (typeof ways)[number]

export const RESEARCHER = 'me'

/** Owners' workers, and those that compute on shares and hold no data. */
export interface Cast {
  readonly owners: readonly Worker[]
  readonly compute: readonly Worker[]
}

const described: Readonly<Record<Way, string>> = {
  shares: 'in shares',
  replicated: 'in replicated shares',
  masks: 'under masks, also when some drop out',
  pairs: 'under masks in pairs',
  clear: 'in clear',
}

export const aggregationOption = (choices: readonly Way[], unlessGiven: Way): Option =>
  new Option('--aggregation <way>', `how the mean comes about: ${choices.map((way) => described[way]).join('; ')}`)
    .choices(choices)
    .default(unlessGiven)

/** Values of more than this are cut where values are masked: gradients and updates of the examples are far below. */
const CLIP = 16

/** Fractional bits, or 'high': integers of 128 bits, with 32. */
export type Precision = number | 'high'

/** What the flag `--precision` says. */
export const precisionIn = (text: string): Precision => (text === 'high' ? 'high' : wholeNumber(text))

/** @param precision of what is aggregated; in clear it is float32 */
export function aggregationBy(way: Way, { compute }: Pick<Cast, 'compute'>, given: Precision): Aggregation {
  const isHigh = given === 'high'
  if (isHigh && way !== 'shares' && way !== 'replicated') {
    throw new Error(`--precision high goes with shares, and not with --aggregation ${way}`)
  }
  const precision = isHigh ? 32 : given
  const ring = isHigh ? 128 : 64
  // From −16 to 16 in steps of 2^−precision.
  const bits = precision + Math.log2(CLIP) + 1
  const byWay: Readonly<Record<Way, () => Aggregation>> = {
    shares: () => shares({ parties: compute, ring, precision }),
    replicated: () => shares({ parties: compute, protocol: 'replicated', ring, precision }),
    masks: () => masks({ clip: CLIP, bits }),
    pairs: () => pairMasks({ clip: CLIP, bits }),
    clear: inClear,
  }
  return byWay[way]()
}

/**
 * An owner's rights on examples that nobody is to see. In clear, the researcher may see what is computed from them; else
 * shares and masks go among others that the owner names, and the researcher may see sums over all owners.
 */
function rightsOf(way: Way, { owners, compute }: Cast, owner: Worker) {
  const among = way === 'shares' || way === 'replicated' ? compute : owners.filter((other) => other !== owner)
  return way === 'clear'
    ? { private: true, allowResults: [RESEARCHER] }
    : { private: true, allowShares: among.map(({ id }) => id), allowTotals: [RESEARCHER] }
}

/** An owner puts examples on their worker, under a tag, for one way to aggregate. Takes the tensors. */
export async function bring(
  owner: Worker,
  cast: Cast,
  way: Way,
  tag: string,
  { x, y }: { readonly x: tf.Tensor; readonly y: tf.Tensor },
): Promise<void> {
  const own = owner.as(owner.id)
  // Whom the owner means by these names, the owner says.
  own.addWorkers([...cast.owners, ...cast.compute].filter((other) => other !== owner))
  const rights = rightsOf(way, cast, owner)
  send(x, own, { ...rights, tags: [tag, '#images'] })
  send(y, own, { ...rights, tags: [tag, '#labels'] })
  tf.dispose([x, y])
  await own.flush()
}

/** What the researcher finds under a tag: who takes part in a federation. */
export const findClients = (owners: readonly Worker[], tag: string): Promise<FederatedClient[]> =>
  Promise.all(
    owners.map(async (worker) => {
      const find = async (what: string): Promise<PointerTensor> => (await worker.search([tag, what]))[0]!
      return { worker, x: await find('#images'), y: await find('#labels') }
    }),
  )

/** What comes of asking for something that an owner does not show. */
export const askedFor = (pointer: PointerTensor): Promise<string> =>
  pointer.fetch().then(
    () => 'nothing was refused',
    (error: unknown) => (isSottoError(error) ? `${error.code}: ${error.message.split(';')[0]}` : String(error)),
  )

/** Share of images that a model with a score for each class recognises, some at a time. */
export function recognised(model: tf.LayersModel, images: LabelledImages): number {
  const AT_A_TIME = 2000
  let hits = 0
  for (let from = 0; from < images.count; from += AT_A_TIME) {
    const some = images.slice(from, Math.min(from + AT_A_TIME, images.count))
    const classes = tf.tidy(() => (model.apply(some.images()) as tf.Tensor).argMax(1).dataSync())
    hits += some.labels.reduce((sum, label, i) => sum + Number(label === classes[i]), 0)
  }
  return hits / images.count
}

export const percent = (share: number): string => `${(100 * share).toFixed(2)} %`

/** What a round costs on average: bytes that a client sends, and milliseconds. */
export function costOf(rounds: readonly RoundResult[]): { bytesUp: number; ms: number } {
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length
  return {
    bytesUp: Math.round(mean(rounds.map(({ bytesUp }) => bytesUp))),
    ms: mean(rounds.map(({ ms }) => ms)),
  }
}
