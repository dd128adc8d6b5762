/**
 * Smooth functions of encoded tensors, composed of products, comparisons and bits: the same on public and on secret
 * values, and for every protocol.
 *
 * Three ways lead to all of them, each with few rounds and without iterations:
 *
 * - A power of two comes from the bits of its exponent, and a polynomial for the rest (`exponential`).
 * - Reciprocals, roots and logarithms bring a value to c in [1, 4) by a power of four, which one comparison with all
 *   powers of four at once finds (the normalisation of O. Catrina, A. Saxena, "Secure computation with fixed-point
 *   numbers", FC 2010), and take a polynomial of c. On [1, 4] one of degree 15 errs by less than 2^−24, in 9 rounds;
 *   Newton's steps take 4 to 6 rounds each.
 * - What levels off on both sides is cubic between many points, the pieces chosen in secret by one comparison (X. Fan
 *   et al., "NFGen", CCS 2022, arXiv:2210.09802).
 *
 * Inside, values are integers of the ring whose scale is written beside them (most often 2^28), whatever the base and
 * digits of the tensor; no divisor but powers of two. A division by one gives, of shares, the floor or one more; in
 * clear it goes toward zero: each function is right under both. All that is divided stays below 2^62.
 *
 * Errors are stated in units, one unit being 1 / scale (2^−16 unless chosen otherwise), beside what is relative to the
 * result. They are those of shares; in clear they are no larger. With σ = ⌈log2(scale)⌉, scales go up to 2^24. Rounds
 * are those of the additive protocol; a comparison takes eight of them.
 */
import { sottoError } from '../errors.ts'
import { normalizeAxis, type Shape } from '../tensor/shape.ts'
import type { AnyEncoded as Any, PublicOperand } from './encoded-tensor.ts'
import { commonEncoding, type Encoding, INTEGER, isFixed, showEncoding, TRUTH } from './encoding.ts'
import { summedTo } from './gradients.ts'
import type { RingOp } from './ring-ops.ts'

/** Most of what the working precision leaves room for: results of scale 2^24 have four bits below them. */
const LARGEST_SCALE = 2 ** 24
/** Fractional bits of what polynomials are computed with: squares then have 62 − 56 bits before the point. */
const BITS = 28
/** Of polynomials on [1, 4): the largest that takes 9 rounds. Its error is 2^−24.4 of 1/c, less of the others. */
const DEGREE = 15
/** Values of encoded tensors lie below 4^25 = 2^50 units. */
const LARGEST_CLASS = 24

// What numbers need: an integer of the ring is a scale away from what it stands for.

/** @throws `ERR_PRECISION` for integers and truths, and for scales above 2^24 */
function checkFixed(name: string, x: Any): void {
  if (!isFixed(x.encoding)) {
    throw sottoError('ERR_PRECISION', `${name}: takes fixed precision, this is ${x.dtype}; call fixPrecision() first`, {
      op: name,
    })
  }
}
function scaleFor(name: string, x: Any): number {
  checkFixed(name, x)
  if (x.scale > LARGEST_SCALE) {
    throw sottoError(
      'ERR_PRECISION',
      `${name}: takes scales up to 2^24, this is ${showEncoding(x.encoding)}; use a smaller precisionFractional`,
      { op: name },
    )
  }
  return x.scale
}

/** A positive number as f · 2^bits, 1/2 < f ≤ 1: what is no power of two goes into the coefficients of polynomials. */
function split(value: number): readonly [f: number, bits: number] {
  // log2 of a whole power of two is exact.
  const bits = Math.ceil(Math.log2(value))
  return [value / 2 ** bits, bits]
}

const rounded = (value: number): bigint => BigInt(Math.round(value))

const constants = (shape: Shape, values: readonly bigint[]): PublicOperand => ({
  tensor: { shape, data: BigUint64Array.from(values, (value) => BigInt.asUintN(64, value)) },
  encoding: INTEGER,
})
const constant = (value: number): PublicOperand => constants([], [rounded(value)])

/** A row of the ring op table, whose result is an integer unless an encoding says more; divided by 2^bits. */
function command<T extends Any>(op: RingOp, x: T, more: readonly (T | PublicOperand)[], bits = 0, as = INTEGER): T {
  return x.run(op, more, { divisor: bits === 0 ? null : 1n << BigInt(bits), encodings: [as] })[0] as T
}
const plus = <T extends Any>(x: T, y: T | number): T =>
  command('add', x, [typeof y === 'number' ? constant(y) : y]) as T
