/** A federated job as its author writes it, and the terms that follow from it: plain data, which all its parties share. */
import { sottoError } from '../../errors.ts'
import { checkOptions, numberOption } from '../../options.ts'
import type { tf } from '../../tensor/backend.ts'
import { type LossName, lossRow } from '../../tensor/losses.ts'
import type { OptimizerSettings } from '../../tensor/optimizer-settings.ts'
import { socketUrl } from '../../worker/socket-url.ts'
import type { FederationOptions } from '../federation.ts'
import { checkLocal } from '../local.ts'
import {
  type AggregationSettings,
  aggregationNamed,
  type JobAggregation,
  type StrategySettings,
  strategyNamed,
} from './named.ts'

/** Where the parties of a job find each other: `wss://host:port`, or `ws://` where nobody can listen. */
export interface Endpoints {
  /** Where the scheduler listens. Default: `ws://127.0.0.1:8779`. */
  readonly scheduler?: string
  /** Where the server listens for trainers. Default: `ws://127.0.0.1:8778`. */
  readonly server?: string
}

export interface JobLocalTraining {
  /** Passes over a trainer's examples in a round. Default: 1. */
  readonly epochs?: number
  /** Steps in a round, instead of epochs. */
  readonly steps?: number
  /** Examples of a step. Default: 32. */
  readonly batchSize?: number
  /** By name and settings. Default: `{ kind: 'sgd', learningRate: 0.01 }`. */
  readonly optimizer?: OptimizerSettings
}

/** What `job.ts` exports: see {@link defineJob}. */
export interface JobDefinition {
  /** Of 1 to 64 letters, digits, `.`, `_` and `-`. */
  readonly name: string
  /** Makes the model, with the weights that training begins with; it is called once, by `sotto job compile`. */
  readonly model: (engine: typeof tf) => tf.LayersModel | Promise<tf.LayersModel>
  readonly loss: LossName
  /** How many there are: `trainer-1` and so on. */
  readonly trainers: number
  readonly rounds: number
  /** Default: `{ kind: 'fedAvg' }`. */
  readonly strategy?: StrategySettings
  /** Default: 'masks', secure aggregation. */
  readonly aggregation?: JobAggregation | AggregationSettings
  /**
   * The fewest trainers that make a round, and whose sum the server may learn. Default: 3, since in a sum of two each knows
   * the other's part. Two trainers need 2, and each must agree to it: `sotto job trainer --allow-pairs`. In clear, from 1.
   */
  readonly minimum?: number
  readonly local?: JobLocalTraining
  /** Of the trainers that are there, how many take part in a round; above 0, to 1, which is the default. */
  readonly fraction?: number
  readonly weighting?: 'examples' | 'equal'
  /** Milliseconds for which each step of a round waits for trainers. Default: 60,000. */
  readonly deadline?: number
  /** Milliseconds after which a trainer whose connection broke is gone. Default: 10,000. */
  readonly grace?: number
  /** Whether trainers evaluate the model after each round. */
  readonly evaluateAtTrainers?: boolean
  readonly earlyStop?: FederationOptions['earlyStop']
  /** Rounds in a row that may fail, with too few trainers left, before the job does. Default: 0. */
  readonly failures?: number
  /** For sampling and for the order of examples. Default: 0. */
  readonly seed?: number
  readonly endpoints?: Endpoints
}

/** What a compiled job says besides its model. */
export interface JobTerms {
  readonly name: string
  readonly loss: LossName
  readonly trainers: number
  readonly rounds: number
  readonly strategy: StrategySettings
  readonly aggregation: AggregationSettings
  readonly minimum: number
  readonly local: JobLocalTraining
  readonly fraction: number
  readonly weighting: 'examples' | 'equal'
  readonly deadline: number
  readonly grace: number
  readonly evaluateAtTrainers: boolean
  readonly earlyStop: NonNullable<FederationOptions['earlyStop']> | null
  readonly failures: number
  readonly seed: number
  readonly endpoints: Required<Endpoints>
}

const OPTIONS: readonly (keyof JobDefinition)[] = [
  'name',
  'model',
  'loss',
  'trainers',
  'rounds',
  'strategy',
  'aggregation',
  'minimum',
  'local',
  'fraction',
  'weighting',
  'deadline',
  'grace',
  'evaluateAtTrainers',
  'earlyStop',
  'failures',
  'seed',
  'endpoints',
]

/** As many as a policy may name besides the owner of the data. */
const MOST_TRAINERS = 257
const MOST_SEED = 2 ** 16
const NAME = /^[\w.-]{1,64}$/

/**
 * A federated job, for `sotto job compile`.
 *
 * @example
 * export default defineJob({
 *   name: 'digits',
 *   model: (tf) => tf.sequential({ layers: [tf.layers.dense({ units: 10, inputShape: [784] })] }),
 *   loss: 'softmaxCrossEntropy',
 *   trainers: 10,
 *   rounds: 20,
 *   local: { steps: 10, batchSize: 64, optimizer: { kind: 'sgd', learningRate: 0.01 } },
 * })
 * @throws as {@link termsOf}
 */
