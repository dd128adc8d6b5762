/** A party of a job in secret, at its worker: what it brings, when it may leave, and what was opened for it. */
import type { TensorData } from '../../data/data-file.ts'
import { isSottoError, sottoError } from '../../errors.ts'
import { newId } from '../../tensor/location.ts'
import type { WorkerHost } from '../../worker/host.ts'
import type { HostSession } from '../../worker/host-session.ts'
import { type Identity, verify } from '../../worker/identity.ts'
import { addMessages, type MessageRows } from '../../worker/messages.ts'
import { type Access, accessOf } from '../../worker/permissions.ts'
import { Poison } from '../../worker/store.ts'
import { consentsOf } from '../consents.ts'
import type { Encoding } from '../encoding.ts'
import type { RingTensor } from '../ring/tensor.ts'
import { StoredFixed } from '../stored-fixed.ts'
import { audienceOf, idOf, resultsOf, type SecretJob } from './definition.ts'
import { CONSENT, consentTo, type InputWire, type JobMessage, type JobMessages, jobSchemas, NONCE } from './messages.ts'
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
  /** The keys of the parties that this one has to know; whoever joins it waits for them. */
  readonly keys: Promise<Readonly<Record<string, string>>>
  /** Signs that this party consents to what the job opens; not given where it does not. */
  readonly consent?: Identity
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
  /** Of a party that computes: whoever consents, signs it. */
  readonly #nonce: Uint8Array | null
  #session: HostSession | null = null
  #isJoined!: () => void
  #end!: (opened: Opened) => void
  #fail!: (error: Error) => void

  constructor(options: MemberOptions) {
    this.#options = options
    const { job, name, host } = options
    this.#id = idOf(job)
    const isCompute = job.compute.includes(name)
    this.#nonce = isCompute ? globalThis.crypto.getRandomValues(new Uint8Array(NONCE)) : null
    if (isCompute) consentsOf(host).need(job.name, job.consent ?? [])
    this.joined = new Promise((resolve) => {
      this.#isJoined = resolve
    })
    this.ended = new Promise((resolve, reject) => {
      this.#end = resolve
      this.#fail = reject
    })
    // Whoever never asks is not to be told by the runtime.
    this.ended.catch(() => {})
    members.set(host, this)
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

  async join(
    session: HostSession,
    { job, nonces }: JobMessages['jobJoin']['request'],
  ): Promise<JobMessages['jobJoin']['response']> {
    this.check(session, job)
    const { name, inputs, keys, consent, job: own } = this.#options
    await keys
    if (this.#session !== null) throw sottoError('ERR_ID_TAKEN', `${name} takes part in this job already`)
    this.#session = session
    session.onEnd(() => {
      const message = `${this.#coordinator} has left before the job was done`
      this.#fail(sottoError('ERR_SESSION_CLOSED', message))
    })
    this.#isJoined()
    // A signature is good for one run: of nothing drawn it would be for all of them.
    const signs = consent !== undefined && nonces.length === own.compute.length
    return {
      inputs: Object.fromEntries(Object.entries(inputs).map(([input, given]) => [input, this.#bring(input, given)])),
      nonce: this.#nonce,
      consent: signs ? consent.sign(CONSENT, consentTo(this.#id, nonces)) : null,
    }
  }

  /**
   * Takes consents: this party opens what the job says once all are there.
   *
   * @throws PermissionError `ERR_CONSENT` when one is missing, or is not signed with the party's key for this run
   */
  async consents(session: HostSession, given: JobMessages['jobConsent']['request']): Promise<null> {
    this.check(session, given.job)
    this.#checkJoined(session)
    const { job, name, host, keys } = this.#options
    const known = await keys
    const { nonces, consents } = given
    const own = nonces[job.compute.indexOf(name)]
    if (this.#nonce === null || own === undefined || !own.every((byte, i) => byte === this.#nonce![i])) {
      throw sottoError('ERR_CONSENT', `consents are not of this run of the job at ${name}`)
    }
    const message = consentTo(this.#id, nonces)
    for (const party of job.consent ?? []) {
      const [key, signature] = [known[party], Object.hasOwn(consents, party) ? consents[party] : undefined]
      if (key === undefined || signature === undefined || !verify(key, CONSENT, message, signature)) {
        throw sottoError('ERR_CONSENT', `${party} has not signed that it consents to the job "${job.name}"`, { party })
      }
    }
    for (const party of job.consent ?? []) consentsOf(host).meet(job.name, party)
    return null
  }

  #checkJoined(session: HostSession): void {
    if (session !== this.#session) throw sottoError('ERR_NOT_FOUND', 'this session has not joined the job')
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
    this.#checkJoined(session)
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
    handle: (session, body) => memberAt(session).join(session, body),
  },
  jobConsent: {
    ...common,
    schema: jobSchemas.jobConsent,
    handle: (session, body) => memberAt(session).consents(session, body),
  },
  jobEnd: { ...common, schema: jobSchemas.jobEnd, handle: (session, body) => memberAt(session).end(session, body) },
}
addMessages<JobMessages>(rows)
