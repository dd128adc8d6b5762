/** Payloads on their way: all of the sender's, of which the receiver can read those at ids of its own; and the other way back. */
import type { Conversation } from './channel.ts'
import { PsiKernels } from './kernels/wasm.ts'
import { crypt, KEY, pad, paddedBytes, unpad } from './payloads.ts'
import { randomBytes } from './random.ts'

/** Bytes of a message with tags, or payloads, about; bounds what either side holds of them. */
const PART = 2 ** 20
/** Records of so many bytes that travel in one message. */
export const perMessage = (each: number): number => Math.max(1, Math.floor(PART / each))

/** A list of records: how many, the keys of each that are hidden, and bytes of the longest payload. */
interface Records {
  readonly records: number
  readonly copies: number
  readonly longest: number
}

/**
 * Sends a payload for each place; those where there is none are noise.
 *
 * @param of.masks what hides the keys, {@link KEY} bytes for each copy of each place
 */
export async function sendPayloads(
  conversation: Conversation,
  of: Records & { readonly masks: Uint8Array; readonly payloadAt: (place: number) => Uint8Array | undefined },
): Promise<void> {
  const { records: total, copies, longest, masks, payloadAt } = of
  const kernels = new PsiKernels(0)
  const body = paddedBytes(longest)
  const each = copies * KEY + body
  const rows = perMessage(each)
  for (let from = 0; from < total; from += rows) {
    const n = Math.min(rows, total - from)
    const keys = randomBytes(KEY * n)
    const records = new Uint8Array(body * n)
    for (let i = 0; i < n; i++) {
      const payload = payloadAt(from + i)
      if (payload !== undefined) pad(records.subarray(body * i, body * (i + 1)), payload)
    }
    crypt(kernels, keys, records, body)
    const part = new Uint8Array(each * n)
    for (let i = 0; i < n; i++) {
      for (let at = 0; at < copies * KEY; at++) {
        part[each * i + at] = keys[KEY * i + (at % KEY)]! ^ masks[KEY * copies * (from + i) + at]!
      }
      part.set(records.subarray(body * i, body * (i + 1)), each * i + copies * KEY)
    }
    await conversation.send('payloads', part)
  }
  kernels.wipe()
}

/** What a receiver found: places of the sender's, ascending; its own id at each; and, of its ids, copy and key. */
interface Found {
  readonly places: Uint32Array
  readonly owners: Uint32Array
  readonly copies: Uint8Array
  readonly keys: Uint8Array
}

/** Takes the payloads at the places found, and lets the others pass. */
export async function readPayloads(conversation: Conversation, found: Found, of: Records): Promise<Uint8Array[]> {
  const { records: total, copies, longest } = of
  const kernels = new PsiKernels(0)
  const body = paddedBytes(longest)
  const each = copies * KEY + body
  const rows = perMessage(each)
  const payloads: Uint8Array[] = []
  let next = 0
  for (let from = 0; from < total; from += rows) {
    const n = Math.min(rows, total - from)
    const part = await conversation.expect('payloads', each * n)
    let end = next
    while (end < found.places.length && found.places[end]! < from + n) end++
    const keys = new Uint8Array(KEY * (end - next))
    const records = new Uint8Array(body * (end - next))
    for (let i = 0; i < end - next; i++) {
      const owner = found.owners[next + i]!
      const start = each * (found.places[next + i]! - from)
      const hidden = start + KEY * found.copies[owner]!
      for (let byte = 0; byte < KEY; byte++)
        keys[KEY * i + byte] = part[hidden + byte]! ^ found.keys[KEY * owner + byte]!
      records.set(part.subarray(start + copies * KEY, start + each), body * i)
    }
    crypt(kernels, keys, records, body)
    for (let i = 0; i < end - next; i++) payloads.push(payloadIn(conversation, records, body, i))
    next = end
  }
  kernels.wipe()
  return payloads
}

/** To those who know the ids already, payloads go as they are. */
export async function sendFound(
  conversation: Conversation,
  payloads: readonly Uint8Array[],
  longest: number,
): Promise<void> {
  const each = paddedBytes(longest)
  const rows = perMessage(each)
  for (let from = 0; from < payloads.length; from += rows) {
    const some = payloads.slice(from, from + rows)
    const part = new Uint8Array(each * some.length)
    for (const [i, payload] of some.entries()) pad(part.subarray(each * i, each * (i + 1)), payload)
    await conversation.send('foundPayloads', part)
  }
}

export async function readFound(conversation: Conversation, found: number, longest: number): Promise<Uint8Array[]> {
  const each = paddedBytes(longest)
  const rows = perMessage(each)
  const payloads: Uint8Array[] = []
  for (let from = 0; from < found; from += rows) {
    const n = Math.min(rows, found - from)
    const part = await conversation.expect('foundPayloads', each * n)
    for (let i = 0; i < n; i++) payloads.push(payloadIn(conversation, part, each, i))
  }
  return payloads
}

function payloadIn(conversation: Conversation, records: Uint8Array, each: number, index: number): Uint8Array {
  const payload = unpad(records.subarray(each * index, each * (index + 1)))
  return payload ?? conversation.refuse('a payload is malformed')
}
