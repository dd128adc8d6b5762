import { describe, expect, it } from 'vitest'
import { type Channel, channelPair, Kind, type KindName } from '../../src/psi/channel.ts'
import { idsOf } from '../../src/psi/ids.ts'
import { intersectOver, type PsiOptions, type PsiResult } from '../../src/psi/two-party.ts'
import { encodeValue } from '../../src/worker/codec.ts'
import { people } from './both.ts'

/** What a hostile end does with a message of its own: sends others in its place, or null to stop there. */
type Tamper = (message: Uint8Array) => readonly Uint8Array[] | null

const nameOf = (message: Uint8Array): KindName =>
  (Object.keys(Kind) as KindName[]).find((name) => Kind[name] === message[0])!

/** A channel on which the first message of a kind is tampered with. */
function tampering(channel: Channel, kind: KindName, tamper: Tamper): Channel {
  let isDone = false
  let isSilent = false
  return {
    receive: () => channel.receive(),
    async send(message) {
      if (isSilent) return new Promise(() => {})
      if (isDone || nameOf(message) !== kind) return channel.send(message)
      isDone = true
      const instead = tamper(message.slice())
      isSilent = instead === null
      if (instead === null) return new Promise(() => {})
      for (const other of instead) await channel.send(other)
    },
  }
}

/** An honest first side against a hostile second; small enough that the second is the sender, or large, the receiver. */
async function against(
  role: 'receiver' | 'sender',
  kind: KindName,
  tamper: Tamper,
  options: Partial<PsiOptions> = {},
): Promise<PsiResult> {
  const [a, b] = channelPair()
  const payloads = [Uint8Array.of(1, 2, 3)]
  const [first, second] = role === 'receiver' ? [people(0, 12), people(6, 12)] : [people(0, 12), people(6, 26)]
  const common = { protocol: 'curve', threads: 0, timeout: 2000, ...options } as const
  const theirs = second.map(() => payloads[0]!)
  const hostile = intersectOver(tampering(b, kind, tamper), idsOf(second), {
    ...common,
    side: 'second',
    payloads: theirs,
  })
  hostile.catch(() => {})
  return intersectOver(a, idsOf(first), { ...common, side: 'first' })
}

const body = (message: Uint8Array, change: (body: Uint8Array) => void): readonly Uint8Array[] => {
  change(message.subarray(1))
  return [message]
}
const NO_POINT = new Uint8Array(32).fill(0xff)

/** Kinds that a hostile end of each role sends, by protocol; the last of each is the end of the conversation. */
const kinds: readonly (readonly ['fast' | 'curve', 'receiver' | 'sender', KindName])[] = [
  ['curve', 'receiver', 'hello'],
  ['curve', 'receiver', 'blinded'],
  ['curve', 'receiver', 'found'],
  ['curve', 'receiver', 'foundPayloads'],
  ['curve', 'sender', 'evaluated'],
  ['curve', 'sender', 'tags'],
  ['curve', 'sender', 'payloads'],
  ['fast', 'receiver', 'basePoints'],
  ['fast', 'receiver', 'rows'],
  ['fast', 'sender', 'basePoint'],
  ['fast', 'sender', 'transfers'],
]

describe.each(kinds)('a peer, by the protocol %s, %s, that sends %s', (protocol, role, kind) => {
  it('cut short or too long is refused', async () => {
    for (const tamper of [
      (message: Uint8Array) => [message.subarray(0, -1)],
      (message: Uint8Array) => [Uint8Array.of(...message, 0)],
    ]) {
      await expect(against(role, kind, tamper, { protocol })).rejects.toMatchObject({ code: 'ERR_PROTOCOL' })
    }
  })
})

