/**
 * Every method of an encoded tensor against its plain twin, on every kind: public here, public on a worker, secret
 * among two and three parties; in base 2 and base 10, and of integers and truths as they are.
 *
 * Calls, twins and error bounds come from `operations.ts`. `SOTTO_LONG=1` makes ten times as many calls; `SOTTO_SEED`
 * starts elsewhere.
 */
import fc from 'fast-check'
import {
  type EncodedTensor,
  type Encoding,
  FixedPrecisionPointer,
  FixedPrecisionTensor,
  fixPrecision,
  hook,
  noGrad,
  PointerTensor,
  type PrecisionOptions,
  ready,
  SharedTensor,
  scope,
  send,
  share,
  tf,
  VirtualWorker,
  type Worker,
} from 'sotto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { AnyEncoded } from '../../src/smpc/encoded-tensor.ts'
import { INTEGER, scaleOf } from '../../src/smpc/encoding.ts'
import { integersOf } from '../../src/smpc/fixed-precision.ts'
import { settled } from '../backend.ts'
import { type Call, generator, type OperandSample, sizeOf, type TensorSample } from '../tensor/op-samples.ts'
import {
  Bounds,
  type Case,
  elsewhere,
  internal,
  isFloat,
  isTensor,
  type Method,
  methodOf,
  type Operation,
  operations,
  type Quantity,
} from './operations.ts'

const many = process.env['SOTTO_LONG'] ? 10 : 1
const seed = Number(process.env['SOTTO_SEED'] ?? 1)
/** Sums of more are rounded by float32 more than by what is tested. */
const MOST = 48

const rows = Object.entries(operations) as [Method, Operation][]
const precisions: readonly Required<PrecisionOptions>[] = [
  { base: 2, precisionFractional: 16 },
  { base: 10, precisionFractional: 3 },
]

const workers = {} as Record<'bob' | 'alice' | 'jane' | 'carol' | 'dave' | 'provider', Worker>
beforeAll(async () => {
  // What is computed on ring elements is the same on every backend; of tfjs itself the cpu has all gradients.
  await ready({ backend: 'cpu' })
  hook()
  for (const id of ['bob', 'alice', 'jane', 'carol', 'dave', 'provider'] as const) workers[id] = new VirtualWorker(id)
})
afterAll(async () => {
  await Promise.all(Object.values(workers).map((worker) => worker.close()))
})

// Calls.

const list = <T>(value: T | readonly T[]): readonly T[] => (Array.isArray(value) ? value : [value as T])
const plainOf = ({ shape, dtype, values }: TensorSample): tf.Tensor => tf.tensor(values.slice(), [...shape], dtype)

/** tf.tidy, for what holds no tensors. */
function tidy<T>(action: () => T): T {
  let result!: T
  tf.tidy(() => {
    result = action()
  })
  return result
}

const snapped = (operand: OperandSample): OperandSample => {
  if (!isTensor(operand) || operand.dtype !== 'float32') return operand
  return { ...operand, values: (operand.values as Float32Array).map((value) => Math.round(4 * value) / 4) }
}

/** The first calls of a row that suit; none where there are none. */
function callsOf(calls: fc.Arbitrary<Call>, count: number, suits: (call: Call) => boolean, isOnGrid = false): Call[] {
  const isSmall = ({ operands }: Call) => operands.every((x) => !isTensor(x) || x.values.length <= MOST)
  return fc
    .sample(calls, { seed, numRuns: 12 * count })
    .filter((call) => isSmall(call) && suits(call))
    .slice(0, count)
    .map(({ operands, args }) => ({ operands: isOnGrid ? operands.map(snapped) : operands, args }))
}
const hasFloat = ({ operands }: Call): boolean => operands.some((x) => isTensor(x) && isFloat(x))

interface Plain {
  readonly shape: readonly number[]
  readonly dtype: string
  readonly values: Float32Array | Int32Array | Uint8Array
}
const plainly = ({ plain }: Operation, { operands, args }: Call): readonly Plain[] =>
  tidy(() =>
    list(plain(operands.map((x) => (isTensor(x) ? plainOf(x) : x)) as tf.Tensor[], ...args)).map((t) => ({
      shape: [...t.shape],
      dtype: t.dtype,
      values: t.dataSync() as Float32Array,
    })),
  )

// Kinds.

interface Kind {
  readonly isSecret: boolean
  /** A tensor of this kind; floats in the precision given. */
  make(sample: TensorSample, precision: PrecisionOptions): AnyEncoded
  /** The value, which the tensor keeps. */
  read(x: AnyEncoded): Promise<FixedPrecisionTensor>
}

const once = <T>(tensor: tf.Tensor, action: (tensor: tf.Tensor) => T): T => {
  try {
    return action(tensor)
  } finally {
    tensor.dispose()
  }
}
const here: Kind = {
  isSecret: false,
  make: (sample, precision) =>
    once(plainOf(sample), (t) => (sample.dtype === 'float32' ? fixPrecision(t, precision) : integersOf('make', t))),
  read: async (x) => x as FixedPrecisionTensor,
}
const onWorker = (worker: () => Worker): Kind => ({
  isSecret: false,
  make: (sample, precision) =>
    once(plainOf(sample), (t) => {
      const fixed = fixPrecision(send(t, worker()), precision)
      if (sample.dtype === 'float32') return fixed
      if (sample.dtype === 'bool') return fixed.greater(0)
      // No fixed-precision pointer is made of integers as such; there they are the results of commands.
      return fixed.run('clone', [], { divisor: BigInt(fixed.scale), encodings: [INTEGER] })[0]!
    }),
  read: (x) => (x as FixedPrecisionPointer).fetch(),
})
const among = (members: () => readonly Worker[]): Kind => ({
  isSecret: true,
  make: (sample, precision) =>
    once(plainOf(sample), (t) => {
      const [provider, ...parties] = members()
      return share(sample.dtype === 'float32' ? fixPrecision(t, precision) : t, parties, { provider: provider! })
    }),
  read: (x) => (x as SharedTensor).get(),
})
const kinds = {
  'public, here': here,
  'public, on a worker': onWorker(() => workers.bob),
  'secret among two': among(() => [workers.provider, workers.bob, workers.alice]),
  'secret among three': among(() => [workers.provider, workers.bob, workers.alice, workers.jane]),
} satisfies Record<string, Kind>
const five = among(() => [
  workers.provider,
  workers.bob,
  workers.alice,
  workers.jane,
  workers.carol,
  workers.dave,
])

