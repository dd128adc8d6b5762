/**
 * Convolutions with padding 'same' on the wasm backend.
 *
 * XNNPACK, which tfjs 4.22 computes them with, refuses 'same' where a stride is above the filter's length (a filter of
 * [1, 2] with stride 2), and tfjs does not notice: what comes out is what the memory held before. With the same pixels
 * of padding written out it computes them all.
 */
import * as tf from '@tensorflow/tfjs'

interface KernelArgs {
  readonly inputs: Readonly<Record<string, tf.TensorInfo>>
  readonly attrs: Readonly<Record<string, unknown>>
  readonly backend: unknown
}
type Kernel = (args: KernelArgs) => tf.TensorInfo

type Shape4D = [number, number, number, number]

const writtenOut =
  (stock: Kernel, depthwise: boolean): Kernel =>
  (args) => {
    const { strides, pad, dilations, dimRoundingMode, dataFormat = 'NHWC' } = args.attrs
    if (pad !== 'same' || dataFormat !== 'NHWC') return stock(args)
    const { top, bottom, left, right } = tf.backend_util.computeConv2DInfo(
      args.inputs['x']!.shape as Shape4D,
      args.inputs['filter']!.shape as Shape4D,
      strides as [number, number],
      (dilations ?? 1) as [number, number],
      pad,
      dimRoundingMode as 'floor' | undefined,
      depthwise,
    ).padInfo
    const explicit = [
      [0, 0],
      [top, bottom],
      [left, right],
      [0, 0],
    ]
    return stock({ ...args, attrs: { ...args.attrs, pad: explicit } })
  }

/** Whether the kernel is depthwise, by tfjs's name for it. */
const convolutions = {
  Conv2D: false,
  FusedConv2D: false,
  DepthwiseConv2dNative: true,
  FusedDepthwiseConv2D: true,
} as const

const mended = new Set<string>()

/** Puts the mend in front of the wasm backend's convolutions. Calling it again does nothing. */
export function mendSamePadding(): void {
  for (const [kernelName, depthwise] of Object.entries(convolutions)) {
    const stock = tf.getKernel(kernelName, 'wasm')
    if (stock === undefined || mended.has(kernelName)) continue
    const kernelFunc = writtenOut(stock.kernelFunc as unknown as Kernel, depthwise) as unknown as tf.KernelFunc
    tf.unregisterKernel(kernelName, 'wasm')
    tf.registerKernel({ ...stock, kernelFunc })
    mended.add(kernelName)
  }
}
