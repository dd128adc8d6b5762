/**
 * The scheduler of a job: it waits until the server and all trainers are there, tells each the others' keys, and says who
 * takes part in each round. No data, no update and no model passes it.
 *
 * It is believed as to who the parties are, unless they know each other's keys (`peers`): a scheduler that made up all
 * trainers but one would have that one's part in every sum. It draws from the job's seed, so anyone can repeat a draw.
 */
import { setTimeout as pause } from 'node:timers/promises'
import * as v from 'valibot'
import { isSottoError, sottoError } from '../../errors.ts'
import { Identity } from '../../worker/identity.ts'
import { isLoopback } from '../../worker/loopback.ts'
import { type Frame, FrameKind } from '../../worker/protocol.ts'
import { listen, type ServerTls } from '../../worker/server.ts'
import type { Tokens } from '../../worker/tokens.ts'
import { afterAwake } from '../../worker/transport/awake.ts'
import type { Link } from '../../worker/transport/link.ts'
import { LinkListener } from '../../worker/transport/listener.ts'
import { sampleClients } from '../sampling.ts'
import type { CompiledJob } from './compiled.ts'
import { SERVER, trainersOf } from './definition.ts'
import {
  type Ending,
  type Keys,
  ofServer,
  ofTrainers,
  requests,
  type SchedulerMessage,
  type SchedulerRequest,
  type SchedulerResponse,
} from './messages.ts'

export interface SchedulerOptions {
  readonly job: CompiledJob
  readonly host: string
  readonly port: number
  readonly tls?: ServerTls
  readonly identity?: Identity
  /** Tokens that were given out, each with the name of a party for an identity. */
  readonly tokens?: () => Tokens
  /** Keys that parties must hold, by their names; others are not taken. */
  readonly peers?: Keys
  /** Lets anyone be a party who can reach it, and comes first. */
  readonly insecure?: boolean
  /** Milliseconds for all parties to come, and for a server that is lost to come back. */
  readonly wait: number
  /** Told who comes and goes, and who takes part. */
  readonly print: (line: string) => void
}

export interface Scheduler {
  readonly url: string
  readonly key: string
  /**
   * How the job ended.
   *
   * @throws SessionError `ERR_TIMEOUT` when not all parties came in time, or the server did not come back
   */
  readonly ended: Promise<Ending>
  close(): Promise<void>
}

/** Bytes of a message: names and keys of 257 parties. */
const MESSAGE = 2 ** 18
/** Connections at a time, besides one for each party: those of strangers, and of whoever comes back. */
const SPARE = 64
/** Requests of one party that wait for an answer. */
const MOST_WAITING = 8
const HEARTBEAT = 5000
/** Milliseconds for parties to leave, and between two looks at whether they have. */
const LEAVING = 1000
const PAUSE = 20

/**
 * Listens for the parties of a job.
 *
 * @throws AccessError `ERR_INSECURE` when others could reach it and neither `tokens`, `peers` nor `insecure` is given
 */
export async function serveScheduler(options: SchedulerOptions): Promise<Scheduler> {
  const { host, port, tls, tokens, peers, insecure = false, identity = Identity.generate() } = options
  if (tokens === undefined && peers === undefined && !isLoopback(host) && !insecure) {
    throw sottoError('ERR_INSECURE', `at ${host} anyone could pass for a party of the job; give tokens or peers`)
  }
  const service = new Service(options)
  const links = new LinkListener<Comer>({
    id: 'scheduler',
    identity,
    incarnation: globalThis.crypto.randomUUID(),
    grace: options.job.terms.grace,
    heartbeat: HEARTBEAT,
    message: MESSAGE,
    parts: MESSAGE,
    nameOf: ({ name }) => name,
    admit(credentials, { key }) {
      if (credentials.role !== 'worker')
        throw sottoError('ERR_PROTOCOL', 'a scheduler takes the parties of its job only')
      const { name, token } = credentials
      if (key === null) throw sottoError('ERR_IDENTITY', `${name} shows no key`)
      const bearer = tokens?.().check(token)
      if (bearer !== undefined && bearer.identity !== name) {
        throw sottoError('ERR_IDENTITY', `the token is not that of ${name}`)
      }
      service.check(name, key)
      return { name, key }
    },
    begin: (link, comer) => service.take(link, comer),
  })
  const connections = options.job.terms.trainers + SPARE
  const isOpen = tokens === undefined && peers === undefined && !insecure
  const server = await listen({ host, port, tls, connections, maxMessage: MESSAGE, isOpen }, links)
  return {
    url: server.url,
    key: identity.key,
    ended: service.ended,
    async close() {
      service.stop()
      // Whoever has been told how the job ended goes by itself.
      const until = performance.now() + LEAVING
      while (links.size > 0 && performance.now() < until) await pause(PAUSE)
      links.close(sottoError('ERR_SESSION_CLOSED', 'the scheduler has ended'))
      await server.close()
    },
  }
}

