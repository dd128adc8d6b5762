/**
 * What parties, provider and receivers are sent in the course of a secret computation: the same messages of the same
 * lengths whatever the secrets are, uniform bytes inside, and as many of them as `cost` says.
 */
import { FixedPrecisionTensor, fixPrecision, type SharedTensor, scope, send, share, sharedRandom, tf } from 'sotto'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { SeededRandom } from '../../src/data/random.ts'
import { strideOf } from '../../src/smpc/circuits.ts'
import { fixedEncoding, TRUTH } from '../../src/smpc/encoding.ts'
import { Prg, PrgStream } from '../../src/smpc/prg.ts'
import { type ProtocolName, protocols } from '../../src/smpc/protocols/index.ts'
import type { Cost } from '../../src/smpc/protocols/protocol.ts'
import { ring } from '../../src/smpc/ring/choose.ts'
import type { RingBits } from '../../src/smpc/ring/kernels.ts'
import { bytesOf, ringOf, ringTensor, wordsOf } from '../../src/smpc/ring/tensor.ts'
import { type Shape, sizeOf } from '../../src/tensor/shape.ts'
import { FrameKind } from '../../src/worker/protocol.ts'
import { readyForTest } from '../backend.ts'
import { ByteCounts, between, byteBound, fromUniform } from '../reference/chi-square.ts'
import { bytesOn, partsOf, type Received, shareOf, World } from './world.ts'

const isLong = process.env['SOTTO_LONG'] !== undefined
const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i)
const sum = (list: Iterable<number>): number => [...list].reduce((a, b) => a + b, 0)

const worlds: World[] = []
/** Workers that have never met. */
function newWorld(parties = 3, protocol: ProtocolName = 'additive'): World {
  const world = new World(parties, protocol)
  worlds.push(world)
  return world
}
beforeAll(async () => {
  await readyForTest()
})
afterEach(async () => {
  vi.restoreAllMocks()
  for (const world of worlds.splice(0)) await world.close()
})

const fixed = fixedEncoding('test')
const encodings = { 64: fixed, 128: fixedEncoding('test', { ring: 128 }) } as const
/** A secret whose elements are all the same number of units. */
function constant(world: World, units: bigint, shape: Shape, ring: RingBits = 64): SharedTensor {
  const value = ringOf(ring, shape, new Array<bigint>(sizeOf(shape)).fill(units))
  return share(new FixedPrecisionTensor(value, encodings[ring]), world.parties, world.options)
}
/** The largest numbers that are encoded. */
const LARGEST = 2n ** 50n - 1n
const LARGEST_128 = 2n ** 64n - 1n

const lowBits = (x: SharedTensor, count: number): SharedTensor =>
  x.run('lowBits', [], { attrs: [count], encodings: [TRUTH[x.encoding.ring]] })[0]!

interface Operation {
  readonly name: string
  /** Rows and columns of the secrets: few where words are opened alone, more where a bit is opened of each. */
  readonly size: number
  run(x: SharedTensor, y: SharedTensor): SharedTensor
}
const less: Operation = { name: 'less', size: 64, run: (x, y) => x.less(y) }
const product: Operation = { name: 'mul', size: 16, run: (x, y) => x.mul(y) }
const operations: readonly Operation[] = [
  product,
  { name: 'matMul', size: 16, run: (x, y) => x.matMul(y) },
  { name: 'square', size: 16, run: (x) => x.square() },
  { name: 'conv2d', size: 16, run: (x, y) => x.reshape([1, 16, 16, 1]).conv2d(y.reshape([4, 4, 1, 16]), 4) },
  { name: 'truncation', size: 16, run: (x) => x.div(3) },
  less,
  { name: 'relu', size: 64, run: (x) => x.relu() },
  { name: 'equal', size: 64, run: (x, y) => x.equal(y) },
  { name: 'lowBits', size: 64, run: (x) => lowBits(x, 6) },
]
/** One for each way in which something is opened. */
const ways = operations.filter(({ name }) => ['mul', 'truncation', 'less', 'lowBits'].includes(name))

const all = Object.keys(protocols) as ProtocolName[]
const withEach = <T extends { readonly name: string }>(list: readonly T[]) =>
  all.flatMap((protocol) => list.map((one) => [protocol, one.name, one] as const))

