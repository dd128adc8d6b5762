/** Tensors and gradients that travel compressed between workers, and what is kept of them where they are sent from. */
import { errorFeedback, type MoveOptions, type PointerTensor, send, tf, VirtualWorker, type Worker } from 'sotto'
import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import { newId } from '../../src/tensor/location.ts'
import { type Compression, compressions, pack, unpack } from '../../src/tensor/packed.ts'
import { readyForTest, settled } from '../backend.ts'
import { peerSession } from './peer-session.ts'

beforeAll(readyForTest)

const open: VirtualWorker[] = []
const worker = (id: string, options = {}): VirtualWorker => {
  const made = new VirtualWorker(id, options)
  open.push(made)
  return made
}
afterEach(async () => {
  for (const made of open.splice(0)) await made.close()
})

const SHAPE: [number, number] = [4, 16]
/** Values that need all digits, a hundred times larger in every row than in the one before. */
const given = (seed = 1) =>
  Float32Array.from({ length: 64 }, (_, i) => Math.sin(seed + i) * 100 ** Math.floor(i / 16 - 1))
const arrived = (values: Float32Array, encoding: Compression) => [...unpack(pack(values, SHAPE, encoding))]
const read = async (pointer: PointerTensor) => [...(await pointer.get()).dataSync()]
const codeOf = async (action: () => unknown): Promise<string> => {
  try {
    await action()
  } catch (error) {
    return String((error as { code?: unknown }).code)
  }
  return 'nothing was thrown'
}
const world = (options = {}) => [worker('alice', options), worker('bob', options)] as const
/** What is kept on a worker of what rounding lost. */
const remainders = async (of: Worker) => (await of.objects()).filter(({ kind }) => kind === 'remainder')