export function defineJob(definition: JobDefinition): JobDefinition {
  termsOf(definition)
  return definition
}

/**
 * What a definition says besides its model, with what it leaves out filled in.
 *
 * @throws `ERR_ARGUMENT_TYPE`, `ERR_ARGUMENT_VALUE` for what is wrong, or does not go together
 */
export function termsOf(definition: JobDefinition): JobTerms {
  checkOptions('job', definition, OPTIONS)
  if (typeof definition.model !== 'function') {
    throw sottoError('ERR_ARGUMENT_TYPE', 'job: "model" expected a function that makes a tf.LayersModel', {
      option: 'model',
    })
  }
  const { aggregation = 'masks', endpoints = {}, local = {} } = definition
  checkOptions('job endpoints', endpoints, ['scheduler', 'server'])
  const terms: JobTerms = {
    name: definition.name,
    loss: definition.loss,
    trainers: definition.trainers,
    rounds: definition.rounds,
    strategy: definition.strategy ?? { kind: 'fedAvg' },
    aggregation: typeof aggregation === 'string' ? ({ kind: aggregation } as AggregationSettings) : aggregation,
    minimum: definition.minimum ?? 3,
    local,
    fraction: definition.fraction ?? 1,
    weighting: definition.weighting ?? 'examples',
    deadline: definition.deadline ?? 60_000,
    grace: definition.grace ?? 10_000,
    evaluateAtTrainers: definition.evaluateAtTrainers ?? false,
    earlyStop: definition.earlyStop ?? null,
    failures: definition.failures ?? 0,
    seed: definition.seed ?? 0,
    endpoints: { scheduler: 'ws://127.0.0.1:8779', server: 'ws://127.0.0.1:8778', ...endpoints },
  }
  checkTerms(terms)
  return terms
}

/** @throws `ERR_ARGUMENT_TYPE`, `ERR_ARGUMENT_VALUE` */
export function checkTerms(terms: JobTerms): void {
  const wrong = (option: string, message: string) =>
    sottoError('ERR_ARGUMENT_VALUE', `job: "${option}" ${message}`, { option })
  const { name, loss, trainers, aggregation, minimum, local, weighting, earlyStop, endpoints } = terms
  if (typeof name !== 'string' || !NAME.test(name))
    throw wrong('name', 'expected 1 to 64 letters, digits, ".", "_", "-"')
  if (typeof loss !== 'string') throw wrong('loss', 'expected the name of a loss: a function is code')
  lossRow('job', loss)
  numberOption('job', 'trainers', trainers, { from: 1, to: MOST_TRAINERS, integer: true })
  numberOption('job', 'rounds', terms.rounds, { from: 1, integer: true })
  numberOption('job', 'fraction', terms.fraction, { above: 0, to: 1 })
  numberOption('job', 'deadline', terms.deadline, { above: 0 })
  numberOption('job', 'grace', terms.grace, { above: 0 })
  numberOption('job', 'failures', terms.failures, { from: 0, integer: true })
  numberOption('job', 'seed', terms.seed, { from: 0, to: MOST_SEED, integer: true })
  if (weighting !== 'examples' && weighting !== 'equal') throw wrong('weighting', "expected 'examples' or 'equal'")
  const strategy = strategyNamed(terms.strategy)
  const { inClear } = aggregationNamed(aggregation, Math.max(2, minimum))
  numberOption('job', 'minimum', minimum, { from: inClear ? 1 : 2, integer: true })
  if (trainers < minimum) {
    throw wrong(
      'trainers',
      `expected at least as many as the minimum, ${minimum}, got ${trainers}` +
        (trainers === 2 ? '; in a sum of two each knows the other’s part: if that is meant, say minimum: 2' : ''),
    )
  }
  if (aggregation.kind === 'pairs' && terms.fraction < 1) {
    throw wrong('fraction', 'expected 1: masks in pairs take all trainers, in every round')
  }
  if (strategy.combine !== undefined && !inClear) {
    throw wrong('strategy', `${strategy.name} looks at what each trainer sends, which ${aggregation.kind} hides`)
  }
  checkLocal('job', local)
  if (local.optimizer !== undefined && typeof local.optimizer.kind !== 'string') {
    throw wrong('optimizer', 'expected { kind, … }: a function is code')
  }
  if (earlyStop !== null) {
    checkOptions('job earlyStop', earlyStop, ['metric', 'patience', 'better'])
    numberOption('job earlyStop', 'patience', earlyStop.patience, { from: 1, integer: true })
  }
  for (const url of Object.values(endpoints)) socketUrl('job endpoints', url)
}

/** Names of the trainers of a job. */
export const trainersOf = ({ trainers }: Pick<JobTerms, 'trainers'>): string[] =>
  Array.from({ length: trainers }, (_, i) => trainerName(i + 1))
export const trainerName = (id: number): string => `trainer-${id}`
/** Name of the server: whom trainers let see totals. */
export const SERVER = 'server'
