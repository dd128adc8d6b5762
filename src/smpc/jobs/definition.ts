/**
 * A job in secret, as its file says it: who brings what, who computes, what is computed, and who gets to see which result.
 * Plain data; what is computed is named, and looked up in a table.
 */
import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex } from '@noble/hashes/utils.js'
import * as v from 'valibot'
import { sottoError } from '../../errors.ts'
import { isKey } from '../../worker/identity.ts'

/** Rows, or columns, of inputs: one of them, several below one another, or several side by side. */
export type Block = string | { readonly rows: readonly Block[] } | { readonly columns: readonly Block[] }

/** The layers of a model: the topology of a tf.layers model, as `model.json` has it. */
export type Layers = Readonly<Record<string, unknown>>

export interface JobInput {
  /** The party that brings it, and whose it is. */
  readonly from: string
  /** Of a model, its layers, which are public; what is brought is its weights. */
  readonly layers?: Layers
}

/** What is computed, one after the other. `as` names what comes of it. */
export type JobStep =
  /** Ordinary least squares: a coefficient for each column of x and, last, the intercept; a column for each of y. */
  | {
      readonly do: 'linearRegression'
      readonly x: Block
      readonly y: Block
      readonly ridge?: number
      readonly as: string
    }
  /** The same for the odds that y is 1 and not 0. */
  | {
      readonly do: 'logisticRegression'
      readonly x: Block
      readonly y: Block
      readonly ridge?: number
      readonly iterations?: number
      readonly as: string
    }
  /** Trains a model that was brought, or one of these layers. */
  | {
      readonly do: 'fit'
      readonly model: string | { readonly layers: Layers }
      readonly x: Block
      readonly y: Block
      readonly loss: string
      readonly optimizer: { readonly kind: string; readonly [setting: string]: string | number | boolean }
      readonly epochs?: number
      readonly batchSize?: number
      readonly seed?: number
      /**
       * Keeps it where it is, as shares on the disks of those who compute: at the end of each epoch, and after every so many
       * batches. The same job goes on from there when it is started anew.
       */
      readonly checkpoints?: { readonly every?: number }
      readonly as: string
    }
  /** What a model gives, or the result of a regression. */
  | { readonly do: 'predict'; readonly model: string; readonly x: Block; readonly as: string }
  /** The mean of things of one shape. */
  | { readonly do: 'mean'; readonly of: readonly string[]; readonly as: string }
  /** A module that every party has beside its job file. */
  | { readonly do: 'script'; readonly file: string; readonly sha256: string; readonly as: readonly string[] }

export interface SecretJob {
  readonly name: string
  /** The three who compute; the first of them gives the orders. */
  readonly compute: readonly [string, string, string]
  /** The long-term keys of all parties. */
  readonly keys?: Readonly<Record<string, string>>
  /** Bits of the integers that numbers become, and which digits are kept; see `PrecisionOptions`. */
  readonly precision?: { readonly ring?: 64 | 128; readonly base?: number; readonly digits?: number }
  readonly inputs: Readonly<Record<string, JobInput>>
  readonly steps: readonly JobStep[]
  /** Who gets to see which result. Nobody else does, and nothing else is opened. */
  readonly revealTo: Readonly<Record<string, readonly string[]>>
  /** Who has to consent before anything is opened to anybody. */
  readonly consent?: readonly string[]
}

