/** What a worker does for each message. A message without a handler does not compile. */
import { autogradHandlers } from './handlers/autograd.ts'
import { checkpointHandlers } from './handlers/checkpoints.ts'
import { modelHandlers } from './handlers/models.ts'
import { optimizerHandlers } from './handlers/optimizers.ts'
import { sessionHandlers } from './handlers/session.ts'
import { tensorHandlers } from './handlers/tensors.ts'
import { transferHandlers } from './handlers/transfer.ts'
import type { HostSession } from './host-session.ts'
import type { AskName, MessageName, Request, Response } from './protocol.ts'

/** Handlers for some of the messages; a handler that must wait gives a promise, and holds up its session alone. */
export type HandlersOf<N extends MessageName> = {
  readonly [M in N]: (session: HostSession, body: Request<M>) => Response<M> | Promise<Response<M>>
}

export const handlers: HandlersOf<MessageName> = {
  ...sessionHandlers,
  ...tensorHandlers,
  ...transferHandlers,
  ...autogradHandlers,
  ...modelHandlers,
  ...checkpointHandlers,
  ...optimizerHandlers,
}

/** The messages that are answered. */
const asks: { readonly [N in AskName]: true } = {
  hello: true,
  search: true,
  objects: true,
  flush: true,
  ledger: true,
  stats: true,
  get: true,
  getModel: true,
  saveModel: true,
  restoreModel: true,
  checkpoints: true,
  removeCheckpoint: true,
  relayHome: true,
}

export const isAsk = (name: string): boolean => Object.hasOwn(asks, name)
