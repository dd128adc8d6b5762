import { alignedDataset, batches, type Code, hook, SplitNN, tf, type Worker } from 'sotto'
import { beforeAll, describe, expect, it } from 'vitest'
import { readyForTest } from '../backend.ts'
import { codeOf } from '../conformance/workers.ts'
import { dense } from './forms.ts'
import { COLUMNS, half, halves, joined, onWorkers, people, whoseRows, workersOfTests } from './people.ts'

beforeAll(async () => {
  await readyForTest()
  hook()
})

const worker = workersOfTests()
const two = () => [worker('bob'), worker('alice')] as const

/** Fewer base transfers: the curve is enough where the protocol is not what is tested. */
const curve = { protocol: 'curve' } as const
const UNITS = 4
/** A bottom for each owner's columns, and a top. */
const parts = () => [dense(COLUMNS, UNITS, 1, 'tanh'), dense(COLUMNS, UNITS, 2, 'tanh'), dense(2 * UNITS, 1, 3)]
const RATE = 0.3
const course = { epochs: 4, batchSize: 12, seed: 1 } as const

/** The same network on the joined rows, in one process: the losses of its epochs, and how well it does after them. */
function trainedJoined(table: { x: readonly (readonly number[])[]; y: readonly number[] }) {
  const models = parts()
  const [first, second, top] = models as [tf.LayersModel, tf.LayersModel, tf.LayersModel]
  const sgd = tf.train.sgd(RATE)
  const [x, y] = [tf.tensor2d(table.x.map((row) => [...row])), tf.tensor2d(table.y.map((label) => [label]))]
  const lossOf = (rows: Int32Array): tf.Scalar => {
    const batch = tf.gather(x, tf.tensor1d(rows, 'int32'))
    const sides = [first, second].map((model, i) => model.apply(batch.slice([0, i * COLUMNS], [rows.length, COLUMNS])))
    const u = top.apply(tf.concat(sides as tf.Tensor[], 1)) as tf.Tensor
    return tf.losses.sigmoidCrossEntropy(tf.gather(y, tf.tensor1d(rows, 'int32')), u) as tf.Scalar
  }
  const losses: number[] = []
  for (let epoch = 1; epoch <= course.epochs; epoch++) {
    let sum = 0
    for (const rows of batches(table.y.length, { batchSize: course.batchSize, seed: 1000 * course.seed + epoch })) {
      const loss = sgd.minimize(() => lossOf(rows), true)!
      sum += loss.dataSync()[0]! * rows.length
      loss.dispose()
    }
    losses.push(sum / table.y.length)
  }
  const loss = tf.tidy(() => lossOf(Int32Array.from(table.y.keys())).dataSync()[0]!)
  const accuracy = tf.tidy(() => {
    const sides = [first, second].map((model, i) => model.apply(x.slice([0, i * COLUMNS], [x.shape[0], COLUMNS])))
    const said = (top.apply(tf.concat(sides as tf.Tensor[], 1)) as tf.Tensor).greater(0).dataSync()
    return table.y.filter((label, i) => said[i] === label).length / table.y.length
  })
  tf.dispose([x, y])
  for (const model of models) model.dispose()
  sgd.dispose()
  return { losses, loss, accuracy }
}

