import { describe, expect, it } from 'vitest'
import { nativeX25519, newKeyPair, portableX25519 } from '../../../src/federated/secagg/agreement.ts'
import { randomSeed } from '../../../src/smpc/prg.ts'

const hex = (text: string) => Uint8Array.from(Buffer.from(text, 'hex'))
const implementations = [
  ['JavaScript', portableX25519],
  ['OpenSSL', nativeX25519()!],
] as const

describe.each(implementations)('X25519 in %s', (_, implementation) => {
  it('agrees on the secret of RFC 7748 §6.1, from both sides', () => {
    const alice = hex('77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a')
    const bob = hex('5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb')
    const secret = hex('4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742')
    const [a, b] = [implementation(alice), implementation(bob)]
    expect(a.agree(b.key)).toEqual(secret)
    expect(b.agree(a.key)).toEqual(secret)
  })

  it('refuses keys of low order', () => {
    const pair = implementation(randomSeed())
    for (const key of ['00'.repeat(32), `01${'00'.repeat(31)}`, `ec${'ff'.repeat(30)}7f`]) {
      expect(pair.agree(hex(key))).toBeUndefined()
    }
  })
})

describe.each(implementations)('a pair that was erased, in %s', (_, implementation) => {
  it('has no secret any more, and agrees with nobody on what it did', () => {
    const [pair, other] = [implementation(randomSeed()), newKeyPair()]
    const agreed = pair.agree(other.key)
    pair.erase()
    expect(pair.secret).toEqual(new Uint8Array(32))
    expect(pair.agree(other.key)).not.toEqual(agreed)
  })
})

describe('agreement', () => {
  it('is the same whatever computes it', () => {
    for (let i = 0; i < 5; i++) {
      const [a, b] = [newKeyPair(), newKeyPair()]
      const agreed = a.agree(b.key)!
      expect(agreed).toHaveLength(32)
      for (const [, implementation] of implementations) {
        expect(implementation(a.secret.slice()).key).toEqual(a.key)
        expect(implementation(b.secret.slice()).agree(a.key)).toEqual(agreed)
      }
    }
  })
})
