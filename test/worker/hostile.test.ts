/**
 * A stranger plays bad frames against a worker that holds somebody else's objects.
 *
 * Two workers get the same frames. They differ in the victim's private values alone, so an answer that differs tells
 * something of a private value: nothing may.
 */
import { type OpName, ops, tf } from 'sotto'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { SeededRandom } from '../../src/data/random.ts'
import { type ModelWire, modelToWire } from '../../src/tensor/model-wire.ts'
import { compressions, pack } from '../../src/tensor/packed.ts'
import { toWire } from '../../src/tensor/wire.ts'
import { encode } from '../../src/worker/codec.ts'
import type { WorkerHost } from '../../src/worker/host.ts'
import { messageRow } from '../../src/worker/messages.ts'
import { type Frame, FrameKind } from '../../src/worker/protocol.ts'
import { checkRequest } from '../../src/worker/schema.ts'
import { MemoryListener } from '../../src/worker/transport/memory.ts'
import type { Transport } from '../../src/worker/transport/transport.ts'
import { readyForTest } from '../backend.ts'
import { withoutStacks } from '../stacks.ts'
import { placesIn, withText } from './foreign-ids.ts'
import { hostForTest, introductionOf, RawSession } from './raw-session.ts'
import { sampleBodies } from './sample-frames.ts'

beforeAll(async () => {
  await readyForTest()
  // What is told of the time differs from one run to the next, and tells nothing of a value.
  vi.spyOn(Date, 'now').mockReturnValue(0)
})

const NO_LABELS = { tags: [], description: '' }
const wire = (values: number[], shape: number[], dtype: 'float32' | 'int32' | 'bool' = 'float32') => {
  const t = tf.tensor(values, shape, dtype)
  const result = toWire(t)
  t.dispose()
  return result
}
const put = (out: string, value: ReturnType<typeof wire>, more: object = {}) => ({
  out,
  value,
  labels: NO_LABELS,
  privacy: null,
  requiresGrad: false,
  edge: null,
  ...more,
})
const run = (op: string, operands: unknown[], out: string, attrs: unknown[] = [], grad = false) => ({
  op,
  operands,
  attrs,
  out: [out],
  grad,
})

function modelWire(kernel: number): ModelWire {
  const model = tf.sequential({ name: 'net', layers: [tf.layers.dense({ name: 'dense', units: 2, inputShape: [3] })] })
  tf.tidy(() => model.setWeights([tf.fill([3, 2], kernel), tf.zeros([2])]))
  const result = modelToWire(model)
  model.dispose()
  return result
}

const VICTIMS = [
  'victim-public',
  'victim-private',
  'victim-hidden',
  'victim-indices',
  'victim-leaf',
  'victim-copy',
  'victim-loss',
  'victim-model',
  'victim-secret-model',
  'victim-optimizer',
]

interface World {
  readonly host: WorkerHost
  readonly alice: RawSession
  readonly bystander: RawSession
  /** What came to the stranger's own worker. */
  readonly delivered: unknown[]
  readonly eve: MemoryListener
}

/** A worker with a victim's objects on it; `secret` goes into the private ones. */
function makeWorld(secret: number): World {
  const { host } = hostForTest({ elements: 20_000, objects: 2_000, deposits: 200 })
  const alice = new RawSession(host).hello('alice')
  const hidden = { privacy: { allow: ['carol'], allowResults: ['dan'] } }
  const labels = { tags: ['#victim'], description: 'of the victim' }
  const ask = (name: string, body: unknown) => {
    const answer = alice.ask(name, body)
    if (answer && 'error' in answer) throw new Error(`${name}: ${answer.error.message}`)
  }
  ask('put', put('victim-public', wire([1, 2, 3, 4, 5, 6], [2, 3]), { labels }))
  ask('put', put('victim-private', wire([secret, 2, 3, -secret, 5, 6], [2, 3]), { labels, ...hidden }))
  // In one world an index of the private list is out of range of a list of two, in the other it is not.
  ask('put', put('victim-indices', wire([0, secret > 5 ? 9 : 1], [2], 'int32'), { labels, ...hidden }))
  // Under no tag: for no other session.
  ask('put', put('victim-hidden', wire([secret, 2, 3], [3]), { ...hidden, edge: 'victim-edge' }))
  ask('put', put('victim-leaf', wire([1, 2, 3], [3]), { labels, requiresGrad: true }))
  ask('copy', { id: 'victim-leaf', out: 'victim-copy', grad: true })
  ask('run', run('square', ['victim-leaf'], 'victim-loss', [], true))
  ask('run', run('sum', ['victim-loss'], 'victim-sum', [], true))
  ask('backward', { pass: null, end: false, retain: true, root: { id: 'victim-sum', seed: 1 } })
  ask('putModel', { out: 'victim-model', model: modelWire(0.5), labels, privacy: null, optimizers: [] })
  ask('putModel', { out: 'victim-secret-model', model: modelWire(secret), labels, ...hidden, optimizers: [] })
  ask('putOptimizer', {
    out: 'victim-optimizer',
    kind: 'adam',
    config: { learningRate: 0.5 },
    parameters: ['victim-model#0'],
  })
  const delivered: unknown[] = []
  const eve = new MemoryListener({}, (transport: Transport) =>
    transport.onFrame((frame) => {
      if (frame instanceof Error) throw frame
      if (frame[2] === 'deposit') delivered.push(frame[3])
    }),
  )
  return { host, alice, bystander: new RawSession(host).hello('bystander'), delivered, eve }
}

