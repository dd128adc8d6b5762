/**
 * Models that are kept on their worker: training goes on from them bit for bit, whoever did not save them gets nothing of
 * them, and what is damaged, of another model or too much is refused and changes nothing.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import {
  type Checkpoint,
  type CheckpointStore,
  type Code,
  MemoryCheckpoints,
  type Optimizer,
  optim,
  type PointerTensor,
  type RemoteModel,
  SocketWorker,
  scope,
  send,
  serveWorker,
  tf,
  VirtualWorker,
  type VirtualWorkerOptions,
  type Worker,
} from 'sotto'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import {
  type CheckpointKey,
  type Kept,
  type KeptModel,
  readCheckpoint,
  writeCheckpoint,
} from '../../src/worker/checkpoint-file.ts'
import { Checkpoints } from '../../src/worker/checkpoints.ts'
import { payloadBytes } from '../../src/worker/codec.ts'
import { defaultLimits } from '../../src/worker/host.ts'
import type { Frame } from '../../src/worker/protocol.ts'
import { readyForTest, settled, testBackend } from '../backend.ts'
import { codeOf } from '../conformance/workers.ts'
import { WorkerProcess } from './worker-process.ts'

beforeAll(readyForTest)

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})
const folder = mkdtempSync(join(tmpdir(), 'sotto-checkpoints-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
let folders = 0
/** A folder that is not there yet. */
const newFolder = () => join(folder, `${++folders}`, 'of', 'checkpoints')

const worker = (options: VirtualWorkerOptions = {}, id = 'bob'): VirtualWorker => {
  const made = new VirtualWorker(id, options)
  closing.push(() => made.close())
  return made
}

/** A net with statistics. Its layers have names: those that tfjs makes up are others for the next net. */
const net = ({ units = 4, name = 'near', statistics = 'between' } = {}) =>
  tf.sequential({
    layers: [
      tf.layers.dense({
        units,
        inputShape: [3],
        activation: 'tanh',
        kernelInitializer: tf.initializers.glorotUniform({ seed: 1 }),
        name,
      }),
      tf.layers.batchNormalization({ momentum: 0.9, name: statistics }),
      tf.layers.dense({ units: 1, kernelInitializer: tf.initializers.glorotUniform({ seed: 2 }), name: 'far' }),
    ],
  })
const X = [
  [1, 1, 1],
  [0, 1, 1],
  [1, 0, 0],
  [0, 0.5, 0],
]
const Y = [[1], [1], [0], [0.25]]

/** A model on a worker with an optimizer and data, and what training it gives. */
class Training {
  readonly model: RemoteModel
  readonly optimizer: Optimizer
  readonly x: PointerTensor
  readonly y: PointerTensor

  constructor(at: Worker, make: (parameters: PointerTensor[]) => Optimizer = momentum, options = {}, local = net()) {
    this.model = send(local, at, options)
    this.optimizer = make(this.model.parameters())
    this.x = send(tf.tensor(X), at)
    this.y = send(tf.tensor(Y), at)
    local.dispose()
  }

  /** One step; its loss. */
  step(): PointerTensor {
    const { model, optimizer, x, y } = this
    return scope(() => {
      const loss = model.apply(x).sub(y).square().mean()
      loss.backward()
      optimizer.step()
      optimizer.zeroGrad()
      return loss
    })
  }

  /** Losses of some steps, and then every weight, statistics too: numbers that are equal if their bits are. */
  async run(steps: number): Promise<number[][]> {
    const losses: number[] = []
    for (let i = 0; i < steps; i++) losses.push(...(await values(this.step().get())))
    return [losses, ...(await this.weights())]
  }
  weights(): Promise<number[][]> {
    return Promise.all(this.model.weights().map((weight) => values(weight.fetch())))
  }
}
const values = async (tensor: Promise<tf.Tensor>): Promise<number[]> => {
  const t = await tensor
  const array = [...t.dataSync()]
  t.dispose()
  return array
}
const momentum = (p: PointerTensor[]) => optim.sgd(p, { learningRate: 0.1, momentum: 0.9 })

const optimizers: Record<string, (p: PointerTensor[]) => Optimizer> = {
  sgd: (p) => optim.sgd(p, { learningRate: 0.1 }),
  'sgd with momentum': momentum,
  'sgd with nesterov': (p) => optim.sgd(p, { learningRate: 0.1, momentum: 0.9, nesterov: true }),
  adam: (p) => optim.adam(p, { learningRate: 0.05 }),
  adamax: (p) => optim.adamax(p, { learningRate: 0.05, decay: 0.01 }),
  adagrad: (p) => optim.adagrad(p, { learningRate: 0.1 }),
  rmsprop: (p) => optim.rmsprop(p, { learningRate: 0.02 }),
  'rmsprop, centred, with momentum': (p) =>
    optim.rmsprop(p, { learningRate: 0.02, decay: 0.8, momentum: 0.5, centered: true }),
  adadelta: (p) => optim.adadelta(p, { learningRate: 1 }),
}

