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
import type { Planes, Words } from './ring/kernels.ts'
import { bytesOf, ringTensor, wordsOf } from './ring/tensor.ts'
import { type RingOp, ringRow } from './ring-ops.ts'

interface Kinds {
  /** a, b, and the bilinear map of both. */
  product: { readonly op: RingOp; readonly shapes: readonly [Shape, Shape]; readonly attrs: readonly unknown[] }
  /** a and a². */
  square: { readonly size: number }
  /** r, with ⌊(r mod 2^63) / divisor⌋ and the top bit of r. */
  truncation: { readonly size: number; readonly divisor: number }
  /** r, and its lowest `planes` bits as boolean shares. */
  masked: { readonly size: number; readonly planes: number }
  /** Masks of the wires of a circuit, and the products of its gates. */
  circuit: { readonly size: number; readonly name: CircuitName; readonly bits: number }
  /** Random bits in boolean and in additive shares; and numbers a, with a times the bit. */
  bit: { readonly size: number; readonly planes: number; readonly factors: number }
}

export type CorrelationKind = keyof Kinds
export type Correlation = { [K in CorrelationKind]: { readonly kind: K } & Kinds[K] }[CorrelationKind]

/** Words in additive shares, or planes of bits in boolean ones. */
type Field = { readonly words: number } | { readonly bytes: number }
type Value = Words | Planes

interface CorrelationRow<K extends CorrelationKind> {
  random(of: Kinds[K]): readonly Field[]
  derived(of: Kinds[K]): readonly Field[]
  derive(of: Kinds[K], random: readonly Value[]): readonly Value[]
}

const words = (value: Value | undefined): Words => value as Words
const planes = (value: Value | undefined): Planes => value as Planes

const productShape = ({ op, shapes, attrs }: Kinds['product']): Shape => ringRow(op).shapes(shapes, attrs)[0]!

const rows: { readonly [K in CorrelationKind]: CorrelationRow<K> } = {
  product: {
    random: ({ shapes: [a, b] }) => [{ words: sizeOf(a) }, { words: sizeOf(b) }],
    derived: (of) => [{ words: sizeOf(productShape(of)) }],
    derive: ({ op, shapes, attrs }, random) => {
      const [a, b] = shapes.map((shape, i) => ringTensor(shape, words(random[i])))
      return ringRow(op)
        .clear([a!, b!], attrs)
        .map(({ data }) => data)
    },
  },
  square: {
    random: ({ size }) => [{ words: size }],
    derived: ({ size }) => [{ words: size }],
    derive: (_, [a]) => [ring().mul(words(a), words(a))],
  },
  truncation: {
    random: ({ size }) => [{ words: size }],
    derived: ({ size }) => [{ words: size }, { words: size }],
    derive: ({ divisor }, [r]) => {
      const { quotient, top } = ring().truncationOf(words(r), BigInt(divisor))
      return [quotient, top]
    },
  },
  masked: {
    random: ({ size }) => [{ words: size }],
    derived: ({ size, planes: count }) => [{ bytes: count * strideOf(size) }],
    derive: ({ size, planes: count }, [r]) => [
      ring()
        .toPlanes(words(r))
        .subarray(0, count * strideOf(size)),
    ],
  },
  circuit: {
    random: ({ size, name, bits }) => [{ bytes: circuitOf(name, bits).wires * strideOf(size) }],
    derived: ({ size, name, bits }) => [{ bytes: circuitOf(name, bits).gates * strideOf(size) }],
    derive: ({ size, name, bits }, [masks]) => {
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
      return [ring().and(left, right)]
    },
  },
  bit: {
    random: ({ size, planes: count, factors }) => [
      { bytes: count * strideOf(size) },
      ...Array.from({ length: factors }, () => ({ words: count * size })),
    ],
    derived: ({ size, planes: count, factors }) => Array.from({ length: 1 + factors }, () => ({ words: count * size })),
    derive: ({ size, planes: count }, [bits, ...factors]) => {
      const truths = bitsToWords(planes(bits), size, count)
      return [truths, ...factors.map((a) => ring().mul(words(a), truths))]
    },
  },
}

