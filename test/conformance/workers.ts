import { hook, type LedgerEntry, VirtualWorker, type Worker } from 'sotto'
import { afterAll, afterEach, beforeAll, describe } from 'vitest'
import { readyForTest } from '../backend.ts'
import { ServedWorkers } from './served.ts'

type Make = (id: string) => Worker

/** Servers for workers that are reached by sockets, one of each kind for a file of tests. */
const servers = new Map<boolean, ServedWorkers>()
const served = (withTls: boolean) => (id: string) => servers.get(withTls)!.worker(id)

/**
 * A thread takes half a second to start: one of each name serves every file that this process runs, with new sessions in
 * every test. None of them keeps the process.
 */
const threads = new Map<string, VirtualWorker>()
function threaded(id: string): Worker {
  const thread = threads.get(id) ?? new VirtualWorker(id, { thread: true, identity: 'nobody' })
  threads.set(id, thread)
  const handle = thread.as('me')
  const as = handle.as.bind(handle)
  const others = new Set<Worker>()
  handle.as = (identity) => {
    const other = as(identity)
    if (other !== handle) others.add(other)
    return other
  }
  // What closes is every session that the test has had; the thread stays.
  const close = handle.close.bind(handle)
  handle.close = async () => {
    for (const other of others) await other.close()
    await close()
  }
  return handle
}

let made = 0
/** Every worker is of another kind than the one before. */
const inTurn =
  (...ways: Make[]): Make =>
  (id) =>
    ways[made++ % ways.length]!(id)

const plain: Readonly<Record<string, Make>> = { 'in process': (id: string) => new VirtualWorker(id) }

/** Those that need no server, and take no time to start. */
export const inProcess: Readonly<Record<string, Make>> = {
  ...plain,
  'in process, every frame turned into bytes and back': (id: string) => new VirtualWorker(id, { codec: true }),
  'over links with latency and jitter': (id: string) =>
    new VirtualWorker(id, { codec: true, latency: 2, jitter: 3, seed: 7 }),
}

/** Every way to reach a worker: each suite here runs on all of them. How frames travel is the same on every backend. */
export const kinds: Readonly<Record<string, Make>> =
  process.env.SOTTO_TEST_BACKEND === 'cpu'
    ? plain
    : {
        ...inProcess,
        'over WebSockets': served(false),
        'over WebSockets with TLS': served(true),
        'in threads': threaded,
        'in turn in process, over WebSockets and in threads': inTurn(
          (id) => new VirtualWorker(id),
          served(false),
          threaded,
        ),
      }

/** Runs a suite on every kind of worker. `worker` makes workers that are closed after the test. */
export function onEveryWorker(suite: (worker: Make, kind: string) => void, which = kinds): void {
  beforeAll(async () => {
    await readyForTest()
    hook()
    made = 0
    for (const withTls of [false, true]) servers.set(withTls, await ServedWorkers.start(withTls))
  })
  afterAll(async () => {
    for (const server of servers.values()) await server.close()
  })
  describe.each(Object.entries(which))('%s', (kind, make) => {
    const open: Worker[] = []
    afterEach(async () => {
      await Promise.all(open.splice(0).map((worker) => worker.close()))
    })
    suite((id) => {
      const worker = make(id)
      open.push(worker)
      return worker
    }, kind)
  })
}

/** What a worker writes down from now on: others may have been served before. @returns the new rows, as of when it is called */
export async function ledgerFromNow(worker: Worker): Promise<() => Promise<LedgerEntry[]>> {
  const eventsOf = ({ count, bytes, last, ...event }: LedgerEntry) => JSON.stringify(event)
  const before = new Map((await worker.ledger()).map((row) => [eventsOf(row), row]))
  return async () =>
    (await worker.ledger())
      .map((row) => {
        const { count = 0, bytes = 0 } = before.get(eventsOf(row)) ?? {}
        return { ...row, count: row.count - count, bytes: row.bytes - bytes }
      })
      .filter(({ count }) => count > 0)
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