/** All that the victim has: ids, values, tags, rights, gradients, states. */
function possessions({ host }: World): Record<string, unknown> {
  const result: Record<string, unknown> = {}
  const values = (t: tf.Tensor | null) => t && { shape: t.shape, dtype: t.dtype, values: [...t.dataSync()] }
  for (const [id, stored] of host.store.entries()) {
    if (stored.owner !== 'alice') continue
    if (stored.kind === 'tensor') {
      const { tracked, labels, access, gradAccess } = stored
      result[id] = {
        value: values(tracked.tensor),
        grad: values(tracked.grad),
        requiresGrad: tracked.requiresGrad,
        graph: tracked.segment?.isFreed,
        labels,
        access,
        gradAccess,
      }
    } else if (stored.kind === 'model') {
      result[id] = stored.weights.map(({ name, tracked, access, gradAccess, trainable }) => ({
        name,
        access,
        gradAccess,
        trainable,
        requiresGrad: tracked.requiresGrad,
        value: values(tracked.tensor),
        grad: values(tracked.grad),
      }))
    } else if (stored.kind === 'optimizer') {
      const { config, step, slots, parameters } = stored
      result[id] = { config, step, slots: slots.size, parameters: parameters.length }
    } else result[id] = stored.kind
  }
  return result
}

/** Answers as one text. */
function textOf(answers: readonly unknown[]): string {
  return JSON.stringify(answers, (_, value) => {
    return value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value
  })
}

describe('a hostile session', () => {
  it('keeps the worlds apart in a comparison that can see a leak', () => {
    const worlds = [makeWorld(3), makeWorld(7)] as const
    const seen = (body: object) => worlds.map(({ alice }) => textOf([alice.ask('get', body)]))
    const [a, b] = seen({ id: 'victim-private', keep: true })
    expect(a).not.toBe(b)
    const [c, d] = seen({ id: 'victim-public', keep: true })
    expect(c).toBe(d)
    const before = possessions(worlds[0])
    worlds[0].alice.request('step', { id: 'victim-optimizer' })
    expect(possessions(worlds[0])).toEqual(before)
    worlds[0].alice.request('zeroGrad', { ids: ['victim-leaf'] })
    expect(possessions(worlds[0])).not.toEqual(before)
    for (const { host } of worlds) host.close()
  })

  const FRAMES = process.env['SOTTO_LONG'] ? 1_000_000 : 10_000
  const CHUNKS = 20
  it(`of ${FRAMES} random and mutated frames changes nothing, learns nothing and breaks nothing`, () => {
    withoutStacks()
    const worlds = [makeWorld(3), makeWorld(7)]
    const before = worlds.map(possessions)
    const tensors = tf.memory().numTensors
    const random = new SeededRandom(41)
    const counts = { frames: 0, sessions: 0, closed: 0, values: 0, failures: 0, silent: 0, delivered: 0, refused: 0 }
    const codes = new Map<string, number>()
    let mallory: RawSession[] = []
    let peers: RawSession[] = []
    const open = () => {
      counts.sessions++
      mallory = worlds.map(({ host, eve }) => {
        const session = new RawSession(host).hello('mallory')
        session.request('peers', { peers: [introductionOf('eve', eve.address)] })
        return session
      })
      peers = mallory.map((session) => session.peer('eve'))
    }
    const close = () => {
      for (const session of [...mallory, ...peers]) session.close()
    }
    open()
    for (let i = 0; i < FRAMES; i++) {
      const step = random.int(100)
      const [first] = mallory as [RawSession]
      const [name, body] = template(random)
      let attack: unknown
      let bytes: Uint8Array | undefined
      let toPeer = name === 'deposit'
      if (step < 1) attack = random.pick(malformed)(first.seq)
      else if (step < 16)
        bytes = mutatedBytes(
          random,
          encode([FrameKind.request, (toPeer ? peers[0]! : first).seq + 1, name, body] as Frame),
        )
      else if (step < 17) {
        bytes = Uint8Array.from({ length: random.int(60) }, () => random.int(256))
        toPeer = random.int(2) === 0
      } else
        attack = [
          FrameKind.request,
          (toPeer ? peers[0]! : first).seq + 1,
          name,
          step < 62 ? mutatedBody(random, body) : body,
        ]
      const outcomes = (toPeer ? peers : mallory).map((session, w) => {
        try {
          if (bytes) session.bytes(bytes)
          else session.raw(attack)
        } catch (error) {
          throw new Error(`frame ${i}: ${JSON.stringify(attack ?? Buffer.from(bytes!).toString('hex'))}`, {
            cause: error,
          })
        }
        session.seq++
        // A command that waits for a peer is cut off with its session; what is answered at once is compared.
        const waits = session.closed === undefined && session.ask('search', { tags: ['#none'] }) === undefined
        const answers = session.answers.splice(0)
        const delivered = worlds[w]!.delivered.splice(0)
        return { waits, closed: session.state, answers, delivered }
      })
      const [here, there] = outcomes.map(outcomeText)
      if (here !== there)
        throw new Error(`frame ${i} tells the worlds apart: ${difference(here!, there!)}\n${name} ${textOf([attack])}`)
      const { answers, closed, waits, delivered } = outcomes[0]!
      counts.delivered += delivered.length
      counts.frames++
      for (const [kind, , value] of answers.slice(0, closed === 'open' && !waits ? -1 : undefined)) {
        if (kind === FrameKind.reply) counts.values++
        if (kind === FrameKind.failure) {
          counts.failures++
          codes.set(value.code, (codes.get(value.code) ?? 0) + 1)
          // By its policies, and not because it is another session's.
          if (value.message.includes('is private to')) counts.refused++
        }
      }
      if (closed !== 'open') counts.closed++
      if (answers.length <= 1) counts.silent++
      if (closed !== 'open' || waits || i % 500 === 499) {
        close()
        open()
      }
      if (i % (FRAMES / CHUNKS) === 0) {
        worlds.forEach((world, w) => {
          expect(possessions(world)).toEqual(before[w])
          world.bystander.request('put', put('mine', wire([1, 2], [2])))
          world.bystander.request('run', run('add', ['mine', 1], 'sum'))
          expect(world.bystander.ask('get', { id: 'sum', keep: false })).toEqual({ value: wire([2, 3], [2]) })
          world.bystander.request('free', { ids: ['mine'] })
        })
      }
    }
    close()
    worlds.forEach((world, w) => {
      expect(possessions(world)).toEqual(before[w])
      expect(world.bystander.state).toBe('open')
      // Nothing of the stranger's is left, and the victim works on.
      expect([...world.host.store.entries()].filter(([, { owner }]) => owner !== 'alice')).toEqual([])
      expect(
        world.alice.outcome('backward', { pass: null, end: false, retain: false, root: { id: 'victim-sum', seed: 1 } }),
      ).toBe('no answer')
      expect(world.alice.outcome('get', { id: 'victim-leaf#grad', keep: true })).toBe('value')
    })
    if (process.env['SOTTO_LONG']) console.log(counts, Object.fromEntries(codes))
    // Every way to end happens often, or the frames are no test.
    expect(counts.frames).toBe(FRAMES)
    expect(Math.min(counts.closed, counts.values, counts.failures, counts.silent)).toBeGreaterThan(FRAMES / 50)
    expect(Math.min(counts.delivered, counts.refused)).toBeGreaterThan(FRAMES / 1000)
    for (const code of ['ERR_PROTOCOL', 'ERR_NOT_FOUND', 'ERR_PERMISSION', 'ERR_SHAPE', 'ERR_UNKNOWN_OP']) {
      expect([code, codes.get(code) ?? 0]).toEqual([code, expect.toSatisfy((n: number) => n > FRAMES / 2000)])
    }
    // The backward pass above freed the victim's graphs; the stranger left no tensor behind.
    expect(tf.memory().numTensors).toBeLessThanOrEqual(tensors)
    for (const { host, eve } of worlds) {
      host.close()
      eve.close()
    }
  }, 600_000)
})

