/** Connections inside one process whose messages wait until somebody delivers them, and that break when told to. */
import type { Channel } from '../../src/worker/transport/channel.ts'

/** One end of a wire. */
export class End implements Channel {
  readonly route = 'direct'
  readonly certificate = null
  other!: End
  /** Messages on their way to the other end, oldest first; null is the end. */
  readonly underWay: (Uint8Array | null)[] = []
  /** Bytes that were sent, and bytes among them that have not been delivered. */
  sent = 0
  #buffered = 0
  readonly #wire: Wire
  #onMessage: ((message: Uint8Array) => void) | null = null
  #onDrain: (() => void) | null = null
  readonly #onClose: ((reason: Error | undefined) => void)[] = []
  readonly #early: Uint8Array[] = []
  #isClosing = false
  #closed: { readonly reason: Error | undefined } | null = null

  constructor(wire: Wire) {
    this.#wire = wire
  }

  get isClosed(): boolean {
    return this.#isClosing || this.#closed !== null
  }
  /** Whether somebody listens to what comes. */
  get isListening(): boolean {
    return this.#onMessage !== null
  }
  get buffered(): number {
    return this.#wire.isSwift ? 0 : this.#buffered
  }

  send(message: Uint8Array): void {
    if (this.isClosed || this.#wire.isCut) return
    this.underWay.push(message)
    this.sent += message.length
    this.#buffered += message.length
    this.#wire.onSent()
  }

  /** Delivers the oldest message under way; whether there was one. */
  deliver(): boolean {
    const message = this.underWay.shift()
    if (message === undefined) return false
    if (message === null) {
      this.other.end(undefined)
      this.end(undefined)
    } else {
      this.#buffered -= message.length
      this.other.#take(message)
      this.#onDrain?.()
    }
    return true
  }

  /** As from a WebSocket: what was under way when this end closed it may still come. */
  #take(message: Uint8Array): void {
    if (this.#onMessage === null) this.#early.push(message)
    else this.#onMessage(message)
  }

  /** What was not delivered is lost; nobody is told yet. */
  lose(): void {
    this.underWay.length = 0
    this.#buffered = 0
  }

  /** Tells this end that the wire is broken. */
  end(reason: Error | undefined): void {
    if (this.#closed) return
    this.#closed = { reason }
    for (const listener of this.#onClose.splice(0)) listener(reason)
  }

  onDrain(listener: () => void): void {
    this.#onDrain = listener
  }
  onMessage(listener: ((message: Uint8Array) => void) | null): void {
    this.#onMessage = listener
    while (this.#onMessage !== null && this.#early.length > 0) this.#onMessage(this.#early.shift()!)
  }
  onClose(listener: (reason: Error | undefined) => void): void {
    if (this.#closed) listener(this.#closed.reason)
    else this.#onClose.push(listener)
  }
  /** As a WebSocket does: what was sent before still arrives, and the end is known when it has. */
  close(): void {
    if (this.isClosed) return
    this.#isClosing = true
    if (!this.#wire.isCut) this.underWay.push(null)
    this.#wire.onSent()
  }
}

export class Wire {
  readonly ends: readonly [End, End]
  isCut = false
  /** Whether messages leave an end at once, and lie on the way until they are delivered. */
  readonly isSwift: boolean
  /** Told of every message that is sent. */
  onSent: () => void = () => {}

  constructor({ isSwift = false } = {}) {
    this.isSwift = isSwift
    this.ends = [new End(this), new End(this)]
    this.ends[0].other = this.ends[1]
    this.ends[1].other = this.ends[0]
  }

  /** Breaks it. What was not delivered is lost; {@link End.end} tells an end. */
  cut(): void {
    this.isCut = true
    for (const end of this.ends) end.lose()
  }

  /** Breaks it, and tells both ends. */
  break(reason?: Error): void {
    this.cut()
    for (const end of this.ends) end.end(reason)
  }

  /** Delivers up to so many messages from an end. */
  deliver(from: 0 | 1, count = Number.POSITIVE_INFINITY): number {
    let delivered = 0
    while (delivered < count && this.ends[from].deliver()) delivered++
    return delivered
  }
}
