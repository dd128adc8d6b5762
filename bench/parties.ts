/** Parties of secret computations and what they count, for benchmarks. */
import {
  fixPrecision,
  type GroupOptions,
  type SharedTensor,
  share,
  tf,
  VirtualWorker,
  type VirtualWorkerOptions,
} from 'sotto'

export interface Parties {
  readonly parties: readonly VirtualWorker[]
  /** Holds no share; of replicated sharing, it has nothing to do. */
  readonly provider: VirtualWorker
  /** What `share` takes. */
  readonly options: GroupOptions
  /** Waits until all have done what they were told so far. */
  done(): Promise<unknown>
  close(): Promise<unknown>
}

/** As many parties as are asked for, and of additive sharing a provider. */
export function gather(
  count: number,
  network: VirtualWorkerOptions = {},
  protocol: NonNullable<GroupOptions['protocol']> = 'additive',
): Parties {
  const [provider, ...parties] = ['carol', 'bob', 'alice', 'jane', 'dan', 'erin']
    .slice(0, count + 1)
    .map((name) => new VirtualWorker(name, network))
  const all = [provider!, ...parties]
  return {
    parties,
    provider: provider!,
    options: protocol === 'additive' ? { provider: provider! } : { protocol },
    done: () => Promise.all(all.map((worker) => worker.flush())),
    close: () => Promise.all(all.map((worker) => worker.close())),
  }
}

/** Normal numbers, in fixed precision, as a secret. */
export function sharedNormal(shape: number[], seed: number, { parties, options }: Parties): SharedTensor {
  const values = tf.randomNormal(shape, 0, 1, 'float32', seed)
  const secret = share(fixPrecision(values), parties, options)
  values.dispose()
  return secret
}

export interface Counts {
  /** Openings of each party, one after another unless operations are independent of each other. */
  readonly openings: number
  /** Bytes as `Cost` counts them: from each party to each other one; of replicated sharing, from a party on average. */
  readonly bytes: number
  /** Bytes that the provider dealt, to one party. */
  readonly dealt: number
  /** Bytes of frames from each party to each other one: what is opened, and what says so. Means of all links. */
  readonly frameBytes: number
}

/** What the parties of a secret count while something is done with it. */
export async function counting<R>(
  { parties, done }: Parties,
  secret: SharedTensor,
  action: () => R,
): Promise<{ result: Awaited<R>; counts: Counts }> {
  const totals = async (): Promise<Counts> => {
    await done()
    const traffic = await secret.traffic()
    const [first] = traffic.parties
    const dealt = traffic.parties.at(-1)!.bytesDealt
    const isReplicated = secret.group.protocol.name === 'replicated'
    const agree = traffic.parties.every(
      ({ openings, bytesSent }) => openings === first!.openings && (isReplicated || bytesSent === first!.bytesSent),
    )
    if (!agree || dealt !== (traffic.provider?.bytesSent ?? 0))
      throw new Error('parties and provider counted different things')
    const sent = traffic.parties.reduce((total, { bytesSent }) => total + bytesSent, 0) / parties.length
    const names = new Set(parties.map(({ id }) => id))
    const workers = await Promise.all(parties.map((party) => party.stats()))
    const links = workers
      .flatMap((worker) => worker.links)
      .filter((link) => link.role === 'peer' && names.has(link.name))
    return {
      openings: first!.openings,
      bytes: isReplicated ? sent : sent / (parties.length - 1),
      dealt,
      frameBytes: links.reduce((total, { bytesOut }) => total + bytesOut, 0) / (parties.length * (parties.length - 1)),
    }
  }
  const before = await totals()
  const result = await action()
  const after = await totals()
  return {
    result,
    counts: {
      openings: after.openings - before.openings,
      bytes: after.bytes - before.bytes,
      dealt: after.dealt - before.dealt,
      frameBytes: after.frameBytes - before.frameBytes,
    },
  }
}

/** Says that a figure is not what it is to be, and has the process say so at its end. */
export function miss(message: string): void {
  console.error(message)
  process.exitCode = 1
}
