/**
 * Frames between threads, over a `MessagePort`: structured clones, no MessagePack.
 *
 * The memory of a tensor changes hands instead of being copied. That is safe because whoever puts a tensor into a frame
 * has it from `toWire`, which copies it out of the engine for this one frame; nobody reads those bytes again, and whoever
 * takes a tensor out of a frame copies it into the engine. The state of an optimizer that waits at home for its model is
 * forgotten when it is sent. Bytes that are no tensor's (of shares, openings, seeds) may stand in frames to several peers,
 * or be kept by a party: they are copied.
 */
import type { MessagePort } from 'node:worker_threads'
import { isSottoError, type SottoErrorLike, sottoError } from '../../errors.ts'
import { payloadBytes } from '../codec.ts'
import type { Frame } from '../protocol.ts'
import type { Traffic, Transport } from './transport.ts'

/** What goes through a port. */
type Message =
  | Frame
  /** So many bytes of frames have been taken. */
  | number
  /** The last message: why this end closes. */
  | { readonly reason: { readonly code: SottoErrorLike['code']; readonly message: string } | null }

/** Bytes below which handing over takes no less time than copying (at 16 kB it takes a third; measured on node 20). */
const WORTH_MOVING = 4096
/** Bytes after which the sender is told that they were taken, and what it counts as a small backlog. */
const CREDIT = 2 ** 20
/** Milliseconds after which it is told of fewer. */
const CREDIT_DELAY = 5

/** A frame as it is posted. */
interface Parcel {
  readonly message: unknown
  /** Memory that changes hands. */
  readonly moved: readonly ArrayBuffer[]
  readonly bytes: number
}

/** @internal Gets a frame ready to be posted. */
export function parcelOf(frame: Frame): Parcel {
  const moved = new Set<ArrayBuffer>()
  let bytes = 0
  const binary = (data: Uint8Array, isTensor: boolean): Uint8Array => {
    bytes += data.byteLength
    // The clone of a view would carry all of the memory that it is a view of.
    const isWhole = data.buffer instanceof ArrayBuffer && data.byteLength === data.buffer.byteLength
    const whole = isWhole ? data : new Uint8Array(data)
    if ((isTensor || !isWhole) && data.byteLength >= WORTH_MOVING) moved.add(whole.buffer as ArrayBuffer)
    return whole
  }
  const pack = (value: unknown): unknown => {
    if (typeof value !== 'object' || value === null) return value
    if (value instanceof Uint8Array) return binary(value, false)
    const given = value as Record<string, unknown>
    const isTensor = 'data' in given && 'dtype' in given && 'shape' in given
    let copy: Record<string, unknown> | null = null
    for (const name of Object.keys(given)) {
      const part = given[name]
      const packed = isTensor && name === 'data' && part instanceof Uint8Array ? binary(part, true) : pack(part)
      if (packed === part) continue
      copy ??= Array.isArray(given) ? ([...given] as unknown as Record<string, unknown>) : { ...given }
      copy[name] = packed
    }
    return copy ?? given
  }
  const message = pack(frame)
  return { message, moved: [...moved], bytes }
}

/**
 * One end of a connection through a port.
 *
 * A process does not stay alive for it, unless somebody holds it.
 */
export class PortTransport implements Transport {
  readonly isSynchronous = false
  readonly traffic: Traffic = { framesIn: 0, framesOut: 0, bytesIn: 0, bytesOut: 0 }
  readonly #port: MessagePort
  #backlog = 0
  #drained: (() => void)[] = []
  /** Bytes taken that the other end has not been told of. */
  #untold = 0
  #timer: ReturnType<typeof setTimeout> | null = null
  #frameListener: ((frame: Frame | Error) => void) | null = null
  /** Frames that came before someone listened. */
  readonly #early: (Frame | Error)[] = []
  readonly #closeListeners: ((reason: Error | undefined) => void)[] = []
  #closed: { readonly reason: Error | undefined } | null = null

