/**
 * A client as somebody would write it in another language, from PROTOCOL.md alone: MessagePack, a WebSocket, and what
 * the page names of cryptography. Nothing here is imported from `src`, but the server to talk to.
 */
import { createHash, createHmac, generateKeyPairSync, randomBytes, randomUUID, sign, verify } from 'node:crypto'
import { pack, Unpackr } from 'msgpackr'
import { serveWorker, type WorkerServer } from 'sotto'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { readyForTest } from '../backend.ts'

const reader = new Unpackr({ useRecords: false, mapsAsObjects: true })
const sequence = (...values: unknown[]): Buffer => Buffer.concat(values.map((value) => pack(value)))

type Kind = (typeof Kind)[keyof typeof Kind]
const Kind = { shake: 0, frames: 1, piece: 2, received: 3, ping: 4, pong: 5, bye: 6, headed: 7 } as const

/** Raw Ed25519 keys as text, and signatures over label, zero byte, message. */
function ed25519() {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  const raw = publicKey.export({ format: 'jwk' }).x!
  return {
    key: `ed25519:${raw}`,
    sign: (label: string, message: Buffer) =>
      sign(null, Buffer.concat([Buffer.from(`${label}\0`), message]), privateKey),
  }
}
function isSigned(key: string, label: string, message: Buffer, signature: Buffer): boolean {
  const publicKey = { key: { kty: 'OKP', crv: 'Ed25519', x: key.slice('ed25519:'.length) }, format: 'jwk' } as const
  return verify(null, Buffer.concat([Buffer.from(`${label}\0`), message]), publicKey, signature)
}

interface Part {
  bytes: Buffer
  at: number
  frame: unknown[]
  path: (string | number)[]
  left: { count: number }
}

/** One session, over one connection or several. */
class Client {
  socket!: WebSocket
  worker = ''
  key = ''
  link: { id: string; secret: Buffer } | null = null
  received = 0
  seq = 0
  readonly sent: Buffer[] = []
  readonly frames: unknown[][] = []
  readonly parts = new Map<number, Part>()
  bye: { code: string; message: string } | null = null
  #waiting: (() => void)[] = []
  readonly #shakes: { bytes: Buffer; values: unknown[] }[] = []

  /** Connects, and says who it is. */
  async connect(url: string, credentials: object, own: ReturnType<typeof ed25519> | null = null): Promise<void> {
    this.socket = new WebSocket(url, { perMessageDeflate: false })
    await new Promise((resolve, reject) => this.socket.once('open', resolve).once('error', reject))
    this.socket.on('message', (bytes: Buffer) => this.#take(bytes))
    const hello = sequence(Kind.shake, { version: 1, nonce: randomBytes(32), ephemeral: null })
    this.socket.send(hello)
    const [body, signature] = (await this.#shake()) as [Buffer, Buffer]
    const challenge = reader.unpack(body) as { worker: string; key: string; version: number }
    expect(challenge.version).toBe(1)
    const challenged = Buffer.concat([hello, body])
    expect(isSigned(challenge.key, 'sotto challenge 1', challenged, signature)).toBe(true)
    this.worker = challenge.worker
    this.key = challenge.key
    const proof = (secret: Buffer) =>
      createHmac('sha256', secret)
        .update('sotto resume 1')
        .update(createHash('sha256').update(challenged).digest())
        .digest()
    const link = this.link && { id: this.link.id, proof: proof(this.link.secret), received: this.received }
    const answer = pack({ credentials, key: own?.key ?? null, link })
    this.socket.send(
      sequence(Kind.shake, answer, own?.sign('sotto answer 1', Buffer.concat([challenged, answer])) ?? null),
    )
    const [welcome] = (await this.#shake()) as [{ link: string; secret: Buffer; received: number }]
    this.link = { id: welcome.link, secret: Buffer.from(welcome.secret) }
    // What the worker has not got is sent again.
    for (const message of this.sent.slice(welcome.received)) this.socket.send(message)
  }

  async #shake(): Promise<unknown[]> {
    await this.until(() => this.#shakes.length > 0 || this.bye !== null)
    if (this.bye) throw new Error(this.bye.code)
    return this.#shakes.shift()!.values
  }

  #take(bytes: Buffer): void {
    const values: unknown[] = []
    reader.unpackMultiple(bytes, (value: unknown) => {
      values.push(value)
    })
    const [kind, ...rest] = values as [Kind, ...unknown[]]
    if (kind === Kind.shake) this.#shakes.push({ bytes, values: rest })
    else if (kind === Kind.frames) this.frames.push(...(rest as unknown[][]))
    else if (kind === Kind.headed) {
      const [frame, parts] = rest as [unknown[], [number, number, (string | number)[]][]]
      const left = { count: parts.length }
      for (const [id, length, path] of parts)
        this.parts.set(id, { bytes: Buffer.alloc(length), at: 0, frame, path, left })
    } else if (kind === Kind.piece) this.#piece(rest as [number, Buffer])
    else if (kind === Kind.ping) this.socket.send(sequence(Kind.pong))
    else if (kind === Kind.bye) this.bye = rest[0] as Client['bye']
    if (kind === Kind.frames || kind === Kind.headed || kind === Kind.piece) {
      this.received++
      this.socket.send(sequence(Kind.received, this.received))
    }
    for (const wake of this.#waiting.splice(0)) wake()
  }

  #piece([id, bytes]: [number, Buffer]): void {
    const part = this.parts.get(id)!
    part.bytes.set(bytes, part.at)
    part.at += bytes.length
    if (part.at < part.bytes.length) return
    this.parts.delete(id)
    const place = part.path
      .slice(0, -1)
      .reduce((at, step) => (at as Record<string, unknown>)[step], part.frame as unknown)
    ;(place as Record<string, unknown>)[part.path.at(-1)!] = part.bytes
    if (--part.left.count === 0) this.frames.push(part.frame)
  }

  async until(isSo: () => boolean): Promise<void> {
    while (!isSo()) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
    }
  }

  #send(message: Buffer): void {
    this.sent.push(message)
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(message)
  }

