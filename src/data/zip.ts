/**
 * Takes one file out of a ZIP archive in memory: PKWARE APPNOTE.TXT 6.3.10, the part that small archives use.
 *
 * Stored and deflated members; no encryption, no ZIP64, no archives in several parts. The central directory is the
 * authority: sizes in local headers may be zero when the archive was written as a stream.
 */
import { crc32, inflateRawSync } from 'node:zlib'
import { sottoError } from '../errors.ts'

const endSignature = 0x06054b50
const endSize = 22
const entrySignature = 0x02014b50
const entrySize = 46
const localSignature = 0x04034b50
const localSize = 30
/** A comment of up to 65,535 bytes may follow the end record. */
const longestComment = 0xffff

/**
 * The content of one member.
 *
 * @param archive the whole archive
 * @param member the member's path, exactly as the archive spells it
 * @param maxSize bytes that the content may have at most, a guard against archives that unpack to gigabytes
 * @throws DataError `ERR_DATA_FORMAT` when the archive is malformed, uses what is not read here, or has no such member;
 * nothing else is thrown
 */
export function unzip(archive: Uint8Array, member: string, maxSize: number): Uint8Array {
  try {
    return read(archive, member, maxSize)
  } catch (error) {
    // A DataView says RangeError when an offset points outside the archive; zlib has its own for what is not deflated.
    throw sottoError('ERR_DATA_FORMAT', `zip: cannot read "${member}": ${(error as Error).message}`, { member }, error)
  }
}

function read(archive: Uint8Array, member: string, maxSize: number): Uint8Array {
  const view = new DataView(archive.buffer, archive.byteOffset, archive.byteLength)
  const entry = findEntry(archive, view, member)
  if (entry.flags & 1) throw new Error('it is encrypted')
  if (entry.size > maxSize) throw new Error(`it has ${entry.size} bytes, more than the ${maxSize} expected`)
  if (view.getUint32(entry.offset, true) !== localSignature) throw new Error('its local header has no signature')

  // Name and extra field of the local header may be longer than those of the directory.
  const begin =
    entry.offset + localSize + view.getUint16(entry.offset + 26, true) + view.getUint16(entry.offset + 28, true)
  const packed = archive.subarray(begin, begin + entry.packedSize)
  if (packed.length !== entry.packedSize) throw new Error('the archive ends before it')

  const content = unpack(packed, entry.method, maxSize)
  if (content.length !== entry.size) throw new Error(`expected ${entry.size} bytes, got ${content.length}`)
  if (crc32(content) !== entry.crc) throw new Error('its checksum differs')
  return content
}

function unpack(packed: Uint8Array, method: number, maxSize: number): Uint8Array {
  if (method === 0) return packed
  if (method === 8) return inflateRawSync(packed, { maxOutputLength: Math.max(maxSize, 1) })
  throw new Error(`expected compression method 0 (stored) or 8 (deflate), got ${method}`)
}

interface Entry {
  readonly flags: number
  readonly method: number
  readonly crc: number
  readonly packedSize: number
  readonly size: number
  readonly offset: number
}

function findEntry(archive: Uint8Array, view: DataView, member: string): Entry {
  const end = findEnd(view)
  const entries = view.getUint16(end + 10, true)
  const decoder = new TextDecoder()
  let at = view.getUint32(end + 16, true)
  for (let i = 0; i < entries; i++) {
    if (view.getUint32(at, true) !== entrySignature) throw new Error('the directory is malformed')
    const nameLength = view.getUint16(at + 28, true)
    const name = decoder.decode(archive.subarray(at + entrySize, at + entrySize + nameLength))
    if (name === member) {
      return {
        flags: view.getUint16(at + 8, true),
        method: view.getUint16(at + 10, true),
        crc: view.getUint32(at + 16, true),
        packedSize: view.getUint32(at + 20, true),
        size: view.getUint32(at + 24, true),
        offset: view.getUint32(at + 42, true),
      }
    }
    at += entrySize + nameLength + view.getUint16(at + 30, true) + view.getUint16(at + 32, true)
  }
  throw new Error(`the archive has ${entries} members and none of that name`)
}

/** The end record is found from behind, past a comment of unknown length, and must account for that comment. */
function findEnd(view: DataView): number {
  const last = view.byteLength - endSize
  for (let at = last; at >= 0 && at >= last - longestComment; at--) {
    if (view.getUint32(at, true) === endSignature && at + endSize + view.getUint16(at + 20, true) === view.byteLength) {
      return at
    }
  }
  throw new Error('the archive has no end record')
}
