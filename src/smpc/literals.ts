/** Numbers and arrays as tfjs takes them, as ring elements. */
import { sottoError } from '../errors.ts'
import { tf } from '../tensor/engine.ts'
import type { PublicOperand } from './encoded-tensor.ts'
import type { Encoding } from './encoding.ts'
import { isFixed, scaleOf } from './encoding.ts'
import { ring } from './ring/choose.ts'

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
  if (!isFixed(encoding) && !isFloat)
    return { tensor: { shape, data: ring().fromInt32(Int32Array.from(values)) }, encoding }
  const numbers = isFloat ? values : Float32Array.from(values)
  return { tensor: { shape, data: ring().encode(numbers, scaleOf(encoding)) }, encoding }
}
