/**
 * Additive sharing among n ≥ 2 parties with a provider: x = x_0 + … + x_{n−1} mod 2^l, l = 64 or 128.
 *
 * Semi-honest; holds while one party keeps its share to itself and the provider colludes with none. What parties open is
 * masked by fresh uniform values, so sizes and numbers of messages depend on shapes alone, and what a party receives is
 * uniform whatever the secrets are.
 */
import { sizeOf } from '../../tensor/shape.ts'
import { circuitOf, type Layer, strideOf } from '../circuits.ts'
import { type Correlation, correctionBytes, flipped, plane, planesOf } from '../correlations.ts'
import { type Lookup, layersOf, lookupOf, shaped } from '../lookups.ts'
import { Prg, randomSeed } from '../prg.ts'
import { ring } from '../ring/choose.ts'
import { type Planes, type RingBits, type Words, wordsPerElement } from '../ring/kernels.ts'
import * as rt from '../ring/tensor.ts'
import { type RingTensor, ringTensor } from '../ring/tensor.ts'
import { type RingRow, ringRow } from '../ring-ops.ts'
import type { CommandShape, Contribution, Cost, PartyContext, PartyOperand, Protocol, Share } from './protocol.ts'

/** What is added to make numbers positive that are divided: 2^(l−2). */
const half = (bits: RingBits): bigint => 1n << BigInt(bits - 2)

const isSecret = (operand: PartyOperand): operand is { readonly share: Share } => 'share' in operand
const tensorOf = (operand: PartyOperand): RingTensor => (isSecret(operand) ? operand.share[0]! : operand.known)

/** A public value as a share: the first party holds it, the others hold zero. */
const shareOf = ({ index }: PartyContext, operand: PartyOperand): RingTensor =>
  isSecret(operand) || index === 0 ? tensorOf(operand) : rt.ringZeros(tensorOf(operand).ring, tensorOf(operand).shape)

/** One opening, of contributions that are all words. */
async function openWords(context: PartyContext, ...list: readonly Words[]): Promise<readonly Words[]> {
  return (await context.open(...list.map((words) => ({ words })))) as readonly Words[]
}

/**
 * z = f(x, y) for a bilinear f, from a triple c = f(a, b): opens d = x−a and e = y−b, and
 * z = c + f(d, b) + f(a, e) + f(d, e), the last term at one party (Beaver, CRYPTO '91).
 * One round; 8 bytes for each element of x and of y (16 of 128 bits, as below wherever 8 stand for an element).
 */
async function product(
  context: PartyContext,
  row: RingRow,
  op: string,
  x: RingTensor,
  y: RingTensor,
  attrs: readonly unknown[],
): Promise<RingTensor> {
  const kernels = ring(context.ring)
  const [a, b, c] = (await context.take()) as Words[]
  const [d, e] = await openWords(context, kernels.sub(x.data, a!), kernels.sub(y.data, b!))
  const addsPublic = context.index === 0
  const [shape] = row.shapes([x.shape, y.shape], attrs)
  if (op === 'mul' && x.data.length === c!.length && y.data.length === c!.length) {
    return { ring: context.ring, shape: shape!, data: kernels.beaver(c!, a!, b!, d!, e!, addsPublic) }
  }
  const at = (like: RingTensor, data: Words): RingTensor => ({ ...like, data })
  // f(d, b) + f(d, e) is f(d, b + e).
  const right = addsPublic ? kernels.add(b!, e!) : b!
  const [left] = row.clear([at(x, d!), at(y, right)], attrs)
  const [rest] = row.clear([at(x, a!), at(y, e!)], attrs)
  return { ring: context.ring, shape: shape!, data: kernels.add(c!, kernels.add(left!.data, rest!.data)) }
}

/** x² = c + 2·a·d + d² from c = a², d = x−a opened. One round, 8 bytes an element. */
async function square(context: PartyContext, x: RingTensor): Promise<RingTensor> {
  const kernels = ring(context.ring)
  const [a, c] = (await context.take()) as Words[]
  const [d] = await openWords(context, kernels.sub(x.data, a!))
  return { ...x, data: kernels.beaver(c!, a!, a!, d!, d!, context.index === 0) }
}

/**
 * x / divisor for −2^(l−2) ≤ x < 2^(l−2), its floor or one more, or within 1.5 units unless the divisor is a power of two:
 * opens c = x + 2^(l−2) + r; see `RingKernels.truncate` (ePrint 2020/338 §5.1). One round, 8 bytes an element. The error of a power
 * of two is 1 with the probability of the part cut off, so that the mean is right.
 */
async function truncate(context: PartyContext, x: RingTensor, divisor: number): Promise<RingTensor> {
  const [r, quotient, top] = (await context.take()) as Words[]
  const kernels = ring(context.ring)
  const addsPublic = context.index === 0
  const shifted = addsPublic ? kernels.addScalar(x.data, half(context.ring)) : x.data
  const [c] = await openWords(context, kernels.add(shifted, r!))
  return { ...x, data: kernels.truncate(c!, quotient!, top!, BigInt(divisor), addsPublic) }
}

