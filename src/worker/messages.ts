/**
 * Every message that a worker understands: the rows of the protocol table, and those that other parts of the library,
 * which know the worker and not the other way round, add with theirs.
 */
import type * as v from 'valibot'
import { sottoError } from '../errors.ts'
import { handlers, isAsk } from './handlers.ts'
import type { HostSession } from './host-session.ts'
import type { MessageName } from './protocol.ts'
import { schemas } from './schema.ts'
import type { Right } from './tokens.ts'

/** A table of messages: name → request, response. */
export type MessageTable = { readonly [name: string]: { readonly request: unknown; readonly response: unknown } }

/** What a worker does with a message. */
export interface MessageRow<Request = unknown, Response = unknown> {
  readonly schema: v.GenericSchema<unknown, Request>
  /** A handler that must wait gives a promise, and holds up its session alone. */
  handle(session: HostSession, body: Request): Response | Promise<Response>
  /** Whether it is answered. */
  readonly isAsk: boolean
  /** Whether it comes from peers, and not from callers. */
  readonly isFromPeer: boolean
  /** What the identity of a caller must have the right to; of several, to one of them. */
  readonly right: Right | readonly Right[] | null
}

/** One row per message of a table; a missing one does not compile. */
export type MessageRows<Table extends MessageTable> = {
  readonly [Name in keyof Table]: MessageRow<Table[Name]['request'], Table[Name]['response']> & {
    readonly isAsk: Table[Name]['response'] extends void ? false : true
  }
}

const added = new Map<string, MessageRow>()

/** Adds the messages of another part of the library, for every worker of this process. */
export function addMessages<Table extends MessageTable>(rows: MessageRows<Table>): void {
  for (const [name, row] of Object.entries(rows)) {
    if (Object.hasOwn(schemas, name) || added.has(name)) {
      throw sottoError('ERR_ID_TAKEN', `there is a message of the name ${name} already`)
    }
    added.set(name, row as MessageRow)
  }
}

/** Messages that take another right than to work with tensors, or none. */
const rightOf: { readonly [N in MessageName]?: MessageRow['right'] } = {
  hello: null,
  deposit: null,
  flush: null,
  peers: ['work', 'secrets'],
  free: ['work', 'secrets'],
  ledger: 'ledger',
  stats: 'stats',
}

const core = new Map(
  (Object.keys(schemas) as MessageName[]).map((name): [string, MessageRow] => [
    name,
    {
      schema: schemas[name],
      handle: handlers[name] as MessageRow['handle'],
      isAsk: isAsk(name),
      isFromPeer: name === 'deposit',
      right: name in rightOf ? rightOf[name]! : 'work',
    },
  ]),
)

/** The row of a message, or undefined. */
export const messageRow = (name: string): MessageRow | undefined => core.get(name) ?? added.get(name)
