/** Masked sums of what workers hold: whom workers let add up private values, and who may drop out when. */
import { hook, Identity, type PointerTensor, type SendOptions, tf, VirtualWorker, type Worker } from 'sotto'
import { beforeAll, describe, expect, it } from 'vitest'
import { MaskedSum, type MaskedSumOptions, type Parts, type Weighted } from '../../src/federated/masking/masked-sum.ts'
import { askMask, type Step, tellMask } from '../../src/federated/masking/messages.ts'
import { readyForTest } from '../backend.ts'
import { codeOf } from '../conformance/workers.ts'
import { names, RESEARCHER } from './owners.ts'

beforeAll(async () => {
  await readyForTest()
  hook()
})

const NUMBERS = { length: 3, clip: 4, bits: 24, modulus: undefined, hidden: true } as const
const secagg: MaskedSumOptions = { scheme: 'secagg', minimum: 3, ...NUMBERS }
const pairs: MaskedSumOptions = { ...secagg, scheme: 'pairs' }
/** A step of the numbers: each of up to five members is off by less, of weights that are on average at least half of the largest. */
const STEP = (2 * 4) / (2 ** 23 - 1)
const wait = { deadline: 20_000 }
/** What is told of a sum, besides who is in it. */
const terms = { length: 4, clip: 4, bits: 24, hidden: true } as const
const three = { ...terms, members: ['ann', 'ben', 'cat'], weights: [9, 9, 9] }

const sampleOf = (owner: number): number[] => [owner, -owner / 2, 0.25]
const countOf = (owner: number): number => owner + 1
const meanOf = (owners: readonly number[], sample = sampleOf): number[] => {
  const total = owners.reduce((sum, owner) => sum + countOf(owner), 0)
  return [0, 1, 2].map((at) => owners.reduce((sum, owner) => sum + (countOf(owner) * sample(owner)[at]!) / total, 0))
}

interface Owned {
  readonly workers: readonly Worker[]
  readonly clients: readonly Weighted[]
  readonly parts: Parts
}

const idsOf = (pointers: readonly PointerTensor[]) => pointers.map(({ id }) => id)

/** Workers with a private value each, of which the researcher knows an id. */
async function owned(
  count: number,
  rights: (others: readonly Worker[]) => SendOptions = allowed,
  value = sampleOf,
): Promise<Owned> {
  const workers = names.slice(0, count).map((name) => new VirtualWorker(name))
  const pointers = await Promise.all(
    workers.map(async (worker, i) => {
      const own = worker.as(worker.id)
      const others = workers.filter((other) => other !== worker)
      own.addWorkers(others)
      tf.tensor1d(value(i)).send(own, { ...rights(others), tags: ['#value'] })
      await own.flush()
      const [pointer] = await worker.search(['#value'])
      return pointer as PointerTensor
    }),
  )
  return {
    workers,
    clients: workers.map((worker, i) => ({ worker, weight: countOf(i) })),
    parts: new Map(workers.map((worker, i): [Worker, PointerTensor[]] => [worker, [pointers[i]!]])),
  }
}
const allowed = (others: readonly Worker[]): SendOptions => ({
  private: true,
  allowShares: others.map(({ id }) => id),
  allowTotals: [RESEARCHER],
})

/** A worker that fails at one step of each round, as one that is gone from there on. */
function dropsOut(worker: Worker, at: Step | 'mask'): void {
  const ask = worker.ask.bind(worker)
  let isGone = false
  worker.ask = (verb, body, ...rest) => {
    isGone ||=
      (verb as string) === (at === 'mask' ? 'maskValues' : 'maskStep') &&
      (at === 'mask' || (body as { step?: Step }).step === at)
    return isGone ? Promise.reject(new Error(`gone at ${at}`)) : ask(verb, body, ...rest)
  }
}

const isClose = (found: ArrayLike<number>, expected: readonly number[]): void => {
  for (const [at, value] of expected.entries()) expect(Math.abs(found[at]! - value)).toBeLessThan(STEP)
}

