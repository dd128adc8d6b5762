/** Kinds of values that options have: how a flag says one, and what a field of a configuration file must be. */
import { resolve } from 'node:path'
import * as v from 'valibot'
import { isKey } from '../worker/identity.ts'
import { UsageError } from './io.ts'

/** One kind of value. */
export interface Kind<T> {
  readonly schema: v.GenericSchema<unknown, T>
  /** What it must be, for whoever wrote another. */
  readonly expected: string
  /** What stands for the value in help; null where the flag alone says it. */
  readonly placeholder: string | null
  /**
   * What a flag says, after what flags of the same name have said before it.
   *
   * @throws UsageError when the text is not of the form that the placeholder shows
   */
  read(text: string, before: unknown): unknown
  /** What a flag adds to what the configuration file says. */
  merge(file: T, flag: T): T
  /** The value as seen from another folder. */
  from(folder: string, value: T): T
}

const alone = {
  read: (text: string): unknown => text,
  merge: <T>(_: T, flag: T): T => flag,
  from: <T>(_: string, value: T): T => value,
}

const textSchema = (most: number) => v.pipe(v.string(), v.minLength(1), v.maxLength(most))
const nameSchema = textSchema(256)
const pathSchema = textSchema(4096)

export const text = (expected: string, placeholder = 'text', most = 4096): Kind<string> => ({
  ...alone,
  schema: textSchema(most),
  expected,
  placeholder,
})
export const name: Kind<string> = text('a name of 1 to 256 characters', 'name', 256)
export const file: Kind<string> = { ...text('the path of a file', 'file'), from: resolve }

export const folder: Kind<string> = { ...text('the path of a folder', 'folder'), from: resolve }

export const url: Kind<string> = {
  ...alone,
  schema: v.pipe(
    v.string(),
    v.url(),
    v.check((given) => /^wss?:/.test(given)),
  ),
  expected: 'wss://host:port, or ws://',
  placeholder: 'url',
}
const keySchema = v.pipe(
  v.string(),
  v.check((given) => isKey(given)),
)

export const key: Kind<string> = {
  ...alone,
  schema: keySchema,
  expected: 'a key, ed25519:… as whoever holds it prints it',
  placeholder: 'key',
}

export const oneOf = <const T extends string>(values: readonly T[], placeholder: string): Kind<T> => ({
  ...alone,
  schema: v.picklist(values),
  expected: `one of ${values.join(', ')}`,
  placeholder,
})

const numberOf = (given: string): unknown => (/^\d+$/.test(given) ? Number(given) : given)
const wholeNumber = (most: number) => v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.maxValue(most))

export const whole = (placeholder: string, most = Number.MAX_SAFE_INTEGER): Kind<number> => ({
  ...alone,
  schema: wholeNumber(most),
  expected: `a whole number from 0${most === Number.MAX_SAFE_INTEGER ? '' : ` to ${most}`}`,
  placeholder,
  read: numberOf,
})

export const yes: Kind<boolean> = {
  ...alone,
  schema: v.boolean(),
  expected: 'true or false',
  placeholder: null,
}

/** Several names; each flag adds one, and those of the file stay. */
export const names: Kind<readonly string[]> = {
  schema: v.array(nameSchema),
  expected: 'a list of names',
  placeholder: 'name',
  read: (given, before = []) => [...(before as string[]), given],
  merge: (inFile, flag) => [...new Set([...inFile, ...flag])],
  from: (_, value) => value,
}

type Named<T> = Readonly<Record<string, T>>

/** Names and what is said of each. A list is not that, though its elements have numbers. */
export const isNamed = v.pipe(
  v.unknown(),
  v.check((given) => typeof given === 'object' && given !== null && !Array.isArray(given)),
)

/** Something for each of several names; a flag says it of one, in place of what the file says of that one. */
function named<T>(
  schema: v.GenericSchema<unknown, Named<T>>,
  { value, expected, of }: { value: string; expected: string; of: (given: string) => unknown },
): Kind<Named<T>> {
  const placeholder = `name=${value}`
  return {
    schema,
    expected,
    placeholder,
    read(given, before = {}) {
      const at = given.indexOf('=')
      if (at <= 0) throw new UsageError(`expected ${placeholder}`)
      return { ...(before as object), [given.slice(0, at)]: of(given.slice(at + 1)) }
    },
    merge: (inFile, flag) => ({ ...inFile, ...flag }),
    from: (_, given) => given,
  }
}

export const files: Kind<Named<string>> = {
  ...named(v.pipe(isNamed, v.record(nameSchema, pathSchema)), {
    value: 'file',
    expected: 'paths of files by names',
    of: (given) => given,
  }),
  from: (folder, given) => Object.fromEntries(Object.entries(given).map(([of, path]) => [of, resolve(folder, path)])),
}

export const lists = (value: string, expected: string): Kind<Named<readonly string[]>> =>
  named(v.pipe(isNamed, v.record(nameSchema, v.array(nameSchema))), {
    value,
    expected: `lists of ${expected} by names`,
    // Nothing behind the = is an empty list: it takes away what the file gives.
    of: (given) => (given === '' ? [] : given.split(',')),
  })

export const numbers = <const K extends string>(known: readonly K[]): Kind<Readonly<Partial<Record<K, number>>>> => {
  const number = v.optional(wholeNumber(Number.MAX_SAFE_INTEGER))
  const entries = Object.fromEntries(known.map((one) => [one, number])) as Record<K, typeof number>
  const schema = v.pipe(isNamed, v.strictObject(entries)) as unknown as v.GenericSchema<unknown, Named<number>>
  const expected = `whole numbers from 0, by names out of ${known.join(', ')}`
  return named(schema, { value: 'value', expected, of: numberOf }) as Kind<Readonly<Partial<Record<K, number>>>>
}

export const keys: Kind<Named<string>> = named(v.pipe(isNamed, v.record(nameSchema, keySchema)), {
  value: 'key',
  expected: 'keys, ed25519:…, by names of workers',
  of: (given) => given,
})
