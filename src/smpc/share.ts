/** Making secrets: of what is here, and of what lives on a worker, whose owner's worker makes the shares itself. */
import { sottoError } from '../errors.ts'
import { checkOptions } from '../options.ts'
import { scope } from '../tensor/context.ts'
import { tf } from '../tensor/engine.ts'
import { type Location, newId } from '../tensor/location.ts'
import { checkLocation, PointerTensor, privacyOf } from '../tensor/pointer.ts'
import { type Shape, sizeOf } from '../tensor/shape.ts'
import { type Encoding, fixedEncoding, INTEGER, type PrecisionOptions, scaleOf, TRUTH } from './encoding.ts'
import { FixedPrecisionPointer, fixPointer } from './fixed-pointer.ts'
import { FixedPrecisionTensor, fixTensor, integersOf } from './fixed-precision.ts'
import { Group, type GroupOptions, tellSecret } from './group.ts'
import './handlers.ts'
import { ringZeros } from './ring/tensor.ts'
import { SharedTensor } from './shared-tensor.ts'
import { sharesOf } from './stored-share.ts'

export interface ShareOptions extends GroupOptions {
  /** Makes the secret a leaf whose gradient is kept. */
  requiresGrad?: boolean
  /** Of a tensor that is here: only this identity, and those allowed, may see it (or its results) opened. */
  private?: boolean
  allow?: readonly string[]
  allowResults?: readonly string[]
}

const GROUP = ['provider', 'protocol'] as const
const RIGHTS = ['private', 'allow', 'allowResults'] as const

/** What can be shared. Floats are fixed first. */
export type Shareable = tf.Tensor | FixedPrecisionTensor | PointerTensor | FixedPrecisionPointer

const floats = (): Error =>
  sottoError('ERR_PRECISION', 'share: floats cannot be shared as they are; call .fixPrecision() first', { op: 'share' })

/**
 * Shares a tensor among workers as a secret. Of a tensor on a worker, that worker makes the shares and sends them; the
 * caller sees none. Returns at once.
 *
 * @throws ArgumentError `ERR_PRECISION` for floats; PlacementError `ERR_PARTIES` for fewer than two parties, one named
 *   twice, or a provider that is a party
 */
export function share(value: Shareable, parties: readonly Location[], options: ShareOptions = {}): SharedTensor {
  const isFar = value instanceof PointerTensor || value instanceof FixedPrecisionPointer
  checkOptions('share', options, isFar ? [...GROUP, 'requiresGrad'] : [...GROUP, 'requiresGrad', ...RIGHTS])
  const group = Group.of('share', parties, options)
  const secret = isFar ? shareThere(value, group) : shareHere(value, group, options)
  return options.requiresGrad ? secret.requireGrad() : secret
}

function shareHere(value: tf.Tensor | FixedPrecisionTensor, group: Group, options: ShareOptions): SharedTensor {
  if (!(value instanceof tf.Tensor) && !(value instanceof FixedPrecisionTensor)) {
    throw sottoError('ERR_ARGUMENT_TYPE', 'share: expected a tensor, here or on a worker')
  }
  if (value instanceof tf.Tensor && value.dtype === 'float32') throw floats()
  const { tensor, encoding } = (value instanceof FixedPrecisionTensor ? value : integersOf('share', value)).publicValue
  const { provider: _, protocol: __, requiresGrad: ___, ...rights } = options
  const privacy = privacyOf(rights)
  const out = newId()
  const shares = sharesOf(tensor, group.parties.length, group.protocol)
  group.tell('secretPut', (index) => ({ group: group.id, out, share: shares[index]!, privacy }))
  return SharedTensor.stored(group, out, tensor.shape, encoding)
}

function shareThere(value: PointerTensor | FixedPrecisionPointer, group: Group): SharedTensor {
  const encoding = encodingOf(value)
  const { location: owner, shape } = value
  const id = value.use('share')
  const { parties, provider } = group
  const to = parties.map((party) => ({ name: party === owner ? owner.id : owner.reach(party), key: newId() }))
  if (provider !== null && provider !== owner) owner.reach(provider)
  const out = newId()
  tellSecret(owner, 'secretShare', {
    group: group.id,
    protocol: group.protocol.name,
    id,
    encoding,
    to,
    provider: provider?.id ?? null,
  })
  group.tell('secretTake', (index) => {
    const party = parties[index]!
    const from = party === owner ? party.id : party.reach(owner)
    return { group: group.id, from, key: to[index]!.key, out, shape }
  })
  return SharedTensor.stored(group, out, shape, encoding)
}

