/** Clients and a server in one process, and a round of theirs in which clients drop out and messages are tampered with. */
import { vi } from 'vitest'
import { type ClientRound, SecAggClient } from '../../../src/federated/secagg/client.ts'
import type { Draws, MessageName, Reveal, Roster, Shares } from '../../../src/federated/secagg/messages.ts'
import { type SecAggResult, SecAggServer } from '../../../src/federated/secagg/server.ts'
import type { SecAggSettings } from '../../../src/federated/secagg/settings.ts'
import type { Vector } from '../../../src/federated/secagg/vectors.ts'
import { Prg, randomSeed } from '../../../src/smpc/prg.ts'
import { Identity } from '../../../src/worker/identity.ts'

export const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i)

/** After which of its messages a client is gone; none for one that stays. */
export type LastSent = 'nothing' | 'advert' | 'reveal' | 'shares' | 'masked input' | 'confirmation'
const order: readonly (LastSent | 'unmasking')[] = [
  'nothing',
  'advert',
  'reveal',
  'shares',
  'masked input',
  'confirmation',
  'unmasking',
]

export interface RoundOptions {
  readonly vectors: readonly Vector[]
  /** By number of the client. */
  readonly last?: ReadonlyMap<number, LastSent>
  /** What the server tells a client in place of a message. */
  readonly tell?: (name: MessageName, to: number, message: never) => unknown
  /** Whatever passes between server and clients. */
  readonly see?: (name: MessageName, client: number, message: object) => void
}

/** Clients c000, c001, …: their number is their number in the roster too, as long as all are in it. */
export class Cohort {
  readonly settings: SecAggSettings
  readonly identities: readonly Identity[]
  readonly clients: readonly SecAggClient[]
  #round = 0
  /** Of the last round. */
  rounds: ClientRound[] = []
  server!: SecAggServer
  /** What each client drew, to which of them alone it is known. */
  secrets: { readonly seal: Uint8Array; readonly mask: Uint8Array; readonly seed: Uint8Array }[] = []
  /** What clients threw, by number. */
  refused = new Map<number, unknown>()

  constructor(n: number, options: Partial<SecAggSettings> = {}) {
    this.identities = range(n).map(() => Identity.generate())
    const members = Object.fromEntries(this.identities.map(({ key }, i) => [nameOf(i), key]))
    this.settings = { session: crypto.randomUUID(), members, length: 4, ...options }
    this.clients = this.identities.map((identity, i) => new SecAggClient(nameOf(i), identity, this.settings))
  }

  /** Random vectors of words of the settings. */
  vectors(): Vector[] {
    const { length, modulus = 32 } = this.settings
    return this.clients.map(() => {
      const { buffer } = new Prg(randomSeed()).stream(0).bytes((length * modulus) / 8)
      return modulus === 32 ? new Uint32Array(buffer) : new BigUint64Array(buffer)
    })
  }

  /** Carries a whole round out. What a client throws ends its part, and is kept. */
  run(options: RoundOptions): SecAggResult {
    this.toInputs(options)
    const { server } = this
    const { tell } = hooks(options)
    const survivors = server.closeInputs()
    this.#each(
      options,
      'confirmation',
      (i) => this.rounds[i]!.confirm(tell('survivors', i, survivors)),
      (sent) => server.receiveConfirmation(sent),
    )
    const quorum = server.closeConfirmations()
    this.#each(
      options,
      'unmasking',
      (i) => this.rounds[i]!.unmask(tell('quorum', i, quorum)),
      (sent) => server.receiveUnmasking(sent),
    )
    return server.finish()
  }

  /** A round up to the masked inputs. */
  toInputs(options: RoundOptions): void {
    const number = this.#round++
    const { tell } = hooks(options)
    const server = new SecAggServer(this.settings, number)
    this.server = server
    this.refused = new Map()
    this.rounds = []
    this.secrets = []
    for (const client of this.clients) {
      const drawn = vi.spyOn(globalThis.crypto, 'getRandomValues')
      this.rounds.push(client.round(number))
      // Those of 32 bytes, in order: noble draws for itself as well, as it blinds.
      const bytes = drawn.mock.results.map(({ value }) => Uint8Array.from(value as Uint8Array))
      const [seal, mask, seed] = bytes.filter(({ length }) => length === 32)
      drawn.mockRestore()
      this.secrets.push({ seal: seal!, mask: mask!, seed: seed! })
    }

    this.#roster = undefined
    this.#each(
      options,
      'advert',
      (i) => this.rounds[i]!.advertise(),
      (sent) => server.receiveAdvert(sent),
    )
    let roster: Roster = server.closeAdverts()
    let draws: Draws | undefined
    while (server.phase === 'reveals') {
      this.#roster = roster
      this.#each(
        options,
        'reveal',
        (i) => (this.rounds[i]!.receiveRoster(tell('roster', i, roster)) as { reveal: Reveal }).reveal,
        (sent) => server.receiveReveal(sent),
      )
      const reply = server.closeReveals()
      if ('draws' in reply) draws = reply.draws
      else roster = reply.roster
    }
    this.#roster = roster
    this.#each(
      options,
      'shares',
      (i) =>
        draws !== undefined
          ? this.rounds[i]!.receiveDraws(tell('draws', i, draws))
          : (this.rounds[i]!.receiveRoster(tell('roster', i, roster)) as { shares: Shares }).shares,
      (sent) => server.receiveShares(sent),
    )
    const deliveries = server.closeShares()
    this.#each(
      options,
      'masked input',
      (i) => this.rounds[i]!.mask(tell('delivery', i, deliveries.get(nameOf(i))!), options.vectors[i]!),
      (sent) => server.receiveInput(sent),
    )
  }

  /** Every client that is left answers. */
  #each<T extends object>(
    options: RoundOptions,
    message: LastSent | 'unmasking',
    answer: (i: number) => T,
    take: (sent: T) => void,
  ): void {
    const { see } = hooks(options)
    for (const i of range(this.clients.length)) {
      const last = options.last?.get(i) ?? 'unmasking'
      if (this.refused.has(i) || order.indexOf(message) > order.indexOf(last) || !this.#isIn(i)) continue
      try {
        const sent = answer(i)
        see(message as MessageName, i, sent)
        take(sent)
      } catch (error) {
        this.refused.set(i, error)
      }
    }
  }

  #roster: Roster | undefined
  #isIn(i: number): boolean {
    return this.#roster === undefined || this.#roster.adverts.some(({ id }) => id === nameOf(i))
  }
}

/** What passes is seen, and then what the server says in its place is told. */
function hooks({ tell = (_name, _to, message) => message, see = () => {} }: RoundOptions) {
  return {
    see,
    tell<T extends object>(name: MessageName, to: number, message: T): T {
      see(name, to, message)
      return tell(name, to, message as never) as T
    },
  }
}

export const nameOf = (i: number): string => `c${String(i).padStart(3, '0')}`

/** The sum in whole numbers, cut to words at the end. */
export function exactSum(vectors: readonly Vector[], bits: 32 | 64): bigint[] {
  return [...vectors[0]!].map((_, i) =>
    BigInt.asUintN(
      bits,
      vectors.reduce((sum, vector) => sum + BigInt(vector[i]!), 0n),
    ),
  )
}
