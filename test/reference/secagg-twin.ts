/**
 * A client of masked sums as somebody would write it in another language, from PROTOCOL.md alone: for up to 64 clients and
 * words of 32 bits, with what the runtime brings along, and slow where slow is plain. The twin of `SecAggClient`.
 */
import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  hkdfSync,
  type KeyObject,
  randomBytes,
  sign,
  verify,
} from 'node:crypto'

type Part = string | number | Uint8Array

/** Transcripts. */
export function transcript(label: string, ...parts: readonly Part[]): Buffer {
  return Buffer.concat(
    [label, ...parts].flatMap((part) => {
      const kind = typeof part === 'string' ? 1 : typeof part === 'number' ? 2 : 3
      const bytes = typeof part === 'string' ? Buffer.from(part) : typeof part === 'number' ? float64(part) : part
      const length = Buffer.alloc(4)
      length.writeUInt32LE(bytes.length)
      return [Buffer.of(kind), length, bytes]
    }),
  )
}
function float64(number: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeDoubleLE(number)
  return bytes
}
export const hash = (label: string, ...parts: readonly Part[]): Buffer =>
  createHash('sha256')
    .update(transcript(label, ...parts))
    .digest()
const derived = (secret: Uint8Array, label: string, ...parts: readonly Part[]): Buffer =>
  Buffer.from(hkdfSync('sha256', secret, '', transcript(label, ...parts), 32))
const signed = (label: string, ...parts: readonly Part[]): Buffer =>
  Buffer.concat([Buffer.from(`${label}\0`), transcript(label, ...parts)])
const fourEach = (numbers: readonly number[]): Buffer =>
  Buffer.concat(
    numbers.map((number) => {
      const bytes = Buffer.alloc(4)
      bytes.writeUInt32LE(number)
      return bytes
    }),
  )

/** Keys in the form of RFC 8410: a head, then their 32 bytes. */
type Curve = 'x25519' | 'ed25519'
const secretKey = (curve: Curve, secret: Uint8Array): KeyObject => {
  const head = Buffer.from(`302e020100300506032b65${curve === 'x25519' ? '6e' : '70'}04220420`, 'hex')
  return createPrivateKey({ key: Buffer.concat([head, secret]), format: 'der', type: 'pkcs8' })
}
const publicKey = (curve: Curve, key: Uint8Array): KeyObject => {
  const head = Buffer.from(`302a300506032b65${curve === 'x25519' ? '6e' : '70'}032100`, 'hex')
  return createPublicKey({ key: Buffer.concat([head, key]), format: 'der', type: 'spki' })
}
const publicOf = (curve: Curve, secret: Uint8Array): Uint8Array =>
  Uint8Array.from(createPublicKey(secretKey(curve, secret)).export({ format: 'der', type: 'spki' }).subarray(12))
/** Throws where the result would be zeros. */
const agreed = (secret: Uint8Array, theirs: Uint8Array): Buffer =>
  diffieHellman({ privateKey: secretKey('x25519', secret), publicKey: publicKey('x25519', theirs) })
/** `ed25519:` and base64url. */
const bytesOfKey = (text: string): Buffer => Buffer.from(text.slice('ed25519:'.length), 'base64url')

/** The words that a key masks with. */
export function maskOf(key: Uint8Array, length: number): Uint32Array {
  const stream = createCipheriv('chacha20', key, Buffer.alloc(16)).update(Buffer.alloc(4 * length))
  return Uint32Array.from({ length }, (_, i) => stream.readUInt32LE(4 * i))
}

/** Product in GF(2^16), digit by digit. */
function times(a: number, b: number): number {
  let [product, power] = [0, a]
  for (let bit = 0; bit < 16; bit++) {
    if (b & (1 << bit)) product ^= power
    power *= 2
    if (power & 0x10000) power ^= 0x1100b
  }
  return product
}

/** The share at a point, of the secret and the other coefficients in their order; each is 32 bytes. */
export function shareAt(point: number, coefficients: readonly Uint8Array[]): Uint8Array {
  const share = new Uint8Array(32)
  for (let at = 0; at < 32; at += 2) {
    let [value, power] = [0, 1]
    for (const coefficient of coefficients) {
      value ^= times(power, coefficient[at]! + 256 * coefficient[at + 1]!)
      power = times(power, point)
    }
    share[at] = value % 256
    share[at + 1] = Math.floor(value / 256)
  }
  return share
}

