/**
 * The probability that items cannot be arranged in a cuckoo table, bounded from above: by Hall's theorem some s items then
 * have no more than s − 1 bins between them. Sums the probabilities of all such, in logarithms.
 */

const logs = [0]
/** log2 of n!. */
function logFactorial(n: number): number {
  for (let i = logs.length; i <= n; i++) logs.push(logs[i - 1]! + Math.log2(i))
  return logs[n]!
}
const logChoose = (n: number, k: number): number =>
  k < 0 || k > n ? -Infinity : logFactorial(n) - logFactorial(k) - logFactorial(n - k)

/** log2 of the bound, for n items with three different places each among m bins. */
export function logFailure(n: number, m: number): number {
  const all = logChoose(m, 3)
  let sum = 0
  // Three items can always have a bin each: s begins with four.
  for (let s = 4; s <= n; s++) {
    sum += 2 ** (logChoose(n, s) + logChoose(m, s - 1) + s * (logChoose(s - 1, 3) - all))
  }
  return Math.log2(sum)
}

/** log2 of the probability that two random code words of `width` bits differ in fewer than `least`. */
export function logClose(width: number, least: number): number {
  let sum = 0
  for (let k = 0; k < least; k++) sum += 2 ** (logChoose(width, k) - width)
  return Math.log2(sum)
}
