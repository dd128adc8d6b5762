/**
 * Links whose connections break at any message: what arrives is what was sent, once, whole and in order.
 *
 * Nothing here depends on a machine: messages move when a test delivers them, and time when a test says so.
 */
import { EventEmitter } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { sottoError } from '../../src/errors.ts'
import type { Progress } from '../../src/tensor/location.ts'
import { Identity } from '../../src/worker/identity.ts'
import { type Frame, FrameKind } from '../../src/worker/protocol.ts'
import { afterAwake } from '../../src/worker/transport/awake.ts'
import type { Channel } from '../../src/worker/transport/channel.ts'
import { type DiallerOptions, dial } from '../../src/worker/transport/dialler.ts'
import { shake } from '../../src/worker/transport/handshake.ts'
import { Link } from '../../src/worker/transport/link.ts'
import { LinkListener, type ListenerOptions } from '../../src/worker/transport/listener.ts'
import { MessageKind, messageOf, readMessage } from '../../src/worker/transport/messages.ts'
import type { Transport } from '../../src/worker/transport/transport.ts'
import { Tunnels } from '../../src/worker/transport/tunnel.ts'
import { dialWebSocket, nodeChannel } from '../../src/worker/transport/websocket.ts'
import { testBackend } from '../backend.ts'
import { End, Wire } from './wires.ts'

/** Nothing here computes: once is enough. */
const once = describe.skipIf(testBackend !== 'wasm')
const many = process.env['SOTTO_LONG'] ? 50 : 1
if (many > 1) vi.setConfig({ testTimeout: 900_000 })

const MIB = 2 ** 20
/** Below this a part of a frame stays with it. */
const LARGE_PART = 32 * 2 ** 10
/** Milliseconds after which an end has said what it got. */
const SAID = 201
/** Bytes of one piece, and of pieces that may be under way. */
const [PIECE, WINDOW] = [256 * 2 ** 10, 16 * MIB]

/** Bytes from which every part is cut, at another place each. */
const PATTERN = (() => {
  const words = new Uint32Array(MIB / 2)
  for (let i = 0, word = 1; i < words.length; i++) words[i] = word = Math.imul(word, 1664525) + 1013904223
  return new Uint8Array(words.buffer)
})()
let parts = 0
const bytesOf = (length: number): Uint8Array => {
  const at = (++parts * 7919) % (PATTERN.length - length)
  return PATTERN.subarray(at, at + length)
}
const bigBytes = (length: number): Uint8Array => {
  const bytes = new Uint8Array(length)
  for (let at = 0; at < length; at += MIB) bytes.set(bytesOf(Math.min(MIB, length - at)), at)
  return bytes
}

/** A frame with parts of these sizes, at several depths. */
const frameOf = (n: number, sizes: readonly number[]): Frame => {
  const [first, ...others] = sizes.map((size) => bytesOf(size))
  return [FrameKind.request, n, 'put', { first: first ?? null, others: { list: others }, n }]
}
const partsIn = (frame: Frame): (Uint8Array | null)[] => {
  const { first, others } = frame[3] as { first: Uint8Array | null; others: { list: (Uint8Array | null)[] } }
  return [first, ...others.list]
}

/** What one end of a link sent, and what came to it. */
class Half {
  readonly link: Link
  readonly sent: Frame[] = []
  readonly progress: Progress[][] = []
  readonly came: Frame[] = []
  readonly whole: Promise<void>[] = []
  readonly ended: (Error | undefined)[] = []

  constructor(link: Link | { parts?: number; heartbeat?: number } = {}) {
    this.link = link instanceof Link ? link : new Link({ message: 8 * MIB, parts: 2 ** 32, heartbeat: 0, ...link })
    this.link.onFrame((frame, following) => {
      if (frame instanceof Error) throw frame
      this.came.push(frame)
      this.whole.push(following?.whole ?? Promise.resolve())
    })
    this.link.onClose((reason) => this.ended.push(reason))
  }

  send(sizes: readonly number[]): void {
    const frame = frameOf(this.sent.length + 1, sizes)
    const progress: Progress[] = []
    this.sent.push(frame)
    this.progress.push(progress)
    this.link.send(frame, (step) => progress.push(step))
  }
}

/** Checks that all that one end sent is what came to the other: once, whole, in order. */
async function expectArrived(from: Half, to: Half): Promise<void> {
  expect(to.came.map((frame) => frame[1])).toEqual(from.sent.map((frame) => frame[1]))
  await Promise.all(to.whole)
  for (const [i, frame] of from.sent.entries()) {
    const [given, got] = [partsIn(frame), partsIn(to.came[i]!)]
    expect(got.length).toBe(given.length)
    for (const [j, part] of given.entries()) {
      if (part === null) expect(got[j]).toBeNull()
      else if (Buffer.compare(part, got[j] ?? new Uint8Array(0)) !== 0) throw new Error(`part ${j} of ${i} differs`)
    }
    const progress = from.progress[i]!
    const total = given.reduce((sum, part) => sum + (part && part.length >= LARGE_PART ? part.length : 0), 0)
    for (const [k, { done }] of progress.entries()) expect(done).toBeGreaterThan(k === 0 ? 0 : progress[k - 1]!.done)
    if (progress.length > 0) expect(progress.at(-1)).toEqual({ done: total, total })
  }
  expect(from.link.backlog).toBe(0)
}

const settle = async () => {
  for (let i = 0; i < 4; i++) await Promise.resolve()
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance'] })
})
afterEach(() => {
  vi.useRealTimers()
})

/** Two links, the wires between them, and what two ends do to go on over another one. */
class Pair {
  readonly dialler: Half
  readonly listener: Half
  readonly wires: Wire[] = []
  readonly #isSwift: boolean
  /** What answers said that the listener has not seen yet. */
  readonly #stale: number[] = []

  constructor(isSwift: boolean) {
    this.#isSwift = isSwift
    this.dialler = new Half()
    this.listener = new Half()
    this.resume()
  }

