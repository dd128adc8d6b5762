/**
 * A transport that outlives its connections.
 *
 * Both ends count the messages that carry frames, and keep what the other has not said it got. When a channel breaks,
 * whoever dialled makes another; each says how much it has, and what is missing is sent again: every frame arrives once
 * and in order, whatever becomes of the channels in between.
 *
 * The large parts of a frame follow it in pieces, those of several frames in turn, so that small frames need not wait.
 */
import { sottoError } from '../../errors.ts'
import type { Progress } from '../../tensor/location.ts'
import { encodeHere } from '../codec.ts'
import { unfilledBytes } from '../memory-pool.ts'
import type { Frame } from '../protocol.ts'
import { unheld } from './awake.ts'
import type { Channel } from './channel.ts'
import {
  byeOf,
  isCounted,
  joined,
  MessageKind,
  messageOf,
  type Part,
  partsOf,
  pieceOf,
  pieceRoom,
  putPart,
  readMessage,
} from './messages.ts'
import type { Following, Traffic, Transport } from './transport.ts'

/** Frames are collected up to so many bytes, or until the end of what is going on. */
const BATCH = 64 * 2 ** 10
/** A frame of more bytes makes a message by itself: to collect it would copy it once more. */
const ALONE = 8 * 2 ** 10
/** Bytes of one piece. */
const PIECE = 256 * 2 ** 10
/** A backlog of so much is small; pieces are made while the channel has no more: a small frame may have to wait for it. */
const SMALL = 2 ** 20
/** Bytes of pieces on their way. */
const WINDOW = 16 * 2 ** 20
/** A piece of more bytes takes a room of a whole one. */
const ROOM_FROM = PIECE / 4
/** Rooms of pieces that have arrived, kept for others of the same link, until the next beat of its heart. */
const ROOMS = 4
/** Say what came at least so often: of bytes, before who waits for a small backlog waits for the word alone. */
const RECEIVED_EVERY = 64
const RECEIVED_BYTES = SMALL / 2
const RECEIVED_AFTER = 200

const EMPTY = new Uint8Array(0)
const LEAST = 1024

/** The same bytes, in memory for so many at least. */
function withRoom(bytes: Uint8Array, length: number): Uint8Array {
  if (bytes.length >= length) return bytes
  const larger = new Uint8Array(Math.max(LEAST, 2 ** Math.ceil(Math.log2(length))))
  larger.set(bytes)
  return larger
}

export interface LinkOptions {
  /** Bytes of a message that the other end takes. */
  readonly message: number
  /** Bytes of the large parts of frames that may be on their way to this end. */
  readonly parts: number
  /** Milliseconds without a word after which the other end is asked for one; 0 for never. */
  readonly heartbeat: number
}

/** A large part on its way to the other end. */
interface Outgoing {
  readonly id: number
  readonly bytes: Uint8Array
  at: number
  readonly sending: Sending
}
/** A frame whose parts are on their way. */
interface Sending {
  done: number
  readonly total: number
  readonly onProgress: ((progress: Progress) => void) | undefined
}

/** A large part on its way to this end. */
interface Incoming {
  readonly length: number
  /** Null where nobody wants it. */
  bytes: Uint8Array | null
  at: number
  readonly path: Part[2]
  readonly arriving: Arriving
}
/** A frame whose parts are on their way to this end. */
class Arriving implements Following {
  readonly frame: Frame
  readonly total: number
  done = 0
  missing: number
  readonly incoming: Incoming[] = []
  readonly whole: Promise<void>
  settle!: { resolve(): void; reject(error: Error): void }
  #listeners: ((progress: Progress) => void)[] = []

  constructor(frame: Frame, parts: readonly Part[]) {
    this.frame = frame
    this.total = parts.reduce((sum, [, length]) => sum + length, 0)
    this.missing = parts.length
    this.whole = new Promise((resolve, reject) => {
      this.settle = { resolve, reject }
    })
    // Whoever does not look at it is not to be told by the runtime.
    this.whole.catch(() => {})
  }

