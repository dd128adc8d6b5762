import { describe, expect, it } from 'vitest'
import { referenceKernels } from '../../reference/ring.ts'
import { Inputs, implementations } from './inputs.ts'

const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replaceAll(/\s/g, ''), 'hex'))
const zeros = '00'.repeat(31)
const counting = '000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f'

/** RFC 8439: section, key, nonce, counter, key stream. */
const vectors = [
  [
    '§2.3.2',
    counting,
    '000000090000004a00000000',
    1,
    `10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e
     d2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e`,
  ],
  [
    'A.1 #1',
    `${zeros}00`,
    '000000000000000000000000',
    0,
    `76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7
     da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586`,
  ],
  [
    'A.1 #2',
    `${zeros}00`,
    '000000000000000000000000',
    1,
    `9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed
     29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f`,
  ],
  [
    'A.1 #3',
    `${zeros}01`,
    '000000000000000000000000',
    1,
    `3aeb5224ecf849929b9d828db1ced4dd832025e8018b8160b82284f3c949aa5a
     8eca00bbb4a73bdad192b5c42f73f2fd4e273644c8b36125a64addeb006c13a0`,
  ],
  [
    'A.1 #4',
    `00ff${'00'.repeat(30)}`,
    '000000000000000000000000',
    2,
    `72d54dfbf12ec44b362692df94137f328fea8da73990265ec1bbbea1ae9af0ca
     13b25aa26cb4a648cb9b9d1be65b2c0924a66c54d545ec1b7374f4872e99f096`,
  ],
  [
    'A.1 #5',
    `${zeros}00`,
    '000000000000000000000002',
    0,
    `c2c64d378cd536374ae204b9ef933fcd1a8b2288b3dfa49672ab765b54ee27c7
     8a970e0e955c14f3a88e741b97c286f75f8fc299e8148362fa198a39531bed6d`,
  ],
] as const

describe.each(implementations)('ChaCha20 in %s', (_, { chacha20 }) => {
  it.each(vectors)('makes the key stream of RFC 8439 %s', (_, key, nonce, counter, stream) => {
    expect(chacha20(hex(key), hex(nonce), counter, 64)).toEqual(hex(stream))
  })

  it('encrypts as RFC 8439 §2.4.2 does', () => {
    const text = Buffer.from(
      "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.",
    )
    const stream = chacha20(hex(counting), hex('000000000000004a00000000'), 1, text.length)
    expect(Buffer.from(text.map((byte, i) => byte ^ stream[i]!)).toString('hex')).toBe(
      '6e2e359a2568f98041ba0728dd0d6981e97e7aec1d4360c20a27afccfd9fae0b' +
        'f91b65c5524733ab8f593dabcd62b3571639d624e65152ab8f530c359f0861d8' +
        '07ca0dbf500d6a6156a38e088a22b65e52bc514d16ccf806818ce91ab7793736' +
        '5af90bbf74a35be6b40b8eedf2785e42874d',
    )
  })

  it('goes on where it stopped, block by block', () => {
    const inputs = new Inputs(11)
    const [key, nonce] = [inputs.bytes(32), inputs.bytes(12)]
    const whole = chacha20(key, nonce, 7, 1000)
    expect(whole.slice(3 * 64, 3 * 64 + 400)).toEqual(chacha20(key, nonce, 10, 400))
  })

  it('uses the last block there is, and refuses the next', () => {
    const inputs = new Inputs(12)
    const [key, nonce] = [inputs.bytes(32), inputs.bytes(12)]
    const last = 2 ** 32 - 1
    expect(chacha20(key, nonce, last, 64)).toEqual(referenceKernels.chacha20(key, nonce, last, 64))
    const limit = expect.objectContaining({ code: 'ERR_LIMIT' })
    expect(() => chacha20(key, nonce, last, 65)).toThrow(limit)
    expect(() => chacha20(key, nonce, 2 ** 32, 1)).toThrow(limit)
  })

  it('says which argument is wrong, and how', () => {
    const [key, nonce] = [new Uint8Array(32), new Uint8Array(12)]
    expect(() => chacha20(key.subarray(1), nonce, 0, 1)).toThrow(
      '"key" expected Uint8Array of length 32, got length=31',
    )
    expect(() => chacha20(key, key, 0, 1)).toThrow('"nonce" expected Uint8Array of length 12, got length=32')
    expect(() => chacha20(key, nonce, -1, 1)).toThrow('"counter" expected a whole number from 0 to 2^53 − 1, got -1')
    expect(() => chacha20(key, nonce, 0, 1.5)).toThrow('"length" expected a whole number')
  })
})