  half(side: 0 | 1): Half {
    return side === 0 ? this.dialler : this.listener
  }
  get wire(): Wire {
    return this.wires.at(-1)!
  }
  #wire(): Wire {
    const wire = new Wire({ isSwift: this.#isSwift })
    this.wires.push(wire)
    return wire
  }

  /** What the dialler and the listener do in a handshake that resumes, and where it may break off. */
  resume(breaks: 'nowhere' | 'before the answer' | 'before the welcome' = 'nowhere', times = 1): void {
    const [ours, theirs] = [this.dialler.link, this.listener.link]
    ours.pause()
    const claim = ours.received
    // The answer takes its time, and what was under way still comes.
    this.deliver(0, 2)
    this.deliver(1, 2)
    if (breaks === 'before the answer') {
      this.#stale.push(claim)
      return ours.goOn()
    }
    for (let i = 0; i < times; i++) {
      expect(theirs.canHave(claim)).toBe(true)
      const wire = this.#wire()
      theirs.detach()
      const has = theirs.received
      theirs.attach(wire.ends[1], claim)
      if (i < times - 1) continue
      if (breaks === 'before the welcome') {
        wire.break()
        return ours.goOn()
      }
      ours.attach(wire.ends[0], has)
    }
  }

  /** An answer of a try that was given up comes to the listener after all. */
  comeLate(): void {
    const { link } = this.listener
    const claim = this.#stale.shift()
    if (claim === undefined || !link.canHave(claim)) return
    const wire = this.#wire()
    link.detach()
    link.attach(wire.ends[1], claim)
    wire.break()
  }

  deliver(from: 0 | 1, count?: number): number {
    return this.wires.reduce((sum, wire) => sum + wire.deliver(from, count), 0)
  }

  /** Delivers all there is. */
  async calm(): Promise<void> {
    for (let quiet = 0; quiet < 2; ) {
      const moved = this.deliver(0) + this.deliver(1)
      await settle()
      vi.advanceTimersByTime(SAID)
      quiet = moved === 0 ? quiet + 1 : 0
    }
  }
}

type Step = (pair: Pair) => void

const side = fc.constantFrom(0 as const, 1 as const)
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc
      .tuple(side, fc.array(fc.constantFrom(0, 10, 300, 31_000, 33_000, 250_000, 300_000, 700_000), { maxLength: 3 }))
      .map(
        ([from, sizes]): Step =>
          (pair) =>
            pair.half(from).send(sizes),
      ),
  },
  {
    weight: 8,
    arbitrary: fc.tuple(side, fc.integer({ min: 1, max: 6 })).map(
      ([from, count]): Step =>
        (pair) =>
          pair.deliver(from, count),
    ),
  },
  { weight: 2, arbitrary: fc.constant<Step>(() => vi.advanceTimersByTime(SAID)) },
  { weight: 2, arbitrary: fc.constant<Step>((pair) => pair.wire.cut()) },
  {
    weight: 2,
    arbitrary: side.map(
      (end): Step =>
        (pair) =>
          pair.wire.isCut && pair.wire.ends[end].end(undefined),
    ),
  },
  { weight: 3, arbitrary: fc.constant<Step>((pair) => pair.resume()) },
  {
    weight: 2,
    arbitrary: fc.constantFrom('before the answer' as const, 'before the welcome' as const).map(
      (breaks): Step =>
        (pair) =>
          pair.resume(breaks),
    ),
  },
  { weight: 1, arbitrary: fc.constant<Step>((pair) => pair.resume('nowhere', 2)) },
  { weight: 1, arbitrary: fc.constant<Step>((pair) => pair.comeLate()) },
)

