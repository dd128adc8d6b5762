/** Threads that multiply elements of ristretto255; or this one, where there are no others, or little to do. */
import type { Worker } from 'node:worker_threads'
import { sottoError } from '../../errors.ts'
import { POINT, ristretto, UNIFORM } from '../ristretto.ts'
import { carryOut, type PointTask } from './points.ts'

/** Elements of one task: as many as take a tenth of a second, so that all threads end at about the same time. */
export const TASK = 1024
/** Elements from which on it is worth starting threads, which takes as long as a thousand multiplications. */
const WORTH = 4096

/** Carries out tasks, as many at once as there are threads. */
export interface Pool {
  /** @returns the elements, or null when there was something among them that is none */
  run(task: PointTask): Promise<Uint8Array | null>
  /** How many tasks it is worth to have under way. */
  readonly width: number
  close(): void
}

/** This thread alone. It has its turn between tasks. */
async function here(): Promise<Pool> {
  const group = await ristretto()
  return {
    width: 1,
    run: (task) =>
      new Promise((resolve, reject) =>
        (globalThis.setImmediate ?? setTimeout)(() => {
          try {
            resolve(carryOut(task, group))
          } catch (error) {
            reject(error)
          }
        }),
      ),
    close: () => {},
  }
}

interface Waiting {
  readonly task: PointTask
  resolve(points: Uint8Array | null): void
  reject(error: Error): void
}

class Threads implements Pool {
  readonly width: number
  readonly #threads: Worker[]
  readonly #idle: Worker[] = []
  readonly #queue: Waiting[] = []
  readonly #busy = new Map<Worker, Waiting>()
  #failed: Error | null = null

  constructor(Thread: typeof Worker, count: number) {
    this.width = 2 * count
    const isSource = import.meta.url.endsWith('.ts')
    const entry = new URL(isSource ? './thread-from-source.mjs' : './thread.js', import.meta.url)
    // The loader of TypeScript among this process's flags does not reach threads, and takes time there.
    const options = isSource ? { execArgv: [] } : {}
    this.#threads = Array.from({ length: count }, () => {
      const thread = new Thread(entry, options)
      thread.on('message', (points: Uint8Array | null) => {
        this.#busy.get(thread)?.resolve(points)
        this.#busy.delete(thread)
        this.#idle.push(thread)
        this.#goOn()
      })
      thread.on('error', (cause) => this.#fail(sottoError('ERR_OPERATION_FAILED', 'a thread failed', {}, cause)))
      thread.unref()
      this.#idle.push(thread)
      return thread
    })
  }

  run(task: PointTask): Promise<Uint8Array | null> {
    if (this.#failed !== null) return Promise.reject(this.#failed)
    return new Promise((resolve, reject) => {
      this.#queue.push({ task, resolve, reject })
      this.#goOn()
    })
  }

  #goOn(): void {
    while (this.#queue.length > 0 && this.#idle.length > 0) {
      const [thread, waiting] = [this.#idle.pop()!, this.#queue.shift()!]
      this.#busy.set(thread, waiting)
      // Who waits for a thread holds the process.
      thread.ref()
      thread.postMessage(waiting.task)
    }
    if (this.#busy.size === 0) for (const thread of this.#threads) thread.unref()
  }

  #fail(error: Error): void {
    this.#failed ??= error
    for (const { reject } of [...this.#busy.values(), ...this.#queue.splice(0)]) reject(error)
    this.#busy.clear()
  }

  close(): void {
    this.#fail(sottoError('ERR_SESSION_CLOSED', 'the threads were closed'))
    for (const thread of this.#threads) void thread.terminate()
  }
}

/**
 * A pool for so many multiplications.
 *
 * @param threads how many; 0 for none but this one, undefined for as many as there are processors
 */
export async function poolFor(multiplications: number, threads?: number): Promise<Pool> {
  const module = globalThis.process?.getBuiltinModule?.('node:worker_threads')
  const processors = globalThis.process?.getBuiltinModule?.('node:os')?.availableParallelism() ?? 1
  const count = threads ?? (multiplications < WORTH ? 0 : processors)
  if (module === undefined || count === 0 || (threads === undefined && count === 1)) return here()
  return new Threads(module.Worker as typeof Worker, count)
}

/** A list of elements, or of what is mapped to them, in tasks. */
export function* tasksOf(
  kind: PointTask['kind'],
  scalar: Uint8Array,
  bytes: Uint8Array,
): Generator<{ readonly from: number; readonly task: PointTask }> {
  const each = kind === 'map' ? UNIFORM : POINT
  for (let from = 0; from < bytes.length / each; from += TASK) {
    const part = bytes.slice(each * from, each * (from + TASK))
    yield { from, task: kind === 'map' ? { kind, scalar, uniform: part } : { kind, scalar, points: part } }
  }
}

/** Carries out tasks of a list in its order, some at a time; the next is taken while the last goes on. */
export async function* inOrder<T extends { readonly task: PointTask }>(
  pool: Pool,
  tasks: Iterable<T> | AsyncIterable<T>,
): AsyncGenerator<Omit<T, 'task'> & { readonly points: Uint8Array | null }> {
  const underWay: { readonly rest: Omit<T, 'task'>; readonly points: Promise<Uint8Array | null> }[] = []
  const first = async () => {
    const { rest, points } = underWay.shift()!
    return { ...rest, points: await points }
  }
  for await (const { task, ...rest } of tasks) {
    const points = pool.run(task)
    // Whoever comes to it hears of a failure.
    points.catch(() => {})
    underWay.push({ rest, points })
    if (underWay.length >= pool.width) yield await first()
  }
  while (underWay.length > 0) yield await first()
}
