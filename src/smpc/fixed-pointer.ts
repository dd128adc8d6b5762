/** Public fixed-precision tensors on workers. */
import { sottoError } from '../errors.ts'
import { track } from '../tensor/context.ts'
import { checkWait, type Location, newId, type ObjectId, type WaitOptions } from '../tensor/location.ts'
import { misplaced, PointerTensor } from '../tensor/pointer.ts'
import { type Shape, showShape } from '../tensor/shape.ts'
import { type AnyEncoded, type Command, EncodedTensor } from './encoded-tensor.ts'
import { type Encoding, showEncoding } from './encoding.ts'
import { FixedPrecisionTensor } from './fixed-precision.ts'
import { askSecret, tellSecret } from './group.ts'
import { bytesOf, ringTensor, wordsOf } from './ring/tensor.ts'

interface Handle {
  readonly location: Location
  readonly id: ObjectId
  /** Handles on the same object. */
  readonly count: { handles: number }
  isGone: boolean
}

const dropped = new FinalizationRegistry<Handle>((handle) => {
  if (!handle.isGone && --handle.count.handles === 0) handle.location.tell('free', { ids: [handle.id] })
})

/**
 * A handle to a fixed-precision tensor that lives on a worker. Computes there, as `FixedPrecisionTensor` does here; its
 * values are public to whoever may see the tensor that it was made of.
 */
export class FixedPrecisionPointer extends EncodedTensor<FixedPrecisionPointer> {
  readonly shape: Shape
  readonly encoding: Encoding
  #handle: Handle

  /** @internal From `pointer.fixPrecision()`, and from operations. */
  constructor(location: Location, id: ObjectId, shape: Shape, encoding: Encoding, handles?: { handles: number }) {
    super()
    this.shape = shape
    this.encoding = encoding
    const count = handles ?? { handles: 0 }
    count.handles++
    this.#handle = { location, id, count, isGone: false }
    dropped.register(this, this.#handle, this)
    if (handles === undefined) track(this)
  }

  get id(): ObjectId {
    return this.#handle.id
  }
  get location(): Location {
    return this.#handle.location
  }
  get isDisposed(): boolean {
    return this.#handle.isGone
  }

  /** @internal The id, if the object is there to be used. */
  use(op: string): ObjectId {
    if (this.#handle.isGone) {
      throw sottoError('ERR_CONSUMED', `${op}: this tensor was taken or disposed of`, { op, shape: this.shape })
    }
    return this.id
  }

  protected issue(
    { op, operands, attrs, divisor, encodings }: Command<FixedPrecisionPointer>,
    shapes: readonly Shape[],
  ): FixedPrecisionPointer[] {
    const out = shapes.map(newId)
    tellSecret(this.location, 'fixedRun', {
      op,
      operands: operands.map((operand) =>
        operand instanceof FixedPrecisionPointer
          ? operand.use(op)
          : { shape: operand.tensor.shape, data: bytesOf(operand.tensor.data) },
      ),
      attrs: attrs.map((attr) => attr ?? null),
      divisor: divisor === null ? null : Number(divisor),
      out,
      encodings,
    })
    return shapes.map((shape, i) => new FixedPrecisionPointer(this.location, out[i]!, shape, encodings[i]!))
  }

  protected joins(op: string, other: AnyEncoded): boolean {
    if (!(other instanceof FixedPrecisionPointer)) {
      throw sottoError('ERR_LOCAL_OPERAND', `${op}: a tensor on ${this.location.id} meets one that is elsewhere`, {
        op,
      })
    }
    if (other.location !== this.location) throw misplaced(op, this.location, other.location)
    return true
  }

  alias(): FixedPrecisionPointer {
    return new FixedPrecisionPointer(this.location, this.use('alias'), this.shape, this.encoding, this.#handle.count)
  }

  dispose(): void {
    const object = this.surrender()
    if (object !== null) object.location.tell('free', { ids: [object.id] })
  }

  protected adopt(other: FixedPrecisionPointer): void {
    const { location, id, count } = other.#handle
    this.dispose()
    dropped.unregister(this)
    count.handles++
    this.#handle = { location, id, count, isGone: false }
    dropped.register(this, this.#handle, this)
  }

  /** @internal Gives the object up; whoever calls this frees it. */
  surrender(): { readonly location: Location; readonly id: ObjectId } | null {
    if (this.#handle.isGone) return null
    this.#handle.isGone = true
    return --this.#handle.count.handles === 0 ? this.#handle : null
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  async #read(keep: boolean, wait: WaitOptions): Promise<FixedPrecisionTensor> {
    const verb = keep ? 'fetch' : 'get'
    checkWait(verb, wait)
    const { shape, data } = await askSecret(this.location, 'fixedGet', { id: this.use(verb), keep }, wait)
    return new FixedPrecisionTensor(ringTensor(this.encoding.ring, shape, wordsOf(data)), this.encoding)
  }

  /**
   * Brings the tensor here and takes it off the worker.
   *
   * @throws PermissionError when it was made of a private tensor, and this session's identity is not allowed
   */
  async get(wait: WaitOptions = {}): Promise<FixedPrecisionTensor> {
    const value = await this.#read(false, wait)
    this.#handle.isGone = true
    return value
  }

  /** Brings a copy of the tensor here; the object stays. */
  fetch(wait: WaitOptions = {}): Promise<FixedPrecisionTensor> {
    return this.#read(true, wait)
  }

  /** The numbers as a tensor on the same worker. */
  floatPrecision(): PointerTensor {
    const out = newId()
    tellSecret(this.location, 'floatTensor', { id: this.use('floatPrecision'), out })
    const spec = { shape: this.shape, dtype: this.encoding.dtype }
    return new PointerTensor({ location: this.location, id: out, spec, owns: true })
  }

  /** Shape, encoding and place; never values. */
  override toString(): string {
    return `FixedPrecisionPointer ${showEncoding(this.encoding)} ${showShape(this.shape)} ${this.id} on ${this.location.id}`
  }
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.toString()
  }
}

/** Encodes a tensor that lives on a worker, there; the tensor stays. */
export function fixPointer(pointer: PointerTensor, encoding: Encoding): FixedPrecisionPointer {
  const out = newId()
  tellSecret(pointer.location, 'fixTensor', { id: pointer.use('fixPrecision'), out, encoding })
  return new FixedPrecisionPointer(pointer.location, out, pointer.shape, encoding)
}
