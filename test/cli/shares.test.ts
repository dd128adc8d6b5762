/** Parts of a secret as files: what they hold, what joins them, and what is refused. */
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { sha256 } from '@noble/hashes/sha2.js'
import fc from 'fast-check'
import { formatNpy } from 'sotto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parseNpy } from '../../src/data/npy.ts'
import { INTEGER } from '../../src/smpc/encoding.ts'
import { ringTensor, wordsOf } from '../../src/smpc/ring/tensor.ts'
import { joinParts, readPart, splitIntoFiles } from '../../src/smpc/share-file.ts'
import { encodeValue, readValues } from '../../src/worker/codec.ts'
import { ByteCounts, byteBound, fromUniform } from '../reference/chi-square.ts'
import { sotto, temporaryFolder } from './run.ts'

const { path, remove } = temporaryFolder()
afterAll(remove)

const TABLE = 'rooms,"price, k€"\n6.575,24.0\n-0.1,0\n1e3,5.25\n'
const split = (file: string, out: string, ...flags: string[]) =>
  sotto(['shares', 'split', path(file), '--out', path(out), ...flags])
const partsIn = (folder: string) =>
  readdirSync(path(folder))
    .sort()
    .map((name) => path(`${folder}/${name}`))
const join = (parts: readonly string[], out: string) => sotto(['shares', 'join', ...parts, '--out', path(out)])

beforeAll(async () => {
  writeFileSync(path('houses.csv'), TABLE)
  expect(await split('houses.csv', 'three')).toMatchObject({ code: 0, err: '' })
  expect(await split('houses.csv', 'again')).toMatchObject({ code: 0, err: '' })
})

describe('sotto shares split', () => {
  it('writes a part for each party that nobody else can read, says which, and leaves nothing half written', async () => {
    expect(partsIn('three')).toEqual([0, 1, 2].map((party) => path(`three/houses.${party}.share`)))
    for (const part of partsIn('three')) expect(statSync(part).mode & 0o777).toBe(0o600)
    const { out } = await split('houses.csv', 'named')
    expect(out).toBe(`fixed(2^16) [3,2] in 3 parts, by replicated sharing: ${partsIn('named').join(', ')}\n`)
  })

  it('writes over nothing', async () => {
    const before = partsIn('three').map((part) => readFileSync(part))
    const { code, err } = await split('houses.csv', 'three')
    expect({ code, err }).toEqual({ code: 1, err: expect.stringContaining('it is there already') })
    expect(partsIn('three').map((part) => readFileSync(part))).toEqual(before)
  })

  it('gives each party the components of its protocol, which add up to the numbers and are uniform', () => {
    const words = new BigUint64Array(4096).fill(7n)
    for (const [protocol, parties, held] of [
      ['replicated', 3, [[0, 1], [1, 2], [2, 0]]], // biome-ignore format: a list
      ['additive', 4, [[0], [1], [2], [3]]], // biome-ignore format: a list
    ] as const) {
      const files = splitIntoFiles(ringTensor(64, [4096], words), { encoding: INTEGER[64], protocol, parties })
      const components = new Map<number, BigUint64Array>()
      files.forEach((file, party) => {
        const part = readPart(file, 'part')
        expect(part.components).toHaveLength(held[party]!.length)
        held[party]!.forEach((component, i) => {
          const found = wordsOf(part.components[i]!)
          if (components.has(component)) expect(found).toEqual(components.get(component))
          components.set(component, found)
        })
      })
      const sum = [...components.values()].reduce((a, b) => a.map((word, i) => word + b[i]!))
      expect(sum).toEqual(words)
      for (const component of components.values()) {
        expect(fromUniform(new ByteCounts().addWords(component))).toBeLessThan(byteBound)
      }
    }
  })

  it.each<[string, string, string[], string, string]>([
    ['text in a table', 'a,b\n1,2\n3,yes\n', [], 'line 3, column 2: expected a number, got text', 'csv'],
    ['a missing value', 'a,b\n1,\n', [], 'line 2, column 2: expected a number, got a missing value', 'csv'],
    [
      'a number that does not fit',
      'a,b\n1,2\n3,1e12\n',
      ['--digits', '20'],
      'row 2, column 2: expected a finite number below 1073741824',
      'csv',
    ],
    [
      'two parties of replicated sharing',
      TABLE,
      ['--parties', '2', '--protocol', 'replicated'],
      'exactly three',
      'csv',
    ],
    ['one party', TABLE, ['--parties', '1'], 'at least two parties', 'csv'],
    ['a scale that does not fit', TABLE, ['--digits', '40'], 'at most 2^31', 'csv'],
    ['no file of numbers', 'x', [], 'expected a name that ends in', 'txt'],
  ])('refuses %s', async (name, text, flags, message, end) => {
    writeFileSync(path(`wrong.${end}`), text)
    const { code, out, err } = await split(`wrong.${end}`, `wrong ${name}`, ...flags)
    expect({ code, out, err }).toEqual({ code: 1, out: '', err: expect.stringContaining(message) })
  })
})

