/** Jobs in secret by their parties: who brings, who computes, who gets to see what, and what is refused. */
import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, watch, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Identity, ready, tf } from 'sotto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { batches } from '../../src/data/batches.ts'
import { parseNpy } from '../../src/data/npy.ts'
import { SeededRandom } from '../../src/data/random.ts'
import { modelFilesOf, modelOf } from '../../src/federated/jobs/model-files.ts'
import { built } from '../built.ts'
import { leastSquares } from '../reference/least-squares.ts'
import { freePort, Running, sotto, temporaryFolder } from './run.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const { path, remove } = temporaryFolder()
const children: ChildProcess[] = []
beforeAll(() => ready())
afterAll(() => {
  for (const child of children) child.kill('SIGKILL')
  remove()
})

const fixture = (name: string): string => fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url))

const compute = ['server0', 'server1', 'server2']
const random = new SeededRandom(3)
const houses = Array.from({ length: 60 }, () => [3 + 5 * random.float(), 100 * random.float(), random.int(2)])
const prices = houses.map(([rooms, age, river]) => 9 * rooms! - 0.2 * age! + 4 * river! + 5 + random.float())
const csv = (header: string, rows: readonly (readonly number[])[]) =>
  `${header}\n${rows.map((row) => row.map((value) => value.toFixed(3)).join()).join('\n')}\n`
writeFileSync(path('houses.csv'), csv('rooms,age,river', houses))
writeFileSync(
  path('prices.csv'),
  csv(
    'price',
    prices.map((price) => [price]),
  ),
)
const expected = leastSquares(
  houses.map((row) => row.map((value) => Number(value.toFixed(3)))),
  prices.map((value) => Number(value.toFixed(3))),
)

/** The layers of a line, as a file has them. */
const lineOf = (settings: object) => ({
  class_name: 'Sequential',
  config: {
    name: 'line',
    layers: [
      {
        class_name: 'Dense',
        config: {
          name: 'sum',
          units: 1,
          kernel_initializer: { class_name: 'Zeros', config: {} },
          batch_input_shape: [null, 3],
          ...settings,
        },
      },
    ],
  },
})
const line = lineOf({})

interface Scene {
  /** A party of the job as a command in this process. */
  start(command: 'compute' | 'input' | 'result', id: string, ...flags: string[]): Running
  flags(command: string, id: string, ...flags: string[]): string[]
}

let scenes = 0
/** A job in a file of its own, and where its parties are. */
async function sceneOf(
  job: object,
  { keys, tls = false }: { keys?: readonly string[]; tls?: boolean } = {},
): Promise<Scene> {
  const number = scenes++
  const parties = [...compute, 'agency', 'registry', 'owner', 'analyst']
  const peers: Record<string, string> = {}
  for (const party of parties) peers[party] = `${tls ? 'wss://' : ''}127.0.0.1:${await freePort()}`
  writeFileSync(path(`peers${number}.json`), JSON.stringify(peers))
  const identities = Object.fromEntries(parties.map((party) => [party, Identity.generate()]))
  for (const [party, identity] of Object.entries(identities)) {
    writeFileSync(path(`${party}${number}.key`), `${identity.secret()}\n`, { mode: 0o600 })
  }
  const said = keys && { keys: Object.fromEntries(keys.map((party) => [party, identities[party]!.key])) }
  writeFileSync(path(`job${number}.json`), JSON.stringify({ name: 'test', compute, ...said, ...job }))
  const files = ['--job', path(`job${number}.json`), '--peers', path(`peers${number}.json`), '--wait', '40000']
  const flags = (command: string, id: string, ...more: string[]) => {
    const party = compute[Number(id)] ?? id
    const own = keys === undefined ? [] : ['--identity', path(`${party}${number}.key`)]
    const certified = tls ? ['--tls-cert', fixture('stranger.pem'), '--tls-key', fixture('stranger.key')] : []
    return [command, '--id', id, ...files, ...own, ...certified, ...more]
  }
  return { flags, start: (command, id, ...more) => new Running(flags(command, id, ...more)) }
}

