/**
 * What is told by the bits of a secret. x = u + v with u = x_0 + x_1 known to one party and v = x_2 known to the two
 * others, so that their bits are secrets of known summands (P. Mohassel, P. Rindal, "ABY3", CCS 2018, §5.3); what v is beside
 * −u is looked up digit by digit (see `lookups.ts`), and put together by a circuit on bit-packed planes. Random bits known in
 * both kinds of sharing, made meanwhile, bring the outcome back to the ring: the last layer is opened with one of them on top,
 * and with a factor that was multiplied by the random bit beforehand a product with the outcome comes out of the same round.
 */
import { sizeOf } from '../../../tensor/shape.ts'
import { recycle, spent } from '../../../worker/memory-pool.ts'
import { type Layer, strideOf } from '../../circuits.ts'
import { bitsToElements, byPlane, flipped, plane } from '../../correlations.ts'
import { type Lookup, layersOf } from '../../lookups.ts'
import { ring } from '../../ring/choose.ts'
import { codeBytes } from '../../ring/digits.ts'
import type { Planes, RingBits, Words } from '../../ring/kernels.ts'
import { bytesOf, concatenated, wordsOf } from '../../ring/tensor.ts'
import type { Share } from '../protocol.ts'
import { andSummand, timesSummand } from './products.ts'
import type { Pair, Seat } from './seat.ts'

type Bits = Pair<Planes>

const words = (share: Share): Pair<Words> => [share[0]!.data, share[1]!.data]
const planeOf = ([mine, next]: Bits, index: number, stride: number): Bits => [
  plane(mine, index, stride),
  plane(next, index, stride),
]

/** What this party knows of x = u + v: u at place 0, v at the others. */
function addend({ place, kernels }: Seat, [mine, next]: Pair<Words>): Words {
  if (place === 0) return kernels.add(mine, next)
  return place === 1 ? next : mine
}

/**
 * What is looked up by the digits of v in those of −u, as components: x = v − (−u).
 *
 * Place 0 knows −u, and hands place 1 its thermometer codes less a mask that it drew with place 2. Places 1 and 2, which know
 * v, look up in their shares of the codes what is asked of them. They hand each other what they find, less what they drew
 * with place 0. Two rounds; 15 bits for the code of each digit, and two for each plane that is found, of all together.
 */
async function lookedUp(seat: Seat, x: Pair<Words>, lookup: Lookup): Promise<Bits> {
  const { kernels, place } = seat
  const size = seat.count(x[0])
  const known = addend(seat, x)
  const width = codeBytes(lookup.digits, size)
  const found = lookup.planes * strideOf(size)
  if (place === 0) {
    const negated = kernels.neg(known)
    const codes = kernels.thermometers(negated, lookup.digits)
    const mask = seat.planesBefore(width)
    const rest = ring().xor(codes, mask)
    const result: Bits = [seat.planesBefore(found), seat.planesAfter(found)]
    recycle(known, negated, codes, mask)
    await seat.swap([[1, rest]], [])
    await seat.swap([], [])
    return result
  }
  const find = (codes: Planes, drawn: Planes): Planes => {
    const planes = lookup.find(kernels, codes, known, place === 1)
    return spent(ring().xor(planes, drawn), codes, planes)
  }
  if (place === 1) {
    const drawn = seat.planesBefore(found)
    const [rest, theirs] = await seat.swap(
      [],
      [
        [0, width],
        [2, found],
      ],
    )
    const mine = find(rest!, drawn)
    await seat.swap([[2, mine]], [])
    return [drawn, spent(ring().xor(mine, theirs!), theirs!)]
  }
  const [mask, drawn] = [seat.planesAfter(width), seat.planesAfter(found)]
  const mine = find(mask, drawn)
  await seat.swap([[1, mine]], [])
  const [theirs] = await seat.swap([], [[1, found]])
  return [spent(ring().xor(mine, theirs!), theirs!), drawn]
}

/** Random bits that nobody knows, as components of bits and of words; and others times them. */
interface RandomBits {
  readonly bits: Bits
  readonly words: Pair<Words>
  readonly products: readonly Pair<Words>[]
}

