import {
  createToken,
  type Hub,
  hook,
  Identity,
  listenForWorkers,
  type OfferedWorker,
  offerWorker,
  Tokens,
  tf,
} from 'sotto'
import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import { readyForTest } from '../backend.ts'
import { codeOf } from '../conformance/workers.ts'

const open: { close(): Promise<unknown> }[] = []
beforeAll(async () => {
  await readyForTest()
  hook()
})
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.close()
})

async function hubOf(options: Parameters<typeof listenForWorkers>[0] = {}): Promise<Hub> {
  const hub = await listenForWorkers({ port: 0, ...options })
  open.push(hub)
  return hub
}
async function offered(hub: Hub, options: Parameters<typeof offerWorker>[1]): Promise<OfferedWorker> {
  const worker = await offerWorker(hub.url, { pin: hub.key, ...options })
  open.push(worker)
  return worker
}
const data = { d: { shape: [3], dtype: 'float32', data: new Float32Array([1, 2, 3]), allowResults: ['me'] } } as const

describe('a worker that dials', () => {
  it('is a worker like any other, in sessions of several identities', async () => {
    const hub = await hubOf()
    await offered(hub, { id: 'bob' })
    const bob = await hub.worker('bob')
    expect([bob.id, bob.identity, bob.address]).toEqual(['bob', 'me', null])
    expect([...(await tf.tensor([1, 2]).send(bob).mul(2).get()).dataSync()]).toEqual([2, 4])
    const own = bob.as('carol')
    tf.tensor([5]).send(own, { private: true, tags: ['#own'] })
    await own.flush()
    const [found] = await bob.search(['#own'])
    expect(await codeOf(() => found!.fetch())).toBe('ERR_PERMISSION')
    const large = tf.randomUniform([600, 600], 0, 1, 'float32', 1)
    const bytesOf = (tensor: tf.Tensor) => {
      const { buffer, byteOffset, byteLength } = tensor.dataSync()
      return new Uint8Array(buffer, byteOffset, byteLength)
    }
    expect(Buffer.compare(bytesOf(await large.send(own).get()), bytesOf(large))).toBe(0)
  })

  it('moves to another that dials, past the caller, who sees nothing of it', async () => {
    const hub = await hubOf()
    await Promise.all(['bob', 'alice'].map((id) => offered(hub, { id })))
    const [bob, alice] = await Promise.all([hub.worker('bob'), hub.worker('alice')])
    const x = tf.tensor([1, 2, 3]).send(bob)
    expect([...(await x.move(alice).add(1).get()).dataSync()]).toEqual([2, 3, 4])
    const [row] = (await bob.ledger()).filter(({ operation }) => operation === 'move')
    expect(row!.route).toBe('relayed')
    const secret = tf.tensor([1.5]).fixPrecision().share([bob, alice])
    expect((await secret.add(secret).reveal()).dataSync()[0]).toBe(3)
  })

  it('takes nobody for the owner of its data, nor for another caller than the one that it was told', async () => {
    const hub = await hubOf()
    await offered(hub, { id: 'bob', data })
    const bob = await hub.worker('bob')
    const [found] = await bob.search(['#d'])
    expect((await found!.mean().get()).dataSync()[0]).toBe(2)
    expect(await codeOf(() => bob.as('bob').search(['#d']))).toBe('ERR_IDENTITY')
    await offered(hub, { id: 'alice', data, caller: 'dora' })
    const wrong = await hub.worker('alice')
    expect(await codeOf(() => wrong.flush())).toBe('ERR_IDENTITY')
  })

  it('comes in by its token or its key, and by nothing else', async () => {
    const { token, record } = createToken({ identity: 'bob' })
    const guarded = await hubOf({ tokens: [record] })
    expect(await codeOf(() => offered(guarded, { id: 'bob' }))).toBe('ERR_TOKEN')
    expect(await codeOf(() => offered(guarded, { id: 'alice', token }))).toBe('ERR_IDENTITY')
    await offered(guarded, { id: 'bob', token })
    expect((await guarded.worker('bob')).id).toBe('bob')
    const identity = Identity.generate()
    const known = await hubOf({ workers: { bob: identity.key } })
    expect(await codeOf(() => offered(known, { id: 'bob' }))).toBe('ERR_IDENTITY')
    await offered(known, { id: 'bob', identity })
    expect((await known.worker('bob')).key).toBe(identity.key)
  })

  it('is let go when its token is taken away, and does not come again', async () => {
    const [bobs, alices] = ['bob', 'alice'].map((identity) => createToken({ identity }))
    const tokens = new Tokens([bobs!.record, alices!.record])
    const hub = await hubOf({ tokens })
    await offered(hub, { id: 'bob', token: bobs!.token })
    await offered(hub, { id: 'alice', token: alices!.token })
    const [bob, alice] = await Promise.all([hub.worker('bob'), hub.worker('alice')])
    await bob.flush()
    expect(tokens.revoke(bobs!.record.id)).toBe(true)
    expect(await codeOf(() => bob.flush())).toBe('ERR_TOKEN')
    expect([...(await tf.tensor([1]).send(alice).add(1).get()).dataSync()]).toEqual([2])
    expect(await codeOf(() => offered(hub, { id: 'bob', token: bobs!.token }))).toBe('ERR_TOKEN')
  })

  it('is waited for, for as long as one says', async () => {
    const hub = await hubOf()
    expect(await codeOf(() => hub.worker('bob', { timeout: 20 }))).toBe('ERR_TIMEOUT')
    expect(await codeOf(() => hub.worker('bob', { signal: AbortSignal.abort() }))).toBe('ERR_ABORTED')
    const coming = hub.worker('bob')
    await offered(hub, { id: 'bob' })
    expect((await coming).id).toBe('bob')
  })

  it('comes again when it was let go', async () => {
    const hub = await hubOf()
    await offered(hub, { id: 'bob' })
    const first = await hub.worker('bob')
    tf.tensor([1]).send(first, { tags: ['#x'] })
    await first.close()
    const second = await hub.worker('bob')
    expect(await second.search(['#x'])).toEqual([])
  })
})

it('refuses to listen where others could reach it, unless it knows whom to take', async () => {
  expect(await codeOf(() => listenForWorkers({ host: '0.0.0.0', port: 0 }))).toBe('ERR_INSECURE')
})
