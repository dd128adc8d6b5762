/** Clients of secure aggregation in a thread of their own, for bench/secagg-clients.ts: what they are told, and answer. */
import { isMainThread, parentPort, workerData } from 'node:worker_threads'
import { type ClientRound, SecAggClient } from '../../src/federated/secagg/client.ts'
import type { Delivery, Draws, Quorum, Roster, Survivors } from '../../src/federated/secagg/messages.ts'
import type { SecAggSettings } from '../../src/federated/secagg/settings.ts'
import { Prg } from '../../src/smpc/prg.ts'
import { encodeValue } from '../../src/worker/codec.ts'
import { Identity } from '../../src/worker/identity.ts'

/** Bits of a quantised parameter. */
export const BITS = 20

/** A quantised vector, in two's complement: made anew from the client's number wherever it is needed, so that nobody keeps it. */
export function vectorOf(client: number, length: number): Uint32Array<ArrayBuffer> {
  const seed = new Uint8Array(32)
  new DataView(seed.buffer).setUint32(0, client, true)
  const { buffer, byteOffset } = new Prg(seed).stream(0).bytes(4 * length)
  const words = new Int32Array(buffer as ArrayBuffer, byteOffset, length)
  for (let i = 0; i < length; i++) words[i]! >>= 32 - BITS
  return new Uint32Array(words.buffer, byteOffset, length)
}

/** Which clients live in a thread. */
export interface Hosted {
  readonly settings: SecAggSettings
  /** Secrets by number. */
  readonly clients: readonly { readonly number: number; readonly id: string; readonly secret: string }[]
}

/** What all clients that are named are told, in the order of the round. */
export type Told =
  | { readonly step: 'advertise' }
  | { readonly step: 'roster'; readonly roster: Roster }
  | { readonly step: 'draws'; readonly draws: Draws }
  | { readonly step: 'mask'; readonly deliveries: ReadonlyMap<number, Delivery> }
  | { readonly step: 'confirm'; readonly survivors: Survivors }
  | { readonly step: 'unmask'; readonly quorum: Quorum }

/** Of one client, in a whole round. */
export interface Spent {
  readonly number: number
  readonly ms: number
  readonly bytes: number
}
export type Answer =
  | { readonly number: number; readonly message: object }
  | { readonly isDone: true }
  | { readonly spent: readonly Spent[] }

function host({ settings, clients }: Hosted): void {
  // What came from another thread came thawed.
  Object.freeze(settings.members)
  Object.freeze(settings)
  const rounds = new Map<number, ClientRound>()
  const spent = new Map<number, { number: number; ms: number; bytes: number }>()
  const timed = <T>(number: number, work: () => T): T => {
    const start = performance.now()
    const result = work()
    spent.get(number)!.ms += performance.now() - start
    return result
  }
  const answer = (number: number, told: Told): object => {
    if (told.step === 'advertise') {
      const { id, secret } = clients.find((client) => client.number === number)!
      const identity = Identity.fromSecret(secret)
      spent.set(number, { number, ms: 0, bytes: 0 })
      return timed(number, () => {
        const round = new SecAggClient(id, identity, settings).round(0)
        rounds.set(number, round)
        return round.advertise()
      })
    }
    const round = rounds.get(number)!
    switch (told.step) {
      case 'roster': {
        const reply = timed(number, () => round.receiveRoster(told.roster))
        return 'reveal' in reply ? reply.reveal : reply.shares
      }
      case 'draws':
        return timed(number, () => round.receiveDraws(told.draws))
      case 'mask': {
        const vector = vectorOf(number, settings.length)
        return timed(number, () => round.mask(told.deliveries.get(number)!, vector))
      }
      case 'confirm':
        return timed(number, () => round.confirm(told.survivors))
      case 'unmask':
        return timed(number, () => round.unmask(told.quorum))
    }
  }
  const port = parentPort!
  port.on('message', ({ told, to }: { told: Told | 'end'; to: readonly number[] }) => {
    if (told === 'end') {
      port.postMessage({ spent: [...spent.values()] } satisfies Answer)
      port.postMessage({ isDone: true } satisfies Answer)
      return port.close()
    }
    for (const number of to) {
      const message = answer(number, told)
      spent.get(number)!.bytes += encodeValue(message).length
      const values = 'values' in message ? (message.values as Uint8Array<ArrayBuffer>) : undefined
      port.postMessage({ number, message } satisfies Answer, values === undefined ? [] : [values.buffer])
    }
    port.postMessage({ isDone: true } satisfies Answer)
  })
  // It listens.
  port.postMessage({ isDone: true } satisfies Answer)
}

if (!isMainThread && workerData !== null) host(workerData as Hosted)