const minus = <T extends Any>(x: T, y: T | number): T =>
  command('sub', x, [typeof y === 'number' ? constant(y) : y]) as T
/** x · y / 2^bits. Of shares: one round, and one more to divide; public numbers need the second alone. */
const times = <T extends Any>(x: T, y: T | number, bits = 0, as?: Encoding): T =>
  command('mul', x, [typeof y === 'number' ? constant(y) : y], bits, as)
const squared = <T extends Any>(x: T, bits: number): T => command('square', x, [], bits)
/** x / 2^bits, or times 2^−bits. Of shares: one round to divide. */
function shifted<T extends Any>(x: T, bits: number, as?: Encoding): T {
  if (bits < 0) return times(x, 2 ** -bits, 0, as)
  // Divisors are counts up to 2^53: two steps make a larger one, the error of the first a sixteenth of the second's.
  return bits > 52 ? shifted(command('clone', x, [], bits - 4), 4, as) : command('clone', x, [], bits, as)
}

/** The elements in a row, as integers. */
const raw = <T extends Any>(x: T): T => shifted(x, 0).flatten() as T

/** [n, k] times public [k, m], plus public [m]. Local. */
function affine<T extends Any>(x: T, matrix: readonly (readonly bigint[])[], more: readonly bigint[]): T {
  const factors = constants([matrix.length, more.length], matrix.flat())
  const [product] = x.run('matMul', [factors], { attrs: [false, false], encodings: [INTEGER] })
  return command('add', product as T, [constants([more.length], more)])
}

// Polynomials.

/**
 * The polynomial in t that meets f at the Chebyshev points of [−half, half], lowest coefficient first. Its largest
 * error is, but for a small factor, the least that its degree allows.
 */
function fitted(f: (t: number) => number, half: number, degree: number): number[] {
  const count = degree + 1
  const angles = Array.from({ length: count }, (_, j) => (Math.PI * (j + 0.5)) / count)
  const values = angles.map((angle) => f(half * Math.cos(angle)))
  const result = new Array<number>(count).fill(0)
  // T_0 = 1, T_1 = t / half, T_{k+1} = 2 · t / half · T_k − T_{k−1}, as lists of coefficients.
  let [last, next] = [[1], [0, 1 / half]]
  for (let k = 0; k < count; k++) {
    const sum = angles.reduce((total, angle, j) => total + values[j]! * Math.cos(k * angle), 0)
    const weight = ((k === 0 ? 1 : 2) * sum) / count
    last.forEach((coefficient, i) => {
      result[i]! += weight * coefficient
    })
    const after = [0, ...next.map((coefficient) => (2 * coefficient) / half)]
    last.forEach((coefficient, i) => {
      after[i]! -= coefficient
    })
    ;[last, next] = [next, after]
  }
  return result
}

/**
 * A polynomial with public coefficients, of |t| ≤ 1 (scale 2^28), not divided yet: of scale 2^56. Four coefficients
 * each stand before t^0, t^4, t^8 …, and are summed in pairs (M. Paterson, L. Stockmeyer, SIAM J. Comput. 1973).
 *
 * Of shares: 6 rounds to degree 7, 8 rounds to degree 15. Errs by less than 2^−24 beside what the coefficients do.
 */
function polynomial<T extends Any>(t: T, coefficients: readonly number[]): T {
  const blocks = 2 ** Math.ceil(Math.log2(coefficients.length / 4))
  /** The coefficients of t^i in each block. */
  const of = (i: number, scale: number): bigint[] =>
    Array.from({ length: blocks }, (_, block) => rounded((coefficients[4 * block + i] ?? 0) * scale))
  const t2 = squared(t, BITS)
  const t3 = times(t2, t, BITS)
  let power = squared(t2, BITS)
  const rows = [1, 2, 3].map((i) => of(i, 2 ** BITS))
  let sums = affine(t.stack([t2, t3], 1) as T, rows, of(0, 4 ** BITS))
  for (let count = blocks; count > 1; count /= 2) {
    const pairs = shifted(sums, BITS).reshape([t.size, count / 2, 2]) as T
    const [even, odd] = pairs.unstack(2) as [T, T]
    sums = plus(shifted(even, -BITS), times(odd, power.reshape([t.size, 1]) as T))
    if (count > 2) power = squared(power, BITS)
  }
  return sums.flatten() as T
}

