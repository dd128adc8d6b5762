/**
 * A checkpoint as bytes: the same in memory and in a file. Numbers are little-endian.
 *
 * | bytes | what |
 * | --- | --- |
 * | 16 | `sotto checkpoint`, in ASCII |
 * | 4 | version: 1 |
 * | 32 | SHA-256 of all that follows |
 * | 8 | when it was saved: milliseconds since 1970 |
 * | | one value of MessagePack: {@link contentSchema}, in which the model is as it travels (PROTOCOL.md, Models) |
 *
 * Whoever can write the file can write another checksum too: it finds what was cut or changed by accident. What is read
 * is checked as if a stranger had sent it.
 */
import { sha256 as sha256Of } from '@noble/hashes/sha2.js'
import { bytesToHex } from '@noble/hashes/utils.js'
import * as v from 'valibot'
import { sottoError } from '../errors.ts'
import type { Policy } from '../tensor/location.ts'
import type { ModelWire } from '../tensor/model-wire.ts'
import type { Shape } from '../tensor/shape.ts'
import { encodeValue, readValues } from './codec.ts'
import { fields } from './schema.ts'

/** What a checkpoint is kept under. */
export interface CheckpointKey {
  readonly worker: string
  /** Who saved it. */
  readonly identity: string
  readonly name: string
}

/** What is kept of a model. */
export interface KeptModel {
  readonly model: ModelWire
  /** Policies on each of its weights, in their order. */
  readonly access: readonly (readonly Policy[])[]
}

/** What one party keeps of secrets: shares, of which those of all parties together say something. */
export interface KeptShares {
  /** Drawn for each set: shares of two sets add up to nothing. */
  readonly set: string
  /** The parties in their order, and which of them this is. */
  readonly parties: readonly string[]
  readonly index: number
  /** The other members of their group, the provider too, as this worker knows them. */
  readonly members: readonly { readonly name: string; readonly key: string }[]
  /** What the caller has to say of them, in words of his own; the same at all parties. */
  readonly note: string
  readonly tensors: readonly {
    readonly shape: Shape
    /** Ring elements, which add up to the secret's over all parties. */
    readonly data: Uint8Array
    readonly access: readonly Policy[]
  }[]
}

export type Kept = KeptModel | { readonly shares: KeptShares }

/** What the first bytes of a checkpoint say. */
export interface CheckpointHead {
  readonly sha256: string
  readonly savedAt: number
}

const MAGIC = new TextEncoder().encode('sotto checkpoint')
const VERSION = 1
const AT = { version: 16, digest: 20, savedAt: 52, content: 60 } as const
/** Bytes before the content: enough to list a checkpoint. */
export const HEAD = AT.content
/** Bytes of random salt: the checksum, which is told to who saved it, then tells nothing of weights it may not see. */
const SALT = 32

/** Characters of a note. */
export const LONGEST_NOTE = 2 ** 20

const head = {
  worker: fields.name,
  identity: fields.name,
  name: fields.checkpointName,
  salt: v.pipe(fields.bytes, v.length(SALT)),
}
const sharesSchema = v.strictObject({
  set: fields.out,
  parties: fields.names,
  index: fields.count,
  members: v.array(v.strictObject({ name: fields.name, key: fields.peerKey })),
  note: v.pipe(v.string(), v.maxLength(LONGEST_NOTE)),
  tensors: v.array(v.strictObject({ shape: fields.shape, data: fields.bytes, access: fields.access })),
})
const contentSchema = v.union([
  v.strictObject({ ...head, model: fields.model, access: v.array(fields.access) }),
  v.strictObject({ ...head, shares: sharesSchema }),
])

/** Off this thread and five times as fast where there is WebCrypto: browsers have it in secure contexts only. */
async function digestOf(bytes: Uint8Array): Promise<Uint8Array> {
  const { subtle } = globalThis.crypto
  if (subtle === undefined) return sha256Of(bytes)
  return new Uint8Array(await subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>))
}

/** Writes a checkpoint; `Date.now()` is when it is saved. */
export async function writeCheckpoint(
  { worker, identity, name }: CheckpointKey,
  kept: Kept,
): Promise<CheckpointHead & { readonly bytes: Uint8Array }> {
  const savedAt = Date.now()
  const salt = globalThis.crypto.getRandomValues(new Uint8Array(SALT))
  const content = encodeValue({ worker, identity, name, salt, ...kept })
  const bytes = new Uint8Array(HEAD + content.length)
  const view = new DataView(bytes.buffer)
  bytes.set(MAGIC)
  view.setUint32(AT.version, VERSION, true)
  view.setBigUint64(AT.savedAt, BigInt(savedAt), true)
  bytes.set(content, AT.content)
  const digest = await digestOf(bytes.subarray(AT.savedAt))
  bytes.set(digest, AT.digest)
  return { bytes, sha256: bytesToHex(digest), savedAt }
}

/** What the first bytes say, or null when they are not those of a checkpoint of this version. */
export function headOf(bytes: Uint8Array): CheckpointHead | null {
  if (bytes.length < HEAD || !MAGIC.every((byte, i) => bytes[i] === byte)) return null
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const savedAt = Number(view.getBigUint64(AT.savedAt, true))
  if (view.getUint32(AT.version, true) !== VERSION || !Number.isSafeInteger(savedAt)) return null
  return { sha256: bytesToHex(bytes.subarray(AT.digest, AT.savedAt)), savedAt }
}

/**
 * Reads a checkpoint that was kept under a key.
 *
 * @throws StateError `ERR_CHECKPOINT` for whatever is none, and nothing else
 */
export async function readCheckpoint(bytes: Uint8Array, key: CheckpointKey): Promise<Kept & CheckpointHead> {
  const wrong = (why: string): Error =>
    sottoError('ERR_CHECKPOINT', `restore: what ${key.worker} keeps as "${key.name}" ${why}`, { name: key.name })
  const head = headOf(bytes)
  if (head === null) throw wrong('is no checkpoint of this version, or was cut short')
  if (bytesToHex(await digestOf(bytes.subarray(AT.savedAt))) !== head.sha256) {
    throw wrong('was cut or changed: its checksum is another')
  }
  const content = contentOf(bytes.subarray(AT.content))
  if (content === null) throw wrong('is malformed')
  const { worker, identity, name } = content
  // A file that was put in the place of another.
  if (worker !== key.worker || identity !== key.identity || name !== key.name) {
    throw wrong('was saved by somebody else, or under another name')
  }
  if ('shares' in content) return { shares: content.shares, ...head }
  const { model, access } = content
  if (access.length !== model.weights.length) throw wrong('is malformed')
  return { model, access, ...head }
}

function contentOf(bytes: Uint8Array): v.InferOutput<typeof contentSchema> | null {
  let values: readonly unknown[]
  try {
    values = readValues(bytes)
  } catch {
    return null
  }
  const result = v.safeParse(contentSchema, values[0], { abortEarly: true })
  return values.length === 1 && result.success ? result.output : null
}