describe('a model that is restored', () => {
  it.each(Object.entries(optimizers))('trains on with %s as from when it was saved, bit for bit', async (_, make) => {
    const training = new Training(worker(), make)
    await training.run(3)
    await training.model.save('three')
    const first = await training.run(4)
    await training.model.restore('three')
    expect(await training.run(4)).toEqual(first)
    // Into a model that has never been trained, too, where nothing is kept for its parameters yet.
    const fresh = new Training(training.model.location as Worker, make)
    await fresh.model.restore('three')
    expect(await fresh.run(4)).toEqual(first)
    // And training had an effect, or all of this says nothing.
    expect(await fresh.run(4)).not.toEqual(first)
  })

  it('is saved as it was when that was said, and restored for what is said after it, with no wait for either', async () => {
    const training = new Training(worker({ latency: 2, codec: true }), optimizers['adam'])
    training.step().dispose()
    const saved = training.model.save('one')
    const first = [training.step(), training.step()]
    const restored = training.model.restore('one')
    const second = [training.step(), training.step()]
    const losses = (list: PointerTensor[]) => Promise.all(list.map((loss) => values(loss.get())))
    const before = await losses(first)
    expect(await losses(second)).toEqual(before)
    expect(await restored).toEqual(await saved)
    expect(before[0]).not.toEqual(before[1])
  })

  it('has the settings of its optimizers back, at the worker and in the handle, but for those changed since', async () => {
    const training = new Training(worker({ latency: 1 }))
    const { model, optimizer } = training
    optimizer.learningRate = 0.05
    await training.run(1)
    await model.save('slow')
    const first = await training.run(3)
    optimizer.configure({ learningRate: 0.5, momentum: 0.1 })
    await training.run(1)
    await model.restore('slow')
    expect(optimizer.config).toEqual({ learningRate: 0.05, momentum: 0.9, nesterov: false })
    expect(await training.run(3)).toEqual(first)
    optimizer.configure({ momentum: 0.1 })
    const restored = model.restore('slow')
    optimizer.learningRate = 0.2
    const faster = training.run(3)
    await restored
    expect(optimizer.config).toEqual({ learningRate: 0.2, momentum: 0.9, nesterov: false })
    const again = await faster
    expect(again).not.toEqual(first)
    await model.restore('slow')
    optimizer.learningRate = 0.2
    expect(await training.run(3)).toEqual(again)
  })

  it('takes all of its optimizers along, in their order', async () => {
    const both = (p: PointerTensor[]) => {
      optim.adam(p.slice(0, 2))
      return optim.sgd(p.slice(2), { learningRate: 0.1, momentum: 0.5 })
    }
    const training = new Training(worker(), both)
    const { optimizers: kept } = await training.model.save('both')
    expect(kept.map(({ kind }) => kind)).toEqual(['adam', 'sgd'])
    expect(await training.model.restore('both')).toMatchObject({ optimizers: kept })
  })

  it('drops the gradients that wait, here and there', async () => {
    const training = new Training(worker())
    const { model, optimizer } = training
    await model.save('a')
    const expected = await training.run(1)
    scope(() => model.apply(training.x).sum().backward())
    const [parameter] = model.parameters()
    expect(await codeOf(() => model.restore('no-such'))).toBe('ERR_UNKNOWN_CHECKPOINT')
    expect(parameter!.grad).not.toBeNull()
    expect(await values(parameter!.grad!.fetch())).toHaveLength(12)
    await model.restore('a')
    expect(parameter!.grad).toBeNull()
    optimizer.step()
    await model.restore('a')
    expect(await training.run(1)).toEqual(expected)
  })

  it('is told of without values: what was kept, when, and how much of it', async () => {
    const before = Date.now()
    const training = new Training(worker(), optimizers['adam'])
    await training.run(2)
    const saved = await training.model.save('two')
    expect(saved).toEqual({
      worker: 'bob',
      name: 'two',
      bytes: expect.any(Number),
      sha256: expect.stringMatching(/^[0-9a-f]{64}$/),
      savedAt: expect.any(Number),
      weights: [
        { name: 'near/kernel', shape: [3, 4] },
        { name: 'near/bias', shape: [4] },
        { name: 'between/gamma', shape: [4] },
        { name: 'between/beta', shape: [4] },
        { name: 'between/moving_mean', shape: [4] },
        { name: 'between/moving_variance', shape: [4] },
        { name: 'far/kernel', shape: [4, 1] },
        { name: 'far/bias', shape: [1] },
      ].map((weight) => ({ ...weight, dtype: 'float32' as const, trainable: !weight.name.includes('moving') })),
      optimizers: [{ kind: 'adam', config: { learningRate: 0.05, beta1: 0.9, beta2: 0.999, epsilon: 1e-7 }, step: 2 }],
    } satisfies Checkpoint)
    expect(saved.savedAt).toBeGreaterThanOrEqual(before)
    // 37 weights, 29 of them with two numbers beside them, in 4 bytes each; then names and the topology.
    expect(saved.bytes).toBeGreaterThan(4 * (37 + 2 * 29))
  })

  it('is listed with the others of its identity, the oldest first, until it is removed', async () => {
    const bob = worker()
    const { model } = new Training(bob)
    const infos = []
    for (const name of ['b', 'a', 'c']) {
      const { worker: _, weights, optimizers, ...info } = await model.save(name)
      infos.push(info)
      while (Date.now() === info.savedAt) await new Promise((resolve) => setTimeout(resolve, 1))
    }
    expect(await bob.checkpoints()).toEqual(infos)
    await bob.removeCheckpoint('a')
    expect((await bob.checkpoints()).map(({ name }) => name)).toEqual(['b', 'c'])
    expect(await codeOf(() => model.restore('a'))).toBe('ERR_UNKNOWN_CHECKPOINT')
    expect(await codeOf(() => bob.removeCheckpoint('a'))).toBe('ERR_UNKNOWN_CHECKPOINT')
  })

  it('is replaced by the next of its name, and outlives its session', async () => {
    const bob = worker()
    const ana = bob.as('ana')
    const training = new Training(ana)
    await training.model.save('last')
    await training.run(2)
    const { sha256 } = await training.model.save('last')
    const first = await training.run(2)
    await ana.close()
    const again = new Training(bob.as('ana'))
    expect((await bob.as('ana').checkpoints()).map((info) => info.sha256)).toEqual([sha256])
    await again.model.restore('last')
    expect(await again.run(2)).toEqual(first)
  })

  it('leaves nothing behind: tensors and objects stay as many as they were', async () => {
    const bob = worker()
    const training = new Training(bob, optimizers['adam'])
    await training.run(1)
    await training.model.save('a')
    await settled()
    const counts = async () => [tf.memory().numTensors, tf.memory().numDataBuffers, await bob.objectCount()]
    const before = await counts()
    for (let i = 0; i < 20; i++) {
      await training.model.save(`${i % 3}`)
      await training.model.restore('a')
      await training.run(1)
    }
    expect(await codeOf(() => training.model.restore('none'))).toBe('ERR_UNKNOWN_CHECKPOINT')
    expect(await counts()).toEqual(before)
  })

  it('must have come to this: what failed before and was not heard of is said in place of a save', async () => {
    const bob = worker()
    const { model } = new Training(bob)
    bob.tell('step', { id: 'nothing' })
    expect(await codeOf(() => model.save('a'))).toBe('ERR_NOT_FOUND')
    expect(await bob.checkpoints()).toEqual([])
    await model.save('a')
    await model.get()
    expect(await codeOf(() => model.save('b'))).toBe('ERR_CONSUMED')
    expect(await codeOf(() => model.restore('a'))).toBe('ERR_CONSUMED')
  })
})

