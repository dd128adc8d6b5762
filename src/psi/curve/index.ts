/**
 * An oblivious PRF from the Diffie–Hellman assumption alone, over ristretto255: F(x) = H(x, k·P(x)), where P maps ids to the
 * group (Jarecki and Liu, "Fast Secure Computation of Set Intersection", SCN 2010, and RFC 9497 §3.3.1, mode OPRF; the
 * protocol for sets is that of Meadows, 1986, and of Huberman, Franklin and Hogg, EC '99). The receiver sends a·P(x), the
 * sender returns k times that, the receiver takes a away. In the random oracle model, semi-honest.
 *
 * For each of the receiver's ids 32 bytes go either way. Multiplications: two for each of them at the receiver; one for each
 * id of both at the sender.
 *
 * Where the sender returns the points in another order, the receiver learns values without their ids: how many are shared,
 * and not which.
 */
import type { Conversation } from '../channel.ts'
import { FINGERPRINT } from '../ids.ts'
import { blake2sState, DIGEST, MESSAGE, PsiKernels } from '../kernels/wasm.ts'
import { forSession, type ObliviousPrf, OUTPUT, type Session, type Sink } from '../oblivious-prf.ts'
import { randomBytes, randomOrder } from '../random.ts'
import { POINT, ristretto, UNIFORM } from '../ristretto.ts'
import type { PointTask } from './points.ts'
import { inOrder, type Pool, poolFor, TASK, tasksOf } from './pool.ts'

const utf8 = new TextEncoder()
const halves = ['sotto c0', 'sotto c1'].map((personal) => blake2sState(utf8.encode(personal)))
const valueState = blake2sState(utf8.encode('sotto cv'))

/** 64 bytes for each id, which are mapped to the group: two hashes of 32. */
function uniformOf(prints: Uint8Array, session: Uint8Array): Uint8Array {
  const parts = halves.map((state) => forSession(prints, session, state))
  const out = new Uint8Array((UNIFORM * prints.length) / FINGERPRINT)
  for (let i = 0; i < out.length / UNIFORM; i++) {
    for (const [half, digests] of parts.entries()) {
      out.set(digests.subarray(DIGEST * i, DIGEST * (i + 1)), UNIFORM * i + DIGEST * half)
    }
  }
  return out
}

/** Makes values of the PRF of the points that they stand for, {@link TASK} at a time: a point and the session fill a block. */
function hashOf(session: Uint8Array): (points: Uint8Array) => Uint8Array {
  const kernels = new PsiKernels(0)
  const { messages } = kernels
  for (let i = 0; i < TASK; i++) messages.set(session, MESSAGE * i)
  return (points) => {
    const count = points.length / POINT
    for (let i = 0; i < count; i++) {
      messages.set(points.subarray(POINT * i, POINT * (i + 1)), MESSAGE * i + session.length)
    }
    return kernels.hash(count, MESSAGE, valueState)
  }
}

/** Whether all points of a list are different, told while they come. */
class Distinct {
  readonly #known = new Set<string>()

  /** Whether none of these has come before. */
  add(points: Uint8Array): boolean {
    const before = this.#known.size
    // Half of an encoding tells honest elements apart, and what collides in it is no honest element either.
    for (let at = 0; at < points.length; at += POINT) {
      this.#known.add(String.fromCharCode(...new Uint16Array(points.slice(at, at + POINT / 2).buffer)))
    }
    return this.#known.size === before + points.length / POINT
  }
}

/** Points of the next message, all there are of them at last. */
function nextPoints(conversation: Conversation, kind: 'blinded' | 'evaluated', left: number): Promise<Uint8Array> {
  return conversation.expect(kind, POINT * Math.min(TASK, left))
}

const range = (from: number, length: number): Uint32Array => Uint32Array.from({ length }, (_, i) => from + i)

