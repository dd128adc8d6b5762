import { PlacementError, type PointerTensor, ready, scope, send, tf, VirtualWorker } from 'sotto'
import { expect, it } from 'vitest'
import { codeOf, onEveryWorker } from './workers.ts'

const values = async (pointer: PointerTensor) => [...(await pointer.fetch()).dataSync()]

onEveryWorker((worker) => {
  it('sends, computes and gets', async () => {
    const bob = worker('bob')
    const x = tf.tensor([1, 2, 3, 4, 5]).send(bob, { tags: ['#toy'], description: 'five numbers' })
    const y = x.add(x).sum()
    expect(y.shape).toEqual([])
    expect((await y.get()).dataSync()[0]).toBe(30)
    expect(await values(x)).toEqual([1, 2, 3, 4, 5])
  })

  it.each(['float32', 'int32', 'bool'] as const)('carries %s there and back', async (dtype) => {
    const original = tf.tensor(
      [
        [1, 0, 1],
        [0, 1, 0],
      ],
      [2, 3],
      dtype,
    )
    const back = await original.send(worker('bob')).get()
    expect(back.dtype).toBe(dtype)
    expect(back.shape).toEqual([2, 3])
    expect(back.arraySync()).toEqual(original.arraySync())
  })

  it('carries what floats hold at their ends', async () => {
    const ends = [Number.NaN, Infinity, -Infinity, -0, 2 ** -149, 3.4028234663852886e38]
    const back = await tf.tensor1d(ends).send(worker('bob')).get()
    expect([...back.dataSync()]).toEqual(ends)
  })

  it('carries empty tensors and scalars', async () => {
    const bob = worker('bob')
    expect((await tf.zeros([0, 3]).send(bob).get()).shape).toEqual([0, 3])
    expect((await tf.scalar(7).send(bob).get()).shape).toEqual([])
  })

  it('is not changed by what happens to the tensor here after it was sent', async () => {
    const array = new Float32Array([1, 2, 3])
    const here = tf.tensor(array)
    const there = here.send(worker('bob'))
    array[0] = 99
    here.dispose()
    expect(await values(there)).toEqual([1, 2, 3])
  })

  it('takes the object off the worker with get, and leaves it with fetch', async () => {
    const bob = worker('bob')
    const x = tf.tensor([1]).send(bob)
    await x.fetch()
    expect(await bob.objectCount()).toBe(1)
    await x.get()
    expect(await bob.objectCount()).toBe(0)
    expect(await codeOf(() => x.fetch())).toBe('ERR_CONSUMED')
  })

  it('makes two objects of one tensor that is sent twice', async () => {
    const bob = worker('bob')
    const x = tf.tensor([1])
    const [a, b] = [x.send(bob), send(x, bob)]
    expect(a.id).not.toBe(b.id)
    expect(await bob.objectCount()).toBe(2)
  })

  it('moves from worker to worker, and the copy at the first is gone', async () => {
    const [bob, alice] = [worker('bob'), worker('alice')]
    const x = tf.tensor([1, 2, 3]).send(bob, { tags: ['#toy'], description: 'three' })
    const z = x.move(alice)
    expect(await values(z)).toEqual([1, 2, 3])
    expect(z.location).toBe(alice)
    expect(z.tags).toEqual(['#toy'])
    expect([await bob.objectCount(), await alice.objectCount()]).toEqual([0, 1])
    expect(await codeOf(() => x.sum())).toBe('ERR_CONSUMED')
    const [found] = await alice.search(['#toy'])
    expect(found!.description).toBe('three')
  })

  it('keeps the original when a copy is moved, with tags on both', async () => {
    const [bob, alice] = [worker('bob'), worker('alice')]
    const x = tf.tensor([1, 2]).send(bob, { tags: ['#toy'] })
    const z = x.copy().move(alice)
    expect(await values(x)).toEqual([1, 2])
    expect(await values(z)).toEqual([1, 2])
    for (const place of [bob, alice]) expect(await place.search(['#toy'])).toHaveLength(1)
  })

  it('moves back and forth and on the worker itself', async () => {
    const [bob, alice] = [worker('bob'), worker('alice')]
    const x = tf.tensor([5]).send(bob).move(alice).move(bob).move(bob).move(alice)
    expect(await values(x.mul(2))).toEqual([10])
    expect([await bob.objectCount(), await alice.objectCount()]).toEqual([0, 2])
  })

  it('searches by all of the tags, and pointers that were found delete nothing', async () => {
    const bob = worker('bob')
    const kept = [
      tf.tensor([1]).send(bob, { tags: ['#a', '#b'] }),
      tf.tensor([2]).send(bob, { tags: ['#a'] }),
      tf.tensor([3]).send(bob),
    ]
    expect(await bob.search(['#a'])).toHaveLength(2)
    expect(await bob.search([])).toHaveLength(3)
    expect(await bob.search(['#a', '#c'])).toHaveLength(0)
    const [found] = await bob.search(['#a', '#b'])
    expect(found!.id).toBe(kept[0]!.id)
    expect(found!.shape).toEqual([1])
    found!.dispose()
    scope(() => void found)
    expect(await bob.objectCount()).toBe(3)
    expect(await values(kept[0]!)).toEqual([1])
  })

  it('gives several results as several pointers at once', async () => {
    const x = tf
      .tensor([
        [3, 1, 2],
        [4, 6, 5],
      ])
      .send(worker('bob'))
    const [left, right] = x.split([1, 2], 1)
    expect([left!.shape, right!.shape]).toEqual([
      [2, 1],
      [2, 2],
    ])
    expect(await values(right!)).toEqual([1, 2, 6, 5])
    const [top, indices] = x.topk(2)
    expect(indices!.dtype).toBe('int32')
    expect(await values(top!)).toEqual([3, 2, 6, 5])
    expect(await values(x.unstack()[1]!)).toEqual([4, 6, 5])
  })

  it('takes numbers, arrays and typed arrays as operands', async () => {
    const x = tf.tensor([1, 2, 3]).send(worker('bob'))
    expect(await values(x.add(1))).toEqual([2, 3, 4])
    expect(await values(x.mul([2, 3, 4]))).toEqual([2, 6, 12])
    expect(await values(x.div(-0))).toEqual([-Infinity, -Infinity, -Infinity])
    expect(await values(x.dot(new Float32Array([1, 0, 1])))).toEqual([4])
    expect(await values(x.concat([[4], [5, 6]]))).toEqual([1, 2, 3, 4, 5, 6])
  })

  it('refuses operands on different workers at the line that wrote it', async () => {
    const [bob, alice] = [worker('bob'), worker('alice')]
    const a = tf.tensor([1]).send(bob)
    const b = tf.tensor([1]).send(alice)
    expect(() => a.add(b)).toThrow(PlacementError)
    expect(() => a.add(b)).toThrow(/bob.*alice.*\.move\(bob\)/)
    expect(await codeOf(() => a.add(b))).toBe('ERR_NOT_COLLOCATED')
    expect(await codeOf(() => a.add(tf.tensor([1]) as never))).toBe('ERR_LOCAL_OPERAND')
    expect(await bob.objectCount()).toBe(1)
  })

  it('checks shapes before anything is sent', async () => {
    const bob = worker('bob')
    const x = tf.tensor([[1, 2, 3]]).send(bob)
    await bob.flush()
    const before = (await bob.stats()).framesIn
    expect(() => x.matMul(x)).toThrow(RangeError)
    expect(await codeOf(() => x.matMul(x))).toBe('ERR_SHAPE')
    expect(await codeOf(() => x.reshape([2, 2]))).toBe('ERR_SHAPE')
    // The question after the traffic is one frame itself.
    expect((await bob.stats()).framesIn).toBe(before + 1)
  })

  it('frees with dispose, with using, and at the end of a scope', async () => {
    const bob = worker('bob')
    const x = tf.tensor([1, 2]).send(bob)
    x.add(1).dispose()
    {
      using y = x.add(2)
      expect(y.shape).toEqual([2])
    }
    const kept = scope(() => {
      const inner = x.mul(2)
      inner.add(1)
      return { list: [inner.add(2)] }
    })
    expect(await bob.objectCount()).toBe(2)
    expect(await values(kept.list[0]!)).toEqual([4, 6])
    x.dispose()
    x.dispose()
    expect(await bob.objectCount()).toBe(1)
  })

  it('frees what a scope made when the scope throws or waits', async () => {
    const bob = worker('bob')
    const x = tf.tensor([1, 2]).send(bob)
    expect(() =>
      scope(() => {
        x.add(1)
        throw new Error('inside')
      }),
    ).toThrow('inside')
    const value = await scope(async () => {
      const y = x.add(1).sum()
      await bob.flush()
      x.mul(3)
      return (await y.fetch()).dataSync()[0]
    })
    expect(value).toBe(5)
    expect(await bob.objectCount()).toBe(1)
  })

  it('gives nested scopes their own, and hands what is returned to the outer one', async () => {
    const bob = worker('bob')
    const x = tf.tensor([1]).send(bob)
    scope(() => {
      const y = scope(() => {
        x.add(1)
        return x.add(2)
      })
      y.add(3)
    })
    expect(await bob.objectCount()).toBe(1)
  })

  it('poisons what is built on a failed operation, and names operation, worker and line', async () => {
    const bob = worker('bob')
    const x = tf.tensor([1, 2, 3]).send(bob)
    const bad = x.gather(tf.tensor([7], [1], 'int32').send(bob))
    const built = bad.add(1).sum()
    const error = await built.get().then(
      () => undefined,
      (e: Error & { code: string; details: Record<string, unknown> }) => e,
    )
    expect(error?.message).toMatch(/gather.*bob.*pointers\.test/s)
    expect(error?.details).toMatchObject({ worker: 'bob', op: 'gather' })
    expect(error?.message).not.toContain('7')
    expect(await values(x)).toEqual([1, 2, 3])
    await bob.flush()
  })

  it('reports a failure that nobody asked about at flush, once', async () => {
    const bob = worker('bob')
    const x = tf.tensor([1, 2, 3]).send(bob)
    x.gather(tf.tensor([9], [1], 'int32').send(bob))
    expect(await codeOf(() => bob.flush())).toMatch(/^ERR_/)
    await bob.flush()
  })

  it('fails the move of a failed result at the other worker too', async () => {
    const [bob, alice] = [worker('bob'), worker('alice')]
    const bad = tf
      .tensor([1])
      .send(bob)
      .gather(tf.tensor([9], [1], 'int32').send(bob))
    const moved = bad.move(alice).add(1)
    await expect(moved.get()).rejects.toThrow(/gather/)
    // Said once: the next answer from either worker is about something else.
    for (const place of [bob, alice]) expect(await values(tf.tensor([3]).send(place))).toEqual([3])
    expect(await values(tf.tensor([1]).send(alice))).toEqual([1])
  })

  it('shows shape, dtype, id and place, and never values', async () => {
    const bob = worker('bob')
    const x = tf.tensor([123456]).send(bob)
    for (const text of [String(x), JSON.stringify(await bob.objects())]) expect(text).not.toContain('123456')
    expect(String(x)).toContain('bob')
    expect(await bob.objects()).toMatchObject([{ id: x.id, shape: [1], dtype: 'float32', tags: [], bytes: 4 }])
  })

  it('counts frames and bytes by direction and peer', async () => {
    const [bob, alice] = [worker('bob'), worker('alice')]
    tf.ones([1000]).send(bob).move(alice)
    await alice.flush()
    const { links } = await bob.stats()
    const peer = links.find(({ role, name, bytesOut }) => role === 'peer' && name === 'alice' && bytesOut > 0)
    expect(peer!.framesOut).toBeGreaterThan(0)
    expect(peer!.bytesOut).toBeGreaterThanOrEqual(4000)
    const caller = links.find(({ role, name }) => role === 'caller' && name === 'me')
    expect(caller!.bytesIn).toBeGreaterThanOrEqual(4000)
  })

  it('rejects what is waited for, and refuses new commands, once it is closed', async () => {
    const bob = worker('bob')
    const x = tf.tensor([1]).send(bob)
    await bob.close()
    expect(await codeOf(() => x.fetch())).toBe('ERR_SESSION_CLOSED')
    expect(await codeOf(() => x.add(1))).toBe('ERR_SESSION_CLOSED')
    x.dispose()
  })

  it('refuses an option that it does not know, at every entry', async () => {
    const [bob, alice] = [worker('bob'), worker('alice')]
    const x = tf.tensor([1, 2]).send(bob, { requiresGrad: true })
    const net = tf.sequential({ layers: [tf.layers.dense({ units: 1, inputShape: [2] })] })
    for (const attempt of [
      () => tf.ones([2]).send(bob, { privat: true } as never),
      () => net.send(bob, { requiresGrad: true } as never),
      () => x.move(alice, { requireGrad: true } as never),
      () => x.sum().backward(undefined, { retain_graph: true } as never),
      () => new VirtualWorker('eve', { latancy: 5 } as never),
      () => ready({ backened: 'cpu' } as never),
    ]) {
      expect(await codeOf(attempt)).toBe('ERR_ARGUMENT_VALUE')
    }
    for (const attempt of [
      () => tf.ones([2]).send(bob, { private: true, allow: 'carol' } as never),
      () => tf.ones([2]).send(bob, { description: 5 } as never),
      () => tf.ones([2]).send('bob' as never),
      () => x.move('alice' as never),
      () => new VirtualWorker('eve', { latency: Number.NaN }),
      () => send(x as never, alice),
    ]) {
      expect(await codeOf(attempt)).toBe('ERR_ARGUMENT_TYPE')
    }
    expect(x.isDisposed).toBe(false)
    await bob.flush()
  })

  it('keeps what was sent under tags when its pointer is dropped or its scope ends', async (test) => {
    if (global.gc === undefined) test.skip('needs node --expose-gc')
    const bob = worker('bob')
    const drop = () => {
      tf.tensor([1]).send(bob, { tags: ['#kept'] })
      tf.tensor([2]).send(bob)
      scope(() => {
        tf.tensor([3]).send(bob, { tags: ['#kept'] })
      })
    }
    drop()
    for (let i = 0; i < 50 && (await bob.objectCount()) > 2; i++) {
      global.gc!()
      await new Promise((resolve) => setTimeout(resolve, 0))
    }
    expect(await bob.search(['#kept'])).toHaveLength(2)
    expect(await bob.objectCount()).toBe(2)
  })

  it('lets timers have their turn while it waits for one answer after another', async () => {
    const x = tf.tensor([1]).send(worker('bob'))
    let turns = 0
    const timer = setInterval(() => turns++, 1)
    const start = performance.now()
    while (performance.now() - start < 40) (await x.fetch()).dispose()
    clearInterval(timer)
    expect(turns).toBeGreaterThan(0)
  })

  it('takes indices written as an array for integers', async () => {
    const x = tf.tensor([10, 20, 30]).send(worker('bob'))
    expect(await values(x.gather([2, 0]))).toEqual([30, 10])
  })
})
