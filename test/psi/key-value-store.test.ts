import { randomBytes } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { decodeTable, encodeTable, tableBytes, VALUE } from '../../src/psi/key-value-store.ts'
import { ByteCounts, byteBound, fromUniform } from '../reference/chi-square.ts'

const session = randomBytes(32)

describe('an oblivious key-value store', () => {
  it('gives each key its value, for any number of keys, be there fewer than it seems', () => {
    for (const [count, size] of [
      [0, 0],
      [1, 1],
      [2, 2],
      [3, 3],
      [7, 7],
      [40, 40],
      [300, 300],
      [1000, 3000],
      [5000, 5000],
    ] as const) {
      for (let run = 0; run < (count < 50 ? 20 : 2); run++) {
        const [keys, values] = [randomBytes(VALUE * count), randomBytes(VALUE * count)]
        const table = encodeTable(keys, values, session, size)
        expect(table.length).toBe(tableBytes(size))
        expect(Buffer.compare(decodeTable(table, keys, session, size), values), `${count} keys`).toBe(0)
      }
    }
  })

  it('gives other keys noise, and is noise, even where all values are zero', () => {
    const count = 2000
    const keys = randomBytes(VALUE * count)
    const table = encodeTable(keys, new Uint8Array(VALUE * count), session, count)
    expect(fromUniform(new ByteCounts().add(table))).toBeLessThan(byteBound)
    const others = decodeTable(table, randomBytes(VALUE * count), session, count)
    expect(fromUniform(new ByteCounts().add(others))).toBeLessThan(byteBound)
  })

  it('is none where a key is to have two values', () => {
    const key = randomBytes(VALUE)
    const keys = Buffer.concat([key, key])
    expect(() => encodeTable(keys, randomBytes(2 * VALUE), session, 2)).toThrow(
      expect.objectContaining({ code: 'ERR_OPERATION_FAILED' }),
    )
  })
})
