/**
 * Secret computation when something goes wrong: whoever waits hears a clear error with a stable code, at the caller and at
 * every party; the shares of the group are freed; and the workers go on serving everybody else, and the same parties anew.
 */
import {
  type Code,
  FixedPrecisionPointer,
  fixPrecision,
  isSottoError,
  type PointerTensor,
  type SharedTensor,
  scope,
  send,
  share,
  sharedRandom,
  sharedZeros,
  tf,
  VirtualWorker,
  type VirtualWorkerOptions,
  type Worker,
} from 'sotto'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { askSecret, type Group } from '../../src/smpc/group.ts'
import type { Part, SecretMessage, SecretRequest } from '../../src/smpc/messages.ts'
import { Session } from '../../src/worker/session.ts'
import { readyForTest } from '../backend.ts'
import { codeOf, inProcess, onEveryWorker } from '../conformance/workers.ts'
import { peerSession } from '../worker/peer-session.ts'

const turn = () => new Promise((resolve) => setImmediate(resolve))
/**
 * Long enough for some of the rounds of {@link long}, and not for all: three where nothing takes time.
 *
 * @param worker one that has no part in it: a party answers when its part is done
 */
async function rounds(worker: Worker): Promise<void> {
  await worker.stats()
  for (let i = 0; i < 3; i++) await turn()
}
const valuesOf = async (tensor: Promise<tf.Tensor>): Promise<number[]> => {
  const t = await tensor
  const values = [...t.dataSync()]
  t.dispose()
  return values
}
const X = [1.5, -2, 3]
const Y = [2, 0.5, -1]
/** Exact in 16 bits, and a product of two is rounded up by one unit at most. */
const PRODUCT = X.map((x, i) => x * Y[i]!)
const UNIT = 2 ** -16
const expectProduct = async (z: SharedTensor): Promise<void> => {
  const values = await valuesOf(z.reveal())
  for (const [i, value] of values.entries()) expect([0, UNIT]).toContain(value - PRODUCT[i]!)
}

/** Messages of a name go to a worker as `change` makes them while an action runs; undefined: not at all. */
function tampered<N extends SecretMessage, R>(
  worker: Worker,
  message: N,
  change: (body: SecretRequest<N>) => SecretRequest<N> | undefined,
  action: () => R,
): R {
  const tell = worker.tell.bind(worker) as (name: string, body: unknown) => void
  const changed = (name: string, body: unknown): void => {
    const passed = name === message ? change(body as SecretRequest<N>) : body
    if (passed !== undefined) tell(name, passed)
  }
  Object.defineProperty(worker, 'tell', { value: changed, configurable: true })
  try {
    return action()
  } finally {
    Reflect.deleteProperty(worker, 'tell')
  }
}
const nothing = () => undefined

/** Says something to a worker in the name of a member of the group. */
function sayAs(name: string, to: Worker, { id: group }: Group, ...parts: Part[]): void {
  peerSession(to, name).tell('secretParts' as never, { group, parts } as never)
}

interface World {
  readonly bob: Worker
  readonly alice: Worker
  readonly jane: Worker
  readonly carol: Worker
  /** Has no part in the caller's secrets. */
  readonly dave: Worker
  readonly parties: readonly Worker[]
  readonly x: SharedTensor
  readonly y: SharedTensor
  /** The same caller's, on bob. */
  readonly pointer: PointerTensor
  /** Another caller's, on workers that do not fail here. */
  readonly others: SharedTensor
}

/** Secrets of one caller and of another on the same workers. One command, seq 1, is done; no index is used. */
async function makeWorld(worker: (id: string) => Worker): Promise<World> {
  const [bob, alice, jane, carol, dave] = ['bob', 'alice', 'jane', 'carol', 'dave'].map(worker) as [
    Worker,
    Worker,
    Worker,
    Worker,
    Worker,
  ]
  const parties = [bob, alice, jane]
  const [x, y] = [X, Y].map((values) => share(fixPrecision(values), parties, { provider: carol })) as [
    SharedTensor,
    SharedTensor,
  ]
  const pointer = send(tf.tensor([1, 2]), bob)
  const olgas = [bob, alice].map((party) => party.as('olga'))
  const others = share(fixPrecision(X), olgas, { provider: dave.as('olga') })
  await Promise.all([x.reveal(), others.reveal()])
  return { bob, alice, jane, carol, dave, parties, x, y, pointer, others }
}

/** Comparisons one after the other: some six rounds each. */
const long = (x: SharedTensor): SharedTensor =>
  scope(() => Array.from({ length: 20 }).reduce((y: SharedTensor) => y.abs(), x))
/** Ends the sessions of a handle at once, whatever goes on in them. */
async function drop(worker: Worker): Promise<void> {
  const finish = vi.spyOn(Session.prototype, 'finish').mockImplementation(async function (this: Session) {
    this.close()
  })
  try {
    await worker.close()
  } finally {
    finish.mockRestore()
  }
}

