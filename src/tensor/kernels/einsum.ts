/** Einstein summation of one or two tensors: the kernel that wasm lacks, and the gradient that every backend lacks. */
import * as tf from '@tensorflow/tfjs'
import { sottoError } from '../../errors.ts'

const { decodeEinsumEquation, checkEinsumDimSizes } = tf.backend_util

/** An equation `ij,jk->ik` taken apart: one letter per axis. */
function parse(equation: string): { terms: string[]; out: string } {
  const [left = '', out = ''] = equation.replace(/\s/g, '').split('->')
  return { terms: left.split(','), out }
}

/**
 * The kernel.
 *
 * @returns float32, or int32 for operands of int32 or bool
 * @throws what tfjs's cpu kernel throws for equations it does not know (more than two operands, repeated axes, `...`)
 */
export const einsum: tf.KernelFunc = ({ inputs, attrs }) => {
  const { equation } = attrs as unknown as { equation: string }
  const operands = Object.values(inputs) as unknown as tf.Tensor[]
  const { allDims, idDims } = decodeEinsumEquation(equation, operands.length)
  checkEinsumDimSizes(allDims.length, idDims, operands)
  const { terms, out } = parse(equation)
  if (new Set(out).size !== out.length) {
    throw sottoError('ERR_ARGUMENT_VALUE', `Einsum: the output of "${equation}" names an axis twice`, { equation })
  }
  return tf.tidy(() => sumProduct(terms, operands, out))
}

/**
 * Sums first what only one operand has, then contracts the rest by one batched matMul, so that no product of the full
 * size ever exists. Never returns an operand itself.
 */
function sumProduct(terms: readonly string[], operands: readonly tf.Tensor[], out: string): tf.Tensor {
  const [a, b] = operands.map((tensor, i) => {
    const others = out + terms.filter((_, j) => j !== i).join('')
    return sumAlone(tensor, terms[i]!, others)
  })
  const { tensor } = permute(b === undefined ? a! : contract(a!, b, out), out)
  return tf.reshape(tensor, tensor.shape)
}

/** A tensor and the letters of its axes. */
interface Labelled {
  readonly tensor: tf.Tensor
  readonly labels: string
}

/** Sums over the axes that nothing else names. */
function sumAlone(tensor: tf.Tensor, labels: string, others: string): Labelled {
  const alone = [...labels].flatMap((label, axis) => (others.includes(label) ? [] : [axis]))
  const kept = [...labels].filter((label) => others.includes(label)).join('')
  const numeric = tensor.dtype === 'bool' ? tf.cast(tensor, 'int32') : tensor
  return { tensor: alone.length === 0 ? numeric : tf.sum(numeric, alone), labels: kept }
}

function permute({ tensor, labels }: Labelled, to: string): Labelled {
  if (labels === to) return { tensor, labels }
  const order = [...to].map((label) => labels.indexOf(label))
  return { tensor: tf.transpose(tensor, order), labels: to }
}

function contract(a: Labelled, b: Labelled, out: string): Labelled {
  const size = new Map<string, number>()
  for (const { tensor, labels } of [a, b]) {
    for (const [axis, label] of [...labels].entries()) size.set(label, tensor.shape[axis]!)
  }
  const pick = (from: string, test: (label: string) => boolean) => [...from].filter(test).join('')
  const shape = (labels: string) => [...labels].map((label) => size.get(label)!)
  const volume = (labels: string) => tf.util.sizeFromShape(shape(labels))

  const batch = pick(a.labels, (label) => b.labels.includes(label) && out.includes(label))
  const summed = pick(a.labels, (label) => !out.includes(label))
  const freeA = pick(a.labels, (label) => !b.labels.includes(label))
  const freeB = pick(b.labels, (label) => !a.labels.includes(label))
  const labels = batch + freeA + freeB
  if (a.tensor.size === 0 || b.tensor.size === 0) return { tensor: tf.zeros(shape(labels)), labels }

  const left = permute(a, batch + freeA + summed).tensor.reshape([volume(batch), volume(freeA), volume(summed)])
  const right = permute(b, batch + summed + freeB).tensor.reshape([volume(batch), volume(summed), volume(freeB)])
  const float = left.dtype === 'float32' && right.dtype === 'float32'
  const product = float ? tf.matMul(left, right) : tf.sum(tf.mul(tf.expandDims(left, 3), tf.expandDims(right, 1)), 2) // wasm multiplies matrices of float32 only
  return { tensor: product.reshape(shape(labels)), labels }
}

/**
 * The gradient for each operand is an einsum again: of dy and the other operand, onto the axes of this one. An axis that
 * this operand alone has was summed, so its gradient repeats along it.
 *
 * Not `tf.einsum`: that of the cpu backend leaves out an operand that has no summed axis ('i,jk->ij').
 */
export const einsumGradient: tf.GradConfig = {
  kernelName: 'Einsum',
  saveAllInputs: true,
  gradFunc: (dy, saved, attrs) => {
    const { terms, out } = parse((attrs as unknown as { equation: string }).equation)
    const gradient = (i: number) => {
      const { shape } = saved[i]!
      const others = terms.flatMap((_, j) => (j === i ? [] : [j]))
      const factors = [out, ...others.map((j) => terms[j]!)]
      const known = factors.join('')
      const kept = [...terms[i]!].filter((label) => known.includes(label)).join('')
      const partial = sumProduct(factors, [dy as tf.Tensor, ...others.map((j) => saved[j]!)], kept)
      const withOnes = [...terms[i]!].map((label, axis) => (known.includes(label) ? shape[axis]! : 1))
      return tf.broadcastTo(partial.reshape(withOnes), shape)
    }
    return Object.fromEntries(terms.map((_, i) => [String(i), () => gradient(i)]))
  },
}
