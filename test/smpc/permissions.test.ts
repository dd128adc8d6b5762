/**
 * A private value and secret computation: who may share it, among whom, and for whom the secret may be opened. Identities
 * as in the tests of the worker: owner's is the value, dave is named in `allow`, rita in `allowResults`, mallory nowhere.
 * The owner names alice, jane and carol in `allowShares`; the value is on bob.
 */
import { inspect } from 'node:util'
import {
  type Code,
  FixedPrecisionPointer,
  fixPrecision,
  isSottoError,
  type LedgerEntry,
  PointerTensor,
  type SendOptions,
  SharedTensor,
  type SottoErrorLike,
  send,
  share,
  sumOf,
  tf,
  VirtualWorker,
  whoSawWhat,
} from 'sotto'
import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import { INTEGER } from '../../src/smpc/encoding.ts'
import { tellSecret } from '../../src/smpc/group.ts'
import type { Frame } from '../../src/worker/protocol.ts'
import { readyForTest } from '../backend.ts'

/** Exact in float32 and in fixed precision, and its digits appear nowhere by chance. */
const SECRET = 31415.5
/** Its digits, and not those of a random id. */
const DIGITS = /(?<![\da-f-])31415(?![\da-f])/
const VALUES = [SECRET, 2, 3]
const UNIT = 2 ** -16
/** As float32, as a ring element at scale 2^16, and as an integer there. */
const FORMS = [
  new Uint8Array(new Float32Array([SECRET]).buffer),
  new Uint8Array(BigUint64Array.of(BigInt(SECRET / UNIT)).buffer),
]

beforeAll(readyForTest)

const open: VirtualWorker[] = []
afterEach(async () => {
  for (const worker of open.splice(0)) await worker.close()
})

/** Whether the secret stands anywhere in something that was said: in binary, in text or as a number. */
function tells(value: unknown): boolean {
  if (typeof value === 'string') return DIGITS.test(value)
  if (typeof value === 'number') return Math.abs(value) === SECRET || value === SECRET / UNIT
  if (value instanceof Uint8Array) {
    return FORMS.some((form) => value.some((_, at) => form.every((byte, i) => value[at + i] === byte)))
  }
  if (value instanceof Error) return tells([value.message, value.stack, { ...value }, value.cause])
  return typeof value === 'object' && value !== null && Object.values(value).some(tells)
}

async function failureOf(action: Promise<unknown> | (() => unknown)): Promise<SottoErrorLike> {
  try {
    await (typeof action === 'function' ? action() : action)
  } catch (error) {
    expect(isSottoError(error), String(error)).toBe(true)
    expect(tells(error)).toBe(false)
    return error as SottoErrorLike
  }
  throw new Error('it was to fail, and did not')
}
const expectCode = async (action: Promise<unknown> | (() => unknown), code: Code): Promise<void> => {
  const { code: found, message } = await failureOf(action)
  expect([found, message]).toEqual([code, message])
}
/** What belongs to another session, which has not published it, is refused whatever its policies say. */
const FOREIGN = 'belongs to another session'
/** Refused because of who asks, and not because of the session. */
const expectRefused = async (action: Promise<unknown> | (() => unknown)): Promise<void> => {
  const { code, message } = await failureOf(action)
  expect([code, message]).toEqual(['ERR_PERMISSION', expect.not.stringContaining(FOREIGN)])
}
const expectForeign = async (action: Promise<unknown> | (() => unknown)): Promise<void> => {
  expect(await failureOf(action)).toMatchObject({ code: 'ERR_PERMISSION', message: expect.stringContaining(FOREIGN) })
}
/** Everybody who has a session here. */
const IDENTITIES = ['owner', 'dave', 'rita', 'mallory'] as const

const values = async (tensor: Promise<tf.Tensor> | tf.Tensor): Promise<number[]> => [...(await tensor).dataSync()]
const at = (location: VirtualWorker, { id, shape, dtype }: PointerTensor): PointerTensor =>
  new PointerTensor({ location, id, spec: { shape, dtype }, owns: false, stays: true })
