/** Workers in threads: what goes between threads, what happens when one dies, and what it costs to leave one open. */
import { MessageChannel, type MessagePort, type Worker as NodeWorker, type WorkerOptions } from 'node:worker_threads'
import {
  fixPrecision,
  gradOf,
  hook,
  type Limits,
  optim,
  ready,
  recordGrad,
  requireGrad,
  share,
  tf,
  VirtualWorker,
} from 'sotto'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { SeededRandom } from '../../src/data/random.ts'
import { sottoError } from '../../src/errors.ts'
import { type Frame, FrameKind } from '../../src/worker/protocol.ts'
import type { ToThread } from '../../src/worker/thread.ts'
import { memoryPair } from '../../src/worker/transport/memory.ts'
import { PortTransport, parcelOf, pipe } from '../../src/worker/transport/thread.ts'
import { readyForTest, settled, testBackend } from '../backend.ts'
import { codeOf } from '../conformance/workers.ts'

const threads = process.getBuiltinModule('node:worker_threads')

/** Threads that were started while this file ran, and what they were told. */
const started: { readonly thread: NodeWorker; readonly told: ToThread[] }[] = []
/** What the next thread runs in the place of a worker. */
let instead: { readonly code: string; readonly options?: WorkerOptions } | null = null
const { Worker } = threads
class Watched extends Worker {
  readonly told: ToThread[] = []
  constructor(url: URL, options: WorkerOptions) {
    if (instead === null) super(url, options)
    else super(instead.code, { ...options, ...instead.options, eval: true })
    started.push({ thread: this, told: this.told })
  }
  override postMessage(message: ToThread, moved: readonly MessagePort[]): void {
    this.told.push(message)
    super.postMessage(message, moved)
  }
}
beforeAll(async () => {
  threads.Worker = Watched as unknown as typeof Worker
  await readyForTest()
  hook()
})
afterAll(() => {
  threads.Worker = Worker
})

const random = new SeededRandom(1)
/** So many numbers, exact in 32 bits. */
const numbers = (count: number): Float32Array => Float32Array.from({ length: count }, () => random.float())
const valuesOf = async (tensor: Promise<tf.Tensor>): Promise<number[]> => {
  const t = await tensor
  const values = [...t.dataSync()]
  t.dispose()
  return values
}
const tensorWire = (count: number) => {
  const values = numbers(count)
  return { shape: [count], dtype: 'float32' as const, data: new Uint8Array(values.buffer) }
}
const put = (seq: number, value: unknown): Frame => [FrameKind.request, seq, 'put', { out: 'a', value }]

describe('a frame that is posted', () => {
  it('hands over the memory of tensors of 4 kB and more, and copies smaller ones', () => {
    const [small, large] = [tensorWire(1023), tensorWire(1024)]
    const { message, moved, bytes } = parcelOf([FrameKind.request, 1, 'run', { operands: [small, 'b', large, null] }])
    expect(moved).toEqual([large.data.buffer])
    expect(bytes).toBe(4 * (1023 + 1024))
    expect(message).toEqual([FrameKind.request, 1, 'run', { operands: [small, 'b', large, null] }])
  })

  it('hands over memory that stands in it twice once', () => {
    const wire = tensorWire(2048)
    expect(parcelOf([FrameKind.request, 1, 'run', { operands: [wire, wire] }]).moved).toEqual([wire.data.buffer])
  })

  it('copies bytes that are no tensor: others may get them too', () => {
    const data = new Uint8Array(10_000)
    const parts = [{ kind: 'opening', seq: 1, step: 0, op: 'mul', data }]
    expect(parcelOf([FrameKind.request, 1, 'secretParts', { group: 'g', parts }]).moved).toEqual([])
    expect(parcelOf([FrameKind.request, 1, 'secretPut', { share: { shape: [1250], data } }]).moved).toEqual([])
  })

  it('carries nothing of the memory around a view', () => {
    const around = new Uint8Array(20_000).fill(7)
    const view = around.subarray(100, 10_100)
    const pooled = Buffer.from('a few bytes from the pool of Node')
    expect(pooled.buffer.byteLength).toBeGreaterThan(pooled.byteLength)
    const frame: Frame = [
      FrameKind.request,
      1,
      'x',
      { view, pooled, value: { shape: [1e4], dtype: 'bool', data: view } },
    ]
    const { message, moved } = parcelOf(frame)
    const {
      view: sent,
      pooled: text,
      value,
    } = (message as [1, 1, 'x', Record<string, Uint8Array>])[3] as never as {
      view: Uint8Array
      pooled: Uint8Array
      value: { data: Uint8Array }
    }
    for (const part of [sent, text, value.data]) expect(part.buffer.byteLength).toBe(part.byteLength)
    expect([...sent]).toEqual([...view])
    expect([...text]).toEqual([...pooled])
    // The copies are nobody's; what was given stays.
    expect(new Set(moved)).toEqual(new Set([sent.buffer, value.data.buffer]))
    expect(frame[3]).toEqual({ view, pooled, value: { shape: [1e4], dtype: 'bool', data: view } })
  })

  it('is not copied where nothing in it changes', () => {
    const frame = put(1, tensorWire(4000))
    expect(parcelOf(frame).message).toBe(frame)
  })
})

