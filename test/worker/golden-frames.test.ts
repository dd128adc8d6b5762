import { createHmac } from 'node:crypto'
import { codes, ops } from 'sotto'
import { describe, expect, it } from 'vitest'
import { decode, encode } from '../../src/worker/codec.ts'
import { handlers } from '../../src/worker/handlers.ts'
import { defaultLimits } from '../../src/worker/host.ts'
import { messageRow } from '../../src/worker/messages.ts'
import { FrameKind, type MessageName, PROTOCOL_VERSION } from '../../src/worker/protocol.ts'
import { checkRequest } from '../../src/worker/schema.ts'
import { sampleBodies as maskBodies, sampleFrames as maskFrames } from '../federated/sample-frames.ts'
import { described, fieldsOf, golden, hexOf, page, rowsOf, sectionOf } from '../protocol-page.ts'
import { sampleBodies as psiBodies, sampleFrames as psiFrames } from '../psi/sample-frames.ts'
import { sampleBodies as jobBodies, sampleFrames as jobFrames } from '../smpc/jobs/sample-frames.ts'
import { sampleBodies as secretBodies, sampleFrames as secretFrames } from '../smpc/sample-frames.ts'
import { sampleBodies as splitBodies, sampleFrames as splitFrames } from '../split/sample-frames.ts'
import { sampleBodies, sampleFrames, sampleKeys } from './sample-frames.ts'

const messages = Object.keys(handlers) as MessageName[]
/** Messages of tables of their own. */
const elsewhere = { ...secretBodies, ...maskBodies, ...psiBodies, ...splitBodies, ...jobBodies }
/** The fields of a message of which the page says that they may be left out. */
const optionalIn = (message: MessageName): string[] =>
  [...sectionOf(message).matchAll(/^\| `(\w+)` \| [^|]* \| may be left out/gm)].map(([, field]) => field!)

describe('PROTOCOL.md', () => {
  it.each(
    golden.map(({ frame, hex }) => [`${frame[0]} ${frame[1]} ${String(frame[2]).slice(0, 20)}`, frame, hex] as const),
  )('shows the bytes of frame %s as they are written, and they are read as it says', (_, frame, hex) => {
    expect(hexOf(encode(frame))).toBe(hex)
    expect(decode(new Uint8Array(Buffer.from(hex, 'hex')))).toEqual(frame)
  })

  it('shows a frame of every kind and of every message, those that the code is typed by', () => {
    // Those of secret computation, jobs, masked sums, intersections and aligned tables are typed by tables of their own.
    const frames = [...sampleFrames, ...secretFrames, ...maskFrames, ...psiFrames, ...splitFrames, ...jobFrames]
    expect(golden.map(({ frame }) => JSON.stringify(frame)).sort()).toEqual(
      frames.map((frame) => JSON.stringify(frame)).sort(),
    )
    expect([...new Set(golden.map(({ frame }) => frame[0]))].sort()).toEqual(Object.values(FrameKind).sort())
    const shown = golden.flatMap(({ frame }) => (frame[0] === FrameKind.request ? frame[2] : []))
    const core = new Set(shown.filter((name) => !Object.hasOwn(elsewhere, name)))
    expect([...core].sort()).toEqual([...messages].sort())
  })

  it.each(messages)('describes %s, every field of it, and no other', (message) => {
    expect(sectionOf(message)).toMatch(/^(Told|Asked)[.,;]/m)
    const common = 'pass' in sampleBodies[message] ? ['pass', 'end', 'retain'] : []
    const shown = Object.keys(sampleBodies[message])
    const fields = fieldsOf(message).filter((field) => shown.includes(field) || !optionalIn(message).includes(field))
    expect([...fields, ...common].sort()).toEqual(shown.sort())
  })

  it.each(messages)('shows a body of %s that the worker takes, and takes no other field', (message) => {
    expect(checkRequest(message, messageRow(message)!.schema, sampleBodies[message])).toEqual(sampleBodies[message])
    expect(() => checkRequest(message, messageRow(message)!.schema, { ...sampleBodies[message], extra: 1 })).toThrow(
      'malformed',
    )
    for (const field of Object.keys(sampleBodies[message])) {
      const { [field as never]: _, ...rest } = sampleBodies[message]
      const check = () => checkRequest(message, messageRow(message)!.schema, rest)
      if (optionalIn(message).includes(field)) expect(check()).toEqual(rest)
      else expect(check).toThrow('malformed')
    }
  })

  it('gives a capability to test another implementation with, made by the code from what it says', () => {
    const { secret } = sampleBodies.hello
    const { capability } = sampleBodies.peers.peers[0]!
    const key = sampleKeys.bob
    expect(sectionOf('peers')).toContain(
      `session \`${capability.session}\`, name \`${capability.name}\` and key \`${key}\``,
    )
    expect(sectionOf('hello')).toContain(hexOf(secret!))
    // HMAC-SHA-256 (RFC 2104) as the page describes it, by the runtime's own.
    const texts = ['sotto capability 1', capability.session, capability.name, key].map((text) => Buffer.from(text))
    const proof = createHmac('sha256', secret!)
    for (const text of texts) proof.update(Uint8Array.of(text.length, 0, 0, 0)).update(text)
    expect(sectionOf('peers')).toContain(`"proof": {"bin": "${proof.digest('hex')}"}`)
  })

  it('says of few fields that they may be left out', () => {
    expect(messages.flatMap((message) => optionalIn(message).map((field) => `${message}.${field}`))).toEqual([
      'put.keep',
      'transfer.compress',
      'relay.compress',
      'putModel.keep',
    ])
  })

  it('has no section for a message that there is not', () => {
    expect([...described].sort()).toEqual([...messages, ...Object.keys(elsewhere)].sort())
  })

  it('lists every code of errors with its meaning', () => {
    expect(rowsOf('Codes of errors')).toEqual(Object.entries(codes).map(([code, { meaning }]) => [code, meaning]))
  })

  it('lists every operation with the tensors that it takes', () => {
    const rows = Object.entries(ops).map(([name, { inputs }]) => [
      name,
      inputs.map((input) => `\`${input}\``).join(', '),
    ])
    expect(rowsOf('Operations')).toEqual(rows)
  })

  it('states the default limits and the version', () => {
    const stated = rowsOf('Limits').map(([name, rest]) => {
      const value = rest.split(' | ')[0]!.replaceAll(/[ ms]/g, '')
      return [
        name,
        value
          .split('^')
          .map(Number)
          .reduce((base, exponent) => base ** exponent),
      ]
    })
    expect(Object.fromEntries(stated)).toEqual(defaultLimits)
    expect(page).toContain(`# The protocol, version ${PROTOCOL_VERSION}\n`)
  })

  it('keeps its tables unpadded: no cell is filled up with spaces', () => {
    const lines = page.split('\n').filter((line) => line.startsWith('|'))
    expect(lines.filter((line) => /(^\| {2}| {2}\|| \| {2,}|-{4,})/.test(line))).toEqual([])
  })
})