const regression = {
  inputs: { houses: { from: 'agency' }, prices: { from: 'registry' } },
  steps: [{ do: 'linearRegression', x: 'houses', y: 'prices', as: 'weights' }],
  revealTo: { weights: ['analyst'] },
}
const ended = async (running: Running) => [await running.code, running.err]
const npy = (name: string) => parseNpy(readFileSync(path(name)))
/** Rows of a table of who saw what: who, what, of whom. */
const rowsIn = ({ out }: Running) =>
  out
    .split('\n')
    .filter((line) => line.startsWith('│') && !line.startsWith('│ who'))
    .map((line) => line.split('│').map((cell) => cell.trim()))
    .map(([, who, saw, of]) => [who, saw, of])

describe('a job in secret', () => {
  it('fits prices of houses for an analyst; those who bring data leave, those who compute see nothing of it', async () => {
    const scene = await sceneOf(regression, { keys: [...compute, 'agency', 'registry', 'analyst'] })
    const servers = ['0', '1', '2'].map((id) => scene.start('compute', id, '--ledger'))
    const analyst = scene.start('result', 'analyst', '--out', path('prices'), '--ledger')
    const agency = scene.start('input', 'agency', '--data', `houses=${path('houses.csv')}`, '--ledger')
    const registry = scene.start('input', 'registry', '--data', `prices=${path('prices.csv')}`)
    // What the coordinator still needs outlives any collection of garbage.
    const collecting = setInterval(() => global.gc!(), 2)
    // They leave before anything is computed.
    for (const owner of [agency, registry]) expect(await ended(owner)).toEqual([0, ''])
    expect(analyst.out).not.toContain('weights')
    for (const party of [...servers, analyst]) expect(await ended(party)).toEqual([0, ''])
    clearInterval(collecting)
    const { shape, data } = npy('prices/weights.npy')
    expect(shape).toEqual([4, 1])
    expected.forEach((value, i) => {
      expect(data[i]).toBeCloseTo(value, 2)
    })
    expect(statSync(path('prices/weights.npy')).mode & 0o777).toBe(0o600)
    for (const server of servers) {
      const rows = rowsIn(server)
      expect(rows).toContainEqual(['analyst', 'float32 [4,1]', 'server0 + server1 + server2'])
      // Constants of the method, which are public, came from who gives the orders.
      for (const [who, , of] of rows) if (who !== 'analyst') expect(of).toBe('server0')
    }
    expect(rowsIn(agency)).toEqual([
      ['agency', 'float32 [60,3] #houses', 'agency'],
      ['server0 + server1 + server2', 'nothing of float32 [60,3]', 'agency'],
    ])
    expect(rowsIn(analyst)).toEqual([['analyst', 'float32 [4,1]', 'server0 + server1 + server2']])
  })

  it('computes on parts that those who compute have in files, with their owner far away', async () => {
    const split = await sotto(['shares', 'split', path('houses.csv'), '--out', path('parts')])
    expect(split.err).toBe('')
    const scene = await sceneOf(regression)
    const part = (i: number) => ['--shares', `houses=${path(`parts/houses.${i}.share`)}`]
    const parties = [
      ...[0, 1, 2].map((i) => scene.start('compute', `${i}`, ...part(i))),
      scene.start('input', 'registry', '--data', `prices=${path('prices.csv')}`),
      scene.start('result', 'analyst', '--out', path('parted')),
    ]
    for (const party of parties) expect(await ended(party)).toEqual([0, ''])
    const { data } = npy('parted/weights.npy')
    expected.forEach((value, i) => {
      expect(data[i]).toBeCloseTo(value, 2)
    })
  })

  it('predicts by the model of one for the rows of another, who alone gets to see what comes of it', async () => {
    const model = tf.sequential({
      layers: [
        tf.layers.dense({ units: 4, inputShape: [3], activation: 'relu' }),
        tf.layers.dense({ units: 2, activation: 'softmax' }),
      ],
    })
    const files = await modelFilesOf(model)
    for (const [name, bytes] of Object.entries(files)) writeFileSync(path(name), bytes)
    const layers = JSON.parse(new TextDecoder().decode(files['model.json'])).modelTopology
    writeFileSync(
      path('rows.csv'),
      csv(
        'a,b,c',
        houses.map((row) => row.map((value) => value / 100)),
      ),
    )
    const scene = await sceneOf({
      inputs: { net: { from: 'owner', layers }, rows: { from: 'agency' } },
      steps: [{ do: 'predict', model: 'net', x: 'rows', as: 'classes' }],
      revealTo: { classes: ['agency'] },
    })
    const parties = [
      ...['0', '1', '2'].map((id) => scene.start('compute', id)),
      scene.start('input', 'owner', '--data', `net=${path('model.json')}`),
      scene.start('input', 'agency', '--data', `rows=${path('rows.csv')}`, '--out', path('classes')),
    ]
    for (const party of parties) expect(await ended(party)).toEqual([0, ''])
    const x = tf.tensor2d(houses.map((row) => row.map((value) => Number((value / 100).toFixed(3)))))
    const probabilities = (model.predict(x) as tf.Tensor).dataSync()
    const { shape, data } = npy('classes/classes.npy')
    expect(shape).toEqual([60, 2])
    data.forEach((value, i) => {
      expect(value).toBeCloseTo(probabilities[i]!, 2)
    })
  })

  it('trains a model for two, and runs a script that all parties have', async () => {
    const script = 'export default async ({ rooms, prices }) => ({ total: rooms.sum().add(prices.sum()) })\n'
    writeFileSync(path('total.mjs'), script)
    writeFileSync(
      path('small.csv'),
      csv(
        'a,b,c',
        houses.map(([a, b, c]) => [a! / 8, b! / 100, c!]),
      ),
    )
    const sha256 = createHash('sha256').update(script).digest('hex')
    const scene = await sceneOf({
      inputs: { rooms: { from: 'agency' }, prices: { from: 'registry' } },
      steps: [
        {
          do: 'fit',
          model: { layers: line },
          x: 'rooms',
          y: 'prices',
          loss: 'meanSquaredError',
          optimizer: { kind: 'sgd', learningRate: 0.1 },
          batchSize: 20,
          epochs: 3,
          as: 'net',
        },
        { do: 'script', file: 'total.mjs', sha256, as: ['total'] },
      ],
      revealTo: { net: ['analyst', 'agency'], total: ['analyst'] },
    })
    const parties = [
      ...['0', '1', '2'].map((id) => scene.start('compute', id)),
      scene.start('input', 'agency', '--data', `rooms=${path('small.csv')}`, '--out', path('agency')),
      scene.start('input', 'registry', '--data', `prices=${path('prices.csv')}`),
      scene.start('result', 'analyst', '--out', path('analyst')),
    ]
    for (const party of parties) expect(await ended(party)).toEqual([0, ''])
    const small = houses.map(([a, b, c]) => [a! / 8, b! / 100, c!].map((value) => Number(value.toFixed(3))))
    const sum = [...small.flat(), ...prices.map((value) => Number(value.toFixed(3)))].reduce((a, b) => a + b)
    // Each number is within half a unit.
    expect(Math.abs(npy('analyst/total.npy').data[0]! - sum)).toBeLessThan(240 * 2 ** -17 + 1e-3)
    const [one, other] = await Promise.all(
      ['analyst', 'agency'].map(async (party) => {
        const read = (name: string) => new Uint8Array(readFileSync(path(`${party}/net/${name}`)))
        return modelOf({ 'model.json': read('model.json'), 'weights.bin': read('weights.bin') })
      }),
    )
    const of = (model: tf.LayersModel) => model.getWeights().flatMap((weight) => [...weight.dataSync()])
    expect(of(one!)).toEqual(of(other!))
    const error = (weights: readonly number[]) =>
      small.reduce((total, [a, b, c], i) => {
        const guess = weights[0]! * a! + weights[1]! * b! + weights[2]! * c! + weights[3]!
        return total + (guess - prices[i]!) ** 2 / prices.length
      }, 0)
    expect(error(of(one!))).toBeLessThan(error([0, 0, 0, 0]) / 10)
    expect(existsSync(path('agency/total.npy'))).toBe(false)
  })

  it('ends for all when one who computes is killed, with a word that says so, and leaves no result', async () => {
    const scene = await sceneOf(
      {
        ...regression,
        steps: [
          {
            do: 'fit',
            model: { layers: line },
            x: 'houses',
            y: 'prices',
            loss: 'meanSquaredError',
            optimizer: { kind: 'sgd', learningRate: 1e-4 },
            epochs: 10_000,
            as: 'weights',
          },
        ],
      },
      { keys: [...compute, 'agency', 'registry', 'analyst'] },
    )
    const child = spawn(process.execPath, [built('src/cli/index.ts'), ...scene.flags('compute', '2')], { cwd: root })
    children.push(child)
    const servers = ['0', '1'].map((id) => scene.start('compute', id))
    const analyst = scene.start('result', 'analyst', '--out', path('killed'))
    const owners = [
      scene.start('input', 'agency', '--data', `houses=${path('houses.csv')}`),
      scene.start('input', 'registry', '--data', `prices=${path('prices.csv')}`),
    ]
    for (const owner of owners) expect(await ended(owner)).toEqual([0, ''])
    await expect.poll(() => servers[0]!.out, { timeout: 20_000 }).toContain('epoch 2')
    child.kill('SIGKILL')
    for (const party of [...servers, analyst]) expect(await party.code).toBe(1)
    expect(servers[0]!.err).toMatch(/server2/)
    expect(analyst.err).toMatch(/the job has failed: .*server2/)
    expect(existsSync(path('killed'))).toBe(false)
  })
})

