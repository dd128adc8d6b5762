/** Messages that no honest end sends: those of the protocol, changed at random, and others. */
import type { SeededRandom } from '../../src/data/random.ts'
import { encodeValue } from '../../src/worker/codec.ts'
import { FrameKind } from '../../src/worker/protocol.ts'
import { joined, MessageKind, messageOf } from '../../src/worker/transport/messages.ts'
import { sampleBodies as secretBodies } from '../smpc/sample-frames.ts'
import { sampleBodies } from './sample-frames.ts'

/** A port where nobody is. */
const NOWHERE = 'ws://127.0.0.1:9'
/** One request for every message, those of peers too. */
const templates: readonly (readonly [name: string, body: unknown])[] = [
  ...Object.entries(sampleBodies).filter(([name]) => name !== 'peers'),
  ['peers', { peers: sampleBodies.peers.peers.map((peer) => ({ ...peer, address: NOWHERE })) }],
  ...Object.entries(secretBodies),
]

/** What stands in the place of a part of a body. */
const JUNK: readonly unknown[] = [
  ...[
    null,
    true,
    0,
    -1,
    0.5,
    2 ** 31,
    1e9,
    Number.MAX_SAFE_INTEGER,
    Number.NaN,
    '',
    'x',
    'net',
    'x#grad',
    'net#0#grad',
  ],
  ...['constructor', 'toString', 'y'.repeat(5000), [], [[]], [2 ** 31], [0, 2 ** 40], {}, { constructor: 1 }],
  ...[new Uint8Array(3), { shape: [0, 1e9], dtype: 'float32', data: new Uint8Array(0) }],
]

/** The value with one place changed: replaced, taken out, or something put beside it. */
function changed(random: SeededRandom, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array || random.int(8) === 0) {
    return random.pick(JUNK)
  }
  if (Array.isArray(value)) {
    const at = random.int(value.length + 1)
    if (at === value.length) return [...value, random.pick(JUNK)]
    return value.map((item, i) => (i === at ? changed(random, item) : item))
  }
  const entries = Object.entries(value)
  const action = random.int(12)
  if (entries.length === 0 || action === 0)
    return { ...value, [random.pick(['extra', 'id', 'out'])]: random.pick(JUNK) }
  const at = random.int(entries.length)
  if (action === 1) return Object.fromEntries(entries.filter((_, i) => i !== at))
  return Object.fromEntries(entries.map(([name, item], i) => [name, i === at ? changed(random, item) : item]))
}

/** A request under a number, well formed as far as the envelope goes; its body may be anything. */
export function hostileRequest(random: SeededRandom, seq: number): Uint8Array {
  const [name, body] = random.pick(templates)
  const action = random.int(20)
  if (action === 0)
    return encodeValue([FrameKind.request, seq, random.pick(['__proto__', 'constructor', 'nothing']), body])
  // What would end the session by its own wish comes seldom enough as it is.
  return encodeValue([FrameKind.request, seq, name, action < 4 ? body : changed(random, body)])
}

const bytes = (random: SeededRandom, length: number): Uint8Array => Uint8Array.from({ length }, () => random.int(256))
/** A message with some bits turned, or cut short, or with more behind it. */
function garbled(random: SeededRandom, message: Uint8Array): Uint8Array {
  const action = random.int(8)
  if (action === 0) return message.slice(0, random.int(message.length))
  if (action === 1) return Uint8Array.of(...message, ...bytes(random, 1 + random.int(8)))
  const result = message.slice()
  for (let flips = 1 + random.int(3); flips > 0; flips--) {
    const at = random.int(result.length)
    result[at] = random.int(2) === 0 ? random.int(256) : result[at]! ^ (1 << random.int(8))
  }
  return result
}

const request = (seq: number, body: unknown = {}) => [FrameKind.request, seq, 'flush', body]
const put = (seq: number) => [
  FrameKind.request,
  seq,
  'put',
  { ...sampleBodies.put, value: { ...sampleBodies.put.value, data: null } },
]
/** Where the data of that `put` belongs. */
const DATA = [3, 'value', 'data']

