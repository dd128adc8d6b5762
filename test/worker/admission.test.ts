/** Who is let in by a worker as a peer, and how much a caller and all callers together may have there. */
import { tf } from 'sotto'
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { sottoError } from '../../src/errors.ts'
import { toWire } from '../../src/tensor/wire.ts'
import { type Capability, capabilityFor } from '../../src/worker/capabilities.ts'
import { encode } from '../../src/worker/codec.ts'
import type { Limits } from '../../src/worker/host.ts'
import { type Frame, FrameKind } from '../../src/worker/protocol.ts'
import { Session } from '../../src/worker/session.ts'
import { dialHere } from '../../src/worker/transport/local.ts'
import { readyForTest } from '../backend.ts'
import { hostForTest, RawSession } from './raw-session.ts'

beforeAll(readyForTest)
afterEach(() => {
  vi.useRealTimers()
})

const NO_LABELS = { tags: [], description: '' }
function put(out: string, size = 1, more: object = {}) {
  const t = tf.zeros([size])
  const value = toWire(t)
  t.dispose()
  return { out, value, labels: NO_LABELS, privacy: null, requiresGrad: false, edge: null, ...more }
}
const nothing = (key: string) => ({ key, content: { kind: 'none' } })
const codeOf = (action: () => unknown): string => {
  try {
    action()
  } catch (error) {
    return (error as { code: string }).code
  }
  return 'nothing was thrown'
}

