/**
 * The intersection of two owners' sets over a channel: what both agree on, who takes which part, and what each learns.
 *
 * One end is the receiver of the oblivious PRF and gets its values at its own ids; the sender evaluates the PRF at its own,
 * and sends tags of all values in a random order. What is in both sets the receiver knows by its tags (KKRT §4.2). If both
 * are to know, it answers with the places of those tags: their order, which the sender alone drew, is the order of the
 * result on both sides.
 *
 * Each learns how many ids the other has, or says it has (`padTo`), and what it was agreed to learn; semi-honest.
 */
import { sottoError } from '../errors.ts'
import { checkOptions, numberOption } from '../options.ts'
import { type Channel, Conversation, orGiveUp, type Traffic } from './channel.ts'
import { LARGEST_SET } from './cuckoo.ts'
import { curve } from './curve/index.ts'
import type { IdSet } from './ids.ts'
import { CHUNK } from './kernels/wasm.ts'
import { kkrt } from './kkrt.ts'
import { type ObliviousPrf, OUTPUT, type Session } from './oblivious-prf.ts'
import { perMessage, readFound, readPayloads, sendFound, sendPayloads } from './payload-messages.ts'
import { KEY, KEY_AT, longestOf } from './payloads.ts'
import { randomBytes, randomOrder } from './random.ts'
import { cutTags, TagIndex, tagBytes } from './tags.ts'
import { exchangeTerms, type Hello, helloOf, type Side } from './terms.ts'

/** The oblivious PRFs that there are. */
export const protocols = { fast: kkrt, curve } as const satisfies Record<string, ObliviousPrf>
export type PsiProtocol = keyof typeof protocols

/** Who learns what: both the intersection; the first side alone; or both how many ids are shared, and not which. */
export const reveals = ['both', 'one', 'size'] as const
export type Reveal = (typeof reveals)[number]

export interface PsiOptions {
  /** Which end this is: one is the first, the other the second. */
  readonly side: Side
  /** Default: `both`. */
  readonly reveal?: Reveal
  /**
   * `fast`, from oblivious transfer (KKRT), or `curve`, from the Diffie–Hellman assumption alone, which takes half the bytes
   * and a hundred times as long. Default: `fast`, but `curve` for `reveal: 'size'`, which it alone can do.
   */
  readonly protocol?: PsiProtocol
  /** Goes to the other side for the ids that it has too: of each row, up to 64 kB. Padded to the longest. */
  readonly payloads?: readonly Uint8Array[]
  /** Pretends to have so many ids. Default: as many as there are. */
  readonly padTo?: number
  /** Ids of the peer's at most. Default: 2^24. */
  readonly maxPeerSize?: number
  /** Threads for `curve`; 0 for none. Default: as many as there are processors, none for small sets. */
  readonly threads?: number
  /** Milliseconds to wait for each message of the peer's. Default: a minute. */
  readonly timeout?: number
  readonly signal?: AbortSignal
  /** Told how far it has come, from 0 to 1. */
  readonly onProgress?: (done: number) => void
  /** The peer's name, for messages. */
  readonly peer?: string
}

const OPTIONS = [
  ...['side', 'reveal', 'protocol', 'payloads', 'padTo', 'maxPeerSize', 'threads', 'timeout', 'signal'],
  ...['onProgress', 'peer'],
]

export interface PsiResult {
  /** How many ids are shared. Undefined for a side that learns nothing. */
  readonly size: number | undefined
  /** The rows of the ids shared, in the same order on both sides. Undefined for a side that does not learn them. */
  readonly rows: Uint32Array | undefined
  /** What the other side added to them, in that order; undefined where it added nothing. */
  readonly payloads: readonly Uint8Array[] | undefined
  /** Ids of the peer's, as it says. */
  readonly peerSize: number
  /** Rows that repeat the id of an earlier one, and rows without an id: neither are in the intersection. */
  readonly duplicates: Uint32Array
  readonly empty: number
  readonly traffic: Traffic
}

/** Of both ends, what the other was told, and what both make of it. */
interface Agreed {
  readonly own: Hello
  readonly theirs: Hello
  readonly isReceiver: boolean
  readonly prf: ObliviousPrf
  readonly session: Session
  readonly bytes: number
}

/**
 * Intersects this side's ids with the peer's, which does the same at the other end.
 *
 * @returns what this side learns
 * @throws ProtocolError `ERR_PROTOCOL` for a peer that does not keep to the protocol; StateError `ERR_TERMS` for one that was
 * asked for something else; SessionError `ERR_TIMEOUT`, `ERR_ABORTED`, `ERR_LIMIT`, `ERR_PARTY_LOST`, and what the channel
 * fails with. The peer is told the code. Nothing of the intersection is known before the last message but one
 */
