/**
 * MurmurHash3 x86 32 (A. Appleby, public domain, 2011): a hash of 32 bits for tables and features.
 * Not for secrets: collisions are easy to make.
 */

/**
 * @param bytes what to hash
 * @param seed an integer, taken modulo 2^32
 * @returns an integer from 0 to 2^32 − 1
 */
export function murmur3(bytes: Uint8Array, seed = 0): number {
  const blocks = bytes.length & ~3
  let hash = seed | 0
  for (let i = 0; i < blocks; i += 4) {
    // Little-endian whatever the machine, so that every owner of data gets the same hash.
    const word = bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24)
    hash = Math.imul(rotl(hash ^ scramble(word), 13), 5) + 0xe6546b64
  }
  let tail = 0
  for (let i = bytes.length - 1; i >= blocks; i--) tail = (tail << 8) | bytes[i]!
  if (blocks < bytes.length) hash ^= scramble(tail)

  hash ^= bytes.length
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}

const scramble = (word: number): number => Math.imul(rotl(Math.imul(word, 0xcc9e2d51), 15), 0x1b873593)
const rotl = (word: number, by: number): number => (word << by) | (word >>> (32 - by))
