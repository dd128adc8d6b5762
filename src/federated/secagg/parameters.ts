/**
 * Who shares masks and secrets with how many, and how many of them it takes: neighbours, threshold and witnesses, from
 * the number of clients and the fractions of them that may be corrupted or drop out.
 *
 * Up to 64 clients everybody is everybody's neighbour, and the threshold is ⌊2n/3⌋ + 1 (Bonawitz et al., CCS '17, §6,
 * against active adversaries: two sets of that many have more than a third of all in common, so an honest client is among
 * them while less than a third is corrupted).
 *
 * Above, a client has k neighbours: places on a ring are dealt at random, and those within k/2 places are neighbours
 * (a Harary graph under a random permutation: Bell et al., "Secure Single-Server Aggregation with (Poly)Logarithmic
 * Overhead", CCS '20, the semi-honest protocol). With n clients, A = ⌊γn⌋ corrupted, D = ⌊δn⌋ that drop out, σ = 40 and
 * η = 30, k is the least even number for which a threshold t exists such that, by the union bound over all clients (their
 * events of a good graph, and the search of the authors' own code in google/federated-compute,
 * fcp/secagg/server/graph_parameter_finder; tails are exact, not Chernoff's):
 *
 *   n(n − k − 1)/2 · C(A + D, k)/C(n, k) ≤ 2^−(σ+1)   honest survivors stay connected: to cut a ring, k/2 places in a row
 *                                                     must be gone, twice
 *   n · P[at least t of k neighbours corrupted] ≤ 2^−(σ+1)     nobody's secrets are known to their neighbours
 *   n · P[less than t of k neighbours survive] ≤ 2^−η          everybody's secrets can be put together
 *
 * and t is the least such. For n = 1,000 and 10 % of each: k = 52, t = 28.
 *
 * A draw of places is one trial. A round may take {@link DRAWS} of them, since whoever holds back what it put into a draw
 * spoils it: that is worth two bits of the 40 to an adversary.
 *
 * What goes beyond the two papers, for more than 64 clients: that all were shown the same survivors is confirmed by
 * witnesses, the clients of the first places, instead of everyone. Two quorums of them have an honest client in common:
 * P[corrupted witnesses ≥ 2q − m] ≤ 2^−45, P[less than q survive] ≤ 2^−35. So nobody's two kinds of shares are given at
 * once, whatever a server says, with t above the corrupted neighbours alone; without witnesses it would take
 * t > (k + corrupted neighbours)/2, and k = 114 for n = 1,000.
 *
 * The first bound takes those who drop out as independent of the draw. A server that claims that clients have dropped
 * out, and picks them by their places, may cut the ring. So clients ask for a {@link SecAggParameters.spread} of
 * survivors: at least that many in each k/2 places in a row. With `server: 'curious'` it is as large as honest dropouts
 * allow, but with a probability of 2^−35; with `server: 'active'` k is raised until more than that many corrupted are in
 * k/2 places in a row nowhere, but with 2^−41: an honest survivor is then in each, the ring is not cut, and the server
 * may choose who drops out as it likes.
 */
import { sottoError } from '../../errors.ts'
import { checkOptions, numberOption } from '../../options.ts'
import { logShare, logTail, quantile, type Urn } from './tails.ts'

/** Up to so many clients, everybody is everybody's neighbour. */
export const COMPLETE = 64
/** How often places may be dealt in a round. */
export const DRAWS = 4
/** The most clients of a round: shares are points of a field of 2^16 elements, and 0 is taken. */
export const CLIENTS = 65_535

/** Bits of privacy and of correctness. */
const PRIVACY = 40
const CORRECTNESS = 30
/** Added for what comes beside the bounds of the paper, so that it weighs little. */
const BESIDE = 5

export interface Trust {
  /** Fraction of the clients that may be corrupted, together with the server; from 0 to below 1. Default: 0.1. */
  readonly corrupted?: number
  /** Fraction of the clients that may drop out between shares and unmasking; from 0 to below 1. Default: 0.1. */
  readonly dropouts?: number
  /**
   * Whether the server may choose who is said to have dropped out, by their places ('active'), or not ('curious'; the
   * default). It makes no difference up to 64 clients. All else that a server may do is guarded against in either case.
   */
  readonly server?: 'curious' | 'active'
}

export interface SecAggParameters {
  readonly clients: number
  /** How many neighbours a client has. */
  readonly neighbours: number
  /** How many shares it takes to put a secret together. */
  readonly threshold: number
  /** Survivors in each `neighbours / 2` places in a row, at least; 0 in a complete graph. */
  readonly spread: number
  /** The clients of so many first places confirm who survived. */
  readonly witnesses: number
  /** How many of them have to. */
  readonly quorum: number
  /** Everybody is everybody's neighbour, and holds a share of their own secrets too. */
  readonly isComplete: boolean
}

const checked = new Map<string, SecAggParameters>()