export async function intersectOver(channel: Channel, ids: IdSet, options: PsiOptions): Promise<PsiResult> {
  const terms = await orGiveUp([channel], () => checkTerms(ids, options))
  const { peer, timeout, signal } = options
  const conversation = new Conversation(channel, {
    ...(peer === undefined ? {} : { peer }),
    ...(timeout === undefined ? {} : { timeout }),
    ...(signal === undefined ? {} : { signal }),
  })
  try {
    const agreed = await agree(conversation, terms, options)
    const learnt = await (agreed.isReceiver ? receive : send)(conversation, ids, agreed, options.payloads)
    const { duplicates, empty } = ids
    return { ...learnt, peerSize: agreed.theirs.size, duplicates, empty, traffic: conversation.traffic }
  } catch (error) {
    await conversation.giveUp(error)
    throw error
  }
}

/** What this side says that it wants. */
function checkTerms(ids: IdSet, options: PsiOptions): Hello {
  const entry = 'intersection'
  checkOptions(entry, options, OPTIONS)
  const { side, reveal = 'both', protocol = reveal === 'size' ? 'curve' : 'fast', payloads, padTo = ids.size } = options
  const oneOf = (option: string, value: unknown, known: readonly string[]): void => {
    if (known.includes(value as string)) return
    throw sottoError('ERR_ARGUMENT_VALUE', `${entry}: "${option}" expected one of ${known.join(', ')}`, { option })
  }
  oneOf('side', side, ['first', 'second'])
  oneOf('reveal', reveal, reveals)
  oneOf('protocol', protocol, Object.keys(protocols))
  numberOption(entry, 'padTo', padTo, { from: ids.size, to: LARGEST_SET, integer: true })
  if (options.threads !== undefined) numberOption(entry, 'threads', options.threads, { from: 0, to: 64, integer: true })
  if (options.timeout !== undefined) numberOption(entry, 'timeout', options.timeout, { above: 0 })
  if (options.maxPeerSize !== undefined) {
    numberOption(entry, 'maxPeerSize', options.maxPeerSize, { from: 0, to: LARGEST_SET, integer: true })
  }
  if (reveal === 'size' && protocol === 'fast') {
    throw sottoError('ERR_ARGUMENT_VALUE', `${entry}: the protocol "fast" shows which ids are shared; take "curve"`)
  }
  if (payloads !== undefined) {
    if (payloads.length !== ids.total) {
      throw sottoError('ERR_ARGUMENT_VALUE', `${entry}: ${ids.total} payloads expected, got ${payloads.length}`)
    }
    if (reveal === 'size' || (reveal === 'one' && side === 'first')) {
      throw sottoError('ERR_ARGUMENT_VALUE', `${entry}: payloads would go to a side that does not learn the ids`)
    }
  }
  const payload = payloads === undefined ? 0 : Math.max(1, longestOf(payloads))
  return helloOf({ side, protocol, reveal, form: ids.form, size: padTo, payload })
}

/** Both say what they want at once; it must be the same. */
async function agree(conversation: Conversation, own: Hello, options: PsiOptions): Promise<Agreed> {
  const { maxPeerSize, onProgress, threads } = options
  const { theirs, id } = await exchangeTerms(conversation, own, maxPeerSize)
  const isFirst = own.side === 'first'
  const [first, second] = isFirst ? [own, theirs] : [theirs, own]
  // Who learns alone receives. Where both do, the smaller set takes the part that costs more for each id.
  const firstReceives = own.reveal === 'one' || first.size <= second.size
  const [receiverSize, senderSize] = firstReceives ? [first.size, second.size] : [second.size, first.size]
  return {
    own,
    theirs,
    isReceiver: isFirst === firstReceives,
    prf: protocols[own.protocol as PsiProtocol],
    session: { id, receiverSize, senderSize, isShuffled: own.reveal === 'size', threads, onProgress },
    bytes: tagBytes(receiverSize, senderSize),
  }
}

type Learnt = Pick<PsiResult, 'size' | 'rows' | 'payloads'>

async function receive(
  conversation: Conversation,
  ids: IdSet,
  { own, theirs, prf, session, bytes }: Agreed,
  payloads: readonly Uint8Array[] | undefined,
): Promise<Learnt> {
  const slots = session.isShuffled === true ? session.receiverSize : ids.size
  const tags = new Uint8Array(bytes * slots)
  const keys = new Uint8Array(theirs.payload > 0 ? KEY * slots : 0)
  const copies = await prf.receive(conversation, ids.prints, session, (places, outputs) => {
    cutTags(tags, bytes, places, outputs)
    if (keys.length > 0) cutKeys(keys, places, outputs)
  })
  const { places, owners } = await match(conversation, new TagIndex(tags, copies, bytes), slots, session, prf, bytes)
  const theirPayloads =
    theirs.payload > 0
      ? await readPayloads(
          conversation,
          { places, owners, copies, keys },
          {
            records: session.senderSize,
            copies: prf.copies,
            longest: theirs.payload,
          },
        )
      : undefined
  if (own.reveal === 'size') {
    await conversation.send('found', Uint8Array.from(new Uint8Array(Uint32Array.of(places.length).buffer)))
    return { size: places.length, rows: undefined, payloads: undefined }
  }
  const rows = owners.map((id) => ids.rows[id]!)
  if (own.reveal === 'both') {
    await conversation.send('found', new Uint8Array(places.buffer, places.byteOffset, places.byteLength))
    if (payloads !== undefined)
      await sendFound(
        conversation,
        [...rows].map((row) => payloads[row]!),
        own.payload,
      )
  } else await conversation.send('found')
  return { size: rows.length, rows, payloads: theirPayloads }
}