/** A public operand, in one of the ways to write one. */
function publicly(sample: TensorSample, precision: PrecisionOptions, turn: number): unknown {
  const t = plainOf(sample)
  if (turn % 3 === 0 && sample.dtype === 'float32') return once(t, () => fixPrecision(t, precision))
  // An array without elements has no shape.
  if (turn % 3 === 1 && sample.values.length > 0) return once(t, () => t.arraySync())
  return t
}

/** The operands of a call as a method takes them. */
function placed(kind: Kind, { others }: Operation, { operands }: Call, precision: PrecisionOptions, turn: number) {
  const isWhole = operands.slice(1).every((x) => !isFloat(x!))
  // A fraction cannot meet an integer that is encoded already, unless it is encoded too.
  const mayBePublic = others === 'public' || (others === 'any' && turn % 2 === 1 && (isFloat(operands[0]!) || isWhole))
  return operands.map((operand, i) => {
    if (!isTensor(operand)) return operand ?? undefined
    return i > 0 && mayBePublic ? publicly(operand, precision, turn >> 1) : kind.make(operand, precision)
  })
}

function invoked(name: Method, { invoke }: Operation, operands: readonly unknown[], args: readonly unknown[]) {
  const result = invoke ? invoke(operands, args) : methodOf(operands[0], name)(...operands.slice(1), ...args)
  return list(result as AnyEncoded | AnyEncoded[])
}

// Comparing.

const caseOf = (b: Bounds, { isOnGrid }: Operation, { operands, args }: Call, result: readonly number[]): Case => ({
  operands: operands.map((x) => (x === null ? null : b.given(x, isOnGrid))) as Quantity[],
  shapes: operands.map((x) => (isTensor(x) ? x.shape : [])),
  args,
  result,
})

/** The difference to plain values, in units; fails where it is larger than what it may be. */
function expectWithin(actual: FixedPrecisionTensor, plain: Plain, units: number, what: string): void {
  expect(actual.shape, what).toEqual(plain.shape)
  const scale = scaleOf(actual.encoding)
  const data = actual.publicValue.tensor.data
  for (const [i, value] of plain.values.entries()) {
    const off = Math.abs(Number(BigInt.asIntN(64, data[i]!)) - value * scale)
    if (off <= units) continue
    expect.fail(`${what}: element ${i} is off by ${off} units, and may be by ${units}; in tfjs it is ${value}`)
  }
}

/** Of what a method gives: fixed precision stays, integers stay, and truths are counted unless they are only moved. */
function dtypeOf(operands: readonly OperandSample[], plain: Plain): string {
  if (plain.dtype !== 'float32') return plain.dtype
  return operands.some((x) => x !== null && isFloat(x)) ? 'float32' : 'int32'
}

async function compare(kind: Kind, name: Method, call: Call, precision: PrecisionOptions, turn: number): Promise<void> {
  const operation = operations[name] as Operation
  const plain = plainly(operation, call)
  await scope(async () => {
    const operands = placed(kind, operation, call, precision, turn)
    const results = invoked(name, operation, operands, call.args)
    expect(results.length).toBe(plain.length)
    const isFixed = call.operands.some((x) => x !== null && isFloat(x))
    const b = new Bounds(isFixed ? scaleOf(precision as Encoding) : 1, kind.isSecret)
    const { error } = operation.error(b, caseOf(b, operation, call, plain[0]?.shape ?? []))
    const values = await Promise.all(results.map(kind.read))
    tf.dispose(operands.filter((x) => x instanceof tf.Tensor))
    for (const [i, value] of values.entries()) {
      const what = `${name}(${JSON.stringify(call.args)}) of ${call.operands.map((x) => (isTensor(x) ? `${x.dtype} [${x.shape}]` : x))}, turn ${turn}`
      expect(value.shape, what).toEqual(results[i]!.shape)
      expect(value.dtype, what).toBe(dtypeOf(call.operands, plain[i]!))
      expectWithin(value, plain[i]!, error, what)
    }
  })
}

describe.each(Object.entries(kinds))('what a method gives is what tfjs gives, %s', (_, kind: Kind) => {
  it.each(rows)('%s', async (name, { calls, isOnGrid }) => {
    if (name === 'refresh' && !kind.isSecret) return
    const fixed = callsOf(calls, 6 * many, hasFloat, isOnGrid)
    const whole = callsOf(calls, 3 * many, (call) => !hasFloat(call))
    const all = [
      ...fixed.flatMap((call, turn) => precisions.map((precision) => compare(kind, name, call, precision, turn))),
      ...whole.map((call, turn) => compare(kind, name, call, {}, turn)),
    ]
    expect(all.length).toBeGreaterThan(0)
    await Promise.all(all)
  })
})