/** Another session's objects that bear no tags: an id of every kind. */
const HIDDEN = [
  'hidden',
  'hidden#grad',
  'hidden-model',
  'hidden-model#0',
  'hidden-model#0#grad',
  'hidden-optimizer',
  'hidden-edge',
  'hidden-failed',
  'hidden-fixed',
  'hidden-remainder',
] as const

/** Texts in messages that name no object that there is. */
const NO_OBJECT: readonly string[] = [
  // Labels, names, keys and texts.
  ...['hello.name', 'hello.session', 'search.tags[]', 'run.op', 'receive.key', 'receive.from', 'transfer.to'],
  ...['transfer.key', 'relay.pass', 'relay.to', 'relay.key', 'relayHome.pass', 'backward.root.from'],
  ...['backward.root.key', 'put.labels.tags[]', 'put.labels.description', 'put.privacy.allow[]'],
  ...['putModel.model.topology', 'putModel.model.weights[].name', 'putModel.model.optimizers[].slots[].name'],
  ...['putModel.labels.tags[]', 'putModel.labels.description'],
  ...['saveModel', 'restoreModel', 'removeCheckpoint'].map((name) => `${name}.name`),
  ...['name', 'address', 'key', 'capability.session', 'capability.name'].map((field) => `peers.peers[].${field}`),
  // Ids for what is made.
  ...['put', 'copy', 'detach', 'receive', 'putModel', 'copyModel', 'putOptimizer'].map((name) => `${name}.out`),
  ...[
    'run.out[]',
    'apply.out[]',
    'put.edge',
    'transfer.edge',
    'receive.edge',
    'receive.optimizers[]',
    'putModel.optimizers[]',
  ],
]
/** Frees come late, from garbage collectors: what cannot be freed is passed over. */
const PASSED_OVER: readonly string[] = ['free.ids[]']

