/**
 * Where a file of a data set comes from: the folder named by `SOTTO_DATA`, the user's cache, a public mirror; in this
 * order. Whatever the way, the unpacked bytes are compared with a SHA-256 before anyone gets them.
 */
import { createHash, randomUUID } from 'node:crypto'
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import { isSottoError, sottoError } from '../errors.ts'
import { download } from './download.ts'
import { unzip } from './zip.ts'

/** A file that a loader may ask for. */
export interface DataFile {
  /** Its path inside a data folder, with `/`; a gzipped copy has `.gz` behind it. */
  readonly path: string
  /** Bytes, unpacked. */
  readonly size: number
  /** SHA-256 of the unpacked bytes, hexadecimal. */
  readonly sha256: string
  readonly mirrors: readonly Mirror[]
}

/** A place that serves a file to everybody. */
export interface Mirror {
  readonly url: string
  /** What the mirror serves: the file as it is, gzipped, or as the member of a ZIP archive. */
  readonly form: 'plain' | 'gzip' | { readonly zipMember: string }
}

export interface SourceOptions {
  /** Ends a download; the promise then rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined
  /** Told in one line what went wrong without keeping the file from being had. Default: nobody. */
  readonly onNotice?: ((line: string) => void) | undefined
  /** Instead of `process.env`. @internal */
  readonly environment?: Readonly<Record<string, string | undefined>> | undefined
  /** Instead of the mirrors of each file. @internal */
  readonly mirrors?: readonly Mirror[] | undefined
  /** Instead of three seconds; milliseconds. @internal */
  readonly answerTimeout?: number | undefined
}

const gunzipBytes = promisify<Uint8Array, { maxOutputLength: number }, Uint8Array>(gunzip)

/** What an archive may add to its content: headers, and the readme beside the file. */
const containerBytes = 64 * 1024

/**
 * The bytes of a file of a data set, unpacked and verified.
 *
 * A file in `SOTTO_DATA` that differs from the published one is an error, for someone put it there on purpose. One in
 * the cache is fetched anew. A download enters the cache only when verified, under a temporary name first, so that no
 * other process ever sees half of it.
 *
 * @throws DataError `ERR_DATA_MISSING` when it is nowhere to be had: the message says what was tried; `ERR_DATA_CHECKSUM`
 * when the one in `SOTTO_DATA` differs
 */
export async function readDataFile(file: DataFile, options: SourceOptions = {}): Promise<Uint8Array> {
  const { signal, environment = process.env, mirrors = file.mirrors } = options
  signal?.throwIfAborted()
  const tried: string[] = []

  const own = environment.SOTTO_DATA
  if (own) {
    const folder = resolve(own)
    const bytes = await readFromFolder(file, folder)
    if (bytes) return bytes
    tried.push(`SOTTO_DATA (no such file in ${folder})`)
  } else {
    tried.push('SOTTO_DATA (not set)')
  }

  const cache = cacheFolder(environment)
  try {
    const bytes = await readFromFolder(file, cache)
    if (bytes) return bytes
    tried.push(`the cache (no such file in ${cache})`)
  } catch (error) {
    tried.push(`the cache (${(error as Error).message})`)
  }

  for (const mirror of mirrors) {
    try {
      return await fetchIntoCache(file, mirror, cache, options)
    } catch (error) {
      signal?.throwIfAborted()
      tried.push(`${mirror.url} (${reasonOf(error)})`)
    }
  }

  throw sottoError(
    'ERR_DATA_MISSING',
    `${file.path} is nowhere to be found. Tried: ${tried.join('; ')}. ` +
      `Set SOTTO_DATA to a folder that holds ${file.path} or ${file.path}.gz`,
    { path: file.path, tried },
  )
}

/**
 * The folder where downloads are kept.
 *
 * `$XDG_CACHE_HOME/sotto` where that is set (XDG Base Directory Specification 0.8: a relative path is to be ignored),
 * else what the platform has: `~/Library/Caches/sotto`, `%LOCALAPPDATA%\sotto`, `~/.cache/sotto`.
 */
export function cacheFolder(
  environment: Readonly<Record<string, string | undefined>> = process.env,
  platform: string = process.platform,
  home: string = homedir(),
): string {
  const xdg = environment.XDG_CACHE_HOME
  if (xdg && isAbsolute(xdg)) return join(xdg, 'sotto')
  if (platform === 'darwin') return join(home, 'Library', 'Caches', 'sotto')
  if (platform === 'win32') return join(environment.LOCALAPPDATA || join(home, 'AppData', 'Local'), 'sotto')
  return join(home, '.cache', 'sotto')
}

