/** Memory of large arrays that is used again: never by two at a time. */
import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import { recycle, unfilled } from '../../src/worker/memory-pool.ts'

beforeAll(() => {
  vi.useFakeTimers()
})
afterAll(() => {
  vi.useRealTimers()
})

// Sizes that nobody else asks for.
const SIZE = 100_008
const array = (bytes = SIZE) => new BigUint64Array(unfilled(bytes))

it('is handed out again for the same size, and for no other', () => {
  const first = array()
  recycle(first)
  expect(array(SIZE + 8).buffer).not.toBe(first.buffer)
  expect(array().buffer).toBe(first.buffer)
  expect(array().buffer).not.toBe(first.buffer)
})

it('is handed out once, however often it was given back', () => {
  const first = array()
  recycle(first, first)
  recycle(first)
  expect(array().buffer).toBe(first.buffer)
  expect(array().buffer).not.toBe(first.buffer)
})

it('is not taken where others may have a part of it, of threads, or small', () => {
  const whole = new BigUint64Array(SIZE / 4)
  const shared = new BigUint64Array(new SharedArrayBuffer(SIZE))
  const small = new BigUint64Array(64)
  recycle(whole.subarray(0, SIZE / 8), shared, small)
  for (const bytes of [SIZE, 2 * SIZE, 512]) {
    const made = array(bytes).buffer
    for (const { buffer } of [whole, shared, small]) expect(made).not.toBe(buffer)
  }
})

it('is kept up to a bound', () => {
  const bytes = 2 ** 25 + 8
  const arrays = Array.from({ length: 12 }, () => array(bytes))
  recycle(...arrays)
  const seen = new Set<unknown>(arrays.map(({ buffer }) => buffer))
  const again = Array.from({ length: 12 }, () => array(bytes)).filter(({ buffer }) => seen.has(buffer))
  // 256 MiB are seven of them.
  expect(again.length).toBeGreaterThan(0)
  expect(again.length).toBeLessThanOrEqual(7)
})

it('is let go when nobody has asked for any in a while', () => {
  const first = array()
  recycle(first)
  vi.advanceTimersByTime(60_000)
  expect(array().buffer).not.toBe(first.buffer)
})
