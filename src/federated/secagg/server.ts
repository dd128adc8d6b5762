/**
 * The server of secure aggregation: passes on what clients send, adds up masked vectors, and removes the masks with the
 * help of those who are left (Bonawitz et al., CCS '17, figure 4; k neighbours after Bell et al., CCS '20). See client.ts.
 *
 * What comes from a client that is malformed, late or not its own is refused, and harms nobody else. Each step is closed
 * when whoever runs the server has waited long enough; who has not come by then has dropped out. A step that too few are
 * left for ends the round before anything is revealed.
 *
 * Removing masks takes one stream for each survivor, and for each client that dropped out after its shares one for each
 * of its neighbours that survived.
 */
import { equalBytes } from '@noble/ciphers/utils.js'
import { bytesToHex } from '@noble/hashes/utils.js'
import { sottoError } from '../../errors.ts'
import { numberOption } from '../../options.ts'
import { keyPairOf, newKeyPair } from './agreement.ts'
import { Graph } from './graph.ts'
import {
  cohortOf,
  drawCommitmentOf,
  isConfirmed,
  isSigned,
  pairMask,
  seedCommitmentOf,
  selfMask,
  survivorsParts,
} from './keys.ts'
import { applyMasks } from './masks.ts'
import {
  type Advert,
  type Confirmation,
  checkMessage,
  type Delivery,
  type Draws,
  type MaskedInput,
  type MessageName,
  type Quorum,
  type Reveal,
  type Roster,
  refuse,
  type Shares,
  type Survivors,
  type Unmasking,
} from './messages.ts'
import { COMPLETE, DRAWS } from './parameters.ts'
import { checkSettings, type SecAggSettings, type Terms } from './settings.ts'
import { combine, type Share } from './shamir.ts'
import { addTo, fromBytes, type Vector, zeros } from './vectors.ts'

/** What a round came to. */
export interface SecAggResult {
  /** The sum of the survivors' vectors, modulo 2^32 or 2^64. */
  readonly sum: Vector
  /** Whose vectors are in it. */
  readonly survivors: readonly string[]
  /** Who gave shares, and no vector. */
  readonly dropped: readonly string[]
  /** Streams that were expanded: one for each survivor, and up to k for each that dropped out. */
  readonly streams: { readonly survivors: number; readonly dropped: number }
}

/** What the server answers the parts of a seed with. */
export type RevealsReply = { readonly draws: Draws } | { readonly roster: Roster }

/** What the server takes from clients, in this order. */
type Phase = 'adverts' | 'reveals' | 'shares' | 'inputs' | 'confirmations' | 'unmaskings' | 'over'

/** The server's part in one round. */
export class SecAggServer {
  readonly round: number
  readonly #terms: Terms
  #phase: Phase = 'adverts'

  readonly #adverts = new Map<string, Advert>()
  readonly #keys = new Set<string>()
  #roster: Roster | undefined
  /** Numbers in the roster. */
  #numbers = new Map<string, number>()
  #graph: Graph | undefined
  #cohort: Uint8Array = new Uint8Array(0)
  readonly #reveals = new Map<number, Reveal>()
  readonly #shares = new Map<number, Shares>()
  readonly #inputs = new Set<number>()
  readonly #confirmations = new Map<number, Uint8Array>()
  readonly #unmaskings = new Set<number>()
  /** Shares of seeds of survivors, and of mask keys of those who dropped out, by client. */
  readonly #given = new Map<number, Share[]>()
  #sharers: readonly number[] = []
  #survivors: readonly number[] = []
  #sum: Vector
  /** With a key of low order, no pair of keys agrees on anything: this one tells. */
  readonly #probe = newKeyPair()

  /** @param round above that of every round before: clients refuse others */
  constructor(settings: SecAggSettings, round: number) {
    this.#terms = checkSettings('SecAggServer', settings)
    this.round = numberOption('SecAggServer', 'round', round, { from: 0, integer: true })
    this.#sum = zeros(this.#terms.modulus, this.#terms.length)
  }

