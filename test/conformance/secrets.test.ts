import { tf, type Worker } from 'sotto'
import { describe, expect, it } from 'vitest'
import type { GroupOptions } from '../../src/smpc/group.ts'
import { type ProtocolName, protocols } from '../../src/smpc/protocols/index.ts'
import { codeOf, ledgerFromNow, onEveryWorker } from './workers.ts'

const values = async (tensor: Promise<tf.Tensor>): Promise<number[]> => [...(await tensor).dataSync()]

type Secret = readonly [parties: readonly Worker[], options: GroupOptions]

onEveryWorker((worker) => {
  /** Three parties, and a fourth worker: of additive sharing their provider. */
  const group = (protocol: ProtocolName) => {
    const parties = ['bob', 'alice', 'jane'].map(worker)
    const carol = worker('carol')
    const secret: Secret = protocol === 'additive' ? [parties, { provider: carol }] : [parties, { protocol }]
    return { parties, carol, secret }
  }

  describe.each(Object.keys(protocols) as ProtocolName[])('of %s sharing', (protocol) => {
    it('opens what was shared, from here and from a worker', async () => {
      const { parties, secret } = group(protocol)
      const x = tf
        .tensor([1.5, -2, 1024])
        .fixPrecision()
        .share(...secret)
      expect(await values(x.reveal())).toEqual([1.5, -2, 1024])
      const on = tf
        .tensor([0.25, 3])
        .send(parties[1]!)
        .fixPrecision()
        .share(...secret)
      expect(await values(on.reveal())).toEqual([0.25, 3])
    })

    it('multiplies, compares and adds in secret among three', async () => {
      const { secret } = group(protocol)
      const x = tf
        .tensor([
          [1, 2],
          [3, 4],
        ])
        .fixPrecision()
        .share(...secret)
      const y = tf
        .tensor([
          [0.5, -1],
          [2, 0],
        ])
        .fixPrecision()
        .share(...secret)
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
      const { carol, secret } = group(protocol)
      const x = tf
        .tensor([7, 8])
        .fixPrecision()
        .share(...secret)
      const written = await ledgerFromNow(carol)
      const seen = x.add(x).revealTo(carol)
      expect(await values(seen.get())).toEqual([14, 16])
      const rows = await written()
      expect(
        rows.some(({ event, operation, to }) => event === 'came' && operation === 'reveal' && to === 'carol'),
      ).toBe(true)
    })

    it('shares what is private among the workers that its owner named, and shows it to nobody', async () => {
      const { parties, carol, secret } = group(protocol)
      const [bob, ...others] = parties
      const written = await ledgerFromNow(bob!)
      const own = bob!.as('bob')
      own.addWorkers([...others, carol])
      tf.tensor([5, 6]).send(own, {
        private: true,
        tags: ['#own'],
        allowShares: ['alice', 'jane', 'carol'],
        allowResults: ['bob'],
      })
      await own.flush()
      const [found] = await bob!.search(['#own'])
      expect(await codeOf(() => found!.fetch())).toBe('ERR_PERMISSION')
      const shared = found!.fixPrecision().share(...secret)
      expect(await codeOf(() => shared.reveal())).toBe('ERR_PERMISSION')
      const elsewhereAmong: Secret =
        protocol === 'additive'
          ? [[bob!, carol], { provider: parties[1]! }]
          : [[carol, bob!, parties[1]!], { protocol }]
      const elsewhere = found!.fixPrecision().share(...elsewhereAmong)
      // The names are the same, and so are the workers: any of those named may be a party or the provider.
      expect(await codeOf(() => elsewhere.reveal())).toBe('ERR_PERMISSION')
      const rows = (await written()).filter(({ event }) => event === 'shared')
      const among = protocol === 'additive' ? 'bob + carol' : 'carol + bob + alice'
      expect(rows.map(({ to }) => to)).toEqual(['bob + alice + jane', among])
      const stranger = worker('eve')
      const withStranger: Secret =
        protocol === 'additive' ? [[bob!, stranger], { provider: carol }] : [[bob!, stranger, carol], { protocol }]
      const refused = found!.fixPrecision().share(...withStranger)
      expect(await codeOf(() => refused.reveal())).toBe('ERR_PERMISSION')
      // Those who were to get a share hear of it, and wait no more.
      await Promise.all([...parties, carol, stranger].map((one) => one.flush()))
    })

    it('leaves no share behind', async () => {
      const { parties, secret } = group(protocol)
      const x = tf
        .tensor([1, 2])
        .fixPrecision()
        .share(...secret)
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
})
