/**
 * Memory of large arrays that is used again. What is new costs more than to work on it: pages have to be found and cleared,
 * and collected later. So whoever has made an array that nobody else has seen gives it back when it is done with it, and an
 * array of the same size comes out of that.
 *
 * What stands in it lies there until then, shares among it, as in the scratch memory of the kernels.
 */
import { unheld } from './transport/awake.ts'

/** Smaller arrays cost less to make than to keep. */
const LEAST = 8192
/** To fill a smaller one with zeros costs less than to ask for one that is not. */
const FILLED = 4096
/** Bytes kept at most. */
const MOST = 2 ** 28
/** Milliseconds without work after which nothing is kept. */
const IDLE = 5000

const kept = new Map<number, Set<ArrayBuffer>>()
let keptBytes = 0
/** Memory that is never taken back. */
const exempted = new WeakSet<ArrayBufferLike>()
let isUsed = false
let timer: ReturnType<typeof setTimeout> | null = null

/** Memory for a result of which every byte is written before anybody sees it. */
export function unfilled(bytes: number): ArrayBuffer {
  const found = bytes >= LEAST ? kept.get(bytes)?.values().next().value : undefined
  if (found !== undefined) {
    kept.get(bytes)!.delete(found)
    keptBytes -= bytes
    isUsed = true
    return found
  }
  if (bytes < FILLED || globalThis.Buffer === undefined) return new ArrayBuffer(bytes)
  return Buffer.allocUnsafeSlow(bytes).buffer as ArrayBuffer
}

/** Bytes, and words, of which every one is written before anybody sees them. */
export const unfilledBytes = (length: number): Uint8Array =>
  length < FILLED ? new Uint8Array(length) : new Uint8Array(unfilled(length))
export const unfilledWords = (length: number): BigUint64Array =>
  8 * length < FILLED ? new BigUint64Array(length) : new BigUint64Array(unfilled(8 * length))

/** Somebody else may look at these as well, now or later: {@link recycle} takes nothing of their memory. */
export function exempt(...arrays: readonly ArrayBufferView[]): void {
  for (const { buffer } of arrays) if (buffer.byteLength >= LEAST) exempted.add(buffer)
}

/** Takes arrays back that are whole, and that nothing and nobody looks at any more. */
export function recycle(...arrays: readonly ArrayBufferView[]): void {
  for (const array of arrays) {
    const { byteLength } = array
    // To ask a small one for its buffer may be what makes it.
    if (byteLength < LEAST) continue
    const { buffer } = array
    // Of memory that others have parts of, or that is shared between threads, nothing is taken.
    if (byteLength !== buffer.byteLength || !(buffer instanceof ArrayBuffer)) continue
    if (exempted.has(buffer)) continue
    if (keptBytes + byteLength > MOST) forgetAll()
    if (byteLength > MOST) continue
    const those = kept.get(byteLength) ?? new Set()
    kept.set(byteLength, those)
    if (!those.has(buffer)) keptBytes += byteLength
    those.add(buffer)
  }
  if (keptBytes > 0) forgetLater()
}

/** A result, of which what it was made of is not needed any more; see {@link recycle}. */
export function spent<T>(result: T, ...arrays: readonly ArrayBufferView[]): T {
  recycle(...arrays)
  return result
}

/** Sizes change with the work: those of before are let go together. */
function forgetAll(): void {
  kept.clear()
  keptBytes = 0
}

/** When there is no work any more, memory is others' to use. */
function forgetLater(): void {
  if (timer !== null) return
  isUsed = false
  timer = unheld(
    setTimeout(() => {
      timer = null
      if (isUsed) forgetLater()
      else forgetAll()
    }, IDLE),
  )
}
