/**
 * What two ends say before the first frame: who they are, and whether they go on with a link that broke.
 *
 * ```
 * dialler → listener   0, { version, nonce, ephemeral }
 * listener → dialler   0, challenge, signature      the listener's name, key, run and nonce
 * dialler → listener   0, answer, signature         who it is, and what it shows for it
 * listener → dialler   0, welcome                   or the end, with the reason
 * ```
 *
 * Each signature covers all that was said before it, the fresh nonces of both ends among it, as in SIGMA (Krawczyk,
 * CRYPTO 2003) and TLS 1.3 (RFC 8446 §4.4.3): what is overheard opens nothing elsewhere or later,
 * but for a token: that must not be overheard. Over a relay both
 * ends also agree on keys with which everything from the answer on is sealed; over a socket TLS does that, and the
 * listener signs the fingerprint of its certificate, so that a pinned key vouches for it.
 */
import { equalBytes } from '@noble/ciphers/utils.js'
import { hmac } from '@noble/hashes/hmac.js'
import { sha256 } from '@noble/hashes/sha2.js'
import * as v from 'valibot'
import { type Code, codes, sottoError } from '../../errors.ts'
import type { Capability } from '../capabilities.ts'
import { encodeValue, readValues } from '../codec.ts'
import { type Identity, isKey, verify } from '../identity.ts'
import { PROTOCOL_VERSION } from '../protocol.ts'
import { capability } from '../schema.ts'
import { afterAwake } from './awake.ts'
import type { Channel } from './channel.ts'
import { byeOf, MessageKind, messageOf, readMessage } from './messages.ts'
import { ephemeral, Sealer } from './seal.ts'
import { SealedChannel } from './sealed-channel.ts'

/** Who dials, and what it shows for it. */
export type Credentials =
  | { readonly role: 'caller'; readonly identity: string | null; readonly token: string | null }
  | { readonly role: 'peer'; readonly capability: Capability }
  | { readonly role: 'worker'; readonly name: string; readonly token: string | null }

/** A link that broke, as whoever dialled it remembers it. */
export interface Resumed {
  readonly id: string
  readonly secret: Uint8Array
  /** Counted messages that came. */
  readonly received: number
}

export interface DialOptions {
  readonly credentials: Credentials
  /** Who dials; needed by peers and workers. */
  readonly identity: Identity | null
  /** The key that the listener must hold; null for any. */
  readonly pin: string | null
  /** The link to go on with, as it is when the other end has answered; null for a new one. */
  readonly resume: { readonly incarnation: string; now(): Resumed } | null
}

export interface Welcomed {
  readonly channel: Channel
  readonly worker: string
  readonly key: string
  /** Of the run of the worker; another one has nothing of what an earlier one had. */
  readonly incarnation: string
  readonly link: { readonly id: string; readonly secret: Uint8Array }
  /** Counted messages of ours that the listener has. */
  readonly received: number
  /** Bytes of a message that the listener takes. */
  readonly message: number
  /** Who the listener takes the dialler for; null for whoever it says it is. */
  readonly identity: string | null
}

/** What is known of who dials, besides what it says. */
export interface Proof {
  /** The key that it has shown to hold, or null. */
  readonly key: string | null
  /** The name in its certificate, if an authority of the listener's vouches for it. */
  readonly certificate: string | null
}

export interface ListenOptions {
  readonly id: string
  readonly identity: Identity
  readonly incarnation: string
  readonly certificate: string | null
  readonly clientCertificate: string | null
  /** Bytes of a message that this end takes. */
  readonly message: number
  /** A link that broke, to go on with. */
  find(id: string): { readonly secret: Uint8Array } | undefined
  /** Whether somebody may come in; throws what is said to whoever may not. */
  admit(credentials: Credentials, proof: Proof): Promise<{ identity: string | null }>
}

/** Bytes by which a message grows at most that is sealed and passes a session in a frame. */
const ENVELOPE = 1024
/** Milliseconds for a handshake, at the listener. */
const PATIENCE = 10_000
const NONCE = 32

const CHALLENGE = 'sotto challenge 1'
const ANSWER = 'sotto answer 1'

const bytes32 = v.pipe(v.instance(Uint8Array), v.length(NONCE))
const text = v.pipe(v.string(), v.maxLength(256))
const key = v.custom<string>(isKey)
const hello = v.strictObject({ version: v.number(), nonce: bytes32, ephemeral: v.nullable(bytes32) })
const challenge = v.strictObject({
  version: v.number(),
  worker: text,
  key,
  incarnation: text,
  certificate: v.nullable(text),
  nonce: bytes32,
  ephemeral: v.nullable(bytes32),
})
const answer = v.strictObject({
  credentials: v.variant('role', [
    v.strictObject({ role: v.literal('caller'), identity: v.nullable(text), token: v.nullable(text) }),
    v.strictObject({ role: v.literal('peer'), capability }),
    v.strictObject({ role: v.literal('worker'), name: text, token: v.nullable(text) }),
  ]),
  key: v.nullable(key),
  link: v.nullable(v.strictObject({ id: text, proof: bytes32, received: v.number() })),
})
const welcome = v.strictObject({
  link: text,
  secret: bytes32,
  received: v.number(),
  message: v.number(),
  identity: v.nullable(text),
})

