import { readFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { Worker } from 'sotto'
import { type ServiceOptions, WorkerService } from '../../src/worker/serve.ts'
import { Upgrades } from '../../src/worker/server.ts'
import { SocketWorker } from '../../src/worker/socket-worker.ts'
import { dial } from '../../src/worker/transport/dialler.ts'
import { dialWebSocket } from '../../src/worker/transport/websocket.ts'

export const fixture = (name: string): string => readFileSync(new URL(`../fixtures/${name}`, import.meta.url), 'utf8')

/** Many workers behind one server: each at a path of its own, there as soon as it is asked for. */
export class ServedWorkers {
  readonly #server: Server
  readonly #tls: { cert: string; key: string } | null
  readonly #at = new Map<string, { service: WorkerService; upgrades: Upgrades }>()

  private constructor(server: Server, tls: { cert: string; key: string } | null) {
    this.#server = server
    this.#tls = tls
    server.on('upgrade', (request, socket, head) => {
      const found = this.#at.get(request.url ?? '')
      if (found === undefined) return socket.destroy()
      found.upgrades.take(request, socket, head)
    })
  }

  static async start(withTls: boolean): Promise<ServedWorkers> {
    const tls = withTls ? { cert: fixture('server.pem'), key: fixture('server.key') } : null
    const server = tls === null ? createServer() : createTlsServer(tls)
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return new ServedWorkers(server, tls)
  }

  serve(options: ServiceOptions): { url: string; service: WorkerService } {
    const service = new WorkerService(options)
    const path = `/${globalThis.crypto.randomUUID()}`
    this.#at.set(path, { service, upgrades: new Upgrades(service.links, service.limits.frame, this.#tls) })
    const { port } = this.#server.address() as AddressInfo
    return { url: `${this.#tls ? 'wss' : 'ws'}://localhost:${port}${path}`, service }
  }

  /** A handle on a new worker, whose connection is made meanwhile. */
  worker(id: string): Worker {
    const { url, service } = this.serve({ id })
    const tls = this.#tls === null ? {} : { ca: fixture('ca.pem') }
    const connect = (signal: AbortSignal) => dialWebSocket(url, { tls, vouched: false, signal })
    const credentials = { role: 'caller', identity: null, token: null } as const
    const times = { timeout: 10_000, grace: 10_000, heartbeat: 5000 }
    const shake = { credentials, identity: null, pin: service.key }
    const { link } = dial({ name: url, connect, shake, ...times, parts: 2 ** 31 })
    const options = { ...times, ...tls }
    const handle = SocketWorker.over(link, { id, key: service.key, address: url, identity: 'me', options }, connect)
    const close = handle.close.bind(handle)
    handle.close = async () => {
      await close()
      await service.close(0)
    }
    return handle
  }

  async close(): Promise<void> {
    for (const { service } of this.#at.values()) await service.close(0)
    await new Promise((resolve) => {
      this.#server.close(resolve)
      this.#server.closeAllConnections()
    })
  }
}
