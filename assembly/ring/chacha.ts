/**
 * The key stream of ChaCha20 (RFC 8439 §2.3, §2.4), four blocks at a time: word i of the state is a vector of that word
 * in each of them.
 */

/** Blocks `counter` to `counter + blocks` − 1, up to three more: 64 bytes each, written by four. */
export function chacha20(out: usize, key: usize, nonce: usize, counter: u32, blocks: i32): void {
  const k0 = v128.load32_splat(key)
  const k1 = v128.load32_splat(key, 4)
  const k2 = v128.load32_splat(key, 8)
  const k3 = v128.load32_splat(key, 12)
  const k4 = v128.load32_splat(key, 16)
  const k5 = v128.load32_splat(key, 20)
  const k6 = v128.load32_splat(key, 24)
  const k7 = v128.load32_splat(key, 28)
  const n0 = v128.load32_splat(nonce)
  const n1 = v128.load32_splat(nonce, 4)
  const n2 = v128.load32_splat(nonce, 8)
  // "expand 32-byte k"
  const s0 = i32x4.splat(0x61707865)
  const s1 = i32x4.splat(0x3320646e)
  const s2 = i32x4.splat(0x79622d32)
  const s3 = i32x4.splat(0x6b206574)

  for (let block = 0; block < blocks; block += 4, out += 256) {
    const counters = i32x4.add(i32x4.splat(counter + block), i32x4(0, 1, 2, 3))
    let x0 = s0
    let x1 = s1
    let x2 = s2
    let x3 = s3
    let x4 = k0
    let x5 = k1
    let x6 = k2
    let x7 = k3
    let x8 = k4
    let x9 = k5
    let x10 = k6
    let x11 = k7
    let x12 = counters
    let x13 = n0
    let x14 = n1
    let x15 = n2

    // RFC 8439 §2.3: a quarter round on each column, then on each diagonal, ten times.
    for (let round = 0; round < 20; round += 2) {
      x0 = i32x4.add(x0, x4)
      x12 = rotate16(v128.xor(x12, x0))
      x8 = i32x4.add(x8, x12)
      x4 = rotate12(v128.xor(x4, x8))
      x0 = i32x4.add(x0, x4)
      x12 = rotate8(v128.xor(x12, x0))
      x8 = i32x4.add(x8, x12)
      x4 = rotate7(v128.xor(x4, x8))

      x1 = i32x4.add(x1, x5)
      x13 = rotate16(v128.xor(x13, x1))
      x9 = i32x4.add(x9, x13)
      x5 = rotate12(v128.xor(x5, x9))
      x1 = i32x4.add(x1, x5)
      x13 = rotate8(v128.xor(x13, x1))
      x9 = i32x4.add(x9, x13)
      x5 = rotate7(v128.xor(x5, x9))

      x2 = i32x4.add(x2, x6)
      x14 = rotate16(v128.xor(x14, x2))
      x10 = i32x4.add(x10, x14)
      x6 = rotate12(v128.xor(x6, x10))
      x2 = i32x4.add(x2, x6)
      x14 = rotate8(v128.xor(x14, x2))
      x10 = i32x4.add(x10, x14)
      x6 = rotate7(v128.xor(x6, x10))

      x3 = i32x4.add(x3, x7)
      x15 = rotate16(v128.xor(x15, x3))
      x11 = i32x4.add(x11, x15)
      x7 = rotate12(v128.xor(x7, x11))
      x3 = i32x4.add(x3, x7)
      x15 = rotate8(v128.xor(x15, x3))
      x11 = i32x4.add(x11, x15)
      x7 = rotate7(v128.xor(x7, x11))

      x0 = i32x4.add(x0, x5)
      x15 = rotate16(v128.xor(x15, x0))
      x10 = i32x4.add(x10, x15)
      x5 = rotate12(v128.xor(x5, x10))
      x0 = i32x4.add(x0, x5)
      x15 = rotate8(v128.xor(x15, x0))
      x10 = i32x4.add(x10, x15)
      x5 = rotate7(v128.xor(x5, x10))

      x1 = i32x4.add(x1, x6)
      x12 = rotate16(v128.xor(x12, x1))
      x11 = i32x4.add(x11, x12)
      x6 = rotate12(v128.xor(x6, x11))
      x1 = i32x4.add(x1, x6)
      x12 = rotate8(v128.xor(x12, x1))
      x11 = i32x4.add(x11, x12)
      x6 = rotate7(v128.xor(x6, x11))

      x2 = i32x4.add(x2, x7)
      x13 = rotate16(v128.xor(x13, x2))
      x8 = i32x4.add(x8, x13)
      x7 = rotate12(v128.xor(x7, x8))
      x2 = i32x4.add(x2, x7)
      x13 = rotate8(v128.xor(x13, x2))
      x8 = i32x4.add(x8, x13)
      x7 = rotate7(v128.xor(x7, x8))

      x3 = i32x4.add(x3, x4)
      x14 = rotate16(v128.xor(x14, x3))
      x9 = i32x4.add(x9, x14)
      x4 = rotate12(v128.xor(x4, x9))
      x3 = i32x4.add(x3, x4)
      x14 = rotate8(v128.xor(x14, x3))
      x9 = i32x4.add(x9, x14)
      x4 = rotate7(v128.xor(x4, x9))
    }

    storeWords(out, i32x4.add(x0, s0), i32x4.add(x1, s1), i32x4.add(x2, s2), i32x4.add(x3, s3))
    storeWords(out + 16, i32x4.add(x4, k0), i32x4.add(x5, k1), i32x4.add(x6, k2), i32x4.add(x7, k3))
    storeWords(out + 32, i32x4.add(x8, k4), i32x4.add(x9, k5), i32x4.add(x10, k6), i32x4.add(x11, k7))
    storeWords(out + 48, i32x4.add(x12, counters), i32x4.add(x13, n0), i32x4.add(x14, n1), i32x4.add(x15, n2))
  }
}

/** Words four by four as the four blocks hold them, 64 bytes apart. */
function storeWords(out: usize, a: v128, b: v128, c: v128, d: v128): void {
  const ab01 = v128.shuffle<u32>(a, b, 0, 4, 1, 5)
  const cd01 = v128.shuffle<u32>(c, d, 0, 4, 1, 5)
  const ab23 = v128.shuffle<u32>(a, b, 2, 6, 3, 7)
  const cd23 = v128.shuffle<u32>(c, d, 2, 6, 3, 7)
  v128.store(out, v128.shuffle<u64>(ab01, cd01, 0, 2))
  v128.store(out, v128.shuffle<u64>(ab01, cd01, 1, 3), 64)
  v128.store(out, v128.shuffle<u64>(ab23, cd23, 0, 2), 128)
  v128.store(out, v128.shuffle<u64>(ab23, cd23, 1, 3), 192)
}

// Rotations to the left; those by whole bytes are one instruction.

// @ts-ignore: a decorator of AssemblyScript
@inline
function rotate16(x: v128): v128 {
  return v128.shuffle<u8>(x, x, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13)
}

// @ts-ignore: a decorator of AssemblyScript
@inline
function rotate12(x: v128): v128 {
  return v128.or(i32x4.shl(x, 12), i32x4.shr_u(x, 20))
}

// @ts-ignore: a decorator of AssemblyScript
@inline
function rotate8(x: v128): v128 {
  return v128.shuffle<u8>(x, x, 3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14)
}

// @ts-ignore: a decorator of AssemblyScript
@inline
function rotate7(x: v128): v128 {
  return v128.or(i32x4.shl(x, 7), i32x4.shr_u(x, 25))
}
