/**
 * A stranger at a socket: says whatever it is told to, in whatever order, and keeps every byte that it hears.
 *
 * The handshake is made by hand, so that every part of it can be wrong.
 */
import { hmac } from '@noble/hashes/hmac.js'
import { sha256 } from '@noble/hashes/sha2.js'
import { type ClientOptions, WebSocket } from 'ws'
import { encodeValue, readValues } from '../../src/worker/codec.ts'
import type { Identity } from '../../src/worker/identity.ts'
import { type ErrorWire, type Frame, FrameKind } from '../../src/worker/protocol.ts'
import type { Credentials } from '../../src/worker/transport/handshake.ts'
import { joined, MessageKind, messageOf } from '../../src/worker/transport/messages.ts'

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}

const random = (length: number): Uint8Array => globalThis.crypto.getRandomValues(new Uint8Array(length))

/** What a worker says at the end of a handshake. */
export interface Welcome {
  readonly link: string
  readonly secret: Uint8Array
  readonly received: number
  readonly identity: string | null
}

/** Shows that a link was one's own, as whoever dialled it would. */
export const proofOf = (secret: Uint8Array, said: Uint8Array): Uint8Array =>
  hmac(sha256, secret, concat(new TextEncoder().encode('sotto resume 1'), sha256(said)))

export interface Shown {
  readonly credentials: Credentials
  /** Whose key is shown; the signature is made with `signs`, which is the same unless given. */
  readonly identity?: Identity | null
  readonly signs?: Identity | null
  /** The link to go on with, from what was said before it. */
  readonly link?: (said: Uint8Array) => { id: string; proof: Uint8Array; received: number }
}

export class Stranger {
  readonly socket: WebSocket
  /** Every message that came, oldest first. */
  readonly heard: Uint8Array[] = []
  /** The number of the last request. */
  seq = 0
  #at = 0
  /** Messages that were read for answers. */
  #read = 0
  readonly #answers = new Map<number, { readonly value: unknown } | { readonly error: ErrorWire }>()
  readonly #waiting: (() => void)[] = []
  /** How the WebSocket was closed; null while it is open. */
  closed: number | null = null

  private constructor(socket: WebSocket) {
    this.socket = socket
    const changed = () => {
      for (const resume of this.#waiting.splice(0)) resume()
    }
    socket.on('message', (data: Buffer) => {
      this.heard.push(new Uint8Array(data))
      changed()
    })
    socket.on('error', () => {})
    socket.on('close', (code) => {
      this.closed = code
      changed()
    })
  }

  /** Connects, and says nothing. Rejects with what the server answers instead. */
  static open(url: string, options: ClientOptions = {}): Promise<Stranger> {
    const socket = new WebSocket(url, { perMessageDeflate: false, maxPayload: 2 ** 30, ...options })
    const stranger = new Stranger(socket)
    return new Promise((resolve, reject) => {
      socket.once('open', () => resolve(stranger))
      socket.once('error', reject)
    })
  }

  /** Connects and comes in by a token, or by its word. */
  static async enter(url: string, token: string | null = null, options: ClientOptions = {}): Promise<Stranger> {
    const stranger = await Stranger.open(url, options)
    await stranger.shake({ credentials: { role: 'caller', identity: null, token } })
    return stranger
  }

  send(message: Uint8Array): void {
    this.socket.send(message)
  }

  /** The next message. Rejects once none can come. */
  async next(): Promise<readonly unknown[]> {
    while (this.#at === this.heard.length) {
      if (this.closed !== null) throw new Error(`closed with ${this.closed}, and nothing said`)
      await this.#change()
    }
    return readValues(this.heard[this.#at++]!)
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  /** Shakes hands. Rejects with the code and message with which it was refused. */
  async shake({ credentials, identity = null, signs = identity, link }: Shown): Promise<Welcome> {
    const first = messageOf(MessageKind.shake, { version: 1, nonce: random(32), ephemeral: null })
    this.send(first)
    const [, challenge] = await this.next()
    const said = concat(first, challenge as Uint8Array)
    const answer = encodeValue({ credentials, key: identity?.key ?? null, link: link?.(said) ?? null })
    const signature = signs?.sign('sotto answer 1', concat(said, answer)) ?? null
    this.send(messageOf(MessageKind.shake, answer, signature))
    const [kind, welcome] = await this.next()
    if (kind === MessageKind.bye) throw Object.assign(new Error('refused'), welcome as object)
    return welcome as Welcome
  }

  /** The code with which a handshake was refused, or 'let in'. */
  async attempt(shown: Shown): Promise<string> {
    try {
      await this.shake(shown)
      return 'let in'
    } catch (error) {
      return (error as { code?: string }).code ?? (error as Error).message
    }
  }

  frames(...frames: readonly unknown[]): void {
    this.packed(frames.map(encodeValue))
  }
  /** Sends frames that are packed already. */
  packed(frames: readonly Uint8Array[]): void {
    this.send(joined(MessageKind.frames, frames))
  }

  /** Sends a request under the next number; gives the number. */
  request(name: string, body: unknown): number {
    this.frames([FrameKind.request, ++this.seq, name, body])
    return this.seq
  }

  hello(name: string, { session = globalThis.crypto.randomUUID() as string, secret = random(32) } = {}): this {
    this.request('hello', { version: 1, name, session, secret })
    return this
  }

  /** What was answered to a request: a value, or the error; undefined if nothing yet. */
  answerTo(seq: number): { readonly value: unknown } | { readonly error: ErrorWire } | undefined {
    while (this.#read < this.heard.length) {
      const [kind, ...frames] = readValues(this.heard[this.#read++]!)
      if (kind !== MessageKind.frames) continue
      for (const frame of frames as Frame[]) {
        if (frame[0] === FrameKind.reply) this.#answers.set(frame[1], { value: frame[2] })
        else if (frame[0] === FrameKind.failure) this.#answers.set(frame[1], { error: frame[2] })
      }
    }
    return this.#answers.get(seq)
  }

  /** Sends a request that is answered; gives the code of its failure, or 'value', or how the session ended instead. */
  async outcome(name: string, body: unknown): Promise<string> {
    const seq = this.request(name, body)
    for (;;) {
      const answer = this.answerTo(seq)
      if (answer !== undefined) return 'error' in answer ? answer.error.code : 'value'
      if (this.closed !== null) return `closed, ${this.goodbye}`
      await this.#change()
    }
  }

  /** The code with which the worker said goodbye; 'nothing said' if it did not. */
  get goodbye(): string {
    for (const message of this.heard) {
      const [kind, reason] = readValues(message)
      if (kind === MessageKind.bye) return (reason as { code: string } | null)?.code ?? 'no reason'
    }
    return 'nothing said'
  }

  /** Waits until the connection is closed; gives the code of the goodbye. */
  async end(): Promise<string> {
    while (this.closed === null) await this.#change()
    return this.goodbye
  }

  /** Ends the session, and everything of it. */
  leave(): Promise<string> {
    this.send(messageOf(MessageKind.bye, null))
    return this.end()
  }

  /** Hangs up without a word. */
  vanish(): void {
    this.socket.terminate()
  }
}

/** Whether some bytes stand anywhere in others. */
export const contains = (bytes: Uint8Array, part: Uint8Array): boolean =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).includes(Buffer.from(part))