describe('a peer', () => {
  it('that stops, wherever it is, is not waited for longer than was said', async () => {
    const silent = kinds.map(([protocol, role, kind]) => against(role, kind, () => null, { protocol, timeout: 500 }))
    for (const { status, reason } of (await Promise.allSettled(silent)) as PromiseRejectedResult[]) {
      expect([status, reason?.code]).toEqual(['rejected', 'ERR_TIMEOUT'])
    }
  })

  it('that sends a message of another kind, or an empty one, is refused', async () => {
    for (const tamper of [
      (message: Uint8Array) => [Uint8Array.of(99, ...message.subarray(1))],
      (message: Uint8Array) => [message.subarray(0, 0)],
    ]) {
      await expect(against('receiver', 'blinded', tamper)).rejects.toMatchObject({ code: 'ERR_PROTOCOL' })
    }
  })

  it('that sends something twice is refused', async () => {
    for (const [protocol, role, kind] of kinds) {
      // What comes behind the last message is not read.
      if (kind === 'foundPayloads' || kind === 'payloads' || protocol === 'fast') continue
      await expect(against(role, kind, (message) => [message, message])).rejects.toMatchObject({ code: 'ERR_PROTOCOL' })
    }
  })

  it.each([
    ['receiver', 'blinded'],
    ['sender', 'evaluated'],
  ] as const)(
    '%s, that sends points off the group, the neutral one, or one twice, in %s, is refused',
    async (role, kind) => {
      for (const point of [
        NO_POINT,
        new Uint8Array(32),
        Uint8Array.from(NO_POINT, (byte, i) => (i === 31 ? 0x7f : byte)),
      ]) {
        const refused = against(role, kind, (message) => body(message, (points) => points.set(point, 32)))
        await expect(refused).rejects.toMatchObject({ code: 'ERR_PROTOCOL' })
      }
      const twice = against(role, kind, (message) => body(message, (points) => points.copyWithin(0, 64, 96)))
      await expect(twice).rejects.toMatchObject({ code: 'ERR_PROTOCOL', message: expect.stringContaining('twice') })
    },
  )

  it('that sends base points off the group is refused', async () => {
    for (const point of [NO_POINT, new Uint8Array(32)]) {
      for (const [role, kind] of [
        ['receiver', 'basePoints'],
        ['sender', 'basePoint'],
      ] as const) {
        const tamper: Tamper = (message) => body(message, (points) => points.set(point))
        await expect(against(role, kind, tamper, { protocol: 'fast' })).rejects.toMatchObject({ code: 'ERR_PROTOCOL' })
      }
    }
  })

  it('that finds what is not there, or twice, or out of order, is refused', async () => {
    const found =
      (change: (places: Uint32Array) => void): Tamper =>
      (message) => {
        const places = new Uint32Array(message.slice(1).buffer)
        change(places)
        return [Uint8Array.of(Kind.found, ...new Uint8Array(places.buffer))]
      }
    for (const change of [
      (places: Uint32Array) => places.set([12], places.length - 1),
      (places: Uint32Array) => places.set([0xffffffff], places.length - 1),
      (places: Uint32Array) => places.copyWithin(0, 1, 2),
      (places: Uint32Array) => places.reverse(),
    ]) {
      await expect(against('receiver', 'found', found(change))).rejects.toMatchObject({ code: 'ERR_PROTOCOL' })
    }
  })

  it('that sends one tag twice is refused', async () => {
    // Every tag becomes the same as another: among them are those of shared ids.
    const tamper: Tamper = (message) =>
      body(message, (tags) => {
        const half = tags.length / 2
        tags.copyWithin(half, 0, half)
      })
    // One half becomes the other: of six shared ids, that half has none with a probability of 2^-6.
    let error: unknown
    for (let run = 0; run < 5 && error === undefined; run++) {
      error = await against('sender', 'tags', tamper).then(
        () => undefined,
        (reason) => reason,
      )
    }
    expect(error).toMatchObject({ code: 'ERR_PROTOCOL', message: expect.stringContaining('twice') })
  })

  it('whose payloads are malformed is refused', async () => {
    const zero: Tamper = (message) => body(message, (payloads) => payloads.fill(0xff))
    await expect(against('sender', 'payloads', zero)).rejects.toMatchObject({ code: 'ERR_PROTOCOL' })
    await expect(against('receiver', 'foundPayloads', zero)).rejects.toMatchObject({ code: 'ERR_PROTOCOL' })
  })

  const hello =
    (terms: Record<string, unknown>): Tamper =>
    () => [
      Uint8Array.of(
        Kind.hello,
        ...encodeValue({
          version: 1,
          nonce: new Uint8Array(32),
          side: 'second',
          protocol: 'curve',
          reveal: 'both',
          form: 'text/1',
          size: 3,
          payload: 0,
          ...terms,
        }),
      ),
    ]
  it.each([
    [{ version: 2 }, 'ERR_VERSION'],
    [{ nonce: new Uint8Array(31) }, 'ERR_PROTOCOL'],
    [{ side: 'first' }, 'ERR_TERMS'],
    [{ size: -1 }, 'ERR_PROTOCOL'],
    [{ size: 2 ** 24 + 1 }, 'ERR_LIMIT'],
    [{ size: '3' }, 'ERR_PROTOCOL'],
    [{ payload: 2 ** 17 }, 'ERR_PROTOCOL'],
    [{ more: 1 }, 'ERR_PROTOCOL'],
  ] as const)('that begins with %j is refused: %s', async (terms, code) => {
    await expect(against('receiver', 'hello', hello(terms))).rejects.toMatchObject({ code })
  })

  it('that begins with what is no message at all, or with our own words, is refused', async () => {
    const noise: Tamper = () => [Uint8Array.of(Kind.hello, 0xc1, 1, 2)]
    await expect(against('receiver', 'hello', noise)).rejects.toMatchObject({ code: 'ERR_PROTOCOL' })
    // Everything comes back as it was sent.
    const [a, b] = channelPair()
    void (async () => {
      for (;;) await b.send(await b.receive())
    })().catch(() => {})
    const echoed = intersectOver(a, idsOf(['a']), { side: 'first', timeout: 1000 })
    await expect(echoed).rejects.toMatchObject({ code: 'ERR_PROTOCOL' })
  })

  it('that has more ids than were allowed is refused', async () => {
    const [a, b] = channelPair()
    const other = intersectOver(b, idsOf(people(0, 20)), { side: 'second' })
    other.catch(() => {})
    await expect(intersectOver(a, idsOf(['a']), { side: 'first', maxPeerSize: 19 })).rejects.toMatchObject({
      code: 'ERR_LIMIT',
    })
    // The other end is told.
    await expect(other).rejects.toMatchObject({ code: 'ERR_PARTY_LOST', details: { code: 'ERR_LIMIT' } })
  })

  it('is told where this end cannot even begin', async () => {
    const [a, b] = channelPair()
    const other = intersectOver(b, idsOf(['a']), { side: 'second' })
    other.catch(() => {})
    await expect(intersectOver(a, idsOf(['a', 'b']), { side: 'first', padTo: 1 })).rejects.toMatchObject({
      code: 'ERR_ARGUMENT_VALUE',
    })
    await expect(other).rejects.toMatchObject({ code: 'ERR_PARTY_LOST' })
  })

  it('that is gone is not waited for, and a wish to stop is heard', async () => {
    const [a, b] = channelPair()
    const alone = intersectOver(a, idsOf(['a']), { side: 'first' })
    b.close()
    await expect(alone).rejects.toMatchObject({ code: 'ERR_SESSION_CLOSED' })
    const [c] = channelPair()
    const stop = new AbortController()
    const stopped = intersectOver(c, idsOf(['a']), { side: 'first', signal: stop.signal })
    stop.abort()
    await expect(stopped).rejects.toMatchObject({ code: 'ERR_ABORTED' })
  })
})