describe('sotto shares join', () => {
  it('gives back the table, header and all; of replicated sharing from any two parts, in any order', async () => {
    const parts = partsIn('three')
    const back = 'rooms,"price, k€"\n6.575,24\n-0.1,0\n1000,5.25\n'
    const choices = [[0, 1, 2], [1, 0], [2, 1], [0, 2]] // biome-ignore format: a list
    for (const [i, choice] of choices.entries()) {
      const { code, err } = await join(
        choice.map((party) => parts[party]!),
        `back${i}.csv`,
      )
      expect({ code, err }).toEqual({ code: 0, err: '' })
      expect(readFileSync(path(`back${i}.csv`), 'utf8')).toBe(back)
      expect(statSync(path(`back${i}.csv`)).mode & 0o777).toBe(0o600)
    }
  })

  it.each([
    ['additive', '5', 'float32', Float32Array.of(1.5, -2.25, 0, 1000.0625)],
    ['additive', '2', 'int32', Int32Array.of(1, -2, 0, 2 ** 31 - 1)],
    ['replicated', '3', 'bool', Uint8Array.of(0, 1, 1, 0)],
  ] as const)('gives back an array, by %s sharing among %s, of %s', async (protocol, parties, dtype, data) => {
    const array = { shape: [2, 1, 2], dtype, data } as const
    writeFileSync(path(`${dtype}.npy`), formatNpy(array))
    await split(`${dtype}.npy`, dtype, '--parties', parties, '--protocol', protocol)
    expect(await join(partsIn(dtype), `${dtype} back.npy`)).toMatchObject({ code: 0, err: '' })
    expect(parseNpy(readFileSync(path(`${dtype} back.npy`)))).toEqual(array)
    expect(await join(partsIn(dtype), `${dtype}.csv`)).toMatchObject({
      code: 1,
      err: expect.stringContaining('two axes'),
    })
  })

  it('keeps 32 binary digits of integers of 128 bits', async () => {
    writeFileSync(path('wide.csv'), '0.123456789,-123456789.0123\n')
    const { out } = await split('wide.csv', 'wide', '--ring', '128')
    expect(out).toContain('fixed(2^32) of 128 bits [1,2]')
    await join(partsIn('wide'), 'wide back.csv')
    const cells = readFileSync(path('wide back.csv'), 'utf8').trim().split(',').map(Number)
    // Within half a unit of what was split, and half of one of what was read.
    expect(Math.abs(cells[0]! - 0.123456789)).toBeLessThanOrEqual(2 ** -32)
    expect(Math.abs(cells[1]! + 123456789.0123)).toBeLessThanOrEqual(2 ** -26)
  })

  it('keeps whatever has as many decimals as asked for', () => {
    return fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: -1e9, max: 1e9 }), { minLength: 1, maxLength: 5 }),
        async (numbers) => {
          const name = globalThis.crypto.randomUUID()
          const text = numbers.map((number) => `${number / 1000}\n`).join('')
          writeFileSync(path(`${name}.csv`), text)
          await split(`${name}.csv`, name, '--base', '10', '--digits', '3')
          await join(partsIn(name), `${name} back.csv`)
          expect(readFileSync(path(`${name} back.csv`), 'utf8')).toBe(text)
        },
      ),
      { numRuns: 10 },
    )
  })

  /** A part with another content, under a checksum of its own: what somebody could write who means ill. */
  const forged = (bytes: Uint8Array, change: (content: Record<string, unknown>) => object): Uint8Array => {
    const [content] = readValues(bytes.subarray(52)) as [Record<string, unknown>]
    const changed = encodeValue({ ...content, ...change(content) })
    return Uint8Array.from([...bytes.subarray(0, 20), ...sha256(changed), ...changed])
  }
  const read = (folder: string, party: number) => new Uint8Array(readFileSync(partsIn(folder)[party]!))
  const flipped = (bytes: Uint8Array, at: number) => bytes.map((byte, i) => (i === at ? byte ^ 1 : byte))

  it.each<[string, () => readonly Uint8Array[], string, string]>([
    ['one part', () => [read('three', 0)], 'ERR_SHARES_MISMATCH', '1 part says nothing; there must be 2'],
    ['the same part twice', () => [read('three', 1), read('three', 1)], 'ERR_SHARES_MISMATCH', 'the part of party 1'],
    [
      'a part of another set',
      () => [read('three', 0), read('again', 1), read('three', 2)],
      'ERR_SHARES_MISMATCH',
      'part 0 and part 1: they are not of one set',
    ],
    ['a part that was cut', () => [read('three', 0).subarray(0, 300)], 'ERR_SHARES', 'part 0: it was cut or changed'],
    ['the beginning of one', () => [read('three', 0).subarray(0, 40)], 'ERR_SHARES', 'or was cut short'],
    ['a part with more behind it', () => [Uint8Array.of(...read('three', 0), 0)], 'ERR_SHARES', 'cut or changed'],
    ['a part that was changed', () => [flipped(read('three', 0), 400)], 'ERR_SHARES', 'its checksum is another'],
    ['what is no part', () => [Uint8Array.of(1, 2, 3)], 'ERR_SHARES', 'it is no part of a secret'],
    [
      'a part of a later version',
      () => [flipped(read('three', 0), 16)],
      'ERR_SHARES',
      'of version 0, and this reads 1',
    ],
    [
      'components that were exchanged, checksum and all',
      () => [
        forged(read('three', 0), ({ components }) => ({ components: [...(components as unknown[])].reverse() })),
        read('three', 1),
      ],
      'ERR_SHARES',
      'what it holds is not what was split',
    ],
    [
      'a part under the number of another',
      () => [forged(read('three', 0), () => ({ party: 1 })), read('three', 2)],
      'ERR_SHARES',
      'what it holds is not what was split',
    ],
    [
      'a part that was made up, commitments and all',
      () => [
        forged(read('three', 0), ({ commitments, salts, components }) => {
          const [salt, component] = [(salts as Uint8Array[])[0]!, flipped((components as Uint8Array[])[0]!, 0)]
          return {
            commitments: [sha256(Uint8Array.of(...salt, ...component)), ...(commitments as Uint8Array[]).slice(1)],
            components: [component, (components as Uint8Array[])[1]],
          }
        }),
        read('three', 1),
      ],
      'ERR_SHARES_MISMATCH',
      'they are not of one set',
    ],
    ['another shape', () => [forged(read('three', 0), () => ({ shape: [3, 3] }))], 'ERR_SHARES', 'it does not hold'],
    [
      'a shape beyond reason',
      () => [forged(read('three', 0), () => ({ shape: [2 ** 53] }))],
      'ERR_SHARES',
      'malformed',
    ],
    ['fewer parties', () => [forged(read('three', 0), () => ({ parties: 2 }))], 'ERR_SHARES', 'it does not hold'],
    ['another encoding', () => [forged(read('three', 0), () => ({ encoding: {} }))], 'ERR_SHARES', 'malformed'],
    ['another protocol', () => [forged(read('three', 0), () => ({ protocol: 'x' }))], 'ERR_SHARES', 'malformed'],
    ['a field more', () => [forged(read('three', 0), () => ({ more: 1 }))], 'ERR_SHARES', 'malformed'],
  ])('refuses %s', (_, partsOf, code, message) => {
    const action = () =>
      joinParts(partsOf().map((bytes, i) => ({ name: `part ${i}`, part: readPart(bytes, `part ${i}`) })))
    expect(action).toThrow(expect.objectContaining({ code, message: expect.stringContaining(message) }))
  })

  it('says which file is not there, or not to be written, and writes no result then', async () => {
    expect(await join([path('nowhere.share')], 'x.csv')).toMatchObject({
      code: 1,
      err: expect.stringContaining('there is no such file'),
    })
    expect(await join(partsIn('three'), 'x.txt')).toMatchObject({
      code: 2,
      err: expect.stringContaining('.csv or .npy'),
    })
    expect(await join(partsIn('three'), 'houses.csv')).toMatchObject({
      code: 1,
      err: expect.stringContaining('it is there already'),
    })
    expect(readFileSync(path('houses.csv'), 'utf8')).toBe(TABLE)
    expect(await join(partsIn('three'), 'no/folder.csv')).toMatchObject({
      code: 1,
      err: expect.stringContaining('it cannot be written'),
    })
  })
})
