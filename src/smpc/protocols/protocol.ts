/**
 * The seam between what is computed in secret and how: a protocol says which randomness a command takes, and what each
 * party does. Additive sharing is one implementation; the caller, the party's bookkeeping and every composed function are
 * the same for all.
 */
import type { Shape } from '../../tensor/shape.ts'
import type { Correlation } from '../correlations.ts'
import type { Planes, Words } from '../ring/kernels.ts'
import type { RingTensor } from '../ring/tensor.ts'
import type { RingOp } from '../ring-ops.ts'

/** An operand of a command, for one party: its share, or a value that everybody knows. */
export type PartyOperand = { readonly share: RingTensor } | { readonly known: RingTensor }

/** What a command is, without its values. */
export interface CommandShape {
  readonly op: RingOp
  readonly operands: readonly { readonly shape: Shape; readonly isSecret: boolean }[]
  readonly attrs: readonly unknown[]
  readonly divisor: number | null
}

/** What a command costs. */
export interface Cost {
  /** Openings that wait for one another. */
  readonly rounds: number
  /** Bytes that each party sends to each other party. */
  readonly bytes: number
  /** Bytes that the provider sends, to one party. */
  readonly provider: number
}

/** What parties open together: words add up, planes of bits exclusively or. */
export type Contribution = { readonly words: Words } | { readonly planes: Planes }

/** What a party can do in the course of one command. */
export interface PartyContext {
  /** Position among the parties, from 0. The first adds what is public. */
  readonly index: number
  /** This party's shares of the next correlation of the command. */
  take(): Promise<readonly (Words | Planes)[]>
  /** Opens values to all parties, in one round; gives them in the order given. */
  open(...contributions: readonly Contribution[]): Promise<readonly (Words | Planes)[]>
  /** Words that add up to zero over all parties, and are uniform to any but all of them. */
  zeros(length: number): Promise<Words>
}

export interface Protocol {
  readonly name: string
  /** The randomness that a command takes from the provider, in the order in which a party takes it. */
  correlations(command: CommandShape): readonly Correlation[]
  cost(command: CommandShape): Cost
  /** What one party does. At once if nothing is to be waited for. */
  run(
    context: PartyContext,
    op: RingOp,
    operands: readonly PartyOperand[],
    attrs: readonly unknown[],
    divisor: number | null,
  ): readonly RingTensor[] | Promise<readonly RingTensor[]>
}
