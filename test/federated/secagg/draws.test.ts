/** Places above 64 clients: nobody chooses the seed, and whoever holds back their part spoils a draw, and no more. */
import { beforeAll, describe, expect, it } from 'vitest'
import type { ClientRound } from '../../../src/federated/secagg/client.ts'
import { Graph } from '../../../src/federated/secagg/graph.ts'
import type { Draws, Roster } from '../../../src/federated/secagg/messages.ts'
import { DRAWS, secAggParameters } from '../../../src/federated/secagg/parameters.ts'
import { SecAggServer } from '../../../src/federated/secagg/server.ts'
import { randomSeed } from '../../../src/smpc/prg.ts'
import { CHANCE, criticalValue } from '../../reference/chi-square.ts'
import { Cohort, nameOf, range } from './cohort.ts'

const N = 68
const code = (name: string) => expect.objectContaining({ code: name })
let cohort: Cohort
beforeAll(() => {
  cohort = new Cohort(N)
})

let round = 0
/** All have advertised, and the roster is there. */
function begun(): { server: SecAggServer; clients: ClientRound[]; roster: Roster } {
  const server = new SecAggServer(cohort.settings, ++round)
  const clients = cohort.clients.map((client) => client.round(round))
  for (const client of clients) server.receiveAdvert(client.advertise())
  return { server, clients, roster: server.closeAdverts() }
}
/** Those clients show their parts. */
function reveal(server: SecAggServer, clients: readonly ClientRound[], roster: Roster): void {
  for (const client of clients) {
    const reply = client.receiveRoster(roster)
    if ('reveal' in reply) server.receiveReveal(reply.reveal)
  }
}

describe('the seed of places', () => {
  it('is refused by server and clients when a part is not what was committed to, or is missing', () => {
    const { server, clients, roster } = begun()
    const first = clients[0]!.receiveRoster(roster) as { reveal: Parameters<SecAggServer['receiveReveal']>[0] }
    expect(() => server.receiveReveal({ ...first.reveal, draw: randomSeed() })).toThrow(code('ERR_PROTOCOL'))
    expect(() => server.receiveReveal({ ...first.reveal, id: nameOf(1) })).toThrow(code('ERR_PROTOCOL'))
    expect(() => server.receiveReveal({ ...first.reveal, attempt: 1 })).toThrow(code('ERR_PROTOCOL'))
    server.receiveReveal(first.reveal)
    expect(() => server.receiveReveal(first.reveal)).toThrow(code('ERR_OUT_OF_STEP'))
    reveal(server, clients.slice(1), roster)
    const reply = server.closeReveals() as { draws: Draws }
    const wrong = [
      { ...reply.draws, draws: reply.draws.draws.map((draw, i) => (i === 9 ? randomSeed() : draw)) },
      { ...reply.draws, draws: reply.draws.draws.slice(1) },
      { ...reply.draws, draws: [...reply.draws.draws].reverse() },
      { ...reply.draws, attempt: 1 },
    ]
    for (const [i, message] of wrong.entries()) {
      expect(() => clients[i]!.receiveDraws(message)).toThrow(code('ERR_PROTOCOL'))
      // It gave its shares to nobody, and answers nothing more.
      expect(() => clients[i]!.receiveDraws(reply.draws)).toThrow(code('ERR_OUT_OF_STEP'))
    }
    const { sealed } = clients[20]!.receiveDraws(reply.draws)
    expect(sealed).toHaveLength(secAggParameters(N).neighbours)
  })

  it('is drawn again without those who held theirs back, and not for ever', () => {
    const { server, clients, roster } = begun()
    let current = roster
    for (const attempt of range(DRAWS)) {
      const left = clients.slice(0, N - attempt)
      expect(current.attempt).toBe(attempt)
      expect(current.adverts.map(({ id }) => id)).toEqual(left.map(({ id }) => id))
      reveal(server, left.slice(0, -1), current)
      if (attempt === DRAWS - 1) break
      current = (server.closeReveals() as { roster: Roster }).roster
    }
    expect(() => server.closeReveals()).toThrow(code('ERR_COHORT'))
  })

  it('is not drawn again with another commitment, with a client that was not there, or a draw left out', () => {
    const { server, clients, roster } = begun()
    const without = { ...roster, adverts: roster.adverts.slice(0, -1), commitments: roster.commitments.slice(0, -1) }
    // A first roster is the first.
    expect(() => clients[0]!.receiveRoster({ ...roster, attempt: 1 })).toThrow(code('ERR_PROTOCOL'))
    reveal(server, clients.slice(1, 6), without)
    reveal(server, clients.slice(6, -1), roster)
    const again = (server.closeReveals() as { roster: Roster }).roster
    const own = [...again.commitments]
    own[again.adverts.findIndex(({ id }) => id === nameOf(7))] = randomSeed()
    expect(() => clients[7]!.receiveRoster({ ...again, commitments: own })).toThrow(code('ERR_PROTOCOL'))
    expect(() => clients[8]!.receiveRoster({ ...again, attempt: 2 })).toThrow(code('ERR_PROTOCOL'))
    const replaced = { ...again, adverts: [...again.adverts.slice(0, -1), roster.adverts.at(-1)!] }
    expect(() => clients[2]!.receiveRoster(replaced)).toThrow(code('ERR_PROTOCOL'))
    expect(clients[9]!.receiveRoster(again)).toHaveProperty('reveal')
  })

  it('gives every client every place as often', () => {
    const parameters = secAggParameters(N)
    const counts = new Float64Array(N)
    const times = 20 * N
    for (const _ of range(times)) counts[new Graph(parameters, randomSeed()).ring.indexOf(3)]!++
    const statistic = counts.reduce((sum, count) => sum + (count - 20) ** 2 / 20, 0)
    expect(statistic).toBeLessThan(criticalValue(CHANCE, N - 1))
  })
})
