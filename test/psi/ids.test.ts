import { describe, expect, it } from 'vitest'
import { FINGERPRINT, Fingerprints, idsOf, normalise } from '../../src/psi/ids.ts'

const printOf = (set: ReturnType<typeof idsOf>, index = 0) =>
  Buffer.from(set.prints.subarray(FINGERPRINT * index, FINGERPRINT * (index + 1))).toString('hex')

describe('ids', () => {
  it.each([
    ['text', ' Ada@Example.ORG ', 'ada@example.org'],
    ['text', 'Ａｄａ', 'ada'],
    ['text', 'Jose\u0301', 'josé'],
    ['text', 'ﬁnance  dept', 'finance dept'],
    ['text', 'a\u00a0\t b', 'a b'],
    ['text', ' \t ', undefined],
    ['text', '', undefined],
    ['text', '00123', '00123'],
    ['exact', ' Ada ', ' Ada '],
    ['exact', '', undefined],
    ['number', '+007.50', '75e-1'],
    ['number', '75e-1', '75e-1'],
    ['number', ' 7.5 ', '75e-1'],
    ['number', '-0', '0'],
    ['number', '0.000', '0'],
    ['number', '.5', '5e-1'],
    ['number', '１２', '12e0'],
    ['number', '12345678901234567890123', '12345678901234567890123e0'],
    ['number', '1200', '12e2'],
    ['number', ' ', undefined],
  ] as const)('become by the rule %s, of %j, %j', (rule, cell, expected) => {
    expect(normalise(cell, rule)).toBe(expected)
  })

  it('by the rule number are no text, and the error says nothing of it', () => {
    for (const cell of ['secret', '1.2.3', '0x10', '1e', '.', '--1']) {
      expect(() => normalise(cell, 'number')).toThrow(expect.objectContaining({ code: 'ERR_DATA_FORMAT' }))
    }
    expect(() => normalise('secret', 'number')).toThrow(/^(?!.*secret)/)
  })

  it('by the rule text stay what they are when the rule is applied again', () => {
    for (const cell of ['İstanbul', 'ǅ', 'Straße', 'K', 'ﬀ\u0301', '\u1E9B\u0323', ' a  b ']) {
      const once = normalise(cell, 'text')!
      expect(normalise(once, 'text'), cell).toBe(once)
    }
  })

  it('are one if they are written alike, and numbers if they are cells of numbers', () => {
    const set = idsOf(['a@x', 'A@X ', 'b@x', '', 7, '7', 7n, 'b@x'])
    expect([...set.rows]).toEqual([0, 2, 4])
    expect([...set.duplicates]).toEqual([1, 5, 6, 7])
    expect([set.size, set.total, set.empty]).toEqual([3, 8, 1])
  })

  it('of several columns are no others by shifting text from one to the next', () => {
    const set = idsOf([
      ['ab', 'c'],
      ['a', 'bc'],
      ['abc', ''],
      ['', 'abc'],
      ['1:a', 'x'],
      ['1', ':ax'],
    ])
    // Those with an empty cell are no ids.
    expect([...set.rows]).toEqual([0, 1, 4, 5])
    expect(set.empty).toBe(2)
    expect(() => idsOf([['a', 'b'], ['a']])).toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT_VALUE' }))
    expect(idsOf([['a', 'b']]).form).not.toBe(idsOf(['a']).form)
  })

  it('have the same fingerprint however long they are and wherever they stand among others', () => {
    for (const id of [
      'x',
      'y'.repeat(63),
      'y'.repeat(64),
      'y'.repeat(65),
      'é'.repeat(32),
      'é'.repeat(33),
      '漢'.repeat(3000),
    ]) {
      const alone = printOf(idsOf([id]))
      const among = idsOf([...Array.from({ length: 4097 }, (_, i) => `other ${i}`), id])
      expect(printOf(among, 4097)).toBe(alone)
    }
    expect(() => idsOf(['x'.repeat(70_000)])).toThrow(expect.objectContaining({ code: 'ERR_DATA_FORMAT' }))
  })

  it('may be added one by one, and none at all', () => {
    const prints = new Fingerprints('exact')
    for (const id of ['a', 'b', 'a']) prints.add(id)
    const set = prints.finish()
    expect([...set.rows]).toEqual([0, 1])
    expect(set.form).toBe('exact/1')
    expect(idsOf([]).size).toBe(0)
  })
})
