/** How fast is arithmetic on shares: the kernels of Z_2^64 and Z_2^128 against BigInt, and against plain WebAssembly? */
import { compile } from '../assembly/compile.ts'
import { SeededRandom } from '../src/data/random.ts'
import { Prg, randomSeed } from '../src/smpc/prg.ts'
import { ring } from '../src/smpc/ring/choose.ts'
import { alternate, report, rounded } from './measure.ts'

const kernels = ring()
const random = new SeededRandom(1)
const words = (n: number) => new BigUint64Array(Uint32Array.from({ length: 2 * n }, () => random.uint32()).buffer)
const signed = (a: BigUint64Array) => new BigInt64Array(a.buffer)

const ratios: Record<string, string | number>[] = []
/** A figure beside the least it may be. */
function hold(what: string, ms: number, ratio: number, floor: number): void {
  ratios.push({ what, ms: rounded(ms), 'times faster': rounded(ratio), 'at least': floor })
  if (ratio >= floor) return
  console.error(`${what}: ${rounded(ratio)} times faster, and ${floor} are wanted`)
  process.exitCode = 1
}

{
  const [m, k, n] = [128, 784, 128]
  const [a, b] = [words(m * k), words(k * n)]
  const multiply = () => kernels.matMul(a, b, m, k, n)

  const [x, y] = [signed(a), signed(b)]
  /** As the product is defined: row by column. */
  const byColumn = () => {
    const out = new BigInt64Array(m * n)
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) {
        let sum = 0n
        for (let l = 0; l < k; l++) sum = BigInt.asIntN(64, sum + x[i * k + l]! * y[l * n + j]!)
        out[i * n + j] = sum
      }
    }
    return out
  }
  /** The fastest loop found: along rows, and with nothing that V8 cannot turn into machine words once it is warm. */
  const byRow = () => {
    const out = new BigInt64Array(m * n)
    for (let i = 0; i < m; i++) {
      for (let l = 0; l < k; l++) {
        const factor = x[i * k + l]!
        for (let j = 0; j < n; j++) out[i * n + j]! += factor * y[l * n + j]!
      }
    }
    return out
  }
  // As many as take about as long, so that both are measured warm.
  const many = () => {
    for (let i = 0; i < 8; i++) multiply()
  }
  for (const [loop, slow, floor] of [
    ['row by column', byColumn, 20],
    ['row by row', byRow, 5],
  ] as const) {
    const { many: eight } = await alternate({ slow, many }, { rounds: 9, warmup: 20 })
    hold(`matMul ${m}×${k}×${n}, than BigInt64Array ${loop}`, eight.ms / 8, eight.ratio * 8, floor)
  }

  // Operands lie in its memory already, where the kernel that is shipped has to bring them.
  const { WebAssembly: api } = globalThis as unknown as { WebAssembly: WebAssemblyApi }
  const memory = new api.Memory({ initial: 64 })
  const [left, right, result] = [1024, 1024 + a.byteLength, 1024 + a.byteLength + b.byteLength]
  new BigUint64Array(memory.buffer, left, a.length).set(a)
  new BigUint64Array(memory.buffer, right, b.length).set(b)
  const module = new api.Module(compile('assembly/bench/plain-matmul.ts'))
  const { matMul } = new api.Instance(module, { env: { memory } }).exports
  const plain = () => matMul(result, left, right, m, k, n)
  const fast = await alternate({ plain, multiply }, { rounds: 41, calls: 4, warmup: 5 })
  hold(`matMul ${m}×${k}×${n}, than plain i64x2`, fast.multiply.ms, fast.multiply.ratio, 1.5)
  const product = multiply()
  if (!new BigUint64Array(memory.buffer, result, m * n).every((word, i) => word === product[i])) {
    throw new Error('the products differ')
  }
  console.log(`matMul: ${rounded((m * k * n) / fast.multiply.ms / 1e6)} billion products and sums a second`)
}

