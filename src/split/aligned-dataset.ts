/** Tables of several owners about partly the same people, brought into one order without anybody seeing an id. */
import { sottoError } from '../errors.ts'
import { checkOptions, numberOption } from '../options.ts'
import { LARGEST_SET } from '../psi/cuckoo.ts'
import type { IntersectOptions } from '../psi/intersect.ts'
import { protocols } from '../psi/two-party.ts'
import type { PsiReport } from '../psi/workers/messages.ts'
import '../psi/workers/handlers.ts'
import { newId } from '../tensor/location.ts'
import { labelsOf, misplaced, PointerTensor } from '../tensor/pointer.ts'
import { showShape } from '../tensor/shape.ts'
import { Worker } from '../worker/worker.ts'
import { askToAlign, type Taken } from './aligned-tables.ts'

/** What one owner has, on its own worker: row i of each tensor is about whom row i of the ids names. */
export interface OwnedTable {
  /** Whole numbers, or what `idTensor` makes of text: see `intersect`. */
  readonly ids: PointerTensor
  /** Features, `[n, …]`. An owner may have labels alone. */
  readonly x?: PointerTensor
  /** Labels, `[n, …]`, of one owner. */
  readonly y?: PointerTensor
}

/** As of `intersect`; what is revealed is which rows are shared, to every owner. */
export interface AlignOptions extends Omit<IntersectOptions, 'reveal'> {
  /** Under which owners find what was taken of their tables: they may look at it, as it is theirs. */
  readonly tags?: readonly string[]
}

/** What `SplitNN` trains on, and regressions in secret: row i of every tensor is about the same one. */
export interface AlignedDataset {
  /** Features, in the order of the owners who have some, `[size, …]` each. */
  readonly x: readonly PointerTensor[]
  /** Labels, at their owner. */
  readonly y: PointerTensor
  /** How many are shared. */
  readonly size: number
  /** What each owner counted while ids were matched. */
  readonly reports: readonly PsiReport[]
}

/**
 * Finds whom the tables of two owners or more have in common, by private set intersection, and has each owner take the
 * rows of its own, in one order everywhere. Nothing is joined, and nothing passes the caller, who learns how many are
 * shared.
 *
 * Each owner learns which of its rows are shared, and of the others' ids no other. The order is a random one: rows from
 * the front and from the back are fair samples.
 *
 * What is taken of a private tensor that its owner sent is as private as that tensor, if the ids are that owner's too:
 * who may see results of it may see results of the rows that are shared. What is taken of anything else is as private
 * as the ids.
 *
 * @param owners one of them has the labels, each has its own worker; ids that one has more than once are left out
 * @throws ValueError `ERR_ARGUMENT_VALUE` when nobody is shared, or the labels are not one owner's; RangeError
 *   `ERR_SHAPE` when an owner has more rows than ids, or fewer; PlacementError `ERR_NOT_COLLOCATED` when these are on
 *   two workers, `ERR_PARTIES` when two owners are on one; and what `intersect` fails with
 */
export async function alignedDataset(
  owners: readonly OwnedTable[],
  options: AlignOptions = {},
): Promise<AlignedDataset> {
  const { protocol, padTo, timeout, signal, tags } = checkedOptions(options)
  const workers = checkTables(owners)
  workers[0]!.addWorkers(workers.slice(1))
  const run = newId()
  const parties = workers.map(({ id }) => id)
  const wanted = owners.map(({ x, y }) => [tableOf(x, 'features', tags), tableOf(y, 'labels', tags)])
  const runs = await Promise.allSettled(
    workers.map((worker, index) => {
      const terms = { run, parties, index, reveal: 'both', protocol, padTo, timeout } as const
      const tables = wanted[index]!.flatMap((table) => (table === null ? [] : [table.taken]))
      return askToAlign(worker, { run: { ...terms, ids: owners[index]!.ids.id, out: newId() }, tables }, signal)
    }),
  )
  const free = (): void => {
    for (const [index, worker] of workers.entries()) {
      const ids = wanted[index]!.flatMap((table) => (table === null ? [] : [table.taken.out]))
      if (!worker.isClosed) worker.tell('free', { ids })
    }
  }
  const failures = runs.flatMap((result) => (result.status === 'rejected' ? [result.reason as Error] : []))
  if (failures.length > 0) {
    free()
    // What failed first, and not that others then did.
    throw failures.find((error) => (error as { code?: string }).code !== 'ERR_PARTY_LOST') ?? failures[0]!
  }
  const reports = runs.map((result) => (result as PromiseFulfilledResult<PsiReport>).value)
  const [{ size }] = reports as [PsiReport]
  if (size === null || reports.some((report) => report.size !== size)) {
    free()
    throw sottoError('ERR_OUT_OF_STEP', 'alignedDataset: the owners do not agree on how many ids they share')
  }
  if (size === 0) {
    free()
    throw sottoError('ERR_ARGUMENT_VALUE', 'alignedDataset: the owners have no id in common')
  }
  const x = wanted.flatMap(([features]) => features?.pointer(size) ?? [])
  const y = wanted.flatMap(([, labels]) => labels?.pointer(size) ?? [])[0]!
  return { x, y, size, reports }
}

