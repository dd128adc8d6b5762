/** Rows of examples whose parts are with several owners. */
import { sottoError } from '../errors.ts'
import { checkOptions } from '../options.ts'
import { PointerTensor } from '../tensor/pointer.ts'

/** What a split network takes: of one first segment its input or inputs, of several a list with each one's. */
export type SplitInput = PointerTensor | readonly (PointerTensor | readonly PointerTensor[])[]

/** Examples: row i of every tensor belongs to example i, or what {@link SplitData.rows} says. */
export interface SplitData {
  readonly x: SplitInput
  /** Labels, at the owner of the last segment. */
  readonly y: PointerTensor
  /** Of each first segment, and of the labels, the row of every example; see {@link alignRows}. In order unless given. */
  readonly rows?: { readonly x: readonly Int32Array[]; readonly y: Int32Array }
}

/** Inputs by first segment. */
export function inputsOf(entry: string, x: SplitInput, segments: number): readonly PointerTensor[][] {
  const list = x instanceof PointerTensor ? [x] : x
  if (!Array.isArray(list)) {
    throw sottoError('ERR_ARGUMENT_TYPE', `${entry}: "x" expected a pointer, or a list of them`, { option: 'x' })
  }
  const all = segments === 1 ? [list.flat()] : list.map((item) => [item].flat())
  if (all.length !== segments || !all.flat().every((item) => item instanceof PointerTensor)) {
    throw sottoError(
      'ERR_ARGUMENT_TYPE',
      `${entry}: "x" expected a pointer for each of the ${segments} first segments, got ${list.length} items`,
      { option: 'x' },
    )
  }
  return all as PointerTensor[][]
}

/** How many examples there are, once it is sure that everybody has as many. */
export function countOf(entry: string, x: readonly PointerTensor[][], { y, rows }: SplitData): number {
  if (!(y instanceof PointerTensor)) {
    throw sottoError('ERR_ARGUMENT_TYPE', `${entry}: "y" expected a pointer to labels`, { option: 'y' })
  }
  const counts = rows
    ? [...rows.x, rows.y].map(({ length }) => length)
    : [...x.flat(), y].map(({ shape: [count = 0] }) => count)
  const [count = 0] = counts
  if (counts.some((other) => other !== count) || (rows && rows.x.length !== x.length)) {
    throw sottoError(
      'ERR_SHAPE',
      `${entry}: the owners have ${counts.join(', ')} rows; align them by their ids: alignRows(…)`,
      { counts },
    )
  }
  if (count === 0) throw sottoError('ERR_SHAPE', `${entry}: there are no rows`)
  return count
}

/** Some examples, gathered at each owner. */
export function gathered(
  x: readonly PointerTensor[][],
  { y, rows }: SplitData,
  chosen: Int32Array,
): { x: PointerTensor[][]; y: PointerTensor } {
  const at = (own: Int32Array | undefined) => (own === undefined ? chosen : chosen.map((i) => own[i]!))
  return {
    x: x.map((inputs, i) => {
      const indices = at(rows?.x[i])
      return inputs.map((input) => input.gather(indices))
    }),
    y: y.gather(at(rows?.y)),
  }
}

/** Some rows of a tensor that follow one another. */
export const rowsOf = (tensor: PointerTensor, at: number, rows: number): PointerTensor =>
  tensor.slice([at, ...tensor.shape.slice(1).map(() => 0)], [rows, ...tensor.shape.slice(1)])

export interface Chunk {
  readonly at: number
  readonly rows: number
}

/** Consecutive rows, so many at a time; the last has what is left. */
export const chunksOf = (count: number, size: number): Chunk[] =>
  Array.from({ length: Math.ceil(count / size) }, (_, i) => ({ at: i * size, rows: Math.min(size, count - i * size) }))

/** Rows in so many parts, or as many as there are rows; of one size as nearly as can be. */
export function partsOf(count: number, parts: number): Chunk[] {
  const number = Math.min(parts, count)
  const ends = Array.from({ length: number + 1 }, (_, i) => Math.floor((i * count) / number))
  return ends.slice(1).map((end, i) => ({ at: ends[i]!, rows: end - ends[i]! }))
}

/** The rows of one owner: a tensor, and whose each row is. */
export interface OwnedRows {
  readonly data: PointerTensor | readonly PointerTensor[]
  /** An id for each row: no two alike. */
  readonly ids: readonly (string | number)[]
}

/** A row that some owners have and another has not. */
export interface MissingRows {
  /** Worker of the owner without them. */
  readonly worker: string
  readonly ids: readonly (string | number)[]
}

