/** `sotto psi`: two people with a file each find which ids they share. */
import { type FileHandle, open, rm } from 'node:fs/promises'
import { basename } from 'node:path'
import { readCsvRecords } from '../data/csv-records.ts'
import { sottoError } from '../errors.ts'
import {
  connectForPsi,
  Identity,
  type IdSet,
  listenForPsi,
  type PsiOptions,
  type PsiResult,
  readIds,
} from '../index.ts'
import type { IdRule } from '../psi/ids.ts'
import type { PsiProtocol } from '../psi/two-party.ts'
import { type ConnectionFlags, connectOptions } from './connection.ts'
import { type Io, UsageError } from './io.ts'
import { readIdentity } from './keygen.ts'
import { EndSignals } from './signals.ts'
import { given, readTls, type TlsFlags } from './tls.ts'
import { WatchedTokens } from './token-file.ts'

export interface PsiFlags extends Partial<ConnectionFlags>, TlsFlags {
  readonly ids?: string
  readonly column?: readonly string[]
  readonly rule?: IdRule
  readonly reveal?: 'both' | 'me' | 'peer' | 'size'
  readonly protocol?: PsiProtocol
  readonly payload?: readonly string[]
  readonly padTo?: number
  readonly maxPeer?: number
  readonly threads?: number
  readonly out?: string
  readonly peer?: string
  readonly listen?: boolean
  readonly name?: string
  readonly identity?: string
  readonly host?: string
  readonly port?: number
  readonly tokens?: string
}

type Outcome = PsiResult & { readonly peer: string }

/** Reads the ids, meets the other side, and says what was found. */
export async function runPsi(flags: PsiFlags, io: Io): Promise<void> {
  const { path, columns } = checkFlags(flags)
  const stop = new AbortController()
  const signals = new EndSignals(io)
  signals.wait().then((signal) => stop.abort(new Error(signal)))
  const line = new Line(io)
  // Before anything is learnt that could not be kept.
  const out = flags.out === undefined ? undefined : await openNew(flags.out)
  try {
    const { ids, payloads } = await readOwn(path, columns, flags, line, stop.signal)
    const outcome = await meet(ids, payloads, flags, line, stop.signal, io)
    line.clear()
    io.out(`${summary(ids, outcome)}\n`)
    if (out !== undefined) await writeRows(out, path, columns, outcome, line)
  } catch (error) {
    // It was made here, and has nothing in it that anybody could use.
    if (out !== undefined) await rm(flags.out!)
    throw error
  } finally {
    line.clear()
    await out?.close()
    signals.stop()
  }
}

function checkFlags(flags: PsiFlags): { path: string; columns: readonly string[] } {
  const { ids, column = [], listen, peer, payload = [], reveal, out, tlsCert, tlsKey } = flags
  if (ids === undefined) throw new UsageError('--ids is needed: the file in which the ids are')
  if (column.length === 0) throw new UsageError('--column is needed: the column of ids')
  if ((listen === true) === (peer !== undefined))
    throw new UsageError('give --listen, or --peer with where the other is')
  if (listen !== true) {
    for (const [flag, value] of Object.entries({
      '--tokens': flags.tokens,
      '--port': flags.port,
      '--host': flags.host,
    })) {
      if (value !== undefined) throw new UsageError(`${flag} is for the side that listens`)
    }
  }
  if ((tlsCert === undefined) !== (tlsKey === undefined)) throw new UsageError('--tls-cert and --tls-key go together')
  if (payload.length > 0 && (reveal === 'size' || reveal === 'me')) {
    throw new UsageError('--payload goes to the other side, which is not to learn which ids are shared')
  }
  if (out !== undefined && (reveal === 'size' || reveal === 'peer')) {
    throw new UsageError('--out is for the rows that are shared, which this side is not to learn')
  }
  return { path: ids, columns: column }
}

/** The ids, and of each row the payload: its cells by their columns, as JSON. */
async function readOwn(
  path: string,
  columns: readonly string[],
  { rule, payload = [] }: PsiFlags,
  line: Line,
  signal: AbortSignal,
): Promise<{ ids: IdSet; payloads: Uint8Array[] | undefined }> {
  const onProgress = (done: number, total: number) => line.show(`reading ${basename(path)}`, done / total)
  const ids = await readIds(path, { columns, signal, onProgress, ...(rule === undefined ? {} : { rule }) })
  if (payload.length === 0) return { ids, payloads: undefined }
  const payloads: Uint8Array[] = []
  const utf8 = new TextEncoder()
  await readCsvRecords(path, {
    columns: payload,
    signal,
    onRecord: (cells) => {
      payloads.push(utf8.encode(JSON.stringify(Object.fromEntries(payload.map((column, i) => [column, cells[i]])))))
    },
  })
  return { ids, payloads }
}

