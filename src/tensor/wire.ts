/** Tensors as bytes: little-endian, row by row. */
import { sottoError } from '../errors.ts'
import { tf } from './engine.ts'
import { type PackedWire, unpack } from './packed.ts'
import { byteSizeOf, type DType, dtypes, type Spec, showShape } from './shape.ts'

/** A tensor as it travels. */
export interface TensorWire extends Spec {
  /** Elements row by row: float32 and int32 little-endian in 4 bytes, bool in one (0 or 1). */
  readonly data: Uint8Array
  /** What has one is a {@link PackedWire}. */
  readonly encoding?: undefined
}

if (new Uint8Array(new Uint16Array([1]).buffer)[0] !== 1) {
  throw sottoError('ERR_BACKEND', 'tensors travel little-endian, and this machine is big-endian')
}

export function specOf(tensor: tf.Tensor): Spec {
  if (!dtypes.includes(tensor.dtype as DType)) {
    throw sottoError('ERR_DTYPE', `tensors of dtype ${tensor.dtype} do not travel; use ${dtypes.join(', ')}`, {
      dtype: tensor.dtype,
    })
  }
  return { shape: tensor.shape, dtype: tensor.dtype as DType }
}

const arrays = { float32: Float32Array, int32: Int32Array, bool: Uint8Array } as const

/** The cpu backend casts from bool, and joins empty tensors, without making the array that the dtype asks for. */
function typed(values: ArrayLike<number>, dtype: DType): Float32Array | Int32Array | Uint8Array {
  const TypedArray = arrays[dtype]
  return values instanceof TypedArray ? values : TypedArray.from(values)
}

/** Copies a tensor's values out of the engine. */
export function toWire(tensor: tf.Tensor): TensorWire {
  const { shape, dtype } = specOf(tensor)
  const values = typed(tensor.dataSync(), dtype)
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
  // The wasm backend hands out a copy; the cpu backend its own memory, which must not be shared.
  return { shape, dtype, data: isOnWasm(tensor) ? bytes : bytes.slice() }
}

/** The values of a float32 tensor, to be read and not changed: they may be the engine's own memory. */
export const valuesOf = (tensor: tf.Tensor): Float32Array => typed(tensor.dataSync(), 'float32') as Float32Array

/** Whether the values are in the memory of the wasm backend: a tensor stays on the backend that it was made on. */
function isOnWasm({ dataId }: tf.Tensor): boolean {
  const { tensorInfo } = (tf.engine() as unknown as { state: { tensorInfo: WeakMap<object, { backend: object }> } })
    .state
  return tf.getBackend() === 'wasm' && tensorInfo.get(dataId)?.backend === tf.backend()
}

/**
 * Makes a tensor of bytes that arrived. The engine gets a copy of its own: the bytes may sit at any offset of a
 * larger buffer, and may be reused by whoever sent them.
 *
 * @throws ProtocolError when the bytes are not as many as shape and dtype say
 */
export function fromWire(wire: TensorWire | PackedWire): tf.Tensor {
  if (wire.encoding !== undefined) return tf.tensor(unpack(wire), [...wire.shape], 'float32')
  const { shape, dtype, data } = wire
  if (data.byteLength !== byteSizeOf({ shape, dtype })) {
    throw sottoError(
      'ERR_PROTOCOL',
      `a ${dtype} tensor of shape ${showShape(shape)} takes ${byteSizeOf({ shape, dtype })} bytes, ${data.byteLength} came`,
    )
  }
  // The wasm backend copies them itself, floats and integers in one piece.
  if (tf.getBackend() === 'wasm' && dtype !== 'bool' && data.byteOffset % 4 === 0 && data.byteLength > 0) {
    const TypedArray = arrays[dtype]
    return tf.tensor(
      new TypedArray(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength / 4),
      [...shape],
      dtype,
    )
  }
  const copy = data.slice()
  if (dtype === 'bool') for (let i = 0; i < copy.length; i++) copy[i] = copy[i] === 0 ? 0 : 1
  const values =
    dtype === 'float32' ? new Float32Array(copy.buffer) : dtype === 'int32' ? new Int32Array(copy.buffer) : copy
  return tf.tensor(values, [...shape], dtype)
}
