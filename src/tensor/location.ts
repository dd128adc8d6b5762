/**
 * What a tensor far away needs of the place it lives in.
 *
 * `tensor/` knows no network: it names results, issues verbs and waits for answers through a {@link Location}; workers
 * are locations. The verbs are the larger part of the protocol table in `worker/protocol.ts`.
 */
import { sottoError } from '../errors.ts'
import { checkOptions } from '../options.ts'
import type { Checkpoint } from './checkpoint.ts'
import type { ModelWire } from './model-wire.ts'
import type { OptimizerKind } from './optimizers.ts'
import type { Compression } from './packed.ts'
import type { TensorWire } from './wire.ts'

/**
 * Name of an object on a worker, random (uuid): whoever knows it may use the object as far as permissions go.
 * `<id>#grad` is the gradient of a tensor, `<id>#3` the fourth parameter of a model.
 */
export type ObjectId = string

/** Who may see a private value in clear, besides its owner. */
export interface Policy {
  /** Identity of the session that made the value private. */
  readonly owner: string
  /** Identities (of sessions, or of workers that it is moved to) that may see it. */
  readonly allow: readonly string[]
  /** Identities that may see what is computed from it, but not itself. */
  readonly allowResults: readonly string[]
  /** Workers among which it may be shared as a secret: the parties and the provider, besides the worker it is on. */
  readonly allowShares?: readonly string[]
  /** Identities that may see a total or mean of it and of other owners' values, taken in secret. */
  readonly allowTotals?: readonly string[]
  /**
   * Of ids: workers, and identities, that may learn which of theirs are among these, and how many. It goes with the ids
   * themselves, and with nothing that is computed from them.
   */
  readonly allowMatches?: readonly string[]
  /** The job to whose results the owner has to consent, if there is one: by that name, at each worker that holds them. */
  readonly consent?: string
}

/** What travels with a tensor besides its values. */
export interface Labels {
  readonly tags: readonly string[]
  readonly description: string
}

export interface Privacy {
  readonly allow: readonly string[]
  readonly allowResults: readonly string[]
  readonly allowShares?: readonly string[]
  readonly allowTotals?: readonly string[]
  readonly allowMatches?: readonly string[]
}

/** An operand: an object of the worker by its id, a number or bool as written, a small tensor, or none. */
export type OperandWire = ObjectId | number | boolean | TensorWire | null

/** A backward pass that touches several workers is named, so that each of them frees its graph at the end. */
export interface PassPart {
  readonly pass: string | null
  /** No later command of this pass comes to this worker. */
  readonly end: boolean
  /** Keep the graph for another pass. */
  readonly retain: boolean
}

/** In what form a tensor is to go to a peer. */
export interface Packing {
  readonly encoding: Compression
  /**
   * What rounding loses is kept at the sender under this id, and added to what goes next under the same; null: it is
   * lost.
   */
  readonly remainder: ObjectId | null
}

/** One row per verb. A verb whose response is `void` is not answered unless it fails. */
export interface Verbs {
  /** Stores a tensor. */
  put: {
    request: {
      out: ObjectId
      value: TensorWire
      labels: Labels
      privacy: Privacy | null
      requiresGrad: boolean
      edge: ObjectId | null
      /** Outlives the session. */
      keep?: boolean
    }
    response: void
  }
  /** Runs a row of the op table and names its results. */
  run: {
    request: {
      op: string
      operands: readonly OperandWire[]
      attrs: readonly unknown[]
      out: readonly ObjectId[]
      grad: boolean
    }
    response: void
  }
  /** Gives a tensor in clear; takes it off the worker unless `keep`. */
  get: { request: { id: ObjectId; keep: boolean }; response: TensorWire }
  /** Frees objects; ids that are gone are passed over. */
  free: { request: { ids: readonly ObjectId[] }; response: void }
  /** A second object of the same values, labels and policy. */
  copy: { request: { id: ObjectId; out: ObjectId; grad: boolean }; response: void }
  /** The same values outside the graph. */
  detach: { request: { id: ObjectId; out: ObjectId }; response: void }
  /** Makes a tensor a leaf of a graph, or takes it out. */
  requireGrad: { request: { id: ObjectId; requiresGrad: boolean }; response: void }
  /** Drops gradients. */
  zeroGrad: { request: { ids: readonly ObjectId[] }; response: void }

  /** Sends a tensor or a model to a peer, which waits for it under the key. */
  transfer: {
    request: {
      id: ObjectId
      to: string
      key: string
      keep: boolean
      edge: ObjectId | null
      optimizers: readonly ObjectId[]
      compress?: Packing
    }
    response: void
  }
  /** Waits for what a peer sends under the key, and names it. */
  receive: {
    request: { key: string; from: string; out: ObjectId; edge: ObjectId | null; optimizers: readonly ObjectId[] }
    response: void
  }

