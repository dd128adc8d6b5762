/**
 * Frames inside one process: at once, or with the latency, jitter and failures of a simulated network.
 *
 * Without latency a frame is handled while it is sent, on the sender's stack: nothing is queued, and a loop of commands
 * holds no more memory than one of them.
 */
import { SeededRandom } from '../../data/random.ts'
import { sottoError } from '../../errors.ts'
import { decode, encode, payloadBytes } from '../codec.ts'
import type { Frame } from '../protocol.ts'
import { closeHere, type LocalCredentials, listenHere } from './local.ts'
import type { Traffic, Transport } from './transport.ts'

export interface MemoryOptions {
  /** Milliseconds each way. */
  readonly latency?: number
  /** Up to so many milliseconds more, drawn for each frame; order is kept. */
  readonly jitter?: number
  /** Makes jitter repeatable. */
  readonly seed?: number
  /** Turns every frame into bytes and back, as a socket would. */
  readonly codec?: boolean
  /**
   * Called with every frame; 'close' breaks the connection, 'drop' loses the frame. A connection that lost one breaks
   * when either end sees the gap, or by itself after `lossTimeout`.
   */
  readonly fault?: (frame: Frame) => 'drop' | 'close' | undefined
  /** Milliseconds until a lost frame is noticed, as by a socket that waits for an acknowledgement; 1000 unless given. */
  readonly lossTimeout?: number
}

/** Two ends of one connection. */
export function memoryPair(options: MemoryOptions = {}): [Transport, Transport] {
  const a = new MemoryTransport(options, options.seed ?? 1)
  const b = new MemoryTransport(options, (options.seed ?? 1) + 1)
  a.peer = b
  b.peer = a
  return [a, b]
}

class MemoryTransport implements Transport {
  readonly isSynchronous: boolean
  readonly traffic: Traffic = { framesIn: 0, framesOut: 0, bytesIn: 0, bytesOut: 0 }
  /** Bytes under way are never many here: nothing is copied. */
  readonly backlog = 0
  peer!: MemoryTransport
  readonly #options: MemoryOptions
  readonly #random: SeededRandom
  readonly #closeListeners: ((reason: Error | undefined) => void)[] = []
  #frameListener: ((frame: Frame | Error) => void) | null = null
  /** Frames that came before someone listened. */
  readonly #early: (Frame | Error)[] = []
  #closed: { readonly reason: Error | undefined } | null = null
  /** Frames under way to the other end, with the time at which each arrives. */
  readonly #underWay: { at: number; content: Frame | Uint8Array; bytes: number }[] = []
  #timer: ReturnType<typeof setTimeout> | null = null
  #lossTimer: ReturnType<typeof setTimeout> | null = null

  constructor(options: MemoryOptions, seed: number) {
    this.#options = options
    this.#random = new SeededRandom(seed)
    const { latency = 0, jitter = 0 } = options
    this.isSynchronous = latency === 0 && jitter === 0
  }

  send(frame: Frame): void {
    if (this.#closed) return
    const { latency = 0, jitter = 0, codec = false, fault } = this.#options
    const outcome = fault?.(frame)
    if (outcome === 'close') return this.close(sottoError('ERR_SESSION_CLOSED', 'the connection broke'))
    const content = codec ? encode(frame) : frame
    const bytes = content instanceof Uint8Array ? content.byteLength : payloadBytes(content)
    this.traffic.framesOut++
    this.traffic.bytesOut += bytes
    if (outcome === 'drop') return this.#lose()
    if (this.isSynchronous) return this.peer.#arrive(content, bytes)
    const earliest = performance.now() + latency + jitter * this.#random.float()
    const at = Math.max(earliest, this.#underWay.at(-1)?.at ?? 0)
    this.#underWay.push({ at, content, bytes })
    this.#timer ??= setTimeout(() => this.#deliver(), at - performance.now())
  }

  onDrain(listener: () => void): void {
    listener()
  }

  #lose(): void {
    const { lossTimeout = 1000 } = this.#options
    this.#lossTimer ??= setTimeout(
      () => this.close(sottoError('ERR_SESSION_CLOSED', 'the connection lost a frame')),
      lossTimeout,
    )
  }

  #deliver(): void {
    this.#timer = null
    // Timers may fire up to a millisecond early.
    while (this.#underWay.length > 0 && this.#underWay[0]!.at <= performance.now() + 0.5) {
      const { content, bytes } = this.#underWay.shift()!
      this.peer.#arrive(content, bytes)
    }
    const next = this.#underWay[0]
    if (next) this.#timer = setTimeout(() => this.#deliver(), Math.max(0, next.at - performance.now()))
  }

  #arrive(content: Frame | Uint8Array, bytes: number): void {
    if (this.#closed) return
    this.traffic.framesIn++
    this.traffic.bytesIn += bytes
    let frame: Frame | Error
    try {
      frame = content instanceof Uint8Array ? decode(content) : content
    } catch (error) {
      frame = error as Error
    }
    if (this.#frameListener) this.#frameListener(frame)
    else this.#early.push(frame)
  }

  onFrame(listener: (frame: Frame | Error) => void): void {
    this.#frameListener = listener
    for (const frame of this.#early.splice(0)) listener(frame)
  }

  onClose(listener: (reason: Error | undefined) => void): void {
    if (this.#closed) listener(this.#closed.reason)
    else this.#closeListeners.push(listener)
  }

  close(reason?: Error): void {
    if (this.#closed) return
    this.#closed = { reason }
    if (this.#timer !== null) clearTimeout(this.#timer)
    if (this.#lossTimer !== null) clearTimeout(this.#lossTimer)
    this.#underWay.length = 0
    for (const listener of this.#closeListeners) listener(reason)
    this.peer.close(reason)
  }
}

/** Waits for connections at an address of its own. */
export class MemoryListener {
  readonly address: string
  readonly options: MemoryOptions
  readonly #accept: (transport: Transport, credentials: LocalCredentials) => void

  constructor(options: MemoryOptions, accept: (transport: Transport, credentials: LocalCredentials) => void) {
    this.options = options
    this.#accept = accept
    this.address = listenHere('memory', this)
  }

  /** Connects. A link is as slow as the slower of its two ends. */
  connect(credentials: LocalCredentials, { latency = 0, jitter = 0 }: MemoryOptions = {}): Transport {
    const [ours, theirs] = memoryPair({
      ...this.options,
      latency: Math.max(latency, this.options.latency ?? 0),
      jitter: Math.max(jitter, this.options.jitter ?? 0),
    })
    this.#accept(theirs, credentials)
    return ours
  }

  close(): void {
    closeHere(this.address)
  }
}
