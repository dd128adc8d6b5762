import { type LedgerEntry, tf, whoSawWhat } from 'sotto'
import { expect, it } from 'vitest'
import { codeOf, ledgerFromNow, onEveryWorker } from './workers.ts'

const values = async (tensor: Promise<tf.Tensor>): Promise<number[]> => [...(await tensor).dataSync()]

onEveryWorker((worker) => {
  it('shows a private value to its owner and those allowed, and to nobody else', async () => {
    const bob = worker('bob')
    const own = bob.as('carol')
    tf.tensor([41, 43]).send(own, { private: true, allow: ['dave'], tags: ['#secret'] })
    await own.flush()
    const [mine] = await own.search(['#secret'])
    const [his] = await bob.as('dave').search(['#secret'])
    const [theirs] = await bob.search(['#secret'])
    expect(await values(mine!.fetch())).toEqual([41, 43])
    expect(await values(his!.fetch())).toEqual([41, 43])
    expect(await codeOf(() => theirs!.fetch())).toBe('ERR_PERMISSION')
    expect(await codeOf(() => theirs!.add(1).fetch())).toBe('ERR_PERMISSION')
    expect(await codeOf(() => theirs!.get())).toBe('ERR_PERMISSION')
  })

  it('lets results be seen by those who may see results', async () => {
    const bob = worker('bob')
    const own = bob.as('carol')
    tf.tensor([1, 2, 3]).send(own, { private: true, allowResults: ['me'], tags: ['#secret'] })
    await own.flush()
    const [x] = await bob.search(['#secret'])
    expect(await codeOf(() => x!.fetch())).toBe('ERR_PERMISSION')
    expect(await values(x!.mean().get())).toEqual([2])
  })

  it('keeps a private value from a worker that its owner has not named, and lets it go to one that is', async () => {
    const [bob, alice, eve] = [worker('bob'), worker('alice'), worker('eve')]
    const [atAlice, atEve] = [await ledgerFromNow(alice), await ledgerFromNow(eve)]
    const own = bob.as('carol')
    own.addWorkers([alice])
    tf.tensor([5]).send(own, { private: true, allow: ['alice'], tags: ['#secret'] })
    await own.flush()
    const [x] = await bob.search(['#secret'])
    const there = x!.copy().move(alice)
    // It went, with its policy: who asked may not look at it there either.
    expect(await codeOf(() => there.fetch())).toBe('ERR_PERMISSION')
    expect((await atAlice()).map(({ event, operation }) => [event, operation])).toContainEqual(['came', 'move'])
    const stolen = x!.copy().move(eve)
    expect(await codeOf(() => stolen.fetch())).toBe('ERR_PERMISSION')
    expect((await atEve()).filter(({ event }) => event === 'came')).toEqual([])
  })

  it('is not touched by what another session names by its id', async () => {
    const bob = worker('bob')
    const written = await ledgerFromNow(bob)
    const x = tf.tensor([1, 2]).send(bob)
    await bob.flush()
    const other = bob.as('mallory')
    expect(await codeOf(() => other.ask('get', { id: x.id, keep: true }))).toBe('ERR_PERMISSION')
    other.tell('free', { ids: [x.id] })
    await other.flush()
    expect(await values(x.fetch())).toEqual([1, 2])
    expect((await other.objects()).map(({ id }) => id)).not.toContain(x.id)
    expect((await written()).filter(({ event }) => event === 'refused').map(({ to }) => to)).toEqual(['mallory'])
  })

  it('writes down what left, what came, what was refused, and to whom', async () => {
    const [bob, alice] = [worker('bob'), worker('alice')]
    const [atBob, atAlice] = [await ledgerFromNow(bob), await ledgerFromNow(alice)]
    // Rows stand in the order in which they began: with a tag of its own, each begins here.
    const tag = `#${crypto.randomUUID()}`
    const x = tf.tensor([1, 2]).send(bob, { tags: [tag] })
    await x.fetch()
    await x.move(alice).get()
    const told = ({ event, operation, from, to, bytes }: LedgerEntry) => [event, operation, from, to, bytes]
    expect((await atBob()).map(told)).toEqual([
      ['came', 'send', 'me', 'bob', 8],
      ['left', 'fetch', 'bob', 'me', 8],
      ['left', 'move', 'bob', 'alice', 8],
    ])
    expect((await atAlice()).map(told)).toEqual([
      ['came', 'move', 'bob', 'alice', 8],
      ['left', 'get', 'alice', 'me', 8],
    ])
    const table = await whoSawWhat([bob, alice], { print: () => {} })
    expect(table).toContain(tag)
  })

  it('ends what a session made with the session, and leaves what others made', async () => {
    const bob = worker('bob')
    const other = bob.as('carol')
    tf.tensor([1]).send(other, { tags: ['#gone'] })
    tf.tensor([2]).send(bob, { tags: ['#there'] })
    await Promise.all([bob.flush(), other.flush()])
    await other.close()
    await expect.poll(async () => (await bob.objects()).map(({ tags }) => tags[0])).toEqual(['#there'])
  })

  it('keeps what was to be kept after its session, for its owner to free', async () => {
    const bob = worker('bob')
    const own = bob.as('carol')
    tf.tensor([3]).send(own, { private: true, keep: true, tags: ['#kept'] })
    await own.close()
    await expect.poll(async () => (await bob.objects()).map(({ tags }) => tags[0])).toEqual(['#kept'])
    const [theirs] = await bob.search(['#kept'])
    expect(await codeOf(() => theirs!.get())).toBe('ERR_PERMISSION')
    theirs!.dispose()
    const again = bob.as('carol')
    const [mine] = await again.search(['#kept'])
    expect(await values(mine!.get())).toEqual([3])
    expect(await bob.objects()).toEqual([])
  })

  it('says of what passed somebody else that it did', async () => {
    const [bob, alice] = [worker('bob'), worker('alice')]
    const [atBob, atAlice] = [await ledgerFromNow(bob), await ledgerFromNow(alice)]
    const there = tf.tensor([1, 2]).send(bob).move(alice)
    await there.fetch()
    const canDial = (worker: { address: string | null }, peer: { address: string | null }) =>
      /^wss?:/.test(peer.address!) || !/^wss?:/.test(worker.address!)
    const [went] = (await atBob()).filter(({ event, operation }) => event === 'left' && operation === 'move')
    const [came] = (await atAlice()).filter(({ event, operation }) => event === 'came' && operation === 'move')
    const route = canDial(bob, alice) ? undefined : 'relayed'
    expect([went!.route, came!.route]).toEqual([route, route])
  })
})
