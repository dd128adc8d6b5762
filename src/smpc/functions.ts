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
 * are those of the additive protocol; a comparison takes six of them.
 *
 * So it is of 64 bits. The ring of 128 has room for twelve bits more: scales go up to 2^36, inner ones are 2^40 where they
 * are 2^28, polynomials on [1, 4] have degree 31, and what is stated as 2^−21, 2^−23 and 2^−27 of something is 2^−33, 2^−35
 * and 2^−39. All that is divided stays below 2^126. A comparison takes seven rounds, a polynomial of degree 31 ten; what
 * else differs stands beside each function.
 */
import { sottoError } from '../errors.ts'
import { normalizeAxis, type Shape } from '../tensor/shape.ts'
import type { AnyEncoded as Any, PublicOperand } from './encoded-tensor.ts'
import { commonEncoding, type Encoding, INTEGER, isFixed, showEncoding, TRUTH } from './encoding.ts'
import { summedTo } from './gradients.ts'
import { wholeNumbers } from './literals.ts'
import type { RingBits } from './ring/kernels.ts'
import type { RingOp } from './ring-ops.ts'

/** What a ring leaves room for. */
interface Working {
  /** What is divided lies below 2^room. */
  readonly room: number
  /** Fractional bits of what polynomials are computed with. Results of 2^(precision − 4) have four bits below them. */
  readonly precision: number
  /** Of polynomials on [1, 4). */
  readonly degree: number
  /** Of those for 2^t on [−1, 1]. */
  readonly powerDegree: number
  /** Values of encoded tensors lie below 4^(largestClass + 1) units. */
  readonly largestClass: number
  /** Values that are taken roughly lie below 16^coarseClasses units. */
  readonly coarseClasses: number
  /** Fractional bits of the exponent of a power of two. */
  readonly exponentBits: number
}
const WORKING: Readonly<Record<RingBits, Working>> = {
  // Squares have 62 − 56 bits before the point. Degree 15 is the largest that takes 9 rounds, and errs by 2^−24.4 of 1/c, less
  // of the others; degree 7 by 2^−26 of 2^t. Values lie below 2^50 units.
  64: { room: 62, precision: 28, degree: 15, powerDegree: 7, largestClass: 24, coarseClasses: 11, exponentBits: 52 },
  // Degree 31 errs by 2^−49 of 1/c, and takes no more rounds than degree 16; degree 11 by 2^−46 of 2^t. Values lie below
  // 2^64 units. More bits would do in room; but then there are divisors above 2^52, which take two steps.
  128: { room: 126, precision: 40, degree: 31, powerDegree: 11, largestClass: 31, coarseClasses: 14, exponentBits: 84 },
}
const workingOf = (x: Any): Working => WORKING[x.encoding.ring]

// What numbers need: an integer of the ring is a scale away from what it stands for.

