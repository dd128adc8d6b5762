/**
 * The caller's end of a conversation with a worker: numbers commands, matches answers, and turns failures into errors
 * that say which line issued the command.
 *
 * Commands are pipelined: `tell` sends and returns, and nothing comes back unless it fails. The worker carries them out
 * in the order of their numbers.
 */
import { type Code, sottoError } from '../errors.ts'
import { newId } from '../tensor/location.ts'
import {
  type AskName,
  type ErrorWire,
  type Frame,
  FrameKind,
  PROTOCOL_VERSION,
  type Request,
  type Response,
  type TellName,
} from './protocol.ts'
import type { Transport } from './transport/transport.ts'

/** Where a command was issued; formatted only when it fails. */
interface Site {
  readonly what: string
  stack?: string
}

interface Pending {
  resolve(value: unknown): void
  reject(error: Error): void
  readonly site: Site
}

/** Commands that hardly fail, or not by a line of the caller's: nobody asks where they were issued. */
const silent: { readonly [N in TellName]?: true } = { free: true, peers: true, deposit: true }

/** Commands that may wait for a peer, and hold up what comes after them. */
const waiting: { readonly [N in TellName]?: true } = { receive: true, backward: true }

/** Enough to get past our own frames to the line of the caller. */
const OWN_FRAMES = 8
/** From inside the worker to the caller, through the transport. */
const WHOLE_STACK = 100

const whatOf = (name: string, body: unknown): string => (name === 'run' ? (body as { op: string }).op : name)

/** Notes where a command is issued: four microseconds, a third of what a small one costs. */
function noted(what: string, frames: number): Site {
  const site: Site = { what }
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = frames
  Error.captureStackTrace?.(site, noted)
  Error.stackTraceLimit = stackTraceLimit
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
  readonly role: 'caller' | 'peer'
  /** Identity of the caller, or name of the peer. */
  readonly name: string
  /** Name of the worker at the other end, for messages. */
  readonly worker: string
}

export class Session {
  readonly id = newId()
  readonly #transport: Transport
  readonly #options: SessionOptions
  #seq = 0
  readonly #pending = new Map<number, Pending>()
  /** Sites of commands that may still fail, oldest first. */
  readonly #sites = new Map<number, Site>()
  /** The command being sent, where the worker carries it out before `send` returns. */
  #now: { readonly seq: number; readonly what: string } | null = null
  /** The last command that the worker may have to wait with, and up to where all are known to be done. */
  #lastWaiting = 0
  #settledUpTo = 0
  #closed: Error | null = null
  readonly #closeListeners = new Set<() => void>()
  readonly #failureListeners: ((origin: string) => void)[] = []

