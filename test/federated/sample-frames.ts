/**
 * A sample of everything that travels in masked sums: a round of four workers, of which one drops out, as one of the
 * others sees it, and one of three that are masked in pairs. What is drawn at random is given here, so that bytes are
 * the same each time. A message that is missing does not compile.
 */
import { vi } from 'vitest'
import { memberOf } from '../../src/federated/masking/member.ts'
import type { MaskMessage, MaskMessages, Step, SumTerms } from '../../src/federated/masking/messages.ts'
import { boundSession } from '../../src/federated/masking/terms.ts'
import type {
  Advert,
  Confirmation,
  Delivery,
  MaskedInput,
  Quorum,
  Reveal,
  Roster,
  Shares,
  Survivors,
  Unmasking,
} from '../../src/federated/secagg/messages.ts'
import type { PairwiseKey } from '../../src/federated/secagg/pairwise.ts'
import { SecAggServer } from '../../src/federated/secagg/server.ts'
import type { SecAggSettings } from '../../src/federated/secagg/settings.ts'
import { Identity, toBase64Url } from '../../src/worker/identity.ts'
import { type Frame, FrameKind } from '../../src/worker/protocol.ts'

export const names = ['alice', 'bob', 'carol', 'dave'] as const
export type Name = (typeof names)[number]
const thirtyTwo = (byte: number): Uint8Array => new Uint8Array(32).fill(byte)
/** The seed of each one's long-term key is 32 times its number, from 1. */
const identities = names.map((_, i) => Identity.fromSecret(`ed25519-secret:${toBase64Url(thirtyTwo(i + 1))}`))
export const sampleKeys: Readonly<Record<Name, string>> = Object.fromEntries(
  names.map((name, i) => [name, identities[i]!.key]),
) as Record<Name, string>

/** Whatever a worker draws 32 bytes of: 32 times 0x10 for the first one's first draw, 0x21 for the second's second, … */
const drawn = new Map<Name, number>(names.map((name, i) => [name, 0x10 * (i + 1)]))
function drawing<T>(name: Name, action: () => T): T {
  const spy = vi.spyOn(globalThis.crypto, 'getRandomValues')
  spy.mockImplementation(<A extends ArrayBufferView>(array: A): A => {
    const next = drawn.get(name)!
    if (array.byteLength === 32) drawn.set(name, next + 1)
    new Uint8Array(array.buffer, array.byteOffset, array.byteLength).fill(next)
    return array
  })
  try {
    return action()
  } finally {
    spy.mockRestore()
  }
}

export const ROUND = 3
/** Q is 7, as is the largest weight: values of 1 and −1 are whole steps whatever the weight, so that nothing is rounded. */
export const sampleTerms = {
  session: 's1',
  scheme: 'secagg',
  members: names,
  weights: [7, 5, 3, 1],
  clip: 1,
  bits: 4,
  hidden: true,
  length: 3,
  modulus: 32,
  minimum: 3,
  corrupted: 0.1,
  dropouts: 0.1,
  server: 'curious',
} as const satisfies SumTerms
const pairTerms = {
  session: 's2',
  scheme: 'pairs',
  members: names.slice(0, 3),
  weights: [1, 1, 1],
  clip: 1,
  bits: 4,
  hidden: false,
  length: 3,
} as const satisfies SumTerms
const { length, modulus, minimum, corrupted, dropouts, server } = sampleTerms
/** What secure aggregation knows of the terms. */
export const sampleSettings: SecAggSettings = {
  session: boundSession(sampleTerms),
  members: sampleKeys,
  ...{ length, modulus, minimum, corrupted, dropouts, server },
}
/** Everybody's. */
const sampleValues = Float32Array.of(1, -1)

type Member = ReturnType<typeof memberOf>
const membersOf = (terms: SumTerms): Map<Name, Member> => {
  const keys = Object.fromEntries(terms.members.map((name) => [name, sampleKeys[name as Name]]))
  return new Map(
    (terms.members as readonly Name[]).map((name, i) => [name, memberOf(name, identities[i]!, terms, keys)]),
  )
}

