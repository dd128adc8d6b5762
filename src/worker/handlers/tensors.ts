/** Messages about tensors: keeping, computing, giving, passing on. */
import { sottoError } from '../../errors.ts'
import { tf } from '../../tensor/backend.ts'
import type { ObjectId, OperandWire } from '../../tensor/location.ts'
import { type OpRow, opRow, type Value } from '../../tensor/ops.ts'
import { byteSizeOf, type Spec, showShape, sizeOf } from '../../tensor/shape.ts'
import { Anchor, record, type Segment, Tracked } from '../../tensor/tape.ts'
import { fromWire, specOf, toWire } from '../../tensor/wire.ts'
import type { HandlersOf } from '../handlers.ts'
import type { HostSession } from '../host.ts'
import { type Access, accessFrom, accessOf, combine, derivedFrom, maySee, PUBLIC, refused } from '../permissions.ts'
import type { Deposit, ErrorWire } from '../protocol.ts'
import { gradientOf, NO_LABELS, OperationFailed, Poison, type StoredTensor } from '../store.ts'
import { deliver, linkTo, modelDeposit, storeModel } from './models.ts'

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
    const { tensor, access, tracked, owner, failure } = session.host.store.read(operand)
    // Another identity's tensors take part as constants: its gradients are not ours to change.
    const own = owner === session.name ? tracked : null
    return { spec: specOf(tensor), access, tracked: own, failure, value: () => tensor }
  }
  if (typeof operand === 'number') return { ...CONSTANT, spec: NUMBER, value: () => operand }
  if (typeof operand === 'boolean') return { ...CONSTANT, spec: BOOLEAN, value: () => operand }
  recordCame(session, 'operand', operand, { from: session.name, why: `sent by ${session.name}` })
  return { ...CONSTANT, spec: operand, value: () => fromWire(operand) }
}

/** What failed before, so that what is computed of it fails too. */
export const failureOf = (found: readonly Found[]): ErrorWire | null =>
  found.find(({ failure }) => failure !== null)?.failure ?? null

