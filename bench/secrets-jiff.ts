/**
 * How many secrets a second are shared and opened, multiplied and compared, beside jiff-mpc in the same run?
 *
 * Three parties and a provider here, or three parties that replicate; three parties and a server there. jiff's are processes of their own that talk over
 * web sockets on loopback; these share one thread, and hand each other frames as they are or, "as bytes", encoded and
 * decoded as for a socket. So the ratios are those of computing and packing, not of a network.
 *
 * jiff is measured at 10,000 openings, 1,000 products, a product of 10×10 integers and 10 comparisons; its rate does not
 * grow with their number. Rows "as jiff" are like for like; ours does grow, so larger ones stand beside them, and those in
 * fixed precision, which round every product and have no like there: jiff takes 2.4 s a rounding. Floors hold in every
 * row that has one, as bytes, against jiff with its encryption; without it its server could read all secrets, and that
 * rate stands there to compare computing alone.
 */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { fixPrecision, ready, type SharedTensor, scope, share, tf } from 'sotto'
import { alternate, report, rounded } from './measure.ts'
import { gather, miss, type Parties } from './parties.ts'

interface Rates {
  readonly shareOpen: number
  readonly products: number
  /** Of jiff's protocol for an honest majority: two of three parties could read everything. */
  readonly bgwProducts: number
  readonly matMulProducts: number
  readonly comparisons: number
}
interface Jiff extends Rates {
  readonly unencrypted: Rates
  readonly setting: string
}

const folder = fileURLToPath(new URL('jiff/', import.meta.url))

