/** Trainings in secret that are kept at the parties and go on, and who has to consent before a model is opened. */
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  fixPrecision,
  giveConsent,
  hook,
  isSottoError,
  type SecretCheckpoint,
  type SecretFitOptions,
  type SharedModel,
  type SharedTensor,
  tf,
  VirtualWorker,
  withdrawConsent,
} from 'sotto'
import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import { ring } from '../../src/smpc/ring/choose.ts'
import { wordsOf } from '../../src/smpc/ring/tensor.ts'
import { type KeptShares, readCheckpoint } from '../../src/worker/checkpoint-file.ts'
import { readyForTest } from '../backend.ts'
import { codeOf } from '../conformance/workers.ts'

const UNIT = 2 ** -16
const NAMES = ['bob', 'alice', 'carol'] as const

beforeAll(async () => {
  await readyForTest()
  hook()
})
const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'sotto-'))
  closing.push(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** Two parties that keep checkpoints in a folder each, and a provider; or three that keep secrets in another way. */
function world(folders: readonly string[], protocol = 'additive') {
  const workers = NAMES.map((name, i) => {
    const checkpoints = folders[i]
    const worker = new VirtualWorker(name, {
      identity: 'mallory',
      ...(checkpoints === undefined ? {} : { checkpoints }),
    })
    closing.push(() => worker.close())
    return worker
  }) as [VirtualWorker, VirtualWorker, VirtualWorker]
  const [bob, alice, carol] = workers
  const isAdditive = protocol === 'additive'
  const parties = isAdditive ? [bob, alice] : [...workers]
  const options = isAdditive ? { provider: carol } : { protocol: 'replicated' as const }
  return {
    workers,
    parties,
    options,
    secret: (value: tf.Tensor): SharedTensor => fixPrecision(value).share(parties, options),
    stop: async () => {
      for (const worker of workers) await worker.close()
    },
  }
}
type World = ReturnType<typeof world>

const model = (seed = 1): tf.Sequential =>
  tf.sequential({
    layers: [
      tf.layers.dense({
        units: 3,
        inputShape: [4],
        activation: 'softmax',
        kernelInitializer: tf.initializers.glorotUniform({ seed }),
      }),
    ],
  })
const ROWS = 24
const x = () => tf.randomUniform([ROWS, 4], 0.5, 1, 'float32', 2)
const y = () =>
  tf
    .oneHot(
      Array.from({ length: ROWS }, (_, i) => (i * 7 + 3) % 3),
      3,
    )
    .toFloat()
const job = {
  optimizer: { kind: 'sgd', learningRate: 0.1, momentum: 0.9 },
  loss: 'categoricalCrossentropy',
  batchSize: 8,
  epochs: 2,
} as const
const checkpoint = { name: 'digits', every: 1, resume: true } as const

const fit = (shared: SharedModel, { secret }: World, options: Partial<SecretFitOptions> = {}) =>
  shared.fit(secret(x()), secret(y()), { ...job, checkpoint, ...options })
const weightsOf = async (shared: SharedModel): Promise<number[]> =>
  (await shared.get()).getWeights().flatMap((weight) => [...weight.dataSync()])
/** Trains as far as a batch, counted through all epochs, and stops. */
async function stoppedAfter(shared: SharedModel, at: World, batches: number): Promise<SecretCheckpoint[]> {
  const control = new AbortController()
  const saved: SecretCheckpoint[] = []
  const onSave = (one: SecretCheckpoint) => {
    saved.push(one)
    if (saved.length === batches) control.abort()
  }
  const run = fit(shared, at, { checkpoint: { ...checkpoint, onSave }, signal: control.signal })
  expect(await codeOf(() => run)).toBe('ERR_ABORTED')
  return saved
}
const fileOf = (folder: string, worker: string): string => {
  const at = join(folder, worker, 'mallory')
  const [file, ...more] = readdirSync(at)
  expect(more).toEqual([])
  return join(at, file!)
}
async function keptBy(folder: string, worker: string, name: string): Promise<KeptShares> {
  const kept = await readCheckpoint(readFileSync(fileOf(folder, worker)), { worker, identity: 'mallory', name })
  if (!('shares' in kept)) throw new Error('shares were to be kept')
  return kept.shares
}

describe('a training in secret that was stopped', () => {
  it.each(['additive', 'replicated'])(
    'has the very weights that were kept, and trains no batch twice: %s',
    async (protocol) => {
      const folders = [newFolder(), newFolder(), newFolder()]
      const first = world(folders, protocol)
      const before = model().share(first.parties, first.options)
      const saved = await stoppedAfter(before, first, 2)
      expect(saved.map(({ name }) => name)).toEqual(['digits.1.1', 'digits.1.2'])
      const expected = await weightsOf(before)
      await first.stop()

      const second = world(folders, protocol)
      // Of another beginning: nothing of it is left.
      const after = model(5).share(second.parties, second.options)
      const control = new AbortController()
      control.abort()
      expect(await codeOf(() => fit(after, second, { signal: control.signal }))).toBe('ERR_ABORTED')
      expect(await weightsOf(after)).toEqual(expected)
      const told: number[][] = []
      const { steps } = await fit(after, second, { onBatch: ({ epoch, batch }) => void told.push([epoch, batch]) })
      expect(told).toEqual([
        [1, 3],
        [2, 1],
        [2, 2],
        [2, 3],
      ])
      expect(steps).toBe(6)
    },
  )

  it('comes to what an unbroken one comes to, with the state of its optimizer', async () => {
    const folders = [newFolder(), newFolder()]
    const first = world(folders)
    const unbroken = model().share(first.parties, first.options)
    const { checkpoint: _, ...whole } = { checkpoint, ...job }
    await unbroken.fit(first.secret(x()), first.secret(y()), whole)
    const expected = await weightsOf(unbroken)
    await stoppedAfter(model().share(first.parties, first.options), first, 4)
    await first.stop()
    const second = world(folders)
    const after = model(5).share(second.parties, second.options)
    await fit(after, second)
    const weights = await weightsOf(after)
    // As in training.test.ts: four units a step, ten of each through the velocity; of two runs, twice as much.
    const bound = 2 * 10 * 6 * 4 * UNIT
    weights.forEach((weight, i) => {
      expect(Math.abs(weight - expected[i]!)).toBeLessThan(bound)
    })
    // Without its velocity it would be elsewhere: two steps of it are worth more.
    const anew = model().share(second.parties, second.options)
    await anew.fit(second.secret(x()), second.secret(y()), { ...whole, optimizer: { kind: 'sgd', learningRate: 0.1 } })
    const others = await weightsOf(anew)
    expect(Math.max(...others.map((weight, i) => Math.abs(weight - expected[i]!)))).toBeGreaterThan(2 * bound)
  })

  it('leaves one file at each party, of shares that say something together alone', async () => {
    const folders = [newFolder(), newFolder()]
    const at = world(folders)
    const shared = model().share(at.parties, at.options)
    await fit(shared, at, { epochs: 1 })
    const [bob, alice] = await Promise.all(folders.map((folder, i) => keptBy(folder, NAMES[i]!, 'digits.2.0')))
    expect([bob!.index, alice!.index]).toEqual([0, 1])
    expect(bob!.set).toBe(alice!.set)
    // Kernel and bias, and a velocity of each.
    expect(bob!.tensors.map(({ shape }) => shape)).toEqual([[4, 3], [3], [4, 3], [3]])
    const kernel = (await shared.get()).getWeights()[0]!.dataSync()
    const [mine, theirs] = [bob, alice].map((kept) => wordsOf(kept!.tensors[0]!.data.slice()))
    const encoded = ring().encode(kernel as Float32Array, 2 ** 16)
    expect(ring().add(mine!, theirs!)).toEqual(encoded)
    // A weight is below 2^20 units either way, and so would one in 2^43 words be by chance.
    for (const share of [mine!, theirs!]) {
      expect([...share].some((word) => (word + 2n ** 20n) % 2n ** 64n < 2n ** 21n)).toBe(false)
    }
    for (const worker of at.parties) {
      const left = (await worker.ledger()).filter(({ event }) => event === 'left' || event === 'opened')
      // The model that was opened just now, and nothing else.
      expect(left.every(({ to }) => to === 'mallory')).toBe(true)
    }
  })

  it('does not go on from what was cut, is of another training, or of other parties', async () => {
    const folders = [newFolder(), newFolder()]
    const at = world(folders)
    await fit(model().share(at.parties, at.options), at, { epochs: 1 })
    const again = (options: Partial<SecretFitOptions>) =>
      codeOf(() => fit(model().share(at.parties, at.options), at, options))
    expect(await again({ batchSize: 6 })).toBe('ERR_CHECKPOINT_MISMATCH')
    expect(await again({ seed: 7 })).toBe('ERR_CHECKPOINT_MISMATCH')
    expect(await again({ optimizer: { kind: 'sgd', learningRate: 0.2, momentum: 0.9 } })).toBe(
      'ERR_CHECKPOINT_MISMATCH',
    )
    const fine = model().share(at.parties, { ...at.options, precisionFractional: 20 })
    const rows = [x(), y()].map((t) => fixPrecision(t, { precisionFractional: 20 }).share(at.parties, at.options))
    expect(await codeOf(() => fine.fit(rows[0]!, rows[1]!, { ...job, checkpoint }))).toBe('ERR_CHECKPOINT_MISMATCH')
    const turned = [...at.parties].reverse()
    const [a, b] = [x(), y()].map((t) => fixPrecision(t).share(turned, at.options))
    const other = model().share(turned, at.options)
    expect(await codeOf(() => other.fit(a!, b!, { ...job, checkpoint }))).toBe('ERR_CHECKPOINT_MISMATCH')
    const file = fileOf(folders[0]!, 'bob')
    const bytes = readFileSync(file)
    bytes[bytes.length - 1]! ^= 1
    writeFileSync(file, bytes)
    expect(await again({})).toBe('ERR_CHECKPOINT')
  })

  it('begins anew when the parties have kept sets that do not belong together', async () => {
    const folders = [newFolder(), newFolder()]
    const at = world(folders)
    await fit(model().share(at.parties, at.options), at, { epochs: 1 })
    const bobs = readFileSync(fileOf(folders[0]!, 'bob'))
    const { resume: _, ...anew } = checkpoint
    await fit(model().share(at.parties, at.options), at, { epochs: 1, checkpoint: anew })
    // The same name, and bob is where he was before.
    writeFileSync(fileOf(folders[0]!, 'bob'), bobs)
    const { steps, epochs } = await fit(model().share(at.parties, at.options), at, { epochs: 1 })
    expect([steps, epochs.length]).toEqual([3, 1])
  })

  it('leaves nothing of runs before it, and is not taken for one of them', async () => {
    const folders = [newFolder(), newFolder()]
    const at = world(folders)
    await fit(model().share(at.parties, at.options), at)
    // What a party kept of a run that was broken off while the others had not.
    copyFileSync(fileOf(folders[0]!, 'bob'), join(folders[0]!, 'bob/mallory/digits%2e1%2e2.checkpoint'))
    const { resume: _, ...anew } = checkpoint
    const control = new AbortController()
    const onSave = () => control.abort()
    const begun = fit(model().share(at.parties, at.options), at, {
      checkpoint: { ...anew, onSave },
      signal: control.signal,
    })
    expect(await codeOf(() => begun)).toBe('ERR_ABORTED')
    for (const [i, folder] of folders.entries())
      expect(fileOf(folder, NAMES[i]!)).toMatch(/digits%2e1%2e1\.checkpoint$/)
    // It goes on from there, and not from where the one before ended.
    const { steps } = await fit(model().share(at.parties, at.options), at, { epochs: 1 })
    expect(steps).toBe(3)
  })

  it('refuses names and numbers that it does not take', async () => {
    const at = world([])
    const refused = (given: object) =>
      codeOf(() => fit(model().share(at.parties, at.options), at, { checkpoint: given as never }))
    expect(await refused({ name: '../digits' })).toBe('ERR_ARGUMENT_VALUE')
    expect(await refused({ name: 'd'.repeat(41) })).toBe('ERR_ARGUMENT_VALUE')
    expect(await refused({ name: 'digits', every: 0 })).toBe('ERR_ARGUMENT_VALUE')
    expect(await refused({ name: 'digits', often: 2 })).toBe('ERR_ARGUMENT_VALUE')
  })
})

describe('consent', () => {
  const consent = { job: 'digits', of: ['olga', 'sam'] }
  const as = ({ parties }: World, identity: string): VirtualWorker[] => parties.map((party) => party.as(identity))
  const settle = async (handles: readonly VirtualWorker[]) => {
    for (const handle of handles) await handle.flush()
  }
  const give = async (at: World, who: string, to = 'mallory', action = giveConsent) => {
    const handles = as(at, who)
    action(handles, { job: 'digits', to })
    await settle(handles)
  }
  const failure = async (action: Promise<unknown>) => {
    const error = await action.then(
      () => null,
      (thrown: unknown) => thrown,
    )
    if (!isSottoError(error)) throw new Error('it was to be refused')
    return error
  }

  it('of everybody whom the job names is needed before the model is opened, and can be taken back', async () => {
    const at = world([])
    const shared = model().share(at.parties, at.options)
    await fit(shared, at, { consent, epochs: 1 })
    expect(await failure(shared.get())).toMatchObject({
      code: 'ERR_CONSENT',
      message: expect.stringMatching(/olga, sam did not consent to mallory .* job "digits"/),
    })
    await give(at, 'olga')
    // Whoever trained it cannot say it for somebody else, and a consent is to whom it is.
    await give(at, 'mallory')
    await give(at, 'sam', 'dana')
    expect(await failure(shared.get())).toMatchObject({
      code: 'ERR_CONSENT',
      message: expect.stringMatching(/reveal: sam did not/),
    })
    await give(at, 'sam')
    expect(await weightsOf(shared)).toHaveLength(15)
    await give(at, 'sam', 'mallory', withdrawConsent)
    expect(await codeOf(() => shared.get())).toBe('ERR_CONSENT')
  })

  it('is needed of all parties that hold shares', async () => {
    const at = world([])
    const shared = model().share(at.parties, at.options)
    await fit(shared, at, { consent: { job: 'digits', of: ['olga'] }, epochs: 1 })
    const [bob] = as(at, 'olga')
    giveConsent([bob!], { job: 'digits', to: 'mallory' })
    await settle([bob!])
    expect(await codeOf(() => shared.get())).toBe('ERR_CONSENT')
  })

  it('is needed for what a model says as well, and for what is restored', async () => {
    const folders = [newFolder(), newFolder()]
    const first = world(folders)
    const shared = model().share(first.parties, first.options)
    await fit(shared, first, { consent, epochs: 1 })
    expect(await codeOf(() => shared.apply(first.secret(x())).reveal())).toBe('ERR_CONSENT')
    expect(await codeOf(() => shared.evaluate(first.secret(x()), first.secret(y())))).toBe('ERR_CONSENT')
    const restored = model().share(first.parties, first.options)
    await fit(restored, first, { epochs: 1 })
    expect(await codeOf(() => restored.get())).toBe('ERR_CONSENT')
    for (const owner of consent.of) await give(first, owner)
    expect(await weightsOf(restored)).toHaveLength(15)
    await first.stop()
    // Others, who go by the names of those that the owners meant.
    const others = world(folders)
    const stolen = model().share(others.parties, others.options)
    expect(await codeOf(() => fit(stolen, others, { epochs: 1 }))).toBe('ERR_PERMISSION')
  })

  it('of an owner holds for the data that she gave, and for what came of the job alone', async () => {
    const at = world([])
    const { workers, parties, options } = at
    for (const worker of workers) {
      const peers = workers.filter((peer) => peer !== worker)
      worker.as('olga').addWorkers(peers)
      worker.addWorkers(peers)
    }
    const [bob] = parties as [VirtualWorker]
    for (const [tag, value] of [
      ['#x', x()],
      ['#y', y()],
    ] as const) {
      value.send(bob.as('olga'), { private: true, allowShares: ['alice', 'carol'], tags: [tag] })
    }
    await bob.as('olga').flush()
    const [rows, labels] = await Promise.all(
      ['#x', '#y'].map(async (tag) => (await bob.search([tag]))[0]!.fixPrecision().share(parties, options)),
    )
    const shared = model().share(parties, options)
    await shared.fit(rows!, labels!, { ...job, epochs: 1, consent: { job: 'digits', of: ['olga'] } })
    expect(await codeOf(() => shared.get())).toBe('ERR_CONSENT')
    await give(at, 'olga')
    expect(await weightsOf(shared)).toHaveLength(15)
    expect(await codeOf(() => rows!.reveal())).toBe('ERR_PERMISSION')
  })

  it('is asked for and given in words that are checked', async () => {
    const at = world([])
    const shared = () => model().share(at.parties, at.options)
    for (const wrong of [{ job: 'digits' }, { job: 'digits', of: [] }, { job: 'digits', of: [1] }]) {
      expect(await codeOf(() => fit(shared(), at, { consent: wrong as never }))).toBe('ERR_ARGUMENT_TYPE')
    }
    expect(await codeOf(() => fit(shared(), at, { consent: { job: '', of: ['olga'] } }))).toBe('ERR_ARGUMENT_VALUE')
    const [bob] = at.parties
    expect(await codeOf(() => giveConsent([], { job: 'digits', to: 'mallory' }))).toBe('ERR_ARGUMENT_TYPE')
    expect(await codeOf(() => giveConsent([bob!], { job: 'digits' } as never))).toBe('ERR_ARGUMENT_TYPE')
    expect(await codeOf(() => giveConsent([bob!], { job: 'digits', to: 'x', for: 'y' } as never))).toBe(
      'ERR_ARGUMENT_VALUE',
    )
  })
})
