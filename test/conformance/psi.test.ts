import { idTensor, intersect, type PointerTensor, tf, type Worker } from 'sotto'
import { expect, it } from 'vitest'
import { people } from '../psi/both.ts'
import { codeOf, ledgerFromNow, onEveryWorker } from './workers.ts'

const values = async (pointer: PointerTensor): Promise<number[]> => [...(await pointer.get()).dataSync()]
/** Fewer base transfers: the curve is enough where the protocol is not what is tested. */
const curve = { protocol: 'curve' } as const

onEveryWorker((worker) => {
  const two = () => [worker('bob'), worker('alice')] as const

  it('gives owners pointers to the rows that they share, in one order', async () => {
    const [bob, alice] = two()
    const [first, second] = [people(0, 40), people(25, 90)]
    const ids = [idTensor(first).send(bob), idTensor(second).send(alice)]
    const [ages, incomes] = [first, second].map((list) => tf.tensor1d(list.map((id) => Number(id.match(/\d+/)![0]))))
    const { size, rows } = await intersect(ids, { reveal: 'both' })
    expect(size).toBe(15)
    expect(rows.map((pointer) => pointer!.shape)).toEqual([[15], [15]])
    // Features that say whose they are, gathered where they lie.
    const aligned = [ages!.send(bob).gather(rows[0]!), incomes!.send(alice).gather(rows[1]!)]
    const [a, b] = [await values(aligned[0]!), await values(aligned[1]!)]
    expect(a).toEqual(b)
    expect([...a].sort((x, y) => x - y)).toEqual(Array.from({ length: 15 }, (_, i) => 25 + i))
  })

  it('lets private ids be matched by those whom their owners named, and by nobody else', async () => {
    const [bob, alice] = two()
    bob.addWorkers([alice])
    const [bobs, alices] = [bob.as('bob'), alice.as('alice')] as const
    // Each owner says whom it means by the other's name.
    bobs.addWorkers([alices])
    const list = (ids: number[]) => tf.tensor1d(ids, 'int32')
    const published = { private: true, tags: ['#ids'] }
    const held = [
      list([5, 6, 7]).send(bobs, { ...published, allowMatches: ['alice', 'me'] }),
      list([7, 8, 5]).send(alices, { ...published, allowMatches: ['bob', 'me'] }),
    ]
    await Promise.all([bobs.flush(), alices.flush()])
    const [found, foundToo] = [(await bob.search(['#ids']))[0]!, (await alice.search(['#ids']))[0]!]
    const written = await ledgerFromNow(alice)
    const { size, rows, reports } = await intersect([found, foundToo], curve)
    expect(size).toBe(2)
    expect(reports.map(({ duplicates }) => duplicates)).toEqual([null, null])
    // Rows of private ids are private to their owner.
    expect(await codeOf(() => rows[0]!.get())).toBe('ERR_PERMISSION')
    expect(await written()).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ event: 'left', operation: 'intersect', to: 'bob', shape: [2] }),
        expect.objectContaining({ event: 'left', operation: 'intersect', to: 'me', shape: [] }),
        expect.objectContaining({ event: 'came', operation: 'intersect', from: 'bob', shape: [2] }),
      ]),
    )
    const stranger = [bob.as('eve'), alice.as('eve')] as const
    const theirs = [(await stranger[0].search(['#ids']))[0]!, (await stranger[1].search(['#ids']))[0]!]
    expect(await codeOf(() => intersect(theirs, curve))).toBe('ERR_PERMISSION')
    expect(held.length).toBe(2)
  })

  it('refuses ids that are none, and says so to every owner at once', async () => {
    const [bob, alice] = two()
    const good = tf.tensor1d([1, 2], 'int32').send(bob)
    expect(await codeOf(() => intersect([good, tf.zeros([2, 2, 2], 'int32').send(alice)]))).toBe('ERR_SHAPE')
    expect(await codeOf(() => intersect([good, tf.tensor1d([true]).send(alice)]))).toBe('ERR_DTYPE')
    const other = tf.zeros([2, 2], 'int32').send(alice)
    expect(await codeOf(() => intersect([good, other], curve))).toBe('ERR_TERMS')
    // The sessions go on.
    expect((await intersect([good, tf.tensor1d([2, 3], 'int32').send(alice)], curve)).size).toBe(1)
  })

  it('intersects the ids of three owners, and shows the first alone, or how many, where that is asked for', async () => {
    const workers: Worker[] = ['bob', 'alice', 'jane'].map(worker)
    const sets = [
      [1, 2, 3, 4, 9, 9],
      [2, 3, 4, 5],
      [4, 3, 8],
    ]
    const ids = sets.map((set, i) => tf.tensor1d(set, 'int32').send(workers[i]!))
    const all = await intersect(ids, curve)
    const shared = await Promise.all(all.rows.map(async (rows, i) => (await values(rows!)).map((row) => sets[i]![row])))
    expect([...shared[0]!].sort()).toEqual([3, 4])
    expect(shared[1]).toEqual(shared[0])
    expect(shared[2]).toEqual(shared[0])
    expect(all.reports[0]).toMatchObject({ duplicates: 1, empty: 0 })
    const one = await intersect(ids.slice(0, 2), { ...curve, reveal: 'one', padTo: 10 })
    expect([one.size, one.rows[1]]).toEqual([3, undefined])
    expect((await values(one.rows[0]!)).sort()).toEqual([1, 2, 3])
    const count = await intersect(ids.slice(1), { reveal: 'size' })
    expect(count).toMatchObject({ size: 2, rows: [undefined, undefined] })
  })
})
