/**
 * How many records a second are intersected in private, in what memory, with how many bytes; beside @openmined/psi.js in the
 * same run?
 *
 * Records are those of both sets, and the clock runs from lists of text on either side until both know which rows are shared.
 * psi.js has client and server in one thread, so the rows beside it do too; the others are two processes that talk over a
 * web socket on loopback. Peak memory is of the process, with its ids as text and the runtime, 100 MB before anything is
 * done. Floors: on the curve 4 times psi.js on one core, by the fast protocol 100 times; 60,000 records a second for 100,000
 * against 100,000. With `--all` a million against a million as well.
 */
import { type ChildProcess, fork, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { loadavg } from 'node:os'
import { fileURLToPath } from 'node:url'
import { idsOf, intersectOver, type PsiProtocol } from 'sotto'
import { channelPair } from '../src/psi/channel.ts'
import { median, report, rounded } from './measure.ts'
import { miss } from './parties.ts'

const SMALL = 10_000
const people = (from: number, n: number) => Array.from({ length: n }, (_, i) => `person${from + i}@example.org`)

interface Measured {
  readonly ms: number
  /** Of both sides. */
  readonly bytes: number
  readonly rss?: readonly number[]
}

/** Both sides in this thread. */
async function together(protocol: PsiProtocol, n: number): Promise<Measured> {
  const [first, second] = [people(0, n), people(n / 2, n)]
  const [a, b] = channelPair()
  const start = performance.now()
  const common = { protocol, threads: 0 } as const
  const [x, y] = await Promise.all([
    intersectOver(a, idsOf(first), { ...common, side: 'first' }),
    intersectOver(b, idsOf(second), { ...common, side: 'second' }),
  ])
  const ms = performance.now() - start
  if (x.size !== n / 2 || y.size !== n / 2) throw new Error(`${x.size} of ${n / 2} were found`)
  return { ms, bytes: x.traffic.bytesSent + y.traffic.bytesSent }
}

const entry = fileURLToPath(new URL('./lib/psi-party.ts', import.meta.url))
const next = <T>(child: ChildProcess): Promise<T> =>
  new Promise((resolve, reject) => {
    child.once('message', (message) => resolve(message as T))
    child.once('exit', (code) => reject(new Error(`a process ended with ${code}`)))
  })
const party = (...args: readonly unknown[]) => fork(entry, args.map(String), { execArgv: ['--import', 'tsx'] })

/** Each side in a process of its own. */
async function apart(protocol: PsiProtocol, n: number, m: number): Promise<Measured> {
  const shared = Math.floor(Math.min(n, m) / 2) || 1
  const listening = party('listen', m, shared, n - shared, protocol)
  const { url } = await next<{ url: string }>(listening)
  const connecting = party('connect', n, shared, 0, protocol, url)
  await next(connecting)
  const done = [listening, connecting].map((child) => next<{ ms: number; rss: number; bytesSent: number }>(child))
  const start = performance.now()
  for (const child of [listening, connecting]) child.send('begin')
  const reports = await Promise.all(done)
  const ms = performance.now() - start
  await Promise.all([listening, connecting].map((child) => new Promise((resolve) => child.once('exit', resolve))))
  return { ms, bytes: reports.reduce((sum, { bytesSent }) => sum + bytesSent, 0), rss: reports.map(({ rss }) => rss) }
}

const folder = fileURLToPath(new URL('psi-js/', import.meta.url))

/** Measures psi.js, after installing it where that was not done; null where it cannot be had. */
function measurePsiJs(): Measured | null {
  if (!existsSync(`${folder}node_modules/@openmined/psi.js/package.json`)) {
    console.log('@openmined/psi.js is not there yet: installing it into bench/psi-js (npm ci --ignore-scripts)')
    const args = ['ci', '--ignore-scripts', '--no-audit', '--no-fund']
    const { status, stderr } = spawnSync('npm', args, { cwd: folder, encoding: 'utf8' })
    if (status !== 0) {
      const why = stderr?.split('\n').find((line) => /^npm (error|ERR!)/.test(line)) ?? 'npm did not start'
      console.log(`@openmined/psi.js cannot be installed, so here is Sotto alone (${why})`)
      return null
    }
  }
  console.log(`measuring @openmined/psi.js with ${SMALL} against ${SMALL}: a minute`)
  const { status, stdout } = spawnSync(process.execPath, ['measure-psi-js.mjs', `${SMALL}`], {
    cwd: folder,
    encoding: 'utf8',
    // Its errors come with all of its source.
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  if (status !== 0) {
    miss('@openmined/psi.js was installed and could not be measured; here is Sotto alone')
    return null
  }
  return JSON.parse(stdout) as Measured
}

const rate = (records: number, { ms }: Measured) => Math.round((1000 * records) / ms)
/** Bits for each record of the larger set: what the papers count. */
const bits = (n: number, { bytes }: Measured) => Math.round((8 * bytes) / n)
const memory = ({ rss = [] }: Measured) => rss.map((bytes) => Math.round(bytes / 2 ** 20)).join(' + ')

async function medianOf(rounds: number, run: () => Promise<Measured>): Promise<Measured> {
  const all: Measured[] = []
  for (let round = 0; round < rounds; round++) all.push(await run())
  return { ...all[0]!, ms: median(all.map(({ ms }) => ms)) }
}

const [load] = loadavg()
const psiJs = measurePsiJs()
const curve = await together('curve', SMALL)
await together('fast', SMALL)
const fast = await medianOf(7, () => together('fast', SMALL))
const ratio = (mine: Measured) => (psiJs === null ? '' : rounded(psiJs.ms / mine.ms))
const row = (what: string, measured: Measured) => ({
  '': what,
  ms: Math.round(measured.ms),
  'records/s': rate(2 * SMALL, measured),
  'bits/record': bits(SMALL, measured),
  '× psi.js': ratio(measured),
})
report(`${SMALL} against ${SMALL}, both sides in one thread`, [
  ...(psiJs === null ? [] : [row('@openmined/psi.js', psiJs)]),
  row('Sotto, curve', curve),
  row('Sotto, fast', fast),
])
if (psiJs !== null && psiJs.ms / curve.ms < 4) miss('on the curve: under 4 times psi.js')
if (psiJs !== null && psiJs.ms / fast.ms < 100) miss('fast: under 100 times psi.js')

const pairs: [string, PsiProtocol, number, number][] = [
  ['fast', 'fast', 100_000, 100_000],
  ['fast, 1 against 100,000', 'fast', 1, 100_000],
  ['curve', 'curve', SMALL, SMALL],
]
if (process.argv.includes('--all')) pairs.push(['fast', 'fast', 1_000_000, 1_000_000])
const rows = []
for (const [what, protocol, n, m] of pairs) {
  const measured = await medianOf(n === 100_000 ? 3 : 1, () => apart(protocol, n, m))
  rows.push({
    '': what,
    first: n,
    second: m,
    ms: Math.round(measured.ms),
    'records/s': rate(n + m, measured),
    'bits/record': bits(Math.max(n, m), measured),
    'peak MB': memory(measured),
  })
  if (n === 100_000 && rate(n + m, measured) < 60_000) miss('100,000 against 100,000: under 60,000 records a second')
}
report('two processes, over a web socket on loopback', rows)
report('bits for each record, as their papers give them', [
  { '': 'KKRT, CCS ’16, 2^20 ids', 'bits/record': 1008 },
  { '': 'RR22, ePrint 2022/320, 2^20 ids', 'bits/record': 251 },
  { '': 'Diffie–Hellman on a curve', 'bits/record': 600 },
])
console.log(`load before: ${load!.toFixed(1)}, after: ${loadavg()[0]!.toFixed(1)}`)
