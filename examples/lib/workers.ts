/**
 * Where the workers of an example are: in this process (`virtual`), each in a thread of it (`thread`), or each in a
 * process of its own that is reached by a WebSocket (`socket`). What an example does with them is the same everywhere,
 * and so is what comes of it.
 */
import { Option } from 'commander'
import { SocketWorker, VirtualWorker, type Worker } from 'sotto'
import { allOrNone, startWorkerProcess } from './processes.ts'

export const workerKinds = ['virtual', 'thread', 'socket'] as const
export type WorkerKind = (typeof workerKinds)[number]

export const workersOption = (): Option =>
  new Option('--workers <kind>', 'in this process, each in a thread, or each in a process of its own')
    .choices(workerKinds)
    .default('virtual')

/** Workers, each under the place of its name. `await using` ends them all, however the example ends. */
export interface Workers<N extends readonly string[]> extends AsyncDisposable {
  readonly all: { readonly [I in keyof N]: Worker }
}

export interface StartOptions {
  /** Who the example acts as; nothing is asked of it, as on every worker that only this machine can reach. */
  readonly identity?: string
  /** Whether workers in this process turn what they say into bytes, so that these are counted as on a socket. */
  readonly codec?: boolean
}

export async function startWorkers<const N extends readonly string[]>(
  kind: WorkerKind,
  names: N,
  { identity = 'me', codec = false }: StartOptions = {},
): Promise<Workers<N>> {
  const homes = await allOrNone(
    names.map((name) => start(kind, name, { identity, codec })),
    ({ stop }) => stop(),
  )
  return {
    all: homes.map(({ worker }) => worker) as unknown as Workers<N>['all'],
    async [Symbol.asyncDispose]() {
      await Promise.all(homes.map(({ stop }) => stop()))
    },
  }
}

interface Home {
  readonly worker: Worker
  stop(): Promise<void>
}

async function start(kind: WorkerKind, name: string, { identity, codec }: Required<StartOptions>): Promise<Home> {
  if (kind !== 'socket') {
    const worker = new VirtualWorker(name, { identity, ...(kind === 'thread' ? { thread: true } : { codec }) })
    return { worker, stop: () => worker.close() }
  }
  const home = await startWorkerProcess(['--id', name, '--port', '0'])
  try {
    // The process has said its key to whoever started it: nobody else can pass for it.
    const worker = await SocketWorker.connect(home.url, { identity, pin: home.key })
    return {
      worker,
      async stop() {
        await worker.close()
        await home.stop()
      },
    }
  } catch (error) {
    await home.stop()
    throw error
  }
}
