/** The example of a job in secret: processes of those who bring data, compute, and get the result. */
import { beforeAll, describe, expect, it } from 'vitest'
import { housePrices } from '../../examples/house-prices.ts'
import { capturePrinted } from './printed.ts'

let printed: () => string
beforeAll(() => {
  printed = capturePrinted()
})

describe('house-prices', () => {
  it('finds in secret the line that least squares find in clear, and shows it to the analyst alone', async () => {
    const { weights, plain, error, noise } = await housePrices({ houses: 200, precision: 'high', seed: 1 })
    // With 32 binary digits, and whatever a float32 keeps of each.
    weights.forEach((weight, i) => {
      expect(Math.abs(weight - plain[i]!)).toBeLessThan(1e-5 + 2 ** -23 * Math.abs(plain[i]!))
    })
    // Five numbers were found out of 200 prices: that costs their part of the noise, and other houses have their luck.
    expect(error).toBeLessThan(1.2 * noise)
    const text = printed()
    const rows = text.split('\n').filter((line) => /│ float32/.test(line))
    expect(
      rows
        .map((line) =>
          line
            .split('│')
            .map((cell) => cell.trim())
            .slice(1, 3)
            .join(': '),
        )
        .sort(),
    ).toEqual(['agency: float32 [200,4] #houses', 'analyst: float32 [5,1]', 'registry: float32 [200,1] #prices'])
    expect(text).toContain('agency     agency has shared houses')
  })
})
