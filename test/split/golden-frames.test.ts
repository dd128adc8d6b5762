/** PROTOCOL.md on aligned tables, held to the code. */
import { describe, expect, it } from 'vitest'
import { messageRow } from '../../src/worker/messages.ts'
import { checkRequest } from '../../src/worker/schema.ts'
import { fieldsOf, golden, sectionOf } from '../protocol-page.ts'
import { sampleBodies, sampleFrames } from './sample-frames.ts'
// Gives the worker its row.
import '../../src/split/aligned-tables.ts'

const check = (body: unknown): unknown => checkRequest('alignTables', messageRow('alignTables')!.schema, body)

describe('PROTOCOL.md, of aligned tables,', () => {
  it('describes the message, every field of it, and no other, and shows a frame', () => {
    expect(sectionOf('alignTables')).toMatch(/^Asked[.,]/m)
    expect(messageRow('alignTables')!.isAsk).toBe(true)
    expect(fieldsOf('alignTables')).toEqual(Object.keys(sampleBodies.alignTables))
    const shown = golden.map(({ frame }) => JSON.stringify(frame))
    for (const frame of sampleFrames) expect(shown).toContain(JSON.stringify(frame))
  })

  it('shows a body that the worker takes, and takes no other field', () => {
    const body = sampleBodies.alignTables
    expect(check(body)).toEqual(body)
    expect(() => check({ ...body, extra: 1 })).toThrow('malformed')
    expect(() => check({ ...body, run: { ...body.run, reveal: 'one' } })).toThrow('malformed')
    for (const field of Object.keys(body)) {
      const { [field as keyof typeof body]: _, ...rest } = body
      expect(() => check(rest)).toThrow('malformed')
    }
  })
})