describe.each([secagg, pairs])('a masked sum ($scheme)', (options) => {
  it('is the weighted mean, within a step of its numbers, round after round', async () => {
    const { workers, clients, parts } = await owned(4)
    const sum = new MaskedSum(clients, options)
    for (let round = 0; round < 2; round++) {
      const { mean, contributors, missing } = await sum.mean(parts, wait)
      isClose(mean, meanOf([0, 1, 2, 3]))
      expect([contributors, missing]).toEqual([['ann', 'ben', 'cat', 'dan'], []])
    }
    const rows = (await workers[0]!.ledger()).filter(({ to }) => to === RESEARCHER)
    expect(rows).toMatchObject([{ event: 'shared', operation: 'mask', shape: [3], count: 2, bytes: 0 }])
    expect(rows[0]!.why).toMatch(/^asked by me, allowed by ann; in a sum of at least [34], of 4 workers$/)
  })

  it('counts what is no number as zeros, and nobody can tell whose', async () => {
    const { clients, parts } = await owned(4, allowed, (i) => (i === 2 ? [Number.NaN, 1, 1] : sampleOf(i)))
    const { mean, contributors } = await new MaskedSum(clients, options).mean(parts, wait)
    isClose(
      mean,
      meanOf([0, 1, 2, 3], (i) => (i === 2 ? [0, 0, 0] : sampleOf(i))),
    )
    expect(contributors).toContain('cat')
  })

  it.each([
    ['whose owner has not named the others', (others: readonly Worker[]) => ({ ...allowed(others.slice(1)) })],
    [
      'whose owner has not let sums be seen',
      (others: readonly Worker[]) => ({ ...allowed(others), allowTotals: ['somebody'] }),
    ],
    ['of which only the results may be seen by somebody', () => ({ private: true, allowResults: ['somebody'] })],
  ])('takes no private value %s', async (_, rights) => {
    const { workers, clients, parts } = await owned(4, rights)
    await expect(new MaskedSum(clients, options).mean(parts, wait)).rejects.toMatchObject({
      code: 'ERR_COHORT',
      message: expect.stringContaining('is private to'),
    })
    const rows = (await workers[1]!.ledger()).filter(({ event }) => event === 'refused')
    expect(rows).toMatchObject([{ operation: 'mask', from: 'ben', to: RESEARCHER }])
  })

  it('takes no private value in a sum of two', async () => {
    const { clients, parts } = await owned(2)
    await expect(new MaskedSum(clients, { ...options, minimum: 2 }).mean(parts, wait)).rejects.toMatchObject({
      code: 'ERR_COHORT',
      message: expect.stringContaining('is private to'),
    })
  })

  it('takes values that are public, or the asker’s to see, where that is what it is told to be of', async () => {
    for (const rights of [{}, { private: true, allow: [RESEARCHER] }]) {
      const { clients, parts } = await owned(2, () => rights)
      const { mean } = await new MaskedSum(clients, { ...options, minimum: 2, hidden: false }).mean(parts, wait)
      isClose(mean, meanOf([0, 1]))
    }
    // And no others then.
    const { clients, parts } = await owned(3)
    await expect(new MaskedSum(clients, { ...options, hidden: false }).mean(parts, wait)).rejects.toThrow(
      'is private to',
    )
  })

  it('is not filled up with what the asker knows, to leave one private value', async () => {
    const { workers, clients, parts } = await owned(3)
    for (const own of [{}, { private: true }]) {
      const zeros = new Map(parts)
      for (const worker of workers.slice(1)) zeros.set(worker, [tf.zeros([3]).send(worker, own)])
      await expect(new MaskedSum(clients, options).mean(zeros, wait)).rejects.toMatchObject({
        code: 'ERR_COHORT',
        message: expect.stringContaining('the others in this sum were told that all values are private'),
      })
    }
  })

  it('comes to nothing where members were told different things', async () => {
    const change = { clip: 1e30, bits: 12, weights: [1, 3, 2], hidden: false }
    for (const [name, other] of Object.entries(change)) {
      const { workers, clients, parts } = await owned(3, (others) => ({
        ...allowed(others),
        allowResults: [RESEARCHER],
        allow: name === 'hidden' ? [RESEARCHER] : [],
      }))
      const told = workers[2]!
      const tell = told.tell.bind(told)
      told.tell = (verb, body, ...rest) =>
        tell(verb, ((verb as string) === 'maskJoin' ? { ...body, [name]: other } : body) as never, ...rest)
      await expect(new MaskedSum(clients, options).mean(parts, wait), name).rejects.toMatchObject({
        code: 'ERR_COHORT',
      })
    }
  })

  it('lets no member count for more than ten times another, of private values', async () => {
    const { clients } = await owned(3)
    const weighted = clients.map(({ worker }, i) => ({ worker, weight: [1, 2, 11][i]! }))
    expect(() => new MaskedSum(weighted, options)).toThrow('at most 10 times the smallest')
    // Nor does a worker that is told so by somebody who does not check.
    const [ann] = clients.map(({ worker }) => worker) as [Worker]
    ann.addWorkers(clients.slice(1).map(({ worker }) => worker))
    tellMask(ann, 'maskJoin', { ...three, weights: [1, 2, 11], session: 'of-three', scheme: options.scheme })
    expect(await codeOf(() => ann.flush())).toBe('ERR_ARGUMENT_VALUE')
  })
})

