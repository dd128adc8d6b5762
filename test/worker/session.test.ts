import { execFile } from 'node:child_process'
import { getEventListeners } from 'node:events'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { MessageChannel } from 'node:worker_threads'
import { isSottoError, type SottoErrorLike, send, tf, VirtualWorker, type VirtualWorkerOptions } from 'sotto'
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { newId, type WaitOptions } from '../../src/tensor/location.ts'
import { type Frame, FrameKind, PROTOCOL_VERSION } from '../../src/worker/protocol.ts'
import { callerSession } from '../../src/worker/session.ts'
import { dialHere } from '../../src/worker/transport/local.ts'
import { memoryPair } from '../../src/worker/transport/memory.ts'
import { PortTransport } from '../../src/worker/transport/thread.ts'
import { readyForTest, testBackend } from '../backend.ts'
import { built } from '../built.ts'
import { peerSession } from './peer-session.ts'

beforeAll(async () => {
  await readyForTest()
})

const opened: VirtualWorker[] = []
afterEach(async () => {
  vi.useRealTimers()
  for (const worker of opened.splice(0)) await worker.close()
})
const worker = (id: string, options: VirtualWorkerOptions = {}): VirtualWorker => {
  const made = new VirtualWorker(id, options)
  opened.push(made)
  return made
}
const failureOf = async (promise: Promise<unknown>): Promise<SottoErrorLike> => {
  const outcome = await promise.then(
    () => 'it succeeded',
    (error: unknown) => error,
  )
  if (!isSottoError(outcome)) throw new Error(`an error of Sotto was to come: ${outcome}`, { cause: outcome })
  return outcome
}
const three = (to: VirtualWorker) => send(tf.tensor([1, 2, 3]), to)
/** The number of the line that calls this. */
const lineHere = (): number => Number(/session\.test\.ts:(\d+)/.exec(new Error().stack!.split('\n')[2]!)![1])
/** Takes an object away behind its pointer's back. */
const vanish = (at: VirtualWorker, id: string) => at.tell('free', { ids: [id] })
const receive = (at: VirtualWorker, out: string, { key = newId(), from = 'nobody' } = {}) =>
  at.tell('receive', { key, from, out, edge: null, optimizers: [] })
const values = async (tensor: Promise<tf.Tensor>) => [...(await tensor).dataSync()]
/** From here on time passes only while {@link passing} waits, and then as fast as it can. Links begin after it. */
const stopTime = () => vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
/** Waits for something. @returns what came, and after how many milliseconds */
async function passing<T>(awaited: Promise<T>): Promise<[result: T, took: number]> {
  let isDone = false
  const result = awaited.finally(() => {
    isDone = true
  })
  let took = 0
  for (; !isDone && took < 100_000; took += 10) await vi.advanceTimersByTimeAsync(10)
  return [await result, took]
}

