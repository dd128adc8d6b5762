/**
 * The researcher, in a process of its own, with a folder of its own: connects to the workers that `experiment.json` there
 * names, computes on what it finds, and keeps what was learnt.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { formatNpy, hook, ready, SocketWorker } from 'sotto'
import { isMain } from '../lib/options.ts'
import { allOrNone } from '../lib/processes.ts'
import { demos, RESEARCHER, type Settings } from './parties.ts'

export interface Experiment {
  readonly demo: string
  readonly settings: Settings
  readonly workers: Readonly<Record<string, WorkerAt>>
}

export interface WorkerAt {
  readonly url: string
  /** The key that the worker must hold: with it a certificate that vouches for itself will do. */
  readonly key: string
  /** File with the token, as seen from the researcher's folder. */
  readonly token: string
}

async function connect(folder: string, { url, key, token }: WorkerAt): Promise<SocketWorker> {
  return SocketWorker.connect(url, { token: (await readFile(join(folder, token), 'utf8')).trim(), pin: key })
}

async function experiment(folder: string): Promise<void> {
  const read = async (name: string): Promise<unknown> => JSON.parse(await readFile(join(folder, name), 'utf8'))
  const { demo, settings, workers } = (await read('experiment.json')) as Experiment
  const held = (await read('held-out.json')) as never
  await ready()
  hook()
  const connected = await allOrNone(
    Object.values(workers).map((at) => connect(folder, at)),
    (worker) => worker.close(),
  )
  for (const { id, address, identity } of connected) console.log(`connected to ${id} at ${address} as ${identity}`)
  try {
    const byName = Object.fromEntries(connected.map((worker) => [worker.id, worker]))
    const { weights, ...result } = await demos[demo]!.research(byName, held, settings)
    await writeFile(join(folder, 'result.json'), `${JSON.stringify(result, null, 2)}\n`)
    for (const [i, weight] of weights.entries()) {
      await writeFile(join(folder, `weights-${i}.npy`), formatNpy({ ...weight, dtype: 'float32' }))
    }
  } finally {
    await Promise.all(connected.map((worker) => worker.close()))
  }
}

if (isMain(import.meta.url)) await experiment(process.argv[2] ?? RESEARCHER)
