/** `sotto job`: a federated job as a folder, and the processes of its parties. */
import { join } from 'node:path'
import * as v from 'valibot'
import { parse } from 'yaml'
import { sottoError } from '../errors.ts'
import { type CompiledJob, compileJob } from '../federated/jobs/compiled.ts'
import { readJob, writeJob } from '../federated/jobs/folder.ts'
import { serveScheduler } from '../federated/jobs/scheduler.ts'
import type { SchedulerAt } from '../federated/jobs/scheduler-link.ts'
import { runJobServer } from '../federated/jobs/server.ts'
import { runTrainer } from '../federated/jobs/trainer.ts'
// The whole library: parts of it add messages that workers do not know by themselves.
import { whoSawWhat } from '../index.ts'
import { type TokenOptions, tokenOf } from './connection.ts'
import { type Io, UsageError } from './io.ts'
import { identityOf } from './keygen.ts'
import { keys as keysKind } from './kinds.ts'
import { type ListeningFlags, listeningAt } from './listening.ts'
import { loadDefinition } from './load-job.ts'
import { readOwnFiles } from './own-files.ts'
import { readText } from './secret-files.ts'
import { WatchedTokens } from './token-file.ts'
import { aborted, until } from './until.ts'

export interface CompileFlags {
  readonly output: string
}

interface CommonFlags {
  readonly identity?: string
  readonly peers?: string
  readonly wait: number
}

interface DiallingFlags extends TokenOptions {
  readonly scheduler?: string
  readonly pin?: string
  readonly ca?: string
  readonly insecure?: boolean
}

interface DataFlags {
  readonly data?: Readonly<Record<string, string>>
  readonly columns?: Readonly<Record<string, readonly string[]>>
}

export interface SchedulerFlags extends CommonFlags, ListeningFlags {
  readonly tokens?: string
  readonly insecure?: boolean
}

export interface ServerFlags extends CommonFlags, ListeningFlags, DiallingFlags, DataFlags {
  readonly output?: string
  readonly resume?: boolean
}

export interface TrainerFlags extends CommonFlags, DiallingFlags, DataFlags {
  readonly id: number
  readonly server?: string
  readonly allowPairs?: boolean
  readonly allowClear?: boolean
  readonly ledger?: boolean
}

/** Compiles a job, and says in one line which. */
export async function compile(module: string, { output }: CompileFlags, io: Io): Promise<void> {
  const job = await compileJob(await loadDefinition(module))
  await writeJob(output, job)
  const { name, trainers, rounds, strategy, aggregation } = job.terms
  const what = `${trainers} trainers, ${rounds} rounds, ${strategy.kind}, aggregated by ${aggregation.kind}`
  io.out(`${output}: job ${name}, ${what}; id ${job.id}\n`)
}

const printTo = (io: Io) => (line: string) => io.out(`${line}\n`)

/** Keys by the names of parties; that of the scheduler among them. */
async function peersOf({ peers: path }: CommonFlags): Promise<{ scheduler?: string; others?: Record<string, string> }> {
  if (path === undefined) return {}
  const text = await readText(path)
  let content: unknown
  try {
    content = parse(text)
  } catch (error) {
    throw new UsageError(`${path}: ${(error as Error).message.split('\n', 1)[0]}`)
  }
  const result = v.safeParse(keysKind.schema, content)
  if (!result.success) throw new UsageError(`${path}: expected ${keysKind.expected}`)
  const { scheduler, ...others } = result.output
  return { others, ...(scheduler === undefined ? {} : { scheduler }) }
}

async function schedulerOf(
  flags: DiallingFlags,
  job: CompiledJob,
  known: string | undefined,
  io: Io,
): Promise<SchedulerAt> {
  const { scheduler: url = job.terms.endpoints.scheduler, pin = known, ca, insecure } = flags
  if (flags.token !== undefined && flags.tokenFile !== undefined) {
    throw new UsageError('give --token or --token-file, not both')
  }
  const token = await tokenOf(flags, io)
  return {
    url,
    ...(pin === undefined ? {} : { pin }),
    ...(token === undefined ? {} : { token }),
    ...(ca === undefined ? {} : { ca: await readText(ca) }),
    ...(insecure === undefined ? {} : { insecure }),
  }
}

const dataOf = ({ data, columns }: DataFlags, io: Io) =>
  readOwnFiles({ ...(data ? { data } : {}), ...(columns ? { columns } : {}) }, io)

export function scheduler(folder: string, flags: SchedulerFlags, io: Io): Promise<void> {
  return until(io, async (signal) => {
    const job = await readJob(folder)
    const { others: peers } = await peersOf(flags)
    const warn = (_: object, message: string) => io.err(`${message}\n`)
    const tokens = flags.tokens === undefined ? undefined : await WatchedTokens.open(flags.tokens, { info() {}, warn })
    const service = await serveScheduler({
      job,
      ...(await listeningAt(flags, job.terms.endpoints.scheduler)),
      identity: await identityOf(flags),
      ...(tokens ? { tokens: () => tokens.now() } : {}),
      ...(peers ? { peers } : {}),
      ...(flags.insecure ? { insecure: true } : {}),
      wait: flags.wait,
      print: printTo(io),
    })
    try {
      io.out(`scheduler is ready at ${service.url}, key ${service.key}\n`)
      const { ok, message } = await Promise.race([service.ended, aborted(signal)])
      if (!ok) throw sottoError('ERR_SESSION_CLOSED', message)
      io.out('the job is done\n')
    } finally {
      await service.close()
    }
  })
}

export function server(folder: string, flags: ServerFlags, io: Io): Promise<void> {
  return until(io, async (signal) => {
    const job = await readJob(folder)
    const { scheduler: pin, others: peers } = await peersOf(flags)
    await runJobServer({
      job,
      scheduler: await schedulerOf(flags, job, pin, io),
      identity: await identityOf(flags),
      ...(await listeningAt(flags, job.terms.endpoints.server)),
      output: flags.output ?? join(folder, 'trained'),
      resume: flags.resume ?? false,
      ...(peers ? { peers } : {}),
      data: await dataOf(flags, io),
      wait: flags.wait,
      signal,
      print: printTo(io),
    })
  })
}

export function trainer(folder: string, flags: TrainerFlags, io: Io): Promise<void> {
  return until(io, async (signal) => {
    const job = await readJob(folder)
    const { scheduler: pin, others: peers } = await peersOf(flags)
    const { allowPairs = false, allowClear = false, ca } = flags
    const { ok, message, ledger } = await runTrainer({
      job,
      id: flags.id,
      identity: await identityOf(flags),
      scheduler: await schedulerOf(flags, job, pin, io),
      server: flags.server ?? job.terms.endpoints.server,
      ...(ca === undefined ? {} : { ca: await readText(ca) }),
      data: await dataOf(flags, io),
      ...(peers ? { peers } : {}),
      allowPairs,
      allowClear,
      wait: flags.wait,
      signal,
      print: printTo(io),
    })
    if (flags.ledger) await whoSawWhat([{ key: '', ledger: async () => ledger }], { print: printTo(io) })
    if (!ok) throw sottoError('ERR_SESSION_CLOSED', message)
    io.out('the job is done\n')
  })
}