describe('the id of an object of another session', () => {
  /** Every message that a caller may send, and some in other forms. */
  const messages: (readonly [name: string, body: object])[] = [
    ...Object.entries(sampleBodies).filter(([name]) => !messageRow(name)!.isFromPeer),
    ['backward', { ...sampleBodies.backward, root: { id: 'x', seed: 'y' } }],
    ['backward', { ...sampleBodies.backward, root: { edge: 'edge', from: 'alice', key: 'key' } }],
    ['transfer', { ...sampleBodies.transfer, id: 'net', optimizers: ['y'] }],
    ['transfer', { ...sampleBodies.transfer, edge: null, compress: { encoding: 'int8', remainder: 'z' } }],
    ['receive', { ...sampleBodies.receive, optimizers: ['y'] }],
    ['put', { ...sampleBodies.put, edge: 'edge' }],
    ['apply', { ...sampleBodies.apply, operands: ['x', 'x'] }],
  ]
  const takes = (message: string, body: unknown): boolean => {
    try {
      checkRequest(message, messageRow(message)!.schema, body)
      return true
    } catch {
      return false
    }
  }
  const cases = placesIn(messages).flatMap((place) => {
    const ids = HIDDEN.filter((id) => takes(place.message, withText(place.body, place.path, id)))
    return ids.length === 0 ? [] : [{ ...place, ids }]
  })
  const naming = cases.filter(({ place }) => !NO_OBJECT.includes(place))

  let worlds: World[]
  let before: Record<string, unknown>[]
  beforeAll(() => {
    worlds = [makeWorld(3), makeWorld(7)]
    for (const { alice, host } of worlds) {
      const ask = (name: string, body: unknown) =>
        expect([name, alice.outcome(name, body)]).toEqual([name, 'no answer'])
      const [secret] = [...host.store.entries()].flatMap(([id, stored]) =>
        id === 'victim-hidden' && stored.kind === 'tensor' ? [stored.tracked.tensor.dataSync()[0]!] : [],
      )
      ask('put', put('hidden', wire([secret!, 1], [2]), { requiresGrad: true, edge: 'hidden-edge' }))
      ask('putModel', {
        out: 'hidden-model',
        model: modelWire(secret!),
        labels: NO_LABELS,
        privacy: null,
        optimizers: [],
      })
      const parameters = ['hidden-model#0']
      ask('putOptimizer', { out: 'hidden-optimizer', kind: 'adam', config: { learningRate: 0.5 }, parameters })
      ask('apply', {
        model: 'hidden-model',
        operands: [wire([1, 2, 3], [1, 3])],
        out: ['o'],
        training: true,
        grad: true,
      })
      ask('run', run('sum', ['o'], 'l', [], true))
      ask('backward', { pass: null, end: false, retain: false, root: { id: 'l', seed: 1 } })
      ask('run', run('sum', ['hidden'], 'm', [], true))
      ask('backward', { pass: null, end: false, retain: false, root: { id: 'm', seed: 1 } })
      ask('fixTensor', {
        id: 'hidden',
        out: 'hidden-fixed',
        encoding: { ring: 64, dtype: 'float32', base: 2, precisionFractional: 16 },
      })
      const compress = { encoding: 'int8', remainder: 'hidden-remainder' }
      const transfer = { id: 'hidden', to: 'nobody', key: 'k', keep: true, edge: null, optimizers: [], compress }
      expect(alice.outcome('transfer', transfer)).toBe('ERR_UNKNOWN_PEER')
      expect(alice.outcome('run', run('gather', ['hidden', wire([9], [1], 'int32')], 'hidden-failed'))).not.toBe(
        'no answer',
      )
      expect(HIDDEN.map((id) => host.store.has(id.split('#')[0]!))).toEqual(HIDDEN.map(() => true))
    }
    before = worlds.map(possessions)
  })
  afterAll(() => {
    for (const { host, eve } of worlds) {
      host.close()
      eve.close()
    }
  })

  /** A stranger says it in both worlds, with objects of its own under the names of the samples. */
  function say(name: string, body: unknown) {
    return worlds.map(({ host, eve, delivered }) => {
      const mallory = new RawSession(host).hello('mallory')
      mallory.request('peers', { peers: ['alice', 'bob'].map((peer) => introductionOf(peer, eve.address)) })
      mallory.request('put', put('x', wire([1, 2], [2]), { requiresGrad: true }))
      mallory.request('putModel', { out: 'net', model: modelWire(1), labels: NO_LABELS, privacy: null, optimizers: [] })
      expect(mallory.answers).toHaveLength(1)
      const refused = () =>
        host.ledger
          .entries()
          .filter(
            ({ event, operation, why }) => event === 'refused' && operation === name && why === 'asked by mallory',
          )
          .map(({ count, bytes, from, to, shape }) => ({ count, bytes, from, to, shape }))
      const earlier = refused()
      const answer = mallory.ask(name, body)
      const { state } = mallory
      mallory.close()
      return { answer, state, delivered: delivered.splice(0), earlier, later: refused() }
    })
  }

  it('is looked for in every message that takes one', () => {
    expect(naming.length).toBeGreaterThan(25)
    // Of each place that is said to name none there is a message.
    const places = cases.map(({ place }) => place)
    expect([...NO_OBJECT, ...PASSED_OVER].filter((place) => !places.includes(place))).toEqual([])
  })

  it.each(naming.map((one) => [one.place, JSON.stringify(one.body).slice(0, 60), one] as const))(
    'is refused in %s: ERR_PERMISSION, nothing is told, and the ledger says so (%s)',
    (place, _, { message, body, path, ids }) => {
      for (const id of ids) {
        const [here, there] = say(message, withText(body, path, id))
        expect(textOf([here])).toBe(textOf([there]))
        const { answer, state, earlier, later, delivered } = here!
        expect([id, state]).toEqual([id, 'open'])
        expect(worlds.map(possessions)).toEqual(before)
        if (PASSED_OVER.includes(place)) {
          expect([id, answer, later]).toEqual([id, undefined, earlier])
          continue
        }
        expect([id, answer]).toMatchObject([
          id,
          { error: { code: 'ERR_PERMISSION', message: expect.stringContaining('belongs to another session') } },
        ])
        expect(later).toEqual([
          { count: (earlier[0]?.count ?? 0) + 1, bytes: 0, from: 'bob', to: 'mallory', shape: [] },
        ])
        // Whoever waits for what was to come hears that it failed, and no more.
        for (const { content } of delivered as { content: object }[]) {
          expect(content).toMatchObject({ kind: 'failed', error: { code: 'ERR_PERMISSION' } })
        }
      }
    },
  )

  it('names nothing new, and says nothing of what it names, where it is no id', () => {
    for (const { place, message, body, path, ids } of cases) {
      if (!NO_OBJECT.includes(place)) continue
      for (const id of ids) {
        const [here, there] = say(message, withText(body, path, id))
        expect([place, id, textOf([here])]).toEqual([place, id, textOf([there])])
        expect([place, worlds.map(possessions)]).toEqual([place, before])
      }
    }
  })

  it('is not in lists either, where those with tags are', () => {
    const [{ host }] = worlds as [World, World]
    const mallory = new RawSession(host).hello('mallory')
    const listed = (name: string, body: object) =>
      (mallory.ask(name, body) as { value: { id: string }[] }).value.map(({ id }) => id).sort()
    const tagged = ['victim-copy', 'victim-indices', 'victim-leaf', 'victim-private', 'victim-public']
    expect(listed('search', { tags: [] })).toEqual(tagged)
    expect(listed('search', { tags: ['#victim'] })).toEqual(tagged)
    expect(listed('objects', {})).toEqual([...tagged, 'victim-model', 'victim-secret-model'].sort())
    mallory.close()
  })

  it('is good for its own session, and with tags for others', () => {
    const [{ host, alice }] = worlds as [World, World]
    expect(alice.outcome('get', { id: 'hidden', keep: true })).toBe('value')
    expect(alice.outcome('getModel', { id: 'hidden-model', keep: true, optimizers: ['hidden-optimizer'] })).toBe(
      'value',
    )
    const mallory = new RawSession(host).hello('mallory')
    const uses: [name: string, body: object, outcome: string][] = [
      ['get', { id: 'victim-public', keep: false }, 'value'],
      ['get', { id: 'victim-leaf#grad', keep: true }, 'value'],
      ['get', { id: 'victim-model#0', keep: true }, 'value'],
      ['run', run('add', ['victim-public', 1], 'a'), 'no answer'],
      ['run', run('add', ['victim-private', 1], 'b'), 'no answer'],
      ['copy', { id: 'victim-private', out: 'c', grad: true }, 'no answer'],
      ['detach', { id: 'victim-model#1', out: 'd' }, 'no answer'],
      ['copyModel', { id: 'victim-model', out: 'e' }, 'no answer'],
      [
        'apply',
        { model: 'victim-model', operands: ['victim-public'], out: ['f'], training: false, grad: false },
        'no answer',
      ],
      ['getModel', { id: 'victim-model', keep: false, optimizers: [] }, 'value'],
    ]
    for (const [name, body, outcome] of uses)
      expect([name, body, mallory.outcome(name, body)]).toEqual([name, body, outcome])
    mallory.close()
    expect(worlds.map(possessions)).toEqual(before)
  })

  it('is another session’s for the same identity too', () => {
    const [{ host }] = worlds as [World, World]
    const again = new RawSession(host).hello('alice', { session: 'again' })
    expect(again.outcome('get', { id: 'hidden', keep: true })).toBe('ERR_PERMISSION')
    again.request('free', { ids: ['hidden', 'victim-hidden', 'hidden-optimizer'] })
    // What it has published, it may change in any session.
    expect(again.outcome('zeroGrad', { ids: ['victim-leaf'] })).toBe('no answer')
    again.close()
    expect(possessions(worlds[0]!)).toEqual({
      ...before[0],
      'victim-leaf': { ...(before[0]!['victim-leaf'] as object), grad: null },
    })
  })
})

