/**
 * Replicated sharing among three parties without a provider: x = x_0 + x_1 + x_2 mod 2^l, l = 64 or 128, and party i holds
 * x_i and x_{i+1}.
 *
 * Semi-honest with an honest majority: holds while no two of the three pool what they hold. Pairs of parties have a seed
 * in common that the third does not know; what a party receives is masked by what it cannot draw, so that it is uniform
 * whatever the secrets are, and sizes and numbers of messages depend on shapes alone.
 */
import { type Shape, sizeOf } from '../../tensor/shape.ts'
import { recycle } from '../../worker/memory-pool.ts'
import { lookupOf, shaped } from '../lookups.ts'
import { type Words, wordsPerElement } from '../ring/kernels.ts'
import { add, type RingTensor, ringTensor, ringZeros } from '../ring/tensor.ts'
import { type RingOp, ringRow } from '../ring-ops.ts'
import type { CommandShape, Cost, PartyContext, PartyOperand, Protocol, Share } from './protocol.ts'
import { bitsOf, costOfLookup } from './replicated/bits.ts'
import * as products from './replicated/products.ts'
import { type Pair, Seat } from './replicated/seat.ts'
import { type Dividend, truncated, truncationBytes } from './replicated/truncation.ts'

const PARTIES = 3
const held = (index: number): readonly number[] => [index, (index + 1) % PARTIES]

const isSecret = (operand: PartyOperand): operand is { readonly share: Share } => 'share' in operand

/** A public value as a share: it is component 0, and the others are zero. */
function shareOf({ index }: PartyContext, operand: PartyOperand): Share {
  if (isSecret(operand)) return operand.share
  const { known } = operand
  return held(index).map((component) => (component === 0 ? known : ringZeros(known.ring, known.shape)))
}

const toShare = ({ ring }: Seat, shape: Shape, [mine, next]: Pair<Words>): Share => [
  ringTensor(ring, shape, mine),
  ringTensor(ring, shape, next),
]
const wordsOfShare = ([mine, next]: Share): Pair<Words> => [mine!.data, next!.data]

/** What a linear or half-public row makes of each component. */
function local(op: RingOp, operands: readonly Share[], attrs: readonly unknown[]): Share[] {
  const parts = [0, 1].map((i) =>
    ringRow(op).clear(
      operands.map((share) => share[i]!),
      attrs,
    ),
  )
  return parts[0]!.map((_, i) => parts.map((list) => list[i]!))
}

/** A result that the parties still have as summands, or as components. */
type Undivided = { readonly shape: Shape } & Dividend

const divided = async (seat: Seat, of: Undivided, divisor: number): Promise<Share> =>
  toShare(seat, of.shape, await truncated(seat, of, divisor))

async function reshared(seat: Seat, { shape, data }: RingTensor): Promise<Share> {
  return toShare(seat, shape, await seat.reshare(data))
}

/** The bilinear rows of two secrets, and the square. */
function summand(
  seat: Seat,
  op: RingOp,
  operands: readonly PartyOperand[],
  attrs: readonly unknown[],
  isMasked: boolean,
): RingTensor | null {
  const [x, y] = operands
  if (op === 'square') {
    const { share } = x as { readonly share: Share }
    return products.summandOf(seat, ringRow('mul'), 'mul', share, share, [], isMasked)
  }
  if (ringRow(op).kind !== 'bilinear' || !isSecret(x!) || !isSecret(y!)) return null
  return products.summandOf(seat, ringRow(op), op, x.share, y.share, attrs, isMasked)
}

const isProduct = ({ op, operands }: Pick<CommandShape, 'op' | 'operands'>): boolean =>
  op === 'square' || (ringRow(op).kind === 'bilinear' && operands.every((operand) => operand.isSecret))

