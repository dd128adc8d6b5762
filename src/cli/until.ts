/** What a command does until it is done, or a signal ends it. */
import { sottoError } from '../errors.ts'
import type { Io } from './io.ts'
import { EndSignals } from './signals.ts'

/** Runs a party until it is done, or a signal ends it. */
export async function until<T>(io: Io, run: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const signals = new EndSignals(io)
  const ending = new AbortController()
  signals.wait().then((signal) => ending.abort(sottoError('ERR_ABORTED', `told to end, by ${signal}`)))
  try {
    return await run(ending.signal)
  } finally {
    signals.stop()
  }
}

/** Rejects with the signal's reason. */
export const aborted = (signal: AbortSignal): Promise<never> =>
  new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
  })
