/**
 * NoPeek: layers before the cut are trained to say little about their input, by the distance correlation of input and
 * activations in their loss (Vepakomma, Singh, Gupta, Raskar 2020, arXiv 2008.09161).
 */
import { sottoError } from '../errors.ts'
import { scope } from '../tensor/context.ts'
import { misplaced, PointerTensor } from '../tensor/pointer.ts'
import { shapeError, showShape, sizeOf } from '../tensor/shape.ts'

/**
 * Squared distances below 2^-18 of the mean squared distance from the centre are rounding: they come from products of
 * rows in float32, whose error is about √columns · 2^-24 of their size. Such rows count as equal, with no gradient.
 */
const SAME = 2 ** -18
/** A squared correlation or a product of variances below this is none: among distinct rows it is 4/n² and more. */
const NOTHING = 2 ** -40
/** A spread that is never divided by: squares of float32 end not far below. */
const NO_SPREAD = 2 ** -100

/**
 * √x, and 0 up to a least value, with a gradient of 0 there: that of the root itself is infinite at 0, and what is near
 * it would drown in it.
 */
const rootAbove = (x: PointerTensor, least: number): PointerTensor => x.maximum(least).sqrt().mul(x.greater(least))

/** [n, n], ones on the diagonal: made on the worker, of the rows themselves, so that nothing has to be sent. */
function identity(rows: PointerTensor): PointerTensor {
  const [n] = rows.shape as [number, number]
  const first = rows.slice([0, 0], [n, 1]).flatten()
  return first.equal(first).cast('int32').cumsum(0, true).oneHot(n)
}

/** Euclidean distances between rows [n, …], centred twice: each row and each column of the result adds up to 0. */
function centredDistances(x: PointerTensor): PointerTensor {
  const [n] = x.shape as [number]
  const rows = x.reshape([n, sizeOf(x.shape) / n])
  // Around their mean, rows are short, and what cancels below is less.
  const centred = rows.sub(rows.mean(0))
  const products = centred.matMul(centred, false, true)
  // From the diagonal of the products, so that a row is at a distance of exactly 0 from itself.
  const norms = products.mul(identity(rows)).sum(1, true)
  const squares = norms.add(norms.transpose()).sub(products.mul(2))
  // The correlation is the same at any scale: none of its gradient goes through this one.
  const scale = norms.mean().detach().maximum(NO_SPREAD)
  const distances = rootAbove(squares.div(scale), SAME)
  const means = distances.mean(1, true)
  return distances.sub(means).sub(means.transpose()).add(distances.mean())
}

function checkRows(name: string, x: unknown): asserts x is PointerTensor {
  if (!(x instanceof PointerTensor)) {
    throw sottoError('ERR_ARGUMENT_TYPE', `distanceCorrelation: "${name}" expected a pointer`, { argument: name })
  }
  if (x.rank === 0 || x.size === 0) {
    throw shapeError(
      'distanceCorrelation',
      `"${name}" must be [n, …] and not empty, got ${showShape(x.shape)}`,
      x.shape,
    )
  }
}

/**
 * The distance correlation of two samples of n rows each, row by row of the same examples: from 0, where they have
 * nothing to do with each other, to 1, where one is the other but for its place, scale and orientation. The R_n of
 * Székely, Rizzo, Bakirov 2007 (Annals of Statistics 35, Definition 4), as NoPeek's authors take it; not its square.
 * Independent samples are above 0 as long as n is small against their columns. 0 when all rows of one are alike.
 *
 * Its gradients, for both samples, are finite everywhere: rows that coincide have none towards each other. Composed of
 * operations on pointers: O(n²) memory on the worker until backward, some forty small frames, and nothing is waited for.
 *
 * @param x shape [n, …], such as the input
 * @param z shape [n, …], such as the activations; on the same worker
 * @returns a scalar there, up to some units of rounding above 1
 * @throws `ERR_ARGUMENT_TYPE` for what is no pointer, `ERR_SHAPE` for rows that differ in number or are none,
 *   `ERR_NOT_COLLOCATED` for samples on different workers
 * @example
 * const a = bottom.apply(images)
 * distanceCorrelation(images, a).mul(lambda).backward(undefined, { retainGraph: true })   // stays on alice
 * top.apply(a.move(bob, { requiresGrad: true })).softmaxCrossEntropy(labels).backward()    // adds to the same gradients
 */
export function distanceCorrelation(x: PointerTensor, z: PointerTensor): PointerTensor {
  checkRows('x', x)
  checkRows('z', z)
  if (x.location !== z.location) throw misplaced('distanceCorrelation', x.location, z.location)
  if (x.shape[0] !== z.shape[0]) {
    throw shapeError(
      'distanceCorrelation',
      `${showShape(x.shape)} and ${showShape(z.shape)} differ in rows`,
      x.shape,
      z.shape,
    )
  }
  return scope(() => {
    const [a, b] = [centredDistances(x), centredDistances(z)]
    const variances = a.square().mean().mul(b.square().mean())
    const squared = a.mul(b).mean().div(variances.maximum(NOTHING).sqrt())
    return rootAbove(squared, NOTHING)
  })
}