const product = ({ x, y }: World): SharedTensor => x.mul(y)
const open = (workers: readonly Worker[]): Worker[] => workers.filter(({ isClosed }) => !isClosed)
const objectsOf = async (worker: Worker, owner = 'me') =>
  (await worker.objects()).filter((object) => object.owner === owner)

async function failureOf(action: () => unknown): Promise<{ code: Code; message: string }> {
  try {
    await action()
  } catch (error) {
    expect(isSottoError(error), String(error)).toBe(true)
    return error as { code: Code; message: string } & Error
  }
  throw new Error('it was to fail, and did not')
}

/** Everything about the group is over, for one reason, and nothing of it is left but the failures that stand for it. */
async function expectOver({ parties, x, y, pointer }: World, code: Code): Promise<void> {
  const { group, encoding } = x
  const body = { group: group.id, seq: group.nextSeq(), id: x.id, encoding }
  const secrets = [x.id, y.id]
  await Promise.all(
    open(parties).map(async (party) => {
      const [heard, stats, objects] = await Promise.all([
        codeOf(() => askSecret(party, 'secretGet', body)),
        askSecret(party, 'secretStats', { group: group.id }),
        objectsOf(party),
      ])
      expect([party.id, heard]).toEqual([party.id, code])
      expect(stats).toMatchObject({ shares: 0 })
      const left = objects.filter(({ id }) => id !== pointer.id)
      expect([...new Set(left.map(({ kind, bytes }) => `${kind}, ${bytes} bytes`))]).toEqual(['failed, 0 bytes'])
    }),
  )
  for (const secret of [x, y]) secret.dispose()
  const left = await Promise.all(open(parties).map((party) => objectsOf(party)))
  expect(left.flat().filter(({ id }) => secrets.includes(id))).toEqual([])
}

/** The caller's pointers, another caller's secrets, and new secrets. */
async function expectServing(world: World, parties = world.parties, provider = world.carol): Promise<void> {
  const [x, y] = [X, Y].map((values) => share(fixPrecision(values), parties, { provider }))
  const [sums, squares] = await Promise.all([
    valuesOf(world.pointer.add(1).get()),
    valuesOf(world.others.square().reveal()),
    expectProduct(x!.mul(y!)),
  ])
  expect(sums).toEqual([2, 3])
  for (const [i, square] of squares.entries()) expect([0, UNIT]).toContain(square - X[i]! ** 2)
}

/** Waits until no party holds a share of the group: those that go on hear of the end from each other. */
async function ended({ parties, x: { group } }: World): Promise<void> {
  const left = open(parties)
  const stats = () => Promise.all(left.map((party) => askSecret(party, 'secretStats', { group: group.id })))
  const none = left.map(() => expect.objectContaining({ shares: 0 }))
  await expect.poll(stats, { interval: 1, timeout: 10_000 }).toEqual(none)
}

/** What the caller hears when a worker has gone: of its own session with it, or of what the others say. */
const LOST: readonly Code[] = ['ERR_PARTY_LOST', 'ERR_SESSION_CLOSED']

const opening = (seq: number, bytes: number): Part => ({
  kind: 'opening',
  seq,
  step: 0,
  op: 'mul',
  data: new Uint8Array(bytes),
})

