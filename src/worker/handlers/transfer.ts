/** Messages that bring tensors and models from one worker to another, and what such a delivery is made of. */
import { sottoError } from '../../errors.ts'
import { tf } from '../../tensor/backend.ts'
import type { Labels, ObjectId, Packing } from '../../tensor/location.ts'
import { Anchor, Tracked } from '../../tensor/tape.ts'
import { fromWire, specOf } from '../../tensor/wire.ts'
import type { HandlersOf } from '../handlers.ts'
import type { HostSession } from '../host-session.ts'
import { type Access, accessFrom, plainAccess } from '../permissions.ts'
import type { Deposit, ErrorWire } from '../protocol.ts'
import { modelAccess, NO_LABELS, Poison, type StoredModel } from '../store.ts'
import { checkFree, checkNew, checkRoom, storeTensor } from './compute.ts'
import { poisonOf, recordCame, recordLeft, refuse, seeFailure } from './disclosure.ts'
import { packModel, specOfModel, storeModel } from './models.ts'
import { outgoing } from './packing.ts'

export const transferHandlers: HandlersOf<'transfer' | 'receive'> = {
  transfer(session, { id, to, key, keep, edge, optimizers, compress }) {
    const { store } = session.host
    orTell(session, to, key, () => {
      if (store.find(id)?.kind === 'model') {
        const stored = store.model(id, session)
        if (compress !== undefined) throw sottoError('ERR_WRONG_KIND', 'move: a tensor is compressed, a model is not')
        deliver(session, to, key, modelDeposit(session, stored, to, optimizers))
        if (!keep && stored.owner === session.name) for (const gone of [id, ...optimizers]) store.free(gone)
        return
      }
      const { tensor, access, labels, tracked, owner, failure } = seeFailure(session, 'move', () =>
        store.read(id, session),
      )
      const send = tensorDelivery(session, 'move', tensor, { to, key, access, labels, failure, compress })
      if (edge !== null) {
        checkFree(session, edge)
        checkRoom(session, 'move', [], 1)
        if (tracked && owner === session.name) addEdge(session, edge, tracked, access, false)
      }
      send()
      if (!keep && owner === session.name) store.free(id)
    })
  },

  receive(session, { key, from, out, edge, optimizers }) {
    const arrived = (deposit: Deposit): void => {
      switch (deposit.kind) {
        case 'none':
          throw sottoError('ERR_PROTOCOL', `${from} sent nothing where a tensor was to come`)
        case 'share':
          throw sottoError('ERR_PROTOCOL', `${from} sent a share where a tensor was to come`)
        case 'failed':
          throw failureIn(deposit)
        case 'model':
          return storeModel(session, out, deposit.value, {
            labels: deposit.labels,
            access: accessFrom(deposit.access),
            optimizers,
            came: { operation: 'move model', from, how: 'moved' },
          })
        case 'tensor': {
          const { value, labels, failure = null } = deposit
          recordCame(session, 'move', value, { from, how: 'moved', tags: labels.tags })
          checkRoom(session, 'move', [value], edge === null ? 0 : 1)
          checkNew(session, [out, edge])
          const access = accessFrom(deposit.access)
          const tracked = new Tracked(tf.keep(fromWire(value)), { requiresGrad: edge !== null })
          storeTensor(session, out, tracked, { access, labels, failure })
          if (edge !== null) addEdge(session, edge, tracked, access, true)
          return
        }
        default:
          deposit satisfies never
      }
    }
    return whenThere(session.take(key, from), arrived)
  },
}

/** Goes on at once when nothing has to be waited for. */
export function whenThere<T, R>(value: T | Promise<T>, then: (value: T) => R): R | Promise<R> {
  return value instanceof Promise ? value.then(then) : then(value)
}

/** Hands something to a peer that was introduced. */
export function deliver(session: HostSession, to: string, key: string, content: Deposit): void {
  session.linkTo(to).tell('deposit', { key, content })
}

/** Does what ends in a delivery. If it fails, the other side, which waits, is told so in its place. */
export function orTell(session: HostSession, to: string, key: string, action: () => void): void {
  try {
    action()
  } catch (error) {
    if (session.peers.has(to)) deliver(session, to, key, failedDeposit(session, error))
    throw error
  }
}

/** Checks that a tensor may go to a peer; gives what writes it down and hands it over. */
export function tensorDelivery(
  session: HostSession,
  operation: string,
  tensor: tf.Tensor,
  {
    to,
    key,
    access: own,
    labels = NO_LABELS,
    failure = null,
    compress,
  }: {
    to: string
    key: string
    access: Access
    labels?: Labels
    failure?: ErrorWire | null
    compress: Packing | undefined
  },
): () => void {
  const leaving = outgoing(session, operation, tensor, own, compress)
  const { access } = leaving
  const { tags } = labels
  if (!session.mayMoveTo(access, to)) refuse(session, operation, specOf(tensor), { to, access, tags })
  session.linkTo(to)
  return () => {
    const value = leaving.value()
    recordLeft(session, operation, value, { to, access, tags })
    const content = { kind: 'tensor', value, labels, access: plainAccess(access) } as const
    deliver(session, to, key, failure === null ? content : { ...content, failure })
    leaving.hasLeft()
  }
}

/** Checks that a model may go to a peer, writes it down and packs it. */
function modelDeposit(session: HostSession, stored: StoredModel, to: string, optimizers: readonly ObjectId[]): Deposit {
  const operation = 'move model'
  const access = modelAccess(stored)
  const { labels } = stored
  if (!session.mayMoveTo(access, to)) {
    refuse(session, operation, specOfModel(stored), { to, access, tags: labels.tags })
  }
  session.linkTo(to)
  const value = packModel(session, operation, stored, { to, access, optimizers })
  return { kind: 'model', value, labels, access: plainAccess(access) }
}

type FailedDeposit = Extract<Deposit, { kind: 'failed' }>

export function failedDeposit(session: HostSession, thrown: unknown): FailedDeposit {
  const { error, access } = poisonOf(session, thrown)
  return { kind: 'failed', error, access: plainAccess(access) }
}

/** What failed at the peer, to be thrown here. */
export const failureIn = ({ error, access }: FailedDeposit): Poison => new Poison({ error, access: accessFrom(access) })

/** Keeps one end of an edge; the far end has the leaf whose gradient will travel. */
export function addEdge(session: HostSession, id: ObjectId, tracked: Tracked, access: Access, isFarEnd: boolean): void {
  const { name: owner } = session
  const leaf = isFarEnd ? tracked : null
  const anchor = new Anchor(tracked)
  try {
    session.host.store.add(id, { kind: 'edge', anchor, access, leaf, owner, session })
  } catch (error) {
    anchor.release()
    throw error
  }
}