/** A round, played by the library. */
function playRound() {
  const members = membersOf(sampleTerms)
  const server = new SecAggServer(sampleSettings, ROUND)
  const step = (name: Name, step: Step, message: unknown): unknown =>
    drawing(name, () => members.get(name)!.step(ROUND, step, message))
  const adverts = names.map((name) => step(name, 'advertise', null) as Advert)
  for (const advert of adverts) server.receiveAdvert(advert)
  const roster = server.closeAdverts()
  const shares = names.map((name) => (step(name, 'roster', roster) as { shares: Shares }).shares)
  for (const one of shares) server.receiveShares(one)
  const deliveries = server.closeShares()
  const stay = names.slice(0, 3)
  const vectors = stay.map((name) => members.get(name)!.encode(sampleValues))
  const inputs = stay.map(
    (name, i) => members.get(name)!.mask(ROUND, deliveries.get(name), vectors[i]!.slice()) as MaskedInput,
  )
  for (const input of inputs) server.receiveInput(input)
  const survivors = server.closeInputs()
  const confirmations = stay.map((name) => step(name, 'survivors', survivors) as Confirmation)
  for (const confirmation of confirmations) server.receiveConfirmation(confirmation)
  const quorum = server.closeConfirmations()
  const unmaskings = stay.map((name) => step(name, 'quorum', quorum) as Unmasking)
  for (const unmasking of unmaskings) server.receiveUnmasking(unmasking)
  const delivery = deliveries.get('alice')!
  return {
    adverts,
    roster,
    shares,
    delivery,
    vectors,
    inputs,
    survivors,
    confirmations,
    quorum,
    unmaskings,
    sum: server.finish().sum,
  }
}
export const sampleRound = playRound()

function playPairs() {
  const members = membersOf(pairTerms)
  const keys = [...members].map(
    ([name, member]) => drawing(name, () => member.step(ROUND, 'advertise', null)) as PairwiseKey,
  )
  const alice = members.get('alice')!
  return { keys, masked: alice.mask(ROUND, keys, alice.encode(sampleValues)) as Uint8Array }
}
export const samplePairs = playPairs()

/** One of each message that client and server say to each other; those above 64 clients are made up. */
export const sampleSteps: {
  readonly advert: Advert
  readonly roster: Roster
  readonly reveal: Reveal
  readonly draws: { readonly round: number; readonly attempt: number; readonly draws: Uint8Array[] }
  readonly shares: Shares
  readonly delivery: Delivery
  readonly 'masked input': MaskedInput
  readonly survivors: Survivors
  readonly confirmation: Confirmation
  readonly quorum: Quorum
  readonly unmasking: Unmasking
} = {
  advert: sampleRound.adverts[0]!,
  roster: sampleRound.roster,
  reveal: { id: 'alice', round: ROUND, attempt: 0, draw: thirtyTwo(1), next: thirtyTwo(2) },
  draws: { round: ROUND, attempt: 0, draws: [thirtyTwo(1)] },
  shares: sampleRound.shares[0]!,
  delivery: sampleRound.delivery,
  'masked input': sampleRound.inputs[0]!,
  survivors: sampleRound.survivors,
  confirmation: sampleRound.confirmations[0]!,
  quorum: sampleRound.quorum,
  unmasking: sampleRound.unmaskings[0]!,
}

const at = { session: sampleTerms.session, round: ROUND } as const
const values = { values: ['x'] } as const

/** One body per message. */
export const sampleBodies: { readonly [N in MaskMessage]: MaskMessages[N]['request'] } = {
  maskJoin: sampleTerms,
  maskStep: { ...at, step: 'advertise', message: null },
  maskValues: { ...at, message: sampleRound.delivery, ...values },
  maskLeave: { session: sampleTerms.session },
}

/** The number of the first request: of another session than the samples of secret computation. */
const FIRST = 60
const step = (step: Step, message: unknown) => ['maskStep', { ...at, step, message }] as const
const inPairs = { session: pairTerms.session, round: ROUND } as const
/** Requests in order, each with its answer. */
const requests: readonly (readonly [MaskMessage, object, answer?: unknown])[] = [
  ['maskJoin', sampleBodies.maskJoin],
  [...step('advertise', null), sampleSteps.advert],
  [...step('roster', sampleSteps.roster), { shares: sampleSteps.shares }],
  ['maskValues', sampleBodies.maskValues, sampleSteps['masked input']],
  [...step('survivors', sampleSteps.survivors), sampleSteps.confirmation],
  [...step('quorum', sampleSteps.quorum), sampleSteps.unmasking],
  ['maskLeave', sampleBodies.maskLeave],
  ['maskJoin', pairTerms],
  ['maskStep', { ...inPairs, step: 'advertise', message: null }, samplePairs.keys[0]],
  ['maskValues', { ...inPairs, message: samplePairs.keys, ...values }, samplePairs.masked],
]

/** A request for every message and every step below 65 clients, and the answer to each that is asked. */
export const sampleFrames: readonly Frame[] = requests.flatMap(([name, body, answer], i): Frame[] => [
  [FrameKind.request, FIRST + i, name, body],
  ...(answer === undefined ? [] : ([[FrameKind.reply, FIRST + i, answer]] as Frame[])),
])
