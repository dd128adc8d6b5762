/** `sotto status`: how a worker is, and what it has to do. */
import type { IncomingMessage, RequestOptions } from 'node:http'
import * as v from 'valibot'
import { isSottoError, sottoError } from '../errors.ts'
import { type ConnectOptions, SocketWorker, type WorkerStats } from '../index.ts'
import { drawTable } from '../worker/table.ts'
import { type ConnectionFlags, connectOptions } from './connection.ts'
import type { Io } from './io.ts'

const healthSchema = v.object({ status: v.string(), worker: v.string(), key: v.string(), incarnation: v.string() })
type Health = v.InferOutput<typeof healthSchema>

/** Bytes of an answer about health. */
const HEALTH = 4096

/**
 * Prints what a worker says of its health, and what it has to do to those who may know: who shows no token where one is
 * needed sees the health alone.
 *
 * @throws what `SocketWorker.connect` throws
 */
export async function printStatus(url: string, flags: ConnectionFlags, io: Io): Promise<void> {
  const options = await connectOptions(flags, io)
  const stats = await statsOf(url, options)
  const health = await healthOf(url, options)
  const { worker, key } = stats ?? health
  if (health.key !== key) throw sottoError('ERR_IDENTITY', `${url}/healthz answers for another worker`)
  const table = drawTable([
    ['status', health.status],
    ['address', url],
    ['key', key],
    ['incarnation', health.incarnation],
    ...(stats === null
      ? [['stats', 'for those with a token: --token-file, or SOTTO_TOKEN']]
      : [
          ['objects', `${stats.objects}, ${bytes(stats.bytes)}`],
          ['received', `${stats.framesIn} frames, ${bytes(stats.bytesIn)}`],
          ['sent', `${stats.framesOut} frames, ${bytes(stats.bytesOut)}`],
        ]),
  ])
  io.out(`${worker}\n${table}\n`)
  if (stats !== null) io.out(`${linksOf(stats)}\n`)
  if (health.status !== 'ok') throw sottoError('ERR_SESSION_CLOSED', `${worker} is ${health.status}`)
}

/** Null where a token is needed, and none was given. */
async function statsOf(
  url: string,
  options: ConnectOptions,
): Promise<(WorkerStats & { worker: string; key: string }) | null> {
  try {
    const worker = await SocketWorker.connect(url, options)
    try {
      return { ...(await worker.stats()), worker: worker.id, key: worker.key }
    } finally {
      await worker.close()
    }
  } catch (error) {
    if (options.token === undefined && isSottoError(error) && error.code === 'ERR_TOKEN') return null
    throw error
  }
}

function linksOf({ links }: WorkerStats): string {
  const head = ['connection', 'is a', 'frames in', 'frames out', 'in', 'out']
  const rows = links.map(({ name, role, framesIn, framesOut, bytesIn, bytesOut }) => {
    return [name, role, framesIn, framesOut, bytes(bytesIn), bytes(bytesOut)]
  })
  return drawTable([head, ...rows], ['left', 'left', 'right', 'right', 'right', 'right'])
}

/** Bytes in the largest unit of which there is one at least. */
function bytes(count: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  const unit = Math.min(Math.floor(Math.log10(Math.max(count, 1)) / 3), units.length - 1)
  return `${unit === 0 ? count : (count / 1000 ** unit).toFixed(1)} ${units[unit]}`
}

/** @throws SessionError `ERR_UNREACHABLE` when there is no answer, or none that a worker gives */
async function healthOf(url: string, options: ConnectOptions): Promise<Health> {
  const at = `${url.replace(/^ws/, 'http').replace(/\/$/, '')}/healthz`
  const fail = (why: string) => sottoError('ERR_UNREACHABLE', `${at}: ${why}`, { url: at })
  const { ca, cert, key, pin, timeout } = options
  const tls = {
    ...(ca ? { ca: String(ca) } : {}),
    ...(cert ? { cert: String(cert) } : {}),
    ...(key ? { key: String(key) } : {}),
    // The key that was pinned has just been proved, over the very certificate.
    rejectUnauthorized: pin === undefined,
  }
  const text = await get(at, { ...tls, signal: AbortSignal.timeout(timeout || 10_000) }).catch((error: Error) => {
    throw fail(error.message)
  })
  try {
    return v.parse(healthSchema, JSON.parse(text))
  } catch {
    throw fail('what answers is no worker')
  }
}

async function get(url: string, options: RequestOptions): Promise<string> {
  const { get: send } = url.startsWith('https:') ? await import('node:https') : await import('node:http')
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    send(url, { ...options, agent: false }, resolve).on('error', reject)
  })
  let text = ''
  for await (const piece of response.setEncoding('utf8')) {
    text += piece
    if (text.length > HEALTH) throw new Error('the answer is too long')
  }
  return text
}
