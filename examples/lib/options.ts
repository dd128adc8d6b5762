/** What the examples have in common: flags, progress, tables. */
import { realpathSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { SingleBar } from 'cli-progress'
import Table from 'cli-table3'
import { Command, InvalidArgumentError } from 'commander'
import { type Optimizer, optim, type PointerTensor } from 'sotto'

export const command = (name: string, description: string): Command =>
  new Command(name).description(description).showHelpAfterError('(--help tells the options)')

export function wholeNumber(text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 0) throw new InvalidArgumentError('expected a whole number from 0.')
  return value
}

export function numberFromZero(text: string): number {
  const value = Number(text)
  if (text.trim() === '' || !(value >= 0)) throw new InvalidArgumentError('expected a number from 0.')
  return value
}

export function positiveNumber(text: string): number {
  const value = Number(text)
  if (!(value > 0)) throw new InvalidArgumentError('expected a number above 0.')
  return value
}

/** Optimizers by the name of a flag. */
export function optimizerOf(name: string, parameters: readonly PointerTensor[], learningRate: number): Optimizer {
  if (!Object.hasOwn(optim, name)) throw new Error(`--optimizer: there are ${Object.keys(optim).join(', ')}`)
  return optim[name as keyof typeof optim](parameters, { learningRate })
}

export interface Progress {
  update(done: number, values: object): void
  stop(): void
}

/** A progress bar on a terminal; nothing where the output is kept in a file. */
export function progress(total: number, format: string): Progress {
  if (!process.stderr.isTTY) return { update() {}, stop() {} }
  const bar = new SingleBar({ format, hideCursor: true, clearOnComplete: true, etaBuffer: 200 })
  bar.start(total, 0, { loss: '…', auc: '…' })
  return { update: (done, values) => bar.update(done, values), stop: () => bar.stop() }
}

export function printTable(
  title: string,
  head: readonly string[],
  rows: readonly (readonly (string | number)[])[],
): void {
  const table = new Table({
    head: [...head],
    style: { head: [], border: [] },
    chars: { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' },
    colAligns: head.map((_, i) => (i === 0 ? 'left' : 'right')),
  })
  for (const row of rows) table.push(row.map((cell) => String(cell)))
  console.log(`\n${title}\n${table.toString()}`)
}

/** Whether a module was started by itself, and not imported by a test. */
export function isMain(url: string): boolean {
  const [, script] = process.argv
  // Node names a module by where it really is, whatever links led there.
  return script !== undefined && url === pathToFileURL(realpathSync(script)).href
}
