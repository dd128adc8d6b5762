import { capabilityFor } from '../../src/worker/capabilities.ts'
import { type Frame, FrameKind, type MessageName, type Request, type Response } from '../../src/worker/protocol.ts'

const A = 'x'
const B = 'net'
const OUT = 'y'
const KEY = 'key'
const EDGE = 'edge'
const PASS = 'pass'

const labels = { tags: ['#toy'], description: 'two numbers' }
const value = { shape: [2], dtype: 'float32', data: new Uint8Array([0, 0, 128, 63, 0, 0, 0, 64]) } as const
const part = { pass: PASS, end: true, retain: false }
const policy = { owner: 'me', allow: ['carol'], allowResults: [] }
const model = {
  type: 'sequential',
  topology: '{"name":"net","layers":[]}',
  weights: [{ name: 'kernel', value, trainable: true }],
  optimizers: [
    {
      kind: 'adam',
      config: { learningRate: 0.5 },
      step: 1,
      slots: [{ parameter: 0, name: 'first', value }],
      parameters: [0],
    },
  ],
} as const

/** Secret of the sessions shown, and keys of two workers. */
export const sampleSecret = Uint8Array.from({ length: 32 }, (_, i) => i)
export const sampleKeys = {
  alice: 'ed25519:A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg',
  bob: 'ed25519:iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w',
} as const
/** Lets bob hand things to a session with alice. */
const capability = capabilityFor(sampleSecret, { session: 's2', name: 'bob', key: sampleKeys.bob })

/** One body per message. A message that is missing does not compile. */
export const sampleBodies: { readonly [N in MessageName]: Request<N> } = {
  hello: { version: 1, name: 'me', session: 's1', secret: sampleSecret },
  peers: { peers: [{ name: 'alice', address: 'wss://alice.example:8777', key: sampleKeys.alice, capability }] },
  deposit: { key: KEY, content: { kind: 'tensor', value, labels, access: [policy] } },
  search: { tags: ['#toy'] },
  objects: {},
  flush: {},
  ledger: {},
  stats: {},
  put: {
    out: A,
    value,
    labels,
    privacy: { allow: ['carol'], allowResults: [] },
    requiresGrad: true,
    edge: null,
    keep: true,
  },
  run: { op: 'add', operands: [A, 2], attrs: [], out: [OUT], grad: true },
  get: { id: OUT, keep: true },
  free: { ids: [A, 'z'] },
  copy: { id: A, out: OUT, grad: true },
  detach: { id: A, out: OUT },
  requireGrad: { id: A, requiresGrad: true },
  zeroGrad: { ids: [`${B}#0`, `${B}#1`] },
  transfer: { id: A, to: 'alice', key: KEY, keep: false, edge: EDGE, optimizers: [] },
  receive: { key: KEY, from: 'bob', out: OUT, edge: EDGE, optimizers: [] },
  backward: { pass: null, end: false, retain: false, root: { id: A, seed: 1 } },
  relay: { ...part, edge: EDGE, to: 'bob', key: KEY },
  relayHome: { ...part, edge: EDGE },
  putModel: { out: B, model, labels, privacy: null, optimizers: [OUT] },
  copyModel: { id: B, out: OUT },
  apply: { model: B, operands: [A], out: [OUT], training: true, grad: true },
  getModel: { id: B, keep: false, optimizers: [OUT] },
  putOptimizer: { out: OUT, kind: 'sgd', config: { learningRate: 0.5 }, parameters: [`${B}#0`, A] },
  configure: { id: OUT, config: { learningRate: 0.25 } },
  step: { id: OUT },
  saveModel: { id: B, name: 'epoch-3', optimizers: [OUT] },
  restoreModel: { id: B, name: 'epoch-3', optimizers: [OUT] },
  checkpoints: {},
  removeCheckpoint: { name: 'epoch-3' },
  assign: { model: B, values: [A, `${B}#0`] },
}

const checkpoint = { name: 'epoch-3', bytes: 451, sha256: '0123456789abcdef'.repeat(4), savedAt: 1_700_000_000_000 }
const manifest: Response<'saveModel'> = {
  worker: 'bob',
  ...checkpoint,
  weights: [{ name: 'kernel', shape: [2], dtype: 'float32', trainable: true }],
  optimizers: [{ kind: 'adam', config: { learningRate: 0.5 }, step: 1 }],
}

export const sampleError = {
  code: 'ERR_NOT_FOUND',
  message: 'no object of that id is here: it was taken, freed, or never made',
  worker: 'bob',
  origin: 's1:7',
} as const

const remainder = 'lost'
const spec = { shape: [2], dtype: 'float32' } as const
/** The values above, as halves and as integers: 2 is 127 times the scale, 1 is 63.5 times and goes to the even 64. */
const halves = { ...spec, encoding: 'float16', data: new Uint8Array([0, 60, 0, 64]) } as const
const integers = {
  ...spec,
  encoding: 'int8',
  data: new Uint8Array([64, 127]),
  scales: new Uint8Array([4, 2, 129, 60]),
} as const
/** Messages with what may be left out of them, and in other forms. */
export const packedBodies: readonly [name: MessageName, body: unknown][] = [
  ['deposit', { key: KEY, content: { kind: 'tensor', value: halves, labels, access: [] } }],
  ['deposit', { key: KEY, content: { kind: 'tensor', value: integers, labels, access: [] } }],
  ['transfer', { ...sampleBodies.transfer, compress: { encoding: 'int8', remainder } }],
  ['relay', { ...sampleBodies.relay, compress: { encoding: 'float16', remainder: null } }],
]

/** At least one frame of every kind, and a request for every message. */
export const sampleFrames: readonly Frame[] = [
  ...[...Object.entries(sampleBodies), ...packedBodies].map(
    ([name, body], i): Frame => [FrameKind.request, i + 1, name, body],
  ),
  [FrameKind.reply, 1, { worker: 'bob', version: 1 }],
  [FrameKind.reply, 2, null],
  [FrameKind.reply, 11, value],
  [FrameKind.reply, 29, manifest],
  [FrameKind.reply, 31, [checkpoint]],
  [FrameKind.failure, 7, sampleError],
  [FrameKind.ack, 64],
  [FrameKind.tunnel, 't1', 'alice', new Uint8Array([1, 2, 3])],
  [FrameKind.tunnel, 't1', null, null],
]
