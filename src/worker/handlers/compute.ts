/** What the handlers that compute share: finding operands, checking ids and room, running, and keeping the results. */
import { sottoError } from '../../errors.ts'
import { tf } from '../../tensor/backend.ts'
import type { Labels, ObjectId, OperandWire } from '../../tensor/location.ts'
import type { Value } from '../../tensor/ops.ts'
import { byteSizeOf, type Shape, type Spec, showShape, sizeOf } from '../../tensor/shape.ts'
import { record, type Segment, Tracked } from '../../tensor/tape.ts'
import { fromWire, specOf } from '../../tensor/wire.ts'
import type { HostSession } from '../host-session.ts'
import { type Access, combine, derivedFrom, PUBLIC } from '../permissions.ts'
import type { ErrorWire } from '../protocol.ts'
import { NO_LABELS, OperationFailed, type TensorCell } from '../store.ts'
import { recordCame, refuseChange } from './disclosure.ts'

/** An operand found: its spec, who may see it, and how to get at its value inside a command. */
export interface Found {
  readonly spec: Spec
  readonly access: Access
  readonly tracked: Tracked | null
  readonly failure: ErrorWire | null
  value(): Value
}

const NUMBER: Spec = { shape: [], dtype: 'float32' }
const BOOLEAN: Spec = { shape: [], dtype: 'bool' }
const CONSTANT = { access: PUBLIC, tracked: null, failure: null }

export function findOperand(session: HostSession, operand: Exclude<OperandWire, null>): Found {
  if (typeof operand === 'string') {
    const { tensor, access, tracked, owner, failure } = session.host.store.read(operand, session)
    // Another identity's tensors take part as constants: its gradients are not ours to change.
    const own = owner === session.name ? tracked : null
    return { spec: specOf(tensor), access, tracked: own, failure, value: () => tensor }
  }
  if (typeof operand === 'number') return { ...CONSTANT, spec: NUMBER, value: () => operand }
  if (typeof operand === 'boolean') return { ...CONSTANT, spec: BOOLEAN, value: () => operand }
  recordCame(session, 'operand', operand, { how: 'sent' })
  return { ...CONSTANT, spec: operand, value: () => fromWire(operand) }
}

/** The value of an operand, or zeros in its place. */
export function valueFor({ value }: Found, isBlank: boolean): Value {
  const given = value()
  return isBlank && typeof given === 'object' ? tf.zerosLike(given) : given
}

/** What failed before, so that what is computed of it fails too. */
export const failureOf = (found: readonly Found[]): ErrorWire | null =>
  found.find(({ failure }) => failure !== null)?.failure ?? null

/** The policies on all of the values together. */
export const accessOfAll = (values: readonly { readonly access: Access }[]): Access =>
  values.reduce((sum: Access, { access }) => combine(sum, access), PUBLIC)

/** A tensor of this session's identity, to be changed. */
export function ownCell(session: HostSession, operation: string, id: ObjectId): TensorCell {
  const cell = session.host.store.cell(id, session)
  if (cell.owner !== session.name) {
    refuseChange(
      session,
      operation,
      specOf(cell.tracked.tensor),
      `${operation}: the object belongs to ${cell.owner}; copy() or detach() makes one of your own`,
    )
  }
  return cell
}

/** Refuses an id that names an object already. */
export function checkFree(session: HostSession, id: ObjectId): void {
  if (session.host.store.has(id)) throw sottoError('ERR_ID_TAKEN', 'the id chosen for a result is taken', { id })
}

/** Refuses the ids of several results unless each of them is free, and no two are the same. A null names nothing. */
export function checkNew(session: HostSession, ids: readonly (ObjectId | null)[]): void {
  const given = ids.filter((id) => id !== null)
  if (new Set(given).size !== given.length) throw sottoError('ERR_ID_TAKEN', 'two results were given one id')
  for (const id of given) checkFree(session, id)
}

/** What outlives its session must be found by others than its maker's pointer. */
export function checkKept(keep: boolean, { tags }: Labels): void {
  if (keep && tags.length === 0) throw sottoError('ERR_ARGUMENT_VALUE', 'send: what is kept needs tags to be found by')
}

/** What a result will take: a tensor by its dtype; what else is kept, so many bytes an element. */
export type Room = Spec | { readonly shape: Shape; readonly elementBytes: number }
const sizeOfRoom = (room: Room): number => ('dtype' in room ? byteSizeOf(room) : room.elementBytes * sizeOf(room.shape))

/**
 * Refuses results that the worker has no room for, before anything is computed.
 *
 * @param more what will be kept besides: edges, optimizers
 */
