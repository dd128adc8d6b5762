/** Checkpoints on the disk: under names that stay in their folder, whole at any moment, for their owner's eyes alone. */
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join, resolve, sep } from 'node:path'
import fc from 'fast-check'
import { FolderCheckpoints } from 'sotto'
import { afterAll, describe, expect, it } from 'vitest'
import { fileNameOf } from '../../src/worker/checkpoint-folder.ts'
import { codeOf } from '../conformance/workers.ts'

const folder = mkdtempSync(join(tmpdir(), 'sotto-folder-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
let made = 0
const open = async () => {
  const store = new FolderCheckpoints(join(folder, `${++made}`, 'within'))
  await store.open()
  return store
}
const KEY = { worker: 'bob', identity: 'me', name: 'a' }
const filled = (length: number, byte: number) => new Uint8Array(length).fill(byte)
const filesIn = (path: string): string[] =>
  readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))

describe('a name in a folder', () => {
  it('is one name, for any text, and leads nowhere else', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(0xffff), { minLength: 1, maxLength: 100 }), (units) => {
        const text = String.fromCharCode(...units)
        const name = fileNameOf(text)
        expect([name, basename(name), resolve('/x', name)]).toEqual([
          expect.stringMatching(/^[a-z0-9_%~-]{1,200}$/),
          name,
          join('/x', name),
        ])
      }),
    )
    const hard = [
      '.',
      '..',
      '../a',
      '/etc',
      'C:\\x',
      '~',
      '%2e',
      'a\0b',
      'con',
      'NUL',
      'com1',
      'é',
      '😀',
      '\ud800',
      ' ',
    ]
    for (const text of hard) expect([text, fileNameOf(text)]).toEqual([text, expect.stringMatching(/^[a-z0-9_%-]+$/)])
    expect(hard.map(fileNameOf).filter((name) => /^(con|nul|com1)$/i.test(name))).toEqual([])
  })

  it('is another for another text, also where upper and lower case are one', () => {
    const texts = ['a', 'A', '%41', '%61', 'a.', 'a%2e', '.a', 'con', '%63on', 'x'.repeat(300), 'x'.repeat(301)]
    texts.push(`~${'0'.repeat(64)}`, fileNameOf('x'.repeat(300)))
    expect(new Set(texts.map((text) => fileNameOf(text).toLowerCase())).size).toBe(texts.length)
  })
})

describe('a folder of checkpoints', () => {
  it('keeps those of each worker, identity and name apart, and in itself', async () => {
    const store = await open()
    const keys = ['..', '../..', 'a/b', 'a', 'A', 'x'.repeat(256)].flatMap((odd) => [
      { ...KEY, worker: odd },
      { ...KEY, identity: odd },
      { worker: odd, identity: odd, name: '..' },
      { worker: odd, identity: odd, name: `${'A.'.repeat(32)}` },
    ])
    for (const [i, key] of keys.entries()) await store.write(key, filled(4, i))
    for (const [i, key] of keys.entries()) expect(await store.read(key, 9)).toEqual(filled(4, i))
    const files = filesIn(join(folder, `${made}`))
    expect(files).toHaveLength(keys.length)
    expect(files.filter((file) => !file.startsWith(store.path + sep))).toEqual([])
    expect(await store.list({ worker: '..', identity: '..' })).toEqual(
      expect.arrayContaining([
        { name: '..', bytes: 4 },
        { name: 'A.'.repeat(32), bytes: 4 },
      ]),
    )
    for (const key of keys) expect([await store.remove(key), await store.remove(key)]).toEqual([true, false])
    expect(filesIn(store.path)).toEqual([])
  })

  it('has nothing where nothing was written', async () => {
    const store = new FolderCheckpoints(join(folder, 'nowhere'))
    expect(await store.read(KEY, 9)).toBeNull()
    expect(await store.list(KEY)).toEqual([])
    expect(await store.usage('bob')).toEqual({ count: 0, bytes: 0 })
    expect(await store.remove(KEY)).toBe(false)
  })

  it('is for the eyes of who runs the worker alone', async () => {
    const store = await open()
    await store.write(KEY, filled(4, 1))
    const [file] = filesIn(store.path)
    expect(statSync(file!).mode & 0o777).toBe(0o600)
    for (let path = resolve(file!, '..'); path !== folder; path = resolve(path, '..')) {
      expect(statSync(path).mode & 0o777).toBe(0o700)
    }
  })

  it('gives the old or the new, whole, to whoever reads while it is written', async () => {
    const store = await open()
    const SIZE = 300_000
    await store.write(KEY, filled(SIZE, 0))
    let isDone = false
    const writing = (async () => {
      for (let i = 1; i <= 20; i++) await store.write(KEY, filled(SIZE, i))
      isDone = true
    })()
    while (!isDone) {
      const bytes = (await store.read(KEY, 2 * SIZE))!
      expect(bytes.length).toBe(SIZE)
      expect(bytes.every((byte) => byte === bytes[0])).toBe(true)
    }
    await writing
    expect((await store.read(KEY, 1))![0]).toBe(20)
    expect(filesIn(store.path)).toHaveLength(1)
  })

  it('keeps what was there when the next was cut off by a crash, of which nothing is left in the end', async () => {
    const store = await open()
    await store.write(KEY, filled(8, 1))
    const [file] = filesIn(store.path)
    writeFileSync(`${file}.new`, filled(3, 2))
    writeFileSync(file!.replace('a.checkpoint', 'b.checkpoint.new'), filled(3, 2))
    expect(await store.read(KEY, 9)).toEqual(filled(8, 1))
    expect(await store.list(KEY)).toEqual([{ name: 'a', bytes: 8 }])
    expect(await store.usage('bob')).toEqual({ count: 1, bytes: 8 })
    expect(filesIn(store.path)).toEqual([file])
    writeFileSync(`${file}.new`, filled(3, 2))
    await store.write(KEY, filled(9, 3))
    expect(await store.read(KEY, 9)).toEqual(filled(9, 3))
    expect(filesIn(store.path)).toEqual([file])
  })

  it('keeps what was there when the next cannot be written', async () => {
    const store = await open()
    await store.write(KEY, filled(8, 1))
    const [file] = filesIn(store.path)
    const b = { ...KEY, name: 'b' }
    // Something that cannot be replaced by a file.
    mkdirSync(join(file!, '..', 'b.checkpoint'))
    expect(await codeOf(() => store.write(b, filled(8, 2)))).toBe('ERR_OPERATION_FAILED')
    expect(await codeOf(() => store.read(b, 9))).toBe('ERR_OPERATION_FAILED')
    expect(filesIn(store.path)).toEqual([file])
    expect(await store.list(KEY)).toEqual([{ name: 'a', bytes: 8 }])
  })

  it('passes over what others have put there, and counts it', async () => {
    const store = await open()
    await store.write(KEY, filled(8, 1))
    const [file] = filesIn(store.path)
    for (const name of ['notes.txt', '%41%.checkpoint', '%61.checkpoint', '.checkpoint', 'a b.checkpoint']) {
      writeFileSync(join(file!, '..', name), filled(2, 0))
    }
    expect(await store.list(KEY)).toEqual([{ name: 'a', bytes: 8 }])
    expect(await store.usage('bob')).toEqual({ count: 6, bytes: 18 })
  })
})
