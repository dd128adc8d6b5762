/**
 * Workers over sockets when connections break and processes die: the right result, or an error that says what happened;
 * nothing is carried out twice, nobody waits for ever, and nothing is left behind.
 */
import {
  fixPrecision,
  hook,
  Identity,
  listenForWorkers,
  offerWorker,
  optim,
  SocketWorker,
  scope,
  serveWorker,
  share,
  tf,
  VirtualWorker,
  type Worker,
  type WorkerServer,
} from 'sotto'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { SeededRandom } from '../../src/data/random.ts'
import { newId, type Progress } from '../../src/tensor/location.ts'
import type { ServeOptions } from '../../src/worker/serve.ts'
import type { ConnectOptions } from '../../src/worker/socket-worker.ts'
import { readyForTest, testBackend } from '../backend.ts'
import { codeOf } from '../conformance/workers.ts'
import { type ProxyOptions, TcpProxy } from './proxy.ts'
import { WorkerProcess } from './worker-process.ts'

const isLong = globalThis.process.env['SOTTO_LONG'] !== undefined
// Some minutes, alone on two cores.
if (isLong) vi.setConfig({ testTimeout: 900_000 })
/** What happens to connections has nothing to do with backends: one of them is enough. */
const once = describe.skipIf(testBackend !== 'wasm')

/** What a long run comes to. */
const figures: string[] = []
const noted = (...words: unknown[]): void => {
  if (isLong) figures.push(words.join(' '))
}
afterAll(() => {
  if (figures.length > 0) console.log(figures.join('\n'))
})
const sumOf = (counts: Readonly<Record<string, number>>): number => Object.values(counts).reduce((a, b) => a + b, 0)

/** Started while the first tests run. */
const bobs = new WorkerProcess({ id: 'bob', grace: 20_000, heartbeat: 200 })
const started = testBackend === 'wasm' ? bobs.start() : null
afterAll(() => bobs.kill())

beforeAll(async () => {
  await readyForTest()
  hook()
})

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

/** A server behind a proxy, and a handle on it: what peers are told is the address of the proxy. */
interface Site {
  readonly server: WorkerServer
  readonly proxy: TcpProxy
  readonly worker: SocketWorker
}
interface SiteOptions extends ProxyOptions {
  readonly serve?: Partial<ServeOptions>
  readonly connect?: ConnectOptions
}
const TIMES = { grace: 5000, heartbeat: 2000 }

async function site(id: string, { serve, connect, ...network }: SiteOptions = {}): Promise<Site> {
  const server = await serveWorker({ id, port: 0, ...TIMES, ...serve })
  closing.push(() => server.close(0))
  const proxy = await TcpProxy.start(server.url, network)
  closing.push(() => proxy.close())
  const worker = await SocketWorker.connect(proxy.url, { ...TIMES, timeout: 20_000, ...connect })
  closing.push(() => {
    // What it waits for should come, whatever the test did to its line.
    proxy.goOn()
    return worker.close()
  })
  return { server, proxy, worker }
}

const random = new SeededRandom(7)
const valuesOf = async (tensor: Promise<tf.Tensor>): Promise<number[]> => {
  const t = await tensor
  const values = [...t.dataSync()]
  t.dispose()
  return values
}
/** Commands that a worker has carried out, by their names. What is freed is told when the collector comes to it. */
async function opsOf({ server }: Pick<Site, 'server'>): Promise<Record<string, number>> {
  const text = await (await fetch(`${server.url.replace('ws', 'http')}/metrics`)).text()
  const counts = [...text.matchAll(/^sotto_ops_total\{message="(\w+)"\} (\d+)$/gm)].map(([, name, n]) => [
    name,
    Number(n),
  ])
  // What was said in one turn goes in one message to a party: how many there are depends on when things come.
  // A peer may still be on its way, if nothing is wanted of it.
  const { free, secretParts, hello, ...ops } = Object.fromEntries(counts)
  return ops
}

/** What a cutter needs of a site. */
interface Cuttable {
  readonly proxy: TcpProxy
  readonly server: { stats(): { readonly framesIn: number } }
}

/**
 * Cuts connections of some proxies, one after another, each after some bytes that it lets through. Where nothing has
 * come through since the last cut, it lets through twice as many: a message is as large as what was said in one turn,
 * and on a busy machine larger than any number that was chosen before.
 */
class Cutter {
  readonly #sites: readonly Cuttable[]
  readonly #random: SeededRandom
  readonly #bytes: number
  #left: number

