/** Methods on tfjs's own classes, for those who ask for them. Each of them also exists as a function. */
import { sottoError } from '../errors.ts'
import { tf } from './engine.ts'
import type { Location } from './location.ts'
import { type ModelSendOptions, type RemoteModel, sendModel } from './model.ts'
import { type PointerTensor, type SendOptions, sendTensor } from './pointer.ts'

declare module '@tensorflow/tfjs-core/dist/tensor.js' {
  interface Tensor<R extends tf.Rank = tf.Rank> {
    /** Sends the tensor to a worker; see `send`. There once `hook()` was called. */
    send(worker: Location, options?: SendOptions): PointerTensor
  }
}
declare module '@tensorflow/tfjs-layers/dist/engine/training.js' {
  interface LayersModel {
    /** Sends a copy of the model to a worker; see `send`. There once `hook()` was called. */
    send(worker: Location, options?: ModelSendOptions): RemoteModel
  }
}

/** Sends a tensor, or a copy of a model, to a worker. Returns at once. */
export function send(tensor: tf.Tensor, worker: Location, options?: SendOptions): PointerTensor
export function send(model: tf.LayersModel, worker: Location, options?: ModelSendOptions): RemoteModel
export function send(
  item: tf.Tensor | tf.LayersModel,
  worker: Location,
  options: SendOptions = {},
): PointerTensor | RemoteModel {
  if (item instanceof tf.Tensor) return sendTensor(item, worker, options)
  if (item instanceof tf.LayersModel) return sendModel(item, worker, options)
  throw sottoError('ERR_ARGUMENT_TYPE', 'send: expected a tf.Tensor or a tf.LayersModel; a pointer moves with .move()')
}

/** Adds `send` to `tf.Tensor` and `tf.LayersModel`. Calling it again does nothing. */
export function hook(): void {
  const methods: [object, (this: never, worker: Location, options?: SendOptions) => unknown][] = [
    [
      tf.Tensor.prototype,
      function (this: tf.Tensor, worker, options) {
        return sendTensor(this, worker, options)
      },
    ],
    [
      tf.LayersModel.prototype,
      function (this: tf.LayersModel, worker, options) {
        return sendModel(this, worker, options)
      },
    ],
  ]
  for (const [prototype, value] of methods) {
    Object.defineProperty(prototype, 'send', { value, configurable: true, writable: true })
  }
}
