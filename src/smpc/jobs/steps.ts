/** What a job computes: one row for each kind of step. */
import { isSottoError, sottoError } from '../../errors.ts'
import { tf } from '../../tensor/engine.ts'
import type { Worker } from '../../worker/worker.ts'
import { type SharedModel, shareModel } from '../shared-model.ts'
import { SharedTensor } from '../shared-tensor.ts'
import type { SecretFitOptions } from '../training/fit.ts'
import type { Block, JobStep, Layers, SecretJob } from './definition.ts'
import { ITERATIONS, linearRegression, logisticRegression, regressed } from './regression.ts'

/** What a name of a job stands for. */
export type Secret =
  | { readonly kind: 'tensor' | 'linear' | 'logistic'; readonly value: SharedTensor }
  | { readonly kind: 'model'; readonly value: SharedModel }

/** What a script is given, and what it gives. */
export type JobScript = (
  secrets: Readonly<Record<string, SharedTensor | SharedModel>>,
  workers: readonly Worker[],
) => Readonly<Record<string, unknown>> | Promise<Readonly<Record<string, unknown>>>

export interface StepContext {
  readonly job: SecretJob
  readonly workers: readonly Worker[]
  /** The script of a step, which was seen to have its hash. */
  readonly script: (file: string) => Promise<JobScript>
  readonly print: (line: string) => void
  /** What those who compute keep of this step goes by this name. */
  readonly keptAs: string
  readonly signal?: AbortSignal
}

type Secrets = Map<string, Secret>

const tensorOf = (secrets: Secrets, name: string): SharedTensor => {
  const secret = secrets.get(name)
  // What a script made is known only now.
  if (secret !== undefined && secret.kind !== 'model') return secret.value
  throw sottoError('ERR_JOB', `job: ${name} is no tensor`)
}

/** Rows and columns of inputs, put together. Local. */
function blockOf(secrets: Secrets, block: Block): SharedTensor {
  if (typeof block === 'string') return tensorOf(secrets, block)
  const axis = 'rows' in block ? 0 : 1
  const [first, ...rest] = ('rows' in block ? block.rows : block.columns).map((part) => blockOf(secrets, part))
  return rest.length === 0 ? first! : first!.concat(rest, axis)
}

/**
 * A model of layers as a file has them: its weights are what its initializers draw.
 *
 * @throws StateError `ERR_JOB` for what is no topology
 */
export async function modelOfLayers(layers: Layers): Promise<tf.LayersModel> {
  try {
    // As in model.json, or what stands in it.
    const topology = 'modelTopology' in layers ? layers['modelTopology'] : layers
    return await tf.models.modelFromJSON(topology as Parameters<typeof tf.models.modelFromJSON>[0])
  } catch (error) {
    throw sottoError('ERR_JOB', `job: "layers" hold no model of tf.layers: ${(error as Error).message}`, {}, error)
  }
}

type Of<D extends JobStep['do']> = Extract<JobStep, { readonly do: D }>
type Run<D extends JobStep['do']> = (
  step: Of<D>,
  secrets: Secrets,
  context: StepContext,
) => Readonly<Record<string, Secret>> | Promise<Readonly<Record<string, Secret>>>

