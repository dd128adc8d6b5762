/**
 * A party of a training in secret that is killed in the middle of an epoch, and comes back: each party is a process of its
 * own. `SOTTO_LONG=1` kills twenty times with each protocol.
 */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, watch } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  fixPrecision,
  giveConsent,
  hook,
  isSottoError,
  type SecretFitOptions,
  type SharedModel,
  type SharedTensor,
  SocketWorker,
  tf,
  type Worker,
  withdrawConsent,
} from 'sotto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readyForTest } from '../backend.ts'
import { codeOf } from '../conformance/workers.ts'
import { WorkerProcess } from '../worker/worker-process.ts'

const isLong = process.env['SOTTO_LONG'] !== undefined
const NAMES = ['alice', 'bob', 'carol'] as const
type Name = (typeof NAMES)[number]
/** How long it is gone: for good, as far as the others wait; or it is back before they have given it up. */
type Absence = 'given up' | 'back at once'
/** Milliseconds for which a connection that broke is waited for. */
const GRACE = { 'given up': 300, 'back at once': 30_000 } as const
/** What is heard when one was given up, by the caller itself or by another party; and when another run answers for it. */
const HEARD = {
  'given up': ['ERR_WORKER_LOST', 'ERR_PARTY_LOST'],
  'back at once': ['ERR_WORKER_RESTARTED', 'ERR_PARTY_LOST'],
} as const

/**
 * A training without roundings. Rows and labels are quarters and whole numbers; what gradients are multiplied by is
 * 128 · 2 / (ROWS · UNITS) = 1/2, and momentum is 1/2: each update takes one binary digit more. After twelve of them there are
 * 2 + 12 of the 16, so that every division has no remainder, and a truncation of no remainder is exact (ePrint 2020/338,
 * §5.1: y is x/2^m rounded up or down). So two runs are equal bit for bit, or one of them was not trained on the same batches.
 */
const [ROWS, INPUTS, UNITS, BATCHES] = [8, 256, 64, 6]
const settings = {
  optimizer: { kind: 'sgd', learningRate: 128, momentum: 0.5 },
  loss: 'meanSquaredError',
  batchSize: ROWS,
  epochs: 2,
  seed: 3,
  consent: { job: 'digits', of: ['olga'] },
} as const satisfies SecretFitOptions
/** Batches from one checkpoint to the next. */
const EVERY = 2

/** In each row two ones, in columns that it shares with few others. */
const x = (): tf.Tensor =>
  tf.tidy(() => {
    const columns = Array.from({ length: ROWS * BATCHES }, (_, i) => [(5 * i) % INPUTS, (11 * i + 7) % 64])
    return tf.oneHot(columns, INPUTS).sum(1).toFloat()
  })
const y = (): tf.Tensor =>
  tf
    .randomUniform([ROWS * BATCHES, UNITS], -8, 8, 'int32', 5)
    .toFloat()
    .div(4)
const model = (): tf.Sequential =>
  tf.sequential({
    layers: [tf.layers.dense({ units: UNITS, inputShape: [INPUTS], useBias: false, kernelInitializer: 'zeros' })],
  })

const protocols = { replicated: [...NAMES], additive: ['alice', 'bob'] } as const
type ProtocolName = keyof typeof protocols

/** When it is killed: in a batch, so many milliseconds after the one before; or while it writes one of its checkpoints. */
type Moment = { readonly batch: number; readonly after: number } | { readonly write: number }

class Scene {
  readonly protocol: ProtocolName
  readonly absence: Absence
  readonly folder = mkdtempSync(join(tmpdir(), 'sotto-'))
  readonly processes: Readonly<Record<Name, WorkerProcess>>
  workers!: Readonly<Record<Name, Worker>>

  constructor(protocol: ProtocolName, absence: Absence) {
    this.protocol = protocol
    this.absence = absence
    const start = (id: Name) => new WorkerProcess({ id, grace: GRACE[absence], checkpoints: join(this.folder, id) })
    this.processes = { alice: start('alice'), bob: start('bob'), carol: start('carol') }
  }