describe('a checkpoint of layers without names', () => {
  const unnamed = (units: number) =>
    tf.sequential({
      layers: [
        tf.layers.dense({ units, inputShape: [3] }),
        tf.layers.batchNormalization(),
        tf.layers.dense({ units: 1 }),
      ],
    })

  it('is restored into the same net, built again; and not into one with other layers', async () => {
    const bob = worker()
    const first = send(unnamed(2), bob)
    await first.save('unnamed')
    const again = unnamed(2)
    expect(again.layers[0]!.name).not.toBe(first.skeleton.layers[0]!.name)
    const other = send(again, bob)
    await other.restore('unnamed')
    const weights = (model: RemoteModel) =>
      Promise.all(model.weights().map(async (weight) => [...(await weight.fetch()).dataSync()]))
    expect(await weights(other)).toEqual(await weights(first))
    const named = tf.sequential({
      layers: [
        tf.layers.dense({ units: 2, inputShape: [3], name: 'near1' }),
        tf.layers.batchNormalization(),
        tf.layers.dense({ units: 1 }),
      ],
    })
    expect(await codeOf(() => send(named, bob).restore('unnamed'))).toBe('ERR_CHECKPOINT_MISMATCH')
  })
})

describe('a checkpoint that does not fit', () => {
  it.each<[string, (bob: Worker) => Training, RegExp]>([
    ['other shapes', (bob) => new Training(bob, momentum, {}, net({ units: 5 })), /"near\/kernel" is float32 \[3,5\]/],
    [
      'other names',
      (bob) => new Training(bob, momentum, {}, net({ name: 'other' })),
      /is "other\/kernel" in the model/,
    ],
    [
      'fewer weights',
      (bob) => {
        const layers = [tf.layers.dense({ units: 1, inputShape: [3], kernelInitializer: 'ones', name: 'near' })]
        return new Training(bob, momentum, {}, tf.sequential({ layers }))
      },
      /the checkpoint has 8 weights, the model 2/,
    ],
    ['another kind of optimizer', (bob) => new Training(bob, optimizers['adam']), /of the model are adam, .* sgd/],
    [
      'an optimizer more',
      (bob) => {
        const training = new Training(bob)
        optim.adam(training.model.parameters())
        return training
      },
      /of the model are sgd, adam, those of the checkpoint sgd/,
    ],
    [
      'an optimizer over other weights',
      (bob) => new Training(bob, (p) => momentum(p.slice(1))),
      /optimizer 0, sgd, is over other weights/,
    ],
  ])('is refused by a model with %s, which stays as it was', async (_, make, message) => {
    const bob = worker()
    const trained = new Training(bob)
    await trained.run(2)
    await trained.model.save('a')
    const [other, twin] = [make(bob), make(bob)]
    const begun = await other.run(2)
    expect(await twin.run(2)).toEqual(begun)
    const error = await other.model.restore('a').catch((thrown) => thrown)
    expect([error.code, error.message]).toEqual(['ERR_CHECKPOINT_MISMATCH', expect.stringMatching(message)])
    expect(await other.run(2)).toEqual(await twin.run(2))
  })

  it('is refused at the caller when its name is none', async () => {
    const bob = worker()
    const { model } = new Training(bob)
    for (const name of ['', '../a', 'a/b', 'a b', 'ä', 'a\0', 'x'.repeat(65)]) {
      for (const action of [() => model.save(name), () => model.restore(name), () => bob.removeCheckpoint(name)]) {
        expect([name, await codeOf(action)]).toEqual([name, 'ERR_ARGUMENT_VALUE'])
      }
      // A caller of another make may say it all the same.
      expect(await codeOf(() => bob.ask('saveModel', { id: model.id, name, optimizers: [] }))).toBe('ERR_PROTOCOL')
    }
    expect(await codeOf(() => model.save(7 as never))).toBe('ERR_ARGUMENT_TYPE')
  })
})

