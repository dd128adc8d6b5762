/**
 * The batched oblivious PRF of Kolesnikov, Kumaresan, Rosulek and Trieu ("Efficient Batched Oblivious PRF with Applications
 * to Private Set Intersection", CCS '16, figure 2), for ids in cuckoo tables (their section 4.2): the receiver puts each id
 * into one of three bins and has one value for each bin; the sender has one for each id and each of its three bins.
 *
 * The pseudo-random code is four ciphers of AES-128 with public keys, 448 bits of what they make: any two code words
 * differ in fewer than 128 with a probability of 2^-66, and 3 · 2^24 pairs meet at most. Semi-honest; the hash is BLAKE2s.
 *
 * For each bin 56 bytes go from the receiver to the sender, 90 for each of its ids.
 */
import type { Conversation } from './channel.ts'
import { arrange, binsFor, EMPTY, PLACES, placesOf, STEP } from './cuckoo.ts'
import { AesBlocks, AesStream } from './kernels/aes.ts'
import { BLOCK, blake2sState, CHUNK, CODES, DIGEST, PsiKernels, ROW, WIDTH } from './kernels/wasm.ts'
import { forSession, type ObliviousPrf, type Session, type Sink } from './oblivious-prf.ts'
import { randomBytes } from './random.ts'
import { ristretto } from './ristretto.ts'
import { receiveSeeds, sendSeeds } from './transfers.ts'

/** Rows that are worked on, and sent, at once: 3.7 MB. */
const ROWS = 65_536

const utf8 = new TextEncoder()
const itemState = blake2sState(utf8.encode('sotto it'))
const prfState = (session: Uint8Array) => blake2sState(utf8.encode('sotto pf'), session.subarray(0, 8))

/** Ids of one session: a block that the code is of, and the bins it may be in. */
interface Items {
  readonly count: number
  /** Four words each. */
  readonly blocks: Uint32Array
  /** {@link PLACES} bins each. */
  readonly places: Uint32Array
}

function itemsOf(prints: Uint8Array, { id }: Session, bins: number): Items {
  const digests = forSession(prints, id, itemState)
  const count = digests.length / DIGEST
  const words = new Uint32Array(digests.buffer)
  const blocks = new Uint32Array(4 * count)
  const drawn = new Uint32Array(PLACES * count)
  for (let i = 0; i < count; i++) {
    for (let word = 0; word < 4; word++) blocks[4 * i + word] = words[8 * i + word]!
    for (let place = 0; place < PLACES; place++) drawn[PLACES * i + place] = words[8 * i + 4 + place]!
  }
  return { count, blocks, places: placesOf(drawn, bins) }
}

/** The ciphers of the code: their keys are the session's, and public. */
function codeOf(session: Uint8Array): (blocks: Uint8Array) => Uint8Array[] {
  const keys = forSession(
    new Uint8Array(BLOCK * CODES).map((_, i) => (i % BLOCK === 0 ? i / BLOCK : 0)),
    session,
    keyState,
  )
  const ciphers = Array.from({ length: CODES }, (_, i) => new AesBlocks(keys.slice(DIGEST * i, DIGEST * i + BLOCK)))
  return (blocks) => ciphers.map((cipher) => cipher.encrypt(blocks))
}
const keyState = blake2sState(utf8.encode('sotto ck'))

/** The blocks of rows: where each begins, and how many it has. */
function* rowBlocks(bins: number): Generator<{ first: number; rows: number }> {
  for (let first = 0; first < bins; first += ROWS) yield { first, rows: Math.min(ROWS, bins - first) }
}
const kernelsFor = (bins: number) => new PsiKernels(Math.min(ROWS, bins))

/** Lets others of this process have their turn. */
const breath = () => new Promise<void>((resolve) => (globalThis.setImmediate ?? setTimeout)(resolve))

/** Writes the next bytes of each stream into the columns, and turns them. */
function expand(kernels: PsiKernels, streams: readonly AesStream[], matrix: 0 | 1, rows: number): void {
  for (const [index, stream] of streams.entries()) stream.fill(kernels.column(index, rows / 8))
  kernels.turn(matrix, rows)
}

