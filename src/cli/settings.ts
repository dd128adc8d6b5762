/** What `sotto worker` is told, by flags and by a configuration file: read, checked and put together. */
import { readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import * as v from 'valibot'
import { parseDocument } from 'yaml'
import { UsageError } from './io.ts'
import { isNamed, type Kind } from './kinds.ts'
import { flagOf, type OptionName, type Settings, serverLimits, workerOptions } from './worker-options.ts'

const optionNames = Object.keys(workerOptions) as OptionName[]
const kindOf = (option: OptionName) => workerOptions[option].kind as Kind<unknown>

const schema = v.pipe(
  isNamed,
  v.strictObject(Object.fromEntries(optionNames.map((option) => [option, v.optional(kindOf(option).schema)]))),
)

/**
 * Settings from a configuration file and flags. What a flag says holds; of options that go by names (`data`, `limit`, …)
 * it holds for its name, and the others stay.
 *
 * @param flags as the command line gave them, by the names of the options
 * @param path the configuration file, YAML or JSON, in which paths are relative to its folder
 * @throws UsageError that names file and field, or flag
 */
export async function settingsOf(flags: Readonly<Record<string, unknown>>, path?: string): Promise<Settings> {
  const given = checked(flags, ([option, ...of]) => [flagOf(String(option)), ...of].join(' '))
  const settings = path === undefined ? given : merged(await settingsIn(path), given)
  checkTogether(settings)
  return settings
}

async function settingsIn(path: string): Promise<Settings> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    throw new UsageError(`${path}: ${code === 'ENOENT' ? 'there is no such file' : message}`)
  }
  return parseSettings(text, path)
}

/**
 * The settings in a configuration file.
 *
 * @throws UsageError that names file and field; it shows no value, which could be a token
 */
export function parseSettings(text: string, path: string): Settings {
  // JSON is YAML too.
  const document = parseDocument(text)
  const [wrong] = [...document.errors, ...document.warnings]
  // The first line says what and where; those after it quote the file.
  if (wrong !== undefined) throw new UsageError(`${path}: ${wrong.message.split('\n', 1)[0]!.replace(/:$/, '')}`)
  const content: unknown = document.toJS() ?? {}
  const settings = checked(content, (field) => (field.length === 0 ? `${path}:` : `${path}: "${field.join('.')}"`))
  const folder = dirname(path)
  return each((option) => {
    const value = settings[option]
    return value === undefined ? undefined : kindOf(option).from(folder, value)
  })
}

function checked(given: unknown, nameOf: (field: readonly unknown[]) => string): Settings {
  const result = v.safeParse(schema, given, { abortEarly: true })
  if (result.success) return result.output as Settings
  const [issue] = result.issues
  const field = issue.path?.map(({ key }) => key) ?? []
  const [option] = field
  if (option === undefined) throw new UsageError(`${nameOf([])} expected options by their names, such as "id: bob"`)
  if (!Object.hasOwn(workerOptions, String(option))) {
    throw new UsageError(`${nameOf(field)} is no option; there are ${optionNames.join(', ')}`)
  }
  const { expected } = kindOf(option as OptionName)
  // Of what goes by names, the kind speaks of the whole.
  throw new UsageError(`${nameOf(field)}${field.length === 1 ? '' : `: "${option}"`} expected ${expected}`)
}

/** Settings made one by one; undefined for none. */
const each = (value: (option: OptionName) => unknown): Settings =>
  Object.fromEntries(
    optionNames.flatMap((option) => {
      const found = value(option)
      return found === undefined ? [] : [[option, found]]
    }),
  )

/** Ways to give the same thing: a flag for one stands in for the other in the file. */
const instead: Partial<Record<OptionName, OptionName>> = { token: 'tokenFile', tokenFile: 'token' }

function merged(inFile: Settings, flags: Settings): Settings {
  return each((option) => {
    const [before, flag] = [inFile[option], flags[option]]
    if (flag !== undefined) return before === undefined ? flag : kindOf(option).merge(before, flag)
    const other = instead[option]
    return other !== undefined && flags[other] !== undefined ? undefined : before
  })
}

/** What each option says is right; do they go together? */
function checkTogether(settings: Settings): void {
  const { id, data = {}, dial, tlsCert, tlsKey, tlsCa, clientCertificates, token, tokenFile, limit = {} } = settings
  if (id === undefined) throw new UsageError('a worker needs a name: --id bob')
  const misplaced = dial === undefined ? 'Dialling' : 'Listening'
  const found = optionNames.find((option) => settings[option] !== undefined && groupOf(option) === misplaced)
  if (found !== undefined && found !== 'dial') {
    throw new UsageError(
      dial === undefined
        ? `${flagOf(found)} goes with --dial only`
        : `${flagOf(found)} does not go with --dial, which does not listen`,
    )
  }
  const listening = dial === undefined ? undefined : serverLimits.find((name) => limit[name] !== undefined)
  if (listening !== undefined)
    throw new UsageError(`--limit ${listening} does not go with --dial, which does not listen`)
  if ((tlsCert === undefined) !== (tlsKey === undefined)) {
    throw new UsageError('--tls-cert and --tls-key go together')
  }
  if (tlsCa !== undefined && tlsCert === undefined) throw new UsageError('--tls-ca needs --tls-cert and --tls-key')
  if (clientCertificates && tlsCa === undefined) {
    throw new UsageError('--client-certificates needs a --tls-ca that vouches for them')
  }
  if (token !== undefined && tokenFile !== undefined) throw new UsageError('give --token or --token-file, not both')
  checkData(settings, Object.keys(data))
}

const groupOf = (option: OptionName) => workerOptions[option].group

function checkData(settings: Settings, names: readonly string[]): void {
  const isPublic = new Set(settings.public)
  const allowing = ['allow', 'allowResults', 'allowShares', 'allowTotals', 'allowMatches'] as const
  for (const option of ['tags', 'columns', 'ids', ...allowing, 'public'] as const) {
    const given = settings[option] ?? []
    for (const name of Array.isArray(given) ? (given as readonly string[]) : Object.keys(given)) {
      if (!names.includes(name)) {
        const known = names.length === 0 ? 'there is none' : `there are ${names.join(', ')}`
        throw new UsageError(`${flagOf(option)}: no data of the name "${name}"; ${known}`)
      }
    }
  }
  for (const name of Object.keys(settings.ids ?? {})) {
    if (settings.columns?.[name] !== undefined) throw new UsageError(`"${name}": give --columns or --ids, not both`)
  }
  for (const option of allowing) {
    for (const name of Object.keys(settings[option] ?? {})) {
      if (isPublic.has(name)) throw new UsageError(`"${name}" is public, and ${flagOf(option)} says who may see it`)
    }
  }
}