once('a link', () => {
  it('brings every frame once, whole and in order, however its connections break', async () => {
    const [runs, made] = [100 * many, { frames: 0, connections: 0 }]
    await fc.assert(
      fc.asyncProperty(fc.boolean(), fc.array(step, { maxLength: 60, size: 'max' }), async (isSwift, steps) => {
        const pair = new Pair(isSwift)
        for (const take of steps) {
          take(pair)
          await settle()
        }
        pair.resume()
        await pair.calm()
        await expectArrived(pair.dialler, pair.listener)
        await expectArrived(pair.listener, pair.dialler)
        expect([...pair.dialler.ended, ...pair.listener.ended]).toEqual([])
        made.frames += pair.dialler.sent.length + pair.listener.sent.length
        made.connections += pair.wires.length
        pair.dialler.link.close()
        await pair.calm()
        expect(pair.listener.ended).toEqual([undefined])
      }),
      { seed: 4, numRuns: runs },
    )
    if (many > 1)
      console.log(`${runs} links, ${made.connections} connections: ${made.frames} frames arrived once, in order`)
  })

  it('goes on in the middle of a large part, and the bytes are those that were sent', async () => {
    const pair = new Pair(false)
    pair.dialler.send([bigPart])
    // The first messages have come, and the other end has not said so.
    expect(pair.deliver(0, 4)).toBe(4)
    pair.wire.break()
    pair.resume()
    await pair.calm()
    await expectArrived(pair.dialler, pair.listener)
  })
  const bigPart = 1_900_000

  it('keeps no more pieces than a window of them, however large a frame', async () => {
    const pair = new Pair(true)
    const bytes = bigBytes(40 * MIB)
    pair.dialler.link.send([FrameKind.request, 1, 'put', { bytes }])
    expect(pair.wire.ends[0].sent).toBeGreaterThan(WINDOW - PIECE)
    expect(pair.wire.ends[0].sent).toBeLessThan(WINDOW + PIECE)
    expect(pair.dialler.link.backlog).toBeGreaterThanOrEqual(bytes.length)
    let most = 0
    let acknowledged = 0
    for (let moved = 1; moved > 0; ) {
      moved = pair.deliver(0, 1)
      await settle()
      pair.deliver(1)
      acknowledged = pair.listener.link.traffic.bytesIn
      most = Math.max(most, pair.wire.ends[0].sent - acknowledged)
    }
    expect(most).toBeLessThan(WINDOW + 2 * PIECE)
    await pair.listener.whole[0]
    const [, , , body] = pair.listener.came[0] as unknown as [number, number, string, { bytes: Uint8Array }]
    expect(Buffer.compare(body.bytes, bytes)).toBe(0)
    await pair.calm()
    expect(pair.dialler.link.backlog).toBe(0)
  })

  it('makes pieces only as they leave: a small frame waits for a megabyte at most', () => {
    const pair = new Pair(false)
    pair.dialler.send([900_000, 900_000, 900_000])
    const waiting = pair.wire.ends[0].sent
    expect(waiting).toBeLessThan(MIB + 2 * PIECE)
    pair.deliver(0, 2)
    expect(pair.wire.ends[0].sent).toBeGreaterThan(waiting)
  })

  it('sends the pieces of several large frames in turn, and a small frame between them', async () => {
    const pair = new Pair(false)
    const { link } = pair.dialler
    for (let n = 1; n <= 2; n++) link.send([FrameKind.request, n, 'put', { bytes: bigBytes(4 * MIB) }])
    link.send([FrameKind.request, 3, 'stats', {}])
    await settle()
    const ends: number[] = []
    pair.listener.link.onFrame((frame, following) => {
      const [, n] = frame as Frame
      if (following === undefined) ends.push(n as number)
      following?.whole.then(() => ends.push(n as number))
    })
    await pair.calm()
    expect(ends).toEqual([3, 1, 2])
  })

  it('keeps nothing of large parts that are not wanted; the frame is whole without them, and others follow', async () => {
    const pair = new Pair(false)
    const came: [n: unknown, bytes: Uint8Array | null][] = []
    pair.listener.link.onFrame((frame, following) => {
      const [, n, , body] = frame as [number, number, string, { bytes: Uint8Array | null }]
      if (n === 1) following!.drop()
      following?.whole.then(() => came.push([n, (body as { bytes: Uint8Array | null }).bytes]))
    })
    const { link } = pair.dialler
    const bytes = bigBytes(MIB)
    for (const n of [1, 2]) link.send([FrameKind.request, n, 'put', { bytes }])
    await pair.calm()
    expect(came.map(([n, kept]) => [n, kept?.length])).toEqual([
      [1, undefined],
      [2, bytes.length],
    ])
    expect(Buffer.compare(came[1]![1]!, bytes)).toBe(0)
    expect(link.backlog).toBe(0)
  })

  it('tells who waits for room once the backlog is small, and at its end', async () => {
    const pair = new Pair(false)
    let calls = 0
    const drained = () => calls++
    pair.dialler.link.onDrain(drained)
    expect(calls).toBe(1)
    pair.dialler.send([700_000, 700_000])
    pair.dialler.link.onDrain(drained)
    expect(calls).toBe(1)
    await pair.calm()
    expect(calls).toBe(2)
    pair.dialler.send([700_000, 700_000])
    pair.dialler.link.onDrain(drained)
    pair.dialler.link.close()
    expect(calls).toBe(3)
    expect(pair.dialler.link.backlog).toBe(0)
  })

  it('does not end when who wants to know how far a frame has come fails', async () => {
    const thrown: unknown[] = []
    vi.spyOn(globalThis, 'queueMicrotask').mockImplementation((action) => {
      Promise.resolve()
        .then(action)
        .catch((error) => thrown.push(error))
    })
    const pair = new Pair(false)
    pair.dialler.link.send(frameOf(1, [700_000]), () => {
      throw new Error('a mistake in a progress bar')
    })
    pair.listener.link.onFrame((_, following) =>
      following?.onProgress(() => {
        throw new Error('a mistake in another')
      }),
    )
    await pair.calm()
    vi.restoreAllMocks()
    expect(thrown.length).toBe(6)
    expect([...pair.dialler.ended, ...pair.listener.ended]).toEqual([])
  })

  it('says goodbye over a connection that comes when it has ended', () => {
    const half = new Half()
    half.link.close(sottoError('ERR_ABORTED', 'nobody waits any more'))
    const wire = new Wire()
    half.link.attach(wire.ends[0], 0)
    const [bye, end] = wire.ends[0].underWay
    expect(readMessage(bye!)).toMatchObject({ kind: MessageKind.bye, error: { code: 'ERR_ABORTED' } })
    expect(end).toBeNull()
  })

  it('hears the last word of a connection that is over when it gets it', () => {
    const half = new Half()
    const wire = new Wire()
    wire.ends[1].send(messageOf(MessageKind.bye, { code: 'ERR_LIMIT', message: 'too many' }))
    wire.ends[1].close()
    wire.deliver(1)
    half.link.attach(wire.ends[0], 0)
    expect(half.ended).toMatchObject([{ code: 'ERR_LIMIT' }])
  })

  it('lets a connection go when it has another', () => {
    const pair = new Pair(false)
    const before = pair.wire
    pair.resume()
    expect(before.ends.map((end) => end.isClosed)).toEqual([true, true])
    expect(pair.wire.ends.map((end) => end.isClosed)).toEqual([false, false])
  })

  it('takes no connection on which a message that waits is too large', () => {
    const { link } = new Half()
    link.send([FrameKind.request, 1, 'note', { text: 'x'.repeat(100_000) }])
    expect(() => link.limit(200_000)).not.toThrow()
    expect(() => link.limit(90_000)).toThrow(expect.objectContaining({ code: 'ERR_LIMIT' }))
  })
})

