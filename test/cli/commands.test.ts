/** The commands that end by themselves, and workers that never begin. */
import { EventEmitter } from 'node:events'
import { chmodSync, existsSync, readFileSync, statSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createPrivate } from '../../src/cli/secret-files.ts'
import { EndSignals } from '../../src/cli/signals.ts'
import { readRecords, WatchedTokens } from '../../src/cli/token-file.ts'
import { Identity, isKey } from '../../src/worker/identity.ts'
import { createToken, showTokens, Tokens } from '../../src/worker/tokens.ts'
import { sotto, temporaryFolder } from './run.ts'

const { path, remove } = temporaryFolder()
afterAll(remove)

const modeOf = (name: string): string => (statSync(path(name)).mode & 0o777).toString(8)
const create = (...args: string[]) => sotto(['token', '--identity', 'me', '--tokens', path('tokens.json'), ...args])

describe('the command', () => {
  it('tells its version, and what there is; what it does not know it refuses with 2', async () => {
    const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
    expect(await sotto(['--version'])).toEqual({ code: 0, out: `${version}\n`, err: '' })
    const help = await sotto(['--help'])
    expect(help.code).toBe(0)
    for (const name of ['worker', 'keygen', 'token', 'status', 'ledger'])
      expect(help.out).toMatch(new RegExp(`  ${name} `))
    for (const args of [[], ['wroker'], ['--wrong'], ['token', 'list'], ['status']]) {
      const { code, out } = await sotto(args)
      expect({ args, code, out }).toEqual({ args, code: 2, out: '' })
    }
  })

  it('is what package.json says it is, with the line that lets a shell run it', () => {
    const { bin } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
    expect(bin).toEqual({ sotto: './dist/cli/index.js' })
    expect(readFileSync(new URL('../../src/cli/index.ts', import.meta.url), 'utf8')).toMatch(
      /^#!\/usr\/bin\/env node\n/,
    )
  })
})

describe('sotto keygen', () => {
  it('writes a secret that nobody else can read, and prints the key that belongs to it', async () => {
    const { code, out, err } = await sotto(['keygen', '-o', path('bob.key')])
    expect({ code, err }).toEqual({ code: 0, err: '' })
    expect(isKey(out.trim())).toBe(true)
    expect(modeOf('bob.key')).toBe('600')
    expect(Identity.fromSecret(readFileSync(path('bob.key'), 'utf8').trim()).key).toBe(out.trim())
  })

  it('writes over nothing, not by a link either', async () => {
    writeFileSync(path('there'), 'mine')
    symlinkSync(path('nowhere'), path('link'))
    for (const name of ['there', 'link']) {
      const { code, out, err } = await sotto(['keygen', '-o', path(name)])
      expect({ code, out }).toEqual({ code: 1, out: '' })
      expect(err).toBe(`sotto: ${path(name)}: it is there already, and is not written over\n`)
    }
    expect(readFileSync(path('there'), 'utf8')).toBe('mine')
    expect(existsSync(path('nowhere'))).toBe(false)
    expect((await sotto(['keygen', '-o', path('no/such/folder')])).err).toMatch(/it cannot be written: ENOENT/)
  })
})