/** `late` is the code where a contribution of another party is faster than the command of the caller. */
type Fault = readonly [what: string, code: Code, fault: (world: World) => unknown, late?: Code]
/** What the caller says to some of the members and not to others. */
const saidAmiss: readonly Fault[] = [
  [
    'when the caller names an index that was used',
    'ERR_USED_TWICE',
    async (world) => {
      await product(world).reveal()
      const [bob, alice, jane] = world.parties as [Worker, Worker, Worker]
      const again = <R>(party: Worker, action: () => R): R =>
        tampered(party, 'secretRun', (body) => ({ ...body, index: 0 }), action)
      again(bob, () => again(alice, () => again(jane, () => product(world))))
    },
  ],
  [
    'when one party is told an index that was used',
    'ERR_USED_TWICE',
    async (world) => {
      await product(world).reveal()
      tampered(
        world.alice,
        'secretRun',
        (body) => ({ ...body, index: 0 }),
        () => product(world),
      )
    },
  ],
  [
    'when the provider is asked for an index that was dealt',
    'ERR_USED_TWICE',
    async (world) => {
      await product(world).reveal()
      tampered(
        world.carol,
        'secretDeal',
        (body) => ({ ...body, index: 0 }),
        () => product(world),
      )
    },
  ],
  [
    'when a command is missing at one party',
    'ERR_OUT_OF_STEP',
    (world) => {
      tampered(world.jane, 'secretRun', nothing, () => product(world))
      product(world)
    },
  ],
  [
    'when a command comes twice to one party',
    'ERR_OUT_OF_STEP',
    ({ alice, x, y }) => {
      let body: SecretRequest<'secretRun'> | undefined
      tampered(
        alice,
        'secretRun',
        (given) => {
          body = given
          return given
        },
        () => x.mul(y),
      )
      alice.tell('secretRun' as never, { ...body, out: ['again'] } as never)
    },
  ],
  [
    'when one party carries out another operation, which opens something else',
    'ERR_OUT_OF_STEP',
    ({ alice, x }) =>
      tampered(
        alice,
        'secretRun',
        (body) => ({ ...body, op: 'mul', operands: [x.id, x.id] }),
        () => x.square(),
      ),
  ],
  [
    'when one party carries out another operation, which opens nothing',
    'ERR_OUT_OF_STEP',
    (world) =>
      tampered(
        world.alice,
        'secretRun',
        (body) => ({ ...body, op: 'sub', divisor: null }),
        () => product(world),
      ),
  ],
  [
    'when one party multiplies tensors of another length',
    'ERR_OUT_OF_STEP',
    (world) => {
      const one = share(fixPrecision([1]), world.parties, { provider: world.carol })
      tampered(
        world.alice,
        'secretRun',
        (body) => ({ ...body, operands: [one.id, one.id] }),
        () => product(world),
      )
    },
  ],
  [
    'when the provider deals something else',
    'ERR_OUT_OF_STEP',
    (world) =>
      tampered(
        world.carol,
        'secretDeal',
        (body) => ({ ...body, correlations: body.correlations.map(() => ({ kind: 'square', size: 2 }) as const) }),
        () => product(world),
      ),
  ],
  [
    'when one party is asked to open and the others are not',
    'ERR_OUT_OF_STEP',
    async (world) => {
      const { x, alice } = world
      const body = { group: x.group.id, seq: 2, id: x.id, encoding: x.encoding }
      await askSecret(alice, 'secretGet', body)
      product(world)
    },
    'ERR_USED_TWICE',
  ],
  [
    'when one party has lost what the command takes',
    'ERR_NOT_FOUND',
    (world) =>
      tampered(
        world.alice,
        'secretRun',
        (body) => ({ ...body, operands: ['nothing', 'nothing'] }),
        () => product(world),
      ),
  ],
]
/** What members of the group, or who speaks in their names, hand each other. */
const handedAmiss: readonly Fault[] = [
  [
    'when the provider hands a correction over again',
    'ERR_USED_TWICE',
    async (world) => {
      await product(world).reveal()
      const data = new Uint8Array(8 * X.length)
      sayAs('carol', world.jane, world.x.group, { kind: 'dealt', index: 0, of: 'product', data })
      await ended(world)
    },
  ],
  [
    'when a contribution comes again after its command is done',
    'ERR_USED_TWICE',
    async (world) => {
      await product(world).reveal()
      sayAs('alice', world.bob, world.x.group, opening(2, 48))
      await ended(world)
    },
  ],
  [
    'when a contribution comes again before its command is done',
    'ERR_USED_TWICE',
    async (world) => {
      tampered(world.jane, 'secretRun', nothing, () => product(world))
      sayAs('alice', world.bob, world.x.group, opening(2, 48), opening(2, 48))
      await ended(world)
    },
  ],
  [
    'when a seed is handed over again',
    'ERR_USED_TWICE',
    async (world) => {
      sayAs('bob', world.alice, world.x.group, { kind: 'seed', data: new Uint8Array(32) })
      await ended(world)
    },
  ],
  [
    'when a party says that it gives up',
    'ERR_LIMIT',
    async (world) => {
      const { parties, x } = world
      const error = { code: 'ERR_LIMIT', message: 'no more fit', worker: 'jane', origin: `s:${x.group.id}` } as const
      for (const party of parties.slice(0, 2)) sayAs('jane', party, x.group, { kind: 'end', error })
      sayAs('bob', parties[2]!, x.group, { kind: 'end', error })
      await ended(world)
    },
  ],
]

