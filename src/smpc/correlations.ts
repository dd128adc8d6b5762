/**
 * Correlated randomness: what a provider deals to parties, one row per kind.
 *
 * Each party draws from a seed that it has in common with the provider alone. Random fields are the sum (of bits, the
 * exclusive or) of what all parties draw; fields that follow from them are drawn by all parties but the last, to which the
 * provider sends what makes them right (the correction): Beaver, CRYPTO '91, with the seeds of Boyle et al., "Compressing
 * vector OLE", and MP-SPDZ's dealer mode. A row says what is drawn, and what follows.
 */
import { sottoError } from '../errors.ts'
import { type Shape, sizeOf } from '../tensor/shape.ts'
import { type CircuitName, circuitOf, isCircuit, strideOf } from './circuits.ts'
import type { PrgStream } from './prg.ts'
import { ring } from './ring/choose.ts'
import { codeBytes, digitsOf } from './ring/digits.ts'
import { type Planes, type RingBits, type RingKernels, type Words, wordsPerElement } from './ring/kernels.ts'
import { bytesOf, concatenated, ringTensor, wordsOf } from './ring/tensor.ts'
import { type RingOp, ringRow } from './ring-ops.ts'

interface Kinds {
  /** a, b, and the bilinear map of both. */
  product: { readonly op: RingOp; readonly shapes: readonly [Shape, Shape]; readonly attrs: readonly unknown[] }
  /** a and a². */
  square: { readonly size: number }
  /** r, with ⌊(r mod 2^(l−1)) / divisor⌋ and the top bit of r, of l bits. */
  truncation: { readonly size: number; readonly divisor: number }
  /** r, and the thermometer codes of its lowest digits as boolean shares. */
  coded: { readonly size: number; readonly digits: number }
  /** Masks of the wires of a circuit, and the products of its gates. */
  circuit: { readonly size: number; readonly name: CircuitName; readonly bits: number }
  /** Random bits in boolean and in additive shares; and numbers a, with a times the bit. */
  bit: { readonly size: number; readonly planes: number; readonly factors: number }
}

export type CorrelationKind = keyof Kinds
export type Correlation = { [K in CorrelationKind]: { readonly kind: K } & Kinds[K] }[CorrelationKind]

/** Elements in additive shares, or planes of bits in boolean ones. */
type Field = { readonly elements: number } | { readonly bytes: number }
type Value = Words | Planes

interface CorrelationRow<K extends CorrelationKind> {
  random(of: Kinds[K]): readonly Field[]
  derived(of: Kinds[K]): readonly Field[]
  derive(of: Kinds[K], random: readonly Value[], kernels: RingKernels): readonly Value[]
}

const words = (value: Value | undefined): Words => value as Words
const planes = (value: Value | undefined): Planes => value as Planes

const productShape = ({ op, shapes, attrs }: Kinds['product']): Shape => ringRow(op).shapes(shapes, attrs)[0]!

