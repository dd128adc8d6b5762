/**
 * A serving worker in a process of its own, so that its memory is its own. Writes one line of JSON when it is ready; for
 * every line that it reads, collects its garbage and writes another about its memory.
 */
import { createInterface } from 'node:readline'
import { createToken, ready, serveWorker } from '../../src/index.ts'

const { backend, ...options } = JSON.parse(process.argv[2]!)
await ready({ backend })
const given = { alice: createToken({ identity: 'alice' }), mallory: createToken({ identity: 'mallory' }) }
const server = await serveWorker({
  id: 'bob',
  port: 0,
  auth: { tokens: Object.values(given).map(({ record }) => record) },
  ...options,
})
const say = (what: object) => process.stdout.write(`${JSON.stringify(what)}\n`)
say({ url: server.url, alice: given.alice.token, mallory: given.mallory.token })
for await (const _ of createInterface({ input: process.stdin })) {
  // What finalizers let go is collected in the next round.
  for (let round = 0; round < 3; round++) {
    globalThis.gc!()
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  const { rss, heapUsed, external } = process.memoryUsage()
  say({ rss, kept: heapUsed + external })
}
