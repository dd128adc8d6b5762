/** Sealed messages: what the RFCs say, by both ciphers; and a relay that does what it likes with what passes. */
import { createPrivateKey, createPublicKey, diffieHellman, hkdfSync } from 'node:crypto'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { SeededRandom } from '../../src/data/random.ts'
import { isSottoError, type SottoErrorLike } from '../../src/errors.ts'
import { type Aead, ephemeral, Nonces, nativeAead, portableAead, Sealer } from '../../src/worker/transport/seal.ts'

/** Keys as they are derived, to see them erased. */
const { derived } = vi.hoisted(() => ({ derived: [] as { prk?: Uint8Array; key?: Uint8Array; info?: string }[] }))
vi.mock('@noble/hashes/hkdf.js', async (original) => {
  const { extract, expand } = await original<typeof import('@noble/hashes/hkdf.js')>()
  return {
    extract: (...args: Parameters<typeof extract>) => {
      const prk = extract(...args)
      derived.push({ prk })
      return prk
    },
    expand: (...args: Parameters<typeof expand>) => {
      const key = expand(...args)
      derived.push({ key, info: Buffer.from(args[2] as Uint8Array).toString() })
      return key
    },
  }
})
afterEach(() => {
  vi.restoreAllMocks()
  vi.unstubAllGlobals()
})

const bytesOf = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex, 'hex'))
const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)
const random = new SeededRandom(43)
const randomBytes = (length: number): Uint8Array => Uint8Array.from({ length }, () => random.int(256))
const isErased = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === 0)

function failureOf(action: () => unknown): SottoErrorLike {
  try {
    action()
  } catch (error) {
    expect(isSottoError(error), String(error)).toBe(true)
    return error as SottoErrorLike
  }
  throw new Error('it was to fail, and did not')
}

/** RFC 7748 §6.1. */
const diffie = {
  alice: {
    secret: '77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a',
    key: '8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a',
  },
  bob: {
    secret: '5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb',
    key: 'de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f',
  },
  shared: '4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742',
}

/** An ephemeral key whose secret is known: the system's random bytes are these. */
function ephemeralOf(secret: Uint8Array): { made: ReturnType<typeof ephemeral>; held: Uint8Array } {
  let held = new Uint8Array()
  // What is drawn after it blinds the computation.
  const spy = vi.spyOn(globalThis.crypto, 'getRandomValues').mockImplementationOnce((bytes) => {
    held = bytes as unknown as Uint8Array<ArrayBuffer>
    held.set(secret)
    return bytes
  })
  const made = ephemeral()
  spy.mockRestore()
  return { made, held }
}

/** X25519 by OpenSSL (RFC 8410 §7 and §4 around the keys). */
const opensslSecret = (secret: Uint8Array, theirs: Uint8Array): Uint8Array =>
  diffieHellman({
    privateKey: createPrivateKey({
      key: Buffer.concat([bytesOf('302e020100300506032b656e04220420'), secret]),
      format: 'der',
      type: 'pkcs8',
    }),
    publicKey: createPublicKey({
      key: Buffer.concat([bytesOf('302a300506032b656e032100'), theirs]),
      format: 'der',
      type: 'spki',
    }),
  })