describe('a job in secret that asks for consent', () => {
  const everybody = [...compute, 'agency', 'registry', 'analyst']
  const job = { ...regression, consent: ['agency', 'registry'] }
  // It has left its houses with those who compute, and comes to consent alone.
  beforeAll(() => sotto(['shares', 'split', path('houses.csv'), '--out', path('consented')]))
  /** With certificates that nobody vouches for: the keys of the job do. */
  const scenes = () => sceneOf(job, { keys: everybody, tls: true })
  const start = (scene: Scene, out: string, consenting: readonly string[]) => {
    const consent = (party: string) => (consenting.includes(party) ? ['--consent'] : [])
    return [
      ...[0, 1, 2].map((i) =>
        scene.start('compute', `${i}`, '--shares', `houses=${path(`consented/houses.${i}.share`)}`),
      ),
      scene.start('input', 'registry', '--data', `prices=${path('prices.csv')}`, ...consent('registry')),
      scene.start('result', 'analyst', '--out', path(out)),
      scene.start('input', 'agency', ...consent('agency')),
    ]
  }

  it('opens nothing where somebody has not given it, and says so to all', async () => {
    const parties = start(await scenes(), 'refused', ['agency'])
    for (const party of parties) {
      expect(await party.code).toBe(1)
      expect(party.err).toContain('registry did not consent to the job "test", and nothing is opened')
      expect(party.out).not.toContain('has shared')
    }
    expect(parties[5]!.out).toContain('agency consents to what the job "test" opens')
    expect(existsSync(path('refused'))).toBe(false)
  })

  it('opens what it says when all have given it, over TLS', async () => {
    const parties = start(await scenes(), 'consented', ['agency', 'registry'])
    for (const party of parties) expect(await ended(party)).toEqual([0, ''])
    expect(parties[0]!.out).toMatch(/server0 is ready at wss:/)
    expect(parties[0]!.out).toContain('consent: agency, registry')
    const { data } = npy('consented/weights.npy')
    expected.forEach((value, i) => {
      expect(data[i]).toBeCloseTo(value, 2)
    })
  })
})