export function checkRoom(session: HostSession, name: string, specs: readonly Room[], more = 0): void {
  const { elements, objects, bytes, identityObjects, identityBytes } = session.host.limits
  for (const { shape } of specs) {
    if (!(sizeOf(shape) <= elements)) {
      throw sottoError(
        'ERR_LIMIT',
        `${name}: a result of shape ${showShape(shape)} is above the limit of ${elements} elements`,
      )
    }
  }
  const { store } = session.host
  const count = specs.length + more
  if (store.count + count > objects) {
    throw sottoError('ERR_LIMIT', `${name}: the worker holds ${objects} objects, and no more fit`)
  }
  const size = specs.reduce((sum, spec) => sum + sizeOfRoom(spec), 0)
  if (store.bytes + size > bytes) {
    throw sottoError('ERR_LIMIT', `${name}: the worker holds ${store.bytes} of ${bytes} bytes, and ${size} do not fit`)
  }
  const own = store.usedBy(session.name)
  if (own.objects + count > identityObjects || own.bytes + size > identityBytes) {
    throw sottoError(
      'ERR_LIMIT',
      `${name}: ${session.name} has ${own.objects} objects and ${own.bytes} bytes here; the most is ${identityObjects} and ${identityBytes}`,
    )
  }
}

/**
 * Runs a computation on what was found and stores its results.
 *
 * What it throws may depend on the values (an index out of range). Of private values only those are told who may see
 * the result; for all others it is a tensor like any other, with a gradient like any other, and holds nothing.
 *
 * @param command computes the results, or with `isBlank` what zeros in the place of its operands give
 * @param specs what the results would be
 */
export function compute(
  session: HostSession,
  out: readonly ObjectId[],
  inputs: {
    readonly access: Access
    readonly tracked: readonly Tracked[]
    readonly failure: ErrorWire | null
    /** Of the results; none unless given. */
    readonly labels?: Labels
    /** Whether the results are parts of what was found, as they stand: then whoever may see results may not see them. */
    readonly isPart?: boolean
  },
  command: (isBlank: boolean) => tf.Tensor | tf.Tensor[],
  specs: () => readonly Spec[],
): void {
  checkNew(session, out)
  const { labels = NO_LABELS, isPart = false } = inputs
  const access = isPart ? inputs.access : derivedFrom(inputs.access)
  let made: { tensors: tf.Tensor[]; segment: Segment | undefined }
  let failed: OperationFailed | null = null
  let { failure } = inputs
  try {
    made = record(inputs.tracked, () => command(false))
  } catch (error) {
    failed = new OperationFailed(error, access)
    if (access.length === 0) throw failed
    failure ??= session.wireOf(failed)
    made = blanks(inputs.tracked, command, specs)
  }
  const { tensors, segment } = made
  segment?.hold()
  tensors.forEach((tensor, i) => {
    const requiresGrad = tensor.dtype === 'float32' && segment?.needs(tensor.id) === true
    storeTensor(session, out[i]!, new Tracked(tf.keep(tensor), { requiresGrad, segment }), { access, labels, failure })
  })
  segment?.drop()
  if (failed !== null) throw failed
}

/**
 * What stands where a computation on private values failed: NaN where there is such a thing, and NaN for gradients.
 *
 * Which result depends on which operand, a backward pass makes visible; so the same is computed of zeros. Should that
 * fail too (because of private weights), every result depends on every operand.
 */
function blanks(
  tracked: readonly Tracked[],
  command: (isBlank: boolean) => tf.Tensor | tf.Tensor[],
  specs: () => readonly Spec[],
): ReturnType<typeof record> {
  const spoil = (t: tf.Tensor) => (t.dtype === 'float32' ? tf.mul(t, Number.NaN) : t)
  try {
    return record(tracked, () => [command(true)].flat().map(spoil))
  } catch {
    return record(tracked, () => {
      const all = tracked
        .filter(({ requiresGrad }) => requiresGrad)
        .reduce<tf.Tensor>((sum, { tensor }) => tf.add(sum, tf.sum(tensor)), tf.scalar(0))
      return specs().map(({ shape, dtype }) => {
        const blank = tf.zeros([...shape], dtype)
        return dtype === 'float32' ? spoil(tf.add(blank, all)) : blank
      })
    })
  }
}

/** Takes a tensor over: it is freed if its id turns out to be taken. */
export function storeTensor(
  session: HostSession,
  id: ObjectId,
  tracked: Tracked,
  {
    access,
    labels = NO_LABELS,
    failure = null,
    keep = false,
  }: { access: Access; labels?: Labels; failure?: ErrorWire | null; keep?: boolean },
): void {
  const { name: owner } = session
  const common = { kind: 'tensor', tracked, access, gradAccess: PUBLIC, owner, labels, failure } as const
  try {
    session.host.store.add(id, { ...common, session: keep ? session.host : session })
  } catch (error) {
    tracked.release()
    throw error
  }
}