describe('a worker that is asked into a masked sum', () => {
  it('does not take a stranger for a member whose name its owner has allowed', async () => {
    const { workers, parts } = await owned(3)
    const [ann] = workers as [Worker]
    // Whoever asks gives two keys of its own the names that ann has allowed, and then gives the names back.
    const introduce = (others: readonly { id: string; key: string }[]) => {
      const capability = { session: 'any', name: 'ann', proof: new Uint8Array(32) }
      const peers = others.map(({ id: name, key }) => ({ name, address: null, key, capability }))
      ann.tell('peers' as never, { peers } as never)
    }
    introduce(['ben', 'cat'].map((id) => ({ id, key: Identity.generate().key })))
    const session = 'of-strangers'
    tellMask(ann, 'maskJoin', { ...three, session, scheme: 'pairs' })
    introduce(workers.slice(1))
    const round = { session, round: 0 }
    const own = await askMask(ann, 'maskStep', { ...round, step: 'advertise', message: null })
    expect(own).toMatchObject({ id: 'ann' })
    const body = { ...round, message: [own], values: idsOf(parts.get(ann)!) }
    expect(await codeOf(() => askMask(ann, 'maskValues', body))).toBe('ERR_PERMISSION')
  })

  it('does not take one that is named twice for two', async () => {
    const { workers } = await owned(2)
    const [ann] = workers as [Worker]
    ann.addWorkers(workers.slice(1))
    tellMask(ann, 'maskJoin', { ...three, session: 'of-two', scheme: 'pairs', members: ['ann', 'ben', 'ben'] })
    expect(await codeOf(() => ann.flush())).toBe('ERR_PROTOCOL')
  })

  it('refuses keys that are none', async () => {
    const { workers, parts } = await owned(2, () => ({}))
    const [ann] = workers as [Worker]
    ann.addWorkers(workers.slice(1))
    const round = { session: 'of-two', round: 0 }
    const members = { members: ['ann', 'ben'], weights: [1, 1], hidden: false }
    tellMask(ann, 'maskJoin', { ...terms, ...members, session: 'of-two', scheme: 'pairs' })
    const own = await askMask(ann, 'maskStep', { ...round, step: 'advertise', message: null })
    for (const [message, code] of [
      [null, 'ERR_PROTOCOL'],
      [[own, null], 'ERR_PROTOCOL'],
      [[own], 'ERR_PROTOCOL'],
      [[own, {}], 'ERR_IDENTITY'],
    ]) {
      const body = { ...round, message, values: idsOf(parts.get(ann)!) }
      expect([message, await codeOf(() => askMask(ann, 'maskValues', body))]).toEqual([message, code])
    }
  })

  it('refuses other lengths, dtypes and objects, rounds that were, and sums that it is not in', async () => {
    const { workers, parts } = await owned(3, () => ({}))
    const [ann] = workers as [Worker]
    const session = 'of-three'
    ann.addWorkers(workers.slice(1))
    const join = { ...three, session, scheme: 'secagg', hidden: false } as const
    tellMask(ann, 'maskJoin', join)
    await ann.flush()
    tellMask(ann, 'maskJoin', join)
    expect(await codeOf(() => ann.flush())).toBe('ERR_ID_TAKEN')
    tellMask(ann, 'maskJoin', { ...join, session: 'with-a-stranger', members: ['ann', 'zoe', 'cat'] })
    expect(await codeOf(() => ann.flush())).toBe('ERR_UNKNOWN_PEER')
    tellMask(ann, 'maskJoin', { ...join, session: 'without-ann', members: ['ben', 'cat'], weights: [1, 1] })
    expect(await codeOf(() => ann.flush())).toBe('ERR_IDENTITY')
    const mask = (values: readonly string[], more: object = {}) => {
      const body = { session, round: 0, message: {} }
      return codeOf(() => askMask(ann, 'maskValues', { ...body, values, ...more }))
    }
    const values = idsOf(parts.get(ann)!)
    expect(await mask([...values, ...values])).toBe('ERR_SHAPE')
    expect(await mask(['unknown'])).toBe('ERR_NOT_FOUND')
    const whole = tf.tensor1d([1, 2, 3], 'int32').send(ann)
    expect(await mask([whole.id])).toBe('ERR_DTYPE')
    expect(await mask(values, { session: 'unknown' })).toBe('ERR_NOT_FOUND')
    expect(await mask(values, { round: 3 })).toBe('ERR_OUT_OF_STEP')
    const step = { session, round: 0, step: 'advertise', message: null } as const
    await askMask(ann, 'maskStep', step)
    expect(await codeOf(() => askMask(ann, 'maskStep', step))).toBe('ERR_USED_TWICE')
    tellMask(ann, 'maskLeave', { session })
    expect(await codeOf(() => askMask(ann, 'maskStep', { ...step, round: 1 }))).toBe('ERR_NOT_FOUND')
  })
})

