/** The ledger: every value that leaves a worker in clear, or comes to be known there, is in it; and nothing else is. */
import * as fc from 'fast-check'
import {
  gradOf,
  type LedgerEntry,
  optim,
  type PointerTensor,
  recordGrad,
  requireGrad,
  send,
  tf,
  VirtualWorker,
  whoSawWhat,
} from 'sotto'
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { toWire } from '../../src/tensor/wire.ts'
import { payloadBytes } from '../../src/worker/codec.ts'
import { Ledger, type LedgerRecord } from '../../src/worker/ledger.ts'
import type { Frame, Request } from '../../src/worker/protocol.ts'
import { readyForTest } from '../backend.ts'
import { peerSession } from './peer-session.ts'

beforeAll(readyForTest)

const open: VirtualWorker[] = []
const worker = (id: string, options = {}): VirtualWorker => {
  const made = new VirtualWorker(id, options)
  open.push(made)
  return made
}
afterEach(async () => {
  vi.useRealTimers()
  for (const made of open.splice(0)) await made.close()
})

const silent = { print: () => undefined }
const dense = () =>
  tf.sequential({ layers: [tf.layers.dense({ units: 1, inputShape: [3], kernelInitializer: 'ones' })] })
/** What a row says, but for times. */
const plain = ({ first, last, ...row }: LedgerEntry) => row
const rowsOf = async (of: VirtualWorker) => (await of.ledger()).map(plain)
const row = (entry: Partial<LedgerEntry>) => ({ dtype: 'float32', tags: [], count: 1, ...entry })

