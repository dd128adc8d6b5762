/** What tables of PROTOCOL.md say of secret computation, worked out by the code. */
import { type CircuitName, circuitOf } from '../../src/smpc/circuits.ts'
import { type Correlation, correctionBytes, deal } from '../../src/smpc/correlations.ts'
import { Prg } from '../../src/smpc/prg.ts'
import { type ProtocolName, protocols } from '../../src/smpc/protocols/index.ts'
import type { CommandShape } from '../../src/smpc/protocols/protocol.ts'
import { ring } from '../../src/smpc/ring/choose.ts'
import type { RingBits } from '../../src/smpc/ring/kernels.ts'
import { bytesOf } from '../../src/smpc/ring/tensor.ts'
import { sampleCorrelations } from './sample-frames.ts'

/** Cells of a row, its name first. */
export type PageRow = readonly [name: string, ...cells: string[]]

const spaced = (n: number): string => String(n).replaceAll(/\B(?=(\d{3})+$)/g, ' ')

export const corrections = (): PageRow[] =>
  Object.values(sampleCorrelations).map((of) => {
    const { kind, size, op, shapes, attrs, ...more } = of as unknown as Record<string, unknown>
    const fields = Object.entries(more).map(([name, value]) => `${name} ${value}`)
    return [[kind, ...fields].join(', '), String(correctionBytes(of, 64))]
  })

const shown: readonly (readonly [CircuitName, number])[] = [
  ['lessThan', 16],
  ['lessThan', 32],
  ['lessThan', 5],
  ['allOnes', 16],
  ['allOnes', 32],
  ['allOnes', 5],
  ['difference', 16],
  ['difference', 5],
]
export const circuits = (): PageRow[] =>
  shown.map(([name, bits]) => {
    const { layers, wires, gates } = circuitOf(name, bits)
    return [`${name} of ${bits} bits`, String(layers.length), String(wires), String(gates)]
  })

const secrets = (...sizes: number[]): CommandShape['operands'] =>
  sizes.map((size) => ({ shape: [size], isSecret: true }))
const commands: Readonly<Record<string, Partial<CommandShape> & Pick<CommandShape, 'op'>>> = {
  add: { op: 'add', operands: secrets(1000, 1000) },
  mul: { op: 'mul', operands: secrets(1000, 1000) },
  'mul, with a divisor': { op: 'mul', operands: secrets(1000, 1000), divisor: 65536 },
  'mul by a public factor, with a divisor': {
    op: 'mul',
    operands: [...secrets(1000), { shape: [1000], isSecret: false }],
    divisor: 65536,
  },
  square: { op: 'square' },
  negative: { op: 'negative' },
  'negative, of one further operand': { op: 'negative', operands: secrets(1000, 1000) },
  zero: { op: 'zero' },
  'lowBits of 16 bits': { op: 'lowBits', attrs: [16] },
  'mul, with a divisor, 128 bits': { ring: 128, op: 'mul', operands: secrets(1000, 1000), divisor: 2 ** 32 },
  'negative, 128 bits': { ring: 128, op: 'negative' },
}
export const costs = (protocol: ProtocolName): PageRow[] =>
  Object.entries(commands).map(([name, command]) => {
    const whole: CommandShape = { ring: 64, operands: secrets(1000), attrs: [], divisor: null, ...command }
    const { rounds, bytes, provider } = protocols[protocol].cost(whole)
    if (protocol === 'additive') return [name, String(rounds), spaced(bytes), spaced(provider)]
    return [name, String(rounds), spaced(Math.round(3 * bytes))]
  })

const seeds = [Uint8Array.from({ length: 32 }, (_, i) => i), new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)]
const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
/** The correction of a correlation under index 3, for three parties with the three seeds. */
const correction = (of: Correlation, bits: RingBits = 64): string =>
  hexOf(
    deal(
      of,
      seeds.map((seed) => new Prg(seed).stream(3)),
      bits,
    ),
  )
function secondDraw(): string {
  const stream = new Prg(seeds[0]!).stream(7)
  stream.bytes(1)
  return hexOf(stream.bytes(16))
}
const shownCorrelation = (of: Correlation): string =>
  `correction of ${JSON.stringify(of).replaceAll('"', '').replaceAll(',', ', ').replaceAll(':', ': ')}`

export const testValues = (): PageRow[] => [
  ['1.5 and −0.25 at scale 2^16, as elements', hexOf(bytesOf(ring().encode(Float64Array.of(1.5, -0.25), 65536)))],
  [
    'the same at scale 2^32, as elements of 128 bits',
    hexOf(bytesOf(ring(128).encode(Float64Array.of(1.5, -0.25), 2 ** 32))),
  ],
  [
    'the lowest 3 planes of 1, 2, 3, 4',
    hexOf(
      ring()
        .toPlanes(BigUint64Array.of(1n, 2n, 3n, 4n))
        .subarray(0, 3),
    ),
  ],
  ['the codes of the lowest digits of 1, 2, 3, 15', hexOf(ring().thermometers(BigUint64Array.of(1n, 2n, 3n, 15n), 1))],
  ['stream 0 of the first seed, a draw of 16 bytes', hexOf(new Prg(seeds[0]!).stream(0).bytes(16))],
  ['stream 7 of the first seed, a draw of 16 bytes after one of 1 byte', secondDraw()],
  ...(
    [
      { kind: 'product', op: 'mul', shapes: [[2], []], attrs: [] },
      { kind: 'square', size: 2 },
      { kind: 'truncation', size: 1, divisor: 10 },
      { kind: 'coded', size: 3, digits: 1 },
      { kind: 'circuit', size: 9, name: 'lessThan', bits: 3 },
      { kind: 'bit', size: 2, planes: 1, factors: 1 },
    ] satisfies Correlation[]
  ).map((of): PageRow => [shownCorrelation(of), correction(of)]),
  ...(
    [
      { kind: 'product', op: 'mul', shapes: [[2], []], attrs: [] },
      { kind: 'truncation', size: 1, divisor: 10 },
    ] satisfies Correlation[]
  ).map((of): PageRow => [`${shownCorrelation(of)}, 128 bits`, correction(of, 128)]),
]
