/**
 * Bearer tokens: who holds one is the identity written beside its hash.
 *
 * A token is `sotto_<id>_<secret>`: 12 letters and digits by which its record is found, and 32 random bytes in
 * base64url. What is stored is SHA-256 of the whole token: who reads the file has no token, and with 256 random bits
 * to guess, a slow hash would add nothing (NIST SP 800-63B §5.1.2.2: look-up secrets of 112 bits or more).
 *
 * No error shows a token, nor any part of one.
 */
import { equalBytes } from '@noble/ciphers/utils.js'
import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js'
import * as v from 'valibot'
import { type Code, sottoError } from '../errors.ts'
import { toBase64Url } from './identity.ts'

/**
 * What a token can be good for: `work` for everything done with tensors, `ledger` to read the ledger, `stats` to read
 * how many objects, bytes and frames there are.
 */
export const rights = ['work', 'ledger', 'stats'] as const
/**
 * Beside them `secrets`, the part of `work` that leaves everything closed: to have the owner's data shared as secrets among
 * those whom its policies name, and secrets opened here; nothing else is computed, and nothing goes out in clear.
 */
export const allRights = [...rights, 'secrets'] as const
export type Right = (typeof allRights)[number]

/** What is stored of a token. */
export interface TokenRecord {
  readonly id: string
  /** SHA-256 of the whole token, 64 hexadecimal digits in lower case. */
  readonly hash: string
  /** Whom the bearer is taken for. */
  readonly identity: string
  readonly rights: readonly Right[]
  /** ISO 8601, the first moment at which it is good no more; null for never. */
  readonly expires: string | null
}

/** Whose token it was. */
export interface TokenBearer {
  readonly identity: string
  readonly rights: readonly Right[]
  readonly id: string
}

const ALPHANUMERIC = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const ID_LENGTH = 12
const SECRET_BYTES = 32
const TOKEN = /^sotto_([0-9A-Za-z]{12})_[\w-]{43}$/

/** Hashed in place of what is no token: the same length, so the same time. */
const DUMMY_TOKEN = `sotto_${'0'.repeat(ID_LENGTH)}_${'0'.repeat(43)}`
/** Compared with when there is no record: the hash of nothing that anybody knows. */
const DUMMY_HASH = new Uint8Array(32)

const utf8 = new TextEncoder()
const hashOf = (token: string): Uint8Array => sha256(utf8.encode(token))

const recordSchema = v.strictObject({
  id: v.pipe(v.string(), v.regex(/^[0-9A-Za-z]{12}$/)),
  hash: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
  identity: v.pipe(v.string(), v.minLength(1), v.maxLength(256)),
  rights: v.pipe(v.array(v.picklist(allRights)), v.minLength(1)),
  expires: v.nullable(
    v.pipe(
      v.string(),
      v.check((text) => dateOf(text) !== undefined),
    ),
  ),
})
const fileSchema = v.strictObject({
  tokens: v.pipe(
    v.array(recordSchema),
    v.check((records) => new Set(records.map(({ id }) => id)).size === records.length),
  ),
})

/** What each field must be, for whoever wrote another. */
const expectations: Readonly<Record<string, string>> = {
  tokens: 'a list of records, no two of the same id',
  id: `${ID_LENGTH} letters and digits`,
  hash: '64 hexadecimal digits in lower case',
  identity: 'a name of 1 to 256 characters',
  rights: `a list of at least one of ${allRights.join(', ')}`,
  expires: 'a date of ISO 8601, a time with its zone; or null',
}
const FILE = '{ "tokens": [records] }, and nothing else'
const RECORD = `a record of ${Object.keys(recordSchema.entries).join(', ')}, and nothing else`

/** @throws the error of the code, which names source and field and never what stood there */
function checked<T>(schema: v.GenericSchema<unknown, T>, value: unknown, code: Code, source: string): T {
  const result = v.safeParse(schema, value, { abortEarly: true })
  if (result.success) return result.output
  const [issue] = result.issues
  const path = issue.path?.map(({ key }) => key) ?? []
  // A key that has no business there could be anything, a token too: the error is that of what holds it.
  if (issue.expected === 'never') path.pop()
  const field = path.join('.')
  throw sottoError(code, `${source}: ${field === '' ? '' : `"${field}" `}expected ${expectationAt(path)}`, {
    source,
    field,
  })
}