describe.each([{ codec: false }, { codec: true }])('a row of the ledger, codec: $codec', ({ codec }) => {
  it('stands for a tensor that is sent, one that is fetched, and one that is got', async () => {
    const bob = worker('bob', { codec })
    const x = send(tf.tensor([[1, 2]]), bob, { tags: ['#x', '#y'] })
    await x.fetch()
    await x.get()
    const shape = [1, 2]
    const tags = ['#x', '#y']
    expect(await rowsOf(bob)).toEqual([
      row({ event: 'came', operation: 'send', shape, tags, from: 'me', to: 'bob', why: 'sent by me', bytes: 8 }),
      row({ event: 'left', operation: 'fetch', shape, tags, from: 'bob', to: 'me', why: 'asked by me', bytes: 8 }),
      row({ event: 'left', operation: 'get', shape, tags, from: 'bob', to: 'me', why: 'asked by me', bytes: 8 }),
    ])
  })

  it('counts the bytes of each dtype', async () => {
    const bob = worker('bob', { codec })
    for (const dtype of ['float32', 'int32', 'bool'] as const) await send(tf.zeros([5], dtype), bob).get()
    const left = (await bob.ledger()).filter(({ event }) => event === 'left')
    expect(left.map(({ dtype, bytes }) => [dtype, bytes])).toEqual([
      ['float32', 20],
      ['int32', 20],
      ['bool', 5],
    ])
  })

  it('says under whose right a private value was seen', async () => {
    const bob = worker('bob', { codec, identity: 'owner' })
    send(tf.tensor([1]), bob, { private: true, allow: ['carol'], tags: ['#x'] })
    const [found] = await bob.as('carol').search(['#x'])
    await found!.fetch()
    expect((await rowsOf(bob)).at(-1)).toMatchObject({ to: 'carol', why: 'asked by carol, allowed by owner' })
  })

  it('stands at both ends of a move, and of a copy that is moved', async () => {
    const bob = worker('bob', { codec })
    const alice = worker('alice', { codec })
    const x = send(tf.tensor([1, 2, 3]), bob, { tags: ['#x'] })
    x.copy().move(alice)
    x.move(alice)
    const moved = { operation: 'move', shape: [3], tags: ['#x'], from: 'bob', to: 'alice', count: 2, bytes: 24 }
    await alice.flush()
    expect((await rowsOf(bob)).slice(1)).toEqual([row({ event: 'left', why: 'asked by me', ...moved })])
    expect(await rowsOf(alice)).toEqual([row({ event: 'came', why: 'moved by me', ...moved })])
  })

  it('stands for a small tensor that is written into an operation, and for the gradient that backward is given', async () => {
    const bob = worker('bob', { codec })
    const x = send(tf.tensor([1, 2]), bob, { requiresGrad: true })
    const y = x.mul([3, 4])
    y.backward([1, 1])
    y.add(1)
    await bob.flush()
    expect((await rowsOf(bob)).slice(1)).toEqual([
      row({ event: 'came', operation: 'operand', shape: [2], from: 'me', to: 'bob', why: 'sent by me', bytes: 8 }),
      row({ event: 'came', operation: 'gradient', shape: [2], from: 'me', to: 'bob', why: 'backward by me', bytes: 8 }),
    ])
  })

  it('stands for a gradient at both ends of the edge over which it travels, and none for one that does not', async () => {
    const bob = worker('bob', { codec })
    const alice = worker('alice', { codec })
    const w = send(tf.tensor([1, 1, 1]), alice, { requiresGrad: true })
    const far = w.mul(2).move(bob, { requiresGrad: true })
    const unused = w.mul(3).move(bob, { requiresGrad: true })
    far.sum().backward()
    unused.mul(0)
    await alice.flush()
    const gradient = { operation: 'gradient', shape: [3], from: 'bob', to: 'alice', bytes: 12 }
    const of = async (of: VirtualWorker) => (await rowsOf(of)).filter(({ operation }) => operation === 'gradient')
    expect(await of(bob)).toEqual([row({ event: 'left', why: 'asked by me', ...gradient })])
    expect(await of(alice)).toEqual([row({ event: 'came', why: 'backward by me', ...gradient })])
  })

  it('stands for a gradient that comes home', async () => {
    const bob = worker('bob', { codec })
    const leaf = requireGrad(tf.tensor([1, 2]))
    const sent = recordGrad(() => leaf.mul(2))
    send(sent, bob, { requiresGrad: true }).sum().backward()
    await gradOf(leaf)
    expect((await rowsOf(bob)).at(-1)).toEqual(
      row({
        event: 'left',
        operation: 'gradient',
        shape: [2],
        from: 'bob',
        to: 'me',
        why: 'asked by me',
        bytes: 8,
      }),
    )
  })

  it('stands for a gradient that is fetched or got', async () => {
    const bob = worker('bob', { codec })
    const w = send(tf.tensor([1, 2]), bob, { requiresGrad: true })
    w.sum().backward()
    await w.grad!.fetch()
    await w.grad!.get()
    expect((await rowsOf(bob)).slice(1).map(({ operation, bytes }) => [operation, bytes])).toEqual([
      ['fetch gradient', 8],
      ['get gradient', 8],
    ])
  })

  it('stands for a model, and another for the state of its optimizer, wherever they go', async () => {
    const bob = worker('bob', { codec })
    const alice = worker('alice', { codec })
    const net = send(dense(), bob, { tags: ['#net'] })
    const opt = optim.adam(net.parameters())
    net
      .apply(send(tf.ones([1, 3]), bob))
      .sum()
      .backward()
    opt.step()
    await net.fetch()
    const moved = net.move(alice)
    await moved.get()
    const of = async (of: VirtualWorker) =>
      (await rowsOf(of))
        .filter(({ operation }) => operation.includes('model'))
        .map(({ event, operation, shape, tags, from, to, bytes }) => [event, operation, shape, tags, from, to, bytes])
    expect(await of(bob)).toEqual([
      ['came', 'send model', [4], ['#net'], 'me', 'bob', 16],
      ['left', 'fetch model', [4], ['#net'], 'bob', 'me', 16],
      ['left', 'move model', [4], ['#net'], 'bob', 'alice', 16],
      ['left', 'move model: optimizer state', [8], ['#net'], 'bob', 'alice', 32],
    ])
    expect(await of(alice)).toEqual([
      ['came', 'move model', [4], ['#net'], 'bob', 'alice', 16],
      ['came', 'move model: optimizer state', [8], ['#net'], 'bob', 'alice', 32],
      ['left', 'get model', [4], ['#net'], 'alice', 'me', 16],
      ['left', 'get model: optimizer state', [8], ['#net'], 'alice', 'me', 32],
    ])
  })

  it('stands for what was asked for and refused, with no bytes', async () => {
    const bob = worker('bob', { codec, identity: 'owner' })
    const alice = worker('alice', { codec })
    send(tf.tensor([1, 2]), bob, { private: true, tags: ['#x'] })
    const mallory = bob.as('mallory')
    const [found] = await mallory.search(['#x'])
    await found!.fetch().catch(() => undefined)
    await found!.fetch().catch(() => undefined)
    found!.move(alice.as('mallory'))
    await mallory.flush().catch(() => undefined)
    const refused = {
      event: 'refused',
      shape: [2],
      tags: ['#x'],
      from: 'bob',
      why: 'asked by mallory',
      bytes: 0,
    } as const
    expect((await rowsOf(bob)).slice(1)).toEqual([
      row({ ...refused, operation: 'fetch', to: 'mallory', count: 2 }),
      row({ ...refused, operation: 'move', to: 'alice' }),
    ])
    expect(await rowsOf(alice)).toEqual([])
  })

  it('does not stand for what stays: operations, copies, detached tensors, copied models', async () => {
    const bob = worker('bob', { codec })
    const x = send(tf.tensor([[1, 2, 3]]), bob)
    const net = send(dense(), bob)
    const before = await rowsOf(bob)
    x.mul(2).copy().detach()
    net.copy().apply(x).sum().backward()
    await bob.flush()
    expect(await rowsOf(bob)).toEqual(before)
  })

  it('does not stand for what was meant to leave and could not', async () => {
    const bob = worker('bob', { codec })
    const alice = worker('alice', { codec })
    const x = send(tf.tensor([1]), bob)
    const net = send(dense(), bob)
    const edge = crypto.randomUUID()
    const to = bob.reach(alice)
    const key = () => crypto.randomUUID()
    const transfer = { keep: true, edge: null, optimizers: [] }
    const before = await rowsOf(bob)
    for (const { id } of [x, net]) bob.tell('transfer', { ...transfer, id, to: 'nobody', key: key() })
    bob.tell('put', {
      out: edge,
      value: toWire(tf.tensor([2])),
      labels: { tags: [], description: '' },
      privacy: null,
      requiresGrad: false,
      edge: null,
    })
    bob.tell('transfer', { ...transfer, id: x.id, to, key: key(), edge })
    await alice.close()
    for (const { id } of [x, net]) bob.tell('transfer', { ...transfer, id, to, key: key() })
    await expect(bob.flush()).rejects.toMatchObject({ code: 'ERR_UNKNOWN_PEER' })
    expect((await rowsOf(bob)).filter(({ operation }) => operation !== 'send')).toEqual(
      before.filter(({ operation }) => operation !== 'send'),
    )
  })

  it('says when it happened first and last, and how often', async () => {
    vi.useFakeTimers({ toFake: ['Date'], now: 1_000 })
    const bob = worker('bob', { codec })
    const x = send(tf.tensor([1]), bob)
    vi.setSystemTime(2_000)
    await x.fetch()
    vi.setSystemTime(5_000)
    await x.fetch()
    expect((await bob.ledger()).map(({ first, last, count }) => [first, last, count])).toEqual([
      [1_000, 1_000, 1],
      [2_000, 5_000, 2],
    ])
  })
})

