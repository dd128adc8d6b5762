/** Weights of a model as one vector, as strategies and aggregation have them. */
import { sottoError } from '../errors.ts'
import { tf } from '../tensor/backend.ts'

/** Weights of tensors, one after the other. */
export function vectorOf(tensors: readonly tf.Tensor[]): Float32Array {
  const all = new Float32Array(tensors.reduce((sum, { size }) => sum + size, 0))
  let at = 0
  for (const tensor of tensors) {
    all.set(tensor.dataSync(), at)
    at += tensor.size
  }
  return all
}

/** The tensors that a model's weights are: all, or those that are trained. */
export function weightsOf(model: tf.LayersModel, trained: boolean): tf.Tensor[] {
  const all = model.getWeights()
  if (!trained) return all
  return all.filter((_, i) => model.weights[i]!.trainable)
}

/** Sets a model's weights, all or those that are trained, to what a vector says. */
export function setWeights(model: tf.LayersModel, vector: Float32Array, trained: boolean): void {
  const old = model.getWeights()
  const size = (trained ? weightsOf(model, true) : old).reduce((sum, tensor) => sum + tensor.size, 0)
  if (vector.length !== size) {
    throw sottoError('ERR_SHAPE', `weights: ${size} numbers expected, got ${vector.length}`)
  }
  let at = 0
  tf.tidy(() => {
    const values = old.map((tensor, i) => {
      if (trained && !model.weights[i]!.trainable) return tensor
      const part = vector.slice(at, at + tensor.size)
      at += tensor.size
      return tf.tensor(part, tensor.shape)
    })
    model.setWeights(values)
  })
}
