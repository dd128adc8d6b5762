/** The protocols there are, by name. */
import { sottoError } from '../../errors.ts'
import { additive } from './additive.ts'
import type { Protocol } from './protocol.ts'

export const protocols = { additive } as const satisfies Record<string, Protocol>
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
