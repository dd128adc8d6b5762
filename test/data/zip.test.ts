import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { unzip } from '../../src/data/zip.ts'
import { DataError } from '../../src/errors.ts'
import { zipFile } from './files.ts'

const bytes = fc.uint8Array({ maxLength: 300 })
const refused = (what: string) =>
  expect.objectContaining({ code: 'ERR_DATA_FORMAT', message: expect.stringMatching(what) })

const thrownBy = (action: () => unknown): unknown => {
  try {
    return action()
  } catch (error) {
    return error
  }
}

describe('unzip', () => {
  test('gives back what was packed, however it was packed', () => {
    fc.assert(
      fc.property(
        bytes,
        bytes,
        fc.boolean(),
        fc.boolean(),
        fc.stringMatching(/^\w{0,20}$/),
        (a, b, stored, streamed, comment) => {
          const archive = zipFile(
            [
              { name: 'a', content: a, stored, streamed },
              { name: 'folder/b', content: b },
            ],
            comment,
          )
          expect(Buffer.from(unzip(archive, 'a', 300))).toEqual(Buffer.from(a))
          expect(Buffer.from(unzip(archive, 'folder/b', 300))).toEqual(Buffer.from(b))
        },
      ),
    )
  })

  test.each([
    ['no such member', { name: 'b', content: Buffer.from('x') }, 'none of that name'],
    ['encryption', { name: 'a', content: Buffer.from('x'), encrypted: true }, 'encrypted'],
    ['more than expected', { name: 'a', content: Buffer.alloc(101) }, 'more than the 100'],
  ])('refuses %s', (_, member, what) => {
    expect(thrownBy(() => unzip(zipFile([member]), 'a', 100))).toEqual(refused(what))
  })

  test('refuses a content whose checksum differs', () => {
    const archive = zipFile([{ name: 'a', content: Buffer.from('abc'), stored: true }])
    archive[30 + 1]! ^= 1
    expect(thrownBy(() => unzip(archive, 'a', 100))).toEqual(refused('checksum'))
  })

  test('throws nothing but a DataError, whatever is changed or cut off', () => {
    const archive = zipFile([{ name: 'a', content: Buffer.from('some text, some text') }])
    const mutations = fc.array(fc.tuple(fc.nat(archive.length - 1), fc.nat(255)), { maxLength: 4 })
    fc.assert(
      fc.property(mutations, fc.nat(archive.length), (changes, length) => {
        const damaged = Uint8Array.from(archive.subarray(0, length))
        for (const [at, byte] of changes) if (at < length) damaged[at] = byte
        const result = thrownBy(() => unzip(damaged, 'a', 100))
        expect(result instanceof Uint8Array || result instanceof DataError).toBe(true)
      }),
    )
  })
})
