/** What a party brings to a job in secret: numbers of its own files, weights of its models, parts of secrets. */
import { dirname, join } from 'node:path'
import { readDataFile } from '../data/data-file.ts'
import { sottoError } from '../errors.ts'
import { modelOf } from '../federated/jobs/model-files.ts'
import { type Encoding, fixedEncoding, sameEncoding, showEncoding } from '../smpc/encoding.ts'
import type { SecretJob } from '../smpc/jobs/definition.ts'
import type { Brought } from '../smpc/jobs/member.ts'
import { precisionOf } from '../smpc/jobs/steps.ts'
import { ringTensor, wordsOf } from '../smpc/ring/tensor.ts'
import { readPart } from '../smpc/share-file.ts'
import { weightsOf } from '../tensor/model-wire.ts'
import { encodedFrom, tableIn } from './encoded-files.ts'
import { UsageError } from './io.ts'
import { readBytes } from './secret-files.ts'

const encodingOf = (job: SecretJob): Encoding => fixedEncoding('job: "precision"', precisionOf(job))

/** @throws UsageError for what is no input of this party's, or an input without a file */
function checkGiven(flag: string, wanted: readonly string[], given: readonly string[], isNeeded: boolean): void {
  const strange = given.find((name) => !wanted.includes(name))
  if (strange !== undefined) {
    throw new UsageError(`${flag}: it brings no ${strange}; there are ${wanted.join(', ') || 'none'}`)
  }
  const missing = wanted.find((name) => !given.includes(name))
  if (isNeeded && missing !== undefined) throw new UsageError(`${flag} ${missing}=file is missing: the job needs it`)
}

/**
 * What an owner brings, in the precision of the job: tables and arrays; and the weights of models from their `model.json`.
 *
 * @throws DataError that names file, row and column; StateError `ERR_JOB` for a file that holds no model
 */
export async function bringData(
  job: SecretJob,
  names: readonly string[],
  files: Readonly<Record<string, string>>,
  columns: Readonly<Record<string, readonly string[]>>,
): Promise<Readonly<Record<string, Brought>>> {
  checkGiven('--data', names, Object.keys(files), true)
  checkGiven('--columns', names, Object.keys(columns), false)
  const encoding = encodingOf(job)
  const brought: Record<string, Brought> = {}
  for (const name of names) {
    const path = files[name]!
    const isModel = job.inputs[name]!.layers !== undefined
    const tensors = isModel ? await weightsIn(path) : [await numbersIn(path, columns[name])]
    const parts = tensors.map(({ shape, values }) => ({ value: encodedFrom(path, shape, values, encoding), encoding }))
    brought[name] = { parts, set: null }
  }
  return brought
}

interface Numbers {
  readonly shape: readonly number[]
  readonly values: Float32Array | Float64Array
}

async function numbersIn(path: string, columns: readonly string[] | undefined): Promise<Numbers> {
  if (path.toLowerCase().endsWith('.csv')) return tableIn(await readBytes(path), path, columns)
  const { shape, data } = await readDataFile(path, columns === undefined ? {} : { columns })
  return { shape, values: data instanceof Float32Array ? data : Float64Array.from(data) }
}

async function weightsIn(path: string): Promise<Numbers[]> {
  const files = {
    'model.json': await readBytes(path),
    'weights.bin': await readBytes(join(dirname(path), 'weights.bin')),
  }
  const model = await modelOf(files)
  const weights = weightsOf(model).map(({ weight }) => {
    const tensor = weight.read()
    return { shape: tensor.shape, values: Float32Array.from(tensor.dataSync()) }
  })
  model.dispose()
  return weights
}

/**
 * Parts of secrets that a party which computes has in files.
 *
 * @param index which of the three it is
 * @throws StateError `ERR_SHARES`; `ERR_SHARES_MISMATCH` for the part of another party, or of another protocol;
 *   ArgumentError `ERR_PRECISION` for another encoding than the job's
 */
export async function bringParts(
  job: SecretJob,
  index: number,
  files: Readonly<Record<string, string>>,
): Promise<Readonly<Record<string, Brought>>> {
  checkGiven('--shares', Object.keys(job.inputs), Object.keys(files), false)
  const encoding = encodingOf(job)
  const brought: Record<string, Brought> = {}
  for (const [name, path] of Object.entries(files)) {
    const part = readPart(await readBytes(path), path)
    if (part.protocol !== 'replicated' || part.party !== index) {
      throw sottoError(
        'ERR_SHARES_MISMATCH',
        `${path}: it is the part of party ${part.party} of ${part.parties} by ${part.protocol} sharing; ` +
          `${job.compute[index]} takes that of party ${index} by replicated sharing`,
      )
    }
    if (!sameEncoding(part.encoding, encoding)) {
      const [has, wanted] = [showEncoding(part.encoding), showEncoding(encoding)]
      throw sottoError('ERR_PRECISION', `${path}: it is in ${has}, and the job in ${wanted}`)
    }
    // The first components of all parties are all components: each is a summand that says nothing.
    const value = ringTensor(encoding.ring, part.shape, wordsOf(part.components[0]!))
    brought[name] = { parts: [{ value, encoding }], set: Buffer.from(part.set).toString('hex') }
  }
  return brought
}