describe('the ledger as a whole', () => {
  it('keeps ten thousand fetches in one row', async () => {
    const bob = worker('bob')
    const x = send(tf.tensor([1, 2]), bob)
    for (let i = 0; i < 10_000; i++) (await x.fetch()).dispose()
    expect((await rowsOf(bob)).slice(1)).toEqual([
      row({
        event: 'left',
        operation: 'fetch',
        shape: [2],
        from: 'bob',
        to: 'me',
        why: 'asked by me',
        count: 10_000,
        bytes: 80_000,
      }),
    ])
  })

  const record = (change: Partial<LedgerRecord>): LedgerRecord => ({
    event: 'left',
    operation: 'fetch',
    shape: [1],
    dtype: 'float32',
    tags: [],
    from: 'bob',
    to: 'me',
    why: 'asked by me',
    bytes: 4,
    ...change,
  })
  const totals = (ledger: Ledger) =>
    ledger.entries().reduce((sum, { count, bytes }) => [sum[0]! + count, sum[1]! + bytes], [0, 0])

  it('is bounded, whatever shapes and tags there are, and loses no event and no byte', () => {
    const ledger = new Ledger()
    for (let i = 0; i < 25_000; i++) ledger.record(record({ shape: [i], tags: [`#${i}`], bytes: 4 * i }))
    expect(ledger.entries().length).toBe(10_001)
    expect(totals(ledger)).toEqual([25_000, (4 * 25_000 * 24_999) / 2])
    expect(ledger.entries().at(-1)).toMatchObject({ to: 'me', tags: ['(various)'], count: 15_000 })
  })

  it('is bounded, whatever names there are, and loses no event and no byte', () => {
    const ledger = new Ledger()
    for (let i = 0; i < 50_000; i++) ledger.record(record({ to: `identity ${i}`, why: `asked by identity ${i}` }))
    expect(ledger.entries().length).toBe(20_001)
    expect(totals(ledger)).toEqual([50_000, 200_000])
    expect(ledger.entries().at(-1)).toMatchObject({ to: '(various)', count: 30_000 })
  })

  it('keeps what left apart from refusals, however many a stranger brings about', () => {
    const ledger = new Ledger()
    for (let i = 0; i < 30_000; i++) ledger.record(record({ event: 'refused', to: `identity ${i}`, bytes: 0 }))
    ledger.record(record({ shape: [7], tags: ['#x'], to: 'carol' }))
    expect(ledger.entries().find(({ event }) => event === 'left')).toMatchObject({
      shape: [7],
      tags: ['#x'],
      to: 'carol',
    })
  })

  it('keeps a few tags of a row, shortened', () => {
    const ledger = new Ledger()
    ledger.record(record({ tags: Array.from({ length: 64 }, (_, i) => `${i}`.padEnd(256, 'x')) }))
    const [{ tags }] = ledger.entries() as [LedgerEntry]
    expect(tags).toHaveLength(9)
    expect(tags.every((tag) => tag.length <= 65)).toBe(true)
  })

  it('gives copies: who reads it cannot change it', () => {
    const ledger = new Ledger()
    ledger.record(record({ tags: ['#x'] }))
    const [entry] = ledger.entries() as unknown as [{ count: number; tags: string[]; shape: number[] }]
    entry.count = 99
    entry.tags.push('#y')
    entry.shape.push(5)
    expect(ledger.entries()[0]).toMatchObject({ count: 1, tags: ['#x'], shape: [1] })
  })
})