/**
 * Draws β = s ⊕ t, s known at place 0 and t at the others; β = s + t − 2·s·t, where places 1 and 2 work the product out as
 * {@link lookedUp} does. Two rounds, and one for factors; 24 bytes a bit of all together, and 24 for each factor.
 */
async function randomBits(
  seat: Seat,
  size: number,
  planes: number,
  factors: readonly Pair<Words>[],
): Promise<RandomBits> {
  const n = planes * size
  const bytes = planes * strideOf(size)
  const width = (seat.ring / 8) * n
  const bits: Bits = [seat.planesBefore(bytes), seat.planesAfter(bytes)]
  const { kernels } = seat
  const toWords = (of: Planes): Words => bitsToElements(of, size, planes, kernels)
  /** What a party hands over of s·t. */
  const handedOver = (s: Words, t: Planes, drawn: Words): Words =>
    byPlane(t, size, kernels, (bit, of) => kernels.pick(bit, of(s), of(drawn)))
  const arithmetic = async (): Promise<Pair<Words>> => {
    if (seat.place === 0) {
      const [mask, before, after] = [seat.wordsBefore(n), seat.wordsBefore(n), seat.wordsAfter(n)]
      const known = toWords(kernels.xor(...bits))
      const rest = spent(kernels.sub(known, mask), known)
      await seat.swap([[1, bytesOf(rest)]], [])
      await seat.swap([], [])
      return spent([kernels.lessTwice(mask, before), kernels.lessTwice(rest, after)], mask, before, after)
    }
    if (seat.place === 1) {
      const drawn = seat.wordsBefore(n)
      const [received, theirs] = await seat.swap(
        [],
        [
          [0, width],
          [2, width],
        ],
      )
      const rest = wordsOf(received!)
      const product = handedOver(rest, bits[1], drawn)
      await seat.swap([[2, bytesOf(product)]], [])
      const [t, whole] = [toWords(bits[1]), kernels.add(product, wordsOf(theirs!))]
      return spent([kernels.lessTwice(rest, drawn), kernels.lessTwice(t, whole)], rest, drawn, t, whole, theirs!)
    }
    const [mask, drawn] = [seat.wordsAfter(n), seat.wordsAfter(n)]
    const product = handedOver(mask, bits[0], drawn)
    await seat.swap([[1, bytesOf(product)]], [])
    const [theirs] = await seat.swap([], [[1, width]])
    const [t, whole] = [toWords(bits[0]), kernels.add(product, wordsOf(theirs!))]
    return spent([kernels.lessTwice(t, whole), kernels.lessTwice(mask, drawn)], mask, drawn, t, whole, theirs!)
  }
  const inWords = await arithmetic()
  if (factors.length === 0) return { bits, words: inWords, products: [] }
  const summands = factors.map((factor) => timesSummand(seat, inWords, factor, true))
  const [mine, next] = await seat.reshare(wordsOf(concatenated(summands.map(bytesOf))))
  const products = factors.map((_, i): Pair<Words> => [seat.part(mine, i * n, n), seat.part(next, i * n, n)])
  return { bits, words: inWords, products }
}

/**
 * From t = bit ⊕ β, opened, the bit and its products; see {@link flipped}. Local.
 *
 * @param t a plane for each result
 */
function injected(
  seat: Seat,
  t: Planes,
  size: number,
  random: RandomBits,
  factors: readonly Pair<Words>[],
): Pair<Words>[] {
  const { kernels } = seat
  // What is public is part of component 0, which is the first at place 0 and the second at place 2.
  const publicAt = seat.place === 0 ? 0 : seat.place === 2 ? 1 : null
  const bit = random.words.map((part, i) => flipped(t, size, kernels, part, i === publicAt ? 1n : 0n)) as [Words, Words]
  const products = factors.map((factor, j) =>
    factor.map((y, i) => flipped(t, size, kernels, random.products[j]![i]!, y)),
  ) as [Words, Words][]
  return spent([bit, ...products], ...random.words, ...random.products.flat())
}

/** The inputs of gates, one after another, as components. */
function inputsOf(wires: readonly number[], registers: readonly Bits[]): Bits {
  return [
    concatenated(wires.map((wire) => registers[wire]![0])),
    concatenated(wires.map((wire) => registers[wire]![1])),
  ]
}