  constructor(sites: readonly Cuttable[], { cuts, bytes, seed }: { cuts: number; bytes: number; seed: number }) {
    this.#sites = sites
    this.#random = new SeededRandom(seed)
    this.#bytes = bytes
    this.#left = cuts
    for (const site of this.#sites) this.#aim(site, this.#bytes)
  }

  #aim(site: Cuttable, bytes: number): void {
    if (this.#left-- <= 0) return
    const { proxy, server } = site
    const before = server.stats().framesIn
    proxy.cutAfter(1 + Math.floor(2 * bytes * this.#random.float()), () =>
      this.#aim(site, server.stats().framesIn === before ? 2 * bytes : this.#bytes),
    )
  }

  get made(): number {
    return this.#sites.reduce((sum, { proxy }) => sum + proxy.cuts, 0)
  }
}

/** Split training of a small net; ends with its weights, and the losses on the way. */
async function train(
  alice: Worker,
  bob: Worker,
  steps: number,
  onLoss: (loss: Promise<tf.Tensor>) => void = () => {},
): Promise<number[]> {
  const init = (seed: number) => tf.initializers.glorotUniform({ seed })
  const bottom = tf.sequential({
    layers: [tf.layers.dense({ units: 16, inputShape: [20], activation: 'relu', kernelInitializer: init(1) })],
  })
  const top = tf.sequential({ layers: [tf.layers.dense({ units: 3, inputShape: [16], kernelInitializer: init(2) })] })
  const [near, far] = [bottom.send(alice), top.send(bob)]
  const optimizer = optim.sgd([...near.parameters(), ...far.parameters()], { learningRate: 0.1, momentum: 0.9 })
  const data = new SeededRandom(3)
  const losses: Promise<tf.Tensor>[] = []
  for (let step = 0; step < steps; step++) {
    const images = tf.tensor2d(
      Float32Array.from({ length: 32 * 20 }, () => data.normal()),
      [32, 20],
    )
    const labels = tf.tensor1d(
      Int32Array.from({ length: 32 }, () => data.uint32() % 3),
      'int32',
    )
    const loss = scope(() => {
      const cut = near.apply(images.send(alice)).move(bob, { requiresGrad: true })
      const value = far.apply(cut).logSoftmax().nllLoss(labels.send(bob))
      value.backward()
      optimizer.step()
      optimizer.zeroGrad()
      return value
    })
    losses.push(loss.get())
    onLoss(losses.at(-1)!)
    if (step % 2 === 1) await losses.at(-1)
    tf.dispose([images, labels])
  }
  const values = (await Promise.all(losses)).map((loss) => loss.dataSync()[0]!)
  for (const model of [near, far]) {
    const trained = await model.get()
    for (const weight of trained.getWeights()) values.push(...weight.dataSync())
    trained.dispose()
  }
  return values
}

/** The same in this process. */
async function trainHere(steps: number): Promise<number[]> {
  const workers = [new VirtualWorker('alice'), new VirtualWorker('bob')] as const
  const values = await train(...workers, steps)
  for (const worker of workers) await worker.close()
  return values
}

once('connections that break', () => {
  const STEPS = isLong ? 600 : 24
  const CUTS = isLong ? 200 : 15

  it(`${CUTS} times in the middle of split training change no bit of the net, and no command is carried out twice`, async () => {
    const outcomes = []
    for (const cuts of [0, CUTS]) {
      const sites = [await site('alice'), await site('bob')]
      const [alice, bob] = sites
      const cutter = new Cutter(sites, { cuts, bytes: isLong ? 14_000 : 9_000, seed: 11 })
      const values = await train(alice!.worker, bob!.worker, STEPS)
      if (cuts > 0) {
        expect(cutter.made).toBe(CUTS)
        expect(alice!.proxy.made).toBeGreaterThan(2)
        expect(bob!.proxy.made).toBeGreaterThan(2)
      }
      const ledgers = await Promise.all(sites.map(({ worker }) => worker.ledger()))
      const rows = ledgers.map((ledger) =>
        ledger.map(({ event, operation, shape, from, to }) => `${event} ${operation} [${shape}] ${from} ${to}`),
      )
      outcomes.push({ values, rows, ops: await Promise.all(sites.map(opsOf)) })
      for (const { worker } of sites) await worker.close()
    }
    const [whole, cut] = outcomes
    expect(cut!.values.every(Number.isFinite)).toBe(true)
    expect(cut!.values).toEqual(whole!.values)
    expect(cut!.rows).toEqual(whole!.rows)
    expect(cut!.ops).toEqual(whole!.ops)
    const commands = cut!.ops.map(sumOf).reduce((a, b) => a + b)
    noted(`${CUTS} cuts in ${STEPS} steps:`, cut!.values.length, 'losses and weights equal, and', commands, 'commands')
  })

  it('in the middle of secret computation change no result, and no command is carried out twice', async () => {
    const outcomes = []
    let made = 0
    const rounds = isLong ? 60 : 3
    for (const cuts of [0, isLong ? 200 : 12]) {
      const sites = []
      for (const id of ['bob', 'alice', 'jane', 'carol']) sites.push(await site(id))
      const [bob, alice, jane, carol] = sites.map(({ worker }) => worker)
      const cutter = new Cutter(sites, { cuts, bytes: 6_000, seed: 12 })
      const data = new SeededRandom(5)
      const secret = () =>
        share(
          fixPrecision(
            Array.from({ length: 24 }, () => (data.uint32() % 2001) - 1000),
            { base: 2, precisionFractional: 1 },
          ),
          [bob!, alice!, jane!],
          { provider: carol! },
        )
      const values: number[] = []
      for (let i = 0; i < rounds; i++) {
        const [x, y] = [secret(), secret()]
        const results = [x.greater(y), x.mul(3).sub(y).relu(), x.add(y).sum(), x.mul(y)]
        // A product of whole numbers may be a half too large; all else is exact.
        for (const part of await Promise.all(results.map((result) => valuesOf(result.reveal())))) {
          values.push(...part.map(Math.floor))
        }
      }
      if (cuts > 0) expect(cutter.made).toBeGreaterThan(0.7 * cuts)
      made = cutter.made
      outcomes.push({ values, ops: await Promise.all(sites.map(opsOf)) })
    }
    const [whole, cut] = outcomes
    expect(cut!.values).toEqual(whole!.values)
    expect(cut!.ops).toEqual(whole!.ops)
    const commands = cut!.ops.map(sumOf).reduce((a, b) => a + b)
    noted(`${made} cuts in secrets:`, cut!.values.length, 'numbers equal, and', commands, 'commands')
  })

  it('change nothing for workers that dialled out, whose words to each other pass the caller', async () => {
    const hub = await listenForWorkers({ port: 0, ...TIMES })
    closing.push(() => hub.close())
    const sites = []
    for (const id of ['alice', 'bob']) {
      const proxy = await TcpProxy.start(hub.url)
      closing.push(() => proxy.close())
      const offered = await offerWorker(proxy.url, { id, ...TIMES })
      closing.push(() => offered.close(0))
      const server = { stats: () => offered.host.stats() }
      sites.push({ proxy, server, worker: await hub.worker(id, { timeout: 20_000 }) })
    }
    const [alice, bob] = sites.map(({ worker }) => worker) as [SocketWorker, SocketWorker]
    const cutter = new Cutter(sites, { cuts: CUTS, bytes: 30_000, seed: 14 })
    expect(await train(alice, bob, STEPS)).toEqual(await trainHere(STEPS))
    const large = tf.range(0, 1_250_000)
    const moved = await large.send(alice).move(bob).get()
    expect(Buffer.compare(bytesOf(moved.dataSync()), bytesOf(large.dataSync()))).toBe(0)
    expect(cutter.made).toBeGreaterThan(0.7 * CUTS)
    noted(`${cutter.made} cuts past the caller: losses, weights and a large tensor equal`)
    for (const worker of [alice, bob]) await worker.close()
  })

  it('in the middle of large tensors leave them whole', async () => {
    const [alice, bob] = [await site('alice'), await site('bob')]
    const cutter = new Cutter([alice, bob], { cuts: isLong ? 200 : 10, bytes: 2e6, seed: 13 })
    const values = Float32Array.from({ length: 1_250_000 }, () => random.float())
    const [x, other] = [tf.tensor1d(values), tf.tensor1d(values.map((value) => 1 - value))]
    for (let i = 0; i < (isLong ? 50 : 2); i++) {
      const far = x.send(alice.worker).move(bob.worker)
      const back = await Promise.all([far.get(), other.send(bob.worker).move(alice.worker).get()])
      for (const [k, wanted] of [x, other].entries()) {
        const got = back[k]!.dataSync()
        if (Buffer.compare(bytesOf(got), bytesOf(wanted.dataSync())) !== 0) throw new Error(`round ${i}: ${k} differs`)
      }
      tf.dispose(back)
    }
    expect(cutter.made).toBeGreaterThan(isLong ? 150 : 5)
    noted(`${cutter.made} cuts in ${isLong ? 200 : 8} large tensors: bytes equal`)
    expect([alice.server.stats().objects, bob.server.stats().objects]).toEqual([0, 0])
  })
})

const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength)

const KILLS = isLong ? 50 : 1
/** So many milliseconds are a few heartbeats. */
const QUICK = { heartbeat: 60, grace: 400 }

once('a connection that is half dead', () => {
  it('is noticed, and another one goes on where it stopped', async () => {
    const { worker, proxy } = await site('bob', { connect: QUICK })
    const x = tf.tensor([1, 2, 3]).send(worker)
    await worker.flush()
    proxy.stall({ isNewToo: false })
    expect(await valuesOf(x.mul(2).get())).toEqual([2, 4, 6])
    expect(proxy.made).toBe(2)
  })

  it('of which nobody knows better is waited for, up to the time of an answer', async () => {
    const { worker, proxy } = await site('bob', { connect: { ...QUICK, timeout: 500 } })
    const x = tf.tensor([1, 2, 3]).send(worker)
    await worker.flush()
    proxy.stall()
    expect(await codeOf(() => x.fetch())).toBe('ERR_TIMEOUT')
    expect(await codeOf(() => x.fetch({ timeout: 20 }))).toBe('ERR_TIMEOUT')
    proxy.goOn()
    expect(await valuesOf(x.fetch())).toEqual([1, 2, 3])
  })

  it('and stays away for longer than it is kept ends the session at both ends, and frees what was in it', async () => {
    const serve = { grace: 300 }
    const { worker, proxy, server } = await site('bob', { serve, connect: { ...QUICK, grace: 500 } })
    const other = await SocketWorker.connect(server.url)
    closing.push(() => other.close())
    const kept = tf.tensor([7]).send(other)
    const x = tf.tensor([1, 2, 3]).send(worker)
    await Promise.all([worker.flush(), other.flush()])
    expect(server.stats().objects).toBe(2)
    proxy.refuse()
    proxy.cut()
    expect(await codeOf(() => x.fetch())).toBe('ERR_WORKER_LOST')
    expect(await codeOf(() => worker.flush())).toBe('ERR_WORKER_LOST')
    expect(await codeOf(async () => x.add(1))).toBe('ERR_WORKER_LOST')
    await until(() => server.stats().objects === 1)
    await until(() => server.stats().links.length === 1)
    expect(await valuesOf(kept.fetch())).toEqual([7])
  })
})

once('a peer that is gone', () => {
  it('is not waited for, and is again when it was introduced anew', async () => {
    const alice = await site('alice', { serve: { grace: 300 } })
    const bob = await site('bob', { connect: { grace: 300 } })
    const moved = tf.tensor([1]).send(alice.worker).move(bob.worker)
    expect(await valuesOf(moved.get())).toEqual([1])
    // Bob has never had anything to say to alice.
    alice.worker.tell('receive', { key: newId(), from: 'bob', out: newId(), edge: null, optimizers: [] })
    bob.proxy.refuse()
    bob.proxy.cut()
    const end = await endOf(alice.worker.flush(), 5000)
    expect(end).toMatchObject({ code: 'ERR_WORKER_LOST', message: expect.stringContaining('bob') })
    bob.proxy.refuse(false)
    const back = await SocketWorker.connect(bob.proxy.url, TIMES)
    closing.push(() => back.close())
    for (let i = 0; i < 3; i++) {
      expect(await valuesOf(tf.tensor([i]).send(back).move(alice.worker).get())).toEqual([i])
    }
  })
})

once('a peer that has come back empty', () => {
  it('is waited for, though the link to the one before it ends only now', async () => {
    const identity = Identity.generate()
    const alice = await site('alice')
    const bob = await site('bob', { serve: { identity } })
    const moved = tf.tensor([1]).send(alice.worker).move(bob.worker)
    expect(await valuesOf(moved.get())).toEqual([1])
    bob.proxy.refuse()
    bob.proxy.cut()
    await pause(100)
    const again = await serveWorker({ id: 'bob', port: 0, identity, ...TIMES })
    closing.push(() => again.close(0))
    bob.proxy.lead(again.url)
    bob.proxy.refuse(false)
    const back = await SocketWorker.connect(bob.proxy.url, TIMES)
    closing.push(() => back.close())
    back.addWorkers([alice.worker])
    alice.worker.addWorkers([back])
    const [key, out] = [newId(), newId()]
    alice.worker.tell('receive', { key, from: 'bob', out, edge: null, optimizers: [] })
    // By now alice has tried again to reach the one before.
    await pause(600)
    const x = tf.tensor([7]).send(back)
    back.tell('transfer', { id: x.id, to: 'alice', key, keep: true, edge: null, optimizers: [] })
    expect((await endOf(alice.worker.ask('get', { id: out, keep: true }))) as object).toHaveProperty('value')
    // Nor does what is done now fail by the one before: whoever introduced another in its place knows.
    await alice.worker.flush()
  })
})

once('connecting', () => {
  it('ends when nobody is there, or nobody says a word in time', async () => {
    const { proxy } = await site('bob')
    proxy.stall()
    const { url } = proxy
    expect(await codeOf(() => SocketWorker.connect(url, { timeout: 100 }))).toBe('ERR_TIMEOUT')
    expect(await codeOf(() => SocketWorker.connect('ws://127.0.0.1:9'))).toBe('ERR_UNREACHABLE')
  })

  it('ends by a signal', async () => {
    const { proxy } = await site('bob')
    proxy.stall()
    const { url } = proxy
    const signal = AbortSignal.timeout(50)
    expect(await codeOf(() => SocketWorker.connect(url, { signal }))).toMatch(/^ERR_(ABORTED|TIMEOUT)$/)
    expect(await codeOf(() => SocketWorker.connect(url, { signal: AbortSignal.abort() }))).toBe('ERR_ABORTED')
  })

  it('says so by a code when the connection breaks in the middle of the handshake, at whatever byte', async () => {
    const { proxy } = await site('bob')
    for (let bytes = 1; bytes < 2000; bytes += isLong ? 7 : 150) {
      proxy.cutAfter(bytes)
      const end = await endOf(SocketWorker.connect(proxy.url, { timeout: 2000, grace: 50 }))
      if ('value' in end) {
        const code = await endOf(end.value.flush())
        await end.value.close()
        if ('code' in code) expect(LOST).toContain(code.code)
      } else expect(['ERR_UNREACHABLE', 'ERR_SESSION_CLOSED']).toContain(end.code)
    }
  })
})

once('a large tensor on a slow line', () => {
  const RATE = isLong ? 20e6 : 50e6
  // The long one is more than a window of commands: that is seen not to hold small ones up.
  const LARGE = isLong ? 2 ** 24 + 1000 : 5e6

  it('lets small commands and their answers pass it, both ways', async () => {
    const { worker } = await site('bob', { bandwidth: RATE, connect: { heartbeat: 500 } })
    const small = tf.tensor([1, 2, 3]).send(worker)
    await worker.flush()
    const large = tf.zeros([LARGE])
    const order: string[] = []
    const note = (name: string) => () => {
      order.push(name)
    }
    let sent = 0
    const far = large.send(worker, {
      onProgress: ({ done, total }) => {
        sent = done / total
      },
    })
    await Promise.all([small.fetch().then(note('small')), worker.stats().then(note('stats'))])
    expect(sent).toBeLessThan(0.8)
    await worker.flush()
    await until(() => sent === 1)
    let came = 0
    const onProgress = ({ done, total }: Progress) => {
      came = done / total
    }
    const back = far.get({ onProgress }).then(note('large'))
    await Promise.all([small.fetch().then(note('small')), worker.stats().then(note('stats'))])
    expect(came).toBeLessThan(0.8)
    await back
    expect(came).toBe(1)
    expect(order).toEqual(['small', 'stats', 'small', 'stats', 'large'])
  })

  it('is no silence', async () => {
    const { worker } = await site('bob', { bandwidth: 1e6, connect: { timeout: 600 } })
    tf.zeros([300_000]).send(worker)
    await worker.flush()
  })

  it('may be given up while it comes, and the session goes on', async () => {
    const { worker } = await site('bob', { bandwidth: RATE })
    const far = tf.zeros([2_000_000]).send(worker)
    await worker.flush()
    const signal = new AbortController()
    const progress = new Promise((resolve) => {
      const end = endOf(far.fetch({ signal: signal.signal, onProgress: resolve }))
      end.then((outcome) => expect(outcome).toMatchObject({ code: 'ERR_ABORTED' }))
    })
    await progress
    signal.abort()
    expect(await valuesOf(far.slice([0], [2]).get())).toEqual([0, 0])
  })
})

once('a command that is larger than the worker takes', () => {
  const FRAME = 300_000
  const limits = { frame: FRAME }
  const ofBob = expect.objectContaining({ code: 'ERR_LIMIT', details: { worker: 'bob' } })
  /** 330 kB of weights, of which none is so large that it would follow its frame in pieces. */
  const layered = () => {
    const layer = () => tf.layers.dense({ units: 64, inputShape: [64], kernelInitializer: 'ones' })
    const model = tf.sequential({ layers: Array.from({ length: 20 }, layer) })
    closing.push(() => model.dispose())
    return model
  }
  const tags = Array.from({ length: 2000 }, (_, i) => `#${i}`.padEnd(250, 'x'))

  it('fails alone and at its line, told or asked, and does not end the session: "request n was to come next"', async () => {
    const { worker } = await site('bob', { serve: { limits } })
    const x = tf.tensor([1, 2, 3]).send(worker)
    expect(() => layered().send(worker)).toThrow(ofBob)
    expect(() => layered().send(worker)).toThrow(/^putModel: a message of \d+ bytes is above the limit of 300000/)
    await expect(worker.search(tags)).rejects.toThrow(ofBob)
    const [sum, found] = [x.add(1).get(), worker.search(['#none'])]
    expect([await valuesOf(sum), await found]).toEqual([[2, 3, 4], []])
    await worker.flush()
    expect((await worker.stats()).objects).toBe(1)
  })

  it('fails so behind others that are held until there is room, too', async () => {
    const { worker } = await site('bob', { serve: { limits } })
    const x = tf.tensor([1, 2, 3]).send(worker)
    // The window of commands, and some beyond it.
    for (let i = 0; i < 17_000; i++) worker.tell('free', { ids: [] })
    expect(() => layered().send(worker)).toThrow(ofBob)
    expect(await valuesOf(x.mul(2).get())).toEqual([2, 4, 6])
    await worker.flush()
  })

  it('fails where it was issued when it is a peer that takes none so large, and the link to the peer goes on', async () => {
    const { worker: bob } = await site('bob')
    const { worker: alice } = await site('alice', { serve: { limits } })
    const model = layered().send(bob)
    // Now bob has heard from alice what she takes.
    await tf.tensor([1]).send(bob).move(alice).get()
    expect(await codeOf(() => model.move(alice).get())).toBe('ERR_LIMIT')
    expect(await valuesOf(tf.tensor([7]).send(bob).move(alice).get())).toEqual([7])
  })
})

describe.runIf(isLong && testBackend === 'wasm')('somebody who does not read', () => {
  it('is not sent more than some answers, and the worker carries out no more meanwhile', async () => {
    const { worker, proxy, server } = await site('bob', { connect: { timeout: 60_000 } })
    // 640 MB, of which a worker has up to 256 MB waiting, and one answer more.
    const [asked, size] = [40, 4 * 2 ** 20]
    const far = tf.zeros([size]).send(worker)
    await worker.flush()
    proxy.stall({ direction: 'down' })
    let came = 0
    const answers = Array.from({ length: asked }, () =>
      far.fetch().then((tensor) => {
        came += tensor.size
        tensor.dispose()
      }),
    )
    await until(async () => (await opsOf({ server }))['get']! > 0)
    await pause(500)
    const { get } = await opsOf({ server })
    expect(4 * size * get!).toBeLessThanOrEqual(256 * 2 ** 20 + 4 * size)
    expect(get).toBeLessThan(asked)
    proxy.goOn()
    await Promise.all(answers)
    expect(came).toBe(asked * size)
  })
})

/** Counts how promises ended: by their codes, and `right` where what came was compared. */
function count(ends: Record<string, number>, end: Awaited<ReturnType<typeof endOf>>): void {
  const how = 'value' in end ? 'right' : end.code
  ends[how] = (ends[how] ?? 0) + 1
}

/** What may be said to whoever used a worker that was killed. */
const LOST = ['ERR_WORKER_LOST', 'ERR_WORKER_RESTARTED', 'ERR_PARTY_LOST', 'ERR_UNREACHABLE']

/** How a promise ends, within a time. */
async function endOf<T>(
  promise: Promise<T>,
  within = 15_000,
): Promise<{ value: T } | { code: string; message: string }> {
  const late = AbortSignal.timeout(within)
  const never = new Promise<never>((_, reject) => {
    late.addEventListener('abort', () => reject(new Error(`nothing after ${within} ms`)))
  })
  try {
    return { value: await Promise.race([promise, never]) }
  } catch (error) {
    if (late.aborted) throw error
    const { code, message } = error as { code: string; message: string }
    return { code, message }
  }
}
const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds))

