/** Optimizers as users give them: made already, by a function, or by name and settings. */
import { sottoError } from '../errors.ts'
import type { RemoteModel } from './model.ts'
import { Optimizer, optim } from './optim.ts'
import type { PointerTensor } from './pointer.ts'

/** An optimizer by its name and settings, as `optim` has them: `{ kind: 'sgd', learningRate: 0.1 }`. */
export type OptimizerSettings = { readonly kind: keyof typeof optim } & Readonly<Record<string, unknown>>

/** What makes an optimizer of parameters, or one that is there already. */
export type OptimizerGiven = Optimizer | ((parameters: PointerTensor[]) => Optimizer) | OptimizerSettings

/**
 * The optimizer of a model on a worker.
 *
 * @throws for what makes none
 */
export function optimizerOf(entry: string, optimizer: OptimizerGiven, model: RemoteModel): Optimizer {
  const made = typeof optimizer === 'function' ? optimizer(model.parameters()) : optimizer
  if (made instanceof Optimizer) return made
  const { kind, ...settings } = (made ?? {}) as Partial<OptimizerSettings>
  if (typeof kind !== 'string' || !Object.hasOwn(optim, kind)) {
    throw sottoError(
      'ERR_ARGUMENT_TYPE',
      `${entry}: "optimizer" expected an optimizer, a function that makes one of parameters, or { kind, … } with a kind of ${Object.keys(optim).join(', ')}`,
      { option: 'optimizer' },
    )
  }
  const make = optim[kind] as (parameters: PointerTensor[], settings: object) => Optimizer
  return make(model.parameters(), settings)
}
