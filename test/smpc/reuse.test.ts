/** The memory of secrets that were freed is used for others, and never while somebody may still look at it. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { fixPrecision, type SharedTensor, type ShareOptions, share, tf, VirtualWorker } from '../../src/index.ts'
import type { Party } from '../../src/smpc/party.ts'
import { ringTensor } from '../../src/smpc/ring/tensor.ts'
import { StoredShare } from '../../src/smpc/stored-share.ts'
import { exempt, recycle, unfilled } from '../../src/worker/memory-pool.ts'
import { PUBLIC } from '../../src/worker/permissions.ts'

describe('the words of a share', () => {
  // A size that nobody else asks for.
  const COUNT = 12_345
  const party = { session: { name: 'alice' }, shares: 0 } as unknown as Party
  const made = (later = false) => {
    const data = new BigUint64Array(new ArrayBuffer(8 * COUNT))
    const value = [ringTensor(64, [COUNT], data)]
    return { data, share: new StoredShare(party, [COUNT], later ? Promise.resolve(value) : value, { access: PUBLIC }) }
  }
  const next = (): ArrayBuffer => unfilled(8 * COUNT)

  it('are used again when it is freed', () => {
    const { data, share } = made()
    expect(next()).not.toBe(data.buffer)
    share.release()
    expect(next()).toBe(data.buffer)
    expect(next()).not.toBe(data.buffer)
  })

  it('are not while anybody holds it, and are when the last has let it go', () => {
    const { data, share } = made()
    share.hold()
    share.hold()
    share.release()
    share.letGo()
    expect(next()).not.toBe(data.buffer)
    share.letGo()
    expect(next()).toBe(data.buffer)
  })

  it('are not when they come after it was freed, nor when others may look at them', async () => {
    const late = made(true)
    late.share.release()
    await Promise.resolve()
    const shown = made()
    exempt(shown.data.subarray(0, 3))
    shown.share.release()
    const found = [next(), next()]
    expect(found).not.toContain(late.data.buffer)
    expect(found).not.toContain(shown.data.buffer)
  })
})

describe.each<ShareOptions>([
  { protocol: 'replicated' },
  { protocol: 'replicated', ring: 128 },
  { protocol: 'additive' },
])('with %o, secrets that are freed as soon as may be', (options) => {
  const SHAPE = [64, 64] as const
  let workers: VirtualWorker[]
  beforeEach(() => {
    workers = ['alice', 'bob', 'carol', 'provider'].map((name) => new VirtualWorker(name))
  })
  afterEach(() => {
    for (const worker of workers) worker.close()
  })
  const secret = (x: tf.Tensor): SharedTensor => {
    const provider = options.protocol === 'additive' ? { provider: workers[3]! } : {}
    return share(fixPrecision(x), workers.slice(0, 3), { ...options, ...provider })
  }
  /** Makes others of the same sizes, whose memory is then that of whatever was freed. */
  const overwrite = async (): Promise<void> => {
    const noise = Array.from({ length: 12 }, () => secret(tf.randomUniform([...SHAPE], -9, 9)))
    const sums = noise.map((one) => one.add(one))
    await Promise.all(sums.map((one) => one.get()))
    for (const one of [...noise, ...sums]) one.dispose()
  }
  const expectClose = async (result: SharedTensor, wanted: tf.Tensor): Promise<void> => {
    const got = (await result.get()).floatPrecision()
    const worst = tf.max(tf.abs(tf.sub(got, wanted.reshape([...got.shape])))).dataSync()[0]!
    // Two units of the coarsest encoding for each of at most 64 products.
    expect(worst).toBeLessThan(64 * 2 ** -15)
  }

  it('leave what was only moved of them', async () => {
    const x = tf.randomUniform([...SHAPE], -1, 1)
    const moves = [
      (s: SharedTensor) => s.reshape([32, 128]),
      (s: SharedTensor) => s.reshape([16, 256]).reshape([...SHAPE]),
      (s: SharedTensor) => s.expandDims(0),
      (s: SharedTensor) => s.add(0),
      (s: SharedTensor) => s.sum([]),
    ]
    for (const move of moves) {
      const before = secret(x)
      const after = move(before)
      before.dispose()
      await overwrite()
      await expectClose(after, x)
    }
  })

  it('serve the commands that were given before', async () => {
    const x = tf.randomUniform([...SHAPE], -1, 1)
    const y = tf.randomUniform([...SHAPE], -1, 1)
    const [a, b] = [secret(x), secret(y)]
    const results = [a.mul(b), a.relu(), a.matMul(b), a.sub(b), a.neg()]
    a.dispose()
    b.dispose()
    await overwrite()
    const wanted = [tf.mul(x, y), tf.relu(x), tf.matMul(x, y), tf.sub(x, y), tf.neg(x)]
    for (const [i, result] of results.entries()) await expectClose(result, wanted[i]!)
  })
})

it('recycles nothing that was exempted, however it is looked at', () => {
  const whole = new Uint8Array(new ArrayBuffer(98_768))
  exempt(new BigUint64Array(whole.buffer))
  recycle(whole)
  expect(unfilled(98_768)).not.toBe(whole.buffer)
})
