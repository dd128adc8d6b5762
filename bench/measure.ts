/** Timing for benchmarks: medians of rounds that alternate between the candidates, so that noise falls on all alike. */

export const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b)
  const half = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2
}

export interface Timing {
  /** Median milliseconds of one call. */
  readonly ms: number
  /** Median, over rounds, of the first candidate's time divided by this one's in the same round. */
  readonly ratio: number
}

/** Times candidates in alternating rounds; a call is made `calls` times a round. */
export async function alternate<Name extends string>(
  candidates: Readonly<Record<Name, () => unknown>>,
  { rounds = 15, calls = 1, warmup = 3 }: { rounds?: number; calls?: number; warmup?: number } = {},
): Promise<Record<Name, Timing>> {
  const names = Object.keys(candidates) as Name[]
  const times = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<Name, number[]>
  for (let round = -warmup; round < rounds; round++) {
    for (const name of names) {
      const start = performance.now()
      for (let call = 0; call < calls; call++) {
        const result = candidates[name]()
        if (result instanceof Promise) await result
      }
      if (round >= 0) times[name].push((performance.now() - start) / calls)
    }
    // Timers and finalizers get their turn between rounds.
    await new Promise((resolve) => setTimeout(resolve, 0))
  }
  const first = times[names[0]!]
  return Object.fromEntries(
    names.map((name) => [
      name,
      { ms: median(times[name]), ratio: median(first.map((time, round) => time / times[name][round]!)) },
    ]),
  ) as Record<Name, Timing>
}

/** A table on the console: one row an item. */
export function report(title: string, rows: readonly Readonly<Record<string, string | number>>[]): void {
  console.log(`\n${title}`)
  console.table(rows)
}

export const rounded = (value: number, digits = 3): number => Number(value.toPrecision(digits))