onEveryWorker(
  (worker, kind) => {
    describe('parties that do not agree end their group, which', () => {
      // What is handed over amiss goes by a link of its own: it makes no difference how fast the others are.
      const faults = kind.includes('latency') ? saidAmiss : [...saidAmiss, ...handedAmiss]
      it.each(faults.map(([what, code, fault, late = code]) => [what, code, fault, late] as const))(
        '%s: %s everywhere, and the workers serve on',
        async (_, expected, fault, late) => {
          const world = await makeWorld(worker)
          await fault(world)
          const { code, message } = await failureOf(() => product(world).reveal())
          expect(kind.startsWith('in process') ? [expected] : [expected, late]).toContain(code)
          expect(message).toMatch(/\b(bob|alice|jane|carol)\b/)
          // What was computed before, and what is computed on it now, fails alike.
          expect(await codeOf(() => world.x.reveal())).toBe(code)
          expect(await codeOf(() => world.y.add(1).reveal())).toBe(code)
          await expectOver(world, code)
          await expectServing(world)
        },
      )
    })

    describe('a worker that goes', () => {
      it.each(['jane', 'carol'] as const)('before an operation (%s)', async (name) => {
        const world = await makeWorld(worker)
        await world[name].close()
        await ended(world)
        const { code, message } = await failureOf(() => product(world).reveal())
        expect(LOST).toContain(code)
        expect(message).toContain(name)
        await expectOver(world, 'ERR_PARTY_LOST')
        await expectServing(world, [world.bob, world.alice], name === 'carol' ? world.jane : world.carol)
      })

      it.each(['jane', 'carol'] as const)('in the middle of one (%s)', async (name) => {
        const world = await makeWorld(worker)
        const z = long(world.x)
        const waiting = failureOf(() => z.reveal())
        await rounds(world.dave)
        await drop(world[name])
        // A provider may have dealt everything by then: the parties still give up what it had a part in.
        const { code, message } = await waiting
        expect(LOST).toContain(code)
        expect(message).toContain(name)
        await ended(world)
        await expectOver(world, 'ERR_PARTY_LOST')
        await expectServing(world, [world.bob, world.alice], name === 'carol' ? world.jane : world.carol)
      })

      it.each(['jane', 'carol'] as const)('after one (%s)', async (name) => {
        const world = await makeWorld(worker)
        const z = product(world)
        await expectProduct(z)
        await world[name].close()
        await ended(world)
        expect(LOST).toContain(await codeOf(() => z.reveal()))
        await expectOver(world, 'ERR_PARTY_LOST')
        await expectServing(world, [world.bob, world.alice], name === 'carol' ? world.jane : world.carol)
      })

      it('cannot be shared with again, and the error names it', async () => {
        const world = await makeWorld(worker)
        await world.jane.close()
        const { code, message } = await failureOf(() =>
          share(fixPrecision(X), world.parties, { provider: world.carol }),
        )
        expect(code).toBe('ERR_SESSION_CLOSED')
        expect(message).toContain('jane')
      })

      it('lets one who forgets the handles do so without an error', async () => {
        const world = await makeWorld(worker)
        const z = product(world)
        await world.jane.close()
        for (const secret of [z, world.x, world.y]) secret.dispose()
        await expectServing(world, [world.bob, world.alice])
      })
    })

    describe('a caller', () => {
      it('whose session ends in the middle of an operation loses its secrets, and disturbs nobody', async () => {
        const world = await makeWorld(worker)
        // Whosever they are: no session sees what another one made.
        const counts = () => Promise.all(world.parties.map((party) => party.objectCount()))
        const before = await counts()
        const nina = [world.bob, world.alice, world.jane, world.carol].map((each) => each.as('nina'))
        const x = share(fixPrecision(X), nina.slice(0, 3), { provider: nina[3]! })
        await x.reveal()
        const z = long(x)
        const waiting = codeOf(() => z.reveal())
        const mine = world.x.less(world.y)
        await rounds(world.dave)
        await drop(nina[1]!)
        expect(LOST).toContain(await waiting)
        for (const party of [nina[0]!, nina[2]!]) {
          // The failures stand where the secrets were, until their owner frees them or goes.
          const kinds = async () => (await party.objects()).map(({ kind }) => kind)
          await expect.poll(async () => [...new Set(await kinds())]).toEqual(['failed'])
        }
        for (const session of nina) await session.close()
        // The result of the comparison that goes on is there at all parties.
        expect(await valuesOf(mine.reveal())).toEqual([1, 1, 0])
        await expect.poll(counts).toEqual(before.map((count) => count + 1))
        await expectProduct(product(world))
        await expectServing(world)
      })

      it('and another compute at the same time on the same workers', async () => {
        const workers = ['bob', 'alice', 'jane', 'carol'].map(worker)
        const compute = async (identity: string, factor: number) => {
          const [bob, alice, jane, carol] = workers.map((each) => each.as(identity)) as [Worker, Worker, Worker, Worker]
          const x = share(fixPrecision(X), [bob, alice, jane], { provider: carol })
          const results = []
          for (let i = 0; i < 3; i++) {
            const y = x.mul(factor + i)
            results.push(await valuesOf(y.sub(x.mul(factor)).reveal()), await valuesOf(y.less(x).reveal()))
            await turn()
          }
          return results
        }
        const factors = { olga: 2, nina: 3, me: 4 }
        const all = await Promise.all(Object.entries(factors).map(([name, factor]) => compute(name, factor)))
        const expected = Array.from({ length: 3 }, (_, i) => [X.map((x) => x * i + 0), X.map((x) => (x < 0 ? 1 : 0))])
        for (const results of all) expect(results.map((list) => list.map((v) => v + 0))).toEqual(expected.flat())
      })

      it('has groups of other parties, of another order and with another provider, which do not disturb each other', async () => {
        const [bob, alice, jane, carol] = ['bob', 'alice', 'jane', 'carol'].map(worker) as [
          Worker,
          Worker,
          Worker,
          Worker,
        ]
        const groups = [
          { parties: [bob, alice, jane], provider: carol },
          { parties: [jane, alice, bob], provider: carol },
          { parties: [bob, alice], provider: carol },
          { parties: [bob, alice], provider: jane },
          { parties: [alice, carol], provider: bob },
        ]
        const secrets = groups.map(({ parties, provider }) =>
          [X, Y].map((values) => share(fixPrecision(values), parties, { provider })),
        )
        const results = secrets.map(([x, y]) => x!.mul(y!))
        await Promise.all(results.map(expectProduct))
        // One of them fails, and that one alone.
        tampered(alice, 'secretRun', nothing, () => secrets[2]![0]!.mul(secrets[2]![1]!))
        expect(await codeOf(() => secrets[2]![0]!.square().reveal())).toBe('ERR_OUT_OF_STEP')
        for (const [i, z] of results.entries()) {
          if (i === 2) expect(await codeOf(() => z.reveal())).toBe('ERR_OUT_OF_STEP')
          else await expectProduct(z)
        }
      })

      it('that heard of the end through a flush can share among the same parties again', async () => {
        const world = await makeWorld(worker)
        tampered(world.jane, 'secretRun', nothing, () => product(world))
        product(world)
        const heard = await Promise.allSettled(world.parties.map((party) => party.flush()))
        expect(heard.flatMap((one) => (one.status === 'rejected' ? [one.reason.code] : []))).toContain(
          'ERR_OUT_OF_STEP',
        )
        await expectServing(world)
      })

      it('that heard of the end through a pointer can share among the same parties again', async () => {
        const world = await makeWorld(worker)
        tampered(world.jane, 'secretRun', nothing, () => product(world))
        expect(await codeOf(() => product(world).revealTo(world.alice).get())).toBe('ERR_OUT_OF_STEP')
        await expectServing(world)
      })
    })

    describe('a tensor on a worker', () => {
      it('with NaN, Infinity or what is too large says so out of a later get, and the group goes on', async () => {
        const { x, y, bob, parties, carol } = await makeWorld(worker)
        for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, 2 ** 34]) {
          const fixed = fixPrecision(send(tf.tensor([1, bad]), bob))
          expect(fixed).toBeInstanceOf(FixedPrecisionPointer)
          const secret = share(fixed, parties, { provider: carol })
          const more = secret.mul(2).add(x.slice([0], [2]).mul(secret))
          for (const waiting of [() => fixed.get(), () => secret.reveal(), () => more.reveal()]) {
            expect(await failureOf(waiting)).toMatchObject({
              code: 'ERR_ARGUMENT_VALUE',
              message: expect.stringMatching(/finite and below 17179869184 .*on bob/),
            })
          }
          await expectProduct(x.mul(y))
        }
      })
    })
  },
  process.env.SOTTO_LONG ? undefined : inProcess,
)

