/**
 * A client of secure aggregation: a server learns the sum of many clients' vectors, and of each vector nothing else,
 * although clients drop out at any time (Bonawitz et al., CCS '17, with an active server; k neighbours instead of all
 * after Bell et al., CCS '20).
 *
 * A client masks its vector with a stream for each neighbour, which one of the two adds and the other subtracts, and with
 * one of its own. What it takes to remove them is shared among its neighbours: the mask key, to remove what was added for
 * a neighbour whose vector did not come; the seed of its own mask, when its vector came. Whoever got both would have the
 * vector, so a neighbour gives one of them, once, and only after witnesses have signed whose vectors came.
 *
 * This carries messages nowhere: each step takes what came and gives what to send; see messages.ts for their order.
 */
import { equalBytes } from '@noble/ciphers/utils.js'
import { sottoError } from '../../errors.ts'
import { numberOption } from '../../options.ts'
import { randomSeed } from '../../smpc/prg.ts'
import type { Identity } from '../../worker/identity.ts'
import { portableAead } from '../../worker/transport/seal.ts'
import { type KeyPair, newKeyPair } from './agreement.ts'
import { Graph } from './graph.ts'
import {
  cohortOf,
  confirm,
  drawCommitmentOf,
  isConfirmed,
  isSigned,
  pairMask,
  sealing,
  seedCommitmentOf,
  selfMask,
  signAdvert,
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
  type Quorum,
  type Reveal,
  type Roster,
  refuse,
  type Shares,
  type Survivors,
  type Unmasking,
} from './messages.ts'
import { COMPLETE } from './parameters.ts'
import { checkRoster, isSame } from './roster.ts'
import { checkSettings, type SecAggSettings, type Terms } from './settings.ts'
import { SECRET, split } from './shamir.ts'
import { checkVector, toBytes, type Vector } from './vectors.ts'

/** A member of a session. Rounds count up: one that was begun is never begun again. */
export class SecAggClient {
  readonly id: string
  readonly #identity: Identity
  readonly #terms: Terms
  #last = -1

  /**
   * @param id the name under which the client's key stands among the members
   * @throws AccessError `ERR_IDENTITY` when the key there is another
   */
  constructor(id: string, identity: Identity, settings: SecAggSettings) {
    this.#terms = checkSettings('SecAggClient', settings)
    if (this.#terms.members.get(id) !== identity.key) {
      throw sottoError('ERR_IDENTITY', `${id} is no member of the session with this key`, { id })
    }
    this.id = id
    this.#identity = identity
  }

  /**
   * Begins a round, and ends none: what another round waits for, it waits for still.
   *
   * @param number above that of every round before
   * @throws StateError `ERR_USED_TWICE` for any other
   */
  round(number: number): ClientRound {
    numberOption('round', 'number', number, { from: 0, integer: true })
    if (number <= this.#last) {
      throw sottoError('ERR_USED_TWICE', `round ${number} was begun, or passed over; rounds count up`, { number })
    }
    this.#last = number
    return new ClientRound(this.id, this.#identity, this.#terms, number)
  }
}

/** What a client answers a roster with. */
export type RosterReply = { readonly reveal: Reveal } | { readonly shares: Shares }

type Phase = 'advertise' | 'roster' | 'draws' | 'delivery' | 'survivors' | 'quorum' | 'over'

/** A client's part in one round. {@link SecAggClient.round} makes it. */
export class ClientRound {
  readonly id: string
  readonly number: number
  readonly #identity: Identity
  readonly #terms: Terms
  #phase: Phase = 'advertise'

  // What is erased at the end.
  readonly #sealKeys = newKeyPair()
  readonly #maskKeys = newKeyPair()
  readonly #seed = randomSeed()
  /** The share of the client's own seed that it keeps, in a complete graph. */
  #ownShare: Uint8Array | undefined
  /** What the client and each neighbour agreed on, for shares. */
  readonly #agreed = new Map<number, Uint8Array>()

  #draw = randomSeed()
  #advert: Advert | undefined
  #roster: Roster | undefined
  /** Number in the roster. */
  #me = -1
  #graph: Graph | undefined
  #neighbours: readonly number[] = []
  #holders: readonly number[] = []
  #cohort: Uint8Array = new Uint8Array(0)
  #delivery: Delivery | undefined
  #survivors: readonly number[] = []