describe('a peer', () => {
  const KEY = 'key of alice'
  const open = () => {
    const { host, address, listener } = hostForTest()
    const [mine, theirs] = ['mine', 'theirs'].map((session) => new RawSession(host).hello(session, { session }))
    return { host, address, listener, mine: mine!, theirs: theirs! }
  }
  type Open = ReturnType<typeof open>
  const comes = ({ host }: Open, capability: Capability, key = KEY): RawSession =>
    new RawSession(host, { role: 'peer', capability, key })

  it('is let in by a capability, for the session that it was made for', () => {
    const world = open()
    const peer = comes(world, world.mine.capability('alice', KEY)).hello('alice', { secret: null })
    expect(peer.answer(1)).toMatchObject({ value: { worker: 'bob' } })
    expect(peer.outcome('deposit', nothing('k'))).toBe('no answer')
    expect(world.host.mailboxCount.deposits).toBe(1)
    world.mine.close()
    expect(world.host.mailboxCount.deposits).toBe(0)
  })

  const forged = (proof: Uint8Array): Capability => ({ session: 'mine', name: 'alice', proof })
  const guess = (secret: Uint8Array, key = KEY) => capabilityFor(secret, { session: 'mine', name: 'alice', key }).proof
  it.each<[what: string, capability: (world: Open) => Capability, key?: string]>([
    ['for another session', ({ theirs }) => ({ ...theirs.capability('alice', KEY), session: 'mine' })],
    ['for the same session, made with the secret of another', (world) => forged(guess(world.theirs.secret!))],
    ['for another name', ({ mine }) => ({ ...mine.capability('eve', KEY), name: 'alice' })],
    ['for no name', ({ mine }) => ({ ...mine.capability('', KEY), name: 'alice' })],
    ['for another key', ({ mine }) => mine.capability('alice', 'another')],
    ['that was stolen, with a key of its own', ({ mine }) => mine.capability('alice', KEY), 'another'],
    ['that was stolen, without a key', ({ mine }) => mine.capability('alice', KEY), ''],
    ['of zeros', () => forged(new Uint8Array(32))],
    ['of nothing', () => forged(new Uint8Array(0))],
    ['made with a secret of zeros', () => forged(guess(new Uint8Array(32)))],
    ['cut short', (world) => forged(world.mine.capability('alice', KEY).proof.slice(0, 31))],
    ['with something behind it', (world) => forged(Uint8Array.of(...world.mine.capability('alice', KEY).proof, 0))],
    ['that is the secret itself', (world) => forged(world.mine.secret!)],
    ['that is a text', () => forged('proof' as never)],
  ])('is refused with a capability %s: ERR_CAPABILITY, and no session is begun', (_, capability, key) => {
    const world = open()
    const before = world.host.sessions.size
    expect(codeOf(() => comes(world, capability(world), key))).toBe('ERR_CAPABILITY')
    expect(world.host.sessions.size).toBe(before)
    expect(world.mine.outcome('objects', {})).toBe('value')
  })

  it('is refused when any bit of the proof is another', () => {
    const world = open()
    const { proof } = world.mine.capability('alice', KEY)
    for (let bit = 0; bit < 256; bit++) {
      const other = proof.slice()
      other[bit >> 3]! ^= 1 << (bit & 7)
      expect([bit, codeOf(() => comes(world, forged(other)))]).toEqual([bit, 'ERR_CAPABILITY'])
    }
    expect(codeOf(() => comes(world, forged(proof)))).toBe('nothing was thrown')
  })

  it('cannot come for a session that gave no secret', () => {
    const world = open()
    new RawSession(world.host).hello('shy', { secret: null })
    for (const secret of [new Uint8Array(32), world.mine.secret!]) {
      const proof = capabilityFor(secret, { session: 'shy', name: 'alice', key: KEY }).proof
      expect(codeOf(() => comes(world, { session: 'shy', name: 'alice', proof }))).toBe('ERR_CAPABILITY')
    }
  })

  it('has the name that it was introduced by, and no other', () => {
    const world = open()
    const peer = comes(world, world.mine.capability('alice', KEY)).hello('carol', { secret: null })
    expect(peer.answer(1)).toMatchObject({ error: { code: 'ERR_IDENTITY' } })
    expect(peer.state).toBe('ERR_IDENTITY')
    expect(world.mine.state).toBe('open')
  })

  it('is sent away with the session that it came for, and its capability opens none that has the id later', () => {
    const world = open()
    const capability = world.mine.capability('alice', KEY)
    const peer = comes(world, capability).hello('alice', { secret: null })
    world.mine.close()
    expect(peer.state).toBe('ERR_SESSION_CLOSED')
    new RawSession(world.host).hello('another', { session: 'mine', secret: new Uint8Array(32).fill(7) })
    expect(codeOf(() => comes(world, capability))).toBe('ERR_CAPABILITY')
  })

  const dialAhead = ({ address }: Open, capability: Capability) => {
    const transport = dialHere(address, { role: 'peer', capability, key: KEY }, {})
    return new Session(transport, { name: 'alice', worker: 'bob', id: 's', secret: null })
  }
  const secret = new Uint8Array(32).fill(3)

  it('may be ahead of the caller whose session it comes for: what it says is taken when that is there', async () => {
    const world = open()
    const peer = dialAhead(world, capabilityFor(secret, { session: 'late', name: 'alice', key: KEY }))
    peer.tell('deposit', { key: 'k', content: { kind: 'tensor', value: put('').value, labels: NO_LABELS, access: [] } })
    expect(world.host.mailboxCount.deposits).toBe(0)
    const late = new RawSession(world.host).hello('late', { session: 'late', secret })
    await new Promise((resolve) => setTimeout(resolve, 0))
    expect(world.host.mailboxCount.deposits).toBe(1)
    late.request('receive', { key: 'k', from: 'alice', out: 'moved', edge: null, optimizers: [] })
    expect(late.outcome('get', { id: 'moved', keep: true })).toBe('value')
    peer.close()
  })

  it('that is ahead is refused when a session comes that it is not for, and when none comes', async () => {
    vi.useFakeTimers()
    const world = open()
    const good = capabilityFor(secret, { session: 'late', name: 'alice', key: KEY })
    const never = dialAhead(world, { ...good, session: 'never' })
    const wrong = dialAhead(world, good)
    const outcomes = [never, wrong].map((peer) => {
      const seen = { code: 'waits' }
      peer.onClose((reason) => {
        seen.code = (reason as { code?: string } | undefined)?.code ?? 'closed'
      })
      return seen
    })
    new RawSession(world.host).hello('late', { session: 'late' })
    await vi.advanceTimersByTimeAsync(9_999)
    expect(outcomes.map(({ code }) => code)).toEqual(['waits', 'ERR_CAPABILITY'])
    await vi.advanceTimersByTimeAsync(1)
    expect(outcomes.map(({ code }) => code)).toEqual(['ERR_CAPABILITY', 'ERR_CAPABILITY'])
  })

  it.each([
    ['for a session each', (i: number) => `s${i}`],
    ['for one session', () => 's'],
  ])('that is ahead waits with few others, %s: more are refused at once', async (_, session) => {
    vi.useFakeTimers()
    const world = open()
    const proof = new Uint8Array(32)
    const waiting: Promise<unknown>[] = []
    let refused = ''
    for (let i = 0; i < 1001; i++) {
      try {
        const principal = world.host.peer({ session: session(i), name: 'alice', proof }, KEY)
        waiting.push(Promise.resolve(principal).catch((error) => error.code))
      } catch (error) {
        refused = (error as { code: string }).code
      }
    }
    expect([waiting.length, refused]).toEqual([1000, 'ERR_CAPABILITY'])
    await vi.advanceTimersByTimeAsync(10_000)
    expect(new Set(await Promise.all(waiting))).toEqual(new Set(['ERR_CAPABILITY']))
    // They are forgotten then.
    const more = world.host.peer({ session: 's', name: 'alice', proof }, KEY)
    expect(more).toBeInstanceOf(Promise)
    const refusal = (more as Promise<unknown>).catch((error) => error.code)
    await vi.advanceTimersByTimeAsync(10_000)
    expect(await refusal).toBe('ERR_CAPABILITY')
  })
})