describe.each([
  ['at once', {}],
  ['over bytes', { codec: true }],
  ['with latency', { codec: true, latency: 2, jitter: 2 }],
] as const)('a failure, %s,', (_, network) => {
  it('names the operation, the worker and the line that issued it', async () => {
    const bob = worker('bob', network)
    const x = three(bob)
    vanish(bob, x.id)
    const line = lineHere() + 1
    const y = x.add(1)
    const error = await failureOf(y.get())
    expect(error.code).toBe('ERR_NOT_FOUND')
    expect(error.details).toMatchObject({ op: 'add', worker: 'bob' })
    expect(error.details['where']).toMatch(new RegExp(`session\\.test\\.ts:${line}:`))
    expect(error.message).toMatch(/^add\b.*\bbob\b/)
    expect(error.message).toContain(`session.test.ts:${line}:`)
  })

  it('poisons what is built on it, on another worker too: one error, of one origin', async () => {
    const bob = worker('bob', network)
    const alice = worker('alice', network)
    const x = three(bob)
    vanish(bob, x.id)
    const first = x.add(1)
    const second = first.mul(2).sum()
    const moved = second.copy().move(alice).neg()
    const [a, b, c] = await Promise.all([failureOf(first.fetch()), failureOf(second.fetch()), failureOf(moved.fetch())])
    expect(a.details['op']).toBe('add')
    expect(b).toBe(a)
    expect(c).toBe(a)
    const other = three(bob).sub(1)
    expect([...(await other.get()).dataSync()]).toEqual([0, 1, 2])
  })

  it('without a result comes out of the next get, fetch or flush, once', async () => {
    const bob = worker('bob', network)
    const x = three(bob)
    const asks: Record<string, () => Promise<unknown>> = {
      fetch: () => x.fetch(),
      get: () => x.copy().get(),
      flush: () => bob.flush(),
    }
    for (const [name, ask] of Object.entries(asks)) {
      bob.tell('step', { id: 'no-optimizer' })
      expect([name, (await failureOf(ask())).details['op']]).toEqual([name, 'step'])
      await ask()
      bob.tell('backward', { pass: null, end: false, retain: false, root: { id: x.id, seed: 1 } })
      expect([name, (await failureOf(ask())).code]).toEqual([name, 'ERR_NO_GRAD'])
      await ask()
    }
  })

  it('that nobody has heard of comes out of flush once, the first one only', async () => {
    const bob = worker('bob', network)
    const x = three(bob)
    vanish(bob, x.id)
    x.exp()
    x.log()
    expect((await failureOf(bob.flush())).details['op']).toBe('exp')
    await bob.flush()
  })

  it('that a get has reported is not reported by flush again', async () => {
    const bob = worker('bob', network)
    const x = three(bob)
    vanish(bob, x.id)
    const y = x.exp()
    await failureOf(y.fetch())
    await bob.flush()
  })

  it('of shapes is thrown by the call itself, before anything is sent', async () => {
    const bob = worker('bob', network)
    const x = three(bob)
    const { framesIn } = await bob.stats()
    expect(() => x.matMul(x)).toThrow('matMul')
    expect((await bob.stats()).framesIn).toBe(framesIn + 1)
  })
})

