/**
 * What is told by the bits of a secret. x = u + v with u = x_0 + x_1 known to one party and v = x_2 known to the two
 * others, so that their bits are secrets of known summands (P. Mohassel, P. Rindal, "ABY3", CCS 2018, §5.3); the carries
 * of u + v come from a tree on bit-packed planes. Random bits known in both kinds of sharing, made while the tree grows,
 * bring the outcome back to the ring: the last layer is opened with one of them on top, and with a factor that was
 * multiplied by the random bit beforehand a product with the outcome comes out of the same round.
 */
import { sizeOf } from '../../../tensor/shape.ts'
import { recycle, spent } from '../../../worker/memory-pool.ts'
import { type CircuitName, circuitOf, type Gate, strideOf } from '../../circuits.ts'
import { bitsToElements, plane, planesOf } from '../../correlations.ts'
import { ring } from '../../ring/choose.ts'
import { codeBytes, digitsOf } from '../../ring/digits.ts'
import type { Planes, RingBits, Words } from '../../ring/kernels.ts'
import { bytesOf, concatenated, ringTensor, wordsOf } from '../../ring/tensor.ts'
import { ringRow } from '../../ring-ops.ts'
import type { Share } from '../protocol.ts'
import { andSummand, timesSummand } from './products.ts'
import type { Pair, Seat } from './seat.ts'

type Bits = Pair<Planes>

const words = (share: Share): Pair<Words> => [share[0]!.data, share[1]!.data]
const xorBits = ([a, aNext]: Bits, [b, bNext]: Bits): Bits => [ring().xor(a, b), ring().xor(aNext, bNext)]
const planeOf = ([mine, next]: Bits, index: number, stride: number): Bits => [
  plane(mine, index, stride),
  plane(next, index, stride),
]
const registersOf = (bits: Bits, count: number, stride: number): Bits[] =>
  Array.from({ length: count }, (_, i) => planeOf(bits, i, stride))

/** What a kernel makes of each of several planes, and of the elements that are of it. */
function byPlane(
  seat: Seat,
  planes: Planes,
  size: number,
  kernel: (plane: Planes, of: (all: Words) => Words) => Words,
): Words {
  const stride = strideOf(size)
  if (planes.length <= stride) return kernel(planes, (all) => all)
  const results = planesOf(planes, planes.length / stride, stride).map((one, i) =>
    kernel(one, (all) => seat.part(all, i * size, size)),
  )
  return wordsOf(concatenated(results.map(bytesOf)))
}

/** What this party knows of x = u + v: u at place 0, v at the others. */
function addend({ place, kernels }: Seat, [mine, next]: Pair<Words>): Words {
  if (place === 0) return kernels.add(mine, next)
  return place === 1 ? next : mine
}
/** The planes of that. */
function addendPlanes(seat: Seat, x: Pair<Words>): Planes {
  const words = addend(seat, x)
  const planes = seat.kernels.toPlanes(words)
  return seat.place === 0 ? spent(planes, words) : planes
}

/**
 * The digits of v compared with those of −u: components of v_d = (−u)_d, all digits after one another, and of v_d < (−u)_d; see
 * `compareDigits`.
 *
 * Place 0 knows −u, and hands place 1 its thermometer codes less a mask that it drew with place 2. Places 1 and 2, which know
 * v, look up in their shares of the codes what they ask of it. They hand each other what they find, less what they drew with
 * place 0. Two rounds; 30 bytes for the codes, and two eighths for each plane that is asked for, of all together; of 128 bits
 * 60.
 *
 * @param isAsked of the planes that come out of `compareDigits`, those that are wanted
 */