/**
 * Neighbours, threshold and witnesses for so many clients; see above.
 *
 * @param clients from 2 to 65,535
 * @throws RangeError `ERR_ARGUMENT_VALUE` when nothing keeps the bounds: too many corrupted or dropping out
 */
export function secAggParameters(clients: number, trust: Trust = {}): SecAggParameters {
  const entry = 'secAggParameters'
  numberOption(entry, 'clients', clients, { from: 2, to: CLIENTS, integer: true })
  const { corrupted, dropouts, server } = checkTrust(entry, trust)
  // The same for every client of a round: many live in one process when one simulates.
  const key = `${clients} ${corrupted} ${dropouts} ${server}`
  const known = checked.get(key)
  if (known !== undefined) return known
  const found =
    clients <= COMPLETE ? completeGraph(clients, corrupted, dropouts) : ringGraph(clients, corrupted, dropouts, server)
  if (found === undefined) {
    throw sottoError(
      'ERR_ARGUMENT_VALUE',
      `${clients} clients, ${corrupted} of them corrupted and ${dropouts} dropping out: no number of neighbours keeps ` +
        `them private and the sum there; take more clients, or smaller fractions`,
      { clients, corrupted, dropouts, server },
    )
  }
  checked.set(key, found)
  return found
}

export function checkTrust(entry: string, trust: Trust): Required<Trust> {
  checkOptions(entry, trust, ['corrupted', 'dropouts', 'server'])
  const { corrupted = 0.1, dropouts = 0.1, server = 'curious' } = trust
  numberOption(entry, 'corrupted', corrupted, { from: 0, below: 1 })
  numberOption(entry, 'dropouts', dropouts, { from: 0, below: 1 })
  if (server !== 'curious' && server !== 'active') {
    throw sottoError('ERR_ARGUMENT_VALUE', `${entry}: "server" expected 'curious' or 'active'`, { entry })
  }
  return { corrupted, dropouts, server }
}

/** ⌊fraction · n⌋, where the product of a decimal fraction may have come out a last digit too small. */
const partOf = (fraction: number, n: number): number => Math.floor(fraction * n + 1e-9)

function completeGraph(n: number, corrupted: number, dropouts: number): SecAggParameters | undefined {
  const threshold = Math.floor((2 * n) / 3) + 1
  const [bad, gone] = [partOf(corrupted, n), partOf(dropouts, n)]
  if (gone > n - threshold || bad >= 2 * threshold - n) return undefined
  const all = { clients: n, neighbours: n - 1, threshold, spread: 0, witnesses: n, quorum: threshold }
  return { ...all, isComplete: true }
}

/** How many neighbours, by the bounds of the paper; see {@link secAggParameters}. For tests, with other bits as well. */
export function ringDegree(
  n: number,
  corrupted: number,
  dropouts: number,
  { privacy = PRIVACY, correctness = CORRECTNESS, isEnough = (_k: number): boolean => true } = {},
): { readonly neighbours: number; readonly threshold: number } | undefined {
  const [bad, gone] = [partOf(corrupted, n), partOf(dropouts, n)]
  const clients = Math.log2(n)
  for (let k = 2; k < n - 1; k += 2) {
    const pairs = clients + Math.log2(n - k - 1) - 1
    if (pairs + logShare(bad + gone, n, k) > -(privacy + 1)) continue
    const others = { balls: n - 1, drawn: k }
    const threshold = Math.max(2, quantile({ ...others, marked: bad }, privacy + 1 + clients) + 1)
    // Fewer than t survive where more than k − t are gone.
    if (logTail({ ...others, marked: gone }, k - threshold + 1) > -(correctness + clients)) continue
    if (isEnough(k)) return { neighbours: k, threshold }
  }
  return undefined
}

function ringGraph(
  n: number,
  corrupted: number,
  dropouts: number,
  server: 'curious' | 'active',
): SecAggParameters | undefined {
  const [bad, gone] = [partOf(corrupted, n), partOf(dropouts, n)]
  const clients = Math.log2(n)
  const rows = (marked: number, k: number): Urn => ({ balls: n, marked, drawn: k / 2 })
  const spreadOf = (k: number) => k / 2 - quantile(rows(gone, k), CORRECTNESS + BESIDE + clients)
  const isEnough = (k: number) => server === 'curious' || quantile(rows(bad, k), PRIVACY + 1 + clients) < spreadOf(k)
  const degree = ringDegree(n, corrupted, dropouts, { isEnough })
  if (degree === undefined) return undefined
  for (let witnesses = 1; witnesses <= n; witnesses++) {
    const drawn = { balls: n, drawn: witnesses }
    const quorum = Math.floor((witnesses + quantile({ ...drawn, marked: bad }, PRIVACY + BESIDE)) / 2) + 1
    if (quorum > witnesses) continue
    if (logTail({ ...drawn, marked: gone }, witnesses - quorum + 1) > -(CORRECTNESS + BESIDE)) continue
    const spread = Math.max(1, spreadOf(degree.neighbours))
    return { clients: n, ...degree, spread, witnesses, quorum, isComplete: false }
  }
  return undefined
}
