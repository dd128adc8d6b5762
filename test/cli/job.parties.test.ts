/** Federated jobs: what compiles and what is refused, and the processes of a job's parties. */
import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { defineJob, fedAvg, type JobDefinition, type RoundResult, ready, tf } from 'sotto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type CompiledJob, compileJob, filesOf, jobOf } from '../../src/federated/jobs/compiled.ts'
import { readJob, writeJob } from '../../src/federated/jobs/folder.ts'
import { Identity } from '../../src/worker/identity.ts'
import { built } from '../built.ts'
import { freePort, Running, sotto, temporaryFolder } from './run.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const { path, remove } = temporaryFolder()
const children: ChildProcess[] = []
beforeAll(() => ready())
afterAll(() => {
  for (const child of children) child.kill('SIGKILL')
  remove()
})

const job: JobDefinition = {
  name: 'sides',
  model: (engine) =>
    engine.sequential({
      name: 'network',
      layers: [engine.layers.dense({ name: 'scores', units: 2, inputShape: [3], kernelInitializer: 'zeros' })],
    }),
  loss: 'softmaxCrossEntropy',
  trainers: 4,
  rounds: 4,
  local: { epochs: 1, batchSize: 8, optimizer: { kind: 'sgd', learningRate: 0.5 } },
  grace: 300,
  deadline: 30_000,
}