async function comparedDigits(
  seat: Seat,
  x: Pair<Words>,
  isSigned: boolean,
  isAsked: (planes: Planes) => Planes,
): Promise<Bits> {
  const { kernels, place } = seat
  const size = seat.count(x[0])
  const known = addend(seat, x)
  const width = codeBytes(seat.ring, size)
  const asked = isAsked(new Uint8Array(2 * digitsOf(seat.ring) * strideOf(size))).length
  if (place === 0) {
    const negated = kernels.neg(known)
    const codes = kernels.thermometers(negated)
    const mask = seat.planesBefore(width)
    const rest = ring().xor(codes, mask)
    const result: Bits = [seat.planesBefore(asked), seat.planesAfter(asked)]
    recycle(known, negated, codes, mask)
    await seat.swap([[1, rest]], [])
    await seat.swap([], [])
    return result
  }
  const look = (codes: Planes): Planes => isAsked(kernels.compareDigits(codes, known, isSigned, place === 1))
  if (place === 1) {
    const drawn = seat.planesBefore(asked)
    const [rest, theirs] = await seat.swap(
      [],
      [
        [0, width],
        [2, asked],
      ],
    )
    const found = look(rest!)
    const mine = ring().xor(found, drawn)
    recycle(rest!, found)
    await seat.swap([[2, mine]], [])
    return [drawn, spent(ring().xor(mine, theirs!), theirs!)]
  }
  const [mask, drawn] = [seat.planesAfter(width), seat.planesAfter(asked)]
  const found = look(mask)
  const mine = ring().xor(found, drawn)
  recycle(mask, found)
  await seat.swap([[1, mine]], [])
  const [theirs] = await seat.swap([], [[1, asked]])
  return [spent(ring().xor(mine, theirs!), theirs!), drawn]
}

/**
 * Bits of u, known at place 0, and of v, known at the others, as components of u ⊕ v and of u ∧ v.
 *
 * u has a component drawn by places 0 and 2, and one that place 0 hands to place 1; v is the component of 1 and 2. Of the
 * product, places 1 and 2 each work out a summand, and hand it to the other less what they drew with place 0. One round,
 * two if there are products; an eighth of a byte for each bit of u, and two eighths for each product, of all together.
 *
 * @param mine planes of u, or of v
 * @param products how many of the lowest bits are multiplied
 */
async function metBits(
  seat: Seat,
  mine: Planes,
  stride: number,
  products: number,
): Promise<{ readonly differ: Bits; readonly both: Bits }> {
  const low = products * stride
  const hasProducts = products > 0
  if (seat.place === 0) {
    const [mask, before, after] = [seat.planesBefore(mine.length), seat.planesBefore(low), seat.planesAfter(low)]
    const rest = ring().xor(mine, mask)
    await seat.swap([[1, rest]], [])
    if (hasProducts) await seat.swap([], [])
    return { differ: [mask, rest], both: [before, after] }
  }
  const isFirst = seat.place === 1
  const v = mine.subarray(0, low)
  if (isFirst) {
    const drawn = seat.planesBefore(low)
    const expected = [[0, mine.length] as const, ...(hasProducts ? [[2, low] as const] : [])]
    const [rest, theirs] = await seat.swap([], expected)
    if (!hasProducts) return { differ: [rest!, mine], both: [drawn, drawn] }
    const product = ring().xor(ring().and(rest!.subarray(0, low), v), drawn)
    await seat.swap([[2, product]], [])
    return { differ: [rest!, mine], both: [drawn, ring().xor(product, theirs!)] }
  }
  const [mask, drawn] = [seat.planesAfter(mine.length), seat.planesAfter(low)]
  if (!hasProducts) {
    await seat.swap([], [])
    return { differ: [mine, mask], both: [drawn, drawn] }
  }
  const product = ring().xor(ring().and(mask.subarray(0, low), v), drawn)
  await seat.swap([[1, product]], [])
  const [theirs] = await seat.swap([], [[1, low]])
  return { differ: [mine, mask], both: [ring().xor(product, theirs!), drawn] }
}

/** Random bits that nobody knows, as components of bits and of words; and others times them. */
interface RandomBits {
  readonly bits: Bits
  readonly words: Pair<Words>
  readonly products: readonly Pair<Words>[]
}