once('counts that cannot be', () => {
  /** A link that has sent five messages, of which the other end has said that it has three. */
  async function fiveOfThree() {
    const half = new Half()
    const wire = new Wire()
    half.link.attach(wire.ends[0], 0)
    for (let i = 0; i < 5; i++) {
      half.send([100])
      await settle()
    }
    wire.ends[1].send(messageOf(MessageKind.received, 3))
    wire.deliver(1)
    return { half, wire }
  }

  it.each([3, 4, 5])('%i are taken by an end that sent five, of which three arrived', async (claim) => {
    const { half } = await fiveOfThree()
    const wire = new Wire()
    half.link.attach(wire.ends[0], claim)
    expect(wire.ends[0].underWay.length).toBe(5 - claim)
  })

  it.each([0, 2, 6, 1e9])('%i are refused when a connection comes, and the one before it stays', async (claim) => {
    const { half, wire } = await fiveOfThree()
    const other = new Wire()
    expect(() => half.link.attach(other.ends[0], claim)).toThrow(expect.objectContaining({ code: 'ERR_PROTOCOL' }))
    expect(readMessage(other.ends[0].underWay[0]!)).toMatchObject({ error: { code: 'ERR_PROTOCOL' } })
    expect(other.ends[0].isClosed).toBe(true)
    expect(wire.ends[0].isClosed).toBe(false)
    expect(half.link.isAttached).toBe(true)
  })

  it.each([0, 2, 6, 1e9])('%i end the link when they are said in the middle of it', async (claim) => {
    const { half, wire } = await fiveOfThree()
    half.link.onFrame(() => {})
    wire.ends[1].send(messageOf(MessageKind.received, claim))
    wire.deliver(1)
    expect(half.ended).toMatchObject([{ code: 'ERR_PROTOCOL' }])
    expect(half.link.backlog).toBe(0)
  })

  it.each([
    ['a piece of a part that nobody announced', messageOf(MessageKind.piece, 0, new Uint8Array(10))],
    ['a part that is announced twice', headed([0, 40_000, [3, 'a']], [0, 40_000, [3, 'b']])],
    ['an empty part', headed([0, 0, [3, 'a']])],
    ['parts beyond the limit', headed([0, 600_000, [3, 'a']], [1, 600_000, [3, 'b']])],
  ])('%s ends the link', (_, message) => {
    const half = new Half({ parts: MIB })
    const wire = new Wire()
    half.link.attach(wire.ends[0], 0)
    half.link.onFrame(() => {})
    wire.ends[1].send(message)
    wire.deliver(1)
    expect(half.ended).toMatchObject([{ code: expect.stringMatching(/^ERR_(PROTOCOL|LIMIT)$/) }])
  })

  it('a part that goes where something is ends the link, and who waits for it hears so', async () => {
    const half = new Half()
    const wire = new Wire()
    half.link.attach(wire.ends[0], 0)
    let whole: Promise<void> | undefined
    half.link.onFrame((_, following) => {
      whole ??= following?.whole
    })
    wire.ends[1].send(headed([0, 4, [1]]))
    wire.ends[1].send(messageOf(MessageKind.piece, 0, new Uint8Array(4)))
    wire.deliver(1)
    expect(half.ended).toMatchObject([{ code: 'ERR_PROTOCOL' }])
    await expect(whole).rejects.toMatchObject({ code: 'ERR_PROTOCOL' })
  })
})

function headed(...list: readonly unknown[]): Uint8Array {
  return messageOf(MessageKind.headed, [FrameKind.request, 1, 'put', { a: null, b: null }], list)
}

once('silence', () => {
  const HEARTBEAT = 1000
  const kindsFrom = (end: End) => end.underWay.splice(0).map((message) => readMessage(message!).kind)

  function attached() {
    const half = new Half({ heartbeat: HEARTBEAT })
    const wire = new Wire()
    half.link.attach(wire.ends[0], 0)
    let silences = 0
    half.link.onSilence = () => silences++
    return { half, wire, end: wire.ends[0], silences: () => silences }
  }
  const say = (wire: Wire, kind: number, ...values: unknown[]) => {
    wire.ends[1].send(messageOf(kind, ...values))
    wire.deliver(1)
  }

  it('is broken by a question, and by another connection when there is no answer', () => {
    const { end, silences } = attached()
    vi.advanceTimersByTime(HEARTBEAT)
    expect(kindsFrom(end)).toEqual([MessageKind.ping])
    expect(silences()).toBe(0)
    vi.advanceTimersByTime(HEARTBEAT)
    expect(silences()).toBe(1)
  })

  it.each([
    ['an answer', MessageKind.pong, []],
    ['a frame', MessageKind.frames, [[FrameKind.reply, 1, null]]],
  ])('ends with %s', (_, kind, values) => {
    const { wire, silences } = attached()
    for (let i = 0; i < 10; i++) {
      vi.advanceTimersByTime(HEARTBEAT)
      say(wire, kind, ...values)
    }
    expect(silences()).toBe(0)
  })

  it('does not end with a question: who asks may hear nothing', () => {
    const { wire, silences } = attached()
    for (let i = 0; i < 3; i++) {
      vi.advanceTimersByTime(HEARTBEAT)
      say(wire, MessageKind.ping)
    }
    expect(silences()).toBeGreaterThan(0)
  })

  it('between two links is none', async () => {
    const [a, b] = [new Half({ heartbeat: HEARTBEAT }), new Half({ heartbeat: HEARTBEAT })]
    const wire = new Wire()
    a.link.attach(wire.ends[0], 0)
    b.link.attach(wire.ends[1], 0)
    let silences = 0
    a.link.onSilence = b.link.onSilence = () => silences++
    for (let i = 0; i < 20; i++) {
      vi.advanceTimersByTime(HEARTBEAT / 2)
      wire.deliver(0)
      wire.deliver(1)
    }
    expect(silences).toBe(0)
    a.link.close()
    expect(vi.getTimerCount()).toBe(1)
    b.link.close()
    expect(vi.getTimerCount()).toBe(0)
  })
})

const identity = Identity.generate()

/** A listener, whoever dials it, and the connections that they make; messages arrive as soon as they are sent. */
class Net {
  /** Who answers; null when nobody is there. */
  listener: LinkListener<null> | null
  readonly begun: Half[] = []
  readonly refused: Error[] = []
  readonly wires: Wire[] = []
  readonly #options: Partial<ListenerOptions<null>>
  /** Messages delivered, and those at which a connection breaks. */
  delivered = 0
  readonly breaksAt = new Set<number>()
  /** Whether connections take what is sent and deliver nothing. */
  isStalled = false
  /** What becomes of new connections. */
  onConnect: (wire: Wire) => void = () => {}
  #isScheduled = false

  constructor(options: Partial<ListenerOptions<null>> = {}) {
    this.#options = options
    this.listener = this.start('first run')
  }

  start(incarnation: string): LinkListener<null> {
    return new LinkListener<null>({
      id: 'bob',
      identity,
      incarnation,
      grace: 10_000,
      heartbeat: 0,
      message: 8 * MIB,
      parts: 2 ** 32,
      admit: () => null,
      nameOf: () => null,
      begin: (link) => this.begun.push(new Half(link)),
      onRefused: (error) => this.refused.push(error),
      ...this.#options,
    })
  }

