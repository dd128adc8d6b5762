/**
 * The kernels that training needs and that the wasm backend of tfjs 4.22 lacks.
 *
 * Without them `Cannot find registered kernel 'Conv2DBackpropFilter' for backend 'wasm'` ends the first training step of
 * every convolutional net, and `'UnsortedSegmentSum'` that of every embedding. A kernel that is there is not replaced:
 * what tfjs adds one day takes the place of ours. The exception is one that is there and wrong, MaxPoolGrad:
 * {@link correctFaultyKernels} puts a right one in its place.
 *
 * Of the kernels that cpu has and wasm has not, these stay missing, as no gradient needs them: Complex, ComplexAbs, Real,
 * Imag, FFT, IFFT (wasm stores no complex numbers), Draw, RaggedGather, RaggedRange, RaggedTensorToTensor,
 * StaticRegexReplace.
 */
import * as tf from '@tensorflow/tfjs'
import type { Backend } from './backend.ts'
import { conv2DBackpropFilter } from './kernels/conv2d-backprop-filter.ts'
import { depthwiseConv2dBackpropFilter } from './kernels/depthwise-conv2d-backprop-filter.ts'
import { depthwiseConv2dBackpropInput } from './kernels/depthwise-conv2d-backprop-input.ts'
import { einsum, einsumGradient } from './kernels/einsum.ts'
import { guardEmptyOperands } from './kernels/empty-operands.ts'
import { maxPoolGrad } from './kernels/max-pool-grad.ts'
import { mendSamePadding } from './kernels/same-padding.ts'
import { unsortedSegmentSum } from './kernels/unsorted-segment-sum.ts'

/** One row per kernel, under tfjs's name for it. */
const wasmKernels: Record<string, tf.KernelFunc> = {
  Conv2DBackpropFilter: conv2DBackpropFilter,
  DepthwiseConv2dNativeBackpropFilter: depthwiseConv2dBackpropFilter,
  DepthwiseConv2dNativeBackpropInput: depthwiseConv2dBackpropInput,
  Einsum: einsum,
  UnsortedSegmentSum: unsortedSegmentSum,
}

/**
 * Registers the training kernels that a backend lacks, and the gradient of einsum, which tfjs has on no backend.
 * Calling it again does nothing.
 */
export function registerMissingKernels(backend: Backend): void {
  if (tf.getGradient('Einsum') === undefined) tf.registerGradient(einsumGradient)
  if (backend !== 'wasm') return
  for (const [kernelName, kernelFunc] of Object.entries(wasmKernels)) {
    if (tf.getKernel(kernelName, backend) !== undefined) continue
    tf.registerKernel({ kernelName, backendName: backend, kernelFunc })
  }
}

/** Kernels of tfjs 4.22's wasm backend that return a wrong gradient without an error; the file says what is wrong. */
const corrected: Record<string, tf.KernelFunc> = {
  MaxPoolGrad: maxPoolGrad,
}

/**
 * Puts right kernels in the place of faulty ones, for the whole process: whoever uses tfjs beside Sotto gets them too.
 * Calling it again does nothing.
 */
export function correctFaultyKernels(backend: Backend): void {
  if (backend !== 'wasm') return
  guardEmptyOperands()
  mendSamePadding()
  for (const [kernelName, kernelFunc] of Object.entries(corrected)) {
    const stock = tf.getKernel(kernelName, backend)
    if (stock?.kernelFunc === kernelFunc) continue
    if (stock !== undefined) tf.unregisterKernel(kernelName, backend)
    tf.registerKernel({ kernelName, backendName: backend, kernelFunc })
  }
}
