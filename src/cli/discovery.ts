/** How the parties of a job find each other: a file that says where each is, or a Redis server where each says so itself. */
import * as v from 'valibot'
import { sottoError } from '../errors.ts'
import { isKey } from '../worker/identity.ts'
import { isLoopback } from '../worker/loopback.ts'
import { UsageError } from './io.ts'
import { readText } from './secret-files.ts'

/** Where a party is. */
export interface Place {
  /** `wss://host:port`, or `ws://`. */
  readonly url: string
  /** The key that it says it holds; null where nothing is said of it. */
  readonly key: string | null
}

export interface Discovery {
  /** Where a party is to listen, if that is laid down; null where it may choose. */
  own(party: string): string | null
  /** Says where a party is. */
  announce(party: string, place: Place): Promise<void>
  /** Where a party is, or null as long as nobody knows. */
  find(party: string): Promise<Place | null>
  /** Takes back what was announced. */
  close(): Promise<void>
}

const isSocket = (url: string): boolean => URL.canParse(url) && /^wss?:$/.test(new URL(url).protocol)

/** `host:port` as a URL: with TLS, but on this machine, or where it is said to be let go. */
export function urlOf(address: string, insecure: boolean): string | null {
  if (/^wss?:\/\//.test(address)) return isSocket(address) ? address : null
  if (!/^[^/\s@?#]+:\d{1,5}$/.test(address) || !URL.canParse(`ws://${address}`)) return null
  const { hostname } = new URL(`ws://${address}`)
  return `${insecure || isLoopback(hostname) ? 'ws' : 'wss'}://${address}`
}

/**
 * Places from a flat map in JSON: `{ "server0": "host:port", … }`.
 *
 * @throws UsageError that names file and party
 */
export async function peersFile(path: string, insecure: boolean): Promise<Discovery> {
  const text = await readText(path)
  let content: unknown
  try {
    content = JSON.parse(text)
  } catch (error) {
    throw new UsageError(`${path}: ${(error as Error).message.split('\n', 1)[0]}`)
  }
  const result = v.safeParse(v.record(v.string(), v.string()), content)
  if (!result.success || Array.isArray(content)) {
    throw new UsageError(`${path}: expected a map of parties, { "server0": "host:port", … }`)
  }
  const urls = new Map<string, string>()
  for (const [party, address] of Object.entries(result.output)) {
    const url = urlOf(address, insecure)
    if (url === null) throw new UsageError(`${path}: "${party}" expected host:port, wss://host:port or ws://host:port`)
    urls.set(party, url)
  }
  const urlFor = (party: string): string => {
    const url = urls.get(party)
    if (url === undefined) throw new UsageError(`${path}: it does not say where ${party} is`)
    return url
  }
  return {
    own: urlFor,
    announce: async () => {},
    find: async (party) => ({ url: urlFor(party), key: null }),
    close: async () => {},
  }
}

const placeSchema = v.strictObject({
  url: v.pipe(v.string(), v.maxLength(2048), v.check(isSocket)),
  key: v.pipe(
    v.string(),
    v.check((key) => isKey(key)),
  ),
})
/** Characters of a value: beyond, it is none of ours. */
const MOST = 4096
/** Seconds for which what a party says of itself stands, and after which it says so again. */
const TTL = 60
const AGAIN = 20
/** Milliseconds to reach the server. */
const CONNECT = 10_000

/**
 * Places from a Redis server, under keys of the job's own, `sotto:job:<id>:<party>`, which expire a minute after their party
 * was last heard of. Nothing else there is read or changed. Whoever controls the server says who the parties are, unless the
 * job has their keys.
 *
 * @param url redis:// or rediss://, perhaps with a password, which no message shows
 * @param job id of the job
 * @throws SessionError `ERR_UNREACHABLE`
 */
export async function redisDiscovery(url: string, job: string): Promise<Discovery> {
  if (!URL.canParse(url) || !/^rediss?:$/.test(new URL(url).protocol)) {
    throw new UsageError('--discovery expected redis://host:port, or rediss://')
  }
  const { host } = new URL(url)
  // Only who asks for it waits for it to load.
  const { createClient } = await import('redis')
  const client = createClient({ url, socket: { connectTimeout: CONNECT, reconnectStrategy: false } })
  const failed = (error: unknown): Error =>
    sottoError('ERR_UNREACHABLE', `Redis at ${host}: ${(error as Error).message.split('\n', 1)[0]}`, { host })
  const asked = async <T>(action: () => Promise<T>): Promise<T> => {
    try {
      return await action()
    } catch (error) {
      throw failed(error)
    }
  }
  // Each command that it hits rejects.
  client.on('error', () => {})
  await asked(() => client.connect())

  const keyOf = (party: string): string => `sotto:job:${job}:${party}`
  const find = async (party: string): Promise<Place | null> => {
    const value = await asked(() => client.get(keyOf(party)))
    if (value === null) return null
    const place = value.length > MOST ? null : placeIn(value)
    if (place !== null) return place
    throw sottoError('ERR_DATA_FORMAT', `Redis at ${host}: what it says of ${party} is no place and key`, { party })
  }
  const announced = new Map<string, string>()
  const put = (party: string, value: string, condition?: 'NX') =>
    asked(() =>
      client.set(keyOf(party), value, { expiration: { type: 'EX', value: TTL }, ...(condition ? { condition } : {}) }),
    )
  const timer = setInterval(() => {
    for (const [party, value] of announced) {
      // One that expired all the same, as when this process was asleep, is put there again, unless somebody took its place.
      client
        .expire(keyOf(party), TTL)
        .then((isThere) => (isThere ? null : put(party, value, 'NX')))
        .catch(() => {})
    }
  }, 1000 * AGAIN)
  timer.unref()

  return {
    own: () => null,
    async announce(party, { url: at, key }) {
      const value = JSON.stringify({ url: at, key })
      if ((await put(party, value, 'NX')) === null) {
        const other = await find(party)
        if (other !== null && other.key !== key) {
          throw sottoError(
            'ERR_ID_TAKEN',
            `Redis at ${host}: another ${party} takes part in this job, or did within a minute; it comes back under the ` +
              'same --identity',
            { party },
          )
        }
        await put(party, value)
      }
      announced.set(party, value)
    },
    find,
    async close() {
      clearInterval(timer)
      if (!client.isOpen) return
      try {
        for (const [party, value] of announced) {
          if ((await client.get(keyOf(party))) === value) await client.del(keyOf(party))
        }
        await client.close()
      } catch {
        // It is gone, and what was there expires by itself.
        if (client.isOpen) client.destroy()
      }
    },
  }
}

function placeIn(value: string): Place | null {
  try {
    const result = v.safeParse(placeSchema, JSON.parse(value))
    return result.success ? result.output : null
  } catch {
    return null
  }
}