function cutKeys(keys: Uint8Array, places: Uint32Array, outputs: Uint8Array): void {
  for (let i = 0; i < places.length; i++) {
    keys.set(outputs.subarray(OUTPUT * i + KEY_AT, OUTPUT * i + KEY_AT + KEY), KEY * places[i]!)
  }
}

/** Places of the sender's tags that are this side's too, ascending, and which of this side's ids each is. */
async function match(
  conversation: Conversation,
  index: TagIndex,
  slots: number,
  { senderSize }: Session,
  { copies }: ObliviousPrf,
  bytes: number,
): Promise<{ places: Uint32Array; owners: Uint32Array }> {
  const most = Math.min(slots, senderSize)
  const [places, owners] = [new Uint32Array(most), new Uint32Array(most)]
  const isFound = new Uint8Array(slots)
  let found = 0
  const each = copies * bytes
  const rows = perMessage(each)
  for (let from = 0; from < senderSize; from += rows) {
    const n = Math.min(rows, senderSize - from)
    const part = await conversation.expect('tags', each * n)
    for (let i = 0; i < n; i++) {
      let owner = -1
      for (let copy = 0; copy < copies; copy++) {
        const id = index.find(part, each * i + bytes * copy, copy)
        if (id < 0) continue
        // An id has one place, and a place one id: another is a tag sent again.
        if (owner >= 0 || isFound[id] === 1) conversation.refuse('a tag came twice')
        owner = id
        isFound[id] = 1
      }
      if (owner < 0) continue
      places[found] = from + i
      owners[found++] = owner
    }
  }
  return { places: places.slice(0, found), owners: owners.slice(0, found) }
}

async function send(
  conversation: Conversation,
  ids: IdSet,
  { own, theirs, prf, session, bytes }: Agreed,
  payloads: readonly Uint8Array[] | undefined,
): Promise<Learnt> {
  const { copies } = prf
  const { senderSize } = session
  // Where the tags of each id go: among them, what pads the set.
  const order = randomOrder(senderSize)
  const tags = randomBytes(bytes * copies * senderSize)
  const longest = payloads === undefined ? 0 : own.payload
  // What pads the set has no value to hide a key under; noise does as well.
  const masks = randomBytes(longest > 0 ? KEY * copies * senderSize : 0)
  const to = new Uint32Array(CHUNK)
  await prf.send(conversation, ids.prints, session, (places, outputs) => {
    for (let i = 0; i < places.length; i++) {
      const id = Math.floor(places[i]! / copies)
      to[i] = copies * order[id]! + (places[i]! - copies * id)
    }
    const at = to.subarray(0, places.length)
    cutTags(tags, bytes, at, outputs)
    if (masks.length > 0) cutKeys(masks, at, outputs)
  })
  const each = bytes * copies * perMessage(bytes * copies)
  for (let at = 0; at < tags.length; at += each) await conversation.send('tags', tags.subarray(at, at + each))
  const idAt = new Uint32Array(senderSize).fill(NOBODY)
  for (let id = 0; id < ids.size; id++) idAt[order[id]!] = id
  if (payloads !== undefined) {
    const payloadAt = (place: number) => (idAt[place] === NOBODY ? undefined : payloads[ids.rows[idAt[place]!]!]!)
    await sendPayloads(conversation, { records: senderSize, copies, longest, masks, payloadAt })
  }

  if (own.reveal === 'one') {
    await conversation.expect('found', 0)
    return { size: undefined, rows: undefined, payloads: undefined }
  }
  if (own.reveal === 'size') {
    const [size] = words(await conversation.expect('found', 4))
    if (size! > Math.min(ids.size, theirs.size)) conversation.refuse('more ids were found than there are')
    return { size, rows: undefined, payloads: undefined }
  }
  const most = Math.min(ids.size, theirs.size)
  const found = words(await conversation.expect('found', { to: 4 * most, of: 4 }))
  for (let i = 0; i < found.length; i++) {
    const place = found[i]!
    if (place >= senderSize || idAt[place] === NOBODY) conversation.refuse('what was found is not there')
    if (i > 0 && place <= found[i - 1]!) conversation.refuse('what was found is out of order, or there twice')
  }
  const rows = found.map((place) => ids.rows[idAt[place]!]!)
  const theirPayloads = theirs.payload > 0 ? await readFound(conversation, rows.length, theirs.payload) : undefined
  return { size: rows.length, rows, payloads: theirPayloads }
}

const NOBODY = 0xffffffff
const words = (bytes: Uint8Array): Uint32Array => new Uint32Array(bytes.slice().buffer)
