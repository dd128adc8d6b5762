/** Numbers and arrays as tfjs takes them, as ring elements. */
import { sottoError } from '../errors.ts'
import { tf } from '../tensor/engine.ts'
import type { Shape } from '../tensor/shape.ts'
import type { PublicOperand } from './encoded-tensor.ts'
import { type Encoding, INTEGER, isFixed, sameEncoding, scaleOf, showEncoding, widened } from './encoding.ts'
import { ring } from './ring/choose.ts'
import type { RingBits } from './ring/kernels.ts'
import { mulScalar, type RingTensor, ringOf, ringTensor, widen } from './ring/tensor.ts'

type Values = Float32Array | Int32Array | Uint8Array

/** Shape and values of what tfjs would make a tensor of. */
function valuesOf(op: string, value: tf.Tensor | tf.TensorLike): { shape: number[]; values: Values | Float64Array } {
  // A double keeps its digits: float32 would round a factor such as 1/3 before it is encoded.
  if (typeof value === 'number') return { shape: [], values: Float64Array.of(value) }
  if (value instanceof tf.Tensor) return { shape: value.shape, values: value.dataSync() as Values }
  if (typeof value !== 'boolean' && !Array.isArray(value) && !ArrayBuffer.isView(value)) {
    throw sottoError('ERR_ARGUMENT_TYPE', `${op}: expected a tensor of the same kind, a number or an array`, { op })
  }
  const tensor = tf.tensor(value)
  try {
    return { shape: tensor.shape, values: tensor.dataSync() as Values }
  } finally {
    tensor.dispose()
  }
}

/** Above this, every float32 is whole, and few of the whole numbers are float32s. */
const LARGEST_FLOAT = 2 ** 24
/** Whether numbers stand for themselves. */
const whole = (values: ArrayLike<number>): boolean => {
  const largest = values instanceof Float32Array ? LARGEST_FLOAT : Number.MAX_SAFE_INTEGER
  for (let i = 0; i < values.length; i++) {
    if (!Number.isInteger(values[i]) || Math.abs(values[i]!) > largest) return false
  }
  return true
}

/** Whether every number is whole. */
export const isWhole = (value: tf.Tensor | tf.TensorLike): boolean => whole(valuesOf('', value).values)

/**
 * Public values in the encoding that is right for them.
 *
 * @throws `ERR_ARGUMENT_VALUE` for NaN, ±Infinity and what does not fit
 */
export function encodeValues(
  op: string,
  value: tf.Tensor | tf.TensorLike,
  encodingOf: (isWhole: boolean) => Encoding,
): PublicOperand {
  const { shape, values } = valuesOf(op, value)
  const encoding = encodingOf(whole(values))
  const isFloat = values instanceof Float32Array || values instanceof Float64Array
  const kernels = ring(encoding.ring)
  const data =
    !isFixed(encoding) && !isFloat
      ? kernels.fromInt32(Int32Array.from(values))
      : kernels.encode(isFloat ? values : Float32Array.from(values), scaleOf(encoding))
  return { tensor: ringTensor(encoding.ring, shape, data), encoding }
}

/** Whole numbers of any size, as they stand. */
export const wholeNumbers = (bits: RingBits, shape: Shape, values: readonly bigint[]): PublicOperand => ({
  tensor: ringOf(bits, shape, values),
  encoding: INTEGER[bits],
})

/**
 * Elements as they are encoded, or as they are in the wider ring that is wanted.
 *
 * @throws `ERR_PRECISION` unless one of the two encodings is wanted
 */
export function widenedTo(op: string, { tensor, encoding }: PublicOperand, wanted: Encoding): RingTensor {
  if (sameEncoding(encoding, wanted)) return tensor
  if (!sameEncoding(widened(op, encoding, wanted.ring), wanted)) {
    throw sottoError('ERR_PRECISION', `${op}: ${showEncoding(encoding)} cannot become ${showEncoding(wanted)}`, { op })
  }
  return mulScalar(widen(tensor), BigInt(scaleOf(wanted) / scaleOf(encoding)))
}
