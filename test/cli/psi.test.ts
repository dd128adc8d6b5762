import { EventEmitter } from 'node:events'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { idTensor, ready } from 'sotto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Io } from '../../src/cli/io.ts'
import { readOwnFiles } from '../../src/cli/own-files.ts'
import { main } from '../../src/cli/program.ts'
import type { Settings } from '../../src/cli/worker-options.ts'
import { type Ended, sotto, temporaryFolder } from './run.ts'

const folder = temporaryFolder()
const path = folder.path
const mine = () => path('mine.csv')
const theirs = () => path('theirs.csv')

beforeAll(() => {
  writeFileSync(mine(), 'email,age\nada@x.org,36\nBob@x.org ,40\n,1\neve@x.org,7\nada@x.org,99\n')
  writeFileSync(
    theirs(),
    'id,e-mail,city,note\n1,BOB@X.ORG,"Rome, IT",=1+1\n2,zoe@x.org,Oslo,\n3,ada@x.org,Bonn,"a ""b"""\n',
  )
})
afterAll(folder.remove)

let runs = 0
/** Both commands, until both have ended. */
async function two(
  listening: readonly string[],
  connecting: readonly string[],
): Promise<{ listened: Ended; connected: Ended }> {
  const err = new EventEmitter()
  let said = ''
  const io = {
    out: (text: string) => err.emit('out', text),
    err: (text: string) => {
      said += text
      err.emit('err')
    },
    isTerminal: false,
    env: {},
    signals: new EventEmitter(),
    exit: () => {},
  }
  let out = ''
  err.on('out', (text: string) => {
    out += text
  })
  const ended = main(['psi', '--listen', '--port', '0', ...listening], io)
  const url = await new Promise<string>((resolve, reject) => {
    err.on('err', () => {
      const found = /at (wss?:\S+),/.exec(said)
      if (found) resolve(found[1]!)
    })
    ended.then(() => reject(new Error(said)))
  })
  const key = /key (ed25519:[^;\s]+)/.exec(said)![1]!
  const connected = await sotto(['psi', '--peer', url, '--pin', key, ...connecting])
  return { connected, listened: { code: await ended, out, err: said } }
}

const columns = [
  ['--ids', theirs, '--column', 'e-mail'],
  ['--ids', mine, '--column', 'email'],
] as const
const args = (side: 0 | 1) => columns[side].map((arg) => (typeof arg === 'function' ? arg() : arg))
const out = () => path(`out-${runs++}.csv`)

