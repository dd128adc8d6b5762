/** What two ends tell each other before they begin: each what it was asked for, which must be the same on both sides. */
import * as v from 'valibot'
import { sottoError } from '../errors.ts'
import { encodeValue, readValues } from '../worker/codec.ts'
import type { Conversation } from './channel.ts'
import { LARGEST_SET } from './cuckoo.ts'
import { LARGEST_PAYLOAD } from './payloads.ts'
import { randomBytes } from './random.ts'
import { sessionId } from './session-id.ts'

export type Side = 'first' | 'second'

const VERSION = 1
const count = v.pipe(v.number(), v.integer(), v.minValue(0))
const hello = v.strictObject({
  version: count,
  nonce: v.pipe(v.instance(Uint8Array), v.length(32)),
  side: v.picklist(['first', 'second']),
  protocol: v.pipe(v.string(), v.maxLength(16)),
  reveal: v.pipe(v.string(), v.maxLength(16)),
  form: v.pipe(v.string(), v.maxLength(64)),
  size: count,
  payload: v.pipe(count, v.maxValue(LARGEST_PAYLOAD)),
})
export type Hello = Omit<v.InferOutput<typeof hello>, 'nonce'> & { readonly nonce: Uint8Array }
/** Bytes of a hello at most. */
const HELLO = 1024

export const helloOf = (terms: Omit<Hello, 'version' | 'nonce'>): Hello => ({
  version: VERSION,
  nonce: randomBytes(32),
  ...terms,
})

/**
 * Tells the peer what this end wants, and takes what the peer wants.
 *
 * @param maxPeerSize ids of the peer's at most
 * @returns the peer's terms, and the id of the session
 * @throws StateError `ERR_TERMS` when they differ; SessionError `ERR_LIMIT` for a set that is too large; ProtocolError
 * `ERR_VERSION`, `ERR_PROTOCOL`
 */
export async function exchangeTerms(
  conversation: Conversation,
  own: Hello,
  maxPeerSize: number = LARGEST_SET,
): Promise<{ theirs: Hello; id: Uint8Array }> {
  await conversation.send('hello', encodeValue(own))
  const theirs = readHello(conversation, await conversation.expect('hello', { from: 1, to: HELLO }))
  const differ = (what: string): never => {
    throw sottoError('ERR_TERMS', `${conversation.peer} was asked for another intersection: ${what} differ`, { what })
  }
  if (theirs.version !== VERSION) throw sottoError('ERR_VERSION', `${conversation.peer} speaks another version of it`)
  // A peer that repeats what it is sent has no part of its own in the session.
  if (theirs.nonce.every((byte, i) => byte === own.nonce[i])) conversation.refuse('it sends back what it is sent')
  if (theirs.side === own.side) {
    throw sottoError('ERR_TERMS', `${conversation.peer} takes the ${own.side} side too: one is first, the other second`)
  }
  if (theirs.protocol !== own.protocol) differ('protocols')
  if (theirs.reveal !== own.reveal) differ('who learns what')
  if (theirs.form !== own.form) differ('the rules or columns of ids')
  if (theirs.reveal === 'size' && theirs.payload > 0) conversation.refuse('payloads go with no sizes')
  if (theirs.size > maxPeerSize) {
    throw sottoError('ERR_LIMIT', `${conversation.peer} has ${theirs.size} ids, and ${maxPeerSize} is the most`)
  }
  const [first, second] = own.side === 'first' ? [own, theirs] : [theirs, own]
  return { theirs, id: sessionId(first.nonce, second.nonce, `${own.protocol} ${own.reveal} ${own.form}`) }
}

function readHello(conversation: Conversation, bytes: Uint8Array): Hello {
  let values: unknown[]
  try {
    values = readValues(bytes)
  } catch {
    return conversation.refuse('what it begins with is malformed')
  }
  const result = v.safeParse(hello, values[0])
  return result.success && values.length === 1 ? result.output : conversation.refuse('what it begins with is malformed')
}