/**
 * A training without roundings: each row has a one in one of three columns, labels are whole numbers, what gradients are
 * multiplied by is 1 · 2 / 4, and momentum is 1/2. Each of twelve updates takes one binary digit more of the 16 that there are,
 * so that every division is exact, and the weights are those of doubles.
 */
const exact = {
  rows: Array.from({ length: 24 }, (_, i) => [0, 1, 2].map((column) => Number((5 * i + (i >> 2)) % 3 === column))),
  labels: Array.from({ length: 24 }, (_, i) => ((7 * i) % 13) - 6),
  step: {
    do: 'fit',
    model: { layers: lineOf({ use_bias: false }) },
    x: 'rows',
    y: 'labels',
    loss: 'meanSquaredError',
    optimizer: { kind: 'sgd', learningRate: 1, momentum: 0.5 },
    batchSize: 4,
    epochs: 2,
    as: 'net',
  },
} as const
function trainedInClear(): number[] {
  const [weights, velocity] = [
    [0, 0, 0],
    [0, 0, 0],
  ]
  for (const seed of [1, 2]) {
    for (const batch of batches(exact.rows.length, { batchSize: 4, seed })) {
      const residuals = [...batch].map(
        (row) => exact.rows[row]!.reduce((sum, value, i) => sum + value * weights![i]!, 0) - exact.labels[row]!,
      )
      for (const i of weights!.keys()) {
        const gradient = [...batch].reduce((sum, row, at) => sum + exact.rows[row]![i]! * residuals[at]!, 0)
        velocity![i] = velocity![i]! / 2 + gradient / 2
        weights![i]! -= velocity![i]!
      }
    }
  }
  return weights!
}

