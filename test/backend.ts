import { type Backend, ready } from 'sotto'

/** The backend that this run of the suite is for (`vitest.config.ts` runs one project per backend). */
export const testBackend = (process.env['SOTTO_TEST_BACKEND'] ?? 'wasm') as Backend

/** Makes the engine ready on the backend of this run. */
export const readyForTest = () => ready({ backend: testBackend })

/** Lets the collector free what earlier tests dropped, so that what is counted from here on is this test's own. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 4; i++) {
    globalThis.gc?.()
    await new Promise((resolve) => setTimeout(resolve, 0))
  }
}
