/**
 * Exact tails of the hypergeometric distribution, as logarithms: bounds of 2^−50 and below are sums of terms that a
 * double holds, of factorials that it does not.
 */
import { logAdd } from '../../privacy/log-math.ts'

/** log(0!), log(1!), …: as far as anybody asked. */
let logFactorials = new Float64Array(1)

/** The sum is compensated (Neumaier 1974): at 10^6, plain addition would have lost seven digits. */
function logFactorial(n: number): number {
  if (n >= logFactorials.length) {
    const grown = new Float64Array(Math.max(n + 1, 2 * logFactorials.length))
    let [sum, lost] = [0, 0]
    for (let i = 1; i < grown.length; i++) {
      const term = Math.log(i)
      const next = sum + term
      lost += sum >= term ? sum - next + term : term - next + sum
      sum = next
      grown[i] = sum + lost
    }
    logFactorials = grown
  }
  return logFactorials[n]!
}

const logChoose = (n: number, k: number): number =>
  k < 0 || k > n ? -Infinity : logFactorial(n) - logFactorial(k) - logFactorial(n - k)

/** Balls in an urn: `marked` of `balls`, of which `drawn` are drawn and not put back. */
export interface Urn {
  readonly balls: number
  readonly marked: number
  readonly drawn: number
}

/** log2 P[at least `least` of the drawn balls are marked]; −∞ where that cannot be. */
export function logTail({ balls, marked, drawn }: Urn, least: number): number {
  const all = logChoose(balls, drawn)
  let sum = -Infinity
  // From the smallest term up, so that nothing is lost in adding.
  for (let hits = Math.min(marked, drawn); hits >= Math.max(least, 0); hits--) {
    sum = logAdd(sum, logChoose(marked, hits) + logChoose(balls - marked, drawn - hits) - all)
  }
  return Math.min(sum / Math.LN2, 0)
}

/** The least number that is exceeded with a probability of 2^−bits at most. */
export function quantile(urn: Urn, bits: number): number {
  let number = 0
  while (logTail(urn, number + 1) > -bits) number++
  return number
}

/** log2 of C(few, k) / C(many, k), for few ≤ many; −∞ where it is 0. */
export function logShare(few: number, many: number, k: number): number {
  return few < k ? -Infinity : (logChoose(few, k) - logChoose(many, k)) / Math.LN2
}