async function meet(
  ids: IdSet,
  payloads: Uint8Array[] | undefined,
  flags: PsiFlags,
  line: Line,
  signal: AbortSignal,
  io: Io,
): Promise<Outcome> {
  const { reveal = 'both', protocol, padTo, maxPeer: maxPeerSize, threads, timeout, listen } = flags
  // Who learns alone is the first side; where both do, it is the one that connects.
  const isFirst = reveal === 'me' || (reveal !== 'peer' && listen !== true)
  const options: PsiOptions = {
    side: isFirst ? 'first' : 'second',
    reveal: reveal === 'me' || reveal === 'peer' ? 'one' : reveal,
    signal,
    onProgress: (done) => line.show('intersecting', done),
    ...given({ protocol, padTo, maxPeerSize, threads, timeout, payloads }),
  }
  if (listen !== true) {
    const connection = await connectOptions({ ...flags, timeout: flags.timeout ?? 60_000 }, io)
    return connectForPsi(flags.peer!, ids, options, { ...connection, grace: 10_000, signal })
  }
  const { name: id, identity, host, port, tlsCert, tokens: path, insecure } = flags
  const silent = { info: () => {}, warn: () => {} }
  const tokens = path === undefined ? undefined : await WatchedTokens.open(path, silent as never)
  const server = await listenForPsi(ids, options, {
    identity: identity === undefined ? Identity.generate() : await readIdentity(identity),
    ...given({ id, host, port, insecure }),
    ...(tokens === undefined ? {} : { auth: { tokens: () => tokens.now() } }),
    ...(tlsCert === undefined ? {} : { tls: await readTls(flags) }),
  })
  const onStop = () => void server.close()
  signal.addEventListener('abort', onStop, { once: true })
  try {
    const isOpen = tokens === undefined ? '; no tokens: whoever reaches it may come in' : ''
    io.err(`waiting for the other side at ${server.url}, key ${server.key}${isOpen}\n`)
    return await server.result
  } finally {
    signal.removeEventListener('abort', onStop)
    await server.close()
  }
}

function summary(ids: IdSet, { size, peer, peerSize, traffic }: Outcome): string {
  const own = `${ids.size} ids${ids.duplicates.length > 0 ? `, ${ids.duplicates.length} rows that repeat one` : ''}${
    ids.empty > 0 ? `, ${ids.empty} rows without one` : ''
  }`
  const learnt = size === undefined ? 'learnt nothing' : `shared ${size}`
  const { bytesSent, bytesReceived } = traffic
  return `${learnt} with ${peer} (${peerSize} ids); here: ${own}; sent ${bytesSent} bytes, received ${bytesReceived}`
}

/** @throws StateError `ERR_ID_TAKEN` when there is a file already */
async function openNew(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'wx')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    throw sottoError('ERR_ID_TAKEN', `${path}: it is there already, and is not written over`, { path })
  }
}

/** Writes the rows that are shared, as they stand in the file, with what the other side sent along. */
async function writeRows(
  out: FileHandle,
  path: string,
  columns: readonly string[],
  { rows, payloads, peer }: Outcome,
  line: Line,
): Promise<void> {
  const wanted = new Map([...rows!].map((row, place) => [row, place]))
  const found = new Array<string>(wanted.size)
  let row = 0
  const onProgress = (done: number, total: number) => line.show('writing', done / total)
  const onRecord = (_: readonly string[], raw: () => string) => {
    const place = wanted.get(row++)
    if (place !== undefined) found[place] = raw()
  }
  const { header, records } = await readCsvRecords(path, { columns, onRecord, onProgress })
  if (records !== row || found.includes(undefined as never)) {
    throw sottoError('ERR_DATA_FORMAT', `${path}: it has changed since its ids were read`, { path })
  }
  const carried = payloads?.map((payload) => carriedIn(payload, peer))
  const names = [...new Set(carried?.flatMap((cells) => Object.keys(cells)) ?? [])]
  const more = (cells: readonly string[]) => cells.map((cell) => `,${quoted(cell)}`).join('')
  await out.write(`${header}${more(names.map((column) => `${peer}.${column}`))}\n`)
  let text = ''
  for (const [place, record] of found.entries()) {
    text += `${record}${more(names.map((column) => carried![place]![column] ?? ''))}\n`
    if (text.length < 2 ** 20 && place < found.length - 1) continue
    await out.write(text)
    text = ''
  }
}

/** The cells of a payload, by their columns. */
function carriedIn(payload: Uint8Array, peer: string): Readonly<Record<string, string>> {
  try {
    const cells = JSON.parse(new TextDecoder().decode(payload)) as unknown
    if (typeof cells === 'object' && cells !== null && Object.values(cells).every((cell) => typeof cell === 'string')) {
      return cells as Record<string, string>
    }
  } catch {
    // Said below.
  }
  throw sottoError('ERR_PROTOCOL', `${peer} sent payloads that are no cells of a table`)
}

/** A cell as CSV; what a spreadsheet would compute is text to it. */
function quoted(cell: string): string {
  const safe = /^[=+\-@\t\r]/.test(cell) ? `'${cell}` : cell
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe
}

/** To the start of the line, and clear it (ECMA-48, EL). */
const CLEAR = '\r\x1b[K'

/** A line on a terminal that says how far something has come; nothing elsewhere. */
class Line {
  readonly #io: Io
  #shown = ''

  constructor(io: Io) {
    this.#io = io
  }

  show(what: string, done: number): void {
    if (!this.#io.isTerminal) return
    const text = `${what} ${Math.floor(100 * Math.min(1, done))} %`
    if (text === this.#shown) return
    this.#io.err(`${CLEAR}${text}`)
    this.#shown = text
  }

  clear(): void {
    if (this.#shown !== '') this.#io.err(CLEAR)
    this.#shown = ''
  }
}
