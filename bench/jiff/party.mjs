/**
 * One party of a jiff computation, in a process of its own: `node party.mjs <port> <id> <encrypted>`.
 * measure-jiff.mjs starts three and has them take each step at the same time, over the IPC channel:
 * `{ row, step, warmUp }` in, `{ elements }` out when the step is done. A failed step ends the process with code 1.
 */
import assert from 'node:assert/strict'
import jiffMpc from 'jiff-mpc'

const { JIFFClient, JIFFClientWebSockets } = jiffMpc
const [port, id, encrypted] = process.argv.slice(2).map(Number)
const PARTIES = [1, 2, 3]
/** Makes the secrets and is the only one that opened values go to: opening to all three would treble the messages. */
const OWNER = 1
/** Shamir thresholds: every share is needed, as in additive sharing; or two of three, the least that hides anything. */
const ALL = 3
const MAJORITY = 2

const jiff = await connect()

/**
 * One row per measurement, `size` being what it is measured at. Only `run` is timed, on shares that `prepare` dealt;
 * `verify` opens what `run` left as shares and compares. jiff's prime is 2^24 + 513, and no expected value reaches it.
 */
const rows = {
  shareOpen: {
    size: 10_000,
    warmUp: 500,
    elements: (size) => size,
    prepare: (size) => numbers(size, 7919, 100_003),
    run: async (secrets) => open(deal(secrets)),
    verify: (opened, secrets) => expectOpened(opened, secrets),
  },
  products: productsRow(ALL, (x, y) => x.smult(y)),
  bgwProducts: productsRow(MAJORITY, (x, y) => x.smult_bgw(y)),
  matMulProducts: {
    size: 10,
    warmUp: 3,
    elements: (size) => size ** 3,
    prepare: (size) => pairOf(numbers(size * size, 71, 1009), numbers(size * size, 89, 1013)),
    run: ({ x, y }) => settled(matMul(x, y, (a, b) => a.smult(b), add)),
    verify: async (shares, { left, right }) =>
      expectOpened(
        await open(shares),
        matMul(left, right, (a, b) => a * b, sum),
      ),
  },
  comparisons: {
    size: 10,
    warmUp: 1,
    elements: (size) => size,
    // The second operand wanders around the first, and equals it once in a while.
    prepare: (size) => pairOf(numbers(size, 3, 7), numbers(size, 2, 5)),
    run: ({ x, y }) => settled(x.map((share, at) => share.slt(y[at]))),
    verify: async (shares, { left, right }) =>
      expectOpened(
        await open(shares),
        left.map((value, at) => Number(value < right[at])),
      ),
  },
}

let inputs
let result
const steps = {
  prepare: async (row, size) => {
    inputs = await row.prepare(size)
  },
  run: async (row) => {
    result = await row.run(inputs)
  },
  verify: (row) => row.verify(result, inputs),
}

process.on('message', async (message) => {
  try {
    // Waits for what is still to be sent, and frees what the server holds.
    if (message === 'end') return jiff.disconnect(true, true, () => process.disconnect())
    const row = rows[message.row]
    const size = message.warmUp ? row.warmUp : row.size
    await steps[message.step](row, size)
    process.send({ elements: row.elements(size) })
  } catch (error) {
    fail(error)
  }
})
// A party whose starter is gone has nothing left to do.
process.on('disconnect', () => process.exit())
process.send({ rows: Object.keys(rows) })

function productsRow(threshold, multiply) {
  return {
    size: 1000,
    warmUp: 50,
    elements: (size) => size,
    prepare: (size) => pairOf(numbers(size, 37, 4001), numbers(size, 41, 4003), threshold),
    run: ({ x, y }) => settled(x.map((share, at) => multiply(share, y[at]))),
    verify: async (shares, { left, right }) =>
      expectOpened(
        await open(shares),
        left.map((value, at) => value * right[at]),
      ),
  }
}

function connect() {
  return new Promise((resolve) => {
    const client = new JIFFClient(`http://127.0.0.1:${port}`, 'measure', {
      party_id: id,
      party_count: PARTIES.length,
      // Triples, zeros and random bits come from the server, as ours come from the provider. The alternative, to
      // preprocess them among the parties, made 81 triples a second and then 410 products: 68 in all against 240.
      crypto_provider: true,
      sodium: encrypted === 1,
      autoConnect: false,
      onConnect: resolve,
      onError: (label, error) => fail(new Error(`jiff: ${label}: ${error}`)),
    })
    // Plain web sockets, the package's own extension: up to 1.4 times as fast as its default, socket.io.
    client.apply_extension(JIFFClientWebSockets)
    client.connect()
  })
}

/** The owner's secrets as shares; the others know only how many there are, and get theirs. */
function deal(secrets, threshold = ALL) {
  const mine = id === OWNER ? secrets : []
  return jiff.share_array(mine, { [OWNER]: secrets.length }, threshold, PARTIES, [OWNER])[OWNER]
}

/** Two dealt vectors and what they hold, dealt in full before anything is timed. */
async function pairOf(left, right, threshold = ALL) {
  const [x, y] = [deal(left, threshold), deal(right, threshold)]
  await settled([...x, ...y])
  return { left, right, x, y }
}

/** Resolves when this party holds the number behind every share: until then a share is a promise. */
async function settled(shares) {
  await Promise.all(shares.map((share) => share.value))
  return shares
}

function open(shares) {
  return jiff.open_array(shares, [OWNER])
}

function expectOpened(opened, expected) {
  if (id === OWNER) assert.deepEqual(opened, expected)
}

/** `size` numbers below `modulus`, the same at every party. */
function numbers(size, step, modulus) {
  return Array.from({ length: size }, (_, at) => (at * step + 1) % modulus)
}

/** Row-major product of two square matrices, over shares or over numbers. */
function matMul(left, right, multiply, plus) {
  const side = Math.sqrt(left.length)
  const range = Array.from({ length: side }, (_, at) => at)
  return range.flatMap((row) =>
    range.map((column) =>
      range
        .map((k) => multiply(left[row * side + k], right[k * side + column]))
        .reduce((total, term) => plus(total, term)),
    ),
  )
}

function add(x, y) {
  return x.sadd(y)
}

function sum(x, y) {
  return x + y
}

function fail(error) {
  console.error(error)
  process.exit(1)
}