describe('whoever did not save a checkpoint', () => {
  it('has none of that name, and can neither list nor remove it', async () => {
    const bob = worker()
    const mallory = bob.as('mallory')
    const training = new Training(bob)
    await training.run(1)
    await training.model.save('a')
    const expected = await training.run(1)
    const other = new Training(mallory)
    expect(await codeOf(() => other.model.restore('a'))).toBe('ERR_UNKNOWN_CHECKPOINT')
    expect(await codeOf(() => mallory.removeCheckpoint('a'))).toBe('ERR_UNKNOWN_CHECKPOINT')
    expect(await mallory.checkpoints()).toEqual([])
    await other.model.save('a')
    await mallory.removeCheckpoint('a')
    await training.model.restore('a')
    expect(await training.run(1)).toEqual(expected)
  })

  it('cannot save or restore the model of somebody else, though it may use it, and the ledger says so', async () => {
    const bob = worker()
    const mallory = bob.as('mallory')
    const training = new Training(bob, momentum, { tags: ['#net'] })
    await new Training(mallory).model.save('a')
    const before = await training.weights()
    for (const verb of ['saveModel', 'restoreModel'] as const) {
      const body = { id: training.model.id, name: 'a', optimizers: [] }
      expect(await codeOf(() => mallory.ask(verb, body))).toBe('ERR_PERMISSION')
    }
    expect(await training.weights()).toEqual(before)
    const refused = (await bob.ledger()).filter(({ event }) => event === 'refused')
    expect(refused.map(({ operation, to, bytes }) => ({ operation, to, bytes }))).toEqual([
      { operation: 'save model', to: 'mallory', bytes: 0 },
      { operation: 'restore model', to: 'mallory', bytes: 0 },
    ])
  })

  it('sees nothing of private weights that were restored into a public model', async () => {
    const bob = worker({ identity: 'owner' })
    const mallory = bob.as('mallory')
    const secret = new Training(bob, momentum, { private: true, allow: ['dave'], tags: ['#secret'] })
    await secret.run(1)
    await secret.model.save('secret')
    const open = new Training(bob, momentum, { tags: ['#open'] })
    const fetchAs = (who: Worker) => who.ask('getModel', { id: open.model.id, keep: true, optimizers: [] })
    await bob.flush()
    expect((await fetchAs(mallory)).weights).toHaveLength(8)
    await open.model.restore('secret')
    expect(await codeOf(() => fetchAs(mallory))).toBe('ERR_PERMISSION')
    expect(await codeOf(() => mallory.ask('get', { id: `${open.model.id}#0`, keep: true }))).toBe('ERR_PERMISSION')
    expect((await fetchAs(bob.as('dave'))).weights).toHaveLength(8)
    expect(await open.weights()).toEqual(await secret.weights())
    // And the other way round: what was private stays so.
    const plain = new Training(bob)
    await plain.model.save('plain')
    await open.model.restore('plain')
    expect(await codeOf(() => fetchAs(mallory))).toBe('ERR_PERMISSION')
  })

  it('is, for what a model has learnt of private data, whoever trained it too: also when another run restores it', async () => {
    const store = new MemoryCheckpoints()
    for (const run of ['first', 'second']) {
      const bob = worker({ checkpoints: store })
      const olga = bob.as('olga')
      send(tf.tensor(X), olga, { private: true, tags: ['#rows'] })
      await olga.flush()
      const training = new Training(bob)
      if (run === 'first') {
        const [rows] = await bob.search(['#rows'])
        training.model.apply(rows!).dispose()
        expect(await codeOf(() => training.model.fetch())).toBe('ERR_PERMISSION')
        await training.model.save('tainted')
      } else {
        expect((await training.model.fetch()).weights).toHaveLength(8)
        await training.model.restore('tainted')
        expect(await codeOf(() => training.model.fetch())).toBe('ERR_PERMISSION')
      }
      // The weights that had nothing to do with it are as public as before.
      expect(await values(training.model.weights()[0]!.fetch())).toHaveLength(12)
      expect(await codeOf(() => training.model.weights()[4]!.fetch())).toBe('ERR_PERMISSION')
      await bob.close()
    }
  })

  it('hears no byte of weights, as little as who saved it; the ledger has nothing to tell', async () => {
    const heard: Frame[] = []
    const bob = worker({
      fault: (frame) => {
        heard.push(frame)
        return undefined
      },
    })
    const { model } = new Training(bob, optimizers['adam'])
    await bob.flush()
    const before = await bob.ledger()
    heard.length = 0
    const [first, second] = [await model.save('a'), await model.save('b')]
    await model.restore('a')
    await bob.checkpoints()
    await bob.removeCheckpoint('b')
    expect(heard.length).toBeGreaterThan(8)
    expect(payloadBytes(heard)).toBe(0)
    expect(await bob.ledger()).toEqual(before)
    // The checksum would tell who guesses the weights that the guess is right.
    expect(first.sha256).not.toBe(second.sha256)
  })
})