  async start(): Promise<void> {
    await Promise.all(NAMES.map((name) => this.processes[name].start()))
    const [alice, bob, carol] = await Promise.all(NAMES.map((name) => this.connect(name)))
    this.workers = { alice: alice!, bob: bob!, carol: carol! }
  }

  connect(name: Name): Promise<Worker> {
    const { url, key } = this.processes[name]
    return SocketWorker.connect(url, { pin: key, grace: GRACE[this.absence] })
  }

  async kill(name: Name): Promise<void> {
    await this.processes[name].kill()
    if (this.absence === 'back at once') await this.processes[name].start()
  }

  /** A new process where the one that was killed kept its checkpoints. */
  async restart(name: Name): Promise<void> {
    if (!this.processes[name].isRunning) await this.processes[name].start()
    this.workers = { ...this.workers, [name]: await this.connect(name) }
  }

  async stop(): Promise<void> {
    await Promise.all(NAMES.map((name) => this.processes[name].kill()))
    rmSync(this.folder, { recursive: true })
  }

  get parties(): Worker[] {
    return protocols[this.protocol].map((name) => this.workers[name])
  }

  /** Where a party keeps what this caller has it keep. */
  keptAt(name: Name): string {
    return join(this.folder, name, name, 'me')
  }

  share(): { model: SharedModel; x: SharedTensor; y: SharedTensor } {
    const { parties, workers, protocol } = this
    const options = protocol === 'additive' ? { provider: workers.carol } : { protocol }
    const secret = (value: tf.Tensor) => fixPrecision(value).share(parties, options)
    return { model: model().share(parties, options), x: secret(x()), y: secret(y()) }
  }

  /** What it comes to; nothing is left at the parties. */
  async train(name: string, resume: boolean): Promise<{ weights: number[]; begun: string }> {
    const { model: shared, x: rows, y: labels } = this.share()
    let begun = ''
    await shared.fit(rows, labels, {
      ...settings,
      checkpoint: { name, every: EVERY, resume },
      onBatch: ({ epoch, batch }) => {
        begun ||= `${epoch}.${batch - 1}`
      },
    })
    expect(await codeOf(() => shared.get())).toBe('ERR_CONSENT')
    const olga = this.parties.map((party) => party.as('olga'))
    giveConsent(olga, { job: settings.consent.job, to: 'me' })
    await Promise.all(olga.map((party) => party.flush()))
    const weights = (await shared.get()).getWeights().flatMap((weight) => [...weight.dataSync()])
    // Whoever was not killed would remember it.
    withdrawConsent(olga, { job: settings.consent.job, to: 'me' })
    for (const party of olga) await party.close()
    for (const secret of [shared, rows, labels]) secret.dispose()
    return { weights, begun }
  }
}

/** Who is killed, when, and whether the training goes on from its checkpoint, or begins anew. */
type Kill = readonly [victim: Name, moment: Moment, resume: boolean]

/** Begins a training, and has a party killed; gives what the caller hears. */
async function killed(scene: Scene, name: string, victim: Name, moment: Moment): Promise<unknown> {
  const { model: shared, x: rows, y: labels } = scene.share()
  let gone: Promise<void> | undefined
  const kill = (): Promise<void> => {
    gone ??= scene.kill(victim)
    return gone
  }
  const kept = scene.keptAt(victim)
  mkdirSync(kept, { recursive: true })
  const files = new Set<string>()
  const watcher = watch(kept, (_, file) => {
    if (!('write' in moment) || !file?.startsWith(`${name}%2e`) || !file.endsWith('.new')) return
    files.add(file)
    if (files.size === moment.write) void kill()
  })
  const error = await shared
    .fit(rows, labels, {
      ...settings,
      checkpoint: { name, every: EVERY, resume: false },
      onBatch: ({ epoch, batch }) => {
        const done = (epoch - 1) * BATCHES + batch
        if (!('batch' in moment) || done !== moment.batch) return
        if (moment.after > 0) setTimeout(kill, moment.after)
        else return kill()
      },
    })
    .then(
      () => null,
      (thrown: unknown) => thrown,
    )
  watcher.close()
  await gone
  for (const secret of [shared, rows, labels]) secret.dispose()
  return error
}

