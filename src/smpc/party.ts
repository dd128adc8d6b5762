/**
 * A party of a secret computation: what runs on a worker for one group. Keeps this worker's shares, carries commands out
 * in order of their numbers as far as what they need is there, and ends the group when the parties no longer agree.
 */
import { isSottoError, sottoError } from '../errors.ts'
import type { ObjectId } from '../tensor/location.ts'
import type { Shape } from '../tensor/shape.ts'
import { checkRoom } from '../worker/handlers/compute.ts'
import type { HostSession } from '../worker/host-session.ts'
import { exempt } from '../worker/memory-pool.ts'
import { combine, derivedFrom, PUBLIC, totalOf } from '../worker/permissions.ts'
import type { ErrorWire } from '../worker/protocol.ts'
import type { Session } from '../worker/session.ts'
import { Poison } from '../worker/store.ts'
import { Awaited, entryOf } from './awaited.ts'
import { type Correlation, correctionBytes, expand } from './correlations.ts'
import { Exchange } from './exchange.ts'
import { publicOperand } from './handlers/operands.ts'
import { type Member, sendParts } from './members.ts'
import type { Part, PartyStats, RingCommand } from './messages.ts'
import { contextOf, type Spent } from './party-context.ts'
import { Prg, type PrgStream, randomSeed } from './prg.ts'
import type {
  Contribution,
  Incoming,
  Outgoing,
  PartyContext,
  PartyOperand,
  Protocol,
  Share,
} from './protocols/protocol.ts'
import { ring } from './ring/choose.ts'
import type { Planes, RingBits, Words } from './ring/kernels.ts'
import { bytesOf, concatenated, roomFor, wordsOf } from './ring/tensor.ts'
import { type RingOp, ringRow } from './ring-ops.ts'
import { type About, holding, StoredShare } from './stored-share.ts'
import { UsedIndices } from './used-indices.ts'

/**
 * The results of a command. What is moved and not computed may be in the memory of what it was moved from, which is not to
 * be used again when one of the two is freed.
 */
function partedFrom(operands: readonly PartyOperand[], results: readonly Share[]): readonly Share[] {
  const seen: ArrayBufferLike[] = []
  const before = operands.flatMap((operand) => ('share' in operand ? operand.share : [operand.known]))
  for (const { data } of [...before, ...results.flat()]) {
    if (seen.includes(data.buffer)) exempt(data)
    else seen.push(data.buffer)
  }
  return results
}

/** What a command draws from the streams that this party has in common with others. */
interface Draws {
  /** The stream in common with a party, by its position. */
  readonly common: (party: number) => Promise<PrgStream>
  /** Words that add up to zero over all parties, and are uniform to any but all of them. */
  readonly zeros: (length: number) => Promise<Words>
}

export interface PartyOptions {
  readonly group: string
  readonly protocol: Protocol
  readonly parties: readonly string[]
  readonly index: number
  readonly provider: string | null
  readonly ring: RingBits
}

export class Party implements Member {
  readonly session: HostSession
  readonly options: PartyOptions
  shares = 0
  #commands = 0
  #bytesDealt = 0
  readonly #exchange: Exchange
  /** The streams that this party has in common with each other one, and with the provider, once their seeds are there. */
  readonly #common = new Map<string, Awaited<Prg>>()
  readonly #corrections = new Map<number, Awaited<Uint8Array>>()
  /** Indices that commands have claimed, and those of commands that failed before they began. */
  readonly #claimed = new UsedIndices()
  readonly #dropped = new Set<number>()
  readonly #linksTo = new Map<string, Session>()
  /** Ends the watch over a link, one for each. */
  readonly #links: (() => void)[] = []
  #nextSeq = 1
  #failure: Poison | null = null

