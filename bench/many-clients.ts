/** Two hundred clients at once on one worker, each sending, computing and getting: are all right, and is it fair? */
import { hook, ready, SocketWorker, scope, tf } from 'sotto'
import { median, report, rounded } from './measure.ts'
import { miss } from './parties.ts'
import { start } from './processes.ts'

const CLIENTS = 200
const ROUNDS = 20
const SIZE = 64
await ready()
hook()
const server = await start('worker')
const connections = performance.now()
const clients = await Promise.all(
  Array.from({ length: CLIENTS }, (_, i) => SocketWorker.connect(server.url, { identity: `client-${i}` })),
)
const connecting = performance.now() - connections
const before = (await clients[0]!.stats()).bytes

/** Each client has numbers of its own; what it gets must be made of them. */
async function work(client: SocketWorker, index: number): Promise<number[]> {
  const times: number[] = []
  const own = tf.fill([SIZE, SIZE], index + 1)
  for (let round = 0; round < ROUNDS; round++) {
    const start = performance.now()
    const product = scope(() => {
      const sent = own.send(client)
      return sent.matMul(sent).add(round)
    })
    const got = await product.get()
    const wanted = SIZE * (index + 1) ** 2 + round
    const values = got.dataSync()
    if (values.length !== SIZE * SIZE || values.some((value) => Math.abs(value - wanted) > 1e-6 * wanted)) {
      throw new Error(`client ${index} got ${values[0]} where ${wanted} was to come`)
    }
    got.dispose()
    times.push(performance.now() - start)
  }
  own.dispose()
  return times
}
const began = performance.now()
const all = await Promise.all(clients.map(work))
const total = performance.now() - began
const means = all.map((times) => times.reduce((sum, ms) => sum + ms, 0) / times.length)
const fairness = Math.max(...means) / Math.min(...means)
await Promise.all(clients.map((client) => client.flush()))
const left = await clients[0]!.stats()
report(`${CLIENTS} clients, ${ROUNDS} rounds each: send ${SIZE}×${SIZE}, multiply, add, get`, [
  { what: 'connecting all, ms', value: rounded(connecting) },
  { what: 'rounds a second, of all', value: rounded((1000 * CLIENTS * ROUNDS) / total) },
  { what: 'median client, ms a round', value: rounded(median(means)) },
  { what: 'slowest over fastest client (at most 3 wanted)', value: rounded(fairness) },
  { what: 'objects left', value: left.objects },
  { what: 'bytes left above before', value: left.bytes - before },
  { what: 'most memory of the worker, MB', value: rounded(server.peak() / 2 ** 20) },
])
if (fairness > 3) miss('the slowest client took more than three times as long as the fastest')
if (left.objects > 0) miss('objects were left behind')
await Promise.all(clients.map((client) => client.close()))
server.stop()
