/** What a worker writes down while it runs: lines for a log, without values. */
import { isSottoError } from '../errors.ts'
import type { WorkerHost } from './host.ts'
import type { HostSession } from './host-session.ts'
import { messageRow } from './messages.ts'

/** Where lines about what happens go: pino's logger, or anything alike. */
export interface Log {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
}

/** Failures of one session that get a line each: a stranger brings them about at will, and a log is on a disk. */
const LINES = 100
/** Characters of the reason for which a session ended: a client may say anything. */
const REASON = 256

/** Writes down sessions and failures of a worker. */
export function logTo(host: WorkerHost, log: Log): void {
  const failures = new WeakMap<HostSession, number>()
  host.observers.push({
    handled() {},
    failed(session, message, { code }) {
      const failed = (failures.get(session) ?? 0) + 1
      failures.set(session, failed)
      if (failed > LINES) return
      const { name, role, id } = session
      // A message that there is none of has whatever name it was given, of any length.
      const known = messageRow(message) === undefined ? '(unknown)' : message
      log.warn({ identity: name, role, session: id, message: known, code }, 'failed')
    },
    began: ({ name, role, id }) => log.info({ identity: name, role, session: id }, 'session began'),
    ended(session, reason) {
      const { name, role, id } = session
      const { bytesIn, bytesOut } = session.traffic
      const failed = failures.get(session) ?? 0
      const why = reason ? { reason: reason.message.slice(0, REASON) } : {}
      const code = isSottoError(reason) ? { code: reason.code } : {}
      log.info({ identity: name, role, session: id, bytesIn, bytesOut, failed, ...code, ...why }, 'session ended')
    },
  })
}
