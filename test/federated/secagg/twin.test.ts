/** A client written from PROTOCOL.md alone, among those of the library; and in the round that the page shows. */
import { describe, expect, it } from 'vitest'
import { type ClientRound, SecAggClient } from '../../../src/federated/secagg/client.ts'
import { Graph } from '../../../src/federated/secagg/graph.ts'
import type { Shares, Unmasking } from '../../../src/federated/secagg/messages.ts'
import { secAggParameters } from '../../../src/federated/secagg/parameters.ts'
import { SecAggServer } from '../../../src/federated/secagg/server.ts'
import { combine } from '../../../src/federated/secagg/shamir.ts'
import { Identity } from '../../../src/worker/identity.ts'
import { golden, hexOf, rowsOf } from '../../protocol-page.ts'
import { graphOf, placesOf } from '../../reference/secagg-graph.ts'
import {
  hash,
  keyOf,
  maskOf,
  secretOf,
  sessionName,
  shareAt,
  type TwinJoin,
  TwinRound,
  type TwinTerms,
  transcript,
  wordsOf,
} from '../../reference/secagg-twin.ts'
import { exactSum, nameOf, range } from './cohort.ts'

const LENGTH = 20
/** Long enough for carries in every byte. */
const vectors = (n: number): Uint32Array[] =>
  range(n).map(() => globalThis.crypto.getRandomValues(new Uint32Array(LENGTH)))
const defaults = { corrupted: 0.1, dropouts: 0.1, server: 'curious' } as const

type Client = Pick<ClientRound, 'advertise' | 'receiveRoster' | 'mask' | 'confirm' | 'unmask'>

/** A round of n, one of them the twin; clients that drop out give shares and no vector. */
function play(n: number, twin: number, dropped: readonly number[], given: readonly Uint32Array[], tamper = false) {
  const longTerm = globalThis.crypto.getRandomValues(new Uint8Array(32))
  const identities = range(n).map(() => Identity.generate())
  const keys = identities.map(({ key }, i) => (i === twin ? keyOf(longTerm) : key))
  const members = Object.fromEntries(keys.map((key, i) => [nameOf(i), key]))
  const settings = { session: crypto.randomUUID(), members, length: LENGTH, minimum: 3 }
  const server = new SecAggServer(settings, 5)
  const clients = range(n).map((i): Client => {
    if (i !== twin) return new SecAggClient(nameOf(i), identities[i]!, settings).round(5)
    return new TwinRound(nameOf(i), longTerm, { ...settings, ...defaults }, 5) as Client
  })
  for (const client of clients) server.receiveAdvert(client.advertise())
  const roster = server.closeAdverts()
  const shares = clients.map((client) => (client.receiveRoster(roster) as { shares: Shares }).shares)
  // A share of the twin that does not open: it is passed over.
  if (tamper) shares[twin]!.sealed[0]!.box[3]! ^= 1
  for (const one of shares) server.receiveShares(one)
  const deliveries = server.closeShares()
  const left = clients.flatMap((client, i) => (dropped.includes(i) ? [] : [{ client, i }]))
  for (const { client, i } of left) server.receiveInput(client.mask(deliveries.get(nameOf(i))!, given[i]!))
  const survivors = server.closeInputs()
  for (const { client } of left) server.receiveConfirmation(client.confirm(survivors))
  const quorum = server.closeConfirmations()
  const unmaskings = left.map(({ client }): Unmasking => client.unmask(quorum))
  for (const unmasking of unmaskings) server.receiveUnmasking(unmasking)
  return { ...server.finish(), unmaskings }
}

describe('a client written from PROTOCOL.md', () => {
  it.each([
    [3, 0, []],
    [4, 1, [3]],
    [4, 3, [0]],
    // Nobody hears of the twin's own vector.
    [5, 2, [2]],
  ])('adds up exactly in a round of %i, as number %i, where %j drop out', (n, twin, dropped) => {
    const given = vectors(n)
    const { sum, survivors } = play(n, twin, dropped, given)
    const kept = given.filter((_, i) => !dropped.includes(i))
    expect([...sum].map(BigInt)).toEqual(exactSum(kept, 32))
    expect(survivors).toEqual(
      range(n)
        .filter((i) => !dropped.includes(i))
        .map(nameOf),
    )
  })

  it('has shares of every other client, and others have its', () => {
    // All but the one that is spoilt here, which its receiver passes over.
    const { unmaskings } = play(5, 1, [], vectors(5), true)
    const seeds = unmaskings.map((unmasking) => unmasking.seeds.map(({ of }) => of))
    expect(seeds).toEqual([[0, 2, 3, 4], ...range(4).map(() => range(5))])
  })
})

/** What the page shows under a number: a request's step, or an answer. */
const shown = (kind: number, seq: number): never =>
  golden.find(({ frame }) => frame[0] === kind && frame[1] === seq)!.frame.at(-1) as never
const messageOf = (seq: number): never => (shown(1, seq) as { message: never }).message
const bytes = (byte: number): Uint8Array => new Uint8Array(32).fill(byte)
const values = new Map(rowsOf('Values of the round that is shown'))

