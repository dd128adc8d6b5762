import { hook, VirtualWorker, type Worker } from 'sotto'
import { afterEach, beforeAll, describe } from 'vitest'
import { readyForTest } from '../backend.ts'

/** Every way to reach a worker: each suite here runs on all of them. */
export const kinds: Readonly<Record<string, (id: string) => Worker>> = {
  'in process': (id) => new VirtualWorker(id),
  'in process, every frame turned into bytes and back': (id) => new VirtualWorker(id, { codec: true }),
  'over links with latency and jitter': (id) => new VirtualWorker(id, { codec: true, latency: 2, jitter: 3, seed: 7 }),
}

/** Runs a suite on every kind of worker. `worker` makes workers that are closed after the test. */
export function onEveryWorker(suite: (worker: (id: string) => Worker, kind: string) => void): void {
  describe.each(Object.entries(kinds))('%s', (kind, make) => {
    const made: Worker[] = []
    beforeAll(async () => {
      await readyForTest()
      hook()
    })
    afterEach(async () => {
      await Promise.all(made.splice(0).map((worker) => worker.close()))
    })
    suite((id) => {
      const worker = make(id)
      made.push(worker)
      return worker
    }, kind)
  })
}

/** The code of what an action throws or rejects with; fails when it does neither. */
export async function codeOf(action: () => unknown): Promise<string> {
  try {
    await action()
  } catch (error) {
    return String((error as { code?: unknown }).code)
  }
  throw new Error('nothing was thrown')
}
