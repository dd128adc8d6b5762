/** The table that ends each demo: who saw what in clear, from whom, and why. */
import Table from 'cli-table3'
import { showShape } from '../tensor/shape.ts'
import type { LedgerEntry } from './ledger.ts'
import type { Worker } from './worker.ts'

export interface WhoSawWhatOptions {
  /** Where the table goes; the console unless given. */
  readonly print?: (text: string) => void
}

/**
 * Prints the ledgers of several workers as one table, and gives its text. An event that two of them wrote down (it left
 * one and came to the other) stands there once.
 */
export async function whoSawWhat(
  workers: readonly Worker[],
  { print = console.log }: WhoSawWhatOptions = {},
): Promise<string> {
  const ledgers = await Promise.all(workers.map((worker) => worker.ledger()))
  const names = new Set(workers.map(({ id }) => id))
  const entries = ledgers.flat().filter(({ event, from }) => event !== 'came' || !names.has(from))
  entries.sort((a, b) => (a.to === b.to ? a.first - b.first : a.to < b.to ? -1 : 1))
  const table = new Table({
    head: ['who', 'saw', 'of', 'how', 'why', 'times', 'bytes'],
    style: { head: [], border: [] },
    colAligns: ['left', 'left', 'left', 'left', 'left', 'right', 'right'],
  })
  for (const entry of entries) {
    const { to, from, operation, why, count, bytes } = entry
    const refused = entry.event === 'refused'
    table.push([
      to,
      refused ? 'nothing' : whatOf(entry),
      from,
      refused ? `${operation}, refused` : operation,
      why,
      count,
      bytes,
    ])
  }
  const text = `Who saw what\n${entries.length === 0 ? 'Nobody saw anything in clear.' : table.toString()}`
  print(text)
  return text
}

const whatOf = ({ shape, dtype, tags }: LedgerEntry): string => [`${dtype} ${showShape(shape)}`, ...tags].join(' ')