export interface AlignedRows extends SplitData {
  readonly rows: NonNullable<SplitData['rows']>
  /** Ids of the examples, in their order: that of the labels. */
  readonly ids: readonly (string | number)[]
  /** What was left out, by owner. */
  readonly missing: readonly MissingRows[]
}

/**
 * Aligns the rows of several owners by their ids: an example is what has the same id everywhere. Nothing is moved; each
 * owner gathers its own rows.
 *
 * Whoever aligns sees the ids, and not what they belong to. Where ids must not be seen either, see `alignedDataset`.
 *
 * @param missing what to do with an id that one of the owners does not have: refuse, or leave the row out and say so
 * @throws ValueError `ERR_ARGUMENT_VALUE` that names owners and ids that are missing, or twice at one owner
 */
export function alignRows(
  x: readonly OwnedRows[],
  y: OwnedRows,
  options: { missing?: 'refuse' | 'leave out' } = {},
): AlignedRows {
  checkOptions('alignRows', options, ['missing'])
  const { missing: policy = 'refuse' } = options
  if (policy !== 'refuse' && policy !== 'leave out') {
    throw sottoError('ERR_ARGUMENT_VALUE', "alignRows: \"missing\" expected 'refuse' or 'leave out'")
  }
  if (!Array.isArray(x) || x.length === 0) {
    throw sottoError('ERR_ARGUMENT_TYPE', 'alignRows: expected a list of the rows of each owner')
  }
  const owners = [...x, y].map(ownerOf)
  const known = owners.map(({ index }) => index)
  const everywhere = (id: string | number): boolean => known.every((index) => index.has(id))
  const all = [...new Set(owners.flatMap(({ ids }) => [...ids]))]
  const missing = owners.flatMap(({ worker, index }, i) => {
    // Features and labels of one worker are reported apart only if they differ.
    const ids = all.filter((id) => !index.has(id))
    const isSaid = owners.slice(0, i).some((other) => other.worker === worker && sameIds(all, other.index, index))
    return ids.length === 0 || isSaid ? [] : [{ worker, ids }]
  })
  if (missing.length > 0 && policy === 'refuse') {
    throw sottoError(
      'ERR_ARGUMENT_VALUE',
      `alignRows: ${missing.map(({ worker, ids }) => `${worker} has no row for ${ids.length} ids (${shown(ids)})`).join('; ')}; { missing: 'leave out' } goes on without them`,
      { missing },
    )
  }
  const ids = owners.at(-1)!.ids.filter(everywhere)
  if (ids.length === 0)
    throw sottoError('ERR_ARGUMENT_VALUE', 'alignRows: the owners have no id in common', { missing })
  const rows = known.map((index) => Int32Array.from(ids, (id) => index.get(id)!))
  return {
    x: x.map(({ data }) => data),
    y: [y.data].flat()[0]!,
    rows: { x: rows.slice(0, -1), y: rows.at(-1)! },
    ids,
    missing,
  }
}

interface Owner {
  readonly worker: string
  readonly ids: readonly (string | number)[]
  readonly index: ReadonlyMap<string | number, number>
}

function ownerOf({ data, ids }: OwnedRows): Owner {
  const [first, ...others] = [data].flat()
  if (!(first instanceof PointerTensor) || !Array.isArray(ids)) {
    throw sottoError('ERR_ARGUMENT_TYPE', 'alignRows: each owner needs "data", pointers, and "ids", a list')
  }
  const worker = first.location.id
  for (const { shape } of [first, ...others]) {
    if (shape[0] === ids.length) continue
    throw sottoError('ERR_SHAPE', `alignRows: ${worker} has ${shape[0]} rows and ${ids.length} ids`, { worker })
  }
  const index = new Map<string | number, number>()
  const twice = new Set<string | number>()
  ids.forEach((id, row) => {
    if (index.has(id)) twice.add(id)
    else index.set(id, row)
  })
  if (twice.size > 0) {
    throw sottoError(
      'ERR_ARGUMENT_VALUE',
      `alignRows: ${worker} has ${twice.size} ids more than once (${shown([...twice])})`,
      { worker, ids: [...twice] },
    )
  }
  return { worker, ids, index }
}

const sameIds = (
  all: readonly (string | number)[],
  a: ReadonlyMap<string | number, number>,
  b: ReadonlyMap<string | number, number>,
): boolean => all.every((id) => a.has(id) === b.has(id))

/** Ids in a message: the first few. */
const SHOWN = 5
const shown = (ids: readonly (string | number)[]): string =>
  `${ids.slice(0, SHOWN).join(', ')}${ids.length > SHOWN ? ', …' : ''}`