/** All And gates of a layer, masked, opened and put together. */
async function runLayer(
  context: PartyContext,
  { wires, gates }: Layer,
  registers: Planes[],
  masks: Planes,
  products: Planes,
  stride: number,
): Promise<void> {
  const inputs = new Uint8Array(wires.length * stride)
  for (const [i, register] of wires.entries()) inputs.set(registers[register]!, i * stride)
  const [d] = (await context.open({ planes: ring().xor(inputs, masks) })) as [Planes]
  const columns = (pick: (gate: (typeof gates)[number]) => number, from: Planes): Planes => {
    const result = new Uint8Array(gates.length * stride)
    for (const [i, gate] of gates.entries()) result.set(plane(from, pick(gate), stride), i * stride)
    return result
  }
  const [left, right] = [(g: { left: number }) => g.left, (g: { right: number }) => g.right]
  const results = ring().beaverAnd(
    products,
    columns(left, masks),
    columns(right, masks),
    columns(left, d),
    columns(right, d),
    context.index === 0,
  )
  gates.forEach(({ into, adds }, i) => {
    const result = plane(results, i, stride)
    registers[into] = adds ? ring().xor(registers[into]!, result) : result
  })
}

/** Runs a circuit on boolean shares in registers. One round a layer, an eighth of a byte for each wire and value. */
async function runCircuit(context: PartyContext, lookup: Lookup, registers: Planes[], stride: number): Promise<void> {
  const layers = layersOf(lookup)
  if (layers.length === 0) return
  const [masks, products] = (await context.take()) as [Planes, Planes]
  let [wire, gate] = [0, 0]
  for (const layer of layers) {
    const [wires, gates] = [layer.wires.length, layer.gates.length]
    const mine = masks.subarray(wire * stride, (wire + wires) * stride)
    await runLayer(context, layer, registers, mine, products.subarray(gate * stride, (gate + gates) * stride), stride)
    wire += wires
    gate += gates
  }
}

/**
 * Bits from boolean to additive shares, by dealt bits b in both: opens t = bit ⊕ b, and bit = t + (1 − 2t)·b. With
 * y_j − a_j opened beside it, bit · y_j = t·y_j + (1 − 2t)·((y_j − a_j)·b + a_j·b) comes out of the same round.
 * One round; an eighth of a byte a bit, and 8 bytes for each element of each y.
 *
 * @param bits boolean shares, plane by plane, of `size` bits each
 */
async function injected(
  context: PartyContext,
  bits: Planes,
  size: number,
  factors: readonly Words[],
): Promise<readonly Words[]> {
  const [b, ...dealt] = (await context.take()) as [Planes, ...Words[]]
  const a = dealt.slice(0, factors.length)
  const [truth, ...products] = dealt.slice(factors.length)
  const kernels = ring(context.ring)
  const masked = factors.map((y, j): Contribution => ({ words: kernels.sub(y, a[j]!) }))
  const [t, ...d] = (await context.open({ planes: kernels.xor(bits, b) }, ...masked)) as [Planes, ...Words[]]
  const whenDealt = factors.map((_, j) => kernels.add(kernels.mul(d[j]!, truth!), products[j]!))
  return [
    flipped(t, size, kernels, truth!, context.index === 0 ? 1n : 0n),
    ...factors.map((y, j) => flipped(t, size, kernels, whenDealt[j]!, y)),
  ]
}

/**
 * The bits that a lookup ends in, and the bits times others: opens c = x + r, looks up what c is beside r, whose codes are
 * dealt as boolean shares, and puts the digits together.
 *
 * Of the sign, six rounds: 8 bytes for c, 5.1 for a tree of four levels, an eighth for the bit, and 8 for each factor; of 128
 * bits a level more, and 11 bytes for the tree. Of equality six, and 3.75 for the tree.
 */
async function bitsOf(
  context: PartyContext,
  x: RingTensor,
  lookup: Lookup,
  others: readonly RingTensor[],
): Promise<readonly RingTensor[]> {
  const size = sizeOf(x.shape)
  const stride = strideOf(size)
  const kernels = ring(context.ring)
  const [r, codes] = (await context.take()) as [Words, Planes]
  const [c] = await openWords(context, kernels.add(x.data, r))
  const found = lookup.find(kernels, codes, c!, context.index === 0)
  const registers = lookup.registers(planesOf(found, lookup.planes, stride))
  await runCircuit(context, lookup, registers, stride)
  const outcome = rt.concatenated(lookup.outcome(registers, kernels.xor))
  const factors = others.map(({ data }) => data)
  const results = await injected(context, outcome, size, factors)
  return results.map((data) => shaped(lookup, x.shape, { ring: context.ring, data }))
}

/** Whether a public factor can make a share the same at all parties and in all runs. */
const hasZero = rt.includesZero

/** A share that says nothing of how it came about: multiplied by a public zero, all shares would be zero. */
async function fresh(context: PartyContext, x: RingTensor): Promise<RingTensor> {
  return { ...x, data: ring(x.ring).add(x.data, await context.zeros(x.data.length)) }
}

