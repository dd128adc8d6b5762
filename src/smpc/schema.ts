/** What every message of secret computation must look like. */
import * as v from 'valibot'
import { sizeOf } from '../tensor/shape.ts'
import { LONGEST_NOTE } from '../worker/checkpoint-file.ts'
import { fields } from '../worker/schema.ts'
import { type Correlation, isCorrelation } from './correlations.ts'
import { type Encoding, isEncoding, isRing } from './encoding.ts'
import type { Part, RingWire, SecretMessage, SecretRequest, ShareWire } from './messages.ts'
import { protocols } from './protocols/index.ts'
import type { RingBits } from './ring/kernels.ts'

const { id, out, outs, name, count, bytes, shape, privacy, labels, error, checkpointName } = fields
const note = v.pipe(v.string(), v.maxLength(LONGEST_NOTE))
const group = out
const seed = v.pipe(bytes, v.length(32))
const ring = v.custom<RingBits>(isRing)
const encoding = v.custom<Encoding>(isEncoding)
const MOST_PARTIES = 256
const parties = v.pipe(v.array(name), v.minLength(2), v.maxLength(MOST_PARTIES))
/** Each of several workers, and the key under which it waits, or is waited for. */
const keyed = v.pipe(v.array(v.strictObject({ name, key: out })), v.minLength(2), v.maxLength(MOST_PARTIES))

function isElements(x: unknown): x is RingWire {
  if (typeof x !== 'object' || x === null) return false
  const { shape: dimensions, data } = x as Partial<RingWire>
  if (!v.is(shape, dimensions) || !(data instanceof Uint8Array)) return false
  const size = sizeOf(dimensions)
  return data.byteLength === 8 * size || data.byteLength === 16 * size
}

const component = { data: v.optional(bytes), seed: v.optional(seed) }
const share: v.GenericSchema<unknown, ShareWire> = v.strictObject({
  shape,
  ...component,
  next: v.optional(v.strictObject(component)),
}) as never
const protocol = v.picklist(Object.keys(protocols))

const MOST_OPERANDS = 65_536
const command = {
  op: v.pipe(v.string(), v.maxLength(64)),
  operands: v.pipe(v.array(v.union([id, v.custom<RingWire>(isElements)])), v.minLength(1), v.maxLength(MOST_OPERANDS)),
  attrs: v.pipe(v.array(v.unknown()), v.maxLength(16)),
  divisor: v.nullable(v.pipe(count, v.minValue(1))),
  out: outs,
}

const part: v.GenericSchema<unknown, Part> = v.variant('kind', [
  v.strictObject({ kind: v.literal('opening'), seq: count, step: count, op: v.string(), data: bytes }),
  v.strictObject({ kind: v.literal('dealt'), index: count, of: v.string(), data: bytes }),
  v.strictObject({ kind: v.literal('seed'), data: seed }),
  v.strictObject({ kind: v.literal('credit'), index: count, bytes: count }),
  v.strictObject({ kind: v.literal('end'), error }),
]) as never
/** Openings that travel together. */
const MOST_PARTS = 100_000

export const secretSchemas: { readonly [N in SecretMessage]: v.GenericSchema<unknown, SecretRequest<N>> } = {
  secretJoin: v.strictObject({
    group,
    protocol,
    parties,
    index: count,
    provider: v.nullable(name),
    ring,
  }),
  secretProvide: v.strictObject({ group, parties, ring }),
  secretDeal: v.strictObject({
    group,
    index: count,
    correlations: v.pipe(v.array(v.custom<Correlation>(isCorrelation)), v.maxLength(MOST_OPERANDS)),
    ahead: v.boolean(),
  }),
  secretPut: v.strictObject({ group, out, share, privacy }) as never,
  secretRandom: v.strictObject({ group, seq: count, out, shape }),
  secretShare: v.strictObject({ group, protocol, id, encoding, to: keyed, provider: v.nullable(name) }),
  secretTake: v.strictObject({ group, from: name, key: out, out, shape }),
  secretRun: v.strictObject({ ...command, group, seq: count, index: count, dealt: count }),
  secretGet: v.strictObject({ group, seq: count, id: out, encoding }),
  secretOpen: v.strictObject({ group, seq: count, id: out, to: name, key: out, encoding }),
  secretReceive: v.strictObject({ from: keyed, out, shape, encoding, labels }),
  secretStats: v.strictObject({ group }),
  secretParts: v.strictObject({ group, parts: v.pipe(v.array(part), v.maxLength(MOST_PARTS)) }),

  secretSave: v.strictObject({ group, seq: count, name: checkpointName, set: out, note, ids: outs }),
  secretKept: v.strictObject({ group, name: checkpointName }),
  secretRestore: v.strictObject({
    group,
    name: checkpointName,
    set: out,
    to: v.pipe(v.array(keyed), v.maxLength(MOST_OPERANDS)),
  }),
  secretGuard: v.strictObject({ group, ids: outs, job: name, owners: v.pipe(fields.names, v.minLength(1)) }),
  secretConsent: v.strictObject({ job: name, to: name, isGiven: v.boolean() }),

  fixTensor: v.strictObject({ id, out, encoding }),
  floatTensor: v.strictObject({ id: out, out }),
  fixedRun: v.strictObject({
    ...command,
    encodings: v.pipe(v.array(encoding), v.minLength(1), v.maxLength(MOST_OPERANDS)),
  }),
  fixedGet: v.strictObject({ id: out, keep: v.boolean() }),
}
