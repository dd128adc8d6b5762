/**
 * The op table: for every row, that its shape rule says what tfjs gives, that a pointer gives what the row gives here,
 * that both give what tfjs gives, that the gradient is the one that differences give, and that nothing is left over.
 *
 * The calls come from `op-samples.ts`. `SOTTO_LONG=1` makes ten times as many; `SOTTO_SEED` starts elsewhere.
 */
import fc from 'fast-check'
import { isSottoError, type OpName, ops, PointerTensor, type Spec, scope, send, tf, VirtualWorker } from 'sotto'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { withFastMatMul } from '../../src/tensor/matmul.ts'
import { type OpRow, opRow, type Value } from '../../src/tensor/ops.ts'
import { backward, record, Tracked } from '../../src/tensor/tape.ts'
import { readyForTest, settled, testBackend } from '../backend.ts'
import {
  anyTensor,
  type Call,
  generator,
  makers,
  type OperandSample,
  type OpSample,
  samples,
  sizeOf,
  type TensorSample,
} from './op-samples.ts'

const many = process.env['SOTTO_LONG'] ? 10 : 1
const seed = Number(process.env['SOTTO_SEED'] ?? 1)
const runs = (numRuns: number) => ({ seed, numRuns: numRuns * many, endOnFailure: true })

const names = Object.keys(ops) as OpName[]
const rows = names.map((name) => [name, opRow(name), samples[name] as OpSample] as const)

let bob: VirtualWorker
/** The same with every frame packed and unpacked. */
let wired: VirtualWorker

beforeAll(async () => {
  await readyForTest()
  bob = new VirtualWorker('bob')
  wired = new VirtualWorker('wired', { codec: true })
})
afterAll(async () => {
  await bob.close()
  await wired.close()
})

const list = <T>(value: T | readonly T[]): readonly T[] => (Array.isArray(value) ? value : [value as T])
const isTensor = (operand: OperandSample): operand is TensorSample => typeof operand === 'object' && operand !== null

/** A tensor with a copy of the values: the cpu backend keeps the array that it is given. */
const tensorOf = ({ shape, dtype, values }: TensorSample): tf.Tensor => tf.tensor(values.slice(), [...shape], dtype)
const given = (operand: OperandSample): Value | null => (isTensor(operand) ? tensorOf(operand) : operand)
function specOf(operand: Exclude<OperandSample, null>): Spec {
  if (isTensor(operand)) return { shape: operand.shape, dtype: operand.dtype }
  return { shape: [], dtype: typeof operand === 'number' ? 'float32' : 'bool' }
}

/** What the row's rule says of a call. */
function ruled(row: OpRow, { operands, args }: Call): readonly Spec[] {
  const specs = operands.filter((operand) => operand !== null).map(specOf)
  return list(row.spec(specs, row.attrs(...(args as never[]))))
}

/** What the row gives for a call, on tensors here. */
function local(row: OpRow, { operands, args }: Call): TensorSample[] {
  return tidy(() =>
    // As a worker runs it: transposed products go another way, and round in another order.
    withFastMatMul(() => list(row.run(operands.map(given) as Value[], row.attrs(...(args as never[]))))).map(read),
  )
}

/** tf.tidy, for what holds no tensors. */
function tidy<T>(action: () => T): T {
  let result!: T
  tf.tidy(() => {
    result = action()
  })
  return result
}

function read(tensor: tf.Tensor): TensorSample {
  const { shape, dtype } = tensor
  return {
    shape: [...shape],
    dtype: dtype as Spec['dtype'],
    values: makers[dtype as Spec['dtype']].from(tensor.dataSync()),
  }
}

/** The pointer's method called with the operands on a worker. The pointers belong to the scope around it. */
function remote(worker: VirtualWorker, name: OpName, { operands, args }: Call, requiresGrad = false) {
  const pointers = operands.map((operand) => {
    if (!isTensor(operand)) return operand ?? undefined
    const tensor = tensorOf(operand)
    try {
      return send(tensor, worker, { requiresGrad: requiresGrad && operand.dtype === 'float32' })
    } finally {
      tensor.dispose()
    }
  })
  const [first, ...others] = pointers
  const rest: unknown[] = opRow(name).inputs.at(-1)!.endsWith('[]') ? [others] : others
  // All that the row has a place for: what comes after the operands are its arguments.
  while (!opRow(name).inputs.at(-1)!.endsWith('[]') && rest.length < opRow(name).inputs.length - 1) rest.push(undefined)
  const method = (first as PointerTensor)[name] as (...all: unknown[]) => PointerTensor | PointerTensor[]
  return { pointers, results: list(method.call(first, ...rest, ...args)) }
}

async function received(worker: VirtualWorker, name: OpName, call: Call): Promise<TensorSample[]> {
  return scope(async () => {
    const { results } = remote(worker, name, call)
    const tensors = await Promise.all(results.map((result) => result.get()))
    const values = tensors.map(read)
    tf.dispose(tensors)
    return values
  })
}

function expectSameBits(actual: readonly TensorSample[], expected: readonly TensorSample[]) {
  expect(actual.map(specOf)).toEqual(expected.map(specOf))
  for (const [i, { values }] of actual.entries()) {
    const bits = (x: ArrayBufferView) => Buffer.from(x.buffer, x.byteOffset, x.byteLength)
    if (bits(values).equals(bits(expected[i]!.values))) continue
    expect([...values], `result ${i}`).toEqual([...expected[i]!.values])
  }
}