// Public weights by secret classes.

/**
 * For each value of [n], the weights of its class, of each list of weights: class 0 lies below edges[0], class k from
 * edges[k − 1] on, the last from the last edge on. Of shares: one comparison with all edges at once, 8 rounds and 31 B
 * for each edge; the rest is local.
 */
function byClass<T extends Any>(x: T, edges: readonly number[], lists: readonly (readonly number[])[]): T[] {
  const whole = lists.map((weights) => weights.map(rounded))
  const differences = command('sub', x.reshape([x.size, 1]) as T, [constants([edges.length], edges.map(rounded))])
  const below = differences.negativeAnd([])[0] as T
  // A value below an edge is below all that follow: it sums the steps from its class to the last.
  const steps = edges.map((_, k) => whole.map((weights) => weights[k]! - weights[k + 1]!))
  return affine(
    below,
    steps,
    whole.map((weights) => weights.at(-1)!),
  ).unstack(1) as T[]
}

/** A number for each class of c · 4^j, 0 ≤ j ≤ most, with c in [1, 4). */
const perClass = (most: number, weight: (j: number) => number): number[] =>
  Array.from({ length: most + 1 }, (_, j) => weight(j))
/** 1, 4, … 4^(most + 1). */
const powersOfFour = (most: number): number[] => perClass(most + 1, (j) => 4 ** j)

/** {@link byClass} of positive integers from 1 to 4^(most + 1): of others the weights are 0. */
function byMagnitude<T extends Any>(x: T, most: number, ...weights: ((j: number) => number)[]): T[] {
  return byClass(
    x,
    powersOfFour(most),
    weights.map((weight) => [0, ...perClass(most, weight), 0]),
  )
}

/** As {@link byMagnitude}, of both signs: the weights of −x are those of x, negative. */
function bySignedMagnitude<T extends Any>(x: T, most: number, ...weights: ((j: number) => number)[]): T[] {
  const edges = powersOfFour(most)
  // Of integers, x ≤ −4^k where x < 1 − 4^k.
  const mirrored = edges.map((edge) => 1 - edge).reverse()
  return byClass(
    x,
    [...mirrored, ...edges],
    weights.map((weight) => {
      const above = perClass(most, weight)
      return [0, ...above.map((value) => -value).reverse(), 0, ...above, 0]
    }),
  )
}

/**
 * A function of c in [1, 4), given as integers of scale 2^bits; not divided yet: of scale 2^56. Of shares: 9 rounds, and
 * one less where bits = 27.
 */
function ofMantissa<T extends Any>(c: T, bits: number, f: (c: number) => number): T {
  // u = (c − 5/2) / 2 lies within ±3/4; of half the scale, so that no bit is lost in halving.
  const u = minus(shifted(c, bits - (BITS - 1)), 2.5 * 2 ** (BITS - 1))
  return polynomial(
    u,
    fitted((t) => f(2.5 + 2 * t), 0.75, DEGREE),
  )
}

// Powers.

/**
 * x^n for a whole n ≥ 0, by squares of squares. Every power on the way, times scale², has to stay below 2^62: of scale
 * 2^16, |x^n| < 2^30. Error: a unit from each product, grown by those after it: (n − 1) · max(1, |x|)^(n − 2) units. Of
 * shares: 2 rounds for each doubling up to n, and 2 more unless n is a power of two.
 *
 * @throws `ERR_ARGUMENT_VALUE` for other exponents
 */
