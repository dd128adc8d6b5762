/** The mean in clear: whoever runs the federation sees what each client sent. */
import { sottoError } from '../../errors.ts'
import { tf } from '../../tensor/backend.ts'
import { vectorOf } from '../vectors.ts'
import type { Aggregation, AggregationContext, Contribution, Mean, Missing } from './aggregation.ts'
import { askAll, checkContributions, checkEnough, lengthOf } from './aggregation.ts'

/** In clear: nothing is hidden from the coordinator, and owners must allow it to see results (`allowResults`). */
export function inClear(): Aggregation {
  return new InClear()
}

class InClear implements Aggregation {
  readonly name = 'clear'
  readonly inClear = true

  async each(contributions: readonly Contribution[], context: AggregationContext) {
    checkContributions('clear', contributions)
    const length = lengthOf(contributions)
    const missing: Missing[] = []
    const byWorker = new Map(contributions.map((contribution) => [contribution.worker, contribution]))
    const answers = await askAll([...byWorker.keys()], context, missing, async (worker, wait) => {
      // One after the other they would wait for each other; each is a frame of its own.
      const tensors = await Promise.all(byWorker.get(worker)!.values.map((value) => value.fetch(wait)))
      const all = vectorOf(tensors)
      tf.dispose(tensors)
      if (!all.every(Number.isFinite)) {
        throw sottoError('ERR_ARGUMENT_VALUE', 'what it sent are no numbers: training may have diverged', {
          worker: worker.id,
        })
      }
      return all
    })
    checkEnough(answers.length, context.minimum, missing)
    return {
      values: answers.map(({ answer }) => answer),
      weights: answers.map(({ worker }) => byWorker.get(worker)!.weight),
      contributors: answers.map(({ worker }) => worker.id),
      missing,
      bytesUp: 4 * length,
    }
  }

  async mean(contributions: readonly Contribution[], context: AggregationContext): Promise<Mean> {
    const { values, weights, ...rest } = await this.each(contributions, context)
    const total = weights.reduce((sum, weight) => sum + weight, 0)
    const mean = new Float64Array(values[0]!.length)
    values.forEach((value, i) => {
      const share = weights[i]! / total
      for (let at = 0; at < mean.length; at++) mean[at]! += share * value[at]!
    })
    return { mean, ...rest }
  }

  dispose(): void {}
}
