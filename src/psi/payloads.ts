/**
 * Payloads: what an owner adds to its ids for those who have them too. Each is encrypted under a key of its own, and that
 * key under the values of the oblivious PRF at its id: who has the id can take it off, to others it is noise.
 */
import { sottoError } from '../errors.ts'
import { blake2sState, CHUNK, DIGEST, MESSAGE, type PsiKernels } from './kernels/wasm.ts'

/** Bytes of a key, and where in a value of the PRF what hides it begins: tags are cut from before. */
export const KEY = 16
export const KEY_AT = 16
/** Bytes of a payload at most. */
export const LARGEST_PAYLOAD = 65_536
/** The length of a payload, before it: all are padded to the longest, which the other side is told. */
const LENGTH = 4

const state = blake2sState(new TextEncoder().encode('sotto pl'))

/** Bytes of a payload as it travels. */
export const paddedBytes = (longest: number): number => LENGTH + longest

/** @throws RangeError `ERR_ARGUMENT_VALUE` for payloads that are too long */
export function longestOf(payloads: readonly Uint8Array[]): number {
  const longest = payloads.reduce((most, { length }) => Math.max(most, length), 0)
  if (longest <= LARGEST_PAYLOAD) return longest
  throw sottoError('ERR_ARGUMENT_VALUE', `a payload has ${longest} bytes, and ${LARGEST_PAYLOAD} is the most`)
}

/** Writes a payload, padded, into the bytes of its own. */
export function pad(out: Uint8Array, payload: Uint8Array): void {
  new DataView(out.buffer, out.byteOffset).setUint32(0, payload.length, true)
  out.set(payload, LENGTH)
}

/** The payload in padded bytes; undefined where they are none. */
export function unpad(bytes: Uint8Array): Uint8Array | undefined {
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true)
  return length <= bytes.length - LENGTH ? bytes.slice(LENGTH, LENGTH + length) : undefined
}

/**
 * Encrypts, or decrypts, records in place: BLAKE2s of key and counter is xored on.
 *
 * @param keys one after the other, {@link KEY} bytes each; each is good for one record
 * @param each bytes of a record
 */
export function crypt(kernels: PsiKernels, keys: Uint8Array, records: Uint8Array, each: number): void {
  const count = keys.length / KEY
  const blocks = Math.ceil(each / DIGEST)
  const { messages } = kernels
  messages.fill(0)
  const counters = new DataView(messages.buffer, messages.byteOffset)
  for (let from = 0; from < count * blocks; from += CHUNK) {
    const n = Math.min(CHUNK, count * blocks - from)
    for (let i = 0; i < n; i++) {
      const record = Math.floor((from + i) / blocks)
      messages.set(keys.subarray(KEY * record, KEY * (record + 1)), MESSAGE * i)
      counters.setUint32(MESSAGE * i + KEY, (from + i) % blocks, true)
    }
    const stream = kernels.hash(n, KEY + 4, state)
    for (let i = 0; i < n; i++) {
      const record = Math.floor((from + i) / blocks)
      const start = DIGEST * ((from + i) % blocks)
      const end = Math.min(each, start + DIGEST)
      for (let byte = start; byte < end; byte++) records[each * record + byte]! ^= stream[DIGEST * i + byte - start]!
    }
  }
}
