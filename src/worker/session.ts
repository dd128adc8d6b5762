/**
 * The caller's end of a conversation with a worker: numbers commands, matches answers, and turns failures into errors
 * that say which line issued the command.
 *
 * Commands are pipelined: `tell` sends and returns, and nothing comes back unless it fails. The worker carries them out
 * in the order of their numbers.
 */
import { type Code, codes, isSottoError, sottoError } from '../errors.ts'
import { newId, type Progress, type WaitOptions } from '../tensor/location.ts'
import { type Capability, capabilityFor } from './capabilities.ts'
import { payloadBytes } from './codec.ts'
import {
  type AskName,
  type ErrorWire,
  type Frame,
  FrameKind,
  type MessageName,
  PROTOCOL_VERSION,
  type Request,
  type RequestFrame,
  type Response,
  type TellName,
  type TunnelFrame,
} from './protocol.ts'
import { afterAwake } from './transport/awake.ts'
import type { Following, Transport } from './transport/transport.ts'
import { Tunnels } from './transport/tunnel.ts'

/** Where a command was issued; formatted only when it fails. */
interface Site {
  readonly what: string
  stack?: string
}

interface Pending {
  resolve(value: unknown): void
  reject(error: Error): void
  readonly site: Site
  readonly onProgress?: (progress: Progress) => void
  /** Ends the watch over it. */
  settled?: () => void
}

/**
 * Commands that hardly fail, or not by a line of the caller's: nobody asks where they were issued. So it is with what peers
 * hand each other in the course of protocols, by the hundred for each step of a training.
 */
const silent: { readonly [name: string]: true } = { free: true, peers: true, deposit: true, secretParts: true }

/** Commands that may wait, for a peer or for a disk, and hold up what comes after them. */
export const waiting: { readonly [N in MessageName]?: true } = {
  receive: true,
  backward: true,
  saveModel: true,
  restoreModel: true,
  checkpoints: true,
  removeCheckpoint: true,
}

/** Enough to get past our own frames to the line of the caller; each takes half a microsecond. */
const OWN_FRAMES = 8
/** Of messages that come straight from a method of the caller's, and by the thousand. */
const FEW_FRAMES = 6
/** From inside the worker to the caller, through the transport. */
const WHOLE_STACK = 100

const whatOf = (name: string, body: unknown): string => (name === 'run' ? (body as { op: string }).op : name)

/** Where the command to several workers was issued that is being issued. */
let common: { site: Site | null } | null = null

/** Issues the same command to several workers: what is noted for the first holds for all. */
export function fromOneLine(issue: () => void): void {
  const outer = common
  common = { site: null }
  try {
    issue()
  } finally {
    common = outer
  }
}

/** Notes where a command is issued: four microseconds, a third of what a small one costs. */
function noted(what: string, frames: number): Site {
  if (common?.site?.what === what) return common.site
  const site: Site = { what }
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = frames
  Error.captureStackTrace?.(site, noted)
  Error.stackTraceLimit = stackTraceLimit
  if (common !== null) common.site = site
  return site
}

/** Milliseconds for which answers in process may follow one another without a turn of the event loop. */
const TURN = 10
let lastTurn = 0
/** Runs an action in the next turn of the event loop. */
export const nextTurn = (action: () => void): unknown => (globalThis.setImmediate ?? setTimeout)(action)

/**
 * In process an answer is there at once, and a loop that waits for one after another would never let timers, sockets
 * and finalizers have their turn: now and then it must.
 */
function inTurn<T>(resolve: (value: T) => void): (value: T) => void {
  return (value) => {
    if (performance.now() - lastTurn < TURN) return resolve(value)
    nextTurn(() => {
      lastTurn = performance.now()
      resolve(value)
    })
  }
}

/** Errors of commands that failed, by origin: what was poisoned by them fails with the same error, on any worker. */
const failures = new Map<string, Error>()
const REMEMBERED = 1000

