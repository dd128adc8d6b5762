/**
 * The parties of a command in one place and in lockstep: the protocol's own steps on shares that a test chose, without
 * workers, messages and encodings.
 */
import type { SeededRandom } from '../../src/data/random.ts'
import { type Correlation, deal, expand } from '../../src/smpc/correlations.ts'
import { contextOf } from '../../src/smpc/party-context.ts'
import { Prg, type PrgStream } from '../../src/smpc/prg.ts'
import { additive } from '../../src/smpc/protocols/additive.ts'
import type { Contribution, PartyContext, Protocol } from '../../src/smpc/protocols/protocol.ts'
import { ring } from '../../src/smpc/ring/choose.ts'
import type { Planes, Words } from '../../src/smpc/ring/kernels.ts'
import { bytesOf, ringTensor } from '../../src/smpc/ring/tensor.ts'
import { type RingOp, ringRow } from '../../src/smpc/ring-ops.ts'

/** Words at which shares and sums of them wrap, or change their sign. */
export const edges = [0n, 1n, 2n ** 62n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n] as const

export const signed = (word: bigint): bigint => BigInt.asIntN(64, word)
export const wordsFrom = (values: Iterable<bigint>): Words =>
  BigUint64Array.from(values, (value) => BigInt.asUintN(64, value))
export const sumOf = (list: readonly Words[]): Words => list.reduce((a, b) => ring().add(a, b))

export const seedFrom = (random: SeededRandom): Uint8Array => Uint8Array.from({ length: 32 }, () => random.int(256))
export const randomWords = (random: SeededRandom, length: number): Words =>
  new Prg(seedFrom(random)).stream(0).words(length)

/** Shares of a value, one in four of all but the last at an edge: sums of them wrap in every way. */
export function wrappingShares(random: SeededRandom, secret: Words, parties: number): Words[] {
  const shares = Array.from({ length: parties - 1 }, () => {
    const share = randomWords(random, secret.length)
    for (let i = 0; i < share.length; i++) if (random.int(4) === 0) share[i] = random.pick(edges)
    return share
  })
  return [...shares, shares.reduce((rest, share) => ring().sub(rest, share), secret)]
}

/** Each party's shares of a correlation, as provider and parties make them of seeds in common. */
export function dealt(of: Correlation, random: SeededRandom, parties: number): (readonly (Words | Planes)[])[] {
  const seeds = Array.from({ length: parties }, () => seedFrom(random))
  const streams = () => seeds.map((seed) => new Prg(seed).stream(0))
  const correction = deal(of, streams(), 64)
  return streams().map((stream, i) => expand(of, stream, i === parties - 1 ? correction : null, 64))
}

export interface TogetherOptions {
  readonly attrs?: readonly unknown[]
  readonly divisor?: number
  readonly protocol?: Protocol
  /** The number of the command, by which parties of replicated sharing take turns. */
  readonly seq?: number
  /** In place of what the provider deals, party by party. */
  readonly deal?: (of: Correlation) => (readonly (Words | Planes)[])[]
  /** In place of a stream in common: the words of each draw, in turn. */
  readonly streams?: (of: readonly [lower: number, higher: number]) => PrgStream
  /** Sees, and may change, what travels. */
  readonly onSent?: (sent: Sent) => void
}

export interface Sent {
  readonly step: number
  readonly from: number
  readonly to: number
  readonly data: Uint8Array
}

/**
 * Runs a command among parties in lockstep.
 *
 * @param operands for each secret its components, as many as there are parties
 * @returns for each result the words that its components add up to
 */
