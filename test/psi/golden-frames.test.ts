/** PROTOCOL.md on private set intersection, held to the code. */
import { describe, expect, it } from 'vitest'
import { Kind } from '../../src/psi/channel.ts'
import { binsFor } from '../../src/psi/cuckoo.ts'
import { reveals } from '../../src/psi/two-party.ts'
import type { PsiMessage } from '../../src/psi/workers/messages.ts'
import { messageRow } from '../../src/worker/messages.ts'
import { checkRequest } from '../../src/worker/schema.ts'
import { fieldsOf, golden, rowsOf, sectionOf } from '../protocol-page.ts'
import { sampleBodies, sampleFrames } from './sample-frames.ts'
// Gives the worker its rows.
import '../../src/psi/workers/handlers.ts'

const messages = Object.keys(sampleBodies) as PsiMessage[]
const check = (message: PsiMessage, body: unknown): unknown => checkRequest(message, messageRow(message)!.schema, body)

describe('PROTOCOL.md, of private set intersection,', () => {
  it('shows a frame of every message, and a reply to the one that is asked', () => {
    const shown = golden.map(({ frame }) => JSON.stringify(frame))
    for (const frame of sampleFrames) expect(shown).toContain(JSON.stringify(frame))
  })

  it.each(messages)('describes %s, every field of it, and no other; the worker takes no other either', (message) => {
    const body = sampleBodies[message]
    expect(sectionOf(message)).toMatch(messageRow(message)!.isAsk ? /^Asked[.,]/m : /^Told[.,]/m)
    expect(fieldsOf(message)).toEqual(Object.keys(body))
    expect(check(message, body)).toEqual(body)
    expect(() => check(message, { ...body, extra: 1 })).toThrow('malformed')
    for (const field of Object.keys(body)) {
      const { [field as never]: _, ...rest } = body
      expect(() => check(message, rest)).toThrow('malformed')
    }
  })

  it('lists what two ends say to each other, under the number that each begins with', () => {
    const rows = rowsOf('Between two ends').map(([name, rest]) => [name, Number(rest.split(' | ')[0])])
    expect(rows).toEqual(Object.entries(Kind))
    for (const reveal of reveals) expect(sectionOf('psiRun')).toContain(`\`${reveal}\``)
  })

  it('states how many bins a set has', () => {
    const rows = rowsOf('Bins').map(([ids, bins]) => [Number(ids), Number(bins)])
    expect(rows.length).toBeGreaterThan(5)
    for (const [ids, bins] of rows) expect(binsFor(ids!), `${ids} ids`).toBe(bins)
  })
})
