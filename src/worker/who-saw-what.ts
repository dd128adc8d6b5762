/** The table that ends each demo: who saw what in clear, from whom, and why. */
import { showShape } from '../tensor/shape.ts'
import type { LedgerEntry } from './ledger.ts'
import { drawTable } from './table.ts'
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
  workers: readonly Pick<Worker, 'key' | 'ledger'>[],
  { print = (text) => console.log(`\n${text}`) }: WhoSawWhatOptions = {},
): Promise<string> {
  // Two handles may be sessions on one worker, which has one ledger.
  const byKey = new Map(workers.map((worker) => [worker.key, worker]))
  const ledgers = await Promise.all([...byKey.values()].map((worker) => worker.ledger()))
  const entries = once(ledgers.flat())
  entries.sort((a, b) => (a.to === b.to ? a.first - b.first : a.to < b.to ? -1 : 1))
  const rows = entries.map((entry) => {
    const { to, from, operation, why, count, bytes } = entry
    const refused = entry.event === 'refused'
    return [
      to,
      refused || entry.event === 'shared' ? `nothing of ${whatOf(entry)}` : whatOf(entry),
      from,
      [operation, ...(refused ? ['refused'] : []), ...(entry.route ? [`${entry.route}, sealed`] : [])].join(', '),
      why,
      count,
      bytes,
    ]
  })
  const head = ['who', 'saw', 'of', 'how', 'why', 'times', 'bytes']
  const table = drawTable([head, ...rows], ['left', 'left', 'left', 'left', 'left', 'right', 'right'])
  const text = `Who saw what\n${entries.length === 0 ? 'Nobody saw anything in clear.' : table}`
  print(text)
  return text
}

/**
 * Each event once. What came to a worker stands already in the ledger of the worker that it left, if that was given;
 * what came and is in no ledger stays.
 */
function once(entries: readonly LedgerEntry[]): LedgerEntry[] {
  const keyOf = ({ operation, shape, dtype, from, to }: LedgerEntry) =>
    JSON.stringify([operation, shape, dtype, from, to])
  const told = new Map<string, number>()
  // Everyone who holds shares of a secret writes down that it was opened.
  const opened = new Map<string, LedgerEntry>()
  for (const entry of entries) {
    if (entry.event !== 'opened') continue
    const key = `${keyOf(entry)} ${entry.why}`
    const before = opened.get(key)
    if (before === undefined || before.count < entry.count) opened.set(key, entry)
  }
  for (const entry of opened.values()) told.set(keyOf(entry), (told.get(keyOf(entry)) ?? 0) + entry.count)
  for (const entry of entries) {
    if (entry.event === 'left') told.set(keyOf(entry), (told.get(keyOf(entry)) ?? 0) + entry.count)
  }
  return entries.flatMap((entry) => {
    if (entry.event === 'opened') return opened.get(`${keyOf(entry)} ${entry.why}`) === entry ? [entry] : []
    if (entry.event !== 'came') return [entry]
    const key = keyOf(entry)
    const known = Math.min(entry.count, told.get(key) ?? 0)
    told.set(key, (told.get(key) ?? 0) - known)
    const count = entry.count - known
    return count === 0 ? [] : [{ ...entry, count, bytes: (entry.bytes / entry.count) * count }]
  })
}

const whatOf = ({ shape, dtype, tags }: LedgerEntry): string => [`${dtype} ${showShape(shape)}`, ...tags].join(' ')
