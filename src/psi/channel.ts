/**
 * What two parties of an intersection need of each other: messages in order. Whatever carries them (workers, a socket, a
 * pair of queues) is behind {@link Channel}; what is said is in `messages.ts`, and {@link Conversation} holds the peer to it.
 */
import { isSottoError, sottoError } from '../errors.ts'
import { afterAwake } from '../worker/transport/awake.ts'

/** A way to one peer. */
export interface Channel {
  /** Sends a message, 64 MB at most; resolves when there is room for the next. Rejects once the way is gone. */
  send(message: Uint8Array): Promise<void>
  /** The next message of the peer's; rejects once the way is gone, with the code that says why. */
  receive(): Promise<Uint8Array>
}

/** Kinds of message: the first byte of each. */
export const Kind = {
  /** The sender gives up, and says with which code. */
  end: 0,
  hello: 1,
  /** Base transfers: the sender's point; the receiver's points. */
  basePoint: 2,
  basePoints: 3,
  /** Corrections of the transfers that are extended. */
  transfers: 4,
  /** Rows of corrections of the oblivious PRF, a block of them. */
  rows: 5,
  /** Points of the curve: blinded, and evaluated. */
  blinded: 6,
  evaluated: 7,
  /** What the sender's values came to: tags of them, and payloads. */
  tags: 8,
  payloads: 9,
  /** What the receiver found: places of the sender's tags, or how many. */
  found: 10,
  foundPayloads: 11,
  /** A table of values to be looked up by the outputs of the PRF. */
  table: 12,
} as const
export type KindName = keyof typeof Kind

/** How long a message must be, its first byte apart. */
export type Length = number | { readonly from?: number; readonly to: number; readonly of?: number }

/** Bytes of a message at most, so that the memory of both ends stays bounded. */
export const LARGEST = 2 ** 26

/** Milliseconds to wait for each message of a peer's, unless told otherwise. */
export const PATIENCE = 60_000

const fits = (bytes: number, length: Length): boolean => {
  if (typeof length === 'number') return bytes === length
  const { from = 0, to, of = 1 } = length
  return bytes >= from && bytes <= to && bytes % of === 0
}
const shown = (length: Length): string =>
  typeof length === 'number' ? `${length}` : `${length.from ?? 0} to ${length.to}, in steps of ${length.of ?? 1},`

/** What was said over a channel. */
export interface Traffic {
  readonly bytesSent: number
  readonly bytesReceived: number
  /** How often this end began to wait for the peer after it had said something. */
  readonly turns: number
}

/** A channel whose messages must be of the kind and length that are next. What is not ends the conversation on both sides. */
export class Conversation {
  readonly #channel: Channel
  readonly #peer: string
  readonly #timeout: number
  readonly #signal: AbortSignal | undefined
  #sent = 0
  #received = 0
  #turns = 0
  #hasSpoken = false

  /** @param options.peer the peer's name, for messages; options.timeout milliseconds to wait for each of its messages */
  constructor(
    channel: Channel,
    { peer = 'the peer', timeout = PATIENCE, signal }: { peer?: string; timeout?: number; signal?: AbortSignal } = {},
  ) {
    this.#channel = channel
    this.#peer = peer
    this.#timeout = timeout
    this.#signal = signal
  }