/** One step of a script: what to do, and numbers to choose by. */
const actions = [
  'send',
  'send private',
  'fetch',
  'get',
  'operate',
  'write an operand',
  'copy',
  'move',
  'move a copy and back',
  'train across',
  'bring a gradient home',
  'train a model',
  'fetch a model',
  'move a model and get it',
  'fail',
  'snoop',
] as const
const step = fc.record({
  action: fc.constantFrom(...actions),
  a: fc.nat(1000),
  b: fc.nat(1000),
  n: fc.integer({ min: 1, max: 7 }),
})

/** What sessions begin with, and how workers are introduced: secrets and proofs, which are no tensors. */
class Greetings {
  /** Names by sessions. */
  readonly #names = new Map<string, string>()
  readonly #bytes = new Map<string, number>()

  hear(worker: string, frame: Frame): undefined {
    if (frame[2] === 'hello') {
      const body = frame[3] as Request<'hello'>
      this.#names.set(body.session, body.name)
      this.#add(worker, body.name, payloadBytes(body))
    }
    if (frame[2] === 'peers') {
      // Who introduces a peer has a session with it too.
      const { peers } = frame[3] as Request<'peers'>
      for (const peer of peers) this.#add(worker, this.#names.get(peer.capability.session)!, payloadBytes(peer))
    }
  }

  #add(worker: string, name: string, bytes: number): void {
    this.#bytes.set(`${worker} ${name}`, this.bytes(worker, name) + bytes)
  }

  /** Bytes of them that came to a worker by name. */
  bytes(worker: string, name: string): number {
    return this.#bytes.get(`${worker} ${name}`) ?? 0
  }
}

