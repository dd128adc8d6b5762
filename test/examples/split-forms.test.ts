/** Split learning in all its forms: what is learnt, what it costs, who sees what. */
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { hook, loadMnist } from 'sotto'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type FormName, forms, planOf } from '../../examples/lib/forms.ts'
import { bring, type Digits } from '../../examples/lib/owners.ts'
import { startWorkers } from '../../examples/lib/workers.ts'
import { optionsOf, type SplitFormsOptions, type SplitFormsResult, trainForm } from '../../examples/split-forms.ts'
import { research as byHand } from '../../examples/split-mnist.ts'
import { readyForTest } from '../backend.ts'
import { capturePrinted } from './printed.ts'

const [ROWS, TESTED] = [256, 100]
let data: Digits
let printed: () => string
let folder: string
beforeAll(async () => {
  printed = capturePrinted()
  await readyForTest()
  // For the example with pointers.
  hook()
  data = await loadMnist({ limit: ROWS, testLimit: TESTED, onNotice: () => {} })
  folder = await mkdtemp(join(tmpdir(), 'sotto-test-'))
})
afterAll(() => rm(folder, { recursive: true }))
beforeEach(() => {
  printed()
})

const options = (form: FormName, more: Partial<SplitFormsOptions> = {}): SplitFormsOptions => ({
  ...optionsOf(['--form', form, '--epochs', '2', '--learning-rate', '0.1']),
  plot: null,
  ...more,
})

/** Links of each form over which activations go, and round trips that a step makes over each. */
const paths: Readonly<Record<FormName, Readonly<Record<string, number>>>> = {
  vanilla: { 'alice bob': 1 },
  hops: { 'alice carol': 1, 'bob carol': 1 },
  'u-shaped': { 'alice bob': 2 },
  vertical: { 'alice bob': 1, 'bob carol': 1 },
  'vertical-3': { 'alice bob': 1, 'bob carol': 1, 'bob dave': 1 },
  turns: { 'alice bob': 1, 'bob carol': 1, 'bob dave': 1 },
  parallel: { 'alice bob': 1, 'bob carol': 1, 'bob dave': 1 },
}

describe('split learning', () => {
  const results = new Map<FormName, SplitFormsResult>()

  it.each(Object.keys(forms) as FormName[])(
    'learns, cheaply, and shows nobody an image or a label: %s',
    async (form) => {
      const result = await trainForm(data, options(form))
      results.set(form, result)
      const { losses, accuracies, links, steps } = result
      expect(losses).toHaveLength(2)
      expect(losses[1]!).toBeLessThan(losses[0]!)
      for (const share of accuracies) expect(share * TESTED).toBeCloseTo(Math.round(share * TESTED), 3)

      const between = links.filter(({ ends }) => !ends.includes('me'))
      const trips = between.filter(({ roundTrips }) => roundTrips > 0)
      expect(Object.fromEntries(trips.map(({ ends, roundTrips }) => [ends.join(' '), roundTrips / steps]))).toEqual(
        paths[form],
      )
      for (const { bytes, values } of between) {
        expect(values).toBeGreaterThan(0)
        expect(bytes / values).toBeGreaterThan(1)
        expect(bytes / values).toBeLessThanOrEqual(1.02)
      }

      const text = printed()
      for (const part of ['Each epoch', 'over each link', 'private to alice']) expect(text).toContain(part)
      // The only ones to whom an image or a label came are those who brought it.
      const rows = text.split('\n').filter((line) => /#(images|labels)/.test(line) && !line.includes('refused'))
      expect(rows.length).toBeGreaterThanOrEqual(4)
      for (const row of rows) expect(row).toMatch(/^│ (\w+) .*│ \1 +│ send /)
    },
  )

  it('trains the same network in a chain of any length, in a U, and by hand with pointers', async () => {
    const { losses } = results.get('vanilla')!
    expect(results.get('hops')!.losses).toEqual(losses)
    expect(results.get('u-shaped')!.losses).toEqual(losses)
    await using workers = await startWorkers('virtual', ['alice', 'bob'])
    const [alice, bob] = workers.all
    const at = new Map(workers.all.map((worker) => [worker.id, worker]))
    await bring(planOf('vanilla', options('vanilla')), at, data, 1)
    const cast = { alice, bob, testLabels: data.test.labels }
    const other = await byHand(cast, { ...options('vanilla'), optimizer: 'sgd' })
    // There the sum of the losses of 256 rows, below 1024, is rounded at other places: four times by 2^-15, here and there.
    for (const [i, loss] of other.losses.entries()) expect(Math.abs(loss - losses[i]!)).toBeLessThan(2 ** -20)
    expect(other.testAccuracy).toBeCloseTo(results.get('vanilla')!.accuracies[1]!, 6)
  })

  it('leaves out, and tells of, a row that one owner has lost', () => {
    const { rows, missing } = results.get('vertical-3')!
    expect(rows).toBe(ROWS - 1)
    expect(missing).toEqual([{ worker: 'dave', ids: [7] }])
    expect(results.get('turns')!.rows).toBe(ROWS)
  })

  it('draws losses and accuracies, and says where', async () => {
    const plot = join(folder, 'plot.svg')
    await trainForm(
      { train: data.train.slice(0, 64), test: data.test },
      options('vertical', {
        plot,
        join: 'sum',
        microBatches: 2,
        inFlight: 2,
        compress: 'int8',
        noise: 0.1,
        noPeek: 0.1,
        epochs: 1,
      }),
    )
    const text = printed()
    expect(text).toContain(plot)
    expect(text).toMatch(/\([\d.]+, 0.00001\)-private/)
    expect(await readFile(plot, 'utf8')).toMatch(
      /^<svg [^>]*>\n<title id="title">Split learning on MNIST: vertical<\/title>/,
    )
  })

  it('takes its flags', () => {
    expect(optionsOf([])).toMatchObject({ form: 'vanilla', epochs: 15, noPeek: 0, noise: 0, plot: 'split-vanilla.svg' })
    const flags = ['--form', 'hops', '--no-peek', '0.5', '--noise', '0', '--in-flight', '8', '--plot', 'a.svg']
    expect(optionsOf(flags)).toMatchObject({ form: 'hops', noPeek: 0.5, inFlight: 8, plot: 'a.svg' })
  })
})
