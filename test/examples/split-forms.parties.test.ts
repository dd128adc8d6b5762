/** Split learning among threads and among processes, as in one. */
import { loadMnist } from 'sotto'
import { beforeAll, describe, expect, it } from 'vitest'
import { type WorkerKind, workerKinds } from '../../examples/lib/workers.ts'
import { optionsOf, type SplitFormsResult, trainForm } from '../../examples/split-forms.ts'
import { readyForTest } from '../backend.ts'
import { capturePrinted } from './printed.ts'

beforeAll(async () => {
  capturePrinted()
  await readyForTest()
})

describe('split learning', () => {
  it('has the same losses on threads and on sockets', async () => {
    const options = optionsOf(['--form', 'vanilla', '--epochs', '2', '--learning-rate', '0.1'])
    const data = await loadMnist({ limit: 128, testLimit: 100, onNotice: () => {} })
    const run = (workers: WorkerKind) => trainForm(data, { ...options, plot: null, workers })
    const [here, ...elsewhere] = await Promise.all(workerKinds.map(run))
    for (const there of elsewhere) {
      expect(there.losses).toEqual(here!.losses)
      expect(there.accuracies).toEqual(here!.accuracies)
      const trips = ({ links }: SplitFormsResult) => links.map(({ ends, roundTrips }) => [ends, roundTrips])
      expect(trips(there)).toEqual(trips(here!))
    }
  })
})
