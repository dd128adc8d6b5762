/** PROTOCOL.md, taken apart: what tests hold the code to. */
import { readFileSync } from 'node:fs'
import type { Frame } from '../src/worker/protocol.ts'

export const page = readFileSync(new URL('../PROTOCOL.md', import.meta.url), 'utf8')

/** JSON as the page writes it: `{"bin": "…"}` is binary. */
const parse = (json: string): Frame =>
  JSON.parse(json, (_, value) =>
    value !== null && typeof value === 'object' && Object.keys(value).join() === 'bin'
      ? new Uint8Array(Buffer.from(value.bin, 'hex'))
      : value,
  )

/** Frames that the page shows, with their bytes. */
export const golden = [...page.matchAll(/```frame\n(.*)\n([0-9a-f\n]+)```/g)].map(([, json, hex]) => ({
  frame: parse(json!),
  hex: hex!.replaceAll('\n', ''),
}))

export const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

/** The part of the page about one message: up to the next heading. */
export const sectionOf = (message: string): string =>
  page.split(/^##+ /m).find((part) => part.startsWith(`\`${message}\`\n`)) ?? ''

/** Fields of a message that its section describes. */
export const fieldsOf = (message: string): string[] =>
  [...sectionOf(message).matchAll(/^\| `(\w+)` \| .*$/gm)].map(([, field]) => field!)

/** Messages that have a section. */
export const described = [...page.matchAll(/^### `(\w+)`$/gm)].map(([, name]) => name!)

/** Rows of the tables under a heading whose first cells are code: that, and the rest of the row. */
export function rowsOf(heading: string): [name: string, rest: string][] {
  const part = page.split(/^###? /m).find((section) => section.startsWith(`${heading}\n`)) ?? ''
  return [...part.matchAll(/^\| `([^`]+)` \| (.*) \|$/gm)].map(([, name, rest]) => [name!, rest!])
}
