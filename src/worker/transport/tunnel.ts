/**
 * Tunnels: channels inside a session, for two ends that cannot reach each other and have a third party in common.
 *
 * What passes is sealed by the two ends (see `seal.ts`); who passes it on sees lengths and times.
 */
import { sottoError } from '../../errors.ts'
import { newId } from '../../tensor/location.ts'
import { FrameKind, type TunnelFrame } from '../protocol.ts'
import type { Channel } from './channel.ts'
import type { Transport } from './transport.ts'

/** Tunnels of one session at a time. */
const MOST = 1024
/** Bytes that wait until somebody listens: more than an honest other end sends without being answered. */
const MOST_EARLY = 128 * 2 ** 20

/** The tunnels of one end of a session. */
export class Tunnels {
  readonly #transport: Transport
  readonly #open = new Map<string, TunnelChannel>()
  #isOver = false

  constructor(transport: Transport) {
    this.#transport = transport
  }

  /**
   * Opens a tunnel: to a peer by its name, or with an empty name to the other end of the session itself.
   *
   * @param unanswered why it ends, if it does before anything has come
   * @throws SessionError `ERR_WORKER_LOST` when the session has ended; `ERR_LIMIT`
   */
  open(to: string, unanswered?: Error): Channel {
    if (this.#isOver) throw sottoError('ERR_WORKER_LOST', 'the session that it was reached through has ended')
    if (this.#open.size >= MOST) throw sottoError('ERR_LIMIT', `${MOST} tunnels are open in this session; no more fit`)
    const id = newId()
    const channel = new TunnelChannel(this.#transport, id, to, () => this.#open.delete(id))
    channel.reason = unanswered
    this.#open.set(id, channel)
    return channel
  }

  /**
   * Takes a frame of a tunnel.
   *
   * @param begun gets frames of tunnels unknown here: of one that begins, or that leads elsewhere
   */
  take(frame: TunnelFrame, begun: (frame: TunnelFrame, accept: () => Channel) => void): void {
    const [, id, to, message] = frame
    const known = this.#open.get(id)
    if (known !== undefined) {
      if (message === null) return known.end()
      return known.take(message)
    }
    begun(frame, () => {
      const channel = new TunnelChannel(this.#transport, id, null, () => this.#open.delete(id))
      // What was under way when this end closed a tunnel begins none.
      if (to === null || message === null) channel.end()
      else if (this.#open.size >= MOST) channel.close()
      else {
        this.#open.set(id, channel)
        channel.take(message)
      }
      return channel
    })
  }

  /** The session has ended. */
  end(): void {
    this.#isOver = true
    for (const channel of [...this.#open.values()]) channel.end()
  }
}

class TunnelChannel implements Channel {
  readonly route = 'relayed'
  readonly certificate = null
  readonly #transport: Transport
  readonly #id: string
  /** Said with the first message, which opens the tunnel. */
  #to: string | null
  readonly #forget: () => void
  /** Why it ends. */
  reason: Error | undefined
  #isClosed = false
  readonly #early: Uint8Array[] = []
  #earlyBytes = 0
  #onMessage: ((message: Uint8Array) => void) | null = null
  #onDrain: (() => void) | null = null
  readonly #onClose: ((reason: Error | undefined) => void)[] = []

  constructor(transport: Transport, id: string, to: string | null, forget: () => void) {
    this.#transport = transport
    this.#id = id
    this.#to = to
    this.#forget = forget
  }

  get buffered(): number {
    return this.#transport.backlog
  }
  onDrain(listener: () => void): void {
    const isWaiting = this.#onDrain !== null
    this.#onDrain = listener
    if (isWaiting) return
    this.#transport.onDrain(() => {
      const drained = this.#onDrain
      this.#onDrain = null
      drained?.()
    })
  }
  send(message: Uint8Array): void {
    if (this.#isClosed) return
    try {
      this.#transport.send([FrameKind.tunnel, this.#id, this.#to, message])
    } catch (error) {
      // More than whoever passes it on takes: it would be so again.
      this.reason = error as Error
      return this.close()
    }
    this.#to = null
  }
  onMessage(listener: ((message: Uint8Array) => void) | null): void {
    this.#onMessage = listener
    while (this.#onMessage !== null && this.#early.length > 0) {
      const message = this.#early.shift()!
      this.#earlyBytes -= message.length
      this.#onMessage(message)
    }
  }
  onClose(listener: (reason: Error | undefined) => void): void {
    if (this.#isClosed) listener(this.reason)
    else this.#onClose.push(listener)
  }
  close(): void {
    if (this.#isClosed) return
    this.#transport.send([FrameKind.tunnel, this.#id, null, null])
    this.end()
  }

  take(message: Uint8Array): void {
    if (this.#isClosed) return
    this.reason = undefined
    if (this.#onMessage && this.#early.length === 0) return this.#onMessage(message)
    this.#early.push(message)
    this.#earlyBytes += message.length
    if (this.#earlyBytes > MOST_EARLY) this.close()
  }
  /** The other end has closed it, or the session is gone. */
  end(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#forget()
    for (const listener of this.#onClose.splice(0)) listener(this.reason)
  }
}
