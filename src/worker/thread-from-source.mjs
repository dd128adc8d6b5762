/** Starts a worker's thread from TypeScript source, for tests and examples; what is built starts with thread-entry.js. */
import { register } from 'tsx/esm/api'

register()
await import('./thread-entry.ts')