describe.each(compressions)('a move with %s', (compress) => {
  it('rounds the tensor on its way, and it is float32 again', async () => {
    const [alice, bob] = world()
    const moved = send(tf.tensor(given(), SHAPE), alice, { tags: ['#x'], description: 'x' }).move(bob, { compress })
    expect([moved.dtype, moved.shape, moved.requiresGrad]).toEqual(['float32', SHAPE, false])
    const tensor = await moved.fetch()
    expect([tensor.dtype, tensor.shape]).toEqual(['float32', SHAPE])
    expect([...tensor.dataSync()]).toEqual(arrived(given(), compress))
    expect([...tensor.dataSync()]).not.toEqual([...given()])
    expect(await bob.search(['#x'])).toHaveLength(1)
    expect([await alice.objectCount(), await bob.objectCount()]).toEqual([0, 1])
  })

  it('brings the gradient back in the same form', async () => {
    const [alice, bob] = world()
    const x = send(tf.tensor(given(), SHAPE), alice, { requiresGrad: true })
    const far = x.mul(1).move(bob, { requiresGrad: true, compress })
    const seed = given(2)
    far
      .mul(send(tf.tensor(seed, SHAPE), bob))
      .sum()
      .backward()
    expect(await read(x.grad!)).toEqual(arrived(seed, compress))
    // What waits at the far end was not on the way.
    expect(await read(far.grad!)).toEqual([...seed])
  })

  it('takes as many bytes of the link as it says, and the ledger says so', async () => {
    // Frames are bytes here, so that what is counted is what a socket would carry.
    const [alice, bob] = world({ codec: true })
    const shape = [64, 640]
    const x = send(tf.randomUniform(shape, -1, 1, 'float32', 3), alice, { requiresGrad: true })
    const sent = async (options: MoveOptions) => {
      const before = await linksOf(alice, bob)
      x.mul(1)
        .move(bob, { requiresGrad: true, ...options })
        .square()
        .sum()
        .backward()
      await Promise.all([alice.flush(), bob.flush()])
      const after = await linksOf(alice, bob)
      return after.map((bytes, i) => bytes - before[i]!)
    }
    await sent({})
    const plain = await sent({})
    const packed = await sent({ compress })
    // 2 bytes of 4, or 1 and 4 bytes of scales for 640 elements; names, keys and tags are a few hundred bytes a step.
    const ratio = compress === 'float16' ? 1 / 2 : (1 + 4 / 640) / 4
    packed.forEach((bytes, i) => {
      expect(bytes / plain[i]!).toBeGreaterThan(ratio)
      expect(bytes / plain[i]!).toBeLessThan(ratio + 500 / 163_840)
    })
    const size = 64 * 640 * 4
    for (const of of [alice, bob]) {
      const rows = (await of.ledger()).filter(({ operation }) => operation === 'move' || operation === 'gradient')
      expect(rows.map(({ count, bytes }) => [count, bytes])).toEqual(rows.map(() => [3, size * (2 + ratio)]))
      expect(rows).toHaveLength(2)
    }
  })

  it('keeps every policy on a private tensor', async () => {
    const [alice, bob] = [worker('alice', { identity: 'owner' }), worker('bob', { identity: 'owner' })]
    const hidden = { private: true, allow: ['carol'], allowResults: ['rita'], tags: ['#x'] } as const
    send(tf.tensor(given(), SHAPE), alice, hidden).move(bob, { compress })
    const as = async (name: string) => (await bob.as(name).search(['#x']))[0]!
    expect([...(await (await as('carol')).fetch()).dataSync()]).toEqual(arrived(given(), compress))
    expect(await codeOf(async () => (await as('rita')).fetch())).toBe('ERR_PERMISSION')
    expect(await codeOf(async () => (await as('rita')).mul(1).fetch())).toBe('nothing was thrown')
  })

  it('with feedback, brings over many steps what without it never arrives', async () => {
    const [alice, bob] = world()
    const feedback = errorFeedback({ values: true })
    // Less than half of a scale of 1/127, or of 2^-24.
    const [small, half] = compress === 'int8' ? [1e-3, 1 / 254] : [1e-8, 2 ** -25]
    const values = Float32Array.from({ length: 64 }, (_, i) => (i % 16 === 0 ? 1 : small))
    const x = send(tf.tensor(values, SHAPE), alice)
    const steps = 100
    const total = async (options: MoveOptions) => {
      let sum = send(tf.zeros(SHAPE), bob)
      for (let step = 0; step < steps; step++) sum = sum.add(x.copy().move(bob, options))
      return read(sum)
    }
    const sums = await total({ compress, feedback })
    for (const [i, value] of values.entries()) {
      // Half of the last step, and as every step adds two numbers up in float32, 2^-24 of the sum for each of them.
      const off = half + 2 * steps * 2 ** -24 * steps * value
      expect(Math.abs(sums[i]! - steps * value)).toBeLessThanOrEqual(off)
    }
    expect((await total({ compress })).filter((_, i) => i % 16 !== 0)).toEqual(Array(60).fill(0))
  })

  it('with feedback, brings the gradients too', async () => {
    const [alice, bob] = world()
    const feedback = errorFeedback()
    const x = send(tf.ones(SHAPE), alice, { requiresGrad: true })
    const seed = send(tf.tensor(given(2), SHAPE), bob)
    let remainder = new Float32Array(64)
    for (let step = 0; step < 3; step++) {
      x.mul(1).move(bob, { requiresGrad: true, compress, feedback }).mul(seed).sum().backward()
      const corrected = given(2).map((value, i) => value + remainder[i]!)
      const got = arrived(corrected, compress)
      expect(await read(x.grad!)).toEqual(got)
      remainder = corrected.map((value, i) => value - got[i]!)
      x.zeroGrad()
    }
    // Nothing is kept of what was moved: only the sender of the gradients has something.
    expect([(await remainders(alice)).length, (await remainders(bob)).length]).toEqual([0, 1])
  })
})