describe('an ephemeral key', () => {
  it('agrees as RFC 7748 §6.1 has it', () => {
    const alice = ephemeralOf(bytesOf(diffie.alice.secret)).made
    const bob = ephemeralOf(bytesOf(diffie.bob.secret)).made
    expect(hexOf(alice.publicKey)).toBe(diffie.alice.key)
    expect(hexOf(bob.publicKey)).toBe(diffie.bob.key)
    expect(hexOf(alice.agree(bob.publicKey))).toBe(diffie.shared)
    expect(hexOf(bob.agree(alice.publicKey))).toBe(diffie.shared)
  })

  it('agrees as OpenSSL does', () => {
    for (let i = 0; i < 5; i++) {
      const secret = randomBytes(32)
      const other = ephemeral()
      expect(hexOf(ephemeralOf(secret).made.agree(other.publicKey))).toBe(hexOf(opensslSecret(secret, other.publicKey)))
    }
  })

  it('is another each time', () => {
    const [a, b] = [ephemeral(), ephemeral()]
    expect(a.publicKey.length).toBe(32)
    expect(hexOf(a.publicKey)).not.toBe(hexOf(b.publicKey))
    expect(hexOf(a.agree(b.publicKey))).toBe(hexOf(b.agree(a.publicKey)))
  })

  it('agrees once, and its secret is erased then', () => {
    const { made, held } = ephemeralOf(bytesOf(diffie.alice.secret))
    expect(hexOf(held)).toBe(hexOf(bytesOf(diffie.alice.secret)))
    made.agree(bytesOf(diffie.bob.key))
    expect(isErased(held)).toBe(true)
    expect(failureOf(() => made.agree(bytesOf(diffie.bob.key))).code).toBe('ERR_USED_TWICE')
  })

  /** Every u of low order below 2^255, and the two that are not reduced (D. J. Bernstein, cr.yp.to/ecdh.html). */
  const lowOrder = [
    '0000000000000000000000000000000000000000000000000000000000000000',
    '0100000000000000000000000000000000000000000000000000000000000000',
    'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
    '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
    'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
    'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
    'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  ]
  it.each(lowOrder)('refuses a point of low order, by both spellings, and erases its secret: %s', (hex) => {
    for (const high of [0, 0x80]) {
      const point = bytesOf(hex)
      point[31]! |= high
      const { made, held } = ephemeralOf(randomBytes(32))
      expect(failureOf(() => made.agree(point)).code).toBe('ERR_IDENTITY')
      expect(isErased(held)).toBe(true)
      expect(failureOf(() => made.agree(ephemeral().publicKey)).code).toBe('ERR_USED_TWICE')
    }
  })

  it('refuses what is no key', () => {
    for (const wrong of [new Uint8Array(0), new Uint8Array(31).fill(9), new Uint8Array(33).fill(9), undefined, 'key']) {
      expect(failureOf(() => ephemeral().agree(wrong as never)).code).toBe('ERR_IDENTITY')
    }
  })
})

describe('the derivation of keys', () => {
  it('is by an HKDF that gives test case 1 of RFC 5869 A.1', async () => {
    const { extract, expand } = await import('@noble/hashes/hkdf.js')
    const { sha256 } = await import('@noble/hashes/sha2.js')
    const prk = extract(sha256, new Uint8Array(22).fill(0x0b), bytesOf('000102030405060708090a0b0c'))
    expect(hexOf(prk)).toBe('077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5')
    expect(hexOf(expand(sha256, prk, bytesOf('f0f1f2f3f4f5f6f7f8f9'), 42))).toBe(
      '3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865',
    )
  })

  it('has a key for each direction, of secret, transcript and label', async () => {
    const { createHash } = await import('node:crypto')
    const [secret, transcript] = [randomBytes(32), randomBytes(200)]
    derived.length = 0
    new Sealer({ secret, transcript, initiator: true })
    const salt = createHash('sha256').update(transcript).digest()
    const keys = derived.filter(({ key }) => key !== undefined)
    expect(keys.map(({ info }) => info)).toEqual(['sotto seal 1: from initiator', 'sotto seal 1: from responder'])
    for (const { key, info } of keys) {
      expect(hexOf(key!)).toBe(hexOf(new Uint8Array(hkdfSync('sha256', secret, salt, info!, 32))))
    }
  })

  it('leaves the secret to the caller, and erases what it was derived by', () => {
    const secret = randomBytes(32)
    const before = hexOf(secret)
    derived.length = 0
    new Sealer({ secret, transcript: utf8('t'), initiator: false })
    expect(hexOf(secret)).toBe(before)
    expect(isErased(derived[0]!.prk!)).toBe(true)
    expect(derived.slice(1).some(({ key }) => isErased(key!))).toBe(false)
  })

  it.each([
    ['none', new Uint8Array(0)],
    ['a short one', new Uint8Array(31).fill(1)],
    ['one that was erased', new Uint8Array(32)],
  ])('refuses a secret that is none: %s', (_, secret) => {
    expect(failureOf(() => new Sealer({ secret, transcript: utf8('t'), initiator: true })).code).toBe(
      'ERR_ARGUMENT_VALUE',
    )
  })
})

const ciphers: readonly (readonly [string, Aead])[] = [
  ['portable', portableAead],
  ['native', nativeAead()!],
]
describe.each(ciphers)('ChaCha20-Poly1305, %s', (_, aead) => {
  const key = Uint8Array.from({ length: 32 }, (_, i) => 0x80 + i)
  const nonce = bytesOf('070000004041424344454647')
  const associated = bytesOf('50515253c0c1c2c3c4c5c6c7')
  const plaintext = utf8(
    "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.",
  )
  const sealed =
    'd31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6' +
    '3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36' +
    '92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc' +
    '3ff4def08e4b7a9de576d26586cec64b6116' +
    '1ae10b594f09e26a7e902ecbd0600691'

  it('seals the example of RFC 8439 §2.8.2, and opens it', () => {
    expect(hexOf(aead.encrypt(key, nonce, plaintext, associated))).toBe(sealed)
    expect(aead.decrypt(key, nonce, bytesOf(sealed), associated)).toEqual(plaintext)
  })

  it('opens nothing that was changed: text, tag, nonce, key, what goes with it, or length', () => {
    const change = (bytes: Uint8Array, at: number): Uint8Array => {
      const changed = Uint8Array.from(bytes)
      changed[at]! ^= 0x80
      return changed
    }
    const right = bytesOf(sealed)
    for (const at of [0, 60, 113, 114, 129])
      expect(aead.decrypt(key, nonce, change(right, at), associated)).toBeUndefined()
    expect(aead.decrypt(change(key, 31), nonce, right, associated)).toBeUndefined()
    expect(aead.decrypt(key, change(nonce, 0), right, associated)).toBeUndefined()
    expect(aead.decrypt(key, nonce, right, change(associated, 0))).toBeUndefined()
    expect(aead.decrypt(key, nonce, right)).toBeUndefined()
    for (const end of [0, 1, 15, 16, 17, 129]) {
      expect(aead.decrypt(key, nonce, right.subarray(0, end), associated)).toBeUndefined()
    }
    expect(aead.decrypt(key, nonce, right, associated)).toEqual(plaintext)
  })

  it('changes nothing that it is given, and gives memory of its own', () => {
    const text = Uint8Array.from(plaintext)
    const out = aead.encrypt(key, nonce, text)
    const copy = Uint8Array.from(out)
    const back = aead.decrypt(key, nonce, out)!
    expect([out, text]).toEqual([copy, plaintext])
    expect([out.buffer === text.buffer, back.buffer === out.buffer]).toEqual([false, false])
    expect([out, back].map((bytes) => bytes.constructor)).toEqual([Uint8Array, Uint8Array])
  })
})

describe('the two ciphers', () => {
  const native = nativeAead()!

  it('give the same bytes and open what the other sealed, at any length and offset', () => {
    for (const length of [0, 1, 15, 16, 17, 63, 64, 65, 255, 1000, 65_535, 65_536, 65_537, 200_001]) {
      const offset = length % 5
      const [key, nonce] = [randomBytes(32), randomBytes(12)]
      const plaintext = new Uint8Array(length + offset).map((_, i) => i * 31).subarray(offset)
      const sealed = native.encrypt(key, nonce, plaintext)
      expect(sealed.length).toBe(length + 16)
      expect(Buffer.compare(sealed, portableAead.encrypt(key, nonce, plaintext)), `${length} bytes`).toBe(0)
      const shifted = new Uint8Array(sealed.length + 3).subarray(3)
      shifted.set(sealed)
      expect(Buffer.compare(native.decrypt(key, nonce, shifted)!, plaintext)).toBe(0)
      expect(Buffer.compare(portableAead.decrypt(key, nonce, shifted)!, plaintext)).toBe(0)
    }
  })

  it('understand each other: where there is no node:crypto, a sealer does without', async () => {
    const secret = randomBytes(32)
    const transcript = utf8('hello')
    const here = new Sealer({ secret, transcript, initiator: true })
    vi.stubGlobal('process', { ...process, getBuiltinModule: undefined })
    expect(nativeAead()).toBeUndefined()
    vi.resetModules()
    const elsewhere = await import('../../src/worker/transport/seal.ts')
    const there = new elsewhere.Sealer({ secret, transcript, initiator: false })
    const encrypted = vi.spyOn(elsewhere.portableAead, 'encrypt')
    for (const text of ['one', '', 'three']) {
      expect(there.open(here.seal(utf8(text)))).toEqual(utf8(text))
      expect(here.open(there.seal(utf8(text)))).toEqual(utf8(text))
    }
    expect(encrypted).toHaveBeenCalledTimes(3)
  })

  it('are not both asked: where OpenSSL does not know the cipher, the portable one serves', () => {
    vi.stubGlobal('process', { getBuiltinModule: () => ({ getCiphers: () => ['aes-256-gcm'] }) })
    expect(nativeAead()).toBeUndefined()
    vi.stubGlobal('process', undefined)
    expect(nativeAead()).toBeUndefined()
  })
})

describe('nonces', () => {
  it('count from 0 in 12 bytes, little-endian', () => {
    const nonces = new Nonces()
    expect([0, 1, 2].map(() => hexOf(nonces.next()))).toEqual([
      '000000000000000000000000',
      '010000000000000000000000',
      '020000000000000000000000',
    ])
    expect(hexOf(new Nonces(2 ** 32 + 0x0a0b).next())).toBe('0b0a00000100000000000000')
  })

  it('end after 2^48, and do not begin anew', () => {
    const nonces = new Nonces(2 ** 48 - 2)
    expect(hexOf(nonces.next())).toBe('feffffffffff000000000000')
    expect(hexOf(nonces.next())).toBe('ffffffffffff000000000000')
    for (let i = 0; i < 3; i++) expect(failureOf(() => nonces.next()).code).toBe('ERR_LIMIT')
  })
})

describe('a sealed connection', () => {
  /** Two ends that have agreed. */
  function ends(theirTranscript = 'said before'): [Sealer, Sealer] {
    const [a, b] = [ephemeral(), ephemeral()]
    return [
      new Sealer({ secret: a.agree(b.publicKey), transcript: utf8('said before'), initiator: true }),
      new Sealer({ secret: b.agree(a.publicKey), transcript: utf8(theirTranscript), initiator: false }),
    ]
  }
  /** Two ends without the work of agreeing. */
  function twins(): [Sealer, Sealer] {
    const options = { secret: randomBytes(32), transcript: utf8('said before') }
    return [new Sealer({ ...options, initiator: true }), new Sealer({ ...options, initiator: false })]
  }
  const expectBroken = (sealer: Sealer, action: () => unknown) => {
    expect(failureOf(action).code).toBe('ERR_PROTOCOL')
    expect(failureOf(() => sealer.seal(utf8('more'))).code).toBe('ERR_PROTOCOL')
    expect(failureOf(() => sealer.open(new Uint8Array(40))).code).toBe('ERR_PROTOCOL')
  }

  it('carries messages both ways at once, each as it was', () => {
    const [alice, bob] = ends()
    const messages = Array.from({ length: 200 }, () => randomBytes(random.int(300)))
    const there = messages.map((message) => alice.seal(message))
    const back = messages.map((message) => bob.seal(message))
    expect(there.map((sealed) => bob.open(sealed))).toEqual(messages)
    expect(back.map((sealed) => alice.open(sealed))).toEqual(messages)
  })

  it('shows a relay nothing of a message but its length', () => {
    const [alice, bob] = ends()
    const message = utf8('a message that says what it says, twice: a message that says what it says')
    const sealed = [alice.seal(message), alice.seal(message), bob.seal(message)]
    expect(sealed.map(({ length }) => length)).toEqual([0, 1, 2].map(() => message.length + 16))
    const pieces = (bytes: Uint8Array) =>
      Array.from({ length: bytes.length - 3 }, (_, i) => hexOf(bytes.slice(i, i + 4)))
    const seen = [message, ...sealed].map(pieces)
    // The check finds what is there: the message holds the same words twice.
    expect(new Set(seen[0]).size).toBeLessThan(seen[0]!.length)
    expect(new Set(seen.slice(1).flat()).size).toBe(seen.slice(1).flat().length)
    expect(
      seen
        .slice(1)
        .flat()
        .filter((piece) => seen[0]!.includes(piece)),
    ).toEqual([])
  })

  /** Of three messages sealed by the other end: how many arrive as they should, and what comes then. */
  const relays: readonly (readonly [string, number, (sealed: Uint8Array[], own: Uint8Array) => Uint8Array])[] = [
    ['replayed', 1, ([first]) => first!],
    ['replayed later', 2, ([first]) => first!],
    ['moved up by one that was dropped', 0, ([, second]) => second!],
    ['moved up by another', 1, ([, , third]) => third!],
    ['sent back', 0, (_, own) => own],
    ['made up', 1, () => new Uint8Array(50).fill(1)],
    ['cut short', 1, ([, second]) => second!.subarray(0, -1)],
    ['lengthened', 1, ([, second]) => Buffer.concat([second!, Buffer.of(0)])],
    ['shorter than a tag', 1, () => new Uint8Array(15)],
    ['empty', 1, () => new Uint8Array(0)],
  ]
  it.each(relays)('breaks at a message that was %s, and stays so', (_, good, relay) => {
    const [alice, bob] = twins()
    const own = bob.seal(utf8('own'))
    const sealed = ['one', 'two', 'six'].map((text) => alice.seal(utf8(text)))
    for (const message of sealed.slice(0, good)) bob.open(message)
    expectBroken(bob, () => bob.open(relay(sealed, own)))
    // The very message that was due comes too late.
    expect(failureOf(() => bob.open(sealed[good]!)).code).toBe('ERR_PROTOCOL')
    // The other end knows nothing of it.
    expect(alice.open(own)).toEqual(utf8('own'))
  })

  it('breaks at a message with any one bit changed', () => {
    for (let bit = 0; bit < 8 * (10 + 16); bit++) {
      const [alice, bob] = twins()
      const sealed = alice.seal(new Uint8Array(10))
      sealed[bit >> 3]! ^= 1 << (bit & 7)
      expectBroken(bob, () => bob.open(sealed))
    }
  })

  it('is none between ends that heard different things before, or both think that they began', () => {
    const [alice, bob] = ends('said otherwise')
    expectBroken(bob, () => bob.open(alice.seal(utf8('x'))))
    const options = { secret: randomBytes(32), transcript: utf8('t'), initiator: true }
    const [one, other] = [new Sealer(options), new Sealer(options)]
    expectBroken(other, () => other.open(one.seal(utf8('x'))))
  })

  it('erases its keys when it breaks, and when it is closed', () => {
    derived.length = 0
    const [alice, bob] = twins()
    const [ofAlice, ofBob] = [derived.slice(1, 3), derived.slice(4, 6)].map((list) => list.map(({ key }) => key!))
    expect([...ofAlice!, ...ofBob!].some(isErased)).toBe(false)
    expectBroken(bob, () => bob.open(new Uint8Array(20)))
    expect(ofBob!.map(isErased)).toEqual([true, true])
    expect(ofAlice!.map(isErased)).toEqual([false, false])
    alice.close()
    expect(ofAlice!.map(isErased)).toEqual([true, true])
    expect(failureOf(() => alice.seal(utf8('x'))).code).toBe('ERR_SESSION_CLOSED')
    expect(failureOf(() => alice.open(new Uint8Array(20))).code).toBe('ERR_SESSION_CLOSED')
    alice.close()
  })
})
