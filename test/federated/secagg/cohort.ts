/** Clients and a server in one process, and a round of theirs in which clients drop out and messages are tampered with. */
import { type ClientRound, SecAggClient } from '../../../src/federated/secagg/client.ts'
import type { Draws, MessageName, Roster } from '../../../src/federated/secagg/messages.ts'
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
  run({ vectors, last = new Map(), tell = (_n, _c, message) => message, see = () => {} }: RoundOptions): SecAggResult {
    const number = this.#round++
    const server = new SecAggServer(this.settings, number)
    this.server = server
    this.refused = new Map()
    this.rounds = this.clients.map((client) => client.round(number))
    const sends = (i: number, message: LastSent | 'unmasking') =>
      !this.refused.has(i) && order.indexOf(message) <= order.indexOf(last.get(i) ?? 'unmasking')
    /** Every client that is left answers. */
    const each = <T extends object>(
      message: LastSent | 'unmasking',
      answer: (i: number) => T,
      take: (sent: T) => void,
    ) => {
      for (const i of range(this.clients.length)) {
        if (!sends(i, message) || !this.#isIn(i)) continue
        try {
          const sent = answer(i)
          see(message as MessageName, i, sent)
          take(sent)
        } catch (error) {
          this.refused.set(i, error)
        }
      }
    }
    const told = <T extends object>(name: MessageName, to: number, message: T): T => {
      see(name, to, message)
      return tell(name, to, message as never) as T
    }

    this.#roster = undefined
    each(
      'advert',
      (i) => this.rounds[i]!.advertise(),
      (sent) => server.receiveAdvert(sent),
    )
    let roster: Roster | undefined = server.closeAdverts()
    let draws: Draws | undefined
    while (server.phase === 'reveals') {
      this.#roster = roster
      each(
        'reveal',
        (i) => (this.rounds[i]!.receiveRoster(told('roster', i, roster!)) as { reveal: never }).reveal,
        (sent) => server.receiveReveal(sent),
      )
      const reply = server.closeReveals()
      if ('draws' in reply) draws = reply.draws
      else roster = reply.roster
    }
    this.#roster = roster
    each(
      'shares',
      (i) =>
        draws !== undefined
          ? this.rounds[i]!.receiveDraws(told('draws', i, draws))
          : (this.rounds[i]!.receiveRoster(told('roster', i, roster!)) as { shares: never }).shares,
      (sent) => server.receiveShares(sent),
    )
    const deliveries = server.closeShares()
    each(
      'masked input',
      (i) => this.rounds[i]!.mask(told('delivery', i, deliveries.get(nameOf(i))!), vectors[i]!),
      (sent) => server.receiveInput(sent),
    )
    const survivors = server.closeInputs()
    each(
      'confirmation',
      (i) => this.rounds[i]!.confirm(told('survivors', i, survivors)),
      (sent) => server.receiveConfirmation(sent),
    )
    const quorum = server.closeConfirmations()
    each(
      'unmasking',
      (i) => this.rounds[i]!.unmask(told('quorum', i, quorum)),
      (sent) => server.receiveUnmasking(sent),
    )
    return server.finish()
  }

  #roster: Roster | undefined
  #isIn(i: number): boolean {
    return this.#roster === undefined || this.#roster.adverts.some(({ id }) => id === nameOf(i))
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
