/** Long-term keys: what RFC 8032 says, what a signature is good for, and what an identity shows of itself. */
import { createPrivateKey, sign as signOpenssl } from 'node:crypto'
import { inspect } from 'node:util'
import { ed25519 } from '@noble/curves/ed25519.js'
import { describe, expect, it, vi } from 'vitest'
import { SeededRandom } from '../../src/data/random.ts'
import { isSottoError } from '../../src/errors.ts'
import { fromBase64Url, Identity, isKey, toBase64Url, verify } from '../../src/worker/identity.ts'

/** The library's object is frozen: a copy of it, whose calls can be counted. */
const { getPublicKey } = vi.hoisted(() => ({ getPublicKey: vi.fn() }))
vi.mock('@noble/curves/ed25519.js', async (original) => {
  const curves = await original<typeof import('@noble/curves/ed25519.js')>()
  getPublicKey.mockImplementation(curves.ed25519.getPublicKey)
  return { ...curves, ed25519: { ...curves.ed25519, getPublicKey } }
})

const bytesOf = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex, 'hex'))
const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)
const random = new SeededRandom(41)
const randomBytes = (length: number): Uint8Array => Uint8Array.from({ length }, () => random.int(256))

/** RFC 8032 §7.1: TEST 1, 2 and 3. */
const vectors = [
  {
    secret: '9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60',
    key: 'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a',
    message: '',
    signature:
      'e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155' +
      '5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b',
  },
  {
    secret: '4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb',
    key: '3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c',
    message: '72',
    signature:
      '92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da' +
      '085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00',
  },
  {
    secret: 'c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7',
    key: 'fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025',
    message: 'af82',
    signature:
      '6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac' +
      '18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a',
  },
]
const identityOf = (seed: Uint8Array): Identity => Identity.fromSecret(`ed25519-secret:${toBase64Url(seed)}`)
const keyOf = (point: Uint8Array): string => `ed25519:${toBase64Url(point)}`

/** What OpenSSL signs: PKCS #8 (RFC 8410 §7) around the seed. */
function opensslSignature(seed: Uint8Array, message: Uint8Array): Uint8Array {
  const der = Buffer.concat([bytesOf('302e020100300506032b657004220420'), seed])
  return signOpenssl(null, message, createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }))
}

function failureOf(action: () => unknown): Error & { code: string } {
  try {
    action()
  } catch (error) {
    expect(isSottoError(error), String(error)).toBe(true)
    return error as Error & { code: string }
  }
  throw new Error('it was to fail, and did not')
}