describe('sotto psi', () => {
  it('finds what two files share, and writes the rows in one order, with what the other side sent along', async () => {
    const [left, right] = [out(), out()]
    const { listened, connected } = await two(
      [...args(0), '--out', left, '--payload', 'city', '--payload', 'note', '--name', 'shop'],
      [...args(1), '--out', right, '--payload', 'age'],
    )
    expect([listened.code, connected.code, connected.err]).toEqual([0, 0, ''])
    expect(connected.out).toContain(
      'shared 2 with shop (3 ids); here: 3 ids, 1 rows that repeat one, 1 rows without one',
    )
    const lines = (file: string) => readFileSync(file, 'utf8').trimEnd().split('\n')
    const [theirLines, myLines] = [lines(left), lines(right)]
    expect(theirLines[0]).toBe('id,e-mail,city,note,me.age')
    expect(myLines[0]).toBe('email,age,shop.city,shop.note')
    const order = theirLines.slice(1).map((line) => (line.includes('ada') ? 'ada' : 'bob'))
    // What a spreadsheet would take for a formula is text.
    const expected = { ada: 'ada@x.org,36,Bonn,"a ""b"""', bob: `Bob@x.org ,40,"Rome, IT",'=1+1` }
    expect(myLines.slice(1)).toEqual(order.map((who) => expected[who as 'ada' | 'bob']))
    expect(theirLines).toContain('1,BOB@X.ORG,"Rome, IT",=1+1,40')
  })

  it('tells one side alone, or how many, or nothing where the two want different things', async () => {
    const alone = await two(
      [...args(0), '--reveal', 'me', '--protocol', 'curve'],
      [...args(1), '--reveal', 'peer', '--protocol', 'curve'],
    )
    expect(alone.listened.out).toContain('shared 2 with me (3 ids)')
    expect(alone.connected.out).toContain('learnt nothing with owner (3 ids)')
    const size = await two([...args(0), '--reveal', 'size', '--pad-to', '9'], [...args(1), '--reveal', 'size'])
    expect(size.listened.out).toContain('shared 2')
    expect(size.connected.out).toContain('shared 2 with owner (9 ids)')
    const differ = await two([...args(0), '--reveal', 'size'], [...args(1), '--protocol', 'curve'])
    expect([differ.listened.code, differ.connected.code]).toEqual([1, 1])
    expect(differ.connected.err).toContain('who learns what differ')
  })

  it('lets in whoever has a token, and nobody else', async () => {
    const tokens = path('tokens.json')
    const { out: printed } = await sotto(['token', '--identity', 'ann', '--tokens', tokens])
    const token = printed.trim().split('\n').at(-1)!.trim()
    const curve = ['--protocol', 'curve']
    const { listened, connected } = await two(
      [...args(0), ...curve, '--tokens', tokens],
      [...args(1), ...curve, '--token', token],
    )
    expect(connected.code).toBe(0)
    expect(listened.out).toContain('shared 2 with ann')
    expect(listened.err).not.toContain('no tokens')
  })

  it.each([
    [['--listen', '--column', 'a'], '--ids is needed'],
    [['--listen', '--ids', 'a.csv'], '--column is needed'],
    [['--ids', 'a.csv', '--column', 'a'], 'give --listen, or --peer'],
    [
      ['--ids', 'a.csv', '--column', 'a', '--peer', 'ws://localhost:1', '--tokens', 'x'],
      '--tokens is for the side that listens',
    ],
    [['--ids', 'a.csv', '--column', 'a', '--listen', '--reveal', 'size', '--out', 'x'], '--out is for the rows'],
    [
      ['--ids', 'a.csv', '--column', 'a', '--listen', '--reveal', 'me', '--payload', 'x'],
      '--payload goes to the other side',
    ],
    [['--ids', 'a.csv', '--column', 'a', '--listen', '--tls-cert', 'x'], 'go together'],
  ])('%j is not well put: %s', async (flags, message) => {
    const { code, err } = await sotto(['psi', ...flags])
    expect(err).toContain(message)
    expect(code).toBe(2)
  })

  it('has a worker start with the ids of a file, as those that a caller sends', async () => {
    const io = { isTerminal: false } as Io
    const settings = { data: { people: mine() }, ids: { people: ['email'] }, allowMatches: { people: ['shop'] } }
    const { people } = await readOwnFiles(settings as Settings, io)
    expect(people).toMatchObject({ shape: [5, 4], dtype: 'int32', allowMatches: ['shop'], public: false })
    await ready()
    const sent = await idTensor(['ada@x.org', 'bob@x.org']).data()
    expect([...people!.data.subarray(0, 8)]).toEqual([...sent])
    // The same id twice; rows without one are like nothing else.
    expect([...people!.data.subarray(16, 20)]).toEqual([...sent.subarray(0, 4)])
    expect([...people!.data.subarray(8, 12)]).not.toEqual([0, 0, 0, 0])
    const both = ['worker', '--id', 'w', '--data', `p=${mine()}`, '--columns', 'p=age', '--ids', 'p=email']
    expect(await sotto(both)).toMatchObject({ code: 2, err: expect.stringContaining('not both') })
  })

  it('writes over no file, and leaves none behind where it failed', async () => {
    const taken = out()
    writeFileSync(taken, 'precious')
    const refused = await sotto(['psi', '--listen', '--port', '0', ...args(0), '--out', taken])
    expect([refused.code, readFileSync(taken, 'utf8')]).toEqual([1, 'precious'])
    const left = out()
    const none = ['--ids', path('none.csv'), '--column', 'a', '--out', left]
    const missing = await sotto(['psi', '--listen', '--port', '0', ...none])
    expect([missing.code, missing.err]).toEqual([1, expect.stringContaining('no such file')])
    expect(existsSync(left)).toBe(false)
  })
})
