/**
 * Every error that Sotto throws: one table of stable codes, one base class, the data as fields.
 *
 * A code is added in {@link codes} and nowhere else; its kind decides the class. Messages say what was expected, what
 * came and what to do; they show shapes, dtypes, ids and places, never values and never shares.
 */

/** The stable codes: what each means, and which class of error carries it. */
export const codes = {
  ERR_ARGUMENT_TYPE: { kind: 'argument', meaning: 'an argument is of the wrong kind' },
  ERR_ARGUMENT_VALUE: { kind: 'range', meaning: 'an argument is of the right kind, but its value is out of range' },
  ERR_SHAPE: { kind: 'range', meaning: 'the shapes of the operands do not fit the operation' },
  ERR_DTYPE: { kind: 'argument', meaning: 'the dtype of a tensor does not fit the operation' },

  ERR_NOT_COLLOCATED: { kind: 'placement', meaning: 'operands live on different workers' },
  ERR_LOCAL_OPERAND: { kind: 'placement', meaning: 'a local tensor meets a pointer; send it first' },
  ERR_UNKNOWN_PEER: { kind: 'placement', meaning: 'a worker was told to reach a peer that it was not introduced to' },

  ERR_CONSENT: { kind: 'permission', meaning: 'somebody who has to consent to what is opened has not done so' },
  ERR_PERMISSION: { kind: 'permission', meaning: 'the identity of this session may not see or change the object' },

  ERR_NOT_FOUND: { kind: 'state', meaning: 'the worker holds no object of that id' },
  ERR_WRONG_KIND: { kind: 'state', meaning: 'the object of that id is of another kind (tensor, model, optimizer)' },
  ERR_ID_TAKEN: { kind: 'state', meaning: 'the id chosen for a result already names an object' },
  ERR_CONSUMED: { kind: 'state', meaning: 'the handle was used after get, move or dispose took its object away' },
  ERR_NO_GRAD: { kind: 'state', meaning: 'backward, or a gradient, was asked of something that records none' },
  ERR_GRAPH_FREED: { kind: 'state', meaning: 'backward ran through this graph before, and its memory was freed' },
  ERR_NOT_LEAF: { kind: 'state', meaning: 'only a leaf of the graph can do this' },
  ERR_OPERATION_FAILED: { kind: 'state', meaning: 'the operation failed on the worker while it ran' },
  ERR_ASYNC_SCOPE: {
    kind: 'state',
    meaning: 'an async function was given to a scope where the runtime cannot follow it',
  },
  ERR_PRECISION: { kind: 'argument', meaning: 'values of different encodings meet, or a value has none' },
  ERR_PARTIES: {
    kind: 'placement',
    meaning: 'secrets of different parties meet, or the parties do not fit the operation',
  },
  ERR_PROVIDER: { kind: 'placement', meaning: 'the operation needs a provider, and the parties have none' },
  ERR_USED_TWICE: { kind: 'state', meaning: 'randomness that is good for one use was asked for again' },
  ERR_OUT_OF_STEP: {
    kind: 'protocol',
    meaning: 'the parties of a secret computation do not carry out the same commands',
  },
  ERR_PARTY_LOST: {
    kind: 'session',
    meaning: 'a party of a secret computation has left or failed; its secrets are gone',
  },
  ERR_COHORT: {
    kind: 'state',
    meaning: 'too few clients are there, or are left, for a sum that hides each of them; nothing was revealed',
  },
  ERR_SPLIT_VIEW: {
    kind: 'protocol',
    meaning: 'too few clients confirm that all were shown the same survivors; nothing was revealed',
  },
  ERR_UNKNOWN_CHECKPOINT: { kind: 'state', meaning: 'the identity has saved no checkpoint of that name on the worker' },
  ERR_CHECKPOINT: { kind: 'state', meaning: 'what is kept as a checkpoint was cut or changed, or is none' },
  ERR_CHECKPOINT_MISMATCH: {
    kind: 'state',
    meaning: 'the checkpoint is of another model, or of other optimizers, than it was to be restored into',
  },
  ERR_SHARES: { kind: 'state', meaning: 'what is kept as a part of a secret was cut or changed, or is none' },
  ERR_SHARES_MISMATCH: {
    kind: 'state',
    meaning: 'parts of a secret are not of one set, or not each of them once',
  },
  ERR_JOB: { kind: 'state', meaning: 'what is kept as a job was cut or changed, or is none' },
  ERR_JOB_MISMATCH: { kind: 'state', meaning: 'the parties of a job do not have the same job' },
  ERR_TERMS: { kind: 'state', meaning: 'the owners of an intersection were not asked for the same one' },
  ERR_BACKEND: { kind: 'state', meaning: 'the tensor backend asked for cannot be had here' },

  ERR_SESSION_CLOSED: { kind: 'session', meaning: 'the session with the worker is closed' },
  ERR_TIMEOUT: { kind: 'session', meaning: 'what was waited for did not come in time' },
  ERR_LIMIT: { kind: 'session', meaning: 'a limit of the worker would be exceeded' },
  ERR_UNREACHABLE: { kind: 'session', meaning: 'no connection to the worker could be made' },
  ERR_WORKER_LOST: { kind: 'session', meaning: 'the connection to the worker broke, and did not come back in time' },
  ERR_WORKER_RESTARTED: { kind: 'session', meaning: 'the worker has started anew; what was on it before is gone' },
  ERR_ABORTED: { kind: 'session', meaning: 'whoever waited gave up, by a signal' },

  ERR_TOKEN: { kind: 'access', meaning: 'no token came, or one that is not known here, or no more' },
  ERR_TOKEN_EXPIRED: { kind: 'access', meaning: 'the token was good once, and is no more' },
  ERR_CERTIFICATE: { kind: 'access', meaning: 'the certificate of the other end is not to be trusted' },
  ERR_IDENTITY: { kind: 'access', meaning: 'the other end is not who it was expected to be' },
  ERR_CAPABILITY: { kind: 'access', meaning: 'a peer came without a capability that is good here' },
  ERR_INSECURE: { kind: 'access', meaning: 'this would lie open to strangers, and nobody said that it may' },

  ERR_PROTOCOL: { kind: 'protocol', meaning: 'a frame is malformed or out of order; the session closes' },
  ERR_UNKNOWN_MESSAGE: { kind: 'protocol', meaning: 'the message has no row in the protocol table' },
  ERR_UNKNOWN_OP: { kind: 'protocol', meaning: 'the operation has no row in the op table' },
  ERR_VERSION: { kind: 'protocol', meaning: 'the peers speak different versions of the protocol' },

  ERR_DATA_FORMAT: { kind: 'data', meaning: 'a data file is not what its format says' },
  ERR_DATA_CHECKSUM: { kind: 'data', meaning: 'a data file differs from the published one' },
  ERR_DATA_MISSING: { kind: 'data', meaning: 'a data set is nowhere to be found' },
} as const satisfies Record<string, { kind: string; meaning: string }>

