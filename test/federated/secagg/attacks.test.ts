/** A server that does not keep to the protocol, and clients that help it. */
import { describe, expect, it } from 'vitest'
import { keyPairOf } from '../../../src/federated/secagg/agreement.ts'
import { SecAggClient } from '../../../src/federated/secagg/client.ts'
import {
  cohortOf,
  confirm,
  pairMask,
  sealing,
  selfMask,
  signAdvert,
  survivorsParts,
} from '../../../src/federated/secagg/keys.ts'
import { applyMasks } from '../../../src/federated/secagg/masks.ts'
import type {
  Advert,
  Confirmation,
  Delivery,
  MaskedInput,
  MessageName,
  Quorum,
  Roster,
  Survivors,
  Unmasking,
} from '../../../src/federated/secagg/messages.ts'
import { SecAggServer } from '../../../src/federated/secagg/server.ts'
import { checkSettings } from '../../../src/federated/secagg/settings.ts'
import { combine, type Share } from '../../../src/federated/secagg/shamir.ts'
import { fromBytes, toBytes, type Vector, zeros } from '../../../src/federated/secagg/vectors.ts'
import { portableAead } from '../../../src/worker/transport/seal.ts'
import { ByteCounts, byteBound, fromUniform } from '../../reference/chi-square.ts'
import { Cohort, exactSum, range } from './cohort.ts'

const code = (name: string) => expect.objectContaining({ code: name })

/** What passed in a round, by name and client. */
class Seen {
  readonly #messages = new Map<string, object>()
  readonly see = (name: MessageName, client: number, message: object) => {
    this.#messages.set(`${name} ${client}`, message)
  }
  of<T>(name: MessageName, client: number): T {
    return this.#messages.get(`${name} ${client}`) as T
  }
}

/** The cohort of a complete graph, as every client of it names it. */
const cohortName = (cohort: Cohort, roster: Roster) => cohortOf(checkSettings('test', cohort.settings), roster, [])

describe('a server that asks for both shares of a client', () => {
  it('is given one kind by each neighbour, and nothing the second time', () => {
    const cohort = new Cohort(4)
    const seen = new Seen()
    const vectors = cohort.vectors()
    cohort.run({ vectors, see: seen.see, last: new Map([[1, 'shares']]) })
    for (const i of [0, 2, 3]) {
      const { seeds, keys } = seen.of<Unmasking>('unmasking', i)
      expect(seeds.map(({ of }) => of)).toEqual([0, 2, 3])
      expect(keys.map(({ of }) => of)).toEqual([1])
      const [survivors, quorum] = [seen.of<Survivors>('survivors', i), seen.of<Quorum>('quorum', i)]
      const round = cohort.rounds[i]!
      expect(() => round.unmask(quorum)).toThrow(code('ERR_OUT_OF_STEP'))
      expect(() => round.confirm({ ...survivors, survivors: [0, 1, 2, 3] })).toThrow(code('ERR_OUT_OF_STEP'))
    }
  })

  it('is not told of other survivors by a client that has signed some, nor given another vector', () => {
    const cohort = new Cohort(4)
    const seen = new Seen()
    cohort.toInputs({ vectors: cohort.vectors(), see: seen.see })
    const { round } = cohort.server
    const client = cohort.rounds[0]!
    expect(() => client.mask(seen.of<Delivery>('delivery', 0), cohort.vectors()[0]!)).toThrow(code('ERR_OUT_OF_STEP'))
    client.confirm({ round, survivors: [0, 1, 2, 3] })
    expect(() => client.confirm({ round, survivors: [0, 1, 2] })).toThrow(code('ERR_OUT_OF_STEP'))
  })
})

