/** How workers reach one another: directly where they can, else past their caller, and never round somebody who is no peer. */
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { hook, Identity, SocketWorker, serveWorker, type WorkerServer } from 'sotto'
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { WebSocketServer } from 'ws'
import { tf } from '../../src/tensor/engine.ts'
import { dialPeer } from '../../src/worker/dial.ts'
import { defaultLimits } from '../../src/worker/host.ts'
import type { HostSession } from '../../src/worker/host-session.ts'
import { FrameKind, type PeerIntroduction, type TunnelFrame } from '../../src/worker/protocol.ts'
import type { ServeOptions } from '../../src/worker/serve.ts'
import { callerSession, Session } from '../../src/worker/session.ts'
import type { Channel } from '../../src/worker/transport/channel.ts'
import { memoryPair } from '../../src/worker/transport/memory.ts'
import { Worker } from '../../src/worker/worker.ts'
import { readyForTest } from '../backend.ts'
import { codeOf } from '../conformance/workers.ts'

const closing: (() => unknown)[] = []
beforeAll(async () => {
  await readyForTest()
  hook()
})
afterEach(async () => {
  vi.restoreAllMocks()
  for (const close of closing.splice(0).reverse()) await close()
})

const serve = async (id: string, options: Partial<ServeOptions> = {}): Promise<WorkerServer> => {
  const server = await serveWorker({ id, port: 0, ...options })
  closing.push(() => server.close(0))
  return server
}
/** @param address where other workers are told that it is */
const reach = async ({ url }: WorkerServer, address = url): Promise<SocketWorker> => {
  const worker = await SocketWorker.connect(url, { address, timeout: 20_000 })
  closing.push(() => worker.close())
  return worker
}
/** An address where nobody is. */
async function nowhere(): Promise<string> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return `ws://127.0.0.1:${port}`
}
const listening = async (server: Server): Promise<string> => {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  closing.push(() => {
    server.closeAllConnections()
    server.close()
  })
  return `ws://127.0.0.1:${(server.address() as AddressInfo).port}`
}
const valuesOf = async (tensor: Promise<tf.Tensor>): Promise<number[]> => [...(await tensor).dataSync()]
const rowsOf = async (worker: SocketWorker, event: string) =>
  (await worker.ledger())
    .filter((row) => row.event === event && row.operation !== 'send')
    .map(({ operation, from, to, count, bytes, route = 'direct' }) => [operation, from, to, count, bytes, route])

describe('a peer that is not reached at its address', () => {
  it('is reached past the caller, and the ledgers of both name the route', async () => {
    const [bob, alice] = [await reach(await serve('bob')), await reach(await serve('alice'), await nowhere())]
    const x = tf.tensor([1, 2, 3]).send(bob)
    // Written down by bob before he knows how they will go.
    const moved = [x.copy().move(alice), x.copy().move(alice)]
    for (const one of moved) expect(await valuesOf(one.add(1).fetch())).toEqual([2, 3, 4])
    expect(await rowsOf(bob, 'left')).toEqual([['move', 'bob', 'alice', 2, 24, 'relayed']])
    expect(await rowsOf(alice, 'came')).toEqual([['move', 'bob', 'alice', 2, 24, 'relayed']])
    // The other way there is an address.
    expect(await valuesOf(moved[0]!.move(bob).get())).toEqual([1, 2, 3])
    expect(await rowsOf(bob, 'came')).toEqual([['move', 'alice', 'bob', 1, 12, 'direct']])
    expect(await valuesOf(x.move(alice).get())).toEqual([1, 2, 3])
    expect(await rowsOf(bob, 'left')).toContainEqual(['move', 'bob', 'alice', 3, 36, 'relayed'])
  })

  it('takes part in secrets, and in a pass back', async () => {
    const [bob, alice] = [await reach(await serve('bob')), await reach(await serve('alice'), await nowhere())]
    const secret = tf.tensor([1.5, -2]).fixPrecision().share([bob, alice])
    expect(await valuesOf(secret.add(secret).reveal())).toEqual([3, -4])
    const leaf = tf.tensor([1, 2]).send(alice).requireGrad()
    leaf.mul(3).move(bob, { requiresGrad: true }).sum().backward()
    expect(await valuesOf(leaf.grad!.get())).toEqual([3, 3])
  })

  it('is not gone round when somebody else is there: ERR_IDENTITY, and nothing passes the caller', async () => {
    const passed = vi.spyOn(Session.prototype, 'sendTunnel')
    const mallory = await serve('mallory')
    const bob = await reach(await serve('bob'))
    const alice = await reach(await serve('alice', { limits: { peerTimeout: 500 } }), mallory.url)
    const moved = tf.tensor([1, 2, 3]).send(bob).move(alice)
    expect(await codeOf(() => moved.get())).toBe('ERR_TIMEOUT')
    expect(await codeOf(() => bob.flush())).toBe('ERR_IDENTITY')
    expect(passed).not.toHaveBeenCalled()
    expect(await rowsOf(alice, 'came')).toEqual([])
  })
})