describe('the ledger against the traffic of the transport', () => {
  it('accounts for every byte of every tensor that left a worker or came to it, over any script', async () => {
    const seen = new Set<string>()
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (script) => {
        const greetings = new Greetings()
        const workers = ['bob', 'alice', 'jane'].map(
          (id) => new VirtualWorker(id, { identity: 'owner', fault: (frame) => greetings.hear(id, frame) }),
        )
        const tensors: { pointer: PointerTensor; on: VirtualWorker }[] = []
        try {
          for (const { action, a, b, n } of script) await run(action, a, b, n)
          for (const each of workers) await each.flush().catch(() => undefined)
          for (const each of workers) {
            const ledger = await each.ledger()
            const { links } = await each.stats()
            const sum = (rows: readonly LedgerEntry[]) => rows.reduce((total, { bytes }) => total + bytes, 0)
            for (const name of new Set(links.map((link) => link.name))) {
              const of = links.filter((link) => link.name === name)
              const out = of.reduce((total, { bytesOut }) => total + bytesOut, 0)
              const came = of.reduce((total, { bytesIn }) => total + bytesIn, 0)
              expect(
                sum(ledger.filter(({ event, to }) => event === 'left' && to === name)),
                `${each.id} → ${name}`,
              ).toBe(out)
              expect(
                sum(ledger.filter(({ event, from }) => event === 'came' && from === name)),
                `${name} → ${each.id}`,
              ).toBe(came - greetings.bytes(each.id, name))
            }
            expect(sum(ledger.filter(({ event }) => event === 'refused'))).toBe(0)
            for (const { operation } of ledger) seen.add(operation)
          }
          const table = await whoSawWhat(workers, silent)
          const total = (await Promise.all(workers.map((each) => each.ledger())))
            .flat()
            .filter(({ event, from }) => event !== 'came' || from === 'owner' || from === 'mallory')
            .reduce((sum, { count }) => sum + count, 0)
          expect(timesOf(table)).toBe(total)
        } finally {
          for (const each of workers) await each.close()
        }

        async function run(action: (typeof actions)[number], a: number, b: number, n: number): Promise<void> {
          const here = workers[a % 3]!
          const there = workers[(a + 1 + (b % 2)) % 3]!
          const chosen = tensors.length > 0 ? tensors[b % tensors.length]! : null
          const take = () => tensors.splice(tensors.indexOf(chosen!), 1)
          const keep = (pointer: PointerTensor, on: VirtualWorker) => tensors.push({ pointer, on })
          switch (action) {
            case 'send':
              keep(
                send(tf.zeros([n], (['float32', 'int32', 'bool'] as const)[b % 3]!), here, { tags: [`#${b % 3}`] }),
                here,
              )
              return
            case 'send private':
              keep(send(tf.ones([n]), here, { private: true, allow: ['bob'] }), here)
              return
            case 'bring a gradient home': {
              const leaf = requireGrad(tf.ones([n]))
              send(leaf, here, { requiresGrad: true })
                .mul(2)
                .backward(tf.ones([n]).arraySync() as number[])
              await gradOf(leaf)
              return
            }
            case 'train a model':
            case 'fetch a model':
            case 'move a model and get it': {
              const net = send(dense(), here)
              const opt = b % 2 ? optim.adam(net.parameters()) : optim.sgd(net.parameters(), { learningRate: 1 })
              net
                .apply(send(tf.ones([n, 3]), here))
                .sum()
                .backward()
              opt.step()
              if (action === 'fetch a model') await net.fetch()
              if (action === 'move a model and get it') await net.move(there).get()
              return
            }
            case 'train across': {
              const w = send(tf.ones([n]), here, { requiresGrad: true })
              const far = w.mul(2).move(there, { requiresGrad: true })
              far.mul(far).sum().backward()
              if (b % 2) await w.grad!.get()
              return
            }
            case 'fail': {
              const lost = send(tf.ones([2]), here).gather(new Int32Array([n + 1]))
              lost.copy().move(there)
              await lost.fetch().catch(() => undefined)
              here.tell('transfer', {
                id: send(tf.ones([n]), here).id,
                to: 'nobody',
                key: crypto.randomUUID(),
                keep: true,
                edge: null,
                optimizers: [],
              })
              await here.flush().catch(() => undefined)
              return
            }
          }
          if (chosen === null) return
          const { pointer, on } = chosen
          const other = workers[(workers.indexOf(on) + 1 + (b % 2)) % 3]!
          switch (action) {
            case 'fetch':
              await pointer.fetch()
              return
            case 'get':
              take()
              await pointer.get()
              return
            case 'operate':
              keep(pointer.add(pointer), on)
              return
            case 'write an operand':
              keep(pointer.mul(Array.from({ length: pointer.size }, () => n)), on)
              return
            case 'copy':
              keep(pointer.copy(), on)
              return
            case 'move':
              take()
              keep(pointer.move(other), other)
              return
            case 'move a copy and back':
              keep(pointer.copy().move(other).move(on), on)
              return
            case 'snoop': {
              const mallory = on.as('mallory')
              await mallory.ask('get', { id: pointer.id, keep: true }).catch(() => undefined)
              const key = crypto.randomUUID()
              const there = other.as('mallory')
              const to = mallory.reach(there)
              mallory.tell('transfer', { id: pointer.id, to, key, keep: false, edge: null, optimizers: [] })
              there.tell('receive', {
                key,
                from: there.reach(mallory),
                out: key,
                edge: null,
                optimizers: [],
              })
              await mallory.flush().catch(() => undefined)
            }
          }
        }
      }),
      { numRuns: 60 },
    )
    // The scripts came by every way out and in.
    for (const operation of [
      'send',
      'fetch',
      'get',
      'move',
      'operand',
      'gradient',
      'get gradient',
      'send model',
      'get model: optimizer state',
    ]) {
      expect(seen, operation).toContain(operation)
    }
  })
})