/** The secret of shares, as many as it takes. */
export function secretOf(shares: readonly { readonly point: number; readonly value: Uint8Array }[]): Uint8Array {
  const secret = new Uint8Array(32)
  for (const { point, value } of shares) {
    let weight = 1
    for (const { point: other } of shares) {
      if (other !== point) weight = times(weight, times(other, inverseOf(other ^ point)))
    }
    for (let at = 0; at < 32; at += 2) {
      const part = times(weight, value[at]! + 256 * value[at + 1]!)
      secret[at]! ^= part % 256
      secret[at + 1]! ^= Math.floor(part / 256)
    }
  }
  return secret
}
/** By Fermat: to the power of 2^16 − 2. */
function inverseOf(element: number): number {
  let [inverse, square] = [1, element]
  for (let bit = 1; bit < 16; bit++) {
    square = times(square, square)
    inverse = times(inverse, square)
  }
  return inverse
}

/** What a member is told of a sum, as far as the name of its session follows from it. */
export interface TwinJoin {
  readonly session: string
  readonly scheme: string
  readonly members: readonly string[]
  readonly weights: readonly number[]
  readonly clip: number
  readonly bits: number
  readonly hidden: boolean
}

/** The name of the session that members sign. */
export function sessionName({ session, scheme, members, weights, clip, bits, hidden }: TwinJoin): string {
  const of = members.flatMap((name, i) => [name, weights[i]!])
  return `${session} ${hash('sotto masked sum 1: terms', scheme, clip, bits, hidden ? 1 : 0, ...of).toString('hex')}`
}

/** The words of values that are whole steps, so that nothing is rounded, and of the weight. */
export function wordsOf(
  values: readonly number[],
  id: string,
  { members, weights, clip, bits }: TwinJoin,
): Uint32Array {
  const weight = weights[members.indexOf(id)]!
  const whole = values.map((value) => {
    const clipped = Math.min(clip, Math.max(-clip, value))
    return Math.round((weight * clipped * (2 ** (bits - 1) - 1)) / (Math.max(...weights) * clip))
  })
  return Uint32Array.from([...whole, weight], (word) => word >>> 0)
}

export interface TwinTerms {
  /** With the hash: see {@link sessionName}. */
  readonly session: string
  /** Names, and keys as text. */
  readonly members: Readonly<Record<string, string>>
  readonly length: number
  readonly minimum: number
  readonly corrupted: number
  readonly dropouts: number
  readonly server: string
}

export interface TwinAdvert {
  readonly id: string
  readonly round: number
  readonly sealKey: Uint8Array
  readonly maskKey: Uint8Array
  readonly seedCommitment: Uint8Array
  readonly drawCommitment: Uint8Array
  readonly signature: Uint8Array
}
interface TwinRoster {
  readonly round: number
  readonly attempt: number
  readonly adverts: readonly TwinAdvert[]
  readonly commitments: readonly Uint8Array[]
}
interface TwinDelivery {
  readonly sharers: readonly number[]
  readonly sealed: readonly { readonly from: number; readonly box: Uint8Array }[]
}

/** What a client draws for a round, 32 bytes each. */
export interface TwinSecrets {
  readonly seal: Uint8Array
  readonly mask: Uint8Array
  readonly seed: Uint8Array
  readonly draw: Uint8Array
}
const random = (): Uint8Array => Uint8Array.from(randomBytes(32))
const draws = (): TwinSecrets => ({ seal: random(), mask: random(), seed: random(), draw: random() })

/** The key under which the owner of these 32 bytes is known. */
export const keyOf = (longTerm: Uint8Array): string =>
  `ed25519:${Buffer.from(publicOf('ed25519', longTerm)).toString('base64url')}`

function expect(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Error(`twin: ${what}`)
}

/** A client's part in one round; its methods are called in their order, once each. */
export class TwinRound {
  readonly #id: string
  readonly #longTerm: Uint8Array
  readonly #terms: TwinTerms
  readonly #round: number
  readonly #own: TwinSecrets
  readonly #digest: Buffer
  #adverts: readonly TwinAdvert[] = []
  #me = -1
  #threshold = 0
  #cohort: Buffer = Buffer.alloc(0)
  #ownShare: Uint8Array = new Uint8Array(0)
  #delivery: TwinDelivery = { sharers: [], sealed: [] }
  #survivors: readonly number[] = []

