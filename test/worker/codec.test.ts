import { isDeepStrictEqual } from 'node:util'
import { Packr } from 'msgpackr'
import { SottoError, tf } from 'sotto'
import { beforeAll, describe, expect, it } from 'vitest'
import { SeededRandom } from '../../src/data/random.ts'
import { fromWire, toWire } from '../../src/tensor/wire.ts'
import { decode, encode } from '../../src/worker/codec.ts'
import { type Frame, FrameKind } from '../../src/worker/protocol.ts'
import { readyForTest } from '../backend.ts'
import { sampleFrames } from './sample-frames.ts'

beforeAll(async () => {
  await readyForTest()
})

/** What msgpackr writes by itself, extension types and all. */
const permissive = new Packr({ useRecords: false, variableMapSize: true, moreTypes: true, structuredClone: true })
const reply = (body: unknown): Uint8Array => new Uint8Array(permissive.pack([2, 1, body]))
const hex = (bytes: string): Uint8Array =>
  Uint8Array.from(bytes.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16))
/** [2, 1, …]: a reply whose body is what follows. */
const replyOf = (body: string): Uint8Array => hex(`930201${body}`)
const bodyOf = (bytes: Uint8Array): unknown => decode(bytes)[2]
const code = (action: () => unknown): string => {
  try {
    action()
  } catch (error) {
    return error instanceof SottoError ? error.code : `${error}`
  }
  return 'nothing was thrown'
}

describe('encode and decode', () => {
  it.each(sampleFrames.map((frame) => [String(frame[2] ?? frame[0]).slice(0, 30), frame] as const))(
    'round-trip %s',
    (_, frame) => {
      expect(decode(encode(frame))).toEqual(frame)
    },
  )

  it('read what msgpackr writes, for every size of number, string, binary, list and map', () => {
    const numbers = [0, 127, 128, 255, 256, 65_535, 65_536, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1]
    const text = ['', 'a', 'ä'.repeat(20), '€'.repeat(200), '😀'.repeat(20_000), 'x'.repeat(70_000)]
    const lists = [15, 16, 65_535, 65_536].map((length) => Array.from({ length }, (_, i) => i % 3))
    const maps = [15, 16, 65_536].map((size) =>
      Object.fromEntries(Array.from({ length: size }, (_, i) => [`k${i}`, i])),
    )
    const binary = [0, 1, 255, 256, 65_535, 65_536].map((length) => new Uint8Array(length).fill(7))
    const fractions = [0.5, -1.25, 1 / 3, Number.MAX_VALUE, -Infinity, Number.NaN]
    const all = [...numbers, ...numbers.map((n) => -n), ...text, ...lists, ...maps, ...binary, ...fractions, null, true]
    const plain = new Packr({ useRecords: false, variableMapSize: true })
    for (const value of all) {
      // MessagePack has no -0 among its integers.
      const [read, written] = [bodyOf(new Uint8Array(plain.pack([2, 1, value]))), value === 0 ? 0 : value]
      // toEqual takes seconds for a map of 65,536 keys; it is asked for its difference alone.
      if (!isDeepStrictEqual(read, written)) expect(read).toEqual(written)
    }
  })

  it('read 64-bit integers that other languages write, up to 2^53 - 1', () => {
    expect(bodyOf(replyOf('cf0000000100000000'))).toBe(2 ** 32)
    expect(bodyOf(replyOf('d3ffffffffffffffff'))).toBe(-1)
    expect(bodyOf(replyOf('cf001fffffffffffff'))).toBe(2 ** 53 - 1)
    expect(code(() => decode(replyOf('cf0020000000000000')))).toBe('ERR_PROTOCOL')
    expect(code(() => decode(replyOf('d3ffdfffffffffffff')))).toBe('ERR_PROTOCOL')
  })

  it('carry an argument that was left out as nil', () => {
    expect(bodyOf(encode([2, 1, [undefined, 3]]))).toEqual([null, 3])
  })
})

