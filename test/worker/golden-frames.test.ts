import { readFileSync } from 'node:fs'
import { codes, ops } from 'sotto'
import { describe, expect, it } from 'vitest'
import { decode, encode } from '../../src/worker/codec.ts'
import { handlers } from '../../src/worker/handlers.ts'
import { defaultLimits } from '../../src/worker/host.ts'
import { messageRow } from '../../src/worker/messages.ts'
import { type Frame, FrameKind, type MessageName, PROTOCOL_VERSION } from '../../src/worker/protocol.ts'
import { checkRequest } from '../../src/worker/schema.ts'
import { sampleBodies, sampleFrames } from './sample-frames.ts'

const page = readFileSync(new URL('../../PROTOCOL.md', import.meta.url), 'utf8')
const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

/** JSON as the page writes it: `{"bin": "…"}` is binary. */
const parse = (json: string): Frame =>
  JSON.parse(json, (_, value) =>
    value !== null && typeof value === 'object' && Object.keys(value).join() === 'bin'
      ? new Uint8Array(Buffer.from(value.bin, 'hex'))
      : value,
  )

const golden = [...page.matchAll(/```frame\n(.*)\n([0-9a-f\n]+)```/g)].map(([, json, hex]) => ({
  frame: parse(json!),
  hex: hex!.replaceAll('\n', ''),
}))
const messages = Object.keys(handlers) as MessageName[]
/** The part of the page about one message: up to the next heading. */
const sectionOf = (message: string): string =>
  page.split(/^##+ /m).find((part) => part.startsWith(`\`${message}\`\n`)) ?? ''
const rowsOf = (heading: string): string[][] => {
  const part = page.split(/^## /m).find((section) => section.startsWith(`${heading}\n`)) ?? ''
  return [...part.matchAll(/^\| `([^`]+)` \| (.*) \|$/gm)].map(([, name, rest]) => [name!, rest!])
}

describe('PROTOCOL.md', () => {
  it.each(
    golden.map(({ frame, hex }) => [`${frame[0]} ${frame[1]} ${String(frame[2]).slice(0, 20)}`, frame, hex] as const),
  )('shows the bytes of frame %s as they are written, and they are read as it says', (_, frame, hex) => {
    expect(hexOf(encode(frame))).toBe(hex)
    expect(decode(new Uint8Array(Buffer.from(hex, 'hex')))).toEqual(frame)
  })

  it('shows a frame of every kind and of every message, those that the code is typed by', () => {
    expect(golden.map(({ frame }) => JSON.stringify(frame)).sort()).toEqual(
      sampleFrames.map((frame) => JSON.stringify(frame)).sort(),
    )
    expect([...new Set(golden.map(({ frame }) => frame[0]))].sort()).toEqual(Object.values(FrameKind).sort())
    const shown = golden.flatMap(({ frame }) => (frame[0] === FrameKind.request ? frame[2] : []))
    expect(shown.sort()).toEqual([...messages].sort())
  })

  it.each(messages)('describes %s, every field of it, and no other', (message) => {
    const section = sectionOf(message)
    expect(section).toMatch(/^(Told|Asked)[.,;]/m)
    const described = [...section.matchAll(/^\| `(\w+)` \|/gm)].map(([, field]) => field)
    const common = 'pass' in sampleBodies[message] ? ['pass', 'end', 'retain'] : []
    expect([...described, ...common].sort()).toEqual(Object.keys(sampleBodies[message]).sort())
  })

  it.each(messages)('shows a body of %s that the worker takes, and takes no other field', (message) => {
    expect(checkRequest(message, messageRow(message)!.schema, sampleBodies[message])).toEqual(sampleBodies[message])
    expect(() => checkRequest(message, messageRow(message)!.schema, { ...sampleBodies[message], extra: 1 })).toThrow(
      'malformed',
    )
    for (const field of Object.keys(sampleBodies[message])) {
      const { [field as never]: _, ...rest } = sampleBodies[message]
      expect(() => checkRequest(message, messageRow(message)!.schema, rest)).toThrow('malformed')
    }
  })

  it('has no section for a message that there is not', () => {
    const named = [...page.matchAll(/^### `(\w+)`$/gm)].map(([, name]) => name)
    expect(named.sort()).toEqual([...messages].sort())
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
    const numbers: Record<string, number> = { '2^28': 2 ** 28 }
    const stated = rowsOf('Limits').map(([name, rest]) => {
      const value = rest!.split(' | ')[0]!
      return [name, numbers[value] ?? Number(value.replaceAll(/[ ms]/g, ''))]
    })
    expect(Object.fromEntries(stated)).toEqual(defaultLimits)
    expect(page).toContain(`# The protocol, version ${PROTOCOL_VERSION}\n`)
  })
})
