import { beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { encryptedInference } from '../../examples/encrypted-inference.ts'
import { encryptedTraining } from '../../examples/encrypted-training.ts'
import { federatedSpam } from '../../examples/federated-spam.ts'
import { pointers } from '../../examples/pointers.ts'
import { secretInference } from '../../examples/secret-inference.ts'
import { secretSpam } from '../../examples/secret-spam.ts'
import { sharedCustomers } from '../../examples/shared-customers.ts'
import { splitMnist } from '../../examples/split-mnist.ts'
import { capturePrinted } from './printed.ts'

/** What was printed since it was last asked. */
let printed: () => string
beforeAll(() => {
  printed = capturePrinted()
})
beforeEach(() => {
  printed()
})

describe('examples', () => {
  it('pointers: sends, computes, refuses, and trains', async () => {
    const { sum, refusals, weights } = await pointers({ workers: 'virtual' })
    expect(sum).toBe(30)
    expect(refusals).toEqual(['ERR_NOT_COLLOCATED', 'ERR_SHAPE', 'ERR_CONSUMED', 'ERR_PERMISSION', 'ERR_PERMISSION'])
    // y = second input, within what fifty steps leave.
    expect(weights[0]).toBeCloseTo(0, 1)
    expect(weights[1]).toBeCloseTo(1, 1)
    const text = printed()
    expect(text).toContain('Who saw what')
    expect(text).toMatch(/carol .*#secret.*fetch/)
    expect(text).toContain('fetch, refused')
  })

  it('shared-customers: lines rows up, and shows nobody another id', async () => {
    const { shared, income, spending, refusal } = await sharedCustomers({ workers: 'virtual' })
    expect(shared).toBe(3)
    // Ada, Grace and Barbara; of Ada's two rows at the shop the first counts.
    expect(income).toBeCloseTo((52_000 + 74_000 + 83_000) / 3, 0)
    expect(spending).toBeCloseTo((310 + 120 + 205) / 3, 3)
    expect(refusal).toContain('has not allowed')
    const rows = printed().split('\n')
    // Ids came to nobody but those who sent them, and a stranger got none.
    for (const row of rows.filter((line) => line.includes('#ids'))) expect(row).toMatch(/│ (bank|shop) .* send /)
    expect(rows.filter((line) => line.includes('intersect, refused'))).toHaveLength(2)
  })

  it('split-mnist: learns, and shows nobody an image or a label', async () => {
    const options = {
      epochs: 2,
      batchSize: 64,
      learningRate: 0.002,
      optimizer: 'adam',
      seed: 1,
      limit: 1500,
      workers: 'virtual',
    }
    const { losses, testAccuracy, refusal } = await splitMnist(options as Parameters<typeof splitMnist>[0])
    expect(losses).toHaveLength(2)
    expect(losses[1]!).toBeLessThan(losses[0]!)
    // Guessing gets a tenth of them.
    expect(testAccuracy).toBeGreaterThan(0.5)
    expect(refusal).toContain('private to alice')
    const text = printed()
    for (const part of ['Test accuracy', 'Training loss', 'taken for', 'Who saw what']) expect(text).toContain(part)
    // The only ones to whom an image or a label came are those who brought it.
    const rows = text.split('\n').filter((line) => line.includes('#mnist') && !line.includes('refused'))
    expect(rows).toHaveLength(3)
    for (const row of rows) expect(row).toMatch(/^│ alice .*#images *│ alice|^│ bob .*#labels *│ bob/)
  })

  it('federated-spam: the toy and the filter learn, in rounds', async () => {
    const options = {
      rounds: 3,
      batchSize: 32,
      learningRate: 2,
      dimension: 1024,
      seed: 1,
      limit: 1200,
      workers: 'virtual',
    }
    const { toy, auc, accuracy } = await federatedSpam(options as Parameters<typeof federatedSpam>[0])
    expect(toy).toHaveLength(5)
    expect(toy[4]!).toBeLessThan(toy[0]!)
    expect(auc).toHaveLength(3)
    expect(auc[2]!).toBeGreaterThan(0.9)
    expect(accuracy[2]!).toBeGreaterThan(0.8)
    const text = printed()
    expect(text).toContain('averaging is in clear')
    expect(text).toContain('Who saw what')
  })

  it('secret-spam: learns what averaging in clear learns, and shows nobody an update', async () => {
    const options = {
      parties: 3,
      rounds: 3,
      batchSize: 32,
      learningRate: 2,
      dimension: 1024,
      precision: 16,
      seed: 1,
      limit: 1200,
      aggregation: 'shares',
      workers: 'virtual',
    } as const
    const secret = await secretSpam(options)
    const text = printed()
    const clear = await secretSpam({ ...options, aggregation: 'clear' })
    expect(secret.toy).toHaveLength(5)
    // A mean in secret is within three units of 2^-16 of the mean in clear, and so are five rounds of steps on it.
    secret.toy.forEach((error, i) => {
      expect(Math.abs(error - clear.toy[i]!)).toBeLessThan(0.01)
    })
    expect(secret.auc[2]!).toBeGreaterThan(0.9)
    expect(Math.abs(secret.auc[2]! - clear.auc[2]!)).toBeLessThan(0.002)
    expect(secret.refusal.match(/ERR_PERMISSION/g)).toHaveLength(2)
    // What the caller saw came from all the owners together; what one of them learnt was refused.
    const seen = text.split('\n').filter((line) => /^│ me +│/.test(line) && !line.includes('refused'))
    expect(seen.length).toBeGreaterThan(0)
    for (const row of seen) expect(row).toContain('bob + alice + jane')
    expect(text).toContain('nothing of float32 [1024,1]')
  })

  it('secret-inference: the sender learns the verdict, the owner of the model does not', async () => {
    const { verdicts, refusal, accuracy } = await secretInference({
      parties: 2,
      images: 200,
      batchSize: 100,
      epochs: 1,
      dimension: 1024,
      seed: 1,
      limit: 1500,
      workers: 'virtual',
    })
    expect(verdicts).toHaveLength(4)
    expect(verdicts.filter(({ isSpam, verdict }) => isSpam === verdict).length).toBeGreaterThanOrEqual(3)
    expect(refusal).toContain('ERR_PERMISSION')
    // Of 200 images, fixed precision may turn one that is nearly a tie.
    expect(Math.abs(accuracy.secret - accuracy.plain)).toBeLessThanOrEqual(0.005)
    expect(accuracy.plain).toBeGreaterThan(0.5)
    const text = printed()
    expect(text).toMatch(/sam +│ float32 \[4,1\] +│ olga \+ sam +│ reveal/)
    expect(text).not.toMatch(/│ olga +│ float32 \[4,1\]/)
  })

  it('encrypted-training: three parties train, nobody sees an image, and olga consents to what is opened', async () => {
    const { accuracy, refusal, opened, plain, batch } = await encryptedTraining({
      network: 'logistic',
      protocol: 'replicated',
      epochs: 2,
      batchSize: 32,
      optimizer: 'sgd',
      momentum: 0,
      seed: 1,
      limit: 256,
      test: 100,
      plain: true,
      workers: 'virtual',
    })
    expect(refusal).toMatch(/^ERR_CONSENT: .*olga/)
    expect(accuracy).toHaveLength(2)
    // The weights that were counted with, as they are: in clear what was nearly a tie may fall the other way.
    expect(Math.abs(opened - accuracy[1]!)).toBeLessThanOrEqual(0.01)
    expect(Math.abs(opened - plain!)).toBeLessThanOrEqual(0.01)
    expect(batch.rounds).toBeGreaterThan(0)
    const text = printed()
    expect(text).toContain('nothing of float32 [256,784]')
    const seen = text.split('\n').filter((line) => line.includes('[256,784]') && !line.includes('nothing of'))
    expect(seen).toHaveLength(1)
    expect(seen[0]).toMatch(/^│ olga +│ float32 \[256,784\] #images #block-0 +│ olga/)
  })

  it.each(['replicated', 'additive'] as const)(
    'encrypted-inference: classes come to the owner of the images alone, %s',
    async (protocol) => {
      const { accuracy, otherClasses, refusals, batch } = await encryptedInference({
        network: 'A',
        protocol,
        opens: 'class',
        images: 60,
        batchSize: 40,
        epochs: 2,
        limit: 1000,
        seed: 1,
        workers: 'virtual',
      })
      // Guessing gets a tenth of them.
      expect(accuracy.plain).toBeGreaterThan(0.5)
      // Of sixty, one that is nearly a tie may be taken for another.
      expect(otherClasses).toBeLessThanOrEqual(1)
      expect(Math.abs(accuracy.secret - accuracy.plain)).toBeLessThanOrEqual(otherClasses / 60)
      expect(refusals.dana).toMatch(/^ERR_PERMISSION: reveal: .*private to image-owner, model-owner/)
      expect(refusals.modelOwner).toMatch(/^ERR_PERMISSION: fetch: /)
      expect(batch.rounds).toBeGreaterThan(0)
      const rows = printed().split('\n')
      const saw = (what: RegExp) => rows.filter((row) => what.test(row) && !row.includes('nothing of'))
      // Images, weights and classes came to nobody but those who brought them, and to whom they were opened.
      const images = saw(/float32 \[[24]0,784\]/)
      expect(images).toHaveLength(2)
      for (const row of images) expect(row).toMatch(/^│ image-owner .*│ image-owner +│ send /)
      const weights = saw(/#weights/)
      expect(weights).toHaveLength(6)
      for (const row of weights) expect(row).toMatch(/^│ model-owner .*│ model-owner +│ send /)
      const classes = saw(/int32 \[[24]0\]/)
      expect(classes).toHaveLength(4)
      for (const row of classes) expect(row).toMatch(/^│ image-owner .*allowed by image-owner, model-owner/)
    },
  )

  const isLong = process.env['SOTTO_LONG'] !== undefined
  it.runIf(isLong).each(['A', 'B', 'C', 'D'] as const)(
    'encrypted-training: a step of network %s is that in clear',
    async (network) => {
      const { accuracy, opened, plain } = await encryptedTraining({
        network,
        protocol: 'replicated',
        epochs: 1,
        batchSize: 64,
        optimizer: 'sgd',
        learningRate: 0.02,
        momentum: 0,
        seed: 1,
        limit: 64,
        test: 100,
        plain: true,
        workers: 'virtual',
      })
      // Of the hundred, two that are nearly ties may be taken for another.
      expect(Math.abs(accuracy[0]! - opened)).toBeLessThanOrEqual(0.02)
      expect(Math.abs(opened - plain!)).toBeLessThanOrEqual(0.02)
    },
  )
})