  constructor(id: string, longTerm: Uint8Array, terms: TwinTerms, round: number, own: TwinSecrets = draws()) {
    this.#id = id
    this.#longTerm = longTerm
    this.#terms = terms
    this.#round = round
    this.#own = own
    const { session, length, minimum, corrupted, dropouts, server } = terms
    this.#digest = hash('sotto secagg 1: settings', session, length, 32, minimum, corrupted, dropouts, server)
  }

  advertise(): TwinAdvert {
    const { seal, mask, seed, draw } = this.#own
    const unsigned = {
      id: this.#id,
      round: this.#round,
      sealKey: publicOf('x25519', seal),
      maskKey: publicOf('x25519', mask),
      seedCommitment: Uint8Array.from(hash('sotto secagg 1: seed', seed)),
      drawCommitment: Uint8Array.from(hash('sotto secagg 1: draw', this.#digest, this.#id, this.#round, draw)),
    }
    return { ...unsigned, signature: this.#sign('sotto secagg 1: keys', ...this.#advertParts(unsigned)) }
  }

  receiveRoster({ round, attempt, adverts, commitments }: TwinRoster) {
    const n = adverts.length
    expect(n >= this.#terms.minimum && n <= 64, 'the roster is too small, or of another graph')
    expect(round === this.#round && attempt === 0 && commitments.length === n, 'the roster is of another round')
    for (const [i, advert] of adverts.entries()) {
      expect(i === 0 || adverts[i - 1]!.id < advert.id, 'names are out of order')
      const text = signed('sotto secagg 1: keys', ...this.#advertParts(advert))
      expect(verify(null, text, this.#keyOf(advert.id), advert.signature), `${advert.id} has not signed`)
    }
    const keys = adverts.flatMap(({ sealKey, maskKey }) =>
      [sealKey, maskKey].map((key) => Buffer.from(key).toString('hex')),
    )
    expect(new Set(keys).size === 2 * n, 'a key comes twice')
    this.#me = adverts.findIndex(({ id }) => id === this.#id)
    const own = adverts[this.#me]
    expect(own !== undefined && Buffer.compare(own.signature, this.advertise().signature) === 0, 'own keys are missing')
    this.#adverts = adverts
    const members = adverts.map((advert) =>
      hash('sotto secagg 1: member', transcript('sotto secagg 1: keys', ...this.#advertParts(advert))),
    )
    this.#cohort = hash('sotto secagg 1: cohort', this.#digest, round, attempt, ...members, ...commitments)
    this.#threshold = Math.floor((2 * n) / 3) + 1
    const others = Array.from({ length: this.#threshold - 1 }, () => [random(), random()] as const)
    const ofMask = [this.#own.mask, ...others.map(([coefficient]) => coefficient)]
    const ofSeed = [this.#own.seed, ...others.map(([, coefficient]) => coefficient)]
    this.#ownShare = shareAt(this.#me + 1, ofSeed)
    const sealed = adverts.flatMap((_, to) => {
      if (to === this.#me) return []
      const { key, associated } = this.#box(this.#me, to)
      const cipher = createCipheriv('chacha20-poly1305', key, Buffer.alloc(12), { authTagLength: 16 })
      cipher.setAAD(associated, { plaintextLength: 64 })
      const text = Buffer.concat([shareAt(to + 1, ofMask), shareAt(to + 1, ofSeed)])
      const box = Buffer.concat([cipher.update(text), cipher.final(), cipher.getAuthTag()])
      return [{ to, box: Uint8Array.from(box) }]
    })
    return { shares: { id: this.#id, round, sealed } }
  }

  mask(delivery: TwinDelivery, vector: Uint32Array) {
    const { sharers, sealed } = delivery
    expect(sharers.includes(this.#me), 'own shares have not come')
    const senders = sharers.filter((sharer) => sharer !== this.#me)
    expect(senders.join() === sealed.map(({ from }) => from).join(), 'boxes are not those of the sharers')
    this.#checkEnough(sharers)
    this.#delivery = delivery
    const masked = vector.slice()
    const put = (key: Uint8Array, sign: 1 | -1) => {
      for (const [i, word] of maskOf(key, vector.length).entries()) masked[i]! += sign * word
    }
    put(derived(this.#own.seed, 'sotto secagg 1: mask of one', this.#cohort, this.#id), 1)
    for (const other of senders) {
      const [first, second] = [Math.min(other, this.#me), Math.max(other, this.#me)].map((i) => this.#adverts[i]!)
      const secret = agreed(this.#own.mask, this.#adverts[other]!.maskKey)
      const parts = [this.#cohort, first!.id, second!.id, first!.maskKey, second!.maskKey] as const
      put(derived(secret, 'sotto secagg 1: mask of a pair', ...parts), other > this.#me ? 1 : -1)
    }
    const values = Buffer.alloc(4 * masked.length)
    for (const [i, word] of masked.entries()) values.writeUInt32LE(word, 4 * i)
    return { id: this.#id, round: this.#round, values: Uint8Array.from(values) }
  }

  confirm({ survivors }: { readonly survivors: readonly number[] }) {
    const { sharers } = this.#delivery
    expect(
      survivors.every((client) => sharers.includes(client)),
      'who survived gave no shares',
    )
    expect(survivors.includes(this.#me), 'own vector has not come')
    this.#checkEnough(survivors)
    this.#survivors = survivors
    const signature = this.#sign('sotto secagg 1: survivors', ...this.#survivorsParts())
    return { id: this.#id, round: this.#round, signature }
  }

  unmask({ signatures }: { readonly signatures: readonly { readonly by: number; readonly signature: Uint8Array }[] }) {
    expect(signatures.length === this.#threshold, 'another number of witnesses')
    const text = signed('sotto secagg 1: survivors', ...this.#survivorsParts())
    for (const [i, { by, signature }] of signatures.entries()) {
      expect((i === 0 || signatures[i - 1]!.by < by) && this.#survivors.includes(by), 'no witness, or one twice')
      expect(verify(null, text, this.#keyOf(this.#adverts[by]!.id), signature), `${by} was shown other survivors`)
    }
    const seeds = [{ of: this.#me, share: this.#ownShare }]
    const keys: { of: number; share: Uint8Array }[] = []
    for (const { from, box } of this.#delivery.sealed) {
      const opened = this.#opened(from, box)
      if (opened === undefined) continue
      if (this.#survivors.includes(from)) seeds.push({ of: from, share: opened.slice(32) })
      else keys.push({ of: from, share: opened.slice(0, 32) })
    }
    seeds.sort((a, b) => a.of - b.of)
    return { id: this.#id, round: this.#round, seeds, keys }
  }

  #advertParts({ id, round, sealKey, maskKey, seedCommitment, drawCommitment }: Omit<TwinAdvert, 'signature'>) {
    return [this.#digest, id, round, sealKey, maskKey, seedCommitment, drawCommitment] as const
  }
  #survivorsParts() {
    return [this.#cohort, fourEach(this.#delivery.sharers), fourEach(this.#survivors)] as const
  }
  #sign(label: string, ...parts: readonly Part[]): Uint8Array {
    return Uint8Array.from(sign(null, signed(label, ...parts), secretKey('ed25519', this.#longTerm)))
  }
  #keyOf(id: string): KeyObject {
    const key = this.#terms.members[id]
    expect(key !== undefined, `${id} is no member`)
    return publicKey('ed25519', bytesOfKey(key))
  }
  /** In a complete graph, everybody who is left holds shares of everybody. */
  #checkEnough(left: readonly number[]): void {
    expect(left.length >= Math.max(this.#terms.minimum, this.#threshold), 'too few are left')
  }
  #box(from: number, to: number): { readonly key: Buffer; readonly associated: Buffer } {
    const [sender, receiver] = [this.#adverts[from]!, this.#adverts[to]!]
    const other = from === this.#me ? receiver : sender
    const parts = [this.#cohort, sender.id, receiver.id, sender.sealKey, receiver.sealKey] as const
    const key = derived(agreed(this.#own.seal, other.sealKey), 'sotto secagg 1: shares', ...parts)
    return { key, associated: transcript('sotto secagg 1: shares', ...parts) }
  }
  #opened(from: number, box: Uint8Array): Uint8Array | undefined {
    const { key, associated } = this.#box(from, this.#me)
    const decipher = createDecipheriv('chacha20-poly1305', key, Buffer.alloc(12), { authTagLength: 16 })
    decipher.setAAD(associated, { plaintextLength: 64 })
    decipher.setAuthTag(box.subarray(64))
    const text = decipher.update(box.subarray(0, 64))
    try {
      decipher.final()
      return Uint8Array.from(text)
    } catch {
      return undefined
    }
  }
}
