import { decode, encode } from '../../src/worker/codec.ts'
import { defaultLimits, type Limits, WorkerHost } from '../../src/worker/host.ts'
import { type ErrorWire, type Frame, FrameKind, PROTOCOL_VERSION } from '../../src/worker/protocol.ts'
import { dialMemory, MemoryListener } from '../../src/worker/transport/memory.ts'
import type { Transport } from '../../src/worker/transport/transport.ts'

/** A worker by itself, without a handle: sessions are opened frame by frame. */
export function hostForTest(limits: Partial<Limits> = {}, id = 'bob') {
  const host = new WorkerHost({
    id,
    limits: { ...defaultLimits, ...limits },
    dial: (address) => dialMemory(address, {}),
  })
  const listener = new MemoryListener({}, (transport) => host.accept(transport))
  return { host, address: listener.address, listener }
}

export type Answer = { readonly value: unknown } | { readonly error: ErrorWire }

/** A session that sends whatever it is told to, frame by frame or byte by byte, and keeps every answer. */
export class RawSession implements Transport {
  readonly isSynchronous = false
  readonly traffic = { framesIn: 0, framesOut: 0, bytesIn: 0, bytesOut: 0 }
  readonly answers: Frame[] = []
  seq = 0
  /** Why it was closed; undefined while it is open. */
  closed: { readonly reason: Error | undefined } | undefined
  #toHost: (frame: Frame | Error) => void = () => {}
  readonly #onClose: ((reason: Error | undefined) => void)[] = []

  constructor(host: WorkerHost) {
    host.accept(this)
  }

  send(frame: Frame): void {
    // What cannot be encoded would break a session over a socket.
    this.answers.push(decode(encode(frame)))
  }
  onFrame(listener: (frame: Frame | Error) => void): void {
    this.#toHost = listener
  }
  onClose(listener: (reason: Error | undefined) => void): void {
    this.#onClose.push(listener)
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

  /** Sends a request under the next number; gives the number. */
  request(name: string, body: unknown): number {
    this.raw([FrameKind.request, ++this.seq, name, body])
    return this.seq
  }

  hello(name: string, { role = 'caller', session = name, version = PROTOCOL_VERSION } = {}): this {
    this.request('hello', { version, role, name, session })
    return this
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