/**
 * Draws β = s ⊕ t, s known at place 0 and t at the others; β = s + t − 2·s·t, where places 1 and 2 work the product out as
 * {@link metBits} does. Two rounds, and one for factors; 24 bytes a bit of all together, and 24 for each factor.
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
  const summandOf = (s: Words, t: Planes, drawn: Words): Words =>
    byPlane(seat, t, size, (bit, of) => kernels.pick(bit, of(s), of(drawn)))
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
      const product = summandOf(rest, bits[1], drawn)
      await seat.swap([[2, bytesOf(product)]], [])
      const [t, whole] = [toWords(bits[1]), kernels.add(product, wordsOf(theirs!))]
      return spent([kernels.lessTwice(rest, drawn), kernels.lessTwice(t, whole)], rest, drawn, t, whole, theirs!)
    }
    const [mask, drawn] = [seat.wordsAfter(n), seat.wordsAfter(n)]
    const product = summandOf(mask, bits[0], drawn)
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
 * From t = bit ⊕ β, opened: bit is β or, where t is set, 1 − β, and bit · y is β·y or y − β·y. Local.
 *
 * @param t planes, as many as there are bits of an element
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
  const flipped = random.words.map((part, i) =>
    byPlane(seat, t, size, (bit, of) => kernels.flip(bit, of(part), i === publicAt ? 1n : 0n)),
  ) as [Words, Words]
  const products = factors.map((factor, j) =>
    factor.map((y, i) => byPlane(seat, t, size, (bit, of) => kernels.flip(bit, of(random.products[j]![i]!), of(y)))),
  ) as [Words, Words][]
  return spent([flipped, ...products], ...random.words, ...random.products.flat())
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
function layerSummands(
  seat: Seat,
  { wires, gates }: { readonly wires: readonly number[]; readonly gates: readonly Gate[] },
  registers: readonly Bits[],
  stride: number,
): Planes {
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
async function runCircuit(
  seat: Seat,
  layers: ReturnType<typeof circuitOf>['layers'],
  registers: Bits[],
  stride: number,
): Promise<void> {
  for (const layer of layers) {
    const results = await seat.resharePlanes(layerSummands(seat, layer, registers, stride))
    layer.gates.forEach(({ into }, i) => {
      registers[into] = planeOf(results, i, stride)
    })
  }
}

/** Runs a circuit that ends in one gate; gives this party's summand of the register that it ends in. */
async function summandAtRoot(
  seat: Seat,
  name: CircuitName,
  bits: number,
  registers: Bits[],
  stride: number,
): Promise<Planes> {
  const layers = circuitOf(name, bits).layers
  await runCircuit(seat, layers.slice(0, -1), registers, stride)
  return layerSummands(seat, layers.at(-1)!, registers, stride)
}

/** Brings a bit, of which this party has a summand, to the ring, with a random one; and the bit times others. One round. */
async function toRing(
  seat: Seat,
  summand: Planes,
  size: number,
  random: RandomBits,
  factors: readonly Pair<Words>[],
): Promise<Pair<Words>[]> {
  const t = await seat.openSummands(ring().xor(summand, random.bits[0]))
  return injected(seat, t, size, random, factors)
}

/**
 * The sign of x = v − (−u) as 0 or 1, and the sign times others: of the highest digits by what is borrowed from them. Six
 * rounds; of all together 30 bytes for codes, 7.75 for what is looked up, 9.4 for the tree, 0.75 for the opening and 24 for the random
 * bit: 24 for each party, and 8 for each factor. Of 128 bits seven rounds, 48.5 bytes, and 16 for each factor.
 */
export async function negative(seat: Seat, x: Share, others: readonly Share[]): Promise<Pair<Words>[]> {
  const size = sizeOf(x[0]!.shape)
  const stride = strideOf(size)
  const digits = digitsOf(seat.ring)
  const factors = others.map(words)
  const [sign, random] = await seat.beside(
    async (tree) => {
      // Nobody asks whether the lowest digits are equal.
      const compared = await comparedDigits(tree, words(x), true, (planes) => planes.subarray(stride))
      const planes = registersOf(compared, 2 * digits - 1, stride)
      const [equal, below] = [planes.slice(0, digits - 1), planes.slice(digits - 1)]
      return summandAtRoot(tree, 'lessThan', digits, [...below, below[0]!, ...equal], stride)
    },
    (mask) => randomBits(mask, size, 1, factors),
  )
  return toRing(seat, sign, size, random, factors)
}

