/**
 * Starts a thread of the curve from TypeScript source, for tests and examples; what is built starts with thread.js.
 *
 * Tests build the source once for their whole run, into the folder that SOTTO_BUILT names.
 */
import { pathToFileURL } from 'node:url'

const built = process.env['SOTTO_BUILT']
if (built === undefined) {
  const { register } = await import('tsx/esm/api')
  register()
  await import('./thread.ts')
} else {
  await import(new URL('psi/curve/thread.js', pathToFileURL(`${built}/src/`)).href)
}
