/**
 * MNIST: 60,000 and 10,000 handwritten digits (Y. LeCun, C. Cortes, C. Burges; CC BY-SA 3.0), or a set of drawn digits
 * where it is not to be had.
 */
import { sottoError } from '../errors.ts'
import { parseIdx } from './idx.ts'
import { LabelledImages } from './labelled-images.ts'
import { checkLimit, type LoadOptions, realOrSynthetic } from './load.ts'
import { type DataFile, readDataFile, type SourceOptions } from './source.ts'
import { drawnDigits } from './synthetic-digits.ts'

export { LabelledImages } from './labelled-images.ts'

export interface MnistOptions extends LoadOptions {
  /** At most so many images to train on, the first of the set. Default: all. */
  readonly limit?: number
  /** At most so many images to test on, the first of the set. Default: all. */
  readonly testLimit?: number
}

export interface Mnist {
  readonly train: LabelledImages
  readonly test: LabelledImages
  /** Where the images come from: handwriting, or a stand-in. */
  readonly source: 'mnist' | 'synthetic'
}

const mirrors = ['https://storage.googleapis.com/cvdf-datasets/mnist', 'https://ossci-datasets.s3.amazonaws.com/mnist']

const mnistFile = (name: string, size: number, sha256: string): DataFile => ({
  path: `mnist/${name}`,
  size,
  sha256,
  mirrors: mirrors.map((mirror) => ({ url: `${mirror}/${name}.gz`, form: 'gzip' })),
})

/** The files and their SHA-256, unpacked; the packed files differ from mirror to mirror. */
export const mnistFiles = {
  trainImages: mnistFile(
    'train-images-idx3-ubyte',
    47_040_016,
    'ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db',
  ),
  trainLabels: mnistFile(
    'train-labels-idx1-ubyte',
    60_008,
    '65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5',
  ),
  testImages: mnistFile(
    't10k-images-idx3-ubyte',
    7_840_016,
    '0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7',
  ),
  testLabels: mnistFile(
    't10k-labels-idx1-ubyte',
    10_008,
    'ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2',
  ),
} as const satisfies Record<string, DataFile>

/** Sizes and seeds of the stand-in: as small as lets a demo learn in seconds. */
const drawn = { train: { count: 6_000, seed: 1 }, test: { count: 1_000, seed: 2 } } as const

/**
 * Loads MNIST from the folder `SOTTO_DATA`, the user's cache or a public mirror; where it is not to be had, drawn
 * digits in its place (6,000 and 1,000), and says so through `onNotice`.
 *
 * @throws DataError `ERR_DATA_MISSING` when it is not to be had and `synthetic` is `never`, `ERR_DATA_CHECKSUM` when a
 * file in `SOTTO_DATA` differs from the published one; ValueError `ERR_ARGUMENT_VALUE` for an option out of range
 */
export async function loadMnist(
  options: MnistOptions = {},
  /** @internal */ sourceOptions: SourceOptions = {},
): Promise<Mnist> {
  const limit = checkLimit('limit', options.limit)
  const testLimit = checkLimit('testLimit', options.testLimit)
  const source = { signal: options.signal, onNotice: options.onNotice ?? console.error, ...sourceOptions }

  return realOrSynthetic<Mnist, Mnist>(options, {
    // One after the other: without a network the first file tells, and the bars do not overwrite each other.
    real: async () => ({
      train: await readPair(mnistFiles.trainImages, mnistFiles.trainLabels, limit, source),
      test: await readPair(mnistFiles.testImages, mnistFiles.testLabels, testLimit, source),
      source: 'mnist',
    }),
    synthetic: () => ({
      train: drawnDigits(Math.min(limit, drawn.train.count), drawn.train.seed),
      test: drawnDigits(Math.min(testLimit, drawn.test.count), drawn.test.seed),
      source: 'synthetic',
    }),
    notice:
      'sotto: MNIST is neither in SOTTO_DATA nor in the cache, and no mirror gave it; going on with drawn digits instead',
  })
}

async function readPair(images: DataFile, labels: DataFile, limit: number, source: SourceOptions) {
  const imageBytes = await readDataFile(images, source)
  const labelBytes = await readDataFile(labels, source)
  return parseMnist(imageBytes, labelBytes, limit)
}

/**
 * Images and labels of two IDX files, unpacked.
 *
 * @param limit at most so many, the first; the copy then lets go of the rest of the file
 * @throws DataError `ERR_DATA_FORMAT` when a file is malformed, the images are not 28×28, or the counts differ
 */
export function parseMnist(
  imageBytes: Uint8Array,
  labelBytes: Uint8Array,
  limit = Number.POSITIVE_INFINITY,
): LabelledImages {
  const images = parseIdx(imageBytes, { name: 'images', rank: 3 })
  const labels = parseIdx(labelBytes, { name: 'labels', rank: 1 })
  const [count, height, width] = images.shape as [number, number, number]
  if (height !== 28 || width !== 28) {
    throw sottoError('ERR_DATA_FORMAT', `images: expected 28×28 pixels, got ${height}×${width}`, { height, width })
  }
  if (labels.shape[0] !== count) {
    throw sottoError('ERR_DATA_FORMAT', `labels: expected one for each of ${count} images, got ${labels.shape[0]}`, {
      images: count,
      labels: labels.shape[0],
    })
  }
  if (limit >= count) return new LabelledImages(images.data, labels.data)
  return new LabelledImages(images.data.slice(0, limit * 28 * 28), labels.data.slice(0, limit))
}