describe('an identity', () => {
  it.each(vectors)('has the key of RFC 8032 §7.1: $key', ({ secret, key }) => {
    expect(identityOf(bytesOf(secret)).key).toBe(keyOf(bytesOf(key)))
  })

  it.each(vectors)('signs by a curve that gives the signature of RFC 8032 §7.1: $signature', (vector) => {
    expect(hexOf(ed25519.sign(bytesOf(vector.message), bytesOf(vector.secret)))).toBe(vector.signature)
    expect(hexOf(opensslSignature(bytesOf(vector.secret), bytesOf(vector.message)))).toBe(vector.signature)
  })

  it('signs label, zero and message, as OpenSSL does', () => {
    for (const length of [0, 1, 100, 1000]) {
      const [seed, message] = [randomBytes(32), randomBytes(length)]
      const signature = identityOf(seed).sign('a label', message)
      expect(signature.length).toBe(64)
      expect(hexOf(signature)).toBe(hexOf(opensslSignature(seed, Buffer.concat([utf8('a label\0'), message]))))
    }
  })

  it('comes back from its secret, with the same key', () => {
    const identity = Identity.generate()
    const again = Identity.fromSecret(identity.secret())
    expect(again.key).toBe(identity.key)
    expect(again.secret()).toBe(identity.secret())
    expect(verify(identity.key, 'test', utf8('x'), again.sign('test', utf8('x')))).toBe(true)
  })

  it('is another each time', () => {
    const keys = Array.from({ length: 5 }, () => Identity.generate().key)
    expect(new Set(keys).size).toBe(5)
    expect(keys.every(isKey)).toBe(true)
  })

  it('computes its key when it is first asked for, and once', () => {
    getPublicKey.mockClear()
    const identity = Identity.generate()
    identity.secret()
    expect(getPublicKey).not.toHaveBeenCalled()
    const { key } = identity
    expect(identity.key).toBe(key)
    expect(String(identity)).toBe(key)
    expect(getPublicKey).toHaveBeenCalledTimes(1)
  })

  it('shows its public key only', () => {
    const identity = Identity.generate()
    const secret = identity.secret().slice('ed25519-secret:'.length)
    expect(`${identity}`).toBe(identity.key)
    expect(JSON.stringify({ identity })).toBe(JSON.stringify({ identity: identity.key }))
    expect(inspect([identity], { breakLength: 200 })).toBe(`[ Identity(${identity.key}) ]`)
    const shown = [String(identity), JSON.stringify(identity), inspect(identity, { showHidden: true, depth: 9 })]
    expect(shown.join()).not.toContain(secret)
    expect(inspect(identity, { customInspect: false, showHidden: true })).not.toContain(secret)
    expect(Object.keys(identity)).toEqual([])
    expect(identity.secret()).toContain(secret)
  })

  const { secret } = vectors[0]!
  const text = `ed25519-secret:${toBase64Url(bytesOf(secret))}`
  it.each([
    ['nothing', ''],
    ['no prefix', text.slice('ed25519-secret:'.length)],
    ['the prefix of public keys', text.replace('-secret', '')],
    ['one character less', text.slice(0, -1)],
    ['one character more', `${text}A`],
    ['padding', `${text}=`],
    ['white space', `${text} `],
    ['another spelling of the last bits', `${text.slice(0, -1)}B`],
    ['characters of plain base64', `${text.slice(0, -5)}+/+/A`],
    ['hexadecimal', `ed25519-secret:${secret}`],
  ])('is not made of a secret with %s, and the error does not show it', (_, wrong) => {
    expect(Identity.fromSecret(text).secret()).toBe(text)
    const error = failureOf(() => Identity.fromSecret(wrong))
    expect(error.code).toBe('ERR_ARGUMENT_VALUE')
    if (wrong !== '') expect(inspect(error)).not.toContain(wrong.slice(-30))
  })

  it('is not made of what is no text', () => {
    for (const wrong of [undefined, null, 5, {}, new Uint8Array(32)]) {
      expect(failureOf(() => Identity.fromSecret(wrong as never)).code).toBe('ERR_ARGUMENT_VALUE')
    }
  })

  it.each(['', 'a\0b', 'é', 'line\n'])('refuses %j as a label', (label) => {
    const identity = Identity.generate()
    expect(failureOf(() => identity.sign(label, utf8('x'))).code).toBe('ERR_ARGUMENT_VALUE')
    expect(verify(identity.key, label, utf8('x'), new Uint8Array(64))).toBe(false)
  })

  it('refuses to sign a string, of which a copy would be zeros', () => {
    expect(failureOf(() => Identity.generate().sign('test', 'text' as never)).code).toBe('ERR_ARGUMENT_TYPE')
  })
})

describe('a signature', () => {
  const identity = identityOf(randomBytes(32))
  const message = randomBytes(40)
  const signature = identity.sign('one', message)

  it('is good for its key, label and message', () => {
    expect(verify(identity.key, 'one', message, signature)).toBe(true)
    expect(verify(identity.key, 'one', Uint8Array.from(message), Buffer.from(signature))).toBe(true)
  })

  it('is none for another purpose, message or key', () => {
    expect(verify(identity.key, 'two', message, signature)).toBe(false)
    expect(verify(identity.key, 'on', Buffer.concat([utf8('e'), message]), signature)).toBe(false)
    expect(verify(identity.key, 'one', message.subarray(1), signature)).toBe(false)
    expect(verify(Identity.generate().key, 'one', message, signature)).toBe(false)
  })

  it('is none after a change of any one of its bytes', () => {
    for (let at = 0; at < 64; at += 7) {
      const changed = Uint8Array.from(signature)
      changed[at]! ^= 1 << (at % 8)
      expect(verify(identity.key, 'one', message, changed), `byte ${at}`).toBe(false)
    }
  })

  it('has one form: the order of the group, added to its scalar, makes it none', () => {
    // RFC 8032 §5.1.7: S is below L = 2^252 + 27742317777372353535851937790883648493.
    const order = 2n ** 252n + 27742317777372353535851937790883648493n
    const scalar = BigInt(`0x${hexOf(Uint8Array.from(signature.subarray(32)).reverse())}`) + order
    const malleated = Uint8Array.from(signature)
    malleated.set(bytesOf(scalar.toString(16).padStart(64, '0')).reverse(), 32)
    expect(verify(identity.key, 'one', message, malleated)).toBe(false)
  })

  it('is none under a key of small order, which by lenient rules signed everything', () => {
    const point = Uint8Array.from({ length: 32 }, (_, i) => Number(i === 0))
    const forged = Uint8Array.from({ length: 64 }, (_, i) => Number(i === 0))
    expect(ed25519.verify(forged, utf8('one\0anything'), point, { zip215: true })).toBe(true)
    expect(verify(keyOf(point), 'one', utf8('anything'), forged)).toBe(false)
  })

  it('is none, and throws nothing, when anything is malformed', () => {
    const wrong: unknown[] = [undefined, null, 0, '', 'x', {}, [], new Uint8Array(0), new Uint8Array(63), () => 0]
    for (const value of wrong) {
      expect(verify(value as never, 'one', message, signature)).toBe(false)
      expect(verify(identity.key, value as never, message, signature)).toBe(false)
      expect(verify(identity.key, 'one', value as never, signature)).toBe(false)
      expect(verify(identity.key, 'one', message, value as never)).toBe(false)
    }
    // No point of the curve has these for its y: half of all encodings.
    for (let i = 0; i < 10; i++) expect(verify(keyOf(randomBytes(32)), 'one', message, signature)).toBe(false)
  })
})

