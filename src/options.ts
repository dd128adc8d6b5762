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
