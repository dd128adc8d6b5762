/**
 * The long-term key of a worker or a caller: Ed25519 (RFC 8032), by which others know it again.
 *
 * Written as text, keys carry their kind: `ed25519:` and the public key, `ed25519-secret:` and the seed, both in
 * base64url without padding (RFC 4648 §5). A key has one spelling, so that keys may be compared as strings.
 */
import { ED25519_TORSION_SUBGROUP, ed25519 } from '@noble/curves/ed25519.js'
import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js'
import { sottoError } from '../errors.ts'

const PUBLIC = 'ed25519:'
const SECRET = 'ed25519-secret:'
/** Bytes of a seed and of a public key (RFC 8032 §5.1.5). */
const KEY_BYTES = 32

/** What a signature is for. No NUL: it ends the label. */
const LABEL = /^[\x20-\x7e]+$/

const utf8 = new TextEncoder()

/** A key pair. What it shows of itself is the public key. */
export class Identity {
  readonly #seed: Uint8Array
  /** Made when it is first asked for: it takes about a millisecond, and many identities never show it. */
  #key: string | undefined
  /** The seed as OpenSSL has it, which reads it in several times the time of a signature; where there is one. */
  #openssl: import('node:crypto').KeyObject | undefined

  private constructor(seed: Uint8Array) {
    this.#seed = seed
  }

  /** A new identity, of 32 bytes from the system's CSPRNG. */
  static generate(): Identity {
    return new Identity(globalThis.crypto.getRandomValues(new Uint8Array(KEY_BYTES)))
  }

  /**
   * The identity that {@link secret} wrote.
   *
   * @param text `ed25519-secret:` and 43 characters of base64url
   * @throws ValueError `ERR_ARGUMENT_VALUE` for anything else; it does not show the text
   */
  static fromSecret(text: string): Identity {
    const seed = bytesAfter(SECRET, text)
    if (seed === undefined) {
      throw sottoError('ERR_ARGUMENT_VALUE', `"text" expected ${SECRET} and 43 characters of base64url, got other text`)
    }
    return new Identity(seed)
  }

  /** The public key, as text. */
  get key(): string {
    this.#key ??= PUBLIC + toBase64Url(ed25519.getPublicKey(this.#seed))
    return this.#key
  }

