/** Fixed-precision tensors as a worker keeps them, and what is made of its tensors. */
import type { ObjectId } from '../tensor/location.ts'
import type { Shape, Spec } from '../tensor/shape.ts'
import { seeFailure } from '../worker/handlers/disclosure.ts'
import type { HostSession } from '../worker/host-session.ts'
import type { Access } from '../worker/permissions.ts'
import type { ErrorWire } from '../worker/protocol.ts'
import { OperationFailed, type StoredOther } from '../worker/store.ts'
import { type Encoding, isFixed } from './encoding.ts'
import { integersOf } from './fixed-precision.ts'
import { encodeValues, widenedTo } from './literals.ts'
import { type RingTensor, ringZeros } from './ring/tensor.ts'

/** A public tensor of ring elements, on a worker. */
export class StoredFixed implements StoredOther {
  readonly kind = 'fixed'
  readonly value: RingTensor
  readonly encoding: Encoding
  readonly access: Access
  readonly owner: string
  readonly session: object
  /** What failed while it was made of private values; told to those who may see it, to others it is a tensor. */
  readonly failure: ErrorWire | null

  constructor(session: HostSession, value: RingTensor, encoding: Encoding, access: Access, failure: ErrorWire | null) {
    this.value = value
    this.encoding = encoding
    this.access = access
    this.owner = session.name
    this.session = session
    this.failure = failure
  }
  get shape(): Shape {
    return this.value.shape
  }
  get dtype() {
    return this.encoding.dtype
  }
  get bytes(): number {
    return this.value.data.byteLength
  }
  release(): void {}
}

/** The spec of what ring elements mean. */
export const specFor = ({ dtype }: Encoding, shape: Shape): Spec => ({ shape, dtype })

export interface Encoded {
  readonly value: RingTensor
  readonly failure: ErrorWire | null
  /** Thrown once the results are stored: this very command failed. */
  readonly failed: OperationFailed | null
}

/**
 * What is computed of values that may be private. Whether it fails may depend on them: then blanks stand in its place, and
 * the failure is told to those alone who may see the result.
 *
 * @throws OperationFailed of public values
 */
export function guarded(
  session: HostSession,
  access: Access,
  before: ErrorWire | null,
  blank: () => readonly RingTensor[],
  action: () => readonly RingTensor[],
): { values: readonly RingTensor[]; failure: ErrorWire | null; failed: OperationFailed | null } {
  try {
    return { values: action(), failure: before, failed: null }
  } catch (error) {
    const failed = new OperationFailed(error, access)
    if (access.length === 0) throw failed
    return { values: blank(), failure: before ?? session.wireOf(failed), failed }
  }
}

/** What an id names, to be encoded: read, and who may see it. */
export interface Source {
  readonly shape: Shape
  readonly access: Access
  readonly tags: readonly string[]
  /** Ring elements: of a fixed-precision tensor as it is, of another tensor encoded. */
  encode(): Encoded
}

export function sourceOf(session: HostSession, operation: string, id: ObjectId, wanted: Encoding): Source {
  const { store } = session.host
  if (store.find(id)?.kind === 'fixed') {
    const { value, encoding, access, failure } = store.other(id, 'fixed', session) as StoredFixed
    const made = widenedTo(operation, { tensor: value, encoding }, wanted)
    return { shape: value.shape, access, tags: [], encode: () => ({ value: made, failure, failed: null }) }
  }
  const { tensor, access, labels, failure } = seeFailure(session, operation, () => store.read(id, session))
  const { tags } = labels
  const { shape } = tensor
  return {
    shape,
    access,
    tags,
    encode: () => {
      const made = guarded(
        session,
        access,
        failure,
        () => [ringZeros(wanted.ring, shape)],
        () => [
          isFixed(wanted)
            ? encodeValues(operation, tensor, () => wanted).tensor
            : integersOf(operation, tensor, wanted.ring).publicValue.tensor,
        ],
      )
      return { value: made.values[0]!, failure: made.failure, failed: made.failed }
    },
  }
}
