/** Parties that find each other through Redis: what they leave there, and what they take from it. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { createClient } from 'redis'
import { Identity, ready } from 'sotto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { peersFile, redisDiscovery, urlOf } from '../../src/cli/discovery.ts'
import { readJobFile } from '../../src/cli/job-file.ts'
import { parseNpy } from '../../src/data/npy.ts'
import { freePort, Running, sotto, temporaryFolder } from './run.ts'

const { path, remove } = temporaryFolder()
afterAll(remove)

function hasRedis(): boolean {
  try {
    execFileSync('redis-server', ['--version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}
const isThere = hasRedis()
if (!isThere) console.log('discovery: there is no redis-server here: what needs one is skipped')

const job = 'ab'.repeat(32)
const place = (port = 1) => ({ url: `ws://127.0.0.1:${port}`, key: Identity.generate().key })

describe.skipIf(!isThere)('discovery through Redis', () => {
  let server: ChildProcess
  let url: string
  let client: ReturnType<typeof createClient>
  beforeAll(async () => {
    const port = await freePort()
    const flags = ['--port', `${port}`, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', path('.')]
    server = spawn('redis-server', [...flags, '--requirepass', 'open sesame'], { stdio: ['ignore', 'pipe', 'ignore'] })
    for await (const line of createInterface({ input: server.stdout! })) if (line.includes('Ready to accept')) break
    server.stdout!.resume()
    url = `redis://:${encodeURIComponent('open sesame')}@127.0.0.1:${port}`
    client = createClient({ url })
    await client.connect()
  })
  afterAll(async () => {
    await client.close()
    server.kill()
    await once(server, 'exit')
  })

  it('says where a party is until it ends, under a key of the job’s own that expires, and touches nothing else', async () => {
    await client.set('other', 'kept')
    await client.set(`sotto:job:${'cd'.repeat(32)}:bob`, 'kept too')
    const before = (await client.keys('*')).sort()
    const [bob, ana] = [await redisDiscovery(url, job), await redisDiscovery(url, job)]
    const there = place()
    expect(await ana.find('bob')).toBe(null)
    await bob.announce('bob', there)
    expect(await ana.find('bob')).toEqual(there)
    const key = `sotto:job:${job}:bob`
    const left = await client.ttl(key)
    expect(left).toBeGreaterThan(0)
    expect(left).toBeLessThanOrEqual(60)
    const other = await redisDiscovery(url, 'ef'.repeat(32))
    expect(await other.find('bob')).toBe(null)
    await Promise.all([bob, ana, other].map((one) => one.close()))
    expect((await client.keys('*')).sort()).toEqual(before)
    expect(await client.get('other')).toBe('kept')
  })

  it('lets nobody take the place of a party but itself, under its key', async () => {
    const [first, second, third] = [
      await redisDiscovery(url, job),
      await redisDiscovery(url, job),
      await redisDiscovery(url, job),
    ]
    const there = place()
    await first.announce('bob', there)
    await expect(second.announce('bob', place())).rejects.toMatchObject({ code: 'ERR_ID_TAKEN' })
    const moved = { ...there, url: 'ws://127.0.0.1:2' }
    await third.announce('bob', moved)
    expect(await second.find('bob')).toEqual(moved)
    // The first has no say any more over what is there.
    await first.close()
    expect(await second.find('bob')).toEqual(moved)
    await second.close()
    await third.close()
  })

  it.each([
    ['no JSON', 'x'],
    ['another field', JSON.stringify({ ...place(), more: 1 })],
    ['no URL of a worker', JSON.stringify({ ...place(), url: 'http://127.0.0.1:1' })],
    ['no key', JSON.stringify({ ...place(), key: 'x' })],
    ['more than a place takes', JSON.stringify({ ...place(), url: `ws://${'a'.repeat(5000)}` })],
  ])('takes %s for no place', async (_, value) => {
    await client.set(`sotto:job:${job}:eve`, value)
    const discovery = await redisDiscovery(url, job)
    await expect(discovery.find('eve')).rejects.toMatchObject({ code: 'ERR_DATA_FORMAT' })
    await discovery.close()
    await client.del(`sotto:job:${job}:eve`)
  })

  it('shows no password when it cannot come in', async () => {
    const wrong = url.replace('sesame', 'sissami')
    const error = await redisDiscovery(wrong, job).catch((thrown: Error) => thrown)
    expect(error).toMatchObject({ code: 'ERR_UNREACHABLE', message: expect.not.stringMatching(/sissami/) })
  })

  it('brings the parties of a job together, wherever they listen', async () => {
    await ready()
    writeFileSync(path('x.csv'), 'a\n1.5\n2\n')
    writeFileSync(path('y.csv'), 'a\n0.5\n4\n')
    const said = {
      name: 'mean',
      compute: ['s0', 's1', 's2'],
      inputs: { x: { from: 'ana' }, y: { from: 'bo' } },
      steps: [{ do: 'mean', of: ['x', 'y'], as: 'mean' }],
      revealTo: { mean: ['ana'] },
    }
    writeFileSync(path('job.json'), JSON.stringify(said))
    const flags = ['--job', path('job.json'), '--discovery', url, '--wait', '30000']
    const parties = [
      ...['0', '1', '2'].map((id) => new Running(['compute', '--id', id, ...flags])),
      new Running(['input', '--id', 'ana', ...flags, '--data', `x=${path('x.csv')}`, '--out', path('out')]),
      new Running(['input', '--id', 'bo', ...flags, '--data', `y=${path('y.csv')}`]),
    ]
    for (const party of parties) expect([await party.code, party.err]).toEqual([0, ''])
    expect([...parseNpy(readFileSync(path('out/mean.npy'))).data]).toEqual([1, 3])
    const { id } = await readJobFile(path('job.json'))
    expect(await client.keys(`sotto:job:${id}:*`)).toEqual([])
  })
})

describe('discovery', () => {
  it('says of a Redis server that is not there where it would be, and of no Redis URL what it must be', async () => {
    const port = await freePort()
    await expect(redisDiscovery(`redis://:secret@127.0.0.1:${port}`, job)).rejects.toMatchObject({
      code: 'ERR_UNREACHABLE',
      message: expect.stringMatching(new RegExp(`^Redis at 127.0.0.1:${port}: (?!.*secret)`)),
    })
    await expect(redisDiscovery('http://127.0.0.1', job)).rejects.toThrow('expected redis://host:port')
  })

  it('takes addresses as host:port, with TLS but on this machine, or as URLs', () => {
    expect(urlOf('127.0.0.1:1', false)).toBe('ws://127.0.0.1:1')
    expect(urlOf('localhost:1', false)).toBe('ws://localhost:1')
    expect(urlOf('[::1]:1', false)).toBe('ws://[::1]:1')
    expect(urlOf('bob.example:1', false)).toBe('wss://bob.example:1')
    expect(urlOf('bob.example:1', true)).toBe('ws://bob.example:1')
    expect(urlOf('wss://bob.example:1', false)).toBe('wss://bob.example:1')
    for (const wrong of ['bob', 'bob.example', ':1', 'a b:1', 'bob:99999', 'x@y:1', 'http://bob:1', 'ws://']) {
      expect([wrong, urlOf(wrong, false)]).toEqual([wrong, null])
    }
  })

  it('knows from a file where each is, and whose key nobody says', async () => {
    writeFileSync(path('peers.json'), '{ "bob": "127.0.0.1:7" }')
    const discovery = await peersFile(path('peers.json'), false)
    expect(discovery.own('bob')).toBe('ws://127.0.0.1:7')
    expect(await discovery.find('bob')).toEqual({ url: 'ws://127.0.0.1:7', key: null })
    expect(() => discovery.own('eve')).toThrow('it does not say where eve is')
    expect((await sotto(['compute', '--id', '0'])).code).toBe(2)
  })
})