  /** Backward from a tensor, or from an edge once its gradient has come under the key. */
  backward: {
    request: PassPart & {
      root: { id: ObjectId; seed: OperandWire } | { edge: ObjectId; from: string; key: string }
    }
    response: void
  }
  /** Sends the gradient that a pass brought to an edge back to the worker across it. */
  relay: { request: PassPart & { edge: ObjectId; to: string; key: string; compress?: Packing }; response: void }
  /** The same towards the caller, for tensors that the caller sent from a graph of its own. */
  relayHome: { request: PassPart & { edge: ObjectId }; response: TensorWire | null }

  /** Stores a model; its parameters are `<out>#0`, `<out>#1`, … */
  putModel: {
    request: {
      out: ObjectId
      model: ModelWire
      labels: Labels
      privacy: Privacy | null
      optimizers: readonly ObjectId[]
      keep?: boolean
    }
    response: void
  }
  copyModel: { request: { id: ObjectId; out: ObjectId }; response: void }
  /** Puts the values of tensors in the place of a model's weights. */
  assign: { request: { model: ObjectId; values: readonly ObjectId[] }; response: void }
  /** Runs a model. */
  apply: {
    request: {
      model: ObjectId
      operands: readonly OperandWire[]
      out: readonly ObjectId[]
      training: boolean
      grad: boolean
    }
    response: void
  }
  /** Gives a model in clear, with the state of the optimizers named; takes both off the worker unless `keep`. */
  getModel: { request: { id: ObjectId; keep: boolean; optimizers: readonly ObjectId[] }; response: ModelWire }

  /** Keeps the weights of a model, with the state of the optimizers named, on the worker under a name. */
  saveModel: {
    request: { id: ObjectId; name: string; optimizers: readonly ObjectId[] }
    response: Checkpoint
  }
  /** Puts back what was kept under a name: into the weights of a model, and into the optimizers named. */
  restoreModel: {
    request: { id: ObjectId; name: string; optimizers: readonly ObjectId[] }
    response: Checkpoint
  }

  /** Makes an optimizer over leaves. */
  putOptimizer: {
    request: {
      out: ObjectId
      kind: OptimizerKind
      config: Readonly<Record<string, number | boolean>>
      parameters: readonly ObjectId[]
    }
    response: void
  }
  /** Changes settings of an optimizer, such as its learning rate. */
  configure: { request: { id: ObjectId; config: Readonly<Record<string, number | boolean>> }; response: void }
  /** One update of the parameters that have a gradient. */
  step: { request: { id: ObjectId }; response: void }
}

export type Verb = keyof Verbs
/** Verbs that are issued and not waited for. */
export type Tell = { [V in Verb]: Verbs[V]['response'] extends void ? V : never }[Verb]
/** Verbs that give an answer. */
export type Ask = Exclude<Verb, Tell>

/** How far the bytes of something large have come. */
export interface Progress {
  readonly done: number
  readonly total: number
}

/** How long to wait for an answer, and what to be told meanwhile. */
export interface WaitOptions {
  /** Gives the wait up with `ERR_ABORTED`. What was asked for may be carried out all the same. */
  readonly signal?: AbortSignal
  /**
   * Milliseconds for this answer, after which it is given up with `ERR_TIMEOUT`. A stretch in which this thread is busy
   * counts for an eighth of them at most: what came meanwhile is read first.
   */
  readonly timeout?: number
  /** Told how far a large answer has come. */
  readonly onProgress?: (progress: Progress) => void
}

/** @throws for what are no options of a wait */
export function checkWait(entry: string, options: unknown): void {
  checkOptions(entry, options, ['signal', 'timeout', 'onProgress'])
  const { signal, timeout, onProgress } = options as WaitOptions
  const wrong = (option: string, expected: string): Error =>
    sottoError('ERR_ARGUMENT_TYPE', `${entry}: "${option}" expected ${expected}`, { option })
  if (signal !== undefined && !(signal instanceof AbortSignal)) throw wrong('signal', 'an AbortSignal')
  if (timeout !== undefined && !(Number.isFinite(timeout) && timeout >= 0)) throw wrong('timeout', 'milliseconds')
  if (onProgress !== undefined && typeof onProgress !== 'function') throw wrong('onProgress', 'a function')
}

/** A place where tensors live. */
export interface Location {
  /** Name of the worker. */
  readonly id: string
  readonly isClosed: boolean
  /** Throws why, when nothing more can be done there. */
  checkOpen(entry: string): void
  /** Issues a command. Returns at once; a failure comes out of a later `ask` or flush. */
  tell<V extends Tell>(verb: V, body: Verbs[V]['request'], onProgress?: (progress: Progress) => void): void
  /** Issues a command and waits for its answer. */
  ask<V extends Ask>(verb: V, body: Verbs[V]['request'], wait?: WaitOptions): Promise<Verbs[V]['response']>
  /** Makes another place reachable from here, and gives the name under which commands speak of it. */
  reach(peer: Location): string
}

/** A fresh random id. */
export const newId = (): ObjectId => globalThis.crypto.randomUUID()

export const gradientId = (id: ObjectId): ObjectId => `${id}#grad`
export const parameterId = (model: ObjectId, index: number): ObjectId => `${model}#${index}`