describe('a session', () => {
  const open = () => {
    const { host } = hostForTest({ objects: 100, deposits: 3 })
    const other = new RawSession(host).hello('other')
    other.request('put', put('kept', wire([1, 2], [2]), { labels: { tags: ['#kept'], description: '' } }))
    return { host, session: new RawSession(host).hello('mallory'), other }
  }
  const lives = (other: RawSession) => {
    expect(other.state).toBe('open')
    expect(other.ask('get', { id: 'kept', keep: true })).toEqual({ value: wire([1, 2], [2]) })
  }

  it.each(malformed.map((make, i) => [`${String(JSON.stringify(make(1)))} (${i})`, make] as const))(
    'closes with ERR_PROTOCOL on the envelope %s, and no other session does',
    (_, make) => {
      const { session, other, host } = open()
      session.request('put', put('mine', wire([1], [1])))
      const made = make(session.seq)
      session.raw(made instanceof Error ? Object.assign(made, { code: 'ERR_PROTOCOL' }) : made)
      expect(session.state).toBe('ERR_PROTOCOL')
      session.request('put', put('later', wire([1], [1])))
      expect([...host.store.entries()].map(([id]) => id)).toEqual(['kept'])
      lives(other)
    },
  )

  it('closes with ERR_PROTOCOL on bytes that are no MessagePack', () => {
    const { session, other } = open()
    session.bytes(new Uint8Array([0xc1, 0xff]))
    expect(session.state).toBe('ERR_PROTOCOL')
    lives(other)
  })

  it.each([
    ['noSuchMessage', {}, 'ERR_UNKNOWN_MESSAGE'],
    ['constructor', {}, 'ERR_UNKNOWN_MESSAGE'],
    ['__proto__', {}, 'ERR_UNKNOWN_MESSAGE'],
    ['put', {}, 'ERR_PROTOCOL'],
    ['put', null, 'ERR_PROTOCOL'],
    ['flush', { extra: 1 }, 'ERR_PROTOCOL'],
    ['get', { id: '../../etc', keep: true }, 'ERR_PROTOCOL'],
    ['get', { id: 'nobody', keep: true }, 'ERR_NOT_FOUND'],
    ['put', put('a', { shape: [3], dtype: 'float32', data: new Uint8Array(11) }), 'ERR_PROTOCOL'],
    ['put', put('a', { shape: [2 ** 40, 2 ** 40], dtype: 'float32', data: new Uint8Array(0) }), 'ERR_PROTOCOL'],
    ['put', put('kept', wire([1], [1])), 'ERR_ID_TAKEN'],
    ['run', run('noSuchOp', ['kept'], 'a'), 'ERR_UNKNOWN_OP'],
    ['run', run('toString', ['kept'], 'a'), 'ERR_UNKNOWN_OP'],
    ['run', run('add', ['kept', wire([1, 2, 3], [3])], 'a'), 'ERR_SHAPE'],
    ['run', run('tile', ['kept'], 'a', [[2 ** 40]]), 'ERR_LIMIT'],
    ['zeroGrad', { ids: ['kept'] }, 'ERR_PERMISSION'],
    ['backward', { pass: null, end: false, retain: false, root: { id: 'kept', seed: 1 } }, 'ERR_PERMISSION'],
    ['deposit', { key: 'k', content: { kind: 'none' } }, 'ERR_PERMISSION'],
    ['hello', { version: 1, name: 'other', session: 's', secret: null }, 'ERR_PROTOCOL'],
    ['transfer', { id: 'kept', to: 'nobody', key: 'k', keep: true, edge: null, optimizers: [] }, 'ERR_UNKNOWN_PEER'],
  ])('lives on after %s of %j, which fails with %s', (name, body, code) => {
    const { session, other } = open()
    expect(session.outcome(name, body)).toBe(code)
    expect(session.state).toBe('open')
    expect(session.outcome('objects', {})).toBe('value')
    lives(other)
  })

  it('says where a body is malformed and never what came in it', () => {
    const { session } = open()
    const answer = session.ask('put', { ...put('a', wire([1], [1])), privacy: { allow: ['secret-name', 7] } })
    expect(answer).toMatchObject({ error: { code: 'ERR_PROTOCOL', message: expect.stringContaining('"privacy') } })
    expect(JSON.stringify(answer)).not.toContain('secret-name')
  })

  it('must begin with hello', () => {
    const { host, other } = open()
    for (const name of ['flush', 'put', 'noSuchMessage']) {
      const session = new RawSession(host)
      session.request(name, {})
      expect(session.closed).toBeDefined()
      lives(other)
    }
    const session = new RawSession(host)
    expect(session.outcome('flush', {})).toBe('ERR_PROTOCOL')
    expect(session.state).toBe('ERR_PROTOCOL')
  })

  it('of another version is told so and closed', () => {
    const { host } = open()
    for (const version of [0, 2]) {
      const session = new RawSession(host)
      session.hello('mallory', { version })
      expect(session.answer(1)).toMatchObject({ error: { code: 'ERR_VERSION' } })
      expect(session.state).toBe('ERR_VERSION')
    }
  })

  it('of a peer may deposit, and nothing else', () => {
    const { session, other } = open()
    const peer = session.peer('alice')
    for (const [name, body] of Object.entries(sampleBodies)) {
      if (name === 'deposit') continue
      expect([name, peer.outcome(name, body)]).toEqual([name, 'ERR_PERMISSION'])
    }
    expect(peer.outcome('deposit', sampleBodies.deposit)).toBe('no answer')
    expect(peer.outcome('deposit', sampleBodies.deposit)).toBe('ERR_ID_TAKEN')
    expect(peer.outcome('deposit', { key: 'k2', content: { kind: 'none' } })).toBe('no answer')
    expect(peer.outcome('deposit', { key: 'k3', content: { kind: 'none' } })).toBe('no answer')
    expect(peer.outcome('deposit', { key: 'k4', content: { kind: 'none' } })).toBe('ERR_LIMIT')
    lives(other)
    peer.raw([FrameKind.tunnel, 't', '', new Uint8Array(1)])
    expect(peer.state).toBe('ERR_PROTOCOL')
    expect(session.state).toBe('open')
  })

  const receive = (out: string) => ({ key: 'k', from: 'alice', out, edge: null, optimizers: [] })
  const deposit = (values: number[]) => ({
    key: 'k',
    content: { kind: 'tensor', value: wire(values, [values.length]), labels: NO_LABELS, access: [] },
  })
  const turn = () => new Promise((resolve) => setTimeout(resolve, 0))

  it('takes from the peer that it names, and not what another hands over under the same key', async () => {
    const { session } = open()
    session.peer('eve').request('deposit', deposit([6, 6]))
    session.request('receive', receive('moved'))
    const waiting = session.request('get', { id: 'moved', keep: true })
    await turn()
    expect(session.answer(waiting)).toBeUndefined()
    session.peer('alice').request('deposit', deposit([1, 2]))
    await turn()
    expect(session.answer(waiting)).toEqual({ value: wire([1, 2], [2]) })
  })

  it('takes what was deposited for it, and not for another session under the same key by a peer of that name', async () => {
    const { session, other } = open()
    session.request('receive', receive('mine'))
    const mine = session.request('get', { id: 'mine', keep: true })
    // One deposit comes while the stranger waits, and one is there when it asks again.
    const peer = other.peer('alice')
    peer.request('deposit', deposit([6, 6]))
    await turn()
    expect(session.answer(mine)).toBeUndefined()
    session.peer('alice').request('deposit', deposit([1, 2]))
    await turn()
    expect(session.answer(mine)).toEqual({ value: wire([1, 2], [2]) })
    session.request('receive', receive('more'))
    const more = session.request('get', { id: 'more', keep: true })
    await turn()
    expect(session.answer(more)).toBeUndefined()
    other.request('receive', receive('theirs'))
    expect(other.ask('get', { id: 'theirs', keep: true })).toEqual({ value: wire([6, 6], [2]) })
  })

  it('that ends while it waits for a peer leaves nothing behind, and its peers are sent away', async () => {
    const { host, session } = open()
    session.request('receive', receive('moved'))
    const peer = session.peer('alice')
    peer.request('deposit', { ...deposit([1]), key: 'other' })
    expect(host.mailboxCount).toMatchObject({ deposits: 1, bytes: 4 })
    session.close()
    expect(peer.state).toBe('ERR_SESSION_CLOSED')
    peer.request('deposit', deposit([1]))
    await turn()
    expect([...host.store.entries()].map(([id]) => id)).toEqual(['kept'])
    expect(host.mailboxCount).toMatchObject({ deposits: 0, bytes: 0 })
  })

  it('cannot fill the worker beyond its limit, with failures either', () => {
    const { host, session } = open()
    for (let i = 0; i < 300; i++) session.request('run', run('noSuchOp', ['kept'], `f${i}`))
    expect(host.store.count).toBe(100)
    expect(session.outcome('put', put('one-more', wire([1], [1])))).toBe('ERR_LIMIT')
  })

  it('cannot fill the worker with names of peers and of backward passes', () => {
    const { session } = open()
    const peers = (from: number) => Array.from({ length: 1024 }, (_, i) => introductionOf(`p${from + i}`, 'nowhere'))
    for (let i = 0; i < 4; i++) expect(session.outcome('peers', { peers: peers(i * 1024) })).toBe('no answer')
    expect(session.outcome('peers', { peers: peers(4096) })).toBe('ERR_LIMIT')
    expect(session.outcome('peers', { peers: peers(0) })).toBe('no answer')
    const pass = (i: number) => ({ pass: `p${i}`, end: false, retain: false, edge: 'none' })
    for (let i = 0; i < 1024; i++) session.request('relayHome', pass(i))
    expect(session.outcome('relayHome', pass(1024))).toBe('ERR_LIMIT')
    expect(session.state).toBe('open')
  })

  it('cannot take away a model that it moves and does not own', () => {
    const { host, other, session } = open()
    const labels = { tags: ['#net'], description: '' }
    other.request('putModel', { out: 'net', model: modelWire(1), labels, privacy: null, optimizers: [] })
    const eve = new MemoryListener({}, (transport) => transport.onFrame(() => {}))
    session.request('peers', { peers: [introductionOf('eve', eve.address)] })
    const move = { id: 'net', to: 'eve', key: 'k', keep: false, edge: null, optimizers: [] }
    expect(session.outcome('transfer', move)).toBe('no answer')
    expect(host.store.has('net')).toBe(true)
    expect(other.outcome('getModel', { id: 'net', keep: true, optimizers: [] })).toBe('value')
  })

  it("cannot free the graph of another's tensor by running backward through it", () => {
    const { other, session } = open()
    const labels = { tags: ['#leaf'], description: '' }
    other.request('put', put('leaf', wire([1, 2], [2]), { labels, requiresGrad: true }))
    // A copy bears the tags of what it was made of.
    other.request('copy', { id: 'leaf', out: 'loss', grad: true })
    const body = { pass: null, end: false, retain: false, root: { id: 'loss', seed: 1 } }
    expect(session.ask('backward', body)).toMatchObject({
      error: { code: 'ERR_PERMISSION', message: expect.stringContaining('belongs to other') },
    })
    expect(other.outcome('backward', body)).toBe('no answer')
    expect(other.ask('get', { id: 'leaf#grad', keep: true })).toEqual({ value: wire([1, 1], [2]) })
  })

  it('is not told whether an operation on private values failed, by no list and no ledger', () => {
    const seen = [1, 9].map((index) => {
      const { host, other, session } = open()
      const labels = { tags: ['#secret'], description: '' }
      const privacy = { allow: [], allowResults: [] }
      other.request('put', put('secret', wire([0, index], [2], 'int32'), { labels, privacy }))
      session.request('run', run('gather', ['kept', 'secret'], 'result'))
      session.request('run', run('neg', ['result'], 'further'))
      const asked: [string, unknown][] = [
        ['objects', {}],
        ['search', { tags: [] }],
        ['flush', {}],
        ['get', { id: 'result', keep: true }],
        ['get', { id: 'further', keep: true }],
        ['requireGrad', { id: 'result', requiresGrad: true }],
        ['objects', {}],
        ['ledger', {}],
      ]
      const answers = textOf(asked.map(([name, body]) => session.ask(name, body) ?? 'nothing'))
      const failed = other.outcome('run', run('gather', ['kept', 'secret'], 'own'))
      host.close()
      return { answers, failed }
    })
    // The owner is told, so the operation does fail in one of the two.
    expect(seen.map(({ failed }) => failed === 'no answer')).toEqual([true, false])
    expect(seen[0]!.answers).toBe(seen[1]!.answers)
  })
})