/** Bytes that went from one to the other, and back. */
const linksOf = async (...workers: readonly Worker[]) =>
  Promise.all(
    workers.map(async (of) =>
      (await of.stats()).links.filter(({ role }) => role === 'peer').reduce((sum, { bytesOut }) => sum + bytesOut, 0),
    ),
  )

describe('the feedback of a move', () => {
  const compress = 'int8'
  /** One element that the others are small beside. */
  const row = (small: number, length = 16) => tf.tensor([1, ...Array(length - 1).fill(small)], [1, length])
  const both = { values: true, gradients: true }

  it('keeps an object at each sender that counts, and is freed by dispose, with the session, and when it is dropped', async () => {
    const [alice, bob] = world()
    const x = send(tf.tensor(given(), SHAPE), alice, { requiresGrad: true })
    const feedback = errorFeedback(both)
    const step = async (options: MoveOptions) => {
      const y = x.mul(1).move(bob, { requiresGrad: true, ...options })
      const loss = y.sum()
      loss.backward()
      for (const pointer of [y, loss]) pointer.dispose()
      await Promise.all([alice.flush(), bob.flush()])
      x.zeroGrad()
      return [tf.memory().numTensors, await alice.objectCount(), await bob.objectCount()]
    }
    await settled()
    const plain = await step({ compress })
    const kept = await step({ compress, feedback })
    expect(kept).toEqual([plain[0], plain[1]! + 1, plain[2]! + 1])
    for (let i = 0; i < 20; i++) expect(await step({ compress, feedback })).toEqual(kept)
    for (const of of [alice, bob]) {
      const [{ shape, bytes, isPrivate, owner }] = (await remainders(of)) as [never]
      expect({ shape, bytes, isPrivate, owner }).toEqual({ shape: SHAPE, bytes: 256, isPrivate: false, owner: 'me' })
    }
    feedback.dispose()
    expect(feedback.isDisposed).toBe(true)
    expect(await step({ compress })).toEqual(plain)

    const other = bob.as('other')
    const session = errorFeedback(both)
    send(row(1e-3), other).move(alice.as('other'), { compress, feedback: session })
    await other.flush()
    expect(await remainders(other)).toHaveLength(1)
    await other.close()
    expect((await bob.stats()).objects).toBe(plain[2])

    await step({ compress, feedback: errorFeedback(both) })
    for (let i = 0; i < 20 && (await alice.objectCount()) > plain[1]!; i++) await settled()
    expect([await alice.objectCount(), await bob.objectCount()]).toEqual(plain.slice(1))
  })

  it('counts in the limits of its worker', async () => {
    const [alice, bob] = [worker('alice', { limits: { objects: 3 } }), worker('bob')]
    const feedback = errorFeedback({ values: true })
    const move = () => send(row(1e-3), alice).move(bob, { compress, feedback })
    await read(move())
    const two = [send(row(1), alice), send(row(1), alice)]
    // The third of them all is what is kept: no tensor more.
    send(row(1), alice)
    expect(await codeOf(() => alice.flush())).toBe('ERR_LIMIT')
    two[0]!.dispose()
    await read(move())
    const more = errorFeedback({ values: true })
    const last = send(row(1e-3), alice)
    expect(await codeOf(() => read(last.move(bob, { compress, feedback: more })))).toBe('ERR_LIMIT')
    expect(await remainders(alice)).toHaveLength(1)
  })

  it('is passed by a smaller tensor, and begun anew by a larger one', async () => {
    const [alice, bob] = world()
    const feedback = errorFeedback({ values: true })
    const move = async (tensor: tf.Tensor) => (await read(send(tensor, alice).move(bob, { compress, feedback })))[1]!
    // 0.003 of a scale of 1/127: arrives at the second step, as 0.006 is nearer to 1/127 than to nothing.
    const first = await move(row(0.003))
    expect(first).toBe(0)
    expect(await move(row(0.003, 15))).toBe(0)
    expect(await move(row(0.003, 15))).toBe(0)
    expect((await remainders(alice)).map(({ shape }) => shape)).toEqual([[1, 16]])
    expect(await move(row(0.003))).toBeCloseTo(1 / 127, 6)
    expect(await move(row(0.003, 32))).toBe(0)
    expect((await remainders(alice)).map(({ shape, bytes }) => [shape, bytes])).toEqual([[[1, 32], 128]])
    expect(await move(row(0.003, 32))).toBeCloseTo(1 / 127, 6)
  })

  it('does not count what did not leave', async () => {
    const [alice, bob] = world()
    const feedback = errorFeedback({ values: true })
    const move = async () => (await read(send(row(0.003), alice).move(bob, { compress, feedback })))[1]!
    expect(await move()).toBe(0)
    const lost = { encoding: compress, remainder: feedback.remainder('values') } as const
    const transfer = { to: 'nobody', key: newId(), keep: true, edge: null, optimizers: [], compress: lost }
    alice.tell('transfer', { id: send(row(0.9), alice).id, ...transfer })
    expect(await codeOf(() => alice.flush())).toBe('ERR_UNKNOWN_PEER')
    expect(await move()).toBeCloseTo(1 / 127, 6)
  })

  it('is for one way, and for as long as it is not disposed of', async () => {
    const [alice, bob] = world()
    const jane = worker('jane')
    const feedback = errorFeedback()
    const x = send(row(1), alice, { requiresGrad: true })
    const options = { requiresGrad: true, compress, feedback } as const
    const y = x.mul(1).move(bob, options)
    const z = x.mul(2)
    expect(await codeOf(() => z.move(jane, options))).toBe('ERR_NOT_COLLOCATED')
    expect(await codeOf(() => y.mul(1).move(alice, options))).toBe('ERR_NOT_COLLOCATED')
    feedback.dispose()
    feedback.dispose()
    expect(await codeOf(() => z.move(bob, options))).toBe('ERR_CONSUMED')
    // What could not be moved is where it was; and what was moved before still has its gradient.
    expect((await z.fetch()).shape).toEqual([1, 16])
    y.sum().backward()
    expect(await read(x.grad!)).toEqual(Array(16).fill(1))
    expect(await remainders(bob)).toEqual([])
  })
})