  constructor(transport: Transport, options: SessionOptions) {
    this.#transport = transport
    this.#options = options
    transport.onFrame((frame) => this.#receive(frame))
    transport.onClose((reason) => this.#end(reason))
    const { role, name } = options
    // Pipelined like everything else: what follows does not wait for the answer.
    this.ask('hello', { version: PROTOCOL_VERSION, role, name, session: this.id }).catch((error: Error) =>
      this.#transport.close(error),
    )
  }

  get isClosed(): boolean {
    return this.#closed !== null
  }

  /** Issues a command that is not answered unless it fails. */
  tell<N extends TellName>(name: N, body: Request<N>): void {
    if (this.#closed) {
      // What is freed on a worker that is gone is free.
      if (name === 'free') return
      throw this.#closedError(name)
    }
    const seq = ++this.#seq
    if (name in waiting) this.#lastWaiting = seq
    if (name in silent) this.#transport.send([FrameKind.request, seq, name, body])
    else if (this.#transport.isSynchronous && this.#lastWaiting <= this.#settledUpTo) {
      // Whether it fails is known before `send` returns, with the caller still on the stack: nothing to note before.
      const outer = this.#now
      this.#now = { seq, what: whatOf(name, body) }
      this.#transport.send([FrameKind.request, seq, name, body])
      this.#now = outer
    } else {
      this.#sites.set(seq, noted(whatOf(name, body), OWN_FRAMES))
      this.#transport.send([FrameKind.request, seq, name, body])
    }
  }

  /** Issues a command and waits for its answer. */
  ask<N extends AskName>(name: N, body: Request<N>): Promise<Response<N>> {
    const site = noted(whatOf(name, body), OWN_FRAMES)
    return new Promise((resolve, reject) => {
      const plainly = resolve as (value: unknown) => void
      const answer = this.#transport.isSynchronous ? inTurn(plainly) : plainly
      if (this.#closed) return reject(this.#closedError(name))
      const seq = ++this.#seq
      this.#pending.set(seq, { resolve: answer, reject, site })
      this.#transport.send([FrameKind.request, seq, name, body])
    })
  }

  close(reason?: Error): void {
    this.#transport.close(reason)
  }

  /** Calls back with the origin of every failure that the worker tells of. */
  onFailure(listener: (origin: string) => void): void {
    this.#failureListeners.push(listener)
  }

  /** Calls back when the session ends, at once if it has. Gives a way to be forgotten. */
  onClose(listener: () => void): () => void {
    if (this.#closed) listener()
    else this.#closeListeners.add(listener)
    return () => this.#closeListeners.delete(listener)
  }

  /** The site of the command that is being sent at this moment. */
  #siteNow(seq: number): Site | undefined {
    return this.#now?.seq === seq ? noted(this.#now.what, WHOLE_STACK) : undefined
  }

  #receive(frame: Frame | Error): void {
    if (frame instanceof Error) return this.#transport.close(frame)
    const [kind, seq] = frame
    if (kind === FrameKind.reply) {
      const pending = this.#pending.get(seq)
      this.#pending.delete(seq)
      this.#settled(seq)
      pending?.resolve(frame[2])
    } else if (kind === FrameKind.failure) {
      const pending = this.#pending.get(seq)
      const site = pending?.site ?? this.#sites.get(seq) ?? this.#siteNow(seq)
      const error = this.#errorOf(frame[2], site, seq)
      for (const listener of this.#failureListeners) listener(frame[2].origin)
      this.#pending.delete(seq)
      this.#sites.delete(seq)
      pending?.reject(error)
      this.#checkAnswers(seq)
    } else if (kind === FrameKind.ack) this.#settled(seq)
    else this.#transport.close(sottoError('ERR_PROTOCOL', 'a worker sent a request to its caller'))
  }

  /** Answers come in the order of the requests: one that was passed over is lost. */
  #checkAnswers(upTo: number): void {
    const [first] = this.#pending.keys()
    if (first === undefined || first > upTo) return
    const lost = `request ${upTo} was answered, and request ${first} before it was not`
    this.#transport.close(sottoError('ERR_PROTOCOL', lost))
  }

  #settled(upTo: number): void {
    this.#settledUpTo = upTo
    this.#checkAnswers(upTo)
    for (const seq of this.#sites.keys()) {
      if (seq > upTo) break
      this.#sites.delete(seq)
    }
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

  #closedError(name: string): Error {
    return sottoError(
      'ERR_SESSION_CLOSED',
      `${name}: the session with ${this.#options.worker} is closed`,
      { worker: this.#options.worker },
      this.#closed,
    )
  }

  #end(reason: Error | undefined): void {
    this.#closed = reason ?? sottoError('ERR_SESSION_CLOSED', `the session with ${this.#options.worker} was closed`)
    const pending = [...this.#pending.values()]
    this.#pending.clear()
    this.#sites.clear()
    for (const { reject, site } of pending) reject(this.#closedError(site.what))
    for (const listener of [...this.#closeListeners]) listener()
    this.#closeListeners.clear()
  }
}

/** Folder of this package's own code: its frames are not the caller's line. */
const own = new URL('..', import.meta.url)
const ownPrefixes = [own.href, decodeURIComponent(own.pathname)]

function callerOf({ stack }: Site): string | undefined {
  const lines = (stack ?? '').split('\n').filter((line) => line.trimStart().startsWith('at '))
  const line = lines.find((frame) => !ownPrefixes.some((prefix) => frame.includes(prefix)) && !frame.includes('node:'))
  return line
    ?.trim()
    .replace(/^at (?:async )?/, '')
    .replace(/^.*\((.*)\)$/, '$1')
}
