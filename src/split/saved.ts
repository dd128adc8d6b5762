/** Checkpoints of split networks: each segment stays with its owner, the caller has what says where. */
import { sottoError } from '../errors.ts'
import type { tf } from '../tensor/backend.ts'
import type { Checkpoint } from '../tensor/checkpoint.ts'
import type { Worker } from '../worker/worker.ts'
import type { FitProgress } from './fit.ts'
import type { Segment } from './segment.ts'

/** What is known of a checkpoint at the caller: plain data without weights, to be kept as JSON. */
export interface SplitCheckpoint {
  readonly name: string
  /** Of each segment, in their order: on which worker, under which name, how large, with which checksum. */
  readonly segments: readonly Checkpoint[]
  /** How far the training had come; null for a checkpoint that was taken by hand. */
  readonly progress: FitProgress | null
}

/** A checkpoint, and the weights of those segments whose owners let the caller see them. */
export interface SplitCheckpointWithWeights extends SplitCheckpoint {
  readonly models: readonly tf.LayersModel[]
}

/** One owner may hold several segments. */
const nameOf = (name: string, segment: number): string => `${name}.${segment}`

/** Keeps every segment at its owner. */
export async function saveAll(
  segments: readonly Segment[],
  name: string,
  progress: FitProgress | null,
): Promise<SplitCheckpoint> {
  const saved = await Promise.allSettled(segments.map(({ model }, i) => model.save(nameOf(name, i))))
  const failed = saved.find((outcome) => outcome.status === 'rejected')
  if (failed !== undefined) {
    // Of what is not whole, nothing is to be found later.
    await Promise.allSettled(
      segments.map(({ worker }, i) =>
        saved[i]!.status === 'fulfilled' ? worker.removeCheckpoint(nameOf(name, i)) : undefined,
      ),
    )
    throw failed.reason
  }
  return { name, segments: saved.map((outcome) => (outcome as PromiseFulfilledResult<Checkpoint>).value), progress }
}

/** Puts every segment back at its owner. */
export async function loadAll(segments: readonly Segment[], checkpoint: SplitCheckpoint): Promise<void> {
  if (checkpoint.segments?.length !== segments.length) {
    throw sottoError(
      'ERR_CHECKPOINT_MISMATCH',
      `load: the checkpoint has ${checkpoint.segments?.length} segments, the network ${segments.length}`,
    )
  }
  for (const [i, { worker }] of segments.entries()) {
    const there = checkpoint.segments[i]!.worker
    if (there === worker.id) continue
    throw sottoError('ERR_CHECKPOINT_MISMATCH', `load: segment ${i} was kept on ${there}, and is on ${worker.id}`, {
      segment: i,
      there,
      here: worker.id,
    })
  }
  // A worker that stayed while another was lost may remember what failed then: it is over.
  for (const worker of new Set(segments.map((segment) => segment.worker))) await worker.flush().catch(() => {})
  await Promise.all(segments.map(({ model }, i) => model.restore(checkpoint.segments[i]!.name)))
}

/** Removes what is kept of a checkpoint. */
export async function removeAll(workers: readonly Worker[], { segments }: SplitCheckpoint): Promise<void> {
  const at = new Map(workers.map((worker) => [worker.id, worker]))
  await Promise.all(segments.map(({ worker, name }) => at.get(worker)?.removeCheckpoint(name)))
}
