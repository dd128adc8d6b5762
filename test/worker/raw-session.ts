import { principalOf } from '../../src/worker/admission.ts'
import { type Capability, capabilityFor } from '../../src/worker/capabilities.ts'
import { decode, encode } from '../../src/worker/codec.ts'
import { dialPeer } from '../../src/worker/dial.ts'
import { defaultLimits, type Limits, WorkerHost } from '../../src/worker/host.ts'
import { Identity, toBase64Url } from '../../src/worker/identity.ts'
import {
  type ErrorWire,
  type Frame,
  FrameKind,
  type PeerIntroduction,
  PROTOCOL_VERSION,
} from '../../src/worker/protocol.ts'
import type { LocalCredentials } from '../../src/worker/transport/local.ts'
import { MemoryListener } from '../../src/worker/transport/memory.ts'
import type { Following, Transport } from '../../src/worker/transport/transport.ts'

/** 32 bytes that follow from a text: what is drawn at random elsewhere, and must be the same in every run here. */
const bytesFrom = (text: string): Uint8Array =>
  Uint8Array.from({ length: 32 }, (_, i) => text.charCodeAt(i % text.length))

/** A worker by itself, without a handle: sessions are opened frame by frame. */
export function hostForTest(limits: Partial<Limits> = {}, id = 'bob') {
  const host = new WorkerHost({
    id,
    limits: { ...defaultLimits, ...limits },
    identity: Identity.fromSecret(`ed25519-secret:${toBase64Url(bytesFrom(id))}`),
    dial: dialPeer(),
  })
  const listener = new MemoryListener({}, (transport, credentials) =>
    host.accept(transport, principalOf(host, credentials)),
  )
  return { host, address: listener.address, listener }
}

/** What a session says of a peer; unless given, the capability is good nowhere. */
export const introductionOf = (
  name: string,
  address: string,
  {
    key = keyOf(name),
    capability = { session: 'none', name, proof: new Uint8Array(32) },
  }: { key?: string; capability?: Capability } = {},
): PeerIntroduction => ({ name, address, key, capability })

const keyOf = (name: string): string => `key of ${name}`

export type Answer = { readonly value: unknown } | { readonly error: ErrorWire }

/** A session that sends whatever it is told to, frame by frame or byte by byte, and keeps every answer. */
export class RawSession implements Transport {
  readonly isSynchronous = false
  backlog = 0
  readonly traffic = { framesIn: 0, framesOut: 0, bytesIn: 0, bytesOut: 0 }
  readonly answers: Frame[] = []
  seq = 0
  /** The session that it said hello as, and its secret. */
  id = ''
  secret: Uint8Array | null = null
  /** Why it was closed; undefined while it is open. */
  closed: { readonly reason: Error | undefined } | undefined
  readonly #host: WorkerHost
  #toHost: (frame: Frame | Error, following?: Following) => void = () => {}
  #drained: (() => void)[] = []
  readonly #onClose: ((reason: Error | undefined) => void)[] = []

  constructor(host: WorkerHost, credentials: LocalCredentials = { role: 'caller' }) {
    this.#host = host
    host.accept(this, principalOf(host, credentials))
  }

  send(frame: Frame): void {
    // What cannot be encoded would break a session over a socket.
    this.answers.push(decode(encode(frame)))
  }
  onFrame(listener: (frame: Frame | Error, following?: Following) => void): void {
    this.#toHost = listener
  }
  onClose(listener: (reason: Error | undefined) => void): void {
    this.#onClose.push(listener)
  }
  onDrain(listener: () => void): void {
    if (this.backlog === 0) listener()
    else this.#drained.push(listener)
  }
  /** All that was sent has left. */
  drain(): void {
    this.backlog = 0
    for (const listener of this.#drained.splice(0)) listener()
  }
  close(reason?: Error): void {
    if (this.closed) return
    this.closed = { reason }
    for (const listener of this.#onClose) listener(reason)
  }

  /** Hands the worker a frame as it is, well formed or not. */
  raw(frame: unknown): void {
    this.#toHost(frame as Frame)
  }

  /** Hands the worker bytes, through the codec. */
  bytes(bytes: Uint8Array): void {
    let frame: Frame | Error
    try {
      frame = decode(bytes)
    } catch (error) {
      frame = error as Error
    }
    this.#toHost(frame)
  }

  /** Sends a request of which so many bytes are still on their way; gives its number, and how they come, or were dropped. */
  announce(name: string, body: unknown, total: number) {
    let come = () => {}
    const whole = new Promise<void>((resolve) => {
      come = resolve
    })
    const parts = { come, isDropped: false }
    const drop = () => {
      parts.isDropped = true
    }
    this.#toHost([FrameKind.request, ++this.seq, name, body], { whole, total, drop, onProgress() {} })
    return { seq: this.seq, parts }
  }

  /** Sends a request under the next number; gives the number. */
  request(name: string, body: unknown): number {
    this.raw([FrameKind.request, ++this.seq, name, body])
    return this.seq
  }

  hello(
    name: string,
    { session = name, version = PROTOCOL_VERSION, secret = bytesFrom(session) as Uint8Array | null } = {},
  ): this {
    this.id = session
    this.secret = secret
    this.request('hello', { version, name, session, secret })
    return this
  }

  /** Leave for a peer to hand things to this session, as its caller gives it. */
  capability(name: string, key = keyOf(name)): Capability {
    return capabilityFor(this.secret!, { session: this.id, name, key })
  }

  /** A peer that comes with such a capability, and has said hello. */
  peer(name: string, key = keyOf(name)): RawSession {
    const credentials = { role: 'peer', capability: this.capability(name, key), key } as const
    return new RawSession(this.#host, credentials).hello(name, { secret: null })
  }

  /** What was answered to a request: a value, an error, or nothing. */
  answer(seq: number): Answer | undefined {
    const frame = this.answers.find(([kind, n]) => n === seq && kind !== FrameKind.ack)
    if (frame === undefined) return undefined
    return frame[0] === FrameKind.reply ? { value: frame[2] } : { error: frame[2] as ErrorWire }
  }

  /** Sends a request and gives what was answered at once. */
  ask(name: string, body: unknown): Answer | undefined {
    return this.answer(this.request(name, body))
  }

  /** The code with which a request failed, or what else became of it. */
  outcome(name: string, body: unknown): string {
    const answer = this.ask(name, body)
    return answer === undefined ? 'no answer' : 'error' in answer ? answer.error.code : 'value'
  }

  /** The code with which the session was closed, or what else became of it. */
  get state(): string {
    if (this.closed === undefined) return 'open'
    return (this.closed.reason as { code?: string } | undefined)?.code ?? 'closed'
  }
}
