/// <reference lib="esnext.disposable" preserve="true" />
/** Optimizers whose state lives where the parameters live. */
import { sottoError } from '../errors.ts'
import { type Location, newId, type ObjectId } from './location.ts'
import { type Config, completeConfig, type OptimizerKind } from './optimizers.ts'
import type { PointerTensor } from './pointer.ts'

/**
 * The part of an optimizer that is one object on one worker: its parameters of one model, or those of no model. It goes
 * where its model goes.
 */
export interface Group {
  readonly id: ObjectId
  readonly optimizer: Optimizer
  /** Where it is; null while its model is at home, between `get` and `send`. */
  location: Location | null
  parameters: readonly PointerTensor[]
}

/** What an optimizer needs of the model that a parameter belongs to. */
export interface Owner {
  readonly groups: Set<Group>
}

const owners = new WeakMap<PointerTensor, Owner>()
export const setOwner = (parameter: PointerTensor, owner: Owner): void => void owners.set(parameter, owner)

/** An optimizer over parameters on one or several workers. */
export class Optimizer {
  readonly kind: OptimizerKind
  readonly #groups: readonly Group[]
  #config: Config
  /** For each checkpoint that is being restored, the settings changed since: they hold, whatever it brings. */
  readonly #changes = new Set<Record<string, number | boolean>>()

  /** @internal Use `optim`. */
  constructor(kind: OptimizerKind, parameters: readonly PointerTensor[], config: Config) {
    if (!Array.isArray(parameters) || parameters.length === 0) {
      throw sottoError('ERR_ARGUMENT_TYPE', `optim.${kind}: expected a list of parameters, as model.parameters() gives`)
    }
    this.kind = kind
    this.#config = completeConfig(kind, config)
    const byHome = new Map<
      Owner | Location,
      { location: Location; owner: Owner | undefined; parameters: PointerTensor[] }
    >()
    for (const parameter of parameters) {
      parameter.use(`optim.${kind}`)
      if (!parameter.requiresGrad || !parameter.node?.isLeaf) {
        throw sottoError('ERR_NOT_LEAF', `optim.${kind}: every parameter must be a leaf that requires a gradient`)
      }
      const owner = owners.get(parameter)
      const home = owner ?? parameter.location
      const group = byHome.get(home)
      if (group) group.parameters.push(parameter)
      else byHome.set(home, { location: parameter.location, owner, parameters: [parameter] })
    }
    this.#groups = [...byHome.values()].map(({ location, owner, parameters }) => {
      const group: Group = { id: newId(), optimizer: this, location, parameters }
      owner?.groups.add(group)
      location.tell('putOptimizer', {
        out: group.id,
        kind,
        config: this.#config,
        parameters: parameters.map(({ id }) => id),
      })
      return group
    })
  }

  get config(): Config {
    return this.#config
  }
  get learningRate(): number {
    return this.#config['learningRate'] as number
  }
  /** Takes effect at the next step. */
  set learningRate(learningRate: number) {
    this.configure({ learningRate })
  }

  /** Changes settings from the next step on. */
  configure(settings: Config): void {
    this.#config = completeConfig(this.kind, { ...this.#config, ...settings })
    for (const changed of this.#changes) Object.assign(changed, settings)
    // Those alone: the others may be on their way back from a checkpoint.
    for (const { id, location } of this.#live('configure')) location.tell('configure', { id, config: settings })
  }

  /** @internal A checkpoint is being restored. Gives what takes the settings that it brings, or null when it brings none. */
  restoring(): (config: Config | null) => void {
    const changed: Record<string, number | boolean> = {}
    this.#changes.add(changed)
    return (config) => {
      this.#changes.delete(changed)
      if (config !== null) this.#config = completeConfig(this.kind, { ...config, ...changed })
    }
  }

  /** One update of every parameter that has a gradient. Returns at once. */
  step(): void {
    for (const { id, location } of this.#live('step')) location.tell('step', { id })
  }

  /** Drops the gradients of its parameters. */
  zeroGrad(): void {
    for (const { location, parameters } of this.#live('zeroGrad')) {
      location.tell('zeroGrad', { ids: parameters.map(({ id }) => id) })
      for (const { node } of parameters) if (node) node.hasGrad = false
    }
  }

  /** Frees its state on the workers. */
  dispose(): void {
    for (const group of this.#groups) {
      group.location?.tell('free', { ids: [group.id] })
      // Where its model goes, it goes no more.
      owners.get(group.parameters[0]!)?.groups.delete(group)
    }
  }
  [Symbol.dispose](): void {
    this.dispose()
  }

  #live(action: string): { id: ObjectId; location: Location; parameters: readonly PointerTensor[] }[] {
    return this.#groups.map(({ id, location, parameters }) => {
      if (location === null) {
        throw sottoError(
          'ERR_CONSUMED',
          `${action}: the model of this optimizer was taken home by get(); send it first`,
        )
      }
      return { id, location, parameters }
    })
  }
}

interface Epsilon {
  epsilon?: number
}
export interface SgdConfig {
  learningRate: number
  /** 0 (none) unless given. */
  momentum?: number
  nesterov?: boolean
}
export interface AdamConfig extends Epsilon {
  /** 0.001 unless given. */
  learningRate?: number
  beta1?: number
  beta2?: number
}
export interface AdamaxConfig extends AdamConfig {
  /** The rate falls as 1/(1 + decay·step). */
  decay?: number
}
export interface AdagradConfig extends Epsilon {
  learningRate: number
  /** 0.1 unless given. */
  initialAccumulatorValue?: number
}
export interface RmspropConfig extends Epsilon {
  learningRate: number
  /** 0.9 unless given. */
  decay?: number
  momentum?: number
  centered?: boolean
}
export interface AdadeltaConfig extends Epsilon {
  learningRate?: number
  /** 0.95 unless given. */
  rho?: number
}

const make =
  <C>(kind: OptimizerKind) =>
  (parameters: readonly PointerTensor[], config?: C): Optimizer =>
    new Optimizer(kind, parameters, (config ?? {}) as Config)

/** Optimizers with the rules and defaults of `tf.train`. */
export const optim = {
  sgd: make<SgdConfig>('sgd'),
  adam: make<AdamConfig>('adam'),
  adamax: make<AdamaxConfig>('adamax'),
  adagrad: make<AdagradConfig>('adagrad'),
  rmsprop: make<RmspropConfig>('rmsprop'),
  adadelta: make<AdadeltaConfig>('adadelta'),
}
