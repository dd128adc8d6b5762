import type { Backend } from './backend.ts'

/** Registers the training kernels that a backend lacks. */
export function registerMissingKernels(_backend: Backend): void {}
