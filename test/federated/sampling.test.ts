import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type SamplingOptions, sampleClients } from '../../src/federated/sampling.ts'
import { CHANCE, criticalValue } from '../reference/chi-square.ts'

const runs = { seed: Number(process.env['SOTTO_SEED'] ?? 1), numRuns: process.env['SOTTO_LONG'] ? 1000 : 100 }
const code = (name: string) => expect.objectContaining({ code: name })
const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i)
const named = (n: number): string[] => range(n).map((i) => `client-${i}`)

const ids = fc.uniqueArray(fc.string({ maxLength: 5 }), { minLength: 1, maxLength: 30 })
const options = fc.record({
  fraction: fc.double({ min: 0.01, max: 1, noNaN: true }),
  seed: fc.maxSafeNat(),
  poisson: fc.boolean(),
})
const rounds = fc.nat({ max: 1e6 })

/** How often each of the outcomes came up. */
function tally(outcomes: readonly string[], of: readonly string[]): number[] {
  const counts = new Map(of.map((outcome) => [outcome, 0]))
  for (const outcome of outcomes) counts.set(outcome, counts.get(outcome)! + 1)
  return [...counts.values()]
}
const statistic = (counts: readonly number[], expected: readonly number[]): number =>
  counts.reduce((sum, count, i) => sum + (count - expected[i]!) ** 2 / expected[i]!, 0)

/** All subsets of clients, by their ids. */
const subsets = (clients: readonly string[]): string[][] =>
  clients.reduce<string[][]>((all, id) => all.flatMap((subset) => [subset, [...subset, id]]), [[]])

describe('a sample', () => {
  it('is the nearest whole number to the fraction, no fewer than the minimum', () => {
    const size = (n: number, fraction: number, minimum?: number) =>
      sampleClients({ fraction, seed: 1, ...(minimum === undefined ? {} : { minimum }) }, named(n), 0).length
    expect([size(100, 0.1), size(14, 0.1), size(16, 0.1), size(7, 1)]).toEqual([10, 1, 2, 7])
    expect([size(3, 0.1), size(10, 0.1, 4), size(4, 0.5, 4), size(10, 0.5, 2)]).toEqual([1, 4, 4, 5])
  })

  it('is of the clients, each once, sorted, whatever the options', () => {
    fc.assert(
      fc.property(options, ids, rounds, (given, clients, round) => {
        const sample = sampleClients(given, clients, round)
        expect(sample).toEqual([...new Set(sample)].sort())
        expect(clients).toEqual(expect.arrayContaining(sample))
      }),
      runs,
    )
  })

  it('follows from seed, round and who is there, not from their order', () => {
    fc.assert(
      fc.property(options, ids, rounds, fc.nat(), (given, clients, round, by) => {
        const copy = [...clients]
        const sample = sampleClients(given, clients, round)
        const at = by % clients.length
        expect(sampleClients(given, [...clients.slice(at), ...clients.slice(0, at)].reverse(), round)).toEqual(sample)
        expect(clients).toEqual(copy)
      }),
      runs,
    )
  })

  it('is everyone at a fraction of 1', () => {
    for (const poisson of [false, true]) {
      expect(sampleClients({ fraction: 1, seed: 3, poisson }, named(9), 5)).toEqual(named(9))
    }
  })

  it.each([false, true])(
    'differs between rounds and between seeds, those that are swapped or equal too (poisson: %s)',
    (poisson) => {
      const draw = (seed: number, round: number) =>
        sampleClients({ fraction: 0.5, seed, poisson }, named(64), round).join()
      const pairs = range(20).flatMap((seed) => range(20).map((round) => draw(seed, round)))
      // Of 1e18 samples and more, 400 are the same two with probability 1e-13 at most.
      expect(new Set(pairs).size).toBe(400)
    },
  )
})

