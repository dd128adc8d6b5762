/** `sotto worker`: a worker in a process of its own, which listens or dials. */
import { type Logger, pino } from 'pino'
import { isSottoError, sottoError } from '../errors.ts'
// The whole library: parts of it add messages that `worker/` does not know.
import { Identity, type OwnData, offerWorker, ready, serveWorker } from '../index.ts'
import { tokenOf } from './connection.ts'
import type { Io } from './io.ts'
import { readIdentity } from './keygen.ts'
import { readOwnFiles } from './own-files.ts'
import { isExposed, readText } from './secret-files.ts'
import { EndSignals } from './signals.ts'
import { given, readTls } from './tls.ts'
import { WatchedTokens } from './token-file.ts'
import type { Settings } from './worker-options.ts'

/** Milliseconds to finish what was begun. Docker kills ten seconds after it has asked. */
const FINISH = 8000

/** A worker that runs. */
interface Running {
  /** Where it is, for the line that says so. */
  readonly at: string
  readonly key: string
  /** Who may come in when nobody is asked who they are; null where they are. */
  readonly open: string | null
  readonly tokens?: WatchedTokens
  close(timeout: number): Promise<void>
}

type Start = (parts: {
  settings: Settings
  identity: Identity
  data: Record<string, OwnData>
  log: Logger
  io: Io
}) => Promise<Running>

/** Starts a worker, says so in one line, and runs until a signal ends it. */
export async function runWorker(settings: Settings, io: Io): Promise<void> {
  const signals = new EndSignals(io)
  try {
    await run(settings, signals, io)
  } finally {
    signals.stop()
  }
}

async function run(settings: Settings, signals: EndSignals, io: Io): Promise<void> {
  const { id, identity: path, backend, logLevel: level = 'info' } = settings
  const log = pino(
    { level, base: { worker: id }, timestamp: pino.stdTimeFunctions.isoTime },
    { write: (line) => io.err(line) },
  )
  const identity = path === undefined ? Identity.generate() : await readIdentity(path)
  if (path !== undefined && (await isExposed(path))) log.warn({ path }, 'other users can read the key')
  const used = await ready(backend === undefined ? {} : { backend })
  const data = await readOwnFiles(settings, io)
  const start = settings.dial === undefined ? listen : dial
  const { at, key, open, tokens, close } = await start({ settings, identity, data, log, io })

  const reread = () => tokens?.reread()
  // Closing the terminal of a worker that runs in one should end it, as usual.
  if (!io.isTerminal) io.signals.on('SIGHUP', reread)
  const isNew = path === undefined ? ' (new, and gone when it ends)' : ''
  const isOpen = open === null ? '' : `; no auth: ${open}`
  io.out(`${id} is ready at ${at}, key ${key}${isNew}${isOpen}\n`)
  log.info({ at, key, backend: used, data: Object.keys(data) }, 'ready')

  const signal = await signals.wait()
  log.info({ signal }, 'ending')
  await close(FINISH)
  log.info('ended')
  io.signals.off('SIGHUP', reread)
}

const ACCESS = 'give --tokens or --client-certificates, or say --insecure'

const listen: Start = async ({ settings, identity, data, log }) => {
  const { id, host, port, tlsCert, tokens: path, clientCertificates: certificates, peerCa, ...rest } = settings
  const { insecure, grace, heartbeat, owner, peers, limit: limits, checkpoints } = rest
  const tokens = path === undefined ? undefined : await WatchedTokens.open(path, log)
  const auth =
    tokens === undefined && !certificates
      ? undefined
      : { ...given({ certificates }), ...(tokens && { tokens: () => tokens.now() }) }
  const tls = tlsCert === undefined ? undefined : await readTls(settings)
  const peerTls = peerCa === undefined ? undefined : { ca: await readText(peerCa) }
  const options = given({
    host,
    port,
    tls,
    auth,
    insecure,
    grace,
    heartbeat,
    owner,
    peers,
    limits,
    checkpoints,
    peerTls,
  })
  const server = await serveWorker({ id: id!, identity, data, log, ...options }).catch((error: Error) => {
    throw isSottoError(error) && error.code === 'ERR_INSECURE'
      ? sottoError('ERR_INSECURE', `at ${host} everyone could reach ${id}, and be whoever they say; ${ACCESS}`)
      : error
  })
  return {
    at: server.url,
    key: server.key,
    open: auth === undefined ? 'whoever reaches it may come in, as whomever they say' : null,
    ...(tokens && { tokens }),
    close: (timeout) => server.close(timeout),
  }
}

const dial: Start = async ({ settings, identity, data, log, io }) => {
  const { id, dial: url, pin, caller, grace, heartbeat, owner, limit, checkpoints } = settings
  const token = await tokenOf(settings, io)
  const ca = settings.ca === undefined ? undefined : await readText(settings.ca)
  let isEnding = false
  const onChange = (state: 'connected' | 'lost', reason?: Error) => {
    if (state === 'connected') log.info({ hub: url }, 'at the hub')
    else if (!isEnding) log.warn({ hub: url, reason: reason?.message }, 'lost the hub')
  }
  const options = given({
    token,
    pin,
    caller,
    ca,
    grace,
    heartbeat,
    owner,
    limits: limit,
    checkpoints,
    log,
    insecure: settings.insecure,
  })
  const worker = await offerWorker(url!, { id: id!, identity, data, onChange, ...options })
  return {
    at: `the hub ${url}`,
    key: worker.key,
    open: null,
    close(timeout) {
      isEnding = true
      return worker.close(timeout)
    },
  }
}