describe('what is kept of private values', () => {
  const compress = 'int8'
  const hidden = { private: true, allow: ['carol'] } as const

  it('is as private as they are, and nobody gets to see it', async () => {
    const alice = worker('alice', { identity: 'owner' })
    const bob = worker('bob', { identity: 'owner' })
    const feedback = errorFeedback({ values: true })
    send(tf.tensor(given(), SHAPE), alice, hidden).move(bob, { compress, feedback })
    await alice.flush()
    const [{ id, isPrivate, shape }] = (await remainders(alice)) as [never]
    expect([isPrivate, shape]).toEqual([true, SHAPE])
    const get = (by: VirtualWorker) => by.ask('get', { id, keep: true })
    expect(await codeOf(() => get(alice))).toBe('ERR_WRONG_KIND')
    for (const name of ['carol', 'mallory']) {
      expect(await codeOf(() => get(alice.as(name)))).toBe('ERR_PERMISSION')
      expect(await remainders(alice.as(name))).toEqual([])
    }
    const own = { id, to: alice.reach(bob), key: newId(), keep: true, edge: null, optimizers: [] }
    const ways: (() => void)[] = [
      () => alice.tell('copy', { id, out: newId(), grad: false }),
      () => alice.tell('detach', { id, out: newId() }),
      () => alice.tell('transfer', own),
      () => alice.tell('run', { op: 'mul', operands: [id, 1], attrs: [], out: [newId()], grad: false }),
    ]
    for (const way of ways) {
      way()
      expect(await codeOf(() => alice.flush())).toBe('ERR_WRONG_KIND')
    }
  })

  it('has its policy on what goes after them', async () => {
    const alice = worker('alice', { identity: 'owner' })
    const bob = worker('bob', { identity: 'owner' })
    const feedback = errorFeedback({ values: true })
    const options = { compress, feedback } as const
    const tags = ['#public']
    const zeros = () => send(tf.zeros(SHAPE), alice, { tags })
    const sees = async (name: string) => {
      const found = await bob.as(name).search(tags)
      return codeOf(() => found.at(-1)!.fetch())
    }
    zeros().move(bob, options)
    expect(await sees('mallory')).toBe('nothing was thrown')
    send(tf.tensor(given(), SHAPE), alice, hidden).move(bob, options)
    // The last digits of the private tensor come with what is next, and those of them with what comes then.
    for (let i = 0; i < 2; i++) {
      zeros().move(bob, options)
      expect(await sees('carol')).toBe('nothing was thrown')
      expect(await sees('mallory')).toBe('ERR_PERMISSION')
    }
    const [entry] = (await alice.ledger()).filter(({ event, tags }) => event === 'left' && tags.length > 0).slice(-1)
    expect(entry!.why).toBe('asked by owner, allowed by owner')
    const found = await bob.as('carol').search(tags)
    expect([...(await found.at(-1)!.fetch()).dataSync()].some((value) => value !== 0)).toBe(true)
  })

  it('does not go to a worker that may not have them, inside of what may', async () => {
    // Dan may not see the owner's values; bob may, so dan may have them brought to bob.
    const [alice, bob, eve] = [
      worker('alice', { identity: 'owner' }),
      worker('bob', { identity: 'owner' }),
      worker('eve'),
    ]
    alice.addWorkers([bob])
    send(tf.tensor(given(), SHAPE), alice, { private: true, allow: ['bob'], tags: ['#x'] })
    const dan = alice.as('dan')
    const [x] = await dan.search(['#x'])
    const lost = { encoding: compress, remainder: newId() } as const
    const there = dan.reach(bob.as('dan'))
    const transfer = { keep: true, edge: null, optimizers: [], compress: lost }
    dan.tell('transfer', { ...transfer, id: x!.id, to: there, key: newId() })
    await dan.flush()
    const zeros = send(tf.zeros(SHAPE), dan)
    dan.tell('transfer', { ...transfer, id: zeros.id, to: dan.reach(eve.as('dan')), key: newId() })
    expect(await codeOf(() => dan.flush())).toBe('ERR_PERMISSION')
    expect((await alice.ledger()).filter(({ to }) => to === 'eve').map(({ event }) => event)).toEqual(['refused'])
  })
})