describe('the round that PROTOCOL.md shows', () => {
  const longTerms = { alice: 1, bob: 2, carol: 3, dave: 4 }
  const join = shown(1, 60) as TwinJoin & Omit<TwinTerms, 'session' | 'members'>
  const terms = {
    ...join,
    session: sessionName(join),
    members: Object.fromEntries(Object.entries(longTerms).map(([name, byte]) => [name, keyOf(bytes(byte))])),
  }
  const { round } = shown(1, 61) as { round: number }
  const secrets = (first: number) => ({
    seal: bytes(first),
    mask: bytes(first + 1),
    seed: bytes(first + 2),
    draw: bytes(first + 3),
  })

  it('is what a client of the page’s own says in it, wherever nothing more is drawn', () => {
    const alice = new TwinRound('alice', bytes(1), terms, round, secrets(0x10))
    expect(alice.advertise()).toEqual(shown(2, 61))
    const { shares } = alice.receiveRoster(messageOf(62))
    const theirs = (shown(2, 62) as { shares: typeof shares }).shares
    expect(shares.sealed.map(({ to, box }) => [to, box.length])).toEqual(
      theirs.sealed.map(({ to, box }) => [to, box.length]),
    )
    const words = wordsOf([1, -1], 'alice', join)
    expect(hexOf(new Uint8Array(words.buffer))).toBe(values.get('vector of alice'))
    expect(alice.mask(messageOf(63), words)).toEqual(shown(2, 63))
    expect(alice.confirm(messageOf(64))).toEqual(shown(2, 64))
    const { seeds, keys } = alice.unmask(messageOf(65))
    const { seeds: theirSeeds, keys: theirKeys } = shown(2, 65) as { seeds: typeof seeds; keys: typeof keys }
    expect(keys).toEqual(theirKeys)
    // The first is of the polynomials that this client has drawn for itself.
    expect(seeds.slice(1)).toEqual(theirSeeds.slice(1))
    expect([seeds[0]!.of, theirSeeds[0]!.of]).toEqual([0, 0])
  })

  it('shares secrets so that they are put together again', () => {
    const coefficients = range(3).map(() => globalThis.crypto.getRandomValues(new Uint8Array(32)))
    const shares = [7, 65_535, 300].map((point) => ({ point, value: shareAt(point, coefficients) }))
    expect(secretOf(shares)).toEqual(coefficients[0])
    expect(combine(shares)).toEqual(coefficients[0])
  })

  it('has the values that the page gives', () => {
    expect(terms.session).toBe(`s1 ${values.get('hash in the name of the session')}`)
    expect(hexOf(transcript('l', 'a', 3, Uint8Array.of(1, 2)))).toBe(
      values.get('transcript of "a", 3 and the bytes 01 02, under the label "l"'),
    )
    expect(hexOf(hash('sotto secagg 1: seed', bytes(0x12)))).toBe(values.get('seed commitment of alice'))
    const key = Buffer.from(values.get('key of the mask of alice and bob')!, 'hex')
    expect(hexOf(new Uint8Array(maskOf(key, 4).buffer))).toBe(values.get('the first 16 bytes of that mask'))
    const shares = [1, 2, 5].map((point, i) => ({ point, value: bytes(i + 1) }))
    expect(hexOf(secretOf(shares))).toBe(values.get('secret with the shares 32 times 01 at point 1, 02 at 2, 03 at 5'))
  })
})

describe('the graph that PROTOCOL.md describes', () => {
  it.each(rowsOf('Graph'))(
    'of %s clients has the neighbours, threshold and witnesses that stand there',
    (name, rest) => {
      const [clients, ...trust] = name.split(', ')
      const said = Object.fromEntries(trust.map((one) => one.split(' '))) as Record<string, string | undefined>
      const { corrupted = 0.1, dropouts = 0.1, server } = said
      expect(graphOf(Number(clients), Number(corrupted), Number(dropouts), server)?.join(' | ')).toBe(rest)
    },
  )

  it('has the parameters of the library, where there are any', () => {
    let found = 0
    for (const [n, corrupted, dropouts, server] of [
      [30, 0.2, 0.33, 'curious'],
      [30, 0.34, 0.1, 'curious'],
      [70, 0, 0, 'curious'],
      [90, 0.2, 0.02, 'curious'],
      [120, 0.05, 0.05, 'active'],
      [66, 0.4, 0.4, 'curious'],
    ] as const) {
      const trust = { corrupted, dropouts, server }
      const expected = graphOf(n, corrupted, dropouts, server)
      if (expected === undefined) expect(() => secAggParameters(n, trust)).toThrow('no number of neighbours')
      else {
        const { neighbours, threshold, spread, witnesses, quorum } = secAggParameters(n, trust)
        expect([n, neighbours, threshold, spread, witnesses, quorum]).toEqual([n, ...expected])
        found++
      }
    }
    expect(found).toBeGreaterThan(2)
  })

  it('deals places to clients as the library does', () => {
    expect(placesOf(65, bytes(1)).slice(0, 8).join(', ')).toBe(
      values.get('clients at the first 8 places of 65, in a cohort of 32 bytes 01'),
    )
    for (const n of [65, 100, 257]) {
      const cohort = globalThis.crypto.getRandomValues(new Uint8Array(32))
      expect([...new Graph(secAggParameters(n), cohort).ring]).toEqual(placesOf(n, cohort))
    }
  })
})
