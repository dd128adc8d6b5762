/** What does an op through a pointer cost above the same op in tfjs, in process and without the codec? */
import { hook, ready, tf, VirtualWorker } from 'sotto'
import { median, report, rounded } from './measure.ts'

const backend = await ready()
hook()
const bob = new VirtualWorker('bob')
const local = tf.tensor([1, 2, 3, 4, 5])
const pointer = local.send(bob)

/** Microseconds of single calls, with the result freed outside the clock. */
function singles(call: () => { dispose(): void }, times: number): number[] {
  return Array.from({ length: times }, () => {
    const start = performance.now()
    const result = call()
    const took = performance.now() - start
    result.dispose()
    return took * 1000
  })
}

const rows = []
for (const [name, plain, remote] of [
  ['add', () => local.add(local), () => pointer.add(pointer)],
  ['mul by a number', () => local.mul(2), () => pointer.mul(2)],
  ['relu', () => local.relu(), () => pointer.relu()],
  ['sum', () => local.sum(), () => pointer.sum()],
] as const) {
  const rounds = []
  for (let round = 0; round < 12; round++) {
    const a = median(singles(plain, 2000))
    const b = median(singles(remote, 2000))
    if (round >= 4) rounds.push({ a, b })
    await new Promise((resolve) => setTimeout(resolve, 0))
  }
  const tfjs = median(rounds.map(({ a }) => a))
  const through = median(rounds.map(({ b }) => b))
  rows.push({
    op: name,
    'tfjs µs': rounded(tfjs),
    'pointer µs': rounded(through),
    'overhead µs': rounded(median(rounds.map(({ a, b }) => b - a))),
  })
}
report(`Overhead of an op through a pointer (${backend}, median of single calls; at most 15 µs wanted)`, rows)
await bob.close()