describe('a worker that drops out', () => {
  it.each(['advertise', 'roster', 'mask', 'survivors', 'quorum'] as const)(
    'at %s costs the sum at most its own part',
    async (at) => {
      const { workers, clients, parts } = await owned(5)
      const sum = new MaskedSum(clients, secagg)
      dropsOut(workers[2]!, at)
      const { mean, contributors, missing } = await sum.mean(parts, wait)
      const isIn = at === 'survivors' || at === 'quorum'
      isClose(mean, meanOf(isIn ? [0, 1, 2, 3, 4] : [0, 1, 3, 4]))
      expect(contributors).toEqual(names.slice(0, 5).filter((name) => isIn || name !== 'cat'))
      expect(missing).toMatchObject([{ worker: 'cat', reason: { message: `gone at ${at}` } }])
    },
  )

  it('ends the round where too few are left, and not the next', async () => {
    const { workers, clients, parts } = await owned(5)
    const sum = new MaskedSum(clients, secagg)
    const before = workers.slice(0, 2).map((worker) => worker.ask)
    for (const worker of workers.slice(0, 2)) dropsOut(worker, 'survivors')
    await expect(sum.mean(parts, wait)).rejects.toMatchObject({
      code: 'ERR_COHORT',
      message: expect.stringMatching(/nothing was revealed.*ann: gone at survivors; ben: gone at survivors/),
    })
    for (const [i, worker] of workers.slice(0, 2).entries()) worker.ask = before[i]!
    isClose((await sum.mean(parts, wait)).mean, meanOf([0, 1, 2, 3, 4]))
  })

  it('among more than 64 spoils a draw of places, and costs the sum at most its own part', async () => {
    const workers = Array.from({ length: 66 }, (_, i) => new VirtualWorker(`worker-${i}`))
    const clients = workers.map((worker) => ({ worker, weight: 1 }))
    const parts = new Map(
      workers.map((worker, i): [Worker, PointerTensor[]] => [worker, [tf.tensor1d([i / 32, -1, 0]).send(worker)]]),
    )
    const sum = new MaskedSum(clients, { ...secagg, hidden: false })
    // Of 66, 0 + … + 65 without the fifth.
    dropsOut(workers[5]!, 'roster')
    const { mean, contributors, missing } = await sum.mean(parts, wait)
    isClose(mean, [(2145 - 5) / 65 / 32, -1, 0])
    expect(contributors).toHaveLength(65)
    expect(missing).toMatchObject([{ worker: 'worker-5', reason: { message: 'gone at roster' } }])
  })

  it('ends a sum masked in pairs', async () => {
    const { workers, clients, parts } = await owned(4)
    dropsOut(workers[2]!, 'mask')
    await expect(new MaskedSum(clients, pairs).mean(parts, wait)).rejects.toMatchObject({
      code: 'ERR_COHORT',
      message: expect.stringContaining('cat: gone at mask'),
    })
  })
})