/** What is to be taken of a tensor, and the pointer to that once it is known how many rows it has. */
function tableOf(values: PointerTensor | undefined, description: string, tags: readonly string[]) {
  if (values === undefined) return null
  const labels = labelsOf({ tags, description })
  const taken: Taken = { id: values.use('alignedDataset'), out: newId(), labels }
  const { location, dtype } = values
  return {
    taken,
    pointer: (size: number): PointerTensor => {
      const spec = { shape: [size, ...values.shape.slice(1)], dtype }
      return new PointerTensor({ location, id: taken.out, spec, owns: true, isPublished: tags.length > 0, labels })
    },
  }
}

function checkedOptions(options: AlignOptions) {
  const entry = 'alignedDataset'
  checkOptions(entry, options, ['protocol', 'padTo', 'timeout', 'signal', 'tags'])
  const { protocol = 'fast', padTo, timeout, signal, tags = [] } = options
  if (!Object.hasOwn(protocols, protocol)) {
    throw sottoError('ERR_ARGUMENT_VALUE', `${entry}: "protocol" expected one of ${Object.keys(protocols).join(', ')}`)
  }
  if (padTo !== undefined) numberOption(entry, 'padTo', padTo, { from: 0, to: LARGEST_SET, integer: true })
  if (timeout !== undefined) numberOption(entry, 'timeout', timeout, { above: 0 })
  return { protocol, padTo: padTo ?? null, timeout: timeout ?? null, signal, tags }
}

/** @returns the workers of the owners */
function checkTables(owners: readonly OwnedTable[]): Worker[] {
  if (!Array.isArray(owners) || owners.length < 2) {
    throw sottoError(
      'ERR_ARGUMENT_TYPE',
      'alignedDataset: expected a list of what each owner has, two or more: [{ ids, x }, { ids, x, y }]',
    )
  }
  for (const owner of owners) {
    checkOptions('alignedDataset: an owner', owner, ['ids', 'x', 'y'])
    const { ids, x, y } = owner
    const values = [x, y].filter((value) => value !== undefined)
    if (![ids, ...values].every((value) => value instanceof PointerTensor) || values.length === 0) {
      throw sottoError('ERR_ARGUMENT_TYPE', 'alignedDataset: each owner needs "ids", and "x" or "y": pointers')
    }
    for (const value of values) {
      if (value.location !== ids.location) throw misplaced('alignedDataset', ids.location, value.location)
      if (value.rank > 0 && value.shape[0] === ids.shape[0]) continue
      const worker = ids.location.id
      throw sottoError(
        'ERR_SHAPE',
        `alignedDataset: ${worker} has ${ids.shape[0] ?? 0} ids, and a tensor of ${showShape(value.shape)}: it takes a row for each`,
        { worker },
      )
    }
  }
  const labelled = owners.filter(({ y }) => y !== undefined).length
  if (labelled !== 1) {
    throw sottoError('ERR_ARGUMENT_VALUE', `alignedDataset: one owner has the labels "y"; here ${labelled} have`)
  }
  if (owners.every(({ x }) => x === undefined)) {
    throw sottoError('ERR_ARGUMENT_VALUE', 'alignedDataset: no owner has features "x"')
  }
  const workers = owners.map(({ ids: { location } }) => {
    if (location instanceof Worker) return location
    throw sottoError('ERR_ARGUMENT_TYPE', 'alignedDataset: tables must lie on workers')
  })
  if (new Set(workers.map(({ id }) => id)).size < workers.length) {
    throw sottoError('ERR_PARTIES', 'alignedDataset: each owner has a worker of its own, and two of these are the same')
  }
  return workers
}
