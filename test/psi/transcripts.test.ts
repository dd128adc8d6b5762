/**
 * What each end is sent: for two sets of the other's that differ outside the intersection, messages of the same kinds and
 * lengths, which cannot be told apart, and which are noise where they should be. With each test goes one that fails it.
 */
import { randomBytes } from 'node:crypto'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { type Channel, Conversation, channelPair, Kind, type KindName } from '../../src/psi/channel.ts'
import { curve } from '../../src/psi/curve/index.ts'
import { idsOf } from '../../src/psi/ids.ts'
import { AesStream } from '../../src/psi/kernels/aes.ts'
import { OUTPUT } from '../../src/psi/oblivious-prf.ts'
import { ByteCounts, between, byteBound, fromUniform } from '../reference/chi-square.ts'
import { both, people } from './both.ts'

afterEach(() => {
  vi.restoreAllMocks()
})

type Transcript = readonly { readonly kind: KindName; readonly bytes: Uint8Array }[]
type Options = Parameters<typeof both>[2]

/** All that one side sends. */
async function sent(
  by: 'first' | 'second',
  first: readonly string[],
  second: readonly string[],
  options: Options,
): Promise<Transcript> {
  const messages: { kind: KindName; bytes: Uint8Array }[] = []
  const recording = (channel: Channel, side: string): Channel => ({
    receive: () => channel.receive(),
    async send(message) {
      const kind = (Object.keys(Kind) as KindName[]).find((name) => Kind[name] === message[0])!
      if (side === by) messages.push({ kind, bytes: message.slice(1) })
      await channel.send(message)
    },
  })
  await both(first, second, { threads: 0, ...options }, recording)
  return messages
}

const shape = (transcript: Transcript) => transcript.map(({ kind, bytes }) => [kind, bytes.length])
function countsOf(transcripts: readonly Transcript[], kind: KindName): ByteCounts {
  const counts = new ByteCounts()
  for (const message of transcripts.flat()) if (message.kind === kind) counts.add(message.bytes)
  return counts
}
const bytesOf = (text: string) => new TextEncoder().encode(text)

const own = people(0, 300)
const shared = people(250, 300)
/** Two sets that have the same ids in common with {@link own}, and no other. */
const [one, other] = [
  [...shared, ...people(1000, 1250)],
  [...Array.from({ length: 250 }, (_, i) => `${i}`.padStart(40, 'x')), ...shared],
]
const payloads = own.map((_, i) => bytesOf(i % 2 === 0 ? 'yes' : 'a longer payload than that'))

describe('what a side sends', () => {
  it.each([
    ['the receiver, fast', 'first', 'fast', ['rows', 'basePoints']],
    ['the sender, fast', 'second', 'fast', ['tags', 'transfers', 'payloads']],
    ['the receiver on the curve', 'first', 'curve', ['blinded']],
    ['the sender on the curve', 'second', 'curve', ['evaluated', 'tags', 'payloads']],
  ] as const)('does not tell its ids outside the intersection: %s', async (_, by, protocol, kinds) => {
    const run = (set: readonly string[]) => {
      const [first, second] = by === 'first' ? [set, own] : [own, set]
      return sent(by, first, second, { protocol, secondOnly: { payloads } })
    }
    const [a, b] = [[await run(one)], [await run(other)]]
    expect(shape(a[0]!)).toEqual(shape(b[0]!))
    for (const kind of kinds) {
      const [x, y] = [countsOf(a, kind), countsOf(b, kind)]
      if (x.total < 256 * 20) continue
      expect(between(x, y), kind).toBeLessThan(byteBound)
      // Points are not uniform bytes: an encoding is even, and below 2^255 − 19.
      if (!['basePoints', 'blinded', 'evaluated'].includes(kind)) expect(fromUniform(x), kind).toBeLessThan(byteBound)
    }
  })

  it('tells them where nothing masks the rows', async () => {
    vi.spyOn(AesStream.prototype, 'fill').mockImplementation((out) => void out.fill(0))
    const bare = [await sent('first', one, own, { protocol: 'fast' }).catch(() => [])]
    // With all masks zero, rows are code words: those of empty bins are all alike.
    expect(fromUniform(countsOf(bare, 'rows'))).toBeGreaterThan(byteBound)
  })

  it('tells them where payloads are not encrypted', () => {
    const bare = new ByteCounts()
    for (const payload of [...payloads, ...payloads, ...payloads]) bare.add(payload)
    expect(fromUniform(bare)).toBeGreaterThan(byteBound)
  })

  it.each([
    ['first', 'fast'],
    ['second', 'curve'],
  ] as const)(
    'is as long for a set that is padded as for one that is as large: the %s side, by %s',
    async (by, protocol) => {
      const run = (set: readonly string[]) => {
        const [first, second] = by === 'first' ? [set, own] : [own, set]
        const padded = { padTo: 300, payloads: set.map(() => bytesOf('abc')) }
        const only = by === 'first' ? { firstOnly: padded } : { secondOnly: padded }
        return sent(by, first, second, { protocol, ...only })
      }
      const [small, large] = [await run([...shared, 'alone']), await run(one)]
      expect(shape(small)).toEqual(shape(large))
      if (by === 'second') expect(fromUniform(countsOf([small], 'payloads'))).toBeLessThan(byteBound)
    },
  )

  it('gives shared ids places that do not tell their rows', async () => {
    // Two ids are shared, the sender's first and its last: which place comes first is a coin.
    const ends = ['a', ...people(0, 3), 'z']
    let firstFirst = 0
    const runs = 40
    for (let run = 0; run < runs; run++) {
      const [, { rows }] = await both(['a', 'z'], ends, { protocol: 'curve' })
      if (rows![0] === 0) firstFirst++
    }
    // Outside once in 2^33 (binomial); where the sender does not shuffle, it is 40.
    expect(Math.abs(firstFirst - runs / 2)).toBeLessThan(19)
  })

  it('on the curve, for a size alone, comes in another order than it was asked for', async () => {
    const prints = idsOf(people(0, 40)).prints
    const orderOf = async (isShuffled: boolean) => {
      const session = { id: randomBytes(32), receiverSize: 40, senderSize: 40, isShuffled, threads: 0 }
      const [a, b] = channelPair().map((channel) => new Conversation(channel))
      const [got, made] = [new Map<string, number>(), new Map<string, number>()]
      const into = (map: Map<string, number>) => (places: Uint32Array, outputs: Uint8Array) => {
        for (const [i, place] of places.entries()) {
          map.set(Buffer.from(outputs.subarray(OUTPUT * i, OUTPUT * (i + 1))).toString('hex'), place)
        }
      }
      await Promise.all([curve.receive(a!, prints, session, into(got)), curve.send(b!, prints, session, into(made))])
      return [...made].sort(([, x], [, y]) => x - y).map(([value]) => got.get(value))
    }
    const plain = Array.from({ length: 40 }, (_, i) => i)
    expect(await orderOf(false)).toEqual(plain)
    const shuffled = await orderOf(true)
    expect(shuffled).not.toEqual(plain)
    expect([...shuffled].sort((x, y) => x! - y!)).toEqual(plain)
  })
})
