/** What every message must look like, checked before a handler sees it. One row per message, typed by the table. */
import * as v from 'valibot'
import { type Code, codes, sottoError } from '../errors.ts'
import { isCheckpointName } from '../tensor/checkpoint.ts'
import type { OperandWire } from '../tensor/location.ts'
import type { ModelWire } from '../tensor/model-wire.ts'
import { type OptimizerKind, optimizerRules } from '../tensor/optimizers.ts'
import { compressions, isWhole, type PackedWire } from '../tensor/packed.ts'
import { bytesPerElement, dtypes, sizeOf } from '../tensor/shape.ts'
import type { TensorWire } from '../tensor/wire.ts'
import type { Deposit, MessageName, Request } from './protocol.ts'

/** tfjs ends at rank 6. */
const MAX_RANK = 6
/** Operands and results of one command: `split` and `unstack` may have many. */
const MAX_LIST = 65_536
const MAX_TAGS = 64
const MAX_TAG = 256
const MAX_TEXT = 4096

const ID = '[\\w-]{1,64}'
/** Ids chosen by callers: uuids, or anything as plain. */
const OBJECT = new RegExp(`^${ID}$`)
/** Ids as commands use them: of an object, of a parameter, of a gradient. */
const REFERENCE = new RegExp(`^${ID}(#\\d{1,6})?(#grad)?$`)

const isRecord = (x: unknown): x is Record<string, unknown> => typeof x === 'object' && x !== null && !Array.isArray(x)

const isShape = (x: unknown): x is number[] =>
  Array.isArray(x) && x.length <= MAX_RANK && x.every((dimension) => Number.isSafeInteger(dimension) && dimension >= 0)

function isTensor(x: unknown): x is TensorWire {
  if (!isRecord(x)) return false
  const { shape, dtype, data, encoding } = x as Partial<TensorWire>
  if (!dtypes.includes(dtype as never) || !(data instanceof Uint8Array) || encoding !== undefined) return false
  return isShape(shape) && sizeOf(shape) * bytesPerElement[dtype!] === data.byteLength
}

/** A tensor as one worker sends it to another: as it is, or packed. */
function isSent(x: unknown): x is TensorWire | PackedWire {
  if (!isRecord(x) || x['encoding'] === undefined) return isTensor(x)
  const { shape, dtype, encoding, data, scales } = x
  if (!compressions.includes(encoding as never) || dtype !== 'float32' || !isShape(shape)) return false
  const binary = encoding === 'int8' ? [data, scales] : [data]
  if (Object.keys(x).length !== 3 + binary.length || !binary.every((part) => part instanceof Uint8Array)) return false
  return isWhole(x as unknown as PackedWire)
}

const isObject = (x: unknown): x is string => typeof x === 'string' && OBJECT.test(x)
const isReference = (x: unknown): x is string => typeof x === 'string' && REFERENCE.test(x)
const isOperand = (x: unknown): x is OperandWire =>
  isReference(x) || x === null || typeof x === 'number' || typeof x === 'boolean' || isTensor(x)

/** By hand, because it is checked for every operation: a fifth of the time of the general check. */
function isRun(x: unknown): x is Request<'run'> {
  if (!isRecord(x) || Object.keys(x).length !== 5) return false
  const { op, operands, attrs, out, grad } = x
  if (typeof op !== 'string' || op.length > 64 || typeof grad !== 'boolean') return false
  if (!Array.isArray(operands) || operands.length > MAX_LIST || !operands.every(isOperand)) return false
  if (!Array.isArray(attrs) || attrs.length > 16) return false
  return Array.isArray(out) && out.length <= MAX_LIST && out.every(isObject)
}

const isLabels = (x: unknown): boolean => {
  if (!isRecord(x) || Object.keys(x).length !== 2) return false
  const { tags, description } = x
  if (!Array.isArray(tags) || tags.length > MAX_TAGS || typeof description !== 'string') return false
  return description.length <= MAX_TEXT && tags.every((tag) => typeof tag === 'string' && tag.length <= MAX_TAG)
}

