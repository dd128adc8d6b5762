/**
 * How fast is jiff-mpc 1.0.0 at sharing, multiplying and comparing? One line of JSON on stdout, in elements per second.
 *
 * `npm ci --ignore-scripts` in this folder, then `node measure-jiff.mjs`. A server in this process and three parties
 * in processes of their own, on loopback; party.mjs says what is measured and checks every result. The rates of the
 * first level are with jiff's own encryption between parties: the server relays all that they say and deals their
 * triples too, so without it the server could read every secret. `unencrypted` holds the rates without it, for
 * comparing computation and transport alone.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { fileURLToPath } from 'node:url'
import jiffMpc from 'jiff-mpc'

const { JIFFServer, JIFFServerWebSockets } = jiffMpc
const SETTING = [
  'jiff-mpc 1.0.0, 3 parties in own processes, server in another, web socket extension',
  'Shamir over its default prime 16777729 (2^24 + 513), threshold 3 of 3 (bgwProducts: 2 of 3, honest majority)',
  'server as crypto provider, no preprocessing; opened to one party',
  // The fixed-point extension is right but makes 0.4 truncations a second: a 10x10 matMul would take 4 minutes.
  'integers, as its fixed point takes 2.4 s a truncation; products timed to shares, not opened',
  'sodium encryption between parties on; off in "unencrypted"',
].join('; ')
/** Four times what a run takes on two cores: a party that waits for a lost message waits forever. */
const DEADLINE_MS = 180_000

let stage = 'start'
const children = new Set()
setTimeout(
  () => fail(new Error(`jiff did not finish within ${DEADLINE_MS / 1000} s; last stage: ${stage}`)),
  DEADLINE_MS,
).unref()

try {
  const rates = await measure({ encrypted: true })
  const unencrypted = await measure({ encrypted: false })
  console.log(JSON.stringify({ ...rates, unencrypted, setting: SETTING }))
} catch (error) {
  fail(error)
}

async function measure({ encrypted }) {
  const http = createServer()
  const server = new JIFFServer(http, { sodium: encrypted })
  // Before listening, because the extension closes the socket.io server that JIFFServer began with.
  server.apply_extension(JIFFServerWebSockets)
  await once(http.listen(0, '127.0.0.1'), 'listening')
  const parties = [1, 2, 3].map((id) => start(http.address().port, id, encrypted))
  const [{ rows }] = await Promise.all(parties.map(answer))

  const take = async (row, step, warmUp) => {
    stage = `${row}, ${step}`
    const began = performance.now()
    const answers = parties.map(answer)
    for (const party of parties) party.send({ row, step, warmUp })
    const [{ elements }] = await Promise.all(answers)
    return (1000 * elements) / (performance.now() - began)
  }
  const rates = {}
  for (const row of rows) {
    for (const warmUp of [true, false]) {
      await take(row, 'prepare', warmUp)
      const rate = await take(row, 'run', warmUp)
      await take(row, 'verify', warmUp)
      rates[row] = Number(rate.toPrecision(3))
    }
  }

  stage = 'end'
  const exits = parties.map((party) => once(party, 'exit'))
  for (const party of parties) party.send('end')
  await Promise.all(exits)
  server.io.close()
  http.close()
  return rates
}

function start(port, id, encrypted) {
  // jiff logs to stdout when it connects and disconnects; ours is for the result.
  const party = fork(fileURLToPath(new URL('party.mjs', import.meta.url)), [port, id, Number(encrypted)].map(String), {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  children.add(party)
  party.once('exit', (code) => {
    children.delete(party)
    if (code !== 0) fail(new Error(`party ${id} ended with code ${code}; stage: ${stage}`))
  })
  return party
}

async function answer(party) {
  const [message] = await once(party, 'message')
  return message
}

function fail(error) {
  console.error(error)
  for (const child of children) child.kill()
  process.exit(1)
}
