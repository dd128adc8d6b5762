/** Consent to what came of a job, as those give it who have to: see the option `consent` of `SharedModel.fit`. */
import { sottoError } from '../errors.ts'
import { checkOptions } from '../options.ts'
import type { Location } from '../tensor/location.ts'
import { checkLocation } from '../tensor/pointer.ts'
import { tellSecret } from './group.ts'

export interface ConsentOptions {
  /** Name of the job, as whoever runs it has it. */
  readonly job: string
  /** The identity, or the worker, that may see what came of the job. */
  readonly to: string
}

/** @throws `ERR_ARGUMENT_VALUE` for a name that is none */
export function checkJobName(entry: string, name: unknown): asserts name is string {
  if (typeof name === 'string' && name.length > 0 && name.length <= 256) return
  throw sottoError('ERR_ARGUMENT_VALUE', `${entry}: "job" expected a name of 1 to 256 characters`, { option: 'job' })
}

function tellConsent(entry: string, parties: readonly Location[], options: ConsentOptions, isGiven: boolean): void {
  checkOptions(entry, options, ['job', 'to'])
  const { job, to } = options
  checkJobName(entry, job)
  if (typeof to !== 'string' || to === '') {
    throw sottoError('ERR_ARGUMENT_TYPE', `${entry}: "to" expected the name of an identity`, { option: 'to' })
  }
  if (!Array.isArray(parties) || parties.length === 0) {
    throw sottoError('ERR_ARGUMENT_TYPE', `${entry}: expected a list of the parties that hold the shares`, { entry })
  }
  for (const party of parties) {
    checkLocation(entry, party)
    tellSecret(party, 'secretConsent', { job, to, isGiven })
  }
}

/**
 * Consents, as the identity of these handles, that somebody sees what came of a job. Takes effect at each party by itself: a
 * secret is opened when all parties open it. It holds for all results of the job of that name, and for the policies of this
 * identity alone. What runs under that name, whoever gives consent takes on trust.
 *
 * @param parties the workers that hold the shares, as handles of the identity that consents
 * @example giveConsent([bob.as('olga'), alice.as('olga')], { job: 'digits', to: 'dana' })
 */
export function giveConsent(parties: readonly Location[], options: ConsentOptions): void {
  tellConsent('giveConsent', parties, options, true)
}

/** Takes a consent back; what was opened, stays so. */
export function withdrawConsent(parties: readonly Location[], options: ConsentOptions): void {
  tellConsent('withdrawConsent', parties, options, false)
}
