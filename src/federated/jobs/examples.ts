/** Examples of a party of a job, as files have them and the job's loss and model need them. */
import { sottoError } from '../../errors.ts'
import type { tf } from '../../tensor/backend.ts'
import { type DType, showShape } from '../../tensor/shape.ts'
import type { JobTerms } from './definition.ts'

/** A tensor outside the engine. */
export interface Values {
  readonly shape: readonly number[]
  readonly dtype: DType
  readonly data: Float32Array | Int32Array | Uint8Array
}

/** Sets of examples, by their names: those to train on, and perhaps others to evaluate on. */
export const SETS = ['x', 'y', 'test-x', 'test-y'] as const
export type SetName = (typeof SETS)[number]

/** Losses whose labels are numbers of classes, where they are no one-hot rows. */
const OF_CLASSES: ReadonlySet<string> = new Set(['softmaxCrossEntropy', 'nllLoss'])

/**
 * Looks at examples before anything else is done with them.
 *
 * @returns the same, with labels of one column as class numbers where the loss is of classes
 * @throws ValueError `ERR_ARGUMENT_VALUE` for sets that are missing or have other names, `ERR_SHAPE` for examples that
 *   are not the model's
 */
export function checkExamples(
  { loss }: Pick<JobTerms, 'loss'>,
  model: tf.LayersModel,
  given: Readonly<Record<string, Values>>,
): Readonly<Partial<Record<SetName, Values>>> {
  const strange = Object.keys(given).find((name) => !SETS.includes(name as SetName))
  if (strange !== undefined) {
    throw sottoError('ERR_ARGUMENT_VALUE', `data "${strange}": a job knows ${SETS.join(', ')}`, { name: strange })
  }
  const sets: Partial<Record<SetName, Values>> = { ...given }
  for (const [x, y] of [
    ['x', 'y'],
    ['test-x', 'test-y'],
  ] as const) {
    const [examples, labels] = [sets[x], sets[y]]
    if (examples === undefined && labels === undefined) continue
    if (examples === undefined || labels === undefined) {
      throw sottoError('ERR_ARGUMENT_VALUE', `data: "${x}" and "${y}" go together: --data ${x}=… --data ${y}=…`)
    }
    const [expected, got] = [model.inputs[0]!.shape.slice(1), examples.shape.slice(1)]
    if (expected.length !== got.length || expected.some((size, axis) => size !== null && size !== got[axis])) {
      throw sottoError(
        'ERR_SHAPE',
        `data "${x}": the model takes examples of shape ${showShape(expected as number[])}, these are ${showShape(got)}`,
      )
    }
    if (examples.shape[0] !== labels.shape[0]) {
      throw sottoError(
        'ERR_SHAPE',
        `data "${x}" has ${examples.shape[0]} examples, and "${y}" ${labels.shape[0]} labels`,
      )
    }
    sets[y] = OF_CLASSES.has(loss) ? classes(labels) : labels
  }
  return sets
}

/** A column of a table is a column; class numbers are a list. */
function classes({ shape, dtype, data }: Values): Values {
  const isColumn = shape.length === 2 && shape[1] === 1
  if (shape.length !== 1 && !isColumn) return { shape, dtype, data }
  return { shape: [shape[0]!], dtype: 'int32', data: Int32Array.from(data) }
}
