/**
 * Reductions and products over nothing on the wasm backend, and other moves of tensors without elements.
 *
 * Where the axis that tfjs 4.22 folds or multiplies along has length 0, its wasm kernels write no result: what comes out
 * is whatever the heap held there before, pieces of other tensors among it. On a worker that would be somebody's data. Transposing an empty
 * tensor ends in a division by zero.
 */
import * as tf from '@tensorflow/tfjs'

/** What each reduction gives over no elements; cpu has 0 for Mean, and for Max and Min NaN. */
const overNothing: Readonly<Record<string, number>> = {
  Sum: 0,
  Prod: 1,
  Mean: Number.NaN,
  Max: -Infinity,
  Min: Infinity,
  All: 1,
  Any: 0,
}

interface KernelArgs {
  readonly inputs: Readonly<Record<string, tf.TensorInfo>>
  readonly attrs: Readonly<Record<string, unknown>>
  readonly backend: unknown
}
type Kernel = (args: KernelArgs) => tf.TensorInfo | tf.TensorInfo[]

const isEmpty = ({ shape }: tf.TensorInfo): boolean => shape.includes(0)

function guardedReduction(stock: Kernel, value: number): Kernel {
  return (args) => {
    const x = args.inputs['x']!
    if (!isEmpty(x)) return stock(args)
    const { axis, keepDims } = args.attrs as { axis: number | number[]; keepDims: boolean }
    const axes = tf.util.parseAxisParam(axis, x.shape)
    const shape = x.shape.map((d, i) => (axes.includes(i) ? (keepDims ? 1 : -1) : d)).filter((d) => d >= 0)
    return tf.fill(shape, value, x.dtype as 'float32')
  }
}

/** For kernels that divide by the sizes of the axes. */
function guardedMove(stock: Kernel): Kernel {
  return (args) => {
    const x = args.inputs['x']!
    if (!isEmpty(x)) return stock(args)
    const { perm } = args.attrs as { perm?: number[] }
    return tf.zeros(perm === undefined ? x.shape : perm.map((axis) => x.shape[axis]!), x.dtype as 'float32')
  }
}

/** A product over no elements is one over a single zero. */
function guardedProduct(stock: Kernel): Kernel {
  return (args) => {
    const { a, b } = args.inputs as { a: tf.TensorInfo; b: tf.TensorInfo }
    const { transposeA, transposeB } = args.attrs as { transposeA: boolean; transposeB: boolean }
    const innerA = a.shape.length - (transposeA ? 2 : 1)
    if (a.shape[innerA] !== 0) return stock(args)
    const innerB = b.shape.length - (transposeB ? 1 : 2)
    const zeros = (x: tf.TensorInfo, inner: number) => tf.zeros(x.shape.map((d, i) => (i === inner ? 1 : d)))
    const inputs = { ...args.inputs, a: zeros(a, innerA), b: zeros(b, innerB) }
    try {
      return stock({ ...args, inputs })
    } finally {
      tf.dispose([inputs.a, inputs.b])
    }
  }
}

const guarded = new Set<string>()

/** Puts the guards in front of the wasm backend's kernels. Calling it again does nothing. */
export function guardEmptyOperands(): void {
  const guard = (kernelName: string, around: (stock: Kernel) => Kernel) => {
    const stock = tf.getKernel(kernelName, 'wasm')
    if (stock === undefined || guarded.has(kernelName)) return
    tf.unregisterKernel(kernelName, 'wasm')
    tf.registerKernel({
      ...stock,
      kernelFunc: around(stock.kernelFunc as unknown as Kernel) as unknown as tf.KernelFunc,
    })
    guarded.add(kernelName)
  }
  for (const [name, value] of Object.entries(overNothing)) guard(name, (stock) => guardedReduction(stock, value))
  for (const name of ['Transpose', 'Cumsum', 'Cumprod']) guard(name, guardedMove)
  for (const name of ['BatchMatMul', '_FusedMatMul']) guard(name, guardedProduct)
}