describe('a session id', () => {
  it('is taken once: a second session of that id is told so and ended, and the first goes on', () => {
    const { host } = hostForTest()
    const first = new RawSession(host).hello('me', { session: 'one' })
    first.request('put', put('x'))
    for (const name of ['me', 'mallory']) {
      const second = new RawSession(host).hello(name, { session: 'one', secret: new Uint8Array(32) })
      expect(second.answer(1)).toMatchObject({ error: { code: 'ERR_ID_TAKEN' } })
      expect(second.state).toBe('ERR_ID_TAKEN')
      // What it says after that is not heard.
      expect(second.outcome('put', put('y'))).toBe('no answer')
      expect([...host.store.entries()].map(([id]) => id)).toEqual(['x'])
    }
    expect(first.outcome('get', { id: 'x', keep: true })).toBe('value')
    expect(first.peer('alice').answer(1)).toMatchObject({ value: {} })
    first.close()
    expect(new RawSession(host).hello('me', { session: 'one' }).answer(1)).toMatchObject({ value: {} })
  })

  it('says nothing of callers to the peer that has the same', () => {
    const { host } = hostForTest()
    const me = new RawSession(host).hello('me', { session: 'one' })
    const capability = me.capability('alice', 'key')
    const peer = new RawSession(host, { role: 'peer', capability, key: 'key' })
    expect(peer.hello('alice', { session: 'one', secret: null }).answer(1)).toMatchObject({ value: {} })
  })
})

