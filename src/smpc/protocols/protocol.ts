/**
 * The seam between what is computed in secret and how: a protocol says which randomness a command takes, and what each
 * party does. Additive sharing is one implementation; the caller, the party's bookkeeping and every composed function are
 * the same for all.
 */
import type { Shape } from '../../tensor/shape.ts'
import type { Correlation } from '../correlations.ts'
import type { PrgStream } from '../prg.ts'
import type { Planes, RingBits, Words } from '../ring/kernels.ts'
import type { RingTensor } from '../ring/tensor.ts'
import type { RingOp } from '../ring-ops.ts'

/** What one party holds of a secret: the components that its protocol gives it, in order. */
export type Share = readonly RingTensor[]

/** An operand of a command, for one party: its share, or a value that everybody knows. */
export type PartyOperand = { readonly share: Share } | { readonly known: RingTensor }

/** What a command is, without its values. */
export interface CommandShape {
  /** Bits of the elements. */
  readonly ring: RingBits
  readonly op: RingOp
  readonly operands: readonly { readonly shape: Shape; readonly isSecret: boolean }[]
  readonly attrs: readonly unknown[]
  readonly divisor: number | null
}

/** What a command costs. */
export interface Cost {
  /** Steps that wait for one another, in each of which parties send. */
  readonly rounds: number
  /** Bytes that a party sends: of additive sharing, to each of the others; of replicated, in all, on average. */
  readonly bytes: number
  /** Bytes that the provider sends, to one party. */
  readonly provider: number
}

/** What parties open together: words add up, planes of bits exclusively or. */
export type Contribution = { readonly words: Words } | { readonly planes: Planes }

/** Something for another party, by its position. */
export interface Outgoing {
  readonly to: number
  readonly data: Uint8Array
}
/** Something that is to come from another party, by its position. */
export interface Incoming {
  readonly from: number
  readonly bytes: number
}

/** What a party can do in the course of one command. */
export interface PartyContext {
  /** Position among the parties, from 0. The first adds what is public. */
  readonly index: number
  /** Bits of the elements of the command. */
  readonly ring: RingBits
  /** The number of the command. */
  readonly seq: number
  /** This party's shares of the next correlation of the command. */
  take(): Promise<readonly (Words | Planes)[]>
  /** Opens values to all parties, in one round; gives them in the order given. */
  open(...contributions: readonly Contribution[]): Promise<readonly (Words | Planes)[]>
  /** Hands something to some and waits for what comes from others, in one round; gives it in the order given. */
  swap(outgoing: readonly Outgoing[], incoming: readonly Incoming[]): Promise<readonly Uint8Array[]>
  /** The stream of this command that is in common with another party, by its position. */
  common(party: number): Promise<PrgStream>
  /** Two things that go on side by side. Neither may draw from the streams of the command meanwhile. */
  beside<A, B>(
    first: (context: PartyContext) => Promise<A>,
    second: (context: PartyContext) => Promise<B>,
  ): Promise<[A, B]>
  /** Words that add up to zero over all parties, and are uniform to any but all of them. */
  zeros(length: number): Promise<Words>
}

export interface Protocol {
  readonly name: string
  /** Fewest and most parties. */
  readonly parties: readonly [least: number, most: number]
  /** Whether a provider can deal. */
  readonly takesProvider: boolean
  /** Of the components that a secret is the sum of, as many as there are parties, those that a party holds. */
  held(index: number, parties: number): readonly number[]
  /** The randomness that a command takes from the provider, in the order in which a party takes it. */
  correlations(command: CommandShape): readonly Correlation[]
  cost(command: CommandShape): Cost
  /** A share of a secret that is uniform, and nobody knows. */
  random(context: PartyContext, shape: Shape): Share | Promise<Share>
  /** What one party does. At once if nothing is to be waited for. */
  run(
    context: PartyContext,
    op: RingOp,
    operands: readonly PartyOperand[],
    attrs: readonly unknown[],
    divisor: number | null,
  ): readonly Share[] | Promise<readonly Share[]>
}
