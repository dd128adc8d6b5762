/** Both ends of an intersection in this process, and what it must come to. */
import { expect } from 'vitest'
import { type Channel, channelPair } from '../../src/psi/channel.ts'
import { type Id, type IdRule, idsOf, normalise } from '../../src/psi/ids.ts'
import { intersectOver, type PsiOptions, type PsiResult } from '../../src/psi/two-party.ts'

type Options = Partial<Omit<PsiOptions, 'side'>>

/** Runs both ends; `wrap` may put something between an end and its channel. */
export async function both(
  first: readonly Id[],
  second: readonly Id[],
  options: Options & { rule?: IdRule; firstOnly?: Options; secondOnly?: Options } = {},
  wrap: (channel: Channel, side: 'first' | 'second') => Channel = (channel) => channel,
): Promise<[PsiResult, PsiResult]> {
  const { rule = 'text', firstOnly = {}, secondOnly = {}, ...common } = options
  const [a, b] = channelPair()
  const sets = [first, second].map((ids) => idsOf(ids, { rule }))
  return Promise.all([
    intersectOver(wrap(a, 'first'), sets[0]!, { side: 'first', threads: 0, ...common, ...firstOnly }),
    intersectOver(wrap(b, 'second'), sets[1]!, { side: 'second', threads: 0, ...common, ...secondOnly }),
  ])
}

const keyOf = (id: Id, rule: IdRule): string | undefined => {
  const cells = (Array.isArray(id) ? id : [id]).map((cell) => normalise(cell, rule))
  return cells.includes(undefined) ? undefined : JSON.stringify(cells)
}

/** The plain intersection: of each id that both have, the row that it comes first in. */
export function plain(first: readonly Id[], second: readonly Id[], rule: IdRule = 'text'): Map<number, number> {
  const rowsOf = (ids: readonly Id[]) => {
    const rows = new Map<string, number>()
    for (const [row, id] of ids.entries()) {
      const key = keyOf(id, rule)
      if (key !== undefined && !rows.has(key)) rows.set(key, row)
    }
    return rows
  }
  const [a, b] = [rowsOf(first), rowsOf(second)]
  return new Map([...a].filter(([key]) => b.has(key)).map(([key, row]) => [row, b.get(key)!]))
}

/** Both know the rows of the plain intersection, in one order. */
export function expectAligned(
  [a, b]: readonly [PsiResult, PsiResult],
  first: readonly Id[],
  second: readonly Id[],
  rule: IdRule = 'text',
): void {
  const expected = plain(first, second, rule)
  expect([a.size, b.size]).toEqual([expected.size, expected.size])
  const pairs = [...a.rows!].map((row, i): [number, number] => [row, b.rows![i]!])
  const sorted = (list: Iterable<[number, number]>) => [...list].sort(([x], [y]) => x - y)
  expect(sorted(pairs)).toEqual(sorted(expected))
}

export const people = (from: number, to: number): string[] =>
  Array.from({ length: to - from }, (_, i) => `person${from + i}@example.org`)
