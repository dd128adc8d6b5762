/**
 * Arithmetic on arrays of Z_2^l, l = 64 or 128: the one interface behind which WebAssembly and plain JavaScript stand.
 *
 * Elements are of one 64-bit word, or of two, the low one first; signed values in two's complement. A kernel never changes what it is given
 * and gives an array of its own. Bits of many values are kept as planes: plane j holds bit j of every value, value i at
 * bit i & 7 of byte i >> 3, so that a plane of n values takes ⌈n/8⌉ bytes and a circuit runs on whole planes at once.
 */

/** Bits of an element. */
export type RingBits = 64 | 128
/** Elements of the ring, row by row; as many words as elements times {@link wordsPerElement}. */
export type Words = BigUint64Array
/** Bits of many values; see above. Bits past the last value are of no meaning. */
export type Planes = Uint8Array

/** Words that an element takes. */
export const wordsPerElement = (bits: RingBits): 1 | 2 => (bits === 64 ? 1 : 2)

/** The kernels of each ring. */
export type Rings = Readonly<Record<RingBits, RingKernels>>

/** Bytes that come piece by piece, in order, as those of a stream. */
export interface Source {
  next(bytes: number): Uint8Array
}

/**
 * What the helper of a division takes: of n elements, what it has in common with each of the others, A and B. Tops and masks
 * are of few bits, see `fewBytes`.
 */
export interface Dealing {
  readonly n: number
  readonly divisor: bigint
  /** Its own summand of what is divided, and what masks that; null where components are divided. */
  readonly own: { readonly summand: Words; readonly mask: Source } | null
  readonly rA: Source
  readonly rB: Source
  readonly quotientA: Source
  readonly topA: Source
  readonly maskA: Source
  readonly maskB: Source
}
/** What it hands over, and the components that it ends with: 2z·maskB − quotient before, 2z·maskA − quotientA after. */
export interface Dealt {
  /** Its own summand, masked. */
  readonly own: Words | null
  readonly quotient: Words
  /** Packed. */
  readonly top: Uint8Array
  readonly before: Words
  readonly after: Words
}

/** What the two others take when c is there in summands, and their shares of what was dealt. */
export interface Carrying {
  readonly divisor: bigint
  readonly masked: Words
  readonly theirs: Words
  /** What the helper has added; null where components are divided. */
  readonly helpers: Words | null
  readonly quotient: Source
  /** Drawn, or packed as it came. */
  readonly top: Source | Uint8Array
  readonly mask: Source
}
export interface Carried {
  readonly c: Words
  /** ±top − mask, packed. */
  readonly carry: Uint8Array
  /** 2z·mask − quotient. */
  readonly component: Words
}

/** A division with a helper (see `protocols/replicated/truncation.ts`), a step in one pass; z is as of {@link RingKernels.truncate}. */
export interface HelpedKernels {
  /** a + b + k, and a + b + c + k. */
  sum2(a: Words, b: Words | Source, k: bigint): Words
  sum3(a: Words, b: Words, c: Words | Source, k: bigint): Words
  /** ⌊(r mod 2^(l−1)) / divisor⌋ and r_(l−1) of r = rA + rB + mask, less what is drawn of them. */
  dealDivision(of: Dealing): Dealt
  /** c = masked + theirs + helpers; the top is taken negative where that of c is set. */
  carryDivision(of: Carrying): Carried
  /** ⌊(c mod 2^(l−1)) / divisor⌋ − z + 2z·(mine + theirs + c_(l−1)), of packed carries. */
  closeDivision(c: Words, mine: Uint8Array, theirs: Uint8Array, divisor: bigint): Words
}

/** Numbers compared by the digits of one that is known and the coded digits of one that is not; see `digits.ts`. */
export interface DigitKernels {
  /**
   * The thermometer codes of elements: 15 planes for each digit, the lowest first; of 4032 elements at a time.
   *
   * @param digits of so many of the lowest, 1 to l/4
   */
  thermometers(a: Words, digits: number): Planes
  /**
   * From codes of r, or shares of them, and c in clear: for each digit, planes of c = r, and for each digit,
   * of c < r. A share of the answer is as of the party that adds what is public, or not.
   *
   * @param isSigned of the highest digit of each element: the sign of c − r as if nothing were borrowed from them, in place of c < r, and
   *   whether a borrow changes it, in place of c = r
   */
  compareDigits(codes: Planes, c: Words, digits: number, isSigned: boolean, addsPublic: boolean): Planes
  /**
   * The same for c − r, digit by digit, and never borrowed from the next: for each digit, planes of the four bits; and for
   * each, which of the higher three would change if one were borrowed.
   *
   * @param digits 1 to 16
   */
  subtractDigits(codes: Planes, c: Words, digits: number, addsPublic: boolean): Planes
}

export interface RingKernels extends PlaneKernels, HelpedKernels, DigitKernels {
  readonly name: 'wasm' | 'javascript'
  /** l: bits of an element. Lengths, shapes and indices below count elements. */
  readonly bits: RingBits

