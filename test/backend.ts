import { type Backend, ready, tf } from 'sotto'

/** The backend that this run of the suite is for (`vitest.config.ts` runs one project per backend). */
export const testBackend = (process.env['SOTTO_TEST_BACKEND'] ?? 'wasm') as Backend

/** Makes the engine ready on the backend of this run. */
export const readyForTest = () => ready({ backend: testBackend })

/** Rounds of the collector in a row in which nothing is freed any more, and rounds in all. */
const CALM = 4
const MOST = 40

/** Lets the collector free what earlier tests dropped, so that what is counted from here on is this test's own. */
export async function settled(): Promise<void> {
  let calm = 0
  for (let i = 0; i < MOST && calm < CALM; i++) {
    const { numTensors } = tf.memory()
    globalThis.gc?.()
    await new Promise((resolve) => setTimeout(resolve, 0))
    calm = tf.memory().numTensors === numTensors ? calm + 1 : 0
  }
}
