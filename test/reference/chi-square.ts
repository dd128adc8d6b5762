/**
 * Pearson's chi-square test (1900): whether counts are what chance makes of them.
 *
 * Bytes that are masked right are uniform whatever the secret is. Counts of the 256 values then give a statistic of the
 * chi-square distribution with 255 degrees of freedom, and it stays below {@link byteBound} but with probability
 * {@link CHANCE}. Randomness is the system's, so a run can fail by chance; a suite that takes some hundred statistics
 * does so once in ten million runs.
 */

/** The probability that a sound source fails one test. */
export const CHANCE = 1e-9

/** Fewest counts to expect of each value, so that the statistic is distributed as it should be. */
const FEWEST = 20

/**
 * P(X > statistic) for X of the chi-square distribution, for statistics from 2 on.
 *
 * From Q(a + 1, h) = Q(a, h) + h^a e^−h / Γ(a + 1), with h half of the statistic; from Q(0, h) = 0 for even degrees, from
 * Q(1/2, h) = erfc(√h) for odd ones (Abramowitz and Stegun 26.4.4 and 26.4.5).
 */
export function upperTail(statistic: number, degrees: number): number {
  const half = statistic / 2
  const isOdd = degrees % 2 === 1
  let tail = isOdd ? erfc(Math.sqrt(half)) : 0
  let term = Math.exp(-half) * (isOdd ? Math.sqrt(half / Math.PI) / 0.5 : 1)
  for (let a = isOdd ? 0.5 : 0; a < degrees / 2; a++) {
    tail += term
    term *= half / (a + 1)
  }
  return tail
}

/** The complementary error function from 1 on, by its continued fraction (Abramowitz and Stegun 7.1.14). */
function erfc(z: number): number {
  let fraction = z
  for (let k = 200; k >= 1; k--) fraction = z + k / 2 / fraction
  return Math.exp(-z * z) / Math.sqrt(Math.PI) / fraction
}

/** The statistic that chance exceeds with a probability. */
export function criticalValue(probability: number, degrees: number): number {
  let [low, high] = [2, 4 * degrees + 200]
  while (high - low > 1e-9) {
    const middle = (low + high) / 2
    if (upperTail(middle, degrees) > probability) low = middle
    else high = middle
  }
  return high
}

/** What the statistics of bytes stay below: 414.5. */
export const byteBound = criticalValue(CHANCE, 255)

/** How often each value of a byte was seen. */
export class ByteCounts {
  readonly counts = new Float64Array(256)
  total = 0

  add(bytes: Uint8Array): this {
    for (let i = 0; i < bytes.length; i++) this.counts[bytes[i]!]!++
    this.total += bytes.length
    return this
  }
  addWords({ buffer, byteOffset, byteLength }: BigUint64Array): this {
    return this.add(new Uint8Array(buffer, byteOffset, byteLength))
  }
}

function enough({ total }: ByteCounts): void {
  if (total < 256 * FEWEST) throw new RangeError(`${total} bytes are too few to say anything`)
}

/** The distance of bytes from uniform ones. */
export function fromUniform(bytes: ByteCounts): number {
  enough(bytes)
  const expected = bytes.total / 256
  return bytes.counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0)
}

/** The distance between two sources of bytes: of both counts from what they would be, were the sources alike. */
export function between(a: ByteCounts, b: ByteCounts): number {
  enough(a)
  enough(b)
  const total = a.total + b.total
  let sum = 0
  for (let value = 0; value < 256; value++) {
    const both = a.counts[value]! + b.counts[value]!
    if (both === 0) continue
    for (const one of [a, b]) {
      const expected = (both * one.total) / total
      sum += (one.counts[value]! - expected) ** 2 / expected
    }
  }
  return sum
}
