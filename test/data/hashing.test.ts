import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import { featureHasher, hashFeatures, tokens } from '../../src/data/hashing.ts'
import { murmur3 } from '../../src/data/murmur3.ts'
import { readyForTest } from '../backend.ts'

const dot = (a: Float32Array, b: Float32Array) => a.reduce((sum, value, at) => sum + value * b[at]!, 0)

describe('murmur3', () => {
  // Outputs of the reference implementation, as many ports test them.
  test.each([
    ['', 0, 0],
    ['', 1, 0x514e28b7],
    ['', 0xffffffff, 0x81f16f39],
    ['a', 0x9747b28c, 0x7fa09ea6],
    ['aa', 0x9747b28c, 0x5d211726],
    ['aaa', 0x9747b28c, 0x283e0130],
    ['aaaa', 0x9747b28c, 0x5a97808a],
    ['test', 0, 0xba6bd213],
    ['Hello, world!', 0, 0xc0363e43],
    ['Hello, world!', 0x9747b28c, 0x24884cba],
    ['The quick brown fox jumps over the lazy dog', 0x9747b28c, 0x2fa826cd],
  ])('hashes %j with seed %d', (text, seed, hash) => {
    expect(murmur3(new TextEncoder().encode(text), seed)).toBe(hash)
  })
})

describe('tokens', () => {
  test.each([
    ['Free ENTRY', ['free', 'entry']],
    ["Don't, don’t", ["don't", ',', "don't"]],
    ['Call 07700900123 or 0808 157 0123!', ['call', '<11>', 'or', '<4>', '<3>', '<4>', '!']],
    ['£1,000.50 or 5€', ['£', '<6>', 'or', '<1>', '€']],
    ['win150ppm', ['win', '<3>', 'ppm']],
    ['what?! now!!!! so...', ['what', '?', '!', 'now', '!!', 'so', '...']],
    ['see www.Example.com/win NOW', ['see', '<url>', 'now']],
    ['ＦＲＥＥ １２', ['free', '<2>']],
    ['Café Ｃafe\u0301', ['café', 'café']],
    ['ok 👍', ['ok', '👍']],
    [' \t\u0000 ', []],
  ])('of %j', (text, expected) => {
    expect(tokens(text)).toEqual(expected)
  })

  test('no digit is ever kept', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom('1', '2', '.', ',', 'a', ' ', '£') }), (text) => {
        expect(
          tokens(text)
            .filter((token) => !/^<\d+>$/.test(token))
            .join(''),
        ).not.toMatch(/\d/)
      }),
    )
  })

  test('refuses what is no string', () => {
    expect(() => tokens(5 as unknown as string)).toThrow(TypeError)
  })
})

describe('featureHasher', () => {
  const texts = fc.string({ unit: fc.constantFrom('a', 'b', 'c', ' ', '!', '1'), maxLength: 40 })

  test('rows have length 1, or are zero for a text without tokens', () => {
    const hasher = featureHasher({ dimension: 256 })
    fc.assert(
      fc.property(texts, (text) => {
        const row = hasher.hash(text)
        const squares = dot(row, row)
        // Features that meet in one column with opposite signs may cancel each other altogether.
        if (tokens(text).length === 0) expect(squares).toBe(0)
        else if (squares !== 0) expect(squares).toBeCloseTo(1, 5)
      }),
    )
  })

  test('a row depends on its own text alone: owners who hash apart get what one would get', () => {
    const list = ['you have won', 'see you tonight', '']
    const [apart, together] = [featureHasher({ dimension: 64 }), featureHasher({ dimension: 64 })]
    const rows = list.map((text) => together.hash(text))
    list.toReversed().forEach((text) => {
      expect(apart.hash(text)).toEqual(rows[list.indexOf(text)])
    })
  })

  test('products of rows are unbiased over the choice of the hash', () => {
    // Raw counts of single tokens: a and b share "x" 2·1 and "y" 1·3 times, so the true product is 5.
    const seeds = 4_000
    let sum = 0
    let squares = 0
    for (let seed = 0; seed < seeds; seed++) {
      const { hash } = featureHasher({ dimension: 8, ngrams: [1], counts: 'raw', normalise: 'none', seed })
      const product = dot(hash('x x y z'), hash('x y y y w'))
      sum += product
      squares += product * product
    }
    const mean = sum / seeds
    const standardError = Math.sqrt((squares / seeds - mean * mean) / seeds)
    // The check can fail: collisions do move single products.
    expect(standardError).toBeGreaterThan(0.01)
    expect(Math.abs(mean - 5)).toBeLessThan(4 * standardError)
  })

  test('counts weigh as told', () => {
    const most = (counts: 'log' | 'raw' | 'binary') =>
      Math.max(
        ...featureHasher({ ngrams: [1], counts, normalise: 'none' })
          .hash('x x x')
          .map(Math.abs),
      )
    expect(most('raw')).toBe(3)
    expect(most('binary')).toBe(1)
    expect(most('log')).toBeCloseTo(1 + Math.log(3), 6)
  })

  test('pairs of tokens tell orders apart, single tokens do not', () => {
    const both = (ngrams: number[]) => ['a b c', 'c b a'].map((text) => featureHasher({ ngrams }).hash(text))
    const [a1, b1] = both([1])
    expect(a1).toEqual(b1)
    const [a2, b2] = both([1, 2])
    expect(a2).not.toEqual(b2)
  })

  test('overwrites the array it is given', () => {
    const { hash } = featureHasher({ dimension: 16 })
    const into = new Float32Array(16).fill(9)
    expect(hash('hello', into)).toBe(into)
    expect(into).toEqual(hash('hello'))
    expect(() => hash('hello', new Float32Array(15))).toThrow('expected length 16, got 15')
  })

  test.each([
    { dimension: 0 },
    { dimension: 2 ** 31 },
    { dimension: 1.5 },
    { ngrams: [] },
    { ngrams: [0] },
    { ngrams: [1, 1] },
    { seed: -1 },
    { counts: 'toString' as 'log' },
    { normalise: 'l1' as 'l2' },
  ])('refuses %j', (options) => {
    expect(() => featureHasher(options)).toThrow(RangeError)
  })
})

describe('hashFeatures', () => {
  beforeAll(readyForTest)

  test('is a float32 matrix of the rows of the hasher', () => {
    const texts = ['you have won £100!', '', 'see you']
    const matrix = hashFeatures(texts, { dimension: 128 })
    const { hash } = featureHasher({ dimension: 128 })
    expect(matrix.shape).toEqual([3, 128])
    expect(matrix.dtype).toBe('float32')
    expect([...matrix.dataSync()]).toEqual(texts.flatMap((text) => [...hash(text)]))
    matrix.dispose()
  })
})