describe('a limit', () => {
  const open = (limits: Partial<Limits>) => {
    const { host } = hostForTest(limits)
    const [me, again, other] = [
      ['me', 'm1'],
      ['me', 'm2'],
      ['other', 'o1'],
    ].map(([name, session]) => new RawSession(host).hello(name!, { session: session! }))
    return { host, me: me!, again: again!, other: other! }
  }
  const goesOn = (session: RawSession): void => {
    expect(session.state).toBe('open')
    expect(session.outcome('objects', {})).toBe('value')
  }
  const message = (session: RawSession, name: string, body: object): string =>
    (session.ask(name, body) as { error: { message: string } }).error.message

  it('of objects is one for all: beyond it ERR_LIMIT, until something is freed', () => {
    const { host, me, other } = open({ objects: 4 })
    for (let i = 0; i < 3; i++) expect(me.outcome('put', put(`x${i}`))).toBe('no answer')
    expect(other.outcome('put', put('y'))).toBe('no answer')
    for (const session of [me, other]) {
      expect(session.outcome('put', put('more'))).toBe('ERR_LIMIT')
      goesOn(session)
    }
    me.request('free', { ids: ['x0'] })
    expect(other.outcome('put', put('again'))).toBe('no answer')
    expect(host.store.count).toBe(4)
  })

  it('of objects of an identity is one for all of its sessions, and not for others', () => {
    const { me, again, other } = open({ identityObjects: 3 })
    expect(me.outcome('put', put('x0'))).toBe('no answer')
    expect(again.outcome('put', put('x1'))).toBe('no answer')
    expect(me.outcome('copy', { id: 'x0', out: 'x2', grad: false })).toBe('no answer')
    for (const session of [me, again]) {
      expect(session.outcome('put', put('more'))).toBe('ERR_LIMIT')
      expect(message(session, 'put', put('more2'))).toMatch(/me has 3 objects/)
      goesOn(session)
    }
    for (let i = 0; i < 3; i++) expect(other.outcome('put', put(`y${i}`))).toBe('no answer')
    again.close()
    expect(me.outcome('put', put('x3'))).toBe('no answer')
  })

  const fixed = { ring: 64, dtype: 'float32', base: 2, precisionFractional: 16 }
  const bytes = 400
  it.each<[what: string, limits: Partial<Limits>, othersToo: boolean]>([
    ['of bytes is one for all', { bytes }, true],
    ['of bytes of an identity is one for all of its sessions', { identityBytes: bytes }, false],
  ])('%s, whatever makes them: beyond it ERR_LIMIT', (_, limits, othersToo) => {
    const { host, me, again, other } = open(limits)
    expect(me.outcome('put', put('x', 60))).toBe('no answer')
    expect(again.outcome('put', put('y', 30))).toBe('no answer')
    const beyond: [name: string, body: object][] = [
      ['put', put('a', 11)],
      ['copy', { id: 'x', out: 'b', grad: false }],
      ['detach', { id: 'x', out: 'c' }],
      ['run', { op: 'add', operands: ['x', 1], attrs: [], out: ['d'], grad: false }],
      ['run', { op: 'tile', operands: ['x'], attrs: [[1000]], out: ['e'], grad: false }],
      ['fixTensor', { id: 'x', out: 'f', encoding: fixed }],
    ]
    for (const [name, body] of beyond) expect([name, body, me.outcome(name, body)]).toEqual([name, body, 'ERR_LIMIT'])
    expect(other.outcome('put', put('z', 11))).toBe(othersToo ? 'ERR_LIMIT' : 'no answer')
    goesOn(me)
    // To the last byte; and what is freed can be had again.
    other.close()
    expect(again.outcome('put', put('last', 10))).toBe('no answer')
    expect(host.store.bytes).toBe(bytes)
    expect(me.outcome('put', put('more', 1))).toBe('ERR_LIMIT')
    me.request('free', { ids: ['x'] })
    expect(me.outcome('put', put('again', 60))).toBe('no answer')
  })

  it('of bytes counts eight for an element of fixed precision, whatever its dtype', () => {
    const { host, me } = open({ bytes: 112 })
    const fix = (out: string) => ['fixTensor', { id: 'x', out, encoding: fixed }] as const
    me.request('put', put('x', 8))
    expect(me.outcome(...fix('f'))).toBe('no answer')
    // 96 are there: 16 bytes would be four numbers, and are two elements.
    const slice = { attrs: [[0], [4]], divisor: null, out: ['s'], encodings: [fixed] }
    expect(me.outcome('fixedRun', { op: 'slice', operands: ['f'], ...slice })).toBe('ERR_LIMIT')
    me.request('free', { ids: ['f'] })
    me.request('put', put('y', 5))
    expect(host.store.bytes).toBe(52)
    expect(me.outcome(...fix('g'))).toBe('ERR_LIMIT')
    goesOn(me)
  })

  const leaf = { requiresGrad: true }
  const makers: Readonly<Record<string, (i: number) => [name: string, body: object]>> = {
    put: (i) => ['put', put(`a${i}`)],
    'put with an edge': (i) => ['put', put(`a${i}`, 1, { ...leaf, edge: `e${i}` })],
    copy: (i) => ['copy', { id: 'x', out: `a${i}`, grad: true }],
    run: (i) => ['run', { op: 'neg', operands: ['x'], attrs: [], out: [`a${i}`], grad: true }],
    'run with many results': (i) => [
      'run',
      { op: 'split', operands: ['wide'], attrs: [4], out: [0, 1, 2, 3].map((k) => `a${i}-${k}`), grad: true },
    ],
    'run that fails': (i) => ['run', { op: 'none', operands: [], attrs: [], out: [`a${i}`], grad: true }],
    putOptimizer: (i) => [
      'putOptimizer',
      { out: `a${i}`, kind: 'sgd', config: { learningRate: 1 }, parameters: ['x'] },
    ],
    fixTensor: (i) => ['fixTensor', { id: 'x', out: `a${i}`, encoding: fixed }],
  }
  it.each(
    Object.entries(makers).flatMap(([what, make]) =>
      (
        [
          ['all', { objects: 20 }],
          ['an identity', { identityObjects: 20 }],
        ] as const
      ).map(([whose, limits]) => [whose, what, make, limits] as const),
    ),
  )('of objects of %s holds for %s, and for the failures of it', (whose, what, make, limits) => {
    const { host, me, other } = open(limits)
    me.request('put', put('x', 1, leaf))
    me.request('put', put('wide', 8))
    // An odd number is free: what takes two must not begin with the last.
    me.request('put', put('odd'))
    for (let i = 0; i < 40; i++) me.request(...make(i))
    goesOn(me)
    expect(host.store.count).toBeLessThanOrEqual(20)
    expect(host.store.count).toBeGreaterThan(what === 'run that fails' ? 2 : 15)
    expect(other.outcome('put', put('theirs'))).toBe(
      whose === 'all' && host.store.count === 20 ? 'ERR_LIMIT' : 'no answer',
    )
    host.close()
  })

  it('of elements holds for what a model gives, before it is computed', () => {
    const { me } = open({ elements: 1000 })
    const layers = [tf.layers.repeatVector({ n: 2000, inputShape: [1] })]
    const model = tf.sequential({ name: 'net', layers })
    const topology = JSON.stringify(model.getConfig())
    const wire = { type: 'sequential', topology, weights: [], optimizers: [] }
    expect(me.outcome('putModel', { out: 'net', model: wire, labels: NO_LABELS, privacy: null, optimizers: [] })).toBe(
      'no answer',
    )
    me.request('put', { ...put('x'), value: { ...put('x').value, shape: [1, 1] } })
    const apply = { model: 'net', operands: ['x'], out: ['y'], training: false, grad: false }
    expect(me.outcome('apply', apply)).toBe('ERR_LIMIT')
    goesOn(me)
    model.dispose()
  })

  it.each<[what: string, limits: Partial<Limits>, names: string[], other: string]>([
    ['of sessions is one for all', { sessions: 3 }, ['a', 'b', 'c'], 'ERR_LIMIT'],
    ['of sessions of an identity is not for others', { identitySessions: 3 }, ['a', 'a', 'a'], 'value'],
  ])(
    '%s: beyond it hello fails with ERR_LIMIT and the session ends, until another one ends',
    (_, limits, names, other) => {
      const { host } = hostForTest(limits)
      let made = 0
      const begin = (name: string): [RawSession, string] => {
        const session = new RawSession(host).hello(name, { session: `s${made++}` })
        const answer = session.answer(1)!
        return [session, 'error' in answer ? answer.error.code : 'value']
      }
      const sessions = names.map(begin)
      expect(sessions.map(([, outcome]) => outcome)).toEqual(names.map(() => 'value'))
      const [refused, outcome] = begin('a')
      expect([outcome, refused.state]).toEqual(['ERR_LIMIT', 'ERR_LIMIT'])
      expect(refused.outcome('put', put('x'))).toBe('no answer')
      expect(host.store.count).toBe(0)
      const [another, theirs] = begin('z')
      expect(theirs).toBe(other)
      another.close()
      // Peers are no callers.
      expect(sessions[0]![0].peer('alice').answer(1)).toMatchObject({ value: {} })
      sessions[1]![0].close()
      expect(begin('a')[1]).toBe('value')
      for (const [session] of [sessions[0]!, sessions[2]!]) goesOn(session)
    },
  )

  it('of commands that wait lets those before it be carried out, and fails those beyond it', async () => {
    const { me } = open({ inFlight: 5 })
    const receive = { key: 'k', from: 'alice', out: 'moved', edge: null, optimizers: [] }
    me.request('receive', receive)
    const asked = Array.from({ length: 8 }, (_, i) => me.request('put', put(`x${i}`)))
    expect(asked.map((seq) => me.answer(seq))).toEqual(asked.map(() => undefined))
    me.peer('alice').request('deposit', nothing('k'))
    await new Promise((resolve) => setTimeout(resolve, 0))
    const codes = asked.map((seq) => {
      const answer = me.answer(seq)
      return answer === undefined ? 'done' : 'error' in answer ? answer.error.code : 'value'
    })
    expect(codes).toEqual([...Array(5).fill('done'), ...Array(3).fill('ERR_LIMIT')])
    goesOn(me)
    expect(me.outcome('put', put('later'))).toBe('no answer')
  })

  it.each<[what: string, limits: Partial<Limits>, commands: () => object[]]>([
    ['many more than may wait', { inFlight: 5 }, () => Array.from({ length: 20 }, (_, i) => put(`x${i}`))],
    [
      'more bytes than may wait',
      {},
      () => {
        // 64 MB each, and nobody copies them.
        const value = { shape: [2 ** 24], dtype: 'float32', data: new Uint8Array(2 ** 26) }
        return Array.from({ length: 6 }, (_, i) => ({ ...put(`x${i}`), value }))
      },
    ],
  ])('of what waits ends a session that sends %s, and no other', async (_, limits, commands) => {
    const { host, me, other } = open(limits)
    me.request('receive', { key: 'k', from: 'alice', out: 'moved', edge: null, optimizers: [] })
    const peer = me.peer('alice')
    for (const body of commands()) me.request('put', body)
    expect(me.state).toBe('ERR_LIMIT')
    expect(peer.state).toBe('ERR_SESSION_CLOSED')
    await new Promise((resolve) => setTimeout(resolve, 0))
    expect(host.store.count).toBe(0)
    goesOn(other)
  })

  const turn = () => new Promise((resolve) => setTimeout(resolve, 0))
  const waitFor = (session: RawSession) =>
    session.request('receive', { key: 'k', from: 'alice', out: `moved-${session.id}`, edge: null, optimizers: [] })
  const goOn = async (session: RawSession): Promise<void> => {
    session.peer('alice').request('deposit', nothing('k'))
    await turn()
  }

  it('of bytes of commands that wait is one for all sessions: beyond it a command fails, and no session ends', async () => {
    const { host, me, other } = open({ waitingBytes: 100 })
    for (const session of [me, other]) waitFor(session)
    const [mine, theirs, small] = [
      me.request('put', put('x', 15)),
      other.request('put', put('y', 15)),
      other.request('put', put('z', 10)),
    ]
    expect(host.waitingBytes).toBe(100)
    await goOn(other)
    expect(other.answer(theirs)).toMatchObject({ error: { code: 'ERR_LIMIT' } })
    expect(other.answer(small)).toBeUndefined()
    // Whoever asks for it hears why it is not there.
    expect(other.outcome('get', { id: 'y', keep: true })).toBe('ERR_LIMIT')
    expect(other.outcome('get', { id: 'z', keep: true })).toBe('value')
    expect(other.outcome('put', put('again', 15))).toBe('no answer')
    await goOn(me)
    expect(me.answer(mine)).toBeUndefined()
    expect(me.outcome('get', { id: 'x', keep: true })).toBe('value')
    expect(host.waitingBytes).toBe(0)
    for (const session of [me, other]) goesOn(session)
  })

  it('of bytes of commands holds for those on their way, of which nothing is kept beyond it', async () => {
    const { host, me, other } = open({ waitingBytes: 100 })
    // One that is larger than all of it fits where nothing waits.
    const mine = me.announce('put', put('x', 2000), 8000)
    const theirs = other.announce('put', put('y', 20), 80)
    expect([mine.parts.isDropped, theirs.parts.isDropped]).toEqual([false, true])
    expect(other.answer(theirs.seq)).toMatchObject({ error: { code: 'ERR_LIMIT' } })
    expect(other.outcome('get', { id: 'y', keep: true })).toBe('ERR_LIMIT')
    mine.parts.come()
    await turn()
    expect(me.outcome('get', { id: 'x', keep: true })).toBe('value')
    expect(host.waitingBytes).toBe(0)
    me.announce('put', put('z', 20), 80)
    expect(host.waitingBytes).toBe(80)
    // The end of a session makes room.
    me.close()
    expect(host.waitingBytes).toBe(0)
    goesOn(other)
  })

  it('of bytes of answers is one for all sessions: those with more than their part wait, and others go on', async () => {
    const { host, me, again, other } = open({ unsentBytes: 900 })
    for (const session of [me, other]) session.request('put', put(`x-${session.id}`))
    me.backlog = 850
    expect(me.outcome('objects', {})).toBe('value')
    again.backlog = 100
    // The answer is the last one until some have left.
    expect(me.outcome('objects', {})).toBe('value')
    const waits = me.request('objects', {})
    for (let i = 0; i < 3; i++)
      expect([again, other].map((session) => session.outcome('objects', {}))).toEqual(['value', 'value'])
    await turn()
    expect(me.answer(waits)).toBeUndefined()
    me.drain()
    await turn()
    expect(me.answer(waits)).toMatchObject({ value: [{}] })
    goesOn(me)
    host.close()
  })

  it('of what a caller takes fails the one command whose answer is larger, and ends no session', async () => {
    const { host } = hostForTest()
    /** As a link to a caller that takes a kilobyte. */
    class Narrow extends RawSession {
      override send(frame: Frame): void {
        if (encode(frame).length > 1000) throw sottoError('ERR_LIMIT', 'a message is above the limit')
        super.send(frame)
      }
    }
    const me = new Narrow(host).hello('me')
    for (let i = 0; i < 10; i++) me.request('put', { ...put(`x${i}`), labels: { tags: ['#x'], description: '' } })
    expect(me.outcome('search', { tags: ['#x'] })).toBe('ERR_LIMIT')
    // So does one that had to wait for its answer.
    const receive = { key: 'k', from: 'alice', out: 'moved', edge: null, optimizers: [] }
    me.request('receive', receive)
    const waited = me.request('objects', {})
    me.peer('alice').request('deposit', nothing('k'))
    await new Promise((resolve) => setTimeout(resolve, 0))
    expect(me.answer(waited)).toMatchObject({ error: { code: 'ERR_LIMIT' } })
    me.request('free', { ids: Array.from({ length: 9 }, (_, i) => `x${i}`) })
    goesOn(me)
  })

  it('of deposits is one for all sessions, in number and in bytes', () => {
    const deposit = (key: string, size: number) => ({
      key,
      content: { kind: 'tensor', value: put('', size).value, labels: NO_LABELS, access: [] },
    })
    const { me, other } = open({ deposits: 3, bytes: 100 })
    const [mine, theirs] = [me.peer('alice'), other.peer('alice')]
    expect(mine.outcome('deposit', deposit('a', 20))).toBe('no answer')
    expect(theirs.outcome('deposit', deposit('a', 6))).toBe('ERR_LIMIT')
    expect(theirs.outcome('deposit', deposit('a', 5))).toBe('no answer')
    expect(mine.outcome('deposit', nothing('b'))).toBe('no answer')
    expect(theirs.outcome('deposit', nothing('c'))).toBe('ERR_LIMIT')
    goesOn(me)
    expect(mine.state).toBe('open')
    me.close()
    expect(theirs.outcome('deposit', deposit('d', 20))).toBe('no answer')
    expect(theirs.answers.filter(([kind]) => kind === FrameKind.failure)).toHaveLength(2)
  })
})