/** Of rows that take no product of secrets, what each party does by itself; null for the others. */
function alone(
  context: PartyContext,
  op: RingOp,
  operands: readonly PartyOperand[],
  attrs: readonly unknown[],
): readonly Share[] | null {
  const { kind } = ringRow(op)
  if (op === 'refresh') return null
  if (kind === 'linear')
    return local(
      op,
      operands.map((operand) => shareOf(context, operand)),
      attrs,
    )
  if (kind !== 'bilinear' || operands.every(isSecret)) return null
  // Both components times the same public factor.
  return local(
    op,
    operands.map((operand) => (isSecret(operand) ? operand.share : [operand.known, operand.known])),
    attrs,
  )
}

async function together(
  context: PartyContext,
  op: RingOp,
  operands: readonly PartyOperand[],
  attrs: readonly unknown[],
  divisor: number | null,
): Promise<readonly Share[]> {
  const seat = await Seat.of(context)
  // A division masks what it hands over itself.
  const mine = summand(seat, op, operands, attrs, divisor === null)
  if (mine !== null) {
    if (divisor === null) return [await reshared(seat, mine)]
    const result = await divided(seat, { shape: mine.shape, summand: mine.data }, divisor)
    recycle(mine.data)
    return [result]
  }
  const [x, ...others] = operands.map((operand) => shareOf(context, operand)) as [Share, ...Share[]]
  const { shape } = x[0]!
  switch (op) {
    case 'refresh':
      return [await reshared(seat, add(x[0]!, ringTensor(seat.ring, shape, seat.zeros(sizeOf(shape)))))]
    case 'negative':
    case 'zero':
    case 'lowBits': {
      const lookup = lookupOf(op, seat.ring, attrs)
      const results = await bitsOf(seat, x, lookup, others)
      return results.map((pair) => pair.map((data) => shaped(lookup, shape, { ring: seat.ring, data })))
    }
    default:
      throw new Error(`the protocol has no step for ${op}`)
  }
}

/** Rounds, and bytes that all parties send together, before a division. */
function costBefore({ ring, op, operands, attrs }: CommandShape): { readonly rounds: number; readonly bytes: number } {
  const size = sizeOf(operands[0]!.shape)
  switch (op) {
    case 'refresh':
      return { rounds: 1, bytes: (ring / 8) * PARTIES * size }
    case 'negative':
    case 'zero':
    case 'lowBits':
      return costOfLookup(lookupOf(op, ring, attrs), ring, size, operands.length - 1)
    default:
      return { rounds: 0, bytes: 0 }
  }
}

export const replicated: Protocol = {
  name: 'replicated',
  parties: [PARTIES, PARTIES],
  takesProvider: false,
  held,
  correlations: () => [],

  cost(command): Cost {
    const { ring, op, operands, attrs, divisor } = command
    const [shape] = ringRow(op).shapes(
      operands.map((operand) => operand.shape),
      attrs,
    )
    const size = sizeOf(shape!)
    const before = costBefore(command)
    const isFused = isProduct(command)
    const cost = (rounds: number, bytes: number): Cost => ({ rounds, bytes: bytes / PARTIES, provider: 0 })
    if (divisor === null) {
      return isFused ? cost(1, (ring / 8) * PARTIES * size) : cost(before.rounds, before.bytes)
    }
    return cost(before.rounds + 2, before.bytes + truncationBytes(ring, divisor, size, isFused))
  },

  random(context, shape) {
    const n = wordsPerElement(context.ring) * sizeOf(shape)
    return Promise.all(
      [(context.index + 2) % PARTIES, (context.index + 1) % PARTIES].map(async (other) =>
        ringTensor(context.ring, shape, (await context.common(other)).words(n)),
      ),
    )
  },

  run(context, op, operands, attrs, divisor) {
    const results = alone(context, op, operands, attrs)
    if (results === null) return together(context, op, operands, attrs, divisor)
    if (divisor === null) return results
    const [result] = results as [Share]
    return (async () => {
      const dividend = { shape: result[0]!.shape, components: wordsOfShare(result) }
      return [await divided(await Seat.of(context), dividend, divisor)]
    })()
  },
}