/** Measures jiff, after installing it where that was not done; null where it cannot be had. */
function measureJiff(): Jiff | null {
  if (!existsSync(`${folder}node_modules/jiff-mpc/package.json`)) {
    console.log('jiff-mpc is not there yet: installing it into bench/jiff (npm ci --ignore-scripts)')
    const { status, stderr } = spawnSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], {
      cwd: folder,
      encoding: 'utf8',
    })
    if (status !== 0) {
      const why = stderr?.split('\n').find((line) => /^npm (error|ERR!)/.test(line)) ?? 'npm did not start'
      console.log(`jiff-mpc cannot be installed, so here is Sotto alone (${why})`)
      return null
    }
  }
  console.log('measuring jiff-mpc: 45 seconds on two cores')
  const { status, stdout } = spawnSync(process.execPath, ['measure-jiff.mjs'], {
    cwd: folder,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  if (status !== 0) {
    miss('jiff-mpc was installed and could not be measured; here is Sotto alone')
    return null
  }
  return JSON.parse(stdout) as Jiff
}

/** Prepares something to be timed, and sees that it is right. */
type Action = (among: Parties) => Promise<() => Promise<void>>

const integers = (shape: number[], seed: number) => tf.randomUniform(shape, -1000, 1000, 'int32', seed)
const shareAll = (values: readonly tf.Tensor[], isFixed: boolean, { parties, options }: Parties) =>
  values.map((value) => share(isFixed ? fixPrecision(value) : value, parties, options))

async function check(result: SharedTensor, expected: tf.Tensor): Promise<void> {
  const [got, wanted] = [await result.reveal(), expected].map((tensor) => tensor.dataSync() as Float32Array)
  // What is expected was computed with 24 bits; what is rounded in secret is off by a unit, 2^-16.
  const tolerance = wanted!.reduce((most, x) => Math.max(most, Math.abs(x)), 0) * 2 ** -22 + 2 ** -15
  if (!got!.every((x, i) => Math.abs(x - wanted![i]!) <= tolerance)) {
    throw new Error('the secrets are not what they should be')
  }
}

/** What is done with two secrets, and with two numbers. */
type Run = (x: SharedTensor, y: SharedTensor) => SharedTensor
type ClearRun = (x: tf.Tensor, y: tf.Tensor) => tf.Tensor
const mul: [Run, ClearRun] = [(x, y) => x.mul(y), (x, y) => tf.mul(x, y)]
const matMul: [Run, ClearRun] = [(x, y) => x.matMul(y), (x, y) => tf.matMul(x, y)]
const less: [Run, ClearRun] = [(x, y) => x.less(y), (x, y) => tf.less(x, y)]

/** To shares at all parties, not opened, as jiff's products and comparisons are. */
const computed =
  (shape: number[], isFixed: boolean, [run, clearRun]: [Run, ClearRun]): Action =>
  async (among) => {
    const values = [integers(shape, 1), integers(shape, 2)] as const
    const [x, y] = shareAll(values, isFixed, among)
    const [a, b] = values.map((value) => tf.cast(value, 'float32'))
    await check(run(x!, y!), clearRun(a!, b!))
    return async () => {
      const result = scope(() => run(x!, y!))
      await among.done()
      result.dispose()
    }
  }

const sharedAndOpened =
  (size: number): Action =>
  async (among) => {
    const values = integers([size], 3)
    await check(shareAll([values], false, among)[0]!, values)
    return async () => {
      const [secret] = shareAll([values], false, among)
      ;(await secret!.reveal()).dispose()
      secret!.dispose()
    }
  }

/** What is timed, how many numbers, products or comparisons that are, jiff's rate of the same, and the least ratio. */
const table: readonly [what: string, elements: number, action: Action, beside: keyof Rates, floor: number][] = [
  ['share and open, as jiff', 10_000, sharedAndOpened(10_000), 'shareOpen', 500],
  ['products of integers, as jiff', 1000, computed([1000], false, mul), 'products', 500],
  ["the same beside jiff's honest majority", 1000, computed([1000], false, mul), 'bgwProducts', 500],
  ['products of integers', 10_000, computed([10_000], false, mul), 'products', 500],
  ['products in fixed precision', 10_000, computed([10_000], true, mul), 'products', 500],
  ['matMul 10×10 of integers, as jiff', 1000, computed([10, 10], false, matMul), 'matMulProducts', 1000],
  ['matMul 10×10 in fixed precision', 1000, computed([10, 10], true, matMul), 'matMulProducts', 1000],
  ['matMul 100×100 in fixed precision', 1e6, computed([100, 100], true, matMul), 'matMulProducts', 1000],
  ['comparisons, as jiff', 10, computed([10], false, less), 'comparisons', 1000],
  ['comparisons', 10_000, computed([10_000], false, less), 'comparisons', 1000],
]

const jiff = measureJiff()
await ready()
/** Floors of replicated sharing: products, and comparisons. */
const REPLICATED: Partial<Record<keyof Rates, number>> = { products: 1000, matMulProducts: 1000, comparisons: 2000 }

for (const protocol of ['additive', 'replicated'] as const) {
  const [plain, coded] = [gather(3, {}, protocol), gather(3, { codec: true }, protocol)]
  const rows = []
  for (const [what, elements, action, beside, additiveFloor] of table) {
    const floor = protocol === 'additive' ? additiveFloor : (REPLICATED[beside] ?? additiveFloor)
    const candidates = { plain: await action(plain), coded: await action(coded) }
    // Small ones take a millisecond, and are compiled when they have run some hundred times; jiff's take seconds.
    const times = elements <= 1000 ? { rounds: 201, warmup: 300 } : { rounds: 41, warmup: 20 }
    const timings = await alternate(candidates, times)
    const [rate, codedRate] = [timings.plain, timings.coded].map(({ ms }) => (1000 * elements) / ms) as [number, number]
    const own = { what, elements, 'a second': rounded(rate), 'as bytes': rounded(codedRate) }
    if (jiff === null) {
      rows.push(own)
      continue
    }
    const [theirs, open] = [jiff[beside], jiff.unencrypted[beside]]
    rows.push({
      ...own,
      jiff: theirs,
      times: rounded(rate / theirs),
      'as bytes ': rounded(codedRate / theirs),
      'at least': floor,
      'not encrypted': open,
      'times ': rounded(rate / open),
      'as bytes  ': rounded(codedRate / open),
    })
    if (codedRate < floor * theirs) {
      miss(
        `${protocol}, ${what}: ${rounded(codedRate / theirs)} times as many a second as jiff, and ${floor} are wanted`,
      )
    }
  }
  report(
    `${protocol}: elements a second among 3 parties, frames as they are and as bytes; and how many times as many as jiff-mpc does`,
    rows,
  )
  await Promise.all([plain.close(), coded.close()])
}
if (jiff !== null) console.log(jiff.setting)