/** Messages that end a session, of every kind that we know; from the number of the next request. */
export const violations: readonly ((random: SeededRandom, seq: number) => Uint8Array | Uint8Array[])[] = [
  (random, seq) => garbled(random, joined(MessageKind.frames, [hostileRequest(random, seq)])),
  (random) => bytes(random, random.int(80)),
  () => new Uint8Array(0),
  // Lengths that lie: an array, a map, a string and binary of four billion, of which nothing follows.
  (random) => Uint8Array.of(MessageKind.frames, random.pick([0xdd, 0xdf, 0xdb, 0xc6]), 0xff, 0xff, 0xff, 0xff),
  (random) => Uint8Array.of(MessageKind.piece, 0, 0xc6, 0x7f, 0xff, 0xff, random.int(256)),
  // Kinds and extension types that there are none of.
  (random) => Uint8Array.of(8 + random.int(100), 1, 2),
  (random) => Uint8Array.of(MessageKind.frames, 0xc7 + random.int(3), 4, 1, 2, 3, 4),
  (random, seq) => messageOf(MessageKind.frames, [6 + random.int(100), seq, 'flush', {}]),
  () => messageOf(MessageKind.shake, { version: 1 }),
  // Numbers that do not follow, answers to nothing, and errors that are none.
  (random, seq) => messageOf(MessageKind.frames, request(random.pick([seq - 1, seq + 1, 0, -1, 0.5, 2 ** 53 - 1]))),
  (_, seq) => messageOf(MessageKind.frames, [FrameKind.reply, seq, null]),
  (_, seq) => messageOf(MessageKind.frames, [FrameKind.ack, seq]),
  () => messageOf(MessageKind.bye, { code: 'ERR_NOTHING', message: 7 }),
  // Counts of what was never sent.
  (random) => messageOf(MessageKind.received, random.pick([1e9, Number.MAX_SAFE_INTEGER, -1, 0.5])),
  // Parts: of a size that there is no room for, empty, twice, of nothing, too long, in a place that is taken or is none.
  (_, seq) => messageOf(MessageKind.headed, put(seq), [[1, Number.MAX_SAFE_INTEGER, DATA]]),
  (_, seq) => messageOf(MessageKind.headed, put(seq), [[1, 0, DATA]]),
  (_, seq) =>
    messageOf(MessageKind.headed, put(seq), [
      [1, 8, DATA],
      [1, 8, DATA],
    ]),
  (random) => messageOf(MessageKind.piece, random.int(1000), new Uint8Array(4)),
  (random, seq) => [
    messageOf(MessageKind.headed, put(seq), [[0, 8, random.pick([[3, 'out'], [9], ['__proto__', 'x']])]]),
    messageOf(MessageKind.piece, 0, new Uint8Array(8)),
  ],
  // A tunnel of an id that is none.
  () => messageOf(MessageKind.frames, [FrameKind.tunnel, '../t', '', new Uint8Array(1)]),
]

/** Messages that are large: nested deeper than anything that is meant, and with more parts and tunnels than there may be. */
export const masses: readonly ((seq: number) => Uint8Array)[] = [
  () => Uint8Array.of(MessageKind.frames, ...new Uint8Array(100_000).fill(0x91)),
  () => Uint8Array.of(MessageKind.frames, ...new Uint8Array(100_000).fill(0x81)),
  (seq) => {
    const parts = Array.from({ length: 70_000 }, (_, i) => [i, 1, []])
    return messageOf(MessageKind.headed, put(seq), parts)
  },
  () => {
    const tunnels = Array.from({ length: 1100 }, (_, i) => [FrameKind.tunnel, `t${i}`, '', new Uint8Array(1)])
    return messageOf(MessageKind.frames, ...tunnels)
  },
]

/** Messages that mean no harm by themselves, in the place of a step of the handshake. */
export const outOfPlace = (random: SeededRandom): Uint8Array => {
  const shake = { version: 1, nonce: bytes(random, 32), ephemeral: null }
  switch (random.int(6)) {
    case 0:
      return bytes(random, random.int(300))
    case 1:
      return [random.pick(violations)(random, 1)].flat()[0]!
    case 2:
      return messageOf(MessageKind.frames, request(1))
    case 3:
      return garbled(random, messageOf(MessageKind.shake, shake))
    case 4:
      return messageOf(MessageKind.shake, changed(random, shake))
    default:
      return messageOf(
        MessageKind.shake,
        encodeValue(
          changed(random, { credentials: { role: 'caller', identity: null, token: 'x' }, key: null, link: null }),
        ),
        null,
      )
  }
}