describe('a server that shows different survivors to different clients', () => {
  /** Seven clients, a threshold of five: two may be corrupted, and sign whatever there is to sign. */
  const [N, CORRUPTED] = [7, [5, 6]]

  it.each([0, 2, 3, 4])('never gets shares of both kinds, when %i honest clients are shown others', (others) => {
    const cohort = new Cohort(N)
    const seen = new Seen()
    const signed: Confirmation[] = []
    // Client 0 is said to have survived to some, and to have dropped out to others. It is never among the second.
    const views = [range(N), range(N).slice(1)]
    const viewOf = (client: number) => views[client !== 0 && client > 4 - others ? 1 : 0]!
    cohort.toInputs({ vectors: cohort.vectors(), see: seen.see })
    const { round } = cohort.server
    for (const i of range(5)) signed.push(cohort.rounds[i]!.confirm({ round, survivors: viewOf(i) }))

    const name = cohortName(cohort, seen.of<Roster>('roster', 0))
    const collusion = views.map((view) =>
      CORRUPTED.map((by) => ({ by, signature: confirm(cohort.identities[by]!, survivorsParts(name, range(N), view)) })),
    )
    const kinds = { seeds: 0, keys: 0 }
    for (const i of range(5)) {
      const view = views.indexOf(viewOf(i))
      const honest = signed.map(({ signature }, by) => ({ by, signature })).filter(({ by }) => viewOf(by) === viewOf(i))
      const good = [...honest, ...collusion[view]!]
      // Where they are too few, signatures of the others are all there is.
      const rest = signed.map(({ signature }, by) => ({ by, signature })).filter(({ by }) => viewOf(by) !== viewOf(i))
      const quorum = { round, signatures: [...good, ...rest].slice(0, 5).sort((a, b) => a.by - b.by) }
      try {
        const { seeds, keys } = cohort.rounds[i]!.unmask(quorum)
        kinds.seeds += seeds.filter(({ of }) => of === 0).length
        kinds.keys += keys.filter(({ of }) => of === 0).length
        expect(good.length).toBeGreaterThanOrEqual(5)
      } catch (error) {
        expect(error).toEqual(code('ERR_SPLIT_VIEW'))
        expect(good.length).toBeLessThan(5)
        expect(() => cohort.rounds[i]!.unmask(quorum)).toThrow(code('ERR_OUT_OF_STEP'))
      }
    }
    expect(Math.min(kinds.seeds, kinds.keys)).toBe(0)
    // The honest way gets all of them: what is tested is not that nobody ever answers.
    if (others === 0) expect(kinds.seeds).toBe(5)
  })

  it('cannot make signatures up, use one twice, or take those of clients that are no survivors', () => {
    const cohort = new Cohort(4)
    const tamper = (change: (signatures: Quorum['signatures']) => Quorum['signatures']) => {
      cohort.run({
        vectors: cohort.vectors(),
        tell: (name, to, message: Quorum) =>
          name === 'quorum' && to === 0 ? { ...message, signatures: change([...message.signatures]) } : message,
      })
      return cohort.refused.get(0)
    }
    expect(tamper(([first, ...others]) => [{ ...first!, signature: new Uint8Array(64) }, ...others])).toEqual(
      code('ERR_SPLIT_VIEW'),
    )
    expect(tamper(([first, , third]) => [first!, { ...first!, by: 1 }, third!])).toEqual(code('ERR_SPLIT_VIEW'))
    expect(tamper(([first, , third]) => [first!, first!, third!])).toEqual(code('ERR_PROTOCOL'))
    expect(tamper((all) => all.slice(1))).toEqual(code('ERR_SPLIT_VIEW'))
  })
})

describe('a server that replays a round', () => {
  it('is refused a round that was begun, and any before', () => {
    const cohort = new Cohort(3)
    cohort.run({ vectors: cohort.vectors() })
    for (const client of cohort.clients) expect(() => client.round(0)).toThrow(code('ERR_USED_TWICE'))
    cohort.clients[0]!.round(7)
    expect(() => cohort.clients[0]!.round(6)).toThrow(code('ERR_USED_TWICE'))
  })

  it.each(['roster', 'delivery', 'survivors', 'quorum'] as const)('gets nothing for a %s of before', (name) => {
    const cohort = new Cohort(4)
    const before = new Seen()
    cohort.run({ vectors: cohort.vectors(), see: before.see })
    const replay = (change: (message: { round: number }) => object) =>
      cohort.run({
        vectors: cohort.vectors(),
        tell: (told, to, message) => (told === name && to === 2 ? change(before.of(name, to)) : message),
      })
    // A roster is answered with shares, without which the client is not of the cohort.
    replay((message) => message)
    expect(cohort.refused.get(2)).toEqual(code('ERR_OUT_OF_STEP'))
    const again = cohort.server.round + 1
    replay((message) => ({ ...message, round: again }))
    // Survivors were the same; boxes are opened last, and those of another round do not open.
    if (name === 'roster') expect(cohort.refused.get(2)).toEqual(code('ERR_PROTOCOL'))
    if (name === 'quorum') expect(cohort.refused.get(2)).toEqual(code('ERR_SPLIT_VIEW'))
  })

  it('gets no share out of boxes of before, which do not open', () => {
    const cohort = new Cohort(4)
    const [before, after] = [new Seen(), new Seen()]
    cohort.run({ vectors: cohort.vectors(), see: before.see })
    const vectors = cohort.vectors()
    const { sum } = cohort.run({
      vectors,
      see: after.see,
      tell: (name, to, message) =>
        name === 'delivery' && to === 2 ? { ...before.of<Delivery>('delivery', 2), round: 1 } : message,
    })
    expect(after.of<Unmasking>('unmasking', 2).seeds.map(({ of }) => of)).toEqual([2])
    // Three are left who hold shares, and it takes three.
    expect([...sum].map(BigInt)).toEqual(exactSum(vectors, 32))
  })
})

