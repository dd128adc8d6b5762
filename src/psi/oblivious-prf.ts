/**
 * An oblivious pseudo-random function: one side, the receiver, learns its values at its own ids; the other, the sender, may
 * evaluate it anywhere, and learns nothing. All that intersections are made of. There are two: `kkrt.ts` and `curve.ts`.
 */
import type { Conversation } from './channel.ts'
import { FINGERPRINT } from './ids.ts'
import { CHUNK, DIGEST, MESSAGE, PsiKernels } from './kernels/wasm.ts'

/** Bytes of a value of the function. */
export const OUTPUT = DIGEST

/** What both ends know before they begin. */
export interface Session {
  /** 32 bytes that both had a part in: everything is hashed anew with them. */
  readonly id: Uint8Array
  /** Ids of the receiver and of the sender, as far as the other may know: sets may be padded. */
  readonly receiverSize: number
  readonly senderSize: number
  /** Whether the receiver is to learn its values in an order that tells nothing of its ids; `curve` alone can do it. */
  readonly isShuffled?: boolean
  /** Threads for work on the curve; as many as there are processors unless it is given, 0 for none. */
  readonly threads?: number | undefined
  /** Told how far it has come, from 0 to 1. */
  readonly onProgress?: ((done: number) => void) | undefined
}

/** Takes values of the function: of each, where it belongs, and its {@link OUTPUT} bytes. Both are overwritten later. */
export type Sink = (places: Uint32Array, outputs: Uint8Array) => void

export interface ObliviousPrf {
  readonly name: string
  /** Values that the sender has for each id; the receiver's is one of them. */
  readonly copies: number
  /**
   * @param prints fingerprints of the receiver's ids, at most `receiverSize`
   * @param sink gets each value with the number of its id
   * @returns of each id, which of the copies the receiver has
   */
  receive(conversation: Conversation, prints: Uint8Array, session: Session, sink: Sink): Promise<Uint8Array>
  /**
   * @param prints fingerprints of the sender's ids, at most `senderSize`
   * @param sink gets each value at `copies` · number of its id + copy
   */
  send(conversation: Conversation, prints: Uint8Array, session: Session, sink: Sink): Promise<void>
}

/**
 * Fingerprints hashed for one session: 32 bytes each.
 *
 * @param state initial state of the hash, see `blake2sState`
 */
export function forSession(prints: Uint8Array, session: Uint8Array, state: Uint32Array): Uint8Array {
  const count = prints.length / FINGERPRINT
  const kernels = new PsiKernels(0)
  const out = new Uint8Array(DIGEST * count)
  const { messages } = kernels
  const length = session.length + FINGERPRINT
  for (let i = 0; i < Math.min(CHUNK, count); i++) messages.set(session, MESSAGE * i)
  for (let from = 0; from < count; from += CHUNK) {
    const n = Math.min(CHUNK, count - from)
    for (let i = 0; i < n; i++) {
      const at = FINGERPRINT * (from + i)
      messages.set(prints.subarray(at, at + FINGERPRINT), MESSAGE * i + session.length)
    }
    out.set(kernels.hash(n, length, state), DIGEST * from)
  }
  kernels.wipe()
  return out
}
