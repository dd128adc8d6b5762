/// <reference lib="esnext.disposable" preserve="true" />
/** Secrets: handles to tensors of which every party holds a share. */
import { sottoError } from '../errors.ts'
import { checkOptions } from '../options.ts'
import { track } from '../tensor/context.ts'
import type { tf } from '../tensor/engine.ts'
import { checkWait, type Location, newId, type ObjectId, type WaitOptions } from '../tensor/location.ts'
import { checkLocation, labelsOf, PointerTensor } from '../tensor/pointer.ts'
import { type Shape, showShape } from '../tensor/shape.ts'
import type { Worker } from '../worker/worker.ts'
import { type AnyEncoded, type Command, EncodedTensor } from './encoded-tensor.ts'
import { commonEncoding, type Encoding, showEncoding } from './encoding.ts'
import { FixedPrecisionTensor } from './fixed-precision.ts'
import { type Group, type GroupStats, tellSecret } from './group.ts'
import type { Cost } from './protocols/protocol.ts'
import { ring } from './ring/choose.ts'
import { bytesOf, ringTensor, wordsOf } from './ring/tensor.ts'

/** The shares of one secret, under one id at all parties; freed when the last handle is. */
class Shares {
  readonly group: Group
  readonly id: ObjectId
  handles = 0

  constructor(group: Group, id: ObjectId) {
    this.group = group
    this.id = id
  }
}

interface Handle {
  readonly shares: Shares
  isGone: boolean
}

/** Shares whose handles were dropped without `dispose`: freed together. */
const dropped = new Map<Group, ObjectId[]>()
const collector = new FinalizationRegistry<Handle>((handle) => {
  if (handle.isGone || --handle.shares.handles > 0) return
  if (dropped.size === 0) setTimeout(freeDropped, 0)
  const { group, id } = handle.shares
  const ids = dropped.get(group)
  if (ids) ids.push(id)
  else dropped.set(group, [id])
})

function freeDropped(): void {
  const batches = [...dropped]
  dropped.clear()
  for (const [group, ids] of batches) group.free(ids)
}

interface Origin {
  readonly shares: Shares
  readonly shape: Shape
  readonly encoding: Encoding
  readonly path: number
  /** Freed with the scope around it, unless it belongs to a graph. */
  readonly isTracked?: boolean
}

const NOTHING: Cost = { rounds: 0, bytes: 0, provider: 0 }

/**
 * A tensor that is nobody's: each party holds a share, and no party knows anything of it. Of additive sharing any n − 1 of
 * n ≥ 2 parties together know nothing; of replicated sharing, none of the three alone.
 *
 * Operations return at once; the parties carry them out among themselves. Sums, and products with whole public numbers,
 * cost nothing; what else costs, `cost` tells. Values are fixed-precision numbers, integers or truths (see `Encoding`);
 * results of fixed precision must stay within ±2^62 / scale² (of 128 bits ±2^126 / scale²), where they are rounded.
 *
 * Semi-honest: parties keep to the protocol; a provider colludes with none of them.
 */
export class SharedTensor extends EncodedTensor<SharedTensor> {
  readonly shape: Shape
  readonly encoding: Encoding
  #handle: Handle
  /** Openings that had to follow one another, since secrets were shared. */
  #path: number
  #cost: Cost = NOTHING

  /** @internal Shared tensors come from `share`, and from operations. */
  constructor({ shares, shape, encoding, path, isTracked = true }: Origin) {
    super()
    this.shape = shape
    this.encoding = encoding
    this.#handle = { shares, isGone: false }
    this.#path = path
    shares.handles++
    collector.register(this, this.#handle, this)
    if (isTracked) track(this)
  }

  /** @internal Shares that are stored, or will be, under an id at all parties. */
  static stored(group: Group, id: ObjectId, shape: Shape, encoding: Encoding): SharedTensor {
    return new SharedTensor({ shares: new Shares(group, id), shape, encoding, path: 0 })
  }

  /** @internal */
  get group(): Group {
    return this.#handle.shares.group
  }
  get id(): ObjectId {
    return this.#handle.shares.id
  }
  override get isPublic(): boolean {
    return false
  }
  /** Who holds the shares, in order. */
  get parties(): readonly Worker[] {
    return this.group.parties
  }
  get provider(): Worker | null {
    return this.group.provider
  }
  get isDisposed(): boolean {
    return this.#handle.isGone
  }
  /** What the operation cost that this tensor came from: rounds that wait for one another, and bytes. */
  get cost(): Cost {
    return this.#cost
  }

  #use(op: string): ObjectId {
    if (this.#handle.isGone) {
      throw sottoError('ERR_CONSUMED', `${op}: this secret was disposed of`, { op, shape: this.shape })
    }
    return this.id
  }

