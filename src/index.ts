export { type Backend, type ReadyOptions, ready, tf } from './tensor/backend.ts'
