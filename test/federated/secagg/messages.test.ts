/** Messages of another form than they must have: refused, and the round goes on as if they had not come. */
import { describe, expect, it } from 'vitest'
import type { MessageName, Unmasking } from '../../../src/federated/secagg/messages.ts'
import type { Vector } from '../../../src/federated/secagg/vectors.ts'
import { Cohort, exactSum, type LastSent } from './cohort.ts'

/** What may be wrong with a field, wherever it is in a message. */
function* wrong(value: unknown): Generator<unknown> {
  if (value instanceof Uint8Array) {
    yield* [value.slice(1), new Uint8Array(value.length + 1), [...value], undefined]
    // Bytes, and not what happens to have as many elements.
    yield new Float32Array(value.length)
  } else if (typeof value === 'number') yield* [-1, value + 0.5, Number.NaN, 2 ** 53, String(value)]
  else if (typeof value === 'string') yield* ['', 7, 'x'.repeat(257)]
  else if (Array.isArray(value)) {
    yield* ['', {}, [...value, null], new Array(70_000).fill(value[0])]
    // Numbers of clients come in order, none twice.
    const isOrdered = typeof value[0] === 'number' || ['to', 'from', 'of', 'by'].some((key) => key in (value[0] ?? {}))
    if (isOrdered) yield [...value, value.at(-1)]
    if (isOrdered && value.length > 1) yield [...value].reverse()
    for (const one of value.length > 0 ? wrong(value[0]) : []) yield [one, ...value.slice(1)]
  } else {
    const fields = value as Record<string, unknown>
    yield { ...fields, more: 1 }
    for (const [name, field] of Object.entries(fields)) {
      yield Object.fromEntries(Object.entries(fields).filter(([other]) => other !== name))
      for (const one of wrong(field)) yield { ...fields, [name]: one }
    }
  }
}

describe('a message that is malformed', () => {
  it('is refused by client and server, at each step of a complete graph and in every field, and the round goes on', () => {
    const cohort = new Cohort(4)
    let tried = 0
    const names = new Set<string>()
    const refuses = (take: (message: never) => unknown, message: object, name: string) => {
      names.add(name)
      for (const one of wrong(message)) {
        expect(() => take(one as never)).toThrow(expect.objectContaining({ code: 'ERR_PROTOCOL' }))
        tried++
      }
      expect(() => take(null as never)).toThrow(expect.objectContaining({ code: 'ERR_PROTOCOL' }))
      const { round } = message as { round: number }
      expect(() => take({ ...message, round: round + 1 } as never)).toThrow(
        expect.objectContaining({ code: 'ERR_OUT_OF_STEP' }),
      )
    }
    const vectors: Vector[] = cohort.vectors()
    const last = new Map<number, LastSent>([[1, 'shares']])
    const { sum } = cohort.run({
      vectors,
      last,
      see(name: MessageName, client, message) {
        if (client !== 0) return
        const [round, server] = [cohort.rounds[0]!, cohort.server]
        const takes: Partial<Record<MessageName, (message: never) => unknown>> = {
          advert: (message) => server.receiveAdvert(message),
          roster: (message) => round.receiveRoster(message),
          shares: (message) => server.receiveShares(message),
          delivery: (message) => round.mask(message, vectors[0]!),
          'masked input': (message) => server.receiveInput(message),
          survivors: (message) => round.confirm(message),
          confirmation: (message) => server.receiveConfirmation(message),
          quorum: (message) => round.unmask(message),
          unmasking: (message) => server.receiveUnmasking(message),
        }
        refuses(takes[name]!, message, name)
      },
    })
    expect([...cohort.refused.values()]).toEqual([])
    expect(names.size).toBe(9)
    expect(tried).toBeGreaterThan(150)
    expect([...sum].map(BigInt)).toEqual(exactSum([vectors[0]!, vectors[2]!, vectors[3]!], 32))
  })

  it('is named, with the field, and never shows what came', () => {
    const cohort = new Cohort(3)
    cohort.toInputs({ vectors: cohort.vectors() })
    const { round } = cohort.server
    const values = Uint8Array.from({ length: 15 }, () => 0xab)
    expect(() => cohort.rounds[0]!.confirm({ round, survivors: [5, 4] })).toThrow(
      'survivors: "survivors" is not what it must be',
    )
    try {
      cohort.server.receiveInput({ id: 'c000', round, values })
      expect.unreachable()
    } catch (error) {
      expect(String(error)).not.toMatch(/ab|171/)
    }
  })
})

describe('a client that cheats', () => {
  it('with a wrong share is passed over where there are enough others', () => {
    const cohort = new Cohort(4)
    const vectors = cohort.vectors()
    const see = (name: MessageName, client: number, message: object) => {
      // What is seen is what the server gets: the first of four shares of each seed.
      if (name === 'unmasking' && client === 0) for (const { share } of (message as Unmasking).seeds) share.fill(1)
    }
    expect([...cohort.run({ vectors, see }).sum].map(BigInt)).toEqual(exactSum(vectors, 32))
  })

  it('spoils the round, and no more, where it takes every share', () => {
    const cohort = new Cohort(3)
    const see = (name: MessageName, client: number, message: object) => {
      if (name === 'unmasking' && client === 0) for (const { share } of (message as Unmasking).seeds) share.fill(1)
    }
    expect(() => cohort.run({ vectors: cohort.vectors(), see })).toThrow(
      expect.objectContaining({
        code: 'ERR_PROTOCOL',
        message: expect.stringContaining('do not fit what it advertised'),
      }),
    )
    const vectors = cohort.vectors()
    expect([...cohort.run({ vectors }).sum].map(BigInt)).toEqual(exactSum(vectors, 32))
  })

  it('cannot send twice, late, for a client that it is not told of, or shares that were not asked for', () => {
    const cohort = new Cohort(3)
    const outOfStep = expect.objectContaining({ code: 'ERR_OUT_OF_STEP' })
    const protocol = expect.objectContaining({ code: 'ERR_PROTOCOL' })
    cohort.run({
      vectors: cohort.vectors(),
      see(name, client, message) {
        if (client !== 1) return
        const { server } = cohort
        if (name === 'unmasking') {
          const { seeds } = message as Unmasking
          const sent = message as Unmasking
          expect(() => server.receiveUnmasking({ ...sent, seeds: [], keys: seeds })).toThrow(protocol)
          expect(() => server.receiveUnmasking({ ...sent, id: 'zoe' })).toThrow(protocol)
        }
        if (name === 'masked input') {
          const input = { id: 'c001', round: 0, values: new Uint8Array(16) }
          expect(() => server.receiveInput({ ...input, id: 'zoe' })).toThrow(protocol)
          expect(() => server.receiveShares({ id: 'c001', round: 0, sealed: [] })).toThrow(outOfStep)
        }
        if (name === 'confirmation') {
          const signature = new Uint8Array(64)
          expect(() => server.receiveConfirmation({ id: 'c001', round: 0, signature })).toThrow(protocol)
        }
      },
    })
    expect(() => cohort.server.finish()).toThrow(outOfStep)
  })
})
