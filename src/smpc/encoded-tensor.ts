/**
 * What tensors of ring elements have in common, whether public here, public on a worker, or secret among several: the
 * methods, their shapes, encodings and gradients.
 *
 * A subclass carries out commands of the ring op table (`ring-ops.ts`); everything else is composed of those, here and
 * in `functions.ts`, and works on every kind alike.
 */
import { sottoError } from '../errors.ts'
import { checkOptions } from '../options.ts'
import { gradEnabled, noGrad, scope } from '../tensor/context.ts'
import { tf } from '../tensor/engine.ts'
import { opRow } from '../tensor/ops.ts'
import {
  type ConvAttrs,
  dotShape,
  normalizeAxes,
  normalizeAxis,
  type Padding,
  type PairOf,
  type Shape,
  sameShape,
  showShape,
  sizeOf,
} from '../tensor/shape.ts'
import { GradNode, runBackward } from './autograd.ts'
import * as division from './division.ts'
import {
  commonEncoding,
  counted,
  type Encoding,
  INTEGER,
  isFixed,
  sameEncoding,
  scaleOf,
  showEncoding,
  TRUTH,
} from './encoding.ts'
import * as extremes from './extremes.ts'
import * as functions from './functions.ts'
import { broadcastBack, productOf, summedTo, zerosLike } from './gradients.ts'
import { encodeValues, isWhole, wholeNumbers } from './literals.ts'
import * as pooling from './pooling.ts'
import type { Move } from './ring/moves.ts'
import { mulScalar, type RingTensor } from './ring/tensor.ts'
import { type RingOp, ringRow } from './ring-ops.ts'
import * as sorting from './sorting.ts'

/** A public operand of a command: ring elements that everybody may know. */
export interface PublicOperand {
  readonly tensor: RingTensor
  readonly encoding: Encoding
}

/** One row of the ring op table, to be carried out. */
export interface Command<T> {
  readonly op: RingOp
  /** At least one of them is no public operand. */
  readonly operands: readonly (T | PublicOperand)[]
  readonly attrs: readonly unknown[]
  /** Divides the results, as products are brought back to the scale of their factors. */
  readonly divisor: bigint | null
  /** What the results mean, one each. */
  readonly encodings: readonly Encoding[]
}

// biome-ignore lint/suspicious/noExplicitAny: the kind of tensor is bound to itself
export type AnyEncoded = EncodedTensor<any>

/** What a method takes beside tensors of its own kind: numbers, and arrays as tfjs takes them. */
export type EncodedOperand<T> = T | AnyEncoded | tf.Tensor | tf.TensorLike

type Axes = number | readonly number[]

/** Bits of a public factor, at least. */
const FACTOR_BITS = { 64: 17, 128: 40 } as const

// biome-ignore lint/suspicious/noExplicitAny: the kind of tensor is bound to itself
export abstract class EncodedTensor<T extends EncodedTensor<any>> {
  abstract readonly shape: Shape
  abstract readonly encoding: Encoding
  #node: GradNode<T> | null = null

  /** Carries a command out; the results belong to whoever called. */
  protected abstract issue(command: Command<T>, shapes: readonly Shape[]): T[]
  /** A second handle on the same values, outside graphs and scopes; freed by `dispose`. */
  abstract alias(): T
  abstract dispose(): void
  /** Takes on the values of another tensor of the same shape and encoding, which is left without them. */
  protected abstract adopt(other: T): void
  /** Whether a value is of the same kind and in the same place, so that commands can take both. */
  protected abstract joins(op: string, other: AnyEncoded): boolean
  /** Whether commands run on values in clear, on which every row of the table runs. */
  get isPublic(): boolean {
    return true
  }
  /** The values of a tensor that is public here, or undefined. */
  get publicValue(): PublicOperand | undefined {
    return undefined
  }

  get dtype() {
    return this.encoding.dtype
  }
  get rank(): number {
    return this.shape.length
  }
  get size(): number {
    return sizeOf(this.shape)
  }
  /** base^precisionFractional of a fixed-precision value; 1 of integers. */
  get scale(): number {
    return scaleOf(this.encoding)
  }