function encodingOf(value: PointerTensor | FixedPrecisionPointer): Encoding {
  if (value instanceof FixedPrecisionPointer) return value.encoding
  if (value.dtype === 'float32') throw floats()
  return value.dtype === 'bool' ? TRUTH : INTEGER
}

export interface NewSecretOptions extends GroupOptions, PrecisionOptions {}

/** A secret of zeros, in fixed precision. */
export function sharedZeros(shape: Shape, parties: readonly Location[], options: NewSecretOptions = {}): SharedTensor {
  const { group, encoding } = forNew('sharedZeros', parties, options)
  return shareHere(new FixedPrecisionTensor(ringZeros(checkShape('sharedZeros', shape)), encoding), group, {})
}

/**
 * A secret that nobody knows, uniform in [0, 1): every party draws words of its own, and the low bits of their sum are
 * what counts. Takes a provider.
 */
export function sharedRandom(shape: Shape, parties: readonly Location[], options: NewSecretOptions = {}): SharedTensor {
  const { group, encoding } = forNew('sharedRandom', parties, options)
  const out = newId()
  checkShape('sharedRandom', shape)
  const seq = group.nextSeq()
  group.tell('secretRandom', () => ({ group: group.id, seq, out, shape }))
  const words = SharedTensor.stored(group, out, shape, INTEGER)
  const result = SharedTensor.measured(() => scope(() => uniformOf(words, encoding)), [words])
  words.dispose()
  return result
}

function uniformOf(words: SharedTensor, encoding: Encoding): SharedTensor {
  // The low bits of uniform words are uniform.
  const isBinary = encoding.base === 2
  const count = isBinary ? encoding.precisionFractional : RANDOM_BITS
  const [bits] = words.run('lowBits', [], { attrs: [count], encodings: [TRUTH] })
  const weights = Array.from({ length: count }, (_, j) => 2 ** j)
  const whole = bits!.mul(weights).sum(-1)
  const [scaled] = isBinary
    ? whole.run('clone', [], { encodings: [encoding] })
    : whole.mul(scaleOf(encoding)).run('clone', [], { divisor: BigInt(2 ** RANDOM_BITS), encodings: [encoding] })
  return scaled!
}

/** Bits that a random number is made of where the scale is no power of two: 30, times a scale below 2^31, fit. */
const RANDOM_BITS = 30

function forNew(entry: string, parties: readonly Location[], options: NewSecretOptions) {
  checkOptions(entry, options, [...GROUP, 'base', 'precisionFractional'])
  const { provider, protocol, ...precision } = options
  const chosen = { ...(provider ? { provider } : {}), ...(protocol ? { protocol } : {}) }
  return { group: Group.of(entry, parties, chosen), encoding: fixedEncoding(entry, precision) }
}

function checkShape(entry: string, shape: unknown): Shape {
  if (Array.isArray(shape) && shape.every((d) => Number.isInteger(d) && d >= 0) && sizeOf(shape) < 2 ** 31) return shape
  throw sottoError('ERR_ARGUMENT_TYPE', `${entry}: expected a shape, such as [2, 3]`, { entry })
}

/**
 * Encodes in fixed precision: base 2 with 16 fractional bits unless said otherwise; a tensor on a worker, there.
 *
 * @throws `ERR_ARGUMENT_VALUE` for NaN, ±Infinity and values beyond ±2^50 / scale; of a tensor on a worker it comes out of
 *   a later get
 */
export function fixPrecision(value: PointerTensor, options?: PrecisionOptions): FixedPrecisionPointer
export function fixPrecision(value: tf.Tensor | tf.TensorLike, options?: PrecisionOptions): FixedPrecisionTensor
export function fixPrecision(
  value: PointerTensor | tf.Tensor | tf.TensorLike,
  options: PrecisionOptions = {},
): FixedPrecisionPointer | FixedPrecisionTensor {
  if (value instanceof PointerTensor) {
    checkLocation('fixPrecision', value.location)
    return fixPointer(value, fixedEncoding('fixPrecision', options))
  }
  return fixTensor(value, options)
}