describe('a connection through a port', () => {
  const made: PortTransport[] = []
  const lost = () => sottoError('ERR_WORKER_LOST', 'bob is gone')
  /** Two ends, and the port of the second. */
  function connection() {
    const { port1, port2 } = new MessageChannel()
    const ends = [new PortTransport(port1, lost), new PortTransport(port2, lost)] as const
    made.push(...ends)
    for (const end of ends) end.hold(true)
    return { a: ends[0], b: ends[1], port: port2 }
  }
  const closed = (end: PortTransport) => new Promise<Error | undefined>((resolve) => end.onClose(resolve))
  afterEach(() => {
    for (const end of made.splice(0)) end.close()
  })

  it('brings frames in order, those too that came before anybody listened', async () => {
    const { a, b } = connection()
    for (let seq = 1; seq <= 3; seq++) a.send([FrameKind.ack, seq])
    await new Promise((resolve) => setImmediate(resolve))
    const seen: unknown[] = []
    b.onFrame((frame) => seen.push(frame))
    for (let seq = 4; seq <= 6; seq++) a.send([FrameKind.ack, seq])
    a.close()
    expect(await closed(b)).toBeUndefined()
    expect(seen).toEqual([1, 2, 3, 4, 5, 6].map((seq) => [FrameKind.ack, seq]))
    expect(b.traffic).toMatchObject({ framesIn: 6, framesOut: 0 })
  })

  it('gives what came before the other end closed to whoever listens only then', async () => {
    const { a, b } = connection()
    a.send([FrameKind.ack, 1])
    a.close(sottoError('ERR_LIMIT', 'enough'))
    const reason = await closed(b)
    expect(reason).toMatchObject({ code: 'ERR_LIMIT', message: 'enough' })
    const seen: unknown[] = []
    b.onFrame((frame) => seen.push(frame))
    expect(seen).toEqual([[FrameKind.ack, 1]])
  })

  it('knows what has not arrived, and says when little is left', async () => {
    const { a, b } = connection()
    const size = 2 ** 20
    const first = tensorWire(size / 4)
    a.send(put(0, first))
    // It has changed hands.
    expect(first.data).toHaveLength(0)
    for (let seq = 1; seq <= 3; seq++) a.send(put(seq, tensorWire(size / 4)))
    a.send(put(4, tensorWire(10)))
    expect(a.backlog).toBe(4 * size + 40)
    let drained = false
    a.onDrain(() => {
      drained = true
    })
    await new Promise((resolve) => setTimeout(resolve, 20))
    // Nobody has listened: nothing has arrived.
    expect(a.backlog).toBe(4 * size + 40)
    expect(drained).toBe(false)
    b.onFrame(() => {})
    await expect.poll(() => a.backlog).toBe(0)
    expect(drained).toBe(true)
    let atOnce = false
    a.onDrain(() => {
      atOnce = true
    })
    expect(atOnce).toBe(true)
    expect(a.traffic.bytesOut).toBe(4 * size + 40)
    expect(b.traffic.bytesIn).toBe(4 * size + 40)
  })

  it('refuses what cannot be cloned, and goes on', async () => {
    const { a, b } = connection()
    const wire = tensorWire(2000)
    expect(await codeOf(() => a.send([FrameKind.request, 1, 'x', { wire, f: () => 1 }]))).toBe('ERR_PROTOCOL')
    expect(wire.data).toHaveLength(8000)
    const arrived = new Promise((resolve) => b.onFrame(resolve))
    a.send([FrameKind.ack, 1])
    expect(await arrived).toEqual([FrameKind.ack, 1])
    expect(a.backlog).toBe(0)
  })

  it('says that the other end is lost when it closes without a word', async () => {
    const { a, port } = connection()
    port.close()
    expect(await closed(a)).toMatchObject({ code: 'ERR_WORKER_LOST', message: 'bob is gone' })
    a.send([FrameKind.ack, 1])
    a.close()
  })

  it('makes one connection of two, which closes as one', async () => {
    const { a, b } = connection()
    const [near, far] = memoryPair()
    pipe(b, near)
    const there = new Promise((resolve) => far.onFrame(resolve))
    const back = new Promise((resolve) => a.onFrame(resolve))
    a.send([FrameKind.ack, 1])
    expect(await there).toEqual([FrameKind.ack, 1])
    far.send([FrameKind.ack, 2])
    expect(await back).toEqual([FrameKind.ack, 2])
    far.close(sottoError('ERR_LIMIT', 'enough'))
    expect(await closed(a)).toMatchObject({ code: 'ERR_LIMIT' })
  })
})

