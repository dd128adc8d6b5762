/**
 * A serving worker in a process of its own, and everything thrown at it that it has not asked for. All the while somebody
 * well-behaved computes on it, and every result is checked.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { connect, type Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { Identity, SocketWorker, send, tf } from 'sotto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { SeededRandom } from '../../src/data/random.ts'
import type { Channel } from '../../src/worker/transport/channel.ts'
import { Link } from '../../src/worker/transport/link.ts'
import { MessageKind, messageOf } from '../../src/worker/transport/messages.ts'
import { readyForTest, testBackend } from '../backend.ts'
import { built } from '../built.ts'
import { Stranger } from './hostile-client.ts'
import { hostileRequest, masses, outOfPlace, violations } from './hostile-frames.ts'
import { hostForTest, RawSession } from './raw-session.ts'

const LONG = process.env['SOTTO_LONG'] !== undefined

const MIB = 2 ** 20
const sleep = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds))

interface Memory {
  /** Bytes of the process. */
  readonly rss: number
  /** Bytes that are left after a collection. */
  readonly kept: number
}

/** A worker in a process of its own. */
class Served {
  readonly #child: ChildProcess
  readonly #lines: AsyncIterator<string>
  url = ''
  alice = ''
  mallory = ''

  constructor(options: object) {
    const args = [
      '--expose-gc',
      built('test/worker/hostile-worker.ts'),
      JSON.stringify({ backend: testBackend, ...options }),
    ]
    this.#child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] })
    this.#lines = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]()
  }
  async start(): Promise<void> {
    Object.assign(this, JSON.parse((await this.#lines.next()).value))
  }
  get port(): number {
    return Number(new URL(this.url).port)
  }
  async memory(): Promise<Memory> {
    this.#child.stdin!.write('\n')
    return JSON.parse((await this.#lines.next()).value)
  }
  /** Waits until it keeps so many bytes at most. */
  async keeps(most: number): Promise<void> {
    while ((await this.memory()).kept > most) await sleep(20)
  }
  /** What it tells Prometheus, by name. */
  async metrics(): Promise<Readonly<Record<string, number>>> {
    const text = await (await fetch(`${this.url.replace('ws', 'http')}/metrics`)).text()
    return Object.fromEntries(
      text.split('\n').flatMap((line) => {
        const [name, value] = line.split(' ')
        return value === undefined || line.startsWith('#') ? [] : [[name!, Number(value)]]
      }),
    )
  }
  /** Waits until nobody has a session but so many. */
  async settled(sessions: number): Promise<void> {
    while ((await this.metrics())['sotto_sessions'] !== sessions) await sleep(10)
  }
  get hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null
  }
  stop(): void {
    this.#child.kill('SIGKILL')
  }
}

/** Somebody who computes, and looks whether it is right, until told to stop. */
class Customer {
  readonly #worker: SocketWorker
  readonly #random = new SeededRandom(5)
  #isOver = false
  checked = 0
  readonly done: Promise<void>

  constructor(worker: SocketWorker) {
    this.#worker = worker
    this.done = this.#work()
  }
  async #work(): Promise<void> {
    while (!this.#isOver) {
      const numbers = Float32Array.from({ length: 64 }, () => this.#random.int(1000))
      const tensor = tf.tensor(numbers)
      const pointer = send(tensor, this.#worker)
      tensor.dispose()
      const doubled = pointer.mul(2)
      const sum = await doubled.sum().get()
      expect(sum.dataSync()[0]).toBe(2 * numbers.reduce((a, b) => a + b, 0))
      const back = await doubled.get()
      expect(Float32Array.from(back.dataSync())).toEqual(numbers.map((x) => 2 * x))
      for (const each of [sum, back]) each.dispose()
      pointer.dispose()
      this.checked++
      await sleep(2)
    }
  }
  /** Runs something during which results must go on coming. */
  async during<T>(action: () => Promise<T>): Promise<T> {
    const before = this.checked
    const result = await Promise.race([action(), this.done.then(() => Promise.reject(new Error('it has stopped')))])
    const enough = before + 2
    while (this.checked < enough) await Promise.race([sleep(5), this.done])
    return result
  }
  stop(): Promise<void> {
    this.#isOver = true
    return this.done
  }
}

// How frames travel is the same on every backend.
describe.runIf(testBackend === 'wasm')('a serving worker', () => {
  const limits = { peerTimeout: 2, elements: 1_000_000, objects: 20_000, identityObjects: 5000 }
  let served: Served
  let worker: SocketWorker
  let customer: Customer
  beforeAll(async () => {
    await readyForTest()
    served = new Served({ grace: 200, limits })
    await served.start()
    worker = await SocketWorker.connect(served.url, { token: served.alice, timeout: 30_000 })
    customer = new Customer(worker)
  })
  afterAll(async () => {
    await customer.stop()
    await worker.close()
    expect(served.hasEnded).toBe(false)
    served.stop()
  })

  /** Whoever comes now is served, too. */
  const newcomer = async (): Promise<void> => {
    const other = await SocketWorker.connect(served.url, { token: served.alice, timeout: 30_000 })
    const sum = await send(tf.tensor([1, 2, 3]), other)
      .sum()
      .get()
    expect(sum.dataSync()[0]).toBe(6)
    sum.dispose()
    await other.close()
  }

  describe('stands messages', () => {
    const FRAMES = LONG ? 1_000_000 : 15_000
    /** Requests of one session, before something ends it. */
    const REQUESTS = 256
    /** Sessions at a time. */
    const AT_ONCE = 4
    /**
     * Bytes for each frame that may be left: less than any object that could be kept for one. Over so few frames the
     * engine's own come and go, half a megabyte of them.
     */
    const KEPT = LONG ? 4 : 200
    /** The same of the process as a whole, whose allocator gives nothing back: 64 MB in all. */
    const RESIDENT = 64

    it(`that are mutated and random frames, ${FRAMES} of them, of those whom it let in`, async () => {
      const random = new SeededRandom(51)
      const ends = new Map<string, number>()
      const attack = async (until: number): Promise<void> => {
        while (frames < until) {
          frames += REQUESTS + 1
          const mallory = (await Stranger.enter(served.url, served.mallory)).hello('mallory')
          for (let sent = 0; sent < REQUESTS; sent += 16) {
            mallory.packed(Array.from({ length: 16 }, () => hostileRequest(random, ++mallory.seq)))
          }
          // All of it was carried out or refused, and the session lives.
          expect(await mallory.outcome('flush', {})).not.toContain('closed')
          for (const message of [random.pick(violations)(random, mallory.seq + 1)].flat()) mallory.send(message)
          const how = await mallory.leave()
          ends.set(how, (ends.get(how) ?? 0) + 1)
        }
      }
      let frames = 0
      const course = new Course()
      await customer.during(async () => {
        // What is kept for names, shapes and codes that come for the first time is not counted.
        for (const part of [0.4, 0.6, 0.8, 1]) {
          await Promise.all(Array.from({ length: AT_ONCE }, () => attack(part * FRAMES)))
          await served.settled(1)
          course.note(frames, await served.memory())
        }
      })
      const { sotto_objects: objects, sotto_queue: queue, sotto_peers: peers } = await served.metrics()
      // The customer's own are few.
      expect([objects! < 10, queue! < 10, peers]).toEqual([true, true, 0])
      course.show('frames', ends)
      expect(course.slope('kept')).toBeLessThan(KEPT)
      if (LONG) expect(course.slope('rss')).toBeLessThan(RESIDENT)
      // Most violations are answered with a code; some messages are none after all.
      expect(ends.get('ERR_PROTOCOL')!).toBeGreaterThan((0.5 * FRAMES) / REQUESTS)
      expect(['ERR_LIMIT', 'ERR_PROTOCOL', 'nothing said']).toEqual(expect.arrayContaining([...ends.keys()]))
    }, 600_000)

    it('that are large: nested, and with more parts and tunnels than there may be', async () => {
      const before = await served.memory()
      await customer.during(async () => {
        for (const make of masses) {
          const mallory = (await Stranger.enter(served.url, served.mallory)).hello('mallory')
          mallory.send(make(2))
          await mallory.leave()
        }
        await served.settled(1)
      })
      expect((await served.memory()).kept - before.kept).toBeLessThan(MIB)
    })

    const STRANGERS = LONG ? 20_000 : 80
    it(`of ${STRANGERS} who are not let in, in the place of each step of the handshake`, async () => {
      const random = new SeededRandom(52)
      const ends = new Map<string, number>()
      let strangers = 0
      const attack = async (until: number): Promise<void> => {
        while (strangers++ < until) {
          const stranger = await Stranger.open(served.url)
          if (random.int(2) === 0) {
            stranger.send(messageOf(MessageKind.shake, { version: 1, nonce: new Uint8Array(32), ephemeral: null }))
            await stranger.next()
          }
          stranger.send(outOfPlace(random))
          // A hello that is none the worse for it is answered, and waits for more.
          stranger.send(Uint8Array.of(9))
          const how = await stranger.end()
          ends.set(how, (ends.get(how) ?? 0) + 1)
        }
      }
      const course = new Course()
      await customer.during(async () => {
        for (const part of [0.25, 0.5, 0.75, 1]) {
          await Promise.all(Array.from({ length: AT_ONCE }, () => attack(part * STRANGERS)))
          course.note(strangers, await served.memory())
        }
      })
      // A WebSocket that is kept is ten times as much.
      course.show('strangers', ends)
      expect(course.slope('kept')).toBeLessThan(LONG ? 64 : 2048)
      // Nobody goes without a word.
      expect(ends.has('nothing said')).toBe(false)
      expect(ends.get('ERR_PROTOCOL')!).toBeGreaterThan(STRANGERS / 2)
      await customer.during(newcomer)
    }, 600_000)
  })

  describe('stands connections', () => {
    const MOST = LONG ? 10_000 : 300
    const UPGRADE = [
      'GET / HTTP/1.1',
      'Host: bob',
      'Connection: Upgrade',
      'Upgrade: websocket',
      'Sec-WebSocket-Version: 13',
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    ].join('\r\n')
    const END = '\r\n\r\n'
    /** The head of a binary frame of so many bytes, masked with nothing. */
    const frameOf = (length: number): Buffer => {
      const head = Buffer.from([0x82, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
      head.writeBigUInt64BE(BigInt(length), 2)
      return head
    }
    const say = (what: string | Buffer) => (socket: Socket) => void socket.write(what)
    const ways: readonly ((socket: Socket) => void)[] = [
      // Half open: nothing, or not all of a head.
      () => {},
      say('GET / HT'),
      say(`${UPGRADE}\r\n`),
      // Slowly, a byte at a time.
      (socket) => {
        let at = 0
        const timer = setInterval(() => socket.write(`${UPGRADE}${END}`[at++ % UPGRADE.length]!), 20)
        socket.on('close', () => clearInterval(timer))
      },
      // A WebSocket that says nothing, or not all.
      say(UPGRADE + END),
      say(Buffer.concat([Buffer.from(UPGRADE + END), frameOf(100), Buffer.alloc(50)])),
      // Too much: of a message, of a head, of a body; and what is no HTTP.
      say(Buffer.concat([Buffer.from(UPGRADE + END), frameOf(2 ** 40)])),
      say(`GET / HTTP/1.1\r\nHost: ${'x'.repeat(100_000)}${END}`),
      say(`POST / HTTP/1.1\r\nHost: bob\r\nContent-Length: 1000000000${END}${'x'.repeat(100_000)}`),
      say(Buffer.from([0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3])),
      // Gone at once, in the middle of something.
      (socket) => {
        socket.write(UPGRADE + END)
        socket.resetAndDestroy()
      },
      (socket) => {
        socket.write(UPGRADE + END)
        socket.once('data', () => socket.resetAndDestroy())
      },
    ]

    it(`${MOST} half open, slow, silent and oversized ones, and serves who comes among them`, async () => {
      /** At a time; the server takes 2000 connections. */
      const wave = Math.min(MOST, 1500)
      const before = await served.memory()
      const course = new Course()
      for (let made = 0; made < MOST; made += wave) {
        const sockets = Array.from({ length: wave }, (_, i) => {
          const socket = connect({ port: served.port, host: '127.0.0.1' })
          socket.on('error', () => {})
          socket.resume()
          ways[i % ways.length]!(socket)
          return socket
        })
        await customer.during(() => sleep(20))
        await customer.during(newcomer)
        for (const socket of sockets) socket.destroy()
        await served.keeps(before.kept + 2 * MIB)
        course.note(made, await served.memory())
      }
      course.show('connections')
      if (LONG) expect(course.slope('kept')).toBeLessThan(64)
    }, 600_000)

    it('that keep silent in WebSockets, more of them than there may be handshakes, and lets others in', async () => {
      const silent = await Promise.allSettled(Array.from({ length: 300 }, () => Stranger.open(served.url)))
      try {
        await customer.during(newcomer)
      } finally {
        for (const one of silent) if (one.status === 'fulfilled') one.value.vanish()
      }
    })

    it('that send much, and never all of it, before they have shown who they are', async () => {
      const before = await served.memory()
      const sockets = await Promise.all(
        Array.from({ length: 40 }, async () => {
          const { socket } = await Stranger.open(served.url)
          const raw = (socket as unknown as { _socket: Socket })._socket
          raw.on('error', () => {})
          raw.write(Buffer.concat([frameOf(8 * MIB - 1), Buffer.alloc(MIB)]))
          return socket
        }),
      )
      await customer.during(() => sleep(50))
      expect((await served.memory()).kept - before.kept).toBeLessThan(8 * MIB)
      for (const socket of sockets) socket.terminate()
    })

    it('that send one thing after another, and do not wait for their turn', async () => {
      const before = await served.memory()
      const stranger = await Stranger.open(served.url)
      // Of a session that there is none of, a peer may be ahead: the worker waits for some seconds.
      const capability = { session: 'nowhere', name: 'jane', proof: new Uint8Array(32) }
      const credentials = { role: 'peer', capability } as const
      stranger.attempt({ credentials, identity: Identity.generate() })
      await sleep(30)
      for (let sent = 0; sent < 64; sent++) stranger.send(new Uint8Array(MIB))
      await customer.during(() => sleep(50))
      expect((await served.memory()).kept - before.kept).toBeLessThan(8 * MIB)
      stranger.vanish()
    })

    it('that ask for large tensors and do not read them', async () => {
      const before = await served.memory()
      const reader = (await Stranger.enter(served.url, served.mallory)).hello('mallory')
      const value = { shape: [1_000_000], dtype: 'float32', data: new Uint8Array(4_000_000) }
      const labels = { tags: [], description: '' }
      reader.request('put', { out: 'large', value, labels, privacy: null, requiresGrad: false, edge: null })
      expect(await reader.outcome('flush', {})).toBe('value')
      reader.socket.pause()
      // 600 MB of answers.
      for (let i = 0; i < 150; i++) reader.request('get', { id: 'large', keep: true })
      await customer.during(newcomer)
      await customer.during(newcomer)
      // What a session may have to say and has not, what is on its way, and one answer more; the rest is not made.
      expect((await served.memory()).kept - before.kept).toBeLessThan((256 + 32) * MIB)
      reader.vanish()
      await served.settled(1)
      expect((await served.memory()).kept - before.kept).toBeLessThan(MIB)
    })

    it.runIf(LONG)(
      'that say nothing, for ten seconds or so, and then hangs up',
      async () => {
        const sockets = ways.map((way) => {
          const socket = connect({ port: served.port, host: '127.0.0.1' })
          socket.on('error', () => {})
          socket.resume()
          way(socket)
          return new Promise((resolve) => socket.once('close', resolve))
        })
        await customer.during(() => Promise.all(sockets))
      },
      30_000,
    )
  })
})

describe('a session', () => {
  beforeAll(readyForTest)

  it('ends when far more commands wait in it than may: what cannot be carried out is not kept either', () => {
    const { host } = hostForTest({ inFlight: 100 })
    const mallory = new RawSession(host).hello('mallory')
    mallory.request('receive', { key: 'k', from: 'nobody', out: 'o', edge: null, optimizers: [] })
    for (let i = 0; i < 100; i++) mallory.request('free', { ids: ['x'] })
    expect(mallory.state).toBe('open')
    for (let i = 0; i < 2000; i++) mallory.request('free', { ids: ['x'] })
    expect(mallory.state).toBe('ERR_LIMIT')
    host.close()
  })

  /** A session whose answers are not read. */
  class Unread extends RawSession {
    readonly #waiting: (() => void)[] = []
    override onDrain(listener: () => void): void {
      this.#waiting.push(listener)
    }
    read(): void {
      for (const listener of this.#waiting.splice(0)) listener()
    }
  }

  it.each([
    ['objects', {}],
    ['get', { id: 'nobody', keep: true }],
    ['nothing', {}],
  ])('carries out no more while its answers are not read: %s', async (name, body) => {
    const { host } = hostForTest()
    const mallory = new Unread(host)
    Object.defineProperty(mallory, 'backlog', { value: 2 ** 30 })
    mallory.hello('mallory')
    for (let i = 0; i < 3; i++) mallory.request(name, body)
    expect(mallory.answers).toHaveLength(1)
    mallory.read()
    await sleep(0)
    expect(mallory.answers).toHaveLength(2)
    host.close()
  })
})

describe('a link', () => {
  it('answers no more questions of an end that does not read what it is told', () => {
    const sent: Uint8Array[] = []
    let take: (message: Uint8Array) => void = () => {}
    const channel: Channel & { buffered: number } = {
      route: 'direct',
      certificate: null,
      buffered: 0,
      send: (message) => void sent.push(message),
      onMessage: (listener) => {
        if (listener) take = listener
      },
      onDrain: () => {},
      onClose: () => {},
      close: () => {},
    }
    new Link({ message: MIB, parts: MIB, heartbeat: 0 }).attach(channel, 0)
    take(messageOf(MessageKind.ping))
    expect(sent).toEqual([messageOf(MessageKind.pong)])
    channel.buffered = 64 * MIB
    for (let i = 0; i < 100; i++) take(messageOf(MessageKind.ping))
    expect(sent).toHaveLength(1)
  })
})

/** How memory goes while something is done again and again. */
class Course {
  readonly #points: (Memory & { readonly at: number })[] = []

  note(at: number, memory: Memory): void {
    this.#points.push({ at, ...memory })
  }
  /** Bytes for each time, by least squares. */
  slope(what: keyof Memory): number {
    const mean = (pick: (point: Memory & { at: number }) => number) =>
      this.#points.reduce((sum, point) => sum + pick(point), 0) / this.#points.length
    const [x, y] = [mean(({ at }) => at), mean((point) => point[what])]
    return mean((point) => (point.at - x) * (point[what] - y)) / mean(({ at }) => (at - x) ** 2)
  }
  show(of: string, more?: unknown): void {
    if (!LONG) return
    const points = this.#points.map(({ at, kept, rss }) => ({ [of]: at, kept: kept / MIB, rss: rss / MIB }))
    console.log(points, { kept: this.slope('kept'), rss: this.slope('rss') }, more)
  }
}
