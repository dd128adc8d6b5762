/**
 * `share` and `fixPrecision` as methods: of pointers and fixed-precision tensors always, of tfjs's own classes for those
 * who call `hook()`. Each of them also exists as a function.
 */
import { tf } from '../tensor/engine.ts'
import { hook as hookSend } from '../tensor/hook.ts'
import type { Location } from '../tensor/location.ts'
import { RemoteModel } from '../tensor/model.ts'
import { PointerTensor } from '../tensor/pointer.ts'
import { Worker } from '../worker/worker.ts'
import type { PrecisionOptions } from './encoding.ts'
import { FixedPrecisionPointer } from './fixed-pointer.ts'
import { FixedPrecisionTensor } from './fixed-precision.ts'
import { type Plan, type PrepareOptions, prepare } from './plan.ts'
import { fixPrecision, type Shareable, type ShareOptions, share as shareTensor } from './share.ts'
import { type SharedModel, type ShareModelOptions, shareModel } from './shared-model.ts'
import type { SharedTensor } from './shared-tensor.ts'

/** Shares a tensor or a model among workers as a secret. Returns at once. */
export function share(tensor: Shareable, parties: readonly Location[], options?: ShareOptions): SharedTensor
export function share(
  model: tf.LayersModel | RemoteModel,
  parties: readonly Location[],
  options?: ShareModelOptions,
): SharedModel
export function share(
  value: Shareable | tf.LayersModel | RemoteModel,
  parties: readonly Location[],
  options: ShareOptions & ShareModelOptions = {},
): SharedTensor | SharedModel {
  if (value instanceof tf.LayersModel || value instanceof RemoteModel) return shareModel(value, parties, options)
  return shareTensor(value, parties, options)
}

interface SharingModel {
  /** Shares the model's weights among workers; see `share`. Returns at once. */
  share(parties: readonly Location[], options?: ShareModelOptions): SharedModel
}
interface Sharing {
  /** Shares the tensor among workers as a secret; see `share`. Returns at once. */
  share(parties: readonly Location[], options?: ShareOptions): SharedTensor
}

declare module '../tensor/pointer.ts' {
  interface PointerTensor extends Sharing {
    /** Encodes the tensor in fixed precision, on its worker; see `fixPrecision`. Returns at once. */
    fixPrecision(options?: PrecisionOptions): FixedPrecisionPointer
  }
}
declare module './fixed-precision.ts' {
  interface FixedPrecisionTensor extends Sharing {}
}
declare module './fixed-pointer.ts' {
  interface FixedPrecisionPointer extends Sharing {}
}
declare module '../worker/worker.ts' {
  interface Worker {
    /** Deals ahead, as the provider of a plan's parties; see `prepare`. Returns at once. */
    prepare(plan: Plan, options?: PrepareOptions): void
  }
}
declare module '../tensor/model.ts' {
  interface RemoteModel extends SharingModel {}
}
declare module '@tensorflow/tfjs-layers/dist/engine/training.js' {
  interface LayersModel extends SharingModel {}
}
declare module '@tensorflow/tfjs-core/dist/tensor.js' {
  interface Tensor<R extends tf.Rank = tf.Rank> extends Sharing {
    /** Encodes the tensor in fixed precision; see `fixPrecision`. There once `hook()` was called. */
    fixPrecision(options?: PrecisionOptions): FixedPrecisionTensor
  }
}

const methods = {
  share(this: Shareable & RemoteModel, parties: readonly Location[], options?: ShareOptions) {
    return share(this, parties, options)
  },
  fixPrecision(this: PointerTensor, options?: PrecisionOptions) {
    return fixPrecision(this, options)
  },
  prepare(this: Worker, plan: Plan, options?: PrepareOptions): void {
    prepare(this, plan, options)
  },
}

function add(prototype: object, ...names: readonly (keyof typeof methods)[]): void {
  for (const name of names) {
    Object.defineProperty(prototype, name, { value: methods[name], configurable: true, writable: true })
  }
}

add(PointerTensor.prototype, 'share', 'fixPrecision')
add(FixedPrecisionTensor.prototype, 'share')
add(FixedPrecisionPointer.prototype, 'share')
add(RemoteModel.prototype, 'share')
add(Worker.prototype, 'prepare')

/**
 * Adds `send`, `fixPrecision` and `share` to `tf.Tensor`, and `send` and `share` to `tf.LayersModel`. Calling it again does
 * nothing.
 */
export function hook(): void {
  hookSend()
  add(tf.Tensor.prototype, 'share', 'fixPrecision')
  add(tf.LayersModel.prototype, 'share')
}
