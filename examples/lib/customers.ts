/** A made table of customers, cut in two by its columns: a bank and a shop know partly the same people. */
import { shuffledIndices, tf } from 'sotto'

/** Columns of each of the two. */
export const COLUMNS = 10

export interface Customers {
  /** One a customer: an address, which either writes as it likes. */
  readonly ids: readonly string[]
  /** `[customers, 2 · COLUMNS]`: the shop's columns, then the bank's. */
  readonly x: tf.Tensor2D
  /** Whether a customer pays back what the bank lends, `[customers, 1]`. */
  readonly y: tf.Tensor2D
}

/**
 * Draws customers. What they are like are four numbers that nobody sees; every column tells something of them, blurred, and
 * whether they pay back depends on all of them, and on a product: a network has something to learn that a
 * regression has not.
 */
export function drawCustomers(count: number, seed: number): Customers {
  return tf.tidy(() => {
    const normal = (shape: [number, number], at: number) => tf.randomNormal(shape, 0, 1, 'float32', 100 * seed + at)
    const hidden = normal([count, 4], 1) as tf.Tensor2D
    const columns = hidden.matMul(normal([4, 2 * COLUMNS], 2) as tf.Tensor2D)
    const x = columns.add(normal([count, 2 * COLUMNS], 3)).mul(0.5)
    const [a, b, c, d] = tf.unstack(hidden, 1) as [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]
    const leaning = a.mul(2).sub(b.mul(1.5)).add(c).add(d.mul(a)).add(0.3)
    const drawn = tf.randomUniform([count], 0, 1, 'float32', 100 * seed + 4)
    return {
      ids: Array.from({ length: count }, (_, i) => `customer-${i}@example.org`),
      x: tf.keep(x) as tf.Tensor2D,
      y: tf.keep(drawn.less(tf.sigmoid(leaning)).cast('float32').reshape([count, 1])) as tf.Tensor2D,
    }
  })
}

/** What one of the two has: its customers, in an order of its own, and its columns. */
export interface Table {
  /** Which of all customers. */
  readonly who: Int32Array
  readonly ids: readonly string[]
  readonly x: tf.Tensor2D
  readonly y: tf.Tensor2D
}

/**
 * Cuts the table in two by columns; of the customers of either, so large a part is unknown to the other.
 *
 * @param unshared from 0 to 1
 */
export function cutInTwo({ ids, x, y }: Customers, unshared: number, seed: number): { shop: Table; bank: Table } {
  const count = ids.length
  // Of n customers in all, each has s, and 2s − n = (1 − unshared) · s are shared.
  const each = Math.round(count / (1 + unshared))
  const order = shuffledIndices(count, seed)
  const table = (chosen: Int32Array, from: number, write: (id: string) => string): Table => {
    const moved = shuffledIndices(chosen.length, seed + from + 1).map((i) => chosen[i]!)
    const rows = tf.tensor1d(moved, 'int32')
    const own = tf.tidy(() => ({ x: x.slice([0, from], [count, COLUMNS]).gather(rows), y: y.gather(rows) }))
    rows.dispose()
    return { who: moved, ids: [...moved].map((row) => write(ids[row]!)), ...own }
  }
  return {
    shop: table(order.slice(0, each), 0, (id) => id.toUpperCase()),
    bank: table(order.slice(count - each), COLUMNS, (id) => ` ${id}`),
  }
}