type BytesOf = PrgStream['bytes']

describe('what is received', () => {
  /** Everything that a computation may be made of, on secrets of one value. */
  async function everything(protocol: ProtocolName, value: 'zero' | 'largest' | 'random'): Promise<string[]> {
    const world = newWorld(3, protocol)
    const random = new SeededRandom(1)
    const pick = <T>(zero: T, largest: T, any: () => T): T =>
      value === 'zero' ? zero : value === 'largest' ? largest : any()
    const secretOf = (any: () => bigint, shape: Shape) => constant(world, pick(0n, LARGEST, any), shape)
    const x = secretOf(() => BigInt(random.uint32()), [16, 16])
    const y = secretOf(() => -BigInt(random.uint32()), [16, 16])
    // Planes of bits that end within a byte.
    const odd = secretOf(() => 77n, [3, 7])
    const computed = [
      ...operations.map(
        ({ run }) =>
          () =>
            run(x, y),
      ),
      () => odd.relu(),
      () => odd.equal(0),
      () => lowBits(odd, 3),
      () => odd.max(1),
      () => odd.argMax(1),
      () => odd.softmax(),
    ]
    const floats = tf.fill(
      [5],
      pick<number>(0, 2 ** 34 - 2 ** 10, () => random.float()),
    )
    const integers = tf.fill(
      [5],
      pick<number>(0, 2 ** 31 - 1, () => random.int(1000)),
      'int32',
    )
    const owners = [world.stranger, world.parties[0]!, world.parties[2]!]
    const shared = owners.flatMap((owner) => [
      () =>
        share(fixPrecision(send(floats, owner)), world.parties, world.options)
          .refresh()
          .mul(0),
      () => share(send(integers, owner), world.parties, world.options),
    ])
    // What is dropped is freed when it is collected, at any time: all is kept, or freed with its scope.
    const kept: unknown[] = [x, y, odd]
    for (const action of [...computed, ...shared]) {
      const result = scope(action)
      await result.get()
      kept.push(result)
    }
    const opened = x.revealTo(world.stranger)
    await opened.get()
    expect(kept.length).toBeGreaterThan(10)
    const replies = world.answers.filter(({ frame }) => frame[0] !== FrameKind.ack)
    return [
      ...world.received.map(describeMessage),
      ...replies.map((answer) => `${answer.from} answers ${answer.frame[1]}: ${bytesOn(answer)} bytes`),
    ]
  }

  const describeMessage = (message: Received): string => {
    const parts = partsOf(message).map((part) => {
      switch (part.kind) {
        case 'opening':
          return `opening ${part.op} ${part.seq}.${part.step}: ${part.data.length}`
        case 'dealt':
          return `dealt ${part.of} ${part.index}: ${part.data.length}`
        case 'credit':
          return `credit ${part.index}: ${part.bytes}`
        default:
          return part.kind
      }
    })
    return `${message.to} gets ${message.name} ${bytesOn(message)} bytes ${parts.join(', ')}`
  }

  it.each(all)(
    'is as many messages, in one order and of the same lengths, whatever the secrets are: %s',
    async (name) => {
      const zero = await everything(name, 'zero')
      const largest = await everything(name, 'largest')
      const random = await everything(name, 'random')
      expect(zero.length).toBeGreaterThan(1000)
      expect(largest).toEqual(zero)
      expect(random).toEqual(zero)
    },
  )

  it('is no share, and nothing that is opened, at the provider', async () => {
    const world = newWorld()
    const [x, y] = [constant(world, 5n, [16, 16]), constant(world, 7n, [16, 16])]
    for (const { run } of operations) await run(x, y).get()
    await share(fixPrecision(send(tf.ones([5]), world.stranger)), world.parties, world.options).get()
    const messages = world.received.filter(({ to }) => to === 'provider')
    const names = new Set(messages.map(({ name }) => name))
    expect([...names].sort()).toEqual(['hello', 'peers', 'secretDeal', 'secretParts', 'secretProvide'])
    expect(new Set(messages.flatMap(partsOf).map(({ kind }) => kind))).toEqual(new Set(['credit']))
  })

  // The distribution of bytes.

  /** Ten times the bits of 4,096 values are 5,120 bytes: 20 of each value. */
  const REPEATS = isLong ? 40 : 10

  interface Opening {
    readonly op: string
    readonly seq: number
    readonly step: number
    readonly contributions: Set<Uint8Array>
  }

  /** What was opened. In process the very bytes travel: what a party sent to several is one object. */
  function openingsIn(messages: readonly Received[]): Opening[] {
    const openings = new Map<string, Opening>()
    for (const part of messages.flatMap(partsOf)) {
      if (part.kind !== 'opening') continue
      const { op, seq, step, data } = part
      const key = `${seq}.${step}`
      const opening = openings.get(key) ?? { op, seq, step, contributions: new Set() }
      openings.set(key, opening)
      opening.contributions.add(data)
    }
    return [...openings.values()]
  }

  /**
   * The number of bytes of an opening that are planes of bits, in front. Sums of words, products and truncations open words
   * alone; a comparison a word for each value, then planes, then a bit for each value and words.
   */
  function planesOf({ op, step, seq, contributions }: Opening, all: readonly Opening[], bits: RingBits): number {
    const [{ length }] = contributions as unknown as [Uint8Array]
    if (!['negative', 'zero', 'lowBits'].includes(op) || step === 0) return 0
    const steps = all.filter((other) => other.seq === seq)
    const isLast = steps.every((other) => other.step <= step)
    if (!isLast || op === 'lowBits') return length
    const [first] = steps.find((other) => other.step === 0)!.contributions
    return strideOf((8 * first!.length) / bits)
  }

  /** The values that all parties get to know: what they contribute, together. */
  function opened(opening: Opening, all: readonly Opening[], ringBits: RingBits): Uint8Array {
    const contributions = [...opening.contributions]
    const planes = planesOf({ ...opening, contributions: contributions as never }, all, ringBits)
    const bits = contributions.map((data) => data.subarray(0, planes)).reduce((a, b) => ring().xor(a, b))
    const words = contributions.map((data) => wordsOf(data.slice(planes))).reduce((a, b) => ring(ringBits).add(a, b))
    return Buffer.concat([bits, bytesOf(words)])
  }

  /** Bytes by where they came up: what was opened, step by step; and what each party received. */
  type View = ReadonlyMap<string, ByteCounts>

  /** Runs an operation again and again on the same shares of constants. */
  async function viewOf(
    protocol: ProtocolName,
    units: bigint,
    { size, run }: Operation,
    breaking: () => void = () => {},
    bits: RingBits = 64,
  ): Promise<View> {
    const world = newWorld(3, protocol)
    const [x, y] = [constant(world, units, [size, size], bits), constant(world, 16n, [size, size], bits)]
    await x.refresh().get()
    world.take()
    breaking()
    // A party of three that take turns is in every third command without a part in it.
    for (let i = 0; i < (protocol === 'replicated' ? 2 * REPEATS : REPEATS); i++) {
      const result = scope(() => run(x, y))
      await result.get()
      result.dispose()
    }
    const view = new Map<string, ByteCounts>()
    const put = (name: string, data: Uint8Array) => view.set(name, (view.get(name) ?? new ByteCounts()).add(data))
    const messages = world.take()
    for (const message of messages) {
      for (const part of partsOf(message)) {
        if (part.kind === 'opening') put(`${message.to}: ${part.op}.${part.step}`, part.data)
        if (part.kind === 'dealt') put(`${message.to}: dealt ${part.of}`, part.data)
      }
    }
    // Of replicated sharing, what is opened is opened to some, and is among what these received.
    if (protocol === 'replicated') return view
    const openings = openingsIn(messages)
    for (const opening of openings) put(`opened: ${opening.op}.${opening.step}`, opened(opening, openings, bits))
    return view
  }

  const statisticsOf = (view: View): Record<string, number> =>
    Object.fromEntries([...view].map(([name, counts]) => [name, fromUniform(counts)]))
  const distances = (a: View, b: View): Record<string, number> =>
    Object.fromEntries([...a].map(([name, counts]) => [name, between(counts, b.get(name)!)]))
  /** Where a statistic is beyond the bound. */
  const beyond = (statistics: Record<string, number>): string[] =>
    Object.keys(statistics).filter((name) => statistics[name]! > byteBound)

  it.each(withEach(operations))(
    'of %s sharing in %s is uniform, of 0 as of the largest value, and the same for both',
    async (name, _, operation) => {
      const [zero, largest] = [await viewOf(name, 0n, operation), await viewOf(name, LARGEST, operation)]
      expect([...largest.keys()].sort()).toEqual([...zero.keys()].sort())
      expect(zero.size).toBeGreaterThanOrEqual(5)
      expect(beyond(statisticsOf(zero))).toEqual([])
      expect(beyond(statisticsOf(largest))).toEqual([])
      expect(beyond(distances(zero, largest))).toEqual([])
    },
  )

  it.each(withEach(ways.filter(({ name }) => name !== 'lowBits')))(
    'of %s sharing in %s is so of 128 bits too',
    async (name, _, operation) => {
      const view = (units: bigint) => viewOf(name, units, operation, undefined, 128)
      const [zero, largest] = [await view(0n), await view(LARGEST_128)]
      expect([...largest.keys()].sort()).toEqual([...zero.keys()].sort())
      expect(zero.size).toBeGreaterThanOrEqual(5)
      expect(beyond(statisticsOf(zero))).toEqual([])
      expect(beyond(statisticsOf(largest))).toEqual([])
      expect(beyond(distances(zero, largest))).toEqual([])
      const broken = await viewOf(name, 0n, operation, maskNothing, 128)
      expect(beyond(statisticsOf(broken))).toEqual([...broken.keys()])
    },
  )

  /** Changes what streams give, and their branches; these have numbers as in `PrgStream`. */
  function breakStreams(bytesOf: (of: { prg: Prg; index: number; branch: number; made: PrgStream }) => BytesOf): void {
    const stream = Prg.prototype.stream
    const broken = (prg: Prg, index: number, branch: number, made: PrgStream): PrgStream => {
      const [fork, bytes] = [made.fork.bind(made), bytesOf({ prg, index, branch, made })]
      vi.spyOn(made, 'bytes').mockImplementation(bytes)
      vi.spyOn(made, 'fork').mockImplementation(() => {
        const [one, two] = fork()
        return [broken(prg, index, 2 * branch + 1, one), broken(prg, index, 2 * branch + 2, two)]
      })
      return made
    }
    vi.spyOn(Prg.prototype, 'stream').mockImplementation(function (this: Prg, index) {
      return broken(this, index, 0, stream.call(this, index))
    })
  }
  /** Streams of zeros, at the indices picked. */
  function maskNothing(picks: (index: number) => boolean = () => true): void {
    breakStreams(({ index, made }) => (picks(index) ? (n) => new Uint8Array(n) : made.bytes.bind(made)))
  }
  /** The first stream of each seed, and the first of each of its branches, again and again. */
  function reuseMasks(): void {
    const first = new Map<Prg, Map<number, Uint8Array>>()
    breakStreams(({ prg, branch, made }) => {
      const ofSeed = first.get(prg) ?? new Map<number, Uint8Array>()
      first.set(prg, ofSeed)
      const known = ofSeed.get(branch) ?? made.bytes(2 ** 20)
      ofSeed.set(branch, known)
      let at = 0
      return (n) => {
        at += n
        return known.slice(at - n, at)
      }
    })
  }
  const isOpened = (name: string) => name.startsWith('opened')

  it.each(withEach(ways))(
    'of %s sharing in %s is seen not to be, when masks are missing',
    async (name, _, operation) => {
      const zero = await viewOf(name, 0n, operation, maskNothing)
      expect(beyond(statisticsOf(zero))).toEqual([...zero.keys()])
      vi.restoreAllMocks()
      const largest = await viewOf(name, LARGEST, operation, maskNothing)
      const told = beyond(distances(zero, largest)).filter(name === 'additive' ? isOpened : () => true)
      expect(told.length).toBeGreaterThan(0)
    },
  )

  it.each(withEach(ways))(
    'of %s sharing in %s is seen not to be, when masks are used again',
    async (name, _, operation) => {
      const view = await viewOf(name, 0n, operation, reuseMasks)
      expect(beyond(statisticsOf(view))).toEqual([...view.keys()])
    },
  )

  it('in a product of replicated sharing is seen not to be, when the helper hands its own summand over as it is', async () => {
    // The helper masks it by the first stream of a seed of its own; the streams of commands in common begin at 1.
    const view = await viewOf('replicated', 0n, product, () => maskNothing((index) => index === 0))
    const seen = beyond(statisticsOf(view))
    expect(seen).not.toEqual([])
    // What comes from the helper is that and, at one of the two others, its share of what it deals.
    for (const name of seen) expect(name).toMatch(/^[\w-]+: mul\.0$/)
  })

  it('in a comparison is seen not to be, when one of its three masks is missing', async () => {
    const steps = [['negative.0'], range(4).map((i) => `negative.${1 + i}`), ['negative.5']]
    for (const [which, expected] of steps.entries()) {
      const view = await viewOf('additive', 0n, less, () => maskNothing((index) => index % 3 === which))
      const seen = beyond(statisticsOf(view)).filter(isOpened)
      expect(seen).toEqual(expected.map((step) => `opened: ${step}`))
      vi.restoreAllMocks()
    }
  })
})

