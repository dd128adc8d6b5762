import { describe, expect, it } from 'vitest'
import { Graph } from '../../../src/federated/secagg/graph.ts'
import { ringDegree, secAggParameters } from '../../../src/federated/secagg/parameters.ts'
import { logTail, quantile } from '../../../src/federated/secagg/tails.ts'

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i)

/** C(n, k) in whole numbers. */
function choose(n: number, k: number): bigint {
  let result = 1n
  for (let i = 1; i <= k; i++) result = (result * BigInt(n - k + i)) / BigInt(i)
  return k < 0 || k > n ? 0n : result
}
/** log2 of a fraction that a double may not hold. */
function log2(numerator: bigint, denominator: bigint): number {
  const shift = 1200n
  const digits = ((numerator << shift) / denominator).toString(2)
  return digits.length - Number(shift) + Math.log2(Number.parseInt(digits.slice(0, 50), 2) / 2 ** 50)
}

describe('a hypergeometric tail', () => {
  it('is that of sums in whole numbers, far below what a double holds', () => {
    for (const [balls, marked, drawn, least] of [
      [10, 3, 4, 2],
      [999, 100, 52, 28],
      [999, 100, 52, 52],
      [2000, 600, 300, 250],
    ] as const) {
      let ways = 0n
      for (let i = least; i <= Math.min(marked, drawn); i++)
        ways += choose(marked, i) * choose(balls - marked, drawn - i)
      expect(logTail({ balls, marked, drawn }, least)).toBeCloseTo(log2(ways, choose(balls, drawn)), 8)
    }
    expect(logTail({ balls: 10, marked: 3, drawn: 4 }, 4)).toBe(-Infinity)
    expect(logTail({ balls: 10, marked: 3, drawn: 4 }, 0)).toBeCloseTo(0, 12)
  })

  it('has quantiles that are exceeded no more often than was asked', () => {
    const urn = { balls: 999, marked: 100, drawn: 52 }
    const most = quantile(urn, 51)
    expect(logTail(urn, most + 1)).toBeLessThanOrEqual(-51)
    expect(logTail(urn, most)).toBeGreaterThan(-51)
  })
})

describe('the parameters of secure aggregation', () => {
  it('are a complete graph and ⌊2n/3⌋ + 1 up to 64 clients', () => {
    for (const [n, threshold] of [
      [2, 2],
      [3, 3],
      [4, 3],
      [10, 7],
      [64, 43],
    ] as const) {
      expect(secAggParameters(n)).toEqual({
        clients: n,
        neighbours: n - 1,
        threshold,
        spread: 0,
        witnesses: n,
        quorum: threshold,
        isComplete: true,
      })
    }
    expect(secAggParameters(65).isComplete).toBe(false)
  })

  it('are 52 neighbours and a threshold of 28 for 1,000 clients, 10 % corrupted and 10 % dropping out', () => {
    expect(secAggParameters(1000)).toMatchObject({ neighbours: 52, threshold: 28 })
    // A server that picks who drops out costs neighbours.
    const active = secAggParameters(1000, { server: 'active' })
    expect(active.neighbours).toBeGreaterThan(80)
    expect(active.neighbours).toBeLessThan(130)
  })

  // Tables of google/federated-compute, by authors of the paper: fcp/secagg/server/graph_parameter_finder_test.cc, for a
  // server that is curious, 40 bits of privacy and 20 of correctness. It draws the neighbours of a client from n clients, and
  // here they are drawn from the n − 1 others: at 45 % and 45 % (not listed) that makes 824 of its 822.
  it.each([
    [100, 0.33, 0.33, 68, 34],
    [1000, 0.33, 0.33, 286, 150],
    [100, 0.05, 0.33, 28, 6],
    [1000, 0.05, 0.33, 72, 24],
    [10_000, 0.05, 0.33, 86, 29],
    [1000, 0.33, 0.05, 78, 60],
    [10_000, 0.33, 0.05, 92, 70],
  ])('agree with published ones: %i clients, %d corrupted, %d dropping out', (n, corrupted, dropouts, k, t) => {
    const found = ringDegree(n, corrupted, dropouts, { correctness: 20 })
    expect(found).toEqual({ neighbours: k, threshold: t })
  })

  it('have witnesses of whom two quorums share an honest one', () => {
    for (const n of [65, 100, 300, 1000]) {
      const { witnesses, quorum } = secAggParameters(n)
      const shared = 2 * quorum - witnesses
      expect(logTail({ balls: n, marked: Math.floor(n / 10), drawn: witnesses }, shared)).toBeLessThanOrEqual(-45)
    }
  })

  it('are refused where no graph keeps the bounds', () => {
    const refused = expect.objectContaining({ code: 'ERR_ARGUMENT_VALUE' })
    expect(() => secAggParameters(100, { corrupted: 0.5, dropouts: 0.5 })).toThrow(refused)
    expect(() => secAggParameters(10, { corrupted: 0.4 })).toThrow(refused)
    expect(() => secAggParameters(10, { dropouts: 0.4 })).toThrow(refused)
    for (const clients of [1, 2.5, Number.NaN, 65_536]) expect(() => secAggParameters(clients)).toThrow(refused)
    expect(() => secAggParameters(10, { corrupted: 1 })).toThrow(refused)
    expect(() => secAggParameters(10, { corupted: 0.1 } as never)).toThrow('unknown option "corupted"')
    expect(() => secAggParameters(10, { server: 'honest' as never })).toThrow("'curious' or 'active'")
  })
})

describe('the graph', () => {
  const parameters = secAggParameters(100)
  const seed = Uint8Array.from({ length: 32 }, (_, i) => i)
  const graph = new Graph(parameters, seed)

  it('gives everyone as many neighbours, each of whom says the same', () => {
    for (const client of range(100)) {
      const neighbours = graph.neighbours(client)
      expect(new Set(neighbours).size).toBe(parameters.neighbours)
      expect(neighbours).not.toContain(client)
      expect(neighbours).toEqual([...neighbours].sort((a, b) => a - b))
      for (const other of neighbours) expect(graph.neighbours(other)).toContain(client)
    }
    expect(range(100).filter((client) => graph.isWitness(client))).toHaveLength(parameters.witnesses)
  })

  it('follows from its seed, and another seed gives another', () => {
    expect(new Graph(parameters, seed).ring).toEqual(graph.ring)
    expect(
      new Graph(
        parameters,
        seed.map((byte) => byte ^ 1),
      ).ring,
    ).not.toEqual(graph.ring)
    expect([...graph.ring].sort((a, b) => a - b)).toEqual(range(100))
  })

  it('is complete up to 64 clients, and there everyone holds a share of their own', () => {
    const small = new Graph(secAggParameters(5), seed)
    expect(small.neighbours(2)).toEqual([0, 1, 3, 4])
    expect(small.holders(2)).toEqual([0, 1, 2, 3, 4])
    expect(graph.holders(2)).toEqual(graph.neighbours(2))
  })

  it('knows when too many are gone in a row, round the end of the ring too', () => {
    const all = new Set(range(100))
    expect(graph.isSpread(all)).toBe(true)
    const { neighbours, spread } = parameters
    const mayGo = neighbours / 2 - spread
    for (const from of [0, 50, 97]) {
      const without = (count: number) => {
        const gone = range(count).map((i) => graph.ring[(from + i) % 100]!)
        return new Set([...all].filter((client) => !gone.includes(client)))
      }
      expect(graph.isSpread(without(mayGo))).toBe(true)
      expect(graph.isSpread(without(mayGo + 1))).toBe(false)
    }
  })
})
