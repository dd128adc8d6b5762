/** `sotto keygen`: the long-term key of a worker or a caller. */

import { sottoError } from '../errors.ts'
import { Identity } from '../worker/identity.ts'
import type { Io } from './io.ts'
import { createPrivate, readText } from './secret-files.ts'

/** Writes a new secret key to a file that was not there, and prints its public key. */
export async function keygen(path: string, io: Io): Promise<void> {
  const identity = Identity.generate()
  await createPrivate(path, `${identity.secret()}\n`)
  io.out(`${identity.key}\n`)
}

/** @throws ValueError `ERR_ARGUMENT_VALUE` for a file that is not there or holds no key; it shows nothing of it */
export async function readIdentity(path: string): Promise<Identity> {
  const text = await readText(path, `make one with: sotto keygen -o ${path}`)
  try {
    return Identity.fromSecret(text.trim())
  } catch {
    throw sottoError('ERR_ARGUMENT_VALUE', `${path}: it holds no secret key such as "sotto keygen" writes`, { path })
  }
}

/** The long-term key of a party: that of a file, or a new one, which ends with the process. */
export const identityOf = ({ identity }: { readonly identity?: string }): Promise<Identity> =>
  identity === undefined ? Promise.resolve(Identity.generate()) : readIdentity(identity)
