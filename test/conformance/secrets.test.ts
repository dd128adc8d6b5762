import { tf, type Worker } from 'sotto'
import { expect, it } from 'vitest'
import { codeOf, ledgerFromNow, onEveryWorker } from './workers.ts'

const values = async (tensor: Promise<tf.Tensor>): Promise<number[]> => [...(await tensor).dataSync()]

onEveryWorker((worker) => {
  const three = (): { parties: Worker[]; provider: Worker } => ({
    parties: ['bob', 'alice', 'jane'].map(worker),
    provider: worker('carol'),
  })

  it('opens what was shared, from here and from a worker', async () => {
    const { parties, provider } = three()
    const x = tf.tensor([1.5, -2, 1024]).fixPrecision().share(parties, { provider })
    expect(await values(x.reveal())).toEqual([1.5, -2, 1024])
    const on = tf.tensor([0.25, 3]).send(parties[1]!).fixPrecision().share(parties, { provider })
    expect(await values(on.reveal())).toEqual([0.25, 3])
  })

  it('multiplies, compares and adds in secret among three', async () => {
    const { parties, provider } = three()
    const x = tf
      .tensor([
        [1, 2],
        [3, 4],
      ])
      .fixPrecision()
      .share(parties, { provider })
    const y = tf
      .tensor([
        [0.5, -1],
        [2, 0],
      ])
      .fixPrecision()
      .share(parties, { provider })
    // Each product is rounded once: one unit of 2^-16, and the two terms of an inner product before that.
    const close = (got: number[], wanted: number[]) => {
      expect(got.length).toBe(wanted.length)
      for (const [i, value] of wanted.entries()) expect(Math.abs(got[i]! - value)).toBeLessThanOrEqual(2 ** -16)
    }
    close(await values(x.matMul(y).reveal()), [4.5, -1, 9.5, -3])
    close(await values(x.mul(y).reveal()), [0.5, -2, 6, 0])
    expect(await values(x.greater(y).reveal())).toEqual([1, 1, 1, 1])
    expect(await values(y.relu().add(x).reveal())).toEqual([1.5, 2, 5, 4])
  })

  it('opens a secret to one worker alone', async () => {
    const { parties, provider } = three()
    const x = tf.tensor([7, 8]).fixPrecision().share(parties, { provider })
    const written = await ledgerFromNow(provider)
    const seen = x.add(x).revealTo(provider)
    expect(await values(seen.get())).toEqual([14, 16])
    const rows = await written()
    expect(rows.some(({ event, operation, to }) => event === 'came' && operation === 'reveal' && to === 'carol')).toBe(
      true,
    )
  })

  it('shares what is private among the workers that its owner named, and shows it to nobody', async () => {
    const { parties, provider } = three()
    const [bob, ...others] = parties
    const written = await ledgerFromNow(bob!)
    const own = bob!.as('bob')
    own.addWorkers([...others, provider])
    tf.tensor([5, 6]).send(own, {
      private: true,
      tags: ['#own'],
      allowShares: ['alice', 'jane', 'carol'],
      allowResults: ['bob'],
    })
    await own.flush()
    const [found] = await bob!.search(['#own'])
    expect(await codeOf(() => found!.fetch())).toBe('ERR_PERMISSION')
    const secret = found!.fixPrecision().share(parties, { provider })
    expect(await codeOf(() => secret.reveal())).toBe('ERR_PERMISSION')
    const elsewhere = found!.fixPrecision().share([parties[0]!, provider], { provider: parties[1]! })
    // The names are the same, and so are the workers: any of those named may be a party or the provider.
    expect(await codeOf(() => elsewhere.reveal())).toBe('ERR_PERMISSION')
    const shared = (await written()).filter(({ event }) => event === 'shared')
    expect(shared.map(({ to }) => to)).toEqual(['bob + alice + jane', 'bob + carol'])
    const stranger = worker('eve')
    const refused = found!.fixPrecision().share([bob!, stranger], { provider })
    expect(await codeOf(() => refused.reveal())).toBe('ERR_PERMISSION')
    // Those who were to get a share hear of it, and wait no more.
    await Promise.all([...parties, provider, stranger].map((one) => one.flush()))
  })

  it('leaves no share behind', async () => {
    const { parties, provider } = three()
    const x = tf.tensor([1, 2]).fixPrecision().share(parties, { provider })
    const y = x.mul(x).add(1)
    await y.reveal()
    x.dispose()
    y.dispose()
    for (const party of parties) await party.flush()
    // What was made on the way goes with its handle, when that is collected; the two that were named are gone.
    const counts = await Promise.all(parties.map(async (party) => (await party.objects()).length))
    for (const count of counts) expect(count).toBeLessThanOrEqual(2)
  })
})