export type Code = keyof typeof codes
type Kind = (typeof codes)[Code]['kind']
export type Details = Readonly<Record<string, unknown>>

export interface ErrorOptions {
  readonly code: Code
  readonly details?: Details
  readonly cause?: unknown
}

/** What all errors of Sotto have in common, those that extend a built-in class too. */
export interface SottoErrorLike extends Error {
  readonly code: Code
  readonly details: Details
}

/** A built-in class of error with a code and details. */
const coded = (Base: new (message?: string, options?: { cause?: unknown }) => Error) =>
  class extends Base implements SottoErrorLike {
    readonly code: Code
    readonly details: Details
    constructor(message: string, { code, details = {}, cause }: ErrorOptions) {
      super(message, cause === undefined ? undefined : { cause })
      this.code = code
      this.details = details
    }
    override get name(): string {
      return this.constructor.name
    }
  }

/** Base class of Sotto's own errors. `instanceof SottoError` also holds for {@link ArgumentError} and {@link ValueError}. */
export class SottoError extends coded(Error) {
  static override [Symbol.hasInstance](value: unknown): boolean {
    // biome-ignore lint/complexity/noThisInStatic: subclasses inherit this method and must be tested as themselves
    if (this !== SottoError) return Function.prototype[Symbol.hasInstance].call(this, value)
    return value instanceof Error && 'code' in value && Object.hasOwn(codes, String(value.code))
  }
}

/** An argument of the wrong kind; a `TypeError`. */
export class ArgumentError extends coded(TypeError) {}
/** An argument of the wrong size or value; a `RangeError`. */
export class ValueError extends coded(RangeError) {}
/** Operands are in the wrong place. */
export class PlacementError extends SottoError {}
/** The identity of the session lacks the right. */
export class PermissionError extends SottoError {}
/** The object, graph or backend is not in a state that allows this. */
export class StateError extends SottoError {}
/** The session ended, timed out or hit a limit. */
export class SessionError extends SottoError {}
/** Who comes, or whom one came to, is not who they should be. */
export class AccessError extends SottoError {}
/** A peer does not keep to the protocol. */
export class ProtocolError extends SottoError {}
/** A data file is missing or wrong. */
export class DataError extends SottoError {}

const classes = {
  argument: ArgumentError,
  range: ValueError,
  placement: PlacementError,
  permission: PermissionError,
  state: StateError,
  session: SessionError,
  access: AccessError,
  protocol: ProtocolError,
  data: DataError,
} as const satisfies Record<Kind, new (message: string, options: ErrorOptions) => SottoErrorLike>

/**
 * Makes the error of a code; the table decides its class.
 *
 * @example throw sottoError('ERR_SHAPE', 'matMul: inner dimensions differ, [2,3] and [4,5]', { op: 'matMul' })
 */
export function sottoError(code: Code, message: string, details?: Details, cause?: unknown): SottoErrorLike {
  return new classes[codes[code].kind](message, { code, details, cause })
}

/** Whether a value is one of Sotto's errors. */
export function isSottoError(value: unknown): value is SottoErrorLike {
  return value instanceof SottoError
}