/** A party is killed, named, started anew over the same folder; the training ends as one that was never broken. */
async function survives(scene: Scene, name: string, [victim, moment, resume]: Kill, unbroken: readonly number[]) {
  const error = await killed(scene, name, victim, moment)
  if (!isSottoError(error)) throw new Error(`${victim} was killed, and the training heard ${String(error)}`)
  expect(HEARD[scene.absence]).toContain(error.code)
  expect(error.message).toMatch(new RegExp(`\\b${victim}\\b`))
  const half =
    existsSync(scene.keptAt(victim)) && readdirSync(scene.keptAt(victim)).some((file) => file.endsWith('.new'))
  for (const other of NAMES.filter((each) => each !== victim)) {
    // It serves others meanwhile, and nothing of what failed is left there.
    const worker = scene.workers[other]
    const sent = tf.tensor([1, 2]).send(worker)
    expect([...(await sent.add(1).get()).dataSync()]).toEqual([2, 3])
    sent.dispose()
    expect(await worker.objects()).toEqual([])
  }
  await scene.restart(victim)
  const { weights, begun } = await scene.train(name, resume)
  expect(weights).toEqual(unbroken)
  for (const party of protocols[scene.protocol]) {
    // One checkpoint, that of the end: what was broken off has left none.
    expect(readdirSync(scene.keptAt(party)).filter((file) => file.startsWith(`${name}%2e`))).toEqual([
      `${name}%2e3%2e0.checkpoint`,
    ])
    await scene.workers[party].removeCheckpoint(`${name}.3.0`)
  }
  return { code: error.code, begun, half }
}

beforeAll(async () => {
  await readyForTest()
  hook()
})

/** Each party in turn, the provider too; every other time while it writes its next checkpoint, if it keeps any. */
const killOf = (protocol: ProtocolName, i: number): Kill => {
  const victim = NAMES[i % 3]!
  const writes = i % 2 === 1 && protocols[protocol].some((party) => party === victim)
  return [
    victim,
    writes ? { write: 1 + (Math.floor(i / 2) % 6) } : { batch: 1 + (i % 8), after: (7 * i) % 20 },
    i % 5 < 4,
  ]
}
const show = (moment: Moment): string =>
  'write' in moment
    ? `while it writes its checkpoint ${moment.write}`
    : `${moment.after} ms after batch ${moment.batch}`

const scenes: readonly (readonly [ProtocolName, Absence])[] = [
  ['replicated', 'given up'],
  ['additive', 'back at once'],
  ...(isLong
    ? ([
        ['additive', 'given up'],
        ['replicated', 'back at once'],
      ] as const)
    : []),
]

describe.each(scenes)('a party that is killed in mid-epoch: %s, %s', (protocol, absence) => {
  const scene = new Scene(protocol, absence)
  let unbroken: readonly number[]
  beforeAll(async () => {
    await scene.start()
    unbroken = (await scene.train('whole', false)).weights
    expect(new Set(unbroken).size).toBeGreaterThan(1000)
  })
  afterAll(() => scene.stop())

  it('is named, the others serve on, and the training comes to what an unbroken one comes to', async () => {
    // Of additive sharing the one who deals, and keeps nothing.
    const victim = protocol === 'additive' ? 'carol' : 'bob'
    const { begun } = await survives(scene, 'once', [victim, { batch: 5, after: 0 }, true], unbroken)
    // The last batch of the epoch was issued by then; parties that have what was dealt for it come to its end, and keep it.
    expect(begun).toMatch(protocol === 'additive' ? /^(1\.4|2\.0)$/ : /^1\.4$/)
  })

  it.skipIf(!isLong)('may be any of them, at any moment, twenty times', { timeout: 600_000 }, async () => {
    for (let i = 0; i < 20; i++) {
      const kill = killOf(protocol, i)
      const { code, begun, half } = await survives(scene, `run${i}`, kill, unbroken)
      const [victim, moment] = kill
      const left = half ? ', a file half written' : ''
      console.log(`${i + 1}: ${victim} ${show(moment)}${left}: ${code}, on from ${begun || 'the end'}`)
    }
  })
})
