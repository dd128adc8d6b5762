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
  /** Takes part in the job with this id; the party tells what it brings, and whether it consents. */
  jobJoin: {
    request: {
      readonly job: string
      /** What those who compute have drawn, in their order; nothing as long as they are asked themselves. */
      readonly nonces: readonly Uint8Array[]
    }
    response: {
      readonly inputs: Readonly<Record<string, InputWire>>
      /** Of a party that computes: drawn for this run of the job. */
      readonly nonce: Uint8Array | null
      /** Of one that consents: its signature, see {@link consentTo}. */
      readonly consent: Uint8Array | null
    }
  }
  /** By those who consent, their signatures: each party that computes checks them, and opens nothing before. */
  jobConsent: {
    request: {
      readonly job: string
      readonly nonces: readonly Uint8Array[]
      readonly consents: Readonly<Record<string, Uint8Array>>
    }
    response: null
  }
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

/** What a consent is signed for. */
export const CONSENT = 'sotto job consent 1'

/** What is signed by who consents: the job by its id, and this run of it by what those who compute have drawn. */
export const consentTo = (id: string, nonces: readonly Uint8Array[]): Uint8Array =>
  Uint8Array.from([...new TextEncoder().encode(id), ...nonces.flatMap((nonce) => [...nonce])])

const { out, outs, name, shape, bytes } = fields
/** Bytes of a nonce, and of a signature of Ed25519. */
export const NONCE = 16
const SIGNATURE = 64
const nonce = v.pipe(bytes, v.length(NONCE))
const nonces = v.pipe(v.array(nonce), v.maxLength(3))
const signature = v.pipe(bytes, v.length(SIGNATURE))
const job = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/))
const MOST = 4096

export const jobSchemas: { readonly [N in JobMessage]: v.GenericSchema<unknown, JobMessages[N]['request']> } = {
  jobJoin: v.strictObject({ job, nonces }),
  jobConsent: v.strictObject({ job, nonces, consents: v.record(name, signature) }),
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
  nonce: v.nullable(nonce),
  consent: v.nullable(signature),
})
