/** The file of tokens: what `sotto token` changes, and what a worker reads again when it has changed. */
import { readFileSync, statSync } from 'node:fs'
import { sottoError } from '../errors.ts'
import type { Log } from '../worker/log.ts'
import { createToken, type Right, showTokens, type TokenRecord, Tokens } from '../worker/tokens.ts'
import { changePrivate, readText } from './secret-files.ts'

/** The records of a file. */
export function parseRecords(text: string, path: string): readonly TokenRecord[] {
  Tokens.parse(text, path)
  return (JSON.parse(text) as { tokens: TokenRecord[] }).tokens
}

const HINT = 'make a token with: sotto token --identity me --tokens'

/** @throws ValueError `ERR_ARGUMENT_VALUE` without a file; DataError `ERR_DATA_FORMAT` that names file and field */
export async function readRecords(path: string): Promise<readonly TokenRecord[]> {
  return parseRecords(await readText(path, `${HINT} ${path}`), path)
}

/** Makes a token and puts its record into the file, which is made if need be. */
export async function addToken(
  path: string,
  options: { identity: string; rights?: readonly Right[] | undefined; expires?: Date | undefined },
): Promise<{ token: string; record: TokenRecord }> {
  const made = createToken(options)
  await changePrivate(path, (text) => showTokens([...(text === null ? [] : parseRecords(text, path)), made.record]))
  return made
}

/** @throws StateError `ERR_NOT_FOUND` when there is no token of that id; as {@link readRecords} */
export async function removeToken(path: string, id: string): Promise<TokenRecord> {
  let removed: TokenRecord | undefined
  await readRecords(path)
  await changePrivate(path, (text) => {
    const records = text === null ? [] : parseRecords(text, path)
    removed = records.find((record) => record.id === id)
    if (removed === undefined)
      throw sottoError('ERR_NOT_FOUND', `${path}: there is no token of the id ${id}`, { path, id })
    return showTokens(records.filter((record) => record !== removed))
  })
  return removed!
}

/** The tokens of a file that may change while a worker runs. */
export class WatchedTokens {
  readonly #path: string
  readonly #log: Log
  #tokens: Tokens
  #seen: string

  /** @throws as {@link readRecords} */
  static async open(path: string, log: Log): Promise<WatchedTokens> {
    await readRecords(path)
    return new WatchedTokens(path, log)
  }

  private constructor(path: string, log: Log) {
    this.#path = path
    this.#log = log
    this.#seen = this.#look()
    this.#tokens = this.#read()
  }

  /** The tokens that are good now. To look at the file's date costs microseconds: it is done whenever somebody comes. */
  now(): Tokens {
    const seen = this.#look()
    if (seen !== this.#seen) this.reread(seen)
    return this.#tokens
  }

  reread(seen = this.#look()): void {
    this.#seen = seen
    this.#tokens = this.#read()
  }

  /** What changes when the file does: replaced, it is another one; written over, it has another date. */
  #look(): string {
    const found = statSync(this.#path, { bigint: true, throwIfNoEntry: false })
    return found === undefined ? 'none' : `${found.ino} ${found.size} ${found.mtimeNs} ${found.ctimeNs}`
  }

  /** A file that cannot be read lets nobody in, and ends no session: what was revoked in it is not known. */
  #read(): Tokens {
    const path = this.#path
    try {
      const records = parseRecords(readFileSync(path, 'utf8'), path)
      this.#log.info({ path, tokens: records.length }, 'tokens read')
      return new Tokens(records)
    } catch (error) {
      this.#log.warn({ path, reason: (error as Error).message }, 'tokens not read: nobody is let in')
      return Tokens.unread()
    }
  }
}
