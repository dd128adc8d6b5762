import { describe, expect, it } from 'vitest'
import { SeededRandom } from '../../src/data/random.ts'
import { both, expectAligned, people, plain } from './both.ts'

const bytes = (text: string) => new TextEncoder().encode(text)
const text = (data: Uint8Array) => new TextDecoder().decode(data)

describe.each(['fast', 'curve'] as const)('the intersection of two sets, by the protocol %s', (protocol) => {
  it.each([
    ['no ids and no ids', [], []],
    ['no ids and some', [], people(0, 3)],
    ['one and the same', ['a'], ['A']],
    ['one and another', ['a'], ['b']],
    ['one and many', people(50, 51), people(0, 300)],
    ['equal sets', people(0, 200), people(0, 200).reverse()],
    ['disjoint sets', people(0, 200), people(200, 350)],
    ['duplicates', ['x', 'y', 'X ', 'z', 'y', ''], ['y', 'Y', 'q', 'x', '', 'x']],
    ['Unicode', ['Ａｄａ', 'Jose\u0301', '漢字', '👩‍👩‍👧'], ['josé', 'ADA', '漢', '👩‍👩‍👧']],
    [
      'columns',
      [
        ['Ada', 1815],
        ['Alan', 1912],
      ],
      [
        ['alan', '1912'],
        ['ada', 1912],
      ],
    ],
  ] as const)('is the plain one, for %s', async (_, first, second) => {
    expectAligned(await both(first, second, { protocol }), first, second)
  })

  it('is the plain one for random sets, whoever has more, in an order that is neither owner’s', async () => {
    const random = new SeededRandom(8)
    const draw = (n: number) => Array.from({ length: n }, () => `id ${random.uint32() % 400}`)
    for (const [n, m] of [
      [150, 350],
      [350, 150],
    ] as const) {
      const [first, second] = [draw(n), draw(m)]
      const results = await both(first, second, { protocol })
      expectAligned(results, first, second)
      for (const { rows } of results) expect([...rows!]).not.toEqual([...rows!].sort((a, b) => a - b))
    }
  })

  it('is known to the first side alone, if so agreed, and the other learns how many ids it has', async () => {
    for (const [first, second] of [
      [people(0, 90), people(60, 100)],
      [people(0, 20), people(10, 100)],
    ] as const) {
      const [a, b] = await both(first, second, { protocol, reveal: 'one' })
      expect([...a.rows!].sort((x, y) => x - y)).toEqual([...plain(first, second).keys()].sort((x, y) => x - y))
      expect(b).toMatchObject({ size: undefined, rows: undefined, payloads: undefined, peerSize: first.length })
    }
  })

  it('takes payloads along, of any length, in the order of the rows; and those of ids not shared to nobody', async () => {
    const [first, second] = [people(0, 60), people(40, 140)]
    const of = (who: string, ids: readonly string[]) =>
      ids.map((id, i) => bytes(i % 7 === 3 ? '' : `${who} on ${id} ${'!'.repeat(i)}`))
    const payloads = [of('first', first), of('second', second)] as const
    for (const [a, b] of [
      await both(first, second, {
        protocol,
        firstOnly: { payloads: payloads[0] },
        secondOnly: { payloads: payloads[1] },
      }),
      await both(first, second, { protocol, secondOnly: { payloads: payloads[1] } }),
      await both(first, second, { protocol, firstOnly: { payloads: payloads[0] } }),
    ]) {
      expectAligned([a, b], first, second)
      const carried = (data: readonly Uint8Array[], rows: Uint32Array) => [...rows].map((row) => text(data[row]!))
      if (a.payloads !== undefined) expect(a.payloads.map(text)).toEqual(carried(payloads[1], b.rows!))
      if (b.payloads !== undefined) expect(b.payloads.map(text)).toEqual(carried(payloads[0], a.rows!))
      expect(a.payloads === undefined && b.payloads === undefined).toBe(false)
    }
    const [a] = await both(first, second, { protocol, reveal: 'one', secondOnly: { payloads: payloads[1] } })
    expect(a.payloads!.map(text)).toEqual([...a.rows!].map((row) => text(payloads[1][row - 40]!)))
  })

  it('may be of sets that seem larger than they are', async () => {
    const [first, second] = [people(0, 30), people(20, 70)]
    const payloads = second.map((id) => bytes(id))
    const results = await both(first, second, {
      protocol,
      firstOnly: { padTo: 100 },
      secondOnly: { padTo: 64, payloads },
    })
    expectAligned(results, first, second)
    expect(results.map(({ peerSize }) => peerSize)).toEqual([64, 100])
    expect(results[0].payloads!.map(text)).toEqual([...results[1].rows!].map((row) => second[row]!))
  })

  it('says which rows repeat an id, and how many have none', async () => {
    const [a, b] = await both(['x', '', 'y', 'X'], ['y', ' '], { protocol })
    expect([...a.duplicates]).toEqual([3])
    expect([a.empty, b.empty, b.duplicates.length]).toEqual([1, 1, 0])
  })
})