export interface SessionOptions {
  /** Identity of the caller, or the name under which a peer was introduced. */
  readonly name: string
  /** Name of the worker at the other end, for messages. */
  readonly worker: string
  readonly id: string
  /** What capabilities for this session are made from; null for the session of a peer. */
  readonly secret: Uint8Array | null
  /** Milliseconds without a word from the worker after which an answer is given up; 0 for none, as without it. */
  readonly timeout?: number
}

/** Commands, and bytes of them, that the worker may have before it; what is issued beyond them is held here. */
const WINDOW = { commands: 16_384, bytes: 64 * 2 ** 20 }
/** Milliseconds for what was issued to be carried out when a session is to end. */
const LEAVING = 10_000
/** Bytes of a command that does not wait for larger ones to be acknowledged. */
const SMALL = 64 * 2 ** 10
/** What may be held here; beyond it, issuing a command throws. */
const HELD = { commands: 1_000_000, bytes: 2 ** 30 }

interface Held {
  readonly frame: RequestFrame
  readonly bytes: number
  readonly onProgress: ((progress: Progress) => void) | undefined
}

export class Session {
  readonly id: string
  readonly #transport: Transport
  readonly #options: SessionOptions
  #seq = 0
  readonly #pending = new Map<number, Pending>()
  /** Who waits for the rest of a large answer; later answers may come before it. */
  readonly #partial = new Map<number, Pending>()
  /** Sites of commands that may still fail, oldest first. */
  readonly #sites = new Map<number, Site>()
  /** Sizes of commands under way that the worker has not acknowledged, oldest first, and their sum. */
  readonly #underWay: { readonly seq: number; readonly bytes: number }[] = []
  #bytesUnderWay = 0
  readonly #held: Held[] = []
  #bytesHeld = 0
  /** The command being sent, where the worker carries it out before `send` returns. */
  #now: { readonly seq: number; readonly what: string } | null = null
  /** The last command that the worker may have to wait with, and up to where all are known to be done. */
  #lastWaiting = 0
  #settledUpTo = 0
  #closed: Error | null = null
  #wasBroken = false
  #isLeaving = false
  readonly #closeListeners = new Set<(reason: Error | undefined) => void>()
  readonly #failureListeners: ((origin: string, error: Error) => void)[] = []
  readonly tunnels: Tunnels
  #onTunnel: (frame: TunnelFrame) => void = () => {}
  #lastWord = performance.now()
  #passed: number | undefined
  #silence: ReturnType<typeof setInterval> | null = null

