/** A model as the two files of a tfjs layers model: `model.json` and `weights.bin`. */
import { sottoError } from '../../errors.ts'
import { tf } from '../../tensor/backend.ts'

export const MODEL_FILES = ['model.json', 'weights.bin'] as const

/** The content of both, as `tf.loadLayersModel('file://…/model.json')` and browsers read them. */
export type ModelFiles = Readonly<Record<(typeof MODEL_FILES)[number], Uint8Array>>

/** @throws TypeError `ERR_ARGUMENT_TYPE` for what is no model */
export async function modelFilesOf(model: tf.LayersModel): Promise<ModelFiles> {
  // A model of another copy of tfjs is one as well: it only has to say what it is.
  if (typeof (model as Partial<tf.LayersModel> | undefined)?.save !== 'function') {
    throw sottoError('ERR_ARGUMENT_TYPE', 'job: "model" expected a function that gives a tf.LayersModel', {
      option: 'model',
    })
  }
  let files: ModelFiles | null = null
  await model.save({
    save: async ({ modelTopology, weightSpecs, weightData, format, generatedBy, convertedBy }) => {
      const weightsManifest = [{ paths: ['weights.bin'], weights: weightSpecs ?? [] }]
      const json = { modelTopology, format, generatedBy, convertedBy: convertedBy ?? null, weightsManifest }
      files = {
        'model.json': new TextEncoder().encode(JSON.stringify(json)),
        'weights.bin': new Uint8Array(tf.io.concatenateArrayBuffers([weightData ?? []].flat())),
      }
      return { modelArtifactsInfo: { dateSaved: new Date(), modelTopologyType: 'JSON' } }
    },
  })
  return files!
}

/** @throws StateError `ERR_JOB` for files that hold no model */
export async function modelOf(files: ModelFiles): Promise<tf.LayersModel> {
  try {
    const { modelTopology, weightsManifest } = JSON.parse(new TextDecoder().decode(files['model.json']))
    const weightData = files['weights.bin'].slice().buffer
    return await tf.loadLayersModel(
      tf.io.fromMemory({ modelTopology, weightSpecs: weightsManifest[0].weights, weightData }),
    )
  } catch (error) {
    throw sottoError('ERR_JOB', `model.json and weights.bin hold no model: ${(error as Error).message}`, {}, error)
  }
}
