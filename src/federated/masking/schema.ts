/** What every message of masked sums must look like. What a round's messages must look like, each step checks itself. */
import * as v from 'valibot'
import { fields } from '../../worker/schema.ts'
import { type MaskMessage, type MaskMessages, schemes, steps } from './messages.ts'

const { id, name, count } = fields
const session = v.pipe(v.string(), v.minLength(1), v.maxLength(128))
/** As many as a policy may name. */
const MOST_MEMBERS = 257
/** Tensors of a model. */
const MOST_VALUES = 4096
const share = v.pipe(v.number(), v.minValue(0), v.maxValue(1))
const positive = v.pipe(v.number(), v.finite(), v.gtValue(0))
const whole = v.pipe(count, v.minValue(1))

export const maskSchemas: { readonly [N in MaskMessage]: v.GenericSchema<unknown, MaskMessages[N]['request']> } = {
  maskJoin: v.strictObject({
    session,
    scheme: v.picklist(schemes),
    // Named twice, one would count as two: a sum of two vectors would pass for one of three.
    members: v.pipe(
      v.array(name),
      v.minLength(2),
      v.maxLength(MOST_MEMBERS),
      v.check((list) => new Set(list).size === list.length, 'each once'),
    ),
    weights: v.array(v.pipe(whole, v.maxValue(2 ** 31))),
    clip: positive,
    bits: count,
    hidden: v.boolean(),
    length: whole,
    modulus: v.optional(v.picklist([32, 64])),
    minimum: v.optional(count),
    corrupted: v.optional(share),
    dropouts: v.optional(share),
    server: v.optional(v.picklist(['curious', 'active'])),
  }) as never,
  maskStep: v.strictObject({ session, round: count, step: v.picklist(steps), message: v.unknown() }) as never,
  maskValues: v.strictObject({
    session,
    round: count,
    message: v.unknown(),
    values: v.pipe(v.array(id), v.minLength(1), v.maxLength(MOST_VALUES)),
  }) as never,
  maskLeave: v.strictObject({ session }),
}