describe('a session', () => {
  it('pipelines: a thousand operations cost one answer', async () => {
    const bob = worker('bob', { codec: true, latency: 20 })
    let x = three(bob)
    const started = performance.now()
    for (let i = 0; i < 1000; i++) x = x.add(1)
    expect([...(await x.get()).dataSync()]).toEqual([1001, 1002, 1003])
    // Two ways of 20 ms each, and the work; a round trip for each would take 40 s.
    expect(performance.now() - started).toBeLessThan(10_000)
    const { framesIn, framesOut } = await bob.stats()
    expect(framesIn).toBeGreaterThan(1000)
    // hello, get, and an acknowledgement for every 64 commands.
    expect(framesOut).toBeLessThan(2 + 1010 / 64 + 1)
  })

  it('answers what was asked before it is ended, and rejects what is asked from then on, saying why', async () => {
    const bob = worker('bob', { latency: 20 })
    const x = three(bob)
    const pending = [x.fetch(), bob.flush(), bob.stats()]
    const closing = bob.close()
    expect((await failureOf(bob.flush())).message).toContain('bob')
    expect(() => x.add(1)).toThrow('closed')
    await closing
    expect((await Promise.allSettled(pending)).map(({ status }) => status)).toEqual(pending.map(() => 'fulfilled'))
    expect((await failureOf(bob.flush())).code).toBe('ERR_SESSION_CLOSED')
    // Frees come late, from garbage collectors.
    x.dispose()
  })

  it.each([
    ['at once', {}],
    ['with latency', { latency: 20 }],
  ] as const)(
    'that breaks %s rejects what is pending with the cause, and everything afterwards',
    async (_, network) => {
      let frames = 0
      const bob = worker('bob', {
        ...network,
        fault: (frame) => (frame[2] === 'get' && ++frames === 2 ? 'close' : undefined),
      })
      const x = three(bob)
      await x.fetch()
      // In process these are answered before the next line.
      const pending = 'latency' in network ? [bob.flush(), bob.stats()] : []
      for (const error of await Promise.all([...pending, x.fetch(), bob.flush()].map(failureOf))) {
        expect(error.code).toBe('ERR_SESSION_CLOSED')
        expect(error.message).toContain('bob')
        expect(error.cause).toMatchObject({ message: 'the connection broke' })
      }
      expect(bob.isClosed).toBe(true)
      expect(() => x.add(1)).toThrow('closed')
      x.dispose()
    },
  )

  const lost = (hit: (frame: Frame) => boolean): VirtualWorkerOptions => {
    let isDone = false
    return {
      lossTimeout: 50,
      fault: (frame) => {
        if (isDone || !hit(frame)) return undefined
        isDone = true
        return 'drop'
      },
    }
  }
  it.each([
    ['a command', (frame: Frame) => frame[2] === 'run', 'ERR_PROTOCOL'],
    ['the request of an answer', (frame: Frame) => frame[2] === 'get', 'ERR_SESSION_CLOSED'],
    ['an answer', (frame: Frame) => frame[0] === 2 && frame[1] > 1, 'ERR_SESSION_CLOSED'],
    ['hello', (frame: Frame) => frame[2] === 'hello', 'ERR_PROTOCOL'],
  ])('that loses %s ends with an error and does not hang', async (_, hit, code) => {
    const bob = worker('bob', lost(hit))
    const started = performance.now()
    const error = await failureOf((async () => three(bob).add(1).get())())
    expect(error.code).toBe('ERR_SESSION_CLOSED')
    expect(error.cause).toMatchObject({ code })
    expect(performance.now() - started).toBeLessThan(5000)
  })

  it('that gets an answer before an earlier one knows that the earlier one is lost', async () => {
    const bob = worker('bob', { ...lost((frame) => frame[0] === 2 && frame[1] > 1), lossTimeout: 60_000 })
    const x = three(bob)
    const [first, second] = await Promise.allSettled([x.fetch(), bob.flush()])
    expect(second).toMatchObject({ status: 'fulfilled' })
    expect(first).toMatchObject({ status: 'rejected', reason: { code: 'ERR_SESSION_CLOSED' } })
  })

  it('goes on when a peer does not send in time: ERR_TIMEOUT, once', async () => {
    const bob = worker('bob', { limits: { peerTimeout: 30 } })
    const out = newId()
    receive(bob, out)
    const x = three(bob).add(1)
    expect((await failureOf(bob.ask('get', { id: out, keep: false }))).code).toBe('ERR_TIMEOUT')
    expect([...(await x.get()).dataSync()]).toEqual([2, 3, 4])
    await bob.flush()
  })

  it.each([
    ['at once', {}],
    ['with latency', { codec: true, latency: 2, jitter: 2 }],
  ] as const)('that waits for a peer hears at once that it is gone, %s, and goes on', async (_, network) => {
    stopTime()
    const bob = worker('bob', network)
    const alice = worker('alice', network)
    expect((await passing(values(three(alice).move(bob).get())))[0]).toEqual([1, 2, 3])
    const out = newId()
    receive(bob, out, { from: 'alice' })
    const waiting = failureOf(bob.ask('get', { id: out, keep: true }))
    // Until bob has heard that it is to wait.
    await vi.advanceTimersByTimeAsync(50)
    await passing(alice.close())
    const [error, took] = await passing(waiting)
    expect(error).toMatchObject({ code: 'ERR_SESSION_CLOSED', message: expect.stringContaining('alice is gone') })
    expect(took).toBeLessThan(100)
    expect((await passing(values(three(bob).add(1).get())))[0]).toEqual([2, 3, 4])
    // Who comes later waits for five seconds after it was lost, should it come again, and not for a minute.
    const late = newId()
    receive(bob, late, { from: 'alice' })
    const [later, longer] = await passing(failureOf(bob.ask('get', { id: late, keep: true })))
    expect(later.code).toBe('ERR_SESSION_CLOSED')
    expect(longer).toBeGreaterThan(4500)
    expect(longer).toBeLessThan(5500)
    await passing(bob.flush())
  })

  it.each([
    ['at once', {}],
    ['with latency', { latency: 2 }],
  ] as const)(
    'hears in the middle of a move that the connection between the workers broke, and the next dials again, %s',
    async (_, network) => {
      stopTime()
      let deposits = 0
      const fault = (frame: Frame) => (frame[2] === 'deposit' && ++deposits === 2 ? 'close' : undefined)
      const bob = worker('bob', { ...network, fault })
      const alice = worker('alice', network)
      const x = three(alice)
      expect((await passing(values(x.copy().move(bob).get())))[0]).toEqual([1, 2, 3])
      const [failure, took] = await passing(failureOf(x.copy().move(bob).get()))
      expect(failure).toMatchObject({ code: 'ERR_SESSION_CLOSED' })
      // It might have come again.
      expect(took).toBeGreaterThan(4500)
      expect(took).toBeLessThan(5500)
      expect((await passing(values(x.move(bob).get())))[0]).toEqual([1, 2, 3])
      await passing(Promise.all([alice.flush(), bob.flush()]))
    },
  )

  it('moves to the session that it is told, whichever session with that worker was introduced before', async () => {
    const limits = { peerTimeout: 1000 }
    const bob = worker('bob', { limits })
    const alice = worker('alice', { limits })
    const yours = alice.as('you')
    bob.reach(yours)
    const x = three(bob)
    expect(await values(x.copy().move(alice).get())).toEqual([1, 2, 3])
    expect(await values(x.copy().move(yours).get())).toEqual([1, 2, 3])
    expect(await values(x.copy().move(alice).get())).toEqual([1, 2, 3])
  })

  it('that waits for a peer holds up no other session', async () => {
    const bob = worker('bob')
    const you = bob.as('you')
    receive(bob, newId())
    const held = bob.flush().then(
      () => 'done',
      (error: SottoErrorLike) => error.code,
    )
    expect([...(await three(you).add(1).get()).dataSync()]).toEqual([2, 3, 4])
    expect(await Promise.race([held, 'still waiting'])).toBe('still waiting')
    await bob.close()
    expect(await held).toBe('ERR_SESSION_CLOSED')
  })

  it('that closes frees what it made, and nothing else', async () => {
    const bob = worker('bob')
    const you = bob.as('you')
    const mine = three(bob)
    const net = tf.sequential({ layers: [tf.layers.dense({ units: 1, inputShape: [3] })] })
    const before = tf.memory().numTensors
    const yours = three(you).requireGrad()
    yours.square().sum().backward()
    const model = send(net, you)
    model.apply(send(tf.ones([2, 3]), you))
    expect(await bob.objectCount()).toBeGreaterThan(4)
    await you.close()
    expect((await bob.objects()).map(({ id }) => id)).toEqual([mine.id])
    expect([...(await mine.fetch()).dataSync()]).toEqual([1, 2, 3])
    expect(tf.memory().numTensors).toBeLessThanOrEqual(before + 3)
    net.dispose()
  })

  it('counts frames and bytes in each direction, on each link', async () => {
    const bob = worker('bob', { codec: true })
    const alice = worker('alice', { codec: true })
    const you = bob.as('you')
    const big = send(tf.ones([100, 100]), bob)
    await big.fetch()
    await big.move(alice).get()
    await you.flush()
    const [mine, yours, toAlice] = ['me', 'you', 'alice'].map(
      async (name) => (await bob.stats()).links.filter((link) => link.name === name)[0]!,
    )
    expect(await mine).toMatchObject({ role: 'caller' })
    // hello, put, get, peers, transfer, and the stats that ask.
    expect((await mine)!.framesIn).toBeGreaterThanOrEqual(6)
    expect((await mine)!.bytesIn).toBeGreaterThan(40_000)
    expect((await mine)!.bytesOut).toBeGreaterThan(40_000)
    expect(await yours).toMatchObject({ role: 'caller', framesIn: 2, framesOut: 2 })
    expect((await yours)!.bytesIn).toBeLessThan(200)
    // hello and one deposit; alice answers hello alone.
    expect(await toAlice).toMatchObject({ role: 'peer', framesOut: 2, framesIn: 1 })
    expect((await toAlice)!.bytesOut).toBeGreaterThan(40_000)
    const theirs = (await alice.stats()).links.find(({ name }) => name === 'bob')!
    expect(theirs).toMatchObject({ role: 'peer', framesIn: 2, bytesIn: (await toAlice)!.bytesOut })
    const total = await bob.stats()
    for (const key of ['framesIn', 'framesOut', 'bytesIn', 'bytesOut'] as const) {
      expect(total[key]).toBe(total.links.reduce((sum, link) => sum + link[key], 0))
    }
  })
})

