/** What comes of an example does not depend on where its workers are. */
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'
import { hook, ready, sumOf, tf } from 'sotto'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { encryptedInference } from '../../examples/encrypted-inference.ts'
import { federatedSpam } from '../../examples/federated-spam.ts'
import { startScript, startWorkerProcess } from '../../examples/lib/processes.ts'
import { startWorkers, type WorkerKind, workerKinds } from '../../examples/lib/workers.ts'
import { pointers } from '../../examples/pointers.ts'
import { secretInference } from '../../examples/secret-inference.ts'
import { secretSpam } from '../../examples/secret-spam.ts'
import { splitMnist } from '../../examples/split-mnist.ts'
import { built } from '../built.ts'
import { greatestDifference, weightDifference } from './compare.ts'
import { capturePrinted } from './printed.ts'

/** Floats go the same way everywhere; what may differ is the machine's. */
const TOLERANCE = 1e-5
const LONG = process.env['SOTTO_LONG'] !== undefined
/** Kinds that are compared with the workers of this process. */
const elsewhere = workerKinds.filter((kind) => kind !== 'virtual')
const figures: string[] = []

let printed: () => string
beforeAll(() => {
  printed = capturePrinted()
})
afterAll(() => {
  if (figures.length > 0) process.stdout.write(`${figures.join('\n')}\n`)
})

/** Runs an example with workers of a kind, and writes down what it took. */
async function timed<R>(what: string, kind: WorkerKind, run: (kind: WorkerKind) => Promise<R>): Promise<R> {
  const started = performance.now()
  const result = await run(kind)
  if (LONG) figures.push(`${what}, ${kind}: ${((performance.now() - started) / 1000).toFixed(1)} s`)
  return result
}

function noted(what: string, kind: WorkerKind, difference: number): void {
  if (LONG) figures.push(`${what}, ${kind}: differs from virtual by ${difference} at most`)
  expect(difference).toBeLessThanOrEqual(TOLERANCE)
}

/**
 * Bits below the point in which secrets are compared. A division in secret is a unit off or not, as the masks have it:
 * no two runs agree in the last bits, wherever they run. With 16 bits a unit is more than the tolerance.
 */
const PRECISION = 24

const terms = { parties: 3, batchSize: 32, learningRate: 2, precision: PRECISION, seed: 1 }
const secretOptions = { ...terms, aggregation: 'shares' } as const

async function compareSecretSpam(kind: WorkerKind, size: { rounds: number; dimension: number; limit: number }) {
  const run = (workers: WorkerKind) => secretSpam({ ...secretOptions, ...size, workers })
  const [here, there] = [await timed('secret-spam', 'virtual', run), await timed('secret-spam', kind, run)]
  noted('secret-spam, errors of the toy', kind, greatestDifference(there.toy, here.toy))
  noted('secret-spam, weights', kind, weightDifference(there.weights, here.weights))
  // A look at one owner's update is refused wherever the owner is.
  expect(there.refusal.replaceAll(/ \(on .*?\)/g, '')).toBe(here.refusal.replaceAll(/ \(on .*?\)/g, ''))
  expect(there.refusal.match(/ERR_PERMISSION/g)).toHaveLength(2)
}

describe('examples give the same', () => {
  it('pointers, on threads', async () => {
    const here = await pointers({ workers: 'virtual' })
    const table = printed().split('Who saw what')[1]
    const there = await pointers({ workers: 'thread' })
    expect(there).toEqual(here)
    expect(printed().split('Who saw what')[1]).toBe(table)
  })

  it('secret-spam, on sockets', async () => {
    await compareSecretSpam('socket', { rounds: 1, dimension: 64, limit: 200 })
  })

  it('encrypted-inference, on sockets', async () => {
    const { accuracy, otherClasses, refusals } = await encryptedInference({
      network: 'A',
      protocol: 'replicated',
      opens: 'scores',
      images: 16,
      batchSize: 16,
      epochs: 2,
      limit: 512,
      seed: 1,
      workers: 'socket',
    })
    // Guessing gets a tenth; a digit that is nearly a tie may be taken for another.
    expect(accuracy.plain).toBeGreaterThan(0.3)
    expect(otherClasses).toBeLessThanOrEqual(1)
    expect(refusals.dana).toMatch(/^ERR_PERMISSION/)
    expect(refusals.modelOwner).toMatch(/^ERR_PERMISSION/)
  })
})

describe('the comparison', () => {
  it('finds what is too far off, what is no number, and what has another shape', () => {
    const weight = (shape: number[], ...data: number[]) => [{ shape, data: Float32Array.from(data) }]
    const one = weight([2], 1, 2)
    expect(weightDifference(one, weight([2], 1, 2))).toBe(0)
    expect(weightDifference(one, weight([2], 1, 2.5))).toBe(0.5)
    expect(weightDifference(one, weight([2], Number.NaN, 2))).toBe(Number.POSITIVE_INFINITY)
    expect(() => weightDifference(one, weight([2, 1], 1, 2))).toThrow()
  })
})

