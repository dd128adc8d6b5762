/**
 * Who gives the orders of a job in secret: the first of the parties that compute. It tells owners to share what they bring,
 * the parties what to compute, and to whom to open what; no share but its own party's passes it.
 */
import { setTimeout as pause } from 'node:timers/promises'
import * as v from 'valibot'
import { isSottoError, sottoError } from '../../errors.ts'
import { weightsOf } from '../../tensor/model-wire.ts'
import type { PointerTensor } from '../../tensor/pointer.ts'
import { sameShape, showShape } from '../../tensor/shape.ts'
import type { Worker } from '../../worker/worker.ts'
import { sameEncoding } from '../encoding.ts'
import { FixedPrecisionPointer } from '../fixed-pointer.ts'
import { share } from '../share.ts'
import { SharedModel } from '../shared-model.ts'
import type { SharedTensor } from '../shared-tensor.ts'
import { idOf, type JobStep, keepsCheckpoints, partiesOf, resultsOf, type SecretJob } from './definition.ts'
import { type BroughtWire, type InputWire, type JobMessages, joinedSchema } from './messages.ts'
import { type JobScript, modelOfLayers, runStep, type Secret } from './steps.ts'

export interface CoordinatorOptions {
  readonly job: SecretJob
  /** A session with a party's worker, as the coordinator. */
  readonly connect: (party: string) => Promise<Worker>
  /** The script of a step, which was seen to have its hash. */
  readonly script: (file: string) => Promise<JobScript>
  /** Told what is being done. */
  readonly print: (line: string) => void
  readonly signal?: AbortSignal
}

/** A party that takes part. */
interface Joined extends Pick<JobMessages['jobJoin']['response'], 'inputs' | 'nonce' | 'consent'> {
  readonly worker: Worker
}

/** Milliseconds for a party to take note that the job has ended. */
const ENDING = 5000

function askJob<N extends keyof JobMessages>(
  worker: Worker,
  name: N,
  body: JobMessages[N]['request'],
  timeout?: number,
): Promise<JobMessages[N]['response']> {
  return worker.ask(name as never, body as never, timeout === undefined ? {} : { timeout }) as Promise<never>
}

/** Runs a job to its end, and lets go of all parties, whether it went well or not. */
export async function runSecretJob(options: CoordinatorOptions): Promise<void> {
  const run = new Coordinator(options)
  try {
    await run.run()
  } catch (error) {
    await run.fail(error)
    throw error
  }
}

class Coordinator {
  readonly #options: CoordinatorOptions
  readonly #id: string
  readonly #joined = new Map<string, Joined>()
  /** Those who come just now: when one of them cannot, the others are to hear of it too. */
  #joining: Promise<unknown> = Promise.resolve()

  constructor(options: CoordinatorOptions) {
    this.#options = options
    this.#id = idOf(options.job)
  }

