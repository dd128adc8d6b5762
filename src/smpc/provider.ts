/**
 * The provider of a group: deals correlated randomness, and holds no share.
 *
 * Every party has a seed in common with it; what cannot be drawn from seeds goes to the last party, so far ahead of its use
 * as the window allows and no further: the last party says how much it has used up.
 */
import { isSottoError, sottoError } from '../errors.ts'
import type { HostSession } from '../worker/host-session.ts'
import type { ErrorWire } from '../worker/protocol.ts'
import type { Session } from '../worker/session.ts'
import { Poison } from '../worker/store.ts'
import { type Correlation, correctionBytes, deal } from './correlations.ts'
import { type Member, sendParts } from './members.ts'
import type { Part, ProviderStats } from './messages.ts'
import { Prg, randomSeed } from './prg.ts'
import type { RingBits } from './ring/kernels.ts'
import { UsedIndices } from './used-indices.ts'

/** Bytes of corrections that may be under way or unused: those of 3 million products. */
export const WINDOW = 64 * 2 ** 20

export interface ProviderOptions {
  readonly group: string
  readonly parties: readonly string[]
  readonly ring: RingBits
}

interface Order {
  readonly index: number
  readonly correlation: Correlation
}

/** What was asked for and not dealt yet, oldest first, and how much of what was dealt is unused. */
interface Queue {
  orders: Order[]
  unused: number
}

export class Provider implements Member {
  readonly session: HostSession
  readonly options: ProviderOptions
  readonly #seeds: readonly Prg[]
  /** For commands under way: in the order in which they take it, so that a full window empties. */
  readonly #now: Queue = { orders: [], unused: 0 }
  /** Ahead of any command, with a window of its own: nothing under way waits for what nobody uses. */
  readonly #ahead: Queue = { orders: [], unused: 0 }
  /** Indices that were asked for ahead, and no command has taken. */
  readonly #aheadOpen = new Set<number>()
  /** Of what was dealt and not used up: to which window it counts. */
  readonly #sent = new Map<number, Queue>()
  readonly #asked = new UsedIndices()
  #failure: Poison | null = null
  readonly #linksTo = new Map<string, Session>()
  /** Ends the watch over a link, one for each. */
  readonly #links: (() => void)[] = []
  #dealt = 0
  #bytesSent = 0

  constructor(session: HostSession, options: ProviderOptions) {
    this.session = session
    this.options = options
    const { parties } = options
    const seeds = parties.map(randomSeed)
    this.#seeds = seeds.map((seed) => new Prg(seed))
    parties.forEach((name, i) => {
      this.#send(name, [{ kind: 'seed', data: seeds[i]! }])
      const lost = () =>
        this.end(sottoError('ERR_PARTY_LOST', `${name} has left the secret computation`, { party: name }))
      this.#links.push(this.#linkTo(name).onClose(lost))
    })
  }

  get group(): string {
    return this.options.group
  }
  get isOver(): boolean {
    return this.#failure !== null
  }

  stats(): ProviderStats {
    const [now, ahead] = [this.#now, this.#ahead]
    return {
      dealt: this.#dealt,
      bytesSent: this.#bytesSent,
      bytesUnused: now.unused + ahead.unused,
      waiting: now.orders.length + ahead.orders.length,
    }
  }

  /**
   * Deals correlations from an index on; what was asked for ahead may be asked for once more, by the command that takes it.
   *
   * @throws StateError `ERR_USED_TWICE` for an index that was asked for before: the same masks on two values would show
   *   their difference
   */
  deal(index: number, correlations: readonly Correlation[], ahead: boolean): void {
    if (this.#failure) throw this.#failure
    const waiting = this.#now.orders.length + this.#ahead.orders.length + correlations.length
    if (waiting > this.session.host.limits.objects) {
      throw sottoError('ERR_LIMIT', `${waiting} correlations would wait to be dealt; no more fit`)
    }
    for (const [i, correlation] of correlations.entries()) {
      const order = { index: index + i, correlation }
      if (!ahead && this.#aheadOpen.delete(order.index)) {
        this.#hasten(order.index)
        continue
      }
      this.#asked.use(order.index)
      if (ahead) this.#aheadOpen.add(order.index)
      const { orders } = ahead ? this.#ahead : this.#now
      orders.push(order)
    }
    this.#fill()
  }

  /** A command takes what was asked for ahead: if it was not dealt yet, it is dealt in the command's turn. */
  #hasten(index: number): void {
    const at = this.#ahead.orders.findIndex((order) => order.index === index)
    if (at >= 0) this.#now.orders.push(...this.#ahead.orders.splice(at, 1))
  }

  take(from: string, part: Part): void {
    if (this.isOver) return
    if (!this.options.parties.includes(from)) throw sottoError('ERR_PERMISSION', `${from} has no part in this`)
    if (part.kind === 'credit' && from === this.options.parties.at(-1)) {
      const queue = this.#sent.get(part.index)
      if (queue === undefined) return this.end(sottoError('ERR_USED_TWICE', `${from} used index ${part.index} twice`))
      this.#sent.delete(part.index)
      queue.unused -= part.bytes
      this.#fill()
    } else if (part.kind === 'end') this.end(new Poison({ error: part.error, access: [] }), false)
    else throw sottoError('ERR_PERMISSION', `${from} has no such part in this`)
  }

  /** Deals what the windows have room for; at least one thing each, however large. */
  #fill(): void {
    for (const queue of [this.#now, this.#ahead]) {
      let dealt = 0
      for (const { index, correlation } of queue.orders) {
        const bytes = correctionBytes(correlation, this.options.ring)
        if (queue.unused > 0 && queue.unused + bytes > WINDOW) break
        dealt++
        queue.unused += bytes
        this.#sent.set(index, queue)
        this.#dealt++
        this.#bytesSent += bytes
        const data = deal(
          correlation,
          this.#seeds.map((prg) => prg.stream(index)),
          this.options.ring,
        )
        this.#send(this.options.parties.at(-1)!, [{ kind: 'dealt', index, of: correlation.kind, data }])
      }
      if (dealt > 0) queue.orders = queue.orders.slice(dealt)
    }
  }

  /** The link to a member: the one of the time when the group was made, whoever is introduced under its name later. */
  #linkTo(name: string): Session {
    const link = this.#linksTo.get(name) ?? this.session.linkTo(name)
    this.#linksTo.set(name, link)
    return link
  }

  #send(name: string, parts: readonly Part[]): void {
    sendParts(this.#linkTo(name), this.group, parts)
  }

  end(reason: unknown, tell = true): void {
    if (this.#failure) return
    const error: ErrorWire = reason instanceof Poison ? reason.error : this.session.wireOf(reason, this.group)
    this.#failure = new Poison({ error, access: [] })
    this.session.hear(error, [...this.#linksTo.values()])
    for (const forget of this.#links.splice(0)) forget()
    for (const queue of [this.#now, this.#ahead]) queue.orders = []
    this.#sent.clear()
    if (!tell) return
    for (const name of this.options.parties) {
      try {
        this.#send(name, [{ kind: 'end', error }])
      } catch (failed) {
        if (!isSottoError(failed)) throw failed
      }
    }
  }
}
