/** The protocols there are, by name. */
import { sottoError } from '../../errors.ts'
import { additive } from './additive.ts'
import type { Protocol } from './protocol.ts'
import { replicated } from './replicated.ts'

export const protocols = { additive, replicated } as const satisfies Record<string, Protocol>
export type ProtocolName = keyof typeof protocols

export function protocolOf(name: string): Protocol {
  if (!Object.hasOwn(protocols, name)) {
    throw sottoError(
      'ERR_ARGUMENT_VALUE',
      `there is no protocol "${name}"; there are ${Object.keys(protocols).join(', ')}`,
    )
  }
  return protocols[name as ProtocolName]
}

/**
 * @throws PlacementError `ERR_PARTIES` for more or fewer parties than a protocol is for; `ERR_PROVIDER` for a provider
 *   where it has no use for one
 */
export function checkParties({ name, parties, takesProvider }: Protocol, count: number, hasProvider: boolean): void {
  const [least, most] = parties
  if (count < least || count > most) {
    const wanted = least === most ? `exactly ${inWords(least)}` : `at least ${inWords(least)}`
    throw sottoError('ERR_PARTIES', `${name} sharing takes ${wanted} parties, got ${count}`, { protocol: name, count })
  }
  if (hasProvider && !takesProvider) {
    throw sottoError('ERR_PROVIDER', `${name} sharing takes no provider: its parties make their randomness themselves`)
  }
}

const inWords = (count: number): string => ['no', 'one', 'two', 'three'][count] ?? `${count}`
