/** The kernels of Z_2^128 in WebAssembly. */
import { spent, unfilled, unfilledWords } from '../../worker/memory-pool.ts'
import { encodeLimits, hasShape, isDivisor, notEncodable, sameLength } from './check.ts'
import { helpedBy } from './helped.ts'
import { count, javascriptKernels128 } from './javascript128.ts'
import type { HelpedKernels, PlaneKernels, Planes, RingKernels, Words } from './kernels.ts'
import { type Operand, operand, plane, type Scratch } from './scratch.ts'
import { truncationOffset } from './truncation-offset.ts'

const elements = (a: Words): Operand => operand(a, 128)

export function kernels128(scratch: Scratch, planeKernels: PlaneKernels): RingKernels {
  const [p0, p1, p2, p3, p4, p5] = scratch.pointers
  /** A kernel of elements that makes as many. */
  const elementwise = (inputs: readonly Words[], run: (n: number) => void): Words => {
    const out = unfilledWords(inputs[0]!.length)
    scratch.inBlocks(out.length / 2, [elements(out)], inputs.map(elements), run)
    return out
  }
  const ofTwo = (kernel: 'add' | 'sub' | 'lessTwice' | 'mul') => (a: Words, b: Words) => {
    sameLength(kernel, a, b)
    return elementwise([a, b], (n) => scratch.kernels[`${kernel}128`](p0, p1, p2, n))
  }
  /** A kernel that makes as many elements, each by a bit of a plane. */
  const chosenBy = (kernel: string, bits: Planes, inputs: readonly Words[], run: (n: number) => void): Words => {
    const out = unfilledWords(inputs[0]!.length)
    sameLength(kernel, ...inputs)
    sameLength(kernel, bits, { length: Math.ceil(out.length / 2 / 8) })
    scratch.inBlocks(out.length / 2, [elements(out)], [plane(bits), ...inputs.map(elements)], run)
    return out
  }
  // These move words more than they compute: a loop here is as fast as copies there and back.
  const { transpose, sumRows, sumColumns, cumulativeSum, gather, scatterAdd, fromInt32, toInt32 } = javascriptKernels128

  const plain: Omit<RingKernels, keyof HelpedKernels> = {
    name: 'wasm',
    bits: 128,
    ...planeKernels,
    transpose,
    sumRows,
    sumColumns,
    cumulativeSum,
    gather,
    scatterAdd,
    fromInt32,
    toInt32,

    add: ofTwo('add'),
    sub: ofTwo('sub'),
    lessTwice: ofTwo('lessTwice'),
    mul: ofTwo('mul'),
    neg: (a) => elementwise([a], (n) => scratch.kernels.neg128(p0, p1, n)),
    // A bigint is taken mod 2^64 on its way into WebAssembly.
    addScalar: (a, k) => elementwise([a], (n) => scratch.kernels.addScalar128(p0, p1, k, k >> 64n, n)),
    mulScalar: (a, k) => elementwise([a], (n) => scratch.kernels.mulScalar128(p0, p1, k, k >> 64n, n)),

    beaver(c, a, b, d, e, addsPublic) {
      sameLength('beaver', c, a, b, d, e)
      return elementwise([c, a, b, d, e], (n) => scratch.kernels.beaver128(p0, p1, p2, p3, p4, p5, addsPublic, n))
    },

    matMul(a, b, m, k, n, transposeA = false, transposeB = false) {
      hasShape('matMul', count(a), m, k)
      hasShape('matMul', count(b), k, n)
      const [x, y] = [transposeA ? transpose(a, k, m) : a, transposeB ? transpose(b, n, k) : b]
      return spent(scratch.matMul(x, y, m, k, n, 128), ...(transposeA ? [x] : []), ...(transposeB ? [y] : []))
    },

    divide(a, divisor) {
      isDivisor('divide', divisor, 63)
      return elementwise([a], (n) => scratch.kernels.divide128(p0, p1, divisor, n))
    },

    encode(values, scale) {
      const out = unfilledWords(2 * values.length)
      const kernel = values instanceof Float32Array ? 'encodeFloat32To128' : 'encodeFloat64To128'
      const from = operand(values, 8 * values.BYTES_PER_ELEMENT)
      scratch.inBlocks(values.length, [elements(out)], [from], (n) => {
        if (scratch.kernels[kernel](p0, p1, scale, encodeLimits[128], n)) throw notEncodable(scale, 128)
      })
      return out
    },

    decode(a, scale) {
      const out = new Float32Array(unfilled(2 * a.length))
      scratch.inBlocks(out.length, [operand(out, 32)], [elements(a)], (n) =>
        scratch.kernels.decode128(p0, p1, scale, n),
      )
      return out
    },

    truncationOf(r, divisor) {
      isDivisor('truncationOf', divisor, 62)
      const [quotient, top] = [new BigUint64Array(r.length), new BigUint64Array(r.length)]
      scratch.inBlocks(r.length / 2, [elements(quotient), elements(top)], [elements(r)], (n) =>
        scratch.kernels.truncationOf128(p0, p1, p2, divisor, n),
      )
      return { quotient, top }
    },

    truncate(c, quotient, top, divisor, addsPublic) {
      isDivisor('truncate', divisor, 62)
      sameLength('truncate', c, quotient, top)
      const offset = truncationOffset(divisor, 128)
      return elementwise([c, quotient, top], (n) =>
        scratch.kernels.truncate128(p0, p1, p2, p3, divisor, offset, offset >> 64n, addsPublic, n),
      )
    },

    toPlanes: (a) => scratch.toPlanes(a, 128),
    thermometers: (a, digits) => scratch.thermometers(a, digits, 128),
    compareDigits: (...operands) => scratch.compareDigits(...operands, 128),
    subtractDigits: (...operands) => scratch.subtractDigits(...operands, 128),

    fromPlane(a, length) {
      sameLength('fromPlane', a, { length: Math.ceil(length / 8) })
      const out = new BigUint64Array(2 * length)
      scratch.inBlocks(length, [elements(out)], [plane(a)], (n) => scratch.kernels.fromPlane128(p0, p1, n))
      return out
    },

    flip(bits, x, base) {
      if (typeof base !== 'bigint') {
        return chosenBy('flip', bits, [x, base], (n) => scratch.kernels.flipWithin128(p0, p1, p2, p3, n))
      }
      return chosenBy('flip', bits, [x], (n) => scratch.kernels.flip128(p0, p1, p2, base, base >> 64n, n))
    },
    pick: (bits, x, y) => chosenBy('pick', bits, [x, y], (n) => scratch.kernels.pick128(p0, p1, p2, p3, n)),

    lowestBits(a) {
      const out = new Uint8Array(Math.ceil(a.length / 16))
      scratch.inBlocks(a.length / 2, [plane(out)], [elements(a)], (n) => scratch.kernels.lowestBits128(p0, p1, n, p2))
      return out
    },
  }
  return { ...plain, ...helpedBy(plain) }
}