describe('what is refused', () => {
  const feedback = errorFeedback()
  it.each([
    ['what is no form', { compress: 'float8' as never }, 'ERR_ARGUMENT_VALUE'],
    ['a form of another kind', { compress: 8 as never }, 'ERR_ARGUMENT_VALUE'],
    ['feedback alone', { feedback }, 'ERR_ARGUMENT_VALUE'],
    ['feedback that is none', { compress: 'int8', feedback: {} as never }, 'ERR_ARGUMENT_TYPE'],
    ['a misspelt option', { compressed: 'int8' } as never, 'ERR_ARGUMENT_VALUE'],
  ] as const)('%s', async (_, options, code) => {
    const [alice, bob] = world()
    const x = send(tf.tensor([1]), alice)
    expect(await codeOf(() => x.move(bob, options))).toBe(code)
    expect(await read(x)).toEqual([1])
  })

  it('another dtype than float32, here and on the worker', async () => {
    const [alice, bob] = world()
    for (const dtype of ['int32', 'bool'] as const) {
      const x = send(tf.ones([2], dtype), alice)
      expect(await codeOf(() => x.move(bob, { compress: 'float16' }))).toBe('ERR_DTYPE')
      const compress = { encoding: 'float16', remainder: newId() } as const
      const to = alice.reach(bob)
      const key = newId()
      const out = newId()
      alice.tell('transfer', { id: x.id, to, key, keep: false, edge: null, optimizers: [], compress })
      bob.tell('receive', { key, from: bob.reach(alice), out, edge: null, optimizers: [] })
      expect(await codeOf(() => bob.ask('get', { id: out, keep: true }))).toBe('ERR_DTYPE')
      expect(await read(x)).toEqual([1, 1])
    }
    expect(await remainders(alice)).toEqual([])
  })

  it('a model, and the id of another kind of object for what is lost', async () => {
    const [alice, bob] = world()
    const net = send(tf.sequential({ layers: [tf.layers.dense({ units: 1, inputShape: [1] })] }), alice)
    const x = send(tf.tensor([1]), alice)
    const move = (id: string, remainder: string) => {
      const compress = { encoding: 'int8', remainder } as const
      const to = alice.reach(bob)
      alice.tell('transfer', { id, to, key: newId(), keep: false, edge: null, optimizers: [], compress })
      return codeOf(() => alice.flush())
    }
    expect(await move(net.id, newId())).toBe('ERR_WRONG_KIND')
    expect(await move(x.id, net.id)).toBe('ERR_WRONG_KIND')
    expect(await move(x.id, x.id)).toBe('ERR_WRONG_KIND')
    expect(await alice.objectCount()).toBe(2)
  })

  it.each([
    ['options that are none', () => errorFeedback(1 as never), 'ERR_ARGUMENT_TYPE'],
    ['an option that there is not', () => errorFeedback({ activations: true } as never), 'ERR_ARGUMENT_VALUE'],
    ['an option of another kind', () => errorFeedback({ values: 1 as never }), 'ERR_ARGUMENT_TYPE'],
  ] as const)('%s', async (_, make, code) => {
    expect(await codeOf(make)).toBe(code)
  })

  const whole = pack(new Float32Array(16).fill(1), [2, 8], 'int8')
  it.each([
    ['too few bytes', { ...whole, data: new Uint8Array(15) }],
    ['a scale too many', { ...whole, scales: new Uint8Array(12) }],
    ['no scales', { ...whole, scales: undefined }],
    ['scales of halves', { ...pack(new Float32Array(16), [2, 8], 'float16'), scales: new Uint8Array(8) }],
    ['scales that are text', { ...whole, scales: '00000000' }],
    ['an infinite scale', { ...whole, scales: new Uint8Array([0, 0, 128, 127, 0, 0, 0, 0]) }],
    ['a field too many', { ...whole, extra: 1 }],
    ['another dtype', { ...whole, dtype: 'int32' }],
    ['a form that there is not', { ...whole, encoding: 'int4' }],
    ['a shape that is none', { ...whole, shape: [2, -8] }],
    ['float32 bytes', { ...whole, data: new Uint8Array(64) }],
  ] as const)('a deposit with %s, with a code, and nothing comes of it', async (_, value) => {
    const bob = worker('bob', { codec: true })
    const peer = peerSession(bob, 'mallory')
    const failed: string[] = []
    peer.onFailure((_, error) => failed.push(String((error as { code?: string }).code)))
    const labels = { tags: [], description: '' }
    peer.tell('deposit', { key: newId(), content: { kind: 'tensor', value: value as never, labels, access: [] } })
    expect(failed).toEqual(['ERR_PROTOCOL'])
    expect(peer.isClosed).toBe(false)
  })

  it('a packed tensor anywhere but between workers', async () => {
    const bob = worker('bob')
    const put = { out: newId(), labels: { tags: [], description: '' }, privacy: null, requiresGrad: false, edge: null }
    bob.tell('put', { ...put, value: whole as never })
    expect(await codeOf(() => bob.flush())).toBe('ERR_PROTOCOL')
    // Not even with as many bytes as a plain one has.
    bob.tell('put', { ...put, value: { ...whole, data: new Uint8Array(64) } as never })
    expect(await codeOf(() => bob.flush())).toBe('ERR_PROTOCOL')
  })
})
