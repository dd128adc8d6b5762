/** A TCP relay that is as slow as a long line: each byte waits for its turn at the rate, then for the latency. */
import { createServer, connect as dial, type Server, type Socket } from 'node:net'

export interface Line {
  /** Milliseconds one way. */
  readonly latency: number
  /** Bytes a second, each way. */
  readonly rate: number
}

/** Bytes on the line and before it, beyond which whoever sends has to wait. */
const WINDOW = 2 ** 20

function pass(from: Socket, to: Socket, { latency, rate }: Line): void {
  /** Bytes on the line, with the time at which each lot arrives. Timers keep no order: there is one. */
  const line: { at: number; chunk: Buffer }[] = []
  let free = 0
  let waiting = 0
  let isWaiting = false
  const deliver = () => {
    isWaiting = false
    while (line.length > 0 && line[0]!.at <= performance.now() + 0.5) {
      const { chunk } = line.shift()!
      waiting -= chunk.length
      to.write(chunk)
    }
    if (waiting <= WINDOW) from.resume()
    if (line.length > 0) wait()
    else if (from.destroyed) to.end()
  }
  const wait = () => {
    if (!isWaiting) setTimeout(deliver, Math.max(0, line[0]!.at - performance.now()))
    isWaiting = true
  }
  from.on('data', (chunk: Buffer) => {
    const now = performance.now()
    free = Math.max(free, now) + (1000 * chunk.length) / rate
    waiting += chunk.length
    if (waiting > WINDOW) from.pause()
    line.push({ at: free + latency, chunk })
    wait()
  })
  from.on('close', () => {
    if (line.length === 0) to.end()
  })
  from.on('error', () => to.destroy())
}

/** Listens, and passes what comes on to a worker; the URL of the worker through the line. */
export async function relay(url: string, line: Line, host = '127.0.0.1'): Promise<{ url: string; close(): void }> {
  const { hostname, port } = new URL(url)
  const open = new Set<Socket>()
  const server: Server = createServer((socket) => {
    const onward = dial(Number(port), hostname)
    for (const end of [socket, onward]) {
      end.setNoDelay(true)
      open.add(end)
    }
    pass(socket, onward, line)
    pass(onward, socket, line)
  })
  await new Promise<void>((resolve) => server.listen(0, '0.0.0.0', resolve))
  const { port: taken } = server.address() as { port: number }
  return {
    url: `ws://${host}:${taken}`,
    close: () => {
      server.close()
      for (const socket of open) socket.destroy()
    },
  }
}
