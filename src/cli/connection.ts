/** How a command reaches a worker, and shows who asks. */
import type { ConnectOptions } from '../worker/socket-worker.ts'
import { type Io, UsageError } from './io.ts'
import { readText } from './secret-files.ts'

export interface TokenOptions {
  readonly token?: string
  readonly tokenFile?: string
}

/** Flags of commands that ask a worker something. */
export interface ConnectionFlags extends TokenOptions {
  readonly pin?: string
  readonly ca?: string
  readonly cert?: string
  readonly key?: string
  readonly timeout: number
  readonly insecure?: boolean
}

/** The token that was given: as such, in a file, or in the environment. */
export async function tokenOf({ token, tokenFile }: TokenOptions, { env }: Io): Promise<string | undefined> {
  if (token !== undefined) return token
  if (tokenFile !== undefined) return (await readText(tokenFile)).trim()
  return env['SOTTO_TOKEN'] || undefined
}

export async function connectOptions(flags: ConnectionFlags, io: Io): Promise<ConnectOptions> {
  const { pin, timeout, insecure, token: onLine, tokenFile } = flags
  if (onLine !== undefined && tokenFile !== undefined) throw new UsageError('give --token or --token-file, not both')
  if ((flags.cert === undefined) !== (flags.key === undefined)) throw new UsageError('--cert and --key go together')
  const token = await tokenOf(flags, io)
  const files: { ca?: string; cert?: string; key?: string } = {}
  for (const option of ['ca', 'cert', 'key'] as const) {
    const path = flags[option]
    if (path !== undefined) files[option] = await readText(path)
  }
  return {
    ...files,
    ...(token === undefined ? {} : { token }),
    ...(pin === undefined ? {} : { pin }),
    ...(insecure ? { insecure } : {}),
    timeout,
    // A question asked once: a connection that breaks is not worth waiting for.
    grace: 0,
  }
}