describe('binary', () => {
  const tensors = {
    float32: () => tf.tensor([1.5, -0, Number.NaN, Infinity, 1e-45, 3.4e38], [2, 3], 'float32'),
    int32: () => tf.tensor([1, -1, 2 ** 31 - 1, -(2 ** 31), 0, 255], [3, 2], 'int32'),
    bool: () => tf.tensor([true, false, true, true, false], [5], 'bool'),
  }
  const bytesOf = (t: tf.Tensor): number[] => {
    const values = t.dataSync()
    return [...new Uint8Array(values.buffer, values.byteOffset, values.byteLength)]
  }

  it.each(Object.keys(tensors) as (keyof typeof tensors)[])('of a %s tensor arrives byte for byte', (dtype) => {
    const sent = tensors[dtype]()
    const [, , body] = decode(encode([2, 1, toWire(sent)])) as Frame & [2, 1, ReturnType<typeof toWire>]
    expect([...body.data]).toEqual(bytesOf(sent))
    const arrived = fromWire(body)
    expect(bytesOf(arrived)).toEqual(bytesOf(sent))
    expect([arrived.dtype, arrived.shape]).toEqual([dtype, sent.shape])
    tf.dispose([sent, arrived])
  })

  it('at any offset of the frame is copied before it is viewed as floats', () => {
    const sent = tf.tensor([1.5, 2.5, 3.5])
    const offsets = new Set<number>()
    for (let pad = 0; pad < 8; pad++) {
      const bytes = encode([2, 1, { pad: 'x'.repeat(pad), value: toWire(sent) }])
      // In a pool of its own, as a socket hands bytes out.
      const pool = new Uint8Array(bytes.length + 3)
      pool.set(bytes, 3)
      const { value } = bodyOf(pool.subarray(3)) as { value: ReturnType<typeof toWire> }
      offsets.add(value.data.byteOffset % 4)
      const arrived = fromWire(value)
      expect([...arrived.dataSync()]).toEqual([1.5, 2.5, 3.5])
      arrived.dispose()
    }
    const whole = bodyOf(encode([2, 1, new Uint8Array(1001)])) as Uint8Array
    expect(whole.byteOffset % 4).not.toBe(0)
    sent.dispose()
  })

  it('is copied out of a frame when it is the smaller part of it, and kept as a view when it is most of it', () => {
    const bytes = encode([2, 1, [new Uint8Array(10), new Uint8Array(100_000)]])
    const [small, large] = bodyOf(bytes) as [Uint8Array, Uint8Array]
    expect(small.buffer.byteLength).toBe(10)
    expect(large.buffer === bytes.buffer).toBe(true)
  })

  it('of two frames never shares memory', () => {
    const a = encode([4, 1])
    const b = encode([4, 2])
    expect(a.buffer === b.buffer).toBe(false)
    expect([a.buffer.byteLength, b.buffer.byteLength]).toEqual([a.length, b.length])
  })

  it("would be lost by msgpackr's default, and stale memory sent in its place: what the refusal is for", () => {
    const values = Float32Array.of(1.5, 2.5)
    const packed = Buffer.from(new Packr().pack(values))
    // Of all bytes one each is written; the rest is whatever was in the buffer before.
    expect(packed.length).toBeGreaterThan(values.byteLength)
    expect(packed.includes(Buffer.from(values.buffer))).toBe(false)
  })

  const refused = {
    Float32Array: new Float32Array(2),
    Float64Array: new Float64Array(2),
    Int8Array: new Int8Array(2),
    Int16Array: new Int16Array(2),
    Int32Array: new Int32Array(2),
    Uint16Array: new Uint16Array(2),
    Uint32Array: new Uint32Array(2),
    Uint8ClampedArray: new Uint8ClampedArray(2),
    BigInt64Array: new BigInt64Array(2),
    BigUint64Array: new BigUint64Array(2),
    DataView: new DataView(new ArrayBuffer(2)),
    ArrayBuffer: new ArrayBuffer(2),
  }
  it.each(Object.entries(refused))('is refused as %s, however deep', (name, value) => {
    const send = () => encode([1, 1, 'put', { out: 'a', nested: [{ value }] }])
    expect(code(send)).toBe('ERR_PROTOCOL')
    expect(send).toThrow(name)
  })
})

