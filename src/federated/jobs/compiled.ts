/**
 * A compiled job: its terms and its model, as bytes of three files. Nothing in them is code: what runs later is named, and
 * looked up in tables.
 *
 * The job's id is the SHA-256 of all that it says, the model's files included. It guards against accidents; who changes a
 * job can make a new id. So parties compare ids, and the scheduler refuses whoever has another job.
 */
import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex } from '@noble/hashes/utils.js'
import * as v from 'valibot'
import { isSottoError, sottoError } from '../../errors.ts'
import { ready, tf } from '../../tensor/backend.ts'
import { scope } from '../../tensor/context.ts'
import { sendModel } from '../../tensor/model.ts'
import { optimizerOf } from '../../tensor/optimizer-settings.ts'
import { VirtualWorker } from '../../worker/virtual-worker.ts'
import { secAggParameters } from '../secagg/parameters.ts'
import { checkTerms, type JobDefinition, type JobTerms, termsOf } from './definition.ts'
import { MODEL_FILES, type ModelFiles, modelFilesOf, modelOf } from './model-files.ts'

export interface CompiledJob {
  /** SHA-256 of all that the job says, in hex. */
  readonly id: string
  readonly terms: JobTerms
  readonly model: ModelFiles
}

const FORMAT = 'sotto job 1'
/** The file of the terms. */
export const TERMS_FILE = 'job.json'

const plain = v.union([v.pipe(v.number(), v.finite()), v.string(), v.boolean()])
const settings = v.objectWithRest({ kind: v.string() }, plain)
const file = v.strictObject({ bytes: v.number(), sha256: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)) })
const schema = v.strictObject({
  format: v.literal(FORMAT),
  name: v.string(),
  loss: v.string(),
  trainers: v.number(),
  rounds: v.number(),
  strategy: settings,
  aggregation: settings,
  minimum: v.number(),
  local: v.strictObject({
    epochs: v.optional(v.number()),
    steps: v.optional(v.number()),
    batchSize: v.optional(v.number()),
    optimizer: v.optional(settings),
  }),
  fraction: v.number(),
  weighting: v.picklist(['examples', 'equal']),
  deadline: v.number(),
  grace: v.number(),
  evaluateAtTrainers: v.boolean(),
  earlyStop: v.nullable(
    v.strictObject({
      metric: v.string(),
      patience: v.number(),
      better: v.optional(v.picklist(['lower', 'higher'])),
    }),
  ),
  failures: v.number(),
  seed: v.number(),
  endpoints: v.strictObject({ scheduler: v.string(), server: v.string() }),
  files: v.strictObject({ 'model.json': file, 'weights.bin': file }),
})

const utf8 = new TextEncoder()
const hashOf = (bytes: Uint8Array): string => bytesToHex(sha256(bytes))
const idOf = (said: unknown): string => hashOf(utf8.encode(JSON.stringify(said)))

/**
 * Makes the model, and of all the rest data.
 *
 * @throws `ERR_ARGUMENT_TYPE`, `ERR_ARGUMENT_VALUE` for what is wrong with the definition, its model or its optimizer
 */
export async function compileJob(definition: JobDefinition): Promise<CompiledJob> {
  const terms = termsOf(definition)
  await ready()
  const model = await modelFilesOf(await definition.model(tf))
  await tryOut(terms, model)
  // As JSON has it: no more, and nothing that is undefined.
  const said = JSON.parse(JSON.stringify(manifestOf(terms, model))) as unknown
  const result = v.safeParse(schema, said)
  if (!result.success) {
    throw sottoError(
      'ERR_ARGUMENT_VALUE',
      `job: "${fieldOf(result.issues[0])}" is nothing that a file of data can hold`,
    )
  }
  const { format: _, files: __, ...kept } = result.output
  return { id: idOf(said), terms: kept as unknown as JobTerms, model }
}

const fieldOf = (issue: v.BaseIssue<unknown>): string => v.getDotPath(issue) ?? 'the whole'

function manifestOf(terms: JobTerms, model: ModelFiles) {
  const files = MODEL_FILES.map((name) => [name, { bytes: model[name].length, sha256: hashOf(model[name]) }] as const)
  return { format: FORMAT, ...terms, files: Object.fromEntries(files) }
}

/** What no trainer should be the first to find out: that the optimizer takes its settings, and masks their terms. */
async function tryOut({ trainers, aggregation, local }: JobTerms, files: ModelFiles): Promise<void> {
  if (aggregation.kind === 'masks' && trainers > 1) {
    const { corrupted, dropouts, server } = aggregation
    secAggParameters(trainers, {
      ...(corrupted !== undefined && { corrupted }),
      ...(dropouts !== undefined && { dropouts }),
      ...(server !== undefined && { server }),
    })
  }
  const model = await modelOf(files)
  const worker = new VirtualWorker(`compile-${globalThis.crypto.randomUUID()}`)
  try {
    if (model.inputs.length !== 1 || model.outputs.length !== 1) {
      throw sottoError('ERR_ARGUMENT_VALUE', 'job: "model" expected one input and one output', { option: 'model' })
    }
    await scope(async () => {
      const remote = sendModel(model, worker)
      if (local.optimizer !== undefined) optimizerOf('job', local.optimizer, remote)
      await worker.flush()
    })
  } finally {
    await worker.close()
    model.dispose()
  }
}

/** The files of a job, by their names. */
export function filesOf({ id, terms, model }: CompiledJob): Readonly<Record<string, Uint8Array>> {
  const text = JSON.stringify({ id, ...manifestOf(terms, model) }, null, 2)
  return { [TERMS_FILE]: utf8.encode(`${text}\n`), ...model }
}

/** Of a file of terms, the most bytes. */
const MOST_TERMS = 2 ** 20

/**
 * The job in files.
 *
 * @throws StateError `ERR_JOB` for files that are no job, or were cut or changed since it was compiled
 */
export function jobOf(files: Readonly<Record<string, Uint8Array>>): CompiledJob {
  const refused = (why: string) => sottoError('ERR_JOB', `this is no job that was compiled: ${why}`)
  const text = files[TERMS_FILE]
  if (text === undefined) throw refused(`there is no ${TERMS_FILE}`)
  if (text.length > MOST_TERMS) throw refused(`${TERMS_FILE} is too large`)
  let id: unknown
  let said: { readonly format?: unknown }
  try {
    ;({ id, ...said } = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(text)))
  } catch {
    throw refused(`${TERMS_FILE} is cut, or no JSON`)
  }
  if (said.format !== FORMAT) throw refused(`${TERMS_FILE} does not say "format": "${FORMAT}"`)
  if (id !== idOf(said)) throw refused(`${TERMS_FILE} was changed since; change job.ts, and compile it again`)
  const result = v.safeParse(schema, said)
  if (!result.success) throw refused(`"${fieldOf(result.issues[0])}" is not what it must be`)
  const { format: _, files: expected, ...kept } = result.output
  const terms = kept as unknown as JobTerms
  try {
    checkTerms(terms)
  } catch (error) {
    throw isSottoError(error) ? refused(error.message) : error
  }
  for (const name of MODEL_FILES) {
    const bytes = files[name]
    if (bytes === undefined) throw refused(`there is no ${name}`)
    const { bytes: length, sha256: hash } = expected[name]
    if (bytes.length !== length || hashOf(bytes) !== hash) throw refused(`${name} was cut or changed since`)
  }
  return {
    id: id as string,
    terms,
    model: { 'model.json': files['model.json']!, 'weights.bin': files['weights.bin']! },
  }
}