describe('worker processes', () => {
  it('say why they do not start, from TypeScript too', async () => {
    await expect(startWorkerProcess(['--id', 'bob', '--colour', 'red'])).rejects.toThrow(/did not start\n.*--colour/)
    vi.stubEnv('SOTTO_BUILT', undefined)
    await expect(startWorkerProcess(['--id', 'bob', '--colour', 'red'])).rejects.toThrow(/did not start\n.*--colour/)
    vi.unstubAllEnvs()
  })

  it('end when whoever started them is killed', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'sotto-test-'))
    try {
      const child = join(folder, 'child.mjs')
      const parent = join(folder, 'parent.mjs')
      await writeFile(child, 'setInterval(() => {}, 1000); console.log(process.pid)')
      const module = pathToFileURL(built('examples/lib/processes.ts')).href
      await writeFile(
        parent,
        `import { startScript } from ${JSON.stringify(module)}
        startScript(${JSON.stringify(child)}, [], 'pipe').stdout.pipe(process.stdout)`,
      )
      const started = startScript(parent, [], 'pipe')
      const exited = once(started, 'exit')
      const [line] = (await once(createInterface({ input: started.stdout! }), 'line')) as [string]
      expect(isRunning(Number(line))).toBe(true)
      started.kill('SIGKILL')
      await exited
      await expect.poll(() => isRunning(Number(line)), { timeout: 5000 }).toBe(false)
    } finally {
      await rm(folder, { recursive: true })
    }
  })
})

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

describe.runIf(LONG)('examples give the same at full size', () => {
  describe.each(elsewhere)('on workers of the kind %s', (kind) => {
    it('pointers', async () => {
      const here = await pointers({ workers: 'virtual' })
      expect(await timed('pointers', kind, (workers) => pointers({ workers }))).toEqual(here)
    })

    it('split-mnist: losses and weights after 200 steps', async () => {
      // Four epochs of fifty batches.
      const options = { epochs: 4, batchSize: 64, learningRate: 0.03, optimizer: 'sgd', seed: 1, limit: 3200 }
      const run = (workers: WorkerKind) => splitMnist({ ...options, workers })
      const [here, there] = [await timed('split-mnist', 'virtual', run), await timed('split-mnist', kind, run)]
      noted('split-mnist, losses of 200 steps', kind, greatestDifference(there.losses, here.losses))
      noted('split-mnist, weights', kind, weightDifference(there.weights, here.weights))
      expect(there.testAccuracy).toBe(here.testAccuracy)
    })

    it('federated-spam: weights', async () => {
      const options = { rounds: 3, batchSize: 32, learningRate: 2, dimension: 1024, seed: 1, limit: 1200 }
      const run = (workers: WorkerKind) => federatedSpam({ ...options, workers })
      const [here, there] = [await timed('federated-spam', 'virtual', run), await timed('federated-spam', kind, run)]
      noted('federated-spam, weights', kind, weightDifference(there.weights, here.weights))
      noted('federated-spam, AUC', kind, greatestDifference(there.auc, here.auc))
    })

    it('secret-spam: weights', async () => {
      await compareSecretSpam(kind, { rounds: 3, dimension: 1024, limit: 1200 })
    })

    it('secret-inference: verdicts', async () => {
      const options = { parties: 2, images: 200, batchSize: 100, epochs: 1, dimension: 1024, seed: 1, limit: 1500 }
      const run = (workers: WorkerKind) => secretInference({ ...options, workers })
      const [here, there] = [
        await timed('secret-inference', 'virtual', run),
        await timed('secret-inference', kind, run),
      ]
      expect(there.verdicts).toEqual(here.verdicts)
      expect(there.accuracy.plain).toBe(here.accuracy.plain)
      // In 16 bits below the point, a class that is nearly a tie may turn.
      expect(Math.abs(there.accuracy.secret - here.accuracy.secret)).toBeLessThanOrEqual(0.005)
    })

    it('arithmetic in the ring, bit for bit', async () => {
      expect(await inTheRing(kind)).toEqual(await inTheRing('virtual'))
    })
  })
})

/** What secrets give that no rounding touches: sums, differences, comparisons. */
async function inTheRing(kind: WorkerKind): Promise<number[][]> {
  await ready()
  hook()
  await using workers = await startWorkers(kind, ['bob', 'alice', 'jane', 'carol'])
  const [bob, alice, jane, provider] = workers.all
  const parties = [bob, alice, jane]
  const values = Array.from({ length: 1000 }, (_, i) => ((i * 7919) % 2001) / 64 - 15)
  const secrets = parties.map((party, i) => {
    const value = tf.tensor(values).mul(i + 1)
    const there = value.send(party).fixPrecision().share(parties, { provider })
    value.dispose()
    return there
  })
  const [a, b] = [secrets[0]!, secrets[1]!]
  const opened = await Promise.all(
    [sumOf(secrets), a.sub(b), a.greater(b), b.neg().lessEqual(a)].map((one) => one.reveal()),
  )
  return opened.map((one) => [...one.dataSync()])
}
