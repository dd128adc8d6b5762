/**
 * Parts of a secret as files, one for each party: what a party holds of it under its protocol. Numbers are little-endian.
 *
 * | bytes | what |
 * | --- | --- |
 * | 16 | `sotto share part`, in ASCII |
 * | 4 | version: 1 |
 * | 32 | SHA-256 of all that follows |
 * | | one value of MessagePack: {@link contentSchema} |
 *
 * A secret x is the sum of as many components as there are parties, mod 2^ring. Each of them, and any but all, is uniform.
 * Of each component every part has a commitment, SHA-256(salt ‖ component): its salt is with those alone who hold the
 * component, so that it tells others nothing, and whoever puts parts together sees which of them was exchanged or changed,
 * checksum and all.
 */
import { sha256 } from '@noble/hashes/sha2.js'
import * as v from 'valibot'
import { sottoError } from '../errors.ts'
import { type Shape, sameShape, sizeOf } from '../tensor/shape.ts'
import { encodeValue, readValues } from '../worker/codec.ts'
import { fields } from '../worker/schema.ts'
import { type Encoding, isEncoding, sameEncoding } from './encoding.ts'
import { checkParties, protocolOf, protocols } from './protocols/index.ts'
import { add, bytesOf, concatenated, type RingTensor, ringTensor, wordsOf } from './ring/tensor.ts'
import { shareFrom, sharesOf } from './stored-share.ts'

/** What all parts of one secret have in common. */
export interface ShareSet {
  /** Drawn anew for each split: 16 bytes. Parts of two splits add up to nothing. */
  readonly set: Uint8Array
  readonly protocol: string
  /** How many there are. */
  readonly parties: number
  readonly shape: Shape
  readonly encoding: Encoding
  /** Names of the columns of a table, which are public. */
  readonly columns: readonly string[] | null
  /** Of each component. */
  readonly commitments: readonly Uint8Array[]
}

/** One party's part. */
export interface SharePart extends ShareSet {
  /** Which party's, from 0. */
  readonly party: number
  /** What goes before each component that the party holds, where it is committed to. */
  readonly salts: readonly Uint8Array[]
  /** The components that the party holds, in the order in which its protocol gives them. */
  readonly components: readonly Uint8Array[]
}

const MAGIC = new TextEncoder().encode('sotto share part')
const VERSION = 1
const AT = { version: 16, digest: 20, content: 52 } as const
const SET = 16
/** Bytes of SHA-256, and of a salt. */
const DIGEST = 32
const MOST_PARTIES = 256
const MOST_COLUMNS = 65_536

const of = (length: number) => v.pipe(fields.bytes, v.length(length))
const small = v.pipe(fields.count, v.maxValue(MOST_PARTIES))
const contentSchema = v.strictObject({
  set: of(SET),
  protocol: v.picklist(Object.keys(protocols)),
  party: small,
  parties: small,
  shape: fields.shape,
  encoding: v.custom<Encoding>(isEncoding),
  columns: v.nullable(v.pipe(v.array(v.string()), v.maxLength(MOST_COLUMNS))),
  commitments: v.pipe(v.array(of(DIGEST)), v.maxLength(MOST_PARTIES)),
  salts: v.pipe(v.array(of(DIGEST)), v.maxLength(MOST_PARTIES)),
  components: v.pipe(v.array(fields.bytes), v.maxLength(MOST_PARTIES)),
})

const random = (length: number): Uint8Array => globalThis.crypto.getRandomValues(new Uint8Array(length))
const commitmentOf = (salt: Uint8Array, component: Uint8Array): Uint8Array => sha256(concatenated([salt, component]))
const areSame = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && a.every((byte, i) => byte === b[i])

export interface SplitOptions {
  readonly encoding: Encoding
  readonly protocol: string
  readonly parties: number
  readonly columns?: readonly string[] | null
}

/**
 * Splits a tensor into parts: the files of its parties, in order.
 *
 * @throws PlacementError `ERR_PARTIES` for a number of parties that the protocol is not for; `ERR_ARGUMENT_VALUE` for a
 *   protocol that there is not
 */
export function splitIntoFiles(value: RingTensor, options: SplitOptions): Uint8Array[] {
  const { encoding, parties, columns = null } = options
  const protocol = protocolOf(options.protocol)
  checkParties(protocol, parties, false)
  const shares = sharesOf(value, parties, protocol).map((wire) => shareFrom(value.ring, wire))
  const components: Uint8Array[] = []
  shares.forEach((share, party) => {
    protocol.held(party, parties).forEach((component, i) => {
      components[component] = bytesOf(share[i]!.data)
    })
  })
  const salts = components.map(() => random(DIGEST))
  const common = {
    set: random(SET),
    protocol: protocol.name,
    parties,
    shape: [...value.shape],
    encoding,
    columns,
    commitments: components.map((component, i) => commitmentOf(salts[i]!, component)),
  } as const
  return shares.map((_, party) => {
    const held = protocol.held(party, parties)
    return writePart({
      ...common,
      party,
      salts: held.map((component) => salts[component]!),
      components: held.map((component) => components[component]!),
    })
  })
}

function writePart(part: SharePart): Uint8Array {
  const content = encodeValue(part)
  const bytes = new Uint8Array(AT.content + content.length)
  bytes.set(MAGIC)
  new DataView(bytes.buffer).setUint32(AT.version, VERSION, true)
  bytes.set(sha256(content), AT.digest)
  bytes.set(content, AT.content)
  return bytes
}

