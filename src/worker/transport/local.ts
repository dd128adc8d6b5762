/** Workers of this process that can be dialled, by address: those over memory, and those in threads. */
import { sottoError } from '../../errors.ts'
import { newId } from '../../tensor/location.ts'
import type { Capability } from '../capabilities.ts'
import type { MemoryOptions } from './memory.ts'
import type { Transport } from './transport.ts'

/** Who dials. Inside one process nobody can pass for another: what is said is believed. */
export type LocalCredentials =
  | { readonly role: 'caller' }
  | { readonly role: 'peer'; readonly capability: Capability; readonly key: string }

/** What waits at an address. */
export interface LocalListener {
  connect(credentials: LocalCredentials, options: MemoryOptions): Transport
}

/** A worker that is dropped can no longer be reached. */
const listeners = new Map<string, WeakRef<LocalListener>>()
const gone = new FinalizationRegistry<string>((address) => listeners.delete(address))

/** Gives a listener an address. */
export function listenHere(kind: 'memory' | 'thread', listener: LocalListener): string {
  const address = `${kind}:${newId()}`
  listeners.set(address, new WeakRef(listener))
  gone.register(listener, address)
  return address
}

export function closeHere(address: string): void {
  listeners.delete(address)
}

/**
 * Connects to an address of this process.
 *
 * @throws PlacementError `ERR_UNKNOWN_PEER` when nobody is there
 */
export function dialHere(address: string, credentials: LocalCredentials, options: MemoryOptions): Transport {
  const listener = listeners.get(address)?.deref()
  if (listener === undefined) {
    throw sottoError('ERR_UNKNOWN_PEER', `there is no worker at ${address} in this process; was it closed?`)
  }
  return listener.connect(credentials, options)
}