describe('chance', () => {
  const clients = named(6)
  const draws = 6000

  it('draws each subset of the size as often as any other', () => {
    const sample = (seed: number) => range(draws).map((round) => sampleClients({ fraction: 0.5, seed }, clients, round))
    const triples = subsets(clients).filter(({ length }) => length === 3)
    expect(triples).toHaveLength(20)
    const away = (drawn: string[][]) =>
      statistic(
        tally(drawn.map(String), triples.map(String)),
        triples.map(() => draws / 20),
      )
    expect(away(sample(1))).toBeLessThan(criticalValue(CHANCE, 19))
    // Seeds are one as good as another, and as rounds: the first round of many seeds.
    const bySeed = range(draws).map((seed) => sampleClients({ fraction: 0.5, seed }, clients, 0))
    expect(away(bySeed)).toBeLessThan(criticalValue(CHANCE, 19))
    // A sampler that takes the first client for another once in ten draws does not pass.
    const biased = sample(2).map((drawn, i) => (i % 10 === 0 ? clients.slice(0, 3) : drawn))
    expect(away(biased)).toBeGreaterThan(criticalValue(CHANCE, 19))
  })

  it('draws each client by itself in a Poisson sample: every subset as often as its probability says', () => {
    const fraction = 0.3
    const all = subsets(clients.slice(0, 4))
    const expected = all.map(({ length }) => draws * fraction ** length * (1 - fraction) ** (4 - length))
    const drawn = range(draws).map((round) =>
      sampleClients({ fraction, seed: 7, poisson: true }, clients.slice(0, 4), round).join(),
    )
    expect(statistic(tally(drawn, all.map(String)), expected)).toBeLessThan(criticalValue(CHANCE, 15))
  })

  it('draws one round without regard to the one before', () => {
    // Whether a client is there in this round and in the next: four outcomes, from pairs that do not overlap.
    const isThere = (round: number) => sampleClients({ fraction: 0.5, seed: 4 }, clients, round).includes('client-2')
    const pairs = range(draws / 2).map((i) => `${isThere(2 * i)} ${isThere(2 * i + 1)}`)
    const counts = tally(pairs, ['true true', 'true false', 'false true', 'false false'])
    expect(statistic(counts, Array(4).fill(draws / 8))).toBeLessThan(criticalValue(CHANCE, 3))
  })

  it('gives Poisson samples below the minimum, and does not fill them up', () => {
    const sizes = range(300).map(
      (round) => sampleClients({ fraction: 0.2, minimum: 4, seed: 5, poisson: true }, clients, round).length,
    )
    expect(sizes.some((size) => size < 4)).toBe(true)
    expect(sizes).toContain(0)
  })
})

describe('refuses', () => {
  const good: SamplingOptions = { fraction: 0.5, seed: 1 }
  it.each([
    { fraction: 0 },
    { fraction: -0.1 },
    { fraction: 1.01 },
    { fraction: Number.NaN },
    { minimum: 0 },
    { minimum: 1.5 },
    { seed: -1 },
    { seed: 0.5 },
    { size: 3 },
  ])('options out of range: %o', (wrong) => {
    expect(() => sampleClients({ ...good, ...wrong }, named(4), 0)).toThrow(code('ERR_ARGUMENT_VALUE'))
  })

  it('options of another kind, rounds that are none, and an id that is there twice', () => {
    expect(() => sampleClients({ seed: 1 } as never, named(4), 0)).toThrow(code('ERR_ARGUMENT_TYPE'))
    expect(() => sampleClients({ ...good, poisson: 'yes' } as never, named(4), 0)).toThrow(code('ERR_ARGUMENT_TYPE'))
    expect(() => sampleClients(good, named(4), -1)).toThrow(code('ERR_ARGUMENT_VALUE'))
    expect(() => sampleClients(good, ['a', 'b', 'a'], 0)).toThrow('"clients" expected each id once')
  })

  it('fewer clients than the minimum, nobody among them', () => {
    expect(() => sampleClients({ ...good, minimum: 5 }, named(4), 0)).toThrow(code('ERR_COHORT'))
    expect(() => sampleClients({ ...good, poisson: true, minimum: 5 }, named(4), 0)).toThrow(code('ERR_COHORT'))
    expect(() => sampleClients(good, [], 0)).toThrow('0 clients are there, fewer than the minimum of 1')
    expect(sampleClients({ ...good, minimum: 4 }, named(4), 0)).toHaveLength(4)
  })
})