const name = v.pipe(
  v.string(),
  v.regex(/^[A-Za-z][\w.-]{0,63}$/, 'expected a name: a letter, then letters, digits, . _ -'),
)
const block: v.GenericSchema<unknown, Block> = v.union([
  name,
  v.strictObject({ rows: v.pipe(v.array(v.lazy(() => block)), v.minLength(1)) }),
  v.strictObject({ columns: v.pipe(v.array(v.lazy(() => block)), v.minLength(1)) }),
])
const layers: v.GenericSchema<unknown, Layers> = v.record(v.string(), v.unknown())
const whole = v.pipe(v.number(), v.safeInteger(), v.minValue(0))
const fromOne = v.pipe(v.number(), v.safeInteger(), v.minValue(1))
const ridge = v.optional(v.pipe(v.number(), v.finite(), v.minValue(0)))
const plain = v.union([v.string(), v.pipe(v.number(), v.finite()), v.boolean()])
const step = v.variant('do', [
  v.strictObject({ do: v.literal('linearRegression'), x: block, y: block, ridge, as: name }),
  v.strictObject({
    do: v.literal('logisticRegression'),
    x: block,
    y: block,
    ridge,
    // All are issued at once.
    iterations: v.optional(v.pipe(fromOne, v.maxValue(1000))),
    as: name,
  }),
  v.strictObject({
    do: v.literal('fit'),
    model: v.union([name, v.strictObject({ layers })]),
    x: block,
    y: block,
    loss: v.string(),
    optimizer: v.objectWithRest({ kind: v.string() }, plain),
    epochs: v.optional(fromOne),
    batchSize: v.optional(fromOne),
    seed: v.optional(whole),
    checkpoints: v.optional(v.strictObject({ every: v.optional(fromOne) })),
    as: name,
  }),
  v.strictObject({ do: v.literal('predict'), model: name, x: block, as: name }),
  v.strictObject({ do: v.literal('mean'), of: v.pipe(v.array(name), v.minLength(1)), as: name }),
  v.strictObject({
    do: v.literal('script'),
    file: v.pipe(v.string(), v.minLength(1), v.maxLength(1024)),
    sha256: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/, 'expected 64 hexadecimal digits in lower case')),
    as: v.pipe(v.array(name), v.minLength(1)),
  }),
])
const schema = v.strictObject({
  name,
  compute: v.strictTuple([name, name, name]),
  keys: v.optional(
    v.record(
      name,
      v.pipe(
        v.string(),
        v.check((key) => isKey(key), 'expected a key, ed25519:… as "sotto keygen" prints it'),
      ),
    ),
  ),
  precision: v.optional(
    v.strictObject({ ring: v.optional(v.picklist([64, 128])), base: v.optional(whole), digits: v.optional(whole) }),
  ),
  inputs: v.pipe(
    v.record(name, v.strictObject({ from: name, layers: v.optional(layers) })),
    v.check((inputs) => Object.keys(inputs).length > 0, 'expected an input, { from: … }'),
  ),
  steps: v.pipe(v.array(step), v.minLength(1)),
  revealTo: v.record(name, v.pipe(v.array(name), v.minLength(1))),
  consent: v.optional(v.pipe(v.array(name), v.minLength(1))),
})

const wrong = (message: string): Error => sottoError('ERR_JOB', `job: ${message}`)

/**
 * A job, from what its file holds.
 *
 * @throws StateError `ERR_JOB` that names the field
 */
export function secretJobFrom(content: unknown): SecretJob {
  const result = v.safeParse(schema, content, { abortEarly: true })
  if (!result.success) {
    const [issue] = result.issues
    throw wrong(`"${v.getDotPath(issue) ?? 'the whole'}": ${issue.message}`)
  }
  const job = result.output as SecretJob
  checkParties(job)
  checkNames(job)
  return job
}

function checkParties({ compute, keys, inputs, revealTo, consent = [] }: SecretJob): void {
  if (new Set(compute).size < compute.length) throw wrong('"compute" expected three parties, each once')
  const computes = (party: string, what: string) => {
    if (!compute.includes(party)) return
    throw wrong(`"${what}": ${party} computes, and sees nothing; whoever brings or gets something is another party`)
  }
  for (const [input, { from }] of Object.entries(inputs)) computes(from, `inputs.${input}`)
  for (const [result, parties] of Object.entries(revealTo)) {
    for (const party of parties) computes(party, `revealTo.${result}`)
    if (new Set(parties).size < parties.length) throw wrong(`"revealTo.${result}" names a party twice`)
  }
  const parties = partiesOf({ compute, inputs, revealTo })
  for (const party of consent) {
    computes(party, 'consent')
    if (!parties.includes(party)) throw wrong(`"consent": ${party} neither brings nor gets anything`)
  }
  if (new Set(consent).size < consent.length) throw wrong('"consent" names a party twice')
  if (keys === undefined) return
  const without = parties.find((party) => !Object.hasOwn(keys, party))
  if (without !== undefined) throw wrong(`"keys" has none of ${without}; it has those of all parties, or is left out`)
  const known = parties.map((party) => keys[party])
  if (new Set(known).size < known.length) throw wrong('"keys" has the same key for two parties')
}

/** What a name stands for. */
type Kind = 'tensor' | 'model' | 'regression' | 'any'

/** What each step makes. */
const kindOf = {
  linearRegression: 'regression',
  logisticRegression: 'regression',
  fit: 'model',
  predict: 'tensor',
  mean: 'tensor',
  script: 'any',
} as const satisfies Record<JobStep['do'], Kind>

