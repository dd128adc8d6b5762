/** Rounds in a file, a line of JSON each. */
import { appendFile } from 'node:fs/promises'
import type { RoundResult } from './federation.ts'

/**
 * Writes each round to the end of a file, as a line of JSON; numbers that are none, such as an ε of infinity, are null.
 *
 * @example
 * new Federation({ …, onRound: jsonLines('metrics.jsonl') })
 */
export function jsonLines(path: string): (result: RoundResult) => Promise<void> {
  return (result) => appendFile(path, `${JSON.stringify(result)}\n`)
}