  get #workers(): Worker[] {
    return this.#options.job.compute.map((party) => this.#joined.get(party)!.worker)
  }

  async run(): Promise<void> {
    const { job, print, signal } = this.#options
    await this.#join(job.compute)
    // Whoever has left parts of its inputs with those who compute need not be there.
    const owners = Object.entries(job.inputs).filter(([input]) => this.#heldParts(input) === null)
    const consenting = job.consent ?? []
    await this.#join([...owners.map(([, { from }]) => from), ...Object.values(job.revealTo).flat(), ...consenting])
    print(
      `${partiesOf(job)
        .filter((party) => this.#joined.has(party))
        .join(', ')} are there`,
    )
    if (consenting.length > 0) await this.#consents(consenting)

    const secrets = new Map<string, Secret>()
    for (const input of Object.keys(job.inputs)) secrets.set(input, await this.#shared(input))
    await this.#settle()
    print(`shared: ${Object.keys(job.inputs).join(', ')}`)
    for (const party of this.#joined.keys()) {
      if (!job.compute.includes(party as never) && resultsOf(job, party).length === 0) await this.#release(party, {})
    }

    for (const [i, step] of job.steps.entries()) {
      signal?.throwIfAborted()
      await this.#step(step, this.#keptAs(i), secrets)
    }
    await this.#reveal(secrets)
    // The next run of the job is another one.
    if (keepsCheckpoints(job)) await this.#forget()
    for (const party of [...this.#joined.keys()]) await this.#release(party, {})
  }

  /** Names are of this job alone, and of this step. */
  #keptAs(step: number | ''): string {
    return `${this.#id.slice(0, 32)}.${step}`
  }

  /** Has those who compute remove what they have kept of the job. */
  async #forget(): Promise<void> {
    await Promise.all(
      this.#workers.map(async (worker) => {
        for (const { name } of await worker.checkpoints()) {
          if (name.startsWith(this.#keptAs(''))) await worker.removeCheckpoint(name)
        }
      }),
    )
  }

  get #nonces(): Uint8Array[] {
    const drawn = this.#options.job.compute.map((party) => this.#joined.get(party)?.nonce)
    return drawn.flatMap((nonce) => nonce ?? [])
  }

  /**
   * Hands on to those who compute that all who have to have consented.
   *
   * @throws PermissionError `ERR_CONSENT` when somebody has not
   */
  async #consents(parties: readonly string[]): Promise<void> {
    const { job, print } = this.#options
    const given = parties.flatMap((party) => {
      const { consent } = this.#joined.get(party)!
      return consent === null ? [] : [[party, consent] as const]
    })
    const without = parties.filter((party) => this.#joined.get(party)!.consent === null)
    if (without.length > 0) {
      const message = `${without.join(', ')} did not consent to the job "${job.name}", and nothing is opened: --consent`
      throw sottoError('ERR_CONSENT', message, { parties: without })
    }
    const body = { job: this.#id, nonces: this.#nonces, consents: Object.fromEntries(given) }
    await Promise.all(this.#workers.map((worker) => askJob(worker, 'jobConsent', body)))
    print(`consent: ${parties.join(', ')}`)
  }

  async #join(parties: readonly string[]): Promise<void> {
    const { connect, job } = this.#options
    const nonces = this.#nonces
    const joining = [...new Set(parties)].map(async (party) => {
      if (this.#joined.has(party)) return
      const worker = await connect(party)
      const answer = v.safeParse(joinedSchema, await askJob(worker, 'jobJoin', { job: this.#id, nonces }))
      if (!answer.success) throw sottoError('ERR_PROTOCOL', `${party} does not say what it brings as it must be said`)
      const strange = Object.keys(answer.output.inputs).find((input) => !Object.hasOwn(job.inputs, input))
      if (strange !== undefined) throw sottoError('ERR_PROTOCOL', `${party} brings what is no input of the job`)
      this.#joined.set(party, { worker, ...answer.output })
    })
    this.#joining = Promise.allSettled(joining)
    await Promise.all(joining)
  }

  /**
   * Parts of an input that those who compute have in files, or null when they have none.
   *
   * @throws StateError `ERR_SHARES_MISMATCH` when some have, and others not, or they do not go together
   */
  #heldParts(input: string): readonly BroughtWire[] | null {
    const { compute } = this.#options.job
    const held = compute.map((party) => this.#joined.get(party)!.inputs[input])
    if (held.every((one) => one === undefined)) return null
    const without = compute.find((_, i) => held[i] === undefined)
    if (without !== undefined) {
      throw sottoError(
        'ERR_SHARES_MISMATCH',
        `${without} has no part of ${input}, and others have: --shares ${input}=…`,
      )
    }
    const [first, ...rest] = held as readonly InputWire[]
    if (first!.set === null || rest.some(({ set }) => set !== first!.set)) {
      throw sottoError('ERR_SHARES_MISMATCH', `the parts of ${input} at ${compute.join(', ')} are not of one set`)
    }
    const parts = [first!, ...rest].map((one) => one.parts[0]!)
    if (parts.some(({ shape, encoding }) => !isLike({ shape, encoding }, parts[0]!))) {
      throw sottoError(
        'ERR_SHARES_MISMATCH',
        `the parts of ${input} at ${compute.join(', ')} differ in shape or encoding`,
      )
    }
    return parts
  }

  /** Has an input shared: by its owner; or by those who hold parts of it in files, each part anew, which add up. */
  async #shared(input: string): Promise<Secret> {
    const { from, layers } = this.#options.job.inputs[input]!
    const parts = this.#heldParts(input)
    if (parts !== null) {
      if (layers !== undefined) throw sottoError('ERR_JOB', `job: ${input} is a model, and its owner brings it`)
      const [first, ...rest] = parts.map((part, i) => this.#sharedFrom(this.#workers[i]!, part))
      return { kind: 'tensor', value: rest.reduce((sum, part) => sum.add(part), first!) }
    }
    const { worker, inputs } = this.#joined.get(from)!
    const given = inputs[input]
    if (given === undefined || given.set !== null) {
      throw sottoError('ERR_NOT_FOUND', `${from} does not bring ${input}: --data ${input}=…`)
    }
    const tensors = given.parts.map((part) => this.#sharedFrom(worker, part))
    if (layers === undefined) return { kind: 'tensor', value: tensors[0]! }
    const model = await modelOfLayers(layers)
    const wanted = weightsOf(model).map(({ weight }) => weight.shape as number[])
    if (wanted.length !== tensors.length || !wanted.every((shape, i) => sameShape(shape, tensors[i]!.shape))) {
      const came = tensors.map(({ shape }) => showShape(shape)).join(' ')
      throw sottoError(
        'ERR_SHAPE',
        `${from}: the weights of ${input} are ${wanted.map(showShape).join(' ')}; came ${came}`,
      )
    }
    return { kind: 'model', value: new SharedModel(model, tensors) }
  }

  #sharedFrom(worker: Worker, { id, shape, encoding }: BroughtWire): SharedTensor {
    const there = new FixedPrecisionPointer(worker, id, shape, encoding)
    const secret = share(there, this.#workers, { protocol: 'replicated' })
    there.dispose()
    return secret
  }

  /** Waits until all that was issued is done. @throws what failed first */
  async #settle(): Promise<void> {
    // Whoever shares something knows best why it cannot.
    const others = [...this.#joined].filter(([party]) => !this.#options.job.compute.includes(party as never))
    await Promise.all(others.map(([, { worker }]) => worker.flush()))
    await Promise.all(this.#workers.map((worker) => worker.flush()))
  }

  async #step(step: JobStep, keptAs: string, secrets: Map<string, Secret>): Promise<void> {
    const { job, script, print, signal } = this.#options
    const workers = this.#workers
    const begun = performance.now()
    const { group } = secretIn(secrets)
    const before = group.spent.bytes
    await runStep(step, secrets, { job, workers, script, print, keptAs, ...(signal ? { signal } : {}) })
    await this.#settle()
    const seconds = ((performance.now() - begun) / 1000).toFixed(1)
    const megabytes = ((group.spent.bytes - before) / 1e6).toFixed(2)
    print(`${step.do}: ${[step.as].flat().join(', ')}; ${seconds} s, ${megabytes} MB from each party`)
  }

  /** Opens each result to those who are to see it, and tells them under which ids. */
  async #reveal(secrets: ReadonlyMap<string, Secret>): Promise<void> {
    const { job, print } = this.#options
    // Pointers, not their ids: what nobody here points to any more is freed there.
    const opened = new Map<string, Record<string, PointerTensor[]>>()
    for (const [result, parties] of Object.entries(job.revealTo)) {
      const secret = secrets.get(result)!
      const tensors = secret.kind === 'model' ? secret.value.weights() : [secret.value]
      for (const party of parties) {
        const { worker } = this.#joined.get(party)!
        const pointers = tensors.map((tensor) => tensor.revealTo(worker))
        opened.set(party, { ...opened.get(party), [result]: pointers })
      }
    }
    await this.#settle()
    for (const [party, results] of opened) await this.#release(party, results)
    for (const [result, parties] of Object.entries(job.revealTo)) print(`${result}: opened to ${parties.join(', ')}`)
  }

  /** A party's part is done: it may leave. */
  async #release(party: string, opened: Readonly<Record<string, readonly PointerTensor[]>>): Promise<void> {
    const { worker } = this.#joined.get(party)!
    const results = Object.fromEntries(
      Object.entries(opened).map(([result, pointers]) => [result, pointers.map(({ id }) => id)]),
    )
    await askJob(worker, 'jobEnd', { job: this.#id, ok: true, message: '', results })
    for (const pointer of Object.values(opened).flat()) pointer.dispose()
    this.#joined.delete(party)
    await worker.close()
  }

  /** Tells all who are still there why the job ends. */
  async fail(error: unknown): Promise<void> {
    const message = isSottoError(error) ? error.message.split('\n', 1)[0]!.slice(0, 1000) : 'an error'
    const end = { job: this.#id, ok: false, message, results: {} }
    await Promise.race([this.#joining, pause(ENDING, undefined, { ref: false })])
    await Promise.allSettled(
      [...this.#joined.values()].map(async ({ worker }) => {
        await askJob(worker, 'jobEnd', end, ENDING).catch(() => {})
        await worker.close()
      }),
    )
  }
}

const isLike = (a: Pick<BroughtWire, 'shape' | 'encoding'>, b: Pick<BroughtWire, 'shape' | 'encoding'>): boolean =>
  sameShape(a.shape, b.shape) && sameEncoding(a.encoding, b.encoding)

/** A tensor of those that are there; all are of one group. */
function secretIn(secrets: ReadonlyMap<string, Secret>): SharedTensor {
  const [first] = secrets.values()
  if (first === undefined) throw sottoError('ERR_JOB', 'job: there is nothing to compute with')
  return first.kind === 'model' ? first.value.weights()[0]! : first.value
}
