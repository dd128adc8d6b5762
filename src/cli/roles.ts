/**
 * `sotto compute`, `sotto input` and `sotto result`: the parties of a job in secret, each a worker in a process of its own,
 * which ends when its part is done.
 */
import { existsSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import type { TensorData } from '../data/data-file.ts'
import { formatNpy } from '../data/npy.ts'
import { isSottoError, sottoError } from '../errors.ts'
import { modelFilesOf } from '../federated/jobs/model-files.ts'
import { type Identity, ready, SocketWorker, serveWorker, tf, type WorkerServer, whoSawWhat } from '../index.ts'
import { runSecretJob } from '../smpc/jobs/coordinator.ts'
import { inputsOf, keepsCheckpoints, layersOf, partiesOf, resultsOf, type SecretJob } from '../smpc/jobs/definition.ts'
import { type Brought, JobMember, type Opened } from '../smpc/jobs/member.ts'
import { modelOfLayers } from '../smpc/jobs/steps.ts'
import { weightsOf } from '../tensor/model-wire.ts'
import type { KnownCaller } from '../worker/admission.ts'
import { allRights } from '../worker/tokens.ts'
import { bringData, bringParts } from './brought.ts'
import { type Discovery, peersFile, redisDiscovery } from './discovery.ts'
import { type Io, UsageError } from './io.ts'
import { type JobFile, readJobFile } from './job-file.ts'
import { identityOf } from './keygen.ts'
import { type ListeningFlags, listeningAt, tlsOf } from './listening.ts'
import { type Found, findParty, type RosterOptions } from './roster.ts'
import { createWhole, readText } from './secret-files.ts'
import { aborted, until } from './until.ts'

export interface RoleFlags extends ListeningFlags {
  readonly id: string
  readonly job: string
  readonly peers?: string
  readonly discovery?: string
  /** Where others reach it, if that is not where it listens. */
  readonly address?: string
  readonly identity?: string
  readonly ca?: string
  readonly insecure?: boolean
  readonly wait: number
  readonly ledger?: boolean
}

export interface ComputeFlags extends RoleFlags {
  readonly shares?: Readonly<Record<string, string>>
  readonly checkpoints?: string
}

export interface OwnerFlags extends RoleFlags {
  readonly data?: Readonly<Record<string, string>>
  readonly columns?: Readonly<Record<string, readonly string[]>>
  readonly out?: string
  readonly consent?: boolean
}

/** Milliseconds for which a party whose connection broke is waited for, and of silence before it is asked for a word. */
const TIMES = { grace: 10_000, heartbeat: 5000 } as const
/** Milliseconds to finish what was begun, and between two tries to reach a party. */
const FINISH = 5000
const AGAIN = 200
const TRY = 10_000

/** A party of those that compute. */
export const compute = (flags: ComputeFlags, io: Io): Promise<void> =>
  until(io, async (signal) => {
    const file = await readJobFile(flags.job)
    const { job } = file
    const name = /^\d+$/.test(flags.id) ? (job.compute[Number(flags.id)] ?? flags.id) : flags.id
    const index = job.compute.indexOf(name)
    if (index < 0) throw new UsageError(`--id expected 0, 1 or 2, or one of ${job.compute.join(', ')}`)
    checkCheckpoints(job, flags)
    const inputs = await bringParts(job, index, flags.shares ?? {})
    await takePart({ file, name, inputs, flags, checkpoints: flags.checkpoints, signal, io })
  })

/** Those who compute keep what the job says, and nothing else. */
function checkCheckpoints(job: SecretJob, { checkpoints, identity }: ComputeFlags): void {
  if (!keepsCheckpoints(job)) {
    if (checkpoints === undefined) return
    throw new UsageError('no step of the job keeps "checkpoints": leave --checkpoints out')
  }
  if (checkpoints === undefined) throw new UsageError('the job keeps checkpoints: give --checkpoints, a folder')
  // Shares of what is private go back among the very workers that kept them.
  if (identity === undefined) throw new UsageError('who keeps checkpoints is known again by its key: give --identity')
}

/** A party that brings something, gets to see something, or both. */
export const takeRole = (role: 'input' | 'result', flags: OwnerFlags, io: Io): Promise<void> =>
  until(io, async (signal) => {
    const file = await readJobFile(flags.job)
    const { job } = file
    const { id: name, out } = flags
    const [brings, gets] = [inputsOf(job, name), resultsOf(job, name)]
    if ((role === 'input' ? brings : gets).length === 0) {
      const who = partiesOf(job).filter((party) => (role === 'input' ? inputsOf : resultsOf)(job, party).length > 0)
      throw new UsageError(
        `--id expected a party that ${role === 'input' ? 'brings' : 'gets'} something: ${who.join(', ')}`,
      )
    }
    if (gets.length > 0 && out === undefined) throw new UsageError(`${name} gets ${gets.join(', ')}: give --out`)
    for (const result of gets) {
      // Better known before than after.
      const path = join(out!, pathOf(job, result))
      if (existsSync(path)) throw sottoError('ERR_ID_TAKEN', `${path}: it is there already, and is not written over`)
    }
    if (flags.consent && !job.consent?.includes(name)) {
      throw new UsageError(`the job asks no consent of ${name}: leave --consent out`)
    }
    await ready()
    // Whoever has left parts of what it brings with those who compute may come to consent alone.
    const isBringing = !flags.consent || flags.data !== undefined
    const inputs = isBringing ? await bringData(job, brings, flags.data ?? {}, flags.columns ?? {}) : {}
    const opened = await takePart({ file, name, inputs, flags, consents: flags.consent === true, signal, io })
    for (const result of gets) io.out(`${result}: ${await writeResult(job, result, opened[result]!, out!)}\n`)
  })

interface Part {
  readonly file: JobFile
  readonly name: string
  readonly inputs: Readonly<Record<string, Brought>>
  readonly flags: RoleFlags
  /** Whether it consents to what the job opens. */
  readonly consents?: boolean
  /** Where it keeps checkpoints, if it does. */
  readonly checkpoints?: string | undefined
  readonly signal: AbortSignal
  readonly io: Io
}

/** Serves a worker until its part of the job is done; gives what was opened for it. */
async function takePart(part: Part): Promise<Opened> {
  const { file, name, flags, signal, io } = part
  const { job, id } = file
  const identity = await identityOf(flags)
  if (job.keys !== undefined && job.keys[name] !== identity.key) {
    const hint = flags.identity === undefined ? '; give --identity' : ''
    throw sottoError('ERR_IDENTITY', `the job has another key for ${name} than ${identity.key}${hint}`, { name })
  }
  await ready()
  const discovery = await discoveryOf(flags, id)
  const ending = new AbortController()
  try {
    return await served(part, identity, discovery, AbortSignal.any([signal, ending.signal]), io)
  } finally {
    // Whoever is still being looked for need not be found any more.
    ending.abort(sottoError('ERR_ABORTED', 'the part in the job has ended'))
    await discovery.close()
  }
}

async function served(
  { file, name, inputs, flags, consents = false, checkpoints }: Part,
  identity: Identity,
  discovery: Discovery,
  signal: AbortSignal,
  io: Io,
): Promise<Opened> {
  const { job } = file
  const { wait, insecure = false } = flags
  const options = { discovery, keys: job.keys, insecure, until: performance.now() + wait, signal }
  const others = Promise.all(
    neededBy(job, name).map(async (party) => [party, await findParty(party, options)] as const),
  ).then((found) => new Map(found))
  // Told where it is waited for.
  others.catch(() => {})
  const isCompute = job.compute.includes(name)
  const [coordinator] = job.compute
  const own = discovery.own(name)
  const ca = flags.ca === undefined ? {} : { ca: await readText(flags.ca) }
  const server = await serveWorker({
    id: name,
    identity,
    ...(own === null ? { host: flags.host ?? '127.0.0.1', port: flags.port ?? 0, ...(await tlsOf(flags)) } : {}),
    ...(own === null ? {} : await listeningAt(flags, own)),
    auth: {
      async callers(key): Promise<KnownCaller | null> {
        const known = name === coordinator ? identity.key : (await others).get(coordinator)!.key
        return key === known ? { identity: coordinator, rights: isCompute ? allRights : ['secrets'] } : null
      },
    },
    ...TIMES,
    peerTls: ca,
    ...(checkpoints === undefined ? {} : { checkpoints }),
    log: { info() {}, warn: (fields, message) => io.err(`${message}: ${JSON.stringify(fields)}\n`) },
  })
  try {
    const { host } = server
    const url = own ?? announcedAt(flags, server)
    await discovery.announce(name, { url, key: identity.key })
    io.out(`${name} is ready at ${url}, key ${identity.key}\n`)
    // Whom owners mean by the names in their policies, the parties of the job agree on.
    const met = others.then((found) => {
      const keys = Object.fromEntries([...found].map(([party, { key }]) => [party, key]))
      const peers = { ...keys, [name]: identity.key }
      for (const owner of new Set(Object.values(job.inputs).map(({ from }) => from))) host.means({ owner, peers })
      return peers
    })
    met.catch(() => {})
    const member = new JobMember({ job, name, host, inputs, keys: met, ...(consents ? { consent: identity } : {}) })
    if (consents) io.out(`${name} consents to what the job "${job.name}" opens\n`)
    const opened = await Promise.race([
      name === coordinator ? coordinated(member, { file, name, identity, ca, options, others, url, io }) : member.ended,
      isThere(met, member, options),
      aborted(signal),
    ])
    if (flags.ledger) {
      await whoSawWhat([{ key: '', ledger: async () => host.ledger.entries() }], {
        print: (text) => io.out(`${text}\n`),
      })
    }
    if (Object.keys(inputs).length > 0 && !isCompute) io.out(`${name} has shared ${Object.keys(inputs).join(', ')}\n`)
    return opened
  } finally {
    await server.close(FINISH)
  }
}

/** Whom a party has to know: those who compute, and where results are opened, those who get them, and consent, too. */
function neededBy({ compute, revealTo, consent = [] }: SecretJob, name: string): string[] {
  const all = compute.includes(name) ? [...compute, ...Object.values(revealTo).flat(), ...consent] : compute
  return [...new Set(all)].filter((party) => party !== name)
}

const announcedAt = ({ address }: RoleFlags, { url }: WorkerServer): string => {
  if (address === undefined) return url
  return /^wss?:/.test(address) ? address : `${new URL(url).protocol}//${address}`
}

async function discoveryOf({ peers, discovery, insecure = false }: RoleFlags, id: string): Promise<Discovery> {
  if ((peers === undefined) === (discovery === undefined)) {
    throw new UsageError('give --peers, a file that says where the parties are, or --discovery redis://…')
  }
  return peers === undefined ? redisDiscovery(discovery!, id) : peersFile(peers, insecure)
}

/** Rejects when the others, or the one who gives the orders, do not come in time. */
async function isThere(met: Promise<unknown>, member: JobMember, { until }: RosterOptions): Promise<never> {
  await met
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise<never>((_, reject) => {
    const error = sottoError('ERR_TIMEOUT', 'the job was not begun in time: --wait')
    timer = setTimeout(() => reject(error), Math.max(0, until - performance.now()))
  })
  try {
    await Promise.race([member.joined, late])
  } finally {
    clearTimeout(timer)
  }
  return new Promise<never>(() => {})
}

interface Coordinating {
  readonly file: JobFile
  readonly name: string
  readonly identity: Identity
  readonly ca: { readonly ca?: string }
  readonly options: RosterOptions
  readonly others: Promise<ReadonlyMap<string, Found>>
  readonly url: string
  readonly io: Io
}

/** The first of those who compute gives the orders, to its own worker too. */
async function coordinated(
  member: JobMember,
  { file, name, identity, ca, options, others, url, io }: Coordinating,
): Promise<Opened> {
  const found = new Map(await others)
  found.set(name, { url, key: identity.key })
  const connect = async (party: string): Promise<SocketWorker> => {
    // Owners are found when they are needed: whoever has left parts with those who compute need not be there.
    const { url: at, key } = found.get(party) ?? (await findParty(party, options))
    for (;;) {
      try {
        const own = { as: identity, identity: name, pin: key, insecure: options.insecure, timeout: TRY }
        return await SocketWorker.connect(at, { ...own, ...TIMES, ...ca, signal: options.signal })
      } catch (error) {
        // One that is not up yet, or does not know yet who the others are.
        const isEarly = isSottoError(error) && ['ERR_UNREACHABLE', 'ERR_TIMEOUT'].includes(error.code)
        if (!isEarly || performance.now() > options.until) throw error
      }
      await pause(AGAIN)
    }
  }
  const print = (line: string) => io.out(`${line}\n`)
  await runSecretJob({ job: file.job, connect, script: file.script, print, signal: options.signal })
  return member.ended
}

/** Where a result goes, in its folder. */
const pathOf = (job: SecretJob, result: string): string => (layersOf(job, result) === null ? `${result}.npy` : result)

/** Writes a result: a tensor as .npy, a model as `model.json` and `weights.bin` in a folder. */
async function writeResult(
  job: SecretJob,
  result: string,
  tensors: readonly TensorData[],
  out: string,
): Promise<string> {
  const path = join(out, pathOf(job, result))
  await mkdir(out, { recursive: true, mode: 0o700 })
  const layers = layersOf(job, result)
  if (layers === null) {
    await createWhole(path, formatNpy(tensors[0]!))
    return path
  }
  const model = await modelOfLayers(layers)
  weightsOf(model).forEach(({ weight }, i) => {
    const { shape, data } = tensors[i]!
    const value = tf.tensor(data, [...shape], 'float32')
    weight.write(value)
    value.dispose()
  })
  await mkdir(path, { recursive: true, mode: 0o700 })
  for (const [name, bytes] of Object.entries(await modelFilesOf(model))) await createWhole(join(path, name), bytes)
  return path
}