/** @param units of rounding (2^-24) relative to the largest element */
function expectClose(actual: readonly TensorSample[], expected: readonly TensorSample[], units: number) {
  expect(actual.map(specOf)).toEqual(expected.map(specOf))
  for (const [i, { values }] of actual.entries()) {
    const wanted = expected[i]!.values
    const largest = Math.max(0, ...Array.from(wanted, Math.abs))
    for (const [j, value] of values.entries()) {
      if (Object.is(value, wanted[j]) || value === wanted[j]) continue
      const off = Math.abs(value - wanted[j]!)
      if (!(off <= units * 2 ** -24 * largest)) {
        expect.fail(`element ${j} of result ${i} is ${value}, and ${wanted[j]} in tfjs (of ${[...wanted]})`)
      }
    }
  }
}

/** Gradients of the sum of the results, as a worker computes them. */
function localGradients(row: OpRow, { operands, args }: Call): TensorSample[] {
  if (!row.differentiable) return []
  const values = operands.map(given)
  const leaves = values.map((value) =>
    value instanceof tf.Tensor ? new Tracked(tf.keep(value), { requiresGrad: value.dtype === 'float32' }) : null,
  )
  const tracked = leaves.filter((leaf) => leaf !== null)
  try {
    const { tensors, segment } = record(tracked, () => row.run(values as Value[], row.attrs(...(args as never[]))))
    const gradients = tensors.flatMap((tensor) => {
      if (segment === undefined || !segment.needs(tensor.id)) return []
      const seed = tf.ones(tensor.shape)
      const root = { tensorId: tensor.id, shape: tensor.shape, segment, leaf: undefined }
      const found = [...backward(root, seed).gradients.values()]
      const gradient = found.map(read)
      tf.dispose([seed, found])
      return gradient
    })
    segment?.free()
    tf.dispose(tensors)
    return gradients
  } finally {
    for (const leaf of tracked) leaf.release()
  }
}

const refusals = ['ERR_SHAPE', 'ERR_DTYPE', 'ERR_ARGUMENT_TYPE', 'ERR_ARGUMENT_VALUE']

function refusalOf(action: () => unknown): string | null {
  try {
    action()
    return null
  } catch (error) {
    expect(isSottoError(error), String(error)).toBe(true)
    return (error as { code: string }).code
  }
}

/** Arguments that no caller of a typed method writes. */
const garbage = fc.constantFrom<unknown>(
  undefined,
  null,
  Number.NaN,
  Infinity,
  -Infinity,
  -1,
  0,
  1,
  7,
  1.5,
  1e9,
  2 ** 53,
  -(2 ** 40),
  '',
  'same',
  'int32',
  '__proto__',
  true,
  {},
  { length: 3 },
  [],
  [[1]],
  [0, 0],
  [1, 1],
  [-1],
  [1e9, 1e9],
  [Number.NaN],
  ['1'],
  [null],
  [
    [0, 1],
    [1e9, 0],
  ],
)
const someGarbage = fc.array(garbage, { maxLength: 4 })

/** A call with an operand or the arguments exchanged for something else. */
const disturbed = (calls: fc.Arbitrary<Call>): fc.Arbitrary<Call> =>
  fc
    .tuple(calls, fc.nat(), anyTensor({ low: 1, high: 2 }), fc.option(someGarbage, { freq: 1 }))
    .map(([call, at, x, args]) => {
      if (args !== null) return { ...call, args }
      return { ...call, operands: call.operands.map((operand, i) => (i === at % call.operands.length ? x : operand)) }
    })

/** Larger results are not computed here: a worker would refuse them. */
const LARGE = 100_000

describe('the shape rule says what comes out', () => {
  it.each(rows)('%s', (_, row, { calls }) => {
    fc.assert(
      fc.property(calls, (call) => {
        expect(local(row, call).map(specOf)).toEqual(ruled(row, call))
      }),
      runs(20),
    )
  })
})

describe('whatever a row is given, it refuses, or gives what its rule says', () => {
  it.each(rows)('%s', (_, row, { calls }) => {
    fc.assert(
      fc.property(disturbed(calls), (call) => {
        let specs: readonly Spec[] = []
        const refused = refusalOf(() => {
          specs = ruled(row, call)
        })
        if (refused !== null) expect(refusals).toContain(refused)
        if (refused !== null || !specs.every(({ shape }) => sizeOf(shape) <= LARGE)) return
        try {
          expect(local(row, call).map(specOf)).toEqual(specs)
        } catch (error) {
          // What depends on the values: an index, and on wasm a zero that an integer is divided by.
          const byZero = error instanceof Error && /by zero/.test(error.message)
          if (!byZero && !(isSottoError(error) && error.code === 'ERR_ARGUMENT_VALUE')) throw error
        }
      }),
      runs(25),
    )
  })
})

describe('a pointer gives what the row gives here, and both what tfjs gives', () => {
  it.each(rows)('%s', async (name, row, { calls, tfjs, units }) => {
    await fc.assert(
      fc.asyncProperty(calls, async (call) => {
        const here = local(row, call)
        const { operands, args } = call
        const plain = tidy(() => list(tfjs(operands.map(given) as tf.Tensor[], ...args)).map(read))
        expectClose(here, plain, units)
        expectSameBits(await received(bob, name, call), here)
        expectSameBits(await received(wired, name, call), here)
      }),
      runs(10),
    )
  })
})

