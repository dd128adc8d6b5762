/** A worker in a process of its own, and one that dials: what they say, whom they let in, how they end. */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { get } from 'node:https'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import type { SocketWorker as SocketWorkerType } from 'sotto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createToken, showTokens, Tokens } from '../../src/worker/tokens.ts'
import { built } from '../built.ts'
import { sotto, temporaryFolder } from './run.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const fixture = (name: string): string => fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url))
const pem = (name: string): string => readFileSync(fixture(name), 'utf8')
const { path, remove } = temporaryFolder()

class Child {
  readonly process: ChildProcess
  log = ''
  readonly ready: Promise<string>
  readonly ended: Promise<{ code: number | null; signal: string | null }>

  constructor(args: readonly string[]) {
    this.process = spawn(process.execPath, [built('src/cli/index.ts'), 'worker', ...args], { cwd: root })
    this.process.stderr!.setEncoding('utf8').on('data', (piece: string) => {
      this.log += piece
    })
    this.ended = new Promise((resolve) => this.process.on('close', (code, signal) => resolve({ code, signal })))
    this.ready = new Promise((resolve, reject) => {
      this.process.stdout!.setEncoding('utf8').once('data', resolve)
      this.ended.then(() => reject(new Error(this.log)))
    })
    this.ready.catch(() => {})
  }

  /** Lines of the log, each what it says. */
  get lines(): Record<string, unknown>[] {
    return this.log
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
  }
}

const me = createToken({ identity: 'me' })
const ana = createToken({ identity: 'ana', rights: ['work'] })
const old = createToken({ identity: 'me', expires: new Date('2020-01-01T00:00:00Z') })
const records = [me.record, ana.record, old.record]
const children: Child[] = []
let url: string

// The process starts while this one loads the library.
writeFileSync(path('tokens.json'), showTokens(records))
writeFileSync(path('ages.csv'), 'age,name,sex\n33,7,0\n44,8,1\n')
writeFileSync(path('open.csv'), 'a\n1\n2\n')
writeFileSync(
  path('bob.yaml'),
  `host: localhost
port: 1
identity: bob.key
checkpoints: saved
tlsCert: ${fixture('server.pem')}
tlsKey: ${fixture('server.key')}
tlsCa: ${fixture('ca.pem')}
clientCertificates: true
tokens: tokens.json
data: { ages: ages.csv, open: nowhere.csv }
columns: { ages: [age, sex] }
tags: { ages: ['#people'] }
allow: { ages: [carol] }
allowResults: { ages: [me] }
public: [open]
limit: { elements: 1000000 }
`,
)
const key = (await sotto(['keygen', '-o', path('bob.key')])).out.trim()
const bob = new Child([
  '--config',
  path('bob.yaml'),
  '--id',
  'bob',
  '--port',
  '0',
  '--data',
  `open=${path('open.csv')}`,
])
children.push(bob)
const { listenForWorkers, ready, send, SocketWorker, tf } = await import('sotto')

const annToken = createToken({ identity: 'ann' })
const hub = await listenForWorkers({ port: 0, tokens: [annToken.record] })
writeFileSync(path('ann.token'), `${annToken.token}\n`)
const data = ['--data', `open=${path('open.csv')}`, '--allow', 'open=me']
const ann = new Child(['--id', 'ann', '--dial', hub.url, '--pin', hub.key, '--token-file', path('ann.token'), ...data])
children.push(ann)

const ca = ['--ca', fixture('ca.pem')]
const connect = (token: string | undefined) =>
  SocketWorker.connect(url, { ca: pem('ca.pem'), pin: key, grace: 0, ...(token === undefined ? {} : { token }) })
const codeOf = (action: Promise<unknown>): Promise<string> =>
  action.then(
    () => 'none',
    (error) => error.code,
  )

afterAll(async () => {
  for (const { process } of children) process.kill('SIGKILL')
  remove()
})

