/** A TCP proxy in this process, through which a connection can be slow, stall, or break in the middle of a message. */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

export interface ProxyOptions {
  /** Milliseconds each way. */
  readonly latency?: number
  /** Bytes per second each way, of all connections together. */
  readonly bandwidth?: number
}

/** Bytes that the proxy holds of one direction before it reads no more, besides those that the latency takes. */
const HELD = 64 * 2 ** 10

/** What goes one way. */
class Flow {
  readonly #proxy: TcpProxy
  readonly #from: Socket
  readonly #to: Socket
  readonly #underWay: { readonly chunk: Buffer; readonly at: number }[] = []
  #bytes = 0
  #timer: NodeJS.Timeout | undefined
  #isEnding = false

  constructor(proxy: TcpProxy, from: Socket, to: Socket) {
    this.#proxy = proxy
    this.#from = from
    this.#to = to
    from.on('data', (chunk) => this.#take(chunk))
    from.on('end', () => {
      this.#isEnding = true
      this.#deliver()
    })
    to.on('drain', () => this.go())
  }

  #take(chunk: Buffer): void {
    const { latency = 0, bandwidth = Number.POSITIVE_INFINITY } = this.#proxy.options
    const clock = this.#proxy.clockOf(this)
    clock.free = Math.max(clock.free, performance.now()) + (1000 * chunk.length) / bandwidth
    this.#underWay.push({ chunk, at: clock.free + latency })
    this.#bytes += chunk.length
    this.#deliver()
  }

  #deliver(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    while (this.#underWay.length > 0 && this.#underWay[0]!.at <= performance.now() && !this.#isHeldUp) {
      const { chunk } = this.#underWay.shift()!
      this.#bytes -= chunk.length
      if (!this.#proxy.pass(this.#to, chunk)) return
    }
    const next = this.#underWay[0]
    if (next !== undefined && !this.#isHeldUp) {
      this.#timer = setTimeout(() => this.#deliver(), Math.max(1, next.at - performance.now()))
    }
    if (next === undefined && this.#isEnding) this.#to.end()
    const { latency = 0, bandwidth = 0 } = this.#proxy.options
    if (this.#isHeldUp || this.#bytes > HELD + (bandwidth * latency) / 1000) this.#from.pause()
    else this.#from.resume()
  }

  get #isHeldUp(): boolean {
    return this.isStalled || this.#to.writableNeedDrain
  }
  isStalled = false

  /** Reads and writes nothing more. */
  stall(): void {
    this.isStalled = true
    this.#from.pause()
  }
  go(): void {
    if (!this.isStalled) this.#deliver()
  }
  goOn(): void {
    this.isStalled = false
    this.#deliver()
  }
  end(): void {
    clearTimeout(this.#timer)
  }
}

interface Connection {
  readonly client: Socket
  readonly server: Socket
  readonly flows: readonly [up: Flow, down: Flow]
}

export class TcpProxy {
  readonly options: ProxyOptions
  readonly #server: Server
  #target: URL
  readonly #connections = new Set<Connection>()
  /** When the line is free again, in each direction. */
  readonly #clocks = [{ free: 0 }, { free: 0 }] as const
  readonly #directions = new WeakMap<Flow, 0 | 1>()
  #isStalling = false
  #isRefusing = false
  #toCut: { bytes: number; then: () => void } | null = null
  /** Connections that were made, and cut. */
  made = 0
  cuts = 0
  bytes = 0

  private constructor(server: Server, target: URL, options: ProxyOptions) {
    this.#server = server
    this.#target = target
    this.options = options
    server.on('connection', (client) => this.#accept(client))
  }

  /** @param url where the connections lead to, `ws://host:port` or `wss://` */
  static async start(url: string, options: ProxyOptions = {}): Promise<TcpProxy> {
    const server = createServer({ allowHalfOpen: true })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return new TcpProxy(server, new URL(url), options)
  }

  /** What to connect to instead. */
  get url(): string {
    const { protocol, pathname } = this.#target
    const { port } = this.#server.address() as AddressInfo
    return `${protocol}//127.0.0.1:${port}${pathname === '/' ? '' : pathname}`
  }
  get connections(): number {
    return this.#connections.size
  }

  #accept(client: Socket): void {
    this.made++
    client.on('error', () => {})
    if (this.#isRefusing) return void client.resetAndDestroy()
    const server = connect({ port: Number(this.#target.port), host: this.#target.hostname, allowHalfOpen: true })
    server.on('error', () => {})
    for (const socket of [client, server]) socket.setNoDelay(true)
    const [up, down] = [new Flow(this, client, server), new Flow(this, server, client)]
    this.#directions.set(up, 0)
    this.#directions.set(down, 1)
    const connection: Connection = { client, server, flows: [up, down] }
    this.#connections.add(connection)
    if (this.#isStalling) for (const flow of connection.flows) flow.stall()
    for (const socket of [client, server]) socket.on('close', () => this.#end(connection))
  }

  #end(connection: Connection): void {
    this.#connections.delete(connection)
    for (const flow of connection.flows) flow.end()
    for (const socket of [connection.client, connection.server]) if (!socket.destroyed) socket.destroy()
  }

  clockOf(flow: Flow): { free: number } {
    return this.#clocks[this.#directions.get(flow) ?? 0]
  }

  /** Writes what has come through, or the part of it before a cut; whether the connection goes on. */
  pass(to: Socket, chunk: Buffer): boolean {
    const toCut = this.#toCut
    this.bytes += chunk.length
    if (toCut === null || toCut.bytes > chunk.length) {
      if (toCut !== null) toCut.bytes -= chunk.length
      to.write(chunk)
      return true
    }
    this.#toCut = null
    to.write(chunk.subarray(0, toCut.bytes))
    const connection = [...this.#connections].find(({ client, server }) => client === to || server === to)
    if (connection !== undefined) this.#cut(connection)
    toCut.then()
    return false
  }

  /** In turn as a connection breaks where somebody pulls a plug, and where a process ends: what has passed is lost, or comes. */
  #cut(connection: Connection): void {
    this.#connections.delete(connection)
    for (const flow of connection.flows) flow.end()
    const isReset = this.cuts++ % 2 === 0
    for (const socket of [connection.client, connection.server]) {
      socket.removeAllListeners('data')
      if (isReset) socket.resetAndDestroy()
      else socket.destroySoon()
    }
  }

  /** Cuts all connections now. */
  cut(): void {
    for (const connection of this.#connections) this.#cut(connection)
  }
  /** Cuts a connection at the byte that is so many from now, of all that pass. */
  cutAfter(bytes: number, then: () => void = () => {}): void {
    this.#toCut = { bytes, then }
  }
  /** Takes connections, those that are there and new ones unless told otherwise, and moves nothing over them. */
  stall({ isNewToo = true, direction }: { isNewToo?: boolean; direction?: 'up' | 'down' } = {}): void {
    this.#isStalling = isNewToo
    for (const { flows } of this.#connections) {
      const [up, down] = flows
      if (direction !== 'down') up.stall()
      if (direction !== 'up') down.stall()
    }
  }
  goOn(): void {
    this.#isStalling = false
    for (const { flows } of this.#connections) for (const flow of flows) flow.goOn()
  }
  /** Leads new connections elsewhere. */
  lead(url: string): void {
    this.#target = new URL(url)
  }
  /** Whether new connections are turned away. */
  refuse(isRefusing = true): void {
    this.#isRefusing = isRefusing
  }

  async close(): Promise<void> {
    this.#isRefusing = true
    for (const connection of [...this.#connections]) this.#end(connection)
    this.#server.close()
    await once(this.#server, 'close')
  }
}