/**
 * Central differences in float32, h = 2^-8 ≈ eps^(1/3).
 *
 * Each output carries a rounding error of a few units of 2^-24 of itself; divided by 2h that is about 2^-17 of it per
 * unit. The term left out of the series is h²/6 = 2^-18.6 of the third derivative, which where we sample is at most some
 * tens of times the output. 2^-10 of what the outputs add up to leaves a hundredfold to both: still far below any
 * gradient that misses a factor or a term.
 */
const H = 2 ** -8
const TOLERANCE = 2 ** -10

/** Sum of the results times weights, in doubles, and what their magnitudes add up to. */
function weighed(results: readonly TensorSample[], weights: readonly Float32Array[]) {
  return results.map(({ values }, i) => Float64Array.from(values, (value, j) => value * (weights[i]?.[j] ?? 0)))
}

describe('the gradient is that of central differences', () => {
  const differentiable = rows.filter(([, row]) => row.differentiable)

  it('there are calls for every row that has one, and for no other', () => {
    for (const [name, row, { smooth }] of rows) expect([name, smooth !== null]).toEqual([name, row.differentiable])
  })

  it.each(differentiable)('%s', async (name, row, { smooth }) => {
    await fc.assert(
      fc.asyncProperty(smooth!, fc.integer(), async (call, weightSeed) => {
        const next = generator(weightSeed)
        const outputs = local(row, call)
        const weights = outputs.map(({ values }) =>
          Float32Array.from(values, () => (next() < 0.5 ? -1 : 1) * (0.5 + next())),
        )
        const gradients = await scope(async () => {
          const { pointers, results } = remote(bob, name, call, true)
          const terms = results.map((result, i) => {
            const weight = tf.tensor(weights[i]!, [...result.shape])
            const term = result.mul(send(weight, bob)).sum()
            weight.dispose()
            return term
          })
          terms.reduce((sum, term) => sum.add(term)).backward()
          const leaves = pointers.map((pointer) =>
            pointer instanceof PointerTensor && pointer.requiresGrad ? pointer.grad! : null,
          )
          return Promise.all(leaves.map(async (leaf) => (leaf === null ? null : read(await leaf.get()))))
        })
        for (const [k, operand] of call.operands.entries()) {
          const gradient = gradients[k]
          if (!isTensor(operand) || operand.dtype !== 'float32') continue
          expect(specOf(gradient!)).toEqual(specOf(operand))
          for (const i of operand.values.keys()) {
            if (operand.values.length > 8 && next() > 8 / operand.values.length) continue
            const moved = (by: number): { at: number; terms: Float64Array[] } => {
              const values = operand.values.slice() as Float32Array
              values[i]! += by
              const operands = call.operands.map((other, j) => (j === k ? { ...operand, values } : other))
              return { at: values[i]!, terms: weighed(local(row, { ...call, operands }), weights) }
            }
            const [up, down] = [moved(H), moved(-H)]
            let difference = 0
            let magnitude = 1
            for (const [r, terms] of up.terms.entries()) {
              for (const [j, term] of terms.entries()) {
                if (term === down.terms[r]![j]) continue
                difference += term - down.terms[r]![j]!
                magnitude += Math.abs(term)
              }
            }
            const slope = difference / (up.at - down.at)
            const off = Math.abs(slope - gradient!.values[i]!)
            if (!(off <= TOLERANCE * magnitude)) {
              expect.fail(`element ${i} of operand ${k}: the gradient is ${gradient!.values[i]}, the slope ${slope}`)
            }
          }
        }
      }),
      runs(6),
    )
  })
})

describe('nothing is left over', () => {
  // What earlier tests dropped is collected once; none of these drops anything.
  beforeAll(settled)
  it.each(rows)('%s', async (name, row, { calls, smooth }) => {
    const [call] = fc.sample(smooth ?? calls, { seed, numRuns: 1 })
    const once = () =>
      scope(() => {
        const { results } = remote(bob, name, call!, smooth !== null)
        for (const [i, result] of results.entries()) {
          if (result.requiresGrad) result.sum().backward(undefined, { retainGraph: i < results.length - 1 })
        }
      })
    once()
    await bob.flush()
    const before = [tf.memory().numTensors, tf.memory().numDataBuffers, await bob.objectCount()]
    for (let i = 0; i < 10 * many; i++) once()
    await bob.flush()
    expect([tf.memory().numTensors, tf.memory().numDataBuffers, await bob.objectCount()]).toEqual(before)
    expect(before[2]).toBe(0)
    expect(row.inputs.length).toBeGreaterThan(0)
  })
})