  constructor(session: HostSession, options: PartyOptions) {
    this.session = session
    this.options = options
    const { parties, index, provider } = options
    const peers = parties.filter((_, i) => i !== index)
    this.#exchange = new Exchange({
      peers,
      timeout: session.host.limits.peerTimeout,
      send: (peer, parts) => this.#send(peer, parts),
      fail: (error) => this.end(error),
    })
    for (const name of provider === null ? peers : [...peers, provider]) this.#common.set(name, new Awaited())
    for (const name of parties.slice(index + 1)) {
      const seed = randomSeed()
      this.#common.get(name)!.resolve(new Prg(seed))
      this.#send(name, [{ kind: 'seed', data: seed }])
    }
    for (const name of this.#common.keys()) {
      this.#links.push(this.#linkTo(name).onClose(() => this.#lost(name)))
    }
  }

  get group(): string {
    return this.options.group
  }
  /** The components of a secret that this party holds. */
  get held(): readonly number[] {
    const { protocol, index, parties } = this.options
    return protocol.held(index, parties.length)
  }
  get isLast(): boolean {
    return this.options.index === this.options.parties.length - 1
  }
  get isOver(): boolean {
    return this.#failure !== null
  }

  /** Throws what ended the group. */
  check(): void {
    if (this.#failure) throw this.#failure
  }

  stats(): PartyStats {
    const { openings, bytesSent } = this.#exchange
    return { commands: this.#commands, openings, bytesSent, bytesDealt: this.#bytesDealt, shares: this.shares }
  }

  // What members of the group hand over.

  take(from: string, part: Part): void {
    if (this.isOver) return
    switch (part.kind) {
      case 'opening':
        if (!this.#isPeer(from)) break
        return this.#exchange.take(from, part)
      case 'seed':
        if (!this.#common.has(from) || this.options.parties.indexOf(from) > this.options.index) break
        if (this.#common.get(from)!.isThere) return this.end(sottoError('ERR_USED_TWICE', `${from} sent a second seed`))
        return this.#common.get(from)!.resolve(new Prg(part.data))
      case 'dealt':
        if (from !== this.options.provider || !this.isLast) break
        return this.#dealt(part)
      case 'end':
        if (!this.#isPeer(from) && from !== this.options.provider) break
        return this.end(new Poison({ error: part.error, access: PUBLIC }), false)
      case 'credit':
        break
    }
    throw sottoError('ERR_PERMISSION', `${from} has no part in this`)
  }

  #isPeer(name: string): boolean {
    const at = this.options.parties.indexOf(name)
    return at >= 0 && at !== this.options.index
  }

  #dealt({ index, of, data }: Extract<Part, { kind: 'dealt' }>): void {
    this.#bytesDealt += data.length
    if (this.#dropped.delete(index)) return this.#credit(index, data)
    const known = this.#corrections.get(index)
    if (known?.isThere || (known === undefined && this.#claimed.has(index))) {
      return this.end(
        sottoError('ERR_USED_TWICE', `${this.options.provider} dealt index ${index} again`, { index, of }),
      )
    }
    if (this.#corrections.size >= this.session.host.limits.objects) {
      return this.end(sottoError('ERR_LIMIT', `${this.#corrections.size} corrections wait to be used; no more fit`))
    }
    this.#correctionOf(index).resolve(data)
  }

  #correctionOf(index: number): Awaited<Uint8Array> {
    return entryOf(this.#corrections, index)
  }

  // Shares.

  store(out: ObjectId, shape: Shape, value: Share | Promise<Share>, about: About): StoredShare {
    const share = new StoredShare(this, shape, value, about)
    this.session.host.store.add(out, share)
    if (value instanceof Promise) {
      this.session.goesOn(value)
      value.catch((error: unknown) => this.end(error))
    }
    return share
  }

  /** A share of this group. */
  share(id: ObjectId): StoredShare {
    const share = this.session.host.store.other(id, 'share', this.session) as StoredShare
    if (share.party !== this) {
      throw sottoError('ERR_PARTIES', 'a share of other parties, or of another session, meets a command of these')
    }
    return share
  }

  /** The next command, which opens nothing among the parties. */
  beginAlone(seq: number): Draws {
    const draws = this.begin(seq)
    this.#exchange.done(seq)
    return draws
  }

  /** A secret that nobody knows, as the next command. */
  random(seq: number, out: ObjectId, shape: Shape): void {
    const draws = this.beginAlone(seq)
    const { context } = this.#context(seq, 'random', 0, [], draws)
    this.store(out, shape, this.options.protocol.random(context, shape), { access: PUBLIC })
  }

  /** The next command; they come in the order of their numbers. */
  begin(seq: number): Draws {
    this.check()
    if (seq !== this.#nextSeq) {
      throw sottoError('ERR_OUT_OF_STEP', `command ${this.#nextSeq} was to come next, ${seq} came`, { seq })
    }
    this.#nextSeq++
    this.#commands++
    return this.#draws(seq)
  }

  /** Carries a command out, at once or when what it needs is there. */
  run(command: RingCommand & { seq: number; index: number; dealt: number }): void {
    const { op, seq, index, divisor, out } = command
    const draws = this.begin(seq)
    const row = ringRow(op)
    const attrs = command.attrs.map((attr) => attr ?? undefined)
    const shares: StoredShare[] = []
    const operands = command.operands.map((operand) => {
      if (typeof operand !== 'string') return { known: publicOperand(this.session, operand, this.options.ring) }
      const share = this.share(operand)
      shares.push(share)
      return share
    })
    const shapeOf = (operand: (typeof operands)[number]): Shape =>
      operand instanceof StoredShare ? operand.shape : operand.known.shape
    const shapes = row.shapes(operands.map(shapeOf), attrs)
    checkRoom(this.session, op, shapes.map(roomFor(this.options.ring)))
    if (shapes.length !== out.length) {
      throw sottoError('ERR_PROTOCOL', `${op}: gives ${shapes.length} results, ${out.length} were named`)
    }
    const described = operands.map((operand) => ({
      shape: shapeOf(operand),
      isSecret: operand instanceof StoredShare,
    }))
    const { protocol, ring } = this.options
    const correlations = protocol.correlations({ ring, op: op as RingOp, operands: described, attrs, divisor })
    if (correlations.length !== command.dealt) {
      throw sottoError(
        'ERR_OUT_OF_STEP',
        `${op}: takes ${correlations.length} correlations, ${command.dealt} were dealt`,
      )
    }
    const { context, spent } = this.#context(seq, op, index, correlations, draws)
    const rights = shares.map((share) => share.access)
    const about: About = {
      access: op === 'total' ? totalOf(rights) : derivedFrom(rights.reduce(combine)),
      failure: shares.find((share) => share.failure !== null)?.failure ?? null,
    }
    const ready = (): readonly PartyOperand[] =>
      operands.map((operand) => (operand instanceof StoredShare ? { share: operand.value as Share } : operand))
    const work = (): readonly Share[] | Promise<readonly Share[]> => {
      const there = ready()
      const results = protocol.run(context, op as RingOp, there, attrs, divisor)
      return results instanceof Promise ? results.then((list) => partedFrom(there, list)) : partedFrom(there, results)
    }
    const before = (): number => Math.max(...shares.map(({ rounds }) => rounds))
    const waits = shares.flatMap(({ value }) => (value instanceof Promise ? [value] : []))
    const results = holding(shares, () => (waits.length === 0 ? work() : Promise.all(waits).then(work)))
    if (results instanceof Promise) {
      const finished = results.then((list) => {
        this.#exchange.done(seq)
        for (const share of made) share.rounds = before() + spent.rounds
        return list
      })
      const made = shapes.map((shape, i) =>
        this.store(
          out[i]!,
          shape,
          finished.then((list) => list[i]!),
          about,
        ),
      )
      return
    }
    this.#exchange.done(seq)
    results.forEach((value, i) => {
      this.store(out[i]!, shapes[i]!, value, about).rounds = before()
    })
  }

  /** What a command can do at this party; and, when it is done, how many rounds it took. */
  #context(
    seq: number,
    op: string,
    index: number,
    correlations: readonly Correlation[],
    draws: Draws,
  ): { context: PartyContext; spent: Spent } {
    const claimed = this.#claim(index, correlations)
    return contextOf(this.options, seq, {
      take: () => claimed.shift()!(),
      open: (step, contributions) => this.#open(seq, step, op, contributions),
      swap: (step, outgoing, incoming) => this.#swap(seq, step, op, outgoing, incoming),
      ...draws,
    })
  }

  /** Takes indices, each for one use, in the order of the commands. */
  #claim(index: number, correlations: readonly Correlation[]): (() => Promise<readonly (Words | Planes)[]>)[] {
    if (correlations.length === 0) return []
    const { provider } = this.options
    if (provider === null) {
      throw sottoError('ERR_PROVIDER', 'this needs randomness from a provider; share with { provider: worker }')
    }
    correlations.forEach((_, i) => {
      this.#claimed.use(index + i)
    })
    const prg = this.#common.get(provider)!
    return correlations.map((correlation, i) => {
      const at = index + i
      const correction = this.isLast ? this.#correctionOf(at) : null
      return async () => {
        const common = await this.#within(provider, prg)
        const data = correction === null ? null : await this.#within(provider, correction)
        if (data !== null) this.#usedUp(at, correlation, data)
        return expand(correlation, common.stream(at), data, this.options.ring)
      }
    })
  }

  /** What a member hands over, or an error when it does not in time. */
  async #within<T>(from: string, awaited: Awaited<T>): Promise<T> {
    if (awaited.isThere) return awaited.promise
    const { peerTimeout } = this.session.host.limits
    const late = sottoError('ERR_TIMEOUT', `nothing came from ${from} within ${peerTimeout} ms`, { from })
    const timer = setTimeout(() => this.end(late), peerTimeout)
    try {
      return await awaited.promise
    } finally {
      clearTimeout(timer)
    }
  }

  /** What was dealt for a command that never began is dropped, now or when it comes. */
  drop({ seq, index, dealt }: { seq: number; index: number; dealt: number }): void {
    this.#exchange.done(seq)
    for (let at = index; at < index + dealt; at++) {
      if (this.#claimed.has(at)) continue
      this.#claimed.use(at)
      if (!this.isLast) continue
      const known = this.#corrections.get(at)
      this.#corrections.delete(at)
      if (known?.isThere) known.promise.then((data) => this.#credit(at, data))
      else this.#dropped.add(at)
    }
  }

  #credit(index: number, data: Uint8Array): void {
    this.#send(this.options.provider!, [{ kind: 'credit', index, bytes: data.length }])
  }

  #usedUp(index: number, correlation: Correlation, data: Uint8Array): void {
    this.#corrections.delete(index)
    if (data.length !== correctionBytes(correlation, this.options.ring)) {
      throw sottoError('ERR_OUT_OF_STEP', `${this.options.provider} dealt ${data.length} bytes for ${correlation.kind}`)
    }
    this.#credit(index, data)
  }

  async #open(
    seq: number,
    step: number,
    op: string,
    contributions: readonly Contribution[],
  ): Promise<readonly (Words | Planes)[]> {
    const bytes = contributions.map((one) => ('words' in one ? bytesOf(one.words) : one.planes))
    const mine = bytes.length === 1 ? bytes[0]! : concatenated(bytes)
    const theirs = await this.#exchange.open(seq, step, op, mine)
    const kernels = ring(this.options.ring)
    let at = 0
    return contributions.map((one, i) => {
      const { length } = bytes[i]!
      const parts = theirs.map((data) => data.subarray(at, at + length))
      at += length
      return 'words' in one
        ? parts.reduce((sum, part) => kernels.add(sum, wordsOf(part)), one.words)
        : parts.reduce((sum, part) => kernels.xor(sum, part), one.planes)
    })
  }

  async #swap(
    seq: number,
    step: number,
    op: string,
    outgoing: readonly Outgoing[],
    incoming: readonly Incoming[],
  ): Promise<readonly Uint8Array[]> {
    const { parties } = this.options
    const theirs = await this.#exchange.swap(
      { seq, step, op },
      new Map(outgoing.map(({ to, data }) => [parties[to]!, data])),
      new Map(incoming.map(({ from, bytes }) => [parties[from]!, bytes])),
    )
    return incoming.map(({ from }) => theirs.get(parties[from]!)!)
  }

  /**
   * The streams of a command. Every command takes its own, whether it draws from them or not: indices used without gaps
   * take no room. Of words that add up to zero, each pair draws from a seed of its own, one adds and one subtracts.
   */
  #draws(seq: number): Draws {
    const { parties, index, ring: bits } = this.options
    const streams = parties.map((name, i) => {
      if (i === index) return null
      const stream = this.#common.get(name)!.promise.then((prg) => prg.stream(seq))
      stream.catch(() => {})
      return stream
    })
    const common = async (party: number): Promise<PrgStream> => {
      const name = parties[party]!
      await this.#within(name, this.#common.get(name)!)
      return streams[party]!
    }
    const zeros = async (length: number): Promise<Words> => {
      let sum: Words = new BigUint64Array(length)
      for (let party = 0; party < parties.length; party++) {
        if (party === index) continue
        const drawn = (await common(party)).words(length)
        sum = party > index ? ring(bits).add(sum, drawn) : ring(bits).sub(sum, drawn)
      }
      return sum
    }
    return { common, zeros }
  }

  /** A share that nothing but the sum of all says anything about, as bytes; and the rounds it took. */
  async outward({ zeros }: Draws, share: StoredShare): Promise<{ data: Uint8Array; rounds: number }> {
    // The first component of all parties together are all components.
    const data = await holding([share], async () => {
      const [{ data }] = (await share.value) as [Share[number]]
      return ring(this.options.ring).add(data, await zeros(data.length))
    })
    return { data: bytesOf(data), rounds: share.rounds }
  }

  // The end.

  /** The link to a member: the one of the time when the group was made, whoever is introduced under its name later. */
  #linkTo(name: string): Session {
    const link = this.#linksTo.get(name) ?? this.session.linkTo(name)
    this.#linksTo.set(name, link)
    return link
  }

  #send(name: string, parts: readonly Part[]): void {
    sendParts(this.#linkTo(name), this.group, parts)
  }

  #lost(name: string): void {
    this.end(
      sottoError('ERR_PARTY_LOST', `${name} has left the secret computation; its secrets are gone`, { party: name }),
    )
  }

  /** Gives all secrets of the group up, and says why to the others unless they said so. */
  end(reason: unknown, tell = true): void {
    if (this.#failure) return
    // Not the failure of the command that happens to be carried out.
    const error: ErrorWire = reason instanceof Poison ? reason.error : this.session.wireOf(reason, this.group)
    this.session.hear(error, [...this.#linksTo.values()])
    this.#failure = new Poison({ error, access: PUBLIC })
    this.#exchange.fail(this.#failure)
    for (const forget of this.#links.splice(0)) forget()
    for (const map of [this.#common, this.#corrections] as Map<unknown, Awaited<unknown>>[]) {
      for (const awaited of map.values()) awaited.reject(this.#failure)
    }
    this.#corrections.clear()
    const { store } = this.session.host
    for (const [id, stored] of [...store.entries()]) {
      if (!(stored instanceof StoredShare) || stored.party !== this) continue
      store.free(id)
      store.add(id, { kind: 'failed', error, access: PUBLIC, owner: this.session.name, session: this.session })
    }
    if (!tell) return
    const { parties, index, provider } = this.options
    const others = parties.filter((_, i) => i !== index)
    for (const name of provider === null ? others : [...others, provider]) {
      try {
        this.#send(name, [{ kind: 'end', error }])
      } catch (failed) {
        // Whoever cannot be told is gone, and knows.
        if (!isSottoError(failed)) throw failed
      }
    }
  }
}