export function pow<T extends Any>(x: T, exponent: number): T {
  checkFixed('pow', x)
  if (!Number.isSafeInteger(exponent) || exponent < 0) {
    throw sottoError(
      'ERR_ARGUMENT_VALUE',
      `pow: "exponent" expected a whole number from 0, got ${exponent}; of others take exp(log(x) · exponent)`,
      { op: 'pow', exponent },
    )
  }
  const action = (): T => {
    let result: T | null = null
    let square = x
    for (let left = exponent; left > 0; ) {
      if (left % 2 === 1) result = result === null ? square : (result.mul(square) as T)
      left = Math.floor(left / 2)
      if (left > 0) square = square.square() as T
    }
    if (result === null) return x.sub(x).add(1) as T
    return (result === x ? x.clone() : result) as T
  }
  const rule = (g: T, [saved]: readonly T[]): T[] =>
    exponent === 0 ? [g.sub(g) as T] : [g.mul(pow(saved!, exponent - 1)).mul(exponent) as T]
  return x.composed(
    action,
    [x],
    () => [x],
    (g, saved) => rule(g as T, saved as T[]),
  ) as T
}

interface Exponential {
  /** Scale of the result. */
  readonly out: number
  /** Fractional bits of 2^fraction. */
  readonly bits: number
  /** Whether arguments lie at or below zero, so that nothing has to be taken off above. */
  readonly isFalling: boolean
}

/**
 * e^x = 2^(x · log2 e): the whole part of the exponent by its bits, Π (1 + b_j · (2^(2^j) − 1)), the fraction by a
 * polynomial (A. Aly, N. Smart, "Benchmarking privacy preserving scientific operations", ACNS 2019). Of shares: 11
 * rounds.
 *
 * @param x integers [n] of the scale given
 */
function exponential<T extends Any>(x: T, scale: number, { out, bits, isFalling }: Exponential, as?: Encoding): T {
  const [f, outBits] = split(out)
  // Below −offset a power of two is less than half a unit of the result. The whole part is counted from there.
  const offset = outBits + 1
  // What is divided last, 2^whole · 2^fraction, is below 2^61: so much may the whole part be.
  const most = isFalling ? offset + 1 : 61 - bits
  const low = Math.ceil(-offset * Math.LN2 * scale) + 1
  const high = Math.floor((most - offset) * Math.LN2 * scale)
  const [kept, above] = isFalling
    ? byClass(x, [low], [[0, 1]])
    : byClass(
        x,
        [low, high],
        [
          [0, 1, 0],
          [0, 0, out * Math.exp(high / scale)],
        ],
      )
  // Of scale 2^52 the exponent is below 2^58. Its whole part may be one too large: the fraction lies in [−1, 1].
  const exponent = plus(times(x, (Math.LOG2E * 2 ** 52) / scale), offset * 2 ** 52)
  const whole = shifted(exponent, 52)
  const fraction = minus(shifted(exponent, 52 - BITS), shifted(whole, -BITS))
  const coefficients = fitted((t) => f * 2 ** t, 1, 7)
  const power = shifted(polynomial(fraction, coefficients), 2 * BITS - bits)
  const digits = Math.ceil(Math.log2(most + 1))
  const [binary] = whole.run('lowBits', [], { attrs: [digits], encodings: [TRUTH] })
  const factors = (binary.unstack(1) as T[]).map((bit, j) => plus(times(bit, 2 ** (2 ** j) - 1), 1))
  // Outside the domain both are of no meaning, and 0 times them is 0.
  const scaled = times(productOf(factors), times(power, kept!), bits + 1, as)
  return isFalling ? scaled : command('add', scaled, [above!], 0, as)
}

/** The product of integers, in as few rounds as there are doublings of their number. */
function productOf<T extends Any>(factors: readonly T[]): T {
  if (factors.length === 1) return factors[0]!
  const pairs = factors.flatMap((factor, i) =>
    i % 2 === 1 ? [] : [i + 1 < factors.length ? times(factor, factors[i + 1]!) : factor],
  )
  return productOf(pairs)
}

/**
 * e^x. Domain: x up to (60 − bits − σ) · ln 2 where bits = max(24, σ + 3); that is 13.86 at scale 2^16. Above, the
 * result stays at that of the largest x; far below zero it is 0.
 *
 * Error: 1.5 units and 2^−21 of the result. 11 rounds.
 */
export function exp<T extends Any>(x: T): T {
  const scale = scaleFor('exp', x)
  const options = { out: scale, bits: Math.max(24, split(scale)[1] + 3), isFalling: false }
  return x.composed(
    () => exponential(raw(x), scale, options, x.encoding).reshape(x.shape),
    [x],
    (result) => [result],
    (g, [e]) => [g.mul(e)],
  ) as T
}

