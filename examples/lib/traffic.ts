/** What goes over the links between workers and whoever commands them, and what it is. */
import type { Worker } from 'sotto'
import { printTable } from './options.ts'

/** What one has sent to another. */
interface Sent {
  readonly from: string
  readonly to: string
  readonly frames: number
  readonly bytes: number
}

/** What workers have sent, and what callers have sent them; what two workers count is counted once, by the sender. */
async function sentBy(workers: readonly Worker[]): Promise<Map<string, Sent>> {
  const sums = new Map<string, Sent>()
  const add = (from: string, to: string, frames: number, bytes: number) => {
    const link = `${from} → ${to}`
    const known = sums.get(link)
    sums.set(link, { from, to, frames: frames + (known?.frames ?? 0), bytes: bytes + (known?.bytes ?? 0) })
  }
  for (const worker of workers) {
    const { links } = await worker.stats()
    for (const { role, name, framesIn, bytesIn, framesOut, bytesOut } of links) {
      add(worker.id, name, framesOut, bytesOut)
      if (role === 'caller') add(name, worker.id, framesIn, bytesIn)
    }
  }
  return sums
}

/** Prints what went over the links of workers. */
export async function printTraffic(workers: readonly Worker[]): Promise<void> {
  const ids = new Set(workers.map(({ id }) => id))
  const rows = [...(await sentBy(workers))].filter(([, { from }]) => ids.has(from))
  printTable(
    'What the workers sent (frames to a caller are answers and acknowledgements)',
    ['link', 'frames', 'bytes'],
    rows.map(([link, { frames, bytes }]) => [link, frames, bytes]),
  )
}

/** The use of a link, in both directions. */
export interface LinkUse {
  /** Two workers; or a worker, and a caller of it. */
  readonly ends: readonly [string, string]
  /** Frames of the protocol, acknowledgements too. */
  readonly messages: number
  readonly bytes: number
  /** Bytes of the activations, gradients and weights among them, as the ledgers of the two have them. */
  readonly values: number
  /** Activations that went one way, and whose gradient came back. */
  readonly roundTrips: number
}

const added = (a: LinkUse, b: LinkUse, sign: 1 | -1): LinkUse => ({
  ends: a.ends,
  messages: a.messages + sign * b.messages,
  bytes: a.bytes + sign * b.bytes,
  values: a.values + sign * b.values,
  roundTrips: a.roundTrips + sign * b.roundTrips,
})

/** Counts what goes over links between {@link start} and {@link stop}, again and again. */
export class LinkMeter {
  readonly #workers: readonly Worker[]
  #uses: ReadonlyMap<string, LinkUse> = new Map()
  #before: ReadonlyMap<string, LinkUse> = new Map()

  /** @param workers all that send each other something */
  constructor(workers: readonly Worker[]) {
    this.#workers = workers
  }

  async start(): Promise<void> {
    this.#before = await this.#read()
  }

  /** To be called once after each start, when all that is to be counted has been done. */
  async stop(): Promise<void> {
    const all = new Map(this.#uses)
    for (const [link, now] of await this.#read()) {
      const use = added(now, this.#before.get(link) ?? noUse(now.ends), -1)
      all.set(link, added(use, all.get(link) ?? noUse(now.ends), 1))
    }
    this.#uses = all
  }

  /** Links that were used: those between workers first. */
  get uses(): LinkUse[] {
    const ids = this.#workers.map(({ id }) => id)
    const used = [...this.#uses.values()].filter(({ messages }) => messages > 0)
    const isOutside = ({ ends }: LinkUse) => Number(ends.some((end) => !ids.includes(end)))
    return used.sort((a, b) => isOutside(a) - isOutside(b))
  }

  /** All that has ever gone over each link. */
  async #read(): Promise<Map<string, LinkUse>> {
    const uses = new Map<string, LinkUse>()
    const add = (from: string, to: string, use: Partial<LinkUse>) => {
      const ends = [from, to].sort() as [string, string]
      uses.set(ends.join(), added(uses.get(ends.join()) ?? noUse(ends), { ...noUse(ends), ...use }, 1))
    }
    for (const { from, to, frames, bytes } of (await sentBy(this.#workers)).values()) {
      add(from, to, { messages: frames, bytes })
    }
    for (const worker of this.#workers) {
      for (const { event, operation, from, to, count, bytes } of await worker.ledger()) {
        // What came to a worker stands in the ledger of the one that it left.
        if (event !== 'left' || !this.#workers.some(({ id }) => id === to)) continue
        add(from, to, { values: bytes, roundTrips: operation === 'gradient' ? count : 0 })
      }
    }
    return uses
  }
}

const noUse = (ends: LinkUse['ends']): LinkUse => ({ ends, messages: 0, bytes: 0, values: 0, roundTrips: 0 })