describe.skipIf(testBackend !== 'wasm')('on wasm, no row touches memory that is not its own', () => {
  interface Heap {
    readonly HEAPU8: Uint8Array
    _malloc(bytes: number): number
  }
  const EDGE = 64

  /**
   * Runs an action while whatever the backend allocates is full of one byte, and surrounded by it. What is computed from
   * memory that nobody wrote then depends on the byte, and what is written outside of an allocation shows at its edges.
   */
  function poisoned<T>(byte: number, action: () => T): T {
    const heap = (tf.backend() as unknown as { wasm: Heap }).wasm
    const stock = heap._malloc
    const made: [from: number, to: number][] = []
    heap._malloc = (bytes) => {
      const at = stock(bytes + 2 * EDGE)
      heap.HEAPU8.fill(byte, at, at + bytes + 2 * EDGE)
      made.push([at, at + EDGE], [at + EDGE + bytes, at + 2 * EDGE + bytes])
      // Not freed where it was made: free() is given another address, and the tensors of a test are few.
      return at + EDGE
    }
    const free = (heap as unknown as { _free(at: number): void })._free
    ;(heap as unknown as { _free(at: number): void })._free = () => {}
    try {
      const result = action()
      for (const [from, to] of made) {
        if (!heap.HEAPU8.subarray(from, to).every((found) => found === byte)) throw new Error('written past an edge')
      }
      return result
    } finally {
      heap._malloc = stock
      ;(heap as unknown as { _free(at: number): void })._free = free
    }
  }

  it('the check catches a kernel that leaves its result as it found it, and one that writes past it', () => {
    const unwritten: tf.KernelFunc = ({ backend }) =>
      (backend as unknown as { makeOutput(shape: number[], dtype: string): tf.TensorInfo }).makeOutput([4], 'float32')
    tf.registerKernel({ kernelName: 'Unwritten', backendName: 'wasm', kernelFunc: unwritten })
    const run = () => tidy(() => read(tf.engine().runKernel('Unwritten', {}) as tf.Tensor))
    expect([...poisoned(0, run).values]).not.toEqual([...poisoned(7, run).values])
    tf.unregisterKernel('Unwritten', 'wasm')
    const reversed = () => tidy(() => read(tf.reverse(tf.tensor1d([true, false, true], 'bool'))))
    expect(() => poisoned(7, reversed)).toThrow('written past an edge')
  })

  // Noise is the same in both runs, without a seed too.
  beforeAll(() => {
    vi.spyOn(globalThis.crypto, 'getRandomValues').mockImplementation((array) => {
      if (array !== null) new Uint8Array(array.buffer, array.byteOffset, array.byteLength).fill(0x5a)
      return array
    })
  })
  afterAll(() => {
    vi.restoreAllMocks()
  })

  it.each(rows)('%s', (_, row, { calls, smooth }) => {
    const both = fc.oneof(calls, disturbed(calls), smooth ?? calls)
    fc.assert(
      fc.property(both, (call) => {
        try {
          if (!ruled(row, call).every(({ shape }) => sizeOf(shape) <= LARGE)) return
        } catch {
          return
        }
        // What a row refuses for the values of its operands, it refuses twice.
        const run = (byte: number) => {
          try {
            return poisoned(byte, () => [...local(row, call), ...localGradients(row, call)])
          } catch (error) {
            if (isSottoError(error) || /by zero/.test(String(error))) return []
            throw error
          }
        }
        expectSameBits(run(0x00), run(0x7f))
      }),
      runs(12),
    )
  })
})

/** The results of a method of a pointer on bob, as plain numbers. */
async function valuesOf(
  action: (on: (values: tf.TensorLike, dtype?: Spec['dtype'], shape?: number[]) => PointerTensor) => PointerTensor,
): Promise<number[]> {
  const made: PointerTensor[] = []
  const on = (values: tf.TensorLike, dtype: Spec['dtype'] = 'float32', shape?: number[]) => {
    const tensor = tf.tensor(values, shape, dtype)
    const pointer = send(tensor, bob)
    tensor.dispose()
    made.push(pointer)
    return pointer
  }
  const result = action(on)
  try {
    const tensor = await result.fetch()
    const values = Array.from(tensor.dataSync())
    tensor.dispose()
    return values
  } finally {
    for (const pointer of [...made, result]) pointer.dispose()
  }
}

/** The gradient of the sum of what a function of a leaf gives. */
async function gradientOf(values: tf.TensorLike, f: (x: PointerTensor) => PointerTensor): Promise<number[]> {
  return scope(async () => {
    const tensor = tf.tensor(values)
    const x = send(tensor, bob, { requiresGrad: true })
    tensor.dispose()
    f(x).sum().backward()
    const gradient = await x.grad!.get()
    const found = Array.from(gradient.dataSync())
    gradient.dispose()
    return found
  })
}

const BIG = 2 ** 24 + 1