  get peer(): string {
    return this.#peer
  }
  get traffic(): Traffic {
    return { bytesSent: this.#sent, bytesReceived: this.#received, turns: this.#turns }
  }

  async send(kind: KindName, ...parts: readonly Uint8Array[]): Promise<void> {
    const message = new Uint8Array(1 + parts.reduce((sum, { length }) => sum + length, 0))
    message[0] = Kind[kind]
    let at = 1
    for (const part of parts) {
      message.set(part, at)
      at += part.length
    }
    this.#sent += message.length
    this.#hasSpoken = true
    await this.#inTime(this.#channel.send(message), `${this.#peer} took nothing`)
  }

  /**
   * The body of the next message, which must be of this kind and length.
   *
   * @throws ProtocolError `ERR_PROTOCOL` for another; SessionError `ERR_TIMEOUT`, or what the channel says when it is gone;
   * `ERR_PARTY_LOST` when the peer gave up
   */
  async expect(kind: KindName, length: Length): Promise<Uint8Array> {
    if (this.#hasSpoken) this.#turns++
    this.#hasSpoken = false
    const message = await this.#inTime(this.#channel.receive(), `${this.#peer} has sent nothing`)
    this.#received += message.length
    if (message[0] === Kind.end) {
      // The peer's word, of which no more is passed on than a code may be.
      const code = new TextDecoder().decode(message.subarray(1, 65)).replace(/[^A-Z_]/g, '')
      throw sottoError('ERR_PARTY_LOST', `${this.#peer} gave up${code === '' ? '' : ` with ${code}`}`, { code })
    }
    if (message[0] !== Kind[kind]) {
      throw sottoError('ERR_PROTOCOL', `${this.#peer}: a message of kind ${kind} was to come, another came`)
    }
    if (!fits(message.length - 1, length)) {
      throw sottoError(
        'ERR_PROTOCOL',
        `${this.#peer}: ${shown(length)} bytes of ${kind} were to come, ${message.length - 1} came`,
      )
    }
    return message.subarray(1)
  }

  /** Tells the peer that nothing more will come; never throws. */
  async giveUp(error: unknown): Promise<void> {
    // A peer that gave up itself knows.
    if (isSottoError(error) && error.code === 'ERR_PARTY_LOST') return
    const code = new TextEncoder().encode(isSottoError(error) ? error.code : 'ERR_OPERATION_FAILED')
    const message = new Uint8Array(1 + code.length)
    message.set(code, 1)
    await Promise.race([this.#channel.send(message), new Promise((resolve) => setTimeout(resolve, 1000))]).catch(
      () => {},
    )
  }

  /** @throws ProtocolError `ERR_PROTOCOL` that says what the peer did */
  refuse(what: string): never {
    throw sottoError('ERR_PROTOCOL', `${this.#peer}: ${what}`)
  }

  #inTime<T>(work: Promise<T>, what: string): Promise<T> {
    const signal = this.#signal
    return new Promise((resolve, reject) => {
      const late = () => reject(sottoError('ERR_TIMEOUT', `${what} for ${this.#timeout} ms`, { peer: this.#peer }))
      const callOff = afterAwake(this.#timeout, late)
      const abort = () => reject(sottoError('ERR_ABORTED', 'the intersection was given up', {}, signal?.reason))
      if (signal?.aborted) abort()
      signal?.addEventListener('abort', abort, { once: true })
      work.then(resolve, reject).finally(() => {
        callOff()
        signal?.removeEventListener('abort', abort)
      })
    }).finally(() => {}) as Promise<T>
  }
}

/** Does what comes before a conversation. If it fails, those who wait at the other end of the channels are told so. */
export async function orGiveUp<T>(channels: readonly Channel[], action: () => T): Promise<T> {
  try {
    return action()
  } catch (error) {
    await Promise.all(channels.map((channel) => new Conversation(channel).giveUp(error)))
    throw error
  }
}

/** Two ends of a channel inside one process. */
export function channelPair(): [Channel & { close(reason?: Error): void }, Channel & { close(reason?: Error): void }] {
  const [a, b] = [new Inbox(), new Inbox()]
  const end = (own: Inbox, other: Inbox) => ({
    send: (message: Uint8Array) => other.put(message),
    receive: () => own.take(),
    close: (reason: Error = sottoError('ERR_SESSION_CLOSED', 'the channel was closed')) => {
      own.fail(reason)
      other.fail(reason)
    },
  })
  return [end(a, b), end(b, a)]
}

/** Messages that have come and that nobody has taken yet; whoever sends waits while there are many. */
export class Inbox {
  readonly #messages: Uint8Array[] = []
  readonly #takers: { resolve(message: Uint8Array): void; reject(error: Error): void }[] = []
  readonly #waiting: (() => void)[] = []
  readonly #most: number
  #failed: Error | null = null

  /** @param most messages that may lie here before who sends must wait */
  constructor(most = 8) {
    this.#most = most
  }

  /** How many lie here. */
  get size(): number {
    return this.#messages.length
  }

  /** Resolves when there is room for another. */
  put(message: Uint8Array): Promise<void> {
    if (this.#failed !== null) return Promise.reject(this.#failed)
    const taker = this.#takers.shift()
    if (taker !== undefined) {
      taker.resolve(message)
      return Promise.resolve()
    }
    this.#messages.push(message)
    if (this.#messages.length < this.#most) return Promise.resolve()
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  /** What has come is given out even when the channel is gone. */
  take(): Promise<Uint8Array> {
    const message = this.#messages.shift()
    if (message !== undefined) {
      this.#waiting.shift()?.()
      return Promise.resolve(message)
    }
    if (this.#failed !== null) return Promise.reject(this.#failed)
    return new Promise((resolve, reject) => this.#takers.push({ resolve, reject }))
  }

  fail(error: Error): void {
    this.#failed ??= error
    for (const { reject } of this.#takers.splice(0)) reject(error)
    for (const resolve of this.#waiting.splice(0)) resolve()
  }
}
