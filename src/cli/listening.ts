/** Where a party listens. */

import { isLoopback } from '../worker/loopback.ts'
import type { ServerTls } from '../worker/server.ts'
import { UsageError } from './io.ts'
import { readText } from './secret-files.ts'

export interface ListeningFlags {
  readonly host?: string
  readonly port?: number
  readonly tlsCert?: string
  readonly tlsKey?: string
}

/** Certificate and key of a server, when both are given. */
export async function tlsOf({ tlsCert, tlsKey }: ListeningFlags): Promise<{ tls?: ServerTls }> {
  if ((tlsCert === undefined) !== (tlsKey === undefined)) throw new UsageError('--tls-cert and --tls-key go together')
  return tlsCert === undefined ? {} : { tls: { cert: await readText(tlsCert), key: await readText(tlsKey!) } }
}

/** Where a party listens: at the port that the job says; at an address of this machine alone unless told otherwise. */
export async function listeningAt(flags: ListeningFlags, endpoint: string) {
  const { host, port } = flags
  const tls = await tlsOf(flags)
  const { hostname, port: said, protocol } = new URL(endpoint)
  if (host === undefined && !isLoopback(hostname)) {
    throw new UsageError(
      `the others come to ${endpoint}: say at which address of this machine to listen, as in --host 0.0.0.0`,
    )
  }
  const usual = protocol === 'wss:' ? 443 : 80
  return { host: host ?? '127.0.0.1', port: port ?? (said === '' ? usual : Number(said)), ...tls }
}