const rows: { readonly [D in JobStep['do']]: Run<D> } = {
  linearRegression: ({ x, y, ridge = 0, as }, secrets) => ({
    [as]: { kind: 'linear', value: linearRegression(blockOf(secrets, x), blockOf(secrets, y), ridge) },
  }),

  logisticRegression: ({ x, y, ridge = 0, iterations = ITERATIONS, as }, secrets) => ({
    [as]: {
      kind: 'logistic',
      value: logisticRegression(blockOf(secrets, x), blockOf(secrets, y), { ridge, iterations }),
    },
  }),

  async fit({ model, x, y, loss, optimizer, epochs, batchSize, seed, checkpoints, as }, secrets, context) {
    const { job, workers, print, keptAs, signal } = context
    let trained: SharedModel
    if (typeof model === 'string') {
      trained = modelIn(secrets, model)
      secrets.delete(model)
    } else {
      const made = await modelOfLayers(model.layers)
      trained = shareModel(made, workers, { protocol: 'replicated', ...precisionOf(job) })
    }
    let isBegun = false
    await trained.fit(blockOf(secrets, x), blockOf(secrets, y), {
      ...({ loss, optimizer } as unknown as Pick<SecretFitOptions, 'loss' | 'optimizer'>),
      ...(epochs === undefined ? {} : { epochs }),
      ...(batchSize === undefined ? {} : { batchSize }),
      ...(seed === undefined ? {} : { seed }),
      ...(signal === undefined ? {} : { signal }),
      ...(checkpoints === undefined ? {} : { checkpoint: { ...checkpoints, name: keptAs, resume: true } }),
      onBatch({ epoch, batch }) {
        if (!isBegun && (epoch > 1 || batch > 1)) print(`  goes on in epoch ${epoch}, from batch ${batch}`)
        isBegun = true
      },
      onEpoch: ({ epoch, ms }) => print(`  epoch ${epoch}, ${(ms / 1000).toFixed(1)} s`),
    })
    return { [as]: { kind: 'model', value: trained } }
  },

  predict({ model, x, as }, secrets) {
    const given = secrets.get(model)!
    const found = blockOf(secrets, x)
    if (given.kind === 'model') return { [as]: { kind: 'tensor', value: given.value.apply(found) } }
    const value = regressed(found, given.value)
    return { [as]: { kind: 'tensor', value: given.kind === 'logistic' ? value.sigmoid() : value } }
  },

  mean({ of, as }, secrets) {
    const [first, ...rest] = of.map((name) => tensorOf(secrets, name))
    return { [as]: { kind: 'tensor', value: first!.totalWith(rest, of.length) } }
  },

  async script({ file, as }, secrets, { script, workers }) {
    const given = Object.fromEntries([...secrets].map(([name, { value }]) => [name, value]))
    const run = await script(file)
    const made = await failing(file, () => run(given, workers))
    return Object.fromEntries(as.map((name) => [name, scripted(file, name, made)]))
  },
}

/** Of a script nothing but Sotto's errors is known to show no values. */
async function failing<T>(file: string, action: () => T | Promise<T>): Promise<T> {
  try {
    return await action()
  } catch (error) {
    if (isSottoError(error)) throw error
    throw sottoError('ERR_OPERATION_FAILED', `${file}: the script failed`, { file }, error)
  }
}

function scripted(file: string, name: string, made: unknown): Secret {
  const isRecord = typeof made === 'object' && made !== null && Object.hasOwn(made, name)
  const value = isRecord ? (made as Record<string, unknown>)[name] : undefined
  if (value instanceof SharedTensor) return { kind: 'tensor', value }
  throw sottoError('ERR_JOB', `job: ${file} gives no shared tensor as ${name}`, { file, name })
}

function modelIn(secrets: Secrets, name: string): SharedModel {
  const secret = secrets.get(name)
  if (secret?.kind === 'model') return secret.value
  throw sottoError('ERR_JOB', `job: ${name} is no model`)
}

/** The encoding of a job's numbers, as `fixPrecision` and `share` take it. */
export const precisionOf = ({ precision: { ring, base, digits } = {} }: SecretJob) => ({
  ...(ring === undefined ? {} : { ring }),
  ...(base === undefined ? {} : { base }),
  ...(digits === undefined ? {} : { precisionFractional: digits }),
})

/** Carries a step out, and adds what comes of it to what is there. */
export async function runStep(step: JobStep, secrets: Secrets, context: StepContext): Promise<void> {
  const run = rows[step.do] as Run<JobStep['do']>
  for (const [name, secret] of Object.entries(await run(step, secrets, context))) secrets.set(name, secret)
}