/** Lines of a table, as lists of cells. */
const linesOf = (text: string): string[][] =>
  text
    .split('\n')
    .filter((line) => line.startsWith('│'))
    .slice(1)
    .map((line) =>
      line
        .split('│')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    )
const timesOf = (text: string): number => linesOf(text).reduce((sum, cells) => sum + Number(cells[5]), 0)

describe('whoSawWhat', () => {
  it('prints one line for each event, once for both ends, and gives its text', async () => {
    const bob = worker('bob')
    const alice = worker('alice')
    const x = send(tf.tensor([1, 2, 3]), bob, { tags: ['#x'] })
    await x.copy().move(alice).get()
    await x.fetch()
    await x.fetch()
    const printed: string[] = []
    const text = await whoSawWhat([bob, alice], { print: (line) => printed.push(line) })
    expect(printed).toEqual([text])
    // Sorted: lines of one reader stand in the order of their time, to a millisecond.
    expect(linesOf(text).sort()).toEqual([
      ['alice', 'float32 [3] #x', 'bob', 'move', 'asked by me', '1', '12'],
      ['bob', 'float32 [3] #x', 'me', 'send', 'sent by me', '1', '12'],
      ['me', 'float32 [3] #x', 'alice', 'get', 'asked by me', '1', '12'],
      ['me', 'float32 [3] #x', 'bob', 'fetch', 'asked by me', '2', '24'],
    ])
  })

  it('shows what was refused as such', async () => {
    const bob = worker('bob', { identity: 'owner' })
    send(tf.tensor([1]), bob, { private: true, tags: ['#x'] })
    const [found] = await bob.as('mallory').search(['#x'])
    await found!.fetch().catch(() => undefined)
    const text = await whoSawWhat([bob], silent)
    expect(linesOf(text)).toContainEqual([
      'mallory',
      'nothing of float32 [1] #x',
      'bob',
      'fetch, refused',
      'asked by mallory',
      '1',
      '0',
    ])
  })

  it('counts a worker once that is given through several sessions', async () => {
    const bob = worker('bob')
    await send(tf.tensor([1]), bob).get()
    expect(linesOf(await whoSawWhat([bob, bob.as('carol'), bob], silent))).toHaveLength(2)
  })

  it('shows what an identity sent that bears the name of a worker', async () => {
    const bob = worker('bob')
    const alice = worker('alice')
    send(tf.tensor([1]), bob.as('alice'))
    await bob.as('alice').flush()
    const lines = linesOf(await whoSawWhat([bob, alice], silent))
    expect(lines).toEqual([['bob', 'float32 [1]', 'alice', 'send', 'sent by alice', '1', '4']])
  })

  it('shows what came to a worker that no ledger says was sent', async () => {
    const bob = worker('bob')
    const alice = worker('alice')
    send(tf.tensor([1]), alice).move(bob)
    const key = crypto.randomUUID()
    const value = toWire(tf.tensor([2]))
    const content = { kind: 'tensor', value, labels: { tags: [], description: '' }, access: [] } as const
    const impostor = peerSession(bob, 'alice')
    impostor.tell('deposit', { key, content })
    bob.tell('receive', { key, from: 'alice', out: key, edge: null, optimizers: [] })
    await bob.flush()
    const lines = linesOf(await whoSawWhat([bob, alice], silent)).filter(([who]) => who === 'bob')
    expect(lines.sort()).toEqual([
      ['bob', 'float32 [1]', 'alice', 'move', 'asked by me', '1', '4'],
      ['bob', 'float32 [1]', 'alice', 'move', 'moved by me', '1', '4'],
    ])
  })

  it('shows what a worker sent to one whose ledger was not given', async () => {
    const bob = worker('bob')
    const alice = worker('alice')
    send(tf.tensor([1]), bob).move(alice)
    const [move] = linesOf(await whoSawWhat([bob], silent))
    expect(move).toEqual(['alice', 'float32 [1]', 'bob', 'move', 'asked by me', '1', '4'])
    expect(linesOf(await whoSawWhat([alice], silent))).toEqual([
      ['alice', 'float32 [1]', 'bob', 'move', 'moved by me', '1', '4'],
    ])
  })

  it('says so when nobody saw anything', async () => {
    expect(await whoSawWhat([worker('bob')], silent)).toBe('Who saw what\nNobody saw anything in clear.')
  })
})
