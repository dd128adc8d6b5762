/** An owner whose process is killed in the middle of an epoch, and comes back. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { hook, type PointerTensor, SocketWorker, type SplitCheckpoint, VirtualWorker, type Worker } from 'sotto'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { readyForTest } from '../backend.ts'
import { WorkerProcess } from '../worker/worker-process.ts'
import { digits, forms, split } from './forms.ts'

const layers = [16, 'relu'] as const
const options = { epochs: 2, seed: 1 }
const folder = mkdtempSync(join(tmpdir(), 'sotto-'))
const alice = new WorkerProcess({ id: 'alice', grace: 500, checkpoints: join(folder, 'alice') })
const bob = new WorkerProcess({ id: 'bob', grace: 500, checkpoints: join(folder, 'bob') })
beforeAll(async () => {
  await readyForTest()
  hook()
  await Promise.all([alice.start(), bob.start()])
})
afterAll(async () => {
  await Promise.all([alice.kill(), bob.kill()])
  rmSync(folder, { recursive: true })
})

const connect = ({ url, key }: WorkerProcess) => SocketWorker.connect(url, { pin: key, grace: 500 })
const numberIn = async (loss: PointerTensor): Promise<number> => (await loss.fetch()).dataSync()[0]!

it('an owner that was killed is named, and training goes on from the last checkpoint as if it had not been', async () => {
  const data = await digits(320)
  const unbroken: number[] = []
  const whole = split(forms['vanilla']!, (id) => new VirtualWorker(id), layers, data)
  await whole.net.fit(whole, { ...options, onBatch: async ({ loss }) => void unbroken.push(await numberIn(loss)) })

  let last: SplitCheckpoint | undefined
  const first: Record<string, Worker> = { alice: await connect(alice), bob: await connect(bob) }
  const before = split(forms['vanilla']!, (id) => first[id]!, layers, data)
  const training = before.net.fit(before, {
    ...options,
    checkpoint: {
      name: 'run',
      every: 2,
      onSave: (each) => {
        last = each
      },
    },
    onBatch: ({ epoch, batch }) => (epoch === 1 && batch === 5 ? bob.kill() : undefined),
  })
  await expect(training).rejects.toThrow(/\bbob\b/)
  await expect(training).rejects.toMatchObject({ code: expect.stringMatching(/^ERR_(WORKER_LOST|UNREACHABLE)$/) })
  expect(last!.progress).toMatchObject({ epoch: 1, batch: 4 })

  await bob.start()
  const again: Record<string, Worker> = { alice: first['alice']!, bob: await connect(bob) }
  // Of the same name as the one that alice knew, and with the same key.
  const after = split(forms['vanilla']!, (id) => again[id]!, layers, data)
  await after.net.load(last!)
  const losses: number[] = []
  const onBatch = async ({ loss }: { loss: PointerTensor }) => void losses.push(await numberIn(loss))
  await after.net.fit(after, { ...options, from: last!.progress!, onBatch })
  expect(losses).toEqual(unbroken.slice(4))
  await Promise.all([again['alice']!.close(), again['bob']!.close()])
})
