/** PROTOCOL.md on jobs in secret, held to the code: frames and fields. */
import * as v from 'valibot'
import { describe, expect, it } from 'vitest'
import { type JobMessage, joinedSchema } from '../../../src/smpc/jobs/messages.ts'
import { encode } from '../../../src/worker/codec.ts'
import { messageRow } from '../../../src/worker/messages.ts'
import { checkRequest } from '../../../src/worker/schema.ts'
import { fieldsOf, golden, hexOf, sectionOf } from '../../protocol-page.ts'
import { joined, sampleBodies, sampleFrames } from './sample-frames.ts'
// Gives the worker its rows.
import '../../../src/smpc/jobs/member.ts'

const messages = Object.keys(sampleBodies) as JobMessage[]
const check = (message: JobMessage, body: unknown): unknown => checkRequest(message, messageRow(message)!.schema, body)

describe('PROTOCOL.md, of jobs in secret,', () => {
  it('shows a frame of every message and of its reply, with its bytes', () => {
    const shown = new Map(golden.map(({ frame, hex }) => [JSON.stringify(frame), hex]))
    for (const frame of sampleFrames) expect(shown.get(JSON.stringify(frame))).toBe(hexOf(encode(frame)))
    expect(v.parse(joinedSchema, joined)).toEqual(joined)
  })

  it.each(messages)('describes %s, every field of it, and no other', (message) => {
    expect(sectionOf(message)).toMatch(/^Asked[.,]/m)
    expect(fieldsOf(message)).toEqual(Object.keys(sampleBodies[message]))
  })

  it.each(messages)('shows a body of %s that the worker takes, and takes no other field', (message) => {
    const body = sampleBodies[message]
    expect(check(message, body)).toEqual(body)
    expect(() => check(message, { ...body, extra: 1 })).toThrow('malformed')
    for (const field of Object.keys(body)) {
      const { [field as never]: _, ...rest } = body
      expect(() => check(message, rest)).toThrow('malformed')
    }
  })

  it('takes no id of a job that is none, no results under other than names, and no endless message', () => {
    const { jobEnd } = sampleBodies
    for (const change of [{ job: 'x' }, { results: { weights: 'w' } }, { message: 'x'.repeat(5000) }]) {
      expect(() => check('jobEnd', { ...jobEnd, ...change })).toThrow('malformed')
    }
  })
})
