/** Public fixed-precision tensors: numbers as integers of the ring, here. */
import { sottoError } from '../errors.ts'
import { tf } from '../tensor/engine.ts'
import { type Shape, showShape } from '../tensor/shape.ts'
import { specOf } from '../tensor/wire.ts'
import { type AnyEncoded, type Command, EncodedTensor, type PublicOperand } from './encoded-tensor.ts'
import {
  type Encoding,
  fixedEncoding,
  INTEGER,
  isFixed,
  type PrecisionOptions,
  scaleOf,
  showEncoding,
  TRUTH,
} from './encoding.ts'
import { encodeValues } from './literals.ts'
import { ring } from './ring/choose.ts'
import type { RingBits } from './ring/kernels.ts'
import type { RingTensor } from './ring/tensor.ts'
import { runClear } from './ring-ops.ts'

/**
 * A public tensor in fixed precision (or of integers, or truths, as comparisons give them).
 *
 * Encoding rounds to the nearest multiple of base^−precisionFractional, ties to even. Products and quotients are exact
 * up to a rounding toward zero: at three digits 2.113 · −0.113 is −0.238. Values lie within ±2^50 / scale when encoded,
 * and results within ±2^62 / scale² (of 128 bits ±2^64 / scale and ±2^126 / scale²): what lies beyond wraps around
 * without notice, as ring elements do.
 */
export class FixedPrecisionTensor extends EncodedTensor<FixedPrecisionTensor> {
  readonly shape: Shape
  readonly encoding: Encoding
  #value: RingTensor

  /** @internal From `fixPrecision`, from operations, and from `get()` of shared tensors. */
  constructor(value: RingTensor, encoding: Encoding) {
    super()
    this.shape = value.shape
    this.encoding = encoding
    this.#value = value
  }

  override get publicValue(): PublicOperand {
    return { tensor: this.#value, encoding: this.encoding }
  }

  protected issue({ op, operands, attrs, divisor, encodings }: Command<FixedPrecisionTensor>): FixedPrecisionTensor[] {
    const values = operands.map((operand) => ('tensor' in operand ? operand.tensor : operand.#value))
    return runClear(op, values, attrs, divisor).map((value, i) => new FixedPrecisionTensor(value, encodings[i]!))
  }

  protected joins(op: string, other: AnyEncoded): boolean {
    if (other instanceof FixedPrecisionTensor) return true
    throw sottoError(
      'ERR_LOCAL_OPERAND',
      `${op}: a fixed-precision tensor that is here meets one that is not; write the other first`,
      { op },
    )
  }

  alias(): FixedPrecisionTensor {
    return new FixedPrecisionTensor(this.#value, this.encoding)
  }
  protected adopt(other: FixedPrecisionTensor): void {
    this.#value = other.#value
  }
  /** Nothing to free: the values are the garbage collector's. */
  dispose(): void {}

  /** The numbers, as a tensor: float32 of fixed precision, int32 of integers, bool of truths. */
  floatPrecision(): tf.Tensor {
    const { data, shape } = this.#value
    const kernels = ring(this.encoding.ring)
    if (isFixed(this.encoding)) return tf.tensor(kernels.decode(data, scaleOf(this.encoding)), [...shape], 'float32')
    return tf.tidy(() => tf.tensor(kernels.toInt32(data), [...shape], 'int32').cast(this.dtype))
  }

  /** The numbers, row by row. */
  dataSync(): Float32Array | Int32Array | Uint8Array {
    return this.#read((tensor) => tensor.dataSync())
  }
  /** The numbers, as nested arrays. */
  arraySync(): ReturnType<tf.Tensor['arraySync']> {
    return this.#read((tensor) => tensor.arraySync())
  }
  #read<R>(read: (tensor: tf.Tensor) => R): R {
    const tensor = this.floatPrecision()
    try {
      return read(tensor)
    } finally {
      tensor.dispose()
    }
  }

  /** Shape and encoding; public as the values are, they are not shown. */
  override toString(): string {
    return `FixedPrecisionTensor ${showEncoding(this.encoding)} ${showShape(this.shape)}`
  }
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.toString()
  }
}

/**
 * A tensor in fixed precision, here. Integers and bools become fixed too.
 *
 * @throws `ERR_ARGUMENT_VALUE` for NaN, ±Infinity and values beyond ±2^50 / scale, of 128 bits ±2^64 / scale
 */
export function fixTensor(value: tf.Tensor | tf.TensorLike, options: PrecisionOptions = {}): FixedPrecisionTensor {
  const encoding = fixedEncoding('fixPrecision', options)
  const { tensor } = encodeValues('fixPrecision', value, () => encoding)
  return new FixedPrecisionTensor(tensor, encoding)
}

/** An integer or bool tensor as ring elements, for sharing without fixed precision. */
export function integersOf(op: string, value: tf.Tensor, bits: RingBits): FixedPrecisionTensor {
  const { dtype } = specOf(value)
  if (dtype === 'float32') {
    throw sottoError('ERR_PRECISION', `${op}: floats cannot be shared as they are; call .fixPrecision() first`, { op })
  }
  const encoding = (dtype === 'bool' ? TRUTH : INTEGER)[bits]
  return new FixedPrecisionTensor(encodeValues(op, value, () => encoding).tensor, encoding)
}