describe('a dial to a peer', () => {
  const introduction = {
    name: 'alice',
    key: Identity.generate().key,
    capability: { session: 's', name: 'bob', proof: new Uint8Array(32) },
  }
  /** Dials with a second and a half in all, more than it is tried directly alone; ends with the code of the link, and whether a tunnel was opened. */
  async function outcomeOf(
    how: Pick<PeerIntroduction, 'address' | 'relay'>,
  ): Promise<[code: string, tunnels: boolean]> {
    let tunnels = 0
    const open = (_: string, why: Error): Channel => {
      tunnels++
      // As the caller does that cannot pass it on.
      const onClose = (listener: (reason: Error) => void) => listener(why)
      return {
        route: 'relayed',
        certificate: null,
        buffered: 0,
        onClose,
        send() {},
        close() {},
        onDrain() {},
        onMessage() {},
      }
    }
    const host = { identity: Identity.generate(), limits: { ...defaultLimits, peerTimeout: 1500 } }
    const link = dialPeer()({ host, tunnels: { open } } as unknown as HostSession, { ...introduction, ...how })
    const reason = await new Promise<Error | undefined>((resolve) => link.onClose(resolve))
    return [(reason as { code?: string } | undefined)?.code ?? 'none', tunnels > 0]
  }

  it('takes a tunnel where nothing is reached and the caller passes things on, and in no other case', async () => {
    const [none, relay] = [await nowhere(), true]
    const page = await listening(createServer((_, response) => response.writeHead(404).end()))
    const [broken, strange] = [createServer(), createServer()]
    const takers = [broken, strange].map((server) => new WebSocketServer({ server }))
    takers[0]!.on('connection', (socket) => socket.on('message', () => socket.terminate()))
    takers[1]!.on('connection', (socket) => socket.send('good morning'))
    const cases: Readonly<Record<string, Pick<PeerIntroduction, 'address' | 'relay'>>> = {
      'no address': { address: null },
      nobody: { address: none, relay },
      'no worker': { address: page, relay },
      'nobody, and a caller that passes nothing on': { address: none, relay: false },
      'nobody, and a caller that says nothing of it': { address: none },
      'somebody who breaks the handshake off': { address: await listening(broken), relay },
      'somebody who says what is no handshake': { address: await listening(strange), relay },
    }
    const outcomes = Object.entries(cases).map(async ([what, how]) => [what, ...(await outcomeOf(how))])
    expect(await Promise.all(outcomes)).toEqual([
      ['no address', 'ERR_UNREACHABLE', true],
      ['nobody', 'ERR_UNREACHABLE', true],
      ['no worker', 'ERR_UNREACHABLE', true],
      ['nobody, and a caller that passes nothing on', 'ERR_UNREACHABLE', false],
      ['nobody, and a caller that says nothing of it', 'ERR_UNREACHABLE', false],
      ['somebody who breaks the handshake off', expect.any(String), false],
      ['somebody who says what is no handshake', 'ERR_PROTOCOL', false],
    ])
  })
})

describe('a caller through which tunnels pass', () => {
  class Listener extends Worker {
    readonly address = null
    readonly key = Identity.generate().key
    /** What the worker itself hears, and says. */
    readonly far: ReturnType<typeof memoryPair>[1]
    readonly heard: TunnelFrame[] = []

    constructor(id: string, limit = Number.POSITIVE_INFINITY) {
      const [ours, theirs] = memoryPair()
      const send = ours.send.bind(ours)
      ours.send = (frame) => {
        if (frame[0] === FrameKind.tunnel && (frame[3]?.length ?? 0) > limit) throw new Error('too large')
        send(frame)
      }
      super(id, 'me', callerSession(ours, 'me', id))
      this.far = theirs
      theirs.onFrame((frame) => {
        if (!(frame instanceof Error) && frame[0] === FrameKind.tunnel) this.heard.push(frame)
      })
    }
    override as(): Worker {
      return this
    }
  }
  const bytes = (length: number) => new Uint8Array(length)

  it('keeps nothing of those that have ended, whichever end closed them: there is room for others', () => {
    const [bob, alice] = [new Listener('bob'), new Listener('alice')]
    bob.reach(alice)
    for (let i = 0; i < 3000; i++) {
      const [opens, closes] = [bob, i % 2 === 0 ? bob : alice]
      opens.far.send([FrameKind.tunnel, `t${i}`, 'alice', bytes(1)])
      closes.far.send([FrameKind.tunnel, `t${i}`, null, null])
    }
    expect(alice.heard.filter(([, , to]) => to === 'bob')).toHaveLength(3000)
  })

  it('ends one with a message that is larger than the other end takes, and no session', () => {
    const [bob, alice] = [new Listener('bob'), new Listener('alice', 100)]
    bob.reach(alice)
    bob.far.send([FrameKind.tunnel, 't', 'alice', bytes(10)])
    bob.far.send([FrameKind.tunnel, 't', null, bytes(200)])
    const end = [FrameKind.tunnel, 't', null, null]
    expect([alice.heard.at(-1), bob.heard.at(-1)]).toEqual([end, end])
    expect([bob.isClosed, alice.isClosed]).toEqual([false, false])
  })
})
