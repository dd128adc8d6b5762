/** Capabilities: good for one session, name and key; whatever differs, and whatever is malformed, is not good. */
import { createHmac } from 'node:crypto'
import { inspect } from 'node:util'
import { describe, expect, it } from 'vitest'
import { SeededRandom } from '../../src/data/random.ts'
import { type Capability, capabilityFor, isGood } from '../../src/worker/capabilities.ts'

const random = new SeededRandom(42)
const secret = Uint8Array.from({ length: 32 }, () => random.int(256))
const peer = { session: 'session-1', name: 'alice', key: 'ed25519:abc' }
const good = capabilityFor(secret, peer)

/** The proof by OpenSSL, the fields written anew. */
function proofOf(key: Uint8Array, texts: readonly string[]): Buffer {
  const hmac = createHmac('sha256', key)
  for (const text of texts) {
    const length = Buffer.alloc(4)
    length.writeUInt32LE(Buffer.byteLength(text))
    hmac.update(length).update(text)
  }
  return hmac.digest()
}

describe('a capability', () => {
  it('is HMAC-SHA-256 of label, session, name and key, each after its length', () => {
    for (const key of [peer.key, '', 'é€😀']) {
      const { session, name } = peer
      const capability = capabilityFor(secret, { session, name, key })
      expect(capability).toEqual({ session, name, proof: expect.any(Uint8Array) })
      expect(Buffer.from(capability.proof)).toEqual(proofOf(secret, ['sotto capability 1', session, name, key]))
    }
  })

  it('is good for its secret and key, in process too', () => {
    expect(isGood(secret, good, peer.key)).toBe(true)
    expect(isGood(secret, capabilityFor(secret, { ...peer, key: '' }), '')).toBe(true)
    expect(isGood(Uint8Array.from(secret), { ...good, proof: Buffer.from(good.proof) }, peer.key)).toBe(true)
  })

  it('is not good in the hands of another, in another session or under another name', () => {
    expect(isGood(secret, good, 'ed25519:abd')).toBe(false)
    expect(isGood(secret, good, '')).toBe(false)
    expect(isGood(secret, { ...good, session: 'session-2' }, peer.key)).toBe(false)
    expect(isGood(secret, { ...good, name: 'bob' }, peer.key)).toBe(false)
  })

  it('is not good for another secret', () => {
    const other = Uint8Array.from(secret)
    other[31]! ^= 1
    expect(isGood(other, good, peer.key)).toBe(false)
  })

  it('is not good when characters pass from one field to the next', () => {
    const { session, name, key } = peer
    const shifted = [
      [session + name[0], name.slice(1), key],
      [session.slice(0, -1), session.at(-1) + name, key],
      [session, name + key, ''],
      [session, name.slice(0, -1), name.at(-1) + key],
    ] as const
    for (const [s, n, k] of shifted) expect(isGood(secret, { ...good, session: s, name: n }, k)).toBe(false)
  })

  it('is not good after a change of any one bit of its proof, or of its length', () => {
    for (let bit = 0; bit < 256; bit += 5) {
      const proof = Uint8Array.from(good.proof)
      proof[bit >> 3]! ^= 1 << (bit & 7)
      expect(isGood(secret, { ...good, proof }, peer.key), `bit ${bit}`).toBe(false)
    }
    for (const length of [0, 1, 31, 33]) {
      const proof = new Uint8Array(length)
      proof.set(good.proof.subarray(0, length))
      expect(isGood(secret, { ...good, proof }, peer.key)).toBe(false)
    }
  })

  it('is not good, and throws nothing, when anything is malformed', () => {
    const wrong: unknown[] = [undefined, null, 0, 5, '', 'x', {}, [], new Uint8Array(5), Symbol('x')]
    for (const value of wrong) {
      expect(isGood(value as never, good, peer.key)).toBe(false)
      expect(isGood(secret, value as never, peer.key)).toBe(false)
      expect(isGood(secret, good, value as never)).toBe(false)
      for (const field of ['session', 'name', 'proof']) {
        expect(isGood(secret, { ...good, [field]: value } as Capability, peer.key), field).toBe(false)
      }
    }
    const trap = {
      get session(): string {
        throw new Error('a trap')
      },
    }
    expect(isGood(secret, trap as Capability, peer.key)).toBe(false)
  })

  it('does not take a number for the name that is written like it', () => {
    const five = capabilityFor(secret, { ...peer, name: '5' })
    expect(isGood(secret, five, peer.key)).toBe(true)
    expect(isGood(secret, { ...five, name: 5 as never }, peer.key)).toBe(false)
  })

  it.each([0, 16, 31, 33, 64])('is not made with a secret of %i bytes, which HMAC would take', (length) => {
    const error = (() => {
      try {
        capabilityFor(new Uint8Array(length).fill(7), peer)
        return undefined
      } catch (thrown) {
        return thrown
      }
    })()
    expect(error).toMatchObject({ code: 'ERR_ARGUMENT_VALUE' })
    expect(inspect(error)).toContain(`got ${length}`)
  })
})