  onProgress(listener: (progress: Progress) => void): void {
    this.#listeners.push(listener)
  }
  drop(): void {
    for (const part of this.incoming) part.bytes = null
  }
  come(bytes: number): void {
    this.done += bytes
    for (const listener of this.#listeners) tell(listener, this)
  }
}

interface Retained {
  readonly message: Uint8Array
  /** Of a piece: the frame that it belongs to, and how many bytes it carries. */
  readonly piece: { readonly sending: Sending; readonly bytes: number } | null
}

export class Link implements Transport {
  readonly isSynchronous = false
  readonly traffic: Traffic = { framesIn: 0, framesOut: 0, bytesIn: 0, bytesOut: 0 }
  readonly #options: LinkOptions
  #message: number
  #channel: Channel | null = null
  #route: Channel['route'] | null = null
  #closed: { readonly reason: Error | undefined } | null = null

  /** A message that is being made of frames, and its length; it begins with its kind. */
  #batch: Uint8Array = EMPTY
  #batchBytes = 0
  #isScheduled = false
  /** Counted messages that the other end has not said it got, oldest first; the first is number `#dropped`. */
  #retained: Retained[] = []
  #retainedBytes = 0
  #dropped = 0
  /** How many of them were given to the channel that there is. */
  #given = 0
  /** Large parts of which something is still to be sent, in turn. */
  readonly #outgoing: Outgoing[] = []
  #outgoingBytes = 0
  #piecesUnderWay = 0
  /** Memory of pieces that have arrived. */
  readonly #rooms: Uint8Array[] = []
  #nextPart = 0

  #received = 0
  #unsaidMessages = 0
  #unsaidBytes = 0
  #sayTimer: ReturnType<typeof setTimeout> | null = null
  readonly #incoming = new Map<number, Incoming>()
  #incomingBytes = 0

  #heartbeatTimer: ReturnType<typeof setInterval> | null = null
  #lastHeard = 0
  #isAsked = false

  #frameListener: ((frame: Frame | Error, following?: Following) => void) | null = null
  readonly #early: [Frame | Error, Following | undefined][] = []
  readonly #closeListeners: ((reason: Error | undefined) => void)[] = []
  readonly #beginListeners: (() => void)[] = []
  readonly #lostListeners: ((reason: Error | undefined) => void)[] = []
  readonly #drainListeners: (() => void)[] = []
  /** Called when the other end has been silent although it was asked for a word. */
  onSilence: () => void = () => {}

  constructor(options: LinkOptions) {
    this.#options = options
    this.#message = options.message
  }

