/** Images of digits and what they show, kept as bytes; tensors are made of those asked for. */
import { sottoError } from '../errors.ts'
import { tf } from '../tensor/backend.ts'

const height = 28
const width = 28
const area = height * width
const classes = 10

/**
 * Every byte scaled to [−1, 1]: `Normalize((0.5,), (0.5,))` after `ToTensor()`, as the field trains on MNIST.
 * A table, for 256 divisions are fewer than 784 an image.
 */
const scaled = Float32Array.from({ length: 256 }, (_, byte) => byte / 127.5 - 1)

/** Images of 28×28 pixels with labels from 0 to 9. */
export class LabelledImages {
  /** One byte a pixel, 0 for paper and 255 for ink; `count` · 784 in row-major order. */
  readonly pixels: Uint8Array
  /** One byte an image, from 0 to 9. */
  readonly labels: Uint8Array
  readonly count: number
  readonly height = height
  readonly width = width

  /**
   * @param pixels kept, not copied
   * @param labels kept, not copied
   * @throws DataError `ERR_DATA_FORMAT` when there are not 784 pixels to a label, or a label is above 9
   */
  constructor(pixels: Uint8Array, labels: Uint8Array) {
    if (pixels.length !== labels.length * area) {
      throw sottoError(
        'ERR_DATA_FORMAT',
        `${labels.length} labels expected ${labels.length * area} pixels (${height}×${width} each), got ${pixels.length}`,
        { labels: labels.length, pixels: pixels.length },
      )
    }
    const wrong = labels.findIndex((label) => label >= classes)
    if (wrong !== -1) {
      throw sottoError('ERR_DATA_FORMAT', `the label at ${wrong} is above ${classes - 1}`, { index: wrong })
    }
    this.pixels = pixels
    this.labels = labels
    this.count = labels.length
  }

  /**
   * Images as rows of a matrix, scaled to [−1, 1].
   *
   * @param indices which, from 0 to `count` − 1, in any order, with repeats; without them all
   * @returns float32, shape [n, 784]; yours to dispose
   * @throws ValueError `ERR_ARGUMENT_VALUE` for an index out of range
   */
  images(indices?: ArrayLike<number>): tf.Tensor2D {
    const chosen = this.#chosen(indices)
    const values = new Float32Array(chosen.length * area)
    for (let row = 0; row < chosen.length; row++) {
      const from = chosen[row]! * area
      const to = row * area
      for (let pixel = 0; pixel < area; pixel++) values[to + pixel] = scaled[this.pixels[from + pixel]!]!
    }
    return tf.tensor2d(values, [chosen.length, area], 'float32')
  }

  /**
   * Labels.
   *
   * @param indices as for {@link images}
   * @returns int32, shape [n]; yours to dispose
   * @throws ValueError `ERR_ARGUMENT_VALUE` for an index out of range
   */
  labelsTensor(indices?: ArrayLike<number>): tf.Tensor1D {
    const chosen = this.#chosen(indices)
    return tf.tensor1d(
      Int32Array.from(chosen, (index) => this.labels[index]!),
      'int32',
    )
  }

  /**
   * The images from `begin` up to, not including, `end`: a view, not a copy.
   *
   * @throws ValueError `ERR_ARGUMENT_VALUE` unless 0 ≤ begin ≤ end ≤ count
   */
  slice(begin: number, end: number = this.count): LabelledImages {
    if (!Number.isInteger(begin) || !Number.isInteger(end) || begin < 0 || end < begin || end > this.count) {
      throw sottoError(
        'ERR_ARGUMENT_VALUE',
        `slice: expected 0 <= begin <= end <= ${this.count}, got ${begin}, ${end}`,
        {
          begin,
          end,
          count: this.count,
        },
      )
    }
    return new LabelledImages(this.pixels.subarray(begin * area, end * area), this.labels.subarray(begin, end))
  }

  #chosen(indices: ArrayLike<number> | undefined): Uint32Array {
    if (indices === undefined) return Uint32Array.from({ length: this.count }, (_, index) => index)
    return Uint32Array.from(indices, (index, at) => {
      if (!Number.isInteger(index) || index < 0 || index >= this.count) {
        throw sottoError('ERR_ARGUMENT_VALUE', `the index at ${at} expected 0 to ${this.count - 1}, got ${index}`, {
          index,
          count: this.count,
        })
      }
      return index
    })
  }
}
