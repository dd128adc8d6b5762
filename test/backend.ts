import { type Backend, ready } from 'sotto'

/** The backend that this run of the suite is for (`vitest.config.ts` runs one project per backend). */
export const testBackend = (process.env['SOTTO_TEST_BACKEND'] ?? 'wasm') as Backend

/** Makes the engine ready on the backend of this run. */
export const readyForTest = () => ready({ backend: testBackend })