describe('values at the edges', () => {
  type On = Parameters<Parameters<typeof valuesOf>[0]>[0]
  type Row = readonly [name: string, action: (on: On) => PointerTensor, expected: readonly number[]]
  const log = Math.log

  // biome-ignore format: a table
  const table: readonly Row[] = [
    ['mod has the sign of the divisor', (on) => on([5, -5, 5, -5, 5.5]).mod([3, 3, -3, -3, -2]), [2, 1, -1, -2, -0.5]],
    ['mod of int32 too', (on) => on([5, -5, 5, -5], 'int32').mod(on([3, 3, -3, -3], 'int32')), [2, 1, -1, -2]],
    ['floorDiv rounds down', (on) => on([5, -5, 5, -5]).floorDiv([3, 3, -3, -3]), [1, -2, -2, 1]],
    ['div of int32 rounds down', (on) => on([7, -7], 'int32').div(on([2, 2], 'int32')), [3, -4]],
    ['int32 and a number give float32', (on) => on([7, 3], 'int32').div(2), [3.5, 1.5]],
    ['round takes halves to even', (on) => on([0.5, 1.5, 2.5, -0.5, -1.5, 2.4]).round().abs(), [0, 2, 2, 0, 2, 2]],
    ['bools count', (on) => on([true, true, false], 'bool').add(on([true, false, false], 'bool')), [2, 1, 0]],
    ['the sum of bools is how many hold', (on) => on([true, true, false], 'bool').sum(), [2]],
    ['cast to bool is whether it is not 0', (on) => on([0.5, 0, -1, 300, Number.NaN]).cast('bool'), [1, 0, 1, 1, 1]],
    ['cast of int32 to bool too', (on) => on([256, 0, -1], 'int32').cast('bool'), [1, 0, 1]],
    ['cast from bool to float32', (on) => on([true, false], 'bool').cast('float32'), [1, 0]],
    ['cast to int32 is towards zero', (on) => on([1.9, -1.9]).cast('int32'), [1, -1]],

    ['nllLoss with class numbers', (on) => on([[-1, -2], [-3, -4]]).nllLoss(on([1, 0], 'int32'), 'none'), [2, 3]],
    ['nllLoss with one-hot rows', (on) => on([[-1, -2], [-3, -4]]).nllLoss([[0, 1], [1, 0]], 'none'), [2, 3]],
    ['nllLoss is the mean over the rows', (on) => on([[-1, -2], [-3, -4]]).nllLoss(on([1, 0], 'int32')), [2.5]],
    ['a label outside of the classes costs nothing', (on) => on([[-1, -2], [-3, -4], [-5, -6]]).nllLoss(on([2, -1, 1], 'int32'), 'none'), [0, 0, 6]],
    ['the log of 0 for another class does not matter', (on) => on([[-1, -Infinity]]).nllLoss(on([0], 'int32')), [1]],
    ['one class alone costs nothing', (on) => on([[3], [4]]).softmaxCrossEntropy(on([0, 0], 'int32'), 'none').abs(), [0, 0]],
    ['softmaxCrossEntropy of even scores', (on) => on([[5, 5, 5, 5]]).softmaxCrossEntropy(on([2], 'int32')), [log(4)]],
    ['sigmoidCrossEntropy of large scores', (on) => on([100, -100]).sigmoidCrossEntropy([0, 1], 'none'), [100, 100]],
    ['huber turns linear at δ', (on) => on([0.5, 2, -3]).huber([0, 0, 0], 1, 'none'), [0.125, 1.5, 2.5]],
    ['huber with another δ', (on) => on([0.5, 2, -3]).huber([0, 0, 0], 2, 'none'), [0.125, 2, 4]],

    ['softmax over the first axis', (on) => on([[0, 5], [0, 5]]).softmax(0), [0.5, 0.5, 0.5, 0.5]],
    ['pad of a scalar', (on) => on(3, 'float32', []).pad([]), [3]],
    ['tile of a scalar', (on) => on(3, 'float32', []).tile([]), [3]],
    ['reverse of a scalar', (on) => on(3, 'float32', []).reverse(), [3]],
    ['slice of a scalar', (on) => on(3, 'float32', []).slice([]), [3]],
    ['reverse of bools', (on) => on([true, false, false], 'bool').reverse(), [0, 0, 1]],
    ['where of bools', (on) => on([true, true], 'bool').where(on([true, false], 'bool'), on([false, false], 'bool')), [1, 0]],
    ['pad of bools', (on) => on([true, false], 'bool').pad([[1, 0]], 7), [1, 1, 0]],
    ['argMax takes the first of equals', (on) => on([1, 3, 3, 2]).argMax(), [1]],
    ['argMin takes the first of equals', (on) => on([1, 0, 0, 2]).argMin(), [1]],
    ['split with the rest first', (on) => on([1, 2, 3, 4, 5]).split([-1, 2])[0]!, [1, 2, 3]],
    ['split with the rest last', (on) => on([1, 2, 3, 4, 5]).split([2, -1])[1]!, [3, 4, 5]],
    ['slice to the end', (on) => on([1, 2, 3, 4]).slice([1], [-1]), [2, 3, 4]],
    ['slice without a size', (on) => on([[1, 2], [3, 4]]).slice(1), [3, 4]],
    ['cumsum', (on) => on([1, 2, 3]).cumsum(), [1, 3, 6]],
    ['cumsum, exclusive', (on) => on([1, 2, 3]).cumsum(0, true), [0, 1, 3]],
    ['cumsum, in reverse', (on) => on([1, 2, 3]).cumsum(0, false, true), [6, 5, 3]],
    ['cumsum, both', (on) => on([1, 2, 3]).cumsum(0, true, true), [5, 3, 0]],
    ['oneHot of what is outside', (on) => on([-1, 0, 2, 3], 'int32').oneHot(3).sum(1), [0, 1, 1, 0]],
    ['oneHot of one class', (on) => on([0, 1], 'int32').oneHot(1), [1, 0]],
    ['oneHot with values of its own', (on) => on([1], 'int32').oneHot(2, 0.75, 0.25), [0.25, 0.75]],

    ['norm 1', (on) => on([3, -4]).norm(1), [7]],
    ['norm 2', (on) => on([3, -4]).norm(2), [5]],
    ['norm fro of a vector', (on) => on([3, -4]).norm('fro'), [5]],
    ['norm ∞', (on) => on([3, -4]).norm(Infinity), [4]],
    ['norm −∞', (on) => on([3, -4]).norm(-Infinity), [3]],
    ['matrix norm 1 is the largest column', (on) => on([[1, -2], [3, 4]]).norm(1, [0, 1]), [6]],
    ['matrix norm ∞ is the largest row', (on) => on([[1, -2], [3, 4]]).norm(Infinity, [-2, -1]), [7]],
    ['matrix norm −∞ is the smallest row', (on) => on([[1, -2], [3, 4]]).norm(-Infinity, [0, 1]), [3]],
    ['matrix norm fro', (on) => on([[1, -2], [2, 4]]).norm('fro', [0, 1]), [5]],

    ['sum of nothing is 0', (on) => on([], 'float32', [2, 0]).sum(1), [0, 0]],
    ['prod of nothing is 1', (on) => on([], 'float32', [2, 0]).prod(1), [1, 1]],
    ['all of nothing hold', (on) => on([], 'bool', [0]).all(), [1]],
    ['none of nothing holds', (on) => on([], 'bool', [0]).any(), [0]],
    ['matMul pairs the batches as broadcasting does', (on) => on([1, 2], 'float32', [2, 1, 1, 1]).matMul(on([1, 10, 100, 1000], 'float32', [2, 2, 1, 1])), [1, 10, 200, 2000]],
    ['a product over nothing is 0', (on) => on([], 'float32', [2, 0]).matMul(on([], 'float32', [0, 2])), [0, 0, 0, 0]],
    ['a transposed product over nothing is 0', (on) => on([], 'float32', [0, 1]).matMul(on([], 'float32', [2, 0]), true, true), [0, 0]],

    ['int32 stays exact: add', (on) => on([BIG], 'int32').add(on([2], 'int32')), [BIG + 2]],
    ['int32 stays exact: sub', (on) => on([BIG], 'int32').sub(on([-2], 'int32')), [BIG + 2]],
    ['int32 stays exact: mul', (on) => on([BIG], 'int32').mul(on([3], 'int32')), [BIG * 3]],
    ['int32 stays exact: neg', (on) => on([BIG, -BIG - 2], 'int32').neg(), [-BIG, BIG + 2]],
    ['int32 stays exact: abs', (on) => on([BIG, -BIG - 2, 2 ** 31 - 1], 'int32').abs(), [BIG, BIG + 2, 2 ** 31 - 1]],
    ['int32 stays exact: square', (on) => on([46339, -46337], 'int32').square(), [46339 ** 2, 46337 ** 2]],
    ['int32 stays exact: squaredDifference', (on) => on([46340], 'int32').squaredDifference(on([1], 'int32')), [46339 ** 2]],
    ['int32 stays exact: relu', (on) => on([BIG, -BIG], 'int32').relu(), [BIG, 0]],
    ['int32 stays exact: sign', (on) => on([BIG, -BIG, 0], 'int32').sign(), [1, -1, 0]],
    ['int32 stays exact: round, floor, ceil', (on) => on([BIG, -BIG], 'int32').round().floor().ceil(), [BIG, -BIG]],
    ['int32 stays exact: max', (on) => on([BIG, BIG + 1, 3], 'int32').max(), [BIG + 1]],
    ['int32 stays exact: sum', (on) => on([BIG, BIG + 1, 3], 'int32').sum(), [2 * BIG + 4]],
    ['int32 stays exact: equal', (on) => on([BIG], 'int32').equal(on([BIG - 1], 'int32')), [0]],

    ['NaN goes through arithmetic', (on) => on([Number.NaN, 1]).mul(0).add(1), [Number.NaN, 1]],
    ['NaN goes through relu', (on) => on([Number.NaN, -1]).relu(), [Number.NaN, 0]],
    ['NaN goes through clipByValue', (on) => on([Number.NaN, -7]).clipByValue(-1, 1), [Number.NaN, -1]],
    ['NaN is the maximum with whatever comes second', (on) => on([Number.NaN]).maximum(1), [Number.NaN]],
    ['NaN is the max', (on) => on([1, Number.NaN, 3]).max(), [Number.NaN]],
    ['isNaN', (on) => on([Number.NaN, Infinity, 0]).isNaN(), [1, 0, 0]],
    ['isFinite', (on) => on([Number.NaN, -Infinity, 0]).isFinite(), [0, 0, 1]],
    ['isNaN of int32', (on) => on([0, 5], 'int32').isNaN(), [0, 0]],

    ['conv2d, same, with a stride above the filter', (on) => on([1, 2, 3, 4], 'float32', [1, 2, 2, 1]).conv2d(on([1, 2], 'float32', [1, 2, 1, 1]), 2, 'same'), [5]],
    ['conv2d, padded by a number, with a filter that is not square', (on) => on([1, 2], 'float32', [1, 1, 2, 1]).conv2d(on([1, 1, 1], 'float32', [1, 3, 1, 1]), 1, 1), [0, 0, 3, 3, 0, 0]],
    ['conv2d, dilated', (on) => on([1, 2, 3, 4, 5], 'float32', [1, 1, 5, 1]).conv2d(on([1, 10], 'float32', [1, 2, 1, 1]), 1, 'valid', 'NHWC', [1, 3]), [41, 52]],
    ['avgPool, padded, is over the pixels of the image', (on) => on([2, 4], 'float32', [1, 1, 2, 1]).avgPool([1, 2], 1, 'same'), [3, 4]],
  ]

  it.each(table)('%s', async (_, action, expected) => {
    const actual = await valuesOf(action)
    expect(actual).toHaveLength(expected.length)
    for (const [i, value] of actual.entries()) {
      // Without the sign of a zero.
      if (!(expected[i]! % 1)) expect(value + 0).toBe(expected[i])
      else expect(value).toBeCloseTo(expected[i]!, 5)
    }
  })

  // The product of the others.
  it('prod has its gradient at zeros', async () => {
    expect(await gradientOf([2, 0, 3], (x) => x.prod())).toEqual([0, 6, 0])
    expect(await gradientOf([2, 0, 0], (x) => x.prod())).toEqual([0, 0, 0])
  })

  it('a broadcast operand has the sum of the gradients of its copies', async () => {
    expect(await gradientOf([[1], [5]], (x) => x.maximum([[0, 3, 9]]))).toEqual([1, 2])
    expect(await gradientOf([[1], [5]], (x) => x.squaredDifference([[0, 1]]))).toEqual([2 * 1 + 2 * 0, 2 * 5 + 2 * 4])
  })

  it('cumsum along the first axis has the gradient of that axis', async () => {
    const gradient = await gradientOf(
      [
        [1, 2],
        [3, 4],
      ],
      (x) =>
        x.cumsum(0).mul([
          [1, 10],
          [100, 1000],
        ]),
    )
    expect(gradient).toEqual([101, 1010, 100, 1000])
  })

  it('where gives each gradient to the side that it took, with a condition computed from the same tensor', async () => {
    expect(await gradientOf([1, -2, 3], (x) => x.mul(5).where(x.greater(0), x.mul(7)))).toEqual([5, 7, 5])
  })

  it('dropout with a seed drops the same here and there, and scales what it keeps', async () => {
    const ones = new Array(100).fill(1)
    const there = await valuesOf((on) => on(ones).dropout(0.25, 42))
    const here = tf.tidy(() => tf.dropout(tf.tensor1d(ones), 0.25, undefined, 42).dataSync())
    expect(there).toEqual(Array.from(here))
    for (const value of there) expect([0, Math.fround(4 / 3)]).toContain(value)
    expect(new Set(there).size).toBe(2)
  })
})