/** The names under which a folder may hold the file. */
const namesIn = (folder: string, file: DataFile) => [join(folder, file.path), join(folder, `${file.path}.gz`)] as const

/**
 * The verified bytes from a folder, or undefined when they are not there under either name.
 *
 * @throws DataError `ERR_DATA_CHECKSUM` when what is there differs, `ERR_DATA_MISSING` when it cannot be read
 */
async function readFromFolder(file: DataFile, folder: string): Promise<Uint8Array | undefined> {
  for (const path of namesIn(folder, file)) {
    let bytes: Uint8Array
    try {
      bytes = await readFile(path)
    } catch (error) {
      if (isAbsent(error)) continue
      throw sottoError('ERR_DATA_MISSING', `${path} cannot be read: ${reasonOf(error)}`, { path }, error)
    }
    return verify(file, path.endsWith('.gz') ? await unpackGzip(file, bytes, path) : bytes, path)
  }
  return undefined
}

/** Downloads, verifies, keeps. Not being able to keep it is no failure: the bytes are here. */
async function fetchIntoCache(file: DataFile, mirror: Mirror, cache: string, options: SourceOptions) {
  const { form } = mirror
  const body = await download(mirror.url, {
    label: file.path,
    maxBytes: file.size + containerBytes,
    signal: options.signal,
    answerTimeout: options.answerTimeout,
  })
  // A server may declare the gzip as its encoding, and then fetch has unpacked it already.
  const gzipped = form === 'gzip' && body[0] === 0x1f && body[1] === 0x8b
  const content = gzipped
    ? await unpackGzip(file, body, mirror.url)
    : typeof form === 'object'
      ? unzip(body, form.zipMember, file.size)
      : body
  const verified = verify(file, content, mirror.url)

  const [plain, packed] = namesIn(cache, file)
  try {
    await writeWhole(gzipped ? packed : plain, gzipped ? body : content)
    // A damaged copy under the other name would be found first, or again.
    await rm(gzipped ? plain : packed, { force: true })
  } catch (error) {
    options.onNotice?.(`sotto: could not keep ${file.path} in the cache ${cache}: ${reasonOf(error)}`)
  }
  return verified
}

async function writeWhole(path: string, bytes: Uint8Array): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  const temporary = `${path}.${randomUUID()}.part`
  try {
    await writeFile(temporary, bytes, { flag: 'wx' })
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {})
    throw error
  }
}

async function unpackGzip(file: DataFile, bytes: Uint8Array, place: string): Promise<Uint8Array> {
  try {
    return await gunzipBytes(bytes, { maxOutputLength: file.size })
  } catch (error) {
    throw sottoError(
      'ERR_DATA_CHECKSUM',
      `${place} does not unpack to the ${file.size} bytes of ${file.path}: ${reasonOf(error)}; remove or replace it`,
      { path: place },
      error,
    )
  }
}

function verify(file: DataFile, bytes: Uint8Array, place: string): Uint8Array {
  if (bytes.length !== file.size) {
    throw sottoError(
      'ERR_DATA_CHECKSUM',
      `${place} differs from the published ${file.path}: expected ${file.size} bytes unpacked, got ${bytes.length}; ` +
        'remove or replace it',
      { path: place, expected: file.size, got: bytes.length },
    )
  }
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  if (sha256 !== file.sha256) {
    throw sottoError(
      'ERR_DATA_CHECKSUM',
      `${place} differs from the published ${file.path}: expected SHA-256 ${file.sha256}, got ${sha256}; ` +
        'remove or replace it',
      { path: place, expected: file.sha256, got: sha256 },
    )
  }
  // Callers are promised a Uint8Array; a Buffer is one but for its slice(), which does not copy.
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

const isAbsent = (error: unknown): boolean =>
  ['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')

/** `fetch` says no more than "fetch failed"; what failed stands in the cause. */
function reasonOf(error: unknown): string {
  const { message, code, cause } = error as NodeJS.ErrnoException
  if (isSottoError(error)) return message
  return cause === undefined ? message || String(code) : reasonOf(cause)
}