describe('a wait', () => {
  type Asking = (bob: VirtualWorker, x: ReturnType<typeof three>, wait: WaitOptions) => Promise<unknown>
  const asks: readonly (readonly [name: string, ask: Asking])[] = [
    ['get', (_, x, wait) => x.copy().get(wait)],
    ['fetch', (_, x, wait) => x.fetch(wait)],
    ['flush', (bob, _, wait) => bob.flush(wait)],
    ['search', (bob, _, wait) => bob.search(['#x'], wait)],
    ['objects', (bob, _, wait) => bob.objects(wait)],
    ['ledger', (bob, _, wait) => bob.ledger(wait)],
    ['stats', (bob, _, wait) => bob.stats(wait)],
  ]

  it.each(asks)('of %s is given up by a signal: ERR_ABORTED, and the session goes on', async (name, ask) => {
    const bob = worker('bob', { codec: true, latency: 5 })
    const x = three(bob)
    const controller = new AbortController()
    const given = ask(bob, x, { signal: controller.signal })
    const after = x.add(1).fetch()
    const reason = new Error('enough')
    controller.abort(reason)
    expect(await failureOf(given)).toMatchObject({ code: 'ERR_ABORTED', cause: reason })
    // The answer that comes all the same is nobody's, and each other one is its own.
    expect(await values(after)).toEqual([2, 3, 4])
    expect(await values(x.fetch())).toEqual([1, 2, 3])
    await bob.flush()
    expect([name, bob.isClosed]).toEqual([name, false])
  })

  it.each(asks)('of %s ends with its time: ERR_TIMEOUT, and the session goes on', async (_, ask) => {
    const bob = worker('bob')
    const x = three(bob)
    const key = newId()
    const out = newId()
    // Nothing is answered until the peer has sent what is waited for.
    receive(bob, out, { key })
    const error = await failureOf(ask(bob, x, { timeout: 10 }))
    expect(error).toMatchObject({ code: 'ERR_TIMEOUT', details: { worker: 'bob' } })
    expect(error.message).toContain('within 10 ms')
    expect(await failureOf(ask(bob, x, { signal: AbortSignal.timeout(10) }))).toMatchObject({ code: 'ERR_TIMEOUT' })
    const after = x.add(1).fetch({ timeout: 60_000 })
    const labels = { tags: [], description: '' }
    const value = { shape: [1], dtype: 'float32', data: new Uint8Array(4) } as const
    peerSession(bob, 'nobody').tell('deposit', { key, content: { kind: 'tensor', value, labels, access: [] } })
    expect(await values(after)).toEqual([2, 3, 4])
    await bob.flush({ timeout: 60_000, signal: AbortSignal.timeout(60_000) })
  })

  it('that is given up before it begins sends nothing', async () => {
    let sent = 0
    const bob = worker('bob', { fault: () => void sent++ })
    const x = three(bob)
    const before = sent
    expect((await failureOf(x.fetch({ signal: AbortSignal.abort() }))).code).toBe('ERR_ABORTED')
    expect(sent).toBe(before)
    expect(await values(x.get())).toEqual([1, 2, 3])
  })

  it('leaves nothing at its signal, and no timer', async () => {
    const bob = worker('bob', { latency: 1 })
    const x = three(bob)
    const { signal } = new AbortController()
    const waiting = [
      x.fetch({ signal, timeout: 60_000 }),
      failureOf(bob.ask('get', { id: 'none', keep: true }, { signal })),
    ]
    expect(getEventListeners(signal, 'abort')).toHaveLength(2)
    const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
    const before = timers()
    await Promise.all(waiting)
    expect(getEventListeners(signal, 'abort')).toHaveLength(0)
    expect(timers()).toBeLessThan(before)
  })

  it('may be as long as one likes', async () => {
    // Timers of JavaScript end at 2^31 ms: one that is set for longer would fire at once.
    const bob = worker('bob', { latency: 20 })
    expect(await values(three(bob).fetch({ timeout: 2 ** 32 }))).toEqual([1, 2, 3])
  })

  /** A session that gives answers up after 40 ms of silence, with somebody who answers hello at most. */
  const withSilent = (answers: boolean) => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance'] })
    const [ours, theirs] = memoryPair()
    theirs.onFrame((frame) => {
      if (answers && (frame as Frame)[2] === 'hello') {
        theirs.send([FrameKind.reply, 1, { worker: 'bob', version: PROTOCOL_VERSION }])
      }
    })
    return { session: callerSession(ours, 'me', 'bob', 40), theirs }
  }
  /** What has become of a promise by now. */
  const stateOf = (promise: Promise<unknown>): Promise<unknown> =>
    Promise.race([promise.catch((error: SottoErrorLike) => error.code), Promise.resolve('waits')])

  it('ends when the worker has said nothing for too long, and the session goes on', async () => {
    const { session, theirs } = withSilent(true)
    const given = failureOf(session.ask('flush', {}))
    await vi.advanceTimersByTimeAsync(39)
    expect(await stateOf(given)).toBe('waits')
    await vi.advanceTimersByTimeAsync(20)
    expect(await given).toMatchObject({
      code: 'ERR_TIMEOUT',
      message: expect.stringContaining('nothing for 40 ms'),
      details: { worker: 'bob' },
    })
    expect(session.isClosed).toBe(false)
    const again = session.ask('flush', {})
    theirs.send([FrameKind.reply, 2, 'too late'])
    theirs.send([FrameKind.reply, 3, null])
    expect(await again).toBeNull()
    session.close()
  })

  it('for hello ends the session, with the reason', async () => {
    const { session } = withSilent(false)
    const given = failureOf(session.ask('flush', {}))
    await vi.advanceTimersByTimeAsync(60)
    expect((await given).code).toBe('ERR_TIMEOUT')
    expect(session.isClosed).toBe(true)
    expect((await failureOf(session.ask('flush', {}))).code).toBe('ERR_TIMEOUT')
  })

  it('goes on for as long as the worker says something', async () => {
    const { session, theirs } = withSilent(true)
    const waiting = session.ask('flush', {})
    for (let i = 0; i < 10; i++) {
      await vi.advanceTimersByTimeAsync(30)
      theirs.send([FrameKind.ack, 1])
    }
    expect(await stateOf(waiting)).toBe('waits')
    theirs.send([FrameKind.reply, 2, null])
    expect(await waiting).toBeNull()
    session.close()
  })
})

