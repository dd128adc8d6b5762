import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { batches, hook, optim, type PointerTensor, type SplitCheckpoint, tf, VirtualWorker, type Worker } from 'sotto'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { readyForTest } from '../backend.ts'
import { codeOf } from '../conformance/workers.ts'
import { digits, forms, orderOf, RATE, split, whole } from './forms.ts'

const ROWS = 320
const layers = [16, 'relu'] as const
/** Where a unit of a ReLU changes its mind on the last bit, two right sums go different ways: these do not. */
const smooth = [16, 'tanh'] as const
let data: { images: tf.Tensor2D; labels: tf.Tensor1D }
beforeAll(async () => {
  await readyForTest()
  hook()
  data = await digits(ROWS)
})
afterAll(() => {
  data.images.dispose()
  data.labels.dispose()
})

const open: VirtualWorker[] = []
const worker = (id: string): VirtualWorker => {
  open.push(new VirtualWorker(id))
  return open.at(-1)!
}
afterEach(async () => {
  await Promise.all(open.splice(0).map((each) => each.close()))
})
const numberIn = async (pointer: PointerTensor): Promise<number> => (await pointer.fetch()).dataSync()[0]!

describe('training over epochs', () => {
  it.each(Object.keys(forms))('meets the same losses as the same net in one process: %s', async (name) => {
    const { net, x, y } = split(forms[name]!, worker, layers, data)
    const losses: number[] = []
    const result = await net.fit(
      { x, y },
      { epochs: 2, seed: 3, onBatch: async ({ loss }) => void losses.push(await numberIn(loss)) },
    )
    const order = [1, 2].flatMap((epoch) => [...batches(ROWS, { batchSize: 64, seed: 3000 + epoch })])
    expect(losses).toEqual(whole(forms[name]!, layers, data, order))
    for (const [i, { epoch, loss }] of result.epochs.entries()) {
      expect(epoch).toBe(i + 1)
      const mean = losses.slice(5 * i, 5 * i + 5).reduce((sum, each) => sum + each / 5, 0)
      // Five losses and their sum are rounded to 24 bits.
      expect(Math.abs(loss! - mean)).toBeLessThan(5 * 2 ** -22)
    }
  })

  it('adds the gradients of micro-batches up to that of their batch, in a chain, a U and side by side', async () => {
    for (const name of ['vanilla', 'U-shaped', 'vertical, the sum of three']) {
      const form = forms[name]!
      const { net, x, y } = split(form, worker, smooth, data, { microBatches: 5 })
      const expected = whole(form, smooth, data, orderOf(ROWS, 5))
      for (const [i, rows] of orderOf(ROWS, 5).entries()) {
        const loss = await numberIn(
          net.trainBatch(
            x.map((part) => part.gather(rows)),
            y.gather(rows),
          ),
        )
        expect(Math.abs(loss - expected[i]!) / expected[i]!, `${name}, step ${i}`).toBeLessThan(1e-5)
      }
    }
  })

  it('trains with several batches in flight on gradients of the weights that each batch met', async () => {
    // PipeDream, played by hand: the first owner's step comes so many batches later, with the gradient of its old weights.
    const IN_FLIGHT = 3
    const { net, x, y } = split(forms['vanilla']!, worker, layers, data)
    const losses: number[] = []
    const onBatch = async ({ loss }: { loss: PointerTensor }) => void losses.push(await numberIn(loss))
    await net.fit({ x, y }, { epochs: 2, inFlight: IN_FLIGHT, rampUp: 0, onBatch })
    const [bottom, top] = forms['vanilla']!.parts(...layers)
    const sgd = tf.train.sgd(RATE)
    const late: tf.NamedTensorMap[] = []
    const expected: number[] = []
    for (const epoch of [1, 2]) {
      for (const rows of batches(ROWS, { batchSize: 64, seed: epoch })) {
        const { value, grads } = tf.variableGrads(() => {
          const chosen = tf.tensor1d(rows, 'int32')
          const logits = top!.apply(bottom!.apply(data.images.gather(chosen))) as tf.Tensor
          const oneHot = tf.oneHot(data.labels.gather(chosen), 10)
          return tf.mul(oneHot, tf.logSoftmax(logits)).sum(1).neg().mean().asScalar()
        })
        expected.push(value.dataSync()[0]!)
        const own = new Set(top!.weights.map((weight) => (weight as unknown as { val: tf.Variable }).val.name))
        const isTop = ([name]: [string, tf.Tensor]) => own.has(name)
        sgd.applyGradients(Object.fromEntries(Object.entries(grads).filter(isTop)))
        late.push(Object.fromEntries(Object.entries(grads).filter((entry) => !isTop(entry))))
        if (late.length === IN_FLIGHT) sgd.applyGradients(late.shift()!)
      }
      // Nothing is under way between epochs.
      for (const gradients of late.splice(0)) sgd.applyGradients(gradients)
    }
    expect(losses).toEqual(expected)
    expect(losses).not.toEqual(whole(forms['vanilla']!, layers, data, orderOf(ROWS, 10)))
  })

  it('waits for nothing at a far end when batches are in flight, and for a round trip when they are not', async () => {
    // Frames to and from alice, in the order in which the caller sends them: what is issued before an answer comes.
    const issued = async (inFlight: number, rampUp = 0): Promise<string> => {
      const { net, x, y, workers } = split(forms['vanilla']!, worker, layers, data)
      const order: string[] = []
      const tell = workers[0]!.tell.bind(workers[0])
      workers[0]!.tell = (verb, body) => {
        if (verb === 'apply' || verb === 'backward') order.push(verb === 'apply' ? 'F' : 'B')
        tell(verb, body)
      }
      await net.fit({ x, y }, { inFlight, rampUp })
      return order.join('')
    }
    expect(await issued(1)).toBe('FBFBFBFBFB')
    expect(await issued(3)).toBe('FFFBFBFBBB')
    // One more in flight after every second batch: each time, what is under way comes home first.
    expect(await issued(3, 2)).toBe('FBFBFFBBFB')
  })

  it('gives the same losses whatever is in flight, when it begins and ends', async () => {
    const { net, x, y } = split(forms['vanilla']!, worker, layers, data)
    // One batch an epoch: nothing is ever between.
    const one = await net.fit({ x, y }, { epochs: 3, batchSize: ROWS, inFlight: 8, rampUp: 0 })
    const again = split(forms['vanilla']!, worker, layers, data)
    const other = await again.net.fit({ x: again.x, y: again.y }, { epochs: 3, batchSize: ROWS })
    expect(one.epochs.map(({ loss }) => loss)).toEqual(other.epochs.map(({ loss }) => loss))
  })

  it('ends between two batches when its signal says so, with what was begun carried out', async () => {
    const { net, x, y, workers } = split(forms['vanilla']!, worker, layers, data)
    const controller = new AbortController()
    let seen = 0
    const training = net.fit(
      { x, y },
      {
        epochs: 2,
        inFlight: 3,
        rampUp: 0,
        signal: controller.signal,
        onBatch: ({ batch }) => {
          seen++
          if (batch === 4) controller.abort()
        },
      },
    )
    await expect(training).rejects.toMatchObject({ code: 'ERR_ABORTED', details: { epoch: 1, batch: 4 } })
    expect(seen).toBe(4)
    const objects = await Promise.all(workers.map((each) => each.objectCount()))
    // Data, model and optimizer at each.
    expect(objects).toEqual([3, 3])
    await net.fit({ x, y })
  })

  it('leaves nothing behind, however it ends', async () => {
    for (const [name, form] of Object.entries(forms)) {
      const { net, x, y, workers } = split(form, worker, layers, data, { microBatches: 2 })
      await net.fit({ x, y }, { inFlight: 2, rampUp: 0 })
      const objects = () => Promise.all(workers.map((each) => each.objectCount()))
      const before = await objects()
      const tensors = tf.memory().numTensors
      await net.fit({ x, y }, { epochs: 2, inFlight: 2, rampUp: 0 })
      await expect(
        net.fit(
          { x, y },
          {
            inFlight: 2,
            rampUp: 0,
            onBatch: ({ batch }) => {
              if (batch === 3) throw new Error('enough')
            },
          },
        ),
      ).rejects.toThrow('enough')
      await net.fit({ x, y })
      expect(await objects(), name).toEqual(before)
      expect(tf.memory().numTensors, name).toBe(tensors)
    }
  })

  it('goes on from a checkpoint as if it had not been broken, at any batch, at the end of an epoch, with state', async () => {
    const adam = (parameters: PointerTensor[]) => optim.adam(parameters, { learningRate: 0.01 })
    for (const name of ['vanilla', 'U-shaped', 'vertical, the largest of two, one of them the labels’ owner’s']) {
      const make = () => split(forms[name]!, worker, layers, data, { microBatches: 2 }, adam)
      const whole = make()
      const options = { epochs: 2, inFlight: 3, rampUp: 0, seed: 5 }
      const saved: SplitCheckpoint[] = []
      const unbroken: number[] = []
      const result = await whole.net.fit(whole, {
        ...options,
        onBatch: async ({ loss }) => void unbroken.push(await numberIn(loss)),
        checkpoint: { name: 'whole', every: 2, onSave: (each) => void saved.push(each) },
      })
      expect(saved.map(({ progress }) => [progress!.epoch, progress!.batch])).toEqual([
        [1, 2],
        [1, 4],
        [2, 0],
        [2, 2],
        [2, 4],
        [3, 0],
      ])
      // Only the last is kept.
      const kept = await Promise.all(whole.workers.map((each) => each.checkpoints()))
      expect(
        kept
          .flat()
          .map(({ name: of }) => of)
          .sort(),
      ).toEqual(
        saved
          .at(-1)!
          .segments.map((each) => each.name)
          .sort(),
      )
      // Broken after the second, the third and the fourth, and gone on with by other nets on the same workers.
      for (const at of [1, 2, 3]) {
        const broken = split(
          forms[name]!,
          (id) => whole.workers.find((each) => each.id === id)!,
          layers,
          data,
          {
            microBatches: 2,
          },
          adam,
        )
        const controller = new AbortController()
        let last: SplitCheckpoint | undefined
        let count = 0
        const onSave = (each: SplitCheckpoint) => {
          last = JSON.parse(JSON.stringify(each)) as SplitCheckpoint
          if (++count === at) controller.abort()
        }
        await expect(
          broken.net.fit(broken, {
            ...options,
            signal: controller.signal,
            checkpoint: { name: 'again', every: 2, onSave },
          }),
        ).rejects.toMatchObject({ code: 'ERR_ABORTED' })
        const again = split(
          forms[name]!,
          (id) => whole.workers.find((each) => each.id === id)!,
          layers,
          data,
          {
            microBatches: 2,
          },
          adam,
        )
        await again.net.load(last!)
        const losses: number[] = []
        const rest = await again.net.fit(again, {
          ...options,
          from: last!.progress!,
          onBatch: async ({ loss }) => void losses.push(await numberIn(loss)),
          checkpoint: { name: 'rest', every: 2 },
        })
        const done = 5 * (last!.progress!.epoch - 1) + last!.progress!.batch
        expect(losses).toEqual(unbroken.slice(done))
        expect(rest.epochs.at(-1)!.loss).toBe(result.epochs.at(-1)!.loss)
      }
    }
  })

  it('sends a half or a quarter of the bytes where it is told to, and goes on from a checkpoint all the same', async () => {
    const bytes = new Map<string, number>()
    for (const compress of [undefined, 'float16', 'int8'] as const) {
      const make = (own: (id: string) => Worker = worker) =>
        split(forms['vanilla']!, own, layers, data, { microBatches: 2, ...(compress ? { compress } : {}) })
      const { net, x, y, workers } = make()
      const saved: SplitCheckpoint[] = []
      const losses: number[] = []
      await net.fit(
        { x, y },
        {
          epochs: 2,
          onBatch: async ({ loss }) => void losses.push(await numberIn(loss)),
          checkpoint: { name: 'run', every: 2, onSave: (each) => void saved.push(each) },
        },
      )
      const { links } = await workers[0]!.stats()
      bytes.set(
        compress ?? 'float32',
        links.filter(({ role }) => role === 'peer').reduce((sum, link) => sum + link.bytesIn + link.bytesOut, 0),
      )
      const again = make((id) => workers.find((each) => each.id === id)!)
      // Broken after the third checkpoint: kept on purpose, where a training keeps only its last.
      const before = make((id) => workers.find((each) => each.id === id)!)
      let third: SplitCheckpoint | undefined
      const controller = new AbortController()
      const training = before.net.fit(before, {
        epochs: 2,
        signal: controller.signal,
        checkpoint: {
          name: 'broken',
          every: 2,
          onSave: (each) => {
            if (each.progress!.epoch !== 2 || each.progress!.batch !== 2) return
            third = each
            controller.abort()
          },
        },
      })
      await expect(training).rejects.toMatchObject({ code: 'ERR_ABORTED' })
      await again.net.load(third!)
      const rest: number[] = []
      await again.net.fit(again, {
        epochs: 2,
        from: third!.progress!,
        onBatch: async ({ loss }) => void rest.push(await numberIn(loss)),
        checkpoint: { name: 'rest', every: 2 },
      })
      expect(rest, compress).toEqual(losses.slice(7))
      net.dispose()
    }
    const plain = bytes.get('float32')!
    // Rows of 16: at 8 bits each has a scale of 4 bytes beside its 16. The links carry little else.
    expect(bytes.get('float16')! / plain).toBeCloseTo(1 / 2, 1)
    expect(bytes.get('int8')! / plain).toBeCloseTo(20 / 64, 1)
    expect(await codeOf(() => split(forms['vanilla']!, worker, layers, data, { compress: 'bzip' as never }))).toBe(
      'ERR_ARGUMENT_VALUE',
    )
  })

  it('says which owner has gone, and goes on from the last checkpoint when it has come back', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'sotto-'))
    const kept = (id: string) => {
      open.push(new VirtualWorker(id, { checkpoints: folder }))
      return open.at(-1)!
    }
    const unbroken: number[] = []
    const whole = split(forms['three hops']!, worker, layers, data)
    await whole.net.fit(whole, { epochs: 2, onBatch: async ({ loss }) => void unbroken.push(await numberIn(loss)) })

    const before = split(forms['three hops']!, kept, layers, data)
    const [alice, bob, carol] = before.workers
    let last: SplitCheckpoint | undefined
    const onSave = (each: SplitCheckpoint) => {
      last = each
    }
    const training = before.net.fit(before, {
      epochs: 2,
      checkpoint: { name: 'run', every: 2, onSave },
      onBatch: ({ epoch, batch }) => (epoch === 1 && batch === 5 ? bob!.close() : undefined),
    })
    await expect(training).rejects.toThrow(/\bbob\b/)
    await expect(training).rejects.toMatchObject({ code: 'ERR_SESSION_CLOSED' })
    expect(last!.progress).toMatchObject({ epoch: 1, batch: 4 })

    // Bob is another now, of the same name; alice and carol are who they were.
    const others = new Map([
      ['alice', alice!.as('me')],
      ['bob', kept('bob')],
      ['carol', carol!.as('me')],
    ])
    const after = split(forms['three hops']!, (id) => others.get(id)!, layers, data)
    await after.net.load(last!)
    const losses: number[] = []
    const onBatch = async ({ loss }: { loss: PointerTensor }) => void losses.push(await numberIn(loss))
    await after.net.fit(after, { epochs: 2, from: last!.progress!, onBatch })
    expect(losses).toEqual(unbroken.slice(4))
    rmSync(folder, { recursive: true })
  })

  it('keeps weights with their owners, and gives them to the caller only where it may see them', async () => {
    const { net, workers } = split(forms['vanilla']!, worker, layers, data)
    const saved = await net.save('now')
    expect(saved.segments.map(({ worker: id, name }) => [id, name])).toEqual([
      ['alice', 'now.0'],
      ['bob', 'now.1'],
    ])
    expect(JSON.stringify(saved)).not.toContain('data')
    const { models } = await net.save('now', { weights: true })
    expect(models.map((model) => model.countParams())).toEqual([784 * 16 + 16, 16 * 10 + 10])
    await net.remove(saved)
    expect(await Promise.all(workers.map((each) => each.checkpoints()))).toEqual([[], []])
    expect(await codeOf(() => net.load(saved))).toBe('ERR_UNKNOWN_CHECKPOINT')

    expect(await codeOf(() => net.load({ ...saved, segments: saved.segments.slice(1) }))).toBe(
      'ERR_CHECKPOINT_MISMATCH',
    )
    expect(await codeOf(() => net.load({ ...saved, segments: saved.segments.toReversed() }))).toBe(
      'ERR_CHECKPOINT_MISMATCH',
    )

    // Images that the caller may compute with and nothing more: what they taught a segment is not for it either.
    const [alice, bob] = workers
    const owner = alice!.as('alice')
    // Whom she means by the names, on both workers.
    owner.addWorkers([bob!.as('alice')])
    data.images.send(owner, { private: true, allowResults: ['alice', 'bob'], tags: ['#own'] })
    const [images] = await alice!.search(['#own'])
    const result = await net.fit({ x: images!, y: data.labels.send(bob!) })
    expect(result.epochs[0]!.loss).toBeNull()
    expect(await codeOf(() => net.save('own', { weights: true }))).toBe('ERR_PERMISSION')
    expect(await Promise.all(workers.map((each) => each.checkpoints()))).toEqual([[], []])
    await net.save('own')
  })

  it('refuses settings that it does not know, and counts that are none', async () => {
    const { net, x, y } = split(forms['vanilla']!, worker, layers, data)
    for (const options of [
      { epoch: 1 },
      { epochs: 0.5 },
      { batchSize: 0 },
      { seed: -1 },
      { seed: 2 ** 41 },
      { inFlight: 0 },
    ]) {
      expect(await codeOf(() => net.fit({ x, y }, options as never))).toBe('ERR_ARGUMENT_VALUE')
    }
    expect(await codeOf(() => net.fit({ x, y: y.slice([0], [10]) }))).toBe('ERR_SHAPE')
    expect(await codeOf(() => net.fit({ x: y, y }))).toBe('ERR_NOT_COLLOCATED')
  })
})