function expectationAt(path: readonly unknown[]): string {
  const name = path.findLast((key) => typeof key === 'string')
  if (name === undefined) return FILE
  return name === 'tokens' && path.length > 1 ? RECORD : expectations[name]!
}

/**
 * Makes a token. It is shown once, here; keep the record.
 *
 * @param options.identity whom the bearer is taken for, 1 to 256 characters
 * @param options.rights at least one; all of {@link rights} unless given
 * @param options.expires the first moment at which it is good no more; never, unless given
 * @throws ValueError `ERR_ARGUMENT_VALUE` that names the field
 */
export function createToken({
  identity,
  rights: given = rights,
  expires = null,
}: {
  identity: string
  rights?: readonly Right[] | undefined
  expires?: Date | null | undefined
}): { token: string; record: TokenRecord } {
  const id = randomId()
  const secret = globalThis.crypto.getRandomValues(new Uint8Array(SECRET_BYTES))
  const token = `sotto_${id}_${toBase64Url(secret)}`
  const record = {
    id,
    hash: bytesToHex(hashOf(token)),
    identity,
    rights: given,
    // toISOString throws at an invalid Date; no text is refused below, by its name.
    expires: expires === null ? null : Number.isNaN(expires.getTime()) ? '' : expires.toISOString(),
  }
  return { token, record: checked(recordSchema, record, 'ERR_ARGUMENT_VALUE', 'createToken') }
}

/** Letters and digits, each as likely as any other: 71 bits, so that no two tokens share one by chance. */
function randomId(): string {
  // Bytes past the last whole multiple of 62 would favour the first letters; they are drawn again.
  const fair = 256 - (256 % ALPHANUMERIC.length)
  let id = ''
  while (id.length < ID_LENGTH) {
    const [byte] = globalThis.crypto.getRandomValues(new Uint8Array(1))
    if (byte! < fair) id += ALPHANUMERIC[byte! % ALPHANUMERIC.length]
  }
  return id
}

interface KnownToken {
  readonly hash: Uint8Array
  readonly bearer: TokenBearer
  /** Milliseconds since 1970. */
  readonly expires: number
}

/** The tokens that a worker knows. */
export class Tokens {
  readonly #known = new Map<string, KnownToken>()
  readonly #onRevoked = new Set<() => void>()
  #isUnread = false