/** A tensor that is sent with nothing out of the ordinary: of these there may be thousands. Others are seen to below. */
function isPlainPut(x: unknown): x is Request<'put'> {
  if (!isRecord(x) || Object.keys(x).length !== 6) return false
  const { out, value, labels, privacy, requiresGrad, edge } = x
  return (
    isObject(out) && isTensor(value) && isLabels(labels) && privacy === null && requiresGrad === false && edge === null
  )
}

const out = v.custom<string>(isObject)
const id = v.custom<string>(isReference)
const ids = v.pipe(v.array(id), v.maxLength(MAX_LIST))
const outs = v.pipe(v.array(out), v.maxLength(MAX_LIST))
const name = v.pipe(v.string(), v.minLength(1), v.maxLength(256))
const tags = v.pipe(v.array(v.pipe(v.string(), v.maxLength(MAX_TAG))), v.maxLength(MAX_TAGS))
const names = v.pipe(v.array(name), v.maxLength(256))
const labels = v.strictObject({ tags, description: v.pipe(v.string(), v.maxLength(MAX_TEXT)) })
const rights = {
  allow: names,
  allowResults: names,
  allowShares: v.optional(names),
  allowTotals: v.optional(names),
  allowMatches: v.optional(names),
}
const privacy = v.nullable(v.strictObject(rights))
const access = v.pipe(v.array(v.strictObject({ owner: name, ...rights, consent: v.optional(name) })), v.maxLength(256))
const tensor = v.custom<TensorWire>(isTensor)
const sent = v.custom<TensorWire | PackedWire>(isSent)
const operand = v.custom<OperandWire>(isOperand)
const operands = v.pipe(v.array(operand), v.maxLength(MAX_LIST))
const count = v.pipe(v.number(), v.integer(), v.minValue(0))
const config = v.record(name, v.union([v.number(), v.boolean()]))
const part = { pass: v.nullable(out), end: v.boolean(), retain: v.boolean() }
const optimizerKind = v.picklist(Object.keys(optimizerRules) as OptimizerKind[])
const nothing = v.strictObject({})
const checkpointName = v.custom<string>(isCheckpointName)

const model: v.GenericSchema<unknown, ModelWire> = v.strictObject({
  type: v.picklist(['sequential', 'functional']),
  topology: v.string(),
  weights: v.pipe(v.array(v.strictObject({ name, value: tensor, trainable: v.boolean() })), v.maxLength(MAX_LIST)),
  optimizers: v.pipe(
    v.array(
      v.strictObject({
        kind: optimizerKind,
        config,
        step: count,
        slots: v.array(v.strictObject({ parameter: count, name, value: tensor })),
        parameters: v.array(count),
      }),
    ),
    v.maxLength(64),
  ),
})

const error = v.strictObject({
  code: v.picklist(Object.keys(codes) as Code[]),
  message: v.pipe(v.string(), v.maxLength(MAX_TEXT)),
  worker: name,
  origin: name,
})
const bytes = v.instance(Uint8Array)
const shape = v.pipe(v.array(count), v.maxLength(MAX_RANK))

/** The public key of a worker; empty inside one process. */
const peerKey = v.pipe(v.string(), v.maxLength(128))

/** What messages are made of. */
export const fields = {
  bytes,
  shape,
  id,
  out,
  outs,
  name,
  names,
  tensor,
  access,
  privacy,
  labels,
  count,
  error,
  model,
  checkpointName,
  peerKey,
} as const

const address = v.pipe(v.string(), v.minLength(1), v.maxLength(2048))
const secret = v.pipe(bytes, v.length(32))
export const capability = v.strictObject({ session: out, name, proof: secret })

const component = { data: v.optional(bytes), seed: v.optional(secret) }
const deposit = v.variant('kind', [
  v.strictObject({ kind: v.literal('tensor'), value: sent, labels, access, failure: v.optional(error) }),
  v.strictObject({ kind: v.literal('model'), value: model, labels, access }),
  v.strictObject({
    kind: v.literal('share'),
    shape,
    ...component,
    next: v.optional(v.strictObject(component)),
    members: v.optional(v.pipe(v.array(v.strictObject({ name, key: peerKey })), v.maxLength(256))),
    access,
    failure: v.optional(error),
  }),
  v.strictObject({ kind: v.literal('failed'), error, access }),
  v.strictObject({ kind: v.literal('none') }),
]) as unknown as v.GenericSchema<unknown, Deposit>

