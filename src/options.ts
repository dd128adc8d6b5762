/** Checks of options at the public entries: a name that is not known is refused, not passed over. */
import { sottoError } from './errors.ts'

/**
 * @throws `ERR_ARGUMENT_VALUE` that names the unknown option and those there are: a misspelt `private` must not make
 *   a value public
 */
export function checkOptions(entry: string, given: unknown, known: readonly string[]): void {
  if (typeof given !== 'object' || given === null || Array.isArray(given)) {
    throw sottoError('ERR_ARGUMENT_TYPE', `${entry}: options expected an object`, { entry })
  }
  for (const name of Object.keys(given)) {
    if (known.includes(name)) continue
    throw sottoError('ERR_ARGUMENT_VALUE', `${entry}: unknown option "${name}"; there are ${known.join(', ')}`, {
      entry,
      option: name,
    })
  }
}

/** Which numbers an option takes; without bounds, every finite one. */
export interface NumberRange {
  /** The least, which is allowed. */
  readonly from?: number
  /** Below the least: itself not allowed. */
  readonly above?: number
  /** The greatest, which is allowed. */
  readonly to?: number
  /** Above the greatest: itself not allowed. */
  readonly below?: number
  readonly integer?: boolean
}

/**
 * @returns the number
 * @throws `ERR_ARGUMENT_TYPE` for what is no number, `ERR_ARGUMENT_VALUE` for one out of range, with the range in the
 *   message
 */
export function numberOption(entry: string, option: string, value: unknown, range: NumberRange = {}): number {
  const { from = -Infinity, above = -Infinity, to = Infinity, below = Infinity, integer = false } = range
  const bounds = (['from', 'above', 'to', 'below'] as const).flatMap((word) =>
    range[word] === undefined ? [] : [`${word} ${range[word]}`],
  )
  const expected = [integer ? 'an integer' : 'a finite number', ...bounds].join(' ')
  if (typeof value !== 'number') {
    throw sottoError('ERR_ARGUMENT_TYPE', `${entry}: "${option}" expected ${expected}, got ${typeof value}`, {
      entry,
      option,
    })
  }
  const fits = Number.isFinite(value) && value >= from && value > above && value <= to && value < below
  if (!fits || (integer && !Number.isSafeInteger(value))) {
    throw sottoError('ERR_ARGUMENT_VALUE', `${entry}: "${option}" expected ${expected}, got ${value}`, {
      entry,
      option,
    })
  }
  return value
}