describe('a compiled job', () => {
  let compiled: CompiledJob
  beforeAll(async () => {
    compiled = await compileJob(defineJob(job))
  })

  it('says all that its parties must agree on, and is the same again when it was written and read', async () => {
    await writeJob(path('same'), compiled)
    const read = await readJob(path('same'))
    expect({ ...read, model: null }).toEqual({ ...compiled, model: null })
    expect(Buffer.compare(read.model['weights.bin'], compiled.model['weights.bin'])).toBe(0)
    expect(read.terms).toMatchObject({ aggregation: { kind: 'masks' }, minimum: 3, strategy: { kind: 'fedAvg' } })
    expect((await compileJob(job)).id).toBe(compiled.id)
    expect((await compileJob({ ...job, rounds: 5 })).id).not.toBe(compiled.id)
  })

  it('has the model as tfjs keeps it', async () => {
    const { 'model.json': json, 'weights.bin': weights } = (
      await compileJob({
        ...job,
        model: () =>
          tf.sequential({
            layers: [
              tf.layers.dense({ units: 1, inputShape: [3], kernelInitializer: 'ones', biasInitializer: 'ones' }),
            ],
          }),
      })
    ).model
    const model = await tf.loadLayersModel({
      async load() {
        const { modelTopology, weightsManifest } = JSON.parse(new TextDecoder().decode(json))
        expect(weightsManifest[0].paths).toEqual(['weights.bin'])
        return { modelTopology, weightSpecs: weightsManifest[0].weights, weightData: weights.slice().buffer }
      },
    })
    expect([...(model.predict(tf.tensor2d([[1, 2, 3]])) as tf.Tensor).dataSync()]).toEqual([7])
  })

  const named = (given: object): JobDefinition => ({ ...job, ...given })
  it.each<[string, JobDefinition, string, string]>([
    ['an option that there is not', named({ round: 3 }), 'ERR_ARGUMENT_VALUE', 'unknown option "round"'],
    ['no model', named({ model: undefined }), 'ERR_ARGUMENT_TYPE', '"model" expected a function'],
    ['what is no model', named({ model: () => 7 }), 'ERR_ARGUMENT_TYPE', '"model" expected'],
    ['a loss that is code', named({ loss: () => 0 }), 'ERR_ARGUMENT_VALUE', 'a function is code'],
    ['a strategy that is code', named({ strategy: fedAvg() }), 'ERR_ARGUMENT_VALUE', 'a compiled job has none'],
    ['a strategy of no such name', named({ strategy: { kind: 'fedBest' } }), 'ERR_ARGUMENT_VALUE', 'fedAvg, fedProx'],
    ['settings that it does not take', named({ strategy: { kind: 'fedProx' } }), 'ERR_ARGUMENT_TYPE', '"mu"'],
    ['no way to aggregate', named({ aggregation: 'shares' }), 'ERR_ARGUMENT_VALUE', 'masks, pairs, clear'],
    [
      'a strategy that must see what masks hide',
      named({ strategy: { kind: 'coordinateMedian' } }),
      'ERR_ARGUMENT_VALUE',
      'which masks hides',
    ],
    ['two trainers without a word', named({ trainers: 2 }), 'ERR_ARGUMENT_VALUE', 'say minimum: 2'],
    ['an optimizer that is code', named({ local: { optimizer: () => 0 } }), 'ERR_ARGUMENT_VALUE', 'a function is code'],
    [
      'an optimizer of no such name',
      named({ local: { optimizer: { kind: 'best' } } }),
      'ERR_ARGUMENT_TYPE',
      'with a kind of sgd',
    ],
    ['a place that is none', named({ endpoints: { server: 'here' } }), 'ERR_ARGUMENT_VALUE', 'wss://host'],
    [
      'more dropouts than masks bear',
      named({ aggregation: { kind: 'masks', dropouts: 0.9 } }),
      'ERR_ARGUMENT_VALUE',
      '0.9',
    ],
  ])('is not made of %s', async (_, definition, code, message) => {
    await expect(compileJob(definition)).rejects.toMatchObject({ code, message: expect.stringContaining(message) })
  })

  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes)
  const bytes = (said: string) => new TextEncoder().encode(said)
  const changed = (name: string, change: (before: Uint8Array) => Uint8Array) => {
    const files = filesOf(compiled)
    return { ...files, [name]: change(files[name]!) }
  }
  it.each<[string, () => Record<string, Uint8Array>, string]>([
    [
      'other terms',
      () => changed('job.json', (before) => bytes(text(before).replace('"minimum": 3', '"minimum": 2'))),
      'job.json was changed since',
    ],
    [
      'other terms, under their own id, that no job may have',
      () =>
        changed('job.json', (before) => {
          const { id: _, ...said } = JSON.parse(text(before))
          const other = { ...said, trainers: 2 }
          const id = createHash('sha256').update(JSON.stringify(other)).digest('hex')
          return bytes(JSON.stringify({ id, ...other }))
        }),
      'say minimum: 2',
    ],
    ['half of its terms', () => changed('job.json', (before) => before.subarray(0, 300)), 'job.json is cut'],
    [
      'other weights',
      () => changed('weights.bin', (before) => before.map((byte) => byte ^ 1)),
      'weights.bin was cut or',
    ],
    ['half of its weights', () => changed('weights.bin', (before) => before.subarray(8)), 'weights.bin was cut or'],
    ['no model', () => ({ 'job.json': filesOf(compiled)['job.json']! }), 'there is no model.json'],
    ['nothing', () => ({}), 'there is no job.json'],
  ])('is refused with %s', (_, files, message) => {
    expect(() => jobOf(files())).toThrow(message)
    expect(() => jobOf(files())).toThrow(expect.objectContaining({ code: 'ERR_JOB' }))
  })
})

/** Points on two sides of a plane, for one trainer. */
function writePoints(id: number): string[] {
  const x = Array.from({ length: 20 + id }, (_, i) => [
    Math.sin(7 * i + id),
    Math.cos(5 * i * id),
    Math.sin(3 * i - id),
  ])
  writeFileSync(path(`x${id}.csv`), `a,b,c\n${x.map((row) => row.join()).join('\n')}\n`)
  writeFileSync(path(`y${id}.csv`), `side\n${x.map(([a, b]) => Number(a! > b!)).join('\n')}\n`)
  return ['--data', `x=${path(`x${id}.csv`)}`, '--data', `y=${path(`y${id}.csv`)}`]
}

async function compiled(name: string, definition: Partial<JobDefinition>): Promise<string> {
  const [scheduler, server] = [await freePort(), await freePort()]
  const endpoints = { scheduler: `ws://127.0.0.1:${scheduler}`, server: `ws://127.0.0.1:${server}` }
  await writeJob(path(name), await compileJob({ ...job, ...definition, endpoints }))
  return path(name)
}

const trainer = (folder: string, id: number, ...flags: string[]) =>
  new Running(['job', 'trainer', folder, '--id', String(id), ...writePoints(id), ...flags])

