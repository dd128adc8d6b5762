/**
 * What is told by the bits of a secret x = c − r, of which c is known and r is there in thermometer codes (see
 * `ring/digits.ts`): what is looked up in the codes, by digit, and the circuit that puts the answers of the digits together.
 * Both protocols have such a c: what was opened, or a component that two of the parties hold.
 */
import { type Shape, sizeOf } from '../tensor/shape.ts'
import { spent } from '../worker/memory-pool.ts'
import { type CircuitName, circuitOf, type Layer } from './circuits.ts'
import { DIGIT, digitsOf } from './ring/digits.ts'
import type { Planes, RingBits, RingKernels, Words } from './ring/kernels.ts'
import { concatenated, permuted, type RingTensor, ringTensor } from './ring/tensor.ts'

export interface Lookup {
  /** Digits of r, from the lowest, whose codes it takes. */
  readonly digits: number
  /** Planes that are looked up. */
  readonly planes: number
  /** Bits that come out; where they are a list, along a last axis of their own. */
  readonly results: number
  readonly isList: boolean
  /** The circuit, for numbers of so many digits; a difference, of so many bits. */
  readonly circuit: { readonly name: CircuitName; readonly bits: number }
  /** The planes, one after another, from codes or shares of them: those of the party that adds what is public, or not. */
  find(kernels: RingKernels, codes: Planes, c: Words, addsPublic: boolean): Planes
  /** Registers of the circuit, from the planes. */
  registers<T>(planes: readonly T[]): T[]
  /** The bits that come out, from the registers after the circuit. Linear. */
  outcome<T>(registers: readonly T[], xor: (a: T, b: T) => T): T[]
}

export const layersOf = ({ circuit: { name, bits } }: Lookup): readonly Layer[] => circuitOf(name, bits).layers

/** The sign of x: of the highest digit, by what is borrowed from it. */
function sign(ring: RingBits): Lookup {
  const digits = digitsOf(ring)
  return {
    digits,
    planes: 2 * digits - 1,
    results: 1,
    isList: false,
    circuit: { name: 'lessThan', bits: digits },
    find(kernels, codes, c, addsPublic) {
      // Nobody asks whether the lowest digits are equal.
      const compared = kernels.compareDigits(codes, c, digits, true, addsPublic)
      return compared.subarray(compared.length / (2 * digits))
    },
    registers(planes) {
      const [equal, below] = [planes.slice(0, digits - 1), planes.slice(digits - 1)]
      return [...below, below[0]!, ...equal]
    },
    outcome: (registers) => [registers[digits - 1]!],
  }
}

/** Whether x is 0: whether all digits agree. */
function zero(ring: RingBits): Lookup {
  const digits = digitsOf(ring)
  return {
    digits,
    planes: digits,
    results: 1,
    isList: false,
    circuit: { name: 'allOnes', bits: digits },
    find(kernels, codes, c, addsPublic) {
      const compared = kernels.compareDigits(codes, c, digits, false, addsPublic)
      return compared.subarray(0, compared.length / 2)
    },
    registers: (planes) => [...planes],
    outcome: (registers) => [registers[digits - 1]!],
  }
}

/** The lowest bits of x, lowest first: of each digit by itself, and what changes where it is borrowed from. */
function lowBits(count: number): Lookup {
  const digits = Math.ceil(count / DIGIT)
  /** Digits that something may be borrowed for. */
  const lower = digits - 1
  const equals = Math.max(0, lower - 1)
  /** Bits that change where one is borrowed: neither of the lowest digit nor the first of another. */
  const changing = lower === 0 ? 0 : count - DIGIT - lower
  return {
    digits,
    planes: equals + lower + count + changing,
    results: count,
    isList: true,
    circuit: { name: 'difference', bits: count },
    find(kernels, codes, c, addsPublic) {
      const subtracted = kernels.subtractDigits(codes, c, digits, addsPublic)
      const stride = subtracted.length / ((2 * DIGIT - 1) * digits)
      const part = (planes: Planes, from: number, many: number): Planes =>
        planes.subarray(from * stride, (from + many) * stride)
      const bits = part(subtracted, 0, count)
      if (lower === 0) return bits
      const compared = kernels.compareDigits(codes, c, digits, false, addsPublic)
      const changes = part(subtracted, DIGIT * digits + DIGIT - 1, changing)
      const found = concatenated([part(compared, 1, equals), part(compared, digits, lower), bits, changes])
      return spent(found, subtracted, compared)
    },
    registers(planes) {
      if (lower === 0) return [...planes]
      const [equal, below, others] = [
        planes.slice(0, equals),
        planes.slice(equals, equals + lower),
        planes.slice(equals + lower),
      ]
      return [...below, below[0]!, ...equal, ...others]
    },
    outcome: (registers, xor) =>
      Array.from({ length: count }, (_, i) => {
        const bit = registers[2 * lower + i]!
        // The lowest bit of a digit changes with what is borrowed, whatever the others are.
        return i > 0 && i % DIGIT === 0 ? xor(bit, registers[i / DIGIT - 1]!) : bit
      }),
  }
}

/** Results that are there bit by bit, as elements of a shape: a list, value by value. */
export function shaped(lookup: Lookup, shape: Shape, { ring, data }: Pick<RingTensor, 'ring' | 'data'>): RingTensor {
  if (!lookup.isList) return ringTensor(ring, shape, data)
  const byBit = ringTensor(ring, [lookup.results, sizeOf(shape)], data)
  return ringTensor(ring, [...shape, lookup.results], permuted(byBit, [1, 0]))
}

/** What a command looks up. */
export function lookupOf(op: 'negative' | 'zero' | 'lowBits', ring: RingBits, attrs: readonly unknown[]): Lookup {
  if (op === 'lowBits') return lowBits(attrs[0] as number)
  return op === 'negative' ? sign(ring) : zero(ring)
}
