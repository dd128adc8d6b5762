/**
 * The parties of a command in one place and in lockstep: the protocol's own steps on shares that a test chose, without
 * workers, messages and encodings.
 */
import type { SeededRandom } from '../../src/data/random.ts'
import { type Correlation, deal, expand } from '../../src/smpc/correlations.ts'
import { Prg } from '../../src/smpc/prg.ts'
import { additive } from '../../src/smpc/protocols/additive.ts'
import type { Contribution, PartyContext } from '../../src/smpc/protocols/protocol.ts'
import { ring } from '../../src/smpc/ring/choose.ts'
import type { Planes, Words } from '../../src/smpc/ring/kernels.ts'
import type { RingTensor } from '../../src/smpc/ring/tensor.ts'
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
  const correction = deal(of, streams())
  return streams().map((stream, i) => expand(of, stream, i === parties - 1 ? correction : null))
}

export interface TogetherOptions {
  readonly attrs?: readonly unknown[]
  readonly divisor?: number
  /** In place of what the provider deals, party by party. */
  readonly deal?: (of: Correlation) => (readonly (Words | Planes)[])[]
}

/**
 * Runs a command among parties in lockstep.
 *
 * @param operands for each secret the shares of all parties
 * @returns for each result the words that the shares add up to
 */
export async function together(
  op: RingOp,
  operands: readonly { readonly shape: readonly number[]; readonly shares: readonly Words[] }[],
  random: SeededRandom,
  { attrs = [], divisor, deal: dealing }: TogetherOptions = {},
): Promise<Words[]> {
  const parties = operands[0]!.shares.length
  const command = {
    op,
    operands: operands.map(({ shape }) => ({ shape, isSecret: true })),
    attrs,
    divisor: divisor ?? null,
  }
  const supply = additive.correlations(command).map((of) => dealing?.(of) ?? dealt(of, random, parties))
  const opening = openings(parties)
  const contexts = Array.from({ length: parties }, (_, index): PartyContext => {
    let taken = 0
    let step = 0
    return {
      index,
      take: async () => supply[taken++]![index]!,
      open: (...contributions) => opening(step++, contributions),
      zeros: async (length) => new BigUint64Array(length),
    }
  })
  const results = await Promise.all(
    contexts.map((context, index) => {
      const mine = operands.map(({ shape, shares }) => ({ share: { shape, data: shares[index]! } }))
      return additive.run(context, op, mine, attrs, divisor ?? null)
    }),
  )
  const shapes = ringRow(op).shapes(
    operands.map(({ shape }) => shape),
    attrs,
  )
  return shapes.map((_, i) => sumOf(results.map((list: readonly RingTensor[]) => list[i]!.data)))
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
