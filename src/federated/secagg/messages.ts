/**
 * What clients and server say to each other, round by round (Bonawitz et al., CCS '17, figure 4, with the signatures that
 * are for active adversaries; step 0b is our own, see graph.ts), and the form that it must have. A client is a name in
 * what it sends, and a number, its position in the roster, in what everybody is told.
 *
 * | step | a client sends | the server sends |
 * | --- | --- | --- |
 * | 0 | {@link Advert}: keys of this round | {@link Roster}: all of them |
 * | 0b, above 64 clients | {@link Reveal}: its part of the seed | {@link Draws}: all parts, or another roster |
 * | 1 | {@link Shares}: sealed, one for each holder | {@link Delivery}: those for the client |
 * | 2 | {@link MaskedInput} | {@link Survivors}: whose input came |
 * | 3 | {@link Confirmation}: the survivors, signed | {@link Quorum}: signatures of witnesses |
 * | 4 | {@link Unmasking}: of each neighbour, a share of one kind | |
 */
import * as v from 'valibot'
import { sottoError } from '../../errors.ts'
import { CLIENTS, DRAWS } from './parameters.ts'
import { SECRET } from './shamir.ts'

/** Two shares and the tag of ChaCha20-Poly1305. */
export const SEALED = 2 * SECRET + 16

const bytes = (length: number) =>
  v.custom<Uint8Array>((value) => value instanceof Uint8Array && value.length === length)
const id = v.pipe(v.string(), v.minLength(1), v.maxLength(256))
const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0))
const client = v.pipe(count, v.maxValue(CLIENTS - 1))
/** Clients, in order, none twice. */
const clients = v.pipe(
  v.array(client),
  v.maxLength(CLIENTS),
  v.check((list) => list.every((one, i) => i === 0 || list[i - 1]! < one), 'expected in order, none twice'),
)
/** A row for each client, in order, none twice. */
const rows = <Entries extends v.ObjectEntries>(name: string, entries: Entries) =>
  v.pipe(
    v.array(v.strictObject(entries)),
    v.maxLength(CLIENTS),
    v.check((list) => {
      const named = (list as readonly Record<string, unknown>[]).map((row) => row[name] as number)
      return named.every((one, i) => i === 0 || named[i - 1]! < one)
    }, 'expected in order, none twice'),
  )
const attempt = v.pipe(count, v.maxValue(DRAWS - 1))

const advert = v.strictObject({
  id,
  round: count,
  /** X25519, for shares. */
  sealKey: bytes(32),
  /** X25519, for masks. */
  maskKey: bytes(32),
  /** Hash of the seed of the self-mask: whoever puts it together can tell. */
  seedCommitment: bytes(32),
  /** Hash of what the client puts into the draw of places. */
  drawCommitment: bytes(32),
  /** Ed25519, by the long-term key. */
  signature: bytes(64),
})
const roster = v.strictObject({
  round: count,
  /** 0, and one more for each draw that was spoilt. */
  attempt,
  adverts: v.pipe(v.array(advert), v.maxLength(CLIENTS)),
  /** The commitments to this draw; at attempt 0 those of the adverts. */
  commitments: v.pipe(v.array(bytes(32)), v.maxLength(CLIENTS)),
})
const reveal = v.strictObject({
  id,
  round: count,
  attempt,
  draw: bytes(32),
  /** The commitment to the next draw, if this one is spoilt. */
  next: bytes(32),
})
const draws = v.strictObject({ round: count, attempt, draws: v.pipe(v.array(bytes(32)), v.maxLength(CLIENTS)) })
const shares = v.strictObject({ id, round: count, sealed: rows('to', { to: client, box: bytes(SEALED) }) })
const delivery = v.strictObject({
  round: count,
  /** Whose shares came: with their neighbours among these, clients share masks. */
  sharers: clients,
  sealed: rows('from', { from: client, box: bytes(SEALED) }),
})
const maskedInput = v.strictObject({
  id,
  round: count,
  values: v.custom<Uint8Array>((value) => value instanceof Uint8Array),
})
const survivors = v.strictObject({ round: count, survivors: clients })
const confirmation = v.strictObject({ id, round: count, signature: bytes(64) })
const quorum = v.strictObject({ round: count, signatures: rows('by', { by: client, signature: bytes(64) }) })
const unmasking = v.strictObject({
  id,
  round: count,
  /** Shares of seeds of self-masks, of survivors. */
  seeds: rows('of', { of: client, share: bytes(SECRET) }),
  /** Shares of mask keys, of those that dropped out. */
  keys: rows('of', { of: client, share: bytes(SECRET) }),
})

export type Advert = Readonly<v.InferOutput<typeof advert>>
export type Roster = Readonly<v.InferOutput<typeof roster>>
export type Reveal = Readonly<v.InferOutput<typeof reveal>>
export type Draws = Readonly<v.InferOutput<typeof draws>>
export type Shares = Readonly<v.InferOutput<typeof shares>>
export type Delivery = Readonly<v.InferOutput<typeof delivery>>
export type MaskedInput = Readonly<v.InferOutput<typeof maskedInput>>
export type Survivors = Readonly<v.InferOutput<typeof survivors>>
export type Confirmation = Readonly<v.InferOutput<typeof confirmation>>
export type Quorum = Readonly<v.InferOutput<typeof quorum>>
export type Unmasking = Readonly<v.InferOutput<typeof unmasking>>

const schemas = {
  advert,
  roster,
  reveal,
  draws,
  shares,
  delivery,
  'masked input': maskedInput,
  survivors,
  confirmation,
  quorum,
  unmasking,
} as const
export type MessageName = keyof typeof schemas
export type Message<Name extends MessageName> = v.InferOutput<(typeof schemas)[Name]>

/**
 * A message in the form that it must have: the one that came, not a copy. A thousand clients of one process that are told
 * the same hold it once.
 *
 * @throws ProtocolError `ERR_PROTOCOL` for any other, naming the field and never its value
 * @throws ProtocolError `ERR_OUT_OF_STEP` for one of another round
 */
export function checkMessage<Name extends MessageName>(name: Name, message: unknown, round: number): Message<Name> {
  const result = v.safeParse(schemas[name], message, { abortEarly: true })
  if (!result.success) {
    const path = v.getDotPath(result.issues[0]!) ?? 'the message'
    throw sottoError('ERR_PROTOCOL', `${name}: "${path}" is not what it must be`, { message: name, path })
  }
  const checked = message as Message<Name>
  if (checked.round === round) return checked
  throw sottoError('ERR_OUT_OF_STEP', `${name}: it is of round ${checked.round}, and this is round ${round}`, {
    message: name,
    round,
  })
}

/** @throws ProtocolError `ERR_PROTOCOL` */
export function refuse(name: MessageName, what: string): Error {
  return sottoError('ERR_PROTOCOL', `${name}: ${what}`, { message: name })
}