  readonly connect = async (): Promise<Channel> => {
    if (this.listener === null) throw sottoError('ERR_UNREACHABLE', 'nobody is there')
    const wire = new Wire()
    wire.onSent = () => this.#schedule()
    this.wires.push(wire)
    this.onConnect(wire)
    this.listener.accept(wire.ends[1])
    return wire.ends[0]
  }

  dial(options: Partial<DiallerOptions> = {}) {
    const { link, welcomed } = dial({
      name: 'bob',
      connect: this.connect,
      shake: { credentials: { role: 'caller', identity: null, token: null }, identity: null, pin: null },
      timeout: 10_000,
      grace: 10_000,
      heartbeat: 0,
      parts: 2 ** 32,
      ...options,
    })
    return { half: new Half(link), welcomed }
  }

  #schedule(): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    queueMicrotask(() => {
      this.#isScheduled = false
      if (!this.isStalled) this.deliver()
    })
  }

  deliver(): void {
    for (let moved = 1; moved > 0; ) {
      moved = 0
      for (const wire of this.wires) {
        for (const end of wire.ends) {
          if (!end.deliver()) continue
          moved++
          if (this.breaksAt.has(++this.delivered)) wire.break()
        }
      }
    }
  }

  /** Lets so much time pass, and whatever follows from it happen. */
  async pass(milliseconds: number): Promise<void> {
    await vi.advanceTimersByTimeAsync(milliseconds)
  }
}

