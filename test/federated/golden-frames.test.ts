/** PROTOCOL.md on masked sums, held to the code: frames, fields, tables, and values for another implementation. */
import { describe, expect, it } from 'vitest'
import { type MaskMessage, schemes, steps } from '../../src/federated/masking/messages.ts'
import { checkMessage, type MessageName } from '../../src/federated/secagg/messages.ts'
import { messageRow } from '../../src/worker/messages.ts'
import { FrameKind } from '../../src/worker/protocol.ts'
import { checkRequest } from '../../src/worker/schema.ts'
import { fieldsOf, golden, rowsOf, sectionOf } from '../protocol-page.ts'
import { graphs, type PageRow, testValues } from './page-samples.ts'
import { ROUND, sampleBodies, sampleFrames, samplePairs, sampleRound, sampleSteps } from './sample-frames.ts'
// Gives the worker its rows.
import '../../src/federated/masking/handlers.ts'

const messages = Object.keys(sampleBodies) as MaskMessage[]
const said = Object.keys(sampleSteps) as MessageName[]
const check = (message: MaskMessage, body: unknown): unknown => checkRequest(message, messageRow(message)!.schema, body)
const asRows = (list: readonly PageRow[]): [string, string][] =>
  list.map(([name, ...cells]) => [name, cells.join(' | ')])
const optionalIn = (message: MaskMessage): string[] =>
  [...sectionOf(message).matchAll(/^\| `(\w+)` \| [^|]* \| may be left out/gm)].map(([, field]) => field!)
const without = (body: object, field: string): object =>
  Object.fromEntries(Object.entries(body).filter(([name]) => name !== field))

describe('PROTOCOL.md, of masked sums,', () => {
  it('shows a frame of every message and step up to 64 clients, and a reply to each that is asked', () => {
    const shown = golden.map(({ frame }) => JSON.stringify(frame))
    for (const frame of sampleFrames) expect(shown).toContain(JSON.stringify(frame))
    const requests = sampleFrames.flatMap((f) => (f[0] === FrameKind.request ? [f] : []))
    expect(new Set(requests.map(([, , name]) => name))).toEqual(new Set(messages))
    const named = requests.map(([, , , body]) => (body as { step?: string }).step)
    expect(new Set(named.filter((step) => step !== undefined))).toEqual(
      new Set(steps.filter((step) => step !== 'draws')),
    )
    const replied = sampleFrames.flatMap(([kind, seq]) => (kind === FrameKind.reply ? [seq] : []))
    const asked = requests.filter(([, , name]) => messageRow(name)!.isAsk).map(([, seq]) => seq)
    expect(replied).toEqual(asked)
  })

  it('shows a round whose sum is that of the vectors of those who stay', () => {
    const vectors = sampleRound.vectors.map((vector) => [...vector].map((word) => Number(word) | 0))
    expect(vectors).toEqual([
      [7, -7, 7],
      [5, -5, 5],
      [3, -3, 3],
    ])
    expect([...sampleRound.sum].map((word) => Number(word) | 0)).toEqual([15, -15, 15])
    expect(sampleRound.survivors.survivors).toEqual([0, 1, 2])
    expect(sampleSteps.unmasking.keys.map(({ of }) => of)).toEqual([3])
    expect(samplePairs.keys).toHaveLength(3)
  })

  it.each(messages)('describes %s, every field of it, and no other', (message) => {
    expect(sectionOf(message)).toMatch(messageRow(message)!.isAsk ? /^Asked[.,]/m : /^Told[.,]/m)
    expect(fieldsOf(message)).toEqual(Object.keys(sampleBodies[message]))
  })

  it.each(messages)('shows a body of %s that the worker takes, and takes no other field', (message) => {
    const body = sampleBodies[message]
    expect(check(message, body)).toEqual(body)
    expect(() => check(message, { ...body, extra: 1 })).toThrow('malformed')
    for (const field of Object.keys(body)) {
      const rest = without(body, field)
      if (optionalIn(message).includes(field)) expect(check(message, rest)).toEqual(rest)
      else expect(() => check(message, rest)).toThrow('malformed')
    }
  })

  it('says which fields may be left out, schemes, and steps', () => {
    expect(optionalIn('maskJoin')).toEqual(['modulus', 'minimum', 'corrupted', 'dropouts', 'server'])
    for (const name of schemes) expect(sectionOf('maskJoin')).toContain(`\`${name}\``)
    expect(rowsOf('Masked sums').map(([name]) => name)).toEqual(expect.arrayContaining([...steps, 'mask']))
  })

  it.each(said)('describes the fields of a %s, and clients take no other', (name) => {
    const message = sampleSteps[name as keyof typeof sampleSteps]
    expect(fieldsOf(name)).toEqual(Object.keys(message))
    expect(checkMessage(name, message, ROUND)).toEqual(message)
    expect(() => checkMessage(name, { ...message, extra: 1 }, ROUND)).toThrow('not what it must be')
    expect(() => checkMessage(name, message, ROUND + 1)).toThrow(`it is of round ${ROUND}`)
    for (const field of Object.keys(message)) {
      expect(() => checkMessage(name, without(message, field), ROUND)).toThrow(field)
    }
  })

  it('states how many bytes a field has', () => {
    for (const name of said) {
      for (const [field, value] of Object.entries(sampleSteps[name as keyof typeof sampleSteps])) {
        if (!(value instanceof Uint8Array) || field === 'values') continue
        expect(sectionOf(name)).toMatch(new RegExp(`^\\| \`${field}\` \\| bytes ${value.length} \\|`, 'm'))
      }
    }
    expect(fieldsOf('pair key')).toEqual(Object.keys(samplePairs.keys[0]!))
  })

  it('states neighbours, thresholds and witnesses', () => {
    expect(rowsOf('Graph')).toEqual(asRows(graphs()))
  })

  it('gives values to test another implementation with', () => {
    expect(rowsOf('Values of the round that is shown')).toEqual(asRows(testValues()))
  })
})
