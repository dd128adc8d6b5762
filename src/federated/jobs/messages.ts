/**
 * What the parties of a job say to its scheduler: requests, each with one answer, over a link as workers have it. Whoever
 * dials shows a name and a long-term key.
 */
import * as v from 'valibot'

/** Keys of the parties, by their names. */
export type Keys = Readonly<Record<string, string>>

/** How a job ended. */
export interface Ending {
  readonly ok: boolean
  /** Why, where it is not. */
  readonly message: string
}

/** One row per request. */
export interface SchedulerMessages {
  /** A trainer, or the server, of the job with this id. */
  register: { request: { readonly job: string }; response: null }
  /**
   * Keys of all trainers, when all of them are there; a trainer is given that of the server too, and waits until the
   * server listens.
   */
  roster: { request: Record<never, never>; response: Keys }
  /** The server listens for trainers. */
  listening: { request: Record<never, never>; response: null }
  /** The server asks who takes part in a round, out of those that it has. Rounds count from 0. */
  sample: { request: { readonly round: number; readonly clients: readonly string[] }; response: readonly string[] }
  /** The server tells how the job has ended. */
  finish: { request: Ending; response: null }
  /** A trainer waits for that. */
  ended: { request: Record<never, never>; response: Ending }
}
export type SchedulerMessage = keyof SchedulerMessages
export type SchedulerRequest<N extends SchedulerMessage> = SchedulerMessages[N]['request']
export type SchedulerResponse<N extends SchedulerMessage> = SchedulerMessages[N]['response']

const name = v.pipe(v.string(), v.maxLength(64))
const keys = v.record(name, v.pipe(v.string(), v.maxLength(64)))
const nothing = v.strictObject({})
const ending = v.strictObject({ ok: v.boolean(), message: v.pipe(v.string(), v.maxLength(4096)) })
const names = v.pipe(v.array(name), v.maxLength(1024))

type Schemas<Part extends 'request' | 'response'> = {
  readonly [N in SchedulerMessage]: v.GenericSchema<unknown, SchedulerMessages[N][Part]>
}
export const requests: Schemas<'request'> = {
  register: v.strictObject({ job: v.pipe(v.string(), v.maxLength(64)) }),
  roster: nothing,
  listening: nothing,
  sample: v.strictObject({ round: v.pipe(v.number(), v.safeInteger(), v.minValue(0)), clients: names }),
  finish: ending,
  ended: nothing,
}
export const responses: Schemas<'response'> = {
  register: v.null(),
  roster: keys,
  listening: v.null(),
  sample: names,
  finish: v.null(),
  ended: ending,
}

/** Requests of the server alone, and of trainers alone. */
export const ofServer: ReadonlySet<SchedulerMessage> = new Set(['listening', 'sample', 'finish'])
export const ofTrainers: ReadonlySet<SchedulerMessage> = new Set(['ended'])