describe('sotto token', () => {
  it('prints a token once, and keeps its hash in a file that nobody else can read', async () => {
    const { code, out, err } = await create('--rights', 'work,stats', '--expires', '30d')
    expect(code).toBe(0)
    expect(modeOf('tokens.json')).toBe('600')
    const text = readFileSync(path('tokens.json'), 'utf8')
    const [id] = /(?<=^sotto_)\w{12}/.exec(out)!
    const secret = out.trim().slice(19)
    expect(secret).toHaveLength(43)
    expect(text).not.toContain(secret)
    expect(err).not.toContain(secret)
    expect(err).toMatch(`token ${id} of me, for work, stats, good until 2`)
    expect(Tokens.parse(text).check(out.trim())).toEqual({ identity: 'me', rights: ['work', 'stats'], id })
  })

  it('adds to what is there, one after the other, and keeps the mode that the file has', async () => {
    chmodSync(path('tokens.json'), 0o640)
    symlinkSync(path('tokens.json'), path('linked.json'))
    await Promise.all(
      Array.from({ length: 5 }, (_, i) =>
        sotto(['token', 'create', '--identity', `ana ${i}`, '--tokens', path(i % 2 ? 'tokens.json' : 'linked.json')]),
      ),
    )
    const records = await readRecords(path('tokens.json'))
    expect(records.map(({ identity }) => identity).sort()).toEqual(['ana 0', 'ana 1', 'ana 2', 'ana 3', 'ana 4', 'me'])
    expect(modeOf('tokens.json')).toBe('640')
    expect(existsSync(path('tokens.json.new'))).toBe(false)
  })

  it('lists tokens without what would let anybody in, and says which are over', async () => {
    const past = createToken({ identity: 'old', expires: new Date('2020-01-01T00:00:00Z') })
    writeFileSync(
      path('old.json'),
      showTokens([past.record, createToken({ identity: 'ana', rights: ['stats'] }).record]),
    )
    const { code, out } = await sotto(['token', 'list', '--tokens', path('old.json')])
    expect(code).toBe(0)
    expect(out).toMatch(
      `│ ${past.record.id} │ old      │ work, ledger, stats │ no more, since 2020-01-01T00:00:00.000Z │`,
    )
    expect(out).toMatch(/│ ana {6}│ stats {15}│ until it is revoked/)
    expect(out).not.toContain(past.record.hash)
  })

  it('revokes one, and no other', async () => {
    const { token, record } = createToken({ identity: 'ana' })
    const kept = createToken({ identity: 'me' })
    writeFileSync(path('two.json'), showTokens([record, kept.record]))
    const revoke = (id: string) => sotto(['token', 'revoke', id, '--tokens', path('two.json')])
    expect(await revoke(record.id)).toEqual({ code: 0, out: `token ${record.id} of ana is revoked\n`, err: '' })
    const tokens = Tokens.parse(readFileSync(path('two.json'), 'utf8'))
    expect(() => tokens.check(token)).toThrow('no token that is known here')
    expect(tokens.check(kept.token).identity).toBe('me')
    const again = await revoke(record.id)
    expect(again).toEqual({
      code: 1,
      out: '',
      err: `sotto: ${path('two.json')}: there is no token of the id ${record.id}\n`,
    })
  })

  it.each([
    [['--rights', 'everything'], 2, '--rights expected some of work,ledger,stats'],
    [['--expires', 'soon'], 1, '"expires" expected a time such as 30d'],
    [['--identity', ''], 1, 'createToken: "identity" expected a name of 1 to 256 characters'],
    [['--tokens', '/no/such/folder/t.json'], 1, 'it cannot be written: ENOENT'],
  ])('%j fails, and changes nothing', async (args, code, message) => {
    const before = readFileSync(path('tokens.json'), 'utf8')
    const failed = await create(...args)
    expect(failed).toEqual({ code, out: '', err: expect.stringContaining(message) })
    expect(readFileSync(path('tokens.json'), 'utf8')).toBe(before)
    expect(existsSync(path('tokens.json.new'))).toBe(false)
  })

  it('leaves alone a file that is not one of tokens, and one that is not there', async () => {
    await createPrivate(path('other.json'), '{"tokens": [{"id": 1}]}')
    for (const args of [['create', '--identity', 'me'], ['list'], ['revoke', 'x']]) {
      const { code, err } = await sotto(['token', ...args, '--tokens', path('other.json')])
      expect({ code, err }).toEqual({
        code: 1,
        err: expect.stringContaining('other.json: "tokens.0.id" expected 12 letters'),
      })
    }
    expect(readFileSync(path('other.json'), 'utf8')).toBe('{"tokens": [{"id": 1}]}')
    const { code, err } = await sotto(['token', 'revoke', 'x', '--tokens', path('none.json')])
    expect({ code, err }).toEqual({ code: 1, err: expect.stringContaining('there is no such file; make a token with') })
  })
})

describe('tokens that a worker watches', () => {
  it('are read again when the file has changed; a file that cannot be read lets nobody in until it can', async () => {
    const lines: string[] = []
    const log = {
      info: (_: object, line: string) => lines.push(line),
      warn: (_: object, line: string) => lines.push(line),
    }
    const [ana, ben] = [createToken({ identity: 'ana' }), createToken({ identity: 'ben' })]
    const file = path('watched.json')
    const identities = (tokens: Tokens) =>
      [ana, ben].map(({ token }) => {
        try {
          return tokens.check(token).identity
        } catch {
          return null
        }
      })
    writeFileSync(file, showTokens([ana.record]))
    const watched = await WatchedTokens.open(file, log)
    expect(identities(watched.now())).toEqual(['ana', null])
    expect(watched.now()).toBe(watched.now())
    writeFileSync(file, showTokens([ana.record, ben.record]))
    expect(identities(watched.now())).toEqual(['ana', 'ben'])
    await sotto(['token', 'revoke', ana.record.id, '--tokens', file])
    expect(identities(watched.now())).toEqual([null, 'ben'])
    for (const text of ['', '{', '{"tokens": 1}']) {
      writeFileSync(file, text)
      expect(identities(watched.now())).toEqual([null, null])
    }
    writeFileSync(file, showTokens([ben.record]))
    expect(identities(watched.now())).toEqual([null, 'ben'])
    const bad = 'tokens not read: nobody is let in'
    expect(lines).toEqual([...Array(3).fill('tokens read'), bad, bad, bad, 'tokens read'])
    expect(JSON.stringify(lines)).not.toContain(ben.token)
  })
})

