/** Processes at the other end of a socket, for benchmarks. */
import { type ChildProcess, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

export interface Served {
  readonly url: string
  readonly key: string
  readonly child: ChildProcess
  /** The most memory that the process was seen to take, in bytes. */
  readonly peak: () => number
  stop(): void
}

/**
 * Starts a worker, or a bare WebSocket server.
 *
 * @param inside what to start it with: `ip netns exec name` puts it on a host of its own
 */
export async function start(
  what: 'worker' | 'bare',
  { id = 'bob', host = '127.0.0.1', inside = [] as readonly string[] } = {},
): Promise<Served> {
  const entry = fileURLToPath(new URL('./lib/serve.ts', import.meta.url))
  const [command, ...rest] = [...inside, process.execPath, '--import', 'tsx', entry, what, id, host]
  const child = spawn(command!, rest, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  let peak = 0
  const { url, key = '' } = await new Promise<{ url: string; key?: string }>((resolve, reject) => {
    child.on('message', (message: { url?: string; key?: string; rss?: number }) => {
      if (message.rss !== undefined) peak = Math.max(peak, message.rss)
      else resolve(message as { url: string })
    })
    child.once('exit', (code) => reject(new Error(`the process ended with ${code} before it was ready`)))
  })
  return { url, key, child, peak: () => peak, stop: () => child.kill() }
}
