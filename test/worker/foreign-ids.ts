/** Every text in a message in turn replaced by the id of an object that another session made. */

type Path = readonly (string | number)[]

/** Where the texts of a body are. */
export function textsIn(value: unknown, path: Path = []): Path[] {
  if (typeof value === 'string') return [path]
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return []
  const isList = Array.isArray(value)
  return Object.entries(value).flatMap(([name, item]) => textsIn(item, [...path, isList ? Number(name) : name]))
}

/** The body with another text in one place. */
export function withText(value: unknown, [first, ...rest]: Path, text: string): unknown {
  if (first === undefined) return text
  if (Array.isArray(value)) return value.map((item, i) => (i === first ? withText(item, rest, text) : item))
  const record = value as Record<string, unknown>
  return { ...record, [first]: withText(record[first], rest, text) }
}

/** A place in a message, as `run.operands[]`. */
export const placeOf = (message: string, path: Path): string =>
  path.reduce<string>((place, step) => (typeof step === 'number' ? `${place}[]` : `${place}.${step}`), message)

/** The places in messages that hold a text, each with the message around it. */
export function placesIn(messages: readonly (readonly [name: string, body: unknown])[]) {
  return messages.flatMap(([message, body]) =>
    textsIn(body).map((path) => ({ message, body, path, place: placeOf(message, path) })),
  )
}