{
  const n = 15_000
  const scale = 2 ** 16
  const values = Float32Array.from({ length: n }, () => random.between(-100, 100))
  const bigInt = () => {
    const out = new BigInt64Array(n)
    for (let i = 0; i < n; i++) out[i] = BigInt(Math.round(values[i]! * scale))
    return out
  }
  const timings = await alternate({ bigInt, encode: () => kernels.encode(values, scale) }, { rounds: 41, calls: 30 })
  hold(`encode ${n} numbers, than BigInt`, timings.encode.ms, timings.encode.ratio, 20)

  const encoded = kernels.encode(values, scale)
  const from = signed(encoded)
  const back = () => {
    const out = new Float32Array(n)
    for (let i = 0; i < n; i++) out[i] = Number(from[i]!) / scale
    return out
  }
  const decoding = await alternate({ back, decode: () => kernels.decode(encoded, scale) }, { rounds: 41, calls: 30 })
  hold(`decode ${n} numbers, than BigInt`, decoding.decode.ms, decoding.decode.ratio, 10)
}
{
  const wide = ring(128)
  const [m, k, n] = [128, 784, 128]
  const [a, b] = [words(2 * m * k), words(2 * k * n)]
  const multiply = () => wide.matMul(a, b, m, k, n)
  const elements = (list: BigUint64Array) =>
    Array.from({ length: list.length / 2 }, (_, i) => list[2 * i]! | (list[2 * i + 1]! << 64n))
  const [x, y] = [elements(a), elements(b)]
  // A tenth of the rows: the whole would take seconds.
  const rows = 13
  const slow = () => {
    const out: bigint[] = []
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < n; j++) {
        let sum = 0n
        for (let l = 0; l < k; l++) sum += x[i * k + l]! * y[l * n + j]!
        out.push(BigInt.asUintN(128, sum))
      }
    }
    return out
  }
  const timings = await alternate({ slow, multiply }, { rounds: 5, warmup: 2 })
  const ratio = (timings.multiply.ratio * m) / rows
  hold(`matMul ${m}×${k}×${n} of 128 bits, than BigInt row by column`, timings.multiply.ms, ratio, 20)
  /** Rows one at a time are multiplied element by element. */
  const plain = () => {
    for (let i = 0; i < m; i++) wide.matMul(a.subarray(2 * i * k, 2 * (i + 1) * k), b, 1, k, n)
  }
  const fast = await alternate({ plain, multiply }, { rounds: 9, warmup: 3 })
  hold(`matMul ${m}×${k}×${n} of 128 bits, than element by element`, fast.multiply.ms, fast.multiply.ratio, 1.5)
  const product = elements(multiply())
  if (!slow().every((element, i) => element === product[i])) throw new Error('the products differ')
  console.log(`matMul of 128 bits: ${rounded((m * k * n) / fast.multiply.ms / 1e6)} billion products and sums a second`)

  const values = Float32Array.from({ length: 15_000 }, () => random.between(-100, 100))
  const scale = 2 ** 32
  const bigInt = () => {
    const out = new BigUint64Array(2 * values.length)
    for (let i = 0; i < values.length; i++) {
      const value = BigInt(Math.round(values[i]! * scale))
      out[2 * i] = value
      out[2 * i + 1] = value >> 64n
    }
    return out
  }
  const encode = () => wide.encode(values, scale)
  const encoding = await alternate({ bigInt, encode }, { rounds: 41, calls: 10 })
  hold(`encode ${values.length} numbers in 128 bits, than BigInt`, encoding.encode.ms, encoding.encode.ratio, 5)
  const encoded = encode()
  const back = () =>
    Float32Array.from(
      values,
      (_, i) => Number((BigInt.asIntN(64, encoded[2 * i + 1]!) << 64n) | encoded[2 * i]!) / scale,
    )
  const decoding = await alternate({ back, decode: () => wide.decode(encoded, scale) }, { rounds: 41, calls: 10 })
  hold(`decode ${values.length} numbers of 128 bits, than BigInt`, decoding.decode.ms, decoding.decode.ratio, 10)
}
report(`The rings in ${kernels.name}`, ratios)

const n = 100_000
const [a, b, c, d, e] = [words(n), words(n), words(n), words(n), words(n)]
const { quotient, top } = kernels.truncationOf(a, 2n ** 16n)
const planes = kernels.toPlanes(a)
const wide = ring(128)
const [f, g] = [words(2 * n), words(2 * n)]
const cut = wide.truncationOf(f, 2n ** 32n)
const seed = randomSeed()
/** What is timed, and the bytes it reads and writes. */
const rates: Readonly<Record<string, readonly [bytes: number, call: () => unknown]>> = {
  add: [24 * n, () => kernels.add(a, b)],
  mul: [24 * n, () => kernels.mul(a, b)],
  beaver: [48 * n, () => kernels.beaver(c, a, b, d, e, true)],
  'truncate by 2^16': [32 * n, () => kernels.truncate(c, quotient, top, 2n ** 16n, true)],
  'truncate by 1000': [32 * n, () => kernels.truncate(c, quotient, top, 1000n, true)],
  'add, 128 bits': [48 * n, () => wide.add(f, g)],
  'mul, 128 bits': [48 * n, () => wide.mul(f, g)],
  'truncate by 2^32, 128 bits': [64 * n, () => wide.truncate(f, cut.quotient, cut.top, 2n ** 32n, true)],
  'toPlanes, 128 bits': [32 * n, () => wide.toPlanes(f)],
  toPlanes: [16 * n, () => kernels.toPlanes(a)],
  'and of planes': [24 * n, () => kernels.and(planes, planes)],
  'ChaCha20, 1 kB': [1000, () => new Prg(seed).stream(0).bytes(1000)],
  'ChaCha20, 16 kB less one, wasm': [16_383, () => new Prg(seed).stream(0).bytes(16_383)],
  'ChaCha20, 1 MB': [1_000_000, () => new Prg(seed).stream(0).bytes(1_000_000)],
}
const rows = []
for (const [what, [bytes, call]] of Object.entries(rates)) {
  const { timed } = await alternate({ timed: call }, { rounds: 21, calls: Math.ceil(4e6 / bytes), warmup: 5 })
  rows.push({ what, 'µs a call': rounded(1000 * timed.ms), 'GB/s': rounded(bytes / timed.ms / 1e6) })
}
report(`Rates, arrays of ${n} elements unless it says otherwise`, rows)

/** What is used of WebAssembly; its types come with those of the DOM alone. */
interface WebAssemblyApi {
  Memory: new (size: { initial: number }) => { readonly buffer: ArrayBuffer }
  Module: new (bytes: Uint8Array) => object
  Instance: new (
    module: object,
    imports: object,
  ) => { exports: Record<'matMul', (...operands: readonly number[]) => void> }
}