// By normalisation.

/**
 * 1 / x of either sign. With n = ±4^k, where x · n lies in [1, 4): 1/x = n · 1/(x · n).
 *
 * Domain: |x| from one unit, and from 2^(σ − 34) (which is below a unit up to scale 2^17); nearer to zero the result is
 * too small, and 0 at 0. Error: 1.5 units and 2^−21 of the result. 21 rounds.
 */
export function reciprocal<T extends Any>(x: T): T {
  const scale = scaleFor('reciprocal', x)
  const action = (): T => {
    const [f, bits] = split(scale * scale)
    // What is larger than 4^(most + 1) units has an inverse below a quarter of one.
    const most = split(scale)[1]
    const value = raw(x)
    const [n, limited] = bySignedMagnitude(
      value,
      most,
      (j) => 4 ** (most - j),
      // Times an inverse of 26 bits they are divided.
      (j) => Math.min(4 ** (most - j), 4 ** 17),
    ) as [T, T]
    const inverse = ofMantissa(times(value, n), 2 * most, (c) => f / c)
    return times(limited, shifted(inverse, 2 * BITS - 26), 26 + 2 * most - bits, x.encoding).reshape(x.shape) as T
  }
  return x.composed(
    action,
    [x],
    (result) => [result],
    (g, [r]) => [g.mul(r).mul(r).neg()],
  ) as T
}

/**
 * a / b of either sign, broadcasting; not by way of 1/b, which has few digits where b is large: a · n and 1/(b · n) are
 * multiplied, with n as of {@link reciprocal}.
 *
 * Domain: |a / b| < 2^33 / scale (2^17 at scale 2^16); |b| from one unit to 2^18, of scales above 2^16 to 4 · scale. 0
 * where b is 0 or beyond. Error: 1.5 units and 2^−21 of the quotient. 21 rounds.
 */
export function div<T extends Any>(a: T, b: T): T {
  const scale = scaleFor('div', a)
  checkFixed('div', b)
  commonEncoding('div', a.encoding, b.encoding)
  a.operand('div', b, () => a.encoding)
  const action = (): T => {
    const [f, bits] = split(scale)
    const most = Math.max(bits, 8 + Math.ceil(bits / 2))
    const divisor = raw(b)
    const [n] = bySignedMagnitude(divisor, most, (j) => 4 ** (most - j)) as [T]
    const inverse = shifted(
      ofMantissa(times(divisor, n), 2 * most, (c) => f / c),
      2 * BITS - 26,
    ).reshape(b.shape) as T
    // Three bits more than the quotient has, so that they are divided once.
    const dividend = times(shifted(a, 0) as T, n.reshape(b.shape) as T, 2 * most - bits - 3)
    return times(dividend, inverse, 26 + 3, a.encoding)
  }
  const shapes = [a.shape, b.shape] as const
  return a.composed(
    action,
    [a, b],
    (result) => [b, result],
    (g, [divisor, quotient]) => {
      const part = div(g as T, divisor as T)
      return [summedTo(part, shapes[0]), b.requiresGrad ? summedTo(part.mul(quotient).neg() as T, shapes[1]) : null]
    },
  ) as T
}

/**
 * √x = 2^j · √c, for x = c · 4^j. Domain: 0 and every positive value; 0 below. Error: 1.5 units and 2^−21 of the
 * result. 21 rounds.
 */
export function sqrt<T extends Any>(x: T): T {
  const scale = scaleFor('sqrt', x)
  const action = (): T => {
    const [f, bits] = split(Math.sqrt(scale))
    const value = raw(x)
    const [n, root] = byMagnitude(
      value,
      LARGEST_CLASS,
      (j) => 4 ** (LARGEST_CLASS - j),
      (j) => 2 ** j,
    ) as [T, T]
    const mantissa = ofMantissa(times(value, n), 2 * LARGEST_CLASS, (c) => f * Math.sqrt(c))
    return times(root, shifted(mantissa, BITS), BITS - bits, x.encoding).reshape(x.shape) as T
  }
  return x.composed(
    action,
    [x],
    () => [x],
    (g, [saved]) => [g.mul(rsqrt(saved as T)).dividedBy(2)],
  ) as T
}

