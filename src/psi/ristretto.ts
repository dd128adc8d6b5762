/**
 * The group ristretto255 (RFC 9496) by libsodium's WebAssembly: elements are 32 bytes, of which each has one encoding.
 * Scalar multiplication takes the same time for every scalar.
 */
import { sottoError } from '../errors.ts'
import { randomBytes } from './random.ts'

export const POINT = 32
/** Bytes that are mapped to an element. */
export const UNIFORM = 64

type Sodium = typeof import('libsodium-wrappers-sumo')['default']

export interface Ristretto {
  /** A secret scalar, and its inverse. */
  randomScalar(): Uint8Array
  invert(scalar: Uint8Array): Uint8Array
  /** The generator times a scalar. */
  base(scalar: Uint8Array): Uint8Array
  /**
   * @returns undefined for what encodes no element, or the neutral one
   */
  multiply(scalar: Uint8Array, point: Uint8Array): Uint8Array | undefined
  add(a: Uint8Array, b: Uint8Array): Uint8Array
  sub(a: Uint8Array, b: Uint8Array): Uint8Array
  /** The element that 64 uniformly random bytes are mapped to (RFC 9496 §4.3.4). */
  fromUniform(bytes: Uint8Array): Uint8Array
  /** Whether bytes encode an element other than the neutral one. */
  isElement(point: Uint8Array): boolean
}

let loading: Promise<Ristretto> | undefined

/** @throws StateError `ERR_BACKEND` when libsodium cannot be loaded */
export function ristretto(): Promise<Ristretto> {
  loading ??= load()
  return loading
}

async function load(): Promise<Ristretto> {
  let sodium: Sodium
  try {
    sodium = (await import('libsodium-wrappers-sumo')).default
    await sodium.ready
  } catch (cause) {
    throw sottoError('ERR_BACKEND', 'the group ristretto255 needs libsodium-wrappers-sumo', {}, cause)
  }
  const isNeutral = (point: Uint8Array): boolean => point.every((byte) => byte === 0)
  return {
    // libsodium asks for its random bytes four at a time, which takes as long as to multiply by them.
    randomScalar: () => sodium.crypto_core_ristretto255_scalar_reduce(randomBytes(64)),
    invert: (scalar) => sodium.crypto_core_ristretto255_scalar_invert(scalar),
    base: (scalar) => sodium.crypto_scalarmult_ristretto255_base(scalar),
    multiply(scalar, point) {
      try {
        return sodium.crypto_scalarmult_ristretto255(scalar, point)
      } catch {
        return undefined
      }
    },
    add: (a, b) => sodium.crypto_core_ristretto255_add(a, b),
    sub: (a, b) => sodium.crypto_core_ristretto255_sub(a, b),
    fromUniform: (bytes) => sodium.crypto_core_ristretto255_from_hash(bytes),
    isElement: (point) => !isNeutral(point) && sodium.crypto_core_ristretto255_is_valid_point(point),
  }
}