describe('limits', () => {
  it('hold an identity to so many checkpoints, and the worker to so many of all', async () => {
    const bob = worker({ limits: { identityCheckpoints: 2, checkpoints: 3 } })
    const { model } = new Training(bob)
    for (const name of ['a', 'b', 'b', 'a']) await model.save(name)
    const refusal = await model.save('c').catch((error) => error)
    expect([refusal.code, refusal.message]).toEqual(['ERR_LIMIT', expect.stringMatching(/^save: me has 2 other/)])
    const other = new Training(bob.as('ana'))
    await other.model.save('a')
    await other.model.save('a')
    expect(await codeOf(() => other.model.save('b'))).toBe('ERR_LIMIT')
    await bob.removeCheckpoint('a')
    await other.model.save('b')
    expect(await codeOf(() => model.save('a'))).toBe('ERR_LIMIT')
    expect((await bob.checkpoints()).map(({ name }) => name)).toEqual(['b'])
  })

  it('hold the bytes of an identity, and of all; what was kept before stays', async () => {
    const { bytes } = await new Training(worker({}, 'ann')).model.save('a')
    // A second one takes as many, or a few less or more: numbers take more bytes the larger they are.
    const bob = worker({ limits: { identityCheckpointBytes: 1.5 * bytes, checkpointBytes: 2.5 * bytes } })
    const training = new Training(bob)
    await training.model.save('a')
    const kept = await bob.checkpoints()
    expect(await codeOf(() => training.model.save('b'))).toBe('ERR_LIMIT')
    expect(await bob.checkpoints()).toEqual(kept)
    await training.model.save('a')
    await new Training(bob.as('ana')).model.save('a')
    expect(await codeOf(() => new Training(bob.as('eva')).model.save('a'))).toBe('ERR_LIMIT')
    const large = new Training(bob, momentum, {}, net({ units: 50 }))
    expect(await codeOf(() => large.model.save('a'))).toBe('ERR_LIMIT')
    await training.model.restore('a')
  })

  it('hold when many save at once', async () => {
    // In one session they do not; here is what several have in common.
    const checkpoints = new Checkpoints('bob', { ...defaultLimits, identityCheckpoints: 3 })
    const kept = { model: { type: 'sequential', topology: '{}', weights: [], optimizers: [] }, access: [] } as const
    const saved = await Promise.allSettled(['1', '2', '3', '4', '5'].map((name) => checkpoints.save('me', name, kept)))
    expect(saved.map(({ status }) => status).sort()).toEqual([
      ...Array(3).fill('fulfilled'),
      ...Array(2).fill('rejected'),
    ])
    expect(await checkpoints.list('me')).toHaveLength(3)
  })
})