once('a link that is dialled', () => {
  /** Both ends say something, some of it large. */
  const talk = (half: Half) => {
    for (const sizes of [[10], [300], [700_000], [20], [40_000, 300_000]]) half.send(sizes)
  }

  it('brings everything, whatever message its connections break at', async () => {
    const whole = await conversation([])
    expect(whole).toBeGreaterThan(20)
    const step = many > 1 ? 1 : 3
    for (let first = 1; first <= whole; first += step) await conversation([first, first + 1 + (first % 11)])
  })
  async function conversation(breaksAt: readonly number[]): Promise<number> {
    const net = new Net()
    for (const at of breaksAt) net.breaksAt.add(at)
    const { half } = net.dial({ isPatient: true })
    talk(half)
    await net.pass(1000)
    // Where the first welcome was lost, its link has been forgotten.
    const other = net.begun.at(-1)!
    talk(other)
    await net.pass(5000)
    await expectArrived(half, other)
    await expectArrived(other, half)
    expect(half.ended).toEqual([])
    half.link.close()
    await net.pass(20_000)
    expect(other.ended).toEqual([undefined])
    expect(net.listener!.size).toBe(0)
    expect(vi.getTimerCount()).toBe(0)
    return net.delivered
  }

  it('ends at both ends when it stays broken for longer than it is kept', async () => {
    const net = new Net({ grace: 8000 })
    const { half, welcomed } = net.dial({ grace: 9000 })
    await welcomed
    const listener = net.listener!
    net.listener = null
    net.wires[0]!.break()
    half.send([700_000])
    await net.pass(7900)
    expect([half.ended, net.begun[0]!.ended, listener.size]).toEqual([[], [], 1])
    await net.pass(200)
    expect(net.begun[0]!.ended).toMatchObject([{ code: 'ERR_WORKER_LOST' }])
    expect(listener.size).toBe(0)
    expect(half.ended).toEqual([])
    await net.pass(1000)
    expect(half.ended).toMatchObject([{ code: 'ERR_WORKER_LOST', message: expect.stringContaining('nobody is there') }])
    expect(half.link.backlog).toBe(0)
    expect(vi.getTimerCount()).toBe(0)
  })

  it('ends when the other end has forgotten it', async () => {
    const net = new Net({ grace: 1000 })
    const { half, welcomed } = net.dial()
    await welcomed
    const listener = net.listener
    net.listener = null
    net.wires[0]!.break()
    await net.pass(2000)
    net.listener = listener
    await net.pass(4000)
    expect(half.ended).toMatchObject([{ code: 'ERR_WORKER_LOST', message: expect.stringContaining('too long') }])
  })

  it('ends when another run of the worker answers', async () => {
    const net = new Net()
    const { half, welcomed } = net.dial()
    await welcomed
    net.listener = net.start('second run')
    net.wires[0]!.break()
    await net.pass(100)
    expect(half.ended).toMatchObject([{ code: 'ERR_WORKER_RESTARTED' }])
  })

  it('ends when somebody else answers', async () => {
    const net = new Net()
    const { half, welcomed } = net.dial()
    await welcomed
    net.listener = new Net({ identity: Identity.generate() }).listener
    net.wires[0]!.break()
    await net.pass(100)
    expect(half.ended).toMatchObject([{ code: 'ERR_IDENTITY' }])
  })

  it('ends when its connections break at once, again and again, and makes few of them', async () => {
    const net = new Net({ grace: 60_000 })
    const { half, welcomed } = net.dial()
    await welcomed
    // Three messages of the handshake, and the fourth is lost: from here on nothing gets through.
    for (let at = net.delivered + 4; at < 1000; at += 4) net.breaksAt.add(at)
    net.wires[0]!.break()
    half.send([10])
    await net.pass(9000)
    expect(half.ended).toEqual([])
    await net.pass(2000)
    expect(half.ended).toMatchObject([{ code: 'ERR_WORKER_LOST' }])
    expect(net.wires.length).toBeGreaterThan(5)
    expect(net.wires.length).toBeLessThan(20)
  })

  it('goes on for ever when something passes between two breaks', async () => {
    const net = new Net()
    const { half, welcomed } = net.dial()
    await welcomed
    for (let i = 0; i < 30; i++) {
      half.send([10])
      await net.pass(1000)
      net.wires.at(-1)!.break()
    }
    // Longer than it is kept when it is broken.
    await net.pass(30_000)
    await expectArrived(half, net.begun[0]!)
    expect([half.ended, net.begun[0]!.ended]).toEqual([[], []])
  })

  it('tries nothing more when it has ended', async () => {
    const net = new Net()
    const [silent, broken] = [net.dial({ heartbeat: 1000 }), net.dial()]
    await Promise.all([silent.welcomed, broken.welcomed])
    net.isStalled = true
    await net.pass(2500)
    net.wires[1]!.break()
    await net.pass(100)
    expect(net.wires.length).toBe(4)
    for (const { half } of [silent, broken]) half.link.close()
    for (const { link } of net.begun) link.close()
    await net.pass(0)
    // What is left is the patience of the listener with the two that were begun.
    expect(vi.getTimerCount()).toBe(2)
    await net.pass(30_000)
    expect(net.wires.length).toBe(4)
    expect(vi.getTimerCount()).toBe(0)
  })

  it('ends at once when a message is too big for the other end: it would be again', async () => {
    const net = new Net()
    const { half, welcomed } = net.dial()
    await welcomed
    net.wires[0]!.break(sottoError('ERR_LIMIT', 'a message was too big'))
    expect(half.ended).toMatchObject([{ code: 'ERR_LIMIT' }])
  })

  it('goes over to another connection when nothing comes over the one it has', async () => {
    const net = new Net()
    const { half, welcomed } = net.dial({ heartbeat: 1000 })
    await welcomed
    const [dead] = net.wires
    for (const end of dead!.ends) end.deliver = () => false
    talk(half)
    talk(net.begun[0]!)
    await net.pass(5000)
    expect(net.wires.length).toBe(2)
    expect(dead!.ends[0].isClosed).toBe(true)
    await expectArrived(half, net.begun[0]!)
    await expectArrived(net.begun[0]!, half)
  })

  it('stays with a silent connection while no other is answered: whoever computes answers none', async () => {
    const net = new Net()
    const { half, welcomed } = net.dial({ heartbeat: 1000, grace: 5000 })
    await welcomed
    net.isStalled = true
    talk(half)
    talk(net.begun[0]!)
    await net.pass(60_000)
    expect(half.ended).toEqual([])
    expect(net.wires[0]!.ends.map((end) => end.isClosed)).toEqual([false, false])
    expect(net.wires.length).toBeGreaterThan(3)
    net.isStalled = false
    net.deliver()
    await net.pass(5000)
    await expectArrived(half, net.begun[0]!)
    await expectArrived(net.begun[0]!, half)
  })

  it('stays with its connection when a word comes while another is made', async () => {
    const net = new Net()
    const { half, welcomed } = net.dial({ heartbeat: 1000 })
    await welcomed
    const [first] = net.wires
    net.isStalled = true
    await net.pass(2500)
    expect(net.wires.length).toBe(2)
    // Whoever computed is done, and takes what came in its turn.
    for (let moved = 1; moved > 0; ) moved = first!.deliver(0) + first!.deliver(1)
    net.isStalled = false
    net.deliver()
    await net.pass(3000)
    expect(net.wires.map(({ ends }) => ends[0].isClosed)).toEqual([false, true])
    expect(half.ended).toEqual([])
  })

  it('stays with its connection when another is answered only by half', async () => {
    const net = new Net()
    const { half, welcomed } = net.dial({ heartbeat: 1000, grace: 5000 })
    await welcomed
    const [first] = net.wires
    const { deliver } = End.prototype
    for (const end of first!.ends) end.deliver = () => false
    // The challenge comes, and what is answered gets nowhere.
    net.onConnect = ({ ends: [end] }) => {
      let messages = 0
      end.deliver = () => messages++ === 0 && deliver.call(end)
    }
    talk(half)
    talk(net.begun[0]!)
    await net.pass(30_000)
    expect(net.wires.length).toBeGreaterThan(2)
    expect(half.ended).toEqual([])
    for (const end of first!.ends) end.deliver = deliver
    net.deliver()
    await net.pass(15_000)
    await expectArrived(half, net.begun[0]!)
    await expectArrived(net.begun[0]!, half)
    expect(first!.ends.map((end) => end.isClosed)).toEqual([false, false])
  })

  it('does not end with a peer that claims other counts, or knows no secret of it', async () => {
    const net = new Net()
    const { half, welcomed } = net.dial()
    const { link, incarnation } = await welcomed
    talk(half)
    await net.pass(SAID)
    const { signal } = new AbortController()
    const resumeWith = async (resumed: { secret?: Uint8Array; received?: number }) => {
      const now = () => ({ ...link, received: 0, ...resumed })
      return shake(
        await net.connect(),
        {
          credentials: { role: 'caller', identity: null, token: null },
          identity: null,
          pin: null,
          resume: { incarnation, now },
        },
        signal,
      )
    }
    net.begun[0]!.send([10])
    await net.pass(SAID)
    for (const received of [0, 2, 1e6]) {
      await expect(resumeWith({ received })).rejects.toMatchObject({ code: 'ERR_PROTOCOL' })
    }
    await expect(resumeWith({ secret: new Uint8Array(32) })).rejects.toMatchObject({ code: 'ERR_WORKER_LOST' })
    expect(net.refused.length).toBe(4)
    talk(half)
    await net.pass(SAID)
    expect(net.wires[0]!.ends.map((end) => end.isClosed)).toEqual([false, false])
    await expectArrived(half, net.begun[0]!)
    // The control: with the count that is right, whoever knows the secret takes the link over.
    await expect(resumeWith({ received: 1 })).resolves.toBeDefined()
    await net.pass(0)
    expect(net.wires[0]!.ends[1].isClosed).toBe(true)
  })
})

