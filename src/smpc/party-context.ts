/** The numbers of steps: what a party does in the course of a command, one step after another or side by side. */
import type { Contribution, Incoming, Outgoing, PartyContext } from './protocols/protocol.ts'
import type { Planes, Words } from './ring/kernels.ts'

/** Steps that waited for one another so far. */
export interface Spent {
  rounds: number
}

/** What a command of a party stands on: its peers, by numbered steps, and its randomness. */
export interface Links extends Pick<PartyContext, 'take' | 'common' | 'zeros'> {
  open(step: number, contributions: readonly Contribution[]): Promise<readonly (Words | Planes)[]>
  swap(step: number, outgoing: readonly Outgoing[], incoming: readonly Incoming[]): Promise<readonly Uint8Array[]>
}

/** What a command can do at a party; and, as it goes on, how many rounds it took. */
export function contextOf(
  { index, ring }: Pick<PartyContext, 'index' | 'ring'>,
  seq: number,
  links: Links,
): { context: PartyContext; spent: Spent } {
  const { take, common, zeros } = links
  /** Of things that go on side by side, each has steps of its own: every second, every fourth… */
  const from = (firstStep: number, stride: number, spent: Spent): PartyContext => {
    let step = firstStep
    const next = (): number => {
      spent.rounds++
      step += stride
      return step - stride
    }
    return {
      index,
      ring,
      seq,
      take,
      common,
      zeros,
      open: async (...contributions) => links.open(next(), contributions),
      swap: async (outgoing, incoming) => links.swap(next(), outgoing, incoming),
      async beside(first, second) {
        const [one, two] = [{ rounds: 0 }, { rounds: 0 }]
        const results = await Promise.all([
          first(from(step, 2 * stride, one)),
          second(from(step + stride, 2 * stride, two)),
        ])
        const rounds = Math.max(one.rounds, two.rounds)
        step += 2 * stride * rounds
        spent.rounds += rounds
        return results
      },
    }
  }
  const spent = { rounds: 0 }
  return { context: from(0, 1, spent), spent }
}