/** Who comes, and the key that it holds. */
interface Comer {
  readonly name: string
  readonly key: string
}

type Answers = { readonly [N in SchedulerMessage]: (from: Comer, body: SchedulerRequest<N>) => unknown }

class Service {
  readonly ended: Promise<Ending>
  readonly #options: SchedulerOptions
  readonly #trainers: ReadonlySet<string>
  /** Keys of those who have registered: once all have, a name is theirs until the job ends. */
  readonly #keys = new Map<string, string>()
  /** Links of those who are here. */
  readonly #links = new Map<string, Link>()
  readonly #allHere = new Gate()
  readonly #serverListens = new Gate()
  #end!: (ending: Ending) => void
  #fail!: (error: Error) => void
  /** Calls off that those who wait for others have waited for too long. */
  #callOff: () => void

  constructor(options: SchedulerOptions) {
    this.#options = options
    this.#trainers = new Set(trainersOf(options.job.terms))
    this.ended = new Promise((resolve, reject) => {
      this.#end = resolve
      this.#fail = reject
    })
    // Whoever never asks is not to be told by the runtime.
    this.ended.catch(() => {})
    this.#callOff = afterAwake(options.wait, () => this.#giveUp())
  }

  /** @throws AccessError `ERR_IDENTITY` for whoever is no party, or does not hold the key of the one it says it is */
  check(name: string, key: string): void {
    const wrong = (message: string) => sottoError('ERR_IDENTITY', message, { name })
    if (name !== SERVER && !this.#trainers.has(name)) {
      throw wrong(`this job has ${this.#trainers.size} trainers, trainer-1 and so on, and a server; not ${name}`)
    }
    const { peers } = this.#options
    if (peers !== undefined && peers[name] !== key)
      throw wrong(`${name} does not hold the key that the scheduler was told`)
    const known = this.#keys.get(name)
    if (known !== undefined && known !== key) {
      throw wrong(`${name} has come before, with another key; it comes back with the same: --identity`)
    }
    if ([...this.#keys].some(([other, theirs]) => other !== name && theirs === key)) {
      throw wrong(`${name} has the key of another party`)
    }
  }

  take(link: Link, comer: Comer): void {
    let waiting = 0
    link.onFrame((frame) => {
      if (frame instanceof Error || frame[0] !== FrameKind.request) {
        return link.close(sottoError('ERR_PROTOCOL', 'a scheduler takes requests only'))
      }
      if (++waiting > MOST_WAITING) return link.close(sottoError('ERR_LIMIT', 'too many requests wait for an answer'))
      this.#answer(link, comer, frame).then((reply) => {
        waiting--
        link.send(reply)
      })
    })
    link.onClose(() => this.#left(link, comer))
  }