describe('checkpoints in a folder', () => {
  const fileOf = (path: string, { worker: id = 'bob', identity = 'me', name = 'a' } = {}) =>
    join(path, id, identity, `${name}.checkpoint`)

  it('are there for the next run of a worker of that name, and for no other', async () => {
    const checkpoints = newFolder()
    const bob = worker({ checkpoints })
    const training = new Training(bob, optimizers['adam'])
    await training.run(2)
    const saved = await training.model.save('a')
    const expected = await training.run(3)
    await bob.close()
    expect(existsSync(fileOf(checkpoints))).toBe(true)

    const ann = worker({ checkpoints }, 'ann')
    expect(await ann.checkpoints()).toEqual([])
    const again = worker({ checkpoints })
    expect(await again.checkpoints()).toMatchObject([{ name: 'a', sha256: saved.sha256, savedAt: saved.savedAt }])
    const resumed = new Training(again, optimizers['adam'])
    expect(await resumed.model.restore('a')).toEqual(saved)
    expect(await resumed.run(3)).toEqual(expected)
  })

  /** Trains, saves and trains on, or goes on from what was saved; gives what the training afterwards gave. */
  const trainedFrom = async (begin: 'anew' | 'saved', at: Worker): Promise<number[][]> => {
    const training = new Training(at, optimizers['adam'])
    if (begin === 'anew') await training.run(2)
    await training.model[begin === 'anew' ? 'save' : 'restore']('a')
    return training.run(2)
  }

  // Which backend it is trained on makes no difference to where it is kept.
  it.runIf(testBackend === 'wasm')('are there for a worker in a thread', async () => {
    const checkpoints = newFolder()
    const bob = worker({ checkpoints })
    const expected = await trainedFrom('anew', bob)
    await bob.close()
    expect(await trainedFrom('saved', worker({ checkpoints, thread: true }))).toEqual(expected)
    const store = { thread: true, checkpoints: new MemoryCheckpoints() }
    expect(await codeOf(() => new VirtualWorker('bob', store))).toBe('ERR_ARGUMENT_VALUE')
  })

  it.runIf(testBackend === 'wasm')('are there when a worker, reached by a socket, was killed right after', async () => {
    const checkpoints = newFolder()
    const process = await new WorkerProcess({ id: 'bob', checkpoints }).start()
    closing.push(() => process.kill())
    const bob = await SocketWorker.connect(process.url, { pin: process.key, grace: 0 })
    const expected = await trainedFrom('anew', bob)
    await process.kill()
    await bob.close()
    const server = await serveWorker({ id: 'bob', port: 0, checkpoints })
    closing.push(() => server.close(0))
    const again = await SocketWorker.connect(server.url)
    closing.push(() => again.close())
    expect(await trainedFrom('saved', again)).toEqual(expected)
  })

  it('are refused when they were cut or changed anywhere, and the model stays as it was', async () => {
    const checkpoints = newFolder()
    const bob = worker({ checkpoints })
    const training = new Training(bob)
    await training.run(1)
    await training.model.save('a')
    const whole = readFileSync(fileOf(checkpoints))
    await training.run(1)
    const before = await training.weights()
    const refused = async (bytes: Uint8Array) => {
      writeFileSync(fileOf(checkpoints), bytes)
      expect(await codeOf(() => training.model.restore('a'))).toBe('ERR_CHECKPOINT')
    }
    for (const length of [0, 15, 59, 60, 61, whole.length / 2, whole.length - 1])
      await refused(whole.subarray(0, length))
    await refused(Buffer.concat([whole, Buffer.alloc(1)]))
    // Every byte of the head, and some of the rest.
    for (let at = 0; at < whole.length; at += at < 64 ? 1 : 97) {
      const changed = Buffer.from(whole)
      changed[at]! ^= 1 << (at % 8)
      await refused(changed)
    }
    expect(await training.weights()).toEqual(before)
    // In a list there is what begins as a checkpoint; and whatever is there can be removed.
    writeFileSync(fileOf(checkpoints), 'rubbish')
    expect(await bob.checkpoints()).toEqual([])
    await bob.removeCheckpoint('a')
    writeFileSync(fileOf(checkpoints), whole)
    await training.model.restore('a')
  })

  it('are refused in the place of another name, identity or worker', async () => {
    const checkpoints = newFolder()
    const [bob, ann] = [worker({ checkpoints }), worker({ checkpoints }, 'ann')]
    const places: [Worker, { worker?: string; identity?: string; name?: string }][] = [
      [bob, { name: 'b' }],
      [bob.as('mallory'), { identity: 'mallory' }],
      [ann, { worker: 'ann' }],
    ]
    await new Training(bob, momentum, { private: true }).model.save('a')
    for (const [at, place] of places) {
      const { name = 'a' } = place
      const { model } = new Training(at)
      await model.save(name)
      await model.restore(name)
      writeFileSync(fileOf(checkpoints, place), readFileSync(fileOf(checkpoints)))
      const error = await model.restore(name).catch((thrown) => thrown)
      expect([error.code, error.message]).toEqual(['ERR_CHECKPOINT', expect.stringContaining('by somebody else')])
    }
  })

  it('do not stop a worker from saying what is wrong with its folder, without the path', async () => {
    writeFileSync(join(folder, 'file'), '')
    const checkpoints = join(folder, 'file', 'in')
    expect(await codeOf(() => serveWorker({ id: 'bob', port: 0, checkpoints }))).toBe('ERR_ARGUMENT_VALUE')
    const { model } = new Training(worker({ checkpoints }))
    const error = await model.save('a').catch((thrown) => thrown)
    expect([error.code, error.message]).toEqual(['ERR_OPERATION_FAILED', expect.stringContaining('(ENOTDIR)')])
    expect(error.message).not.toContain(folder)
  })
})