  request(name: string, body: object): number {
    this.#send(sequence(Kind.frames, [1, ++this.seq, name, body]))
    return this.seq
  }
  /** A request with one large part. */
  large(name: string, body: object, path: (string | number)[], bytes: Buffer): number {
    this.#send(sequence(Kind.headed, [1, ++this.seq, name, body], [[7, bytes.length, path]]))
    for (let at = 0; at < bytes.length; at += 100_000) {
      this.#send(sequence(Kind.piece, 7, bytes.subarray(at, at + 100_000)))
    }
    return this.seq
  }

  async ask(name: string, body: object): Promise<unknown> {
    const seq = this.request(name, body)
    const answer = () => this.frames.find(([kind, n]) => (kind === 2 || kind === 3) && n === seq)
    await this.until(() => answer() !== undefined || this.bye !== null)
    const [kind, , value] = answer() ?? [3, 0, this.bye]
    if (kind === 3) throw new Error((value as { code: string }).code)
    return value
  }
}

let server: WorkerServer
beforeAll(async () => {
  await readyForTest()
  server = await serveWorker({ id: 'bob', port: 0 })
})
afterAll(() => server.close())

const caller = { role: 'caller', identity: 'me', token: null }
const floats = (...values: number[]) => Buffer.from(new Float32Array(values).buffer)
const numbers = (data: Uint8Array) => [...new Float32Array(new Uint8Array(data).buffer)]
const tensor = (...values: number[]) => ({ shape: [values.length], dtype: 'float32', data: floats(...values) })
const labels = { tags: [], description: '' }
const put = (out: string, value: object) => ({ out, value, labels, privacy: null, requiresGrad: false, edge: null })

async function session(secret: Buffer | null = null): Promise<Client & { session: string }> {
  const client = Object.assign(new Client(), { session: randomUUID() })
  await client.connect(server.url, caller)
  expect(client.key).toBe(server.key)
  const greeting = { version: 1, name: 'me', session: client.session, secret }
  expect(await client.ask('hello', greeting)).toEqual({ worker: 'bob', version: 1 })
  return client
}

it('computes, and is told what failed', async () => {
  const client = await session()
  client.request('put', put('x', tensor(1, 2, 3)))
  client.request('run', { op: 'add', operands: ['x', 10], attrs: [], out: ['y'], grad: false })
  const got = (await client.ask('get', { id: 'y', keep: false })) as { shape: number[]; data: Uint8Array }
  expect(got.shape).toEqual([3])
  expect(numbers(got.data)).toEqual([11, 12, 13])
  await expect(client.ask('get', { id: 'y', keep: true })).rejects.toThrow('ERR_NOT_FOUND')
  await expect(client.ask('nonsense', {})).rejects.toThrow()
  client.socket.close()
})

it('sends and gets what is large in parts, and goes on after its connection broke', async () => {
  const client = await session()
  const large = Buffer.from(Float32Array.from({ length: 300_000 }, (_, i) => i).buffer)
  const value = { shape: [300_000], dtype: 'float32', data: null }
  client.large('put', put('large', value), [3, 'value', 'data'], large)
  client.socket.terminate()
  // Told while nobody is there: it is kept, and sent again with what else the worker did not get.
  const answer = client.ask('get', { id: 'large', keep: true })
  await client.connect(server.url, caller)
  const got = (await answer) as { data: Uint8Array }
  expect(Buffer.compare(Buffer.from(got.data), large)).toBe(0)
  client.socket.close()
})

it('hands a tensor over as a peer that a caller has introduced', async () => {
  const secret = randomBytes(32)
  const owner = await session(secret)
  const own = ed25519()
  const field = (text: string) => {
    const length = Buffer.alloc(4)
    length.writeUInt32LE(Buffer.byteLength(text))
    return Buffer.concat([length, Buffer.from(text)])
  }
  const fields = ['sotto capability 1', owner.session, 'alice', own.key].map(field)
  const proof = createHmac('sha256', secret).update(Buffer.concat(fields)).digest()
  const capability = { session: owner.session, name: 'alice', proof }

  const peer = new Client()
  await peer.connect(server.url, { role: 'peer', capability }, own)
  await peer.ask('hello', { version: 1, name: 'alice', session: randomUUID(), secret: null })
  peer.request('deposit', { key: 'parcel', content: { kind: 'tensor', value: tensor(4, 5), labels, access: [] } })
  owner.request('receive', { key: 'parcel', from: 'alice', out: 'came', edge: null, optimizers: [] })
  const got = (await owner.ask('get', { id: 'came', keep: false })) as { data: Uint8Array }
  expect(numbers(got.data)).toEqual([4, 5])

  // The same capability from somebody with another key opens nothing.
  await expect(new Client().connect(server.url, { role: 'peer', capability }, ed25519())).rejects.toThrow(
    'ERR_CAPABILITY',
  )
  owner.socket.close()
  peer.socket.close()
})