/**
 * 1/√x = 2^−j / √c, for x = c · 4^j. Domain: every positive value; 0 at and below 0. Error: 1.5 units and 2^−21 of the
 * result. 21 rounds.
 */
export function rsqrt<T extends Any>(x: T): T {
  const scale = scaleFor('rsqrt', x)
  const action = (): T => {
    const [f, bits] = split(scale * Math.sqrt(scale))
    const value = raw(x)
    const [n, root] = byMagnitude(
      value,
      LARGEST_CLASS,
      (j) => 4 ** (LARGEST_CLASS - j),
      (j) => 2 ** (LARGEST_CLASS - j),
    ) as [T, T]
    const mantissa = ofMantissa(times(value, n), 2 * LARGEST_CLASS, (c) => f / Math.sqrt(c))
    const shift = LARGEST_CLASS + BITS - bits
    return times(root, shifted(mantissa, BITS), shift, x.encoding).reshape(x.shape) as T
  }
  return x.composed(
    action,
    [x],
    (result) => [result],
    (g, [r]) => [g.mul(r).mul(r.square()).dividedBy(2).neg()],
  ) as T
}

/**
 * The natural logarithm: ln x = ln c + j · ln 4, for x = c · 4^j. Domain: every positive value; at and below 0 the
 * result is that of one unit. Error: 1.5 units and 2^−23. 19 rounds.
 */
export function log<T extends Any>(x: T): T {
  const scale = scaleFor('log', x)
  const action = (): T => {
    const [f, bits] = split(scale)
    const value = raw(x)
    const edges = powersOfFour(LARGEST_CLASS)
    const least = -Math.log(scale)
    const [n, one, more] = byClass(value, edges, [
      [0, ...perClass(LARGEST_CLASS, (j) => 4 ** (LARGEST_CLASS - j)), 0],
      // In the place of what is no positive number stands one unit.
      [4 ** LARGEST_CLASS, ...edges.map(() => 0)],
      [least, ...perClass(LARGEST_CLASS, (j) => least + j * Math.log(4)), 0].map((part) => f * part * 4 ** BITS),
    ]) as [T, T, T]
    const mantissa = ofMantissa(plus(times(value, n), one), 2 * LARGEST_CLASS, (c) => f * Math.log(c))
    return shifted(plus(mantissa, more), 2 * BITS - bits, x.encoding).reshape(x.shape) as T
  }
  return x.composed(
    action,
    [x],
    () => [x],
    (g, [saved]) => [div(g as T, saved as T)],
  ) as T
}

// In pieces.

interface Piece {
  /** In units. */
  readonly centre: number
  /** Of the powers of x − centre. */
  readonly cubic: readonly number[]
}

interface Pieces {
  readonly edges: readonly number[]
  /** One more than there are edges. */
  readonly classes: readonly Piece[]
}

/**
 * Cubics between the edges (in units), which differ from f by a quarter of a unit at most, each as wide as it can be;
 * and constants beyond ±reach. For functions that are odd around f(0): their pieces lie in pairs.
 */
function makePieces(f: (x: number) => number, scale: number, reach: number, limits: readonly [number, number]): Pieces {
  const last = Math.ceil(reach * scale)
  // So that the third power of what lies farthest from its centre fits, see `piecewise`: it counts from 2^20 on.
  const widest = 2 ** 15 * Math.cbrt(scale)
  const between = (low: number, high: number): Piece => {
    const centre = Math.floor((low + high) / 2)
    return { centre, cubic: fitted((t) => f(centre / scale + t), (high - centre) / scale, 3) }
  }
  const fits = (low: number, high: number): boolean => {
    const { centre, cubic } = between(low, high)
    const half = (high - centre) / scale
    const errorAt = (t: number): number =>
      Math.abs(cubic.reduceRight((sum, coefficient) => sum * t + coefficient, 0) - f(centre / scale + t))
    return (
      high - low <= widest &&
      Array.from({ length: 33 }, (_, i) => half * (i / 16 - 1)).every((t) => errorAt(t) * scale <= 0.25)
    )
  }
  /** The farthest end of a piece, by halving what is in doubt. */
  const farthest = (from: number, lowOf: (high: number) => number): number => {
    let [good, bad] = [from + 1, last + 1]
    while (bad - good > 1) {
      const middle = Math.floor((good + bad) / 2)
      if (fits(lowOf(middle), middle)) good = middle
      else bad = middle
    }
    return good
  }
  const ends = [farthest(0, (high) => -high)]
  for (let end = ends[0]!; end < last; ends.push(end)) {
    const from = end
    end = farthest(from, () => from)
  }
  const edges = [...ends.map((end) => -end).reverse(), ...ends]
  const level = (limit: number): Piece => ({ centre: 0, cubic: [limit, 0, 0, 0] })
  const inner = edges.slice(1).map((high, i) => between(edges[i]!, high))
  return { edges, classes: [level(limits[0]), ...inner, level(limits[1])] }
}

