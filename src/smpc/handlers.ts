/** What a worker does for each message of secret computation. A message without a handler does not compile. */
import type { HostSession } from '../worker/host-session.ts'
import { addMessages, type MessageRows } from '../worker/messages.ts'
import { fixedHandlers } from './handlers/fixed.ts'
import { groupHandlers } from './handlers/groups.ts'
import { keptHandlers } from './handlers/kept.ts'
import { secretHandlers } from './handlers/secrets.ts'
import type { SecretAsk, SecretMessage, SecretMessages, SecretRequest } from './messages.ts'
import { secretSchemas } from './schema.ts'

/** Handlers for some of the messages; a handler that must wait gives a promise, and holds up its session alone. */
export type SecretHandlers<N extends SecretMessage> = {
  readonly [M in N]: (
    session: HostSession,
    body: SecretRequest<M>,
  ) => SecretMessages[M]['response'] | Promise<SecretMessages[M]['response']>
}

const handlers: SecretHandlers<SecretMessage> = {
  ...groupHandlers,
  ...secretHandlers,
  ...keptHandlers,
  ...fixedHandlers,
}

/** The messages that are answered. */
const asks: { readonly [N in SecretAsk]: true } = {
  secretGet: true,
  secretStats: true,
  secretSave: true,
  secretKept: true,
  fixedGet: true,
}

/** What shows nothing to whoever asks for it, and computes nothing: see the right `secrets`. */
const forSecrets: ReadonlySet<SecretMessage> = new Set(['secretShare', 'secretReceive'])

const rows = (Object.keys(secretSchemas) as SecretMessage[]).map((name) => [
  name,
  {
    schema: secretSchemas[name],
    handle: handlers[name],
    isAsk: Object.hasOwn(asks, name),
    isFromPeer: name === 'secretParts',
    right: forSecrets.has(name) ? (['work', 'secrets'] as const) : ('work' as const),
  },
])
addMessages<SecretMessages>(Object.fromEntries(rows) as MessageRows<SecretMessages>)
