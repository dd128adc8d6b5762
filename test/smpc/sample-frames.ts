/** A sample of everything that travels in secret computation. What is missing does not compile. */
import type { Correlation, CorrelationKind } from '../../src/smpc/correlations.ts'
import type { Part, SecretMessage, SecretRequest } from '../../src/smpc/messages.ts'
import { type Frame, FrameKind } from '../../src/worker/protocol.ts'
import { sampleError } from '../worker/sample-frames.ts'

const GROUP = 'g1'
const X = 'x'
const Y = 'y'
const OUT = 'z'

/** 1 and 2 at a scale of 2^16. */
const words = new Uint8Array([0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0])
const ring = { shape: [2], data: words } as const
const seed = Uint8Array.from({ length: 32 }, (_, i) => i)
const encoding = { ring: 64, dtype: 'float32', base: 2, precisionFractional: 16 } as const
const group = { group: GROUP }
const parties = ['bob', 'alice', 'jane']
const keys = [
  { name: 'bob', key: 'k0' },
  { name: 'alice', key: 'k1' },
  { name: 'jane', key: 'k2' },
]

const kept = { name: 'digits.2.0', bytes: 400, sha256: 'a'.repeat(64), savedAt: 1_767_225_600_000 } as const

/** One part of each kind. */
export const sampleParts: { readonly [K in Part['kind']]: Extract<Part, { kind: K }> } = {
  seed: { kind: 'seed', data: seed },
  opening: { kind: 'opening', seq: 4, step: 1, op: 'mul', data: words },
  dealt: { kind: 'dealt', index: 1, of: 'truncation', data: words },
  credit: { kind: 'credit', index: 1, bytes: 16 },
  end: {
    kind: 'end',
    error: { ...sampleError, code: 'ERR_OUT_OF_STEP', message: 'command 4 was to come next, 5 came' },
  },
}

/** One correlation of each kind. */
export const sampleCorrelations: { readonly [K in CorrelationKind]: Extract<Correlation, { kind: K }> } = {
  product: { kind: 'product', op: 'mul', shapes: [[10], [10]], attrs: [] },
  square: { kind: 'square', size: 10 },
  truncation: { kind: 'truncation', size: 10, divisor: 65536 },
  coded: { kind: 'coded', size: 10, digits: 16 },
  circuit: { kind: 'circuit', size: 10, name: 'lessThan', bits: 16 },
  bit: { kind: 'bit', size: 10, planes: 1, factors: 1 },
}

/** One body per message. */
export const sampleBodies: { readonly [N in SecretMessage]: SecretRequest<N> } = {
  secretJoin: { ...group, protocol: 'additive', parties, index: 0, provider: 'carol', ring: 64 },
  secretProvide: { ...group, parties, ring: 64 },
  secretPut: { ...group, out: X, share: { shape: [2], seed }, privacy: null },
  secretRandom: { ...group, seq: 3, out: Y, shape: [2] },
  secretShare: { ...group, protocol: 'additive', id: X, encoding, to: keys, provider: 'carol' },
  secretTake: { ...group, from: 'bob', key: 'k1', out: X, shape: [2] },
  secretDeal: {
    ...group,
    index: 0,
    correlations: [
      { kind: 'product', op: 'mul', shapes: [[2], [2]], attrs: [] },
      { kind: 'truncation', size: 2, divisor: 65536 },
    ],
    ahead: false,
  },
  secretRun: {
    ...group,
    seq: 4,
    index: 0,
    dealt: 2,
    op: 'mul',
    operands: [X, Y],
    attrs: [],
    divisor: 65536,
    out: [OUT],
  },
  secretGet: { ...group, seq: 5, id: OUT, encoding },
  secretOpen: { ...group, seq: 6, id: OUT, to: 'dana', key: 'k0', encoding },
  secretReceive: { from: keys, out: X, shape: [2], encoding, labels: { tags: ['#toy'], description: '' } },
  secretStats: group,
  secretParts: { ...group, parts: [sampleParts.seed, sampleParts.opening] },
  fixTensor: { id: X, out: Y, encoding },
  floatTensor: { id: Y, out: OUT },
  fixedRun: { op: 'add', operands: [Y, ring], attrs: [], divisor: null, out: [OUT], encodings: [encoding] },
  fixedGet: { id: OUT, keep: true },
  secretSave: { ...group, seq: 7, name: 'digits.2.0', set: 's1', note: '{"kind":"training"}', ids: [OUT] },
  secretKept: { ...group, name: 'digits.2.0' },
  secretRestore: { ...group, name: 'digits.2.0', set: 's1', to: [keys] },
  secretGuard: { ...group, ids: [OUT], job: 'digits', owners: ['olga', 'sam'] },
  secretConsent: { job: 'digits', to: 'dana', isGiven: true },
}

/** The number of the first request: of another session than the worker's own samples. */
const FIRST = 29
const numberOf = (name: SecretMessage): number => FIRST + Object.keys(sampleBodies).indexOf(name)

/** A request for every message, and a reply to each that is asked. */
export const sampleFrames: readonly Frame[] = [
  ...Object.entries(sampleBodies).map(([name, body], i): Frame => [FrameKind.request, FIRST + i, name, body]),
  [FrameKind.reply, numberOf('secretGet'), { data: words, rounds: 2 }],
  [FrameKind.reply, numberOf('secretStats'), { commands: 6, openings: 2, bytesSent: 96, bytesDealt: 48, shares: 3 }],
  [FrameKind.reply, numberOf('fixedGet'), ring],
  [FrameKind.reply, numberOf('secretSave'), kept],
  [FrameKind.reply, numberOf('secretKept'), { set: 's1', note: '{"kind":"training"}', shapes: [[2]], info: kept }],
  ...(['dealt', 'credit', 'end'] as const).map(
    (kind, i): Frame => [FrameKind.request, 53 + i, 'secretParts', { ...group, parts: [sampleParts[kind]] }],
  ),
]
