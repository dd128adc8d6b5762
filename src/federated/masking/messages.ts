/**
 * The messages of masked sums: what a worker does for a coordinator that adds up vectors of many workers, and sees none of
 * them. A table of their own beside the worker's, in the same form; PROTOCOL.md shows the bytes.
 *
 * The coordinator is the server of the masked sum, a worker a client of it; what they say to each other step by step is
 * in `secagg/messages.ts`.
 */
import type { ObjectId, WaitOptions } from '../../tensor/location.ts'
import type { Worker } from '../../worker/worker.ts'
import type { SecAggSettings } from '../secagg/settings.ts'

/** How vectors are masked: so that clients may drop out, or in pairs, all of which must be there until the end. */
export const schemes = ['secagg', 'pairs'] as const
export type Scheme = (typeof schemes)[number]

/** Steps besides the one that masks: what the client is given, and answers. */
export const steps = ['advertise', 'roster', 'draws', 'survivors', 'quorum'] as const
export type Step = (typeof steps)[number]

/** What a masked sum is of; the same at all workers. */
export interface SumTerms extends Omit<SecAggSettings, 'members'> {
  readonly scheme: Scheme
  /** Workers, by the names under which they were introduced; this one among them. */
  readonly members: readonly string[]
  /** How much each member's values count, in their order: whole numbers. */
  readonly weights: readonly number[]
  /** Values are from −clip to clip, in so many bits; see `secagg/quantise.ts`. */
  readonly clip: number
  readonly bits: number
  /**
   * Whether all values are private, to owners other than whoever coordinates: then each member masks nothing else, and
   * what the others add is hidden from the coordinator too. Where not, all values are the coordinator's to see.
   */
  readonly hidden: boolean
}

export type MaskMessages = {
  /** Takes part in masked sums. */
  maskJoin: { request: SumTerms; response: void }
  /** A step of a round. A round begins with `advertise`. */
  maskStep: {
    request: { readonly session: string; readonly round: number; readonly step: Step; readonly message: unknown }
    response: unknown
  }
  /** The step that masks: what values become, one after the other, as integers, with the member's weight at the end. */
  maskValues: {
    request: {
      readonly session: string
      readonly round: number
      readonly message: unknown
      readonly values: readonly ObjectId[]
    }
    response: unknown
  }
  /** Takes part no longer. */
  maskLeave: { request: { readonly session: string }; response: void }
}
export type MaskMessage = keyof MaskMessages
export type MaskTell = 'maskJoin' | 'maskLeave'
export type MaskAsk = Exclude<MaskMessage, MaskTell>

/** Issues a message of this table; the worker knows those of its own alone. */
export function tellMask<N extends MaskTell>(worker: Worker, name: N, body: MaskMessages[N]['request']): void {
  worker.tell(name as never, body as never)
}
export function askMask<N extends MaskAsk>(
  worker: Worker,
  name: N,
  body: MaskMessages[N]['request'],
  wait: WaitOptions = {},
): Promise<MaskMessages[N]['response']> {
  return worker.ask(name as never, body as never, wait) as Promise<MaskMessages[N]['response']>
}