  /** @param lost why the port closed, when the other end did not say it: its thread is gone */
  constructor(port: MessagePort, lost: () => Error | Promise<Error>) {
    this.#port = port
    port.on('message', (message: Message) => this.#receive(message))
    port.on('messageerror', (error) => this.#take(sottoError('ERR_PROTOCOL', 'a frame could not be read', {}, error)))
    port.on('close', () => {
      if (!this.#closed) Promise.resolve(lost()).then((error) => this.#end(error))
    })
    port.unref()
  }

  get backlog(): number {
    return this.#backlog
  }

  /** @throws ProtocolError for what cannot be cloned, such as a function */
  send(frame: Frame): void {
    if (this.#closed) return
    const { message, moved, bytes } = parcelOf(frame)
    try {
      this.#port.postMessage(message, moved)
    } catch (error) {
      throw sottoError('ERR_PROTOCOL', 'a frame carries what cannot go from one thread to another', {}, error)
    }
    this.traffic.framesOut++
    this.traffic.bytesOut += bytes
    this.#backlog += bytes
  }

  onDrain(listener: () => void): void {
    if (this.#closed || this.#backlog <= CREDIT) listener()
    else this.#drained.push(listener)
  }

  hold(isHeld: boolean): void {
    if (isHeld) this.#port.ref()
    else this.#port.unref()
  }

  #receive(message: Message): void {
    if (typeof message === 'number') return this.#credited(message)
    if (Array.isArray(message)) return this.#take(message as Frame)
    const { reason } = message as Extract<Message, { reason: unknown }>
    this.#port.close()
    this.#end(reason === null ? undefined : sottoError(reason.code, reason.message))
  }

  #take(frame: Frame | Error): void {
    if (this.#frameListener) this.#hand(frame, this.#frameListener)
    else this.#early.push(frame)
  }

  #hand(frame: Frame | Error, listener: (frame: Frame | Error) => void): void {
    const bytes = frame instanceof Error ? 0 : payloadBytes(frame)
    this.traffic.framesIn++
    this.traffic.bytesIn += bytes
    listener(frame)
    this.#untold += bytes
    if (this.#untold >= CREDIT) this.#tell()
    else if (bytes > 0) this.#timer ??= setTimeout(() => this.#tell(), CREDIT_DELAY).unref()
  }

  #tell(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    if (!this.#closed) this.#port.postMessage(this.#untold satisfies Message)
    this.#untold = 0
  }

  #credited(bytes: number): void {
    this.#backlog -= bytes
    if (this.#backlog <= CREDIT) for (const listener of this.#drained.splice(0)) listener()
  }

  /** What came before is given at once, also when the other end has closed since. */
  onFrame(listener: (frame: Frame | Error) => void): void {
    this.#frameListener = listener
    for (const frame of this.#early.splice(0)) this.#hand(frame, listener)
  }

  onClose(listener: (reason: Error | undefined) => void): void {
    if (this.#closed) listener(this.#closed.reason)
    else this.#closeListeners.push(listener)
  }

  close(reason?: Error): void {
    if (this.#closed) return
    const said = reason === undefined ? null : { code: codeOf(reason), message: reason.message }
    this.#port.postMessage({ reason: said } satisfies Message)
    this.#port.close()
    this.#end(reason)
  }

  #end(reason: Error | undefined): void {
    if (this.#closed) return
    this.#closed = { reason }
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#backlog = 0
    for (const listener of this.#drained.splice(0)) listener()
    for (const listener of this.#closeListeners.splice(0)) listener(reason)
  }
}

const codeOf = (error: Error): SottoErrorLike['code'] => (isSottoError(error) ? error.code : 'ERR_SESSION_CLOSED')

/** Makes one connection of two. */
export function pipe(a: Transport, b: Transport): void {
  for (const [from, to] of [
    [a, b],
    [b, a],
  ] as const) {
    from.onFrame((frame) => {
      if (frame instanceof Error) to.close(frame)
      else to.send(frame)
    })
    from.onClose((reason) => to.close(reason))
  }
}