describe('a caller that blocks its own thread for longer than it waits', () => {
  it.each([
    ['of every answer', 40, () => ({})],
    ['of this answer', 0, () => ({ timeout: 40 })],
    ['of a signal', 0, () => ({ signal: AbortSignal.timeout(40) })],
  ] as const)('gets the answer that came meanwhile, and no ERR_TIMEOUT: time %s', async (_, silence, waitOf) => {
    const { port1, port2 } = new MessageChannel()
    const session = callerSession(new PortTransport(port1, () => new Error('lost')), 'me', 'bob', silence)
    port2.postMessage([FrameKind.reply, 1, { worker: 'bob', version: PROTOCOL_VERSION }])
    // From here the turn of timers comes first, and then that of what is to be read.
    await new Promise(setImmediate)
    const asked = session.ask('flush', {}, waitOf())
    port2.postMessage([FrameKind.reply, 2, 'in time'])
    const until = performance.now() + 120
    while (performance.now() < until);
    expect(await asked).toBe('in time')
    session.close()
  })
})

describe('commands beyond what a worker keeps up with', () => {
  /** Commands, and bytes of them, that a worker may have before it. */
  const WINDOW = 16_384
  const WINDOW_BYTES = 64 * 2 ** 20
  const HELD_BYTES = 2 ** 30

  const counting = () => {
    const counted = { sent: 0, bob: undefined as unknown as VirtualWorker }
    const count = (frame: Frame) => {
      if (frame[0] === FrameKind.request) counted.sent++
      return undefined
    }
    counted.bob = worker('bob', { latency: 1, fault: count })
    return counted
  }
  /** A command that fails at once, with 16 MB that nobody copies. */
  const large = new Uint8Array(2 ** 24)
  const tellLarge = (bob: VirtualWorker) => {
    const value = { shape: [2 ** 22], dtype: 'float32', data: large }
    const content = { kind: 'tensor', value, labels: { tags: [], description: '' }, access: [] }
    bob.tell('deposit' as never, { key: newId(), content } as never)
  }

  it('are held, and carried out in their order', async () => {
    const counted = counting()
    const { bob } = counted
    const x = three(bob)
    await bob.flush()
    const before = counted.sent
    for (let i = 0; i < WINDOW; i++) bob.tell('free', { ids: [] })
    let y = x
    for (let i = 0; i < 10; i++) y = y.mul(2).add(1)
    const asked = [values(y.fetch()), values(x.fetch())]
    expect(counted.sent - before).toBe(WINDOW)
    // The result of each depends on all before it.
    expect(await Promise.all(asked)).toEqual([[1, 2, 3].map((value) => value * 2 ** 10 + 2 ** 10 - 1), [1, 2, 3]])
    expect(counted.sent - before).toBeGreaterThanOrEqual(WINDOW + 20 + 2)
    await bob.flush()
  })

  it('are held by their bytes too; beyond what may be held a command throws ERR_LIMIT, and the session goes on', async () => {
    const counted = counting()
    const { bob } = counted
    const x = three(bob)
    await bob.flush()
    const before = counted.sent
    for (let bytes = 0; bytes < WINDOW_BYTES + HELD_BYTES; bytes += large.length) tellLarge(bob)
    expect(counted.sent - before).toBe(WINDOW_BYTES / large.length)
    for (const command of [() => tellLarge(bob), () => send(tf.ones([1]), bob)]) {
      expect(command).toThrow(expect.objectContaining({ code: 'ERR_LIMIT', details: { worker: 'bob' } }))
    }
    // What brings no bytes is held behind them, and an answer comes when it is its turn.
    const sum = x.add(1)
    expect((await failureOf(bob.flush())).code).toBe('ERR_PERMISSION')
    expect(counted.sent - before).toBe((WINDOW_BYTES + HELD_BYTES) / large.length + 2)
    expect(await values(sum.get())).toEqual([2, 3, 4])
    expect(await values(three(bob).get())).toEqual([1, 2, 3])
    await bob.flush()
  })

  it('are dropped with the session, and those who wait are told', async () => {
    let deposits = 0
    const bob = worker('bob', {
      latency: 1,
      fault: (frame) => {
        if (frame[2] === 'deposit') deposits++
        // The first thing that the worker says to them.
        return frame[0] === FrameKind.failure ? 'close' : undefined
      },
    })
    const x = three(bob)
    for (let i = 0; i < 8; i++) tellLarge(bob)
    for (const { code } of await Promise.all([x.fetch(), bob.flush()].map(failureOf))) {
      expect(code).toBe('ERR_SESSION_CLOSED')
    }
    expect(deposits).toBe(WINDOW_BYTES / large.length)
    expect(() => tellLarge(bob)).toThrow('closed')
  })
})

