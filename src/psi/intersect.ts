/** Intersections of ids that lie on owners' workers: the caller says what is to be done, and sees nothing but how many. */
import { sottoError } from '../errors.ts'
import { checkOptions, numberOption } from '../options.ts'
import { tf } from '../tensor/backend.ts'
import { newId } from '../tensor/location.ts'
import { PointerTensor } from '../tensor/pointer.ts'
import { Worker } from '../worker/worker.ts'
import { LARGEST_SET } from './cuckoo.ts'
import { FINGERPRINT, Fingerprints, type Id, type IdOptions, rules } from './ids.ts'
import { type PsiProtocol, protocols, type Reveal, reveals } from './two-party.ts'
import './workers/handlers.ts'
import type { PsiMessages, PsiReport } from './workers/messages.ts'

export interface IntersectOptions {
  /** `both`: every owner learns which of its rows are shared. `one`: the first alone. `size`: how many, and not which. */
  readonly reveal?: Reveal
  /** See `PsiOptions`. Default: `fast`, or `curve` for `reveal: 'size'`. */
  readonly protocol?: PsiProtocol
  /** Each owner pretends to have so many ids. Default: as many as it has. */
  readonly padTo?: number
  /** Milliseconds that owners wait for each other's messages. Default: the workers' `peerTimeout`. */
  readonly timeout?: number
  readonly signal?: AbortSignal
}

export interface Intersection {
  /** How many ids are shared by all. */
  readonly size: number
  /**
   * Of each owner, in the order of the ids given, a pointer to the rows that are shared: int32, of shape [size], and in the
   * same order at every owner; undefined for owners that do not learn them. As private as the ids; whoever their owner
   * named in `allowMatches` may see what is computed with them, if it may see what is computed from the rest.
   */
  readonly rows: readonly (PointerTensor | undefined)[]
  /** What each owner counted. */
  readonly reports: readonly PsiReport[]
}

/**
 * Intersects ids that lie on the workers of two owners or more; they talk to each other, and nothing passes the caller.
 *
 * ids are whole numbers, of shape [n], or [n, k] where k columns are one id together; for text and the like see
 * {@link idTensor}. Rows that repeat an id, and float32 rows with a number that is not whole, are in no intersection.
 *
 * Of private ids, each owner must have named in `allowMatches` the workers that learn of it, and the caller, who learns how
 * many are shared. Every owner learns how many ids the next to it has. Semi-honest; see docs/psi.md.
 *
 * @throws PlacementError `ERR_PARTIES` when two are on one worker; PermissionError; and what the run fails with, from the
 * worker where it failed first: `ERR_TIMEOUT`, `ERR_PARTY_LOST`, `ERR_SHAPE`, `ERR_DTYPE`, `ERR_LIMIT`, `ERR_PROTOCOL`
 */
export async function intersect(ids: readonly PointerTensor[], options: IntersectOptions = {}): Promise<Intersection> {
  const { reveal, protocol } = checkIntersect(ids, options)
  const { padTo = null, timeout = null, signal } = options
  const workers = workersOf(ids)
  workers[0]!.addWorkers(workers.slice(1))
  const run = newId()
  const parties = workers.map(({ id }) => id)
  const outs = workers.map(() => newId())
  const runs = await Promise.allSettled(
    workers.map((worker, index) =>
      ask(
        worker,
        { run, ids: ids[index]!.id, out: outs[index]!, parties, index, reveal, protocol, padTo, timeout },
        signal,
      ),
    ),
  )
  const failures = runs.flatMap((result) => (result.status === 'rejected' ? [result.reason as Error] : []))
  if (failures.length > 0) {
    for (const [index, worker] of workers.entries()) if (!worker.isClosed) worker.tell('free', { ids: [outs[index]!] })
    throw failures.find((error) => !isOfAnother(error)) ?? failures[0]!
  }
  const reports = runs.map((result) => (result as PromiseFulfilledResult<PsiReport>).value)
  const [{ size }] = reports as [PsiReport]
  if (size === null || reports.some((report) => report.size !== null && report.size !== size)) {
    throw sottoError('ERR_OUT_OF_STEP', 'intersect: the owners do not agree on how many ids they share')
  }
  const isLearnt = (index: number) => reveal === 'both' || (reveal === 'one' && index === 0)
  const rows = workers.map((location, index) =>
    isLearnt(index)
      ? new PointerTensor({ location, id: outs[index]!, spec: { shape: [size], dtype: 'int32' }, owns: true })
      : undefined,
  )
  return { size, rows, reports }
}