it('a job goes on from what those who compute have kept when one of them was killed, and comes to the same', async () => {
  writeFileSync(path('rows.csv'), csv('a,b,c', exact.rows))
  const labels = exact.labels.map((label) => [label])
  writeFileSync(path('labels.csv'), csv('y', labels))
  const scene = await sceneOf(
    {
      inputs: { rows: { from: 'agency' }, labels: { from: 'registry' } },
      steps: [{ ...exact.step, checkpoints: { every: 1 } }],
      revealTo: { net: ['analyst'] },
    },
    { keys: [...compute, 'agency', 'registry', 'analyst'] },
  )
  const kept = (i: number) => ['--checkpoints', path(`kept${i}`)]
  const killable = () => {
    const flags = scene.flags('compute', '2', ...kept(2))
    const child = spawn(process.execPath, [built('src/cli/index.ts'), ...flags], { cwd: root })
    children.push(child)
    return child
  }
  const start = () => ({
    servers: [0, 1].map((i) => scene.start('compute', `${i}`, ...kept(i))),
    owners: [
      scene.start('input', 'agency', '--data', `rows=${path('rows.csv')}`),
      scene.start('input', 'registry', '--data', `labels=${path('labels.csv')}`),
    ],
    analyst: scene.start('result', 'analyst', '--out', path('kept')),
  })
  const folder = path('kept2/server2/server0')
  mkdirSync(folder, { recursive: true })
  const third = killable()
  let again: ChildProcess | undefined
  const written = new Set<string>()
  // While it writes its fourth of twelve; it is back at once, as whoever looks after processes has it.
  const watcher = watch(folder, (_, file) => {
    if (!file?.endsWith('.new') || written.add(file).size < 4 || again !== undefined) return
    third.kill('SIGKILL')
    again = killable()
  })
  const before = start()
  for (const party of [...before.servers, before.analyst]) expect(await party.code).toBe(1)
  watcher.close()
  expect(before.servers[0]!.err).toMatch(/server2/)
  expect(before.servers[0]!.out).not.toContain('goes on')
  expect(existsSync(path('kept/net'))).toBe(false)

  const after = start()
  for (const party of [...after.owners, ...after.servers, after.analyst]) expect(await ended(party)).toEqual([0, ''])
  const [, epoch, batch] = /goes on in epoch (\d+), from batch (\d+)/.exec(after.servers[0]!.out)!
  // What was in flight when it was killed was carried out, or not.
  expect(6 * (Number(epoch) - 1) + Number(batch) - 1).toBeGreaterThanOrEqual(3)
  const read = (name: string) => new Uint8Array(readFileSync(path(`kept/net/${name}`)))
  const model = await modelOf({ 'model.json': read('model.json'), 'weights.bin': read('weights.bin') })
  expect([...model.getWeights()[0]!.dataSync()]).toEqual(trainedInClear())
  // It has come to its end: the next run of this job begins anew.
  if (again!.exitCode === null) await once(again!, 'exit')
  for (const i of [0, 1, 2]) {
    expect(readdirSync(path(`kept${i}/server${i}/server0`))).toEqual([])
  }
})