describe('the memory transport', () => {
  const arrivals = async (seed: number): Promise<{ order: number[]; times: number[] }> => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
    const [a, b] = memoryPair({ latency: 10, jitter: 40, seed })
    const start = performance.now()
    const order: number[] = []
    const times: number[] = []
    b.onFrame((frame) => {
      order.push((frame as Frame)[1] as number)
      times.push(Math.round(performance.now() - start))
    })
    for (let seq = 1; seq <= 30; seq++) {
      a.send([4, seq])
      await vi.advanceTimersByTimeAsync(3)
    }
    await vi.advanceTimersByTimeAsync(1000)
    vi.useRealTimers()
    return { order, times }
  }

  it('keeps the order of frames whatever the jitter', async () => {
    const { order, times } = await arrivals(3)
    expect(order).toEqual(Array.from({ length: 30 }, (_, i) => i + 1))
    times.forEach((time, i) => {
      expect(time).toBeGreaterThanOrEqual(3 * i + 9)
    })
  })

  it('draws the jitter from its seed', async () => {
    const [first, again, other] = [await arrivals(3), await arrivals(3), await arrivals(4)]
    expect(again.times).toEqual(first.times)
    expect(other.times).not.toEqual(first.times)
  })

  it('tells a late listener that it is closed', () => {
    const [a, b] = memoryPair()
    const reason = new Error('enough')
    a.close(reason)
    const heard: unknown[] = []
    b.onClose((why) => heard.push(why))
    a.onClose((why) => heard.push(why))
    expect(heard).toEqual([reason, reason])
  })

  it('hands over frames that came before anyone listened', () => {
    const [a, b] = memoryPair({ codec: true })
    a.send([4, 1])
    a.send([4, 2])
    const heard: unknown[] = []
    b.onFrame((frame) => heard.push(frame))
    expect(heard).toEqual([
      [4, 1],
      [4, 2],
    ])
  })

  it('cannot reach a worker that was closed', async () => {
    const bob = worker('bob')
    const { address } = bob
    await bob.close()
    expect(() => dialHere(address, { role: 'caller' }, {})).toThrow('no worker')
  })
})

