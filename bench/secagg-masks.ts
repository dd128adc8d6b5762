/**
 * What does secure aggregation cost: a client's masks against the bare key streams they are made of, bytes that a client
 * sends, and the server's removal of masks when clients drop out?
 */
import { type ClientRound, SecAggClient } from '../src/federated/secagg/client.ts'
import { applyMasks } from '../src/federated/secagg/masks.ts'
import { Quantiser } from '../src/federated/secagg/quantise.ts'
import { SecAggServer } from '../src/federated/secagg/server.ts'
import { Prg, randomSeed } from '../src/smpc/prg.ts'
import { encodeValue } from '../src/worker/codec.ts'
import { Identity } from '../src/worker/identity.ts'
import { alternate, report, rounded } from './measure.ts'

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i)
function hold(what: string, isHeld: boolean): void {
  if (isHeld) return
  console.error(`${what}: missed`)
  process.exitCode = 1
}

{
  const [parameters, neighbours] = [1_000_000, 50]
  const keys = () => range(neighbours + 1).map(randomSeed)
  const vector = new Uint32Array(parameters)
  const timing = await alternate(
    {
      'key streams alone': () => {
        for (const key of keys()) {
          const stream = new Prg(key).stream(0)
          for (let left = vector.byteLength; left > 0; left -= 65_536) stream.bytes(Math.min(left, 65_536))
        }
      },
      masks: () => applyMasks(vector, { added: keys().slice(0, 26), subtracted: keys().slice(26) }),
    },
    { rounds: 9, warmup: 2 },
  )
  const gigabytes = ((neighbours + 1) * vector.byteLength) / 1e6
  report(
    `A client's masks: ${parameters} parameters, ${neighbours} neighbours (wanted: 0.6 of the rate of key streams alone)`,
    Object.entries(timing).map(([what, { ms, ratio }]) => ({
      what,
      ms: rounded(ms),
      'GB/s': rounded(gigabytes / ms),
      'of the bound': rounded(ratio),
    })),
  )
  hold('masks', timing.masks.ratio >= 0.6)
}

/** A whole round, in which clients drop out after their shares; what a client sends, and how long each end takes. */
function round(n: number, parameters: number, dropped: number) {
  const quantiser = new Quantiser({ clip: 1, bits: 20, clients: n })
  const identities = range(n).map(() => Identity.generate())
  const name = (i: number) => `client-${i}`
  const members = Object.fromEntries(identities.map(({ key }, i) => [name(i), key]))
  const settings = { session: crypto.randomUUID(), members, length: quantiser.words(parameters) }
  const clients = identities.map((identity, i) => new SecAggClient(name(i), identity, settings).round(0))
  const server = new SecAggServer(settings, 0)
  let bytes = 0
  const sent = <T extends object>(client: ClientRound, message: T): T => {
    if (client === clients[0]) bytes += encodeValue(message).length
    return message
  }
  const start = performance.now()
  for (const client of clients) server.receiveAdvert(sent(client, client.advertise()))
  const roster = server.closeAdverts()
  if (server.phase === 'reveals') {
    for (const client of clients) {
      const reply = client.receiveRoster(roster)
      if ('reveal' in reply) server.receiveReveal(sent(client, reply.reveal))
    }
    const reply = server.closeReveals()
    for (const client of clients)
      if ('draws' in reply) server.receiveShares(sent(client, client.receiveDraws(reply.draws)))
  } else {
    for (const client of clients) {
      const reply = client.receiveRoster(roster)
      if ('shares' in reply) server.receiveShares(sent(client, reply.shares))
    }
  }
  const deliveries = server.closeShares()
  const set = performance.now()
  const left = clients.slice(0, n - dropped)
  const vector = quantiser.encode(new Float32Array(parameters).fill(0.5))
  for (const client of left) server.receiveInput(sent(client, client.mask(deliveries.get(client.id)!, vector)))
  const survivors = server.closeInputs()
  const masked = performance.now()
  for (const client of left) server.receiveConfirmation(sent(client, client.confirm(survivors)))
  const quorum = server.closeConfirmations()
  for (const client of left) server.receiveUnmasking(sent(client, client.unmask(quorum)))
  const confirmed = performance.now()
  const { sum, streams } = server.finish()
  const unmasked = performance.now()
  const { mean } = quantiser.decode(sum)
  // Each is off by less than a step.
  hold(
    'the mean',
    mean.every((value) => Math.abs(value - 0.5) < 1 / quantiser.largest),
  )
  return {
    clients: n,
    parameters,
    'dropped out': dropped,
    'bytes up': bytes,
    'of the model': rounded(bytes / (4 * parameters), 4),
    'set-up ms': rounded(set - start),
    'a mask, ms': rounded((masked - set) / left.length),
    'survivors ms': rounded(confirmed - masked),
    'server unmasks in ms': rounded(unmasked - confirmed),
    streams: streams.survivors + streams.dropped,
  }
}

const small = round(100, 100_000, 10)
const large = round(8, 1_000_000, 1)
report('A round, all of it in this process', [small, large])
hold('streams', small.streams <= 90 + 10 * 22)

{
  // Shares do not grow with the model: what 100 clients send beside it, and a model of 1e6 parameters.
  const beside = small['bytes up'] - 4 * (small.parameters + 1)
  const all = beside + 4 * 1_000_001
  report('A client sends, of 100 clients with 1e6 parameters (wanted: at most 1.05 of the quantised model)', [
    { 'bytes up': all, 'beside the model': beside, 'of the model': rounded(all / 4e6, 5) },
  ])
  hold('bytes up', all <= 1.05 * 4e6)
}