describe('a server that swaps keys', () => {
  const cohort = new Cohort(4)
  /** Client 0 is shown a roster in which something is changed; everybody else the right one. */
  const showing = (change: (adverts: Advert[], terms: ReturnType<typeof checkSettings>) => Advert[]) => {
    const terms = checkSettings('test', cohort.settings)
    const tell = (name: MessageName, to: number, message: Roster) => {
      if (name !== 'roster' || to !== 0) return message
      const adverts = change([...message.adverts], terms)
      return { ...message, adverts, commitments: adverts.map(({ drawCommitment }) => drawCommitment) }
    }
    cohort.run({ vectors: cohort.vectors(), tell })
    return cohort.refused.get(0)
  }
  const other = Uint8Array.from({ length: 32 }, (_, i) => i + 7)

  it.each(['sealKey', 'maskKey', 'seedCommitment'] as const)('is found out by the signature: another %s', (field) => {
    expect(showing(([a, b, ...rest]) => [a!, { ...b!, [field]: other }, ...rest])).toEqual(code('ERR_IDENTITY'))
  })

  it('is found out when it swaps those of two clients, or signs for one of them', () => {
    expect(showing(([a, b, c, d]) => [a!, { ...b!, maskKey: c!.maskKey }, { ...c!, maskKey: b!.maskKey }, d!])).toEqual(
      code('ERR_IDENTITY'),
    )
    expect(
      showing(([a, b, ...rest], terms) => [
        a!,
        signAdvert(terms, cohort.identities[3]!, { ...b!, maskKey: other }),
        ...rest,
      ]),
    ).toEqual(code('ERR_IDENTITY'))
    // Another session's signature is none here.
    const elsewhere = checkSettings('test', { ...cohort.settings, session: 'another' })
    expect(showing(([a, b, ...rest]) => [a!, signAdvert(elsewhere, cohort.identities[1]!, b!), ...rest])).toEqual(
      code('ERR_IDENTITY'),
    )
  })

  it("is found out when it changes the client's own, or leaves the client out", () => {
    expect(showing(([a, ...rest]) => [{ ...a!, maskKey: other }, ...rest])).toEqual(code('ERR_PROTOCOL'))
    expect(showing(([, ...rest]) => rest)).toEqual(code('ERR_PROTOCOL'))
  })

  it('is found out when a key comes twice, or a client does', () => {
    // The second has signed it, and helps the server: nobody else shall take them for two.
    expect(
      showing(([a, b, c, d], terms) => [
        a!,
        b!,
        signAdvert(terms, cohort.identities[2]!, { ...c!, maskKey: b!.maskKey }),
        d!,
      ]),
    ).toEqual(code('ERR_PROTOCOL'))
    expect(showing(([a, b, c, d]) => [a!, b!, { ...c!, sealKey: b!.maskKey }, d!])).toEqual(code('ERR_PROTOCOL'))
    expect(showing(([a, b, , d]) => [a!, b!, b!, d!])).toEqual(code('ERR_PROTOCOL'))
    expect(showing(([a, b, c, d]) => [a!, c!, b!, d!])).toEqual(code('ERR_PROTOCOL'))
  })

  it('is found out when it makes a client up, or a key of low order', () => {
    expect(showing(([a, b, c, d]) => [a!, b!, c!, { ...d!, id: 'zoe' }])).toEqual(code('ERR_IDENTITY'))
    const low = new Uint8Array(32)
    expect(
      showing(([a, b, c, d], terms) => [a!, b!, c!, signAdvert(terms, cohort.identities[3]!, { ...d!, sealKey: low })]),
    ).toEqual(code('ERR_PROTOCOL'))
  })

  it('takes no advert with a key that is there, of low order, or that its owner has not signed', () => {
    const terms = checkSettings('test', cohort.settings)
    const server = new SecAggServer(cohort.settings, 100)
    const [one, two] = [0, 1].map((i) => cohort.clients[i]!.round(100).advertise()) as [Advert, Advert]
    server.receiveAdvert(one)
    expect(() => server.receiveAdvert(one)).toThrow(code('ERR_OUT_OF_STEP'))
    expect(() => server.receiveAdvert({ ...two, maskKey: other })).toThrow(code('ERR_IDENTITY'))
    const signed = (change: Partial<Advert>) => signAdvert(terms, cohort.identities[1]!, { ...two, ...change })
    expect(() => server.receiveAdvert(signed({ maskKey: one.maskKey }))).toThrow(code('ERR_PROTOCOL'))
    expect(() => server.receiveAdvert(signed({ maskKey: two.sealKey }))).toThrow(code('ERR_PROTOCOL'))
    expect(() => server.receiveAdvert(signed({ maskKey: new Uint8Array(32) }))).toThrow(code('ERR_PROTOCOL'))
    server.receiveAdvert(two)
  })
})