describe('a party of a job in secret', () => {
  const keeping = {
    inputs: { rows: { from: 'agency' }, labels: { from: 'registry' } },
    steps: [{ ...exact.step, checkpoints: {} }],
    revealTo: { net: ['analyst'] },
  }

  it('takes no part in another job than its own', async () => {
    const [scene, other] = [await sceneOf(regression), await sceneOf({ ...regression, name: 'another' })]
    const peers = scene.flags('', '')[6]!
    const stray = ['--peers', peers, '--data', `houses=${path('houses.csv')}`]
    const parties = [
      ...['0', '1', '2'].map((id) => scene.start('compute', id)),
      scene.start('input', 'registry', '--data', `prices=${path('prices.csv')}`),
      scene.start('result', 'analyst', '--out', path('strayed')),
    ]
    const agency = other.start('input', 'agency', ...stray)
    expect(await parties[0]!.code).toBe(1)
    expect(parties[0]!.err).toMatch(/agency has another job/)
    for (const party of parties) expect(await party.code).toBe(1)
    // It has not shared anything, and waits for those of its own job.
    agency.signals.emit('SIGTERM')
    expect(await agency.code).toBe(1)
    expect(agency.out).not.toContain('has shared')
  })

  it.each<[string, string[], number, string, object?]>([
    ['that computes, and is none of the three', ['compute', '--id', '3'], 2, '--id expected 0, 1 or 2'],
    ['that brings nothing', ['input', '--id', 'analyst'], 2, 'a party that brings something: agency, registry'],
    ['that gets nothing', ['result', '--id', 'agency'], 2, 'a party that gets something: analyst'],
    ['without its data', ['input', '--id', 'agency'], 2, '--data houses=file is missing'],
    ['with data of another', ['input', '--id', 'agency', '--data', 'prices=x'], 2, 'it brings no prices'],
    ['without a folder for its result', ['result', '--id', 'analyst'], 2, 'analyst gets weights: give --out'],
    ['with the part of another', ['compute', '--id', '1', '--shares', `houses=PART`], 1, 'takes that of party 1'],
    [
      'with a part in other digits',
      ['compute', '--id', '0', '--shares', `houses=PART`],
      1,
      'it is in fixed(2^16), and the job in fixed(2^12)',
      { precision: { digits: 12 } },
    ],
    ['with text in its table', ['input', '--id', 'agency', '--data', `houses=TEXT`], 1, 'line 2, column 1'],
    [
      'with a key that is not the job’s',
      ['compute', '--id', '0'],
      1,
      'the job has another key for server0',
      {
        keys: Object.fromEntries(
          [...compute, 'agency', 'registry', 'analyst'].map((p) => [p, Identity.generate().key]),
        ),
      },
    ],
    [
      'whose script is not the job’s',
      ['compute', '--id', '0'],
      1,
      'its SHA-256 is',
      { steps: [{ do: 'script', file: 'text.csv', sha256: '0'.repeat(64), as: ['weights'] }] },
    ],
    ['that keeps nothing where the job keeps something', ['compute', '--id', '0'], 2, 'give --checkpoints', keeping],
    [
      'that would not be known again for what it keeps',
      ['compute', '--id', '0', '--checkpoints', 'TEXT'],
      2,
      'give --identity',
      keeping,
    ],
    ['that keeps what nobody keeps', ['compute', '--id', '0', '--checkpoints', 'TEXT'], 2, 'leave --checkpoints out'],
    ['that consents unasked', ['input', '--id', 'agency', '--consent'], 2, 'asks no consent of agency'],
    ['whom nobody joins in time', ['compute', '--id', '0', '--wait', '300'], 1, 'did not come in time'],
  ])('%s ends with a word that says so', async (_, args, code, message, change = {}) => {
    writeFileSync(path('text.csv'), 'a,b\nyes,1\n')
    if (!existsSync(path('own'))) await sotto(['shares', 'split', path('houses.csv'), '--out', path('own')])
    const scene = await sceneOf({ ...regression, ...change })
    const [command, , id, ...flags] = args as [string, string, string, ...string[]]
    const given = flags.map((flag) =>
      flag.replace('PART', path('own/houses.0.share')).replace('TEXT', path('text.csv')),
    )
    const ran = await sotto(scene.flags(command, id, ...given))
    expect({ code: ran.code, err: ran.err }).toEqual({ code, err: expect.stringContaining(message) })
  })

  it('sends nothing where others could read it, and takes nobody beyond this machine at their word', async () => {
    const scene = await sceneOf(regression)
    const said = async (peers: object, ...flags: string[]) => {
      writeFileSync(path('far.json'), JSON.stringify(peers))
      return (await sotto(scene.flags('compute', '0', '--peers', path('far.json'), ...flags))).err
    }
    const near = { server0: '127.0.0.1:0', analyst: '127.0.0.1:1' }
    const far = { ...near, server1: 'ws://192.0.2.1:9000', server2: '127.0.0.1:2' }
    expect(await said(far)).toContain('whoever listens there could put shares together')
    expect(await said({ ...far, server1: '192.0.2.1:9000' })).toContain('nothing says which key server1 holds')
    expect(await said(near)).toContain('it does not say where server1 is')
    expect(await said({ server0: 'here' })).toContain('"server0" expected host:port')
    expect(await said([])).toContain('expected a map of parties')
    expect((await sotto(['compute', '--id', '0', '--job', scene.flags('', '')[4]!])).err).toContain('give --peers')
  })
})