const keep = v.exactOptional(v.boolean())
const compress = v.exactOptional(v.strictObject({ encoding: v.picklist(compressions), remainder: v.nullable(out) }))

const put: v.GenericSchema<unknown, Request<'put'>> = v.strictObject({
  out,
  value: tensor,
  labels,
  privacy,
  requiresGrad: v.boolean(),
  edge: v.nullable(out),
  keep,
})
const asItIs = v.any() as v.GenericSchema<unknown, Request<'put'>>

export const schemas: { readonly [N in MessageName]: v.GenericSchema<unknown, Request<N>> } = {
  hello: v.strictObject({ version: count, name, session: out, secret: v.nullable(secret) }),
  peers: v.strictObject({
    peers: v.pipe(
      v.array(
        v.strictObject({
          name,
          address: v.nullable(address),
          relay: v.optional(v.boolean()),
          key: peerKey,
          capability,
        }),
      ),
      v.maxLength(1024),
    ),
  }),
  deposit: v.strictObject({ key: out, content: deposit }),
  search: v.strictObject({ tags }),
  objects: nothing,
  flush: nothing,
  ledger: nothing,
  stats: nothing,

  put: v.lazy((input) => (isPlainPut(input) ? asItIs : put)),
  run: v.custom<Request<'run'>>(isRun),
  get: v.strictObject({ id, keep: v.boolean() }),
  free: v.strictObject({ ids }),
  copy: v.strictObject({ id, out, grad: v.boolean() }),
  detach: v.strictObject({ id, out }),
  requireGrad: v.strictObject({ id, requiresGrad: v.boolean() }),
  zeroGrad: v.strictObject({ ids }),
  transfer: v.strictObject({
    id,
    to: name,
    key: out,
    keep: v.boolean(),
    edge: v.nullable(out),
    optimizers: outs,
    compress,
  }),
  receive: v.strictObject({ key: out, from: name, out, edge: v.nullable(out), optimizers: outs }),
  backward: v.strictObject({
    ...part,
    root: v.union([v.strictObject({ id, seed: operand }), v.strictObject({ edge: out, from: name, key: out })]),
  }),
  relay: v.strictObject({ ...part, edge: out, to: name, key: out, compress }),
  relayHome: v.strictObject({ ...part, edge: out }),
  putModel: v.strictObject({ out, model, labels, privacy, optimizers: outs, keep }),
  copyModel: v.strictObject({ id: out, out }),
  assign: v.strictObject({ model: out, values: ids }),
  apply: v.strictObject({ model: out, operands, out: outs, training: v.boolean(), grad: v.boolean() }),
  getModel: v.strictObject({ id: out, keep: v.boolean(), optimizers: outs }),
  saveModel: v.strictObject({ id: out, name: checkpointName, optimizers: outs }),
  restoreModel: v.strictObject({ id: out, name: checkpointName, optimizers: outs }),
  checkpoints: nothing,
  removeCheckpoint: v.strictObject({ name: checkpointName }),
  putOptimizer: v.strictObject({
    out,
    kind: optimizerKind,
    config,
    parameters: ids,
  }),
  configure: v.strictObject({ id: out, config }),
  step: v.strictObject({ id: out }),
}

/** @throws ProtocolError that names the message and the field, never what came in it */
export function checkRequest<Request>(
  message: string,
  schema: v.GenericSchema<unknown, Request>,
  body: unknown,
): Request {
  const result = v.safeParse(schema, body, { abortEarly: true })
  if (result.success) return result.output
  const path = result.issues[0]?.path?.map(({ key }) => String(key).slice(0, 40)).join('.') ?? ''
  throw sottoError('ERR_PROTOCOL', `${message}: the body is malformed${path === '' ? '' : ` at "${path}"`}`, {
    message,
  })
}
