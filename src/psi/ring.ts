/**
 * The intersection of three sets or more, by owners in a ring: what is in all of them, and nothing of what is in some (Wu,
 * Yuen and Chan, "O-Ring and K-Star", USENIX Security 2024, the ring; from the programmable oblivious PRFs of Kolesnikov,
 * Matania, Pinkas, Rosulek and Trieu, CCS '17).
 *
 * The first owner draws a random value for each of its ids. Each owner lets the next look up, at its own ids, the value that
 * it has itself: what the next finds at an id that both have is that value, and noise at any other; it cannot tell one from
 * the other. The last lets the first look up, who finds its own value again at the ids that all have. If all are to know,
 * those values go round the ring: each owner knows its own.
 *
 * Semi-honest, and no two owners may collude: two that have one between them learn which of the ids that they share it has.
 */
import { sottoError } from '../errors.ts'
import { checkOptions, numberOption } from '../options.ts'
import { type Channel, Conversation, LARGEST, orGiveUp, type Traffic } from './channel.ts'
import { FINGERPRINT, type IdSet } from './ids.ts'
import { decodeTable, encodeTable, tableBytes, VALUE } from './key-value-store.ts'
import { type ObliviousPrf, OUTPUT, type Session } from './oblivious-prf.ts'
import { randomBytes, randomOrder } from './random.ts'
import { TagIndex } from './tags.ts'
import { exchangeTerms, helloOf } from './terms.ts'
import { type PsiOptions, type PsiProtocol, type PsiResult, protocols, type Reveal } from './two-party.ts'

export interface RingOptions extends Omit<PsiOptions, 'side' | 'payloads' | 'peer'> {
  /** Place in the ring, from 0; the first learns in any case. */
  readonly index: number
  /** How many owners there are: at least three. */
  readonly parties: number
  /** The names of the next and the one before, for messages. */
  readonly names?: { readonly next: string; readonly previous: string }
}

const OPTIONS = [
  ...['index', 'parties', 'names', 'reveal', 'protocol', 'padTo', 'maxPeerSize', 'threads', 'timeout', 'signal'],
  'onProgress',
]

export type RingResult = Omit<PsiResult, 'payloads' | 'peerSize'>

/** Ids of an owner at most: the values of all may have to travel in one message. */
const MOST_IDS = LARGEST / VALUE

/** Bytes of a table that travel in one message. */
const PART = 2 ** 20

/** Checks what is asked for. */
function checkRing(ids: IdSet, options: RingOptions): { reveal: Reveal; protocol: PsiProtocol; padTo: number } {
  const entry = 'intersection'
  checkOptions(entry, options, OPTIONS)
  const { index, parties, reveal = 'both', protocol = 'fast', padTo = ids.size, timeout } = options
  numberOption(entry, 'parties', parties, { from: 3, to: 256, integer: true })
  numberOption(entry, 'index', index, { from: 0, below: parties, integer: true })
  numberOption(entry, 'padTo', padTo, { from: ids.size, to: MOST_IDS, integer: true })
  if (timeout !== undefined) numberOption(entry, 'timeout', timeout, { above: 0 })
  if (!Object.hasOwn(protocols, protocol) || (reveal !== 'both' && reveal !== 'one')) {
    throw sottoError(
      'ERR_ARGUMENT_VALUE',
      `${entry}: of more than two sets, "reveal" is both or one, and "protocol" one of ${Object.keys(protocols).join(', ')}`,
    )
  }
  return { reveal, protocol, padTo }
}

/**
 * Intersects this owner's ids with those of all others in the ring.
 *
 * @param next the channel to the owner after this one, of the last to the first
 * @param previous to the owner before
 * @throws as `intersectOver` does; both neighbours are told the code
 */
export async function intersectInRing(
  { next, previous }: { readonly next: Channel; readonly previous: Channel },
  ids: IdSet,
  options: RingOptions,
): Promise<RingResult> {
  const { reveal, protocol, padTo } = await orGiveUp([next, previous], () => checkRing(ids, options))
  const { index, parties, names, maxPeerSize = MOST_IDS, timeout, signal, threads, onProgress } = options
  const wait = { ...(timeout === undefined ? {} : { timeout }), ...(signal === undefined ? {} : { signal }) }
  // Whoever is further round has more to wait for: all before it compute first.
  const ahead = new Conversation(next, { ...(names ? { peer: names.next } : {}), ...wait })
  const behind = new Conversation(previous, { ...(names ? { peer: names.previous } : {}), ...wait })
  const prf = protocols[protocol]
  const terms = (side: 'first' | 'second') =>
    helloOf({ side, protocol, reveal: `${reveal} of ${parties}`, form: ids.form, size: padTo, payload: 0 })
  try {
    const [forth, back] = await all([
      exchangeTerms(ahead, terms('first'), maxPeerSize),
      exchangeTerms(behind, terms('second'), maxPeerSize),
    ])
    const values = new Values()
    const sent = { id: forth.id, senderSize: padTo, receiverSize: forth.theirs.size, threads }
    const got = { id: back.id, senderSize: back.theirs.size, receiverSize: padTo, threads, onProgress }
    const own = index === 0 ? randomBytes(VALUE * ids.size) : undefined
    if (own !== undefined) values.set(own)
    const [, found] = await all([
      program(ahead, prf, ids, sent, values),
      lookUp(behind, prf, ids, got).then((looked) => {
        if (own === undefined) values.set(looked)
        return looked
      }),
    ])
    const rows = await conclude({ ahead, behind }, ids, { own, found, reveal, index, parties })
    const { duplicates, empty } = ids
    return { size: rows?.length, rows, duplicates, empty, traffic: sum(ahead.traffic, behind.traffic) }
  } catch (error) {
    await Promise.all([ahead.giveUp(error), behind.giveUp(error)])
    throw error
  }
}