describe('what opens a secret', () => {
  const SIZE = 32
  const TIMES = 50
  const value = 3n << 16n
  /** What each party sent, time by time, when one secret was opened again and again. */
  type Sent = readonly (readonly Uint8Array[])[]

  async function got(world: World, secret: SharedTensor): Promise<Sent> {
    world.answers.length = 0
    for (let i = 0; i < TIMES; i++) await secret.get()
    return world.parties.map(({ id }) =>
      world.answers.flatMap(({ from, frame }) => {
        const body = frame[0] === FrameKind.reply ? (frame[2] as { data?: Uint8Array } | null) : null
        return from === id && body?.data ? [body.data] : []
      }),
    )
  }
  async function revealed(world: World, secret: SharedTensor): Promise<Sent> {
    world.take()
    for (let i = 0; i < TIMES; i++) await secret.revealTo(world.stranger).get()
    const messages = world.take()
    const pieces = messages.flatMap((message) => {
      const piece = shareOf(message)
      return piece === undefined ? [] : [{ to: message.to, data: piece.data! }]
    })
    // Nobody else is sent anything of it.
    expect(new Set(pieces.map(({ to }) => to))).toEqual(new Set(['stranger']))
    expect(messages.flatMap(partsOf)).toEqual([])
    const { length } = world.parties
    return range(length).map((i) => pieces.filter((_, at) => at % length === i).map(({ data }) => data))
  }

  const counted = (list: readonly Uint8Array[]) => {
    const counts = new ByteCounts()
    for (const data of list) counts.add(data)
    return fromUniform(counts)
  }
  const differences = (a: readonly Uint8Array[], b: readonly Uint8Array[]) =>
    a.map((data, i) => bytesOf(ring().sub(wordsOf(data.slice()), wordsOf(b[i]!.slice()))))

  const openers = [
    ['get', got],
    ['revealTo', revealed],
  ] as const

  it.each(openers)('by %s is uniform from each party, given the value', async (_, open) => {
    for (const parties of [2, 3, 5]) {
      const world = newWorld(parties)
      const sent = await open(world, constant(world, value, [SIZE]))
      expect(sent.map(({ length }) => length)).toEqual(range(parties).map(() => TIMES))
      for (const i of range(TIMES)) {
        const total = sent.map((list) => wordsOf(list[i]!.slice())).reduce((a, b) => ring().add(a, b))
        expect(total.every((word) => word === value)).toBe(true)
      }
      for (const list of sent) expect(counted(list)).toBeLessThan(byteBound)
      // Of three parties or more, nothing that two of them send has to do with each other.
      if (parties === 2) continue
      for (const [i, a] of sent.entries()) {
        for (const b of sent.slice(0, i)) expect(counted(differences(a, b))).toBeLessThan(byteBound)
      }
    }
  })

  it.each(openers)('by %s is seen not to be, when shares are sent as they are', async (_, open) => {
    const world = newWorld(3)
    const secret = constant(world, value, [SIZE])
    await secret.get()
    vi.spyOn(PrgStream.prototype, 'bytes').mockImplementation((n) => new Uint8Array(n))
    for (const list of await open(world, secret)) expect(counted(list)).toBeGreaterThan(byteBound)
  })
})