/**
 * This party's summands of the gates of a layer, one after another, with the registers that gates add to: what the parties
 * hold first of a register is a summand of it as well.
 */
function layerSummands(seat: Seat, { wires, gates }: Layer, registers: readonly Bits[], stride: number): Planes {
  const left = inputsOf(
    gates.map((gate) => wires[gate.left]!),
    registers,
  )
  const right = inputsOf(
    gates.map((gate) => wires[gate.right]!),
    registers,
  )
  const none = new Uint8Array(stride)
  const added = concatenated(gates.map(({ into, adds }) => (adds ? registers[into]![0] : none)))
  const zeros = seat.zeroPlanes(gates.length * stride)
  const masked = ring().xor(zeros, added)
  return spent(andSummand(masked, left, right), zeros, added, masked, ...left, ...right)
}

/** Runs the layers of a circuit. One round and an eighth of a byte for each gate, of each party, a layer. */
async function runCircuit(seat: Seat, layers: readonly Layer[], registers: Bits[], stride: number): Promise<void> {
  for (const layer of layers) {
    const results = await seat.resharePlanes(layerSummands(seat, layer, registers, stride))
    layer.gates.forEach(({ into }, i) => {
      registers[into] = planeOf(results, i, stride)
    })
  }
}

/**
 * This party's summands of the bits that a lookup ends in, plane after plane. Those of the last layer's gates are not
 * reshared, for they are to be opened with something on top.
 */
async function outcomeOf(seat: Seat, x: Pair<Words>, lookup: Lookup): Promise<Planes> {
  const stride = strideOf(seat.count(x[0]))
  const found = await lookedUp(seat, x, lookup)
  const planes = Array.from({ length: lookup.planes }, (_, i) => planeOf(found, i, stride))
  const registers = lookup.registers(planes)
  const layers = layersOf(lookup)
  await runCircuit(seat, layers.slice(0, -1), registers, stride)
  const summands = registers.map(([mine]) => mine)
  const last = layers.at(-1)
  if (last !== undefined) {
    const results = layerSummands(seat, last, registers, stride)
    last.gates.forEach(({ into }, i) => {
      summands[into] = plane(results, i, stride)
    })
  }
  const outcome = lookup.outcome(summands, ring().xor)
  return outcome.length === 1 ? outcome[0]! : concatenated(outcome)
}

/**
 * The bits that a lookup ends in as elements, plane after plane, and, of a single one, the bit times others.
 *
 * Of the sign, six rounds; of all together 30 bytes for codes, 7.75 for what is looked up, 9.4 for the tree, 0.75 for the
 * opening and 24 for the random bit: 24 for each party, and 8 for each factor. Of 128 bits seven rounds, 48.5 bytes and 16.
 * See {@link costOfLookup}.
 */
export async function bitsOf(seat: Seat, x: Share, lookup: Lookup, others: readonly Share[]): Promise<Pair<Words>[]> {
  const size = sizeOf(x[0]!.shape)
  const factors = others.map(words)
  const [summands, random] = await seat.beside(
    (tree) => outcomeOf(tree, words(x), lookup),
    (mask) => randomBits(mask, size, lookup.results, factors),
  )
  const t = await seat.openSummands(ring().xor(summands, random.bits[0]))
  return injected(seat, t, size, random, factors)
}

/** Rounds, and bytes that all parties send together. */
export function costOfLookup(
  lookup: Lookup,
  bits: RingBits,
  size: number,
  factors: number,
): { readonly rounds: number; readonly bytes: number } {
  const layers = layersOf(lookup)
  // The gates of the last layer are not reshared but opened.
  const gates = layers.slice(0, -1).reduce((total, layer) => total + layer.gates.length, 0)
  // Beside what is looked up and the layers but the last, random bits take two rounds, and one for factors.
  const beside = Math.max(2 + Math.max(0, layers.length - 1), factors > 0 ? 3 : 2)
  return {
    rounds: beside + 1,
    bytes:
      codeBytes(lookup.digits, size) +
      (2 * lookup.planes + 3 * gates + 6 * lookup.results) * strideOf(size) +
      // Random bits take three elements each.
      3 * (bits / 8) * size * (lookup.results + factors),
  }
}