function bilinear(
  context: PartyContext,
  op: string,
  row: RingRow,
  operands: readonly PartyOperand[],
  attrs: readonly unknown[],
): RingTensor | Promise<RingTensor> {
  const [x, y] = operands.map(tensorOf)
  if (operands.every(isSecret)) return product(context, row, op, x!, y!, attrs)
  const known = operands.find((operand) => !isSecret(operand))!
  const [result] = row.clear([x!, y!], attrs)
  return hasZero(tensorOf(known)) ? fresh(context, result!) : result!
}

type Results = readonly RingTensor[] | Promise<readonly RingTensor[]>

const whenThere = <T, R>(value: T | Promise<T>, then: (value: T) => R | Promise<R>): R | Promise<R> =>
  value instanceof Promise ? value.then(then) : then(value)

function undivided(
  context: PartyContext,
  op: CommandShape['op'],
  operands: readonly PartyOperand[],
  attrs: readonly unknown[],
): Results {
  const row = ringRow(op)
  if (op === 'refresh') return fresh(context, tensorOf(operands[0]!)).then((result) => [result])
  if (row.kind === 'linear') {
    return row.clear(
      operands.map((operand) => shareOf(context, operand)),
      attrs,
    )
  }
  if (row.kind === 'bilinear') return whenThere(bilinear(context, op, row, operands, attrs), (result) => [result])
  const [x, ...others] = operands.map((operand) => shareOf(context, operand))
  switch (op) {
    case 'square':
      return square(context, x!).then((result) => [result])
    case 'negative':
    case 'zero':
    case 'lowBits':
      return bitsOf(context, x!, lookupOf(op, context.ring, attrs), others)
    default:
      throw new Error(`the protocol has no step for ${op}`)
  }
}

/** The correlations of a command before its division. */
function undividedCorrelations({ ring: bits, op, operands, attrs }: CommandShape): Correlation[] {
  const row = ringRow(op)
  const size = sizeOf(operands[0]!.shape)
  if (row.kind === 'linear') return []
  if (row.kind === 'bilinear') {
    const [a, b] = operands
    if (!a!.isSecret || !b!.isSecret) return []
    return [{ kind: 'product', op, shapes: [a!.shape, b!.shape], attrs }]
  }
  switch (op) {
    case 'square':
      return [{ kind: 'square', size }]
    case 'negative':
    case 'zero':
    case 'lowBits': {
      const lookup = lookupOf(op, bits, attrs)
      return [
        { kind: 'coded', size, digits: lookup.digits },
        ...(layersOf(lookup).length > 0 ? [{ kind: 'circuit', size, ...lookup.circuit } as const] : []),
        { kind: 'bit', size, planes: lookup.results, factors: operands.length - 1 },
      ]
    }
    default:
      throw new Error(`the protocol has no step for ${op}`)
  }
}

/** What parties open on account of a correlation. */
function costOf(correlation: Correlation, bits: RingBits): { rounds: number; bytes: number } {
  const element = bits / 8
  switch (correlation.kind) {
    case 'product':
      return { rounds: 1, bytes: element * correlation.shapes.reduce((total, shape) => total + sizeOf(shape), 0) }
    case 'square':
    case 'truncation':
    case 'coded':
      return { rounds: 1, bytes: element * correlation.size }
    case 'circuit': {
      const { layers, wires } = circuitOf(correlation.name, correlation.bits)
      return { rounds: layers.length, bytes: wires * strideOf(correlation.size) }
    }
    case 'bit': {
      const { size, planes, factors } = correlation
      return { rounds: 1, bytes: planes * strideOf(size) + element * factors * planes * size }
    }
  }
}

function correlations(command: CommandShape): Correlation[] {
  const { op, operands, attrs, divisor } = command
  const list = undividedCorrelations(command)
  if (divisor === null) return list
  const [shape] = ringRow(op).shapes(
    operands.map((operand) => operand.shape),
    attrs,
  )
  return [...list, { kind: 'truncation', size: sizeOf(shape!), divisor }]
}

export const additive: Protocol = {
  name: 'additive',
  parties: [2, Infinity],
  takesProvider: true,
  held: (index) => [index],
  correlations,

  cost(command): Cost {
    const list = correlations(command)
    const costs = list.map((correlation) => costOf(correlation, command.ring))
    return {
      rounds: costs.reduce((total, { rounds }) => total + rounds, 0),
      bytes: costs.reduce((total, { bytes }) => total + bytes, 0),
      provider: list.reduce((total, correlation) => total + correctionBytes(correlation, command.ring), 0),
    }
  },

  random: ({ ring: bits }, shape) => [
    ringTensor(bits, shape, new Prg(randomSeed()).stream(0).words(wordsPerElement(bits) * sizeOf(shape))),
  ],

  run(context, op, operands, attrs, divisor) {
    const results = undivided(context, op, operands, attrs)
    if (divisor === null) return whenThere(results, (list) => list.map((result) => [result]))
    return whenThere(results, async ([result]) => [[await truncate(context, result!, divisor)]])
  },
}
