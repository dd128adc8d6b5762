/** Checkpoints of split networks: each segment stays with its owner, the caller has what says where. */
interface Checkpoint {
  readonly worker: string
  readonly name: string
}

import type { FitProgress } from './fit.ts'

/** What is known of a checkpoint at the caller: no weights. Plain data, to be kept as JSON. */
export interface SplitCheckpoint {
  readonly name: string
  /** Of each segment, in their order: on which worker, under which name, how large, with which checksum. */
  readonly segments: readonly Checkpoint[]
  /** How far the training had come; null for a checkpoint taken by hand. */
  readonly progress: FitProgress | null
}
