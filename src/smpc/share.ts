/** Making secrets: of what is here, and of what lives on a worker, whose owner's worker makes the shares itself. */
import { sottoError } from '../errors.ts'
import { checkOptions } from '../options.ts'
import { scope } from '../tensor/context.ts'
import { tf } from '../tensor/engine.ts'
import { type Location, newId } from '../tensor/location.ts'
import { checkLocation, PointerTensor, privacyOf } from '../tensor/pointer.ts'
import { type Shape, sizeOf } from '../tensor/shape.ts'
import {
  checkRing,
  type Encoding,
  fixedEncoding,
  INTEGER,
  PRECISION,
  type PrecisionOptions,
  scaleOf,
  TRUTH,
  widened,
} from './encoding.ts'
import { FixedPrecisionPointer, fixPointer } from './fixed-pointer.ts'
import { FixedPrecisionTensor, fixTensor, integersOf } from './fixed-precision.ts'
import { Group, type GroupOptions, tellSecret } from './group.ts'
import './handlers.ts'
import { wholeNumbers, widenedTo } from './literals.ts'
import type { RingBits } from './ring/kernels.ts'
import { ringZeros } from './ring/tensor.ts'
import { SharedTensor } from './shared-tensor.ts'
import { sharesOf } from './stored-share.ts'

export interface ShareOptions extends GroupOptions {
  /**
   * Bits of what parties compute with: those of the encoding unless given; of 64 bits, also 128. Numbers take on the wider
   * ring as they are; of fixed precision in base 2, with 32 fractional bits.
   */
  ring?: RingBits
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
 * @throws ArgumentError `ERR_PRECISION` for floats, and for a ring narrower than the encoding's; PlacementError `ERR_PARTIES` for fewer than two parties, one named
 *   twice, or a provider that is a party
 */
export function share(value: Shareable, parties: readonly Location[], options: ShareOptions = {}): SharedTensor {
  const isFar = value instanceof PointerTensor || value instanceof FixedPrecisionPointer
  const known = [...GROUP, 'ring', 'requiresGrad']
  checkOptions('share', options, isFar ? known : [...known, ...RIGHTS])
  const own = encodingOf(value)
  const encoding = options.ring === undefined ? own : widened('share', own, checkRing('share', options.ring))
  const group = Group.of('share', parties, options, encoding.ring)
  const secret = isFar ? shareThere(value, group, encoding) : shareHere(value as Here, group, encoding, options)
  return options.requiresGrad ? secret.requireGrad() : secret
}

type Here = tf.Tensor | FixedPrecisionTensor

function shareHere(value: Here, group: Group, encoding: Encoding, options: ShareOptions): SharedTensor {
  const known = value instanceof FixedPrecisionTensor ? value : integersOf('share', value, encoding.ring)
  const tensor = widenedTo('share', known.publicValue, encoding)
  const { provider: _, protocol: __, requiresGrad: ___, ring: ____, ...rights } = options
  const privacy = privacyOf(rights)
  const out = newId()
  const shares = sharesOf(tensor, group.parties.length, group.protocol)
  group.tell('secretPut', (index) => ({ group: group.id, out, share: shares[index]!, privacy }))
  return SharedTensor.stored(group, out, tensor.shape, encoding)
}

function shareThere(value: PointerTensor | FixedPrecisionPointer, group: Group, encoding: Encoding): SharedTensor {
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

function encodingOf(value: Shareable): Encoding {
  if (value instanceof FixedPrecisionPointer || value instanceof FixedPrecisionTensor) return value.encoding
  if (!(value instanceof PointerTensor || value instanceof tf.Tensor)) {
    throw sottoError('ERR_ARGUMENT_TYPE', 'share: expected a tensor, here or on a worker')
  }
  if (value.dtype === 'float32') throw floats()
  return (value.dtype === 'bool' ? TRUTH : INTEGER)[64]
}

export interface NewSecretOptions extends GroupOptions, PrecisionOptions {}

/** A secret of zeros, in fixed precision. */
export function sharedZeros(shape: Shape, parties: readonly Location[], options: NewSecretOptions = {}): SharedTensor {
  const { group, encoding } = forNew('sharedZeros', parties, options)
  const zeros = ringZeros(encoding.ring, checkShape('sharedZeros', shape))
  return shareHere(new FixedPrecisionTensor(zeros, encoding), group, encoding, {})
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
  const words = SharedTensor.stored(group, out, shape, INTEGER[encoding.ring])
  const result = SharedTensor.measured(() => scope(() => uniformOf(words, encoding)), [words])
  words.dispose()
  return result
}

function uniformOf(words: SharedTensor, encoding: Encoding): SharedTensor {
  // The low bits of uniform words are uniform.
  const isBinary = encoding.base === 2
  const count = isBinary ? encoding.precisionFractional : RANDOM_BITS
  const [bits] = words.run('lowBits', [], { attrs: [count], encodings: [TRUTH[encoding.ring]] })
  const weights = Array.from({ length: count }, (_, j) => 1n << BigInt(j))
  const { ring } = encoding
  const [weighted] = bits!.run('mul', [wholeNumbers(ring, [count], weights)], { encodings: [INTEGER[ring]] })
  const whole = weighted!.sum(-1)
  const [scaled] = isBinary
    ? whole.run('clone', [], { encodings: [encoding] })
    : whole.mul(scaleOf(encoding)).run('clone', [], { divisor: BigInt(2 ** RANDOM_BITS), encodings: [encoding] })
  return scaled!
}

/** Bits that a random number is made of where the scale is no power of two: 30, times a scale below 2^31, fit. */
const RANDOM_BITS = 30

function forNew(entry: string, parties: readonly Location[], options: NewSecretOptions) {
  checkOptions(entry, options, [...GROUP, ...PRECISION])
  const { provider, protocol, ...precision } = options
  const chosen = { ...(provider ? { provider } : {}), ...(protocol ? { protocol } : {}) }
  const encoding = fixedEncoding(entry, precision)
  return { group: Group.of(entry, parties, chosen, encoding.ring), encoding }
}

function checkShape(entry: string, shape: unknown): Shape {
  if (Array.isArray(shape) && shape.every((d) => Number.isInteger(d) && d >= 0) && sizeOf(shape) < 2 ** 31) return shape
  throw sottoError('ERR_ARGUMENT_TYPE', `${entry}: expected a shape, such as [2, 3]`, { entry })
}

/**
 * Encodes in fixed precision: base 2 with 16 fractional bits unless said otherwise, in integers of 64 bits; with
 * `ring: 128`, in such of 128 and with 32 fractional bits. A tensor on a worker, there.
 *
 * @throws `ERR_ARGUMENT_VALUE` for NaN, ±Infinity and values beyond ±2^50 / scale, of 128 bits ±2^64 / scale; of a tensor
 *   on a worker it comes out of a later get
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
