/**
 * Secrets of 32 bytes, split so that any t of the holders put them together and fewer know nothing (Shamir, "How to
 * share a secret", CACM 1979).
 *
 * Over GF(2^16), modulo x^16 + x^12 + x^3 + x + 1: every string of bytes is a secret, 65,535 may hold shares, and a
 * secret of sixteen elements is split by sixteen polynomials. A prime field would take big integers, whose time depends
 * on their value; GF(2^8) ends at 255 holders. What is secret, coefficients and shares, is doubled and added without
 * branches or look-ups; the points it is multiplied by are public, and only on these depends how long that takes.
 */
import { sottoError } from '../../errors.ts'
import { numberOption } from '../../options.ts'
import { Prg, randomSeed } from '../../smpc/prg.ts'
import { isBytes } from '../../smpc/ring/check.ts'

/** Bytes of a secret, and of a share. */
export const SECRET = 32
const ELEMENTS = SECRET / 2
/** The polynomial of the field, without its leading term. */
const REDUCTION = 0x100b
const POINTS = 2 ** 16 - 1

/** A share: the value of the polynomials at a point. */
export interface Share {
  /** From 1 to 65,535, another for each holder. */
  readonly point: number
  /** 32 bytes. */
  readonly value: Uint8Array
}

/** Elements times x. */
function double(elements: Uint16Array): void {
  for (let i = 0; i < ELEMENTS; i++) {
    const element = elements[i]!
    elements[i] = (element << 1) ^ (REDUCTION & -(element >> 15))
  }
}

function add(to: Uint16Array, elements: Uint16Array): void {
  for (let i = 0; i < ELEMENTS; i++) to[i]! ^= elements[i]!
}

/** Elements times one that is public. */
function times(elements: Uint16Array, factor: number): Uint16Array {
  const [product, power] = [new Uint16Array(ELEMENTS), Uint16Array.from(elements)]
  for (let bits = factor; bits !== 0; bits >>= 1) {
    if ((bits & 1) === 1) add(product, power)
    double(power)
  }
  return product
}

/** Products and inverses of points, which are public, by their logarithms to the base x, which is primitive. */
let logarithms: { readonly logs: Uint16Array; readonly powers: Uint16Array } | undefined
function tables(): { readonly logs: Uint16Array; readonly powers: Uint16Array } {
  if (logarithms !== undefined) return logarithms
  const [logs, powers] = [new Uint16Array(POINTS + 1), new Uint16Array(2 * POINTS)]
  for (let log = 0, power = 1; log < POINTS; log++) {
    powers[log] = power
    powers[log + POINTS] = power
    logs[power] = log
    power = ((power << 1) ^ (REDUCTION & -(power >> 15))) & 0xffff
  }
  logarithms = { logs, powers }
  return logarithms
}

function elementsOf(bytes: Uint8Array): Uint16Array {
  return Uint16Array.from({ length: ELEMENTS }, (_, i) => bytes[2 * i]! | (bytes[2 * i + 1]! << 8))
}

function bytesOf(elements: Uint16Array): Uint8Array {
  return Uint8Array.from({ length: SECRET }, (_, i) => elements[i >> 1]! >> (8 * (i & 1)))
}

function checkPoints(points: readonly number[]): void {
  for (const point of points) numberOption('shamir', 'point', point, { from: 1, to: POINTS, integer: true })
  if (new Set(points).size === points.length) return
  throw sottoError(
    'ERR_ARGUMENT_VALUE',
    'shamir: points expected all different: two holders of one point hold one share',
  )
}

/**
 * Splits a secret.
 *
 * @param secret 32 bytes
 * @param threshold how many shares it takes; from 1 to the number of points
 * @param points one for each holder, from 1 to 65,535, all different
 * @returns shares in the order of the points
 * @throws TypeError or RangeError `ERR_ARGUMENT_TYPE`, `ERR_ARGUMENT_VALUE` for anything else
 */
export function split(secret: Uint8Array, threshold: number, points: readonly number[]): Share[] {
  isBytes('secret', secret, SECRET)
  numberOption('shamir', 'threshold', threshold, { from: 1, to: points.length, integer: true })
  checkPoints(points)
  const random = new Prg(randomSeed()).stream(0).bytes((threshold - 1) * SECRET)
  const coefficients = [secret]
  for (let at = 0; at < random.length; at += SECRET) coefficients.push(random.subarray(at, at + SECRET))
  const polynomials = coefficients.map(elementsOf)
  random.fill(0)
  const shares = points.map((point) => {
    // Horner, from the highest coefficient down.
    let value = new Uint16Array(ELEMENTS)
    for (let i = threshold - 1; i >= 0; i--) {
      value = times(value, point) as typeof value
      add(value, polynomials[i]!)
    }
    return { point, value: bytesOf(value) }
  })
  for (const polynomial of polynomials) polynomial.fill(0)
  return shares
}

/**
 * Puts a secret together, from as many shares as its threshold or more. From fewer, or from wrong ones, comes another:
 * what is shared says nothing of itself, so whoever asks must be able to tell.
 *
 * @throws TypeError or RangeError `ERR_ARGUMENT_TYPE`, `ERR_ARGUMENT_VALUE` for shares of other lengths or points
 */
export function combine(shares: readonly Share[]): Uint8Array {
  const points = shares.map(({ point }) => point)
  checkPoints(points)
  const { logs, powers } = tables()
  const secret = new Uint16Array(ELEMENTS)
  for (const { point, value } of shares) {
    isBytes('share', value, SECRET)
    // Lagrange at 0: the product of other / (other − point); minus is plus here.
    let log = 0
    for (const other of points) {
      if (other !== point) log += logs[other]! + POINTS - logs[other ^ point]!
    }
    add(secret, times(elementsOf(value), powers[log % POINTS]!))
  }
  return bytesOf(secret)
}
