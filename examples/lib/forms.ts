/** The forms of split learning on MNIST: who holds which part of the images, of the network, and the labels. */
import type { Join, tf } from 'sotto'
import { dense } from './dense.ts'

/** A segment of the network, and who holds it. */
export interface Part {
  readonly owner: string
  readonly layers: readonly tf.layers.Layer[]
}

/** A segment that the network begins with: whoever holds it has images too, or parts of them. */
export interface First extends Part {
  /** From column to column of the flat images; the second is not among them. */
  readonly pixels: readonly [from: number, to: number]
}

/** The labels are with the owner of the last segment. */
export interface Plan {
  readonly firsts: readonly First[]
  readonly rest: readonly Part[]
  /**
   * Given where those who begin are clients, with other images each and one segment in common: they take turns with it, or
   * each has a copy and an aggregator makes the mean. Else those who begin have parts of the same images.
   */
  readonly clients?: { readonly aggregator: string | null }
}

export interface PlanOptions {
  readonly seed: number
  /** How activations of several first segments meet. */
  readonly join: Join
}

interface Form {
  /** In a few words. */
  readonly title: string
  readonly plan: (layer: Layers, join: Join) => Plan
}

/** Makes the next layer of a network. */
type Layers = (inputs: number, units: number, activation?: 'relu') => tf.layers.Layer

const ALL = [0, 784] as const
const HALVES = [
  [0, 392],
  [392, 784],
] as const
const THIRDS = [
  [0, 261],
  [261, 522],
  [522, 784],
] as const

/** Each owner's pixels go to 128 units of its own; what comes of them meets at bob, who has the labels. */
function sideBySide(pixels: readonly First['pixels'][], owners: readonly string[], layer: Layers, join: Join): Plan {
  const units = 128
  return {
    firsts: pixels.map(([from, to], i) => ({
      owner: owners[i]!,
      pixels: [from, to],
      layers: [layer(to - from, units, 'relu')],
    })),
    rest: [
      { owner: 'bob', layers: [layer(join === 'concat' ? units * owners.length : units, 640, 'relu'), layer(640, 10)] },
    ],
  }
}

/** Three clients, with one segment in common or a copy each, and bob as their server. */
function clients(layer: Layers, aggregator: string | null): Plan {
  const layers = [layer(784, 128, 'relu'), layer(128, 640, 'relu')]
  return {
    firsts: ['alice', 'carol', 'dave'].map((owner) => ({ owner, pixels: ALL, layers })),
    rest: [{ owner: 'bob', layers: [layer(640, 10)] }],
    clients: { aggregator },
  }
}

export const forms = {
  vanilla: {
    title: 'images with alice, labels with bob',
    plan: (layer) => ({
      firsts: [{ owner: 'alice', pixels: ALL, layers: [layer(784, 128, 'relu'), layer(128, 640, 'relu')] }],
      rest: [{ owner: 'bob', layers: [layer(640, 10)] }],
    }),
  },
  hops: {
    title: 'images with alice, labels with bob, carol between them',
    plan: (layer) => ({
      firsts: [{ owner: 'alice', pixels: ALL, layers: [layer(784, 128, 'relu')] }],
      rest: [
        { owner: 'carol', layers: [layer(128, 640, 'relu')] },
        { owner: 'bob', layers: [layer(640, 10)] },
      ],
    }),
  },
  'u-shaped': {
    title: 'images and labels with alice, the middle of the network with bob',
    plan: (layer) => ({
      firsts: [{ owner: 'alice', pixels: ALL, layers: [layer(784, 128, 'relu')] }],
      rest: [
        { owner: 'bob', layers: [layer(128, 640, 'relu')] },
        { owner: 'alice', layers: [layer(640, 10)] },
      ],
    }),
  },
  vertical: {
    title: 'half of each image with alice, the other half with carol, labels with bob',
    plan: (layer, join) => sideBySide(HALVES, ['alice', 'carol'], layer, join),
  },
  'vertical-3': {
    title: 'a third of each image with alice, carol and dave, labels with bob',
    plan: (layer, join) => sideBySide(THIRDS, ['alice', 'carol', 'dave'], layer, join),
  },
  turns: {
    title: 'a third of the images each with alice, carol and dave, who take turns; labels with bob',
    plan: (layer) => clients(layer, null),
  },
  parallel: {
    title: 'a third of the images each with alice, carol and dave, all at once; labels with bob, means by erin',
    plan: (layer) => clients(layer, 'erin'),
  },
} as const satisfies Record<string, Form>

export type FormName = keyof typeof forms

export function planOf(name: FormName, { seed, join }: PlanOptions): Plan {
  // Each layer has seeds of its own: one for its weights, one for its biases.
  let next = 10 * seed
  const layer: Layers = (inputs, units, activation) => {
    const made = dense(units, inputs, next, activation)
    next += 2
    return made
  }
  return forms[name].plan(layer, join)
}
