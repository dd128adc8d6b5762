/**
 * TensorFlow.js, and the part of its engine that autograd needs and its typings leave out.
 *
 * Importing tfjs registers its cpu backend and nothing else: no file is read and no handle opened.
 */
import * as tf from '@tensorflow/tfjs'

export { tf }

/** A node of tfjs's own tape: one kernel, or one gradient written by hand. */
export interface TapeNode {
  readonly id: number
  readonly kernelName: string
  readonly inputs: Readonly<Record<string, tf.Tensor>>
  readonly outputs: readonly tf.Tensor[]
  readonly gradient?: (dys: tf.Tensor[]) => Readonly<Record<string, () => tf.Tensor>>
  /** Clones that the gradient reads; tfjs keeps them alive until they are disposed. */
  readonly saved?: tf.Tensor[]
  readonly attrs?: Readonly<Record<string, unknown>>
}

/** The engine's tape, as tfjs's own `tf.grads` drives it. */
export interface TapeEngine {
  startTape(): void
  endTape(): void
  startScope(name?: string): void
  endScope(result?: tf.TensorContainer): void
  readonly state: { activeTape: TapeNode[]; gradientDepth: number }
}

export const engine = (): TapeEngine => tf.engine() as unknown as TapeEngine