describe('isKey', () => {
  it('takes public keys as they are written, and nothing else', () => {
    const { key } = Identity.generate()
    expect(isKey(key)).toBe(true)
    const wrong = ['', 'ed25519:', key.slice(8), key.slice(0, -1), `${key}A`, `${key}=`, ` ${key}`, key.toUpperCase()]
    for (const value of [...wrong, Identity.generate().secret(), undefined, null, 1, {}, [key], Object(key)]) {
      expect(isKey(value), String(value)).toBe(false)
    }
  })

  it('takes one of the spellings that a lenient reader takes for the same bytes', () => {
    const bytes = randomBytes(32)
    const text = toBase64Url(bytes)
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
    const spellings = [...alphabet]
      .map((last) => text.slice(0, -1) + last)
      .filter((spelling) => Buffer.from(spelling, 'base64url').equals(bytes))
    expect(spellings.length).toBe(4)
    expect(spellings.filter((spelling) => isKey(`ed25519:${spelling}`))).toEqual([text])
  })
})

describe('base64url', () => {
  it('is written as RFC 4648 §5 has it, and read back, at every length', () => {
    for (let length = 0; length < 70; length++) {
      const bytes = randomBytes(length)
      const text = toBase64Url(bytes)
      expect(text).toBe(Buffer.from(bytes).toString('base64url'))
      expect(fromBase64Url(text)).toEqual(bytes)
    }
    expect(fromBase64Url('-_-_')).toEqual(bytesOf('fbffbf'))
  })

  it.each(['A', 'AAAAA', 'AA==', 'A A', '+/+/', 'AB', 'é', 'AAAA\n'])('does not read %j', (text) => {
    expect(fromBase64Url(text)).toBeUndefined()
  })
})

describe('without OpenSSL', () => {
  it('a signature has the same bytes, and is good or not for the same reasons', () => {
    const identity = identityOf(randomBytes(32))
    const message = randomBytes(50)
    const signature = identity.sign('test', message)
    // y = 1 and y = 1 + p: of small order, and the other spelling of it; R = B and S = 1 would fit every message.
    const forged = bytesOf(`58${'66'.repeat(31)}01${'00'.repeat(31)}`)
    const small = ['01', 'ee'].map((first) =>
      keyOf(bytesOf(first + (first === '01' ? '00'.repeat(31) : `${'ff'.repeat(30)}7f`))),
    )
    const wrong = signature.map((byte, i) => (i === 40 ? byte ^ 1 : byte))
    const verdicts = () => [
      verify(identity.key, 'test', message, signature),
      verify(identity.key, 'test', message, wrong),
      verify(identity.key, 'other', message, signature),
      ...small.map((key) => verify(key, 'test', message, forged)),
    ]
    const before = verdicts()
    expect(before).toEqual([true, false, false, false, false])
    const { getBuiltinModule } = process
    Object.assign(process, { getBuiltinModule: undefined })
    try {
      expect(identity.sign('test', message)).toEqual(signature)
      expect(verdicts()).toEqual(before)
    } finally {
      Object.assign(process, { getBuiltinModule })
    }
  })
})