describe('a store of one’s own', () => {
  it('may keep what it likes as it likes', async () => {
    const kept = new Map<string, Buffer>()
    const at = ({ worker: id, identity, name }: CheckpointKey) => `${id} ${identity} ${name}`
    const store: CheckpointStore = {
      write: async (key, bytes) => void kept.set(at(key), Buffer.from(bytes)),
      // Part of a larger piece of memory, and a Buffer: not what checkpoints are made of here.
      read: async (key, most) => {
        const found = kept.get(at(key))
        return found === undefined ? null : Buffer.concat([Buffer.alloc(3), found]).subarray(3, 3 + most)
      },
      list: async ({ identity }) =>
        [...kept].flatMap(([key, { length: bytes }]) =>
          key.split(' ')[1] === identity ? [{ name: key.split(' ')[2]!, bytes }] : [],
        ),
      usage: async () => ({ count: kept.size, bytes: 0 }),
      remove: async (key) => kept.delete(at(key)),
    }
    const bob = worker({ checkpoints: store })
    const training = new Training(bob)
    await training.run(1)
    await training.model.save('a')
    const expected = await training.run(2)
    await training.model.restore('a')
    expect(await training.run(2)).toEqual(expected)
    expect((await bob.checkpoints()).map(({ name }) => name)).toEqual(['a'])
    await bob.removeCheckpoint('a')
    expect(kept.size).toBe(0)
  })

  it('may fail, of which its caller hears, and the next one works', async () => {
    const store = new MemoryCheckpoints()
    let isBroken = true
    const { write } = store
    store.write = (...args) => (isBroken ? Promise.reject(new Error('disk 31415')) : write.apply(store, args))
    const { model } = new Training(worker({ checkpoints: store }))
    const error = await model.save('a').catch((thrown) => thrown)
    expect(error.code).toBe('ERR_OPERATION_FAILED')
    expect(error.message).not.toContain('31415')
    isBroken = false
    await model.save('a')
  })

  it('is refused when it is none', async () => {
    for (const checkpoints of ['', 7, {}, null, { write() {} }]) {
      const options = { checkpoints } as never
      expect(await codeOf(() => new VirtualWorker('bob', options))).toBe('ERR_ARGUMENT_TYPE')
      expect(await codeOf(() => serveWorker({ id: 'bob', port: 0, ...(options as object) }))).toBe('ERR_ARGUMENT_TYPE')
    }
  })
})