/**
 * Reads a part.
 *
 * @param name of the file, for messages
 * @throws StateError `ERR_SHARES` for whatever is none, and nothing else
 */
export function readPart(bytes: Uint8Array, name: string): SharePart {
  const wrong = (why: string): Error => sottoError('ERR_SHARES', `${name}: ${why}`, { name })
  if (bytes.length < AT.content || !MAGIC.every((byte, i) => bytes[i] === byte)) {
    throw wrong('it is no part of a secret, as "sotto shares split" writes them, or was cut short')
  }
  const version = new DataView(bytes.buffer, bytes.byteOffset).getUint32(AT.version, true)
  if (version !== VERSION) throw wrong(`it is of version ${version}, and this reads ${VERSION}`)
  if (!areSame(sha256(bytes.subarray(AT.content)), bytes.subarray(AT.digest, AT.content))) {
    throw wrong('it was cut or changed: its checksum is another')
  }
  const part = contentOf(bytes.subarray(AT.content))
  if (part === null) throw wrong('it is malformed')
  const { protocol, party, parties, shape, encoding, commitments, salts, components, columns } = part
  const { parties: range, held } = protocolOf(protocol)
  const holds = party < parties ? held(party, parties) : []
  const isWhole =
    parties >= range[0] &&
    parties <= range[1] &&
    party < parties &&
    commitments.length === parties &&
    salts.length === holds.length &&
    components.length === holds.length &&
    components.every(({ length }) => length === (encoding.ring / 8) * sizeOf(shape)) &&
    (columns === null || columns.length === shape.at(-1))
  if (!isWhole) throw wrong('it is malformed: it does not hold what it says')
  holds.forEach((component, i) => {
    if (areSame(commitmentOf(salts[i]!, components[i]!), commitments[component]!)) return
    throw wrong('what it holds is not what was split: it was changed')
  })
  return part
}

function contentOf(bytes: Uint8Array): SharePart | null {
  let values: readonly unknown[]
  try {
    values = readValues(bytes)
  } catch {
    return null
  }
  const result = v.safeParse(contentSchema, values[0], { abortEarly: true })
  return values.length === 1 && result.success ? result.output : null
}

/** A part, and the name of its file for messages. */
export interface NamedPart {
  readonly name: string
  readonly part: SharePart
}

/**
 * Whether parts are of one set, each of another party.
 *
 * @throws StateError `ERR_SHARES_MISMATCH` with the names of two that do not go together
 */
export function checkTogether(parts: readonly NamedPart[]): void {
  const wrong = (a: NamedPart, b: NamedPart, why: string): Error =>
    sottoError('ERR_SHARES_MISMATCH', `${a.name} and ${b.name}: ${why}`, { names: [a.name, b.name] })
  parts.forEach((one, i) => {
    const [first] = parts
    const twin = parts.slice(0, i).find(({ part }) => part.party === one.part.party)
    if (!isOfSet(one.part, first!.part)) throw wrong(first!, one, 'they are not of one set')
    if (twin !== undefined) throw wrong(twin, one, `both are the part of party ${one.part.party}`)
  })
}

const isOfSet = (a: ShareSet, b: ShareSet): boolean =>
  areSame(a.set, b.set) &&
  a.protocol === b.protocol &&
  a.parties === b.parties &&
  sameShape(a.shape, b.shape) &&
  sameEncoding(a.encoding, b.encoding) &&
  JSON.stringify(a.columns) === JSON.stringify(b.columns) &&
  a.commitments.every((commitment, i) => areSame(commitment, b.commitments[i]!))

/**
 * The tensor that was split: of additive sharing from all parts, of replicated sharing from any two.
 *
 * @throws StateError `ERR_SHARES_MISMATCH` for parts that do not go together, or are too few
 */
export function joinParts(parts: readonly NamedPart[]): RingTensor {
  checkTogether(parts)
  const [first] = parts
  if (first === undefined) throw sottoError('ERR_SHARES_MISMATCH', 'there is no part to join')
  const { protocol, parties, shape, encoding } = first.part
  const { held } = protocolOf(protocol)
  const components = new Map<number, Uint8Array>()
  // Where two hold the same component, both were seen to be what the one commitment says.
  for (const { part } of parts) {
    held(part.party, parties).forEach((component, i) => {
      components.set(component, part.components[i]!)
    })
  }
  if (components.size < parties) {
    throw sottoError(
      'ERR_SHARES_MISMATCH',
      `${parts.map(({ name }) => name).join(', ')}: of ${protocol} sharing among ${parties}, ${parts.length} ` +
        `${parts.length === 1 ? 'part says' : 'parts say'} nothing; there must be ${fewest(held, parties)}`,
      { parts: parts.length },
    )
  }
  return [...components.values()]
    .map((component) => ringTensor(encoding.ring, shape, wordsOf(component)))
    .reduce((a, b) => add(a, b))
}

/** Parts that it takes: those of the first parties cover all components as soon as any do. */
function fewest(held: (index: number, parties: number) => readonly number[], parties: number): number {
  const covered = new Set<number>()
  for (let party = 0; party < parties; party++) {
    for (const component of held(party, parties)) covered.add(component)
    if (covered.size === parties) return party + 1
  }
  return parties
}
