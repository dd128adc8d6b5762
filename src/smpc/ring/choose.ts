/** Which kernels carry the rings here: WebAssembly where it has SIMD, plain JavaScript elsewhere. Both compute the same. */
import { javascriptKernels } from './javascript.ts'
import { javascriptKernels128 } from './javascript128.ts'
import type { RingBits, RingKernels, Rings } from './kernels.ts'
import { makeWasmKernels } from './wasm.ts'

let chosen: Rings | undefined

/** The fastest kernels there are here, of the ring whose elements have so many bits; chosen at the first call. */
export function ring(bits: RingBits = 64): RingKernels {
  chosen ??= makeWasmKernels() ?? { 64: javascriptKernels, 128: javascriptKernels128 }
  return chosen[bits]
}
