/** What must compile, and what must not: checked by `tsc`, never run. */
import {
  type Cost,
  type FixedPrecisionPointer,
  type FixedPrecisionTensor,
  fixPrecision,
  hook,
  type PointerTensor,
  type SharedTensor,
  share,
  sharedRandom,
  sharedZeros,
  tf,
  type Worker,
} from 'sotto'

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
const same = <A, B>(_: Same<A, B>): void => {}

/** Names of methods that give a tensor of their own kind; and of those that give several. */
type Giving<T, R> = {
  [K in keyof T]: T[K] extends (...args: never[]) => infer Result ? (Same<Result, R> extends true ? K : never) : never
}[keyof T]

/** What every kind of tensor has. */
type One =
  | 'add'
  | 'sub'
  | 'neg'
  | 'mul'
  | 'square'
  | 'matMul'
  | 'dot'
  | 'outer'
  | 'conv2d'
  | 'div'
  | 'mod'
  | 'pow'
  | 'sum'
  | 'mean'
  | 'variance'
  | 'cumsum'
  | 'transpose'
  | 'reshape'
  | 'flatten'
  | 'expandDims'
  | 'squeeze'
  | 'slice'
  | 'gather'
  | 'concat'
  | 'stack'
  | 'pad'
  | 'tile'
  | 'reverse'
  | 'broadcastTo'
  | 'clone'
  | 'less'
  | 'lessEqual'
  | 'greater'
  | 'greaterEqual'
  | 'equal'
  | 'notEqual'
  | 'logicalNot'
  | 'logicalAnd'
  | 'logicalOr'
  | 'where'
  | 'maximum'
  | 'minimum'
  | 'relu'
  | 'leakyRelu'
  | 'abs'
  | 'sign'
  | 'clipByValue'
  | 'max'
  | 'min'
  | 'argMax'
  | 'argMin'
  | 'sort'
  | 'maxPool'
  | 'avgPool'
  | 'batchNorm'
  | 'reciprocal'
  | 'sqrt'
  | 'rsqrt'
  | 'exp'
  | 'log'
  | 'sigmoid'
  | 'tanh'
  | 'softmax'
  | 'logSoftmax'
  | 'detach'
  | 'alias'
type Several = 'unstack' | 'split'

export function kinds(): void {
  // Each kind gives its own.
  same<Exclude<One, Giving<SharedTensor, SharedTensor>>, never>(true)
  same<Exclude<One, Giving<FixedPrecisionTensor, FixedPrecisionTensor>>, never>(true)
  same<Exclude<One, Giving<FixedPrecisionPointer, FixedPrecisionPointer>>, never>(true)
  same<Exclude<Several, Giving<SharedTensor, SharedTensor[]>>, never>(true)
  same<Exclude<Several, Giving<FixedPrecisionTensor, FixedPrecisionTensor[]>>, never>(true)
  same<Exclude<Several, Giving<FixedPrecisionPointer, FixedPrecisionPointer[]>>, never>(true)
  // Shares alone can be made anew.
  same<Exclude<'refresh', Giving<SharedTensor, SharedTensor>>, never>(true)
  // @ts-expect-error: the comparisons above can fail.
  same<Exclude<One, Giving<SharedTensor, FixedPrecisionTensor>>, never>(true)
  // @ts-expect-error: a name that no method has is missed.
  same<Exclude<One | 'fft', Giving<SharedTensor, SharedTensor>>, never>(true)
}