function ask(worker: Worker, request: PsiMessages['psiRun']['request'], signal?: AbortSignal): Promise<PsiReport> {
  // Typed by the table of these messages; the worker knows those of its own alone.
  const wait = signal === undefined ? {} : { signal }
  return worker.ask('psiRun' as never, request as never, wait) as unknown as Promise<PsiReport>
}

/** Whether a worker failed because another did. */
const isOfAnother = (error: Error): boolean => (error as { code?: string }).code === 'ERR_PARTY_LOST'

function checkIntersect(
  ids: readonly PointerTensor[],
  options: IntersectOptions,
): { reveal: Reveal; protocol: PsiProtocol } {
  const entry = 'intersect'
  checkOptions(entry, options, ['reveal', 'protocol', 'padTo', 'timeout', 'signal'])
  if (!Array.isArray(ids) || !ids.every((pointer) => pointer instanceof PointerTensor)) {
    throw sottoError('ERR_ARGUMENT_TYPE', `${entry}: expected a list of pointers to ids, one of each owner`)
  }
  if (ids.length < 2) throw sottoError('ERR_ARGUMENT_VALUE', `${entry}: expected ids of two owners or more`)
  const { reveal = 'both', protocol = reveal === 'size' ? 'curve' : 'fast', padTo, timeout } = options
  if (!reveals.includes(reveal)) {
    throw sottoError('ERR_ARGUMENT_VALUE', `${entry}: "reveal" expected one of ${reveals.join(', ')}`)
  }
  if (!Object.hasOwn(protocols, protocol)) {
    throw sottoError('ERR_ARGUMENT_VALUE', `${entry}: "protocol" expected one of ${Object.keys(protocols).join(', ')}`)
  }
  if (reveal === 'size' && protocol === 'fast') {
    throw sottoError('ERR_ARGUMENT_VALUE', `${entry}: the protocol "fast" shows which ids are shared; take "curve"`)
  }
  if (reveal === 'size' && ids.length > 2) {
    throw sottoError('ERR_ARGUMENT_VALUE', `${entry}: more than two owners learn which ids are shared, or nothing`)
  }
  if (padTo !== undefined) numberOption(entry, 'padTo', padTo, { from: 0, to: LARGEST_SET, integer: true })
  if (timeout !== undefined) numberOption(entry, 'timeout', timeout, { above: 0 })
  return { reveal, protocol }
}

function workersOf(ids: readonly PointerTensor[]): Worker[] {
  const workers = ids.map(({ location }) => {
    if (location instanceof Worker) return location
    throw sottoError('ERR_ARGUMENT_TYPE', 'intersect: ids must lie on workers')
  })
  if (new Set(workers.map(({ id }) => id)).size < workers.length) {
    throw sottoError('ERR_PARTIES', 'intersect: each owner has a worker of its own, and two of these are the same')
  }
  return workers
}

/**
 * Ids as a tensor, to be sent to their owner's worker: of each row its fingerprint, 16 bytes of a hash, in four int32.
 *
 * Rows without an id (empty, or with an empty cell) get a fingerprint that nothing else has. A fingerprint can be looked up
 * by whoever can guess the id: send them as `private`.
 *
 * @param ids text, numbers, or several columns each
 * @param options how ids are written alike before they are compared; the owners must take the same rule
 * @returns int32, shape [n, 4]
 */
export function idTensor(ids: Iterable<Id>, options: IdOptions = {}): tf.Tensor2D {
  checkOptions('idTensor', options, ['rule'])
  const { rule = 'text' } = options
  if (!rules.includes(rule)) {
    throw sottoError('ERR_ARGUMENT_VALUE', `idTensor: "rule" expected one of ${rules.join(', ')}`)
  }
  let prints: Fingerprints | undefined
  for (const id of ids) {
    prints ??= new Fingerprints(rule, Array.isArray(id) ? id.length : 1)
    prints.add(id)
  }
  const bytes = (prints ?? new Fingerprints(rule)).finishRows()
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)
  return tf.tensor2d(words, [words.length / (FINGERPRINT / 4), FINGERPRINT / 4], 'int32')
}
