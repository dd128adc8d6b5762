/** Copies between views, and images in parts, against the lists of indices that say the same element by element. */
import fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import * as parted from '../../src/smpc/convolutions.ts'
import { ring } from '../../src/smpc/ring/choose.ts'
import * as whole from '../../src/smpc/ring/convolution.ts'
import type { RingBits } from '../../src/smpc/ring/kernels.ts'
import { indicesOf } from '../../src/smpc/ring/moves.ts'
import * as rt from '../../src/smpc/ring/tensor.ts'
import { ringRow } from '../../src/smpc/ring-ops.ts'
import { moved, movedBack, type ViewMove } from '../../src/smpc/views.ts'
import { broadcastShapes, type Shape, sizeOf } from '../../src/tensor/shape.ts'
import { readyForTest } from '../backend.ts'
import { Inputs } from './ring/inputs.ts'

beforeAll(() => readyForTest())

const inputs = { 64: new Inputs(1, 64), 128: new Inputs(2, 128) } as const
const anyOf = (bits: RingBits, shape: Shape): rt.RingTensor =>
  rt.ringTensor(bits, shape, inputs[bits].words(sizeOf(shape)))

/** Shapes and bytes: of many words, an equality of values would take seconds. */
function expectSame(found: rt.RingTensor, wanted: rt.RingTensor): void {
  expect([found.ring, found.shape]).toEqual([wanted.ring, wanted.shape])
  expect(Buffer.compare(rt.bytesOf(found.data), rt.bytesOf(wanted.data))).toBe(0)
}

/** A dimension may be 0, and long enough for rows to be copied as they are. */
const dimension = fc.oneof({ weight: 4, arbitrary: fc.integer({ min: 1, max: 5 }) }, fc.constantFrom(0, 40))
const shapeOf = (least: number) => fc.array(dimension, { minLength: least, maxLength: 4 })
const anAxis = (shape: Shape) => fc.integer({ min: -shape.length, max: shape.length - 1 })
const part = (d: number) =>
  fc.integer({ min: 0, max: d }).chain((begin) => fc.tuple(fc.constant(begin), fc.integer({ min: -1, max: d - begin })))

/** Operands and attributes of each move, as a command has them. */
const calls: Readonly<Record<ViewMove, fc.Arbitrary<readonly [readonly Shape[], readonly unknown[]]>>> = {
  transpose: shapeOf(1).chain((shape) =>
    fc
      .option(fc.shuffledSubarray([...shape.keys()], { minLength: shape.length }), { nil: undefined })
      .map((perm) => [[shape], perm === undefined ? [] : [perm]] as const),
  ),
  slice: shapeOf(1).chain((shape) =>
    fc.tuple(fc.integer({ min: 1, max: shape.length }), fc.tuple(...shape.map(part))).map(([count, parts]) => {
      const given = parts.slice(0, count)
      return [[shape], [given.map(([begin]) => begin), given.map(([, size]) => size)]] as const
    }),
  ),
  concat: shapeOf(1).chain((shape) =>
    fc.tuple(anAxis(shape), fc.array(dimension, { minLength: 1, maxLength: 3 })).map(([axis, sizes]) => {
      const at = axis < 0 ? axis + shape.length : axis
      return [sizes.map((size) => shape.map((d, i) => (i === at ? size : d))), [axis]] as const
    }),
  ),
  stack: fc
    .tuple(shapeOf(0), fc.integer({ min: 1, max: 3 }))
    .chain(([shape, count]) =>
      fc
        .integer({ min: -shape.length - 1, max: shape.length })
        .map((axis) => [new Array<Shape>(count).fill(shape), [axis]] as const),
    ),
  split: shapeOf(1).chain((shape) =>
    anAxis(shape).chain((axis) => {
      const length = shape.at(axis)!
      return fc.integer({ min: 0, max: length }).map((first) => [[shape], [[first, length - first], axis]] as const)
    }),
  ),
  unstack: shapeOf(1).chain((shape) => anAxis(shape).map((axis) => [[shape], [axis]] as const)),
}

