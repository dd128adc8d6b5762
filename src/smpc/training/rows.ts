/** Rows of secrets: one tensor, or several that stand for their rows one after the other, as of several owners. */
import { sottoError } from '../../errors.ts'
import { noGrad } from '../../tensor/context.ts'
import { sameShape, showShape } from '../../tensor/shape.ts'
import { SharedTensor } from '../shared-tensor.ts'

/** Examples, or labels: row by row, of one owner or of several. */
export type SecretRows = SharedTensor | readonly SharedTensor[]

/** @throws `ERR_ARGUMENT_TYPE` for what is no secret, `ERR_SHAPE` where rows differ in shape */
export function rowsFrom(entry: string, name: string, given: unknown): readonly SharedTensor[] {
  const parts = (Array.isArray(given) ? given : [given]) as readonly unknown[]
  if (parts.length === 0 || !parts.every((part) => part instanceof SharedTensor)) {
    throw sottoError(
      'ERR_ARGUMENT_TYPE',
      `${entry}: "${name}" expected a shared tensor, or a list of them; share it among the parties of the model`,
      { entry },
    )
  }
  const [first] = parts
  for (const { shape } of parts) {
    if (shape.length > 0 && sameShape(shape.slice(1), first!.shape.slice(1))) continue
    throw sottoError(
      'ERR_SHAPE',
      `${entry}: the rows of "${name}" differ, ${showShape(first!.shape)} and ${showShape(shape)}`,
    )
  }
  return parts
}

export const countOf = (parts: readonly SharedTensor[]): number => parts.reduce((sum, { shape }) => sum + shape[0]!, 0)

/**
 * Examples and their labels.
 *
 * @throws `ERR_SHAPE` unless there is one label for each example, and one at least
 */
export function pairedRows(entry: string, x: unknown, y: unknown) {
  const [examples, labels] = [rowsFrom(entry, 'x', x), rowsFrom(entry, 'y', y)]
  const count = countOf(examples)
  if (count !== countOf(labels) || count === 0) {
    throw sottoError('ERR_SHAPE', `${entry}: ${count} rows of "x" and ${countOf(labels)} of "y"`)
  }
  return { examples, labels, count }
}

/**
 * The rows that public numbers name, in an order that follows from them alone. Local.
 *
 * @param rows numbers of rows, counted through all parts
 */
export function rowsAt(parts: readonly SharedTensor[], rows: Int32Array): SharedTensor {
  const sorted = Int32Array.from(rows).sort()
  const found: SharedTensor[] = []
  let begin = 0
  for (const part of parts) {
    const end = begin + part.shape[0]!
    const own = sorted.filter((row) => row >= begin && row < end).map((row) => row - begin)
    if (own.length > 0) found.push(noGrad(() => part.gather(own)))
    begin = end
  }
  const [first, ...rest] = found
  return rest.length === 0 ? first! : noGrad(() => first!.concat(rest))
}
