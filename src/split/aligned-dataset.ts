/** Tables of several owners about partly the same people, brought into one order without anybody seeing an id. */
import { sottoError } from '../errors.ts'
import { checkOptions } from '../options.ts'
import { type IntersectOptions, intersect } from '../psi/intersect.ts'
import type { PsiReport } from '../psi/workers/messages.ts'
import { labelsOf, misplaced, PointerTensor } from '../tensor/pointer.ts'
import { showShape } from '../tensor/shape.ts'
import { matchedRows } from './matched-rows.ts'

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
 * Finds whom the tables of two owners or more have in common, by private set intersection, and has each owner take the rows
 * of its own, in one order everywhere. Nothing is joined, and nothing passes the caller, who learns how many are shared.
 *
 * Each owner learns which of its rows are shared, and of the others' ids no other. The order is a random one: rows from the
 * front and from the back are fair samples.
 *
 * What is taken of a private tensor that its owner sent is as private as that tensor, if the ids are that owner's too: who may
 * see results of it may see results of the rows that are shared. What is taken of anything else is as private as the ids.
 *
 * @param owners one of them has the labels, each has its own worker; ids that one has more than once are left out
 * @throws ValueError `ERR_ARGUMENT_VALUE` when nobody is shared, or the labels are not one owner's; RangeError `ERR_SHAPE`
 *   when an owner has more rows than ids, or fewer; PlacementError `ERR_NOT_COLLOCATED` when these are on two workers; and
 *   what `intersect` fails with
 */
export async function alignedDataset(
  owners: readonly OwnedTable[],
  options: AlignOptions = {},
): Promise<AlignedDataset> {
  checkOptions('alignedDataset', options, ['protocol', 'padTo', 'timeout', 'signal', 'tags'])
  const { tags = [], ...matching } = options
  checkTables(owners)
  const features = labelsOf({ tags, description: 'features' })
  const labels = labelsOf({ tags, description: 'labels' })
  const ids = owners.map((owner) => owner.ids)
  const { size, rows, reports } = await intersect(ids, { ...matching, reveal: 'both' })
  const known = rows as readonly PointerTensor[]
  try {
    if (size === 0) throw sottoError('ERR_ARGUMENT_VALUE', 'alignedDataset: the owners have no id in common')
    const x = owners.flatMap((owner, i) => (owner.x === undefined ? [] : [matchedRows(owner.x, known[i]!, features)]))
    const labelled = owners.findIndex((owner) => owner.y !== undefined)
    const y = matchedRows(owners[labelled]!.y!, known[labelled]!, labels)
    return { x, y, size, reports }
  } finally {
    for (const pointer of known) pointer.dispose()
  }
}

function checkTables(owners: readonly OwnedTable[]): void {
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
}