describe.each([64, 128] as const)('moves of %i bits, as views', (bits) => {
  it.each(Object.entries(calls) as [ViewMove, (typeof calls)[ViewMove]][])(
    '%s: the same elements as by a list of indices, and back',
    (name, call) => {
      fc.assert(
        fc.property(call, ([shapes, attrs]) => {
          const operands = shapes.map((shape) => anyOf(bits, shape))
          const there = ringRow(name).shapes(shapes, attrs)
          const whole = new BigUint64Array(operands.flatMap(({ data }) => [...data]))
          // tfjs refuses to move nothing in some ways: there is nothing to compare then.
          fc.pre(there.length > 0 && shapes.every((shape) => sizeOf(shape) > 0))
          const lists = indicesOf(name, shapes, attrs)
          const results = moved(name, operands, attrs, there)
          expect(results).toEqual(
            there.map((shape, i) => rt.ringTensor(bits, shape, ring(bits).gather(whole, lists[i]!))),
          )

          const size = shapes.reduce((sum, shape) => sum + sizeOf(shape), 0)
          const gradients = there.map((shape) => anyOf(bits, shape))
          const back = gradients
            .map(({ data }, i) => ring(bits).scatterAdd(data, lists[i]!, size))
            .reduce((a, b) => ring(bits).add(a, b))
          const found = movedBack(name, gradients, attrs, shapes)
          expect(found.map(({ shape }) => shape)).toEqual(shapes)
          expect(found.flatMap(({ data }) => [...data])).toEqual([...back])
        }),
        { numRuns: 25, seed: 1 },
      )
    },
  )

  it('leaves nothing of what is empty', () => {
    expect(moved('transpose', [anyOf(bits, [2, 0, 3])], [], [[3, 0, 2]])).toEqual([rt.ringZeros(bits, [3, 0, 2])])
    expect(movedBack('slice', [anyOf(bits, [0, 3])], [[1], [0]], [[2, 3]])).toEqual([rt.ringZeros(bits, [2, 3])])
  })

  it('spreads along every axis', () => {
    const shapes = shapeOf(0).chain((shape) =>
      fc.tuple(fc.constant(shape), fc.array(fc.boolean(), { minLength: shape.length, maxLength: shape.length })),
    )
    fc.assert(
      fc.property(shapes, fc.nat(3), ([shape, kept], left) => {
        const x = anyOf(bits, shape.map((d, i) => (kept[i] ? d : 1)).slice(left)) // biome-ignore format: short
        const whole = broadcastShapes('add', x.shape, shape)
        // tfjs spreads nothing over nothing.
        fc.pre(sizeOf(whole) > 0)
        const [list] = indicesOf('broadcastTo', [x.shape], [whole])
        expectSame(rt.spread(x, whole), rt.ringTensor(bits, whole, ring(bits).gather(x.data, list!)))
      }),
      { numRuns: 25, seed: 1 },
    )
  })

  it('turns axes over for products and sums as it does for transposes', () => {
    const shapes = shapeOf(1).chain((shape) =>
      fc.tuple(
        fc.constant(shape),
        fc.shuffledSubarray([...shape.keys()], { minLength: shape.length, maxLength: shape.length }),
      ),
    )
    fc.assert(
      fc.property(shapes, ([shape, perm]) => {
        const x = anyOf(bits, shape)
        fc.pre(sizeOf(shape) > 0)
        const [list] = indicesOf('transpose', [shape], [perm])
        expect(rt.permuted(x, perm)).toEqual(ring(bits).gather(x.data, list!))
      }),
      { numRuns: 50, seed: 1 },
    )
  })
})

describe('moves back', () => {
  it.each([
    [
      'slice',
      [[2, 3]],
      [
        [0, 0],
        [2, 2],
      ],
    ],
    ['reshape', [[2, 3]], [[3, 2]]],
    ['unstack', [[2, 3]], [0]],
  ] as const)('of %s refuse what is not of its result', (name, shapes, attrs) => {
    const dy = anyOf(64, [7])
    expect(() => ringRow('moveBack').clear([dy], [name, shapes, attrs])).toThrow(/moveBack: .*expected/)
  })
})

describe.each([64, 128] as const)('images of %i bits in parts', (bits) => {
  const attrs = { strides: [1, 2], pad: 'same', dilations: [1, 1] } as const
  // Of each image 16·8·9·20 elements of windows: some are laid out together, and the last part is shorter.
  const image: Shape = [7, 16, 16, 20]
  const filter: Shape = [3, 3, 20, 2]
  const result: Shape = [7, 16, 8, 2]

  it('give the convolutions of the whole batch', () => {
    const [x, f, dy] = [anyOf(bits, image), anyOf(bits, filter), anyOf(bits, result)]
    expectSame(parted.conv2d(x, f, attrs), whole.conv2d(x, f, attrs))
    expectSame(parted.conv2dFilter(x, dy, filter, attrs), whole.conv2dFilter(x, dy, filter, attrs))
    expectSame(parted.conv2dInput(dy, f, image, attrs), whole.conv2dInput(dy, f, image, attrs))
  })

  it('give the windows of the whole batch, and add up what comes back', () => {
    const x = anyOf(bits, image)
    const { indices } = whole.windowsOf(image, [3, 3], attrs)
    const windows = parted.windowsOf(x, [3, 3], attrs)
    expect(windows.shape).toEqual([7, 16, 8, 9, 20])
    expectSame(windows, rt.ringTensor(bits, windows.shape, ring(bits).gather(x.data, indices)))
    const dy = anyOf(bits, windows.shape)
    const back = ring(bits).scatterAdd(dy.data, indices, sizeOf(image))
    expectSame(parted.windowsBack(dy, [3, 3], attrs, image), rt.ringTensor(bits, image, back))
  })

  it.each([
    { strides: [1, 1], pad: 'valid', dilations: [1, 1] },
    { strides: [2, 1], pad: 'valid', dilations: [1, 1] },
    { strides: [1, 1], pad: 'same', dilations: [2, 3] },
    { strides: [3, 2], pad: 'same', dilations: [1, 1] },
    { strides: [2, 3], pad: 2, dilations: [1, 1] },
    { strides: [1, 1], pad: 1, dilations: [1, 2] },
  ] as const)('lie one after another as their indices say: %o', (attrs) => {
    for (const channels of [1, 3]) {
      const x = anyOf(bits, [2, 9, 11, channels])
      const { indices, shape } = whole.windowsOf(x.shape, [3, 2], attrs)
      expectSame(whole.layWindows(x, [3, 2], attrs), rt.ringTensor(bits, shape, ring(bits).gather(x.data, indices)))
    }
  })

  it('may be none', () => {
    const x = anyOf(bits, [0, 16, 16, 20])
    expectSame(parted.conv2d(x, anyOf(bits, filter), attrs), rt.ringZeros(bits, [0, 16, 8, 2]))
    expectSame(parted.conv2dFilter(x, anyOf(bits, [0, 16, 8, 2]), filter, attrs), rt.ringZeros(bits, filter))
  })
})
