import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type DataFileOptions, readDataFile, type TensorData } from '../../src/data/data-file.ts'
import { formatNpy } from '../../src/data/npy.ts'
import { isSottoError } from '../../src/errors.ts'
import { idxFile, put, temporaryFolder } from './files.ts'

/** Writes a file and reads it. */
async function reading(name: string, content: Uint8Array, options?: DataFileOptions): Promise<TensorData> {
  const path = join(await temporaryFolder(), name)
  await put(path, content)
  return readDataFile(path, options)
}

const failure = (promise: Promise<unknown>): Promise<unknown> => promise.catch((error: unknown) => error)
const error = (code: string, message = '') =>
  expect.objectContaining({ code, message: expect.stringContaining(message) })

const npy: TensorData = { shape: [2, 2], dtype: 'int32', data: Int32Array.of(1, -2, 3, 4) }
const images = idxFile([1, 2, 2], Uint8Array.of(0, 1, 128, 255))
const labels = idxFile([3], Uint8Array.of(7, 0, 255))
const imageTensor: TensorData = { shape: [1, 2, 2], dtype: 'float32', data: Float32Array.of(0, 1, 128, 255) }
const labelTensor: TensorData = { shape: [3], dtype: 'int32', data: Int32Array.of(7, 0, 255) }
const csvTensor: TensorData = { shape: [1, 2], dtype: 'float32', data: Float32Array.of(1, 2.5) }

const files: readonly (readonly [name: string, content: Uint8Array, tensor: TensorData])[] = [
  ['a.npy', formatNpy(npy), npy],
  ['a.csv', Buffer.from('x,y\n1,2.5\n'), csvTensor],
  ['a.idx', images, imageTensor],
  ['train-images-idx3-ubyte', images, imageTensor],
  ['train-labels.idx1-ubyte', labels, labelTensor],
]

describe('readDataFile', () => {
  test.each(files)('reads %s, gzipped or not, in capitals or not', async (name, content, tensor) => {
    expect(await reading(name, content)).toEqual(tensor)
    expect(await reading(`${name}.gz`, gzipSync(content))).toEqual(tensor)
    expect(await reading(`${name}.gz`.toUpperCase(), gzipSync(content))).toEqual(tensor)
  })

  test('takes the columns of a .csv file that are asked for', async () => {
    const { shape, data } = await reading('a.csv.gz', gzipSync('x,y\n1,2.5\n'), { columns: ['y'] })
    expect([shape, [...data]]).toEqual([[1, 1], [2.5]])
  })

  test('says that a file is not there, or cannot be read, with its path', async () => {
    const folder = await temporaryFolder()
    const absent = join(folder, 'absent.npy')
    const told = await failure(readDataFile(absent))
    expect(told).toEqual(error('ERR_DATA_MISSING', `${absent}: there is no such file`))
    await put(join(folder, 'folder.npy', 'file'), Buffer.alloc(0))
    const unreadable = await failure(readDataFile(join(folder, 'folder.npy')))
    expect(unreadable).toEqual(error('ERR_DATA_MISSING', 'cannot be read: EISDIR'))
  })

  test.each(['a.txt', 'a.npz', 'npy', 'a.gz', 'a.npy.zip', 'a.csv.gz.gz', ''])(
    'refuses a file called "%s", and lists the names it knows',
    async (name) => {
      const told = await failure(readDataFile(name))
      expect(told).toEqual(error('ERR_DATA_FORMAT', `${name}: expected a name that ends in .npy, .csv, .idx, -ubyte`))
    },
  )

  test.each([
    ['a .npy that is another file', 'a.npy', labels, 'a.npy: expected "\\x93NUMPY" at the start'],
    ['a .csv that is no text', 'a.csv', Uint8Array.of(0x31, 0xff), 'a.csv: is no text'],
    ['a .csv with a gap', 'a.csv', Buffer.from('1,2\n3,\n'), 'a.csv: line 2, column 2'],
    ['an .idx with a byte too many', 'a.idx', Buffer.concat([labels, labels]), 'a.idx: expected 3 bytes'],
    ['a .gz that is not packed', 'a.npy.gz', formatNpy(npy), 'a.npy.gz: does not unpack'],
    ['a .gz that ends early', 'a.idx.gz', gzipSync(labels).subarray(0, -9), 'a.idx.gz: does not unpack'],
    ['what is packed but not called .gz', 'a.idx', gzipSync(labels), 'is it still packed?'],
    [
      'more axes than travel',
      'a.npy',
      formatNpy({ shape: [1, 1, 1, 1, 1, 1, 1], dtype: 'bool', data: Uint8Array.of(1) }),
      'a.npy: expected at most 6 axes, got 7',
    ],
  ])('refuses %s', async (_, name, content, message) => {
    expect(await failure(reading(name, content))).toEqual(error('ERR_DATA_FORMAT', message))
  })

  test('refuses columns of what has none, and options it does not know', async () => {
    const told = await failure(reading('a.npy', formatNpy(npy), { columns: ['x'] }))
    expect(told).toEqual(error('ERR_ARGUMENT_VALUE', '"columns" are for .csv files'))
    const unknown = await failure(reading('a.csv', Buffer.from('1\n'), { colums: ['x'] } as DataFileOptions))
    expect(unknown).toEqual(error('ERR_ARGUMENT_VALUE', 'unknown option "colums"'))
  })

  test('throws nothing but ERR_DATA_FORMAT for bytes of any kind, whatever they are called', async () => {
    const folder = await temporaryFolder()
    const names = fc.constantFrom(...files.flatMap(([name]) => [name, `${name}.gz`]))
    await fc.assert(
      fc.asyncProperty(names, fc.uint8Array({ maxLength: 40 }), fc.boolean(), async (name, bytes, packed) => {
        const path = join(folder, name)
        await put(path, packed ? gzipSync(bytes) : bytes)
        const result = await failure(readDataFile(path))
        if (result instanceof Error) expect(isSottoError(result) && result.code).toBe('ERR_DATA_FORMAT')
      }),
    )
  })
})