  /** Elementwise, operands of one length. */
  add(a: Words, b: Words): Words
  sub(a: Words, b: Words): Words
  /** a − 2b */
  lessTwice(a: Words, b: Words): Words
  mul(a: Words, b: Words): Words
  neg(a: Words): Words
  /** The same number to, or times, each element. The number is taken mod 2^l. */
  addScalar(a: Words, k: bigint): Words
  mulScalar(a: Words, k: bigint): Words
  /**
   * A party's share of x∘y from a triple and the opened d = x−a, e = y−b (Beaver, CRYPTO '91): c + d∘b + a∘e, and d∘e
   * on top at the one party that adds what is public.
   */
  beaver(c: Words, a: Words, b: Words, d: Words, e: Words, addsPublic: boolean): Words

  /** [m,k] times [k,n]; either may lie there turned over, as [k,m] and [n,k]. */
  matMul(a: Words, b: Words, m: number, k: number, n: number, transposeA?: boolean, transposeB?: boolean): Words
  /** [rows, columns] as [columns, rows]. */
  transpose(a: Words, rows: number, columns: number): Words
  /** Sums of the rows of [rows, columns]. */
  sumRows(a: Words, rows: number, columns: number): Words
  /** Sums of the columns of [rows, columns]. */
  sumColumns(a: Words, rows: number, columns: number): Words
  /** Running sums along the rows of [rows, columns]. */
  cumulativeSum(a: Words, rows: number, columns: number, exclusive: boolean, reverse: boolean): Words
  /** a[indices[i]]; 0 where the index is −1. */
  gather(a: Words, indices: Int32Array): Words
  /** Sums of what lands on each position: the gather of the same indices backwards. −1 lands nowhere. */
  scatterAdd(a: Words, indices: Int32Array, length: number): Words
  /** Signed division by 1 ≤ divisor < 2^63, toward zero. */
  divide(a: Words, divisor: bigint): Words

  /**
   * round(value · scale), ties to even.
   *
   * @throws RangeError `ERR_ARGUMENT_VALUE` for NaN, ±Infinity and |value · scale| ≥ 2^50 (of 128 bits: 2^64), with the limit
   *   in the message
   */
  encode(values: Float32Array | Float64Array, scale: number): Words
  /**
   * Signed value / scale, as float32. Of 128 bits, the nearest one where the scale is a power of two; elsewhere the value is
   * rounded to a double on the way, as all are of 64 bits.
   */
  decode(a: Words, scale: number): Float32Array
  fromInt32(values: Int32Array): Words
  /** @throws RangeError `ERR_ARGUMENT_VALUE` for what does not fit into 32 bits */
  toInt32(a: Words): Int32Array

  /** What the provider deals for a truncation by 1 ≤ divisor < 2^62: ⌊(r mod 2^(l−1)) / divisor⌋, and the top bit of r. */
  truncationOf(r: Words, divisor: bigint): { readonly quotient: Words; readonly top: Words }
  /**
   * A party's share of x / divisor for −2^(l−2) ≤ x < 2^(l−2), from the opened c = x + 2^(l−2) + r and its shares of what was
   * dealt (ePrint 2020/338 §5.1, for any divisor): with b = top XOR c_(l−1), and z = 2^(l−2) / divisor to the nearest,
   * ⌊(c mod 2^(l−1)) / divisor⌋ − quotient + (2b − 1)·z, public terms at the one party that adds what is public.
   *
   * The result is less than 1 unit off x / divisor, so its floor or 1 more, for powers of two; less than 1.5 units for
   * others. On average it is off by nothing for powers of two, and for others by a part of a unit that grows with |x|: of 64
   * bits, a sixth at |x| = 2^61 and divisor 3, less than 2^−22 at 2^40.
   */
  truncate(c: Words, quotient: Words, top: Words, divisor: bigint, addsPublic: boolean): Words

  /** The l planes of values, plane 0 (the lowest bit) first: l·⌈n/8⌉ bytes. */
  toPlanes(a: Words): Planes
  /** One plane as elements of 0 and 1. */
  fromPlane(plane: Planes, length: number): Words
  /** Of bits in a plane: base − x where a bit is set, base being one number or as many, and x elsewhere. */
  flip(bits: Planes, x: Words, base: Words | bigint): Words
  /** x where a bit is set, and 0 elsewhere, less y. */
  pick(bits: Planes, x: Words, y: Words): Words
  /** The lowest bit of each value as one plane. */
  lowestBits(a: Words): Planes
}

/** Kernels that know no width of elements. */
export interface PlaneKernels {
  /** Bitwise, operands of one length. */
  xor(a: Planes, b: Planes): Planes
  and(a: Planes, b: Planes): Planes
  /** A party's share of x∧y, as {@link RingKernels.beaver}: c ⊕ (d∧b) ⊕ (a∧e), and ⊕ (d∧e) at one party. */
  beaverAnd(c: Planes, a: Planes, b: Planes, d: Planes, e: Planes, addsPublic: boolean): Planes

  /**
   * The key stream of ChaCha20 (RFC 8439 §2.4) from a block counter on.
   *
   * @param key 32 bytes
   * @param nonce 12 bytes
   */
  chacha20(key: Uint8Array, nonce: Uint8Array, counter: number, length: number): Uint8Array
}