  /** The encoding of what is counted: of truths, integers. */
  get #counted(): Encoding {
    return counted(this.encoding)
  }
  get #truthful(): Encoding {
    return TRUTH[this.encoding.ring]
  }
  get #self(): T {
    return this as unknown as T
  }

  // Commands.

  /** @internal Runs a row of the ring op table, without a gradient. */
  run(
    op: RingOp,
    more: readonly (T | PublicOperand)[],
    options: Partial<Omit<Command<T>, 'op' | 'operands'>> = {},
  ): T[] {
    return this.#run(op, [this.#self, ...more], options)
  }

  #run(
    op: RingOp,
    operands: readonly (T | PublicOperand)[],
    options: Partial<Omit<Command<T>, 'op' | 'operands'>>,
  ): T[] {
    const { attrs = [], divisor = null, encodings } = options
    const shapes = ringRow(op).shapes(
      operands.map((operand) => ('tensor' in operand ? operand.tensor.shape : operand.shape)),
      attrs,
    )
    return this.issue({ op, operands, attrs, divisor, encodings: encodings ?? shapes.map(() => this.encoding) }, shapes)
  }

  /** @internal The operand of a command: of the same kind, or public in an encoding that suits this tensor. */
  operand(op: string, value: EncodedOperand<T>, encodingOf: (isWhole: boolean) => Encoding): T | PublicOperand {
    if (value instanceof EncodedTensor) {
      const known = value.publicValue
      if (this.publicValue === undefined && known !== undefined) return known
      if (this.joins(op, value)) return value as unknown as T
    }
    return encodeValues(op, value as tf.Tensor | tf.TensorLike, encodingOf)
  }

  /**
   * @internal Puts a result into the graph, when one of its operands is there.
   *
   * @param rule from the gradient of the result those of the operands; what it needs it gets as it was saved
   */
  recorded(
    result: T,
    operands: readonly unknown[],
    saved: readonly T[],
    rule: (gradient: T, saved: readonly T[]) => readonly (T | null)[],
  ): T {
    if (!gradEnabled() || !isFixed(result.encoding)) return result
    const parents = operands.map((operand) =>
      operand instanceof EncodedTensor ? (operand.#node as GradNode<T> | null) : null,
    )
    if (parents.every((parent) => parent === null)) return result
    const kept = saved.map((tensor) => tensor.alias() as T)
    ;(result as unknown as EncodedTensor<T>).#node = new GradNode<T>(parents, (gradient) => rule(gradient, kept), kept)
    return result
  }

  /** @internal A function composed of others, whose gradient has a rule of its own: nothing inside is recorded. */
  composed(
    action: () => T,
    operands: readonly unknown[],
    saved: (result: T) => readonly T[],
    rule: (gradient: T, saved: readonly T[]) => readonly (T | null)[],
  ): T {
    const result = scope(() => noGrad(action))
    return this.recorded(result, operands, saved(result), rule)
  }

  // Gradients.

  get requiresGrad(): boolean {
    return this.#node !== null
  }

  /** Makes this tensor a leaf whose gradient is kept. Returns the same tensor. */
  requireGrad(): this {
    if (!isFixed(this.encoding)) {
      throw sottoError(
        'ERR_PRECISION',
        `requireGrad: only fixed-precision tensors have gradients, this one is ${showEncoding(this.encoding)}`,
      )
    }
    if (this.#node !== null && !this.#node.isLeaf) {
      throw sottoError('ERR_NOT_LEAF', 'requireGrad: this tensor is the result of an operation; detach() it first')
    }
    this.#node ??= new GradNode<T>()
    return this
  }

  /** The gradient of this leaf; null before the first backward. It belongs to the leaf. */
  get grad(): T | null {
    if (this.#node !== null && !this.#node.isLeaf) {
      throw sottoError(
        'ERR_NOT_LEAF',
        'grad: only leaves keep their gradient; this tensor is the result of an operation',
      )
    }
    return this.#node?.gradient ?? null
  }

  zeroGrad(): void {
    if (this.#node === null) return
    this.#node.gradient?.dispose()
    this.#node.gradient = null
  }

  /**
   * Takes on the values of another tensor of the same shape and encoding, as an optimizer changes a parameter. What was
   * computed from this tensor before keeps the values it was computed from.
   */
  assign(value: T): void {
    if (!sameShape(value.shape, this.shape)) {
      throw sottoError('ERR_SHAPE', `assign: ${showShape(value.shape)} to ${showShape(this.shape)}`)
    }
    if (commonEncoding('assign', this.encoding, value.encoding) !== this.encoding || !this.joins('assign', value)) {
      throw sottoError('ERR_PRECISION', `assign: ${showEncoding(value.encoding)} to ${showEncoding(this.encoding)}`)
    }
    this.adopt(value)
  }

  /** The same values outside the graph. */
  detach(): T {
    return noGrad(() => this.clone())
  }

  /**
   * Gradients of every leaf that this tensor was computed from, added to what is there.
   *
   * @param gradient gradient of this tensor, of its shape; may be left out for a scalar
   * @throws StateError `ERR_NO_GRAD` when nothing was recorded; `ERR_GRAPH_FREED` the second time without `retainGraph`
   */
  backward(gradient?: EncodedOperand<T>, options: { retainGraph?: boolean } = {}): void {
    checkOptions('backward', options, ['retainGraph'])
    if (this.#node === null) {
      throw sottoError(
        'ERR_NO_GRAD',
        `backward: no operand of this ${showShape(this.shape)} requires a gradient; call requireGrad() on a leaf`,
      )
    }
    if (gradient === undefined && this.size !== 1) {
      throw sottoError(
        'ERR_SHAPE',
        `backward: ${showShape(this.shape)} is no scalar; pass a gradient of its shape, or reduce it with sum() or mean()`,
        { shape: this.shape },
      )
    }
    const node = this.#node
    scope(() => {
      const seed = noGrad(() => this.sub(this.#self).add(gradient ?? 1))
      if (!sameShape(seed.shape, this.shape)) {
        throw sottoError(
          'ERR_SHAPE',
          `backward: the gradient is ${showShape(seed.shape)}, the tensor ${showShape(this.shape)}`,
        )
      }
      runBackward<T>(node, seed, options.retainGraph === true)
    })
  }

  // Arithmetic.

  /** @internal As it stands, or brought to the scale of another encoding: exact, from integers up. */
  raised(op: string, value: T | PublicOperand, encoding: Encoding): T | PublicOperand {
    if (scaleOf(value.encoding) === scaleOf(encoding)) return value
    const scale = BigInt(scaleOf(encoding))
    if ('tensor' in value) {
      if (isFixed(value.encoding)) throw sottoError('ERR_PRECISION', `${op}: a public operand of another scale`)
      return { tensor: mulScalar(value.tensor, scale), encoding }
    }
    const factor = wholeNumbers(encoding.ring, [], [scale])
    return (value as EncodedTensor<T>).run('mul', [factor], { encodings: [encoding] })[0]!
  }

  #linear(op: 'add' | 'sub', value: EncodedOperand<T>, sign: 1 | -1): T {
    const other = this.operand(op, value, (whole) => {
      if (isFixed(this.encoding) || whole) return isFixed(this.encoding) ? this.encoding : INTEGER[this.encoding.ring]
      throw sottoError('ERR_PRECISION', `${op}: a fraction meets ${this.dtype}; call fixPrecision() first`, { op })
    })
    const encoding = counted(commonEncoding(op, this.encoding, other.encoding))
    const result = scope(() => {
      const a = this.raised(op, this.#self, encoding)
      const b = this.raised(op, other, encoding)
      return this.#run(op, [a, b], { encodings: [encoding] })[0]!
    })
    const shapes = [this.shape, 'tensor' in other ? other.tensor.shape : other.shape] as const
    return this.recorded(result, [this, other], [], (g) => [
      summedTo(g, shapes[0]),
      sign === 1 ? summedTo(g, shapes[1]) : summedTo(g.neg(), shapes[1]),
    ])
  }

  /** this + other, broadcasting. Of shares: local. */
  add(other: EncodedOperand<T>): T {
    return this.#linear('add', other, 1)
  }
  /** this − other, broadcasting. Of shares: local. */
  sub(other: EncodedOperand<T>): T {
    return this.#linear('sub', other, -1)
  }
  neg(): T {
    const [result] = this.run('neg', [], { encodings: [this.#counted] })
    return this.recorded(result!, [this], [], (g) => [g.neg()])
  }

  /** @internal A public factor: whole numbers as integers, so that nothing is rounded; else as this tensor is encoded. */
  factor(op: string, value: EncodedOperand<T>): T | PublicOperand {
    return this.operand(op, value, (whole) => {
      if (whole) return INTEGER[this.encoding.ring]
      if (isFixed(this.encoding)) return this.encoding
      throw sottoError('ERR_PRECISION', `${op}: a fraction meets ${this.dtype}; call fixPrecision() first`, { op })
    })
  }

  /** A bilinear map, with the division that brings the product of two fixed-precision values back to their scale. */
  #product(op: RingOp, other: T | PublicOperand, attrs: readonly unknown[], swapped = false): T {
    const common = commonEncoding(op, this.encoding, other.encoding)
    const encoding = op === 'mul' ? common : counted(common)
    const divisor = isFixed(this.encoding) && isFixed(other.encoding) ? BigInt(scaleOf(encoding)) : null
    const operands = swapped ? [other, this.#self] : [this.#self, other]
    return this.#run(op, operands, { attrs, divisor, encodings: [encoding] })[0]!
  }

  /**
   * this · other, broadcasting. Of shares: a round for the product of secrets, and one to bring it back to scale; none
   * with whole public numbers.
   */
  mul(value: EncodedOperand<T>): T {
    if (typeof value === 'number' && isFixed(this.encoding) && Number.isFinite(value) && !Number.isInteger(value)) {
      return this.#scaled(value)
    }
    const other = this.factor('mul', value)
    const result = this.#product('mul', other, [])
    if ('tensor' in other) {
      return this.recorded(result, [this], [], (g) => [summedTo(productOf(g, 'mul', other, []), this.shape)])
    }
    const shapes = [this.shape, other.shape] as const
    return this.recorded(result, [this, other], [this.#self, other], (g, [a, b]) => [
      this.requiresGrad ? summedTo(g.mul(b!), shapes[0]) : null,
      other.requiresGrad ? summedTo(g.mul(a!), shapes[1]) : null,
    ])
  }

  /**
   * Times a public fraction, to 17 bits of it whatever its size: a whole number over a power of two. Encoded as the tensor
   * is, a small factor such as a learning rate would lose its digits. Takes |x| · 2^18 · scale below 2^62. Of 128 bits, to
   * 40 bits of factors from 2^−10, below to a multiple of 2^−50; and |x| · 2^41 · scale below 2^126.
   */
  #scaled(factor: number): T {
    const { ring } = this.encoding
    const bits = Math.min(50, Math.max(1, FACTOR_BITS[ring] - Math.floor(Math.log2(Math.abs(factor)))))
    const whole = BigInt(Math.round(factor * 2 ** bits))
    const [result] = this.run('mul', [wholeNumbers(ring, [], [whole])], { divisor: 1n << BigInt(bits) })
    return this.recorded(result!, [this], [], (g) => [g.mul(factor)])
  }

  /** this². Of shares: half of what a product opens. */
  square(): T {
    const divisor = isFixed(this.encoding) ? BigInt(this.scale) : null
    const [result] = this.run('square', [], { divisor })
    return this.recorded(result!, [this], [this.#self], (g, [x]) => [g.mul(x!).mul(2)])
  }

  /** Product of [..., m, k] and [..., k, n], each transposed first if asked. */
  matMul(value: EncodedOperand<T>, transposeA = false, transposeB = false): T {
    const other = this.factor('matMul', value)
    const result = this.#product('matMul', other, [transposeA, transposeB])
    const [aShape, bShape] = [this.shape, 'tensor' in other ? other.tensor.shape : other.shape]
    const ofA = (g: T, b: T | PublicOperand): T =>
      summedTo(
        transposeA
          ? productOf(g, 'matMul', b, [transposeB, true], true)
          : productOf(g, 'matMul', b, [false, !transposeB]),
        aShape,
      )
    const ofB = (g: T, a: T): T =>
      summedTo(transposeB ? g.matMul(a, true, transposeA) : a.matMul(g, !transposeA, false), bShape)
    if ('tensor' in other) return this.recorded(result, [this], [], (g) => [ofA(g, other)])
    return this.recorded(result, [this, other], [this.#self, other], (g, [a, b]) => [
      this.requiresGrad ? ofA(g, b!) : null,
      other.requiresGrad ? ofB(g, a!) : null,
    ])
  }

  /** Over the last axis of this and the first of other; ranks 1 and 2. */
  dot(other: EncodedOperand<T>): T {
    return shaped(other, (b, shape) => {
      const result = dotShape(this.shape, shape)
      const left = this.rank === 1 ? this.reshape([1, this.size]) : this.#self
      return left.matMul(shape.length === 1 ? b([shape[0]!, 1]) : b(shape)).reshape(result)
    })
  }

  /** All products of the elements of two vectors. */
  outer(other: EncodedOperand<T>): T {
    return shaped(other, (b, shape) => {
      if (this.rank !== 1 || shape.length !== 1) {
        throw sottoError('ERR_SHAPE', `outer: needs two vectors, got ${showShape(this.shape)} and ${showShape(shape)}`)
      }
      return this.reshape([this.size, 1]).mul(b([1, shape[0]!]))
    })
  }

  /** Convolution of [batch, height, width, in] with a filter [height, width, in, out]. */
  conv2d(
    filter: EncodedOperand<T>,
    strides: PairOf = 1,
    pad: Padding = 'valid',
    dataFormat: 'NHWC' = 'NHWC',
    dilations: PairOf = 1,
  ): T {
    const other = this.factor('conv2d', filter)
    const args = [strides, pad, dataFormat, dilations]
    const attrs = opRow('conv2d').attrs(...(args as never[])) as ConvAttrs
    const result = this.#product('conv2d', other, args)
    const [xShape, filterShape] = [this.shape, 'tensor' in other ? other.tensor.shape : other.shape]
    const ofX = (g: T, f: T | PublicOperand): T => productOf(g, 'conv2dInput', f, [xShape, attrs])
    if ('tensor' in other) return this.recorded(result, [this], [], (g) => [ofX(g, other)])
    return this.recorded(result, [this, other], [this.#self, other], (g, [x, f]) => [
      this.requiresGrad ? ofX(g, f!) : null,
      other.requiresGrad ? productOf(x!, 'conv2dFilter', g, [filterShape, attrs]) : null,
    ])
  }

  /** @internal A product by a row of the ring op table, without a gradient. */
  productWith(op: RingOp, other: T | PublicOperand, attrs: readonly unknown[], swapped = false): T {
    return this.#product(op, other, attrs, swapped)
  }

  /** @internal this / divisor for a whole number from 1, within a unit. Of shares: one round. */
  dividedBy(divisor: number): T {
    if (divisor === 1) return this.clone()
    const [result] = this.run('clone', [], { divisor: BigInt(divisor), encodings: [this.#counted] })
    return this.recorded(result!, [this], [], (g) => [g.dividedBy(divisor)])
  }

  // Reductions.

  /** Sum over axes, or over all. */
  sum(axis?: Axes, keepDims = false): T {
    const [result] = this.run('sum', [], { attrs: [axis, keepDims], encodings: [this.#counted] })
    const { shape } = this
    return this.recorded(result!, [this], [], (g) => [broadcastBack(g, axis, shape)])
  }

  /** Arithmetic mean over axes, or over all. Of shares: one round. */
  mean(axis?: Axes, keepDims = false): T {
    const count = normalizeAxes('mean', axis, this.rank).reduce((n, i) => n * this.shape[i]!, 1)
    if (count === 0) throw sottoError('ERR_SHAPE', `mean: ${showShape(this.shape)} has no elements to take it of`)
    const [result] = this.run('sum', [], {
      attrs: [axis, keepDims],
      divisor: count === 1 ? null : BigInt(count),
      encodings: [this.#counted],
    })
    const { shape } = this
    return this.recorded(result!, [this], [], (g) => [broadcastBack(g.dividedBy(count), axis, shape)])
  }

  /** @internal The sum of this and others of one shape and encoding, divided by a whole number. */
  totalWith(others: readonly T[], divisor: number): T {
    for (const other of this.#list('total', others)) {
      if (!sameEncoding(other.encoding, this.encoding)) {
        throw sottoError('ERR_PRECISION', `total: ${showEncoding(this.encoding)} meets ${showEncoding(other.encoding)}`)
      }
    }
    const [result] = this.run('total', others, { divisor: divisor === 1 ? null : BigInt(divisor) })
    return this.recorded(result!, [this, ...others], [], (g) => {
      const part = g.dividedBy(divisor)
      return [part, ...others.map(() => part)]
    })
  }

  /** Mean squared distance from the mean. */
  variance(axis?: Axes, keepDims = false): T {
    return scope(() => this.sub(this.mean(axis, true)).square().mean(axis, keepDims))
  }

  /** Running sums along an axis. */
  cumsum(axis = 0, exclusive = false, reverse = false): T {
    const [result] = this.run('cumsum', [], { attrs: [axis, exclusive, reverse], encodings: [this.#counted] })
    return this.recorded(result!, [this], [], (g) => [g.cumsum(axis, exclusive, !reverse)])
  }

  // Shape.

  /** @internal A move, whose gradient is the move backwards. */
  moved(name: Move, others: readonly T[], attrs: readonly unknown[]): T[] {
    const operands = [this.#self, ...others]
    const encoding = operands
      .map((operand) => operand.encoding as Encoding)
      .reduce((a, b) => commonEncoding(name, a, b))
    const results = scope(() => {
      const raised = operands.map((operand) => this.raised(name, operand, encoding))
      const shapes = ringRow(name).shapes(
        operands.map(({ shape }) => shape),
        attrs,
      )
      return this.#run(name, raised, { attrs, encodings: shapes.map(() => encoding) })
    })
    const shapes = operands.map(({ shape }) => shape)
    return results.map((result, which) =>
      this.recorded(result, operands, [], (g) => {
        const whole =
          results.length === 1 ? [g] : results.map((other, i) => (i === which ? g : zerosLike(g, other.shape)))
        return whole[0]!.run('moveBack', whole.slice(1), {
          attrs: [name, shapes, attrs],
          encodings: shapes.map(() => g.encoding),
        })
      }),
    )
  }

  #list(name: string, others: T | readonly T[]): T[] {
    const list = Array.isArray(others) ? (others as T[]) : [others as T]
    for (const other of list) {
      if (other instanceof EncodedTensor && this.joins(name, other)) continue
      throw sottoError('ERR_ARGUMENT_TYPE', `${name}: expected tensors of the same kind as this one`, { op: name })
    }
    return list
  }

  /** Permutes the axes; reverses them when no permutation is given. */
  transpose(perm?: readonly number[]): T {
    return this.moved('transpose', [], perm === undefined ? [] : [perm])[0]!
  }
  /** The same elements in another shape; one dimension may be −1. */
  reshape(shape: Shape): T {
    return this.moved('reshape', [], [shape])[0]!
  }
  flatten(): T {
    return this.moved('flatten', [], [])[0]!
  }
  expandDims(axis = 0): T {
    return this.moved('expandDims', [], [axis])[0]!
  }
  squeeze(axis?: Axes): T {
    return this.moved('squeeze', [], axis === undefined ? [] : [axis])[0]!
  }
  /** The block that starts at `begin` and is `size` long on each axis (−1: to the end). */
  slice(begin: number | readonly number[], size?: number | readonly number[]): T {
    return this.moved('slice', [], size === undefined ? [begin] : [begin, size])[0]!
  }
  /** The slices of an axis that public indices name. */
  gather(indices: tf.Tensor | tf.TensorLike, axis = 0): T {
    if (indices instanceof EncodedTensor) {
      throw sottoError(
        'ERR_ARGUMENT_TYPE',
        'gather: indices are public here; multiply with a one-hot matrix to pick in secret',
      )
    }
    const t = indices instanceof tf.Tensor ? indices : tf.tensor(indices as tf.TensorLike, undefined, 'int32')
    const at = normalizeAxis('gather', axis, this.rank)
    const picks = { shape: t.shape, values: Array.from(t.dataSync() as Int32Array) }
    if (t !== indices) t.dispose()
    if (picks.values.some((index) => !Number.isInteger(index) || index < 0 || index >= this.shape[at]!)) {
      throw sottoError('ERR_ARGUMENT_VALUE', `gather: an index is outside axis ${at} of ${showShape(this.shape)}`)
    }
    return this.moved('gather', [], [picks, at])[0]!
  }
  concat(others: T | readonly T[], axis = 0): T {
    return this.moved('concat', this.#list('concat', others), [axis])[0]!
  }
  stack(others: T | readonly T[], axis = 0): T {
    return this.moved('stack', this.#list('stack', others), [axis])[0]!
  }
  unstack(axis = 0): T[] {
    return this.moved('unstack', [], [axis])
  }
  split(parts: number | readonly number[], axis = 0): T[] {
    return this.moved('split', [], [parts, axis])
  }
  pad(paddings: readonly (readonly [number, number])[], constant = 0): T {
    if (constant === 0) return this.moved('pad', [], [paddings])[0]!
    return scope(() => this.sub(constant).moved('pad', [], [paddings])[0]!.add(constant))
  }
  tile(reps: readonly number[]): T {
    return this.moved('tile', [], [reps])[0]!
  }
  reverse(axis?: Axes): T {
    return this.moved('reverse', [], axis === undefined ? [] : [axis])[0]!
  }
  broadcastTo(shape: Shape): T {
    return this.moved('broadcastTo', [], [shape])[0]!
  }
  clone(): T {
    return this.moved('clone', [], [])[0]!
  }

  // Comparison. Of shares: six rounds each; 13 bytes an element to each peer, 12 for `equal`, and 41 from the provider; of three
  // that replicate 24 bytes of each party. Of 128 bits: seven rounds, and twice the bytes.

  /** @internal Whether this is below zero, as a truth; and that truth times each of the others. */
  negativeAnd(others: readonly T[]): T[] {
    return this.run('negative', others, {
      encodings: [this.#truthful, ...others.map(({ encoding }) => encoding as Encoding)],
    })
  }
  /** @internal The difference to another, at the scale of both, without a gradient. */
  #minus(op: string, other: EncodedOperand<T>): T {
    return noGrad(() => this.sub(this.#comparable(op, other)))
  }
  /** Fractions do not round before they are compared with integers. */
  #comparable(op: string, other: EncodedOperand<T>): EncodedOperand<T> {
    if (isFixed(this.encoding) || other instanceof EncodedTensor || isWhole(other as tf.TensorLike)) return other
    throw sottoError('ERR_PRECISION', `${op}: a fraction meets ${this.dtype}; call fixPrecision() first`, { op })
  }
  #truth(action: () => T): T {
    return scope(() => noGrad(action))
  }

  less(other: EncodedOperand<T>): T {
    return this.#truth(() => this.#minus('less', other).negativeAnd([])[0]!)
  }
  greater(other: EncodedOperand<T>): T {
    return this.#truth(() => this.#minus('greater', other).neg().negativeAnd([])[0]!)
  }
  lessEqual(other: EncodedOperand<T>): T {
    return this.#truth(() => this.greater(other).logicalNot())
  }
  greaterEqual(other: EncodedOperand<T>): T {
    return this.#truth(() => this.less(other).logicalNot())
  }
  equal(other: EncodedOperand<T>): T {
    return this.#truth(() => this.#minus('equal', other).run('zero', [], { encodings: [this.#truthful] })[0]!)
  }
  notEqual(other: EncodedOperand<T>): T {
    return this.#truth(() => this.equal(other).logicalNot())
  }

  #truths(op: string, ...list: readonly (T | EncodedTensor<T>)[]): void {
    for (const { dtype } of list) {
      if (dtype !== 'bool')
        throw sottoError('ERR_DTYPE', `${op}: takes bool, got ${dtype}; compare first`, { op, dtype })
    }
  }
  logicalNot(): T {
    this.#truths('logicalNot', this)
    return this.#truth(
      () =>
        this.neg().run('add', [encodeValues('logicalNot', 1, () => this.encoding)], { encodings: [this.encoding] })[0]!,
    )
  }
  logicalAnd(other: T): T {
    this.#truths('logicalAnd', this, other)
    return this.#truth(() => this.mul(other))
  }
  logicalOr(other: T): T {
    this.#truths('logicalOr', this, other)
    return this.#truth(() => this.add(other).run('sub', [this.mul(other)], { encodings: [this.encoding] })[0]!)
  }

  /** Where this truth holds the elements of a, elsewhere those of b. Of shares: one round. */
  where(a: T, b: EncodedOperand<T>): T {
    this.#truths('where', this)
    return scope(() => this.mul(a.sub(b)).add(b))
  }

  // Piecewise linear.

  /**
   * A sign, what it gives times a value, and what is made of both; the gradient takes the sign, and no other. Signs are
   * taken so that gradients where the function has a kink are those of tfjs.
   */
  #kinked(
    action: () => readonly [result: T, sign: T],
    operands: readonly unknown[],
    rule: (gradient: T, sign: T) => readonly T[],
  ): T {
    const [made, sign] = scope(() => noGrad(action))
    const result = this.recorded(made, operands, [sign], (g, [kept]) => rule(g, kept!))
    sign.dispose()
    return result
  }

  /** The larger of this and other. Of shares: six rounds. */
  maximum(other: EncodedOperand<T>): T {
    return this.#extreme('maximum', other, 1)
  }
  /** The smaller of this and other. */
  minimum(other: EncodedOperand<T>): T {
    return this.#extreme('minimum', other, -1)
  }
  #extreme(op: 'maximum' | 'minimum', value: EncodedOperand<T>, direction: 1 | -1): T {
    const shapes = [this.shape, value instanceof EncodedTensor ? value.shape : null] as const
    return this.#kinked(
      () => {
        const difference = this.#minus(op, value)
        const [isOther, lost] = (direction === 1 ? difference : difference.neg()).negativeAnd([difference])
        return [difference.sub(lost!).add(value), isOther!]
      },
      [this, value],
      (g, isOther) => {
        const others = isOther.mul(g) as T
        return [summedTo(g.sub(others) as T, shapes[0]), ...(shapes[1] === null ? [] : [summedTo(others, shapes[1])])]
      },
    )
  }
  /** max(x, 0). Of shares: six rounds, the product with the sign folded into the last. */
  relu(): T {
    return this.#kinked(
      () => {
        const [isAbove, kept] = (this.neg() as T).negativeAnd([this.#self])
        return [kept!, isAbove!]
      },
      [this],
      (g, isAbove) => [isAbove.mul(g)],
    )
  }
  /** x where it is positive, alpha · x elsewhere. */
  leakyRelu(alpha = 0.2): T {
    return this.#kinked(
      () => {
        const [isAbove, kept] = (this.neg() as T).negativeAnd([this.#self])
        return [this.sub(kept!).mul(alpha).add(kept!), isAbove!]
      },
      [this],
      (g, isAbove) => {
        const kept = isAbove.mul(g)
        return [g.sub(kept).mul(alpha).add(kept)]
      },
    )
  }
  /** |x|. */
  abs(): T {
    return this.#kinked(
      () => {
        const [isAbove, kept] = (this.neg() as T).negativeAnd([this.#self])
        return [kept!.mul(2).sub(this.#self), isAbove!]
      },
      [this],
      (g, isAbove) => [isAbove.mul(g).mul(2).sub(g)],
    )
  }
  /** −1, 0 or 1, in the encoding of this tensor. */
  sign(): T {
    return this.#truth(() => {
      const flat = this.flatten() as T
      const [below, above] = flat.stack(flat.neg(), 0).negativeAnd([])[0]!.unstack(0)
      const signs = above!.sub(below!).reshape(this.shape)
      return isFixed(this.encoding) ? this.mul(0).add(signs) : signs
    })
  }
  clipByValue(low: number, high: number): T {
    if (!(low <= high))
      throw sottoError('ERR_ARGUMENT_VALUE', `clipByValue: the bounds ${low} and ${high} are in the wrong order`)
    return scope(() => this.maximum(low).minimum(high))
  }

  // Largest and smallest; see extremes.ts.

  /**
   * The largest element over axes. Of shares six rounds for each doubling of their number n; of few, no more than 8,192
   * pairs in all, 7 + ⌈log2(n − 1)⌉ rounds.
   */
  max(axis?: Axes, keepDims = false): T {
    return extremes.max(this.#self, axis, keepDims)
  }
  min(axis?: Axes, keepDims = false): T {
    return extremes.min(this.#self, axis, keepDims)
  }
  /** The index of the largest element along an axis, the first of several; an integer. Rounds: those of {@link max}, of few one less. */
  argMax(axis = 0): T {
    return extremes.argMax(this.#self, axis)
  }
  argMin(axis = 0): T {
    return extremes.argMin(this.#self, axis)
  }
  /** The elements along an axis, smallest first, or largest; see sorting.ts. No gradient. */
  sort(axis = -1, descending = false): T {
    return sorting.sort(this.#self, axis, descending)
  }

  // Pooling; see pooling.ts.

  /** The largest of each window. */
  maxPool(filterSize: PairOf, strides: PairOf = filterSize, pad: Padding = 'valid'): T {
    return pooling.maxPool(this.#self, filterSize, strides, pad)
  }
  /** The mean of each window, over the pixels of the image that it covers. */
  avgPool(filterSize: PairOf, strides: PairOf = filterSize, pad: Padding = 'valid'): T {
    return pooling.avgPool(this.#self, filterSize, strides, pad)
  }

  /** (x − mean) · scale / √(variance + ε) + offset: as in inference, with statistics that are there. */
  batchNorm(
    mean: EncodedOperand<T>,
    variance: EncodedOperand<T>,
    offset?: EncodedOperand<T>,
    scale?: EncodedOperand<T>,
    varianceEpsilon = 0.001,
  ): T {
    return scope(() => {
      const centred = this.sub(mean)
      const spread =
        variance instanceof EncodedTensor
          ? (variance as unknown as T).add(varianceEpsilon).rsqrt()
          : tf.tidy(() => tf.rsqrt(tf.add(variance as tf.TensorLike, varianceEpsilon)))
      const scaled = centred.mul(spread as EncodedOperand<T>)
      if (spread instanceof tf.Tensor) spread.dispose()
      const whole = scale === undefined ? scaled : scaled.mul(scale)
      return offset === undefined ? whole : whole.add(offset)
    })
  }

  // Smooth functions: approximations with stated errors and domains; see functions.ts.

  /**
   * this / other, broadcasting. Of public values toward zero. Of secrets: by a public whole number within a unit, one
   * round; by public fractions, times their inverses; by a secret, see `functions.ts`.
   */
  div(other: EncodedOperand<T>): T {
    return division.div(this.#self, other)
  }
  /**
   * What is left after whole multiples of other, with the sign of other. Of secrets: by one public number above zero,
   * seven rounds.
   */
  mod(other: EncodedOperand<T>): T {
    return division.mod(this.#self, other)
  }
  /** this to a whole power from 0. */
  pow(exponent: number): T {
    return functions.pow(this.#self, exponent)
  }
  reciprocal(): T {
    return functions.reciprocal(this.#self)
  }
  sqrt(): T {
    return functions.sqrt(this.#self)
  }
  rsqrt(): T {
    return functions.rsqrt(this.#self)
  }
  exp(): T {
    return functions.exp(this.#self)
  }
  log(): T {
    return functions.log(this.#self)
  }
  sigmoid(): T {
    return functions.sigmoid(this.#self)
  }
  tanh(): T {
    return functions.tanh(this.#self)
  }
  softmax(axis = -1): T {
    return functions.softmax(this.#self, axis)
  }
  logSoftmax(axis = -1): T {
    return functions.logSoftmax(this.#self, axis)
  }
}

const isTensorLike = (value: unknown): value is tf.Tensor | tf.TensorLike => !(value instanceof EncodedTensor)

/** Works on an operand in whatever shape it is wanted: a tensor of this kind, or a public one. */
function shaped<T extends AnyEncoded>(
  operand: EncodedOperand<T>,
  action: (reshape: (shape: Shape) => EncodedOperand<T>, shape: Shape) => T,
): T {
  if (!isTensorLike(operand)) {
    const encoded = operand as unknown as T
    return scope(() => action((shape) => encoded.reshape(shape) as T, encoded.shape))
  }
  let result: T | undefined
  tf.tidy(() => {
    const t = operand instanceof tf.Tensor ? operand : tf.tensor(operand)
    result = scope(() => action((shape) => tf.reshape(t, [...shape]), t.shape))
  })
  return result!
}
