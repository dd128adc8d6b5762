import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { LabelledImages, loadMnist, mnistFiles, parseMnist } from '../../src/data/mnist.ts'
import { readyForTest } from '../backend.ts'
import { idxFile, put, temporaryFolder } from './files.ts'

const area = 28 * 28
const real = process.env.SOTTO_DATA ? false : 'SOTTO_DATA is not set'

/** A machine with neither data nor network. */
async function nothing() {
  const root = await temporaryFolder()
  return { environment: { XDG_CACHE_HOME: root }, mirrors: [] }
}

beforeAll(readyForTest)

describe('LabelledImages', () => {
  const pixels = Uint8Array.from({ length: 3 * area }, (_, at) => at % 256)
  const images = new LabelledImages(pixels, Uint8Array.of(7, 0, 9))

  test('scales bytes to [-1, 1], as the field does: 0 to -1, 255 to 1', () => {
    const tensor = images.images()
    expect(tensor.shape).toEqual([3, area])
    expect(tensor.dtype).toBe('float32')
    const values = tensor.dataSync()
    pixels.forEach((byte, at) => {
      expect(values[at]).toBe(Math.fround(byte / 127.5 - 1))
    })
    expect([Math.min(...values), Math.max(...values)]).toEqual([-1, 1])
    tensor.dispose()
  })

  test('takes rows in the order asked for, with repeats', () => {
    const rows = images.images([2, 0, 2])
    const all = images.images()
    const expected = [2, 0, 2].flatMap((row) => [...all.dataSync().slice(row * area, (row + 1) * area)])
    expect([...rows.dataSync()]).toEqual(expected)
    const labels = images.labelsTensor(Uint32Array.of(2, 0, 2))
    expect(labels.dtype).toBe('int32')
    expect([...labels.dataSync()]).toEqual([9, 7, 9])
    for (const tensor of [rows, all, labels]) tensor.dispose()
  })

  test('slice is a view of the images from begin to before end', () => {
    const part = images.slice(1, 3)
    expect(part.count).toBe(2)
    expect([...part.labels]).toEqual([0, 9])
    expect(part.pixels.buffer).toBe(pixels.buffer)
    expect(part.pixels).toEqual(pixels.subarray(area))
    expect(images.slice(3).count).toBe(0)
  })

  test.each([
    [-1, 2],
    [2, 1],
    [0, 4],
    [0.5, 2],
  ])('slice refuses %d to %d of 3', (begin, end) => {
    expect(() => images.slice(begin, end)).toThrow(RangeError)
  })

  test.each([3, -1, 0.5, Number.NaN])('refuses the index %d of 3', (index) => {
    expect(() => images.images([index])).toThrow(RangeError)
    expect(() => images.labelsTensor([index])).toThrow(RangeError)
  })

  test('refuses a label above 9, and pixels that do not fit the labels', () => {
    expect(() => new LabelledImages(new Uint8Array(area), Uint8Array.of(10))).toThrow('the label at 0 is above 9')
    expect(() => new LabelledImages(new Uint8Array(area), Uint8Array.of(1, 2))).toThrow('got 784')
  })
})

describe('parseMnist', () => {
  const labels = (...values: number[]) => idxFile([values.length], Uint8Array.from(values))
  const images = (count: number, height = 28, width = 28) =>
    idxFile([count, height, width], new Uint8Array(count * height * width))

  test('takes the first ones up to the limit', () => {
    expect(parseMnist(images(3), labels(1, 2, 3), 2).labels).toEqual(Uint8Array.of(1, 2))
    expect(parseMnist(images(3), labels(1, 2, 3), 5).count).toBe(3)
  })

  test.each([
    ['counts that differ', images(2), labels(1), 'one for each of 2 images, got 1'],
    ['another size', images(1, 27), labels(1), 'expected 28×28 pixels, got 27×28'],
    ['labels for images', labels(1), labels(1), 'images: expected rank 3, got 1'],
    ['a label above 9', images(1), labels(10), 'above 9'],
  ])('refuses %s', (_, imageBytes, labelBytes, message) => {
    expect(() => parseMnist(imageBytes, labelBytes)).toThrow(
      expect.objectContaining({ code: 'ERR_DATA_FORMAT', message: expect.stringContaining(message) }),
    )
  })
})

describe('loadMnist', () => {
  test('with neither data nor network says so in one line and goes on with drawn digits', async () => {
    const notices: string[] = []
    const set = await loadMnist({ limit: 20, testLimit: 10, onNotice: (line) => notices.push(line) }, await nothing())
    expect(set.source).toBe('synthetic')
    expect([set.train.count, set.test.count]).toEqual([20, 10])
    expect(notices).toEqual([expect.stringMatching(/^sotto: MNIST .*drawn digits[^\n]*$/)])
  })

  test('throws when it may not take the synthetic set', async () => {
    const loading = loadMnist({ synthetic: 'never' }, await nothing())
    await expect(loading).rejects.toEqual(expect.objectContaining({ code: 'ERR_DATA_MISSING' }))
  })

  test('takes the synthetic set when told to, and says nothing', async () => {
    const onNotice = () => expect.unreachable()
    const set = await loadMnist({ synthetic: 'always', limit: 5, testLimit: 5, onNotice })
    expect(set.source).toBe('synthetic')
  })

  test('a damaged file is an error, not a reason for drawn digits', async () => {
    const own = await temporaryFolder()
    await mkdir(join(own, 'mnist'))
    await put(join(own, mnistFiles.trainImages.path), Buffer.from('not MNIST'))
    const loading = loadMnist({}, { environment: { ...(await nothing()).environment, SOTTO_DATA: own }, mirrors: [] })
    await expect(loading).rejects.toEqual(expect.objectContaining({ code: 'ERR_DATA_CHECKSUM' }))
  })

  test('an abort is an error, not a reason for drawn digits', async () => {
    const loading = loadMnist({ signal: AbortSignal.abort(new Error('enough')) }, await nothing())
    await expect(loading).rejects.toThrow('enough')
  })

  test.each([{ limit: 0 }, { testLimit: 1.5 }, { synthetic: 'sometimes' as 'never' }])(
    'refuses %j',
    async (options) => {
      await expect(loadMnist(options, await nothing())).rejects.toThrow(RangeError)
    },
  )

  describe.skipIf(real)(`real MNIST${real ? ` (${real})` : ''}`, () => {
    test('has 60,000 and 10,000 digits, each about as often as the others', async () => {
      const { train, test, source } = await loadMnist({ synthetic: 'never' })
      expect(source).toBe('mnist')
      expect([train.count, test.count]).toEqual([60_000, 10_000])
      // The first labels, as every tutorial prints them.
      expect([...train.labels.subarray(0, 5)]).toEqual([5, 0, 4, 1, 9])
      expect([...test.labels.subarray(0, 5)]).toEqual([7, 2, 1, 0, 4])
      // 0.1307: the mean that the field normalises with.
      const mean = train.pixels.reduce((sum, byte) => sum + byte, 0) / train.pixels.length / 255
      expect(mean).toBeCloseTo(0.1307, 4)
    })

    test('lets go of the rest of the file when limited', async () => {
      const { train } = await loadMnist({ synthetic: 'never', limit: 10, testLimit: 10 })
      expect(train.pixels.buffer.byteLength).toBe(10 * area)
    })
  })
})
