/** Flags of commands, by the kinds of their values. */
import { Option } from 'commander'
import { UsageError } from './io.ts'
import type { Kind } from './kinds.ts'

/** An option whose text is of a kind. */
export function optionOf(flag: string, kind: Kind<unknown>, help: string): Option {
  const option = new Option(kind.placeholder === null ? flag : `${flag} <${kind.placeholder}>`, help)
  if (kind.placeholder === null) return option
  return option.argParser((given, before) => {
    try {
      return kind.read(given, before)
    } catch (error) {
      throw error instanceof UsageError ? new UsageError(`${flag} ${error.message}`) : error
    }
  })
}
