/** Weights that take over the values of tensors: those values, with their privacy, and nothing else. */
import { optim, type PointerTensor, type RemoteModel, send, tf, VirtualWorker } from 'sotto'
import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import { readyForTest } from '../backend.ts'
import { codeOf } from '../conformance/workers.ts'

beforeAll(readyForTest)
const open: VirtualWorker[] = []
const worker = (id: string): VirtualWorker => {
  open.push(new VirtualWorker(id))
  return open.at(-1)!
}
afterEach(async () => {
  await Promise.all(open.splice(0).map((each) => each.close()))
})

const net = () =>
  tf.sequential({ layers: [tf.layers.dense({ units: 1, inputShape: [2] }), tf.layers.batchNormalization()] })
const numbers = async (pointer: PointerTensor): Promise<number[]> => [...(await pointer.fetch()).dataSync()]
const weightsOf = (model: RemoteModel) => Promise.all(model.weights().map(numbers))
/** Values for the six weights of the net. */
const values = (to: VirtualWorker, options = {}) =>
  [[1, 2], [3], [4], [5], [6], [7]].map((list, i) =>
    send(i === 0 ? tf.tensor2d(list, [2, 1]) : tf.tensor1d(list), to, options),
  )

describe('weights that are assigned', () => {
  it('are the values, those of another model too; the optimizer keeps its state and the gradients are gone', async () => {
    const bob = worker('bob')
    const [model, other] = [send(net(), bob), send(net(), bob)]
    const adam = optim.adam(model.parameters())
    const x = send(tf.ones([3, 2]), bob)
    model.apply(x).sum().backward()
    model.assign(values(bob))
    expect(model.parameters()[0]!.grad).toBeNull()
    adam.step()
    expect(await weightsOf(model)).toEqual([[1, 2], [3], [4], [5], [6], [7]])
    other.assign(model.weights())
    expect(await weightsOf(other)).toEqual(await weightsOf(model))
    expect(await numbers(other.eval().apply(x))).toEqual(await numbers(model.eval().apply(x)))
    // Apart from then on.
    model.assign(model.weights().map((weight) => weight.mul(2)))
    expect((await weightsOf(other))[0]).toEqual([1, 2])
  })

  it('are as private as the values, no less and no more', async () => {
    const bob = worker('bob')
    const model = send(net(), bob)
    const own = bob.as('owner')
    values(own, { private: true, tags: ['#secret'] })
    const found = await bob.search(['#secret'])
    model.assign(found)
    expect(await codeOf(() => model.weights()[0]!.fetch())).toBe('ERR_PERMISSION')
    expect(await codeOf(() => model.fetch())).toBe('ERR_PERMISSION')
    expect(await codeOf(() => model.apply(send(tf.ones([1, 2]), bob)).get())).toBe('ERR_PERMISSION')
    model.assign(values(bob))
    expect((await weightsOf(model))[1]).toEqual([3])
  })

  it('are refused to whom the model does not belong, and when they do not fit; nothing changes', async () => {
    const [bob, alice] = [worker('bob'), worker('alice')]
    const model = send(net(), bob, { tags: ['#net'] })
    const before = await weightsOf(model)
    const mallory = bob.as('mallory')
    mallory.tell('assign', { model: model.id, values: values(mallory).map(({ id }) => id) })
    expect(await codeOf(() => mallory.flush())).toBe('ERR_PERMISSION')
    expect(await codeOf(() => model.assign(values(bob).slice(1)))).toBe('ERR_SHAPE')
    expect(await codeOf(() => model.assign(values(bob).toReversed()))).toBe('ERR_SHAPE')
    expect(await codeOf(() => model.assign(values(alice)))).toBe('ERR_NOT_COLLOCATED')
    expect(await codeOf(() => model.assign([1] as never))).toBe('ERR_ARGUMENT_TYPE')
    bob.tell('assign', {
      model: model.id,
      values: values(bob)
        .map(({ id }) => id)
        .toReversed(),
    })
    expect(await codeOf(() => bob.flush())).toBe('ERR_SHAPE')
    expect(await weightsOf(model)).toEqual(before)
  })
})
