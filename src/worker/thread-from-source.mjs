/**
 * Starts a worker's thread from TypeScript source, for tests and examples; what is built starts with thread-entry.js.
 *
 * Tests build the source once for their whole run, into the folder that SOTTO_BUILT names: a thread is up in half the time.
 */
import { pathToFileURL } from 'node:url'
import { workerData } from 'node:worker_threads'

const built = process.env['SOTTO_BUILT']
if (built === undefined) {
  const { register } = await import('tsx/esm/api')
  register()
  await import('./thread-entry.ts')
} else {
  const root = pathToFileURL(`${built}/src/`)
  workerData.library = new URL('browser.js', root).href
  await import(new URL('worker/thread-entry.js', root).href)
}
