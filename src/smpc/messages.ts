/**
 * The messages of secret computation: a table of their own beside the worker's, in the same form. PROTOCOL.md shows the
 * bytes.
 *
 * A group is the parties of a secret computation, in an order, their provider, and the ring of their secrets. Its id is random and known to them and
 * their caller alone. Commands come from the caller; parties hand each other parts of what they open, and the provider
 * hands them what it deals, under the id of the group.
 */
import type { CheckpointInfo } from '../tensor/checkpoint.ts'
import type { Labels, ObjectId, Privacy } from '../tensor/location.ts'
import type { Shape } from '../tensor/shape.ts'
import type { ErrorWire } from '../worker/protocol.ts'
import type { Correlation } from './correlations.ts'
import type { Encoding } from './encoding.ts'
import type { RingBits } from './ring/kernels.ts'

/** Ring elements as they travel: little-endian words, one or two for each, row by row. */
export interface RingWire {
  readonly shape: Shape
  readonly data: Uint8Array
}

/** A component of a secret as it travels: its words, or the 32 bytes of a seed that they are drawn from. */
export interface ShareComponent {
  readonly data?: Uint8Array
  readonly seed?: Uint8Array
}

/** A share as it travels: the component of a party; of replicated sharing, and the next one. */
export interface ShareWire extends ShareComponent {
  readonly shape: Shape
  readonly next?: ShareComponent
}

/** A command of the ring op table. */
export interface RingCommand {
  readonly op: string
  readonly operands: readonly (ObjectId | RingWire)[]
  readonly attrs: readonly unknown[]
  readonly divisor: number | null
  readonly out: readonly ObjectId[]
}

/** What members of a group hand each other. */
export type Part =
  /** What a party has for another in a step of a command: of an opening, the same for all. */
  | {
      readonly kind: 'opening'
      readonly seq: number
      readonly step: number
      readonly op: string
      readonly data: Uint8Array
    }
  /** From the provider to the last party: the correction of a correlation. */
  | { readonly kind: 'dealt'; readonly index: number; readonly of: string; readonly data: Uint8Array }
  /** A seed that two members have in common. */
  | { readonly kind: 'seed'; readonly data: Uint8Array }
  /** From the last party to the provider: the correction of an index, so many bytes, is used up. */
  | { readonly kind: 'credit'; readonly index: number; readonly bytes: number }
  /** The end of the group, and why. */
  | { readonly kind: 'end'; readonly error: ErrorWire }

/** What a provider counted. */
export interface ProviderStats {
  /** Correlations dealt, and bytes of corrections sent, to the last party. */
  readonly dealt: number
  readonly bytesSent: number
  /** Bytes sent that are not used up yet. */
  readonly bytesUnused: number
  /** Correlations asked for and not dealt yet. */
  readonly waiting: number
}

/** What a party counted. */
export interface PartyStats {
  /** Commands carried out. */
  readonly commands: number
  /** Steps in which it took part; those of one moment travel together. */
  readonly openings: number
  /** Bytes of them that it sent to all others together. */
  readonly bytesSent: number
  /** Bytes of corrections that came from the provider. */
  readonly bytesDealt: number
  /** Shares that it holds. */
  readonly shares: number
}

