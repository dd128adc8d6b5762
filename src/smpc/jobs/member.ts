/** A party of a job in secret, at its worker: what it brings, when it may leave, and what was opened for it. */
import type { TensorData } from '../../data/data-file.ts'
import { isSottoError, sottoError } from '../../errors.ts'
import { newId } from '../../tensor/location.ts'
import type { WorkerHost } from '../../worker/host.ts'
import type { HostSession } from '../../worker/host-session.ts'
import { addMessages, type MessageRows } from '../../worker/messages.ts'
import { type Access, accessOf } from '../../worker/permissions.ts'
import { Poison } from '../../worker/store.ts'
import type { Encoding } from '../encoding.ts'
import type { RingTensor } from '../ring/tensor.ts'
import { StoredFixed } from '../stored-fixed.ts'
import { audienceOf, idOf, resultsOf, type SecretJob } from './definition.ts'
import { type InputWire, type JobMessage, type JobMessages, jobSchemas } from './messages.ts'
import '../handlers.ts'

/** What a party brings of an input. */
export interface Brought {
  /** One tensor, or the weights of a model, in order. */
  readonly parts: readonly { readonly value: RingTensor; readonly encoding: Encoding }[]
  /** Of a part of a secret in a file, the set that it is of. */
  readonly set: string | null
}

export interface MemberOptions {
  readonly job: SecretJob
  /** Which party this is. */
  readonly name: string
  readonly host: WorkerHost
  readonly inputs: Readonly<Record<string, Brought>>
  /** Until when whoever joins it has to wait: it knows then who the other parties are. */
  readonly ready: Promise<void>
}

/** What was opened for a party: by the names of results, their tensors. */
export type Opened = Readonly<Record<string, readonly TensorData[]>>

const members = new WeakMap<WorkerHost, JobMember>()

export class JobMember {
  /** When the coordinator has come. */
  readonly joined: Promise<void>
  /**
   * What was opened for this party, when its part is done.
   *
   * @throws SessionError `ERR_SESSION_CLOSED` when the job has failed, or its coordinator has gone before
   */
  readonly ended: Promise<Opened>
  readonly #options: MemberOptions
  readonly #id: string
  #session: HostSession | null = null
  #isJoined!: () => void
  #end!: (opened: Opened) => void
  #fail!: (error: Error) => void

  constructor(options: MemberOptions) {
    this.#options = options
    this.#id = idOf(options.job)
    this.joined = new Promise((resolve) => {
      this.#isJoined = resolve
    })
    this.ended = new Promise((resolve, reject) => {
      this.#end = resolve
      this.#fail = reject
    })
    // Whoever never asks is not to be told by the runtime.
    this.ended.catch(() => {})
    members.set(options.host, this)
  }

  get #coordinator(): string {
    return this.#options.job.compute[0]
  }

  /** @throws StateError `ERR_JOB_MISMATCH` for another job; PermissionError for anyone but the coordinator */
  check(session: HostSession, job: string): void {
    const { name } = this.#options
    if (session.name !== this.#coordinator) {
      throw sottoError('ERR_PERMISSION', `${name} takes orders for this job from ${this.#coordinator} alone`)
    }
    if (job !== this.#id) {
      throw sottoError('ERR_JOB_MISMATCH', `${name} has another job, ${this.#id.slice(0, 16)}…; compare the files`)
    }
  }

  async join(session: HostSession, job: string): Promise<JobMessages['jobJoin']['response']> {
    this.check(session, job)
    const { name, inputs, ready } = this.#options
    await ready
    if (this.#session !== null) throw sottoError('ERR_ID_TAKEN', `${name} takes part in this job already`)
    this.#session = session
    session.onEnd(() => {
      const message = `${this.#coordinator} has left before the job was done`
      this.#fail(sottoError('ERR_SESSION_CLOSED', message))
    })
    this.#isJoined()
    return {
      inputs: Object.fromEntries(Object.entries(inputs).map(([input, given]) => [input, this.#bring(input, given)])),
    }
  }

  /** Puts an input where the session finds it; its owner's policy is on it, and on what comes of it. */
  #bring(input: string, { parts, set }: Brought): InputWire {
    const { job, host } = this.#options
    const { from } = job.inputs[input]!
    const access = accessIn(job, input)
    const session = this.#session!
    const put = parts.map(({ value, encoding }) => {
      const id = newId()
      host.store.add(id, new StoredFixed(session, value, encoding, access, null))
      return { id, shape: value.shape, encoding }
    })
    for (const { shape, encoding } of put) {
      // A part of a secret says nothing to who holds it.
      if (set !== null) continue
      const { dtype } = encoding
      const why = `brought by ${from} for the job ${job.name}`
      host.ledger.record({
        event: 'came',
        operation: 'own data',
        shape,
        dtype,
        tags: [`#${input}`],
        from,
        to: host.id,
        why,
        bytes: 0,
      })
    }
    return { parts: put, set }
  }

  end(session: HostSession, { job, ok, message, results }: JobMessages['jobEnd']['request']): null {
    this.check(session, job)
    if (session !== this.#session) throw sottoError('ERR_NOT_FOUND', 'this session has not joined the job')
    try {
      if (!ok) throw sottoError('ERR_SESSION_CLOSED', `the job has failed: ${message}`)
      this.#end(this.#read(session, results))
    } catch (error) {
      this.#fail(error as Error)
      // What the coordinator has said itself, it need not be told.
      if (ok) throw error
    }
    return null
  }

  #read(session: HostSession, given: JobMessages['jobEnd']['request']['results']): Opened {
    const { job, name, host } = this.#options
    const due = resultsOf(job, name)
    if (due.length !== Object.keys(given).length || !due.every((result) => Object.hasOwn(given, result))) {
      const list = due.join(', ') || 'nothing'
      throw sottoError('ERR_OUT_OF_STEP', `${name} is to get ${list}, and was given ${Object.keys(given).join(', ')}`)
    }
    const read = (id: string): TensorData => {
      const { tensor, failure } = host.store.read(id, session)
      if (failure !== null) throw new Poison({ error: failure, access: [] })
      const { shape, dtype } = tensor
      return { shape, dtype, data: tensor.dataSync().slice() } as TensorData
    }
    try {
      return Object.fromEntries(due.map((result) => [result, given[result]!.map(read)]))
    } catch (error) {
      if (isSottoError(error)) throw error
      throw sottoError('ERR_OPERATION_FAILED', `${name}: a result failed: ${(error as Error).message}`, {}, error)
    }
  }
}

/** Who may do what with an input: share it among those who compute, and open results to those to whom the job does. */
const accessIn = (job: SecretJob, input: string): Access =>
  accessOf(
    { allow: [], allowResults: audienceOf(job, input), allowShares: [...job.compute], allowTotals: [] },
    job.inputs[input]!.from,
  )

function memberAt({ host }: HostSession): JobMember {
  const member = members.get(host)
  if (member === undefined) throw sottoError('ERR_JOB_MISMATCH', `${host.id} takes part in no job`)
  return member
}

const common = { isAsk: true, isFromPeer: false, right: ['work', 'secrets'] } as const
const rows: MessageRows<Pick<JobMessages, JobMessage>> = {
  jobJoin: {
    ...common,
    schema: jobSchemas.jobJoin,
    handle: (session, { job }) => memberAt(session).join(session, job),
  },
  jobEnd: { ...common, schema: jobSchemas.jobEnd, handle: (session, body) => memberAt(session).end(session, body) },
}
addMessages<JobMessages>(rows)
