/** URLs of workers and hubs, and what may pass to them in the open. */
import { sottoError } from '../errors.ts'
import { isLoopback } from './loopback.ts'

/** @throws ValueError `ERR_ARGUMENT_VALUE` for what is no `wss://` or `ws://` URL */
export function socketUrl(entry: string, url: string): URL {
  const parsed = URL.canParse(url) ? new URL(url) : null
  if (parsed?.protocol === 'ws:' || parsed?.protocol === 'wss:') return parsed
  throw sottoError('ERR_ARGUMENT_VALUE', `${entry}: expected a URL such as wss://host:8777`)
}

/** @throws AccessError `ERR_INSECURE` for a token that would pass a network unencrypted, unless that is meant */
export function checkToken(entry: string, url: URL, token: string | undefined, insecure: boolean): void {
  if (token === undefined || insecure || url.protocol === 'wss:' || isLoopback(url.hostname)) return
  throw sottoError(
    'ERR_INSECURE',
    `${entry}: the token would pass ${url.host} unencrypted; use wss://, or { insecure: true } where nobody can listen`,
  )
}