describe('workers in threads', () => {
  let bob: VirtualWorker
  let alice: VirtualWorker
  const carol = new VirtualWorker('carol')
  let told: readonly ToThread[]
  beforeAll(async () => {
    bob = new VirtualWorker('bob', { thread: true, limits: { elements: 500_000 } })
    alice = new VirtualWorker('alice', { thread: true })
    told = started.at(-1)!.told
    await Promise.all([bob.flush(), alice.flush()])
  })
  afterAll(() => Promise.all([bob, alice, carol].map((worker) => worker.close())))
  const linkOf = async (worker: VirtualWorker, name: string) =>
    (await worker.stats()).links.find((link) => link.name === name && link.framesOut > 0)

  it('compute on the backend of this thread', async () => {
    const x = tf.tensor([1, 2, 3]).send(bob)
    expect(await valuesOf(x.add(x).sum().get())).toEqual([12])
    expect(started[0]!.thread).toBeInstanceOf(Worker)
    expect(started.length).toBe(2)
    expect(tf.getBackend()).toBe(testBackend)
  })

  it('hand a tensor from thread to thread by a port of their own, at which this thread has no part', async () => {
    const [before, objects] = [told.length, await bob.objectCount()]
    const sent = numbers(1e5)
    const x = tf.tensor(sent).send(bob)
    await bob.flush()
    const own = (await linkOf(bob, 'me'))!.bytesIn
    const moved = x.move(alice)
    expect(await valuesOf(moved.sum().sub(moved.sum()).get())).toEqual([0])
    expect(await bob.objectCount()).toBe(objects)
    expect((await linkOf(bob, 'alice'))!.bytesOut).toBeGreaterThanOrEqual(4e5)
    expect((await linkOf(bob, 'me'))!.bytesIn).toBeLessThan(own + 1000)
    // The port went from bob's thread to alice's: a connection that passes here would be none that alice was told of.
    const ports = told.slice(before).filter(({ kind }) => kind === 'connect')
    expect(ports).toMatchObject([{ credentials: { role: 'peer', capability: { name: 'bob' } } }])
    expect(await valuesOf(moved.get())).toEqual([...sent])
  })

  it('hand tensors to workers of this thread, and take them', async () => {
    const sent = numbers(2000)
    const x = tf.tensor(sent).send(bob)
    const there = x.move(carol)
    expect(await valuesOf(there.mul(2).get())).toEqual([...sent.map((value) => 2 * value)])
    expect(await valuesOf(there.move(bob).get())).toEqual([...sent])
    expect((await linkOf(bob, 'carol'))!.bytesOut).toBeGreaterThanOrEqual(8000)
    expect((await linkOf(carol, 'bob'))!.bytesOut).toBeGreaterThanOrEqual(8000)
  })

  it('leave tensors here as they are, however often they are sent', async () => {
    const sent = numbers(5000)
    const x = tf.tensor(sent)
    const pointers = [x.send(bob), x.send(alice), x.send(bob), x.send(carol)]
    const [there, again] = await Promise.all([pointers[0]!.fetch(), pointers[0]!.fetch()])
    for (const one of [x, there, again]) expect([...one.dataSync()]).toEqual([...sent])
    for (const pointer of pointers) expect(await valuesOf(pointer.get())).toEqual([...sent])
    const literal = sent.slice()
    const sum = tf.zeros([5000]).send(bob).add(literal)
    expect(await valuesOf(sum.add(literal).get())).toEqual([...sent.map((value) => value + value)])
    expect([...literal]).toEqual([...sent])
  })

  it('leave tensors as they are that were made on another backend', async () => {
    const sent = numbers(5000)
    await ready({ backend: 'cpu' })
    const x = tf.tensor(sent.slice())
    await ready({ backend: testBackend })
    expect(await valuesOf(x.send(bob).get())).toEqual([...sent])
    expect(await valuesOf(x.send(alice).get())).toEqual([...sent])
    expect([...x.dataSync()]).toEqual([...sent])
  })

  it('send the state of an optimizer home, and take it again with the model', async () => {
    const [erin, frank] = [new VirtualWorker('erin'), new VirtualWorker('frank')]
    const weights = numbers(64 * 64)
    async function lossesOn(one: VirtualWorker, other: VirtualWorker): Promise<number[]> {
      const net = tf.sequential({ layers: [tf.layers.dense({ units: 64, inputShape: [64], useBias: false })] })
      net.setWeights([tf.tensor2d(weights.slice(), [64, 64])])
      let remote = net.send(one)
      const optimizer = optim.adam(remote.parameters(), { learningRate: 0.1 })
      const train = async (on: VirtualWorker): Promise<number> => {
        const loss = remote
          .apply(tf.ones([1, 64]).send(on))
          .square()
          .mean()
        loss.backward()
        optimizer.step()
        optimizer.zeroGrad()
        return (await valuesOf(loss.get()))[0]!
      }
      const losses = [await train(one), await train(one)]
      remote = (await remote.get()).send(other)
      losses.push(await train(other))
      remote = remote.move(one)
      losses.push(await train(one))
      remote.dispose()
      return losses
    }
    expect(await lossesOn(bob, alice)).toEqual(await lossesOn(erin, frank))
    await Promise.all([erin.close(), frank.close()])
  })

  it('bring gradients across threads, to this one too', async () => {
    const w = requireGrad(tf.tensor(numbers(2000)))
    const x = recordGrad(() => w.square()).send(bob, { requiresGrad: true })
    const y = x.mul(3).move(alice, { requiresGrad: true })
    y.sum().backward()
    await Promise.all([bob.flush(), alice.flush()])
    const [expected, gradient] = [w.mul(6).dataSync(), (await gradOf(w))!.dataSync()]
    for (const [i, value] of gradient.entries()) expect(value).toBeCloseTo(expected[i]!, 4)
  })

  it('compute in secret, with one another and with a provider in this thread', async () => {
    const values = [...numbers(1500)].map((value) => Math.round(value * 256) / 256)
    const x = tf.tensor(values).send(bob).fixPrecision().share([bob, alice], { provider: carol })
    const [square, positive] = [x.mul(x), x.sub(0.5).relu()]
    for (const [i, value] of (await valuesOf(square.reveal())).entries()) {
      expect(Math.abs(value - values[i]! ** 2)).toBeLessThanOrEqual(2 ** -16)
    }
    expect(await valuesOf(positive.reveal())).toEqual(values.map((value) => Math.max(0, value - 0.5)))
    // Through a port of their own: what each party opened went to the other.
    expect((await linkOf(alice, 'bob'))!.bytesOut).toBeGreaterThan(8 * values.length)
  })

  it('keep a ledger, permissions and identities', async () => {
    const x = tf.tensor([1, 2]).send(bob, { tags: ['#ours'], private: true, allow: ['dan'] })
    await bob.flush()
    const [dans] = await bob.as('dan').search(['#ours'])
    const [erins] = await bob.as('erin').search(['#ours'])
    expect(await valuesOf(dans!.fetch())).toEqual([1, 2])
    expect(await codeOf(() => erins!.fetch())).toBe('ERR_PERMISSION')
    const rows = (await bob.ledger()).filter(({ tags }) => tags.includes('#ours'))
    expect(rows.map(({ event, to }) => [event, to])).toEqual(
      expect.arrayContaining([
        ['left', 'dan'],
        ['refused', 'erin'],
      ]),
    )
    await bob.as('dan').close()
    await bob.as('erin').close()
    x.dispose()
  })

  it('keep to limits, and tell of failures where they were issued', async () => {
    const x = tf.ones([500_001]).send(bob)
    await expect(x.fetch()).rejects.toThrow(/on bob, issued at .*thread\.test\.ts/)
    expect(await codeOf(() => x.add(1).get())).toBe('ERR_LIMIT')
    expect(await valuesOf(tf.ones([1]).send(alice).get())).toEqual([1])
  })

  it('hold nothing that nobody holds', async () => {
    const counts = async () => {
      await settled()
      return [tf.memory().numTensors, ...(await Promise.all([bob.objectCount(), alice.objectCount()]))]
    }
    // What the tests above have dropped goes first.
    await expect.poll(counts).toEqual([expect.any(Number), 0, 0])
    const before = await counts()
    for (let i = 0; i < 20; i++) {
      const x = tf.ones([2000]).send(bob)
      const y = x.add(i).move(alice)
      ;(await y.get()).dispose()
      x.dispose()
    }
    // Twenty tensors here were made to be sent.
    expect(await counts()).toEqual([before[0]! + 20, 0, 0])
  })
})

