/** Rounds of secure aggregation with honest clients and an honest server, and with clients that drop out. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Graph } from '../../../src/federated/secagg/graph.ts'
import { cohortOf } from '../../../src/federated/secagg/keys.ts'
import type { Confirmation, Draws, Quorum, Roster } from '../../../src/federated/secagg/messages.ts'
import { secAggParameters } from '../../../src/federated/secagg/parameters.ts'
import { checkSettings } from '../../../src/federated/secagg/settings.ts'
import { Cohort, exactSum, type LastSent, nameOf, range } from './cohort.ts'

const cohortError = expect.objectContaining({ code: 'ERR_COHORT' })
/** Clients whose vector is in the sum. */
const inSum: readonly (LastSent | undefined)[] = ['masked input', 'confirmation', undefined]

describe('a round of secure aggregation', () => {
  it.each([32, 64] as const)(
    'gives the exact sum modulo 2^%i, whoever drops out and when, down to the threshold',
    (modulus) => {
      const cohorts = [3, 5, 7].map((n) => new Cohort(n, { modulus, minimum: 2, length: 5 }))
      fc.assert(
        fc.property(fc.nat(2), fc.array(fc.nat(), { minLength: 7, maxLength: 7 }), fc.nat(), (which, picks, count) => {
          const cohort = cohorts[which]!
          const n = cohort.clients.length
          // Whoever does not even advertise makes the round smaller; n is that of those who do.
          const silent = picks[6]! % 2 === 0 && n > 3 ? 1 : 0
          const { threshold } = secAggParameters(n - silent)
          const gone = count % (n - silent - threshold + 1)
          const stages = ['advert', 'shares', 'masked input', 'confirmation'] as const
          const last = new Map<number, LastSent>()
          const clients = range(n).sort((a, b) => picks[a % 6]! - picks[b % 6]!)
          if (silent === 1) last.set(clients[n - 1]!, 'nothing')
          for (const i of range(gone)) last.set(clients[i]!, stages[picks[i]! % 4]!)
          const vectors = cohort.vectors()
          const { sum, survivors, dropped } = cohort.run({ vectors, last })
          expect([...cohort.refused.values()]).toEqual([])
          const summed = range(n).filter((i) => inSum.includes(last.get(i)))
          expect(survivors).toEqual(summed.map(nameOf))
          expect(dropped).toEqual(
            range(n)
              .filter((i) => last.get(i) === 'shares')
              .map(nameOf),
          )
          expect([...sum].map(BigInt)).toEqual(
            exactSum(
              summed.map((i) => vectors[i]!),
              modulus,
            ),
          )
        }),
        { numRuns: 8 },
      )
    },
  )

  it('takes as many streams for a client that dropped out as it has neighbours that are left', () => {
    const cohort = new Cohort(7)
    const last = new Map<number, LastSent>([
      [2, 'shares'],
      [4, 'confirmation'],
    ])
    expect(cohort.run({ vectors: cohort.vectors(), last }).streams).toEqual({ survivors: 6, dropped: 6 })
  })

  it('ends with a clear error when fewer are left than the threshold, reveals nothing, and the next works', () => {
    const cohort = new Cohort(5)
    for (const stage of ['advert', 'shares', 'masked input', 'confirmation'] as const) {
      const last = new Map<number, LastSent>([
        [0, stage],
        [3, stage],
      ])
      const unmasked: unknown[] = []
      const see = (name: string, client: number) => {
        if (name === 'unmasking') unmasked.push(client)
      }
      // Two of five are gone, and it takes four.
      expect(() => cohort.run({ vectors: cohort.vectors(), last, see })).toThrow(cohortError)
      // After confirmations, three give shares, one too few.
      expect(unmasked).toHaveLength(stage === 'confirmation' ? 3 : 0)
      const vectors = cohort.vectors()
      expect([...cohort.run({ vectors }).sum].map(BigInt)).toEqual(exactSum(vectors, 32))
    }
  })

  it('is not held with fewer clients than the minimum, at any step', () => {
    const cohort = new Cohort(6, { minimum: 6 })
    for (const stage of ['nothing', 'advert', 'shares'] as const) {
      expect(() => cohort.run({ vectors: cohort.vectors(), last: new Map([[1, stage]]) })).toThrow(cohortError)
    }
    expect(cohort.run({ vectors: cohort.vectors() }).survivors).toHaveLength(6)
  })
})

describe('a round of 72 clients, each with some neighbours', () => {
  it('gives the exact sum, a draw that was spoilt, and clients dropping out at each step', () => {
    const cohort = new Cohort(72, { length: 3 })
    const { neighbours } = secAggParameters(70)
    expect(neighbours).toBeLessThan(30)
    const last = new Map<number, LastSent>([
      [3, 'nothing'],
      // Its part of the seed does not come: places are dealt again without it.
      [9, 'advert'],
      [17, 'reveal'],
      [31, 'shares'],
      [32, 'shares'],
      [60, 'masked input'],
      [71, 'confirmation'],
    ])
    const vectors = cohort.vectors()
    const rosters: Roster[] = []
    const confirmations = new Map<number, Confirmation>()
    let draws: Draws | undefined
    const see = (name: string, client: number, message: object) => {
      if (name === 'roster' && client === 0) rosters.push(message as Roster)
      if (name === 'draws') draws = message as Draws
      if (name === 'confirmation') confirmations.set(client, message as Confirmation)
    }
    // Client 5 is shown the signature of one that is no witness in place of a witness's.
    const graphOf = (roster: Roster) =>
      new Graph(secAggParameters(70), cohortOf(checkSettings('test', cohort.settings), roster, draws!.draws))
    const tell = (name: string, to: number, message: Quorum) => {
      if (name !== 'quorum' || to !== 5) return message
      const { adverts } = rosters[1]!
      const graph = graphOf(rosters[1]!)
      const by = range(70).find((i) => !graph.isWitness(i) && confirmations.has(Number(adverts[i]!.id.slice(1))))!
      const { signature } = confirmations.get(Number(adverts[by]!.id.slice(1)))!
      const signatures = [...message.signatures.slice(1), { by, signature }].sort((a, b) => a.by - b.by)
      return { ...message, signatures }
    }
    const { sum, survivors, dropped, streams } = cohort.run({ vectors, last, see, tell })
    expect(rosters).toHaveLength(2)
    expect([...cohort.refused]).toEqual([[5, expect.objectContaining({ code: 'ERR_SPLIT_VIEW' })]])
    const summed = range(72).filter((i) => inSum.includes(last.get(i)))
    expect(survivors).toEqual(summed.map(nameOf))
    expect(dropped).toEqual([31, 32].map(nameOf))
    expect([...sum].map(BigInt)).toEqual(
      exactSum(
        summed.map((i) => vectors[i]!),
        32,
      ),
    )
    expect(streams.survivors).toBe(summed.length)
    expect(streams.dropped).toBeLessThanOrEqual(2 * neighbours)
    expect(streams.dropped).toBeGreaterThan(neighbours)
  })
})