once('a worker that comes back empty', () => {
  it('is another one, to its caller and to every party of a secret computation', async () => {
    const identity = Identity.generate()
    const sites: Site[] = []
    for (const id of ['bob', 'alice', 'jane', 'carol']) {
      sites.push(await site(id, id === 'bob' ? { serve: { identity } } : {}))
    }
    const [bob, alice, jane, carol] = sites.map(({ worker }) => worker as Worker) as [Worker, Worker, Worker, Worker]
    const secrets = (first: Worker) =>
      [
        [1, -2, 3],
        [-4, 5, 6],
      ].map((values) => share(fixPrecision(values), [first, alice, jane], { provider: carol }))
    const [x, y] = secrets(bob)
    expect(await valuesOf(x!.add(y!).reveal())).toEqual([-3, 3, 9])
    const p = tf.tensor([1, 2]).send(bob)
    await bob.flush()

    const ends = Array.from({ length: 20 }, () => endOf(valuesOf(x!.greater(y!).reveal())))
    const again = await serveWorker({ id: 'bob', port: 0, identity, ...TIMES })
    closing.push(() => again.close(0))
    const { proxy } = sites[0]!
    proxy.lead(again.url)
    proxy.cut()
    for (const end of await Promise.all(ends)) {
      if ('value' in end) expect(end.value).toEqual([1, 0, 0])
      else expect(LOST).toContain(end.code)
    }
    for (const use of [() => p.fetch(), () => p.add(1).get(), () => bob.flush()]) {
      expect(await codeOf(async () => use())).toBe('ERR_WORKER_RESTARTED')
    }
    expect(LOST).toContain(await codeOf(async () => x!.greater(y!).reveal()))
    for (const party of [alice, jane]) {
      const { code, message } = (await endOf(party.flush())) as { code: string; message: string }
      expect(LOST).toContain(code)
      expect(message).toContain('bob')
    }

    const back = await SocketWorker.connect(proxy.url, TIMES)
    closing.push(() => back.close())
    const [u, v] = secrets(back)
    expect(await valuesOf(u!.greater(v!).reveal())).toEqual([1, 0, 0])
    expect(await valuesOf(tf.tensor([4, 5]).send(alice).move(back).add(1).move(alice).get())).toEqual([5, 6])
  })
})