const metricsIn = (folder: string): RoundResult[] => {
  const file = `${folder}/trained/metrics.jsonl`
  if (!existsSync(file)) return []
  return readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line))
}
const within = { timeout: 30_000, interval: 10 }

describe('sotto job', () => {
  it('goes on without a trainer that is killed, and leaves a model that any tfjs loads', async () => {
    const folder = await compiled('killed', { rounds: 6, evaluateAtTrainers: true })
    const scheduler = new Running(['job', 'scheduler', folder])
    const args = ['job', 'trainer', folder, '--id', '4', ...writePoints(4)]
    const child = spawn(process.execPath, [built('src/cli/index.ts'), ...args], { cwd: root, stdio: 'ignore' })
    children.push(child)
    const trainers = [1, 2, 3].map((id) => trainer(folder, id, '--ledger'))
    const server = new Running(['job', 'server', folder, ...writePoints(9)])
    await expect.poll(() => metricsIn(folder).length, within).toBeGreaterThan(0)
    child.kill('SIGKILL')
    expect([await server.code, server.err]).toEqual([0, ''])
    expect(await scheduler.code).toBe(0)
    for (const one of trainers) {
      expect([await one.code, one.err]).toEqual([0, ''])
      const { out } = one
      expect(out).toContain('the server may see sums over 3 trainers or more, and nothing of one')
      // What the server saw is in no row, but sums; what others saw, in none.
      expect(out).toMatch(/│ server +│ nothing of float32 \[8\] +│ trainer-\d │ mask/)
      expect(out).not.toMatch(/^│ server +│ (?!nothing)/m)
    }
    const rounds = metricsIn(folder)
    expect(rounds).toHaveLength(6)
    expect(rounds[0]!.contributors).toHaveLength(4)
    expect(rounds[5]!.contributors).toEqual(['trainer-1', 'trainer-2', 'trainer-3'])
    expect(rounds.map(({ failed }) => failed)).toEqual(Array(6).fill(null))
    expect(scheduler.out).toContain('trainer-4 is gone')
    expect(server.out).toContain('trainer-4 is gone')

    const json = JSON.parse(readFileSync(`${folder}/trained/model.json`, 'utf8'))
    const [{ weights: weightSpecs }] = json.weightsManifest
    const weightData = new Uint8Array(readFileSync(`${folder}/trained/weights.bin`)).buffer
    const model = await tf.loadLayersModel(tf.io.fromMemory({ ...json, weightSpecs, weightData }))
    const scores = model.predict(
      tf.tensor2d([
        [0.9, -0.9, 0],
        [-0.9, 0.9, 0],
      ]),
    ) as tf.Tensor
    expect([...scores.argMax(1).dataSync()]).toEqual([1, 0])
    expect(rounds[5]!.metrics['accuracy']).toBeGreaterThan(0.9)
    expect(rounds[5]!.metrics['clientAccuracy']).toBeGreaterThan(0.9)
  })

  it('waits for a trainer to come back, under its key and no other, and goes on when the server has ended', async () => {
    const folder = await compiled('back', { trainers: 2, minimum: 2, rounds: 16, failures: 2 })
    const keyOf = (name: string) => {
      writeFileSync(path(`${name}.key`), `${Identity.generate().secret()}\n`, { mode: 0o600 })
      return ['--identity', path(`${name}.key`)]
    }
    const [serverKey, secondKey] = [keyOf('server'), keyOf('second')]
    const scheduler = new Running(['job', 'scheduler', folder])
    const first = trainer(folder, 1, '--allow-pairs')
    const second = trainer(folder, 2, '--allow-pairs', ...secondKey)
    const server = new Running(['job', 'server', folder, ...serverKey])
    await expect.poll(() => metricsIn(folder).length, within).toBeGreaterThan(0)
    second.signals.emit('SIGTERM')
    expect(await second.code).toBe(1)
    const stranger = trainer(folder, 2, '--allow-pairs')
    expect(await stranger.code).toBe(1)
    expect(stranger.err).toContain('trainer-2 has come before, with another key')
    const back = trainer(folder, 2, '--allow-pairs', ...secondKey)
    await expect.poll(() => server.out, within).toContain('trainer-2 is back')

    server.signals.emit('SIGTERM')
    expect(await server.code).toBe(1)
    const again = new Running(['job', 'server', folder, ...serverKey])
    expect(await again.code).toBe(1)
    expect(again.err).toContain('--resume goes on from it')
    const resumed = new Running(['job', 'server', folder, '--resume', ...serverKey])
    expect([await resumed.code, resumed.err]).toEqual([0, ''])
    expect(resumed.out).toMatch(/goes on after round \d+/)
    for (const one of [scheduler, first, back]) expect([await one.code, one.err]).toEqual([0, ''])
    expect(first.out).toContain('the server may see sums over 2 trainers or more, and nothing of one')
    // Each round once, in order, whoever was there.
    expect(metricsIn(folder).map(({ round }) => round)).toEqual(Array.from({ length: 16 }, (_, i) => i + 1))
  })

  it.each<[string, Partial<JobDefinition>, string[], string]>([
    ['sums of two', { trainers: 2, minimum: 2 }, [], 'if they may: --allow-pairs'],
    ['updates in clear', { aggregation: 'clear' }, ['--allow-pairs'], 'if it may: --allow-clear'],
  ])('trains for no %s that the owner has not agreed to', async (name, definition, flags, message) => {
    const refusing = trainer(await compiled(name.replaceAll(' ', '-'), definition), 1, ...flags)
    expect(await refusing.code).toBe(1)
    expect(refusing.err).toContain(message)
  })

  it('ends, and says why, when others do not come, have another job or are not who they should be', async () => {
    const [folder, other] = [await compiled('alone', {}), await compiled('other', { rounds: 3 })]
    const { scheduler: at } = (await readJob(folder)).terms.endpoints
    const pins = Object.fromEntries([1, 2, 3, 4].map((id) => [`trainer-${id}`, Identity.generate().key]))
    writeFileSync(path('peers.yaml'), JSON.stringify({ ...pins, scheduler: Identity.generate().key }))
    const scheduler = new Running(['job', 'scheduler', folder, '--wait', '2000'])
    await expect.poll(() => scheduler.out, within).toContain('scheduler is ready')
    const waiting = trainer(folder, 4)
    const wrong = [
      trainer(other, 1, '--scheduler', at),
      trainer(folder, 5),
      trainer(folder, 2, '--peers', path('peers.yaml')),
      trainer(folder, 3, '--data', `x=${path('y1.csv')}`),
    ]
    for (const { code } of wrong) expect(await code).toBe(1)
    expect(wrong.map(({ err }) => err)).toEqual([
      expect.stringContaining('give all parties the same folder'),
      expect.stringContaining('--id expected 1 to 4'),
      expect.stringContaining('was expected'),
      expect.stringContaining('the model takes examples of shape [3], these are [1]'),
    ])
    expect([await waiting.code, await scheduler.code]).toEqual([1, 1])
    const said = 'server, trainer-1, trainer-2, trainer-3 did not come within 2000 ms'
    expect(waiting.err).toContain(said)
    expect(scheduler.err).toContain(said)
  })

  it('compiles TypeScript where tsx is there, and says what a module lacks', async () => {
    const code = `const units: number = 2
      export default {
        name: 'typed', trainers: 3, rounds: 1, loss: 'softmaxCrossEntropy',
        model: (tf) => tf.sequential({ layers: [tf.layers.dense({ units, inputShape: [3] })] }),
      }`
    writeFileSync(path('job.ts'), code)
    const args = ['job', 'compile', path('job.ts'), '-o', path('typed')]
    const child = spawn(process.execPath, [built('src/cli/index.ts'), ...args], { cwd: root, stdio: 'ignore' })
    children.push(child)
    const ended = new Promise((resolve) => child.on('close', resolve))
    writeFileSync(path('empty.mjs'), 'export const job = 1')
    expect((await sotto(['job', 'compile', path('empty.mjs'), '-o', path('x')])).err).toContain(
      'export default defineJob',
    )
    expect((await sotto(['job', 'compile', path('no.mjs'), '-o', path('x')])).err).toContain('there is no such file')
    expect((await sotto(['job', 'server', path('nowhere')])).err).toContain('there is no job.json')
    expect(await ended).toBe(0)
    expect((await readJob(path('typed'))).terms.name).toBe('typed')
  })
})