/**
 * a0 + a1·t + t²·(a2 + a3·t), with the centre and coefficients of the piece that x is in. Of shares: 12 rounds, 31 B for
 * each edge.
 *
 * Beyond the edges t is of any size, and a1 to a3 are 0: so it is right that none of their products is divided before
 * the last, which would leave a 1 to be multiplied by t².
 */
function piecewise<T extends Any>(x: T, { edges, classes }: Pieces): T {
  const { scale } = x
  const [, bits] = split(scale)
  // Bits taken off t²: what they are worth, times |a2 + a3·t| < 0.4, is below a tenth of a unit.
  const ofSquare = Math.max(0, bits - 3)
  // Bits taken off t where it stands beside a3: they are worth less than a tenth of a unit too.
  const ofLast = Math.max(0, bits - 16)
  // Bits of the sum below the unit: so many that rounding a3 is worth a sixteenth of a unit. With t up to 2^14 · ∛scale,
  // and |a1·t + …| up to 1/8 of the scale where pieces are so narrow, the sum stays below 2^62.
  const largest = Math.max(...edges.slice(1).map((edge, i) => (edge - edges[i]!) / 2 + 1))
  const below = Math.max(4, Math.ceil(3 + 3 * Math.log2(largest)) - ofSquare - ofLast)
  const units = classes.map(({ cubic }) => Math.round(cubic[0]! * scale))
  const value = raw(x)
  const [centre, a0, rest, a1, a2, a3] = byClass(value, edges, [
    classes.map((piece) => piece.centre),
    units,
    classes.map(({ cubic }, k) => (cubic[0]! * scale - units[k]!) * 2 ** below),
    classes.map(({ cubic }) => cubic[1]! * 2 ** below),
    classes.map(({ cubic }) => (cubic[2]! * 2 ** (below + ofSquare)) / scale),
    classes.map(({ cubic }) => (cubic[3]! * 2 ** (below + ofSquare + ofLast)) / scale ** 2),
  ]) as [T, T, T, T, T, T]
  const t = minus(value, centre)
  const curved = times(squared(t, ofSquare), plus(a2, times(a3, shifted(t, ofLast))))
  const sum = plus(plus(rest, times(a1, t)), curved)
  return command('add', shifted(sum, below), [a0], 0, x.encoding).reshape(x.shape) as T
}

/** Pieces of a function for each scale, made when they are first wanted (some ms). */
function piecesOf(make: (scale: number) => Pieces): (scale: number) => Pieces {
  const made = new Map<number, Pieces>()
  return (scale) => {
    const pieces = made.get(scale) ?? make(scale)
    made.set(scale, pieces)
    return pieces
  }
}

// Where they begin to be level, they are a quarter of a unit from their limits: e^−x, and 2·e^−2x.
const sigmoidPieces = piecesOf((scale) => makePieces((x) => 1 / (1 + Math.exp(-x)), scale, Math.log(4 * scale), [0, 1]))
const tanhPieces = piecesOf((scale) => makePieces(Math.tanh, scale, Math.log(8 * scale) / 2, [-1, 1]))

/**
 * 1 / (1 + e^−x), in pieces: 20 edges at scale 2^16, 8 at 10^3, 106 at 2^24. Domain: every value. Error: 1.5 units. 12
 * rounds; by e^−|x| and a reciprocal it would take twice as many.
 */
export function sigmoid<T extends Any>(x: T): T {
  const scale = scaleFor('sigmoid', x)
  return x.composed(
    () => piecewise(x, sigmoidPieces(scale)),
    [x],
    (result) => [result],
    (g, [s]) => {
      const part = g.mul(s)
      return [part.sub(part.mul(s))]
    },
  ) as T
}

