/** Frames of jobs in secret, as PROTOCOL.md shows them. */
import type { JobMessage, JobMessages } from '../../../src/smpc/jobs/messages.ts'
import type { Frame } from '../../../src/worker/protocol.ts'

const job = 'ab'.repeat(32)

export const sampleBodies: { readonly [N in JobMessage]: JobMessages[N]['request'] } = {
  jobJoin: { job },
  jobEnd: { job, ok: true, message: '', results: { weights: ['w'] } },
}

export const joined: JobMessages['jobJoin']['response'] = {
  inputs: {
    houses: {
      parts: [{ id: 'x', shape: [200, 3], encoding: { ring: 64, dtype: 'float32', base: 2, precisionFractional: 16 } }],
      set: null,
    },
  },
}

export const sampleFrames: readonly Frame[] = [
  [1, 2, 'jobJoin', sampleBodies.jobJoin],
  [2, 2, joined],
  [1, 9, 'jobEnd', sampleBodies.jobEnd],
  [2, 9, null],
]