describe('what cannot be meant is refused at the line that says it', () => {
  const made: Worker[] = []
  const worker = (id: string): Worker => {
    const created = new VirtualWorker(id)
    made.push(created)
    return created
  }
  let world: World
  beforeAll(async () => {
    await readyForTest()
    world = await makeWorld(worker)
  })
  afterAll(() => Promise.all(made.map((each) => each.close())))

  type Line = (world: World) => unknown
  const tens = { base: 10, precisionFractional: 3 }
  const far = (values: tf.TensorLike, { bob }: World) => send(tf.tensor(values), bob)
  const again = (values: number[], parties: Worker[], provider?: Worker) =>
    share(fixPrecision(values), parties, provider ? { provider } : {})

  it.each<[what: string, code: Code, says: RegExp, line: Line]>([
    ['sharing floats', 'ERR_PRECISION', /fixPrecision\(\)/, ({ parties }) => share(tf.tensor([0.5]), parties)],
    ['sharing whole floats', 'ERR_PRECISION', /fixPrecision\(\)/, ({ parties }) => share(tf.tensor([1]), parties)],
    [
      'sharing floats that are on a worker',
      'ERR_PRECISION',
      /fixPrecision\(\)/,
      (world) => share(far([0.5], world), world.parties),
    ],
    ['sharing no tensor', 'ERR_ARGUMENT_TYPE', /tensor/, ({ parties }) => share([1, 2] as never, parties)],
    [
      'mixing scales',
      'ERR_PRECISION',
      /fixed\(2\^16\) meets fixed\(10\^3\)/,
      ({ x, parties, carol }) => x.add(share(fixPrecision(Y, tens), parties, { provider: carol })),
    ],
    ['mixing scales with a public tensor', 'ERR_PRECISION', /10\^3/, ({ x }) => x.mul(fixPrecision(Y, tens))],
    [
      'mixing scales when concatenating',
      'ERR_PRECISION',
      /10\^3/,
      ({ x, parties, carol }) => x.concat(share(fixPrecision(Y, tens), parties, { provider: carol })),
    ],
    [
      'adding a fraction to a secret of integers',
      'ERR_PRECISION',
      /fixPrecision\(\)/,
      ({ parties }) => share(tf.tensor([1, 2], [2], 'int32'), parties).add(0.5),
    ],
    [
      'asking a secret of integers for a gradient',
      'ERR_PRECISION',
      /fixed-precision/,
      ({ parties }) => share(tf.tensor([1, 2], [2], 'int32'), parties).requireGrad(),
    ],
    ['naming a party twice', 'ERR_PARTIES', /bob is named twice/, ({ bob, alice }) => again(X, [bob, alice, bob])],
    [
      'naming a party by two sessions',
      'ERR_PARTIES',
      /bob is named twice/,
      ({ bob, alice }) => again(X, [bob, alice, bob.as('olga')]),
    ],
    [
      'naming two workers of one name',
      'ERR_PARTIES',
      /bob is named twice/,
      ({ bob, alice }) => again(X, [bob, alice, worker('bob')]),
    ],
    ['sharing with one party', 'ERR_PARTIES', /at least two/, ({ bob }) => again(X, [bob])],
    ['sharing with nobody', 'ERR_PARTIES', /at least two/, () => again(X, [])],
    ['sharing with no list', 'ERR_ARGUMENT_TYPE', /list of workers/, ({ bob }) => again(X, bob as never)],
    ['sharing with no workers', 'ERR_ARGUMENT_TYPE', /worker/, () => again(X, ['bob', 'alice'] as never)],
    [
      'a provider that is a party',
      'ERR_PARTIES',
      /provider bob is also a party/,
      ({ bob, alice }) => again(X, [bob, alice], bob),
    ],
    [
      'a provider that is a party by another session',
      'ERR_PARTIES',
      /provider bob is also a party/,
      ({ bob, alice }) => again(X, [bob, alice], bob.as('olga')),
    ],
    [
      'a provider that is no worker',
      'ERR_ARGUMENT_TYPE',
      /provider/,
      ({ bob, alice }) => again(X, [bob, alice], 'carol' as never),
    ],
    [
      'secrets of other parties meeting',
      'ERR_PARTIES',
      /\[bob, alice, jane\] with carol and of \[bob, alice\] with carol/,
      ({ x, bob, alice, carol }) => x.add(again(Y, [bob, alice], carol)),
    ],
    [
      'secrets in another order meeting',
      'ERR_PARTIES',
      /order/,
      ({ x, bob, alice, jane, carol }) => x.mul(again(Y, [jane, bob, alice], carol)),
    ],
    [
      'secrets with another provider meeting',
      'ERR_PARTIES',
      /no provider/,
      ({ x, parties }) => x.sub(again(Y, [...parties])),
    ],
    [
      'concatenating secrets of other parties',
      'ERR_PARTIES',
      /meet/,
      ({ x, bob, alice, carol }) => x.concat(again(Y, [bob, alice], carol)),
    ],
    ['a secret meeting a pointer', 'ERR_ARGUMENT_TYPE', /same kind/, ({ x, pointer }) => x.add(pointer as never)],
    [
      'a secret meeting a fixed-precision tensor on a worker',
      'ERR_LOCAL_OPERAND',
      /share that one too/,
      (world) => world.x.add(fixPrecision(far(Y, world))),
    ],
    ['NaN in fixPrecision', 'ERR_ARGUMENT_VALUE', /finite and below 17179869184/, () => fixPrecision([1, Number.NaN])],
    [
      'Infinity in fixPrecision',
      'ERR_ARGUMENT_VALUE',
      /finite and below/,
      () => fixPrecision([Number.NEGATIVE_INFINITY]),
    ],
    ['too much for fixPrecision', 'ERR_ARGUMENT_VALUE', /17179869184/, () => fixPrecision(tf.tensor([2 ** 34]))],
    ['NaN as a public operand', 'ERR_ARGUMENT_VALUE', /finite/, ({ x }) => x.add(Number.NaN)],
    ['too large a public operand', 'ERR_ARGUMENT_VALUE', /below/, ({ x }) => x.mul([0.5, 1e30, 1])],
    ['a base below 2', 'ERR_ARGUMENT_VALUE', /"base" expected an integer from 2/, () => fixPrecision(X, { base: 1 })],
    [
      'a scale above 2^31',
      'ERR_ARGUMENT_VALUE',
      /"precisionFractional".*2\^31/,
      () => fixPrecision(X, { precisionFractional: 32 }),
    ],
    [
      'no digits',
      'ERR_ARGUMENT_VALUE',
      /"precisionFractional"/,
      ({ bob }) => fixPrecision(send(tf.tensor(X), bob), { precisionFractional: 0 }),
    ],
    [
      'a misspelt option of fixPrecision',
      'ERR_ARGUMENT_VALUE',
      /unknown option "precision".*precisionFractional/,
      () => fixPrecision(X, { precision: 3 } as never),
    ],
    [
      'a misspelt option of fixPrecision on a worker',
      'ERR_ARGUMENT_VALUE',
      /unknown option "digits"/,
      (world) => fixPrecision(far(X, world), { digits: 3 } as never),
    ],
    [
      'a misspelt option of share',
      'ERR_ARGUMENT_VALUE',
      /unknown option "privat".*private/,
      ({ parties }) => share(fixPrecision(X), parties, { privat: true } as never),
    ],
    [
      'a right given to what already has an owner',
      'ERR_ARGUMENT_VALUE',
      /unknown option "private"/,
      (world) => share(fixPrecision(far(X, world)), world.parties, { private: true }),
    ],
    [
      'rights without a private tensor',
      'ERR_ARGUMENT_VALUE',
      /private: true/,
      ({ parties }) => share(fixPrecision(X), parties, { allow: ['olga'] }),
    ],
    [
      'a protocol that there is not',
      'ERR_ARGUMENT_VALUE',
      /no protocol "shamir"; there are .*additive/,
      ({ parties }) => share(fixPrecision(X), parties, { protocol: 'shamir' as never }),
    ],
    [
      'replicated sharing among two',
      'ERR_PARTIES',
      /replicated sharing takes exactly three parties, got 2/,
      ({ parties }) => share(fixPrecision(X), parties.slice(0, 2), { protocol: 'replicated' }),
    ],
    [
      'replicated sharing with a provider',
      'ERR_PROVIDER',
      /replicated sharing takes no provider/,
      ({ parties, carol }) => share(fixPrecision(X), parties, { protocol: 'replicated', provider: carol }),
    ],
    [
      'secrets of two protocols',
      'ERR_PARTIES',
      /secrets of .* meet/,
      ({ parties, carol }) =>
        share(fixPrecision(X), parties, { protocol: 'replicated' }).add(
          share(fixPrecision(X), parties, { provider: carol }),
        ),
    ],
    [
      'a misspelt option of sharedZeros',
      'ERR_ARGUMENT_VALUE',
      /unknown option "providr"/,
      ({ parties }) => sharedZeros([2], parties, { providr: 1 } as never),
    ],
    [
      'no shape for sharedRandom',
      'ERR_ARGUMENT_TYPE',
      /shape, such as \[2, 3\]/,
      ({ parties, carol }) => sharedRandom([2.5], parties, { provider: carol }),
    ],
    ['shapes that do not fit', 'ERR_SHAPE', /\[3\].*\[2\]/, ({ x }) => x.mul([1, 2])],
    ['opening to somebody who is no worker', 'ERR_ARGUMENT_TYPE', /worker/, ({ x }) => x.revealTo('alice' as never)],
  ])('%s: %s', async (_, code, says, line) => {
    let thrown: unknown
    try {
      line(world)
    } catch (error) {
      thrown = error
    }
    expect(thrown).toMatchObject({ code, message: expect.stringMatching(says) })
    // Nothing was said to anybody: the group goes on.
    await expectProduct(product(world))
  })

  it('operations that need a provider, where there is none; the others go on without', async () => {
    const [bob, alice] = ['bob', 'alice'].map(worker) as [Worker, Worker]
    const x = share(fixPrecision(X), [bob, alice])
    const needs: Readonly<Record<string, () => unknown>> = {
      mul: () => x.mul(x),
      'mul by a fraction': () => x.mul(0.5),
      square: () => x.square(),
      div: () => x.div(3),
      mean: () => x.mean(),
      less: () => x.less(0),
      equal: () => x.equal(x),
      relu: () => x.relu(),
      max: () => x.max(),
      sharedRandom: () => sharedRandom([2], [bob, alice]),
    }
    for (const [name, action] of Object.entries(needs)) {
      expect([name, await failureOf(action)]).toEqual([
        name,
        expect.objectContaining({
          code: 'ERR_PROVIDER',
          message: expect.stringMatching(/bob, alice have none; share with \{ provider: worker \}/),
        }),
      ])
    }
    const y = x.add(x).sub(1).neg().mul(3).reshape([3, 1]).sum(1).add([0.5, 0.5, 0.5])
    expect(await valuesOf(y.reveal())).toEqual(X.map((v) => -3 * (2 * v - 1) + 0.5))
  })

  it('what was disposed of', async () => {
    const { x, y, alice, bob, parties, carol } = world
    const pointer = send(tf.tensor(X), bob)
    const fixed = fixPrecision(pointer)
    const z = x.add(y)
    z.dispose()
    z.dispose()
    const uses: (() => unknown)[] = [
      () => z.add(1),
      () => x.add(z),
      () => x.mul(z),
      () => z.mul(2),
      () => z.dot(z),
      () => z.reshape([3, 1]),
      () => z.less(x),
      () => z.relu(),
      () => x.stack(z),
      () => z.refresh(),
      () => z.detach(),
      () => z.get(),
      () => z.reveal(),
      () => z.revealTo(alice),
    ]
    for (const use of uses) expect([String(use), await codeOf(use)]).toEqual([String(use), 'ERR_CONSUMED'])
    expect(z.toString()).toContain('fixed(2^16) [3] among bob, alice, jane')
    await expectProduct(x.mul(y))

    fixed.dispose()
    expect(await codeOf(() => fixed.add(1))).toBe('ERR_CONSUMED')
    expect(await codeOf(() => share(fixed, parties, { provider: carol }))).toBe('ERR_CONSUMED')
    await pointer.get()
    expect(await codeOf(() => fixPrecision(pointer))).toBe('ERR_CONSUMED')
    await expectProduct(x.mul(y))
  })
})