/** Whether each step takes what is there by then, and each result comes of a step. */
function checkNames({ inputs, steps, revealTo }: SecretJob): void {
  const kinds = new Map<string, Kind>()
  for (const [input, { layers: of }] of Object.entries(inputs)) kinds.set(input, of === undefined ? 'tensor' : 'model')
  const add = (at: string, made: string, kind: Kind) => {
    if (kinds.has(made)) throw wrong(`"${at}": there is something of the name ${made} already`)
    kinds.set(made, kind)
  }
  const take = (at: string, used: string, ...wanted: Kind[]) => {
    const kind = kinds.get(used)
    if (kind === undefined)
      throw wrong(`"${at}": there is no ${used} by then; there are ${[...kinds.keys()].join(', ')}`)
    if (kind !== 'any' && !wanted.includes(kind))
      throw wrong(`"${at}": ${used} is a ${kind}, no ${wanted.join(' or ')}`)
    return kind
  }
  for (const [i, one] of steps.entries()) {
    const at = `steps.${i}`
    if ('x' in one) for (const used of namesIn(one.x)) take(`${at}.x`, used, 'tensor')
    if ('y' in one) for (const used of namesIn(one.y)) take(`${at}.y`, used, 'tensor')
    if ('of' in one) for (const used of one.of) take(`${at}.of`, used, 'tensor', 'regression')
    if (one.do === 'predict') take(`${at}.model`, one.model, 'model', 'regression')
    if (one.do === 'fit' && typeof one.model === 'string') {
      take(`${at}.model`, one.model, 'model')
      // It is trained, not copied: what it was is no more.
      kinds.delete(one.model)
    }
    for (const made of [one.as].flat()) add(`${at}.as`, made, kindOf[one.do])
  }
  const results = Object.keys(revealTo)
  if (results.length === 0) throw wrong('"revealTo" expected a result that somebody gets to see')
  for (const result of results) {
    if (Object.hasOwn(inputs, result)) throw wrong(`"revealTo.${result}": it is an input, and no result`)
    if (!kinds.has(result)) throw wrong(`"revealTo.${result}": no step gives it`)
  }
}

/** The names in a block, in order. */
export function namesIn(of: Block): readonly string[] {
  if (typeof of === 'string') return [of]
  return ('rows' in of ? of.rows : of.columns).flatMap(namesIn)
}

/** All parties: who compute, who bring something, who get something; each once. */
export function partiesOf({ compute, inputs, revealTo }: Pick<SecretJob, 'compute' | 'inputs' | 'revealTo'>): string[] {
  return [...new Set([...compute, ...Object.values(inputs).map(({ from }) => from), ...Object.values(revealTo).flat()])]
}

/** Names of what a party brings. */
export const inputsOf = ({ inputs }: SecretJob, party: string): string[] =>
  Object.keys(inputs).filter((input) => inputs[input]!.from === party)
/** Names of what a party gets to see. */
export const resultsOf = ({ revealTo }: SecretJob, party: string): string[] =>
  Object.keys(revealTo).filter((result) => revealTo[result]!.includes(party))

/** Whether those who compute keep something on their disks, for the job to go on from. */
export const keepsCheckpoints = ({ steps }: SecretJob): boolean =>
  steps.some((one) => one.do === 'fit' && one.checkpoints !== undefined)

/** The inputs that go into each thing that a step makes. */
function sourcesOf({ inputs, steps }: SecretJob): Map<string, ReadonlySet<string>> {
  const all = Object.keys(inputs)
  const sources = new Map<string, ReadonlySet<string>>(all.map((input) => [input, new Set([input])]))
  const union = (names: readonly string[]) => new Set(names.flatMap((one) => [...(sources.get(one) ?? [])]))
  for (const one of steps) {
    const used = [
      ...('x' in one ? namesIn(one.x) : []),
      ...('y' in one ? namesIn(one.y) : []),
      ...('model' in one && typeof one.model === 'string' ? [one.model] : []),
      ...('of' in one ? one.of : []),
    ]
    // A script may use whatever there is.
    const found = one.do === 'script' ? new Set(all) : union(used)
    for (const made of [one.as].flat()) sources.set(made, found)
  }
  return sources
}

/** Who gets to see something that an input goes into: whom its policy lets see results. */
export function audienceOf(job: SecretJob, input: string): string[] {
  const sources = sourcesOf(job)
  const results = Object.keys(job.revealTo).filter((result) => sources.get(result)!.has(input))
  return [...new Set(results.flatMap((result) => job.revealTo[result]!))]
}

/** The layers of a result that is a model, or null. */
export function layersOf({ inputs, steps }: SecretJob, result: string): Layers | null {
  const layersAs = new Map(Object.entries(inputs).map(([input, { layers: of }]) => [input, of ?? null]))
  for (const one of steps) {
    if (one.do !== 'fit') continue
    layersAs.set(one.as, typeof one.model === 'string' ? layersAs.get(one.model)! : one.model.layers)
  }
  return layersAs.get(result) ?? null
}

/** With the keys of every object in one order: what is equal is written equally. */
function ordered(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(ordered)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, item]) => [key, ordered(item)]),
  )
}

/**
 * SHA-256 of all that a job says, in hex: its parties compare it. A script is in it by its hash.
 *
 * Names within `inputs` and `revealTo` have no order.
 */
export const idOf = (job: SecretJob): string =>
  bytesToHex(sha256(new TextEncoder().encode(JSON.stringify(['sotto secret job 1', ordered(job)]))))