  async #answer(
    link: Link,
    from: Comer,
    [, seq, name, body]: Extract<Frame, readonly [1, ...unknown[]]>,
  ): Promise<Frame> {
    try {
      if (!Object.hasOwn(requests, name)) throw sottoError('ERR_UNKNOWN_MESSAGE', `a scheduler knows no ${name}`)
      const message = name as SchedulerMessage
      const parsed = v.safeParse(requests[message] as v.GenericSchema, body)
      if (!parsed.success) throw sottoError('ERR_PROTOCOL', `${name}: this is not what it must be`)
      if (message === 'register') this.#register(link, from, parsed.output as SchedulerRequest<'register'>)
      else if (this.#links.get(from.name) !== link) throw sottoError('ERR_OUT_OF_STEP', `${name}: register first`)
      if ((from.name === SERVER ? ofTrainers : ofServer).has(message)) {
        throw sottoError('ERR_PERMISSION', `${name}: it is not for ${from.name} to say`)
      }
      const answer = this.#answers[message] as (from: Comer, body: unknown) => unknown
      return [FrameKind.reply, seq, await answer(from, parsed.output)]
    } catch (error) {
      const code = isSottoError(error) ? error.code : 'ERR_OPERATION_FAILED'
      const { message } = error as Error
      return [FrameKind.failure, seq, { code, message, worker: 'scheduler', origin: `scheduler:${seq}` }]
    }
  }

  /** One row per request. */
  readonly #answers: Answers = {
    register: () => null,
    roster: async ({ name }): Promise<SchedulerResponse<'roster'>> => {
      await this.#allHere.wait
      if (name !== SERVER) await this.#serverListens.wait
      return Object.fromEntries([...this.#keys].filter(([other]) => other !== SERVER || name !== SERVER))
    },
    listening: () => {
      this.#serverListens.open()
      this.#callOff()
      return null
    },
    sample: (_, { round, clients }): SchedulerResponse<'sample'> => {
      const { terms } = this.#options.job
      const here = clients.filter((name) => this.#trainers.has(name) && this.#links.get(name)?.isAttached)
      const { fraction, minimum, seed } = terms
      const drawn = sampleClients({ fraction, minimum, seed }, here, round)
      this.#options.print(
        `round ${round + 1}: ${drawn.length} of ${here.length} trainers that are here: ${drawn.join(', ')}`,
      )
      return drawn
    },
    finish: (_, ending) => {
      this.#end(ending)
      return null
    },
    ended: () => this.ended,
  }

  #register(link: Link, { name, key }: Comer, { job }: SchedulerRequest<'register'>): void {
    const { id } = this.#options.job
    if (job !== id) {
      throw sottoError(
        'ERR_JOB_MISMATCH',
        `${name} has the job ${job.slice(0, 12)}…, the scheduler ${id.slice(0, 12)}…; give all parties the same folder`,
        { name },
      )
    }
    // Two may have come at once.
    this.check(name, key)
    const before = this.#links.get(name)
    this.#links.set(name, link)
    before?.close(sottoError('ERR_SESSION_CLOSED', `another ${name} has come`))
    const isBack = this.#keys.has(name)
    this.#keys.set(name, key)
    const here = [...this.#trainers].filter((trainer) => this.#keys.has(trainer)).length
    this.#options.print(
      `${name} is ${isBack ? 'back' : 'here'}, key ${key} (${here} of ${this.#trainers.size} trainers)`,
    )
    if (here === this.#trainers.size) this.#allHere.open()
    if (name === SERVER && isBack) this.#callOff()
  }

  #left(link: Link, { name }: Comer): void {
    if (this.#links.get(name) !== link) return
    this.#links.delete(name)
    this.#options.print(`${name} is gone`)
    // Nobody has been told its key: it may come back with another.
    if (!this.#allHere.isOpen) this.#keys.delete(name)
    // Until then, the time for all to come runs anyway.
    if (name === SERVER && this.#serverListens.isOpen) {
      this.#callOff()
      this.#callOff = afterAwake(this.#options.wait, () => this.#giveUp())
    }
  }

  #giveUp(): void {
    const { wait } = this.#options
    const missing = [SERVER, ...this.#trainers].filter((name) => !this.#keys.has(name))
    const who = missing.length > 0 ? missing.join(', ') : SERVER
    const error = sottoError('ERR_TIMEOUT', `${who} did not come within ${wait} ms`, { missing })
    this.#fail(error)
    for (const link of [...this.#links.values()]) link.close(error)
  }

  stop(): void {
    this.#callOff()
  }
}

/** What is waited for once. */
class Gate {
  isOpen = false
  #open!: () => void
  readonly wait = new Promise<void>((resolve) => {
    this.#open = resolve
  })
  open(): void {
    this.isOpen = true
    this.#open()
  }
}
