/** What workers take from each other and from callers in the course of an intersection. */
import { hook, intersect, type PointerTensor, tf, VirtualWorker } from 'sotto'
import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import { runsOf } from '../../src/psi/workers/peer-channels.ts'
import { readyForTest } from '../backend.ts'

const open: VirtualWorker[] = []
const worker = (id: string, options = {}) => {
  const made = new VirtualWorker(id, options)
  open.push(made)
  return made
}
beforeAll(async () => {
  await readyForTest()
  hook()
})
afterEach(async () => {
  await Promise.all(open.splice(0).map((one) => one.close()))
})

const send = (ids: number[], to: VirtualWorker): PointerTensor => tf.tensor1d(ids, 'int32').send(to)
const curve = { protocol: 'curve' } as const

describe('intersect', () => {
  it('is refused for what are no ids of two owners, before anything is sent', async () => {
    const [bob, alice] = [worker('bob'), worker('alice')]
    const ids = send([1], bob)
    const codeOf = (given: unknown, options = {}) =>
      intersect(given as PointerTensor[], options).then(
        () => 'nothing',
        (error) => error.code,
      )
    expect(await codeOf([ids])).toBe('ERR_ARGUMENT_VALUE')
    expect(await codeOf([ids, tf.tensor1d([1])])).toBe('ERR_ARGUMENT_TYPE')
    expect(await codeOf([ids, send([1], bob)])).toBe('ERR_PARTIES')
    const both = [ids, send([1], alice)]
    for (const options of [{ reveal: 'all' }, { protocol: 'x' }, { padTo: -1 }, { timeout: 0 }, { more: 1 }]) {
      expect(await codeOf(both, options), JSON.stringify(options)).toBe('ERR_ARGUMENT_VALUE')
    }
    expect(await codeOf(both, { reveal: 'size', protocol: 'fast' })).toBe('ERR_ARGUMENT_VALUE')
    expect(await codeOf([...both, send([1], worker('jane'))], { reveal: 'size' })).toBe('ERR_ARGUMENT_VALUE')
    // Padding that would tell less than there is.
    expect(await codeOf([send([1, 2], bob), both[1]], { padTo: 1 })).toBe('ERR_ARGUMENT_VALUE')
  })

  it('takes runs of one caller at the same time, and leaves nothing behind where it fails', async () => {
    const [bob, alice] = [worker('bob'), worker('alice')]
    const pairs = [
      [send([1, 2, 3], bob), send([2, 3, 4], alice)],
      [send([5], bob), send([6], alice)],
    ]
    const results = await Promise.all(pairs.map((pair) => intersect(pair, curve)))
    expect(results.map(({ size }) => size)).toEqual([2, 0])
    const before = await bob.objectCount()
    await expect(intersect([pairs[0]![0]!, tf.zeros([1, 1, 1], 'int32').send(alice)], curve)).rejects.toMatchObject({
      code: 'ERR_SHAPE',
    })
    await bob.flush().catch(() => {})
    expect(await bob.objectCount()).toBe(before)
  })

  it('does not wait for an owner that was never told, longer than was said', async () => {
    const [bob, alice] = [worker('bob'), worker('alice')]
    bob.addWorkers([alice])
    const ids = send([1], bob).id
    const terms = { parties: ['bob', 'alice'], index: 0, reveal: 'both', protocol: 'curve', padTo: null, timeout: 200 }
    const alone = bob.ask('psiRun' as never, { run: 'r1', ids, out: 'o1', ...terms } as never)
    await expect(alone).rejects.toMatchObject({ code: 'ERR_TIMEOUT' })
    const elsewhere = bob.ask('psiRun' as never, { run: 'r2', ids, out: 'o2', ...terms, index: 1 } as never)
    await expect(elsewhere).rejects.toMatchObject({ code: 'ERR_PARTIES' })
  })

  it('counts float32 rows that are no whole numbers as rows without an id', async () => {
    const [bob, alice] = [worker('bob'), worker('alice')]
    const floats = tf.tensor1d([1, 2.5, 3, Number.NaN, 7]).send(bob)
    const { size, reports } = await intersect([floats, send([3, 2, 7], alice)], curve)
    expect([size, reports[0]!.empty]).toEqual([2, 2])
  })
})

describe('channels between workers', () => {
  const host = () => {
    const sent: unknown[] = []
    const link = { tell: (_: string, body: unknown) => sent.push(body), onClose: () => () => {} }
    const session = { onEnd: () => {}, linkTo: () => link } as never
    return { runs: runsOf(session), sent }
  }

  it('keep what comes before this worker is told of a run, up to a limit', async () => {
    const { runs } = host()
    runs.take('early', 'bob', Uint8Array.of(1))
    expect(await runs.open('early', 'bob').channel.receive()).toEqual(Uint8Array.of(1))
    for (let i = 0; i < 64; i++) runs.take(`run ${i}`, 'bob', Uint8Array.of(1))
    expect(() => runs.take('one more', 'bob', Uint8Array.of(1))).toThrow(expect.objectContaining({ code: 'ERR_LIMIT' }))
  })

  it('are used once, and drop what comes when they are closed', () => {
    const { runs } = host()
    const { close } = runs.open('r', 'bob')
    expect(() => runs.open('r', 'bob')).toThrow(expect.objectContaining({ code: 'ERR_ID_TAKEN' }))
    close()
    runs.take('r', 'bob', Uint8Array.of(1))
    expect(() => runs.open('r', 'bob')).toThrow(expect.objectContaining({ code: 'ERR_ID_TAKEN' }))
  })

  it('have whoever sends wait for who takes, and give up on a peer that does not', async () => {
    const { runs, sent } = host()
    const { channel } = runs.open('r', 'bob')
    let done = 0
    for (let i = 0; i < 10; i++) {
      channel.send(Uint8Array.of(i)).then(
        () => done++,
        () => {},
      )
    }
    await new Promise((resolve) => setTimeout(resolve, 5))
    expect([sent.length, done]).toEqual([8, 8])
    runs.take('r', 'bob', null)
    await new Promise((resolve) => setTimeout(resolve, 5))
    expect(done).toBe(9)
    for (let i = 0; i < 17; i++) runs.take('r', 'bob', Uint8Array.of(i))
    const all = async () => {
      for (;;) await channel.receive()
    }
    await expect(all()).rejects.toMatchObject({ code: 'ERR_PROTOCOL' })
  })
})