  /** What it takes from clients now. */
  get phase(): Phase {
    return this.#phase
  }

  /**
   * Step 0.
   *
   * @throws AccessError `ERR_IDENTITY` for who is no member, or did not sign
   * @throws ProtocolError `ERR_PROTOCOL` for what is malformed, for keys of low order and keys that are there already;
   *   `ERR_OUT_OF_STEP` for what comes late, twice, or in another round
   */
  receiveAdvert(message: Advert): void {
    this.#takes('advert', 'adverts')
    const advert = checkMessage('advert', message, this.round)
    const { id, sealKey, maskKey } = advert
    if (this.#adverts.has(id)) throw this.#twice('advert', id)
    if (!isSigned(this.#terms, advert)) {
      throw sottoError('ERR_IDENTITY', `advert: ${id} is no member of the session, or did not sign it`, { id })
    }
    const keys = [bytesToHex(sealKey), bytesToHex(maskKey)]
    if (keys[0] === keys[1] || keys.some((key) => this.#keys.has(key))) throw refuse('advert', 'a key comes twice')
    // Clients would end the round at such a key.
    if (this.#probe.agree(sealKey) === undefined || this.#probe.agree(maskKey) === undefined) {
      throw refuse('advert', 'with a key in it no secret can be agreed on')
    }
    for (const key of keys) this.#keys.add(key)
    this.#adverts.set(id, advert)
  }

  /**
   * The roster, for all who are in it.
   *
   * @throws StateError `ERR_COHORT` when they are fewer than the minimum
   */
  closeAdverts(): Roster {
    return this.#close('closeAdverts', 'adverts', () => {
      const adverts = [...this.#adverts.values()].sort((a, b) => (a.id < b.id ? -1 : 1))
      return this.#publish(
        0,
        adverts,
        adverts.map(({ drawCommitment }) => drawCommitment),
      )
    })
  }

  /** Step 0b, above 64 clients. @throws as {@link receiveAdvert}, and for a part that was not committed to */
  receiveReveal(message: Reveal): void {
    this.#takes('reveal', 'reveals')
    const reveal = checkMessage('reveal', message, this.round)
    const client = this.#numberOf('reveal', reveal.id)
    const { attempt, commitments } = this.#roster!
    if (this.#reveals.has(client)) throw this.#twice('reveal', reveal.id)
    const commitment = drawCommitmentOf(this.#terms, reveal.id, this.round, reveal.draw)
    if (reveal.attempt !== attempt || !equalBytes(commitment, commitments[client]!)) {
      throw refuse('reveal', 'it is not what was committed to')
    }
    this.#reveals.set(client, reveal)
  }

  /**
   * All parts of the seed; or, when one is missing, a roster of those who are left, for another draw.
   *
   * @throws StateError `ERR_COHORT` when they are fewer than the minimum, or all draws were spoilt
   */
  closeReveals(): RevealsReply {
    return this.#close<RevealsReply>('closeReveals', 'reveals', () => {
      const { attempt, adverts } = this.#roster!
      const left = [...this.#reveals.keys()].sort((a, b) => a - b)
      const reveals = left.map((client) => this.#reveals.get(client)!)
      if (left.length === adverts.length) {
        const draws = reveals.map(({ draw }) => draw)
        this.#deal(draws)
        return [{ draws: { round: this.round, attempt, draws } }, 'shares']
      }
      if (attempt + 1 === DRAWS) throw this.#tooFew(`${DRAWS} draws of places were spoilt by clients that dropped out`)
      this.#reveals.clear()
      const [roster, phase] = this.#publish(
        attempt + 1,
        left.map((client) => adverts[client]!),
        reveals.map(({ next }) => next),
      )
      return [{ roster }, phase]
    })
  }

  /** Step 1. @throws as {@link receiveAdvert} */
  receiveShares(message: Shares): void {
    this.#takes('shares', 'shares')
    const shares = checkMessage('shares', message, this.round)
    const client = this.#numberOf('shares', shares.id)
    if (this.#shares.has(client)) throw this.#twice('shares', shares.id)
    const neighbours = this.#graph!.neighbours(client)
    const { sealed } = shares
    if (sealed.length !== neighbours.length || !sealed.every(({ to }, i) => to === neighbours[i])) {
      throw refuse('shares', 'they are not for the neighbours')
    }
    this.#shares.set(client, shares)
  }

  /**
   * What came for each client that gave shares.
   *
   * @throws StateError `ERR_COHORT` when they are too few
   */
  closeShares(): Map<string, Delivery> {
    return this.#close('closeShares', 'shares', () => {
      const sharers = [...this.#shares.keys()].sort((a, b) => a - b)
      this.#checkLeft(new Set(sharers), sharers)
      this.#sharers = sharers
      const told = [...sharers]
      const deliveries = new Map<string, Delivery>()
      for (const client of sharers) {
        const sealed = this.#graph!.neighbours(client).flatMap((from) => {
          const box = this.#shares.get(from)?.sealed.find(({ to }) => to === client)?.box
          return box === undefined ? [] : [{ from, box }]
        })
        deliveries.set(this.#nameOf(client), { round: this.round, sharers: told, sealed })
      }
      this.#shares.clear()
      return [deliveries, 'inputs']
    })
  }

  /** Step 2: adds it up; it is not kept. @throws as {@link receiveAdvert} */
  receiveInput(message: MaskedInput): void {
    this.#takes('masked input', 'inputs')
    const { id, values } = checkMessage('masked input', message, this.round)
    const client = this.#numberOf('masked input', id)
    if (!this.#sharers.includes(client)) throw refuse('masked input', `${id} gave no shares`)
    if (this.#inputs.has(client)) throw this.#twice('masked input', id)
    const { length, modulus } = this.#terms
    const bytes = (length * modulus) / 8
    if (values.length !== bytes) throw refuse('masked input', `${bytes} bytes expected, ${values.length} came`)
    addTo(this.#sum, fromBytes(values, modulus))
    this.#inputs.add(client)
  }

  /**
   * Whose vectors came, for each of them to sign.
   *
   * @throws StateError `ERR_COHORT` when they are too few to be hidden in their sum, or to unmask it
   */
  closeInputs(): Survivors {
    return this.#close('closeInputs', 'inputs', () => {
      this.#survivors = [...this.#inputs].sort((a, b) => a - b)
      this.#checkLeft(this.#inputs, this.#sharers)
      return [{ round: this.round, survivors: [...this.#survivors] }, 'confirmations']
    })
  }

  /** Step 3. @throws as {@link receiveAdvert}, and for a signature of other survivors */
  receiveConfirmation(message: Confirmation): void {
    this.#takes('confirmation', 'confirmations')
    const { id, signature } = checkMessage('confirmation', message, this.round)
    const client = this.#numberOf('confirmation', id)
    if (!this.#inputs.has(client)) throw refuse('confirmation', `${id} is no survivor`)
    if (this.#confirmations.has(client)) throw this.#twice('confirmation', id)
    // Of others, nobody looks at the signature.
    if (!this.#graph!.isWitness(client)) return
    const parts = survivorsParts(this.#cohort, this.#sharers, this.#survivors)
    if (!isConfirmed(this.#terms.members.get(id)!, parts, signature)) {
      throw refuse('confirmation', `${id} has not signed these survivors`)
    }
    this.#confirmations.set(client, signature)
  }

  /**
   * Signatures of as many witnesses as it takes, for all survivors.
   *
   * @throws StateError `ERR_COHORT` when they are fewer
   */
  closeConfirmations(): Quorum {
    return this.#close('closeConfirmations', 'confirmations', () => {
      const { quorum } = this.#graph!.parameters
      const signatures = [...this.#confirmations]
        .map(([by, signature]) => ({ by, signature }))
        .slice(0, quorum)
        .sort((a, b) => a.by - b.by)
      if (signatures.length < quorum) {
        throw this.#tooFew(`${signatures.length} witnesses have confirmed the survivors, and it takes ${quorum}`)
      }
      return [{ round: this.round, signatures }, 'unmaskings']
    })
  }

  /** Step 4. @throws as {@link receiveAdvert}, and for shares that were not asked for */
  receiveUnmasking(message: Unmasking): void {
    this.#takes('unmasking', 'unmaskings')
    const { id, seeds, keys } = checkMessage('unmasking', message, this.round)
    const client = this.#numberOf('unmasking', id)
    if (!this.#inputs.has(client)) throw refuse('unmasking', `${id} is no survivor`)
    if (this.#unmaskings.has(client)) throw this.#twice('unmasking', id)
    const held = new Set(this.#graph!.holders(client).filter((other) => this.#sharers.includes(other)))
    const fits = ({ of }: { of: number }, survived: boolean) => held.has(of) && this.#inputs.has(of) === survived
    if (!seeds.every((share) => fits(share, true)) || !keys.every((share) => fits(share, false))) {
      throw refuse('unmasking', 'it has shares that were not asked for')
    }
    this.#unmaskings.add(client)
    for (const { of, share } of [...seeds, ...keys]) {
      const given = this.#given.get(of) ?? []
      this.#given.set(of, given)
      given.push({ point: client + 1, value: share })
    }
  }

  /**
   * Removes the masks. The round is over.
   *
   * @throws StateError `ERR_COHORT` when too few have given shares
   * @throws ProtocolError `ERR_PROTOCOL` when shares do not fit what their owner advertised: somebody gave wrong ones
   */
  finish(): SecAggResult {
    return this.#close('finish', 'unmaskings', () => {
      const { adverts } = this.#roster!
      const dropped = this.#sharers.filter((client) => !this.#inputs.has(client))
      const { threshold } = this.#graph!.parameters
      for (const client of this.#sharers) {
        const given = this.#given.get(client)?.length ?? 0
        if (given >= threshold) continue
        throw this.#tooFew(`${given} shares were given of ${this.#nameOf(client)}, and it takes ${threshold}`)
      }
      const own = this.#survivors.map((client) => {
        const { seedCommitment } = adverts[client]!
        const isRight = (seed: Uint8Array) => equalBytes(seedCommitmentOf(seed), seedCommitment)
        const seed = this.#combined(client, (secret) => secret, isRight)
        return selfMask(seed, this.#cohort, adverts[client]!)
      })
      // One after the other: keys of all masks of all clients would be many.
      applyMasks(this.#sum, { subtracted: own })
      let streams = 0
      for (const client of dropped) {
        const { added, subtracted } = this.#masksWith(client)
        applyMasks(this.#sum, { added, subtracted })
        streams += added.length + subtracted.length
      }
      this.#given.clear()
      const names = (clients: readonly number[]) => clients.map((client) => this.#nameOf(client))
      const result = {
        sum: this.#sum,
        survivors: names(this.#survivors),
        dropped: names(dropped),
        streams: { survivors: own.length, dropped: streams },
      }
      return [result, 'over']
    })
  }

  /** What survivors added and subtracted for a client that dropped out: to be done the other way round. */
  #masksWith(client: number): { readonly added: Uint8Array[]; readonly subtracted: Uint8Array[] } {
    const { adverts } = this.#roster!
    const { maskKey } = adverts[client]!
    const pair = this.#combined(client, keyPairOf, ({ key }) => equalBytes(key, maskKey))
    const [added, subtracted]: [Uint8Array[], Uint8Array[]] = [[], []]
    for (const other of this.#graph!.neighbours(client)) {
      if (!this.#inputs.has(other)) continue
      const agreed = pair.agree(adverts[other]!.maskKey)!
      if (other < client) subtracted.push(pairMask(agreed, this.#cohort, adverts[other]!, adverts[client]!))
      else added.push(pairMask(agreed, this.#cohort, adverts[client]!, adverts[other]!))
    }
    pair.erase()
    return { added, subtracted }
  }

  /**
   * What is made of a secret of which enough shares are there, if it is what was advertised. One wrong share spoils those
   * that it is among: with more shares than it takes, some run of them does without it.
   */
  #combined<Made>(client: number, make: (secret: Uint8Array) => Made, isRight: (made: Made) => boolean): Made {
    const given = this.#given.get(client)!
    const { threshold } = this.#graph!.parameters
    const runs = given.length === threshold ? 1 : given.length
    for (let from = 0; from < runs; from++) {
      const run = Array.from({ length: threshold }, (_, i) => given[(from + i) % given.length]!)
      const made = make(combine(run))
      if (isRight(made)) return made
    }
    throw refuse('unmasking', `shares of ${this.#nameOf(client)} do not fit what it advertised`)
  }

  #publish(attempt: number, adverts: Advert[], commitments: Uint8Array[]): readonly [Roster, Phase] {
    const { minimum } = this.#terms
    if (adverts.length < minimum)
      throw this.#tooFew(`${adverts.length} clients are there, and ${minimum} are the least`)
    this.#roster = { round: this.round, attempt, adverts, commitments }
    this.#numbers = new Map(adverts.map(({ id }, i) => [id, i]))
    if (adverts.length > COMPLETE) return [this.#roster, 'reveals']
    this.#deal([])
    return [this.#roster, 'shares']
  }

  #deal(draws: readonly Uint8Array[]): void {
    this.#cohort = cohortOf(this.#terms, this.#roster!, draws)
    this.#graph = new Graph(this.#terms.parameters(this.#roster!.adverts.length), this.#cohort)
  }

  /** Whether those who are left hide each other, and can put together the secrets of all these. */
  #checkLeft(left: ReadonlySet<number>, secretsOf: readonly number[]): void {
    const { minimum } = this.#terms
    const { threshold } = this.#graph!.parameters
    if (left.size < minimum) throw this.#tooFew(`${left.size} clients are left, and ${minimum} are the least`)
    for (const client of secretsOf) {
      const holders = this.#graph!.holders(client).filter((holder) => left.has(holder)).length
      if (holders >= threshold) continue
      throw this.#tooFew(`${holders} are left who hold shares of ${this.#nameOf(client)}, and it takes ${threshold}`)
    }
    if (!this.#graph!.isSpread(left)) throw this.#tooFew('neighbours are gone in a row')
  }

  #tooFew(why: string): Error {
    return sottoError('ERR_COHORT', `round ${this.round}: ${why}; nothing was revealed, begin another round`, {
      round: this.round,
    })
  }

  #twice(name: MessageName, id: string): Error {
    return sottoError('ERR_OUT_OF_STEP', `${name}: that of ${id} is there already`, { message: name, id })
  }

  #nameOf(client: number): string {
    return this.#roster!.adverts[client]!.id
  }

  #numberOf(name: MessageName, id: string): number {
    const client = this.#numbers.get(id)
    if (client === undefined) throw refuse(name, `${id} is not in the roster`)
    return client
  }

  #takes(name: MessageName, phase: Phase): void {
    if (this.#phase === phase) return
    const state = this.#phase === 'over' ? 'the round is over' : `the round takes ${this.#phase} now`
    throw sottoError('ERR_OUT_OF_STEP', `${name}: ${state}`, { message: name, round: this.round })
  }

  /** Ends a step. Where it fails, the round is over. */
  #close<T>(step: string, phase: Phase, run: () => readonly [T, Phase]): T {
    if (this.#phase !== phase) {
      const state = this.#phase === 'over' ? 'the round is over' : `the round takes ${this.#phase} now`
      throw sottoError('ERR_OUT_OF_STEP', `${step}: ${state}`, { step, round: this.round })
    }
    this.#phase = 'over'
    const [result, next] = run()
    this.#phase = next
    return result
  }
}
