/** What examples that compute in secret among three servers have in common. */
import { Option } from 'commander'
import { type Cost, isSottoError, type ShareOptions, type Worker } from 'sotto'

export const protocols = ['replicated', 'additive'] as const
/** 'replicated' among three parties; 'additive' takes a provider besides. */
export type ProtocolName = (typeof protocols)[number]

export const protocolOption = (): Option =>
  new Option('--protocol <name>', 'how secrets are kept').choices(protocols).default('replicated')

/** Those who compute, and how they share. */
export interface Servers {
  readonly parties: readonly Worker[]
  /** The parties, and the provider where there is one. */
  readonly members: readonly Worker[]
  readonly sharing: Pick<ShareOptions, 'provider' | 'protocol'>
}

/** @param workers three that compute, and last the one that deals randomness to them if the protocol asks for it */
export function serversOf(protocol: ProtocolName, workers: readonly Worker[]): Servers {
  const parties = workers.slice(0, 3)
  if (protocol === 'replicated') return { parties, members: parties, sharing: { protocol } }
  return { parties, members: workers, sharing: { provider: workers[3]! } }
}

/** Owners say at each worker whom they mean by the names of the others, so that nobody else can be put in their place. */
export function introduce(workers: readonly Worker[], owners: readonly string[]): void {
  for (const worker of workers) {
    const peers = workers.filter((peer) => peer !== worker)
    for (const owner of owners) worker.as(owner).addWorkers(peers)
    worker.addWorkers(peers)
  }
}

/** Bytes that a party sends, to all others together. */
export const sentByAParty = ({ bytes }: Cost, { parties, sharing }: Servers): number =>
  sharing.provider === undefined ? bytes : bytes * (parties.length - 1)

/** What somebody is told who asks for something that is not for them. */
export const refusalOf = (asked: Promise<unknown>): Promise<string> =>
  asked.then(
    () => 'seen in clear',
    (error: unknown) => (isSottoError(error) ? `${error.code}: ${error.message}` : String(error)),
  )
