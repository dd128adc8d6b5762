import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { isSottoError, type SottoErrorLike, send, tf, VirtualWorker, type VirtualWorkerOptions } from 'sotto'
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { newId } from '../../src/tensor/location.ts'
import type { Frame } from '../../src/worker/protocol.ts'
import { dialMemory, memoryPair } from '../../src/worker/transport/memory.ts'
import { readyForTest, testBackend } from '../backend.ts'

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
const receive = (at: VirtualWorker, out: string) =>
  at.tell('receive', { key: newId(), from: 'nobody', out, edge: null, optimizers: [] })

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

  it('rejects what is pending when it ends, and what is asked afterwards, saying why', async () => {
    const bob = worker('bob', { latency: 20 })
    const x = three(bob)
    const pending = [x.fetch(), bob.flush(), bob.stats()].map(failureOf)
    await bob.close()
    for (const error of await Promise.all(pending)) expect(error.code).toBe('ERR_SESSION_CLOSED')
    expect((await failureOf(bob.flush())).message).toContain('bob')
    expect(() => x.add(1)).toThrow('closed')
    // Frees come late, from garbage collectors.
    x.dispose()
  })

  it('that breaks rejects what is pending with the cause', async () => {
    let frames = 0
    const bob = worker('bob', { fault: (frame) => (frame[2] === 'get' && ++frames === 2 ? 'close' : undefined) })
    const x = three(bob)
    await x.fetch()
    const error = await failureOf(x.fetch())
    expect(error.code).toBe('ERR_SESSION_CLOSED')
    expect(error.cause).toMatchObject({ message: 'the connection broke' })
    expect(bob.isClosed).toBe(true)
  })

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

describe('the memory transport', () => {
  const arrivals = async (seed: number): Promise<{ order: number[]; times: number[] }> => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
    const [a, b] = memoryPair({ latency: 10, jitter: 40, seed })
    const start = performance.now()
    const order: number[] = []
    const times: number[] = []
    b.onFrame((frame) => {
      order.push((frame as Frame)[1])
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
    expect(() => dialMemory(address, {})).toThrow('no worker')
  })
})

describe('importing sotto', () => {
  const source = new URL('../../src/index.ts', import.meta.url).href
  const run = promisify(execFile)
  const child = (code: string) =>
    run(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', code], {
      cwd: fileURLToPath(new URL('../..', import.meta.url)),
      timeout: 30_000,
    })

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