export function secrets(x: SharedTensor, y: SharedTensor, open: FixedPrecisionTensor, bob: Worker): void {
  same<SharedTensor['grad'], SharedTensor | null>(true)
  same<ReturnType<SharedTensor['get']>, Promise<FixedPrecisionTensor>>(true)
  same<ReturnType<SharedTensor['reveal']>, Promise<tf.Tensor>>(true)
  same<ReturnType<SharedTensor['revealTo']>, PointerTensor>(true)
  same<SharedTensor['cost'], Cost>(true)
  same<ReturnType<SharedTensor['requireGrad']>, SharedTensor>(true)
  x.revealTo(bob)
  // @ts-expect-error: to a worker, not to its name.
  x.revealTo('bob')

  // Beside secrets: what is public, in all the ways to write it.
  x.add(y).add(open).add(1).add([1, 2]).add(tf.scalar(1)).add(new Float32Array(2))
  x.matMul(y, false, true)
  x.matMul([[1, 2]], true)
  // @ts-expect-error: a product needs a second operand.
  x.matMul()
  // @ts-expect-error: transposeA is a boolean.
  x.matMul(y, 1)
  // @ts-expect-error: an operand is a tensor, a number or an array.
  x.add(null)
  x.conv2d(y, [1, 2], 3, 'NHWC', [1, 1])
  // @ts-expect-error: no such padding.
  x.conv2d(y, 1, 'full')
  // @ts-expect-error: a padding on each side, not on each axis.
  x.pad([1, 1])
  x.greater(0).where(x, 0).where(y, [1])
  // @ts-expect-error: what is taken where the truth holds is a tensor of the same kind.
  x.greater(0).where(1, x)
  // @ts-expect-error: where needs the other side.
  x.greater(0).where(x)
  x.concat(y).concat([x, y], 1).stack([x])
  // @ts-expect-error: tensors are concatenated with tensors of their kind.
  x.concat(open)
  x.gather([0, 1], 1)
  x.clipByValue(-1, 1)
  // @ts-expect-error: bounds are public.
  x.clipByValue(x, y)
  x.pow(2)
  // @ts-expect-error: an exponent is public.
  x.pow(y)
  x.sum([0, -1], true).mean().max(0)
  // @ts-expect-error: an axis is a number.
  x.sum('0')
  x.batchNorm(y, open, undefined, 1, 0.01)
  // @ts-expect-error: mean and variance are needed.
  x.batchNorm(y)
  // @ts-expect-error: several results are no tensor.
  x.split(2).sum()
  x.backward()
  x.backward([1, 2], { retainGraph: true })
  // @ts-expect-error: no such option.
  x.backward(1, { keepGraph: true })

  // @ts-expect-error: no such method.
  x.fft()
  // @ts-expect-error: nothing is read without being opened.
  x.dataSync()
  // @ts-expect-error: nor is the value public.
  x.floatPrecision()
  // @ts-expect-error: a shape is not to be written to.
  x.shape = [1]
}

export function sharing(t: tf.Tensor, x: PointerTensor, open: FixedPrecisionTensor, bob: Worker, jane: Worker): void {
  const options = { provider: jane, requiresGrad: true }
  // As functions.
  const secrets: SharedTensor[] = [share(t, [bob]), share(x, [bob]), share(open, [bob], options)]
  secrets.push(
    sharedZeros([2], [bob], { base: 10, precisionFractional: 4 }),
    sharedRandom([2], [bob], { provider: jane }),
  )
  const [here, there]: [FixedPrecisionTensor, FixedPrecisionPointer] = [fixPrecision(t), fixPrecision(x, { base: 10 })]
  const numbers: FixedPrecisionTensor = fixPrecision([[1.5, 2]])
  // @ts-expect-error: parties are workers.
  share(t, ['bob'])
  // @ts-expect-error: numbers are fixed first, or made a tensor.
  share([1, 2], [bob])
  // @ts-expect-error: a secret is none twice over.
  share(secrets[0], [bob])
  // @ts-expect-error: the base is a number.
  fixPrecision(t, { base: '10' })
  // @ts-expect-error: no such option.
  fixPrecision(t, { digits: 3 })
  // @ts-expect-error: of a new secret nobody has rights.
  sharedZeros([2], [bob], { private: true })

  // As methods: of pointers and fixed-precision tensors always, of tensors here after hook().
  hook()
  same<ReturnType<PointerTensor['share']>, SharedTensor>(true)
  same<ReturnType<PointerTensor['fixPrecision']>, FixedPrecisionPointer>(true)
  same<ReturnType<FixedPrecisionPointer['share']>, SharedTensor>(true)
  same<ReturnType<FixedPrecisionPointer['floatPrecision']>, PointerTensor>(true)
  same<ReturnType<FixedPrecisionTensor['share']>, SharedTensor>(true)
  same<ReturnType<FixedPrecisionTensor['floatPrecision']>, tf.Tensor>(true)
  same<ReturnType<tf.Tensor['share']>, SharedTensor>(true)
  same<ReturnType<tf.Tensor['fixPrecision']>, FixedPrecisionTensor>(true)
  secrets.push(t.fixPrecision().share([bob], options), x.fixPrecision({ base: 10 }).share([bob]))
  secrets.push(
    t.share([bob], { private: true, allow: ['bob'] }),
    here.share([bob]),
    there.share([bob]),
    numbers.share([bob]),
  )
  // @ts-expect-error: what is fixed already is not fixed again.
  here.fixPrecision()
  // @ts-expect-error: the parties are a list.
  t.share(bob)
}
