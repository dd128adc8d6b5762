/** Gaussian noise of a seed, one number at a time: whole words from OpenSSL's key stream, Box and Muller, a grid. */
import { createCipheriv } from 'node:crypto'

export function noisyByDefinition(values: Float32Array, deviation: number, seed: number): Float32Array {
  if (deviation === 0) return values.slice()
  const key = Buffer.alloc(32)
  key.writeDoubleLE(seed)
  const stream = createCipheriv('chacha20', key, Buffer.alloc(16)).update(Buffer.alloc(16 * values.length))
  /** From a word of 64 bits its upper 53, in (0, 1]. */
  const uniform = (at: number) => Number((stream.readBigUInt64LE(8 * at) >> 11n) + 1n) / 2 ** 53
  let grid = 1
  while (grid > deviation) grid /= 2
  while (grid * 2 <= deviation) grid *= 2
  grid /= 2 ** 20
  return values.map((value, i) => {
    const first = i - (i % 2)
    const radius = deviation * Math.sqrt(-2 * Math.log(uniform(first)))
    const angle = 2 * Math.PI * uniform(first + 1)
    const noise = radius * (i === first ? Math.cos(angle) : Math.sin(angle))
    return Math.round((value + noise) / grid) * grid
  })
}
