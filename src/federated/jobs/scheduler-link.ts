/** A party's end of its link with the scheduler. */
import * as v from 'valibot'
import { type Code, sottoError } from '../../errors.ts'
import type { Identity } from '../../worker/identity.ts'
import { FrameKind } from '../../worker/protocol.ts'
import { checkToken, socketUrl } from '../../worker/socket-url.ts'
import { dial } from '../../worker/transport/dialler.ts'
import type { Link } from '../../worker/transport/link.ts'
import { dialWebSocket } from '../../worker/transport/websocket.ts'
import { responses, type SchedulerMessage, type SchedulerRequest, type SchedulerResponse } from './messages.ts'

export interface SchedulerAt {
  readonly url: string
  /** The key that it must hold. */
  readonly pin?: string
  readonly token?: string
  /** Authorities to trust, in PEM. */
  readonly ca?: string
  /** Sends the token over a connection that others could read. */
  readonly insecure?: boolean
}

export interface PartyOptions {
  readonly name: string
  readonly identity: Identity
  /** Id of the job. */
  readonly job: string
  /** Milliseconds for the scheduler to be there. */
  readonly wait: number
  /** Milliseconds after which a connection that broke is lost. */
  readonly grace: number
  /** Ends the link. */
  readonly signal?: AbortSignal
}

const HEARTBEAT = 5000
const PARTS = 2 ** 18
/** Milliseconds for an answer that needs nobody else. */
const PROMPT = 30_000

interface Waiting {
  readonly message: SchedulerMessage
  resolve(value: never): void
  reject(error: Error): void
}

export class SchedulerLink {
  /** Public key of the scheduler. */
  readonly key: string
  readonly #link: Link
  readonly #waiting = new Map<number, Waiting>()
  #seq = 0
  #closed: Error | null = null

  /**
   * Connects as a party, and registers; a scheduler that is not there yet is waited for.
   *
   * @throws AccessError for whoever is not taken; StateError `ERR_JOB_MISMATCH`; SessionError `ERR_UNREACHABLE`
   */
  static async connect(
    { url, pin, token, ca, insecure = false }: SchedulerAt,
    { name, identity, job, wait, grace, signal }: PartyOptions,
  ): Promise<SchedulerLink> {
    checkToken('scheduler', socketUrl('scheduler', url), token, insecure)
    const tls = ca === undefined ? {} : { ca }
    const { link, welcomed } = dial({
      name: `the scheduler at ${url}`,
      connect: (signal) => dialWebSocket(url, { tls, vouched: pin !== undefined, signal }),
      shake: { credentials: { role: 'worker', name, token: token ?? null }, identity, pin: pin ?? null },
      timeout: wait,
      isPatient: true,
      grace,
      heartbeat: HEARTBEAT,
      parts: PARTS,
      ...(signal ? { signal } : {}),
    })
    const { key } = await welcomed
    // Whoever waits for an answer is told to end by it, too.
    const abort = () => link.close(signal!.reason as Error)
    signal?.addEventListener('abort', abort, { once: true })
    link.onClose(() => signal?.removeEventListener('abort', abort))
    const scheduler = new SchedulerLink(link, key)
    try {
      await scheduler.ask('register', { job })
    } catch (error) {
      scheduler.close()
      throw error
    }
    return scheduler
  }

  private constructor(link: Link, key: string) {
    this.#link = link
    this.key = key
    link.onFrame((frame) => {
      if (frame instanceof Error) return link.close(frame)
      const [kind, seq] = frame
      const waiting = this.#waiting.get(seq as number)
      if (waiting === undefined) return
      this.#waiting.delete(seq as number)
      if (kind === FrameKind.failure) {
        const { code, message } = frame[2]
        return waiting.reject(sottoError(code as Code, `${message} (says the scheduler)`))
      }
      const parsed = v.safeParse(responses[waiting.message] as v.GenericSchema, frame[2])
      if (kind === FrameKind.reply && parsed.success) return waiting.resolve(parsed.output as never)
      link.close(sottoError('ERR_PROTOCOL', `the scheduler's answer to ${waiting.message} is not what it must be`))
    })
    link.onClose((reason) => {
      this.#closed = reason ?? sottoError('ERR_SESSION_CLOSED', 'the scheduler has ended')
      for (const { reject } of this.#waiting.values()) reject(this.#closed)
      this.#waiting.clear()
    })
  }

  /** @throws what the scheduler answers; SessionError when the link ends, or no answer comes in time (0: for ever) */
  async ask<N extends SchedulerMessage>(
    message: N,
    body: SchedulerRequest<N>,
    timeout = PROMPT,
  ): Promise<SchedulerResponse<N>> {
    if (this.#closed !== null) throw this.#closed
    const seq = ++this.#seq
    let timer: ReturnType<typeof setTimeout> | undefined
    try {
      return await new Promise<SchedulerResponse<N>>((resolve, reject) => {
        this.#waiting.set(seq, { message, resolve, reject })
        const late = () =>
          reject(sottoError('ERR_TIMEOUT', `the scheduler did not answer ${message} within ${timeout} ms`))
        if (timeout > 0) timer = setTimeout(late, timeout)
        this.#link.send([FrameKind.request, seq, message, body])
      })
    } finally {
      clearTimeout(timer)
      this.#waiting.delete(seq)
    }
  }

  close(): void {
    this.#link.close()
  }
}