describe('encode', () => {
  it.each([
    ['a Date', new Date(0)],
    ['a Map', new Map([[1, 2]])],
    ['a Set', new Set([1])],
    ['an Error', new Error('no')],
    ['a RegExp', /x/],
    ['a function', () => 1],
    ['a symbol', Symbol('x')],
    ['a bigint', 1n],
    ['an object with a method', { get: () => 1 }],
  ])('refuses %s', (_, value) => {
    expect(code(() => encode([2, 1, [value]]))).toBe('ERR_PROTOCOL')
  })

  it('refuses what nests too deeply, a cycle too', () => {
    const cycle: unknown[] = []
    cycle.push(cycle)
    expect(code(() => encode([2, 1, cycle]))).toBe('ERR_PROTOCOL')
  })
})

describe('decode', () => {
  it.each([
    ['a date', new Date(0)],
    ['a set', new Set([1])],
    ['an error', new TypeError('no')],
    ['a regular expression', /(a+)+$/],
    ['a float array', new Float32Array([1])],
    ['undefined', undefined],
  ])('refuses %s as msgpackr writes it, an extension type', (_, value) => {
    expect(code(() => decode(reply(value)))).toBe('ERR_PROTOCOL')
  })

  it('refuses a map whose keys are no strings', () => {
    expect(code(() => decode(reply(new Map([[1, 2]]))))).toBe('ERR_PROTOCOL')
    expect(code(() => decode(replyOf('81c0c0')))).toBe('ERR_PROTOCOL')
  })

  it('refuses a reference of structured clone', () => {
    const twice = { a: 1 }
    expect(code(() => decode(reply([twice, twice])))).toBe('ERR_PROTOCOL')
  })

  it("refuses a record, which msgpackr's own reader would compile", () => {
    const bytes = new Uint8Array(new Packr({ useRecords: true }).pack([2, 1, { a: 1, b: 2 }]))
    expect([...bytes]).toContain(0x72)
    expect(code(() => decode(bytes))).toBe('ERR_PROTOCOL')
  })

  it('refuses every extension type of every width', () => {
    for (let type = 0; type < 256; type++) {
      const t = type.toString(16).padStart(2, '0')
      for (const head of [`d4${t}00`, `d5${t}0000`, `d6${t}${'00'.repeat(4)}`, `d7${t}${'00'.repeat(8)}`]) {
        expect(code(() => decode(replyOf(head)))).toBe('ERR_PROTOCOL')
      }
      expect(code(() => decode(replyOf(`d8${t}${'00'.repeat(16)}`)))).toBe('ERR_PROTOCOL')
      expect(code(() => decode(replyOf(`c701${t}00`)))).toBe('ERR_PROTOCOL')
      expect(code(() => decode(replyOf(`c80001${t}00`)))).toBe('ERR_PROTOCOL')
      expect(code(() => decode(replyOf(`c900000001${t}00`)))).toBe('ERR_PROTOCOL')
    }
    expect(code(() => decode(replyOf('c1')))).toBe('ERR_PROTOCOL')
  })

  it('lets no key reach a prototype', () => {
    expect(code(() => decode(replyOf('81a95f5f70726f746f5f5f81a8706f6c6c75746564c3')))).toBe('ERR_PROTOCOL')
    const body = bodyOf(reply({ constructor: { prototype: { polluted: true } }, toString: 1, hasOwnProperty: 2 }))
    expect(Object.keys(body as object)).toEqual(['constructor', 'toString', 'hasOwnProperty'])
    expect(Object.getPrototypeOf(body)).toBe(Object.prototype)
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined()
  })

  it('refuses a map that has a key twice', () => {
    expect(code(() => decode(replyOf('82a16101a16102')))).toBe('ERR_PROTOCOL')
  })

  it('refuses deep nesting without running out of stack', () => {
    for (const open of ['91', '81a161']) {
      expect(code(() => decode(replyOf(open.repeat(100_000))))).toBe('ERR_PROTOCOL')
      expect(code(() => decode(replyOf(`${open.repeat(65)}c0`)))).toBe('ERR_PROTOCOL')
      expect(code(() => decode(replyOf(`${open.repeat(60)}c0`)))).toBe('nothing was thrown')
    }
  })

  it('allocates nothing for lengths that are declared and not there', () => {
    const started = performance.now()
    const before = process.memoryUsage()
    for (const head of ['ddffffffff', 'dfffffffff', 'dbffffffff', 'c6ffffffff', 'dd7fffffff', 'df7fffffff', 'dcffff']) {
      for (let i = 0; i < 200; i++) expect(code(() => decode(replyOf(`${head}c0`)))).toBe('ERR_PROTOCOL')
    }
    const after = process.memoryUsage()
    expect(after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers).toBeLessThan(200 * 2 ** 20)
    expect(performance.now() - started).toBeLessThan(5_000)
  })

  it.each([
    ['nothing', ''],
    ['no list', '01'],
    ['an empty list', '90'],
    ['an unknown kind', '930501c0'],
    ['a request without a body', '9301 01 a161'.replaceAll(' ', '')],
    ['a request whose name is no string', '94010101c0'],
    ['number 0', '930200c0'],
    ['a negative number', '9302ffc0'],
    ['a fractional number', '9302ca3fc00000c0'],
    ['a failure that is no error', '930301c0'],
    [
      'a failure with a code that there is not',
      '93030184a4636f6465a158a76d657373616765a0a6776f726b6572a0a66f726967696ea0',
    ],
    ['more than one value', '920401c0'],
    ['a tunnel without a name', '9405a0c0c0'],
    ['a tunnel whose name is no id', '9405a32e2e2fc0c0'],
    ['a tunnel to somebody who is no name', '9405a17407c40101'],
    ['a tunnel whose message is no binary', '9405a174c0a161'],
    ['a tunnel with more than one message', '9505a174c0c40101c40102'],
    ['a string that is no UTF-8', '930201a2c328'],
  ])('refuses %s', (_, bytes) => {
    expect(code(() => decode(hex(bytes)))).toBe('ERR_PROTOCOL')
  })

  const ROUNDS = process.env['SOTTO_LONG'] ? 1_000_000 : 40_000
  it(`of ${ROUNDS} random and mutated byte strings gives a frame or a ProtocolError, and nothing else`, () => {
    const random = new SeededRandom(20)
    const seeds = sampleFrames.map(encode)
    const outcomes = { frame: 0, refused: 0 }
    for (let i = 0; i < ROUNDS; i++) {
      let bytes: Uint8Array
      if (i % 4 === 0) bytes = Uint8Array.from({ length: random.int(200) }, () => random.int(256))
      else bytes = mutated(random, random.pick(seeds))
      try {
        const frame = decode(bytes)
        outcomes.frame++
        expect(Object.values(FrameKind)).toContain(frame[0])
      } catch (error) {
        if (!(error instanceof SottoError && error.code === 'ERR_PROTOCOL' && error.name === 'ProtocolError')) {
          throw new Error(`round ${i}: ${Buffer.from(bytes).toString('hex')}`, { cause: error })
        }
        outcomes.refused++
      }
    }
    // Both happen often, or the mutations are no test.
    expect(Math.min(outcomes.frame, outcomes.refused)).toBeGreaterThan(ROUNDS / 20)
  })
})

function mutated(random: SeededRandom, original: Uint8Array): Uint8Array {
  const bytes = original.slice(0, random.int(3) === 0 ? random.int(original.length + 1) : original.length)
  for (let flips = random.int(4); flips > 0 && bytes.length > 0; flips--)
    bytes[random.int(bytes.length)] = random.int(256)
  return bytes
}
