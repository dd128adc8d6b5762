/** The end of a link that dials: makes its first channel, and others when one breaks. */
import { isSottoError, sottoError } from '../../errors.ts'
import { afterAwake } from './awake.ts'
import type { Channel } from './channel.ts'
import { type DialOptions, type Resumed, shake, type Welcomed } from './handshake.ts'
import { Link } from './link.ts'

export interface DiallerOptions {
  /** Who is dialled, for messages. */
  readonly name: string
  readonly connect: (signal: AbortSignal) => Promise<Channel>
  readonly shake: Omit<DialOptions, 'resume'>
  /** Milliseconds for the first connection. */
  readonly timeout: number
  /** Milliseconds for which a link that broke is tried again. */
  readonly grace: number
  readonly heartbeat: number
  /** Bytes of large parts that may be on their way to this end. */
  readonly parts: number
  readonly signal?: AbortSignal
  /** Whether the first connection, too, is tried again until its time is over. */
  readonly isPatient?: boolean
}

/** Milliseconds before the second try, and at most between two. */
const FIRST_PAUSE = 50
const LONGEST_PAUSE = 2000
/** Milliseconds for one try after the first. */
const TRY = 10_000
/** A link that held for so many milliseconds was mended, though nothing may have passed. */
const MENDED = 5000

/** A link that is being made: what is sent meanwhile waits. */
export interface Dialled {
  readonly link: Link
  /** What was said when it began; rejects when nothing came of it, and the link ends with the same error. */
  readonly welcomed: Promise<Welcomed>
}

/**
 * Dials.
 *
 * The link ends with `ERR_UNREACHABLE`, `ERR_TIMEOUT`, `ERR_ABORTED`, an AccessError or ProtocolError when it never began;
 * with `ERR_WORKER_LOST` when it broke and could not be mended in time; and with `ERR_WORKER_RESTARTED` when another run
 * of the worker answers.
 */
export function dial(options: DiallerOptions): Dialled {
  const { heartbeat, parts } = options
  const link = new Link({ message: FIRST_MESSAGE, parts, heartbeat })
  const welcomed = first(options, link)
    .then((said) => {
      link.limit(said.message)
      const repair = new Repair(link, options, said)
      link.onLost((reason) => repair.begin(reason))
      link.onSilence = () => repair.probe()
      link.attach(said.channel, said.received)
      return said
    })
    .catch((error: Error) => {
      link.close(error)
      throw error
    })
  // Whoever sends over the link hears of it there.
  welcomed.catch(() => {})
  return { link, welcomed }
}

/** Bytes of a message before the other end has said what it takes. */
const FIRST_MESSAGE = 8 * 2 ** 20

/** The first connection, in its time. */
async function first(options: DiallerOptions, link: Link): Promise<Welcomed> {
  const { name, timeout, signal, isPatient } = options
  const late = new AbortController()
  let last: unknown
  const giveUp = () =>
    late.abort(last ?? sottoError('ERR_TIMEOUT', `${name} did not answer within ${timeout} ms`, { timeout }))
  const callOff = timeout === 0 ? () => {} : afterAwake(timeout, giveUp)
  const abort = () => late.abort(sottoError('ERR_ABORTED', `${name}: connecting was given up, by its signal`))
  if (signal?.aborted) abort()
  signal?.addEventListener('abort', abort, { once: true })
  link.onClose(() => late.abort(sottoError('ERR_SESSION_CLOSED', `${name}: closed before a connection was made`)))
  try {
    for (let pause = FIRST_PAUSE; ; pause = Math.min(2 * pause, LONGEST_PAUSE)) {
      try {
        return await once(options, null, options.shake.pin, late.signal)
      } catch (error) {
        if (!isPatient || isFinal(error) || late.signal.aborted) throw error
        last = error
      }
      await paused(pause, late.signal)
    }
  } finally {
    callOff()
    signal?.removeEventListener('abort', abort)
  }
}

/** Connects and shakes hands. */
async function once(
  options: DiallerOptions,
  resume: DialOptions['resume'],
  pin: string | null,
  signal: AbortSignal,
): Promise<Welcomed> {
  signal.throwIfAborted()
  const channel = await options.connect(signal)
  try {
    return await shake(channel, { ...options.shake, pin, resume }, signal)
  } catch (error) {
    channel.close()
    if (isSottoError(error)) throw error
    const why = `no connection to ${options.name}: it broke during the handshake (${(error as Error).message})`
    throw sottoError('ERR_UNREACHABLE', why, {}, error)
  }
}

/** A time without a connection that is of use: from a break until something has passed again, or it has held. */
interface Outage {
  /** How much had passed when it began. */
  readonly passed: number
  /** Says that it has lasted for too long. */
  readonly over: AbortController
  callOff(): void
  /** Milliseconds before the next try. */
  pause: number
}

