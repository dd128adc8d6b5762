import { randomBytes } from 'node:crypto'
import { blake2s } from '@noble/hashes/blake2.js'
import { describe, expect, it } from 'vitest'
import { blake2sState, CHUNK, DIGEST, MESSAGE, PsiKernels, ROW, WIDTH } from '../../src/psi/kernels/wasm.ts'

const personal = new TextEncoder().encode('sotto tt')
const bit = (bytes: Uint8Array, index: number): number => (bytes[index >> 3]! >> (index & 7)) & 1
const xor = (a: Uint8Array, b: Uint8Array): Uint8Array => a.map((byte, i) => byte ^ b[i]!)
const and = (a: Uint8Array, b: Uint8Array): Uint8Array => a.map((byte, i) => byte & b[i]!)

describe('the kernels of private set intersection', () => {
  it('hash messages of 0 to 64 bytes as BLAKE2s does, with salt and personalisation, in any number', () => {
    const salt = randomBytes(8)
    const kernels = new PsiKernels(0)
    for (const n of [1, 2, 3, 4, 5, 65, CHUNK]) {
      const lengths = Uint32Array.from({ length: n }, (_, i) => i % (MESSAGE + 1))
      const messages = Array.from(lengths, (length) => randomBytes(length))
      kernels.messages.fill(0)
      for (const [i, message] of messages.entries()) kernels.messages.set(message, MESSAGE * i)
      const digests = kernels.hash(n, lengths, blake2sState(personal, salt))
      for (const i of n > 100 ? [0, 64, n - 1] : messages.keys()) {
        const expected = blake2s(messages[i]!, { dkLen: DIGEST, salt, personalization: personal })
        expect(Uint8Array.from(digests.subarray(DIGEST * i, DIGEST * (i + 1)))).toEqual(expected)
      }
    }
  })

  it('turn columns of bits into rows', () => {
    const rows = 384
    const kernels = new PsiKernels(512)
    const columns = Array.from({ length: WIDTH }, () => randomBytes(rows / 8))
    for (const [i, column] of columns.entries()) kernels.column(i, rows / 8).set(column)
    kernels.turn(1, rows)
    const turned = kernels.rows(1, rows)
    for (let row = 0; row < rows; row++) {
      const expected = new Uint8Array(ROW)
      for (const [i, column] of columns.entries()) expected[i >> 3]! |= bit(column, row) << (i & 7)
      expect(turned.slice(ROW * row, ROW * (row + 1)), `row ${row}`).toEqual(expected)
    }
  })

  it('correct, select and evaluate rows as the formulas say', () => {
    const rows = 128
    const kernels = new PsiKernels(rows)
    const [t0, t1] = [randomBytes(ROW * rows), randomBytes(ROW * rows)]
    const codes = Array.from({ length: 4 }, () => randomBytes(16 * rows))
    const codeOf = (i: number) =>
      Buffer.concat(codes.map((code) => code.subarray(16 * i, 16 * i + 16))).subarray(0, ROW)
    const row = (matrix: Uint8Array, i: number) => Uint8Array.from(matrix.subarray(ROW * i, ROW * (i + 1)))
    kernels.rows(0, rows).set(t0)
    kernels.rows(1, rows).set(t1)
    // In two parts, the second from a row that is not the first.
    kernels.correct(
      codes.map((code) => code.subarray(0, 16 * 50)),
      0,
      50,
    )
    kernels.correct(
      codes.map((code) => code.subarray(16 * 50)),
      50,
      rows - 50,
    )
    for (let i = 0; i < rows; i++) {
      expect(row(kernels.rows(1, rows), i)).toEqual(xor(xor(row(t0, i), row(t1, i)), codeOf(i)))
    }

    const s = randomBytes(ROW)
    kernels.rows(1, rows).set(t1)
    kernels.select(s, rows)
    const q = kernels.rows(0, rows).slice()
    for (let i = 0; i < rows; i++) expect(row(q, i)).toEqual(xor(row(t0, i), and(row(t1, i), s)))

    const places = Uint32Array.of(7, 0, 127, 7, 64)
    const state = blake2sState(personal)
    const messageOf = (value: Uint8Array, number: number) => {
      const message = new Uint8Array(MESSAGE)
      message.set(value)
      new DataView(message.buffer).setUint32(ROW, number, true)
      return blake2s(message, { dkLen: DIGEST, personalization: personal })
    }
    const first = 1000
    const with_ = kernels.evaluate(places, first, state, { codes, s }).slice()
    const without = kernels.evaluate(places, first, state).slice()
    for (const [i, place] of places.entries()) {
      const coded = messageOf(xor(row(q, place), and(codeOf(i), s)), first + place)
      expect(with_.subarray(DIGEST * i, DIGEST * (i + 1))).toEqual(coded)
      expect(without.subarray(DIGEST * i, DIGEST * (i + 1))).toEqual(messageOf(row(q, place), first + place))
    }
  })

  it('leave nothing in memory once it is wiped', () => {
    const kernels = new PsiKernels(128)
    kernels.rows(0, 128).fill(7)
    kernels.wipe()
    expect(kernels.rows(0, 128).every((byte) => byte === 0)).toBe(true)
  })
})