describe('a server that holds a round for too few', () => {
  it('is refused a roster, shares and survivors below the minimum', () => {
    const cohort = new Cohort(6, { minimum: 5 })
    const showing = (name: MessageName, change: (message: never) => unknown) => {
      cohort.run({
        vectors: cohort.vectors(),
        tell: (told, to, message) => (told === name && to === 0 ? change(message) : message),
      })
      return cohort.refused.get(0)
    }
    const few = (roster: Roster) => {
      const adverts = roster.adverts.slice(0, 4)
      return { ...roster, adverts, commitments: roster.commitments.slice(0, 4) }
    }
    expect(showing('roster', few)).toEqual(code('ERR_COHORT'))
    const lonely = ({ sealed, ...rest }: Delivery) => ({ ...rest, sharers: [0, 1, 2, 3], sealed: sealed.slice(0, 3) })
    expect(showing('delivery', lonely)).toEqual(code('ERR_COHORT'))
    expect(showing('survivors', (message: Survivors) => ({ ...message, survivors: [0, 1, 2, 3] }))).toEqual(
      code('ERR_COHORT'),
    )
    // Nor may a client be told of survivors without it, or who gave no shares.
    expect(showing('survivors', (message: Survivors) => ({ ...message, survivors: [1, 2, 3, 4, 5] }))).toEqual(
      code('ERR_PROTOCOL'),
    )
    expect(showing('survivors', (message: Survivors) => ({ ...message, survivors: [...range(6), 9] }))).toEqual(
      code('ERR_PROTOCOL'),
    )
  })

  it('can name no member that is none, and no key that is', () => {
    const { settings, identities } = new Cohort(3)
    expect(() => new SecAggClient('c000', identities[1]!, settings)).toThrow(code('ERR_IDENTITY'))
    for (const wrong of [{ minimum: 1 }, { length: 0 }, { modulus: 16 }, { session: '' }, { members: { a: 'key' } }]) {
      expect(() => new SecAggServer({ ...settings, ...(wrong as object) }, 0)).toThrow(code('ERR_ARGUMENT_VALUE'))
    }
    const twice = { a: identities[0]!.key, b: identities[0]!.key }
    expect(() => new SecAggServer({ ...settings, members: twice }, 0)).toThrow('two members have one key')
  })
})

// What is left of a vector of zeros is the masks: uniform, or known.

/** Whether a test of uniformity finds these vectors out. */
const isFoundOut = (vectors: readonly Vector[]): boolean => {
  const counts = new ByteCounts()
  for (const vector of vectors) counts.add(toBytes(vector))
  return fromUniform(counts) > byteBound
}

