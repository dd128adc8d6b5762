/** BLAKE2s (RFC 7693) of many messages of one block, four at a time: one in each lane. */

/** The message words by round (RFC 7693 §2.7), as offsets into the sixteen vectors of words. */
const SIGMA = memory.data<u8>([
  0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
  14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3,
  11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4,
  7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8,
  9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13,
  2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9,
  12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11,
  13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10,
  6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5,
  10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0,
])
const IV = memory.data<u32>([
  0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
])
/** The sixteen vectors of words of four messages, and the sixteen of their states. */
const M = memory.data(256, 16)
const V = memory.data(256, 16)

/**
 * The digests, 32 bytes each, of n messages that fit one block, each padded with zeros to 64 bytes. Works in fours: there
 * is room for three messages, lengths and digests more.
 *
 * @param lengths u32 each
 * @param state eight u32: the initial vector with the block of parameters xored in (RFC 7693 §2.5)
 */
export function blake2s(out: usize, messages: usize, lengths: usize, state: usize, n: i32): void {
  for (let done = 0; done < n; done += 4, out += 128, messages += 256, lengths += 16) {
    for (let i: usize = 0; i < 64; i += 16) turn(M + (i << 2), messages + i, 64, 16)
    for (let i: usize = 0; i < 8; i++) {
      v128.store(V + (i << 4), i32x4.splat(load<i32>(state + (i << 2))))
      v128.store(V + (i << 4), i32x4.splat(load<i32>(IV + (i << 2))), 128)
    }
    // §3.2: v12 takes the count of bytes, v14 is inverted in the last block; there is no other.
    v128.store(V, v128.xor(v128.load(V, 192), v128.load(lengths)), 192)
    v128.store(V, v128.not(v128.load(V, 224)), 224)
    for (let sigma = SIGMA; sigma < SIGMA + 160; sigma += 16) {
      mix(0, 64, 128, 192, sigma)
      mix(16, 80, 144, 208, sigma + 2)
      mix(32, 96, 160, 224, sigma + 4)
      mix(48, 112, 176, 240, sigma + 6)
      mix(0, 80, 160, 240, sigma + 8)
      mix(16, 96, 176, 192, sigma + 10)
      mix(32, 112, 128, 208, sigma + 12)
      mix(48, 64, 144, 224, sigma + 14)
    }
    for (let i: usize = 0; i < 8; i++) {
      const h = i32x4.splat(load<i32>(state + (i << 2)))
      const v = v128.xor(v128.load(V + (i << 4)), v128.load(V + (i << 4), 128))
      v128.store(M + (i << 4), v128.xor(h, v))
    }
    turn(out, M, 16, 32)
    turn(out + 16, M + 64, 16, 32)
  }
}

/** The function G (§3.1) on four states at once; a to d are where in them, and two words of the messages are next. */
// @ts-ignore: a decorator of AssemblyScript
@inline
function mix(a: usize, b: usize, c: usize, d: usize, sigma: usize): void {
  const x = v128.load(M + (<usize>load<u8>(sigma) << 4))
  const y = v128.load(M + (<usize>load<u8>(sigma, 1) << 4))
  let va = v128.load(V + a)
  let vb = v128.load(V + b)
  let vc = v128.load(V + c)
  let vd = v128.load(V + d)
  va = i32x4.add(i32x4.add(va, vb), x)
  vd = v128.xor(vd, va)
  vd = v128.shuffle<u8>(vd, vd, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13)
  vc = i32x4.add(vc, vd)
  vb = v128.xor(vb, vc)
  vb = v128.or(i32x4.shr_u(vb, 12), i32x4.shl(vb, 20))
  va = i32x4.add(i32x4.add(va, vb), y)
  vd = v128.xor(vd, va)
  vd = v128.shuffle<u8>(vd, vd, 1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12)
  vc = i32x4.add(vc, vd)
  vb = v128.xor(vb, vc)
  vb = v128.or(i32x4.shr_u(vb, 7), i32x4.shl(vb, 25))
  v128.store(V + a, va)
  v128.store(V + b, vb)
  v128.store(V + c, vc)
  v128.store(V + d, vd)
}

/** Turns four by four words; vectors lie `from` bytes apart there, `to` bytes here. */
// @ts-ignore: a decorator of AssemblyScript
@inline
function turn(out: usize, a: usize, from: usize, to: usize): void {
  const a0 = v128.load(a)
  const a1 = v128.load(a + from)
  const a2 = v128.load(a + 2 * from)
  const a3 = v128.load(a + 3 * from)
  const b0 = v128.shuffle<i32>(a0, a1, 0, 4, 1, 5)
  const b1 = v128.shuffle<i32>(a0, a1, 2, 6, 3, 7)
  const b2 = v128.shuffle<i32>(a2, a3, 0, 4, 1, 5)
  const b3 = v128.shuffle<i32>(a2, a3, 2, 6, 3, 7)
  v128.store(out, v128.shuffle<i64>(b0, b2, 0, 2))
  v128.store(out + to, v128.shuffle<i64>(b0, b2, 1, 3))
  v128.store(out + 2 * to, v128.shuffle<i64>(b1, b3, 0, 2))
  v128.store(out + 3 * to, v128.shuffle<i64>(b1, b3, 1, 3))
}