describe.skipIf(testBackend !== 'wasm')('a thread that ends', () => {
  const made: VirtualWorker[] = []
  const thread = (
    id: string,
    code: string | null = null,
    options: WorkerOptions = {},
    limits: Partial<Limits> = {},
  ) => {
    instead = code === null ? null : { code, options }
    const worker = new VirtualWorker(id, { thread: true, limits })
    instead = null
    made.push(worker)
    return { worker, thread: started.at(-1)!.thread }
  }
  /** A thread that comes up, and does something else with the first connection than to answer. */
  const upThen = (code: string): string => `
    const { parentPort } = require('node:worker_threads')
    parentPort.once('message', () => { ${code} })
    parentPort.postMessage({ kind: 'up' })
  `
  const failureOf = (promise: Promise<unknown>): Promise<Error & { code?: string }> =>
    promise.then(
      () => {
        throw new Error('nothing failed')
      },
      (error) => error,
    )
  afterEach(() => Promise.all(made.splice(0).map((worker) => worker.close())))

  it('in mid-computation fails everything that waits for it, here and on its peers', async () => {
    const { worker: bob, thread: killed } = thread('bob')
    const { worker: alice } = thread('alice')
    const carol = new VirtualWorker('carol')
    made.push(carol)
    const x = tf.ones([400, 400]).send(bob)
    const before = x.copy().move(alice)
    const secret = share(fixPrecision(tf.tensor([1, 2])), [bob, alice], { provider: carol })
    await Promise.all([before.fetch(), secret.reveal()])
    let y = x
    for (let i = 0; i < 1000; i++) y = y.matMul(x)
    const here = failureOf(y.fetch())
    const there = failureOf(y.move(alice).get())
    await new Promise((resolve) => setTimeout(resolve, 50))
    killed.terminate()
    expect(await here).toMatchObject({
      code: 'ERR_WORKER_LOST',
      message: expect.stringMatching(/bob is gone: its thread/),
    })
    expect(await there).toMatchObject({ code: 'ERR_WORKER_LOST' })
    expect(await codeOf(() => secret.reveal())).toMatch(/ERR_WORKER_LOST|ERR_PARTY_LOST/)
    expect(await codeOf(() => x.add(1))).toBe('ERR_WORKER_LOST')
    expect(bob.isClosed).toBe(true)
    expect(await codeOf(() => bob.as('dan').stats())).toBe('ERR_WORKER_LOST')
    // Whoever has nothing to do with it goes on.
    expect((await before.fetch()).shape).toEqual([400, 400])
    expect(await codeOf(() => before.move(bob))).toBe('ERR_WORKER_LOST')
    await bob.close()
  })

  it.each([
    ['by itself says with which code', upThen('process.exit(7)'), 'its thread ended with exit code 7'],
    [
      'by an error says of which kind, and not what it was about',
      upThen('throw new TypeError("these were the values: 42")'),
      'its thread failed with TypeError',
    ],
    [
      'by an error before it holds anything says all about it',
      'throw new TypeError("the backend is not there")',
      'its thread failed: the backend is not there',
    ],
    [
      'for want of memory says so',
      upThen('const all = []; while (true) all.push(Array.from({ length: 1000 }, (_, i) => [i]))'),
      'its thread failed with ERR_WORKER_OUT_OF_MEMORY',
    ],
  ])('%s', async (_, code, why) => {
    const { worker } = thread('bob', code, { resourceLimits: { maxOldGenerationSizeMb: 16 } })
    const x = tf.ones([3]).send(worker)
    const message = `get: bob is gone: ${why}`
    expect(await failureOf(x.get())).toMatchObject({ code: 'ERR_WORKER_LOST', message })
    expect(await codeOf(() => worker.stats())).toBe('ERR_WORKER_LOST')
  })

  it.skipIf(!process.env['SOTTO_LONG'])(
    'at any moment leaves nobody waiting, and no wrong number',
    async () => {
      const moments = new SeededRandom(7)
      for (let run = 0; run < 15; run++) {
        const limits = { peerTimeout: 1000 }
        const { worker: bob, thread: killed } = thread('bob', null, {}, limits)
        const { worker: alice } = thread('alice', null, {}, limits)
        const outcomes: Promise<unknown>[] = []
        const note = (answer: Promise<tf.Tensor>) =>
          outcomes.push(valuesOf(answer).then(String, ({ code, message }) => code ?? message))
        await Promise.all([bob.flush(), alice.flush()])
        setTimeout(() => killed.terminate(), 300 * moments.float())
        while (!bob.isClosed) {
          const x = tf.fill([2000], 2)
          const there = x.send(bob).square().move(alice).sub(1)
          note(there.copy().sum().get())
          note(there.move(bob).sum().get())
          x.dispose()
          await Promise.race([outcomes.at(-1), new Promise((resolve) => setTimeout(resolve, 20))])
        }
        expect(outcomes.length).toBeGreaterThan(0)
        for (const outcome of await Promise.all(outcomes)) {
          expect(['6000', 'ERR_WORKER_LOST', 'ERR_TIMEOUT', 'ERR_UNKNOWN_PEER']).toContain(outcome)
        }
        await Promise.all(made.splice(0).map((worker) => worker.close()))
      }
    },
    300_000,
  )

  it('because it is closed has finished what it was told before, and leaves nothing behind', async () => {
    const open = () => process.getActiveResourcesInfo().filter((name) => /MessagePort|Worker/.test(name)).length
    const carol = new VirtualWorker('carol')
    made.push(carol)
    const before = open()
    const { worker: bob } = thread('bob')
    const there = tf.ones([100]).send(bob).add(1).move(carol)
    const dan = bob.as('dan')
    const told = dan.flush()
    await bob.close()
    expect(await valuesOf(there.sum().get())).toEqual([200])
    await told
    expect(await codeOf(() => dan.stats())).toBe('ERR_SESSION_CLOSED')
    expect(await codeOf(() => bob.stats())).toBe('ERR_SESSION_CLOSED')
    await bob.close()
    await expect.poll(open).toBe(before)
  })

  it('because it is closed ends in the middle of what takes too long', async () => {
    const { worker: bob } = thread('bob')
    let x = tf.ones([500, 500]).send(bob)
    await bob.flush()
    for (let i = 0; i < 2000; i++) x = x.matMul(x)
    const dan = bob.as('dan').stats()
    const failure = failureOf(dan)
    // It has eleven seconds to carry out what it was told, which is less than it would take.
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    let isClosed = false
    const closing = bob.close().then(() => {
      isClosed = true
    })
    await vi.advanceTimersByTimeAsync(9999)
    expect(isClosed).toBe(false)
    while (!isClosed) await vi.advanceTimersByTimeAsync(100)
    vi.useRealTimers()
    await closing
    expect(await failure).toMatchObject({ code: 'ERR_SESSION_CLOSED' })
  })
})

describe('options of a worker in a thread', () => {
  it('leave the simulation of a network to others', async () => {
    for (const option of [{ latency: 1 }, { jitter: 1 }, { codec: true }, { fault: () => undefined }, { seed: 1 }]) {
      expect(await codeOf(() => new VirtualWorker('bob', { thread: true, ...option }))).toBe('ERR_ARGUMENT_VALUE')
    }
    expect(await codeOf(() => new VirtualWorker('bob', { thread: 1 as never }))).toBe('ERR_ARGUMENT_TYPE')
    await new VirtualWorker('bob', { thread: false, latency: 1 }).close()
  })

  it('say so where there are no threads', async () => {
    const { getBuiltinModule } = process
    process.getBuiltinModule = (() => undefined) as never
    try {
      expect(await codeOf(() => new VirtualWorker('bob', { thread: true }))).toBe('ERR_BACKEND')
    } finally {
      process.getBuiltinModule = getBuiltinModule
    }
  })
})