  /**
   * Signs utf8(label) ‖ 0x00 ‖ message, so that a signature for one purpose is none for another.
   *
   * @param label printable ASCII, one for each purpose
   * @returns 64 bytes, the same for the same message (RFC 8032 §5.1.6)
   * @throws TypeError or RangeError `ERR_ARGUMENT_TYPE` for a message that is no bytes, `ERR_ARGUMENT_VALUE` for any
   *   other label
   */
  sign(label: string, message: Uint8Array): Uint8Array {
    if (!LABEL.test(label)) {
      throw sottoError('ERR_ARGUMENT_VALUE', `"label" expected printable ASCII, got ${JSON.stringify(label)}`, {
        label,
      })
    }
    const signed = labelled(label, message)
    const crypto = nodeCrypto()
    if (crypto === undefined) return ed25519.sign(signed, this.#seed)
    // The same bytes: RFC 8032 §5.1.6 leaves nothing to chance.
    this.#openssl ??= opensslKey(crypto, this.#seed)
    return Uint8Array.from(crypto.sign(null, signed, this.#openssl))
  }

  /** The secret as text, for a file that nobody else can read. */
  secret(): string {
    return SECRET + toBase64Url(this.#seed)
  }

  toString(): string {
    return this.key
  }
  toJSON(): string {
    return this.key
  }
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return `Identity(${this.key})`
  }
}

/**
 * Whether the owner of a key signed this message for this purpose. Never throws: what is malformed is not signed.
 *
 * Strict (RFC 8032 §5.1.7): a point has one encoding; and a key of small order, under which one signature fits many
 * messages, signs nothing (Chalkias, Garillot, Nikolaenko, "Taming the many EdDSAs", 2020).
 */
export function verify(key: string, label: string, message: Uint8Array, signature: Uint8Array): boolean {
  const point = bytesAfter(PUBLIC, key)
  if (point === undefined || !LABEL.test(label)) return false
  try {
    const signed = labelled(label, message)
    // What OpenSSL takes, under a key that is not one of the few it should refuse, the strict check takes as well.
    if (isPlain(point) && opensslVerifies(point, signed, signature)) return true
    return ed25519.verify(signature, signed, point, { zip215: false })
  } catch {
    return false
  }
}

/** The y of the eight points of small order, with the sign of x cut off. */
const smallOrders = new Set(ED25519_TORSION_SUBGROUP.map((hex) => withoutSign(hexToBytes(hex))))

function withoutSign(point: Uint8Array): string {
  const y = point.slice()
  y[KEY_BYTES - 1]! &= 0x7f
  return bytesToHex(y)
}

/** Whether a key has its one encoding, y below 2^255 − 19, and is not of small order. */
function isPlain(point: Uint8Array): boolean {
  const y = withoutSign(point)
  return !smallOrders.has(y) && !(y.endsWith(`${'ff'.repeat(KEY_BYTES - 2)}7f`) && point[0]! >= 0xed)
}

/** What stands before the 32 bytes of a seed: PKCS #8 (RFC 8410 §7). */
const SECRET_HEAD = [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20]

type NodeCrypto = typeof import('node:crypto')

/** OpenSSL, if this is Node. */
const nodeCrypto = (): NodeCrypto | undefined => globalThis.process?.getBuiltinModule?.('node:crypto')

function opensslKey({ createPrivateKey }: NodeCrypto, seed: Uint8Array) {
  const key = Buffer.concat([Uint8Array.from(SECRET_HEAD), seed])
  try {
    return createPrivateKey({ key, format: 'der', type: 'pkcs8' })
  } finally {
    key.fill(0)
  }
}

/** By OpenSSL, if this is Node: a tenth of the time. It compares points without their cofactor, so it takes less. */
function opensslVerifies(point: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  const crypto = nodeCrypto()
  if (crypto === undefined || signature.length !== 2 * KEY_BYTES) return false
  // A JWK (RFC 8037) is read in a tenth of the time that DER takes, which is more than that of the check itself.
  const key = { kty: 'OKP', crv: 'Ed25519', x: Buffer.from(point).toString('base64url') }
  return crypto.verify(null, message, crypto.createPublicKey({ key, format: 'jwk' }), signature)
}

/** Whether a value has the form of a public key. That someone holds its secret, only a signature shows. */
export function isKey(value: unknown): value is string {
  return typeof value === 'string' && KEY.test(value)
}

/** 32 bytes are 42 characters of six bits, and one of four: its last two are zero. */
const KEY = /^ed25519:[\w-]{42}[AEIMQUYcgkosw048]$/

function labelled(label: string, message: Uint8Array): Uint8Array {
  // A string would become as many zeros as it has characters.
  if (!(message instanceof Uint8Array)) {
    throw sottoError('ERR_ARGUMENT_TYPE', `"message" expected Uint8Array, got ${typeof message}`)
  }
  const head = utf8.encode(`${label}\0`)
  const bytes = new Uint8Array(head.length + message.length)
  bytes.set(head)
  bytes.set(message, head.length)
  return bytes
}

/** The 32 bytes written after a prefix, if that is what the value is. */
function bytesAfter(prefix: string, value: unknown): Uint8Array | undefined {
  if (typeof value !== 'string' || !value.startsWith(prefix)) return undefined
  const bytes = fromBase64Url(value.slice(prefix.length))
  return bytes?.length === KEY_BYTES ? bytes : undefined
}

/** base64url without padding (RFC 4648 §5). */
export function toBase64Url(bytes: Uint8Array): string {
  const characters = Array.from(bytes, (byte) => String.fromCharCode(byte)).join('')
  return btoa(characters).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '')
}

/** The bytes of {@link toBase64Url}; undefined for any text that it does not write, other spellings of bytes too. */
export function fromBase64Url(text: string): Uint8Array | undefined {
  // A remainder of 1 is the length of nothing, and atob throws at it.
  if (!/^[\w-]*$/.test(text) || text.length % 4 === 1) return undefined
  const characters = atob(text.replaceAll('-', '+').replaceAll('_', '/'))
  const bytes = Uint8Array.from(characters, (character) => character.charCodeAt(0))
  return toBase64Url(bytes) === text ? bytes : undefined
}