describe('sotto worker', () => {
  let caller: SocketWorkerType
  beforeAll(async () => {
    await ready()
    const line = await bob.ready
    url = /wss:\/\/localhost:\d+/.exec(line)![0]
    caller = await connect(me.token)
  })

  it('says in one line where it is, and by which key it is known', async () => {
    expect(await bob.ready).toBe(`bob is ready at ${url}, key ${key}\n`)
    const [read, said] = bob.lines
    expect(read).toMatchObject({ worker: 'bob', msg: 'tokens read', tokens: 3 })
    expect(said).toMatchObject({ worker: 'bob', msg: 'ready', key, data: ['ages', 'open'] })
    await expect.poll(() => bob.lines[2]).toMatchObject({ msg: 'session began', identity: 'me' })
  })

  it('has the data of its owner: found by tags, computed with, and shown to nobody who may not see them', async () => {
    const [ages] = await caller.search(['#ages', '#people'])
    expect(ages).toMatchObject({ shape: [2, 2] })
    expect(await codeOf(ages!.fetch())).toBe('ERR_PERMISSION')
    expect((await ages!.sum().fetch()).dataSync()[0]).toBe(78)
    const [open] = await caller.search(['#open'])
    expect([...(await open!.fetch()).dataSync()]).toEqual([1, 2])
    const other = await connect(ana.token)
    const [same] = await other.search(['#ages'])
    expect(await codeOf(same!.sum().fetch())).toBe('ERR_PERMISSION')
    await other.close()
  })

  it('takes a client by its certificate, as whom that names', async () => {
    const [cert, clientKey] = [pem('carol.pem'), pem('carol.key')]
    const carol = await SocketWorker.connect(url, { ca: pem('ca.pem'), cert, key: clientKey })
    expect(carol.identity).toBe('carol')
    const [ages] = await carol.search(['#ages'])
    expect([...(await ages!.fetch()).dataSync()]).toEqual([33, 0, 44, 1])
    await carol.close()
  })

  it('keeps models where it was told to', async () => {
    const net = send(tf.sequential({ layers: [tf.layers.dense({ units: 1, inputShape: [2] })] }), caller)
    const { bytes, sha256 } = await net.save('first')
    const file = readFileSync(path('saved/bob/me/first.checkpoint'))
    expect([file.length, file.subarray(20, 52).toString('hex')]).toEqual([bytes, sha256])
    await caller.removeCheckpoint('first')
    expect(existsSync(path('saved/bob/me/first.checkpoint'))).toBe(false)
    net.dispose()
  })

  it('keeps the limits that it was given', async () => {
    expect(
      await codeOf(
        send(tf.zeros([1_000_001]), caller)
          .sum()
          .get(),
      ),
    ).toBe('ERR_LIMIT')
  })

  it('lets nobody in without a token, with a wrong one, or with one whose time is up', async () => {
    const wrong = me.token.slice(0, -1) + (me.token.endsWith('A') ? 'B' : 'A')
    expect(await codeOf(connect(undefined))).toBe('ERR_TOKEN')
    expect(await codeOf(connect(wrong))).toBe('ERR_TOKEN')
    expect(await codeOf(connect(old.token))).toBe('ERR_TOKEN_EXPIRED')
    const codes = () => bob.lines.filter(({ msg }) => msg === 'refused').map(({ code }) => code)
    await expect.poll(codes).toEqual(['ERR_TOKEN', 'ERR_TOKEN', 'ERR_TOKEN_EXPIRED'])
  })

  it('knows a token as soon as it is made, and no longer than until it is revoked', async () => {
    const file = ['--tokens', path('tokens.json')]
    const made = (await sotto(['token', '--identity', 'new', ...file])).out.trim()
    const { id } = Tokens.parse(readFileSync(path('tokens.json'), 'utf8')).check(made)
    const worker = await connect(made)
    expect(worker.identity).toBe('new')
    await worker.close()
    const open = await connect(made)
    await sotto(['token', 'revoke', id, ...file])
    expect(await codeOf(connect(made))).toBe('ERR_TOKEN')
    // It looks at them each second.
    await expect.poll(() => codeOf(open.flush()), { timeout: 20_000 }).toBe('ERR_TOKEN')
    bob.process.kill('SIGHUP')
    await expect.poll(() => bob.lines.filter(({ msg }) => msg === 'tokens read').length).toBe(4)
    expect(await codeOf(caller.stats())).toBe('none')
  })

  it('answers for its health and its figures over HTTP', async () => {
    const at = (page: string) =>
      new Promise<string>((resolve, reject) => {
        get(`${url.replace('wss', 'https')}${page}`, { ca: pem('ca.pem'), agent: false }, (answer) =>
          text(answer).then(resolve, reject),
        ).on('error', reject)
      })
    expect(JSON.parse(await at('/healthz'))).toMatchObject({ status: 'ok', worker: 'bob', key })
    const figures = await at('/metrics')
    expect(figures).toMatch(/^sotto_sessions 1$/m)
    expect(figures).toMatch(/^sotto_errors_total\{code="ERR_PERMISSION"\} 2$/m)
  })

  describe('seen by sotto status and sotto ledger', () => {
    it('tells its health to everyone, and what it has to do to those who may know', async () => {
      const health = await sotto(['status', url, ...ca])
      expect(health).toMatchObject({ code: 0, err: '' })
      expect(health.out).toMatch(/^bob\n/)
      expect(health.out).toMatch(/│ status +│ ok /)
      expect(health.out).toContain(key)
      expect(health.out).toMatch(/│ stats +│ for those with a token/)
      // Its key vouches for it as well as its certificate.
      const all = await sotto(['status', url, '--pin', key], { env: { SOTTO_TOKEN: me.token } })
      expect(all).toMatchObject({ code: 0, err: '' })
      expect(all.out).toMatch(/│ objects +│ \d+, \d+ B /)
      expect(all.out).toMatch(/│ me +│ caller │/)
    })

    it('tells who saw what, as a table and as lines of JSON', async () => {
      writeFileSync(path('me.token'), `${me.token}\n`)
      const table = await sotto(['ledger', url, ...ca, '--token-file', path('me.token')])
      expect(table).toMatchObject({ code: 0, err: '' })
      expect(table.out).toMatch(/│ carol │ float32 \[2,2\] #ages #people +│ bob │ fetch/)
      expect(table.out).toMatch(/│ me +│ nothing of float32 \[2,2\] #ages #people +│ bob │ fetch, refused/)
      const json = await sotto(['ledger', url, ...ca, '--token', me.token, '--json'])
      const entries = json.out
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line))
      expect(entries).toContainEqual(
        expect.objectContaining({ event: 'left', to: 'carol', operation: 'fetch', count: 1 }),
      )
      expect(entries).toContainEqual(expect.objectContaining({ event: 'refused', to: 'me', operation: 'fetch' }))
    })

    it.each<[string, () => string[], string]>([
      ['with a token that is not known', () => ['status', url, ...ca, '--token', old.token], 'the token has expired'],
      ['without the right', () => ['ledger', url, ...ca, '--token', ana.token], 'ana has no right to ledger on bob'],
      ['without trust in its certificate', () => ['status', url], 'is not to be trusted'],
      ['by another key', () => ['status', url, '--pin', key.replace(/.{4}$/, 'AAAA')], 'ed25519'],
      [
        'where nobody is',
        () => ['status', 'ws://127.0.0.1:1'],
        'no connection to ws://127.0.0.1:1: connect ECONNREFUSED',
      ],
      ['where no URL leads', () => ['ledger', 'bob'], 'expected a URL such as wss://host:8777'],
    ])('tells nothing %s', async (_, args, message) => {
      const { code, out, err } = await sotto(args())
      expect({ code, out }).toEqual({ code: 1, out: '' })
      expect(err).toMatch(/^sotto: [^\n]*\n$/)
      expect(err).toContain(message)
    })
  })

  it('ends when it is told to: finishes what was begun, tells clients, and keeps secrets out of its log', async () => {
    let x = send(tf.eye(300), caller)
    for (let i = 0; i < 30; i++) x = x.matMul(x)
    const begun = x.sum().fetch()
    await caller.search(['#none'])
    bob.process.kill('SIGTERM')
    expect((await begun).dataSync()[0]).toBe(300)
    expect(await bob.ended).toEqual({ code: 0, signal: null })
    await expect.poll(() => caller.isClosed).toBe(true)
    expect(await codeOf(caller.stats())).toBe('ERR_SESSION_CLOSED')
    // Of whoever gave up a moment ago, it may hear late.
    const said = bob.lines.map(({ msg }) => msg).filter((msg) => msg !== 'refused')
    expect(said.slice(-3)).toEqual(['ending', 'session ended', 'ended'])
    for (const { token } of [me, ana, old]) expect(bob.log).not.toContain(token.slice(19))
    expect(bob.log).not.toContain(readFileSync(path('bob.key'), 'utf8').trim())
  })
})

describe('sotto worker --dial', () => {
  afterAll(() => hub.close())

  it('ends when the hub does not take it', async () => {
    const { code, out, err } = await sotto(['worker', '--id', 'eve', '--dial', hub.url, '--token', me.token])
    expect({ code, out }).toEqual({ code: 1, out: '' })
    expect(err).toMatch(/^sotto: no token that is known here; [^\n]*\n$/)
  })

  it('offers a worker to a hub, with the data of its owner', async () => {
    const worker = await hub.worker('ann', { timeout: 8000 })
    expect(await ann.ready).toBe(`ann is ready at the hub ${hub.url}, key ${worker.key} (new, and gone when it ends)\n`)
    const [open] = await worker.search(['#open'])
    expect([...(await open!.add(1).fetch()).dataSync()]).toEqual([2, 3])
    ann.process.kill('SIGINT')
    expect(await ann.ended).toEqual({ code: 0, signal: null })
    expect(await codeOf(worker.stats())).toBe('ERR_SESSION_CLOSED')
    expect(ann.lines.map(({ msg }) => msg).filter((msg) => msg !== 'session began')).toEqual([
      'at the hub',
      'ready',
      'ending',
      'session ended',
      'ended',
    ])
  })
})