/** The first failure of several that go on at once; those of the others are not lost on anybody. */
const all = <T extends readonly Promise<unknown>[]>(work: readonly [...T]) => Promise.all(work)

/** Values that come later than the work that needs them may begin. */
class Values {
  readonly ready: Promise<Uint8Array>
  #resolve!: (values: Uint8Array) => void
  constructor() {
    this.ready = new Promise((resolve) => {
      this.#resolve = resolve
    })
  }
  set(values: Uint8Array): void {
    this.#resolve(values)
  }
}

/** Lets the next look up this owner's values: by a table whose keys only the PRF gives, with what else it gives taken off. */
async function program(
  conversation: Conversation,
  prf: ObliviousPrf,
  ids: IdSet,
  session: Session,
  values: Values,
): Promise<void> {
  const { copies } = prf
  const keys = new Uint8Array(VALUE * copies * ids.size)
  const masks = new Uint8Array(keys.length)
  await prf.send(conversation, ids.prints, session, (places, outputs) => split(places, outputs, keys, masks))
  const own = await values.ready
  // One value for each copy: the next has one of them, and only it knows which.
  for (let at = 0; at < masks.length; at++) {
    const id = Math.floor(at / (VALUE * copies))
    masks[at]! ^= own[VALUE * id + (at % VALUE)]!
  }
  const table = encodeTable(keys, masks, session.id, copies * session.senderSize)
  for (let at = 0; at < table.length; at += PART) await conversation.send('table', table.subarray(at, at + PART))
}

/** What the one before has at this owner's ids. */
async function lookUp(
  conversation: Conversation,
  prf: ObliviousPrf,
  ids: IdSet,
  session: Session,
): Promise<Uint8Array> {
  const keys = new Uint8Array(VALUE * ids.size)
  const masks = new Uint8Array(VALUE * ids.size)
  await prf.receive(conversation, ids.prints, session, (places, outputs) => split(places, outputs, keys, masks))
  const size = prf.copies * session.senderSize
  const table = new Uint8Array(tableBytes(size))
  for (let at = 0; at < table.length; at += PART) {
    table.set(await conversation.expect('table', Math.min(PART, table.length - at)), at)
  }
  const found = decodeTable(table, keys, session.id, size)
  for (let at = 0; at < found.length; at++) found[at]! ^= masks[at]!
  return found
}

/** Half of each output is a key, half hides a value. */
function split(places: Uint32Array, outputs: Uint8Array, keys: Uint8Array, masks: Uint8Array): void {
  for (let i = 0; i < places.length; i++) {
    const from = OUTPUT * i
    keys.set(outputs.subarray(from, from + VALUE), VALUE * places[i]!)
    masks.set(outputs.subarray(from + VALUE, from + 2 * VALUE), VALUE * places[i]!)
  }
}

interface Ending {
  /** The first owner's values; undefined elsewhere. */
  readonly own: Uint8Array | undefined
  readonly found: Uint8Array
  readonly reveal: Reveal
  readonly index: number
  readonly parties: number
}

/** The rows in the intersection, in the first owner's random order; undefined for who does not learn them. */
async function conclude(
  { ahead, behind }: { ahead: Conversation; behind: Conversation },
  ids: IdSet,
  { own, found, reveal, index, parties }: Ending,
): Promise<Uint32Array | undefined> {
  if (own !== undefined) {
    const shared = randomOrder(ids.size).filter((id) => {
      let same = 0
      while (same < VALUE && own[VALUE * id + same] === found[VALUE * id + same]) same++
      return same === VALUE
    })
    await pass(ahead, reveal === 'both' ? valuesAt(own, shared) : new Uint8Array(0))
    // It comes back when all have it.
    await behind.expect('found', 0)
    return shared.map((id) => ids.rows[id]!)
  }
  const shared = await behind.expect('found', { to: VALUE * ids.size, of: VALUE })
  const known = new TagIndex(found, new Uint8Array(ids.size), VALUE)
  const places = new Uint32Array(shared.length / VALUE)
  const isKnown = new Uint8Array(ids.size)
  for (let i = 0; i < places.length; i++) {
    const id = known.find(shared, VALUE * i, 0)
    if (id < 0 || isKnown[id] === 1) behind.refuse('a value of an id that is none, or came twice')
    isKnown[id] = 1
    places[i] = id
  }
  await pass(ahead, index === parties - 1 ? new Uint8Array(0) : shared)
  return reveal === 'both' ? places.map((id) => ids.rows[id]!) : undefined
}

const pass = (conversation: Conversation, values: Uint8Array) => conversation.send('found', values)

function valuesAt(values: Uint8Array, places: Uint32Array): Uint8Array {
  const out = new Uint8Array(VALUE * places.length)
  for (const [i, place] of places.entries()) out.set(values.subarray(VALUE * place, VALUE * (place + 1)), VALUE * i)
  return out
}

const sum = (a: Traffic, b: Traffic): Traffic => ({
  bytesSent: a.bytesSent + b.bytesSent,
  bytesReceived: a.bytesReceived + b.bytesReceived,
  turns: a.turns + b.turns,
})

if (VALUE !== FINGERPRINT || OUTPUT !== 2 * VALUE) throw new Error('an output is a key and what hides a value')