/** The hyperbolic tangent, in pieces: 24 edges at scale 2^16. Domain: every value. Error: 1.5 units. 12 rounds. */
export function tanh<T extends Any>(x: T): T {
  const scale = scaleFor('tanh', x)
  return x.composed(
    () => piecewise(x, tanhPieces(scale)),
    [x],
    (result) => [result],
    (g, [t]) => [g.sub(g.mul(t).mul(t))],
  ) as T
}

// Over an axis.

/** Fractional bits of e^x in sums. */
const SUM_BITS = BITS - 1

/** What softmax and its logarithm begin with: x − max, e to that (scale 2^27), its sums, and what they are near to. */
function exponentials<T extends Any>(name: string, x: T, axis: number) {
  const at = normalizeAxis(name, axis, x.rank)
  const shifts = x.sub(x.max(at, true)) as T
  const options = { out: 2 ** SUM_BITS, bits: BITS, isFalling: true }
  const e = exponential(raw(shifts), x.scale, options).reshape(x.shape) as T
  const total = e.sum(at, true) as T
  // One of the e is 1: a sum lies between 1 and their number, in the class 0 to `most`.
  const most = Math.max(0, Math.ceil(Math.log2(x.shape[at]!) / 2) - 1)
  const sums = total.flatten() as T
  const classes = (...weights: ((j: number) => number)[]): T[] =>
    byClass(
      sums,
      perClass(most, (j) => 4 ** j * 2 ** SUM_BITS).slice(1),
      weights.map((weight) => perClass(most, weight)),
    )
  return { shifts, e, sums, shape: total.shape as Shape, most, classes }
}

/**
 * e^(x − max) / Σ e^(x − max) along an axis. Domain: every value. Error: 1.5 units, and of the result 2^−21 and
 * 2^−27 for each element. 22 rounds after those of max, 32 from 5 elements on.
 */
export function softmax<T extends Any>(x: T, axis: number): T {
  const scale = scaleFor('softmax', x)
  const action = (): T => {
    if (x.size === 0) return x.clone() as T
    const { e, sums, shape, most, classes } = exponentials('softmax', x, axis)
    const [f, bits] = split(scale)
    const invert = (c: T): T => {
      const inverse = ofMantissa(c, SUM_BITS + 2 * most, (value) => f / value)
      return shifted(inverse, 2 * BITS - 26).reshape(shape) as T
    }
    const shift = SUM_BITS + 26 - bits
    if (most === 0) return times(e, invert(sums), shift, x.encoding)
    const [n] = classes((j) => 4 ** (most - j)) as [T]
    return times(times(e, n.reshape(shape) as T, 2 * most), invert(times(sums, n)), shift, x.encoding)
  }
  return x.composed(
    action,
    [x],
    (result) => [result],
    (g, [s]) => [s.mul(g.sub(g.mul(s).sum(axis, true)))],
  ) as T
}

/**
 * x − max − ln Σ e^(x − max) along an axis. Domain: every value. Error: 1.5 units, 2^−21 and 2^−27 for each
 * element. 20 rounds after those of max, 30 from 5 elements on.
 */
export function logSoftmax<T extends Any>(x: T, axis: number): T {
  const scale = scaleFor('logSoftmax', x)
  const action = (): T => {
    if (x.size === 0) return x.clone() as T
    const { shifts, sums, shape, most, classes } = exponentials('logSoftmax', x, axis)
    const [f, bits] = split(scale)
    const ofSum = (c: T): T => ofMantissa(c, SUM_BITS + 2 * most, (value) => f * Math.log(value))
    const whole = (): T => {
      if (most === 0) return ofSum(sums)
      const [n, more] = classes(
        (j) => 4 ** (most - j),
        (j) => f * j * Math.log(4) * 4 ** BITS,
      ) as [T, T]
      return plus(ofSum(times(sums, n)), more)
    }
    return shifts.sub(shifted(whole(), 2 * BITS - bits, x.encoding).reshape(shape)) as T
  }
  return x.composed(
    action,
    [x],
    (result) => [result],
    (g, [l]) => [g.sub(exp(l as T).mul(g.sum(axis, true)))],
  ) as T
}
