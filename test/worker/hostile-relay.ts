/** Somebody in between: passes on what two ends say, over TCP or TLS, and keeps it. */
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { connect as connectTls, createServer as createTlsServer } from 'node:tls'

export interface Passed {
  /** What the dialler sent, in the pieces in which it came. */
  readonly out: Buffer[]
  /** What it was answered. */
  readonly back: Buffer[]
}

export interface Relay {
  readonly port: number
  /** What passed, connection by connection. */
  readonly passed: readonly Passed[]
  /** Where new connections go: a port of this machine. */
  to: number
  /** Breaks the connections that there are. */
  cut(): void
  close(): Promise<void>
}

/**
 * @param tls ends TLS here, with this certificate, and begins it anew behind
 */
export async function relayTo(port: number, tls: { cert: string; key: string } | null = null): Promise<Relay> {
  const sockets = new Set<Socket>()
  const passed: Passed[] = []
  const take = (near: Socket): void => {
    const far = tls === null ? connect(relay.to) : connectTls({ port: relay.to, rejectUnauthorized: false })
    const kept: Passed = { out: [], back: [] }
    passed.push(kept)
    for (const [from, into, pieces] of [
      [near, far, kept.out],
      [far, near, kept.back],
    ] as const) {
      sockets.add(from)
      from.on('data', (piece: Buffer) => {
        pieces.push(piece)
        into.write(piece)
      })
      from.on('error', () => {})
      from.on('close', () => {
        sockets.delete(from)
        into.destroy()
      })
    }
  }
  const server: Server = tls === null ? createServer(take) : createTlsServer(tls, take)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const relay: Relay = {
    port: (server.address() as AddressInfo).port,
    passed,
    to: port,
    cut() {
      for (const socket of sockets) socket.destroy()
    },
    close() {
      relay.cut()
      return new Promise((resolve) => server.close(() => resolve()))
    },
  }
  return relay
}

/** Milliseconds to wait for an answer to a piece: not every piece has one. */
const TURN = 50

/** Says again what somebody said, byte for byte and in turn; gives all that was answered. */
export async function replay(port: number, { out }: Passed): Promise<Buffer> {
  const socket = connect(port)
  const answers: Buffer[] = []
  let isClosed = false
  let answered = () => {}
  socket.on('data', (data: Buffer) => {
    answers.push(data)
    answered()
  })
  socket.on('error', () => {})
  const closed = new Promise<void>((resolve) => {
    socket.on('close', () => {
      isClosed = true
      answered()
      resolve()
    })
  })
  for (const piece of out) {
    if (isClosed) break
    const next = new Promise<void>((resolve) => {
      answered = resolve
      setTimeout(resolve, TURN)
    })
    socket.write(piece)
    await next
  }
  socket.end()
  await closed
  return Buffer.concat(answers)
}