describe('importing sotto', () => {
  const source = pathToFileURL(built('src/index.ts')).href
  const run = promisify(execFile)
  const child = (code: string) => run(process.execPath, ['--input-type=module', '--eval', code], { timeout: 30_000 })

  it('opens nothing that keeps a process alive', async () => {
    const { stdout } = await child(
      `await import('${source}'); console.log('done', process.getActiveResourcesInfo().filter((r) => /Timeout|Immediate|TCP|Pipe.*Server|Worker|MessagePort/.test(r)).length)`,
    )
    expect(stdout).toContain('done 0')
  })

  it('and computing on workers leaves a process free to end', async () => {
    const { stdout } = await child(`
      const { ready, tf, send, VirtualWorker } = await import('${source}')
      await ready({ backend: '${testBackend}' })
      const bob = new VirtualWorker('bob'), alice = new VirtualWorker('alice', { latency: 1 })
      const x = send(tf.tensor([1, 2, 3]), bob, { requiresGrad: true })
      const y = x.mul(2).move(alice, { requiresGrad: true }).sum()
      y.backward()
      console.log('sum', (await y.get()).dataSync()[0], 'grad', (await x.grad.get()).dataSync().join())
    `)
    expect(stdout).toContain('sum 12 grad 2,2,2')
  })
})