describe.each(all)('cost of %s sharing', (protocol) => {
  const isReplicated = protocol === 'replicated'
  let world: World
  beforeAll(() => {
    world = new World(3, protocol)
  })
  afterAll(() => world.close())

  const secretOf = (shape: Shape, seed = 1): SharedTensor => {
    const random = new SeededRandom(seed)
    const data = BigUint64Array.from({ length: sizeOf(shape) }, () => BigInt(1 + random.int(2 ** 18)))
    return share(new FixedPrecisionTensor(ringTensor(64, shape, data), fixed), world.parties, world.options)
  }

  interface Counted extends Cost {
    /** Openings in which each party took part: as many as rounds where each waits for the one before. */
    readonly openings: number
    /** Messages that the last party received from each other one; a peer that is late sends two openings in one. */
    readonly messages: number
    /** Bytes of these messages beside what is opened. */
    readonly overhead: number
  }

  /** What the parties counted from before an operation until its result was opened. */
  async function counted(action: () => SharedTensor): Promise<{ told: Cost; seen: Counted }> {
    const group = secretOf([1]).group
    const before = await group.stats()
    world.take()
    world.answers.length = 0
    const result = action()
    await result.get()
    const after = await group.stats()
    const peers = world.parties.length - 1
    const counts = world.parties.map(({ id }, i): Counted => {
      const messages = world.received.filter((message) => message.to === id && message.name === 'secretParts')
      const parts = messages.map(partsOf)
      const opened = parts.flatMap((list) =>
        list.flatMap((part) => (part.kind === 'opening' ? [part.data.length] : [])),
      )
      const dealt = parts.flatMap((list) => list.flatMap((part) => (part.kind === 'dealt' ? [part.data.length] : [])))
      const fromPeers = messages.filter((message) => partsOf(message).some(({ kind }) => kind === 'opening'))
      const statistics = {
        openings: after.parties[i]!.openings - before.parties[i]!.openings,
        bytes: (after.parties[i]!.bytesSent - before.parties[i]!.bytesSent) / peers,
        dealt: after.parties[i]!.bytesDealt - before.parties[i]!.bytesDealt,
      }
      // What a party says of itself is what was seen on its links; of replicated sharing, what all say together.
      if (!isReplicated) {
        expect([id, sum(opened)]).toEqual([id, peers * statistics.bytes])
        expect([id, opened.length]).toEqual([id, peers * statistics.openings])
      }
      expect([id, sum(dealt)]).toEqual([id, statistics.dealt])
      const answer = world.answers.find(
        ({ from, frame }) => from === id && frame[0] === FrameKind.reply && 'rounds' in ((frame[2] ?? {}) as object),
      )!
      return {
        rounds: (answer.frame[2] as { rounds: number }).rounds,
        bytes: isReplicated ? sum(opened) : statistics.bytes,
        provider: statistics.dealt,
        openings: statistics.openings,
        messages: fromPeers.length / peers,
        overhead: sum(fromPeers.map(bytesOn)) / peers - statistics.bytes,
      }
    })
    if (isReplicated) {
      const sent = sum(after.parties.map(({ bytesSent }, i) => bytesSent - before.parties[i]!.bytesSent))
      expect(sum(counts.map(({ bytes }) => bytes))).toBe(sent)
      expect(new Set(counts.map(({ rounds, openings }) => `${rounds} ${openings}`)).size).toBe(1)
      return { told: result.cost, seen: { ...counts[0]!, bytes: sent / 3 } }
    }
    // Corrections go to the last party; all else is the same for all.
    const seen = counts.at(-1)!
    for (const { rounds, bytes, openings, provider } of counts.slice(0, -1)) {
      expect({ rounds, bytes, openings }).toEqual({ rounds: seen.rounds, bytes: seen.bytes, openings: seen.openings })
      expect(provider).toBe(0)
    }
    expect(after.provider!.bytesSent - before.provider!.bytesSent).toBe(seen.provider)
    return { told: result.cost, seen }
  }
  const costOf = ({ rounds, bytes, provider }: Cost): Cost => ({ rounds, bytes, provider })

  const truth = (seed: number) => secretOf([4, 6], seed).less(1)
  const steps: readonly (readonly [string, () => SharedTensor])[] = [
    ['add', () => secretOf([4, 6]).add(secretOf([6], 2))],
    ['sum', () => secretOf([4, 6]).sum(0)],
    ['refresh', () => secretOf([4, 6]).refresh()],
    ['mul', () => secretOf([4, 6]).mul(secretOf([4, 6], 2))],
    ['mul, broadcasting', () => secretOf([4, 1]).mul(secretOf([6], 2))],
    ['mul of integers', () => share(tf.tensor([1, 2, 3], [3], 'int32'), world.parties, world.options).square()],
    ['mul by a whole number', () => secretOf([4, 6]).mul(3)],
    ['mul by zero', () => secretOf([4, 6]).mul(0)],
    ['mul by a fraction', () => secretOf([4, 6]).mul(0.3)],
    ['matMul', () => secretOf([4, 6]).matMul(secretOf([6, 5], 2))],
    ['matMul, transposed', () => secretOf([6, 4]).matMul(secretOf([5, 6], 2), true, true)],
    ['matMul with a public matrix', () => secretOf([4, 6]).matMul(tf.fill([6, 5], 0.3))],
    ['square', () => secretOf([4, 6]).square()],
    ['dot', () => secretOf([6]).dot(secretOf([6], 2))],
    ['outer', () => secretOf([6]).outer(secretOf([5], 2))],
    ['conv2d', () => secretOf([2, 6, 6, 3]).conv2d(secretOf([3, 3, 3, 4], 2), 2, 'same')],
    ['truncation', () => secretOf([4, 6]).div(3)],
    ['mean', () => secretOf([4, 6]).mean(0)],
    ['less', () => secretOf([4, 6]).less(secretOf([4, 6], 2))],
    ['greaterEqual', () => secretOf([4, 6]).greaterEqual(0.5)],
    ['equal', () => secretOf([4, 6]).equal(secretOf([4, 6], 2))],
    ['lowBits 1', () => lowBits(secretOf([4, 6]), 1)],
    ['lowBits 2', () => lowBits(secretOf([4, 6]), 2)],
    ['lowBits 17', () => lowBits(secretOf([4, 6]), 17)],
    ['lowBits 62', () => lowBits(secretOf([4, 6]), 62)],
    ['relu', () => secretOf([4, 6]).relu()],
    ['leakyRelu', () => secretOf([4, 6]).leakyRelu(0.1)],
    ['abs', () => secretOf([4, 6]).abs()],
    ['sign', () => secretOf([4, 6]).sign()],
    ['maximum', () => secretOf([4, 6]).maximum(secretOf([4, 6], 2))],
    ['max', () => secretOf([4, 6]).max(1)],
    ['argMax', () => secretOf([4, 6]).argMax(1)],
    ['maxPool', () => secretOf([1, 4, 6, 1]).maxPool(2)],
    ['avgPool', () => secretOf([1, 4, 6, 1]).avgPool(2)],
    ['variance', () => secretOf([4, 6]).variance(0)],
    ['clipByValue', () => secretOf([4, 6]).clipByValue(-1, 1)],
  ]

  it.each(steps)('of %s is what every party counted', async (_, action) => {
    const { told, seen } = await counted(action)
    expect(costOf(told)).toEqual(costOf(seen))
    // Each opening waits for the one before; of replicated sharing random bits are made beside them.
    if (isReplicated) expect(seen.openings).toBeGreaterThanOrEqual(told.rounds)
    else expect(seen.openings).toBe(told.rounds)
  })

  const functions: readonly (readonly [string, () => SharedTensor])[] = [
    ['exp', () => secretOf([6]).exp()],
    ['log', () => secretOf([6]).log()],
    ['reciprocal', () => secretOf([6]).reciprocal()],
    ['div', () => secretOf([6]).div(secretOf([6], 2))],
    ['sqrt', () => secretOf([6]).sqrt()],
    ['rsqrt', () => secretOf([6]).rsqrt()],
    ['sigmoid', () => secretOf([6]).sigmoid()],
    ['tanh', () => secretOf([6]).tanh()],
    ['softmax', () => secretOf([2, 3]).softmax()],
    ['logSoftmax', () => secretOf([2, 3]).logSoftmax()],
    ['sharedRandom', () => sharedRandom([6], world.parties, world.options)],
  ]
  it.each(functions)('of %s is what every party counted, openings side by side as one round', async (_, action) => {
    const { told, seen } = await counted(action)
    expect(costOf(told)).toEqual(costOf(seen))
    expect(seen.openings).toBeGreaterThanOrEqual(told.rounds)
  })

  it('of what was computed before is not told again', async () => {
    const x = truth(1)
    await x.get()
    const { told } = await counted(() => x.logicalAnd(truth(2)))
    expect(told).toMatchObject({ rounds: 1, bytes: (isReplicated ? 8 : 16) * 24 })
  })

  if (isReplicated) {
    it('is what each party sends on average, and what three processes are told to expect', async () => {
      const size = 4096
      // A product is 8 bytes and a round; one that is brought back to scale two rounds, and 3 · 17 bits more in all.
      const whole = share(tf.ones([size], 'int32'), world.parties, world.options)
      expect((await counted(() => whole.mul(whole))).seen).toMatchObject({ rounds: 1, bytes: 8 * size })
      const division = 24 + (3 * 17) / 8
      const divided = await counted(() => secretOf([size]).run('clone', [], { divisor: 65_536n })[0]!)
      expect(divided.seen).toMatchObject({ rounds: 2, bytes: (division * size) / 3 })
      const product = await counted(() => secretOf([size]).mul(secretOf([size], 2)))
      expect(product.seen).toMatchObject({ rounds: 2, bytes: ((16 + division) * size) / 3 })
      // What is opened, handed over and reshared; see `costOfLookup`.
      const sign = (240 + 62 + 3 * 25 + 6) / 8 + 24
      expect((await counted(() => secretOf([size]).less(0))).seen).toMatchObject({
        rounds: 6,
        bytes: (sign * size) / 3,
      })
      const rectified = await counted(() => secretOf([size]).relu())
      expect(rectified.seen).toMatchObject({ rounds: 6, bytes: ((sign + 24) * size) / 3 })
    })
    return
  }

  it('of a comparison is six rounds and 13.25 bytes an element to each peer', async () => {
    const size = 4096
    const { told, seen } = await counted(() => secretOf([size]).less(0))
    expect(told).toEqual({ rounds: 6, bytes: 13.25 * size, provider: expect.any(Number) })
    expect(seen).toMatchObject({ rounds: 6, openings: 6, bytes: 13.25 * size })
    // No more than six messages from each peer, and less than 200 bytes around the openings of each.
    expect(seen.messages).toBeLessThanOrEqual(6)
    expect(seen.overhead).toBeLessThan(6 * 200)
    // The product with the sign comes out of the same rounds, for 8 bytes more.
    expect((await counted(() => secretOf([size]).relu())).seen).toMatchObject({ rounds: 6, bytes: 21.25 * size })
    expect((await counted(() => secretOf([size]).equal(0))).seen).toMatchObject({ rounds: 6, bytes: 11.875 * size })
  })

  it('of products is 8 bytes for each element opened, and 8 for each that is cut off', async () => {
    expect((await counted(() => secretOf([512]).mul(secretOf([512], 2)))).seen).toMatchObject({
      rounds: 2,
      bytes: (16 + 8) * 512,
      provider: (8 + 16) * 512,
    })
    expect((await counted(() => secretOf([512]).square())).seen).toMatchObject({
      rounds: 2,
      bytes: (8 + 8) * 512,
      provider: (8 + 16) * 512,
    })
    expect((await counted(() => secretOf([8, 100]).matMul(secretOf([100, 8], 2)))).seen).toMatchObject({
      rounds: 2,
      bytes: 8 * (1600 + 64),
      provider: (8 + 16) * 64,
    })
  })
})
