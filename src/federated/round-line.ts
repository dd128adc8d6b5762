/** A round in one line, for a terminal or a log. */
import type { RoundResult } from './federation.ts'

const UNITS = ['B', 'kB', 'MB', 'GB'] as const

/** Bytes in a unit in which they have one to three digits before the point. */
function showBytes(bytes: number): string {
  let [value, unit] = [bytes, 0]
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1000
    unit++
  }
  return `${unit === 0 ? value : value.toPrecision(3)} ${UNITS[unit]}`
}

/**
 * What a round came to, such as `round 3/10: 9 of 10 clients, accuracy 0.9123, 402 kB up each, 1.3 s; missing: bob`.
 *
 * @example
 * new Federation({ …, onRound: (result) => console.log(roundLine(result)) })
 */
export function roundLine(result: RoundResult): string {
  const { round, rounds, asked, contributors, missing, failed, metrics, bytesUp, ms, epsilon } = result
  const parts = [
    failed === null ? `${contributors.length} of ${asked.length} clients` : `failed: ${failed}`,
    ...Object.entries(metrics).map(([name, value]) => `${name} ${Number(value.toPrecision(4))}`),
    ...(bytesUp > 0 ? [`${showBytes(bytesUp)} up each`] : []),
    ...(epsilon === null ? [] : [`ε ${Number(epsilon.toPrecision(3))}`]),
    `${(ms / 1000).toFixed(1)} s`,
  ]
  const absent =
    failed === null && missing.length > 0 ? `; missing: ${missing.map(({ worker }) => worker).join(', ')}` : ''
  return `round ${round}/${rounds}: ${parts.join(', ')}${absent}`
}
