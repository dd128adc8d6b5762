/**
 * A private value against somebody who is not allowed to see it: every way round that we know, one test each, and the
 * uses that must go on working. Identities as in the tests: owner's is the value, dave is named in `allow`, rita in
 * `allowResults`, mallory nowhere.
 */
import { inspect } from 'node:util'
import {
  type Code,
  gradOf,
  isSottoError,
  type LedgerEntry,
  optim,
  PointerTensor,
  recordGrad,
  requireGrad,
  type SottoErrorLike,
  send,
  tf,
  VirtualWorker,
} from 'sotto'
import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type ModelWire, modelToWire } from '../../src/tensor/model-wire.ts'
import { toWire } from '../../src/tensor/wire.ts'
import type { Frame } from '../../src/worker/protocol.ts'
import { readyForTest } from '../backend.ts'
import { dialAsPeer, introductionTo, peerSession } from './peer-session.ts'

/** Exact in float32, and its digits appear nowhere by chance. */
const SECRET = 31415.5
const DIGITS = '31415'
const BYTES = new Uint8Array(new Float32Array([SECRET]).buffer)

beforeAll(readyForTest)

const open: VirtualWorker[] = []
afterEach(async () => {
  for (const worker of open.splice(0)) await worker.close()
})

/** Whether the secret stands anywhere in something that was said: in binary, in text or as a number. */
function tells(value: unknown): boolean {
  if (typeof value === 'string') return value.includes(DIGITS)
  if (typeof value === 'number') return Math.abs(value) === SECRET
  if (value instanceof Uint8Array) {
    return value.some((_, at) => BYTES.every((byte, i) => value[at + i] === byte))
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
  expect((await failureOf(action)).code).toBe(code)
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

const values = async (tensor: Promise<tf.Tensor> | tf.Tensor): Promise<number[]> => [...(await tensor).dataSync()]
const at = (location: VirtualWorker, { id, shape, dtype }: PointerTensor): PointerTensor =>
  new PointerTensor({ location, id, spec: { shape, dtype }, owns: false, stays: true })
const gradientAt = (location: VirtualWorker, { id, shape }: PointerTensor): PointerTensor =>
  new PointerTensor({ location, id: `${id}#grad`, spec: { shape, dtype: 'float32' }, owns: false })

async function refusals(worker: VirtualWorker, by: string): Promise<LedgerEntry[]> {
  return (await worker.ledger()).filter(({ event, why }) => event === 'refused' && why === `asked by ${by}`)
}
async function expectRefusalWritten(worker: VirtualWorker, operation: string, by = 'mallory'): Promise<void> {
  const rows = (await refusals(worker, by)).filter((row) => row.operation === operation)
  expect(rows.length, `${operation} by ${by}`).toBeGreaterThan(0)
  expect(rows.every(({ bytes, from }) => bytes === 0 && from === worker.id)).toBe(true)
}

const batchNorm = (units = 1) =>
  tf.sequential({ layers: [tf.layers.batchNormalization({ inputShape: [units], momentum: 0 })] })
const dense = () =>
  tf.sequential({ layers: [tf.layers.dense({ units: 1, inputShape: [3], kernelInitializer: 'ones' })] })

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
  /** Bob keeps the owner's private x = [SECRET, 2, 3]; mallory has a session with bob and a pointer to it. */
  const world = async () => {
    const bob = worker('bob')
    const alice = worker('alice')
    const x = send(tf.tensor([SECRET, 2, 3]), bob, {
      private: true,
      allow: ['dave'],
      allowResults: ['rita'],
      tags: ['#x'],
    })
    const mallory = bob.as('mallory')
    const [seen] = await mallory.search(['#x'])
    heard = []
    return { bob, alice, x, mallory, seen: seen! }
  }
  /** Nobody was told, and the owner still has it. */
  const expectKept = async (x: PointerTensor) => {
    expect(heard.some((frame) => tells(frame))).toBe(false)
    expect(await values(x.fetch())).toEqual([SECRET, 2, 3])
  }

  describe('those who are allowed', () => {
    it('is found in a frame by the check that looks for it, when its owner fetches it', async () => {
      const { x } = await world()
      expect(heard.some((frame) => tells(frame))).toBe(false)
      expect(await values(x.fetch())).toEqual([SECRET, 2, 3])
      expect(heard.some((frame) => tells(frame))).toBe(true)
    })

    it('is fetched, moved and got by its owner', async () => {
      const { x, alice } = await world()
      const moved = x.copy().move(alice)
      expect(await values(moved.get())).toEqual([SECRET, 2, 3])
      expect(await values(x.get())).toEqual([SECRET, 2, 3])
    })

    it('is fetched by one who is named, and stays with its owner when that one gets it', async () => {
      const { bob, x } = await world()
      const [found] = await bob.as('dave').search(['#x'])
      expect(await values(found!.fetch())).toEqual([SECRET, 2, 3])
      expect(await values(found!.get())).toEqual([SECRET, 2, 3])
      expect(await values(x.fetch())).toEqual([SECRET, 2, 3])
      const rows = (await bob.ledger()).filter(({ event, to }) => event === 'left' && to === 'dave')
      expect(rows.map(({ operation, why }) => [operation, why])).toEqual([
        ['fetch', 'asked by dave, allowed by owner'],
        ['get', 'asked by dave, allowed by owner'],
      ])
    })

    it('shows its results, and not itself, to one who may see results', async () => {
      const { bob, alice, x } = await world()
      const rita = bob.as('rita')
      const [found] = await rita.search(['#x'])
      expect(await values(found!.slice([1], [2]).sum().get())).toEqual([5])
      await expectRefused(found!.fetch())
      await expectRefused(found!.copy().fetch())
      await expectRefused(found!.detach().fetch())
      await expectRefused(found!.copy().detach().copy().get())
      await expectRefused(found!.move(alice.as('rita')).get())
      await expectRefusalWritten(bob, 'fetch', 'rita')
      await expectKept(x)
    })

    it('may be moved by one who is named, and its policy goes along', async () => {
      const { bob, alice, x } = await world()
      const [found] = await bob.as('dave').search(['#x'])
      const moved = found!.move(alice.as('dave'))
      await alice.as('dave').flush()
      await expectRefused(at(alice.as('mallory'), moved).fetch())
      await expectRefused(at(alice.as('mallory'), moved).mul(1).fetch())
      await expectRefusalWritten(alice, 'fetch')
      expect(await values(at(alice, moved).fetch())).toEqual([SECRET, 2, 3])
      expect(await values(moved.get())).toEqual([SECRET, 2, 3])
      expect(await values(x.fetch())).toEqual([SECRET, 2, 3])
    })

    it('comes back from another worker as private as it went', async () => {
      const { bob, alice, x } = await world()
      const back = x.copy().move(alice).move(bob)
      await bob.flush()
      await expectRefused(at(bob.as('mallory'), back).fetch())
      expect(await values(back.get())).toEqual([SECRET, 2, 3])
    })

    it('may be moved by anybody to a worker that is named, once its owner introduced that worker', async () => {
      const { bob, alice } = await world()
      const y = send(tf.tensor([SECRET]), bob, { private: true, allow: ['alice'], tags: ['#y'] })
      const mallory = bob.as('mallory')
      const [found] = await mallory.search(['#y'])
      await expectRefused(found!.move(alice.as('mallory')).fetch())
      await expectRefusalWritten(bob, 'move')
      bob.addWorkers([alice])
      const moved = found!.move(alice.as('mallory'))
      await expectRefused(moved.fetch())
      await expectRefused(moved.neg().fetch())
      expect(await values(at(alice, moved).fetch())).toEqual([SECRET])
      expect(await values(y.fetch())).toEqual([SECRET])
    })

    it('leaves what is public to everybody', async () => {
      const { bob, mallory } = await world()
      const y = send(tf.tensor([1, 2]), bob, { tags: ['#open'] })
      const [found] = await mallory.search(['#open'])
      expect(await values(found!.add(1).get())).toEqual([2, 3])
      expect(await values(found!.get())).toEqual([1, 2])
      expect(await values(y.get())).toEqual([1, 2])
      expect(await refusals(bob, 'mallory')).toEqual([])
    })

    it('makes what two owners computed together visible to those whom both allow, and nobody else', async () => {
      const { bob, x } = await world()
      const olga = bob.as('olga')
      const y = send(tf.tensor([1, 1, 1]), olga, { private: true, allow: ['dave'], tags: ['#y'] })
      const sumOf = (who: VirtualWorker) => at(who, x).add(at(who, y)).fetch()
      for (const who of [olga, bob, bob.as('rita')]) await expectRefused(sumOf(who))
      expect(await values(sumOf(bob.as('dave')))).toEqual([SECRET + 1, 3, 4])
      await expectRefusalWritten(bob, 'fetch', 'olga')
      await expectRefusalWritten(bob, 'fetch', 'owner')
    })

    it('lets one who may see results train on it and take the model home', async () => {
      const { bob } = await world()
      const rita = bob.as('rita')
      send(tf.tensor([[1, 2, 3]]), bob, { private: true, allowResults: ['rita'], tags: ['#row'] })
      const [row] = await rita.search(['#row'])
      const net = send(dense(), rita, { tags: ['#net'] })
      const opt = optim.sgd(net.parameters(), { learningRate: 1 })
      net.apply(row!).sum().backward()
      opt.step()
      const kernel = (await net.fetch()).getWeights()[0]!
      expect(await values(kernel)).toEqual([0, -1, -2])
      await expectRefused(at(bob.as('mallory'), net.parameters()[0]!).fetch())
    })

    it('lets a gradient be seen again once what was private in it is dropped', async () => {
      const { mallory, seen } = await world()
      const w = send(tf.tensor([1, 1, 1]), mallory, { requiresGrad: true })
      w.mul(seen).sum().backward()
      await expectRefused(w.grad!.fetch())
      w.zeroGrad()
      w.mul(2).sum().backward()
      expect(await values(w.grad!.fetch())).toEqual([2, 2, 2])
    })

    it('leaves a model that learnt statistics of public data public', async () => {
      const { mallory } = await world()
      const net = send(batchNorm(), mallory)
      net.apply(send(tf.tensor([[1], [3]]), mallory), { training: true })
      const mean = (await net.fetch()).getWeights()[2]!
      expect(await values(mean)).toEqual([2])
    })
  })

  describe('asking for it', () => {
    it.each(['get', 'fetch'] as const)('is refused to a stranger who asks by %s', async (verb) => {
      const { bob, x, seen } = await world()
      await expectRefused(seen[verb]())
      await expectRefusalWritten(bob, verb)
      expect((await refusals(bob, 'mallory'))[0]).toMatchObject({ to: 'mallory', shape: [3], tags: ['#x'], count: 1 })
      await expectKept(x)
    })

    it('is refused to a stranger who asks to move it, and nothing of it reaches the other worker', async () => {
      const { bob, alice, x, seen } = await world()
      await expectRefused(seen.move(alice.as('mallory')).get())
      await expectRefusalWritten(bob, 'move')
      expect((await alice.ledger()).filter(({ operation }) => operation === 'move')).toEqual([])
      await expectKept(x)
    })

    it('is refused to a stranger who calls a worker of his own by a name that is allowed', async () => {
      const { bob, x, seen } = await world()
      const impostor = worker('dave', 'mallory')
      seen.move(impostor)
      await expectRefused(bob.as('mallory').flush())
      await expectRefusalWritten(bob, 'move')
      expect(await impostor.ledger()).toEqual([])
      await expectKept(x)
    })

    it('is refused to a stranger who introduces his worker in the place of one that the owner trusts', async () => {
      const { bob, alice } = await world()
      const y = send(tf.tensor([SECRET]), bob, { private: true, allow: ['alice'], tags: ['#y'] })
      bob.addWorkers([alice])
      heard = []
      const [found] = await bob.as('mallory').search(['#y'])
      const impostor = worker('alice', 'mallory')
      found!.move(impostor)
      await expectRefused(bob.as('mallory').flush())
      await expectRefusalWritten(bob, 'move')
      expect(heard.some((frame) => tells(frame))).toBe(false)
      expect(await values(y.fetch())).toEqual([SECRET])
    })

    it('is refused to a stranger who introduces his worker first, and then the true one in its place', async () => {
      const { bob, alice, mallory } = await world()
      const y = send(tf.tensor([SECRET]), bob, { private: true, allow: ['alice'], tags: ['#y'] })
      bob.addWorkers([alice])
      const came: Frame[] = []
      const fault = (frame: Frame) => {
        came.push(frame)
        return undefined
      }
      const impostor = new VirtualWorker('alice', { codec, identity: 'mallory', fault })
      open.push(impostor)
      const transfer = (id: string) =>
        mallory.tell('transfer', { id, to: 'alice', key: crypto.randomUUID(), keep: true, edge: null, optimizers: [] })
      const theFalse = introductionTo(impostor, 'bob', bob.key)
      mallory.tell('peers' as never, { peers: [theFalse] } as never)
      transfer(send(tf.tensor([1]), mallory).id)
      await mallory.flush()
      expect(came.filter(([, , name]) => name === 'deposit')).toHaveLength(1)
      const { address, key } = introductionTo(alice.as('mallory'), 'bob', bob.key)
      mallory.tell('peers' as never, { peers: [{ ...theFalse, address, key }] } as never)
      transfer(y.id)
      await mallory.flush().catch(() => undefined)
      expect(came.some((frame) => tells(frame))).toBe(false)
      expect(await values(y.fetch())).toEqual([SECRET])
    })

    it('is refused to a stranger who moves it to the worker that it is on', async () => {
      const { bob, x, mallory, seen } = await world()
      mallory.tell('peers' as never, { peers: [introductionTo(mallory, 'bob', bob.key)] } as never)
      const out = crypto.randomUUID()
      mallory.tell('transfer', { id: seen.id, to: 'bob', key: out, keep: true, edge: null, optimizers: [] })
      mallory.tell('receive', { key: out, from: 'bob', out, edge: null, optimizers: [] })
      await expectRefused(mallory.ask('get', { id: out, keep: true }))
      await expectRefusalWritten(bob, 'move')
      await expectKept(x)
    })

    it('is refused to a stranger who calls a worker of his own by the name of the worker that it is on', async () => {
      const { bob, mallory } = await world()
      const y = send(tf.tensor([SECRET]), bob, { private: true, allow: ['bob'], tags: ['#y'] })
      await bob.flush()
      heard = []
      const impostor = worker('bob', 'mallory')
      mallory.tell('peers' as never, { peers: [introductionTo(impostor, 'bob', bob.key)] } as never)
      const key = crypto.randomUUID()
      mallory.tell('transfer', { id: y.id, to: 'bob', key, keep: true, edge: null, optimizers: [] })
      await expectRefused(mallory.flush())
      await expectRefusalWritten(bob, 'move')
      expect(heard.some((frame) => tells(frame))).toBe(false)
      expect(await values(y.fetch())).toEqual([SECRET])
    })

    it('opens no second identity in one session', async () => {
      const { mallory, x, seen } = await world()
      const hello = { version: 1, name: 'owner', session: crypto.randomUUID(), secret: null }
      await expectCode(mallory.ask('hello' as never, hello as never), 'ERR_PROTOCOL')
      await expectRefused(seen.fetch())
      await expectKept(x)
    })

    it('gives each identity a session of its own, and no rights with it', async () => {
      const { bob, mallory, x, seen } = await world()
      expect(bob.as('mallory')).toBe(mallory)
      expect(mallory.as('mallory')).toBe(mallory)
      expect(mallory.identity).toBe('mallory')
      await expectRefused(at(mallory.as('eve'), seen).fetch())
      await expectRefusalWritten(bob, 'fetch', 'eve')
      await expectKept(x)
    })
  })

  describe('what is computed from it', () => {
    const ways: [string, (x: PointerTensor) => PointerTensor][] = [
      ['times one', (x) => x.mul(1)],
      ['plus zero', (x) => x.add(0)],
      ['a clone', (x) => x.clone()],
      ['a reshape', (x) => x.reshape([3, 1])],
      ['a slice', (x) => x.slice([0], [1])],
      ['a sum', (x) => x.sum()],
      ['a cast', (x) => x.cast('int32')],
      ['a concatenation', (x) => x.concat([[1]])],
      ['a stack', (x) => x.stack([x])],
      ['a gather', (x) => x.gather(new Int32Array([0]))],
      ['a part of it', (x) => x.split(3)[0]!],
      ['its largest elements', (x) => x.topk(1)[0]!],
      ['a comparison', (x) => x.greater(31415)],
      ['a condition', (x) => x.where(x.greater(31415), 0)],
      ['where it is largest', (x) => x.argMax()],
      ['a copy', (x) => x.copy()],
      ['a copy outside the graph', (x) => x.detach()],
      ['a result of results', (x) => x.mul(2).copy().detach().div(2)],
    ]
    it.each(ways)('is refused like itself: %s', async (_, way) => {
      const { bob, x, seen } = await world()
      const result = way(seen)
      await expectRefused(result.fetch())
      await expectRefused(result.get())
      await expectRefusalWritten(bob, 'fetch')
      await expectRefusalWritten(bob, 'get')
      await expectKept(x)
    })

    it('is refused when it is an operand and not the subject', async () => {
      const { bob, mallory, x, seen } = await world()
      const mine = send(tf.tensor([0, 0, 0]), mallory)
      await expectRefused(mine.add(seen).fetch())
      await expectRefused(mine.stack([mine, seen]).fetch())
      await expectRefusalWritten(bob, 'fetch')
      await expectKept(x)
    })

    it('does not take a tensor that had no part in it along', async () => {
      const { mallory, seen } = await world()
      const mine = send(tf.tensor([1, 2, 3]), mallory)
      mine.add(seen)
      expect(await values(mine.fetch())).toEqual([1, 2, 3])
    })

    it('is refused after its owner has disposed of the value', async () => {
      const { bob, x, seen } = await world()
      const kept = seen.mul(1)
      await bob.as('mallory').flush()
      x.dispose()
      await expectCode(seen.fetch(), 'ERR_NOT_FOUND')
      await expectRefused(kept.fetch())
      await expectRefusalWritten(bob, 'fetch')
      expect(heard.some((frame) => tells(frame))).toBe(false)
    })
  })

  describe('gradients', () => {
    it('are refused where the gradient of a leaf of one’s own equals the value', async () => {
      const { bob, alice, mallory, x, seen } = await world()
      const w = send(tf.tensor([1, 1, 1]), mallory, { requiresGrad: true })
      w.mul(seen).sum().backward()
      await mallory.flush()
      await expectRefused(w.grad!.fetch())
      await expectRefused(w.grad!.mul(1).fetch())
      await expectRefused(w.grad!.copy().fetch())
      await expectRefused(w.grad!.detach().fetch())
      await expectRefused(w.grad!.get())
      await expectRefused(w.grad!.move(alice.as('mallory')).fetch())
      await expectRefusalWritten(bob, 'fetch gradient')
      await expectRefusalWritten(bob, 'get gradient')
      await expectKept(x)
    })

    it('are refused where the value is what backward starts from', async () => {
      const { bob, mallory, x, seen } = await world()
      const w = send(tf.tensor([1, 1, 1]), mallory, { requiresGrad: true })
      w.mul(1).backward(seen)
      await mallory.flush()
      await expectRefused(w.grad!.fetch())
      await expectRefusalWritten(bob, 'fetch gradient')
      await expectKept(x)
    })

    it('are refused where a private gradient is what the next backward starts from', async () => {
      const { mallory, x, seen } = await world()
      const w = send(tf.tensor([1, 1, 1]), mallory, { requiresGrad: true })
      const v = send(tf.tensor([1, 1, 1]), mallory, { requiresGrad: true })
      w.mul(seen).sum().backward()
      v.mul(1).backward(w.grad!)
      await mallory.flush()
      await expectRefused(v.grad!.fetch())
      await expectKept(x)
    })

    it('are refused on every pass through a graph that is retained', async () => {
      const { mallory, x, seen } = await world()
      const w = send(tf.tensor([1, 1, 1]), mallory, { requiresGrad: true })
      const loss = w.mul(seen).sum()
      loss.backward(undefined, { retainGraph: true })
      await expectRefused(w.grad!.fetch())
      w.zeroGrad()
      loss.backward()
      await expectRefused(w.grad!.fetch())
      await mallory.flush()
      await expectKept(x)
    })

    it('are refused when a public one was there before, and when one is added after', async () => {
      const { mallory, x, seen } = await world()
      const w = send(tf.tensor([1, 1, 1]), mallory, { requiresGrad: true })
      w.mul(2).sum().backward()
      expect(await values(w.grad!.fetch())).toEqual([2, 2, 2])
      w.mul(seen).sum().backward()
      await expectRefused(w.grad!.fetch())
      w.mul(2).sum().backward()
      await expectRefused(w.grad!.fetch())
      await expectKept(x)
    })

    it('are not relayed to another worker', async () => {
      const { bob, alice, mallory, x, seen } = await world()
      const there = alice.as('mallory')
      const w = send(tf.tensor([1, 1, 1]), there, { requiresGrad: true })
      const here = w.move(mallory, { requiresGrad: true })
      here.mul(seen).sum().backward()
      await expectRefused(mallory.flush())
      await expectRefused(there.flush())
      await expectCode(gradientAt(there, w).fetch(), 'ERR_NOT_FOUND')
      await expectRefused(here.grad!.fetch())
      await expectRefusalWritten(bob, 'gradient')
      expect((await alice.ledger()).filter(({ operation }) => operation === 'gradient')).toEqual([])
      await expectKept(x)
    })

    it('are not relayed to a tensor that stayed behind as the leaf of an edge', async () => {
      const { alice, mallory, x, seen } = await world()
      const there = alice.as('mallory')
      const leaf = send(tf.tensor([1, 1, 1]), there, { requiresGrad: true })
      const here = leaf.mul(1).move(mallory, { requiresGrad: true })
      here.mul(seen).sum().backward()
      await expectRefused(mallory.flush())
      await expectRefused(there.flush())
      await expectCode(gradientAt(there, leaf).fetch(), 'ERR_NO_GRAD')
      await expectKept(x)
    })

    it('do not come home to the caller', async () => {
      const { bob, mallory, x, seen } = await world()
      const leaf = requireGrad(tf.tensor([1, 1, 1]))
      const sent = send(
        recordGrad(() => leaf.mul(1)),
        mallory,
        { requiresGrad: true },
      )
      sent.mul(seen).sum().backward()
      await expectRefused(gradOf(leaf))
      await expectRefusalWritten(bob, 'gradient')
      await expectKept(x)
    })

    it('come home when all that they were computed of is public', async () => {
      const { mallory } = await world()
      const leaf = requireGrad(tf.tensor([1, 1, 1]))
      send(leaf, mallory, { requiresGrad: true }).mul(3).sum().backward()
      expect(await values(gradOf(leaf))).toEqual([3, 3, 3])
    })

    it('do not reach the leaves of somebody else', async () => {
      const { bob, mallory } = await world()
      const w = send(tf.tensor([1, 1]), bob, { requiresGrad: true, tags: ['#w'] })
      const [found] = await mallory.search(['#w'])
      const mine = send(tf.tensor([1, 1]), mallory, { requiresGrad: true })
      mine.mul(found!).sum().backward()
      await mallory.flush()
      await expectCode(gradientAt(bob, w).fetch(), 'ERR_NO_GRAD')
    })

    it('are not to be had through the edges of somebody else', async () => {
      const { bob, alice, mallory, x } = await world()
      const w = send(tf.tensor([1, 1, 1]), alice, { requiresGrad: true })
      const here = w.mul(1).move(bob, { requiresGrad: true })
      const loss = here.mul(x).sum()
      await bob.flush()
      const edges = heard.flatMap((frame) => {
        const edge = frame[0] === 1 && (frame[3] as { edge?: unknown }).edge
        return typeof edge === 'string' ? [edge] : []
      })
      const [near, far] = edges as [string, string]
      const part = { pass: null, end: true, retain: false }
      heard = []
      await expectForeign(mallory.ask('relayHome', { ...part, edge: far }))
      const root = { edge: near, from: 'bob', key: crypto.randomUUID() }
      alice.as('mallory').tell('backward', { ...part, root })
      await expectForeign(alice.as('mallory').flush())
      await expectRefusalWritten(bob, 'relayHome')
      await expectRefusalWritten(alice, 'backward')
      expect(heard.some((frame) => tells(frame))).toBe(false)
      loss.backward()
      expect(await values(w.grad!.fetch())).toEqual([SECRET, 2, 3])
    })
  })

  describe('training', () => {
    it('makes a parameter private that a private gradient changed, be it by nothing', async () => {
      const { bob, mallory, x, seen } = await world()
      const w = send(tf.tensor([0, 0, 0]), mallory, { requiresGrad: true, tags: ['#w'] })
      const before = w.mul(1)
      const opt = optim.sgd([w], { learningRate: 1 })
      w.mul(seen).sum().backward()
      opt.step()
      await mallory.flush()
      await expectRefused(w.fetch())
      await expectRefused(w.mul(1).fetch())
      await expectRefused(at(bob.as('eve'), w).fetch())
      expect(await values(before.fetch())).toEqual([0, 0, 0])
      const v = send(tf.tensor([0, 0, 0]), mallory, { requiresGrad: true })
      const still = optim.adam([v], { learningRate: 0 })
      v.mul(seen).sum().backward()
      still.step()
      await expectRefused(v.fetch())
      await expectRefusalWritten(bob, 'fetch')
      await expectKept(x)
    })

    it('keeps a parameter private that momentum goes on changing after the gradient was dropped', async () => {
      const { mallory, x, seen } = await world()
      const w = send(tf.tensor([0, 0, 0]), mallory, { requiresGrad: true })
      const opt = optim.sgd([w], { learningRate: 1, momentum: 0.9 })
      w.mul(seen).sum().backward()
      opt.step()
      opt.zeroGrad()
      w.mul(0).sum().backward()
      opt.step()
      await mallory.flush()
      await expectRefused(w.fetch())
      await expectKept(x)
    })

    it('makes a model private that learnt from it: its weights, its copies, and what it gives', async () => {
      const { bob, alice, mallory, x, seen } = await world()
      const net = send(dense(), mallory)
      const opt = optim.adam(net.parameters())
      net
        .apply(seen.reshape([1, 3]))
        .sum()
        .backward()
      opt.step()
      opt.zeroGrad()
      await mallory.flush()
      const copy = net.copy()
      for (const model of [net, copy]) {
        await expectRefused(model.fetch())
        await expectRefused(model.get())
        await expectRefused(model.parameters()[0]!.fetch())
        await expectRefused(model.apply(send(tf.zeros([1, 3]), mallory)).fetch())
      }
      await expectRefusalWritten(bob, 'fetch model')
      await expectRefusalWritten(bob, 'get model')
      const moved = net.move(alice.as('mallory'))
      await expectRefused(moved.fetch())
      await expectRefusalWritten(bob, 'move model')
      await expectKept(x)
    })

    it('moves the policy of a model that its owner moves along with it, and that of its optimizer', async () => {
      const { bob, alice } = await world()
      const net = send(dense(), bob, { private: true, tags: ['#net'] })
      const opt = optim.adam(net.parameters())
      net
        .apply(send(tf.ones([1, 3]), bob))
        .sum()
        .backward()
      opt.step()
      const moved = net.move(alice)
      await alice.flush()
      await expectRefused(at(alice.as('mallory'), moved.parameters()[0]!).fetch())
      await expectRefused(alice.as('mallory').ask('getModel', { id: moved.id, keep: true, optimizers: [] }))
      await expectRefusalWritten(alice, 'fetch model')
      const state = (await alice.objects()).find(({ kind }) => kind === 'optimizer')
      expect(state).toMatchObject({ isPrivate: true })
      expect((await moved.get()).getWeights()).toHaveLength(2)
    })

    it('is refused of the owner’s private model, its parameters, its copies and its results', async () => {
      const { bob, alice, mallory } = await world()
      const net = send(dense(), bob, { private: true, tags: ['#net'] })
      net.parameters()[0]!.mul(SECRET)
      await bob.flush()
      heard = []
      await expectRefused(mallory.ask('getModel', { id: net.id, keep: false, optimizers: [] }))
      const [kernel] = net.parameters()
      await expectRefused(at(mallory, kernel!).fetch())
      await expectRefused(at(mallory, kernel!).mul(1).fetch())
      const copy = crypto.randomUUID()
      mallory.tell('copyModel', { id: net.id, out: copy })
      await expectRefused(mallory.ask('getModel', { id: copy, keep: true, optimizers: [] }))
      const input = send(tf.ones([1, 3]), mallory)
      const out = crypto.randomUUID()
      mallory.tell('apply', { model: net.id, operands: [input.id], out: [out], training: false, grad: true })
      await expectRefused(mallory.ask('get', { id: out, keep: true }))
      const key = crypto.randomUUID()
      const body = { id: net.id, to: mallory.reach(alice.as('mallory')), key, keep: false, edge: null, optimizers: [] }
      mallory.tell('transfer', body)
      await expectRefused(mallory.flush())
      for (const operation of ['get model', 'fetch model', 'fetch', 'move model']) {
        await expectRefusalWritten(bob, operation)
      }
      expect((await net.get()).getWeights()).toHaveLength(2)
    })

    it('makes statistics private that batch normalisation learnt from it', async () => {
      const { bob, mallory, x, seen } = await world()
      const net = send(batchNorm(3), mallory)
      net.apply(seen.reshape([1, 3]), { training: true })
      await mallory.flush()
      await expectRefused(net.weights()[2]!.fetch())
      await expectRefused(net.fetch())
      await expectRefused(net.copy().fetch())
      await expectRefusalWritten(bob, 'fetch model')
      await expectKept(x)
    })

    it('makes statistics private that the model calls trainable parameters', async () => {
      const { mallory, x, seen } = await world()
      const wire = modelToWire(batchNorm(3))
      const lying: ModelWire = { ...wire, weights: wire.weights.map((weight) => ({ ...weight, trainable: true })) }
      const model = crypto.randomUUID()
      const labels = { tags: [], description: '' }
      mallory.tell('putModel', { out: model, model: lying, labels, privacy: null, optimizers: [] })
      const row = seen.reshape([1, 3])
      mallory.tell('apply', { model, operands: [row.id], out: [crypto.randomUUID()], training: true, grad: false })
      await mallory.flush()
      await expectRefused(mallory.ask('getModel', { id: model, keep: true, optimizers: [] }))
      await expectRefused(mallory.ask('get', { id: `${model}#2`, keep: true }))
      await expectKept(x)
    })

    it('makes statistics private that were learnt of public data behind private weights', async () => {
      const { mallory, x, seen } = await world()
      const layers = [
        tf.layers.dense({ units: 1, inputShape: [3], kernelInitializer: 'zeros' }),
        tf.layers.batchNormalization({ momentum: 0 }),
      ]
      const net = send(tf.sequential({ layers }), mallory)
      const [kernel] = net.parameters()
      const opt = optim.sgd([kernel!], { learningRate: 1 })
      kernel!
        .mul(seen.reshape([3, 1]))
        .sum()
        .backward()
      opt.step()
      net.apply(send(tf.tensor([[1, 0, 0]]), mallory), { training: true })
      await mallory.flush()
      const mean = net.weights().at(-2)!
      await expectRefused(mean.fetch())
      await expectKept(x)
    })

    it('makes statistics private that were learnt before a later layer failed', async () => {
      const { bob, mallory } = await world()
      send(tf.tensor([[SECRET]]), bob, { private: true, tags: ['#row'] })
      const [row] = await mallory.search(['#row'])
      heard = []
      // The embedding is asked for row 31415 of two.
      const input = tf.input({ shape: [1] })
      const normal = tf.layers.batchNormalization({ momentum: 0 }).apply(input) as tf.SymbolicTensor
      const found = tf.layers.embedding({ inputDim: 2, outputDim: 1 }).apply(input) as tf.SymbolicTensor
      const net = send(tf.model({ inputs: input, outputs: [normal, found] }), mallory)
      const outputs = net.apply<PointerTensor[]>(row!, { training: true })
      for (const output of outputs) await expectRefused(output.fetch())
      for (const weight of net.weights()) {
        const seen = await weight.fetch().catch((error: SottoErrorLike) => error)
        expect(tells(seen instanceof tf.Tensor ? [...seen.dataSync()] : seen)).toBe(false)
      }
      await expectRefused(net.fetch())
      expect(heard.some((frame) => tells(frame))).toBe(false)
    })

    it('takes no model that would carry values from one call into the next', async () => {
      const { mallory, bob } = await world()
      const rnn = () => tf.layers.simpleRNN({ units: 1, stateful: true })
      const first = { batchInputShape: [1, 1, 3] }
      const plain = tf.sequential({ layers: [tf.layers.simpleRNN({ units: 1, stateful: true, ...first })] })
      const wrapped = tf.layers.timeDistributed({ layer: rnn(), batchInputShape: [1, 2, 1, 3] })
      const inWrapper = tf.sequential({ layers: [wrapped] })
      const inner = tf.sequential({ layers: [tf.layers.activation({ activation: 'linear', ...first })] })
      const nested = tf.sequential({ layers: [inner, rnn()] })
      for (const model of [plain, inWrapper, nested]) {
        const net = send(model, mallory)
        await expectCode(net.fetch(), 'ERR_ARGUMENT_VALUE')
      }
      expect(await bob.objectCount()).toBe(4)
    })
  })

  describe('failures', () => {
    /** What mallory can see of a world in which his operation on private indices failed, or did not. */
    const observe = async (indices: number[]) => {
      const bob = worker('bob')
      const alice = worker('alice')
      const x = send(tf.tensor(indices, undefined, 'int32'), bob, { private: true, tags: ['#x'] })
      const mallory = bob.as('mallory')
      const [seen] = await mallory.search(['#x'])
      heard = []
      const saw: unknown[] = []
      const attempt = async (action: () => unknown) => {
        try {
          saw.push(await action())
        } catch (error) {
          const { code, message } = error as SottoErrorLike
          saw.push([code, message])
        }
      }
      const table = send(tf.tensor([1, 2, 3]), mallory, { requiresGrad: true })
      const found = table.gather(seen!)
      await attempt(() => mallory.flush())
      await attempt(() => mallory.objects())
      await attempt(() => mallory.stats())
      await attempt(() => mallory.objectCount())
      await attempt(() => found.fetch())
      await attempt(() => found.get())
      await attempt(() => found.mul(2).fetch())
      // A shape that does not fit, sent past the check at the caller, is answered by an error of its own.
      const wrong = crypto.randomUUID()
      const operands = [found.id, toWire(tf.zeros([7]))]
      await attempt(() => mallory.tell('run', { op: 'add', operands, attrs: [], out: [wrong], grad: false }))
      await attempt(() => mallory.ask('get', { id: wrong, keep: true }))
      await attempt(() => mallory.flush())
      await attempt(() => mallory.ask('getModel', { id: found.id, keep: true, optimizers: [] }))
      await attempt(() => found.copy().fetch())
      await attempt(() => found.detach().fetch())
      await attempt(() => found.copy().move(alice.as('mallory')).fetch())
      await attempt(() => mallory.tell('requireGrad', { id: found.id, requiresGrad: true }))
      await attempt(() => mallory.flush())
      await attempt(() => optim.sgd([found.detach().requireGrad()], { learningRate: 1 }).step())
      await attempt(() => mallory.flush())
      const loss = found.sum()
      await attempt(() => loss.backward())
      await attempt(() => mallory.flush())
      await attempt(() => gradientAt(mallory, table).fetch())
      await attempt(() => gradientAt(mallory, found).fetch())
      await attempt(() => optim.sgd([table], { learningRate: 1 }).step())
      await attempt(() => table.fetch())
      const net = send(
        tf.sequential({ layers: [tf.layers.embedding({ inputDim: 3, outputDim: 2, inputLength: 2 })] }),
        mallory,
      )
      await attempt(() => net.apply(seen!.reshape([1, 2]).cast('float32')).fetch())
      // Two outputs, of which one depends on no parameter: a pass back tells which depends on what.
      const input = tf.input({ shape: [2] })
      const still = tf.layers.dense({ units: 1, trainable: false, kernelInitializer: 'ones' })
      const words = tf.layers.embedding({ inputDim: 3, outputDim: 2 })
      const outputs = [still, words].map((layer) => layer.apply(input) as tf.SymbolicTensor)
      const two = send(tf.model({ inputs: input, outputs }), mallory)
      const tokens = tf.layers.categoryEncoding({ numTokens: 2, outputMode: 'multiHot', inputShape: [2] })
      const three = send(tf.sequential({ layers: [tokens] }), mallory)
      for (const model of [two, three]) {
        for (const output of [model.apply(seen!.reshape([1, 2]).cast('float32'))].flat()) {
          await attempt(() => output.fetch())
          const { id } = output.sum()
          mallory.tell('backward', { root: { id, seed: 1 }, pass: null, end: true, retain: true })
          await attempt(() => mallory.flush())
          for (const weight of model.weights()) await attempt(() => gradientAt(mallory, weight).fetch())
        }
      }
      // A success is acknowledged now and then; a failure must be so too.
      for (let i = 0; i < 130; i++) table.gather(seen!)
      await attempt(() => mallory.flush())
      await attempt(() => mallory.objects())
      await attempt(() => alice.as('mallory').objects())
      for (const ledger of [await mallory.ledger(), await alice.as('mallory').ledger()]) {
        const rows = ledger.map((row) => JSON.stringify({ ...row, first: 0, last: 0 }))
        saw.push(rows.sort())
      }
      heard = heard.filter(([, , body]) => !Array.isArray(body) || !('why' in (body[0] ?? {})))
      saw.push(heard.filter(([kind]) => kind !== 1))
      // Ids are random and times differ; all else must not.
      const names = new Map<string, string>()
      const uuid = /[0-9a-f]{8}-[0-9a-f-]{27}/g
      const told = JSON.stringify(saw).replace(uuid, (id) => {
        if (!names.has(id)) names.set(id, `id ${names.size}`)
        return names.get(id)!
      })
      return { told: JSON.parse(told) as unknown, bob, x, found }
    }

    it('of private values are not to be told from successes by anything that a stranger can see', async () => {
      const good = await observe([0, 1])
      const bad = await observe([0, 31415])
      expect(tells(bad.told)).toBe(false)
      expect(bad.told).toEqual(good.told)
      expect(await values(bad.x.fetch())).toEqual([0, 31415])
    })

    it('that private weights bring about look like successes too', async () => {
      const { mallory, seen } = await world()
      const layers = [
        tf.layers.dense({ units: 1, inputShape: [3], kernelInitializer: 'zeros' }),
        tf.layers.embedding({ inputDim: 3, outputDim: 2 }),
      ]
      const net = send(tf.sequential({ layers }), mallory)
      const input = send(tf.ones([1, 3]), mallory)
      expect((await net.apply(input).fetch()).shape).toEqual([1, 1, 2])
      const [, bias, rows] = net.parameters()
      bias!
        .mul(seen.slice([0], [1]))
        .sum()
        .backward()
      optim.sgd([bias!], { learningRate: 1 }).step()
      const output = net.apply(input)
      output.sum().backward()
      await mallory.flush()
      const info = (await mallory.objects()).find(({ id }) => id === output.id)
      expect(info).toMatchObject({ kind: 'tensor', shape: [1, 1, 2], isPrivate: true, requiresGrad: true })
      await expectRefused(output.fetch())
      await expectRefused(rows!.grad!.fetch())
    })

    it('of private values are told to their owner, without the value', async () => {
      const { bob, alice } = await world()
      const x = send(tf.tensor([31415], undefined, 'int32'), bob, { private: true })
      heard = []
      const found = send(tf.tensor([1, 2]), bob).gather(x)
      const code = 'ERR_ARGUMENT_VALUE'
      await expectCode(bob.flush(), code)
      await expectCode(found.fetch(), code)
      await expectCode(found.mul(2).add(1).fetch(), code)
      await expectCode(found.copy().fetch(), code)
      await expectCode(found.copy().move(alice).fetch(), code)
      await expectCode(found.get(), code)
      expect(heard.filter(([kind]) => kind !== 1).some((frame) => tells(frame))).toBe(false)
    })

    it('of private values leave nothing to see for a stranger who meets them', async () => {
      const { bob, mallory } = await world()
      const x = send(tf.tensor([31415], undefined, 'int32'), bob, { private: true })
      const found = send(tf.tensor([1, 2]), bob).gather(x)
      await failureOf(bob.flush())
      expect((await mallory.objects()).map(({ id }) => id)).not.toContain(found.id)
      await expectForeign(at(mallory, found).fetch())
      await expectForeign(at(mallory, found).mul(1).fetch())
      await mallory.flush()
    })

    it('of private values leave nothing to see where a failure was published', async () => {
      const { bob, mallory } = await world()
      const error = { code: 'ERR_OPERATION_FAILED', message: DIGITS, worker: 'alice', origin: 'a:1' } as const
      const key = crypto.randomUUID()
      peerSession(bob, 'alice').tell('deposit', {
        key,
        content: {
          kind: 'tensor',
          value: toWire(tf.tensor([0])),
          labels: { tags: ['#found'], description: '' },
          access: [{ owner: 'owner', allow: [], allowResults: [] }],
          failure: error,
        },
      })
      bob.tell('receive', { key, from: 'alice', out: key, edge: null, optimizers: [] })
      const told = await bob.ask('get', { id: key, keep: true }).catch((failure: SottoErrorLike) => failure)
      expect(told).toMatchObject({ code: 'ERR_OPERATION_FAILED' })
      heard = []
      const [found] = await mallory.search(['#found'])
      const info = (await mallory.objects()).find(({ id }) => id === found!.id)
      expect(info).toMatchObject({ kind: 'tensor', shape: [1], bytes: 4, isPrivate: true })
      await expectRefused(found!.fetch())
      await expectRefused(found!.mul(1).fetch())
      await mallory.flush()
      expect(heard.some((frame) => tells(frame))).toBe(false)
    })

    it('of public values are told to everybody, without the value', async () => {
      const { mallory } = await world()
      const x = send(tf.tensor([31415], undefined, 'int32'), mallory)
      const found = send(tf.tensor([1, 2]), mallory).gather(x)
      await expectCode(found.fetch(), 'ERR_ARGUMENT_VALUE')
      expect((await mallory.objects()).find(({ id }) => id === found.id)).toMatchObject({ kind: 'failed' })
    })

    it('are not to be heard by flushing another session', async () => {
      const { bob, mallory } = await world()
      const x = send(tf.tensor([31415], undefined, 'int32'), bob, { private: true })
      send(tf.tensor([1, 2]), bob).gather(x)
      await mallory.flush()
      await failureOf(bob.flush())
    })
  })

  describe('looking around', () => {
    it('finds shape, tags and owner, and no value, in objects, search, stats, ledger and inspection', async () => {
      const { bob, mallory, x, seen } = await world()
      await expectRefused(seen.fetch())
      seen.mul(1)
      const told = [
        await mallory.objects(),
        await mallory.search([]),
        await mallory.search(['#x']),
        await mallory.stats(),
        await mallory.ledger(),
        inspect(seen, { depth: 9, showHidden: true }),
        inspect(mallory, { depth: 9 }),
        String(seen),
      ]
      expect(tells(told)).toBe(false)
      expect((await bob.objects())[0]).toMatchObject({ shape: [3], isPrivate: true, owner: 'owner' })
      await expectKept(x)
    })

    it('says in a refusal whose the value is and how it may be shared, and nothing else', async () => {
      const { seen } = await world()
      const { message, details } = await failureOf(seen.fetch())
      expect(message).toContain('private to owner')
      expect(message).toContain("{ allow: ['mallory'] }")
      expect(message).not.toContain('dave')
      expect(tells(details)).toBe(false)
    })
  })

  describe('changing what is somebody else’s', () => {
    it('does not free it', async () => {
      const { mallory, x, seen } = await world()
      mallory.tell('free', { ids: [seen.id, `${seen.id}#grad`] })
      seen.dispose()
      await mallory.flush()
      await mallory.ask('get', { id: seen.id, keep: false }).catch(() => undefined)
      await expectKept(x)
    })

    it('does not take a public tensor or model of another off the worker by get or move', async () => {
      const { bob, alice, mallory } = await world()
      const there = alice.as('mallory')
      const y = send(tf.tensor([1]), bob, { tags: ['#y'] })
      const net = send(dense(), bob, { tags: ['#net'] })
      expect(await values(at(mallory, y).get())).toEqual([1])
      await mallory.ask('get', { id: y.id, keep: false })
      await mallory.ask('getModel', { id: net.id, keep: false, optimizers: [] })
      at(mallory, y).move(there)
      const to = mallory.reach(there)
      for (const id of [y.id, net.id]) {
        const key = crypto.randomUUID()
        mallory.tell('transfer', { id, to, key, keep: false, edge: null, optimizers: [] })
      }
      await mallory.flush()
      expect(await values(y.get())).toEqual([1])
      expect((await net.get()).getWeights()).toHaveLength(2)
    })

    it('does not make it a leaf, drop its gradient or put it under an optimizer', async () => {
      const { bob, mallory } = await world()
      const w = send(tf.tensor([1, 1]), bob, { requiresGrad: true, tags: ['#w'] })
      w.mul(2).sum().backward()
      await bob.flush()
      mallory.tell('requireGrad', { id: w.id, requiresGrad: false })
      await expectRefused(mallory.flush())
      mallory.tell('zeroGrad', { ids: [w.id] })
      await expectRefused(mallory.flush())
      const out = crypto.randomUUID()
      mallory.tell('putOptimizer', { out, kind: 'sgd', config: { learningRate: 1 }, parameters: [w.id] })
      await expectRefused(mallory.flush())
      mallory.tell('free', { ids: [`${w.id}#grad`] })
      await mallory.flush()
      for (const operation of ['requireGrad', 'zeroGrad', 'optim.sgd']) await expectRefusalWritten(bob, operation)
      expect(await values(w.grad!.fetch())).toEqual([2, 2])
      expect(await values(w.fetch())).toEqual([1, 1])
    })

    it('does not step or configure an optimizer, nor carry its state off', async () => {
      const { bob, mallory } = await world()
      const net = send(dense(), bob, { tags: ['#net'] })
      const opt = optim.adam(net.parameters())
      net
        .apply(send(tf.ones([1, 3]), bob))
        .sum()
        .backward()
      await bob.flush()
      const { id } = (await bob.objects()).find(({ kind }) => kind === 'optimizer')!
      mallory.tell('step', { id })
      await expectForeign(mallory.flush())
      mallory.tell('configure', { id, config: { learningRate: 9 } })
      await expectForeign(mallory.flush())
      await expectForeign(mallory.ask('getModel', { id: net.id, keep: true, optimizers: [id] }))
      for (const operation of ['step', 'configure', 'getModel']) await expectRefusalWritten(bob, operation)
      expect(await values((await net.fetch()).getWeights()[0]!)).toEqual([1, 1, 1])
      opt.step()
      expect((await values((await net.get()).getWeights()[0]!))[0]).toBeCloseTo(0.999, 5)
    })

    it('does not train a model, nor let it learn statistics', async () => {
      const { bob, mallory } = await world()
      const net = send(batchNorm(), bob, { tags: ['#net'] })
      const input = send(tf.tensor([[5], [7]]), mallory)
      const apply = { model: net.id, operands: [input.id], out: [crypto.randomUUID()], training: true, grad: true }
      mallory.tell('apply', apply)
      await expectRefused(mallory.flush())
      await expectRefusalWritten(bob, 'train model')
      mallory.tell('apply', { ...apply, out: [crypto.randomUUID()], training: false })
      await mallory.flush()
      expect(await values((await net.get()).getWeights()[2]!)).toEqual([0])
    })

    it('does not run backward through a graph of somebody else, nor free it', async () => {
      const { bob, mallory } = await world()
      const w = send(tf.tensor([3]), bob, { requiresGrad: true, tags: ['#w'] })
      // A copy is as public as what it was made of, and has a graph.
      const copy = w.copy()
      const loss = copy.square().sum()
      await bob.flush()
      const part = { pass: null, end: true, retain: false }
      mallory.tell('backward', { ...part, root: { id: copy.id, seed: 1 } })
      await expectRefused(mallory.flush())
      mallory.tell('backward', { ...part, root: { id: loss.id, seed: 1 } })
      await expectForeign(mallory.flush())
      expect((await refusals(bob, 'mallory')).map(({ operation }) => operation)).toEqual(['backward', 'backward'])
      loss.backward()
      expect(await values(w.grad!.fetch())).toEqual([6])
    })

    it('does not free a graph of somebody else by a pass back through what was built on it', async () => {
      const { bob, mallory } = await world()
      const w = send(tf.tensor([3]), bob, { requiresGrad: true, tags: ['#w'] })
      const middle = w.copy()
      const loss = middle.square().sum()
      const mine = send(tf.tensor([2]), mallory, { requiresGrad: true })
      mine.mul(at(mallory, middle)).sum().backward()
      await mallory.flush()
      expect(await values(mine.grad!.fetch())).toEqual([3])
      const copy = crypto.randomUUID()
      mallory.tell('copy', { id: middle.id, out: copy, grad: true })
      mallory.tell('backward', { root: { id: copy, seed: 1 }, pass: null, end: true, retain: false })
      await expectCode(mallory.flush(), 'ERR_NO_GRAD')
      loss.backward()
      expect(await values(w.grad!.fetch())).toEqual([6])
    })

    it('does not put another object under its id', async () => {
      const { mallory, x, seen } = await world()
      const value = toWire(tf.tensor([0, 0, 0]))
      const labels = { tags: ['#x'], description: '' }
      mallory.tell('put', { out: seen.id, value, labels, privacy: null, requiresGrad: false, edge: null })
      await expectCode(mallory.flush(), 'ERR_ID_TAKEN')
      mallory.tell('run', { op: 'neg', operands: [seen.id], attrs: [], out: [seen.id], grad: false })
      await expectCode(mallory.flush(), 'ERR_ID_TAKEN')
      mallory.tell('copy', { id: seen.id, out: seen.id, grad: false })
      await expectCode(mallory.flush(), 'ERR_ID_TAKEN')
      await expectRefused(seen.fetch())
      await expectKept(x)
    })

    it('gives nothing of a value that is gone to one who puts another under its id', async () => {
      const { bob, mallory, x, seen } = await world()
      x.dispose()
      await bob.flush()
      const value = toWire(tf.tensor([7]))
      const labels = { tags: [], description: '' }
      mallory.tell('put', { out: seen.id, value, labels, privacy: null, requiresGrad: false, edge: null })
      expect(await values(at(mallory, seen).fetch())).toEqual([7])
      expect(heard.some((frame) => tells(frame))).toBe(false)
    })
  })

  describe('pretending to be a peer', () => {
    const deposit = {
      value: { shape: [1], dtype: 'float32', data: new Uint8Array(4) },
      labels: { tags: [], description: '' },
    } as const

    it('lets a peer deposit and do nothing else', async () => {
      const { bob, x, seen } = await world()
      const peer = peerSession(bob, 'owner')
      await expectRefused(peer.ask('get', { id: seen.id, keep: true }))
      await expectRefused(peer.ask('objects', {}))
      await expectRefused(peer.ask('ledger', {}))
      await expectKept(x)
    })

    it('lets a caller not deposit', async () => {
      const { mallory } = await world()
      const content = { kind: 'none' } as const
      mallory.tell('deposit' as never, { key: crypto.randomUUID(), content } as never)
      await expectRefused(mallory.flush())
    })

    it('does not take what one peer deposited for what another was to send', async () => {
      const { bob, alice } = await world()
      const key = crypto.randomUUID()
      peerSession(bob, 'eve').tell('deposit', { key, content: { kind: 'tensor', ...deposit, access: [] } })
      bob.reach(alice)
      const out = crypto.randomUUID()
      const y = send(tf.tensor([5]), alice)
      alice.tell('transfer', { id: y.id, to: alice.reach(bob), key, keep: true, edge: null, optimizers: [] })
      bob.tell('receive', { key, from: 'alice', out, edge: null, optimizers: [] })
      const { data } = await bob.ask('get', { id: out, keep: true })
      expect(new Float32Array(data.slice().buffer)[0]).toBe(5)
    })

    it('gives what is deposited for one session to no other that knows the key and has a peer of that name', async () => {
      const { bob, mallory } = await world()
      const key = crypto.randomUUID()
      const out = { owner: crypto.randomUUID(), mallory: crypto.randomUUID() }
      mallory.tell('receive', { key, from: 'alice', out: out.mallory, edge: null, optimizers: [] })
      const content = (value: number) =>
        ({ kind: 'tensor', ...deposit, value: toWire(tf.tensor([value])), access: [] }) as const
      peerSession(bob, 'alice').tell('deposit', { key, content: content(SECRET) })
      const hers = peerSession(mallory, 'alice')
      hers.tell('deposit', { key, content: content(1) })
      bob.tell('receive', { key, from: 'alice', out: out.owner, edge: null, optimizers: [] })
      const given = await Promise.all([
        mallory.ask('get', { id: out.mallory, keep: true }),
        bob.ask('get', { id: out.owner, keep: true }),
      ])
      expect(given.map(({ data }) => new Float32Array(data.slice().buffer)[0])).toEqual([1, SECRET])
      await expectForeign(mallory.ask('get', { id: out.owner, keep: true }))
    })

    it('takes one deposit under a key', async () => {
      const { bob } = await world()
      const key = crypto.randomUUID()
      const peer = peerSession(bob, 'alice')
      const refusals: unknown[] = []
      peer.onFailure((_, { code }: Error & { code?: Code }) => refusals.push(code))
      for (let i = 0; i < 2; i++) {
        peer.tell('deposit', { key, content: { kind: 'tensor', ...deposit, access: [] } })
      }
      expect(refusals).toEqual(['ERR_ID_TAKEN'])
      bob.tell('receive', { key, from: 'alice', out: key, edge: null, optimizers: [] })
      expect((await bob.ask('get', { id: key, keep: true })).shape).toEqual([1])
    })

    it('believes the policies of a deposit against those who take it', async () => {
      const { bob, mallory } = await world()
      const key = crypto.randomUUID()
      const access = [{ owner: 'owner', allow: [], allowResults: [] }]
      peerSession(mallory, 'alice').tell('deposit', { key, content: { kind: 'tensor', ...deposit, access } })
      const out = crypto.randomUUID()
      mallory.tell('receive', { key, from: 'alice', out, edge: null, optimizers: [] })
      await expectRefused(mallory.ask('get', { id: out, keep: true }))
      await expectRefusalWritten(bob, 'fetch')
    })

    it('tells of a failure on another worker only those who may see the result', async () => {
      const { bob, mallory } = await world()
      const access = [{ owner: 'owner', allow: [], allowResults: [] }]
      const error = { code: 'ERR_OPERATION_FAILED', message: DIGITS, worker: 'alice', origin: 'a:1' } as const
      for (const who of [mallory, bob]) {
        const key = crypto.randomUUID()
        peerSession(who, 'alice').tell('deposit', { key, content: { kind: 'failed', error, access } })
        who.tell('receive', { key, from: 'alice', out: key, edge: null, optimizers: [] })
        const { code } = await who.ask('get', { id: key, keep: true }).then(
          () => ({ code: 'none' }),
          (failure: SottoErrorLike) => failure,
        )
        expect(code).toBe(who === bob ? 'ERR_OPERATION_FAILED' : 'ERR_PERMISSION')
        if (who === mallory) {
          const replies = heard.filter(([kind]) => kind !== 1)
          expect(replies.some((frame) => tells(frame))).toBe(false)
          await mallory.flush()
          await expectRefusalWritten(bob, 'fetch')
        }
      }
    })

    it('closes nothing but its own session when it sends what no peer sends', async () => {
      const { bob, x } = await world()
      const transport = dialAsPeer(bob, 'alice')
      transport.send([1, 1, 'get', { id: x.id, keep: true }])
      transport.send([1, 7, 'objects', {}])
      await expectKept(x)
    })
  })
})
