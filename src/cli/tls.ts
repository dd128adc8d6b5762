/** The certificate that a command serves with. */
import { createSecureContext } from 'node:tls'
import { sottoError } from '../errors.ts'
import type { ServerTls } from '../worker/server.ts'
import { readText } from './secret-files.ts'

/** Flags that name its files. */
export interface TlsFlags {
  readonly tlsCert?: string | undefined
  readonly tlsKey?: string | undefined
  readonly tlsCa?: string | undefined
}

/**
 * Certificate, key and authorities of a server.
 *
 * @throws ValueError `ERR_ARGUMENT_VALUE` when they are no such thing, or do not go together
 */
export async function readTls({ tlsCert, tlsKey, tlsCa }: TlsFlags): Promise<ServerTls> {
  const [cert, key] = [await readText(tlsCert!), await readText(tlsKey!)]
  const tls = { cert, key, ...given({ ca: tlsCa === undefined ? undefined : await readText(tlsCa) }) }
  try {
    createSecureContext(tls)
  } catch (error) {
    throw sottoError('ERR_ARGUMENT_VALUE', `--tls-cert ${tlsCert}, --tls-key ${tlsKey}: ${(error as Error).message}`)
  }
  return tls
}

/** Options that were given: one that is undefined is not. */
export function given<T extends object>(options: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as never
}
