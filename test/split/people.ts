/** A table about people that two owners have half of the columns of, each with people whom the other has not. */
import { batches, idTensor, tf, VirtualWorker, type Worker } from 'sotto'
import { afterEach } from 'vitest'
import { SeededRandom } from '../../src/data/random.ts'

/** Columns of each of the two owners. */
export const COLUMNS = 3

export interface People {
  readonly ids: readonly string[]
  /** `[people, 2 · COLUMNS]`, each number of the size of 1, no two rows alike. */
  readonly x: readonly (readonly number[])[]
  /** 0 or 1 each: drawn by a logistic model of all columns. */
  readonly y: readonly number[]
}

export function people(count: number, seed: number): People {
  const random = new SeededRandom(seed)
  const weights = Array.from({ length: 2 * COLUMNS }, () => 1.5 * random.normal())
  const x = Array.from({ length: count }, () => weights.map(() => Math.fround(random.normal())))
  const y = x.map((row) => Number(random.float() < 1 / (1 + Math.exp(-dot(row, weights) - 0.3))))
  return { ids: x.map((_, i) => `person-${i}@example.org`), x, y }
}

const dot = (a: readonly number[], b: readonly number[]): number => a.reduce((sum, value, i) => sum + value * b[i]!, 0)

/** What an owner has: of some people, ids, half of the columns, and labels. The tensors are the caller's. */
export function half({ ids, x, y }: People, which: 0 | 1, rows: readonly number[]) {
  const from = which * COLUMNS
  return {
    ids: idTensor(rows.map((row) => ids[row]!)),
    x: tf.tensor2d(
      rows.map((row) => [...x[row]!.slice(from, from + COLUMNS)]),
      [rows.length, COLUMNS],
    ),
    y: tf.tensor1d(rows.map((row) => y[row]!)),
  }
}

/** The first owner's people without the last 30 %, from the last to the first; the second's without the first 30 %. */
export function halves(all: People) {
  const count = all.ids.length
  const shared = Math.round(0.7 * count)
  const first = Array.from({ length: shared }, (_, i) => shared - 1 - i)
  const second = Array.from({ length: shared }, (_, i) => count - shared + i)
  return { first: half(all, 0, first), second: half(all, 1, second), shared: 2 * shared - count }
}

/** Both halves, in clear on the owners' workers; the second has the labels. */
export function onWorkers(all: People, bob: Worker, alice: Worker) {
  const { first, second, shared } = halves(all)
  return {
    owners: [
      { ids: first.ids.send(bob), x: first.x.send(bob) },
      { ids: second.ids.send(alice), x: second.x.send(alice), y: second.y.send(alice) },
    ],
    shared,
  }
}

/** Whom rows are about, by what one of the owners has of them. */
export function whoseRows({ x }: People, which: 0 | 1, rows: tf.Tensor): number[] {
  const from = which * COLUMNS
  const known = new Map(x.map((row, i) => [row.slice(from, from + COLUMNS).join(), i]))
  return (rows.arraySync() as number[][]).map((row) => known.get(row.join())!)
}

/** The rows of these people joined: what nobody has. */
export const joined = ({ x, y }: People, rows: readonly number[]): People => ({
  ids: [],
  x: rows.map((row) => x[row]!),
  y: rows.map((row) => y[row]!),
})

export interface Descent {
  readonly epochs: number
  readonly batchSize: number
  readonly learningRate: number
  readonly seed: number
  readonly l2?: number
}

const sigmoid = (u: number): number => 1 / (1 + Math.exp(-u))
export const straight = (u: number): number => Math.min(1, Math.max(0, u + 0.5))

/** Gradient descent on the joined table, in doubles: what the regression in secret is to come to. */
export function descended({ x, y }: People, options: Descent, activation = sigmoid) {
  const { epochs, batchSize, learningRate, seed, l2 = 0 } = options
  let weights = x[0]!.map(() => 0)
  let bias = 0
  for (let epoch = 1; epoch <= epochs; epoch++) {
    for (const rows of batches(x.length, { batchSize, seed: 1000 * seed + epoch })) {
      const chosen = [...rows]
      const residual = chosen.map((row) => activation(dot(x[row]!, weights) + bias) - y[row]!)
      const rate = learningRate / chosen.length
      weights = weights.map(
        (w, k) =>
          w -
          rate *
            dot(
              chosen.map((row) => x[row]![k]!),
              residual,
            ) -
          learningRate * l2 * w,
      )
      bias -= rate * residual.reduce((sum, r) => sum + r, 0)
    }
  }
  const scores = x.map((row) => dot(row, weights) + bias)
  const losses = scores.map((u, i) => Math.log1p(Math.exp(-(2 * y[i]! - 1) * u)))
  return {
    weights,
    bias,
    loss: losses.reduce((sum, loss) => sum + loss, 0) / losses.length,
    accuracy: scores.filter((u, i) => Number(u > 0) === y[i]).length / scores.length,
  }
}

/** Of fixed precision. */
export const UNIT = 2 ** -16
/**
 * How far weights that were learnt in secret may be from those in clear. A step of descent on a convex loss, at a rate
 * below 2 / L, brings two courses no farther apart, so their distance grows by what each step errs at most. In units,
 * for rows with |x| summing up to no more than 20, and weights to 10: of the predictor, 10/2 from rounded x, 1 of its
 * division; a quarter of that, and 1.5, of the sigmoid (all of it of the pieces, and 1); of the gradient that, times
 * the mean |x| of 0.8, 1/2 from rounded x, 1 of its division; times a rate of 1/2 or less, and 1 of that division, 1
 * more of weights that decay.
 */
export const distance = (steps: number, isStraight = false): number => {
  const ofActivation = isStraight ? 6 + 1 : 6 / 4 + 1.5
  return steps * (0.5 * (0.8 * ofActivation + 1.5) + 2) * UNIT
}

/** Makes workers in process for a test, closed when it has ended. */
export function workersOfTests(): (id: string) => Worker {
  const open: Worker[] = []
  afterEach(async () => {
    await Promise.all(open.splice(0).map((made) => made.close()))
  })
  return (id) => {
    const made = new VirtualWorker(id)
    open.push(made)
    return made
  }
}