  /** @internal */
  constructor(id: string, identity: Identity, terms: Terms, number: number) {
    this.id = id
    this.number = number
    this.#identity = identity
    this.#terms = terms
  }

  /** Step 0: keys for this round, signed. */
  advertise(): Advert {
    return this.#step('advertise', ['advertise'], () => {
      this.#advert = signAdvert(this.#terms, this.#identity, {
        id: this.id,
        round: this.number,
        sealKey: this.#sealKeys.key,
        maskKey: this.#maskKeys.key,
        seedCommitment: seedCommitmentOf(this.#seed),
        drawCommitment: this.#commitment(),
      })
      return [this.#advert, 'roster']
    })
  }

  /**
   * Step 0b, above 64 clients: shows its part of the seed of places, now that everybody is committed to theirs. With fewer
   * clients, step 1: shares, at once. Comes again, above 64 clients, when a draw was spoilt.
   *
   * @throws ProtocolError `ERR_PROTOCOL` for a roster in which anything is twice, or the client's own keys are not what
   *   they are; `ERR_OUT_OF_STEP`
   * @throws StateError `ERR_COHORT` when it is below the minimum
   * @throws AccessError `ERR_IDENTITY` for one with who is no member, or did not sign
   */
  receiveRoster(message: Roster): RosterReply {
    const roster = checkMessage('roster', message, this.number)
    return this.#step<RosterReply>('receiveRoster', ['roster', 'draws'], () => {
      const before = this.#roster
      if (roster.attempt !== (before === undefined ? 0 : before.attempt + 1)) {
        throw refuse('roster', `draw ${roster.attempt} does not follow`)
      }
      checkRoster(this.#terms, roster, before)
      this.#me = roster.adverts.findIndex(({ id }) => id === this.id)
      const own = roster.adverts[this.#me]
      if (own === undefined || !isSame(this.#advert!, own)) throw refuse('roster', 'own keys are not in it')
      if (!equalBytes(roster.commitments[this.#me]!, this.#commitment())) {
        throw refuse('roster', 'own commitment is not in it')
      }
      this.#roster = roster
      if (roster.adverts.length <= COMPLETE) return [{ shares: this.#share([]) }, 'delivery']
      const draw = this.#draw
      this.#draw = randomSeed()
      const reveal = { id: this.id, round: this.number, attempt: roster.attempt, draw, next: this.#commitment() }
      return [{ reveal }, 'draws']
    })
  }

  /**
   * Step 1, above 64 clients: places follow from all parts of the seed, and shares go to the neighbours.
   *
   * @throws ProtocolError `ERR_PROTOCOL` for a part that was not committed to
   * @throws AccessError `ERR_IDENTITY` for a neighbour that did not sign its keys
   */
  receiveDraws(message: Draws): Shares {
    const { attempt, draws } = checkMessage('draws', message, this.number)
    return this.#step('receiveDraws', ['draws'], () => {
      const { adverts, commitments, attempt: current } = this.#roster!
      if (attempt !== current || draws.length !== adverts.length) throw refuse('draws', 'they are of another roster')
      for (const [i, draw] of draws.entries()) {
        const commitment = drawCommitmentOf(this.#terms, adverts[i]!.id, this.number, draw)
        if (!equalBytes(commitment, commitments[i]!)) throw refuse('draws', `${i} is not what was committed to`)
      }
      return [this.#share(draws), 'delivery']
    })
  }

  /**
   * Step 2: the vector, masked. Once: who gets it twice, with other neighbours, gets what the masks are.
   *
   * @param message shares of neighbours, to be opened at the end
   * @param vector words of the settings' length and modulus; copied
   * @returns as many bytes as the vector has
   * @throws StateError `ERR_COHORT` when too few have given shares
   * @throws TypeError or RangeError `ERR_ARGUMENT_TYPE`, `ERR_SHAPE` for another vector; the round goes on
   */
  mask(message: Delivery, vector: Vector): MaskedInput {
    const delivery = checkMessage('delivery', message, this.number)
    checkVector('vector', vector, this.#terms.modulus, this.#terms.length)
    return this.#step('mask', ['delivery'], () => {
      const sharers = new Set(delivery.sharers)
      const senders = this.#neighbours.filter((other) => sharers.has(other))
      if (delivery.sharers.at(-1)! >= this.#roster!.adverts.length || !sharers.has(this.#me)) {
        throw refuse('delivery', 'those who gave shares are not those of the roster, this client among them')
      }
      if (delivery.sealed.length !== senders.length || !delivery.sealed.every(({ from }, i) => from === senders[i])) {
        throw refuse('delivery', 'shares are not those of the neighbours')
      }
      this.#checkCohort('delivery', sharers)
      this.#delivery = delivery
      const { added, subtracted } = this.#masks(senders)
      const masked = vector.slice()
      applyMasks(masked, { added, subtracted })
      for (const key of [...added, ...subtracted]) key.fill(0)
      return [{ id: this.id, round: this.number, values: toBytes(masked) }, 'survivors']
    })
  }

  /**
   * Step 3: signs whose vectors came, if they are enough. Once: signing two sets would be telling two clients different
   * things.
   *
   * @throws StateError `ERR_COHORT` for fewer than the minimum, or too few among those who hold shares of this client
   */
  confirm(message: Survivors): Confirmation {
    const { survivors } = checkMessage('survivors', message, this.number)
    return this.#step('confirm', ['survivors'], () => {
      const sharers = new Set(this.#delivery!.sharers)
      if (!survivors.every((client) => sharers.has(client)) || !survivors.includes(this.#me)) {
        throw refuse('survivors', 'they are not of those who gave shares, this client among them')
      }
      this.#checkCohort('survivors', new Set(survivors))
      this.#survivors = survivors
      const signature = confirm(this.#identity, this.#survivorsParts())
      return [{ id: this.id, round: this.number, signature }, 'quorum']
    })
  }

  /**
   * Step 4: for each neighbour a share of its seed, if its vector came, or of its mask key, if not. The round is over for
   * this client then, and its keys are gone.
   *
   * A neighbour whose shares do not open is passed over: it has harmed nobody but itself.
   *
   * @throws ProtocolError `ERR_SPLIT_VIEW` unless as many witnesses as it takes have signed the survivors that this client
   *   was shown
   */
  unmask(message: Quorum): Unmasking {
    const { signatures } = checkMessage('quorum', message, this.number)
    return this.#step('unmask', ['quorum'], () => {
      this.#checkQuorum(signatures)
      const survivors = new Set(this.#survivors)
      const [seeds, keys]: [Unmasking['seeds'], Unmasking['keys']] = [[], []]
      for (const { from, box } of this.#delivery!.sealed) {
        const opened = this.#open(from, box)
        if (opened === undefined) continue
        if (survivors.has(from)) seeds.push({ of: from, share: opened.slice(SECRET) })
        else keys.push({ of: from, share: opened.slice(0, SECRET) })
        opened.fill(0)
      }
      if (this.#ownShare !== undefined) seeds.push({ of: this.#me, share: this.#ownShare.slice() })
      seeds.sort((a, b) => a.of - b.of)
      this.#erase()
      return [{ id: this.id, round: this.number, seeds, keys }, 'over']
    })
  }

  /** Gives the round up: its keys are erased, and it answers nothing more. */
  end(): void {
    this.#phase = 'over'
    this.#erase()
  }

  /** Carries a step out. One that is refused ends the round: a server that cheats gets no second try. */
  #step<T>(step: string, phases: readonly Phase[], run: () => readonly [T, Phase]): T {
    if (!phases.includes(this.#phase)) {
      const state = this.#phase === 'over' ? 'its round is over' : `it waits for ${this.#phase}`
      throw sottoError('ERR_OUT_OF_STEP', `${step}: client ${this.id} cannot, ${state}`, { step, id: this.id })
    }
    this.#phase = 'over'
    try {
      const [result, next] = run()
      this.#phase = next
      return result
    } catch (error) {
      this.#erase()
      throw error
    }
  }

  #commitment(): Uint8Array {
    return drawCommitmentOf(this.#terms, this.id, this.number, this.#draw)
  }

  #survivorsParts(): Uint8Array {
    return survivorsParts(this.#cohort, this.#delivery!.sharers, this.#survivors)
  }

  /** Shares of seed and mask key, for each holder. */
  #share(draws: readonly Uint8Array[]): Shares {
    const { adverts } = this.#roster!
    const cohort = cohortOf(this.#terms, this.#roster!, draws)
    this.#cohort = cohort
    this.#graph = new Graph(this.#terms.parameters(adverts.length), cohort)
    this.#neighbours = this.#graph.neighbours(this.#me)
    this.#holders = this.#graph.holders(this.#me)
    for (const other of this.#neighbours) {
      if (isSigned(this.#terms, adverts[other]!)) continue
      throw sottoError('ERR_IDENTITY', `roster: ${adverts[other]!.id} has not signed the keys that stand there`)
    }
    const points = this.#holders.map((holder) => holder + 1)
    const { threshold } = this.#graph.parameters
    const keyShares = split(this.#maskKeys.secret, threshold, points)
    const seedShares = split(this.#seed, threshold, points)
    const sealed = []
    for (const [i, holder] of this.#holders.entries()) {
      const [key, seed] = [keyShares[i]!.value, seedShares[i]!.value]
      if (holder === this.#me) this.#ownShare = seed
      else {
        const both = new Uint8Array(2 * SECRET)
        both.set(key)
        both.set(seed, SECRET)
        const agreed = this.#agree(this.#sealKeys, adverts[holder]!.sealKey)
        this.#agreed.set(holder, agreed)
        const box = sealing(agreed, cohort, adverts[this.#me]!, adverts[holder]!)
        sealed.push({ to: holder, box: portableAead.encrypt(box.key, box.nonce, both, box.associated) })
        both.fill(0)
        seed.fill(0)
      }
      key.fill(0)
    }
    return { id: this.id, round: this.number, sealed }
  }

  #open(from: number, box: Uint8Array): Uint8Array | undefined {
    const { adverts } = this.#roster!
    const { key, nonce, associated } = sealing(
      this.#agreed.get(from)!,
      this.#cohort,
      adverts[from]!,
      adverts[this.#me]!,
    )
    return portableAead.decrypt(key, nonce, box, associated)
  }

  /** Keys of masks: added are its own, and those with later neighbours. */
  #masks(sharing: readonly number[]): { readonly added: Uint8Array[]; readonly subtracted: Uint8Array[] } {
    const { adverts } = this.#roster!
    const own = adverts[this.#me]!
    const added = [selfMask(this.#seed, this.#cohort, own)]
    const subtracted = []
    for (const other of sharing) {
      const agreed = this.#agree(this.#maskKeys, adverts[other]!.maskKey)
      if (this.#me < other) added.push(pairMask(agreed, this.#cohort, own, adverts[other]!))
      else subtracted.push(pairMask(agreed, this.#cohort, adverts[other]!, own))
      agreed.fill(0)
    }
    return { added, subtracted }
  }

  #agree(pair: KeyPair, theirs: Uint8Array): Uint8Array {
    const agreed = pair.agree(theirs)
    if (agreed === undefined) throw refuse('roster', 'with a key in it no secret can be agreed on')
    return agreed
  }

  /** @throws StateError `ERR_COHORT` unless those who are left hide this client, and can unmask it */
  #checkCohort(message: string, left: ReadonlySet<number>): void {
    const { minimum } = this.#terms
    const { threshold } = this.#graph!.parameters
    const holders = this.#holders.filter((holder) => left.has(holder)).length
    const enough = left.size >= minimum && holders >= threshold && this.#graph!.isSpread(left)
    if (enough) return
    throw sottoError(
      'ERR_COHORT',
      `${message}: ${left.size} clients are left, and ${holders} that hold shares of ${this.id}; ` +
        `${minimum} and ${threshold} are the least, and neighbours must not be gone in a row`,
      { left: left.size, minimum, holders, threshold },
    )
  }

  #checkQuorum(signatures: Quorum['signatures']): void {
    const { quorum } = this.#graph!.parameters
    const { adverts } = this.#roster!
    const survivors = new Set(this.#survivors)
    const parts = this.#survivorsParts()
    const isGood = ({ by, signature }: Quorum['signatures'][number]) =>
      survivors.has(by) &&
      this.#graph!.isWitness(by) &&
      isConfirmed(this.#terms.members.get(adverts[by]!.id)!, parts, signature)
    if (signatures.length === quorum && signatures.every(isGood)) return
    throw sottoError(
      'ERR_SPLIT_VIEW',
      `unmask: ${quorum} witnesses expected to have signed the survivors that ${this.id} was shown; they have not`,
      { quorum, given: signatures.length },
    )
  }

  #erase(): void {
    for (const pair of [this.#sealKeys, this.#maskKeys]) pair.erase()
    for (const secret of [this.#seed, this.#draw]) secret.fill(0)
    for (const agreed of this.#agreed.values()) agreed.fill(0)
    this.#ownShare?.fill(0)
    this.#agreed.clear()
    this.#ownShare = undefined
  }
}