const unlike = (): Error => sottoError('ERR_PROTOCOL', 'the handshake is none of this protocol')

function parse<T>(schema: v.GenericSchema<unknown, T>, value: unknown): T {
  const result = v.safeParse(schema, value, { abortEarly: true })
  if (!result.success) throw unlike()
  return result.output
}
function packed<T>(schema: v.GenericSchema<unknown, T>, bytes: unknown): T {
  if (!(bytes instanceof Uint8Array)) throw unlike()
  const [value, ...more] = readValues(bytes)
  if (more.length > 0) throw unlike()
  return parse(schema, value)
}

const random = (): Uint8Array => globalThis.crypto.getRandomValues(new Uint8Array(NONCE))

function concatenated(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}

/** Shows that a link was this end's, to whoever knows its secret; good for this handshake alone. */
const resumeProof = (secret: Uint8Array, transcript: Uint8Array): Uint8Array =>
  hmac(sha256, secret, concatenated([RESUME, sha256(transcript)]))
const RESUME = new TextEncoder().encode('sotto resume 1')

/** Reads messages one by one: what follows the last of them is for whoever listens next. */
class Reader {
  channel: Channel
  #reject: (error: Error) => void = () => {}
  #failed: Error | null = null

  constructor(channel: Channel, signal: AbortSignal) {
    this.channel = channel
    channel.onMessage(null)
    const fail = (error: Error) => {
      this.#failed ??= error
      this.#reject(error)
    }
    channel.onClose((reason) =>
      fail(reason ?? sottoError('ERR_SESSION_CLOSED', 'the connection was closed during the handshake')),
    )
    if (signal.aborted) fail(signal.reason as Error)
    else signal.addEventListener('abort', () => fail(signal.reason as Error), { once: true })
  }

