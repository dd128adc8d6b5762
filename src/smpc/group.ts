/** The caller's end of a secret computation: the parties in their order, the provider, and what they have in common. */
import { sottoError } from '../errors.ts'
import { scope } from '../tensor/context.ts'
import { type Location, newId, type ObjectId, type WaitOptions } from '../tensor/location.ts'
import { checkLocation } from '../tensor/pointer.ts'
import { fromOneLine } from '../worker/session.ts'
import { Worker } from '../worker/worker.ts'
import type { Correlation } from './correlations.ts'
import type { PartyStats, ProviderStats, SecretAsk, SecretMessages, SecretTell } from './messages.ts'
import { checkParties, type ProtocolName, protocolOf } from './protocols/index.ts'
import type { CommandShape, Cost, Protocol } from './protocols/protocol.ts'
import type { RingBits } from './ring/kernels.ts'

export interface GroupOptions {
  /** Of additive sharing: a worker that is no party, and deals the randomness that products and comparisons take. */
  provider?: Location
  /** How secrets are kept: 'additive' unless given, or 'replicated', among three parties without a provider. */
  protocol?: ProtocolName
}

function workerOf(entry: string, location: unknown): Worker {
  checkLocation(entry, location)
  if (location instanceof Worker) return location
  throw sottoError('ERR_ARGUMENT_TYPE', `${entry}: expected a worker, such as new VirtualWorker('bob')`, { entry })
}

/** Issues a message of the secret table; the session knows those of the worker alone. */
export function tellSecret<N extends SecretTell>(worker: Location, name: N, body: SecretMessages[N]['request']): void {
  worker.tell(name as never, body as never)
}
export function askSecret<N extends SecretAsk>(
  worker: Location,
  name: N,
  body: SecretMessages[N]['request'],
  wait: WaitOptions = {},
): Promise<SecretMessages[N]['response']> {
  return worker.ask(name as never, body as never, wait) as Promise<SecretMessages[N]['response']>
}

/** Groups that are open, at their first party and by what they are made of. A handle has a number of its own. */
const groups = new WeakMap<Worker, Map<string, Group>>()
const numbers = new WeakMap<Worker, number>()
let numbered = 0
function numberOf(worker: Worker): number {
  const known = numbers.get(worker) ?? ++numbered
  numbers.set(worker, known)
  return known
}

export class Group {
  readonly id = newId()
  readonly parties: readonly Worker[]
  readonly provider: Worker | null
  readonly protocol: Protocol
  /** Bits of what the parties compute with. */
  readonly ring: RingBits
  /** What all commands so far cost. */
  spent: Cost = { rounds: 0, bytes: 0, provider: 0 }
  #seq = 0
  #index = 0
  #isOver = false
  /** What commands take while a plan is made: then none is carried out. */
  #recording: (readonly Correlation[])[] | null = null
  /** Indices of what was dealt ahead, by what it is. */
  readonly #ahead = new Map<string, number[]>()

  private constructor(parties: readonly Worker[], provider: Worker | null, protocol: Protocol, ring: RingBits) {
    this.parties = parties
    this.provider = provider
    this.protocol = protocol
    this.ring = ring
    const members = provider === null ? parties : [...parties, provider]
    for (const a of members) for (const b of members) if (a !== b) a.reach(b)
    const names = parties.map(({ id }) => id)
    parties.forEach((party, index) => {
      tellSecret(party, 'secretJoin', {
        group: this.id,
        protocol: protocol.name,
        parties: names,
        index,
        provider: provider?.id ?? null,
        ring,
      })
    })
    // What ends a group has its id for an origin, at every member.
    for (const member of members) {
      member.onFailure((origin) => {
        if (origin.endsWith(`:${this.id}`)) this.#isOver = true
      })
    }
    if (provider !== null) tellSecret(provider, 'secretProvide', { group: this.id, parties: names, ring })
  }

  /**
   * The group of these workers in this order, for secrets of this ring: the one that is open, or a new one.
   *
   * @throws PlacementError `ERR_PARTIES` for fewer than two parties, a party named twice, a provider that is a party
   */
  static of(entry: string, parties: readonly Location[], options: GroupOptions, ring: RingBits): Group {
    if (!Array.isArray(parties)) {
      throw sottoError('ERR_ARGUMENT_TYPE', `${entry}: expected a list of workers, such as [bob, alice, jane]`, {
        entry,
      })
    }
    const workers = parties.map((party) => workerOf(entry, party))
    const provider = options.provider === undefined ? null : workerOf(`${entry}: "provider"`, options.provider)
    const protocol = protocolOf(options.protocol ?? 'additive')
    checkParties(protocol, workers.length, provider !== null)
    // Two handles may be sessions on one worker.
    const places = new Map<string, string>()
    for (const { key, id } of workers) {
      if (places.has(key) || [...places.values()].includes(id)) {
        throw sottoError('ERR_PARTIES', `${entry}: ${id} is named twice; each party is a worker of its own`, {
          party: id,
        })
      }
      places.set(key, id)
    }
    if (provider !== null && (places.has(provider.key) || [...places.values()].includes(provider.id))) {
      throw sottoError(
        'ERR_PARTIES',
        `${entry}: the provider ${provider.id} is also a party, and would know every mask; take a worker that holds no share`,
        { provider: provider.id },
      )
    }
    const key = JSON.stringify([workers.map(numberOf), provider && numberOf(provider), protocol.name, ring])
    const open = groups.get(workers[0]!) ?? new Map<string, Group>()
    groups.set(workers[0]!, open)
    const known = open.get(key)
    if (known !== undefined && !known.isOver) return known
    const group = new Group(workers, provider, protocol, ring)
    open.set(key, group)
    return group
  }

