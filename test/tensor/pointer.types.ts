/** What must compile, and what must not: checked by `tsc`, never run. */
import { type PointerTensor, tf } from 'sotto'

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
const same = <A, B>(_: Same<A, B>): void => {}

export function pointers(x: PointerTensor, f: PointerTensor): void {
  // One result, or several: the row of the op table says.
  same<ReturnType<PointerTensor['sum']>, PointerTensor>(true)
  same<ReturnType<PointerTensor['split']>, PointerTensor[]>(true)
  same<ReturnType<PointerTensor['unstack']>, PointerTensor[]>(true)
  same<ReturnType<PointerTensor['topk']>, PointerTensor[]>(true)
  // @ts-expect-error: the comparison above can fail.
  same<ReturnType<PointerTensor['split']>, PointerTensor>(true)
  const parts: PointerTensor[] = x.split(2)
  const total: PointerTensor = x.sum()
  // @ts-expect-error: several results are no pointer.
  x.split(2).sum()

  // Operands come first, then what else the row takes.
  x.matMul(f)
  x.matMul(f, true, false)
  x.matMul([[1, 2]], true)
  // @ts-expect-error: a product needs a second operand.
  x.matMul()
  // @ts-expect-error: transposeA is a boolean.
  x.matMul(f, 1)
  x.conv2d(f, 1, 'same')
  x.conv2d(f, [1, 2], 3, 'NHWC', [1, 1])
  // @ts-expect-error: no such padding.
  x.conv2d(f, 1, 'full')
  // @ts-expect-error: NCHW is not computed on every backend.
  x.conv2d(f, 1, 'same', 'NCHW')

  x.add(1)
  x.add(true)
  x.add([1, 2])
  x.add(new Float32Array(2))
  // @ts-expect-error: an operand is a pointer, a number or an array.
  x.add(null)
  // @ts-expect-error: a local tensor is to be sent first.
  x.add(tf.scalar(1))

  x.concat([f, f], 1)
  // @ts-expect-error: the others are a list.
  x.concat(f)
  x.where(x.greater(0), f)
  // @ts-expect-error: where needs both a condition and the other side.
  x.where(x.greater(0))
  x.batchNorm(f, f)
  x.batchNorm(f, f, undefined, f, 0.01)
  // @ts-expect-error: mean and variance are needed.
  x.batchNorm(f)

  x.sum(0, true)
  x.sum([0, -1])
  // @ts-expect-error: an axis is a number.
  x.sum('0')
  x.cast('int32')
  // @ts-expect-error: this dtype does not travel.
  x.cast('complex64')
  x.nllLoss(f, 'sum')
  // @ts-expect-error: no such reduction.
  x.nllLoss(f, 'max')
  x.reshape([2, -1])
  // @ts-expect-error: a shape is needed.
  x.reshape()
  x.norm('fro', [0, 1])
  // @ts-expect-error: no such norm.
  x.norm('nuclear')

  // @ts-expect-error: no such op.
  x.fft()
  // @ts-expect-error: the table is not to be written to.
  x.add = x.sub
  // @ts-expect-error: nor is a shape.
  x.shape = [1]

  same<Awaited<ReturnType<PointerTensor['get']>>, tf.Tensor>(true)
  parts.push(total)
}
