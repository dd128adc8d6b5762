import { errorFeedback, gradOf, noGrad, type PointerTensor, recordGrad, requireGrad, scope, tf } from 'sotto'
import { beforeAll, expect, it } from 'vitest'
import { settled } from '../backend.ts'
import { codeOf, onEveryWorker } from './workers.ts'

const values = async (pointer: PointerTensor) => [...(await pointer.fetch()).dataSync()]
const leaf = (numbers: number[], at: Parameters<tf.Tensor['send']>[0]) =>
  tf.tensor(numbers).send(at, { requiresGrad: true })

// Counts here are of all tensors: what other files have dropped goes before.
beforeAll(settled)

onEveryWorker((worker) => {
  it('leaves the gradient at the leaf', async () => {
    const x = leaf([1, 2, 3], worker('bob'))
    expect(x.requiresGrad).toBe(true)
    expect(x.grad).toBeNull()
    x.square().sum().backward()
    expect(await values(x.grad!)).toEqual([2, 4, 6])
    expect((await x.grad!.get()).shape).toEqual([3])
    expect(x.grad).toBeNull()
  })

  it('adds gradients up over backward passes, until zeroGrad', async () => {
    const x = leaf([1, 2], worker('bob'))
    x.sum().backward()
    x.mul(10).sum().backward()
    expect(await values(x.grad!)).toEqual([11, 11])
    x.zeroGrad()
    expect(x.grad).toBeNull()
    x.sum().backward()
    expect(await values(x.grad!)).toEqual([1, 1])
  })

  it('takes a gradient for what is no scalar, as a pointer, an array or a number', async () => {
    const bob = worker('bob')
    const x = leaf([1, 2], bob)
    x.mul(3).backward(tf.tensor([1, 10]).send(bob))
    x.mul(3).backward([1, 10])
    x.mul(3).backward(1)
    expect(await values(x.grad!)).toEqual([9, 63])
  })

  it('follows a leaf that is used more than once', async () => {
    const x = leaf([2, 3], worker('bob'))
    const y = x.mul(x).add(x)
    y.mul(y).sum().backward()
    // d/dx (x² + x)² = 2(x² + x)(2x + 1)
    expect(await values(x.grad!)).toEqual([60, 168])
  })

  it('says what is wrong with a backward that cannot be', async () => {
    const bob = worker('bob')
    const x = leaf([1, 2], bob)
    const y = x.mul(2)
    expect(await codeOf(() => y.backward())).toBe('ERR_SHAPE')
    expect(await codeOf(() => y.backward([1, 2, 3]))).toBe('ERR_SHAPE')
    expect(await codeOf(() => tf.tensor([1]).send(bob).sum().backward())).toBe('ERR_NO_GRAD')
    const sum = y.sum()
    sum.backward()
    expect(await codeOf(() => sum.backward())).toBe('ERR_GRAPH_FREED')
    expect(await codeOf(() => y.square().sum().backward())).toBe('ERR_GRAPH_FREED')
    const gone = x.sum()
    gone.dispose()
    expect(await codeOf(() => gone.backward())).toBe('ERR_CONSUMED')
    await bob.flush()
  })

  it('goes twice through a graph that is retained', async () => {
    const x = leaf([1, 2], worker('bob'))
    const y = x.square().sum()
    y.backward(undefined, { retainGraph: true })
    y.backward()
    expect(await values(x.grad!)).toEqual([4, 8])
  })

  it('stops at detach, and records nothing under noGrad', async () => {
    const x = leaf([3], worker('bob'))
    const y = x.mul(2)
    expect(y.detach().requiresGrad).toBe(false)
    expect(noGrad(() => x.mul(2)).requiresGrad).toBe(false)
    y.detach().mul(x).sum().backward()
    expect(await values(x.grad!)).toEqual([6])
  })

  it('keeps the graph when intermediate pointers are disposed of', async () => {
    const x = leaf([1, 2], worker('bob'))
    const y = x.square()
    const z = y.mul(3)
    const sum = z.sum()
    y.dispose()
    z.dispose()
    sum.backward()
    expect(await values(x.grad!)).toEqual([6, 12])
  })

  it('gives no gradient through comparisons and integers', async () => {
    const x = leaf([1, 2], worker('bob'))
    expect(x.argMax().requiresGrad).toBe(false)
    expect(x.greater(1).requiresGrad).toBe(false)
    expect(x.cast('int32').requiresGrad).toBe(false)
    expect(await codeOf(() => tf.tensor([1], [1], 'int32').send(worker('alice'), { requiresGrad: true }))).toBe(
      'ERR_DTYPE',
    )
  })

  it('relays the gradient over a move', async () => {
    const [alice, bob] = [worker('alice'), worker('bob')]
    const x = leaf([1, 2, 3], alice)
    const moved = x.mul(2).move(bob, { requiresGrad: true })
    moved.square().sum().backward()
    expect(await values(moved.grad!)).toEqual([4, 8, 12])
    expect(await values(x.grad!)).toEqual([8, 16, 24])
  })

  it('relays by hand as well', async () => {
    const [alice, bob] = [worker('alice'), worker('bob')]
    const x = leaf([1, 2, 3], alice)
    const a = x.mul(2)
    const ra = a.detach().move(bob).requireGrad()
    ra.square().sum().backward()
    a.backward(ra.grad!.move(alice))
    expect(await values(x.grad!)).toEqual([8, 16, 24])
  })

  it('relays over many hops, there and back', async () => {
    const [alice, bob, jane] = [worker('alice'), worker('bob'), worker('jane')]
    const x = leaf([1, 2], alice)
    const there = { requiresGrad: true }
    const y = x.mul(2).move(bob, there).mul(3).move(jane, there).square().move(alice, there).add(1).move(bob, there)
    y.sum().backward()
    // (6x)² → 72x
    expect(await values(x.grad!)).toEqual([72, 144])
    await Promise.all([alice, bob, jane].map((w) => w.flush()))
  })

  it('adds up what comes back over several edges of one tensor', async () => {
    const [alice, bob, jane] = [worker('alice'), worker('bob'), worker('jane')]
    const x = leaf([1, 2], alice)
    const a = x.mul(2)
    const b = a.copy().move(bob, { requiresGrad: true })
    const c = a.mul(5).move(bob, { requiresGrad: true })
    const d = b.mul(c).move(jane, { requiresGrad: true })
    const e = b.add(c).move(jane, { requiresGrad: true })
    d.add(e).sum().backward()
    // (2x)(10x) + 12x → 40x + 12
    expect(await values(x.grad!)).toEqual([52, 92])
    await Promise.all([alice, bob, jane].map((w) => w.flush()))
  })

  it('adds up over passes that cross an edge, retained and not', async () => {
    const [alice, bob] = [worker('alice'), worker('bob')]
    const x = leaf([1, 2], alice)
    const sum = x.square().move(bob, { requiresGrad: true }).mul(3).sum()
    sum.backward(undefined, { retainGraph: true })
    sum.backward()
    expect(await values(x.grad!)).toEqual([12, 24])
    expect(await codeOf(() => sum.backward())).toBe('ERR_GRAPH_FREED')
  })

  it('relays to the caller what the caller sent from a graph of its own', async () => {
    const [alice, bob] = [worker('alice'), worker('bob')]
    const x = requireGrad(tf.tensor([1, 2, 3, 4, 5]))
    const y = recordGrad(() => x.add(x))
    const there = { requiresGrad: true }
    y.send(alice, there).mul(2).move(bob, there).sum().backward()
    expect([...(await gradOf(x)).dataSync()]).toEqual([4, 4, 4, 4, 4])
    expect(await codeOf(() => gradOf(tf.tensor([1])))).toBe('ERR_NO_GRAD')
  })

  it('adds up at the caller over passes', async () => {
    const alice = worker('alice')
    const x = requireGrad(tf.tensor([1, 2]))
    for (let pass = 0; pass < 3; pass++) {
      recordGrad(() => x.square())
        .send(alice, { requiresGrad: true })
        .sum()
        .backward()
    }
    expect([...(await gradOf(x)).dataSync()]).toEqual([6, 12])
  })

  it.each(['float16', 'int8'] as const)('relays over a move with %s what is rounded both ways', async (compress) => {
    const [alice, bob] = [worker('alice'), worker('bob')]
    const x = leaf([127, 1.01, -3], alice)
    const feedback = errorFeedback({ values: true })
    const moved = x.mul(1).move(bob, { requiresGrad: true, compress, feedback })
    scope(() => moved.mul([0.5, 127, 0.1]).sum().backward())
    // Halves lie 2^-10 apart from 1 on; both scales are 1.
    const isInt8 = compress === 'int8'
    expect(await values(moved)).toEqual(isInt8 ? [127, 1, -3] : [127, 1 + 10 * 2 ** -10, -3])
    // A tenth is 1638.4 · 2^-14; in the middle of 0 and 1, the even one.
    expect(await values(x.grad!)).toEqual(isInt8 ? [0, 127, 0] : [0.5, 127, 1638 * 2 ** -14])
    // The tensor at hand, and what was lost.
    expect([await alice.objectCount(), await bob.objectCount()]).toEqual([2, 2])
    feedback.dispose()
    expect([await alice.objectCount(), await bob.objectCount()]).toEqual([1, 1])
  })

  it('moves without a gradient when none is asked for', async () => {
    const [alice, bob] = [worker('alice'), worker('bob')]
    const moved = leaf([1], alice).mul(2).move(bob)
    expect(moved.requiresGrad).toBe(false)
    const asked = tf.tensor([1]).send(alice).move(bob, { requiresGrad: true })
    asked.mul(4).sum().backward()
    expect(await values(asked.grad!)).toEqual([4])
  })

  it('brings a failure on the way back out at whoever waits, and stays usable', async () => {
    const [alice, bob] = [worker('alice'), worker('bob')]
    const x = leaf([1, 2], alice)
    const moved = x.mul(2).move(bob, { requiresGrad: true })
    const loss = moved.gather(tf.tensor([9], [1], 'int32').send(bob)).sum()
    loss.backward()
    expect(await codeOf(() => bob.flush())).toMatch(/^ERR_/)
    expect(await codeOf(() => alice.flush())).toMatch(/^ERR_/)
    x.zeroGrad()
    x.sum().backward()
    expect(await values(x.grad!)).toEqual([1, 1])
    await Promise.all([alice.flush(), bob.flush()])
  })

  it('leaves object and tensor counts flat over many passes', async () => {
    const [alice, bob] = [worker('alice'), worker('bob')]
    const x = leaf([1, 2, 3], alice)
    const pass = async () => {
      scope(() => x.square().move(bob, { requiresGrad: true }).exp().sum().backward())
      x.zeroGrad()
      await Promise.all([alice.flush(), bob.flush()])
    }
    await pass()
    const before = [tf.memory().numTensors, await alice.objectCount(), await bob.objectCount()]
    for (let i = 0; i < 20; i++) await pass()
    expect([tf.memory().numTensors, await alice.objectCount(), await bob.objectCount()]).toEqual(before)
  })
})