describe('the bytes of a checkpoint', () => {
  const key = { worker: 'bob', identity: 'me', name: 'a' }
  const value = { shape: [2], dtype: 'float32', data: new Uint8Array(8) } as const
  const kept: Kept = {
    model: {
      type: 'sequential',
      topology: '{}',
      weights: [{ name: 'kernel', value, trainable: true }],
      optimizers: [],
    },
    access: [[{ owner: 'me', allow: ['ana'], allowResults: [] }]],
  }
  const expectNone = (bytes: Uint8Array): Promise<void> =>
    expect(readCheckpoint(bytes, key)).rejects.toMatchObject({ code: 'ERR_CHECKPOINT' satisfies Code })

  it('give what was written, and when', async () => {
    const { bytes, ...head } = await writeCheckpoint(key, kept)
    expect(await readCheckpoint(bytes, key)).toEqual({ ...kept, ...head })
  })

  it('begin as the page of the format says', async () => {
    const { bytes, sha256, savedAt } = await writeCheckpoint(key, kept)
    const view = new DataView(bytes.buffer)
    expect(new TextDecoder().decode(bytes.subarray(0, 16))).toBe('sotto checkpoint')
    expect(view.getUint32(16, true)).toBe(1)
    const digest = await crypto.subtle.digest('SHA-256', bytes.slice(52))
    expect(Buffer.from(digest).toString('hex')).toBe(sha256)
    expect(Buffer.from(bytes.subarray(20, 52)).toString('hex')).toBe(sha256)
    expect(view.getBigUint64(52, true)).toBe(BigInt(savedAt))
  })

  it('are checked as if a stranger had written them, with a checksum that is right', async () => {
    const { model } = kept
    const [weight] = model.weights
    for (const wrong of [
      { ...kept, access: [] },
      { ...kept, access: [[{ owner: '', allow: [], allowResults: [] }]] },
      { ...kept, model: { ...model, type: 'other' } },
      { ...kept, model: { ...model, more: 1 } },
      { ...kept, model: { ...model, weights: [{ ...weight, value: { ...value, shape: [3] } }] } },
      { ...kept, model: { ...model, optimizers: [{ kind: 'none' }] } },
    ]) {
      await expectNone((await writeCheckpoint(key, wrong as never)).bytes)
    }
  })

  it('are never taken for a checkpoint when they are none', async () => {
    const { bytes } = await writeCheckpoint(key, kept)
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), fc.nat(bytes.length - 1), async (noise, at) => {
        await expectNone(noise)
        await expectNone(Uint8Array.of(...bytes.subarray(0, at), ...noise.subarray(0, 50)))
      }),
      { numRuns: 100 },
    )
  })

  it('do not restore an optimizer whose state does not fit its parameters', async () => {
    const store = new MemoryCheckpoints()
    const training = new Training(worker({ checkpoints: store }))
    await training.run(1)
    await training.model.save('a')
    const { model, access } = (await readCheckpoint((await store.read(key, 1e6))!, key)) as KeptModel
    const [state] = model.optimizers
    const before = await training.weights()
    const tensors = tf.memory().numTensors
    for (const wrong of [
      { ...state!, slots: state!.slots.map((slot) => ({ ...slot, name: 'first' })) },
      { ...state!, slots: [{ ...state!.slots[0]!, value }] },
      { ...state!, config: { learningRate: 0.1, momentum: 0.9, nesterov: 1 } },
    ]) {
      const { bytes } = await writeCheckpoint(key, { model: { ...model, optimizers: [wrong] }, access })
      await store.write(key, bytes)
      expect(await codeOf(() => training.model.restore('a'))).toBe('ERR_CHECKPOINT')
    }
    expect(await training.weights()).toEqual(before)
    expect(tf.memory().numTensors).toBe(tensors)
  })
})