class Repair {
  readonly #link: Link
  readonly #options: DiallerOptions
  readonly #welcomed: Welcomed
  readonly #closed = new AbortController()
  #isUnderWay = false
  #outage: Outage | null = null
  #attachedAt = 0

  constructor(link: Link, options: DiallerOptions, welcomed: Welcomed) {
    this.#link = link
    this.#options = options
    this.#welcomed = welcomed
    link.onClose(() => {
      this.#closed.abort()
      this.#outage?.callOff()
      this.#outage?.over.abort()
    })
  }

  /** Mends the link, again and again until it is mended or its time is over. */
  begin(reason: Error | undefined): void {
    if (this.#isUnderWay) return
    if (isFinal(reason)) return this.#link.close(reason as Error)
    this.#isUnderWay = true
    this.#mend(reason).finally(() => this.#ended())
  }

  #ended(): void {
    this.#isUnderWay = false
    if (!this.#link.isAttached && !this.#link.isClosed) this.begin(undefined)
  }

  async #mend(reason: Error | undefined): Promise<void> {
    const outage = this.#outageNow()
    const { signal } = outage.over
    for (let last = reason; ; ) {
      await paused(outage.pause * (0.5 + spread()), signal)
      outage.pause = Math.min(Math.max(2 * outage.pause, FIRST_PAUSE), LONGEST_PAUSE)
      if (this.#link.isClosed) return
      if (signal.aborted) return this.#link.close(this.#lost(last))
      try {
        return await this.#try(signal)
      } catch (error) {
        if (isFinal(error)) return this.#link.close(error as Error)
        if (!signal.aborted) last = error as Error
      }
    }
  }

  /** The outage that goes on, or that begins: a connection that breaks at once, again and again, is none. */
  #outageNow(): Outage {
    const { passed } = this.#link
    const known = this.#outage
    const isMended = passed !== known?.passed || performance.now() - this.#attachedAt > MENDED
    if (known !== null && !isMended) return known
    known?.callOff()
    const over = new AbortController()
    const outage = { passed, over, callOff: afterAwake(this.#options.grace, () => over.abort()), pause: 0 }
    this.#outage = outage
    return outage
  }

  /**
   * The other end is silent. It may be computing, or the connection dead without a word: another connection tells.
   * As long as none can be made, nothing changes; if one can, and still no word has come, the link goes on over it.
   */
  probe(): void {
    if (this.#isUnderWay) return
    this.#isUnderWay = true
    this.#try(this.#closed.signal, true)
      .catch((error: Error) => {
        if (isFinal(error)) this.#link.close(error)
      })
      .finally(() => this.#ended())
  }

  async #try(signal: AbortSignal, isProbe = false): Promise<void> {
    const { link, worker, key, incarnation } = this.#welcomed
    const now = (): Resumed => {
      if (isProbe && this.#link.isHeard) throw sottoError('ERR_SESSION_CLOSED', 'there is no need to go elsewhere')
      // What comes over the old channel from here on is not counted, and sent again over the new one.
      this.#link.pause()
      return { ...link, received: this.#link.received }
    }
    const late = new AbortController()
    const giveUp = () => late.abort(sottoError('ERR_TIMEOUT', `${worker} did not answer`))
    const callOff = afterAwake(TRY, giveUp)
    signal.addEventListener('abort', giveUp, { once: true })
    try {
      const again = await once(this.#options, { incarnation, now }, key, late.signal)
      this.#attachedAt = performance.now()
      this.#link.attach(again.channel, again.received)
    } catch (error) {
      this.#link.goOn()
      throw error
    } finally {
      callOff()
      signal.removeEventListener('abort', giveUp)
    }
  }

  #lost(cause: Error | undefined): Error {
    const { worker } = this.#welcomed
    const { grace } = this.#options
    const why = cause ? ` (${cause.message})` : ''
    return sottoError('ERR_WORKER_LOST', `${worker} could not be reached again within ${grace} ms${why}`, {}, cause)
  }
}

/** Whether trying again is of no use: somebody is there, and says no. */
const isFinal = (error: unknown): boolean =>
  isSottoError(error) && !['ERR_UNREACHABLE', 'ERR_TIMEOUT', 'ERR_SESSION_CLOSED'].includes(error.code)

/** From 0 to 1: many that lost their worker at one moment should not all come back at one moment. */
const spread = (): number => globalThis.crypto.getRandomValues(new Uint8Array(1))[0]! / 255

/** Waits for so many milliseconds, or until a signal. */
const paused = (milliseconds: number, signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (milliseconds === 0 || signal.aborted) return resolve()
    const done = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, milliseconds)
    signal.addEventListener('abort', done, { once: true })
  })