  /**
   * Sets how many bytes of a message the other end takes.
   *
   * @throws SessionError `ERR_LIMIT` when one waits that is larger
   */
  limit(message: number): void {
    this.#message = message
    for (const { message: waiting } of this.#retained) this.#checkLimit(waiting.length)
  }

  /** By the way on which it began: it goes on by no other. */
  get isRelayed(): boolean {
    return this.#route === 'relayed'
  }
  onBegin(listener: () => void): void {
    if (this.#route === null) this.#beginListeners.push(listener)
  }
  /** Counted messages that came. */
  get received(): number {
    return this.#received
  }
  /** Counted messages that came, and that arrived at the other end: it grows as long as the link is of use. */
  get passed(): number {
    return this.#received + this.#dropped
  }
  get isAttached(): boolean {
    return this.#channel !== null
  }
  /** Whether there is a channel, and no question without an answer on it. */
  get isHeard(): boolean {
    return this.#channel !== null && !this.#isAsked
  }
  get isClosed(): boolean {
    return this.#closed !== null
  }
  get backlog(): number {
    return this.#batchBytes + this.#retainedBytes + this.#outgoingBytes
  }

  /** Whether the other end can have so many of our counted messages: those before them are not kept. */
  canHave(theirs: number): boolean {
    return theirs >= this.#dropped && theirs <= this.#dropped + this.#retained.length
  }

  /**
   * Goes on over a channel.
   *
   * @param theirs how many of our counted messages the other end has
   * @throws ProtocolError when it cannot have so many; the channel is closed
   */
  attach(channel: Channel, theirs: number): void {
    if (this.#closed || !this.canHave(theirs)) {
      const wrong = sottoError('ERR_PROTOCOL', 'the other end has another number of messages than can be')
      channel.send(byeOf(this.#closed ? this.#closed.reason : wrong))
      channel.close()
      if (this.#closed) return
      throw wrong
    }
    this.detach()
    const arrived = this.#drop(theirs)
    this.#channel = channel
    this.#route ??= channel.route
    for (const listener of this.#beginListeners.splice(0)) listener()
    this.#lastHeard = performance.now()
    this.#isAsked = false
    this.#given = 0
    this.#flush()
    const { heartbeat } = this.#options
    if (heartbeat > 0) this.#heartbeatTimer ??= unheld(setInterval(() => this.#beat(), heartbeat))
    this.#arrived(arrived)
    this.#pump()
    // A last word may have come before the end.
    this.goOn()
    channel.onClose((reason) => {
      if (this.#channel !== channel) return
      this.#channel = null
      for (const listener of this.#lostListeners) listener(reason)
    })
  }

  /** Takes nothing from the channel until {@link goOn}, or until there is another channel: what is counted stays so. */
  pause(): void {
    this.#channel?.onMessage(null)
  }
  goOn(): void {
    const channel = this.#channel
    channel?.onMessage((message) => {
      if (this.#channel === channel) this.#take(message)
    })
  }

  /** Lets the channel go: what still comes over it is not taken. */
  detach(): void {
    const channel = this.#channel
    this.#channel = null
    channel?.close()
  }

  /** Calls back when the channel breaks, and the link does not end with it. */
  onLost(listener: (reason: Error | undefined) => void): void {
    this.#lostListeners.push(listener)
  }

  #beat(): void {
    if (this.#outgoing.length === 0) this.#rooms.length = 0
    if (this.#channel === null || performance.now() - this.#lastHeard < this.#options.heartbeat) return
    if (this.#isAsked) this.onSilence()
    this.#isAsked = true
    this.#channel?.send(messageOf(MessageKind.ping))
  }

  send(frame: Frame, onProgress?: (progress: Progress) => void): void {
    if (this.#closed) return
    const large = partsOf(frame)
    if (large !== null) return this.#sendLarge(large, onProgress)
    const bytes = encodeHere(frame)
    this.#checkLimit(bytes.length + 1)
    this.traffic.framesOut++
    if (bytes.length > ALONE) {
      this.#flush()
      return this.#retain(joined(MessageKind.frames, [bytes]), null)
    }
    if (this.#batchBytes + bytes.length > BATCH) this.#flush()
    if (this.#batchBytes === 0) this.#batchBytes = 1
    this.#batch = withRoom(this.#batch, this.#batchBytes + bytes.length)
    this.#batch.set(bytes, this.#batchBytes)
    this.#batchBytes += bytes.length
    if (this.#batchBytes >= BATCH) this.#flush()
    else if (!this.#isScheduled) {
      this.#isScheduled = true
      queueMicrotask(() => {
        this.#isScheduled = false
        this.#flush()
      })
    }
  }

  #sendLarge(
    { head, parts }: NonNullable<ReturnType<typeof partsOf>>,
    onProgress: ((progress: Progress) => void) | undefined,
  ): void {
    this.#flush()
    const total = parts.reduce((sum, { bytes }) => sum + bytes.length, 0)
    const sending: Sending = { done: 0, total, onProgress }
    const message = this.#headOf({ head, parts })
    this.traffic.framesOut++
    this.#retain(message, null)
    for (const { bytes } of parts) this.#outgoing.push({ id: this.#nextPart++, bytes, at: 0, sending })
    this.#outgoingBytes += total
    this.#pump()
  }

  /** The message before the parts of a frame, which get the next numbers. */
  #headOf({ head, parts }: NonNullable<ReturnType<typeof partsOf>>): Uint8Array {
    const list = parts.map(({ bytes, path }, i) => [this.#nextPart + i, bytes.length, path])
    const message = messageOf(MessageKind.headed, head, list)
    this.#checkLimit(message.length)
    return message
  }

  check(frame: Frame): void {
    const large = partsOf(frame)
    if (large !== null) this.#headOf(large)
    else this.#checkLimit(encodeHere(frame).length + 1)
  }

  #checkLimit(bytes: number): void {
    if (bytes <= this.#message) return
    throw sottoError('ERR_LIMIT', `a message of ${bytes} bytes is above the limit of ${this.#message}`)
  }

  #flush(): void {
    if (this.#batchBytes === 0) return
    const message = this.#batch.slice(0, this.#batchBytes)
    message[0] = MessageKind.frames
    this.#batchBytes = 0
    this.#retain(message, null)
  }

  /** Sends a counted message, and keeps it until the other end has it. */
  #retain(message: Uint8Array, piece: Retained['piece']): void {
    this.#retained.push({ message, piece })
    this.#retainedBytes += message.length
    this.traffic.bytesOut += message.length
    // What went before must be sent again first.
    if (this.#channel !== null && this.#given === this.#retained.length - 1) this.#giveNext(this.#channel)
  }

  #giveNext(channel: Channel): void {
    channel.send(this.#retained[this.#given++]!.message)
  }

  /** Sends again what must be, and makes pieces, one of each part in turn, while there is room for them. */
  #pump(): void {
    const channel = this.#channel
    while (channel !== null && channel === this.#channel) {
      const isAgain = this.#given < this.#retained.length
      if (!isAgain && (this.#outgoing.length === 0 || this.#piecesUnderWay >= WINDOW)) return
      if (channel.buffered > SMALL) {
        return channel.onDrain(() => {
          if (this.#channel === channel) this.#pump()
        })
      }
      if (isAgain) this.#giveNext(channel)
      else this.#makePiece()
    }
  }

  #makePiece(): void {
    const part = this.#outgoing.shift()!
    const bytes = part.bytes.subarray(part.at, part.at + PIECE)
    part.at += bytes.length
    if (part.at < part.bytes.length) this.#outgoing.push(part)
    this.#outgoingBytes -= bytes.length
    this.#piecesUnderWay += bytes.length
    const room = bytes.length > ROOM_FROM ? (this.#rooms.pop() ?? pieceRoom(PIECE)) : undefined
    this.#retain(pieceOf(part.id, bytes, room), { sending: part.sending, bytes: bytes.length })
  }

  /** The other end has so many of our messages: they need not be kept. Gives them. */
  #drop(count: number): readonly Retained[] {
    const arrived = this.#retained.splice(0, count - this.#dropped)
    this.#dropped = count
    this.#given = Math.max(0, this.#given - arrived.length)
    for (const { message, piece } of arrived) {
      this.#retainedBytes -= message.length
      if (piece === null) continue
      this.#piecesUnderWay -= piece.bytes
      // A peer that says too early what it got reads, at worst, something else that it is to get: no other link has them.
      if (piece.bytes > ROOM_FROM && this.#rooms.length < ROOMS) this.#rooms.push(new Uint8Array(message.buffer))
    }
    return arrived
  }

  /** Tells who is to know that messages have arrived. */
  #arrived(messages: readonly Retained[]): void {
    for (const { piece } of messages) {
      if (piece === null) continue
      const { sending, bytes } = piece
      sending.done += bytes
      tell(sending.onProgress, sending)
    }
    if (this.backlog <= SMALL) for (const listener of this.#drainListeners.splice(0)) listener()
  }

  #take(bytes: Uint8Array): void {
    try {
      const message = readMessage(bytes)
      // The other end may ask because nothing comes to it: that is no word of what it got.
      if (message.kind !== MessageKind.ping) {
        this.#lastHeard = performance.now()
        this.#isAsked = false
      }
      if (isCounted(message.kind)) {
        this.#received++
        this.#unsaidMessages++
        this.#unsaidBytes += bytes.length
        this.traffic.bytesIn += bytes.length
      }
      switch (message.kind) {
        case MessageKind.frames:
          for (const frame of message.frames) this.#give(frame)
          break
        case MessageKind.headed:
          this.#announce(message.frame, message.parts)
          break
        case MessageKind.piece:
          this.#piece(message.part, message.bytes)
          break
        case MessageKind.received:
          if (!this.canHave(message.count)) {
            throw sottoError('ERR_PROTOCOL', 'the other end says that it got what was not sent')
          }
          this.#arrived(this.#drop(message.count))
          this.#pump()
          break
        case MessageKind.ping:
          // Whoever does not read has no use for it; what there is to read tells as much.
          if (this.#channel !== null && this.#channel.buffered < SMALL) this.#channel.send(messageOf(MessageKind.pong))
          break
        case MessageKind.pong:
          break
        case MessageKind.bye:
          return this.#end(message.error)
        default:
          throw sottoError('ERR_PROTOCOL', 'a handshake comes first, and once')
      }
    } catch (error) {
      this.#give(error as Error)
      return this.close(error as Error)
    }
    this.#say()
  }

  /** Says what came, now and then. */
  #say(): void {
    if (this.#unsaidMessages === 0 || this.#closed) return
    if (this.#unsaidMessages >= RECEIVED_EVERY || this.#unsaidBytes >= RECEIVED_BYTES) return this.#sayNow()
    this.#sayTimer ??= unheld(setTimeout(() => this.#sayNow(), RECEIVED_AFTER))
  }
  #sayNow(): void {
    if (this.#sayTimer !== null) clearTimeout(this.#sayTimer)
    this.#sayTimer = null
    this.#unsaidMessages = 0
    this.#unsaidBytes = 0
    this.#channel?.send(messageOf(MessageKind.received, this.#received))
  }

  #announce(frame: Frame, parts: readonly Part[]): void {
    const arriving = new Arriving(frame, parts)
    if (this.#incomingBytes + arriving.total > this.#options.parts) {
      throw sottoError(
        'ERR_LIMIT',
        `${arriving.total} bytes are announced, and ${this.#incomingBytes} on their way; the limit is ${this.#options.parts}`,
      )
    }
    for (const [id, length, path] of parts) {
      if (length === 0 || this.#incoming.has(id))
        throw sottoError('ERR_PROTOCOL', 'a part is empty, or announced twice')
      // Nobody sees a part of which something is missing.
      const part: Incoming = { length, bytes: unfilledBytes(length), at: 0, path, arriving }
      this.#incoming.set(id, part)
      arriving.incoming.push(part)
    }
    this.#incomingBytes += arriving.total
    this.#give(frame, arriving)
  }

  #piece(id: number, bytes: Uint8Array): void {
    const part = this.#incoming.get(id)
    if (part === undefined || bytes.length === 0 || part.at + bytes.length > part.length) {
      throw sottoError('ERR_PROTOCOL', 'a piece belongs nowhere')
    }
    part.bytes?.set(bytes, part.at)
    part.at += bytes.length
    this.#incomingBytes -= bytes.length
    const { arriving } = part
    if (part.at === part.length) {
      if (part.bytes !== null) putPart(arriving.frame, part.path, part.bytes)
      this.#incoming.delete(id)
      arriving.missing--
    }
    arriving.come(bytes.length)
    if (arriving.missing === 0) arriving.settle.resolve()
  }

  #give(frame: Frame | Error, following?: Following): void {
    if (this.#closed) return
    if (!(frame instanceof Error)) this.traffic.framesIn++
    if (this.#frameListener) this.#frameListener(frame, following)
    else this.#early.push([frame, following])
  }

  onFrame(listener: (frame: Frame | Error, following?: Following) => void): void {
    this.#frameListener = listener
    for (const [frame, following] of this.#early.splice(0)) listener(frame, following)
  }
  onClose(listener: (reason: Error | undefined) => void): void {
    if (this.#closed) listener(this.#closed.reason)
    else this.#closeListeners.push(listener)
  }
  onDrain(listener: () => void): void {
    if (this.backlog <= SMALL) listener()
    else this.#drainListeners.push(listener)
  }

  /** Ends the link: what was said before still leaves. */
  close(reason?: Error): void {
    if (this.#closed) return
    this.#flush()
    if (this.#channel !== null) {
      while (this.#given < this.#retained.length) this.#giveNext(this.#channel)
      this.#channel.send(byeOf(reason))
    }
    this.#end(reason)
  }

  #end(reason: Error | undefined): void {
    if (this.#closed) return
    this.#closed = { reason }
    const channel = this.#channel
    this.#channel = null
    channel?.close()
    if (this.#sayTimer !== null) clearTimeout(this.#sayTimer)
    if (this.#heartbeatTimer !== null) clearInterval(this.#heartbeatTimer)
    const lost = reason ?? sottoError('ERR_SESSION_CLOSED', 'the session ended before all of a frame had come')
    for (const { arriving } of this.#incoming.values()) arriving.settle.reject(lost)
    this.#incoming.clear()
    this.#batch = EMPTY
    this.#batchBytes = 0
    this.#retained = []
    this.#retainedBytes = 0
    this.#rooms.length = 0
    this.#outgoing.length = 0
    this.#outgoingBytes = 0
    for (const listener of this.#drainListeners.splice(0)) listener()
    for (const listener of this.#closeListeners.splice(0)) listener(reason)
  }
}

/** Whoever wants to know how far a frame has come may fail: that is no failure of the link. */
function tell(listener: ((progress: Progress) => void) | undefined, { done, total }: Progress): void {
  try {
    listener?.({ done, total })
  } catch (error) {
    queueMicrotask(() => {
      throw error
    })
  }
}
