import { describe, expect, it } from 'vitest'
import { channelPair } from '../../src/psi/channel.ts'
import { type Id, idsOf } from '../../src/psi/ids.ts'
import { intersectInRing, type RingOptions, type RingResult } from '../../src/psi/ring.ts'
import { people } from './both.ts'

/** All owners in this process. */
function ringOf(sets: readonly (readonly Id[])[], options: Partial<RingOptions> = {}): Promise<RingResult[]> {
  const parties = sets.length
  const pairs = sets.map(() => channelPair())
  return Promise.all(
    sets.map((ids, index) => {
      const channels = { next: pairs[index]![0], previous: pairs[(index + parties - 1) % parties]![1] }
      return intersectInRing(channels, idsOf(ids), { index, parties, threads: 0, ...options })
    }),
  )
}

/** The ids in all sets, in the order in which each owner has them. */
function sharedBy(sets: readonly (readonly Id[])[], results: readonly RingResult[]): Id[][] {
  return results.map(({ rows }, party) => [...rows!].map((row) => sets[party]![row]!))
}

describe('the intersection of three sets or more', () => {
  it.each([
    ['three, by the fast protocol', 'fast', [people(0, 60), people(20, 80), people(10, 50)]],
    ['five, by the curve', 'curve', [people(0, 30), people(5, 40), people(0, 20), people(10, 25), people(8, 18)]],
    ['three, one of them empty', 'curve', [people(0, 5), [], people(0, 5)]],
    [
      'three, of which each two share what the third has not',
      'curve',
      [
        ['a', 'b'],
        ['b', 'c'],
        ['c', 'a'],
      ],
    ],
    ['four that are equal', 'curve', [people(0, 9), people(0, 9).reverse(), people(0, 9), people(0, 9)]],
  ] as const)('is what is in all of them, in one order: %s', async (_, protocol, sets) => {
    const results = await ringOf(sets, { protocol })
    const all = sets.reduce<readonly Id[]>((a, b) => a.filter((id) => (b as readonly Id[]).includes(id)), sets[0])
    const [first, ...others] = sharedBy(sets, results)
    expect([...first!].sort()).toEqual([...all].sort())
    for (const other of others) expect(other).toEqual(first)
  })

  it('may be known to the first alone, and of sets that seem larger', async () => {
    const sets = [people(0, 20), people(10, 40), people(15, 25)]
    const results = await ringOf(sets, { protocol: 'curve', reveal: 'one', padTo: 50 })
    expect([...results[0]!.rows!].sort((a, b) => a - b)).toEqual([15, 16, 17, 18, 19])
    for (const { rows, size } of results.slice(1)) expect([rows, size]).toEqual([undefined, undefined])
  })

  it.each([
    [{ parties: 2 }, 'two'],
    [{ reveal: 'size' }, 'a size'],
    [{ index: 3 }, 'a place that there is not'],
    [{ payloads: [] }, 'payloads'],
  ] as const)('is not begun with %j: %s', async (options, _) => {
    const [a, b] = channelPair()
    const wrong = { index: 0, parties: 3, ...options } as unknown as RingOptions
    await expect(intersectInRing({ next: a, previous: b }, idsOf(['a']), wrong)).rejects.toMatchObject({
      code: 'ERR_ARGUMENT_VALUE',
    })
  })
})