export async function together(
  op: RingOp,
  operands: readonly { readonly shape: readonly number[]; readonly shares: readonly Words[] }[],
  random: SeededRandom,
  options: TogetherOptions = {},
): Promise<Words[]> {
  const { attrs = [], divisor, protocol = additive, seq = 1, deal: dealing, onSent } = options
  const parties = operands[0]!.shares.length
  const command = {
    ring: 64,
    op,
    operands: operands.map(({ shape }) => ({ shape, isSecret: true })),
    attrs,
    divisor: divisor ?? null,
  } as const
  const supply = protocol.correlations(command).map((of) => dealing?.(of) ?? dealt(of, random, parties))
  const opening = openings(parties)
  const mail = new Mail(onSent)
  const seeds = new Map(pairsOf(parties).map((pair) => [`${pair}`, seedFrom(random)]))
  const streamOf = options.streams ?? ((pair: readonly [number, number]) => new Prg(seeds.get(`${pair}`)!).stream(seq))
  const contexts = Array.from({ length: parties }, (_, index): PartyContext => {
    let taken = 0
    const streams = new Map<number, PrgStream>()
    return contextOf({ index, ring: 64 }, seq, {
      take: async () => supply[taken++]![index]!,
      open: async (step, contributions) => opening(step, contributions),
      swap: async (step, outgoing, incoming) => {
        for (const { to, data } of outgoing) mail.send({ step, from: index, to, data })
        return Promise.all(incoming.map(({ from, bytes }) => mail.receive(step, from, index, bytes)))
      },
      common: async (party) => {
        const known = streams.get(party) ?? streamOf([Math.min(party, index), Math.max(party, index)])
        streams.set(party, known)
        return known
      },
      zeros: async (length) => new BigUint64Array(length),
    }).context
  })
  const results = await Promise.all(
    contexts.map((context, index) => {
      const mine = operands.map(({ shape, shares }) => ({
        share: protocol.held(index, parties).map((component) => ringTensor(64, shape, shares[component]!)),
      }))
      return protocol.run(context, op, mine, attrs, divisor ?? null)
    }),
  )
  const shapes = ringRow(op).shapes(
    operands.map(({ shape }) => shape),
    attrs,
  )
  return shapes.map((_, i) => {
    const components = results.map((list) => list[i]!.map(({ data }) => data))
    // What several hold, they hold alike.
    components.forEach((mine, index) => {
      protocol.held(index, parties).forEach((component, j) => {
        if (!Buffer.from(bytesOf(mine[j]!)).equals(bytesOf(components[component]![0]!))) {
          throw new Error(`parties ${index} and ${component} do not agree about component ${component}`)
        }
      })
    })
    return sumOf(components.map(([first]) => first!))
  })
}

const pairsOf = (parties: number): (readonly [number, number])[] =>
  Array.from({ length: parties }, (_, a) => Array.from({ length: a }, (_, b) => [b, a] as const)).flat()

/** What parties hand each other, by step. */
class Mail {
  readonly #there = new Map<string, Uint8Array>()
  readonly #waiting = new Map<string, (data: Uint8Array) => void>()
  readonly #onSent: TogetherOptions['onSent']

  constructor(onSent: TogetherOptions['onSent']) {
    this.#onSent = onSent
  }

  send(sent: Sent): void {
    this.#onSent?.(sent)
    const key = `${sent.step} ${sent.from} ${sent.to}`
    if (this.#there.has(key)) throw new Error(`sent twice in step ${sent.step}`)
    const waiting = this.#waiting.get(key)
    if (waiting) waiting(sent.data)
    this.#there.set(key, sent.data)
  }

  async receive(step: number, from: number, to: number, bytes: number): Promise<Uint8Array> {
    const key = `${step} ${from} ${to}`
    const data = this.#there.get(key) ?? (await new Promise<Uint8Array>((resolve) => this.#waiting.set(key, resolve)))
    if (data.length !== bytes) throw new Error(`${data.length} bytes came in step ${step}, ${bytes} were expected`)
    return data
  }
}

type Opened = readonly (Words | Planes)[]

/** Openings by their step: each is there when all parties have contributed. */
function openings(parties: number): (step: number, contributions: readonly Contribution[]) => Promise<Opened> {
  const waiting: {
    readonly contributions: (readonly Contribution[])[]
    readonly resolve: ((all: Opened) => void)[]
  }[] = []
  return (step, mine) =>
    new Promise((resolve) => {
      waiting[step] ??= { contributions: [], resolve: [] }
      const opening = waiting[step]
      opening.resolve.push(resolve)
      if (opening.contributions.push(mine) < parties) return
      const opened = mine.map((_, i) => total(opening.contributions.map((list) => list[i]!)))
      for (const done of opening.resolve) done(opened)
    })
}

const total = (parts: readonly Contribution[]): Words | Planes =>
  'words' in parts[0]!
    ? sumOf(parts.map((part) => (part as { words: Words }).words))
    : parts.map((part) => (part as { planes: Planes }).planes).reduce((a, b) => ring().xor(a, b))
