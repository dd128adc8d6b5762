/** Who the other parties of a job are: where each is, and which key it holds. */
import { setTimeout as pause } from 'node:timers/promises'
import * as v from 'valibot'
import { sottoError } from '../errors.ts'
import { isKey } from '../worker/identity.ts'
import { isLoopback } from '../worker/loopback.ts'
import type { Discovery } from './discovery.ts'

export interface Found {
  readonly url: string
  readonly key: string
}

export interface RosterOptions {
  readonly discovery: Discovery
  /** Keys that the job says. */
  readonly keys: Readonly<Record<string, string>> | undefined
  /** Lets shares pass networks unencrypted, and parties be taken at their word. */
  readonly insecure: boolean
  /** When to give up: milliseconds on the clock of `performance.now()`. */
  readonly until: number
  readonly signal: AbortSignal
}

/** Milliseconds between two looks at who is there. */
const LOOK = 100
/** Milliseconds for an answer to who somebody is. */
const ANSWER = 2000

const health = v.object({
  worker: v.string(),
  key: v.pipe(
    v.string(),
    v.check((key) => isKey(key)),
  ),
})

/**
 * Finds a party, and waits for it. Where the job says its key, that is the key that it must hold; else the one that it has
 * said, to Redis or when asked at its address.
 *
 * @throws AccessError `ERR_INSECURE` for a connection that others could read, or a party beyond this machine whose key
 *   nobody says; `ERR_IDENTITY` for another key than the job's; SessionError `ERR_TIMEOUT`
 */
export async function findParty(party: string, options: RosterOptions): Promise<Found> {
  const { discovery, keys, insecure, until, signal } = options
  for (;;) {
    signal.throwIfAborted()
    const place = await discovery.find(party)
    if (place !== null) {
      checkOpen(party, place.url, insecure)
      const key = keys?.[party] ?? place.key ?? (await keyAt(party, place.url, insecure))
      if (place.key !== null && place.key !== key) {
        throw sottoError('ERR_IDENTITY', `${party} does not have the key that the job says`, { party })
      }
      if (key !== null) return { url: place.url, key }
    }
    if (performance.now() > until) throw sottoError('ERR_TIMEOUT', `${party} did not come in time`, { party })
    await pause(LOOK, undefined, { signal }).catch(() => signal.throwIfAborted())
  }
}

function checkOpen(party: string, url: string, insecure: boolean): void {
  const { protocol, hostname } = new URL(url)
  if (protocol === 'wss:' || insecure || isLoopback(hostname)) return
  throw sottoError(
    'ERR_INSECURE',
    `${party} is at ${url}: whoever listens there could put shares together; use wss://, or say --insecure`,
    { party },
  )
}

/** The key that a party says it holds, at its address; null while it is not there. */
async function keyAt(party: string, url: string, insecure: boolean): Promise<string | null> {
  const { hostname, host, protocol } = new URL(url)
  if (!isLoopback(hostname) && !insecure) {
    throw sottoError('ERR_INSECURE', `nothing says which key ${party} holds: put "keys" into the job`, { party })
  }
  let answer: unknown
  try {
    const response = await fetch(`${protocol === 'wss:' ? 'https' : 'http'}://${host}/healthz`, {
      signal: AbortSignal.timeout(ANSWER),
      redirect: 'error',
    })
    answer = await response.json()
  } catch {
    return null
  }
  const said = v.safeParse(health, answer)
  if (said.success && said.output.worker === party) return said.output.key
  throw sottoError('ERR_IDENTITY', `whoever answers at ${url} is not ${party}`, { party })
}