/** Removes what `i` added for `other`, by the secret mask key of either. */
function removePair(
  vector: Vector,
  cohort: Uint8Array,
  { adverts }: Roster,
  i: number,
  other: number,
  key: Uint8Array,
  peer: number,
) {
  const agreed = keyPairOf(key).agree(adverts[peer]!.maskKey)!
  const [first, second] = [Math.min(i, other), Math.max(i, other)]
  const mask = [pairMask(agreed, cohort, adverts[first]!, adverts[second]!)]
  applyMasks(vector, i < other ? { subtracted: mask } : { added: mask })
}

describe('a server that says that a client has dropped out whose vector came late', () => {
  it('has the mask key and the vector, and sees noise', () => {
    const cohort = new Cohort(4, { length: 2500 })
    const seen = new Seen()
    const vectors = range(4).map(() => zeros(32, 2500))
    cohort.run({ vectors, see: seen.see, last: new Map([[1, 'shares']]) })
    // Client 1 is late: its vector comes when its mask key was given.
    const roster = seen.of<Roster>('roster', 1)
    const name = cohortName(cohort, roster)
    const late = cohort.rounds[1]!.mask(deliveryTo(seen, 1), vectors[1]!)
    const shares = [0, 2, 3].map((i): Share => {
      const [key] = seen.of<Unmasking>('unmasking', i).keys
      return { point: i + 1, value: key!.share }
    })
    const key = combine(shares)
    expect(key).toEqual(cohort.secrets[1]!.mask)
    const vector = fromBytes(late.values, 32)
    for (const other of [0, 2, 3]) removePair(vector, name, roster, 1, other, key, other)
    expect(isFoundOut([vector])).toBe(false)
    // With the seed as well, it would have had the vector: the test can tell.
    applyMasks(vector, { subtracted: [selfMask(cohort.secrets[1]!.seed, name, roster.adverts[1]!)] })
    expect(vector).toEqual(vectors[1])
    expect(isFoundOut([vector])).toBe(true)
    expect(() => cohort.server.receiveInput(late)).toThrow(code('ERR_OUT_OF_STEP'))
  })

  /** What the server held back from a client that it was to be told. */
  function deliveryTo(seen: Seen, to: number): Delivery {
    const { round, sharers } = seen.of<Delivery>('delivery', 0)
    const sealed = sharers
      .filter((from) => from !== to)
      .map((from) => ({
        from,
        box: seen.of<{ sealed: { to: number; box: Uint8Array }[] }>('shares', from).sealed.find((box) => box.to === to)!
          .box,
      }))
    return { round, sharers, sealed }
  }
})

describe('threshold − 1 clients that help the server', () => {
  const [N, THRESHOLD, LENGTH] = [10, 7, 600]
  const vectors = range(N).map(() => zeros(32, LENGTH))

  /** What colluders have of an honest client: its shares, and its vector without the masks that they know. */
  function view(cohort: Cohort, seen: Seen, colluders: readonly number[], of: number) {
    const roster = seen.of<Roster>('roster', 0)
    const name = cohortName(cohort, roster)
    const [keys, seeds]: [Share[], Share[]] = [[], []]
    const vector = fromBytes(seen.of<MaskedInput>('masked input', of).values.slice(), 32)
    for (const holder of colluders) {
      const { box } = seen.of<Delivery>('delivery', holder).sealed.find(({ from }) => from === of)!
      const agreed = keyPairOf(cohort.secrets[holder]!.seal).agree(roster.adverts[of]!.sealKey)!
      const { key, nonce, associated } = sealing(agreed, name, roster.adverts[of]!, roster.adverts[holder]!)
      const opened = portableAead.decrypt(key, nonce, box, associated)!
      keys.push({ point: holder + 1, value: opened.slice(0, 32) })
      seeds.push({ point: holder + 1, value: opened.slice(32) })
      removePair(vector, name, roster, of, holder, cohort.secrets[holder]!.mask, of)
    }
    return { roster, name, keys, seeds, vector }
  }

  it('have a view that is uniform; one more of them would have the vectors', () => {
    const cohort = new Cohort(N, { length: LENGTH })
    const colluders = range(THRESHOLD - 1)
    const honest = range(N).slice(THRESHOLD - 1)
    const [shares, masked] = [new ByteCounts(), [] as Vector[]]
    for (const _ of range(4)) {
      const seen = new Seen()
      cohort.run({ vectors, see: seen.see })
      for (const of of honest) {
        const { keys, seeds, vector } = view(cohort, seen, colluders, of)
        for (const { value } of [...keys, ...seeds]) shares.add(value)
        masked.push(vector)
        expect(combine(keys)).not.toEqual(cohort.secrets[of]!.mask)
        expect(combine(seeds)).not.toEqual(cohort.secrets[of]!.seed)
      }
    }
    expect(fromUniform(shares)).toBeLessThan(byteBound)
    expect(isFoundOut(masked)).toBe(false)

    const opened: Vector[] = []
    {
      const seen = new Seen()
      cohort.run({ vectors, see: seen.see })
      const more = range(THRESHOLD)
      for (const of of honest.slice(1)) {
        const { roster, name, keys, seeds, vector } = view(cohort, seen, more, of)
        const key = combine(keys)
        for (const other of range(N)) {
          if (other !== of && !more.includes(other)) removePair(vector, name, roster, of, other, key, other)
        }
        applyMasks(vector, { subtracted: [selfMask(combine(seeds), name, roster.adverts[of]!)] })
        opened.push(vector)
      }
    }
    expect(opened[0]).toEqual(vectors[0])
    expect(isFoundOut(opened)).toBe(true)
  })
})

