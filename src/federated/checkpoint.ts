/**
 * A federation between two rounds, as bytes: what it takes to go on as if it had not been interrupted. The SHA-256 of all
 * that follows, 32 bytes, and one value of MessagePack.
 */
import { sha256 } from '@noble/hashes/sha2.js'
import * as v from 'valibot'
import { sottoError } from '../errors.ts'
import type { NoisySteps } from '../privacy/accountant.ts'
import { encodeValue, readValues } from '../worker/codec.ts'
import type { StrategyState } from './strategies/strategy.ts'

export interface FederationState {
  /** Rounds that are done. */
  readonly round: number
  /** Name of the strategy whose state this is. */
  readonly strategy: string
  readonly weights: Float32Array
  readonly state: StrategyState
  /** What the accountant has counted; none without privacy. */
  readonly spent: readonly Required<NoisySteps>[]
  /** The best value of the metric that stops training, and the round it is of. */
  readonly best: { readonly value: number; readonly round: number } | null
}

const FORMAT = 'sotto federation 1'

const vector = v.strictObject({ kind: v.picklist(['f32', 'f64']), data: v.instance(Uint8Array) })
const whole = v.pipe(v.number(), v.integer(), v.minValue(0))
const schema = v.strictObject({
  format: v.literal(FORMAT),
  round: whole,
  strategy: v.string(),
  weights: vector,
  state: v.record(v.string(), vector),
  spent: v.array(v.strictObject({ noiseMultiplier: v.number(), sampleRate: v.number(), steps: whole })),
  best: v.nullable(v.strictObject({ value: v.number(), round: whole })),
})

function packed(vector: Float32Array | Float64Array) {
  const kind = vector instanceof Float32Array ? 'f32' : 'f64'
  return { kind, data: new Uint8Array(vector.buffer, vector.byteOffset, vector.byteLength).slice() }
}

function unpacked({ kind, data }: v.InferOutput<typeof vector>): Float32Array | Float64Array {
  // A view of numbers starts at a multiple of their size.
  const { buffer } = data.slice()
  return kind === 'f32' ? new Float32Array(buffer) : new Float64Array(buffer)
}

const CHECKSUM = 32

export function encodeState({ weights, state, ...rest }: FederationState): Uint8Array {
  const vectors = Object.fromEntries(Object.entries(state).map(([name, values]) => [name, packed(values)]))
  const content = encodeValue({ format: FORMAT, ...rest, weights: packed(weights), state: vectors })
  const bytes = new Uint8Array(CHECKSUM + content.length)
  bytes.set(sha256(content))
  bytes.set(content, CHECKSUM)
  return bytes
}

/** @throws StateError `ERR_CHECKPOINT` for bytes that are no checkpoint of a federation, or were cut or changed */
export function decodeState(bytes: Uint8Array): FederationState {
  const refused = (why: string) => sottoError('ERR_CHECKPOINT', `this is no checkpoint of a federation: ${why}`)
  if (!(bytes instanceof Uint8Array)) throw refused('it is no Uint8Array')
  const content = bytes.subarray(CHECKSUM)
  const checksum = sha256(content)
  if (!checksum.every((byte, i) => byte === bytes[i])) throw refused('it was cut or changed')
  const result = v.safeParse(schema, readValues(content)[0])
  if (!result.success) throw refused(`"${v.getDotPath(result.issues[0]) ?? 'the whole'}" is not what it must be`)
  const { format: _, weights, state, ...rest } = result.output
  const vectors = Object.fromEntries(Object.entries(state).map(([name, values]) => [name, unpacked(values)]))
  return { ...rest, weights: unpacked(weights) as Float32Array, state: vectors }
}