  async next(): Promise<{ bytes: Uint8Array; values: readonly unknown[] }> {
    const bytes = await new Promise<Uint8Array>((resolve, reject) => {
      this.#reject = reject
      this.channel.onMessage((message) => {
        this.channel.onMessage(null)
        resolve(message)
      })
      if (this.#failed) reject(this.#failed)
    })
    const message = readMessage(bytes)
    if (message.kind === MessageKind.bye) {
      throw message.error ?? sottoError('ERR_SESSION_CLOSED', 'the other end closed the connection')
    }
    if (message.kind !== MessageKind.shake) throw unlike()
    return { bytes, values: message.values }
  }
}

/**
 * The end that dialled.
 *
 * @throws AccessError `ERR_IDENTITY` when the listener does not hold the pinned key, `ERR_CERTIFICATE` when neither an
 *   authority nor a pinned key vouches for its certificate; what the listener refuses with; ProtocolError
 */
export async function shake(channel: Channel, options: DialOptions, signal: AbortSignal): Promise<Welcomed> {
  const { credentials, identity, pin, resume } = options
  const reader = new Reader(channel, signal)
  const own = channel.route === 'relayed' ? ephemeral() : null
  const first = messageOf(MessageKind.shake, {
    version: PROTOCOL_VERSION,
    nonce: random(),
    ephemeral: own?.publicKey ?? null,
  })
  channel.send(first)

  const { values } = await reader.next()
  const [body, signature] = values
  const said = packed(challenge, body)
  if (said.version !== PROTOCOL_VERSION) {
    throw sottoError(
      'ERR_VERSION',
      `the other end speaks version ${said.version} of the protocol, this one ${PROTOCOL_VERSION}`,
    )
  }
  const challenged = concatenated([first, body as Uint8Array])
  if (!(signature instanceof Uint8Array) || !verify(said.key, CHALLENGE, challenged, signature)) {
    throw sottoError('ERR_IDENTITY', `${said.worker} does not hold the key that it shows`)
  }
  if (pin !== null && said.key !== pin) {
    throw sottoError('ERR_IDENTITY', `${said.worker} has the key ${said.key}, and ${pin} was expected`)
  }
  if (resume !== null && said.incarnation !== resume.incarnation) {
    throw sottoError(
      'ERR_WORKER_RESTARTED',
      `${said.worker} has started anew: what was there before is gone; connect again`,
    )
  }
  const { certificate } = channel
  if (
    certificate !== null &&
    !certificate.isTrusted &&
    (pin === null || said.certificate !== certificate.fingerprint)
  ) {
    throw sottoError('ERR_CERTIFICATE', `the certificate of ${said.worker} is vouched for by nobody, nor by its key`)
  }
  let secured = channel
  if (own !== null) {
    if (said.ephemeral === null) throw unlike()
    secured = sealed(channel, own.agree(said.ephemeral), challenged, true)
    reader.channel = secured
  }

  const broken = resume?.now()
  const proof = broken
    ? { id: broken.id, proof: resumeProof(broken.secret, challenged), received: broken.received }
    : null
  const reply = encodeValue({ credentials, key: identity?.key ?? null, link: proof })
  const signed = identity?.sign(ANSWER, concatenated([challenged, reply])) ?? null
  secured.send(messageOf(MessageKind.shake, reply, signed))

  const [granted] = (await reader.next()).values
  const { link, secret, received, message, identity: taken } = parse(welcome, granted)
  const { worker, incarnation } = said
  return {
    channel: secured,
    worker,
    key: said.key,
    incarnation,
    link: { id: link, secret },
    received,
    message,
    identity: taken,
  }
}

function sealed(channel: Channel, secret: Uint8Array, transcript: Uint8Array, initiator: boolean): Channel {
  const sealer = new Sealer({ secret, transcript, initiator })
  secret.fill(0)
  return new SealedChannel(channel, sealer)
}

export interface Admitted {
  readonly channel: Channel
  readonly credentials: Credentials
  readonly proof: Proof
  /** The link that goes on, and how much of ours the dialler has; null for a new one. */
  readonly resumed: { readonly id: string; readonly received: number } | null
  /** Says the last word: with it the link begins, or goes on. */
  welcome(link: { id: string; secret: Uint8Array; received: number }): void
}

/** The end that listens. Refusals are said to the dialler, and thrown. */
export async function receive(channel: Channel, options: ListenOptions): Promise<Admitted> {
  const late = new AbortController()
  const callOff = afterAwake(PATIENCE, () => late.abort(sottoError('ERR_TIMEOUT', 'the handshake took too long')))
  const reader = new Reader(channel, late.signal)
  let secured = channel
  try {
    const { bytes: first, values } = await reader.next()
    const said = parse(hello, values[0])
    const own = said.ephemeral === null ? null : ephemeral()
    if (own === null && channel.route === 'relayed') throw unlike()
    const { id: worker, identity, incarnation, certificate } = options
    const body = encodeValue({
      version: PROTOCOL_VERSION,
      worker,
      key: identity.key,
      incarnation,
      certificate,
      nonce: random(),
      ephemeral: own?.publicKey ?? null,
    })
    const challenged = concatenated([first, body])
    channel.send(messageOf(MessageKind.shake, body, identity.sign(CHALLENGE, challenged)))
    if (said.version !== PROTOCOL_VERSION) {
      throw sottoError(
        'ERR_VERSION',
        `${worker} speaks version ${PROTOCOL_VERSION} of the protocol, the other end ${said.version}`,
      )
    }
    if (own !== null) {
      secured = sealed(channel, own.agree(said.ephemeral!), challenged, false)
      reader.channel = secured
    }

    const [reply, signature] = (await reader.next()).values
    const answered = packed(answer, reply)
    if (answered.key !== null) {
      const covered = concatenated([challenged, reply as Uint8Array])
      if (!(signature instanceof Uint8Array) || !verify(answered.key, ANSWER, covered, signature)) {
        throw sottoError('ERR_IDENTITY', 'the dialler does not hold the key that it shows')
      }
    }
    const proof: Proof = { key: answered.key, certificate: options.clientCertificate }
    const { credentials } = answered
    let resumed: Admitted['resumed'] = null
    let taken: string | null = null
    if (answered.link !== null) {
      const known = options.find(answered.link.id)
      if (known === undefined || !equalBytes(resumeProof(known.secret, challenged), answered.link.proof)) {
        throw sottoError('ERR_WORKER_LOST', `${worker} knows no session to go on with: it was away for too long`)
      }
      resumed = { id: answered.link.id, received: answered.link.received }
    } else taken = (await options.admit(credentials, proof)).identity
    // What passes others must fit into the messages that they take, too.
    const most = channel.route === 'relayed' ? options.message - ENVELOPE : options.message
    return {
      channel: secured,
      credentials,
      proof,
      resumed,
      welcome: ({ id, secret, received }) =>
        secured.send(messageOf(MessageKind.shake, { link: id, secret, received, message: most, identity: taken })),
    }
  } catch (error) {
    refuse(secured, error)
    throw error
  } finally {
    callOff()
  }
}

/** Says why nothing comes of it, and hangs up. */
function refuse(channel: Channel, error: unknown): void {
  const reason =
    error instanceof Error && 'code' in error && Object.hasOwn(codes, error.code as Code) ? error : undefined
  channel.send(byeOf(reason ?? sottoError('ERR_PROTOCOL', 'the handshake failed')))
  channel.close()
}
