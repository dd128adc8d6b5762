/** What a worker tells about itself while it runs: counts for Prometheus, and lines for a log. Never values. */
import { Counter, Gauge, type Registry } from 'prom-client'
import { isSottoError } from '../errors.ts'
import type { WorkerHost } from './host.ts'
import type { HostSession } from './host-session.ts'
import { messageRow } from './messages.ts'
import type { Log } from './serve.ts'

/** Failures of one session that get a line each: a stranger brings them about at will, and a log is on a disk. */
const LINES = 100
/** Characters of the reason for which a session ended. */
const REASON = 256

/** Watches a worker. */
export function observe(host: WorkerHost, registry: Registry, log: Log | null): void {
  const registers = [registry]
  const gauge = (name: string, help: string, value: () => number) =>
    new Gauge({
      name: `sotto_${name}`,
      help,
      registers,
      collect() {
        this.set(value())
      },
    })
  const callers = () => [...host.sessions].filter(({ role }) => role === 'caller')
  gauge('sessions', 'Sessions of callers', () => callers().length)
  gauge('peers', 'Peers that have connected', () => host.sessions.size - callers().length)
  gauge('objects', 'Tensors, models, optimizers and shares kept', () => host.store.size)
  gauge('bytes', 'Bytes of the objects kept', () => host.store.bytes)
  gauge('queue', 'Commands that wait for their turn', () => callers().reduce((sum, { queued }) => sum + queued, 0))
  const ops = new Counter({
    name: 'sotto_ops_total',
    help: 'Commands carried out or failed',
    labelNames: ['message'],
    registers,
  })
  const errors = new Counter({
    name: 'sotto_errors_total',
    help: 'Commands that failed',
    labelNames: ['code'],
    registers,
  })
  const traffic = new Counter({
    name: 'sotto_traffic_bytes_total',
    help: 'Bytes of sessions that have ended',
    labelNames: ['direction'],
    registers,
  })
  const failures = new WeakMap<HostSession, number>()
  host.observer = {
    handled: (message) => ops.inc({ message }),
    failed(session, message, { code }) {
      errors.inc({ code })
      const failed = (failures.get(session) ?? 0) + 1
      failures.set(session, failed)
      if (failed > LINES) return
      const { name, role, id } = session
      // A message that there is none of has whatever name it was given, of any length.
      const known = messageRow(message) === undefined ? '(unknown)' : message
      log?.warn({ identity: name, role, session: id, message: known, code }, 'failed')
    },
    began: ({ name, role, id }) => log?.info({ identity: name, role, session: id }, 'session began'),
    ended(session, reason) {
      const { name, role, id } = session
      const { bytesIn, bytesOut } = session.traffic
      traffic.inc({ direction: 'in' }, bytesIn)
      traffic.inc({ direction: 'out' }, bytesOut)
      const failed = failures.get(session) ?? 0
      // What a client says at the end may be of any length, too.
      const why = reason ? { reason: reason.message.slice(0, REASON) } : {}
      const code = isSottoError(reason) ? { code: reason.code } : {}
      log?.info({ identity: name, role, session: id, bytesIn, bytesOut, failed, ...code, ...why }, 'session ended')
    },
  }
}