/** @throws `ERR_PRECISION` for integers and truths, and for scales above 2^24, of 128 bits 2^36 */
function checkFixed(name: string, x: Any): void {
  if (!isFixed(x.encoding)) {
    throw sottoError('ERR_PRECISION', `${name}: takes fixed precision, this is ${x.dtype}; call fixPrecision() first`, {
      op: name,
    })
  }
}
function scaleFor(name: string, x: Any): number {
  checkFixed(name, x)
  const most = workingOf(x).precision - 4
  if (x.scale > 2 ** most) {
    throw sottoError(
      'ERR_PRECISION',
      `${name}: takes scales up to 2^${most}, this is ${showEncoding(x.encoding)}; use a smaller precisionFractional`,
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

/** Public numbers for what is computed with x. */
const constants = (x: Any, shape: Shape, values: readonly bigint[]): PublicOperand =>
  wholeNumbers(x.encoding.ring, shape, values)
const constant = (x: Any, value: number): PublicOperand => constants(x, [], [rounded(value)])

/** Of a divisor: they are counts up to 2^53. */
const MOST_BITS = 52

/** A row of the ring op table, whose result is an integer unless an encoding says more; divided by 2^bits. */
function command<T extends Any>(
  op: RingOp,
  x: T,
  more: readonly (T | PublicOperand)[],
  bits = 0,
  as: Encoding = INTEGER[x.encoding.ring as RingBits],
): T {
  // Two steps make a larger one, the error of the first a sixteenth of the second's.
  const first = bits > MOST_BITS ? Math.min(MOST_BITS, bits - 4) : bits
  const divisor = first === 0 ? null : 1n << BigInt(first)
  if (first < bits) return shifted(command(op, x, more, first), bits - first, as)
  return x.run(op, more, { divisor, encodings: [as] })[0] as T
}
const plus = <T extends Any>(x: T, y: T | number): T =>
  command('add', x, [typeof y === 'number' ? constant(x, y) : y]) as T
const minus = <T extends Any>(x: T, y: T | number): T =>
  command('sub', x, [typeof y === 'number' ? constant(x, y) : y]) as T
/** x · y / 2^bits. Of shares: one round, and one more to divide; public numbers need the second alone. */
const times = <T extends Any>(x: T, y: T | number, bits = 0, as?: Encoding): T =>
  command('mul', x, [typeof y === 'number' ? constant(x, y) : y], bits, as)
const squared = <T extends Any>(x: T, bits: number): T => command('square', x, [], bits)
/** x / 2^bits, or times 2^−bits. Of shares: one round to divide. */
function shifted<T extends Any>(x: T, bits: number, as?: Encoding): T {
  return bits < 0 ? times(x, 2 ** -bits, 0, as) : command('clone', x, [], bits, as)
}

/** The elements in a row, as integers. */
const raw = <T extends Any>(x: T): T => shifted(x, 0).flatten() as T

/** [n, k] times public [k, m], plus public [m]. Local. */
function affine<T extends Any>(x: T, matrix: readonly (readonly bigint[])[], more: readonly bigint[]): T {
  const factors = constants(x, [matrix.length, more.length], matrix.flat())
  const [product] = x.run('matMul', [factors], { attrs: [false, false], encodings: [factors.encoding] })
  return command('add', product as T, [constants(x, [more.length], more)])
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
 * Of shares: 6 rounds to degree 7, 8 rounds to degree 15, 10 to degree 31. Errs by less than 2^−24 beside what the
 * coefficients do. Of 128 bits 2^28 is 2^40, 2^56 is 2^80, and 2^−24 is 2^−36.
 */
function polynomial<T extends Any>(t: T, coefficients: readonly number[]): T {
  const { precision } = workingOf(t)
  const blocks = 2 ** Math.ceil(Math.log2(coefficients.length / 4))
  /** The coefficients of t^i in each block. */
  const of = (i: number, scale: number): bigint[] =>
    Array.from({ length: blocks }, (_, block) => rounded((coefficients[4 * block + i] ?? 0) * scale))
  const t2 = squared(t, precision)
  const t3 = times(t2, t, precision)
  let power = squared(t2, precision)
  const rows = [1, 2, 3].map((i) => of(i, 2 ** precision))
  let sums = affine(t.stack([t2, t3], 1) as T, rows, of(0, 4 ** precision))
  for (let count = blocks; count > 1; count /= 2) {
    const pairs = shifted(sums, precision).reshape([t.size, count / 2, 2]) as T
    const [even, odd] = pairs.unstack(2) as [T, T]
    sums = plus(shifted(even, -precision), times(odd, power.reshape([t.size, 1]) as T))
    if (count > 2) power = squared(power, precision)
  }
  return sums.flatten() as T
}

// Public weights by secret classes.

/**
 * For each value of [n], the weights of its class, of each list of weights: class 0 lies below edges[0], class k from
 * edges[k − 1] on, the last from the last edge on. Of shares: one comparison with all edges at once, 6 rounds and 13 B
 * for each edge; the rest is local.
 */
function byClass<T extends Any>(x: T, edges: readonly number[], lists: readonly (readonly number[])[]): T[] {
  const whole = lists.map((weights) => weights.map(rounded))
  const differences = command('sub', x.reshape([x.size, 1]) as T, [constants(x, [edges.length], edges.map(rounded))])
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
 * A function of c in [1, 4), given as integers of scale 2^bits; not divided yet: of scale 2^56 (of 128 bits 2^80). Of
 * shares: 9 rounds (11), and one less where bits = 27 (39).
 */
function ofMantissa<T extends Any>(c: T, bits: number, f: (c: number) => number): T {
  const { precision, degree } = workingOf(c)
  // u = (c − 5/2) / 2 lies within ±3/4; of half the scale, so that no bit is lost in halving.
  const u = minus(shifted(c, bits - (precision - 1)), 2.5 * 2 ** (precision - 1))
  return polynomial(
    u,
    fitted((t) => f(2.5 + 2 * t), 0.75, degree),
  )
}

// Powers.

/**
 * x^n for a whole n ≥ 0, by squares of squares. Every power on the way, times scale², has to stay below 2^62: of scale
 * 2^16, |x^n| < 2^30; of 128 bits below 2^126, so that of scale 2^32 |x^n| < 2^62. Error: a unit from each product, grown by those after it: (n − 1) · max(1, |x|)^(n − 2) units. Of
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
 * polynomial (A. Aly, N. Smart, "Benchmarking privacy preserving scientific operations", ACNS 2019). Of shares: 10
 * rounds; of 128 bits 13.
 *
 * @param x integers [n] of the scale given
 */
function exponential<T extends Any>(x: T, scale: number, { out, bits, isFalling }: Exponential, as?: Encoding): T {
  const { room, precision, powerDegree, exponentBits } = workingOf(x)
  const [f, outBits] = split(out)
  // Below −offset a power of two is less than half a unit of the result. The whole part is counted from there.
  const offset = outBits + 1
  // What is divided last, 2^whole · 2^fraction, is below 2^(room − 1): so much may the whole part be.
  const most = isFalling ? offset + 1 : room - 1 - bits
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
  // Of scale 2^52 the exponent is below 2^58 (of 2^84, below 2^91). Its whole part may be one too large: the fraction lies in
  // [−1, 1].
  const exponent = plus(times(x, (Math.LOG2E * 2 ** exponentBits) / scale), offset * 2 ** exponentBits)
  const whole = shifted(exponent, exponentBits)
  const fraction = minus(shifted(exponent, exponentBits - precision), shifted(whole, -precision))
  const coefficients = fitted((t) => f * 2 ** t, 1, powerDegree)
  const power = shifted(polynomial(fraction, coefficients), 2 * precision - bits)
  const digits = Math.ceil(Math.log2(most + 1))
  const [binary] = whole.run('lowBits', [], { attrs: [digits], encodings: [TRUTH[x.encoding.ring as RingBits]] })
  const factors = (binary.unstack(1) as T[]).map((bit, j) => plus(times(bit, 2 ** (2 ** j) - 1), 1))
  // Outside the domain both are of no meaning, and 0 times them is 0. The whole part is there before the fraction.
  const scaled = times(times(productOf(factors), kept!), power, bits + 1, as)
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
 * e^x. Domain: x up to (60 − bits − σ) · ln 2 where bits = max(24, σ + 3); that is 13.86 at scale 2^16. Of 128 bits, up to
 * (124 − bits − σ) · ln 2 where bits = max(36, σ + 3): 38.8 at scale 2^32. Above, the result stays at that of the largest
 * x; far below zero it is 0.
 *
 * Error: 1.5 units and 2^−21 of the result. 10 rounds; of 128 bits 13.
 */
export function exp<T extends Any>(x: T): T {
  const scale = scaleFor('exp', x)
  const options = { out: scale, bits: Math.max(workingOf(x).precision - 4, split(scale)[1] + 3), isFalling: false }
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
 * too small, and 0 at 0. Of 128 bits, from one unit at every scale. Error: 1.5 units and 2^−21 of the result. 19 rounds; of
 * 128 bits 22.
 */
export function reciprocal<T extends Any>(x: T): T {
  const scale = scaleFor('reciprocal', x)
  const action = (): T => {
    const { room, precision } = workingOf(x)
    const inverseBits = precision - 2
    const [f, bits] = split(scale * scale)
    // What is larger than 4^(most + 1) units has an inverse below a quarter of one.
    const most = split(scale)[1]
    const value = raw(x)
    const [n, limited] = bySignedMagnitude(
      value,
      most,
      (j) => 4 ** (most - j),
      // Times an inverse of 26 bits they are divided.
      (j) => Math.min(4 ** (most - j), 4 ** ((room - inverseBits - 2) / 2)),
    ) as [T, T]
    const inverse = ofMantissa(times(value, n), 2 * most, (c) => f / c)
    const whole = shifted(inverse, 2 * precision - inverseBits)
    return times(limited, whole, inverseBits + 2 * most - bits, x.encoding).reshape(x.shape) as T
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
 * Domain: |a / b| < 2^33 / scale (2^17 at scale 2^16); |b| from one unit to 2^18, of scales above 2^16 to 4 · scale.
 * Where b is 0 or beyond, at most 2 units. Of 128 bits: |a / b| < 2^81 / scale; |b| to 2^34, of scales above 2^32 to 4 ·
 * scale; where b is 0 or beyond, at most 1 unit. Error: 1.5
 * units and 2^−21 of the quotient. 19 rounds; of 128 bits 22.
 */
export function div<T extends Any>(a: T, b: T): T {
  const scale = scaleFor('div', a)
  checkFixed('div', b)
  commonEncoding('div', a.encoding, b.encoding)
  a.operand('div', b, () => a.encoding)
  const action = (): T => {
    const { room, precision } = workingOf(a)
    const inverseBits = precision - 2
    const [f, bits] = split(scale)
    // So that the largest divisor is 2^18 (2^34) at scales to 2^16 (2^32).
    const most = Math.max(bits, (room === 62 ? 8 : 16) + Math.ceil(bits / 2))
    const divisor = raw(b)
    const [n] = bySignedMagnitude(divisor, most, (j) => 4 ** (most - j)) as [T]
    const inverse = shifted(
      ofMantissa(times(divisor, n), 2 * most, (c) => f / c),
      2 * precision - inverseBits,
    ).reshape(b.shape) as T
    // Some bits more than the quotient has, so that they are divided once. Where n is 0, the one that a division may leave
    // meets what the polynomial is at 0: 8, of degree 31 16.
    const more = room === 62 ? 3 : 7
    const dividend = times(shifted(a, 0) as T, n.reshape(b.shape) as T, 2 * most - bits - more)
    return times(dividend, inverse, inverseBits + more, a.encoding)
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
 * result. 19 rounds; of 128 bits 22.
 */
export function sqrt<T extends Any>(x: T): T {
  const scale = scaleFor('sqrt', x)
  const action = (): T => {
    const { precision, largestClass } = workingOf(x)
    const [f, bits] = split(Math.sqrt(scale))
    const value = raw(x)
    const [n, root] = byMagnitude(
      value,
      largestClass,
      (j) => 4 ** (largestClass - j),
      (j) => 2 ** j,
    ) as [T, T]
    const mantissa = ofMantissa(times(value, n), 2 * largestClass, (c) => f * Math.sqrt(c))
    return times(root, shifted(mantissa, precision), precision - bits, x.encoding).reshape(x.shape) as T
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
 * result. 19 rounds; of 128 bits 22.
 */
export function rsqrt<T extends Any>(x: T): T {
  const scale = scaleFor('rsqrt', x)
  const action = (): T => {
    const { precision, largestClass } = workingOf(x)
    const [f, bits] = split(scale * Math.sqrt(scale))
    const value = raw(x)
    const [n, root] = byMagnitude(
      value,
      largestClass,
      (j) => 4 ** (largestClass - j),
      (j) => 2 ** (largestClass - j),
    ) as [T, T]
    const mantissa = ofMantissa(times(value, n), 2 * largestClass, (c) => f / Math.sqrt(c))
    const shift = largestClass + precision - bits
    return times(root, shifted(mantissa, precision), shift, x.encoding).reshape(x.shape) as T
  }
  return x.composed(
    action,
    [x],
    (result) => [result],
    (g, [r]) => [g.mul(r).mul(r.square()).dividedBy(2).neg()],
  ) as T
}

/** Of the polynomial on [1, 16): the largest that takes 8 rounds. */
const COARSE_DEGREE = 15

/**
 * 1/√x for who needs no more than 12 bits of it, as steps of an optimizer do: x = c · 16^j with c in [1, 16), of which the
 * same polynomial errs by 2^-12.7. A third of the comparisons of {@link rsqrt}, and half of its bytes. Without a gradient.
 *
 * Domain: from one unit to 2^44 of them, of 128 bits to 2^56; at and below 0 the result is that of no number. Error: 1.5 units and 2^-12 of the
 * result. 19 rounds.
 */
export function coarseRsqrt<T extends Any>(x: T): T {
  const scale = scaleFor('rsqrt', x)
  const { precision, coarseClasses } = workingOf(x)
  const last = coarseClasses - 1
  const [f, bits] = split(scale * Math.sqrt(scale))
  const classes = Array.from({ length: coarseClasses }, (_, j) => j)
  const value = raw(x)
  const [n, root] = byClass(
    value,
    classes.slice(1).map((j) => 16 ** j),
    [classes.map((j) => 16 ** (last - j)), classes.map((j) => 4 ** (last - j))],
  ) as [T, T]
  // u = (c − 17/2) / 8 lies within ±15/16.
  const u = minus(shifted(times(value, n), 4 * last + 3 - precision), 8.5 * 2 ** (precision - 3))
  const mantissa = polynomial(
    u,
    fitted((t) => f / Math.sqrt(8.5 + 8 * t), 15 / 16, COARSE_DEGREE),
  )
  return times(root, shifted(mantissa, precision), 2 * last + precision - bits, x.encoding).reshape(x.shape) as T
}

/**
 * The natural logarithm: ln x = ln c + j · ln 4, for x = c · 4^j. Domain: every positive value; at and below 0 the
 * result is that of one unit. Error: 1.5 units and 2^−23. 17 rounds; of 128 bits 20.
 */
export function log<T extends Any>(x: T): T {
  const scale = scaleFor('log', x)
  const action = (): T => {
    const { precision, largestClass } = workingOf(x)
    const [f, bits] = split(scale)
    const value = raw(x)
    const edges = powersOfFour(largestClass)
    const least = -Math.log(scale)
    const [n, one, more] = byClass(value, edges, [
      [0, ...perClass(largestClass, (j) => 4 ** (largestClass - j)), 0],
      // In the place of what is no positive number stands one unit.
      [4 ** largestClass, ...edges.map(() => 0)],
      [least, ...perClass(largestClass, (j) => least + j * Math.log(4)), 0].map((part) => f * part * 4 ** precision),
    ]) as [T, T, T]
    const mantissa = ofMantissa(plus(times(value, n), one), 2 * largestClass, (c) => f * Math.log(c))
    return shifted(plus(mantissa, more), 2 * precision - bits, x.encoding).reshape(x.shape) as T
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
 * a0 + a1·t + t²·(a2 + a3·t), with the centre and coefficients of the piece that x is in. Of shares: 10 rounds, 13 B for
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

/** Above this scale pieces would be more than a hundred, and functions are computed by an exponential. */
const MOST_IN_PIECES = 2 ** 24

/**
 * 1 / (1 + e^−|x|) (scale 2^40), and whether x is below 0: from the exponential of −|x| and the inverse of what lies in
 * [1, 2], which needs no normalisation. Of 128 bits. Of shares: 7 rounds for the sign, 13 and 12.
 */
function logistic<T extends Any>(x: T, scale: number): readonly [halfOrMore: T, isBelow: T] {
  const { precision } = workingOf(x)
  const value = raw(x)
  const [isBelow, negative] = value.negativeAnd([value]) as [T, T]
  const falling = minus(times(negative, 2), value)
  const e = exponential(falling, scale, { out: 2 ** (precision - 1), bits: precision, isFalling: true })
  const inverse = ofMantissa(plus(e, 2 ** (precision - 1)), precision - 1, (c) => 1 / c)
  return [shifted(inverse, precision), isBelow]
}

/** The logistic function s of x, or 2·s(2x) − 1. What is beyond 0 mirrors what is above. */
function byLogistic<T extends Any>(x: T, scale: number, factor: 1 | 2): T {
  const { precision } = workingOf(x)
  const [halfOrMore, isBelow] = logistic(factor === 1 ? x : (x.mul(2) as T), scale)
  // 2s − 1 is odd.
  const odd = minus(times(halfOrMore, 2), 2 ** precision)
  const signed = minus(odd, times(times(odd, isBelow), 2))
  const [f, bits] = split(scale)
  const wide =
    factor === 1 ? times(plus(signed, 2 ** precision), f * 2 ** (precision - 1)) : times(signed, f * 2 ** precision)
  return shifted(wide, 2 * precision - bits, x.encoding).reshape(x.shape) as T
}

/**
 * 1 / (1 + e^−x), in pieces: 20 edges at scale 2^16, 8 at 10^3, 106 at 2^24. Domain: every value. Error: 1.5 units. 10
 * rounds; by e^−|x| and a reciprocal, which is the way of larger scales, 33.
 */
export function sigmoid<T extends Any>(x: T): T {
  const scale = scaleFor('sigmoid', x)
  return x.composed(
    () => (scale > MOST_IN_PIECES ? byLogistic(x, scale, 1) : piecewise(x, sigmoidPieces(scale))),
    [x],
    (result) => [result],
    (g, [s]) => {
      const part = g.mul(s)
      return [part.sub(part.mul(s))]
    },
  ) as T
}

/**
 * The hyperbolic tangent, in pieces: 24 edges at scale 2^16. Domain: every value. Error: 1.5 units. 10 rounds; of scales
 * above 2^24, as 2 / (1 + e^−2x) − 1, 33.
 */
export function tanh<T extends Any>(x: T): T {
  const scale = scaleFor('tanh', x)
  return x.composed(
    () => (scale > MOST_IN_PIECES ? byLogistic(x, scale, 2) : piecewise(x, tanhPieces(scale))),
    [x],
    (result) => [result],
    (g, [t]) => [g.sub(g.mul(t).mul(t))],
  ) as T
}

// Over an axis.

/** What softmax and its logarithm begin with: x − max, e to that (scale 2^27, of 128 bits 2^39), its sums, and their classes. */
function exponentials<T extends Any>(name: string, x: T, axis: number) {
  const at = normalizeAxis(name, axis, x.rank)
  const { precision } = workingOf(x)
  const sumBits = precision - 1
  const shifts = x.sub(x.max(at, true)) as T
  const options = { out: 2 ** sumBits, bits: precision, isFalling: true }
  const e = exponential(raw(shifts), x.scale, options).reshape(x.shape) as T
  const total = e.sum(at, true) as T
  // One of the e is 1: a sum lies between 1 and their number, in the class 0 to `most`.
  const most = Math.max(0, Math.ceil(Math.log2(x.shape[at]!) / 2) - 1)
  const sums = total.flatten() as T
  const classes = (...weights: ((j: number) => number)[]): T[] =>
    byClass(
      sums,
      perClass(most, (j) => 4 ** j * 2 ** sumBits).slice(1),
      weights.map((weight) => perClass(most, weight)),
    )
  return { shifts, e, sums, sumBits, shape: total.shape as Shape, most, classes }
}

/**
 * e^(x − max) / Σ e^(x − max) along an axis. Domain: every value. Error: 1.5 units, and of the result 2^−21 and
 * 2^−27 for each element. 21 rounds after those of max, 29 from 5 elements on; of 128 bits 26 and 35.
 */
export function softmax<T extends Any>(x: T, axis: number): T {
  const scale = scaleFor('softmax', x)
  const action = (): T => {
    if (x.size === 0) return x.clone() as T
    const { e, sums, sumBits, shape, most, classes } = exponentials('softmax', x, axis)
    const { precision } = workingOf(x)
    const inverseBits = precision - 2
    const [f, bits] = split(scale)
    const invert = (c: T): T => {
      const inverse = ofMantissa(c, sumBits + 2 * most, (value) => f / value)
      return shifted(inverse, 2 * precision - inverseBits).reshape(shape) as T
    }
    const shift = sumBits + inverseBits - bits
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
 * element. 19 rounds after those of max, 27 from 5 elements on; of 128 bits 24 and 33.
 */
export function logSoftmax<T extends Any>(x: T, axis: number): T {
  const scale = scaleFor('logSoftmax', x)
  const action = (): T => {
    if (x.size === 0) return x.clone() as T
    const { shifts, sums, sumBits, shape, most, classes } = exponentials('logSoftmax', x, axis)
    const { precision } = workingOf(x)
    const [f, bits] = split(scale)
    const ofSum = (c: T): T => ofMantissa(c, sumBits + 2 * most, (value) => f * Math.log(value))
    const whole = (): T => {
      if (most === 0) return ofSum(sums)
      const [n, more] = classes(
        (j) => 4 ** (most - j),
        (j) => f * j * Math.log(4) * 4 ** precision,
      ) as [T, T]
      return plus(ofSum(times(sums, n)), more)
    }
    return shifts.sub(shifted(whole(), 2 * precision - bits, x.encoding).reshape(shape)) as T
  }
  return x.composed(
    action,
    [x],
    (result) => [result],
    (g, [l]) => [g.sub(exp(l as T).mul(g.sum(axis, true)))],
  ) as T
}