/** All that the stranger gets to see of a frame's effects. */
const outcomeText = (outcome: { waits: boolean; closed: string; answers: Frame[]; delivered: unknown[] }) =>
  textOf([outcome])

/** Where two texts part, with what stands around. */
function difference(a: string, b: string): string {
  let at = 0
  while (a[at] === b[at]) at++
  return `\n${a.slice(Math.max(0, at - 300), at + 100)}\n${b.slice(Math.max(0, at - 300), at + 100)}`
}

/** Envelopes that no peer may send. */
const malformed: ((seq: number) => unknown)[] = [
  (seq) => [FrameKind.request, seq, 'flush', {}],
  (seq) => [FrameKind.request, seq + 2, 'flush', {}],
  (seq) => [FrameKind.request, seq + 1.5, 'flush', {}],
  (seq) => [FrameKind.request, `${seq + 1}`, 'flush', {}],
  (seq) => [FrameKind.request, seq + 1, 'flush'],
  (seq) => [FrameKind.request, seq + 1, 7, {}],
  (seq) => [FrameKind.reply, seq + 1, null],
  (seq) => [FrameKind.ack, seq + 1],
  (seq) => [9, seq + 1, 'flush', {}],
  () => [],
  () => null,
  () => 'flush',
  () => ({ 0: 1, 1: 1, length: 4 }),
  () => new Error('not a frame'),
]

