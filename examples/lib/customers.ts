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
 * Numbers that say what a customer is like, which nobody sees: the shop's columns tell most of the first half of them.
 */
const TRAITS = 6
/** How much a column tells of the other half, beside its own. */
const LITTLE = 0.3

/**
 * Draws customers. Each column tells something of what they are like, blurred: the shop's most of one half of it, the
 * bank's of the other. Whether they pay back depends on both, and on a product: a network has something to learn that a
 * regression has not.
 */
export function drawCustomers(count: number, seed: number): Customers {
  return tf.tidy(() => {
    const normal = (rows: number, columns: number, at: number) =>
      tf.randomNormal([rows, columns], 0, 1, 'float32', 100 * seed + at) as tf.Tensor2D
    const traits = normal(count, TRAITS, 1)
    const [own, other] = [tf.ones([TRAITS / 2, COLUMNS]), tf.fill([TRAITS / 2, COLUMNS], LITTLE)]
    const tells = tf.concat([tf.concat([own, other], 1), tf.concat([other, own], 1)], 0)
    const blur = normal(count, 2 * COLUMNS, 3)
    const x = traits.matMul(normal(TRAITS, 2 * COLUMNS, 2).mul(tells) as tf.Tensor2D).add(blur)
    const weights = tf.tensor2d([2.4, -1.6, 0, 2.4, 1.6, 0], [TRAITS, 1])
    const product = traits.slice([0, 2], [count, 1]).mul(traits.slice([0, 5], [count, 1]))
    const leaning = traits.matMul(weights).add(product.mul(2.4)).add(0.5)
    const drawn = tf.randomUniform([count, 1], 0, 1, 'float32', 100 * seed + 4)
    return {
      ids: Array.from({ length: count }, (_, i) => `customer-${i}@example.org`),
      // Of the size of 1.
      x: tf.keep(x.div(2)) as tf.Tensor2D,
      y: tf.keep(drawn.less(tf.sigmoid(leaning)).cast('float32')) as tf.Tensor2D,
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
