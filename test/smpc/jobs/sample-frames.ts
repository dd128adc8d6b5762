/** Frames of jobs in secret, as PROTOCOL.md shows them. */
import { CONSENT, consentTo, type JobMessage, type JobMessages, NONCE } from '../../../src/smpc/jobs/messages.ts'
import { Identity } from '../../../src/worker/identity.ts'
import type { Frame } from '../../../src/worker/protocol.ts'

const job = 'ab'.repeat(32)
const nonces = [1, 2, 3].map((byte) => new Uint8Array(NONCE).fill(byte))
/** Of the secret of 32 bytes 01. */
const agency = Identity.fromSecret(`ed25519-secret:${Buffer.alloc(32, 1).toString('base64url')}`)
const consent = agency.sign(CONSENT, consentTo(job, nonces))

export const sampleBodies: { readonly [N in JobMessage]: JobMessages[N]['request'] } = {
  jobJoin: { job, nonces },
  jobConsent: { job, nonces, consents: { agency: consent } },
  jobEnd: { job, ok: true, message: '', results: { weights: ['w'] } },
}

export const joined: JobMessages['jobJoin']['response'] = {
  inputs: {
    houses: {
      parts: [{ id: 'x', shape: [200, 3], encoding: { ring: 64, dtype: 'float32', base: 2, precisionFractional: 16 } }],
      set: null,
    },
  },
  nonce: null,
  consent,
}

export const sampleFrames: readonly Frame[] = [
  [1, 2, 'jobJoin', sampleBodies.jobJoin],
  [2, 2, joined],
  [1, 3, 'jobConsent', sampleBodies.jobConsent],
  [2, 3, null],
  [1, 9, 'jobEnd', sampleBodies.jobEnd],
  [2, 9, null],
]