describe('what masks hide', () => {
  const LENGTH = 1600
  const update = Uint32Array.from({ length: LENGTH }, (_, i) => i % 100)
  const minus = (a: Vector, b: Vector): Vector => (a as Uint32Array).map((word, i) => word - Number(b[i]!))
  /** Between the rounds of a client, and between two tensors of a vector: its halves. */
  const betweenRounds = (views: readonly Vector[]) => views.slice(1).map((vector, i) => minus(vector, views[i]!))
  const betweenTensors = (views: readonly Vector[]) =>
    views.map((vector) => minus(vector.subarray(0, LENGTH / 2), vector.subarray(LENGTH / 2)))
  const betweenWeights = (views: readonly Vector[]) => views.map((vector) => minus(vector.subarray(1), vector))

  it('are the differences between rounds, between tensors and between weights: uniform in what the server sees', () => {
    const cohort = new Cohort(3, { length: LENGTH })
    const views: Vector[] = []
    for (const _ of range(3)) {
      const seen = new Seen()
      cohort.run({ vectors: [update, update, update], see: seen.see })
      views.push(fromBytes(seen.of<MaskedInput>('masked input', 0).values, 32))
    }
    expect(isFoundOut(views)).toBe(false)
    expect(isFoundOut(betweenRounds(views))).toBe(false)
    expect(isFoundOut(betweenTensors(views))).toBe(false)
    expect(isFoundOut(betweenWeights(views))).toBe(false)
  })

  /** An update masked otherwise, eight times. */
  const masked = (mask: (vector: Uint32Array, round: number) => void) =>
    range(8).map((round) => {
      const vector = update.slice()
      mask(vector, round)
      return vector
    })
  const random = (n: number) => crypto.getRandomValues(new Uint32Array(n))

  it('are found out where a mask is one number for the whole model, as in PaddleFL', () => {
    const views = masked((vector) => {
      const [number] = random(1)
      for (let i = 0; i < LENGTH; i++) vector[i]! += number!
    })
    expect(isFoundOut(betweenWeights(views))).toBe(true)
    expect(isFoundOut(betweenTensors(views))).toBe(true)
  })

  it('are found out where a mask is used for every tensor, as in Disco, or in every round', () => {
    const reused = random(LENGTH)
    const perTensor = masked((vector) => {
      const mask = random(LENGTH / 2)
      for (let i = 0; i < LENGTH; i++) vector[i]! += mask[i % (LENGTH / 2)]!
    })
    // Each tensor by itself looks as it should.
    expect(isFoundOut(perTensor.map((vector) => vector.subarray(0, LENGTH / 2)))).toBe(false)
    expect(isFoundOut(betweenTensors(perTensor))).toBe(true)
    const perSession = masked((vector) => {
      for (let i = 0; i < LENGTH; i++) vector[i]! += reused[i]!
    })
    expect(isFoundOut(betweenRounds(perSession))).toBe(true)
  })
})