  /** @throws ValueError `ERR_ARGUMENT_VALUE` that names the field which is not right */
  constructor(records: readonly TokenRecord[]) {
    const { tokens } = checked(fileSchema, { tokens: records }, 'ERR_ARGUMENT_VALUE', 'Tokens')
    for (const { id, hash, identity, rights, expires } of tokens) {
      this.#known.set(id, {
        hash: hexToBytes(hash),
        bearer: { identity, rights, id },
        expires: expires === null ? Number.POSITIVE_INFINITY : dateOf(expires)!.getTime(),
      })
    }
  }

  /**
   * Reads a file of tokens: JSON, `{ "tokens": [records] }`.
   *
   * @param source name of the file, for errors
   * @throws DataError `ERR_DATA_FORMAT` that names source and field
   */
  static parse(text: string, source = 'tokens'): Tokens {
    let file: unknown
    try {
      file = JSON.parse(text)
    } catch {
      // Without its cause, which quotes the text.
      throw sottoError('ERR_DATA_FORMAT', `${source}: expected JSON`, { source, field: '' })
    }
    return new Tokens(checked(fileSchema, file, 'ERR_DATA_FORMAT', source).tokens)
  }

  /** Tokens of which nothing can be read at the moment: nobody comes in, and what was revoked is not known. */
  static unread(): Tokens {
    const tokens = new Tokens([])
    tokens.#isUnread = true
    return tokens
  }

  /**
   * Takes a token away: nobody comes in with it from now on, and sessions that came with it end with `ERR_TOKEN`.
   *
   * @returns whether it was there
   */
  revoke(id: string): boolean {
    const isKnown = this.#known.delete(id)
    if (isKnown) for (const listener of [...this.#onRevoked]) listener()
    return isKnown
  }

  /** @internal Calls back when a token was taken away. Gives a way to be forgotten. */
  onRevoked(listener: () => void): () => void {
    this.#onRevoked.add(listener)
    return () => this.#onRevoked.delete(listener)
  }

  /**
   * @internal Whether what came in with a token may go on: it is still here, of the same identity and with the same
   * rights or more. That its time is up ends nothing: it was good when it was shown.
   */
  isStanding({ id, identity, rights: given }: TokenBearer): boolean {
    const bearer = this.#known.get(id)?.bearer
    if (bearer === undefined) return this.#isUnread
    return bearer.identity === identity && given.every((right) => bearer.rights.includes(right))
  }

  /**
   * Whose token this is. What is missing, malformed, unknown or wrong fails alike, after the same work.
   *
   * @throws AccessError `ERR_TOKEN` unless it is one of these tokens; `ERR_TOKEN_EXPIRED` if it is and its time is up
   */
  check(token: unknown, now: Date = new Date()): TokenBearer {
    const id = typeof token === 'string' ? TOKEN.exec(token)?.[1] : undefined
    const known = id === undefined ? undefined : this.#known.get(id)
    const hash = hashOf(id === undefined ? DUMMY_TOKEN : (token as string))
    if (!equalBytes(hash, known?.hash ?? DUMMY_HASH) || known === undefined) {
      throw sottoError('ERR_TOKEN', 'no token that is known here; ask whoever runs this worker for one')
    }
    // This way round, a clock that says nothing lets nobody in.
    if (!(now.getTime() < known.expires)) {
      throw sottoError('ERR_TOKEN_EXPIRED', 'the token has expired; ask whoever runs this worker for a new one')
    }
    return known.bearer
  }
}

/** What somebody hears who came with a token that was taken away. */
export const revoked = ({ identity }: TokenBearer): Error =>
  sottoError('ERR_TOKEN', `the token with which ${identity} came was revoked`)

/** The text of a file that {@link Tokens.parse} reads. */
export function showTokens(records: readonly TokenRecord[]): string {
  const tokens = records.map(({ id, hash, identity, rights, expires }) => ({ id, hash, identity, rights, expires }))
  return `${JSON.stringify({ tokens }, null, 2)}\n`
}

/** Milliseconds. */
const units: Readonly<Record<string, number>> = { d: 86_400_000, h: 3_600_000, m: 60_000 }

/**
 * When something expires.
 *
 * @param text a time from now on in days of 24 hours, hours or minutes (`30d`, `12h`, `90m`); or a date of ISO 8601,
 *   alone (midnight UTC) or with a time and its zone
 * @throws ValueError `ERR_ARGUMENT_VALUE` for other text, and for a time that is past
 */
export function expiryOf(text: string, now: Date): Date {
  const [, count, unit] = /^(\d{1,6})([dhm])$/.exec(text) ?? []
  const date = unit === undefined ? dateOf(text) : new Date(now.getTime() + Number(count) * units[unit]!)
  if (date === undefined) {
    throw sottoError(
      'ERR_ARGUMENT_VALUE',
      '"expires" expected a time such as 30d, 12h or 90m, or a date such as 2030-12-31 or 2030-12-31T18:00:00Z',
    )
  }
  if (!(date > now)) {
    throw sottoError('ERR_ARGUMENT_VALUE', `"expires" expected a time to come, got ${date.toISOString()}`)
  }
  return date
}

const ISO_DATE = /^(\d{4}-\d{2}-\d{2})(?:T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,3})?)?(?:Z|[+-]\d{2}:\d{2}))?$/

/** A date of ISO 8601, undefined for other text. A time without its zone is none: it would mean another elsewhere. */
function dateOf(text: string): Date | undefined {
  const day = ISO_DATE.exec(text)?.[1]
  if (day === undefined) return undefined
  const midnight = new Date(day)
  const date = new Date(text)
  if (Number.isNaN(midnight.getTime()) || Number.isNaN(date.getTime())) return undefined
  // Date takes the 30th of February for the 2nd of March.
  return midnight.toISOString().startsWith(day) ? date : undefined
}