describe('with limits', () => {
  beforeAll(readyForTest)
  const made: Worker[] = []
  afterEach(async () => {
    await Promise.all(made.splice(0).map((each) => each.close()))
  })
  const workers =
    (options: VirtualWorkerOptions, special: Readonly<Record<string, VirtualWorkerOptions>> = {}) =>
    (id: string): Worker => {
      const worker = new VirtualWorker(id, { codec: true, ...options, ...special[id] })
      made.push(worker)
      return worker
    }
  const impatient = workers({ limits: { peerTimeout: 50 } })

  it('a party that is silent is waited for, but not for ever; its name is told', async () => {
    const world = await makeWorld(impatient)
    const z = tampered(world.jane, 'secretRun', nothing, () => product(world))
    await Promise.allSettled(world.parties.map((party) => party.flush()))
    expect(await failureOf(() => z.reveal())).toMatchObject({
      code: 'ERR_TIMEOUT',
      message: expect.stringMatching(/jane .*within 50 ms/),
    })
    await expectOver(world, 'ERR_TIMEOUT')
    await expectServing(world)
  })

  it('a provider that is silent is waited for, but not for ever', async () => {
    const world = await makeWorld(impatient)
    const z = tampered(world.carol, 'secretDeal', nothing, () => product(world))
    expect(await codeOf(() => z.reveal())).toBe('ERR_TIMEOUT')
    await expectOver(world, 'ERR_TIMEOUT')
    await expectServing(world)
  })

  it('a flush tells of a party that was silent, when nobody asked for the secret', async () => {
    const world = await makeWorld(impatient)
    tampered(world.jane, 'secretRun', nothing, () => product(world))
    const heard = await Promise.allSettled(world.parties.map((party) => party.flush()))
    expect(heard.flatMap((one) => (one.status === 'rejected' ? [one.reason.code] : []))).toContain('ERR_TIMEOUT')
  })

  it('an owner that is silent fails its secret, and no other', async () => {
    const world = await makeWorld(impatient)
    const z = tampered(world.bob, 'secretShare', nothing, () =>
      share(fixPrecision(send(tf.tensor(X), world.bob)), world.parties, { provider: world.carol }),
    )
    expect(await failureOf(() => z.add(world.x).reveal())).toMatchObject({
      code: 'ERR_TIMEOUT',
      message: expect.stringContaining('bob'),
    })
    await expectProduct(product(world))
  })

  it.each(['carol', 'jane', 'bob'])(
    'a worker that is far away (%s) slows the others down and changes nothing',
    async (id) => {
      const world = await makeWorld(workers({}, { [id]: { latency: 4, jitter: 4, seed: 3 } }))
      const [z, less] = [product(world), world.x.less(world.y)]
      expect(await valuesOf(less.reveal())).toEqual([1, 1, 0])
      await expectProduct(z)
    },
  )

  it.each<[what: string, limits: VirtualWorkerOptions['limits'], action: (world: World) => SharedTensor]>([
    [
      'a share',
      { elements: 10 },
      ({ parties, carol }) => share(fixPrecision(Array(11).fill(1)), parties, { provider: carol }),
    ],
    ['a random secret', { elements: 10 }, ({ parties, carol }) => sharedRandom([11], parties, { provider: carol })],
    ['a result', { elements: 10 }, ({ x }) => x.tile([4])],
    // 48 to 80 bytes are there, and 24 elements are to come: 192 bytes, and not 96.
    ['a result, of eight bytes an element,', { bytes: 220 }, ({ x }) => x.tile([8])],
    [
      'a share, of eight bytes an element,',
      { bytes: 220 },
      ({ parties, carol }) => share(fixPrecision(Array(24).fill(1)), parties, { provider: carol }),
    ],
    [
      'a secret too many',
      { objects: 12 },
      ({ x }) => scope(() => Array.from({ length: 12 }).reduce((y: SharedTensor) => y.add(1), x)),
    ],
  ])('%s is refused with ERR_LIMIT, and the parties can share again', async (_, limits, action) => {
    const world = await makeWorld(workers({ limits: limits! }))
    const z = action(world)
    expect(await codeOf(() => z.reveal())).toBe('ERR_LIMIT')
    for (const secret of [z, world.x, world.y]) secret.dispose()
    await expectServing(world)
  })

  it('a share that is above the limit of one party alone is refused everywhere, and they can share again', async () => {
    const world = await makeWorld(workers({}, { jane: { limits: { elements: 10 } } }))
    const large = share(fixPrecision(Array(11).fill(1)), world.parties, { provider: world.carol })
    expect(await codeOf(() => large.reveal())).toBe('ERR_LIMIT')
    await expectOver(world, 'ERR_LIMIT')
    await expectServing(world)
  })
})