/** One plane of several. */
export const plane = (all: Planes, index: number, stride: number): Planes =>
  all.subarray(index * stride, (index + 1) * stride)

/** Several planes as words of 0 and 1, plane by plane. */
export function bitsToWords(all: Planes, size: number, count: number): Words {
  const stride = strideOf(size)
  if (count === 1) return ring().fromPlane(all, size)
  const result = new BigUint64Array(count * size)
  for (let i = 0; i < count; i++) result.set(ring().fromPlane(plane(all, i, stride), size), i * size)
  return result
}

const rowOf = <K extends CorrelationKind>(kind: K): CorrelationRow<K> => {
  if (!Object.hasOwn(rows, kind)) throw sottoError('ERR_UNKNOWN_OP', 'no such correlation')
  return rows[kind]
}

const bytesOfField = (field: Field): number => ('words' in field ? 8 * field.words : field.bytes)
const bytesOfFields = (fields: readonly Field[]): number =>
  fields.reduce((total, field) => total + bytesOfField(field), 0)

/** Bytes that the provider sends for a correlation, to the last party. */
export const correctionBytes = (of: Correlation): number => bytesOfFields(rowOf(of.kind).derived(of as never))

const draw = (stream: PrgStream, field: Field): Value =>
  'words' in field ? stream.words(field.words) : stream.bytes(field.bytes)

const plus = (field: Field, a: Value, b: Value): Value =>
  'words' in field ? ring().add(words(a), words(b)) : ring().xor(planes(a), planes(b))
const minus = (field: Field, a: Value, b: Value): Value =>
  'words' in field ? ring().sub(words(a), words(b)) : ring().xor(planes(a), planes(b))

/**
 * What the provider sends to the last party.
 *
 * @param streams one for each party, as each of them draws from it
 */
export function deal(of: Correlation, streams: readonly PrgStream[]): Uint8Array {
  const row = rowOf(of.kind) as CorrelationRow<CorrelationKind>
  const random = row
    .random(of as never)
    .map((field) => streams.map((stream) => draw(stream, field)).reduce((a, b) => plus(field, a, b)))
  const fields = row.derived(of as never)
  const derived = row.derive(of as never, random)
  const result = new Uint8Array(bytesOfFields(fields))
  let at = 0
  fields.forEach((field, i) => {
    const correction = streams
      .slice(0, -1)
      .reduce((rest, stream) => minus(field, rest, draw(stream, field)), derived[i]!)
    result.set(correction instanceof Uint8Array ? correction : bytesOf(correction), at)
    at += bytesOfField(field)
  })
  return result
}

/** A party's shares of the fields of a correlation, the random ones first. */
export function expand(of: Correlation, stream: PrgStream, correction: Uint8Array | null): readonly Value[] {
  const row = rowOf(of.kind) as CorrelationRow<CorrelationKind>
  const random = row.random(of as never).map((field) => draw(stream, field))
  const fields = row.derived(of as never)
  if (correction === null) return [...random, ...fields.map((field) => draw(stream, field))]
  let at = 0
  return [
    ...random,
    ...fields.map((field) => {
      const bytes = correction.subarray(at, at + bytesOfField(field))
      at += bytesOfField(field)
      return 'words' in field ? wordsOf(bytes) : bytes
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
    case 'masked':
      return isCount(c['size']) && isCount(c['planes']) && c['planes'] >= 1 && c['planes'] <= 64
    case 'circuit':
      return isCount(c['size']) && isCount(c['bits']) && c['bits'] <= 64 && isCircuit(c['name'])
    case 'bit':
      return (
        isCount(c['size']) && isCount(c['planes']) && c['planes'] <= 64 && isCount(c['factors']) && c['factors'] <= 1024
      )
    default:
      return false
  }
}
