/**
 * Masks: key streams of ChaCha20 (RFC 8439), as long as the vector, one key for each stream and each round.
 *
 * A stream runs over the whole vector, all tensors of a model one after the other, from its start to its end: no two
 * coordinates are masked alike, and neither are two rounds, whose keys are others.
 */
import { Prg, type PrgStream } from '../../smpc/prg.ts'
import { ring } from '../../smpc/ring/choose.ts'
import type { Vector } from './vectors.ts'

/** Bytes of a stream that are made at once: a chunk of the vector and of four streams stay in the caches. */
const CHUNK = 65_536

export interface Masks {
  /** Keys of 32 bytes whose streams are added. None of them may have been used before, nor may be again. */
  readonly added?: readonly Uint8Array[]
  readonly subtracted?: readonly Uint8Array[]
}

/** Adds and subtracts masks, in place. */
export function applyMasks(vector: Vector, { added = [], subtracted = [] }: Masks): void {
  const streamOf = (key: Uint8Array) => new Prg(key).stream(0)
  const [plus, minus] = [added.map(streamOf), subtracted.map(streamOf)]
  const words = CHUNK / vector.BYTES_PER_ELEMENT
  for (let from = 0; from < vector.length; from += words) {
    if (vector instanceof Uint32Array) {
      const length = Math.min(words, vector.length - from)
      const chunk = new Int32Array(vector.buffer, vector.byteOffset + 4 * from, length)
      addStreams(chunk, plus)
      subtractStreams(chunk, minus)
    } else {
      let chunk = vector.subarray(from, from + words)
      for (const stream of plus) chunk = ring().add(chunk, stream.words(chunk.length))
      for (const stream of minus) chunk = ring().sub(chunk, stream.words(chunk.length))
      vector.set(chunk, from)
    }
  }
}

/**
 * Four at a time: alone, a loop over 32-bit words takes about as long as the stream itself. Signed words, and sums cut
 * to 32 bits one by one: as unsigned ones, the engine would add them as doubles.
 */
function addStreams(chunk: Int32Array, streams: readonly PrgStream[]): void {
  let i = 0
  for (; i + 4 <= streams.length; i += 4) {
    const [a, b, c, d] = four(streams, i, chunk.length)
    for (let at = 0; at < chunk.length; at++) {
      chunk[at] = (((((chunk[at]! + a[at]!) | 0) + b[at]!) | 0) + ((c[at]! + d[at]!) | 0)) | 0
    }
  }
  for (; i < streams.length; i++) {
    const a = nextWords(streams[i]!, chunk.length)
    for (let at = 0; at < chunk.length; at++) chunk[at] = (chunk[at]! + a[at]!) | 0
  }
}

function subtractStreams(chunk: Int32Array, streams: readonly PrgStream[]): void {
  let i = 0
  for (; i + 4 <= streams.length; i += 4) {
    const [a, b, c, d] = four(streams, i, chunk.length)
    for (let at = 0; at < chunk.length; at++) {
      chunk[at] = (((((chunk[at]! - a[at]!) | 0) - b[at]!) | 0) - ((c[at]! + d[at]!) | 0)) | 0
    }
  }
  for (; i < streams.length; i++) {
    const a = nextWords(streams[i]!, chunk.length)
    for (let at = 0; at < chunk.length; at++) chunk[at] = (chunk[at]! - a[at]!) | 0
  }
}

type Words = Int32Array
function four(streams: readonly PrgStream[], from: number, length: number): [Words, Words, Words, Words] {
  const next = (i: number) => nextWords(streams[from + i]!, length)
  return [next(0), next(1), next(2), next(3)]
}

function nextWords(stream: PrgStream, length: number): Words {
  const { buffer, byteOffset } = stream.bytes(4 * length)
  return new Int32Array(buffer, byteOffset, length)
}
