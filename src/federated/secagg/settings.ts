/** What all clients and the server of a session agree on before the first round. It is part of all that is signed. */
import { sottoError } from '../../errors.ts'
import { checkOptions, numberOption } from '../../options.ts'
import { isKey } from '../../worker/identity.ts'
import { CLIENTS, checkTrust, type SecAggParameters, secAggParameters, type Trust } from './parameters.ts'
import { digest } from './transcript.ts'
import type { WordBits } from './vectors.ts'

export interface SecAggSettings extends Trust {
  /** A name that no other session has, such as a random uuid. */
  readonly session: string
  /**
   * Who may take part: names, and their long-term public keys (`ed25519:…`). A server that could name members itself
   * could make them all up but one.
   */
  readonly members: Readonly<Record<string, string>>
  /** Words of a vector. */
  readonly length: number
  /** Sums are modulo 2^32 (the default) or 2^64. */
  readonly modulus?: WordBits
  /** The fewest clients whose sum is computed; from 2. In a sum of two, each knows the other's part. Default: 3. */
  readonly minimum?: number
}

/** Settings that were checked, and what follows from them. */
export interface Terms {
  readonly session: string
  readonly members: ReadonlyMap<string, string>
  readonly length: number
  readonly modulus: WordBits
  readonly minimum: number
  /** Hash of what has to be the same at all clients. Members are not: a client looks up whom it meets. */
  readonly digest: Uint8Array
  /** For a round of so many clients. */
  parameters(clients: number): SecAggParameters
}

/** The fewest clients of a sum, unless settings say another number. */
export const MINIMUM = 3

/** The least vector is a word. The most that a stream masks is 2^38 bytes; memory ends before. */
const LENGTH = { from: 1, to: 2 ** 31, integer: true }

/** Of settings that cannot change any more. */
const known = new WeakMap<SecAggSettings, Terms>()

/**
 * Settings that are frozen, with their members, are checked once: a thousand clients of one process then hold one list of
 * a thousand members, not a thousand.
 *
 * @throws TypeError or RangeError `ERR_ARGUMENT_TYPE`, `ERR_ARGUMENT_VALUE`
 */
export function checkSettings(entry: string, settings: SecAggSettings): Terms {
  const before = known.get(settings)
  if (before !== undefined) return before
  const terms = termsOf(entry, settings)
  if (Object.isFrozen(settings) && Object.isFrozen(settings.members)) known.set(settings, terms)
  return terms
}

function termsOf(entry: string, settings: SecAggSettings): Terms {
  const trusted = ['corrupted', 'dropouts', 'server'] as const
  checkOptions(entry, settings, ['session', 'members', 'length', 'modulus', 'minimum', ...trusted])
  const { session, length, modulus = 32, minimum = MINIMUM, corrupted, dropouts, server } = settings
  const wrong = (message: string) => sottoError('ERR_ARGUMENT_VALUE', `${entry}: ${message}`, { entry })
  if (typeof session !== 'string' || session === '') throw wrong('"session" expected a text that is not empty')
  if (modulus !== 32 && modulus !== 64) throw wrong('"modulus" expected 32 or 64 bits')
  const members = new Map(Object.entries(settings.members))
  for (const [id, key] of members) if (!isKey(key)) throw wrong(`the key of member ${id} is none; write ed25519:…`)
  if (new Set(members.values()).size !== members.size) throw wrong('two members have one key')
  numberOption(entry, 'length', length, LENGTH)
  numberOption(entry, 'minimum', minimum, { from: 2, to: CLIENTS, integer: true })
  const trust = checkTrust(entry, {
    ...(corrupted !== undefined && { corrupted }),
    ...(dropouts !== undefined && { dropouts }),
    ...(server !== undefined && { server }),
  })
  return {
    session,
    members,
    length,
    modulus,
    minimum,
    digest: digest(
      'sotto secagg 1: settings',
      session,
      length,
      modulus,
      minimum,
      trust.corrupted,
      trust.dropouts,
      trust.server,
    ),
    parameters: (clients) => secAggParameters(clients, trust),
  }
}
