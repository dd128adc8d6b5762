/** What tables of PROTOCOL.md say of masked sums, worked out by the code. */
import { createHash } from 'node:crypto'
import { boundSession } from '../../src/federated/masking/terms.ts'
import { keyPairOf } from '../../src/federated/secagg/agreement.ts'
import { Graph } from '../../src/federated/secagg/graph.ts'
import {
  cohortOf,
  drawCommitmentOf,
  pairMask,
  sealing,
  seedCommitmentOf,
  selfMask,
  survivorsParts,
} from '../../src/federated/secagg/keys.ts'
import { applyMasks } from '../../src/federated/secagg/masks.ts'
import { secAggParameters, type Trust } from '../../src/federated/secagg/parameters.ts'
import { Quantiser } from '../../src/federated/secagg/quantise.ts'
import { checkSettings } from '../../src/federated/secagg/settings.ts'
import { combine } from '../../src/federated/secagg/shamir.ts'
import { transcript } from '../../src/federated/secagg/transcript.ts'
import { toBytes } from '../../src/federated/secagg/vectors.ts'
import { portableAead } from '../../src/worker/transport/seal.ts'
import { ROUND, sampleRound, sampleSettings, sampleTerms } from './sample-frames.ts'

/** Cells of a row, its name first. */
export type PageRow = readonly [name: string, ...cells: string[]]

const bytes = (byte: number): Uint8Array => new Uint8Array(32).fill(byte)
const hexOf = (data: Uint8Array): string => Buffer.from(data).toString('hex')

const shown: readonly (readonly [clients: number, Trust])[] = [
  [3, {}],
  [4, {}],
  [5, {}],
  [10, {}],
  [64, {}],
  [65, {}],
  [100, {}],
  [100, { server: 'active' }],
  [257, {}],
  [257, { corrupted: 0.2, dropouts: 0.05 }],
]
export const graphs = (): PageRow[] =>
  shown.map(([clients, trust]) => {
    const { neighbours, threshold, spread, witnesses, quorum } = secAggParameters(clients, trust)
    const said = Object.entries(trust).map(([name, value]) => `, ${name} ${value}`)
    return [`${clients}${said.join('')}`, ...[neighbours, threshold, spread, witnesses, quorum].map(String)]
  })

const terms = checkSettings('page', sampleSettings)
const [alice, bob] = sampleRound.adverts as [(typeof sampleRound.adverts)[0], (typeof sampleRound.adverts)[0]]
const cohort = cohortOf(terms, sampleRound.roster, [])
/** What alice drew: see sample-frames.ts. */
const [sealSecret, maskSecret, seed, draw] = [0x10, 0x11, 0x12, 0x13].map(bytes) as [
  Uint8Array,
  Uint8Array,
  Uint8Array,
  Uint8Array,
]
const sealed = sealing(keyPairOf(sealSecret).agree(bob.sealKey)!, cohort, alice, bob)
const forBob = sampleRound.shares[0]!.sealed[0]!.box
const ofPair = pairMask(keyPairOf(maskSecret).agree(bob.maskKey)!, cohort, alice, bob)

function mask(key: Uint8Array): Uint8Array {
  const vector = new Uint32Array(4)
  applyMasks(vector, { added: [key] })
  return toBytes(vector)
}

/** Places of 65 clients under a seed: what the first eight of them hold. */
const places = (): string => [...new Graph(secAggParameters(65), bytes(1)).ring.subarray(0, 8)].join(', ')
const inWords64 = new Quantiser({ clip: 1, bits: 4, modulus: 64, clients: 4 })

export const testValues = (): PageRow[] => [
  [
    'transcript of "a", 3 and the bytes 01 02, under the label "l"',
    hexOf(transcript('l', 'a', 3, Uint8Array.of(1, 2))),
  ],
  ['hash in the name of the session', boundSession(sampleTerms).split(' ')[1]!],
  ['digest of the terms', hexOf(terms.digest)],
  ['seed commitment of alice', hexOf(seedCommitmentOf(seed))],
  ['draw commitment of alice', hexOf(drawCommitmentOf(terms, 'alice', ROUND, draw))],
  ['cohort', hexOf(cohort)],
  ['key of the box from alice to bob', hexOf(sealed.key)],
  ['SHA-256 of its associated data', hexOf(sha256(sealed.associated))],
  ['what is in it', hexOf(portableAead.decrypt(sealed.key, sealed.nonce, forBob, sealed.associated)!)],
  ['key of the mask of alice and bob', hexOf(ofPair)],
  ['the first 16 bytes of that mask', hexOf(mask(ofPair))],
  ['key of the mask of alice alone', hexOf(selfMask(seed, cohort, alice))],
  ['vector of alice', hexOf(toBytes(sampleRound.vectors[0]!))],
  ['sum', hexOf(toBytes(sampleRound.sum))],
  [
    'transcript of the survivors',
    hexOf(survivorsParts(cohort, sampleRound.delivery.sharers, sampleRound.survivors.survivors)),
  ],
  [
    'secret with the shares 32 times 01 at point 1, 02 at 2, 03 at 5',
    hexOf(combine([1, 2, 5].map((point, i) => ({ point, value: bytes(i + 1) })))),
  ],
  ['words of 64 bits of the values 1 and −1, bits 4, clip 1', hexOf(toBytes(inWords64.encode(Float32Array.of(1, -1))))],
  ['clients at the first 8 places of 65, in a cohort of 32 bytes 01', places()],
]

function sha256(data: Uint8Array): Uint8Array {
  return createHash('sha256').update(data).digest()
}