  /** Whether the secrets of this group are gone: a party has left, or failed. */
  get isOver(): boolean {
    return this.#isOver || [...this.parties, ...(this.provider ? [this.provider] : [])].some(({ isClosed }) => isClosed)
  }

  get names(): string {
    return this.parties.map(({ id }) => id).join(', ')
  }

  /** The number of the next command of all parties. */
  nextSeq(): number {
    // What is only planned has none.
    return this.#recording === null ? ++this.#seq : 0
  }

  /** Has the provider deal what a command takes; gives the index of the first, and how many there are. */
  deal(command: CommandShape): { index: number; dealt: number } {
    const correlations = this.protocol.correlations(command)
    const dealt = correlations.length
    if (dealt === 0) return { index: this.#index, dealt }
    if (this.provider === null) {
      throw sottoError(
        'ERR_PROVIDER',
        `${command.op}${command.divisor === null ? '' : ' with its rounding'}: takes randomness from a provider, and ${this.names} have none; share with { provider: worker }`,
        { op: command.op },
      )
    }
    if (this.#recording !== null) {
      this.#recording.push(correlations)
      return { index: 0, dealt }
    }
    const ahead = this.#ahead.get(JSON.stringify(correlations))?.shift()
    const index = ahead ?? this.#index
    if (ahead === undefined) this.#index += dealt
    tellSecret(this.provider, 'secretDeal', { group: this.id, index, correlations, ahead: false })
    return { index, dealt }
  }

  /** Runs an action without having anything carried out; gives what its commands take, one list each. */
  record(action: () => unknown): readonly (readonly Correlation[])[] {
    if (this.#recording !== null) throw sottoError('ERR_ARGUMENT_VALUE', 'planOf: a plan inside a plan')
    const recording: (readonly Correlation[])[] = []
    this.#recording = recording
    try {
      scope(() => {
        const result = action()
        if (result instanceof Promise) {
          throw sottoError('ERR_ARGUMENT_TYPE', 'planOf: expected a function that is not async: nothing is carried out')
        }
      })
    } finally {
      this.#recording = null
    }
    return recording
  }

  /** Has the provider deal ahead what a plan takes, so many times. */
  prepare(plan: readonly (readonly Correlation[])[], times: number): void {
    const { provider } = this
    if (provider === null) throw sottoError('ERR_PROVIDER', `prepare: ${this.names} have no provider`)
    for (let time = 0; time < times; time++) {
      for (const correlations of plan) {
        const key = JSON.stringify(correlations)
        const waiting = this.#ahead.get(key)
        if (waiting) waiting.push(this.#index)
        else this.#ahead.set(key, [this.#index])
        tellSecret(provider, 'secretDeal', { group: this.id, index: this.#index, correlations, ahead: true })
        this.#index += correlations.length
      }
    }
  }

  /** Issues a command to all parties. */
  tell<N extends SecretTell>(name: N, bodyOf: (index: number) => SecretMessages[N]['request']): void {
    if (this.#recording !== null) return
    // To all of them, or to none.
    for (const party of this.parties) party.checkOpen(name)
    fromOneLine(() => {
      this.parties.forEach((party, index) => {
        tellSecret(party, name, bodyOf(index))
      })
    })
  }

  /** Asks all parties. */
  async ask<N extends SecretAsk>(
    name: N,
    body: SecretMessages[N]['request'],
    wait: WaitOptions = {},
  ): Promise<SecretMessages[N]['response'][]> {
    return Promise.all(this.parties.map((party) => askSecret(party, name, body, wait)))
  }

  free(ids: readonly ObjectId[]): void {
    for (const party of this.parties) party.tell('free', { ids })
  }

  /** What each party counted, and the provider. */
  async stats(): Promise<GroupStats> {
    const { provider } = this
    const request = { group: this.id }
    const [parties, dealt] = await Promise.all([
      this.ask('secretStats', request),
      provider === null ? null : askSecret(provider, 'secretStats', request),
    ])
    return { parties: parties as PartyStats[], provider: dealt as ProviderStats | null }
  }
}

/** What the members of a group counted. */
export interface GroupStats {
  /** In the order of the parties. */
  readonly parties: readonly PartyStats[]
  readonly provider: ProviderStats | null
}
