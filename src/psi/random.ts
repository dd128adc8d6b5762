/** Randomness of the parties of an intersection, all from the system's CSPRNG. */

const MOST = 65_536

export function randomBytes(n: number): Uint8Array {
  const out = new Uint8Array(n)
  for (let at = 0; at < n; at += MOST) globalThis.crypto.getRandomValues(out.subarray(at, at + MOST))
  return out
}

/** A uniformly random order of 0 to n − 1 (Fisher and Yates; numbers that would favour some are drawn again). */
export function randomOrder(n: number): Uint32Array {
  const order = Uint32Array.from({ length: n }, (_, i) => i)
  let pool: Uint32Array = new Uint32Array(0)
  let used = 0
  const word = (): number => {
    if (used === pool.length) {
      pool = new Uint32Array(randomBytes(4 * Math.min(16_384, n)).buffer)
      used = 0
    }
    return pool[used++]!
  }
  for (let i = n - 1; i > 0; i--) {
    const most = i + 1
    const fair = 2 ** 32 - (2 ** 32 % most)
    let draw = word()
    while (draw >= fair) draw = word()
    const j = draw % most
    const kept = order[i]!
    order[i] = order[j]!
    order[j] = kept
  }
  return order
}
