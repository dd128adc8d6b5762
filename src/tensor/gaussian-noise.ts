/**
 * Gaussian noise that hides something: drawn from the system's CSPRNG, not from a generator that can be guessed.
 *
 * What differential privacy promises of such noise, it promises of real numbers. Floats have gaps, and which of them a
 * sum can fall on may tell what was added to (Mironov, CCS '12; for normal deviates Jin et al., S&P '22). So noise is
 * drawn and added in double precision, and the sum is rounded to a grid that depends on the deviation alone: the gaps of
 * a result say nothing about the value. That its probabilities are right to the last digit is not proven, and how long
 * a draw takes is not hidden.
 */
import { chacha20 } from '@noble/ciphers/chacha.js'

/** The most that one call of `crypto.getRandomValues` gives: 64 kB (W3C Web Cryptography, section 10.1.1). */
const CHUNK = 65_536
/** Bytes for two deviates: two numbers of 53 bits, from eight bytes each. */
const PAIR = 16
/** The grid is 2^20 to 2^21 times finer than the deviation: far below the noise, far above the last digit of a double. */
const GRID_BITS = 20
/** The least number above 0 of float32. */
const LEAST = 2 ** -149

/**
 * Values with noise of N(0, deviation²) added to each, as float32. A deviation of 0 adds nothing.
 *
 * @param seedForTests draws from ChaCha20 with this number as key instead: the same noise each time, which hides nothing
 */
export function withGaussianNoise(
  values: ArrayLike<number>,
  deviation: number,
  seedForTests: number | undefined,
): Float32Array {
  const noisy = Float32Array.from(values)
  if (deviation === 0) return noisy
  const grid = Math.max(2 ** (Math.floor(Math.log2(deviation)) - GRID_BITS), LEAST)
  const put = (at: number, noise: number) => {
    if (at < noisy.length) noisy[at] = Math.round((noisy[at]! + noise) / grid) * grid
  }
  const bytes = new Uint8Array(Math.min(CHUNK, PAIR * Math.ceil(noisy.length / 2)))
  const words = new Uint32Array(bytes.buffer)
  const refill =
    seedForTests === undefined ? () => globalThis.crypto.getRandomValues(bytes) : keyStream(seedForTests, bytes)
  for (let at = 0, word = words.length; at < noisy.length; at += 2, word += 4) {
    if (word === words.length) {
      refill()
      word = 0
    }
    // Box and Muller, 1958. The first number is above 0, so that its logarithm is finite; noise ends at 8.6 deviations.
    const radius = deviation * Math.sqrt(-2 * Math.log(unit(words[word]!, words[word + 1]!)))
    const angle = 2 * Math.PI * unit(words[word + 2]!, words[word + 3]!)
    put(at, radius * Math.cos(angle))
    put(at + 1, radius * Math.sin(angle))
  }
  return noisy
}

/** The upper 53 of 64 bits as a number in (0, 1]. */
const unit = (low: number, high: number): number => (high * 2 ** 21 + (low >>> 11) + 1) * 2 ** -53

/** Fills with the next bytes of a stream that follows from a seed. */
function keyStream(seed: number, bytes: Uint8Array): () => void {
  const key = new Uint8Array(32)
  new DataView(key.buffer).setFloat64(0, seed, true)
  let block = 0
  return () => {
    bytes.fill(0)
    chacha20(key, new Uint8Array(12), bytes, bytes, block)
    block += Math.ceil(bytes.length / 64)
  }
}
