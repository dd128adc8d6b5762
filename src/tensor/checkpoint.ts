/** What is told of a model that is kept on its worker. Its weights stay there. */
import { sottoError } from '../errors.ts'
import type { Config, OptimizerKind } from './optimizers.ts'
import type { Spec } from './shape.ts'

/** One checkpoint in a list of them. */
export interface CheckpointInfo {
  readonly name: string
  /** Bytes that it takes on its worker. */
  readonly bytes: number
  /** SHA-256 of what it holds, in hex: two that were saved apart differ, be their weights the same. */
  readonly sha256: string
  /** When it was saved: milliseconds since 1970, by the worker's clock. */
  readonly savedAt: number
}

/** A checkpoint: what it holds, without the values. */
export interface Checkpoint extends CheckpointInfo {
  /** The worker that keeps it. */
  readonly worker: string
  /** Weights in the order of `model.weights()`. */
  readonly weights: readonly (Spec & { readonly name: string; readonly trainable: boolean })[]
  /** Optimizers in the order in which they were made, with their settings and the number of updates that they have made. */
  readonly optimizers: readonly { readonly kind: OptimizerKind; readonly config: Config; readonly step: number }[]
}

const NAME = /^[\w.-]{1,64}$/

export const isCheckpointName = (name: unknown): name is string => typeof name === 'string' && NAME.test(name)

/** @throws for what cannot name a checkpoint */
export function checkCheckpointName(entry: string, name: unknown): void {
  if (typeof name !== 'string') throw sottoError('ERR_ARGUMENT_TYPE', `${entry}: expected the name of a checkpoint`)
  if (isCheckpointName(name)) return
  throw sottoError(
    'ERR_ARGUMENT_VALUE',
    `${entry}: a checkpoint has a name of 1 to 64 characters out of A–Z a–z 0–9 _ . -, such as epoch-3`,
  )
}