describe('alignedDataset', () => {
  it('feeds SplitNN, which learns what the same network learns on the joined table', async () => {
    const [bob, alice] = two()
    const all = people(120, 1)
    const { owners, shared } = onWorkers(all, bob, alice)
    const data = await alignedDataset(owners, curve)
    expect(data.size).toBe(shared)
    const rows = whoseRows(all, 0, await data.x[0]!.fetch())
    expect(whoseRows(all, 1, await data.x[1]!.fetch())).toEqual(rows)
    const optimizer = { kind: 'sgd', learningRate: RATE } as const
    const [first, second, top] = parts()
    const net = new SplitNN(
      [
        [
          { model: first!, worker: bob, optimizer },
          { model: second!, worker: alice, optimizer },
        ],
        { model: top!, worker: alice, optimizer },
      ],
      { loss: 'sigmoidCrossEntropy' },
    )
    const labelled = { x: data.x, y: data.y.reshape([shared, 1]) }
    const { epochs } = await net.fit(labelled, course)
    const { loss, accuracy } = await net.evaluate(labelled)
    const plain = trainedJoined(joined(all, rows))
    // The same kernels on the same numbers; what differs is in which order float32 losses are added up.
    epochs.forEach((epoch, i) => {
      expect(Math.abs(epoch.loss! - plain.losses[i]!)).toBeLessThan(1e-6)
    })
    expect(Math.abs(loss - plain.loss)).toBeLessThan(0.002 * plain.loss)
    expect(Math.abs(accuracy! - plain.accuracy)).toBeLessThan(0.002)
    // It has learnt something: guessing has a loss of ln 2.
    expect(loss).toBeLessThan(0.6)
    net.dispose()
    for (const model of [first!, second!, top!]) model.dispose()
  })

  it('takes three owners, of whom one has labels alone', async () => {
    const [bob, alice, jane] = [...two(), worker('jane')] as const
    const all = people(30, 2)
    const { first, second } = halves(all)
    const others = half(all, 0, [12, 25, 15, 3])
    const data = await alignedDataset(
      [
        { ids: first.ids.send(bob), x: first.x.send(bob) },
        { ids: second.ids.send(alice), x: second.x.send(alice) },
        { ids: others.ids.send(jane), y: others.y.send(jane) },
      ],
      curve,
    )
    expect([data.size, data.x.length, data.y.location]).toEqual([2, 2, jane])
    const rows = whoseRows(all, 0, await data.x[0]!.fetch())
    expect([...rows].sort((a, b) => a - b)).toEqual([12, 15])
    expect(whoseRows(all, 1, await data.x[1]!.fetch())).toEqual(rows)
    expect([...(await data.y.fetch()).dataSync()]).toEqual(rows.map((row) => all.y[row]))
  })

  /** Private tables of both owners: what they let whom see, and the sessions of their own. */
  async function privately(rights: { ids?: object; tables?: object } = {}) {
    const [bob, alice] = two()
    bob.addWorkers([alice])
    const owns = [bob.as('bob'), alice.as('alice')] as const
    owns[0].addWorkers([owns[1]])
    const all = people(40, 3)
    const { first, second } = halves(all)
    const sent = [first, second].map(({ ids, x, y }, i) => {
      const [own, other] = [owns[i]!, ['alice', 'bob'][i]!]
      const matches = { private: true, allowMatches: [other, 'me'], ...rights.ids }
      const seen = { private: true, ...rights.tables }
      return [
        ids.send(own, { ...matches, tags: ['#ids'] }),
        x.send(own, { ...seen, tags: ['#x'] }),
        y.send(own, { ...seen, tags: ['#y'] }),
      ]
    })
    await Promise.all(owns.map((own) => own.flush()))
    const found = async (at: Worker, tag: string) => (await at.search([tag]))[0]!
    const owners = await Promise.all(
      [bob, alice].map(async (at) => ({ ids: await found(at, '#ids'), x: await found(at, '#x') })),
    )
    const y = await found(alice, '#y')
    return { bob, alice, owns, all, owners: [owners[0]!, { ...owners[1]!, y }], sent }
  }

  it('keeps what it takes as private as the tables: to the caller, who commands it all, too', async () => {
    const { owners, owns, all } = await privately()
    const data = await alignedDataset(owners, { ...curve, tags: ['#aligned'] })
    for (const pointer of [...data.x, data.y]) {
      expect(await codeOf(() => pointer.fetch())).toBe('ERR_PERMISSION')
      expect(await codeOf(() => pointer.mul(1).fetch())).toBe('ERR_PERMISSION')
    }
    expect(data.reports.map(({ duplicates }) => duplicates)).toEqual([null, null])
    // Owners find what is their own.
    const [mine] = await owns[0].search(['#aligned'])
    expect([mine!.description, whoseRows(all, 0, await mine!.fetch()).length]).toEqual(['features', data.size])
  })

  it('lets those who may see results of a table see results of its rows, and of the ids nothing', async () => {
    const { alice, owners } = await privately({ tables: { allowResults: ['me', 'alice'] } })
    const data = await alignedDataset(owners, curve)
    expect(await codeOf(() => data.x[0]!.fetch())).toBe('ERR_PERMISSION')
    expect((await data.x[0]!.mean().fetch()).shape).toEqual([])
    // As the activations of a split network go to the owner of the labels.
    const moved = data.x[0]!.tanh().move(alice)
    expect((await moved.matMul(data.x[1]!, true).fetch()).shape).toEqual([COLUMNS, COLUMNS])
    expect(await codeOf(() => owners[0]!.ids.mul(1).fetch())).toBe('ERR_PERMISSION')
    expect(await codeOf(() => owners[0]!.ids.mul(1).move(alice).fetch())).toBe('ERR_PERMISSION')
  })

  it('makes what the caller has computed as private as the ids: it might be made to tell the rows', async () => {
    const { bob, owners } = await privately({ tables: { allowResults: ['me'] } })
    const count = owners[0]!.ids.shape[0]!
    const numbers = tf.range(0, count).send(bob)
    for (const telling of [numbers, owners[0]!.x.sum(1).mul(0).add(numbers)]) {
      const data = await alignedDataset([{ ...owners[0]!, x: telling }, owners[1]!], curve)
      expect(await codeOf(() => data.x[0]!.mul(1).fetch())).toBe('ERR_PERMISSION')
      // Those of the other owner are its own, as they were sent.
      expect((await data.x[1]!.mul(1).fetch()).shape).toEqual([data.size, COLUMNS])
    }
  })

  it('refuses tables that are none, before anybody is asked', async () => {
    const [bob, alice] = two()
    const { owners } = onWorkers(people(20, 4), bob, alice)
    const [first, second] = owners as [(typeof owners)[0], (typeof owners)[0]]
    const refusals: [Code, unknown, object?][] = [
      ['ERR_ARGUMENT_TYPE', [first]],
      ['ERR_ARGUMENT_TYPE', [first, { ids: second.ids }]],
      ['ERR_ARGUMENT_VALUE', [first, { ids: second.ids, x: second.x }]],
      ['ERR_ARGUMENT_VALUE', [{ ...first, y: first.x }, second]],
      [
        'ERR_ARGUMENT_VALUE',
        [
          { ids: first.ids, y: first.x },
          { ids: second.ids, y: second.y },
        ],
      ],
      ['ERR_ARGUMENT_VALUE', [{ ...first, data: first.x }, second]],
      ['ERR_NOT_COLLOCATED', [{ ...first, x: second.x }, second]],
      ['ERR_SHAPE', [{ ...first, x: first.x.slice([1, 0], [5, COLUMNS]) }, second]],
      ['ERR_ARGUMENT_VALUE', [first, second], { reveal: 'one' }],
    ]
    const before = await bob.stats()
    for (const [code, given, options] of refusals) {
      expect(await codeOf(() => alignedDataset(given as typeof owners, options)), code).toBe(code)
    }
    expect((await bob.stats()).objects).toBe(before.objects)
  })

  it('keeps nothing but what it takes, and nothing at anybody where one owner refuses', async () => {
    const objects = (at: Worker) => at.stats().then((stats) => stats.objects)
    const { bob, alice, owners } = await privately()
    const before = await Promise.all([bob, alice].map(objects))
    const data = await alignedDataset(owners, curve)
    // The rows are forgotten: columns of either, and labels, are there.
    expect(await Promise.all([bob, alice].map(objects))).toEqual([before[0]! + 1, before[1]! + 2])
    for (const pointer of [...data.x, data.y]) pointer.dispose()
    const closed = await privately({ ids: { allowMatches: ['bob', 'alice'] } })
    const still = await Promise.all([closed.bob, closed.alice].map(objects))
    expect(await codeOf(() => alignedDataset(closed.owners, curve))).toBe('ERR_PERMISSION')
    expect(await Promise.all([closed.bob, closed.alice].map(objects))).toEqual(still)
    // Of whom nobody is known to both.
    const [first, second] = onWorkers(people(20, 4), bob, alice).owners as [(typeof owners)[0], (typeof owners)[0]]
    const strangers = { ids: tf.ones([14, 4], 'int32').send(bob), x: first.x }
    expect(await codeOf(() => alignedDataset([strangers, second], curve))).toBe('ERR_ARGUMENT_VALUE')
  })
})
