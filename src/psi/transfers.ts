/**
 * Oblivious transfers of seeds: one side gets two seeds for each, the other, by a choice bit, one of the two.
 *
 * Base transfers are those of Chou and Orlandi (LATINCRYPT '15, figure 1) over ristretto255; from 128 of them, any number
 * follows by the extension of Ishai, Kilian, Nissim and Petrank (CRYPTO '03, figure 1). Semi-honest.
 */
import { blake2s } from '@noble/hashes/blake2.js'
import type { Conversation } from './channel.ts'
import { AesStream } from './kernels/aes.ts'
import { DIGEST } from './kernels/wasm.ts'
import { randomBytes } from './random.ts'
import { POINT, type Ristretto } from './ristretto.ts'

/** Base transfers, and bits of security. */
const BASE = 128
/** Bytes of a seed. */
export const SEED = 16

const bitOf = (bits: Uint8Array, index: number): number => (bits[index >> 3]! >> (index & 7)) & 1

const utf8 = new TextEncoder()
const named = (name: string) => utf8.encode(name)
const BASE_PERSONAL = named('sotto bt')
const EXTENDED_PERSONAL = named('sotto ot')

/** The seed that a point stands for in transfer `index`, between those two messages. */
function seedOf(index: number, a: Uint8Array, b: Uint8Array, shared: Uint8Array): Uint8Array {
  const message = new Uint8Array(4 + 3 * POINT)
  new DataView(message.buffer).setUint32(0, index, true)
  message.set(a, 4)
  message.set(b, 4 + POINT)
  message.set(shared, 4 + 2 * POINT)
  return blake2s(message, { dkLen: DIGEST, personalization: BASE_PERSONAL }).subarray(0, SEED)
}

/** The sender's side of the base transfers: two seeds each. */
async function sendBase(conversation: Conversation, group: Ristretto): Promise<[Uint8Array, Uint8Array][]> {
  const scalar = group.randomScalar()
  const a = group.base(scalar)
  await conversation.send('basePoint', a)
  const points = await conversation.expect('basePoints', BASE * POINT)
  const square = group.multiply(scalar, a)!
  return Array.from({ length: BASE }, (_, index) => {
    const b = points.subarray(POINT * index, POINT * (index + 1))
    // k0 = H(yB), k1 = H(y(B − A)) = H(yB − yA).
    const shared = group.multiply(scalar, b)
    if (shared === undefined) return conversation.refuse('a point of a base transfer is none')
    return [seedOf(index, a, b, shared), seedOf(index, a, b, group.sub(shared, square))]
  })
}

/** The receiver's side: the seeds that its bits choose. */
async function receiveBase(conversation: Conversation, group: Ristretto, choices: Uint8Array): Promise<Uint8Array[]> {
  const a = await conversation.expect('basePoint', POINT)
  if (!group.isElement(a)) conversation.refuse('the point of the base transfers is none')
  const points = new Uint8Array(BASE * POINT)
  const seeds: Uint8Array[] = []
  for (let index = 0; index < BASE; index++) {
    const scalar = group.randomScalar()
    const own = group.base(scalar)
    // B = cA + xG, and both sums are made, so that the time does not tell which is sent.
    const both = [own, group.add(a, own)]
    const b = both[bitOf(choices, index)]!
    points.set(b, POINT * index)
    seeds.push(seedOf(index, a, b, group.multiply(scalar, a)!))
  }
  await conversation.send('basePoints', points)
  return seeds
}

/** The seed of a row of the extension. */
function rowSeed(index: number, row: Uint8Array): Uint8Array {
  const message = new Uint8Array(4 + BASE / 8)
  new DataView(message.buffer).setUint32(0, index, true)
  message.set(row, 4)
  return blake2s(message, { dkLen: DIGEST, personalization: EXTENDED_PERSONAL }).subarray(0, SEED)
}

/** A row of columns of bits. */
function rowOf(columns: readonly Uint8Array[], index: number): Uint8Array {
  const row = new Uint8Array(columns.length / 8)
  for (const [at, column] of columns.entries()) row[at >> 3]! |= bitOf(column, index) << (at & 7)
  return row
}

const xor = (a: Uint8Array, b: Uint8Array): Uint8Array => a.map((byte, i) => byte ^ b[i]!)

/**
 * Gives two seeds for each of `count` transfers. What the peer chooses stays its own.
 *
 * @param count a multiple of 8
 */
export async function sendSeeds(
  conversation: Conversation,
  group: Ristretto,
  count: number,
): Promise<[Uint8Array, Uint8Array][]> {
  const delta = randomBytes(BASE / 8)
  // In the extension the roles of the base transfers are the other way round.
  const seeds = await receiveBase(conversation, group, delta)
  const bytes = count / 8
  const corrections = await conversation.expect('transfers', BASE * bytes)
  const columns = seeds.map((seed, i) => {
    const column = new AesStream(seed).bytes(bytes)
    return bitOf(delta, i) === 0 ? column : xor(column, corrections.subarray(bytes * i, bytes * (i + 1)))
  })
  return Array.from({ length: count }, (_, index) => {
    const row = rowOf(columns, index)
    return [rowSeed(index, row), rowSeed(index, xor(row, delta))]
  })
}

/** Gets the seeds that bits choose, as many as there are bits; the peer does not learn them, and this side no others. */
export async function receiveSeeds(
  conversation: Conversation,
  group: Ristretto,
  choices: Uint8Array,
): Promise<Uint8Array[]> {
  const pairs = await sendBase(conversation, group)
  const bytes = choices.length
  const corrections = new Uint8Array(BASE * bytes)
  const columns = pairs.map(([zero, one], i) => {
    const column = new AesStream(zero).bytes(bytes)
    const correction = xor(xor(column, new AesStream(one).bytes(bytes)), choices)
    corrections.set(correction, bytes * i)
    return column
  })
  await conversation.send('transfers', corrections)
  return Array.from({ length: 8 * bytes }, (_, index) => rowSeed(index, rowOf(columns, index)))
}
