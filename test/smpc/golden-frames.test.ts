/** PROTOCOL.md on secret computation, held to the code: frames, fields, tables, and values for another implementation. */
import { ready } from 'sotto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Correlation, isCorrelation } from '../../src/smpc/correlations.ts'
import type { Part, SecretMessage } from '../../src/smpc/messages.ts'
import { type ProtocolName, protocols } from '../../src/smpc/protocols/index.ts'
import { ringOps } from '../../src/smpc/ring-ops.ts'
import { messageRow } from '../../src/worker/messages.ts'
import { FrameKind } from '../../src/worker/protocol.ts'
import { checkRequest, schemas } from '../../src/worker/schema.ts'
import { readyForTest } from '../backend.ts'
import { fieldsOf, golden, rowsOf, sectionOf } from '../protocol-page.ts'
import { circuits, corrections, costs, type PageRow, testValues } from './page-samples.ts'
import { sampleBodies, sampleCorrelations, sampleFrames, sampleParts } from './sample-frames.ts'

beforeAll(() => ready({ backend: 'cpu' }))
// Other suites share this process.
afterAll(readyForTest)

const messages = Object.keys(sampleBodies) as SecretMessage[]
const check = (message: SecretMessage, body: unknown): unknown =>
  checkRequest(message, messageRow(message)!.schema, body)
const kindOf = ({ kind, ...fields }: Part | Correlation): [string, string[]] => [kind, Object.keys(fields)]
/** The names in code of a cell. */
const namesIn = (cell: string): string[] => [...cell.matchAll(/`(\w+)`/g)].map(([, name]) => name!)
const asRows = (list: readonly PageRow[]): [string, string][] =>
  list.map(([name, ...cells]) => [name, cells.join(' | ')])

describe('PROTOCOL.md, of secret computation,', () => {
  it('shows a frame of every message, and a reply to each that is asked', () => {
    const shown = golden.map(({ frame }) => JSON.stringify(frame))
    for (const frame of sampleFrames) expect(shown).toContain(JSON.stringify(frame))
    const requests = new Map(sampleFrames.flatMap((f) => (f[0] === FrameKind.request ? [[f[1], f[2]] as const] : [])))
    expect(new Set(requests.values())).toEqual(new Set(messages))
    const replied = sampleFrames.flatMap(([kind, seq]) => (kind === FrameKind.reply ? requests.get(seq)! : []))
    expect(replied.sort()).toEqual(messages.filter((message) => messageRow(message)!.isAsk).sort())
  })

  it.each(messages)('describes %s, every field of it, and no other', (message) => {
    const isTold = !messageRow(message)!.isAsk
    expect(sectionOf(message)).toMatch(isTold ? /^Told[.,]/m : /^Asked[.,]/m)
    const parts: string[] = message === 'secretParts' ? Object.keys(sampleParts) : []
    expect(fieldsOf(message).sort()).toEqual([...Object.keys(sampleBodies[message]), ...parts].sort())
  })

  it.each(messages)('shows a body of %s that the worker takes, and takes no other field', (message) => {
    const body = sampleBodies[message]
    expect(check(message, body)).toEqual(body)
    expect(() => check(message, { ...body, extra: 1 })).toThrow('malformed')
    for (const field of Object.keys(body)) {
      const { [field as never]: _, ...rest } = body
      expect([field, () => check(message, rest)]).toEqual([field, expect.toSatisfy(throwsMalformed)])
    }
  })

  it('tells of every part, its fields, and takes no other', () => {
    const rows = rowsOf('`secretParts`').filter(([name]) => Object.hasOwn(sampleParts, name))
    expect(rows.map(([name, rest]) => [name, namesIn(rest.split(' | ')[0]!)])).toEqual(
      Object.values(sampleParts).map(kindOf),
    )
    const body = (part: object) => ({ group: 'g', parts: [part] })
    for (const part of Object.values(sampleParts)) {
      expect(check('secretParts', body(part))).toEqual(body(part))
      expect(() => check('secretParts', body({ ...part, extra: 1 }))).toThrow('malformed')
      for (const field of Object.keys(part)) {
        const { [field as never]: _, ...rest } = part
        expect(() => check('secretParts', body(rest))).toThrow('malformed')
      }
    }
    expect(() => check('secretParts', body({ kind: 'other' }))).toThrow('malformed')
  })

  it('tells of every correlation, its fields, and how large its correction is', () => {
    const rows = rowsOf('Correlations')
    const kinds = Object.keys(sampleCorrelations)
    const fields = rows.slice(0, kinds.length).map(([name, rest]) => [name, namesIn(rest.split(' | ')[0]!)])
    expect(fields).toEqual(Object.values(sampleCorrelations).map(kindOf))
    expect(rows.slice(kinds.length)).toEqual(asRows(corrections()))
    for (const correlation of Object.values(sampleCorrelations)) {
      expect(isCorrelation(correlation)).toBe(true)
      for (const field of Object.keys(correlation)) {
        const { [field as never]: _, ...rest } = correlation
        expect([field, isCorrelation(rest)]).toEqual([field, false])
      }
    }
  })

  it('states the sizes of circuits', () => {
    expect(rowsOf('Circuits')).toEqual(asRows(circuits()))
  })

  it('lists every ring operation, its kind, and how many operands it takes', () => {
    const rows = rowsOf('Ring operations').map(([name, rest]) => [name, ...rest.split(' | ').slice(0, 2)])
    const expected = Object.entries(ringOps).map(
      ([
        name,
        {
          kind,
          operands: [least, most],
        },
      ]) => [name, kind, least === most ? String(least) : `${least} to ${most}`],
    )
    expect(rows.map(([name, kind, operands]) => [name, kind, operands!.replace(/ \|$/, '')])).toEqual(expected)
  })

  it.each(Object.keys(protocols) as ProtocolName[])('states what commands of %s sharing cost', (name) => {
    expect(rowsOf(`Steps of \`${name}\``)).toEqual(asRows(costs(name)))
  })

  it('gives values to test another implementation with', () => {
    expect(rowsOf('Test values')).toEqual(asRows(testValues()))
  })

  it('says which messages a peer may send', () => {
    const fromPeers = [...messages, ...Object.keys(schemas)].filter((message) => messageRow(message)!.isFromPeer)
    expect(fromPeers.sort()).toEqual(['deposit', 'secretParts'])
    expect(sectionOf('deposit')).toContain('Beside `secretParts` the only message')
  })
})

const throwsMalformed = (action: () => unknown): boolean => {
  try {
    action()
    return false
  } catch (error) {
    return String(error).includes('malformed')
  }
}