/** Whether x is 0: whether all digits of v and of −u agree. Six rounds; 21.3 bytes for each party. */
export async function zero(seat: Seat, x: Share): Promise<Pair<Words>> {
  const size = sizeOf(x[0]!.shape)
  const stride = strideOf(size)
  const digits = digitsOf(seat.ring)
  const [isZero, random] = await seat.beside(
    async (tree) => {
      const compared = await comparedDigits(tree, words(x), false, (planes) => planes.subarray(0, digits * stride))
      return summandAtRoot(tree, 'allOnes', digits, registersOf(compared, digits, stride), stride)
    },
    (mask) => randomBits(mask, size, 1, []),
  )
  return (await toRing(seat, isZero, size, random, []))[0]!
}

/** The lowest bits of x, along a new last axis: u_i ⊕ v_i ⊕ (the carry into bit i). */
export async function lowBits(seat: Seat, x: Share, count: number): Promise<Pair<Words>> {
  const size = sizeOf(x[0]!.shape)
  const stride = strideOf(size)
  const [bits, random] = await seat.beside(
    async (tree): Promise<Bits> => {
      const mine = addendPlanes(tree, words(x)).subarray(0, count * stride)
      const { differ, both } = await metBits(tree, mine, stride, count - 1)
      if (count === 1) return differ
      const registers = [...registersOf(both, count - 1, stride), ...registersOf(differ, count - 1, stride)]
      await runCircuit(tree, circuitOf('borrows', count - 1).layers, registers, stride)
      const carries = inputsOf([...Array(count - 1).keys()], registers)
      const none = new Uint8Array(stride)
      return xorBits(differ, [concatenated([none, carries[0]]), concatenated([none, carries[1]])])
    },
    (mask) => randomBits(mask, size, count, []),
  )
  const t = await seat.openPlanes(xorBits(bits, random.bits))
  const [result] = injected(seat, t, size, random, [])
  // Plane by plane to value by value.
  return result!.map(
    (data) => ringRow('transpose').clear([ringTensor(seat.ring, [count, size], data)], [[1, 0]])[0]!.data,
  ) as [Words, Words]
}

/** Rounds, and bytes that all parties send together. */
export function costOfBits(
  op: 'negative' | 'zero' | 'lowBits',
  bits: RingBits,
  size: number,
  { factors = 0, count = 1 }: { readonly factors?: number; readonly count?: number } = {},
): { readonly rounds: number; readonly bytes: number } {
  const stride = strideOf(size)
  const gatesOf = (name: CircuitName, width: number): number => circuitOf(name, width).gates
  const layersOf = (name: CircuitName, width: number): number => circuitOf(name, width).layers.length
  const digits = digitsOf(bits)
  // Three elements for each.
  const random = 3 * (bits / 8) * size * (count + factors)
  // The one gate of the last layer of a tree is not reshared but opened.
  switch (op) {
    case 'negative':
      return {
        rounds: 2 + layersOf('lessThan', digits),
        bytes:
          codeBytes(bits, size) + (2 * (2 * digits - 1) + 3 * (gatesOf('lessThan', digits) - 1) + 6) * stride + random,
      }
    case 'zero':
      return {
        rounds: 2 + layersOf('allOnes', digits),
        bytes: codeBytes(bits, size) + (2 * digits + 3 * (gatesOf('allOnes', digits) - 1) + 6) * stride + random,
      }
    case 'lowBits': {
      const carries = count > 1 ? layersOf('borrows', count - 1) : 0
      const gates = count > 1 ? gatesOf('borrows', count - 1) : 0
      // The random bits take two rounds, whatever goes on beside them.
      const rounds = Math.max(2, count > 1 ? 2 + carries : 1) + 1
      return { rounds, bytes: (count + 2 * (count - 1) + 3 * gates + 3 * count) * stride + random }
    }
  }
}
