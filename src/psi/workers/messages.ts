/**
 * The messages of private set intersection: what a caller asks of the owners' workers, and what these say to each other. A
 * table of their own beside the worker's, in the same form; PROTOCOL.md shows the bytes.
 *
 * A run is one intersection; its id is random and known to the workers that take part and their caller alone. What a worker
 * hands to another is a message of the protocol of the sets as it is (see `psi/channel.ts`): nothing of it passes the caller.
 */
import type { ObjectId } from '../../tensor/location.ts'
import type { PsiProtocol, Reveal } from '../two-party.ts'

/** What a worker counted, and what its caller may know of it. */
export interface PsiReport {
  /** Ids that are shared; null at a worker that does not learn it. */
  readonly size: number | null
  /** Rows that repeat an id, and rows without one; null unless the caller may see the ids. */
  readonly duplicates: number | null
  readonly empty: number | null
  /** Bytes to the other workers, and how often it began to wait for one. */
  readonly bytesSent: number
  readonly turns: number
}

export type PsiMessages = {
  /** Intersects ids with those of other workers; stores the rows that are shared, if this worker is to learn them. */
  psiRun: {
    request: {
      readonly run: string
      readonly ids: ObjectId
      readonly out: ObjectId
      /** All workers that take part, in an order; this one is at `index`. */
      readonly parties: readonly string[]
      readonly index: number
      readonly reveal: Reveal
      readonly protocol: PsiProtocol
      readonly padTo: number | null
      readonly timeout: number | null
    }
    response: PsiReport
  }
  /** From a worker that takes part: its next message; null: that it took one of ours. */
  psiMessage: { request: { readonly run: string; readonly message: Uint8Array | null }; response: void }
}
export type PsiMessage = keyof PsiMessages