describe('signals', () => {
  const start = () => {
    const [signals, exits] = [new EventEmitter(), [] as number[]]
    const clock = { now: 0 }
    const end = new EndSignals({ signals, exit: (code) => exits.push(code) }, () => clock.now)
    return { signals, exits, clock, end }
  }

  it('end a worker that has not begun at once', () => {
    const { signals, exits } = start()
    signals.emit('SIGTERM')
    expect(exits).toEqual([143])
  })

  it('let one that runs finish, and end it at once the second time', async () => {
    const { signals, exits, clock, end } = start()
    const first = end.wait()
    signals.emit('SIGINT')
    expect(await first).toBe('SIGINT')
    // The same one, by way of whoever started the worker.
    clock.now = 999
    signals.emit('SIGINT')
    expect(exits).toEqual([])
    clock.now = 1000
    signals.emit('SIGINT')
    expect(exits).toEqual([130])
    end.stop()
    expect(signals.eventNames()).toEqual([])
  })
})

describe('sotto worker does not begin', () => {
  let taken: ReturnType<typeof createServer>
  beforeAll(async () => {
    taken = createServer()
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve))
  })
  afterAll(() => taken.close())

  const fixture = (name: string) => new URL(`../fixtures/${name}`, import.meta.url).pathname
  it.each<[string, () => string[], string]>([
    [
      'where others could reach it, and nobody is asked who they are',
      () => ['--host', '0.0.0.0'],
      'at 0.0.0.0 everyone could reach bob, and be whoever they say; give --tokens or --client-certificates, or say --insecure',
    ],
    [
      'with a key that is not there',
      () => ['--identity', path('no.key')],
      'no.key: there is no such file; make one with: sotto keygen -o',
    ],
    [
      'with a key that is none',
      () => ['--identity', path('there')],
      'there: it holds no secret key such as "sotto keygen" writes',
    ],
    [
      'with tokens that are not there',
      () => ['--tokens', path('no.json')],
      'no.json: there is no such file; make a token with: sotto token',
    ],
    ['with tokens that are none', () => ['--tokens', path('there')], 'there: expected JSON'],
    ['with data that is not there', () => ['--data', `a=${path('no.npy')}`], 'no.npy: there is no such file'],
    [
      'with data of no kind that it knows',
      () => ['--data', `a=${path('there')}`],
      'there: expected a name that ends in .npy, .csv',
    ],
    [
      'with a certificate that is none',
      () => ['--tls-cert', path('there'), '--tls-key', fixture('server.key')],
      '--tls-cert',
    ],
    [
      'with the key of another certificate',
      () => ['--tls-cert', fixture('server.pem'), '--tls-key', fixture('carol.key')],
      'key values mismatch',
    ],
    ['at a port that is taken', () => ['--port', String((taken.address() as AddressInfo).port)], 'EADDRINUSE'],
    [
      'at a hub that is not there',
      () => ['--dial', 'ws://127.0.0.1:1'],
      'no connection to ws://127.0.0.1:1: connect ECONNREFUSED',
    ],
    [
      'at a hub to which its token would pass in clear',
      () => ['--dial', 'ws://192.0.2.1:1', '--token', 'sotto_x'],
      'the token would pass 192.0.2.1:1 unencrypted',
    ],
  ])('%s', async (_, args, message) => {
    const given = args()
    const port = given.includes('--port') || given.includes('--dial') ? [] : ['--port', '0']
    const { code, out, err } = await sotto(['worker', '--id', 'bob', '--log-level', 'silent', ...port, ...given])
    expect({ code, out }).toEqual({ code: 1, out: '' })
    expect(err).toContain(message)
    expect(err).toMatch(/^sotto: [^\n]*\n$/)
  })

  it('while it reads much, which it says on a terminal and nowhere else', async () => {
    // Of zeros, and so no data.
    writeFileSync(path('large.npy'), '')
    truncateSync(path('large.npy'), 2 ** 26)
    const args = ['worker', '--id', 'bob', '--data', `a=${path('large.npy')}`]
    const { err } = await sotto(args)
    expect(err).toMatch(/^sotto: [^\n]*large.npy/)
    const shown = await sotto(args, { isTerminal: true })
    expect(shown.err).toBe(`\r\x1b[Kreading large.npy, 67.1 MB (1 of 1)\r\x1b[K${err}`)
  })
})
