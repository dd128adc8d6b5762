/** Cuts a model into segments. */
import { sottoError } from '../errors.ts'
import { tf } from '../tensor/backend.ts'
import { modelFromWire, modelToWire } from '../tensor/model-wire.ts'

/**
 * Cuts a sequential or functional model after some of its layers. One after the other, the segments compute what the
 * model computes.
 *
 * @param layers after which layers to cut, in their order: by name, or by number from 0
 * @returns one model more than there are cuts. They have copies of the weights; the model is left as it is.
 * @throws ValueError `ERR_ARGUMENT_VALUE` for a layer that is not there, or where more than one tensor crosses the cut
 */
export function splitAt(
  model: tf.LayersModel,
  layers: string | number | readonly (string | number)[],
): tf.LayersModel[] {
  if (!(model instanceof tf.LayersModel) || !(model.inputs?.length > 0)) {
    throw sottoError('ERR_ARGUMENT_TYPE', 'splitAt: expected a tf.LayersModel that has a shape')
  }
  // Of a copy: layers remember what they were applied to.
  const whole = copyOf(model)
  try {
    const cuts = [layers].flat().map((layer) => cutAfter(whole, layer))
    if (cuts.length === 0) throw sottoError('ERR_ARGUMENT_VALUE', 'splitAt: expected a layer to cut after')
    const ends: tf.SymbolicTensor[][] = [...cuts.map((cut) => [cut]), whole.outputs]
    return ends.map((outputs, i) => {
      const before = cuts[i - 1]
      if (before === undefined) return copyOf(tf.model({ inputs: whole.inputs, outputs }))
      // Layers count how often they are applied, and are freed when as many models have been.
      const segment = replayed(before, outputs, whole)
      try {
        return copyOf(segment)
      } finally {
        segment.dispose()
      }
    })
  } finally {
    whole.dispose()
  }
}

const copyOf = (model: tf.LayersModel): tf.LayersModel => modelFromWire(modelToWire(model), 'self')

/** What a layer gives. */
function cutAfter(model: tf.LayersModel, wanted: string | number): tf.SymbolicTensor {
  const layer = typeof wanted === 'number' ? model.layers[wanted] : model.layers.find(({ name }) => name === wanted)
  if (layer === undefined) {
    throw sottoError(
      'ERR_ARGUMENT_VALUE',
      `splitAt: there is no layer ${wanted}; there are ${model.layers.map(({ name }, i) => `${i} ${name}`).join(', ')}`,
      { layer: wanted },
    )
  }
  const outputs = outputsWithin(model).filter(({ sourceLayer }) => sourceLayer === layer)
  if (outputs.length !== 1) {
    throw sottoError('ERR_ARGUMENT_VALUE', `splitAt: layer ${layer.name} gives ${outputs.length} tensors, not one`, {
      layer: layer.name,
    })
  }
  if (model.outputs.includes(outputs[0]!) || model.inputs.includes(outputs[0]!)) {
    throw sottoError('ERR_ARGUMENT_VALUE', `splitAt: nothing is left on one side of a cut after ${layer.name}`, {
      layer: layer.name,
    })
  }
  return outputs[0]!
}

/** The tensors that a tensor is made of. */
function madeOf({ sourceLayer, nodeIndex }: tf.SymbolicTensor): readonly tf.SymbolicTensor[] {
  return (sourceLayer.inboundNodes[nodeIndex]?.inputTensors ?? []) as readonly tf.SymbolicTensor[]
}

/** Every tensor between the inputs and the outputs of a model. */
function outputsWithin(model: tf.LayersModel): tf.SymbolicTensor[] {
  const reached = new Set<tf.SymbolicTensor>(model.outputs)
  for (const tensor of reached) {
    if (!model.inputs.includes(tensor)) for (const source of madeOf(tensor)) reached.add(source)
  }
  return [...reached]
}

/** The layers from a cut on, on an input of its shape. */
function replayed(
  cut: tf.SymbolicTensor,
  outputs: readonly tf.SymbolicTensor[],
  model: tf.LayersModel,
): tf.LayersModel {
  const input = tf.input({ shape: cut.shape.slice(1), dtype: cut.dtype })
  const known = new Map<tf.SymbolicTensor, tf.SymbolicTensor>([[cut, input]])
  const again = (tensor: tf.SymbolicTensor): tf.SymbolicTensor => {
    const done = known.get(tensor)
    if (done !== undefined) return done
    const { sourceLayer, outputTensorIndex } = tensor
    if (model.inputs.includes(tensor)) {
      throw sottoError(
        'ERR_ARGUMENT_VALUE',
        `splitAt: the cut after ${cut.sourceLayer.name} does not part the model: something passes it by`,
        { layer: cut.sourceLayer.name },
      )
    }
    const sources = madeOf(tensor).map(again)
    const made = sourceLayer.apply(sources.length === 1 ? sources[0]! : sources) as
      | tf.SymbolicTensor
      | tf.SymbolicTensor[]
    const result = Array.isArray(made) ? made[outputTensorIndex ?? 0]! : made
    known.set(tensor, result)
    return result
  }
  return tf.model({ inputs: input, outputs: outputs.map(again) })
}
