/** What was learnt, as numbers. */
import type { PointerTensor, tf } from 'sotto'

export interface Weight {
  readonly shape: readonly number[]
  readonly data: Float32Array
}

const weightOf = (tensor: tf.Tensor): Weight => ({ shape: tensor.shape, data: tensor.dataSync() as Float32Array })

/** The weights of a model that is here, layer by layer: kernel, bias. */
export const weightsOf = (model: tf.LayersModel): Weight[] => model.getWeights().map(weightOf)

/** Those of models on workers, by their parameters. */
export const fetchWeights = (parameters: readonly PointerTensor[]): Promise<Weight[]> =>
  Promise.all(
    parameters.map(async (parameter) => {
      const tensor = await parameter.fetch()
      const weight = weightOf(tensor)
      tensor.dispose()
      return weight
    }),
  )

/** A scalar on a worker, as a number. */
export async function numberOf(pointer: PointerTensor): Promise<number> {
  const tensor = await pointer.fetch()
  const [value] = tensor.dataSync()
  tensor.dispose()
  return value!
}