  protected issue(
    { op, operands, attrs, divisor, encodings }: Command<SharedTensor>,
    shapes: readonly Shape[],
  ): SharedTensor[] {
    const { group } = this
    const wires = operands.map((operand) =>
      operand instanceof SharedTensor
        ? operand.#use(op)
        : { shape: operand.tensor.shape, data: bytesOf(operand.tensor.data) },
    )
    const command = {
      ring: group.ring,
      op,
      operands: operands.map((operand) => {
        const isSecret = operand instanceof SharedTensor
        return { shape: isSecret ? operand.shape : operand.tensor.shape, isSecret }
      }),
      attrs,
      divisor: divisor === null ? null : Number(divisor),
    }
    const { index, dealt } = group.deal(command)
    const cost = group.protocol.cost(command)
    const { rounds, bytes, provider } = group.spent
    group.spent = { rounds: rounds + cost.rounds, bytes: bytes + cost.bytes, provider: provider + cost.provider }
    const out = shapes.map(newId)
    const body = {
      group: group.id,
      seq: group.nextSeq(),
      index,
      dealt,
      op,
      operands: wires,
      attrs: attrs.map((attr) => attr ?? null),
      divisor: command.divisor,
      out,
    }
    group.tell('secretRun', () => body)
    const path =
      cost.rounds + Math.max(...operands.map((operand) => (operand instanceof SharedTensor ? operand.#path : 0)))
    return shapes.map((shape, i) => {
      const result = new SharedTensor({ shares: new Shares(group, out[i]!), shape, encoding: encodings[i]!, path })
      result.#cost = cost
      return result
    })
  }

  protected joins(op: string, other: AnyEncoded): boolean {
    if (!(other instanceof SharedTensor)) {
      throw sottoError(
        'ERR_LOCAL_OPERAND',
        `${op}: a secret meets a tensor on a worker; share that one too, or get() it`,
        { op },
      )
    }
    // Secrets of two rings are of two groups.
    if (other.encoding.ring !== this.encoding.ring) commonEncoding(op, this.encoding, other.encoding)
    if (other.group !== this.group) {
      const [a, b] = [this.group, other.group].map(
        ({ names, provider }) => `[${names}] with ${provider?.id ?? 'no provider'}`,
      )
      throw sottoError(
        'ERR_PARTIES',
        `${op}: secrets of ${a} and of ${b} meet; share both among the same, in one order`,
        { op },
      )
    }
    return true
  }

  alias(): SharedTensor {
    this.#use('alias')
    const { shares } = this.#handle
    return new SharedTensor({ shares, shape: this.shape, encoding: this.encoding, path: this.#path, isTracked: false })
  }

  protected adopt(other: SharedTensor): void {
    const { shares } = other.#handle
    shares.handles++
    this.dispose()
    collector.unregister(this)
    this.#handle = { shares, isGone: false }
    this.#path = other.#path
    collector.register(this, this.#handle, this)
  }

  /** Frees the shares. */
  dispose(): void {
    const freed = this.surrender()
    if (freed !== null) this.group.free([freed.id])
  }

  /** @internal Gives the shares up; whoever calls this frees them. */
  surrender(): { readonly locations: readonly Location[]; readonly id: ObjectId } | null {
    if (this.#handle.isGone) return null
    this.#handle.isGone = true
    const { shares } = this.#handle
    return --shares.handles > 0 ? null : { locations: shares.group.parties, id: shares.id }
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  /**
   * Opens the secret to the caller, as it was encoded. The shares stay.
   *
   * @throws PermissionError when it came from private values, and this session's identity may not see their results
   */
  async get(wait: WaitOptions = {}): Promise<FixedPrecisionTensor> {
    checkWait('get', wait)
    const id = this.#use('get')
    const body = { group: this.group.id, seq: this.group.nextSeq(), id, encoding: this.encoding }
    const answers = await this.group.ask('secretGet', body, wait)
    const { ring: bits } = this.encoding
    const words = answers.map(({ data }) => wordsOf(data)).reduce((a, b) => ring(bits).add(a, b))
    return new FixedPrecisionTensor(ringTensor(bits, this.shape, words), this.encoding)
  }

  /** Opens the secret to the caller, as numbers. Fails as {@link get} does. */
  async reveal(wait: WaitOptions = {}): Promise<tf.Tensor> {
    return (await this.get(wait)).floatPrecision()
  }

  /**
   * Opens the secret to one worker, and to nobody else: the parties send it their shares. The worker may be one of them.
   *
   * @param options tags by which the worker's owner finds what was opened
   * @returns a pointer to the numbers there
   */
  revealTo(worker: Location, options: { tags?: readonly string[]; description?: string } = {}): PointerTensor {
    checkLocation('revealTo', worker)
    checkOptions('revealTo', options, ['tags', 'description'])
    const labels = labelsOf(options)
    const { group, encoding, shape } = this
    const id = this.#use('revealTo')
    const out = newId()
    const from = group.parties.map((party) => {
      const isHere = party === worker
      if (!isHere) party.reach(worker)
      return { name: isHere ? party.id : worker.reach(party), key: newId() }
    })
    const seq = group.nextSeq()
    group.tell('secretOpen', (index) => ({ group: group.id, seq, id, to: worker.id, key: from[index]!.key, encoding }))
    tellSecret(worker, 'secretReceive', { from, out, shape, encoding, labels })
    const spec = { shape, dtype: encoding.dtype }
    return new PointerTensor({
      location: worker,
      id: out,
      spec,
      owns: true,
      isPublished: labels.tags.length > 0,
      labels,
    })
  }

  /** What the parties and the provider of this secret counted since they came together: openings, bytes, shares. */
  traffic(): Promise<GroupStats> {
    return this.group.stats()
  }

  /** The same secret in fresh shares. Local, from seeds that the parties have in common. */
  refresh(): SharedTensor {
    const [result] = this.run('refresh', [])
    return this.recorded(result!, [this], [], (g) => [g])
  }

  /** Shape, encoding and parties; never shares. */
  override toString(): string {
    return `SharedTensor ${showEncoding(this.encoding)} ${showShape(this.shape)} among ${this.group.names}`
  }
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.toString()
  }

  /** @internal Runs an operation composed of several commands, and has its results report what all of them cost. */
  static measured<R>(action: () => R, operands: readonly unknown[]): R {
    const secrets = operands.flat().filter((operand) => operand instanceof SharedTensor)
    const [first] = secrets
    if (first === undefined || isMeasuring) return action()
    const before = first.group.spent
    isMeasuring = true
    try {
      const result = action()
      const after = first.group.spent
      const path = Math.max(...secrets.map((secret) => secret.#path))
      for (const made of [result].flat()) {
        if (!(made instanceof SharedTensor) || secrets.includes(made)) continue
        made.#cost = {
          rounds: made.#path - path,
          bytes: thirds(after.bytes - before.bytes),
          provider: after.provider - before.provider,
        }
      }
      return result
    } finally {
      isMeasuring = false
    }
  }
}

let isMeasuring = false

/** Averages over three parties, without what rounding leaves of their sums. */
const thirds = (bytes: number): number => Math.round(3 * bytes) / 3

/** Whatever gives a tensor reports what it cost, as a whole. */
for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(EncodedTensor.prototype))) {
  if (typeof value !== 'function' || name === 'constructor' || Object.hasOwn(SharedTensor.prototype, name)) continue
  const method = value as (this: SharedTensor, ...args: unknown[]) => unknown
  Object.defineProperty(SharedTensor.prototype, name, {
    value: function (this: SharedTensor, ...args: unknown[]) {
      return SharedTensor.measured(() => method.apply(this, args), [this, ...args])
    },
    configurable: true,
    writable: true,
  })
}