once('a link that never begins', () => {
  const silent = async (): Promise<Channel> => new Wire().ends[0]

  it('ends after its time', async () => {
    const { half, welcomed } = new Net().dial({ connect: silent, timeout: 500 })
    const failed = expect(welcomed).rejects.toMatchObject({ code: 'ERR_TIMEOUT' })
    await vi.advanceTimersByTimeAsync(600)
    await failed
    expect(half.ended).toMatchObject([{ code: 'ERR_TIMEOUT' }])
    expect(vi.getTimerCount()).toBe(0)
  })

  it('ends by a signal, before and while it is made', async () => {
    const waiting = new AbortController()
    for (const signal of [AbortSignal.abort(), waiting.signal]) {
      const { half, welcomed } = new Net().dial({ connect: silent, signal })
      const failed = expect(welcomed).rejects.toMatchObject({ code: 'ERR_ABORTED' })
      await settle()
      waiting.abort()
      await failed
      expect(half.ended).toMatchObject([{ code: 'ERR_ABORTED' }])
    }
    expect(vi.getTimerCount()).toBe(0)
  })

  it('is tried again only where that was asked for', async () => {
    const net = new Net()
    const { listener } = net
    net.listener = null
    const [once, patient] = [net.dial(), net.dial({ isPatient: true })]
    await expect(once.welcomed).rejects.toMatchObject({ code: 'ERR_UNREACHABLE' })
    await net.pass(3000)
    net.listener = listener
    await net.pass(3000)
    await expect(patient.welcomed).resolves.toMatchObject({ worker: 'bob' })
  })

  it('says at the end of its time what came of the last try', async () => {
    const net = new Net()
    net.listener = null
    const { welcomed } = net.dial({ isPatient: true, timeout: 3000 })
    const failed = expect(welcomed).rejects.toMatchObject({ code: 'ERR_UNREACHABLE', message: 'nobody is there' })
    await net.pass(4000)
    await failed
    expect(vi.getTimerCount()).toBe(0)
  })

  it('does not wait between two tries when it has ended', async () => {
    const net = new Net()
    net.listener = null
    const { half, welcomed } = net.dial({ isPatient: true })
    await net.pass(4000)
    half.link.close()
    await expect(welcomed).rejects.toMatchObject({ code: 'ERR_SESSION_CLOSED' })
    expect(vi.getTimerCount()).toBe(0)
  })

  it('says what is wrong by a code, whatever the connection broke with', async () => {
    const { welcomed } = new Net().dial({
      connect: async () => {
        const wire = new Wire()
        queueMicrotask(() => wire.break(Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' })))
        return wire.ends[0]
      },
    })
    await expect(welcomed).rejects.toMatchObject({ code: 'ERR_UNREACHABLE' })
  })

  it('keeps a listener busy for ten seconds and no longer', async () => {
    const net = new Net()
    const wires = Array.from({ length: 256 }, () => new Wire())
    for (const wire of wires) net.listener!.accept(wire.ends[1])
    expect(net.listener!.isFull).toBe(true)
    await net.pass(9000)
    expect(net.listener!.isFull).toBe(true)
    await net.pass(2000)
    expect(net.listener!.isFull).toBe(false)
    expect(net.refused.length).toBe(256)
    // It may be tried again: whoever listens may have been busy.
    const [bye] = wires[0]!.ends[1].underWay
    expect(readMessage(bye!)).toMatchObject({ error: { code: 'ERR_TIMEOUT' } })
    expect(vi.getTimerCount()).toBe(0)
  })

  it('that ends while its connection is made is told so to the other end', async () => {
    const net = new Net()
    const { half, welcomed } = net.dial()
    net.isStalled = true
    await settle()
    const listening = net.begun
    for (let i = 0; i < 3 && listening.length === 0; i++) {
      for (const end of net.wires[0]!.ends) end.deliver()
      await settle()
    }
    expect(listening.length).toBe(1)
    half.link.close()
    await expect(welcomed).rejects.toMatchObject({ code: 'ERR_SESSION_CLOSED' })
    net.isStalled = false
    net.deliver()
    await net.pass(10_100)
    expect(listening[0]!.ended.length).toBe(1)
  })
})

once('a tunnel', () => {
  /** What carries a tunnel, with a backlog as a test says. */
  class Carrier implements Transport {
    readonly isSynchronous = false
    readonly traffic = { framesIn: 0, framesOut: 0, bytesIn: 0, bytesOut: 0 }
    backlog = 0
    readonly sent: Frame[] = []
    readonly #drained: (() => void)[] = []
    send(frame: Frame): void {
      this.sent.push(frame)
    }
    onDrain(listener: () => void): void {
      if (this.backlog <= MIB) listener()
      else this.#drained.push(listener)
    }
    drain(): void {
      this.backlog = 0
      for (const listener of this.#drained.splice(0)) listener()
    }
    close(): void {}
    onFrame(): void {}
    onClose(): void {}
  }
  const tunnelFrame = (message: Uint8Array | null, to: string | null = null): Frame =>
    [FrameKind.tunnel, 'tunnel-1', to, message] as const
  const take = (tunnels: Tunnels, frame: Frame): Channel | undefined => {
    let begun: Channel | undefined
    tunnels.take(frame as never, (_, accept) => {
      begun = accept()
    })
    return begun
  }

  it('goes on when others have left room, though it has nothing under way itself', () => {
    const carrier = new Carrier()
    const tunnels = new Tunnels(carrier)
    const halves = [new Half(), new Half()]
    for (const half of halves) half.link.attach(tunnels.open('alice'), 0)
    // Somebody else sends a large tensor: there is no room for pieces, and no answer will come of those sent before.
    carrier.backlog = 64 * MIB
    for (const half of halves) half.send([900_000])
    expect(carrier.sent.length).toBe(2)
    carrier.drain()
    expect(carrier.sent.length).toBe(2 + 2 * 4)
  })

  it('that is closed takes nothing that was under way, and begins no other', () => {
    const carrier = new Carrier()
    const tunnels = new Tunnels(carrier)
    const channel = take(tunnels, tunnelFrame(Uint8Array.of(1), 'alice'))!
    const heard: Uint8Array[] = []
    channel.onMessage((message) => heard.push(message))
    channel.close()
    expect(carrier.sent).toEqual([tunnelFrame(null)])
    let ends = 0
    for (const frame of [tunnelFrame(Uint8Array.of(2)), tunnelFrame(null)]) take(tunnels, frame)!.onClose(() => ends++)
    expect(ends).toBe(2)
    expect(heard).toEqual([Uint8Array.of(1)])
    expect(carrier.sent.length).toBe(1)
  })

  it('ends with the session that carries it, and there is no other', () => {
    const tunnels = new Tunnels(new Carrier())
    let ends = 0
    tunnels.open('alice').onClose(() => ends++)
    tunnels.end()
    expect(ends).toBe(1)
    expect(() => tunnels.open('alice')).toThrow(expect.objectContaining({ code: 'ERR_WORKER_LOST' }))
  })

  it('beyond those that fit is closed', () => {
    const carrier = new Carrier()
    const tunnels = new Tunnels(carrier)
    for (let i = 0; i < 1024; i++) tunnels.open('alice')
    expect(() => tunnels.open('alice')).toThrow(expect.objectContaining({ code: 'ERR_LIMIT' }))
    let isClosed = false
    take(tunnels, tunnelFrame(Uint8Array.of(1), 'bob'))!.onClose(() => {
      isClosed = true
    })
    expect(isClosed).toBe(true)
    expect(carrier.sent).toEqual([tunnelFrame(null)])
  })

  it('does not keep without bound what nobody listens to', () => {
    const tunnels = new Tunnels(new Carrier())
    const channel = take(tunnels, tunnelFrame(new Uint8Array(MIB), 'alice'))!
    let isClosed = false
    channel.onClose(() => {
      isClosed = true
    })
    for (let i = 0; i < 127; i++) take(tunnels, tunnelFrame(new Uint8Array(MIB)))
    expect(isClosed).toBe(false)
    take(tunnels, tunnelFrame(new Uint8Array(MIB)))
    expect(isClosed).toBe(true)
  })
})

once('a channel over a WebSocket', () => {
  /** As far as a channel knows one of `ws`. */
  class FakeSocket extends EventEmitter {
    readonly OPEN = 1
    readonly CLOSING = 2
    readyState = 1
    bufferedAmount = 0
    isPaused = false
    pause(): void {
      this.isPaused = true
    }
    resume(): void {
      this.isPaused = false
    }
    close(): void {
      this.readyState = 2
    }
    terminate(): void {}
    message(...bytes: number[]): void {
      this.emit('message', Buffer.from(bytes), true)
    }
  }
  const open = () => {
    const socket = new FakeSocket()
    return { socket, channel: nodeChannel(socket as never, null) }
  }

  it('lets what nobody listens to wait at the other end', () => {
    const { socket, channel } = open()
    socket.message(1)
    expect(socket.isPaused).toBe(true)
    const heard: number[] = []
    channel.onMessage((message) => {
      heard.push(message[0]!)
      channel.onMessage(null)
    })
    expect(socket.isPaused).toBe(true)
    socket.message(2)
    socket.message(3)
    channel.onMessage((message) => heard.push(message[0]!))
    expect(heard).toEqual([1, 2, 3])
    expect(socket.isPaused).toBe(false)
    socket.message(4)
    expect(heard).toEqual([1, 2, 3, 4])
  })

  it('that was closed keeps nothing, and lets the other end say goodbye', () => {
    const { socket, channel } = open()
    socket.message(1)
    channel.close()
    expect(socket.isPaused).toBe(false)
    socket.message(2)
    const heard: number[] = []
    channel.onMessage((message) => heard.push(message[0]!))
    expect(heard).toEqual([])
  })

  it('says that a message was too big where that ended it', () => {
    const { socket, channel } = open()
    socket.emit('close', 1009)
    let reason: Error | undefined
    channel.onClose((error) => {
      reason = error
    })
    expect(reason).toMatchObject({ code: 'ERR_LIMIT' })
  })
})

once('a channel over the WebSocket of a browser', () => {
  /** Dials where there is no Node, with a WebSocket of the test's. */
  const dialInPage = (made: typeof WebSocket): Promise<Channel> => {
    vi.stubGlobal('WebSocket', made)
    vi.stubGlobal('process', undefined)
    const dialled = dialWebSocket('ws://bob.example', { vouched: true, signal: new AbortController().signal })
    vi.unstubAllGlobals()
    return dialled
  }

  it('cannot be made by a page that came over https to a server without: ERR_UNREACHABLE, as where nobody is', async () => {
    class Refusing {
      constructor() {
        throw new DOMException('An insecure WebSocket connection may not be initiated', 'SecurityError')
      }
    }
    await expect(dialInPage(Refusing as never)).rejects.toMatchObject({
      code: 'ERR_UNREACHABLE',
      message: expect.stringContaining('insecure'),
    })
  })

  it('says that a message was too big where that ended it', async () => {
    const sockets: EventTarget[] = []
    class Opening extends EventTarget {
      constructor() {
        super()
        sockets.push(this)
        queueMicrotask(() => this.dispatchEvent(new Event('open')))
      }
    }
    const channel = await dialInPage(Opening as never)
    const reasons: (Error | undefined)[] = []
    channel.onClose((reason) => reasons.push(reason))
    sockets[0]!.dispatchEvent(Object.assign(new Event('close'), { code: 1009 }))
    channel.onClose((reason) => reasons.push(reason))
    expect(reasons).toMatchObject([{ code: 'ERR_LIMIT' }, { code: 'ERR_LIMIT' }])
  })
})

once('a timer of somebody who is busy', () => {
  /** What comes first: the end of 20 ms, or what a socket brought within a few, to whoever then computes for 60. */
  async function firstOf(timer: (milliseconds: number, action: () => void) => unknown): Promise<string> {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const accepted = new Promise<Socket>((resolve) => server.once('connection', resolve))
    const client = connect((server.address() as AddressInfo).port, '127.0.0.1')
    const socket = await accepted
    const first = new Promise<string>((resolve) => {
      socket.once('data', () => resolve('word'))
      timer(20, () => resolve('end'))
    })
    client.write('a word')
    const until = performance.now() + 60
    while (performance.now() < until);
    const came = await first
    client.destroy()
    socket.destroy()
    server.close()
    return came
  }

  it('does not end before what came meanwhile is heard', async () => {
    vi.useRealTimers()
    expect(await firstOf(afterAwake)).toBe('word')
    // The control: a timer that simply runs does.
    expect(await firstOf((milliseconds, action) => setTimeout(action, milliseconds))).toBe('end')
  })

  it('ends in its time when nobody is busy, and not when it was called off', () => {
    let ends = 0
    for (const milliseconds of [1, 10, 100, 60_000]) {
      ends = 0
      afterAwake(milliseconds, () => ends++)
      vi.advanceTimersByTime(0.99 * milliseconds)
      expect(ends).toBe(0)
      vi.advanceTimersByTime(0.05 * milliseconds + 2)
      expect(ends).toBe(1)
    }
    const callOff = afterAwake(100, () => ends++)
    vi.advanceTimersByTime(90)
    callOff()
    vi.advanceTimersByTime(1000)
    expect(ends).toBe(1)
  })
})