describe('an index out of range', () => {
  it('is an error that does not name the index', async () => {
    for (const index of [77, -1]) {
      const failed = scope(async () => {
        const x = send(tf.tensor1d([1, 2, 3]), bob)
        const at = send(tf.tensor1d([0, index], 'int32'), bob)
        return x.gather(at).fetch()
      })
      const error = await failed.then(
        () => null,
        (reason: Error & { code: string }) => reason,
      )
      expect(error?.code).toBe('ERR_ARGUMENT_VALUE')
      expect(error?.message).toContain('gather: an index is outside axis 0 of [3]')
      expect(error?.message.replace(/\(issued.*|[\w-]*:\d+/g, '')).not.toMatch(/77|-1/)
    }
    await bob.flush().catch(() => {})
  })

  it('of a private operand, is not told from any other to who may not see it', async () => {
    const x = send(tf.tensor1d([1, 2, 3]), bob)
    const secrets = [send(tf.tensor1d([77], 'int32'), bob, { private: true, tags: ['#bad'] })]
    secrets.push(send(tf.tensor1d([1], 'int32'), bob, { private: true, tags: ['#good'] }))
    const eve = bob.as('eve')
    const mine = send(tf.tensor1d([1, 2, 3]), eve)
    const told: string[] = []
    for (const tag of ['#bad', '#good']) {
      const [indices] = await eve.search([tag])
      const picked = mine.gather(indices!)
      await eve.flush()
      const error = await picked.fetch().then(
        () => null,
        (reason: Error & { code: string }) => reason,
      )
      expect(error?.code).toBe('ERR_PERMISSION')
      told.push(error!.message.replaceAll(/[\w/.-]+:\d+:\d+/g, ''))
    }
    expect(told[0]).toBe(told[1])
    for (const pointer of [x, ...secrets]) pointer.dispose()
    await eve.close()
  })
})

describe('limits', () => {
  it('a result above the limit of the worker is refused before anything is computed', async () => {
    const small = new VirtualWorker('small', { limits: { elements: 64 } })
    const x = send(tf.ones([8]), small)
    const before = tf.memory().numDataBuffers
    const image = send(tf.ones([1, 2, 2, 1]), small)
    // biome-ignore format: a table
    const calls: readonly (() => PointerTensor)[] = [
      () => x.outer(send(tf.ones([9]), small)),
      () => x.tile([2 ** 40]),
      () => x.pad([[0, 2 ** 50]]),
      () => x.broadcastTo([2 ** 30, 8]),
      () => x.cast('int32').oneHot(2 ** 31),
      () => x.reshape([8, 1]).add(x.reshape([1, 8])).stack([x.reshape([8, 1]).add(x)]),
      () => image.pad([[0, 0], [2 ** 20, 0], [2 ** 20, 0], [0, 0]]),
      () => image.conv2d(send(tf.ones([1, 1, 1, 100]), small)),
    ]
    for (const call of calls) {
      const result = call()
      await expect(result.fetch()).rejects.toMatchObject({ code: 'ERR_LIMIT' })
      await small.flush().catch(() => {})
    }
    expect(tf.memory().numDataBuffers).toBeLessThan(before + 40)
    expect(await valuesOf((on) => on([1]).add(1))).toEqual([2])
    await small.close()
  })

  it('no rule takes long, or much memory, over a call that a kernel would not survive', () => {
    const image: Spec = { shape: [1, 1000, 1000, 1], dtype: 'float32' }
    const filter: Spec = { shape: [2, 2, 1, 1], dtype: 'float32' }
    const nothing: Spec = { shape: [0], dtype: 'float32' }
    // biome-ignore format: a table
    const calls: readonly (readonly [OpName, readonly Spec[], readonly unknown[]])[] = [
      ['maxPool', [image], [1000, 1, 'same']],
      ['avgPool', [image], [2 ** 31, 1, 'same']],
      ['maxPool', [image], [2, 1, 2]],
      ['conv2d', [image, filter], [1, 'same', 'NHWC', 2 ** 30]],
      ['conv2d', [image, { ...filter, shape: [1000, 1000, 1, 1] }], [1, 'same']],
      ['depthwiseConv2d', [image, filter], [1, 2 ** 40, 'NHWC', 2]],
      ['split', [nothing], [2 ** 40]],
      ['unstack', [{ ...nothing, shape: [2 ** 30] }], []],
      ['matMul', [{ ...nothing, shape: [1, 2 ** 20, 2 ** 10] }, { ...nothing, shape: [2 ** 10, 2 ** 10, 0] }], []],
      ['broadcastTo', [{ ...nothing, shape: [1] }], [[-1]]],
    ]
    for (const [name, specs, args] of calls) {
      const row = opRow(name)
      const refused = refusalOf(() => row.spec(specs, row.attrs(...(args as never[]))))
      expect([name, refused]).toEqual([name, expect.stringMatching(new RegExp(refusals.join('|')))])
    }
  })
})

describe('what arrives unchecked', () => {
  const CODE = /^ERR_(SHAPE|DTYPE|ARGUMENT_TYPE|ARGUMENT_VALUE|PROTOCOL|LIMIT|UNKNOWN_OP|OPERATION_FAILED|NOT_FOUND)$/

  const operandOf = (ids: readonly string[]) =>
    fc.oneof(
      fc.constantFrom<unknown>(...ids),
      fc.constantFrom<unknown>(null, 1, true, Number.NaN, 'nobody', undefined, [], {}, 'a b', {
        shape: [2],
        dtype: 'float32',
        data: new Uint8Array(3),
      }),
    )

  it('is done or refused with a code, and the worker goes on serving', async () => {
    const guarded = new VirtualWorker('guarded', { limits: { elements: 10_000 } })
    const tensors = [
      tf.ones([2, 3]),
      tf.scalar(1),
      tf.ones([1, 3, 3, 1]),
      tf.ones([3], 'int32'),
      tf.ones([2], 'bool'),
      tf.zeros([0, 2]),
    ]
    const pointers = tensors.map((tensor) => send(tensor, guarded))
    await settled()
    const before = tf.memory().numTensors
    const ids = pointers.map(({ id }) => id)
    let refused = 0
    let made = 0
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom<unknown>(...names, ...names, ...names, 'constructor', '__proto__', 'nothing', 5),
        fc.array(operandOf(ids), { maxLength: 4 }),
        someGarbage,
        fc.boolean(),
        async (op, operands, attrs, grad) => {
          let out = [crypto.randomUUID() as string]
          if (typeof op === 'string' && Object.hasOwn(ops, op)) {
            try {
              const specs = operands.map((id) => {
                const pointer = pointers[ids.indexOf(id as string)]!
                return { shape: pointer.shape, dtype: pointer.dtype }
              })
              const row = opRow(op)
              out = list(row.spec(specs, row.attrs(...(attrs.map((attr) => attr ?? undefined) as never[])))).map(() =>
                crypto.randomUUID(),
              )
              if (out.length > 20) return
            } catch {
              // One name, for a command that is refused.
            }
          }
          guarded.tell('run', { op, operands, attrs, out, grad } as never)
          const error = await guarded.flush().then(
            () => null,
            (reason: unknown) => reason as Error & { code: string },
          )
          if (error === null) made++
          else {
            refused++
            expect(error.code).toMatch(CODE)
          }
          expect((await guarded.stats()).objects).toBeGreaterThan(0)
          guarded.tell('free', { ids: out })
        },
      ),
      { seed, numRuns: 400 * many, endOnFailure: true },
    )
    expect(refused).toBeGreaterThan(100)
    expect(made).toBeGreaterThan(10)
    const sum = await pointers[0]!.sum().get()
    expect(sum.dataSync()[0]).toBe(6)
    sum.dispose()
    expect(tf.memory().numTensors).toBe(before)
    await guarded.close()
    tf.dispose(tensors)
  })

  it('an integer divided by zero is an error or a number, and the worker goes on', async () => {
    const x = send(tf.tensor1d([1, -1], 'int32'), bob)
    const zero = send(tf.tensor1d([0, 0], 'int32'), bob)
    for (const result of [x.mod(zero), x.div(zero), x.floorDiv(zero)]) {
      const error = await result.fetch().then(
        () => null,
        (reason: Error & { code: string }) => reason,
      )
      if (error !== null) expect(error.code).toBe('ERR_OPERATION_FAILED')
      result.dispose()
    }
    await bob.flush().catch(() => {})
    expect(await valuesOf((on) => on([1]).add(1))).toEqual([2])
    for (const pointer of [x, zero]) pointer.dispose()
  })
})