once('a worker that is a process', () => {
  const process = bobs
  beforeAll(async () => {
    await started
  })

  it('is not given up while it computes for many times the heartbeat', async () => {
    const proxy = await TcpProxy.start(process.url)
    closing.push(() => proxy.close())
    const bob = await SocketWorker.connect(proxy.url, { heartbeat: 20, grace: 400, timeout: 20_000 })
    closing.push(() => bob.close())
    const x = tf.ones([1000, 1000]).send(bob)
    await bob.flush()
    expect(await valuesOf(x.matMul(x).matMul(x).max().get())).toEqual([1e6])
    // It was asked, and looked for elsewhere, in vain.
    expect(proxy.made).toBeGreaterThan(1)
    await bob.flush()
    expect(bob.isClosed).toBe(false)
  })

  /** Kills it; every other time, or when it is told to, it is back soon. */
  async function killAfter(milliseconds: number, isBack: boolean): Promise<void> {
    await pause(milliseconds)
    await process.kill()
    if (isBack) await process.start()
  }
  const reachBob = async (isBack: boolean): Promise<SocketWorker> => {
    if (!process.isRunning) await process.start()
    return SocketWorker.connect(process.url, { ...TIMES, grace: isBack ? 30_000 : 500 })
  }

  it(`${KILLS} times in the middle of training ends what waits for it, and nothing else`, async () => {
    const steps = 12
    const right = await trainHere(steps)
    const { server, worker: alice } = await site('alice', { serve: { grace: 500, limits: { peerTimeout: 3000 } } })
    const olga = alice.as('olga')
    const kept = tf.tensor([1, 2, 3]).send(olga)
    await olga.flush()
    const before = server.stats().objects
    const ends: Record<string, number> = {}
    for (let i = 0; i < KILLS; i++) {
      const isBack = i % 2 === 1
      const bob = await reachBob(isBack)
      const mine = alice.as(`me ${i}`)
      const losses: Promise<tf.Tensor>[] = []
      const first = new Promise((resolve) => {
        train(mine, bob, steps, (loss) => {
          losses.push(loss)
          loss.then(resolve, () => {})
        }).catch(() => {})
      })
      // Once in a while before the two workers have met.
      const isEarly = i % 5 === 4
      if (!isEarly) await first
      const killed = killAfter(100 * random.float(), isBack)
      // Somebody else goes on, and knows nothing of it.
      for (let k = 0; k < 20; k++) expect(await valuesOf(kept.mul(k).get())).toEqual([k, 2 * k, 3 * k])
      await killed
      const lost = isBack ? 'ERR_WORKER_RESTARTED' : 'ERR_WORKER_LOST'
      for (const [step, loss] of losses.entries()) {
        const end = await endOf(loss)
        count(ends, end)
        if ('value' in end) expect(end.value.dataSync()[0]).toBe(right[step])
        else expect(end.code).toBe(lost)
      }
      expect(await codeOf(() => bob.flush())).toBe(lost)
      expect(await codeOf(() => tf.tensor([1]).send(bob))).toBe(lost)
      // What is left of the training there says so too, or had nothing to do with it any more.
      const end = await endOf(mine.flush())
      if ('code' in end) expect(isEarly ? [...LOST, 'ERR_TIMEOUT', 'ERR_CAPABILITY'] : LOST).toContain(end.code)
      await bob.close()
      if (isBack) {
        // The same session works with the new run of the worker, both ways.
        const again = await reachBob(false)
        const there = tf.tensor([4, 5]).send(mine).move(again)
        expect(await valuesOf(there.add(1).move(mine).get())).toEqual([5, 6])
        await again.close()
      }
      await mine.close()
    }
    expect(await valuesOf(kept.fetch())).toEqual([1, 2, 3])
    await until(() => server.stats().objects === before)
    noted(`${KILLS} kills in training, losses:`, JSON.stringify(ends), 'objects', before, server.stats().objects)
  })

  it.runIf(isLong)(
    `${KILLS} times in the middle of secret computation tells every party, and frees what it had`,
    async () => {
      const sites: Site[] = []
      for (const id of ['alice', 'jane', 'carol']) sites.push(await site(id, { serve: { grace: 500 } }))
      const [alice, jane, carol] = sites.map(({ worker }) => worker) as [SocketWorker, SocketWorker, SocketWorker]
      const [X, Y] = [
        [1, -2, 3],
        [-4, 5, 6],
      ]
      const olgas = [alice, jane].map((worker) => worker.as('olga'))
      const others = share(fixPrecision(X!), olgas, { provider: carol.as('olga') })
      expect(await valuesOf(others.reveal())).toEqual(X)
      const before = sites.map(({ server }) => server.stats().objects)
      const counts: Record<string, number> = {}
      for (let i = 0; i < KILLS; i++) {
        const isBack = i % 2 === 0
        const bob = await reachBob(isBack)
        const mine = [alice, jane, carol].map((worker) => worker.as(`me ${i}`)) as SocketWorker[]
        const [ours, provider] = [[bob, ...mine.slice(0, 2)], mine[2]!]
        const [x, y] = [X!, Y!].map((values) => share(fixPrecision(values), ours, { provider }))
        expect(await valuesOf(x!.add(y!).reveal())).toEqual([-3, 3, 9])
        const ends = Array.from({ length: 30 }, () => endOf(valuesOf(x!.greater(y!).reveal())))
        const killed = killAfter(300 * random.float(), isBack)
        for (let k = 0; k < 5; k++) {
          const isPositive = others.greater(0)
          expect(await valuesOf(isPositive.reveal())).toEqual([1, 0, 1])
          isPositive.dispose()
        }
        for (const end of await Promise.all(ends)) {
          count(counts, end)
          if ('value' in end) expect(end.value).toEqual([1, 0, 0])
          else expect(LOST).toContain(end.code)
        }
        await killed
        // Every party says what happened, and to whom.
        for (const worker of mine) {
          const end = await endOf(worker.flush())
          if ('code' in end) expect(LOST).toContain(end.code)
        }
        expect(LOST).toContain(await codeOf(async () => x!.greater(y!).reveal()))
        // The others go on without it, also in the sessions that had to do with it.
        const without = share(fixPrecision(X!), mine.slice(0, 2), { provider })
        expect(await valuesOf(without.greater(0).reveal())).toEqual([1, 0, 1])
        for (const worker of [bob, ...mine]) await worker.close()
      }
      expect(await valuesOf(others.reveal())).toEqual(X)
      await until(() => sites.every(({ server }, i) => server.stats().objects === before[i]))
      noted(`${KILLS} kills in secrets, comparisons:`, JSON.stringify(counts), 'objects as before:', before.join(' '))
    },
  )
})

/** Waits until something is so; fails when it is not within ten seconds. */
async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  for (let i = 0; i < 1000; i++) {
    if (await isSo()) return
    await pause(10)
  }
  throw new Error('it did not come to that')
}
