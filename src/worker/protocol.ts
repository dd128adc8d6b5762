/**
 * The message table: every message that a worker understands, one row each. Types only.
 *
 * Adding a row here is the only way to add a message: frames, checks (`schema.ts`), handlers (`handlers.ts`) and client
 * calls are typed by it, and a missing one does not compile. PROTOCOL.md shows the bytes.
 */
import type { Code } from '../errors.ts'
import type { CheckpointInfo } from '../tensor/checkpoint.ts'
import type { Labels, ObjectId, Policy, Verbs } from '../tensor/location.ts'
import type { ModelWire } from '../tensor/model-wire.ts'
import type { PackedWire } from '../tensor/packed.ts'
import type { Shape, Spec } from '../tensor/shape.ts'
import type { TensorWire } from '../tensor/wire.ts'
import type { Capability } from './capabilities.ts'
import type { LedgerEntry } from './ledger.ts'

/** Raised whenever a frame of an older peer would be misread. */
export const PROTOCOL_VERSION = 1

/** What is told of an object to those who may find it: never its values. */
export interface ObjectInfo extends Spec, Labels {
  readonly id: ObjectId
  readonly kind: 'tensor' | 'model' | 'optimizer' | 'share' | 'fixed' | 'remainder' | 'failed'
  readonly bytes: number
  readonly owner: string
  readonly isPrivate: boolean
  readonly requiresGrad: boolean
}

/** Traffic of one link of a worker. Bytes are those on the wire, or of the tensors alone where frames skip the bytes. */
export interface LinkStats {
  readonly role: 'caller' | 'peer'
  readonly name: string
  readonly framesIn: number
  readonly framesOut: number
  readonly bytesIn: number
  readonly bytesOut: number
}

export interface WorkerStats {
  readonly objects: number
  readonly bytes: number
  readonly links: readonly LinkStats[]
  readonly framesIn: number
  readonly framesOut: number
  readonly bytesIn: number
  readonly bytesOut: number
}

/** An error as it travels: no stack, no value. */
export interface ErrorWire {
  readonly code: Code
  readonly message: string
  /** The worker where it arose. */
  readonly worker: string
  /** The command that failed first, as `<session>:<seq>`; what was poisoned by it keeps it. */
  readonly origin: string
}

/** What a peer hands over under a key. */
export type Deposit =
  | {
      readonly kind: 'tensor'
      readonly value: TensorWire | PackedWire
      readonly labels: Labels
      readonly access: readonly Policy[]
      /** What failed while it was computed from private values. */
      readonly failure?: ErrorWire
    }
  | { readonly kind: 'model'; readonly value: ModelWire; readonly labels: Labels; readonly access: readonly Policy[] }
  /** A share of a secret: of each component its words, or the seed of the stream that they are drawn from. */
  | {
      readonly kind: 'share'
      readonly shape: Shape
      readonly data?: Uint8Array
      readonly seed?: Uint8Array
      readonly next?: { readonly data?: Uint8Array; readonly seed?: Uint8Array }
      /** Of a private value: the other workers that may hold shares or deal, as its owner's worker knows them. */
      readonly members?: readonly { readonly name: string; readonly key: string }[]
      readonly access: readonly Policy[]
      /** What failed while it was made of private values. */
      readonly failure?: ErrorWire
    }
  | { readonly kind: 'failed'; readonly error: ErrorWire; readonly access: readonly Policy[] }
  /** A gradient that the pass did not bring about. */
  | { readonly kind: 'none' }

/** What a worker must know of another one to hand it something. */
export interface PeerIntroduction {
  readonly name: string
  /** Where it can be dialled; null when what goes to it passes the caller, sealed. */
  readonly address: string | null
  /** Whether the caller passes it on, too, where nothing is reached at that address. */
  readonly relay?: boolean
  /** The public key that it proves, or what stands for it inside one process. */
  readonly key: string
  /** Lets this worker hand things over to the caller's session there. */
  readonly capability: Capability
}

export interface Protocol extends Verbs {
  /**
   * First message of every session. A caller names its identity, and a secret of this session from which it makes
   * capabilities for peers; a peer names its worker as it was introduced.
   */
  hello: {
    request: { version: number; name: string; session: string; secret: Uint8Array | null }
    response: { worker: string; version: number }
  }
  /** Introduces peers: the names under which later commands speak of them, and how to reach them. */
  peers: { request: { peers: readonly PeerIntroduction[] }; response: void }
  /** From a peer: something that a `receive` or `backward` waits for. */
  deposit: { request: { key: string; content: Deposit }; response: void }
  /** Objects that bear all of the tags. */
  search: { request: { tags: readonly string[] }; response: readonly ObjectInfo[] }
  objects: { request: Record<string, never>; response: readonly ObjectInfo[] }
  /** What the session's identity has saved on this worker. */
  checkpoints: { request: Record<string, never>; response: readonly CheckpointInfo[] }
  removeCheckpoint: { request: { name: string }; response: null }
  /** Answers once everything issued before is done; fails with the first failure that nobody has heard of. */
  flush: { request: Record<string, never>; response: null }
  ledger: { request: Record<string, never>; response: readonly LedgerEntry[] }
  stats: { request: Record<string, never>; response: WorkerStats }
}

export type MessageName = keyof Protocol
export type Request<N extends MessageName> = Protocol[N]['request']
export type Response<N extends MessageName> = Protocol[N]['response']
export type TellName = { [N in MessageName]: Protocol[N]['response'] extends void ? N : never }[MessageName]
export type AskName = Exclude<MessageName, TellName>

/** Kinds of frame; the first element of every frame. */
export const FrameKind = { request: 1, reply: 2, failure: 3, ack: 4, tunnel: 5 } as const

/** `seq` counts the requests of a session from 1, without gaps. */
export type RequestFrame = readonly [kind: 1, seq: number, name: string, body: unknown]
/** The answer to a request. */
export type ReplyFrame = readonly [kind: 2, seq: number, body: unknown]
/** The failure of a request, whether it wanted an answer or not; of number 0, of something that goes on by itself. */
export type FailureFrame = readonly [kind: 3, seq: number, error: ErrorWire]
/** Every request up to this one was carried out or has failed. */
export type AckFrame = readonly [kind: 4, seq: number]
/**
 * A message of a tunnel: what two workers, or a caller in a second session, say to each other where no connection of
 * their own can be made. To open one, `to` names the peer, or is empty for this very worker; null bytes close it.
 */
export type TunnelFrame = readonly [kind: 5, tunnel: string, to: string | null, message: Uint8Array | null]
export type Frame = RequestFrame | ReplyFrame | FailureFrame | AckFrame | TunnelFrame
