/**
 * The options of `sotto worker`: one row each. From a row follow the flag, the field of a configuration file and what
 * is checked of both. Adding a row here is the only way to add an option.
 */
import type { Backend } from '../tensor/backend.ts'
import type { ServerLimits } from '../worker/serve.ts'
import type { Kind } from './kinds.ts'
import * as kinds from './kinds.ts'

/** What an option is about: `Listening` and `Dialling` exclude each other. */
export type Group = 'The worker' | 'Data' | 'Listening' | 'Dialling' | 'Running'

interface Row<T> {
  readonly group: Group
  readonly kind: Kind<T>
  /** One sentence for the help. */
  readonly help: string
}

const row = <T>(group: Group, kind: Kind<T>, help: string): Row<T> => ({ group, kind, help })

/** The keys of a record that the compiler holds complete: reading them elsewhere would load the tensor engine. */
const keysOf = <K extends string>(all: Record<K, true>): readonly K[] => Object.keys(all) as K[]

const limits = keysOf<keyof ServerLimits>({
  elements: true,
  objects: true,
  bytes: true,
  sessions: true,
  identityObjects: true,
  identityBytes: true,
  identitySessions: true,
  inFlight: true,
  waitingBytes: true,
  unsentBytes: true,
  peerTimeout: true,
  deposits: true,
  checkpoints: true,
  checkpointBytes: true,
  identityCheckpoints: true,
  identityCheckpointBytes: true,
  frame: true,
  connections: true,
})
/** Limits of a server: one that dials has none. */
export const serverLimits = ['frame', 'connections'] as const satisfies readonly (keyof ServerLimits)[]

const levels = ['trace', 'debug', 'info', 'warn', 'error', 'silent'] as const
const backends = keysOf<Backend>({ tensorflow: true, wasm: true, cpu: true })

const { file, files, folder, lists, name, names, oneOf, text, whole, yes } = kinds
const allowed = lists('me,…', 'identities')

export const workerOptions = {
  id: row('The worker', name, 'Name of the worker.'),
  identity: row('The worker', file, 'File with its long-term key, made by "sotto keygen"; without it, a new key.'),
  checkpoints: row(
    'The worker',
    folder,
    'Folder for the models that callers save; without it, they end with the worker.',
  ),

  data: row('Data', files, 'A .npy, .csv or IDX file of the owner, which callers find under the tag #name.'),
  tags: row('Data', lists('#a,#b', 'tags'), 'More tags for a data set.'),
  columns: row('Data', lists('a,b', 'columns'), 'The columns of a .csv file to take, in this order.'),
  ids: row(
    'Data',
    lists('a,b', 'columns'),
    'The columns of a .csv file that are its ids together, as text, for intersections.',
  ),
  allow: row('Data', allowed, 'Who may see the values of a data set.'),
  allowResults: row('Data', allowed, 'Who may see what is computed from a data set.'),
  allowShares: row('Data', lists('alice,…', 'workers'), 'Workers among which a data set may be shared as a secret.'),
  allowTotals: row('Data', allowed, 'Who may see totals over a data set and those of two other owners or more.'),
  allowMatches: row('Data', allowed, 'Who may learn which of its ids are in a data set of ids, and how many.'),
  public: row('Data', names, 'A data set whose values everyone who comes in may see.'),
  owner: row('Data', name, 'Identity that owns the data; the name of the worker unless given.'),
  peers: row('Data', kinds.keys, 'The key of a worker that is named in --allow or --allow-shares.'),

  host: row('Listening', text('an address', 'address', 256), 'Address to listen at; 127.0.0.1 unless given.'),
  port: row('Listening', whole('number', 65_535), 'Port to listen at, 0 for any that is free; 8777 unless given.'),
  tlsCert: row('Listening', file, 'Certificate of the server, in PEM.'),
  tlsKey: row('Listening', file, 'Key of that certificate, in PEM.'),
  tlsCa: row('Listening', file, 'Authorities whose client certificates are taken, in PEM.'),
  tokens: row('Listening', file, 'File of the tokens that let callers in, kept by "sotto token".'),
  clientCertificates: row('Listening', yes, 'Lets callers in by a certificate, as whom it names.'),
  peerCa: row('Listening', file, 'Authorities to trust when this worker dials others, in PEM.'),

  dial: row('Dialling', kinds.url, 'The hub to offer the worker to, in place of listening.'),
  token: row('Dialling', text('a token', 'token'), 'Token from the hub; other users of the machine can read it here.'),
  tokenFile: row('Dialling', file, 'File with that token; without either, SOTTO_TOKEN of the environment.'),
  pin: row('Dialling', kinds.key, 'Key that the hub must hold.'),
  caller: row('Dialling', name, 'Whom the hub acts for; unless given it is taken at its word.'),
  ca: row('Dialling', file, 'Authorities to trust when dialling the hub and other workers, in PEM.'),

  insecure: row(
    'Running',
    yes,
    'Lets everyone in who can reach it, as whomever they say; shows a hub the token without TLS.',
  ),
  limit: row('Running', kinds.numbers(limits), `A limit: ${limits.join(', ')}.`),
  grace: row('Running', whole('ms'), 'How long a session whose connection broke is kept; 60000 unless given.'),
  heartbeat: row('Running', whole('ms'), 'Silence after which the other end is asked for a word; 15000 unless given.'),
  backend: row(
    'Running',
    oneOf(backends, 'name'),
    `Tensor backend: ${backends.join(', ')}; the first that is there unless given.`,
  ),
  logLevel: row(
    'Running',
    oneOf(levels, 'level'),
    `Least weight of what is logged: ${levels.join(', ')}; info unless given.`,
  ),
} as const

export type OptionName = keyof typeof workerOptions
type ValueOf<R> = R extends Row<infer T> ? T : never

/** Options that were given, checked. */
export type Settings = { readonly [K in OptionName]?: ValueOf<(typeof workerOptions)[K]> }

/** `tlsCert` as a flag: `--tls-cert`. */
export const flagOf = (option: string): string =>
  `--${option.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`
