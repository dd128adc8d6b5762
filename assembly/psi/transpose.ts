/** Turns a matrix of bits. */

/** Two blocks of 16 × 16 bytes, between which the rounds go back and forth. */
const A = memory.data(256, 16)
const B = memory.data(256, 16)

/**
 * Columns of bits as rows: `columns`, a multiple of 16, of `bytes` bytes each, a multiple of 16, one `stride` after the
 * other, become 8·bytes rows of columns/8 bytes. Bits are counted from the lowest of the first byte.
 */
export function transpose(out: usize, columns: usize, count: i32, bytes: i32, stride: usize): void {
  const width = <usize>(count >> 3)
  for (let at: usize = 0; at < <usize>bytes; at += 16) {
    const rows = out + (at << 3) * width
    for (let column = 0; column < count; column += 16) {
      let from = columns + <usize>column * stride + at
      for (let i: usize = 0; i < 256; i += 16, from += stride) v128.store(A + i, v128.load(from))
      // Four perfect shuffles of 16 vectors move byte j of vector i to byte i of vector j.
      interleave(B, A)
      interleave(A, B)
      interleave(B, A)
      interleave(A, B)
      let to = rows + <usize>(column >> 3)
      for (let i: usize = 0; i < 256; i += 16, to += width << 3) storeBits(to, width, v128.load(A + i))
    }
  }
}

function interleave(out: usize, a: usize): void {
  for (let i: usize = 0; i < 128; i += 16) {
    const x = v128.load(a + i)
    const y = v128.load(a + i, 128)
    v128.store(out + (i << 1), v128.shuffle<u8>(x, y, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23))
    v128.store(out + (i << 1), v128.shuffle<u8>(x, y, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31), 16)
  }
}

/** A byte of each of 16 columns as 16 bits of eight rows. A mask takes the highest bits, and the next are moved there. */
// @ts-ignore: a decorator of AssemblyScript
@inline
function storeBits(out: usize, stride: usize, bytes: v128): void {
  let x = bytes
  let to = out + 7 * stride
  for (let bit = 0; bit < 8; bit++, to -= stride) {
    store<u16>(to, <u16>i8x16.bitmask(x))
    x = i8x16.add(x, x)
  }
}
