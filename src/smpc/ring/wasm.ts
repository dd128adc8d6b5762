/** The ring kernels in WebAssembly. They are written in AssemblyScript, in `assembly/ring`. */
import { spent, unfilled, unfilledBytes, unfilledWords } from '../../worker/memory-pool.ts'
import { encodeLimits, hasShape, isDivisor, isKeyStream, notEncodable, sameLength } from './check.ts'
import { javascriptKernels } from './javascript.ts'
import type { PlaneKernels, Planes, RingKernels, Rings, Words } from './kernels.ts'
import { ringModule } from './ring.wasm.ts'
import { type Operand, operand, plane, Scratch, type WebAssemblyApi } from './scratch.ts'
import { truncationOffset } from './truncation-offset.ts'
import { helped64 } from './wasm-helped.ts'
import { kernels128 } from './wasm128.ts'

const words = (a: Words): Operand => operand(a, 64)

/** Bytes up to which a left operand is turned over where it is multiplied. */
const TURNED = 2 ** 24
/** Bytes below which a loop here takes less time than copies there and back. */
const FEW = 128

/** Kernels of planes and streams, which know no width. */
function planeKernels(scratch: Scratch): PlaneKernels {
  const [p0, p1, p2, p3, p4, p5] = scratch.pointers
  /** A kernel of planes that makes as many bytes. */
  const bytewise = (inputs: readonly Planes[], run: (n: number) => void): Planes => {
    const out = unfilledBytes(inputs[0]!.length)
    const bytes = (a: Planes) => operand(a, 8)
    scratch.inBlocks(out.length, [bytes(out)], inputs.map(bytes), run)
    return out
  }
  const ofTwoPlanes = (kernel: 'xor' | 'and') => (a: Planes, b: Planes) => {
    if (a.length < FEW) return javascriptKernels[kernel](a, b)
    sameLength(kernel, a, b)
    return bytewise([a, b], (n) => scratch.kernels[kernel](p0, p1, p2, n))
  }
  return {
    xor: ofTwoPlanes('xor'),
    and: ofTwoPlanes('and'),

    beaverAnd(c, a, b, d, e, addsPublic) {
      if (c.length < FEW) return javascriptKernels.beaverAnd(c, a, b, d, e, addsPublic)
      sameLength('beaverAnd', c, a, b, d, e)
      return bytewise([c, a, b, d, e], (n) => scratch.kernels.beaverAnd(p0, p1, p2, p3, p4, p5, addsPublic, n))
    },

    chacha20(key, nonce, counter, length) {
      isKeyStream(key, nonce, counter, length)
      return scratch.chacha20(key, nonce, counter, length)
    },
  }
}