const rows: { readonly [K in CorrelationKind]: CorrelationRow<K> } = {
  product: {
    random: ({ shapes: [a, b] }) => [{ elements: sizeOf(a) }, { elements: sizeOf(b) }],
    derived: (of) => [{ elements: sizeOf(productShape(of)) }],
    derive: ({ op, shapes, attrs }, random, { bits }) => {
      const [a, b] = shapes.map((shape, i) => ringTensor(bits, shape, words(random[i])))
      return ringRow(op)
        .clear([a!, b!], attrs)
        .map(({ data }) => data)
    },
  },
  square: {
    random: ({ size }) => [{ elements: size }],
    derived: ({ size }) => [{ elements: size }],
    derive: (_, [a], kernels) => [kernels.mul(words(a), words(a))],
  },
  truncation: {
    random: ({ size }) => [{ elements: size }],
    derived: ({ size }) => [{ elements: size }, { elements: size }],
    derive: ({ divisor }, [r], kernels) => {
      const { quotient, top } = kernels.truncationOf(words(r), BigInt(divisor))
      return [quotient, top]
    },
  },
  coded: {
    random: ({ size }) => [{ elements: size }],
    derived: ({ size, digits }) => [{ bytes: codeBytes(digits, size) }],
    derive: ({ digits }, [r], kernels) => [kernels.thermometers(words(r), digits)],
  },
  circuit: {
    random: ({ size, name, bits }) => [{ bytes: circuitOf(name, bits).wires * strideOf(size) }],
    derived: ({ size, name, bits }) => [{ bytes: circuitOf(name, bits).gates * strideOf(size) }],
    derive: ({ size, name, bits }, [masks], kernels) => {
      const stride = strideOf(size)
      const { layers, gates: count } = circuitOf(name, bits)
      const [left, right] = [new Uint8Array(count * stride), new Uint8Array(count * stride)]
      let [wire, gate] = [0, 0]
      for (const { wires, gates } of layers) {
        for (const { left: l, right: r } of gates) {
          left.set(plane(planes(masks), wire + l, stride), gate * stride)
          right.set(plane(planes(masks), wire + r, stride), gate * stride)
          gate++
        }
        wire += wires.length
      }
      return [kernels.and(left, right)]
    },
  },
  bit: {
    random: ({ size, planes: count, factors }) => [
      { bytes: count * strideOf(size) },
      ...Array.from({ length: factors }, () => ({ elements: count * size })),
    ],
    derived: ({ size, planes: count, factors }) =>
      Array.from({ length: 1 + factors }, () => ({ elements: count * size })),
    derive: ({ size, planes: count }, [bits, ...factors], kernels) => {
      const truths = bitsToElements(planes(bits), size, count, kernels)
      return [truths, ...factors.map((a) => kernels.mul(words(a), truths))]
    },
  },
}

/** One plane of several. */
export const plane = (all: Planes, index: number, stride: number): Planes =>
  all.subarray(index * stride, (index + 1) * stride)

/** The first of several, one by one. */
export const planesOf = (all: Planes, count: number, stride: number): Planes[] =>
  Array.from({ length: count }, (_, i) => plane(all, i, stride))

/** Several planes as elements of 0 and 1, plane by plane. */
export function bitsToElements(all: Planes, size: number, count: number, kernels: RingKernels): Words {
  const stride = strideOf(size)
  if (count === 1) return kernels.fromPlane(all, size)
  const words = wordsPerElement(kernels.bits) * size
  const result = new BigUint64Array(count * words)
  for (let i = 0; i < count; i++) result.set(kernels.fromPlane(plane(all, i, stride), size), i * words)
  return result
}

/** What a kernel makes of each of several planes, and of the elements that are of it, plane by plane. */
export function byPlane(
  all: Planes,
  size: number,
  kernels: RingKernels,
  kernel: (plane: Planes, of: (elements: Words) => Words) => Words,
): Words {
  const stride = strideOf(size)
  if (all.length <= stride) return kernel(all, (elements) => elements)
  const words = wordsPerElement(kernels.bits) * size
  const results = planesOf(all, all.length / stride, stride).map((one, i) =>
    kernel(one, (elements) => elements.subarray(i * words, (i + 1) * words)),
  )
  return wordsOf(concatenated(results.map(bytesOf)))
}

/**
 * From t = bit ⊕ b, opened, and a share x of b, or of b · y: a share of the bit, or of bit · y, which is x or, where t is set,
 * base − x, for a share of 1, or of y.
 */
export const flipped = (t: Planes, size: number, kernels: RingKernels, x: Words, base: Words | bigint): Words =>
  byPlane(t, size, kernels, (bit, of) => kernels.flip(bit, of(x), typeof base === 'bigint' ? base : of(base)))

const rowOf = <K extends CorrelationKind>(kind: K): CorrelationRow<K> => {
  if (!Object.hasOwn(rows, kind)) throw sottoError('ERR_UNKNOWN_OP', 'no such correlation')
  return rows[kind]
}

const bytesOfField = (field: Field, bits: RingBits): number =>
  'elements' in field ? (bits / 8) * field.elements : field.bytes
const bytesOfFields = (fields: readonly Field[], bits: RingBits): number =>
  fields.reduce((total, field) => total + bytesOfField(field, bits), 0)

/** Bytes that the provider sends for a correlation, to the last party, where elements have so many bits. */
export const correctionBytes = (of: Correlation, bits: RingBits): number =>
  bytesOfFields(rowOf(of.kind).derived(of as never), bits)