// What draws at random when it is given no seed: the worlds would differ by themselves.
const opNames = (Object.keys(ops) as OpName[]).filter((name) => name !== 'dropout' && name !== 'addGaussianNoise')
const theModel: { wire?: ModelWire } = {}

/** A well-formed request about the stranger's own objects and the victim's. */
function template(random: SeededRandom): [string, Record<string, unknown>] {
  const mine = () => `m${random.int(12)}`
  const id = (): string => {
    const kind = random.int(12)
    if (kind < 6) return mine()
    if (kind < 10) return random.pick(VICTIMS)
    return kind === 10 ? `${random.pick(VICTIMS)}#grad` : `victim-${random.pick(['', 'secret-'])}model#${random.int(3)}`
  }
  const flag = () => random.int(2) === 0
  const key = () => `k${random.int(6)}`
  const edge = () => (flag() ? null : `e${random.int(6)}`)
  const shape = () => random.pick([[], [2], [3], [2, 3], [1, 3], [2, 2, 1, 2]])
  const tensor = () => {
    const dims = shape()
    const size = dims.reduce((a, b) => a * b, 1)
    const dtype = random.pick(['float32', 'int32', 'bool'] as const)
    return wire(
      Array.from({ length: size }, () => random.int(dtype === 'bool' ? 2 : 4)),
      dims,
      dtype,
    )
  }
  const encoding = () => random.pick(compressions)
  const compress = () => (flag() ? {} : { compress: { encoding: encoding(), remainder: flag() ? null : mine() } })
  const part = () => ({ pass: flag() ? null : `p${random.int(3)}`, end: flag(), retain: flag() })
  const operand = () => (random.int(8) === 0 ? random.pick<unknown>([1, -2.5, true, null, tensor()]) : id())
  const labels = { tags: flag() ? [] : ['#victim'], description: '' }
  const privacy = () => random.pick([null, null, { allow: [], allowResults: ['alice'] }])
  theModel.wire ??= modelWire(0.25)
  switch (random.int(30)) {
    case 0:
    case 1:
    case 2:
      return ['put', { out: mine(), value: tensor(), labels, privacy: privacy(), requiresGrad: flag(), edge: edge() }]
    case 3:
    case 4:
    case 5:
    case 6:
    case 7: {
      const op = random.pick(opNames)
      const operands = Array.from({ length: op === 'where' ? 3 : 1 + random.int(2) }, operand)
      const attrs = Array.from({ length: random.int(3) }, () =>
        random.pick<unknown>([0, 1, -1, 2, [0], [2, 3], true, 'mean', 'float32', null]),
      )
      return ['run', { op, operands, attrs, out: [mine()], grad: flag() }]
    }
    case 8:
      return ['run', run('gather', [random.pick(['victim-public', mine()]), 'victim-indices'], mine())]
    case 9:
    case 10:
      return ['get', { id: id(), keep: flag() }]
    case 11:
      return ['free', { ids: [id(), id()] }]
    case 12:
      return ['copy', { id: id(), out: mine(), grad: flag() }]
    case 13:
      return ['detach', { id: id(), out: mine() }]
    case 14:
      return ['requireGrad', { id: id(), requiresGrad: flag() }]
    case 15:
      return ['zeroGrad', { ids: [id()] }]
    case 16:
    case 17:
      return [
        'transfer',
        {
          id: id(),
          to: 'eve',
          key: key(),
          keep: flag(),
          edge: edge(),
          optimizers: flag() ? [] : [id().split('#')[0]!],
          ...compress(),
        },
      ]
    case 18:
      return ['receive', { key: key(), from: 'eve', out: mine(), edge: edge(), optimizers: [] }]
    case 19: {
      const content = random.pick<unknown>([
        { kind: 'none' },
        { kind: 'tensor', value: tensor(), labels, access: [{ owner: 'alice', allow: ['mallory'], allowResults: [] }] },
        { kind: 'tensor', value: pack(new Float32Array(16), [2, 8], encoding()), labels, access: [] },
        { kind: 'model', value: theModel.wire, labels, access: [] },
        { kind: 'failed', error: { code: 'ERR_SHAPE', message: 'no', worker: 'eve', origin: 'x:1' }, access: [] },
      ])
      return ['deposit', { key: key(), content }]
    }
    case 20: {
      const root = flag() ? { id: id(), seed: operand() } : { edge: `e${random.int(6)}`, from: 'eve', key: key() }
      return ['backward', { ...part(), root }]
    }
    case 21:
      return ['relay', { ...part(), edge: `e${random.int(6)}`, to: 'eve', key: key(), ...compress() }]
    case 22:
      return ['relayHome', { ...part(), edge: `e${random.int(6)}` }]
    case 23:
      return ['putModel', { out: mine(), model: theModel.wire, labels, privacy: privacy(), optimizers: [] }]
    case 24:
      if (flag()) return ['assign', { model: id().split('#')[0], values: [id(), id()] }]
      return flag()
        ? ['copyModel', { id: id().split('#')[0], out: mine() }]
        : ['getModel', { id: id().split('#')[0], keep: flag(), optimizers: flag() ? [] : ['victim-optimizer'] }]
    case 25:
      return [
        'apply',
        { model: id().split('#')[0], operands: [operand()], out: [mine()], training: flag(), grad: flag() },
      ]
    case 26:
      return [
        'putOptimizer',
        {
          out: mine(),
          kind: random.pick(['sgd', 'adam', 'rmsprop']),
          config: { learningRate: 0.5 },
          parameters: [id(), `${mine()}#0`],
        },
      ]
    case 27:
      return flag()
        ? ['configure', { id: random.pick(['victim-optimizer', mine()]), config: { learningRate: 9 } }]
        : ['step', { id: random.pick(['victim-optimizer', mine()]) }]
    case 28:
      return ['peers', { peers: [introductionOf(random.pick(['bob', 'frank']), 'memory:nowhere')] }]
    default:
      return random.pick<[string, Record<string, unknown>]>([
        ['search', { tags: [] }],
        ['objects', {}],
        ['flush', {}],
        ['ledger', {}],
        ['hello', { version: 1, name: 'mallory', session: 'm', secret: null }],
        ['constructor', {}],
        ['__proto__', {}],
        ['noSuchMessage', {}],
      ])
  }
}