export type SecretMessages = {
  /** Makes the worker a party. */
  secretJoin: {
    request: {
      group: string
      protocol: string
      parties: readonly string[]
      index: number
      provider: string | null
      ring: RingBits
    }
    response: void
  }
  /** Makes the worker the provider of a group. */
  secretProvide: { request: { group: string; parties: readonly string[]; ring: RingBits }; response: void }
  /**
   * Deals correlations, from an index on: for a command that is under way, or ahead of any. Those dealt ahead are named again
   * when a command takes them, and are dealt then at the latest.
   */
  secretDeal: {
    request: { group: string; index: number; correlations: readonly Correlation[]; ahead: boolean }
    response: void
  }
  /** Stores a share that the caller made. */
  secretPut: {
    request: { group: string; out: ObjectId; share: ShareWire; privacy: Privacy | null }
    response: void
  }
  /** Draws a share of a secret that nobody knows. */
  secretRandom: { request: { group: string; seq: number; out: ObjectId; shape: Shape }; response: void }
  /** Makes shares of a tensor, or of a fixed-precision one, and sends them to the parties. */
  secretShare: {
    request: {
      group: string
      protocol: string
      id: ObjectId
      encoding: Encoding
      to: readonly { readonly name: string; readonly key: string }[]
      provider: string | null
    }
    response: void
  }
  /** Waits for a share from its owner's worker. */
  secretTake: { request: { group: string; from: string; key: string; out: ObjectId; shape: Shape }; response: void }
  /** Runs a row of the ring op table on shares, with all the other parties. It takes `dealt` correlations from `index` on. */
  secretRun: { request: RingCommand & { group: string; seq: number; index: number; dealt: number }; response: void }
  /** Gives a share to the caller, fresh: nothing but the sum of all says anything. */
  secretGet: {
    request: { group: string; seq: number; id: ObjectId; encoding: Encoding }
    response: { readonly data: Uint8Array; readonly rounds: number }
  }
  /** Sends a share to a worker, for which the secret is opened. */
  secretOpen: {
    request: { group: string; seq: number; id: ObjectId; to: string; key: string; encoding: Encoding }
    response: void
  }
  /** Waits for the shares of all parties, and stores what they add up to. */
  secretReceive: {
    request: {
      from: readonly { readonly name: string; readonly key: string }[]
      out: ObjectId
      shape: Shape
      encoding: Encoding
      labels: Labels
    }
    response: void
  }
  /** What a party, or the provider, counted. */
  secretStats: { request: { group: string }; response: PartyStats | ProviderStats }
  /** From members of a group. */
  secretParts: { request: { group: string; parts: readonly Part[] }; response: void }

  /** Keeps the party's shares where its worker keeps checkpoints, fresh: nothing but those of all parties say anything. */
  secretSave: {
    request: { group: string; seq: number; name: string; set: ObjectId; note: string; ids: readonly ObjectId[] }
    response: CheckpointInfo
  }
  /** What a party has kept under a name, without the shares. */
  secretKept: {
    request: { group: string; name: string }
    response: {
      readonly set: ObjectId
      readonly note: string
      readonly shapes: readonly Shape[]
      readonly info: CheckpointInfo
    }
  }
  /** Shares what the party has kept, each tensor, among all parties: the sums over the parties are what was saved. */
  secretRestore: {
    request: {
      group: string
      name: string
      set: ObjectId
      to: readonly (readonly { readonly name: string; readonly key: string }[])[]
    }
    response: void
  }
  /** Adds owners who have to consent before these secrets, or what is computed from them, are opened. */
  secretGuard: {
    request: { group: string; ids: readonly ObjectId[]; job: string; owners: readonly string[] }
    response: void
  }
  /** The session's identity consents, or no more, that somebody sees what came of a job. */
  secretConsent: { request: { job: string; to: string; isGiven: boolean }; response: void }

  /** Encodes a tensor in fixed precision, beside it. */
  fixTensor: { request: { id: ObjectId; out: ObjectId; encoding: Encoding }; response: void }
  /** Decodes: the values of a fixed-precision tensor as a tensor. */
  floatTensor: { request: { id: ObjectId; out: ObjectId }; response: void }
  /** Runs a row of the ring op table on public values. */
  fixedRun: { request: RingCommand & { encodings: readonly Encoding[] }; response: void }
  /** Gives a fixed-precision tensor; takes it off the worker unless `keep`. */
  fixedGet: { request: { id: ObjectId; keep: boolean }; response: RingWire }
}

export type SecretMessage = keyof SecretMessages
export type SecretRequest<N extends SecretMessage> = SecretMessages[N]['request']
export type SecretTell = { [N in SecretMessage]: SecretMessages[N]['response'] extends void ? N : never }[SecretMessage]
export type SecretAsk = Exclude<SecretMessage, SecretTell>
