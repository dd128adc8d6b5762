/** Which kernels carry the ring here: WebAssembly where it has SIMD, plain JavaScript elsewhere. Both compute the same. */
import { javascriptKernels } from './javascript.ts'
import type { RingKernels } from './kernels.ts'
import { makeWasmKernels } from './wasm.ts'

let chosen: RingKernels | undefined

/** The fastest kernels there are here; chosen at the first call. */
export function ring(): RingKernels {
  chosen ??= makeWasmKernels() ?? javascriptKernels
  return chosen
}