const JUNK: readonly unknown[] = [
  null,
  true,
  0,
  -1,
  0.5,
  2 ** 31,
  1e9,
  2 ** 53,
  Number.NaN,
  '',
  'victim-private',
  'victim-model',
  'victim-private#grad',
  'victim-secret-model#0',
  'victim-private#grad#grad',
  '__proto__',
  'constructor',
  'x'.repeat(5000),
  [],
  [[]],
  [2 ** 31],
  [0, 2 ** 40],
  {},
  { constructor: 1 },
  new Uint8Array(3),
  { shape: [0, 1e9], dtype: 'float32', data: new Uint8Array(0) },
  { shape: [2], dtype: 'complex64', data: new Uint8Array(16) },
]

/** The body with one place changed: replaced, taken out, or something put beside it. */
function mutatedBody(random: SeededRandom, body: unknown): unknown {
  if (typeof body !== 'object' || body === null || body instanceof Uint8Array || random.int(10) === 0)
    return random.pick(JUNK)
  const names = Object.keys(body)
  const action = random.int(12)
  if (Array.isArray(body)) {
    if (body.length === 0 || action === 0) return [...body, random.pick(JUNK)]
    const at = random.int(body.length)
    return body.map((item, i) => (i === at ? mutatedBody(random, item) : item))
  }
  if (names.length === 0 || action === 0)
    return { ...body, [random.pick(['extra', 'id', 'out', 'toString'])]: random.pick(JUNK) }
  const at = random.pick(names)
  const entries = Object.entries(body)
  if (action === 1) return Object.fromEntries(entries.filter(([name]) => name !== at))
  return Object.fromEntries(entries.map(([name, value]) => [name, name === at ? mutatedBody(random, value) : value]))
}

function mutatedBytes(random: SeededRandom, original: Uint8Array): Uint8Array {
  const bytes = original.slice(0, random.int(8) === 0 ? random.int(original.length) : original.length)
  for (let flips = 1 + random.int(2); flips > 0 && bytes.length > 0; flips--) {
    const at = random.int(bytes.length)
    bytes[at] = random.int(2) === 0 ? random.int(256) : bytes[at]! ^ (1 << random.int(8))
  }
  return bytes
}
