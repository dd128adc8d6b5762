/** What the coordinator of a job in secret says to its parties, besides the messages of secret computation. */
import * as v from 'valibot'
import type { ObjectId } from '../../tensor/location.ts'
import type { Shape } from '../../tensor/shape.ts'
import { fields } from '../../worker/schema.ts'
import { type Encoding, isEncoding } from '../encoding.ts'

/** A tensor that a party brings: it stands under an id until the session ends. */
export interface BroughtWire {
  readonly id: ObjectId
  readonly shape: Shape
  readonly encoding: Encoding
}

/** An input: one tensor, or the weights of a model, in order. */
export interface InputWire {
  readonly parts: readonly BroughtWire[]
  /** Of parts of a secret in files, the set that they are of: three such tensors add up to the input. */
  readonly set: string | null
}

export type JobMessages = {
  /** Takes part in the job with this id; the party tells what it brings. */
  jobJoin: { request: { readonly job: string }; response: { readonly inputs: Readonly<Record<string, InputWire>> } }
  /**
   * The party's part is done, or the job has failed: it reads what was opened for it, and may leave. By the names of its
   * results, their tensors.
   */
  jobEnd: {
    request: {
      readonly job: string
      readonly ok: boolean
      readonly message: string
      readonly results: Readonly<Record<string, readonly ObjectId[]>>
    }
    response: null
  }
}
export type JobMessage = keyof JobMessages

const { out, outs, name, shape } = fields
const job = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/))
const MOST = 4096

export const jobSchemas: { readonly [N in JobMessage]: v.GenericSchema<unknown, JobMessages[N]['request']> } = {
  jobJoin: v.strictObject({ job }),
  jobEnd: v.strictObject({
    job,
    ok: v.boolean(),
    message: v.pipe(v.string(), v.maxLength(MOST)),
    results: v.record(name, outs),
  }),
}

/** The answer to `jobJoin`. */
export const joinedSchema: v.GenericSchema<unknown, JobMessages['jobJoin']['response']> = v.strictObject({
  inputs: v.record(
    name,
    v.strictObject({
      parts: v.pipe(
        v.array(v.strictObject({ id: out, shape, encoding: v.custom<Encoding>(isEncoding) })),
        v.minLength(1),
        v.maxLength(MOST),
      ),
      set: v.nullable(v.pipe(v.string(), v.maxLength(MOST))),
    }),
  ),
})