const rowsOf = async (worker: VirtualWorker, event: LedgerEntry['event']): Promise<LedgerEntry[]> =>
  (await worker.ledger()).filter((row) => row.event === event)
/** The rows of a table, their cells with commas between. */
const rowsIn = (table: string): string[] =>
  table.split('\n').map((line) =>
    line
      .split('│')
      .map((cell) => cell.trim())
      .filter(Boolean)
      .join(', '),
  )
const row = (entry: Partial<LedgerEntry>) => expect.objectContaining(entry)

describe.each([{ codec: false }, { codec: true }])('a private value, codec: $codec', ({ codec }) => {
  /** Frames since the world was made: everything that anybody was told. */
  let heard: Frame[] = []
  const worker = (id: string, identity = 'owner'): VirtualWorker => {
    const made = new VirtualWorker(id, {
      codec,
      identity,
      fault: (frame) => {
        heard.push(frame)
        return undefined
      },
    })
    open.push(made)
    return made
  }

  interface Cast {
    readonly bob: VirtualWorker
    readonly alice: VirtualWorker
    readonly jane: VirtualWorker
    readonly carol: VirtualWorker
    readonly x: PointerTensor
  }
  const NAMED: SendOptions = {
    private: true,
    allow: ['dave'],
    allowResults: ['rita'],
    allowShares: ['alice', 'jane', 'carol'],
    tags: ['#x'],
  }
  const world = (options: SendOptions = NAMED, { introduces = true } = {}): Cast => {
    const [bob, alice, jane, carol] = ['bob', 'alice', 'jane', 'carol'].map((id) => worker(id)) as [
      VirtualWorker,
      VirtualWorker,
      VirtualWorker,
      VirtualWorker,
    ]
    if (introduces) bob.addWorkers([alice, jane, carol])
    const x = send(tf.tensor(VALUES), bob, options)
    heard = []
    return { bob, alice, jane, carol, x }
  }
  const partiesAs = ({ bob, alice, jane }: Cast, identity: string) => [bob, alice, jane].map((one) => one.as(identity))
  /** Somebody fixes the value and shares it among bob, alice and jane, with carol as provider. */
  const sharedBy = (cast: Cast, identity: string): SharedTensor => {
    const found = at(cast.bob.as(identity), cast.x)
    return share(fixPrecision(found), partiesAs(cast, identity), { provider: cast.carol.as(identity) })
  }
  const expectNobodyHasShares = async ({ bob, alice, jane, carol }: Cast): Promise<void> => {
    for (const each of [bob, alice, jane, carol]) {
      for (const identity of IDENTITIES) {
        const kinds = (await each.as(identity).objects()).map(({ kind }) => kind)
        expect([each.id, identity, kinds.filter((kind) => kind === 'share')]).toEqual([each.id, identity, []])
      }
    }
    expect(heard.filter((frame) => frame[2] === 'deposit' && JSON.stringify(frame).includes('"share"'))).toEqual([])
  }

  it('is found in a frame by the check that looks for it, as a float and as a ring element', async () => {
    const { x } = world()
    expect(heard.some(tells)).toBe(false)
    await x.fetch()
    expect(heard.some(tells)).toBe(true)
    heard = []
    await fixPrecision(x).fetch()
    expect(heard.some(tells)).toBe(true)
  })

  describe('is shared', () => {
    it('among the workers that its owner named and introduced, whoever asks; nobody sees it', async () => {
      const cast = world()
      const secrets = IDENTITIES.map((identity) => sharedBy(cast, identity))
      for (const secret of secrets) await secret.add(1).group.stats()
      for (const each of [cast.bob, cast.alice, cast.jane]) {
        for (const identity of IDENTITIES) {
          await each.as(identity).flush()
          const kinds = (await each.as(identity).objects()).map(({ kind }) => kind)
          expect([each.id, identity, kinds]).toEqual([each.id, identity, expect.arrayContaining(['share'])])
        }
      }
      expect(heard.some(tells)).toBe(false)
      const shared = { event: 'shared', operation: 'share', from: 'bob', to: 'bob + alice + jane', bytes: 0 } as const
      const rows = IDENTITIES.map((who) => row({ ...shared, shape: [3], why: `asked by ${who}; provider carol` }))
      expect(await rowsOf(cast.bob, 'shared')).toEqual(rows)
      for (const each of [cast.alice, cast.jane, cast.carol]) expect(await each.ledger()).toEqual([])
      const table = await whoSawWhat([cast.bob, cast.alice, cast.jane, cast.carol], { print: () => undefined })
      expect(rowsIn(table)).toContain(
        'bob + alice + jane, nothing of float32 [3], bob, share, asked by mallory; provider carol, 1, 0',
      )
    })

    it('with the tags that it has in the ledger, when it is shared as it is', async () => {
      const { bob, alice, jane, carol } = world()
      const whole = send(tf.tensor([7, 8], [2], 'int32'), bob, { ...NAMED, tags: ['#whole'] })
      await share(whole, [alice, jane], { provider: carol }).reveal()
      expect(await rowsOf(bob, 'shared')).toEqual([
        row({ tags: ['#whole'], dtype: 'int32', to: 'alice + jane', why: 'asked by owner; provider carol' }),
      ])
      await share(whole, [alice, jane]).reveal()
      expect((await rowsOf(bob, 'shared')).at(-1)).toMatchObject({ why: 'asked by owner; no provider' })
    })

    it.each<[what: string, options: SendOptions, introduces: boolean]>([
      ['where its owner named nobody', { ...NAMED, allowShares: [] }, true],
      ['where its owner did not name one of the parties', { ...NAMED, allowShares: ['alice', 'carol'] }, true],
      ['where its owner did not name the provider', { ...NAMED, allowShares: ['alice', 'jane'] }, true],
      ['where its owner named them and never introduced them', NAMED, false],
      [
        'where they may see it in clear, and may not have shares',
        { private: true, allow: ['alice', 'jane', 'carol'], tags: ['#x'] },
        true,
      ],
    ])('not %s; then nobody gets a share', async (_, options, introduces) => {
      const cast = world(options, { introduces })
      // The owner's own sessions introduce whom they share with.
      for (const identity of introduces ? ['mallory', 'rita', 'dave', 'owner'] : ['mallory', 'rita', 'dave']) {
        const secret = sharedBy(cast, identity)
        await expectRefused(secret.reveal())
        await expectRefused(secret.get())
        await expectRefused(secret.mul(secret).reveal())
        await expectRefused(secret.revealTo(cast.alice.as(identity)).get())
        expect((await rowsOf(cast.bob, 'refused')).at(-1)).toMatchObject({
          operation: 'share',
          from: 'bob',
          to: 'bob + alice + jane',
          why: `asked by ${identity}`,
          shape: [3],
          bytes: 0,
        })
      }
      expect(await rowsOf(cast.bob, 'shared')).toEqual([])
      await expectNobodyHasShares(cast)
      expect(heard.some(tells)).toBe(false)
      const { message } = await failureOf(sharedBy(cast, 'mallory').reveal())
      expect(message).toContain("allowShares: ['alice', 'jane', 'carol']")
      expect(message).toContain('addWorkers')
    })

    it.each([
      ['alice', ['bob', 'eve', 'jane'], 'carol'],
      ['carol', ['bob', 'alice', 'jane'], 'eve'],
    ])('not with a worker of a stranger by the name of %s, whom its owner trusts', async (name, parties, provider) => {
      const cast = world()
      const impostor = worker(name, 'mallory')
      const who = (id: string) => (id === 'eve' ? impostor : cast[id as 'bob']).as('mallory')
      const found = at(cast.bob.as('mallory'), cast.x)
      const secret = share(fixPrecision(found), parties.map(who), { provider: who(provider) })
      await expectRefused(secret.reveal())
      await expectNobodyHasShares(cast)
      expect(heard.some(tells)).toBe(false)
    })

    it('not to a party that was told of other workers under the names of the others', async () => {
      const cast = world()
      const { bob, alice, jane, carol, x } = cast
      const [atBob, atAlice] = [bob.as('mallory'), alice.as('mallory')]
      // Bob hears of the true alice, jane and carol, and may send them shares.
      for (const one of [alice, jane, carol]) atBob.reach(one.as('mallory'))
      const fixed = fixPrecision(at(atBob, x))
      const to = ['alice', 'jane'].map((name) => ({ name, key: `key-of-${name}` }))
      const { id, encoding } = fixed
      tellSecret(atBob, 'secretShare', { group: 'g', protocol: 'additive', id, encoding, to, provider: 'carol' })
      // Alice hears of mallory's jane and carol: who deals her masks and sees what she masks knows her share. And jane
      // could be told of a false alice.
      for (const fake of [worker('jane', 'mallory'), worker('carol', 'mallory')]) atAlice.reach(fake)
      atAlice.reach(atBob)
      const members = { group: 'g', parties: ['alice', 'jane'], provider: 'carol', ring: 64 } as const
      tellSecret(atAlice, 'secretJoin', { ...members, protocol: 'additive', index: 0 })
      tellSecret(atAlice, 'secretTake', { group: 'g', from: 'bob', key: 'key-of-alice', out: 'taken', shape: [3] })
      await expectRefused(atAlice.flush())
      expect((await alice.objects()).filter(({ kind }) => kind === 'share')).toEqual([])
    })
  })

  describe('is opened', () => {
    const opened = (to: string, entry: Partial<LedgerEntry> = {}): unknown =>
      row({ event: 'opened', operation: 'reveal', from: 'bob + alice + jane', to, shape: [3], bytes: 12, ...entry })

    it('to its owner and to one who is named, and to nobody else', async () => {
      const cast = world()
      for (const identity of ['owner', 'dave']) {
        expect(await values(sharedBy(cast, identity).reveal())).toEqual(VALUES)
        expect(await values((await sharedBy(cast, identity).get()).floatPrecision())).toEqual(VALUES)
      }
      for (const identity of ['rita', 'mallory']) {
        await expectRefused(sharedBy(cast, identity).reveal())
        await expectRefused(sharedBy(cast, identity).get())
      }
      for (const each of [cast.bob, cast.alice, cast.jane]) {
        expect(await rowsOf(each, 'opened')).toEqual([
          opened('owner', { why: 'asked by owner, allowed by owner', count: 2, bytes: 24 }),
          opened('dave', { why: 'asked by dave, allowed by owner', count: 2, bytes: 24 }),
        ])
        expect(await rowsOf(each, 'refused')).toEqual(
          ['rita', 'mallory'].map((to) =>
            row({ operation: 'reveal', to, why: `asked by ${to}`, shape: [3], bytes: 0, count: 2 }),
          ),
        )
      }
      expect(await cast.carol.ledger()).toEqual([])
    })

    it('once in the table of who saw what, whoever of the parties is asked', async () => {
      const cast = world()
      await sharedBy(cast, 'owner').reveal()
      const { bob, alice, jane, carol } = cast
      for (const list of [[bob, alice, jane, carol], [jane, bob], [alice]]) {
        const table = await whoSawWhat(list, { print: () => undefined })
        const opening = 'owner, float32 [3], bob + alice + jane, reveal, asked by owner, allowed by owner, 1, 12'
        expect(rowsIn(table).filter((text) => text.includes('reveal'))).toEqual([opening])
        expect(tells(table)).toBe(false)
      }
    })

    it.each<[what: string, of: (x: SharedTensor, mine: SharedTensor) => SharedTensor]>([
      ['the same in other shares', (x) => x.refresh()],
      ['a part of it', (x) => x.slice([0], [1])],
      ['the same in another shape', (x) => x.reshape([3, 1])],
      ['a multiple', (x) => x.mul(2)],
      ['a product with other secrets', (x, mine) => x.mul(mine)],
      ['a product with zero', (x) => x.mul(0)],
      ['it beside other secrets', (x, mine) => mine.concat(x)],
      ['a sum', (x, mine) => x.add(mine).sum()],
      ['a comparison', (x, mine) => mine.less(x)],
      ['the place of the largest', (x) => x.argMax()],
      ['a choice by it', (x, mine) => x.greater(0).where(mine, mine.neg())],
      ['a total', (x, mine) => sumOf([x, mine])],
      [
        'a gradient',
        (x, mine) => {
          const leaf = mine.clone().requireGrad()
          leaf.mul(x).sum().backward()
          return leaf.grad!
        },
      ],
    ])('and %s: to whom results are allowed, and not to a stranger', async (_, of) => {
      const cast = world()
      const run = (identity: string) => {
        const mine = share(fixPrecision([1, 1, 1]), partiesAs(cast, identity), { provider: cast.carol.as(identity) })
        return of(sharedBy(cast, identity), mine)
      }
      const refusals = async () => (await rowsOf(cast.jane, 'refused')).reduce((sum, { count }) => sum + count, 0)
      await expectRefused(run('mallory').reveal())
      expect(await refusals()).toBe(1)
      expect(heard.some(tells)).toBe(false)
      const results = await Promise.all(['owner', 'dave', 'rita'].map((identity) => values(run(identity).reveal())))
      expect(results[1]).toEqual(results[0])
      expect(results[2]).toEqual(results[0])
      expect(await refusals()).toBe(1)
    })

    it('to somebody to whom two owners allow what they computed together, and to nobody else', async () => {
      const cast = world()
      const { bob, carol } = cast
      bob.as('olga').addWorkers([cast.alice, cast.jane, carol].map((one) => one.as('olga')))
      const y = send(tf.tensor([1, 1, 1]), bob.as('olga'), { ...NAMED, allow: ['rita'], allowResults: ['dave'] })
      const both = (identity: string): SharedTensor => {
        const parties = partiesAs(cast, identity)
        const theirs = share(fixPrecision(at(bob.as(identity), y)), parties, { provider: carol.as(identity) })
        return sharedBy(cast, identity).add(theirs)
      }
      for (const identity of ['owner', 'olga', 'mallory']) await expectRefused(both(identity).reveal())
      for (const identity of ['dave', 'rita']) expect(await values(both(identity).reveal())).toEqual([SECRET + 1, 3, 4])
      expect((await rowsOf(cast.alice, 'opened')).map(({ to, why }) => [to, why])).toEqual([
        ['dave', 'asked by dave, allowed by olga, owner'],
        ['rita', 'asked by rita, allowed by olga, owner'],
      ])
    })

    it('to one worker that its owner allows and introduced, which alone learns it, and everybody writes it down', async () => {
      const cast = world({ ...NAMED, allow: ['dana'] })
      const { bob, alice, jane, carol } = cast
      const dana = worker('dana')
      for (const party of [bob, alice, jane]) party.addWorkers([dana])
      for (const identity of ['mallory', 'owner']) {
        heard = []
        const pointer = sharedBy(cast, identity).revealTo(dana.as(identity), { tags: ['#seen'] })
        await dana.as(identity).flush()
        expect(heard.some(tells)).toBe(false)
        if (identity === 'mallory') await expectRefused(pointer.get())
        expect(await values(at(dana, pointer).fetch())).toEqual(VALUES)
        expect(heard.some(tells)).toBe(true)
        const entry = { why: `asked by ${identity}, allowed by owner` }
        for (const party of [bob, alice, jane])
          expect(await rowsOf(party, 'opened')).toContainEqual(opened('dana', entry))
        const came = (await dana.ledger()).filter(({ from, to }) => from === 'bob + alice + jane' && to === 'dana')
        expect(came.map(({ why }) => why).some((why) => why.includes(identity))).toBe(true)
      }
      const table = await whoSawWhat([bob, alice, jane, carol, dana], { print: () => undefined })
      const told = rowsIn(table).filter((text) => text.startsWith('dana, float32 [3], bob + alice + jane, reveal'))
      expect(told).toHaveLength(2)
    })

    it('to a party that its owner allows by name', async () => {
      const cast = world({ ...NAMED, allow: ['alice'] })
      const pointer = sharedBy(cast, 'mallory').revealTo(cast.alice.as('mallory'), { tags: ['#seen'] })
      await cast.alice.as('mallory').flush()
      await expectRefused(pointer.get())
      expect(await values(at(cast.alice, pointer).fetch())).toEqual(VALUES)
    })

    it('to no worker that its owner does not allow, or does not know by that name', async () => {
      const cast = world({ ...NAMED, allow: ['dana'] })
      const { bob, alice, jane, carol } = cast
      const [dana, eve] = [worker('dana', 'mallory'), worker('eve', 'mallory')]
      for (const to of [dana, eve, alice.as('mallory'), carol.as('mallory')]) {
        const pointer = sharedBy(cast, 'mallory').revealTo(to)
        await expectRefused(pointer.get())
        expect((await rowsOf(jane, 'refused')).at(-1)).toMatchObject({ operation: 'reveal', to: to.id, bytes: 0 })
      }
      for (const party of [bob, alice, jane]) expect(await rowsOf(party, 'opened')).toEqual([])
      expect(heard.some(tells)).toBe(false)
    })

    it('to a worker, where it stays as private as it was', async () => {
      const cast = world()
      const pointer = sharedBy(cast, 'owner').revealTo(cast.carol, { tags: ['#seen'] })
      await cast.carol.flush()
      for (const identity of ['mallory', 'rita']) await expectRefused(at(cast.carol.as(identity), pointer).fetch())
      expect(await values(at(cast.carol.as('rita'), pointer).mul(2).fetch())).toEqual(VALUES.map((v) => 2 * v))
      await expectRefused(at(cast.carol.as('mallory'), pointer).mul(2).fetch())
      expect(await values(pointer.get())).toEqual(VALUES)
    })

    it('of a tensor that was here and shared as private: as that says', async () => {
      const cast = world()
      const parties = [cast.bob, cast.alice, cast.jane]
      const options = { provider: cast.carol, private: true, allow: ['dave'], allowResults: ['rita'] }
      const secret = share(fixPrecision(VALUES), parties, options)
      expect(await values(secret.reveal())).toEqual(VALUES)
      const [plain, doubled] = [secret, secret.mul(2)].map((one) => one.revealTo(cast.alice, { tags: ['#seen'] }))
      await cast.alice.flush()
      const fetched = (identity: string, pointer: PointerTensor) => at(cast.alice.as(identity), pointer).fetch()
      expect(await values(fetched('dave', plain!))).toEqual(VALUES)
      expect(await values(fetched('rita', doubled!))).toEqual(VALUES.map((v) => 2 * v))
      for (const refused of [fetched('rita', plain!), fetched('mallory', plain!), fetched('mallory', doubled!)]) {
        await expectRefused(refused)
      }
      expect((await rowsOf(cast.bob, 'opened')).map(({ to }) => to)).toEqual(['owner', 'alice'])
    })

    it('by nobody but the session that shared it', async () => {
      const cast = world()
      const secret = sharedBy(cast, 'owner')
      await secret.group.stats()
      const { id, encoding } = secret
      for (const party of partiesAs(cast, 'mallory')) {
        const body = { group: secret.group.id, seq: 1, id, encoding }
        await expectCode(party.ask('secretGet' as never, body as never), 'ERR_NOT_FOUND')
        await expectForeign(party.ask('get', { id, keep: true }))
        await expectForeign(
          at(party, { id, shape: [3], dtype: 'float32' } as unknown as PointerTensor)
            .add(1)
            .fetch(),
        )
        party.tell('free', { ids: [id] })
      }
      const own = share(fixPrecision([1, 1, 1]), partiesAs(cast, 'mallory'), { provider: cast.carol.as('mallory') })
      const stolen = SharedTensor.stored(own.group, id, [3], encoding)
      await expectForeign(own.add(stolen).reveal())
      expect(heard.some(tells)).toBe(false)
      expect(await values(secret.reveal())).toEqual(VALUES)
    })
  })

  describe('in fixed precision, on its worker,', () => {
    it('is as private as it was', async () => {
      const cast = world()
      for (const identity of ['mallory', 'rita']) {
        const fixed = fixPrecision(at(cast.bob.as(identity), cast.x))
        expect(fixed).toBeInstanceOf(FixedPrecisionPointer)
        await expectRefused(fixed.get())
        await expectRefused(fixed.fetch())
        await expectRefused(fixed.floatPrecision().get())
        expect((await rowsOf(cast.bob, 'refused')).map(({ operation }) => operation)).toEqual(
          expect.arrayContaining(['get', 'fetch']),
        )
        const results = [fixed.add(1), fixed.mul(fixed.div(SECRET)), fixed.slice([0], [1]), fixed.greater(0)]
        for (const result of results) {
          if (identity === 'rita') await result.fetch()
          else await expectRefused(result.fetch())
          if (identity === 'rita') await result.floatPrecision().get()
          else await expectRefused(result.floatPrecision().get())
        }
      }
      for (const identity of ['owner', 'dave']) {
        const fixed = fixPrecision(at(cast.bob.as(identity), cast.x))
        expect(await values((await fixed.fetch()).floatPrecision())).toEqual(VALUES)
        expect(await values(fixed.floatPrecision().get())).toEqual(VALUES)
        expect((await rowsOf(cast.bob, 'left')).at(-1)).toMatchObject({
          to: identity,
          why: `asked by ${identity}, allowed by owner`,
        })
      }
    })

    it('is refused and allowed as a part of other computations with what is public', async () => {
      const { bob, x } = world()
      const mallory = bob.as('mallory')
      const mine = fixPrecision(send(tf.tensor([1, 1, 1]), mallory))
      await expectRefused(mine.add(fixPrecision(at(mallory, x))).fetch())
      expect(await values((await mine.add(1).fetch()).floatPrecision())).toEqual([2, 2, 2])
    })

    /** All that a stranger hears and sees of a private number that is, or is not, too large for something. */
    const observed = async (secret: number, action: (x: PointerTensor, cast: Cast) => unknown, options = NAMED) => {
      const cast = world(options)
      const { bob, alice, jane } = cast
      const y = send(tf.tensor([secret, 1, 1]), bob, options)
      const theirs = at(bob.as('mallory'), y)
      const failed: unknown[] = []
      const seen = async (one: unknown): Promise<void> => {
        const { code, message } = (await Promise.resolve(one).then(
          () => ({ code: 'none', message: '' }),
          (error) => error,
        )) as SottoErrorLike
        failed.push(code, message.replaceAll(/[\w-]{36}/g, 'id').replace(/, issued at.*\)/, ''))
      }
      await seen(new Promise((resolve) => resolve(action(theirs, cast))))
      for (const each of [bob, alice, jane]) await seen(each.as('mallory').flush())
      const told = [bob, alice, jane].map((each) => each.as('mallory'))
      const lists = await Promise.all(told.map((each) => each.objects()))
      const ledgers = await Promise.all(told.map((each) => each.ledger()))
      const kinds = lists.map((list) => list.map(({ id, ...rest }) => rest))
      return { failed, kinds, events: ledgers.flat().map(({ first, last, ...rest }) => rest) }
    }

    const LARGE = 2 ** 34
    it.each<[what: string, action: (x: PointerTensor, cast: Cast) => unknown, options?: SendOptions]>([
      ['it can be encoded', (x) => void fixPrecision(x)],
      ['it can be encoded, by computing on', (x) => fixPrecision(x).add(1).floatPrecision().get()],
      ['it can be encoded, by fetching', (x) => fixPrecision(x).fetch()],
      [
        'it can be encoded, by sharing it',
        (x, { bob, alice, carol }) =>
          share(fixPrecision(x), [bob.as('mallory'), alice.as('mallory')], { provider: carol.as('mallory') }).reveal(),
      ],
      [
        'it can be encoded, by sharing it where that is refused',
        (x, { bob, alice, carol }) =>
          share(fixPrecision(x), [bob.as('mallory'), alice.as('mallory')], { provider: carol.as('mallory') }).reveal(),
        { ...NAMED, allowShares: [] },
      ],
      [
        'it can be encoded, by sharing it as it is with an encoding',
        (x, { bob, alice, jane, carol }) => {
          const mallory = bob.as('mallory')
          for (const one of [alice, jane, carol]) mallory.reach(one.as('mallory'))
          const { encoding } = fixPrecision([1])
          const to = ['alice', 'jane'].map((name) => ({ name, key: `key-of-${name}` }))
          tellSecret(mallory, 'secretShare', {
            group: 'g',
            protocol: 'additive',
            id: x.id,
            encoding,
            to,
            provider: 'carol',
          })
        },
        { ...NAMED, allowShares: [] },
      ],
    ])('does not tell a stranger whether %s', async (_, action, options) => {
      const small = await observed(5, action, options)
      const large = await observed(LARGE, action, options)
      expect(large).toEqual(small)
    })

    it.each<[what: string, action: (x: PointerTensor) => unknown]>([
      ['zero, by dividing by it', (x) => void fixPrecision(x).add(1).div(fixPrecision(x))],
      ['zero, by what it leaves', (x) => void fixPrecision(x).add(1).mod(fixPrecision(x))],
      [
        'below zero, by dividing by its sign',
        (x) =>
          void fixPrecision(x)
            .add(1)
            .div(fixPrecision(x).slice([0], [1]).less(1)),
      ],
    ])('does not tell a stranger whether it is %s', async (_, action) => {
      expect(await observed(0, action)).toEqual(await observed(5, action))
    })

    it('does not tell a stranger whether it fits 32 bits when it is read as an integer', async () => {
      const read = (x: PointerTensor): void => {
        const fixed = fixPrecision(x)
        const [whole] = fixed.run('clone', [], { encodings: [INTEGER[64]] })
        void whole!.floatPrecision()
      }
      // At scale 2^16 the one is 2^32.
      expect(await observed(2 ** 16, read)).toEqual(await observed(5, read))
    })
  })

  it('shows in no text, list or error', async () => {
    const cast = world({ ...NAMED, description: 'three numbers' })
    const fixed = fixPrecision(cast.x)
    const secret = sharedBy(cast, 'owner')
    const shown = [secret, secret.mul(2), fixed, fixed.mul(2), await secret.get(), await fixed.fetch()]
    for (const one of shown) {
      for (const text of [String(one), inspect(one, { depth: 8 }), JSON.stringify({ text: `${one}` })]) {
        expect(tells(text)).toBe(false)
        expect(text).toContain('fixed(2^16) [3]')
      }
    }
    expect(String(secret)).toBe('SharedTensor fixed(2^16) [3] among bob, alice, jane')
    for (const each of [cast.bob, cast.alice, cast.jane, cast.carol]) {
      const [mine, theirs] = [await each.objects(), await each.as('mallory').objects()]
      const stranger = each.as('mallory')
      const lists = [await stranger.search(['#x']), await stranger.ledger(), await stranger.stats()]
      expect(tells([mine, theirs, ...lists])).toBe(false)
      if (each !== cast.carol) expect(mine.map(({ kind }) => kind)).toContain('share')
      for (const info of [...mine, ...theirs]) {
        expect(Object.keys(info).sort()).toEqual(
          ['id', 'kind', 'owner', 'tags', 'description', 'shape', 'dtype', 'bytes', 'isPrivate', 'requiresGrad'].sort(),
        )
        expect(info.isPrivate).toBe(true)
      }
    }
    await failureOf(() => secret.mul([1, 2]))
    await failureOf(() => secret.reshape([4]))
    await failureOf(() => secret.add(fixPrecision(VALUES, { base: 10 })))
    await failureOf(sharedBy(cast, 'mallory').reveal())
  })

  it('is in the ledgers of the parties, when it is written into a secret computation as a public operand', async () => {
    const { bob, alice, jane, carol } = world()
    const secret = share(fixPrecision([1, 1, 1]), [bob, alice, jane], { provider: carol })
    await secret.add(VALUES).reveal()
    expect(heard.some(tells)).toBe(true)
    for (const party of [bob, alice, jane]) {
      expect(await rowsOf(party, 'came')).toContainEqual(
        row({ operation: 'operand', shape: [3], from: 'owner', to: party.id, why: 'sent by owner' }),
      )
    }
  })
})