  constructor(transport: Transport, options: SessionOptions) {
    this.id = options.id
    this.#transport = transport
    this.#options = options
    this.tunnels = new Tunnels(transport)
    transport.onFrame((frame, following) => this.#receive(frame, following))
    transport.onClose((reason) => this.#end(reason))
    const { name, id, secret } = options
    // Pipelined like everything else: what follows does not wait for the answer.
    this.ask('hello', { version: PROTOCOL_VERSION, name, session: id, secret }).catch((error: Error) =>
      this.#transport.close(error),
    )
  }

  get isClosed(): boolean {
    return this.#closed !== null || this.#isLeaving
  }

  /** Throws why, once the session is over. */
  checkOpen(entry: string): void {
    if (this.isClosed) throw this.#closedError(entry)
  }

  /** A capability for a peer to hand things to this session. */
  capabilityFor(name: string, key: string): Capability {
    if (this.#options.secret === null) throw sottoError('ERR_CAPABILITY', 'the session of a peer gives no capabilities')
    return capabilityFor(this.#options.secret, { session: this.id, name, key })
  }

  /**
   * Issues a command that is not answered unless it fails.
   *
   * @throws SessionError `ERR_SESSION_CLOSED`, or the code with which the session ended; `ERR_LIMIT` when far more was
   *   issued than the worker has carried out: wait for a result, or for `flush()`, now and then; and when the command is
   *   larger than the worker takes. Then it was never issued, and the session goes on
   */
  tell<N extends TellName>(name: N, body: Request<N>, onProgress?: (progress: Progress) => void): void {
    if (this.isClosed) {
      // What is freed on a worker that is gone is free.
      if (name === 'free') return
      throw this.#closedError(name)
    }
    const isHandledAtOnce =
      this.#transport.isSynchronous && this.#lastWaiting <= this.#settledUpTo && this.#held.length === 0
    const bytes = isHandledAtOnce ? 0 : payloadBytes(body)
    if (this.#held.length >= HELD.commands || this.#bytesHeld + bytes > HELD.bytes) {
      throw sottoError(
        'ERR_LIMIT',
        `${name}: ${this.#held.length} commands and ${this.#bytesHeld} bytes wait for ${this.#options.worker}; await a result or flush() now and then`,
        { worker: this.#options.worker },
      )
    }
    const seq = ++this.#seq
    if (Object.hasOwn(waiting, name)) this.#lastWaiting = seq
    const frame: RequestFrame = [FrameKind.request, seq, name, body]
    if (name in silent) this.#issueOrNot(frame, bytes, isHandledAtOnce)
    else if (isHandledAtOnce) {
      // Whether it fails is known before `send` returns, with the caller still on the stack: nothing to note before.
      const outer = this.#now
      this.#now = { seq, what: whatOf(name, body) }
      this.#transport.send(frame)
      this.#now = outer
    } else {
      this.#sites.set(seq, noted(whatOf(name, body), name === 'put' ? FEW_FRAMES : OWN_FRAMES))
      this.#issueOrNot(frame, bytes, false, onProgress)
    }
  }

  /**
   * Issues a command and waits for its answer.
   *
   * Rejects with the failure of the command; `ERR_ABORTED` by the signal; `ERR_TIMEOUT` when the worker has said nothing
   * for so long; `ERR_LIMIT` when the command is larger than the worker takes.
   */
  ask<N extends AskName>(name: N, body: Request<N>, wait: WaitOptions = {}): Promise<Response<N>> {
    const site = noted(whatOf(name, body), OWN_FRAMES)
    return new Promise((resolve, reject) => {
      const plainly = resolve as (value: unknown) => void
      const answer = this.#transport.isSynchronous ? inTurn(plainly) : plainly
      if (this.isClosed) return reject(this.#closedError(name))
      if (wait.signal?.aborted) return reject(aborted(name, wait.signal))
      const seq = ++this.#seq
      if (Object.hasOwn(waiting, name)) this.#lastWaiting = seq
      this.#pending.set(seq, { resolve: answer, reject, site, ...wait })
      if (this.#pending.size + this.#partial.size === 1) this.#transport.hold?.(true)
      this.#watch(seq, name, wait)
      const bytes = this.#transport.isSynchronous ? 0 : payloadBytes(body)
      try {
        this.#issueOrNot([FrameKind.request, seq, name, body], bytes, this.#transport.isSynchronous)
      } catch (error) {
        this.#giveUp(seq, error as Error)
      }
    })
  }

  /** Issues a command; one that cannot be sent was none, and the next has its number. */
  #issueOrNot(frame: RequestFrame, bytes: number, atOnce: boolean, onProgress?: (progress: Progress) => void): void {
    try {
      this.#issue(frame, bytes, atOnce, onProgress)
    } catch (error) {
      const [, seq, name, body] = frame
      // Inside one process it may have been carried out by now.
      if (this.#transport.isSynchronous || !isSottoError(error)) throw error
      this.#seq = seq - 1
      this.#sites.delete(seq)
      if (this.#underWay.at(-1)?.seq === seq) this.#bytesUnderWay -= this.#underWay.pop()!.bytes
      const { worker } = this.#options
      throw sottoError(error.code, `${whatOf(name, body)}: ${error.message}`, { ...error.details, worker }, error)
    }
  }

  /** Sends a command, or holds it until the worker has room for it. */
  #issue(frame: RequestFrame, bytes: number, atOnce: boolean, onProgress?: (progress: Progress) => void): void {
    if (this.#held.length === 0 && atOnce) return this.#transport.send(frame)
    if (this.#held.length > 0 || !this.#hasRoom(bytes)) {
      // Later, nobody could be told that it was never issued.
      this.#transport.check?.(frame)
      this.#held.push({ frame, bytes, onProgress })
      this.#bytesHeld += bytes
    } else this.#send(frame, bytes, onProgress)
  }

  #hasRoom(bytes: number): boolean {
    // The worker acknowledges well before that much; less it may never. What is small goes beside what is large.
    const most = bytes <= SMALL ? 2 * WINDOW.bytes : WINDOW.bytes
    return this.#underWay.length < WINDOW.commands && this.#bytesUnderWay < most
  }

  #send(frame: RequestFrame, bytes: number, onProgress?: (progress: Progress) => void): void {
    this.#underWay.push({ seq: frame[1], bytes })
    this.#bytesUnderWay += bytes
    this.#transport.send(frame, onProgress)
  }

  /** Sends what was held, as far as there is room now. */
  #release(): void {
    let at = 0
    while (at < this.#held.length && this.#hasRoom(this.#held[at]!.bytes)) {
      const { frame, bytes, onProgress } = this.#held[at++]!
      this.#bytesHeld -= bytes
      this.#send(frame, bytes, onProgress)
    }
    this.#held.splice(0, at)
  }

  /** Gives an answer up by its signal or after its time. */
  #watch(seq: number, name: string, { signal, timeout }: WaitOptions): void {
    if (signal !== undefined) {
      const giveUp = () => this.#giveUp(seq, aborted(name, signal))
      // What came in time lies unread if this end was busy until now; a wish to stop is another matter.
      const abort = () => (isTimeout(signal.reason) ? nextTurn(giveUp) : giveUp())
      signal.addEventListener('abort', abort, { once: true })
      this.#pending.get(seq)!.settled = () => signal.removeEventListener('abort', abort)
    }
    const { worker, timeout: silence = 0 } = this.#options
    if (timeout !== undefined) {
      const message = `${name}: no answer from ${worker} within ${timeout} ms`
      const callOff = afterAwake(timeout, () => this.#giveUp(seq, sottoError('ERR_TIMEOUT', message, { worker })))
      const before = this.#pending.get(seq)!.settled
      this.#pending.get(seq)!.settled = () => {
        callOff()
        before?.()
      }
    }
    if (silence > 0 && this.#silence === null) {
      this.#lastWord = performance.now()
      // After a turn: whoever was busy has its own timers first, and what came meanwhile later.
      const look = () => nextTurn(() => this.#checkSilence(silence))
      this.#silence = setInterval(look, Math.max(10, silence / 4))
    }
  }

  #checkSilence(silence: number): void {
    if (this.#silence === null) return
    const waiting = [...this.#pending, ...this.#partial]
    if (waiting.length === 0) {
      clearInterval(this.#silence)
      this.#silence = null
    } else if (this.#transport.passed !== this.#passed) {
      // It takes what it is sent, or sends a large answer.
      this.#passed = this.#transport.passed
      this.#lastWord = performance.now()
    } else if (performance.now() - this.#lastWord > silence) {
      const { worker } = this.#options
      for (const [seq, { site }] of waiting) {
        const message = `${site.what}: ${worker} has said nothing for ${silence} ms`
        this.#giveUp(seq, sottoError('ERR_TIMEOUT', message, { worker }))
      }
    }
  }

  /** Stops waiting for an answer; when it comes, it is dropped. */
  #giveUp(seq: number, error: Error): void {
    this.#settle(seq)?.reject(error)
  }

  /** Takes who waits for an answer off the list. */
  #settle(seq: number): Pending | undefined {
    const pending = this.#pending.get(seq) ?? this.#partial.get(seq)
    if (pending === undefined) return undefined
    this.#pending.delete(seq)
    this.#partial.delete(seq)
    pending.settled?.()
    if (this.#pending.size + this.#partial.size === 0) this.#transport.hold?.(false)
    return pending
  }

  /** Takes no more commands, and ends the session when those before are carried out, or after some seconds. */
  async finish(): Promise<void> {
    if (this.isClosed) return
    const isDone = this.#transport.isSynchronous || this.#underWay.length + this.#held.length === 0
    const last = isDone ? null : this.ask('flush', {}, { timeout: LEAVING })
    this.#isLeaving = true
    // Failures that nobody asked about are nobody's concern any more.
    await last?.catch(() => {})
    this.close()
  }

  close(reason?: Error): void {
    this.#transport.close(reason)
  }

  /** Calls back with the origin of every failure that the worker tells of, and the error itself. */
  onFailure(listener: (origin: string, error: Error) => void): void {
    this.#failureListeners.push(listener)
  }

  /** Calls back when the session ends, at once if it has; with a reason unless this end closed it. Gives a way to be forgotten. */
  onClose(listener: (reason: Error | undefined) => void): () => void {
    if (this.#closed) listener(this.#wasBroken ? this.#closed : undefined)
    else this.#closeListeners.add(listener)
    return () => this.#closeListeners.delete(listener)
  }

  /** Sets who gets the frames of tunnels that were not opened here. */
  onTunnel(listener: (frame: TunnelFrame) => void): void {
    this.#onTunnel = listener
  }
  /** Passes on a frame of a tunnel. */
  sendTunnel(frame: TunnelFrame): void {
    this.#transport.send(frame)
  }

  /** The site of the command that is being sent at this moment. */
  #siteNow(seq: number): Site | undefined {
    return this.#now?.seq === seq ? noted(this.#now.what, WHOLE_STACK) : undefined
  }

  #receive(frame: Frame | Error, following?: Following): void {
    this.#lastWord = performance.now()
    if (frame instanceof Error) return this.#transport.close(frame)
    switch (frame[0]) {
      case FrameKind.reply: {
        const [, seq, value] = frame
        if (following === undefined) this.#settle(seq)?.resolve(value)
        else this.#follow(seq, value, following)
        return this.#settled(seq)
      }
      case FrameKind.failure: {
        const [, seq, wire] = frame
        const site = this.#pending.get(seq)?.site ?? this.#sites.get(seq) ?? this.#siteNow(seq)
        const error = this.#errorOf(wire, site, seq)
        for (const listener of this.#failureListeners) listener(wire.origin, error)
        this.#sites.delete(seq)
        this.#settle(seq)?.reject(error)
        this.#checkAnswers(seq)
        return this.#makeRoom(seq)
      }
      case FrameKind.ack:
        this.#forgetSites(frame[1])
        return this.#settled(frame[1])
      case FrameKind.tunnel:
        return this.tunnels.take(frame, this.#onTunnel)
      default:
        this.#transport.close(sottoError('ERR_PROTOCOL', 'a worker sent a request to its caller'))
    }
  }

  /** Answers come in the order of the requests: one that was passed over is lost. */
  #checkAnswers(upTo: number): void {
    const [first] = this.#pending.keys()
    if (first === undefined || first > upTo) return
    const lost = `request ${upTo} was answered, and request ${first} before it was not`
    this.#transport.close(sottoError('ERR_PROTOCOL', lost))
  }

  /** Waits for the rest of a large answer. */
  #follow(seq: number, value: unknown, following: Following): void {
    const pending = this.#pending.get(seq)
    this.#pending.delete(seq)
    if (pending === undefined) return
    this.#partial.set(seq, pending)
    following.onProgress((progress) => {
      this.#lastWord = performance.now()
      if (this.#partial.has(seq)) pending.onProgress?.(progress)
    })
    following.whole.then(
      () => this.#settle(seq)?.resolve(value),
      (error: Error) => this.#settle(seq)?.reject(error),
    )
  }

  #settled(upTo: number): void {
    this.#settledUpTo = Math.max(upTo, this.#settledUpTo)
    this.#checkAnswers(upTo)
    this.#forgetSites(upTo)
    this.#makeRoom(upTo)
  }

  #forgetSites(upTo: number): void {
    for (const seq of this.#sites.keys()) {
      if (seq > upTo) break
      this.#sites.delete(seq)
    }
  }

  /** What the worker has done makes room for what was held. */
  #makeRoom(upTo: number): void {
    let done = 0
    while (done < this.#underWay.length && this.#underWay[done]!.seq <= upTo) {
      this.#bytesUnderWay -= this.#underWay[done++]!.bytes
    }
    this.#underWay.splice(0, done)
    if (this.#held.length > 0) this.#release()
  }

  /** The error of a failure: of this very command, or of an earlier one that poisoned what it was given. */
  #errorOf(wire: ErrorWire, site: Site | undefined, seq: number): Error {
    const known = failures.get(wire.origin)
    if (known) return known
    const { code, message, worker, origin } = wire
    const own = origin === `${this.id}:${seq}`
    const where = own && site ? callerOf(site) : undefined
    const named = site === undefined || /^[\w.]+: /.test(message) ? message : `${site.what}: ${message}`
    const text = `${named} (on ${worker}${where ? `, issued at ${where}` : ''})`
    const error = sottoError(code as Code, text, {
      worker,
      ...(own && site ? { op: site.what } : {}),
      ...(where ? { where } : {}),
    })
    failures.set(origin, error)
    if (failures.size > REMEMBERED) failures.delete(failures.keys().next().value as string)
    return error
  }

  /** What a command gets once the session is over: why it ended, where that was not the caller's own wish. */
  #closedError(name: string): Error {
    const { worker } = this.#options
    const reason = this.#closed
    if (
      isSottoError(reason) &&
      reason.code !== 'ERR_SESSION_CLOSED' &&
      ['session', 'access'].includes(codes[reason.code].kind)
    ) {
      return sottoError(reason.code, `${name}: ${reason.message}`, { ...reason.details, worker }, reason)
    }
    return sottoError('ERR_SESSION_CLOSED', `${name}: the session with ${worker} is closed`, { worker }, reason)
  }

  #end(reason: Error | undefined): void {
    if (this.#closed) return
    this.#wasBroken = reason !== undefined
    this.#closed = reason ?? sottoError('ERR_SESSION_CLOSED', `the session with ${this.#options.worker} was closed`)
    this.#sites.clear()
    this.#held.length = 0
    if (this.#silence !== null) clearInterval(this.#silence)
    this.#silence = null
    for (const [seq, { site }] of [...this.#pending, ...this.#partial]) {
      this.#settle(seq)?.reject(this.#closedError(site.what))
    }
    this.tunnels.end()
    for (const listener of [...this.#closeListeners]) listener(reason)
    this.#closeListeners.clear()
  }
}

/** The session of a caller: with an id and a secret of its own. */
export function callerSession(transport: Transport, identity: string, worker: string, timeout = 0): Session {
  const secret = globalThis.crypto.getRandomValues(new Uint8Array(32))
  return new Session(transport, { name: identity, worker, id: newId(), secret, timeout })
}

const isTimeout = (reason: unknown): boolean => (reason as { name?: string } | undefined)?.name === 'TimeoutError'

function aborted(name: string, { reason }: AbortSignal): Error {
  const [code, why] = isTimeout(reason)
    ? (['ERR_TIMEOUT', 'timed out'] as const)
    : (['ERR_ABORTED', 'gave up'] as const)
  return sottoError(code, `${name}: the wait for its answer ${why}, by its signal`, {}, reason)
}

/** Folder of this package's own code: its frames are not the caller's line. A bundle may not know where it is. */
const here: string | undefined = import.meta.url
const own = here === undefined ? undefined : new URL('..', here)
const ownPrefixes = own === undefined ? [] : [own.href, decodeURIComponent(own.pathname)]

function callerOf({ stack }: Site): string | undefined {
  const lines = (stack ?? '').split('\n').filter((line) => line.trimStart().startsWith('at '))
  const isOurs = (frame: string): boolean => ownPrefixes.some((prefix) => frame.includes(prefix))
  // Frames of the engine itself (`Array.forEach`) are nobody's line.
  const line = lines.find((frame) => !isOurs(frame) && !frame.includes('node:') && !frame.includes('<anonymous>'))
  return line
    ?.trim()
    .replace(/^at (?:async )?/, '')
    .replace(/^.*\((.*)\)$/, '$1')
}
