/**
 * Neighbours, thresholds, witnesses and places of masked sums, as PROTOCOL.md states them and from that alone: with
 * fractions of big integers, so that no bound is rounded. The slow twin of `parameters.ts` and `graph.ts`.
 */
import { createCipheriv } from 'node:crypto'

/** Rows of Pascal's triangle. */
const rows: bigint[][] = [[1n]]
function choose(n: number, k: number): bigint {
  while (rows.length <= n) {
    const last = rows.at(-1)!
    rows.push([1n, ...last.map((ways, i) => ways + (last[i + 1] ?? 0n))])
  }
  return rows[n]![k] ?? 0n
}

/** Whether factor · P(all, marked, drawn, least) ≤ 2^−bits. */
function isBelow(bits: number, factor: number, [all, marked, drawn]: readonly number[], least: number): boolean {
  let ways = 0n
  for (let hits = Math.max(least, 0); hits <= Math.min(marked!, drawn!); hits++) {
    ways += choose(marked!, hits) * choose(all! - marked!, drawn! - hits)
  }
  return BigInt(factor) * ways * 2n ** BigInt(bits) <= choose(all!, drawn!)
}
function quantile(bits: number, factor: number, urn: readonly number[]): number {
  let least = 0
  while (!isBelow(bits, factor, urn, least + 1)) least++
  return least
}

/** Neighbours, threshold, spread, witnesses, quorum. */
export function graphOf(n: number, corrupted = 0.1, dropouts = 0.1, server = 'curious'): number[] | undefined {
  const [bad, gone] = [corrupted, dropouts].map((part) => Math.floor(n * part + 1e-9)) as [number, number]
  if (n <= 64) {
    const t = Math.floor((2 * n) / 3) + 1
    return bad < 2 * t - n && gone <= n - t ? [n - 1, t, 0, n, t] : undefined
  }
  for (let k = 2; k < n - 1; k += 2) {
    const t = Math.max(2, 1 + quantile(41, n, [n - 1, bad, k]))
    const s = k / 2 - quantile(35, n, [n, gone, k / 2])
    const cuts = BigInt(n * (n - k - 1)) * choose(bad + gone, k) * 2n ** 41n
    if (cuts > 2n * choose(n, k) || !isBelow(30, n, [n - 1, gone, k], k - t + 1)) continue
    if (server === 'active' && quantile(41, n, [n, bad, k / 2]) >= s) continue
    for (let m = 1; m <= n; m++) {
      const q = Math.floor((m + quantile(45, 1, [n, bad, m])) / 2) + 1
      if (q <= m && isBelow(35, 1, [n, gone, m], m - q + 1)) return [k, t, Math.max(1, s), m, q]
    }
    return undefined
  }
  return undefined
}

/** Clients by place. */
export function placesOf(n: number, cohort: Uint8Array): number[] {
  // More words than any draw takes: to pass over one is rare.
  const stream = createCipheriv('chacha20', cohort, Buffer.alloc(16)).update(Buffer.alloc(8 * n))
  const places = Array.from({ length: n }, (_, i) => i)
  let at = 0
  for (let last = n - 1; last > 0; last--) {
    let word: number
    do {
      word = stream.readUInt32LE(at)
      at += 4
    } while (word >= 2 ** 32 - (2 ** 32 % (last + 1)))
    const other = word % (last + 1)
    const held = places[last]!
    places[last] = places[other]!
    places[other] = held
  }
  return places
}
