/** The demos among real parties, and the page about them. */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type HostsOptions, runHosts } from '../../examples/hosts/run.ts'
import type { Weight } from '../../examples/lib/weights.ts'
import { splitMnist } from '../../examples/split-mnist.ts'
import { parseSettings } from '../../src/cli/settings.ts'
import { parseNpy } from '../../src/data/npy.ts'
import { greatestDifference, weightDifference } from './compare.ts'
import { capturePrinted } from './printed.ts'

const LONG = process.env['SOTTO_LONG'] !== undefined

/** What a long run comes to. */
const figures: string[] = []
afterAll(() => {
  if (figures.length > 0) process.stdout.write(`${figures.join('\n')}\n`)
})
function noted(what: string, difference: number): number {
  if (LONG) figures.push(`${what}: differs from one process by ${difference} at most`)
  return difference
}

let printed: () => string
beforeAll(() => {
  printed = capturePrinted()
})
let folder: string
beforeEach(async () => {
  printed()
  folder = await mkdtemp(join(tmpdir(), 'sotto-test-'))
})
afterEach(() => rm(folder, { recursive: true }))

/** Runs a demo, and gives what the researcher keeps. */
async function run<R extends object>(demo: string, options: HostsOptions): Promise<R & { weights: Weight[] }> {
  const parties = join(folder, 'parties')
  await runHosts(demo, { ...options, folder: parties })
  const home = join(parties, 'researcher')
  const result = JSON.parse(await readFile(join(home, 'result.json'), 'utf8')) as R
  const files = (await readdir(home)).filter((file) => file.startsWith('weights-')).sort()
  const weights = await Promise.all(
    files.map(async (file) => {
      const { shape, data } = parseNpy(await readFile(join(home, file)), file)
      return { shape, data: data as Float32Array }
    }),
  )
  return { ...result, weights }
}

/** Rows of the table of who saw what, cell by cell. */
const rowsOf = (text: string): string[][] =>
  text
    .split('Who saw what')[1]!
    .split('\n')
    .map((line) => line.split('│').map((cell) => cell.trim()))
    .filter((cells) => cells.length > 3)

describe('parties in processes of their own', () => {
  it('train what one process trains, on data that each has brought itself', async () => {
    const there = await run<{ losses: number[]; refusal: string }>('split-mnist', { rounds: 2, limit: 200, seed: 1 })
    const text = printed()
    const here = await splitMnist({
      epochs: 2,
      batchSize: 64,
      learningRate: 0.002,
      optimizer: 'adam',
      seed: 1,
      limit: 200,
      workers: 'virtual',
    })
    expect(noted('losses', greatestDifference(there.losses, here.losses))).toBeLessThanOrEqual(1e-5)
    expect(noted('weights', weightDifference(there.weights, here.weights))).toBeLessThanOrEqual(1e-5)
    expect(there.refusal).toContain('private to alice')

    const rows = rowsOf(text)
    const own = rows.filter((cells) => cells.includes('own data'))
    expect(own.map(([, who, , from]) => [who, from])).toEqual([
      ['alice', 'alice'],
      ['alice', 'alice'],
      ['bob', 'bob'],
    ])
    // No other row speaks of an image or a label, unless it was refused.
    const seen = rows.filter(([, , what]) => what!.includes('#mnist') && !what!.startsWith('nothing'))
    expect(seen).toEqual(own)
    expect(text).toMatch(/alice +process \d+ at wss?:/)
    expect(text).toContain('The processes of alice, bob have ended')
  })

  it.runIf(LONG)('average in clear', async () => {
    const { auc } = await run<{ auc: number[] }>('federated-spam', { rounds: 3, limit: 1200, seed: 1 })
    expect(auc[2]!).toBeGreaterThan(0.9)
  })

  it.runIf(LONG)('average in secret, and are known by their keys', async () => {
    const { auc, refusal } = await run<{ auc: number[]; refusal: string }>('secret-spam', {
      rounds: 3,
      limit: 1200,
      seed: 1,
    })
    expect(auc[2]!).toBeGreaterThan(0.9)
    figures.push(`average in secret: AUC ${auc.map((value) => value.toFixed(4)).join(', ')}`)
    expect(refusal.match(/ERR_PERMISSION/g)).toHaveLength(2)
    const seen = rowsOf(printed()).filter(([, who, what]) => who === 'researcher' && !what!.startsWith('nothing'))
    expect(seen.length).toBeGreaterThan(0)
    for (const [, , , from] of seen) expect(from).toBe('bob + alice + jane')
  })
})

describe('the page about three machines', () => {
  it('shows configuration files that a worker takes', async () => {
    const page = await readFile(new URL('../../examples/hosts/README.md', import.meta.url), 'utf8')
    const files = [...page.matchAll(/```yaml\n(.*?)```/gs)].map(([, text]) => parseSettings(text!, 'worker.yaml'))
    expect(files.map(({ id }) => id)).toEqual(['alice', 'bob', 'bob'])
    // What it says of data must be of data that there are.
    for (const { data, tags, allowResults = {}, allowShares = {} } of files) {
      expect(Object.keys(tags!)).toEqual(Object.keys(data!))
      expect(Object.keys({ ...allowResults, ...allowShares })).toEqual(Object.keys(data!))
    }
  })
})