async function receive(
  conversation: Conversation,
  prints: Uint8Array,
  session: Session,
  sink: Sink,
): Promise<Uint8Array> {
  const bins = binsFor(session.receiverSize)
  const group = await ristretto()
  // What does not wait for the peer comes first: it is busy as well.
  const items = itemsOf(prints, session, bins)
  const table = arrange(items.places, bins).bins
  const pairs = await sendSeeds(conversation, group, WIDTH)
  const [zeros, ones] = [0, 1].map((which) => pairs.map((pair) => new AesStream(pair[which]!)))
  const encode = codeOf(session.id)
  const state = prfState(session.id)
  // Of an empty bin, the code word of a block that nobody knows.
  const fillers = new AesStream(randomBytes(BLOCK))
  const kernels = kernelsFor(bins)
  const copies = new Uint8Array(items.count)
  const blocks = new Uint32Array(4 * CHUNK)
  const [owners, occupied] = [new Uint32Array(CHUNK), new Uint32Array(CHUNK)]

  for (const { first, rows } of rowBlocks(bins)) {
    expand(kernels, zeros!, 0, rows)
    expand(kernels, ones!, 1, rows)
    // Step 4: u = t0 ⊕ t1 ⊕ C(r).
    for (let from = 0; from < rows; from += CHUNK) {
      const n = Math.min(CHUNK, rows - from)
      const bytes = new Uint8Array(blocks.buffer, 0, BLOCK * n)
      fillers.fill(bytes)
      for (let i = 0; i < n; i++) {
        const entry = table[first + from + i]!
        if (entry === EMPTY) continue
        const at = 4 * Math.floor(entry / PLACES)
        for (let word = 0; word < 4; word++) blocks[4 * i + word] = items.blocks[at + word]!
      }
      kernels.correct(encode(bytes), from, n)
    }
    await conversation.send('rows', kernels.rows(1, rows))
    // The output at a bin is H(bin ‖ t0).
    let waiting = 0
    const flush = () => {
      sink(owners.subarray(0, waiting), kernels.evaluate(occupied.subarray(0, waiting), first, state))
      waiting = 0
    }
    for (let row = 0; row < rows; row++) {
      const entry = table[first + row]!
      if (entry === EMPTY) continue
      const item = Math.floor(entry / PLACES)
      copies[item] = entry % PLACES
      owners[waiting] = item
      occupied[waiting++] = row
      if (waiting === CHUNK) flush()
    }
    if (waiting > 0) flush()
    session.onProgress?.((first + rows) / bins)
    await breath()
  }
  kernels.wipe()
  return copies
}

/** Numbers of 0 to length − 1 in the order of the block of rows that each belongs to, and where each block's begin. */
function byBlock(places: Uint32Array, bins: number): { order: Uint32Array; starts: Uint32Array } {
  const starts = new Uint32Array(Math.ceil(bins / ROWS) + 1)
  for (const place of places) starts[Math.floor(place / ROWS) + 1]!++
  for (let i = 1; i < starts.length; i++) starts[i]! += starts[i - 1]!
  const next = starts.slice()
  const order = new Uint32Array(places.length)
  for (let entry = 0; entry < places.length; entry++) order[next[Math.floor(places[entry]! / ROWS)]!++] = entry
  return { order, starts }
}

async function send(conversation: Conversation, prints: Uint8Array, session: Session, sink: Sink): Promise<void> {
  const bins = binsFor(session.receiverSize)
  const group = await ristretto()
  const s = randomBytes(ROW)
  const seeds = await receiveSeeds(conversation, group, s)
  const items = itemsOf(prints, session, bins)
  const { order, starts } = byBlock(items.places, bins)
  const streams = seeds.map((seed) => new AesStream(seed))
  const encode = codeOf(session.id)
  const state = prfState(session.id)
  const kernels = kernelsFor(bins)
  const blocks = new Uint32Array(4 * CHUNK)
  const places = new Uint32Array(CHUNK)

  let index = 0
  for (const { first, rows } of rowBlocks(bins)) {
    expand(kernels, streams, 0, rows)
    // Step 5: q = t0 ⊕ (C(r) ∧ s).
    kernels.rows(1, rows).set(await conversation.expect('rows', ROW * rows))
    kernels.select(s, rows)
    // The value at a bin and an id is H(bin ‖ q ⊕ (C(id) ∧ s)).
    const end = starts[index + 1]!
    for (let from = starts[index]!; from < end; from += CHUNK) {
      const entries = order.subarray(from, Math.min(end, from + CHUNK))
      for (let i = 0; i < entries.length; i++) {
        const entry = entries[i]!
        const at = 4 * Math.floor(entry / PLACES)
        for (let word = 0; word < 4; word++) blocks[4 * i + word] = items.blocks[at + word]!
        places[i] = items.places[entry]! - first
      }
      const codes = encode(new Uint8Array(blocks.buffer, 0, BLOCK * entries.length))
      sink(entries, kernels.evaluate(places.subarray(0, entries.length), first, state, { codes, s }))
    }
    index++
    session.onProgress?.((first + rows) / bins)
    await breath()
  }
  kernels.wipe()
}

/** See above. The receiver's table has a place for each of its ids, of which it pays 56 bytes 1.6 times. */
export const kkrt: ObliviousPrf = { name: 'fast', copies: PLACES, receive, send }

if (ROWS % STEP !== 0) throw new Error('blocks of rows are turned in steps')
