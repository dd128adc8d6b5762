/**
 * The caller's own part of a graph: tensors here whose gradient comes back from workers.
 *
 * tfjs computes at once and records nothing, so what is to be differentiated here is said: {@link requireGrad} makes a
 * leaf, {@link recordGrad} runs functions of it, {@link gradOf} waits for what comes back.
 */
import { sottoError } from '../errors.ts'
import { tf } from './engine.ts'
import { Anchor, backward, record, Tracked } from './tape.ts'
import { fromWire, type TensorWire } from './wire.ts'

const known = new WeakMap<tf.Tensor, Tracked>()
/** Gradients on their way to tensors here. */
const underway = new Set<Promise<void>>()
/** What made the last arrival fail, until someone asks. */
let failure: { readonly error: unknown } | null = null

/**
 * Makes a tensor here a leaf: its gradient is kept, and comes back over the edges by which it, or what was computed
 * from it with {@link recordGrad}, is sent with `{ requiresGrad: true }`.
 *
 * @example
 * const x = requireGrad(tf.tensor([1, 2, 3]))
 * const y = recordGrad(() => x.add(x))
 * y.send(alice, { requiresGrad: true }).mul(2).sum().backward()
 * await gradOf(x) // [4, 4, 4]
 */
export function requireGrad<T extends tf.Tensor>(tensor: T): T {
  if (!(tensor instanceof tf.Tensor)) {
    throw sottoError('ERR_ARGUMENT_TYPE', 'requireGrad: expected a tf.Tensor; a pointer has a method of that name')
  }
  if (tensor.dtype !== 'float32') {
    throw sottoError('ERR_DTYPE', `requireGrad: only float32 tensors have gradients, this one is ${tensor.dtype}`)
  }
  if (!known.has(tensor)) known.set(tensor, new Tracked(tensor, { requiresGrad: true }))
  return tensor
}

/**
 * Runs functions of tensors here and records them for backward. What it returns belongs to the caller, as in tfjs; what
 * it keeps for backward is freed by the backward pass.
 */
export function recordGrad<T extends tf.Tensor | tf.Tensor[]>(action: () => T): T {
  let isList = false
  const { tensors, segment } = record(
    (tensor) => known.get(tensor),
    () => {
      const result = action()
      if (result instanceof Promise) {
        throw sottoError('ERR_ASYNC_SCOPE', 'recordGrad: the function must compute at once, not asynchronously')
      }
      isList = Array.isArray(result)
      return result
    },
  )
  if (segment !== undefined) {
    for (const tensor of tensors) {
      if (segment.needs(tensor.id)) known.set(tensor, new Tracked(tensor, { requiresGrad: true, segment }))
    }
  }
  return (isList ? tensors : tensors[0]) as T
}

/**
 * The gradient that came back for a leaf here, added up over backward passes; waits for those under way.
 *
 * @throws StateError `ERR_NO_GRAD` when the tensor is no leaf here or nothing came back yet; what made a worker fail
 */
export async function gradOf<R extends tf.Rank>(tensor: tf.Tensor<R>): Promise<tf.Tensor<R>> {
  const tracked = known.get(tensor)
  if (tracked === undefined || !tracked.isLeaf) {
    throw sottoError('ERR_NO_GRAD', 'gradOf: this tensor is no leaf here; mark it with requireGrad() before it is used')
  }
  while (underway.size > 0) await Promise.allSettled(underway)
  if (failure !== null) {
    const { error } = failure
    failure = null
    throw error
  }
  if (tracked.grad === null) {
    throw sottoError(
      'ERR_NO_GRAD',
      'gradOf: no gradient came back yet; send with { requiresGrad: true } and call backward()',
    )
  }
  return tf.clone(tracked.grad) as tf.Tensor<R>
}

/** How a gradient for a tensor of the caller's graph is taken in, or undefined for a tensor outside it. */
export function homeOf(
  tensor: tf.Tensor,
): ((gradient: Promise<TensorWire | null>, retain: boolean) => void) | undefined {
  const tracked = known.get(tensor)
  if (tracked === undefined) return undefined
  const anchor = new Anchor(tracked)
  return (gradient, retain) => {
    const arrival = gradient.then((value) => {
      if (value === null) return
      const seed = fromWire(value)
      try {
        const { gradients, visited } = backward(anchor.root, seed)
        for (const [leaf, d] of gradients) leaf.accumulate(d)
        if (!retain) for (const segment of visited) segment.free()
      } finally {
        seed.dispose()
      }
    })
    underway.add(arrival)
    // A failure comes out of gradOf, whoever asks; it must not end the process.
    const settled = arrival.catch((error: unknown) => {
      failure = { error }
    })
    settled.then(() => underway.delete(arrival))
  }
}