describe('the intersection of two sets', () => {
  it('may be known to both by its size alone', async () => {
    for (const [first, second] of [
      [people(0, 120), people(100, 400)],
      [people(0, 300), people(290, 310)],
      [[], people(0, 5)],
    ] as const) {
      for (const { size, rows } of await both(first, second, {
        reveal: 'size',
        secondOnly: { padTo: second.length + 9 },
      })) {
        expect(size).toBe(plain(first, second).size)
        expect(rows).toBeUndefined()
      }
    }
  })

  it('is exact for 1 id against 100,000, and for 20,000 against 20,000', async () => {
    const many = people(0, 100_000)
    expectAligned(await both(people(77_777, 77_778), many), people(77_777, 77_778), many)
    const [first, second] = [people(0, 20_000), people(15_000, 35_000)]
    expectAligned(await both(first, second), first, second)
  })

  it('is computed by threads as without them', async () => {
    const [first, second] = [people(0, 40), people(20, 60)]
    expectAligned(await both(first, second, { protocol: 'curve', threads: 2 }), first, second)
  })

  it('tells how far it has come', async () => {
    const seen: number[] = []
    await both(people(0, 100), people(0, 100), { firstOnly: { onProgress: (done) => seen.push(done) } })
    expect(seen.at(-1)).toBe(1)
  })

  it.each([
    ['protocols', { firstOnly: { protocol: 'curve' } }],
    ['who learns what', { firstOnly: { reveal: 'one' } }],
  ] as const)('is refused where the two were asked for another: %s', async (what, options) => {
    const refused = both(['a'], ['a'], options)
    await expect(refused).rejects.toMatchObject({ code: 'ERR_TERMS', message: expect.stringContaining(what) })
  })

  it('is refused for ids made by different rules, or of different columns', async () => {
    await expect(both([['a', 'b']], ['a'])).rejects.toMatchObject({ code: 'ERR_TERMS' })
  })

  it.each([
    ['a size by the protocol that shows ids', { reveal: 'size', protocol: 'fast' }],
    ['a protocol that there is not', { protocol: 'faster' }],
    ['an option that there is not', { revael: 'both' }],
    ['fewer ids than there are', { padTo: 1 }],
    ['payloads for other rows', { payloads: [] }],
    ['payloads for a side that does not learn the ids', { reveal: 'one', payloads: [bytes('a'), bytes('b')] }],
    ['payloads that are too long', { payloads: [bytes('a'), new Uint8Array(65_537)] }],
    ['no time', { timeout: 0 }],
  ])('is not begun with %s', async (_, options) => {
    await expect(both(['a', 'b'], ['a', 'b'], { firstOnly: options as never })).rejects.toMatchObject({
      code: 'ERR_ARGUMENT_VALUE',
    })
  })
})