/** Refuses results that the worker has no room for, before anything is computed. */
export function checkRoom(session: HostSession, name: string, specs: readonly Spec[]): void {
  const { elements, objects } = session.host.limits
  for (const { shape } of specs) {
    if (!(sizeOf(shape) <= elements)) {
      throw sottoError(
        'ERR_LIMIT',
        `${name}: a result of shape ${showShape(shape)} is above the limit of ${elements} elements`,
      )
    }
  }
  if (session.host.store.count + specs.length > objects) {
    throw sottoError('ERR_LIMIT', `${name}: the worker holds ${objects} objects, and no more fit`)
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
  inputs: { readonly access: Access; readonly tracked: readonly Tracked[]; readonly failure: ErrorWire | null },
  command: (isBlank: boolean) => tf.Tensor | tf.Tensor[],
  specs: () => readonly Spec[],
): void {
  if (new Set(out).size !== out.length) throw sottoError('ERR_ID_TAKEN', 'two results were given one id')
  for (const id of out) {
    if (session.host.store.has(id)) throw sottoError('ERR_ID_TAKEN', 'the id chosen for a result is taken', { id })
  }
  const access = derivedFrom(inputs.access)
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
    storeTensor(session, out[i]!, new Tracked(tf.keep(tensor), { requiresGrad, segment }), { access, failure })
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

/** The value of an operand, or zeros in its place. */
export function valueFor({ value }: Found, isBlank: boolean): Value {
  const given = value()
  return isBlank && typeof given === 'object' ? tf.zerosLike(given) : given
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
  }: { access: Access; labels?: StoredTensor['labels']; failure?: ErrorWire | null },
): void {
  const { name: owner } = session
  try {
    session.host.store.add(id, { kind: 'tensor', tracked, access, gradAccess: PUBLIC, owner, session, labels, failure })
  } catch (error) {
    tracked.release()
    throw error
  }
}

function checkOperands(name: string, { inputs }: OpRow, operands: readonly OperandWire[]): void {
  const list = inputs.at(-1)?.endsWith('[]') === true
  const required = inputs.filter((input) => !input.endsWith('?') && !input.endsWith('[]')).length
  const fits = operands.length >= required && (list || operands.length <= inputs.length)
  if (!fits || operands.some((operand, i) => operand === null && !inputs[i]?.endsWith('?'))) {
    throw sottoError('ERR_PROTOCOL', `${name}: takes ${inputs.join(', ')}`)
  }
}

/** Writes down that a value went to somebody. */
export function recordLeft(
  session: HostSession,
  operation: string,
  spec: Spec,
  { to, tags = [], why }: { to: string; tags?: readonly string[]; why: string },
): void {
  const { shape, dtype } = spec
  session.host.ledger.record({
    event: 'left',
    operation,
    shape,
    dtype,
    tags,
    from: session.host.id,
    to,
    why,
    bytes: byteSizeOf(spec),
  })
}

/** Writes down that a value came to be known here. */
export function recordCame(
  session: HostSession,
  operation: string,
  spec: Spec,
  { from, tags = [], why }: { from: string; tags?: readonly string[]; why: string },
): void {
  const { shape, dtype } = spec
  session.host.ledger.record({
    event: 'came',
    operation,
    shape,
    dtype,
    tags,
    from,
    to: session.host.id,
    why,
    bytes: byteSizeOf(spec),
  })
}

/** Refuses to give a value, and writes the attempt down. */
export function refuse(
  session: HostSession,
  operation: string,
  spec: Spec,
  { to = session.name, access, tags = [] }: { to?: string; access: Access; tags?: readonly string[] },
): never {
  recordRefused(session, operation, spec, to, tags)
  throw refused(operation, session.name, access)
}

/** Writes down that somebody asked for a value, or to change it, and got nothing. */
export function recordRefused(
  session: HostSession,
  operation: string,
  { shape, dtype }: Spec,
  to: string = session.name,
  tags: readonly string[] = [],
): void {
  session.host.ledger.record({
    event: 'refused',
    operation,
    shape,
    dtype,
    tags,
    from: session.host.id,
    to,
    why: `asked by ${session.name}`,
    bytes: 0,
  })
}

/** What stands in a value's way to those who may not see it: not even that it failed is told. */
export function seeFailure<T>(session: HostSession, operation: string, action: () => T): T {
  try {
    return action()
  } catch (error) {
    if (error instanceof Poison && !maySee(error.access, session.name)) {
      refuse(session, operation, NUMBER, error)
    }
    throw error
  }
}

export const why = (session: HostSession, access: Access): string =>
  `asked by ${session.name}${access.length > 0 ? `, allowed by ${access.map(({ owner }) => owner).join(', ')}` : ''}`

export const tensorHandlers: HandlersOf<
  'put' | 'run' | 'get' | 'free' | 'copy' | 'detach' | 'requireGrad' | 'zeroGrad' | 'transfer' | 'receive'
> = {
  put(session, { out, value, labels, privacy, requiresGrad, edge }) {
    const { store } = session.host
    checkRoom(session, 'send', [value])
    for (const id of [out, edge])
      if (id !== null && store.has(id)) throw sottoError('ERR_ID_TAKEN', 'the id is taken', { id })
    const access = accessOf(privacy, session.name)
    const tracked = new Tracked(tf.keep(fromWire(value)), { requiresGrad: requiresGrad && value.dtype === 'float32' })
    storeTensor(session, out, tracked, { access, labels })
    if (edge !== null) addEdge(session, edge, tracked, access, true)
    recordCame(session, 'send', value, { from: session.name, tags: labels.tags, why: `sent by ${session.name}` })
  },

  run(session, { op, operands, attrs, out, grad }) {
    const row = opRow(op)
    checkOperands(op, row, operands)
    const found = operands.map((operand) => (operand === null ? null : findOperand(session, operand)))
    const present = found.filter((item) => item !== null)
    const checked = row.attrs(...(attrs.map((attr) => attr ?? undefined) as never[]))
    const result = row.spec(
      present.map(({ spec }) => spec),
      checked,
    )
    const specs = (Array.isArray(result) ? result : [result]) as readonly Spec[]
    if (specs.length !== out.length) {
      throw sottoError('ERR_PROTOCOL', `${op}: gives ${specs.length} results, ${out.length} were named`)
    }
    checkRoom(session, op, specs)
    const access = present.reduce((sum: Access, item) => combine(sum, item.access), PUBLIC)
    const tracked = grad && row.differentiable ? present.flatMap((item) => item.tracked ?? []) : []
    const failure = failureOf(present)
    const command = (isBlank: boolean) =>
      row.run(found.map((item) => (item === null ? undefined : valueFor(item, isBlank))) as Value[], checked)
    compute(session, out, { access, tracked, failure }, command, () => specs)
  },

  get(session, { id, keep }) {
    session.raiseEffects()
    const { store } = session.host
    const operation = keep ? 'fetch' : 'get'
    const { tensor, access, labels, owner, failure } = seeFailure(session, operation, () => store.read(id))
    const spec = specOf(tensor)
    const what = gradientOf(id) === null ? operation : `${operation} gradient`
    if (!maySee(access, session.name)) refuse(session, what, spec, { access, tags: labels.tags })
    if (failure !== null) throw new Poison({ error: failure, access })
    const value = toWire(tensor)
    recordLeft(session, what, spec, { to: session.name, tags: labels.tags, why: why(session, access) })
    if (!keep && owner === session.name) store.free(id)
    return value
  },

  free(session, { ids }) {
    const { store } = session.host
    for (const id of ids) {
      // Others' objects are not freed, and a stale id is not an error: frees come late, from garbage collectors.
      if (store.find(id.split('#')[0]!)?.owner === session.name) store.free(id)
    }
  },

  copy(session, { id, out, grad }) {
    const { tensor, access, labels, tracked, owner, failure } = session.host.store.read(id)
    checkRoom(session, 'copy', [specOf(tensor)])
    const source = grad && tracked && owner === session.name ? [tracked] : []
    const { tensors, segment } = record(source, () => tf.clone(tensor))
    const requiresGrad = segment !== undefined
    const made = new Tracked(tf.keep(tensors[0]!), { requiresGrad, segment })
    storeTensor(session, out, made, { access, labels, failure })
  },

  detach(session, { id, out }) {
    const { tensor, access, failure } = session.host.store.read(id)
    checkRoom(session, 'detach', [specOf(tensor)])
    storeTensor(session, out, new Tracked(tf.keep(record([], () => tf.clone(tensor)).tensors[0]!)), { access, failure })
  },

  requireGrad(session, { id, requiresGrad }) {
    const { tracked } = ownCell(session, 'requireGrad', id)
    if (!tracked.isLeaf)
      throw sottoError('ERR_NOT_LEAF', 'this tensor is the result of an operation; detach() it first')
    if (tracked.tensor.dtype !== 'float32') throw sottoError('ERR_DTYPE', 'only float32 tensors have gradients')
    tracked.requiresGrad = requiresGrad
    if (!requiresGrad) tracked.zeroGrad()
  },

  zeroGrad(session, { ids }) {
    for (const id of ids) ownCell(session, 'zeroGrad', id).tracked.zeroGrad()
  },

  transfer(session, { id, to, key, keep, edge, optimizers }) {
    const { store } = session.host
    try {
      const stored = store.find(id)
      if (stored?.kind === 'model') {
        deliver(session, to, key, modelDeposit(session, stored, to, optimizers))
        if (!keep && stored.owner === session.name) for (const gone of [id, ...optimizers]) store.free(gone)
        return
      }
      if (edge !== null && store.has(edge)) throw sottoError('ERR_ID_TAKEN', 'the id is taken', { id: edge })
      const { tensor, access, labels, tracked, owner, failure } = seeFailure(session, 'move', () => store.read(id))
      const deposit = tensorDeposit(session, 'move', tensor, { access, to, labels, failure })
      if (edge !== null && tracked && owner === session.name) addEdge(session, edge, tracked, access, false)
      deliver(session, to, key, deposit)
      if (!keep && owner === session.name) store.free(id)
    } catch (error) {
      // The other side waits: it is told.
      if (session.peers.has(to)) deliver(session, to, key, failedDeposit(session, error))
      throw error
    }
  },

  receive(session, { key, from, out, edge, optimizers }) {
    const arrived = (deposit: Deposit): void => {
      switch (deposit.kind) {
        case 'none':
          throw sottoError('ERR_PROTOCOL', `${from} sent nothing where a tensor was to come`)
        case 'failed':
          throw new Poison({ error: deposit.error, access: accessFrom(deposit.access) })
        case 'model':
          return storeModel(session, out, deposit.value, {
            labels: deposit.labels,
            access: accessFrom(deposit.access),
            optimizers,
            came: { operation: 'move model', from, why: `moved by ${session.name}` },
          })
        case 'tensor': {
          const { value, labels, failure = null } = deposit
          recordCame(session, 'move', value, { from, tags: labels.tags, why: `moved by ${session.name}` })
          checkRoom(session, 'move', [value])
          const access = accessFrom(deposit.access)
          const tracked = new Tracked(tf.keep(fromWire(value)), { requiresGrad: edge !== null })
          storeTensor(session, out, tracked, { access, labels, failure })
          if (edge !== null) addEdge(session, edge, tracked, access, true)
          return
        }
        default:
          deposit satisfies never
      }
    }
    return whenThere(session.host.mailbox.take(key, from, session), arrived)
  },
}

/** Goes on at once when nothing has to be waited for. */
export function whenThere<T, R>(value: T | Promise<T>, then: (value: T) => R): R | Promise<R> {
  return value instanceof Promise ? value.then(then) : then(value)
}

/** A tensor of this session's identity, to be changed. */
export function ownCell(session: HostSession, operation: string, id: ObjectId) {
  const cell = session.host.store.cell(id)
  if (cell.owner !== session.name) {
    recordRefused(session, operation, specOf(cell.tracked.tensor))
    throw sottoError(
      'ERR_PERMISSION',
      `${operation}: the object belongs to ${cell.owner}; copy() or detach() makes one of your own`,
    )
  }
  return cell
}

/** Keeps one end of an edge; the far end has the leaf whose gradient will travel. */
function addEdge(session: HostSession, id: ObjectId, tracked: Tracked, access: Access, isFarEnd: boolean): void {
  const { name: owner } = session
  const leaf = isFarEnd ? tracked : null
  const anchor = new Anchor(tracked)
  try {
    session.host.store.add(id, { kind: 'edge', anchor, access, leaf, owner, session })
  } catch (error) {
    anchor.release()
    throw error
  }
}

/** Checks that a tensor may go to a peer, writes it down and packs it. */
export function tensorDeposit(
  session: HostSession,
  operation: string,
  tensor: tf.Tensor,
  {
    access,
    to,
    labels = NO_LABELS,
    failure = null,
  }: { access: Access; to: string; labels?: StoredTensor['labels']; failure?: ErrorWire | null },
): Deposit {
  const spec = specOf(tensor)
  if (!session.mayMoveTo(access, to)) refuse(session, operation, spec, { to, access, tags: labels.tags })
  linkTo(session, to)
  const value = toWire(tensor)
  recordLeft(session, operation, spec, { to, tags: labels.tags, why: why(session, access) })
  return { kind: 'tensor', value, labels, access: plainAccess(access), ...(failure === null ? {} : { failure }) }
}

export const plainAccess = (access: Access): Access =>
  access.map(({ owner, allow, allowResults }) => ({ owner, allow, allowResults }))

export function failedDeposit(session: HostSession, error: unknown): Deposit {
  const access = error instanceof Poison || error instanceof OperationFailed ? error.access : PUBLIC
  return { kind: 'failed', error: session.wireOf(error), access: plainAccess(access) }
}