async function receive(
  conversation: Conversation,
  prints: Uint8Array,
  session: Session,
  sink: Sink,
  pool: Pool,
): Promise<Uint8Array> {
  const group = await ristretto()
  const { receiverSize, id } = session
  const hash = hashOf(id)
  const count = prints.length / FINGERPRINT
  const scalar = group.randomScalar()
  const inverse = group.invert(scalar)
  const uniform = new Uint8Array(UNIFORM * receiverSize)
  uniform.set(uniformOf(prints, id))
  // What pads the set is drawn like everything else.
  uniform.set(randomBytes(UNIFORM * (receiverSize - count)), UNIFORM * count)

  const ask = async () => {
    for await (const { points } of inOrder(pool, tasksOf('map', scalar, uniform))) {
      await conversation.send('blinded', points!)
    }
  }
  const distinct = new Distinct()
  const come = async function* (): AsyncGenerator<{ from: number; task: PointTask }> {
    for (let from = 0; from < receiverSize; ) {
      const points = (await nextPoints(conversation, 'evaluated', receiverSize - from)).slice()
      if (!distinct.add(points)) conversation.refuse('a point came twice')
      yield { from, task: { kind: 'multiply', scalar: inverse, points } }
      from += points.length / POINT
    }
  }
  const take = async () => {
    for await (const { from, points } of inOrder(pool, come())) {
      if (points === null) return conversation.refuse('a point is none of the group')
      const values = hash(points)
      const own = session.isShuffled === true ? receiverSize : count
      const known = Math.min(points.length / POINT, Math.max(0, own - from))
      sink(range(from, known), values.subarray(0, OUTPUT * known))
      session.onProgress?.((from + points.length / POINT) / receiverSize)
    }
  }
  await Promise.all([ask(), take()])
  return new Uint8Array(session.isShuffled === true ? receiverSize : count)
}

async function send(
  conversation: Conversation,
  prints: Uint8Array,
  session: Session,
  sink: Sink,
  pool: Pool,
): Promise<void> {
  const group = await ristretto()
  const { receiverSize, id } = session
  const hash = hashOf(id)
  const key = group.randomScalar()

  const own = async () => {
    for await (const { from, points } of inOrder(pool, tasksOf('map', key, uniformOf(prints, id)))) {
      sink(range(from, points!.length / POINT), hash(points!))
    }
  }
  const distinct = new Distinct()
  const come = async function* (): AsyncGenerator<{ from: number; task: PointTask }> {
    for (let from = 0; from < receiverSize; ) {
      const points = (await nextPoints(conversation, 'blinded', receiverSize - from)).slice()
      if (!distinct.add(points)) conversation.refuse('a point came twice')
      yield { from, task: { kind: 'multiply', scalar: key, points } }
      from += points.length / POINT
    }
  }
  const answer = async () => {
    const order = session.isShuffled === true ? randomOrder(receiverSize) : undefined
    const shuffled = new Uint8Array(order === undefined ? 0 : POINT * receiverSize)
    for await (const { from, points } of inOrder(pool, come())) {
      if (points === null) return conversation.refuse('a point is none of the group')
      if (order === undefined) await conversation.send('evaluated', points)
      else {
        for (let i = 0; i < points.length / POINT; i++) {
          shuffled.set(points.subarray(POINT * i, POINT * (i + 1)), POINT * order[from + i]!)
        }
      }
      session.onProgress?.((from + points.length / POINT) / receiverSize)
    }
    for (let at = 0; at < shuffled.length; at += POINT * TASK) {
      await conversation.send('evaluated', shuffled.subarray(at, at + POINT * TASK))
    }
  }
  await Promise.all([answer(), own()])
}

/** See above. */
export const curve: ObliviousPrf = {
  name: 'curve',
  copies: 1,
  async receive(conversation, prints, session, sink) {
    const pool = await poolFor(2 * session.receiverSize, session.threads)
    try {
      return await receive(conversation, prints, session, sink, pool)
    } finally {
      pool.close()
    }
  },
  async send(conversation, prints, session, sink) {
    const pool = await poolFor(session.receiverSize + session.senderSize, session.threads)
    try {
      return await send(conversation, prints, session, sink, pool)
    } finally {
      pool.close()
    }
  },
}