function kernels64(scratch: Scratch): RingKernels {
  type Run = (n: number) => void
  const [p0, p1, p2, p3, p4, p5] = scratch.pointers
  /** A kernel of words that makes as many words. */
  const wordwise = (inputs: readonly Words[], run: Run): Words => {
    const out = unfilledWords(inputs[0]!.length)
    scratch.inBlocks(out.length, [words(out)], inputs.map(words), run)
    return out
  }
  const ofTwoWords = (kernel: 'add' | 'sub' | 'lessTwice' | 'mul') => (a: Words, b: Words) => {
    sameLength(kernel, a, b)
    return wordwise([a, b], (n) => scratch.kernels[kernel](p0, p1, p2, n))
  }
  /** A kernel that makes as many words, each by a bit of a plane. */
  const chosenBy = (kernel: string, bits: Planes, inputs: readonly Words[], run: Run): Words => {
    const out = unfilledWords(inputs[0]!.length)
    sameLength(kernel, ...inputs)
    sameLength(kernel, bits, { length: Math.ceil(out.length / 8) })
    scratch.inBlocks(out.length, [words(out)], [plane(bits), ...inputs.map(words)], run)
    return out
  }
  // These move words more than they compute: a loop here is as fast as copies there and back.
  const { transpose, sumRows, sumColumns, cumulativeSum, gather, scatterAdd, fromInt32, toInt32 } = javascriptKernels

  return {
    name: 'wasm',
    bits: 64,
    ...planeKernels(scratch),
    ...helped64(scratch),
    transpose,
    sumRows,
    sumColumns,
    cumulativeSum,
    gather,
    scatterAdd,
    fromInt32,
    toInt32,

    add: ofTwoWords('add'),
    sub: ofTwoWords('sub'),
    lessTwice: ofTwoWords('lessTwice'),
    mul: ofTwoWords('mul'),
    neg: (a) => wordwise([a], (n) => scratch.kernels.neg(p0, p1, n)),
    // A bigint is taken mod 2^64 on its way into WebAssembly.
    addScalar: (a, k) => wordwise([a], (n) => scratch.kernels.addScalar(p0, p1, k, n)),
    mulScalar: (a, k) => wordwise([a], (n) => scratch.kernels.mulScalar(p0, p1, k, n)),

    beaver(c, a, b, d, e, addsPublic) {
      sameLength('beaver', c, a, b, d, e)
      return wordwise([c, a, b, d, e], (n) => scratch.kernels.beaver(p0, p1, p2, p3, p4, p5, addsPublic, n))
    },

    matMul(a, b, m, k, n, transposeA = false, transposeB = false) {
      hasShape('matMul', a, m, k)
      hasShape('matMul', b, k, n)
      // To be turned over in scratch, all of it has to be there.
      const isLarge = transposeA && 8 * m * k > TURNED
      const left = isLarge ? transpose(a, k, m) : a
      const product = scratch.matMul(left, b, m, k, n, 64, { a: transposeA && !isLarge, b: transposeB })
      return isLarge ? spent(product, left) : product
    },

    divide(a, divisor) {
      isDivisor('divide', divisor, 63)
      return wordwise([a], (n) => scratch.kernels.divide(p0, p1, divisor, n))
    },

    encode(values, scale) {
      const out = unfilledWords(values.length)
      const kernel = values instanceof Float32Array ? 'encodeFloat32' : 'encodeFloat64'
      const from = operand(values, 8 * values.BYTES_PER_ELEMENT)
      scratch.inBlocks(out.length, [words(out)], [from], (n) => {
        if (scratch.kernels[kernel](p0, p1, scale, encodeLimits[64], n)) throw notEncodable(scale, 64)
      })
      return out
    },

    decode(a, scale) {
      const out = new Float32Array(unfilled(4 * a.length))
      scratch.inBlocks(out.length, [operand(out, 32)], [words(a)], (n) => scratch.kernels.decode(p0, p1, scale, n))
      return out
    },

    truncationOf(r, divisor) {
      isDivisor('truncationOf', divisor, 62)
      const [quotient, top] = [unfilledWords(r.length), unfilledWords(r.length)]
      scratch.inBlocks(r.length, [words(quotient), words(top)], [words(r)], (n) =>
        scratch.kernels.truncationOf(p0, p1, p2, divisor, n),
      )
      return { quotient, top }
    },

    truncate(c, quotient, top, divisor, addsPublic) {
      isDivisor('truncate', divisor, 62)
      sameLength('truncate', c, quotient, top)
      const offset = truncationOffset(divisor, 64)
      return wordwise([c, quotient, top], (n) =>
        scratch.kernels.truncate(p0, p1, p2, p3, divisor, offset, addsPublic, n),
      )
    },

    toPlanes: (a) => scratch.toPlanes(a, 64),
    thermometers: (a, digits) => scratch.thermometers(a, digits, 64),
    compareDigits: (...operands) => scratch.compareDigits(...operands, 64),
    subtractDigits: (...operands) => scratch.subtractDigits(...operands, 64),

    fromPlane(a, length) {
      sameLength('fromPlane', a, { length: Math.ceil(length / 8) })
      const out = unfilledWords(length)
      scratch.inBlocks(length, [words(out)], [plane(a)], (n) => scratch.kernels.fromPlane(p0, p1, n))
      return out
    },

    flip(bits, x, base) {
      if (typeof base === 'bigint') return chosenBy('flip', bits, [x], (n) => scratch.kernels.flip(p0, p1, p2, base, n))
      return chosenBy('flip', bits, [x, base], (n) => scratch.kernels.flipWithin(p0, p1, p2, p3, n))
    },
    pick: (bits, x, y) => chosenBy('pick', bits, [x, y], (n) => scratch.kernels.pick(p0, p1, p2, p3, n)),

    lowestBits(a) {
      const out = new Uint8Array(Math.ceil(a.length / 8))
      scratch.inBlocks(a.length, [plane(out)], [words(a)], (n) => scratch.kernels.lowestBits(p0, p1, n))
      return out
    },
  }
}

/**
 * The kernels in WebAssembly, over scratch memory of their own; undefined where it is not to be had, or has no SIMD.
 *
 * @param maximum pages of 64 kB that scratch may grow to; by default what 32 bits can address
 */
export function makeWasmKernels({ maximum = 65_536 } = {}): Rings | undefined {
  const { WebAssembly: api } = globalThis as { WebAssembly?: WebAssemblyApi }
  const bytes = Uint8Array.from(atob(ringModule), (character) => character.charCodeAt(0))
  if (!api?.validate(bytes)) return undefined
  const scratch = new Scratch(api, new api.Module(bytes), maximum)
  return { 64: kernels64(scratch), 128: kernels128(scratch, planeKernels(scratch)) }
}