const draw = (stream: PrgStream, field: Field, bits: RingBits): Value =>
  'elements' in field ? stream.words(wordsPerElement(bits) * field.elements) : stream.bytes(field.bytes)

const plus = (field: Field, a: Value, b: Value, kernels: RingKernels): Value =>
  'elements' in field ? kernels.add(words(a), words(b)) : kernels.xor(planes(a), planes(b))
const minus = (field: Field, a: Value, b: Value, kernels: RingKernels): Value =>
  'elements' in field ? kernels.sub(words(a), words(b)) : kernels.xor(planes(a), planes(b))

/**
 * What the provider sends to the last party.
 *
 * @param streams one for each party, as each of them draws from it
 */
export function deal(of: Correlation, streams: readonly PrgStream[], bits: RingBits): Uint8Array {
  const kernels = ring(bits)
  const row = rowOf(of.kind) as CorrelationRow<CorrelationKind>
  const random = row
    .random(of as never)
    .map((field) => streams.map((stream) => draw(stream, field, bits)).reduce((a, b) => plus(field, a, b, kernels)))
  const fields = row.derived(of as never)
  const derived = row.derive(of as never, random, kernels)
  const result = new Uint8Array(bytesOfFields(fields, bits))
  let at = 0
  fields.forEach((field, i) => {
    const correction = streams
      .slice(0, -1)
      .reduce((rest, stream) => minus(field, rest, draw(stream, field, bits), kernels), derived[i]!)
    result.set(correction instanceof Uint8Array ? correction : bytesOf(correction), at)
    at += bytesOfField(field, bits)
  })
  return result
}

/** A party's shares of the fields of a correlation, the random ones first. */
export function expand(
  of: Correlation,
  stream: PrgStream,
  correction: Uint8Array | null,
  bits: RingBits,
): readonly Value[] {
  const row = rowOf(of.kind) as CorrelationRow<CorrelationKind>
  const random = row.random(of as never).map((field) => draw(stream, field, bits))
  const fields = row.derived(of as never)
  if (correction === null) return [...random, ...fields.map((field) => draw(stream, field, bits))]
  let at = 0
  return [
    ...random,
    ...fields.map((field) => {
      const bytes = correction.subarray(at, at + bytesOfField(field, bits))
      at += bytesOfField(field, bits)
      return 'elements' in field ? wordsOf(bytes) : bytes
    }),
  ]
}

/** Elements of the largest array that a correlation is made of; of bits, as many as values. */
export function elementsOf(of: Correlation): number {
  switch (of.kind) {
    case 'product':
      return Math.max(...[...of.shapes, productShape(of)].map(sizeOf))
    case 'bit':
      return of.size * of.planes * Math.max(1, of.factors)
    default:
      return of.size
  }
}

const isCount = (x: unknown): x is number => Number.isSafeInteger(x) && (x as number) >= 0
const isShape = (x: unknown): x is Shape => Array.isArray(x) && x.length <= 6 && x.every(isCount)

/** Whether something that came from a caller is a correlation that can be dealt. */
export function isCorrelation(x: unknown): x is Correlation {
  if (typeof x !== 'object' || x === null) return false
  const c = x as Record<string, unknown>
  switch (c['kind']) {
    case 'product': {
      const shapes = c['shapes']
      if (!Array.isArray(shapes) || shapes.length !== 2 || !shapes.every(isShape)) return false
      return Array.isArray(c['attrs']) && typeof c['op'] === 'string' && ringRow(c['op']).kind === 'bilinear'
    }
    case 'square':
      return isCount(c['size'])
    case 'truncation':
      return isCount(c['size']) && isCount(c['divisor']) && c['divisor'] >= 1
    case 'coded':
      return isCount(c['size']) && isCount(c['digits']) && c['digits'] >= 1 && c['digits'] <= digitsOf(128)
    case 'circuit':
      return isCount(c['size']) && isCount(c['bits']) && c['bits'] <= 128 && isCircuit(c['name'])
    case 'bit':
      return (
        isCount(c['size']) && isCount(c['planes']) && c['planes'] <= 64 && isCount(c['factors']) && c['factors'] <= 1024
      )
    default:
      return false
  }
}
